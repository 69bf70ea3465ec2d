/* blocks.h: eight bits a weight, in blocks of 32 along a row with one half-precision scale each. */
#ifndef QUANTIZE_BLOCKS_H
#define QUANTIZE_BLOCKS_H

#include "model/safetensors.h"

enum { BLOCK_SIZE = 32 };

static inline uint64_t blocks_in_row(uint64_t columns)
{
    return (columns + BLOCK_SIZE - 1) / BLOCK_SIZE;
}

/* Row `row` of a [rows, columns] F32, F16 or BF16 matrix as floats. */
void read_row(const rn_tensor *matrix, uint64_t row, float *values);

/* scale = max|w| / 127, rounded to half precision; w is then rounded to a whole number of these, at most 127 of them.
 * A block of zeros, or of values too small for any scale, becomes zeros. False where a value is not finite or the scale
 * does not fit half precision. Reads `columns` floats; writes as many bytes and blocks_in_row(columns) scales. */
bool quantize_row(const float *values, uint64_t columns, int8_t *quantized, uint16_t *scales);

#endif
