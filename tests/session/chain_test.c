/* chain_test.c: a chain of dispatches (recorder.h) of which one does not come: the pass is run once more between barriers,
 * and nobody can tell from logits or states. */
#include "session/session.h"
#include "session/session_test.h"

enum { TOKENS = 12, FAILS_AT = 3 }; /* single tokens after the prompt, and which of them fails */

static PFN_vkCmdDispatch dispatch;
static int seen, dropped; /* dispatches, and which of them is dropped; negative: none */

static VKAPI_ATTR void VKAPI_CALL dispatch_but_one(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    if (seen++ != dropped) dispatch(commands, x, y, z);
}

/* Logits after each token and the state in the end. */
typedef struct outcome {
    float *logits, *state;
} outcome;

static outcome converse(retnet_model *model, const int32_t *tokens, int drop, int *dispatches)
{
    rn_device *device = model->device;
    retnet_session *session = session_test_session(model, 1, 0);
    outcome out = {.logits = session_test_alloc((size_t)TOKENS * model->config.vocabulary, sizeof(float))};
    atomic_store(&device->soft_order, true);
    for (int i = 0; i < TOKENS; i++) {
        /* Recorded when the first token is decoded, and anew after the failure. */
        if (i == FAILS_AT) memset(session->decode_recorded, 0, 2 * sizeof *session->decode_recorded);
        seen = 0;
        dropped = i == FAILS_AT ? drop : -1;
        session_test_read_last(session, 0, tokens + i, 1, out.logits + (size_t)i * model->config.vocabulary);
        if (i == FAILS_AT && dispatches) *dispatches = seen;
        bool failed = !atomic_load(&device->soft_order);
        CHECK_INT(failed, drop >= 0 && i >= FAILS_AT);
    }
    out.state = session_test_state(session, 0);
    retnet_session_destroy(session);
    return out;
}

static void check_drop(session_test *test, const int32_t *tokens, const outcome *whole, int drop)
{
    char what[64];
    snprintf(what, sizeof what, "dispatch %d does not come", drop);
    outcome out = converse(test->model, tokens, drop, NULL);
    size_t logits = (size_t)TOKENS * test->info.vocabulary_size, states = test->state_size * test->info.layers;
    session_test_check_same(what, out.logits, whole->logits, logits, 0);
    session_test_check_same(what, out.state, whole->state, states, 0);
    free(out.logits);
    free(out.state);
}

int main(void)
{
    session_test test = session_test_create(fixture_named("plain"), 1, 0);
    rn_device *device = test.model->device;
    if (device->caps.is_cpu) {
        session_test_destroy(&test);
        return session_test_finish(test_failures) ? 1 : TEST_SKIPPED;
    }
    dispatch = device->vk.vkCmdDispatch;
    device->vk.vkCmdDispatch = dispatch_but_one;
    device->patience = 600;
    int32_t *tokens = session_test_tokens(TOKENS, test.info.vocabulary_size, 5);
    int dispatches;
    outcome whole = converse(test.model, tokens, -1, &dispatches);
    CHECK_INT(dispatches, 1 + 5 * (int)test.info.layers + 1);
    /* Nobody waits for the last one, which makes the logits. */
    for (int drop = 0; drop < dispatches - 1; drop++) check_drop(&test, tokens, &whole, drop);
    free(whole.logits);
    free(whole.state);
    free(tokens);
    session_test_destroy(&test);
    return session_test_finish(test_failures);
}
