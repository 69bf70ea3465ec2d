/* config.c: the text of a config.json. */
#include "fuzz/fuzz.h"

#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_piece text = fuzz_rest(&data, &size);
    rn_host host;
    fuzz_host_begin(&host);
    rn_config config;
    if (rn_config_parse(&host, "config.json", (const char *)text.data, text.size, &config) == RETNET_OK) {
        FUZZ_REQUIRE(config.heads >= 1 && config.heads <= RN_MAX_HEADS && config.heads % config.kv_heads == 0);
        FUZZ_REQUIRE(config.key_size >= 2 && config.key_size <= RN_MAX_KEY_SIZE && config.key_size % 2 == 0);
        FUZZ_REQUIRE(config.hidden && config.layers && config.value_size && config.ffn && config.vocabulary);
        for (uint32_t h = 0; h < config.heads; h++) FUZZ_REQUIRE(config.decay[h] >= 0 && config.decay[h] <= 1);
        FUZZ_REQUIRE(rn_config_parameters(&config) > 0);
    }
    fuzz_host_end(&host);
    free(text.data);
    return 0;
}
