/* retention_parallel.c: the parallel form of retention, and what torchscale's forms are normalised by. */
#include "layers/retention.h"

#include "shaders.h"

typedef struct parallel_push {
    uint32_t stride, q_offset, k_offset, v_offset, y_stride, y_offset, c2_stride, c2_offset;
    uint32_t heads, key_value_group, key_size, value_size, value_stride, decay_sums;
    float scale;
} parallel_push;

typedef struct c2_push {
    uint32_t c2_stride, c2_offset, heads, key_size, value_size, value_stride, chunk, states_before, decay_sums;
    float scale;
} c2_push;

enum { LANES = 64, ROWS = 8, MOST_COLUMNS = 4 };

void rn_retention_parallel_record(rn_recorder *recorder, const rn_retention *r, const rn_retention_parallel *parallel)
{
    uint32_t columns = rn_min_u32(rn_divide_up(r->value_size, LANES), MOST_COLUMNS);
    uint32_t constants[] = {columns, parallel->has_state, parallel->c2};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_PARALLEL], constants, RN_COUNT(constants));
    if (!kernel) return;
    parallel_push push = {
        .stride = r->x_stride,
        .q_offset = r->q_offset,
        .k_offset = r->k_offset,
        .v_offset = r->v_offset,
        .y_stride = r->y_stride,
        .y_offset = r->y_offset,
        .c2_stride = r->c2_stride,
        .c2_offset = r->c2_offset,
        .heads = r->heads,
        .key_value_group = r->heads / r->key_value_heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .value_stride = rn_retention_value_stride(r->value_size),
        .decay_sums = r->tables.decay_sums,
        .scale = rn_retention_scale(r),
    };
    rn_binding bindings[] = {r->input, r->output, r->params, parallel->has_state ? r->state : r->params,
                             parallel->sequences};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                         rn_divide_up(r->value_size, LANES * columns), rn_divide_up(parallel->longest, ROWS),
                         parallel->count * r->heads, 0);
}

static void record_c2(rn_recorder *recorder, const rn_retention *r, bool chunkwise, rn_binding scratch,
                      rn_binding records, uint32_t count, uint32_t chunk, uint32_t states_before)
{
    uint32_t constants[] = {chunkwise};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_C2], constants, RN_COUNT(constants));
    if (!kernel) return;
    c2_push push = {
        .c2_stride = r->c2_stride,
        .c2_offset = r->c2_offset,
        .heads = r->heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .value_stride = rn_retention_value_stride(r->value_size),
        .chunk = chunk,
        .states_before = states_before,
        .decay_sums = r->tables.decay_sums,
        .scale = rn_retention_scale(r),
    };
    rn_binding bindings[] = {scratch, r->output, r->params, records};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, r->heads, count, 1, 0);
}

void rn_retention_c2_record(rn_recorder *recorder, const rn_retention *retention, rn_binding records, uint32_t count)
{
    record_c2(recorder, retention, false, retention->params, records, count, 0, 0);
}

void rn_retention_chunks_c2_record(rn_recorder *recorder, const rn_retention *retention,
                                   const rn_retention_chunks *chunks, rn_binding scratch, uint32_t states_before)
{
    record_c2(recorder, retention, true, scratch, chunks->chunks, chunks->chunk_count,
              chunks->chunk ? chunks->chunk : RN_CHUNK, states_before);
}
