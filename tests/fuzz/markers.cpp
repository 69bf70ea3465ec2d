// markers.cpp: a serialised sentencepiece model as retnet_text rewrites it before sentencepiece reads it.
#include "text/tokenizer.hpp"

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    std::string model(reinterpret_cast<const char *>(data), size);
    std::string sealed = retnet_text::seal_markers(model);
    if (sealed.size() > model.size() || retnet_text::seal_markers(sealed) != sealed) {
        std::fputs("sealing added bytes, or twice is not once\n", stderr);
        std::abort();
    }
    return 0;
}
