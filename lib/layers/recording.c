#include "layers/recording.h"

#include "context.h"
#include "layers/tables.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_BYTES = 128 << 10, WINDOW_BYTES = 16 * RN_MAX_RECORDS, MOST_POSITION = 1 << 30, MOST_CHUNK = 1024 };

/* ---- The object -------------------------------------------------------------------------------------------------- */

retnet_result retnet_layers_create(retnet_context *context, const retnet_layers_desc *desc, retnet_layers **out)
{
    if (!context || !out) return RETNET_ERROR_INVALID_ARGUMENT;
    *out = NULL;
    rn_device *device = &context->device;
    retnet_layers *layers = rn_alloc(&context->host, 1, sizeof *layers);
    if (!layers) return rn_fail_memory(&context->host, "layers", sizeof *layers);
    layers->device = device;
    layers->matrix_units = desc && desc->matrix_units;
    retnet_result result = rn_recorder_create(device, &layers->recorder);
    if (result == RETNET_OK && desc && desc->scratch_bytes)
        result = rn_buffer_create(device, desc->scratch_bytes, RN_MEMORY_DEVICE, "scratch of layers", &layers->scratch);
    if (result == RETNET_OK)
        *out = layers;
    else
        retnet_layers_destroy(layers);
    return result;
}

void retnet_layers_destroy(retnet_layers *layers)
{
    if (!layers) return;
    rn_host *host = layers->device->host;
    for (uint32_t i = 0; i < layers->block_count; i++) rn_buffer_destroy(layers->device, &layers->blocks[i]);
    rn_free(host, layers->blocks);
    rn_buffer_destroy(layers->device, &layers->scratch);
    rn_recorder_destroy(&layers->recorder);
    rn_free(host, layers);
}

retnet_result retnet_layers_begin(retnet_layers *layers, VkCommandBuffer commands)
{
    if (!layers) return RETNET_ERROR_INVALID_ARGUMENT;
    rn_host *host = layers->device->host;
    if (!commands) return rn_fail(host, RETNET_ERROR_INVALID_ARGUMENT, "recording layers: no command buffer");
    if (layers->recording)
        return rn_fail(host, RETNET_ERROR_INVALID_ARGUMENT, "recording layers: the last recording has not ended");
    rn_recorder_begin_in(&layers->recorder, commands);
    layers->recording = layers->recorder.result == RETNET_OK;
    return layers->recorder.result;
}

retnet_result retnet_layers_end(retnet_layers *layers)
{
    if (!layers) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!layers->recording)
        return rn_fail(layers->device->host, RETNET_ERROR_INVALID_ARGUMENT, "recording layers: none was begun");
    layers->recording = false;
    return rn_recorder_end(&layers->recorder);
}

retnet_result retnet_layers_reset(retnet_layers *layers)
{
    if (!layers) return RETNET_ERROR_INVALID_ARGUMENT;
    if (layers->recording)
        return rn_fail(layers->device->host, RETNET_ERROR_INVALID_ARGUMENT, "resetting layers during a recording");
    layers->block = 0;
    layers->used = 0;
    return rn_recorder_reset(&layers->recorder);
}

retnet_result(rn_layers_fail)(retnet_layers *layers, retnet_result result, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    rn_recorder_fail(&layers->recorder, rn_fail(layers->device->host, result, "%s", text));
    return result;
}

retnet_result rn_layers_ready(retnet_layers *layers)
{
    if (!layers->recording)
        return rn_fail(layers->device->host, RETNET_ERROR_INVALID_ARGUMENT, "recording layers: none was begun");
    return layers->recorder.result;
}

/* ---- Records ----------------------------------------------------------------------------------------------------- */

static retnet_result add_block(retnet_layers *layers)
{
    rn_host *host = layers->device->host;
    rn_buffer *blocks = rn_alloc(host, layers->block_count + 1, sizeof *blocks);
    if (!blocks) return rn_fail_memory(host, "blocks of records", sizeof *blocks);
    if (layers->block_count) memcpy(blocks, layers->blocks, layers->block_count * sizeof *blocks);
    rn_free(host, layers->blocks);
    layers->blocks = blocks;
    retnet_result result = rn_buffer_create(layers->device, BLOCK_BYTES, RN_MEMORY_UPLOAD, "records of layers",
                                            &blocks[layers->block_count]);
    if (result == RETNET_OK) layers->block_count++;
    return result;
}

