/* layers_test.c: see layers_test.h. */
#include "layers/layers_test.h"
#include "pretend.h"
#include "reference/reference.h"

/* Words before and behind: as many bytes before as Vulkan lets a device ask of a binding's offset. */
enum { BEFORE = 64, BEHIND = 256 };

static uint64_t random_state = 5;
static bool errors_expected;

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    bool validation = strstr(message, "VUID") || strstr(message, "SYNC-") || strstr(message, "alidation");
    if (level == RETNET_LOG_ERROR && (validation || !errors_expected)) TEST_FAIL("the library logged: %s", message);
}

layers_test layers_test_create(void)
{
    layers_test test = {0};
    retnet_context_desc desc = {.log = on_log, .enable_validation = true};
    desc.pretend = test_pretend();
    retnet_result result = retnet_context_create(&desc, &test.context);
    if (result == RETNET_ERROR_NO_DEVICE) exit(TEST_SKIPPED);
    REQUIRE(result == RETNET_OK);
    test.device = &test.context->device;
    REQUIRE(rn_recorder_create(test.device, &test.recorder) == RETNET_OK);
    return test;
}

int layers_test_finish(layers_test *test, int failures)
{
    rn_recorder_destroy(&test->recorder);
    retnet_context_destroy(test->context);
    test_failures += failures;
    return test_finish();
}

void layers_test_expect_errors(bool expected)
{
    errors_expected = expected;
}

rn_recorder *layers_test_begin(layers_test *test)
{
    rn_recorder_begin(&test->recorder);
    return &test->recorder;
}

void layers_test_run(layers_test *test)
{
    CHECK_INT(rn_recorder_end(&test->recorder), RETNET_OK);
    if (test->recorder.result == RETNET_OK) CHECK_INT(rn_recorder_run(&test->recorder), RETNET_OK);
}

void *layers_test_alloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    REQUIRE(memory);
    return memory;
}

float layers_test_random(void)
{
    return test_random(&random_state);
}

void layers_test_fill(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) values[i] = layers_test_random();
}

double layers_test_activate(uint32_t activation, double x)
{
    return activation ? ref_activate((rn_activation)(activation - 1), x) : x;
}

/* ---- Buffers ----------------------------------------------------------------------------------------------------- */

layers_buffer layers_test_buffer(layers_test *test, size_t count)
{
    layers_buffer b = {.count = count};
    size_t words = BEFORE + count + BEHIND;
    REQUIRE(rn_buffer_create(test->device, 4 * words, RN_MEMORY_READBACK, "a test's", &b.buffer) == RETNET_OK);
    uint32_t *mapped = b.buffer.mapped;
    for (size_t i = 0; i < words; i++) mapped[i] = LAYERS_POISON;
    b.words = mapped + BEFORE;
    b.floats = (float *)b.words;
    b.halves = (uint16_t *)b.words;
    return b;
}

void layers_test_free(layers_test *test, layers_buffer *buffer)
{
    rn_buffer_destroy(test->device, &buffer->buffer);
}

rn_binding layers_test_binding(const layers_buffer *buffer)
{
    return (rn_binding){&buffer->buffer, 4 * BEFORE, 4 * (buffer->count + BEHIND)};
}

size_t layers_test_half_at(size_t room, size_t token, size_t i)
{
    return (i / 32 * room + token) * 32 + i % 32;
}

double *layers_test_expectation(const layers_buffer *buffer, bool halves)
{
    size_t count = buffer->count * (halves ? 2 : 1);
    double *expected = layers_test_alloc(count, sizeof *expected);
    for (size_t i = 0; i < count; i++) expected[i] = NAN;
    return expected;
}

void layers_test_check_guards(const char *what, const layers_buffer *buffer)
{
    const uint32_t *mapped = buffer->buffer.mapped;
    for (size_t i = 0; i < BEFORE + buffer->count + BEHIND; i++) {
        bool inside = i >= BEFORE && i < BEFORE + buffer->count;
        if (inside || mapped[i] == LAYERS_POISON) continue;
        TEST_FAIL("%s: a write %td words from the beginning of %zu", what, (ptrdiff_t)i - BEFORE, buffer->count);
        return;
    }
}

