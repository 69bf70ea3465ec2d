#include "session/session.h"

#include <math.h>
#include <stdio.h>

/* retnet_session_run: readings are cut into passes, one class after the other, and each pass is run to its end. */

retnet_result rn_session_check_tokens(retnet_session *session, const char *what, uint32_t slot, const int32_t *tokens,
                                      size_t count)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    uint32_t vocabulary = session->model->config.vocabulary;
    if (!tokens || count == 0) return rn_session_fail(session, invalid, "%s has no tokens", what);
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocabulary)
            return rn_session_fail(session, invalid, "%s: token %zu is %d, but the vocabulary has %u", what, i,
                                   tokens[i], vocabulary);
    if (count > RN_MAX_POSITION - session->slots[slot].position)
        return rn_session_fail(session, RETNET_ERROR_LIMIT, "%s would pass position %u", what, RN_MAX_POSITION);
    return RETNET_OK;
}

static retnet_result check_spans(retnet_session *session, const retnet_span *spans, size_t span_count)
{
    if (!spans || span_count == 0 || span_count > session->layout.slots)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "%zu spans for %u slots", span_count,
                               session->layout.slots);
    for (size_t i = 0; i < span_count; i++) {
        char what[32];
        snprintf(what, sizeof what, "span %zu", i);
        retnet_result result = rn_session_check_slot(session, spans[i].slot, true);
        if (result == RETNET_OK)
            result = rn_session_check_tokens(session, what, spans[i].slot, spans[i].tokens, spans[i].count);
        if (result != RETNET_OK) return result;
        for (size_t k = 0; k < i; k++)
            if (spans[k].slot == spans[i].slot)
                return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "spans %zu and %zu name slot %u both", k,
                                       i, spans[i].slot);
    }
    return RETNET_OK;
}

/* ln softmax(logits)[token], for the first token of a span, whose logits an earlier run left. */
static float log_prob_of(const float *logits, uint32_t vocabulary, int32_t token)
{
    double largest = logits[0], sum = 0;
    for (uint32_t i = 1; i < vocabulary; i++) largest = logits[i] > largest ? logits[i] : largest;
    for (uint32_t i = 0; i < vocabulary; i++) sum += exp(logits[i] - largest);
    return (float)(logits[token] - largest - log(sum));
}

static void score_first_tokens(const retnet_session *session, const retnet_span *spans, size_t span_count)
{
    for (size_t i = 0; i < span_count; i++) {
        const retnet_span *span = &spans[i];
        const rn_slot *slot = &session->slots[span->slot];
        if (!span->log_probs) continue;
        span->log_probs[0] =
            slot->has_logits ? log_prob_of(slot->logits, session->model->config.vocabulary, span->tokens[0]) : NAN;
    }
}

static retnet_result read_class(retnet_session *session, rn_pass_class class, rn_reading *const *readings, size_t count,
                                bool cancellable)
{
    for (;;) {
        if (cancellable && atomic_load(&session->cancel)) return RETNET_CANCELLED;
        uint32_t rows = class == RN_PASS_STEPS
                            ? session->layout.rows
                            : rn_cost_fitting_rows(session, class, session->device->submit_budget_us * 1000ull);
        if (!rn_pass_build(session, class, readings, count, rows)) return RETNET_OK;
        retnet_result result = rn_slice_run(session, cancellable);
        if (result != RETNET_OK) return result;
    }
}

retnet_result rn_session_read(retnet_session *session, const retnet_span *spans, size_t span_count, bool cancellable)
{
    rn_host *host = session->device->host;
    rn_reading *readings = rn_alloc(host, span_count, sizeof *readings);
    rn_reading **list = rn_alloc(host, span_count, sizeof *list);
    retnet_result result = RETNET_OK;
    if (!readings || !list) result = rn_fail_memory(host, "run", span_count * sizeof *readings);
    for (size_t i = 0; i < span_count && result == RETNET_OK; i++) {
        readings[i] = (rn_reading){spans[i].slot, spans[i].tokens, spans[i].count, 0, &spans[i]};
        list[i] = &readings[i];
    }
    for (int class = 0; class < RN_PASS_READINGS && result == RETNET_OK; class ++)
        result = read_class(session, (rn_pass_class) class, list, span_count, cancellable);
    if (result == RETNET_CANCELLED) rn_pass_forget_spans(session);
    rn_free(host, readings);
    rn_free(host, list);
    return result;
}

retnet_result retnet_session_run(retnet_session *session, const retnet_span *spans, size_t span_count)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_spans(session, spans, span_count);
    if (result != RETNET_OK) return result;
    atomic_store(&session->cancel, false); /* what came while nothing ran */
    result = rn_session_settle(session, true);
    if (result != RETNET_OK) return result;
    score_first_tokens(session, spans, span_count);
    return rn_session_read(session, spans, span_count, true);
}
