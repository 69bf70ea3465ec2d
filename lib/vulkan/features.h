/* features.h: the optional extensions and features that the library makes use of: which a device has, enabling them
 * in a VkDeviceCreateInfo, and finding out what of them is enabled. */
#ifndef RETNET_VULKAN_FEATURES_H
#define RETNET_VULKAN_FEATURES_H

#include "vulkan/compatibility.h"
#include "vulkan/device.h"

/* Whether a device of our own is to be created with matrix units: not if the context was told to pretend them away, nor
 * under validation layers that would take their kernels for malformed. */
bool rn_features_want_matrices(const rn_device *device, const retnet_context_desc *desc);

/* The extensions that a physical device has; the list is to be freed, NULL on failure. Says nothing in the log. */
VkResult rn_list_extensions(rn_host *host, const rn_instance_table *fn, VkPhysicalDevice physical,
                            VkExtensionProperties **list, uint32_t *count);

/* retnet_vulkan_recommend, for a version that the instance and the physical device both have. */
retnet_result rn_features_recommend(rn_host *host, const rn_instance_table *fn, VkPhysicalDevice physical,
                                    uint32_t version, bool matrices, VkDeviceCreateInfo *info,
                                    retnet_vulkan_additions *additions);

/* Lets `queue` be made with the lowest global priority, where the device knows of such: adds the extension that it has,
 * for which there is room, and chains `low`. */
retnet_result rn_features_lower_priority(rn_host *host, const rn_instance_table *fn, VkPhysicalDevice physical,
                                         VkDeviceCreateInfo *info, retnet_vulkan_additions *additions,
                                         VkDeviceQueueCreateInfo *queue, VkDeviceQueueGlobalPriorityCreateInfoKHR *low);

/* Finds what the library can use of the enabled extensions and features, less what the context was told to pretend
 * away, and records it in `device`, whose capabilities have been read. */
void rn_features_use(rn_device *device, const retnet_context_desc *desc, const char *const *extensions,
                     uint32_t extension_count, const void *features);

#endif
