/* golden_test.c: numbers recorded from flash-linear-attention and torchscale. Every directory of ../shared/golden that
 * has golden.safetensors beside config.json and model.safetensors is run, whatever its shape, or those named as
 * arguments: the whole prompts of all rows in one call, prompts in pieces, and token by token. Sets of further shapes
 * are recorded from the double-precision reference first.
 *
 *     tokens                      [rows, T], or [T]: 32 or 64 bits
 *     logits, logits_NAME         [rows, T, vocabulary]: 32 or 64 bits
 *     logits_NAME_eps0            torchscale: the same with layernorm_eps 0, where its forms are one
 *     state.L.recurrent_state_f64 fla, or _f32: [rows, H, K, V] after all tokens
 *     state.L.prev_key_value      torchscale: [rows, H, V, K], and state.L.scale [H] or [rows, H]
 *
 * With eps, torchscale's forms differ from each other by more than the tolerance (retnet.md 1.2); ours is its recurrent
 * form, and the others are compared without eps alone. */
#include "model/write_safetensors.h"
#include "reference/golden.h"
#include "reference/reference.h"
#include "session/session_test.h"

#include <dirent.h>

typedef struct golden_set {
    char directory[512];
    golden_file file;
    retnet_model *model;
    retnet_model_info info;
    bool torchscale;
    double eps;          /* torchscale */
    size_t rows, tokens; /* of the batch, of each row */
    int32_t *ids;        /* [rows, tokens] */
    size_t compared;     /* tensors of logits */
} golden_set;

/* A set that cannot be run fails, and the next one goes on. */
static bool bad_set(const golden_set *set, const char *what, const char *which)
{
    TEST_FAIL("%s: %s %s", set->directory, what, which);
    return false;
}

/* ---- Ways of reading --------------------------------------------------------------------------------------------- */

/* Reads tokens [first, first + count) of all rows at once. */
static void read_part(const golden_set *set, retnet_session *session, size_t first, size_t count, float *logits)
{
    retnet_span *spans = session_test_alloc(set->rows, sizeof *spans);
    size_t vocabulary = set->info.vocabulary_size;
    for (size_t b = 0; b < set->rows; b++) {
        size_t at = b * set->tokens + first;
        spans[b] = (retnet_span){.slot = (uint32_t)b, .tokens = set->ids + at, .count = count};
        spans[b].all_logits = logits + at * vocabulary;
    }
    CHECK_OK(retnet_session_run(session, spans, set->rows));
    free(spans);
}

static void read_whole(const golden_set *set, retnet_session *session, float *logits)
{
    read_part(set, session, 0, set->tokens, logits);
}

static void read_pieces(const golden_set *set, retnet_session *session, float *logits)
{
    size_t lengths[] = {1, set->tokens / 3, 2, 1, set->tokens}, first = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths && first < set->tokens; i++) {
        size_t left = set->tokens - first, count = lengths[i] < left ? lengths[i] : left;
        if (count) read_part(set, session, first, count, logits);
        first += count;
    }
}

static void read_singly(const golden_set *set, retnet_session *session, float *logits)
{
    for (size_t i = 0; i < set->tokens; i++) read_part(set, session, i, 1, logits);
}

/* One slot a call: with nobody beside it, a token takes a path of its own. */
static void read_alone(const golden_set *set, retnet_session *session, float *logits)
{
    for (uint32_t b = 0; b < set->rows; b++) {
        size_t at = b * set->tokens;
        session_test_read_singly(session, b, set->ids + at, set->tokens, logits + at * set->info.vocabulary_size);
    }
}

/* ---- States ------------------------------------------------------------------------------------------------------ */

/* The recorded state of a layer as S [rows, H, K, V], to be freed; NULL if there is none. */
static double *fla_state(const golden_set *set, uint32_t layer)
{
    static const char *const names[] = {"_f64", "_f32", ""};
    for (size_t i = 0; i < RN_COUNT(names); i++) {
        char name[64];
        snprintf(name, sizeof name, "state.%u.recurrent_state%s", layer, names[i]);
        if (golden_find(&set->file, name)) return golden_reals(&set->file, name);
    }
    return NULL;
}

