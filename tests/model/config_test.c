/* config.json: defaults and rules of both dialects, and every refusal by name. */
#include "model/config.h"

#include "model/model_test.h"

#include <jansson.h>

static test_host test;

/* Parses `base` with the fields of `changes` put in; a field "x" of `changes` that says "absent" is taken out. */
static retnet_result parse(const char *base, const char *changes, rn_config *config)
{
    json_t *object = json_loads(base, 0, NULL), *change = json_loads(changes, 0, NULL), *value;
    const char *key;
    REQUIRE(object && change);
    json_object_foreach(change, key, value)
    {
        if (json_is_string(value) && strcmp(json_string_value(value), "absent") == 0)
            json_object_del(object, key);
        else
            json_object_set(object, key, value);
    }
    char *text = json_dumps(object, 0);
    REQUIRE(text);
    retnet_result result = rn_config_parse(&test.host, "config.json", text, strlen(text), config);
    free(text);
    json_decref(object);
    json_decref(change);
    CHECK_INT(test.live, 0);
    return result;
}

static const char fla[] = "{\"model_type\":\"retnet\",\"hidden_size\":64,\"num_heads\":4,\"num_hidden_layers\":2,"
                          "\"vocab_size\":100}";
static const char torchscale[] =
    "{\"decoder_embed_dim\":32,\"decoder_value_embed_dim\":48,\"decoder_retention_heads\":2,"
    "\"decoder_ffn_embed_dim\":56,\"decoder_layers\":2,\"vocab_size\":64,\"activation_fn\":\"swish\"}";

/* ---- Values ----------------------------------------------------------------------------------------------------- */

static void test_fla_defaults(void)
{
    rn_config config;
    REQUIRE(parse("{\"model_type\":\"retnet\"}", "{}", &config) == RETNET_OK);
    CHECK_INT(config.dialect, RN_DIALECT_FLA);
    CHECK_INT(config.hidden, 2048);
    CHECK_INT(config.layers, 24);
    CHECK_INT(config.heads, 8);
    CHECK_INT(config.kv_heads, 8);
    CHECK_INT(config.key_size, 256);
    CHECK_INT(config.value_size, 512);
    CHECK_INT(config.ffn, 2816);
    CHECK_INT(config.vocabulary, 32000);
    CHECK(config.norm_eps == 1e-6f && config.embedding_scale == 1.0f);
    CHECK(!config.embedding_norm && !config.tied_head && config.output_gate && config.group_norm_weight);
    CHECK(!config.score_normalised_eps && config.ffn_gated && !config.linear_bias && !config.ffn_norm);
    CHECK(config.norm == RN_NORM_RMS && config.activation == RN_ACTIVATION_SILU && !config.interleaved_rotation);
    CHECK_INT(config.bos_token, 1);
    CHECK_INT(config.eos_token, 2);
    CHECK(rn_config_parameters(&config) == 1351727104u); /* counted in fla-hub's 1.3B checkpoint */
}

static void test_fla_fields(void)
{
    rn_config config;
    REQUIRE(parse(fla,
                  "{\"expand_k\":0.5,\"expand_v\":1.5,\"num_kv_heads\":2,\"intermediate_size\":100,\"norm_eps\":0.001,"
                  "\"tie_word_embeddings\":true,\"use_output_gate\":false,\"elementwise_affine\":false,"
                  "\"bos_token_id\":null,\"eos_token_id\":[7,8],\"hidden_act\":\"silu\",\"attn_mode\":\"parallel\"}",
                  &config) == RETNET_OK);
    CHECK_INT(config.key_size, 8);
    CHECK_INT(config.value_size, 24);
    CHECK_INT(config.kv_heads, 2);
    CHECK_INT(config.ffn, 100);
    CHECK(config.norm_eps == 0.001f);
    CHECK(config.tied_head && !config.output_gate && !config.group_norm_weight);
    CHECK_INT(config.bos_token, -1);
    CHECK_INT(config.eos_token, 7);
    /* 100*64 embedding, 64 last norm, and in each layer: norms, q k v o, gate up down */
    CHECK_INT(rn_config_parameters(&config),
              6400 + 64 + 2 * (2 * 64 + 64 * 32 + 64 * 16 + 64 * 48 + 96 * 64 + 3 * 64 * 100));
}

