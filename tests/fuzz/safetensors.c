/* safetensors.c: one .safetensors file, as it is. */
#include "fuzz/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rn_host host;
    rn_tensor_set *set;
    fuzz_host_begin(&host);
    fuzz_file("model.safetensors", fuzz_rest(&data, &size));
    if (rn_tensor_set_open_directory(&host, "folder", &set) == RETNET_OK) fuzz_walk_tensors(set);
    rn_tensor_set_close(set);
    fuzz_files_clear();
    fuzz_host_end(&host);
    return 0;
}
