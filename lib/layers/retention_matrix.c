/* retention_matrix.c: the chunkwise form of retention on matrix units (shaders/retention_scratch.glsl). */
#include "layers/retention.h"

#include "layers/lanes.h"
#include "layers/matmul.h"
#include "shaders.h"

enum { KEY_STEP = 64, VALUE_STEP = 64, SUBGROUPS = 4, PREPARED_HEADS = 2 };

typedef struct matrix_push {
    uint32_t x_stride, q_offset, k_offset, v_offset, y_stride, y_offset;
    uint32_t heads, key_value_heads, key_size, value_size, value_stride;
    rn_retention_places places;
    uint32_t angles, decays, powers, powers_stride;
    float query_scale, eps;
    uint32_t weight, decay_sums, gate_offset, first_output;
    rn_address scratch;
} matrix_push;

static uint32_t rounded_up(uint32_t value, uint32_t step)
{
    return rn_divide_up(value, step) * step;
}

static uint32_t padded_values(uint32_t value_size)
{
    return rounded_up(value_size, value_size > VALUE_STEP ? 2 * VALUE_STEP : VALUE_STEP);
}

rn_retention_arrays rn_retention_arrays_of(uint32_t heads, uint32_t key_value_heads, uint32_t key_size,
                                           uint32_t value_size, uint32_t chunk_count)
{
    rn_retention_places p = {.padded_key = rounded_up(key_size, KEY_STEP), .padded_value = padded_values(value_size)};
    uint64_t keys = (uint64_t)RN_CHUNK * p.padded_key / 8 * chunk_count;
    uint64_t values = (uint64_t)RN_CHUNK * p.padded_value / 8 * chunk_count;
    uint64_t key = keys * heads, key_in = key + keys * key_value_heads, value = key_in + keys * heads;
    uint64_t before = value + values * key_value_heads;
    p.key = (uint32_t)key;
    p.key_in = (uint32_t)key_in;
    p.value = (uint32_t)value;
    p.before = (uint32_t)before;
    uint64_t states = (uint64_t)p.padded_key * p.padded_value / 8 * chunk_count * heads;
    return (rn_retention_arrays){p, before + states};
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
    return 16 * rn_retention_arrays_of(heads, key_value_heads, key_size, value_size, chunk_count).end;
}

bool rn_retention_matrix_is_direct(const rn_device *device)
{
    return device->caps.matrix.lanes != RN_LANES_UNKNOWN && device->caps.subgroup_arithmetic;
}

static void record_prepare(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks,
                           rn_binding scratch, const matrix_push *push)
{
    uint32_t places = r->value_size | r->q_offset | r->k_offset | r->v_offset | (r->halves ? 0 : r->x_stride);
    uint32_t constants[] = {rn_min_u32(256, recorder->device->caps.max_invocations), r->halves, places % 4 == 0,
                            !chunks->rotated};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_PREPARE], constants, RN_COUNT(constants));
    if (!kernel) return;
    uint32_t key_parts = rn_divide_up(push->places.padded_key / 4 - r->key_size / 8, 8);
    uint32_t parts =
        key_parts * (rn_divide_up(r->heads, PREPARED_HEADS) + rn_divide_up(r->key_value_heads, PREPARED_HEADS)) +
        r->key_value_heads * (push->places.padded_value / 64);
    rn_binding bindings[] = {r->input, scratch, r->params, chunks->chunks};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), push, sizeof *push, parts, chunks->chunk_count,
                         1, 0);
}

/* The one of two direct kernels that suits the scratch (shaders/retention_units.glsl). By what is known before there is
 * memory, so that preparation finds the same. */
static const rn_shader *direct_shader(const rn_device *device, const rn_binding *scratch, uint32_t bound,
                                      uint32_t addressed)
{
    bool has_address = device->addresses && !scratch->buffer->foreign;
    return &rn_shaders[has_address && scratch->size <= RN_MATMUL_MOST_BYTES ? addressed : bound];
}

