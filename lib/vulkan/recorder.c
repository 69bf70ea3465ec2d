#include "vulkan/recorder.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of which every set has at most so many buffers of each kind, so that a pool holds exactly its number. */
enum { SETS_PER_POOL = 256, STORAGE_BUFFERS = 5, UNIFORM_BUFFERS = 2, TEXEL_BUFFERS = 3 };

static const VkAccessFlags all_accesses = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                                          VK_ACCESS_UNIFORM_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                                          VK_ACCESS_TRANSFER_WRITE_BIT;
static const VkPipelineStageFlags all_stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;

static void destroy_views(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    for (uint32_t i = 0; i < recorder->view_count; i++)
        device->vk.vkDestroyBufferView(device->handle, recorder->views[i], device->allocator);
    recorder->view_count = 0;
}

retnet_result rn_recorder_create(rn_device *device, rn_recorder *recorder)
{
    memset(recorder, 0, sizeof *recorder);
    recorder->device = device;
    const rn_device_table *vk = &device->vk;
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = device->queue_family,
    };
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkResult result = vk->vkCreateCommandPool(device->handle, &pool, device->allocator, &recorder->pool);
    if (result != VK_SUCCESS) recorder->pool = VK_NULL_HANDLE;
    if (result == VK_SUCCESS) {
        VkCommandBufferAllocateInfo allocate = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = recorder->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        result = vk->vkAllocateCommandBuffers(device->handle, &allocate, &recorder->own);
    }
    if (result == VK_SUCCESS) {
        result = vk->vkCreateFence(device->handle, &fence, device->allocator, &recorder->fence);
        if (result != VK_SUCCESS) recorder->fence = VK_NULL_HANDLE;
    }
    if (result == VK_SUCCESS) return RETNET_OK;
    rn_recorder_destroy(recorder);
    return rn_device_fail(device, result, "creating a command buffer");
}

void rn_recorder_destroy(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    if (!device) return;
    if (recorder->pending) rn_recorder_wait(recorder);
    const rn_device_table *vk = &device->vk;
    for (uint32_t i = 0; i < recorder->pool_count; i++)
        vk->vkDestroyDescriptorPool(device->handle, recorder->descriptor_pools[i], device->allocator);
    rn_free(device->host, recorder->descriptor_pools);
    destroy_views(recorder);
    rn_free(device->host, recorder->views);
    rn_free(device->host, recorder->timed);
    if (recorder->queries) vk->vkDestroyQueryPool(device->handle, recorder->queries, device->allocator);
    if (recorder->fence) vk->vkDestroyFence(device->handle, recorder->fence, device->allocator);
    if (recorder->pool) vk->vkDestroyCommandPool(device->handle, recorder->pool, device->allocator);
    memset(recorder, 0, sizeof *recorder);
}

void rn_recorder_fail(rn_recorder *recorder, retnet_result result)
{
    if (recorder->result == RETNET_OK) recorder->result = result;
}

const rn_kernel *rn_recorder_kernel(rn_recorder *recorder, const rn_shader *shader, const uint32_t *constants,
                                    uint32_t count)
{
    const rn_kernel *kernel = NULL;
    rn_recorder_fail(recorder, rn_kernel_get(recorder->device, shader, constants, count, &kernel));
    return kernel;
}

static void check(rn_recorder *recorder, VkResult result, const char *what)
{
    if (result != VK_SUCCESS) rn_recorder_fail(recorder, rn_device_fail(recorder->device, result, what));
}

/* ---- Barriers --------------------------------------------------------------------------------------------------- */

static void barrier(rn_recorder *recorder, VkPipelineStageFlags stages, VkAccessFlags writes, VkAccessFlags all)
{
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = writes, .dstAccessMask = all};
    recorder->device->vk.vkCmdPipelineBarrier(recorder->commands, stages, stages, 0, 1, &memory, 0, NULL, 0, NULL);
    recorder->access_count = 0;
}

static void full_barrier(rn_recorder *recorder)
{
    barrier(recorder, all_stages, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, all_accesses);
    recorder->copies_ordered = true;
    recorder->copied_since_barrier = false;
}

/* Between dispatches. It leaves the units that copy alone, which is cheaper; a copy then needs a full one before it. */
static void dispatch_barrier(rn_recorder *recorder)
{
    barrier(recorder, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_UNIFORM_READ_BIT);
    recorder->copies_ordered = false;
}

