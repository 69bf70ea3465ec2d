/* pack_test.c: matrices as checkpoints hold them, put into panels (pack.comp through lib/model/upload.c), against what
 * shaders/weights.glsl says of panels: every kind of source in every format, odd rows and inputs, zero padding. Where a
 * conversion is exact, or its rounding is the shader's own, bits are compared: those of 4 bits always. */
#include "layers/layers_test.h"
#include "model/upload.h"

/* Rows of a source that go to one place of a matrix. */
typedef struct piece {
    uint32_t first_row, rows, to_row;
    uint32_t rotation_head; /* as in rn_matrix_source */
    bool second;
} piece;

enum { MAX_PIECES = 4 };

typedef struct layout {
    uint32_t rows, inputs; /* of the matrix */
    bool alternating;
    piece pieces[MAX_PIECES]; /* until one of no rows */
    uint32_t groups;          /* workgroups that a dispatch may have; 0: as many as the device allows */
} layout;

/* A tensor in a file, and what it stands for. */
typedef struct source {
    rn_tensor tensor, scales;
    uint8_t *data;
    uint16_t *scale_data;
    double *values; /* [rows, inputs] */
    uint32_t inputs;
} source;

typedef struct target {
    rn_matrix matrix;
    layers_buffer panels;
    size_t wrong;
    char first_wrong[160];
} target;

/* ---- Sources ----------------------------------------------------------------------------------------------------- */

/* Zeros and numbers that are far from the subnormals of f16, which devices may flush. */
static float random_value(void)
{
    float value = layers_test_random();
    if (fabsf(value) < 0.02f) return 0;
    return value < 0 ? value - 0.01f : value + 0.01f;
}

/* q as in a file: I8, or the first of two weights in the lower half of a U8, plus 8. */
static int quantised(const source *s, size_t row, uint32_t input)
{
    if (s->tensor.dtype == RN_DTYPE_I8) return (int8_t)s->data[row * s->inputs + input];
    return (s->data[row * ((s->inputs + 1) / 2) + input / 2] >> input % 2 * 4 & 15) - 8;
}

/* The bytes of element i, and the number that they are. Whole blocks are zero now and then. */
static double put_element(source *s, size_t row, uint32_t input, uint32_t blocks)
{
    size_t i = row * s->inputs + input, byte = row * ((s->inputs + 1) / 2) + input / 2;
    float value = (row + input / 32) % 7 == 6 ? 0 : random_value();
    if (row % 5 == 4) value = rintf(value * 16) / 16; /* often halfway between two numbers of 4 bits */
    uint16_t half = s->tensor.dtype == RN_DTYPE_F16 ? rn_f32_to_f16(value) : rn_f32_to_bf16(value);
    switch (s->tensor.dtype) {
    case RN_DTYPE_F32: memcpy(s->data + 4 * i, &value, 4); return value;
    case RN_DTYPE_I8: s->data[i] = (uint8_t)(int)(value * 125.7f); break;
    case RN_DTYPE_U8: s->data[byte] |= (uint8_t)((int)(value * 7.9f + 8) << input % 2 * 4); break;
    default:
        memcpy(s->data + 2 * i, &half, 2);
        return s->tensor.dtype == RN_DTYPE_F16 ? rn_f16_to_f32(half) : rn_bf16_to_f32(half);
    }
    return quantised(s, row, input) * (double)rn_f16_to_f32(s->scale_data[row * blocks + input / 32]);
}

static source make_source(rn_dtype dtype, uint32_t rows, uint32_t inputs)
{
    uint32_t blocks = rn_divide_up(inputs, 32);
    size_t count = (size_t)rows * inputs;
    source s = {.inputs = inputs};
    s.data = layers_test_alloc(count, rn_dtype_size(dtype));
    s.scale_data = layers_test_alloc((size_t)rows * blocks, sizeof *s.scale_data);
    s.values = layers_test_alloc(count, sizeof *s.values);
    s.tensor = (rn_tensor){.dtype = dtype, .data = s.data};
    s.scales = (rn_tensor){.dtype = RN_DTYPE_F16, .data = (const uint8_t *)s.scale_data};
    for (size_t i = 0; i < (size_t)rows * blocks; i++) { /* those of 4 bits may have a sign */
        float scale = 0.01f + 0.02f * fabsf(layers_test_random());
        s.scale_data[i] = rn_f32_to_f16(dtype == RN_DTYPE_U8 && i % 2 ? -scale : scale);
    }
    for (size_t i = 0; i < count; i++) s.values[i] = put_element(&s, i / inputs, (uint32_t)(i % inputs), blocks);
    return s;
}

