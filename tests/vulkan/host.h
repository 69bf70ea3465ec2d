/* host.h: a host program as the library's tests need one: volk with its globals, an instance with a validation
 * messenger of its own, a device, a queue that its own thread submits to as well. Between it and the library stands a
 * spy: the vkGetInstanceProcAddr that the library gets hands out functions that check what is asked of them. */
#ifndef RETNET_TESTS_HOST_H
#define RETNET_TESTS_HOST_H

#include <volk.h>

#include <retnet/vulkan.h>

#include "session/session_test.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct host {
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family, api_version;
    bool debug_utils;             /* the instance has it */
    atomic_int messages;          /* of the validation layers */
    retnet_vulkan_device adopted; /* what the library gets */
    retnet_vulkan_additions additions;
    VkAllocationCallbacks callbacks;
    atomic_long host_allocations; /* made by the callbacks and not freed */
    atomic_long callback_calls;

    pthread_mutex_t lock;
    atomic_bool locked;
    pthread_t locker;

    /* The host's own work. */
    pthread_t thread;
    atomic_bool stop;
    atomic_uint frames;
} host;

/* Ends the program if it fails, with TEST_SKIPPED where there is no Vulkan. One host at a time. */
void host_create(host *h, bool recommend);
void host_destroy(host *h);
int host_finish(int failures); /* the exit code; test_failures of the test's own file is passed in */

/* A thread that submits to the same queue, under the lock, until it is told to stop; checks what its commands wrote. */
void host_start_rendering(host *h);
void host_stop_rendering(host *h);

/* A context on the host's device; a line of its log at RETNET_LOG_ERROR fails the test. */
retnet_context *host_context(host *h);
retnet_context_desc host_context_desc(void);
const char *host_last_info(void); /* the newest line at RETNET_LOG_INFO */

/* ---- The spy ---------------------------------------------------------------------------------------------------- */

typedef struct spy_record {
    atomic_long live; /* Vulkan objects that the library made and has not destroyed */
    atomic_int submits;
    atomic_ullong allocated;    /* bytes by vkAllocateMemory since it was set to 0 */
    const void *callbacks_user; /* what pAllocator->pUserData must be; NULL: pAllocator must be NULL */
    atomic_int pipelines;
    atomic_int pipeline_threads; /* how many times another thread than the last one made one */
    /* Software drivers have empty caches: this many bytes, counting up, follow what the driver gives, and must come
     * back the same. */
    size_t cache_bytes;
    atomic_int caches_filled, caches_merged;
    float priority;         /* of the last allocation that had one */
    uint64_t budget, usage; /* what VK_EXT_memory_budget is made to say of every heap; 0: the driver's words */
    /* Labels and names, the newest ones. */
    char labels[4096][64];
    atomic_uint label_count;
    int label_depth;
    char names[256][64];
    atomic_uint name_count;
} spy_record;

extern spy_record spy;
void spy_install(host *h);
int spy_failures(void);
PFN_vkVoidFunction VKAPI_PTR spy_get_instance_proc_addr(VkInstance instance, const char *name);

#endif
