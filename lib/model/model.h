/* model.h: a model's weights on the device and where everything in them lies. Immutable after creation, so that
 * sessions on any thread may share it. */
#ifndef RETNET_MODEL_MODEL_H
#define RETNET_MODEL_MODEL_H

#include "layers/linear.h"
#include "layers/retention.h"
#include "model/config.h"

/* A norm's weight and bias in the parameters. */
typedef struct rn_model_norm {
    bool has_weight, has_bias;
    uint32_t weight, bias; /* floats from the start of the parameters */
} rn_model_norm;

typedef struct rn_model_linear {
    rn_matrix matrix;
    bool has_bias;
    uint32_t bias;
} rn_model_linear;

typedef struct rn_model_layer {
    rn_model_norm retention_norm;
    rn_model_linear qkvg; /* rows of q, k, v and gate, one after the other */
    rn_model_norm group_norm;
    rn_model_linear o;
    rn_model_norm ffn_norm;
    rn_model_linear up; /* gated: gate and up, alternating panels */
    rn_model_norm ffn_inner_norm;
    rn_model_linear down;
} rn_model_layer;

enum { RN_MAX_WEIGHT_BUFFERS = 256 };

struct retnet_model {
    retnet_context *context;
    rn_device *device;
    rn_config config;
    retnet_weight_format format;
    uint64_t content_hash;
    uint64_t parameters, weight_bytes;
    rn_buffer buffers[RN_MAX_WEIGHT_BUFFERS]; /* the matrices */
    uint32_t buffer_count;
    rn_buffer params; /* fp32: tables, norm weights, biases */
    rn_retention_tables tables;
    rn_matrix embedding, head;
    rn_model_norm embedding_norm, output_norm;
    rn_model_layer *layers;
};

rn_binding rn_model_params(const retnet_model *model);
/* Bytes of one slot's state in one layer, and in all. */
uint64_t rn_model_layer_state_bytes(const retnet_model *model);
uint64_t rn_model_state_bytes(const retnet_model *model);

#endif
