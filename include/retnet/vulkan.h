/* vulkan.h: the library on a Vulkan device that the host has made, and the host on one that the library has made.
 *
 * In a program that owns a device:
 *
 *   1. Fill a retnet_vulkan_device with what there is before vkCreateDevice.
 *   2. retnet_vulkan_recommend() adds what makes the library fast to the VkDeviceCreateInfo; call vkCreateDevice.
 *   3. retnet_context_create_from_device(); from there on everything is as in retnet.h.
 *
 * The library submits to the one queue that it is given, under the host's lock, and waits for fences of its own; or the
 * host submits what the library has recorded into its command buffers (retnet_session_record). It
 * calls Vulkan only through tables that it loads for this device by the host's vkGetInstanceProcAddr, uses only the
 * features and extensions that the host says are enabled, and destroys only what it made.
 *
 * This is the only header of the library that includes Vulkan's. Define VK_NO_PROTOTYPES before it, or include volk.h,
 * as you would before <vulkan/vulkan.h>. */
#ifndef RETNET_VULKAN_H
#define RETNET_VULKAN_H

#include <retnet/retnet.h>

#include <vulkan/vulkan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- What a device should have ---------------------------------------------------------------------------------- */

/* Required: this version, and a queue with VK_QUEUE_COMPUTE_BIT. No extension, no feature. */
#define RETNET_VULKAN_REQUIRED_VERSION VK_API_VERSION_1_1

/* Recommended: this version (VkApplicationInfo::apiVersion), and below it the following. */
#define RETNET_VULKAN_RECOMMENDED_VERSION VK_API_VERSION_1_3

/* X(name): recommended device extensions. retnet_vulkan_recommend() enables those that a device has. */
#define RETNET_VULKAN_RECOMMENDED_EXTENSIONS(X)                                                                        \
    X("VK_KHR_cooperative_matrix") /* prompts are read on matrix units */                                              \
    X("VK_EXT_memory_budget")      /* what does not fit beside the host's own memory is refused beforehand */          \
    X("VK_EXT_memory_priority")    /* see retnet_vulkan_device::memory_priority */

/* X(feature): recommended features. Matrix units are used where all but the last four are enabled. */
#define RETNET_VULKAN_RECOMMENDED_FEATURES(X)                                                                          \
    X(cooperativeMatrix)                                                                                               \
    X(vulkanMemoryModel)                                                                                               \
    X(vulkanMemoryModelDeviceScope)                                                                                    \
    X(shaderFloat16)                                                                                                   \
    X(subgroupSizeControl)                                                                                             \
    X(computeFullSubgroups)                                                                                            \
    X(memoryPriority)                                                                                                  \
    X(timelineSemaphore)       /* hosts can wait for slices on the device, see retnet_session_semaphore */             \
    X(shaderIntegerDotProduct) /* tokens are made faster with 8-bit and 4-bit weights */                               \
    X(bufferDeviceAddress)     /* prompts are read faster on matrix units */

/* ---- A device --------------------------------------------------------------------------------------------------- */

/* A Vulkan device and how to use it. Handles and callbacks must stay valid until the context is destroyed; arrays and
 * structs that are pointed to are only read during the call. */
