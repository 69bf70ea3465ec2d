/* sampling_test.c: generation: the choice of tokens, its reproducibility, and how it ends. */
#include "reference/reference.h"
#include "session/session_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { PROMPT = 20, SLOTS = 4 };

static const int32_t prompt[PROMPT] = {5, 17, 3, 80, 44, 9, 9, 61, 2, 33, 70, 12, 95, 0, 28, 51, 6, 77, 40, 19};

/* An empty slot 0 reads the prompt. */
static void start(session_test *test, float *logits)
{
    CHECK_OK(retnet_session_reset(test->session, 0));
    session_test_read_last(test->session, 0, prompt, PROMPT, logits);
}

/* Generates in slot 0 after the prompt, and gives the number of tokens. */
static uint32_t generate(session_test *test, retnet_sampling sampling, uint32_t max_tokens, int32_t *tokens)
{
    uint32_t count = UINT32_MAX;
    start(test, NULL);
    retnet_generation generation = {
        .sampling = sampling, .max_tokens = max_tokens, .tokens = tokens, .token_counts = &count};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    return count;
}

static int32_t largest(const float *logits, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Every generated token is the largest of the logits before it, and of all that narrow a draw down to one. */
static void test_greedy(session_test *test)
{
    enum { COUNT = 20 };
    int32_t tokens[COUNT], others[COUNT];
    float *logits = session_test_alloc(test->info.vocabulary_size, sizeof *logits);
    CHECK_INT(generate(test, (retnet_sampling){0}, COUNT, tokens), COUNT);
    CHECK_INT(retnet_session_position(test->session, 0), PROMPT + COUNT - 1);
    start(test, logits);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_INT(tokens[i], largest(logits, test->info.vocabulary_size));
        session_test_read_last(test->session, 0, &tokens[i], 1, logits);
    }
    const retnet_sampling narrow[] = {{.temperature = 1, .top_k = 1},
                                      {.temperature = 1, .top_p = 1e-6f},
                                      {.temperature = 1, .min_p = 0.9999999f},
                                      {.temperature = 1e-6f},
                                      {.temperature = 0, .top_k = 7, .top_p = 0.5f, .seed = 9},
                                      {.temperature = 0, .repetition_penalty = 1, .repetition_window = 256}};
    for (size_t s = 0; s < sizeof narrow / sizeof *narrow; s++) {
        CHECK_INT(generate(test, narrow[s], COUNT, others), COUNT);
        if (memcmp(tokens, others, sizeof tokens) != 0) TEST_FAIL("sampling %zu is not greedy", s);
    }
    free(logits);
}

/* A penalty on tokens of the window, recomputed here from the logits. */
static void check_penalty(session_test *test, float penalty, uint32_t window)
{
    enum { COUNT = 50 }; /* so that the prompt falls out of the usual window of 64 */
    int32_t text[PROMPT + COUNT];
    float *logits = session_test_alloc(test->info.vocabulary_size, sizeof *logits);
    memcpy(text, prompt, sizeof prompt);
    retnet_sampling sampling = {.repetition_penalty = penalty, .repetition_window = window};
    CHECK_INT(generate(test, sampling, COUNT, text + PROMPT), COUNT);
    start(test, logits);
    for (size_t n = PROMPT; n < PROMPT + COUNT; n++) {
        size_t recent = window ? window : 64;
        float *penalised = session_test_alloc(test->info.vocabulary_size, sizeof *penalised);
        memcpy(penalised, logits, test->info.vocabulary_size * sizeof *logits);
        for (size_t i = n > recent ? n - recent : 0; i < n; i++) {
            float logit = logits[text[i]];
            penalised[text[i]] = logit > 0 ? logit / penalty : logit * penalty;
        }
        int32_t expected = largest(penalised, test->info.vocabulary_size);
        /* A tie to rounding may go either way. */
        if (text[n] != expected && !(penalised[expected] - penalised[text[n]] <= 1e-6f))
            TEST_FAIL("penalty %g, window %u: token %zu is %d, expected %d", penalty, window, n, text[n], expected);
        free(penalised);
        session_test_read_last(test->session, 0, &text[n], 1, logits);
    }
    free(logits);
}

