/* forms_test.c: the three forms of retention in layers.h are one: parallel, chunkwise with chunks of any length, and
 * recurrent, against the reference and each other, over keys and values of odd widths, shared heads, decays up to 1 and
 * states that hold something.
 *
 *     test_layers_forms [full [K]]      `full`: every key size, or K, with every value size and every length */
#include "layers/layers_test.h"
#include "layers/matmul.h"
#include "layers/retention.h"
#include "reference/reference.h"

#include <retnet/layers.h>

enum { FIRST_ROW = 3, GAP = 5, SEQUENCES = 2, STATES = 3, SCRATCH_BYTES = 24 << 20, MOST_CHUNK = 128 };

static const double fp32_bound = 1e-5, f16_bound = 5e-3;

typedef struct shape {
    uint32_t key_size, value_size, tokens, heads, kv_heads;
} shape;

typedef struct problem {
    shape shape;
    uint32_t x_stride, y_stride, rows;
    uint32_t shift; /* of the output in its rows: it may lie anywhere, but not in the recurrent form */
    retnet_sequence sequences[SEQUENCES];
    float decay[32];
    retnet_tables *tables;
    layers_buffer x, y, state;
    float *state_before; /* of the state buffer */
    double *o, *state_after;
    float *first_y; /* of the first form, for comparison */
} problem;

/* ---- Problems ---------------------------------------------------------------------------------------------------- */

/* Of the paper's 32 heads, so that the last ones forget nothing: 1 - 2^-25 is 1 in fp32. */
static void choose_decays(problem *p)
{
    uint32_t heads = p->shape.heads;
    for (uint32_t h = 0; h < heads; h++)
        p->decay[h] = 1 - ldexpf(1, -5 - (int)(heads == 1 ? 31 : h * 31 / (heads - 1)));
}

static uint32_t value_stride(const problem *p)
{
    return (p->shape.value_size + 3) / 4 * 4;
}

static size_t state_words(const problem *p)
{
    return (size_t)p->shape.heads * p->shape.key_size * value_stride(p);
}

static void fill_states(problem *p)
{
    uint32_t V = p->shape.value_size, stride = value_stride(p);
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        float *state = p->state.floats + p->sequences[i].state * state_words(p);
        for (size_t at = 0; at < state_words(p); at += stride) {
            layers_test_fill(state + at, V);
            for (uint32_t j = V; j < stride; j++) state[at + j] = 0;
        }
    }
}

static double *take(const problem *p, const retnet_sequence *s, uint32_t offset, uint32_t columns)
{
    double *out = layers_test_alloc((size_t)s->tokens * columns, sizeof *out);
    for (size_t t = 0; t < s->tokens; t++)
        for (uint32_t i = 0; i < columns; i++)
            out[t * columns + i] = p->x.floats[(s->first_row + t) * p->x_stride + offset + i];
    return out;
}

static void expect(problem *p, uint32_t index)
{
    const shape *s = &p->shape;
    const retnet_sequence *sequence = &p->sequences[index];
    uint32_t H = s->heads, G = s->kv_heads, K = s->key_size, V = s->value_size;
    double decay[32];
    for (uint32_t h = 0; h < H; h++) decay[h] = p->decay[h];
    ref_retention r = {sequence->tokens, H, G, K, V, 1 / sqrt(K), decay};
    double *q = take(p, sequence, 0, H * K), *k = take(p, sequence, H * K, G * K);
    double *v = take(p, sequence, (H + G) * K, G * V), *state = layers_test_alloc((size_t)H * K * V, sizeof *state);
    const float *before = p->state.floats + sequence->state * state_words(p);
    double *after = p->state_after + sequence->state * state_words(p);
    for (size_t i = 0; i < (size_t)H * K * V; i++) state[i] = before[i / V * value_stride(p) + i % V];
    ref_retention_recurrent(&r, q, k, v, state, p->o + (size_t)sequence->first_row * H * V);
    for (size_t i = 0; i < state_words(p); i++) {
        size_t row = i / value_stride(p), column = i % value_stride(p);
        after[i] = column < V ? state[row * V + column] : 0;
    }
    free(q);
    free(k);
    free(v);
    free(state);
}