/* torchscale keeps alpha S^T / sqrt(s_n), with the rotation's pairs side by side (retnet.md 1.2 and 1.5). */
static double *torchscale_state(const golden_set *set, uint32_t layer)
{
    char name[64];
    size_t H = set->info.heads, K = set->info.key_size, V = set->info.value_size;
    snprintf(name, sizeof name, "state.%u.prev_key_value", layer);
    if (!golden_find(&set->file, name)) return NULL;
    double *recorded = golden_reals(&set->file, name);
    snprintf(name, sizeof name, "state.%u.scale", layer);
    double *scale = golden_reals(&set->file, name), *state = session_test_alloc(set->rows * H * K * V, sizeof *state);
    size_t scales = (size_t)golden_find(&set->file, name)->elements; /* one for each head, or of each row too */
    for (size_t bh = 0; bh < set->rows * H; bh++) {
        double factor = sqrt(scale[bh % scales]) * sqrt((double)K);
        for (size_t i = 0; i < K; i++) {
            size_t recorded_i = i < K / 2 ? 2 * i : 2 * (i - K / 2) + 1;
            for (size_t j = 0; j < V; j++)
                state[(bh * K + i) * V + j] = recorded[(bh * V + j) * K + recorded_i] * factor;
        }
    }
    free(recorded);
    free(scale);
    return state;
}

static bool has_states(const golden_set *set)
{
    for (size_t i = 0; i < rn_tensor_set_count(set->file.tensors); i++)
        if (strncmp(rn_tensor_set_at(set->file.tensors, i)->name, "state.", 6) == 0) return true;
    return false;
}

static void check_states(const golden_set *set, retnet_session *session, const char *way)
{
    size_t size = (size_t)set->info.heads * set->info.key_size * set->info.value_size;
    float *actual = session_test_alloc(size, sizeof *actual);
    for (uint32_t l = 0; l < set->info.layers; l++) {
        double *expected = set->torchscale ? torchscale_state(set, l) : fla_state(set, l);
        for (uint32_t b = 0; expected && b < set->rows; b++) {
            char what[700];
            snprintf(what, sizeof what, "%s, %s: state of layer %u, row %u", set->directory, way, l, b);
            CHECK_OK(retnet_session_get_state(session, b, l, actual));
            session_test_check_rms(what, actual, expected + b * size, size, 1e-4);
        }
        if (!expected) TEST_FAIL("%s: no state of layer %u recorded", set->directory, l);
        free(expected);
    }
    free(actual);
}

/* ---- Logits ------------------------------------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

/* Whether this tensor holds logits that ours must equal, now that the model has its eps or (without_eps) none. */
static bool is_expected(const golden_set *set, const char *name, bool without_eps)
{
    bool eps0 = ends_with(name, "_eps0");
    if (strcmp(name, "logits") != 0 && strncmp(name, "logits_", 7) != 0) return false;
    if (eps0 != without_eps) return false;
    return !set->torchscale || eps0 || set->eps == 0 || strcmp(name, "logits_recurrent") == 0;
}

/* One row against the recorded one, to the limit that the recording allows. */
static void check_row(const golden_set *set, const char *what, const float *logits, const double *expected, bool eps0)
{
    size_t vocabulary = set->info.vocabulary_size, worst = 0;
    if (!eps0) {
        session_test_check_logits(what, logits, expected, set->tokens, vocabulary, 0);
        return;
    }
    double largest = 0;
    for (size_t i = 0; i < set->tokens * vocabulary; i++) {
        double error = fabs(logits[i] - expected[i]);
        if (error <= largest) continue;
        largest = error; /* also NaN, which then stays */
        worst = i / vocabulary;
    }
    if (!(largest <= 2e-5)) TEST_FAIL("%s: wrong by %g at position %zu, at most 2e-5 expected", what, largest, worst);
}

