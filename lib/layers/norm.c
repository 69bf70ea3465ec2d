#include "layers/norm.h"

#include "shaders.h"

typedef struct norm_push {
    uint32_t size, x_stride, x_offset, y_stride, y_offset, gate_stride, gate_offset, weight, bias;
    float eps;
    uint32_t decay_sums, scale_offset, tiles, record_count, c2_stride, c2_offset, first_row;
} norm_push;

void rn_norm_record(rn_recorder *recorder, const rn_norm *norm)
{
    const rn_capabilities *caps = &recorder->device->caps;
    uint32_t lanes = !norm->halves || caps->is_cpu ? 64
                     : norm->segments > 1          ? 128
                                                   : rn_min_u32(256, caps->max_invocations);
    uint32_t gate = norm->has_gate ? norm->gate_halves ? 2 : 1 : 0;
    uint32_t constants[] = {
        lanes,      norm->layer_norm, norm->has_weight, norm->has_bias, gate, norm->eps_given ? 2 : norm->eps_scaled,
        norm->mode, norm->halves};
    const rn_kernel *kernel;
    retnet_result result =
        rn_kernel_get(recorder->device, &rn_shaders[RN_SHADER_NORM], constants, RN_COUNT(constants), &kernel);
    if (result != RETNET_OK) {
        rn_recorder_fail(recorder, result);
        return;
    }
    /* Bindings that a variant does not use still need a buffer. */
    rn_binding bindings[] = {norm->input, norm->output, norm->params, norm->has_gate ? norm->gate : norm->params,
                             norm->chunks.buffer ? norm->chunks : norm->params};
    if (!norm->chunks.buffer) bindings[4].size = rn_min_u64(bindings[4].size, 16 * RN_MAX_RECORDS);
    norm_push push = {
        .size = norm->size,
        .x_stride = norm->x_stride,
        .x_offset = norm->x_offset,
        .y_stride = norm->y_stride,
        .y_offset = norm->y_offset,
        .gate_stride = norm->gate_stride,
        .gate_offset = norm->gate_offset,
        .weight = norm->weight,
        .bias = norm->bias,
        .eps = norm->eps,
        .decay_sums = norm->decay_sums,
        .scale_offset = norm->scale_offset,
        .tiles = norm->tiles,
        .record_count = norm->chunk_count,
        .c2_stride = norm->c2_stride,
        .c2_offset = norm->c2_offset,
        .first_row = norm->first_row,
    };
    uint64_t bytes = 8ull * norm->rows * norm->segments * norm->size;
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, norm->segments, norm->rows,
                         1, bytes);
}
