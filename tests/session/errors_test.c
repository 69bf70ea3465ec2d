/* errors_test.c: every argument that the public header rules out is refused with the documented result and a message,
 * and changes nothing. */
#include "session/session_test.h"

enum { SLOTS = 3, PROMPT = 9 };

static const int32_t prompt[PROMPT] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

/* ---- What must not change ---------------------------------------------------------------------------------------- */

typedef struct before {
    uint64_t positions[SLOTS];
    float *states[SLOTS];
} before;

static before remember(session_test *test)
{
    before b;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        b.positions[slot] = retnet_session_position(test->session, slot);
        b.states[slot] = session_test_state(test->session, slot);
    }
    return b;
}

static void check_unchanged(session_test *test, before *b, const char *what)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        float *state = session_test_state(test->session, slot);
        CHECK_INT(retnet_session_position(test->session, slot), b->positions[slot]);
        if (memcmp(state, b->states[slot], test->info.layers * test->state_size * sizeof *state) != 0)
            TEST_FAIL("%s: the state of slot %u changed", what, slot);
        free(state);
        free(b->states[slot]);
    }
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

static void refuse_run(session_test *test, const retnet_span *spans, size_t count, const char *what)
{
    session_test_begin_refusal();
    retnet_result result = retnet_session_run(test->session, spans, count);
    if (session_test_end_refusal() == 0) TEST_FAIL("%s: no message", what);
    if (result != RETNET_ERROR_INVALID_ARGUMENT) TEST_FAIL("%s: %s", what, retnet_result_name(result));
}

static void test_run(session_test *test)
{
    int32_t negative[PROMPT], large[PROMPT];
    memcpy(negative, prompt, sizeof prompt);
    memcpy(large, prompt, sizeof prompt);
    negative[PROMPT - 1] = -1;
    large[4] = (int32_t)test->info.vocabulary_size;
    const retnet_span good = {.slot = 0, .tokens = prompt, .count = PROMPT};
    const struct {
        const char *what;
        retnet_span span;
    } bad[] = {{"no such slot", {.slot = SLOTS, .tokens = prompt, .count = PROMPT}},
               {"no such slot by far", {.slot = UINT32_MAX, .tokens = prompt, .count = PROMPT}},
               {"the same slot twice", {.slot = 0, .tokens = prompt, .count = PROMPT}},
               {"no tokens", {.slot = 1, .tokens = NULL, .count = PROMPT}},
               {"zero tokens", {.slot = 1, .tokens = prompt, .count = 0}},
               {"a negative token", {.slot = 1, .tokens = negative, .count = PROMPT}},
               {"a token beyond the vocabulary", {.slot = 1, .tokens = large, .count = PROMPT}}};
    before b = remember(test);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        /* Beside a good span and after it: all is checked before anything runs. */
        const retnet_span spans[] = {good, bad[i].span};
        refuse_run(test, spans, 2, bad[i].what);
    }
    refuse_run(test, NULL, 1, "no spans");
    refuse_run(test, &good, 0, "zero spans");
    CHECK_RESULT(retnet_session_run(NULL, &good, 1), RETNET_ERROR_INVALID_ARGUMENT);
    check_unchanged(test, &b, "run");
}

/* ---- Generating -------------------------------------------------------------------------------------------------- */

static void refuse_generation(session_test *test, const retnet_generation *generation, const char *what)
{
    session_test_begin_refusal();
    retnet_result result = retnet_session_generate(test->session, generation);
    if (session_test_end_refusal() == 0) TEST_FAIL("%s: no message", what);
    if (result != RETNET_ERROR_INVALID_ARGUMENT) TEST_FAIL("%s: %s", what, retnet_result_name(result));
}

