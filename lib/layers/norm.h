/* norm.h: RMS norm, layer norm and group norm over rows of activations. */
#ifndef RETNET_LAYERS_NORM_H
#define RETNET_LAYERS_NORM_H

#include "layers/retention.h"

/* Values match norm.comp. */
typedef enum rn_norm_mode {
    RN_NORM_NORMALISE, /* y = norm(x) */
    RN_NORM_DEFER,     /* y = x * weight, and the factor behind it at scale_offset, for a projection to apply */
    RN_NORM_APPLY      /* y = x * factor, from the sums that retention_step left at scale_offset */
} rn_norm_mode;

/* Normalises `segments` pieces of `size` values in each of `rows` rows, starting at `first_row`. y may be x. */
typedef struct rn_norm {
    rn_norm_mode mode;
    bool layer_norm; /* subtract the mean */
    rn_binding input, output, params;
    uint32_t first_row, rows, segments, size;
    uint32_t x_offset, y_offset; /* floats; y_offset of halves even */
    uint32_t x_stride, y_stride; /* floats; y_stride the room of halves (shaders/halves.glsl) if those are asked for */
    bool halves; /* the output is f16 and zero up to a multiple of 32; `size` even unless there is one segment; no DEFER
                  */
    bool has_weight, has_bias;
    uint32_t weight, bias; /* in params; [size], shared by the segments */
    float eps;
    bool has_gate; /* times silu(gate) */
    rn_binding gate;
    uint32_t gate_stride, gate_offset; /* floats, or the room of halves and where in it a token begins */
    bool gate_halves;                  /* the gate is f16 */
    /* eps times c^2 (retnet.md, NORM): s_n of the row's position, or what lies in the input for each segment. */
    bool eps_scaled, eps_given;
    rn_binding chunks; /* of eps_scaled; without, any buffer of RN_MAX_RECORDS records, or none: params is one */
    uint32_t chunk_count, decay_sums;
    uint32_t c2_stride, c2_offset; /* floats */
    uint32_t scale_offset, tiles;
} rn_norm;

void rn_norm_record(rn_recorder *recorder, const rn_norm *norm);

#endif
