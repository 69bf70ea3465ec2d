/* matrix_test.c: matrix units against fp32: prompts of many lengths leave the same states and logits, and documents
 * that the bundled model writes itself score the same. Skipped where there are none. */
#include "context.h"
#include "layers/matmul.h"
#include "pretend.h"
#include "session/session.h"
#include "session/session_test.h"

enum { DOCUMENTS = 3, LENGTH = 160 };

enum { SLOTS = 9 };

static const size_t prompts[SLOTS] = {5, 12, 70, 2, 31, 32, 63, 64, 130};

typedef struct machine {
    retnet_context *context;
    retnet_model *model;
    retnet_session *session;
} machine;

/* `chunk`: most tokens of a pass; 0: the default. */
static machine open_as(const char *directory, uint32_t pretend, uint32_t slots, uint32_t chunk,
                       retnet_weight_format format)
{
    machine m = {.context = session_test_context_as(pretend)};
    m.context->device.slow_matrices = true;
    m.model = session_test_model(m.context, directory, format);
    m.session = session_test_session(m.model, slots, chunk);
    return m;
}

static machine open_machine(const char *directory, uint32_t pretend, uint32_t slots)
{
    return open_as(directory, pretend, slots, 0, RETNET_WEIGHTS_AS_STORED);
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

/* ---- Prompts ----------------------------------------------------------------------------------------------------- */

enum { LONGEST = 2100 };

/* Reads prompts of these lengths into slots [first, first + count) at once, behind 7 other tokens; logits [SLOTS,
 * vocabulary], log_probs [SLOTS, LONGEST] or NULL. */
static void read_prompts(machine *m, const size_t *lengths, uint32_t first, uint32_t count, float *logits,
                         float *log_probs)
{
    retnet_model_info info;
    retnet_model_get_info(m->model, &info);
    retnet_span spans[SLOTS] = {0};
    int32_t *tokens[SLOTS];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = first + i;
        size_t before = 7, length = lengths[slot];
        tokens[i] = session_test_tokens(before + length, info.vocabulary_size, slot);
        CHECK_OK(retnet_session_reset(m->session, slot));
        session_test_read_last(m->session, slot, tokens[i], before, NULL);
        spans[i] = (retnet_span){.slot = slot,
                                 .tokens = tokens[i] + before,
                                 .count = length,
                                 .last_logits = logits + (size_t)slot * info.vocabulary_size,
                                 .log_probs = log_probs ? log_probs + (size_t)slot * LONGEST : NULL};
    }
    CHECK_OK(retnet_session_run(m->session, spans, count));
    for (uint32_t i = 0; i < count; i++) free(tokens[i]);
}

static const double limit = 5e-3; /* relative RMS: f16 inputs, fp32 sums */

static void check_states(const char *what, const machine *fast, const machine *plain, uint32_t slot)
{
    retnet_model_info info;
    retnet_model_get_info(fast->model, &info);
    size_t size = (size_t)info.layers * info.heads * info.key_size * info.value_size;
    float *actual = session_test_state(fast->session, slot), *expected = session_test_state(plain->session, slot);
    session_test_check_same(what, actual, expected, size, limit);
    free(actual);
    free(expected);
}

/* All prompts in one pass, or the first few, or each by itself: other kernels multiply other numbers of rows. */
static void test_prompts(const char *directory, bool is_cpu)
{
    const uint32_t slots = is_cpu ? 3 : SLOTS; /* which need fewer kernels, since software drivers compile slowly */
    machine fast = open_machine(directory, test_pretend(), slots);
    machine plain = open_machine(directory, RETNET_PRETEND_NO_COOPERATIVE_MATRIX, slots);
    retnet_model_info info;
    retnet_model_get_info(fast.model, &info);
    size_t row = info.vocabulary_size;
    float *expected = session_test_alloc(slots * row, sizeof *expected);
    float *actual = session_test_alloc(slots * row, sizeof *actual);
    read_prompts(&plain, prompts, 0, slots, expected, NULL);
    const uint32_t together[] = {slots, 3, 1};
    for (size_t t = 0; t < sizeof together / sizeof *together; t++) {
        for (uint32_t first = 0; first < slots; first += together[t])
            read_prompts(&fast, prompts, first, together[t] < slots - first ? together[t] : slots - first, actual,
                         NULL);
        for (uint32_t i = 0; i < slots; i++) {
            char what[64];
            snprintf(what, sizeof what, "a prompt of %zu, %u together", prompts[i], together[t]);
            check_states(what, &fast, &plain, i);
            session_test_check_same(what, actual + i * row, expected + i * row, row, limit);
        }
    }
    free(expected);
    free(actual);
    close_machine(&fast);
    close_machine(&plain);
}

