/* retention_test.c: retention (retention_step.comp, and the kernels of the chunkwise form) against the reference, for
 * batches of sequences with memories and positions of their own. Only what lib/layers/retention.h promises is looked
 * at, not how the kernels share the work.
 *
 *     test_layers_retention [full]      `full`: every key size with every value size */
#include "layers/retention_project.h"
#include "layers/sampling.h"
#include "layers/lanes.h"
#include "layers/layers_test.h"
#include "model/params.h"
#include "reference/reference.h"

typedef struct shape {
    uint32_t key_size, value_size, heads, kv_heads;
} shape;

/* Consecutive tokens of one sequence, of which `length` are read. */
typedef struct sequence {
    uint32_t length, position;
} sequence;

/* Rows of activations before and behind those of the sequences, and memories beside theirs. */
enum { FIRST_ROW = 3, LAST_ROWS = 2, OTHER_STATES = 2, GAP = 32, MAX_SEQUENCES = 8 };

typedef struct batch {
    shape shape;
    const sequence *sequences;
    uint32_t count, rows;
    rn_retention retention;
    layers_buffer x, y, state, params;
    uint32_t weight;       /* of the group norm, in params */
    uint32_t first_output; /* of the chunks */
    bool moves;            /* memories are read in one place and written in another */
    bool bound;            /* the scratch is taken for a host's, whose address is not known */
    rn_config config;
} batch;

static const double bound = 1e-5, f16_bound = 1e-3;

/* ---- Input ------------------------------------------------------------------------------------------------------- */

/* Decays as in the paper and beyond, so that the last of several heads forgets nothing. */
static rn_config table_config(const shape *s)
{
    rn_config config = {.heads = s->heads, .key_size = s->key_size, .score_normalised_eps = true};
    for (uint32_t h = 0; h < s->heads; h++) config.decay[h] = h && h + 1 == s->heads ? 1 : 1 - ldexpf(1, -3 - (int)h);
    for (uint32_t i = 0; i < s->key_size / 2; i++) config.theta[i] = pow(10000, -2.0 * i / s->key_size);
    return config;
}

static void make_params(layers_test *test, batch *b)
{
    rn_params params = {0};
    rn_params_add_tables(&params, &b->config);
    b->weight = rn_params_reserve(&params, b->shape.value_size);
    b->params = layers_test_buffer(test, params.count);
    params = (rn_params){.values = b->params.floats};
    b->retention.tables = rn_params_add_tables(&params, &b->config);
    layers_test_fill(b->params.floats + b->weight, b->shape.value_size);
}

/* The memory that sequence i has: others lie before, between and behind. */
static uint32_t state_of(const batch *b, uint32_t i)
{
    return b->count - i;
}

/* Behind those are as many that sequences may move to. */
static uint32_t other_state_of(const batch *b, uint32_t i)
{
    return b->count + 1 + i;
}

static uint32_t written_state_of(const batch *b, uint32_t i)
{
    return b->moves ? other_state_of(b, i) : state_of(b, i);
}

static size_t state_words(const batch *b)
{
    return (size_t)b->shape.heads * b->shape.key_size * rn_retention_value_stride(b->shape.value_size);
}

static void fill_states(batch *b)
{
    uint32_t stride = rn_retention_value_stride(b->shape.value_size);
    for (uint32_t i = 0; i < b->count; i++) {
        float *state = b->state.floats + state_of(b, i) * state_words(b);
        for (size_t at = 0; at < state_words(b); at += stride) {
            layers_test_fill(state + at, b->shape.value_size);
            for (uint32_t column = b->shape.value_size; column < stride; column++) state[at + column] = 0;
        }
    }
}