static bool conflicts(const rn_recorder *recorder, const rn_access *access)
{
    for (uint32_t i = 0; i < recorder->access_count; i++) {
        const rn_access *earlier = &recorder->accesses[i];
        if (earlier->buffer == access->buffer && (earlier->write || access->write) && earlier->begin < access->end &&
            access->begin < earlier->end)
            return true;
    }
    return false;
}

/* One memory barrier orders everything before it, so the list of what is unordered starts anew after each. */
static void order(rn_recorder *recorder, const rn_access *accesses, uint32_t count, bool copy)
{
    bool needed = recorder->access_count + count > RN_MAX_HAZARDS;
    for (uint32_t i = 0; i < count && !needed; i++) needed = conflicts(recorder, &accesses[i]);
    bool copied = recorder->copied_since_barrier;
    if (copy ? needed || !recorder->copies_ordered : needed && copied)
        full_barrier(recorder);
    else if (needed)
        dispatch_barrier(recorder);
    recorder->copied_since_barrier = copy || (copied && !needed);
    memcpy(recorder->accesses + recorder->access_count, accesses, count * sizeof *accesses);
    recorder->access_count += count;
}

/* ---- Labels ------------------------------------------------------------------------------------------------------ */

static void begin_label(rn_recorder *recorder, const char *text)
{
    VkDebugUtilsLabelEXT label = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = text};
    if (recorder->device->vk.vkCmdBeginDebugUtilsLabelEXT)
        recorder->device->vk.vkCmdBeginDebugUtilsLabelEXT(recorder->commands, &label);
}

static void end_label(rn_recorder *recorder)
{
    if (recorder->device->vk.vkCmdEndDebugUtilsLabelEXT)
        recorder->device->vk.vkCmdEndDebugUtilsLabelEXT(recorder->commands);
}

void rn_recorder_label(rn_recorder *recorder, const char *format, ...)
{
    if (!recorder->device->vk.vkCmdBeginDebugUtilsLabelEXT || recorder->result != RETNET_OK || recorder->device->plan)
        return;
    char text[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (recorder->labelled) end_label(recorder);
    begin_label(recorder, text);
    recorder->labelled = true;
}

/* ---- Recording -------------------------------------------------------------------------------------------------- */

static void create_queries(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = 2 * RN_MAX_TIMED,
    };
    if (!recorder->timed) recorder->timed = rn_alloc(device->host, RN_MAX_TIMED, sizeof *recorder->timed);
    if (!recorder->timed) {
        rn_recorder_fail(recorder, rn_fail_memory(device->host, "profile", RN_MAX_TIMED * sizeof *recorder->timed));
        return;
    }
    check(recorder, device->vk.vkCreateQueryPool(device->handle, &info, device->allocator, &recorder->queries),
          "query pool");
    if (recorder->result != RETNET_OK) recorder->queries = VK_NULL_HANDLE;
}

static void prepare_queries(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    recorder->profiled = device->profiling;
    recorder->timed_count = 0;
    if (!recorder->profiled) return;
    if (!recorder->queries) create_queries(recorder);
    if (recorder->result == RETNET_OK)
        device->vk.vkCmdResetQueryPool(recorder->commands, recorder->queries, 0, 2 * RN_MAX_TIMED);
}

retnet_result rn_recorder_reset(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    if (device->plan) return recorder->result;
    recorder->result = recorder->pending ? rn_recorder_wait(recorder) : RETNET_OK;
    recorder->sets = 0;
    recorder->pool_current = 0;
    destroy_views(recorder);
    for (uint32_t i = 0; i < recorder->pool_count && recorder->result == RETNET_OK; i++)
        check(recorder, device->vk.vkResetDescriptorPool(device->handle, recorder->descriptor_pools[i], 0),
              "resetting descriptors");
    return recorder->result;
}

static void begin(rn_recorder *recorder, VkCommandBuffer commands)
{
    recorder->commands = commands;
    recorder->access_count = 0;
    recorder->bound = VK_NULL_HANDLE;
    recorder->labelled = false;
    recorder->chained = false;
    recorder->profiled = false;
    if (recorder->result == RETNET_OK) recorder->result = rn_device_check(recorder->device);
}

