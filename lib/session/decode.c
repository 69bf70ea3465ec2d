#include "session/decode.h"

#include "base/clock.h"
#include "session/session.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* What a submit takes at most where nobody said how many tokens it makes: long beside the time between two submits,
 * short for somebody who reads along. */
enum { SUBMIT_US = 40000, MOST_UNITS = 32, TIMED_RUNS = 4 };

_Static_assert((uint32_t)RN_MAX_SLOTS + RN_MAX_SNAPSHOTS + RN_MAX_SPARES <= RN_STEP_STATES, "a record names any state");

static rn_control *staged(const retnet_session *session)
{
    return session->decoder.staging.mapped;
}

/* ---- Checking --------------------------------------------------------------------------------------------------- */

static const char *wrong_number(const retnet_sampling *s)
{
    if (!(s->temperature >= 0) || isinf(s->temperature)) return "temperature is not a number of at least 0";
    if (!(s->top_p >= 0 && s->top_p <= 1)) return "top_p is not in [0, 1]";
    if (!(s->min_p >= 0 && s->min_p < 1)) return "min_p is not in [0, 1)";
    if (!(s->repetition_penalty >= 0) || isinf(s->repetition_penalty))
        return "repetition_penalty is not a number of at least 0";
    if (s->repetition_window > RN_RECENT_TOKENS) return "repetition_window is over 256";
    if (s->bias_count && !s->biases) return "biases is NULL";
    if (s->banned_count && !s->banned_tokens) return "banned_tokens is NULL";
    return NULL;
}

static const char *wrong_token(const retnet_sampling *s, uint32_t vocabulary)
{
    for (size_t i = 0; i < s->bias_count; i++) {
        if ((uint32_t)s->biases[i].token >= vocabulary) return "a bias is of no token of the vocabulary";
        if (isnan(s->biases[i].bias) || s->biases[i].bias == INFINITY) return "a bias is neither finite nor -infinity";
    }
    for (size_t i = 0; i < s->banned_count; i++)
        if ((uint32_t)s->banned_tokens[i] >= vocabulary) return "a banned token is none of the vocabulary";
    return NULL;
}

retnet_result rn_decode_check(retnet_session *session, const rn_speech *speech)
{
    const char *wrong = wrong_number(speech->sampling);
    if (!wrong) wrong = wrong_token(speech->sampling, session->model->config.vocabulary);
    if (wrong) return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "sampling: %s", wrong);
    if (speech->end_token_count && !speech->end_tokens)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "sampling: end_tokens is NULL");
    if (rn_sampler_merge(speech->sampling, NULL) > RN_MAX_BIASES)
        return rn_session_fail(session, RETNET_ERROR_LIMIT, "sampling: biases and banned tokens name over %u tokens",
                               (unsigned)RN_MAX_BIASES);
    if (speech->end_token_count > RN_MAX_END_TOKENS)
        return rn_session_fail(session, RETNET_ERROR_LIMIT, "sampling: %zu end tokens, at most %u",
                               speech->end_token_count, (unsigned)RN_MAX_END_TOKENS);
    return RETNET_OK;
}

/* ---- Parts ------------------------------------------------------------------------------------------------------ */

void rn_decode_start(retnet_session *session, uint32_t slot_index, const rn_speech *speech)
{
    const rn_slot *slot = &session->slots[slot_index];
    rn_speaker *speaker = &session->decoder.speakers[slot_index];
    rn_sampler *s = &staged(session)->samplers[slot_index];
    speaker->waiting = false;
    s->made = speaker->taken;
    s->waiting = 0;
    s->recent_count = slot->recent_count;
    memcpy(s->recent, slot->recent, sizeof s->recent);
    rn_sampler_set(s, speech->sampling, speech->end_tokens, speech->end_token_count, speech->max_tokens,
                   speech->log_probs);
    uint32_t vocabulary = session->model->config.vocabulary;
    memcpy((float *)session->decoder.kept.mapped + (size_t)slot_index * vocabulary, slot->logits,
           vocabulary * sizeof(float));
}