static problem make_problem(layers_test *test, const shape *s)
{
    problem p = {.shape = *s};
    uint32_t second = s->tokens / 2 + 1; /* beside it, so that a batch is ragged */
    p.sequences[0] = (retnet_sequence){.first_row = FIRST_ROW, .tokens = s->tokens, .state = 2};
    p.sequences[1] = (retnet_sequence){.first_row = FIRST_ROW + s->tokens + 1, .tokens = second, .state = 0};
    p.rows = p.sequences[1].first_row + second + 1;
    p.x_stride = s->heads * s->key_size + s->kv_heads * (s->key_size + s->value_size) + GAP;
    p.y_stride = s->heads * s->value_size + GAP;
    p.x = layers_test_buffer(test, (size_t)p.rows * p.x_stride);
    p.y = layers_test_buffer(test, (size_t)p.rows * p.y_stride);
    p.state = layers_test_buffer(test, STATES * state_words(&p));
    choose_decays(&p);
    retnet_tables_desc desc = {.heads = s->heads, .decay = p.decay, .longest_chunk = MOST_CHUNK};
    REQUIRE(retnet_tables_create(test->context, &desc, &p.tables) == RETNET_OK);
    for (uint32_t i = 0; i < SEQUENCES; i++)
        for (uint32_t t = 0; t < p.sequences[i].tokens; t++)
            layers_test_fill(p.x.floats + (size_t)(p.sequences[i].first_row + t) * p.x_stride, p.x_stride - GAP);
    fill_states(&p);
    p.state_before = layers_test_alloc(p.state.count, sizeof(float));
    memcpy(p.state_before, p.state.floats, p.state.count * sizeof(float));
    p.o = layers_test_alloc((size_t)p.rows * s->heads * s->value_size, sizeof *p.o);
    p.state_after = layers_test_expectation(&p.state, false);
    for (uint32_t i = 0; i < SEQUENCES; i++) expect(&p, i);
    return p;
}

static void free_problem(layers_test *test, problem *p)
{
    retnet_tables_destroy(p->tables);
    layers_test_free(test, &p->x);
    layers_test_free(test, &p->y);
    layers_test_free(test, &p->state);
    free(p->state_before);
    free(p->state_after);
    free(p->o);
    free(p->first_y);
}

/* ---- Forms ------------------------------------------------------------------------------------------------------- */

static retnet_retention describe(const problem *p)
{
    const shape *s = &p->shape;
    VkDeviceSize at = layers_test_binding(&p->x).offset;
    uint32_t H = s->heads, G = s->kv_heads, K = s->key_size;
    return (retnet_retention){
        .heads = H,
        .key_value_heads = G,
        .key_size = K,
        .value_size = s->value_size,
        .tables = p->tables,
        .query = {p->x.buffer.handle, at, p->x_stride},
        .key = {p->x.buffer.handle, at + 4 * H * K, p->x_stride},
        .value = {p->x.buffer.handle, at + 4 * (H + G) * K, p->x_stride},
        .output = {p->y.buffer.handle, layers_test_binding(&p->y).offset + 4 * p->shift, p->y_stride},
        .state = {p->state.buffer.handle, layers_test_binding(&p->state).offset},
        .sequences = p->sequences,
        .sequence_count = SEQUENCES,
    };
}

static void record_parallel(retnet_layers *layers, const problem *p, uint32_t chunk)
{
    (void)chunk;
    retnet_retention r = describe(p);
    CHECK_INT(retnet_layers_retention_parallel(layers, &r), RETNET_OK);
}

static void record_chunkwise(retnet_layers *layers, const problem *p, uint32_t chunk)
{
    retnet_retention r = describe(p);
    r.chunk = chunk;
    CHECK_INT(retnet_layers_retention_chunkwise(layers, &r), RETNET_OK);
}

