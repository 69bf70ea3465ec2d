/* recorder.h: records dispatches and copies into one command buffer, with the barriers that their reads and writes
 * need and no others, and submits it, once or many times. Or records them into command buffers of somebody else's, who
 * submits them.
 *
 * On a device that only plans (kernel.h) nothing is recorded; such a recorder needs neither to be created nor begun.
 *
 * Errors stick: after the first one every call does nothing, and rn_recorder_end returns it.
 * One thread at a time per recorder. */
#ifndef RETNET_VULKAN_RECORDER_H
#define RETNET_VULKAN_RECORDER_H

#include "vulkan/buffer.h"
#include "vulkan/kernel.h"

typedef struct rn_binding {
    const rn_buffer *buffer;
    VkDeviceSize offset, size; /* bytes; the offset is a multiple of caps.storage_alignment */
} rn_binding;

/* Where the device finds what is bound, as shaders have it; 0: not known. */
typedef struct rn_address {
    uint32_t low, high;
} rn_address;

static inline rn_address rn_binding_address(const rn_binding *binding)
{
    VkDeviceAddress at = binding->buffer->address ? binding->buffer->address + binding->offset : 0;
    return (rn_address){(uint32_t)at, (uint32_t)(at >> 32)};
}

enum { RN_MAX_HAZARDS = 64, RN_MAX_TIMED = 1024 };

/* A range of a buffer touched since the last barrier. */
typedef struct rn_access {
    VkBuffer buffer;
    VkDeviceSize begin, end;
    bool write;
} rn_access;

typedef struct rn_timed {
    const char *name;
    uint64_t bytes;
} rn_timed;

typedef struct rn_recorder {
    rn_device *device;
    VkCommandPool pool;
    VkCommandBuffer own;      /* from the pool */
    VkCommandBuffer commands; /* being recorded: the own one, or somebody else's */
    VkFence fence;
    VkDescriptorPool *descriptor_pools; /* grown as needed, kept between recordings */
    uint32_t pool_count, pool_current;
    VkBufferView *views; /* of texel bindings; grown as needed */
    uint32_t view_count, view_capacity;
    VkQueryPool queries; /* only when profiling */
    rn_timed *timed;
    uint32_t timed_count;
    rn_access accesses[RN_MAX_HAZARDS];
    uint32_t access_count;
    bool copied_since_barrier; /* some of these accesses are copies' */
    bool copies_ordered;       /* the last barrier orders copies too */
    VkPipeline bound;
    uint32_t sets;  /* descriptor sets in use */
    bool pending;   /* submitted, not yet waited for */
    bool signalled; /* the fence: to be reset before the next submit */
    bool profiled;
    bool chained;  /* between rn_recorder_chain_begin and _end */
    bool ordered;  /* the chain's dispatches are ordered by barriers */
    bool labelled; /* a label of rn_recorder_label is open */
    retnet_result result;
} rn_recorder;

retnet_result rn_recorder_create(rn_device *device, rn_recorder *recorder);
void rn_recorder_destroy(rn_recorder *recorder); /* waits; accepts a zeroed recorder */

/* Starts a new recording in the recorder's own command buffer; what was recorded before is gone. Waits for a pending
 * submit. */
void rn_recorder_begin(rn_recorder *recorder);

/* Starts a recording in a command buffer of somebody else's, which is in the recording state, outside a render pass,
 * and of a queue family that computes. Until rn_recorder_end only the recorder records into it. Its owner ends and
 * submits it, and keeps the recorder until the device is done with it; then rn_recorder_reset makes room for more.
 * Several recordings may be made before that, and are done in the order of the queue.
 *
 * The recording begins with a barrier from and to compute and copies, so that it comes after whatever of them, and of
 * what was ordered before them, the queue ran before. It ends with none: who reads its results waits for writes of
 * compute shaders and copies. */
void rn_recorder_begin_in(rn_recorder *recorder, VkCommandBuffer commands);

