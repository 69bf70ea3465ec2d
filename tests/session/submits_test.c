/* submits_test.c: several tokens of one submit come to what tokens made one by one do, to the bit on software drivers:
 * wherever a callback stops in the middle, whoever comes to rest first, however many tokens are left for the last
 * submit. And the device is given no more submits than that takes. */
#include "base/clock.h"
#include "session/session.h"
#include "session/session_test.h"

#include <time.h>

enum { SLOTS = 5, SNAPSHOTS = 2, PER_SUBMIT = 4, PROMPT = 6, MOST = 40, AFTER = 2 };

static PFN_vkQueueSubmit queue_submit;
static uint32_t submits;
static bool slow;

static VKAPI_ATTR VkResult VKAPI_CALL count_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                   VkFence fence)
{
    submits++;
    if (slow) nanosleep(&(struct timespec){.tv_nsec = 25000000}, NULL);
    return queue_submit(queue, count, infos, fence);
}

/* How slots [0, rows) speak. */
typedef struct speech {
    uint32_t rows, most;
    uint32_t stops[SLOTS]; /* the callback stops a slot at so many tokens; 0: never */
    int32_t end;           /* token; negative: none */
    bool asks;             /* there is a callback */
} speech;

/* What came of it, and a few tokens after that. */
typedef struct outcome {
    const speech *speech;
    uint32_t counts[SLOTS], heard[SLOTS];
    int32_t tokens[SLOTS][MOST], after[SLOTS][AFTER];
    uint64_t positions[SLOTS];
    float *states[SLOTS];
    uint32_t submits;
} outcome;

typedef struct submits_test {
    session_test test;
    retnet_session *one_by_one; /* the session of `test` makes PER_SUBMIT */
} submits_test;

static bool on_token(void *user, uint32_t slot, int32_t token)
{
    outcome *o = user;
    o->tokens[slot][o->heard[slot]++] = token;
    return o->heard[slot] != o->speech->stops[slot];
}

/* Every state is a slot's, a snapshot's, a spare or free, and there are enough of these. */
static void check_states(const retnet_session *session)
{
    const rn_session_layout *l = &session->layout;
    uint32_t held[SLOTS + SNAPSHOTS + RN_MAX_SPARES] = {0};
    for (uint32_t i = 0; i < l->holders; i++) held[session->slots[i].state]++;
    for (uint32_t i = 0; i < l->spares; i++) {
        CHECK_INT(held[session->decoder.spares[i]], 0);
        CHECK(!session->zero[session->decoder.spares[i]]);
        held[session->decoder.spares[i]]++;
    }
    for (uint32_t i = 0; i < l->holders + l->spares; i++) CHECK_INT(session->references[i], held[i]);
}

/* Each slot from the first snapshot and a token of its own, so that all of them have a state to share. */
static void start(retnet_session *session, uint32_t rows)
{
    for (uint32_t slot = 0; slot < rows; slot++) {
        CHECK_OK(retnet_session_rollback(session, slot, 0));
        session_test_read_last(session, slot, (const int32_t[]){20 + (int32_t)slot}, 1, NULL);
        CHECK_OK(retnet_session_snapshot(session, slot, 1)); /* the newest of them shares it too */
    }
}

static outcome speak(retnet_session *session, const speech *s)
{
    static const uint32_t slots[SLOTS] = {0, 1, 2, 3, 4};
    outcome o = {.speech = s};
    int32_t tokens[SLOTS * MOST];
    start(session, s->rows);
    retnet_generation wish = {
        .slots = slots,
        .slot_count = s->rows,
        .sampling = {.temperature = 0.9f, .seed = 3, .repetition_penalty = 1.2f},
        .end_tokens = &s->end,
        .end_token_count = s->end >= 0,
        .max_tokens = s->most,
        .token = s->asks ? on_token : NULL,
        .token_user = &o,
        .tokens = tokens,
        .token_counts = o.counts,
    };
    submits = 0;
    CHECK_OK(retnet_session_generate(session, &wish));
    o.submits = submits;
    check_states(session);
    for (uint32_t i = 0; i < s->rows; i++) {
        if (s->asks) CHECK_INT(o.heard[i], o.counts[i]);
        memcpy(o.tokens[i], tokens + (size_t)i * s->most, o.counts[i] * sizeof *tokens);
        o.positions[i] = retnet_session_position(session, i);
        o.states[i] = session_test_state(session, i);
    }
    /* Logits and recent tokens are where they should be. */
    wish.end_token_count = 0;
    wish.max_tokens = AFTER;
    wish.token = NULL;
    wish.tokens = o.after[0];
    wish.token_counts = NULL;
    CHECK_OK(retnet_session_generate(session, &wish));
    return o;
}

