/* safetensors.h: memory-mapped checkpoint files, one or sharded through an index. Headers are hostile input: every
 * offset, size, shape and dtype is checked before use. */
#ifndef RETNET_MODEL_SAFETENSORS_H
#define RETNET_MODEL_SAFETENSORS_H

#include "base/base.h"

typedef enum rn_dtype { RN_DTYPE_F32, RN_DTYPE_F16, RN_DTYPE_BF16, RN_DTYPE_I8, RN_DTYPE_U8, RN_DTYPE_OTHER } rn_dtype;

enum { RN_MAX_RANK = 8 };

typedef struct rn_tensor {
    const char *name; /* lives as long as the set */
    const char *file; /* path of the file that holds it, for messages */
    rn_dtype dtype;
    const char *dtype_name; /* as the file words it, also where dtype is RN_DTYPE_OTHER */
    uint32_t rank;
    uint64_t shape[RN_MAX_RANK];
    uint64_t elements;
    const uint8_t *data; /* in the mapped file: little-endian, row-major, not necessarily aligned */
    uint64_t bytes;
} rn_tensor;

typedef struct rn_tensor_set rn_tensor_set;

/* Opens one .safetensors file. */
retnet_result rn_tensor_set_open_file(rn_host *host, const char *path, rn_tensor_set **out);
/* Opens DIR/model.safetensors or the shards named by DIR/model.safetensors.index.json. */
retnet_result rn_tensor_set_open_directory(rn_host *host, const char *directory, rn_tensor_set **out);
void rn_tensor_set_close(rn_tensor_set *set); /* accepts NULL */

size_t rn_tensor_set_count(const rn_tensor_set *set);
const rn_tensor *rn_tensor_set_at(const rn_tensor_set *set, size_t index);       /* in order of name */
const rn_tensor *rn_tensor_set_find(const rn_tensor_set *set, const char *name); /* NULL if absent */
/* A value of the file's "__metadata__", or NULL. */
const char *rn_tensor_set_metadata(const rn_tensor_set *set, const char *key);

const char *rn_dtype_name(rn_dtype dtype);
uint32_t rn_dtype_size(rn_dtype dtype); /* 0 for RN_DTYPE_OTHER */

#endif