void rn_recorder_begin(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    if (device->plan) return;
    rn_recorder_reset(recorder);
    begin(recorder, recorder->own);
    if (recorder->result == RETNET_OK)
        check(recorder, device->vk.vkResetCommandPool(device->handle, recorder->pool, 0), "resetting commands");
    if (recorder->result != RETNET_OK) return;
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    check(recorder, device->vk.vkBeginCommandBuffer(recorder->commands, &info), "beginning commands");
    if (recorder->result != RETNET_OK) return;
    prepare_queries(recorder);
    full_barrier(recorder); /* orders this after whatever the queue ran before */
}

void rn_recorder_begin_in(rn_recorder *recorder, VkCommandBuffer commands)
{
    recorder->result = RETNET_OK;
    begin(recorder, commands);
    if (recorder->result == RETNET_OK) full_barrier(recorder);
}

static void add_descriptor_pool(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    VkDescriptorPool *pools = rn_alloc(device->host, recorder->pool_count + 1, sizeof *pools);
    if (!pools) {
        rn_recorder_fail(recorder, rn_fail_memory(device->host, "descriptor pools", sizeof *pools));
        return;
    }
    if (recorder->pool_count) memcpy(pools, recorder->descriptor_pools, recorder->pool_count * sizeof *pools);
    rn_free(device->host, recorder->descriptor_pools);
    recorder->descriptor_pools = pools;
    VkDescriptorPoolSize sizes[] = {
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, SETS_PER_POOL * STORAGE_BUFFERS},
        {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, SETS_PER_POOL * UNIFORM_BUFFERS},
        {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, SETS_PER_POOL * TEXEL_BUFFERS},
    };
    VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = SETS_PER_POOL,
        .poolSizeCount = RN_COUNT(sizes),
        .pPoolSizes = sizes,
    };
    check(recorder,
          device->vk.vkCreateDescriptorPool(device->handle, &info, device->allocator, &pools[recorder->pool_count]),
          "descriptor pool");
    if (recorder->result == RETNET_OK) recorder->pool_count++;
}

static VkDescriptorSet allocate_set(rn_recorder *recorder, VkDescriptorSetLayout layout)
{
    recorder->pool_current = recorder->sets / SETS_PER_POOL;
    if (recorder->pool_current == recorder->pool_count) add_descriptor_pool(recorder);
    if (recorder->result != RETNET_OK) return VK_NULL_HANDLE;
    VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = recorder->descriptor_pools[recorder->pool_current],
        .descriptorSetCount = 1,
        .pSetLayouts = &layout,
    };
    VkDescriptorSet set = VK_NULL_HANDLE;
    check(recorder, recorder->device->vk.vkAllocateDescriptorSets(recorder->device->handle, &info, &set),
          "allocating descriptors");
    if (recorder->result == RETNET_OK) recorder->sets++;
    return set;
}

static bool grow_views(rn_recorder *recorder)
{
    if (recorder->view_count < recorder->view_capacity) return true;
    uint32_t capacity = recorder->view_capacity ? 2 * recorder->view_capacity : 128;
    VkBufferView *views = rn_alloc(recorder->device->host, capacity, sizeof *views);
    if (!views) {
        rn_recorder_fail(recorder, rn_fail_memory(recorder->device->host, "buffer views", capacity * sizeof *views));
        return false;
    }
    if (recorder->view_count) memcpy(views, recorder->views, recorder->view_count * sizeof *views);
    rn_free(recorder->device->host, recorder->views);
    recorder->views = views;
    recorder->view_capacity = capacity;
    return true;
}

/* A view that lives until the next recording; a null handle after an error. */
static VkBufferView add_view(rn_recorder *recorder, const rn_binding *binding, VkFormat format)
{
    rn_device *device = recorder->device;
    if (recorder->result != RETNET_OK || !grow_views(recorder)) return VK_NULL_HANDLE;
    VkBufferViewCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
        .buffer = binding->buffer->handle,
        .format = format,
        .offset = binding->offset,
        .range = binding->size / 16 * 16,
    };
    VkBufferView view = VK_NULL_HANDLE;
    check(recorder, device->vk.vkCreateBufferView(device->handle, &info, device->allocator, &view),
          "creating a buffer view");
    if (recorder->result == RETNET_OK) recorder->views[recorder->view_count++] = view;
    return view;
}

