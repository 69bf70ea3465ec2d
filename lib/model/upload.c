#include "model/upload.h"

#include "shaders.h"

#include <string.h>

/* Values match pack.comp. */
enum { SOURCE_F32 = 1, SOURCE_F16 = 2, SOURCE_BF16 = 3, SOURCE_Q8 = 4, SOURCE_RANDOM = 6 };

typedef struct pack_push {
    uint32_t first, rows, inputs, blocks, to_row, panel_step, panel_offset, rotation_head, scales, seed;
    float amplitude;
} pack_push;

retnet_result rn_upload_begin(rn_device *device, retnet_progress_fn progress, void *progress_user, uint64_t total,
                              rn_upload *upload)
{
    *upload = (rn_upload){.device = device, .progress = progress, .progress_user = progress_user, .total = total};
    retnet_result result = rn_buffer_create(device, RN_STAGING_BYTES, RN_MEMORY_UPLOAD, "staging", &upload->staging);
    if (result == RETNET_OK) result = rn_recorder_create(device, &upload->recorder);
    if (result == RETNET_OK)
        rn_recorder_begin(&upload->recorder);
    else
        rn_upload_end(upload);
    return result;
}

void rn_upload_end(rn_upload *upload)
{
    if (!upload->device) return;
    rn_recorder_destroy(&upload->recorder);
    rn_buffer_destroy(upload->device, &upload->staging);
    memset(upload, 0, sizeof *upload);
}

retnet_result rn_upload_flush(rn_upload *upload)
{
    retnet_result result = rn_recorder_end(&upload->recorder);
    if (result == RETNET_OK) result = rn_recorder_run(&upload->recorder);
    if (result != RETNET_OK) return result;
    upload->staged = 0;
    rn_recorder_begin(&upload->recorder);
    if (upload->progress && !upload->progress(upload->progress_user, upload->done, upload->total))
        return RETNET_CANCELLED;
    return upload->recorder.result;
}

retnet_result rn_upload_zero(rn_upload *upload, const rn_buffer *buffer)
{
    /* In pieces, so that no submit runs long on a slow device. */
    const uint64_t piece = 256u << 20;
    for (uint64_t at = 0; at < buffer->size; at += piece) {
        uint64_t size = buffer->size - at < piece ? buffer->size - at : piece;
        rn_recorder_fill_zero(&upload->recorder, buffer, at, size);
        retnet_result result = rn_upload_flush(upload);
        if (result != RETNET_OK) return result;
    }
    return RETNET_OK;
}

/* Bytes of staging, aligned for a binding, flushing first where they do not fit. NULL with *result set on failure. */
static uint8_t *stage(rn_upload *upload, uint64_t bytes, uint64_t *offset, retnet_result *result)
{
    *result = RETNET_OK;
    if (upload->staged + bytes > upload->staging.size) *result = rn_upload_flush(upload);
    if (*result != RETNET_OK) return NULL;
    *offset = upload->staged;
    upload->staged = rn_round_up(upload->staged + bytes, upload->device->caps.storage_alignment);
    return (uint8_t *)upload->staging.mapped + *offset;
}

static uint32_t source_kind(const rn_matrix_source *source)
{
    switch (source->tensor->dtype) {
    case RN_DTYPE_F32: return SOURCE_F32;
    case RN_DTYPE_F16: return SOURCE_F16;
    case RN_DTYPE_BF16: return SOURCE_BF16;
    default: return SOURCE_Q8;
    }
}

/* Packs push->rows source rows, splitting the destination where one binding cannot hold it. */
static retnet_result record_pack(rn_upload *upload, uint32_t kind, rn_binding source, const rn_matrix *matrix,
                                 pack_push push)
{
    rn_device *device = upload->device;
    uint32_t constants[] = {64, kind, matrix->format};
    const rn_kernel *kernel;
    retnet_result result = rn_kernel_get(device, &rn_shaders[RN_SHADER_PACK], constants, RN_COUNT(constants), &kernel);
    if (result != RETNET_OK) return result;
    /* Rows move within their head of up to 512 rows, so a piece's panels reach that far beyond its rows. */
    const uint32_t reach = push.rotation_head ? 512 : 0;
    uint32_t first_panel = (push.to_row + push.first > reach ? push.to_row + push.first - reach : 0) / RN_PANEL_ROWS *
                           push.panel_step / 16 * 16;
    uint32_t last_panel =
        rn_min_u32(rn_divide_up(push.to_row + push.first + push.rows + reach, RN_PANEL_ROWS) * push.panel_step,
                   rn_matrix_panels(matrix));
    rn_binding bindings[] = {
        source,
        {matrix->buffer, matrix->offset + first_panel * rn_matrix_panel_bytes(matrix),
         (last_panel - first_panel) * rn_matrix_panel_bytes(matrix)},
    };
    push.to_row -= first_panel / push.panel_step * RN_PANEL_ROWS;
    rn_recorder_dispatch(&upload->recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push,
                         rn_divide_up(push.rows * push.blocks, 64), 1, 1, 0);
    return upload->recorder.result;
}

