/* Checkpoints of both dialects: where each role's tensor comes from, and what is refused. */
#include "model/checkpoint.h"

#include "model/model_test.h"
#include "model/tiny.h"

static test_host test;
static char directory[64];
static test_tensors tensors;

/* Opens what is in the directory, then removes it. */
static retnet_result open_kept(rn_checkpoint *checkpoint)
{
    retnet_result result = rn_checkpoint_open(&test.host, directory, checkpoint);
    if (result != RETNET_OK) CHECK_INT(test.live, 0);
    return result;
}

/* Writes config and tensors, and opens them. */
static retnet_result open_checkpoint(const char *config, rn_checkpoint *checkpoint)
{
    test_write_text(directory, "config.json", config);
    test_write_safetensors(&tensors, directory);
    return open_kept(checkpoint);
}

static void close_checkpoint(rn_checkpoint *checkpoint)
{
    rn_checkpoint_close(&test.host, checkpoint);
    CHECK_INT(test.live, 0);
    CHECK(checkpoint->tensors == NULL);
    rn_checkpoint_close(&test.host, checkpoint);
    test_free(&tensors);
}

static void check_refused(const char *config, retnet_result expected, const char *part)
{
    rn_checkpoint checkpoint;
    CHECK_REFUSED(&test, open_checkpoint(config, &checkpoint), expected, part);
    test_free(&tensors);
}

/* The source points at the bytes that were written under this name. */
static bool is_tensor(const rn_tensor *tensor, const char *name)
{
    if (!tensor || strcmp(tensor->name, name) != 0) return false;
    const test_tensor *written = test_find(&tensors, name);
    return tensor->bytes == written->bytes && memcmp(tensor->data, written->data, written->bytes) == 0;
}

static void check_matrix(const rn_matrix_source *matrix, const char *name, uint32_t rows, uint32_t columns)
{
    CHECK(is_tensor(matrix->tensor, name));
    CHECK_INT(matrix->rows, rows);
    CHECK_INT(matrix->columns, columns);
    CHECK(matrix->first_row == 0 && matrix->scales == NULL);
}

static void check_vector(const rn_vector_source *vector, const char *name, uint32_t size)
{
    CHECK(is_tensor(vector->tensor, name));
    CHECK_INT(vector->size, size);
}

/* ---- flash-linear-attention ------------------------------------------------------------------------------------- */

static void test_fla(void)
{
    rn_checkpoint checkpoint;
    tiny_fla(&tensors, "BF16", 2);
    test_add(&tensors, "F32", 4, 0, "model.layers.0.attn.rotary.inv_freq");
    REQUIRE(open_checkpoint(TINY_FLA_CONFIG(""), &checkpoint) == RETNET_OK);
    check_matrix(&checkpoint.embedding, "model.embeddings.weight", 32, 16);
    check_matrix(&checkpoint.head, "lm_head.weight", 32, 16);
    check_vector(&checkpoint.output_norm.weight, "model.norm.weight", 16);
    CHECK(!checkpoint.output_norm.bias.tensor && !checkpoint.embedding_norm.weight.tensor);
    const rn_layer_source *layer = &checkpoint.layers[1];
    check_vector(&layer->retention_norm.weight, "model.layers.1.attn_norm.weight", 16);
    check_matrix(&layer->q.weight, "model.layers.1.attn.q_proj.weight", 16, 16);
    check_matrix(&layer->k.weight, "model.layers.1.attn.k_proj.weight", 16, 16);
    check_matrix(&layer->v.weight, "model.layers.1.attn.v_proj.weight", 32, 16);
    check_matrix(&layer->g.weight, "model.layers.1.attn.g_proj.weight", 32, 16);
    check_vector(&layer->group_norm, "model.layers.1.attn.g_norm_swish_gate.weight", 16);
    check_matrix(&layer->o.weight, "model.layers.1.attn.o_proj.weight", 16, 32);
    check_vector(&layer->ffn_norm.weight, "model.layers.1.mlp_norm.weight", 16);
    check_matrix(&layer->gate.weight, "model.layers.1.mlp.gate_proj.weight", 24, 16);
    check_matrix(&layer->up.weight, "model.layers.1.mlp.up_proj.weight", 24, 16);
    check_matrix(&layer->down.weight, "model.layers.1.mlp.down_proj.weight", 16, 24);
    CHECK(!layer->ffn_inner_norm.weight.tensor && !layer->q.bias.tensor && layer->q.weight.rotation_head == 0);
    close_checkpoint(&checkpoint);
}

