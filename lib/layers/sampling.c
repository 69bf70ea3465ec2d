#include "layers/sampling.h"

#include "shaders.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct sample_push {
    uint32_t vocabulary, turns, moves;
} sample_push;

/* ---- Parameters ------------------------------------------------------------------------------------------------- */

static int by_token(const void *a, const void *b)
{
    uint32_t x = ((const rn_bias *)a)->token, y = ((const rn_bias *)b)->token;
    return (x > y) - (x < y);
}

/* Adds to a sorted list; false when it is full. */
static bool add_bias(rn_bias *biases, uint32_t *count, rn_bias bias)
{
    rn_bias *same = bsearch(&bias, biases, *count, sizeof *biases, by_token);
    if (same) {
        same->bias += bias.bias;
        return true;
    }
    if (*count == RN_MAX_BIASES) return false;
    uint32_t at = *count;
    for (; at > 0 && biases[at - 1].token > bias.token; at--) biases[at] = biases[at - 1];
    biases[at] = bias;
    ++*count;
    return true;
}

uint32_t rn_sampler_merge(const retnet_sampling *sampling, rn_bias *biases)
{
    rn_bias own[RN_MAX_BIASES];
    uint32_t count = 0;
    bool fits = true;
    if (!biases) biases = own;
    for (size_t i = 0; i < sampling->bias_count && fits; i++)
        fits = add_bias(biases, &count, (rn_bias){(uint32_t)sampling->biases[i].token, sampling->biases[i].bias});
    for (size_t i = 0; i < sampling->banned_count && fits; i++)
        fits = add_bias(biases, &count, (rn_bias){(uint32_t)sampling->banned_tokens[i], -INFINITY});
    return fits ? count : RN_MAX_BIASES + 1;
}

void rn_sampler_set(rn_sampler *s, const retnet_sampling *sampling, const int32_t *end_tokens, size_t end_token_count,
                    uint32_t tokens, bool log_prob)
{
    /* Beyond these the device may take the scale for zero, or it is infinite. */
    double temperature = fmin(fmax(sampling->temperature, 1e-37), 1e38);
    double floor = sampling->min_p > 0 ? temperature * log(sampling->min_p) : -DBL_MAX;
    s->scale = sampling->temperature > 0 ? (float)(1.4426950408889634 / temperature) : 0;
    s->floor = (float)fmax(floor, -FLT_MAX);
    s->top_k = sampling->top_k;
    s->top_p = s->top_p_shift = 0;
    if (sampling->top_p > 0 && sampling->top_p < 1) {
        int exponent; /* of at most 0 */
        s->top_p = (uint32_t)ldexpf(frexpf(sampling->top_p, &exponent), 24);
        s->top_p_shift = rn_min_u32((uint32_t)(24 - exponent), 127);
    }
    bool penalises = sampling->repetition_penalty != 0 && sampling->repetition_penalty != 1;
    s->penalty = penalises ? sampling->repetition_penalty : 1;
    s->inverse_penalty = 1 / s->penalty;
    s->window = !penalises ? 0 : sampling->repetition_window ? sampling->repetition_window : 64;
    s->seed[0] = (uint32_t)sampling->seed;
    s->seed[1] = (uint32_t)(sampling->seed >> 32);
    s->log_prob = log_prob;
    s->bias_count = rn_sampler_merge(sampling, s->biases);
    s->end_count = (uint32_t)end_token_count;
    for (size_t i = 0; i < end_token_count; i++) s->end_tokens[i] = (uint32_t)end_tokens[i];
    s->last = s->made + tokens;
}

/* ---- Recording -------------------------------------------------------------------------------------------------- */

enum { FOLDED = 128 /* as in sample.comp */, MOST_TURNS = 100, MOST_LOOPS = 26000 };

/* A GPU has one workgroup to hide the time of all its loads. Software drivers run one of a single vector without
 * waiting at barriers, and compile it ten times as fast; but Mesa's leaves a shader's loops after 65,536 passes in all.
 */
static uint32_t local_size(const rn_device *device, uint32_t vocabulary)
{
    bool cpu = device->caps.is_cpu;
    uint32_t size = cpu ? rn_device_vector(device) : 128, share = cpu ? 1024 : 16;
    while (size < 1024 && 2 * size <= device->caps.max_invocations && vocabulary / size > share) size *= 2;
    return size;
}

/* A border is found in some ten turns; those between 1e38 and 1e-38 take a hundred. */
static uint32_t most_turns(const rn_device *device, uint32_t size, uint32_t vocabulary)
{
    if (!device->caps.is_cpu) return MOST_TURNS;
    return rn_min_u32(MOST_LOOPS / rn_divide_up(vocabulary, size), MOST_TURNS);
}

void rn_sampling_record(rn_recorder *recorder, const rn_sampling *sampling)
{
    uint32_t size = local_size(recorder->device, sampling->vocabulary);
    const rn_device *device = recorder->device;
    uint32_t constants[] = {size, rn_max_u32(size, FOLDED), size == device->caps.subgroup_size,
                            device->caps.is_cpu ? 4 : 16};
    const rn_kernel *kernel =
        rn_recorder_kernel(recorder, &rn_shaders[RN_SHADER_SAMPLE], constants, RN_COUNT(constants));
    if (!kernel) return;
    rn_binding bindings[] = {sampling->logits, sampling->control, sampling->results, sampling->kept, sampling->failed};
    sample_push push = {sampling->vocabulary, most_turns(device, size, sampling->vocabulary), sampling->moves};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, sampling->rows, 1, 1,
                         4ull * sampling->rows * sampling->vocabulary);
}
