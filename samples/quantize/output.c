#include "output.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct output {
    FILE *file;
    const char *path;
    const block_format *format;
    output_progress_fn progress;
    uint64_t done, total; /* bytes of data */
} output;

/* How many bytes or scales a row of a matrix becomes. */
static uint64_t stored_columns(const output *out, const output_tensor *tensor)
{
    uint64_t columns = tensor->source->shape[1];
    return tensor->kind == OUTPUT_SCALES ? blocks_in_row(columns) : rn_stored_columns(out->format->dtype, columns);
}

static uint64_t tensor_bytes(const output *out, const output_tensor *tensor)
{
    if (tensor->kind == OUTPUT_COPY) return tensor->source->bytes;
    return tensor->source->shape[0] * stored_columns(out, tensor) * (tensor->kind == OUTPUT_SCALES ? 2 : 1);
}

/* ---- Header ----------------------------------------------------------------------------------------------------- */

static json_t *tensor_shape(const output *out, const output_tensor *tensor)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < tensor->source->rank; i++) {
        bool changes = tensor->kind != OUTPUT_COPY && i == 1;
        uint64_t size = changes ? stored_columns(out, tensor) : tensor->source->shape[i];
        json_array_append_new(shape, json_integer((json_int_t)size));
    }
    return shape;
}

static json_t *make_header(const output *out, const output_tensor *tensors, size_t count)
{
    json_t *header = json_object();
    json_object_set_new(header, "__metadata__",
                        json_pack("{ssss}", "format", "pt", "quantization", out->format->metadata));
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const output_tensor *tensor = &tensors[i];
        uint64_t end = offset + tensor_bytes(out, tensor);
        const char *dtype = tensor->kind == OUTPUT_COPY     ? tensor->source->dtype_name
                            : tensor->kind == OUTPUT_VALUES ? rn_dtype_name(out->format->dtype)
                                                            : "F16";
        char name[512];
        snprintf(name, sizeof(name), "%s%s", tensor->source->name, tensor->kind == OUTPUT_SCALES ? "_scale" : "");
        json_t *entry = json_pack("{sssos[II]}", "dtype", dtype, "shape", tensor_shape(out, tensor), "data_offsets",
                                  (json_int_t)offset, (json_int_t)end);
        if (json_object_set_new(header, name, entry) != 0) {
            json_decref(header);
            return NULL;
        }
        offset = end;
    }
    return header;
}

static bool write_bytes(output *out, const void *data, size_t size)
{
    if (fwrite(data, 1, size, out->file) == size) return true;
    fprintf(stderr, "quantize: %s: %s\n", out->path, strerror(errno));
    return false;
}

static bool write_header(output *out, const output_tensor *tensors, size_t count)
{
    json_t *header = make_header(out, tensors, count);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text) {
        fprintf(stderr, "quantize: out of memory\n");
        return false;
    }
    /* Spaces at its end make the header a multiple of 8 bytes, and so the data aligned. */
    size_t length = strlen(text), padding = (8 - length % 8) % 8;
    uint8_t prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (uint8_t)((uint64_t)(length + padding) >> (8 * i));
    bool good = write_bytes(out, prefix, 8) && write_bytes(out, text, length) && write_bytes(out, "        ", padding);
    free(text);
    return good;
}

/* ---- Data ------------------------------------------------------------------------------------------------------- */

static bool write_data(output *out, const void *data, uint64_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        size_t piece = size < (1u << 20) ? (size_t)size : 1u << 20;
        if (!write_bytes(out, bytes, piece)) return false;
        bytes += piece;
        size -= piece;
        out->done += piece;
        out->progress(out->done, out->total);
    }
    return true;
}

/* Values and scales of a matrix lie apart in the file, so that each row is quantised once for either. */
static bool write_quantized(output *out, const output_tensor *tensor)
{
    const rn_tensor *matrix = tensor->source;
    size_t columns = (size_t)matrix->shape[1], blocks = (size_t)blocks_in_row(columns);
    size_t bytes = (size_t)rn_stored_columns(out->format->dtype, columns);
    float *values = calloc(columns, sizeof(*values));
    uint8_t *quantized = calloc(bytes, sizeof(*quantized));
    uint16_t *scales = calloc(blocks, sizeof(*scales));
    bool good = values && quantized && scales;
    if (!good) fprintf(stderr, "quantize: out of memory\n");
    for (uint64_t row = 0; good && row < matrix->shape[0]; row++) {
        read_row(matrix, row, values);
        good = quantize_row(out->format, values, columns, quantized, scales);
        if (!good)
            fprintf(stderr, "quantize: %s: tensor %s, row %llu: a value is not finite or too large for %s\n",
                    matrix->file, matrix->name, (unsigned long long)row, out->format->option);
        else if (tensor->kind == OUTPUT_VALUES)
            good = write_data(out, quantized, bytes);
        else
            good = write_data(out, scales, blocks * sizeof(*scales));
    }
    free(values);
    free(quantized);
    free(scales);
    return good;
}

bool output_write(FILE *file, const char *path, const block_format *format, const output_tensor *tensors, size_t count,
                  output_progress_fn progress)
{
    output out = {.file = file, .path = path, .format = format, .progress = progress};
    for (size_t i = 0; i < count; i++) out.total += tensor_bytes(&out, &tensors[i]);
    if (!write_header(&out, tensors, count)) return false;
    for (size_t i = 0; i < count; i++) {
        const output_tensor *tensor = &tensors[i];
        if (tensor->kind != OUTPUT_COPY ? !write_quantized(&out, tensor)
                                        : !write_data(&out, tensor->source->data, tensor->source->bytes))
            return false;
    }
    if (fflush(file) == 0) return true;
    fprintf(stderr, "quantize: %s: %s\n", path, strerror(errno));
    return false;
}
