/* window_test.c: what is behind the last layer's states is done for the wanted rows only, and these and the states are
 * what they are where all rows are wanted: to the bit on CPUs, whose kernels do not differ by the number of rows. Then
 * once more on matrix units, where there are any. */
#include "context.h"
#include "layers/matmul.h"
#include "pretend.h"
#include "session/session.h"
#include "session/session_test.h"

enum { SLOTS = 3, CHUNK = 128, LONGEST = 260 };

/* With `matrix` those of a software driver too, which sessions leave alone. */
static session_test open_test(const fixture *f, retnet_weight_format format, bool matrix)
{
    session_test test = {.context = matrix ? session_test_context_as(test_pretend()) : session_test_context()};
    test.context->device.slow_matrices = matrix;
    session_test_directory(test.directory, sizeof test.directory);
    fixture_write(f, test.directory);
    test.model = session_test_model(test.context, test.directory, format);
    test.session = session_test_session(test.model, SLOTS, CHUNK);
    retnet_model_get_info(test.model, &test.info);
    test.state_size = (size_t)test.info.heads * test.info.key_size * test.info.value_size;
    return test;
}

static double limit_of(const session_test *test)
{
    return rn_matmul_pays(&test->context->device) ? 5e-3 : session_test_company(test->model);
}

/* ---- One prompt -------------------------------------------------------------------------------------------------- */

/* What a slot was left with. */
typedef struct outcome {
    float *logits, *state;
} outcome;

static outcome outcome_of(const session_test *test, uint32_t slot)
{
    size_t bytes = test->info.vocabulary_size * sizeof(float);
    outcome o = {session_test_alloc(1, bytes), session_test_state(test->session, slot)};
    CHECK(test->session->slots[slot].has_logits);
    memcpy(o.logits, test->session->slots[slot].logits, bytes);
    return o;
}

static void check_outcome(const char *what, session_test *test, uint32_t slot, outcome expected)
{
    outcome actual = outcome_of(test, slot);
    double limit = limit_of(test);
    session_test_check_same(what, actual.logits, expected.logits, test->info.vocabulary_size, limit);
    session_test_check_same(what, actual.state, expected.state, test->info.layers * test->state_size, limit);
    free(actual.logits);
    free(actual.state);
}

static void free_outcome(outcome o)
{
    free(o.logits);
    free(o.state);
}

/* All rows wanted: what the others are compared with. */
static outcome read_whole(session_test *test, uint32_t slot, const int32_t *tokens, size_t count)
{
    float *logits = session_test_alloc(count * test->info.vocabulary_size, sizeof *logits);
    CHECK_OK(retnet_session_reset(test->session, slot));
    session_test_read_all(test->session, slot, tokens, count, logits);
    free(logits);
    return outcome_of(test, slot);
}

/* In one pass, and in several, of which only the last has a wanted row. */
static void check_lengths(session_test *test, const char *name)
{
    static const size_t lengths[] = {2, 3, 5, 63, 64, 65, 66, 70, 100, 127, 128, 129, 130, 195, 256, LONGEST};
    int32_t *tokens = session_test_tokens(LONGEST, test->info.vocabulary_size, 5);
    for (size_t i = 0; i < RN_COUNT(lengths); i++) {
        char what[128];
        snprintf(what, sizeof what, "%s, a prompt of %zu", name, lengths[i]);
        outcome expected = read_whole(test, 0, tokens, lengths[i]);
        CHECK_OK(retnet_session_reset(test->session, 0));
        session_test_read_last(test->session, 0, tokens, lengths[i], NULL);
        check_outcome(what, test, 0, expected);
        free_outcome(expected);
    }
    free(tokens);
}

/* ---- Several slots ----------------------------------------------------------------------------------------------- */

typedef struct wish {
    size_t count;
    bool all_logits, log_probs;
} wish;

