/* options.h: the command line. */
#ifndef VILLAGE_OPTIONS_H
#define VILLAGE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct options {
    const char *model, *font, *device;                                /* NULL: the usual ones */
    const char *script, *screenshot, *transcript, *stats, *frame_log; /* files; NULL: none */
    const char *save;
    uint32_t width, height;
    uint64_t frames; /* 0: until the window is closed or the script ends */
    uint32_t budget_us;
    uint32_t load; /* how often each picture is drawn */
    int villagers, talkers;
    double pause; /* seconds between lines of small talk */
    double temperature;
    uint64_t seed;
    bool offscreen, fast, validate, panel;
} options;

typedef enum options_result { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD } options_result;

/* OPTIONS_DONE: --help or --version was answered. OPTIONS_BAD: why was reported. */
options_result options_parse(options *options, int count, char **arguments);

#endif