static uint32_t ffn_of(uint32_t hidden, const char *ratio)
{
    char changes[200];
    snprintf(changes, sizeof(changes), "{\"hidden_size\":%u,\"num_heads\":%u,\"hidden_ratio\":%s}", hidden,
             hidden < 512 ? 2 : 16, ratio);
    rn_config config;
    CHECK_INT(parse(fla, changes, &config), RETNET_OK);
    return config.ffn;
}

static void test_fla_ffn(void)
{
    CHECK_INT(ffn_of(2048, "\"absent\""), 2816);
    CHECK_INT(ffn_of(2560, "2"), 3584);
    CHECK_INT(ffn_of(1024, "2"), 1536);    /* 1365 */
    CHECK_INT(ffn_of(768, "2"), 1024);     /* exactly 1024 is not rounded further */
    CHECK_INT(ffn_of(1024, "null"), 2816); /* 4: 2730 */
    CHECK_INT(ffn_of(1024, "2.5"), 1792);  /* 1706 */
    CHECK_INT(ffn_of(4, "1"), 256);
}

static void test_torchscale(void)
{
    rn_config config;
    REQUIRE(parse(torchscale, "{}", &config) == RETNET_OK);
    CHECK_INT(config.dialect, RN_DIALECT_TORCHSCALE);
    CHECK_INT(config.key_size, 16);
    CHECK_INT(config.value_size, 24);
    CHECK_INT(config.ffn, 56);
    CHECK(config.norm_eps == 1e-6f && config.embedding_scale == 1.0f && !config.embedding_norm && !config.tied_head);
    CHECK(config.output_gate && !config.group_norm_weight && config.score_normalised_eps && config.ffn_gated);
    CHECK(config.interleaved_rotation && config.activation == RN_ACTIVATION_SILU);
    CHECK_INT(config.bos_token, -1);

    static const char *const accepted[] = {
        "{\"activation_fn\":\"absent\"}",
        "{\"activation_fn\":\"relu\"}",
        "{\"model_type\":\"retnet\"}",
        "{\"decoder_normalize_before\":true}",
        "{\"subln\":true,\"deepnorm\":false,\"multiway\":false,\"moe_freq\":0}",
        "{\"dropout\":0.1,\"arch\":\"retnet_base\",\"recurrent_chunk_size\":512,\"forward_impl\":\"parallel\"}"};
    static const rn_activation activations[] = {RN_ACTIVATION_GELU, RN_ACTIVATION_RELU, RN_ACTIVATION_SILU,
                                                RN_ACTIVATION_SILU, RN_ACTIVATION_SILU, RN_ACTIVATION_SILU};
    for (size_t i = 0; i < RN_COUNT(accepted); i++) {
        CHECK_INT(parse(torchscale, accepted[i], &config), RETNET_OK);
        CHECK_INT(config.activation, activations[i]);
    }
    CHECK_INT(parse(torchscale, "{\"no_scale_embedding\":false,\"layernorm_embedding\":true}", &config), RETNET_OK);
    CHECK(config.embedding_scale == sqrtf(32) && config.embedding_norm);
    CHECK_INT(parse(torchscale, "{\"share_decoder_input_output_embed\":true}", &config), RETNET_OK);
    CHECK(config.tied_head);
    CHECK_INT(parse(torchscale, "{\"tie_word_embeddings\":true,\"eos_token_id\":3}", &config), RETNET_OK);
    CHECK(config.tied_head && config.eos_token == 3);
}

