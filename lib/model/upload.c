#include "model/upload.h"

#include "layers/pack.h"

#include <string.h>

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
    case RN_DTYPE_F32: return RN_PACK_F32;
    case RN_DTYPE_F16: return RN_PACK_F16;
    case RN_DTYPE_BF16: return RN_PACK_BF16;
    case RN_DTYPE_U8: return RN_PACK_Q4;
    default: return RN_PACK_Q8;
    }
}

retnet_result rn_upload_matrix(rn_upload *upload, const rn_matrix_source *source, const rn_matrix *matrix,
                               uint32_t to_row, bool second)
{
    uint32_t kind = source_kind(source), blocks = rn_matrix_blocks(matrix);
    uint64_t row_bytes = rn_matrix_row_bytes(source), scale_bytes = source->scales ? 2ull * blocks : 0;
    uint32_t most = rn_pack_rows(upload->device, RN_STAGING_BYTES / 2, row_bytes + scale_bytes + 4, blocks);
    for (uint32_t first = 0; first < source->rows; first += most) {
        uint32_t rows = rn_min_u32(most, source->rows - first);
        uint64_t from = source->first_row + first, size = rows * row_bytes, padded = rn_round_up(size, 4);
        uint64_t offset, binding_bytes = padded + rn_round_up(rows * scale_bytes, 4);
        retnet_result result;
        uint8_t *to = stage(upload, binding_bytes, &offset, &result);
        if (!to) return result;
        memcpy(to, source->tensor->data + from * row_bytes, size);
        if (source->scales) memcpy(to + padded, source->scales->data + from * scale_bytes, rows * scale_bytes);
        rn_pack push = {
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
        result = rn_pack_record(&upload->recorder, kind, (rn_binding){&upload->staging, offset, binding_bytes}, matrix,
                                push);
        if (result != RETNET_OK) return result;
        upload->done += size + rows * scale_bytes;
    }
    return RETNET_OK;
}

retnet_result rn_upload_random(rn_upload *upload, const rn_matrix *matrix, uint32_t to_row, uint32_t rows, bool second,
                               uint32_t seed, float amplitude)
{
    uint32_t most = rn_pack_rows(upload->device, RN_STAGING_BYTES / 2, 1, rn_matrix_blocks(matrix));
    for (uint32_t first = 0; first < rows; first += most) {
        rn_pack push = {
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
        retnet_result result =
            rn_pack_record(&upload->recorder, RN_PACK_RANDOM, (rn_binding){&upload->staging, 0, 256}, matrix, push);
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
