#include "base/clock.h"
#include "layers/embedding.h"
#include "session/session.h"

#include <math.h>
#include <string.h>

/* retnet_session_run: spans of tokens are cut into passes of bounded size, and a pass into submits of bounded time.
 * A span of one token goes through the recurrent form, a longer one through chunks that start at multiples of RN_CHUNK
 * of the span, so that what a span computes does not depend on the spans beside it. */

typedef struct part {
    uint32_t span, row, count; /* rows of the pass that hold tokens of the span */
    size_t first;              /* token of the span in the first of these rows */
} part;

typedef struct run {
    retnet_session *session;
    const retnet_span *spans;
    size_t span_count;
    bool cancellable;
    size_t *cursor; /* [span_count] tokens read */
    part *parts;    /* [span_count] of this pass */
    uint32_t part_count;
    uint32_t *wanted; /* [rows] rows whose logits are needed */
    uint32_t wanted_count;
    rn_pass pass;
} run;

/* ---- Checking --------------------------------------------------------------------------------------------------- */

static retnet_result check_span(retnet_session *session, const retnet_span *span, size_t index)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    uint32_t vocabulary = session->model->config.vocabulary;
    if (span->slot >= session->layout.slots)
        return rn_session_fail(session, invalid, "span %zu: slot %u, but the session has %u", index, span->slot,
                               session->layout.slots);
    if (!span->tokens || span->count == 0) return rn_session_fail(session, invalid, "span %zu has no tokens", index);
    for (size_t i = 0; i < span->count; i++)
        if (span->tokens[i] < 0 || (uint32_t)span->tokens[i] >= vocabulary)
            return rn_session_fail(session, invalid, "span %zu: token %zu is %d, but the vocabulary has %u", index, i,
                                   span->tokens[i], vocabulary);
    if (span->count > RN_MAX_POSITION - session->slots[span->slot].position)
        return rn_session_fail(session, RETNET_ERROR_LIMIT, "span %zu would pass position %u", index, RN_MAX_POSITION);
    return RETNET_OK;
}

static retnet_result check_spans(retnet_session *session, const retnet_span *spans, size_t span_count)
{
    if (!spans || span_count == 0 || span_count > session->layout.slots)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "%zu spans for %u slots", span_count,
                               session->layout.slots);
    for (size_t i = 0; i < span_count; i++) {
        retnet_result result = check_span(session, &spans[i], i);
        if (result != RETNET_OK) return result;
        for (size_t k = 0; k < i; k++)
            if (spans[k].slot == spans[i].slot)
                return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "spans %zu and %zu name slot %u both", k,
                                       i, spans[i].slot);
    }
    return RETNET_OK;
}

/* ---- Building a pass -------------------------------------------------------------------------------------------- */

static void *input_at(const retnet_session *session, uint64_t offset)
{
    return (uint8_t *)session->input.mapped + offset;
}

static void add_rows(run *r, uint32_t span_index, uint32_t count)
{
    const retnet_span *span = &r->spans[span_index];
    part *p = &r->parts[r->part_count++];
    *p = (part){span_index, r->pass.rows, count, r->cursor[span_index]};
    memcpy((int32_t *)input_at(r->session, r->session->layout.tokens_at) + p->row, span->tokens + p->first,
           count * sizeof *span->tokens);
    bool all = span->all_logits || span->log_probs;
    for (uint32_t i = 0; i < count; i++)
        if (all || p->first + i + 1 == span->count) r->wanted[r->wanted_count++] = p->row + i;
    r->pass.rows += count;
}

static void add_step(run *r, uint32_t span_index)
{
    const retnet_session *session = r->session;
    const rn_slot *slot = &session->slots[r->spans[span_index].slot];
    rn_step_record *steps = input_at(session, session->layout.steps_at);
    steps[r->pass.steps++] = (rn_step_record){r->pass.rows, slot->state, (uint32_t)slot->position, 0};
    add_rows(r, span_index, 1);
}

static void add_chunks(run *r, uint32_t span_index, uint32_t count)
{
    const retnet_session *session = r->session;
    const rn_slot *slot = &session->slots[r->spans[span_index].slot];
    rn_chunk_record *chunks = input_at(session, session->layout.chunks_at);
    rn_sequence_record *sequences = input_at(session, session->layout.sequences_at);
    rn_sequence_record *sequence = &sequences[r->pass.sequences++];
    *sequence = (rn_sequence_record){r->pass.chunks, 0, slot->state, 0};
    for (uint32_t at = 0; at < count; at += RN_CHUNK) {
        uint32_t length = rn_min_u32(RN_CHUNK, count - at);
        chunks[r->pass.chunks++] = (rn_chunk_record){r->pass.rows + at, length, (uint32_t)slot->position + at, 0};
        sequence->chunks++;
        r->pass.longest = rn_max_u32(r->pass.longest, length);
    }
    add_rows(r, span_index, count);
}

