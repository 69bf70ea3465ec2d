/* clock.h: a steady clock for measuring how long the device took. */
#ifndef RETNET_BASE_CLOCK_H
#define RETNET_BASE_CLOCK_H

#include <stdint.h>

#ifdef _WIN32
#include <windows.h>
static inline uint64_t rn_clock_ns(void)
{
    LARGE_INTEGER frequency, count;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&count);
    uint64_t ticks = (uint64_t)count.QuadPart, rate = (uint64_t)frequency.QuadPart;
    return ticks / rate * 1000000000u + ticks % rate * 1000000000u / rate;
}
#else
#include <time.h>
static inline uint64_t rn_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif

#endif
