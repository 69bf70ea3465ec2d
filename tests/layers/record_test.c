/* record_test.c: the functions of layers.h one by one against the reference: arguments that lie anywhere, both pairings
 * of the rotation, norms with all that they can have, packed matrices of every format; and what is refused. */
#include "layers/layers_test.h"
#include "layers/matmul.h"
#include "reference/reference.h"

#include <retnet/layers.h>

enum { SCRATCH_BYTES = 1 << 20 };

static const double bound = 2e-6, gelu_bound = 1e-5, f16_bound = 2e-3;

typedef struct bench {
    layers_test test;
    retnet_layers *layers;          /* one of */
    retnet_layers *floats, *halves; /* without and with matrix units */
} bench;

static void begin(bench *b)
{
    REQUIRE(retnet_layers_begin(b->layers, layers_test_begin(&b->test)->commands) == RETNET_OK);
}

static void run(bench *b)
{
    CHECK_INT(retnet_layers_end(b->layers), RETNET_OK);
    layers_test_run(&b->test);
    CHECK_INT(retnet_layers_reset(b->layers), RETNET_OK);
}

/* A place in a buffer, in floats from its beginning. */
static retnet_rows rows_at(const layers_buffer *buffer, size_t at, uint32_t stride)
{
    return (retnet_rows){buffer->buffer.handle, layers_test_binding(buffer).offset + 4 * at, stride};
}

static retnet_vector vector_at(const layers_buffer *buffer, size_t at)
{
    return (retnet_vector){buffer->buffer.handle, layers_test_binding(buffer).offset + 4 * at};
}

/* ---- Rotation ---------------------------------------------------------------------------------------------------- */

/* Two sequences at places far apart, in rows with something before, between and behind. */
static void test_rotation(bench *b, bool interleaved, bool given, uint32_t K)
{
    enum { HEADS = 3, ROWS = 9, AT = 5, POSITIONS = 40 };
    const uint32_t stride = HEADS * K + 7;
    const retnet_sequence sequences[] = {{1, 4, 0, given ? 11 : 1234567}, {6, 2, 0, 3}};
    double theta[256], *expected, row[HEADS * 512];
    float decay = 0.5f;
    for (uint32_t i = 0; i < K / 2; i++) theta[i] = pow(10000, -2.0 * i / K);
    retnet_tables *tables = NULL;
    retnet_tables_desc desc = {.heads = 1, .decay = &decay, .pairs = K / 2, .theta = theta};
    REQUIRE(retnet_tables_create(b->test.context, &desc, &tables) == RETNET_OK);
    layers_buffer x = layers_test_buffer(&b->test, AT + ROWS * stride),
                  table = layers_test_buffer(&b->test, POSITIONS * K);
    for (uint32_t i = 0; i < POSITIONS * K / 2; i++) {
        table.floats[2 * i] = (float)cos(i / (K / 2) * theta[i % (K / 2)]);
        table.floats[2 * i + 1] = (float)sin(i / (K / 2) * theta[i % (K / 2)]);
    }
    expected = layers_test_expectation(&x, false);
    for (size_t s = 0; s < RN_COUNT(sequences); s++)
        for (uint32_t t = 0; t < sequences[s].tokens; t++) {
            size_t at = AT + (size_t)(sequences[s].first_row + t) * stride;
            layers_test_fill(x.floats + at, HEADS * K);
            for (uint32_t i = 0; i < HEADS * K; i++) {
                uint32_t in_head = i % K, pair = in_head < K / 2 ? 2 * in_head : 2 * (in_head - K / 2) + 1;
                row[i] = x.floats[at + i - in_head + (interleaved ? pair : in_head)];
            }
            ref_rotate(row, 1, HEADS, K, theta, sequences[s].position + t);
            for (uint32_t i = 0; i < HEADS * K; i++) {
                uint32_t in_head = i % K, pair = in_head < K / 2 ? 2 * in_head : 2 * (in_head - K / 2) + 1;
                expected[at + i - in_head + (interleaved ? pair : in_head)] = row[i];
            }
        }
    retnet_rotation rotation = {
        .heads = HEADS,
        .key_size = K,
        .interleaved = interleaved,
        .rows = rows_at(&x, AT, stride),
        .tables = given ? NULL : tables,
        .table = vector_at(&table, 0),
        .table_positions = POSITIONS,
        .sequences = sequences,
        .sequence_count = RN_COUNT(sequences),
    };
    begin(b);
    CHECK_INT(retnet_layers_rotate(b->layers, &rotation), RETNET_OK);
    run(b);
    layers_test_check(interleaved ? "interleaved rotation" : "rotation", &x, false, expected, bound);
    layers_test_free(&b->test, &x);
    layers_test_free(&b->test, &table);
    retnet_tables_destroy(tables);
}

