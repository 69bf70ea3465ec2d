#include "base/clock.h"
#include "layers/embedding.h"
#include "session/session.h"

#include <string.h>

/* Slices: stages of passes, recorded while they fit into a budget, submitted by the library or by the host, and taken
 * in when the device has done them. Slices and passes are taken in in the order in which they were recorded. */

/* How long the first of several slices of rn_slice_run may take. */
enum { FIRST_NS = 2000000 };

/* ---- Recording -------------------------------------------------------------------------------------------------- */

static bool has_timestamps(const retnet_session *session)
{
    return session->device->caps.timestamp_period > 0;
}

static retnet_result create_commands(retnet_session *session, rn_commands *commands)
{
    rn_device *device = session->device;
    retnet_result result = rn_recorder_create(device, &commands->recorder);
    if (result != RETNET_OK || !has_timestamps(session)) return result;
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = RN_MAX_SEGMENTS + 1,
    };
    VkResult created = device->vk.vkCreateQueryPool(device->handle, &info, device->allocator, &commands->queries);
    if (created == VK_SUCCESS) return RETNET_OK;
    commands->queries = VK_NULL_HANDLE;
    rn_recorder_destroy(&commands->recorder);
    return rn_device_fail(device, created, "vkCreateQueryPool");
}

void rn_commands_destroy(retnet_session *session, rn_commands *commands)
{
    rn_device *device = session->device;
    rn_recorder_destroy(&commands->recorder);
    if (commands->queries) device->vk.vkDestroyQueryPool(device->handle, commands->queries, device->allocator);
    memset(commands, 0, sizeof *commands);
}

static void timestamp(const retnet_session *session, const rn_commands *commands)
{
    if (commands->queries && commands->recorder.result == RETNET_OK)
        session->device->vk.vkCmdWriteTimestamp(commands->recorder.commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                                commands->queries, commands->segment_count);
}

static retnet_result begin_commands(retnet_session *session, rn_commands *commands, VkCommandBuffer host)
{
    rn_recorder *recorder = &commands->recorder;
    retnet_result result = recorder->device ? RETNET_OK : create_commands(session, commands);
    if (result != RETNET_OK) return result;
    commands->segment_count = 0;
    if (host) {
        rn_recorder_reset(recorder);
        rn_recorder_begin_in(recorder, host);
    } else {
        rn_recorder_begin(recorder);
    }
    if (recorder->result != RETNET_OK) return recorder->result;
    if (commands->queries)
        session->device->vk.vkCmdResetQueryPool(recorder->commands, commands->queries, 0, RN_MAX_SEGMENTS + 1);
    timestamp(session, commands);
    return RETNET_OK;
}

static retnet_result end_commands(retnet_session *session, rn_commands *commands)
{
    if (!commands->recorder.device) return commands->recorder.result; /* there was no memory for one */
    timestamp(session, commands);
    return rn_recorder_end(&commands->recorder);
}

static bool is_pure(const rn_pass *pass)
{
    for (uint32_t i = 0; i < pass->part_count; i++)
        if (pass->parts[i].fill || pass->parts[i].copy) return false;
    return true;
}

/* The segment that the pass's next stage belongs to; NULL if there is no room for another. */
static rn_segment *open_segment(const retnet_session *session, rn_commands *commands, const rn_pass *pass,
                                uint32_t stage)
{
    bool output = rn_pass_is_output(session, pass, stage);
    rn_extent extent = rn_cost_extent(session, pass, stage);
    rn_segment *last = commands->segment_count ? &commands->segments[commands->segment_count - 1] : NULL;
    if (last && !output && !last->output && last->class == pass->class && rn_extent_equal(last->extent, extent))
        return last;
    if (commands->segment_count == RN_MAX_SEGMENTS) return NULL;
    if (last) timestamp(session, commands);
    rn_segment *segment = &commands->segments[commands->segment_count++];
    *segment = (rn_segment){.class = pass->class, .output = output, .pure = true, .extent = extent};
    return segment;
}

