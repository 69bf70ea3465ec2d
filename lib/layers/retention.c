#include "layers/retention.h"

#include "layers/tiles.h"
#include "shaders.h"

#include <math.h>

static const uint32_t no_sums = UINT32_MAX; /* as step_push.sums_offset */

typedef struct step_push {
    uint32_t x_stride, q_offset, k_offset, v_offset, gate_offset, y_stride, sums_offset, heads, key_value_group;
    uint32_t value_size, value_stride, angles, decays, weight, decay_sums;
    float query_scale, eps;
    uint32_t moves, x_at, marks, patience, again;
} step_push;

#define NO_MARKS UINT32_MAX /* retention_step_push.glsl */

typedef struct rotate_push {
    uint32_t stride, offset, heads, key_size, angles;
    float scale;
} rotate_push;

typedef struct scores_push {
    uint32_t stride, q_offset, k_offset, heads, key_value_group, key_size, chunk, powers, powers_stride, column_groups;
    float scale;
    uint32_t first_output;
} scores_push;

typedef struct states_push {
    uint32_t stride, k_offset, v_offset, heads, key_value_group, key_size, value_size, value_stride;
    uint32_t powers, powers_stride;
} states_push;

typedef struct output_push {
    uint32_t stride, q_offset, v_offset, y_stride, y_offset, heads, key_value_group, key_size, value_size, value_stride;
    uint32_t chunk, powers, powers_stride, states_before;
    float scale;
    uint32_t first_output;
} output_push;

uint32_t rn_retention_value_stride(uint32_t value_size)
{
    return rn_divide_up(value_size, 4) * 4;
}

/* Workgroups of the recurrent form that keep a GPU busy by their number alone (samples/bench/layer_bench.c). */
enum { ENOUGH_STEP_GROUPS = 512 };

/* Fours of columns that a workgroup of the recurrent form owns. On a GPU more than eight, which lie together in memory,
 * where enough workgroups remain. */
static uint32_t step_vectors(const rn_device *device, uint32_t heads, uint32_t value_size, uint32_t count)
{
    enum { MOST = 16, LEAST = 8 };
    uint32_t vectors = rn_retention_value_stride(value_size) / 4, lanes = LEAST;
    if (device->caps.is_cpu) return rn_min_u32(4 * rn_device_vector(device), vectors);
    while (lanes < MOST && rn_divide_up(vectors, 2 * lanes) * heads * count >= ENOUGH_STEP_GROUPS) lanes *= 2;
    return rn_min_u32(lanes, vectors);
}

/* Few workgroups are large ones: then all of a state is under way before its keys and queries are there. */
static uint32_t step_splits(const rn_device *device, uint32_t lanes, uint32_t key_size, uint32_t groups)
{
    uint32_t invocations = rn_min_u32(device->caps.max_invocations, groups < ENOUGH_STEP_GROUPS ? 512 : 256);
    uint32_t splits = 1, most = invocations / lanes;
    while (splits * 2 <= most && splits * 2 <= key_size) splits *= 2;
    return splits;
}

uint32_t rn_retention_step_tiles(const rn_device *device, uint32_t heads, uint32_t value_size, uint32_t count)
{
    return rn_divide_up(rn_retention_value_stride(value_size) / 4, step_vectors(device, heads, value_size, count));
}

float rn_retention_scale(const rn_retention *retention)
{
    return retention->scale != 0 ? retention->scale : (float)(1.0 / sqrt(retention->key_size));
}

static rn_step_shape step_shape(const rn_device *device, const rn_retention *retention, const rn_retention_step *step)
{
    if (step->shape.lanes) return step->shape;
    uint32_t lanes = step_vectors(device, retention->heads, retention->value_size, step->count);
    uint32_t tiles = rn_retention_step_tiles(device, retention->heads, retention->value_size, step->count);
    uint32_t groups = tiles * retention->heads * step->count;
    return (rn_step_shape){lanes, step_splits(device, lanes, retention->key_size, groups), 4};
}

/* Splits of a column that a subgroup adds by itself. Where a driver may take smaller subgroups than it says, eight
 * invocations side by side are in one all the same. */