/* ---- Norms ------------------------------------------------------------------------------------------------------- */

typedef struct norm_kind {
    bool layer, weight, bias, gate, c2, in_place;
    uint32_t groups, size;
} norm_kind;

static void test_norm(bench *b, const norm_kind *k)
{
    enum { ROWS = 4, X_AT = 3, Y_AT = 9, GATE_AT = 6 };
    const float eps = 0.05f;
    uint32_t width = k->groups * k->size, x_stride = width + 5, y_stride = k->in_place ? x_stride : width + 2;
    size_t c2_at = X_AT + ROWS * x_stride + 1;
    layers_buffer x = layers_test_buffer(&b->test, c2_at + ROWS * (k->groups + 3));
    layers_buffer y = layers_test_buffer(&b->test, Y_AT + ROWS * y_stride);
    layers_buffer gate = layers_test_buffer(&b->test, GATE_AT + ROWS * width);
    layers_buffer params = layers_test_buffer(&b->test, 2 * k->size + 1);
    layers_test_fill(params.floats, params.count);
    layers_test_fill(gate.floats, gate.count);
    layers_buffer *output = k->in_place ? &x : &y;
    size_t output_at = k->in_place ? X_AT : Y_AT;
    for (uint32_t r = 0; r < ROWS; r++) {
        layers_test_fill(x.floats + X_AT + r * x_stride, width);
        for (uint32_t g = 0; g < k->groups; g++) x.floats[c2_at + r * (k->groups + 3) + g] = 1 + r + g;
    }
    double *expected = layers_test_expectation(output, false), *values = layers_test_alloc(width, sizeof *values);
    for (uint32_t r = 0; r < ROWS; r++) {
        for (uint32_t g = 0; g < k->groups; g++) {
            double *part = values + g * k->size, c2 = k->c2 ? 1 + r + g : 1;
            for (uint32_t i = 0; i < k->size; i++) part[i] = x.floats[X_AT + r * x_stride + g * k->size + i];
            const float *weight = k->weight ? params.floats + 1 : NULL;
            const float *bias = k->bias ? params.floats + 1 + k->size : NULL;
            if (k->layer || bias)
                ref_layer_norm(part, 1, k->size, eps * c2, weight, bias, part);
            else
                ref_rms_norm(part, 1, k->size, eps * c2, weight, part);
        }
        for (uint32_t i = 0; i < width; i++) {
            double factor = k->gate ? ref_activate(RN_ACTIVATION_SILU, gate.floats[GATE_AT + r * width + i]) : 1;
            expected[output_at + r * y_stride + i] = values[i] * factor;
        }
    }
    if (k->in_place) /* what is beside the rows stays as it is */
        for (uint32_t r = 0; r < ROWS; r++)
            for (uint32_t g = 0; g < k->groups; g++) {
                size_t at = c2_at + r * (k->groups + 3) + g;
                expected[at] = x.floats[at];
            }
    retnet_norm norm = {
        .kind = k->layer || k->bias ? RETNET_NORM_LAYER : RETNET_NORM_RMS,
        .rows = ROWS,
        .groups = k->groups,
        .size = k->size,
        .input = rows_at(&x, X_AT, x_stride),
        .output = rows_at(output, output_at, y_stride),
        .eps = eps,
    };
    if (k->weight) norm.weight = vector_at(&params, 1);
    if (k->bias) norm.bias = vector_at(&params, 1 + k->size);
    if (k->gate) norm.gate = rows_at(&gate, GATE_AT, 0);
    if (k->c2) norm.c2 = rows_at(&x, c2_at, k->groups + 3);
    begin(b);
    CHECK_INT(retnet_layers_norm(b->layers, &norm), RETNET_OK);
    run(b);
    char what[96];
    snprintf(what, sizeof what, "norm of %u groups of %u%s%s", k->groups, k->size, k->gate ? ", gate" : "",
             k->c2 ? ", c2" : "");
    layers_test_check(what, output, false, expected, bound);
    free(values);
    layers_test_free(&b->test, &x);
    layers_test_free(&b->test, &y);
    layers_test_free(&b->test, &gate);
    layers_test_free(&b->test, &params);
}