/* Brings the wanted rows together; neighbouring ones are one copy. */
static void gather(const retnet_session *session, rn_recorder *recorder, const rn_pass *pass, uint32_t count)
{
    const rn_session_layout *l = &session->layout;
    const uint32_t *wanted = pass->wanted + pass->outputs_taken;
    for (uint32_t i = 0; i < count;) {
        uint32_t n = 1;
        while (i + n < count && wanted[i + n] == wanted[i] + n) n++;
        rn_recorder_copy(recorder, &session->activations, l->x.offset + 4ull * wanted[i] * l->x.stride,
                         &session->activations, l->gathered.offset + 4ull * i * l->gathered.stride,
                         4ull * n * l->x.stride);
        i += n;
    }
}

static rn_binding outputs_binding(const retnet_session *session)
{
    uint64_t at = session->layout.outputs_at;
    return (rn_binding){&session->logits, at, session->logits.size - at};
}

static void record_scores(const retnet_session *session, rn_recorder *recorder, const rn_pass *pass, uint32_t count)
{
    const rn_session_layout *l = &session->layout;
    uint32_t vocabulary = session->model->config.vocabulary;
    int32_t *targets = (int32_t *)(void *)((uint8_t *)session->input.mapped + pass->input_at + l->targets_at);
    for (uint32_t i = 0; i < count; i++) {
        int32_t token = pass->targets[pass->outputs_taken + i];
        targets[i] = token < 0 ? 0 : token;
    }
    rn_binding target_binding = {&session->input, pass->input_at + l->targets_at, 4ull * l->logit_rows};
    rn_binding logits = outputs_binding(session);
    rn_binding out = {&session->log_probs, 0, session->log_probs.size};
    rn_score_record(recorder, logits, vocabulary, vocabulary, count, target_binding, 0, out, 0);
}

static void record_output(retnet_session *session, rn_recorder *recorder, const rn_pass *pass, uint32_t count)
{
    const rn_session_layout *l = &session->layout;
    bool steps = pass->class == RN_PASS_STEPS; /* every row is wanted, in order */
    bool matrix = rn_forward_output_suits_matrices(session, pass, count);
    if (!steps) gather(session, recorder, pass, count);
    rn_forward_head(session, recorder, steps ? l->x : l->gathered, count, matrix, outputs_binding(session));
    if (pass->scores) record_scores(session, recorder, pass, count);
    if (rn_pass_wants_readback(pass, count) && !session->logits.mapped)
        rn_recorder_copy(recorder, &session->logits, l->outputs_at, &session->readback, 0,
                         4ull * count * session->model->config.vocabulary);
}

static void record_other(retnet_session *session, rn_recorder *recorder, const rn_pass *pass)
{
    switch (pass->class) {
    case RN_PASS_START:
        for (uint32_t i = 0; i < pass->part_count; i++)
            for (uint32_t k = 0; k < session->model->config.layers; k++)
                rn_session_prepare_state(session, recorder, &pass->parts[i], k);
        rn_decode_record_start(session, recorder);
        break;
    case RN_PASS_TOKEN: rn_decode_record_output(session, recorder, pass); break;
    case RN_PASS_LEAVE:
        for (uint32_t i = 0; i < pass->part_count; i++) rn_decode_record_logits(session, recorder, pass->parts[i].row);
        break;
    default: record_output(session, recorder, pass, rn_pass_next_outputs(session, pass));
    }
}

/* Records a stage; false if the commands cannot hold any more. */
static bool record_stage(retnet_session *session, rn_commands *commands, const rn_pass *pass, uint32_t stage)
{
    bool output = rn_pass_is_output(session, pass, stage);
    rn_segment *segment = open_segment(session, commands, pass, stage);
    if (!segment) return false;
    segment->weight += rn_cost_stage_weight(session, pass, stage);
    segment->pure &= (output && pass->class != RN_PASS_START) || is_pure(pass);
    if (pass->arranges && stage == 0) rn_decode_record_rows(session, &commands->recorder);
    if (pass->class == RN_PASS_TOKEN && stage > rn_forward_layer_stages(session))
        rn_decode_record_all_logits(session, &commands->recorder, pass);
    else if (output)
        record_other(session, &commands->recorder, pass);
    else
        rn_forward_stage(session, &commands->recorder, pass, stage);
    return true;
}

/* ---- Slices ----------------------------------------------------------------------------------------------------- */