static void test_fla_variants(void)
{
    rn_checkpoint checkpoint;
    tiny_fla(&tensors, "F16", 1);
    for (int l = 0; l < 2; l++) {
        char name[96];
        snprintf(name, sizeof(name), "model.layers.%d.attn.g_norm_swish_gate.weight", l);
        snprintf(test_find(&tensors, name)->name, 96, "model.layers.%d.attn.g_norm.weight", l);
    }
    REQUIRE(open_checkpoint(TINY_FLA_CONFIG(",\"num_kv_heads\":1"), &checkpoint) == RETNET_OK);
    check_matrix(&checkpoint.layers[0].k.weight, "model.layers.0.attn.k_proj.weight", 8, 16);
    check_matrix(&checkpoint.layers[0].v.weight, "model.layers.0.attn.v_proj.weight", 16, 16);
    check_vector(&checkpoint.layers[0].group_norm, "model.layers.0.attn.g_norm.weight", 16);
    close_checkpoint(&checkpoint);

    tiny_fla(&tensors, "F32", 2);
    for (int l = 0; l < 2; l++) {
        char name[96];
        snprintf(name, sizeof(name), "model.layers.%d.attn.g_norm_swish_gate.weight", l);
        test_remove(&tensors, name);
        snprintf(name, sizeof(name), "model.layers.%d.attn.g_proj.weight", l);
        test_remove(&tensors, name);
    }
    REQUIRE(open_checkpoint(TINY_FLA_CONFIG(",\"use_output_gate\":false,\"elementwise_affine\":false"), &checkpoint) ==
            RETNET_OK);
    CHECK(!checkpoint.layers[0].g.weight.tensor && !checkpoint.layers[0].group_norm.tensor);
    close_checkpoint(&checkpoint);
}

static void test_fla_legacy(void)
{
    rn_checkpoint checkpoint;
    tiny_fla(&tensors, "F32", 2);
    for (int l = 0; l < 2; l++) {
        char name[96];
        snprintf(name, sizeof(name), "model.layers.%d.mlp.gate_proj.weight", l);
        test_remove(&tensors, name);
        test_add(&tensors, "F32", 48, 16, "%s", name);
        snprintf(name, sizeof(name), "model.layers.%d.mlp.up_proj.weight", l);
        test_remove(&tensors, name);
    }
    REQUIRE(open_checkpoint(TINY_FLA_CONFIG(""), &checkpoint) == RETNET_OK);
    const rn_layer_source *layer = &checkpoint.layers[1];
    check_matrix(&layer->gate.weight, "model.layers.1.mlp.gate_proj.weight", 24, 16);
    CHECK(layer->up.weight.tensor == layer->gate.weight.tensor);
    CHECK(layer->up.weight.first_row == 24 && layer->up.weight.rows == 24);
    close_checkpoint(&checkpoint);
}

static void test_tied(void)
{
    rn_checkpoint checkpoint;
    const char *config = TINY_FLA_CONFIG(",\"tie_word_embeddings\":true");
    tiny_fla(&tensors, "F16", 2);
    test_remove(&tensors, "lm_head.weight");
    REQUIRE(open_checkpoint(config, &checkpoint) == RETNET_OK);
    check_matrix(&checkpoint.head, "model.embeddings.weight", 32, 16);
    close_checkpoint(&checkpoint);

    tiny_fla(&tensors, "F16", 2);
    memcpy(test_find(&tensors, "lm_head.weight")->data, test_find(&tensors, "model.embeddings.weight")->data, 1024);
    REQUIRE(open_checkpoint(config, &checkpoint) == RETNET_OK);
    check_matrix(&checkpoint.head, "model.embeddings.weight", 32, 16);
    close_checkpoint(&checkpoint);

    tiny_fla(&tensors, "F16", 2);
    memcpy(test_find(&tensors, "lm_head.weight")->data, test_find(&tensors, "model.embeddings.weight")->data, 1023);
    check_refused(config, RETNET_ERROR_FORMAT, "lm_head.weight differs from the embedding");
}

