/* torchscale_state_test.c: states in torchscale's layout: what is exported is what the formula says and what torchscale
 * recorded, what is imported goes on as the double-precision reference does, also from position one million. */
#include "reference/golden.h"
#include "reference/reference.h"
#include "session/session_test.h"

#include <dirent.h>

enum { MORE = 70, SINGLY = 5, MAX_HEADS = 32 };

/* Decays down to 1 - 2^-36, which is 1 in fp32: there the scale is the number of tokens. */
static const fixture many_heads = {.name = "torchscale-heads32",
                                   .torchscale = true,
                                   .hidden = 64,
                                   .heads = MAX_HEADS,
                                   .key_size = 2,
                                   .value_size = 3,
                                   .ffn = 48,
                                   .gelu = true,
                                   .seed = 21};

/* Where torchscale keeps element (h, i, j) of S: values before keys, a rotation's pair side by side. */
static size_t torchscale_index(const retnet_model_info *info, size_t h, size_t i, size_t j)
{
    size_t K = info->key_size, V = info->value_size, half = K / 2;
    return (h * V + j) * K + (i < half ? 2 * i : 2 * (i - half) + 1);
}

/* S of torchscale's state of one layer. */
static void expected_state(const retnet_model_info *info, const double *key_value, const double *scale, double *state)
{
    size_t K = info->key_size, V = info->value_size;
    for (size_t h = 0; h < info->heads; h++)
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < V; j++)
                state[(h * K + i) * V + j] = key_value[torchscale_index(info, h, i, j)] * sqrt(scale[h] * (double)K);
}

/* As torchscale comes by it: scale * decay + 1 at each token. */
static double scale_after(double decay, uint64_t tokens)
{
    double scale = 0;
    for (uint64_t i = 0; i < tokens; i++) scale = scale * decay + 1;
    return scale;
}

static double largest_error(const float *actual, const float *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)actual[i] - expected[i]) / fmax(fabs(expected[i]), 1e-30);
        if (!(error <= largest)) largest = error;
    }
    return largest;
}

/* ---- Export ------------------------------------------------------------------------------------------------------ */

/* A known state comes out by the formula, goes in again, and is the same to rounding. */
static void check_round_trip(session_test *test, const ref_model *model, uint64_t position)
{
    retnet_session *session = test->session;
    const retnet_model_info *info = &test->info;
    size_t size = test->state_size, K = info->key_size;
    uint64_t seed = position + 3;
    float *state = session_test_alloc(size, sizeof *state), *again = session_test_alloc(size, sizeof *again);
    float *key_value = session_test_alloc(size, sizeof *key_value), scale[MAX_HEADS];
    for (size_t i = 0; i < size; i++) state[i] = test_random(&seed);
    CHECK_OK(retnet_session_set_state(session, 0, 1, state));
    CHECK_OK(retnet_session_set_position(session, 0, position));
    CHECK_OK(retnet_session_get_state_torchscale(session, 0, 1, key_value, scale));
    for (size_t h = 0; h < info->heads; h++) {
        double expected = scale_after(model->config.decay[h], position);
        CHECK_AT_MOST(fabs(scale[h] / expected - 1), 1e-6);
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < info->value_size; j++) {
                double value = state[(h * K + i) * info->value_size + j] / sqrt(scale[h] * (double)K);
                CHECK_AT_MOST(fabs(key_value[torchscale_index(info, h, i, j)] - value), 1e-6 * fabs(value));
            }
    }
    CHECK_OK(retnet_session_set_state_torchscale(session, 1, 1, key_value, scale));
    CHECK_OK(retnet_session_get_state(session, 1, 1, again));
    CHECK_AT_MOST(largest_error(again, state, size), 1.5e-7);
    CHECK_INT(retnet_session_position(session, 1), 0); /* not changed by a state */
    CHECK_OK(retnet_session_set_position(session, 1, position));
    CHECK_OK(retnet_session_get_state_torchscale(session, 1, 1, again, scale));
    CHECK_AT_MOST(largest_error(again, key_value, size), 2.5e-7);
    CHECK_OK(retnet_session_reset(session, 0));
    CHECK_OK(retnet_session_reset(session, 1));
    free(state);
    free(again);
    free(key_value);
}