static batch make_batch(layers_test *test, const shape *s, const sequence *sequences, uint32_t count)
{
    batch b = {.shape = *s, .sequences = sequences, .count = count, .config = table_config(s)};
    for (uint32_t i = 0; i < count; i++) b.rows += sequences[i].length;
    rn_retention *r = &b.retention;
    *r = (rn_retention){
        .heads = s->heads, .key_value_heads = s->kv_heads, .key_size = s->key_size, .value_size = s->value_size};
    r->k_offset = s->heads * s->key_size;
    r->v_offset = r->k_offset + s->kv_heads * s->key_size;
    r->gate_offset = r->v_offset + s->kv_heads * s->value_size;
    uint32_t values = s->heads * s->value_size,
             tiles = rn_retention_step_tiles(test->device, s->heads, s->value_size, 1);
    r->x_stride = rn_divide_up(r->gate_offset + values, 32) * 32 + GAP;
    r->y_stride = rn_divide_up(values + s->heads * tiles, 32) * 32 + GAP;
    make_params(test, &b);
    size_t rows = FIRST_ROW + b.rows + LAST_ROWS;
    b.x = layers_test_buffer(test, rows * r->x_stride);
    b.y = layers_test_buffer(test, rows * r->y_stride);
    b.state = layers_test_buffer(test, (2 * count + OTHER_STATES) * state_words(&b));
    for (uint32_t row = FIRST_ROW; row < FIRST_ROW + b.rows; row++)
        layers_test_fill(b.x.floats + (size_t)row * r->x_stride, r->gate_offset + values);
    fill_states(&b);
    return b;
}

/* Only now, as bindings point into the batch. */
static void bind(batch *b)
{
    b->retention.input = layers_test_binding(&b->x);
    b->retention.output = layers_test_binding(&b->y);
    b->retention.params = layers_test_binding(&b->params);
    b->retention.state = layers_test_binding(&b->state);
}

static void free_batch(layers_test *test, batch *b)
{
    layers_test_free(test, &b->x);
    layers_test_free(test, &b->y);
    layers_test_free(test, &b->state);
    layers_test_free(test, &b->params);
}

/* Records are in a binding of fixed size; those that are not used stay poisoned. */
static rn_binding record_binding(const layers_buffer *records)
{
    return (rn_binding){&records->buffer, layers_test_binding(records).offset, 16 * RN_MAX_RECORDS};
}

/* ---- Expectation ------------------------------------------------------------------------------------------------- */

/* What a batch leaves: raw retention [rows, H, V], and of the state buffer what layers_test_check wants. */
typedef struct expectation {
    double *o, *state;
} expectation;

/* Rows [first, first + count) of some columns of x. */
static double *take(const batch *b, uint32_t first, uint32_t count, uint32_t offset, uint32_t columns)
{
    double *out = layers_test_alloc((size_t)count * columns, sizeof *out);
    for (uint32_t row = 0; row < count; row++)
        for (uint32_t i = 0; i < columns; i++)
            out[(size_t)row * columns + i] =
                b->x.floats[(size_t)(FIRST_ROW + first + row) * b->retention.x_stride + offset + i];
    return out;
}

/* Between the buffer's rows of value_stride and the reference's of V. */
static void copy_state(const batch *b, uint32_t i, double *padded, double *dense, bool out)
{
    uint32_t V = b->shape.value_size, stride = rn_retention_value_stride(V);
    const float *before = b->state.floats + state_of(b, i) * state_words(b);
    padded += written_state_of(b, i) * state_words(b);
    for (size_t at = 0; at < state_words(b); at++) {
        size_t row = at / stride, column = at % stride;
        if (!out && column < V) dense[row * V + column] = before[at];
        if (out) padded[at] = column < V ? dense[row * V + column] : 0;
    }
}

/* What is read stays as it is, unless it is written over. */
static void expect_kept(const batch *b, uint32_t i, double *padded)
{
    size_t from = state_of(b, i) * state_words(b);
    for (size_t at = from; at < from + state_words(b); at++) padded[at] = b->state.floats[at];
}

static void expect_sequence(const batch *b, uint32_t i, uint32_t first, expectation *e)
{
    const shape *s = &b->shape;
    const sequence *sequence = &b->sequences[i];
    uint32_t T = sequence->length, K = s->key_size, V = s->value_size;
    double decay[RN_MAX_HEADS];
    for (uint32_t h = 0; h < s->heads; h++) decay[h] = b->config.decay[h];
    ref_retention r = {T, s->heads, s->kv_heads, K, V, 1 / sqrt(K), decay};
    double *q = take(b, first, T, 0, s->heads * K), *k = take(b, first, T, b->retention.k_offset, s->kv_heads * K);
    double *v = take(b, first, T, b->retention.v_offset, s->kv_heads * V);
    double *state = layers_test_alloc((size_t)s->heads * K * V, sizeof *state);
    copy_state(b, i, e->state, state, false);
    ref_rotate(q, T, s->heads, K, b->config.theta, sequence->position);
    ref_rotate(k, T, s->kv_heads, K, b->config.theta, sequence->position);
    ref_retention_recurrent(&r, q, k, v, state, e->o + (size_t)first * s->heads * V);
    expect_kept(b, i, e->state);
    copy_state(b, i, e->state, state, true);
    free(q);
    free(k);
    free(v);
    free(state);
}

