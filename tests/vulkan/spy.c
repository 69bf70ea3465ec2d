/* spy.c: see host.h. */
#include "vulkan/host.h"

spy_record spy;
static host *spied;

void spy_install(host *h)
{
    memset(&spy, 0, sizeof spy);
    spied = h;
}

int spy_failures(void)
{
    return test_failures;
}

static void check_allocator(const char *name, const VkAllocationCallbacks *allocator)
{
    if ((allocator ? allocator->pUserData : NULL) != spy.callbacks_user)
        TEST_FAIL("%s was not given the host's allocation callbacks", name);
}

/* ---- Objects ----------------------------------------------------------------------------------------------------- */

#define SPY_CREATE(name, info_type, handle_type)                                                                       \
    static VKAPI_ATTR VkResult VKAPI_CALL spy_##name(VkDevice device, const info_type *info,                           \
                                                     const VkAllocationCallbacks *allocator, handle_type *out)         \
    {                                                                                                                  \
        check_allocator(#name, allocator);                                                                             \
        VkResult result = name(device, info, allocator, out);                                                          \
        if (result == VK_SUCCESS) spy.live++;                                                                          \
        return result;                                                                                                 \
    }

#define SPY_DESTROY(name, handle_type)                                                                                 \
    static VKAPI_ATTR void VKAPI_CALL spy_##name(VkDevice device, handle_type object,                                  \
                                                 const VkAllocationCallbacks *allocator)                               \
    {                                                                                                                  \
        check_allocator(#name, allocator);                                                                             \
        if (object) spy.live--;                                                                                        \
        name(device, object, allocator);                                                                               \
    }

#define SPIED_OBJECTS(X)                                                                                               \
    X(Buffer)                                                                                                          \
    X(BufferView)                                                                                                      \
    X(CommandPool)                                                                                                     \
    X(DescriptorPool)                                                                                                  \
    X(DescriptorSetLayout)                                                                                             \
    X(Fence)                                                                                                           \
    X(PipelineLayout)                                                                                                  \
    X(QueryPool)                                                                                                       \
    X(Semaphore)                                                                                                       \
    X(ShaderModule)

#define SPY_OBJECT(type)                                                                                               \
    SPY_CREATE(vkCreate##type, Vk##type##CreateInfo, Vk##type)                                                         \
    SPY_DESTROY(vkDestroy##type, Vk##type)
SPIED_OBJECTS(SPY_OBJECT)
SPY_DESTROY(vkDestroyPipeline, VkPipeline)
SPY_DESTROY(vkDestroyPipelineCache, VkPipelineCache)
SPY_DESTROY(vkFreeMemory, VkDeviceMemory)

static VKAPI_ATTR VkResult VKAPI_CALL spy_vkAllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info,
                                                           const VkAllocationCallbacks *allocator, VkDeviceMemory *out)
{
    check_allocator("vkAllocateMemory", allocator);
    VkMemoryAllocateInfo plain = *info;
    const VkMemoryPriorityAllocateInfoEXT *priority = info->pNext;
    if (priority && priority->sType == VK_STRUCTURE_TYPE_MEMORY_PRIORITY_ALLOCATE_INFO_EXT) {
        spy.priority = priority->priority;
        plain.pNext = priority->pNext; /* the driver of the test may not have it */
    }
    VkResult result = vkAllocateMemory(device, &plain, allocator, out);
    if (result == VK_SUCCESS) {
        spy.live++;
        spy.allocated += info->allocationSize;
    }
    return result;
}

static void note_thread(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static pthread_t last;
    pthread_mutex_lock(&lock);
    if (!pthread_equal(last, pthread_self())) spy.pipeline_threads++;
    last = pthread_self();
    pthread_mutex_unlock(&lock);
}

static VKAPI_ATTR VkResult VKAPI_CALL spy_vkCreateComputePipelines(VkDevice device, VkPipelineCache cache,
                                                                   uint32_t count,
                                                                   const VkComputePipelineCreateInfo *infos,
                                                                   const VkAllocationCallbacks *allocator,
                                                                   VkPipeline *out)
{
    check_allocator("vkCreateComputePipelines", allocator);
    if (spied->adopted.pipeline_cache && cache != spied->adopted.pipeline_cache)
        TEST_FAIL("a pipeline was not made with the host's cache");
    VkResult result = vkCreateComputePipelines(device, cache, count, infos, allocator, out);
    if (result != VK_SUCCESS) return result;
    spy.live += count;
    spy.pipelines += (int)count;
    note_thread();
    return result;
}

/* ---- Pipeline caches --------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL spy_vkGetPipelineCacheData(VkDevice device, VkPipelineCache cache, size_t *size,
                                                                 void *data)
{
    size_t own = 0;
    VkResult result = vkGetPipelineCacheData(device, cache, &own, NULL);
    if (data && *size < own + spy.cache_bytes) {
        TEST_FAIL("%zu bytes for a cache of %zu", *size, own + spy.cache_bytes);
        return VK_INCOMPLETE;
    }
    *size = own + spy.cache_bytes;
    if (!data || result != VK_SUCCESS) return result;
    for (size_t i = 0; i < spy.cache_bytes; i++) ((uint8_t *)data)[own + i] = (uint8_t)i;
    return vkGetPipelineCacheData(device, cache, &own, data);
}

static VKAPI_ATTR VkResult VKAPI_CALL spy_vkCreatePipelineCache(VkDevice device, const VkPipelineCacheCreateInfo *info,
                                                                const VkAllocationCallbacks *allocator,
                                                                VkPipelineCache *out)
{
    check_allocator("vkCreatePipelineCache", allocator);
    VkPipelineCacheCreateInfo plain = *info;
    if (info->initialDataSize) {
        spy.caches_filled++;
        plain.initialDataSize -= spy.cache_bytes;
        for (size_t i = 0; i < spy.cache_bytes; i++)
            if (((const uint8_t *)info->pInitialData)[plain.initialDataSize + i] != (uint8_t)i) {
                TEST_FAIL("byte %zu of the driver's data came back changed", i);
                break;
            }
    }
    VkResult result = vkCreatePipelineCache(device, &plain, allocator, out);
    if (result == VK_SUCCESS) spy.live++;
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL spy_vkMergePipelineCaches(VkDevice device, VkPipelineCache to, uint32_t count,
                                                                const VkPipelineCache *from)
{
    spy.caches_merged++;
    return vkMergePipelineCaches(device, to, count, from);
}

/* ---- What is the host's ------------------------------------------------------------------------------------------ */

static VKAPI_ATTR void VKAPI_CALL spy_vkDestroyDevice(VkDevice device, const VkAllocationCallbacks *allocator)
{
    (void)device, (void)allocator;
    TEST_FAIL("the library destroyed the host's device");
}

static VKAPI_ATTR void VKAPI_CALL spy_vkDestroyInstance(VkInstance instance, const VkAllocationCallbacks *allocator)
{
    (void)instance, (void)allocator;
    TEST_FAIL("the library destroyed the host's instance");
}

/* ---- The queue --------------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL spy_vkQueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                        VkFence fence)
{
    if (spied->adopted.lock_queue && !(spied->locked && pthread_equal(spied->locker, pthread_self())))
        TEST_FAIL("the library submitted without the queue's lock");
    if (queue != spied->queue) TEST_FAIL("the library submitted to another queue");
    spy.submits++;
    return vkQueueSubmit(queue, count, infos, fence);
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static VKAPI_ATTR void VKAPI_CALL
spy_vkGetPhysicalDeviceMemoryProperties2(VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *properties)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget = properties->pNext;
    if (!spy.budget || !budget || budget->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT) {
        vkGetPhysicalDeviceMemoryProperties2(physical, properties);
        return;
    }
    properties->pNext = NULL; /* the driver of the test may not have it */
    vkGetPhysicalDeviceMemoryProperties2(physical, properties);
    properties->pNext = budget;
    for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++) {
        budget->heapBudget[i] = spy.budget;
        budget->heapUsage[i] = spy.usage;
    }
}