static void check_logits(golden_set *set, const char *way, const float *logits, bool without_eps)
{
    size_t row = set->tokens * set->info.vocabulary_size;
    for (size_t i = 0; i < rn_tensor_set_count(set->file.tensors); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(set->file.tensors, i);
        if (!is_expected(set, tensor->name, without_eps)) continue;
        if (tensor->elements != set->rows * row) {
            TEST_FAIL("%s: %s has %llu elements, %zu rows of %zu tokens and %u logits expected", set->directory,
                      tensor->name, (unsigned long long)tensor->elements, set->rows, set->tokens,
                      set->info.vocabulary_size);
            continue;
        }
        double *expected = golden_reals(&set->file, tensor->name);
        for (size_t b = 0; b < set->rows; b++) {
            char what[700];
            snprintf(what, sizeof what, "%s, %s: %s of row %zu", set->directory, way, tensor->name, b);
            check_row(set, what, logits + b * row, expected + b * row, ends_with(tensor->name, "_eps0"));
        }
        free(expected);
        set->compared++;
    }
}

/* All ways of reading against everything that was recorded. */
static void check_ways(golden_set *set, bool without_eps)
{
    static const struct {
        const char *name;
        void (*read)(const golden_set *set, retnet_session *session, float *logits);
    } ways[] = {{"whole", read_whole}, {"pieces", read_pieces}, {"singly", read_singly}, {"alone", read_alone}};
    size_t count = set->rows * set->tokens * set->info.vocabulary_size;
    float *logits = session_test_alloc(count, sizeof *logits);
    for (size_t w = 0; w < RN_COUNT(ways); w++) {
        retnet_session *session = session_test_session(set->model, (uint32_t)set->rows, 0);
        for (size_t i = 0; i < count; i++) logits[i] = NAN;
        ways[w].read(set, session, logits);
        check_logits(set, ways[w].name, logits, without_eps);
        if (!without_eps && has_states(set)) check_states(set, session, ways[w].name);
        retnet_session_destroy(session);
    }
    free(logits);
}

/* ---- Sets -------------------------------------------------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
    char buffer[4096];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    REQUIRE(in && out);
    for (size_t size; (size = fread(buffer, 1, sizeof buffer, in)) > 0;) REQUIRE(fwrite(buffer, 1, size, out) == size);
    fclose(in);
    REQUIRE(fclose(out) == 0);
}

/* A torchscale model with eps = 0: then torchscale's own three forms are one, and ours equal all of them. */
static void check_without_eps(golden_set *set, retnet_context *context)
{
    char directory[512], from[600], to[600];
    session_test_directory(directory, sizeof directory);
    snprintf(from, sizeof from, "%s/model.safetensors", set->directory);
    snprintf(to, sizeof to, "%s/model.safetensors", directory);
    copy_file(from, to);
    snprintf(from, sizeof from, "%s/config.json", set->directory);
    snprintf(to, sizeof to, "%s/config.json", directory);
    json_t *config = golden_json(from);
    json_object_set_new(config, "layernorm_eps", json_real(0));
    REQUIRE(json_dump_file(config, to, 0) == 0);
    json_decref(config);

    retnet_model *with_eps = set->model;
    set->model = session_test_model(context, directory, RETNET_WEIGHTS_AS_STORED);
    check_ways(set, true);
    retnet_model_destroy(set->model);
    set->model = with_eps;
}

static void read_eps(golden_set *set)
{
    char path[600];
    snprintf(path, sizeof path, "%s/config.json", set->directory);
    json_t *config = golden_json(path), *eps = json_object_get(config, "layernorm_eps");
    set->eps = eps ? json_number_value(eps) : 1e-6;
    json_decref(config);
}

