/* checkpoint_torchscale.c: the layout of torchscale's RetNetDecoder, and of its ports to Hugging Face. */
#include "model/checkpoint_reader.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Recognising what is there ---------------------------------------------------------------------------------- */

static void rn_torchscale_prefix(rn_checkpoint_reader *reader)
{
    static const char *const prefixes[] = {"", "decoder.", "model.", "model.decoder."};
    for (size_t i = 0; i < RN_COUNT(prefixes); i++) {
        reader->prefix = prefixes[i];
        if (rn_reader_find(reader, "embed_tokens.weight")) return;
    }
    reader->result =
        rn_fail(reader->host, RETNET_ERROR_FORMAT,
                "%s: tensor embed_tokens.weight is missing, also behind decoder. and model.", reader->directory);
}

/* Until September 2023: biases everywhere, layer norms, a plain feed-forward layer, values as wide as two keys. */
static void rn_torchscale_old_layout(rn_checkpoint_reader *reader)
{
    rn_config *config = &reader->checkpoint->config;
    if (!rn_reader_find(reader, "layers.0.retention.q_proj.bias")) return;
    config->linear_bias = true;
    config->norm = RN_NORM_LAYER;
    config->ffn_gated = false;
    config->ffn_norm = rn_reader_find(reader, "layers.0.ffn.ffn_layernorm.weight") != NULL;
    /* The width was not yet a field of the config then. */
    const rn_tensor *v = rn_reader_find(reader, "layers.0.retention.v_proj.weight");
    if (v && v->rank == 2 && v->shape[0] == 2 * (uint64_t)config->hidden) config->value_size = 2 * config->key_size;
}

/* ---- Buffers ---------------------------------------------------------------------------------------------------- */

/* A stored buffer [count] counts if it is fp32. One of a model that was saved in half precision has lost too much: then
 * the formula counts, here `formula`, if the buffer is the formula's to rounding. A buffer of its own cannot be had
 * back and is refused. Returns whether `values` are to be used. */
static bool rn_torchscale_buffer(rn_checkpoint_reader *reader, const char *name, float *values, const float *formula,
                                 uint32_t count)
{
    const rn_tensor *tensor = rn_reader_find(reader, "%s", name);
    rn_vector_source source = {0};
    if (!tensor) return false;
    rn_reader_vector(reader, &source, count, "%s", name);
    if (reader->result != RETNET_OK) return false;
    if (tensor->dtype == RN_DTYPE_F32) memcpy(values, tensor->data, count * sizeof(*values));
    for (uint32_t i = 0; i < count && tensor->dtype != RN_DTYPE_F32; i++) {
        uint16_t half;
        memcpy(&half, tensor->data + 2ull * i, sizeof(half));
        float value = tensor->dtype == RN_DTYPE_F16 ? rn_f16_to_f32(half) : rn_bf16_to_f32(half);
        /* bfloat16 has 8 bits, and the last bit of half precision is 2^-24. */
        if (fabsf(value - formula[i]) <= fabsf(formula[i]) / 256 + ldexpf(1, -24)) continue;
        reader->result = rn_fail(reader->host, RETNET_ERROR_UNSUPPORTED,
                                 "%s: %s: %g found at %u in %s, which is too coarse to use, and the formula's is %g",
                                 reader->directory, tensor->name, value, i, tensor->dtype_name, formula[i]);
        return false;
    }
    return tensor->dtype == RN_DTYPE_F32;
}

static void rn_torchscale_angles(rn_checkpoint_reader *reader)
{
    rn_config *config = &reader->checkpoint->config;
    float angles[RN_MAX_KEY_SIZE], formula[RN_MAX_KEY_SIZE];
    for (uint32_t i = 0; i < config->key_size; i++) formula[i] = (float)config->theta[i / 2];
    if (!rn_torchscale_buffer(reader, "retnet_rel_pos.angle", angles, formula, config->key_size)) return;
    for (uint32_t i = 0; i < config->key_size / 2; i++) {
        if (!isfinite(angles[2 * i]) || angles[2 * i] != angles[2 * i + 1]) {
            reader->result = rn_fail(reader->host, RETNET_ERROR_FORMAT,
                                     "%s: retnet_rel_pos.angle: %g and %g found at %u, an equal pair expected",
                                     reader->directory, angles[2 * i], angles[2 * i + 1], 2 * i);
            return;
        }
        config->theta[i] = angles[2 * i];
    }
}

static void rn_torchscale_decay(rn_checkpoint_reader *reader)
{
    rn_config *config = &reader->checkpoint->config;
    float logarithms[RN_MAX_HEADS], formula[RN_MAX_HEADS];
    for (uint32_t h = 0; h < config->heads; h++) formula[h] = logf(config->decay[h]);
    if (!rn_torchscale_buffer(reader, "retnet_rel_pos.decay", logarithms, formula, config->heads)) return;
    for (uint32_t h = 0; h < config->heads; h++) {
        if (!(logarithms[h] <= 0 && logarithms[h] > -80)) {
            reader->result =
                rn_fail(reader->host, RETNET_ERROR_FORMAT,
                        "%s: retnet_rel_pos.decay: %g found for head %u, the logarithm of a decay expected",
                        reader->directory, logarithms[h], h);
            return;
        }
        config->decay[h] = (float)exp(logarithms[h]);
    }
}

