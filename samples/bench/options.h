/* options.h: the command line of bench. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <retnet/retnet.h>

enum { BENCH_LIST_MAX = 16 };

/* Values of an option that takes several, separated by commas. */
typedef struct bench_numbers {
    size_t count;
    uint32_t values[BENCH_LIST_MAX];
} bench_numbers;

typedef struct bench_options {
    const char *model; /* checkpoint's directory; NULL: synthetic models of `shapes` */
    const char *shapes[BENCH_LIST_MAX];
    size_t shape_count;
    retnet_weight_format formats[BENCH_LIST_MAX];
    size_t format_count;
    bench_numbers prompts;      /* lengths to time; 0: none */
    bench_numbers batches;      /* slots that decode at once */
    bench_numbers positions;    /* at which decoding is timed; 0: right after a short prompt */
    uint32_t decode;            /* tokens a slot and timed call; 0: no decoding */
    uint32_t repeat;            /* timed calls a case */
    uint32_t warmup;            /* tokens before the timed ones; for prompts: whether there are untimed ones */
    uint32_t prompt_chunk;      /* tokens; 0: the library's choice */
    uint32_t tokens_per_submit; /* at most; 0: the library's choice */
    bool fixed;                 /* kernels by rule alone, not by measurement */
    bool no_matrix;             /* as on a device without matrix units */
    bool sample;                /* decode at temperature 0.8 with top-k 40 and top-p 0.95 instead of greedily */
    const char *device;         /* number or part of a name; NULL: the library's choice */
    const char *json;           /* file, "-" for stdout; NULL: none */
    bool profile;
} bench_options;

typedef enum bench_parse { BENCH_PARSE_RUN, BENCH_PARSE_EXIT, BENCH_PARSE_BAD } bench_parse;

/* Fills `options`, which then points into argv. Prints help to stdout (EXIT) and complaints to stderr (BAD). */
bench_parse bench_options_parse(int argc, char **argv, bench_options *options);

#endif
