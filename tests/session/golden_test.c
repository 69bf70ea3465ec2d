/* golden_test.c: numbers recorded from flash-linear-attention and torchscale. Every directory of ../shared/golden with
 * config.json, model.safetensors and golden.safetensors is run, whatever its shape: the whole prompts of all rows in
 * one call, prompts in pieces, and token by token. */
#include "reference/golden.h"
#include "session/session_test.h"

#include <dirent.h>

enum { MAX_ROWS = 16 };

typedef struct golden_set {
    char directory[512];
    golden_file file;
    retnet_model *model;
    retnet_model_info info;
    bool torchscale;
    size_t rows, tokens; /* of the batch, of each row */
    int32_t *ids;        /* [rows, tokens] */
    double *logits;      /* [rows, tokens, vocabulary] */
} golden_set;

/* ---- Ways of reading --------------------------------------------------------------------------------------------- */

/* Reads tokens [first, first + count) of all rows at once. */
static void read_part(const golden_set *set, retnet_session *session, size_t first, size_t count, float *logits)
{
    retnet_span spans[MAX_ROWS] = {0};
    size_t vocabulary = set->info.vocabulary_size;
    for (size_t b = 0; b < set->rows; b++) {
        size_t at = b * set->tokens + first;
        spans[b] = (retnet_span){.slot = (uint32_t)b, .tokens = set->ids + at, .count = count};
        spans[b].all_logits = logits + at * vocabulary;
    }
    CHECK_OK(retnet_session_run(session, spans, set->rows));
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
    static const char *const names[] = {"f64", "f32"};
    for (size_t i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "state.%u.recurrent_state_%s", layer, names[i]);
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
    for (size_t bh = 0; bh < set->rows * H; bh++) {
        double factor = sqrt(scale[bh % H]) * sqrt((double)K);
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

static void check_states(const golden_set *set, retnet_session *session, const char *what)
{
    size_t size = (size_t)set->info.heads * set->info.key_size * set->info.value_size;
    float *actual = session_test_alloc(size, sizeof *actual);
    for (uint32_t l = 0; l < set->info.layers; l++) {
        double *expected = set->torchscale ? torchscale_state(set, l) : fla_state(set, l);
        for (uint32_t b = 0; expected && b < set->rows; b++) {
            CHECK_OK(retnet_session_get_state(session, b, l, actual));
            session_test_check_rms(what, actual, expected + b * size, size, 1e-4);
        }
        if (!expected) TEST_FAIL("%s: no state of layer %u recorded", set->directory, l);
        free(expected);
    }
    free(actual);
}

/* ---- Sets -------------------------------------------------------------------------------------------------------- */

typedef void (*read_fn)(const golden_set *set, retnet_session *session, float *logits);

/* All ways against the recorded logits; with `limit` 0 those of session_test_check_logits. */
static void check_set(const golden_set *set, bool states, double limit)
{
    static const struct {
        const char *name;
        read_fn read;
    } ways[] = {{"whole", read_whole}, {"pieces", read_pieces}, {"singly", read_singly}, {"alone", read_alone}};
    size_t row = set->tokens * set->info.vocabulary_size;
    float *logits = session_test_alloc(set->rows * row, sizeof *logits);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        char what[600];
        snprintf(what, sizeof what, "%s, %s", set->directory, ways[w].name);
        retnet_session *session = session_test_session(set->model, (uint32_t)set->rows, 0);
        for (size_t i = 0; i < set->rows * row; i++) logits[i] = NAN;
        ways[w].read(set, session, logits);
        for (size_t b = 0; limit == 0 && b < set->rows; b++)
            session_test_check_logits(what, logits + b * row, set->logits + b * row, set->tokens,
                                      set->info.vocabulary_size, 0);
        for (size_t i = 0; limit > 0 && i < set->rows * row; i++)
            CHECK_AT_MOST(fabs(logits[i] - set->logits[i]), limit);
        if (states) check_states(set, session, what);
        retnet_session_destroy(session);
    }
    free(logits);
}

static void open_set(golden_set *set, retnet_context *context)
{
    char path[600];
    snprintf(path, sizeof path, "%s/golden.safetensors", set->directory);
    golden_open(&set->file, path);
    set->model = session_test_model(context, set->directory, RETNET_WEIGHTS_AS_STORED);
    retnet_model_get_info(set->model, &set->info);
    set->torchscale = golden_find(&set->file, "logits_recurrent") != NULL;
    const rn_tensor *tokens = golden_find(&set->file, "tokens");
    REQUIRE(tokens && tokens->rank == 2 && tokens->shape[0] <= MAX_ROWS);
    set->rows = tokens->shape[0];
    set->tokens = tokens->shape[1];
    set->ids = golden_integers(&set->file, "tokens");
}

static void read_logits(golden_set *set, const char *name)
{
    free(set->logits);
    set->logits = golden_reals(&set->file, name);
    size_t expected = set->rows * set->tokens * set->info.vocabulary_size;
    REQUIRE(golden_find(&set->file, name)->elements == expected);
}

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
    static const char *const names[] = {"logits_recurrent_eps0", "logits_parallel_eps0", "logits_chunkwise_c8_eps0"};
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
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!golden_find(&set->file, names[i])) continue;
        read_logits(set, names[i]);
        check_set(set, false, 2e-5);
    }
    retnet_model_destroy(set->model);
    set->model = with_eps;
}

static void check_directory(const char *directory, retnet_context *context)
{
    golden_set set = {0};
    snprintf(set.directory, sizeof set.directory, "%s", directory);
    open_set(&set, context);
    if (set.torchscale)
        read_logits(&set, "logits_recurrent");
    else
        read_logits(&set, golden_find(&set.file, "logits_f64") ? "logits_f64" : "logits_f32");
    check_set(&set, true, 0);
    if (set.torchscale && golden_find(&set.file, "logits_recurrent_eps0")) check_without_eps(&set, context);
    retnet_model_destroy(set.model);
    golden_close(&set.file);
    free(set.ids);
    free(set.logits);
}

static bool has_file(const char *directory, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return session_test_exists(path);
}

int main(void)
{
    size_t sets = 0;
    DIR *golden = opendir(SHARED "/golden");
    if (!golden) return TEST_SKIPPED;
    retnet_context *context = session_test_context();
    for (struct dirent *entry; (entry = readdir(golden));) {
        char directory[512];
        snprintf(directory, sizeof directory, SHARED "/golden/%.400s", entry->d_name);
        if (entry->d_name[0] == '.' || !has_file(directory, "golden.safetensors")) continue;
        if (!has_file(directory, "config.json") || !has_file(directory, "model.safetensors")) continue;
        fprintf(stderr, "%s\n", directory);
        check_directory(directory, context);
        sets++;
    }
    closedir(golden);
    retnet_context_destroy(context);
    return sets ? session_test_finish(test_failures) : TEST_SKIPPED;
}
