/* screen.h: the images of a window that finished pictures are copied to. */
#ifndef VILLAGE_SCREEN_H
#define VILLAGE_SCREEN_H

#include "gpu.h"

enum { SCREEN_IMAGES = 8 };

typedef struct screen {
    gpu *gpu;
    VkSurfaceKHR surface;
    VkSwapchainKHR swapchain; /* VK_NULL_HANDLE while the window has no area */
    VkExtent2D extent;
    uint32_t count;
    VkImage images[SCREEN_IMAGES];
    VkSemaphore drawn[SCREEN_IMAGES]; /* one an image: free again when the image is acquired again */
} screen;

/* The surface becomes the screen's. `extent` is the window's size in pixels, for surfaces that leave it to us. */
bool screen_create(screen *screen, gpu *gpu, VkSurfaceKHR surface, VkExtent2D extent);
void screen_destroy(screen *screen);
/* After the window changed. Nothing may be drawing. */
bool screen_resize(screen *screen, VkExtent2D extent);

/* The next image; false if there is none now (too small a window, or it changed: *stale). */
bool screen_acquire(screen *screen, VkSemaphore ready, uint32_t *image, bool *stale);
/* Shows an image; false only if the device is lost. */
bool screen_present(screen *screen, uint32_t image, bool *stale);

#endif
