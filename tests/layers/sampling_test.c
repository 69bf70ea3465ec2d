/* sampling_test.c: the choice of tokens (sample.comp) against sorting and summing in double precision, over thousands
 * of random cases: sizes of vocabulary, shapes of logits, ties, NaN, extreme parameters, biases, penalties. A token may
 * differ from the reference's only where a border of top-p, of min-p or of the draw is closer than NEAR, and rarely. */
#include "layers/sampling.h"
#include "layers/layers_test.h"
#include "reference/reference.h"

#include <float.h>

#define NEAR 2e-6

enum { ROWS = 6, SAMPLERS = 9, ROUNDS = 3, BANNED = 40, BIASED = 30 };

/* What one row does: parameters, and the sequence as the host would know it. */
typedef struct row {
    retnet_sampling sampling;
    retnet_logit_bias biases[BIASED];
    int32_t banned[BANNED];
    int32_t end_token;
    uint32_t sampler, state, other, position, first_position, recent_count, made, last;
    int32_t recent[RN_RECENT_TOKENS]; /* ring by position */
    int32_t token;
    bool waiting, rests, ends, log_probs;
} row;

typedef struct batch {
    uint32_t vocabulary;
    row rows[ROWS];
    layers_buffer logits, control, results, kept;
    float *plain; /* [ROWS, vocabulary] logits as they were */
} batch;

static uint64_t seed = 20261125;
static size_t cases, near_ties;

static uint32_t random_below(uint32_t count)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 32) * count >> 32);
}

static float random_signed(void)
{
    return test_random(&seed);
}

#define PICK(array) (array)[random_below(RN_COUNT(array))]

/* ---- Making cases ------------------------------------------------------------------------------------------------ */

static void fill_row(float *logits, uint32_t vocabulary)
{
    static const float sizes[] = {0, 1e-30f, 1e-4f, 0.5f, 3, 12, 40, 1e4f, 1e30f};
    static const float offsets[] = {0, 0, 0, -7, 90, -1e4f};
    float size = PICK(sizes), offset = PICK(offsets);
    uint32_t shape = random_below(7);
    for (uint32_t i = 0; i < vocabulary; i++) {
        float a = random_signed(), b = random_signed(), c = random_signed();
        float y = shape == 0 ? a : (a + b + c) / 2;
        if (shape == 1) y = floorf(8 * y) / 8;                         /* many ties */
        if (shape == 2) y = i % 1024 == 5 ? 1 + 0.001f * a : 0.3f * y; /* the largest in one group */
        if (shape == 3) y = a * a * a * a * a;                         /* few stand out */
        if (shape == 4) y = (float)i / (float)vocabulary;              /* in order */
        logits[i] = offset + size * y;
        if (shape == 5 && random_below(3) == 0) logits[i] = random_below(2) ? -INFINITY : NAN;
        if (shape == 6 && random_below(50) == 0) logits[i] = random_below(2) ? 3e38f : -3e38f;
    }
}

static void make_parameters(row *r, uint32_t vocabulary)
{
    static const float temperatures[] = {0, 1e-30f, 1e-3f, 0.3f, 0.7f, 0.7f, 1, 1, 1.5f, 8, 1e6f, 1e38f};
    static const uint32_t top_ks[] = {0, 0, 0, 1, 2, 40, 40, 95, 200, 700, 1u << 30};
    static const float top_ps[] = {0, 0, 0, 1e-6f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f, 1};
    static const float min_ps[] = {0, 0, 0, 0, 1e-12f, 0.02f, 0.3f, 0.999f};
    static const float penalties[] = {0, 0, 1, 1.1f, 1.7f, 0.8f, 50};
    static const uint32_t windows[] = {0, 1, 10, 64, 256};
    *r = (row){.last = UINT32_MAX, .end_token = -1};
    r->sampling = (retnet_sampling){
        .temperature = PICK(temperatures),
        .top_k = PICK(top_ks),
        .top_p = PICK(top_ps),
        .min_p = PICK(min_ps),
        .repetition_penalty = PICK(penalties),
        .repetition_window = PICK(windows),
        .seed = (uint64_t)random_below(UINT32_MAX) << 32 | random_below(UINT32_MAX),
        .biases = r->biases,
        .bias_count = random_below(3) ? 0 : random_below(BIASED + 1),
        .banned_tokens = r->banned,
        .banned_count = random_below(3) ? 0 : random_below(BANNED + 1),
    };
    if (vocabulary < 2 * BANNED && random_below(3)) r->sampling.banned_count = 0;
    for (uint32_t i = 0; i < BIASED; i++)
        r->biases[i] = (retnet_logit_bias){(int32_t)random_below(vocabulary), 10 * random_signed()};
    for (uint32_t i = 0; i < BANNED; i++) r->banned[i] = (int32_t)random_below(vocabulary);
    if (random_below(8) == 0) r->biases[0].bias = -INFINITY;
    r->log_probs = random_below(2);
    r->first_position = r->position =
        random_below(4) ? random_below(300) : RN_RECENT_TOKENS * 1000 + random_below(1000);
    r->recent_count = random_below(rn_min_u32(r->position, RN_RECENT_TOKENS) + 1);
    uint32_t spread = random_below(2) ? vocabulary : rn_min_u32(vocabulary, 7);
    for (uint32_t i = 0; i < RN_RECENT_TOKENS; i++) r->recent[i] = (int32_t)random_below(spread);
    r->made = random_below(2) ? random_below(1000) : UINT32_MAX - 1; /* the count may wrap */
    if (random_below(3) == 0) r->last = r->made + 1 + random_below(ROUNDS);
}

