#include "session/session.h"

#include <string.h>

/* Tasks: what slots are to do, a slice at a time. A task reads its prompt, then joins those that make tokens: the rows
 * of the decoder, which advance together and several tokens a slice, without the host. Who joins or leaves waits until
 * the host has taken in what the rows have made so far. Prompts and tokens take turns. */

typedef enum task_phase {
    TASK_READS,
    TASK_WAITS, /* to join the rows */
    TASK_SPEAKS,
    TASK_LEAVES, /* the rows, but its last logits are not with the host yet */
} task_phase;

struct rn_task {
    retnet_task wish; /* its arrays are copies of the caller's */
    rn_reading reading;
    uint32_t number;
    task_phase phase;
    uint32_t parts;      /* in passes that are not taken in */
    uint32_t made, most; /* tokens; most: what positions and max_tokens leave room for */
    uint32_t results;    /* tokens that the device may have made and the host has not looked at */
    uint32_t row;        /* of the decoder */
    bool stopped;        /* by the caller, or by the callback */
};

/* ---- Starting and ending ---------------------------------------------------------------------------------------- */

static void drop(retnet_session *session, uint32_t slot)
{
    rn_host *host = session->device->host;
    rn_task *task = session->tasks[slot];
    if (!task) return;
    session->tasks[slot] = NULL;
    session->task_count--;
    if (task->phase >= TASK_SPEAKS) {
        rn_decode_drop(session, slot);
        session->rows_stale = true;
    }
    rn_free(host, (void *)(uintptr_t)task->wish.sampling.biases);
    rn_free(host, (void *)(uintptr_t)task->wish.sampling.banned_tokens);
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
    if (task->count) result = rn_session_check_tokens(session, "start", task->slot, task->tokens, task->count);
    const rn_speech speech = {&task->sampling, task->end_tokens, task->end_token_count, task->max_tokens, false};
    return result == RETNET_OK ? rn_decode_check(session, &speech) : result;
}

/* NULL for none; `ok` turns false when there is no memory. */
static void *copy_array(rn_host *host, const void *from, size_t count, size_t size, bool *ok)
{
    if (count == 0) return NULL;
    void *copy = rn_alloc(host, count, size);
    if (copy) memcpy(copy, from, count * size);
    *ok &= copy != NULL;
    return copy;
}

static bool copy_wish(rn_host *host, const retnet_task *wish, retnet_task *copy)
{
    bool ok = true;
    const retnet_sampling *s = &wish->sampling;
    *copy = *wish;
    copy->tokens = copy_array(host, wish->tokens, wish->count, sizeof *wish->tokens, &ok);
    copy->end_tokens = copy_array(host, wish->end_tokens, wish->end_token_count, sizeof *wish->end_tokens, &ok);
    copy->sampling.biases = copy_array(host, s->biases, s->bias_count, sizeof *s->biases, &ok);
    copy->sampling.banned_tokens = copy_array(host, s->banned_tokens, s->banned_count, sizeof *s->banned_tokens, &ok);
    return ok;
}

retnet_result retnet_session_start(retnet_session *session, const retnet_task *wish)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = check_task(session, wish);
    if (result != RETNET_OK) return result;
    rn_host *host = session->device->host;
    rn_task *task = rn_alloc(host, 1, sizeof *task);
    if (!task) return rn_fail_memory(host, "task", sizeof *task);
    bool ok = copy_wish(host, wish, &task->wish);
    if (++session->newest_task == 0) session->newest_task = 1;
    task->number = session->newest_task;
    task->reading = (rn_reading){.slot = wish->slot, .tokens = task->wish.tokens, .count = wish->count};
    session->tasks[wish->slot] = task;
    session->task_count++;
    if (ok) return RETNET_OK;
    drop(session, wish->slot);
    return rn_fail_memory(host, "task", wish->count * sizeof *wish->tokens);
}

bool rn_task_is_speaking(const retnet_session *session, uint32_t slot)
{
    return session->tasks[slot] && session->tasks[slot]->phase >= TASK_SPEAKS;
}

retnet_result retnet_session_stop(retnet_session *session, uint32_t slot)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_session_check_slot(session, slot, false);
    if (result != RETNET_OK || !session->tasks[slot]) return result;
    rn_task *task = session->tasks[slot];
    task->stopped = true;
    if (task->phase < TASK_SPEAKS && task->parts == 0) drop(session, slot);
    return RETNET_OK;
}

bool retnet_session_busy(const retnet_session *session, uint32_t slot)
{
    return session && slot < session->layout.slots && session->tasks[slot];
}

/* ---- What came in ----------------------------------------------------------------------------------------------- */

void rn_task_on_part(retnet_session *session, const rn_pass *pass, const rn_part *part)
{
    rn_task *task = session->tasks[part->slot];
    if (!task || task->number != part->task) return;
    task->parts--;
    if (pass->class < RN_PASS_READINGS) session->tokens_read += part->count;
    if (pass->class == RN_PASS_START || pass->class == RN_PASS_TOKEN) task->results++;
    if (pass->class == RN_PASS_LEAVE) {
        rn_decode_fetch_logits(session, part->slot);
        drop(session, part->slot);
    }
}