static uint32_t step_neighbours(const rn_device *device, rn_step_shape shape)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t together = unit->m && !unit->must_ask_subgroup ? unit->subgroup : 8;
    bool can = device->caps.subgroup_arithmetic && device->caps.subgroup_size >= together &&
               (shape.lanes & (shape.lanes - 1)) == 0 && together >= 2 * shape.lanes;
    return can ? rn_min_u32(together / shape.lanes, shape.splits) : 1;
}

static const rn_kernel *step_kernel_for_gpu(rn_recorder *recorder, const rn_retention *retention,
                                            const rn_retention_step *step)
{
    rn_step_shape shape = step_shape(recorder->device, retention, step);
    uint32_t neighbours = step_neighbours(recorder->device, shape);
    uint32_t constants[] = {
        shape.lanes * shape.splits,     shape.lanes,      retention->key_size, step->has_gate && !step->raw,
        step->has_weight && !step->raw, step->eps_scaled, shape.ahead,         neighbours,
    };
    if (neighbours > 1)
        return rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_STEP_SHUFFLES], constants,
                                  RN_COUNT(constants));
    return rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_STEP], constants, RN_COUNT(constants) - 1);
}

static const rn_kernel *step_kernel_for_cpu(rn_recorder *recorder, const rn_retention *retention,
                                            const rn_retention_step *step)
{
    const rn_device *device = recorder->device;
    uint64_t most = device->caps.max_texel_range;
    bool texels = device->texel_loads && !retention->input.buffer->foreign && !retention->state.buffer->foreign &&
                  retention->input.size <= most && retention->state.size <= most && retention->params.size <= most;
    uint32_t lanes = rn_device_vector(device);
    uint32_t constants[] = {
        lanes,
        rn_divide_up(step_vectors(device, retention->heads, retention->value_size, step->count), lanes),
        retention->key_size,
        step->has_gate && !step->raw,
        step->has_weight && !step->raw,
        step->eps_scaled,
    };
    return rn_recorder_kernel(recorder,
                              &rn_shaders[texels ? RN_SHADER_RETENTION_STEP_TEXELS : RN_SHADER_RETENTION_STEP_SERIAL],
                              constants, RN_COUNT(constants));
}

void rn_retention_step_record(rn_recorder *recorder, const rn_retention *retention, const rn_retention_step *step)
{
    const rn_device *device = recorder->device;
    const rn_kernel *kernel = device->caps.is_cpu ? step_kernel_for_cpu(recorder, retention, step)
                                                  : step_kernel_for_gpu(recorder, retention, step);
    if (!kernel) return;
    step_push push = {
        .x_stride = retention->x_stride,
        .q_offset = retention->q_offset,
        .k_offset = retention->k_offset,
        .v_offset = retention->v_offset,
        .gate_offset = retention->gate_offset,
        .y_stride = retention->y_stride,
        .sums_offset = step->raw ? no_sums : step->sums_offset,
        .heads = retention->heads,
        .key_value_group = retention->heads / retention->key_value_heads,
        .value_size = retention->value_size,
        .value_stride = rn_retention_value_stride(retention->value_size),
        .angles = retention->tables.angles,
        .decays = retention->tables.decays,
        .weight = step->weight,
        .decay_sums = retention->tables.decay_sums,
        .query_scale = rn_retention_scale(retention),
        .eps = step->eps,
        .moves = step->moves,
        .x_at = step->x_at,
        .marks = step->chained ? step->marks : NO_MARKS,
        .patience = step->chained ? rn_recorder_patience(recorder) : 0,
        .again = step->chained && step->again,
    };
    rn_binding bindings[] = {retention->input,  retention->output, retention->state,
                             retention->params, step->records,     retention->state};
    uint64_t state_bytes = 4ull * retention->heads * retention->key_size * push.value_stride;
    rn_recorder_dispatch(recorder, kernel, bindings, kernel->shader->binding_count, &push, sizeof push,
                         rn_divide_up(push.value_stride / 4, step_shape(device, retention, step).lanes),
                         retention->heads, step->count, 2 * state_bytes * step->count);
}

/* Where the states before chunks begin in the scratch, behind the scores; in bytes. */
static uint64_t scores_bytes(const rn_device *device, uint32_t heads, uint32_t chunk, uint32_t chunk_count)
{
    return rn_round_up(4ull * chunk_count * heads * chunk * chunk, device->caps.storage_alignment);
}