/* The headers tell roles and shapes; only a full open looks into the weights. */
static void test_headers(void)
{
    rn_checkpoint checkpoint;
    test_write_text(directory, "config.json", TINY_FLA_CONFIG(",\"tie_word_embeddings\":true"));
    tiny_fla(&tensors, "F16", 2);
    memset(test_find(&tensors, "lm_head.weight")->data, 1, 1024);
    test_write_safetensors(&tensors, directory);
    CHECK_REFUSED(&test, open_kept(&checkpoint), RETNET_ERROR_FORMAT, "differs from the embedding");
    REQUIRE(rn_checkpoint_open_headers(&test.host, directory, &checkpoint) == RETNET_OK);
    check_matrix(&checkpoint.head, "model.embeddings.weight", 32, 16);
    check_matrix(&checkpoint.layers[1].down.weight, "model.layers.1.mlp.down_proj.weight", 16, 24);
    CHECK_INT(checkpoint.content_hash, 0);
    close_checkpoint(&checkpoint);

    tiny_fla(&tensors, "F16", 2);
    test_remove(&tensors, "model.layers.1.mlp.down_proj.weight");
    test_write_safetensors(&tensors, directory);
    CHECK_REFUSED(&test, rn_checkpoint_open_headers(&test.host, directory, &checkpoint), RETNET_ERROR_FORMAT,
                  "down_proj.weight is missing");
    CHECK_INT(test.live, 0);
    test_free(&tensors);
}

/* `o_columns` and `down_columns`: what the file calls 32 and 71 weights of a row. */
static void test_quantised(const char *dtype, uint64_t o_columns, uint64_t down_columns)
{
    static const char o[] = "model.layers.1.attn.o_proj.weight", o_scale[] = "model.layers.1.attn.o_proj.weight_scale";
    static const char down[] = "model.layers.1.mlp.down_proj.weight";
    char path[128];
    for (int broken = 0; broken < 6; broken++) {
        rn_checkpoint checkpoint;
        tiny_wide_fla(&tensors, "F32");
        test_remove(&tensors, o);
        test_remove(&tensors, down);
        test_add(&tensors, dtype, 16, broken == 4 ? 12 : o_columns, "%s", o);
        test_add(&tensors, dtype, 16, broken == 5 ? down_columns - 1 : down_columns, "%s", down);
        test_add(&tensors, "F16", 16, 3, "%s_scale", down);
        if (broken != 1) test_add(&tensors, broken == 2 ? "F32" : "F16", 16, broken == 3 ? 2 : 1, "%s", o_scale);
        const char *config = TINY_WIDE_FLA_CONFIG;
        if (broken == 1) check_refused(config, RETNET_ERROR_FORMAT, "o_proj.weight_scale is missing");
        if (broken == 2) check_refused(config, RETNET_ERROR_UNSUPPORTED, "dtype F32 found, F16 expected");
        if (broken == 3) check_refused(config, RETNET_ERROR_FORMAT, "[16, 2] found, [16, 1] expected");
        if (broken == 4) check_refused(config, RETNET_ERROR_FORMAT, "o_proj.weight: shape [16, 12] found");
        if (broken == 5) check_refused(config, RETNET_ERROR_FORMAT, "down_proj.weight: shape [16, ");
        if (broken) continue;
        test_write_text(directory, "config.json", config);
        test_write_shards(&tensors, 3, directory); /* weights and their scales in files of their own */
        unlink(test_path(path, directory, "model.safetensors"));
        REQUIRE(open_kept(&checkpoint) == RETNET_OK);
        const rn_layer_source *layer = &checkpoint.layers[1];
        CHECK(is_tensor(layer->o.weight.tensor, o) && is_tensor(layer->o.weight.scales, o_scale));
        CHECK_INT(layer->down.weight.columns, 71);
        CHECK_INT(rn_matrix_row_bytes(&layer->down.weight), down_columns);
        CHECK(strcmp(layer->down.weight.tensor->file, layer->down.weight.scales->file) != 0);
        CHECK(checkpoint.layers[0].o.weight.scales == NULL);
        close_checkpoint(&checkpoint);
    }
}

