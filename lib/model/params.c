#include "model/params.h"

#include "layers/tables.h"

#include <string.h>

uint32_t rn_params_reserve(rn_params *params, uint32_t count)
{
    uint32_t at = params->count;
    params->count += (count + 3) / 4 * 4;
    return at;
}

rn_retention_tables rn_params_add_tables(rn_params *params, const rn_config *config)
{
    uint32_t pairs = config->key_size / 2, heads = config->heads;
    uint32_t angles = rn_params_reserve(params, rn_angle_floats(pairs));
    uint32_t sums = rn_params_reserve(params, config->score_normalised_eps ? rn_decay_sum_floats(heads) : 0);
    rn_retention_tables tables = {
        .angles = angles / 2,
        .decay_sums = sums / 2,
        .decays = rn_params_reserve(params, heads),
        .powers = rn_params_reserve(params, heads * (RN_CHUNK + 1)),
        .powers_stride = RN_CHUNK + 1,
    };
    if (!params->values) return tables;
    rn_write_angles(params->values + angles, config->theta, pairs);
    if (config->score_normalised_eps) rn_write_decay_sums(params->values + sums, config->decay, heads);
    memcpy(params->values + tables.decays, config->decay, heads * sizeof *config->decay);
    rn_write_powers(params->values + tables.powers, config->decay, heads, RN_CHUNK + 1);
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
