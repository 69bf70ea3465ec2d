/* record_retention.c: rotation and the three forms of retention over the host's buffers (include/retnet/layers.h). */
#include "layers/matmul.h"
#include "layers/recording.h"

static rn_binding tables_binding(const retnet_tables *tables)
{
    return (rn_binding){&tables->buffer, 0, tables->buffer.size};
}

/* ---- Rotation ---------------------------------------------------------------------------------------------------- */

static retnet_result check_rotation(retnet_layers *layers, const retnet_rotation *r, uint64_t *rows)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_layers_ready(layers);
    if (result == RETNET_OK && (r->heads == 0 || r->key_size == 0 || r->key_size % 2 || r->key_size > RN_MAX_KEY_WIDTH))
        result = rn_layers_fail(layers, invalid, "rotation: %u heads of %u", r->heads, r->key_size);
    if (result == RETNET_OK)
        result = rn_layers_check_rows(layers, "rotation: rows", &r->rows, r->heads * r->key_size, 4);
    if (result == RETNET_OK) result = rn_layers_check_sequences(layers, r->sequences, r->sequence_count, rows);
    if (result != RETNET_OK) return result;
    if (r->tables && r->tables->pairs != r->key_size / 2)
        return rn_layers_fail(layers, invalid, "rotation: the tables have angles of %u pairs, not of %u",
                              r->tables->pairs, r->key_size / 2);
    if (r->tables) return RETNET_OK;
    for (uint32_t i = 0; i < r->sequence_count; i++)
        if (r->sequences[i].position + r->sequences[i].tokens > r->table_positions)
            return rn_layers_fail(layers, invalid, "rotation: sequence %u passes the table's %u positions", i,
                                  r->table_positions);
    return rn_layers_check_vector(layers, "rotation: table", &r->table, 8);
}

retnet_result retnet_layers_rotate(retnet_layers *layers, const retnet_rotation *r)
{
    if (!layers || !r) return RETNET_ERROR_INVALID_ARGUMENT;
    enum { MOST_TOKENS = 32768 }; /* of a record: workgroups that every device has in the second dimension */
    uint64_t rows;
    retnet_result result = check_rotation(layers, r, &rows);
    if (result != RETNET_OK) return result;
    uint32_t width = r->heads * r->key_size;
    rn_area area = {0}, table = {0};
    rn_area_add_rows(&area, &r->rows, rows, width);
    rn_rotation rotation = {
        .rows = rn_area_bind(layers, &area),
        .stride = rn_rows_stride(&r->rows, width),
        .heads = r->heads,
        .key_size = r->key_size,
        .interleaved = r->interleaved,
        .direct = !r->tables,
        .scale = 1,
    };
    rotation.offset = rn_area_floats(&area, r->rows.offset);
    if (r->tables) {
        rotation.table = tables_binding(r->tables);
        rotation.angles = r->tables->tables.angles;
    } else {
        rn_area_add(&table, r->table.buffer, r->table.offset, 4ull * r->key_size * r->table_positions);
        rotation.table = rn_area_bind(layers, &table);
        rotation.angles = rn_area_floats(&table, r->table.offset) / 2;
    }
    for (uint32_t i = 0, at = 0; i < r->sequence_count && layers->recorder.result == RETNET_OK;) {
        rotation.count = rotation.longest = 0;
        while (i < r->sequence_count && rotation.count < RN_MAX_RECORDS) {
            const retnet_sequence *s = &r->sequences[i];
            uint32_t length = rn_min_u32(s->tokens - at, MOST_TOKENS);
            layers->chunks[rotation.count++] = (rn_chunk_record){s->first_row + at, length, s->position + at, 0};
            rotation.longest = rn_max_u32(rotation.longest, length);
            at += length;
            if (at < s->tokens) continue;
            at = 0;
            i++;
        }
        rotation.records = rn_layers_records(layers, layers->chunks, rotation.count);
        rn_rotation_record(&layers->recorder, &rotation);
    }
    return layers->recorder.result;
}

