/* reference_test.c: the reference against itself (three forms are one) and against recorded numbers of the two real
 * implementations. */
#include "reference/golden.h"
#include "reference/reference.h"
#include "test.h"

#define SHARED "../shared" /* seen from the repository, where ctest runs tests */

static double *random_array(size_t count, uint64_t *seed)
{
    double *x = ref_alloc(count, sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = test_random(seed);
    return x;
}

static double *copy_of(const double *x, size_t count)
{
    double *y = ref_alloc(count, sizeof *y);
    memcpy(y, x, count * sizeof *y);
    return y;
}

/* RMS of the difference over RMS of the expected. */
static double relative_rms(const double *actual, const double *expected, size_t count)
{
    double difference = 0, reference = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
        reference += expected[i] * expected[i];
    }
    return sqrt(difference / (reference > 0 ? reference : 1));
}

static double largest_difference(const double *actual, const double *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs(actual[i] - expected[i]);
        if (!(difference <= largest)) largest = difference; /* also takes a NaN */
    }
    return largest;
}

/* ---- Forms ------------------------------------------------------------------------------------------------------- */

typedef struct forms {
    ref_retention r;
    double decay[4];
    size_t outputs, state_size;
    double *q, *k, *v, *state;         /* inputs, state before the first token */
    double *expected, *expected_state; /* of the parallel form */
} forms;

static void forms_create(forms *f, size_t tokens, size_t heads, size_t kv_heads, size_t key_size, size_t value_size)
{
    uint64_t seed = tokens * 31 + heads * 7 + value_size;
    *f = (forms){.decay = {31.0 / 32, 1, 0.5, 1 - 0x1p-12}};
    f->r = (ref_retention){tokens, heads, kv_heads, key_size, value_size, 1 / sqrt((double)key_size), f->decay};
    f->outputs = tokens * heads * value_size;
    f->state_size = heads * key_size * value_size;
    f->q = random_array(tokens * heads * key_size, &seed);
    f->k = random_array(tokens * kv_heads * key_size, &seed);
    f->v = random_array(tokens * kv_heads * value_size, &seed);
    f->state = random_array(f->state_size, &seed);
    f->expected = ref_alloc(f->outputs, sizeof *f->expected);
    f->expected_state = copy_of(f->state, f->state_size);
    ref_retention_parallel(&f->r, f->q, f->k, f->v, f->expected_state, f->expected);
}

static void forms_destroy(forms *f)
{
    double *arrays[] = {f->q, f->k, f->v, f->state, f->expected, f->expected_state};
    for (size_t i = 0; i < RN_COUNT(arrays); i++) free(arrays[i]);
}

/* Reads tokens [first, first + count) in recurrent form (chunk 0) or in chunks. */
static void forms_read(const forms *f, size_t first, size_t count, size_t chunk, double *state, double *o)
{
    const ref_retention *r = &f->r;
    ref_retention part = *r;
    part.tokens = count;
    const double *q = f->q + first * r->heads * r->key_size, *k = f->k + first * r->kv_heads * r->key_size;
    const double *v = f->v + first * r->kv_heads * r->value_size;
    if (chunk)
        ref_retention_chunkwise(&part, chunk, q, k, v, state, o + first * r->heads * r->value_size);
    else
        ref_retention_recurrent(&part, q, k, v, state, o + first * r->heads * r->value_size);
}

/* The tokens in two pieces, each in a form of its own, give what the parallel form gives. */
static void check_split(const forms *f, size_t split, size_t first_chunk, size_t second_chunk)
{
    double *state = copy_of(f->state, f->state_size), *o = ref_alloc(f->outputs, sizeof *o);
    if (split) forms_read(f, 0, split, first_chunk, state, o);
    forms_read(f, split, f->r.tokens - split, second_chunk, state, o);
    CHECK_AT_MOST(relative_rms(o, f->expected, f->outputs), 1e-12);
    CHECK_AT_MOST(relative_rms(state, f->expected_state, f->state_size), 1e-12);
    free(state);
    free(o);
}

