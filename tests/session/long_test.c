/* long_test.c: thousands of recurrent steps keep the state finite and equal to what the chunkwise form makes of the
 * same tokens.
 *
 *     test_session_long [STEPS [DIRECTORY]]      1,500 steps; of small models of our own, or of the one in DIRECTORY */
#include "session/session_test.h"

/* Tokens of the model's own choosing, so that decoding runs as it does for a host. */
static int32_t *generate(session_test *test, uint32_t count)
{
    const int32_t first = 1;
    uint32_t made = 0;
    int32_t *tokens = session_test_alloc(count + 1, sizeof *tokens);
    tokens[0] = first;
    session_test_read_last(test->session, 0, &first, 1, NULL);
    retnet_generation generation = {
        .max_tokens = count, .tokens = tokens + 1, .token_counts = &made, .sampling = {.temperature = 1, .seed = 5}};
    CHECK_OK(retnet_session_generate(test->session, &generation));
    CHECK_INT(made, count);
    return tokens;
}

static void check_model(const char *name, session_test test, uint32_t steps)
{
    int32_t *tokens = generate(&test, steps); /* the last of them has not been read */
    CHECK_INT(retnet_session_position(test.session, 0), steps);
    session_test_read_last(test.session, 1, tokens, steps, NULL);
    float *recurrent = session_test_state(test.session, 0), *chunkwise = session_test_state(test.session, 1);
    for (size_t i = 0; i < test.info.layers * test.state_size; i++) REQUIRE(isfinite(recurrent[i]));
    for (uint32_t l = 0; l < test.info.layers; l++)
        session_test_check_same(name, recurrent + l * test.state_size, chunkwise + l * test.state_size, test.state_size,
                                1e-4);

    /* Both go on in the same way. */
    float *logits = session_test_alloc(2 * test.info.vocabulary_size, sizeof *logits);
    for (uint32_t slot = 0; slot < 2; slot++)
        session_test_read_last(test.session, slot, tokens + steps, 1, logits + slot * test.info.vocabulary_size);
    session_test_check_same(name, logits, logits + test.info.vocabulary_size, test.info.vocabulary_size, 1e-3);
    free(logits);
    free(recurrent);
    free(chunkwise);
    free(tokens);
    session_test_destroy(&test);
}

int main(int argc, char **argv)
{
    uint32_t steps = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1500;
    REQUIRE(steps > 0);
    if (argc > 2) {
        check_model(argv[2], session_test_open(argv[2], 2, 0), steps);
    } else {
        check_model("plain", session_test_create(fixture_named("plain"), 2, 0), steps);
        check_model("torchscale", session_test_create(fixture_named("torchscale"), 2, 0), steps);
    }
    return session_test_finish(test_failures);
}
