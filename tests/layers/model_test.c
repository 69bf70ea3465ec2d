/* model_test.c: whole models of both dialects, composed of the functions of layers.h alone (composed.c), in every form,
 * against recorded numbers and against the reference.
 *
 *     test_layers_model [DIRECTORY...]      golden sets (session/golden_test.c says what they hold); without: sets of
 * our own, and those under ../shared/golden
 *
 * torchscale's recordings of its three forms with eps differ from each other, and each is met by the form that it is
 * of, with its normalisation of scores. States are compared with the reference's. */
#include "layers/composed.h"
#include "reference/golden.h"
#include "session/session_test.h"

#include <dirent.h>

typedef struct model_set {
    const char *name;
    layers_test *test;
    ref_model *model;
    composed *net;
    size_t rows, tokens; /* of the batch, of each row */
    int32_t *ids;        /* [rows, tokens] */
    double *states;      /* [rows, layers, H, K, V] after all tokens */
} model_set;

enum { OWN_ROWS = 3 };

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

typedef struct way {
    const char *name;
    composed_form form;
    uint32_t chunk;
    size_t piece; /* tokens of a call; 0: all */
} way;

/* Reads all tokens, in calls of `piece` of each row. */
static void read_set(const model_set *set, const way *way, retnet_score_norm norm, float eps, float *logits)
{
    size_t vocabulary = set->model->config.vocabulary, piece = way->piece ? way->piece : set->tokens;
    retnet_sequence *sequences = layers_test_alloc(set->rows, sizeof *sequences);
    int32_t *ids = layers_test_alloc(set->rows * piece, sizeof *ids);
    float *part = layers_test_alloc(set->rows * piece * vocabulary, sizeof *part);
    composed_forget(set->net);
    for (size_t at = 0; at < set->tokens; at += piece) {
        size_t count = set->tokens - at < piece ? set->tokens - at : piece;
        for (size_t b = 0; b < set->rows; b++) {
            sequences[b] =
                (retnet_sequence){(uint32_t)(b * count), (uint32_t)count, (uint32_t)(set->rows - 1 - b), (uint32_t)at};
            memcpy(ids + b * count, set->ids + b * set->tokens + at, count * sizeof *ids);
        }
        composed_read(set->net, way->form, way->chunk, norm, eps, sequences, (uint32_t)set->rows, ids, part);
        for (size_t b = 0; b < set->rows; b++)
            memcpy(logits + (b * set->tokens + at) * vocabulary, part + b * count * vocabulary,
                   count * vocabulary * sizeof *part);
    }
    free(sequences);
    free(ids);
    free(part);
}

/* ---- Comparing --------------------------------------------------------------------------------------------------- */

static void check_states(const model_set *set, const char *what)
{
    const rn_config *c = &set->model->config;
    size_t size = ref_state_size(set->model), K = c->key_size, V = c->value_size;
    float *state = layers_test_alloc(size, sizeof *state), *ordered = layers_test_alloc(size, sizeof *ordered);
    for (size_t at = 0; at < set->rows * c->layers; at++) {
        composed_state(set->net, (uint32_t)(at % c->layers), (uint32_t)(set->rows - 1 - at / c->layers), state);
        for (size_t i = 0; i < size; i++) {
            size_t row = i / V, pair = row % K, from = pair;
            if (c->interleaved_rotation) from = pair < K / 2 ? 2 * pair : 2 * (pair - K / 2) + 1;
            ordered[i] = state[(row - pair + from) * V + i % V];
        }
        session_test_check_rms(what, ordered, set->states + at * size, size, 1e-4);
    }
    free(state);
    free(ordered);
}

static void check_logits(const model_set *set, const char *what, const float *logits, const double *expected,
                         double limit)
{
    size_t vocabulary = set->model->config.vocabulary, row = set->tokens * vocabulary;
    double worst = 0;
    for (size_t i = 0; i < set->rows * row; i++) {
        double error = fabs(logits[i] - expected[i]);
        if (i / vocabulary % set->tokens < 2 && limit > 1e-4) error /= 10; /* ill-conditioned, retnet.md 5.4 */
        if (!(error <= worst)) worst = error;                              /* NaN stays */
    }
    if (!(worst <= limit)) TEST_FAIL("%s: logits are wrong by %g, at most %g expected", what, worst, limit);
}

/* What was recorded against one way of reading. */
static void check_way(const model_set *set, const char *recording, const double *expected, const way *way,
                      retnet_score_norm norm, float eps, double limit)
{
    char what[600];
    snprintf(what, sizeof what, "%s, %s, %s", set->name, recording, way->name);
    float *logits = layers_test_alloc(set->rows * set->tokens * set->model->config.vocabulary, sizeof *logits);
    read_set(set, way, norm, eps, logits);
    check_logits(set, what, logits, expected, limit);
    if (way->form != COMPOSED_PARALLEL && limit > 1e-4) check_states(set, what);
    free(logits);
}