static bool open_set(golden_set *set, retnet_context *context)
{
    set->model = session_test_model(context, set->directory, RETNET_WEIGHTS_AS_STORED);
    retnet_model_get_info(set->model, &set->info);
    set->torchscale = strncmp(set->info.architecture, "torchscale", 10) == 0;
    const rn_tensor *tokens = golden_find(&set->file, "tokens");
    if (!tokens || tokens->rank < 1 || tokens->rank > 2 || tokens->elements == 0)
        return bad_set(set, "golden.safetensors has no", "tokens [rows, T]");
    set->rows = tokens->rank == 2 ? tokens->shape[0] : 1;
    set->tokens = tokens->shape[tokens->rank - 1];
    set->ids = golden_integers(&set->file, "tokens");
    for (size_t i = 0; i < set->rows * set->tokens; i++)
        if (set->ids[i] < 0 || (uint32_t)set->ids[i] >= set->info.vocabulary_size)
            return bad_set(set, "golden.safetensors has a token outside", "the vocabulary");
    read_eps(set);
    return true;
}

static void check_directory(const char *directory, retnet_context *context)
{
    static const char *const files[] = {"golden.safetensors", "config.json", "model.safetensors"};
    golden_set set = {0};
    char path[600];
    snprintf(set.directory, sizeof set.directory, "%s", directory);
    fprintf(stderr, "%s\n", directory);
    for (size_t i = RN_COUNT(files); i-- > 0;) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        if (!session_test_exists(path)) {
            bad_set(&set, "there is no", files[i]);
            return;
        }
    }
    golden_open(&set.file, path);
    if (open_set(&set, context)) {
        check_ways(&set, false);
        if (set.torchscale) check_without_eps(&set, context);
        if (set.compared == 0) bad_set(&set, "golden.safetensors has no logits that could be", "compared");
        if (!has_states(&set)) fprintf(stderr, "%s: no states recorded\n", directory);
    }
    retnet_model_destroy(set.model);
    golden_close(&set.file);
    free(set.ids);
}

static size_t check_shared(retnet_context *context)
{
    size_t sets = 0;
    DIR *golden = opendir(SHARED "/golden");
    for (struct dirent *entry; golden && (entry = readdir(golden));) {
        char directory[500], file[540];
        snprintf(directory, sizeof directory, SHARED "/golden/%.400s", entry->d_name);
        snprintf(file, sizeof file, "%s/golden.safetensors", directory);
        if (entry->d_name[0] == '.' || !session_test_exists(file)) continue;
        check_directory(directory, context);
        sets++;
    }
    if (golden) closedir(golden);
    return sets;
}

/* ---- Sets of our own --------------------------------------------------------------------------------------------- */

enum { OWN_ROWS = 3, OWN_TOKENS = 139 };

static void put_tensor(test_tensors *tensors, const char *name, const double *values, size_t rows, size_t columns)
{
    uint8_t *data = test_add(tensors, "F32", rows, columns, "%s", name)->data;
    for (size_t i = 0; i < rows * columns; i++) {
        float value = (float)values[i];
        memcpy(data + 4 * i, &value, 4);
    }
}

static void put_states(test_tensors *tensors, const ref_model *model, const double *states)
{
    const rn_config *c = &model->config;
    size_t H = c->heads, K = c->key_size, V = c->value_size, size = H * K * V;
    double *layer = session_test_alloc(OWN_ROWS * size, sizeof *layer), scale[RN_MAX_HEADS];
    for (size_t h = 0; h < H; h++) scale[h] = ref_decay_sum(c->decay[h], OWN_TOKENS - 1);
    for (size_t l = 0; l < c->layers; l++) {
        char name[64];
        for (size_t at = 0; at < OWN_ROWS * size; at++) {
            size_t j = at % V, i = at / V % K, h = at / V / K % H, b = at / size;
            double value = states[(b * c->layers + l) * size + at % size];
            size_t pair = i < K / 2 ? 2 * i : 2 * (i - K / 2) + 1;
            if (c->dialect == RN_DIALECT_FLA)
                layer[at] = value;
            else
                layer[((b * H + h) * V + j) * K + pair] = value / sqrt((double)K * scale[h]);
        }
        bool fla = c->dialect == RN_DIALECT_FLA;
        snprintf(name, sizeof name, fla ? "state.%zu.recurrent_state_f32" : "state.%zu.prev_key_value", l);
        put_tensor(tensors, name, layer, OWN_ROWS, size);
        snprintf(name, sizeof name, "state.%zu.scale", l);
        if (!fla) put_tensor(tensors, name, scale, 1, H);
    }
    free(layer);
}

