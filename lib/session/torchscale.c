#include "layers/tables.h"
#include "session/session.h"

#include <math.h>

/* A layer's state between our layout and torchscale's: S [H][K][V] with halves of a key as the rotation's pairs, and
 * S^T / sqrt(scale) [H][V][K], keys scaled, with neighbours as pairs. The public header has the formulas. */

/* Where torchscale has element i of our keys. */
static size_t torchscale_key(size_t i, size_t key_size)
{
    return i < key_size / 2 ? 2 * i : 2 * (i - key_size / 2) + 1;
}

static void to_torchscale(const rn_config *c, const float *state, const float *scale, float *key_value)
{
    size_t K = c->key_size, V = c->value_size;
    for (size_t h = 0; h < c->heads; h++) {
        double factor = scale[h] > 0 ? 1 / sqrt((double)scale[h] * (double)K) : 0;
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < V; j++)
                key_value[(h * V + j) * K + torchscale_key(i, K)] = (float)(state[(h * K + i) * V + j] * factor);
    }
}

static void from_torchscale(const rn_config *c, const float *key_value, const float *scale, float *state)
{
    size_t K = c->key_size, V = c->value_size;
    for (size_t h = 0; h < c->heads; h++) {
        double factor = sqrt((double)scale[h] * (double)K);
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < V; j++)
                state[(h * K + i) * V + j] = (float)(key_value[(h * V + j) * K + torchscale_key(i, K)] * factor);
    }
}

static float *allocate_state(retnet_session *session, size_t *values)
{
    const rn_config *c = &session->model->config;
    *values = (size_t)c->heads * c->key_size * c->value_size;
    float *state = rn_alloc(session->device->host, *values, sizeof *state);
    if (!state) rn_fail_memory(session->device->host, "state", *values * sizeof *state);
    return state;
}

/* Before the first token the scale is 0, which only a state of zeros survives. */
static retnet_result check_empty(retnet_session *session, uint32_t slot, const float *state, size_t values)
{
    for (size_t i = 0; i < values && session->slots[slot].position == 0; i++)
        if (state[i] != 0)
            return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT,
                                   "slot %u: its state was set, but not its position, from which the scale follows",
                                   slot);
    return RETNET_OK;
}

retnet_result retnet_session_get_state_torchscale(retnet_session *session, uint32_t slot, uint32_t layer,
                                                  float *key_value, float *scale)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!key_value || !scale)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT,
                               "torchscale's state: key_value or scale is NULL");
    size_t values;
    float *state = allocate_state(session, &values);
    if (!state) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    retnet_result result = retnet_session_get_state(session, slot, layer, state);
    if (result == RETNET_OK) result = check_empty(session, slot, state, values);
    if (result == RETNET_OK) {
        const rn_config *c = &session->model->config;
        double tokens = (double)session->slots[slot].position;
        for (uint32_t h = 0; h < c->heads; h++) scale[h] = (float)rn_decay_sum(c->decay[h], tokens);
        to_torchscale(c, state, scale, key_value);
    }
    rn_free(session->device->host, state);
    return result;
}

retnet_result retnet_session_set_state_torchscale(retnet_session *session, uint32_t slot, uint32_t layer,
                                                  const float *key_value, const float *scale)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    const rn_config *c = &session->model->config;
    if (!key_value || !scale)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT,
                               "torchscale's state: key_value or scale is NULL");
    for (uint32_t h = 0; h < c->heads; h++)
        if (!(scale[h] >= 0) || isinf(scale[h]))
            return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT,
                                   "torchscale's state: the scale of head %u is %g, a sum of decays expected", h,
                                   scale[h]);
    size_t values;
    float *state = allocate_state(session, &values);
    if (!state) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    from_torchscale(c, key_value, scale, state);
    retnet_result result = retnet_session_set_state(session, slot, layer, state);
    rn_free(session->device->host, state);
    return result;
}
