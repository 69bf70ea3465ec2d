#include "session/session.h"

#include <math.h>
#include <string.h>

static const rn_buffer *layer_buffer(const retnet_session *session, uint32_t layer, uint64_t *offset)
{
    const rn_session_layout *l = &session->layout;
    *offset = layer % l->layers_per_state_buffer * l->layer_state_bytes;
    return &session->states[layer / l->layers_per_state_buffer];
}

rn_binding rn_session_layer_state(const retnet_session *session, uint32_t layer)
{
    uint64_t offset;
    const rn_buffer *buffer = layer_buffer(session, layer, &offset);
    return (rn_binding){buffer, offset, session->layout.layer_state_bytes};
}

static uint32_t find_free_state(const retnet_session *session)
{
    uint32_t i = 0;
    /* But for spares there are as many states as holders, and a shared one leaves another free. */
    while (session->references[i]) i++;
    return i;
}

/* Leaves the slot with a state that nobody shares and whose content does not matter. */
static void take_any_state(retnet_session *session, uint32_t slot)
{
    rn_slot *s = &session->slots[slot];
    if (session->references[s->state] == 1) return;
    uint32_t own = find_free_state(session);
    session->references[s->state]--;
    session->references[own] = 1;
    s->state = own;
}

void rn_session_own_state(retnet_session *session, uint32_t slot, rn_part *part)
{
    uint32_t old = session->slots[slot].state;
    bool zero = session->zero[old];
    take_any_state(session, slot);
    uint32_t own = session->slots[slot].state;
    part->slot = slot;
    part->fill = zero;
    part->copy = !zero && own != old;
    part->copied_from = old;
    session->zero[own] = false;
}

void rn_slot_read_tokens(rn_slot *slot, const int32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) slot->recent[(slot->position + i) % RN_RECENT_TOKENS] = tokens[i];
    slot->position += count;
    slot->recent_count = rn_min_u32(slot->recent_count + count, RN_RECENT_TOKENS);
}

void rn_session_prepare_state(const retnet_session *session, rn_recorder *recorder, const rn_part *part, uint32_t layer)
{
    if (!part->fill && !part->copy) return;
    uint64_t offset, bytes = rn_model_layer_state_bytes(session->model);
    const rn_buffer *buffer = layer_buffer(session, layer, &offset);
    uint64_t own = offset + session->slots[part->slot].state * bytes;
    if (part->fill)
        rn_recorder_fill_zero(recorder, buffer, own, bytes);
    else
        rn_recorder_copy(recorder, buffer, offset + part->copied_from * bytes, buffer, own, bytes);
}

retnet_result rn_session_check_slot(retnet_session *session, uint32_t slot, bool changes)
{
    if (slot >= session->layout.slots)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "slot %u, but the session has %u", slot,
                               session->layout.slots);
    if (changes && session->tasks[slot])
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "slot %u has a task", slot);
    return rn_device_check(session->device);
}

/* Whether work in progress reads or writes the slot's state, or a state that the slot might get. */
static bool is_in_progress(const retnet_session *session, uint32_t slot)
{
    for (uint32_t i = 0; i < session->pass_count; i++) {
        const rn_pass *pass = &session->passes[(session->first_pass + i) % RN_MAX_PASSES];
        for (uint32_t k = 0; k < pass->part_count; k++)
            if (pass->parts[k].slot == slot || pass->parts[k].copy) return true;
    }
    return false;
}

retnet_result rn_session_ready_slot(retnet_session *session, uint32_t slot, bool changes)
{
    retnet_result result = rn_session_check_slot(session, slot, changes);
    if (result != RETNET_OK) return result;
    if (rn_task_is_speaking(session, slot))
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "slot %u is making tokens", slot);
    if (!is_in_progress(session, slot)) return RETNET_OK;
    return rn_session_settle(session, false);
}

static void empty_slot(retnet_session *session, uint32_t slot)
{
    rn_slot *s = &session->slots[slot];
    take_any_state(session, slot);
    session->zero[s->state] = true;
    s->position = 0;
    s->has_logits = false;
    s->recent_count = 0;
}

retnet_result retnet_session_reset(retnet_session *session, uint32_t slot)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_session_ready_slot(session, slot, true);
    if (result == RETNET_OK) empty_slot(session, slot);
    return result;
}

/* Makes holder `to` what holder `from` is. Their state is shared until one of them changes. */
static void share(retnet_session *session, uint32_t from, uint32_t to)
{
    rn_slot *source = &session->slots[from], *target = &session->slots[to];
    session->references[target->state]--;
    session->references[source->state]++;
    float *logits = target->logits;
    *target = *source;
    target->logits = logits;
    memcpy(logits, source->logits, session->model->config.vocabulary * sizeof *logits);
}

retnet_result retnet_session_fork(retnet_session *session, uint32_t from, uint32_t to)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_session_ready_slot(session, from, false);
    if (result == RETNET_OK) result = rn_session_ready_slot(session, to, true);
    if (result != RETNET_OK || from == to) return result;
    share(session, from, to);
    return RETNET_OK;
}

/* ---- Snapshots -------------------------------------------------------------------------------------------------- */