static void bind(rn_recorder *recorder, const rn_kernel *kernel, const rn_binding *bindings)
{
    const rn_shader *shader = kernel->shader;
    const rn_device_table *vk = &recorder->device->vk;
    VkDescriptorSet set = allocate_set(recorder, kernel->set_layout);
    if (recorder->result != RETNET_OK) return;
    VkDescriptorBufferInfo buffers[RN_MAX_BINDINGS];
    VkBufferView views[RN_MAX_BINDINGS];
    VkWriteDescriptorSet writes[RN_MAX_BINDINGS];
    for (uint32_t i = 0; i < shader->binding_count; i++) {
        buffers[i] = (VkDescriptorBufferInfo){bindings[i].buffer->handle, bindings[i].offset, bindings[i].size};
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = set,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = rn_shader_descriptor_type(shader, i),
            .pBufferInfo = &buffers[i],
            .pTexelBufferView = &views[i],
        };
        if (shader->texel_bindings >> i & 1)
            views[i] =
                add_view(recorder, &bindings[i],
                         shader->float_bindings >> i & 1 ? VK_FORMAT_R32G32B32A32_SFLOAT : VK_FORMAT_R32G32B32A32_UINT);
    }
    if (recorder->result != RETNET_OK) return;
    vk->vkUpdateDescriptorSets(recorder->device->handle, shader->binding_count, writes, 0, NULL);
    vk->vkCmdBindDescriptorSets(recorder->commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->layout, 0, 1, &set, 0,
                                NULL);
    if (recorder->bound != kernel->pipeline)
        vk->vkCmdBindPipeline(recorder->commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->pipeline);
    recorder->bound = kernel->pipeline;
}

static bool check_dispatch(rn_recorder *recorder, const rn_kernel *kernel, const rn_binding *bindings,
                           uint32_t binding_count, uint32_t push_bytes, const uint32_t groups[3])
{
    rn_device *device = recorder->device;
    const rn_shader *shader = kernel->shader;
    if (binding_count != shader->binding_count || push_bytes != shader->push_bytes)
        rn_recorder_fail(recorder,
                         rn_fail(device->host, RETNET_ERROR_INTERNAL,
                                 "kernel %s has %u bindings and %u push bytes, the host gives %u and %u", shader->name,
                                 shader->binding_count, shader->push_bytes, binding_count, push_bytes));
    for (uint32_t i = 0; i < binding_count && recorder->result == RETNET_OK; i++) {
        const rn_binding *b = &bindings[i];
        if (b->offset % device->caps.storage_alignment || b->size > device->caps.max_storage_range || b->size == 0 ||
            b->offset + b->size > b->buffer->size)
            rn_recorder_fail(recorder, rn_fail(device->host, RETNET_ERROR_LIMIT,
                                               "kernel %s, binding %u: %llu bytes at %llu of a buffer of %llu; the "
                                               "device binds at most %llu",
                                               shader->name, i, (unsigned long long)b->size,
                                               (unsigned long long)b->offset, (unsigned long long)b->buffer->size,
                                               (unsigned long long)device->caps.max_storage_range));
    }
    for (int i = 0; i < 3 && recorder->result == RETNET_OK; i++)
        if (groups[i] > device->caps.max_groups[i])
            rn_recorder_fail(recorder, rn_fail(device->host, RETNET_ERROR_LIMIT, "kernel %s: %u workgroups, at most %u",
                                               shader->name, groups[i], device->caps.max_groups[i]));
    return recorder->result == RETNET_OK;
}

static void timestamp(rn_recorder *recorder, VkPipelineStageFlagBits stage, uint32_t query)
{
    recorder->device->vk.vkCmdWriteTimestamp(recorder->commands, stage, recorder->queries, query);
}

