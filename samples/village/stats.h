/* stats.h: how long frames took, and what the model did in them. Of fixed size, however long the game goes on. */
#ifndef VILLAGE_STATS_H
#define VILLAGE_STATS_H

#include <stdbool.h>
#include <stdint.h>

enum { STATS_RECENT = 240, STATS_BINS = 20000, STATS_BIN_US = 10 };

typedef struct frame_times {
    double frame_us;   /* from one frame to the next */
    double picture_us; /* from the frame's start until its picture was finished */
    double work_us;    /* until the model's part was finished as well; 0: not waited for */
    double model_us;   /* measured on the device */
    uint32_t tokens_read, tokens_made;
} frame_times;

/* Counts of times, from which percentiles can be read to STATS_BIN_US. */
typedef struct histogram {
    uint32_t bins[STATS_BINS];
    uint64_t count;
    double sum, largest;
} histogram;

typedef struct stats {
    frame_times recent[STATS_RECENT]; /* a ring, `frames` % STATS_RECENT is the next */
    uint64_t frames;
    histogram frame, picture, work, model;
    uint64_t tokens_read, tokens_made;
    double seconds;                    /* all frames together */
    double tokens_per_second;          /* lately, smoothed */
    uint64_t first_resident, resident; /* bytes of the process: half-way, and last */
    uint64_t first_device, device;
} stats;

void stats_add(stats *stats, const frame_times *times);
double histogram_percentile(const histogram *histogram, double share);
/* Bytes of this process in memory; 0 where the system does not say. */
uint64_t stats_resident(void);

#endif