static const way all_ways[] = {
    {"parallel", COMPOSED_PARALLEL, 0, 0},
    {"chunks of 64", COMPOSED_CHUNKWISE, 64, 0},
    {"chunks of 7 in pieces", COMPOSED_CHUNKWISE, 7, 50},
    {"recurrent", COMPOSED_RECURRENT, 0, 1},
};

/* A recording that every form equals. */
static void check_all_ways(const model_set *set, const char *recording, const double *expected, float eps, double limit)
{
    bool torchscale = set->model->config.score_normalised_eps;
    for (size_t i = 0; i < RN_COUNT(all_ways); i++) {
        way way = all_ways[i];
        if (way.chunk > set->tokens) way.chunk = (uint32_t)set->tokens;
        check_way(set, recording, expected, &way, torchscale ? RETNET_SCORE_NORM_RECURRENT : RETNET_SCORE_NORM_NONE,
                  eps, limit);
    }
}

/* ---- Sets -------------------------------------------------------------------------------------------------------- */

/* Reads all rows by the reference. */
static void read_reference(const model_set *set, double *states, double *logits)
{
    const rn_config *c = &set->model->config;
    size_t size = c->layers * ref_state_size(set->model);
    double *output = layers_test_alloc(set->tokens * c->hidden, sizeof *output);
    for (size_t b = 0; b < set->rows; b++) {
        ref_sequence sequence;
        ref_sequence_init(set->model, &sequence);
        ref_model_read(set->model, &sequence, set->ids + b * set->tokens, set->tokens, output);
        if (states) memcpy(states + b * size, sequence.states, size * sizeof *states);
        if (logits) ref_model_logits(set->model, output, set->tokens, logits + b * set->tokens * c->vocabulary);
        free(sequence.states);
    }
    free(output);
}

static void begin_set(model_set *set)
{
    const rn_config *c = &set->model->config;
    uint32_t rows = (uint32_t)(set->rows * set->tokens);
    set->net = composed_create(set->test, set->model, rows, (uint32_t)set->rows);
    set->states = layers_test_alloc(set->rows * c->layers * ref_state_size(set->model), sizeof *set->states);
    read_reference(set, set->states, NULL);
}

static void end_set(model_set *set)
{
    composed_destroy(set->net);
    ref_model_close(set->model);
    free(set->states);
    free(set->ids);
}

/* A form with torchscale's own normalisation, by which states differ too from the second layer on. What was recorded,
 * or the reference's logits. */
static void check_own_norm(model_set *set, const char *recording, const double *recorded, const way *way)
{
    const rn_config *c = &set->model->config;
    double *logits = layers_test_alloc(set->rows * set->tokens * c->vocabulary, sizeof *logits);
    set->model->score_norm = way->form == COMPOSED_PARALLEL ? REF_PARALLEL : REF_CHUNKWISE;
    set->model->chunk = way->chunk;
    read_reference(set, set->states, recorded ? NULL : logits);
    check_way(set, recording, recorded ? recorded : logits, way, RETNET_SCORE_NORM_OF_FORM, c->norm_eps, 2e-4);
    set->model->score_norm = REF_RECURRENT;
    read_reference(set, set->states, NULL);
    free(logits);
}

static void check_own(layers_test *test, const fixture *f, size_t tokens)
{
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(f, directory);
    model_set set = {
        .name = f->name, .test = test, .model = ref_model_open(directory), .rows = OWN_ROWS, .tokens = tokens};
    REQUIRE(set.model);
    const rn_config *c = &set.model->config;
    set.ids = session_test_tokens(OWN_ROWS * tokens, c->vocabulary, f->seed);
    begin_set(&set);
    double *logits = layers_test_alloc(OWN_ROWS * tokens * c->vocabulary, sizeof *logits);
    read_reference(&set, NULL, logits);
    check_all_ways(&set, "the reference", logits, c->norm_eps, 2e-4);
    if (c->score_normalised_eps) {
        check_own_norm(&set, "its own norm", NULL, &(way){"parallel", COMPOSED_PARALLEL, 0, 0});
        check_own_norm(&set, "its own norm", NULL, &(way){"chunks of 100", COMPOSED_CHUNKWISE, 100, 0});
    }
    free(logits);
    end_set(&set);
}

/* ---- Recordings -------------------------------------------------------------------------------------------------- */

/* torchscale's chunk length: of the recording's name, "logits_chunkwise_c8", or of the config. */
static uint32_t recorded_chunk(const char *directory, const char *name)
{
    const char *in_name = strstr(name, "_c");
    while (in_name && (in_name[2] < '0' || in_name[2] > '9')) in_name = strstr(in_name + 2, "_c");
    if (in_name) return (uint32_t)strtoul(in_name + 2, NULL, 10);
    char path[600];
    snprintf(path, sizeof path, "%s/config.json", directory);
    json_t *config = golden_json(path);
    const json_t *chunk = json_object_get(config, "recurrent_chunk_size");
    uint32_t length = chunk ? (uint32_t)json_integer_value(chunk) : 512;
    json_decref(config);
    return length;
}

