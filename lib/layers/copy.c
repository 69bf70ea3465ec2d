#include "layers/copy.h"

#include "shaders.h"

typedef struct copy_push {
    uint32_t from, to, count;
} copy_push;

typedef struct fill_push {
    uint32_t count, word;
} fill_push;

enum { LOCAL_SIZE = 128, VECTORS = 4 * LOCAL_SIZE /* of a workgroup */, VECTOR_BYTES = 16 };

void rn_copy_record(rn_recorder *recorder, rn_binding memory, uint64_t from, uint64_t to, uint64_t bytes)
{
    const rn_kernel *kernel = rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_COPY], &(uint32_t){LOCAL_SIZE}, 1);
    if (!kernel) return;
    copy_push push = {(uint32_t)(from / VECTOR_BYTES), (uint32_t)(to / VECTOR_BYTES), (uint32_t)(bytes / VECTOR_BYTES)};
    rn_recorder_dispatch(recorder, kernel, &memory, 1, &push, sizeof push, rn_divide_up(push.count, VECTORS), 1, 1,
                         2 * bytes);
}

void rn_fill_record(rn_recorder *recorder, rn_binding memory, uint32_t word)
{
    const rn_kernel *kernel = rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_FILL], &(uint32_t){LOCAL_SIZE}, 1);
    if (!kernel) return;
    fill_push push = {(uint32_t)(memory.size / VECTOR_BYTES), word};
    rn_recorder_dispatch(recorder, kernel, &memory, 1, &push, sizeof push,
                         rn_min_u32(rn_divide_up(push.count, LOCAL_SIZE), 128), 1, 1, 0);
}

void rn_read_record(rn_recorder *recorder, rn_binding memory)
{
    const rn_device *device = recorder->device;
    uint32_t readers = device->caps.is_cpu ? rn_device_vector(device) : rn_min_u32(256, device->caps.max_invocations);
    const rn_kernel *kernel = rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_READ], &readers, 1);
    if (!kernel) return;
    uint32_t count = (uint32_t)(memory.size / VECTOR_BYTES);
    rn_recorder_dispatch(recorder, kernel, &memory, 1, &count, sizeof count, rn_min_u32(count / (8 * readers), 2048), 1,
                         1, memory.size);
}