static void record_recurrent(retnet_layers *layers, const problem *p, uint32_t chunk)
{
    (void)chunk;
    retnet_retention r = describe(p);
    for (uint32_t t = 0; t < p->shape.tokens; t++) {
        retnet_sequence now[SEQUENCES];
        r.sequences = now;
        r.sequence_count = 0;
        for (uint32_t i = 0; i < SEQUENCES; i++) {
            retnet_sequence s = p->sequences[i];
            if (t >= s.tokens) continue;
            s.first_row += t;
            s.tokens = 1;
            now[r.sequence_count++] = s;
        }
        CHECK_INT(retnet_layers_retention_recurrent(layers, &r), RETNET_OK);
    }
}

static double *expected_output(const problem *p)
{
    double *y = layers_test_expectation(&p->y, false);
    size_t width = (size_t)p->shape.heads * p->shape.value_size;
    for (uint32_t i = 0; i < SEQUENCES; i++)
        for (uint32_t t = 0; t < p->sequences[i].tokens; t++) {
            size_t row = p->sequences[i].first_row + t;
            memcpy(y + row * p->y_stride + p->shift, p->o + row * width, width * sizeof *y);
        }
    return y;
}

/* The output against that of the first form. */
static void check_agreement(const char *what, problem *p, double bound)
{
    size_t count = (size_t)p->rows * p->y_stride, used = 0;
    double *others = layers_test_alloc(count, sizeof *others);
    float *ours = layers_test_alloc(count, sizeof *ours);
    for (uint32_t i = 0; i < SEQUENCES; i++)
        for (uint32_t t = 0; t < p->sequences[i].tokens; t++)
            for (uint32_t j = 0; j < p->y_stride - GAP; j++) {
                size_t at = (size_t)(p->sequences[i].first_row + t) * p->y_stride + j;
                ours[used] = p->y.floats[at + p->shift];
                others[used] = p->first_y ? p->first_y[at] : ours[used];
                used++;
            }
    double rms = test_relative_rms(ours, others, used);
    if (!(rms <= bound)) TEST_FAIL("%s: differs from the parallel form by %g relative RMS", what, rms);
    if (!p->first_y) {
        p->first_y = layers_test_alloc(count, sizeof *p->first_y);
        memcpy(p->first_y, p->y.floats + p->shift, (count - p->shift) * sizeof *p->first_y);
    }
    free(ours);
    free(others);
}

typedef void record_fn(retnet_layers *layers, const problem *p, uint32_t chunk);

static void run_form(layers_test *test, retnet_layers *layers, problem *p, const char *name, record_fn *record,
                     uint32_t chunk, double bound)
{
    const shape *s = &p->shape;
    char what[160];
    snprintf(what, sizeof what, "%s %u, K %u, V %u, T %u, %u heads of %u", name, chunk, s->key_size, s->value_size,
             s->tokens, s->heads, s->kv_heads);
    p->shift = record == record_recurrent ? 0 : 3;
    memcpy(p->state.floats, p->state_before, p->state.count * sizeof(float));
    for (size_t i = 0; i < p->y.count; i++) p->y.words[i] = LAYERS_POISON;
    REQUIRE(retnet_layers_begin(layers, layers_test_begin(test)->commands) == RETNET_OK);
    record(layers, p, chunk);
    CHECK_INT(retnet_layers_end(layers), RETNET_OK);
    layers_test_run(test);
    CHECK_INT(retnet_layers_reset(layers), RETNET_OK);
    check_agreement(what, p, bound);
    layers_test_check(what, &p->y, false, expected_output(p), bound);
    if (record == record_parallel) {
        if (memcmp(p->state.floats, p->state_before, p->state.count * sizeof(float)) != 0)
            TEST_FAIL("%s: the state changed", what);
        return;
    }
    double *after = layers_test_alloc(p->state.count, sizeof *after);
    memcpy(after, p->state_after, p->state.count * sizeof *after);
    layers_test_check(what, &p->state, false, after, bound);
}

/* Layers without and with matrix units. */
typedef struct kinds {
    retnet_layers *floats, *halves;
} kinds;

