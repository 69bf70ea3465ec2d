/* host.c: see host.h. */
#define _XOPEN_SOURCE 700
#define VOLK_IMPLEMENTATION
#include "vulkan/host.h"
#include "pretend.h"

static const char *const layer = "VK_LAYER_KHRONOS_validation";
static char last_info[512];

/* ---- Messages ---------------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity, (void)types;
    ((host *)user)->messages++;
    TEST_FAIL("validation: %s", data->pMessage);
    return VK_FALSE;
}

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) TEST_FAIL("the library logged: %s", message);
    if (level == RETNET_LOG_INFO) snprintf(last_info, sizeof last_info, "%s", message);
}

const char *host_last_info(void)
{
    return last_info;
}

/* ---- Allocation callbacks ---------------------------------------------------------------------------------------- */

typedef struct block {
    void *base;
    size_t size;
} block;

static void *VKAPI_PTR host_allocate(void *user, size_t size, size_t alignment, VkSystemAllocationScope scope)
{
    (void)scope;
    host *h = user;
    h->callback_calls++;
    if (alignment < sizeof(block)) alignment = sizeof(block);
    char *base = malloc(size + alignment + sizeof(block));
    if (!base) return NULL;
    char *memory = (char *)(((uintptr_t)base + sizeof(block) + alignment - 1) / alignment * alignment);
    ((block *)(void *)memory)[-1] = (block){base, size};
    h->host_allocations++;
    return memory;
}

static void VKAPI_PTR host_free(void *user, void *memory)
{
    if (!memory) return;
    ((host *)user)->host_allocations--;
    free(((block *)memory)[-1].base);
}

static void *VKAPI_PTR host_reallocate(void *user, void *old, size_t size, size_t alignment,
                                       VkSystemAllocationScope scope)
{
    void *memory = size ? host_allocate(user, size, alignment, scope) : NULL;
    if (old && memory) {
        size_t kept = ((block *)old)[-1].size;
        memcpy(memory, old, kept < size ? kept : size);
    }
    if (memory || !size) host_free(user, old);
    return memory;
}

/* ---- The queue's lock -------------------------------------------------------------------------------------------- */

static void lock_queue(void *user)
{
    host *h = user;
    pthread_mutex_lock(&h->lock);
    h->locker = pthread_self();
    h->locked = true;
}

static void unlock_queue(void *user)
{
    host *h = user;
    h->locked = false;
    pthread_mutex_unlock(&h->lock);
}

/* ---- Instance and device ----------------------------------------------------------------------------------------- */

static bool has_layer(void)
{
    VkLayerProperties layers[64];
    uint32_t count = 64;
    VkResult result = vkEnumerateInstanceLayerProperties(&count, layers);
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < count; i++)
        if (strcmp(layers[i].layerName, layer) == 0) return true;
    return false;
}

static void create_instance(host *h)
{
    static const char *const debug_utils = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    h->debug_utils = has_layer();
    uint32_t version = volkGetInstanceVersion();
    h->api_version = version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3;
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = h,
    };
    VkValidationFeatureEnableEXT enable = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    VkValidationFeaturesEXT validation = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = &enable,
    };
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = h->api_version};
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = h->debug_utils ? &validation : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = h->debug_utils,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = h->debug_utils,
        .ppEnabledExtensionNames = &debug_utils,
    };
    if (vkCreateInstance(&info, NULL, &h->instance) != VK_SUCCESS) exit(TEST_SKIPPED);
    volkLoadInstance(h->instance);
    if (h->debug_utils)
        REQUIRE(vkCreateDebugUtilsMessengerEXT(h->instance, &messenger, NULL, &h->messenger) == VK_SUCCESS);
    h->adopted.instance_extensions = &debug_utils;
    h->adopted.instance_extension_count = h->debug_utils;
}

/* A family with graphics, as a renderer has, if there is one. */
static void choose_queue_family(host *h)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(h->physical, &count, families);
    h->queue_family = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
        if (h->queue_family == UINT32_MAX || families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) h->queue_family = i;
        if (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) return;
    }
    REQUIRE(h->queue_family != UINT32_MAX);
}

static void create_device(host *h, bool recommend)
{
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = h->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
    };
    if (recommend) REQUIRE(retnet_vulkan_recommend(&h->adopted, &info, &h->additions) == RETNET_OK);
    REQUIRE(vkCreateDevice(h->physical, &info, NULL, &h->device) == VK_SUCCESS);
    volkLoadDevice(h->device);
    vkGetDeviceQueue(h->device, h->queue_family, 0, &h->queue);
}

void host_create(host *h, bool recommend)
{
    memset(h, 0, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    if (volkInitialize() != VK_SUCCESS) exit(TEST_SKIPPED);
    spy_install(h);
    create_instance(h);
    uint32_t count = 1;
    VkResult result = vkEnumeratePhysicalDevices(h->instance, &count, &h->physical);
    if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || count == 0) exit(TEST_SKIPPED);
    choose_queue_family(h);
    h->callbacks = (VkAllocationCallbacks){
        .pUserData = h, .pfnAllocation = host_allocate, .pfnReallocation = host_reallocate, .pfnFree = host_free};
    spy.callbacks_user = h;
    h->adopted.instance = h->instance;
    h->adopted.physical_device = h->physical;
    h->adopted.get_instance_proc_addr = spy_get_instance_proc_addr;
    h->adopted.queue_family = h->queue_family;
    h->adopted.lock_queue = lock_queue;
    h->adopted.unlock_queue = unlock_queue;
    h->adopted.queue_user = h;
    h->adopted.api_version = h->api_version;
    h->adopted.allocation_callbacks = &h->callbacks;
    create_device(h, recommend);
    h->adopted.device = h->device;
}