static void free_source(source *s)
{
    free(s->data);
    free(s->scale_data);
    free(s->values);
}

/* ---- What a block's row should hold ------------------------------------------------------------------------------ */

static void found_wrong(target *t, uint32_t row, uint32_t input, double actual, double expected)
{
    if (!t->wrong++)
        snprintf(t->first_wrong, sizeof t->first_wrong, "row %u, input %u: %.9g, expected %.9g", row, input, actual,
                 expected);
}

/* One of the two f16 numbers around a value: the device chooses how it rounds. Exact where there is but one. */
static bool rounds_to_half(double value, double actual)
{
    if (value == 0) return actual == 0;
    double nearest = rn_f16_to_f32(rn_f32_to_f16((float)value)), ulp = ldexp(1, ilogb(value) - 10);
    return nearest == value ? actual == value : fabs(actual - value) < ulp;
}

/* The scale of 8 bits is a quotient of the device's own, off by a few units of fp32 before it is rounded. That of 4
 * bits is exact. */
static bool is_scale(double value, double actual, bool divided)
{
    double nearest = rn_f16_to_f32(rn_f32_to_f16((float)value));
    return actual == nearest || (divided && fabs(actual - value) < ldexp(0.501, ilogb(value) - 10));
}

/* w: 32 values, zero beyond the inputs. */
static void check_floats(target *t, bool second, uint32_t row, uint32_t block, const double *w)
{
    retnet_weight_format format = t->matrix.format;
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t in_unit = format == RETNET_WEIGHTS_F32 ? 4 : 8;
        const uint8_t *unit = layers_test_unit(t->panels.words, &t->matrix, second, row, block, i / in_unit);
        float single;
        uint16_t half;
        memcpy(&single, unit + i % in_unit * (16 / in_unit), format == RETNET_WEIGHTS_F32 ? 4 : 2);
        memcpy(&half, &single, sizeof half);
        if (format == RETNET_WEIGHTS_F16) single = rn_f16_to_f32(half);
        if (format == RETNET_WEIGHTS_BF16) single = rn_bf16_to_f32(half);
        bool right = single == (float)w[i];
        if (format == RETNET_WEIGHTS_F16) right = rounds_to_half(w[i], single);
        if (format == RETNET_WEIGHTS_BF16) right = half == rn_f32_to_bf16((float)w[i]);
        if (!right) found_wrong(t, row, block * 32 + i, single, w[i]);
    }
}

/* The first of the largest. */
static double extreme_of(const double *w)
{
    double extreme = 0;
    for (uint32_t i = 0; i < 32; i++)
        if (fabs(w[i]) > fabs(extreme)) extreme = w[i];
    return extreme;
}

/* `from`: the row of a source that has this format itself, and stays as it is; or -1. */
static void check_quantised(target *t, const source *s, bool second, uint32_t row, uint32_t block, const double *w,
                            ptrdiff_t from)
{
    bool q8 = t->matrix.format == RETNET_WEIGHTS_Q8, keeps = from >= 0;
    double wanted = q8 ? fabs(extreme_of(w)) / 127 : extreme_of(w) / -8;
    if (keeps) wanted = rn_f16_to_f32(s->scale_data[(size_t)from * rn_matrix_blocks(&t->matrix) + block]);
    uint16_t bits;
    memcpy(&bits, layers_test_scale(t->panels.words, &t->matrix, second, row, block), sizeof bits);
    double scale = rn_f16_to_f32(bits);
    if (!is_scale(wanted, scale, q8 && !keeps)) found_wrong(t, row, block * 32, scale, wanted);
    for (uint32_t i = 0; i < 32; i++) {
        const uint8_t *unit = layers_test_unit(t->panels.words, &t->matrix, second, row, block, q8 ? i / 16 : 0);
        int q = q8 ? (int8_t)unit[i % 16] : (unit[i / 2] >> (i % 2 * 4) & 15) - 8;
        double steps = scale != 0 ? fmin(fmax(rint(w[i] / scale), q8 ? -127 : -8), q8 ? 127 : 7) : 0;
        if (keeps) steps = block * 32 + i < s->inputs ? quantised(s, (size_t)from, block * 32 + i) : 0;
        if (q != steps) found_wrong(t, row, block * 32 + i, q * scale, w[i]);
    }
}

