/* matmul_test.c: projections on matrix units against plain sums in double precision over the same weights, for every
 * format and epilogue and for odd shapes. Outputs are NaN beforehand and are followed by sentinels. Skipped where the
 * device has no matrix units or the build no kernel for them. */
#include "layers/matmul.h"
#include "context.h"
#include "test.h"

enum { SENTINELS = 256 };

typedef struct shape {
    uint32_t columns, rows, inputs;
} shape;

typedef struct problem {
    shape shape;
    retnet_weight_format format;
    rn_linear_epilogue epilogue;
    uint32_t activation;
    bool halves;
} problem;

static uint64_t random_state = 5;

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) TEST_FAIL("the library logged: %s", message);
}

/* ---- Weights in panels, as shaders/weights.glsl describes them ---------------------------------------------------- */

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Writes 32 random weights of one row of a block, and what they stand for to w[0..32). */
static void fill_block_row(uint8_t *block, retnet_weight_format format, uint32_t row, uint32_t inputs, double *w)
{
    bool quantised = format == RETNET_WEIGHTS_Q8 || format == RETNET_WEIGHTS_Q4;
    uint16_t scale = rn_f32_to_f16(0.01f + 0.02f * fabsf(test_random(&random_state)));
    uint32_t units = format == RETNET_WEIGHTS_Q8 ? 2 : 1;
    if (quantised) memcpy(block + units * 64 * 16 + row * 2, &scale, 2);
    for (uint32_t i = 0; i < 32; i++) {
        float value = i < inputs ? 0.1f * test_random(&random_state) : 0;
        if (format == RETNET_WEIGHTS_F32) {
            memcpy(block + (i / 4 * 64 + row) * 16 + i % 4 * 4, &value, 4);
        } else if (quantised) {
            int most = format == RETNET_WEIGHTS_Q8 ? 127 : 7, q = (int)(value * 10 * (float)most);
            value = (float)q * rn_f16_to_f32(scale);
            if (format == RETNET_WEIGHTS_Q8)
                block[(i / 16 * 64 + row) * 16 + i % 16] = (uint8_t)q;
            else
                block[row * 16 + i / 2] |= (uint8_t)((q + 8) << (i % 2 * 4));
        } else {
            bool half = format == RETNET_WEIGHTS_F16;
            uint16_t bits = half ? rn_f32_to_f16(value) : (uint16_t)(float_bits(value) >> 16);
            uint32_t wide = (uint32_t)bits << 16;
            if (half)
                value = rn_f16_to_f32(bits);
            else
                memcpy(&value, &wide, 4);
            memcpy(block + (i / 8 * 64 + row) * 16 + i % 8 * 2, &bits, 2);
        }
        if (i < inputs) w[i] = value;
    }
}

/* w: [rows, inputs], or first all activated and then all linear rows. */
static void fill_matrix(uint8_t *panels, const rn_matrix *matrix, double *w)
{
    uint32_t blocks = rn_matrix_blocks(matrix), branches = matrix->alternating ? 2 : 1;
    uint64_t panel_bytes = rn_matrix_panel_bytes(matrix);
    for (uint32_t branch = 0; branch < branches; branch++)
        for (uint32_t row = 0; row < matrix->rows; row++)
            for (uint32_t b = 0; b < blocks; b++) {
                uint8_t *panel = panels + (row / 64 * branches + branch) * panel_bytes;
                double *to = w + ((size_t)branch * matrix->rows + row) * matrix->inputs + b * 32;
                fill_block_row(panel + b * (panel_bytes / blocks), matrix->format, row % 64,
                               rn_min_u32(32, matrix->inputs - b * 32), to);
            }
}

/* ---- Expectation -------------------------------------------------------------------------------------------------- */

static double activate(uint32_t activation, double x)
{
    if (activation == 1) return x / (1 + exp(-x));
    if (activation == 2) return 0.5 * x * (1 + erf(x / sqrt(2)));
    return activation == 3 ? fmax(x, 0) : x;
}