static void free_outcome(outcome *o)
{
    for (uint32_t i = 0; i < SLOTS; i++) free(o->states[i]);
}

/* The numbers of the two differ only where a GPU has other kernels for other numbers of rows, or for tokens read again.
 */
static void check_same(const submits_test *t, const char *what, const outcome *actual, const outcome *expected)
{
    double limit = session_test_company(t->test.model);
    size_t size = t->test.info.layers * t->test.state_size;
    for (uint32_t i = 0; i < actual->speech->rows; i++) {
        CHECK_INT(actual->counts[i], expected->counts[i]);
        CHECK_INT(actual->positions[i], expected->positions[i]);
        if (memcmp(actual->tokens[i], expected->tokens[i], sizeof actual->tokens[i]) != 0)
            TEST_FAIL("%s: slot %u made other tokens", what, i);
        session_test_check_same(what, actual->states[i], expected->states[i], size, limit);
        if (memcmp(actual->after[i], expected->after[i], sizeof actual->after[i]) != 0)
            TEST_FAIL("%s: slot %u goes on with other tokens", what, i);
    }
}

/* Makes the speech both ways, and gives how many submits it took. */
static uint32_t check_speech(const submits_test *t, const speech *s)
{
    char what[96];
    snprintf(what, sizeof what, "%u rows, at most %u tokens, end %d, first stop %u", s->rows, s->most, s->end,
             s->stops[0]);
    outcome actual = speak(t->test.session, s), expected = speak(t->one_by_one, s);
    check_same(t, what, &actual, &expected);
    free_outcome(&actual);
    free_outcome(&expected);
    return actual.submits;
}

/* However many are left: they take one submit, and need no recording that was not made beside another. */
static void test_rests(const submits_test *t)
{
    for (uint32_t rows = 1; rows <= 2; rows++)
        for (uint32_t most = 1; most <= 3 * PER_SUBMIT + 1; most++) {
            const speech s = {.rows = rows, .most = most, .end = -1};
            uint32_t whole = (most - 1) / PER_SUBMIT, left = (most - 1) % PER_SUBMIT;
            uint32_t taken = check_speech(t, &s), again = check_speech(t, &s);
            if (left == 1 || whole == 0) continue; /* a single token may be cut into slices */
            CHECK_INT(taken, 1 + whole + (left > 0));
            CHECK_INT(again, 1 + whole + (left > 0));
        }
}

/* A callback costs no submit; but where it may stop the text soon, few tokens at the end are made one by one. */
static void test_submits_with_callback(const submits_test *t)
{
    speech s = {.rows = 1, .most = 1 + 3 * PER_SUBMIT, .end = -1, .asks = true};
    CHECK_INT(check_speech(t, &s), 1 + 3);
    s.most = 1 + 4 * PER_SUBMIT + 2;
    CHECK_INT(check_speech(t, &s), 1 + 4 + 1);
    s.most = 1 + PER_SUBMIT + 2;
    CHECK(check_speech(t, &s) >= 1 + 1 + 2);
    s.asks = false;
    CHECK_INT(check_speech(t, &s), 1 + 1 + 1);
    s.end = 1000000; /* never comes */
    CHECK(check_speech(t, &s) >= 1 + 1 + 2);
}

/* At every place of a submit, alone, beside others that go on, that stop in the same one, and that are too many. */
static void test_stops(const submits_test *t)
{
    for (uint32_t rows = 1; rows <= SLOTS; rows += rows < 2 ? 1 : 2)
        for (uint32_t stop = 1; stop <= 2 * PER_SUBMIT + 2; stop++) {
            speech s = {.rows = rows, .most = 4 * PER_SUBMIT, .end = -1, .asks = true, .stops = {stop, stop + 1, stop}};
            check_speech(t, &s);
            if (rows == 1 || stop % 2 == 0) continue;
            s.stops[1] = s.stops[2] = 0;
            check_speech(t, &s);
        }
}

/* Rows come to rest at every place of a submit, the first token among them, by an end token of any of them. */
static void test_ends(const submits_test *t)
{
    speech s = {.rows = 3, .most = 3 * PER_SUBMIT, .end = -1, .asks = true};
    outcome whole = speak(t->one_by_one, &s);
    for (uint32_t at = 0; at <= 2 * PER_SUBMIT + 1; at++) {
        uint32_t row = at % 3;
        s.rows = 3;
        s.end = whole.tokens[row][at];
        memset(s.stops, 0, sizeof s.stops);
        check_speech(t, &s);
        s.stops[(row + 1) % 3] = at + 1; /* another is stopped in the same submit */
        check_speech(t, &s);
        s.stops[1] = s.stops[2] = 0;
        s.end = whole.tokens[0][at];
        s.rows = 1;
        check_speech(t, &s);
    }
    free_outcome(&whole);
}

