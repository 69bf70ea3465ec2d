#include "layers/matmul.h"

#include "layers/lanes.h"
#include "shaders.h"

typedef struct matmul_push {
    uint32_t blocks, panels, rows, row_base, columns, x_room, y_stride;
} matmul_push;

/* The fewest columns for which reading activations and weights through shared memory beats linear.comp. */
enum { FEWEST_COLUMNS = 32 };

static uint32_t invocations(const rn_matrix_unit *unit, const rn_matmul_tile *tile)
{
    return tile->tokens / tile->sub_tokens * (tile->rows / tile->sub_rows) * tile->splits * unit->subgroup;
}

static bool fits(const rn_device *device, const rn_matmul_tile *tile)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t lanes = invocations(unit, tile);
    uint32_t staged = 2 * (tile->tokens + tile->rows) * 80, scratch = lanes / unit->subgroup * unit->m * unit->n * 4;
    return lanes <= device->caps.max_invocations && staged + scratch <= device->caps.shared_memory;
}

/* From the most work an invocation to the least; the last one fits every device with matrix units. */
static const rn_matmul_tile tiles[] = {
    {128, 128, 64, 64, 1}, {128, 128, 64, 64, 2}, /* only straight from memory */
    {64, 128, 32, 64, 1},  {32, 128, 32, 32, 1},  {16, 128, 16, 32, 1},
};

/* The largest tile of which there are enough to keep a large GPU busy. */
static rn_matmul_tile choose_tile(const rn_device *device, bool direct, uint32_t columns, uint32_t rows)
{
    const uint32_t enough = 256;
    uint32_t i = device->caps.is_cpu ? RN_COUNT(tiles) - 1 : 0; /* small code: software drivers compile slowly */
    for (; i + 1 < RN_COUNT(tiles); i++) {
        uint32_t count = rn_divide_up(columns, tiles[i].tokens) * rn_divide_up(rows, tiles[i].rows) * tiles[i].splits;
        bool possible = direct ? invocations(&device->caps.matrix, &tiles[i]) <= device->caps.max_invocations
                               : tiles[i].splits == 1 && fits(device, &tiles[i]);
        if (possible && count >= enough) break;
    }
    return tiles[i];
}

bool rn_matmul_suits(const rn_device *device, uint32_t columns)
{
    return device->caps.matrix.m && rn_shaders[RN_SHADER_MATMUL].words && columns >= FEWEST_COLUMNS &&
           fits(device, &tiles[RN_COUNT(tiles) - 1]);
}

void rn_matmul_record(rn_recorder *recorder, const rn_matmul *matmul)
{
    rn_device *device = recorder->device;
    const rn_matrix *matrix = matmul->matrix;
    const rn_matrix_unit *unit = &device->caps.matrix;
    bool glu = matmul->epilogue == RN_EPILOGUE_GLU;
    if (glu != matrix->alternating || (matmul->halves && matmul->epilogue == RN_EPILOGUE_ADD)) {
        rn_recorder_fail(recorder, rn_fail(device->host, RETNET_ERROR_INTERNAL, "matmul: matrix and epilogue differ"));
        return;
    }
    uint32_t panels = rn_matrix_panels(matrix), pair = glu ? 2 : 1;
    bool direct = unit->lanes != RN_LANES_UNKNOWN && !matmul->staged;
    rn_matmul_tile tile = matmul->tile;
    if (!tile.tokens) tile = choose_tile(device, direct, matmul->columns, panels * RN_PANEL_ROWS);
    uint32_t constants[] = {
        invocations(unit, &tile),
        matrix->format,
        matmul->epilogue,
        matmul->activation,
        matmul->halves,
        unit->subgroup,
        unit->m,
        unit->n,
        unit->k,
        tile.tokens,
        tile.rows,
        tile.sub_tokens,
        tile.sub_rows,
        direct                ? unit->lanes
        : device->caps.is_cpu ? 1
                              : 2,
        tile.splits,
    };
    uint32_t constant_count = RN_COUNT(constants) - !direct;
    const rn_kernel *kernel;
    retnet_result result = rn_kernel_get(device, &rn_shaders[direct ? RN_SHADER_MATMUL_DIRECT : RN_SHADER_MATMUL],
                                         constants, constant_count, &kernel);
    if (result != RETNET_OK) {
        rn_recorder_fail(recorder, result);
        return;
    }
    uint32_t step = rn_matrix_panels_per_binding(device, matrix);
    for (uint32_t first = 0; first < panels; first += step) {
        uint32_t count = rn_min_u32(step, panels - first), row_base = first / pair * RN_PANEL_ROWS;
        uint64_t bytes = count * rn_matrix_panel_bytes(matrix);
        rn_binding bindings[] = {
            {matrix->buffer, matrix->offset + first * rn_matrix_panel_bytes(matrix), bytes},
            matmul->input,
            matmul->output,
        };
        matmul_push push = {
            .blocks = rn_matrix_blocks(matrix),
            .panels = count,
            .rows = rn_min_u32(matrix->rows - row_base, count / pair * RN_PANEL_ROWS),
            .row_base = row_base,
            .columns = matmul->columns,
            .x_room = matmul->x_room,
            .y_stride = matmul->y_stride,
        };
        rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                             rn_divide_up(matmul->columns, tile.tokens), rn_divide_up(count * RN_PANEL_ROWS, tile.rows),
                             1, bytes);
    }
}
