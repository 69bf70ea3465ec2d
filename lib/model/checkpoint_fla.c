/* checkpoint_fla.c: the layout of flash-linear-attention's RetNetForCausalLM. */
#include "model/checkpoint_reader.h"

static void rn_fla_group_norm(rn_checkpoint_reader *reader, rn_layer_source *layer, uint32_t index)
{
    const rn_config *config = &reader->checkpoint->config;
    if (!config->group_norm_weight) return;
    /* The name tells which of fla's kernels computed the norm, not what is computed. */
    const char *name = rn_reader_find(reader, "layers.%u.attn.g_norm.weight", index) ? "g_norm" : "g_norm_swish_gate";
    rn_reader_vector(reader, &layer->group_norm, config->value_size, "layers.%u.attn.%s.weight", index, name);
}

static void rn_fla_retention(rn_checkpoint_reader *reader, rn_layer_source *layer, uint32_t index)
{
    const rn_config *config = &reader->checkpoint->config;
    rn_rows queries = rn_all_rows(config->heads * config->key_size);
    rn_rows keys = rn_all_rows(config->kv_heads * config->key_size);
    rn_rows values = rn_all_rows(config->kv_heads * config->value_size);
    rn_rows outputs = rn_all_rows(config->heads * config->value_size);
    uint32_t hidden = config->hidden;
    rn_reader_vector(reader, &layer->retention_norm.weight, hidden, "layers.%u.attn_norm.weight", index);
    rn_reader_matrix(reader, &layer->q.weight, queries, hidden, "layers.%u.attn.q_proj.weight", index);
    rn_reader_matrix(reader, &layer->k.weight, keys, hidden, "layers.%u.attn.k_proj.weight", index);
    rn_reader_matrix(reader, &layer->v.weight, values, hidden, "layers.%u.attn.v_proj.weight", index);
    if (config->output_gate)
        rn_reader_matrix(reader, &layer->g.weight, outputs, hidden, "layers.%u.attn.g_proj.weight", index);
    rn_fla_group_norm(reader, layer, index);
    rn_reader_matrix(reader, &layer->o.weight, rn_all_rows(hidden), outputs.count, "layers.%u.attn.o_proj.weight",
                     index);
    rn_reader_ignore(reader, rn_reader_find(reader, "layers.%u.attn.rotary.inv_freq", index));
}

static void rn_fla_feed_forward(rn_checkpoint_reader *reader, rn_layer_source *layer, uint32_t index)
{
    const rn_config *config = &reader->checkpoint->config;
    uint32_t hidden = config->hidden, ffn = config->ffn;
    rn_reader_vector(reader, &layer->ffn_norm.weight, hidden, "layers.%u.mlp_norm.weight", index);
    /* Before February 2025 gate_proj held both branches, the activated one first. */
    const rn_tensor *tensor = rn_reader_find(reader, "layers.%u.mlp.gate_proj.weight", index);
    bool both = tensor && tensor->rank == 2 && tensor->shape[0] == 2 * (uint64_t)ffn;
    rn_rows gate = {.all = both ? 2 * ffn : ffn, .first = 0, .count = ffn};
    rn_rows up = {.all = gate.all, .first = both ? ffn : 0, .count = ffn};
    rn_reader_matrix(reader, &layer->gate.weight, gate, hidden, "layers.%u.mlp.gate_proj.weight", index);
    rn_reader_matrix(reader, &layer->up.weight, up, hidden, "layers.%u.mlp.%s.weight", index,
                     both ? "gate_proj" : "up_proj");
    rn_reader_matrix(reader, &layer->down.weight, rn_all_rows(hidden), ffn, "layers.%u.mlp.down_proj.weight", index);
}

void rn_checkpoint_read_fla(rn_checkpoint_reader *reader)
{
    rn_checkpoint *checkpoint = reader->checkpoint;
    const rn_config *config = &checkpoint->config;
    static const rn_variant variants[] = {{".q_conv1d.", "a short convolution"},
                                          {".k_conv1d.", "a short convolution"},
                                          {".v_conv1d.", "a short convolution"}};
    rn_reader_refuse_variants(reader, variants, RN_COUNT(variants));
    reader->prefix = "model.";
    rn_reader_matrix(reader, &checkpoint->embedding, rn_all_rows(config->vocabulary), config->hidden,
                     "embeddings.weight");
    for (uint32_t i = 0; i < config->layers; i++) {
        rn_fla_retention(reader, &checkpoint->layers[i], i);
        rn_fla_feed_forward(reader, &checkpoint->layers[i], i);
    }
    rn_reader_vector(reader, &checkpoint->output_norm.weight, config->hidden, "norm.weight");
    rn_reader_head(reader, "lm_head.weight");
}