static bool is_end_token(const retnet_task *wish, int32_t token)
{
    for (size_t i = 0; i < wish->end_token_count; i++)
        if (wish->end_tokens[i] == token) return true;
    return false;
}

/* A task that fills all positions without having been asked to stop there cannot go on. */
static retnet_result end_at_rest(retnet_session *session, rn_task *task, bool ended)
{
    uint32_t slot = task->wish.slot;
    bool full = !ended && task->made != task->wish.max_tokens;
    rn_decode_fetch_logits(session, slot);
    drop(session, slot);
    return full ? rn_session_fail(session, RETNET_ERROR_LIMIT, "task: slot %u stands at position %u", slot,
                                  RN_MAX_POSITION)
                : RETNET_OK;
}

/* Hands out what the device has made. The task may be gone afterwards. */
static retnet_result take_tokens(retnet_session *session, rn_task *task)
{
    const retnet_task *wish = &task->wish;
    for (; task->results; task->results--) {
        rn_spoken spoken;
        bool taken;
        retnet_result result = rn_decode_take(session, wish->slot, &spoken, &taken);
        if (result != RETNET_OK) drop(session, wish->slot);
        if (result != RETNET_OK || !taken) return result;
        if (task->made++) session->tokens_read++; /* the one before it */
        session->tokens_made++;
        if (wish->token && !wish->token(wish->token_user, wish->slot, spoken.token)) task->stopped = true;
        bool ended = is_end_token(wish, spoken.token);
        if (ended || task->made == task->most) return end_at_rest(session, task, ended);
    }
    return RETNET_OK;
}

/* Lets a task whose passes are all taken in go on to what comes next, or end. */
static retnet_result advance(retnet_session *session, rn_task *task)
{
    uint32_t slot = task->wish.slot;
    switch (task->phase) {
    case TASK_READS:
        if (task->parts || (!task->stopped && task->reading.cursor < task->reading.count)) return RETNET_OK;
        task->phase = TASK_WAITS;
        if (task->stopped || task->wish.max_tokens == 0) drop(session, slot);
        return RETNET_OK;
    case TASK_SPEAKS: return take_tokens(session, task);
    default: return RETNET_OK;
    }
}

static retnet_result advance_all(retnet_session *session)
{
    retnet_result result = RETNET_OK;
    for (uint32_t i = 0; i < session->layout.slots && result == RETNET_OK; i++)
        if (session->tasks[i]) result = advance(session, session->tasks[i]);
    return result;
}

uint32_t rn_task_count_speakers(const retnet_session *session)
{
    uint32_t count = 0;
    for (uint32_t i = 0; session->task_count && i < session->layout.slots; i++)
        count += rn_task_is_speaking(session, i);
    return count;
}

/* ---- Whose turn it is: prompts ---------------------------------------------------------------------------------- */

/* Readings that have tokens left, beginning with slot `next_prompt`; returns how many there are. */
static uint32_t list_readings(const retnet_session *session)
{
    uint32_t count = 0, slots = session->layout.slots;
    for (uint32_t i = 0; i < slots; i++) {
        rn_task *task = session->tasks[(session->next_prompt + i) % slots];
        if (task && task->phase == TASK_READS && !task->stopped && task->reading.cursor < task->reading.count)
            session->readings[count++] = &task->reading;
    }
    return count;
}

/* So that tokens wait for prompts about as long as prompts for tokens. */
static uint32_t prompt_rows(const retnet_session *session, rn_pass_class class, uint64_t budget_ns)
{
    uint32_t speakers = rn_task_count_speakers(session);
    if (class == RN_PASS_STEPS) return session->layout.rows;
    uint32_t rows = rn_cost_fitting_rows(session, class, budget_ns);
    if (speakers == 0) return rows;
    uint64_t turn = rn_cost_pass_ns(session, RN_PASS_TOKEN, speakers, speakers);
    if (turn < budget_ns) turn = budget_ns;
    while (rows > RN_CHUNK && rn_cost_pass_ns(session, class, rows, 0) > turn) rows -= RN_CHUNK;
    return rows;
}

static rn_pass *build_prompts(retnet_session *session, uint64_t budget_ns)
{
    uint32_t count = list_readings(session);
    if (count == 0) return NULL;
    rn_pass_class class = rn_reading_class(session, session->readings[0]);
    session->next_prompt = (session->readings[0]->slot + 1) % session->layout.slots;
    return rn_pass_build(session, class, session->readings, count, prompt_rows(session, class, budget_ns));
}

/* ---- Whose turn it is: tokens ----------------------------------------------------------------------------------- */

static uint32_t list_speakers(const retnet_session *session, task_phase phase, bool stopped)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < session->layout.slots; i++) {
        const rn_task *task = session->tasks[i];
        if (task && task->phase == phase && task->stopped == stopped) session->speakers[count++] = i;
    }
    return count;
}

/* Passes of the decoder's that are not taken in. */
static uint32_t count_decoding(const retnet_session *session)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < session->pass_count; i++)
        count += session->passes[(session->first_pass + i) % RN_MAX_PASSES].class >= RN_PASS_READINGS;
    return count;
}

