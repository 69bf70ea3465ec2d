#include "layers/linear.h"

#include "layers/tiles.h"
#include "shaders.h"

typedef struct linear_push {
    uint32_t blocks, panels, rows, row_base, columns, x_stride, y_stride, inputs, scale_offset, norm_weight, bias;
    float eps;
    uint32_t heads, head_size, tiles, x_at, before_at, patience;
} linear_push;

#define IN_PLACE UINT32_MAX /* linear_push.glsl */

static uint32_t block_bytes(retnet_weight_format format)
{
    switch (format) {
    case RETNET_WEIGHTS_F32: return 8192;
    case RETNET_WEIGHTS_Q8: return 2176;
    case RETNET_WEIGHTS_Q4: return 1152;
    default: return 4096;
    }
}

/* Units of 16 bytes that a row has in a block. */
static uint32_t row_units(retnet_weight_format format)
{
    switch (format) {
    case RETNET_WEIGHTS_F32: return 8;
    case RETNET_WEIGHTS_Q8: return 2;
    case RETNET_WEIGHTS_Q4: return 1;
    default: return 4;
    }
}

uint32_t rn_matrix_blocks(const rn_matrix *matrix)
{
    return rn_divide_up(matrix->inputs, RN_BLOCK_INPUTS);
}

uint32_t rn_matrix_panels(const rn_matrix *matrix)
{
    return rn_divide_up(matrix->rows, RN_PANEL_ROWS) * (matrix->alternating ? 2 : 1);
}

uint64_t rn_matrix_panel_bytes(const rn_matrix *matrix)
{
    return (uint64_t)rn_matrix_blocks(matrix) * block_bytes(matrix->format);
}

uint32_t rn_matrix_panels_per_binding(const rn_device *device, const rn_matrix *matrix)
{
    uint64_t fitting = device->caps.max_storage_range / rn_matrix_panel_bytes(matrix);
    uint32_t panels = rn_matrix_panels(matrix);
    if (fitting >= panels) return panels;
    /* 16 panels of any format are a multiple of every alignment that Vulkan allows, and whole pairs. */
    return fitting >= 16 ? (uint32_t)(fitting / 16 * 16) : matrix->alternating ? 2 : 1;
}

/* As in linear_column.glsl. */
enum { ROW_LANES = 4, NEIGHBOURS = 8 };

/* Whether neighbours add their sums, and whether these are of bytes. */
static bool shuffles(const rn_device *device)
{
    return device->caps.subgroup_arithmetic && device->caps.subgroup_size >= NEIGHBOURS;
}

static bool multiplies_bytes(const rn_device *device, retnet_weight_format format)
{
    return rn_format_is_scaled(format) && shuffles(device) && device->caps.byte_dots;
}

/* Bytes of shared memory that linear_column.glsl takes for the column. */
static uint32_t column_bytes(const rn_device *device, const rn_matrix *matrix)
{
    bool bytes = multiplies_bytes(device, matrix->format);
    uint32_t vectors = !bytes ? 9 : matrix->format == RETNET_WEIGHTS_Q4 ? 5 : 7, others = bytes ? 4 : 0;
    return rn_matrix_blocks(matrix) * (16 * vectors + others);
}

/* Whether linear_column.comp can stage the column, with workgroups of this shape. */
static bool can_stage_with(const rn_device *device, const rn_linear *linear, rn_linear_shape shape)
{
    bool groups = linear->prologue == RN_PROLOGUE_GROUP_NORM;
    uint32_t parts = shape.splits / (shuffles(device) ? ROW_LANES : 1);
    uint32_t partial = 2 * parts * shape.group_rows * shape.rows * (linear->matrix->alternating ? 2 : 1);
    uint32_t heads = groups ? 128 + linear->heads * linear->tiles : 2;
    uint32_t norm = linear->prologue == RN_PROLOGUE_RMS_NORM ? 2 * 256 : 256; /* parts */
    uint32_t others = partial + norm + 16 + 1 + heads;                        /* sixteenths, order */
    return linear->columns == 1 && (!groups || linear->heads <= 128) &&
           column_bytes(device, linear->matrix) + 4 * others <= device->caps.shared_memory;
}

