#include "layers/matmul.h"
#include "session/session.h"

#include <string.h>

/* A pass: rows of tokens with the records that kernels go by, and what is done with the logits that it leaves.
 * A reading of one token goes through the recurrent form, a longer one through chunks that start at multiples of
 * RN_CHUNK of the reading, so that what it computes does not depend on how it was cut into passes; its last bits do, as
 * kernels go by the number of rows and by where chunks begin in them. */

rn_pass_class rn_reading_class(const retnet_session *session, const rn_reading *reading)
{
    if (reading->count == 1) return RN_PASS_STEPS;
    bool scored = reading->span && (reading->span->all_logits || reading->span->log_probs);
    return scored && rn_matmul_pays(session->device) ? RN_PASS_SCORED : RN_PASS_CHUNKS;
}

/* ---- Building --------------------------------------------------------------------------------------------------- */

static void *input_at(const retnet_session *session, const rn_pass *pass, uint64_t offset)
{
    return (uint8_t *)session->input.mapped + pass->input_at + offset;
}

static void want_rows(rn_pass *pass, const rn_part *part, const rn_reading *reading)
{
    const retnet_span *span = reading->span;
    bool all = span && (span->all_logits || span->log_probs);
    for (uint32_t i = 0; i < part->count; i++) {
        size_t next = part->first + i + 1;
        if (!all && next != reading->count) continue;
        pass->targets[pass->wanted_count] = next < reading->count ? reading->tokens[next] : -1;
        pass->scores |= span && span->log_probs && next < reading->count;
        pass->wanted[pass->wanted_count++] = part->row + i;
    }
    pass->all_logits |= span && span->all_logits;
}

/* The reading's next `count` tokens; the slot's state is already its own. */
static void add_rows(retnet_session *session, rn_pass *pass, rn_reading *reading, rn_part *part, uint32_t count)
{
    rn_slot *slot = &session->slots[reading->slot];
    part->row = pass->rows;
    part->count = count;
    part->first = reading->cursor;
    part->last = reading->cursor + count == reading->count;
    part->span = reading->span;
    memcpy((int32_t *)input_at(session, pass, session->layout.tokens_at) + part->row, reading->tokens + part->first,
           count * sizeof *reading->tokens);
    want_rows(pass, part, reading);
    rn_slot_read_tokens(slot, reading->tokens + part->first, count);
    slot->has_logits = false;
    reading->cursor += count;
    pass->rows += count;
}

static void add_step(retnet_session *session, rn_pass *pass, rn_reading *reading)
{
    rn_part *part = &pass->parts[pass->part_count++];
    rn_session_own_state(session, reading->slot, part);
    const rn_slot *slot = &session->slots[reading->slot];
    rn_step_record *steps = input_at(session, pass, session->layout.steps_at);
    steps[pass->steps++] = (rn_step_record){pass->rows, slot->state, (uint32_t)slot->position, 0};
    add_rows(session, pass, reading, part, 1);
}

static void add_chunks(retnet_session *session, rn_pass *pass, rn_reading *reading, uint32_t count)
{
    rn_part *part = &pass->parts[pass->part_count++];
    rn_session_own_state(session, reading->slot, part);
    const rn_slot *slot = &session->slots[reading->slot];
    rn_chunk_record *chunks = input_at(session, pass, session->layout.chunks_at);
    rn_sequence_record *sequences = input_at(session, pass, session->layout.sequences_at);
    rn_sequence_record *sequence = &sequences[pass->sequences++];
    *sequence = (rn_sequence_record){pass->chunks, 0, slot->state, 0};
    pass->aligned &= pass->rows == pass->chunks * RN_CHUNK;
    for (uint32_t at = 0; at < count; at += RN_CHUNK) {
        uint32_t length = rn_min_u32(RN_CHUNK, count - at);
        chunks[pass->chunks++] =
            (rn_chunk_record){pass->rows + at, length, (uint32_t)slot->position + at, sequence->chunks % 2};
        sequence->chunks++;
        pass->longest = rn_max_u32(pass->longest, length);
    }
    add_rows(session, pass, reading, part, count);
}

