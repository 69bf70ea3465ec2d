/* renderer.c: see renderer.h. */
#include "renderer.h"

#include "png_file.h"
#include "report.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 2 }; /* lists at once: one is filled while the device draws the other */

static const uint32_t vertex_words[] =
#include "quad.vert.inc"
    ;
static const uint32_t fragment_words[] =
#include "quad.frag.inc"
    ;

typedef struct frame {
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence done;
    VkSemaphore acquired;
    gpu_buffer quads, glyphs;
    bool submitted;
} frame;

struct renderer {
    gpu *gpu;
    screen *screen;
    draw_list list;
    frame frames[FRAMES];
    uint32_t current;
    bool stale; /* the window changed */

    VkRenderPass pass;
    VkSampler nearest, linear;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorPool descriptors;
    VkDescriptorSet set;
    gpu_image art, glyphs;
    uint32_t glyph_size, glyph_first, glyph_rows; /* rows to be copied with the next picture */
    bool glyphs_ready;
    uint32_t load;

    VkExtent2D extent;
    gpu_image canvas;
    VkFramebuffer framebuffer;
    gpu_buffer readback;
};

static bool check(VkResult result, const char *what)
{
    return result == VK_SUCCESS || report("%s failed: %d", what, (int)result);
}

/* ---- What does not change --------------------------------------------------------------------------------------- */

static bool create_pass(renderer *r)
{
    VkAttachmentDescription canvas = {
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
        .initialLayout = VK_IMAGE_LAYOUT_UNDEFINED,
        .finalLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
    };
    VkAttachmentReference colour = {0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL};
    VkSubpassDescription subpass = {
        .pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS, .colorAttachmentCount = 1, .pColorAttachments = &colour};
    /* The canvas is drawn over when the picture before has been copied, and copied when it is drawn. */
    VkSubpassDependency dependencies[2] = {
        {.srcSubpass = VK_SUBPASS_EXTERNAL,
         .dstSubpass = 0,
         .srcStageMask = VK_PIPELINE_STAGE_TRANSFER_BIT,
         .dstStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
         .srcAccessMask = VK_ACCESS_TRANSFER_READ_BIT,
         .dstAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT | VK_ACCESS_COLOR_ATTACHMENT_READ_BIT},
        {.srcSubpass = 0,
         .dstSubpass = VK_SUBPASS_EXTERNAL,
         .srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
         .dstStageMask = VK_PIPELINE_STAGE_TRANSFER_BIT,
         .srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT,
         .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT},
    };
    VkRenderPassCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &canvas,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = 2,
        .pDependencies = dependencies,
    };
    return check(vkCreateRenderPass(r->gpu->device, &info, NULL, &r->pass), "vkCreateRenderPass");
}

static bool create_layouts(renderer *r)
{
    VkSamplerCreateInfo sampler = {.sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO,
                                   .addressModeU = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE,
                                   .addressModeV = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE};
    if (!check(vkCreateSampler(r->gpu->device, &sampler, NULL, &r->nearest), "vkCreateSampler")) return false;
    sampler.magFilter = sampler.minFilter = VK_FILTER_LINEAR;
    if (!check(vkCreateSampler(r->gpu->device, &sampler, NULL, &r->linear), "vkCreateSampler")) return false;

    VkDescriptorSetLayoutBinding bindings[2] = {
        {0, VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 1, VK_SHADER_STAGE_FRAGMENT_BIT, &r->nearest},
        {1, VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 1, VK_SHADER_STAGE_FRAGMENT_BIT, &r->linear},
    };
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = 2, .pBindings = bindings};
    if (!check(vkCreateDescriptorSetLayout(r->gpu->device, &set, NULL, &r->set_layout), "vkCreateDescriptorSetLayout"))
        return false;
    VkPushConstantRange push = {VK_SHADER_STAGE_VERTEX_BIT, 0, 2 * sizeof(float)};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &r->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push,
    };
    return check(vkCreatePipelineLayout(r->gpu->device, &layout, NULL, &r->layout), "vkCreatePipelineLayout");
}