void layers_test_check(const char *what, const layers_buffer *buffer, bool halves, double *expected, double limit)
{
    size_t count = buffer->count * (halves ? 2 : 1), compared = 0, strays = 0, first_stray = 0;
    float *actual = layers_test_alloc(count, sizeof *actual);
    double *wanted = layers_test_alloc(count, sizeof *wanted);
    for (size_t i = 0; i < count; i++) {
        if (!isnan(expected[i])) {
            actual[compared] = halves ? rn_f16_to_f32(buffer->halves[i]) : buffer->floats[i];
            wanted[compared++] = expected[i];
        } else if (halves ? buffer->halves[i] != (LAYERS_POISON & 0xFFFF) : buffer->words[i] != LAYERS_POISON) {
            if (!strays++) first_stray = i;
        }
    }
    double rms = test_relative_rms(actual, wanted, compared);
    if (!(rms <= limit)) TEST_FAIL("%s: relative RMS error %g, at most %g expected", what, rms, limit);
    if (strays) TEST_FAIL("%s: %zu stray values, the first at %zu of %zu", what, strays, first_stray, count);
    layers_test_check_guards(what, buffer);
    free(actual);
    free(wanted);
    free(expected);
}

static void run_once(layers_test *test, layers_test_record_fn *record, const void *work, bool texels)
{
    test->device->texel_loads = texels;
    record(layers_test_begin(test), work);
    layers_test_run(test);
}

/* The whole buffer with its guards, to be freed. */
static void *copy_of(const layers_buffer *buffer)
{
    void *copy = layers_test_alloc(1, buffer->buffer.size);
    memcpy(copy, buffer->buffer.mapped, buffer->buffer.size);
    return copy;
}

void layers_test_run_each_way(layers_test *test, const char *what, layers_test_record_fn *record, const void *work,
                              layers_buffer *const *outputs, size_t output_count)
{
    enum { MOST = 2 };
    void *before[MOST], *after[MOST];
    REQUIRE(output_count <= MOST);
    for (size_t i = 0; i < output_count; i++) before[i] = copy_of(outputs[i]);
    run_once(test, record, work, false);
    for (size_t i = 0; i < output_count; i++) after[i] = copy_of(outputs[i]);
    if (test->device->caps.is_cpu) {
        for (size_t i = 0; i < output_count; i++) memcpy(outputs[i]->buffer.mapped, before[i], outputs[i]->buffer.size);
        run_once(test, record, work, true);
    }
    for (size_t i = 0; i < output_count; i++) {
        if (memcmp(outputs[i]->buffer.mapped, after[i], outputs[i]->buffer.size) != 0)
            TEST_FAIL("%s: output %zu depends on how memory is read", what, i);
        free(before[i]);
        free(after[i]);
    }
}

/* ---- Weights in panels ------------------------------------------------------------------------------------------- */

static uint8_t *block_of(void *panels, const rn_matrix *matrix, bool second, uint32_t row, uint32_t block)
{
    uint64_t panel = row / RN_PANEL_ROWS * (matrix->alternating ? 2 : 1) + second,
             bytes = rn_matrix_panel_bytes(matrix);
    return (uint8_t *)panels + panel * bytes + block * (bytes / rn_matrix_blocks(matrix));
}

uint8_t *layers_test_unit(void *panels, const rn_matrix *matrix, bool second, uint32_t row, uint32_t block,
                          uint32_t unit)
{
    uint32_t units = matrix->format == RETNET_WEIGHTS_F32  ? 8
                     : matrix->format == RETNET_WEIGHTS_Q8 ? 2
                     : matrix->format == RETNET_WEIGHTS_Q4 ? 1
                                                           : 4;
    return block_of(panels, matrix, second, row, block) + (row % RN_PANEL_ROWS * units + unit) * 16;
}

uint8_t *layers_test_scale(void *panels, const rn_matrix *matrix, bool second, uint32_t row, uint32_t block)
{
    uint32_t units = matrix->format == RETNET_WEIGHTS_Q8 ? 2 : 1;
    return block_of(panels, matrix, second, row, block) + units * RN_PANEL_ROWS * 16 + row % RN_PANEL_ROWS * 2;
}

