/* output.h: writes a safetensors file tensor by tensor. */
#ifndef QUANTIZE_OUTPUT_H
#define QUANTIZE_OUTPUT_H

#include "blocks.h"

#include <stdio.h>

typedef enum output_kind { OUTPUT_COPY, OUTPUT_VALUES, OUTPUT_SCALES } output_kind;

/* A tensor to be written, and the one it is made from. */
typedef struct output_tensor {
    const rn_tensor *source;
    output_kind kind;
} output_tensor;

/* Told after every piece how much is done; may be called often. */
typedef void (*output_progress_fn)(uint64_t done, uint64_t total);

/* Writes header and data. On failure says why to stderr and returns false; the file's content is then worthless. */
bool output_write(FILE *file, const char *path, const block_format *format, const output_tensor *tensors, size_t count,
                  output_progress_fn progress);

#endif