static rn_slice *push_slice(retnet_session *session)
{
    if (session->slice_count == RN_MAX_SLICES) return NULL;
    if (session->slice_count == 0) session->first_slice = 0;
    rn_slice *slice = &session->slices[(session->first_slice + session->slice_count++) % RN_MAX_SLICES];
    slice->number = ++session->newest_slice;
    slice->foreign = false;
    slice->stages = 0;
    slice->expected_ns = 0;
    slice->output_pass = NULL;
    slice->output_count = 0;
    slice->commands = &slice->own;
    return slice;
}

/* The slice holds the stages of the pass up to this one, exclusively. */
static void note_stages(retnet_session *session, rn_slice *slice, rn_pass *pass, uint32_t end)
{
    slice->stages += end - pass->stage;
    pass->stage = end;
    if (pass->class < RN_PASS_READINGS && end > rn_forward_layer_stages(session)) {
        slice->output_pass = pass;
        slice->output_count = rn_pass_next_outputs(session, pass);
        session->output_busy = true;
    }
    if (end == pass->stages) pass->last_slice = slice->number;
}

/* An output waits until the host has what an earlier one left. */
static bool must_wait(const retnet_session *session, const rn_pass *pass)
{
    return session->output_busy && pass->class < RN_PASS_READINGS && rn_pass_is_output(session, pass, pass->stage);
}

bool rn_slice_can_begin(retnet_session *session)
{
    const rn_pass *pass = rn_pass_current(session);
    return pass && session->slice_count < RN_MAX_SLICES && !must_wait(session, pass);
}

rn_slice *rn_slice_begin(retnet_session *session, VkCommandBuffer host)
{
    rn_slice *slice = push_slice(session);
    if (!slice) return NULL;
    slice->foreign = host != VK_NULL_HANDLE;
    retnet_result result = begin_commands(session, slice->commands, host);
    if (result != RETNET_OK) rn_recorder_fail(&slice->commands->recorder, result);
    return slice;
}

bool rn_slice_fill(retnet_session *session, rn_slice *slice, uint64_t budget_ns)
{
    for (rn_pass *pass; (pass = rn_pass_current(session));) {
        if (slice->commands->recorder.result != RETNET_OK) return false;
        if (must_wait(session, pass)) return false;
        uint64_t ns = rn_cost_stage_ns(session, pass, pass->stage);
        if (slice->stages && (ns == 0 || slice->expected_ns + ns > budget_ns)) return false;
        if (!record_stage(session, slice->commands, pass, pass->stage)) return false;
        if (slice->commands->recorder.result != RETNET_OK) return false; /* the stage is not in it */
        note_stages(session, slice, pass, pass->stage + 1);
        slice->expected_ns += ns;
        if (ns == 0) return false; /* alone, as it may take any time */
    }
    return true;
}

static retnet_result submit(retnet_session *session, rn_slice *slice)
{
    const rn_chain chain = {
        .wait = session->awaited,
        .wait_value = session->awaited_value,
        .signal = session->timeline,
        .signal_value = slice->number,
    };
    slice->begin_ns = rn_clock_ns();
    retnet_result result = rn_recorder_submit_chained(&slice->commands->recorder, &chain);
    if (result != RETNET_OK) return result;
    session->awaited = VK_NULL_HANDLE;
    session->newest_submitted = slice->number;
    return RETNET_OK;
}

/* Where the host sees that a slice of its own was executed. */
static uint64_t mark_at(const retnet_session *session, const rn_slice *slice)
{
    return session->layout.marks_at + 4ull * (uint64_t)(slice - session->slices);
}

retnet_result rn_slice_end(retnet_session *session, rn_slice *slice)
{
    if (slice->foreign && slice->commands->recorder.device) {
        uint64_t at = mark_at(session, slice);
        rn_recorder_write(&slice->commands->recorder, &session->log_probs, at, (uint32_t)slice->number);
        rn_recorder_release(&slice->commands->recorder);
    }
    retnet_result result = end_commands(session, slice->commands);
    if (result == RETNET_OK && !slice->foreign) result = submit(session, slice);
    if (result != RETNET_OK) rn_session_abandon(session);
    return result;
}

/* ---- Tokens that are recorded once ------------------------------------------------------------------------------ */

static retnet_result record_decode(retnet_session *session, rn_pass *pass, rn_commands *commands)
{
    retnet_result result = begin_commands(session, commands, VK_NULL_HANDLE);
    if (result != RETNET_OK) return result;
    for (uint32_t i = 0; i < pass->stages; i++) record_stage(session, commands, pass, i);
    return end_commands(session, commands);
}