static void test_seeds(session_test *test)
{
    enum { COUNT = 50 };
    int32_t first[COUNT], again[COUNT], other[COUNT], forks[SLOTS * COUNT];
    const retnet_sampling sampling = {
        .temperature = 0.9f, .top_k = 40, .top_p = 0.95f, .min_p = 0.01f, .seed = 1234567890123};
    retnet_sampling other_seed = sampling;
    other_seed.seed += (uint64_t)1 << 32; /* all 64 bits count */
    CHECK_INT(generate(test, sampling, COUNT, first), COUNT);
    CHECK_INT(generate(test, sampling, COUNT, again), COUNT);
    CHECK_INT(generate(test, other_seed, COUNT, other), COUNT);
    CHECK(memcmp(first, again, sizeof first) == 0);
    CHECK(memcmp(first, other, sizeof first) != 0);

    /* The same state in other slots, in one batch and in two calls: the same text. */
    const uint32_t slots[SLOTS] = {2, 0, 3, 1};
    start(test, NULL);
    for (uint32_t slot = 1; slot < SLOTS; slot++) CHECK_OK(retnet_session_fork(test->session, 0, slot));
    retnet_generation generation = {
        .slots = slots, .slot_count = SLOTS, .sampling = sampling, .max_tokens = COUNT, .tokens = forks};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    for (size_t s = 0; s < SLOTS; s++) CHECK(memcmp(first, forks + s * COUNT, sizeof first) == 0);
}

/* Draws of one token from the same logits with many seeds: none outside the set, and frequencies as the softmax of the
 * set says, within five standard deviations. */
static void test_distribution(session_test *test)
{
    enum { DRAWS = 300, KEPT = 4 };
    size_t vocabulary = test->info.vocabulary_size, outside = 0;
    float *logits = session_test_alloc(vocabulary, sizeof *logits);
    size_t *drawn = session_test_alloc(vocabulary, sizeof *drawn);
    start(test, logits);
    for (uint64_t draw = 0; draw < DRAWS; draw++) {
        int32_t token = -1;
        CHECK_OK(retnet_session_fork(test->session, 0, 1));
        retnet_generation generation = {
            .slots = (const uint32_t[]){1}, .slot_count = 1, .max_tokens = 1, .tokens = &token};
        generation.sampling = (retnet_sampling){.temperature = 2, .top_k = KEPT, .seed = draw};
        CHECK_OK(retnet_session_generate(test->session, &generation));
        REQUIRE(token >= 0 && (size_t)token < vocabulary);
        drawn[token]++;
    }
    int32_t kept[KEPT];
    double p[KEPT], sum = 0;
    for (size_t i = 0; i < KEPT; i++) {
        kept[i] = largest(logits, vocabulary);
        sum += p[i] = exp(logits[kept[i]] / 2.0);
        logits[kept[i]] = -INFINITY;
    }
    for (size_t i = 0; i < KEPT; i++) {
        p[i] /= sum;
        CHECK_AT_MOST(fabs((double)drawn[kept[i]] - DRAWS * p[i]), 5 * sqrt(DRAWS * p[i] * (1 - p[i])));
        drawn[kept[i]] = 0;
    }
    for (size_t i = 0; i < vocabulary; i++) outside += drawn[i];
    CHECK_INT(outside, 0);
    free(logits);
    free(drawn);
}

/* ---- Endings ----------------------------------------------------------------------------------------------------- */

/* Slot 0 stands where a slot stands that read the prompt and these tokens. */
static void check_stands_after(session_test *test, const int32_t *tokens, size_t count)
{
    size_t states = test->info.layers * test->state_size;
    CHECK_INT(retnet_session_position(test->session, 0), PROMPT + count);
    CHECK_OK(retnet_session_reset(test->session, 1));
    session_test_read_last(test->session, 1, prompt, PROMPT, NULL);
    session_test_read_singly(test->session, 1, tokens, count, NULL);
    float *actual = session_test_state(test->session, 0), *expected = session_test_state(test->session, 1);
    session_test_check_same("state after generating", actual, expected, states, 1e-6);
    free(actual);
    free(expected);
}

typedef struct listener {
    int32_t tokens[4096];
    atomic_uint count;
    uint32_t stop_at;        /* return false at this token; 0: never */
    retnet_session *cancels; /* cancel from the callback at stop_at instead */
} listener;

static bool on_token(void *user, uint32_t slot, int32_t token)
{
    listener *l = user;
    CHECK_INT(slot, 0);
    unsigned n = atomic_load(&l->count);
    if (n < sizeof l->tokens / sizeof *l->tokens) l->tokens[n] = token;
    atomic_store(&l->count, ++n);
    if (l->stop_at == 0 || n < l->stop_at) return true;
    if (!l->cancels) return false;
    retnet_session_cancel(l->cancels);
    return true;
}