static expectation expect(const batch *b)
{
    expectation e = {
        .o = layers_test_alloc((size_t)b->rows * b->shape.heads * b->shape.value_size, sizeof(double)),
        .state = layers_test_expectation(&b->state, false),
    };
    for (uint32_t i = 0, first = 0; i < b->count; first += b->sequences[i++].length) expect_sequence(b, i, first, &e);
    return e;
}

static void describe(char *what, size_t size, const char *form, const shape *s)
{
    snprintf(what, size, "%s, K %u, V %u, %u heads of %u", form, s->key_size, s->value_size, s->heads, s->kv_heads);
}

/* ---- The chunkwise form ------------------------------------------------------------------------------------------ */

static rn_retention_chunks make_chunks(const batch *b, layers_buffer *chunk_records, layers_buffer *sequence_records)
{
    rn_retention_chunks chunks = {.sequence_count = b->count};
    rn_chunk_record *chunk = (rn_chunk_record *)chunk_records->words;
    rn_sequence_record *sequence = (rn_sequence_record *)sequence_records->words;
    uint32_t row = FIRST_ROW;
    for (uint32_t i = 0; i < b->count; i++) {
        uint32_t length = b->sequences[i].length;
        sequence[i] =
            (rn_sequence_record){chunks.chunk_count, rn_divide_up(length, RN_CHUNK), state_of(b, i), LAYERS_POISON};
        for (uint32_t at = 0; at < length; at += RN_CHUNK) {
            uint32_t part = rn_min_u32(RN_CHUNK, length - at);
            chunk[chunks.chunk_count++] =
                (rn_chunk_record){row + at, part, b->sequences[i].position + at, at / RN_CHUNK % 2};
            chunks.longest = rn_max_u32(chunks.longest, part);
        }
        row += length;
    }
    return chunks;
}

/* Queries and keys may be rotated in place; values, gates and all other rows are still needed. */
static void check_input(const char *what, const batch *b, const uint32_t *before)
{
    const rn_retention *r = &b->retention;
    for (size_t i = 0; i < b->x.count; i++) {
        size_t row = i / r->x_stride;
        bool rotated = i % r->x_stride < r->v_offset && row >= FIRST_ROW && row < FIRST_ROW + b->rows;
        if (rotated || b->x.words[i] == before[i]) continue;
        TEST_FAIL("%s: the input changed in row %zu, column %zu", what, row, i % r->x_stride);
        return;
    }
}

/* The first row of the first chunk whose output is asked for. */
static uint32_t first_row_asked(const batch *b)
{
    uint32_t row = 0, chunk = 0;
    for (uint32_t i = 0; i < b->count; row += b->sequences[i++].length)
        for (uint32_t at = 0; at < b->sequences[i].length; at += RN_CHUNK)
            if (chunk++ == b->first_output) return row + at;
    return row;
}

static double *expect_rows(const batch *b, const expectation *e)
{
    double *y = layers_test_expectation(&b->y, false);
    uint32_t values = b->shape.heads * b->shape.value_size;
    for (uint32_t row = first_row_asked(b); row < b->rows; row++)
        memcpy(y + (size_t)(FIRST_ROW + row) * b->retention.y_stride, e->o + (size_t)row * values, values * sizeof *y);
    return y;
}

