#include "vulkan/device.h"
#include "vulkan/features.h"
#include "vulkan/processors.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *const validation_layer = "VK_LAYER_KHRONOS_validation";

static const char *vulkan_result_name(VkResult result)
{
    switch (result) {
#define RN_NAME(code)                                                                                                  \
    case code: return #code
        RN_NAME(VK_NOT_READY);
        RN_NAME(VK_TIMEOUT);
        RN_NAME(VK_INCOMPLETE);
        RN_NAME(VK_ERROR_OUT_OF_HOST_MEMORY);
        RN_NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY);
        RN_NAME(VK_ERROR_INITIALIZATION_FAILED);
        RN_NAME(VK_ERROR_DEVICE_LOST);
        RN_NAME(VK_ERROR_MEMORY_MAP_FAILED);
        RN_NAME(VK_ERROR_LAYER_NOT_PRESENT);
        RN_NAME(VK_ERROR_EXTENSION_NOT_PRESENT);
        RN_NAME(VK_ERROR_FEATURE_NOT_PRESENT);
        RN_NAME(VK_ERROR_INCOMPATIBLE_DRIVER);
        RN_NAME(VK_ERROR_TOO_MANY_OBJECTS);
        RN_NAME(VK_ERROR_FRAGMENTED_POOL);
        RN_NAME(VK_ERROR_OUT_OF_POOL_MEMORY);
        RN_NAME(VK_ERROR_UNKNOWN);
#undef RN_NAME
    default: return "another Vulkan result";
    }
}

uint32_t rn_device_vector(const rn_device *device)
{
    return rn_min_u32(rn_max_u32(device->caps.subgroup_size, 4), 16);
}

retnet_result rn_error_of(VkResult result)
{
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return RETNET_ERROR_OUT_OF_DEVICE_MEMORY;
    case VK_ERROR_DEVICE_LOST: return RETNET_ERROR_DEVICE_LOST;
    default: return RETNET_ERROR_VULKAN;
    }
}

retnet_result rn_device_fail(rn_device *device, VkResult result, const char *what)
{
    retnet_result ours = rn_error_of(result);
    if (ours == RETNET_ERROR_DEVICE_LOST) atomic_store(&device->lost, true);
    return rn_fail(device->host, ours, "%s: %s (%d)", what, vulkan_result_name(result), (int)result);
}

retnet_result rn_device_check(rn_device *device)
{
    if (!atomic_load(&device->lost)) return RETNET_OK;
    return rn_fail(device->host, RETNET_ERROR_DEVICE_LOST, "%s was lost earlier", device->name);
}

/* Memory that ran out is no reason to look for another device. */
static retnet_result no_device(rn_device *device, VkResult result, const char *what)
{
    retnet_result ours = rn_device_fail(device, result, what);
    return ours == RETNET_ERROR_VULKAN ? RETNET_ERROR_NO_DEVICE : ours;
}

