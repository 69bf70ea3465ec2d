/* options.c: see options.h. */
#include "options.h"

#include "panel.h"
#include "report.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help_text[] =
    "Usage: village [OPTION]...\n"
    "A village whose people talk, each with a memory of its own, on the device that draws it.\n"
    "\n"
    "      --model DIR        checkpoint with config.json, model.safetensors, tokenizer.model; default: the bundled "
    "one\n"
    "      --villagers N      how many there are; default 12\n"
    "      --talkers N        how many may talk to each other at once; default: all\n"
    "      --pause SECONDS    between their lines; default 3\n"
    "      --budget-us N      device time for the model in a frame, in microseconds; default 2000\n"
    "      --temperature X    0: always the likeliest word; default 0.5\n"
    "      --seed N           same seed, same village; default: another one each time\n"
    "      --save FILE        what F5 writes and F9 reads; default village.save\n"
    "      --size WxH         of the window; default 1280x800\n"
    "      --device NAME      part of a Vulkan device's name\n"
    "      --font FILE        a TrueType font; default: DejaVu Sans where systems have it\n"
    "      --validate         run under the Vulkan validation layers; a message makes the exit status 1\n"
    "      --panel            with the panel of figures open\n"
    "\n"
    "For tests and measurements:\n"
    "      --offscreen        no window system, 60 frames a second\n"
    "      --fast             with --offscreen: as many as there can be\n"
    "      --load N           draws each picture so often over, like a game with more to draw; default 1\n"
    "      --script FILE      commands, a line each (see script.h); the game ends with them\n"
    "      --frames N         ends after so many frames\n"
    "      --screenshot FILE  the last picture as PNG\n"
    "      --transcript FILE  what the player says and hears\n"
    "      --stats FILE       times, tokens and memory as JSON, at the end\n"
    "      --frame-log FILE   a line of figures a frame\n"
    "  -h, --help             this text\n"
    "      --version          the version\n"
    "\n"
    "Keys: arrows or WASD walk, Enter talks and sends, Esc leaves, Tab suggests something to say, F1 shows figures,\n"
    "F5 saves, F9 loads, F6 takes back the last exchange. Gamepad: stick or cross walks, A talks and sends, X "
    "suggests\n"
    "something to say, B leaves, Y shows figures, Back takes back, the shoulder buttons change the budget.\n"
    "Exit status: 0 success, 1 failure, 2 bad usage.\n";

enum {
    OPTION_MODEL = 256,
    OPTION_VILLAGERS,
    OPTION_TALKERS,
    OPTION_PAUSE,
    OPTION_BUDGET,
    OPTION_TEMPERATURE,
    OPTION_SEED,
    OPTION_SAVE,
    OPTION_SIZE,
    OPTION_LOAD,
    OPTION_DEVICE,
    OPTION_FONT,
    OPTION_VALIDATE,
    OPTION_PANEL,
    OPTION_OFFSCREEN,
    OPTION_FAST,
    OPTION_SCRIPT,
    OPTION_FRAMES,
    OPTION_SCREENSHOT,
    OPTION_TRANSCRIPT,
    OPTION_STATS,
    OPTION_FRAME_LOG,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, OPTION_MODEL},
    {"villagers", required_argument, NULL, OPTION_VILLAGERS},
    {"talkers", required_argument, NULL, OPTION_TALKERS},
    {"pause", required_argument, NULL, OPTION_PAUSE},
    {"budget-us", required_argument, NULL, OPTION_BUDGET},
    {"temperature", required_argument, NULL, OPTION_TEMPERATURE},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"save", required_argument, NULL, OPTION_SAVE},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"load", required_argument, NULL, OPTION_LOAD},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"font", required_argument, NULL, OPTION_FONT},
    {"validate", no_argument, NULL, OPTION_VALIDATE},
    {"panel", no_argument, NULL, OPTION_PANEL},
    {"offscreen", no_argument, NULL, OPTION_OFFSCREEN},
    {"fast", no_argument, NULL, OPTION_FAST},
    {"script", required_argument, NULL, OPTION_SCRIPT},
    {"frames", required_argument, NULL, OPTION_FRAMES},
    {"screenshot", required_argument, NULL, OPTION_SCREENSHOT},
    {"transcript", required_argument, NULL, OPTION_TRANSCRIPT},
    {"stats", required_argument, NULL, OPTION_STATS},
    {"frame-log", required_argument, NULL, OPTION_FRAME_LOG},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {0},
};

