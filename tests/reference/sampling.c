#include "reference/reference.h"

#include <math.h>
#include <stdlib.h>

/* The choice of tokens as retnet.h words it, by sorting. */

double ref_random_draw(uint64_t seed, uint64_t position)
{
    /* SplitMix64's finaliser over a counter: every (seed, position) has a number of its own. */
    uint64_t z = seed * 0x9e3779b97f4a7c15u + position + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * (1.0 / 9007199254740992.0);
}

void ref_adjust(const retnet_sampling *s, float *logits, size_t count, const int32_t *recent, size_t recent_count)
{
    for (size_t i = 0; i < s->bias_count; i++) logits[s->biases[i].token] += s->biases[i].bias;
    for (size_t i = 0; i < s->banned_count; i++) logits[s->banned_tokens[i]] = -INFINITY;
    float penalty = s->repetition_penalty == 0 ? 1 : s->repetition_penalty;
    for (size_t i = 0; i < recent_count && penalty != 1; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) seen = recent[k] == recent[i];
        float *logit = &logits[recent[i]];
        if (!seen) *logit *= *logit > 0 ? 1 / penalty : penalty;
    }
    for (size_t i = 0; i < count; i++)
        logits[i] = isnan(logits[i]) || logits[i] == -INFINITY ? -INFINITY : fminf(fmaxf(logits[i], -1e38f), 1e38f);
}

static const float *sorted_logits;

static int by_logit(const void *a, const void *b)
{
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    float x = sorted_logits[i], y = sorted_logits[k];
    return x != y ? (x < y) - (x > y) : (i > k) - (i < k);
}

/* Tokens [0, n) of `order` that are as likely as number n - 1 or likelier. */
static size_t with_ties(const float *logits, const size_t *order, size_t count, size_t n)
{
    while (n < count && logits[order[n]] == logits[order[n - 1]]) n++;
    return n;
}

int32_t ref_sample(const retnet_sampling *s, const float *logits, size_t count, double draw)
{
    size_t *order = ref_alloc(count, sizeof *order), alive = 0;
    double *weights = ref_alloc(count, sizeof *weights);
    for (size_t i = 0; i < count; i++) order[i] = i;
    sorted_logits = logits;
    qsort(order, count, sizeof *order, by_logit);
    while (alive < count && logits[order[alive]] != -INFINITY) alive++;
    int32_t token = alive ? (int32_t)order[0] : -1;
    if (alive && s->temperature > 0) {
        double top = logits[order[0]], total = 0, mass = 0;
        if (s->top_k && s->top_k < alive) alive = with_ties(logits, order, alive, s->top_k);
        for (size_t i = 0; i < alive; i++) total += weights[order[i]] = exp((logits[order[i]] - top) / s->temperature);
        size_t kept = s->top_p > 0 && s->top_p < 1 ? 0 : alive;
        while (kept < alive && mass < s->top_p * total) mass += weights[order[kept++]];
        kept = with_ties(logits, order, alive, kept ? kept : 1);
        while (kept > 1 && weights[order[kept - 1]] < s->min_p) kept--;
        total = mass = 0;
        for (size_t i = 0; i < kept; i++) total += weights[order[i]];
        for (size_t i = kept; i < alive; i++) weights[order[i]] = 0;
        for (size_t i = 0; i < count && mass <= draw * total; i++) {
            mass += weights[i];
            if (weights[i] > 0) token = (int32_t)i;
        }
    }
    free(order);
    free(weights);
    return token;
}
