/* faults.h: a Vulkan in which chosen calls fail. It stands between the library and the machine's loader as the
 * vkGetInstanceProcAddr that the library is given, lets calls through, counts them, keeps count of the objects that
 * they make, and gives one of them an error instead, as Vulkan's specification allows. The library's host memory and
 * the drivers' (VkAllocationCallbacks) can be made to run out the same way. */
#ifndef RETNET_TESTS_FAULTS_H
#define RETNET_TESTS_FAULTS_H

#include <volk.h>

#include <retnet/vulkan.h>

#include <stdatomic.h>

typedef enum fault_kind {
    FAULT_NONE,
    FAULT_CALL,     /* the n-th Vulkan call that can fail gives `code`, its number code of those that it may give */
    FAULT_WAIT,     /* every wait from the n-th call on fails; the work itself is done */
    FAULT_LOST,     /* the device is lost at the n-th call that may say so, and stays so */
    FAULT_FUNCTION, /* the n-th function that is asked for is not there */
    FAULT_HOST,     /* the n-th allocation of host memory fails */
    FAULT_DRIVER,   /* the n-th allocation of the driver's fails */
    FAULT_KINDS
} fault_kind;

/* X(type): the Vulkan objects that are counted, each kind for itself. */
#define COUNTED_OBJECTS(X)                                                                                             \
    X(Instance)                                                                                                        \
    X(DebugUtilsMessengerEXT)                                                                                          \
    X(Device)                                                                                                          \
    X(DeviceMemory)                                                                                                    \
    X(Pipeline)                                                                                                        \
    X(Buffer)                                                                                                          \
    X(BufferView)                                                                                                      \
    X(CommandPool)                                                                                                     \
    X(DescriptorPool)                                                                                                  \
    X(DescriptorSetLayout)                                                                                             \
    X(Fence)                                                                                                           \
    X(PipelineCache)                                                                                                   \
    X(PipelineLayout)                                                                                                  \
    X(QueryPool)                                                                                                       \
    X(Semaphore)                                                                                                       \
    X(ShaderModule)

enum {
#define COUNT_OBJECT(type) OBJECT_##type,
    COUNTED_OBJECTS(COUNT_OBJECT)
#undef COUNT_OBJECT
        OBJECT_TYPES
};

extern struct faults {
    fault_kind kind;
    long at;    /* which one, from 1 */
    int code;   /* of FAULT_CALL */
    long count; /* how many there were of this kind since faults_arm */
    bool hit, last_code;
    bool lost;
    const char *function;              /* that was hit */
    VkResult result;                   /* that it gave */
    atomic_long objects[OBJECT_TYPES]; /* that are alive */
    atomic_ulong objects_made;
    long semaphore_waits; /* calls of vkWaitSemaphores */
    atomic_long host_blocks, driver_blocks;
} faults;

/* From here on the fault is lying in wait; `at` 0: only counts. */
void faults_arm(fault_kind kind, long at, int code);
void faults_disarm(void);

/* Vulkan objects that are alive, and how many more there are since, as in "2 Fence, -1 Buffer"; NULL: as many of each
 * type. */
typedef struct faults_objects {
    long alive[OBJECT_TYPES];
} faults_objects;
faults_objects faults_count_objects(void);
const char *faults_compare_objects(const faults_objects *before);

/* What a context with faults is made with. `volkInitialize` must have been called. */
retnet_vulkan_device faults_device(void);
retnet_allocator faults_allocator(void);

#endif
