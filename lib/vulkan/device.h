/* device.h: a Vulkan device with what the library wants to know about it, and the errors of its calls. */
#ifndef RETNET_VULKAN_DEVICE_H
#define RETNET_VULKAN_DEVICE_H

#include "base/base.h"
#include "base/mutex.h"

#include <volk.h>

/* Instance-level functions, loaded for one instance. Device-level ones are in volk's table. */
#define RN_INSTANCE_FUNCTIONS(X)                                                                                       \
    X(DestroyInstance)                                                                                                 \
    X(EnumeratePhysicalDevices)                                                                                        \
    X(GetPhysicalDeviceProperties2)                                                                                    \
    X(GetPhysicalDeviceFeatures2)                                                                                      \
    X(GetPhysicalDeviceMemoryProperties)                                                                               \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                                          \
    X(EnumerateDeviceExtensionProperties)                                                                              \
    X(CreateDevice)                                                                                                    \
    X(GetDeviceProcAddr)

typedef struct rn_instance_table {
#define RN_DECLARE(name) PFN_vk##name name;
    RN_INSTANCE_FUNCTIONS(RN_DECLARE)
#undef RN_DECLARE
} rn_instance_table;

/* f16 matrices of m x k by k x n, summed in fp32 by the invocations of one subgroup. */
typedef struct rn_matrix_unit {
    uint32_t m, n, k;        /* 0: there is none */
    uint32_t subgroup;       /* invocations */
    bool must_ask_subgroup;  /* subgroups come in other sizes too, if not asked for this one */
} rn_matrix_unit;

/* What kernels may rely on: what the device has, less what the context was told to pretend away. */
typedef struct rn_capabilities {
    bool is_cpu;
    bool unified_memory;
    bool subgroup_arithmetic; /* basic, arithmetic and shuffle in compute */
    uint32_t subgroup_size;
    uint32_t max_invocations;  /* of a workgroup */
    uint32_t shared_memory;    /* bytes */
    uint32_t max_groups[3];
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

enum { RN_MAX_PROFILE_SLOTS = 32 };

typedef struct rn_device {
    rn_host *host;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    rn_instance_table fn;
    VkPhysicalDevice physical;
    VkDevice handle;
    struct VolkDeviceTable vk;
    uint32_t queue_family;
    VkQueue queue;
    rn_mutex queue_lock; /* submissions from several sessions */
    VkPhysicalDeviceMemoryProperties memory;
    rn_capabilities caps;
    bool texel_loads; /* this software driver reads texels faster than storage buffers */
    uint32_t submit_budget_us;
    atomic_bool lost; /* latched; every later call fails at once */
    char name[256], driver[256 + 2 * VK_MAX_DRIVER_INFO_SIZE];
    uint32_t api_version;

    rn_mutex kernel_lock;
    rn_kernel_entry *kernels; /* list, newest first */
    VkPipelineCache pipeline_cache;

    rn_mutex profile_lock;
    bool profiling;
    uint32_t profile_count;
    rn_profile_slot profile[RN_MAX_PROFILE_SLOTS];
} rn_device;

/* Creates instance and device of the library's own. On failure `device` holds nothing. */
retnet_result rn_device_open(rn_host *host, const retnet_context_desc *desc, rn_device *device);
void rn_device_close(rn_device *device); /* accepts a zeroed device */

/* Invocations of a workgroup that a software driver runs as one vector. */
uint32_t rn_device_vector(const rn_device *device);

/* Turns a failed Vulkan result into ours, with a message that names it and `what` was tried. */
retnet_result rn_device_fail(rn_device *device, VkResult result, const char *what);

/* Adds a measured dispatch to the profile. Any thread. */
void rn_device_profile_add(rn_device *device, const char *name, uint64_t nanoseconds, uint64_t bytes);

#endif
