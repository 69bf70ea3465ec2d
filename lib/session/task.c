#include "session/session.h"

#include <stdio.h>
#include <string.h>

/* Tasks: what slots are to do, a slice at a time. All slots that are about to read the token that they made last share a
 * pass, and so do prompts; the two take turns. */

struct rn_task {
    retnet_task wish;  /* its arrays are copies of the caller's */
    rn_reading reading; /* the prompt, then the newest token */
    int32_t token;     /* the newest */
    uint32_t made;
    uint32_t parts;    /* in passes that are not taken in */
    bool stopped;
};

/* ---- Starting and ending ---------------------------------------------------------------------------------------- */

static void drop(retnet_session *session, uint32_t slot)
{
    rn_host *host = session->device->host;
    rn_task *task = session->tasks[slot];
    if (!task) return;
    session->tasks[slot] = NULL;
    session->task_count--;
    rn_free(host, (void *)(uintptr_t)task->wish.tokens);
    rn_free(host, (void *)(uintptr_t)task->wish.end_tokens);
    rn_free(host, task);
}

void rn_task_drop_all(retnet_session *session)
{
    for (uint32_t i = 0; i < session->layout.slots; i++) drop(session, i);
}

static retnet_result check_task(retnet_session *session, const retnet_task *task)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    if (!task) return rn_session_fail(session, invalid, "start: no task");
    retnet_result result = rn_session_ready_slot(session, task->slot, true);
    if (result != RETNET_OK) return result;
    if (task->count == 0 && task->max_tokens == 0)
        return rn_session_fail(session, invalid, "start: neither tokens to read nor tokens to make");
    if (task->count == 0 && !session->slots[task->slot].has_logits)
        return rn_session_fail(session, invalid, "start: slot %u has read no token since its state was set",
                               task->slot);
    if (task->end_token_count && !task->end_tokens)
        return rn_session_fail(session, invalid, "start: end_tokens is NULL");
    if (task->count) result = rn_session_check_tokens(session, "start", task->slot, task->tokens, task->count);
    return result == RETNET_OK ? rn_session_check_sampling(session, &task->sampling) : result;
}

/* NULL for none; `ok` turns false when there is no memory. */
static int32_t *copy_tokens(rn_host *host, const int32_t *tokens, size_t count, bool *ok)
{
    if (count == 0) return NULL;
    int32_t *copy = rn_alloc(host, count, sizeof *copy);
    if (copy) memcpy(copy, tokens, count * sizeof *copy);
    *ok &= copy != NULL;
    return copy;
}

retnet_result retnet_session_start(retnet_session *session, const retnet_task *wish)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_task(session, wish);
    if (result != RETNET_OK) return result;
    rn_host *host = session->device->host;
    rn_task *task = rn_alloc(host, 1, sizeof *task);
    if (!task) return rn_fail_memory(host, "task", sizeof *task);
    bool ok = true;
    task->wish = *wish;
    task->wish.tokens = copy_tokens(host, wish->tokens, wish->count, &ok);
    task->wish.end_tokens = copy_tokens(host, wish->end_tokens, wish->end_token_count, &ok);
    task->reading = (rn_reading){.slot = wish->slot, .tokens = task->wish.tokens, .count = wish->count};
    session->tasks[wish->slot] = task;
    session->task_count++;
    if (ok) return RETNET_OK;
    drop(session, wish->slot);
    return rn_fail_memory(host, "task", wish->count * sizeof *wish->tokens);
}

retnet_result retnet_session_stop(retnet_session *session, uint32_t slot)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_session_check_slot(session, slot, false);
    if (result != RETNET_OK || !session->tasks[slot]) return result;
    session->tasks[slot]->stopped = true;
    if (session->tasks[slot]->parts == 0 && !session->in_callback) drop(session, slot);
    return RETNET_OK;
}

bool retnet_session_busy(const retnet_session *session, uint32_t slot)
{
    return session && slot < session->layout.slots && session->tasks[slot];
}

/* ---- What came in ----------------------------------------------------------------------------------------------- */

void rn_task_on_part(retnet_session *session, const rn_part *part)
{
    rn_task *task = session->tasks[part->slot];
    if (!task) return;
    task->parts--;
    session->tokens_read += part->count;
}

