/* options.c: see options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: bench [OPTION]...\n"
    "Measures how fast a retentive network reads prompts and decodes tokens on a Vulkan device.\n"
    "\n"
    "      --model DIR       checkpoint to measure\n"
    "      --shape SHAPE     synthetic weights instead: 30m, 1.3b, 2.7b or 6.7b; default 30m *\n"
    "      --format FORMAT   keep the weights as f32, f16, bf16, q8 or q4; default: as stored, synthetic ones f16 *\n"
    "      --prompt N        length of a prompt to time; 0: none; default 512 *\n"
    "      --batch N         slots that decode at once; default 1 *\n"
    "      --position N      tokens that a slot has read when the timed decoding begins; default 0: a short prompt *\n"
    "      --decode N        tokens that each slot decodes in a timed call; 0: none; default 256\n"
    "      --repeat N        timed calls a case; default 3\n"
    "      --warmup N        tokens decoded before the timed ones; 0: also no untimed prompts; default 32\n"
    "      --prompt-chunk N  most tokens of a prompt in one pass; default 0: the library's choice\n"
    "      --tokens-per-submit N  most tokens of a slot in one submit; default 0: the library's choice\n"
    "      --fixed           choose kernels by rule alone, not by measurement\n"
    "      --no-matrix       do without the device's matrix units, as other GPUs have to\n"
    "      --sample          draw tokens (temperature 0.8, top-k 40, top-p 0.95) instead of taking the likeliest\n"
    "      --device NAME|N   part of a Vulkan device's name, or its number from 1\n"
    "      --profile         afterwards, time per kernel, measured in a call of its own\n"
    "      --json FILE       write what was measured as JSON; -: to stdout, and the table to stderr\n"
    "      --version         the version\n"
    "  -h, --help            this text\n"
    "\n"
    "Options marked * take several values separated by commas; every combination is measured. Exit status: 0 success,\n"
    "1 something could not be measured, 2 bad usage.\n";

enum {
    OPTION_MODEL = 256,
    OPTION_SHAPE,
    OPTION_FORMAT,
    OPTION_PROMPT,
    OPTION_BATCH,
    OPTION_POSITION,
    OPTION_DECODE,
    OPTION_REPEAT,
    OPTION_WARMUP,
    OPTION_PROMPT_CHUNK,
    OPTION_TOKENS_PER_SUBMIT,
    OPTION_FIXED,
    OPTION_NO_MATRIX,
    OPTION_SAMPLE,
    OPTION_DEVICE,
    OPTION_PROFILE,
    OPTION_JSON,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, OPTION_MODEL},
    {"shape", required_argument, NULL, OPTION_SHAPE},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"prompt", required_argument, NULL, OPTION_PROMPT},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"position", required_argument, NULL, OPTION_POSITION},
    {"decode", required_argument, NULL, OPTION_DECODE},
    {"repeat", required_argument, NULL, OPTION_REPEAT},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"prompt-chunk", required_argument, NULL, OPTION_PROMPT_CHUNK},
    {"tokens-per-submit", required_argument, NULL, OPTION_TOKENS_PER_SUBMIT},
    {"sample", no_argument, NULL, OPTION_SAMPLE},
    {"fixed", no_argument, NULL, OPTION_FIXED},
    {"no-matrix", no_argument, NULL, OPTION_NO_MATRIX},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"profile", no_argument, NULL, OPTION_PROFILE},
    {"json", required_argument, NULL, OPTION_JSON},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool complain(const char *option, const char *value, const char *expected)
{
    fprintf(stderr, "bench: --%s %s: expected %s\n", option, value, expected);
    return false;
}

static bool parse_number(const char *option, const char *text, uint32_t low, uint32_t high, uint32_t *value)
{
    char *end, expected[80];
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && !errno && number >= low && number <= high) {
        *value = (uint32_t)number;
        return true;
    }
    snprintf(expected, sizeof expected, "a number from %u to %u", low, high);
    return complain(option, text, expected);
}

/* Splits `text` in place at its commas. */
static size_t split(char *text, char *parts[BENCH_LIST_MAX])
{
    size_t count = 0;
    for (char *part = text; part && count < BENCH_LIST_MAX; count++) {
        parts[count] = part;
        part = strchr(part, ',');
        if (part) *part++ = '\0';
        if (part && count + 1 == BENCH_LIST_MAX) return 0;
    }
    return count;
}