static void test_rotation_and_decay(void)
{
    rn_config config;
    CHECK_INT(parse(fla, "{\"num_heads\":32}", &config), RETNET_OK); /* K = 2 */
    CHECK(config.theta[0] == 1.0);
    for (uint32_t h = 0; h < 32; h++) CHECK(config.decay[h] == 1.0f - ldexpf(1.0f, -5 - (int)h));
    CHECK(config.decay[0] == 0.96875f && config.decay[19] < 1.0f && config.decay[20] == 1.0f);

    CHECK_INT(parse(fla, "{}", &config), RETNET_OK); /* K = 16 */
    CHECK(config.theta[0] == 1.0);
    CHECK_AT_MOST(fabs(config.theta[4] - 0.01), 1e-17); /* 10000^(-8/16) */
    CHECK_AT_MOST(fabs(config.theta[7] / pow(10000, -14.0 / 16) - 1), 1e-15);

    CHECK_INT(parse(torchscale, "{}", &config), RETNET_OK); /* K = 16 */
    CHECK(config.theta[0] == 1.0);
    CHECK_AT_MOST(fabs(config.theta[7] - 1e-4), 1e-18); /* the last one is exactly 1/10000 */
    CHECK_AT_MOST(fabs(config.theta[3] / pow(10000, -3.0 / 7) - 1), 1e-15);
    CHECK_INT(parse(torchscale, "{\"decoder_retention_heads\":16}", &config), RETNET_OK); /* K = 2 */
    CHECK(config.theta[0] == 1.0);

    static const double paper[] = {0.96875, 0.97897, 0.98585, 0.99048, 0.99359, 0.99569, 0.99710, 0.99805};
    CHECK_INT(parse(torchscale, "{\"decoder_retention_heads\":8,\"use_lm_decay\":true}", &config), RETNET_OK);
    for (int h = 0; h < 8; h++) CHECK_AT_MOST(fabs(config.decay[h] - paper[h]), 0.6e-5);
}

static void test_named(void)
{
    static const struct {
        const char *name;
        uint64_t parameters;
    } shapes[] = {{"30m", 30419456}, {"1.3b", 1351727104}, {"2.7b", 2722548224}, {"6.7b", 6771986432}};
    rn_config config;
    for (size_t i = 0; i < RN_COUNT(shapes); i++) {
        REQUIRE(rn_config_named(shapes[i].name, &config));
        CHECK_INT(rn_config_parameters(&config), shapes[i].parameters);
        CHECK(config.key_size % 2 == 0 && config.theta[1] > 0 && config.decay[0] == 0.96875f);
    }
    rn_config parsed;
    CHECK_INT(parse("{\"model_type\":\"retnet\"}", "{}", &parsed), RETNET_OK);
    REQUIRE(rn_config_named("1.3b", &config));
    CHECK(memcmp(parsed.theta, config.theta, sizeof(config.theta)) == 0);
    CHECK(!rn_config_named("1.3B", &config));
    CHECK(!rn_config_named("", &config));
}

/* ---- Refusals --------------------------------------------------------------------------------------------------- */

