/* linear_sweep.c: times linear.comp, one column, over shapes of a workgroup, for the matrices of the named models. What
 * the choice in lib/layers/linear.c rests on. Every dispatch reads a matrix that is not in the cache and waits for the
 * one before it, as in decoding.
 *
 *     linear_sweep [f16|q8|q4 ...]
 */
#include "context.h"
#include "layers/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DISPATCHES = 64 };

typedef struct projection {
    const char *name;
    uint32_t rows, inputs;
    bool glu;
} projection;

static const projection projections[] = {
    {"1.3b qkvg", 12288, 2048, false}, {"1.3b o", 2048, 4096, false},     {"1.3b up", 2816, 2048, true},
    {"1.3b down", 2048, 2816, false},  {"1.3b head", 32000, 2048, false},
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
    rn_recorder recorder;
} bench;

/* Seconds of one dispatch, the best of the submits of 0.1 s: a GPU that was idle while the kernel was compiled takes
 * tens of milliseconds to raise its clocks. Negative on failure. */
static double time_shape(bench *b, const projection *p, retnet_weight_format format, rn_linear_shape shape)
{
    rn_matrix matrix = {
        .buffer = &b->weights, .format = format, .rows = p->rows, .inputs = p->inputs, .alternating = p->glu};
    matrix.bytes = rn_matrix_panels(&matrix) * rn_matrix_panel_bytes(&matrix);
    uint64_t copies = b->weights.size / matrix.bytes;
    rn_recorder_begin(&b->recorder);
    for (uint32_t i = 0; i < DISPATCHES; i++) {
        matrix.offset = rn_round_up(matrix.bytes, 256) * (i % (copies - 1));
        rn_linear linear = {
            .matrix = &matrix,
            .input = {&b->activations, 0, 1 << 18},
            .output = {&b->activations, 1 << 18, 1 << 18},
            .params = {&b->params, 0, b->params.size},
            .columns = 1,
            .x_stride = 16384,
            .y_stride = 65536,
            .prologue = RN_PROLOGUE_RMS_NORM,
            .epilogue = p->glu ? RN_EPILOGUE_GLU : RN_EPILOGUE_STORE,
            .activation = p->glu,
            .shape = shape,
        };
        rn_linear_record(&b->recorder, &linear);
    }
    if (rn_recorder_end(&b->recorder) != RETNET_OK) return -1;
    double best = 1e9, end = seconds() + 0.1;
    for (double begin = seconds(); begin < end; begin = seconds()) {
        if (rn_recorder_run(&b->recorder) != RETNET_OK) return -1;
        double took = seconds() - begin;
        best = took < best ? took : best;
    }
    return best / DISPATCHES;
}

static void sweep(bench *b, const projection *p, retnet_weight_format format)
{
    rn_matrix matrix = {.format = format, .rows = p->rows, .inputs = p->inputs, .alternating = p->glu};
    double bytes = (double)rn_matrix_panels(&matrix) * (double)rn_matrix_panel_bytes(&matrix);
    printf("%s %s, %.1f MB\n", p->name, retnet_weight_format_name(format), bytes * 1e-6);
    for (uint32_t rows = 8; rows <= 32; rows *= 2)
        for (uint32_t local = 128; local <= 512; local *= 2)
            for (uint32_t ahead = 1; ahead <= 2; ahead *= 2) {
                rn_linear_shape shape = {rows, local / rows, 1, ahead, 132};
                if (shape.splits * ahead > rn_matrix_blocks(&matrix)) continue;
                double took = time_shape(b, p, format, shape);
                printf("  %2u rows x %2u splits, %u ahead: %7.2f us %7.0f GB/s\n", rows, shape.splits, ahead,
                       took * 1e6, bytes / took * 1e-9);
                fflush(stdout);
            }
}

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

static retnet_result prepare(bench *b)
{
    retnet_result result = rn_buffer_create(b->device, b->device->caps.is_cpu ? 1u << 28 : 1u << 30, RN_MEMORY_DEVICE,
                                            "weights", &b->weights);
    if (result == RETNET_OK) result = rn_buffer_create(b->device, 1 << 19, RN_MEMORY_DEVICE, "x", &b->activations);
    if (result == RETNET_OK) result = rn_buffer_create(b->device, 1 << 16, RN_MEMORY_DEVICE, "params", &b->params);
    if (result == RETNET_OK) result = rn_recorder_create(b->device, &b->recorder);
    if (result != RETNET_OK) return result;
    rn_recorder_begin(&b->recorder);
    rn_recorder_fill_zero(&b->recorder, &b->weights, 0, b->weights.size);
    rn_recorder_fill_zero(&b->recorder, &b->activations, 0, b->activations.size);
    rn_recorder_fill_zero(&b->recorder, &b->params, 0, b->params.size);
    result = rn_recorder_end(&b->recorder);
    return result == RETNET_OK ? rn_recorder_run(&b->recorder) : result;
}

int main(int argc, char **argv)
{
    retnet_context *context;
    if (retnet_context_create(&(retnet_context_desc){.log = on_log}, &context) != RETNET_OK) return 1;
    bench b = {.device = &context->device};
    retnet_result result = prepare(&b);
    for (retnet_weight_format format = RETNET_WEIGHTS_F32; format <= RETNET_WEIGHTS_Q4 && result == RETNET_OK;
         format++) {
        bool wanted = argc == 1 && format == RETNET_WEIGHTS_F16;
        for (int i = 1; i < argc; i++) wanted |= strcmp(argv[i], retnet_weight_format_name(format)) == 0;
        for (size_t i = 0; wanted && i < RN_COUNT(projections); i++) sweep(&b, &projections[i], format);
    }
    rn_recorder_destroy(&b.recorder);
    rn_buffer_destroy(b.device, &b.weights);
    rn_buffer_destroy(b.device, &b.activations);
    rn_buffer_destroy(b.device, &b.params);
    retnet_context_destroy(context);
    return result == RETNET_OK ? 0 : 1;
}
