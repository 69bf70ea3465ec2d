/* gpu.c: see gpu.h. */
#define VOLK_IMPLEMENTATION
#include "gpu.h"

#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_DEVICES = 16, MAX_FAMILIES = 32, MAX_NAMES = 16 };

static const char *const validation_layer = "VK_LAYER_KHRONOS_validation";

/* ---- Instance --------------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity, (void)types;
    ((gpu *)user)->messages++;
    report("validation: %s", data->pMessage);
    return VK_FALSE;
}

static bool has_layer(const char *name)
{
    VkLayerProperties layers[64];
    uint32_t count = 64;
    VkResult result = vkEnumerateInstanceLayerProperties(&count, layers);
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < count; i++)
        if (strcmp(layers[i].layerName, name) == 0) return true;
    return false;
}

bool gpu_create_instance(gpu *gpu, const char *const *extensions, uint32_t count, bool validate)
{
    *gpu = (struct gpu){0};
    if (volkInitialize() != VK_SUCCESS) return report("there is no Vulkan loader on this machine");
    if (validate && !has_layer(validation_layer)) return report("%s is not installed", validation_layer);
    if (count >= MAX_NAMES) return report("the window asks for %u instance extensions", (unsigned)count);
    const char *names[MAX_NAMES];
    for (uint32_t i = 0; i < count; i++) names[i] = extensions[i];
    if (validate) names[count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;

    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = gpu,
    };
    VkValidationFeatureEnableEXT enable = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    VkValidationFeaturesEXT validation = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = &enable,
    };
    uint32_t version = volkGetInstanceVersion();
    if (version > RETNET_VULKAN_RECOMMENDED_VERSION) version = RETNET_VULKAN_RECOMMENDED_VERSION;
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "village", .apiVersion = version};
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validate ? &validation : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validate,
        .ppEnabledLayerNames = &validation_layer,
        .enabledExtensionCount = count,
        .ppEnabledExtensionNames = names,
    };
    if (vkCreateInstance(&info, NULL, &gpu->instance) != VK_SUCCESS) return report("no Vulkan instance can be made");
    volkLoadInstance(gpu->instance);
    gpu->lent.instance = gpu->instance;
    gpu->lent.get_instance_proc_addr = vkGetInstanceProcAddr;
    gpu->lent.api_version = version;
    if (validate && vkCreateDebugUtilsMessengerEXT(gpu->instance, &messenger, NULL, &gpu->messenger) != VK_SUCCESS)
        return report("the validation layer takes no messenger");
    return true;
}

/* ---- Device ----------------------------------------------------------------------------------------------------- */

static bool can_present(VkPhysicalDevice physical, uint32_t family, VkSurfaceKHR surface)
{
    VkBool32 supported = VK_TRUE;
    return !surface ||
           (vkGetPhysicalDeviceSurfaceSupportKHR(physical, family, surface, &supported) == VK_SUCCESS && supported);
}

/* A family that draws, computes and presents. */
static bool find_family(VkPhysicalDevice physical, VkSurfaceKHR surface, uint32_t *family)
{
    const VkQueueFlags wanted = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t count = MAX_FAMILIES;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    for (*family = 0; *family < count; ++*family)
        if ((families[*family].queueFlags & wanted) == wanted && can_present(physical, *family, surface)) return true;
    return false;
}

/* For the model: a family without graphics, which leaves rendering alone best; else a second queue of ours, else ours.
 */
static void choose_model_queue(gpu *gpu)
{
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t count = MAX_FAMILIES;
    vkGetPhysicalDeviceQueueFamilyProperties(gpu->physical, &count, families);
    gpu->lent.queue_family = gpu->family;
    gpu->lent.queue_index = families[gpu->family].queueCount > 1;
    for (uint32_t i = 0; i < count; i++)
        if ((families[i].queueFlags & (VK_QUEUE_COMPUTE_BIT | VK_QUEUE_GRAPHICS_BIT)) == VK_QUEUE_COMPUTE_BIT) {
            gpu->lent.queue_family = i;
            gpu->lent.queue_index = 0;
            return;
        }
}

