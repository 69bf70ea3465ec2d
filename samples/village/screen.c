/* screen.c: see screen.h. */
#include "screen.h"

#include "report.h"

enum { MAX_FORMATS = 64 };

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Eight bits a channel as they are: the art's colours are those of a screen. */
static bool choose_format(screen *screen, VkSurfaceFormatKHR *format)
{
    VkSurfaceFormatKHR formats[MAX_FORMATS];
    uint32_t count = MAX_FORMATS;
    VkResult result = vkGetPhysicalDeviceSurfaceFormatsKHR(screen->gpu->physical, screen->surface, &count, formats);
    if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || count == 0) return report("the window has no format");
    *format = formats[0];
    for (uint32_t i = 0; i < count; i++)
        if (formats[i].format == VK_FORMAT_B8G8R8A8_UNORM || formats[i].format == VK_FORMAT_R8G8B8A8_UNORM) {
            *format = formats[i];
            break;
        }
    return true;
}

static bool create_swapchain(screen *screen, VkExtent2D extent)
{
    VkSurfaceCapabilitiesKHR can;
    VkSurfaceFormatKHR format = {0};
    VkSwapchainKHR old = screen->swapchain;
    if (vkGetPhysicalDeviceSurfaceCapabilitiesKHR(screen->gpu->physical, screen->surface, &can) != VK_SUCCESS)
        return report("the window is gone");
    if (can.currentExtent.width != UINT32_MAX) extent = can.currentExtent;
    screen->extent.width = clamp(extent.width, can.minImageExtent.width, can.maxImageExtent.width);
    screen->extent.height = clamp(extent.height, can.minImageExtent.height, can.maxImageExtent.height);
    screen->swapchain = VK_NULL_HANDLE;
    screen->count = 0;
    if (screen->extent.width == 0 || screen->extent.height == 0) {
        vkDestroySwapchainKHR(screen->gpu->device, old, NULL);
        return true;
    }
    if (!(can.supportedUsageFlags & VK_IMAGE_USAGE_TRANSFER_DST_BIT)) return report("the window takes no copies");
    if (!choose_format(screen, &format)) return false;
    uint32_t images = can.minImageCount + 1;
    if (can.maxImageCount && images > can.maxImageCount) images = can.maxImageCount;
    VkCompositeAlphaFlagBitsKHR opaque = can.supportedCompositeAlpha & VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR
                                             ? VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR
                                             : VK_COMPOSITE_ALPHA_INHERIT_BIT_KHR;
    VkSwapchainCreateInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_SWAPCHAIN_CREATE_INFO_KHR,
        .surface = screen->surface,
        .minImageCount = images,
        .imageFormat = format.format,
        .imageColorSpace = format.colorSpace,
        .imageExtent = screen->extent,
        .imageArrayLayers = 1,
        .imageUsage = VK_IMAGE_USAGE_TRANSFER_DST_BIT,
        .preTransform = can.currentTransform,
        .compositeAlpha = opaque,
        .presentMode = VK_PRESENT_MODE_FIFO_KHR,
        .clipped = VK_TRUE,
        .oldSwapchain = old,
    };
    VkResult result = vkCreateSwapchainKHR(screen->gpu->device, &info, NULL, &screen->swapchain);
    vkDestroySwapchainKHR(screen->gpu->device, old, NULL);
    if (result != VK_SUCCESS) return report("the window gives no swapchain");
    screen->count = SCREEN_IMAGES;
    if (vkGetSwapchainImagesKHR(screen->gpu->device, screen->swapchain, &screen->count, screen->images) == VK_SUCCESS)
        return true;
    return report("the window has more than %d images", SCREEN_IMAGES);
}

static void destroy_semaphores(screen *screen)
{
    for (uint32_t i = 0; i < SCREEN_IMAGES; i++) {
        vkDestroySemaphore(screen->gpu->device, screen->drawn[i], NULL);
        screen->drawn[i] = VK_NULL_HANDLE;
    }
}

static bool create_semaphores(screen *screen)
{
    VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    for (uint32_t i = 0; i < SCREEN_IMAGES; i++)
        if (vkCreateSemaphore(screen->gpu->device, &info, NULL, &screen->drawn[i]) != VK_SUCCESS)
            return report("no semaphore can be made");
    return true;
}

bool screen_create(screen *screen, gpu *gpu, VkSurfaceKHR surface, VkExtent2D extent)
{
    *screen = (struct screen){.gpu = gpu, .surface = surface};
    return create_semaphores(screen) && create_swapchain(screen, extent);
}

void screen_destroy(screen *screen)
{
    if (!screen->surface) return;
    if (screen->gpu->device) {
        vkDestroySwapchainKHR(screen->gpu->device, screen->swapchain, NULL);
        destroy_semaphores(screen);
    }
    vkDestroySurfaceKHR(screen->gpu->instance, screen->surface, NULL);
    *screen = (struct screen){0};
}

/* The semaphores are made anew with the images: presenting may still have waited on the old ones. */
bool screen_resize(screen *screen, VkExtent2D extent)
{
    vkDeviceWaitIdle(screen->gpu->device);
    destroy_semaphores(screen);
    return create_semaphores(screen) && create_swapchain(screen, extent);
}

bool screen_acquire(screen *screen, VkSemaphore ready, uint32_t *image, bool *stale)
{
    if (!screen->swapchain) {
        *stale = true;
        return false;
    }
    VkResult result =
        vkAcquireNextImageKHR(screen->gpu->device, screen->swapchain, UINT64_MAX, ready, VK_NULL_HANDLE, image);
    *stale = result != VK_SUCCESS;
    return result == VK_SUCCESS || result == VK_SUBOPTIMAL_KHR;
}

bool screen_present(screen *screen, uint32_t image, bool *stale)
{
    VkPresentInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PRESENT_INFO_KHR,
        .waitSemaphoreCount = 1,
        .pWaitSemaphores = &screen->drawn[image],
        .swapchainCount = 1,
        .pSwapchains = &screen->swapchain,
        .pImageIndices = &image,
    };
    VkResult result = vkQueuePresentKHR(screen->gpu->queue, &info);
    *stale |= result != VK_SUCCESS;
    return result >= 0 || result == VK_ERROR_OUT_OF_DATE_KHR || result == VK_ERROR_SURFACE_LOST_KHR ||
           report("a picture cannot be shown");
}
