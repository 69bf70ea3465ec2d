#include "layers/self_test.h"

#include "shaders.h"
#include "vulkan/recorder.h"

#include <string.h>

/* Each check is a line of `checks`: a kernel of a few instructions, whose result on small integers is exact. */

enum { RESULT_AT = 4096, RESULT_BYTES = 4096 };

typedef struct check {
    const char *what; /* for the log: "... gives wrong answers" */
    int shader;
    bool (*in_use)(const rn_device *device);
    uint32_t (*constants)(const rn_device *device, uint32_t constants[RN_MAX_CONSTANTS]);
    void (*fill)(const rn_device *device, void *operands);
    bool (*is_right)(const rn_device *device, const float *result);
    void (*give_up)(rn_device *device);
} check;

/* ---- Matrix units ------------------------------------------------------------------------------------------------ */

static bool matrix_in_use(const rn_device *device)
{
    return device->caps.matrix.m && rn_shaders[RN_SHADER_SELF_TEST_MATRIX].words;
}

static uint32_t matrix_constants(const rn_device *device, uint32_t constants[RN_MAX_CONSTANTS])
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    const uint32_t values[] = {unit->subgroup, unit->m, unit->n, unit->k};
    memcpy(constants, values, sizeof values);
    return RN_COUNT(values);
}

/* Different in every row and column, so that no two elements can be exchanged unseen. */
static int matrix_element(uint32_t row, uint32_t k, bool second)
{
    return (int)((row * 7 + k * (second ? 5 : 3) + row * k) % 17) - 8;
}

static void fill_matrix(const rn_device *device, void *operands)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint16_t *a = operands, *b = a + unit->m * unit->k;
    for (uint32_t k = 0; k < unit->k; k++) {
        for (uint32_t i = 0; i < unit->m; i++) a[i * unit->k + k] = rn_f32_to_f16((float)matrix_element(i, k, false));
        for (uint32_t i = 0; i < unit->n; i++) b[i * unit->k + k] = rn_f32_to_f16((float)matrix_element(i, k, true));
    }
}

static bool matrix_is_right(const rn_device *device, const float *result)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    for (uint32_t i = 0; i < unit->m; i++) {
        for (uint32_t j = 0; j < unit->n; j++) {
            int sum = 1;
            for (uint32_t k = 0; k < unit->k; k++) sum += matrix_element(i, k, false) * matrix_element(j, k, true);
            if (result[i * unit->n + j] != (float)sum) return false;
        }
    }
    return true;
}

static void give_up_matrix(rn_device *device)
{
    device->caps.matrix = (rn_matrix_unit){0};
}

/* ---- Neighbours in a subgroup (linear_column.glsl) --------------------------------------------------------------- */

enum { INVOCATIONS = 64 };

/* Software drivers run kernels that exchange nothing. */
static bool shuffles_in_use(const rn_device *device)
{
    return !device->caps.is_cpu && device->caps.subgroup_arithmetic && device->caps.subgroup_size >= 8;
}

/* Most kernels are content with eight; no more are counted on where a driver may take smaller subgroups than it says.
 */
static uint32_t count_neighbours(const rn_device *device)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t most = unit->m && !unit->must_ask_subgroup ? INVOCATIONS : 8;
    return rn_min_u32(device->caps.subgroup_size, most);
}

static uint32_t shuffle_constants(const rn_device *device, uint32_t constants[RN_MAX_CONSTANTS])
{
    constants[0] = INVOCATIONS;
    constants[1] = count_neighbours(device);
    return 2;
}

static float shuffle_element(uint32_t i)
{
    return (float)((int)(i * 29 % 64) - 20);
}

static void fill_shuffles(const rn_device *device, void *operands)
{
    (void)device;
    float *x = operands;
    for (uint32_t i = 0; i < INVOCATIONS; i++) x[i] = shuffle_element(i);
}

static bool shuffles_are_right(const rn_device *device, const float *result)
{
    float sum[INVOCATIONS], before[INVOCATIONS];
    for (uint32_t i = 0; i < INVOCATIONS; i++) sum[i] = shuffle_element(i);
    for (uint32_t k = 1; k < count_neighbours(device); k *= 2) {
        memcpy(before, sum, sizeof sum);
        for (uint32_t i = 0; i < INVOCATIONS; i++) sum[i] = 3 * before[i] + before[i ^ k];
    }
    for (uint32_t i = 0; i < INVOCATIONS; i++)
        if (result[i] != sum[i]) return false;
    return true;
}

static void give_up_shuffles(rn_device *device)
{
    device->caps.subgroup_arithmetic = false;
}

/* ---- Products of bytes (dot_bytes.glsl) -------------------------------------------------------------------------- */

