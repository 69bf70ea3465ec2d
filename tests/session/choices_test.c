/* choices_test.c: kernels chosen by measurement. What is chosen makes the same tokens, comes back from the blob of
 * compiled kernels, and nobody takes an answer that makes no sense. A software driver that plays a GPU does not measure
 * by itself: the context is told to. */
#include "pretend.h"
#include "session/session.h"
#include "session/session_test.h"

#include <string.h>

enum { TOKENS = 6, PROMPT = 5, QUESTIONS = 4 };

static char directory[512];

static const retnet_session_desc session_desc = {.slots = 1, .prompt_chunk = 64};

static void prepare(retnet_model *model)
{
    CHECK_OK(retnet_model_prepare(model, &(retnet_prepare_desc){.session = session_desc}));
}

static retnet_context *make_context(bool fixed)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = {.pretend = test_pretend() | RETNET_PRETEND_NO_COOPERATIVE_MATRIX,
                                .fixed_kernels = fixed};
    REQUIRE(retnet_context_create(&desc, &context) == RETNET_OK);
    context->device.measures = !fixed;
    context->device.caps.processors = 3;
    return context;
}

static void speak(retnet_model *model, int32_t tokens[TOKENS])
{
    retnet_session *session = session_test_session_of(model, &session_desc);
    int32_t *prompt = session_test_tokens(PROMPT, model->config.vocabulary, 5);
    session_test_read_last(session, 0, prompt, PROMPT, NULL);
    retnet_generation wish = {.max_tokens = TOKENS, .tokens = tokens};
    CHECK_OK(retnet_session_generate(session, &wish));
    retnet_session_destroy(session);
    free(prompt);
}

static void check_tokens(const char *what, retnet_model *model, const int32_t expected[TOKENS])
{
    int32_t tokens[TOKENS] = {0};
    speak(model, tokens);
    for (int i = 0; i < TOKENS; i++)
        if (tokens[i] != expected[i]) TEST_FAIL("%s: token %d is %d, expected %d", what, i, tokens[i], expected[i]);
}

static size_t save(retnet_context *context, uint8_t **blob)
{
    size_t size = 0;
    CHECK_OK(retnet_context_pipeline_cache_save(context, NULL, 0, &size));
    *blob = session_test_alloc(size, 1);
    CHECK_OK(retnet_context_pipeline_cache_save(context, *blob, size, &size));
    return size;
}

static void test_choosing(uint8_t **blob, size_t *size, rn_choice chosen[QUESTIONS])
{
    int32_t expected[TOKENS];
    retnet_context *context = make_context(true);
    retnet_model *model = session_test_model(context, directory, RETNET_WEIGHTS_AS_STORED);
    rn_choices *choices = &context->device.choices;
    prepare(model);
    CHECK_INT(atomic_load(&choices->count), 0);
    speak(model, expected);
    context->device.measures = true;
    check_tokens("not prepared", model, expected);
    CHECK_INT(atomic_load(&choices->count), 0);
    prepare(model);
    CHECK_INT(atomic_load(&choices->count), QUESTIONS);
    check_tokens("chosen", model, expected);
    memcpy(chosen, choices->made, QUESTIONS * sizeof *chosen);
    prepare(model); /* all is answered */
    CHECK_INT(atomic_load(&choices->count), QUESTIONS);
    CHECK(memcmp(chosen, choices->made, QUESTIONS * sizeof *chosen) == 0);
    *size = save(context, blob);
    for (int i = 0; i < QUESTIONS; i++) choices->made[i].answer ^= 1;
    check_tokens("senseless answers", model, expected);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
}

static void test_loading(const uint8_t *blob, size_t size, const rn_choice chosen[QUESTIONS])
{
    bool accepted;
    retnet_context *context = make_context(false), *fixed = make_context(true);
    CHECK_OK(retnet_context_pipeline_cache_load(context, blob, size, &accepted));
    CHECK(accepted);
    CHECK_INT(atomic_load(&context->device.choices.count), QUESTIONS);
    CHECK(memcmp(chosen, context->device.choices.made, QUESTIONS * sizeof *chosen) == 0);
    CHECK_OK(retnet_context_pipeline_cache_load(fixed, blob, size, &accepted));
    CHECK(accepted);
    CHECK_INT(atomic_load(&fixed->device.choices.count), 0);
    retnet_context_destroy(context);
    retnet_context_destroy(fixed);
}

int main(void)
{
    retnet_context *context = make_context(true);
    bool is_cpu = context->device.caps.is_cpu;
    retnet_context_destroy(context);
    if (is_cpu) return TEST_SKIPPED;
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("plain"), directory);
    rn_choice chosen[QUESTIONS];
    uint8_t *blob;
    size_t size;
    test_choosing(&blob, &size, chosen);
    test_loading(blob, size, chosen);
    free(blob);
    return session_test_finish(test_failures);
}