static void check_row(target *t, const source *s, bool second, uint32_t row, uint32_t from)
{
    retnet_weight_format format = t->matrix.format;
    bool keeps = format == (s->tensor.dtype == RN_DTYPE_I8   ? RETNET_WEIGHTS_Q8
                            : s->tensor.dtype == RN_DTYPE_U8 ? RETNET_WEIGHTS_Q4
                                                             : RETNET_WEIGHTS_AS_STORED);
    for (uint32_t block = 0; block < rn_matrix_blocks(&t->matrix); block++) {
        size_t at = (size_t)from * s->inputs + block * 32;
        uint32_t count = rn_min_u32(32, s->inputs - block * 32);
        double w[32] = {0};
        memcpy(w, s->values + at, count * sizeof *w);
        if (format == RETNET_WEIGHTS_Q8 || format == RETNET_WEIGHTS_Q4)
            check_quantised(t, s, second, row, block, w, keeps ? (ptrdiff_t)from : -1);
        else
            check_floats(t, second, row, block, w);
    }
}

/* Rows that no source has are all zero bits. */
static void check_empty_row(target *t, bool second, uint32_t row)
{
    bool scaled = t->matrix.format == RETNET_WEIGHTS_Q8 || t->matrix.format == RETNET_WEIGHTS_Q4;
    uint32_t blocks = rn_matrix_blocks(&t->matrix);
    uint64_t row_bytes = rn_matrix_panel_bytes(&t->matrix) / blocks / RN_PANEL_ROWS;
    for (uint32_t block = 0; block < blocks; block++) {
        for (uint32_t i = 0; i < row_bytes / 16 * 16; i++)
            if (layers_test_unit(t->panels.words, &t->matrix, second, row, block, i / 16)[i % 16])
                found_wrong(t, row, block * 32, 1, 0);
        const uint8_t *scale = layers_test_scale(t->panels.words, &t->matrix, second, row, block);
        if (scaled && (scale[0] || scale[1])) found_wrong(t, row, block * 32, 1, 0);
    }
}

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

/* The source's row that a row of the matrix comes from; false if there is none. */
static bool origin(const layout *l, bool second, uint32_t row, uint32_t *from)
{
    for (const piece *p = l->pieces; p < l->pieces + MAX_PIECES && p->rows; p++) {
        if (p->second != second || row < p->to_row || row >= p->to_row + p->rows) continue;
        uint32_t at = row - p->to_row, head = p->rotation_head, in_head = head ? at % head : 0;
        if (head) at = at - in_head + (in_head < head / 2 ? 2 * in_head : 2 * (in_head - head / 2) + 1);
        *from = p->first_row + at;
        return true;
    }
    return false;
}

static void check_panels(target *t, const layout *l, const source *s)
{
    uint32_t branches = l->alternating ? 2 : 1, panel_rows = rn_matrix_panels(&t->matrix) / branches * RN_PANEL_ROWS;
    for (uint32_t branch = 0; branch < branches; branch++)
        for (uint32_t row = 0; row < panel_rows; row++) {
            uint32_t from;
            if (origin(l, branch != 0, row, &from))
                check_row(t, s, branch != 0, row, from);
            else
                check_empty_row(t, branch != 0, row);
        }
}

/* The guards are zeroed with the panels, and poisoned again. */
static target make_target(layers_test *test, rn_upload *upload, const layout *l, retnet_weight_format format)
{
    target t = {.matrix = {.format = format, .rows = l->rows, .inputs = l->inputs, .alternating = l->alternating}};
    t.matrix.bytes = rn_matrix_panels(&t.matrix) * rn_matrix_panel_bytes(&t.matrix);
    t.panels = layers_test_buffer(test, t.matrix.bytes / 4);
    t.matrix.offset = layers_test_binding(&t.panels).offset;
    CHECK_INT(rn_upload_zero(upload, &t.panels.buffer), RETNET_OK);
    uint32_t *words = t.panels.buffer.mapped;
    for (size_t i = 0; i < t.panels.buffer.size / 4; i++)
        if (words + i < t.panels.words || words + i >= t.panels.words + t.panels.count) words[i] = LAYERS_POISON;
    return t;
}

