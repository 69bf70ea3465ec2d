/* threads_test.c: two models, four sessions, four threads, one queue. Each thread lets its session read and speak by
 * turns through calls that wait and through tasks, and hears to the bit what the same session hears alone. The first
 * argument is another number of rounds. Built with RETNET_SANITIZE=thread this is where races show. */
#include "session/session_test.h"

#include <pthread.h>

enum { MODELS = 2, SESSIONS = 4, SLOTS = 3, MADE = 24, PROMPT = 40 };

typedef struct worker {
    retnet_model *model;
    uint32_t number, rounds;
    int32_t (*tokens)[SLOTS][MADE]; /* [rounds] */
    uint32_t counts[SLOTS];         /* of the round under way */
    uint32_t round;
    bool tasks;
    retnet_session *session;
} worker;

static bool on_token(void *user, uint32_t slot, int32_t token)
{
    worker *w = user;
    REQUIRE(slot < SLOTS && w->counts[slot] < MADE);
    w->tokens[w->round][slot][w->counts[slot]++] = token;
    return true;
}

static int32_t *prompt_of(const worker *w, uint32_t slot, size_t *count)
{
    retnet_model_info info;
    retnet_model_get_info(w->model, &info);
    *count = 1 + (size_t)(w->number * 7 + w->round * 5 + slot * 13) % PROMPT;
    return session_test_tokens(*count, info.vocabulary_size, w->number * 100 + w->round * 10 + slot);
}

static const retnet_sampling sampling = {.temperature = 1, .seed = 3};

static void round_by_tasks(worker *w)
{
    bool busy = true;
    for (uint32_t i = 0; i < SLOTS; i++) {
        size_t count;
        int32_t *tokens = prompt_of(w, i, &count);
        retnet_task task = {.slot = i,
                            .tokens = tokens,
                            .count = count,
                            .max_tokens = MADE,
                            .sampling = sampling,
                            .token = on_token,
                            .token_user = w};
        CHECK_OK(retnet_session_start(w->session, &task));
        free(tokens);
    }
    while (busy) {
        CHECK_OK(retnet_session_step(w->session, 4000, NULL));
        CHECK_OK(retnet_session_wait(w->session));
        busy = false;
        for (uint32_t i = 0; i < SLOTS; i++) busy = busy || retnet_session_busy(w->session, i);
    }
}

static void round_by_calls(worker *w)
{
    int32_t *tokens[SLOTS];
    retnet_span spans[SLOTS] = {0};
    uint32_t slots[SLOTS];
    for (uint32_t i = 0; i < SLOTS; i++) {
        slots[i] = spans[i].slot = i;
        spans[i].tokens = tokens[i] = prompt_of(w, i, &spans[i].count);
    }
    CHECK_OK(retnet_session_run(w->session, spans, SLOTS));
    retnet_generation generation = {.slots = slots,
                                    .slot_count = SLOTS,
                                    .sampling = sampling,
                                    .max_tokens = MADE,
                                    .token = on_token,
                                    .token_user = w};
    CHECK_OK(retnet_session_generate(w->session, &generation));
    for (uint32_t i = 0; i < SLOTS; i++) free(tokens[i]);
}

static void *work(void *user)
{
    worker *w = user;
    w->session = session_test_session(w->model, SLOTS, 64);
    for (w->round = 0; w->round < w->rounds; w->round++) {
        memset(w->counts, 0, sizeof w->counts);
        if (w->tasks && w->round % 2)
            round_by_tasks(w);
        else
            round_by_calls(w);
        for (uint32_t i = 0; i < SLOTS; i++) {
            CHECK_INT(w->counts[i], MADE);
            if (w->round % 3 == 2) CHECK_OK(retnet_session_reset(w->session, i));
        }
    }
    return NULL;
}

static worker make_worker(retnet_model *const *models, uint32_t number, uint32_t rounds, bool tasks)
{
    worker w = {.model = models[number % MODELS], .number = number, .rounds = rounds, .tasks = tasks};
    w.tokens = session_test_alloc(rounds, sizeof *w.tokens);
    return w;
}

static void check_worker(const worker *w, retnet_model *const *models)
{
    worker alone = make_worker(models, w->number, w->rounds, false);
    work(&alone);
    if (memcmp(w->tokens, alone.tokens, w->rounds * sizeof *w->tokens) != 0)
        TEST_FAIL("session %u heard other tokens than alone", w->number);
    retnet_session_destroy(alone.session);
    free(alone.tokens);
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 6;
    const char *const fixtures_used[MODELS] = {"plain", "gqa"};
    retnet_context *context = session_test_context();
    retnet_model *models[MODELS];
    worker workers[SESSIONS];
    pthread_t threads[SESSIONS];
    for (int i = 0; i < MODELS; i++) {
        char directory[512];
        session_test_directory(directory, sizeof directory);
        fixture_write(fixture_named(fixtures_used[i]), directory);
        models[i] = session_test_model(context, directory, RETNET_WEIGHTS_AS_STORED);
    }
    for (uint32_t i = 0; i < SESSIONS; i++) workers[i] = make_worker(models, i, rounds, true);
    for (int i = 0; i < SESSIONS; i++) REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    for (int i = 0; i < SESSIONS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < SESSIONS; i++) {
        check_worker(&workers[i], models);
        retnet_session_destroy(workers[i].session);
        free(workers[i].tokens);
    }
    for (int i = 0; i < MODELS; i++) retnet_model_destroy(models[i]);
    retnet_context_destroy(context);
    return session_test_finish(test_failures);
}