static bool contains(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; *text; text++)
        if (strncasecmp(text, part, length) == 0) return true;
    return length == 0;
}

/* The first of discrete, integrated, virtual, CPU that fits. */
static bool choose_physical(gpu *gpu, VkSurfaceKHR surface, const char *name)
{
    static const int rank[] = {[VK_PHYSICAL_DEVICE_TYPE_OTHER] = 1,
                               [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = 4,
                               [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = 5,
                               [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = 3,
                               [VK_PHYSICAL_DEVICE_TYPE_CPU] = 2};
    VkPhysicalDevice devices[MAX_DEVICES];
    uint32_t count = MAX_DEVICES, family;
    VkResult result = vkEnumeratePhysicalDevices(gpu->instance, &count, devices);
    int best = 0;
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < count; i++) {
        VkPhysicalDeviceProperties properties;
        vkGetPhysicalDeviceProperties(devices[i], &properties);
        if (properties.apiVersion < VK_API_VERSION_1_1 || (name && !contains(properties.deviceName, name))) continue;
        if (!find_family(devices[i], surface, &family) || rank[properties.deviceType] <= best) continue;
        best = rank[properties.deviceType];
        gpu->physical = devices[i];
        gpu->properties = properties;
        gpu->family = family;
    }
    if (best) return true;
    return report("no Vulkan 1.1 device can draw%s%s%s", surface ? " to this window" : "",
                  name ? " and is called " : "", name ? name : "");
}

bool gpu_create_device(gpu *gpu, VkSurfaceKHR surface, const char *name)
{
    if (!choose_physical(gpu, surface, name)) return false;
    vkGetPhysicalDeviceMemoryProperties(gpu->physical, &gpu->memory);
    choose_model_queue(gpu);
    const float priorities[2] = {1, 0.5f}; /* the picture comes first */
    bool second_family = gpu->lent.queue_family != gpu->family;
    VkDeviceQueueCreateInfo queues[2] = {
        {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
         .queueFamilyIndex = gpu->family,
         .queueCount = second_family ? 1 : gpu->lent.queue_index + 1,
         .pQueuePriorities = priorities},
        {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
         .queueFamilyIndex = gpu->lent.queue_family,
         .queueCount = 1,
         .pQueuePriorities = priorities + 1},
    };
    static const char *const swapchain = VK_KHR_SWAPCHAIN_EXTENSION_NAME;
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = second_family ? 2 : 1,
        .pQueueCreateInfos = queues,
        .enabledExtensionCount = surface != VK_NULL_HANDLE,
        .ppEnabledExtensionNames = &swapchain,
    };
    gpu->lent.physical_device = gpu->physical;
    if (retnet_vulkan_recommend(&gpu->lent, &info, &gpu->additions) != RETNET_OK)
        return report("%s cannot be asked for its features", gpu->properties.deviceName);
    if (vkCreateDevice(gpu->physical, &info, NULL, &gpu->device) != VK_SUCCESS)
        return report("%s gives no device", gpu->properties.deviceName);
    volkLoadDevice(gpu->device);
    gpu->lent.device = gpu->device;
    vkGetDeviceQueue(gpu->device, gpu->family, 0, &gpu->queue);
    return true;
}

void gpu_destroy(gpu *gpu)
{
    if (gpu->device) vkDestroyDevice(gpu->device, NULL);
    if (gpu->messenger) vkDestroyDebugUtilsMessengerEXT(gpu->instance, gpu->messenger, NULL);
    if (gpu->instance) vkDestroyInstance(gpu->instance, NULL);
    gpu->device = VK_NULL_HANDLE;
    gpu->messenger = VK_NULL_HANDLE;
    gpu->instance = VK_NULL_HANDLE;
}

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

static bool allocate(gpu *gpu, const VkMemoryRequirements *needs, VkMemoryPropertyFlags wanted, VkDeviceMemory *memory)
{
    for (uint32_t i = 0; i < gpu->memory.memoryTypeCount; i++) {
        if (!(needs->memoryTypeBits >> i & 1)) continue;
        if ((gpu->memory.memoryTypes[i].propertyFlags & wanted) != wanted) continue;
        VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs->size, .memoryTypeIndex = i};
        if (vkAllocateMemory(gpu->device, &info, NULL, memory) == VK_SUCCESS) return true;
    }
    return report("no device memory for %llu bytes of the renderer", (unsigned long long)needs->size);
}

