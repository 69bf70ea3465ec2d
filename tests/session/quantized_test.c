/* quantized_test.c: checkpoints that samples/quantize has written, of all fixtures. As stored they compute what their
 * weights say, in wider formats the same but for rounding; and those of 4 bits lie on the device, and answer, to the
 * bit like their originals that are quantised while they are loaded. */
#include "model/model.h"
#include "reference/reference.h"
#include "session/session_test.h"
#include "vulkan/recorder.h"

#include <unistd.h>

enum { TOKENS = 21 };

static retnet_context *context;

static void quantize(const char *format, const char *from, char to[512])
{
    char command[2000];
    session_test_directory(to, 512);
    snprintf(command, sizeof command, "\"%s\" --format %s \"%s\" \"%s\"", QUANTIZE_PROGRAM, format, from, to);
    REQUIRE(system(command) == 0);
}

/* ---- Logits ------------------------------------------------------------------------------------------------------ */

/* After every token of a prompt, and of a conversation. */
static float *answer(const char *directory, retnet_weight_format format, bool singly, retnet_model_info *info)
{
    retnet_model *model = session_test_model(context, directory, format);
    retnet_session *session = session_test_session(model, 1, 0);
    retnet_model_get_info(model, info);
    int32_t *tokens = session_test_tokens(TOKENS, info->vocabulary_size, 3);
    float *logits = session_test_alloc((size_t)TOKENS * info->vocabulary_size, sizeof *logits);
    (singly ? session_test_read_singly : session_test_read_all)(session, 0, tokens, TOKENS, logits);
    free(tokens);
    retnet_session_destroy(session);
    retnet_model_destroy(model);
    return logits;
}

static double *reference_answer(const char *directory, size_t *vocabulary)
{
    ref_sequence sequence;
    ref_model *model = ref_model_open(directory);
    REQUIRE(model);
    *vocabulary = model->config.vocabulary;
    int32_t *tokens = session_test_tokens(TOKENS, model->config.vocabulary, 3);
    double *output = session_test_alloc(TOKENS * model->config.hidden, sizeof *output);
    double *logits = session_test_alloc(TOKENS * *vocabulary, sizeof *logits);
    ref_sequence_init(model, &sequence);
    ref_model_read(model, &sequence, tokens, TOKENS, output);
    ref_model_logits(model, output, TOKENS, logits);
    free(sequence.states);
    free(output);
    free(tokens);
    ref_model_close(model);
    return logits;
}

/* Formats that hold these weights exactly, or nearly. */
static void check_formats(const char *name, const char *directory, retnet_weight_format stored)
{
    const struct {
        retnet_weight_format format;
        double limit; /* 0: that of exact weights */
    } cases[] = {
        {RETNET_WEIGHTS_AS_STORED, 0}, {RETNET_WEIGHTS_F32, 0}, {RETNET_WEIGHTS_F16, 5e-3}, {RETNET_WEIGHTS_Q8, 0.1}};
    size_t vocabulary;
    double *expected = reference_answer(directory, &vocabulary);
    for (size_t i = 0; i < RN_COUNT(cases); i++) {
        char what[80];
        retnet_model_info info;
        float *logits = answer(directory, cases[i].format, i % 2, &info);
        CHECK_INT(info.format, cases[i].format ? cases[i].format : stored);
        snprintf(what, sizeof what, "%s, stored as %s, loaded as %s", name, retnet_weight_format_name(stored),
                 retnet_weight_format_name(info.format));
        if (cases[i].limit > 0)
            session_test_check_rms(what, logits, expected, TOKENS * vocabulary, cases[i].limit);
        else
            session_test_check_logits(what, logits, expected, TOKENS, vocabulary, 0);
        free(logits);
    }
    free(expected);
}

/* ---- Bits -------------------------------------------------------------------------------------------------------- */

