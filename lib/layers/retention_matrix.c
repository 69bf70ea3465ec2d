/* retention_matrix.c: the chunkwise form of retention on matrix units (shaders/retention_scratch.glsl). */
#include "layers/retention.h"

#include "layers/lanes.h"
#include "shaders.h"

#include <math.h>

enum { KEY_STEP = 64, VALUE_STEP = 64, SUBGROUPS = 4, PREPARED_HEADS = 2 };

typedef struct matrix_push {
    uint32_t x_stride, q_offset, k_offset, v_offset, y_stride;
    uint32_t heads, key_value_heads, key_size, value_size, value_stride, padded_key, padded_value;
    uint32_t query, key, key_in, value, before;
    uint32_t angles, decays, powers;
    float query_scale;
} matrix_push;

static uint32_t rounded_up(uint32_t value, uint32_t step)
{
    return rn_divide_up(value, step) * step;
}

/* Columns of V that one subgroup of the output kernel owns; a workgroup takes twice as many. */
static uint32_t output_columns(const rn_device *device, uint32_t value_size)
{
    /* Small code: software drivers compile slowly. */
    return device->caps.is_cpu ? 16 : value_size > VALUE_STEP ? 64 : 32;
}

/* Blocks that the output kernel has under way. */
static uint32_t depth(const rn_device *device)
{
    return device->caps.is_cpu ? 1 : 2; /* small code */
}

static uint32_t padded_values(uint32_t value_size)
{
    return rounded_up(value_size, value_size > VALUE_STEP ? 2 * VALUE_STEP : VALUE_STEP);
}

/* Offsets of the arrays in the scratch, in units of eight halves; returns where they end. */
static uint64_t place_arrays(uint32_t heads, uint32_t key_value_heads, uint32_t key_size, uint32_t value_size,
                             uint32_t chunk_count, uint64_t offsets[5])
{
    uint64_t keys = (uint64_t)RN_CHUNK * rounded_up(key_size, KEY_STEP) / 8 * chunk_count;
    uint64_t values = (uint64_t)RN_CHUNK * padded_values(value_size) / 8 * chunk_count;
    uint64_t states = (uint64_t)rounded_up(key_size, KEY_STEP) * padded_values(value_size) / 8 * chunk_count;
    const uint64_t sizes[5] = {keys * heads, keys * key_value_heads, keys * heads, values * key_value_heads,
                               states * heads};
    uint64_t end = 0;
    for (int i = 0; i < 5; i++) {
        offsets[i] = end;
        end += sizes[i];
    }
    return end;
}

bool rn_retention_matrix_suits(const rn_device *device, uint32_t key_size)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    /* The larger of the kernels: two stages of 64 + 128 rows (on software drivers 64 + 64), scores, pieces. */
    uint32_t staged_rows = device->caps.is_cpu ? 128 : 192;
    uint32_t shared = 2 * staged_rows * 80 + RN_CHUNK * 144 + SUBGROUPS * unit->m * unit->n * 4;
    return unit->m && rn_shaders[RN_SHADER_RETENTION_OUTPUT_MATRIX].words && key_size % 8 == 0 && unit->m <= 16 &&
           unit->n <= 16 && unit->k <= RN_CHUNK && SUBGROUPS * unit->subgroup <= device->caps.max_invocations &&
           shared <= device->caps.shared_memory;
}

uint64_t rn_retention_matrix_scratch_bytes(uint32_t heads, uint32_t key_value_heads, uint32_t key_size,
                                           uint32_t value_size, uint32_t chunk_count)
{
    uint64_t offsets[5];
    return 16 * place_arrays(heads, key_value_heads, key_size, value_size, chunk_count, offsets);
}

static const rn_kernel *get_kernel(rn_recorder *recorder, int shader, const uint32_t *constants, uint32_t count)
{
    const rn_kernel *kernel = NULL;
    retnet_result result = rn_kernel_get(recorder->device, &rn_shaders[shader], constants, count, &kernel);
    if (result != RETNET_OK) rn_recorder_fail(recorder, result);
    return kernel;
}

