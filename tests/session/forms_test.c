/* forms_test.c: a prompt in one piece, token by token, and split at any place gives the same logits and the same state,
 * and both are those of the double-precision reference, for every kind of model that a config can ask for. Each model
 * is split at some of the places, so that each place is met by several models of either dialect. */
#include "reference/reference.h"
#include "session/session_test.h"

enum { TOKENS = 134, SINGLE = 66 };

/* What the reference makes of the prompt. */
typedef struct expected {
    double *logits; /* [TOKENS, vocabulary] */
    double *states; /* [layers, H, K, V] */
    size_t logit_count, state_count;
} expected;

static expected compute_expected(const char *directory, const int32_t *tokens)
{
    ref_sequence sequence;
    ref_model *model = ref_model_open(directory);
    REQUIRE(model);
    expected e = {.logit_count = (size_t)TOKENS * model->config.vocabulary,
                  .state_count = model->config.layers * ref_state_size(model)};
    double *output = session_test_alloc((size_t)TOKENS * model->config.hidden, sizeof *output);
    e.logits = session_test_alloc(e.logit_count, sizeof *e.logits);
    ref_sequence_init(model, &sequence);
    ref_model_read(model, &sequence, tokens, TOKENS, output);
    ref_model_logits(model, output, TOKENS, e.logits);
    e.states = sequence.states;
    free(output);
    ref_model_close(model);
    return e;
}

/* The slot's logits and state after the whole prompt against the reference, and against those of the whole prompt. */
static void check_result(const char *what, session_test *test, const expected *e, const float *logits,
                         const float *whole)
{
    float *state = session_test_state(test->session, 0);
    session_test_check_logits(what, logits, e->logits, TOKENS, test->info.vocabulary_size, 0);
    session_test_check_rms(what, state, e->states, e->state_count, 1e-4);
    session_test_check_same(what, logits, whole, e->logit_count, 1e-4);
    CHECK_INT(retnet_session_position(test->session, 0), TOKENS);
    free(state);
}

/* Reads the prompt in pieces that end at the given places, and at its end. */
static void check_pieces(const char *name, session_test *test, const expected *e, const int32_t *tokens,
                         const size_t *ends, size_t end_count, const float *whole)
{
    char what[128];
    size_t first = 0, vocabulary = test->info.vocabulary_size;
    float *logits = session_test_alloc(e->logit_count, sizeof *logits);
    snprintf(what, sizeof what, "%s, split at %zu and %zu more", name, ends[0], end_count - 1);
    CHECK_OK(retnet_session_reset(test->session, 0));
    for (size_t i = 0; i <= end_count; i++) {
        size_t end = i < end_count ? ends[i] : TOKENS;
        session_test_read_all(test->session, 0, tokens + first, end - first, logits + first * vocabulary);
        first = end;
    }
    check_result(what, test, e, logits, whole);
    free(logits);
}

/* The recurrent form as far as a chunk of 64 and beyond, and the chunkwise form from there. */
static void check_singly(const char *name, session_test *test, const expected *e, const int32_t *tokens,
                         const float *whole)
{
    float *logits = session_test_alloc(e->logit_count, sizeof *logits);
    CHECK_OK(retnet_session_reset(test->session, 0));
    session_test_read_singly(test->session, 0, tokens, SINGLE, logits);
    session_test_read_all(test->session, 0, tokens + SINGLE, TOKENS - SINGLE,
                          logits + (size_t)SINGLE * test->info.vocabulary_size);
    check_result(name, test, e, logits, whole);
    free(logits);
}

/* log_probs of the prompt, and last_logits, are what all_logits says they are. */
static void check_outputs(const char *name, session_test *test, const expected *e, const int32_t *tokens,
                          const float *whole)
{
    size_t vocabulary = test->info.vocabulary_size;
    float log_probs[TOKENS], *last = session_test_alloc(vocabulary, sizeof *last);
    CHECK_OK(retnet_session_reset(test->session, 0));
    retnet_span span = {.tokens = tokens, .count = 100, .log_probs = log_probs};
    CHECK_OK(retnet_session_run(test->session, &span, 1));
    span = (retnet_span){.tokens = tokens + 100, .count = TOKENS - 100, .log_probs = log_probs + 100};
    span.last_logits = last;
    CHECK_OK(retnet_session_run(test->session, &span, 1));
    CHECK(isnan(log_probs[0]));
    for (size_t i = 1; i < TOKENS; i++) {
        double p = ref_log_prob(e->logits + (i - 1) * vocabulary, vocabulary, tokens[i]);
        if (!(fabs(p - log_probs[i]) <= (i <= 2 ? 4e-3 : 4e-4)))
            TEST_FAIL("%s: log_probs[%zu] is %g, expected %g", name, i, log_probs[i], p);
    }
    session_test_check_same(name, last, whole + (TOKENS - 1) * vocabulary, vocabulary, 1e-4);
    free(last);
}

static void check_fixture(const fixture *f, uint32_t prompt_chunk)
{
    static const size_t splits[] = {1, 2, 31, 63, 64, 65, 100, 128, TOKENS - 1};
    static const size_t many[] = {3, 4, 70, 71, 72, 131};
    enum { SPLITS = RN_COUNT(splits), TURNS = 3 };
    static size_t turn; /* of the models */
    char name[64];
    snprintf(name, sizeof name, "%s, prompt chunk %u", f->name, prompt_chunk);
    session_test test = session_test_create(f, 1, prompt_chunk);
    int32_t *tokens = session_test_tokens(TOKENS, test.info.vocabulary_size, f->seed);
    expected e = compute_expected(test.directory, tokens);
    float *whole = session_test_alloc(e.logit_count, sizeof *whole);
    session_test_read_all(test.session, 0, tokens, TOKENS, whole);
    check_result(name, &test, &e, whole, whole);
    check_singly(name, &test, &e, tokens, whole);
    for (size_t i = turn++ % TURNS; i < SPLITS; i += TURNS) check_pieces(name, &test, &e, tokens, &splits[i], 1, whole);
    check_pieces(name, &test, &e, tokens, many, RN_COUNT(many), whole);
    check_outputs(name, &test, &e, tokens, whole);
    free(whole);
    free(e.logits);
    free(e.states);
    free(tokens);
    session_test_destroy(&test);
}

/* With arguments: only the fixtures of these names. */
int main(int argc, char **argv)
{
    for (const fixture *f = fixtures; argc < 2 && f->name; f++) check_fixture(f, 0);
    for (int i = 1; i < argc; i++) check_fixture(fixture_named(argv[i]), 0);
    /* Passes that end in the middle of a piece. */
    if (argc < 2) check_fixture(fixture_named("gqa"), 50);
    if (argc < 2) check_fixture(fixture_named("torchscale-all"), 32);
    return session_test_finish(test_failures);
}
