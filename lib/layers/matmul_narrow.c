#include "layers/matmul.h"

#include "layers/lanes.h"
#include "shaders.h"

typedef struct narrow_push {
    uint32_t blocks, panels, rows, row_base, columns, x_room, y_stride, partials;
} narrow_push;

enum {
    FEWEST_COLUMNS = 2,        /* one is left to linear_column.comp */
    FEWEST_COLUMNS_OF_CPU = 9, /* fewer are faster, and in fp32, without matrices */
    MOST_COLUMNS = 64,
    TILE_ROWS = 64,
    PARTIAL_BYTES = 16 << 20,
    ENOUGH_GROUPS = 320, /* to keep a large GPU busy */
};

static uint32_t tile_tokens(uint32_t columns)
{
    return columns <= 16 ? 16 : columns <= 32 ? 32 : 64;
}
static uint32_t sub_tokens(uint32_t tokens)
{
    return tokens == 64 ? 32 : tokens;
}

static uint32_t invocations(const rn_matrix_unit *unit, uint32_t tokens)
{
    return unit->subgroup * (TILE_ROWS / unit->n) * (tokens / sub_tokens(tokens));
}

/* Blocks of inputs at a time. Software drivers compile what this unrolls while the user waits. */
static uint32_t chunk_blocks(const rn_device *device)
{
    return device->caps.is_cpu ? 1 : 4;
}

bool rn_matmul_narrow_suits(const rn_device *device, uint32_t columns)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t tokens = tile_tokens(columns), fewest = device->caps.is_cpu ? FEWEST_COLUMNS_OF_CPU : FEWEST_COLUMNS;
    return unit->m && rn_shaders[RN_SHADER_MATMUL_NARROW].words && columns >= fewest && columns <= MOST_COLUMNS &&
           sub_tokens(tokens) % unit->m == 0 && TILE_ROWS % unit->n == 0 &&
           invocations(unit, tokens) <= device->caps.max_invocations &&
           rn_max_u32((tokens + TILE_ROWS) * (chunk_blocks(device) * 4 + 1) * 16, tokens * TILE_ROWS * 4) + 4 <=
               device->caps.shared_memory;
}

uint64_t rn_matmul_narrow_bytes(const rn_device *device)
{
    return device->caps.matrix.m && rn_shaders[RN_SHADER_MATMUL_NARROW].words ? 4 * RN_NARROW_COUNTERS + PARTIAL_BYTES
                                                                              : 0;
}

/* Workgroups that share a tile's inputs. */
static uint32_t choose_splits(uint32_t tiles, uint32_t chunks, uint32_t tokens)
{
    uint32_t fitting = PARTIAL_BYTES / (tiles * tokens * TILE_ROWS * 4);
    uint32_t splits = rn_divide_up(ENOUGH_GROUPS, tiles);
    return rn_max_u32(rn_min_u32(rn_min_u32(splits, chunks), fitting), 1);
}

/* Rows of a subgroup, where operands come straight from memory. */
static uint32_t sub_rows(const rn_device *device)
{
    return 2 * device->caps.matrix.n;
}

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

/* A kernel for this projection, and how its workgroups share rows and inputs. */
typedef struct choice {
    const rn_kernel *kernel;
    uint32_t tile_rows, splits; /* rows of W */
} choice;

static retnet_result choose_staged(rn_device *device, const rn_matmul *matmul, uint32_t panels, choice *out)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t tokens = tile_tokens(matmul->columns), chunk = chunk_blocks(device);
    uint32_t constants[] = {
        invocations(unit, tokens),
        matmul->matrix->format,
        matmul->epilogue,
        matmul->activation,
        matmul->halves,
        unit->subgroup,
        unit->m,
        unit->n,
        unit->k,
        tokens,
        sub_tokens(tokens),
        chunk,
    };
    out->tile_rows = TILE_ROWS;
    out->splits = matmul->shape.splits
                      ? matmul->shape.splits
                      : choose_splits(panels, rn_divide_up(rn_matrix_blocks(matmul->matrix), chunk), tokens);
    return rn_kernel_get(device, &rn_shaders[RN_SHADER_MATMUL_NARROW], constants, RN_COUNT(constants), &out->kernel);
}

