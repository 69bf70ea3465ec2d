/* device.h: a Vulkan device with what the library wants to know about it, and the errors of its calls. */
#ifndef RETNET_VULKAN_DEVICE_H
#define RETNET_VULKAN_DEVICE_H

#include "base/base.h"
#include "base/mutex.h"
#include "vulkan/choices.h"
#include "vulkan/functions.h"

#include <retnet/vulkan.h>

/* f16 matrices of m x k by k x n, summed in fp32 by the invocations of one subgroup. */
typedef struct rn_matrix_unit {
    uint32_t m, n, k;       /* 0: there is none */
    uint32_t subgroup;      /* invocations */
    bool must_ask_subgroup; /* subgroups come in other sizes too, if not asked for this one */
    uint32_t lanes;         /* rn_lanes: which invocation holds what of a matrix */
} rn_matrix_unit;

/* What kernels may rely on: what the device has, less what the context was told to pretend away. */
typedef struct rn_capabilities {
    bool is_cpu;
    bool unified_memory;
    bool subgroup_arithmetic; /* basic, arithmetic and shuffle in compute */
    bool byte_dots;           /* dot products of four bytes, by hardware */
    uint32_t subgroup_size;
    uint32_t processors;      /* that run workgroups each; 0: not known */
    uint32_t max_invocations; /* of a workgroup */
    uint32_t shared_memory;   /* bytes */
    uint32_t max_groups[3];
    uint32_t max_storage_buffers; /* of a kernel */
    uint32_t max_push_bytes;
    uint64_t max_storage_range; /* bytes of one binding */
    uint64_t max_allocation;
    uint64_t storage_alignment; /* of a binding's offset */
    uint64_t max_texel_range;   /* bytes of a binding that is read as texels of 16 bytes */
    float timestamp_period;     /* nanoseconds a tick; 0: no timestamps */
    rn_matrix_unit matrix;
} rn_capabilities;

typedef struct rn_profile_slot {
    const char *name;
    uint64_t dispatches, nanoseconds, bytes;
} rn_profile_slot;

typedef struct rn_kernel_entry rn_kernel_entry;
typedef struct rn_kernel_plan rn_kernel_plan;

enum { RN_MAX_PROFILE_SLOTS = 32 };

typedef struct rn_device {
    rn_host *host;
    bool adopted; /* instance, device and queue are the host program's: never destroyed here */
    void *loader;
    PFN_vkGetInstanceProcAddr get_proc;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    rn_instance_table fn;
    VkPhysicalDevice physical;
    VkDevice handle;
    rn_device_table vk;
    const VkAllocationCallbacks *allocator; /* for every call that takes one; NULL: the driver's own */
    VkAllocationCallbacks allocator_copy;
    uint32_t queue_family, queue_index;
    VkQueue queue;
    void (*lock_queue)(void *user); /* around every use of the queue, see rn_device_submit */
    void (*unlock_queue)(void *user);
    void *queue_user;
    rn_mutex queue_lock; /* what they lock where the host program has none of its own */
    VkPhysicalDeviceMemoryProperties memory;
    rn_capabilities caps;
    uint32_t patience;      /* looks at a value that another dispatch leaves before a kernel gives up */
    atomic_bool soft_order; /* workgroups of earlier dispatches start first, as far as was seen (layers/order.h) */
    bool texel_loads;       /* this software driver reads texels faster than storage buffers */
    uint32_t submit_budget_us;
    atomic_bool lost; /* latched; every later call fails at once */
    char name[256], driver[256 + 2 * VK_MAX_DRIVER_INFO_SIZE];
    uint32_t api_version; /* that may be used: of device and instance, the lower */

    rn_mutex kernel_lock;
    rn_condition kernel_made; /* or given up */
    rn_kernel_entry *kernels; /* list, newest first */
    uint32_t kernels_in_making;
    rn_kernel_plan *plan; /* not NULL: a copy of a device on which nothing is made or recorded (kernel.h) */
    VkPipelineCache pipeline_cache;
    bool owns_pipeline_cache;
    rn_choices choices;
    bool measures;      /* kernels are chosen by measurement where several compete */
    bool slow_matrices; /* uses the matrix units of a CPU as well: for a test */

    /* Extensions in use beyond caps, and for retnet_vulkan_get what is in use in Vulkan's terms. */
    bool memory_budget, memory_priority, timeline;
    bool addresses; /* of the library's own buffers, for kernels of matrix units */
    float priority; /* of device-local memory, where there is memory_priority */
    retnet_vulkan_additions used;
    uint32_t used_extension_count;
    const void *used_features;

    rn_mutex profile_lock;
    bool profiling;
    uint32_t profile_count;
    rn_profile_slot profile[RN_MAX_PROFILE_SLOTS];
} rn_device;

/* Adopts the device of `vulkan`, or creates instance and device of the library's own where there is none in it or it is
 * NULL. On failure `device` holds nothing. */
retnet_result rn_device_open(rn_host *host, const retnet_context_desc *desc, const retnet_vulkan_device *vulkan,
                             rn_device *device);
void rn_device_close(rn_device *device); /* accepts a zeroed device */

/* Invocations of a workgroup that a software driver runs as one vector. */
uint32_t rn_device_vector(const rn_device *device);

/* What a failed Vulkan result is of ours. */
retnet_result rn_error_of(VkResult result);
/* The same with a message that names the result and `what` was tried; remembers that a device was lost. The handle that
 * the call was to make is undefined: the caller sets it to null. */
retnet_result rn_device_fail(rn_device *device, VkResult result, const char *what);

/* DEVICE_LOST, with a message, once any call has found the device lost. */
retnet_result rn_device_check(rn_device *device);

/* vkQueueSubmit of one batch under the queue's lock. The only use of the queue that there is. */
VkResult rn_device_submit(rn_device *device, const VkSubmitInfo *info, VkFence fence);

/* Names an object for debuggers, where VK_EXT_debug_utils is enabled. */
void rn_device_name(const rn_device *device, VkObjectType type, uint64_t object, const char *name);

/* Adds a measured dispatch to the profile. Any thread. */
void rn_device_profile_add(rn_device *device, const char *name, uint64_t nanoseconds, uint64_t bytes);

/* ---- adopt.c ---- */

/* rn_device_open's part for a host program's device. */
retnet_result rn_device_adopt(rn_device *device, const retnet_context_desc *desc, const retnet_vulkan_device *vulkan);

/* retnet_vulkan_get. */
void rn_device_describe(const rn_device *device, retnet_vulkan_device *vulkan);

/* ---- device.c, for adopt.c ---- */

/* Reads name, version (at most `version`), memory and capabilities of device->physical. */
retnet_result rn_device_read_capabilities(rn_device *device, const retnet_context_desc *desc, uint32_t version);
/* Loads the table of device->handle and gets the queue. */
retnet_result rn_device_load(rn_device *device, bool debug_utils);

#endif
