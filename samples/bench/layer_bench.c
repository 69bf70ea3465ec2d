/* layer_bench.c: times single layers on matrix units, on random numbers.
 *
 *     layer_bench [PART]...     matmul and retention if none is named
 *
 * - matmul: projections of 2,048 tokens; bound: without addresses; staged: through shared memory; tiles: in other tiles
 * - short: projections of 64 to 1,024 tokens, in other tiles as well; narrow, few: of 32 and of 16, in other shapes
 * - retention: chunkwise against the recurrent form, of many tokens; turns: of 64 to 512
 * - steps: the recurrent form of 64 and of 12 sequences, in other shapes
 */
#include "context.h"
#include "layers/lanes.h"
#include "layers/matmul.h"
#include "layers/retention_project.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Bytes of random halves, and as many of floats. PARAMS_AT: where in the weights there are floats. */
#define NOISE (1ull << 22)
#define PARAMS_AT (3ull << 26)

typedef struct bench {
    rn_device *device;
    rn_buffer weights, activations, scratch, states, records, noise;
    rn_recorder recorder;
} bench;

static double seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds of what is recorded, the best of the submits of so many seconds, so that clocks are up. Negative on failure.
 */
static double time_recording_for(bench *b, double least)
{
    if (rn_recorder_end(&b->recorder) != RETNET_OK) return -1;
    double best = 1e9, end = seconds() + least;
    for (double begin = seconds(); begin < end; begin = seconds()) {
        if (rn_recorder_run(&b->recorder) != RETNET_OK) return -1;
        double took = seconds() - begin;
        best = took < best ? took : best;
    }
    return best;
}

static double time_recording(bench *b)
{
    return time_recording_for(b, 0.2);
}

/* ---- Projections ------------------------------------------------------------------------------------------------- */

typedef struct projection {
    const char *name;
    uint32_t tokens, rows, inputs;
    rn_linear_epilogue epilogue;
    bool halves;
} projection;

static const projection projections[] = {
    {"1.3b q, k, v, gate", 2048, 12288, 2048, RN_EPILOGUE_STORE, false},
    {"1.3b output", 2048, 2048, 4096, RN_EPILOGUE_ADD, false},
    {"1.3b gate and up", 2048, 2816, 2048, RN_EPILOGUE_GLU, true},
    {"1.3b down", 2048, 2048, 2816, RN_EPILOGUE_ADD, false},
    {"m 4096 n 512 k 14336", 512, 4096, 14336, RN_EPILOGUE_STORE, false},
    {"6.7b q, k, v, gate", 2048, 24576, 4096, RN_EPILOGUE_STORE, true},
    {"6.7b output", 2048, 4096, 8192, RN_EPILOGUE_ADD, false},
    {"6.7b gate and up", 2048, 11008, 4096, RN_EPILOGUE_GLU, true},
    {"6.7b down", 2048, 4096, 11008, RN_EPILOGUE_ADD, false},
    {"4096 cubed", 4096, 4096, 4096, RN_EPILOGUE_STORE, false},
};

static rn_matrix matrix_of(const projection *p, const rn_buffer *buffer, retnet_weight_format format)
{
    rn_matrix matrix = {
        .buffer = buffer,
        .format = format,
        .rows = p->rows,
        .inputs = p->inputs,
        .alternating = p->epilogue == RN_EPILOGUE_GLU,
    };
    matrix.bytes = rn_matrix_panels(&matrix) * rn_matrix_panel_bytes(&matrix);
    return matrix;
}

/* `room` is of tokens, in what is read and in f16 that is left. */
static rn_matmul product_of(const bench *b, const projection *p, const rn_matrix *matrix, uint32_t tokens,
                            uint32_t room)
{
    return (rn_matmul){
        .matrix = matrix,
        .input = {&b->activations, 0, 1u << 27},
        .output = {&b->activations, 1u << 27, 1u << 27},
        .columns = tokens,
        .x_room = room,
        .y_stride = p->halves ? room : p->rows,
        .epilogue = p->epilogue,
        .activation = p->epilogue == RN_EPILOGUE_GLU,
        .halves = p->halves,
    };
}

