/* bench: measures prompts and decoding of every combination of models, formats, lengths and batches asked for. */
#include "measure.h"
#include "options.h"
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

typedef struct bench {
    bench_options options;
    bench_report report;
    retnet_context *context;
    bool failed; /* something could not be measured */
    bool lost;   /* and the device is gone */
} bench;

static void log_message(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level != RETNET_LOG_INFO) fprintf(stderr, "bench: %s\n", message);
}

static void progress(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static bool show_load(void *user, uint64_t done, uint64_t total)
{
    int *shown = user, percent = total ? (int)(100 * done / total) : 100;
    if (percent != *shown) fprintf(stderr, "\rbench: loading %3d %%%s", percent, percent == 100 ? "\n" : "");
    *shown = percent;
    return true;
}

/* ---- Work ------------------------------------------------------------------------------------------------------- */

/* Notes a failed call, whose message the log has shown; measuring goes on with the next case unless the device is
 * lost. */
static void fail(bench *b, const char *what, retnet_result result)
{
    char message[512];
    retnet_context_last_message(b->context, message, sizeof message);
    progress("%s: %s", what, retnet_result_text(result));
    bench_report_error(&b->report, what, result, message);
    b->failed = true;
    b->lost = b->lost || result == RETNET_ERROR_DEVICE_LOST;
}

/* Reports what a case gave; a profile that failed leaves the times standing. */
static void finish_case(bench *b, const char *what, retnet_result result, measurement *m)
{
    if (m->tokens_per_second > 0) bench_report_case(&b->report, m);
    if (result != RETNET_OK) fail(b, what, result);
    bench_measurement_release(m);
}

static void measure_prompt(bench *b, retnet_model *model, uint32_t length)
{
    char what[64];
    measurement m;
    snprintf(what, sizeof what, "prompt %u", length);
    progress("%s", what);
    retnet_result result = bench_measure_prompt(model, &b->options, length, &m);
    finish_case(b, what, result, &m);
}

static void measure_decode(bench *b, retnet_model *model, uint32_t batch, uint32_t position)
{
    char what[64];
    measurement m;
    snprintf(what, sizeof what, "decode, batch %u, position %u", batch, position);
    progress("%s", what);
    retnet_result result = bench_measure_decode(model, &b->options, batch, position, &m);
    finish_case(b, what, result, &m);
}

static void measure_model(bench *b, retnet_model *model)
{
    const bench_options *o = &b->options;
    for (size_t i = 0; i < o->prompts.count && !b->lost; i++)
        if (o->prompts.values[i] > 0) measure_prompt(b, model, o->prompts.values[i]);
    if (o->decode == 0) return;
    for (size_t i = 0; i < o->batches.count; i++)
        for (size_t k = 0; k < o->positions.count && !b->lost; k++)
            measure_decode(b, model, o->batches.values[i], o->positions.values[k]);
}

/* `shape` or the options' checkpoint. */
static void measure_source(bench *b, const char *shape, retnet_weight_format format)
{
    const char *source = shape ? shape : b->options.model;
    const char *name = retnet_weight_format_name(format);
    int shown = -1;
    retnet_model *model = NULL;
    progress("%s %s%s%s", shape ? "making" : "loading", source, format ? " as " : "", format ? name : "");
    double start = bench_seconds();
    retnet_result result =
        shape ? retnet_model_synthesize(b->context, shape, format, &model)
              : retnet_model_load(b->context,
                                  &(retnet_model_desc){.path = source,
                                                       .format = format,
                                                       .progress = isatty(STDERR_FILENO) ? show_load : NULL,
                                                       .progress_user = &shown},
                                  &model);
    if (result != RETNET_OK) {
        fail(b, source, result);
        return;
    }
    retnet_model_info info;
    retnet_model_get_info(model, &info);
    bench_report_model(&b->report, source, &info, bench_seconds() - start);
    measure_model(b, model);
    retnet_model_destroy(model);
}

static void measure_all(bench *b)
{
    const bench_options *o = &b->options;
    for (size_t i = 0; i < (o->model ? 1 : o->shape_count); i++)
        for (size_t k = 0; k < o->format_count && !b->lost; k++)
            measure_source(b, o->model ? NULL : o->shapes[i], o->formats[k]);
}

static retnet_result create_context(bench *b)
{
    const char *device = b->options.device;
    bool is_number = device && *device && device[strspn(device, "0123456789")] == '\0';
    const retnet_context_desc desc = {
        .log = log_message,
        .fixed_kernels = b->options.fixed,
        .pretend = b->options.no_matrix ? RETNET_PRETEND_NO_COOPERATIVE_MATRIX : 0,
        .device_name = is_number ? NULL : device,
        .device_number = is_number ? (uint32_t)strtoul(device, NULL, 10) : 0,
    };
    return retnet_context_create(&desc, &b->context);
}

int main(int argc, char **argv)
{
    bench b = {0};
    bench_parse parse = bench_options_parse(argc, argv, &b.options);
    if (parse != BENCH_PARSE_RUN) return parse == BENCH_PARSE_BAD ? EXIT_USAGE : EXIT_SUCCESS;

    retnet_result result = create_context(&b);
    if (result != RETNET_OK) {
        progress("no context: %s", retnet_result_text(result));
        return EXIT_FAILURE;
    }
    retnet_device_info device;
    retnet_context_device_info(b.context, &device);
    bench_bandwidth bandwidth;
    result = bench_measure_bandwidth(b.context, &bandwidth);
    if (result != RETNET_OK) progress("bandwidth: %s", retnet_result_text(result));
    b.failed = !bench_report_begin(&b.report, b.options.json, &device, &bandwidth);
    if (!b.failed) {
        measure_all(&b);
        b.failed |= !bench_report_end(&b.report);
    }
    retnet_context_destroy(b.context);
    return b.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
