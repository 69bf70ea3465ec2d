/* matmul.h: projections of many columns on matrix units: f16 activations, weights of any format taken as f16, fp32
 * sums. */
#ifndef RETNET_LAYERS_MATMUL_H
#define RETNET_LAYERS_MATMUL_H

#include "layers/linear.h"

/* A workgroup's tile and a subgroup's part of it; tokens 0: chosen for the problem and the device. */
typedef struct rn_matmul_tile {
    uint32_t tokens, rows, sub_tokens, sub_rows;
} rn_matmul_tile;

typedef struct rn_matmul {
    const rn_matrix *matrix;
    rn_binding input;  /* f16; finite from the matrix's inputs up to a multiple of 32 */
    rn_binding output; /* fp32, or f16 */
    uint32_t columns;  /* tokens */
    uint32_t x_stride; /* halves, a multiple of 32 */
    uint32_t y_stride; /* floats, or halves, then a multiple of 32 */
    rn_linear_epilogue epilogue;
    uint32_t activation; /* 0 none, else 1 + rn_activation */
    bool halves;         /* the output is f16, clamped to its range, and zero from the rows up to a multiple of 32 */
    rn_matmul_tile tile;
} rn_matmul;

/* Whether the device and this build can, and it is worth it for so many columns. */
bool rn_matmul_suits(const rn_device *device, uint32_t columns);

void rn_matmul_record(rn_recorder *recorder, const rn_matmul *matmul);

#endif
