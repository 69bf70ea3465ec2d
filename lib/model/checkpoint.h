/* checkpoint.h: a checkpoint of any dialect in canonical roles, ready to be put on a device. The one place that knows
 * tensor names. */
#ifndef RETNET_MODEL_CHECKPOINT_H
#define RETNET_MODEL_CHECKPOINT_H

#include "model/config.h"
#include "model/safetensors.h"

/* Rows [first_row, first_row + rows) of a [*, columns] matrix in the file. */
typedef struct rn_matrix_source {
    const rn_tensor *tensor; /* F32, F16, BF16, or quantised: I8, or two weights in a U8; NULL: absent */
    const rn_tensor *scales; /* of quantised ones: F16 [all rows, ceil(columns / 32)], for 32 neighbours in a row each;
                                else NULL. samples/quantize/README.md says what a weight is */
    uint64_t first_row;
    uint32_t rows, columns;
    uint32_t rotation_head; /* 0, or K: within each head of K rows, file row 2i becomes row i and 2i+1 becomes i+K/2 */
} rn_matrix_source;

/* Elements of a row in the file: two 4-bit weights share one, the last has one of its own where columns are odd. */
static inline uint64_t rn_stored_columns(rn_dtype dtype, uint64_t columns)
{
    return dtype == RN_DTYPE_U8 ? columns / 2 + columns % 2 : columns;
}

static inline uint64_t rn_matrix_row_bytes(const rn_matrix_source *source)
{
    rn_dtype dtype = source->tensor->dtype;
    return rn_stored_columns(dtype, source->columns) * rn_dtype_size(dtype);
}

/* A vector in the file: norm weight, bias. F32, F16 or BF16; tensor NULL: absent. */
typedef struct rn_vector_source {
    const rn_tensor *tensor;
    uint32_t size;
    uint32_t rotation_head; /* as above (biases of q and k) */
} rn_vector_source;

typedef struct rn_norm_source {
    rn_vector_source weight, bias;
} rn_norm_source;
typedef struct rn_linear_source {
    rn_matrix_source weight;
    rn_vector_source bias;
} rn_linear_source;

typedef struct rn_layer_source {
    rn_norm_source retention_norm; /* before the retention layer */
    rn_linear_source q, k, v, g;   /* g absent without output gate */
    rn_vector_source group_norm;   /* [V]; absent if config.group_norm_weight is false */
    rn_linear_source o;
    rn_norm_source ffn_norm;       /* before the feed-forward layer */
    rn_linear_source gate;         /* the activated branch; absent if not config.ffn_gated */
    rn_linear_source up;           /* the linear branch, or fc1 of a plain feed-forward layer */
    rn_norm_source ffn_inner_norm; /* old torchscale; else absent */
    rn_linear_source down;
} rn_layer_source;

typedef struct rn_checkpoint {
    rn_config config;
    rn_tensor_set *tensors;
    rn_matrix_source embedding;
    rn_norm_source embedding_norm;
    rn_layer_source *layers; /* [config.layers] */
    rn_norm_source output_norm;
    rn_matrix_source head; /* equal to embedding if config.tied_head */
    uint64_t content_hash; /* of config and weights: names the model in saved states; equal for equal content */
} rn_checkpoint;

/* Opens and checks a directory completely: every tensor that the config calls for is there with its shape and a
 * supported dtype, and no tensor is left over that would change the computation (refused by name). */
retnet_result rn_checkpoint_open(rn_host *host, const char *directory, rn_checkpoint *checkpoint);
/* The same without reading the weights: content_hash stays 0, and a tied head's copy is not compared. */
retnet_result rn_checkpoint_open_headers(rn_host *host, const char *directory, rn_checkpoint *checkpoint);
void rn_checkpoint_close(rn_host *host, rn_checkpoint *checkpoint); /* accepts a zeroed checkpoint */

#endif
