/* linear_test.c: projections (linear*.comp) against plain sums in double precision over the same weights: every format,
 * prologue, epilogue and activation, over odd and even shapes. */
#include "layers/layers_test.h"
#include "reference/reference.h"

typedef struct shape {
    uint32_t rows, inputs;
} shape;

/* What a kernel is specialised for, but for the number of columns. */
typedef struct kind {
    retnet_weight_format format;
    rn_linear_prologue prologue;
    rn_linear_epilogue epilogue;
    uint32_t activation;
    bool has_bias;
    uint32_t heads, tiles; /* GROUP_NORM */
} kind;

/* Where things lie in params, in a column of x behind the inputs, and between the columns of y. */
enum { NORM_WEIGHT_AT = 8, BIAS_AT = 8 + 2000 + 3, SCALE_AT = 5, GAP = 7 };

typedef struct buffers {
    layers_matrix matrix;
    layers_buffer x, y, params;
    double *normed; /* [columns, inputs] */
} buffers;

static const float eps = 0.05f; /* so large that forgetting it shows */

static uint32_t padded(uint32_t size)
{
    return rn_divide_up(size, RN_BLOCK_INPUTS) * RN_BLOCK_INPUTS;
}

/* ---- Input ------------------------------------------------------------------------------------------------------- */

/* The factor that the prologue takes from behind a column, after writing what it takes it from there. */
static void apply_stored_factors(const kind *k, uint32_t inputs, float *behind, double *normed)
{
    if (k->prologue == RN_PROLOGUE_ROW_SCALE) {
        behind[SCALE_AT] = 0.5f + fabsf(layers_test_random());
        for (uint32_t i = 0; i < inputs; i++) normed[i] *= behind[SCALE_AT];
    }
    for (uint32_t head = 0; k->prologue == RN_PROLOGUE_GROUP_NORM && head < k->heads; head++) {
        uint32_t size = inputs / k->heads;
        double sum = 0;
        for (uint32_t tile = 0; tile < k->tiles; tile++) {
            float *part = behind + SCALE_AT + head * k->tiles + tile;
            *part = (0.1f + fabsf(layers_test_random())) * (float)size;
            sum += *part;
        }
        for (uint32_t i = 0; i < size; i++) normed[head * size + i] /= sqrt(sum / size);
    }
}

static void fill_column(const kind *k, uint32_t inputs, const float *weight, float *x, double *normed)
{
    layers_test_fill(x, inputs);
    for (uint32_t i = 0; i < inputs; i++) normed[i] = x[i];
    /* The padding meets weights of zero, but an RMS norm sums over it. */
    for (uint32_t i = inputs; i < padded(inputs); i++) x[i] = k->prologue == RN_PROLOGUE_RMS_NORM ? 0 : 1000;
    if (k->prologue == RN_PROLOGUE_RMS_NORM) ref_rms_norm(normed, 1, inputs, eps, weight, normed);
    apply_stored_factors(k, inputs, x + padded(inputs), normed);
}

static void fill_params(const shape *s, layers_buffer *params)
{
    layers_test_fill(params->floats + NORM_WEIGHT_AT, rn_divide_up(s->inputs, 4) * 4); /* read in fours */
    layers_test_fill(params->floats + BIAS_AT, s->rows);
}

/* ---- Expectation ------------------------------------------------------------------------------------------------- */

static double expected_value(const kind *k, const shape *s, const buffers *b, uint32_t column, uint32_t row)
{
    const double *x = b->normed + (size_t)column * s->inputs, *w = b->matrix.w;
    double value = ref_dot(w + (size_t)row * s->inputs, x, s->inputs);
    if (k->has_bias) value += b->params.floats[BIAS_AT + row];
    value = layers_test_activate(k->activation, value);
    if (k->epilogue == RN_EPILOGUE_GLU) value *= ref_dot(w + (size_t)(s->rows + row) * s->inputs, x, s->inputs);
    return value;
}

/* Also fills what an epilogue adds to. */
static double *expect(const kind *k, const shape *s, uint32_t columns, buffers *b)
{
    double *expected = layers_test_expectation(&b->y, false);
    for (uint32_t column = 0; column < columns; column++) {
        for (uint32_t row = 0; row < s->rows; row++) {
            size_t at = (size_t)column * (s->rows + GAP) + row;
            expected[at] = expected_value(k, s, b, column, row);
            if (k->epilogue != RN_EPILOGUE_ADD) continue;
            b->y.floats[at] = layers_test_random();
            expected[at] += b->y.floats[at];
        }
    }
    return expected;
}

/* What projections are shared out by; zero: the library's choice. */
static rn_linear_shape shape_wanted;

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