/* ---- Instance --------------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_validation_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                            VkDebugUtilsMessageTypeFlagsEXT types,
                                                            const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                            void *user)
{
    (void)types;
    bool error = severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT;
    rn_log(user, error ? RETNET_LOG_ERROR : RETNET_LOG_INFO, "validation: %s", data->pMessage);
    return VK_FALSE;
}

static bool has_layer(const rn_device *device, const char *name)
{
    PFN_vkEnumerateInstanceLayerProperties enumerate =
        (PFN_vkEnumerateInstanceLayerProperties)device->get_proc(VK_NULL_HANDLE, "vkEnumerateInstanceLayerProperties");
    VkLayerProperties layers[64];
    uint32_t count = RN_COUNT(layers);
    VkResult result = enumerate ? enumerate(&count, layers) : VK_ERROR_INITIALIZATION_FAILED;
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(layers[i].layerName, name) == 0) return true;
    return false;
}

static retnet_result open_instance(rn_device *device, const retnet_context_desc *desc)
{
    uint32_t version = VK_API_VERSION_1_0;
    PFN_vkEnumerateInstanceVersion get_version =
        (PFN_vkEnumerateInstanceVersion)device->get_proc(VK_NULL_HANDLE, "vkEnumerateInstanceVersion");
    PFN_vkCreateInstance create_instance = (PFN_vkCreateInstance)device->get_proc(VK_NULL_HANDLE, "vkCreateInstance");
    if (get_version) get_version(&version);
    if (version < VK_API_VERSION_1_1 || !create_instance)
        return rn_fail(device->host, RETNET_ERROR_NO_DEVICE, "the Vulkan loader is older than 1.1");

    bool validate = desc->enable_validation && has_layer(device, validation_layer);
    if (desc->enable_validation && !validate)
        rn_log(device->host, RETNET_LOG_WARNING, "%s is not installed: no validation", validation_layer);

    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_validation_message,
        .pUserData = device->host,
    };
    VkValidationFeatureEnableEXT enables[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = RN_COUNT(enables),
        .pEnabledValidationFeatures = enables,
    };
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pEngineName = "retnet",
        .apiVersion = version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3,
    };
    const char *extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validate ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validate ? 1 : 0,
        .ppEnabledLayerNames = &validation_layer,
        .enabledExtensionCount = validate ? 1 : 0,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = create_instance(&info, device->allocator, &device->instance);
    if (result != VK_SUCCESS) {
        device->instance = VK_NULL_HANDLE;
        return no_device(device, result, "vkCreateInstance");
    }
    if (!rn_instance_table_load(device->get_proc, device->instance, &device->fn))
        return rn_fail(device->host, RETNET_ERROR_NO_DEVICE, "the Vulkan loader lacks functions of Vulkan 1.1");
    if (validate) {
        PFN_vkCreateDebugUtilsMessengerEXT create =
            (PFN_vkCreateDebugUtilsMessengerEXT)device->get_proc(device->instance, "vkCreateDebugUtilsMessengerEXT");
        if (create) result = create(device->instance, &messenger, device->allocator, &device->messenger);
        if (result != VK_SUCCESS) device->messenger = VK_NULL_HANDLE;
    }
    return RETNET_OK;
}

static void destroy_instance(rn_device *device)
{
    if (!device->instance) return;
    if (device->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)device->get_proc(device->instance, "vkDestroyDebugUtilsMessengerEXT");
        if (destroy) destroy(device->instance, device->messenger, device->allocator);
    }
    if (device->fn.DestroyInstance) device->fn.DestroyInstance(device->instance, device->allocator);
    device->instance = VK_NULL_HANDLE;
}

/* ---- Physical device -------------------------------------------------------------------------------------------- */

static bool contains_ignoring_case(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < length && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) i++;
        if (i == length) return true;
    }
    return length == 0;
}

static int type_rank(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 3;
    default: return 4;
    }
}

static retnet_result choose_physical_device(rn_device *device, const retnet_context_desc *desc)
{
    enum { MAX_DEVICES = 32 };
    VkPhysicalDevice devices[MAX_DEVICES];
    uint32_t count = MAX_DEVICES;
    VkResult result = device->fn.EnumeratePhysicalDevices(device->instance, &count, devices);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) return no_device(device, result, "vkEnumeratePhysicalDevices");
    int best_rank = 5;
    char names[320] = "";
    for (uint32_t i = 0; i < count; i++) {
        VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
        device->fn.GetPhysicalDeviceProperties2(devices[i], &properties);
        const VkPhysicalDeviceProperties *p = &properties.properties;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%u: %s", used ? ", " : "", i + 1, p->deviceName);
        bool wanted = desc->device_number
                          ? i + 1 == desc->device_number
                          : !desc->device_name || contains_ignoring_case(p->deviceName, desc->device_name);
        if (!wanted || p->apiVersion < VK_API_VERSION_1_1 || type_rank(p->deviceType) >= best_rank) continue;
        best_rank = type_rank(p->deviceType);
        device->physical = devices[i];
    }
    if (device->physical) return RETNET_OK;
    if (count == 0)
        return rn_fail(device->host, RETNET_ERROR_NO_DEVICE, "no Vulkan driver is installed (no physical device)");
    if (desc->device_number)
        return rn_fail(device->host, RETNET_ERROR_NO_DEVICE, "no Vulkan 1.1 device number %u; there are: %s",
                       desc->device_number, names);
    return rn_fail(device->host, RETNET_ERROR_NO_DEVICE,
                   "no Vulkan 1.1 device whose name contains \"%s\"; there are: %s",
                   desc->device_name ? desc->device_name : "", names);
}