/* Lets go of what recordings hold, which the device must have finished; waits for a pending submit of the own one. */
retnet_result rn_recorder_reset(rn_recorder *recorder);

/* What is recorded from here on belongs to, for debuggers: "layer 7 retention". Lasts until the next label or the end
 * of the recording; within it each dispatch has its kernel's name. Nothing without VK_EXT_debug_utils. */
void rn_recorder_label(rn_recorder *recorder, const char *format, ...) RN_PRINTF(2, 3);

/* Dispatches groups[3] workgroups. bindings and push must have the counts and sizes that the kernel's module has.
 * `bytes` is what the dispatch must at least move, for the profile. */
void rn_recorder_dispatch(rn_recorder *recorder, const rn_kernel *kernel, const rn_binding *bindings,
                          uint32_t binding_count, const void *push, uint32_t push_bytes, uint32_t x, uint32_t y,
                          uint32_t z, uint64_t bytes);
void rn_recorder_copy(rn_recorder *recorder, const rn_buffer *from, VkDeviceSize from_offset, const rn_buffer *to,
                      VkDeviceSize to_offset, VkDeviceSize size);
void rn_recorder_fill(rn_recorder *recorder, const rn_buffer *buffer, VkDeviceSize offset, VkDeviceSize size,
                      uint32_t word);
void rn_recorder_fill_zero(rn_recorder *recorder, const rn_buffer *buffer, VkDeviceSize offset, VkDeviceSize size);
/* Writes one word. */
void rn_recorder_write(rn_recorder *recorder, const rn_buffer *buffer, VkDeviceSize offset, uint32_t word);

/* A chain: dispatches whose kernels wait for each other's results by themselves (shaders/order.glsl), so that no
 * barrier stands between them. Each value that one leaves for another must have a place of its own in the chain's
 * memory, filled with RN_NOT_YET since before the chain; word 0 of that memory is zero, and not zero after the run if a
 * kernel lost patience, which also makes all that come after it leave nothing. Where the device does not keep an order
 * that makes waiting end (rn_device.soft_order), or with `ordered`, barriers stand between the dispatches and nothing
 * waits. */
#define RN_NOT_YET UINT32_MAX
void rn_recorder_chain_begin(rn_recorder *recorder, bool ordered);
void rn_recorder_chain_end(rn_recorder *recorder);
/* How often a kernel recorded now may look for a value; 0: it is there. */
uint32_t rn_recorder_patience(const rn_recorder *recorder);

/* Makes an earlier error of the caller's the recording's. */
void rn_recorder_fail(rn_recorder *recorder, retnet_result result);
/* rn_kernel_get for what is recorded next. NULL, and the recording failed, if it cannot be made. */
const rn_kernel *rn_recorder_kernel(rn_recorder *recorder, const rn_shader *shader, const uint32_t *constants,
                                    uint32_t count);

/* A barrier from all writes so far to the host's reads. A recording in the own command buffer ends with one. */
void rn_recorder_release(rn_recorder *recorder);
/* Ends the recording and returns the first error of it. */
retnet_result rn_recorder_end(rn_recorder *recorder);
/* Submits the recorder's own command buffer; may be called again after rn_recorder_wait. Host writes to mapped buffers
 * before it are seen by the device, and after rn_recorder_wait the device's writes are seen by the host. */
retnet_result rn_recorder_submit(rn_recorder *recorder);
/* Semaphores of a submit; null handles: none. Values are of timeline semaphores. */
typedef struct rn_chain {
    VkSemaphore wait, signal;
    uint64_t wait_value, signal_value;
} rn_chain;
retnet_result rn_recorder_submit_chained(rn_recorder *recorder, const rn_chain *chain);
retnet_result rn_recorder_wait(rn_recorder *recorder);
/* Whether rn_recorder_wait would not wait. */
bool rn_recorder_is_done(const rn_recorder *recorder);
/* submit and wait. */
retnet_result rn_recorder_run(rn_recorder *recorder);

#endif