rn_binding rn_layers_records(retnet_layers *layers, const void *records, uint32_t count)
{
    if (layers->block_count && layers->used + WINDOW_BYTES > BLOCK_BYTES) {
        layers->block++;
        layers->used = 0;
    }
    if (layers->block == layers->block_count) {
        retnet_result result = add_block(layers);
        if (result != RETNET_OK) {
            rn_recorder_fail(&layers->recorder, result);
            return (rn_binding){0};
        }
    }
    const rn_buffer *block = &layers->blocks[layers->block];
    rn_binding binding = {block, layers->used, WINDOW_BYTES};
    memcpy((uint8_t *)block->mapped + layers->used, records, 16ull * count);
    layers->used += rn_round_up(16ull * count, layers->device->caps.storage_alignment);
    return binding;
}

/* ---- Areas ------------------------------------------------------------------------------------------------------- */

void rn_area_add(rn_area *area, VkBuffer buffer, uint64_t offset, uint64_t bytes)
{
    if (!area->buffer.handle) {
        area->buffer = (rn_buffer){.handle = buffer, .size = UINT64_MAX, .foreign = true};
        area->begin = offset;
        area->end = offset + bytes;
        return;
    }
    if (offset < area->begin) area->begin = offset;
    if (offset + bytes > area->end) area->end = offset + bytes;
}

void rn_area_add_rows(rn_area *area, const retnet_rows *rows, uint64_t count, uint32_t width)
{
    rn_area_add(area, rows->buffer, rows->offset, 4 * ((count - 1) * rn_rows_stride(rows, width) + width));
}

rn_binding rn_area_bind(const retnet_layers *layers, rn_area *area)
{
    uint64_t alignment = layers->device->caps.storage_alignment;
    area->begin = area->begin / alignment * alignment;
    area->end = rn_round_up(area->end, 16);
    return (rn_binding){&area->buffer, area->begin, area->end - area->begin};
}

uint32_t rn_area_floats(const rn_area *area, uint64_t offset)
{
    return (uint32_t)((offset - area->begin) / 4);
}

/* ---- Checks ------------------------------------------------------------------------------------------------------ */

retnet_result rn_layers_check_vector(retnet_layers *layers, const char *name, const retnet_vector *vector,
                                     uint32_t alignment)
{
    if (!vector->buffer) return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "%s has no buffer", name);
    if (vector->offset % alignment)
        return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "%s: offset %llu is no multiple of %u", name,
                              (unsigned long long)vector->offset, alignment);
    return RETNET_OK;
}

retnet_result rn_layers_check_rows(retnet_layers *layers, const char *name, const retnet_rows *rows, uint32_t width,
                                   uint32_t alignment)
{
    retnet_vector vector = {rows->buffer, rows->offset};
    retnet_result result = rn_layers_check_vector(layers, name, &vector, alignment);
    if (result == RETNET_OK && rows->stride && rows->stride < width)
        return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "%s: a stride of %u for rows of %u", name,
                              rows->stride, width);
    return result;
}

retnet_result rn_layers_check_sequences(retnet_layers *layers, const retnet_sequence *sequences, uint32_t count,
                                        uint64_t *rows)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    if (!sequences || count == 0) return rn_layers_fail(layers, invalid, "there are no sequences");
    *rows = 0;
    for (uint32_t i = 0; i < count; i++) {
        const retnet_sequence *s = &sequences[i];
        uint64_t end = (uint64_t)s->first_row + s->tokens;
        if (s->tokens == 0) return rn_layers_fail(layers, invalid, "sequence %u has no tokens", i);
        if (end > UINT32_MAX)
            return rn_layers_fail(layers, invalid, "sequence %u: row %llu", i, (unsigned long long)end);
        if ((uint64_t)s->position + s->tokens > MOST_POSITION)
            return rn_layers_fail(layers, invalid, "sequence %u passes position %u", i, MOST_POSITION);
        if (end > *rows) *rows = end;
    }
    return RETNET_OK;
}

/* ---- Tables ------------------------------------------------------------------------------------------------------ */

