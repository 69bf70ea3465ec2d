#include "vulkan/memory.h"

static void read_room(const rn_device *device, uint64_t room[VK_MAX_MEMORY_HEAPS])
{
    for (uint32_t i = 0; i < device->memory.memoryHeapCount; i++) room[i] = device->memory.memoryHeaps[i].size;
    if (!device->memory_budget) return;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                                    .pNext = &budget};
    device->fn.GetPhysicalDeviceMemoryProperties2(device->physical, &properties);
    for (uint32_t i = 0; i < device->memory.memoryHeapCount; i++) {
        uint64_t most = budget.heapBudget[i], used = budget.heapUsage[i];
        /* 0: a driver that knows nothing of this heap. */
        if (most) room[i] = used < most ? most - used : 0;
    }
}

retnet_result rn_memory_check(rn_device *device, const uint64_t bytes[RN_MEMORY_USES], const char *what)
{
    uint64_t room[VK_MAX_MEMORY_HEAPS] = {0}, need[VK_MAX_MEMORY_HEAPS] = {0};
    read_room(device, room);
    for (uint32_t use = 0; use < RN_MEMORY_USES; use++) {
        uint32_t heap = rn_memory_heap(device, (rn_memory_use)use);
        if (heap == UINT32_MAX) continue; /* the allocation will say so */
        if (!rn_add_u64(need[heap], bytes[use], &need[heap])) need[heap] = UINT64_MAX;
    }
    for (uint32_t i = 0; i < device->memory.memoryHeapCount; i++) {
        bool local = device->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
        if (need[i] > room[i])
            return rn_fail(device->host, RETNET_ERROR_OUT_OF_DEVICE_MEMORY,
                           "%s needs %llu bytes of %s memory, but %s leaves %llu", what, (unsigned long long)need[i],
                           local ? "device" : "host-visible", device->memory_budget ? "the budget" : device->name,
                           (unsigned long long)room[i]);
    }
    return RETNET_OK;
}
