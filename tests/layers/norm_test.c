/* norm_test.c: norms (norm.comp) against the reference: RMS, layer and group norm, their weights and gates, f16
 * outputs, and the norms that a projection finishes. Also that a row normalises to the same bits whichever kernel does
 * it. */
#include "layers/norm.h"
#include "layers/layers_test.h"
#include "layers/retention.h"
#include "model/params.h"
#include "reference/reference.h"

/* What a kernel is specialised for. */
typedef struct kind {
    rn_norm_mode mode;
    bool layer_norm, has_weight, has_bias, has_gate, eps_scaled, halves;
    bool eights; /* everything lies in eights, and a gate is f16 */
} kind;

typedef struct shape {
    uint32_t rows, segments, size;
} shape;

/* Rows before and after those that are normalised, the gaps behind rows, and where in params things lie. */
enum {
    FIRST_ROW = 3,
    LAST_ROWS = 2,
    GAP = 37,
    EVEN_GAP = 40,
    TILES = 3,
    WEIGHT_AT = 3,
    EVEN_WEIGHT_AT = 4,
    BIAS_AT = 4096,
    PARAMS_AT = 8192
};

static const float eps = 0.05f; /* so large that forgetting it shows */

typedef struct buffers {
    layers_buffer x, y, gate, params, records;
    double *normed; /* [rows, segments, size] */
    bool in_place;  /* x is the output, and y not used */
} buffers;

static uint32_t rows_in_all(const shape *s)
{
    return FIRST_ROW + s->rows + LAST_ROWS;
}

static uint32_t width(const shape *s)
{
    return s->segments * s->size;
}

static uint32_t x_stride(const kind *k, const shape *s)
{
    uint32_t stride = width(s) + s->segments * TILES + GAP;
    return k->eights ? rn_divide_up(stride, 4) * 4 : stride;
}

static uint32_t gap(const kind *k)
{
    return k->eights ? EVEN_GAP : GAP;
}

static uint32_t weight_at(const kind *k)
{
    return k->eights ? EVEN_WEIGHT_AT : WEIGHT_AT;
}

static uint32_t y_stride(const shape *s)
{
    return rn_divide_up(width(s), 32) * 32 + 32;
}

/* ---- Positions --------------------------------------------------------------------------------------------------- */

/* Heads whose decay reaches 1. */
static rn_config table_config(uint32_t heads)
{
    rn_config config = {.heads = heads, .key_size = 2, .score_normalised_eps = true};
    for (uint32_t h = 0; h < heads; h++) config.decay[h] = h + 1 < heads ? 1 - ldexpf(1, -2 - 3 * (int)h) : 1;
    return config;
}

/* Chunks of 1, 3, 1, 3, ... rows at positions far apart. */
static uint32_t make_chunks(const shape *s, rn_chunk_record *chunks)
{
    static const uint32_t positions[] = {0, 1022, 1053696, 1048575, 5, 999999};
    uint32_t count = 0, row = FIRST_ROW;
    while (row < FIRST_ROW + s->rows) {
        uint32_t length = rn_min_u32(count % 2 ? 3 : 1, FIRST_ROW + s->rows - row);
        chunks[count] = (rn_chunk_record){row, length, positions[count % RN_COUNT(positions)], 0};
        count++;
        row += length;
    }
    return count;
}

/* s_n of each row and segment, for the positions of the chunks. */
static void expand_sums(const shape *s, const rn_config *config, const rn_chunk_record *chunks, uint32_t count,
                        double *c2)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t t = 0; t < chunks[i].length; t++)
            for (uint32_t h = 0; h < s->segments; h++)
                c2[(chunks[i].row - FIRST_ROW + t) * s->segments + h] =
                    ref_decay_sum(config->decay[h], chunks[i].position + t);
}

/* ---- Input ------------------------------------------------------------------------------------------------------- */

static size_t gate_at(const kind *k, const shape *s, uint32_t row, uint32_t i)
{
    if (k->eights) return layers_test_half_at(rows_in_all(s), FIRST_ROW + row, gap(k) + i);
    return (size_t)(FIRST_ROW + row) * (width(s) + 2 * GAP) + gap(k) + i;
}

static void set_gate(const kind *k, const shape *s, buffers *b, uint32_t row, uint32_t i, float value)
{
    size_t at = gate_at(k, s, row, i);
    if (k->eights)
        b->gate.halves[at] = rn_f32_to_f16(value);
    else
        b->gate.floats[at] = value;
}

