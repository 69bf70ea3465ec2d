/* recording.h: the inside of a retnet_layers, and how the host's buffers become bindings (include/retnet/layers.h). */
#ifndef RETNET_LAYERS_RECORDING_H
#define RETNET_LAYERS_RECORDING_H

#include "layers/linear.h"
#include "layers/retention.h"

#include <retnet/layers.h>

enum { RN_HOST_ALIGNMENT = 256, RN_MAX_KEY_WIDTH = 512 }; /* of offsets that the host has to align */

struct retnet_layers {
    rn_device *device;
    rn_recorder recorder;
    bool recording, matrix_units; /* as the host wants it */
    rn_buffer scratch;
    rn_buffer *blocks; /* of records; grown as needed, kept */
    uint32_t block_count, block;
    uint64_t used;                          /* of the current block */
    rn_chunk_record chunks[RN_MAX_RECORDS]; /* being collected */
    rn_sequence_record sequences[RN_MAX_RECORDS];
};

struct retnet_tables {
    rn_device *device;
    rn_buffer buffer;
    uint32_t heads, pairs, longest_chunk;
    rn_retention_tables tables;
    uint32_t identity; /* RN_MAX_KEY_SIZE / 2 pairs (1, 0): no rotation */
};

/* Makes the recording fail. Returns `result`. */
retnet_result rn_layers_fail(retnet_layers *layers, retnet_result result, const char *format, ...) RN_PRINTF(3, 4);
#ifdef __clang_analyzer__ /* as for rn_fail */
#define rn_layers_fail(layers, result, ...) ((void)(rn_layers_fail)(layers, result, __VA_ARGS__), (result))
#endif
/* What a layer's function returns at first if it is not RETNET_OK: there is no recording, or it failed before. */
retnet_result rn_layers_ready(retnet_layers *layers);

/* Copies up to RN_MAX_RECORDS records of 16 bytes to the device. The binding is as large as kernels declare it. */
rn_binding rn_layers_records(retnet_layers *layers, const void *records, uint32_t count);

/* What one binding spans of a buffer of the host's. */
typedef struct rn_area {
    rn_buffer buffer;
    uint64_t begin, end; /* bytes */
} rn_area;

void rn_area_add(rn_area *area, VkBuffer buffer, uint64_t offset, uint64_t bytes);
/* `count` rows of `width` floats. */
void rn_area_add_rows(rn_area *area, const retnet_rows *rows, uint64_t count, uint32_t width);
/* The area must stay where it is as long as the binding is in use. Rounds the area outwards. */
rn_binding rn_area_bind(const retnet_layers *layers, rn_area *area);
/* Where an offset of the host's lies in a bound area, in floats. */
uint32_t rn_area_floats(const rn_area *area, uint64_t offset);

static inline uint32_t rn_rows_stride(const retnet_rows *rows, uint32_t width)
{
    return rows->stride ? rows->stride : width;
}

/* Checks rows of `width` floats, whose offset is a multiple of `alignment`. `name` is for the message. */
retnet_result rn_layers_check_rows(retnet_layers *layers, const char *name, const retnet_rows *rows, uint32_t width,
                                   uint32_t alignment);
retnet_result rn_layers_check_vector(retnet_layers *layers, const char *name, const retnet_vector *vector,
                                     uint32_t alignment);

/* The matrix over `buffer`, which has to stay where it is. */
retnet_result rn_layers_take_matrix(retnet_layers *layers, const char *name, const retnet_matrix *matrix,
                                    rn_buffer *buffer, rn_matrix *out);
/* Checks what a matrix reads or, of the embedding, leaves for one. */
retnet_result rn_layers_check_input(retnet_layers *layers, const char *name, const retnet_rows *rows, uint32_t inputs);

/* Checks sequences; *rows is the end of their rows. */
retnet_result rn_layers_check_sequences(retnet_layers *layers, const retnet_sequence *sequences, uint32_t count,
                                        uint64_t *rows);

#endif
