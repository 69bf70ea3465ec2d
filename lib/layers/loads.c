#include "layers/loads.h"

#include "base/clock.h"
#include "shaders.h"
#include "vulkan/recorder.h"

#include <string.h>

enum { VECTORS = 1024, LANES = 16, GROUPS = 8, COUNT = 256, RUNS = 4, OUTPUT_AT = 16 * VECTORS };

typedef struct loads_push {
    uint32_t vectors, count;
} loads_push;

/* Small integers, whose sums are exact. */
static float value(uint32_t i)
{
    return (float)((i * i + i / 3) % 5) - 1;
}

static void fill(const rn_buffer *buffer)
{
    float *x = buffer->mapped;
    for (uint32_t i = 0; i < 4 * VECTORS; i++) x[i] = value(i);
}

/* What loads.glsl computes. */
static bool is_right(const rn_buffer *buffer, uint32_t lanes)
{
    const float *x = buffer->mapped, *y = x + OUTPUT_AT / sizeof(float);
    for (uint32_t lane = 0; lane < lanes; lane++) {
        float sum = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            const float *own = x + 4 * ((i * lanes + lane) % VECTORS);
            for (uint32_t k = 0; k < 32; k++) sum += own[k % 4] * x[(32 * i + k) % (4 * VECTORS)];
        }
        for (uint32_t group = 0; group < GROUPS; group++)
            if (y[group * lanes + lane] != sum) return false;
    }
    return true;
}

/* The fastest of a few runs; UINT64_MAX, with a line in the log, where the answers are wrong. */
static retnet_result time_kernel(rn_recorder *recorder, const rn_buffer *buffer, int shader, uint64_t *best)
{
    rn_device *device = recorder->device;
    const rn_kernel *kernel;
    uint32_t constants[] = {rn_device_vector(device)};
    retnet_result result = rn_kernel_get(device, &rn_shaders[shader], constants, RN_COUNT(constants), &kernel);
    if (result != RETNET_OK) return result;
    rn_binding bindings[] = {{buffer, 0, 16 * VECTORS}, {buffer, OUTPUT_AT, 4 * LANES * GROUPS}};
    loads_push push = {VECTORS, COUNT};
    rn_recorder_begin(recorder);
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, GROUPS, 1, 1, 0);
    result = rn_recorder_end(recorder);
    *best = UINT64_MAX;
    memset((uint8_t *)buffer->mapped + OUTPUT_AT, 0xFF, 4 * LANES * GROUPS); /* NaN */
    for (int i = 0; i < RUNS && result == RETNET_OK; i++) {
        uint64_t begin = rn_clock_ns();
        result = rn_recorder_run(recorder);
        uint64_t ns = rn_clock_ns() - begin;
        /* The first run may compile. */
        if (i > 0 && ns < *best) *best = ns;
    }
    if (result == RETNET_OK && !is_right(buffer, constants[0])) {
        rn_log(device->host, RETNET_LOG_WARNING, "self-test: %s gives wrong answers: not used",
               rn_shaders[shader].texel_bindings ? "reading texels" : "reading storage buffers");
        *best = UINT64_MAX;
    }
    return result;
}

retnet_result rn_loads_measure(rn_device *device)
{
    if (!device->caps.is_cpu || device->caps.max_texel_range < 16 * VECTORS) return RETNET_OK;
    rn_buffer buffer;
    rn_recorder recorder = {0};
    uint64_t storage = 0, texels = 0;
    retnet_result result =
        rn_buffer_create(device, OUTPUT_AT + 4 * LANES * GROUPS, RN_MEMORY_READBACK, "timing loads", &buffer);
    if (result != RETNET_OK) return result;
    fill(&buffer);
    result = rn_recorder_create(device, &recorder);
    if (result == RETNET_OK) result = time_kernel(&recorder, &buffer, RN_SHADER_LOADS_SERIAL, &storage);
    if (result == RETNET_OK) result = time_kernel(&recorder, &buffer, RN_SHADER_LOADS_TEXELS, &texels);
    if (result == RETNET_OK && storage == UINT64_MAX) /* no kernel does without */
        result = rn_fail(device->host, RETNET_ERROR_UNSUPPORTED, "%s reads storage buffers wrongly", device->name);
    device->texel_loads = result == RETNET_OK && texels < storage;
    rn_recorder_destroy(&recorder);
    rn_buffer_destroy(device, &buffer);
    return result;
}