static bool is_end_token(const retnet_task *wish, int32_t token)
{
    for (size_t i = 0; i < wish->end_token_count; i++)
        if (wish->end_tokens[i] == token) return true;
    return false;
}

/* False if it was the task's last. */
static bool make_token(retnet_session *session, rn_task *task, float *scratch)
{
    const retnet_task *wish = &task->wish;
    task->token = rn_session_next_token(session, wish->slot, &wish->sampling, scratch);
    task->made++;
    session->tokens_made++;
    session->in_callback = true;
    bool wanted = !wish->token || wish->token(wish->token_user, wish->slot, task->token);
    session->in_callback = false;
    return wanted && !task->stopped && !is_end_token(wish, task->token) && task->made < wish->max_tokens;
}

/* Lets a task whose passes are all taken in make its next token, or end. */
static retnet_result advance(retnet_session *session, uint32_t slot, float *scratch)
{
    rn_task *task = session->tasks[slot];
    bool read = task->reading.cursor == task->reading.count;
    if (task->parts || (!read && !task->stopped)) return RETNET_OK;
    bool more = read && !task->stopped && task->made < task->wish.max_tokens && make_token(session, task, scratch);
    if (!more) {
        drop(session, slot);
        return RETNET_OK;
    }
    if (session->slots[slot].position >= RN_MAX_POSITION) {
        drop(session, slot);
        return rn_session_fail(session, RETNET_ERROR_LIMIT, "task: slot %u stands at position %u", slot,
                               RN_MAX_POSITION);
    }
    task->reading = (rn_reading){.slot = slot, .tokens = &task->token, .count = 1};
    return RETNET_OK;
}

static retnet_result advance_all(retnet_session *session)
{
    if (session->task_count == 0) return RETNET_OK;
    retnet_result result = RETNET_OK;
    for (uint32_t i = 0; i < session->layout.slots && result == RETNET_OK; i++)
        if (session->tasks[i]) result = advance(session, i, session->sampling_scratch);
    return result;
}

/* ---- What comes next -------------------------------------------------------------------------------------------- */

static bool is_step(const rn_task *task) { return task->reading.count == 1; }

/* Readings that have tokens left, beginning with slot `first`; returns how many there are. */
static uint32_t list_readings(const retnet_session *session, bool steps, uint32_t first)
{
    uint32_t count = 0, slots = session->layout.slots;
    for (uint32_t i = 0; i < slots; i++) {
        rn_task *task = session->tasks[(first + i) % slots];
        if (task && !task->stopped && is_step(task) == steps && task->reading.cursor < task->reading.count)
            session->readings[count++] = &task->reading;
    }
    return count;
}

/* So that tokens wait for prompts about as long as prompts for tokens. */
static uint32_t prompt_rows(const retnet_session *session, rn_pass_class class, uint32_t tokens, uint64_t budget_ns)
{
    uint32_t rows = rn_cost_fitting_rows(session, class, budget_ns);
    if (tokens == 0) return rows;
    uint64_t turn = rn_cost_pass_ns(session, RN_PASS_STEPS, tokens, tokens);
    if (turn < budget_ns) turn = budget_ns;
    while (rows > RN_CHUNK && rn_cost_pass_ns(session, class, rows, 0) > turn) rows -= RN_CHUNK;
    return rows;
}

static rn_pass *build_prompts(retnet_session *session, uint32_t tokens, uint64_t budget_ns)
{
    uint32_t count = list_readings(session, false, session->next_prompt);
    if (count == 0) return NULL;
    rn_pass_class class = rn_reading_class(session, session->readings[0]);
    session->next_prompt = (session->readings[0]->slot + 1) % session->layout.slots;
    return rn_pass_build(session, class, session->readings, count, prompt_rows(session, class, tokens, budget_ns));
}

static rn_pass *build_steps(retnet_session *session)
{
    uint32_t count = list_readings(session, true, 0);
    return rn_pass_build(session, RN_PASS_STEPS, session->readings, count, session->layout.rows);
}

static uint32_t count_speakers(const retnet_session *session)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < session->layout.slots; i++)
        count += session->tasks[i] && !session->tasks[i]->stopped && is_step(session->tasks[i]);
    return count;
}