static retnet_result choose_queue_family(rn_device *device, uint32_t *timestamp_bits)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = RN_COUNT(families);
    device->fn.GetPhysicalDeviceQueueFamilyProperties(device->physical, &count, families);
    device->queue_family = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || families[i].queueCount == 0) continue;
        /* A family without graphics leaves the desktop's rendering alone. */
        bool compute_only = !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        if (device->queue_family != UINT32_MAX && !compute_only) continue;
        device->queue_family = i;
        *timestamp_bits = families[i].timestampValidBits;
        if (compute_only) break;
    }
    if (device->queue_family == UINT32_MAX)
        return rn_fail(device->host, RETNET_ERROR_NO_DEVICE, "%s has no compute queue", device->name);
    return RETNET_OK;
}

static bool all_memory_is_unified(const VkPhysicalDeviceMemoryProperties *memory)
{
    for (uint32_t i = 0; i < memory->memoryHeapCount; i++)
        if (!(memory->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) return false;
    return true;
}

static void pretend_minimum_limits(rn_capabilities *caps)
{
    caps->max_invocations = rn_min_u32(caps->max_invocations, 128);
    caps->shared_memory = rn_min_u32(caps->shared_memory, 16384);
    if (caps->max_storage_range > (1u << 27)) caps->max_storage_range = 1u << 27;
    if (caps->max_texel_range > 16u << 16) caps->max_texel_range = 16u << 16;
    if (caps->max_allocation > (1u << 28)) caps->max_allocation = 1u << 28;
    caps->max_storage_buffers = rn_min_u32(caps->max_storage_buffers, 4);
    caps->max_push_bytes = rn_min_u32(caps->max_push_bytes, 128);
    for (int i = 0; i < 3; i++) caps->max_groups[i] = rn_min_u32(caps->max_groups[i], 65535);
}

/* A part of a subgroup does for a smaller one: invocations exchange with neighbours only. */
static void pretend_subgroup_size(rn_capabilities *caps, uint32_t pretend)
{
    for (uint32_t size = 64; size >= 4; size /= 2) /* RETNET_PRETEND_SUBGROUP_4 to _64 */
        if (pretend & size << 8) caps->subgroup_size = rn_min_u32(caps->subgroup_size, size);
}

retnet_result rn_device_read_capabilities(rn_device *device, const retnet_context_desc *desc, uint32_t version)
{
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &subgroup};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
                                               .pNext = &maintenance};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    device->fn.GetPhysicalDeviceProperties2(device->physical, &properties);
    device->api_version = rn_min_u32(properties.properties.apiVersion, version);
    bool names_driver = device->api_version >= VK_API_VERSION_1_2;
    properties.pNext = names_driver ? (void *)&driver : (void *)&maintenance;
    device->fn.GetPhysicalDeviceProperties2(device->physical, &properties);
    device->fn.GetPhysicalDeviceMemoryProperties(device->physical, &device->memory);

    const VkPhysicalDeviceProperties *p = &properties.properties;
    snprintf(device->name, sizeof device->name, "%s", p->deviceName);
    if (names_driver)
        snprintf(device->driver, sizeof device->driver, "%s %s", driver.driverName, driver.driverInfo);
    else
        snprintf(device->driver, sizeof device->driver, "driver version %u", p->driverVersion);

    const VkSubgroupFeatureFlags needed =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    rn_capabilities *caps = &device->caps;
    *caps = (rn_capabilities){
        .is_cpu = p->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU,
        .unified_memory = all_memory_is_unified(&device->memory),
        .subgroup_arithmetic = (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                               (subgroup.supportedOperations & needed) == needed,
        .subgroup_size = subgroup.subgroupSize,
        .max_invocations = rn_min_u32(p->limits.maxComputeWorkGroupInvocations, p->limits.maxComputeWorkGroupSize[0]),
        .shared_memory = p->limits.maxComputeSharedMemorySize,
        .max_groups = {p->limits.maxComputeWorkGroupCount[0], p->limits.maxComputeWorkGroupCount[1],
                       p->limits.maxComputeWorkGroupCount[2]},
        .max_storage_buffers = p->limits.maxPerStageDescriptorStorageBuffers,
        .max_push_bytes = p->limits.maxPushConstantsSize,
        .max_storage_range = p->limits.maxStorageBufferRange,
        .max_allocation = maintenance.maxMemoryAllocationSize,
        /* At least 16: kernels read vectors of four. */
        .storage_alignment =
            p->limits.minStorageBufferOffsetAlignment < 16 ? 16 : p->limits.minStorageBufferOffsetAlignment,
        .max_texel_range = 16ull * p->limits.maxTexelBufferElements,
        .timestamp_period = p->limits.timestampPeriod,
    };
    if (caps->storage_alignment < p->limits.minUniformBufferOffsetAlignment)
        caps->storage_alignment = p->limits.minUniformBufferOffsetAlignment;
    if (caps->storage_alignment < p->limits.minTexelBufferOffsetAlignment)
        caps->storage_alignment = p->limits.minTexelBufferOffsetAlignment;
    if (desc->pretend & RETNET_PRETEND_NO_SUBGROUP) caps->subgroup_arithmetic = false;
    device->measures = !caps->is_cpu && !desc->fixed_kernels;
    if (desc->pretend & RETNET_PRETEND_GPU) caps->is_cpu = false;
    if (desc->pretend & RETNET_PRETEND_DISCRETE) caps->unified_memory = false;
    if (desc->pretend & RETNET_PRETEND_MINIMUM_LIMITS) pretend_minimum_limits(caps);
    pretend_subgroup_size(caps, desc->pretend);
    VkResult result = rn_device_count_processors(device, &caps->processors);
    return result == VK_SUCCESS ? RETNET_OK : rn_device_fail(device, result, "the device's extensions");
}

