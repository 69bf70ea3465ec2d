/* options.h: the command line of host. */
#ifndef HOST_OPTIONS_H
#define HOST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* How the library works beside the frames. */
typedef enum host_phase { PHASE_NONE, PHASE_STEP, PHASE_RECORD, PHASES } host_phase;

typedef struct host_options {
    const char *model; /* checkpoint's directory; NULL: a synthetic model of `shape` */
    const char *shape;
    const char *device;  /* part of a name; NULL: the first */
    const char *picture; /* PPM file for the last picture; NULL: none */
    uint32_t frames;     /* of each phase */
    uint32_t rate;       /* frames a second; 0: as fast as they come */
    uint32_t load;       /* of drawing */
    uint32_t budget_us;  /* of the library in each frame */
    uint32_t prompt;     /* tokens read before the first is made */
    uint32_t slots;      /* that work at once */
    uint32_t threads;    /* that prepare kernels; 0: one a core, up to 8 */
    bool phases[PHASES];
    bool second_queue; /* the library submits to a queue of its own */
    bool json;
} host_options;

typedef enum host_parse { HOST_PARSE_RUN, HOST_PARSE_EXIT, HOST_PARSE_BAD } host_parse;

const char *host_phase_name(host_phase phase);
/* Fills `options`, which then points into argv. Prints help to stdout (EXIT) and complaints to stderr (BAD). */
host_parse host_options_parse(int argc, char **argv, host_options *options);

#endif