static double product(const double *w, const uint16_t *x, uint32_t inputs)
{
    double sum = 0;
    for (uint32_t i = 0; i < inputs; i++) sum += w[i] * rn_f16_to_f32(x[i]);
    return sum;
}

static double expected_value(const problem *p, const double *w, const uint16_t *x, uint32_t row, float before)
{
    uint32_t inputs = p->shape.inputs;
    double value = activate(p->activation, product(w + (size_t)row * inputs, x, inputs));
    if (p->epilogue == RN_EPILOGUE_GLU) value *= product(w + (size_t)(p->shape.rows + row) * inputs, x, inputs);
    return p->epilogue == RN_EPILOGUE_ADD ? value + before : value;
}

/* ---- One problem -------------------------------------------------------------------------------------------------- */

typedef struct buffers {
    rn_buffer weights, x, y;
} buffers;

static void run(rn_device *device, const rn_matmul *matmul)
{
    rn_recorder recorder;
    REQUIRE(rn_recorder_create(device, &recorder) == RETNET_OK);
    rn_recorder_begin(&recorder);
    rn_matmul_record(&recorder, matmul);
    CHECK_INT(rn_recorder_end(&recorder), RETNET_OK);
    CHECK_INT(rn_recorder_run(&recorder), RETNET_OK);
    rn_recorder_destroy(&recorder);
}

static void check_output(const problem *p, const rn_matmul *m, const buffers *b, const double *w, const float *before)
{
    uint32_t rows = p->shape.rows, columns = p->shape.columns, padded = rn_divide_up(rows, 32) * 32;
    float *actual = calloc((size_t)rows * columns, sizeof *actual);
    double *expected = calloc((size_t)rows * columns, sizeof *expected);
    REQUIRE(actual && expected);
    const float *y = b->y.mapped;
    const uint16_t *y_halves = b->y.mapped, *x = b->x.mapped;
    size_t strays = 0;
    for (uint32_t t = 0; t < columns; t++) {
        for (uint32_t r = 0; r < m->y_stride; r++) {
            size_t at = (size_t)t * m->y_stride + r;
            float value = p->halves ? rn_f16_to_f32(y_halves[at]) : y[at];
            if (r < rows) {
                actual[(size_t)t * rows + r] = value;
                expected[(size_t)t * rows + r] = expected_value(p, w, x + (size_t)t * m->x_stride, r, before[at]);
            } else if (p->halves && r < padded ? value != 0 : !isnan(value)) {
                strays++;
            }
        }
    }
    for (uint32_t i = 0; i < SENTINELS; i++) {
        size_t at = (size_t)columns * m->y_stride + i;
        strays += p->halves ? y_halves[at] != 0x7E00 : !isnan(y[at]);
    }
    double rms = test_relative_rms(actual, expected, (size_t)rows * columns);
    if (strays || !(rms < 2e-3))
        TEST_FAIL("%u x %u x %u, format %d, epilogue %d, activation %u, %s: error %g, %zu stray values", columns, rows,
                  p->shape.inputs, p->format, p->epilogue, p->activation, p->halves ? "f16" : "fp32", rms, strays);
    free(actual);
    free(expected);
}