static retnet_result ready_decode(retnet_session *session, rn_pass *pass)
{
    if (session->decode_profiled != session->device->profiling) {
        memset(session->decode_recorded, 0, (session->layout.slots + 1) * sizeof *session->decode_recorded);
        session->decode_profiled = session->device->profiling;
    }
    if (session->decode_recorded[pass->steps]) return RETNET_OK;
    retnet_result result = record_decode(session, pass, &session->decode[pass->steps]);
    session->decode_recorded[pass->steps] = result == RETNET_OK;
    return result;
}

static bool can_replay(const retnet_session *session, const rn_pass *pass)
{
    return pass && pass->class == RN_PASS_STEPS && pass->stage == 0 && pass->input_at == 0 && is_pure(pass) &&
           !session->output_busy && session->slice_count < RN_MAX_SLICES;
}

bool rn_slice_replay(retnet_session *session, uint64_t budget_ns, uint64_t *expected_ns, retnet_result *result)
{
    rn_pass *pass = rn_pass_current(session);
    *result = RETNET_OK;
    if (!can_replay(session, pass)) return false;
    uint64_t ns = rn_cost_pass_ns(session, pass->class, pass->rows, pass->wanted_count);
    if (ns == 0 || ns > budget_ns) return false;
    *result = ready_decode(session, pass);
    if (*result == RETNET_OK) {
        rn_slice *slice = push_slice(session);
        slice->commands = &session->decode[pass->steps];
        slice->expected_ns = *expected_ns = ns;
        note_stages(session, slice, pass, pass->stages);
        *result = submit(session, slice);
    }
    if (*result != RETNET_OK) rn_session_abandon(session);
    return true;
}

/* ---- Taking in -------------------------------------------------------------------------------------------------- */

static retnet_result learn_from_timestamps(retnet_session *session, const rn_slice *slice)
{
    rn_device *device = session->device;
    const rn_commands *commands = slice->commands;
    uint64_t ticks[RN_MAX_SEGMENTS + 1];
    uint32_t count = commands->segment_count;
    VkResult result = device->vk.vkGetQueryPoolResults(device->handle, commands->queries, 0, count + 1, sizeof ticks,
                                                       ticks, sizeof *ticks, VK_QUERY_RESULT_64_BIT);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, "reading timestamps");
    uint64_t ns[RN_MAX_SEGMENTS];
    for (uint32_t i = 0; i < count; i++) {
        ns[i] = (uint64_t)((double)(ticks[i + 1] - ticks[i]) * device->caps.timestamp_period);
        session->device_ns += ns[i];
    }
    rn_cost_learn(session, commands->segments, ns, count);
    return RETNET_OK;
}

/* Where there are no timestamps: what passed until the wait was over. */
static void learn_from_clock(retnet_session *session, const rn_slice *slice, bool waited)
{
    uint64_t ns = rn_clock_ns() - slice->begin_ns;
    if (slice->foreign || !waited) return;
    if (slice->commands->segment_count == 1) rn_cost_learn(session, slice->commands->segments, &ns, 1);
    session->device_ns += ns;
}

static void finish_passes(retnet_session *session, uint64_t slice)
{
    while (session->pass_count && session->passes[session->first_pass].last_slice == slice) {
        rn_pass *pass = &session->passes[session->first_pass];
        session->first_pass = (session->first_pass + 1) % RN_MAX_PASSES;
        session->pass_count--;
        if (pass->orphaned) rn_decode_take_orphan(session, pass);
        for (uint32_t i = 0; i < pass->part_count; i++) rn_task_on_part(session, pass, &pass->parts[i]);
    }
}

static retnet_result check_executed(retnet_session *session, const rn_slice *slice)
{
    const uint8_t *mark = (const uint8_t *)session->log_probs.mapped + mark_at(session, slice);
    uint32_t number;
    memcpy(&number, mark, sizeof number);
    if (!slice->foreign || number == (uint32_t)slice->number) return RETNET_OK;
    return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "slice %llu has not been executed yet",
                           (unsigned long long)slice->number);
}