static retnet_result check_snapshot(retnet_session *session, uint32_t slot, uint32_t snapshot, bool changes)
{
    uint32_t snapshots = session->layout.holders - session->layout.slots;
    retnet_result result = rn_session_ready_slot(session, slot, changes);
    if (result == RETNET_OK && snapshot >= snapshots)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "snapshot %u, but the session has %u", snapshot,
                               snapshots);
    return result;
}

retnet_result retnet_session_snapshot(retnet_session *session, uint32_t slot, uint32_t snapshot)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_snapshot(session, slot, snapshot, false);
    if (result != RETNET_OK) return result;
    uint32_t holder = session->layout.slots + snapshot;
    share(session, slot, holder);
    session->slots[holder].taken = true;
    return RETNET_OK;
}

retnet_result retnet_session_rollback(retnet_session *session, uint32_t slot, uint32_t snapshot)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_snapshot(session, slot, snapshot, true);
    if (result != RETNET_OK) return result;
    uint32_t holder = session->layout.slots + snapshot;
    if (!session->slots[holder].taken)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "rollback: snapshot %u was never taken",
                               snapshot);
    share(session, holder, slot);
    return RETNET_OK;
}

/* ---- Importing -------------------------------------------------------------------------------------------------- */

retnet_result retnet_session_set_position(retnet_session *session, uint32_t slot, uint64_t position)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_session_ready_slot(session, slot, true);
    if (result == RETNET_OK && position > RN_MAX_POSITION)
        return rn_session_fail(session, RETNET_ERROR_LIMIT, "position %llu, at most %u", (unsigned long long)position,
                               RN_MAX_POSITION);
    if (result != RETNET_OK) return result;
    session->slots[slot].position = position;
    session->slots[slot].has_logits = false;
    session->slots[slot].recent_count = 0; /* what stood before the new position is not known */
    return RETNET_OK;
}

/* ---- Layers' states to and from the host ------------------------------------------------------------------------ */

static void copy_rows(float *to, uint32_t to_stride, const float *from, uint32_t from_stride, uint32_t rows,
                      uint32_t columns)
{
    for (uint32_t i = 0; i < rows; i++) {
        memcpy(to + (size_t)i * to_stride, from + (size_t)i * from_stride, columns * sizeof *to);
        if (to_stride > columns) memset(to + (size_t)i * to_stride + columns, 0, (to_stride - columns) * sizeof *to);
    }
}

/* Runs `recorder` with one copy between a layer's state and `staging`. */
static retnet_result transfer(retnet_session *session, uint32_t slot, uint32_t layer, rn_buffer *staging, bool upload)
{
    uint64_t offset, bytes = rn_model_layer_state_bytes(session->model);
    const rn_buffer *buffer = layer_buffer(session, layer, &offset);
    rn_recorder *recorder = &session->recorder;
    rn_recorder_begin(recorder);
    if (upload) {
        rn_part part = {0};
        rn_session_own_state(session, slot, &part);
        for (uint32_t i = 0; i < session->model->config.layers; i++)
            rn_session_prepare_state(session, recorder, &part, i);
    }
    offset += session->slots[slot].state * bytes;
    if (upload)
        rn_recorder_copy(recorder, staging, 0, buffer, offset, bytes);
    else
        rn_recorder_copy(recorder, buffer, offset, staging, 0, bytes);
    retnet_result result = rn_recorder_end(recorder);
    return result == RETNET_OK ? rn_recorder_run(recorder) : result;
}

static retnet_result move_state(retnet_session *session, uint32_t slot, uint32_t layer, float *out, const float *in)
{
    const rn_config *c = &session->model->config;
    uint32_t rows = c->heads * c->key_size, stride = rn_retention_value_stride(c->value_size);
    rn_buffer staging;
    retnet_result result = rn_buffer_create(session->device, rn_model_layer_state_bytes(session->model),
                                            out ? RN_MEMORY_READBACK : RN_MEMORY_UPLOAD, "state", &staging);
    if (result != RETNET_OK) return result;
    if (in) copy_rows(staging.mapped, stride, in, c->value_size, rows, c->value_size);
    result = transfer(session, slot, layer, &staging, in != NULL);
    if (result == RETNET_OK && out) copy_rows(out, c->value_size, staging.mapped, stride, rows, c->value_size);
    rn_buffer_destroy(session->device, &staging);
    return result;
}

static retnet_result check_state(retnet_session *session, uint32_t slot, uint32_t layer, const float *state,
                                 bool changes)
{
    retnet_result result = rn_session_ready_slot(session, slot, changes);
    if (result == RETNET_OK && (layer >= session->model->config.layers || !state))
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "state of layer %u: the model has %u", layer,
                               session->model->config.layers);
    return result;
}

retnet_result retnet_session_get_state(retnet_session *session, uint32_t slot, uint32_t layer, float *state)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_state(session, slot, layer, state, false);
    if (result != RETNET_OK) return result;
    const rn_config *c = &session->model->config;
    if (session->zero[session->slots[slot].state]) {
        memset(state, 0, sizeof(float) * c->heads * c->key_size * c->value_size);
        return RETNET_OK;
    }
    return move_state(session, slot, layer, state, NULL);
}

retnet_result retnet_session_set_state(retnet_session *session, uint32_t slot, uint32_t layer, const float *state)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_state(session, slot, layer, state, true);
    if (result != RETNET_OK) return result;
    session->slots[slot].has_logits = false;
    return move_state(session, slot, layer, NULL, state);
}
