/* pipeline_cache_test.c: compiled kernels come back from a blob, and no other bytes are taken for one. */
#include "vulkan/host.h"

static char directory[512];

static void load_model(retnet_context *context)
{
    retnet_model *model = session_test_model(context, directory, RETNET_WEIGHTS_AS_STORED);
    retnet_session *session = session_test_session(model, 1, 0);
    session_test_read_last(session, 0, (const int32_t[]){1, 2, 3}, 3, NULL);
    session_test_read_last(session, 0, (const int32_t[]){4}, 1, NULL);
    retnet_session_destroy(session);
    retnet_model_destroy(model);
}

static uint8_t *save(retnet_context *context, size_t *size)
{
    CHECK_OK(retnet_context_pipeline_cache_save(context, NULL, 0, size));
    uint8_t *blob = session_test_alloc(*size, 1);
    CHECK_OK(retnet_context_pipeline_cache_save(context, blob, *size, size));
    return blob;
}

static bool accepts(retnet_context *context, const void *blob, size_t size)
{
    bool accepted = true;
    CHECK_OK(retnet_context_pipeline_cache_load(context, blob, size, &accepted));
    return accepted;
}

/* Every byte of the header and a sample of the rest, one bit each. */
static void test_damage(retnet_context *context, const uint8_t *blob, size_t size)
{
    uint8_t *copy = session_test_alloc(size + 1, 1);
    for (size_t i = 0; i < size; i += i < 128 ? 1 : 1 + size / 200) {
        memcpy(copy, blob, size);
        copy[i] ^= (uint8_t)(1u << i % 8);
        if (accepts(context, copy, size)) TEST_FAIL("accepted with byte %zu changed", i);
    }
    memcpy(copy, blob, size);
    for (size_t cut = 0; cut < size; cut += cut < 128 ? 1 : 1 + size / 50)
        if (accepts(context, copy, cut)) TEST_FAIL("accepted when cut to %zu bytes", cut);
    if (accepts(context, copy, size + 1)) TEST_FAIL("accepted with a byte more");
    memset(copy, 0xff, size);
    if (accepts(context, copy, size)) TEST_FAIL("accepted nothing but ones");
    free(copy);
}

/* Fields of the header with the checksum made good again would need the library's hash; the words of the log tell
 * that each is looked at, since they are checked in the order of the header. */
static void test_reasons(retnet_context *context, const uint8_t *blob, size_t size)
{
    static const struct {
        size_t at;
        const char *reason;
    } fields[] = {{0, "it is none"},      {8, "version"},         {12, "another device"},
                  {16, "another device"}, {20, "another driver"}, {24, "another driver"},
                  {40, "other kernels"},  {48, "cut short"},      {56, "damaged"}};
    uint8_t *copy = session_test_alloc(size, 1);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        memcpy(copy, blob, size);
        copy[fields[i].at] ^= 1;
        CHECK(!accepts(context, copy, size));
        if (!strstr(host_last_info(), fields[i].reason))
            TEST_FAIL("byte %zu: \"%s\" is not in \"%s\"", fields[i].at, fields[i].reason, host_last_info());
    }
    CHECK(!accepts(context, blob, 10));
    CHECK(strstr(host_last_info(), "too short"));
    free(copy);
}

static retnet_log_level refusal_level;

static void on_refusal(void *user, retnet_log_level level, const char *message)
{
    (void)user, (void)message;
    refusal_level = level;
}

static void test_arguments(host *h, const uint8_t *blob, size_t size)
{
    retnet_context *context = NULL;
    CHECK_OK(retnet_context_create_from_device(&h->adopted, &(retnet_context_desc){.log = on_refusal}, &context));
    uint8_t *small = session_test_alloc(size, 1);
    bool accepted = true;
    size_t needed = 0;
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    CHECK_INT(retnet_context_pipeline_cache_save(context, NULL, 0, NULL), invalid);
    CHECK_INT(retnet_context_pipeline_cache_save(context, small, 10, &needed), RETNET_ERROR_LIMIT);
    CHECK(needed > 10);
    CHECK_INT(small[0], 0);
    CHECK_INT(retnet_context_pipeline_cache_load(context, NULL, 10, &accepted), invalid);
    CHECK(!accepted);
    CHECK_INT(retnet_context_pipeline_cache_save(NULL, NULL, 0, &needed), invalid);
    CHECK_INT(retnet_context_pipeline_cache_load(NULL, blob, size, NULL), invalid);
    CHECK_OK(retnet_context_pipeline_cache_load(context, blob, size, NULL));
    retnet_context_destroy(context);
    free(small);

    /* A cache of the host's is the host's. */
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    retnet_vulkan_device device = h->adopted;
    REQUIRE(vkCreatePipelineCache(h->device, &info, NULL, &device.pipeline_cache) == VK_SUCCESS);
    CHECK_OK(retnet_context_create_from_device(&device, &(retnet_context_desc){.log = on_refusal}, &context));
    CHECK_INT(retnet_context_pipeline_cache_save(context, NULL, 0, &needed), RETNET_ERROR_UNSUPPORTED);
    CHECK_INT(retnet_context_pipeline_cache_load(context, blob, size, &accepted), RETNET_ERROR_UNSUPPORTED);
    CHECK_INT(refusal_level, RETNET_LOG_ERROR);
    retnet_context_destroy(context);
    vkDestroyPipelineCache(h->device, device.pipeline_cache, NULL);
}

int main(void)
{
    static host h;
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("odd-v"), directory);
    host_create(&h, true);
    spy.cache_bytes = 5000;

    size_t size, empty_size, again_size;
    retnet_context *context = host_context(&h);
    uint8_t *empty = save(context, &empty_size);
    CHECK(empty_size > spy.cache_bytes);
    CHECK(accepts(context, empty, empty_size));
    CHECK_INT(spy.caches_filled, 1);
    CHECK_INT(spy.caches_merged, 1);
    load_model(context);
    uint8_t *blob = save(context, &size);
    CHECK(size >= empty_size); /* a driver may leave its caches empty */
    retnet_context_destroy(context);

    /* The next run: what was saved is there before any kernel is made. */
    context = host_context(&h);
    long live = spy.live;
    test_damage(context, blob, size);
    test_reasons(context, blob, size);
    CHECK_INT(spy.live, live); /* nothing of all that is left */
    CHECK_INT(spy.caches_filled, 1);
    CHECK_INT(spy.caches_merged, 1);
    uint8_t *again = save(context, &again_size);
    CHECK_INT(again_size, empty_size);
    free(again);
    CHECK(accepts(context, blob, size));
    CHECK_INT(spy.caches_filled, 2);
    CHECK_INT(spy.caches_merged, 2);
    again = save(context, &again_size);
    CHECK_INT(again_size, size);
    free(again);
    load_model(context);
    again = save(context, &again_size);
    CHECK_INT(again_size, size);
    free(again);
    retnet_context_destroy(context);
    test_arguments(&h, blob, size);
    free(blob);
    free(empty);
    host_destroy(&h);
    return host_finish(test_failures);
}