static retnet_result check_tables(rn_host *host, const retnet_tables_desc *desc)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    enum { MOST_HEADS = 128, MOST_PAIRS = RN_MAX_KEY_WIDTH / 2 };
    if (!desc || !desc->decay || desc->heads == 0 || desc->heads > MOST_HEADS)
        return rn_fail(host, invalid, "tables: decays of 1 to %d heads are needed", MOST_HEADS);
    for (uint32_t h = 0; h < desc->heads; h++)
        if (!(desc->decay[h] > 0 && desc->decay[h] <= 1))
            return rn_fail(host, invalid, "tables: decay[%u] is %g, but has to be in (0, 1]", h, desc->decay[h]);
    if (desc->longest_chunk > MOST_CHUNK)
        return rn_fail(host, invalid, "tables: longest_chunk is %u, at most %d", desc->longest_chunk, MOST_CHUNK);
    if (desc->pairs > MOST_PAIRS || (desc->pairs && !desc->theta))
        return rn_fail(host, invalid, "tables: %u pairs, at most %d, with theta", desc->pairs, MOST_PAIRS);
    return RETNET_OK;
}

/* Floats, and where each table begins. */
static uint32_t place_tables(retnet_tables *tables)
{
    rn_retention_tables *t = &tables->tables;
    uint32_t at = 0;
    tables->identity = at / 2;
    at += RN_MAX_KEY_WIDTH;
    t->angles = at / 2;
    at += rn_angle_floats(tables->pairs);
    t->decay_sums = at / 2;
    at += rn_decay_sum_floats(tables->heads);
    t->decays = at;
    at += tables->heads;
    t->powers = at;
    t->powers_stride = tables->longest_chunk + 1;
    return (uint32_t)rn_round_up(at + tables->heads * t->powers_stride, 4);
}

static void fill_tables(const retnet_tables *tables, const retnet_tables_desc *desc, float *values)
{
    const rn_retention_tables *t = &tables->tables;
    for (uint32_t i = 0; i < RN_MAX_KEY_WIDTH; i++) values[i] = i % 2 == 0 ? 1.0f : 0.0f;
    rn_write_angles(values + 2 * t->angles, desc->theta, tables->pairs);
    rn_write_decay_sums(values + 2 * t->decay_sums, desc->decay, tables->heads);
    memcpy(values + t->decays, desc->decay, tables->heads * sizeof *desc->decay);
    rn_write_powers(values + t->powers, desc->decay, tables->heads, t->powers_stride);
}

static retnet_result copy_to(rn_device *device, const rn_buffer *from, const rn_buffer *to)
{
    rn_recorder recorder;
    retnet_result result = rn_recorder_create(device, &recorder);
    if (result != RETNET_OK) return result;
    rn_recorder_begin(&recorder);
    rn_recorder_copy(&recorder, from, 0, to, 0, to->size);
    result = rn_recorder_end(&recorder);
    if (result == RETNET_OK) result = rn_recorder_run(&recorder);
    rn_recorder_destroy(&recorder);
    return result;
}

static retnet_result upload_tables(retnet_tables *tables, const retnet_tables_desc *desc, uint64_t bytes)
{
    rn_device *device = tables->device;
    rn_buffer staging = {0};
    retnet_result result = rn_buffer_create(device, bytes, RN_MEMORY_DEVICE, "tables of layers", &tables->buffer);
    if (result == RETNET_OK) result = rn_buffer_create(device, bytes, RN_MEMORY_UPLOAD, "staging of tables", &staging);
    if (result == RETNET_OK) {
        fill_tables(tables, desc, staging.mapped);
        result = copy_to(device, &staging, &tables->buffer);
    }
    rn_buffer_destroy(device, &staging);
    return result;
}

retnet_result retnet_tables_create(retnet_context *context, const retnet_tables_desc *desc, retnet_tables **out)
{
    if (!context || !out) return RETNET_ERROR_INVALID_ARGUMENT;
    *out = NULL;
    retnet_result result = check_tables(&context->host, desc);
    if (result != RETNET_OK) return result;
    retnet_tables *tables = rn_alloc(&context->host, 1, sizeof *tables);
    if (!tables) return rn_fail_memory(&context->host, "tables", sizeof *tables);
    tables->device = &context->device;
    tables->heads = desc->heads;
    tables->pairs = desc->pairs;
    tables->longest_chunk = desc->longest_chunk ? desc->longest_chunk : RN_CHUNK;
    uint32_t floats = place_tables(tables);
    result = upload_tables(tables, desc, 4ull * floats);
    if (result == RETNET_OK)
        *out = tables;
    else
        retnet_tables_destroy(tables);
    return result;
}

void retnet_tables_destroy(retnet_tables *tables)
{
    if (!tables) return;
    rn_buffer_destroy(tables->device, &tables->buffer);
    rn_free(tables->device->host, tables);
}
