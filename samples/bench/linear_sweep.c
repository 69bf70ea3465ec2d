/* linear_sweep.c: times linear_column.comp over shapes of its work, for the matrices of models of 1.3 and, if
 * asked to, 6.7 billion parameters. What the choice in lib/layers/linear.c rests on. Every dispatch reads a matrix that
 * is not in the cache, and what the one before it has left: between barriers, as links of a chain, and as links that do
 * not wait, whose results are wrong.
 *
 *     linear_sweep [f16|q8|q4|6.7b ...]
 */
#include "context.h"
#include "layers/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* In floats; the memory of the chain begins with its flag. */
enum { DISPATCHES = 64, HEADER = 64, REGION = 1 << 15, REGIONS = DISPATCHES + 1, HEAD_SIZE = 512, HEAD_TILES = 32 };

typedef enum sweep_order { WITH_BARRIERS, AS_CHAIN, NOT_WAITING, ORDERS } sweep_order;

typedef struct projection {
    const char *name;
    uint32_t rows, inputs;
    rn_linear_prologue prologue;
    rn_linear_epilogue epilogue;
} projection;

static const projection small[] = {
    {"1.3b qkvg", 12288, 2048, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE},
    {"1.3b o", 2048, 4096, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_ADD},
    {"1.3b up", 2816, 2048, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_GLU},
    {"1.3b down", 2048, 2816, RN_PROLOGUE_NONE, RN_EPILOGUE_ADD},
    {"1.3b head", 32000, 2048, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE},
};
static const projection large[] = {
    {"6.7b qkvg", 24576, 4096, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE},
    {"6.7b o", 4096, 8192, RN_PROLOGUE_GROUP_NORM, RN_EPILOGUE_ADD},
    {"6.7b up", 5632, 4096, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_GLU},
    {"6.7b down", 4096, 5632, RN_PROLOGUE_NONE, RN_EPILOGUE_ADD},
    {"6.7b head", 32000, 4096, RN_PROLOGUE_RMS_NORM, RN_EPILOGUE_STORE},
};

static double seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct bench {
    rn_device *device;
    rn_buffer weights, activations, params;
    rn_recorder recorder, prepare; /* before each timed run */
} bench;

static void record_link(bench *b, const projection *p, const rn_matrix *matrix, rn_linear_shape shape,
                        sweep_order order, uint32_t link)
{
    uint32_t from = HEADER + link * REGION, to = from + REGION;
    rn_linear linear = {
        .matrix = matrix,
        .input = {&b->activations, 0, b->activations.size},
        .output = {&b->activations, 4ull * to, 4ull * REGION},
        .params = {&b->params, 0, b->params.size},
        .columns = 1,
        .x_stride = REGION,
        .y_stride = REGION,
        .prologue = p->prologue,
        .epilogue = p->epilogue,
        .activation = p->epilogue == RN_EPILOGUE_GLU,
        .heads = p->inputs / HEAD_SIZE,
        .head_size = HEAD_SIZE,
        .tiles = HEAD_TILES,
        .scale_offset = p->inputs,
        .chained = order != NOT_WAITING,
        /* What the last rows of the link before have left, where there are enough. */
        .x_at = from + (p->rows > p->inputs ? p->rows - p->inputs : 0),
        .before_at = from,
        .shape = shape,
    };
    rn_linear_record(&b->recorder, &linear);
}

/* What nobody writes is zero, so that a link with more inputs than the one before has rows does not wait for ever. */
static retnet_result record_prepare(bench *b, const projection *p)
{
    rn_recorder_begin(&b->prepare);
    rn_recorder_fill_zero(&b->prepare, &b->activations, 0, b->activations.size);
    for (uint32_t i = 1; i < REGIONS; i++)
        rn_recorder_fill(&b->prepare, &b->activations, 4ull * (HEADER + i * REGION), 4ull * p->rows, RN_NOT_YET);
    return rn_recorder_end(&b->prepare);
}

/* Seconds of one dispatch, the best of the submits of `window` seconds. Negative on failure. */
static double time_shape(bench *b, const projection *p, retnet_weight_format format, rn_linear_shape shape,
                         sweep_order order, double window)
{
    rn_matrix matrix = {.buffer = &b->weights,
                        .format = format,
                        .rows = p->rows,
                        .inputs = p->inputs,
                        .alternating = p->epilogue == RN_EPILOGUE_GLU};
    matrix.bytes = rn_matrix_panels(&matrix) * rn_matrix_panel_bytes(&matrix);
    uint64_t copies = b->weights.size / matrix.bytes;
    rn_recorder_begin(&b->recorder);
    rn_recorder_chain_begin(&b->recorder, order == WITH_BARRIERS);
    for (uint32_t i = 0; i < DISPATCHES; i++) {
        matrix.offset = rn_round_up(matrix.bytes, 256) * (i % (copies - 1));
        record_link(b, p, &matrix, shape, order, i);
    }
    rn_recorder_chain_end(&b->recorder);
    if (rn_recorder_end(&b->recorder) != RETNET_OK || record_prepare(b, p) != RETNET_OK) return -1;
    double best = 1e9, end = seconds() + window;
    for (double begin = seconds(); begin < end; begin = seconds()) {
        if (rn_recorder_run(&b->prepare) != RETNET_OK) return -1;
        double start = seconds();
        if (rn_recorder_run(&b->recorder) != RETNET_OK) return -1;
        double took = seconds() - start;
        best = took < best ? took : best;
    }
    return best / DISPATCHES;
}

