/* state.c: saved states. The session has no device: what would be written to it is only read here. The first byte says
 * whether the checksum is to be made right, which no mutation would ever do. */
#include "fuzz/fuzz.h"

#include "session/session.h"

enum { LAYERS = 2, HEADS = 2, KEYS = 4, VALUES = 4, VOCABULARY = 8, STATE = HEADS * KEYS * VALUES };

retnet_result __wrap_retnet_session_set_state(retnet_session *session, uint32_t slot, uint32_t layer,
                                              const float *state);

retnet_result __wrap_retnet_session_set_state(retnet_session *session, uint32_t slot, uint32_t layer,
                                              const float *state)
{
    FUZZ_REQUIRE(slot == 0 && layer < LAYERS);
    rn_hash(0, state, STATE * sizeof *state);
    session->slots[slot].has_logits = false;
    return RETNET_OK;
}

static void check_slot(const rn_slot *slot)
{
    FUZZ_REQUIRE(slot->position <= RN_MAX_POSITION && slot->recent_count <= RN_RECENT_TOKENS);
    FUZZ_REQUIRE(slot->recent_count <= slot->position);
    for (uint32_t i = 0; i < slot->recent_count; i++) {
        int32_t token = slot->recent[(slot->position - slot->recent_count + i) % RN_RECENT_TOKENS];
        FUZZ_REQUIRE(token >= 0 && token < VOCABULARY);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rn_device device;
    static retnet_model model;
    rn_host host;
    float logits[VOCABULARY];
    rn_slot slot = {.logits = logits};
    if (size < 1) return 0;
    bool repair = data[0] & 1;
    data++, size--;
    fuzz_piece blob = fuzz_rest(&data, &size);
    if (repair && blob.size >= sizeof(uint64_t)) {
        uint64_t checksum = rn_hash(0, blob.data, blob.size - sizeof checksum);
        memcpy(blob.data + blob.size - sizeof checksum, &checksum, sizeof checksum);
    }
    fuzz_host_begin(&host);
    device.host = &host;
    model.config = (rn_config){.layers = LAYERS, .heads = HEADS, .key_size = KEYS, .value_size = VALUES};
    model.config.vocabulary = VOCABULARY;
    model.content_hash = 0x1122334455667788;
    rn_task *no_task = NULL;
    retnet_session session = {.model = &model, .device = &device, .slots = &slot, .tasks = &no_task};
    session.layout.slots = 1;
    if (retnet_session_load(&session, 0, blob.data, blob.size) == RETNET_OK) check_slot(&slot);
    free(blob.data);
    fuzz_host_end(&host);
    return 0;
}
