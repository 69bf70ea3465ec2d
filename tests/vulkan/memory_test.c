/* memory_test.c: what does not fit is refused before any of it is allocated, estimates are what is allocated, and
 * priorities arrive. The spy says what the budget is. */
#include "vulkan/host.h"

static char directory[512], refusal[512];

static void on_refusal(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) snprintf(refusal, sizeof refusal, "%s", message);
}

static retnet_context *create_context(host *h, const char *const *extensions, uint32_t count, const void *features)
{
    retnet_context *context = NULL;
    retnet_vulkan_device device = h->adopted;
    device.extensions = extensions;
    device.extension_count = count;
    device.features = features;
    device.memory_priority = 0.25f;
    CHECK_OK(retnet_context_create_from_device(&device, &(retnet_context_desc){.log = on_refusal}, &context));
    return context;
}

/* The message names both sides of the comparison. */
static void check_refusal(retnet_result result, const char *what, uint64_t need, uint64_t room)
{
    char numbers[2][32];
    snprintf(numbers[0], sizeof numbers[0], " %llu bytes", (unsigned long long)need);
    snprintf(numbers[1], sizeof numbers[1], " %llu", (unsigned long long)room);
    CHECK_INT(result, RETNET_ERROR_OUT_OF_DEVICE_MEMORY);
    if (!strstr(refusal, what) || !strstr(refusal, numbers[0]) || !strstr(refusal, numbers[1]) ||
        !strstr(refusal, "budget"))
        TEST_FAIL("\"%s\" lacks one of \"%s\", \"%s\", \"%s\"", refusal, what, numbers[0], numbers[1]);
}

static void check_near(const char *what, uint64_t actual, uint64_t estimate)
{
    if (actual < estimate || actual > estimate + 4096)
        TEST_FAIL("%s: %llu bytes allocated, %llu estimated", what, (unsigned long long)actual,
                  (unsigned long long)estimate);
}

static void test_budget(host *h)
{
    static const char *const budget_extension[] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME};
    retnet_model_desc desc = {.path = directory};
    retnet_model_memory memory = {0};
    retnet_model *model = NULL;
    retnet_session *session = NULL;
    retnet_context *context = create_context(h, budget_extension, 1, NULL);
    CHECK_OK(retnet_model_memory_for(context, &desc, &memory));
    CHECK(memory.device_bytes > 0 && memory.host_bytes > 0);
    /* One heap for everything, as on the software driver, or one for the device: both are at least this. */
    uint64_t staging = 32u << 20;
    spy.usage = 1000;

    spy.budget = spy.usage + memory.device_bytes - 1;
    spy.allocated = 0;
    retnet_result result = retnet_model_load(context, &desc, &model);
    CHECK(strstr(refusal, "the model"));
    CHECK_INT(result, RETNET_ERROR_OUT_OF_DEVICE_MEMORY);
    CHECK_INT(spy.allocated, 0);
    CHECK(!model);

    VkPhysicalDeviceMemoryProperties heaps;
    vkGetPhysicalDeviceMemoryProperties(h->physical, &heaps);
    bool one_heap = heaps.memoryHeapCount == 1;
    uint64_t need = memory.device_bytes + (one_heap ? staging : 0);
    spy.budget = spy.usage + (need > staging ? need : staging) - 1;
    result = retnet_model_load(context, &desc, &model);
    if (need > staging) check_refusal(result, "the model", need, need - 1);
    spy.budget++;
    CHECK_OK(retnet_model_load(context, &desc, &model));
    check_near("the model", spy.allocated, memory.device_bytes + staging);
    retnet_model_info info;
    retnet_model_get_info(model, &info);
    CHECK(memory.device_bytes >= info.weight_bytes && memory.device_bytes < info.weight_bytes + 65536);

    retnet_session_memory session_memory;
    CHECK_OK(retnet_session_memory_for(model, NULL, &session_memory));
    need = session_memory.device_bytes + (one_heap ? session_memory.host_bytes : 0);
    spy.budget = spy.usage + need - 1;
    spy.allocated = 0;
    check_refusal(retnet_session_create(model, NULL, &session), "the session", need, need - 1);
    CHECK_INT(spy.allocated, 0);
    spy.budget++;
    CHECK_OK(retnet_session_create(model, NULL, &session));
    check_near("the session", spy.allocated, session_memory.device_bytes + session_memory.host_bytes);
    retnet_session_destroy(session);

    spy.usage = spy.budget + 5; /* over the budget already */
    check_refusal(retnet_session_create(model, NULL, &session), "the session", need, 0);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
    spy.budget = spy.usage = 0;
}

/* A host that has not enabled the extension is not asked for the budget. */
static void test_no_budget(host *h)
{
    retnet_model *model = NULL;
    retnet_context *context = create_context(h, NULL, 0, NULL);
    spy.budget = 1;
    CHECK_OK(retnet_model_load(context, &(retnet_model_desc){.path = directory}, &model));
    CHECK_AT_MOST(spy.priority, 0); /* nor given priorities */
    spy.budget = 0;
    retnet_model_destroy(model);
    retnet_context_destroy(context);
}

static void test_priority(host *h)
{
    static const char *const priority_extension[] = {VK_EXT_MEMORY_PRIORITY_EXTENSION_NAME};
    VkPhysicalDeviceMemoryPriorityFeaturesEXT feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT};
    for (int on = 0; on < 2; on++) {
        retnet_model *model = NULL;
        feature.memoryPriority = on ? VK_TRUE : VK_FALSE;
        retnet_context *context = create_context(h, priority_extension, 1, &feature);
        spy.priority = 0;
        CHECK_OK(retnet_model_load(context, &(retnet_model_desc){.path = directory}, &model));
        if (spy.priority != (on ? 0.25f : 0)) TEST_FAIL("priority %g with the feature %d", spy.priority, on);
        retnet_model_destroy(model);
        retnet_context_destroy(context);
    }
}

/* Formats change what is needed, and what cannot be loaded cannot be estimated. */
static void test_estimate(host *h)
{
    retnet_context *context = create_context(h, NULL, 0, NULL);
    retnet_model_memory wide, narrow, unchanged = {1, 2};
    retnet_model_desc desc = {.path = directory, .format = RETNET_WEIGHTS_F32};
    CHECK_OK(retnet_model_memory_for(context, &desc, &wide));
    desc.format = RETNET_WEIGHTS_Q4;
    CHECK_OK(retnet_model_memory_for(context, &desc, &narrow));
    CHECK(narrow.device_bytes < wide.device_bytes);
    spy.allocated = 0;
    CHECK_INT(retnet_model_memory_for(context, &(retnet_model_desc){.path = "no/such"}, &unchanged), RETNET_ERROR_FILE);
    CHECK_INT(retnet_model_memory_for(context, &(retnet_model_desc){0}, &unchanged), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_model_memory_for(context, NULL, &unchanged), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_model_memory_for(context, &desc, NULL), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_model_memory_for(NULL, &desc, &unchanged), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK(unchanged.device_bytes == 1 && unchanged.host_bytes == 2);
    CHECK_INT(spy.allocated, 0);
    retnet_context_destroy(context);
}

int main(void)
{
    static host h;
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("odd-v"), directory);
    host_create(&h, false);
    test_budget(&h);
    test_no_budget(&h);
    test_priority(&h);
    test_estimate(&h);
    host_destroy(&h);
    return host_finish(test_failures);
}
