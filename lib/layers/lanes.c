#include "layers/lanes.h"

#include "shaders.h"
#include "vulkan/recorder.h"

enum { LARGEST = 16, BYTES = 4096 };

/* Where invocation `lane` of a pattern has its component `i`: row and input. */
static bool place(rn_lanes lanes, uint32_t lane, uint32_t i, uint32_t *row, uint32_t *input)
{
    if (lanes == RN_LANES_QUADS) {
        *row = lane / 4 + i / 4 * 8;
        *input = lane % 4 * 2 + i % 2 + i / 2 % 2 * 8;
    } else {
        *row = i;
        *input = lane;
    }
    return *row < LARGEST && *input < LARGEST;
}

/* Whether both operands and sums, [3][size][size] halves as lanes_probe.comp stores them, lie as the pattern says:
 * sums with columns for inputs. */
static bool matches(rn_lanes lanes, uint32_t size, const uint16_t *stored)
{
    uint32_t own = 8, subgroup = size * size / own;
    for (uint32_t operand = 0; operand < 3; operand++)
        for (uint32_t lane = 0; lane < subgroup; lane++)
            for (uint32_t i = 0; i < own; i++) {
                uint32_t row, input;
                if (!place(lanes, lane, i, &row, &input) || row >= size || input >= size) return false;
                if (stored[(operand * size + row) * size + input] != rn_f32_to_f16((float)(lane * own + i)))
                    return false;
            }
    return true;
}

static rn_lanes recognise(const rn_matrix_unit *unit, const uint16_t *stored)
{
    if (unit->m != unit->n || unit->m != unit->k || unit->m * unit->m != 8 * unit->subgroup) return RN_LANES_UNKNOWN;
    if (unit->m == 16 && matches(RN_LANES_QUADS, 16, stored)) return RN_LANES_QUADS;
    if (unit->m == 8 && matches(RN_LANES_COLUMNS, 8, stored)) return RN_LANES_COLUMNS;
    return RN_LANES_UNKNOWN;
}

static retnet_result store_operands(rn_device *device, const rn_buffer *buffer)
{
    const rn_matrix_unit *unit = &device->caps.matrix;
    uint32_t constants[] = {unit->subgroup, unit->m, unit->n, unit->k};
    const rn_kernel *kernel;
    retnet_result result =
        rn_kernel_get(device, &rn_shaders[RN_SHADER_LANES_PROBE], constants, RN_COUNT(constants), &kernel);
    if (result != RETNET_OK) return result;
    rn_recorder recorder = {0};
    result = rn_recorder_create(device, &recorder);
    if (result == RETNET_OK) {
        rn_binding bindings[] = {{buffer, 0, buffer->size}};
        rn_recorder_begin(&recorder);
        rn_recorder_dispatch(&recorder, kernel, bindings, RN_COUNT(bindings), NULL, 0, 1, 1, 1, 0);
        result = rn_recorder_end(&recorder);
    }
    if (result == RETNET_OK) result = rn_recorder_run(&recorder);
    rn_recorder_destroy(&recorder);
    return result;
}

retnet_result rn_lanes_find(rn_device *device)
{
    rn_matrix_unit *unit = &device->caps.matrix;
    if (!unit->m || !rn_shaders[RN_SHADER_LANES_PROBE].words) return RETNET_OK;
    rn_buffer buffer;
    retnet_result result = rn_buffer_create(device, BYTES, RN_MEMORY_READBACK, "lanes of matrices", &buffer);
    if (result != RETNET_OK) return result;
    result = store_operands(device, &buffer);
    if (result == RETNET_OK) unit->lanes = recognise(unit, buffer.mapped);
    rn_buffer_destroy(device, &buffer);
    /* What cannot be found out is done without. */
    return result == RETNET_ERROR_VULKAN || result == RETNET_ERROR_UNSUPPORTED ? RETNET_OK : result;
}