static bool dots_in_use(const rn_device *device)
{
    return shuffles_in_use(device) && device->caps.byte_dots;
}

static uint32_t dot_constants(const rn_device *device, uint32_t constants[RN_MAX_CONSTANTS])
{
    (void)device;
    constants[0] = INVOCATIONS;
    return 1;
}

/* Byte k of an operand of invocation i: of either sign, both ends of the range among them. */
static int8_t dot_element(uint32_t i, uint32_t k, bool second)
{
    return (int8_t)((i + k) % 16 == 0 ? -128 : (int)((i * 37 + k * (second ? 101 : 59)) % 256) - 128);
}

static void fill_dots(const rn_device *device, void *operands)
{
    (void)device;
    int8_t *bytes = operands; /* four of the first operand, four of the second */
    for (uint32_t i = 0; i < 8 * INVOCATIONS; i++) bytes[i] = dot_element(i / 8, i % 4, i % 8 >= 4);
}

static bool dots_are_right(const rn_device *device, const float *result)
{
    (void)device;
    for (uint32_t i = 0; i < INVOCATIONS; i++) {
        int sum = 1;
        for (uint32_t k = 0; k < 4; k++) sum += dot_element(i, k, false) * dot_element(i, k, true);
        if (result[i] != (float)sum) return false;
    }
    return true;
}

static void give_up_dots(rn_device *device)
{
    device->caps.byte_dots = false;
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static const check checks[] = {
    {"matrix multiplication on this device's matrix units", RN_SHADER_SELF_TEST_MATRIX, matrix_in_use, matrix_constants,
     fill_matrix, matrix_is_right, give_up_matrix},
    {"exchange among the invocations of a subgroup", RN_SHADER_SELF_TEST_SHUFFLES, shuffles_in_use, shuffle_constants,
     fill_shuffles, shuffles_are_right, give_up_shuffles},
    {"multiplication of bytes", RN_SHADER_SELF_TEST_DOTS, dots_in_use, dot_constants, fill_dots, dots_are_right,
     give_up_dots},
};

static retnet_result run_kernel(rn_recorder *recorder, const check *c, const rn_buffer *buffer)
{
    rn_device *device = recorder->device;
    uint32_t constants[RN_MAX_CONSTANTS], count = c->constants(device, constants);
    const rn_kernel *kernel;
    retnet_result result = rn_kernel_get(device, &rn_shaders[c->shader], constants, count, &kernel);
    if (result != RETNET_OK) return result;
    rn_binding bindings[] = {{buffer, 0, RESULT_AT}, {buffer, RESULT_AT, RESULT_BYTES}};
    rn_recorder_begin(recorder);
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), NULL, 0, 1, 1, 1, 0);
    result = rn_recorder_end(recorder);
    return result == RETNET_OK ? rn_recorder_run(recorder) : result;
}

/* Results that say that the driver cannot do this, and not that something else has run out or broken. */
static bool is_refusal(retnet_result result)
{
    return result == RETNET_ERROR_VULKAN || result == RETNET_ERROR_UNSUPPORTED || result == RETNET_ERROR_LIMIT;
}

static retnet_result run_check(rn_recorder *recorder, const check *c, const rn_buffer *buffer)
{
    rn_device *device = recorder->device;
    float *result_words = (float *)(void *)((uint8_t *)buffer->mapped + RESULT_AT);
    memset(buffer->mapped, 0xFF, buffer->size); /* NaN */
    c->fill(device, buffer->mapped);
    retnet_result result = run_kernel(recorder, c, buffer);
    if (result == RETNET_OK && c->is_right(device, result_words)) return RETNET_OK;
    if (result != RETNET_OK && !is_refusal(result)) return result;
    rn_log(device->host, RETNET_LOG_WARNING, "self-test: %s %s: not used", c->what,
           result == RETNET_OK ? "gives wrong answers" : "does not run");
    c->give_up(device);
    return RETNET_OK;
}

retnet_result rn_self_test(rn_device *device)
{
    bool needed = false;
    for (size_t i = 0; i < RN_COUNT(checks); i++) needed |= checks[i].in_use(device);
    if (!needed) return RETNET_OK;
    rn_buffer buffer;
    rn_recorder recorder = {0};
    retnet_result result = rn_buffer_create(device, RESULT_AT + RESULT_BYTES, RN_MEMORY_READBACK, "self-test", &buffer);
    if (result != RETNET_OK) return result;
    result = rn_recorder_create(device, &recorder);
    for (size_t i = 0; i < RN_COUNT(checks) && result == RETNET_OK; i++)
        if (checks[i].in_use(device)) result = run_check(&recorder, &checks[i], &buffer);
    rn_recorder_destroy(&recorder);
    rn_buffer_destroy(device, &buffer);
    return result;
}