static void record_states(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks,
                          rn_binding scratch, const matrix_push *push)
{
    const rn_device *device = recorder->device;
    const rn_matrix_unit *unit = &device->caps.matrix;
    bool direct = rn_retention_matrix_is_direct(device);
    uint32_t columns = device->caps.is_cpu ? 16 : 32, across = 2, down = 2;
    /* The more of a state a workgroup owns, the less is read from the second-level cache; behind retention_prepare.comp
     * smaller ones were quicker all the same. */
    if (direct && chunks->projected && push->places.padded_value % (4 * columns) == 0 &&
        8 * unit->subgroup <= device->caps.max_invocations)
        across = 4;
    uint32_t constants[] = {across * down * unit->subgroup,
                            unit->subgroup,
                            unit->m,
                            unit->n,
                            unit->k,
                            columns,
                            unit->lanes,
                            chunks->projected,
                            across};
    const rn_kernel *kernel =
        direct ? rn_recorder_kernel(recorder,
                                    direct_shader(device, &scratch, RN_SHADER_RETENTION_STATES_DIRECT,
                                                  RN_SHADER_RETENTION_STATES_ADDRESSED),
                                    constants, RN_COUNT(constants))
               : rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_STATES_MATRIX], constants,
                                    RN_COUNT(constants) - 3);
    if (!kernel) return;
    rn_binding bindings[] = {scratch, r->state, r->params, chunks->chunks, chunks->sequences};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), push, sizeof *push,
                         push->places.padded_value / (across * columns), push->places.padded_key / (down * columns),
                         chunks->sequence_count * r->heads, 0);
}

/* A workgroup of the output kernel: subgroups that own `rows` of a chunk and `columns` of V each, `across` of them
 * along V. */
typedef struct output_tile {
    uint32_t rows, columns, across;
} output_tile;

static uint32_t output_subgroups(const output_tile *tile)
{
    return RN_CHUNK / tile->rows * tile->across;
}

/* Bytes of two chunks' scores, pieces, and sums of squares that the direct kernel shares at most. */
static uint32_t output_shared(const rn_device *device, const output_tile *tile)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    return RN_CHUNK * (2 * RN_CHUNK / 8 + 1) * 16 + output_subgroups(tile) * unit->m * unit->n * 4 +
           tile->across * RN_CHUNK * 4;
}

/* The staged kernel's is fixed. */
static output_tile staged_tile(const rn_device *device, uint32_t value_size)
{
    /* Small code: software drivers compile slowly. */
    return (output_tile){RN_CHUNK / 2, device->caps.is_cpu ? 16 : value_size > VALUE_STEP ? 64 : 32, 2};
}

/* As many columns as possible share the scores. */
static output_tile direct_tile(const rn_device *device, uint32_t value_size, bool norm)
{
    output_tile tile = {64, value_size > VALUE_STEP ? 64 : 32, 1};
    if (device->caps.is_cpu) tile = (output_tile){32, 16, 1}; /* small code: software drivers compile slowly */
    uint32_t columns = padded_values(value_size) / tile.columns;
    uint32_t most = device->caps.is_cpu ? norm ? columns : 2 : 8; /* of 255 registers an invocation */
    for (uint32_t across = 1; across <= most && across <= columns; across++) {
        output_tile candidate = {tile.rows, tile.columns, across};
        if (columns % across == 0 &&
            output_subgroups(&candidate) * device->caps.matrix.subgroup <= device->caps.max_invocations &&
            output_shared(device, &candidate) <= device->caps.shared_memory)
            tile = candidate;
    }
    return tile;
}

bool rn_retention_matrix_norms(const rn_device *device, const rn_retention *r)
{
    if (!rn_retention_matrix_suits(device, r->key_size) || !rn_retention_matrix_is_direct(device) || !r->halves ||
        r->heads * r->value_size % 32 || r->value_size % 2)
        return false;
    output_tile tile = direct_tile(device, r->value_size, true);
    return tile.across * tile.columns == padded_values(r->value_size);
}