/* The oldest slice, which the device has done. */
static retnet_result take_slice(retnet_session *session, rn_slice *slice, bool waited)
{
    retnet_result result = check_executed(session, slice);
    if (result != RETNET_OK) return result;
    if (slice->commands->queries)
        result = learn_from_timestamps(session, slice);
    else
        learn_from_clock(session, slice, waited);
    if (result != RETNET_OK) return result;
    if (slice->output_pass) {
        rn_pass_take_output(session, slice->output_pass, slice->output_count);
        session->output_busy = false;
    }
    session->first_slice = (session->first_slice + 1) % RN_MAX_SLICES;
    session->slice_count--;
    session->slices_taken++;
    finish_passes(session, slice->number);
    return RETNET_OK;
}

retnet_result rn_slice_take(retnet_session *session, uint64_t number, bool wait)
{
    retnet_result result = RETNET_OK;
    while (result == RETNET_OK && session->slice_count && session->slices[session->first_slice].number <= number) {
        rn_slice *slice = &session->slices[session->first_slice];
        rn_recorder *recorder = &slice->commands->recorder;
        if (!slice->foreign) {
            if (!wait && !rn_recorder_is_done(recorder)) return RETNET_OK;
            result = rn_recorder_wait(recorder);
        }
        if (result == RETNET_OK) result = take_slice(session, slice, wait);
        if (result != RETNET_OK && !slice->foreign) rn_session_abandon(session);
    }
    return result;
}

/* Slices of rn_slice_run on the device at a time: with two it works while more is recorded. A host's frame waits for no
 * more than one, and by the clock, without timestamps, only one at a time can be measured. */
static uint32_t most_under_way(const retnet_session *session)
{
    return session->device->adopted || !has_timestamps(session) ? 1 : 2;
}

/* Records and submits what comes next of the pass: not much if the device has nothing to do until then. */
static retnet_result run_next(retnet_session *session)
{
    /* Those under way together take no longer than one submit may, which is how long a cancel waits: less a tenth, for
     * what takes longer than expected and for the host's own part. */
    uint64_t budget_ns = session->device->submit_budget_us * 900ull / most_under_way(session), expected_ns;
    bool first = session->slice_count == 0 && most_under_way(session) > 1;
    retnet_result result;
    if (rn_slice_replay(session, budget_ns, &expected_ns, &result)) return result;
    rn_slice *slice = rn_slice_begin(session, VK_NULL_HANDLE);
    rn_slice_fill(session, slice, first ? rn_min_u64(budget_ns, FIRST_NS) : budget_ns);
    return rn_slice_end(session, slice);
}

retnet_result rn_slice_run(retnet_session *session, bool cancellable)
{
    retnet_result result = RETNET_OK;
    for (rn_pass *pass; result == RETNET_OK && (pass = rn_pass_current(session));) {
        if (cancellable && pass->stage && atomic_load(&session->cancel))
            result = RETNET_CANCELLED;
        else if (session->slice_count < most_under_way(session) && rn_slice_can_begin(session))
            result = run_next(session);
        else
            result = rn_slice_take(session, session->slices[session->first_slice].number, true);
    }
    retnet_result taken = rn_slice_take(session, session->newest_slice, true);
    return taken == RETNET_OK ? result : taken;
}

bool rn_session_has_foreign(const retnet_session *session)
{
    /* The host's and the library's are never pending at once. */
    return session->slice_count && session->slices[session->first_slice].foreign;
}

retnet_result rn_session_check_foreign(retnet_session *session)
{
    if (!rn_session_has_foreign(session)) return RETNET_OK;
    return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT,
                           "slice %llu, in a command buffer of the host's, is still to be collected",
                           (unsigned long long)session->slices[session->first_slice].number);
}

retnet_result rn_session_settle(retnet_session *session, bool cancellable)
{
    retnet_result result = rn_session_check_foreign(session);
    if (result == RETNET_OK) result = rn_slice_take(session, session->newest_slice, true);
    return result == RETNET_OK ? rn_slice_run(session, cancellable) : result;
}

void rn_session_abandon(retnet_session *session)
{
    for (uint32_t i = 0; i < session->slice_count; i++) {
        rn_slice *slice = &session->slices[(session->first_slice + i) % RN_MAX_SLICES];
        if (slice->commands->recorder.device) rn_recorder_wait(&slice->commands->recorder);
    }
    session->slice_count = session->pass_count = 0;
    session->output_busy = false;
    rn_task_drop_all(session);
    for (uint32_t i = 0; i < session->layout.slots; i++) rn_decode_drop(session, i);
}