/* ---- Shapes ------------------------------------------------------------------------------------------------------ */

enum { MANY = 8192 }; /* rows */

/* The fastest as links of a chain, or nearly, on an H200 (samples/bench/NOTES.md). A link's workgroups have to be
 * there, their first weights loaded, while those of the link before still run: one workgroup a multiprocessor, or two
 * small ones, with registers for two such links. Short rows of floats are under way as a whole; of longer ones many
 * invocations hold little, which also read a long column in one turn. Of scaled weights an invocation holds two rows,
 * since each row's inputs come from shared memory, and where there are few rows a workgroup fills a multiprocessor.
 * Less at once where the device does not say how many multiprocessors it has. */
static rn_linear_shape shape_by_rule(const rn_device *device, const rn_linear *linear)
{
    const rn_matrix *matrix = linear->matrix;
    uint32_t processors = device->caps.processors, blocks = rn_matrix_blocks(matrix);
    bool many_rows = matrix->rows >= MANY, whole = blocks * row_units(matrix->format) <= 12 * 32;
    if (!processors) return (rn_linear_shape){16, 16, 1, 4, 0};
    if (linear->columns > 1) return (rn_linear_shape){.group_rows = 8, .splits = 32};
    if (rn_format_is_scaled(matrix->format))
        return many_rows             ? (rn_linear_shape){16, 32, 2, 2, 2 * processors}
               : matrix->alternating ? (rn_linear_shape){16, 32, 2, 8, processors}
                                     : (rn_linear_shape){16, 64, 2, 2, processors};
    if (many_rows) return (rn_linear_shape){8, 32, 2, 8, 2 * processors};
    if (!whole) return (rn_linear_shape){16, 32, 1, 2, processors};
    return matrix->alternating ? (rn_linear_shape){8, 32, 1, 8, 2 * processors}
                               : (rn_linear_shape){8, 32, 2, 12, processors};
}

/* What else was the fastest somewhere, with groups for each multiprocessor. Few: each is a kernel to be compiled. */
enum { MANY_ROWS, PAIRS, FEW_ROWS, SHAPE_CLASSES, RIVALS = 3 };
static const rn_linear_shape rivals[2][SHAPE_CLASSES][RIVALS] = {
    {{{16, 32, 1, 4, 1}}, {{8, 64, 1, 4, 1}, {16, 32, 1, 4, 1}}, {{16, 32, 1, 4, 2}, {16, 32, 2, 4, 1}}},
    {{{16, 32, 2, 4, 1}}, /* scaled weights */
     {{16, 16, 2, 4, 2}, {16, 32, 1, 4, 2}, {8, 32, 1, 8, 2}},
     {{32, 32, 1, 4, 1}, {16, 64, 1, 4, 1}, {16, 32, 1, 4, 1}}},
};

_Static_assert(1 + RIVALS <= RN_LINEAR_CANDIDATES, "all fit");

/* The device may have smaller workgroups or less shared memory only. */
static rn_linear_shape fit_shape(const rn_device *device, const rn_linear *linear, rn_linear_shape shape)
{
    while (shape.group_rows * shape.splits > device->caps.max_invocations) shape.splits /= 2;
    while (shape.splits > ROW_LANES && shape.splits > rn_matrix_blocks(linear->matrix)) shape.splits /= 2;
    for (rn_linear_shape smaller = shape; smaller.splits >= ROW_LANES; smaller.splits /= 2)
        if (can_stage_with(device, linear, smaller)) return smaller;
    return shape;
}