static void check(layers_test *test, rn_upload *upload, const layout *l, rn_dtype dtype, retnet_weight_format format)
{
    uint32_t source_rows = 0;
    for (uint32_t i = 0; i < MAX_PIECES; i++)
        source_rows = rn_max_u32(source_rows, l->pieces[i].first_row + l->pieces[i].rows);
    source s = make_source(dtype, source_rows, l->inputs);
    target t = make_target(test, upload, l, format);
    t.matrix.buffer = &t.panels.buffer;
    uint32_t all = test->device->caps.max_groups[0];
    if (l->groups) test->device->caps.max_groups[0] = l->groups;
    for (const piece *p = l->pieces; p < l->pieces + MAX_PIECES && p->rows; p++) {
        bool scaled = dtype == RN_DTYPE_I8 || dtype == RN_DTYPE_U8;
        rn_matrix_source from = {&s.tensor, scaled ? &s.scales : NULL, p->first_row, p->rows,
                                 l->inputs, p->rotation_head};
        CHECK_INT(rn_upload_matrix(upload, &from, &t.matrix, p->to_row, p->second), RETNET_OK);
    }
    CHECK_INT(rn_upload_flush(upload), RETNET_OK);
    test->device->caps.max_groups[0] = all;

    char what[160];
    snprintf(what, sizeof what, "%u x %u%s from %s to format %d", l->rows, l->inputs,
             l->alternating ? ", alternating" : "", rn_dtype_name(dtype), format);
    check_panels(&t, l, &s);
    if (t.wrong) TEST_FAIL("%s: %zu wrong, the first: %s", what, t.wrong, t.first_wrong);
    layers_test_check_guards(what, &t.panels);
    free_source(&s);
    layers_test_free(test, &t.panels);
}

/* Synthetic weights: below their amplitude, of their variance, and with the same padding. */
static void check_random(layers_test *test, rn_upload *upload)
{
    enum { ROWS = 77, INPUTS = 65 };
    layout l = {.rows = ROWS, .inputs = INPUTS};
    target t = make_target(test, upload, &l, RETNET_WEIGHTS_F32);
    t.matrix.buffer = &t.panels.buffer;
    CHECK_INT(rn_upload_random(upload, &t.matrix, 0, ROWS, false, 65537, 0.25f), RETNET_OK);
    CHECK_INT(rn_upload_flush(upload), RETNET_OK);
    double squares = 0;
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t i = 0; i < 96; i++) {
            float value;
            memcpy(&value, layers_test_unit(t.panels.words, &t.matrix, false, row, i / 32, i % 32 / 4) + i % 4 * 4, 4);
            if (!(fabsf(value) <= (i < INPUTS ? 0.25f : 0))) found_wrong(&t, row, i, value, 0);
            squares += value * value;
        }
    for (uint32_t row = ROWS; row < 128; row++) check_empty_row(&t, false, row);
    if (t.wrong) TEST_FAIL("random weights: %zu wrong, the first: %s", t.wrong, t.first_wrong);
    CHECK_AT_MOST(fabs(sqrt(3 * squares / (ROWS * INPUTS)) / 0.25 - 1), 0.05);
    layers_test_check_guards("random weights", &t.panels);
    layers_test_free(test, &t.panels);
}

/* For every source and format. */
static const layout plain[] = {
    {65, 33, false, {{2, 65, 0, 0, false}}, 0},
    {3, 1000, false, {{1, 3, 0, 0, false}}, 0},
    {1, 1, false, {{0, 1, 0, 0, false}}, 0},
    {77, 63, true, {{0, 77, 0, 0, false}, {77, 77, 0, 0, true}}, 0},
};
/* Matrices in one, with rotated heads, as of queries, keys and values; and those that take several dispatches, whose
 * bindings begin in the middle of the matrix. */
static const layout composed[] = {
    {207, 31, false, {{5, 120, 0, 60, false}, {125, 60, 120, 60, false}, {185, 27, 180, 0, false}}, 0},
    {1755, 65, false, {{0, 1680, 0, 60, false}, {1680, 75, 1680, 0, false}}, 6},
    {1500, 32, true, {{0, 1500, 0, 0, false}, {1500, 1500, 0, 0, true}}, 3},
};

int main(void)
{
    static const rn_dtype dtypes[] = {RN_DTYPE_F32, RN_DTYPE_F16, RN_DTYPE_BF16, RN_DTYPE_I8, RN_DTYPE_U8};
    layers_test test = layers_test_create();
    rn_upload upload;
    REQUIRE(rn_upload_begin(test.device, NULL, NULL, 0, &upload) == RETNET_OK);
    for (size_t d = 0; d < RN_COUNT(dtypes); d++)
        for (int format = RETNET_WEIGHTS_F32; format <= RETNET_WEIGHTS_Q4; format++) {
            for (size_t l = 0; l < RN_COUNT(plain); l++)
                check(&test, &upload, &plain[l], dtypes[d], (retnet_weight_format)format);
            size_t turn = (d + (size_t)format) % RN_COUNT(composed);
            check(&test, &upload, &composed[turn], dtypes[d], (retnet_weight_format)format);
        }
    check_random(&test, &upload);
    rn_upload_end(&upload);
    return layers_test_finish(&test, test_failures);
}