static uint32_t sampler_word(const row *r)
{
    return r->sampler | (r->state ^ r->other) << RN_STEP_OTHER_SHIFT | (r->rests ? RN_STEP_RESTS : 0);
}

static void write_row(batch *b, uint32_t index)
{
    rn_control *control = (rn_control *)(void *)b->control.words;
    row *r = &b->rows[index];
    rn_sampler *s = &control->samplers[r->sampler];
    *s = (rn_sampler){.made = r->made, .recent_count = r->recent_count};
    r->ends = random_below(3) == 0;
    for (uint32_t i = 0; i < RN_RECENT_TOKENS; i++) s->recent[i] = (uint32_t)r->recent[i];
    /* An end token that has a chance to come up. */
    float *logits = b->logits.floats + (size_t)index * b->vocabulary;
    for (uint32_t i = 0; i < b->vocabulary && r->ends; i++)
        if (r->end_token < 0 || logits[i] > logits[r->end_token]) r->end_token = (int32_t)i;
    const int32_t ends[] = {(int32_t)b->vocabulary - 1, r->end_token};
    rn_sampler_set(s, &r->sampling, ends + 1, r->ends, r->last - r->made, r->log_probs);
    r->state = index % 2 ? RN_STEP_STATES - 1 : 5 * index;
    r->other = 1000 * index;
    control->steps[index] = (rn_step_record){index, r->state, r->position, sampler_word(r)};
    control->tokens[index] = LAYERS_POISON;
}

/* The rows' parameters point into the batch. */
static void make_batch(layers_test *test, uint32_t vocabulary, batch *b)
{
    *b = (batch){.vocabulary = vocabulary};
    size_t words = (size_t)ROWS * vocabulary;
    b->logits = layers_test_buffer(test, words);
    b->control = layers_test_buffer(test, (sizeof(rn_control) + SAMPLERS * sizeof(rn_sampler)) / 4);
    b->results = layers_test_buffer(test, SAMPLERS * RN_RESULT_RING * sizeof(rn_result) / 4);
    b->kept = layers_test_buffer(test, (size_t)SAMPLERS * vocabulary);
    b->plain = layers_test_alloc(words, sizeof *b->plain);
    for (uint32_t i = 0; i < ROWS; i++) {
        fill_row(b->logits.floats + (size_t)i * vocabulary, vocabulary);
        make_parameters(&b->rows[i], vocabulary);
        b->rows[i].sampler = SAMPLERS - 1 - i; /* two belong to no row */
        write_row(b, i);
    }
    memcpy(b->plain, b->logits.floats, words * sizeof *b->plain);
}

static void free_batch(layers_test *test, batch *b)
{
    layers_test_free(test, &b->logits);
    layers_test_free(test, &b->control);
    layers_test_free(test, &b->results);
    layers_test_free(test, &b->kept);
    free(b->plain);
}

/* ---- Checking ---------------------------------------------------------------------------------------------------- */

static void describe(const batch *b, const row *r, char *text, size_t size)
{
    const retnet_sampling *s = &r->sampling;
    snprintf(text, size,
             "vocabulary %u, temperature %g, top-k %u, top-p %g, min-p %g, penalty %g, %zu biases, %zu banned",
             b->vocabulary, s->temperature, s->top_k, s->top_p, s->min_p, s->repetition_penalty, s->bias_count,
             s->banned_count);
}

/* Whether parameters that are off by NEAR give the token. */
static bool is_near_tie(const row *r, const float *logits, uint32_t vocabulary, double draw, int32_t token)
{
    for (int i = 0; i < 27; i++) {
        retnet_sampling s = r->sampling;
        s.top_p *= (float)(1 + NEAR * (i % 3 - 1));
        s.min_p *= (float)(1 + NEAR * (i / 3 % 3 - 1));
        if (ref_sample(&s, logits, vocabulary, draw + NEAR * (i / 9 - 1)) == token) return true;
    }
    return false;
}

