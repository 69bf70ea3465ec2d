/* blocks.h: few bits a weight, in blocks of 32 along a row with one half-precision scale each. */
#ifndef QUANTIZE_BLOCKS_H
#define QUANTIZE_BLOCKS_H

#include "model/checkpoint.h"

enum { BLOCK_SIZE = 32 };

/* README.md says what the formats are. */
typedef struct block_format {
    const char *option;   /* "q8" */
    const char *metadata; /* "retnet-q8-32" */
    rn_dtype dtype;       /* of the weights' tensor */
    float divisor;        /* of the block's largest magnitude; where negative, of its most extreme weight */
    float least, most;    /* q */
} block_format;

const block_format *block_format_named(const char *option); /* NULL: there is none */

static inline uint64_t blocks_in_row(uint64_t columns)
{
    return (columns + BLOCK_SIZE - 1) / BLOCK_SIZE;
}

/* Row `row` of a [rows, columns] F32, F16 or BF16 matrix as floats. */
void read_row(const rn_tensor *matrix, uint64_t row, float *values);

/* A block of zeros, or of values too small for any scale, becomes zeros. False where a value is not finite or the scale
 * does not fit half precision. Reads `columns` floats; writes rn_stored_columns(format->dtype, columns) bytes and
 * blocks_in_row(columns) scales. */
bool quantize_row(const block_format *format, const float *values, uint64_t columns, uint8_t *quantized,
                  uint16_t *scales);

#endif