static void test_end_token(session_test *test)
{
    enum { COUNT = 30 };
    int32_t tokens[COUNT], ended[COUNT];
    uint32_t count = 0, stop = 12;
    generate(test, (retnet_sampling){.temperature = 1, .seed = 3}, COUNT, tokens);
    for (uint32_t i = 0; i < stop; i++) /* its first appearance ends the text */
        if (tokens[i] == tokens[stop]) stop = i;
    listener l = {.stop_at = 0};
    start(test, NULL);
    retnet_generation generation = {.sampling = {.temperature = 1, .seed = 3},
                                    .end_tokens = (const int32_t[]){tokens[stop]},
                                    .end_token_count = 1,
                                    .max_tokens = COUNT,
                                    .token = on_token,
                                    .token_user = &l,
                                    .tokens = ended,
                                    .token_counts = &count};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    CHECK_INT(count, stop + 1);
    CHECK_INT(atomic_load(&l.count), stop + 1);
    CHECK(memcmp(ended, tokens, (stop + 1) * sizeof *tokens) == 0);
    CHECK(memcmp(l.tokens, tokens, (stop + 1) * sizeof *tokens) == 0);
    check_stands_after(test, tokens, stop); /* the end token is not in the state */

    /* The next-token logits are known: generation goes on without reading anything. */
    int32_t next = -1;
    generation.max_tokens = 1;
    generation.tokens = &next;
    generation.sampling = (retnet_sampling){.temperature = 0};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    CHECK_INT(count, 1);
    CHECK_INT(retnet_session_position(test->session, 0), PROMPT + stop);
    float *logits = session_test_alloc(test->info.vocabulary_size, sizeof *logits);
    CHECK_OK(retnet_session_reset(test->session, 1));
    session_test_read_last(test->session, 1, prompt, PROMPT, logits);
    if (stop > 0) session_test_read_singly(test->session, 1, tokens, stop - 1, NULL);
    if (stop > 0) session_test_read_last(test->session, 1, &tokens[stop - 1], 1, logits);
    CHECK_INT(next, largest(logits, test->info.vocabulary_size));
    free(logits);
}

static void test_callback_stops(session_test *test)
{
    for (uint32_t stop_at = 1; stop_at <= 9; stop_at += 4) {
        uint32_t count = 0;
        listener l = {.stop_at = stop_at};
        start(test, NULL);
        retnet_generation generation = {
            .sampling = {.temperature = 1}, .token = on_token, .token_user = &l, .token_counts = &count};
        CHECK_OK(retnet_session_generate(test->session, &generation));
        CHECK_INT(atomic_load(&l.count), stop_at);
        CHECK_INT(count, stop_at);
        check_stands_after(test, l.tokens, stop_at - 1);
    }
}

static void test_callback_cancels(session_test *test)
{
    uint32_t count = 0;
    listener l = {.stop_at = 7, .cancels = test->session};
    start(test, NULL);
    retnet_generation generation = {
        .sampling = {.temperature = 1}, .token = on_token, .token_user = &l, .token_counts = &count};
    CHECK_RESULT(retnet_session_generate(test->session, &generation), RETNET_CANCELLED);
    unsigned made = atomic_load(&l.count); /* submits under way may still have delivered theirs */
    CHECK(made >= 7);
    CHECK_INT(count, made);
    REQUIRE(made < sizeof l.tokens / sizeof *l.tokens);
    check_stands_after(test, l.tokens, made - 1);
}

static void wait_milliseconds(long milliseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000}, NULL);
}

/* Cancels again and again, for a cancel before the call has begun is none. */
typedef struct canceller {
    retnet_session *session;
    atomic_bool done;
    long delay;
} canceller;

static void *cancel_later(void *user)
{
    canceller *c = user;
    wait_milliseconds(c->delay);
    while (!atomic_load(&c->done)) {
        retnet_session_cancel(c->session);
        wait_milliseconds(5);
    }
    return NULL;
}

static void test_thread_cancels_generate(session_test *test)
{
    pthread_t thread;
    listener *l = session_test_alloc(1, sizeof *l);
    canceller c = {.session = test->session, .delay = 60};
    start(test, NULL);
    retnet_generation generation = {.sampling = {.temperature = 1}, .token = on_token, .token_user = l};
    REQUIRE(pthread_create(&thread, NULL, cancel_later, &c) == 0);
    CHECK_RESULT(retnet_session_generate(test->session, &generation), RETNET_CANCELLED);
    atomic_store(&c.done, true);
    pthread_join(thread, NULL);
    unsigned made = atomic_load(&l->count);
    uint64_t read = retnet_session_position(test->session, 0) - PROMPT;
    CHECK(read == made || read + 1 == made); /* the last one counts if its reading had begun */
    if (made > 0 && made <= sizeof l->tokens / sizeof *l->tokens) check_stands_after(test, l->tokens, read);
    free(l);
}