retnet_result rn_device_load(rn_device *device, bool debug_utils)
{
    if (!rn_device_table_load(device->fn.GetDeviceProcAddr, device->handle, debug_utils, &device->vk))
        return rn_fail(device->host, RETNET_ERROR_NO_DEVICE, "%s lacks functions of Vulkan 1.1", device->name);
    if (!device->queue)
        device->vk.vkGetDeviceQueue(device->handle, device->queue_family, device->queue_index, &device->queue);
    return RETNET_OK;
}

static retnet_result create_device(rn_device *device, const retnet_context_desc *desc)
{
    float priority = 0.5f;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = device->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
    };
    retnet_vulkan_additions additions;
    bool matrices = rn_features_want_matrices(device, desc);
    retnet_result ours = rn_features_recommend(device->host, &device->fn, device->physical, device->api_version,
                                               matrices, &info, &additions);
    VkDeviceQueueGlobalPriorityCreateInfoKHR low;
    if (ours == RETNET_OK && desc->low_priority)
        ours = rn_features_lower_priority(device->host, &device->fn, device->physical, &info, &additions, &queue, &low);
    if (ours != RETNET_OK) return ours;
    VkResult result = device->fn.CreateDevice(device->physical, &info, device->allocator, &device->handle);
    if (result == VK_ERROR_NOT_PERMITTED_KHR && queue.pNext) { /* some systems reserve priorities */
        queue.pNext = NULL;
        result = device->fn.CreateDevice(device->physical, &info, device->allocator, &device->handle);
    }
    if (result != VK_SUCCESS) {
        device->handle = VK_NULL_HANDLE;
        return rn_device_fail(device, result, "vkCreateDevice");
    }
    ours = rn_device_load(device, device->messenger != VK_NULL_HANDLE);
    if (ours != RETNET_OK) return ours;
    rn_features_use(device, desc, info.ppEnabledExtensionNames, info.enabledExtensionCount, info.pNext);
    return RETNET_OK;
}

static retnet_result create_own(rn_device *device, const retnet_context_desc *desc)
{
    if (!device->get_proc) device->get_proc = rn_loader_open(&device->loader);
    if (!device->get_proc)
        return rn_fail(device->host, RETNET_ERROR_NO_DEVICE, "the Vulkan loader library is not installed");
    retnet_result result = open_instance(device, desc);
    if (result == RETNET_OK) result = choose_physical_device(device, desc);
    if (result != RETNET_OK) return result;
    uint32_t timestamp_bits = 0;
    result = rn_device_read_capabilities(device, desc, VK_API_VERSION_1_3);
    if (result == RETNET_OK) result = choose_queue_family(device, &timestamp_bits);
    if (result != RETNET_OK) return result;
    if (timestamp_bits == 0) device->caps.timestamp_period = 0;
    return create_device(device, desc);
}

/* ---- Opening and closing ---------------------------------------------------------------------------------------- */

static void lock_own_queue(void *lock)
{
    rn_mutex_lock(lock);
}
static void unlock_own_queue(void *lock)
{
    rn_mutex_unlock(lock);
}

