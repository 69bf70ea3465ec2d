/* tasks_test.c: work in slices. What slots read and make by tasks is the same as what run and generate give each alone,
 * whatever the budget and the company: to the bit where a CPU is the device (session_test_company). */
#include "session/session_test.h"

enum { SLOTS = 5, MOST_MADE = 12, VOCABULARY = 96 };

/* What a slot is to do, in a session of tasks and alone. */
typedef struct job {
    size_t count;      /* of the prompt */
    uint32_t made_max; /* 0: only read */
    float temperature;
    uint32_t begin; /* the step before which it is started */
} job;

static const job jobs[SLOTS] = {
    {1, 9, 0, 0}, {150, 8, 1.5f, 0}, {70, MOST_MADE, 0, 3}, {33, 0, 0, 7}, {260, 5, 0.8f, 11},
};

typedef struct heard {
    int32_t tokens[SLOTS][MOST_MADE];
    uint32_t counts[SLOTS];
    uint32_t stop_at; /* of slot 2; 0: never */
} heard;

static bool on_token(void *user, uint32_t slot, int32_t token)
{
    heard *h = user;
    REQUIRE(slot < SLOTS && h->counts[slot] < MOST_MADE);
    h->tokens[slot][h->counts[slot]++] = token;
    return !(slot == 2 && h->stop_at && h->counts[slot] == h->stop_at);
}

static int32_t *prompt_of(uint32_t slot)
{
    return session_test_tokens(jobs[slot].count, VOCABULARY, 40 + slot);
}

static void start(retnet_session *session, uint32_t slot, heard *h)
{
    int32_t *tokens = prompt_of(slot);
    retnet_task task = {
        .slot = slot,
        .tokens = tokens,
        .count = jobs[slot].count,
        .max_tokens = jobs[slot].made_max,
        .sampling = {.temperature = jobs[slot].temperature, .seed = slot},
        .token = on_token,
        .token_user = h,
    };
    CHECK_OK(retnet_session_start(session, &task));
    CHECK(retnet_session_busy(session, slot));
    free(tokens);
}

/* Slot `slot` of this session does the same by run and generate, with nobody beside it. */
static uint32_t do_alone(retnet_session *session, uint32_t slot, int32_t *made)
{
    int32_t *tokens = prompt_of(slot);
    uint32_t count = 0;
    CHECK_OK(retnet_session_reset(session, slot));
    session_test_read_last(session, slot, tokens, jobs[slot].count, NULL);
    retnet_generation generation = {
        .slots = &slot,
        .slot_count = 1,
        .sampling = {.temperature = jobs[slot].temperature, .seed = slot},
        .max_tokens = jobs[slot].made_max,
        .tokens = made,
        .token_counts = &count,
    };
    if (jobs[slot].made_max) CHECK_OK(retnet_session_generate(session, &generation));
    free(tokens);
    return count;
}

static void check_same_slot(session_test *test, retnet_session *alone, uint32_t slot, const heard *h)
{
    int32_t made[MOST_MADE] = {0};
    uint32_t count = do_alone(alone, slot, made);
    CHECK_INT(h->counts[slot], count);
    for (uint32_t i = 0; i < count; i++) CHECK_INT(h->tokens[slot][i], made[i]);
    CHECK_INT(retnet_session_position(test->session, slot), retnet_session_position(alone, slot));
    float *actual = session_test_state(test->session, slot), *expected = session_test_state(alone, slot);
    session_test_check_same("a slot with a task against alone", actual, expected, test->info.layers * test->state_size,
                            session_test_company(test->model));
    free(actual);
    free(expected);
}

/* Steps until all is done; returns how many that took. */
static uint32_t step_to_the_end(session_test *test, uint32_t budget_us, heard *h)
{
    uint32_t steps = 0, read = 0, made = 0, expected_read = 0, expected_made = 0;
    retnet_step_info info = {.tasks = 1};
    for (; steps < 100000 && (info.tasks || steps < 20); steps++) {
        for (uint32_t i = 0; i < SLOTS; i++)
            if (jobs[i].begin == steps) start(test->session, i, h);
        CHECK_OK(retnet_session_step(test->session, budget_us, &info));
        read += info.tokens_read;
        made += info.tokens_made;
        if (info.pending && steps % 3) CHECK_OK(retnet_session_wait(test->session));
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        CHECK(!retnet_session_busy(test->session, i));
        expected_made += h->counts[i];
        expected_read += (uint32_t)jobs[i].count + (h->counts[i] ? h->counts[i] - 1 : 0);
    }
    CHECK_INT(made, expected_made);
    CHECK_INT(read, expected_read);
    return steps;
}