static double operations_of(const projection *p, uint32_t tokens)
{
    return 2.0 * tokens * p->rows * p->inputs * (p->epilogue == RN_EPILOGUE_GLU ? 2 : 1);
}

/* Moves on to weights that are in no cache. */
static void turn_over(const bench *b, rn_matrix *matrix, uint32_t turn)
{
    matrix->offset = turn % (b->states.size / matrix->bytes) * matrix->bytes;
}

static void time_projection(bench *b, const projection *p, retnet_weight_format format, rn_matmul_tile tile,
                            rn_matmul_way way)
{
    enum { REPEATS = 8 };
    rn_matrix matrix = matrix_of(p, &b->weights, format);
    rn_recorder_begin(&b->recorder);
    for (int i = 0; i < REPEATS; i++) {
        rn_matmul matmul = product_of(b, p, &matrix, p->tokens, p->tokens);
        matmul.tile = tile;
        matmul.way = way;
        rn_matmul_record(&b->recorder, &matmul);
    }
    double took = time_recording(b) / REPEATS;
    printf("  %-22s %-5s %8.1f us %7.1f TFLOP/s\n", p->name, retnet_weight_format_name(format), took * 1e6,
           operations_of(p, p->tokens) / took * 1e-12);
    fflush(stdout);
}

static void time_projections(bench *b, rn_matmul_tile tile, rn_matmul_way way)
{
    for (size_t i = 0; i < RN_COUNT(projections); i++) {
        time_projection(b, &projections[i], RETNET_WEIGHTS_F16, tile, way);
        if (!tile.tokens) time_projection(b, &projections[i], RETNET_WEIGHTS_Q4, tile, way);
    }
}

/* Whether the device's kernels can make a product in a tile, and its panels come in pairs where they must. */
static bool can_tile(const bench *b, const projection *p, const rn_matmul_tile *tile)
{
    if (tile->splits > 1 && b->device->caps.matrix.lanes == RN_LANES_UNKNOWN) return false;
    return !tile->tokens || p->epilogue != RN_EPILOGUE_GLU || tile->rows >= 128;
}

static void sweep_tiles(bench *b)
{
    static const rn_matmul_tile tiles[] = {
        {128, 128, 64, 64, 1}, {128, 128, 64, 64, 2}, {64, 64, 64, 64, 1}, {64, 64, 64, 64, 4},
        {128, 128, 64, 32, 1}, {64, 128, 32, 64, 1},  {64, 64, 32, 32, 1}, {32, 128, 32, 32, 1},
    };
    for (size_t i = 0; i < RN_COUNT(tiles); i++) {
        printf("tile %u x %u, a subgroup %u x %u, %u splits\n", tiles[i].tokens, tiles[i].rows, tiles[i].sub_tokens,
               tiles[i].sub_rows, tiles[i].splits);
        for (size_t k = 0; k < RN_COUNT(projections); k++)
            if (can_tile(b, &projections[k], &tiles[i]))
                time_projection(b, &projections[k], RETNET_WEIGHTS_F16, tiles[i], RN_MATMUL_FASTEST);
    }
}

/* A layer's projections of shorter prompts. */
static const projection short_projections[] = {
    {"30m q, k, v, gate", 0, 3072, 512, RN_EPILOGUE_STORE, true},
    {"30m output", 0, 512, 1024, RN_EPILOGUE_ADD, false},
    {"30m gate and up", 0, 768, 512, RN_EPILOGUE_GLU, true},
    {"30m down", 0, 512, 768, RN_EPILOGUE_ADD, false},
    {"1.3b q, k, v, gate", 0, 12288, 2048, RN_EPILOGUE_STORE, true},
    {"1.3b output", 0, 2048, 4096, RN_EPILOGUE_ADD, false},
    {"1.3b gate and up", 0, 2816, 2048, RN_EPILOGUE_GLU, true},
    {"1.3b down", 0, 2048, 2816, RN_EPILOGUE_ADD, false},
    {"6.7b q, k, v, gate", 0, 24576, 4096, RN_EPILOGUE_STORE, true},
    {"6.7b output", 0, 4096, 8192, RN_EPILOGUE_ADD, false},
    {"6.7b gate and up", 0, 5461, 4096, RN_EPILOGUE_GLU, true},
    {"6.7b down", 0, 4096, 5461, RN_EPILOGUE_ADD, false},
};

