#include "session/session.h"

#include <string.h>

/* retnet_session_generate: slots speak together, some tokens a submit (decode.h). Between submits everyone's newest
 * token has been made and not read, as the caller is promised. */

typedef struct voice {
    uint32_t slot, row;
    uint32_t made, most; /* tokens; `most` is what the slot's positions and max_tokens leave room for */
    uint32_t fresh;      /* of them, made by the newest submit */
    bool done;
    bool stopped;     /* by the callback */
    bool rests;       /* on the device too */
    bool settled;     /* its logits are with the host */
    uint32_t surplus; /* tokens that the device made after the last one that is wanted */
    /* Before the newest submit, for rewinding. */
    rn_slot before;
    rn_speaker speaker_before;
} voice;

typedef struct generation {
    retnet_session *session;
    const retnet_generation *wish;
    voice *voices; /* [count] */
    size_t count;
    uint32_t *rows;  /* [count] slots of those who still speak */
    int32_t *tokens; /* [RN_RESULT_RING] to read again */
} generation;

/* ---- Checking --------------------------------------------------------------------------------------------------- */

static retnet_result check_slots(retnet_session *session, const retnet_generation *wish, size_t count)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    if (wish->slots && (count == 0 || count > session->layout.slots))
        return rn_session_fail(session, invalid, "generate: %zu slots of %u", count, session->layout.slots);
    if (rn_task_count_speakers(session)) return rn_session_fail(session, invalid, "generate: tasks are making tokens");
    if ((wish->tokens || wish->log_probs) && wish->max_tokens == 0)
        return rn_session_fail(session, invalid, "generate: tokens without max_tokens");
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = wish->slots ? wish->slots[i] : 0;
        retnet_result result = rn_session_check_slot(session, slot, true);
        if (result != RETNET_OK) return result;
        if (!session->slots[slot].has_logits)
            return rn_session_fail(session, invalid, "generate: slot %u has read no token since its state was set",
                                   slot);
        for (size_t k = 0; k < i; k++)
            if (wish->slots[k] == slot)
                return rn_session_fail(session, invalid, "generate: slot %u is named twice", slot);
    }
    return RETNET_OK;
}

/* ---- Tokens ----------------------------------------------------------------------------------------------------- */

static bool is_end_token(const retnet_generation *wish, int32_t token)
{
    for (size_t i = 0; i < wish->end_token_count; i++)
        if (wish->end_tokens[i] == token) return true;
    return false;
}

static void hand_out(generation *g, voice *v, const rn_spoken *spoken)
{
    const retnet_generation *wish = g->wish;
    size_t at = (size_t)(v - g->voices) * wish->max_tokens + v->made;
    if (wish->tokens) wish->tokens[at] = spoken->token;
    if (wish->log_probs) wish->log_probs[at] = spoken->log_prob;
    v->made++;
    v->fresh++;
    v->rests = is_end_token(wish, spoken->token) || v->made == v->most;
    v->stopped = wish->token && !wish->token(wish->token_user, v->slot, spoken->token);
    v->done = v->rests || v->stopped;
    if (v->done) v->surplus = rn_decode_drop(g->session, v->slot);
}

/* Hands out what the newest submit made, token by token for all slots. */
static retnet_result take_tokens(generation *g)
{
    retnet_result result = RETNET_OK;
    bool more = true;
    for (size_t i = 0; i < g->count; i++) g->voices[i].fresh = 0;
    while (more) {
        more = false;
        for (size_t i = 0; i < g->count; i++) {
            voice *v = &g->voices[i];
            rn_spoken spoken;
            bool taken;
            if (v->done) continue;
            retnet_result one = rn_decode_take(g->session, v->slot, &spoken, &taken);
            if (one != RETNET_OK) {
                result = one;
                v->done = v->rests = true;
            }
            if (taken) hand_out(g, v, &spoken);
            more |= taken;
        }
    }
    return result;
}

/* ---- Ends ------------------------------------------------------------------------------------------------------- */