static void test_sampling(session_test *test)
{
    const struct {
        const char *what;
        retnet_sampling sampling;
    } bad[] = {{"negative temperature", {.temperature = -0.5f}},
               {"temperature not a number", {.temperature = NAN}},
               {"infinite temperature", {.temperature = INFINITY}},
               {"negative top_p", {.temperature = 1, .top_p = -0.1f}},
               {"top_p above 1", {.temperature = 1, .top_p = 1.01f}},
               {"top_p not a number", {.temperature = 1, .top_p = NAN}},
               {"negative min_p", {.temperature = 1, .min_p = -0.1f}},
               {"min_p of 1", {.temperature = 1, .min_p = 1}},
               {"min_p not a number", {.temperature = 1, .min_p = NAN}},
               {"negative penalty", {.repetition_penalty = -1}},
               {"penalty not a number", {.repetition_penalty = NAN}},
               {"window above 256", {.repetition_penalty = 2, .repetition_window = 257}}};
    before b = remember(test);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        retnet_generation generation = {.sampling = bad[i].sampling, .max_tokens = 2};
        refuse_generation(test, &generation, bad[i].what);
    }
    check_unchanged(test, &b, "sampling");
}

static void test_generate(session_test *test)
{
    int32_t tokens[8];
    const uint32_t twice[] = {0, 0}, beyond[] = {0, SLOTS}, with_empty[] = {0, 2};
    const retnet_generation no_length = {.tokens = tokens, .token = NULL},
                            duplicate = {.slots = twice, .slot_count = 2, .max_tokens = 2},
                            out_of_range = {.slots = beyond, .slot_count = 2, .max_tokens = 2},
                            empty_slot = {.slots = with_empty, .slot_count = 2, .max_tokens = 2},
                            no_slots = {.slots = twice, .slot_count = 0, .max_tokens = 2},
                            no_end_tokens = {.end_tokens = NULL, .end_token_count = 2, .max_tokens = 2};
    before b = remember(test);
    refuse_generation(test, NULL, "no generation");
    refuse_generation(test, &no_length, "an array of tokens without a length");
    refuse_generation(test, &duplicate, "the same slot twice");
    refuse_generation(test, &out_of_range, "no such slot");
    refuse_generation(test, &empty_slot, "a slot that has read nothing");
    refuse_generation(test, &no_slots, "zero slots");
    refuse_generation(test, &no_end_tokens, "no end tokens");
    CHECK_RESULT(retnet_session_generate(NULL, &duplicate), RETNET_ERROR_INVALID_ARGUMENT);
    check_unchanged(test, &b, "generate");
    /* An imported state has no logits to draw from. */
    float *state = session_test_alloc(test->state_size, sizeof *state);
    retnet_generation imported = {.slots = (const uint32_t[]){2}, .slot_count = 1, .max_tokens = 2};
    CHECK_OK(retnet_session_set_state(test->session, 2, 0, state));
    CHECK_OK(retnet_session_set_position(test->session, 2, 5));
    refuse_generation(test, &imported, "a slot whose logits are not known");
    CHECK_OK(retnet_session_reset(test->session, 2));
    free(state);
}

/* ---- Slots ------------------------------------------------------------------------------------------------------- */

