/* params.h: the small fp32 numbers of a model (tables of angles and decays, norm weights, biases), collected on the
 * host in double precision where it matters, then uploaded as one buffer. */
#ifndef RETNET_MODEL_PARAMS_H
#define RETNET_MODEL_PARAMS_H

#include "layers/retention.h"
#include "model/checkpoint.h"

typedef struct rn_params {
    rn_host *host;
    float *values; /* NULL while only counting */
    uint32_t count;
} rn_params;

/* Room for `count` values, aligned to 16 bytes; returns where it begins, in floats. */
uint32_t rn_params_reserve(rn_params *params, uint32_t count);

/* The tables of shaders/positions.glsl and retention_*.comp for a config. */
rn_retention_tables rn_params_add_tables(rn_params *params, const rn_config *config);

/* A vector of a checkpoint as fp32 (its rotation permutation applied), at values[0..size). */
void rn_vector_read(const rn_vector_source *source, float *values);

#endif