typedef struct retnet_vulkan_device {
    /* All three, or none: without them the library makes an instance and a device of its own, and of the other fields
     * only get_instance_proc_addr, allocation_callbacks and memory_priority may be set. */
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;

    /* Required with a device. NULL without one: the machine's Vulkan loader. */
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;

    /* The queue that the library submits to. Its family must have VK_QUEUE_COMPUTE_BIT. One without
     * VK_QUEUE_GRAPHICS_BIT leaves rendering alone best. */
    uint32_t queue_family;
    uint32_t queue_index;
    VkQueue queue; /* NULL: vkGetDeviceQueue(queue_family, queue_index). Needed for a queue that was made with flags */

    /* Called around every use of the queue, from whichever thread called the library, never nested. NULL both: nothing
     * outside this context uses the queue. The calls between them do not wait for the device. */
    void (*lock_queue)(void *queue_user);
    void (*unlock_queue)(void *queue_user);
    void *queue_user;

    uint32_t api_version; /* VkApplicationInfo::apiVersion of the instance; 0: Vulkan 1.1. The library goes by the
                             lower of it and the physical device's version */

    /* As given to vkCreateInstance. VK_EXT_debug_utils is what matters: with it, buffers have names and dispatches are
     * in labels such as "layer 7 retention". */
    const char *const *instance_extensions; /* [instance_extension_count]; NULL: none */
    uint32_t instance_extension_count;
    /* As given to vkCreateDevice. */
    const char *const *extensions; /* [extension_count]; NULL: none */
    uint32_t extension_count;
    /* As given to vkCreateDevice in pNext: a VkPhysicalDeviceFeatures2, or any other chain. Structs of features are
     * read, others are skipped. NULL: no features. */
    const void *features;

    /* NULL: the driver's own. Copied; given to every call that creates, allocates, destroys or frees a Vulkan object.
     * Its functions may be called from any thread that calls the library. */
    const VkAllocationCallbacks *allocation_callbacks;

    /* NULL: the library makes one. The host's is used for every pipeline, and is the host's to save; it must not have
     * been created with VK_PIPELINE_CACHE_CREATE_EXTERNALLY_SYNCHRONIZED_BIT. */
    VkPipelineCache pipeline_cache;

    /* VkMemoryPriorityAllocateInfoEXT::priority of the library's device-local memory where VK_EXT_memory_priority and
     * its feature are enabled, in (0, 1]; 0: 0.5, Vulkan's default. Less lets the system evict it before what the host
     * draws with. */
    float memory_priority;
} retnet_vulkan_device;

/* Creates a context on a device. `desc` may be NULL; its device_name, device_number and enable_validation must be unset
 * where a device is given, and its submit_budget_us is 8,000 if 0, at least 500 otherwise. On failure *out is NULL, the
 * host's objects are as they were, and the reason went to desc->log. Errors: INVALID_ARGUMENT (a field, by name),
 * UNSUPPORTED (an older Vulkan than 1.1, a queue family without compute), and those of retnet_context_create.
 * Any thread. Several contexts may share a device, and a queue if they share its lock. The device must be destroyed
 * after the context. */
RETNET_API retnet_result retnet_context_create_from_device(const retnet_vulkan_device *device,
                                                           const retnet_context_desc *desc, retnet_context **out);

/* What a context runs on, so that a program can make buffers on a device of the library's own: all fields, as above,
 * save a pipeline cache of the library's own.
 * `extensions` and `features` name what the library uses, and like all pointers live as long as the context.
 * lock_queue and unlock_queue are set, and must be called around the program's own use of the queue. Objects that the
 * program makes must be gone before the context is. With this a second context can share the device. Any thread. */
RETNET_API void retnet_vulkan_get(const retnet_context *context, retnet_vulkan_device *device);

/* ---- Semaphores -------------------------------------------------------------------------------------------------

   What the library submits for a session by itself (retnet_session_step, and the functions that wait) are slices with
   numbers that count up. */

/* The session's timeline semaphore and the value that the newest submitted slice signals it with (0: there was none),
 * for the host to wait for, on the device or not. It is the library's and lives as long as the session. A null handle
 * where the device has no timelineSemaphore; then there are retnet_session_wait and retnet_step_info::pending. */
RETNET_API void retnet_session_semaphore(const retnet_session *session, VkSemaphore *semaphore, uint64_t *value);
/* The next slice that the library submits for the session begins when `semaphore` has reached `value` (or, if it is a
 * binary one, is signalled). A null handle takes that back. INVALID_ARGUMENT if there is another one already. */
RETNET_API retnet_result retnet_session_await(retnet_session *session, VkSemaphore semaphore, uint64_t value);