/* ---- Matrices ---------------------------------------------------------------------------------------------------- */

/* Random weights as a checkpoint would hold them, with the values that they are. */
static layers_buffer make_source(bench *b, retnet_weight_format format, size_t count, float *values)
{
    bool wide = format == RETNET_WEIGHTS_F32;
    layers_buffer source = layers_test_buffer(&b->test, wide ? count : (count + 1) / 2);
    for (size_t i = 0; i < count; i++) {
        float value = layers_test_random();
        uint16_t half = format == RETNET_WEIGHTS_F16 ? rn_f32_to_f16(value) : rn_f32_to_bf16(value);
        if (wide)
            source.floats[i] = value;
        else
            source.halves[i] = half;
        values[i] = wide ? value : format == RETNET_WEIGHTS_F16 ? rn_f16_to_f32(half) : rn_bf16_to_f32(half);
    }
    return source;
}

typedef struct dense {
    retnet_matrix matrix;
    layers_buffer panels;
    float *w, *linear; /* [rows, inputs] */
} dense;

static dense make_dense(bench *b, retnet_weight_format source_format, retnet_weight_format format, uint32_t rows,
                        uint32_t inputs, bool pair)
{
    size_t count = (size_t)rows * inputs;
    dense d = {.matrix = {.format = format, .rows = rows, .inputs = inputs, .pair = pair},
               .w = layers_test_alloc(count, sizeof(float)),
               .linear = layers_test_alloc(count, sizeof(float))};
    layers_buffer first = make_source(b, source_format, count, d.w),
                  second = make_source(b, source_format, count, d.linear);
    d.panels = layers_test_buffer(&b->test, retnet_matrix_bytes(&d.matrix) / 4);
    d.matrix.buffer = d.panels.buffer.handle;
    d.matrix.offset = layers_test_binding(&d.panels).offset;
    retnet_pack pack = {.matrix = d.matrix, .source_format = source_format, .source = vector_at(&first, 0)};
    if (pair) pack.linear = vector_at(&second, 0);
    begin(b);
    CHECK_INT(retnet_layers_pack(b->layers, &pack), RETNET_OK);
    run(b);
    layers_test_check_guards("panels", &d.panels);
    layers_test_free(&b->test, &first);
    layers_test_free(&b->test, &second);
    return d;
}

static void free_dense(bench *b, dense *d)
{
    layers_test_free(&b->test, &d->panels);
    free(d->w);
    free(d->linear);
}

/* act(W x + bias), or of a pair act(W x + bias) * (W' x) */
static void apply(const dense *d, const double *x, uint32_t rows, const float *bias, uint32_t activation, double *y)
{
    size_t outputs = d->matrix.rows, inputs = d->matrix.inputs, count = rows * outputs;
    double *linear = layers_test_alloc(count, sizeof *linear);
    ref_linear(x, rows, d->w, outputs, inputs, bias, y);
    if (d->matrix.pair) ref_linear(x, rows, d->linear, outputs, inputs, NULL, linear);
    for (size_t i = 0; i < count; i++) y[i] = layers_test_activate(activation, y[i]) * (d->matrix.pair ? linear[i] : 1);
    free(linear);
}

/* Rows of `inputs` with zeros up to a multiple of 32. */
static layers_buffer make_input(bench *b, uint32_t rows, uint32_t inputs, uint32_t stride, double *dense_rows)
{
    layers_buffer x = layers_test_buffer(&b->test, rows * stride);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < (inputs + 31) / 32 * 32; i++) {
            float value = i < inputs ? layers_test_random() : 0;
            x.floats[r * stride + i] = value;
            if (i < inputs) dense_rows[r * inputs + i] = value;
        }
    return x;
}

