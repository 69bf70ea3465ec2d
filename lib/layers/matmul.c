#include "layers/matmul.h"

#include "layers/lanes.h"
#include "shaders.h"

#include <string.h>

typedef struct matmul_push {
    rn_address weights, inputs;
    uint32_t blocks, panels, rows, row_base, columns, x_room, y_stride, partials;
} matmul_push;

enum {
    FEWEST_UNPACKED = 1024, /* columns for which unpacking beforehand beats doing it in every tile */
    ROOM = 8, /* subgroups that own 64 x 64 straight from memory, of a processor: these take all of its registers */
};

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
static const rn_matmul_tile staged_tiles[] = {
    {128, 128, 64, 64, 1},
    {64, 128, 32, 64, 1},
    {32, 128, 32, 32, 1},
    {16, 128, 16, 32, 1},
};
static const rn_matmul_tile *const least_tile = &staged_tiles[RN_COUNT(staged_tiles) - 1];

/* The largest tile of which there are enough to keep a large GPU busy. */
static rn_matmul_tile choose_staged_tile(const rn_device *device, const rn_matmul *matmul)
{
    const uint32_t enough = 256;
    uint32_t rows = rn_matrix_panels(matmul->matrix) * RN_PANEL_ROWS;
    for (const rn_matmul_tile *tile = staged_tiles; tile < least_tile; tile++)
        if (fits(device, tile) &&
            rn_divide_up(matmul->columns, tile->tokens) * rn_divide_up(rows, tile->rows) >= enough)
            return *tile;
    return *least_tile;
}

/* How long all processors take over so many subgroups' work, in quarters of what one of them takes over all inputs. */
static uint32_t quarters(uint64_t work, uint32_t splits, uint32_t room)
{
    return (uint32_t)((work * splits + room - 1) / room * (4 / splits));
}

/* Where there is not work enough for all the room that processors have, the inputs are split, as long as each part has
 * some blocks. Where even four parts leave half of the room, tiles of fewer tokens and more parts are quicker. `large`
 * leaves them aside, and more than two parts. As a rule within a tenth of the best of a sweep on an H200 (layer_bench
 * short). */
static rn_matmul_tile choose_direct_tile(const rn_device *device, const rn_matmul *matmul, bool large)
{
    enum { FEWEST_BLOCKS = 8, FEWEST_OF_SMALL = 3 };
    const rn_matmul_tile whole = {128, 128, 64, 64, 1}, half = {64, 128, 64, 64, 1};
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t room = ROOM * (device->caps.processors ? device->caps.processors : 128), most = large ? 2 : 4;
    uint32_t across = rn_divide_up(matmul->columns, half.tokens), blocks = rn_matrix_blocks(matmul->matrix);
    uint64_t work = (uint64_t)across * rn_matrix_panels(matmul->matrix);
    bool odd = across % 2 && across < 8; /* half of a larger tile would be for nothing */
    /* Splits share less memory than `fits` has asked for. */
    bool splittable = 8 * unit->subgroup <= device->caps.max_invocations;
    if (!large && splittable && 8 * work <= room) {
        bool pairs = matmul->epilogue == RN_EPILOGUE_GLU; /* of panels, in a tile */
        return pairs || blocks < 8 * FEWEST_OF_SMALL ? (rn_matmul_tile){32, 128, 32, 64, 4}
                                                     : (rn_matmul_tile){32, 64, 32, 64, 8};
    }
    rn_matmul_tile tile = half;
    for (uint32_t splits = 2; splits <= most && splittable && work < room; splits *= 2) {
        uint32_t before = quarters(work, tile.splits, room), then = quarters(work, splits, room);
        if (blocks >= splits * FEWEST_BLOCKS && (large ? then <= before : then < before)) tile.splits = splits;
    }
    return tile.splits > 1 || odd ? tile : whole;
}