/* The state goes back to before the newest submit, and reads what came before the last wanted token again. */
static retnet_result rewind_voice(generation *g, voice *v)
{
    retnet_session *session = g->session;
    rn_slot *slot = &session->slots[v->slot];
    uint32_t count = 0;
    if (v->speaker_before.waiting) g->tokens[count++] = v->speaker_before.newest;
    /* Tokens of this submit that were read are the newest of the recent ones. */
    for (uint32_t i = 0; i + 1 < v->fresh; i++)
        g->tokens[count++] = slot->recent[(slot->position - (v->fresh - 1) + i) % RN_RECENT_TOKENS];
    rn_decode_exchange(session, v->row);
    v->before.logits = slot->logits;
    *slot = v->before;
    retnet_result result = RETNET_OK;
    for (uint32_t i = 0; i < count && result == RETNET_OK; i++) {
        retnet_span span = {.slot = v->slot, .tokens = &g->tokens[i], .count = 1};
        result = rn_session_read(session, &span, 1, false);
    }
    return result;
}

/* Gives those who are done, or all with `everyone`, their logits and the state that is promised. */
static retnet_result settle(generation *g, bool everyone)
{
    retnet_session *session = g->session;
    rn_recorder *copies = &session->decoder.copies;
    retnet_result result = RETNET_OK;
    bool copied = false;
    for (size_t i = 0; i < g->count; i++) {
        const voice *v = &g->voices[i];
        if (v->settled || v->rests || v->surplus || !(v->done || everyone)) continue;
        if (!copied) rn_recorder_begin(copies);
        copied = true;
        rn_decode_record_logits(session, copies, v->row);
    }
    if (copied) result = rn_recorder_end(copies);
    if (copied && result == RETNET_OK) result = rn_recorder_run(copies);
    for (size_t i = 0; i < g->count && result == RETNET_OK; i++) {
        voice *v = &g->voices[i];
        if (v->settled || !(v->done || everyone)) continue;
        if (v->surplus)
            result = rewind_voice(g, v);
        else
            rn_decode_fetch_logits(session, v->slot);
        v->settled = true;
    }
    return result;
}

/* ---- Submits ---------------------------------------------------------------------------------------------------- */

static retnet_result start(generation *g)
{
    retnet_session *session = g->session;
    const retnet_generation *wish = g->wish;
    rn_recorder *recorder = &session->recorder;
    rn_recorder_begin(recorder);
    for (uint32_t i = 0; i < g->count; i++) {
        voice *v = &g->voices[i];
        v->slot = wish->slots ? wish->slots[i] : 0;
        v->row = i;
        v->most = (uint32_t)(RN_MAX_POSITION - session->slots[v->slot].position) + 1;
        if (wish->max_tokens && wish->max_tokens < v->most) v->most = wish->max_tokens;
        const rn_speech speech = {&wish->sampling, wish->end_tokens, wish->end_token_count, v->most,
                                  wish->log_probs != NULL};
        rn_part part = {0};
        rn_session_own_state(session, v->slot, &part);
        for (uint32_t k = 0; k < session->model->config.layers; k++)
            rn_session_prepare_state(session, recorder, &part, k);
        rn_decode_start(session, v->slot, &speech);
        g->rows[i] = v->slot;
    }
    rn_decode_set_rows(session, g->rows, (uint32_t)g->count);
    rn_decode_record_start(session, recorder);
    retnet_result result = rn_recorder_end(recorder);
    return result == RETNET_OK ? rn_recorder_run(recorder) : result;
}

/* Those who are not done move up. */
static retnet_result arrange_rows(generation *g, uint32_t *active)
{
    retnet_session *session = g->session;
    rn_recorder *copies = &session->decoder.copies;
    *active = 0;
    for (size_t i = 0; i < g->count; i++) {
        voice *v = &g->voices[i];
        if (v->done) continue;
        v->row = *active;
        g->rows[(*active)++] = v->slot;
    }
    if (*active == 0 || *active == session->decoder.rows) return RETNET_OK;
    rn_decode_set_rows(session, g->rows, *active);
    rn_recorder_begin(copies);
    rn_decode_record_rows(session, copies);
    retnet_result result = rn_recorder_end(copies);
    return result == RETNET_OK ? rn_recorder_run(copies) : result;
}