static void test_slots(session_test *test)
{
    size_t size = 0;
    float *state = session_test_alloc(test->state_size, sizeof *state);
    uint8_t bytes[16] = {0};
    retnet_session *s = test->session;
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    before b = remember(test);
    CHECK_REFUSED(retnet_session_reset(s, SLOTS), invalid);
    CHECK_REFUSED(retnet_session_fork(s, 0, SLOTS), invalid);
    CHECK_REFUSED(retnet_session_fork(s, SLOTS, 0), invalid);
    CHECK_REFUSED(retnet_session_save(s, SLOTS, NULL, 0, &size), invalid);
    CHECK_REFUSED(retnet_session_save(s, 0, NULL, 0, NULL), invalid);
    CHECK_REFUSED(retnet_session_load(s, SLOTS, bytes, sizeof bytes), invalid);
    CHECK_REFUSED(retnet_session_load(s, 0, NULL, 100), invalid);
    CHECK_REFUSED(retnet_session_save_file(s, SLOTS, "unused"), invalid);
    CHECK_REFUSED(retnet_session_save_file(s, 0, NULL), invalid);
    CHECK_REFUSED(retnet_session_load_file(s, SLOTS, "unused"), invalid);
    CHECK_REFUSED(retnet_session_load_file(s, 0, NULL), invalid);
    CHECK_REFUSED(retnet_session_get_state(s, SLOTS, 0, state), invalid);
    CHECK_REFUSED(retnet_session_get_state(s, 0, test->info.layers, state), invalid);
    CHECK_REFUSED(retnet_session_get_state(s, 0, 0, NULL), invalid);
    CHECK_REFUSED(retnet_session_set_state(s, SLOTS, 0, state), invalid);
    CHECK_REFUSED(retnet_session_set_state(s, 0, test->info.layers, state), invalid);
    CHECK_REFUSED(retnet_session_set_state(s, 0, 0, NULL), invalid);
    CHECK_REFUSED(retnet_session_set_position(s, SLOTS, 1), invalid);
    CHECK_INT(retnet_session_position(s, SLOTS), 0);
    check_unchanged(test, &b, "slots");

    CHECK_RESULT(retnet_session_reset(NULL, 0), invalid);
    CHECK_RESULT(retnet_session_fork(NULL, 0, 1), invalid);
    CHECK_RESULT(retnet_session_save(NULL, 0, NULL, 0, &size), invalid);
    CHECK_RESULT(retnet_session_load(NULL, 0, bytes, sizeof bytes), invalid);
    CHECK_RESULT(retnet_session_save_file(NULL, 0, "unused"), invalid);
    CHECK_RESULT(retnet_session_load_file(NULL, 0, "unused"), invalid);
    CHECK_RESULT(retnet_session_get_state(NULL, 0, 0, state), invalid);
    CHECK_RESULT(retnet_session_set_state(NULL, 0, 0, state), invalid);
    CHECK_RESULT(retnet_session_set_position(NULL, 0, 0), invalid);
    CHECK_INT(retnet_session_position(NULL, 0), 0);
    retnet_session_cancel(NULL);
    free(state);
}

/* ---- Making things ----------------------------------------------------------------------------------------------- */

static void count_line(void *user, retnet_log_level level, const char *message)
{
    (void)message;
    if (level == RETNET_LOG_ERROR) ++*(int *)user;
}

static void test_context(void)
{
    int lines = 0;
    retnet_context *context = (retnet_context *)&lines;
    retnet_context_desc nobody = {.log = count_line, .log_user = &lines, .device_name = "a device of no such name"};
    CHECK_RESULT(retnet_context_create(&nobody, &context), RETNET_ERROR_NO_DEVICE);
    CHECK(!context);
    CHECK(lines > 0);
    lines = 0;
    nobody = (retnet_context_desc){.log = count_line, .log_user = &lines, .device_number = 1000};
    CHECK_RESULT(retnet_context_create(&nobody, &context), RETNET_ERROR_NO_DEVICE);
    CHECK(!context);
    CHECK(lines > 0);
    CHECK_RESULT(retnet_context_create(NULL, NULL), RETNET_ERROR_INVALID_ARGUMENT);
    retnet_context_destroy(NULL);
    retnet_model_destroy(NULL);
    retnet_session_destroy(NULL);
}