/* ---- Retention --------------------------------------------------------------------------------------------------- */

uint64_t retnet_retention_state_bytes(uint32_t heads, uint32_t key_size, uint32_t value_size)
{
    uint64_t bytes = 4ull * heads;
    if (value_size > UINT32_MAX - 3 || !rn_mul_u64(bytes, key_size, &bytes) ||
        !rn_mul_u64(bytes, rn_retention_value_stride(value_size), &bytes))
        return 0;
    return bytes;
}

/* Of one chunk; 0 where they cannot be counted. */
static uint64_t plain_bytes(uint32_t heads, uint32_t key_size, uint32_t value_size, uint32_t chunk)
{
    uint64_t state = retnet_retention_state_bytes(heads, key_size, value_size), scores = 4ull * heads, bytes;
    bool countable = state && rn_mul_u64(scores, (uint64_t)chunk * chunk, &scores) && rn_add_u64(state, scores, &bytes);
    return countable ? bytes : 0;
}

uint64_t retnet_retention_chunkwise_scratch_bytes(uint32_t heads, uint32_t key_size, uint32_t value_size,
                                                  uint32_t chunk, uint32_t chunks)
{
    if (chunk == 0) chunk = RN_CHUNK;
    uint64_t bytes = plain_bytes(heads, key_size, value_size, chunk);
    if (bytes == 0 || key_size > RN_MAX_KEY_WIDTH) return 0;
    if (chunk == RN_CHUNK) {
        uint64_t on_units = rn_retention_matrix_scratch_bytes(heads, heads, key_size, value_size, 1);
        if (on_units > bytes) bytes = on_units;
    }
    if (!rn_mul_u64(bytes, chunks, &bytes) || !rn_add_u64(bytes, RN_HOST_ALIGNMENT, &bytes)) return 0;
    return bytes;
}

/* A form's arguments as the kernels take them. The areas are bound. */
typedef struct call {
    retnet_layers *layers;
    const retnet_retention *desc;
    rn_area input, output, state;
    rn_retention retention;
    bool c2_of_form;
    uint32_t chunk;    /* of the chunkwise form */
    bool matrix_units; /* it computes on them */
} call;

static retnet_result check_shape(retnet_layers *layers, const retnet_retention *r, uint32_t kv_heads)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    if (r->heads == 0 || r->heads % kv_heads || r->key_size == 0 || r->key_size % 2 || r->value_size == 0 ||
        r->key_size > RN_MAX_KEY_WIDTH)
        return rn_layers_fail(layers, invalid, "retention: %u heads, %u of keys and values, K %u, V %u", r->heads,
                              kv_heads, r->key_size, r->value_size);
    if ((uint64_t)r->heads * r->value_size > UINT32_MAX / 4)
        return rn_layers_fail(layers, RETNET_ERROR_LIMIT, "retention: %u heads of %u values", r->heads, r->value_size);
    if (!r->tables || r->tables->heads != r->heads)
        return rn_layers_fail(layers, invalid, "retention: tables of %u heads are needed", r->heads);
    if (!(r->scale >= 0)) return rn_layers_fail(layers, invalid, "retention: scale is %g", r->scale);
    if (r->query.buffer != r->key.buffer || r->query.buffer != r->value.buffer)
        return rn_layers_fail(layers, invalid, "retention: query, key and value lie in several buffers");
    if (!r->query.stride || r->query.stride != r->key.stride || r->query.stride != r->value.stride)
        return rn_layers_fail(layers, invalid, "retention: query, key and value need one stride");
    return RETNET_OK;
}

