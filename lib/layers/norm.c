#include "layers/norm.h"

#include "shaders.h"

typedef struct norm_push {
    uint32_t size, x_stride, x_offset, y_stride, y_offset, gate_stride, gate_offset, weight, bias;
    float eps;
    uint32_t decay_sums, scale_offset, tiles, record_count, c2_stride, c2_offset, first_row;
} norm_push;

/* Whether everything that norm.comp touches lies in eights. */
static bool suits_eights(const rn_norm *n)
{
    uint32_t places = n->size | n->y_offset | (n->has_gate ? n->gate_offset : 0);
    uint32_t fours = n->x_stride | n->x_offset | (n->has_weight ? n->weight : 0) | (n->has_bias ? n->bias : 0);
    return n->halves && n->mode == RN_NORM_NORMALISE && (!n->has_gate || n->gate_halves) && places % 8 == 0 &&
           fours % 4 == 0;
}

/* On GPUs. */
static uint32_t choose_lanes(const rn_device *device, const rn_norm *norm, bool eights)
{
    if (!eights) return norm->halves ? 128 : 64;
    return norm->size <= 512 ? 64 : norm->size <= 1024 || device->caps.max_invocations < 256 ? 128 : 256;
}

void rn_norm_record(rn_recorder *recorder, const rn_norm *norm)
{
    bool eights = suits_eights(norm);
    uint32_t lanes = recorder->device->caps.is_cpu ? 64 : choose_lanes(recorder->device, norm, eights);
    uint32_t gate = norm->has_gate ? norm->gate_halves ? 2 : 1 : 0;
    uint32_t constants[] = {lanes,
                            norm->layer_norm,
                            norm->has_weight,
                            norm->has_bias,
                            gate,
                            norm->eps_given ? 2 : norm->eps_scaled,
                            norm->mode,
                            norm->halves,
                            eights};
    const rn_kernel *kernel = rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_NORM], constants, RN_COUNT(constants));
    if (!kernel) return;
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
