/* options.c: see options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help_text[] =
    "Usage: chat [OPTION]...\n"
    "Talk with a retentive network. A conversation on a terminal, an answer per line of a pipe.\n"
    "\n"
    "      --model DIR          checkpoint with config.json, model.safetensors, tokenizer.model; default: the\n"
    "                           bundled villager\n"
    "  -p, --prompt TEXT        print the answer to TEXT and exit\n"
    "      --system TEXT        who the model shall be\n"
    "      --device NAME|N      part of a Vulkan device's name, or its number from 1\n"
    "      --format FORMAT      keep the weights as f32, f16, bf16, q8 or q4; default: as stored\n"
    "      --temperature X      0: always the likeliest token; default 0.6\n"
    "      --top-k N            choose among the N likeliest tokens; default 0: all\n"
    "      --top-p X            choose among the likeliest tokens that have X of the probability; default 0.9\n"
    "      --min-p X            leave out tokens less likely than X times the likeliest; default 0\n"
    "      --repeat-penalty X   make recent tokens less likely; default 1: off\n"
    "      --seed N             same seed, same answers; default: another one each time\n"
    "      --max-tokens N       longest answer; default 512\n"
    "      --validate           run under the Vulkan validation layers; a message makes the exit status 1\n"
    "  -q, --quiet              no banner\n"
    "  -h, --help               this text\n"
    "      --version            the version\n"
    "\n"
    "Ctrl-C stops an answer, Ctrl-D ends the conversation, /help lists its commands. Exit status: 0 success,\n"
    "1 failure, 2 bad usage. NO_COLOR is honoured.\n";

enum {
    OPTION_MODEL = 256,
    OPTION_SYSTEM,
    OPTION_DEVICE,
    OPTION_FORMAT,
    OPTION_TEMPERATURE,
    OPTION_TOP_K,
    OPTION_TOP_P,
    OPTION_MIN_P,
    OPTION_REPEAT_PENALTY,
    OPTION_SEED,
    OPTION_MAX_TOKENS,
    OPTION_VALIDATE,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, OPTION_MODEL},
    {"prompt", required_argument, NULL, 'p'},
    {"system", required_argument, NULL, OPTION_SYSTEM},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"temperature", required_argument, NULL, OPTION_TEMPERATURE},
    {"top-k", required_argument, NULL, OPTION_TOP_K},
    {"top-p", required_argument, NULL, OPTION_TOP_P},
    {"min-p", required_argument, NULL, OPTION_MIN_P},
    {"repeat-penalty", required_argument, NULL, OPTION_REPEAT_PENALTY},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"max-tokens", required_argument, NULL, OPTION_MAX_TOKENS},
    {"validate", no_argument, NULL, OPTION_VALIDATE},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {0},
};

bool parse_number(const char *text, double low, double high, double *value)
{
    char *end;
    errno = 0;
    double number = strtod(text, &end);
    if (end == text || *end || errno || !(number >= low && number <= high)) return false;
    *value = number;
    return true;
}

static bool parse_whole(const char *text, uint64_t high, uint64_t *value)
{
    /* strtoull takes signs and spaces, which are no part of a count. */
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (errno || number > high) return false;
    *value = number;
    return true;
}

static bool parse_device(const char *text, options *options)
{
    uint64_t number;
    if (parse_whole(text, UINT32_MAX, &number)) {
        options->device_number = (uint32_t)number;
        return number > 0;
    }
    options->device_name = text;
    return *text;
}

static bool parse_format(const char *text, retnet_weight_format *format)
{
    const char *name;
    for (int i = RETNET_WEIGHTS_F32; (name = retnet_weight_format_name((retnet_weight_format)i)); i++)
        if (strcmp(name, text) == 0) {
            *format = (retnet_weight_format)i;
            return true;
        }
    return false;
}

/* One option with an argument; false if the argument is not a value for it. */
static bool parse_value(options *options, int option, const char *text)
{
    retnet_sampling *sampling = &options->sampling;
    double number = 0;
    uint64_t whole = 0;
    bool good = true;
    switch (option) {
    case 'p': options->prompt = text; break;
    case OPTION_MODEL: options->model = text; break;
    case OPTION_SYSTEM: options->system = text; break;
    case OPTION_DEVICE: good = parse_device(text, options); break;
    case OPTION_FORMAT: good = parse_format(text, &options->format); break;
    case OPTION_TEMPERATURE:
        good = parse_number(text, 0, 100, &number);
        sampling->temperature = (float)number;
        break;
    case OPTION_TOP_K:
        good = parse_whole(text, UINT32_MAX, &whole);
        sampling->top_k = (uint32_t)whole;
        break;
    case OPTION_TOP_P:
        good = parse_number(text, 0, 1, &number);
        sampling->top_p = (float)number;
        break;
    case OPTION_MIN_P:
        good = parse_number(text, 0, 0.999, &number);
        sampling->min_p = (float)number;
        break;
    case OPTION_REPEAT_PENALTY:
        good = parse_number(text, 0.01, 100, &number);
        sampling->repetition_penalty = (float)number;
        break;
    case OPTION_SEED: good = parse_whole(text, UINT64_MAX, &sampling->seed); break;
    case OPTION_MAX_TOKENS:
        good = parse_whole(text, UINT32_MAX, &whole) && whole > 0;
        options->max_tokens = (uint32_t)whole;
        break;
    }
    return good;
}

static options_result complain(const char *what, const char *which)
{
    fprintf(stderr, "chat: %s %s; see chat --help\n", what, which);
    return OPTIONS_BAD;
}

/* What getopt_long did not take: the whole word, or one letter of several. */
static options_result complain_option(const char *word)
{
    char letter[] = {'-', (char)optopt, 0};
    bool is_letter = optopt > 0 && optopt < 128 && strncmp(word, "--", 2) != 0;
    return complain("bad option", is_letter ? letter : word);
}

static const char *option_name(int option)
{
    for (const struct option *known = long_options; known->name; known++)
        if (known->val == option) return known->name;
    return "?";
}

options_result options_parse(options *options, int count, char **arguments)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    memset(options, 0, sizeof *options);
    options->max_tokens = 512;
    options->sampling.temperature = 0.6f;
    options->sampling.top_p = 0.9f;
    options->sampling.seed = (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec;

    int option;
    opterr = 0;
    while ((option = getopt_long(count, arguments, ":p:qh", long_options, NULL)) != -1) {
        switch (option) {
        case 'h': fputs(help_text, stdout); return OPTIONS_DONE;
        case OPTION_VERSION:
            printf("chat (retnet) %d.%d.%d\n", RETNET_VERSION_MAJOR, RETNET_VERSION_MINOR, RETNET_VERSION_PATCH);
            return OPTIONS_DONE;
        case OPTION_VALIDATE: options->validate = true; break;
        case 'q': options->quiet = true; break;
        case ':': return complain("a value is missing after", arguments[optind - 1]);
        case '?': return complain_option(arguments[optind - 1]);
        default:
            if (parse_value(options, option, optarg)) break;
            fprintf(stderr, "chat: \"%s\" is no value for --%s; see chat --help\n", optarg, option_name(option));
            return OPTIONS_BAD;
        }
    }
    if (optind < count) return complain("unexpected argument", arguments[optind]);
    return OPTIONS_RUN;
}
