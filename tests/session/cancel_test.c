/* cancel_test.c: a cancel ends a call between the submits of one pass, and what was begun is finished by the next call:
 * a prompt and a text that are interrupted again and again end up, to the bit, where uninterrupted ones do. */
#include "pretend.h"
#include "session/session_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { COUNT = 300, MADE = 20 };

typedef struct canceller {
    retnet_session *session;
    atomic_bool done;
} canceller;

static void *cancel_always(void *user)
{
    canceller *c = user;
    uint64_t random = 1;
    while (!c->done) {
        struct timespec pause = {0, (long)((test_random(&random) + 1) * 2e6f)};
        nanosleep(&pause, NULL);
        retnet_session_cancel(c->session);
    }
    return NULL;
}

static retnet_context *create_context(uint32_t submit_budget_us)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = {.submit_budget_us = submit_budget_us, .pretend = test_pretend()};
    retnet_result result = retnet_context_create(&desc, &context);
    if (result == RETNET_ERROR_NO_DEVICE) exit(TEST_SKIPPED);
    REQUIRE(result == RETNET_OK);
    return context;
}

/* Slot 0 reads, from wherever it was stopped; returns how often it was. */
static unsigned read_in_pieces(retnet_session *session, const int32_t *tokens)
{
    unsigned cancelled = 0;
    uint64_t at = 0;
    while (at < COUNT) {
        retnet_span span = {.tokens = tokens + at, .count = COUNT - at};
        retnet_result result = retnet_session_run(session, &span, 1);
        uint64_t position = retnet_session_position(session, 0);
        if (result != RETNET_CANCELLED) CHECK_OK(result);
        CHECK(position >= at && position <= COUNT && (result == RETNET_CANCELLED || position == COUNT));
        CHECK(position % 64 == 0 || position == COUNT); /* whole chunks */
        cancelled += result == RETNET_CANCELLED;
        at = position;
    }
    return cancelled;
}

/* Slot 0 speaks greedily, and goes on where it was stopped: either the newest token was read, or it has to be. */
static unsigned speak_in_pieces(retnet_session *session, int32_t *made)
{
    unsigned cancelled = 0;
    uint32_t count = 0, tries = 0;
    uint64_t begin = retnet_session_position(session, 0);
    while (count < MADE && tries++ < 2000) {
        uint32_t fresh = 0;
        int32_t tokens[MADE];
        retnet_generation generation = {.max_tokens = MADE - count, .tokens = tokens, .token_counts = &fresh};
        retnet_result result = retnet_session_generate(session, &generation);
        if (result != RETNET_CANCELLED) CHECK_OK(result);
        cancelled += result == RETNET_CANCELLED;
        memcpy(made + count, tokens, fresh * sizeof *tokens);
        count += fresh;
        uint64_t read = retnet_session_position(session, 0) - begin;
        REQUIRE(read == count || read + 1 == count);
        while (count < MADE && read < count) { /* the token that was made last, until it is read */
            retnet_result again = retnet_session_run(session, &(retnet_span){.tokens = made + read, .count = 1}, 1);
            if (again != RETNET_CANCELLED) CHECK_OK(again);
            read = retnet_session_position(session, 0) - begin;
        }
    }
    CHECK_INT(count, MADE);
    return cancelled;
}

static void check_same(retnet_session *session, retnet_session *other, size_t size)
{
    float *a = session_test_state(session, 0), *b = session_test_state(other, 0);
    CHECK_INT(retnet_session_position(session, 0), retnet_session_position(other, 0));
    if (memcmp(a, b, size * sizeof *a) != 0) TEST_FAIL("the states differ");
    free(a);
    free(b);
}

int main(void)
{
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("plain"), directory);
    /* One stage a submit here, and there as usual. */
    retnet_context *contexts[] = {create_context(1), create_context(0)};
    retnet_model *models[2];
    retnet_session *sessions[2];
    for (int i = 0; i < 2; i++) {
        models[i] = session_test_model(contexts[i], directory, RETNET_WEIGHTS_AS_STORED);
        sessions[i] = session_test_session(models[i], 1, 64);
    }
    retnet_model_info info;
    retnet_model_get_info(models[0], &info);
    size_t size = (size_t)info.layers * info.heads * info.key_size * info.value_size;
    int32_t *tokens = session_test_tokens(COUNT, info.vocabulary_size, 8), made[2][MADE];
    canceller c = {.session = sessions[0]};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, cancel_always, &c) == 0);
    unsigned cancelled = read_in_pieces(sessions[0], tokens);
    read_in_pieces(sessions[1], tokens);
    check_same(sessions[0], sessions[1], size);
    cancelled += speak_in_pieces(sessions[0], made[0]);
    speak_in_pieces(sessions[1], made[1]);
    c.done = true;
    pthread_join(thread, NULL);
    if (memcmp(made[0], made[1], sizeof made[0]) != 0) TEST_FAIL("other tokens after cancels");
    CHECK(cancelled > 0);
    printf("cancelled %u times\n", cancelled);
    check_same(sessions[0], sessions[1], size);
    for (int i = 0; i < 2; i++) {
        retnet_session_destroy(sessions[i]);
        retnet_model_destroy(models[i]);
        retnet_context_destroy(contexts[i]);
    }
    free(tokens);
    return session_test_finish(test_failures);
}
