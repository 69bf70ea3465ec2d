// The library as C++ sees it: names link without mangling, and descs may be zero-initialised.
#include <retnet/retnet.h>

#include <cstdio>
#include <cstring>

int main()
{
    retnet_context_desc desc = {};
    if (desc.log || std::strcmp(retnet_result_name(RETNET_ERROR_FILE), "RETNET_ERROR_FILE") != 0) {
        std::fprintf(stderr, "retnet_result_name gives %s\n", retnet_result_name(RETNET_ERROR_FILE));
        return 1;
    }
    return 0;
}