typedef struct linear_kind {
    retnet_weight_format source, format;
    uint32_t tokens, rows, inputs, activation;
    bool pair, bias, add;
} linear_kind;

static void test_linear(bench *b, const linear_kind *k)
{
    uint32_t x_stride = (k->inputs + 31) / 32 * 32 + 4, y_stride = k->rows + 3;
    dense d = make_dense(b, k->source, k->format, k->rows, k->inputs, k->pair);
    double *dense_x = layers_test_alloc(k->tokens * k->inputs, sizeof *dense_x);
    double *result = layers_test_alloc(k->tokens * k->rows, sizeof *result);
    layers_buffer x = make_input(b, k->tokens, k->inputs, x_stride, dense_x);
    layers_buffer y = layers_test_buffer(&b->test, k->tokens * y_stride),
                  bias = layers_test_buffer(&b->test, k->rows + 1);
    layers_test_fill(bias.floats, bias.count);
    apply(&d, dense_x, k->tokens, k->bias ? bias.floats + 1 : NULL, k->activation, result);
    double *expected = layers_test_expectation(&y, false);
    for (uint32_t t = 0; t < k->tokens; t++)
        for (uint32_t r = 0; r < k->rows; r++) {
            float before = layers_test_random();
            if (k->add) y.floats[t * y_stride + r] = before;
            expected[t * y_stride + r] = result[t * k->rows + r] + (k->add ? before : 0);
        }
    retnet_linear linear = {.matrix = d.matrix,
                            .rows = k->tokens,
                            .input = rows_at(&x, 0, x_stride),
                            .output = rows_at(&y, 0, y_stride),
                            .activation = (retnet_activation)k->activation,
                            .add = k->add};
    if (k->bias) linear.bias = vector_at(&bias, 1);
    begin(b);
    CHECK_INT(retnet_layers_linear(b->layers, &linear), RETNET_OK);
    run(b);
    char what[96];
    snprintf(what, sizeof what, "linear %ux%u from %s in %s", k->rows, k->inputs, retnet_weight_format_name(k->source),
             retnet_weight_format_name(k->format));
    /* What quantising costs: half a step of the largest of 32 weights. */
    double limit = k->format == RETNET_WEIGHTS_Q8 ? 1e-2 : k->format == RETNET_WEIGHTS_Q4 ? 0.15 : gelu_bound;
    layers_test_check(what, &y, false, expected, b->layers == b->halves ? fmax(limit, f16_bound) : limit);
    free(dense_x);
    free(result);
    layers_test_free(&b->test, &x);
    layers_test_free(&b->test, &y);
    layers_test_free(&b->test, &bias);
    free_dense(b, &d);
}

static void test_feed_forward(bench *b, uint32_t tokens, bool pair, uint32_t activation, bool biases)
{
    enum { MOST_TOKENS = 70, D = 40, I = 77, STRIDE = 64 };
    dense up = make_dense(b, RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F32, I, D, pair);
    dense down = make_dense(b, RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F32, D, I, false);
    double x_rows[MOST_TOKENS * D], hidden[MOST_TOKENS * I], result[MOST_TOKENS * D];
    layers_buffer x = make_input(b, tokens, D, STRIDE, x_rows), y = layers_test_buffer(&b->test, tokens * STRIDE);
    layers_buffer bias = layers_test_buffer(&b->test, I + D);
    layers_test_fill(bias.floats, bias.count);
    apply(&up, x_rows, tokens, biases ? bias.floats : NULL, activation, hidden);
    apply(&down, hidden, tokens, biases ? bias.floats + I : NULL, 0, result);
    double *expected = layers_test_expectation(&y, false);
    for (uint32_t i = 0; i < tokens * D; i++) expected[i / D * STRIDE + i % D] = result[i];
    retnet_feed_forward call = {.up = up.matrix,
                                .down = down.matrix,
                                .rows = tokens,
                                .input = rows_at(&x, 0, STRIDE),
                                .output = rows_at(&y, 0, STRIDE),
                                .activation = (retnet_activation)activation};
    if (biases) call.up_bias = vector_at(&bias, 0);
    if (biases) call.down_bias = vector_at(&bias, I);
    begin(b);
    CHECK_INT(retnet_layers_feed_forward(b->layers, &call), RETNET_OK);
    run(b);
    layers_test_check("feed-forward", &y, false, expected, b->layers == b->halves ? f16_bound : gelu_bound);
    layers_test_free(&b->test, &x);
    layers_test_free(&b->test, &y);
    layers_test_free(&b->test, &bias);
    free_dense(b, &up);
    free_dense(b, &down);
}

