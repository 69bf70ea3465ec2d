#include "vulkan/buffer.h"

#include <stdio.h>
#include <string.h>

enum { NO_MEMORY_TYPE = 32 };

static uint32_t find_memory_type(const rn_device *device, uint32_t allowed, VkMemoryPropertyFlags wanted,
                                 VkMemoryPropertyFlags unwanted)
{
    for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = device->memory.memoryTypes[i].propertyFlags;
        if ((allowed >> i & 1) && (flags & wanted) == wanted && !(flags & unwanted)) return i;
    }
    return NO_MEMORY_TYPE;
}

/* The first memory type that fits, from the most wanted to what Vulkan guarantees to exist. */
static uint32_t choose_memory_type(const rn_device *device, uint32_t allowed, rn_memory_use use)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const VkMemoryPropertyFlags odd = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT;
    struct {
        VkMemoryPropertyFlags wanted, unwanted;
    } choices[3] = {{0, 0}};
    switch (use) {
    case RN_MEMORY_DEVICE:
        choices[0].wanted = device->caps.unified_memory ? local | host : local;
        choices[0].unwanted = device->caps.unified_memory ? odd : odd | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
        choices[1].wanted = local;
        choices[1].unwanted = choices[2].unwanted = odd;
        break;
    case RN_MEMORY_UPLOAD:
        choices[0].wanted = host;
        choices[0].unwanted = device->caps.unified_memory ? odd : odd | local;
        choices[1].wanted = choices[2].wanted = host;
        choices[1].unwanted = choices[2].unwanted = odd;
        break;
    case RN_MEMORY_READBACK:
    case RN_MEMORY_USES:
        choices[0].wanted = host | cached;
        choices[1].wanted = choices[2].wanted = host;
        choices[0].unwanted = choices[1].unwanted = choices[2].unwanted = odd;
        break;
    }
    for (size_t i = 0; i < RN_COUNT(choices); i++) {
        uint32_t type = find_memory_type(device, allowed, choices[i].wanted, choices[i].unwanted);
        if (type != NO_MEMORY_TYPE) return type;
    }
    return NO_MEMORY_TYPE;
}

uint32_t rn_memory_heap(const rn_device *device, rn_memory_use use)
{
    uint32_t type = choose_memory_type(device, UINT32_MAX, use);
    return type == NO_MEMORY_TYPE ? UINT32_MAX : device->memory.memoryTypes[type].heapIndex;
}

/* 0 where the device has none. */
static VkDeviceAddress find_address(const rn_device *device, VkBuffer buffer)
{
    VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = buffer};
    return device->addresses ? device->vk.vkGetBufferDeviceAddress(device->handle, &info) : 0;
}

static retnet_result allocate_and_bind(rn_device *device, rn_memory_use use, const char *what, rn_buffer *buffer)
{
    VkMemoryRequirements requirements;
    device->vk.vkGetBufferMemoryRequirements(device->handle, buffer->handle, &requirements);
    uint32_t type = choose_memory_type(device, requirements.memoryTypeBits, use);
    if (type == NO_MEMORY_TYPE)
        return rn_fail(device->host, RETNET_ERROR_VULKAN, "%s: the device has no fitting memory type", what);
    VkMemoryPriorityAllocateInfoEXT priority = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_PRIORITY_ALLOCATE_INFO_EXT,
        .priority = device->priority,
    };
    const void *chain = device->memory_priority && use == RN_MEMORY_DEVICE ? &priority : NULL;
    VkMemoryAllocateFlagsInfo addressed = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .pNext = chain,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = device->addresses ? &addressed : chain,
        .allocationSize = requirements.size,
        .memoryTypeIndex = type,
    };
    VkResult result = device->vk.vkAllocateMemory(device->handle, &info, device->allocator, &buffer->memory);
    if (result != VK_SUCCESS) {
        char text[160];
        buffer->memory = VK_NULL_HANDLE;
        snprintf(text, sizeof text, "%s: allocating %llu bytes", what, (unsigned long long)requirements.size);
        return rn_device_fail(device, result, text);
    }
    result = device->vk.vkBindBufferMemory(device->handle, buffer->handle, buffer->memory, 0);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, what);
    buffer->address = find_address(device, buffer->handle);
    const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    bool visible = (device->memory.memoryTypes[type].propertyFlags & host) == host;
    if (use == RN_MEMORY_DEVICE && !device->caps.unified_memory) visible = false;
    if (!visible) return RETNET_OK;
    result = device->vk.vkMapMemory(device->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped);
    return result == VK_SUCCESS ? RETNET_OK : rn_device_fail(device, result, what);
}

retnet_result rn_buffer_create(rn_device *device, VkDeviceSize size, rn_memory_use use, const char *what,
                               rn_buffer *buffer)
{
    *buffer = (rn_buffer){.size = size};
    retnet_result ours = rn_device_check(device);
    if (ours != RETNET_OK) return ours;
    if (size > device->caps.max_allocation)
        return rn_fail(device->host, RETNET_ERROR_LIMIT,
                       "%s: %llu bytes, but the device allocates at most %llu at once", what, (unsigned long long)size,
                       (unsigned long long)device->caps.max_allocation);
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT |
                 VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | (device->addresses ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0),
    };
    VkResult result = device->vk.vkCreateBuffer(device->handle, &info, device->allocator, &buffer->handle);
    if (result != VK_SUCCESS) {
        buffer->handle = VK_NULL_HANDLE;
        return rn_device_fail(device, result, what);
    }
    rn_device_name(device, VK_OBJECT_TYPE_BUFFER, (uint64_t)buffer->handle, what);
    ours = allocate_and_bind(device, use, what, buffer);
    if (ours != RETNET_OK) rn_buffer_destroy(device, buffer);
    return ours;
}

void rn_buffer_destroy(rn_device *device, rn_buffer *buffer)
{
    if (buffer->handle) device->vk.vkDestroyBuffer(device->handle, buffer->handle, device->allocator);
    if (buffer->memory) device->vk.vkFreeMemory(device->handle, buffer->memory, device->allocator);
    memset(buffer, 0, sizeof *buffer);
}