uint32_t rn_linear_candidates(const rn_device *device, const rn_linear *linear,
                              rn_linear_shape shapes[RN_LINEAR_CANDIDATES])
{
    const rn_matrix *matrix = linear->matrix;
    uint32_t count = 0;
    shapes[count++] = fit_shape(device, linear, shape_by_rule(device, linear));
    uint32_t class = matrix->rows >= MANY ? MANY_ROWS : matrix->alternating ? PAIRS : FEW_ROWS;
    for (size_t i = 0; i < RIVALS && device->measures && device->caps.processors; i++) {
        rn_linear_shape shape = rivals[rn_format_is_scaled(matrix->format)][class][i];
        if (!shape.group_rows) continue;
        if (shape.groups) shape.groups *= device->caps.processors;
        shape = fit_shape(device, linear, shape);
        if (can_stage_with(device, linear, shape)) shapes[count++] = shape;
    }
    return count;
}

/* Of shapes, as the answers to questions about matrices (vulkan/choices.h). */
static uint64_t shape_hash(rn_linear_shape shape)
{
    return rn_hash(0, &shape, sizeof shape);
}

static uint64_t question_about(const rn_linear *linear)
{
    const rn_matrix *m = linear->matrix;
    const uint32_t asked[] = {m->format,        m->rows,          m->inputs,     m->alternating, linear->prologue,
                              linear->epilogue, linear->has_bias, linear->heads, linear->tiles};
    return rn_hash(rn_hash(0, "linear_column", 13), asked, sizeof asked);
}

bool rn_linear_is_chosen(const rn_device *device, const rn_linear *linear)
{
    uint64_t answer;
    return rn_choices_find(&device->choices, question_about(linear), &answer);
}

void rn_linear_choose(rn_device *device, const rn_linear *linear, rn_linear_shape shape)
{
    rn_choices_add(&device->choices, question_about(linear), shape_hash(shape));
}

/* Depends on the projection, the device and what was measured on it only. */
static rn_linear_shape shape_of(const rn_device *device, const rn_linear *linear)
{
    if (linear->shape.group_rows) return fit_shape(device, linear, linear->shape);
    rn_linear_shape shapes[RN_LINEAR_CANDIDATES];
    uint32_t count = rn_linear_candidates(device, linear, shapes);
    uint64_t answer;
    if (linear->columns == 1 && rn_choices_find(&device->choices, question_about(linear), &answer))
        for (uint32_t i = 0; i < count; i++)
            if (shape_hash(shapes[i]) == answer) return shapes[i];
    return shapes[0];
}

static bool can_stage(const rn_device *device, const rn_linear *linear)
{
    return can_stage_with(device, linear, shape_of(device, linear));
}

bool rn_linear_can_fuse(const rn_device *device, const rn_linear *linear)
{
    bool groups = linear->prologue == RN_PROLOGUE_GROUP_NORM;
    if (device->caps.is_cpu) return !groups || linear->head_size % RN_BLOCK_INPUTS == 0;
    return can_stage(device, linear);
}

/* ---- Kernels ---------------------------------------------------------------------------------------------------- */

/* A kernel for this projection, and how its workgroups lie over rows and columns. */
typedef struct choice {
    const rn_kernel *kernel;
    uint32_t group_rows, panels, columns; /* of a workgroup, or of a tile where it makes several */
    uint32_t groups;                      /* at most; 0: any number */
} choice;

/* `number` in as many equal turns as it takes with at most `most` in each. */
static uint32_t turn_of(uint32_t number, uint32_t most)
{
    return rn_divide_up(number, rn_divide_up(number, most));
}

/* The fewest columns for which a tile of 64 is better than turns of eight, if there are enough tiles to keep a GPU
 * busy. Not measured yet on a GPU without matrix units. */
enum { FEWEST_TILED = 32, FEWEST_TILES = 16 };

