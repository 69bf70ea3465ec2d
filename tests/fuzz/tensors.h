/* tensors.h: looks at every tensor of a set as the loader does, which a sanitizer watches. */
#ifndef RETNET_TESTS_FUZZ_TENSORS_H
#define RETNET_TESTS_FUZZ_TENSORS_H

#include "fuzz/fuzz.h"

#include "model/safetensors.h"

static inline void fuzz_walk_tensors(const rn_tensor_set *set)
{
    for (size_t i = 0; i < rn_tensor_set_count(set); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(set, i);
        FUZZ_REQUIRE(rn_tensor_set_find(set, tensor->name) == tensor);
        FUZZ_REQUIRE(tensor->rank <= RN_MAX_RANK);
        if (rn_dtype_size(tensor->dtype))
            FUZZ_REQUIRE(tensor->bytes == tensor->elements * rn_dtype_size(tensor->dtype));
        rn_hash(0, tensor->data, tensor->bytes);
        FUZZ_REQUIRE(strlen(tensor->file) > 0 && strlen(tensor->dtype_name) > 0);
    }
    const char *format = rn_tensor_set_metadata(set, "format");
    FUZZ_REQUIRE(!format || strlen(format) < (1u << 20));
}

#endif