bool rn_matmul_suits(const rn_device *device, uint32_t columns)
{
    return device->caps.matrix.m && rn_shaders[RN_SHADER_MATMUL].words && columns >= RN_MATMUL_FEWEST_COLUMNS &&
           fits(device, least_tile);
}

bool rn_matmul_pays(const rn_device *device)
{
    return (!device->caps.is_cpu || device->slow_matrices) && rn_matmul_suits(device, UINT32_MAX);
}

/* ---- Shared ------------------------------------------------------------------------------------------------------ */

void rn_matmul_constants(const rn_device *device, const rn_matmul *matmul, uint32_t invocations, uint32_t *constants)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    const uint32_t first[RN_MATMUL_CONSTANTS] = {
        invocations,    matmul->matrix->format, matmul->epilogue, matmul->activation,
        matmul->halves, unit->subgroup,         unit->m,          unit->n,
        unit->k,
    };
    memcpy(constants, first, sizeof first);
}

bool rn_matmul_check(rn_recorder *recorder, const rn_matmul *matmul)
{
    bool glu = matmul->epilogue == RN_EPILOGUE_GLU;
    if (matmul->input.size > RN_MATMUL_MOST_BYTES) {
        rn_recorder_fail(recorder, rn_fail(recorder->device->host, RETNET_ERROR_LIMIT, "matmul: %llu bytes of input",
                                           (unsigned long long)matmul->input.size));
        return false;
    }
    if (glu == matmul->matrix->alternating && !(matmul->halves && matmul->epilogue == RN_EPILOGUE_ADD)) return true;
    rn_recorder_fail(recorder,
                     rn_fail(recorder->device->host, RETNET_ERROR_INTERNAL, "matmul: matrix and epilogue differ"));
    return false;
}

/* Of an output of halves, where rows lie behind each other, those of a dispatch alone, if they may be bound: what
 * others write need not wait then. */
static bool bind_rows(const rn_device *device, const rn_matmul *matmul, uint32_t first, uint32_t rows,
                      rn_binding *output)
{
    uint64_t before = 2ull * matmul->y_stride * first;
    if (!matmul->halves || before % device->caps.storage_alignment) return false;
    output->offset += before;
    output->size = rn_min_u64(output->size - before,
                              2ull * matmul->y_stride * rn_divide_up(rows, RN_BLOCK_INPUTS) * RN_BLOCK_INPUTS);
    return true;
}

void rn_matmul_dispatch(rn_recorder *recorder, const rn_matmul *matmul, const rn_matmul_choice *choice, uint32_t step)
{
    const rn_matrix *matrix = matmul->matrix;
    uint32_t end = choice->end ? choice->end : rn_matrix_panels(matrix), pair = matrix->alternating ? 2 : 1;
    uint64_t most = RN_MATMUL_MOST_BYTES / rn_matrix_panel_bytes(matrix) / 16 * 16; /* a multiple of every alignment */
    if (most && step > most) step = (uint32_t)most;
    for (uint32_t first = choice->begin; first < end; first += step) {
        uint32_t count = rn_min_u32(step, end - first), row_base = first / pair * RN_PANEL_ROWS;
        uint64_t bytes = count * rn_matrix_panel_bytes(matrix);
        rn_binding bindings[] = {
            {matrix->buffer, matrix->offset + first * rn_matrix_panel_bytes(matrix), bytes},
            matmul->input,
            matmul->output,
            matmul->partials,
        };
        matmul_push push = {
            .weights = rn_binding_address(&bindings[0]),
            .inputs = rn_binding_address(&bindings[1]),
            .blocks = rn_matrix_blocks(matrix),
            .panels = count,
            .rows = rn_min_u32(matrix->rows - row_base, count / pair * RN_PANEL_ROWS),
            .row_base = row_base,
            .columns = matmul->columns,
            .x_room = matmul->x_room,
            .y_stride = matmul->y_stride,
            .partials = 4 * RN_NARROW_COUNTERS / 16,
        };
        if (bind_rows(recorder->device, matmul, row_base, push.rows, &bindings[2])) push.row_base = 0;
        uint32_t along = rn_divide_up(count * RN_PANEL_ROWS, choice->rows);
        rn_recorder_dispatch(recorder, choice->kernel, bindings, choice->kernel->shader->binding_count, &push,
                             sizeof push, choice->others_first ? choice->others : along,
                             choice->others_first ? along : choice->others, 1, bytes);
    }
}