/* Whether the last `left` tokens after `made` are made in one submit, although it could make more. Where a text may
 * end before, so that some are made in vain, only if they are few beside those that were made without an end. */
static bool makes_together(const retnet_generation *wish, uint32_t made, uint32_t left)
{
    enum { FEW = 8 };
    bool open = wish->token || wish->end_token_count;
    return !open || left <= made / FEW;
}

/* Lets all rows make some tokens more. */
static retnet_result advance(generation *g, uint32_t active)
{
    retnet_session *session = g->session;
    const retnet_generation *wish = g->wish;
    bool asks = wish->token != NULL;
    uint32_t most = 0, made = 0; /* of who has the most left */
    for (size_t i = 0; i < g->count; i++) {
        voice *v = &g->voices[i];
        if (v->done) continue;
        if (v->most - v->made > most) {
            most = v->most - v->made;
            made = v->made;
        }
        v->before = session->slots[v->slot];
        v->speaker_before = session->decoder.speakers[v->slot];
        session->slots[v->slot].has_logits = false;
    }
    /* Without spares nobody could stop in the middle of a submit. */
    if (asks && active > session->layout.spares) return rn_decode_run(session, 1, 0);
    uint32_t units = rn_decode_units(session, most, makes_together(wish, made, most)), left = most - units;
    return rn_decode_run(session, units, makes_together(wish, made + units, left) ? left : 0);
}

/* Whoever filled all positions without being asked to stop there could not go on. */
static retnet_result check_positions(const generation *g)
{
    for (size_t i = 0; i < g->count; i++) {
        const voice *v = &g->voices[i];
        if (v->rests && !v->stopped && !v->settled && g->session->slots[v->slot].position >= RN_MAX_POSITION &&
            v->made != g->wish->max_tokens && !is_end_token(g->wish, g->session->decoder.speakers[v->slot].newest))
            return rn_session_fail(g->session, RETNET_ERROR_LIMIT, "generate: slot %u stands at position %u", v->slot,
                                   RN_MAX_POSITION);
    }
    return RETNET_OK;
}

static retnet_result generate(generation *g)
{
    retnet_session *session = g->session;
    uint32_t active = (uint32_t)g->count;
    retnet_result result = start(g);
    while (active && result == RETNET_OK) {
        result = take_tokens(g);
        if (result == RETNET_OK) result = check_positions(g);
        if (result == RETNET_OK && atomic_load(&session->cancel)) result = RETNET_CANCELLED;
        retnet_result settled = settle(g, result != RETNET_OK);
        if (result == RETNET_OK) result = settled;
        if (result == RETNET_OK) result = arrange_rows(g, &active);
        if (result == RETNET_OK && active) result = advance(g, active);
    }
    return result;
}

retnet_result retnet_session_generate(retnet_session *session, const retnet_generation *wish)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!wish) return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "generate: no generation");
    size_t count = wish->slots ? wish->slot_count : 1;
    atomic_store(&session->cancel, false); /* what came while nothing ran */
    retnet_result result = rn_session_settle(session, true);
    if (result == RETNET_OK) result = check_slots(session, wish, count);
    const rn_speech speech = {&wish->sampling, wish->end_tokens, wish->end_token_count, wish->max_tokens, false};
    if (result == RETNET_OK) result = rn_decode_check(session, &speech);
    if (result == RETNET_OK) result = rn_device_check(session->device);
    if (result != RETNET_OK) return result;
    rn_host *host = session->device->host;
    generation g = {.session = session, .wish = wish, .count = count};
    g.voices = rn_alloc(host, count, sizeof *g.voices);
    g.rows = rn_alloc(host, count, sizeof *g.rows);
    g.tokens = rn_alloc(host, RN_RESULT_RING, sizeof *g.tokens);
    if (g.voices && g.rows && g.tokens) {
        result = generate(&g);
        for (size_t i = 0; i < count && wish->token_counts; i++) wish->token_counts[i] = g.voices[i].made;
    } else {
        result = rn_fail_memory(host, "generation", count * sizeof *g.voices);
    }
    rn_free(host, g.voices);
    rn_free(host, g.rows);
    rn_free(host, g.tokens);
    return result;
}