static double log_prob(const float *logits, uint32_t vocabulary, int32_t token)
{
    double *wide = layers_test_alloc(vocabulary, sizeof *wide);
    for (uint32_t i = 0; i < vocabulary; i++)
        wide[i] = isnan(logits[i]) || logits[i] == -INFINITY ? -DBL_MAX : fmin(fmax(logits[i], -1e38), 1e38);
    double result = ref_log_prob(wide, vocabulary, token);
    free(wide);
    return result;
}

static void check_token(const batch *b, row *r, uint32_t index, const rn_result *result)
{
    const float *plain = b->plain + (size_t)index * b->vocabulary;
    float *logits = layers_test_alloc(b->vocabulary, sizeof *logits);
    int32_t recent[RN_RECENT_TOKENS];
    uint32_t window = r->sampling.repetition_window ? r->sampling.repetition_window : 64;
    uint32_t count = rn_min_u32(window, r->recent_count);
    char what[256];
    describe(b, r, what, sizeof what);
    for (uint32_t i = 0; i < count; i++) recent[i] = r->recent[(r->position - 1 - i) % RN_RECENT_TOKENS];
    memcpy(logits, plain, b->vocabulary * sizeof *logits);
    ref_adjust(&r->sampling, logits, b->vocabulary, recent, count);
    double draw = ref_random_draw(r->sampling.seed, r->position);
    int32_t expected = ref_sample(&r->sampling, logits, b->vocabulary, draw);
    r->token = (int32_t)result->token;
    cases++;
    if (r->token != expected) {
        near_ties++;
        if ((uint32_t)r->token >= b->vocabulary || expected < 0)
            TEST_FAIL("%s: token %d, expected %d", what, r->token, expected);
        else if (r->sampling.temperature == 0 || !is_near_tie(r, logits, b->vocabulary, draw, r->token))
            TEST_FAIL("%s: token %d (logit %.9g), expected %d (logit %.9g), draw %.9g", what, r->token,
                      logits[r->token], expected, logits[expected], draw);
    }
    if (r->log_probs && (uint32_t)r->token < b->vocabulary) {
        double p = log_prob(plain, b->vocabulary, r->token);
        /* Of logits beyond the range of sums only the sign of the difference counts. */
        if (!(fabs(result->log_prob - p) <= 2e-5 + 1e-6 * fabs(p)))
            TEST_FAIL("%s: log-probability %.9g of token %d, expected %.9g", what, result->log_prob, r->token, p);
    }
    free(logits);
}

static void check_step(const row *r, const rn_step_record *step)
{
    CHECK_INT(step->state, r->state);
    CHECK_INT(step->sampler, sampler_word(r));
    CHECK_INT(step->position, r->position);
}

static void check_row(batch *b, uint32_t index, bool moves)
{
    const rn_control *control = (const rn_control *)(void *)b->control.words;
    const rn_result *results = (const rn_result *)(void *)b->results.words;
    row *r = &b->rows[index];
    const rn_step_record *step = &control->steps[index];
    const rn_sampler *s = &control->samplers[r->sampler];
    if (r->rests) { /* nothing happens any more */
        check_step(r, step);
        CHECK_INT(s->made, r->made);
        return;
    }
    if (moves) {
        uint32_t state = r->state;
        r->state = r->other;
        r->other = state;
    }
    if (r->waiting) {
        r->recent[r->position++ % RN_RECENT_TOKENS] = r->token;
        r->recent_count = rn_min_u32(r->recent_count + 1, RN_RECENT_TOKENS);
    }
    r->made++;
    const rn_result *result = &results[r->sampler * RN_RESULT_RING + r->made % RN_RESULT_RING];
    CHECK_INT(result->number, r->made);
    if (result->number != r->made) exit(1); /* what follows would go by a token that is none */
    check_token(b, r, index, result);
    r->waiting = true;
    r->rests = r->token < 0 || r->made == r->last || (r->ends && r->token == r->end_token);
    check_step(r, step);
    CHECK_INT(s->made, r->made);
    CHECK_INT(s->recent_count, r->recent_count);
    if (r->token >= 0) CHECK_INT(control->tokens[index], r->token);
    for (uint32_t i = 0; i < RN_RECENT_TOKENS; i++)
        if (s->recent[i] != (uint32_t)r->recent[i]) TEST_FAIL("recent token %u is %u", i, s->recent[i]);
}

