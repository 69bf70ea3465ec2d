/* record_linear.c: projections and feed-forward layers over the host's buffers (include/retnet/layers.h). */
#include "layers/halves.h"
#include "layers/matmul.h"
#include "layers/recording.h"

/* ---- Shared ------------------------------------------------------------------------------------------------------ */

/* Whether the host is to give scratch for f16, whatever the device. */
static bool wants_halves(const retnet_layers *layers, uint32_t rows)
{
    return layers->matrix_units && rows >= RN_MATMUL_FEWEST_COLUMNS;
}

/* Whether the device multiplies them. */
static bool takes_halves(const retnet_layers *layers, uint32_t rows, const rn_matrix *matrix, const retnet_vector *bias)
{
    return wants_halves(layers, rows) && !bias->buffer && rn_matmul_pays(layers->device) &&
           rn_halves_suits(layers->device, rows, matrix->inputs);
}

static rn_binding scratch_part(const retnet_layers *layers, uint64_t at, uint64_t bytes)
{
    return (rn_binding){&layers->scratch, at, bytes};
}

static retnet_result check_scratch(retnet_layers *layers, const char *name, uint64_t needed)
{
    if (needed <= layers->scratch.size) return RETNET_OK;
    return rn_layers_fail(layers, RETNET_ERROR_LIMIT, "%s: a scratch of %llu bytes, %llu are needed", name,
                          (unsigned long long)layers->scratch.size, (unsigned long long)needed);
}

/* Records y = epilogue(W x) in fp32 once everything is checked. */
static void record_floats(retnet_layers *layers, rn_linear linear, const retnet_vector *bias)
{
    rn_area params = {0};
    linear.params = linear.input; /* without bias nothing is read of it */
    if (bias->buffer) {
        rn_area_add(&params, bias->buffer, bias->offset, 4ull * linear.matrix->rows);
        linear.params = rn_area_bind(layers, &params);
        linear.has_bias = true;
        linear.bias = rn_area_floats(&params, bias->offset);
    }
    rn_linear_record(&layers->recorder, &linear);
}

/* The same on matrix units, of an input that is f16. `used`: bytes of the scratch that are in use. */
static void record_halves(retnet_layers *layers, const rn_linear *linear, rn_binding input, bool halves_out,
                          uint64_t used)
{
    rn_matmul matmul = {
        .matrix = linear->matrix,
        .input = input,
        .output = linear->output,
        .columns = linear->columns,
        .x_room = rn_halves_room(linear->columns),
        .y_stride = halves_out ? rn_halves_room(linear->columns) : linear->y_stride,
        .epilogue = linear->epilogue,
        .activation = linear->activation,
        .halves = halves_out,
    };
    if (used < layers->scratch.size) matmul.unpacked = scratch_part(layers, used, layers->scratch.size - used);
    rn_matmul_record(&layers->recorder, &matmul);
}

/* `count` rows of the input of a projection, with what stands behind each. */
static rn_binding bind_input(retnet_layers *layers, rn_area *area, const retnet_rows *rows, uint32_t count,
                             uint32_t inputs)
{
    uint32_t width = rn_padded_inputs(inputs);
    rn_area_add(area, rows->buffer, rows->offset, 4 * ((count - 1ull) * rn_rows_stride(rows, width) + width));
    return rn_area_bind(layers, area);
}

static rn_linear_epilogue epilogue_of(const retnet_matrix *matrix, bool add)
{
    return matrix->pair ? RN_EPILOGUE_GLU : add ? RN_EPILOGUE_ADD : RN_EPILOGUE_STORE;
}

static retnet_result check_activation(retnet_layers *layers, retnet_activation activation)
{
    if ((uint32_t)activation <= RETNET_ACTIVATION_RELU) return RETNET_OK;
    return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "activation %d", (int)activation);
}

/* ---- Projections ------------------------------------------------------------------------------------------------- */

uint64_t retnet_linear_scratch_bytes(uint32_t rows, uint32_t inputs)
{
    return rows < RN_MATMUL_FEWEST_COLUMNS ? 0 : rn_halves_bytes(rows, inputs);
}