/* Rows that fit in half the staging buffer and in one dispatch. */
static uint32_t rows_per_piece(const rn_device *device, uint64_t row_bytes, uint32_t blocks)
{
    uint64_t rows = RN_STAGING_BYTES / 2 / row_bytes, dispatchable = (uint64_t)device->caps.max_groups[0] * 64 / blocks;
    if (rows > dispatchable) rows = dispatchable;
    return rows < 64 ? (uint32_t)(rows ? rows : 1) : (uint32_t)(rows / 64 * 64);
}

retnet_result rn_upload_matrix(rn_upload *upload, const rn_matrix_source *source, const rn_matrix *matrix,
                               uint32_t to_row, bool second)
{
    uint32_t kind = source_kind(source), blocks = rn_matrix_blocks(matrix);
    uint64_t row_bytes = (uint64_t)source->columns * rn_dtype_size(source->tensor->dtype);
    uint64_t scale_bytes = kind == SOURCE_Q8 ? 2ull * blocks : 0;
    uint32_t most = rows_per_piece(upload->device, row_bytes + scale_bytes + 4, blocks);
    for (uint32_t first = 0; first < source->rows; first += most) {
        uint32_t rows = rn_min_u32(most, source->rows - first);
        uint64_t from = source->first_row + first, size = rows * row_bytes, padded = rn_round_up(size, 4);
        uint64_t offset, binding_bytes = padded + rn_round_up(rows * scale_bytes, 4);
        retnet_result result;
        uint8_t *to = stage(upload, binding_bytes, &offset, &result);
        if (!to) return result;
        memcpy(to, source->tensor->data + from * row_bytes, size);
        if (kind == SOURCE_Q8) memcpy(to + padded, source->scales->data + from * scale_bytes, rows * scale_bytes);
        pack_push push = {
            .first = first,
            .rows = rows,
            .inputs = source->columns,
            .blocks = blocks,
            .to_row = to_row,
            .panel_step = matrix->alternating ? 2 : 1,
            .panel_offset = second,
            .rotation_head = source->rotation_head,
            .scales = (uint32_t)(padded / 4),
        };
        result = record_pack(upload, kind, (rn_binding){&upload->staging, offset, binding_bytes}, matrix, push);
        if (result != RETNET_OK) return result;
        upload->done += size + rows * scale_bytes;
    }
    return RETNET_OK;
}

retnet_result rn_upload_random(rn_upload *upload, const rn_matrix *matrix, uint32_t to_row, uint32_t rows, bool second,
                               uint32_t seed, float amplitude)
{
    uint32_t most = rows_per_piece(upload->device, 1, rn_matrix_blocks(matrix));
    for (uint32_t first = 0; first < rows; first += most) {
        pack_push push = {
            .first = first,
            .rows = rn_min_u32(most, rows - first),
            .inputs = matrix->inputs,
            .blocks = rn_matrix_blocks(matrix),
            .to_row = to_row,
            .panel_step = matrix->alternating ? 2 : 1,
            .panel_offset = second,
            .seed = seed,
            .amplitude = amplitude,
        };
        retnet_result result = record_pack(upload, SOURCE_RANDOM, (rn_binding){&upload->staging, 0, 256}, matrix, push);
        if (result != RETNET_OK) return result;
    }
    return RETNET_OK;
}

retnet_result rn_upload_bytes(rn_upload *upload, const void *data, uint64_t size, const rn_buffer *buffer)
{
    const uint64_t piece = RN_STAGING_BYTES / 2;
    for (uint64_t at = 0; at < size; at += piece) {
        uint64_t part = size - at < piece ? size - at : piece, offset;
        retnet_result result;
        uint8_t *to = stage(upload, part, &offset, &result);
        if (!to) return result;
        memcpy(to, (const uint8_t *)data + at, part);
        rn_recorder_copy(&upload->recorder, &upload->staging, offset, buffer, at, part);
    }
    return upload->recorder.result;
}