uint64_t rn_retention_plain_scratch_bytes(const rn_device *device, uint32_t heads, uint32_t key_size,
                                          uint32_t value_size, uint32_t chunk, uint32_t chunk_count)
{
    uint64_t states = 4ull * chunk_count * heads * key_size * rn_retention_value_stride(value_size);
    return scores_bytes(device, heads, chunk, chunk_count) + states;
}

uint64_t rn_retention_scratch_bytes(const rn_device *device, uint32_t heads, uint32_t key_value_heads,
                                    uint32_t key_size, uint32_t value_size, uint32_t chunk_count)
{
    uint64_t plain = rn_retention_plain_scratch_bytes(device, heads, key_size, value_size, RN_CHUNK, chunk_count);
    uint64_t matrix = 0;
    if (rn_retention_matrix_suits(device, key_size))
        matrix = rn_retention_matrix_scratch_bytes(heads, key_value_heads, key_size, value_size, chunk_count);
    return plain > matrix ? plain : matrix;
}

void rn_rotation_record(rn_recorder *recorder, const rn_rotation *rotation)
{
    uint32_t constants[] = {64, rotation->interleaved, rotation->direct};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_ROTATE], constants, RN_COUNT(constants));
    if (!kernel) return;
    rotate_push push = {rotation->stride,   rotation->offset, rotation->heads,
                        rotation->key_size, rotation->angles, rotation->scale};
    rn_binding bindings[] = {rotation->rows, rotation->table, rotation->records};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                         rn_divide_up(rotation->heads * (rotation->key_size / 2), 64), rotation->longest,
                         rotation->count, 0);
}

/* Queries and keys in place; queries are scaled on the way. */
static void record_rotations(rn_recorder *recorder, const rn_retention *r, const rn_retention_chunks *chunks)
{
    rn_rotation rotation = {
        .rows = r->input,
        .stride = r->x_stride,
        .offset = r->q_offset,
        .heads = r->heads,
        .key_size = r->key_size,
        .table = r->params,
        .angles = r->tables.angles,
        .records = chunks->chunks,
        .count = chunks->chunk_count,
        .longest = chunks->longest,
        .scale = rn_retention_scale(r),
    };
    rn_rotation_record(recorder, &rotation);
    rotation.offset = r->k_offset;
    rotation.heads = r->key_value_heads;
    rotation.scale = 1;
    rn_rotation_record(recorder, &rotation);
}

/* What the kernels of the chunkwise form share. */
typedef struct chunkwise {
    const rn_retention *retention;
    const rn_retention_chunks *chunks;
    uint32_t chunk, value_stride;
    float scale; /* of q, where it was not scaled before */
    rn_binding scores, before, scratch;
    uint32_t states_before; /* in scratch, floats */
} chunkwise;

/* One of two kernels of the same arguments. */
static const rn_kernel *tiled_or_plain(rn_recorder *recorder, int tiled, int plain)
{
    static const uint32_t invocations = RN_TILE_INVOCATIONS;
    return rn_tiles_suit(recorder->device) ? rn_recorder_kernel(recorder, &rn_shaders[tiled], &invocations, 1)
                                           : rn_recorder_kernel(recorder, &rn_shaders[plain], NULL, 0);
}

/* Rows of the result that a workgroup has; of columns it has 64. */
static uint32_t group_rows(const rn_device *device)
{
    return rn_tiles_suit(device) ? RN_TILE : 8;
}

static void record_scores(rn_recorder *recorder, const chunkwise *c)
{
    const rn_retention *r = c->retention;
    const rn_kernel *kernel = tiled_or_plain(recorder, RN_SHADER_RETENTION_SCORES_TILES, RN_SHADER_RETENTION_SCORES);
    if (!kernel) return;
    scores_push push = {
        .stride = r->x_stride,
        .q_offset = r->q_offset,
        .k_offset = r->k_offset,
        .heads = r->heads,
        .key_value_group = r->heads / r->key_value_heads,
        .key_size = r->key_size,
        .chunk = c->chunk,
        .powers = r->tables.powers,
        .powers_stride = r->tables.powers_stride,
        .column_groups = rn_divide_up(c->chunks->longest, 64),
        .scale = c->scale,
        .first_output = c->chunks->first_output,
    };
    rn_binding bindings[] = {r->input, c->scores, r->params, c->chunks->chunks};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                         rn_divide_up(c->chunks->longest, group_rows(recorder->device)) * push.column_groups, r->heads,
                         rn_retention_outputs(c->chunks), 0);
}

