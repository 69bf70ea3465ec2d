/* buffer.h: device memory. Few large buffers, each with an allocation of its own; callers place things inside. */
#ifndef RETNET_VULKAN_BUFFER_H
#define RETNET_VULKAN_BUFFER_H

#include "vulkan/device.h"

typedef enum rn_memory_use {
    RN_MEMORY_DEVICE,   /* device-local; mapped too where memory is unified */
    RN_MEMORY_UPLOAD,   /* host writes, device reads: mapped, coherent */
    RN_MEMORY_READBACK, /* device writes, host reads: mapped, coherent, cached where there is such memory */
    RN_MEMORY_USES      /* how many there are */
} rn_memory_use;

typedef struct rn_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceSize size;
    void *mapped;            /* NULL: not host-visible */
    VkDeviceAddress address; /* 0: device->addresses is not set, or it is foreign */
    bool foreign; /* the host's: of a size that is not known, and perhaps not to be read as texels or uniforms */
} rn_buffer;

/* The heap that memory of this use comes from, or UINT32_MAX. */
uint32_t rn_memory_heap(const rn_device *device, rn_memory_use use);

/* `what` names the buffer in messages and in debuggers. The content is undefined. */
retnet_result rn_buffer_create(rn_device *device, VkDeviceSize size, rn_memory_use use, const char *what,
                               rn_buffer *buffer);
void rn_buffer_destroy(rn_device *device, rn_buffer *buffer); /* accepts a zeroed buffer */

#endif