/* Heads that fill tiles of their projection, which then leaves what retention takes where chunks begin in rows 0, 64,
 * 128 and so on: in the first of two sets of prompts, and not in the second where a pass has all of it. With few tokens
 * tiles are smaller on GPUs. */
static const fixture whole_tiles = {.name = "whole-tiles",
                                    .hidden = 64,
                                    .heads = 2,
                                    .kv_heads = 1,
                                    .key_size = 128,
                                    .value_size = 256,
                                    .ffn = 96,
                                    .seed = 1};

enum { READERS = 3 };

static void check_set(machine *fast, machine *plain, const size_t lengths[READERS], bool scored)
{
    retnet_model_info info;
    retnet_model_get_info(fast->model, &info);
    size_t row = info.vocabulary_size;
    float *a = session_test_alloc(READERS * (row + LONGEST), sizeof *a), *a_scores = a + READERS * row;
    float *e = session_test_alloc(READERS * (row + LONGEST), sizeof *e), *e_scores = e + READERS * row;
    read_prompts(fast, lengths, 0, READERS, a, scored ? a_scores : NULL);
    read_prompts(plain, lengths, 0, READERS, e, scored ? e_scores : NULL);
    for (uint32_t slot = 0; slot < READERS; slot++) {
        char what[64];
        snprintf(what, sizeof what, "slot %u of %zu, %zu, %zu", slot, lengths[0], lengths[1], lengths[2]);
        check_states(what, fast, plain, slot);
        session_test_check_same(what, a + slot * row, e + slot * row, row, limit);
        if (scored)
            session_test_check_same(what, a_scores + (size_t)slot * LONGEST + 1, e_scores + (size_t)slot * LONGEST + 1,
                                    lengths[slot] - 1, limit);
    }
    free(a);
    free(e);
}

/* Of such prompts in one pass: whether chunks begin in rows 0, 64, 128 and so on; and the last layer leaves queries and
 * gates of the first chunks out. */
static void check_pass(const machine *m, const size_t lengths[READERS], bool aligned)
{
    retnet_model_info info;
    retnet_model_get_info(m->model, &info);
    int32_t *tokens = session_test_tokens(LONGEST, info.vocabulary_size, 1);
    rn_reading readings[READERS], *list[READERS];
    for (uint32_t slot = 0; slot < READERS; slot++) {
        readings[slot] = (rn_reading){.slot = slot, .tokens = tokens, .count = lengths[slot]};
        list[slot] = &readings[slot];
    }
    const rn_pass *pass = rn_pass_build(m->session, RN_PASS_CHUNKS, list, READERS, UINT32_MAX);
    CHECK(pass && pass->part_count == READERS && pass->aligned == aligned && rn_pass_window(pass).first_chunk > 0);
    rn_session_abandon(m->session);
    free(tokens);
}

static void test_whole_tiles(const char *directory, bool is_cpu)
{
    static const size_t few[][READERS] = {{128, 64, 133}, {70, 65, 40}},
                        many[][READERS] = {{1984, 64, LONGEST}, {1000, 1000, 2000}};
    machine fast = open_as(directory, test_pretend(), READERS, 4224, RETNET_WEIGHTS_AS_STORED);
    machine plain = open_as(directory, RETNET_PRETEND_NO_COOPERATIVE_MATRIX, READERS, 4224, RETNET_WEIGHTS_AS_STORED);
    for (int set = 0; set < 2; set++) {
        const size_t *lengths = is_cpu ? few[set] : many[set];
        if (set == 0) check_set(&fast, &plain, lengths, true);
        check_set(&fast, &plain, lengths, false);
        check_pass(&fast, lengths, set == 0);
    }
    close_machine(&fast);
    close_machine(&plain);
}

