/* renderer_test.c: the code that README.md shows to owners of a Vulkan device, compiled and run. */
#include "vulkan/host.h"

typedef struct renderer {
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    uint32_t queue_family;
    int locks;
} renderer;

static void lock_queue(void *user)
{
    ++((renderer *)user)->locks;
}
static void unlock_queue(void *user)
{
    --((renderer *)user)->locks;
}

/* README begins */
static retnet_result create_device(renderer *r, VkDeviceCreateInfo *info, retnet_context **context)
{
    retnet_vulkan_additions additions;
    retnet_vulkan_device on = {
        .instance = r->instance,
        .physical_device = r->physical_device,
        .get_instance_proc_addr = vkGetInstanceProcAddr,
        .queue_family = r->queue_family, /* the queue that the library submits to */
        .lock_queue = lock_queue,        /* called around its submits */
        .unlock_queue = unlock_queue,
        .queue_user = r,
        .api_version = VK_API_VERSION_1_3,
    };
    retnet_result result = retnet_vulkan_recommend(&on, info, &additions); /* what makes it fast */
    if (result) return result;
    if (vkCreateDevice(r->physical_device, info, NULL, &r->device) != VK_SUCCESS) return RETNET_ERROR_VULKAN;
    on.device = r->device;
    return retnet_context_create_from_device(&on, NULL, context);
}
/* README ends */

int main(void)
{
    if (volkInitialize() != VK_SUCCESS) return TEST_SKIPPED;
    renderer r = {0};
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo instance = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    if (vkCreateInstance(&instance, NULL, &r.instance) != VK_SUCCESS) return TEST_SKIPPED;
    volkLoadInstance(r.instance);
    uint32_t count = 1;
    VkResult listed = vkEnumeratePhysicalDevices(r.instance, &count, &r.physical_device);
    if ((listed != VK_SUCCESS && listed != VK_INCOMPLETE) || count == 0) return TEST_SKIPPED;
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue};

    retnet_context *context = NULL;
    retnet_model *model = NULL;
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("odd-v"), directory);
    CHECK_OK(create_device(&r, &info, &context));
    CHECK_OK(retnet_model_load(context, &(retnet_model_desc){.path = directory}, &model));
    CHECK_INT(r.locks, 0);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
    volkLoadDevice(r.device);
    vkDestroyDevice(r.device, NULL);
    vkDestroyInstance(r.instance, NULL);
    return host_finish(test_failures);
}
