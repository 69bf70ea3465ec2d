#include "layers/loads.h"

#include "base/clock.h"
#include "shaders.h"
#include "vulkan/recorder.h"

enum { VECTORS = 1024, LANES = 16, GROUPS = 8, COUNT = 256, RUNS = 4 };

typedef struct loads_push {
    uint32_t vectors, count;
} loads_push;

static retnet_result time_kernel(rn_recorder *recorder, const rn_buffer *buffer, int shader, uint64_t *best)
{
    rn_device *device = recorder->device;
    const rn_kernel *kernel;
    uint32_t constants[] = {rn_device_vector(device)};
    retnet_result result = rn_kernel_get(device, &rn_shaders[shader], constants, RN_COUNT(constants), &kernel);
    if (result != RETNET_OK) return result;
    rn_binding bindings[] = {{buffer, 0, 16 * VECTORS}, {buffer, 16 * VECTORS, 4 * LANES * GROUPS}};
    loads_push push = {VECTORS, COUNT};
    rn_recorder_begin(recorder);
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, GROUPS, 1, 1, 0);
    result = rn_recorder_end(recorder);
    *best = UINT64_MAX;
    for (int i = 0; i < RUNS && result == RETNET_OK; i++) {
        uint64_t begin = rn_clock_ns();
        result = rn_recorder_run(recorder);
        uint64_t ns = rn_clock_ns() - begin;
        /* The first run may compile. */
        if (i > 0 && ns < *best) *best = ns;
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
        rn_buffer_create(device, 16 * VECTORS + 4 * LANES * GROUPS, RN_MEMORY_DEVICE, "timing loads", &buffer);
    if (result != RETNET_OK) return result;
    result = rn_recorder_create(device, &recorder);
    if (result == RETNET_OK) result = time_kernel(&recorder, &buffer, RN_SHADER_LOADS_SERIAL, &storage);
    if (result == RETNET_OK) result = time_kernel(&recorder, &buffer, RN_SHADER_LOADS_TEXELS, &texels);
    device->texel_loads = result == RETNET_OK && texels < storage;
    rn_recorder_destroy(&recorder);
    rn_buffer_destroy(device, &buffer);
    return result;
}
