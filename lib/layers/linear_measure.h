/* linear_measure.h: which of linear.h's shapes is the fastest for a projection of one column on this device. */
#ifndef RETNET_LAYERS_LINEAR_MEASURE_H
#define RETNET_LAYERS_LINEAR_MEASURE_H

#include "layers/linear.h"

enum { RN_TRIAL_MATRICES = 24 };

/* Projections that differ in their weights only. */
typedef struct rn_linear_trial {
    rn_linear linear; /* without matrix, input, output and places in them */
    const rn_matrix *matrices[RN_TRIAL_MATRICES];
    uint32_t matrix_count;
} rn_linear_trial;

/* Adds a matrix unless one run would take too long with it. */
void rn_linear_trial_add(rn_linear_trial *trial, const rn_matrix *matrix);

/* Whether there is something to choose that was not chosen yet. */
bool rn_linear_trial_is_open(const rn_device *device, const rn_linear_trial *trial);

/* On a device that only plans (kernel.h): adds the kernels that open trials take. */
retnet_result rn_linear_trial_plan(rn_device *plan, const rn_linear_trial *trial);

/* Times each open trial's candidates as links of a chain (recorder.h) over its matrices, and lets the device remember
 * the fastest. The rule's stays where none is clearly faster. */
retnet_result rn_linear_trials_run(rn_device *device, const rn_linear_trial *trials, uint32_t count);

#endif
