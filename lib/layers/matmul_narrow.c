#include "layers/matmul.h"

#include "layers/lanes.h"
#include "shaders.h"

enum {
    FEWEST_COLUMNS = 2, /* one is left to linear_column.comp */
    MOST_COLUMNS = 64,  /* staged */
    MOST_DIRECT = 32,   /* straight from memory; of more, smaller tiles with split inputs are quicker (matmul.c) */
    TILE_ROWS = 64,
    ROW_GROUPS = 2, /* subgroups of a workgroup, where operands come straight from memory */
    K_GROUPS = 4,
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

/* Rows of a subgroup, where operands come straight from memory. */
static uint32_t sub_rows(const rn_device *device)
{
    return 2 * device->caps.matrix.n;
}

/* Whether operands come straight from memory: it is faster (samples/bench/layer_bench.c), where a workgroup and its
 * sums fit the device. Software drivers take minutes to compile it for many columns. */
static bool prefers_direct(const rn_device *device)
{
    const rn_capabilities *caps = &device->caps;
    uint32_t sums = K_GROUPS * MOST_DIRECT * ROW_GROUPS * sub_rows(device) * 4;
    return caps->matrix.lanes != RN_LANES_UNKNOWN && !caps->is_cpu &&
           ROW_GROUPS * K_GROUPS * caps->matrix.subgroup <= caps->max_invocations && sums + 4 <= caps->shared_memory;
}

bool rn_matmul_narrow_suits(const rn_device *device, uint32_t columns)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t tokens = tile_tokens(columns), most = prefers_direct(device) ? MOST_DIRECT : MOST_COLUMNS;
    return unit->m && rn_shaders[RN_SHADER_MATMUL_NARROW].words && columns >= FEWEST_COLUMNS && columns <= most &&
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

/* ---- Kernels ----------------------------------------------------------------------------------------------------- */

static retnet_result choose_staged(rn_device *device, const rn_matmul *matmul, uint32_t panels, rn_matmul_choice *out)
{
    uint32_t tokens = tile_tokens(matmul->columns), chunk = chunk_blocks(device);
    uint32_t constants[] = {[RN_MATMUL_CONSTANTS] = tokens, sub_tokens(tokens), chunk};
    rn_matmul_constants(device, matmul, invocations(&device->caps.matrix, tokens), constants);
    out->rows = TILE_ROWS;
    out->others = matmul->shape.splits
                      ? matmul->shape.splits
                      : choose_splits(panels, rn_divide_up(rn_matrix_blocks(matmul->matrix), chunk), tokens);
    return rn_kernel_get(device, &rn_shaders[RN_SHADER_MATMUL_NARROW], constants, RN_COUNT(constants), &out->kernel);
}

/* The fastest of a sweep of 1.3 billion parameters on an H200 (samples/bench/layer_bench.c), or nearly. */
static rn_narrow_shape choose_shape(const rn_device *device, const rn_matmul *matmul, uint32_t panels)
{
    uint32_t blocks = rn_matrix_blocks(matmul->matrix), tokens = tile_tokens(matmul->columns);
    uint32_t pair = ROW_GROUPS * sub_rows(device), tiles = rn_divide_up(panels * RN_PANEL_ROWS, pair);
    uint32_t fitting = PARTIAL_BYTES / (tiles * tokens * pair * 4);
    uint32_t splits = rn_max_u32(rn_min_u32(rn_min_u32(128 / tiles, blocks / 8), fitting), 1);
    return (rn_narrow_shape){ROW_GROUPS, K_GROUPS, splits, 2};
}

static retnet_result choose_direct(rn_device *device, const rn_matmul *matmul, uint32_t panels, rn_matmul_choice *out)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    rn_narrow_shape shape = matmul->shape.row_groups ? matmul->shape : choose_shape(device, matmul, panels);
    uint32_t constants[] = {
        [RN_MATMUL_CONSTANTS] = tile_tokens(matmul->columns),
        shape.row_groups,
        shape.k_groups,
        shape.ahead,
        unit->lanes,
    };
    rn_matmul_constants(device, matmul, unit->subgroup * shape.row_groups * shape.k_groups, constants);
    out->rows = shape.row_groups * sub_rows(device);
    out->others = shape.splits;
    return rn_kernel_get(device, &rn_shaders[RN_SHADER_MATMUL_NARROW_DIRECT], constants, RN_COUNT(constants),
                         &out->kernel);
}

static bool is_direct(const rn_device *device, const rn_matmul *matmul)
{
    if (device->caps.matrix.lanes == RN_LANES_UNKNOWN || matmul->way == RN_MATMUL_STAGED) return false;
    return matmul->shape.row_groups || prefers_direct(device);
}

void rn_matmul_narrow_record(rn_recorder *recorder, const rn_matmul *matmul)
{
    rn_device *device = recorder->device;
    const rn_matrix *matrix = matmul->matrix;
    if (!rn_matmul_check(recorder, matmul)) return;
    uint32_t step = rn_min_u32(rn_matrix_panels_per_binding(device, matrix), RN_NARROW_COUNTERS / 2);
    uint32_t panels = rn_min_u32(rn_matrix_panels(matrix), step);
    rn_matmul_choice chosen = {0}; /* cppcheck sees no call through a choice of functions */
    retnet_result result = (is_direct(device, matmul) ? choose_direct : choose_staged)(device, matmul, panels, &chosen);
    if (result == RETNET_OK)
        rn_matmul_dispatch(recorder, matmul, &chosen, step);
    else
        rn_recorder_fail(recorder, result);
}
