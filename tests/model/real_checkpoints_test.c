/* Checkpoints that other programs wrote: the bundled model, and those beside the repository where they are. */
#include "model/checkpoint.h"

#include "model/model_test.h"

static test_host test;
static int opened;

static bool open_if_present(const char *directory, rn_checkpoint *checkpoint)
{
    if (!rn_path_exists(directory)) return false;
    opened++;
    retnet_result result = rn_checkpoint_open(&test.host, directory, checkpoint);
    if (result == RETNET_OK) return true;
    TEST_FAIL("%s: %s", retnet_result_name(result), test.message);
    return false;
}

static void close_checkpoint(rn_checkpoint *checkpoint)
{
    rn_checkpoint_close(&test.host, checkpoint);
    CHECK_INT(test.live, 0);
}

static void check_willowbrook(const rn_checkpoint *checkpoint, rn_dtype dtype)
{
    const rn_config *config = &checkpoint->config;
    CHECK_INT(config->dialect, RN_DIALECT_FLA);
    CHECK_INT(rn_config_parameters(config), 30419456);
    CHECK_INT(config->hidden, 512);
    CHECK_INT(config->layers, 8);
    CHECK_INT(config->heads, 4);
    CHECK_INT(config->key_size, 128);
    CHECK_INT(config->value_size, 256);
    CHECK_INT(config->ffn, 768);
    CHECK_INT(config->vocabulary, 8192);
    CHECK_INT(config->bos_token, 1);
    CHECK_INT(config->eos_token, 7);
    CHECK(config->tied_head && checkpoint->head.tensor == checkpoint->embedding.tensor);
    CHECK_INT(checkpoint->embedding.tensor->dtype, dtype);
    CHECK((checkpoint->embedding.scales != NULL) == (dtype == RN_DTYPE_I8));
    CHECK_INT(checkpoint->layers[7].group_norm.tensor->dtype, RN_DTYPE_F16);
    rn_config named;
    REQUIRE(rn_config_named("30m", &named));
    CHECK_INT(named.ffn, config->ffn);
    CHECK(memcmp(named.theta, config->theta, sizeof(named.theta)) == 0);
}

/* The same weights in 8 bits: no farther from the original than half a step of their block, and a rounded scale's. */
static void check_quantized(const rn_matrix_source *original, const rn_matrix_source *quantized)
{
    uint64_t columns = original->columns, wrong = 0;
    for (uint64_t i = 0; i < original->tensor->elements; i++) {
        uint16_t half, scale;
        memcpy(&half, original->tensor->data + 2 * i, 2);
        memcpy(&scale, quantized->scales->data + 2 * (i / columns * ((columns + 31) / 32) + i % columns / 32), 2);
        float step = rn_f16_to_f32(scale), value = step * (float)(int8_t)quantized->tensor->data[i];
        wrong += !(fabsf(value - rn_f16_to_f32(half)) <= 0.5625f * step);
    }
    CHECK_INT(wrong, 0);
}

static void test_willowbrook(void)
{
    rn_checkpoint bundled, original;
    if (!open_if_present("samples/chat/model", &bundled)) return;
    check_willowbrook(&bundled, RN_DTYPE_I8);
    CHECK_STRING(rn_tensor_set_metadata(bundled.tensors, "quantization"), "retnet-q8-32");
    if (open_if_present("../shared/model/willowbrook-30m", &original)) {
        check_willowbrook(&original, RN_DTYPE_F16);
        CHECK(original.content_hash != bundled.content_hash);
        check_quantized(&original.embedding, &bundled.embedding);
        check_quantized(&original.layers[3].o.weight, &bundled.layers[3].o.weight);
        rn_checkpoint_close(&test.host, &original);
    }
    close_checkpoint(&bundled);
}

static void test_golden(void)
{
    rn_checkpoint checkpoint;
    if (open_if_present("../shared/golden/fla_tiny", &checkpoint)) {
        CHECK_INT(checkpoint.config.heads, 4);
        CHECK_INT(checkpoint.config.ffn, 256);
        CHECK_INT(checkpoint.tensors ? rn_tensor_set_count(checkpoint.tensors) : 0, 25);
        close_checkpoint(&checkpoint);
    }
    if (open_if_present("../shared/golden/torchscale_tiny", &checkpoint)) {
        const rn_config *config = &checkpoint.config;
        CHECK_INT(config->dialect, RN_DIALECT_TORCHSCALE);
        CHECK(config->embedding_norm && config->score_normalised_eps && config->embedding_scale == sqrtf(32));
        CHECK_INT(config->value_size, 24);
        /* the buffers, which replaced the formulas, hold the formulas' values as fp32 computed them */
        for (int i = 0; i < 8; i++) CHECK_AT_MOST(fabs(config->theta[i] / pow(10000, -i / 7.0) - 1), 1e-6);
        CHECK_AT_MOST(fabsf(config->decay[0] - 0.96875f), 1e-7);
        CHECK_AT_MOST(fabsf(config->decay[1] - 0.984375f), 1e-7);
        close_checkpoint(&checkpoint);
    }
}

int main(void)
{
    test_host_init(&test);
    test_willowbrook();
    test_golden();
    if (opened == 0) return TEST_SKIPPED;
    CHECK_INT(test.live, 0);
    return test_finish();
}
