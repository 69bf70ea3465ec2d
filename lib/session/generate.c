#include "session/session.h"

#include <math.h>
#include <string.h>

typedef struct speaker {
    uint32_t slot;
    uint32_t made;
    bool done;
    int32_t token; /* the newest */
} speaker;

typedef struct generation {
    retnet_session *session;
    const retnet_generation *wish;
    speaker *speakers; /* [count] */
    size_t count;
    retnet_span *spans; /* [count] */
} generation;

/* ---- Checking --------------------------------------------------------------------------------------------------- */

retnet_result rn_session_check_sampling(retnet_session *session, const retnet_sampling *s)
{
    const char *wrong = NULL;
    if (!(s->temperature >= 0) || isinf(s->temperature)) wrong = "temperature is not a number of at least 0";
    if (!(s->top_p >= 0 && s->top_p <= 1)) wrong = "top_p is not in [0, 1]";
    if (!(s->min_p >= 0 && s->min_p < 1)) wrong = "min_p is not in [0, 1)";
    if (!(s->repetition_penalty >= 0) || isinf(s->repetition_penalty))
        wrong = "repetition_penalty is not a number of at least 0";
    if (s->repetition_window > RN_RECENT_TOKENS) wrong = "repetition_window is over 256";
    return wrong ? rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "sampling: %s", wrong) : RETNET_OK;
}

static retnet_result check_generation(retnet_session *session, const retnet_generation *wish, size_t count)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    if (wish->slots && (count == 0 || count > session->layout.slots))
        return rn_session_fail(session, invalid, "generate: %zu slots of %u", count, session->layout.slots);
    if (wish->tokens && wish->max_tokens == 0)
        return rn_session_fail(session, invalid, "generate: tokens without max_tokens");
    if (wish->end_token_count && !wish->end_tokens)
        return rn_session_fail(session, invalid, "generate: end_tokens is NULL");
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
    return rn_session_check_sampling(session, &wish->sampling);
}

/* ---- Generating ------------------------------------------------------------------------------------------------- */

static uint32_t recent_tokens(const rn_slot *slot, uint32_t window, int32_t *recent)
{
    uint32_t count = rn_min_u32(slot->recent_count, window ? window : 64);
    for (uint32_t i = 0; i < count; i++) recent[i] = slot->recent[(slot->position - 1 - i) % RN_RECENT_TOKENS];
    return count;
}

int32_t rn_session_next_token(const retnet_session *session, uint32_t slot_index, const retnet_sampling *sampling,
                              float *scratch)
{
    const rn_slot *slot = &session->slots[slot_index];
    uint32_t vocabulary = session->model->config.vocabulary;
    int32_t recent[RN_RECENT_TOKENS];
    uint32_t recent_count = recent_tokens(slot, sampling->repetition_window, recent);
    memcpy(scratch, slot->logits, vocabulary * sizeof *scratch);
    return rn_sample(sampling, scratch, vocabulary, recent, recent_count,
                     rn_random_draw(sampling->seed, slot->position), scratch + vocabulary);
}

static bool is_end_token(const retnet_generation *wish, int32_t token)
{
    for (size_t i = 0; i < wish->end_token_count; i++)
        if (wish->end_tokens[i] == token) return true;
    return false;
}

static void make_token(generation *g, speaker *s)
{
    const retnet_generation *wish = g->wish;
    s->token = rn_session_next_token(g->session, s->slot, &wish->sampling, g->session->sampling_scratch);
    if (wish->tokens) wish->tokens[(size_t)(s - g->speakers) * wish->max_tokens + s->made] = s->token;
    s->made++;
    if (wish->token && !wish->token(wish->token_user, s->slot, s->token)) s->done = true;
    if (is_end_token(wish, s->token) || (wish->max_tokens && s->made == wish->max_tokens)) s->done = true;
}

/* Reads the newest token of everyone who goes on; returns how many that are. */
static retnet_result read_tokens(generation *g, size_t *active)
{
    *active = 0;
    for (size_t i = 0; i < g->count; i++) {
        speaker *s = &g->speakers[i];
        if (!s->done && g->session->slots[s->slot].position >= RN_MAX_POSITION)
            return rn_session_fail(g->session, RETNET_ERROR_LIMIT, "generate: slot %u stands at position %u", s->slot,
                                   RN_MAX_POSITION);
        if (!s->done) g->spans[(*active)++] = (retnet_span){.slot = s->slot, .tokens = &s->token, .count = 1};
    }
    return *active ? rn_session_read(g->session, g->spans, *active, true) : RETNET_OK;
}

static retnet_result generate(generation *g)
{
    retnet_result result = RETNET_OK;
    size_t active = g->count;
    while (active && result == RETNET_OK) {
        for (size_t i = 0; i < g->count; i++)
            if (!g->speakers[i].done) make_token(g, &g->speakers[i]);
        /* Here everyone's last token has been made and not read, as the caller is promised. */
        if (atomic_load(&g->session->cancel)) return RETNET_CANCELLED;
        result = read_tokens(g, &active);
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
    if (result == RETNET_OK) result = check_generation(session, wish, count);
    if (result != RETNET_OK) return result;
    rn_host *host = session->device->host;
    generation g = {.session = session, .wish = wish, .count = count};
    g.speakers = rn_alloc(host, count, sizeof *g.speakers);
    g.spans = rn_alloc(host, count, sizeof *g.spans);
    if (g.speakers && g.spans) {
        for (size_t i = 0; i < count; i++) g.speakers[i].slot = wish->slots ? wish->slots[i] : 0;
        result = generate(&g);
        for (size_t i = 0; i < count && wish->token_counts; i++) wish->token_counts[i] = g.speakers[i].made;
    } else {
        result = rn_fail_memory(host, "generation", count * sizeof *g.speakers);
    }
    rn_free(host, g.speakers);
    rn_free(host, g.spans);
    return result;
}