static retnet_result check(retnet_layers *layers, const retnet_retention *r, bool needs_state, uint32_t alignment,
                           uint64_t *rows)
{
    uint32_t kv_heads = r->key_value_heads ? r->key_value_heads : r->heads;
    retnet_result result = rn_layers_ready(layers);
    if (result == RETNET_OK) result = check_shape(layers, r, kv_heads ? kv_heads : 1);
    if (result == RETNET_OK)
        result = rn_layers_check_rows(layers, "retention: query", &r->query, r->heads * r->key_size, 4);
    if (result == RETNET_OK)
        result = rn_layers_check_rows(layers, "retention: key", &r->key, kv_heads * r->key_size, 4);
    if (result == RETNET_OK)
        result = rn_layers_check_rows(layers, "retention: value", &r->value, kv_heads * r->value_size, 4);
    if (result == RETNET_OK)
        result = rn_layers_check_rows(layers, "retention: output", &r->output, r->heads * r->value_size, alignment);
    if (result == RETNET_OK && (needs_state || r->state.buffer))
        result = rn_layers_check_vector(layers, "retention: state", &r->state, RN_HOST_ALIGNMENT);
    if (result == RETNET_OK && r->score_norm != RETNET_SCORE_NORM_NONE)
        result = rn_layers_check_rows(layers, "retention: c2", &r->c2, r->heads, 4);
    if (result == RETNET_OK) result = rn_layers_check_sequences(layers, r->sequences, r->sequence_count, rows);
    if (result == RETNET_OK && r->score_norm != RETNET_SCORE_NORM_NONE && r->c2.buffer != r->output.buffer)
        result = rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "retention: c2 and output lie in two buffers");
    return result;
}

static void bind(call *c, uint64_t rows)
{
    const retnet_retention *d = c->desc;
    uint32_t kv_heads = d->key_value_heads ? d->key_value_heads : d->heads;
    uint64_t states = 0;
    rn_area_add_rows(&c->input, &d->query, rows, d->heads * d->key_size);
    rn_area_add_rows(&c->input, &d->key, rows, kv_heads * d->key_size);
    rn_area_add_rows(&c->input, &d->value, rows, kv_heads * d->value_size);
    rn_area_add_rows(&c->output, &d->output, rows, d->heads * d->value_size);
    if (c->c2_of_form) rn_area_add_rows(&c->output, &d->c2, rows, d->heads);
    rn_retention *r = &c->retention;
    *r = (rn_retention){
        .heads = d->heads,
        .key_value_heads = kv_heads,
        .key_size = d->key_size,
        .value_size = d->value_size,
        .x_stride = d->query.stride,
        .y_stride = rn_rows_stride(&d->output, d->heads * d->value_size),
        .c2_stride = rn_rows_stride(&d->c2, d->heads),
        .scale = d->scale,
        .tables = d->tables->tables,
        .input = rn_area_bind(c->layers, &c->input),
        .output = rn_area_bind(c->layers, &c->output),
        .params = tables_binding(d->tables),
    };
    r->q_offset = rn_area_floats(&c->input, d->query.offset);
    r->k_offset = rn_area_floats(&c->input, d->key.offset);
    r->v_offset = rn_area_floats(&c->input, d->value.offset);
    r->y_offset = rn_area_floats(&c->output, d->output.offset);
    if (c->c2_of_form) r->c2_offset = rn_area_floats(&c->output, d->c2.offset);
    if (!d->state.buffer) return;
    for (uint32_t i = 0; i < d->sequence_count; i++) {
        uint64_t end = d->sequences[i].state + 1ull;
        if (end > states) states = end;
    }
    rn_area_add(&c->state, d->state.buffer, d->state.offset,
                states * retnet_retention_state_bytes(d->heads, d->key_size, d->value_size));
    r->state = rn_area_bind(c->layers, &c->state);
}

/* c^2 by positions, for any form. */
static void record_positional_c2(call *c, uint64_t rows)
{
    const retnet_retention *d = c->desc;
    retnet_layers *layers = c->layers;
    rn_area area = {0};
    rn_area_add_rows(&area, &d->c2, rows, d->heads);
    rn_retention r = c->retention;
    r.output = rn_area_bind(layers, &area);
    r.c2_offset = rn_area_floats(&area, d->c2.offset);
    for (uint32_t i = 0; i < d->sequence_count && layers->recorder.result == RETNET_OK;) {
        uint32_t count = 0;
        for (; i < d->sequence_count && count < RN_MAX_RECORDS; i++, count++) {
            const retnet_sequence *s = &d->sequences[i];
            layers->chunks[count] = (rn_chunk_record){s->first_row, s->tokens, s->position, 0};
        }
        rn_binding records = rn_layers_records(layers, layers->chunks, count);
        rn_retention_c2_record(&layers->recorder, &r, records, count);
    }
}