/* ---- Labels and names -------------------------------------------------------------------------------------------- */

static VKAPI_ATTR void VKAPI_CALL spy_vkCmdBeginDebugUtilsLabelEXT(VkCommandBuffer commands,
                                                                   const VkDebugUtilsLabelEXT *label)
{
    snprintf(spy.labels[spy.label_count++ % 4096], 64, "%d %s", spy.label_depth++, label->pLabelName);
    vkCmdBeginDebugUtilsLabelEXT(commands, label);
}

static VKAPI_ATTR void VKAPI_CALL spy_vkCmdEndDebugUtilsLabelEXT(VkCommandBuffer commands)
{
    if (--spy.label_depth < 0) TEST_FAIL("a label ended that had not begun");
    vkCmdEndDebugUtilsLabelEXT(commands);
}

static VKAPI_ATTR VkResult VKAPI_CALL spy_vkSetDebugUtilsObjectNameEXT(VkDevice device,
                                                                       const VkDebugUtilsObjectNameInfoEXT *info)
{
    snprintf(spy.names[spy.name_count++ % 256], 64, "%s", info->pObjectName);
    return vkSetDebugUtilsObjectNameEXT(device, info);
}

/* ---- Handing them out -------------------------------------------------------------------------------------------- */

#define SPIED_OTHERS(X)                                                                                                \
    X(vkCreatePipelineCache)                                                                                           \
    X(vkDestroyPipelineCache)                                                                                          \
    X(vkGetPipelineCacheData)                                                                                          \
    X(vkMergePipelineCaches)                                                                                           \
    X(vkDestroyPipeline)                                                                                               \
    X(vkFreeMemory)                                                                                                    \
    X(vkAllocateMemory)                                                                                                \
    X(vkCreateComputePipelines)                                                                                        \
    X(vkDestroyDevice)                                                                                                 \
    X(vkQueueSubmit)                                                                                                   \
    X(vkCmdBeginDebugUtilsLabelEXT)                                                                                    \
    X(vkCmdEndDebugUtilsLabelEXT)                                                                                      \
    X(vkSetDebugUtilsObjectNameEXT)

static PFN_vkVoidFunction VKAPI_PTR spy_get_device_proc_addr(VkDevice device, const char *name)
{
    PFN_vkVoidFunction real = vkGetDeviceProcAddr(device, name);
    if (!real) return NULL;
#define SPY_GIVE(function)                                                                                             \
    if (strcmp(name, #function) == 0) return (PFN_vkVoidFunction)spy_##function;
#define SPY_GIVE_OBJECT(type) SPY_GIVE(vkCreate##type) SPY_GIVE(vkDestroy##type)
    SPIED_OBJECTS(SPY_GIVE_OBJECT)
    SPIED_OTHERS(SPY_GIVE)
    /* What creates or destroys and is not watched would go unchecked. */
    if (strncmp(name, "vkCreate", 8) == 0 || strncmp(name, "vkDestroy", 9) == 0)
        TEST_FAIL("%s is not watched: add it to spy.c", name);
    return real;
}

PFN_vkVoidFunction VKAPI_PTR spy_get_instance_proc_addr(VkInstance instance, const char *name)
{
    SPY_GIVE(vkDestroyInstance)
    SPY_GIVE(vkGetPhysicalDeviceMemoryProperties2)
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (PFN_vkVoidFunction)spy_get_device_proc_addr;
    return vkGetInstanceProcAddr(instance, name);
}
