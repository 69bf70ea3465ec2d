/* options.h: the command line. */
#ifndef CHAT_OPTIONS_H
#define CHAT_OPTIONS_H

#include "retnet/retnet.h"

typedef struct options {
    const char *model;  /* NULL: the bundled one */
    const char *prompt; /* NULL: a conversation */
    const char *system; /* NULL: the bundled model's own, none for others */
    const char *device_name;
    uint32_t device_number;
    retnet_weight_format format;
    retnet_sampling sampling;
    uint32_t max_tokens; /* of one answer */
    bool validate;
    bool quiet;
} options;

typedef enum options_result {
    OPTIONS_RUN,
    OPTIONS_DONE, /* --help or --version has been answered */
    OPTIONS_BAD   /* the one line that says why went to stderr */
} options_result;

options_result options_parse(options *options, int count, char **arguments);

/* The whole of `text` as a number in [low, high]; false if it is none. */
bool parse_number(const char *text, double low, double high, double *value);

#endif