static rn_linear describe(const kind *k, const shape *s, uint32_t columns, const buffers *b, uint32_t x_stride)
{
    return (rn_linear){
        .matrix = &b->matrix.matrix,
        .input = layers_test_binding(&b->x),
        .output = layers_test_binding(&b->y),
        .params = layers_test_binding(&b->params),
        .columns = columns,
        .x_stride = x_stride,
        .y_stride = s->rows + GAP,
        .prologue = k->prologue,
        .scale_offset = padded(s->inputs) + SCALE_AT,
        .norm_weight = NORM_WEIGHT_AT,
        .eps = eps,
        .heads = k->heads,
        .head_size = k->heads ? s->inputs / k->heads : 0,
        .tiles = k->tiles,
        .epilogue = k->epilogue,
        .activation = k->activation,
        .has_bias = k->has_bias,
        .bias = BIAS_AT,
        .shape = shape_wanted,
    };
}

static void record(rn_recorder *recorder, const void *linear)
{
    rn_linear_record(recorder, linear);
}

static void make_buffers(layers_test *test, const kind *k, const shape *s, uint32_t columns, uint32_t x_stride,
                         buffers *b)
{
    b->x = layers_test_buffer(test, (size_t)columns * x_stride);
    b->y = layers_test_buffer(test, (size_t)columns * (s->rows + GAP));
    b->params = layers_test_buffer(test, BIAS_AT + s->rows);
    b->normed = layers_test_alloc((size_t)columns * s->inputs, sizeof *b->normed);
    layers_test_matrix(test, k->format, s->rows, s->inputs, k->epilogue == RN_EPILOGUE_GLU, &b->matrix);
    fill_params(s, &b->params);
    for (uint32_t column = 0; column < columns; column++)
        fill_column(k, s->inputs, b->params.floats + NORM_WEIGHT_AT, b->x.floats + (size_t)column * x_stride,
                    b->normed + (size_t)column * s->inputs);
}

static void free_buffers(layers_test *test, buffers *b)
{
    free(b->normed);
    layers_test_free(test, &b->x);
    layers_test_free(test, &b->y);
    layers_test_free(test, &b->params);
    layers_test_free_matrix(test, &b->matrix);
}

/* Where 4-bit weights are multiplied as bytes, the column is rounded by up to 1/65,200 of the largest number of each
 * block of 32, which makes 1.5e-5 in RMS of numbers that are evenly spread, a tenth of what f16 would; GLU multiplies
 * two such sums. A single sum may be small beside its terms. */
static double bound(const layers_test *test, const kind *k, uint32_t rows, uint32_t columns)
{
    const rn_capabilities *caps = &test->device->caps;
    if (k->format != RETNET_WEIGHTS_Q4 || columns > 1 || !caps->byte_dots || caps->is_cpu) return 5e-6;
    return rows == 1 ? 2e-4 : k->epilogue == RN_EPILOGUE_GLU ? 1e-4 : 5e-5;
}

/* `range`: bytes that the device binds at once; 0: all that it can. */
static void check(layers_test *test, const kind *wanted, shape s, uint32_t columns, uint64_t range)
{
    kind k = *wanted;
    /* Of the prologues this one is for GPUs only. */
    if (k.prologue == RN_PROLOGUE_ROW_SCALE && test->device->caps.is_cpu) k.prologue = RN_PROLOGUE_NONE;
    uint32_t x_stride = padded(s.inputs) + padded(SCALE_AT + rn_max_u32(k.heads * k.tiles, 1));
    buffers b;
    make_buffers(test, &k, &s, columns, x_stride, &b);
    double *expected = expect(&k, &s, columns, &b);

    char what[160];
    snprintf(what, sizeof what, "%u x %u x %u, format %d, prologue %d, epilogue %d, activation %u%s", columns, s.rows,
             s.inputs, k.format, k.prologue, k.epilogue, k.activation, k.has_bias ? ", bias" : "");
    uint64_t all = test->device->caps.max_storage_range;
    if (range) test->device->caps.max_storage_range = range;
    rn_linear linear = describe(&k, &s, columns, &b, x_stride);
    layers_test_run_each_way(test, what, record, &linear, (layers_buffer *[]){&b.y}, 1);
    test->device->caps.max_storage_range = all;
    layers_test_check(what, &b.y, false, expected, bound(test, &k, s.rows, columns));
    free_buffers(test, &b);
}

/* Two or three blocks of inputs: with as many blocks as splits, a kernel for a GPU is the same for all of these. */
static const shape narrow[] = {{63, 33}, {1, 64}, {428, 63}, {1000, 65}};
static const shape others[] = {{31, 1000}, {33, 1}, {64, 428}, {65, 31}, {520, 32}, {129, 1000}, {1, 428}};