/* Tokens of a reading that still fit, a multiple of RN_CHUNK unless they are all that is left. */
static uint32_t fitting_tokens(const retnet_session *session, const rn_pass *pass, size_t left, uint32_t most_rows)
{
    uint32_t rows = most_rows - pass->rows, chunks = session->layout.chunks - pass->chunks;
    uint64_t most = (uint64_t)chunks * RN_CHUNK;
    if (most > rows) most = rows;
    return left <= most ? (uint32_t)left : (uint32_t)(most / RN_CHUNK * RN_CHUNK);
}

static rn_pass *empty_pass(retnet_session *session, rn_pass_class class)
{
    if (session->pass_count == 0) session->first_pass = 0; /* which is the one that recorded commands work on */
    uint32_t index = (session->first_pass + session->pass_count) % RN_MAX_PASSES;
    rn_pass *pass = &session->passes[index];
    *pass = (rn_pass){
        .class = class,
        .aligned = class == RN_PASS_CHUNKS || class == RN_PASS_SCORED,
        .input_at = index * session->layout.input_stride,
        .tokens = {&session->input, index * session->layout.input_stride + session->layout.tokens_at,
                   4ull * session->layout.rows},
        .step_records = {&session->input, index * session->layout.input_stride + session->layout.steps_at,
                         16ull * RN_MAX_RECORDS},
        .parts = pass->parts,
        .wanted = pass->wanted,
        .targets = pass->targets,
    };
    return pass;
}

/* A binding of activations may begin every so many rows: f16 of these is a multiple of what Vulkan lets a device ask of
 * its offset (shaders/halves.glsl), and so are rows of floats. */
enum { WINDOW_STEP = 4 };

rn_window rn_pass_window(const rn_pass *pass)
{
    if (pass->chunks == 0) return (rn_window){0, pass->rows, 0}; /* of steps all are wanted */
    if (pass->wanted_count == 0) return (rn_window){pass->rows, 0, pass->chunks};
    rn_window window = {.first = pass->wanted[0] / WINDOW_STEP * WINDOW_STEP};
    window.rows = pass->wanted[pass->wanted_count - 1] + 1 - window.first;
    for (uint32_t i = 0; i < pass->part_count && pass->parts[i].row < window.first; i++) {
        uint32_t count = pass->parts[i].count, before = window.first - pass->parts[i].row;
        window.first_chunk += before < count ? before / RN_CHUNK : rn_divide_up(count, RN_CHUNK);
    }
    return window;
}

/* Stages of a pass with so many outputs. Where there are none, nobody reads what the last layer's feed-forward network
 * would leave. */
static uint32_t stages_of(const retnet_session *session, uint32_t outputs)
{
    uint32_t layers = rn_forward_layer_stages(session);
    return outputs ? layers + rn_divide_up(outputs, session->layout.logit_rows) : layers - 1;
}

rn_pass *rn_pass_build(retnet_session *session, rn_pass_class class, rn_reading *const *readings, size_t count,
                       uint32_t rows)
{
    if (session->pass_count == RN_MAX_PASSES) return NULL;
    rn_pass *pass = empty_pass(session, class);
    rows = rn_min_u32(rows, session->layout.rows);
    for (size_t i = 0; i < count; i++) {
        rn_reading *reading = readings[i];
        size_t left = reading->count - reading->cursor;
        if (left == 0 || rn_reading_class(session, reading) != class) continue;
        uint32_t fitting = class == RN_PASS_STEPS ? pass->rows < rows : fitting_tokens(session, pass, left, rows);
        if (fitting == 0) break;
        if (class == RN_PASS_STEPS)
            add_step(session, pass, reading);
        else
            add_chunks(session, pass, reading, fitting);
    }
    if (pass->part_count == 0) return NULL;
    pass->stages = stages_of(session, pass->wanted_count);
    session->pass_count++;
    return pass;
}

