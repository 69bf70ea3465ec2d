/* processors.h: how many processors a device has, each of which runs workgroups of its own. */
#ifndef RETNET_VULKAN_PROCESSORS_H
#define RETNET_VULKAN_PROCESSORS_H

#include "vulkan/device.h"

VkResult rn_device_count_processors(const rn_device *device, uint32_t *processors); /* 0: not known */

#endif
