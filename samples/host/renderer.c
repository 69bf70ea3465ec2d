/* renderer.c: see renderer.h. */
#include "renderer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t vertex_code[] = {
#include "picture.vert.inc"
};
static const uint32_t fragment_code[] = {
#include "picture.frag.inc"
};

typedef struct push_constants {
    float time;
    uint32_t load;
} push_constants;

static bool ok(VkResult result, const char *what)
{
    if (result != VK_SUCCESS) fprintf(stderr, "host: %s failed (%d)\n", what, (int)result);
    return result == VK_SUCCESS;
}

/* ---- Instance and device ---------------------------------------------------------------------------------------- */

static bool create_instance(renderer *r)
{
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "host", .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    return ok(vkCreateInstance(&info, NULL, &r->instance), "vkCreateInstance");
}

static bool choose_device(renderer *r, const char *wanted)
{
    VkPhysicalDevice devices[16];
    uint32_t count = 16;
    VkResult result = vkEnumeratePhysicalDevices(r->instance, &count, devices);
    if (result != VK_INCOMPLETE && !ok(result, "vkEnumeratePhysicalDevices")) return false;
    for (uint32_t i = 0; i < count && !r->physical_device; i++) {
        VkPhysicalDeviceProperties properties;
        vkGetPhysicalDeviceProperties(devices[i], &properties);
        if (wanted && !strstr(properties.deviceName, wanted)) continue;
        r->physical_device = devices[i];
        r->timestamp_period = properties.limits.timestampPeriod;
        snprintf(r->name, sizeof r->name, "%s", properties.deviceName);
    }
    if (!r->physical_device)
        fprintf(stderr, "host: no Vulkan device%s%s\n", wanted ? " named " : "", wanted ? wanted : "");
    return r->physical_device;
}

/* One queue that draws, and if wanted a second that computes: of a family without graphics, or else of the same. */
static bool choose_queues(renderer *r, bool second, bool *has_second)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(r->physical_device, &count, families);
    const VkQueueFlags both = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
    r->queue_family = UINT32_MAX;
    *has_second = false;
    for (uint32_t i = 0; i < count && r->queue_family == UINT32_MAX; i++)
        if ((families[i].queueFlags & both) == both && families[i].timestampValidBits) r->queue_family = i;
    if (r->queue_family == UINT32_MAX) {
        fprintf(stderr, "host: %s has no queue that draws, computes and takes timestamps\n", r->name);
        return false;
    }
    for (uint32_t i = 0; second && i < count && !*has_second; i++) {
        if ((families[i].queueFlags & both) != VK_QUEUE_COMPUTE_BIT) continue;
        r->second_family = i;
        *has_second = true;
    }
    if (second && !*has_second && families[r->queue_family].queueCount > 1) {
        r->second_family = r->queue_family;
        r->second_index = 1;
        *has_second = true;
    }
    if (second && !*has_second) fprintf(stderr, "host: %s has no second queue; sharing the first\n", r->name);
    return true;
}

static void lock_queue(void *user)
{
    pthread_mutex_lock(&((renderer *)user)->queue_lock);
}
static void unlock_queue(void *user)
{
    pthread_mutex_unlock(&((renderer *)user)->queue_lock);
}

/* The device that the program would make anyway, with what retnet_vulkan_recommend adds to it. */
static bool create_device(renderer *r, bool second)
{
    bool has_second;
    if (!choose_queues(r, second, &has_second)) return false;
    const float priorities[] = {1.0f, 0.0f}; /* the picture first */
    VkDeviceQueueCreateInfo queues[] = {
        {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
         .queueFamilyIndex = r->queue_family,
         .queueCount = has_second && r->second_family == r->queue_family ? 2 : 1,
         .pQueuePriorities = priorities},
        {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
         .queueFamilyIndex = r->second_family,
         .queueCount = 1,
         .pQueuePriorities = priorities + 1},
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = has_second && r->second_family != r->queue_family ? 2 : 1,
        .pQueueCreateInfos = queues,
    };
    r->for_retnet = (retnet_vulkan_device){
        .instance = r->instance,
        .physical_device = r->physical_device,
        .get_instance_proc_addr = vkGetInstanceProcAddr,
        .queue_family = has_second ? r->second_family : r->queue_family,
        .queue_index = has_second ? r->second_index : 0,
        .lock_queue = has_second ? NULL : lock_queue, /* a queue of its own needs no lock */
        .unlock_queue = has_second ? NULL : unlock_queue,
        .queue_user = r,
        .api_version = VK_API_VERSION_1_3,
    };
    retnet_result added = retnet_vulkan_recommend(&r->for_retnet, &info, &r->additions);
    if (added) fprintf(stderr, "host: retnet_vulkan_recommend: %s\n", retnet_result_text(added));
    if (added || !ok(vkCreateDevice(r->physical_device, &info, NULL, &r->device), "vkCreateDevice")) return false;
    r->for_retnet.device = r->device;
    vkGetDeviceQueue(r->device, r->queue_family, 0, &r->queue);
    if (has_second) vkGetDeviceQueue(r->device, r->second_family, r->second_index, &r->second_queue);
    return true;
}

