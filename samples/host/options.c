/* options.c: see options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: host [OPTION]...\n"
    "Draws an animated picture at a fixed rate on a Vulkan device of its own, and lets a language model work beside "
    "it:\n"
    "first not at all, then in submits of the library's, then in command buffers of its own. Prints what that does to\n"
    "the frames, and how many tokens come of it.\n"
    "\n"
    "      --model DIR       checkpoint\n"
    "      --shape SHAPE     synthetic weights instead: 30m, 1.3b, 2.7b or 6.7b; default 30m\n"
    "      --frames N        frames of each phase; default 300\n"
    "      --rate HZ         frames a second; 0: as fast as they come; default 60\n"
    "      --load N          how often a frame works its picture over; default 100\n"
    "      --budget-us N     device time for the library in each frame; default 2000\n"
    "      --phases LIST     of none, step and record; default none,step,record\n"
    "      --prompt N        tokens that a slot reads before it makes some; default 32\n"
    "      --slots N         slots at work; default 1\n"
    "      --threads N       threads that prepare kernels; default: one a core, up to 8\n"
    "      --second-queue    the library submits to a queue of its own, if the device has one to spare\n"
    "      --device NAME     part of a Vulkan device's name; default: the first device\n"
    "      --picture FILE    write the last picture as PPM\n"
    "      --json            print JSON\n"
    "  -h, --help            this text\n"
    "\n"
    "Exit status: 0 success, 1 something failed or the pictures of two phases differ, 2 bad usage.\n";

enum {
    OPTION_MODEL = 256,
    OPTION_SHAPE,
    OPTION_FRAMES,
    OPTION_RATE,
    OPTION_LOAD,
    OPTION_BUDGET,
    OPTION_PHASES,
    OPTION_PROMPT,
    OPTION_SLOTS,
    OPTION_THREADS,
    OPTION_SECOND_QUEUE,
    OPTION_DEVICE,
    OPTION_PICTURE,
    OPTION_JSON
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, OPTION_MODEL},
    {"shape", required_argument, NULL, OPTION_SHAPE},
    {"frames", required_argument, NULL, OPTION_FRAMES},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"load", required_argument, NULL, OPTION_LOAD},
    {"budget-us", required_argument, NULL, OPTION_BUDGET},
    {"phases", required_argument, NULL, OPTION_PHASES},
    {"prompt", required_argument, NULL, OPTION_PROMPT},
    {"slots", required_argument, NULL, OPTION_SLOTS},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"second-queue", no_argument, NULL, OPTION_SECOND_QUEUE},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"picture", required_argument, NULL, OPTION_PICTURE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

const char *host_phase_name(host_phase phase)
{
    static const char *const names[] = {"none", "step", "record"};
    return names[phase];
}

static bool parse_number(const char *option, const char *text, uint32_t low, uint32_t high, uint32_t *value)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && !errno && number >= low && number <= high) {
        *value = (uint32_t)number;
        return true;
    }
    fprintf(stderr, "host: --%s %s: expected a number from %u to %u\n", option, text, low, high);
    return false;
}

static bool parse_phases(const char *text, host_options *options)
{
    memset(options->phases, 0, sizeof options->phases);
    while (*text) {
        size_t length = strcspn(text, ",");
        int found = -1;
        for (int i = 0; i < PHASES; i++) {
            const char *name = host_phase_name((host_phase)i);
            if (strlen(name) == length && strncmp(text, name, length) == 0) found = i;
        }
        if (found < 0) {
            fprintf(stderr, "host: --phases %s: expected some of none, step and record\n", text);
            return false;
        }
        options->phases[found] = true;
        text += length + (text[length] == ',');
    }
    return true;
}

static bool parse_option(int option, const char *value, host_options *o)
{
    switch (option) {
    case OPTION_MODEL: o->model = value; return true;
    case OPTION_SHAPE: o->shape = value; return true;
    case OPTION_FRAMES: return parse_number("frames", value, 2, 1000000, &o->frames);
    case OPTION_RATE: return parse_number("rate", value, 0, 1000, &o->rate);
    case OPTION_LOAD: return parse_number("load", value, 1, 1000000, &o->load);
    case OPTION_BUDGET: return parse_number("budget-us", value, 1, 1000000, &o->budget_us);
    case OPTION_PHASES: return parse_phases(value, o);
    case OPTION_PROMPT: return parse_number("prompt", value, 1, 1000000, &o->prompt);
    case OPTION_SLOTS: return parse_number("slots", value, 1, 64, &o->slots);
    case OPTION_THREADS: return parse_number("threads", value, 1, 64, &o->threads);
    case OPTION_SECOND_QUEUE: o->second_queue = true; return true;
    case OPTION_DEVICE: o->device = value; return true;
    case OPTION_PICTURE: o->picture = value; return true;
    case OPTION_JSON: o->json = true; return true;
    default: return false;
    }
}

host_parse host_options_parse(int argc, char **argv, host_options *options)
{
    *options = (host_options){.shape = "30m",
                              .frames = 300,
                              .rate = 60,
                              .load = 100,
                              .budget_us = 2000,
                              .prompt = 32,
                              .slots = 1,
                              .phases = {true, true, true}};
    for (int option; (option = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help_text, stdout);
            return HOST_PARSE_EXIT;
        }
        if (!parse_option(option, optarg, options)) return HOST_PARSE_BAD;
    }
    if (optind == argc) return HOST_PARSE_RUN;
    fprintf(stderr, "host: unexpected argument %s\n", argv[optind]);
    return HOST_PARSE_BAD;
}