static retnet_result choose_for_gpu(rn_device *device, const rn_linear *linear, choice *out)
{
    const rn_matrix *matrix = linear->matrix;
    rn_linear_shape shape = shape_of(device, linear);
    uint32_t n = linear->columns, columns = n <= 2 ? n : n <= 4 ? 4 : 8;
    /* With two panels an input that was read is used twice. */
    bool two_panels = matrix->alternating || (columns >= 4 && rn_matrix_panels(matrix) >= FEWEST_TILES);
    uint32_t constants[] = {
        shape.group_rows * shape.splits,
        matrix->format,
        shape.group_rows,
        columns,
        linear->prologue,
        linear->epilogue,
        linear->activation,
        linear->has_bias,
        two_panels ? 2 : 1,
        1,
    };
    *out = (choice){.group_rows = shape.group_rows, .panels = constants[8], .columns = columns};
    return rn_kernel_get(device, &rn_shaders[RN_SHADER_LINEAR], constants, RN_COUNT(constants), &out->kernel);
}

static bool suits_tiles(const rn_device *device, const rn_linear *linear)
{
    uint32_t tiles = rn_matrix_panels(linear->matrix) * rn_divide_up(linear->columns, RN_TILE);
    return linear->columns >= FEWEST_TILED && tiles >= FEWEST_TILES && rn_tiles_suit(device);
}

static retnet_result choose_tiles(rn_device *device, const rn_linear *linear, choice *out)
{
    const rn_matrix *matrix = linear->matrix;
    uint32_t constants[] = {
        RN_TILE_INVOCATIONS, matrix->format, linear->prologue, linear->epilogue, linear->activation, linear->has_bias,
    };
    uint32_t panels = matrix->alternating ? 2 : 1;
    *out = (choice){.group_rows = RN_PANEL_ROWS / panels, .panels = panels, .columns = RN_TILE};
    return rn_kernel_get(device, &rn_shaders[RN_SHADER_LINEAR_TILES], constants, RN_COUNT(constants), &out->kernel);
}

static retnet_result choose_column(rn_device *device, const rn_linear *linear, choice *out)
{
    const rn_matrix *matrix = linear->matrix;
    rn_linear_shape shape = shape_of(device, linear);
    uint32_t constants[] = {
        shape.group_rows * shape.splits,
        matrix->format,
        shape.group_rows,
        rn_matrix_blocks(matrix),
        linear->prologue,
        linear->epilogue,
        linear->activation,
        linear->has_bias,
        turn_of(rn_divide_up(rn_matrix_blocks(matrix) * row_units(matrix->format), shape.splits), shape.ahead),
        linear->prologue == RN_PROLOGUE_GROUP_NORM ? linear->heads * linear->tiles : 1,
        shape.rows,
    };
    *out = (choice){NULL, shape.group_rows * shape.rows, matrix->alternating ? 2 : 1, 1, shape.groups};
    int shader = multiplies_bytes(device, matrix->format) ? RN_SHADER_LINEAR_DOTS
                 : shuffles(device)                       ? RN_SHADER_LINEAR_SHUFFLES
                                                          : RN_SHADER_LINEAR_COLUMN;
    return rn_kernel_get(device, &rn_shaders[shader], constants, RN_COUNT(constants), &out->kernel);
}

static bool fits_texels(const rn_device *device, const rn_linear *linear)
{
    const rn_matrix *matrix = linear->matrix;
    uint64_t panels = rn_min_u32(rn_matrix_panels(matrix), rn_matrix_panels_per_binding(device, matrix));
    uint64_t most = device->caps.max_texel_range;
    if (matrix->buffer->foreign || linear->input.buffer->foreign || linear->params.buffer->foreign) return false;
    return panels * rn_matrix_panel_bytes(matrix) <= most && linear->input.size <= most && linear->params.size <= most;
}