/* A tied head that is there again is the embedding in its scales and weights. */
static void test_quantised_tied(const char *dtype, uint64_t columns)
{
    static const char *const names[] = {"model.embeddings.weight", "lm_head.weight"};
    for (int differs = 0; differs < 2; differs++) {
        rn_checkpoint checkpoint;
        tiny_fla(&tensors, "F16", 2);
        for (int i = 0; i < 2; i++) {
            test_remove(&tensors, names[i]);
            memset(test_add(&tensors, dtype, 32, columns, "%s", names[i])->data, 0x77, (size_t)(32 * columns));
            memset(test_add(&tensors, "F16", 32, 1, "%s_scale", names[i])->data, differs && i, 64);
        }
        const char *config = TINY_FLA_CONFIG(",\"tie_word_embeddings\":true");
        if (differs) check_refused(config, RETNET_ERROR_FORMAT, "lm_head.weight differs from the embedding");
        if (differs) continue;
        REQUIRE(open_checkpoint(config, &checkpoint) == RETNET_OK);
        CHECK(checkpoint.head.tensor == checkpoint.embedding.tensor);
        CHECK(is_tensor(checkpoint.head.scales, "model.embeddings.weight_scale"));
        close_checkpoint(&checkpoint);
    }
}

/* Every tensor is needed, with its shape and a dtype that is known. */
static void test_fla_refusals(void)
{
    rn_checkpoint checkpoint;
    for (size_t i = 0; i < 25; i++) {
        for (int how = 0; how < 3; how++) {
            char name[96], part[200];
            tiny_fla(&tensors, "F32", 2);
            CHECK_INT(tensors.count, 25);
            test_tensor *tensor = &tensors.items[i];
            snprintf(name, sizeof(name), "%s", tensor->name);
            uint64_t rows = tensor->shape[0], columns = tensor->rank == 2 ? tensor->shape[1] : 0;
            test_remove(&tensors, name);
            snprintf(part, sizeof(part), "tensor %s", name);
            if (how == 1) test_add(&tensors, "F32", rows + 1, columns, "%s", name);
            if (how == 2) test_add(&tensors, "I64", rows, columns, "%s", name);
            test_write_safetensors(&tensors, directory);
            test_write_text(directory, "config.json", TINY_FLA_CONFIG(""));
            CHECK_REFUSED(&test, open_kept(&checkpoint), how == 2 ? RETNET_ERROR_UNSUPPORTED : RETNET_ERROR_FORMAT,
                          part);
            test_free(&tensors);
        }
    }
    tiny_fla(&tensors, "F32", 2);
    test_add(&tensors, "F32", 16, 0, "model.layers.0.attn.q_proj.bias");
    check_refused(TINY_FLA_CONFIG(""), RETNET_ERROR_UNSUPPORTED, "tensor model.layers.0.attn.q_proj.bias is not one");
    tiny_fla(&tensors, "F32", 2);
    test_add(&tensors, "F32", 16, 4, "model.layers.1.attn.k_conv1d.weight");
    check_refused(TINY_FLA_CONFIG(""), RETNET_ERROR_UNSUPPORTED,
                  "k_conv1d.weight: a short convolution is not supported");
    tiny_fla(&tensors, "F32", 2);
    check_refused(TINY_FLA_CONFIG(",\"use_output_gate\":false"), RETNET_ERROR_UNSUPPORTED, "g_proj.weight is not one");
    tiny_fla(&tensors, "F32", 2);
    check_refused(TINY_FLA_CONFIG(",\"num_kv_heads\":1"), RETNET_ERROR_FORMAT,
                  "k_proj.weight: shape [16, 16] found, [8, 16] expected");
    tiny_fla(&tensors, "F32", 2);
    test_find(&tensors, "model.norm.weight")->rank = 2; /* [16, 1] is not a vector of 16 */
    test_find(&tensors, "model.norm.weight")->shape[1] = 1;
    check_refused(TINY_FLA_CONFIG(""), RETNET_ERROR_FORMAT, "norm.weight: shape [16, 1] found, [16] expected");
}