static rn_narrow_shape choose_shape(const rn_device *device, const rn_matmul *matmul, uint32_t panels)
{
    uint32_t blocks = rn_matrix_blocks(matmul->matrix), tokens = tile_tokens(matmul->columns);
    rn_narrow_shape shape = {2, 4, 1, tokens == 64 ? 1 : 2};
    uint32_t tiles = rn_divide_up(panels * RN_PANEL_ROWS, shape.row_groups * sub_rows(device));
    uint32_t fitting = PARTIAL_BYTES / (tiles * tokens * shape.row_groups * sub_rows(device) * 4);
    shape.splits = rn_max_u32(rn_min_u32(rn_min_u32(128 / tiles, blocks / 8), fitting), 1);
    return shape;
}

static retnet_result choose_direct(rn_device *device, const rn_matmul *matmul, uint32_t panels, choice *out)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    rn_narrow_shape shape = matmul->shape.row_groups ? matmul->shape : choose_shape(device, matmul, panels);
    uint32_t constants[] = {
        unit->subgroup * shape.row_groups * shape.k_groups,
        matmul->matrix->format,
        matmul->epilogue,
        matmul->activation,
        matmul->halves,
        unit->subgroup,
        unit->m,
        unit->n,
        unit->k,
        tile_tokens(matmul->columns),
        shape.row_groups,
        shape.k_groups,
        shape.ahead,
        unit->lanes,
    };
    out->tile_rows = shape.row_groups * sub_rows(device);
    out->splits = shape.splits;
    return rn_kernel_get(device, &rn_shaders[RN_SHADER_MATMUL_NARROW_DIRECT], constants, RN_COUNT(constants),
                         &out->kernel);
}

/* What is faster (samples/bench/layer_bench.c). Software drivers take minutes to compile the other for many columns. */
static bool is_direct(const rn_device *device, const rn_matmul *matmul)
{
    if (device->caps.matrix.lanes == RN_LANES_UNKNOWN || matmul->staged) return false;
    return matmul->shape.row_groups || !device->caps.is_cpu;
}

void rn_matmul_narrow_record(rn_recorder *recorder, const rn_matmul *matmul)
{
    rn_device *device = recorder->device;
    const rn_matrix *matrix = matmul->matrix;
    bool glu = matmul->epilogue == RN_EPILOGUE_GLU;
    if (glu != matrix->alternating || (matmul->halves && matmul->epilogue == RN_EPILOGUE_ADD)) {
        rn_recorder_fail(recorder, rn_fail(device->host, RETNET_ERROR_INTERNAL, "matmul: matrix and epilogue differ"));
        return;
    }
    uint32_t panels = rn_matrix_panels(matrix), pair = glu ? 2 : 1;
    uint32_t step = rn_min_u32(rn_matrix_panels_per_binding(device, matrix), RN_NARROW_COUNTERS / 2);
    choice chosen = {0}; /* cppcheck sees no call through a choice of functions */
    retnet_result result =
        (is_direct(device, matmul) ? choose_direct : choose_staged)(device, matmul, rn_min_u32(panels, step), &chosen);
    if (result != RETNET_OK) {
        rn_recorder_fail(recorder, result);
        return;
    }
    for (uint32_t first = 0; first < panels; first += step) {
        uint32_t count = rn_min_u32(step, panels - first), row_base = first / pair * RN_PANEL_ROWS;
        uint64_t bytes = count * rn_matrix_panel_bytes(matrix);
        rn_binding bindings[] = {
            {matrix->buffer, matrix->offset + first * rn_matrix_panel_bytes(matrix), bytes},
            matmul->input,
            matmul->output,
            matmul->partials,
        };
        narrow_push push = {
            .blocks = rn_matrix_blocks(matrix),
            .panels = count,
            .rows = rn_min_u32(matrix->rows - row_base, count / pair * RN_PANEL_ROWS),
            .row_base = row_base,
            .columns = matmul->columns,
            .x_room = matmul->x_room,
            .y_stride = matmul->y_stride,
            .partials = 4 * RN_NARROW_COUNTERS / 16,
        };
        rn_recorder_dispatch(recorder, chosen.kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                             rn_divide_up(count * RN_PANEL_ROWS, chosen.tile_rows), chosen.splits, 1, bytes);
    }
}
