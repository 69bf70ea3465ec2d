#include "layers/copy.h"

#include "shaders.h"

typedef struct copy_push {
    uint32_t from, to, count;
} copy_push;

enum { LOCAL_SIZE = 128, VECTORS = 4 * LOCAL_SIZE /* of a workgroup */, VECTOR_BYTES = 16 };

void rn_copy_record(rn_recorder *recorder, rn_binding memory, uint64_t from, uint64_t to, uint64_t bytes)
{
    uint32_t constants[] = {LOCAL_SIZE};
    const rn_kernel *kernel;
    retnet_result result =
        rn_kernel_get(recorder->device, &rn_shaders[RN_SHADER_COPY], constants, RN_COUNT(constants), &kernel);
    if (result != RETNET_OK) {
        rn_recorder_fail(recorder, result);
        return;
    }
    copy_push push = {(uint32_t)(from / VECTOR_BYTES), (uint32_t)(to / VECTOR_BYTES), (uint32_t)(bytes / VECTOR_BYTES)};
    rn_recorder_dispatch(recorder, kernel, &memory, 1, &push, sizeof push, rn_divide_up(push.count, VECTORS), 1, 1,
                         2 * bytes);
}