static void test_model(session_test *test)
{
    char message[64], whole[600];
    retnet_model *model = test->model;
    retnet_context *context = test->context;
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    const retnet_model_desc absent = {.path = "no/such/directory"}, no_path = {0},
                            odd_format = {.path = test->directory, .format = (retnet_weight_format)99};
    CHECK_REFUSED(retnet_model_load(context, &absent, &model), RETNET_ERROR_FILE);
    CHECK(!model);
    size_t length = retnet_context_last_message(context, whole, sizeof whole);
    CHECK(strstr(whole, "no/such/directory"));
    CHECK_INT(strlen(whole), length);
    CHECK_INT(retnet_context_last_message(context, message, 8), length);
    CHECK_INT(strlen(message), length < 7 ? length : 7);
    CHECK(strncmp(message, whole, 7) == 0);
    CHECK_INT(retnet_context_last_message(context, NULL, 0), length);
    CHECK_REFUSED(retnet_model_load(context, &no_path, &model), invalid);
    CHECK_REFUSED(retnet_model_load(context, NULL, &model), invalid);
    CHECK_REFUSED(retnet_model_load(context, &odd_format, &model), invalid);
    CHECK_REFUSED(retnet_model_load(context, &absent, NULL), invalid);
    CHECK_RESULT(retnet_model_load(NULL, &absent, &model), invalid);
    CHECK_REFUSED(retnet_model_synthesize(context, "no such shape", 0, &model), invalid);
    CHECK(!model);
    CHECK_REFUSED(retnet_model_synthesize(context, NULL, 0, &model), invalid);
}

static bool stop_loading(void *user, uint64_t done, uint64_t total)
{
    CHECK(done <= total);
    ++*(int *)user;
    return false;
}

static void test_cancelled_load(session_test *test)
{
    int calls = 0;
    retnet_model *model = test->model;
    retnet_model_desc desc = {.path = test->directory, .progress = stop_loading, .progress_user = &calls};
    CHECK_RESULT(retnet_model_load(test->context, &desc, &model), RETNET_CANCELLED);
    CHECK(!model);
    CHECK_INT(calls, 1);
}

static void test_session(session_test *test)
{
    retnet_session *session = test->session;
    retnet_session_memory memory;
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    CHECK_RESULT(retnet_session_create(NULL, NULL, &session), invalid);
    CHECK_RESULT(retnet_session_create(test->model, NULL, NULL), invalid);
    CHECK_RESULT(retnet_session_memory_for(test->model, NULL, NULL), invalid);
    CHECK_RESULT(retnet_session_memory_for(NULL, NULL, &memory), invalid);

    CHECK_OK(retnet_session_memory_for(test->model, NULL, &memory));
    CHECK(memory.state_bytes >= test->info.state_bytes && memory.device_bytes > memory.state_bytes);
    uint64_t one = memory.state_bytes;
    CHECK_OK(retnet_session_memory_for(test->model, &(retnet_session_desc){.slots = 10}, &memory));
    CHECK(memory.state_bytes >= 10 * test->info.state_bytes && memory.state_bytes <= 10 * one);

    /* More than there is: an error, not a crash, and the context lives on. */
    retnet_session_desc huge = {.slots = UINT32_MAX};
    session = test->session;
    session_test_begin_refusal();
    retnet_result result = retnet_session_create(test->model, &huge, &session);
    CHECK(session_test_end_refusal() > 0);
    CHECK(!session);
    CHECK(result == RETNET_ERROR_LIMIT || result == RETNET_ERROR_OUT_OF_DEVICE_MEMORY ||
          result == RETNET_ERROR_OUT_OF_HOST_MEMORY);
}

int main(void)
{
    session_test test = session_test_create(fixture_named("odd-v"), SLOTS, 0);
    session_test_read_last(test.session, 0, prompt, PROMPT, NULL);
    session_test_read_last(test.session, 1, prompt, PROMPT - 3, NULL);
    test_run(&test);
    test_sampling(&test);
    test_generate(&test);
    test_slots(&test);
    test_context();
    test_model(&test);
    test_cancelled_load(&test);
    test_session(&test);
    session_test_read_last(test.session, 0, prompt, PROMPT, NULL); /* after all that */
    session_test_destroy(&test);
    return session_test_finish(test_failures);
}
