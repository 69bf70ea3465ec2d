/* shards.c: an index and two shards: three pieces of text and the data of both. */
#include "fuzz/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rn_host host;
    rn_tensor_set *set;
    fuzz_host_begin(&host);
    fuzz_file("model.safetensors.index.json", fuzz_take(&data, &size));
    fuzz_piece headers[2] = {fuzz_take(&data, &size), fuzz_take(&data, &size)};
    fuzz_piece contents[2] = {fuzz_take(&data, &size), fuzz_rest(&data, &size)};
    fuzz_file("a.safetensors", fuzz_safetensors(headers[0], contents[0]));
    fuzz_file("b.safetensors", fuzz_safetensors(headers[1], contents[1]));
    if (rn_tensor_set_open_directory(&host, "folder", &set) == RETNET_OK) fuzz_walk_tensors(set);
    rn_tensor_set_close(set);
    for (int i = 0; i < 2; i++) {
        free(headers[i].data);
        free(contents[i].data);
    }
    fuzz_files_clear();
    fuzz_host_end(&host);
    return 0;
}
