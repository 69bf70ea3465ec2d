/* bandwidth.h: how fast a device reads its own memory, which is what decoding is compared with. */
#ifndef BENCH_BANDWIDTH_H
#define BENCH_BANDWIDTH_H

#include "retnet/retnet.h"

/* Bytes a second; of a copy, those read and those written together. */
typedef struct bench_bandwidth {
    double read, copy;
} bench_bandwidth;

retnet_result bench_measure_bandwidth(retnet_context *context, bench_bandwidth *bandwidth);

#endif
