#include "model/config.h"

#include <jansson.h> /* keeps to malloc, as safetensors.c explains */

#include <math.h>
#include <string.h>

enum {
    RN_CONFIG_LIMIT = 1 << 20, /* bytes of text */
    RN_MAX_HIDDEN = 1 << 16,
    RN_MAX_WIDTH = 1 << 20, /* of keys, of values, of the feed-forward layer */
    RN_MAX_LAYERS = 1024,
    RN_MAX_VOCABULARY = 1 << 24
};

/* Fields that say nothing about the computation of a forward pass. A name that ends in '*' stands for a prefix. */
static const char *const rn_bookkeeping[] = {
    /* what Hugging Face writes about files and programs */
    "architectures", "auto_map", "dtype", "finetuning_task", "gradient_checkpointing", "id2label", "label2id",
    "model_max_length", "num_labels", "output_attentions", "output_hidden_states", "prefix", "problem_type",
    "return_dict", "sep_token_id", "task_specific_params", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "use_bfloat16", "use_cache", "_attn_implementation*", "_commit_hash", "_name_or_path",
    /* how a program is to generate */
    "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward", "decoder_start_token_id", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "is_decoder", "length_penalty", "max_length", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "pad_token_id",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "temperature",
    "tf_legacy_loss", "top_k", "top_p", "typical_p",
    /* training, and which of several equal kernels to use */
    "fuse_*", "initializer_range", "max_position_embeddings", "use_l2warp"};

static const char *const rn_fla_bookkeeping[] = {"conv_size"}; /* of short convolutions, which are refused */

static const char *const rn_torchscale_bookkeeping[] = {
    "activation_dropout", "arch", "attention_dropout", "checkpoint_activations", "chunkwise_recurrent", "ddp_rank",
    "disable_fused_ops", "dropout", "drop_path_rate", "forward_impl", "fsdp", "max_target_positions",
    "output_retentions", "recurrent_chunk_size", "use_ffn_rms_norm", "z_loss_coeff",
    /* read by torchscale, but without effect on a RetNet */
    "max_rel_pos", "moe_eval_capacity_token_fraction", "moe_expert_count", "moe_gating_use_fp32",
    "moe_normalize_gate_prob_before_dropping", "moe_second_expert_policy", "moe_top1_expert", "rel_pos_buckets",
    "subln", "use_xmoe", "xpos_rel_pos", "xpos_scale_base"};

/* Each field is removed from `root` as it is read: what is left over at the end is unknown. The first error sticks,
 * and the functions below then do nothing but return a harmless value. */
typedef struct rn_config_reader {
    rn_host *host;
    const char *name;
    json_t *root;
    retnet_result result;
} rn_config_reader;

#define RN_CONFIG_FAIL(reader, code, ...)                                                                              \
    do {                                                                                                               \
        if ((reader)->result == RETNET_OK) (reader)->result = rn_fail((reader)->host, code, __VA_ARGS__);              \
    } while (0)

static void rn_bad_field(rn_config_reader *reader, const char *field, const char *expected)
{
    RN_CONFIG_FAIL(reader, RETNET_ERROR_FORMAT, "%s: %s: expected %s", reader->name, field, expected);
}

static void rn_unsupported_field(rn_config_reader *reader, const char *field, const char *value)
{
    RN_CONFIG_FAIL(reader, RETNET_ERROR_UNSUPPORTED, "%s: %s: %s is not supported", reader->name, field, value);
}

/* The field's value, now the caller's to release; NULL if it is absent or null. */
static json_t *rn_take(rn_config_reader *reader, const char *field)
{
    json_t *value = json_incref(json_object_get(reader->root, field));
    json_object_del(reader->root, field);
    if (!json_is_null(value)) return value;
    json_decref(value);
    return NULL;
}

static bool rn_present(const rn_config_reader *reader, const char *field)
{
    const json_t *value = json_object_get(reader->root, field);
    return value && !json_is_null(value);
}