static void sweep(bench *b, const projection *p, retnet_weight_format format)
{
    uint32_t n = b->device->caps.processors;
    const rn_linear_shape shapes[] = {
        {8, 32, 2, 8, n},  {8, 32, 2, 8, 2 * n},  {8, 32, 2, 12, n},     {8, 32, 1, 8, 2 * n}, {16, 32, 1, 2, n},
        {16, 32, 1, 4, n}, {16, 32, 1, 4, 2 * n}, {16, 32, 1, 2, 0},     {16, 32, 2, 4, n},    {16, 32, 2, 2, 2 * n},
        {16, 32, 2, 8, n}, {16, 32, 4, 4, n},     {16, 16, 2, 4, 2 * n}, {16, 16, 2, 8, 0},    {8, 64, 1, 4, n},
        {8, 64, 2, 4, n},  {16, 64, 1, 4, n},     {16, 64, 2, 2, n},     {32, 32, 1, 4, n},
    };
    rn_matrix matrix = {
        .format = format, .rows = p->rows, .inputs = p->inputs, .alternating = p->epilogue == RN_EPILOGUE_GLU};
    double bytes = (double)rn_matrix_panels(&matrix) * (double)rn_matrix_panel_bytes(&matrix);
    printf("%s %s, %.1f MB; us with barriers, as a chain, not waiting\n", p->name, retnet_weight_format_name(format),
           bytes * 1e-6);
    /* A GPU that was idle while kernels were compiled takes tens of milliseconds to raise its clocks. */
    for (size_t i = 0; i < RN_COUNT(shapes); i++) time_shape(b, p, format, shapes[i], NOT_WAITING, 0.02);
    time_shape(b, p, format, shapes[0], NOT_WAITING, 0.2);
    for (size_t i = 0; i < RN_COUNT(shapes); i++) {
        const rn_linear_shape *s = &shapes[i];
        printf("  %2u rows x %2u splits, %u rows each, %u ahead, %3u groups:", s->group_rows, s->splits, s->rows,
               s->ahead, s->groups);
        for (sweep_order order = 0; order < ORDERS; order++)
            printf(" %7.2f", time_shape(b, p, format, *s, order, 0.1) * 1e6);
        printf("\n");
        fflush(stdout);
    }
}

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

/* Random f16 of 2^-6 to 2^-5 and either sign, which do as bytes and nibbles too: the same megabytes again and again. */
static retnet_result fill_weights(bench *b)
{
    enum { BYTES = 1 << 24 };
    rn_buffer upload;
    retnet_result result = rn_buffer_create(b->device, BYTES, RN_MEMORY_UPLOAD, "random weights", &upload);
    if (result != RETNET_OK) return result;
    uint16_t *halves = upload.mapped;
    uint32_t random = 1;
    for (uint32_t i = 0; i < BYTES / 2; i++) {
        random = random * 1664525u + 1013904223u;
        halves[i] = (uint16_t)(0x2400 | (random >> 16 & 0x83ff));
    }
    rn_recorder_begin(&b->recorder);
    for (uint64_t at = 0; at < b->weights.size; at += BYTES)
        rn_recorder_copy(&b->recorder, &upload, 0, &b->weights, at, BYTES);
    rn_recorder_fill(&b->recorder, &b->params, 0, b->params.size, 0x3f800000u); /* 1.0f */
    result = rn_recorder_end(&b->recorder);
    if (result == RETNET_OK) result = rn_recorder_run(&b->recorder);
    rn_buffer_destroy(b->device, &upload);
    return result;
}

static retnet_result prepare(bench *b)
{
    retnet_result result = rn_buffer_create(b->device, b->device->caps.is_cpu ? 1u << 28 : 1u << 30, RN_MEMORY_DEVICE,
                                            "weights", &b->weights);
    if (result == RETNET_OK)
        result =
            rn_buffer_create(b->device, 4ull * (HEADER + REGIONS * REGION), RN_MEMORY_DEVICE, "x", &b->activations);
    if (result == RETNET_OK) result = rn_buffer_create(b->device, 1 << 16, RN_MEMORY_DEVICE, "params", &b->params);
    if (result == RETNET_OK) result = rn_recorder_create(b->device, &b->recorder);
    if (result == RETNET_OK) result = rn_recorder_create(b->device, &b->prepare);
    if (result != RETNET_OK) return result;
    return fill_weights(b);
}

int main(int argc, char **argv)
{
    retnet_context *context;
    if (retnet_context_create(&(retnet_context_desc){.log = on_log}, &context) != RETNET_OK) return 1;
    bench b = {.device = &context->device};
    bool is_large = false;
    for (int i = 1; i < argc; i++) is_large |= strcmp(argv[i], "6.7b") == 0;
    retnet_result result = prepare(&b);
    for (retnet_weight_format format = RETNET_WEIGHTS_F32; format <= RETNET_WEIGHTS_Q4 && result == RETNET_OK;
         format++) {
        bool wanted = argc == 1 && format == RETNET_WEIGHTS_F16;
        for (int i = 1; i < argc; i++) wanted |= strcmp(argv[i], retnet_weight_format_name(format)) == 0;
        for (size_t i = 0; wanted && i < RN_COUNT(small); i++) sweep(&b, &small[i], format);
        for (size_t i = 0; wanted && is_large && i < RN_COUNT(large); i++) sweep(&b, &large[i], format);
    }
    rn_recorder_destroy(&b.recorder);
    rn_recorder_destroy(&b.prepare);
    rn_buffer_destroy(b.device, &b.weights);
    rn_buffer_destroy(b.device, &b.activations);
    rn_buffer_destroy(b.device, &b.params);
    retnet_context_destroy(context);
    return result == RETNET_OK ? 0 : 1;
}