static void check_recording(model_set *set, const golden_file *file, const rn_tensor *tensor)
{
    const rn_config *c = &set->model->config;
    size_t count = set->rows * set->tokens * c->vocabulary, length = strlen(tensor->name);
    bool eps0 = length >= 5 && strcmp(tensor->name + length - 5, "_eps0") == 0;
    if (tensor->elements != count) {
        TEST_FAIL("%s: %s has %llu elements, %zu expected", set->name, tensor->name,
                  (unsigned long long)tensor->elements, count);
        return;
    }
    double *expected = golden_reals(file, tensor->name);
    float eps = eps0 ? 0 : c->norm_eps;
    double limit = eps0 ? 2e-5 : 2e-4;
    if (!c->score_normalised_eps || eps == 0 || !strncmp(tensor->name, "logits_recurrent", 16)) {
        check_all_ways(set, tensor->name, expected, eps, limit);
    } else if (strncmp(tensor->name, "logits_parallel", 15) == 0) {
        check_own_norm(set, tensor->name, expected, &(way){"parallel", COMPOSED_PARALLEL, 0, 0});
    } else if (strncmp(tensor->name, "logits_chunkwise", 16) == 0) {
        /* A chunk that is longer than all of it is normalised like any other that is. */
        uint32_t chunk = rn_min_u32(recorded_chunk(set->name, tensor->name), (uint32_t)set->tokens);
        check_own_norm(set, tensor->name, expected, &(way){"chunkwise", COMPOSED_CHUNKWISE, chunk, 0});
    } else {
        TEST_FAIL("%s: of which form is %s?", set->name, tensor->name);
    }
    free(expected);
}

static void check_directory(layers_test *test, const char *directory)
{
    char path[600];
    snprintf(path, sizeof path, "%s/golden.safetensors", directory);
    fprintf(stderr, "%s\n", directory);
    model_set set = {.name = directory, .test = test, .model = ref_model_open(directory)};
    if (!set.model || !session_test_exists(path)) {
        TEST_FAIL("%s: no model or no golden.safetensors", directory);
        ref_model_close(set.model);
        return;
    }
    golden_file file;
    golden_open(&file, path);
    const rn_tensor *tokens = golden_find(&file, "tokens");
    REQUIRE(tokens && tokens->rank >= 1 && tokens->rank <= 2 && tokens->elements);
    set.rows = tokens->rank == 2 ? tokens->shape[0] : 1;
    set.tokens = tokens->shape[tokens->rank - 1];
    set.ids = golden_integers(&file, "tokens");
    begin_set(&set);
    size_t compared = 0;
    for (size_t i = 0; i < rn_tensor_set_count(file.tensors); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(file.tensors, i);
        if (strncmp(tensor->name, "logits", 6) != 0) continue;
        check_recording(&set, &file, tensor);
        compared++;
    }
    if (compared == 0) TEST_FAIL("%s: no logits are recorded", directory);
    golden_close(&file);
    end_set(&set);
}

static void check_shared(layers_test *test)
{
    DIR *golden = opendir(SHARED "/golden");
    for (struct dirent *entry; golden && (entry = readdir(golden));) {
        char directory[500], file[540];
        snprintf(directory, sizeof directory, SHARED "/golden/%.400s", entry->d_name);
        snprintf(file, sizeof file, "%s/golden.safetensors", directory);
        if (entry->d_name[0] != '.' && session_test_exists(file)) check_directory(test, directory);
    }
    if (golden) closedir(golden);
}

int main(int argc, char **argv)
{
    /* Odd V, shared heads, gelu, tied heads and an eps that shows; old torchscale's biases and layer norms. */
    static const fixture gelu_tied = {.name = "gelu, tied",
                                      .torchscale = true,
                                      .hidden = 48,
                                      .heads = 3,
                                      .key_size = 16,
                                      .value_size = 29,
                                      .ffn = 60,
                                      .vocabulary = 51,
                                      .gelu = true,
                                      .tied = true,
                                      .rel_pos = true,
                                      .eps = 1e-3,
                                      .seed = 22};
    layers_test test = layers_test_create();
    for (int i = 1; i < argc; i++) check_directory(&test, argv[i]);
    if (argc == 1) {
        check_own(&test, fixture_named("gqa-odd"), 90);
        check_own(&test, &gelu_tied, 139);
        check_own(&test, fixture_named("old"), 70);
        check_shared(&test);
    }
    return layers_test_finish(&test, test_failures) | session_test_finish(0);
}