static float gate_of(const kind *k, const shape *s, const buffers *b, uint32_t row, uint32_t i)
{
    size_t at = gate_at(k, s, row, i);
    return k->eights ? rn_f16_to_f32(b->gate.halves[at]) : b->gate.floats[at];
}

/* Values around 0.7, so that a mean matters. */
static void fill_x(const kind *k, const shape *s, buffers *b)
{
    for (uint32_t row = 0; row < s->rows; row++) {
        float *x = b->x.floats + (size_t)(FIRST_ROW + row) * x_stride(k, s);
        layers_test_fill(x, width(s));
        for (uint32_t i = 0; i < width(s); i++) x[i] += 0.7f;
        for (uint32_t i = 0; i < width(s); i++) b->normed[(size_t)row * width(s) + i] = x[i];
        for (uint32_t i = 0; k->mode == RN_NORM_APPLY && i < s->segments * TILES; i++)
            x[width(s) + i] = (0.1f + fabsf(layers_test_random())) * (float)s->size;
        for (uint32_t i = 0; i < width(s); i++) set_gate(k, s, b, row, i, 4 * layers_test_random());
    }
    layers_test_fill(b->params.floats + weight_at(k), s->size);
    layers_test_fill(b->params.floats + BIAS_AT, s->size);
}

/* ---- Expectation ------------------------------------------------------------------------------------------------- */

static double *segment_of(double *normed, const shape *s, uint32_t row, uint32_t segment)
{
    return normed + (size_t)row * width(s) + (size_t)segment * s->size;
}

/* What retention_step left the sums for: x / sqrt(sum / size). */
static void apply_sums(const kind *k, const shape *s, const buffers *b)
{
    for (uint32_t row = 0; row < s->rows; row++) {
        const float *sums = b->x.floats + (size_t)(FIRST_ROW + row) * x_stride(k, s) + width(s);
        for (uint32_t segment = 0; segment < s->segments; segment++) {
            double sum = 0, *v = segment_of(b->normed, s, row, segment);
            for (uint32_t i = 0; i < TILES; i++) sum += sums[segment * TILES + i];
            for (uint32_t i = 0; i < s->size; i++) v[i] /= sqrt(sum / s->size);
        }
    }
}

static void normalise(const kind *k, const shape *s, const buffers *b, const double *c2)
{
    if (k->mode == RN_NORM_DEFER) return;
    if (k->mode == RN_NORM_APPLY)
        apply_sums(k, s, b);
    else
        ref_group_norm(b->normed, s->rows, s->segments, s->size, eps, c2, NULL, k->layer_norm);
}

static double finished(const kind *k, const shape *s, const buffers *b, uint32_t row, uint32_t i)
{
    double value = b->normed[(size_t)row * width(s) + i];
    if (k->has_weight) value *= b->params.floats[weight_at(k) + i % s->size];
    if (k->has_bias) value += b->params.floats[BIAS_AT + i % s->size];
    return k->has_gate ? value * ref_activate(RN_ACTIVATION_SILU, gate_of(k, s, b, row, i)) : value;
}

static double rms_factor(const double *x, uint32_t size)
{
    return 1 / sqrt(ref_dot(x, x, size) / size + eps);
}

static double *expect(const kind *k, const shape *s, const buffers *b, const double *c2)
{
    double *expected = layers_test_expectation(b->in_place ? &b->x : &b->y, k->halves);
    normalise(k, s, b, c2);
    uint32_t stride = b->in_place ? x_stride(k, s) : y_stride(s);
    uint32_t written = k->halves ? y_stride(s) - 32 : width(s); /* f16 is zero up to a multiple of 32 */
    for (uint32_t row = 0; row < s->rows; row++) {
        size_t at = (size_t)(FIRST_ROW + row) * stride;
        double *y = expected + at;
        for (uint32_t i = 0; i < written; i++) {
            size_t to = k->halves ? layers_test_half_at(rows_in_all(s), FIRST_ROW + row, i) : at + i;
            expected[to] = i < width(s) ? finished(k, s, b, row, i) : 0;
        }
        if (k->mode == RN_NORM_DEFER) y[stride - 1] = rms_factor(b->normed + (size_t)row * width(s), s->size);
        bool keeps_sums = b->in_place && k->mode == RN_NORM_APPLY;
        for (uint32_t i = width(s); keeps_sums && i < width(s) + s->segments * TILES; i++) y[i] = b->x.floats[at + i];
    }
    return expected;
}

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