/* ---- Layers ----------------------------------------------------------------------------------------------------- */

/* `name` is that of the module: its parts are NAME.weight and, where the layout has them, NAME.bias. */
static void rn_torchscale_norm(rn_checkpoint_reader *reader, rn_norm_source *out, uint32_t size, const char *name)
{
    rn_reader_vector(reader, &out->weight, size, "%s.weight", name);
    if (reader->checkpoint->config.norm == RN_NORM_LAYER) rn_reader_vector(reader, &out->bias, size, "%s.bias", name);
}

static void rn_torchscale_linear(rn_checkpoint_reader *reader, rn_linear_source *out, uint32_t rows, uint32_t columns,
                                 const char *name)
{
    rn_reader_matrix(reader, &out->weight, rn_all_rows(rows), columns, "%s.weight", name);
    if (reader->checkpoint->config.linear_bias) rn_reader_vector(reader, &out->bias, rows, "%s.bias", name);
}

static void rn_torchscale_layer(rn_checkpoint_reader *reader, rn_layer_source *layer, uint32_t index)
{
    const rn_config *config = &reader->checkpoint->config;
    uint32_t hidden = config->hidden, ffn = config->ffn;
    uint32_t keys = config->heads * config->key_size, values = config->heads * config->value_size;
    char name[64];
#define RN_MODULE(suffix) (snprintf(name, sizeof(name), "layers.%u." suffix, index), name)
    rn_torchscale_norm(reader, &layer->retention_norm, hidden, RN_MODULE("retention_layer_norm"));
    rn_torchscale_linear(reader, &layer->q, keys, hidden, RN_MODULE("retention.q_proj"));
    rn_torchscale_linear(reader, &layer->k, keys, hidden, RN_MODULE("retention.k_proj"));
    rn_torchscale_linear(reader, &layer->v, values, hidden, RN_MODULE("retention.v_proj"));
    rn_torchscale_linear(reader, &layer->g, values, hidden, RN_MODULE("retention.g_proj"));
    rn_torchscale_linear(reader, &layer->o, hidden, values, RN_MODULE("retention.out_proj"));
    rn_torchscale_norm(reader, &layer->ffn_norm, hidden, RN_MODULE("final_layer_norm"));
    /* fc1 is the activated branch; what torchscale calls gate is the linear one. */
    rn_torchscale_linear(reader, config->ffn_gated ? &layer->gate : &layer->up, ffn, hidden, RN_MODULE("ffn.fc1"));
    if (config->ffn_gated) rn_torchscale_linear(reader, &layer->up, ffn, hidden, RN_MODULE("ffn.gate"));
    if (config->ffn_norm) rn_torchscale_norm(reader, &layer->ffn_inner_norm, ffn, RN_MODULE("ffn.ffn_layernorm"));
    rn_torchscale_linear(reader, &layer->down, hidden, ffn, RN_MODULE("ffn.fc2"));
#undef RN_MODULE
    layer->q.weight.rotation_head = layer->k.weight.rotation_head = config->key_size;
    layer->q.bias.rotation_head = layer->k.bias.rotation_head = config->linear_bias ? config->key_size : 0;
}

/* torchscale calls the head output_projection; the ports have an lm_head outside the decoder. */
static void rn_torchscale_head(rn_checkpoint_reader *reader)
{
    char name[64];
    if (rn_tensor_set_find(reader->checkpoint->tensors, "lm_head.weight"))
        snprintf(name, sizeof(name), "lm_head.weight");
    else
        snprintf(name, sizeof(name), "%soutput_projection.weight", reader->prefix);
    rn_reader_head(reader, name);
}

void rn_checkpoint_read_torchscale(rn_checkpoint_reader *reader)
{
    rn_checkpoint *checkpoint = reader->checkpoint;
    rn_config *config = &checkpoint->config;
    static const rn_variant variants[] = {
        {".moe_layer.", "a mixture of experts"}, {".A.", "a multiway model"}, {".B.", "a multiway model"}};
    rn_reader_refuse_variants(reader, variants, RN_COUNT(variants));
    if (reader->result == RETNET_OK) rn_torchscale_prefix(reader);
    if (reader->result != RETNET_OK) return;
    rn_torchscale_old_layout(reader);
    rn_torchscale_angles(reader);
    rn_torchscale_decay(reader);
    rn_reader_matrix(reader, &checkpoint->embedding, rn_all_rows(config->vocabulary), config->hidden,
                     "embed_tokens.weight");
    if (config->embedding_norm)
        rn_torchscale_norm(reader, &checkpoint->embedding_norm, config->hidden, "layernorm_embedding");
    for (uint32_t i = 0; i < config->layers; i++) rn_torchscale_layer(reader, &checkpoint->layers[i], i);
    rn_torchscale_norm(reader, &checkpoint->output_norm, config->hidden, "layer_norm");
    rn_torchscale_head(reader);
}