/* The definition, summed as it stands, for one output: a form that all three share a mistake with would differ. */
static void check_definition(const forms *f, size_t n, size_t h)
{
    const ref_retention *r = &f->r;
    size_t K = r->key_size, V = r->value_size, kv = h / (r->heads / r->kv_heads);
    for (size_t j = 0; j < V; j++) {
        double sum = 0;
        for (size_t i = 0; i < K; i++) {
            double q = f->q[(n * r->heads + h) * K + i];
            sum += q * pow(r->decay[h], (double)n + 1) * f->state[(h * K + i) * V + j];
            for (size_t m = 0; m <= n; m++)
                sum += pow(r->decay[h], (double)(n - m)) * q * f->k[(m * r->kv_heads + kv) * K + i] *
                       f->v[(m * r->kv_heads + kv) * V + j];
        }
        CHECK_AT_MOST(fabs(r->scale * sum - f->expected[(n * r->heads + h) * V + j]), 1e-12);
    }
}

static void test_forms(void)
{
    static const size_t shapes[][5] = {{1, 1, 1, 2, 1}, {40, 4, 4, 16, 27}, {33, 4, 2, 10, 8}, {21, 3, 1, 6, 5}};
    static const size_t chunks[] = {0, 1, 7, 16, 100};
    for (size_t s = 0; s < RN_COUNT(shapes); s++) {
        forms f;
        forms_create(&f, shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3], shapes[s][4]);
        for (size_t i = 0; i < RN_COUNT(chunks); i++) {
            for (size_t split = 0; split < f.r.tokens; split++)
                check_split(&f, split, chunks[i], chunks[(i + split) % RN_COUNT(chunks)]);
        }
        for (size_t h = 0; h < f.r.heads; h++) check_definition(&f, f.r.tokens - 1, h);
        forms_destroy(&f);
    }
}

/* ---- Layers ------------------------------------------------------------------------------------------------------ */

static void test_layers(void)
{
    double sum = 0;
    for (int n = 0; n < 1000; n++) {
        sum = sum * (31.0 / 32) + 1;
        CHECK_AT_MOST(fabs(ref_decay_sum(31.0 / 32, (uint64_t)n) / sum - 1), 1e-13);
    }
    CHECK_AT_MOST(fabs(ref_decay_sum(1, 41) - 42), 0);

    /* 3-4-5: mean of squares 12.5; around their mean they are -0.5 and 0.5. */
    double x[] = {3, 4}, y[2];
    const float weight[] = {2, 3}, bias[] = {1, -1};
    ref_rms_norm(x, 1, 2, 12.5, weight, y);
    CHECK_AT_MOST(fabs(y[0] - 6.0 / 5), 1e-15);
    CHECK_AT_MOST(fabs(y[1] - 12.0 / 5), 1e-15);
    ref_layer_norm(x, 1, 2, 0, weight, bias, y);
    CHECK_AT_MOST(fabs(y[0] - -1), 1e-15);
    CHECK_AT_MOST(fabs(y[1] - 2), 1e-15);
    const double c2[] = {12.5};
    ref_group_norm(x, 1, 1, 2, 1, c2, weight, false);
    CHECK_AT_MOST(fabs(x[1] - 12.0 / 5), 1e-15);

    CHECK_AT_MOST(fabs(ref_activate(RN_ACTIVATION_SILU, 1) - 0.7310585786300049), 1e-15);
    CHECK_AT_MOST(fabs(ref_activate(RN_ACTIVATION_GELU, 1) - 0.8413447460685429), 1e-15);
    CHECK_AT_MOST(fabs(ref_activate(RN_ACTIVATION_RELU, -1)), 0);

    double turned[] = {1, 0, 0, 1}; /* two heads, K = 2: a quarter turn takes (1,0) to (0,1) and (0,1) to (-1,0) */
    const double theta[] = {0.78539816339744831};
    ref_rotate(turned, 1, 2, 2, theta, 2);
    const double quarter[] = {0, 1, -1, 0};
    CHECK_AT_MOST(largest_difference(turned, quarter, 4), 1e-15);
}