static rn_norm describe(const kind *k, const shape *s, const buffers *b)
{
    rn_norm norm = {
        .mode = k->mode,
        .layer_norm = k->layer_norm,
        .input = layers_test_binding(&b->x),
        .output = layers_test_binding(b->in_place ? &b->x : &b->y),
        .params = layers_test_binding(&b->params),
        .first_row = FIRST_ROW,
        .rows = s->rows,
        .segments = s->segments,
        .size = s->size,
        .x_stride = x_stride(k, s),
        .y_stride = k->halves     ? rows_in_all(s)
                    : b->in_place ? x_stride(k, s)
                                  : y_stride(s),
        .halves = k->halves,
        .has_weight = k->has_weight,
        .weight = weight_at(k),
        .has_bias = k->has_bias,
        .bias = BIAS_AT,
        .eps = eps,
        .has_gate = k->has_gate,
        .gate = layers_test_binding(&b->gate),
        .gate_stride = k->eights ? rows_in_all(s) : width(s) + 2 * GAP,
        .gate_offset = gap(k),
        .gate_halves = k->eights,
        .eps_scaled = k->eps_scaled,
        .chunks = {&b->records.buffer, layers_test_binding(&b->records).offset, 16 * RN_MAX_RECORDS},
        .scale_offset = k->mode == RN_NORM_DEFER ? y_stride(s) - 1 : width(s),
        .tiles = TILES,
    };
    return norm;
}

/* Tables of decay sums behind the weights, in a params buffer made for them. */
static rn_retention_tables make_params(layers_test *test, const rn_config *config, bool eps_scaled, buffers *b)
{
    rn_params params = {.count = PARAMS_AT};
    rn_retention_tables tables = {0};
    if (eps_scaled) tables = rn_params_add_tables(&params, config);
    b->params = layers_test_buffer(test, params.count);
    params = (rn_params){.values = b->params.floats, .count = PARAMS_AT};
    if (eps_scaled) rn_params_add_tables(&params, config);
    return tables;
}

static void check(layers_test *test, const kind *k, shape s, bool in_place)
{
    size_t rows = rows_in_all(&s);
    buffers b = {
        .x = layers_test_buffer(test, rows * x_stride(k, &s)),
        .y = layers_test_buffer(test, rows * y_stride(&s) / (k->halves ? 2 : 1)),
        .gate = layers_test_buffer(test, rows * (width(&s) + 2 * GAP)),
        .records = layers_test_buffer(test, 4 * RN_MAX_RECORDS),
        .normed = layers_test_alloc((size_t)s.rows * width(&s), sizeof(double)),
        .in_place = in_place,
    };
    rn_config config = table_config(s.segments);
    rn_retention_tables tables = make_params(test, &config, k->eps_scaled, &b);
    fill_x(k, &s, &b);
    rn_norm norm = describe(k, &s, &b);
    double *c2 = NULL;
    if (k->eps_scaled) {
        norm.chunk_count = make_chunks(&s, (rn_chunk_record *)b.records.words);
        norm.decay_sums = tables.decay_sums;
        c2 = layers_test_alloc((size_t)s.rows * s.segments, sizeof *c2);
        expand_sums(&s, &config, (rn_chunk_record *)b.records.words, norm.chunk_count, c2);
    }
    double *expected = expect(k, &s, &b, c2);
    rn_norm_record(layers_test_begin(test), &norm);
    layers_test_run(test);

    char what[160];
    snprintf(what, sizeof what, "%u x %u x %u, mode %d%s%s%s%s%s%s%s", s.rows, s.segments, s.size, k->mode,
             k->layer_norm ? ", layer norm" : "", k->has_weight ? ", weight" : "", k->has_bias ? ", bias" : "",
             k->has_gate ? ", gate" : "", k->eps_scaled ? ", scaled eps" : "", k->halves ? ", f16" : "",
             in_place ? ", in place" : "");
    layers_test_check(what, in_place ? &b.x : &b.y, k->halves, expected, k->halves ? 5e-4 : 3e-6);
    free(b.normed);
    free(c2);
    layers_test_free(test, &b.x);
    layers_test_free(test, &b.y);
    layers_test_free(test, &b.gate);
    layers_test_free(test, &b.params);
    layers_test_free(test, &b.records);
}