static void check_together(session_test *test, const char *name, const wish wishes[SLOTS])
{
    retnet_span spans[SLOTS] = {0};
    outcome expected[SLOTS];
    size_t row = test->info.vocabulary_size;
    float *all = session_test_alloc(LONGEST * row, sizeof *all), scores[LONGEST];
    for (uint32_t i = 0; i < SLOTS; i++) {
        spans[i] = (retnet_span){.slot = i, .count = wishes[i].count};
        spans[i].tokens = session_test_tokens(wishes[i].count, test->info.vocabulary_size, 20 + i);
        expected[i] = read_whole(test, i, spans[i].tokens, spans[i].count);
        CHECK_OK(retnet_session_reset(test->session, i));
        if (wishes[i].all_logits) spans[i].all_logits = all;
        if (wishes[i].log_probs) spans[i].log_probs = scores;
    }
    CHECK_OK(retnet_session_run(test->session, spans, SLOTS));
    for (uint32_t i = 0; i < SLOTS; i++) {
        char what[128];
        snprintf(what, sizeof what, "%s, slot %u of %zu, %zu, %zu", name, i, wishes[0].count, wishes[1].count,
                 wishes[2].count);
        check_outcome(what, test, i, expected[i]);
        if (wishes[i].all_logits)
            session_test_check_same(what, all + (wishes[i].count - 1) * row, expected[i].logits, row, limit_of(test));
        free_outcome(expected[i]);
        free((void *)spans[i].tokens);
    }
    free(all);
}

static void check_slots(session_test *test, const char *name)
{
    static const wish wishes[][SLOTS] = {
        {{.count = 70}, {.count = 17}, {.count = 40}},
        {{.count = 64}, {.count = 128}, {.count = 1}},
        {{.count = 200}, {.count = 3}, {.count = 150}}, /* the pass between two ends has the end of one in it */
        {{.count = 20}, {.count = 90, .all_logits = true}, {.count = 66, .log_probs = true}},
        {{.count = 130, .log_probs = true}, {.count = 2}, {.count = 30}},
    };
    for (size_t i = 0; i < RN_COUNT(wishes); i++) check_together(test, name, wishes[i]);
}

/* ---- What a pass's window is ------------------------------------------------------------------------------------- */

typedef struct expected_window {
    size_t counts[SLOTS];
    bool all[SLOTS];
    uint32_t first, rows, first_chunk;
} expected_window;

static rn_pass *build(retnet_session *session, retnet_span *spans, rn_reading *readings, uint32_t count)
{
    rn_reading *list[SLOTS] = {NULL};
    for (uint32_t i = 0; i < count; i++) {
        readings[i] = (rn_reading){spans[i].slot, spans[i].tokens, spans[i].count, 0, &spans[i]};
        list[i] = &readings[i];
    }
    rn_pass *pass = rn_pass_build(session, rn_reading_class(session, list[0]), list, count, UINT32_MAX);
    REQUIRE(pass);
    return pass;
}

static void check_windows(session_test *test)
{
    static const expected_window windows[] = {
        {.counts = {70}, .first = 68, .rows = 2, .first_chunk = 1},
        {.counts = {64}, .first = 60, .rows = 4},
        {.counts = {65}, .first = 64, .rows = 1, .first_chunk = 1},
        {.counts = {128}, .first = 124, .rows = 4, .first_chunk = 1},
        {.counts = {200}, .first = 128, .first_chunk = 2},
        {.counts = {66, 3, 40}, .first = 64, .rows = 45, .first_chunk = 1},
        {.counts = {3, 70, 20}, .rows = 93},
        {.counts = {70, 200}, .first = 68, .rows = 2, .first_chunk = 1},
        {.counts = {90}, .all = {true}, .rows = 90},
    };
    for (size_t i = 0; i < RN_COUNT(windows); i++) {
        const expected_window *w = &windows[i];
        retnet_span spans[SLOTS] = {0};
        rn_reading readings[SLOTS];
        float logits; /* nothing is run */
        uint32_t count = 0;
        for (; count < SLOTS && w->counts[count]; count++) {
            spans[count] = (retnet_span){.slot = count, .count = w->counts[count]};
            spans[count].tokens = session_test_tokens(w->counts[count], test->info.vocabulary_size, 1);
            if (w->all[count]) spans[count].all_logits = &logits;
        }
        const rn_pass *pass = build(test->session, spans, readings, count);
        rn_window window = rn_pass_window(pass);
        CHECK_INT(window.first, w->first);
        CHECK_INT(window.rows, w->rows);
        CHECK_INT(window.first_chunk, w->first_chunk);
        CHECK_INT(pass->stages < rn_forward_layer_stages(test->session), w->rows == 0);
        rn_session_abandon(test->session);
        for (uint32_t k = 0; k < count; k++) free((void *)spans[k].tokens);
    }
}