static bool create_module(renderer *r, const uint32_t *words, size_t size, VkShaderModule *module)
{
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = size, .pCode = words};
    return check(vkCreateShaderModule(r->gpu->device, &info, NULL, module), "vkCreateShaderModule");
}

static bool create_pipeline_of(renderer *r, const VkPipelineShaderStageCreateInfo stages[2])
{
    VkVertexInputBindingDescription binding = {0, sizeof(draw_quad), VK_VERTEX_INPUT_RATE_INSTANCE};
    VkVertexInputAttributeDescription attributes[7] = {
        {0, 0, VK_FORMAT_R32G32B32A32_SFLOAT, offsetof(draw_quad, x)},
        {1, 0, VK_FORMAT_R32G32B32A32_SFLOAT, offsetof(draw_quad, left)},
        {2, 0, VK_FORMAT_R8G8B8A8_UNORM, offsetof(draw_quad, corners)},
        {3, 0, VK_FORMAT_R8G8B8A8_UNORM, offsetof(draw_quad, corners) + sizeof(rgba)},
        {4, 0, VK_FORMAT_R8G8B8A8_UNORM, offsetof(draw_quad, corners) + 2 * sizeof(rgba)},
        {5, 0, VK_FORMAT_R8G8B8A8_UNORM, offsetof(draw_quad, corners) + 3 * sizeof(rgba)},
        {6, 0, VK_FORMAT_R32_UINT, offsetof(draw_quad, texture)},
    };
    VkPipelineVertexInputStateCreateInfo input = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO,
        .vertexBindingDescriptionCount = 1,
        .pVertexBindingDescriptions = &binding,
        .vertexAttributeDescriptionCount = 7,
        .pVertexAttributeDescriptions = attributes,
    };
    VkPipelineInputAssemblyStateCreateInfo assembly = {.sType =
                                                           VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO,
                                                       .topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_STRIP};
    VkPipelineViewportStateCreateInfo viewport = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO, .viewportCount = 1, .scissorCount = 1};
    VkPipelineRasterizationStateCreateInfo raster = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO, .lineWidth = 1};
    VkPipelineMultisampleStateCreateInfo samples = {.sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO,
                                                    .rasterizationSamples = VK_SAMPLE_COUNT_1_BIT};
    VkPipelineColorBlendAttachmentState over = {
        .blendEnable = VK_TRUE,
        .srcColorBlendFactor = VK_BLEND_FACTOR_ONE,
        .dstColorBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA,
        .srcAlphaBlendFactor = VK_BLEND_FACTOR_ONE,
        .dstAlphaBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA,
        .colorWriteMask = 0xf,
    };
    VkPipelineColorBlendStateCreateInfo blend = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO, .attachmentCount = 1, .pAttachments = &over};
    VkDynamicState dynamic_states[] = {VK_DYNAMIC_STATE_VIEWPORT, VK_DYNAMIC_STATE_SCISSOR};
    VkPipelineDynamicStateCreateInfo dynamic = {.sType = VK_STRUCTURE_TYPE_PIPELINE_DYNAMIC_STATE_CREATE_INFO,
                                                .dynamicStateCount = 2,
                                                .pDynamicStates = dynamic_states};
    VkGraphicsPipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO,
        .stageCount = 2,
        .pStages = stages,
        .pVertexInputState = &input,
        .pInputAssemblyState = &assembly,
        .pViewportState = &viewport,
        .pRasterizationState = &raster,
        .pMultisampleState = &samples,
        .pColorBlendState = &blend,
        .pDynamicState = &dynamic,
        .layout = r->layout,
        .renderPass = r->pass,
    };
    return check(vkCreateGraphicsPipelines(r->gpu->device, VK_NULL_HANDLE, 1, &info, NULL, &r->pipeline),
                 "vkCreateGraphicsPipelines");
}