/* ---- torchscale ------------------------------------------------------------------------------------------------- */

static void test_torchscale(void)
{
    static const char *const layouts[][2] = {{"", "output_projection.weight"},
                                             {"decoder.", "decoder.output_projection.weight"},
                                             {"model.", "lm_head.weight"},
                                             {"model.decoder.", "model.decoder.output_projection.weight"}};
    for (size_t i = 0; i < RN_COUNT(layouts); i++) {
        rn_checkpoint checkpoint;
        char name[96];
        const char *prefix = layouts[i][0];
        tiny_torchscale(&tensors, prefix, layouts[i][1]);
        REQUIRE(open_checkpoint(TINY_TORCHSCALE_CONFIG(""), &checkpoint) == RETNET_OK);
        const rn_layer_source *layer = &checkpoint.layers[1];
#define NAME(suffix) (snprintf(name, sizeof(name), "%s" suffix, prefix), name)
        check_matrix(&checkpoint.embedding, NAME("embed_tokens.weight"), 32, 16);
        check_matrix(&checkpoint.head, layouts[i][1], 32, 16);
        check_vector(&checkpoint.output_norm.weight, NAME("layer_norm.weight"), 16);
        check_vector(&layer->retention_norm.weight, NAME("layers.1.retention_layer_norm.weight"), 16);
        check_matrix(&layer->q.weight, NAME("layers.1.retention.q_proj.weight"), 16, 16);
        check_matrix(&layer->k.weight, NAME("layers.1.retention.k_proj.weight"), 16, 16);
        check_matrix(&layer->v.weight, NAME("layers.1.retention.v_proj.weight"), 24, 16);
        check_matrix(&layer->g.weight, NAME("layers.1.retention.g_proj.weight"), 24, 16);
        check_matrix(&layer->o.weight, NAME("layers.1.retention.out_proj.weight"), 16, 24);
        check_vector(&layer->ffn_norm.weight, NAME("layers.1.final_layer_norm.weight"), 16);
        check_matrix(&layer->gate.weight, NAME("layers.1.ffn.fc1.weight"), 20, 16);
        check_matrix(&layer->up.weight, NAME("layers.1.ffn.gate.weight"), 20, 16);
        check_matrix(&layer->down.weight, NAME("layers.1.ffn.fc2.weight"), 16, 20);
#undef NAME
        CHECK(layer->q.weight.rotation_head == 8 && layer->k.weight.rotation_head == 8);
        CHECK(layer->v.weight.rotation_head == 0 && layer->g.weight.rotation_head == 0);
        CHECK(!layer->group_norm.tensor && !layer->q.bias.tensor && !layer->retention_norm.bias.tensor);
        close_checkpoint(&checkpoint);
    }
}

static void test_torchscale_old(void)
{
    for (int inner = 0; inner < 2; inner++) {
        rn_checkpoint checkpoint;
        tiny_old_torchscale(&tensors, inner);
        REQUIRE(open_checkpoint(TINY_TORCHSCALE_CONFIG(""), &checkpoint) == RETNET_OK);
        const rn_config *config = &checkpoint.config;
        const rn_layer_source *layer = &checkpoint.layers[1];
        CHECK(config->linear_bias && config->norm == RN_NORM_LAYER && !config->ffn_gated && config->ffn_norm == inner);
        CHECK_INT(config->value_size, 16);
        CHECK(!layer->gate.weight.tensor && !layer->gate.bias.tensor);
        check_matrix(&layer->up.weight, "layers.1.ffn.fc1.weight", 20, 16);
        check_vector(&layer->up.bias, "layers.1.ffn.fc1.bias", 20);
        check_matrix(&layer->down.weight, "layers.1.ffn.fc2.weight", 16, 20);
        check_vector(&layer->q.bias, "layers.1.retention.q_proj.bias", 16);
        check_vector(&layer->retention_norm.bias, "layers.1.retention_layer_norm.bias", 16);
        check_vector(&checkpoint.output_norm.bias, "layer_norm.bias", 16);
        CHECK(layer->q.bias.rotation_head == 8 && layer->k.bias.rotation_head == 8);
        CHECK(layer->v.bias.rotation_head == 0);
        if (inner) check_vector(&layer->ffn_inner_norm.bias, "layers.1.ffn.ffn_layernorm.bias", 20);
        if (!inner) CHECK(!layer->ffn_inner_norm.weight.tensor);
        uint64_t elements = 0;
        for (size_t i = 0; i < rn_tensor_set_count(checkpoint.tensors); i++)
            elements += rn_tensor_set_at(checkpoint.tensors, i)->elements;
        CHECK_INT(rn_config_parameters(config), elements);
        close_checkpoint(&checkpoint);
    }
}

