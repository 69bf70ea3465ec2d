/* embedding_test.c: rows of embedding matrices of every format (embedding.comp), and log-probabilities of given tokens
 * (score.comp), against plain lookups and sums in double precision. */
#include "layers/embedding.h"
#include "layers/layers_test.h"
#include "reference/reference.h"

/* ---- Embeddings -------------------------------------------------------------------------------------------------- */

typedef struct lookup {
    uint32_t vocabulary, hidden;
    float scale;
} lookup;

enum { TOKENS = 9, STALE = 64 }; /* those that are asked for, and what an earlier pass left behind them */

/* The first and last tokens, some twice, in no order. */
static void fill_tokens(uint32_t *tokens, uint32_t vocabulary)
{
    const uint32_t chosen[TOKENS] = {vocabulary - 1, 0, vocabulary / 2, 63, 64, 0, vocabulary - 1, 16 * 64, 27};
    for (uint32_t i = 0; i < TOKENS + STALE; i++) tokens[i] = chosen[i % TOKENS] % vocabulary;
}

/* Rows are written with the zeros that lie behind the inputs up to a multiple of 32. */
static double *expect_rows(const lookup *l, const double *w, const uint32_t *tokens, const layers_buffer *y,
                           uint32_t y_stride)
{
    double *expected = layers_test_expectation(y, false);
    for (uint32_t i = 0; i < TOKENS; i++)
        for (uint32_t k = 0; k < rn_divide_up(l->hidden, 32) * 32; k++)
            expected[(size_t)i * y_stride + k] =
                k < l->hidden ? (double)l->scale * w[(size_t)tokens[i] * l->hidden + k] : 0;
    return expected;
}

/* `range`: bytes that the device binds at once; 0: all that it can. */
static void check_lookup(layers_test *test, retnet_weight_format format, lookup l, uint64_t range)
{
    layers_matrix matrix;
    layers_test_matrix(test, format, l.vocabulary, l.hidden, false, &matrix);
    uint32_t y_stride = rn_divide_up(l.hidden, 32) * 32 + 32;
    layers_buffer tokens = layers_test_buffer(test, TOKENS + STALE), y = layers_test_buffer(test, TOKENS * y_stride);
    fill_tokens(tokens.words, l.vocabulary);
    double *expected = expect_rows(&l, matrix.w, tokens.words, &y, y_stride);

    uint64_t all = test->device->caps.max_storage_range;
    if (range) test->device->caps.max_storage_range = range;
    rn_embedding_record(layers_test_begin(test), &matrix.matrix, layers_test_binding(&tokens), TOKENS,
                        layers_test_binding(&y), y_stride, l.scale);
    layers_test_run(test);
    test->device->caps.max_storage_range = all;

    char what[160];
    snprintf(what, sizeof what, "embedding %u x %u, format %d, scale %g", l.vocabulary, l.hidden, format, l.scale);
    layers_test_check(what, &y, false, expected, 2e-7);
    layers_test_free(test, &tokens);
    layers_test_free(test, &y);
    layers_test_free_matrix(test, &matrix);
}

static void check_lookups(layers_test *test)
{
    static const lookup lookups[] = {{1, 1, 1}, {65, 33, 1}, {97, 64, 8}, {428, 428, 20.688f}, {1100, 31, 0.5f}};
    static const lookup wide = {35 * 64 - 5, 33, 3};
    for (int format = RETNET_WEIGHTS_F32; format <= RETNET_WEIGHTS_Q4; format++) {
        for (size_t i = 0; i < RN_COUNT(lookups); i++) check_lookup(test, (retnet_weight_format)format, lookups[i], 0);
        /* A matrix in three bindings. The least that a device binds at once is 128 MiB, so the limit comes down. */
        rn_matrix matrix = {.format = (retnet_weight_format)format, .inputs = wide.hidden};
        check_lookup(test, matrix.format, wide, 16 * rn_matrix_panel_bytes(&matrix));
    }
}

/* ---- Scores ------------------------------------------------------------------------------------------------------ */

/* Rows of logits of a size, around an offset at which exp alone would overflow or vanish. */
typedef struct scores {
    uint32_t vocabulary, rows;
    float size, offset;
} scores;

/* Gaps behind rows, and before targets and outputs. */
enum { ROW_GAP = 5, FIRST_TARGET = 3, FIRST_OUTPUT = 2 };

static void fill_logits(const scores *s, float *logits, uint32_t *targets)
{
    for (uint32_t row = 0; row < s->rows; row++, logits += s->vocabulary + ROW_GAP) {
        for (uint32_t i = 0; i < s->vocabulary; i++) logits[i] = s->offset + s->size * layers_test_random();
        uint32_t random = (uint32_t)(0.5f * (1 + layers_test_random()) * (float)s->vocabulary);
        targets[row] = row == 0 ? s->vocabulary - 1 : row == 1 ? 0 : rn_min_u32(random, s->vocabulary - 1);
    }
}

static double *expect_scores(const scores *s, const float *logits, const uint32_t *targets, const layers_buffer *out)
{
    double *wide = layers_test_alloc(s->vocabulary, sizeof *wide), *expected = layers_test_expectation(out, false);
    for (uint32_t row = 0; row < s->rows; row++, logits += s->vocabulary + ROW_GAP) {
        for (uint32_t i = 0; i < s->vocabulary; i++) wide[i] = logits[i];
        expected[FIRST_OUTPUT + row] = ref_log_prob(wide, s->vocabulary, (int32_t)targets[row]);
    }
    free(wide);
    return expected;
}

static void check_scores(layers_test *test, const scores *s)
{
    uint32_t stride = s->vocabulary + ROW_GAP;
    layers_buffer logits = layers_test_buffer(test, (size_t)s->rows * stride);
    layers_buffer targets = layers_test_buffer(test, FIRST_TARGET + s->rows);
    layers_buffer out = layers_test_buffer(test, FIRST_OUTPUT + s->rows + 1);
    fill_logits(s, logits.floats, targets.words + FIRST_TARGET);
    double *expected = expect_scores(s, logits.floats, targets.words + FIRST_TARGET, &out);
    rn_score_record(layers_test_begin(test), layers_test_binding(&logits), s->vocabulary, stride, s->rows,
                    layers_test_binding(&targets), FIRST_TARGET, layers_test_binding(&out), FIRST_OUTPUT);
    layers_test_run(test);
    char what[160];
    snprintf(what, sizeof what, "%u scores of %u, %g around %g", s->rows, s->vocabulary, s->size, s->offset);
    layers_test_check(what, &out, false, expected, 1e-6);
    layers_test_free(test, &logits);
    layers_test_free(test, &targets);
    layers_test_free(test, &out);
}

int main(void)
{
    static const scores all[] = {
        {1, 2, 3, 0},    {2, 5, 3, 100},      {63, 3, 5, -200},   {64, 1, 5, 0},         {65, 9, 5, 1e4f},
        {428, 4, 20, 0}, {1000, 7, 1e3f, 50}, {32000, 3, 10, 90}, {50257, 2, 10, -1e4f},
    };
    layers_test test = layers_test_create();
    check_lookups(&test);
    for (size_t i = 0; i < RN_COUNT(all); i++) check_scores(&test, &all[i]);
    return layers_test_finish(&test, test_failures);
}
