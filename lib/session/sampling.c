#include "session/session.h"

#include <math.h>
#include <stdlib.h>

double rn_random_draw(uint64_t seed, uint64_t position)
{
    /* SplitMix64's finaliser over a counter: every (seed, position) has a number of its own. */
    uint64_t z = seed * 0x9e3779b97f4a7c15u + position + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * (1.0 / 9007199254740992.0);
}

static void penalise_repetition(const retnet_sampling *sampling, float *logits, const int32_t *recent,
                                uint32_t recent_count)
{
    float penalty = sampling->repetition_penalty;
    if (penalty == 0 || penalty == 1) return;
    for (uint32_t i = 0; i < recent_count; i++) {
        bool seen = false;
        for (uint32_t k = 0; k < i && !seen; k++) seen = recent[k] == recent[i];
        float *logit = &logits[recent[i]];
        if (!seen) *logit = *logit > 0 ? *logit / penalty : *logit * penalty;
    }
}

static int32_t largest_logit(const float *logits, uint32_t vocabulary)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The smallest logit that top-k, top-p and min-p let live. Equal logits live or die together. */
static float threshold(const retnet_sampling *sampling, const float *logits, uint32_t vocabulary, float *sorted)
{
    for (uint32_t i = 0; i < vocabulary; i++) sorted[i] = logits[i];
    qsort(sorted, vocabulary, sizeof *sorted, descending);
    uint32_t kept = sampling->top_k && sampling->top_k < vocabulary ? sampling->top_k : vocabulary;
    double largest = sorted[0];
    if (sampling->top_p > 0 && sampling->top_p < 1) {
        double total = 0, mass = 0;
        for (uint32_t i = 0; i < kept; i++) total += exp(sorted[i] - largest);
        uint32_t i = 0;
        while (i < kept && mass < sampling->top_p * total) mass += exp(sorted[i++] - largest);
        kept = i;
    }
    float lowest = sorted[kept ? kept - 1 : 0];
    float floor = sampling->min_p > 0 ? (float)(largest + log(sampling->min_p)) : lowest;
    return floor > lowest ? floor : lowest;
}

int32_t rn_sample(const retnet_sampling *sampling, float *logits, uint32_t vocabulary, const int32_t *recent,
                  uint32_t recent_count, double draw, float *scratch)
{
    penalise_repetition(sampling, logits, recent, recent_count);
    int32_t best = largest_logit(logits, vocabulary);
    if (sampling->temperature == 0) return best;
    for (uint32_t i = 0; i < vocabulary; i++) logits[i] /= sampling->temperature;
    float lowest = threshold(sampling, logits, vocabulary, scratch);
    double total = 0, largest = logits[best], mass = 0;
    for (uint32_t i = 0; i < vocabulary; i++)
        if (logits[i] >= lowest) total += exp(logits[i] - largest);
    int32_t last = best;
    for (uint32_t i = 0; i < vocabulary; i++) {
        if (!(logits[i] >= lowest)) continue;
        mass += exp(logits[i] - largest);
        last = (int32_t)i;
        if (mass > draw * total) return last;
    }
    return last;
}