/* ---- Golden files ------------------------------------------------------------------------------------------------ */

static bool in_shared(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", SHARED, name);
    return golden_exists(path);
}

static void run(const ref_model *model, ref_sequence *sequence, const int32_t *tokens, size_t count, double *logits)
{
    double *output = ref_alloc(count * model->config.hidden, sizeof *output);
    ref_model_read(model, sequence, tokens, count, output);
    ref_model_logits(model, output, count, logits);
    free(output);
}

/* Every batch row of a golden file as a prompt, in two pieces where that changes nothing: logits and, where recorded,
 * states. */
static void check_golden(const ref_model *model, const golden_file *golden, const char *logits_name,
                         const char *state_suffix, double logit_limit, double state_limit)
{
    const rn_tensor *shape = golden_find(golden, "tokens");
    REQUIRE(shape && shape->rank == 2);
    size_t rows = shape->shape[0], T = shape->shape[1], N_v = model->config.vocabulary;
    size_t first = model->score_norm == REF_RECURRENT ? T / 3 : 0;
    int32_t *tokens = golden_integers(golden, "tokens");
    double *expected = golden_reals(golden, logits_name), *logits = ref_alloc(T * N_v, sizeof *logits);
    for (size_t b = 0; b < rows; b++) {
        ref_sequence sequence;
        ref_sequence_init(model, &sequence);
        if (first) run(model, &sequence, tokens + b * T, first, logits);
        run(model, &sequence, tokens + b * T + first, T - first, logits + first * N_v);
        CHECK_AT_MOST(largest_difference(logits, expected + b * T * N_v, T * N_v), logit_limit);
        for (size_t l = 0; state_suffix && l < model->config.layers; l++) {
            char name[64];
            snprintf(name, sizeof name, "state.%zu.%s", l, state_suffix);
            double *state = golden_reals(golden, name);
            size_t size = ref_state_size(model);
            CHECK_AT_MOST(relative_rms(sequence.states + l * size, state + b * size, size), state_limit);
            free(state);
        }
        free(sequence.states);
    }
    free(tokens);
    free(expected);
    free(logits);
}

/* fla makes its table of angles in fp32 even where all else is fp64, so that its double-precision numbers are good to
 * 1e-6 or so; imitating that table takes these differences down to the last bits of its sines. */
static bool test_fla(void)
{
    char path[512];
    golden_file golden;
    if (!in_shared(path, sizeof path, "golden/fla_tiny/golden.safetensors")) return false;
    golden_open(&golden, path);
    in_shared(path, sizeof path, "golden/fla_tiny");
    ref_model *model = ref_model_open(path);
    REQUIRE(model);
    check_golden(model, &golden, "logits_f64", "recurrent_state_f64", 4e-6, 4e-7);
    ref_model_close(model);
    golden_close(&golden);
    return true;
}

static bool test_torchscale(void)
{
    char path[512];
    golden_file golden;
    if (!in_shared(path, sizeof path, "golden/torchscale_tiny/golden.safetensors")) return false;
    golden_open(&golden, path);
    in_shared(path, sizeof path, "golden/torchscale_tiny");
    ref_model *model = ref_model_open(path);
    REQUIRE(model);
    check_golden(model, &golden, "logits_recurrent", NULL, 5e-6, 0);
    model->score_norm = REF_PARALLEL;
    check_golden(model, &golden, "logits_parallel", NULL, 5e-6, 0);
    model->score_norm = REF_CHUNKWISE;
    model->chunk = 8;
    check_golden(model, &golden, "logits_chunkwise_c8", NULL, 5e-6, 0);
    model->config.norm_eps = 0; /* then all forms of torchscale are one */
    check_golden(model, &golden, "logits_recurrent_eps0", NULL, 1e-5, 0);
    check_golden(model, &golden, "logits_parallel_eps0", NULL, 1e-5, 0);
    check_golden(model, &golden, "logits_chunkwise_c8_eps0", NULL, 1e-5, 0);
    ref_model_close(model);
    golden_close(&golden);
    return true;
}