/* ---- Less is wanted later ---------------------------------------------------------------------------------------- */

/* Spans are let go of before each of a pass's stages. */
static void check_forgetting(session_test *test, const char *name, size_t count)
{
    enum { MOST_STAGES = 32 };
    retnet_session *session = test->session;
    int32_t *tokens = session_test_tokens(LONGEST, test->info.vocabulary_size, 9);
    float *logits = session_test_alloc(LONGEST * test->info.vocabulary_size, sizeof *logits);
    outcome expected = read_whole(test, 0, tokens, count);
    uint32_t stages = 1;
    for (uint32_t before = 0; before < stages; before++) {
        char what[128];
        CHECK_OK(retnet_session_reset(session, 0));
        retnet_span span = {.tokens = tokens, .count = count, .all_logits = logits};
        rn_reading reading;
        rn_pass *pass = build(session, &span, &reading, 1);
        stages = pass->stages;
        REQUIRE(stages < MOST_STAGES);
        while (pass->stage < before) {
            rn_slice *slice = rn_slice_begin(session, VK_NULL_HANDLE);
            rn_slice_fill(session, slice, 1);
            REQUIRE(rn_slice_end(session, slice) == RETNET_OK);
            REQUIRE(rn_slice_take(session, session->newest_slice, true) == RETNET_OK);
        }
        rn_pass_forget_spans(session);
        REQUIRE(rn_session_settle(session, false) == RETNET_OK);
        if (reading.cursor < count)
            session_test_read_last(session, 0, tokens + reading.cursor, count - reading.cursor, NULL);
        snprintf(what, sizeof what, "%s, forgotten at stage %u of %u", name, before, stages);
        check_outcome(what, test, 0, expected);
    }
    free_outcome(expected);
    free(logits);
    free(tokens);
}

/* ------------------------------------------------------------------------------------------------------------------ */

static void check_model(const fixture *f, retnet_weight_format format, bool matrix)
{
    char name[64];
    session_test test = open_test(f, format, matrix);
    snprintf(name, sizeof name, "%s, %s%s", f->name, retnet_weight_format_name(format), matrix ? ", matrix units" : "");
    check_lengths(&test, name);
    check_slots(&test, name);
    check_windows(&test);
    check_forgetting(&test, name, 100); /* of which some rows are wanted all the same */
    check_forgetting(&test, name, 150);
    session_test_destroy(&test);
}

static void check_formats(bool matrix)
{
    static const retnet_weight_format formats[] = {RETNET_WEIGHTS_F16, RETNET_WEIGHTS_Q8, RETNET_WEIGHTS_Q4};
    for (size_t i = 0; i < RN_COUNT(formats); i++) check_model(fixture_named("gqa"), formats[i], matrix);
}

static bool has_matrix_units(void)
{
    retnet_context *context = session_test_context_as(test_pretend());
    context->device.slow_matrices = true;
    bool pays = rn_matmul_pays(&context->device);
    retnet_context_destroy(context);
    return pays;
}

int main(void)
{
    static const char *const few[] = {"odd-v", "torchscale-all", "old"};
    for (const fixture *f = fixtures; f->name; f++) check_model(f, RETNET_WEIGHTS_AS_STORED, false);
    check_formats(false);
    if (has_matrix_units()) {
        for (size_t i = 0; i < RN_COUNT(few); i++) check_model(fixture_named(few[i]), RETNET_WEIGHTS_AS_STORED, true);
        check_formats(true);
    }
    return session_test_finish(test_failures);
}
