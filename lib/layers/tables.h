/* tables.h: the tables of positions and decays that kernels read (shaders/positions.glsl), computed in double
 * precision. */
#ifndef RETNET_LAYERS_TABLES_H
#define RETNET_LAYERS_TABLES_H

#include "base/base.h"

/* Floats of each, for positions below 2^30. */
uint32_t rn_angle_floats(uint32_t pairs);
uint32_t rn_decay_sum_floats(uint32_t heads);

/* cos and sin of position * theta[pair]: [3][1024][pairs] pairs. */
void rn_write_angles(float *out, const double *theta, uint32_t pairs);
/* s_n and powers of each head's decay: [heads][3][1024] pairs. */
void rn_write_decay_sums(float *out, const float *decay, uint32_t heads);
/* decay^0..decay^(count-1) of each head. */
void rn_write_powers(float *out, const float *decay, uint32_t heads, uint32_t count);

/* 1 + decay + ... + decay^(terms-1): s_n of retnet.md after terms = n + 1 tokens. */
double rn_decay_sum(double decay, double terms);

#endif