static void record_output_staged(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks,
                                 rn_binding scratch, const matrix_push *push)
{
    const rn_matrix_unit *unit = &recorder->device->caps.matrix;
    output_tile tile = staged_tile(recorder->device, r->value_size);
    uint32_t constants[] = {
        output_subgroups(&tile) * unit->subgroup, unit->subgroup, unit->m, unit->n, unit->k, tile.columns};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_OUTPUT_MATRIX], constants, RN_COUNT(constants));
    if (!kernel) return;
    rn_binding bindings[] = {scratch, r->output, r->params, chunks->chunks};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), push, sizeof *push,
                         push->places.padded_value / (tile.across * tile.columns), rn_retention_outputs(chunks),
                         r->heads, 0);
}

static void record_output_direct(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks,
                                 rn_binding scratch, const matrix_push *push)
{
    const rn_device *device = recorder->device;
    const rn_matrix_unit *unit = &device->caps.matrix;
    const rn_retention_norm *norm = chunks->norm;
    output_tile tile = direct_tile(device, r->value_size, norm != NULL);
    uint32_t depth = device->caps.is_cpu ? 1 : 2;
    /* Eights, or fours of fp32. */
    uint32_t places =
        r->value_size | (norm ? r->gate_offset | norm->weight * 2 : (push->y_stride | push->y_offset) * 2);
    uint32_t constants[] = {
        output_subgroups(&tile) * unit->subgroup,
        unit->subgroup,
        unit->m,
        unit->n,
        unit->k,
        tile.rows,
        tile.columns,
        unit->lanes,
        depth,
        norm != NULL,
        norm && norm->has_weight,
        norm && norm->has_gate,
        norm && norm->eps_scaled,
        places % 8 == 0,
        chunks->projected,
    };
    const rn_kernel *kernel = rn_recorder_kernel(
        recorder,
        direct_shader(device, &scratch, RN_SHADER_RETENTION_OUTPUT_DIRECT, RN_SHADER_RETENTION_OUTPUT_ADDRESSED),
        constants, RN_COUNT(constants));
    if (!kernel) return;
    rn_binding bindings[] = {scratch, norm ? norm->output : r->output, r->params, chunks->chunks, r->input};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), push, sizeof *push,
                         push->places.padded_value / (tile.across * tile.columns), r->heads,
                         rn_retention_outputs(chunks), 0);
}

void rn_retention_matrix_record(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks)
{
    rn_retention_arrays arrays =
        rn_retention_arrays_of(r->heads, r->key_value_heads, r->key_size, r->value_size, chunks->chunk_count);
    rn_binding scratch = {chunks->scratch, chunks->scratch_offset, 16 * arrays.end};
    matrix_push push = {
        .x_stride = r->x_stride,
        .q_offset = r->q_offset,
        .k_offset = r->k_offset,
        .v_offset = r->v_offset,
        .y_stride = chunks->norm ? chunks->norm->room : r->y_stride,
        .y_offset = chunks->norm ? 0 : r->y_offset,
        .heads = r->heads,
        .key_value_heads = r->key_value_heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .value_stride = rn_retention_value_stride(r->value_size),
        .places = arrays.places,
        .angles = r->tables.angles,
        .decays = r->tables.decays,
        .powers = r->tables.powers,
        .powers_stride = r->tables.powers_stride,
        .query_scale = rn_retention_scale(r),
        .eps = chunks->norm ? chunks->norm->eps : 0,
        .weight = chunks->norm ? chunks->norm->weight : 0,
        .decay_sums = r->tables.decay_sums,
        .gate_offset = r->gate_offset,
        .first_output = chunks->first_output,
        .scratch = rn_binding_address(&scratch),
    };
    if (!chunks->projected) record_prepare(recorder, r, chunks, scratch, &push);
    record_states(recorder, r, chunks, scratch, &push);
    if (rn_retention_outputs(chunks) == 0) return;
    if (rn_retention_matrix_is_direct(recorder->device))
        record_output_direct(recorder, r, chunks, scratch, &push);
    else
        record_output_staged(recorder, r, chunks, scratch, &push);
}