/* With weights that are in no cache. */
static void time_short(bench *b, const projection *p, uint32_t tokens, rn_matmul_tile tile)
{
    rn_matrix matrix = matrix_of(p, &b->states, RETNET_WEIGHTS_F16);
    uint32_t repeats = 0;
    rn_recorder_begin(&b->recorder);
    for (; repeats < 64; repeats++) {
        turn_over(b, &matrix, repeats);
        rn_matmul matmul = product_of(b, p, &matrix, tokens, tokens);
        matmul.tile = tile;
        rn_matmul_record(&b->recorder, &matmul);
    }
    double took = time_recording_for(b, 0.06) / repeats;
    printf("  %-18s %4u tokens, %3u x %3u, %2u x %2u, %u splits: %7.2f us %6.1f TFLOP/s %6.3f TB/s\n", p->name, tokens,
           tile.tokens, tile.rows, tile.sub_tokens, tile.sub_rows, tile.splits, took * 1e6,
           1e-12 * operations_of(p, tokens) / took, 1e-12 * (double)matrix.bytes / took);
    fflush(stdout);
}

/* In the tile that the library chooses, which is printed as zeros, and in others. */
static void sweep_short(bench *b)
{
    static const rn_matmul_tile tiles[] = {
        {0},
        {128, 128, 64, 64, 1},
        {128, 128, 64, 64, 2},
        {64, 128, 64, 64, 1},
        {64, 128, 64, 64, 2},
        {64, 128, 64, 64, 4},
        {64, 64, 64, 64, 8},
        {32, 128, 32, 64, 4},
        {32, 64, 32, 64, 8},
        {32, 128, 32, 32, 1},
        {32, 128, 32, 32, 2},
        {32, 128, 32, 32, 4},
    };
    for (uint32_t tokens = 64; tokens <= 1024; tokens *= 2) /* first kernels are made: the first figures are not good */
        for (size_t k = 0; k < RN_COUNT(short_projections); k++)
            for (size_t i = 0; i < RN_COUNT(tiles); i++)
                if (can_tile(b, &short_projections[k], &tiles[i]))
                    time_short(b, &short_projections[k], tokens, tiles[i]);
}

/* A step's projections, with weights that are in no cache. */
static void time_narrow(bench *b, const projection *p, retnet_weight_format format, uint32_t columns,
                        rn_narrow_shape shape, rn_matmul_way way)
{
    rn_matrix matrix = matrix_of(p, &b->states, format);
    uint32_t repeats = 0;
    rn_recorder_begin(&b->recorder);
    rn_recorder_fill_zero(&b->recorder, &b->scratch, 0, rn_matmul_narrow_bytes(b->device));
    for (; repeats < 64; repeats++) {
        turn_over(b, &matrix, repeats);
        rn_matmul matmul = product_of(b, p, &matrix, columns, 64);
        matmul.shape = shape;
        matmul.way = way;
        matmul.partials = (rn_binding){&b->scratch, 0, rn_matmul_narrow_bytes(b->device)};
        rn_matmul_narrow_record(&b->recorder, &matmul);
    }
    double took = time_recording(b) / repeats;
    printf("  %-18s %-4s %2u columns, %s %u x %u subgroups, %2u splits, %u ahead: %7.2f us, %6.3f TB/s\n", p->name,
           retnet_weight_format_name(format), columns, way == RN_MATMUL_STAGED ? "staged" : "direct", shape.row_groups,
           shape.k_groups, shape.splits, shape.ahead, took * 1e6, 1e-12 * (double)matrix.bytes / took);
    fflush(stdout);
}