static void check_empty(session_test *test)
{
    float *key_value = session_test_alloc(test->state_size, sizeof *key_value), scale[MAX_HEADS] = {1};
    key_value[0] = 1;
    CHECK_OK(retnet_session_get_state_torchscale(test->session, 0, 0, key_value, scale));
    for (uint32_t h = 0; h < test->info.heads; h++) CHECK(scale[h] == 0);
    for (size_t i = 0; i < test->state_size; i++) CHECK(key_value[i] == 0);
    CHECK_OK(retnet_session_set_state_torchscale(test->session, 0, 0, key_value, scale));
    CHECK_OK(retnet_session_get_state_torchscale(test->session, 0, 0, key_value, scale));
    free(key_value);
}

static void check_errors(session_test *test)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    retnet_session *s = test->session;
    float *key_value = session_test_alloc(test->state_size, sizeof *key_value), scale[MAX_HEADS];
    for (uint32_t h = 0; h < MAX_HEADS; h++) scale[h] = 1;
    key_value[1] = 1;
    float *before = session_test_state(s, 1);
    CHECK_REFUSED(retnet_session_get_state_torchscale(s, 2, 0, key_value, scale), invalid);
    CHECK_REFUSED(retnet_session_get_state_torchscale(s, 0, test->info.layers, key_value, scale), invalid);
    CHECK_REFUSED(retnet_session_get_state_torchscale(s, 0, 0, NULL, scale), invalid);
    CHECK_REFUSED(retnet_session_get_state_torchscale(s, 0, 0, key_value, NULL), invalid);
    CHECK_REFUSED(retnet_session_set_state_torchscale(s, 2, 0, key_value, scale), invalid);
    CHECK_REFUSED(retnet_session_set_state_torchscale(s, 1, test->info.layers, key_value, scale), invalid);
    CHECK_REFUSED(retnet_session_set_state_torchscale(s, 1, 0, NULL, scale), invalid);
    CHECK_REFUSED(retnet_session_set_state_torchscale(s, 1, 0, key_value, NULL), invalid);
    static const float bad[] = {-1e-3f, NAN, INFINITY};
    for (size_t i = 0; i < RN_COUNT(bad); i++) {
        scale[test->info.heads - 1] = bad[i];
        CHECK_REFUSED(retnet_session_set_state_torchscale(s, 1, 0, key_value, scale), invalid);
    }
    CHECK_RESULT(retnet_session_get_state_torchscale(NULL, 0, 0, key_value, scale), invalid);
    CHECK_RESULT(retnet_session_set_state_torchscale(NULL, 0, 0, key_value, scale), invalid);
    float *after = session_test_state(s, 1);
    CHECK(memcmp(before, after, test->info.layers * test->state_size * sizeof *before) == 0);
    free(after);
    free(before);

    /* A state without a position has no scale. */
    scale[test->info.heads - 1] = 1;
    key_value[1] = 1;
    CHECK_OK(retnet_session_set_state_torchscale(s, 1, 0, key_value, scale));
    CHECK_REFUSED(retnet_session_get_state_torchscale(s, 1, 0, key_value, scale), invalid);
    CHECK_OK(retnet_session_reset(s, 1));
    free(key_value);
}

/* ---- Import ------------------------------------------------------------------------------------------------------ */

/* Slot 0 reads on token by token, slot 1 in one call, both from the state that the sequence holds. */
static void check_goes_on(const char *what, session_test *test, const ref_model *model, ref_sequence *sequence)
{
    size_t vocabulary = test->info.vocabulary_size, states = test->info.layers * test->state_size;
    int32_t *tokens = session_test_tokens(MORE, test->info.vocabulary_size, sequence->position);
    float *logits = session_test_alloc(MORE * vocabulary, sizeof *logits), *state;
    double *expected = session_test_alloc(MORE * vocabulary, sizeof *expected);
    double *output = session_test_alloc((size_t)MORE * model->config.hidden, sizeof *output);
    uint64_t begin = sequence->position;
    ref_model_read(model, sequence, tokens, SINGLY, output);
    ref_model_logits(model, output, SINGLY, expected);
    session_test_read_singly(test->session, 0, tokens, SINGLY, logits);
    session_test_check_logits(what, logits, expected, SINGLY, vocabulary, 2); /* the strict limit from the start */
    state = session_test_state(test->session, 0);
    session_test_check_rms(what, state, sequence->states, states, 1e-4);
    free(state);

    ref_model_read(model, sequence, tokens + SINGLY, MORE - SINGLY, output);
    ref_model_logits(model, output, MORE - SINGLY, expected + SINGLY * vocabulary);
    session_test_read_all(test->session, 1, tokens, MORE, logits);
    session_test_check_logits(what, logits, expected, MORE, vocabulary, 2);
    state = session_test_state(test->session, 1);
    session_test_check_rms(what, state, sequence->states, states, 1e-4);
    free(state);
    CHECK_INT(retnet_session_position(test->session, 1), begin + MORE);
    free(tokens);
    free(logits);
    free(expected);
    free(output);
}