void rn_decode_set_rows(retnet_session *session, const uint32_t *slots, uint32_t count)
{
    rn_decoder *d = &session->decoder;
    rn_control *control = staged(session);
    for (uint32_t row = 0; row < count; row++) {
        const rn_slot *slot = &session->slots[slots[row]];
        const rn_speaker *speaker = &d->speakers[slots[row]];
        uint32_t other = row < session->layout.spares ? slot->state ^ d->spares[row] : 0;
        uint32_t sampler = slots[row] | other << RN_STEP_OTHER_SHIFT;
        control->steps[row] = (rn_step_record){row, slot->state, (uint32_t)slot->position, sampler};
        control->tokens[row] = speaker->waiting ? (uint32_t)speaker->newest : 0;
        d->row_slots[row] = slots[row];
    }
    d->rows = count;
}

static void copy_staged(retnet_session *session, rn_recorder *recorder, uint64_t offset, uint64_t bytes)
{
    rn_recorder_copy(recorder, &session->decoder.staging, offset, &session->decoder.control, offset, bytes);
}

void rn_decode_record_rows(retnet_session *session, rn_recorder *recorder)
{
    uint32_t rows = session->decoder.rows;
    copy_staged(session, recorder, offsetof(rn_control, steps), rows * sizeof(rn_step_record));
    copy_staged(session, recorder, offsetof(rn_control, tokens), rows * sizeof(uint32_t));
}

static rn_binding speech_logits(const retnet_session *session)
{
    return (rn_binding){&session->logits, 0, session->layout.outputs_at};
}

/* Behind the results the host reads whether a chain of the last submit failed. */
static uint64_t flag_at(const rn_decoder *decoder)
{
    return decoder->results.size - RN_FLAG_BYTES;
}

static rn_binding never(const retnet_session *session)
{
    return (rn_binding){&session->decoder.control, offsetof(rn_control, never), sizeof(((rn_control *)0)->never)};
}

static void record_sampling(retnet_session *session, rn_recorder *recorder, uint32_t rows, rn_binding failed,
                            bool moves)
{
    rn_decoder *d = &session->decoder;
    rn_sampling sampling = {
        .logits = speech_logits(session),
        .control = {&d->control, 0, d->control.size},
        .results = {&d->results, 0, flag_at(d)},
        .kept = {&d->kept, 0, d->kept.size},
        .failed = failed,
        .vocabulary = session->model->config.vocabulary,
        .rows = rows,
        .moves = moves,
    };
    rn_sampling_record(recorder, &sampling);
}

void rn_decode_record_start(retnet_session *session, rn_recorder *recorder)
{
    rn_decoder *d = &session->decoder;
    uint64_t logits_bytes = 4ull * session->model->config.vocabulary;
    rn_decode_record_rows(session, recorder);
    rn_binding zero = never(session);
    rn_recorder_fill_zero(recorder, zero.buffer, zero.offset, zero.size);
    for (uint32_t row = 0; row < d->rows; row++) {
        uint64_t slot = d->row_slots[row];
        copy_staged(session, recorder, offsetof(rn_control, samplers) + slot * sizeof(rn_sampler),
                    offsetof(rn_sampler, saved));
        rn_recorder_copy(recorder, &d->kept, slot * logits_bytes, &session->logits, row * logits_bytes, logits_bytes);
    }
    record_sampling(session, recorder, d->rows, never(session), false);
}

void rn_decode_bind(const retnet_session *session, rn_pass *pass)
{
    const rn_decoder *d = &session->decoder;
    pass->tokens = (rn_binding){&d->control, offsetof(rn_control, tokens), sizeof(uint32_t) * RN_MAX_RECORDS};
    pass->step_records =
        (rn_binding){&d->control, offsetof(rn_control, steps), sizeof(rn_step_record) * RN_MAX_RECORDS};
}

