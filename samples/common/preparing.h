/* preparing.h: makes a model's kernels on threads of the program's, while it shows how far that is. The library makes
 * no threads of its own; compilers take seconds the first time, and share well. */
#ifndef SAMPLES_PREPARING_H
#define SAMPLES_PREPARING_H

#include <retnet/retnet.h>

typedef struct preparing preparing;

typedef struct preparing_progress {
    uint64_t done, total; /* kernels; total is 0 until it is known */
    bool ended;           /* preparing_end will not wait */
} preparing_progress;

/* `threads` of 0: one a core, up to 8. NULL if there is no memory, or no thread can be made. */
preparing *preparing_start(retnet_model *model, const retnet_session_desc *session, unsigned threads);
preparing_progress preparing_look(preparing *preparing);
void preparing_cancel(preparing *preparing);
/* Waits; RETNET_CANCELLED after preparing_cancel. */
retnet_result preparing_end(preparing *preparing);

#endif
