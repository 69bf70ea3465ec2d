/* tiny.h: checkpoints of a few kilobytes in both dialects, for tests to break. */
#ifndef RETNET_TESTS_MODEL_TINY_H
#define RETNET_TESTS_MODEL_TINY_H

#include "model/write_safetensors.h"

/* D 16, 2 layers, 2 heads of K 8 and V 16, I 24, 32 tokens. More fields may follow in `more`, with a comma first. */
#define TINY_FLA_CONFIG(more)                                                                                          \
    "{\"model_type\":\"retnet\",\"hidden_size\":16,\"num_hidden_layers\":2,\"num_heads\":2,"                           \
    "\"intermediate_size\":24,\"vocab_size\":32" more "}"

/* `kv_heads` 1 or 2. */
static inline void tiny_fla(test_tensors *tensors, const char *dtype, uint32_t kv_heads)
{
    test_add(tensors, dtype, 32, 16, "model.embeddings.weight");
    for (int l = 0; l < 2; l++) {
        test_add(tensors, dtype, 16, 0, "model.layers.%d.attn_norm.weight", l);
        test_add(tensors, dtype, 16, 16, "model.layers.%d.attn.q_proj.weight", l);
        test_add(tensors, dtype, 8 * kv_heads, 16, "model.layers.%d.attn.k_proj.weight", l);
        test_add(tensors, dtype, 16 * kv_heads, 16, "model.layers.%d.attn.v_proj.weight", l);
        test_add(tensors, dtype, 32, 16, "model.layers.%d.attn.g_proj.weight", l);
        test_add(tensors, dtype, 16, 0, "model.layers.%d.attn.g_norm_swish_gate.weight", l);
        test_add(tensors, dtype, 16, 32, "model.layers.%d.attn.o_proj.weight", l);
        test_add(tensors, dtype, 16, 0, "model.layers.%d.mlp_norm.weight", l);
        test_add(tensors, dtype, 24, 16, "model.layers.%d.mlp.gate_proj.weight", l);
        test_add(tensors, dtype, 24, 16, "model.layers.%d.mlp.up_proj.weight", l);
        test_add(tensors, dtype, 16, 24, "model.layers.%d.mlp.down_proj.weight", l);
    }
    test_add(tensors, dtype, 16, 0, "model.norm.weight");
    test_add(tensors, dtype, 32, 16, "lm_head.weight");
}

/* The same with I 71: two blocks of quantised weights and a short one, whose last weight has no neighbour. */
#define TINY_WIDE_FLA_CONFIG                                                                                           \
    "{\"model_type\":\"retnet\",\"hidden_size\":16,\"num_hidden_layers\":2,\"num_heads\":2,"                           \
    "\"intermediate_size\":71,\"vocab_size\":32}"

static inline void tiny_wide_fla(test_tensors *tensors, const char *dtype)
{
    tiny_fla(tensors, dtype, 2);
    for (int l = 0; l < 2; l++) {
        static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
        for (int i = 0; i < 3; i++) {
            char name[96];
            snprintf(name, sizeof(name), "model.layers.%d.mlp.%s.weight", l, names[i]);
            test_remove(tensors, name);
            test_add(tensors, dtype, i < 2 ? 71 : 16, i < 2 ? 16 : 71, "%s", name);
        }
    }
}

/* D 16, 2 layers, 2 heads of K 8 and V 12, I 20, 32 tokens. */
#define TINY_TORCHSCALE_CONFIG(more)                                                                                   \
    "{\"decoder_embed_dim\":16,\"decoder_value_embed_dim\":24,\"decoder_retention_heads\":2,"                          \
    "\"decoder_ffn_embed_dim\":20,\"decoder_layers\":2,\"vocab_size\":32,\"activation_fn\":\"swish\"" more "}"

static inline void tiny_torchscale(test_tensors *tensors, const char *prefix, const char *head)
{
    test_add(tensors, "F32", 32, 16, "%sembed_tokens.weight", prefix);
    for (int l = 0; l < 2; l++) {
        test_add(tensors, "F32", 16, 16, "%slayers.%d.retention.q_proj.weight", prefix, l);
        test_add(tensors, "F32", 16, 16, "%slayers.%d.retention.k_proj.weight", prefix, l);
        test_add(tensors, "F32", 24, 16, "%slayers.%d.retention.v_proj.weight", prefix, l);
        test_add(tensors, "F32", 24, 16, "%slayers.%d.retention.g_proj.weight", prefix, l);
        test_add(tensors, "F32", 16, 24, "%slayers.%d.retention.out_proj.weight", prefix, l);
        test_add(tensors, "F32", 16, 0, "%slayers.%d.retention_layer_norm.weight", prefix, l);
        test_add(tensors, "F32", 20, 16, "%slayers.%d.ffn.fc1.weight", prefix, l);
        test_add(tensors, "F32", 20, 16, "%slayers.%d.ffn.gate.weight", prefix, l);
        test_add(tensors, "F32", 16, 20, "%slayers.%d.ffn.fc2.weight", prefix, l);
        test_add(tensors, "F32", 16, 0, "%slayers.%d.final_layer_norm.weight", prefix, l);
    }
    test_add(tensors, "F32", 16, 0, "%slayer_norm.weight", prefix);
    test_add(tensors, "F32", 32, 16, "%s", head);
}

/* The layout before October 2023: biases, layer norms, a plain feed-forward layer, values of 2 D. */
static inline void tiny_old_torchscale(test_tensors *tensors, bool inner_norm)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } modules[] = {{"retention.q_proj", 16, 16}, {"retention.k_proj", 16, 16},    {"retention.v_proj", 32, 16},
                   {"retention.g_proj", 32, 16}, {"retention.out_proj", 16, 32},  {"ffn.fc1", 20, 16},
                   {"ffn.fc2", 16, 20},          {"retention_layer_norm", 16, 0}, {"final_layer_norm", 16, 0},
                   {"ffn.ffn_layernorm", 20, 0}};
    test_add(tensors, "F32", 32, 16, "embed_tokens.weight");
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]) - (inner_norm ? 0 : 1); i++) {
            test_add(tensors, "F32", modules[i].rows, modules[i].columns, "layers.%d.%s.weight", l, modules[i].name);
            test_add(tensors, "F32", modules[i].rows, 0, "layers.%d.%s.bias", l, modules[i].name);
        }
    }
    test_add(tensors, "F32", 16, 0, "layer_norm.weight");
    test_add(tensors, "F32", 16, 0, "layer_norm.bias");
    test_add(tensors, "F32", 32, 16, "output_projection.weight");
}

#endif