static void sweep_narrow(bench *b, uint32_t columns)
{
    static const rn_narrow_shape shapes[] = {
        {0, 0, 1, 0}, {0, 0, 4, 0}, {0, 0, 16, 0}, {2, 4, 1, 1}, {2, 4, 1, 2}, {2, 4, 2, 2}, {2, 4, 4, 1},
        {2, 4, 4, 2}, {2, 2, 4, 1}, {4, 2, 1, 1},  {4, 2, 1, 2}, {4, 2, 2, 2}, {8, 1, 2, 2}, {8, 1, 6, 2},
    };
    for (size_t i = 0; i < 4; i++) {
        time_narrow(b, &projections[i], RETNET_WEIGHTS_F16, columns, (rn_narrow_shape){0}, RN_MATMUL_STAGED);
        for (size_t s = 0; s < RN_COUNT(shapes); s++)
            time_narrow(b, &projections[i], RETNET_WEIGHTS_F16, columns, shapes[s],
                        shapes[s].row_groups ? RN_MATMUL_FASTEST : RN_MATMUL_STAGED);
    }
}

/* ---- Retention --------------------------------------------------------------------------------------------------- */

static void fill_records(bench *b, uint32_t sequences, uint32_t tokens)
{
    uint8_t *mapped = b->records.mapped;
    rn_chunk_record *chunks = (rn_chunk_record *)mapped;
    rn_sequence_record *records = (rn_sequence_record *)(mapped + 16 * RN_MAX_RECORDS);
    rn_step_record *steps = (rn_step_record *)(mapped + 32 * RN_MAX_RECORDS);
    uint32_t each = tokens / RN_CHUNK;
    for (uint32_t s = 0; s < sequences; s++) {
        records[s] = (rn_sequence_record){s * each, each, s, 0};
        steps[s] = (rn_step_record){s, s, 0, 0};
        for (uint32_t c = 0; c < each; c++)
            chunks[s * each + c] = (rn_chunk_record){s * tokens + c * RN_CHUNK, RN_CHUNK, c * RN_CHUNK, c % 2};
    }
}

/* Rows of queries, keys, values and gate, and of outputs with room for `sums` floats a head behind them. */
static rn_retention retention_of(bench *b, uint32_t rows, uint32_t heads, uint32_t keys, uint32_t values, uint32_t sums,
                                 rn_binding state)
{
    uint32_t row = heads * (2 * keys + 2 * values);
    uint64_t input = 4ull * rows * row, output = 4ull * rows * heads * (values + sums);
    return (rn_retention){
        .heads = heads,
        .key_value_heads = heads,
        .key_size = keys,
        .value_size = values,
        .x_stride = row,
        .k_offset = heads * keys,
        .v_offset = 2 * heads * keys,
        .gate_offset = heads * (2 * keys + values),
        .y_stride = heads * (values + sums),
        .input = {&b->activations, 0, input},
        .output = {&b->activations, rn_round_up(input, 256), output},
        .params = {&b->weights, PARAMS_AT, 1u << 24},
        .state = state,
    };
}

/* Seconds of the chunkwise form, one of several in a submit. With a norm it leaves f16, as in sessions. */
static double time_chunks(bench *b, const rn_retention *retention, const rn_retention_chunks *chunks)
{
    enum { REPEATS = 8 };
    rn_recorder_begin(&b->recorder);
    for (int i = 0; i < REPEATS; i++) rn_retention_chunks_record(&b->recorder, retention, chunks);
    return time_recording(b) / REPEATS;
}