static void check_kinds(layers_test *test)
{
    static const shape one_segment[] = {{1, 1, 1}, {2, 1, 27}, {3, 1, 428}, {9, 1, 64}, {1, 1, 1000}, {2, 1, 256}};
    static const shape segments[] = {{1, 1, 1}, {2, 4, 27}, {3, 2, 428}, {9, 32, 6}, {14, 3, 65}};
    static const shape even_segments[] = {{1, 2, 2}, {2, 4, 28}, {3, 2, 428}, {9, 32, 6}, {1, 5, 256}};
    static const kind rows[] = {
        {.has_weight = true},
        {.layer_norm = true, .has_weight = true, .has_bias = true},
        {.mode = RN_NORM_DEFER, .has_weight = true},
        {.has_weight = true, .halves = true},
        {.layer_norm = true, .has_weight = true, .has_bias = true, .halves = true},
    };
    static const kind groups[] = {
        {.has_gate = true},
        {.has_weight = true, .has_gate = true, .eps_scaled = true},
        {.layer_norm = true, .has_gate = true, .eps_scaled = true},
        {.mode = RN_NORM_APPLY},
    };
    static const kind even_groups[] = {
        {.has_weight = true, .has_gate = true, .eps_scaled = true, .halves = true},
        {.mode = RN_NORM_APPLY, .halves = true},
    };
    static const shape eights[] = {{1, 1, 8}, {3, 1, 2072}, {2, 4, 24}, {3, 2, 520}, {14, 3, 1032}};
    static const kind of_eights[] = {
        {.has_weight = true, .halves = true, .eights = true},
        {.layer_norm = true, .has_weight = true, .has_bias = true, .halves = true, .eights = true},
        {.has_weight = true, .has_gate = true, .eps_scaled = true, .halves = true, .eights = true},
    };
    for (size_t k = 0; k < RN_COUNT(of_eights); k++)
        for (size_t s = 0; s < RN_COUNT(eights); s++) check(test, &of_eights[k], eights[s], false);
    for (size_t k = 0; k < RN_COUNT(rows); k++)
        for (size_t s = 0; s < RN_COUNT(one_segment); s++) check(test, &rows[k], one_segment[s], false);
    for (size_t k = 0; k < RN_COUNT(groups); k++)
        for (size_t s = 0; s < RN_COUNT(segments); s++) check(test, &groups[k], segments[s], false);
    for (size_t k = 0; k < RN_COUNT(even_groups); k++)
        for (size_t s = 0; s < RN_COUNT(even_segments); s++) check(test, &even_groups[k], even_segments[s], false);
    for (size_t k = 0; k < RN_COUNT(groups); k++) check(test, &groups[k], segments[1], true);
}

/* ---- One row, one result ----------------------------------------------------------------------------------------- */

/* A norm and a projection of `size` values: for rows together, as a session takes them, and for one row, where the
 * projection's prologue takes the norm. They leave the same bits. Projections add in orders of their own, so each
 * output is one value of the norm. */
enum { SAME_ROWS = 3, OUTPUTS = 65 };

typedef struct pair {
    layers_matrix matrix;
    layers_buffer x, normed, params, together, single;
    uint32_t size, heads, stride; /* heads: of a group norm; else 0 */
    uint32_t behind;              /* in a row: sums, or the factor */
} pair;

static pair make_pair(layers_test *test, uint32_t size, uint32_t heads)
{
    pair p = {.size = size, .heads = heads, .behind = rn_divide_up(size, 32) * 32};
    p.stride = p.behind + rn_divide_up(heads * TILES + 1, 32) * 32;
    p.x = layers_test_buffer(test, SAME_ROWS * p.stride);
    p.normed = layers_test_buffer(test, SAME_ROWS * p.stride);
    p.params = layers_test_buffer(test, p.behind);
    p.together = layers_test_buffer(test, SAME_ROWS * OUTPUTS);
    p.single = layers_test_buffer(test, OUTPUTS);
    memset(p.x.words, 0, 4 * p.x.count);
    memset(p.normed.words, 0, 4 * p.normed.count);
    for (uint32_t row = 0; row < SAME_ROWS; row++) {
        layers_test_fill(p.x.floats + row * p.stride, size);
        for (uint32_t i = 0; i < heads * TILES; i++)
            p.x.floats[row * p.stride + p.behind + i] = 1 + fabsf(layers_test_random());
    }
    layers_test_fill(p.params.floats, p.behind);
    return p;
}