static void test_embedding(bench *b)
{
    enum { VOCABULARY = 70, D = 40, STRIDE = 64, TOKENS = 4 };
    static const uint32_t ids[TOKENS] = {69, 0, 64, 5};
    dense d = make_dense(b, RETNET_WEIGHTS_BF16, RETNET_WEIGHTS_BF16, VOCABULARY, D, false);
    layers_buffer tokens = layers_test_buffer(&b->test, TOKENS), y = layers_test_buffer(&b->test, TOKENS * STRIDE);
    memcpy(tokens.words, ids, sizeof ids);
    double *expected = layers_test_expectation(&y, false);
    for (uint32_t i = 0; i < TOKENS * STRIDE; i++)
        expected[i] = i % STRIDE < D ? 3.0 * d.w[ids[i / STRIDE] * D + i % STRIDE] : 0;
    retnet_embedding call = {
        .matrix = d.matrix, .tokens = vector_at(&tokens, 0), .rows = TOKENS, .output = rows_at(&y, 0, 0), .scale = 3};
    begin(b);
    CHECK_INT(retnet_layers_embedding(b->layers, &call), RETNET_OK);
    run(b);
    layers_test_check("embedding", &y, false, expected, 1e-7);
    layers_test_free(&b->test, &tokens);
    layers_test_free(&b->test, &y);
    free_dense(b, &d);
}

/* ---- On matrix units, where there are any ---------------------------------------------------------------------------
 */

/* Whether products were made in fp32 or from f16 shows in their last bits. */
static void test_is_on_units(bench *b)
{
    enum { ROWS = 64, SIZE = 64 };
    bool differ = rn_matmul_pays(b->test.device);
    double x_rows[ROWS * SIZE];
    dense d = make_dense(b, RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F32, SIZE, SIZE, false);
    layers_buffer x = make_input(b, ROWS, SIZE, SIZE, x_rows), y[2];
    for (int i = 0; i < 2; i++) {
        y[i] = layers_test_buffer(&b->test, ROWS * SIZE);
        retnet_linear linear = {
            .matrix = d.matrix, .rows = ROWS, .input = rows_at(&x, 0, SIZE), .output = rows_at(&y[i], 0, SIZE)};
        b->layers = i ? b->halves : b->floats;
        begin(b);
        CHECK_INT(retnet_layers_linear(b->layers, &linear), RETNET_OK);
        run(b);
    }
    CHECK_INT(memcmp(y[0].words, y[1].words, 4 * y[0].count) != 0, differ);
    for (int i = 0; i < 2; i++) layers_test_free(&b->test, &y[i]);
    layers_test_free(&b->test, &x);
    free_dense(b, &d);
}

static void test_units(bench *b)
{
    /* Formats and epilogues are matmul_test.c's to try: a software driver takes seconds to compile each. */
    static const linear_kind linears[] = {
        {RETNET_WEIGHTS_F16, RETNET_WEIGHTS_F16, 32, 65, 64, RETNET_ACTIVATION_SILU, .pair = true},
        {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_Q8, 33, 66, 96, 0, .add = true},
        {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_Q4, 1024, 66, 96, 0, .add = false}, /* unpacked first */
        {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F32, 40, 20, 45, 0, .bias = true},  /* not on them */
        {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F32, 31, 20, 45, 0, .add = false},
    };
    b->layers = b->halves;
    for (size_t i = 0; i < RN_COUNT(linears); i++) test_linear(b, &linears[i]);
    test_feed_forward(b, 70, true, RETNET_ACTIVATION_SILU, false);
    test_feed_forward(b, 70, false, RETNET_ACTIVATION_GELU, true);
    test_is_on_units(b);
    b->layers = b->floats;
}

/* ---- Many recordings before a reset ------------------------------------------------------------------------------ */

/* More calls than a pool has sets and a block has records, in recordings that follow each other in one command buffer.
 */