/* Sequences that one dispatch with a workgroup for each of them and each head may have. */
static uint32_t most_sequences(const call *c)
{
    uint32_t most = c->layers->device->caps.max_groups[2] / c->desc->heads;
    return rn_min_u32(most ? most : 1, RN_MAX_RECORDS);
}

retnet_result retnet_layers_retention_parallel(retnet_layers *layers, const retnet_retention *retention)
{
    if (!layers || !retention) return RETNET_ERROR_INVALID_ARGUMENT;
    call c = {.layers = layers, .desc = retention, .c2_of_form = retention->score_norm == RETNET_SCORE_NORM_OF_FORM};
    uint64_t rows;
    retnet_result result = check(layers, retention, false, 4, &rows);
    if (result != RETNET_OK) return result;
    bind(&c, rows);
    uint32_t most = most_sequences(&c);
    rn_parallel_record *records = (rn_parallel_record *)layers->chunks;
    for (uint32_t i = 0; i < retention->sequence_count && layers->recorder.result == RETNET_OK;) {
        rn_retention_parallel parallel = {.has_state = retention->state.buffer != VK_NULL_HANDLE, .c2 = c.c2_of_form};
        for (; i < retention->sequence_count && parallel.count < most; i++) {
            const retnet_sequence *s = &retention->sequences[i];
            records[parallel.count++] = (rn_parallel_record){s->first_row, s->tokens, s->state, 0};
            parallel.longest = rn_max_u32(parallel.longest, s->tokens);
        }
        parallel.sequences = rn_layers_records(layers, records, parallel.count);
        rn_retention_parallel_record(&layers->recorder, &c.retention, &parallel);
    }
    if (retention->score_norm == RETNET_SCORE_NORM_RECURRENT) record_positional_c2(&c, rows);
    return layers->recorder.result;
}

retnet_result retnet_layers_retention_recurrent(retnet_layers *layers, const retnet_retention *retention)
{
    if (!layers || !retention) return RETNET_ERROR_INVALID_ARGUMENT;
    call c = {.layers = layers, .desc = retention};
    uint64_t rows;
    retnet_result result = check(layers, retention, true, RN_HOST_ALIGNMENT, &rows);
    for (uint32_t i = 0; i < retention->sequence_count && result == RETNET_OK; i++)
        if (retention->sequences[i].tokens != 1)
            result = rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT,
                                    "retention: sequence %u has %u tokens, the recurrent form takes one", i,
                                    retention->sequences[i].tokens);
    if (result != RETNET_OK) return result;
    bind(&c, rows);
    c.retention.tables.angles = retention->tables->identity; /* q and k come rotated */
    rn_step_record *records = (rn_step_record *)layers->chunks;
    for (uint32_t i = 0; i < retention->sequence_count && layers->recorder.result == RETNET_OK;) {
        rn_retention_step step = {.raw = true};
        for (; i < retention->sequence_count && step.count < RN_MAX_RECORDS; i++) {
            const retnet_sequence *s = &retention->sequences[i];
            records[step.count++] = (rn_step_record){s->first_row, s->state, 0, 0};
        }
        step.records = rn_layers_records(layers, records, step.count);
        rn_retention_step_record(&layers->recorder, &c.retention, &step);
    }
    if (retention->score_norm != RETNET_SCORE_NORM_NONE) record_positional_c2(&c, rows);
    return layers->recorder.result;
}

/* ---- The chunkwise form ------------------------------------------------------------------------------------------ */