/* The state of a layer into both slots and the reference. */
static void import(session_test *test, ref_sequence *sequence, uint32_t layer, const double *key_value,
                   const double *scale)
{
    float *narrow = session_test_alloc(test->state_size, sizeof *narrow), narrow_scale[MAX_HEADS];
    for (size_t i = 0; i < test->state_size; i++) narrow[i] = (float)key_value[i];
    for (uint32_t h = 0; h < test->info.heads; h++) narrow_scale[h] = (float)scale[h];
    for (uint32_t slot = 0; slot < 2; slot++)
        CHECK_OK(retnet_session_set_state_torchscale(test->session, slot, layer, narrow, narrow_scale));
    if (sequence) expected_state(&test->info, key_value, scale, sequence->states + layer * test->state_size);
    free(narrow);
}

static void declare_position(session_test *test, uint64_t position)
{
    for (uint32_t slot = 0; slot < 2; slot++) CHECK_OK(retnet_session_set_position(test->session, slot, position));
}

static void check_position(session_test *test, const ref_model *model, uint64_t position)
{
    char what[64];
    uint64_t seed = position;
    double *key_value = session_test_alloc(test->state_size, sizeof *key_value), scale[MAX_HEADS];
    ref_sequence sequence;
    ref_sequence_init(model, &sequence);
    for (uint32_t h = 0; h < test->info.heads; h++) scale[h] = scale_after(model->config.decay[h], position);
    for (uint32_t l = 0; l < test->info.layers; l++) {
        for (size_t i = 0; i < test->state_size; i++) key_value[i] = test_random(&seed);
        import(test, &sequence, l, key_value, scale);
    }
    declare_position(test, position);
    sequence.position = position;
    snprintf(what, sizeof what, "imported at position %llu", (unsigned long long)position);
    check_goes_on(what, test, model, &sequence);
    free(sequence.states);
    free(key_value);
}

static void check_fixture(const fixture *f)
{
    static const uint64_t positions[] = {1, 2, 10, 1000, 1000000};
    session_test test = session_test_create(f, 2, 0);
    ref_model *model = ref_model_open(test.directory);
    REQUIRE(model && test.info.heads <= MAX_HEADS);
    check_empty(&test);
    check_errors(&test);
    for (size_t i = 0; i < RN_COUNT(positions); i++) {
        check_round_trip(&test, model, positions[i]);
        check_position(&test, model, positions[i]);
        CHECK_OK(retnet_session_reset(test.session, 0));
        CHECK_OK(retnet_session_reset(test.session, 1));
    }
    ref_model_close(model);
    session_test_destroy(&test);
}

/* ---- torchscale's own -------------------------------------------------------------------------------------------- */

typedef struct recorded {
    golden_file file;
    session_test test;
    ref_model *model;
    size_t rows, tokens;
    int32_t *ids; /* [rows, tokens] */
} recorded;

/* Part of a recorded state that belongs to a row; a scale may be the same for all. */
static double *recorded_row(const recorded *r, uint32_t layer, const char *name, size_t row, size_t size)
{
    char full[64];
    snprintf(full, sizeof full, "state.%u.%s", layer, name);
    double *all = golden_reals(&r->file, full), *part = session_test_alloc(size, sizeof *part);
    size_t elements = (size_t)golden_find(&r->file, full)->elements;
    REQUIRE(elements == size || elements == r->rows * size);
    memcpy(part, all + (elements == size ? 0 : row * size), size * sizeof *part);
    free(all);
    return part;
}