/* Logits are as before, and those of resting rows, and no others, are kept. */
static void check_logits(const batch *b)
{
    size_t bytes = b->vocabulary * sizeof *b->plain;
    for (uint32_t i = 0; i < ROWS; i++) {
        const row *r = &b->rows[i];
        const float *plain = b->plain + (size_t)i * b->vocabulary;
        const float *kept = b->kept.floats + (size_t)r->sampler * b->vocabulary;
        if (memcmp(b->logits.floats + (size_t)i * b->vocabulary, plain, bytes) != 0)
            TEST_FAIL("row %u: logits changed", i);
        if (r->rests ? memcmp(kept, plain, bytes) != 0 : *(const uint32_t *)kept != LAYERS_POISON)
            TEST_FAIL("row %u %s: other logits are kept", i, r->rests ? "rests" : "goes on");
    }
    layers_test_check_guards("logits", &b->logits);
    layers_test_check_guards("samplers", &b->control);
    layers_test_check_guards("results", &b->results);
    layers_test_check_guards("kept logits", &b->kept);
    for (uint32_t i = 0; i < (SAMPLERS - ROWS) * b->vocabulary; i++)
        if (b->kept.words[i] != LAYERS_POISON) TEST_FAIL("word %u of kept logits was written", i);
}

static void check_batch(layers_test *test, uint32_t vocabulary)
{
    batch b;
    make_batch(test, vocabulary, &b);
    rn_sampling sampling = {
        .logits = layers_test_binding(&b.logits),
        .control = layers_test_binding(&b.control),
        .results = layers_test_binding(&b.results),
        .kept = layers_test_binding(&b.kept),
        .failed = layers_test_binding(&b.control),
        .vocabulary = vocabulary,
        .rows = ROWS,
    };
    sampling.failed.offset += offsetof(rn_control, never);
    sampling.failed.size = sizeof(((rn_control *)0)->never);
    /* Logits of a pass that failed are left alone. */
    rn_control *control = (rn_control *)(void *)b.control.words;
    void *before = layers_test_alloc(b.control.count, sizeof(uint32_t));
    control->never[0] = 1;
    memcpy(before, control, 4 * b.control.count);
    rn_sampling_record(layers_test_begin(test), &sampling);
    layers_test_run(test);
    CHECK(memcmp(before, control, 4 * b.control.count) == 0);
    for (size_t i = 0; i < b.results.count; i++) CHECK(b.results.words[i] == LAYERS_POISON);
    check_logits(&b);
    free(before);
    control->never[0] = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        sampling.moves = round != 1;
        rn_sampling_record(layers_test_begin(test), &sampling);
        layers_test_run(test);
        for (uint32_t i = 0; i < ROWS; i++) check_row(&b, i, sampling.moves);
        check_logits(&b);
    }
    free_batch(test, &b);
}

/* Biases of one token add up, and a ban is not undone by a bias. */
static void check_merging(void)
{
    const retnet_logit_bias biases[] = {{7, 1}, {3, 2}, {7, 0.5f}, {9, 1}, {3, -1}};
    const int32_t banned[] = {9, 1, 1};
    const retnet_sampling s = {.biases = biases, .bias_count = 5, .banned_tokens = banned, .banned_count = 3};
    rn_bias merged[RN_MAX_BIASES];
    CHECK_INT(rn_sampler_merge(&s, merged), 4);
    const rn_bias expected[] = {{1, -INFINITY}, {3, 1}, {7, 1.5f}, {9, -INFINITY}};
    for (int i = 0; i < 4; i++) CHECK(merged[i].token == expected[i].token && merged[i].bias == expected[i].bias);
    int32_t many[RN_MAX_BIASES + 1];
    for (int i = 0; i <= RN_MAX_BIASES; i++) many[i] = i;
    CHECK_INT(rn_sampler_merge(&(retnet_sampling){.banned_tokens = many, .banned_count = RN_MAX_BIASES}, NULL),
              RN_MAX_BIASES);
    CHECK_INT(rn_sampler_merge(&(retnet_sampling){.banned_tokens = many, .banned_count = RN_MAX_BIASES + 1}, NULL),
              RN_MAX_BIASES + 1);
}

int main(void)
{
    static const struct {
        uint32_t vocabulary, batches;
    } sizes[] = {{1, 3},    {2, 5},    {5, 5},     {96, 40},  {128, 10},  {255, 5},   {256, 10},
                 {257, 20}, {428, 20}, {1000, 30}, {8192, 8}, {32000, 2}, {131072, 1}};
    layers_test test = layers_test_create();
    /* Software drivers take long to compile and to run what a GPU would, and a minute to compile for large
     * vocabularies. */
    bool pretends = getenv("RETNET_TEST_PRETEND") != NULL, gpu = !test.device->caps.is_cpu && !pretends;
    check_merging();
    for (size_t i = 0; i < RN_COUNT(sizes) && (gpu || sizes[i].vocabulary < 32000); i++)
        for (uint32_t k = 0; k < sizes[i].batches; k += pretends ? 10 : 1) check_batch(&test, sizes[i].vocabulary);
    printf("%zu tokens, %zu of them near-ties that fell to the other side\n", cases, near_ties);
    CHECK_AT_MOST((double)near_ties, 0.001 * (double)cases);
    return layers_test_finish(&test, test_failures);
}