/* With a projection its kernel makes the operands; else the input has them. */
static void run_chunks(layers_test *test, const char *what, const batch *b, bool matrix, const rn_retention_norm *norm,
                       const rn_matmul *projection)
{
    const shape *s = &b->shape;
    layers_buffer chunk_records = layers_test_buffer(test, 4 * RN_MAX_RECORDS);
    layers_buffer sequence_records = layers_test_buffer(test, 4 * RN_MAX_RECORDS);
    rn_retention_chunks chunks = make_chunks(b, &chunk_records, &sequence_records);
    uint64_t bytes =
        rn_retention_scratch_bytes(test->device, s->heads, s->kv_heads, s->key_size, s->value_size, chunks.chunk_count);
    layers_buffer scratch = layers_test_buffer(test, bytes / 4);
    chunks.chunks = record_binding(&chunk_records);
    chunks.sequences = record_binding(&sequence_records);
    chunks.first_output = b->first_output;
    chunks.matrix = matrix;
    chunks.norm = norm;
    scratch.buffer.foreign = b->bound;
    chunks.scratch = &scratch.buffer;
    chunks.scratch_offset = layers_test_binding(&scratch).offset;
    chunks.projected = projection != NULL;
    rn_recorder *recorder = layers_test_begin(test);
    if (projection) {
        rn_matmul lending = *projection;
        lending.unpacked = (rn_binding){&scratch.buffer, chunks.scratch_offset, bytes};
        CHECK(rn_retention_projects(test->device, &lending, &b->retention, &chunks));
        rn_retention_project_record(recorder, &lending, &b->retention, &chunks);
    }
    rn_retention_chunks_record(recorder, &b->retention, &chunks);
    layers_test_run(test);
    layers_test_check_guards(what, &scratch);
    layers_test_free(test, &chunk_records);
    layers_test_free(test, &sequence_records);
    layers_test_free(test, &scratch);
}

/* `matrix`: on matrix units, whose products are of f16. */
static void check_chunks(layers_test *test, const shape *s, const sequence *sequences, uint32_t count,
                         uint32_t first_output, bool matrix)
{
    double limit = matrix ? f16_bound : bound;
    batch b = make_batch(test, s, sequences, count);
    b.first_output = first_output;
    b.bound = first_output != 0;
    bind(&b);
    expectation e = expect(&b);
    uint32_t *before = layers_test_alloc(b.x.count, sizeof *before);
    memcpy(before, b.x.words, b.x.count * sizeof *before);
    char what[160];
    describe(what, sizeof what, matrix ? "chunks on matrix units" : "chunks", s);
    run_chunks(test, what, &b, matrix, NULL, NULL);
    layers_test_check(what, &b.y, false, expect_rows(&b, &e), limit);
    describe(what, sizeof what, matrix ? "chunks' states on matrix units" : "chunks' states", s);
    layers_test_check(what, &b.state, false, e.state, limit);
    check_input(what, &b, before);
    free(e.o);
    free(before);
    free_batch(test, &b);
}

static const sequence prompts[] = {{1, 0}, {2, 5}, {63, 1000}, {64, 999999}, {65, 1048570}, {130, 1000000000}};
static const sequence few[] = {{65, 999999}, {1, 5}, {63, 0}};
static const sequence one_token[] = {{1, 1000}};

/* ---- The chunkwise form with group norm and gate ----------------------------------------------------------------- */

static const float eps = 0.05f; /* so large that forgetting it shows */

/* The batch's rows as halves, which is also what its floats become; the rest stays poisoned. */
static layers_buffer halve_input(layers_test *test, batch *b, uint32_t room)
{
    rn_retention *r = &b->retention;
    uint32_t width = r->gate_offset + b->shape.heads * b->shape.value_size;
    layers_buffer halves = layers_test_buffer(test, (size_t)room * rn_divide_up(width, 32) * 16);
    for (uint32_t row = FIRST_ROW; row < FIRST_ROW + b->rows; row++)
        for (uint32_t i = 0; i < width; i++) {
            float *value = b->x.floats + (size_t)row * r->x_stride + i;
            uint16_t half = rn_f32_to_f16(*value);
            halves.halves[layers_test_half_at(room, row, i)] = half;
            *value = rn_f16_to_f32(half);
        }
    return halves;
}

/* s_n, by which eps is multiplied, for each row and head. */
static double *position_sums(const batch *b)
{
    uint32_t H = b->shape.heads, row = 0;
    double *c2 = layers_test_alloc((size_t)b->rows * H, sizeof *c2);
    for (uint32_t i = 0; i < b->count; i++)
        for (uint32_t t = 0; t < b->sequences[i].length; t++, row++)
            for (uint32_t h = 0; h < H; h++) {
                double decay = b->config.decay[h], n = b->sequences[i].position + t + 1.0;
                c2[(size_t)row * H + h] = decay == 1 ? n : (1 - pow(decay, n)) / (1 - decay);
            }
    return c2;
}

