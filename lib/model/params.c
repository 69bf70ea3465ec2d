#include "model/params.h"

#include <math.h>
#include <string.h>

enum { DIGITS = 1024, LEVELS = 3 }; /* positions below 2^30 */

uint32_t rn_params_reserve(rn_params *params, uint32_t count)
{
    uint32_t at = params->count;
    params->count += (count + 3) / 4 * 4;
    return at;
}

static uint32_t add_angles(rn_params *params, const rn_config *config)
{
    uint32_t pairs = config->key_size / 2;
    uint32_t at = rn_params_reserve(params, LEVELS * DIGITS * pairs * 2);
    if (!params->values) return at / 2;
    const double turn = 6.283185307179586476925286766559;
    float *out = params->values + at;
    double step = 1;
    for (int level = 0; level < LEVELS; level++, step *= DIGITS) {
        for (int digit = 0; digit < DIGITS; digit++) {
            for (uint32_t i = 0; i < pairs; i++) {
                double angle = fmod(digit * step * config->theta[i], turn);
                *out++ = (float)cos(angle);
                *out++ = (float)sin(angle);
            }
        }
    }
    return at / 2;
}

double rn_decay_sum(double decay, double terms)
{
    return decay == 1.0 ? terms : -expm1(terms * log(decay)) / (1.0 - decay); /* the closed form is 0/0 at decay 1 */
}

static uint32_t add_decay_sums(rn_params *params, const rn_config *config)
{
    uint32_t at = rn_params_reserve(params, config->heads * LEVELS * DIGITS * 2);
    if (!params->values) return at / 2;
    float *out = params->values + at;
    for (uint32_t h = 0; h < config->heads; h++) {
        double decay = config->decay[h], step = 1;
        for (int level = 0; level < LEVELS; level++, step *= DIGITS) {
            for (int digit = 0; digit < DIGITS; digit++) {
                double terms = level == 0 ? digit + 1 : digit * step;
                *out++ = (float)rn_decay_sum(decay, terms);
                *out++ = (float)pow(decay, terms);
            }
        }
    }
    return at / 2;
}

static uint32_t add_powers(rn_params *params, const rn_config *config)
{
    uint32_t at = rn_params_reserve(params, config->heads * (RN_CHUNK + 1));
    if (!params->values) return at;
    float *out = params->values + at;
    for (uint32_t h = 0; h < config->heads; h++)
        for (int n = 0; n <= RN_CHUNK; n++) *out++ = (float)pow(config->decay[h], n);
    return at;
}

rn_retention_tables rn_params_add_tables(rn_params *params, const rn_config *config)
{
    rn_retention_tables tables;
    tables.angles = add_angles(params, config);
    tables.decay_sums = config->score_normalised_eps ? add_decay_sums(params, config) : 0;
    tables.decays = rn_params_reserve(params, config->heads);
    if (params->values) memcpy(params->values + tables.decays, config->decay, config->heads * sizeof *config->decay);
    tables.powers = add_powers(params, config);
    return tables;
}

static float element(const rn_tensor *tensor, uint32_t i)
{
    if (tensor->dtype == RN_DTYPE_F32) {
        float value;
        memcpy(&value, tensor->data + 4ull * i, sizeof value);
        return value;
    }
    uint16_t half;
    memcpy(&half, tensor->data + 2ull * i, sizeof half);
    return tensor->dtype == RN_DTYPE_F16 ? rn_f16_to_f32(half) : rn_bf16_to_f32(half);
}

void rn_vector_read(const rn_vector_source *source, float *values)
{
    uint32_t head = source->rotation_head;
    for (uint32_t i = 0; i < source->size; i++) {
        uint32_t in_head = head ? i % head : 0;
        uint32_t to = head ? i - in_head + (in_head & 1) * (head / 2) + in_head / 2 : i;
        values[to] = element(source->tensor, i);
    }
}