/* A long prompt: the slot stands after the last chunk that was finished, and has read just that. */
static void test_thread_cancels_run(session_test *test)
{
    enum { LONG = 200000 };
    pthread_t thread;
    canceller c = {.session = test->session, .delay = 100};
    int32_t *tokens = session_test_tokens(LONG, test->info.vocabulary_size, 7);
    CHECK_OK(retnet_session_reset(test->session, 0));
    CHECK_OK(retnet_session_reset(test->session, 1));
    retnet_span span = {.tokens = tokens, .count = LONG};
    REQUIRE(pthread_create(&thread, NULL, cancel_later, &c) == 0);
    CHECK_RESULT(retnet_session_run(test->session, &span, 1), RETNET_CANCELLED);
    atomic_store(&c.done, true);
    pthread_join(thread, NULL);
    uint64_t position = retnet_session_position(test->session, 0);
    CHECK(position < LONG);
    if (position > 0) session_test_read_last(test->session, 1, tokens, (size_t)position, NULL);
    float *actual = session_test_state(test->session, 0), *expected = session_test_state(test->session, 1);
    session_test_check_same("state after a cancelled prompt", actual, expected, test->info.layers * test->state_size,
                            1e-4);
    free(actual);
    free(expected);
    free(tokens);
}

static void test_idle_cancel(session_test *test)
{
    int32_t tokens[4];
    retnet_session_cancel(test->session);
    CHECK_INT(generate(test, (retnet_sampling){0}, 4, tokens), 4);
}

/* ---- Bias, bans and log-probabilities ---------------------------------------------------------------------------- */

/* Greedy with a ban and biases, recomputed here from the logits, and what the model alone gives each token. */
static void test_bias(session_test *test)
{
    enum { COUNT = 25 };
    size_t vocabulary = test->info.vocabulary_size;
    int32_t plain[COUNT], tokens[COUNT];
    float log_probs[COUNT], *logits = session_test_alloc(vocabulary, sizeof *logits);
    double *wide = session_test_alloc(vocabulary, sizeof *wide);
    generate(test, (retnet_sampling){0}, COUNT, plain);
    const retnet_logit_bias biases[] = {{7, 1.5f}, {plain[1], -2}, {7, 1}};
    const retnet_sampling sampling = {
        .biases = biases, .bias_count = 3, .banned_tokens = plain, .banned_count = 1, .repetition_penalty = 1.1f};
    start(test, NULL);
    retnet_generation generation = {
        .sampling = sampling, .max_tokens = COUNT, .tokens = tokens, .log_probs = log_probs};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    int32_t read[PROMPT + COUNT];
    memcpy(read, prompt, sizeof prompt);
    start(test, logits);
    for (int i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < vocabulary; k++) wide[k] = logits[k];
        double expected = ref_log_prob(wide, vocabulary, tokens[i]);
        CHECK_AT_MOST(fabs(log_probs[i] - expected), 1e-4);
        ref_adjust(&sampling, logits, vocabulary, read, (size_t)(PROMPT + i)); /* all of it is in the window */
        CHECK_AT_MOST(logits[largest(logits, vocabulary)] - logits[tokens[i]], 1e-5);
        CHECK(tokens[i] != plain[0]);
        read[PROMPT + i] = tokens[i];
        session_test_read_last(test->session, 0, &tokens[i], 1, logits);
    }
    free(logits);
    free(wide);
}