static rn_linear project(const pair *p, const layers_buffer *from, const layers_buffer *to)
{
    return (rn_linear){
        .matrix = &p->matrix.matrix,
        .input = layers_test_binding(from),
        .output = layers_test_binding(to),
        .params = layers_test_binding(&p->params),
        .columns = SAME_ROWS,
        .x_stride = p->stride,
        .y_stride = OUTPUTS,
        .scale_offset = p->behind,
        .eps = eps,
        .heads = p->heads,
        .head_size = p->heads ? p->size / p->heads : 0,
        .tiles = TILES,
    };
}

static rn_linear fuse(const pair *p, const layers_buffer *to, uint32_t columns)
{
    rn_linear linear = project(p, &p->x, to);
    linear.prologue = p->heads ? RN_PROLOGUE_GROUP_NORM : RN_PROLOGUE_RMS_NORM;
    linear.columns = columns;
    return linear;
}

/* A group norm of several rows is one of its own where some of them are of a prompt. */
static void record_together(rn_recorder *recorder, const pair *p)
{
    rn_linear fused = fuse(p, &p->together, SAME_ROWS);
    if (!p->heads && rn_linear_can_fuse(recorder->device, &fused)) {
        rn_linear_record(recorder, &fused);
        return;
    }
    rn_norm norm = {
        .mode = p->heads ? RN_NORM_APPLY : RN_NORM_DEFER,
        .input = layers_test_binding(&p->x),
        .output = layers_test_binding(&p->normed),
        .params = layers_test_binding(&p->params),
        .rows = SAME_ROWS,
        .segments = p->heads ? p->heads : 1,
        .size = p->heads ? p->size / p->heads : p->size,
        .x_stride = p->stride,
        .y_stride = p->stride,
        .has_weight = !p->heads,
        .eps = eps,
        .scale_offset = p->behind,
        .tiles = TILES,
    };
    rn_norm_record(recorder, &norm);
    rn_linear linear = project(p, &p->normed, &p->together);
    linear.prologue = p->heads ? RN_PROLOGUE_NONE : RN_PROLOGUE_ROW_SCALE;
    rn_linear_record(recorder, &linear);
}

static void check_row(const pair *p, uint32_t row)
{
    const float *together = p->together.floats + row * OUTPUTS, *single = p->single.floats;
    for (uint32_t i = 0; i < OUTPUTS; i++) {
        if (!isnan(together[i]) && memcmp(&together[i], &single[i], sizeof *single) == 0) continue;
        TEST_FAIL("a norm of %u values, %u heads, row %u: output %u is %.9g and alone %.9g", p->size, p->heads, row, i,
                  together[i], single[i]);
        return;
    }
}

static void check_same(layers_test *test, uint32_t size, uint32_t heads)
{
    pair p = make_pair(test, size, heads);
    layers_test_selection(test, OUTPUTS, size, &p.matrix);
    record_together(layers_test_begin(test), &p);
    layers_test_run(test);
    for (uint32_t row = 0; row < SAME_ROWS; row++) {
        rn_linear linear = fuse(&p, &p.single, 1);
        CHECK(rn_linear_can_fuse(test->device, &linear));
        if (row) memcpy(p.x.words, p.x.words + row * p.stride, 4 * p.stride);
        rn_linear_record(layers_test_begin(test), &linear);
        layers_test_run(test);
        check_row(&p, row);
    }
    layers_test_free(test, &p.x);
    layers_test_free(test, &p.normed);
    layers_test_free(test, &p.params);
    layers_test_free(test, &p.together);
    layers_test_free(test, &p.single);
    layers_test_free_matrix(test, &p.matrix);
}

int main(void)
{
    layers_test test = layers_test_create();
    check_kinds(&test);
    check_same(&test, 64, 0);
    check_same(&test, 65, 0);
    check_same(&test, 1000, 0);
    check_same(&test, 4 * 32, 4);
    /* Software drivers fuse heads of whole blocks only. */
    if (!test.device->caps.is_cpu) check_same(&test, 2 * 428, 2);
    return layers_test_finish(&test, test_failures);
}