static double *expect_normed(const batch *b, const rn_retention_norm *norm, const layers_buffer *y, double *o)
{
    double *out = layers_test_expectation(y, true), *c2 = position_sums(b);
    uint32_t H = b->shape.heads, V = b->shape.value_size;
    double *gate = take(b, 0, b->rows, b->retention.gate_offset, H * V);
    ref_group_norm(o, b->rows, H, V, norm->eps, norm->eps_scaled ? c2 : NULL,
                   norm->has_weight ? b->params.floats + norm->weight : NULL, false);
    if (norm->has_gate) ref_gate(RN_ACTIVATION_SILU, gate, o, (size_t)b->rows * H * V);
    for (uint32_t row = first_row_asked(b); row < b->rows; row++)
        for (uint32_t i = 0; i < H * V; i++)
            out[layers_test_half_at(norm->room, FIRST_ROW + row, i)] = o[(size_t)row * H * V + i];
    free(gate);
    free(c2);
    return out;
}

static void check_normed_chunks(layers_test *test, const shape *s, rn_retention_norm norm, uint32_t first_output)
{
    batch b = make_batch(test, s, prompts, RN_COUNT(prompts));
    b.first_output = first_output;
    norm.room = FIRST_ROW + b.rows + LAST_ROWS;
    norm.weight = b.weight;
    norm.eps = eps;
    layers_buffer input = halve_input(test, &b, norm.room);
    layers_buffer y = layers_test_buffer(test, (size_t)norm.room * s->heads * s->value_size / 2);
    bind(&b);
    expectation e = expect(&b);
    uint32_t stride = b.retention.x_stride;
    b.retention.halves = true;
    b.retention.x_stride = norm.room;
    b.retention.input = layers_test_binding(&input);
    norm.output = layers_test_binding(&y);
    if (rn_retention_matrix_norms(test->device, &b.retention)) {
        char what[160];
        describe(what, sizeof what, "chunks with group norm", s);
        run_chunks(test, what, &b, true, &norm, NULL);
        b.retention.x_stride = stride; /* of the floats again */
        layers_test_check(what, &y, true, expect_normed(&b, &norm, &y, e.o), f16_bound);
        layers_test_check(what, &b.state, false, e.state, f16_bound);
    } else {
        free(e.state);
    }
    free(e.o);
    layers_test_free(test, &input);
    layers_test_free(test, &y);
    free_batch(test, &b);
}

static void check_norms(layers_test *test)
{
    static const shape shapes[] = {{64, 128, 3, 1}, {16, 428, 8, 4}, {256, 512, 2, 1}, {24, 32, 3, 3}};
    for (uint32_t i = 0; i < RN_COUNT(shapes); i++) {
        rn_retention_norm norm = {.has_weight = i % 2 == 0, .has_gate = i != 1, .eps_scaled = i < 2};
        if (!rn_retention_matrix_suits(test->device, shapes[i].key_size)) continue;
        check_normed_chunks(test, &shapes[i], norm, 0);
        check_normed_chunks(test, &shapes[i], norm, 5);
    }
}

/* ---- The chunkwise form behind its own projection ---------------------------------------------------------------- */

enum { INPUTS = 72 };

/* Small enough that products are of the size of a batch's random numbers. Tokens that no sequence has stay poisoned. */
static void fill_tokens(layers_buffer *x, uint32_t room, uint32_t rows)
{
    for (uint32_t t = 0; t < rows; t++)
        for (uint32_t i = 0; i < rn_divide_up(INPUTS, 32) * 32; i++)
            x->halves[layers_test_half_at(room, t, i)] = rn_f32_to_f16(0.2f * layers_test_random());
}