/* Seconds of the projection from INPUTS inputs to queries, keys, values and gates: to rows of f16, or to operands. */
static double time_qkvg(bench *b, const rn_retention *retention, const rn_retention_chunks *chunks, uint32_t tokens,
                        bool operands)
{
    enum { REPEATS = 8, INPUTS = 2048, INPUT_BYTES = 1 << 27 };
    uint32_t rows = retention->gate_offset + retention->heads * retention->value_size;
    rn_matrix matrix = {.buffer = &b->weights, .format = RETNET_WEIGHTS_F16, .rows = rows, .inputs = INPUTS};
    matrix.bytes = rn_matrix_panels(&matrix) * rn_matrix_panel_bytes(&matrix);
    rn_matmul matmul = {
        .matrix = &matrix,
        .input = {&b->activations, b->activations.size - INPUT_BYTES, INPUT_BYTES},
        .output = retention->input,
        .columns = tokens,
        .x_room = tokens,
        .y_stride = tokens,
        .halves = true,
    };
    if (operands && !rn_retention_projects(b->device, &matmul, retention, chunks)) return 0;
    rn_recorder_begin(&b->recorder);
    for (int i = 0; i < REPEATS; i++)
        if (operands)
            rn_retention_project_record(&b->recorder, &matmul, retention, chunks);
        else
            rn_matmul_record(&b->recorder, &matmul);
    return time_recording(b) / REPEATS;
}

static void time_retention(bench *b, uint32_t sequences, uint32_t tokens, uint32_t heads, uint32_t keys,
                           uint32_t values)
{
    uint32_t row = heads * (2 * keys + 2 * values);
    rn_binding state = {&b->weights, PARAMS_AT + (1u << 24), 4ull * sequences * heads * keys * values};
    rn_retention retention = retention_of(b, sequences * tokens, heads, keys, values, 32, state);
    rn_retention_chunks chunks = {
        .chunks = {&b->records, 0, 16 * RN_MAX_RECORDS},
        .sequences = {&b->records, 16 * RN_MAX_RECORDS, 16 * RN_MAX_RECORDS},
        .chunk_count = sequences * tokens / RN_CHUNK,
        .sequence_count = sequences,
        .longest = RN_CHUNK,
        .matrix = true,
        .scratch = &b->scratch,
    };
    rn_retention_norm norm = {.output = retention.output, .room = sequences * tokens, .has_gate = true, .eps = 1e-5f};
    rn_retention_step step = {
        .records = {&b->records, 32 * RN_MAX_RECORDS, 16 * RN_MAX_RECORDS},
        .count = sequences,
        .raw = true,
        .sums_offset = heads * values,
    };
    fill_records(b, sequences, tokens);
    retention.halves = true;
    retention.x_stride = sequences * tokens;
    double rows = time_qkvg(b, &retention, &chunks, sequences * tokens, false);
    double operands = time_qkvg(b, &retention, &chunks, sequences * tokens, true);
    const rn_retention_norm *norms = rn_retention_matrix_norms(b->device, &retention) ? &norm : NULL;
    double took[2][3] = {0}; /* from rows, from operands: raw, with a norm, with norm and gate */
    for (int projected = 0; projected <= (operands > 0); projected++) {
        chunks.projected = projected;
        chunks.norm = NULL;
        took[projected][0] = time_chunks(b, &retention, &chunks);
        chunks.norm = norms;
        for (int gate = 0; norms && gate < 2; gate++) {
            norm.has_gate = gate;
            took[projected][1 + gate] = time_chunks(b, &retention, &chunks);
        }
    }
    retention.halves = false;
    retention.x_stride = row;
    rn_recorder_begin(&b->recorder);
    for (int i = 0; i < 64; i++) rn_retention_step_record(&b->recorder, &retention, &step);
    double recurrent = time_recording(b) / 64 * tokens;
    printf("  retention (%u,%u,%u,%u,%u), us: to fp32; with group norm to f16; with norm and gate to f16\n", sequences,
           tokens, heads, keys, values);
    for (int projected = 0; projected <= (operands > 0); projected++)
        printf("    of %s %7.1f %7.1f %7.1f\n",
               projected ? "operands that the projection left" : "rows                             ",
               took[projected][0] * 1e6, took[projected][1] * 1e6, took[projected][2] * 1e6);
    if (operands > 0)
        printf("    the projection, of 2,048 inputs, to rows %7.1f, to operands %7.1f\n", rows * 1e6, operands * 1e6);
    printf("    recurrent %7.1f, %.1f times as much as of rows to fp32\n", recurrent * 1e6, recurrent / took[0][0]);
    fflush(stdout);
}