static uint32_t rn_take_u32(rn_config_reader *reader, const char *field, uint32_t absent, uint32_t least, uint32_t most)
{
    json_t *value = rn_take(reader, field);
    if (!value) return absent;
    json_int_t number = json_integer_value(value);
    bool good = json_is_integer(value) && number >= (json_int_t)least && number <= (json_int_t)most;
    json_decref(value);
    if (good) return (uint32_t)number;
    RN_CONFIG_FAIL(reader, RETNET_ERROR_FORMAT, "%s: %s: expected a whole number from %u to %u", reader->name, field,
                   least, most);
    return least;
}

static double rn_take_number(rn_config_reader *reader, const char *field, double absent, double least, double most)
{
    json_t *value = rn_take(reader, field);
    if (!value) return absent;
    double number = json_number_value(value);
    bool good = json_is_number(value) && number >= least && number <= most;
    json_decref(value);
    if (good) return number;
    RN_CONFIG_FAIL(reader, RETNET_ERROR_FORMAT, "%s: %s: expected a number from %g to %g", reader->name, field, least,
                   most);
    return least;
}

static bool rn_take_bool(rn_config_reader *reader, const char *field, bool absent)
{
    json_t *value = rn_take(reader, field);
    if (!value) return absent;
    bool result = json_is_true(value);
    if (!json_is_boolean(value)) rn_bad_field(reader, field, "true or false");
    json_decref(value);
    return result;
}

/* The index of the field's text in `choices`; `absent` if there is no such field. */
static int rn_take_choice(rn_config_reader *reader, const char *field, int absent, const char *const *choices,
                          int count)
{
    json_t *value = rn_take(reader, field);
    if (!value) return absent;
    const char *text = json_string_value(value);
    int choice = 0;
    while (text && choice < count && strcmp(text, choices[choice]) != 0) choice++;
    if (!text)
        rn_bad_field(reader, field, "a text");
    else if (choice == count)
        rn_unsupported_field(reader, field, text);
    json_decref(value);
    return choice < count ? choice : 0;
}

/* A token id, or -1 for none. Where a checkpoint lists several, the first counts. */
static int32_t rn_take_token(rn_config_reader *reader, const char *field, int32_t absent, uint32_t vocabulary)
{
    bool stated = json_object_get(reader->root, field) != NULL;
    json_t *value = rn_take(reader, field);
    if (!value) return stated || absent >= (int32_t)vocabulary ? -1 : absent;
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : value;
    json_int_t id = json_integer_value(first);
    bool good = json_is_integer(first) && id >= -1 && id < (json_int_t)vocabulary;
    json_decref(value);
    if (good) return (int32_t)id;
    rn_bad_field(reader, field, "a token of the vocabulary, or null");
    return -1;
}

/* Refuses anything but null, false and 0 for a field that stands for `what`. */
static void rn_refuse(rn_config_reader *reader, const char *field, const char *what)
{
    json_t *value = rn_take(reader, field);
    bool empty = !value || json_is_false(value) || (json_is_integer(value) && json_integer_value(value) == 0);
    json_decref(value);
    if (!empty) rn_unsupported_field(reader, field, what);
}

static bool rn_listed(const char *key, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(list[i]);
        bool prefix = list[i][length - 1] == '*';
        if (prefix ? strncmp(key, list[i], length - 1) == 0 : strcmp(key, list[i]) == 0) return true;
    }
    return false;
}