/* Tokens of a span that still fit, a multiple of RN_CHUNK unless they are all that is left. */
static uint32_t fitting_tokens(const run *r, size_t left)
{
    const rn_session_layout *l = &r->session->layout;
    uint32_t rows = l->rows - r->pass.rows, chunks = l->chunks - r->pass.chunks;
    uint64_t most = (uint64_t)chunks * RN_CHUNK;
    if (most > rows) most = rows;
    return left <= most ? (uint32_t)left : (uint32_t)(most / RN_CHUNK * RN_CHUNK);
}

/* Fills the pass from what the spans have left; false when nothing is left. */
static bool build_pass(run *r)
{
    r->pass = (rn_pass){0};
    r->part_count = r->wanted_count = 0;
    for (uint32_t i = 0; i < r->span_count; i++)
        if (r->spans[i].count == 1 && r->cursor[i] == 0 && r->pass.rows < r->session->layout.rows) add_step(r, i);
    for (uint32_t i = 0; i < r->span_count; i++) {
        size_t left = r->spans[i].count - r->cursor[i];
        if (r->spans[i].count == 1 || left == 0) continue;
        uint32_t count = fitting_tokens(r, left);
        if (count == 0) break;
        add_chunks(r, i, count);
    }
    return r->part_count != 0;
}

/* ---- Running a pass --------------------------------------------------------------------------------------------- */

/* Ends and runs the recording, and learns from the time it took what a row in a layer costs. */
static retnet_result run_recording(retnet_session *session, rn_recorder *recorder, const rn_pass *pass, uint32_t layers)
{
    retnet_result result = rn_recorder_end(recorder);
    uint64_t begin = rn_clock_ns();
    if (result == RETNET_OK) result = rn_recorder_run(recorder);
    if (result == RETNET_OK && pass->chunks && layers)
        session->layer_row_ps = (rn_clock_ns() - begin) * 1000 / ((uint64_t)pass->rows * layers) + 1;
    return result;
}

void rn_session_bound_submit(retnet_session *session, rn_recorder *recorder, rn_pass *pass, uint32_t layers)
{
    if (!pass->chunks || layers == session->model->config.layers || recorder->result != RETNET_OK) return;
    uint64_t recorded = layers - pass->layers_before;
    uint64_t next_ns = session->layer_row_ps * pass->rows * (recorded + 1) / 1000;
    bool unknown = session->layer_row_ps == 0;
    if (!unknown && next_ns <= session->device->submit_budget_us * 1000ull) return;
    retnet_result result = run_recording(session, recorder, pass, (uint32_t)recorded);
    pass->layers_before = layers;
    rn_recorder_begin(recorder);
    if (result != RETNET_OK) rn_recorder_fail(recorder, result);
}

static int32_t token_after(const run *r, uint32_t row)
{
    for (uint32_t i = 0; i < r->part_count; i++) {
        const part *p = &r->parts[i];
        const retnet_span *span = &r->spans[p->span];
        if (row < p->row || row >= p->row + p->count) continue;
        size_t next = p->first + (row - p->row) + 1;
        return next < span->count ? span->tokens[next] : -1;
    }
    return -1;
}

static bool any_span(const run *r, bool (*has)(const retnet_span *))
{
    for (size_t i = 0; i < r->span_count; i++)
        if (has(&r->spans[i])) return true;
    return false;
}

static bool has_log_probs(const retnet_span *span)
{
    return span->log_probs != NULL;
}
static bool has_all_logits(const retnet_span *span)
{
    return span->all_logits != NULL;
}

/* Records the head for wanted rows [first, first + count), with their scores and the copy to the host. */
static void record_wanted(run *r, rn_recorder *recorder, uint32_t first, uint32_t count, bool scores, bool readback)
{
    retnet_session *session = r->session;
    const rn_session_layout *l = &session->layout;
    uint32_t vocabulary = session->model->config.vocabulary;
    for (uint32_t i = 0; i < count;) {
        /* Neighbouring rows are one copy. */
        uint32_t row = r->wanted[first + i], n = 1;
        while (i + n < count && r->wanted[first + i + n] == row + n) n++;
        rn_recorder_copy(recorder, &session->activations, l->x.offset + 4ull * row * l->x.stride, &session->activations,
                         l->gathered.offset + 4ull * i * l->gathered.stride, 4ull * n * l->x.stride);
        i += n;
    }
    rn_forward_head(session, recorder, l->gathered, count);
    if (scores) {
        int32_t *targets = input_at(session, l->targets_at);
        for (uint32_t i = 0; i < count; i++) {
            int32_t token = token_after(r, r->wanted[first + i]);
            targets[i] = token < 0 ? 0 : token;
        }
        rn_binding target_binding = {&session->input, l->targets_at, 4ull * l->logit_rows};
        rn_binding logits = {&session->logits, 0, session->logits.size};
        rn_binding out = {&session->log_probs, 0, session->log_probs.size};
        rn_score_record(recorder, logits, vocabulary, vocabulary, count, target_binding, 0, out, 0);
    }
    if (readback && !session->logits.mapped)
        rn_recorder_copy(recorder, &session->logits, 0, &session->readback, 0, 4ull * count * vocabulary);
}