static void set_defaults(rn_device *device, const retnet_context_desc *desc, const retnet_vulkan_device *vulkan)
{
    device->submit_budget_us = desc->submit_budget_us ? desc->submit_budget_us : vulkan->device ? 8000 : 100000;
    device->patience = 1 << 20; /* the better part of a second on a fast GPU */
    device->get_proc = vulkan->get_instance_proc_addr;
    device->priority = vulkan->memory_priority > 0 ? vulkan->memory_priority : 0.5f;
    if (vulkan->allocation_callbacks) {
        device->allocator_copy = *vulkan->allocation_callbacks;
        device->allocator = &device->allocator_copy;
    }
    device->lock_queue = lock_own_queue;
    device->unlock_queue = unlock_own_queue;
    device->queue_user = &device->queue_lock;
}

static retnet_result create_pipeline_cache(rn_device *device)
{
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    VkResult result =
        device->vk.vkCreatePipelineCache(device->handle, &info, device->allocator, &device->pipeline_cache);
    device->owns_pipeline_cache = result == VK_SUCCESS;
    return result == VK_SUCCESS ? RETNET_OK : rn_device_fail(device, result, "vkCreatePipelineCache");
}

retnet_result rn_device_open(rn_host *host, const retnet_context_desc *desc, const retnet_vulkan_device *vulkan,
                             rn_device *device)
{
    static const retnet_vulkan_device none;
    if (!vulkan) vulkan = &none;
    memset(device, 0, sizeof *device);
    device->host = host;
    rn_mutex_init(&device->queue_lock);
    rn_mutex_init(&device->kernel_lock);
    rn_condition_init(&device->kernel_made);
    rn_mutex_init(&device->profile_lock);
    rn_choices_init(&device->choices);
    set_defaults(device, desc, vulkan);
    retnet_result result;
    if (!(vulkan->memory_priority >= 0 && vulkan->memory_priority <= 1))
        result = rn_fail(host, RETNET_ERROR_INVALID_ARGUMENT,
                         "retnet_vulkan_device: memory_priority is %g, not in [0, 1]", vulkan->memory_priority);
    else if (vulkan->device || vulkan->instance || vulkan->physical_device)
        result = rn_device_adopt(device, desc, vulkan);
    else
        result = create_own(device, desc);
    if (result == RETNET_OK && !device->pipeline_cache) result = create_pipeline_cache(device);
    if (result != RETNET_OK) rn_device_close(device);
    return result;
}

void rn_device_close(rn_device *device)
{
    if (!device->host) return;
    if (device->owns_pipeline_cache)
        device->vk.vkDestroyPipelineCache(device->handle, device->pipeline_cache, device->allocator);
    if (!device->adopted) {
        if (device->vk.vkDestroyDevice) device->vk.vkDestroyDevice(device->handle, device->allocator);
        destroy_instance(device);
        rn_loader_close(device->loader);
    }
    rn_mutex_destroy(&device->queue_lock);
    rn_mutex_destroy(&device->kernel_lock);
    rn_condition_destroy(&device->kernel_made);
    rn_mutex_destroy(&device->profile_lock);
    rn_choices_destroy(&device->choices);
    memset(device, 0, sizeof *device);
}

VkResult rn_device_submit(rn_device *device, const VkSubmitInfo *info, VkFence fence)
{
    device->lock_queue(device->queue_user);
    VkResult result = device->vk.vkQueueSubmit(device->queue, 1, info, fence);
    device->unlock_queue(device->queue_user);
    return result;
}

void rn_device_name(const rn_device *device, VkObjectType type, uint64_t object, const char *name)
{
    if (!device->vk.vkSetDebugUtilsObjectNameEXT) return;
    char text[96];
    snprintf(text, sizeof text, "retnet: %s", name);
    VkDebugUtilsObjectNameInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = type,
        .objectHandle = object,
        .pObjectName = text,
    };
    device->vk.vkSetDebugUtilsObjectNameEXT(device->handle, &info);
}

void rn_device_profile_add(rn_device *device, const char *name, uint64_t nanoseconds, uint64_t bytes)
{
    rn_mutex_lock(&device->profile_lock);
    uint32_t i = 0;
    while (i < device->profile_count && strcmp(device->profile[i].name, name) != 0) i++;
    if (i < RN_MAX_PROFILE_SLOTS) {
        if (i == device->profile_count) device->profile[device->profile_count++] = (rn_profile_slot){.name = name};
        device->profile[i].dispatches++;
        device->profile[i].nanoseconds += nanoseconds;
        device->profile[i].bytes += bytes;
    }
    rn_mutex_unlock(&device->profile_lock);
}
