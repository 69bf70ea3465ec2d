/* linear.h: y = W x on the device, W in panels (shaders/weights.glsl), with the norms, activations and residuals that
 * stand beside a projection folded in. */
#ifndef RETNET_LAYERS_LINEAR_H
#define RETNET_LAYERS_LINEAR_H

#include "vulkan/recorder.h"

enum { RN_PANEL_ROWS = 64, RN_BLOCK_INPUTS = 32 };

/* Inputs of a matrix with the zeros behind them. */
static inline uint32_t rn_padded_inputs(uint32_t inputs)
{
    return rn_divide_up(inputs, RN_BLOCK_INPUTS) * RN_BLOCK_INPUTS;
}

/* A weight matrix [rows, inputs] on the device. */
typedef struct rn_matrix {
    const rn_buffer *buffer;
    uint64_t offset, bytes;
    retnet_weight_format format;
    uint32_t rows; /* of the matrix; with alternating panels, of each of the two */
    uint32_t inputs;
    bool alternating; /* two matrices, activated and linear branch, panel by panel */
} rn_matrix;

/* Whether weights are small integers with a scale for each block. */
static inline bool rn_format_is_scaled(retnet_weight_format format)
{
    return format == RETNET_WEIGHTS_Q8 || format == RETNET_WEIGHTS_Q4;
}

uint32_t rn_matrix_blocks(const rn_matrix *matrix); /* of 32 inputs */
uint32_t rn_matrix_panels(const rn_matrix *matrix); /* of 64 rows, of both matrices if alternating */
uint64_t rn_matrix_panel_bytes(const rn_matrix *matrix);
/* Panels that one binding can hold, so that every piece but the last is aligned; at least 1. */
uint32_t rn_matrix_panels_per_binding(const rn_device *device, const rn_matrix *matrix);

/* Values match linear.comp. */
typedef enum rn_linear_prologue {
    RN_PROLOGUE_NONE,
    RN_PROLOGUE_ROW_SCALE,
    RN_PROLOGUE_RMS_NORM,
    RN_PROLOGUE_GROUP_NORM
} rn_linear_prologue;
typedef enum rn_linear_epilogue { RN_EPILOGUE_STORE, RN_EPILOGUE_ADD, RN_EPILOGUE_GLU } rn_linear_epilogue;

/* How a projection is shared out among workgroups and invocations. */
typedef struct rn_linear_shape {
    uint32_t group_rows; /* rows of a panel side by side; a power of two. 0: chosen for matrix and device */
    uint32_t splits;     /* ways in which each row's inputs are split; group_rows * splits invocations a workgroup */
    uint32_t rows;       /* one column: rows of an invocation; a power of two, group_rows * rows is up to 64 */
    uint32_t ahead;      /* one column: units of weights, 16 bytes, of a row under way at once, at most */
    uint32_t groups;     /* one column: workgroups at most; 0: one a tile */
} rn_linear_shape;

typedef struct rn_linear {
    const rn_matrix *matrix;
    rn_binding input, output, params;
    uint32_t columns;            /* tokens */
    uint32_t x_stride, y_stride; /* floats; x_stride a multiple of 32 with finite padding; RMS_NORM: zero */
    rn_linear_prologue prologue;
    uint32_t scale_offset;            /* ROW_SCALE, GROUP_NORM */
    uint32_t norm_weight;             /* RMS_NORM: in params */
    float eps;                        /* RMS_NORM */
    uint32_t heads, head_size, tiles; /* GROUP_NORM */
    rn_linear_epilogue epilogue;
    uint32_t activation; /* 0 none, else 1 + rn_activation */
    bool has_bias;
    uint32_t bias; /* in params */
    /* In a chain (recorder.h), which takes one column, no ROW_SCALE, on GPUs: the input is the chain's
     * memory, in which x begins at x_at, a multiple of 4, and what ADD adds to at before_at. */
    bool chained;
    uint32_t x_at, before_at; /* floats */
    rn_linear_shape shape;    /* on GPUs */
} rn_linear;

/* Whether this projection's prologue, RMS_NORM or GROUP_NORM, can be taken on this device for its columns. ROW_SCALE is
 * for GPUs. */
bool rn_linear_can_fuse(const rn_device *device, const rn_linear *linear);

/* Shapes for a projection of one column that could be the fastest, the rule's first; more than that only where kernels
 * are chosen by measurement (linear_measure.h). */
enum { RN_LINEAR_CANDIDATES = 4 };
uint32_t rn_linear_candidates(const rn_device *device, const rn_linear *linear,
                              rn_linear_shape shapes[RN_LINEAR_CANDIDATES]);
bool rn_linear_is_chosen(const rn_device *device, const rn_linear *linear);
/* What projections like this one are recorded with from now on. */
void rn_linear_choose(rn_device *device, const rn_linear *linear, rn_linear_shape shape);

void rn_linear_record(rn_recorder *recorder, const rn_linear *linear);

#endif
