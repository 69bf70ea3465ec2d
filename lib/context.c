#include "context.h"

#include "layers/lanes.h"
#include "layers/loads.h"
#include "layers/order.h"
#include "layers/self_test.h"
#include "vulkan/kernel.h"
#include "vulkan/pipeline_cache.h"

#include <string.h>

retnet_result retnet_context_create_from_device(const retnet_vulkan_device *device, const retnet_context_desc *desc,
                                                retnet_context **out)
{
    static const retnet_context_desc defaults;
    if (!out) return RETNET_ERROR_INVALID_ARGUMENT;
    *out = NULL;
    if (!desc) desc = &defaults;
    rn_host host;
    rn_host_init(&host, &desc->allocator, desc->log, desc->log_user);
    retnet_context *context = rn_alloc(&host, 1, sizeof *context);
    if (!context) return rn_fail_memory(&host, "context", sizeof *context);
    rn_host_init(&context->host, &desc->allocator, desc->log, desc->log_user);
    retnet_result result = rn_device_open(&context->host, desc, device, &context->device);
    if (result == RETNET_OK) result = rn_loads_measure(&context->device);
    if (result == RETNET_OK) result = rn_order_test(&context->device);
    if (result == RETNET_OK) result = rn_self_test(&context->device);
    if (result == RETNET_OK) result = rn_lanes_find(&context->device);
    if (result == RETNET_OK) {
        *out = context;
    } else {
        rn_kernels_destroy(&context->device);
        rn_device_close(&context->device);
        rn_free(&host, context);
    }
    return result;
}

retnet_result retnet_context_create(const retnet_context_desc *desc, retnet_context **out)
{
    return retnet_context_create_from_device(NULL, desc, out);
}

void retnet_vulkan_get(const retnet_context *context, retnet_vulkan_device *device)
{
    rn_device_describe(&context->device, device);
}

void retnet_context_destroy(retnet_context *context)
{
    if (!context) return;
    rn_kernels_destroy(&context->device);
    rn_device_close(&context->device);
    rn_host host = context->host;
    rn_free(&host, context);
}

void retnet_context_device_info(const retnet_context *context, retnet_device_info *info)
{
    const rn_device *device = &context->device;
    *info = (retnet_device_info){
        .vulkan = device->api_version,
        .is_cpu = device->caps.is_cpu,
        .unified_memory = device->caps.unified_memory,
        .subgroup_size = device->caps.subgroup_size,
    };
    memcpy(info->name, device->name, sizeof info->name);
    memcpy(info->driver, device->driver, sizeof info->driver - 1);
    for (uint32_t i = 0; i < device->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &device->memory.memoryHeaps[i];
        if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > info->memory_bytes)
            info->memory_bytes = heap->size;
    }
}

size_t retnet_context_last_message(const retnet_context *context, char *buffer, size_t size)
{
    rn_host *host = (rn_host *)&context->host;
    while (atomic_flag_test_and_set_explicit(&host->message_lock, memory_order_acquire)) {}
    size_t length = strlen(host->message);
    if (buffer && size) {
        size_t copied = length < size ? length : size - 1;
        memcpy(buffer, host->message, copied);
        buffer[copied] = 0;
    }
    atomic_flag_clear_explicit(&host->message_lock, memory_order_release);
    return length;
}

retnet_result retnet_context_pipeline_cache_save(retnet_context *context, void *blob, size_t capacity, size_t *size)
{
    if (!context) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!size) return rn_fail(&context->host, RETNET_ERROR_INVALID_ARGUMENT, "saving the pipeline cache: size is NULL");
    return rn_pipeline_cache_save(&context->device, blob, capacity, size);
}

retnet_result retnet_context_pipeline_cache_load(retnet_context *context, const void *blob, size_t size, bool *accepted)
{
    bool unwanted;
    if (!accepted) accepted = &unwanted;
    *accepted = false;
    if (!context) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!blob) return rn_fail(&context->host, RETNET_ERROR_INVALID_ARGUMENT, "loading the pipeline cache: no blob");
    return rn_pipeline_cache_load(&context->device, blob, size, accepted);
}

retnet_result retnet_context_profile(retnet_context *context, bool enable)
{
    rn_device *device = &context->device;
    if (enable && device->caps.timestamp_period == 0)
        return rn_fail(&context->host, RETNET_ERROR_UNSUPPORTED, "%s has no timestamps on its compute queue",
                       device->name);
    rn_mutex_lock(&device->profile_lock);
    device->profiling = enable;
    if (enable) device->profile_count = 0;
    rn_mutex_unlock(&device->profile_lock);
    return RETNET_OK;
}

size_t retnet_context_profile_read(retnet_context *context, retnet_profile_entry *entries, size_t capacity)
{
    rn_device *device = &context->device;
    rn_mutex_lock(&device->profile_lock);
    size_t count = device->profile_count;
    bool taken[RN_MAX_PROFILE_SLOTS] = {false};
    for (size_t i = 0; i < count && i < capacity; i++) {
        size_t best = count;
        for (size_t k = 0; k < count; k++)
            if (!taken[k] && (best == count || device->profile[k].nanoseconds > device->profile[best].nanoseconds))
                best = k;
        taken[best] = true;
        const rn_profile_slot *slot = &device->profile[best];
        entries[i] = (retnet_profile_entry){slot->name, slot->dispatches, slot->nanoseconds, slot->bytes};
    }
    rn_mutex_unlock(&device->profile_lock);
    return count;
}
