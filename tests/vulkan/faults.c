/* faults.c: see faults.h. */
#include "vulkan/faults.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct faults faults;
static bool armed;

void faults_arm(fault_kind kind, long at, int code)
{
    faults.kind = kind;
    faults.at = at;
    faults.code = code;
    faults.count = 0;
    faults.hit = faults.lost = faults.last_code = false;
    faults.function = NULL;
    faults.result = VK_SUCCESS;
    armed = true;
}

void faults_disarm(void)
{
    armed = false;
}

static bool strike(fault_kind kind, const char *function)
{
    if (!armed || faults.kind != kind || ++faults.count != faults.at) return false;
    faults.hit = true;
    faults.function = function;
    return true;
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

#define OUT_OF_MEMORY VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY

/* A call that can fail is under way: the driver's memory runs out in these alone. Mesa 22.3 crashes where it does in
 * vkCmd functions, which cannot tell before vkEndCommandBuffer, and in vkCreatePipelineLayout, and the validation
 * layers where it does in vkQueueSubmit. */
static bool under_way;

static void begin(const char *function)
{
    under_way = strcmp(function, "vkQueueSubmit") != 0 && strcmp(function, "PipelineLayout") != 0;
}

static VkResult done(VkResult result)
{
    under_way = false; /* they are not nested */
    return result;
}

/* The error that this call is to give instead, or VK_SUCCESS. `codes` end with 0. */
static VkResult fault_of(const char *function, const VkResult *codes)
{
    bool may_be_lost = false, waits = strncmp(function, "vkWait", 6) == 0;
    int count = 0;
    faults.semaphore_waits += strcmp(function, "vkWaitSemaphores") == 0;
    for (; codes[count]; count++) may_be_lost = may_be_lost || codes[count] == VK_ERROR_DEVICE_LOST;
    if (faults.lost && may_be_lost) return VK_ERROR_DEVICE_LOST;
    if (strike(FAULT_CALL, function)) {
        if (faults.code >= count) faults.code = count - 1; /* another call came to be the n-th */
        faults.last_code = faults.code + 1 >= count;
        faults.result = codes[faults.code];
    } else if (may_be_lost && strike(FAULT_LOST, function)) {
        faults.lost = true;
        faults.result = VK_ERROR_DEVICE_LOST;
    } else if (waits && armed && faults.kind == FAULT_WAIT && (strike(FAULT_WAIT, function) || faults.hit)) {
        faults.result = VK_ERROR_OUT_OF_HOST_MEMORY;
    } else {
        return VK_SUCCESS;
    }
    return faults.result;
}

static PFN_vkGetDeviceProcAddr real_get_device_proc_addr;

/* X(name, parameters, arguments, possible errors but for a lost device): calls that make no object. */
#define FAULTY_CALLS(X)                                                                                                \
    X(vkEnumerateInstanceVersion, (uint32_t * version), (version), VK_ERROR_OUT_OF_HOST_MEMORY)                        \
    X(vkEnumerateInstanceLayerProperties, (uint32_t * count, VkLayerProperties * layers), (count, layers),             \
      OUT_OF_MEMORY)                                                                                                   \
    X(vkEnumeratePhysicalDevices, (VkInstance instance, uint32_t * count, VkPhysicalDevice * devices),                 \
      (instance, count, devices), OUT_OF_MEMORY, VK_ERROR_INITIALIZATION_FAILED)                                       \
    X(vkEnumerateDeviceExtensionProperties,                                                                            \
      (VkPhysicalDevice physical, const char *layer, uint32_t *count, VkExtensionProperties *properties),              \
      (physical, layer, count, properties), OUT_OF_MEMORY)                                                             \
    X(vkAllocateCommandBuffers, (VkDevice device, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *commands), \
      (device, info, commands), OUT_OF_MEMORY)                                                                         \
    X(vkAllocateDescriptorSets, (VkDevice device, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *sets),     \
      (device, info, sets), OUT_OF_MEMORY, VK_ERROR_FRAGMENTED_POOL, VK_ERROR_OUT_OF_POOL_MEMORY)                      \
    X(vkBeginCommandBuffer, (VkCommandBuffer commands, const VkCommandBufferBeginInfo *info), (commands, info),        \
      OUT_OF_MEMORY)                                                                                                   \
    X(vkEndCommandBuffer, (VkCommandBuffer commands), (commands), OUT_OF_MEMORY)                                       \
    X(vkBindBufferMemory, (VkDevice device, VkBuffer buffer, VkDeviceMemory memory, VkDeviceSize offset),              \
      (device, buffer, memory, offset), OUT_OF_MEMORY)                                                                 \
    X(vkMapMemory,                                                                                                     \
      (VkDevice device, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize size, VkMemoryMapFlags flags,         \
       void **data),                                                                                                   \
      (device, memory, offset, size, flags, data), OUT_OF_MEMORY, VK_ERROR_MEMORY_MAP_FAILED)                          \
    X(vkResetCommandPool, (VkDevice device, VkCommandPool pool, VkCommandPoolResetFlags flags), (device, pool, flags), \
      VK_ERROR_OUT_OF_DEVICE_MEMORY)                                                                                   \
    X(vkResetFences, (VkDevice device, uint32_t count, const VkFence *fences), (device, count, fences),                \
      VK_ERROR_OUT_OF_DEVICE_MEMORY)                                                                                   \
    X(vkGetPipelineCacheData, (VkDevice device, VkPipelineCache cache, size_t * size, void *data),                     \
      (device, cache, size, data), OUT_OF_MEMORY)                                                                      \
    X(vkMergePipelineCaches, (VkDevice device, VkPipelineCache to, uint32_t count, const VkPipelineCache *from),       \
      (device, to, count, from), OUT_OF_MEMORY)                                                                        \
    X(vkSetDebugUtilsObjectNameEXT, (VkDevice device, const VkDebugUtilsObjectNameInfoEXT *info), (device, info),      \
      OUT_OF_MEMORY)                                                                                                   \
    X(vkQueueSubmit, (VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence),                        \
      (queue, count, infos, fence), OUT_OF_MEMORY, VK_ERROR_DEVICE_LOST)                                               \
    X(vkGetQueryPoolResults,                                                                                           \
      (VkDevice device, VkQueryPool pool, uint32_t first, uint32_t count, size_t size, void *data,                     \
       VkDeviceSize stride, VkQueryResultFlags flags),                                                                 \
      (device, pool, first, count, size, data, stride, flags), OUT_OF_MEMORY, VK_ERROR_DEVICE_LOST)                    \
    X(vkGetFenceStatus, (VkDevice device, VkFence fence), (device, fence), OUT_OF_MEMORY, VK_ERROR_DEVICE_LOST)        \
    X(vkGetSemaphoreCounterValue, (VkDevice device, VkSemaphore semaphore, uint64_t * value),                          \
      (device, semaphore, value), OUT_OF_MEMORY, VK_ERROR_DEVICE_LOST)

#define DEFINE_CALL(name, parameters, arguments, ...)                                                                  \
    static PFN_##name real_##name;                                                                                     \
    static VKAPI_ATTR VkResult VKAPI_CALL faulty_##name parameters                                                     \
    {                                                                                                                  \
        static const VkResult codes[] = {__VA_ARGS__, VK_SUCCESS};                                                     \
        VkResult fault = fault_of(#name, codes);                                                                       \
        if (fault) return fault;                                                                                       \
        begin(#name);                                                                                                  \
        return done(real_##name arguments);                                                                            \
    }
FAULTY_CALLS(DEFINE_CALL)

/* The work is waited for all the same: what is injected is that the wait says nothing of it. */
#define FAULTY_WAITS(X)                                                                                                \
    X(vkWaitForFences, (VkDevice device, uint32_t count, const VkFence *fences, VkBool32 all, uint64_t timeout),       \
      (device, count, fences, all, timeout))                                                                           \
    X(vkWaitSemaphores, (VkDevice device, const VkSemaphoreWaitInfo *info, uint64_t timeout), (device, info, timeout))

#define DEFINE_WAIT(name, parameters, arguments)                                                                       \
    static PFN_##name real_##name;                                                                                     \
    static VKAPI_ATTR VkResult VKAPI_CALL faulty_##name parameters                                                     \
    {                                                                                                                  \
        static const VkResult codes[] = {OUT_OF_MEMORY, VK_TIMEOUT, VK_ERROR_DEVICE_LOST, VK_SUCCESS};                 \
        VkResult result = real_##name arguments;                                                                       \
        VkResult fault = fault_of(#name, codes);                                                                       \
        return fault ? fault : result;                                                                                 \
    }
FAULTY_WAITS(DEFINE_WAIT)

/* ---- Objects ----------------------------------------------------------------------------------------------------- */

static void count_made(int type)
{
    faults.objects[type]++;
    faults.objects_made++;
}

faults_objects faults_count_objects(void)
{
    faults_objects now;
    for (int i = 0; i < OBJECT_TYPES; i++) now.alive[i] = faults.objects[i];
    return now;
}

const char *faults_compare_objects(const faults_objects *before)
{
#define NAME_OBJECT(type) #type,
    static const char *const names[] = {COUNTED_OBJECTS(NAME_OBJECT)};
#undef NAME_OBJECT
    static char text[1024];
    size_t used = 0;
    for (int i = 0; i < OBJECT_TYPES; i++) {
        long more = faults.objects[i] - before->alive[i];
        if (more == 0) continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%ld %s", used ? ", " : "", more, names[i]);
    }
    return used ? text : NULL;
}

/* What a call that failed leaves in place of a handle: nothing that may be used. */
#define UNDEFINED 0xbad

/* X(type, possible errors): vkCreate and vkDestroy of a device's objects. */
#define FAULTY_OBJECTS(X)                                                                                              \
    X(Buffer, OUT_OF_MEMORY)                                                                                           \
    X(BufferView, OUT_OF_MEMORY)                                                                                       \
    X(CommandPool, OUT_OF_MEMORY)                                                                                      \
    X(DescriptorPool, OUT_OF_MEMORY, VK_ERROR_FRAGMENTATION)                                                           \
    X(DescriptorSetLayout, OUT_OF_MEMORY)                                                                              \
    X(Fence, OUT_OF_MEMORY)                                                                                            \
    X(PipelineCache, OUT_OF_MEMORY)                                                                                    \
    X(PipelineLayout, OUT_OF_MEMORY)                                                                                   \
    X(QueryPool, OUT_OF_MEMORY)                                                                                        \
    X(Semaphore, OUT_OF_MEMORY)                                                                                        \
    X(ShaderModule, OUT_OF_MEMORY)

#define DEFINE_OBJECT(type, ...)                                                                                       \
    static PFN_vkCreate##type real_vkCreate##type;                                                                     \
    static PFN_vkDestroy##type real_vkDestroy##type;                                                                   \
    static VKAPI_ATTR VkResult VKAPI_CALL faulty_vkCreate##type(VkDevice device, const Vk##type##CreateInfo *info,     \
                                                                const VkAllocationCallbacks *allocator, Vk##type *out) \
    {                                                                                                                  \
        static const VkResult codes[] = {__VA_ARGS__, VK_SUCCESS};                                                     \
        VkResult result = fault_of("vkCreate" #type, codes);                                                           \
        if (result) *out = (Vk##type)UNDEFINED;                                                                        \
        if (result) return result;                                                                                     \
        begin(#type);                                                                                                  \
        result = done(real_vkCreate##type(device, info, allocator, out));                                              \
        if (result == VK_SUCCESS) count_made(OBJECT_##type);                                                           \
        return result;                                                                                                 \
    }                                                                                                                  \
    static VKAPI_ATTR void VKAPI_CALL faulty_vkDestroy##type(VkDevice device, Vk##type object,                         \
                                                             const VkAllocationCallbacks *allocator)                   \
    {                                                                                                                  \
        if (object) faults.objects[OBJECT_##type]--;                                                                   \
        real_vkDestroy##type(device, object, allocator);                                                               \
    }
FAULTY_OBJECTS(DEFINE_OBJECT)

/* The others, each made and destroyed in a way of its own. X(make, type, its parameters, arguments, errors). */
#define FAULTY_MAKERS(X)                                                                                               \
    X(vkAllocateMemory, DeviceMemory,                                                                                  \
      (VkDevice device, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *allocator,                      \
       VkDeviceMemory *out),                                                                                           \
      (device, info, allocator, out), OUT_OF_MEMORY)                                                                   \
    X(vkCreateComputePipelines, Pipeline,                                                                              \
      (VkDevice device, VkPipelineCache cache, uint32_t count, const VkComputePipelineCreateInfo *infos,               \
       const VkAllocationCallbacks *allocator, VkPipeline *out),                                                       \
      (device, cache, count, infos, allocator, out), OUT_OF_MEMORY)                                                    \
    X(vkCreateInstance, Instance,                                                                                      \
      (const VkInstanceCreateInfo *info, const VkAllocationCallbacks *allocator, VkInstance *out),                     \
      (info, allocator, out), OUT_OF_MEMORY, VK_ERROR_INITIALIZATION_FAILED, VK_ERROR_LAYER_NOT_PRESENT,               \
      VK_ERROR_EXTENSION_NOT_PRESENT, VK_ERROR_INCOMPATIBLE_DRIVER)                                                    \
    X(vkCreateDevice, Device,                                                                                          \
      (VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *allocator,              \
       VkDevice *out),                                                                                                 \
      (physical, info, allocator, out), OUT_OF_MEMORY, VK_ERROR_INITIALIZATION_FAILED, VK_ERROR_EXTENSION_NOT_PRESENT, \
      VK_ERROR_FEATURE_NOT_PRESENT, VK_ERROR_TOO_MANY_OBJECTS, VK_ERROR_DEVICE_LOST)                                   \
    X(vkCreateDebugUtilsMessengerEXT, DebugUtilsMessengerEXT,                                                          \
      (VkInstance instance, const VkDebugUtilsMessengerCreateInfoEXT *info, const VkAllocationCallbacks *allocator,    \
       VkDebugUtilsMessengerEXT *out),                                                                                 \
      (instance, info, allocator, out), VK_ERROR_OUT_OF_HOST_MEMORY)

/* Pipelines that could not be made are null. */
static void spoil(void *out, const char *function)
{
    void *handle = (void *)UNDEFINED;
    if (strcmp(function, "vkCreateComputePipelines") != 0) memcpy(out, &handle, sizeof handle);
}

#define DEFINE_MAKER(name, type, parameters, arguments, ...)                                                           \
    static PFN_##name real_##name;                                                                                     \
    static VKAPI_ATTR VkResult VKAPI_CALL faulty_##name parameters                                                     \
    {                                                                                                                  \
        static const VkResult codes[] = {__VA_ARGS__, VK_SUCCESS};                                                     \
        VkResult result = fault_of(#name, codes);                                                                      \
        if (result) spoil((void *)out, #name);                                                                         \
        if (result) return result;                                                                                     \
        begin(#name);                                                                                                  \
        result = done(real_##name arguments);                                                                          \
        if (result == VK_SUCCESS) count_made(OBJECT_##type);                                                           \
        return result;                                                                                                 \
    }
FAULTY_MAKERS(DEFINE_MAKER)

#define UNMAKERS(X)                                                                                                    \
    X(vkFreeMemory, DeviceMemory, (VkDevice device, VkDeviceMemory object, const VkAllocationCallbacks *allocator),    \
      (device, object, allocator))                                                                                     \
    X(vkDestroyPipeline, Pipeline, (VkDevice device, VkPipeline object, const VkAllocationCallbacks *allocator),       \
      (device, object, allocator))                                                                                     \
    X(vkDestroyInstance, Instance, (VkInstance object, const VkAllocationCallbacks *allocator), (object, allocator))   \
    X(vkDestroyDevice, Device, (VkDevice object, const VkAllocationCallbacks *allocator), (object, allocator))         \
    X(vkDestroyDebugUtilsMessengerEXT, DebugUtilsMessengerEXT,                                                         \
      (VkInstance instance, VkDebugUtilsMessengerEXT object, const VkAllocationCallbacks *allocator),                  \
      (instance, object, allocator))

#define DEFINE_UNMAKER(name, type, parameters, arguments)                                                              \
    static PFN_##name real_##name;                                                                                     \
    static VKAPI_ATTR void VKAPI_CALL faulty_##name parameters                                                         \
    {                                                                                                                  \
        if (object) faults.objects[OBJECT_##type]--;                                                                   \
        real_##name arguments;                                                                                         \
    }
UNMAKERS(DEFINE_UNMAKER)

/* ---- Handing them out -------------------------------------------------------------------------------------------- */

/* Without these what was made could not be unmade. */
static bool is_indispensable(const char *name)
{
    return strncmp(name, "vkDestroy", 9) == 0 || strcmp(name, "vkGetDeviceProcAddr") == 0 ||
           strcmp(name, "vkFreeMemory") == 0;
}

static PFN_vkVoidFunction give(const char *name, PFN_vkVoidFunction real)
{
    if (!real || (!is_indispensable(name) && strike(FAULT_FUNCTION, name))) return NULL;
#define GIVE(function, ...)                                                                                            \
    if (strcmp(name, #function) == 0) {                                                                                \
        real_##function = (PFN_##function)real;                                                                        \
        return (PFN_vkVoidFunction)faulty_##function;                                                                  \
    }
#define GIVE_OBJECT(type, ...) GIVE(vkCreate##type) GIVE(vkDestroy##type)
    FAULTY_CALLS(GIVE)
    FAULTY_WAITS(GIVE)
    FAULTY_OBJECTS(GIVE_OBJECT)
    FAULTY_MAKERS(GIVE)
    UNMAKERS(GIVE)
    return real;
}

static PFN_vkVoidFunction VKAPI_PTR get_device_proc_addr(VkDevice device, const char *name)
{
    return give(name, real_get_device_proc_addr(device, name));
}

static PFN_vkVoidFunction VKAPI_PTR get_instance_proc_addr(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction real = vkGetInstanceProcAddr(instance, name);
    if (strcmp(name, "vkGetDeviceProcAddr") != 0) return give(name, real);
    real_get_device_proc_addr = (PFN_vkGetDeviceProcAddr)real;
    return (PFN_vkVoidFunction)get_device_proc_addr;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static void *host_allocate(void *user, size_t size)
{
    (void)user;
    void *memory = strike(FAULT_HOST, "host memory") ? NULL : malloc(size);
    faults.host_blocks += memory != NULL;
    return memory;
}

static void host_release(void *user, void *memory)
{
    (void)user;
    faults.host_blocks -= memory != NULL;
    free(memory);
}

typedef struct block {
    void *base;
    size_t size;
} block;

static void *VKAPI_PTR driver_allocate(void *user, size_t size, size_t alignment, VkSystemAllocationScope scope)
{
    (void)user, (void)scope;
    if (under_way && strike(FAULT_DRIVER, "the driver's memory")) return NULL;
    if (alignment < sizeof(block)) alignment = sizeof(block);
    char *base = malloc(size + alignment + sizeof(block));
    if (!base) return NULL;
    char *memory = (char *)(((uintptr_t)base + sizeof(block) + alignment - 1) / alignment * alignment);
    ((block *)(void *)memory)[-1] = (block){base, size};
    faults.driver_blocks++;
    return memory;
}

static void VKAPI_PTR driver_free(void *user, void *memory)
{
    (void)user;
    if (!memory) return;
    faults.driver_blocks--;
    free(((block *)memory)[-1].base);
}

static void *VKAPI_PTR driver_reallocate(void *user, void *old, size_t size, size_t alignment,
                                         VkSystemAllocationScope scope)
{
    void *memory = size ? driver_allocate(user, size, alignment, scope) : NULL;
    if (old && memory) {
        size_t kept = ((block *)old)[-1].size;
        memcpy(memory, old, kept < size ? kept : size);
    }
    if (memory || !size) driver_free(user, old);
    return memory;
}

retnet_allocator faults_allocator(void)
{
    return (retnet_allocator){NULL, host_allocate, host_release};
}

retnet_vulkan_device faults_device(void)
{
    static const VkAllocationCallbacks callbacks = {
        .pfnAllocation = driver_allocate, .pfnReallocation = driver_reallocate, .pfnFree = driver_free};
    return (retnet_vulkan_device){.get_instance_proc_addr = get_instance_proc_addr, .allocation_callbacks = &callbacks};
}
