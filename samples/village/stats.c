/* stats.c: see stats.h. */
#include "stats.h"

#include <stdio.h>
#include <unistd.h>

static void add(histogram *histogram, double us)
{
    const double bin = us / STATS_BIN_US;
    histogram->bins[bin < STATS_BINS - 1 ? (uint32_t)bin : STATS_BINS - 1]++;
    histogram->count++;
    histogram->sum += us;
    if (us > histogram->largest) histogram->largest = us;
}

double histogram_percentile(const histogram *histogram, double share)
{
    const double wanted = share * (double)histogram->count;
    uint64_t so_far = 0;
    for (uint32_t i = 0; i < STATS_BINS; i++) {
        so_far += histogram->bins[i];
        if ((double)so_far >= wanted) return (i + 1) * (double)STATS_BIN_US;
    }
    return histogram->largest;
}

void stats_add(stats *stats, const frame_times *times)
{
    stats->recent[stats->frames++ % STATS_RECENT] = *times;
    add(&stats->frame, times->frame_us);
    add(&stats->picture, times->picture_us);
    add(&stats->work, times->work_us);
    add(&stats->model, times->model_us);
    stats->tokens_read += times->tokens_read;
    stats->tokens_made += times->tokens_made;
    const double seconds = times->frame_us * 1e-6, fade = seconds < 1 ? seconds : 1;
    stats->seconds += seconds;
    if (seconds > 0) stats->tokens_per_second += fade * (times->tokens_made / seconds - stats->tokens_per_second);
}

uint64_t stats_resident(void)
{
    unsigned long all, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%lu %lu", &all, &resident) != 2) resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