static bool create_pipeline(renderer *r)
{
    VkShaderModule vertex = VK_NULL_HANDLE, fragment = VK_NULL_HANDLE;
    bool good = create_module(r, vertex_words, sizeof vertex_words, &vertex) &&
                create_module(r, fragment_words, sizeof fragment_words, &fragment);
    if (good) {
        VkPipelineShaderStageCreateInfo stages[2] = {
            {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
             .stage = VK_SHADER_STAGE_VERTEX_BIT,
             .module = vertex,
             .pName = "main"},
            {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
             .stage = VK_SHADER_STAGE_FRAGMENT_BIT,
             .module = fragment,
             .pName = "main"},
        };
        good = create_pipeline_of(r, stages);
    }
    vkDestroyShaderModule(r->gpu->device, vertex, NULL);
    vkDestroyShaderModule(r->gpu->device, fragment, NULL);
    return good;
}

static bool create_frame(renderer *r, frame *frame)
{
    VkDevice device = r->gpu->device;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = r->gpu->family};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO};
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    if (!check(vkCreateCommandPool(device, &pool, NULL, &frame->pool), "vkCreateCommandPool")) return false;
    VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = frame->pool, .commandBufferCount = 1};
    return check(vkAllocateCommandBuffers(device, &commands, &frame->commands), "vkAllocateCommandBuffers") &&
           check(vkCreateSemaphore(device, &semaphore, NULL, &frame->acquired), "vkCreateSemaphore") &&
           check(vkCreateFence(device, &fence, NULL, &frame->done), "vkCreateFence") &&
           gpu_create_buffer(r->gpu, DRAW_CAPACITY * sizeof(draw_quad), VK_BUFFER_USAGE_VERTEX_BUFFER_BIT,
                             &frame->quads) &&
           gpu_create_buffer(r->gpu, (VkDeviceSize)r->glyph_size * r->glyph_size, VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
                             &frame->glyphs);
}

/* ---- Textures --------------------------------------------------------------------------------------------------- */

static void write_set(renderer *r)
{
    VkDescriptorImageInfo images[2] = {{VK_NULL_HANDLE, r->art.view, VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL},
                                       {VK_NULL_HANDLE, r->glyphs.view, VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL}};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = r->set,
                                  .descriptorCount = 2,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER,
                                  .pImageInfo = images};
    vkUpdateDescriptorSets(r->gpu->device, 1, &write, 0, NULL); /* fills both bindings: they follow each other */
}

static bool create_textures(renderer *r, const renderer_desc *desc)
{
    const VkImageUsageFlags usage = VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT;
    VkExtent2D art = {desc->art_width, desc->art_height}, glyphs = {desc->glyph_size, desc->glyph_size};
    if (!gpu_create_image(r->gpu, art, VK_FORMAT_R8G8B8A8_UNORM, usage, &r->art)) return false;
    if (!gpu_create_image(r->gpu, glyphs, VK_FORMAT_R8_UNORM, usage, &r->glyphs)) return false;
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 2};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = 1, .poolSizeCount = 1, .pPoolSizes = &size};
    if (!check(vkCreateDescriptorPool(r->gpu->device, &pool, NULL, &r->descriptors), "vkCreateDescriptorPool"))
        return false;
    VkDescriptorSetAllocateInfo set = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                       .descriptorPool = r->descriptors,
                                       .descriptorSetCount = 1,
                                       .pSetLayouts = &r->set_layout};
    if (!check(vkAllocateDescriptorSets(r->gpu->device, &set, &r->set), "vkAllocateDescriptorSets")) return false;
    write_set(r);
    return true;
}

static bool begin_commands(renderer *r, frame *frame)
{
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    return check(vkResetCommandPool(r->gpu->device, frame->pool, 0), "vkResetCommandPool") &&
           check(vkBeginCommandBuffer(frame->commands, &begin), "vkBeginCommandBuffer");
}

static bool wait_for(renderer *r, frame *frame)
{
    if (!frame->submitted) return true;
    frame->submitted = false;
    return check(vkWaitForFences(r->gpu->device, 1, &frame->done, VK_TRUE, UINT64_MAX), "vkWaitForFences") &&
           check(vkResetFences(r->gpu->device, 1, &frame->done), "vkResetFences");
}

