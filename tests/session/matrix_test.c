/* matrix_test.c: the bundled model on matrix units against the same model in fp32: documents that it writes itself
 * score the same. Skipped where the device has no matrix units. */
#include "context.h"
#include "layers/matmul.h"
#include "session/session_test.h"

enum { DOCUMENTS = 3, LENGTH = 160 };

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) TEST_FAIL("the library logged: %s", message);
}

typedef struct machine {
    retnet_context *context;
    retnet_model *model;
    retnet_session *session;
} machine;

static machine open_machine(uint32_t pretend)
{
    machine m;
    retnet_context_desc desc = {.log = on_log, .enable_validation = true, .pretend = pretend};
    REQUIRE(retnet_context_create(&desc, &m.context) == RETNET_OK);
    m.model = session_test_model(m.context, "samples/chat/model", RETNET_WEIGHTS_AS_STORED);
    m.session = session_test_session(m.model, 1, 0);
    return m;
}

static void close_machine(machine *m)
{
    retnet_session_destroy(m->session);
    retnet_model_destroy(m->model);
    retnet_context_destroy(m->context);
}

static void write_document(retnet_session *session, uint64_t seed, int32_t *tokens)
{
    retnet_generation generation = {
        .sampling = {.temperature = 1, .seed = seed}, .max_tokens = LENGTH - 1, .tokens = tokens + 1};
    tokens[0] = 1;
    CHECK_OK(retnet_session_reset(session, 0));
    session_test_read_last(session, 0, tokens, 1, NULL);
    CHECK_OK(retnet_session_generate(session, &generation));
}

static double negative_log_likelihood(retnet_session *session, const int32_t *tokens)
{
    float log_probs[LENGTH];
    double sum = 0;
    CHECK_OK(retnet_session_reset(session, 0));
    retnet_span span = {.slot = 0, .tokens = tokens, .count = LENGTH, .log_probs = log_probs};
    CHECK_OK(retnet_session_run(session, &span, 1));
    for (uint32_t i = 1; i < LENGTH; i++) sum -= log_probs[i];
    return sum / (LENGTH - 1);
}

int main(void)
{
    machine fast = open_machine(0);
    if (!rn_matmul_suits(&fast.context->device, LENGTH)) {
        close_machine(&fast);
        return TEST_SKIPPED;
    }
    machine plain = open_machine(RETNET_PRETEND_NO_COOPERATIVE_MATRIX);
    CHECK(!rn_matmul_suits(&plain.context->device, LENGTH));
    for (uint32_t d = 0; d < DOCUMENTS; d++) {
        int32_t tokens[LENGTH];
        write_document(plain.session, d + 1, tokens);
        double expected = negative_log_likelihood(plain.session, tokens);
        double actual = negative_log_likelihood(fast.session, tokens);
        CHECK_AT_MOST(fabs(actual - expected), 1e-3);
        if (actual == expected) TEST_FAIL("document %u scores %.17g on both: were matrix units used?", d, actual);
    }
    close_machine(&fast);
    close_machine(&plain);
    return session_test_finish(test_failures);
}