static bool parse_numbers(const char *option, char *text, uint32_t low, uint32_t high, bench_numbers *numbers)
{
    char *parts[BENCH_LIST_MAX];
    numbers->count = split(text, parts);
    if (numbers->count == 0) return complain(option, text, "at most 16 values");
    for (size_t i = 0; i < numbers->count; i++)
        if (!parse_number(option, parts[i], low, high, &numbers->values[i])) return false;
    return true;
}

static bool parse_shapes(char *text, bench_options *options)
{
    static const char *const known[] = {"30m", "1.3b", "2.7b", "6.7b"};
    char *parts[BENCH_LIST_MAX];
    options->shape_count = split(text, parts);
    if (options->shape_count == 0) return complain("shape", text, "at most 16 values");
    for (size_t i = 0; i < options->shape_count; i++) {
        options->shapes[i] = NULL;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (strcmp(parts[i], known[k]) == 0) options->shapes[i] = known[k];
        if (!options->shapes[i]) return complain("shape", parts[i], "30m, 1.3b, 2.7b or 6.7b");
    }
    return true;
}

static bool parse_formats(char *text, bench_options *options)
{
    char *parts[BENCH_LIST_MAX];
    options->format_count = split(text, parts);
    if (options->format_count == 0) return complain("format", text, "at most 16 values");
    for (size_t i = 0; i < options->format_count; i++) {
        retnet_weight_format format = RETNET_WEIGHTS_F32;
        while (format <= RETNET_WEIGHTS_Q4 && strcmp(retnet_weight_format_name(format), parts[i]) != 0) format++;
        if (format > RETNET_WEIGHTS_Q4) return complain("format", parts[i], "f32, f16, bf16, q8 or q4");
        options->formats[i] = format;
    }
    return true;
}

static bool parse_option(int option, bench_options *options)
{
    switch (option) {
    case OPTION_MODEL: options->model = optarg; return true;
    case OPTION_SHAPE: return parse_shapes(optarg, options);
    case OPTION_FORMAT: return parse_formats(optarg, options);
    case OPTION_PROMPT: return parse_numbers("prompt", optarg, 0, 1u << 24, &options->prompts);
    case OPTION_BATCH: return parse_numbers("batch", optarg, 1, 1u << 16, &options->batches);
    case OPTION_POSITION: return parse_numbers("position", optarg, 0, 1u << 29, &options->positions);
    case OPTION_DECODE: return parse_number("decode", optarg, 0, 1u << 24, &options->decode);
    case OPTION_REPEAT: return parse_number("repeat", optarg, 1, 10000, &options->repeat);
    case OPTION_WARMUP: return parse_number("warmup", optarg, 0, 1u << 24, &options->warmup);
    case OPTION_PROMPT_CHUNK: return parse_number("prompt-chunk", optarg, 0, 65536, &options->prompt_chunk);
    case OPTION_TOKENS_PER_SUBMIT: return parse_number("tokens-per-submit", optarg, 0, 64, &options->tokens_per_submit);
    case OPTION_SAMPLE: options->sample = true; return true;
    case OPTION_FIXED: options->fixed = true; return true;
    case OPTION_NO_MATRIX: options->no_matrix = true; return true;
    case OPTION_DEVICE: options->device = optarg; return true;
    case OPTION_PROFILE: options->profile = true; return true;
    case OPTION_JSON: options->json = optarg; return true;
    default: return false; /* getopt_long has said why */
    }
}

bench_parse bench_options_parse(int argc, char **argv, bench_options *options)
{
    *options = (bench_options){
        .format_count = 1, /* one format: 0, the default of the model */
        .prompts = {1, {512}},
        .batches = {1, {1}},
        .positions = {1, {0}},
        .decode = 256,
        .repeat = 3,
        .warmup = 32,
    };
    for (int option; (option = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help_text, stdout);
            return BENCH_PARSE_EXIT;
        }
        if (option == OPTION_VERSION) {
            printf("bench %d.%d.%d\n", RETNET_VERSION_MAJOR, RETNET_VERSION_MINOR, RETNET_VERSION_PATCH);
            return BENCH_PARSE_EXIT;
        }
        if (!parse_option(option, options)) return BENCH_PARSE_BAD;
    }
    if (optind < argc) {
        fprintf(stderr, "bench: what is \"%s\"? See bench --help\n", argv[optind]);
        return BENCH_PARSE_BAD;
    }
    if (options->model && options->shape_count) {
        fprintf(stderr, "bench: --model and --shape exclude each other\n");
        return BENCH_PARSE_BAD;
    }
    if (!options->model && !options->shape_count) options->shapes[options->shape_count++] = "30m";
    return BENCH_PARSE_RUN;
}