/* False if the tasks have nothing to do until more is taken in. */
static bool build_next(retnet_session *session, uint64_t budget_ns)
{
    rn_pass *pass = NULL;
    if (session->steps_next) pass = build_steps(session);
    if (!pass) pass = build_prompts(session, count_speakers(session), budget_ns);
    if (!pass) pass = build_steps(session);
    if (!pass) return false;
    session->steps_next = pass->class != RN_PASS_STEPS;
    for (uint32_t i = 0; i < pass->part_count; i++) session->tasks[pass->parts[i].slot]->parts++;
    return true;
}

static bool ready(retnet_session *session, uint64_t budget_ns)
{
    if (!rn_pass_current(session)) build_next(session, budget_ns);
    return rn_slice_can_begin(session);
}

/* Records one slice. */
static retnet_result record(retnet_session *session, VkCommandBuffer host, uint64_t budget_ns, rn_slice **out)
{
    rn_slice *slice = rn_slice_begin(session, host);
    *out = slice;
    while (rn_slice_fill(session, slice, budget_ns))
        if (!build_next(session, budget_ns)) break;
    return rn_slice_end(session, slice);
}

/* ---- Steps ------------------------------------------------------------------------------------------------------ */

/* Slices that may wait for the device: a host may be a frame ahead of it, but not more. */
enum { MAX_PENDING = 2 };

static retnet_result submit(retnet_session *session, uint64_t budget_ns)
{
    rn_slice *slice;
    uint64_t ns = 0;
    retnet_result result = RETNET_OK;
    if (session->slice_count >= MAX_PENDING || !ready(session, budget_ns)) return RETNET_OK;
    if (rn_slice_replay(session, budget_ns, &ns, &result)) {
        bool more = result == RETNET_OK && ready(session, budget_ns) &&
                    rn_cost_stage_ns(session, rn_pass_current(session), 0) <= budget_ns - ns;
        if (!more) return result;
    }
    return record(session, VK_NULL_HANDLE, budget_ns - ns, &slice);
}

static void report(retnet_session *session, retnet_step_info *info)
{
    if (!info) return;
    *info = (retnet_step_info){
        .tasks = session->task_count,
        .tokens_read = session->tokens_read,
        .tokens_made = session->tokens_made,
        .slices = session->slices_taken,
        .device_ns = session->device_ns,
        .pending = session->slice_count != 0,
    };
    session->tokens_read = session->tokens_made = 0;
    session->slices_taken = 0;
    session->device_ns = 0;
}

retnet_result retnet_session_step(retnet_session *session, uint32_t budget_us, retnet_step_info *info)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_session_check_foreign(session);
    if (result == RETNET_OK) result = rn_slice_take(session, session->newest_slice, false);
    if (result == RETNET_OK) result = advance_all(session);
    if (result == RETNET_OK && budget_us) result = submit(session, budget_us * 1000ull);
    report(session, info);
    return result;
}

retnet_result retnet_session_wait(retnet_session *session)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_session_check_foreign(session);
    if (result == RETNET_OK) result = rn_slice_take(session, session->newest_slice, true);
    return result == RETNET_OK ? advance_all(session) : result;
}

/* ---- In the host's command buffers ------------------------------------------------------------------------------ */

retnet_result retnet_session_record(retnet_session *session, VkCommandBuffer commands, uint32_t budget_us,
                                    retnet_record_info *info)
{
    if (info) *info = (retnet_record_info){0};
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!commands || budget_us == 0)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "record: no command buffer, or no budget");
    if (session->slice_count && !rn_session_has_foreign(session))
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "record: a submitted slice is still pending");
    uint64_t budget_ns = budget_us * 1000ull;
    rn_slice *slice;
    if (!ready(session, budget_ns)) return RETNET_OK;
    retnet_result result = record(session, commands, budget_ns, &slice);
    if (result == RETNET_OK && info)
        *info = (retnet_record_info){.slice = slice->number, .expected_ns = slice->expected_ns};
    return result;
}

retnet_result retnet_session_collect(retnet_session *session, uint64_t slice, retnet_step_info *info)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = RETNET_OK;
    if (slice > session->newest_slice)
        result = rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "collect: there is no slice %llu yet",
                                 (unsigned long long)slice);
    if (result == RETNET_OK) result = rn_slice_take(session, slice, false);
    if (result == RETNET_OK) result = advance_all(session);
    report(session, info);
    return result;
}