static void check(rn_device *device, const problem *p)
{
    bool glu = p->epilogue == RN_EPILOGUE_GLU;
    rn_matrix matrix = {
        .format = p->format, .rows = p->shape.rows, .inputs = p->shape.inputs, .alternating = glu};
    matrix.bytes = rn_matrix_panels(&matrix) * rn_matrix_panel_bytes(&matrix);
    rn_matmul m = {
        .matrix = &matrix,
        .columns = p->shape.columns,
        .x_stride = rn_divide_up(p->shape.inputs, 32) * 32 + 32,
        .y_stride = rn_divide_up(p->shape.rows, 32) * 32 + 32,
        .epilogue = p->epilogue,
        .activation = p->activation,
        .halves = p->halves,
    };
    size_t y_count = (size_t)m.columns * m.y_stride + SENTINELS, x_count = (size_t)m.columns * m.x_stride;
    buffers b;
    REQUIRE(rn_buffer_create(device, matrix.bytes, RN_MEMORY_UPLOAD, "weights", &b.weights) == RETNET_OK);
    REQUIRE(rn_buffer_create(device, x_count * 2, RN_MEMORY_UPLOAD, "input", &b.x) == RETNET_OK);
    REQUIRE(rn_buffer_create(device, y_count * 4, RN_MEMORY_READBACK, "output", &b.y) == RETNET_OK);
    double *w = calloc((size_t)matrix.rows * matrix.inputs * (glu ? 2 : 1), sizeof *w);
    float *before = calloc(y_count, sizeof *before), *y = b.y.mapped;
    uint16_t *x = b.x.mapped, *y_halves = b.y.mapped;
    REQUIRE(w && before);
    memset(b.weights.mapped, 0, matrix.bytes);
    fill_matrix(b.weights.mapped, &matrix, w);
    for (size_t i = 0; i < x_count; i++) x[i] = rn_f32_to_f16(test_random(&random_state));
    for (size_t i = 0; i < y_count; i++) {
        bool add = p->epilogue == RN_EPILOGUE_ADD && i / m.y_stride < m.columns && i % m.y_stride < matrix.rows;
        y[i] = add ? test_random(&random_state) : NAN;
        before[i] = y[i];
    }
    for (size_t i = 0; p->halves && i < y_count * 2; i++) y_halves[i] = 0x7E00; /* NaN */
    m.input = (rn_binding){&b.x, 0, x_count * 2};
    m.output = (rn_binding){&b.y, 0, y_count * 4};
    matrix.buffer = &b.weights;
    run(device, &m);
    check_output(p, &m, &b, w, before);
    free(w);
    free(before);
    rn_buffer_destroy(device, &b.weights);
    rn_buffer_destroy(device, &b.x);
    rn_buffer_destroy(device, &b.y);
}

int main(void)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = {.log = on_log, .enable_validation = true};
    if (retnet_context_create(&desc, &context) != RETNET_OK) return TEST_SKIPPED;
    rn_device *device = &context->device;
    if (!rn_matmul_suits(device, 64)) {
        retnet_context_destroy(context);
        return TEST_SKIPPED;
    }
    const shape shapes[] = {{16, 64, 32},   {17, 40, 70},  {64, 128, 64}, {100, 200, 96},
                            {128, 77, 107}, {200, 256, 65}, {33, 1, 40},    {129, 320, 320}};
    const retnet_weight_format formats[] = {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F16, RETNET_WEIGHTS_BF16,
                                            RETNET_WEIGHTS_Q8, RETNET_WEIGHTS_Q4};
    for (size_t s = 0; s < RN_COUNT(shapes); s++) {
        for (size_t f = 0; f < RN_COUNT(formats); f++) {
            check(device, &(problem){shapes[s], formats[f], RN_EPILOGUE_STORE, 0, false});
            check(device, &(problem){shapes[s], formats[f], RN_EPILOGUE_ADD, 0, false});
            check(device, &(problem){shapes[s], formats[f], RN_EPILOGUE_GLU, 1, true});
        }
        check(device, &(problem){shapes[s], RETNET_WEIGHTS_F16, RN_EPILOGUE_STORE, 2, true});
        check(device, &(problem){shapes[s], RETNET_WEIGHTS_F16, RN_EPILOGUE_STORE, 3, false});
        check(device, &(problem){shapes[s], RETNET_WEIGHTS_F16, RN_EPILOGUE_GLU, 2, false});
    }
    retnet_context_destroy(context);
    return test_finish();
}