static void test_refusals(void)
{
    static const struct {
        const char *base, *changes;
        retnet_result expected;
        const char *part;
    } cases[] = {
        {fla, "{\"feature_map\":\"relu\"}", RETNET_ERROR_UNSUPPORTED, "feature_map"},
        {fla, "{\"attn\":{\"layers\":[0]}}", RETNET_ERROR_UNSUPPORTED, "attn: a hybrid with attention layers"},
        {fla, "{\"use_short_conv\":true}", RETNET_ERROR_UNSUPPORTED, "use_short_conv: a short convolution"},
        {fla, "{\"attnres_block_size\":4}", RETNET_ERROR_UNSUPPORTED, "attnres_block_size"},
        {fla, "{\"hidden_act\":\"gelu\"}", RETNET_ERROR_UNSUPPORTED, "hidden_act: gelu"},
        {fla, "{\"hidden_act\":\"powlu\"}", RETNET_ERROR_UNSUPPORTED, "hidden_act: powlu"},
        {fla, "{\"hidden_act\":null}", RETNET_ERROR_FORMAT, "hidden_act"},
        {fla, "{\"attn_mode\":\"other\"}", RETNET_ERROR_UNSUPPORTED, "attn_mode: other"},
        {fla, "{\"model_type\":\"gla\"}", RETNET_ERROR_UNSUPPORTED, "model_type: gla"},
        {fla, "{\"model_type\":\"absent\"}", RETNET_ERROR_FORMAT, "model_type"},
        {fla, "{\"model_type\":3}", RETNET_ERROR_FORMAT, "model_type"},
        {fla, "{\"new_idea\":true}", RETNET_ERROR_UNSUPPORTED, "\"new_idea\""},
        {fla, "{\"rope_scaling\":{\"type\":\"yarn\"}}", RETNET_ERROR_UNSUPPORTED, "\"rope_scaling\""},
        {fla, "{\"quantization_config\":{\"bits\":4}}", RETNET_ERROR_UNSUPPORTED, "\"quantization_config\""},
        {fla, "{\"decoder_layers\":3}", RETNET_ERROR_UNSUPPORTED, "\"decoder_layers\""},
        {fla, "{\"hidden_size\":66}", RETNET_ERROR_FORMAT, "key width of 66 cannot be divided among 4 heads"},
        {fla, "{\"expand_v\":1.01}", RETNET_OK, ""}, /* 64.64 is cut to 64 */
        {fla, "{\"expand_v\":1.02}", RETNET_ERROR_FORMAT, "value width of 65"},
        {fla, "{\"expand_v\":0}", RETNET_ERROR_FORMAT, "expand_v"},
        {fla, "{\"expand_k\":-1}", RETNET_ERROR_FORMAT, "expand_k"},
        {fla, "{\"expand_k\":1e300}", RETNET_ERROR_FORMAT, "expand_k"},
        {fla, "{\"expand_k\":\"1\"}", RETNET_ERROR_FORMAT, "expand_k"},
        {fla, "{\"hidden_size\":68}", RETNET_ERROR_FORMAT, "key size 17 of a head is odd"},
        {fla, "{\"hidden_size\":4096}", RETNET_ERROR_LIMIT, "key size 1024"},
        {fla, "{\"num_heads\":4,\"num_kv_heads\":3}", RETNET_ERROR_FORMAT, "num_kv_heads 3"},
        {fla, "{\"num_heads\":2,\"num_kv_heads\":4}", RETNET_ERROR_FORMAT, "num_kv_heads 4"},
        {fla, "{\"num_heads\":0}", RETNET_ERROR_FORMAT, "num_heads: expected a whole number from 1 to 128"},
        {fla, "{\"num_heads\":129}", RETNET_ERROR_FORMAT, "num_heads"},
        {fla, "{\"num_heads\":4.0}", RETNET_ERROR_FORMAT, "num_heads"},
        {fla, "{\"num_heads\":true}", RETNET_ERROR_FORMAT, "num_heads"},
        {fla, "{\"hidden_size\":65540}", RETNET_ERROR_FORMAT, "hidden_size"},
        {fla, "{\"hidden_size\":9223372036854775807}", RETNET_ERROR_FORMAT, "hidden_size"},
        {fla, "{\"num_hidden_layers\":1025}", RETNET_ERROR_FORMAT, "num_hidden_layers"},
        {fla, "{\"num_hidden_layers\":-1}", RETNET_ERROR_FORMAT, "num_hidden_layers"},
        {fla, "{\"vocab_size\":16777217}", RETNET_ERROR_FORMAT, "vocab_size"},
        {fla, "{\"intermediate_size\":0}", RETNET_ERROR_FORMAT, "intermediate_size"},
        {fla, "{\"hidden_ratio\":0}", RETNET_ERROR_FORMAT, "hidden_ratio"},
        {fla, "{\"norm_eps\":-1e-6}", RETNET_ERROR_FORMAT, "norm_eps"},
        {fla, "{\"norm_eps\":2}", RETNET_ERROR_FORMAT, "norm_eps"},
        {fla, "{\"use_output_gate\":1}", RETNET_ERROR_FORMAT, "use_output_gate: expected true or false"},
        {fla, "{\"tie_word_embeddings\":\"yes\"}", RETNET_ERROR_FORMAT, "tie_word_embeddings"},
        {fla, "{\"eos_token_id\":100}", RETNET_ERROR_FORMAT, "eos_token_id"},
        {fla, "{\"bos_token_id\":-2}", RETNET_ERROR_FORMAT, "bos_token_id"},
        {torchscale, "{\"deepnorm\":true}", RETNET_ERROR_UNSUPPORTED, "deepnorm"},
        {torchscale, "{\"multiway\":true}", RETNET_ERROR_UNSUPPORTED, "multiway: a multiway model"},
        {torchscale, "{\"moe_freq\":2}", RETNET_ERROR_UNSUPPORTED, "moe_freq: a mixture of experts"},
        {torchscale, "{\"no_output_layer\":true}", RETNET_ERROR_UNSUPPORTED, "no_output_layer"},
        {torchscale, "{\"decoder_normalize_before\":false}", RETNET_ERROR_UNSUPPORTED, "decoder_normalize_before"},
        {torchscale, "{\"use_glu\":false}", RETNET_ERROR_UNSUPPORTED, "use_glu"},
        {torchscale, "{\"activation_fn\":\"tanh\"}", RETNET_ERROR_UNSUPPORTED, "activation_fn: tanh"},
        {torchscale, "{\"model_type\":\"gpt2\"}", RETNET_ERROR_UNSUPPORTED, "model_type: gpt2"},
        {torchscale, "{\"vocab_size\":-1}", RETNET_ERROR_FORMAT, "vocab_size"},
        {torchscale, "{\"vocab_size\":\"absent\"}", RETNET_ERROR_FORMAT, "vocab_size"},
        {torchscale, "{\"decoder_retention_heads\":3}", RETNET_ERROR_FORMAT, "decoder_embed_dim of 32"},
        {torchscale, "{\"decoder_value_embed_dim\":49}", RETNET_ERROR_FORMAT, "decoder_value_embed_dim of 49"},
        {torchscale, "{\"num_heads\":2}", RETNET_ERROR_UNSUPPORTED, "\"num_heads\""},
    };
    for (size_t i = 0; i < RN_COUNT(cases); i++) {
        rn_config config;
        CHECK_REFUSED(&test, parse(cases[i].base, cases[i].changes, &config), cases[i].expected, cases[i].part);
    }
}