/* Where the submit fails, states are what they were. */
static VKAPI_ATTR VkResult VKAPI_CALL fail_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                  VkFence fence)
{
    bool fails = submits++ == 2; /* after the start and one of several tokens */
    return fails ? VK_ERROR_OUT_OF_HOST_MEMORY : queue_submit(queue, count, infos, fence);
}

static void test_failure(const submits_test *t)
{
    const speech s = {.rows = 2, .most = 1 + PER_SUBMIT, .end = -1};
    rn_device *device = t->test.session->device;
    outcome expected = speak(t->one_by_one, &s), actual = {.speech = &s};
    start(t->test.session, s.rows);
    retnet_generation wish = {
        .slots = (const uint32_t[]){0, 1},
        .slot_count = 2,
        .sampling = {.temperature = 0.9f, .seed = 3, .repetition_penalty = 1.2f},
        .max_tokens = 1 + 3 * PER_SUBMIT,
        .token = on_token,
        .token_user = &actual,
        .token_counts = actual.counts,
    };
    submits = 0;
    device->vk.vkQueueSubmit = fail_submit;
    CHECK_REFUSED(retnet_session_generate(t->test.session, &wish), RETNET_ERROR_OUT_OF_HOST_MEMORY);
    device->vk.vkQueueSubmit = count_submit;
    check_states(t->test.session);
    for (uint32_t i = 0; i < s.rows; i++) {
        CHECK_INT(actual.counts[i], expected.counts[i]);
        CHECK(memcmp(actual.tokens[i], expected.tokens[i], sizeof actual.tokens[i]) == 0);
        CHECK_INT(retnet_session_position(t->test.session, i), expected.positions[i]);
        float *state = session_test_state(t->test.session, i);
        session_test_check_same("a state after a failure", state, expected.states[i],
                                t->test.info.layers * t->test.state_size, session_test_company(t->test.model));
        free(state);
    }
    free_outcome(&expected);
}

/* How many tokens of the first slot a submit makes if nobody has said so. */
static uint32_t chosen_units(const retnet_session *session)
{
    const rn_decode_program *program = session->decoder.programs[1];
    return program ? program->units : 0;
}

/* Where submits were slow when the number of their tokens was chosen, it is chosen again. */
static void test_choice(const submits_test *t, retnet_session *session)
{
    const speech s = {.rows = 1, .most = MOST, .end = -1};
    if (session->layout.tokens_per_submit) return; /* a software driver's */
    slow = true;
    outcome first = speak(session, &s);
    slow = false;
    CHECK(chosen_units(session) >= 1 && chosen_units(session) <= 2);
    uint64_t begin = rn_clock_ns();
    outcome second = speak(session, &s);
    if (rn_clock_ns() - begin < MOST * 8000000ull) CHECK(chosen_units(session) > 2);
    outcome expected = speak(t->one_by_one, &s);
    check_same(t, "slow submits", &first, &expected);
    check_same(t, "submits no longer slow", &second, &expected);
    free_outcome(&first);
    free_outcome(&second);
    free_outcome(&expected);
}

static retnet_session *make_session(session_test *test, uint32_t tokens_per_submit)
{
    const retnet_session_desc desc = {.slots = SLOTS, .snapshots = SNAPSHOTS, .tokens_per_submit = tokens_per_submit};
    retnet_session *session = session_test_session_of(test->model, &desc);
    int32_t *prompt = session_test_tokens(PROMPT, test->info.vocabulary_size, 9);
    session_test_read_last(session, 0, prompt, PROMPT, NULL);
    CHECK_OK(retnet_session_snapshot(session, 0, 0));
    free(prompt);
    return session;
}

int main(void)
{
    submits_test t = {.test = session_test_create(fixture_named("plain"), 1, 0)};
    rn_device *device = t.test.session->device;
    queue_submit = device->vk.vkQueueSubmit;
    device->vk.vkQueueSubmit = count_submit;
    retnet_session_destroy(t.test.session);
    t.test.session = make_session(&t.test, PER_SUBMIT);
    t.one_by_one = make_session(&t.test, 1);
    CHECK_INT(t.test.session->layout.spares, RN_MAX_SPARES);
    test_rests(&t);
    test_submits_with_callback(&t);
    test_stops(&t);
    test_ends(&t);
    test_failure(&t);
    retnet_session *by_time = make_session(&t.test, 0);
    test_choice(&t, by_time);
    retnet_session_destroy(by_time);
    retnet_session_destroy(t.one_by_one);
    session_test_destroy(&t.test);
    return session_test_finish(test_failures);
}