static double *projected_rows(const layers_matrix *w, const layers_buffer *x, uint32_t room, uint32_t rows)
{
    double *y = layers_test_alloc((size_t)rows * w->matrix.rows, sizeof *y);
    for (uint32_t t = 0; t < rows; t++)
        for (uint32_t r = 0; r < w->matrix.rows; r++)
            for (uint32_t i = 0; i < INPUTS; i++)
                y[(size_t)t * w->matrix.rows + r] +=
                    w->w[(size_t)r * INPUTS + i] * (double)rn_f16_to_f32(x->halves[layers_test_half_at(room, t, i)]);
    return y;
}

static void check_gates(const char *what, const batch *b, const layers_buffer *y, uint32_t room, const double *rows)
{
    double *expected = layers_test_expectation(y, true);
    uint32_t width = b->retention.gate_offset + b->shape.heads * b->shape.value_size;
    /* Of all tokens that the tiles have, others than those asked for may be left too. */
    for (uint32_t t = 0; t < room; t++)
        for (uint32_t i = b->retention.gate_offset; i < width; i++) {
            size_t at = layers_test_half_at(room, t, i);
            bool asked = t >= first_row_asked(b) && t < b->rows;
            expected[at] = asked ? rows[(size_t)t * width + i] : (double)rn_f16_to_f32(y->halves[at]);
        }
    layers_test_check(what, y, true, expected, f16_bound);
}

static void check_projected(layers_test *test, const shape *s, retnet_weight_format format, rn_matmul_tile tile,
                            const sequence *sequences, uint32_t count, uint32_t first_output)
{
    batch b = make_batch(test, s, sequences, count);
    b.first_output = first_output;
    uint32_t width = b.retention.gate_offset + s->heads * s->value_size, room = rn_divide_up(b.rows, 64) * 64;
    layers_buffer x = layers_test_buffer(test, (size_t)room * rn_divide_up(INPUTS, 32) * 16);
    layers_buffer y = layers_test_buffer(test, (size_t)room * width / 2);
    layers_matrix w;
    layers_test_matrix(test, format, width, INPUTS, false, &w);
    fill_tokens(&x, room, b.rows);
    double *rows = projected_rows(&w, &x, room, b.rows);
    for (uint32_t t = 0; t < b.rows; t++)
        for (uint32_t i = 0; i < width; i++)
            b.x.floats[(size_t)(FIRST_ROW + t) * b.retention.x_stride + i] = (float)rows[(size_t)t * width + i];
    bind(&b);
    expectation e = expect(&b);
    b.retention.halves = true;
    rn_matmul projection = {
        .matrix = &w.matrix,
        .input = layers_test_binding(&x),
        .output = layers_test_binding(&y),
        .columns = b.rows,
        .x_room = room,
        .y_stride = room,
        .halves = true,
        .tile = tile,
    };
    char what[160];
    describe(what, sizeof what, "chunks behind their projection", s);
    run_chunks(test, what, &b, true, NULL, &projection);
    layers_test_check(what, &b.y, false, expect_rows(&b, &e), f16_bound);
    layers_test_check(what, &b.state, false, e.state, f16_bound);
    check_gates(what, &b, &y, room, rows);
    free(rows);
    free(e.o);
    layers_test_free(test, &x);
    layers_test_free(test, &y);
    layers_test_free_matrix(test, &w);
    free_batch(test, &b);
}

static void check_projections(layers_test *test)
{
    static const sequence aligned[] = {{128, 1000}, {64, 1048550}, {197, (1u << 30) - 197}}, longer[] = {{1100, 0}};
    static const struct {
        shape shape;
        retnet_weight_format format;
        const sequence *sequences;
        uint32_t count;
        rn_matmul_tile tile; /* of GPUs */
        uint32_t first_output;
    } cases[] = {
        {{128, 256, 3, 1}, RETNET_WEIGHTS_F16, aligned, RN_COUNT(aligned), {128, 128, 64, 64, 1}, 0},
        {{256, 128, 2, 2}, RETNET_WEIGHTS_Q8, aligned, RN_COUNT(aligned), {128, 128, 64, 64, 2}, 3},
        {{128, 128, 4, 1}, RETNET_WEIGHTS_BF16, aligned, RN_COUNT(aligned), {128, 128, 64, 64, 1}, 7},
        /* So many tokens that weights are unpacked beforehand. */
        {{128, 256, 3, 1}, RETNET_WEIGHTS_Q4, longer, RN_COUNT(longer), {128, 128, 64, 64, 1}, 17},
    };
    if (test->device->caps.matrix.lanes == RN_LANES_UNKNOWN || !rn_retention_matrix_suits(test->device, 128)) return;
    for (size_t i = 0; i < RN_COUNT(cases); i++) {
        rn_matmul_tile tile = test->device->caps.is_cpu ? (rn_matmul_tile){0} : cases[i].tile;
        check_projected(test, &cases[i].shape, cases[i].format, tile, cases[i].sequences, cases[i].count,
                        cases[i].first_output);
    }
}