static void test_bookkeeping(void)
{
    rn_config config;
    CHECK_INT(
        parse(fla,
              "{\"id2label\":{\"0\":\"x\"},\"transformers_version\":\"4.1\",\"torch_dtype\":\"float16\","
              "\"dtype\":\"bfloat16\",\"architectures\":[\"RetNetForCausalLM\"],\"_name_or_path\":\"x\","
              "\"use_cache\":true,\"initializer_range\":0.02,\"fuse_norm\":true,\"fuse_anything\":true,"
              "\"max_position_embeddings\":2048,\"return_dict\":true,\"temperature\":1.0,\"top_k\":50,"
              "\"pad_token_id\":3,\"conv_size\":4,\"attn\":null,\"feature_map\":null,\"use_l2warp\":false,"
              "\"unknown_but_null\":null,\"unknown_but_false\":false,\"unknown_but_empty\":{},\"x\":[],\"y\":\"\"}",
              &config),
        RETNET_OK);
}

static void test_malformed(void)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "null",
                                        "{\"model_type\":\"retnet\",\"model_type\":\"retnet\"}",
                                        "{\"norm_eps\":NaN}",
                                        "{\"norm_eps\":1e999}",
                                        "{\"model_type\":\"retnet\"} x",
                                        "{\"model_type\":\"ret\\u0000net\"}"};
    rn_config config;
    for (size_t i = 0; i < RN_COUNT(texts); i++)
        CHECK_REFUSED(&test, rn_config_parse(&test.host, "name", texts[i], strlen(texts[i]), &config),
                      RETNET_ERROR_FORMAT, "name: ");
    CHECK_REFUSED(&test, rn_config_parse(&test.host, "name", NULL, 0, &config), RETNET_ERROR_FORMAT, "name: ");
}

int main(void)
{
    test_host_init(&test);
    test_fla_defaults();
    test_fla_fields();
    test_fla_ffn();
    test_torchscale();
    test_rotation_and_decay();
    test_named();
    test_refusals();
    test_bookkeeping();
    test_malformed();
    return test_finish();
}