static void add_buffer(const char *dtype, const char *name, const float *values, uint64_t count)
{
    uint8_t *data = test_add(&tensors, dtype, count, 0, "%s", name)->data;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half = strcmp(dtype, "F16") == 0 ? rn_f32_to_f16(values[i]) : rn_f32_to_bf16(values[i]);
        if (strcmp(dtype, "F32") == 0)
            memcpy(data + 4 * i, &values[i], 4);
        else
            memcpy(data + 2 * i, &half, 2);
    }
}

static void add_buffers(const char *dtype, const float angles[8], const float decays[2])
{
    tiny_torchscale(&tensors, "", "output_projection.weight");
    add_buffer(dtype, "retnet_rel_pos.angle", angles, 8);
    add_buffer(dtype, "retnet_rel_pos.decay", decays, 2);
}

static void test_torchscale_buffers(void)
{
    static const float angles[8] = {2, 2, 1.5f, 1.5f, 0.25f, 0.25f, 0, 0}, decays[2] = {-0.5f, 0};
    static const float unpaired[8] = {2, 2, 1.5f, 1.25f, 0, 0, 0, 0}, infinite[8] = {INFINITY, INFINITY};
    static const float growing[2] = {-0.5f, 0.1f}, undefined[2] = {NAN, 0};
    rn_checkpoint checkpoint;
    const char *config = TINY_TORCHSCALE_CONFIG("");
    add_buffers("F32", angles, decays);
    REQUIRE(open_checkpoint(config, &checkpoint) == RETNET_OK);
    for (int i = 0; i < 4; i++) CHECK(checkpoint.config.theta[i] == angles[2 * i]);
    CHECK(checkpoint.config.decay[0] == (float)exp(-0.5) && checkpoint.config.decay[1] == 1.0f);
    close_checkpoint(&checkpoint);

    /* Behind a prefix they are the same buffers. */
    tiny_torchscale(&tensors, "model.", "lm_head.weight");
    add_buffer("F32", "model.retnet_rel_pos.angle", angles, 8);
    add_buffer("F32", "model.retnet_rel_pos.decay", decays, 2);
    REQUIRE(open_checkpoint(config, &checkpoint) == RETNET_OK);
    CHECK(checkpoint.config.theta[0] == 2 && checkpoint.config.decay[0] == (float)exp(-0.5));
    close_checkpoint(&checkpoint);

    add_buffers("F32", unpaired, decays);
    check_refused(config, RETNET_ERROR_FORMAT, "retnet_rel_pos.angle: 1.5 and 1.25 found at 2");
    add_buffers("F32", infinite, decays);
    check_refused(config, RETNET_ERROR_FORMAT, "retnet_rel_pos.angle");
    add_buffers("F32", angles, growing);
    check_refused(config, RETNET_ERROR_FORMAT, "retnet_rel_pos.decay: 0.1 found for head 1");
    add_buffers("F32", angles, undefined);
    check_refused(config, RETNET_ERROR_FORMAT, "retnet_rel_pos.decay");
    tiny_torchscale(&tensors, "", "output_projection.weight");
    test_add(&tensors, "F32", 4, 0, "retnet_rel_pos.angle");
    check_refused(config, RETNET_ERROR_FORMAT, "retnet_rel_pos.angle: shape [4] found, [8] expected");
}

