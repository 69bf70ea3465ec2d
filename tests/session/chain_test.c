/* chain_test.c: chains of dispatches (recorder.h), several tokens a submit, of which one dispatch does not come: the
 * token is made once more between barriers, those after it too, and nobody can tell from tokens or states, nor from the
 * state that a callback goes back to. What chains compute is what single tokens outside of them do. */
#include "pretend.h"
#include "session/session.h"
#include "session/session_test.h"

enum { TOKENS = 10, PER_SUBMIT = 3, PROMPT = 5 };

static PFN_vkCmdDispatch dispatch;
static const retnet_session *watched;
static int seen, dropped; /* dispatches of chains in the recording of a submit, and which is dropped; negative: none */

static VKAPI_ATTR void VKAPI_CALL dispatch_but_one(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    const rn_decode_program *program = watched ? watched->decoder.programs[1] : NULL;
    bool counts = program && program->several.recorder.commands == commands && program->several.recorder.chained;
    if (!counts || seen++ != dropped) dispatch(commands, x, y, z);
}

static PFN_vkQueueSubmit queue_submit;
static bool refuses; /* the next submit of what is recorded anew */

static VKAPI_ATTR VkResult VKAPI_CALL submit_or_refuse(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                       VkFence fence)
{
    if (!refuses || infos->pCommandBuffers[0] != watched->decoder.copies.own)
        return queue_submit(queue, count, infos, fence);
    refuses = false;
    return VK_ERROR_OUT_OF_HOST_MEMORY;
}

typedef struct outcome {
    int32_t tokens[TOKENS];
    uint32_t count;
    uint32_t position; /* tokens that the state knows */
    float *state;
} outcome;

/* Without validation layers, which do not see what orders a chain. */
static retnet_context *make_context(void)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = {.pretend = test_pretend() | RETNET_PRETEND_NO_COOPERATIVE_MATRIX};
    REQUIRE(retnet_context_create(&desc, &context) == RETNET_OK);
    return context;
}

static retnet_session *make_session(retnet_model *model)
{
    return session_test_session_of(model, &(retnet_session_desc){.slots = 1, .tokens_per_submit = PER_SUBMIT});
}

/* Until the callback has heard so many tokens. */
static bool count_down(void *user, uint32_t slot, int32_t token)
{
    uint32_t *wanted = user;
    (void)slot;
    (void)token;
    return --*wanted > 0;
}

/* From the prompt on, of which dispatch number `drop` does not come; negative: all come. */
static void begin(retnet_session *session, const int32_t *prompt, int drop)
{
    atomic_store(&session->device->soft_order, true);
    watched = session;
    seen = 0;
    dropped = drop;
    session_test_read_last(session, 0, prompt, PROMPT, NULL);
}

/* An end token, or a number of tokens to be stopped at by the callback; NULL and 0: neither. */
static outcome speak(retnet_model *model, const int32_t *prompt, int drop, const int32_t *end, uint32_t stop)
{
    retnet_session *session = make_session(model);
    outcome out = {.state = NULL};
    begin(session, prompt, drop);
    retnet_generation wish = {
        .sampling = {.temperature = 0.8f, .seed = 11},
        .end_tokens = end,
        .end_token_count = end != NULL,
        .max_tokens = TOKENS,
        .token = stop ? count_down : NULL,
        .token_user = &stop,
        .tokens = out.tokens,
        .token_counts = &out.count,
    };
    CHECK_OK(retnet_session_generate(session, &wish));
    CHECK_INT(!atomic_load(&model->device->soft_order), drop >= 0);
    out.state = session_test_state(session, 0);
    out.position = (uint32_t)session->slots[0].position;
    watched = NULL;
    retnet_session_destroy(session);
    return out;
}

static size_t state_size(const retnet_model *model)
{
    const rn_config *c = &model->config;
    return (size_t)c->layers * c->heads * c->key_size * c->value_size;
}

/* Against the same tokens, read one by one. */
static void check_state(retnet_model *model, const int32_t *prompt, const outcome *whole, double limit)
{
    retnet_session *session = session_test_session(model, 1, 0);
    int32_t tokens[PROMPT + TOKENS];
    memcpy(tokens, prompt, PROMPT * sizeof *tokens);
    memcpy(tokens + PROMPT, whole->tokens, sizeof whole->tokens);
    REQUIRE(whole->position > PROMPT && whole->position <= PROMPT + TOKENS);
    for (uint32_t i = 0; i < whole->position; i++) session_test_read_last(session, 0, tokens + i, 1, NULL);
    float *state = session_test_state(session, 0);
    session_test_check_same("a chain's state", whole->state, state, state_size(model), limit);
    free(state);
    retnet_session_destroy(session);
}

/* A row that has come to rest in the middle of a submit holds nobody up. */
static void check_end(retnet_model *model, const int32_t *prompt, const outcome *whole)
{
    const int32_t *end = &whole->tokens[1 + PER_SUBMIT]; /* the first token of the second submit */
    outcome out = speak(model, prompt, -1, end, 0);
    CHECK(out.count >= 1 && out.count <= 2 + PER_SUBMIT);
    CHECK_INT(out.tokens[out.count - 1], *end);
    free(out.state);
}