void host_destroy(host *h)
{
    CHECK_INT(spy.live, 0);
    vkDestroyDevice(h->device, NULL);
    if (h->messenger) vkDestroyDebugUtilsMessengerEXT(h->instance, h->messenger, NULL);
    vkDestroyInstance(h->instance, NULL);
    CHECK_INT(h->host_allocations, 0);
    CHECK_INT(h->messages, 0);
    pthread_mutex_destroy(&h->lock);
}

int host_finish(int failures)
{
    return session_test_finish(failures + test_failures + spy_failures());
}

/* ---- The host's own work ----------------------------------------------------------------------------------------- */

enum { FRAME_WORDS = 4096 };

typedef struct renderer {
    host *h;
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint32_t *words;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
} renderer;

static void renderer_create(renderer *r, host *h)
{
    *r = (renderer){.h = h};
    VkBufferCreateInfo buffer = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                 .size = 4 * FRAME_WORDS,
                                 .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    REQUIRE(vkCreateBuffer(h->device, &buffer, NULL, &r->buffer) == VK_SUCCESS);
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(h->device, r->buffer, &needs);
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(h->physical, &memory);
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = 0;
    while (!(needs.memoryTypeBits >> type & 1) || (memory.memoryTypes[type].propertyFlags & wanted) != wanted) type++;
    VkMemoryAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size, .memoryTypeIndex = type};
    REQUIRE(vkAllocateMemory(h->device, &allocate, NULL, &r->memory) == VK_SUCCESS);
    REQUIRE(vkBindBufferMemory(h->device, r->buffer, r->memory, 0) == VK_SUCCESS);
    REQUIRE(vkMapMemory(h->device, r->memory, 0, VK_WHOLE_SIZE, 0, (void **)&r->words) == VK_SUCCESS);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = h->queue_family};
    REQUIRE(vkCreateCommandPool(h->device, &pool, NULL, &r->pool) == VK_SUCCESS);
    VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = r->pool, .commandBufferCount = 1};
    REQUIRE(vkAllocateCommandBuffers(h->device, &commands, &r->commands) == VK_SUCCESS);
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    REQUIRE(vkCreateFence(h->device, &fence, NULL, &r->fence) == VK_SUCCESS);
}

static void renderer_destroy(renderer *r)
{
    vkDestroyFence(r->h->device, r->fence, NULL);
    vkDestroyCommandPool(r->h->device, r->pool, NULL);
    vkDestroyBuffer(r->h->device, r->buffer, NULL);
    vkFreeMemory(r->h->device, r->memory, NULL);
}

static void render_frame(renderer *r, uint32_t value)
{
    host *h = r->h;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    REQUIRE(vkResetCommandPool(h->device, r->pool, 0) == VK_SUCCESS);
    REQUIRE(vkBeginCommandBuffer(r->commands, &begin) == VK_SUCCESS);
    vkCmdFillBuffer(r->commands, r->buffer, 0, VK_WHOLE_SIZE, value);
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    vkCmdPipelineBarrier(r->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0,
                         NULL, 0, NULL);
    REQUIRE(vkEndCommandBuffer(r->commands) == VK_SUCCESS);
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &r->commands};
    lock_queue(h);
    VkResult result = vkQueueSubmit(h->queue, 1, &submit, r->fence);
    unlock_queue(h);
    REQUIRE(result == VK_SUCCESS);
    REQUIRE(vkWaitForFences(h->device, 1, &r->fence, VK_TRUE, UINT64_MAX) == VK_SUCCESS);
    REQUIRE(vkResetFences(h->device, 1, &r->fence) == VK_SUCCESS);
    for (size_t i = 0; i < FRAME_WORDS; i++)
        if (r->words[i] != value) {
            TEST_FAIL("frame %u: word %zu is %u", value, i, r->words[i]);
            break;
        }
}

static void *render(void *user)
{
    host *h = user;
    renderer r;
    renderer_create(&r, h);
    while (!h->stop) {
        render_frame(&r, h->frames + 1);
        h->frames++;
    }
    renderer_destroy(&r);
    return NULL;
}

void host_start_rendering(host *h)
{
    h->stop = false;
    REQUIRE(pthread_create(&h->thread, NULL, render, h) == 0);
    while (h->frames == 0) {}
}

void host_stop_rendering(host *h)
{
    h->stop = true;
    pthread_join(h->thread, NULL);
}

/* ---- Contexts ---------------------------------------------------------------------------------------------------- */

retnet_context_desc host_context_desc(void)
{
    return (retnet_context_desc){.log = on_log, .pretend = test_pretend()};
}

retnet_context *host_context(host *h)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = host_context_desc();
    REQUIRE(retnet_context_create_from_device(&h->adopted, &desc, &context) == RETNET_OK);
    return context;
}
