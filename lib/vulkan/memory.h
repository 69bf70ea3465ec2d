/* memory.h: whether something will fit, before any of it is allocated. */
#ifndef RETNET_VULKAN_MEMORY_H
#define RETNET_VULKAN_MEMORY_H

#include "vulkan/buffer.h"

/* Fails with OUT_OF_DEVICE_MEMORY if bytes[use] for each use do not fit together into what the system leaves this
 * process of each heap (VK_EXT_memory_budget), or into the heap where the driver does not say. `what` is the thing's
 * name in the message, which also names need and budget. */
retnet_result rn_memory_check(rn_device *device, const uint64_t bytes[RN_MEMORY_USES], const char *what);

#endif
