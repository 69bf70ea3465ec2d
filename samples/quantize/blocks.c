#include "blocks.h"

#include <math.h>
#include <string.h>

static const block_format formats[] = {
    {"q8", "retnet-q8-32", RN_DTYPE_I8, 127, -127, 127},
    {"q4", "retnet-q4-32", RN_DTYPE_U8, -8, -8, 7},
};

const block_format *block_format_named(const char *option)
{
    for (size_t i = 0; i < RN_COUNT(formats); i++)
        if (strcmp(formats[i].option, option) == 0) return &formats[i];
    return NULL;
}

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

/* As shaders/pack.comp quantises. Of 4 bits no operation's result is left to the device, so that they are the same. */
static bool quantize_block(const block_format *format, const float *values, uint64_t count, int q[BLOCK_SIZE],
                           uint16_t *scale)
{
    float extreme = 0; /* the first of the largest */
    for (uint64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) return false;
        if (fabsf(values[i]) > fabsf(extreme)) extreme = values[i];
    }
    *scale = rn_f32_to_f16((format->divisor < 0 ? extreme : fabsf(extreme)) / format->divisor);
    /* The values are divided by what a reader will multiply by, not by what the scale was before rounding. In double
     * precision no quotient that is not halfway between two numbers becomes so. */
    double rounded = rn_f16_to_f32(*scale);
    if (!isfinite(rounded)) return false;
    if (rounded == 0) *scale = 0; /* without a sign */
    for (uint64_t i = 0; i < count; i++) {
        double steps = rounded != 0 ? rint(values[i] / rounded) : 0;
        q[i] = (int)fmin(fmax(steps, format->least), format->most);
    }
    return true;
}

bool quantize_row(const block_format *format, const float *values, uint64_t columns, uint8_t *quantized,
                  uint16_t *scales)
{
    for (uint64_t begin = 0; begin < columns; begin += BLOCK_SIZE) {
        uint64_t count = columns - begin < BLOCK_SIZE ? columns - begin : BLOCK_SIZE;
        int q[BLOCK_SIZE + 1] = {0}; /* one more, to share the last byte of a row */
        if (!quantize_block(format, values + begin, count, q, scales + begin / BLOCK_SIZE)) return false;
        if (format->dtype == RN_DTYPE_I8)
            for (uint64_t i = 0; i < count; i++) *quantized++ = (uint8_t)q[i];
        else
            for (uint64_t i = 0; i < count; i += 2) *quantized++ = (uint8_t)((q[i] + 8) | (q[i + 1] + 8) << 4);
    }
    return true;
}