static void test_same_numbers(session_test *test, retnet_session *alone, uint32_t budget_us)
{
    heard h = {0};
    for (uint32_t i = 0; i < SLOTS; i++) CHECK_OK(retnet_session_reset(test->session, i));
    step_to_the_end(test, budget_us, &h);
    for (uint32_t i = 0; i < SLOTS; i++) check_same_slot(test, alone, i, &h);
}

/* With room for half a layer in every slice, a token takes many: slots are whole in between. */
static void test_small_slices(session_test *test)
{
    heard h = {0};
    for (uint32_t i = 0; i < SLOTS; i++) CHECK_OK(retnet_session_reset(test->session, i));
    uint32_t most = step_to_the_end(test, 1, &h);
    uint32_t least_stages = (MOST_MADE - 1) * (2 * test->info.layers + 1);
    if (most < least_stages) TEST_FAIL("%u steps of 1 us, at least %u expected", most, least_stages);
}

/* The slot's logits are known, and what it makes next is what it would have made. */
/* States that have to be cleared hide what a pass costs only until the first stages are measured: a large budget takes
 * few slices, however many slots begin. */
static void test_first_prompts(session_test *test)
{
    enum { COUNT = 100 };
    int32_t *tokens = session_test_tokens(COUNT, VOCABULARY, 7);
    uint32_t slices = 0;
    retnet_session *session = session_test_session(test->model, SLOTS, 128);
    for (uint32_t i = 0; i < SLOTS; i++)
        CHECK_OK(retnet_session_start(session, &(retnet_task){.slot = i, .tokens = tokens, .count = COUNT}));
    for (retnet_step_info info = {.tasks = 1}; info.tasks; slices += info.slices) {
        CHECK_OK(retnet_session_step(session, 60000000, &info));
        CHECK_OK(retnet_session_wait(session));
    }
    CHECK(slices <= SLOTS + 4);
    retnet_session_destroy(session);
    free(tokens);
}

static void check_goes_on(session_test *test, retnet_session *alone, uint32_t slot, const heard *h)
{
    int32_t next[2], made[MOST_MADE + 2];
    retnet_generation generation = {.slots = &slot, .slot_count = 1, .max_tokens = 2, .tokens = next};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    do_alone(alone, slot, made);
    CHECK_INT(next[0], h->tokens[slot][h->counts[slot] - 1]);
    CHECK_INT(next[1], made[h->counts[slot]]);
}

static void test_stopping(session_test *test, retnet_session *alone)
{
    heard h = {.stop_at = 4};
    CHECK_OK(retnet_session_reset(test->session, 2));
    start(test->session, 2, &h);
    while (retnet_session_busy(test->session, 2)) {
        CHECK_OK(retnet_session_step(test->session, 500, NULL));
        CHECK_OK(retnet_session_wait(test->session));
    }
    /* The device may have been ahead: whatever it made was reported, and the slot stands before the last of it. */
    CHECK(h.counts[2] >= 4 && h.counts[2] < MOST_MADE);
    CHECK_INT(retnet_session_position(test->session, 2), jobs[2].count + h.counts[2] - 1);
    check_goes_on(test, alone, 2, &h);

    /* In the middle of a prompt: what is in progress is finished, and the slot says how far it got. */
    CHECK_OK(retnet_session_reset(test->session, 4));
    start(test->session, 4, &h);
    for (int i = 0; i < 3; i++) CHECK_OK(retnet_session_step(test->session, 1, NULL));
    CHECK_OK(retnet_session_stop(test->session, 4));
    CHECK_OK(retnet_session_stop(test->session, 4));
    CHECK(retnet_session_busy(test->session, 4));
    CHECK_REFUSED(retnet_session_reset(test->session, 4), RETNET_ERROR_INVALID_ARGUMENT);
    while (retnet_session_busy(test->session, 4)) {
        CHECK_OK(retnet_session_step(test->session, 1, NULL));
        CHECK_OK(retnet_session_wait(test->session));
    }
    CHECK_INT(h.counts[4], 0);
    uint64_t read = retnet_session_position(test->session, 4);
    if (read == 0 || read >= jobs[4].count)
        TEST_FAIL("stopped after %u of %u tokens", (unsigned)read, (unsigned)jobs[4].count);
    int32_t *tokens = prompt_of(4);
    CHECK_OK(retnet_session_reset(alone, 4));
    session_test_read_last(alone, 4, tokens, (size_t)read, NULL);
    float *actual = session_test_state(test->session, 4), *expected = session_test_state(alone, 4);
    session_test_check_same("a stopped prompt", actual, expected, test->info.layers * test->state_size, 0);
    free(actual);
    free(expected);
    free(tokens);

    /* Before it has begun. */
    start(test->session, 3, &h);
    CHECK_OK(retnet_session_stop(test->session, 3));
    CHECK(!retnet_session_busy(test->session, 3));
}