/* Steps of `sequences` sequences, each on states that are in no cache, against copying as many bytes. */
static void time_steps(bench *b, uint32_t sequences, uint32_t heads, uint32_t keys, uint32_t values)
{
    static const rn_step_shape shapes[] = {
        {0},        {16, 16, 4}, {4, 64, 4}, {128, 2, 4}, {128, 4, 4},
        {64, 4, 4}, {64, 2, 8},  {32, 8, 4}, {16, 16, 4}, {8, 32, 4},
    };
    uint64_t state = 4ull * sequences * heads * keys * values, copies = b->states.size / state;
    printf("  steps of %u sequences, %u heads of %u x %u, %.1f MB read and written\n", sequences, heads, keys, values,
           2e-6 * (double)state);
    for (size_t s = 0; s <= RN_COUNT(shapes); s++) {
        uint32_t repeats = 0;
        rn_recorder_begin(&b->recorder);
        for (uint64_t done = 0; done < 3ull << 30; done += state, repeats++) {
            uint64_t at = repeats % copies * state, other = (repeats + copies / 2) % copies * state;
            rn_retention retention =
                retention_of(b, sequences, heads, keys, values, 128, (rn_binding){&b->states, at, state});
            rn_retention_step step = {
                .records = {&b->records, 32 * RN_MAX_RECORDS, 16 * RN_MAX_RECORDS},
                .count = sequences,
                .has_gate = true,
                .sums_offset = heads * values,
                .eps = 1e-5f,
                .shape = s < RN_COUNT(shapes) ? shapes[s] : (rn_step_shape){0},
            };
            if (s < RN_COUNT(shapes))
                rn_retention_step_record(&b->recorder, &retention, &step);
            else
                rn_recorder_copy(&b->recorder, &b->states, at, &b->states, other, state);
        }
        fill_records(b, sequences, RN_CHUNK);
        double took = time_recording(b) / repeats;
        rn_step_shape shape = s < RN_COUNT(shapes) ? shapes[s] : (rn_step_shape){0};
        printf("    %s %3u lanes, %2u splits, %2u ahead: %8.2f us, %6.3f TB/s\n",
               s < RN_COUNT(shapes) ? "step" : "copy", shape.lanes, shape.splits, shape.ahead, took * 1e6,
               2e-12 * (double)state / took);
        fflush(stdout);
    }
}

/* ---- All --------------------------------------------------------------------------------------------------------- */

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

/* Random numbers, as halves between 0.25 and 0.5 or their negatives; what kernels take for parameters and states are
 * floats in [0.25, 0.5). */
static void fill_random(rn_buffer *noise)
{
    uint32_t *words = noise->mapped, seed = 1;
    for (uint64_t i = 0; i < NOISE / 4; i++) {
        seed = seed * 1664525 + 1013904223;
        words[i] = (seed & 0x83ff83ffu) | 0x34003400u;
    }
    float *floats = (float *)(words + NOISE / 4);
    for (uint64_t i = 0; i < NOISE / 4; i++) floats[i] = 0.25f + 0.25f * (float)(i % 1021) / 1021;
}