static bool submit(renderer *r, frame *frame, VkSemaphore wait, VkSemaphore signal)
{
    VkPipelineStageFlags stage = VK_PIPELINE_STAGE_TRANSFER_BIT; /* of the copy to the window */
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .waitSemaphoreCount = wait != VK_NULL_HANDLE,
        .pWaitSemaphores = &wait,
        .pWaitDstStageMask = &stage,
        .commandBufferCount = 1,
        .pCommandBuffers = &frame->commands,
        .signalSemaphoreCount = signal != VK_NULL_HANDLE,
        .pSignalSemaphores = &signal,
    };
    if (!check(vkEndCommandBuffer(frame->commands), "vkEndCommandBuffer")) return false;
    frame->submitted = check(vkQueueSubmit(r->gpu->queue, 1, &info, frame->done), "vkQueueSubmit");
    return frame->submitted;
}

static bool upload_art(renderer *r, const renderer_desc *desc)
{
    const VkDeviceSize size = (VkDeviceSize)4 * desc->art_width * desc->art_height;
    frame *frame = &r->frames[0];
    gpu_buffer staging;
    bool good = gpu_create_buffer(r->gpu, size, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, &staging);
    if (good) {
        memcpy(staging.mapped, desc->art, size);
        good = begin_commands(r, frame);
    }
    if (good) {
        VkBufferImageCopy copy = {.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
                                  .imageExtent = {desc->art_width, desc->art_height, 1}};
        gpu_barrier(frame->commands, r->art.image, VK_IMAGE_LAYOUT_UNDEFINED, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                    VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, 0, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
        vkCmdCopyBufferToImage(frame->commands, staging.buffer, r->art.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1,
                               &copy);
        gpu_barrier(frame->commands, r->art.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                    VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL, VK_PIPELINE_STAGE_TRANSFER_BIT,
                    VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
        good = submit(r, frame, VK_NULL_HANDLE, VK_NULL_HANDLE) && wait_for(r, frame);
    }
    gpu_destroy_buffer(r->gpu, &staging);
    return good;
}

void renderer_update_glyphs(renderer *r, const uint8_t *pixels, uint32_t first_row, uint32_t rows)
{
    if (rows == 0) return;
    const size_t offset = (size_t)first_row * r->glyph_size;
    memcpy((uint8_t *)r->frames[r->current].glyphs.mapped + offset, pixels + offset, (size_t)rows * r->glyph_size);
    r->glyph_first = first_row;
    r->glyph_rows = rows;
}

static void copy_glyphs(renderer *r, frame *frame)
{
    if (r->glyph_rows == 0) return;
    VkBufferImageCopy copy = {
        .bufferOffset = (VkDeviceSize)r->glyph_first * r->glyph_size,
        .imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
        .imageOffset = {0, (int32_t)r->glyph_first, 0},
        .imageExtent = {r->glyph_size, r->glyph_rows, 1},
    };
    gpu_barrier(frame->commands, r->glyphs.image,
                r->glyphs_ready ? VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL : VK_IMAGE_LAYOUT_UNDEFINED,
                VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT, 0,
                VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    vkCmdCopyBufferToImage(frame->commands, frame->glyphs.buffer, r->glyphs.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                           1, &copy);
    gpu_barrier(frame->commands, r->glyphs.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
    r->glyphs_ready = true;
    r->glyph_rows = 0;
}

/* ---- The canvas ------------------------------------------------------------------------------------------------- */

static void destroy_canvas(renderer *r)
{
    vkDestroyFramebuffer(r->gpu->device, r->framebuffer, NULL);
    r->framebuffer = VK_NULL_HANDLE;
    gpu_destroy_image(r->gpu, &r->canvas);
    gpu_destroy_buffer(r->gpu, &r->readback);
}

static bool create_canvas(renderer *r, VkExtent2D extent)
{
    r->extent = extent;
    if (extent.width == 0 || extent.height == 0) return true; /* a window without area: nothing is drawn */
    if (!gpu_create_image(r->gpu, extent, VK_FORMAT_R8G8B8A8_UNORM,
                          VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT, &r->canvas))
        return false;
    VkFramebufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
        .renderPass = r->pass,
        .attachmentCount = 1,
        .pAttachments = &r->canvas.view,
        .width = extent.width,
        .height = extent.height,
        .layers = 1,
    };
    return check(vkCreateFramebuffer(r->gpu->device, &info, NULL, &r->framebuffer), "vkCreateFramebuffer");
}

VkExtent2D renderer_extent(const renderer *r)
{
    return r->extent;
}

bool renderer_resize(renderer *r, VkExtent2D extent)
{
    vkQueueWaitIdle(r->gpu->queue);
    destroy_canvas(r);
    if (r->screen) {
        if (!screen_resize(r->screen, extent)) return false;
        extent = r->screen->extent;
    }
    r->stale = false;
    return create_canvas(r, extent);
}

/* ---- Pictures --------------------------------------------------------------------------------------------------- */

bool renderer_begin(renderer *r, draw_list **list)
{
    if (r->stale && !renderer_resize(r, r->extent)) return false;
    r->current = (r->current + 1) % FRAMES;
    frame *frame = &r->frames[r->current];
    if (!wait_for(r, frame)) return false;
    r->list.quads = frame->quads.mapped;
    r->list.count = 0;
    *list = &r->list;
    return true;
}

static void record_pass(renderer *r, frame *frame)
{
    VkCommandBuffer commands = frame->commands;
    VkClearValue black = {0};
    VkRenderPassBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
        .renderPass = r->pass,
        .framebuffer = r->framebuffer,
        .renderArea = {{0, 0}, r->extent},
        .clearValueCount = 1,
        .pClearValues = &black,
    };
    VkViewport viewport = {0, 0, (float)r->extent.width, (float)r->extent.height, 0, 1};
    const float to_clip[2] = {2 / viewport.width, 2 / viewport.height};
    const VkDeviceSize zero = 0;
    vkCmdBeginRenderPass(commands, &begin, VK_SUBPASS_CONTENTS_INLINE);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, r->pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, r->layout, 0, 1, &r->set, 0, NULL);
    vkCmdSetViewport(commands, 0, 1, &viewport);
    vkCmdSetScissor(commands, 0, 1, &begin.renderArea);
    vkCmdPushConstants(commands, r->layout, VK_SHADER_STAGE_VERTEX_BIT, 0, sizeof to_clip, to_clip);
    vkCmdBindVertexBuffers(commands, 0, 1, &frame->quads.buffer, &zero);
    for (uint32_t i = 0; i < r->load; i++) vkCmdDraw(commands, 4, r->list.count, 0, 0);
    vkCmdEndRenderPass(commands);
}

/* Copies the canvas to a window's image. Their sizes are the same, save for a moment while the window changes. */
static void record_copy(renderer *r, frame *frame, uint32_t image)
{
    VkImage target = r->screen->images[image];
    const VkExtent2D to = r->screen->extent;
    VkImageBlit blit = {
        .srcSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
        .srcOffsets = {{0, 0, 0}, {(int32_t)r->extent.width, (int32_t)r->extent.height, 1}},
        .dstSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
        .dstOffsets = {{0, 0, 0}, {(int32_t)to.width, (int32_t)to.height, 1}},
    };
    gpu_barrier(frame->commands, target, VK_IMAGE_LAYOUT_UNDEFINED, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                VK_PIPELINE_STAGE_TRANSFER_BIT, 0, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    vkCmdBlitImage(frame->commands, r->canvas.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, target,
                   VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &blit, VK_FILTER_NEAREST);
    gpu_barrier(frame->commands, target, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, VK_IMAGE_LAYOUT_PRESENT_SRC_KHR,
                VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, 0);
}

bool renderer_end(renderer *r)
{
    frame *frame = &r->frames[r->current];
    uint32_t image = 0;
    if (!r->framebuffer) {
        r->stale = r->screen != NULL;
        return true;
    }
    bool shown = r->screen && screen_acquire(r->screen, frame->acquired, &image, &r->stale);
    if (!begin_commands(r, frame)) return false;
    copy_glyphs(r, frame);
    record_pass(r, frame);
    if (shown) record_copy(r, frame, image);
    if (!submit(r, frame, shown ? frame->acquired : VK_NULL_HANDLE, shown ? r->screen->drawn[image] : VK_NULL_HANDLE))
        return false;
    return !shown || screen_present(r->screen, image, &r->stale);
}

bool renderer_wait(renderer *r)
{
    return wait_for(r, &r->frames[r->current]);
}

static bool copy_back(renderer *r, frame *frame)
{
    if (!r->readback.buffer && !gpu_create_buffer(r->gpu, (VkDeviceSize)4 * r->extent.width * r->extent.height,
                                                  VK_BUFFER_USAGE_TRANSFER_DST_BIT, &r->readback))
        return false;
    if (!wait_for(r, frame) || !begin_commands(r, frame)) return false;
    VkBufferImageCopy copy = {.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1},
                              .imageExtent = {r->extent.width, r->extent.height, 1}};
    vkCmdCopyImageToBuffer(frame->commands, r->canvas.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, r->readback.buffer,
                           1, &copy);
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    vkCmdPipelineBarrier(frame->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0,
                         NULL, 0, NULL);
    return submit(r, frame, VK_NULL_HANDLE, VK_NULL_HANDLE) && wait_for(r, frame);
}

bool renderer_save(renderer *r, const char *path)
{
    if (!r->framebuffer) return report("%s: the window has no area", path);
    return copy_back(r, &r->frames[r->current]) &&
           png_file_write(path, r->readback.mapped, r->extent.width, r->extent.height);
}

/* ---- Life ------------------------------------------------------------------------------------------------------- */

static bool create_all(renderer *r, const renderer_desc *desc)
{
    if (!create_pass(r) || !create_layouts(r) || !create_pipeline(r) || !create_textures(r, desc)) return false;
    for (uint32_t i = 0; i < FRAMES; i++)
        if (!create_frame(r, &r->frames[i])) return false;
    return upload_art(r, desc) && create_canvas(r, desc->screen ? desc->screen->extent : desc->extent);
}

bool renderer_create(const renderer_desc *desc, renderer **out)
{
    renderer *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return report("out of memory");
    r->gpu = desc->gpu;
    r->screen = desc->screen;
    r->glyph_size = desc->glyph_size;
    r->load = desc->load;
    r->list.art_width = (float)desc->art_width;
    r->list.art_height = (float)desc->art_height;
    r->list.glyph_size = (float)desc->glyph_size;
    if (create_all(r, desc))
        *out = r;
    else
        renderer_destroy(r);
    return *out != NULL;
}

void renderer_destroy(renderer *r)
{
    if (!r) return;
    VkDevice device = r->gpu->device;
    vkDeviceWaitIdle(device);
    destroy_canvas(r);
    for (uint32_t i = 0; i < FRAMES; i++) {
        gpu_destroy_buffer(r->gpu, &r->frames[i].quads);
        gpu_destroy_buffer(r->gpu, &r->frames[i].glyphs);
        vkDestroySemaphore(device, r->frames[i].acquired, NULL);
        vkDestroyFence(device, r->frames[i].done, NULL);
        vkDestroyCommandPool(device, r->frames[i].pool, NULL);
    }
    vkDestroyDescriptorPool(device, r->descriptors, NULL);
    gpu_destroy_image(r->gpu, &r->art);
    gpu_destroy_image(r->gpu, &r->glyphs);
    vkDestroyPipeline(device, r->pipeline, NULL);
    vkDestroyPipelineLayout(device, r->layout, NULL);
    vkDestroyDescriptorSetLayout(device, r->set_layout, NULL);
    vkDestroySampler(device, r->linear, NULL);
    vkDestroySampler(device, r->nearest, NULL);
    vkDestroyRenderPass(device, r->pass, NULL);
    free(r);
}
