/* features.h: the optional extensions and features that a device of our own is created with. */
#ifndef RETNET_VULKAN_FEATURES_H
#define RETNET_VULKAN_FEATURES_H

#include "vulkan/compatibility.h"
#include "vulkan/device.h"

typedef struct rn_features {
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
    VkPhysicalDeviceShaderFloat16Int8Features float16;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
    const char *extensions[1];
    uint32_t extension_count;
    void *next; /* for VkDeviceCreateInfo; points into this struct */
} rn_features;

/* Finds what the device has, less what the context was told to pretend away, and records it in device->caps, which
 * holds everything else already. */
void rn_features_find(rn_device *device, const retnet_context_desc *desc, rn_features *features);

#endif