static void record_prepare(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks,
                           rn_binding scratch, const matrix_push *push)
{
    uint32_t places = r->value_size | r->q_offset | r->k_offset | r->v_offset | (r->halves ? 0 : r->x_stride);
    uint32_t constants[] = {rn_min_u32(256, recorder->device->caps.max_invocations), r->halves, places % 4 == 0};
    const rn_kernel *kernel = get_kernel(recorder, RN_SHADER_RETENTION_PREPARE, constants, RN_COUNT(constants));
    if (!kernel) return;
    uint32_t key_parts = rn_divide_up(push->padded_key / 4 - r->key_size / 8, 8);
    uint32_t parts =
        key_parts * (rn_divide_up(r->heads, PREPARED_HEADS) + rn_divide_up(r->key_value_heads, PREPARED_HEADS)) +
        r->key_value_heads * (push->padded_value / 64);
    rn_binding bindings[] = {r->input, scratch, r->params, chunks->chunks};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), push, sizeof *push, parts, chunks->chunk_count,
                         1, 0);
}

static void record_states(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks,
                          rn_binding scratch, const matrix_push *push)
{
    const rn_matrix_unit *unit = &recorder->device->caps.matrix;
    uint32_t columns = recorder->device->caps.is_cpu ? 16 : 32;
    uint32_t constants[] = {SUBGROUPS * unit->subgroup, unit->subgroup, unit->m, unit->n, unit->k, columns};
    const rn_kernel *kernel = get_kernel(recorder, RN_SHADER_RETENTION_STATES_MATRIX, constants, RN_COUNT(constants));
    if (!kernel) return;
    rn_binding bindings[] = {scratch, r->state, r->params, chunks->chunks, chunks->sequences};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), push, sizeof *push,
                         push->padded_value / (2 * columns), push->padded_key / (2 * columns),
                         chunks->sequence_count * r->heads, 0);
}

static void record_output(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks,
                          rn_binding scratch, const matrix_push *push)
{
    const rn_matrix_unit *unit = &recorder->device->caps.matrix;
    bool direct = unit->lanes != RN_LANES_UNKNOWN;
    uint32_t columns = output_columns(recorder->device, r->value_size);
    /* More columns a workgroup share the scores. */
    uint32_t across = direct && !recorder->device->caps.is_cpu && push->padded_value % (4 * columns) == 0 ? 4 : 2;
    uint32_t constants[] = {
        2 * across * unit->subgroup, unit->subgroup, unit->m, unit->n, unit->k, columns, unit->lanes,
        depth(recorder->device)};
    const rn_kernel *kernel =
        direct ? get_kernel(recorder, RN_SHADER_RETENTION_OUTPUT_DIRECT, constants, RN_COUNT(constants))
               : get_kernel(recorder, RN_SHADER_RETENTION_OUTPUT_MATRIX, constants, RN_COUNT(constants) - 2);
    if (!kernel) return;
    rn_binding bindings[] = {scratch, r->output, r->params, chunks->chunks};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), push, sizeof *push,
                         push->padded_value / (across * columns), chunks->chunk_count, r->heads, 0);
}

void rn_retention_matrix_record(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks)
{
    uint64_t offsets[5];
    uint64_t units =
        place_arrays(r->heads, r->key_value_heads, r->key_size, r->value_size, chunks->chunk_count, offsets);
    rn_binding scratch = {chunks->scratch, chunks->scratch_offset, 16 * units};
    matrix_push push = {
        .x_stride = r->x_stride,
        .q_offset = r->q_offset,
        .k_offset = r->k_offset,
        .v_offset = r->v_offset,
        .y_stride = r->y_stride,
        .heads = r->heads,
        .key_value_heads = r->key_value_heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .value_stride = rn_retention_value_stride(r->value_size),
        .padded_key = rounded_up(r->key_size, KEY_STEP),
        .padded_value = padded_values(r->value_size),
        .query = (uint32_t)offsets[0],
        .key = (uint32_t)offsets[1],
        .key_in = (uint32_t)offsets[2],
        .value = (uint32_t)offsets[3],
        .before = (uint32_t)offsets[4],
        .angles = r->tables.angles,
        .decays = r->tables.decays,
        .powers = r->tables.powers,
        .query_scale = (float)(1.0 / sqrt(r->key_size)),
    };
    record_prepare(recorder, r, chunks, scratch, &push);
    record_states(recorder, r, chunks, scratch, &push);
    record_output(recorder, r, chunks, scratch, &push);
}
