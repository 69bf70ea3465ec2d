#include "layers/retention_project.h"

#include "layers/lanes.h"
#include "shaders.h"

enum { MATRIX, INPUT, BINDINGS = 6 };

/* As matmul_problem.glsl has it with RETENTION; `unused` is of other kernels. */
typedef struct project_push {
    rn_address weights, inputs;
    uint32_t blocks, unused[3], columns, x_room, y_stride, unused_too;
    uint32_t heads, key_value_heads, key_size, value_size;
    rn_retention_places places;
    uint32_t angles;
    float query_scale;
    uint32_t first_tile, first_rows, row_tiles;
} project_push;

/* What of memory that was lent lies behind the operands, if it is the scratch. */
static rn_binding behind_operands(rn_binding lent, const rn_retention_chunks *chunks, const rn_retention_arrays *arrays)
{
    uint64_t end = lent.offset + lent.size, free_from = chunks->scratch_offset + 16ull * arrays->places.before;
    if (lent.buffer != chunks->scratch || lent.offset >= free_from) return lent;
    return end > free_from ? (rn_binding){lent.buffer, free_from, end - free_from} : (rn_binding){0};
}

static rn_retention_arrays arrays_of(const rn_retention *r, const rn_retention_chunks *chunks)
{
    return rn_retention_arrays_of(r->heads, r->key_value_heads, r->key_size, r->value_size, chunks->chunk_count);
}

/* In one binding, as it is and as f16. */
static bool fits_binding(const rn_device *device, const rn_matrix *matrix)
{
    uint64_t panels = rn_matrix_panels(matrix), halves = panels * rn_matrix_blocks(matrix) * RN_PANEL_ROWS * 64;
    return rn_matrix_panels_per_binding(device, matrix) >= panels && halves <= RN_MATMUL_MOST_BYTES &&
           panels * rn_matrix_panel_bytes(matrix) <= RN_MATMUL_MOST_BYTES;
}

static bool is_in_order(const rn_retention *r)
{
    uint32_t keys = r->heads * r->key_size, values = keys + r->key_value_heads * r->key_size;
    return r->q_offset == 0 && r->k_offset == keys && r->v_offset == values &&
           r->gate_offset == values + r->key_value_heads * r->value_size;
}

bool rn_retention_projects(const rn_device *device, const rn_matmul *projection, const rn_retention *r,
                           const rn_retention_chunks *chunks)
{
    if (!rn_retention_matrix_suits(device, r->key_size) || !rn_retention_matrix_is_direct(device) || !r->halves ||
        !projection->halves || projection->epilogue != RN_EPILOGUE_STORE || projection->activation ||
        projection->columns < RN_MATMUL_FEWEST_COLUMNS || !rn_matmul_has_addresses(device, projection) ||
        !rn_kernel_fits(device, &rn_shaders[RN_SHADER_RETENTION_PROJECT]) ||
        !fits_binding(device, projection->matrix) || !is_in_order(r))
        return false;
    uint32_t constants[RN_MATMUL_TILE_CONSTANTS];
    rn_matmul_tile tile = rn_matmul_direct_tile(device, projection, true, constants);
    bool suits = RN_CHUNK % tile.sub_tokens == 0 && tile.rows == 2 * RN_PANEL_ROWS && r->key_size % tile.rows == 0 &&
                 r->value_size % tile.rows == 0 && projection->matrix->rows % tile.rows == 0;
    /* An invocation has eight tokens of a whole chunk, and eight columns (lanes.glsl). */
    if (device->caps.matrix.lanes == RN_LANES_QUADS)
        suits = suits && tile.sub_tokens == RN_CHUNK && tile.sub_rows == RN_PANEL_ROWS;
    /* With less memory for it, weights that should be unpacked could not be. */
    rn_retention_arrays arrays = arrays_of(r, chunks);
    rn_matmul without = *projection;
    without.unpacked = behind_operands(projection->unpacked, chunks, &arrays);
    return suits && rn_matmul_unpacks(device, projection) == rn_matmul_unpacks(device, &without);
}

/* For who asks for outputs from push->first_tile on, in tiles of tokens: keys and values of all tokens, but queries and
 * gates of these only. */
static void dispatch_tiles(rn_recorder *recorder, const rn_kernel *kernel, const rn_binding *bindings,
                           project_push *push, const rn_matmul_tile *tile)
{
    uint32_t end = rn_divide_up(rn_divide_up(push->columns, RN_CHUNK) * RN_CHUNK, tile->tokens);
    uint32_t first = push->first_tile, rows = push->row_tiles, queries = push->heads * push->key_size / tile->rows;
    uint32_t shared = push->key_value_heads * (push->key_size + push->value_size) / tile->rows; /* keys and values */
    uint64_t row_bytes = bindings[MATRIX].size / rows;
    if (first) {
        push->first_tile = 0;
        push->first_rows = queries;
        rn_recorder_dispatch(recorder, kernel, bindings, BINDINGS, push, sizeof *push, end, shared, 1,
                             shared * row_bytes);
        push->first_tile = first;
        rows -= shared;
    }
    push->first_rows = queries + shared;
    rn_recorder_dispatch(recorder, kernel, bindings, BINDINGS, push, sizeof *push, end - first, rows, 1,
                         rows * row_bytes);
}

void rn_retention_project_record(rn_recorder *recorder, const rn_matmul *projection, const rn_retention *r,
                                 const rn_retention_chunks *chunks)
{
    rn_retention_arrays arrays = arrays_of(r, chunks);
    rn_matmul matmul = *projection;
    rn_matrix halves;
    if (!rn_matmul_check(recorder, &matmul)) return;
    matmul.unpacked = behind_operands(matmul.unpacked, chunks, &arrays);
    rn_matmul_unpack(recorder, &matmul, &halves);
    uint32_t constants[RN_MATMUL_TILE_CONSTANTS];
    rn_matmul_tile tile = rn_matmul_direct_tile(recorder->device, &matmul, true, constants);
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_RETENTION_PROJECT], constants, RN_MATMUL_TILE_CONSTANTS);
    if (!kernel) return;
    const rn_matrix *matrix = matmul.matrix;
    rn_binding bindings[BINDINGS] = {
        [MATRIX] = {matrix->buffer, matrix->offset, rn_matrix_panels(matrix) * rn_matrix_panel_bytes(matrix)},
        [INPUT] = matmul.input,
        matmul.output,
        {chunks->scratch, chunks->scratch_offset, 16ull * arrays.places.before},
        r->params,
        chunks->chunks,
    };
    project_push push = {
        .weights = rn_binding_address(&bindings[MATRIX]),
        .inputs = rn_binding_address(&bindings[INPUT]),
        .blocks = rn_matrix_blocks(matrix),
        .columns = matmul.columns,
        .x_room = matmul.x_room,
        .y_stride = matmul.y_stride,
        .heads = r->heads,
        .key_value_heads = r->key_value_heads,
        .key_size = r->key_size,
        .value_size = r->value_size,
        .places = arrays.places,
        .angles = r->tables.angles,
        .query_scale = rn_retention_scale(r),
        .first_tile = chunks->first_output * RN_CHUNK / tile.tokens,
        .row_tiles = matrix->rows / tile.rows,
    };
    dispatch_tiles(recorder, kernel, bindings, &push, &tile);
}