bool gpu_create_buffer(gpu *gpu, VkDeviceSize size, VkBufferUsageFlags usage, gpu_buffer *out)
{
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = size, .usage = usage};
    VkMemoryRequirements needs;
    *out = (gpu_buffer){0};
    if (vkCreateBuffer(gpu->device, &info, NULL, &out->buffer) != VK_SUCCESS) return report("no buffer can be made");
    vkGetBufferMemoryRequirements(gpu->device, out->buffer, &needs);
    if (!allocate(gpu, &needs, wanted, &out->memory)) return false;
    if (vkBindBufferMemory(gpu->device, out->buffer, out->memory, 0) == VK_SUCCESS &&
        vkMapMemory(gpu->device, out->memory, 0, VK_WHOLE_SIZE, 0, &out->mapped) == VK_SUCCESS)
        return true;
    return report("a buffer cannot be mapped");
}

void gpu_destroy_buffer(gpu *gpu, gpu_buffer *buffer)
{
    vkDestroyBuffer(gpu->device, buffer->buffer, NULL);
    vkFreeMemory(gpu->device, buffer->memory, NULL);
    *buffer = (gpu_buffer){0};
}

bool gpu_create_image(gpu *gpu, VkExtent2D extent, VkFormat format, VkImageUsageFlags usage, gpu_image *out)
{
    VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = format,
        .extent = {extent.width, extent.height, 1},
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .usage = usage,
    };
    VkMemoryRequirements needs;
    *out = (gpu_image){0};
    if (vkCreateImage(gpu->device, &info, NULL, &out->image) != VK_SUCCESS) return report("no image can be made");
    vkGetImageMemoryRequirements(gpu->device, out->image, &needs);
    if (!allocate(gpu, &needs, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, &out->memory)) return false;
    VkImageViewCreateInfo view = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
        .image = out->image,
        .viewType = VK_IMAGE_VIEW_TYPE_2D,
        .format = format,
        .subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1},
    };
    if (vkBindImageMemory(gpu->device, out->image, out->memory, 0) == VK_SUCCESS &&
        vkCreateImageView(gpu->device, &view, NULL, &out->view) == VK_SUCCESS)
        return true;
    return report("an image cannot be bound");
}

void gpu_destroy_image(gpu *gpu, gpu_image *image)
{
    vkDestroyImageView(gpu->device, image->view, NULL);
    vkDestroyImage(gpu->device, image->image, NULL);
    vkFreeMemory(gpu->device, image->memory, NULL);
    *image = (gpu_image){0};
}

uint64_t gpu_memory_used(const gpu *gpu)
{
    bool has_budget = false;
    for (uint32_t i = 0; i < gpu->lent.extension_count; i++)
        has_budget |= strcmp(gpu->lent.extensions[i], VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) == 0;
    if (!has_budget) return 0;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                                .pNext = &budget};
    vkGetPhysicalDeviceMemoryProperties2(gpu->physical, &memory);
    uint64_t used = 0;
    for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) used += budget.heapUsage[i];
    return used;
}

void gpu_barrier(VkCommandBuffer commands, VkImage image, VkImageLayout from, VkImageLayout to,
                 VkPipelineStageFlags before, VkAccessFlags wrote, VkPipelineStageFlags after, VkAccessFlags reads)
{
    VkImageMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER,
        .srcAccessMask = wrote,
        .dstAccessMask = reads,
        .oldLayout = from,
        .newLayout = to,
        .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .image = image,
        .subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1},
    };
    vkCmdPipelineBarrier(commands, before, after, 0, 0, NULL, 0, NULL, 1, &barrier);
}