/* Halved buffers are too coarse. Where they are the formulas' to rounding, the formulas count; else they are refused.
 */
static void test_torchscale_half_buffers(void)
{
    static const char *const dtypes[] = {"F16", "BF16"};
    const char *config = TINY_TORCHSCALE_CONFIG("");
    float angles[8], decays[2] = {logf(1 - 1 / 32.0f), logf(1 - 1 / 64.0f)};
    rn_checkpoint checkpoint;
    for (int i = 0; i < 8; i++) angles[i] = powf(10000, -(float)(i / 2) / 3);
    for (int i = 0; i < 2; i++) {
        add_buffers(dtypes[i], angles, decays);
        REQUIRE(open_checkpoint(config, &checkpoint) == RETNET_OK);
        CHECK(checkpoint.config.theta[0] == 1.0 && fabs(checkpoint.config.theta[3] - 1e-4) < 1e-18);
        CHECK(checkpoint.config.decay[0] == 1 - 1 / 32.0f && checkpoint.config.decay[1] == 1 - 1 / 64.0f);
        close_checkpoint(&checkpoint);

        decays[1] = logf(1 - 1 / 512.0f); /* as section 3.1 of the paper has them */
        add_buffers(dtypes[i], angles, decays);
        REQUIRE(open_checkpoint(TINY_TORCHSCALE_CONFIG(",\"use_lm_decay\":true"), &checkpoint) == RETNET_OK);
        CHECK_AT_MOST(fabs(checkpoint.config.decay[1] - (1 - 1 / 512.0)), 1e-7);
        close_checkpoint(&checkpoint);
        add_buffers(dtypes[i], angles, decays);
        check_refused(config, RETNET_ERROR_UNSUPPORTED, "too coarse to use");
        add_buffers(dtypes[i], angles, decays);
        check_refused(config, RETNET_ERROR_UNSUPPORTED, "retnet_rel_pos.decay: -0.00195");
        decays[1] = NAN;
        add_buffers(dtypes[i], angles, decays);
        check_refused(config, RETNET_ERROR_UNSUPPORTED, "retnet_rel_pos.decay: nan");
        decays[1] = logf(1 - 1 / 64.0f);
        angles[2] *= 1.01f;
        add_buffers(dtypes[i], angles, decays);
        check_refused(config, RETNET_ERROR_UNSUPPORTED, "retnet_rel_pos.angle: 0.046");
        angles[2] /= 1.01f;
    }
}

static void test_torchscale_refusals(void)
{
    const char *config = TINY_TORCHSCALE_CONFIG("");
    static const char *const variants[][2] = {
        {"layers.1.moe_layer.gate.wg.weight", "a mixture of experts is not supported"},
        {"layers.1.retention.A.q_proj.weight", "a multiway model is not supported"},
        {"layers.0.retention_layer_norm.B.weight", "a multiway model is not supported"},
        {"layers.0.retention.q_proj_other", "is not one that this config calls for"},
        {"layers.1.retention.q_proj.bias", "is not one that this config calls for"},
        {"layernorm_embedding.weight", "is not one that this config calls for"},
        {"lm_head.weight", "output_projection.weight is not one"}};
    for (size_t i = 0; i < RN_COUNT(variants); i++) {
        tiny_torchscale(&tensors, "", "output_projection.weight");
        test_add(&tensors, "F32", 32, 16, "%s", variants[i][0]);
        check_refused(config, RETNET_ERROR_UNSUPPORTED, variants[i][1]);
    }
    tiny_torchscale(&tensors, "other.", "output_projection.weight");
    check_refused(config, RETNET_ERROR_FORMAT, "embed_tokens.weight is missing");
    tiny_torchscale(&tensors, "", "output_projection.weight");
    check_refused(TINY_TORCHSCALE_CONFIG(",\"layernorm_embedding\":true"), RETNET_ERROR_FORMAT,
                  "layernorm_embedding.weight is missing");
    tiny_torchscale(&tensors, "", "output_projection.weight");
    check_refused(TINY_TORCHSCALE_CONFIG(",\"tie_word_embeddings\":true"), RETNET_ERROR_FORMAT, "differs from");
}

