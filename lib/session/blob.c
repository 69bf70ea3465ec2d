#include "session/session.h"

#include <string.h>

/* A saved slot, little-endian throughout:
 *
 *     header      see blob_header; version changes whenever anything below does
 *     recent      int32[recent_count], the newest tokens, oldest first
 *     states      fp32 [layers][heads][K][V], S of retnet.md
 *     logits      fp32 [vocabulary], if flags has HAS_LOGITS
 *     checksum    uint64 over all bytes before it (rn_hash)
 */

enum { BLOB_VERSION = 1, HAS_LOGITS = 1 };

static const char blob_magic[8] = {'R', 'N', 'S', 'T', 'A', 'T', 'E', '\n'};

typedef struct blob_header {
    char magic[8];
    uint32_t version, flags;
    uint64_t model; /* content hash */
    uint64_t position;
    uint32_t layers, heads, key_size, value_size, vocabulary, recent_count;
} blob_header;

_Static_assert(sizeof(blob_header) == 56, "the header has no padding");

static bool is_little_endian(void)
{
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

static uint64_t layer_values(const rn_config *c)
{
    return (uint64_t)c->heads * c->key_size * c->value_size;
}

static uint64_t blob_size(const rn_config *config, const blob_header *header)
{
    uint64_t values = layer_values(config) * config->layers;
    if (header->flags & HAS_LOGITS) values += config->vocabulary;
    return sizeof *header + 4ull * header->recent_count + 4 * values + sizeof(uint64_t);
}

static blob_header make_header(const retnet_session *session, const rn_slot *slot)
{
    const rn_config *c = &session->model->config;
    blob_header header = {
        .version = BLOB_VERSION,
        .flags = slot->has_logits ? HAS_LOGITS : 0,
        .model = session->model->content_hash,
        .position = slot->position,
        .layers = c->layers,
        .heads = c->heads,
        .key_size = c->key_size,
        .value_size = c->value_size,
        .vocabulary = c->vocabulary,
        .recent_count = slot->recent_count,
    };
    memcpy(header.magic, blob_magic, sizeof header.magic);
    return header;
}

static retnet_result write_blob(retnet_session *session, uint32_t slot_index, const blob_header *header, uint8_t *to)
{
    const rn_config *c = &session->model->config;
    const rn_slot *slot = &session->slots[slot_index];
    uint8_t *begin = to;
    memcpy(to, header, sizeof *header);
    to += sizeof *header;
    for (uint32_t i = 0; i < slot->recent_count; i++, to += 4)
        memcpy(to, &slot->recent[(slot->position - slot->recent_count + i) % RN_RECENT_TOKENS], 4);
    for (uint32_t i = 0; i < c->layers; i++, to += 4 * layer_values(c)) {
        retnet_result result = retnet_session_get_state(session, slot_index, i, (float *)(void *)to);
        if (result != RETNET_OK) return result;
    }
    if (slot->has_logits) {
        memcpy(to, slot->logits, 4ull * c->vocabulary);
        to += 4ull * c->vocabulary;
    }
    uint64_t checksum = rn_hash(0, begin, (uint64_t)(to - begin));
    memcpy(to, &checksum, sizeof checksum);
    return RETNET_OK;
}

retnet_result retnet_session_save(retnet_session *session, uint32_t slot, void *blob, size_t capacity, size_t *size)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (slot >= session->layout.slots || !size)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "save: slot %u of %u", slot,
                               session->layout.slots);
    if (!is_little_endian()) return rn_session_fail(session, RETNET_ERROR_UNSUPPORTED, "save: big-endian host");
    retnet_result result = rn_session_ready_slot(session, slot, false);
    if (result != RETNET_OK) return result;
    blob_header header = make_header(session, &session->slots[slot]);
    *size = blob_size(&session->model->config, &header);
    if (!blob) return RETNET_OK;
    if (capacity < *size)
        return rn_session_fail(session, RETNET_ERROR_LIMIT, "save: %zu bytes needed, %zu given", *size, capacity);
    return write_blob(session, slot, &header, blob);
}

/* ---- Loading ---------------------------------------------------------------------------------------------------- */

/* Damage comes first: only an undamaged state can be said to be another model's. */
static retnet_result check_damage(retnet_session *session, const uint8_t *blob, size_t size)
{
    blob_header header;
    uint64_t checksum;
    if (size < sizeof header + sizeof checksum || memcmp(blob, blob_magic, sizeof blob_magic) != 0)
        return rn_session_fail(session, RETNET_ERROR_FORMAT, "load: not a saved state (%zu bytes)", size);
    memcpy(&header, blob, sizeof header);
    if (header.version != BLOB_VERSION)
        return rn_session_fail(session, RETNET_ERROR_FORMAT, "load: version %u of the format, %u expected",
                               header.version, (unsigned)BLOB_VERSION);
    memcpy(&checksum, blob + size - sizeof checksum, sizeof checksum);
    if (rn_hash(0, blob, size - sizeof checksum) == checksum) return RETNET_OK;
    uint64_t expected = blob_size(&session->model->config, &header);
    if (header.model == session->model->content_hash && size < expected)
        return rn_session_fail(session, RETNET_ERROR_FORMAT,
                               "load: %zu bytes, but its header tells of %llu: cut short or damaged", size,
                               (unsigned long long)expected);
    return rn_session_fail(session, RETNET_ERROR_FORMAT, "load: the checksum does not match: damaged");
}

