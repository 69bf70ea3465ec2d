#include "session/session.h"

#include "layers/matmul.h"
#include "vulkan/memory.h"

enum {
    ALIGNMENT = 256, /* the most that Vulkan lets a device ask of a binding's offset */
};

static rn_region place(uint64_t *end, uint32_t rows, uint32_t stride)
{
    rn_region region = {*end, rows, stride};
    *end = rn_round_up(*end + 4ull * rows * stride, ALIGNMENT);
    return region;
}

static uint64_t place_bytes(uint64_t *end, uint64_t bytes)
{
    uint64_t at = *end;
    *end = rn_round_up(at + bytes, ALIGNMENT);
    return at;
}

static void place_chain(const retnet_model *model, rn_session_layout *l, uint64_t *end)
{
    const rn_config *c = &model->config;
    rn_chain_layout *chain = &l->chain;
    uint64_t at = *end, layer;
    chain->at = at;
    chain->marks = ALIGNMENT / 4;
    chain->layer_marks = c->heads * rn_retention_step_tiles(model->device, c->heads, c->value_size, 1);
    *end += ALIGNMENT;
    place_bytes(end, 4ull * c->layers * chain->layer_marks);
    chain->data = (uint32_t)((*end - at) / 4);
    chain->x = place(end, 1, l->x.stride);
    layer = *end;
    chain->projected = place(end, 1, l->projected.stride);
    chain->retained = place(end, 1, l->retained.stride);
    chain->middle = place(end, 1, l->x.stride);
    chain->hidden = place(end, 1, l->hidden.stride);
    chain->out = place(end, 1, l->x.stride);
    chain->layer_bytes = *end - layer;
    *end += (c->layers - 1) * chain->layer_bytes;
    chain->bytes = *end - at;
}

static void place_activations(const retnet_model *model, rn_session_layout *l)
{
    const rn_config *c = &model->config;
    uint32_t values = c->heads * c->value_size;
    l->q_offset = 0;
    l->k_offset = c->heads * c->key_size;
    l->v_offset = l->k_offset + c->kv_heads * c->key_size;
    l->gate_offset = l->v_offset + c->kv_heads * c->value_size;
    uint32_t projected = l->gate_offset + (c->output_gate ? values : 0);
    uint32_t sums = c->heads * rn_retention_step_tiles(model->device, c->heads, c->value_size, 1);
    uint32_t widest = c->ffn_norm ? rn_max_u32(c->hidden, c->ffn) : c->hidden;
    /* It also takes normalised retention as halves; behind them, where no deferred factor is then, lies what
     * rn_matmul_record reads beyond the last token. */
    widest = rn_max_u32(widest, rn_padded_inputs(values) / 2);
    l->normed_scale = rn_padded_inputs(widest);
    l->retained_sums = rn_padded_inputs(values);
    uint64_t end = 0;
    l->x = place(&end, l->rows, rn_padded_inputs(c->hidden));
    l->normed =
        place(&end, l->rows > l->logit_rows ? l->rows : l->logit_rows, rn_padded_inputs(widest) + RN_BLOCK_INPUTS);
    l->projected = place(&end, l->rows, rn_padded_inputs(projected));
    l->retained = place(&end, l->rows, rn_padded_inputs(values) + rn_padded_inputs(sums));
    l->hidden = place(&end, l->rows, rn_padded_inputs(c->ffn));
    l->gathered = place(&end, l->logit_rows, rn_padded_inputs(c->hidden));
    place_chain(model, l, &end);
    l->partials_at = place_bytes(&end, rn_matmul_narrow_bytes(model->device));
    l->activation_bytes = end;
}

static void place_input(rn_session_layout *l)
{
    uint64_t end = 0, records = 16ull * RN_MAX_RECORDS;
    l->tokens_at = place_bytes(&end, 4ull * l->rows);
    l->steps_at = place_bytes(&end, records);
    l->chunks_at = place_bytes(&end, records);
    l->sequences_at = place_bytes(&end, records);
    l->targets_at = place_bytes(&end, 4ull * l->logit_rows);
    l->input_stride = end;
    l->input_bytes = RN_MAX_PASSES * end;
}

/* Chunks of one pass: as many as rows allow, while their states fit in one binding and a modest part of memory. */
static uint32_t fitting_chunks(const retnet_model *model, uint32_t rows)
{
    const rn_config *c = &model->config;
    uint64_t most =
        model->device->caps.max_storage_range < (1ull << 30) ? model->device->caps.max_storage_range : 1ull << 30;
    uint64_t one = rn_retention_scratch_bytes(model->device, c->heads, c->kv_heads, c->key_size, c->value_size, 1);
    uint64_t chunks = most / one, wanted = rn_divide_up(rows, RN_CHUNK) + 8;
    if (wanted > RN_MAX_RECORDS) wanted = RN_MAX_RECORDS;
    return (uint32_t)(chunks < wanted ? chunks : wanted);
}

static void place_rows(const retnet_model *model, uint32_t rows, rn_session_layout *l)
{
    const rn_config *c = &model->config;
    /* Whole chunks, which is also what rn_matmul reads. */
    l->rows = rn_divide_up(rn_max_u32(rows, l->slots), RN_CHUNK) * RN_CHUNK;
    l->chunks = fitting_chunks(model, l->rows);
    place_activations(model, l);
    l->scratch_bytes =
        rn_retention_scratch_bytes(model->device, c->heads, c->kv_heads, c->key_size, c->value_size, l->chunks);
}

/* Matrix units want many rows to work on, or reading the weights takes longer than multiplying by them; then more rows
 * are more workgroups, of which a smaller part is left over at the end of each dispatch. Twice as many are worth a
 * sixteenth of the device's memory, but no more than the weights themselves take. */