/* ---- Both ------------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *config)
{
    rn_checkpoint checkpoint;
    test_write_text(directory, "config.json", config);
    REQUIRE(open_kept(&checkpoint) == RETNET_OK);
    uint64_t hash = checkpoint.content_hash;
    rn_checkpoint_close(&test.host, &checkpoint);
    return hash;
}

static void test_hash(void)
{
    char path[128];
    tiny_fla(&tensors, "F32", 2);
    test_write_safetensors(&tensors, directory);
    uint64_t whole = hash_of(TINY_FLA_CONFIG(""));
    CHECK(hash_of(TINY_FLA_CONFIG(",\"fuse_norm\":false,\"norm_eps\":1e-6")) == whole);
    CHECK(hash_of(TINY_FLA_CONFIG(",\"norm_eps\":1e-5")) != whole);

    test_tensor first = tensors.items[0]; /* another order in the file */
    tensors.items[0] = tensors.items[7];
    tensors.items[7] = first;
    test_write_safetensors(&tensors, directory);
    CHECK(hash_of(TINY_FLA_CONFIG("")) == whole);

    for (size_t i = 0; i < tensors.count; i++) {
        tensors.items[i].data[tensors.items[i].bytes - 1] ^= 0x80; /* a sign */
        test_write_safetensors(&tensors, directory);
        CHECK(hash_of(TINY_FLA_CONFIG("")) != whole);
        tensors.items[i].data[tensors.items[i].bytes - 1] ^= 0x80;
    }
    unlink(test_path(path, directory, "model.safetensors"));
    for (size_t parts = 1; parts < 5; parts++) {
        test_write_shards(&tensors, parts, directory);
        CHECK(hash_of(TINY_FLA_CONFIG("")) == whole);
    }
    test_free(&tensors);
    unlink(test_path(path, directory, "model.safetensors.index.json"));
}

static void test_no_memory(void)
{
    tiny_torchscale(&tensors, "model.", "lm_head.weight");
    int failures = 0;
    retnet_result result;
    do {
        rn_checkpoint checkpoint;
        test.calls = 0;
        test.fail_at = ++failures;
        result = open_checkpoint(TINY_TORCHSCALE_CONFIG(""), &checkpoint);
        if (result == RETNET_OK)
            rn_checkpoint_close(&test.host, &checkpoint);
        else
            CHECK_REFUSED(&test, result, RETNET_ERROR_OUT_OF_HOST_MEMORY, "memory");
        CHECK_INT(test.live, 0);
    } while (result != RETNET_OK && failures < 100);
    CHECK(failures > 6 && failures < 100);
    test.fail_at = 0;
    test_free(&tensors);
}

static void test_missing_files(void)
{
    rn_checkpoint checkpoint;
    char path[128];
    CHECK_REFUSED(&test, rn_checkpoint_open(&test.host, "/no/such", &checkpoint), RETNET_ERROR_FILE,
                  "/no/such/config.json: No such file");
    unlink(test_path(path, directory, "model.safetensors"));
    CHECK_REFUSED(&test, rn_checkpoint_open(&test.host, directory, &checkpoint), RETNET_ERROR_FILE, "neither");
    CHECK_INT(test.live, 0);
}

int main(void)
{
    test_host_init(&test);
    test_make_directory(directory);
    test_fla();
    test_fla_variants();
    test_fla_legacy();
    test_tied();
    test_headers();
    test_quantised("I8", 32, 71);
    test_quantised("U8", 16, 36);
    test_quantised_tied("I8", 16);
    test_quantised_tied("U8", 8);
    test_fla_refusals();
    test_torchscale();
    test_torchscale_old();
    test_torchscale_buffers();
    test_torchscale_half_buffers();
    test_torchscale_refusals();
    test_hash();
    test_no_memory();
    test_missing_files();
    test_remove_directory(directory);
    return test_finish();
}