/* ---- Many columns ------------------------------------------------------------------------------------------------ */

/* The matrix as f16, in memory that the caller lends. */
static rn_matrix unpacked_matrix(const rn_matmul *matmul)
{
    rn_matrix matrix = *matmul->matrix;
    matrix.buffer = matmul->unpacked.buffer;
    matrix.offset = matmul->unpacked.offset;
    matrix.format = RETNET_WEIGHTS_F16;
    matrix.bytes = rn_matrix_panels(&matrix) * rn_matrix_panel_bytes(&matrix);
    return matrix;
}

bool rn_matmul_unpacks(const rn_device *device, const rn_matmul *matmul)
{
    const rn_matrix *matrix = matmul->matrix;
    uint64_t bytes = unpacked_matrix(matmul).bytes;
    return rn_format_is_scaled(matrix->format) && matmul->columns >= FEWEST_UNPACKED &&
           bytes <= matmul->unpacked.size && bytes <= device->caps.max_storage_range &&
           rn_matrix_panels(matrix) <= device->caps.max_groups[1];
}

static void record_unpack(rn_recorder *recorder, const rn_matrix *from, const rn_matrix *to)
{
    uint32_t constants[] = {rn_min_u32(256, recorder->device->caps.max_invocations), from->format};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_UNPACK], constants, RN_COUNT(constants));
    if (!kernel) return;
    uint64_t bytes = rn_matrix_panels(from) * rn_matrix_panel_bytes(from);
    rn_binding bindings[] = {{from->buffer, from->offset, bytes}, {to->buffer, to->offset, to->bytes}};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), NULL, 0, rn_matrix_blocks(from),
                         rn_matrix_panels(from), 1, bytes + to->bytes);
}

static rn_matmul_tile tile_of(const rn_device *device, const rn_matmul *matmul, bool direct, bool large)
{
    rn_matmul_tile tile = matmul->tile;
    if (!tile.tokens && device->caps.is_cpu)
        tile = *least_tile; /* small code: software drivers compile slowly */
    else if (!tile.tokens)
        tile = direct ? choose_direct_tile(device, matmul, large) : choose_staged_tile(device, matmul);
    if (tile.splits > rn_matrix_blocks(matmul->matrix)) tile.splits = 1;
    return tile;
}

/* Of a kernel of tiles; gives how many it has. */
static uint32_t tile_constants(const rn_device *device, const rn_matmul *matmul, bool direct,
                               const rn_matmul_tile *tile, uint32_t constants[RN_MATMUL_TILE_CONSTANTS])
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    const uint32_t own[RN_MATMUL_TILE_CONSTANTS - RN_MATMUL_CONSTANTS] = {
        tile->tokens, tile->rows, tile->sub_tokens, tile->sub_rows, direct ? unit->lanes : device->caps.is_cpu ? 1 : 2,
        tile->splits,
    };
    rn_matmul_constants(device, matmul, invocations(unit, tile), constants);
    memcpy(constants + RN_MATMUL_CONSTANTS, own, sizeof own);
    return RN_MATMUL_TILE_CONSTANTS - !direct;
}

rn_matmul_tile rn_matmul_direct_tile(const rn_device *device, const rn_matmul *matmul, bool large,
                                     uint32_t constants[RN_MATMUL_TILE_CONSTANTS])
{
    rn_matmul_tile tile = tile_of(device, matmul, true, large);
    tile_constants(device, matmul, true, &tile, constants);
    return tile;
}