static void place_default_rows(const retnet_model *model, rn_session_layout *l)
{
    const rn_device *device = model->device;
    uint32_t heap = rn_memory_heap(device, RN_MEMORY_DEVICE);
    uint64_t worth = heap == UINT32_MAX ? 0 : device->memory.memoryHeaps[heap].size / 16;
    if (worth > model->weight_bytes) worth = model->weight_bytes;
    if (device->caps.matrix.m && !device->caps.is_cpu) {
        place_rows(model, 4096, l);
        if (l->activation_bytes + l->scratch_bytes <= worth) return;
    }
    place_rows(model, device->caps.is_cpu ? 128 : device->caps.matrix.m ? 2048 : 1024, l);
}

retnet_result rn_session_layout_make(const retnet_model *model, const retnet_session_desc *desc, rn_session_layout *l)
{
    rn_host *host = model->device->host;
    const rn_capabilities *caps = &model->device->caps;
    *l = (rn_session_layout){.slots = desc && desc->slots ? desc->slots : 1};
    uint32_t rows = desc ? desc->prompt_chunk : 0;
    uint32_t snapshots = desc ? desc->snapshots : 0;
    if (desc && desc->tokens_per_submit > RN_RESULT_RING)
        return rn_fail(host, RETNET_ERROR_LIMIT, "session: %u tokens_per_submit, at most %u", desc->tokens_per_submit,
                       (unsigned)RN_RESULT_RING);
    if (l->slots > RN_MAX_SLOTS || rows > 65536 || snapshots > RN_MAX_SNAPSHOTS)
        return rn_fail(host, RETNET_ERROR_LIMIT,
                       "session: %u slots, prompt_chunk %u and %u snapshots, at most %u, 65536 and %u", l->slots, rows,
                       snapshots, (unsigned)RN_MAX_SLOTS, (unsigned)RN_MAX_SNAPSHOTS);
    l->holders = l->slots + snapshots;
    l->logit_rows = rn_max_u32(l->slots, 64);
    if (rows)
        place_rows(model, rows, l);
    else
        place_default_rows(model, l);
    if (l->chunks == 0)
        return rn_fail(host, RETNET_ERROR_LIMIT,
                       "session: one chunk's states exceed what %s binds at once (%llu bytes)", model->device->name,
                       (unsigned long long)caps->max_storage_range);
    place_input(l);
    const rn_config *c = &model->config;
    l->outputs_at = rn_round_up(4ull * l->slots * c->vocabulary, ALIGNMENT);
    l->logits_bytes = l->outputs_at + 4ull * l->logit_rows * c->vocabulary;
    l->readback_bytes = caps->unified_memory ? 0 : l->logits_bytes - l->outputs_at;
    l->marks_at = 4ull * l->logit_rows;
    l->scores_bytes = l->marks_at + 4ull * RN_MAX_SLICES;
    l->control_bytes = sizeof(rn_control) + l->slots * sizeof(rn_sampler);
    l->results_bytes = sizeof(rn_result) * RN_RESULT_RING * l->slots + RN_FLAG_BYTES;
    l->kept_bytes = 4ull * l->slots * c->vocabulary;
    l->tokens_per_submit = desc ? desc->tokens_per_submit : 0;
    /* Software drivers make one token a submit unless asked for more. */
    if (l->tokens_per_submit == 0 && caps->is_cpu) l->tokens_per_submit = 1;
    l->spares = l->tokens_per_submit == 1 ? 0 : rn_min_u32(l->slots, RN_MAX_SPARES);
    l->layer_state_bytes = rn_round_up(rn_model_layer_state_bytes(model) * (l->holders + l->spares), ALIGNMENT);
    if (l->layer_state_bytes > caps->max_storage_range || l->layer_state_bytes > caps->max_allocation)
        return rn_fail(host, RETNET_ERROR_LIMIT,
                       "session: one layer's states of %u slots and %u snapshots take %llu bytes, but %s binds at most "
                       "%llu",
                       l->slots, snapshots, (unsigned long long)l->layer_state_bytes, model->device->name,
                       (unsigned long long)caps->max_storage_range);
    uint64_t most = caps->max_allocation < (1ull << 30) ? caps->max_allocation : 1ull << 30;
    uint64_t layers = most / l->layer_state_bytes;
    l->layers_per_state_buffer = layers == 0 ? 1 : layers > c->layers ? c->layers : (uint32_t)layers;
    l->state_buffers = rn_divide_up(c->layers, l->layers_per_state_buffer);
    if (l->state_buffers > RN_MAX_STATE_BUFFERS)
        return rn_fail(host, RETNET_ERROR_LIMIT, "session: the states need over %u allocations",
                       (unsigned)RN_MAX_STATE_BUFFERS);
    return RETNET_OK;
}

retnet_result retnet_session_memory_for(const retnet_model *model, const retnet_session_desc *desc,
                                        retnet_session_memory *memory)
{
    if (!model || !memory) return RETNET_ERROR_INVALID_ARGUMENT;
    rn_session_layout l;
    retnet_result result = rn_session_layout_make(model, desc, &l);
    if (result != RETNET_OK) return result;
    memory->state_bytes = l.layer_state_bytes * model->config.layers;
    memory->device_bytes =
        memory->state_bytes + l.activation_bytes + l.scratch_bytes + l.logits_bytes + l.control_bytes;
    memory->host_bytes =
        l.input_bytes + l.control_bytes + l.readback_bytes + l.scores_bytes + l.results_bytes + l.kept_bytes;
    return RETNET_OK;
}