/* Every format for one column and for two, over all shapes; more columns for the one that compiles fastest. */
static void check_formats(layers_test *test)
{
    static const retnet_weight_format formats[] = {RETNET_WEIGHTS_Q4, RETNET_WEIGHTS_F16, RETNET_WEIGHTS_F32,
                                                   RETNET_WEIGHTS_BF16, RETNET_WEIGHTS_Q8};
    static const uint32_t columns[] = {1, 2, 3, 5, 9};
    for (size_t f = 0; f < RN_COUNT(formats); f++)
        for (size_t c = 0; c < (f == 0 ? RN_COUNT(columns) : 2); c++)
            for (size_t s = 0; s < RN_COUNT(narrow); s++)
                check(test, &(kind){.format = formats[f]}, narrow[s], columns[c], 0);
    for (size_t s = 0; s < RN_COUNT(others); s++) {
        check(test, &(kind){.format = formats[s % 5]}, others[s], 1, 0);
        check(test, &(kind){.format = formats[s % 5]}, others[s], 2, 0);
    }
}

/* What else a kernel can do, each with the others in turn; mostly of the formats that software drivers compile fast. */
static void check_epilogues(layers_test *test)
{
    static const struct {
        kind kind;
        uint32_t columns;
    } cases[] = {
        {{RETNET_WEIGHTS_Q8, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_ADD, 0, true, 0, 0}, 2},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_NONE, RN_EPILOGUE_GLU, 1, false, 0, 0}, 9},
        {{RETNET_WEIGHTS_Q8, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_GLU, 2, true, 0, 0}, 2},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_STORE, 2, false, 0, 0}, 5},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_NONE, RN_EPILOGUE_ADD, 3, true, 0, 0}, 1},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_GLU, 3, false, 0, 0}, 1},
    };
    for (size_t i = 0; i < RN_COUNT(cases); i++)
        for (size_t s = 0; s < RN_COUNT(narrow); s++) check(test, &cases[i].kind, narrow[s], cases[i].columns, 0);
}

/* Many columns, which GPUs without matrix units take in tiles (linear_tiles.comp): every format, and what an epilogue
 * does. A matrix of fewer panels is left to linear.comp. */
static void check_tiles(layers_test *test)
{
    static const struct {
        kind kind;
        shape shape;
        uint32_t columns;
    } cases[] = {
        {{RETNET_WEIGHTS_F32, RN_PROLOGUE_NONE, RN_EPILOGUE_STORE, 0, false, 0, 0}, {1000, 65}, 33},
        {{RETNET_WEIGHTS_F16, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_ADD, 3, true, 0, 0}, {961, 31}, 64},
        {{RETNET_WEIGHTS_BF16, RN_PROLOGUE_NONE, RN_EPILOGUE_STORE, 0, false, 0, 0}, {1023, 96}, 40},
        {{RETNET_WEIGHTS_F16, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_GLU, 1, true, 0, 0}, {520, 128}, 130},
        {{RETNET_WEIGHTS_Q8, RN_PROLOGUE_NONE, RN_EPILOGUE_GLU, 2, false, 0, 0}, {481, 33}, 65},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_NONE, RN_EPILOGUE_ADD, 0, false, 0, 0}, {34 * 64 + 27, 512}, 32},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_NONE, RN_EPILOGUE_STORE, 0, false, 0, 0}, {129, 64}, 70}, /* too few panels */
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_ADD, 0, true, 0, 0},
         {17 * 64 + 5, 33},
         9}, /* in pairs */
    };
    for (size_t i = 0; i < RN_COUNT(cases) && !test->device->caps.is_cpu; i++) {
        rn_matrix matrix = {.format = cases[i].kind.format, .inputs = cases[i].shape.inputs};
        check(test, &cases[i].kind, cases[i].shape, cases[i].columns, 0);
        /* In three bindings. */
        if (i == 5) check(test, &cases[i].kind, cases[i].shape, 32, 16 * rn_matrix_panel_bytes(&matrix));
    }
}

/* Norms on the way in. For GPUs one column, and a kernel for each number of blocks; on software drivers heads are whole
 * blocks. */
static void check_norms(layers_test *test)
{
    static const struct {
        kind kind;
        shape shape;
        uint32_t columns;
        bool gpu, cpu;
    } cases[] = {
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE, 0, false, 0, 0}, {65, 428}, 1, true, true},
        {{RETNET_WEIGHTS_Q8, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_GLU, 1, false, 0, 0}, {63, 33}, 1, true, true},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE, 2, true, 0, 0}, {31, 1000}, 1, true, true},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE, 2, true, 0, 0}, {428, 1}, 3, false, true},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE, 2, true, 0, 0}, {33, 65}, 9, false, true},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_ADD, 0, false, 32, 2}, {65, 32 * 27}, 1, true, false},
        {{RETNET_WEIGHTS_Q8, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_ADD, 0, true, 4, 27}, {428, 428}, 1, true, false},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_ADD, 0, false, 32, 2}, {65, 32 * 32}, 1, true, true},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_STORE, 0, false, 1, 1}, {33, 27}, 1, true, false},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_ADD, 0, true, 3, 27}, {428, 3 * 96}, 2, false, true},
    };
    for (size_t i = 0; i < RN_COUNT(cases); i++)
        if (test->device->caps.is_cpu ? cases[i].cpu : cases[i].gpu)
            check(test, &cases[i].kind, cases[i].shape, cases[i].columns, 0);
}