/* ---- Willowbrook ------------------------------------------------------------------------------------------------- */

static void check_rows(const ref_model *model, const golden_file *golden)
{
    size_t T = golden_find(golden, "tokens")->elements, count = golden_find(golden, "rows")->elements;
    size_t D = model->config.hidden, N_v = model->config.vocabulary;
    int32_t *tokens = golden_integers(golden, "tokens"), *rows = golden_integers(golden, "rows");
    double *expected = golden_reals(golden, "logits"), *logits = ref_alloc(N_v, sizeof *logits);
    double *output = ref_alloc(T * D, sizeof *output);
    ref_sequence sequence;
    ref_sequence_init(model, &sequence);
    ref_model_read(model, &sequence, tokens, T, output);
    for (size_t i = 0; i < count; i++) {
        ref_model_logits(model, output + (size_t)rows[i] * D, 1, logits);
        CHECK_AT_MOST(largest_difference(logits, expected + i * N_v, N_v), 5e-5); /* of up to 37; again fp32 angles */
    }
    free(sequence.states);
    free(tokens);
    free(rows);
    free(expected);
    free(logits);
    free(output);
}

static void check_greedy(const ref_model *model, const json_t *entry)
{
    size_t prompt_count, count, N_v = model->config.vocabulary;
    int32_t *prompt = golden_json_integers(entry, "prompt_ids", &prompt_count);
    int32_t *expected = golden_json_integers(entry, "greedy_ids", &count);
    double *output = ref_alloc(prompt_count * model->config.hidden, sizeof *output);
    double *logits = ref_alloc(N_v, sizeof *logits);
    ref_sequence sequence;
    ref_sequence_init(model, &sequence);
    ref_model_read(model, &sequence, prompt, prompt_count, output);
    const double *last = output + (prompt_count - 1) * model->config.hidden;
    for (size_t i = 0; i < count; i++) {
        int32_t best = 0;
        ref_model_logits(model, last, 1, logits);
        for (size_t t = 1; t < N_v; t++)
            if (logits[t] > logits[best]) best = (int32_t)t;
        CHECK_INT(best, expected[i]);
        ref_model_read(model, &sequence, &expected[i], 1, output);
        last = output;
    }
    free(sequence.states);
    free(prompt);
    free(expected);
    free(output);
    free(logits);
}

static bool test_willowbrook(void)
{
    char path[512];
    golden_file golden;
    if (!in_shared(path, sizeof path, "model/willowbrook-30m/reference.json")) return false;
    json_t *json = golden_json(path);
    in_shared(path, sizeof path, "model/willowbrook-30m/reference.safetensors");
    golden_open(&golden, path);
    in_shared(path, sizeof path, "model/willowbrook-30m");
    ref_model *model = ref_model_open(path);
    REQUIRE(model);
    check_rows(model, &golden);
    const json_t *greedy = golden_member(json, "greedy");
    REQUIRE(json_array_size(greedy) > 0);
    for (size_t i = 0; i < json_array_size(greedy); i++) check_greedy(model, json_array_get(greedy, i));
    ref_model_close(model);
    golden_close(&golden);
    json_decref(json);
    return true;
}

/* Without arguments the reference against itself; "golden" for the recorded numbers. */
int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "golden") != 0) {
        test_forms();
        test_layers();
        return test_finish();
    }
    bool all = test_fla();
    all &= test_torchscale();
    all &= test_willowbrook();
    if (!all) fprintf(stderr, "recorded numbers missing under %s\n", SHARED);
    return test_failures || all ? test_finish() : TEST_SKIPPED;
}
