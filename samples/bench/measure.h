/* measure.h: timed calls of the library. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "options.h"

/* One case: the same call several times. */
typedef struct measurement {
    bool is_prompt;    /* else decoding */
    uint32_t batch;    /* slots at work */
    uint32_t tokens;   /* of each slot in a timed call */
    uint64_t position; /* of the slots when the first timed call began */
    retnet_session_memory memory;
    double step_bytes; /* decoding: that the device cannot make a token of each slot without reading and writing */
    double *runs;      /* [run_count] seconds of each timed call */
    size_t run_count;
    double tokens_per_second; /* of all slots together, in the median call */
    double token_ms_median;   /* of a token of one slot: for prompts over the calls, else over all tokens timed */
    double token_ms_p99;
    double tokens_per_submit;      /* decoding: that came together, in the mean */
    double gap_ms_p99;             /* decoding: longest waits for the next token; tokens may come several at once */
    retnet_profile_entry *profile; /* [profile_count], largest first; of a call of its own */
    size_t profile_count;
    uint32_t profile_tokens; /* of each slot in that call */
} measurement;

double bench_seconds(void); /* a steady clock */

/* Each makes its session, and fills `m` as far as it got; to be released in any case. */
retnet_result bench_measure_prompt(retnet_model *model, const bench_options *options, uint32_t length, measurement *m);
retnet_result bench_measure_decode(retnet_model *model, const bench_options *options, uint32_t batch, uint32_t position,
                                   measurement *m);
void bench_measurement_release(measurement *m);

#endif