bool rn_matmul_has_addresses(const rn_device *device, const rn_matmul *matmul)
{
    return device->addresses && matmul->way == RN_MATMUL_FASTEST && !matmul->matrix->buffer->foreign &&
           !matmul->input.buffer->foreign;
}

static uint32_t tile_shader(const rn_device *device, const rn_matmul *matmul, bool direct)
{
    if (!direct) return RN_SHADER_MATMUL;
    return rn_matmul_has_addresses(device, matmul) ? RN_SHADER_MATMUL_ADDRESSED : RN_SHADER_MATMUL_DIRECT;
}

static void record_panels(rn_recorder *recorder, const rn_matmul *matmul, bool direct, const rn_matmul_tile *tile,
                          uint32_t begin, uint32_t end)
{
    rn_device *device = recorder->device;
    uint32_t constants[RN_MATMUL_TILE_CONSTANTS];
    uint32_t count = tile_constants(device, matmul, direct, tile, constants);
    rn_matmul_choice choice = {.rows = tile->rows,
                               .others = rn_divide_up(matmul->columns, tile->tokens),
                               .others_first = true,
                               .begin = begin,
                               .end = end};
    choice.kernel = rn_recorder_kernel(recorder, &rn_shaders[tile_shader(device, matmul, direct)], constants, count);
    if (choice.kernel)
        rn_matmul_dispatch(recorder, matmul, &choice, rn_matrix_panels_per_binding(device, matmul->matrix));
}

/* Panels at the end whose tiles would take all processors a turn, though there are not enough for half of them: each is
 * better made by twice as many subgroups in half the time. Of an output of floats these would wait for the others. */
static uint32_t last_panels(const rn_device *device, const rn_matmul *matmul, const rn_matmul_tile *tile)
{
    uint32_t subgroups = tile->tokens / tile->sub_tokens * (tile->rows / tile->sub_rows);
    uint32_t turn = ROOM / subgroups * device->caps.processors, panels = rn_matrix_panels(matmul->matrix);
    uint32_t across = rn_divide_up(matmul->columns, tile->tokens), down = panels * RN_PANEL_ROWS / tile->rows;
    if (!turn || across * down < turn || !matmul->halves || panels * RN_PANEL_ROWS % tile->rows || tile->splits > 1 ||
        rn_matrix_blocks(matmul->matrix) < 2 ||
        2 * invocations(&device->caps.matrix, tile) > device->caps.max_invocations)
        return 0;
    uint32_t last = rn_divide_up(across * down % turn, across);
    return last * across <= turn / 2 ? last * (tile->rows / RN_PANEL_ROWS) : 0;
}

static void record_tiles(rn_recorder *recorder, const rn_matmul *matmul)
{
    const rn_device *device = recorder->device;
    bool direct = device->caps.matrix.lanes != RN_LANES_UNKNOWN && matmul->way != RN_MATMUL_STAGED;
    rn_matmul_tile tile = tile_of(device, matmul, direct, false);
    uint32_t panels = rn_matrix_panels(matmul->matrix), last = direct ? last_panels(device, matmul, &tile) : 0;
    record_panels(recorder, matmul, direct, &tile, 0, panels - last);
    if (last == 0) return;
    tile.splits = 2;
    record_panels(recorder, matmul, direct, &tile, panels - last, panels);
}

void rn_matmul_unpack(rn_recorder *recorder, rn_matmul *matmul, rn_matrix *halves)
{
    if (!rn_matmul_unpacks(recorder->device, matmul)) return;
    *halves = unpacked_matrix(matmul);
    record_unpack(recorder, matmul->matrix, halves);
    matmul->matrix = halves;
}

void rn_matmul_record(rn_recorder *recorder, const rn_matmul *matmul)
{
    if (!rn_matmul_check(recorder, matmul)) return;
    rn_matmul of_halves = *matmul;
    rn_matrix halves;
    rn_matmul_unpack(recorder, &of_halves, &halves);
    record_tiles(recorder, &of_halves);
}