static void record_states(rn_recorder *recorder, const chunkwise *c)
{
    const rn_retention *r = c->retention;
    const rn_kernel *kernel = tiled_or_plain(recorder, RN_SHADER_RETENTION_STATES_TILES, RN_SHADER_RETENTION_STATES);
    if (!kernel) return;
    states_push push = {
        .stride = r->x_stride,
        .k_offset = r->k_offset,
        .v_offset = r->v_offset,
        .heads = r->heads,
        .key_value_group = r->heads / r->key_value_heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .value_stride = c->value_stride,
        .powers = r->tables.powers,
        .powers_stride = r->tables.powers_stride,
    };
    rn_binding bindings[] = {r->input, c->before, r->state, r->params, c->chunks->chunks, c->chunks->sequences};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                         rn_divide_up(push.value_stride, 64), rn_divide_up(r->key_size, group_rows(recorder->device)),
                         c->chunks->sequence_count * r->heads, 0);
}

static void record_output(rn_recorder *recorder, const chunkwise *c)
{
    const rn_retention *r = c->retention;
    const rn_kernel *kernel = tiled_or_plain(recorder, RN_SHADER_RETENTION_OUTPUT_TILES, RN_SHADER_RETENTION_OUTPUT);
    if (!kernel) return;
    output_push push = {
        .stride = r->x_stride,
        .q_offset = r->q_offset,
        .v_offset = r->v_offset,
        .y_stride = r->y_stride,
        .y_offset = r->y_offset,
        .heads = r->heads,
        .key_value_group = r->heads / r->key_value_heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .value_stride = c->value_stride,
        .chunk = c->chunk,
        .powers = r->tables.powers,
        .powers_stride = r->tables.powers_stride,
        .states_before = c->states_before,
        .scale = c->scale,
        .first_output = c->chunks->first_output,
    };
    rn_binding bindings[] = {r->input, r->output, c->scratch, r->params, c->chunks->chunks};
    rn_recorder_dispatch(
        recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, rn_divide_up(r->value_size, 64),
        rn_divide_up(c->chunks->longest, group_rows(recorder->device)), rn_retention_outputs(c->chunks) * r->heads, 0);
}

void rn_retention_chunks_record(rn_recorder *recorder, const rn_retention *retention, const rn_retention_chunks *chunks)
{
    if (chunks->matrix && rn_retention_matrix_suits(recorder->device, retention->key_size)) {
        rn_retention_matrix_record(recorder, retention, chunks);
        return;
    }
    uint32_t chunk = chunks->chunk ? chunks->chunk : RN_CHUNK;
    uint64_t first = scores_bytes(recorder->device, retention->heads, chunk, chunks->chunk_count);
    uint64_t bytes = rn_retention_plain_scratch_bytes(recorder->device, retention->heads, retention->key_size,
                                                      retention->value_size, chunk, chunks->chunk_count);
    chunkwise c = {
        .retention = retention,
        .chunks = chunks,
        .chunk = chunk,
        .value_stride = rn_retention_value_stride(retention->value_size),
        .scale = chunks->rotated ? rn_retention_scale(retention) : 1,
        .scores = {chunks->scratch, chunks->scratch_offset, first},
        .before = {chunks->scratch, chunks->scratch_offset + first, bytes - first},
        .scratch = {chunks->scratch, chunks->scratch_offset, bytes},
        .states_before = (uint32_t)(first / 4),
    };
    if (!chunks->rotated) record_rotations(recorder, retention, chunks);
    record_states(recorder, &c);
    if (rn_retention_outputs(chunks) == 0) return;
    record_scores(recorder, &c);
    record_output(recorder, &c);
    if (chunks->c2) rn_retention_chunks_c2_record(recorder, retention, chunks, c.scratch, c.states_before);
}