/* ---- In the host's command buffers ------------------------------------------------------------------------------

   Tasks (retnet_session_start) can also be worked on in command buffers that the host submits:

     retnet_session_record(session, commands, budget_us, &record);   in every frame, once or several times
     ...the host submits, and some frames later its fence is signalled...
     retnet_session_collect(session, record.slice, &info);           makes tokens of what the device has left

   Slices must be submitted once, in the order in which they were recorded, and one must be done before the next one
   begins: on one queue the barriers below see to that. Nothing else of the session may run in between: until all of
   them are collected, functions that would need the device for the session's slots are INVALID_ARGUMENT. */

/* What a slice that was recorded holds. */
typedef struct retnet_record_info {
    uint64_t slice;       /* for retnet_session_collect; 0: nothing was recorded, as the tasks have nothing to do before
                             more is collected */
    uint64_t expected_ns; /* of device time */
} retnet_record_info;

/* Records the next slice of the session's tasks, work that is expected to take budget_us of device time, but at least
 * half a layer, into a command buffer of the device that is being recorded, outside of a render pass, for a queue
 * family with compute. It begins with a memory barrier from all of the compute and transfer stages' accesses to the
 * same, and ends with one from their writes to the host's reads. Pipeline, descriptor sets and push constants of the
 * compute bind point are not what they were, all else is. Up to 16 slices may wait to be collected. `info` may not be
 * NULL. Errors: INVALID_ARGUMENT, also while a slice of retnet_session_step's is pending; those of recording, after
 * which the command buffer must not be submitted, all tasks have ended, and their slots are undefined. Slices that were
 * submitted before must then have been executed before the session is used again. */
RETNET_API retnet_result retnet_session_record(retnet_session *session, VkCommandBuffer commands, uint32_t budget_us,
                                               retnet_record_info *info);
/* When the device has done slice number `slice` and all before it, which the host knows by a fence or semaphore of its
 * own: takes in what they made and calls the tasks' callbacks. `info` may be NULL. INVALID_ARGUMENT if a slice is seen
 * not to have been executed; it can then be collected later. */
RETNET_API retnet_result retnet_session_collect(retnet_session *session, uint64_t slice, retnet_step_info *info);

/* ---- Before vkCreateDevice -------------------------------------------------------------------------------------- */

enum { RETNET_VULKAN_MAX_EXTENSIONS = 128 };

/* Room for what retnet_vulkan_recommend() adds. The caller's, needs no initialisation and no clean-up. */
typedef struct retnet_vulkan_additions {
    const char *extensions[RETNET_VULKAN_MAX_EXTENSIONS];
    void *structs[64];
} retnet_vulkan_additions;

/* Adds to `info` the recommended extensions and features that the physical device has. `device` needs instance,
 * physical_device and get_instance_proc_addr, and api_version, below RETNET_VULKAN_RECOMMENDED_VERSION of which there
 * are no matrix units. Features are switched on in the structs that the host's pNext chain has
 * (VkPhysicalDeviceVulkan12Features and VkPhysicalDeviceVulkan13Features, or the single ones), which must be writable;
 * structs that it lacks are put before it. The list of extensions becomes the host's and the recommended ones, each
 * once. info and device->extensions, extension_count and features then point into `additions`, which has to live until
 * the context is created. What the host itself asked for is untouched.
 * Allocates nothing but through device->allocation_callbacks or malloc while it runs. Errors: INVALID_ARGUMENT; LIMIT,
 * with over RETNET_VULKAN_MAX_EXTENSIONS names in all; OUT_OF_HOST_MEMORY; VULKAN, if the device cannot be asked.
 * After an error nothing was added. Any thread. */
RETNET_API retnet_result retnet_vulkan_recommend(retnet_vulkan_device *device, VkDeviceCreateInfo *info,
                                                 retnet_vulkan_additions *additions);

#ifdef __cplusplus
}
#endif
#endif