/* A buffer's words, to be freed. */
static uint32_t *words_of(rn_device *device, const rn_buffer *buffer)
{
    rn_recorder recorder;
    rn_buffer copy = {0};
    REQUIRE(rn_buffer_create(device, buffer->size, RN_MEMORY_READBACK, "a copy", &copy) == RETNET_OK);
    REQUIRE(rn_recorder_create(device, &recorder) == RETNET_OK);
    rn_recorder_begin(&recorder);
    rn_recorder_copy(&recorder, buffer, 0, &copy, 0, buffer->size);
    REQUIRE(rn_recorder_end(&recorder) == RETNET_OK && rn_recorder_run(&recorder) == RETNET_OK);
    uint32_t *words = session_test_alloc(1, buffer->size);
    memcpy(words, copy.mapped, buffer->size);
    rn_recorder_destroy(&recorder);
    rn_buffer_destroy(device, &copy);
    return words;
}

static void check_estimate(const retnet_model *model, const char *directory)
{
    retnet_model_memory memory;
    CHECK_OK(retnet_model_memory_for(context, &(retnet_model_desc){.path = directory}, &memory));
    uint64_t bytes = model->params.size;
    for (uint32_t b = 0; b < model->buffer_count; b++) bytes += model->buffers[b].size;
    CHECK_INT(memory.device_bytes, bytes);
}

static void check_same_weights(const char *name, const char *original, const char *quantized)
{
    retnet_model *loaded = session_test_model(context, original, RETNET_WEIGHTS_Q4);
    retnet_model *stored = session_test_model(context, quantized, RETNET_WEIGHTS_AS_STORED);
    REQUIRE(loaded->buffer_count == stored->buffer_count);
    check_estimate(stored, quantized);
    for (uint32_t b = 0; b < loaded->buffer_count; b++) {
        REQUIRE(loaded->buffers[b].size == stored->buffers[b].size);
        size_t count = loaded->buffers[b].size / 4, wrong = 0;
        uint32_t *expected = words_of(loaded->device, &loaded->buffers[b]);
        uint32_t *actual = words_of(loaded->device, &stored->buffers[b]);
        for (size_t i = 0; i < count; i++) wrong += actual[i] != expected[i];
        if (wrong)
            TEST_FAIL("%s, buffer %u: %zu of %zu words differ from those made while loading", name, b, wrong, count);
        free(expected);
        free(actual);
    }
    retnet_model_destroy(loaded);
    retnet_model_destroy(stored);
}

static void check_same_answer(const char *name, const char *original, const char *quantized)
{
    for (int singly = 0; singly < 2; singly++) {
        retnet_model_info info;
        float *expected = answer(original, RETNET_WEIGHTS_Q4, singly, &info);
        float *actual = answer(quantized, RETNET_WEIGHTS_AS_STORED, singly, &info);
        if (memcmp(actual, expected, sizeof *actual * TOKENS * info.vocabulary_size) != 0)
            TEST_FAIL("%s answers otherwise than its original in 4 bits", name);
        free(expected);
        free(actual);
    }
}

/* ---- Models ------------------------------------------------------------------------------------------------------ */

static void test_fixture(const fixture *f)
{
    char original[512], q8[512], q4[512];
    session_test_directory(original, sizeof original);
    fixture_write(f, original);
    quantize("q8", original, q8);
    quantize("q4", original, q4);
    check_formats(f->name, q8, RETNET_WEIGHTS_Q8);
    check_formats(f->name, q4, RETNET_WEIGHTS_Q4);
    check_same_weights(f->name, original, q4);
    check_same_answer(f->name, original, q4);
}

/* Trained weights in half precision, of which one in 2,800 lies halfway between two of 4 bits. */
static void test_willowbrook(void)
{
    char q4[512];
    if (!session_test_exists(SHARED "/model/willowbrook-30m/model.safetensors")) return;
    quantize("q4", SHARED "/model/willowbrook-30m", q4);
    check_same_weights("willowbrook-30m", SHARED "/model/willowbrook-30m", q4);
}

int main(void)
{
    if (access(QUANTIZE_PROGRAM, X_OK) != 0) return TEST_SKIPPED;
    context = session_test_context();
    for (const fixture *f = fixtures; f->name; f++) test_fixture(f);
    test_willowbrook();
    retnet_context_destroy(context);
    return session_test_finish(test_failures);
}