rn_pass *rn_pass_build_decoding(retnet_session *session, rn_pass_class class, const uint32_t *slots, uint32_t count)
{
    if (session->pass_count == RN_MAX_PASSES) return NULL;
    rn_pass *pass = empty_pass(session, class);
    pass->rows = pass->steps = pass->part_count = count;
    for (uint32_t i = 0; i < count; i++) pass->parts[i] = (rn_part){.slot = slots[i], .row = i, .count = 1};
    pass->stages = class == RN_PASS_TOKEN ? rn_forward_layer_stages(session) + 1 : 1;
    if (class == RN_PASS_TOKEN) rn_decode_bind(session, pass);
    session->pass_count++;
    return pass;
}

bool rn_pass_is_output(const retnet_session *session, const rn_pass *pass, uint32_t stage)
{
    return pass->class == RN_PASS_START || pass->class == RN_PASS_LEAVE || stage >= rn_forward_layer_stages(session);
}

rn_pass *rn_pass_current(retnet_session *session)
{
    if (session->pass_count == 0) return NULL;
    rn_pass *pass = &session->passes[(session->first_pass + session->pass_count - 1) % RN_MAX_PASSES];
    return pass->stage < pass->stages ? pass : NULL;
}

/* ---- Logits ----------------------------------------------------------------------------------------------------- */

uint32_t rn_pass_next_outputs(const retnet_session *session, const rn_pass *pass)
{
    if (pass->class >= RN_PASS_READINGS) return pass->rows;
    return rn_min_u32(pass->wanted_count - pass->outputs_taken, session->layout.logit_rows);
}

bool rn_pass_wants_readback(const rn_pass *pass, uint32_t count)
{
    bool wanted = pass->all_logits;
    for (uint32_t i = 0; i < count; i++) wanted |= pass->targets[pass->outputs_taken + i] < 0;
    return wanted;
}

/* Hands the logits and the score of one row to its span and slot. */
static void take_row(retnet_session *session, const rn_pass *pass, uint32_t row, const float *logits, float score)
{
    size_t vocabulary = session->model->config.vocabulary, bytes = vocabulary * sizeof *logits;
    const rn_part *part = pass->parts;
    while (row >= part->row + part->count) part++;
    const retnet_span *span = part->span;
    size_t token = part->first + (row - part->row);
    bool last = part->last && row + 1 == part->row + part->count;
    if (span && span->all_logits) memcpy(span->all_logits + token * vocabulary, logits, bytes);
    if (span && span->log_probs && !last) span->log_probs[token + 1] = score;
    if (!last) return;
    rn_slot *slot = &session->slots[part->slot];
    memcpy(slot->logits, logits, bytes);
    slot->has_logits = true;
    if (span && span->last_logits) memcpy(span->last_logits, logits, bytes);
}

void rn_pass_take_output(retnet_session *session, rn_pass *pass, uint32_t count)
{
    const uint8_t *mapped = session->logits.mapped;
    const float *logits =
        mapped ? (const float *)(const void *)(mapped + session->layout.outputs_at) : session->readback.mapped;
    const float *scores = session->log_probs.mapped;
    for (uint32_t i = 0; i < count; i++)
        take_row(session, pass, pass->wanted[pass->outputs_taken + i],
                 logits + (size_t)i * session->model->config.vocabulary, scores[i]);
    pass->outputs_taken += count;
}

/* The outputs that only spans were waiting for are left out, and the rest of the pass may be nothing at all. */
static void forget_spans_of(retnet_session *session, rn_pass *pass)
{
    uint32_t kept = pass->outputs_taken;
    for (uint32_t i = 0; i < pass->part_count; i++) pass->parts[i].span = NULL;
    for (uint32_t i = pass->outputs_taken; i < pass->wanted_count; i++) {
        if (pass->targets[i] >= 0) continue;
        pass->wanted[kept] = pass->wanted[i];
        pass->targets[kept++] = -1;
    }
    pass->wanted_count = kept;
    pass->scores = pass->all_logits = false;
    uint32_t left = kept - pass->outputs_taken;
    pass->stages = rn_max_u32(stages_of(session, left), pass->stage + rn_divide_up(left, session->layout.logit_rows));
}

void rn_pass_forget_spans(retnet_session *session)
{
    rn_pass *pass = rn_pass_current(session);
    if (!pass || pass->class >= RN_PASS_READINGS) return;
    forget_spans_of(session, pass);
    if (pass->stage == pass->stages) session->pass_count = 0;
}