static const float *host_logits(const retnet_session *session)
{
    return session->logits.mapped ? session->logits.mapped : session->readback.mapped;
}

/* Hands the logits and scores of one wanted row to its span and slot. */
static void deliver_row(run *r, uint32_t row, const float *logits, float score)
{
    retnet_session *session = r->session;
    size_t bytes = session->model->config.vocabulary * sizeof *logits;
    for (uint32_t i = 0; i < r->part_count; i++) {
        const part *p = &r->parts[i];
        if (row < p->row || row >= p->row + p->count) continue;
        const retnet_span *span = &r->spans[p->span];
        size_t token = p->first + (row - p->row);
        if (span->all_logits) memcpy(span->all_logits + token * session->model->config.vocabulary, logits, bytes);
        if (span->log_probs && token + 1 < span->count) span->log_probs[token + 1] = score;
        if (token + 1 < span->count) return;
        rn_slot *slot = &session->slots[span->slot];
        memcpy(slot->logits, logits, bytes);
        slot->has_logits = true;
        if (span->last_logits) memcpy(span->last_logits, logits, bytes);
        return;
    }
}

static bool is_last_row(const run *r, uint32_t row)
{
    return token_after(r, row) < 0;
}

static retnet_result run_head(run *r, rn_recorder *recorder)
{
    retnet_session *session = r->session;
    bool scores = any_span(r, has_log_probs), all = any_span(r, has_all_logits);
    retnet_result result = RETNET_OK;
    uint32_t first = 0;
    do {
        uint32_t count = rn_min_u32(r->wanted_count - first, session->layout.logit_rows);
        bool readback = all;
        for (uint32_t i = 0; i < count; i++) readback |= is_last_row(r, r->wanted[first + i]);
        if (count) record_wanted(r, recorder, first, count, scores, readback);
        result = run_recording(session, recorder, &r->pass,
                               first ? 0 : session->model->config.layers - r->pass.layers_before);
        if (result != RETNET_OK) return result;
        const float *logits = host_logits(session), *score = session->log_probs.mapped;
        for (uint32_t i = 0; i < count; i++)
            deliver_row(r, r->wanted[first + i], logits + (size_t)i * session->model->config.vocabulary,
                        scores ? score[i] : 0);
        first += count;
        if (first < r->wanted_count) rn_recorder_begin(recorder);
    } while (first < r->wanted_count);
    return RETNET_OK;
}

static void remember_tokens(rn_slot *slot, const int32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) slot->recent[(slot->position + i) % RN_RECENT_TOKENS] = tokens[i];
    slot->position += count;
    slot->recent_count = rn_min_u32(slot->recent_count + count, RN_RECENT_TOKENS);
}

static void advance(run *r)
{
    for (uint32_t i = 0; i < r->part_count; i++) {
        const part *p = &r->parts[i];
        const retnet_span *span = &r->spans[p->span];
        remember_tokens(&r->session->slots[span->slot], span->tokens + p->first, p->count);
        r->cursor[p->span] += p->count;
    }
}

/* Steps alone, all of whose states are ready: commands that were recorded once. */
static bool can_replay(const run *r)
{
    const retnet_session *session = r->session;
    if (r->pass.chunks || r->pass.steps != r->pass.rows || any_span(r, has_log_probs) || any_span(r, has_all_logits))
        return false;
    for (size_t i = 0; i < r->span_count; i++) {
        uint32_t state = session->slots[r->spans[i].slot].state;
        if (session->zero[state] || session->references[state] > 1) return false;
    }
    return true;
}

static retnet_result record_decode(run *r, rn_recorder *recorder)
{
    retnet_session *session = r->session;
    uint32_t steps = r->pass.steps;
    if (!recorder->device) {
        retnet_result result = rn_recorder_create(session->device, recorder);
        if (result != RETNET_OK) return result;
    }
    rn_recorder_begin(recorder);
    rn_forward_layers(session, recorder, &r->pass);
    rn_forward_head(session, recorder, session->layout.x, steps);
    if (!session->logits.mapped)
        rn_recorder_copy(recorder, &session->logits, 0, &session->readback, 0,
                         4ull * steps * session->model->config.vocabulary);
    return rn_recorder_end(recorder);
}

