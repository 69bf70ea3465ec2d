/* A file of two kilobytes makes the library allocate little, whatever it claims: the claims are checked against the
 * file before anything is allocated for them. All memory is counted, that of the JSON parser too. */
#include "model/checkpoint.h"

#include "model/tiny.h"

#include <jansson.h>

enum { HOSTILE_LIMIT = 1 << 20, LARGEST_FILE = 2048, LARGEST_DEVICE = 64 << 20 };

static size_t held, peak;

static void *count_allocate(size_t size)
{
    size_t *memory = malloc(size + 16);
    REQUIRE(memory);
    memory[0] = size;
    held += size;
    if (held > peak) peak = held;
    return (char *)memory + 16;
}

static void count_release(void *memory)
{
    if (!memory) return;
    size_t *begin = (size_t *)(void *)((char *)memory - 16);
    held -= begin[0];
    free(begin);
}

static void *host_allocate(void *user, size_t size)
{
    (void)user;
    return count_allocate(size);
}

static void host_release(void *user, void *memory)
{
    (void)user;
    count_release(memory);
}

static const retnet_allocator allocator = {NULL, host_allocate, host_release};

/* A checkpoint of this config and header, with so much data behind it, is refused cheaply. */
static void check_cheap(const char *config, const char *header, size_t data_bytes)
{
    static const uint8_t data[64];
    char directory[64], path[128];
    rn_host host;
    rn_checkpoint checkpoint;
    REQUIRE(strlen(config) + strlen(header) + data_bytes + 8 <= LARGEST_FILE);
    test_make_directory(directory);
    test_write_text(directory, "config.json", config);
    test_write_raw(test_path(path, directory, "model.safetensors"), strlen(header), header, strlen(header), data,
                   data_bytes);
    rn_host_init(&host, &allocator, NULL, NULL);
    held = peak = 0;
    CHECK(rn_checkpoint_open(&host, directory, &checkpoint) < 0);
    CHECK(rn_checkpoint_open_headers(&host, directory, &checkpoint) < 0);
    CHECK_INT((int)held, 0);
    if (peak > HOSTILE_LIMIT) TEST_FAIL("%zu bytes for %s", peak, header);
    test_remove_directory(directory);
}

#define WIDEST                                                                                                         \
    "{\"model_type\":\"retnet\",\"hidden_size\":65536,\"num_hidden_layers\":1024,\"num_heads\":128,"                   \
    "\"expand_v\":16,\"intermediate_size\":1048576,\"vocab_size\":16777216}"

static void test_claims(void)
{
    static const char *const headers[] = {
        "{}",
        "{\"model.embeddings.weight\":{\"dtype\":\"F32\",\"shape\":[16777216,65536],\"data_offsets\":[0,4398046511104]}"
        "}",
        "{\"model.embeddings.weight\":{\"dtype\":\"F32\",\"shape\":[16777216,65536],\"data_offsets\":[0,16]}}",
        "{\"model.embeddings.weight\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],"
        "\"data_offsets\":[0,16]}}",
        "{\"model.embeddings.weight\":{\"dtype\":\"F32\",\"shape\":[0,9223372036854775807],\"data_offsets\":[0,0]}}",
        "{\"model.embeddings.weight\":{\"dtype\":\"F4\",\"shape\":[16777216,65536],\"data_offsets\":[0,16]}}",
    };
    for (size_t i = 0; i < RN_COUNT(headers); i++) check_cheap(WIDEST, headers[i], i == 2 || i == 3 || i == 5 ? 16 : 0);
}

/* As many brackets, keys and dimensions as there is room for. */
static void test_texts(void)
{
    char text[1500];
    memset(text, '[', sizeof text);
    text[sizeof text - 1] = 0;
    text[0] = '{';
    check_cheap("{}", text, 0);
    check_cheap(text, "{}", 0);
    size_t length = (size_t)sprintf(text, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1");
    while (length < sizeof text - 64) length += (size_t)sprintf(text + length, ",1");
    sprintf(text + length, "],\"data_offsets\":[0,4]}}");
    check_cheap(WIDEST, text, 4);
    length = 1;
    for (int i = 0; length < sizeof text - 16; i++) length += (size_t)sprintf(text + length, "\"%d\":0,", i);
    sprintf(text + length, "\"x\":0}");
    check_cheap(WIDEST, text, 0);
}

/* One that is accepted: what it takes on the device stands in proportion. */
static void test_accepted(void)
{
    char directory[64];
    test_make_directory(directory);
    test_tensors tensors = {.random = 5};
    tiny_fla(&tensors, "F16", 2);
    test_write_text(directory, "config.json", TINY_FLA_CONFIG(""));
    test_write_safetensors(&tensors, directory);
    test_free(&tensors);
    retnet_context *context;
    retnet_model *model;
    retnet_model_memory need;
    retnet_session_memory session_need;
    held = peak = 0;
    retnet_result result = retnet_context_create(&(retnet_context_desc){.allocator = allocator}, &context);
    if (result == RETNET_ERROR_NO_DEVICE) {
        test_remove_directory(directory);
        return;
    }
    REQUIRE(result == RETNET_OK);
    retnet_model_desc desc = {.path = directory};
    REQUIRE(retnet_model_memory_for(context, &desc, &need) == RETNET_OK);
    CHECK(need.device_bytes < LARGEST_DEVICE && need.host_bytes < LARGEST_DEVICE);
    REQUIRE(retnet_model_load(context, &desc, &model) == RETNET_OK);
    REQUIRE(retnet_session_memory_for(model, NULL, &session_need) == RETNET_OK);
    CHECK(session_need.device_bytes < LARGEST_DEVICE && session_need.host_bytes < LARGEST_DEVICE);
    CHECK(peak < LARGEST_DEVICE);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
    CHECK_INT((int)held, 0);
    test_remove_directory(directory);
}

int main(void)
{
    json_set_alloc_funcs(count_allocate, count_release);
    test_claims();
    test_texts();
    test_accepted();
    return test_finish();
}
