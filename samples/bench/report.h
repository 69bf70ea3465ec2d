/* report.h: what was measured, as a table while it is being measured and as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bandwidth.h"
#include "measure.h"

#include <stdio.h>

typedef struct json_t json_t;

typedef struct bench_report {
    FILE *table;
    bench_bandwidth bandwidth;
    const char *json_path; /* NULL: no JSON; "-": stdout */
    json_t *root;
    json_t *results; /* of the current model; owned by root */
} bench_report;

/* False, with a complaint on stderr, if the JSON file cannot be written. */
bool bench_report_begin(bench_report *report, const char *json_path, const retnet_device_info *device,
                        const bench_bandwidth *bandwidth);
/* A model that the following cases are measured with; `source` is its directory or shape. */
void bench_report_model(bench_report *report, const char *source, const retnet_model_info *info, double load_seconds);
void bench_report_case(bench_report *report, const measurement *m);
/* Something that could not be measured; it shall not be missing from the JSON without a word. */
void bench_report_error(bench_report *report, const char *what, retnet_result result, const char *message);
bool bench_report_end(bench_report *report);

#endif