static retnet_result replay(run *r)
{
    retnet_session *session = r->session;
    uint32_t steps = r->pass.steps;
    if (session->decode_profiled != session->device->profiling) {
        memset(session->decode_recorded, 0, (session->layout.slots + 1) * sizeof *session->decode_recorded);
        session->decode_profiled = session->device->profiling;
    }
    if (!session->decode_recorded[steps]) {
        retnet_result result = record_decode(r, &session->decode[steps]);
        if (result != RETNET_OK) return result;
        session->decode_recorded[steps] = true;
    }
    retnet_result result = rn_recorder_run(&session->decode[steps]);
    if (result != RETNET_OK) return result;
    const float *logits = host_logits(session);
    for (uint32_t i = 0; i < steps; i++) deliver_row(r, i, logits + (size_t)i * session->model->config.vocabulary, 0);
    return RETNET_OK;
}

static retnet_result run_pass(run *r)
{
    retnet_session *session = r->session;
    retnet_result result;
    /* Not before: a slot that a cancelled run did not come to keeps its logits. */
    for (uint32_t i = 0; i < r->part_count; i++) session->slots[r->spans[r->parts[i].span].slot].has_logits = false;
    if (can_replay(r)) {
        result = replay(r);
    } else {
        rn_recorder *recorder = &session->recorder;
        rn_recorder_begin(recorder);
        rn_forward_layers(session, recorder, &r->pass);
        result = run_head(r, recorder);
    }
    if (result == RETNET_OK) advance(r);
    return result;
}

/* States that are shared or not yet on the device are put in order first, and records then name them. */
static retnet_result own_states(run *r)
{
    retnet_session *session = r->session;
    bool needed = false;
    for (size_t i = 0; i < r->span_count; i++) {
        uint32_t state = session->slots[r->spans[i].slot].state;
        needed |= session->zero[state] || session->references[state] > 1;
    }
    if (!needed) return RETNET_OK;
    rn_recorder_begin(&session->recorder);
    for (size_t i = 0; i < r->span_count; i++) rn_session_own_state(session, r->spans[i].slot);
    retnet_result result = rn_recorder_end(&session->recorder);
    return result == RETNET_OK ? rn_recorder_run(&session->recorder) : result;
}

/* ln softmax(logits)[token], for the first token of a span, whose logits an earlier run left. */
static float log_prob_of(const float *logits, uint32_t vocabulary, int32_t token)
{
    double largest = logits[0], sum = 0;
    for (uint32_t i = 1; i < vocabulary; i++) largest = logits[i] > largest ? logits[i] : largest;
    for (uint32_t i = 0; i < vocabulary; i++) sum += exp(logits[i] - largest);
    return (float)(logits[token] - largest - log(sum));
}

static void score_first_tokens(run *r)
{
    const retnet_session *session = r->session;
    for (size_t i = 0; i < r->span_count; i++) {
        const retnet_span *span = &r->spans[i];
        const rn_slot *slot = &session->slots[span->slot];
        if (!span->log_probs) continue;
        span->log_probs[0] =
            slot->has_logits ? log_prob_of(slot->logits, session->model->config.vocabulary, span->tokens[0]) : NAN;
    }
}

static retnet_result run_all(run *r)
{
    retnet_session *session = r->session;
    retnet_result result = own_states(r);
    if (result != RETNET_OK) return result;
    score_first_tokens(r);
    while (result == RETNET_OK && build_pass(r)) {
        if (r->cancellable && atomic_load(&session->cancel)) return RETNET_CANCELLED;
        result = run_pass(r);
    }
    return result;
}

retnet_result rn_session_read(retnet_session *session, const retnet_span *spans, size_t span_count, bool cancellable)
{
    retnet_result result = RETNET_OK;
    rn_host *host = session->device->host;
    run r = {.session = session, .spans = spans, .span_count = span_count, .cancellable = cancellable};
    r.cursor = rn_alloc(host, span_count, sizeof *r.cursor);
    r.parts = rn_alloc(host, span_count, sizeof *r.parts);
    r.wanted = rn_alloc(host, session->layout.rows, sizeof *r.wanted);
    result = r.cursor && r.parts && r.wanted ? run_all(&r) : rn_fail_memory(host, "run", session->layout.rows);
    rn_free(host, r.cursor);
    rn_free(host, r.parts);
    rn_free(host, r.wanted);
    return result;
}

retnet_result retnet_session_run(retnet_session *session, const retnet_span *spans, size_t span_count)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_spans(session, spans, span_count);
    if (result != RETNET_OK) return result;
    atomic_store(&session->cancel, false); /* what came while nothing ran */
    return rn_session_read(session, spans, span_count, true);
}