void rn_recorder_dispatch(rn_recorder *recorder, const rn_kernel *kernel, const rn_binding *bindings,
                          uint32_t binding_count, const void *push, uint32_t push_bytes, uint32_t x, uint32_t y,
                          uint32_t z, uint64_t bytes)
{
    if (recorder->result != RETNET_OK || x == 0 || y == 0 || z == 0 || recorder->device->plan) return;
    if (!check_dispatch(recorder, kernel, bindings, binding_count, push_bytes, (uint32_t[]){x, y, z})) return;
    const rn_shader *shader = kernel->shader;
    rn_access accesses[RN_MAX_BINDINGS];
    for (uint32_t i = 0; i < binding_count; i++)
        accesses[i] = (rn_access){bindings[i].buffer->handle, bindings[i].offset, bindings[i].offset + bindings[i].size,
                                  shader->written_bindings >> i & 1};
    bind(recorder, kernel, bindings);
    if (recorder->result != RETNET_OK) return;
    const rn_device_table *vk = &recorder->device->vk;
    if (push_bytes)
        vk->vkCmdPushConstants(recorder->commands, kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes, push);
    /* Last, so that the device is ready to start when it ends. */
    if (!recorder->chained)
        order(recorder, accesses, binding_count, false);
    else if (recorder->ordered)
        dispatch_barrier(recorder);
    bool timed = recorder->profiled && recorder->timed_count < RN_MAX_TIMED;
    if (timed) {
        full_barrier(recorder); /* nothing else may run between the two timestamps */
        timestamp(recorder, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, 2 * recorder->timed_count);
    }
    begin_label(recorder, shader->name);
    vk->vkCmdDispatch(recorder->commands, x, y, z);
    end_label(recorder);
    if (timed) {
        timestamp(recorder, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, 2 * recorder->timed_count + 1);
        recorder->timed[recorder->timed_count++] = (rn_timed){shader->name, bytes};
        full_barrier(recorder);
    }
}

void rn_recorder_copy(rn_recorder *recorder, const rn_buffer *from, VkDeviceSize from_offset, const rn_buffer *to,
                      VkDeviceSize to_offset, VkDeviceSize size)
{
    if (recorder->result != RETNET_OK || size == 0 || recorder->device->plan) return;
    rn_access accesses[] = {{from->handle, from_offset, from_offset + size, false},
                            {to->handle, to_offset, to_offset + size, true}};
    order(recorder, accesses, RN_COUNT(accesses), true);
    VkBufferCopy region = {from_offset, to_offset, size};
    recorder->device->vk.vkCmdCopyBuffer(recorder->commands, from->handle, to->handle, 1, &region);
}

void rn_recorder_fill(rn_recorder *recorder, const rn_buffer *buffer, VkDeviceSize offset, VkDeviceSize size,
                      uint32_t word)
{
    if (recorder->result != RETNET_OK || size == 0 || recorder->device->plan) return;
    rn_access access = {buffer->handle, offset, offset + size, true};
    order(recorder, &access, 1, true);
    recorder->device->vk.vkCmdFillBuffer(recorder->commands, buffer->handle, offset, size, word);
}

void rn_recorder_fill_zero(rn_recorder *recorder, const rn_buffer *buffer, VkDeviceSize offset, VkDeviceSize size)
{
    rn_recorder_fill(recorder, buffer, offset, size, 0);
}

void rn_recorder_write(rn_recorder *recorder, const rn_buffer *buffer, VkDeviceSize offset, uint32_t word)
{
    rn_recorder_fill(recorder, buffer, offset, sizeof word, word);
}

/* ---- Chains ------------------------------------------------------------------------------------------------------ */

void rn_recorder_chain_begin(rn_recorder *recorder, bool ordered)
{
    if (recorder->result != RETNET_OK || recorder->device->plan) return;
    full_barrier(recorder);
    recorder->chained = true;
    recorder->ordered = ordered || recorder->profiled || !atomic_load(&recorder->device->soft_order);
}

void rn_recorder_chain_end(rn_recorder *recorder)
{
    if (recorder->result != RETNET_OK || recorder->device->plan) return;
    recorder->chained = false;
    full_barrier(recorder);
}

uint32_t rn_recorder_patience(const rn_recorder *recorder)
{
    return recorder->chained && !recorder->ordered ? recorder->device->patience : 0;
}

void rn_recorder_release(rn_recorder *recorder)
{
    if (recorder->result != RETNET_OK || recorder->device->plan) return;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
    };
    const rn_device_table *vk = &recorder->device->vk;
    vk->vkCmdPipelineBarrier(recorder->commands, all_stages, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, NULL, 0,
                             NULL);
}

retnet_result rn_recorder_end(rn_recorder *recorder)
{
    if (recorder->labelled) end_label(recorder);
    recorder->labelled = false;
    if (recorder->result != RETNET_OK || recorder->device->plan) return recorder->result;
    if (recorder->commands != recorder->own) return RETNET_OK;
    rn_recorder_release(recorder);
    check(recorder, recorder->device->vk.vkEndCommandBuffer(recorder->commands), "ending commands");
    return recorder->result;
}