/* A matrix in several bindings. The least that a device binds at once is 128 MiB, so the limit comes down instead. */
static void check_bindings(layers_test *test)
{
    static const struct {
        kind kind;
        shape shape;
    } cases[] = {
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_NONE, RN_EPILOGUE_ADD, 3, true, 0, 0}, {34 * 64 + 27, 33}},
        {{RETNET_WEIGHTS_Q4, RN_PROLOGUE_ROW_SCALE, RN_EPILOGUE_GLU, 3, false, 0, 0}, {17 * 64 + 27, 33}},
    };
    for (size_t i = 0; i < RN_COUNT(cases); i++) {
        rn_matrix matrix = {.format = cases[i].kind.format, .inputs = cases[i].shape.inputs};
        check(test, &cases[i].kind, cases[i].shape, 1, 16 * rn_matrix_panel_bytes(&matrix));
    }
}

/* Workgroups that make several tiles, of more or less rows, and large ones. */
static void check_shapes(layers_test *test)
{
    static const rn_linear_shape shapes[] = {{16, 32, 1, 2, 2}, {16, 32, 2, 4, 1}, {8, 32, 1, 8, 3},
                                             {8, 64, 2, 1, 2},  {16, 64, 2, 2, 2}, {32, 32, 1, 4, 1}};
    static const kind kinds[] = {
        {RETNET_WEIGHTS_Q4, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_GLU, 1, false, 0, 0},
        {RETNET_WEIGHTS_F16, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE, 0, true, 0, 0},
        {RETNET_WEIGHTS_Q4, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_ADD, 0, false, 4, 31},
    };
    if (test->device->caps.is_cpu) return;
    for (size_t i = 0; i < RN_COUNT(shapes) * RN_COUNT(kinds); i++) {
        shape_wanted = shapes[i % RN_COUNT(shapes)];
        check(test, &kinds[i / RN_COUNT(shapes)], (shape){145, 2000}, 1, 0);
    }
    shape_wanted = (rn_linear_shape){0};
}

/* Columns at the ends of what bytes hold (linear_dots.glsl): blocks of the number given, its negative and less. */
static void check_rounding(layers_test *test, retnet_weight_format format)
{
    static const float largest[] = {1.0f,  1.99999f, 32635.0f / 16384, 32637.0f / 16384, 32639.5f / 16384, 3e-30f,
                                    3e30f, 0};
    const kind k = {.format = format};
    const shape s = {64, 2 * 32};
    buffers b;
    make_buffers(test, &k, &s, 1, 2 * 64, &b);
    rn_linear linear = describe(&k, &s, 1, &b, 2 * 64);
    for (size_t i = 0; i < RN_COUNT(largest); i++) {
        for (uint32_t n = 0; n < s.inputs; n++) {
            float share = n % 32 == 0 ? 1 : n % 32 == 1 ? -1 : layers_test_random();
            b.x.floats[n] = largest[i] * share;
            b.normed[n] = b.x.floats[n];
        }
        layers_test_run_each_way(test, "rounding", record, &linear, (layers_buffer *[]){&b.y}, 1);
        for (uint32_t row = 0; row < s.rows; row++) {
            double weights = 0, expected = expected_value(&k, &s, &b, 0, row);
            for (uint32_t n = 0; n < s.inputs; n++) weights += fabs(b.matrix.w[row * s.inputs + n]);
            /* The rest is for the rounding of sums. */
            CHECK_AT_MOST(fabs(b.y.floats[row] - expected),
                          ((format == RETNET_WEIGHTS_Q4 ? 1.0 / 65200 : 0) + 1e-6) * largest[i] * weights);
        }
    }
    free_buffers(test, &b);
}

int main(void)
{
    layers_test test = layers_test_create();
    check_rounding(&test, RETNET_WEIGHTS_Q4);
    check_rounding(&test, RETNET_WEIGHTS_Q8);
    check_formats(&test);
    check_epilogues(&test);
    check_tiles(&test);
    check_norms(&test);
    check_shapes(&test);
    check_bindings(&test);
    return layers_test_finish(&test, test_failures);
}