static retnet_result check_linear(retnet_layers *layers, const retnet_linear *l)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    if (l->rows == 0) return rn_layers_fail(layers, invalid, "linear: no rows");
    if (l->matrix.pair && l->add) return rn_layers_fail(layers, invalid, "linear: a pair does not add");
    retnet_result result = check_activation(layers, l->activation);
    if (result == RETNET_OK) result = rn_layers_check_input(layers, "linear: input", &l->input, l->matrix.inputs);
    if (result == RETNET_OK)
        result = rn_layers_check_rows(layers, "linear: output", &l->output, l->matrix.rows, RN_HOST_ALIGNMENT);
    if (result == RETNET_OK && l->bias.buffer) result = rn_layers_check_vector(layers, "linear: bias", &l->bias, 4);
    if (result == RETNET_OK && wants_halves(layers, l->rows))
        result = check_scratch(layers, "linear", retnet_linear_scratch_bytes(l->rows, l->matrix.inputs));
    return result;
}

retnet_result retnet_layers_linear(retnet_layers *layers, const retnet_linear *l)
{
    if (!layers || !l) return RETNET_ERROR_INVALID_ARGUMENT;
    rn_buffer buffer;
    rn_matrix matrix;
    retnet_result result = rn_layers_ready(layers);
    if (result == RETNET_OK) result = rn_layers_take_matrix(layers, "linear: matrix", &l->matrix, &buffer, &matrix);
    if (result == RETNET_OK) result = check_linear(layers, l);
    if (result != RETNET_OK) return result;
    rn_area input = {0}, output = {0};
    rn_area_add_rows(&output, &l->output, l->rows, matrix.rows);
    rn_linear linear = {
        .matrix = &matrix,
        .input = bind_input(layers, &input, &l->input, l->rows, matrix.inputs),
        .output = rn_area_bind(layers, &output),
        .columns = l->rows,
        .x_stride = rn_rows_stride(&l->input, rn_padded_inputs(matrix.inputs)),
        .y_stride = rn_rows_stride(&l->output, matrix.rows),
        .epilogue = epilogue_of(&l->matrix, l->add),
        .activation = l->activation,
    };
    if (!takes_halves(layers, l->rows, &matrix, &l->bias)) {
        record_floats(layers, linear, &l->bias);
        return layers->recorder.result;
    }
    rn_binding halves = scratch_part(layers, 0, rn_halves_bytes(l->rows, matrix.inputs));
    rn_halves_record(&layers->recorder, linear.input, linear.x_stride, l->rows, matrix.inputs, halves);
    record_halves(layers, &linear, halves, false, rn_round_up(halves.size, RN_HOST_ALIGNMENT));
    return layers->recorder.result;
}

/* ---- Feed-forward ------------------------------------------------------------------------------------------------ */

/* Where the layer on matrix units has its f16 input and what lies between the matrices, and their end. */
typedef struct halves_scratch {
    uint64_t input_bytes, hidden_at, hidden_bytes, end;
} halves_scratch;

static halves_scratch place_halves(uint32_t rows, uint32_t inputs, uint32_t intermediate_size)
{
    halves_scratch s = {.input_bytes = rn_halves_bytes(rows, inputs),
                        .hidden_bytes = rn_halves_bytes(rows, intermediate_size)};
    s.hidden_at = rn_round_up(s.input_bytes, RN_HOST_ALIGNMENT);
    s.end = rn_round_up(s.hidden_at + s.hidden_bytes, RN_HOST_ALIGNMENT);
    return s;
}

static uint64_t hidden_bytes(uint32_t rows, uint32_t intermediate_size)
{
    return 4 * ((uint64_t)rows * rn_padded_inputs(intermediate_size));
}

uint64_t retnet_feed_forward_scratch_bytes(uint32_t rows, uint32_t inputs, uint32_t intermediate_size)
{
    uint64_t floats = hidden_bytes(rows, intermediate_size), halves = place_halves(rows, inputs, intermediate_size).end;
    return rows < RN_MATMUL_FEWEST_COLUMNS || floats > halves ? floats : halves;
}