static retnet_result check_header(retnet_session *session, const blob_header *header, size_t size)
{
    blob_header ours = make_header(session, &session->slots[0]);
    if (header->model != ours.model || header->layers != ours.layers || header->heads != ours.heads ||
        header->key_size != ours.key_size || header->value_size != ours.value_size ||
        header->vocabulary != ours.vocabulary)
        return rn_session_fail(session, RETNET_ERROR_MISMATCH, "load: saved by model %016llx, this one is %016llx",
                               (unsigned long long)header->model, (unsigned long long)ours.model);
    if (header->recent_count > RN_RECENT_TOKENS || header->recent_count > header->position ||
        header->position > RN_MAX_POSITION || (header->flags & ~(uint32_t)HAS_LOGITS))
        return rn_session_fail(session, RETNET_ERROR_FORMAT, "load: impossible position or flags");
    uint64_t expected = blob_size(&session->model->config, header);
    if (size != expected)
        return rn_session_fail(session, RETNET_ERROR_FORMAT, "load: %zu bytes, %llu expected", size,
                               (unsigned long long)expected);
    return RETNET_OK;
}

static retnet_result check_tokens(retnet_session *session, const uint8_t *blob, const blob_header *header)
{
    for (uint32_t i = 0; i < header->recent_count; i++) {
        int32_t token;
        memcpy(&token, blob + sizeof *header + 4ull * i, sizeof token);
        if (token < 0 || (uint32_t)token >= session->model->config.vocabulary)
            return rn_session_fail(session, RETNET_ERROR_FORMAT, "load: token %d outside the vocabulary", token);
    }
    return RETNET_OK;
}

/* Everything was checked; only the device can still fail. */
static retnet_result read_blob(retnet_session *session, uint32_t slot_index, const blob_header *header,
                               const uint8_t *from)
{
    const rn_config *c = &session->model->config;
    rn_slot *slot = &session->slots[slot_index];
    uint64_t bytes = 4 * layer_values(c);
    float *state = rn_alloc(session->device->host, 1, bytes);
    if (!state) return rn_fail_memory(session->device->host, "state", bytes);
    retnet_result result = RETNET_OK;
    const uint8_t *recent = from + sizeof *header;
    from = recent + 4ull * header->recent_count;
    for (uint32_t i = 0; i < c->layers && result == RETNET_OK; i++, from += bytes) {
        memcpy(state, from, bytes);
        result = retnet_session_set_state(session, slot_index, i, state);
    }
    rn_free(session->device->host, state);
    if (result != RETNET_OK) return result;
    slot->position = header->position;
    slot->recent_count = header->recent_count;
    for (uint32_t i = 0; i < header->recent_count; i++)
        memcpy(&slot->recent[(header->position - header->recent_count + i) % RN_RECENT_TOKENS], recent + 4ull * i, 4);
    slot->has_logits = header->flags & HAS_LOGITS;
    if (slot->has_logits) memcpy(slot->logits, from, 4ull * c->vocabulary);
    return RETNET_OK;
}

retnet_result retnet_session_load(retnet_session *session, uint32_t slot, const void *blob, size_t size)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (slot >= session->layout.slots || !blob)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "load: slot %u of %u", slot,
                               session->layout.slots);
    if (!is_little_endian()) return rn_session_fail(session, RETNET_ERROR_UNSUPPORTED, "load: big-endian host");
    blob_header header;
    retnet_result result = rn_session_ready_slot(session, slot, true);
    if (result == RETNET_OK) result = check_damage(session, blob, size);
    if (result != RETNET_OK) return result;
    memcpy(&header, blob, sizeof header);
    result = check_header(session, &header, size);
    if (result == RETNET_OK) result = check_tokens(session, blob, &header);
    return result == RETNET_OK ? read_blob(session, slot, &header, blob) : result;
}

/* ---- Files ------------------------------------------------------------------------------------------------------ */

retnet_result retnet_session_save_file(retnet_session *session, uint32_t slot, const char *path)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!path) return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "save: no path");
    size_t size = 0;
    retnet_result result = retnet_session_save(session, slot, NULL, 0, &size);
    if (result != RETNET_OK) return result;
    void *blob = rn_alloc(session->device->host, 1, size);
    if (!blob) return rn_fail_memory(session->device->host, "saved state", size);
    result = retnet_session_save(session, slot, blob, size, &size);
    if (result == RETNET_OK) result = rn_file_write(session->device->host, path, blob, size);
    rn_free(session->device->host, blob);
    return result;
}

retnet_result retnet_session_load_file(retnet_session *session, uint32_t slot, const char *path)
{
    if (!session) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!path) return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "load: no path");
    if (slot >= session->layout.slots)
        return rn_session_fail(session, RETNET_ERROR_INVALID_ARGUMENT, "load: slot %u of %u", slot,
                               session->layout.slots);
    rn_file_map map;
    retnet_result result = rn_file_map_open(session->device->host, path, &map);
    if (result != RETNET_OK) return result;
    if (map.size == 0)
        result = rn_session_fail(session, RETNET_ERROR_FORMAT, "%s is empty", path);
    else
        result = retnet_session_load(session, slot, map.data, map.size);
    rn_file_map_close(&map);
    return result;
}