/* What the session exports after the recorded tokens is what torchscale had, and what torchscale had goes on as if the
 * session or the reference had read the tokens. */
static void check_row(recorded *r, size_t row)
{
    char what[600];
    const int32_t *tokens = r->ids + row * r->tokens;
    session_test *test = &r->test;
    ref_sequence sequence;
    double *output = session_test_alloc(r->tokens * r->model->config.hidden, sizeof *output);
    float *key_value = session_test_alloc(test->state_size, sizeof *key_value), scale[MAX_HEADS];
    CHECK_OK(retnet_session_reset(test->session, 0));
    CHECK_OK(retnet_session_reset(test->session, 1));
    session_test_read_all(test->session, 0, tokens, r->tokens, NULL);
    ref_sequence_init(r->model, &sequence);
    ref_model_read(r->model, &sequence, tokens, r->tokens, output);
    snprintf(what, sizeof what, "%s, row %zu", test->directory, row);
    for (uint32_t l = 0; l < test->info.layers; l++) {
        double *their_state = recorded_row(r, l, "prev_key_value", row, test->state_size);
        double *their_scale = recorded_row(r, l, "scale", row, test->info.heads);
        CHECK_OK(retnet_session_get_state_torchscale(test->session, 0, l, key_value, scale));
        session_test_check_rms(what, key_value, their_state, test->state_size, 1e-4);
        session_test_check_rms(what, scale, their_scale, test->info.heads, 1e-6);
        free(their_state);
        free(their_scale);
    }
    for (uint32_t l = 0; l < test->info.layers; l++) {
        double *their_state = recorded_row(r, l, "prev_key_value", row, test->state_size);
        double *their_scale = recorded_row(r, l, "scale", row, test->info.heads);
        import(test, NULL, l, their_state, their_scale);
        free(their_state);
        free(their_scale);
    }
    declare_position(test, r->tokens);
    check_goes_on(what, test, r->model, &sequence);
    free(sequence.states);
    free(output);
    free(key_value);
}

/* A directory with states that torchscale recorded; false if it is none. */
static bool check_recorded(const char *directory)
{
    char path[600];
    recorded r = {0};
    snprintf(path, sizeof path, "%s/golden.safetensors", directory);
    if (!session_test_exists(path)) return false;
    golden_open(&r.file, path);
    const rn_tensor *tokens = golden_find(&r.file, "tokens");
    bool found = golden_find(&r.file, "state.0.prev_key_value") && tokens && tokens->rank == 2;
    if (found) {
        fprintf(stderr, "%s\n", directory);
        snprintf(r.test.directory, sizeof r.test.directory, "%s", directory);
        r.test.context = session_test_context();
        r.test.model = session_test_model(r.test.context, directory, RETNET_WEIGHTS_AS_STORED);
        r.test.session = session_test_session(r.test.model, 2, 0);
        retnet_model_get_info(r.test.model, &r.test.info);
        r.test.state_size = (size_t)r.test.info.heads * r.test.info.key_size * r.test.info.value_size;
        r.model = ref_model_open(directory);
        REQUIRE(r.model && r.test.info.heads <= MAX_HEADS);
        r.rows = tokens->shape[0];
        r.tokens = tokens->shape[1];
        r.ids = golden_integers(&r.file, "tokens");
        for (size_t row = 0; row < r.rows; row++) check_row(&r, row);
        ref_model_close(r.model);
        session_test_destroy(&r.test);
        free(r.ids);
    }
    golden_close(&r.file);
    return found;
}

int main(void)
{
    size_t sets = 0;
    check_fixture(fixture_named("torchscale"));
    check_fixture(fixture_named("torchscale-all"));
    check_fixture(fixture_named("gqa"));
    check_fixture(&many_heads);
    DIR *golden = opendir(SHARED "/golden");
    for (struct dirent *entry; golden && (entry = readdir(golden));) {
        char directory[500];
        snprintf(directory, sizeof directory, SHARED "/golden/%.400s", entry->d_name);
        if (entry->d_name[0] != '.') sets += check_recorded(directory);
    }
    if (golden) closedir(golden);
    if (sets == 0) fprintf(stderr, "no states that torchscale recorded under " SHARED "/golden: those not checked\n");
    return session_test_finish(test_failures);
}