static bool parse_number(const char *text, double low, double high, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && !*end && !errno && *value >= low && *value <= high;
}

static bool parse_whole(const char *text, uint64_t high, uint64_t *value)
{
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return !errno && *value <= high;
}

static bool parse_size(const char *text, options *options)
{
    unsigned width = 0, height = 0;
    char rest;
    if (sscanf(text, "%5ux%5u%c", &width, &height, &rest) != 2) return false;
    options->width = width;
    options->height = height;
    return width >= 64 && height >= 64 && width <= 8192 && height <= 8192;
}

static bool parse_value(options *options, int option, const char *text)
{
    uint64_t whole = 0;
    bool good = true;
    switch (option) {
    case OPTION_MODEL: options->model = text; break;
    case OPTION_VILLAGERS:
        good = parse_whole(text, WORLD_MAX_VILLAGERS, &whole);
        options->villagers = (int)whole;
        break;
    case OPTION_TALKERS:
        good = parse_whole(text, WORLD_MAX_VILLAGERS, &whole);
        options->talkers = (int)whole;
        break;
    case OPTION_PAUSE: good = parse_number(text, 0, 3600, &options->pause); break;
    case OPTION_BUDGET:
        good = parse_whole(text, 1000000, &whole);
        options->budget_us = (uint32_t)whole;
        break;
    case OPTION_TEMPERATURE: good = parse_number(text, 0, 100, &options->temperature); break;
    case OPTION_SEED: good = parse_whole(text, UINT64_MAX, &options->seed); break;
    case OPTION_SAVE: options->save = text; break;
    case OPTION_LOAD:
        good = parse_whole(text, 100000, &whole) && whole > 0;
        options->load = (uint32_t)whole;
        break;
    case OPTION_SIZE: good = parse_size(text, options); break;
    case OPTION_DEVICE: options->device = text; break;
    case OPTION_FONT: options->font = text; break;
    case OPTION_SCRIPT: options->script = text; break;
    case OPTION_FRAMES: good = parse_whole(text, UINT64_MAX, &options->frames) && options->frames > 0; break;
    case OPTION_SCREENSHOT: options->screenshot = text; break;
    case OPTION_TRANSCRIPT: options->transcript = text; break;
    case OPTION_STATS: options->stats = text; break;
    case OPTION_FRAME_LOG: options->frame_log = text; break;
    }
    return good;
}

static const char *option_name(int option)
{
    for (const struct option *known = long_options; known->name; known++)
        if (known->val == option) return known->name;
    return "?";
}

static options_result bad(const char *what, const char *which)
{
    report("%s %s; see village --help", what, which);
    return OPTIONS_BAD;
}

options_result options_parse(options *options, int count, char **arguments)
{
    int option;
    *options = (struct options){.save = "village.save",
                                .width = 1280,
                                .height = 800,
                                .budget_us = 2000,
                                .load = 1,
                                .villagers = 12,
                                .talkers = WORLD_MAX_VILLAGERS,
                                .pause = 3,
                                .temperature = 0.5,
                                .seed = (uint64_t)time(NULL)};
    opterr = 0;
    while ((option = getopt_long(count, arguments, ":h", long_options, NULL)) != -1) {
        switch (option) {
        case 'h': fputs(help_text, stdout); return OPTIONS_DONE;
        case OPTION_VERSION:
            printf("village (retnet) %d.%d.%d\n", RETNET_VERSION_MAJOR, RETNET_VERSION_MINOR, RETNET_VERSION_PATCH);
            return OPTIONS_DONE;
        case OPTION_VALIDATE: options->validate = true; break;
        case OPTION_PANEL: options->panel = true; break;
        case OPTION_OFFSCREEN: options->offscreen = true; break;
        case OPTION_FAST: options->fast = true; break;
        case ':': return bad("a value is missing after", arguments[optind - 1]);
        case '?': return bad("bad option", arguments[optind - 1]);
        default:
            if (parse_value(options, option, optarg)) break;
            report("\"%s\" is no value for --%s; see village --help", optarg, option_name(option));
            return OPTIONS_BAD;
        }
    }
    if (optind < count) return bad("unexpected argument", arguments[optind]);
    if (options->fast && !options->offscreen) return bad("--fast needs", "--offscreen");
    if (options->offscreen && !options->script && !options->frames)
        return bad("--offscreen needs", "--frames or --script: nobody could end it");
    return OPTIONS_RUN;
}
