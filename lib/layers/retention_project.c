#include "layers/retention_project.h"

#include "layers/lanes.h"
#include "shaders.h"

/* As matmul_problem.glsl has it with RETENTION. */
typedef struct project_push {
    uint32_t blocks, panels, rows, row_base, columns, x_room, y_stride, partials;
    uint32_t heads, key_value_heads, key_size, value_size, padded_key, padded_value;
    uint32_t query, key, key_in, value, before;
    uint32_t angles;
    float query_scale;
} project_push;

bool rn_retention_projects(const rn_device *device, const rn_matmul *projection, const rn_retention *r)
{
    uint32_t constants[RN_MATMUL_TILE_CONSTANTS];
    const rn_matrix *matrix = projection->matrix;
    uint32_t keys = r->heads * r->key_size, values = keys + r->key_value_heads * r->key_size;
    uint32_t gates = values + r->key_value_heads * r->value_size;
    if (!rn_retention_matrix_suits(device, r->key_size) || !rn_retention_matrix_is_direct(device) || !r->halves ||
        !projection->halves || projection->columns < RN_MATMUL_FEWEST_COLUMNS ||
        rn_matrix_panels_per_binding(device, matrix) < rn_matrix_panels(matrix))
        return false;
    rn_matmul_tile tile = rn_matmul_direct_tile(device, projection, constants);
    /* Of eight tokens in an invocation, a subgroup has whole chunks (lanes.glsl). */
    bool whole = device->caps.matrix.lanes != RN_LANES_QUADS || tile.sub_tokens == RN_CHUNK;
    return whole && RN_CHUNK % tile.sub_tokens == 0 && tile.rows == 2 * RN_PANEL_ROWS && r->key_size % tile.rows == 0 &&
           r->value_size % tile.rows == 0 && r->q_offset == 0 && r->k_offset == keys && r->v_offset == values &&
           r->gate_offset == gates && matrix->rows % tile.rows == 0;
}

void rn_retention_project_record(rn_recorder *recorder, const rn_matmul *projection, const rn_retention *r,
                                 const rn_retention_chunks *chunks)
{
    rn_retention_arrays arrays =
        rn_retention_arrays_of(r->heads, r->key_value_heads, r->key_size, r->value_size, chunks->chunk_count);
    rn_matmul matmul = *projection;
    rn_matrix halves;
    if (!rn_matmul_check(recorder, &matmul)) return;
    matmul.unpacked =
        (rn_binding){chunks->scratch, chunks->scratch_offset + 16 * arrays.before, 16 * (arrays.end - arrays.before)};
    rn_matmul_unpack(recorder, &matmul, &halves);
    uint32_t constants[RN_MATMUL_TILE_CONSTANTS];
    rn_matmul_tile tile = rn_matmul_direct_tile(recorder->device, &matmul, constants);
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_PROJECT], constants, RN_MATMUL_TILE_CONSTANTS);
    if (!kernel) return;
    const rn_matrix *matrix = matmul.matrix;
    project_push push = {
        .blocks = rn_matrix_blocks(matrix),
        .panels = rn_matrix_panels(matrix),
        .rows = matrix->rows,
        .columns = matmul.columns,
        .x_room = matmul.x_room,
        .y_stride = matmul.y_stride,
        .heads = r->heads,
        .key_value_heads = r->key_value_heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .padded_key = arrays.padded_key,
        .padded_value = arrays.padded_value,
        .query = (uint32_t)arrays.query,
        .key = (uint32_t)arrays.key,
        .key_in = (uint32_t)arrays.key_in,
        .value = (uint32_t)arrays.value,
        .before = (uint32_t)arrays.before,
        .angles = r->tables.angles,
        .query_scale = rn_retention_scale(r),
    };
    uint64_t bytes = rn_matrix_panels(matrix) * rn_matrix_panel_bytes(matrix);
    rn_binding bindings[] = {
        {matrix->buffer, matrix->offset, bytes},
        matmul.input,
        matmul.output,
        {chunks->scratch, chunks->scratch_offset, 16 * arrays.end},
        r->params,
        chunks->chunks,
    };
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                         rn_divide_up(rn_divide_up(matmul.columns, RN_CHUNK) * RN_CHUNK, tile.tokens),
                         matrix->rows / tile.rows, 1, bytes);
}
