/* gpu.h: the one Vulkan device of the game: the renderer draws with it, and it is lent to the language model. */
#ifndef VILLAGE_GPU_H
#define VILLAGE_GPU_H

#include <volk.h>

#include <retnet/vulkan.h>

typedef struct gpu {
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    unsigned messages; /* of the validation layers */
    VkPhysicalDevice physical;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    VkDevice device;
    uint32_t family; /* draws and presents */
    VkQueue queue;
    retnet_vulkan_device lent; /* what the library gets: the device with a queue that is not ours, if there is one */
    retnet_vulkan_additions additions;
} gpu;

typedef struct gpu_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    void *mapped;
} gpu_buffer;

typedef struct gpu_image {
    VkImage image;
    VkDeviceMemory memory;
    VkImageView view;
} gpu_image;

/* Two steps, since a window's surface comes between them. Both report what is wrong; gpu_destroy after either. */
bool gpu_create_instance(gpu *gpu, const char *const *extensions, uint32_t count, bool validate);
/* `surface` may be VK_NULL_HANDLE; `name` is part of a device's name, NULL: any. */
bool gpu_create_device(gpu *gpu, VkSurfaceKHR surface, const char *name);
void gpu_destroy(gpu *gpu);

bool gpu_create_buffer(gpu *gpu, VkDeviceSize size, VkBufferUsageFlags usage, gpu_buffer *out); /* host-visible */
void gpu_destroy_buffer(gpu *gpu, gpu_buffer *buffer);
bool gpu_create_image(gpu *gpu, VkExtent2D extent, VkFormat format, VkImageUsageFlags usage, gpu_image *out);
void gpu_destroy_image(gpu *gpu, gpu_image *image);

/* Bytes of the device's memory that this process uses now; 0 where the driver does not say. */
uint64_t gpu_memory_used(const gpu *gpu);

/* A whole image from one layout to another. */
void gpu_barrier(VkCommandBuffer commands, VkImage image, VkImageLayout from, VkImageLayout to,
                 VkPipelineStageFlags before, VkAccessFlags wrote, VkPipelineStageFlags after, VkAccessFlags reads);

#endif