static void test_many(bench *b)
{
    enum { CALLS = 700, WIDTH = 33 };
    layers_buffer x = layers_test_buffer(&b->test, WIDTH);
    layers_test_fill(x.floats, WIDTH);
    double values[WIDTH], *expected = layers_test_expectation(&x, false);
    for (uint32_t i = 0; i < WIDTH; i++) values[i] = x.floats[i];
    for (int i = 0; i < 2; i++) ref_layer_norm(values, 1, WIDTH, 0, NULL, NULL, values); /* and then nothing changes */
    memcpy(expected, values, sizeof values);
    retnet_norm norm = {
        .kind = RETNET_NORM_LAYER, .rows = 1, .size = WIDTH, .input = rows_at(&x, 0, 0), .output = rows_at(&x, 0, 0)};
    VkCommandBuffer commands = layers_test_begin(&b->test)->commands;
    for (int i = 0; i < CALLS; i++) {
        CHECK_INT(retnet_layers_begin(b->layers, commands), RETNET_OK);
        CHECK_INT(retnet_layers_norm(b->layers, &norm), RETNET_OK);
        CHECK_INT(retnet_layers_end(b->layers), RETNET_OK);
    }
    layers_test_run(&b->test);
    CHECK_INT(retnet_layers_reset(b->layers), RETNET_OK);
    layers_test_check("a row that is normalised again and again", &x, false, expected, 1e-5);
    layers_test_free(&b->test, &x);
}

/* ---- Refusals ---------------------------------------------------------------------------------------------------- */

/* The call is refused, with a message that has `part`, and so is all that comes after it in the recording. */
#define REFUSED(call, expected, part)                                                                                  \
    do {                                                                                                               \
        char message_[256];                                                                                            \
        begin(b);                                                                                                      \
        layers_test_expect_errors(true);                                                                               \
        CHECK_INT(call, expected);                                                                                     \
        retnet_context_last_message(b->test.context, message_, sizeof message_);                                       \
        if (!strstr(message_, part)) TEST_FAIL("\"%s\" is not in \"%s\"", part, message_);                             \
        CHECK_INT(retnet_layers_end(b->layers), expected);                                                             \
        layers_test_expect_errors(false);                                                                              \
        layers_test_run(&b->test);                                                                                     \
    } while (0)

#define REFUSED_WITH(desc, function, field, value, expected, part)                                                     \
    do {                                                                                                               \
        __typeof__(desc) changed_ = desc;                                                                              \
        changed_.field = (value);                                                                                      \
        REFUSED(function(b->layers, &changed_), expected, part);                                                       \
    } while (0)

/* Scratch for f16 is asked for whatever the device. */
static void test_units_refusals(bench *b, retnet_linear linear)
{
    CHECK_INT(retnet_linear_scratch_bytes(31, 4096), 0);
    CHECK(retnet_linear_scratch_bytes(1 << 20, 8) > SCRATCH_BYTES);
    CHECK(retnet_feed_forward_scratch_bytes(64, 1024, 8) > retnet_linear_scratch_bytes(64, 1024));
    linear.rows = 1 << 20;
    b->layers = b->halves;
    REFUSED(retnet_layers_linear(b->layers, &linear), RETNET_ERROR_LIMIT, "linear: a scratch");
    CHECK_INT(retnet_layers_reset(b->layers), RETNET_OK);
    b->layers = b->floats;
}

static void test_retention_refusals(bench *b, const layers_buffer *x)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    const float decay[2] = {0.5f, 1};
    const retnet_sequence one = {0, 1, 0, 0}, none = {0, 0, 0, 0}, far = {0, 2, 0, (1u << 30) - 1}, two = {0, 2, 0, 0};
    retnet_tables *tables = NULL;
    REQUIRE(retnet_tables_create(b->test.context, &(retnet_tables_desc){.heads = 2, .decay = decay}, &tables) ==
            RETNET_OK);
    retnet_retention r = {
        .heads = 2,
        .key_size = 4,
        .value_size = 3,
        .tables = tables,
        .query = rows_at(x, 0, 32),
        .key = rows_at(x, 8, 32),
        .value = rows_at(x, 16, 32),
        .output = rows_at(x, 64, 0),
        .state = vector_at(x, 128),
        .sequences = &one,
        .sequence_count = 1,
    };