/* ---- What is drawn with ----------------------------------------------------------------------------------------- */

static bool find_memory(const renderer *r, uint32_t types, VkMemoryPropertyFlags wanted, uint32_t *type)
{
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(r->physical_device, &memory);
    for (*type = 0; *type < memory.memoryTypeCount; ++*type)
        if (types >> *type & 1 && (memory.memoryTypes[*type].propertyFlags & wanted) == wanted) return true;
    fprintf(stderr, "host: no memory of the kind wanted\n");
    return false;
}

static bool create_image(renderer *r)
{
    VkImageCreateInfo image = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = {PICTURE_WIDTH, PICTURE_HEIGHT, 1},
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT,
    };
    if (!ok(vkCreateImage(r->device, &image, NULL, &r->image), "vkCreateImage")) return false;
    VkMemoryRequirements needs;
    vkGetImageMemoryRequirements(r->device, r->image, &needs);
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size};
    if (!find_memory(r, needs.memoryTypeBits, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, &allocate.memoryTypeIndex))
        return false;
    if (!ok(vkAllocateMemory(r->device, &allocate, NULL, &r->image_memory), "vkAllocateMemory")) return false;
    if (!ok(vkBindImageMemory(r->device, r->image, r->image_memory, 0), "vkBindImageMemory")) return false;
    VkImageViewCreateInfo view = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
        .image = r->image,
        .viewType = VK_IMAGE_VIEW_TYPE_2D,
        .format = image.format,
        .subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1},
    };
    return ok(vkCreateImageView(r->device, &view, NULL, &r->view), "vkCreateImageView");
}

static bool create_pass(renderer *r)
{
    VkAttachmentDescription colour = {
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .loadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
        .finalLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
    };
    VkAttachmentReference reference = {0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL};
    VkSubpassDescription subpass = {.pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS,
                                    .colorAttachmentCount = 1,
                                    .pColorAttachments = &reference};
    /* After the last frame's drawing and reading, before what reads this one. */
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkSubpassDependency dependencies[] = {
        {VK_SUBPASS_EXTERNAL, 0, stages, VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
         VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, 0},
        {0, VK_SUBPASS_EXTERNAL, VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT, stages,
         VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT, 0},
    };
    VkRenderPassCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &colour,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = 2,
        .pDependencies = dependencies,
    };
    if (!ok(vkCreateRenderPass(r->device, &info, NULL, &r->pass), "vkCreateRenderPass")) return false;
    VkFramebufferCreateInfo framebuffer = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
        .renderPass = r->pass,
        .attachmentCount = 1,
        .pAttachments = &r->view,
        .width = PICTURE_WIDTH,
        .height = PICTURE_HEIGHT,
        .layers = 1,
    };
    return ok(vkCreateFramebuffer(r->device, &framebuffer, NULL, &r->framebuffer), "vkCreateFramebuffer");
}

static VkShaderModule create_module(const renderer *r, const uint32_t *code, size_t bytes)
{
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = bytes, .pCode = code};
    VkShaderModule module = VK_NULL_HANDLE;
    ok(vkCreateShaderModule(r->device, &info, NULL, &module), "vkCreateShaderModule");
    return module;
}

static bool create_graphics_pipeline(renderer *r, VkShaderModule vertex, VkShaderModule fragment)
{
    VkPipelineShaderStageCreateInfo stages[] = {
        {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
         .stage = VK_SHADER_STAGE_VERTEX_BIT,
         .module = vertex,
         .pName = "main"},
        {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
         .stage = VK_SHADER_STAGE_FRAGMENT_BIT,
         .module = fragment,
         .pName = "main"},
    };
    VkPipelineVertexInputStateCreateInfo input = {.sType = VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO};
    VkPipelineInputAssemblyStateCreateInfo assembly = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO,
        .topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST,
    };
    VkViewport viewport = {0, 0, PICTURE_WIDTH, PICTURE_HEIGHT, 0, 1};
    VkRect2D scissor = {{0, 0}, {PICTURE_WIDTH, PICTURE_HEIGHT}};
    VkPipelineViewportStateCreateInfo viewports = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO,
        .viewportCount = 1,
        .pViewports = &viewport,
        .scissorCount = 1,
        .pScissors = &scissor,
    };
    VkPipelineRasterizationStateCreateInfo rasterization = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO, .lineWidth = 1};
    VkPipelineMultisampleStateCreateInfo multisample = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO,
        .rasterizationSamples = VK_SAMPLE_COUNT_1_BIT,
    };
    VkPipelineColorBlendAttachmentState attachment = {.colorWriteMask = 0xf};
    VkPipelineColorBlendStateCreateInfo blend = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &attachment,
    };
    VkGraphicsPipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO,
        .stageCount = 2,
        .pStages = stages,
        .pVertexInputState = &input,
        .pInputAssemblyState = &assembly,
        .pViewportState = &viewports,
        .pRasterizationState = &rasterization,
        .pMultisampleState = &multisample,
        .pColorBlendState = &blend,
        .layout = r->layout,
        .renderPass = r->pass,
    };
    return ok(vkCreateGraphicsPipelines(r->device, VK_NULL_HANDLE, 1, &info, NULL, &r->pipeline),
              "vkCreateGraphicsPipelines");
}

