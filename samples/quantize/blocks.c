#include "blocks.h"

#include <math.h>
#include <string.h>

void read_row(const rn_tensor *matrix, uint64_t row, float *values)
{
    uint64_t columns = matrix->shape[1];
    const uint8_t *data = matrix->data + row * columns * rn_dtype_size(matrix->dtype);
    if (matrix->dtype == RN_DTYPE_F32) {
        memcpy(values, data, (size_t)columns * sizeof(*values));
        return;
    }
    for (uint64_t i = 0; i < columns; i++) {
        uint16_t half;
        memcpy(&half, data + 2 * i, sizeof(half)); /* tensors in a file need not be aligned */
        values[i] = matrix->dtype == RN_DTYPE_F16 ? rn_f16_to_f32(half) : rn_bf16_to_f32(half);
    }
}

static bool quantize_block(const float *values, uint64_t count, int8_t *quantized, uint16_t *scale)
{
    float largest = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) return false;
        largest = fmaxf(largest, fabsf(values[i]));
    }
    *scale = rn_f32_to_f16(largest / 127.0f);
    /* The values are divided by what a reader will multiply by, not by what the scale was before rounding. */
    float rounded = rn_f16_to_f32(*scale);
    if (!isfinite(rounded)) return false;
    for (uint64_t i = 0; i < count; i++) {
        float steps = rounded > 0 ? rintf(values[i] / rounded) : 0;
        quantized[i] = (int8_t)fminf(fmaxf(steps, -127.0f), 127.0f);
    }
    return true;
}

bool quantize_row(const float *values, uint64_t columns, int8_t *quantized, uint16_t *scales)
{
    for (uint64_t begin = 0; begin < columns; begin += BLOCK_SIZE) {
        uint64_t count = columns - begin < BLOCK_SIZE ? columns - begin : BLOCK_SIZE;
        if (!quantize_block(values + begin, count, quantized + begin, scales + begin / BLOCK_SIZE)) return false;
    }
    return true;
}