/* A pass of so many tokens that scaled weights are unpacked for it, and the rest of the prompt, for which they are not.
 */
static void test_unpacked(const char *directory, retnet_weight_format format)
{
    enum { COUNT = 1100, CHUNK = 1088 };
    machine fast = open_as(directory, test_pretend(), 1, CHUNK, format);
    machine plain = open_as(directory, RETNET_PRETEND_NO_COOPERATIVE_MATRIX, 1, CHUNK, format);
    retnet_model_info info;
    retnet_model_get_info(fast.model, &info);
    int32_t *tokens = session_test_tokens(COUNT, info.vocabulary_size, 7);
    session_test_read_last(fast.session, 0, tokens, COUNT, NULL);
    session_test_read_last(plain.session, 0, tokens, COUNT, NULL);
    check_states(retnet_weight_format_name(format), &fast, &plain, 0);
    free(tokens);
    close_machine(&fast);
    close_machine(&plain);
}

/* ---- Preparation ------------------------------------------------------------------------------------------------- */

/* The plan of preparation, which has no memory, chooses the kernels that a session then takes. */
static void test_prepared(const char *directory)
{
    enum { COUNT = 133, CHUNK = 128 };
    machine m = open_as(directory, test_pretend(), 1, CHUNK, RETNET_WEIGHTS_AS_STORED);
    retnet_model_info info;
    retnet_model_get_info(m.model, &info);
    retnet_prepare_desc desc = {.session = {.slots = 1, .prompt_chunk = CHUNK}};
    int32_t *tokens = session_test_tokens(COUNT, info.vocabulary_size, 7);
    CHECK_OK(retnet_model_prepare(m.model, &desc));
    const rn_kernel_entry *newest = m.context->device.kernels;
    session_test_read_last(m.session, 0, tokens, COUNT, NULL);
    CHECK(m.context->device.kernels == newest);
    free(tokens);
    close_machine(&m);
}

/* Outputs of prompts that end in one pass: of one row in fp32, of any more on matrix units. */
static void test_outputs(const char *directory)
{
    static const uint32_t rows[] = {2, 32, 33, 64, 65, 200};
    machine m = open_as(directory, test_pretend(), 1, 128, RETNET_WEIGHTS_AS_STORED);
    rn_pass pass = {.class = RN_PASS_CHUNKS};
    CHECK(!rn_forward_output_suits_matrices(m.session, &pass, 1));
    for (size_t i = 0; i < RN_COUNT(rows); i++) CHECK(rn_forward_output_suits_matrices(m.session, &pass, rows[i]));
    close_machine(&m);
}

/* ---- Documents --------------------------------------------------------------------------------------------------- */

static void test_documents(void)
{
    machine fast = open_machine("samples/chat/model", 0, 1);
    machine plain = open_machine("samples/chat/model", RETNET_PRETEND_NO_COOPERATIVE_MATRIX, 1);
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
}

int main(void)
{
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("gqa"), directory);
    machine m = open_machine(directory, test_pretend(), 1);
    bool suits = rn_matmul_pays(&m.context->device);
    bool is_cpu = m.context->device.caps.is_cpu;
    close_machine(&m);
    if (suits) test_prompts(directory, is_cpu);
    if (suits) test_unpacked(directory, RETNET_WEIGHTS_Q4);
    if (suits && !is_cpu) test_unpacked(directory, RETNET_WEIGHTS_Q8);
    session_test_directory(directory, sizeof directory);
    fixture_write(&whole_tiles, directory);
    if (suits) test_whole_tiles(directory, is_cpu);
    if (suits) test_prepared(directory);
    if (suits) test_outputs(directory);
    if (suits) test_unpacked(directory, RETNET_WEIGHTS_Q4);
    if (suits && !test_pretend()) test_documents();
    int code = session_test_finish(test_failures);
    return code == 0 && !suits ? TEST_SKIPPED : code;
}