static void run_shape(layers_test *test, const kinds *layers, const shape *s)
{
    static const uint32_t chunks[] = {1, 7, 16, 64, 100, 128};
    problem p = make_problem(test, s);
    run_form(test, layers->floats, &p, "parallel", record_parallel, 0, fp32_bound);
    for (size_t i = 0; i < RN_COUNT(chunks); i++)
        run_form(test, layers->floats, &p, "chunkwise", record_chunkwise, chunks[i], fp32_bound);
    run_form(test, layers->floats, &p, "recurrent", record_recurrent, 0, fp32_bound);
    if (rn_matmul_pays(test->device) && rn_retention_matrix_suits(test->device, s->key_size)) {
        float *before = layers_test_alloc(p.state.count, sizeof *before);
        memcpy(before, p.state.floats, p.state.count * sizeof *before);
        run_form(test, layers->halves, &p, "chunkwise, on matrix units,", record_chunkwise, 64, f16_bound);
        CHECK(memcmp(before, p.state.floats, p.state.count * sizeof *before) != 0); /* they were used */
        free(before);
    }
    run_form(test, layers->halves, &p, "chunkwise, too long for matrix units,", record_chunkwise, 100, fp32_bound);
    free_problem(test, &p);
}

/* ---- Shapes ------------------------------------------------------------------------------------------------------ */

static const uint32_t key_sizes[] = {16, 60, 64, 128, 256}, value_sizes[] = {27, 32, 128, 428, 512},
                      lengths[] = {1, 2, 63, 64, 65, 500, 1000};

static void run_all(layers_test *test, const kinds *layers, uint32_t key_size)
{
    static const uint32_t heads[][2] = {{4, 2}, {3, 3}, {2, 1}}; /* and key and value heads */
    uint32_t n = 0;
    for (size_t k = 0; k < RN_COUNT(key_sizes); k++) {
        if (key_size && key_size != key_sizes[k]) continue;
        for (size_t v = 0; v < RN_COUNT(value_sizes); v++)
            for (size_t t = 0; t < RN_COUNT(lengths); t++, n++) {
                const uint32_t *h = heads[(v + t) % RN_COUNT(heads)];
                run_shape(test, layers, &(shape){key_sizes[k], value_sizes[v], lengths[t], h[0], h[1]});
            }
        for (size_t t = 0; t < RN_COUNT(lengths) && key_sizes[k] < 128; t++, n++)
            run_shape(test, layers, &(shape){key_sizes[k], value_sizes[t % 3], lengths[t], 32, t % 2 ? 8 : 32});
        fprintf(stderr, "K %u: %u shapes up to here, %d failures\n", key_sizes[k], n, test_failures);
    }
}

/* Every size and length once at least, and the largest together. */
static void run_some(layers_test *test, const kinds *layers)
{
    static const shape shapes[] = {
        {16, 27, 1, 32, 8},  {60, 428, 65, 2, 1},   {64, 32, 500, 3, 3},  {128, 128, 64, 4, 2},
        {256, 512, 2, 4, 4}, {16, 128, 1000, 2, 2}, {60, 27, 63, 32, 32},
    };
    for (size_t i = 0; i < RN_COUNT(shapes); i++) run_shape(test, layers, &shapes[i]);
}

int main(int argc, char **argv)
{
    layers_test test = layers_test_create();
    kinds layers = {0};
    retnet_layers_desc desc = {.scratch_bytes = SCRATCH_BYTES};
    test.device->slow_matrices = true;
    REQUIRE(retnet_layers_create(test.context, &desc, &layers.floats) == RETNET_OK);
    desc.matrix_units = true;
    REQUIRE(retnet_layers_create(test.context, &desc, &layers.halves) == RETNET_OK);
    if (argc > 1 && strcmp(argv[1], "full") == 0)
        run_all(&test, &layers, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0);
    else
        run_some(&test, &layers);
    retnet_layers_destroy(layers.floats);
    retnet_layers_destroy(layers.halves);
    return layers_test_finish(&test, test_failures);
}