void rn_decode_record_output(retnet_session *session, rn_recorder *recorder, const rn_pass *pass)
{
    rn_forward_head(session, recorder, session->layout.x, pass->rows, rn_forward_suits_matrices(session, pass),
                    speech_logits(session));
    record_sampling(session, recorder, pass->rows, never(session), pass->moves);
}

bool rn_decode_record_token(retnet_session *session, rn_recorder *recorder, uint32_t rows, rn_attempt attempt,
                            bool moves)
{
    rn_pass pass = {.class = RN_PASS_TOKEN, .rows = rows, .steps = rows, .moves = moves};
    rn_decode_bind(session, &pass);
    if (rn_forward_chain(session, recorder, &pass, attempt, speech_logits(session))) {
        record_sampling(session, recorder, rows, rn_forward_chain_flag(session), moves);
        rn_forward_clear_chain(session, recorder);
        return true;
    }
    for (uint32_t i = 0; i < rn_forward_layer_stages(session); i++) rn_forward_stage(session, recorder, &pass, i);
    rn_decode_record_output(session, recorder, &pass);
    return false;
}

static const rn_result *next_result(const retnet_session *session, uint32_t slot)
{
    uint32_t number = session->decoder.speakers[slot].taken + 1;
    const rn_result *ring = session->decoder.results.mapped;
    const rn_result *result = &ring[(size_t)slot * RN_RESULT_RING + number % RN_RESULT_RING];
    return result->number == number ? result : NULL;
}

retnet_result rn_decode_take(retnet_session *session, uint32_t slot, rn_spoken *spoken, bool *taken)
{
    rn_speaker *speaker = &session->decoder.speakers[slot];
    const rn_result *result = next_result(session, slot);
    *taken = result != NULL;
    if (!result) return RETNET_OK;
    if (speaker->waiting) rn_slot_read_tokens(&session->slots[slot], &speaker->newest, 1);
    speaker->taken++;
    speaker->waiting = result->token != RN_NO_TOKEN;
    *taken = speaker->waiting;
    if (!speaker->waiting)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT,
                               "generate: slot %u has no token to choose from: all are banned, or their logits are NaN",
                               slot);
    speaker->newest = (int32_t)result->token;
    *spoken = (rn_spoken){speaker->newest, result->log_prob};
    return RETNET_OK;
}

uint32_t rn_decode_drop(retnet_session *session, uint32_t slot)
{
    uint32_t dropped = 0;
    while (next_result(session, slot)) {
        session->decoder.speakers[slot].taken++;
        dropped++;
    }
    return dropped;
}

void rn_decode_record_logits(retnet_session *session, rn_recorder *recorder, uint32_t row)
{
    const rn_decoder *d = &session->decoder;
    uint64_t bytes = 4ull * session->model->config.vocabulary;
    rn_recorder_copy(recorder, &session->logits, row * bytes, &d->kept, d->row_slots[row] * bytes, bytes);
}

void rn_decode_record_all_logits(retnet_session *session, rn_recorder *recorder, const rn_pass *pass)
{
    for (uint32_t i = 0; i < pass->rows; i++) rn_decode_record_logits(session, recorder, i);
}

void rn_decode_fetch_logits(retnet_session *session, uint32_t slot)
{
    uint32_t vocabulary = session->model->config.vocabulary;
    memcpy(session->slots[slot].logits, (const float *)session->decoder.kept.mapped + (size_t)slot * vocabulary,
           vocabulary * sizeof(float));
    session->slots[slot].has_logits = true;
}

/* ---- Submits ---------------------------------------------------------------------------------------------------- */

/* The tokens that the pass reads are as good as read, and the logits after them are wanted when it is done. */
static void leave_orphan(retnet_session *session, rn_pass *pass)
{
    rn_decoder *d = &session->decoder;
    for (uint32_t i = 0; i < pass->rows; i++) {
        rn_speaker *speaker = &d->speakers[d->row_slots[i]];
        rn_slot_read_tokens(&session->slots[d->row_slots[i]], &speaker->newest, speaker->waiting);
        speaker->waiting = false;
    }
    pass->orphaned = true;
    pass->stages++;
}