/* Few columns and rows: software drivers compile what this unrolls while the user waits. */
static retnet_result choose_for_cpu(rn_device *device, const rn_linear *linear, choice *out)
{
    bool glu = linear->epilogue == RN_EPILOGUE_GLU, texels = device->texel_loads && fits_texels(device, linear);
    uint32_t columns = linear->columns <= 2 ? linear->columns : 4;
    uint32_t lanes = rn_device_vector(device), rows = columns > 1 || glu ? 4 : 8;
    while (lanes * rows > RN_PANEL_ROWS) rows /= 2;
    uint32_t constants[] = {
        lanes,
        linear->matrix->format,
        columns,
        rows,
        linear->prologue,
        linear->epilogue,
        linear->activation,
        linear->has_bias,
    };
    const rn_shader *shader = &rn_shaders[texels ? RN_SHADER_LINEAR_TEXELS : RN_SHADER_LINEAR_SERIAL];
    *out = (choice){.group_rows = lanes * rows, .panels = glu ? 2 : 1, .columns = columns};
    return rn_kernel_get(device, shader, constants, RN_COUNT(constants), &out->kernel);
}

static retnet_result choose(rn_device *device, const rn_linear *linear, choice *out)
{
    bool glu = linear->epilogue == RN_EPILOGUE_GLU;
    bool fuses = linear->prologue == RN_PROLOGUE_RMS_NORM || linear->prologue == RN_PROLOGUE_GROUP_NORM;
    bool column = !device->caps.is_cpu && linear->prologue != RN_PROLOGUE_ROW_SCALE && can_stage(device, linear);
    if (glu != linear->matrix->alternating || (fuses && !rn_linear_can_fuse(device, linear)) ||
        (linear->chained && !column))
        return rn_fail(device->host, RETNET_ERROR_INTERNAL, "linear: matrix, prologue and epilogue do not fit");
    if (device->caps.is_cpu) return choose_for_cpu(device, linear, out);
    if (column) return choose_column(device, linear, out);
    return suits_tiles(device, linear) ? choose_tiles(device, linear, out) : choose_for_gpu(device, linear, out);
}

void rn_linear_record(rn_recorder *recorder, const rn_linear *linear)
{
    const rn_matrix *matrix = linear->matrix;
    rn_device *device = recorder->device;
    choice chosen;
    retnet_result result = choose(device, linear, &chosen);
    if (result != RETNET_OK) {
        rn_recorder_fail(recorder, result);
        return;
    }
    uint32_t pair = matrix->alternating ? 2 : 1, panels = rn_matrix_panels(matrix);
    uint32_t step = rn_matrix_panels_per_binding(device, matrix);
    for (uint32_t first = 0; first < panels; first += step) {
        uint32_t count = rn_min_u32(step, panels - first), row_base = first / pair * RN_PANEL_ROWS;
        uint64_t bytes = count * rn_matrix_panel_bytes(matrix);
        rn_binding bindings[] = {
            {matrix->buffer, matrix->offset + first * rn_matrix_panel_bytes(matrix), bytes},
            linear->input,
            linear->output,
            linear->params,
        };
        linear_push push = {
            .blocks = rn_matrix_blocks(matrix),
            .panels = count,
            .rows = rn_min_u32(matrix->rows - row_base, count / pair * RN_PANEL_ROWS),
            .row_base = row_base,
            .columns = linear->columns,
            .x_stride = linear->x_stride,
            .y_stride = linear->y_stride,
            .inputs = matrix->inputs,
            .scale_offset = linear->scale_offset,
            .norm_weight = linear->norm_weight,
            .bias = linear->bias,
            .eps = linear->eps,
            .heads = linear->heads,
            .head_size = linear->head_size,
            .tiles = linear->tiles,
            .x_at = linear->x_at,
            .before_at = linear->chained ? linear->before_at : IN_PLACE,
            .patience = linear->chained ? rn_recorder_patience(recorder) : 0,
        };
        uint32_t groups = rn_divide_up(count, chosen.panels) * (RN_PANEL_ROWS / chosen.group_rows);
        if (chosen.groups) groups = rn_min_u32(groups, chosen.groups);
        rn_recorder_dispatch(recorder, chosen.kernel, bindings, RN_COUNT(bindings), &push, sizeof push, groups,
                             rn_divide_up(linear->columns, chosen.columns), 1, bytes);
    }
}
