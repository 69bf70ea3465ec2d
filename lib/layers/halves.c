#include "layers/halves.h"

#include "layers/matmul.h"
#include "shaders.h"

enum { ROOM_STEP = 64, BLOCK_UNITS = RN_BLOCK_INPUTS / 8 };

typedef struct halves_push {
    uint32_t x_stride, rows, room;
} halves_push;

uint32_t rn_halves_room(uint32_t rows)
{
    return rn_divide_up(rows, ROOM_STEP) * ROOM_STEP;
}

uint64_t rn_halves_bytes(uint32_t rows, uint32_t inputs)
{
    return 2ull * RN_BLOCK_INPUTS * rn_divide_up(inputs, RN_BLOCK_INPUTS) * rn_halves_room(rows);
}

static uint32_t invocations(const rn_device *device)
{
    return rn_min_u32(256, device->caps.max_invocations);
}

static uint32_t groups(const rn_device *device, uint32_t rows)
{
    return rn_divide_up(rows * BLOCK_UNITS, invocations(device));
}

bool rn_halves_suits(const rn_device *device, uint32_t rows, uint32_t inputs)
{
    return rows < 1u << 28 && groups(device, rows) <= device->caps.max_groups[0] &&
           rn_divide_up(inputs, RN_BLOCK_INPUTS) <= device->caps.max_groups[1] &&
           rn_halves_bytes(rows, inputs) <= rn_min_u64(device->caps.max_storage_range, RN_MATMUL_MOST_BYTES);
}

void rn_halves_record(rn_recorder *recorder, rn_binding from, uint32_t stride, uint32_t rows, uint32_t inputs,
                      rn_binding to)
{
    uint32_t lanes = invocations(recorder->device);
    const rn_kernel *kernel = rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_HALVES], &lanes, 1);
    if (!kernel) return;
    halves_push push = {stride, rows, rn_halves_room(rows)};
    rn_binding bindings[] = {from, to};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                         groups(recorder->device, rows), rn_divide_up(inputs, RN_BLOCK_INPUTS), 1,
                         6ull * RN_BLOCK_INPUTS * rn_divide_up(inputs, RN_BLOCK_INPUTS) * rows);
}