void rn_decode_take_orphan(retnet_session *session, const rn_pass *pass)
{
    for (uint32_t i = 0; i < pass->rows; i++) {
        rn_decode_drop(session, pass->parts[i].slot);
        rn_decode_fetch_logits(session, pass->parts[i].slot);
    }
}

/* Nothing that was recorded is submitted any more. */
static void forget_recordings(retnet_session *session)
{
    rn_decoder *d = &session->decoder;
    for (uint32_t i = 0; i <= session->layout.slots; i++) {
        rn_decode_program *program = d->programs[i];
        if (program) program->single.units = program->several.units = program->rest.units = 0;
    }
}

static rn_decode_program *find_program(retnet_session *session, uint32_t rows)
{
    rn_decoder *d = &session->decoder;
    if (d->profiled != session->device->profiling) forget_recordings(session);
    d->profiled = session->device->profiling;
    if (!d->programs[rows]) {
        d->programs[rows] = rn_alloc(session->device->host, 1, sizeof *d->programs[rows]);
        if (d->programs[rows]) d->programs[rows]->units = session->layout.tokens_per_submit;
    }
    return d->programs[rows];
}

static rn_decode_recording *find_recording(rn_decode_program *program, uint32_t units)
{
    return units == 1 ? &program->single : units == program->units ? &program->several : &program->rest;
}

/* Whether the first of so many tokens moves the rows' states to the spares, so that what they were before is still
 * there. A single token is never made in vain. */
static bool moves_states(const retnet_session *session, uint32_t rows, uint32_t units)
{
    return units > 1 && rows <= session->layout.spares;
}

static retnet_result record_units(retnet_session *session, rn_decode_recording *recording, uint32_t rows,
                                  uint32_t units)
{
    rn_recorder *recorder = &recording->recorder;
    if (recording->units == units) return RETNET_OK;
    recording->units = 0;
    retnet_result result = recorder->device ? RETNET_OK : rn_recorder_create(session->device, recorder);
    if (result != RETNET_OK) return result;
    rn_recorder_begin(recorder);
    bool chained = false;
    for (uint32_t i = 0; i < units; i++)
        chained = rn_decode_record_token(session, recorder, rows, i == 0 ? RN_ATTEMPT_FIRST : RN_ATTEMPT_NEXT,
                                         i == 0 && moves_states(session, rows, units));
    rn_binding flag = rn_forward_chain_flag(session);
    if (chained)
        rn_recorder_copy(recorder, flag.buffer, flag.offset, &session->decoder.results, flag_at(&session->decoder),
                         sizeof(uint32_t));
    result = rn_recorder_end(recorder);
    if (result == RETNET_OK) recording->units = units;
    return result;
}

/* What is left is recorded beside the submit before it. If it cannot be, its tokens are made one by one. Gives whether
 * it has to be recorded. */
static bool record_rest(retnet_session *session, rn_decode_program *program, uint32_t left)
{
    if (left < 2 || left >= program->units || left == program->rest.units || session->device->profiling) return false;
    (void)record_units(session, &program->rest, session->decoder.rows, left);
    return true;
}

/* First from the least time that one token took in a submit of its own. That may have been while clocks were low, so
 * what submits take is looked at ever after, and a number that is wide of the mark is chosen anew. */
static void choose_units(const retnet_session *session, rn_decode_program *program, uint64_t ns, uint32_t made)
{
    uint64_t most_ns = 1000ull * rn_min_u32(session->device->submit_budget_us, SUBMIT_US), token_ns = ns / made;
    if (session->layout.tokens_per_submit || session->device->profiling) return;
    if (made == 1 && program->units > 1) return; /* what is left of a text */
    bool first = program->units == 0;
    if (first) {
        if (program->runs == 0 || token_ns < program->quickest_ns) program->quickest_ns = token_ns;
        if (++program->runs < TIMED_RUNS) return;
        token_ns = program->quickest_ns;
    }
    uint32_t units = (uint32_t)rn_min_u64(most_ns / (token_ns + 1), MOST_UNITS);
    if (first || units > program->units + program->units / 4 || units < program->units / 2)
        program->units = rn_max_u32(units, 1);
}