/* ---- Submitting ------------------------------------------------------------------------------------------------- */

retnet_result rn_recorder_submit(rn_recorder *recorder)
{
    static const rn_chain none;
    return rn_recorder_submit_chained(recorder, &none);
}

retnet_result rn_recorder_submit_chained(rn_recorder *recorder, const rn_chain *chain)
{
    rn_device *device = recorder->device;
    if (recorder->result != RETNET_OK || device->plan) return recorder->result;
    if (recorder->commands != recorder->own)
        return rn_fail(device->host, RETNET_ERROR_INTERNAL, "submitting somebody else's command buffer");
    retnet_result ours = rn_device_check(device);
    if (ours != RETNET_OK) return ours;
    VkResult result = recorder->signalled ? device->vk.vkResetFences(device->handle, 1, &recorder->fence) : VK_SUCCESS;
    if (result != VK_SUCCESS) return rn_device_fail(device, result, "resetting a fence");
    recorder->signalled = false;
    uint32_t waits = chain->wait != VK_NULL_HANDLE, signals = chain->signal != VK_NULL_HANDLE;
    VkTimelineSemaphoreSubmitInfo values = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = waits,
        .pWaitSemaphoreValues = &chain->wait_value,
        .signalSemaphoreValueCount = signals,
        .pSignalSemaphoreValues = &chain->signal_value,
    };
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = device->timeline ? &values : NULL,
        .waitSemaphoreCount = waits,
        .pWaitSemaphores = &chain->wait,
        .pWaitDstStageMask = &all_stages,
        .commandBufferCount = 1,
        .pCommandBuffers = &recorder->own,
        .signalSemaphoreCount = signals,
        .pSignalSemaphores = &chain->signal,
    };
    result = rn_device_submit(device, &info, recorder->fence);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, "submitting to the queue");
    recorder->pending = true;
    return RETNET_OK;
}

/* Timestamps that cannot be read are left out of the profile, unless the device is lost. */
static VkResult read_timestamps(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    for (uint32_t i = 0; i < recorder->timed_count; i++) {
        uint64_t ticks[2];
        VkResult result =
            device->vk.vkGetQueryPoolResults(device->handle, recorder->queries, 2 * i, 2, sizeof ticks, ticks,
                                             sizeof ticks[0], VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
        if (result == VK_ERROR_DEVICE_LOST) return result;
        if (result != VK_SUCCESS) continue;
        uint64_t ns = (uint64_t)((double)(ticks[1] - ticks[0]) * device->caps.timestamp_period);
        rn_device_profile_add(device, recorder->timed[i].name, ns, recorder->timed[i].bytes);
    }
    return VK_SUCCESS;
}

/* A wait that failed leaves the device at work on buffers that the caller would go on to change or destroy, so it is
 * tried again. A device that cannot be waited for is as good as lost. */
static VkResult wait_for_fence(const rn_recorder *recorder)
{
    const rn_device *device = recorder->device;
    VkResult result = VK_NOT_READY;
    for (int tries = 0; tries < 3 && result != VK_SUCCESS && result != VK_ERROR_DEVICE_LOST; tries++)
        result = device->vk.vkWaitForFences(device->handle, 1, &recorder->fence, VK_TRUE, UINT64_MAX);
    return result == VK_SUCCESS ? VK_SUCCESS : VK_ERROR_DEVICE_LOST;
}

retnet_result rn_recorder_wait(rn_recorder *recorder)
{
    rn_device *device = recorder->device;
    if (!recorder->pending) return RETNET_OK;
    VkResult result = wait_for_fence(recorder);
    recorder->pending = false;
    recorder->signalled = result == VK_SUCCESS;
    if (result == VK_SUCCESS && recorder->profiled) result = read_timestamps(recorder);
    return result == VK_SUCCESS ? RETNET_OK : rn_device_fail(device, result, "waiting for the device");
}

bool rn_recorder_is_done(const rn_recorder *recorder)
{
    const rn_device *device = recorder->device;
    return !recorder->pending || device->vk.vkGetFenceStatus(device->handle, recorder->fence) != VK_NOT_READY;
}

retnet_result rn_recorder_run(rn_recorder *recorder)
{
    retnet_result result = rn_recorder_submit(recorder);
    return result == RETNET_OK ? rn_recorder_wait(recorder) : result;
}