static bool suits_matrix_units(const call *c)
{
    const rn_device *device = c->layers->device;
    return c->layers->matrix_units && c->chunk == RN_CHUNK && !c->c2_of_form && rn_matmul_pays(device) &&
           rn_retention_matrix_suits(device, c->desc->key_size);
}

/* Chunks that can be computed at a time; 0: not even one. */
static uint32_t fitting_chunks(const call *c)
{
    const retnet_retention *d = c->desc;
    const rn_device *device = c->layers->device;
    uint64_t room = rn_min_u64(c->layers->scratch.size, device->caps.max_storage_range);
    uint64_t each = plain_bytes(d->heads, d->key_size, d->value_size, c->chunk);
    if (c->matrix_units)
        each = rn_retention_matrix_scratch_bytes(d->heads, d->key_value_heads ? d->key_value_heads : d->heads,
                                                 d->key_size, d->value_size, 1);
    if (room < device->caps.storage_alignment || each == 0) return 0;
    return (uint32_t)rn_min_u64((room - device->caps.storage_alignment) / each, most_sequences(c));
}

/* Takes chunks from sequence *index, token *at on, and moves both on. */
static void collect_chunks(call *c, rn_retention_chunks *chunks, uint32_t most, uint32_t *index, uint32_t *at)
{
    const retnet_retention *d = c->desc;
    retnet_layers *layers = c->layers;
    while (*index < d->sequence_count && chunks->chunk_count < most) {
        const retnet_sequence *s = &d->sequences[*index];
        rn_sequence_record *sequence = &layers->sequences[chunks->sequence_count++];
        *sequence = (rn_sequence_record){chunks->chunk_count, 0, s->state, 0};
        while (*at < s->tokens && chunks->chunk_count < most) {
            uint32_t length = rn_min_u32(chunks->chunk, s->tokens - *at);
            layers->chunks[chunks->chunk_count++] =
                (rn_chunk_record){s->first_row + *at, length, s->position + *at, sequence->chunks % 2};
            sequence->chunks++;
            chunks->longest = rn_max_u32(chunks->longest, length);
            *at += length;
        }
        if (*at < s->tokens) return;
        *at = 0;
        (*index)++;
    }
}

retnet_result retnet_layers_retention_chunkwise(retnet_layers *layers, const retnet_retention *retention)
{
    if (!layers || !retention) return RETNET_ERROR_INVALID_ARGUMENT;
    call c = {.layers = layers, .desc = retention, .c2_of_form = retention->score_norm == RETNET_SCORE_NORM_OF_FORM};
    uint64_t rows;
    retnet_result result = check(layers, retention, true, 4, &rows);
    if (result != RETNET_OK) return result;
    c.chunk = retention->chunk ? retention->chunk : RN_CHUNK;
    c.matrix_units = suits_matrix_units(&c);
    if (c.chunk > retention->tables->longest_chunk)
        return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "retention: chunks of %u, but tables for %u",
                              c.chunk, retention->tables->longest_chunk);
    uint32_t most = fitting_chunks(&c);
    if (most == 0)
        return rn_layers_fail(layers, RETNET_ERROR_LIMIT, "retention: a scratch of %llu bytes holds no chunk of %u",
                              (unsigned long long)layers->scratch.size, c.chunk);
    bind(&c, rows);
    for (uint32_t index = 0, at = 0; index < retention->sequence_count && layers->recorder.result == RETNET_OK;) {
        rn_retention_chunks chunks = {
            .chunk = c.chunk,
            .rotated = true,
            .matrix = c.matrix_units,
            .c2 = c.c2_of_form,
            .scratch = &layers->scratch,
        };
        collect_chunks(&c, &chunks, most, &index, &at);
        chunks.chunks = rn_layers_records(layers, layers->chunks, chunks.chunk_count);
        chunks.sequences = rn_layers_records(layers, layers->sequences, chunks.sequence_count);
        rn_retention_chunks_record(&layers->recorder, &c.retention, &chunks);
    }
    if (retention->score_norm == RETNET_SCORE_NORM_RECURRENT) record_positional_c2(&c, rows);
    return layers->recorder.result;
}