uint32_t rn_decode_units(retnet_session *session, uint32_t most, bool ends)
{
    const rn_decode_program *program = find_program(session, session->decoder.rows);
    /* Timestamps of many tokens would not fit a recording. */
    if (!program || program->units == 0 || session->device->profiling) return 1;
    if (most >= program->units) return program->units;
    return ends && most == program->rest.units ? most : 1;
}

/* What takes longer than a submit may is recorded anew, in slices that retnet_session_cancel can come between, and so
 * is what nothing is known of. */
static bool needs_slices(const retnet_session *session, uint32_t rows)
{
    uint64_t ns = rn_cost_pass_ns(session, RN_PASS_TOKEN, rows, rows);
    return ns == 0 || ns > session->device->submit_budget_us * 1000ull;
}

static retnet_result run_slices(retnet_session *session)
{
    rn_pass *pass = rn_pass_build_decoding(session, RN_PASS_TOKEN, session->decoder.row_slots, session->decoder.rows);
    retnet_result result = rn_slice_run(session, true);
    if (result == RETNET_CANCELLED) leave_orphan(session, pass);
    return result;
}

static bool take_failure(retnet_session *session)
{
    rn_decoder *d = &session->decoder;
    uint32_t *flag = (uint32_t *)(void *)((uint8_t *)d->results.mapped + flag_at(d));
    if (*flag == 0) return false;
    *flag = 0;
    if (atomic_exchange(&session->device->soft_order, false))
        rn_log(session->device->host, RETNET_LOG_WARNING,
               "%s did not keep the order of dispatches: barriers stand between them from now on",
               session->device->name);
    return true;
}

static uint32_t count_results(const retnet_session *session, uint32_t slot)
{
    const rn_result *ring = (const rn_result *)session->decoder.results.mapped + (size_t)slot * RN_RESULT_RING;
    uint32_t count = 0, number = session->decoder.speakers[slot].taken + 1;
    while (ring[(number + count) % RN_RESULT_RING].number == number + count) count++;
    return count;
}

/* After a chain that failed: makes that token between barriers, and those of `units` that were to follow. All that was
 * recorded with other ideas is recorded anew. Where the row came to rest before, nothing of this is kept. */
static retnet_result run_again(retnet_session *session, uint32_t units)
{
    rn_decoder *d = &session->decoder;
    forget_recordings(session);
    uint32_t made = count_results(session, d->row_slots[0]);
    rn_recorder_begin(&d->copies);
    for (uint32_t i = made; i < units; i++)
        rn_decode_record_token(session, &d->copies, d->rows, i == made ? RN_ATTEMPT_AGAIN : RN_ATTEMPT_NEXT,
                               i == 0 && moves_states(session, d->rows, units));
    retnet_result result = rn_recorder_end(&d->copies);
    return result == RETNET_OK ? rn_recorder_run(&d->copies) : result;
}

void rn_decode_exchange(retnet_session *session, uint32_t row)
{
    rn_decoder *d = &session->decoder;
    rn_slot *slot = &session->slots[d->row_slots[row]];
    uint32_t state = slot->state;
    slot->state = d->spares[row];
    d->spares[row] = state;
}

/* Waits for a recording that was submitted. States that it moved are the slots' then; if it failed, those of before are
 * still there, and what it made is forgotten. */
static retnet_result finish_program(retnet_session *session, rn_recorder *recorder, uint32_t units)
{
    const rn_decoder *d = &session->decoder;
    retnet_result result = rn_recorder_wait(recorder);
    if (result == RETNET_OK && take_failure(session)) result = run_again(session, units);
    if (!moves_states(session, d->rows, units)) return result;
    for (uint32_t row = 0; row < d->rows; row++) {
        if (result == RETNET_OK)
            rn_decode_exchange(session, row);
        else
            rn_decode_drop(session, d->row_slots[row]);
    }
    return result;
}