static bool create_pipeline(renderer *r)
{
    VkPushConstantRange range = {VK_SHADER_STAGE_FRAGMENT_BIT, 0, sizeof(push_constants)};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    if (!ok(vkCreatePipelineLayout(r->device, &layout, NULL, &r->layout), "vkCreatePipelineLayout")) return false;
    VkShaderModule vertex = create_module(r, vertex_code, sizeof vertex_code);
    VkShaderModule fragment = create_module(r, fragment_code, sizeof fragment_code);
    bool created = vertex && fragment && create_graphics_pipeline(r, vertex, fragment);
    vkDestroyShaderModule(r->device, vertex, NULL);
    vkDestroyShaderModule(r->device, fragment, NULL);
    return created;
}

static bool create_frame(renderer *r, frame *f)
{
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = r->queue_family};
    if (!ok(vkCreateCommandPool(r->device, &pool, NULL, &f->pool), "vkCreateCommandPool")) return false;
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = f->pool, .commandBufferCount = 2};
    VkCommandBuffer buffers[2];
    if (!ok(vkAllocateCommandBuffers(r->device, &allocate, buffers), "vkAllocateCommandBuffers")) return false;
    f->drawing = buffers[0];
    f->others = buffers[1];
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    return ok(vkCreateFence(r->device, &fence, NULL, &f->fence), "vkCreateFence");
}

static bool create_frames(renderer *r)
{
    VkQueryPoolCreateInfo queries = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = 2 * FRAMES_AHEAD,
    };
    if (!ok(vkCreateQueryPool(r->device, &queries, NULL, &r->queries), "vkCreateQueryPool")) return false;
    for (int i = 0; i < FRAMES_AHEAD; i++)
        if (!create_frame(r, &r->frames[i])) return false;
    return true;
}

bool renderer_create(renderer *r, const char *device, bool second_queue)
{
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->queue_lock, NULL);
    return create_instance(r) && choose_device(r, device) && create_device(r, second_queue) && create_image(r) &&
           create_pass(r) && create_pipeline(r) && create_frames(r);
}

void renderer_destroy(renderer *r)
{
    if (r->device) {
        vkDeviceWaitIdle(r->device);
        for (int i = 0; i < FRAMES_AHEAD; i++) {
            vkDestroyFence(r->device, r->frames[i].fence, NULL);
            vkDestroyCommandPool(r->device, r->frames[i].pool, NULL);
        }
        vkDestroyQueryPool(r->device, r->queries, NULL);
        vkDestroyPipeline(r->device, r->pipeline, NULL);
        vkDestroyPipelineLayout(r->device, r->layout, NULL);
        vkDestroyFramebuffer(r->device, r->framebuffer, NULL);
        vkDestroyRenderPass(r->device, r->pass, NULL);
        vkDestroyImageView(r->device, r->view, NULL);
        vkDestroyImage(r->device, r->image, NULL);
        vkFreeMemory(r->device, r->image_memory, NULL);
        vkDestroyDevice(r->device, NULL);
    }
    if (r->instance) vkDestroyInstance(r->instance, NULL);
    pthread_mutex_destroy(&r->queue_lock);
}

/* ---- Frames ----------------------------------------------------------------------------------------------------- */

bool renderer_wait(renderer *r, frame *f, frame_times *times)
{
    *times = (frame_times){0};
    if (!f->submitted) return true;
    if (!ok(vkWaitForFences(r->device, 1, &f->fence, VK_TRUE, UINT64_MAX), "vkWaitForFences")) return false;
    if (!ok(vkResetFences(r->device, 1, &f->fence), "vkResetFences")) return false;
    f->submitted = false;
    uint64_t ticks[2];
    VkResult result = vkGetQueryPoolResults(r->device, r->queries, 2 * (uint32_t)(f - r->frames), 2, sizeof ticks,
                                            ticks, sizeof *ticks, VK_QUERY_RESULT_64_BIT);
    if (!ok(result, "vkGetQueryPoolResults")) return false;
    *times = (frame_times){(uint64_t)((double)ticks[0] * r->timestamp_period),
                           (uint64_t)((double)ticks[1] * r->timestamp_period)};
    return true;
}

