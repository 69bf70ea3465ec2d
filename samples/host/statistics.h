/* statistics.h: times in milliseconds and their percentiles. */
#ifndef HOST_STATISTICS_H
#define HOST_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct samples {
    double *values;
    size_t count, capacity;
} samples;

bool samples_add(samples *s, double value); /* false: out of memory */
/* The value that this share of the samples does not exceed; NaN if there are none. Sorts. */
double samples_percentile(samples *s, double share);
void samples_free(samples *s);

#endif