/* Logits and states of all rows by the reference, with the eps that it has. */
static void record(test_tensors *tensors, const ref_model *model, const int32_t *ids, const char *name,
                   bool with_states)
{
    size_t vocabulary = model->config.vocabulary, states = model->config.layers * ref_state_size(model);
    double *output = session_test_alloc((size_t)OWN_TOKENS * model->config.hidden, sizeof *output);
    double *logits = session_test_alloc(OWN_ROWS * OWN_TOKENS * vocabulary, sizeof *logits);
    double *all_states = session_test_alloc(OWN_ROWS * states, sizeof *all_states);
    for (size_t b = 0; b < OWN_ROWS; b++) {
        ref_sequence sequence;
        ref_sequence_init(model, &sequence);
        ref_model_read(model, &sequence, ids + b * OWN_TOKENS, OWN_TOKENS, output);
        ref_model_logits(model, output, OWN_TOKENS, logits + b * OWN_TOKENS * vocabulary);
        memcpy(all_states + b * states, sequence.states, states * sizeof *all_states);
        free(sequence.states);
    }
    put_tensor(tensors, name, logits, OWN_ROWS, OWN_TOKENS * vocabulary);
    if (with_states) put_states(tensors, model, all_states);
    free(output);
    free(logits);
    free(all_states);
}

static void check_own(const fixture *f, retnet_context *context)
{
    static test_tensors tensors;
    char directory[512], path[600];
    session_test_directory(directory, sizeof directory);
    fixture_write(f, directory);
    ref_model *model = ref_model_open(directory);
    REQUIRE(model);
    int32_t *ids = session_test_tokens(OWN_ROWS * OWN_TOKENS, model->config.vocabulary, f->seed);
    uint8_t *tokens = test_add(&tensors, "I64", OWN_ROWS, OWN_TOKENS, "tokens")->data;
    for (size_t i = 0; i < OWN_ROWS * OWN_TOKENS; i++) memcpy(tokens + 8 * i, &ids[i], 4); /* the rest is zero */
    record(&tensors, model, ids, f->torchscale ? "logits_recurrent" : "logits_f32", true);
    model->config.norm_eps = 0;
    if (f->torchscale) record(&tensors, model, ids, "logits_recurrent_eps0", false);
    snprintf(path, sizeof path, "%s/golden.safetensors", directory);
    test_write_part(&tensors, 0, 1, path);
    test_free(&tensors);
    free(ids);
    ref_model_close(model);
    check_directory(directory, context);
}

int main(int argc, char **argv)
{
    static const fixture gelu_tied = {.torchscale = true,
                                      .hidden = 48,
                                      .heads = 3,
                                      .key_size = 16,
                                      .value_size = 29,
                                      .ffn = 60,
                                      .vocabulary = 51,
                                      .gelu = true,
                                      .tied = true,
                                      .rel_pos = true,
                                      .eps = 1e-3, /* so that it shows */
                                      .seed = 22};
    retnet_context *context = session_test_context();
    for (int i = 1; i < argc; i++) check_directory(argv[i], context);
    if (argc == 1) {
        check_own(fixture_named("gqa-odd"), context);
        check_own(&gelu_tied, context);
        if (check_shared(context) == 0)
            fprintf(stderr, "nothing recorded under " SHARED "/golden: those not checked\n");
    }
    retnet_context_destroy(context);
    return session_test_finish(test_failures);
}
