/* adopt_test.c: the library in a program that has its own volk, validation messages, device and work on the queue. It
 * computes what it computes on a device of its own, to the bit, and leaves nothing behind. Built twice, over the static
 * and over the shared library. */
#include "vulkan/host.h"

enum { PROMPT = 90, GENERATED = 24 };

typedef struct output {
    int32_t tokens[GENERATED];
    float *logits; /* [PROMPT, vocabulary] */
    float *state;
    size_t logit_count, state_count;
} output;

static output generate(retnet_context *context, const char *directory)
{
    output out = {0};
    retnet_model *model = session_test_model(context, directory, RETNET_WEIGHTS_AS_STORED);
    retnet_session *session = session_test_session(model, 2, 0);
    retnet_model_info info;
    retnet_model_get_info(model, &info);
    int32_t *prompt = session_test_tokens(PROMPT, info.vocabulary_size, 5);
    out.logit_count = (size_t)PROMPT * info.vocabulary_size;
    out.logits = session_test_alloc(out.logit_count, sizeof(float));
    session_test_read_all(session, 1, prompt, PROMPT, out.logits);
    uint32_t slot = 1;
    retnet_generation generation = {.slots = &slot,
                                    .slot_count = 1,
                                    .sampling = {.temperature = 1, .seed = 11},
                                    .max_tokens = GENERATED,
                                    .tokens = out.tokens};
    CHECK_OK(retnet_session_generate(session, &generation));
    out.state = session_test_state(session, 1);
    out.state_count = (size_t)info.layers * info.heads * info.key_size * info.value_size;
    free(prompt);
    retnet_session_destroy(session);
    retnet_model_destroy(model);
    return out;
}

static void check_same(const char *what, const output *a, const output *b)
{
    if (memcmp(a->tokens, b->tokens, sizeof a->tokens) != 0) TEST_FAIL("%s: other tokens", what);
    if (memcmp(a->logits, b->logits, a->logit_count * sizeof(float)) != 0) TEST_FAIL("%s: other logits", what);
    if (memcmp(a->state, b->state, a->state_count * sizeof(float)) != 0) TEST_FAIL("%s: another state", what);
}

static void output_free(output *out)
{
    free(out->logits);
    free(out->state);
}

static output on_own_device(const char *directory)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = host_context_desc();
    desc.enable_validation = true;
    REQUIRE(retnet_context_create(&desc, &context) == RETNET_OK);
    output out = generate(context, directory);
    retnet_context_destroy(context);
    return out;
}

/* Beside the host's own submits, once with all that is recommended and once with a device that has nothing enabled. */
static void test_host_device(const char *directory, const output *expected, bool recommend)
{
    static host h;
    host_create(&h, recommend);
    retnet_context *context = host_context(&h);
    host_start_rendering(&h);
    uint32_t frames = h.frames;
    output out = generate(context, directory);
    CHECK(h.frames > frames);
    host_stop_rendering(&h);
    CHECK(spy.submits > 0);
    CHECK(h.callback_calls > 0);
    retnet_context_destroy(context);
    CHECK_INT(spy.live, 0);
    if (recommend) check_same("on the host's device", &out, expected);
    output_free(&out);
    host_destroy(&h);
}

/* A second context on the same device, by what the first says of itself. */
static void test_sharing(const char *directory, const output *expected)
{
    static host h;
    host_create(&h, true);
    retnet_context *first = host_context(&h), *second = NULL;
    retnet_vulkan_device shared;
    retnet_vulkan_get(first, &shared);
    CHECK(shared.instance == h.instance && shared.physical_device == h.physical && shared.device == h.device);
    CHECK(shared.queue == h.queue && shared.queue_family == h.queue_family && shared.queue_user == &h);
    CHECK(shared.get_instance_proc_addr == spy_get_instance_proc_addr);
    CHECK(!shared.pipeline_cache);
    retnet_context_desc desc = {.pretend = host_context_desc().pretend};
    CHECK_OK(retnet_context_create_from_device(&shared, &desc, &second));
    output out = generate(second, directory);
    check_same("on a shared device", &out, expected);
    output_free(&out);
    retnet_context_destroy(second);
    retnet_context_destroy(first);
    host_destroy(&h);
}

/* The host works on a device of the library's own, and a second context does. */
static void test_own_device_shared(const char *directory, const output *expected)
{
    retnet_context *own = NULL, *second = NULL;
    retnet_context_desc desc = host_context_desc();
    desc.enable_validation = true;
    REQUIRE(retnet_context_create(&desc, &own) == RETNET_OK);
    retnet_vulkan_device device;
    retnet_vulkan_get(own, &device);
    REQUIRE(device.instance && device.device && device.queue && device.get_instance_proc_addr && device.lock_queue);
    PFN_vkGetDeviceProcAddr get =
        (PFN_vkGetDeviceProcAddr)device.get_instance_proc_addr(device.instance, "vkGetDeviceProcAddr");
    PFN_vkQueueWaitIdle wait = (PFN_vkQueueWaitIdle)get(device.device, "vkQueueWaitIdle");
    device.lock_queue(device.queue_user);
    CHECK_INT(wait(device.queue), VK_SUCCESS);
    device.unlock_queue(device.queue_user);
    desc.enable_validation = false;
    CHECK_OK(retnet_context_create_from_device(&device, &desc, &second));
    output out = generate(second, directory);
    check_same("on the first context's device", &out, expected);
    output_free(&out);
    retnet_context_destroy(second);
    retnet_context_destroy(own);
}

