/* statistics.c: see statistics.h. */
#include "statistics.h"

#include <math.h>
#include <stdlib.h>

bool samples_add(samples *s, double value)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 256;
        double *values = realloc(s->values, capacity * sizeof *values);
        if (!values) return false;
        s->values = values;
        s->capacity = capacity;
    }
    s->values[s->count++] = value;
    return true;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_percentile(samples *s, double share)
{
    if (s->count == 0) return NAN;
    qsort(s->values, s->count, sizeof *s->values, ascending);
    size_t rank = (size_t)ceil(share * (double)s->count);
    return s->values[rank ? rank - 1 : 0];
}

void samples_free(samples *s)
{
    free(s->values);
}