static retnet_result check_feed_forward(retnet_layers *layers, const retnet_feed_forward *f)
{
    if (f->rows == 0 || f->down.pair || f->down.inputs != f->up.rows)
        return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "feed-forward: %u rows, up to %u, down from %u",
                              f->rows, f->up.rows, f->down.inputs);
    uint64_t needed = wants_halves(layers, f->rows)
                          ? retnet_feed_forward_scratch_bytes(f->rows, f->up.inputs, f->up.rows)
                          : hidden_bytes(f->rows, f->up.rows);
    retnet_result result = check_scratch(layers, "feed-forward", needed);
    if (result == RETNET_OK) result = check_activation(layers, f->activation);
    if (result == RETNET_OK) result = rn_layers_check_input(layers, "feed-forward: input", &f->input, f->up.inputs);
    if (result == RETNET_OK)
        result = rn_layers_check_rows(layers, "feed-forward: output", &f->output, f->down.rows, RN_HOST_ALIGNMENT);
    if (result == RETNET_OK && f->up_bias.buffer)
        result = rn_layers_check_vector(layers, "feed-forward: up_bias", &f->up_bias, 4);
    if (result == RETNET_OK && f->down_bias.buffer)
        result = rn_layers_check_vector(layers, "feed-forward: down_bias", &f->down_bias, 4);
    return result;
}

/* Both products in fp32. */
static void feed_floats(retnet_layers *layers, const retnet_feed_forward *f, rn_linear up, rn_linear down)
{
    uint32_t stride = rn_padded_inputs(up.matrix->rows);
    up.output = down.input = scratch_part(layers, 0, hidden_bytes(f->rows, up.matrix->rows));
    up.y_stride = down.x_stride = stride;
    /* What stands behind the values of a row meets weights of zero, but has to be finite. */
    if (up.matrix->rows != stride) rn_recorder_fill_zero(&layers->recorder, &layers->scratch, 0, up.output.size);
    record_floats(layers, up, &f->up_bias);
    record_floats(layers, down, &f->down_bias);
}

/* Both on matrix units. */
static void feed_halves(retnet_layers *layers, const retnet_feed_forward *f, rn_linear up, const rn_linear *down)
{
    halves_scratch s = place_halves(f->rows, up.matrix->inputs, up.matrix->rows);
    rn_binding input = scratch_part(layers, 0, s.input_bytes);
    rn_halves_record(&layers->recorder, up.input, up.x_stride, f->rows, up.matrix->inputs, input);
    up.output = scratch_part(layers, s.hidden_at, s.hidden_bytes);
    record_halves(layers, &up, input, true, s.end);
    record_halves(layers, down, up.output, false, s.end);
}

retnet_result retnet_layers_feed_forward(retnet_layers *layers, const retnet_feed_forward *f)
{
    if (!layers || !f) return RETNET_ERROR_INVALID_ARGUMENT;
    rn_buffer up_buffer, down_buffer;
    rn_matrix up_matrix, down_matrix;
    retnet_result result = rn_layers_ready(layers);
    if (result == RETNET_OK) result = rn_layers_take_matrix(layers, "feed-forward: up", &f->up, &up_buffer, &up_matrix);
    if (result == RETNET_OK)
        result = rn_layers_take_matrix(layers, "feed-forward: down", &f->down, &down_buffer, &down_matrix);
    if (result == RETNET_OK) result = check_feed_forward(layers, f);
    if (result != RETNET_OK) return result;
    rn_area input = {0}, output = {0};
    rn_area_add_rows(&output, &f->output, f->rows, down_matrix.rows);
    rn_linear up = {
        .matrix = &up_matrix,
        .input = bind_input(layers, &input, &f->input, f->rows, up_matrix.inputs),
        .columns = f->rows,
        .x_stride = rn_rows_stride(&f->input, rn_padded_inputs(up_matrix.inputs)),
        .epilogue = epilogue_of(&f->up, false),
        .activation = f->activation,
    };
    rn_linear down = {
        .matrix = &down_matrix,
        .output = rn_area_bind(layers, &output),
        .columns = f->rows,
        .y_stride = rn_rows_stride(&f->output, down_matrix.rows),
        .epilogue = epilogue_of(&f->down, f->add),
    };
    if (takes_halves(layers, f->rows, &up_matrix, &f->up_bias) &&
        takes_halves(layers, f->rows, &down_matrix, &f->down_bias))
        feed_halves(layers, f, up, &down);
    else
        feed_floats(layers, f, up, down);
    return layers->recorder.result;
}