static retnet_result run_program(retnet_session *session, uint32_t units, uint32_t left)
{
    uint32_t rows = session->decoder.rows;
    rn_decode_program *program = find_program(session, rows);
    if (!program) return rn_fail_memory(session->device->host, "decoding", sizeof *program);
    rn_decode_recording *recording = find_recording(program, units);
    retnet_result result = record_units(session, recording, rows, units);
    uint64_t begin = rn_clock_ns();
    if (result == RETNET_OK) result = rn_recorder_submit(&recording->recorder);
    if (result != RETNET_OK) return result;
    bool timed = !record_rest(session, program, left); /* which may take longer than the submit */
    result = finish_program(session, &recording->recorder, units);
    if (result == RETNET_OK && timed) choose_units(session, program, rn_clock_ns() - begin, units);
    return result;
}

retnet_result rn_decode_run(retnet_session *session, uint32_t units, uint32_t left)
{
    bool slices = units == 1 && needs_slices(session, session->decoder.rows);
    return slices ? run_slices(session) : run_program(session, units, left);
}

/* ---- Session ---------------------------------------------------------------------------------------------------- */

retnet_result rn_decoder_create(retnet_session *session)
{
    rn_device *device = session->device;
    rn_decoder *d = &session->decoder;
    const rn_session_layout *l = &session->layout;
    for (uint32_t i = 0; i < l->spares; i++) d->spares[i] = l->holders + i;
    d->speakers = rn_alloc(device->host, l->slots, sizeof *d->speakers);
    d->row_slots = rn_alloc(device->host, l->slots, sizeof *d->row_slots);
    d->programs = rn_alloc(device->host, l->slots + 1, sizeof *d->programs);
    if (!d->speakers || !d->row_slots || !d->programs)
        return rn_fail_memory(device->host, "decoding", l->slots * sizeof *d->speakers);
    retnet_result result = rn_buffer_create(device, l->control_bytes, RN_MEMORY_DEVICE, "samplers", &d->control);
    if (result == RETNET_OK)
        result = rn_buffer_create(device, l->control_bytes, RN_MEMORY_UPLOAD, "samplers' staging", &d->staging);
    if (result == RETNET_OK)
        result = rn_buffer_create(device, l->results_bytes, RN_MEMORY_READBACK, "tokens made", &d->results);
    if (result == RETNET_OK)
        result = rn_buffer_create(device, l->kept_bytes, RN_MEMORY_READBACK, "last logits", &d->kept);
    if (result == RETNET_OK) result = rn_recorder_create(device, &d->copies);
    if (result != RETNET_OK) return result;
    memset(d->staging.mapped, 0, d->staging.size);
    memset(d->results.mapped, 0, d->results.size); /* number 0 is of no token */
    return RETNET_OK;
}

void rn_decoder_destroy(retnet_session *session)
{
    rn_device *device = session->device;
    rn_decoder *d = &session->decoder;
    for (uint32_t i = 0; d->programs && i <= session->layout.slots; i++) {
        if (!d->programs[i]) continue;
        rn_recorder_destroy(&d->programs[i]->single.recorder);
        rn_recorder_destroy(&d->programs[i]->several.recorder);
        rn_recorder_destroy(&d->programs[i]->rest.recorder);
        rn_free(device->host, d->programs[i]);
    }
    rn_recorder_destroy(&d->copies);
    rn_buffer *buffers[] = {&d->control, &d->staging, &d->results, &d->kept};
    for (size_t i = 0; i < RN_COUNT(buffers); i++) rn_buffer_destroy(device, buffers[i]);
    rn_free(device->host, d->programs);
    rn_free(device->host, d->row_slots);
    rn_free(device->host, d->speakers);
}