/* Puts a weight near `value`, which is within 0.1 of 0, in its place and returns the one that this is. */
static double put_weight(void *panels, const rn_matrix *matrix, bool second, uint32_t row, uint32_t input, float scale,
                         float value)
{
    uint32_t block = input / 32, i = input % 32;
    if (matrix->format == RETNET_WEIGHTS_F32) {
        memcpy(layers_test_unit(panels, matrix, second, row, block, i / 4) + i % 4 * 4, &value, 4);
        return value;
    }
    if (matrix->format == RETNET_WEIGHTS_Q8) {
        int q = (int)(value * 1270);
        layers_test_unit(panels, matrix, second, row, block, i / 16)[i % 16] = (uint8_t)q;
        return q * (double)scale;
    }
    if (matrix->format == RETNET_WEIGHTS_Q4) {
        int q = (int)floorf(value * 79);
        layers_test_unit(panels, matrix, second, row, block, 0)[i / 2] |= (uint8_t)((q + 8) << (i % 2 * 4));
        return q * (double)scale;
    }
    bool half = matrix->format == RETNET_WEIGHTS_F16;
    uint16_t bits = half ? rn_f32_to_f16(value) : rn_f32_to_bf16(value);
    memcpy(layers_test_unit(panels, matrix, second, row, block, i / 8) + i % 8 * 2, &bits, 2);
    return half ? rn_f16_to_f32(bits) : rn_bf16_to_f32(bits);
}

static void fill_row(void *panels, const rn_matrix *matrix, bool second, uint32_t row, double *w)
{
    bool scaled = matrix->format == RETNET_WEIGHTS_Q8 || matrix->format == RETNET_WEIGHTS_Q4;
    uint16_t scale = 0;
    for (uint32_t i = 0; i < 32 * rn_matrix_blocks(matrix); i++) {
        if (scaled && i % 32 == 0) {
            scale = rn_f32_to_f16(0.01f + 0.02f * fabsf(layers_test_random()));
            memcpy(layers_test_scale(panels, matrix, second, row, i / 32), &scale, 2);
        }
        bool inside = i < matrix->inputs; /* a zero beyond the inputs is not the nibble 0 */
        float value = inside ? 0.1f * layers_test_random() : 0;
        double weight = put_weight(panels, matrix, second, row, i, rn_f16_to_f32(scale), value);
        if (inside) w[i] = weight;
    }
}

void layers_test_matrix(layers_test *test, retnet_weight_format format, uint32_t rows, uint32_t inputs,
                        bool alternating, layers_matrix *out)
{
    rn_matrix *matrix = &out->matrix;
    *matrix = (rn_matrix){.format = format, .rows = rows, .inputs = inputs, .alternating = alternating};
    matrix->bytes = rn_matrix_panels(matrix) * rn_matrix_panel_bytes(matrix);
    out->panels = layers_test_buffer(test, matrix->bytes / 4);
    matrix->buffer = &out->panels.buffer;
    matrix->offset = 4 * BEFORE;
    memset(out->panels.words, 0, matrix->bytes);
    uint32_t branches = alternating ? 2 : 1;
    out->w = layers_test_alloc((size_t)branches * rows * inputs, sizeof *out->w);
    for (uint32_t branch = 0; branch < branches; branch++)
        for (uint32_t row = 0; row < rows; row++)
            fill_row(out->panels.words, matrix, branch != 0, row, out->w + ((size_t)branch * rows + row) * inputs);
}

void layers_test_selection(layers_test *test, uint32_t rows, uint32_t inputs, layers_matrix *out)
{
    layers_test_matrix(test, RETNET_WEIGHTS_F16, rows, inputs, false, out);
    memset(out->panels.words, 0, out->matrix.bytes);
    memset(out->w, 0, (size_t)rows * inputs * sizeof *out->w);
    for (uint32_t row = 0; row < rows; row++) {
        uint32_t i = (uint32_t)((uint64_t)row * inputs / rows);
        out->w[(size_t)row * inputs + i] = put_weight(out->panels.words, &out->matrix, false, row, i, 1, 1);
    }
}

void layers_test_free_matrix(layers_test *test, layers_matrix *matrix)
{
    layers_test_free(test, &matrix->panels);
    free(matrix->w);
}