#define RETENTION(field, value, part)                                                                                  \
    REFUSED_WITH(r, retnet_layers_retention_recurrent, field, value, invalid, part);                                   \
    REFUSED_WITH(r, retnet_layers_retention_parallel, field, value, invalid, part);                                    \
    REFUSED_WITH(r, retnet_layers_retention_chunkwise, field, value, invalid, part)
    RETENTION(heads, 0, "0 heads");
    RETENTION(heads, 3, "3 heads");
    RETENTION(key_value_heads, 3, "3 of keys and values");
    RETENTION(key_size, 3, "K 3");
    RETENTION(value_size, 0, "V 0");
    RETENTION(tables, NULL, "tables");
    RETENTION(scale, -1, "scale");
    RETENTION(query.buffer, VK_NULL_HANDLE, "several buffers");
    RETENTION(key.stride, 33, "one stride");
    RETENTION(output.buffer, VK_NULL_HANDLE, "output has no buffer");
    RETENTION(output.stride, 5, "a stride of 5");
    RETENTION(state.offset, 1028, "1028");
    RETENTION(sequence_count, 0, "no sequences");
    RETENTION(sequences, &none, "no tokens");
    RETENTION(sequences, &far, "position");
    RETENTION(score_norm, RETNET_SCORE_NORM_RECURRENT, "c2 has no buffer");
    REFUSED_WITH(r, retnet_layers_retention_recurrent, sequences, &two, invalid, "2 tokens");
    REFUSED_WITH(r, retnet_layers_retention_recurrent, state.buffer, VK_NULL_HANDLE, invalid, "state has no buffer");
    REFUSED_WITH(r, retnet_layers_retention_chunkwise, chunk, 65, invalid, "chunks of 65");
    r.key_size = 512;
    r.value_size = 600;
    r.query.stride = r.key.stride = r.value.stride = 4096;
    REFUSED(retnet_layers_retention_chunkwise(b->layers, &r), RETNET_ERROR_LIMIT, "scratch");
    retnet_tables_destroy(tables);
#undef RETENTION
}

static void test_refusals(bench *b)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    layers_buffer x = layers_test_buffer(&b->test, 4096);
    retnet_norm norm = {.rows = 1, .size = 8, .input = rows_at(&x, 0, 0), .output = rows_at(&x, 8, 0)};
    REFUSED_WITH(norm, retnet_layers_norm, rows, 0, invalid, "0 rows");
    REFUSED_WITH(norm, retnet_layers_norm, size, 0, invalid, "of 0");
    REFUSED_WITH(norm, retnet_layers_norm, eps, -1, invalid, "eps");
    REFUSED_WITH(norm, retnet_layers_norm, input.offset, 2, invalid, "multiple of 4");
    REFUSED_WITH(norm, retnet_layers_norm, c2, ((retnet_rows){b->test.device ? (VkBuffer)(uintptr_t)8 : NULL, 0, 0}),
                 invalid, "two buffers");
    retnet_linear linear = {.matrix = {x.buffer.handle, 256, RETNET_WEIGHTS_F32, 8, 8, false},
                            .rows = 1,
                            .input = rows_at(&x, 2048, 0),
                            .output = rows_at(&x, 3072, 0)};
    REFUSED_WITH(linear, retnet_layers_linear, rows, 0, invalid, "no rows");
    REFUSED_WITH(linear, retnet_layers_linear, matrix.format, RETNET_WEIGHTS_AS_STORED, invalid, "format 0");
    REFUSED_WITH(linear, retnet_layers_linear, matrix.offset, 128, invalid, "256");
    REFUSED_WITH(linear, retnet_layers_linear, input.stride, 10, invalid, "multiple of 4");
    REFUSED_WITH(linear, retnet_layers_linear, output.offset, 4, invalid, "256");
    REFUSED_WITH(linear, retnet_layers_linear, activation, (retnet_activation)9, invalid, "activation 9");
    retnet_linear pair = linear;
    pair.matrix.pair = true;
    REFUSED_WITH(pair, retnet_layers_linear, add, true, invalid, "pair");
    retnet_feed_forward feed = {
        .up = linear.matrix, .down = linear.matrix, .rows = 1, .input = linear.input, .output = linear.output};
    REFUSED_WITH(feed, retnet_layers_feed_forward, down.inputs, 9, invalid, "down from 9");
    REFUSED_WITH(feed, retnet_layers_feed_forward, rows, 1 << 20, RETNET_ERROR_LIMIT, "scratch");
    test_retention_refusals(b, &x);
    test_units_refusals(b, linear);

    layers_test_expect_errors(true);
    CHECK_INT(retnet_layers_norm(b->layers, &norm), invalid); /* outside a recording */
    CHECK_INT(retnet_layers_end(b->layers), invalid);
    CHECK_INT(retnet_layers_begin(b->layers, VK_NULL_HANDLE), invalid);
    retnet_tables *tables = (retnet_tables *)b;
    const float bad = 1.5f;
    CHECK_INT(retnet_tables_create(b->test.context, &(retnet_tables_desc){.heads = 1, .decay = &bad}, &tables),
              invalid);
    CHECK(!tables);
    CHECK_INT(retnet_tables_create(b->test.context, &(retnet_tables_desc){.heads = 1}, &tables), invalid);
    layers_test_expect_errors(false);
    CHECK_INT(retnet_layers_norm(NULL, &norm), invalid);
    CHECK_INT(retnet_matrix_bytes(NULL), 0);
    CHECK_INT(retnet_retention_state_bytes(UINT32_MAX, UINT32_MAX, UINT32_MAX), 0);
    retnet_layers_destroy(NULL);
    retnet_tables_destroy(NULL);
    CHECK_INT(retnet_layers_reset(b->layers), RETNET_OK);
    layers_test_free(&b->test, &x);
}