static retnet_result prepare(bench *b)
{
    rn_buffer *buffers[] = {&b->weights, &b->activations, &b->scratch, &b->states};
    const uint64_t sizes[] = {1ull << 28, 5ull << 28, 1ull << 30, 3ull << 30};
    retnet_result result = rn_buffer_create(b->device, 48 * RN_MAX_RECORDS, RN_MEMORY_UPLOAD, "records", &b->records);
    for (size_t i = 0; i < RN_COUNT(buffers) && result == RETNET_OK; i++)
        result = rn_buffer_create(b->device, sizes[i], RN_MEMORY_DEVICE, "bench", buffers[i]);
    if (result == RETNET_OK) result = rn_buffer_create(b->device, 2 * NOISE, RN_MEMORY_UPLOAD, "noise", &b->noise);
    if (result == RETNET_OK) result = rn_recorder_create(b->device, &b->recorder);
    if (result == RETNET_OK) {
        fill_random(&b->noise);
        rn_recorder_begin(&b->recorder);
        for (size_t i = 0; i < RN_COUNT(buffers); i++)
            for (uint64_t at = 0; at < sizes[i]; at += NOISE) {
                bool floats = buffers[i] == &b->weights && at >= PARAMS_AT;
                rn_recorder_copy(&b->recorder, &b->noise, floats ? NOISE : 0, buffers[i], at, NOISE);
            }
        result = rn_recorder_end(&b->recorder);
    }
    if (result == RETNET_OK) result = rn_recorder_run(&b->recorder);
    return result;
}

/* An idle card takes most of a second to raise its clocks. */
static void warm_up(bench *b)
{
    for (double end = seconds() + 1; seconds() < end;)
        if (rn_recorder_run(&b->recorder) != RETNET_OK) return;
}

/* Whether a part is named, or none is and it is one of those that are meant then. */
static bool wanted(int argc, char **argv, const char *part)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], part) == 0) return true;
    return argc == 1 && (strcmp(part, "matmul") == 0 || strcmp(part, "retention") == 0);
}

int main(int argc, char **argv)
{
    retnet_context *context;
    if (retnet_context_create(&(retnet_context_desc){.log = on_log}, &context) != RETNET_OK) return 1;
    bench b = {.device = &context->device};
    if (!rn_matmul_suits(b.device, 2048)) {
        fprintf(stderr, "layer_bench: %s has no matrix units, or this build no kernels for them\n", b.device->name);
        retnet_context_destroy(context);
        return 1;
    }
    retnet_result result = prepare(&b);
    if (result == RETNET_OK) warm_up(&b);
    if (result == RETNET_OK && wanted(argc, argv, "matmul"))
        time_projections(&b, (rn_matmul_tile){0}, RN_MATMUL_FASTEST);
    if (result == RETNET_OK && wanted(argc, argv, "bound")) {
        printf("without addresses\n");
        time_projections(&b, (rn_matmul_tile){0}, RN_MATMUL_BOUND);
    }
    if (result == RETNET_OK && wanted(argc, argv, "staged")) {
        printf("through shared memory\n");
        time_projections(&b, (rn_matmul_tile){0}, RN_MATMUL_STAGED);
    }
    if (result == RETNET_OK && wanted(argc, argv, "tiles")) sweep_tiles(&b);
    if (result == RETNET_OK && wanted(argc, argv, "retention")) {
        time_retention(&b, 1, 2048, 8, 256, 512);
        time_retention(&b, 1, 8192, 8, 256, 512);
        time_retention(&b, 8, 2048, 8, 256, 512);
    }
    for (uint32_t tokens = 64; tokens <= 512 && result == RETNET_OK && wanted(argc, argv, "turns"); tokens *= 2)
        time_retention(&b, 1, tokens, 8, 256, 512);
    if (result == RETNET_OK && wanted(argc, argv, "narrow")) sweep_narrow(&b, 32);
    if (result == RETNET_OK && wanted(argc, argv, "short")) sweep_short(&b);
    if (result == RETNET_OK && wanted(argc, argv, "few")) sweep_narrow(&b, 16);
    if (result == RETNET_OK && wanted(argc, argv, "steps")) {
        time_steps(&b, 64, 8, 256, 512);
        time_steps(&b, 12, 8, 256, 512);
    }
    rn_recorder_destroy(&b.recorder);
    rn_buffer_destroy(b.device, &b.weights);
    rn_buffer_destroy(b.device, &b.activations);
    rn_buffer_destroy(b.device, &b.scratch);
    rn_buffer_destroy(b.device, &b.states);
    rn_buffer_destroy(b.device, &b.records);
    rn_buffer_destroy(b.device, &b.noise);
    retnet_context_destroy(context);
    return result == RETNET_OK ? 0 : 1;
}
