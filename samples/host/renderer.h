/* renderer.h: a program that draws with Vulkan, as there are many: it owns instance, device and queue, and draws an
 * animated picture into an image of its own. What it does for retnet is in renderer_create (a device with what the
 * library recommends) and renderer_lock_queue. */
#ifndef HOST_RENDERER_H
#define HOST_RENDERER_H

#include <retnet/vulkan.h>

#include <pthread.h>

enum { FRAMES_AHEAD = 2, PICTURE_WIDTH = 1280, PICTURE_HEIGHT = 720 };

/* What is needed once for every frame that the device may still be working on. */
typedef struct frame {
    VkCommandPool pool;
    VkCommandBuffer drawing, others; /* the picture; what comes after it */
    VkFence fence;
    bool submitted;
    uint64_t slice; /* the library's newest one in `others`; 0: none */
} frame;

/* Device time in nanoseconds, by the device's clock. */
typedef struct frame_times {
    uint64_t begin, end; /* of drawing */
} frame_times;

typedef struct renderer {
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    VkQueue second_queue; /* for retnet alone, if one was wanted and there is one; else null */
    uint32_t second_family, second_index;
    pthread_mutex_t queue_lock; /* of `queue` */
    float timestamp_period;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];

    VkImage image;
    VkDeviceMemory image_memory;
    VkImageView view;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkQueryPool queries;
    frame frames[FRAMES_AHEAD];

    retnet_vulkan_device for_retnet; /* how the library may use all this */
    retnet_vulkan_additions additions;
} renderer;

/* `device` is a part of a name, or NULL; `second_queue` asks for a queue beside the one for drawing. Prints what fails.
 */
bool renderer_create(renderer *r, const char *device, bool second_queue);
void renderer_destroy(renderer *r); /* waits for the device; accepts what renderer_create failed with */

/* Waits until this frame's former use is done, and gives its times, zeros if it had none. */
bool renderer_wait(renderer *r, frame *f, frame_times *times);
/* Records the picture number `number`, then begins `others`, which is the caller's to fill. */
bool renderer_draw(renderer *r, frame *f, uint32_t number, uint32_t load);
/* Submits both. */
bool renderer_submit(renderer *r, frame *f);
/* Reads the newest picture: PICTURE_WIDTH * PICTURE_HEIGHT * 4 bytes, RGBA, to be freed; NULL if that fails. */
uint8_t *renderer_read_picture(renderer *r);

#endif
