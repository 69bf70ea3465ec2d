#include "vulkan/features.h"

#include <string.h>

/* A device of the host program's. Everything is checked before the first object is made on it. */

static retnet_result refuse(const rn_device *device, const char *what)
{
    return rn_fail(device->host, RETNET_ERROR_INVALID_ARGUMENT, "retnet_vulkan_device: %s", what);
}

static retnet_result check_fields(const rn_device *device, const retnet_context_desc *desc,
                                  const retnet_vulkan_device *vulkan)
{
    if (!vulkan->instance || !vulkan->physical_device || !vulkan->device)
        return refuse(device, "instance, physical_device and device go together");
    if (!vulkan->get_instance_proc_addr) return refuse(device, "get_instance_proc_addr is NULL");
    if (!vulkan->lock_queue != !vulkan->unlock_queue) return refuse(device, "lock_queue and unlock_queue go together");
    if (vulkan->extension_count && !vulkan->extensions) return refuse(device, "extensions is NULL");
    if (vulkan->instance_extension_count && !vulkan->instance_extensions)
        return refuse(device, "instance_extensions is NULL");
    if (desc->device_name || desc->device_number) return refuse(device, "the desc asks for another device");
    if (desc->enable_validation)
        return refuse(device, "enable_validation is for instances of the library's own; enable the layer in yours");
    if (desc->submit_budget_us && desc->submit_budget_us < 500)
        return rn_fail(device->host, RETNET_ERROR_INVALID_ARGUMENT,
                       "submit_budget_us is %u; on a host's device it is at least 500", desc->submit_budget_us);
    return RETNET_OK;
}

static retnet_result check_queue(rn_device *device)
{
    VkQueueFamilyProperties families[64];
    uint32_t count = RN_COUNT(families), family = device->queue_family;
    device->fn.GetPhysicalDeviceQueueFamilyProperties(device->physical, &count, families);
    if (family >= count)
        return rn_fail(device->host, RETNET_ERROR_INVALID_ARGUMENT, "queue_family is %u, but %s has %u", family,
                       device->name, count);
    if (!(families[family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        return rn_fail(device->host, RETNET_ERROR_UNSUPPORTED, "queue_family %u of %s has no compute", family,
                       device->name);
    if (device->queue_index >= families[family].queueCount)
        return rn_fail(device->host, RETNET_ERROR_INVALID_ARGUMENT, "queue_index is %u, but family %u of %s has %u",
                       device->queue_index, family, device->name, families[family].queueCount);
    if (families[family].timestampValidBits == 0) device->caps.timestamp_period = 0;
    return RETNET_OK;
}

static bool has_debug_utils(const retnet_vulkan_device *vulkan)
{
    for (uint32_t i = 0; i < vulkan->instance_extension_count; i++)
        if (strcmp(vulkan->instance_extensions[i], VK_EXT_DEBUG_UTILS_EXTENSION_NAME) == 0) return true;
    return false;
}

retnet_result rn_device_adopt(rn_device *device, const retnet_context_desc *desc, const retnet_vulkan_device *vulkan)
{
    device->adopted = true;
    retnet_result result = check_fields(device, desc, vulkan);
    if (result != RETNET_OK) return result;
    uint32_t version = vulkan->api_version ? vulkan->api_version : RETNET_VULKAN_REQUIRED_VERSION;
    device->instance = vulkan->instance;
    device->physical = vulkan->physical_device;
    device->handle = vulkan->device;
    device->queue_family = vulkan->queue_family;
    device->queue_index = vulkan->queue_index;
    device->queue = vulkan->queue;
    device->pipeline_cache = vulkan->pipeline_cache;
    if (vulkan->lock_queue) {
        device->lock_queue = vulkan->lock_queue;
        device->unlock_queue = vulkan->unlock_queue;
        device->queue_user = vulkan->queue_user;
    }
    if (!rn_instance_table_load(device->get_proc, device->instance, &device->fn))
        return rn_fail(device->host, RETNET_ERROR_UNSUPPORTED, "the instance lacks functions of Vulkan 1.1");
    result = rn_device_read_capabilities(device, desc, version);
    if (result != RETNET_OK) return result;
    if (device->api_version < RETNET_VULKAN_REQUIRED_VERSION)
        return rn_fail(device->host, RETNET_ERROR_UNSUPPORTED, "Vulkan 1.1 is needed; %s and api_version give %u.%u",
                       device->name, VK_API_VERSION_MAJOR(device->api_version),
                       VK_API_VERSION_MINOR(device->api_version));
    result = check_queue(device);
    if (result == RETNET_OK) result = rn_device_load(device, has_debug_utils(vulkan));
    if (result == RETNET_OK)
        rn_features_use(device, desc, vulkan->extensions, vulkan->extension_count, vulkan->features);
    return result;
}

void rn_device_describe(const rn_device *device, retnet_vulkan_device *vulkan)
{
    static const char *const debug_utils[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    *vulkan = (retnet_vulkan_device){
        .instance = device->instance,
        .physical_device = device->physical,
        .device = device->handle,
        .get_instance_proc_addr = device->get_proc,
        .queue_family = device->queue_family,
        .queue_index = device->queue_index,
        .queue = device->queue,
        .lock_queue = device->lock_queue,
        .unlock_queue = device->unlock_queue,
        .queue_user = device->queue_user,
        .api_version = device->api_version,
        .instance_extensions = debug_utils,
        .instance_extension_count = device->vk.vkSetDebugUtilsObjectNameEXT ? 1 : 0,
        .extensions = device->used.extensions,
        .extension_count = device->used_extension_count,
        .features = device->used_features,
        .allocation_callbacks = device->allocator,
        .pipeline_cache = device->owns_pipeline_cache ? VK_NULL_HANDLE : device->pipeline_cache,
        .memory_priority = device->priority,
    };
}