/* ---- The recurrent form ------------------------------------------------------------------------------------------ */

/* What is folded into a step. */
typedef struct step_kind {
    bool raw, has_gate, has_weight, eps_scaled, moves;
    rn_step_shape shape; /* on GPUs; or chosen */
} step_kind;

/* Each head's sums, whichever of them a workgroup leaves, are those of the squares and of its eps. */
static void check_sums(const char *what, const batch *b, const step_kind *k, const expectation *e, uint32_t sums_at,
                       uint32_t tiles, double *y)
{
    uint32_t heads = b->shape.heads, V = b->shape.value_size;
    for (uint32_t i = 0; i < b->count * heads; i++) {
        const double *o = e->o + (size_t)i * V;
        size_t at = (size_t)(FIRST_ROW + i / heads) * b->retention.y_stride + sums_at + i % heads * tiles;
        double c2 = k->eps_scaled ? ref_decay_sum(b->config.decay[i % heads], b->sequences[i / heads].position) : 1;
        double expected = ref_dot(o, o, V) + eps * c2 * V, sum = 0;
        for (uint32_t tile = 0; tile < tiles; tile++) sum += y[at + tile] = b->y.floats[at + tile];
        if (!k->raw && !(fabs(sum - expected) <= bound * expected))
            TEST_FAIL("%s: head %u of sequence %u leaves a sum of %.9g, expected %.9g", what, i % heads, i / heads, sum,
                      expected);
    }
}

static double *expect_steps(const batch *b, const step_kind *k, const expectation *e)
{
    uint32_t V = b->shape.value_size, values = b->shape.heads * V;
    double *y = layers_test_expectation(&b->y, false);
    for (uint32_t row = 0; row < b->rows; row++) {
        const float *gate = b->x.floats + (size_t)(FIRST_ROW + row) * b->retention.x_stride + b->retention.gate_offset;
        for (uint32_t i = 0; i < values; i++) {
            double value = e->o[(size_t)row * values + i];
            if (k->has_weight && !k->raw) value *= b->params.floats[b->weight + i % V];
            if (k->has_gate && !k->raw) value *= ref_activate(RN_ACTIVATION_SILU, gate[i]);
            y[(size_t)(FIRST_ROW + row) * b->retention.y_stride + i] = value;
        }
    }
    return y;
}

typedef struct step_work {
    const rn_retention *retention;
    const rn_retention_step *step;
} step_work;

static void record_step(rn_recorder *recorder, const void *what)
{
    const step_work *work = what;
    rn_retention_step_record(recorder, work->retention, work->step);
}

static void check_steps(layers_test *test, const shape *s, const step_kind *k, const sequence *sequences,
                        uint32_t count)
{
    batch b = make_batch(test, s, sequences, count);
    bind(&b);
    b.moves = k->moves;
    layers_buffer records = layers_test_buffer(test, 4 * RN_MAX_RECORDS);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = state_of(&b, i) ^ other_state_of(&b, i);
        ((rn_step_record *)records.words)[i] =
            (rn_step_record){FIRST_ROW + i, state_of(&b, i), sequences[i].position,
                             (LAYERS_POISON & RN_STEP_SAMPLER) | other << RN_STEP_OTHER_SHIFT};
    }
    rn_retention_step step = {
        .records = record_binding(&records),
        .count = count,
        .raw = k->raw,
        .has_gate = k->has_gate,
        .has_weight = k->has_weight,
        .eps_scaled = k->eps_scaled,
        .weight = b.weight,
        .sums_offset = s->heads * s->value_size,
        .eps = eps,
        .moves = k->moves,
        .shape = k->shape,
    };
    uint32_t tiles = rn_retention_step_tiles(test->device, s->heads, s->value_size, count);
    if (k->shape.lanes) tiles = rn_divide_up(rn_retention_value_stride(s->value_size) / 4, k->shape.lanes);
    expectation e = expect(&b);
    double *y = expect_steps(&b, k, &e);
    char what[160];
    describe(what, sizeof what, k->moves ? "steps that move states" : "steps", s);
    const step_work work = {&b.retention, &step};
    layers_test_run_each_way(test, what, record_step, &work, (layers_buffer *[]){&b.y, &b.state}, 2);
    check_sums(what, &b, k, &e, step.sums_offset, tiles, y);
    layers_test_check(what, &b.y, false, y, bound);
    describe(what, sizeof what, "steps' states", s);
    layers_test_check(what, &b.state, false, e.state, bound);
    free(e.o);
    layers_test_free(test, &records);
    free_batch(test, &b);
}

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