/* Other calls come in between slices: of other slots, and of a slot with a task what leaves it as it is. */
static void test_calls_between(session_test *test, retnet_session *alone)
{
    heard h = {0};
    float logits[VOCABULARY], expected[VOCABULARY];
    int32_t *tokens = session_test_tokens(90, VOCABULARY, 99);
    for (uint32_t i = 0; i < SLOTS; i++) CHECK_OK(retnet_session_reset(test->session, i));
    CHECK_OK(retnet_session_reset(alone, 0));
    start(test->session, 1, &h);
    for (int i = 0; i < 4; i++) CHECK_OK(retnet_session_step(test->session, 1, NULL));
    session_test_read_last(test->session, 0, tokens, 90, logits);
    session_test_read_last(alone, 0, tokens, 90, expected);
    session_test_check_same("a run beside a task", logits, expected, VOCABULARY, session_test_company(test->model));
    CHECK_OK(retnet_session_step(test->session, 1, NULL));
    CHECK_OK(retnet_session_fork(test->session, 1, 2));
    CHECK_REFUSED(retnet_session_fork(test->session, 0, 1), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_REFUSED(retnet_session_run(test->session, &(retnet_span){.slot = 1, .tokens = tokens, .count = 1}, 1),
                  RETNET_ERROR_INVALID_ARGUMENT);
    while (retnet_session_busy(test->session, 1)) {
        CHECK_OK(retnet_session_step(test->session, 2000, NULL));
        CHECK_OK(retnet_session_wait(test->session));
    }
    check_same_slot(test, alone, 1, &h);
    free(tokens);
}

static void test_refusals(session_test *test)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    const int32_t good[] = {1, 2}, bad[] = {1, VOCABULARY};
    retnet_session *s = test->session;
    for (uint32_t i = 0; i < SLOTS; i++) CHECK_OK(retnet_session_reset(s, i));
    CHECK_REFUSED(retnet_session_start(s, NULL), invalid);
    CHECK_REFUSED(retnet_session_start(s, &(retnet_task){.slot = SLOTS, .tokens = good, .count = 2}), invalid);
    CHECK_REFUSED(retnet_session_start(s, &(retnet_task){.tokens = bad, .count = 2}), invalid);
    CHECK_REFUSED(retnet_session_start(s, &(retnet_task){0}), invalid);
    CHECK_REFUSED(retnet_session_start(s, &(retnet_task){.max_tokens = 3}), invalid);
    CHECK_REFUSED(retnet_session_start(s, &(retnet_task){.tokens = good, .count = 2, .sampling.top_p = 2}), invalid);
    CHECK_REFUSED(retnet_session_stop(s, SLOTS), invalid);
    CHECK(!retnet_session_busy(s, SLOTS) && !retnet_session_busy(s, 0) && !retnet_session_busy(NULL, 0));
    CHECK_OK(retnet_session_start(s, &(retnet_task){.tokens = good, .count = 2}));
    CHECK_REFUSED(retnet_session_start(s, &(retnet_task){.tokens = good, .count = 2}), invalid);
    CHECK_INT(retnet_session_position(s, 0), 0);
    CHECK_OK(retnet_session_stop(s, 0));
}

int main(void)
{
    session_test test = session_test_create(fixture_named("plain"), SLOTS, 128);
    retnet_session *alone = session_test_session(test.model, SLOTS, 0);
    CHECK_INT(test.info.vocabulary_size, VOCABULARY);
    test_same_numbers(&test, alone, 1);
    test_same_numbers(&test, alone, 3000);
    test_same_numbers(&test, alone, 100000);
    test_small_slices(&test);
    test_first_prompts(&test);
    test_stopping(&test, alone);
    test_calls_between(&test, alone);
    test_refusals(&test);
    retnet_session_destroy(alone);
    session_test_destroy(&test);
    return session_test_finish(test_failures);
}