static rn_pass *build_leave(retnet_session *session, uint32_t count)
{
    rn_pass *pass = rn_pass_build_decoding(session, RN_PASS_LEAVE, session->speakers, count);
    for (uint32_t i = 0; pass && i < count; i++) {
        rn_task *task = session->tasks[session->speakers[i]];
        task->phase = TASK_LEAVES;
        pass->parts[i].row = task->row;
    }
    return pass;
}

static void set_rows(retnet_session *session, uint32_t count)
{
    rn_decode_set_rows(session, session->speakers, count);
    for (uint32_t i = 0; i < count; i++) session->tasks[session->speakers[i]]->row = i;
}

static rn_pass *build_start(retnet_session *session, uint32_t count)
{
    bool others = rn_task_count_speakers(session) > 0;
    rn_pass *pass = rn_pass_build_decoding(session, RN_PASS_START, session->speakers, count);
    for (uint32_t i = 0; pass && i < count; i++) {
        uint32_t slot = session->speakers[i];
        rn_task *task = session->tasks[slot];
        uint64_t room = RN_MAX_POSITION - session->slots[slot].position + 1;
        task->most = task->wish.max_tokens < room ? task->wish.max_tokens : (uint32_t)room;
        const rn_speech speech = {&task->wish.sampling, task->wish.end_tokens, task->wish.end_token_count, task->most,
                                  false};
        rn_session_own_state(session, slot, &pass->parts[i]);
        rn_decode_start(session, slot, &speech);
        session->slots[slot].has_logits = false;
        task->phase = TASK_SPEAKS;
    }
    if (!pass) return NULL;
    set_rows(session, count);
    session->rows_stale = others;
    return pass;
}

/* Tokens that a row still has to make beyond those that passes are under way for. */
static bool wants_more(const retnet_session *session)
{
    for (uint32_t i = 0; i < session->layout.slots; i++) {
        const rn_task *task = session->tasks[i];
        if (task && task->phase == TASK_SPEAKS && task->made + task->results + task->parts < task->most) return true;
    }
    return false;
}

static rn_pass *build_token(retnet_session *session, bool arranges)
{
    if (!wants_more(session)) return NULL;
    if (arranges) set_rows(session, list_speakers(session, TASK_SPEAKS, false));
    const rn_decoder *d = &session->decoder;
    rn_pass *pass = rn_pass_build_decoding(session, RN_PASS_TOKEN, d->row_slots, d->rows);
    if (!pass) return NULL;
    pass->arranges = arranges;
    session->rows_stale = false;
    return pass;
}

/* Rows change only when the host knows all that they have made. */
static rn_pass *build_tokens(retnet_session *session)
{
    uint32_t pending = count_decoding(session), count;
    bool changes =
        session->rows_stale || list_speakers(session, TASK_WAITS, false) || list_speakers(session, TASK_SPEAKS, true);
    if (!changes) return list_speakers(session, TASK_SPEAKS, false) ? build_token(session, false) : NULL;
    if (pending) return NULL;
    if ((count = list_speakers(session, TASK_SPEAKS, true))) return build_leave(session, count);
    if ((count = list_speakers(session, TASK_WAITS, false))) return build_start(session, count);
    return list_speakers(session, TASK_SPEAKS, false) ? build_token(session, true) : NULL;
}

/* ---- Building --------------------------------------------------------------------------------------------------- */

/* False if the tasks have nothing to do until more is taken in. */
static bool build_next(retnet_session *session, uint64_t budget_ns)
{
    rn_pass *pass = NULL;
    if (session->tokens_next) pass = build_tokens(session);
    if (!pass) pass = build_prompts(session, budget_ns);
    if (!pass) pass = build_tokens(session);
    if (!pass) return false;
    session->tokens_next = pass->class < RN_PASS_READINGS;
    for (uint32_t i = 0; i < pass->part_count; i++) {
        rn_task *task = session->tasks[pass->parts[i].slot];
        task->parts++;
        pass->parts[i].task = task->number;
    }
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
    if (!session || !info) return RETNET_ERROR_INVALID_ARGUMENT;
    *info = (retnet_record_info){0};
    if (!commands || budget_us == 0)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "record: no command buffer, or no budget");
    if (session->slice_count && !rn_session_has_foreign(session))
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "record: a submitted slice is still pending");
    uint64_t budget_ns = budget_us * 1000ull;
    rn_slice *slice;
    if (!ready(session, budget_ns)) return RETNET_OK;
    retnet_result result = record(session, commands, budget_ns, &slice);
    if (result == RETNET_OK)
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

/* ---- Semaphores ------------------------------------------------------------------------------------------------- */

void retnet_session_semaphore(const retnet_session *session, VkSemaphore *semaphore, uint64_t *value)
{
    *semaphore = session->timeline;
    *value = session->newest_submitted;
}

retnet_result retnet_session_await(retnet_session *session, VkSemaphore semaphore, uint64_t value)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (session->awaited && semaphore)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT,
                               "await: the next slice waits for another already");
    session->awaited = semaphore;
    session->awaited_value = value;
    return RETNET_OK;
}
