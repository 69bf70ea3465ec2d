/* functions.h: the Vulkan functions that the library calls, as tables: one of an instance, one of a device. Nothing is
 * called by a global name, so that a host's Vulkan loader of any kind and ours never meet. */
#ifndef RETNET_VULKAN_FUNCTIONS_H
#define RETNET_VULKAN_FUNCTIONS_H

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan.h>

#include <stdbool.h>

#define RN_INSTANCE_FUNCTIONS(X)                                                                                       \
    X(DestroyInstance)                                                                                                 \
    X(EnumeratePhysicalDevices)                                                                                        \
    X(GetPhysicalDeviceProperties2)                                                                                    \
    X(GetPhysicalDeviceFeatures2)                                                                                      \
    X(GetPhysicalDeviceMemoryProperties)                                                                               \
    X(GetPhysicalDeviceMemoryProperties2)                                                                              \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                                          \
    X(EnumerateDeviceExtensionProperties)                                                                              \
    X(CreateDevice)                                                                                                    \
    X(GetDeviceProcAddr)

/* All of Vulkan 1.1: every device has them. */
#define RN_DEVICE_FUNCTIONS(X)                                                                                         \
    X(AllocateCommandBuffers)                                                                                          \
    X(AllocateDescriptorSets)                                                                                          \
    X(AllocateMemory)                                                                                                  \
    X(BeginCommandBuffer)                                                                                              \
    X(BindBufferMemory)                                                                                                \
    X(CmdBindDescriptorSets)                                                                                           \
    X(CmdBindPipeline)                                                                                                 \
    X(CmdCopyBuffer)                                                                                                   \
    X(CmdDispatch)                                                                                                     \
    X(CmdFillBuffer)                                                                                                   \
    X(CmdPipelineBarrier)                                                                                              \
    X(CmdPushConstants)                                                                                                \
    X(CmdResetQueryPool)                                                                                               \
    X(CmdWriteTimestamp)                                                                                               \
    X(CreateBuffer)                                                                                                    \
    X(CreateBufferView)                                                                                                \
    X(CreateCommandPool)                                                                                               \
    X(CreateComputePipelines)                                                                                          \
    X(CreateDescriptorPool)                                                                                            \
    X(CreateDescriptorSetLayout)                                                                                       \
    X(CreateFence)                                                                                                     \
    X(CreatePipelineCache)                                                                                             \
    X(CreatePipelineLayout)                                                                                            \
    X(CreateQueryPool)                                                                                                 \
    X(CreateSemaphore)                                                                                                 \
    X(CreateShaderModule)                                                                                              \
    X(DestroyBuffer)                                                                                                   \
    X(DestroyBufferView)                                                                                               \
    X(DestroyCommandPool)                                                                                              \
    X(DestroyDescriptorPool)                                                                                           \
    X(DestroyDescriptorSetLayout)                                                                                      \
    X(DestroyDevice)                                                                                                   \
    X(DestroyFence)                                                                                                    \
    X(DestroyPipeline)                                                                                                 \
    X(DestroyPipelineCache)                                                                                            \
    X(DestroyPipelineLayout)                                                                                           \
    X(DestroyQueryPool)                                                                                                \
    X(DestroySemaphore)                                                                                                \
    X(DestroyShaderModule)                                                                                             \
    X(EndCommandBuffer)                                                                                                \
    X(FreeMemory)                                                                                                      \
    X(GetBufferMemoryRequirements)                                                                                     \
    X(GetDeviceQueue)                                                                                                  \
    X(GetFenceStatus)                                                                                                  \
    X(GetPipelineCacheData)                                                                                            \
    X(GetQueryPoolResults)                                                                                             \
    X(MapMemory)                                                                                                       \
    X(MergePipelineCaches)                                                                                             \
    X(QueueSubmit)                                                                                                     \
    X(ResetCommandPool)                                                                                                \
    X(ResetDescriptorPool)                                                                                             \
    X(ResetFences)                                                                                                     \
    X(UpdateDescriptorSets)                                                                                            \
    X(WaitForFences)

/* Of VK_EXT_debug_utils. All NULL where it is not enabled. */
#define RN_DEBUG_FUNCTIONS(X)                                                                                          \
    X(CmdBeginDebugUtilsLabelEXT)                                                                                      \
    X(CmdEndDebugUtilsLabelEXT)                                                                                        \
    X(SetDebugUtilsObjectNameEXT)

/* Of Vulkan 1.2. NULL on devices of 1.1; called only where their features are enabled. */
#define RN_LATER_FUNCTIONS(X)                                                                                          \
    X(GetBufferDeviceAddress)                                                                                          \
    X(WaitSemaphores)

typedef struct rn_instance_table {
#define RN_DECLARE(name) PFN_vk##name name;
    RN_INSTANCE_FUNCTIONS(RN_DECLARE)
#undef RN_DECLARE
} rn_instance_table;

typedef struct rn_device_table {
#define RN_DECLARE(name) PFN_vk##name vk##name;
    RN_DEVICE_FUNCTIONS(RN_DECLARE)
    RN_DEBUG_FUNCTIONS(RN_DECLARE)
    RN_LATER_FUNCTIONS(RN_DECLARE)
#undef RN_DECLARE
} rn_device_table;

/* The entry point of the machine's Vulkan loader, or NULL if there is none. *library is for rn_loader_close. */
PFN_vkGetInstanceProcAddr rn_loader_open(void **library);
void rn_loader_close(void *library); /* accepts NULL */

/* Fill a table; false if a function of it is missing. */
bool rn_instance_table_load(PFN_vkGetInstanceProcAddr get, VkInstance instance, rn_instance_table *table);
bool rn_device_table_load(PFN_vkGetDeviceProcAddr get, VkDevice device, bool debug_utils, rn_device_table *table);

#endif