int main(void)
{
    static const norm_kind norms[] = {
        {.groups = 1, .size = 33},
        {.groups = 1, .size = 64, .weight = true, .in_place = true},
        {.layer = true, .groups = 1, .size = 33, .weight = true, .bias = true},
        {.groups = 3, .size = 27, .weight = true, .gate = true},
        {.groups = 3, .size = 27, .gate = true, .c2 = true},
        {.groups = 2, .size = 428, .c2 = true},
        {.layer = true, .groups = 3, .size = 27, .gate = true, .c2 = true},
    };
    static const linear_kind linears[] = {
        {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_F32, 3, 70, 45, RETNET_ACTIVATION_GELU, .bias = true},
        {RETNET_WEIGHTS_F16, RETNET_WEIGHTS_F16, 1, 65, 64, RETNET_ACTIVATION_SILU, .pair = true},
        {RETNET_WEIGHTS_BF16, RETNET_WEIGHTS_BF16, 9, 64, 33, RETNET_ACTIVATION_RELU, .add = true},
        {RETNET_WEIGHTS_BF16, RETNET_WEIGHTS_F32, 2, 5, 31, 0, .add = false},
        {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_Q8, 2, 66, 96, 0, .add = false},
        {RETNET_WEIGHTS_F32, RETNET_WEIGHTS_Q4, 2, 66, 96, 0, .add = false},
    };
    bench b = {.test = layers_test_create()};
    retnet_layers_desc desc = {.scratch_bytes = SCRATCH_BYTES};
    REQUIRE(retnet_layers_create(b.test.context, &desc, &b.floats) == RETNET_OK);
    b.test.device->slow_matrices = true;
    desc.matrix_units = true;
    REQUIRE(retnet_layers_create(b.test.context, &desc, &b.halves) == RETNET_OK);
    b.layers = b.floats;
    for (int i = 0; i < 4; i++) test_rotation(&b, i % 2, i / 2, i ? 60 : 16);
    for (size_t i = 0; i < RN_COUNT(norms); i++) test_norm(&b, &norms[i]);
    for (size_t i = 0; i < RN_COUNT(linears); i++) test_linear(&b, &linears[i]);
    test_feed_forward(&b, 5, true, RETNET_ACTIVATION_SILU, false);
    test_feed_forward(&b, 5, false, RETNET_ACTIVATION_GELU, true);
    test_embedding(&b);
    test_many(&b);
    test_units(&b);
    test_refusals(&b);
    retnet_layers_destroy(b.floats);
    retnet_layers_destroy(b.halves);
    return layers_test_finish(&b.test, test_failures);
}