static bool rn_json_empty(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) || (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* A field that nobody knows may be one that changes the computation. */
static void rn_refuse_unknown(rn_config_reader *reader, const char *const *list, size_t count)
{
    const char *key;
    json_t *value;
    json_object_foreach(reader->root, key, value)
    {
        if (rn_json_empty(value) || rn_listed(key, rn_bookkeeping, RN_COUNT(rn_bookkeeping)) ||
            rn_listed(key, list, count))
            continue;
        RN_CONFIG_FAIL(reader, RETNET_ERROR_UNSUPPORTED, "%s: unknown field \"%s\", which may change the computation",
                       reader->name, key);
    }
}

/* width / heads, checked. */
static uint32_t rn_split_heads(rn_config_reader *reader, const char *what, uint32_t width, uint32_t heads)
{
    if (width > 0 && width % heads == 0) return width / heads;
    RN_CONFIG_FAIL(reader, RETNET_ERROR_FORMAT, "%s: %s of %u cannot be divided among %u heads", reader->name, what,
                   width, heads);
    return 2;
}

static void rn_check_key_size(rn_config_reader *reader, uint32_t key_size)
{
    if (key_size % 2 != 0)
        RN_CONFIG_FAIL(reader, RETNET_ERROR_FORMAT, "%s: key size %u of a head is odd, rotation needs pairs",
                       reader->name, key_size);
    if (key_size > RN_MAX_KEY_SIZE)
        RN_CONFIG_FAIL(reader, RETNET_ERROR_LIMIT, "%s: key size %u of a head, at most %d supported", reader->name,
                       key_size, RN_MAX_KEY_SIZE);
}

/* gamma_h = 1 - 2^(-5-h): exact in fp32 up to h = 19, and 1 from there on. */
static void rn_default_decay(rn_config *config)
{
    for (uint32_t h = 0; h < config->heads; h++) config->decay[h] = (float)(1.0 - exp2(-5.0 - h));
}

/* ---- flash-linear-attention ------------------------------------------------------------------------------------- */

static void rn_fla_rotation(rn_config *config)
{
    for (uint32_t i = 0; i < config->key_size / 2; i++) config->theta[i] = pow(10000.0, -2.0 * i / config->key_size);
    rn_default_decay(config);
}

/* trunc(hidden * factor), as fla sizes keys and values. */
static uint32_t rn_expand(rn_config_reader *reader, const char *field, double absent, uint32_t hidden)
{
    double width = trunc(hidden * rn_take_number(reader, field, absent, 0, RN_MAX_WIDTH));
    if (width >= 1 && width <= RN_MAX_WIDTH) return (uint32_t)width;
    rn_bad_field(reader, field, "a factor that gives a width from 1 to 1048576");
    return 1;
}

static uint32_t rn_fla_ffn(rn_config_reader *reader, uint32_t hidden)
{
    /* fla's default is 2; a null stands for 4. */
    bool stated = json_object_get(reader->root, "hidden_ratio") != NULL;
    double ratio = rn_take_number(reader, "hidden_ratio", stated ? 4 : 2, 0, 256);
    uint32_t width = rn_take_u32(reader, "intermediate_size", 0, 1, RN_MAX_WIDTH);
    if (width > 0) return width;
    double wanted = trunc(hidden * ratio * 2 / 3);
    if (wanted >= 1 && wanted <= RN_MAX_WIDTH) return (uint32_t)rn_round_up((uint32_t)wanted, 256);
    rn_bad_field(reader, "hidden_ratio", "a ratio that gives a width from 1 to 1048576");
    return 1;
}

static void rn_parse_fla(rn_config_reader *reader, rn_config *config)
{
    static const char *const types[] = {"retnet"};
    static const char *const modes[] = {"chunk", "fused_chunk", "parallel", "fused_recurrent"}; /* equal results */
    static const char *const activations[] = {"swish", "silu"};
    if (!rn_present(reader, "model_type")) rn_bad_field(reader, "model_type", "\"retnet\"");
    rn_take_choice(reader, "model_type", 0, types, 1);
    rn_take_choice(reader, "attn_mode", 0, modes, RN_COUNT(modes));
    /* An absent field has a default, one that says null has no meaning. */
    if (json_is_null(json_object_get(reader->root, "hidden_act"))) rn_bad_field(reader, "hidden_act", "\"swish\"");
    rn_take_choice(reader, "hidden_act", 0, activations, RN_COUNT(activations));
    rn_refuse(reader, "feature_map", "a feature map");
    rn_refuse(reader, "attn", "a hybrid with attention layers");
    rn_refuse(reader, "use_short_conv", "a short convolution");
    rn_refuse(reader, "attnres_block_size", "an attention residual");

    config->dialect = RN_DIALECT_FLA;
    config->vocabulary = rn_take_u32(reader, "vocab_size", 32000, 1, RN_MAX_VOCABULARY);
    config->hidden = rn_take_u32(reader, "hidden_size", 2048, 1, RN_MAX_HIDDEN);
    config->layers = rn_take_u32(reader, "num_hidden_layers", 24, 1, RN_MAX_LAYERS);
    config->heads = rn_take_u32(reader, "num_heads", 8, 1, RN_MAX_HEADS);
    config->kv_heads = rn_take_u32(reader, "num_kv_heads", config->heads, 1, RN_MAX_HEADS);
    if (config->heads % config->kv_heads != 0)
        RN_CONFIG_FAIL(reader, RETNET_ERROR_FORMAT, "%s: num_heads %u is not a multiple of num_kv_heads %u",
                       reader->name, config->heads, config->kv_heads);
    uint32_t keys = rn_expand(reader, "expand_k", 1.0, config->hidden);
    uint32_t values = rn_expand(reader, "expand_v", 2.0, config->hidden);
    config->key_size = rn_split_heads(reader, "key width", keys, config->heads);
    config->value_size = rn_split_heads(reader, "value width", values, config->heads);
    rn_check_key_size(reader, config->key_size);
    config->ffn = rn_fla_ffn(reader, config->hidden);
    config->norm_eps = (float)rn_take_number(reader, "norm_eps", 1e-6, 0, 1);
    config->embedding_scale = 1.0f;
    config->tied_head = rn_take_bool(reader, "tie_word_embeddings", false);
    config->output_gate = rn_take_bool(reader, "use_output_gate", true);
    config->group_norm_weight = rn_take_bool(reader, "elementwise_affine", true);
    config->ffn_gated = true;
    config->norm = RN_NORM_RMS;
    config->activation = RN_ACTIVATION_SILU;
    config->bos_token = rn_take_token(reader, "bos_token_id", 1, config->vocabulary);
    config->eos_token = rn_take_token(reader, "eos_token_id", 2, config->vocabulary);
    rn_refuse_unknown(reader, rn_fla_bookkeeping, RN_COUNT(rn_fla_bookkeeping));
    if (reader->result == RETNET_OK) rn_fla_rotation(config);
}

/* ---- torchscale ------------------------------------------------------------------------------------------------- */

/* The decays of the paper's section 3.1: 1 - exp of H values from ln 1/32 to ln 1/512, evenly spaced. */
static void rn_language_model_decay(rn_config *config)
{
    double first = log(1.0 / 32), last = log(1.0 / 512);
    for (uint32_t h = 0; h < config->heads; h++) {
        double at = config->heads > 1 ? (double)h / (config->heads - 1) : 0;
        config->decay[h] = (float)(1.0 - exp(first + (last - first) * at));
    }
}

static void rn_torchscale_rotation(rn_config *config, bool language_model_decay)
{
    uint32_t pairs = config->key_size / 2;
    for (uint32_t i = 0; i < pairs; i++) config->theta[i] = pairs > 1 ? pow(10000.0, -(double)i / (pairs - 1)) : 1.0;
    if (language_model_decay)
        rn_language_model_decay(config);
    else
        rn_default_decay(config);
}

static rn_activation rn_torchscale_activation(rn_config_reader *reader)
{
    static const char *const names[] = {"gelu", "relu", "swish", "silu"};
    static const rn_activation kinds[] = {RN_ACTIVATION_GELU, RN_ACTIVATION_RELU, RN_ACTIVATION_SILU,
                                          RN_ACTIVATION_SILU};
    return kinds[rn_take_choice(reader, "activation_fn", 0, names, RN_COUNT(names))];
}

static void rn_torchscale_refusals(rn_config_reader *reader)
{
    static const char *const types[] = {"retnet", "RetNet", "torchscale", "retnet_decoder"};
    static const char *const refused[][2] = {{"deepnorm", "DeepNorm's scaling"},
                                             {"multiway", "a multiway model"},
                                             {"moe_freq", "a mixture of experts"},
                                             {"is_encoder_decoder", "an encoder"},
                                             {"no_output_layer", "a model without output layer"}};
    rn_take_choice(reader, "model_type", 0, types, RN_COUNT(types));
    for (size_t i = 0; i < RN_COUNT(refused); i++) rn_refuse(reader, refused[i][0], refused[i][1]);
    if (!rn_take_bool(reader, "decoder_normalize_before", true))
        rn_unsupported_field(reader, "decoder_normalize_before", "false");
    if (!rn_take_bool(reader, "use_glu", true)) rn_unsupported_field(reader, "use_glu", "false");
}

static void rn_parse_torchscale(rn_config_reader *reader, rn_config *config)
{
    rn_torchscale_refusals(reader);
    config->dialect = RN_DIALECT_TORCHSCALE;
    if (!rn_present(reader, "vocab_size")) rn_bad_field(reader, "vocab_size", "a number: it has no usable default");
    config->vocabulary = rn_take_u32(reader, "vocab_size", 1, 1, RN_MAX_VOCABULARY);
    config->hidden = rn_take_u32(reader, "decoder_embed_dim", 768, 1, RN_MAX_HIDDEN);
    config->layers = rn_take_u32(reader, "decoder_layers", 12, 1, RN_MAX_LAYERS);
    config->heads = rn_take_u32(reader, "decoder_retention_heads", 3, 1, RN_MAX_HEADS);
    config->kv_heads = config->heads;
    uint32_t values = rn_take_u32(reader, "decoder_value_embed_dim", 1280, 1, RN_MAX_WIDTH);
    config->key_size = rn_split_heads(reader, "decoder_embed_dim", config->hidden, config->heads);
    config->value_size = rn_split_heads(reader, "decoder_value_embed_dim", values, config->heads);
    rn_check_key_size(reader, config->key_size);
    config->ffn = rn_take_u32(reader, "decoder_ffn_embed_dim", 1280, 1, RN_MAX_WIDTH);
    config->norm_eps = (float)rn_take_number(reader, "layernorm_eps", 1e-6, 0, 1);
    config->embedding_scale = rn_take_bool(reader, "no_scale_embedding", true) ? 1.0f : sqrtf((float)config->hidden);
    config->embedding_norm = rn_take_bool(reader, "layernorm_embedding", false);
    bool shared = rn_take_bool(reader, "share_decoder_input_output_embed", false);
    config->tied_head = rn_take_bool(reader, "tie_word_embeddings", shared) || shared;
    config->output_gate = true;
    config->score_normalised_eps = true;
    config->ffn_gated = true;
    config->norm = RN_NORM_RMS;
    config->activation = rn_torchscale_activation(reader);
    config->interleaved_rotation = true;
    config->bos_token = rn_take_token(reader, "bos_token_id", -1, config->vocabulary);
    config->eos_token = rn_take_token(reader, "eos_token_id", -1, config->vocabulary);
    bool language_model_decay = rn_take_bool(reader, "use_lm_decay", false);
    rn_refuse_unknown(reader, rn_torchscale_bookkeeping, RN_COUNT(rn_torchscale_bookkeeping));
    if (reader->result == RETNET_OK) rn_torchscale_rotation(config, language_model_decay);
}

/* ---- Entry points ----------------------------------------------------------------------------------------------- */

retnet_result rn_config_parse(rn_host *host, const char *name, const char *text, size_t size, rn_config *config)
{
    memset(config, 0, sizeof(*config));
    if (size > RN_CONFIG_LIMIT)
        return rn_fail(host, RETNET_ERROR_FORMAT, "%s: %zu bytes, at most %d expected", name, size, RN_CONFIG_LIMIT);
    json_error_t error;
    rn_config_reader reader = {.host = host, .name = name};
    reader.root = json_loadb(size > 0 ? text : "", size, JSON_REJECT_DUPLICATES, &error);
    if (!reader.root) return rn_fail(host, RETNET_ERROR_FORMAT, "%s: line %d: %s", name, error.line, error.text);
    if (!json_is_object(reader.root))
        reader.result = rn_fail(host, RETNET_ERROR_FORMAT, "%s: expected a JSON object", name);
    else if (rn_present(&reader, "decoder_embed_dim") || rn_present(&reader, "decoder_retention_heads"))
        rn_parse_torchscale(&reader, config);
    else
        rn_parse_fla(&reader, config);
    json_decref(reader.root);
    return reader.result;
}

static uint64_t rn_norm_parameters(const rn_config *config, uint64_t width)
{
    return config->norm == RN_NORM_LAYER ? 2 * width : width;
}

static uint64_t rn_linear_parameters(const rn_config *config, uint64_t inputs, uint64_t outputs)
{
    return (inputs + (config->linear_bias ? 1 : 0)) * outputs;
}

uint64_t rn_config_parameters(const rn_config *config)
{
    uint64_t hidden = config->hidden, ffn = config->ffn;
    uint64_t keys = (uint64_t)config->key_size, values = (uint64_t)config->value_size;
    uint64_t layer = 2 * rn_norm_parameters(config, hidden);
    layer += rn_linear_parameters(config, hidden, config->heads * keys);
    layer += rn_linear_parameters(config, hidden, config->kv_heads * keys);
    layer += rn_linear_parameters(config, hidden, config->kv_heads * values);
    if (config->output_gate) layer += rn_linear_parameters(config, hidden, config->heads * values);
    if (config->group_norm_weight) layer += values;
    layer += rn_linear_parameters(config, config->heads * values, hidden);
    layer += (config->ffn_gated ? 2 : 1) * rn_linear_parameters(config, hidden, ffn);
    if (config->ffn_norm) layer += rn_norm_parameters(config, ffn);
    layer += rn_linear_parameters(config, ffn, hidden);

    uint64_t embedding = config->vocabulary * hidden * (config->tied_head ? 1 : 2);
    if (config->embedding_norm) embedding += rn_norm_parameters(config, hidden);
    return embedding + config->layers * layer + rn_norm_parameters(config, hidden);
}

bool rn_config_named(const char *shape, rn_config *config)
{
    static const struct {
        const char *name;
        uint32_t hidden, layers, heads, key_size, value_size, ffn, vocabulary;
        bool tied;
        int32_t eos;
    } shapes[] = {{"30m", 512, 8, 4, 128, 256, 768, 8192, true, 7},
                  {"1.3b", 2048, 24, 8, 256, 512, 2816, 32000, false, 2},
                  {"2.7b", 2560, 32, 10, 256, 512, 3584, 32000, false, 2},
                  {"6.7b", 4096, 32, 16, 256, 512, 5632, 32000, false, 2}};
    for (size_t i = 0; i < RN_COUNT(shapes); i++) {
        if (strcmp(shape, shapes[i].name) != 0) continue;
        *config = (rn_config){.dialect = RN_DIALECT_FLA,
                              .hidden = shapes[i].hidden,
                              .layers = shapes[i].layers,
                              .heads = shapes[i].heads,
                              .kv_heads = shapes[i].heads,
                              .key_size = shapes[i].key_size,
                              .value_size = shapes[i].value_size,
                              .ffn = shapes[i].ffn,
                              .vocabulary = shapes[i].vocabulary,
                              .norm_eps = 1e-6f,
                              .embedding_scale = 1.0f,
                              .tied_head = shapes[i].tied,
                              .output_gate = true,
                              .group_norm_weight = true,
                              .ffn_gated = true,
                              .norm = RN_NORM_RMS,
                              .activation = RN_ACTIVATION_SILU,
                              .bos_token = 1,
                              .eos_token = shapes[i].eos};
        rn_fla_rotation(config);
        return true;
    }
    return false;
}