/* Nothing left to choose from is an error that leaves the slot as it was. */
static void test_bans(session_test *test)
{
    enum { MANY = 600 };
    size_t vocabulary = test->info.vocabulary_size;
    int32_t all[MANY], token = -1;
    REQUIRE(vocabulary <= 512);
    for (int32_t i = 0; i < MANY; i++) all[i] = i % (int32_t)vocabulary;
    start(test, NULL);
    retnet_generation generation = {.max_tokens = 1, .tokens = &token};
    generation.sampling = (retnet_sampling){.banned_tokens = all, .banned_count = vocabulary};
    CHECK_REFUSED(retnet_session_generate(test->session, &generation), RETNET_ERROR_INVALID_ARGUMENT);
    generation.sampling.temperature = 1;
    CHECK_REFUSED(retnet_session_generate(test->session, &generation), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_session_position(test->session, 0), PROMPT);
    generation.sampling.banned_count--; /* one is left */
    CHECK_OK(retnet_session_generate(test->session, &generation));
    CHECK_INT(token, vocabulary - 1);
    check_stands_after(test, NULL, 0);

    const retnet_logit_bias wrong[] = {{(int32_t)vocabulary, 1}, {-1, 1}, {0, NAN}, {0, INFINITY}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        generation.sampling = (retnet_sampling){.biases = &wrong[i], .bias_count = 1};
        CHECK_REFUSED(retnet_session_generate(test->session, &generation), RETNET_ERROR_INVALID_ARGUMENT);
    }
    generation.sampling = (retnet_sampling){.banned_count = 1};
    CHECK_REFUSED(retnet_session_generate(test->session, &generation), RETNET_ERROR_INVALID_ARGUMENT);
    generation = (retnet_generation){.max_tokens = 1, .end_tokens = all, .end_token_count = 257};
    CHECK_REFUSED(retnet_session_generate(test->session, &generation), RETNET_ERROR_LIMIT);
}

/* Several slots of which one ends early and one is stopped by its callback, with tokens of the others on the way. */
typedef struct chorus {
    uint32_t counts[SLOTS];
    int32_t tokens[SLOTS][64];
} chorus;

static bool on_chorus(void *user, uint32_t slot, int32_t token)
{
    chorus *c = user;
    c->tokens[slot][c->counts[slot]++] = token;
    return slot != 2 || c->counts[slot] < 10;
}

static void test_chorus(session_test *test)
{
    enum { COUNT = 23 };
    const uint32_t slots[SLOTS] = {0, 1, 2, 3};
    chorus c = {0};
    start(test, NULL);
    for (uint32_t slot = 1; slot < SLOTS; slot++) {
        const int32_t own = 10 + (int32_t)slot;
        CHECK_OK(retnet_session_fork(test->session, 0, slot));
        session_test_read_last(test->session, slot, &own, 1, NULL);
    }
    retnet_generation generation = {.slots = slots,
                                    .slot_count = SLOTS,
                                    .sampling = {.temperature = 1, .seed = 5},
                                    .max_tokens = COUNT,
                                    .token = on_chorus,
                                    .token_user = &c};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    for (uint32_t slot = 1; slot < SLOTS; slot++) {
        uint32_t expected = slot == 2 ? 10 : COUNT;
        const int32_t own = 10 + (int32_t)slot;
        CHECK_INT(c.counts[slot], expected);
        CHECK_INT(retnet_session_position(test->session, slot), PROMPT + expected);
        /* What a slot says alone, one token after the other, and where it then stands. */
        start(test, NULL);
        session_test_read_last(test->session, 0, &own, 1, NULL);
        session_test_read_singly(test->session, 0, c.tokens[slot], expected - 1, NULL);
        float *actual = session_test_state(test->session, slot), *alone = session_test_state(test->session, 0);
        session_test_check_same("a slot of several", actual, alone, test->info.layers * test->state_size, 1e-5);
        free(actual);
        free(alone);
    }
}

static void test_choices(session_test *test)
{
    test_greedy(test);
    check_penalty(test, 1.3f, 0);
    check_penalty(test, 100, 10);
    check_penalty(test, 0.5f, 256);
    test_seeds(test);
    test_bias(test);
    test_bans(test);
}

static void test_endings(session_test *test)
{
    test_end_token(test);
    test_callback_stops(test);
    test_callback_cancels(test);
    test_chorus(test);
    test_thread_cancels_generate(test);
}

int main(void)
{
    session_test test = session_test_create(fixture_named("odd-v"), SLOTS, 0);
    test_choices(&test);
    test_endings(&test);
    test_distribution(&test);
    test_thread_cancels_run(&test);
    test_idle_cancel(&test);
    /* With tokens on the way that a callback or an end token makes void, and that others depend on. */
    for (uint32_t tokens = 2; tokens <= 7; tokens += 5) {
        retnet_session_destroy(test.session);
        test.session =
            session_test_session_of(test.model, &(retnet_session_desc){.slots = SLOTS, .tokens_per_submit = tokens});
        test_endings(&test);
    }
    test_choices(&test);
    session_test_destroy(&test);
    return session_test_finish(test_failures);
}