/* Against the same speech without that: `stop` is as of speak. */
static void check_drop(retnet_model *model, const int32_t *prompt, const outcome *whole, int drop, uint32_t stop)
{
    char what[64];
    snprintf(what, sizeof what, "dispatch %d does not come, stop %u", drop, stop);
    uint32_t patience = model->device->patience;
    model->device->patience = 100; /* nothing comes: no need to wait for long */
    outcome out = speak(model, prompt, drop, NULL, stop);
    model->device->patience = patience;
    CHECK_INT(out.count, whole->count);
    CHECK_INT(out.position, whole->position);
    for (uint32_t i = 0; i < out.count; i++)
        if (out.tokens[i] != whole->tokens[i])
            TEST_FAIL("%s: token %d is %d, expected %d", what, i, out.tokens[i], whole->tokens[i]);
    session_test_check_same(what, out.state, whole->state, state_size(model), 0);
    free(out.state);
}

/* Reads a token and goes on greedily. */
static void go_on(retnet_session *session, int32_t token, int32_t *tokens)
{
    session_test_read_last(session, 0, &token, 1, NULL);
    CHECK_OK(retnet_session_generate(session, &(retnet_generation){.max_tokens = TOKENS, .tokens = tokens}));
}

/* A token that cannot be made once more is an error, after which the slot stands where the submit began, with all that
 * the submit made forgotten. */
static void check_refusal(retnet_model *model, const int32_t *prompt, int drop)
{
    outcome first = speak(model, prompt, -1, NULL, 1);
    retnet_session *session = make_session(model), *other = make_session(model);
    int32_t tokens[TOKENS], expected[TOKENS];
    uint32_t count = 0, patience = model->device->patience;
    begin(session, prompt, drop);
    retnet_generation wish = {
        .sampling = {.temperature = 0.8f, .seed = 11}, .max_tokens = TOKENS, .tokens = tokens, .token_counts = &count};
    refuses = true;
    model->device->patience = 100;
    CHECK_RESULT(retnet_session_generate(session, &wish), RETNET_ERROR_OUT_OF_HOST_MEMORY);
    model->device->patience = patience;
    CHECK(!refuses);
    watched = NULL;
    CHECK_INT(count, 1);
    CHECK_INT(session->slots[0].position, first.position);
    float *state = session_test_state(session, 0);
    session_test_check_same("after a refusal", state, first.state, state_size(model), 0);
    session_test_read_last(other, 0, prompt, PROMPT, NULL);
    go_on(session, first.tokens[0], tokens);
    go_on(other, first.tokens[0], expected);
    CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
    free(state);
    free(first.state);
    retnet_session_destroy(session);
    retnet_session_destroy(other);
}

static void check_model(retnet_context *context, const char *directory, retnet_weight_format format, double limit)
{
    retnet_model *model = session_test_model(context, directory, format);
    int32_t *prompt = session_test_tokens(PROMPT, model->config.vocabulary, 5);
    outcome whole = speak(model, prompt, -1, NULL, 0);
    CHECK_INT(whole.count, TOKENS);
    int each = 1 + 5 * (int)model->config.layers + 1;
    CHECK_INT(seen, PER_SUBMIT * each);
    check_state(model, prompt, &whole, limit);
    check_end(model, prompt, &whole);
    outcome stopped = speak(model, prompt, -1, NULL, 3); /* in the middle of the first submit */
    CHECK_INT(stopped.count, 3);
    /* Of the first token, which moves states, and the second all but the last dispatch, which makes the logits: nobody
     * in the chain waits for it. */
    for (int drop = 0; drop < 2 * each - 1; drop++) {
        if (drop == each - 1) continue;
        check_drop(model, prompt, &whole, drop, 0);
        check_drop(model, prompt, &stopped, drop, 3);
    }
    check_drop(model, prompt, &whole, 2 * each + 2, 0);
    check_drop(model, prompt, &stopped, 2 * each + 2, 3);
    check_refusal(model, prompt, 2 * each + 2);
    free(whole.state);
    free(stopped.state);
    free(prompt);
    retnet_model_destroy(model);
}

int main(void)
{
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("plain"), directory);
    retnet_context *context = make_context();
    rn_device *device = &context->device;
    if (device->caps.is_cpu) {
        retnet_context_destroy(context);
        return session_test_finish(test_failures) ? 1 : TEST_SKIPPED;
    }
    CHECK(atomic_load(&device->soft_order)); /* the test of order.h */
    dispatch = device->vk.vkCmdDispatch;
    device->vk.vkCmdDispatch = dispatch_but_one;
    queue_submit = device->vk.vkQueueSubmit;
    device->vk.vkQueueSubmit = submit_or_refuse;
    check_model(context, directory, RETNET_WEIGHTS_AS_STORED, 1e-5);
    check_model(context, directory, RETNET_WEIGHTS_Q4, 2e-4); /* a chain rounds inputs to 16 bits of each block */
    retnet_context_destroy(context);
    return session_test_finish(test_failures);
}