static const sequence steps[] = {{1, 0}, {1, 5}, {1, 1000}, {1, 1025}, {1, 999999}, {1, (1 << 30) - 1}};
/* Across the digits of positions too (shaders/positions.glsl). */
static void check_shape(layers_test *test, const shape *s, uint32_t index)
{
    static const step_kind kinds[] = {
        {.has_gate = true, .has_weight = true, .eps_scaled = true},
        {.has_gate = true},
        {.has_weight = true},
        {.raw = true, .has_gate = true, .has_weight = true},
    };
    bool large = s->heads * s->key_size * s->value_size > 1 << 15;
    const sequence *read = large ? few : prompts;
    uint32_t count = large ? RN_COUNT(few) : RN_COUNT(prompts);
    step_kind kind = kinds[index % RN_COUNT(kinds)];
    uint32_t first_output = 1 + index % 4; /* of four chunks of the few: the last, or none */
    check_steps(test, s, &kind, steps, RN_COUNT(steps));
    kind.moves = true;
    check_steps(test, s, &kind, steps, RN_COUNT(steps));
    check_chunks(test, s, read, count, 0, false);
    check_chunks(test, s, one_token, RN_COUNT(one_token), 0, false);
    check_chunks(test, s, few, RN_COUNT(few), first_output, false);
    if (!rn_retention_matrix_suits(test->device, s->key_size)) return;
    check_chunks(test, s, read, count, 0, true);
    check_chunks(test, s, one_token, RN_COUNT(one_token), 0, true);
    check_chunks(test, s, few, RN_COUNT(few), first_output, true);
}

static void check_all_shapes(layers_test *test)
{
    static const uint32_t key_sizes[] = {16, 60, 64, 128, 256}, value_sizes[] = {27, 32, 128, 428, 512};
    for (uint32_t i = 0; i < 25; i++) {
        shape s = {key_sizes[i / 5], value_sizes[i % 5], 4, i % 2 ? 2 : 4};
        check_shape(test, &s, i);
    }
}

/* Workgroups as many sequences have them, without as many; in the last, rows of the state run out unevenly. */
static void check_step_shapes(layers_test *test)
{
    static const shape s = {60, 428, 3, 3};
    static const rn_step_shape shapes[] = {{8, 16, 4}, {16, 4, 1}, {16, 8, 4}};
    step_kind kind = {.has_gate = true, .has_weight = true, .eps_scaled = true};
    if (test->device->caps.is_cpu) return;
    for (size_t i = 0; i < RN_COUNT(shapes); i++) {
        kind.shape = shapes[i];
        kind.moves = i % 2;
        check_steps(test, &s, &kind, steps, RN_COUNT(steps));
    }
}

int main(int argc, char **argv)
{
    static const shape shapes[] = {
        {16, 27, 32, 32}, {60, 32, 4, 2},  {64, 128, 3, 1}, {128, 428, 2, 2},
        {256, 512, 2, 1}, {256, 27, 1, 1}, {16, 512, 8, 4}, {60, 428, 3, 3},
    };
    layers_test test = layers_test_create();
    for (uint32_t i = 0; i < RN_COUNT(shapes); i++) check_shape(&test, &shapes[i], i);
    check_step_shapes(&test);
    check_norms(&test);
    check_projections(&test);
    if (argc > 1 && strcmp(argv[1], "full") == 0) check_all_shapes(&test);
    return layers_test_finish(&test, test_failures);
}