/* Without a device the library makes its own, with the callbacks. */
static void test_callbacks_alone(void)
{
    static host h;
    host_create(&h, false);
    retnet_context *context = NULL;
    retnet_context_desc desc = host_context_desc();
    long before = h.callback_calls;
    CHECK_OK(retnet_context_create_from_device(&(retnet_vulkan_device){.allocation_callbacks = &h.callbacks}, &desc,
                                               &context));
    CHECK(h.callback_calls > before);
    retnet_context_destroy(context);
    CHECK_OK(retnet_context_create_from_device(&(retnet_vulkan_device){0}, &desc, &context));
    retnet_context_destroy(context);
    host_destroy(&h);
}

static void test_host_pipeline_cache(const char *directory)
{
    static host h;
    host_create(&h, true);
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    REQUIRE(vkCreatePipelineCache(h.device, &info, NULL, &h.adopted.pipeline_cache) == VK_SUCCESS);
    retnet_context *context = host_context(&h);
    output out = generate(context, directory);
    output_free(&out);
    CHECK(spy.pipelines > 0);
    retnet_context_destroy(context);
    size_t size = 0;
    CHECK_INT(vkGetPipelineCacheData(h.device, h.adopted.pipeline_cache, &size, NULL), VK_SUCCESS);
    vkDestroyPipelineCache(h.device, h.adopted.pipeline_cache, NULL); /* validation knows if it was gone */
    host_destroy(&h);
}

/* ---- Refusals ---------------------------------------------------------------------------------------------------- */

static char refusal[512];

static void on_refusal(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) snprintf(refusal, sizeof refusal, "%s", message);
}

static void refuse(const retnet_vulkan_device *device, retnet_context_desc desc, retnet_result expected,
                   const char *part)
{
    retnet_context *context = (retnet_context *)&desc;
    refusal[0] = 0;
    desc.log = on_refusal;
    retnet_result result = retnet_context_create_from_device(device, &desc, &context);
    if (result != expected) TEST_FAIL("%s: %s", part, retnet_result_name(result));
    if (!strstr(refusal, part)) TEST_FAIL("\"%s\" is not in \"%s\"", part, refusal);
    CHECK(!context);
    CHECK_INT(spy.live, 0);
}

#define REFUSE(field, value, expected, part)                                                                           \
    do {                                                                                                               \
        retnet_vulkan_device device_ = h.adopted;                                                                      \
        device_.field = (value);                                                                                       \
        refuse(&device_, (retnet_context_desc){0}, expected, part);                                                    \
    } while (0)

#define REFUSE_DESC(field, value, part)                                                                                \
    refuse(&h.adopted, (retnet_context_desc){.field = (value)}, RETNET_ERROR_INVALID_ARGUMENT, part)

static void test_refusals(void)
{
    static host h;
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    host_create(&h, true);
    REFUSE(instance, VK_NULL_HANDLE, invalid, "instance");
    REFUSE(physical_device, VK_NULL_HANDLE, invalid, "physical_device");
    REFUSE(device, VK_NULL_HANDLE, invalid, "device");
    REFUSE(get_instance_proc_addr, NULL, invalid, "get_instance_proc_addr");
    REFUSE(queue_family, 99, invalid, "queue_family is 99");
    REFUSE(queue_index, 99, invalid, "queue_index is 99");
    REFUSE(lock_queue, NULL, invalid, "lock_queue");
    REFUSE(unlock_queue, NULL, invalid, "unlock_queue");
    REFUSE(api_version, VK_API_VERSION_1_0, RETNET_ERROR_UNSUPPORTED, "1.1");
    REFUSE(memory_priority, 1.5f, invalid, "memory_priority");
    REFUSE(memory_priority, NAN, invalid, "memory_priority");
    retnet_vulkan_device no_names = h.adopted;
    no_names.extensions = NULL;
    no_names.extension_count = 2;
    refuse(&no_names, (retnet_context_desc){0}, invalid, "extensions");
    REFUSE_DESC(device_name, "a name", "another device");
    REFUSE_DESC(device_number, 1, "another device");
    REFUSE_DESC(enable_validation, true, "enable_validation");
    REFUSE_DESC(submit_budget_us, 499, "499");
    CHECK_INT(retnet_context_create_from_device(&h.adopted, NULL, NULL), invalid);
    retnet_context *context = NULL;
    retnet_context_desc desc = host_context_desc();
    desc.submit_budget_us = 500;
    CHECK_OK(retnet_context_create_from_device(&h.adopted, &desc, &context));
    retnet_context_destroy(context);
    host_destroy(&h);
}

int main(void)
{
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("odd-v"), directory);
    output expected = on_own_device(directory);
    test_host_device(directory, &expected, true);
    test_host_device(directory, &expected, false);
    test_sharing(directory, &expected);
    test_own_device_shared(directory, &expected);
    test_callbacks_alone();
    test_host_pipeline_cache(directory);
    test_refusals();
    output_free(&expected);
    return host_finish(test_failures);
}