bool renderer_draw(renderer *r, frame *f, uint32_t number, uint32_t load)
{
    uint32_t query = 2 * (uint32_t)(f - r->frames);
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    f->slice = 0;
    if (!ok(vkResetCommandPool(r->device, f->pool, 0), "vkResetCommandPool")) return false;
    if (!ok(vkBeginCommandBuffer(f->drawing, &begin), "vkBeginCommandBuffer")) return false;
    vkCmdResetQueryPool(f->drawing, r->queries, query, 2);
    vkCmdWriteTimestamp(f->drawing, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, r->queries, query);
    VkRenderPassBeginInfo pass = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
        .renderPass = r->pass,
        .framebuffer = r->framebuffer,
        .renderArea = {{0, 0}, {PICTURE_WIDTH, PICTURE_HEIGHT}},
    };
    vkCmdBeginRenderPass(f->drawing, &pass, VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(f->drawing, VK_PIPELINE_BIND_POINT_GRAPHICS, r->pipeline);
    push_constants push = {(float)number / 60, load};
    vkCmdPushConstants(f->drawing, r->layout, VK_SHADER_STAGE_FRAGMENT_BIT, 0, sizeof push, &push);
    vkCmdDraw(f->drawing, 3, 1, 0, 0);
    vkCmdEndRenderPass(f->drawing);
    vkCmdWriteTimestamp(f->drawing, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, r->queries, query + 1);
    return ok(vkEndCommandBuffer(f->drawing), "vkEndCommandBuffer") &&
           ok(vkBeginCommandBuffer(f->others, &begin), "vkBeginCommandBuffer");
}

bool renderer_submit(renderer *r, frame *f)
{
    if (!ok(vkEndCommandBuffer(f->others), "vkEndCommandBuffer")) return false;
    /* A program with a window signals the semaphore that its swapchain waits for in the first of the two, so that the
     * picture does not wait for what comes after it. */
    VkSubmitInfo submits[] = {
        {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &f->drawing},
        {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &f->others},
    };
    lock_queue(r);
    VkResult result = vkQueueSubmit(r->queue, 2, submits, f->fence);
    unlock_queue(r);
    f->submitted = result == VK_SUCCESS;
    return ok(result, "vkQueueSubmit");
}

/* ---- The picture for people ------------------------------------------------------------------------------------- */

static bool copy_picture(renderer *r, VkBuffer buffer)
{
    frame *f = &r->frames[0]; /* nothing is being drawn any more */
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    if (!ok(vkResetCommandPool(r->device, f->pool, 0), "vkResetCommandPool")) return false;
    if (!ok(vkBeginCommandBuffer(f->others, &begin), "vkBeginCommandBuffer")) return false;
    VkBufferImageCopy region = {
        .imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
        .imageExtent = {PICTURE_WIDTH, PICTURE_HEIGHT, 1},
    };
    vkCmdCopyImageToBuffer(f->others, r->image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, buffer, 1, &region);
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    vkCmdPipelineBarrier(f->others, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, NULL,
                         0, NULL);
    if (!ok(vkEndCommandBuffer(f->others), "vkEndCommandBuffer")) return false;
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &f->others};
    lock_queue(r);
    VkResult result = vkQueueSubmit(r->queue, 1, &submit, VK_NULL_HANDLE);
    if (result == VK_SUCCESS) result = vkQueueWaitIdle(r->queue);
    unlock_queue(r);
    return ok(result, "reading the picture");
}

uint8_t *renderer_read_picture(renderer *r)
{
    const size_t bytes = 4ull * PICTURE_WIDTH * PICTURE_HEIGHT;
    uint8_t *pixels = NULL;
    void *mapped;
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = bytes, .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    if (!ok(vkCreateBuffer(r->device, &info, NULL, &buffer), "vkCreateBuffer")) return NULL;
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(r->device, buffer, &needs);
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size};
    if (find_memory(r, needs.memoryTypeBits, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                    &allocate.memoryTypeIndex) &&
        ok(vkAllocateMemory(r->device, &allocate, NULL, &memory), "vkAllocateMemory") &&
        ok(vkBindBufferMemory(r->device, buffer, memory, 0), "vkBindBufferMemory") && copy_picture(r, buffer) &&
        ok(vkMapMemory(r->device, memory, 0, bytes, 0, &mapped), "vkMapMemory")) {
        pixels = malloc(bytes);
        if (pixels) memcpy(pixels, mapped, bytes);
    }
    vkDestroyBuffer(r->device, buffer, NULL);
    vkFreeMemory(r->device, memory, NULL);
    return pixels;
}
