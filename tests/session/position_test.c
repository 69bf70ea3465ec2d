/* position_test.c: position one million decodes as correctly as position ten. A random state is imported, its position
 * declared, and tokens are read one by one and as a prompt; the double-precision reference does the same. */
#include "reference/reference.h"
#include "session/session_test.h"

enum { TOKENS = 80, SINGLY = 6 };

/* Random states in both; slot 0 reads token by token, slot 1 a prompt. */
static void import_states(session_test *test, ref_sequence *sequence, uint64_t position)
{
    uint64_t seed = position + 1;
    float *state = session_test_alloc(test->state_size, sizeof *state);
    for (uint32_t l = 0; l < test->info.layers; l++) {
        for (size_t i = 0; i < test->state_size; i++) {
            state[i] = 3 * test_random(&seed);
            sequence->states[l * test->state_size + i] = state[i];
        }
        for (uint32_t slot = 0; slot < 2; slot++) CHECK_OK(retnet_session_set_state(test->session, slot, l, state));
    }
    for (uint32_t slot = 0; slot < 2; slot++) CHECK_OK(retnet_session_set_position(test->session, slot, position));
    sequence->position = position;
    free(state);
}

static void check_position(session_test *test, const ref_model *model, uint64_t position)
{
    char what[64];
    size_t vocabulary = test->info.vocabulary_size, states = test->info.layers * test->state_size;
    int32_t *tokens = session_test_tokens(TOKENS, test->info.vocabulary_size, position);
    float *logits = session_test_alloc(TOKENS * vocabulary, sizeof *logits), *state;
    double *expected = session_test_alloc(TOKENS * vocabulary, sizeof *expected);
    double *output = session_test_alloc((size_t)TOKENS * model->config.hidden, sizeof *output);
    ref_sequence sequence;
    ref_sequence_init(model, &sequence);
    import_states(test, &sequence, position);

    snprintf(what, sizeof what, "from position %llu", (unsigned long long)position);
    ref_model_read(model, &sequence, tokens, SINGLY, output);
    ref_model_logits(model, output, SINGLY, expected);
    session_test_read_singly(test->session, 0, tokens, SINGLY, logits);
    session_test_check_logits(what, logits, expected, SINGLY, vocabulary, 2); /* the strict limit from the start */
    state = session_test_state(test->session, 0);
    session_test_check_rms(what, state, sequence.states, states, 1e-4);
    free(state);
    CHECK_INT(retnet_session_position(test->session, 0), position + SINGLY);

    ref_model_read(model, &sequence, tokens + SINGLY, TOKENS - SINGLY, output);
    ref_model_logits(model, output, TOKENS - SINGLY, expected + SINGLY * vocabulary);
    session_test_read_all(test->session, 1, tokens, TOKENS, logits);
    session_test_check_logits(what, logits, expected, TOKENS, vocabulary, 2);
    state = session_test_state(test->session, 1);
    session_test_check_rms(what, state, sequence.states, states, 1e-4);
    free(state);
    free(tokens);
    free(logits);
    free(expected);
    free(output);
    free(sequence.states);
}

/* The last position that there is, and nothing after it. */
static void check_end(session_test *test)
{
    const int32_t token = 1;
    const uint64_t end = 1 << 30;
    retnet_span span = {.tokens = &token, .count = 1};
    retnet_generation generation = {.max_tokens = 3};
    CHECK_OK(retnet_session_set_position(test->session, 0, end));
    CHECK_REFUSED(retnet_session_set_position(test->session, 0, end + 1), RETNET_ERROR_LIMIT);
    CHECK_INT(retnet_session_position(test->session, 0), end);
    CHECK_REFUSED(retnet_session_run(test->session, &span, 1), RETNET_ERROR_LIMIT);
    CHECK_OK(retnet_session_set_position(test->session, 0, end - 2));
    CHECK_OK(retnet_session_run(test->session, &span, 1));
    CHECK_REFUSED(retnet_session_generate(test->session, &generation), RETNET_ERROR_LIMIT);
    CHECK_INT(retnet_session_position(test->session, 0), end);
}

static void check_fixture(const char *name)
{
    static const uint64_t positions[] = {0, 10, 1000, 65535, 65536, 1000000, 16777215, (1 << 30) - TOKENS};
    session_test test = session_test_create(fixture_named(name), 2, 0);
    ref_model *model = ref_model_open(test.directory);
    REQUIRE(model);
    for (size_t i = 0; i < RN_COUNT(positions); i++) check_position(&test, model, positions[i]);
    check_end(&test);
    ref_model_close(model);
    session_test_destroy(&test);
}

int main(void)
{
    check_fixture("plain");
    check_fixture("mqa-k60");
    check_fixture("torchscale");
    return session_test_finish(test_failures);
}
