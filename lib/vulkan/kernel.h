/* kernel.h: compute pipelines, made once per module and set of specialisation constants. */
#ifndef RETNET_VULKAN_KERNEL_H
#define RETNET_VULKAN_KERNEL_H

#include "vulkan/device.h"
#include "vulkan/shader.h"

typedef struct rn_kernel {
    const rn_shader *shader;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
} rn_kernel;

enum { RN_MAX_CONSTANTS = 16 };

/* The kernel of `shader` with constants[0..count) as its specialisation constants 0..count; all of them must be given.
 * Made at the first call, then found; where another thread is making it, waits. Lives as long as the device. Any
 * thread, and kernels that are there are found while others are made. */
retnet_result rn_kernel_get(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                            const rn_kernel **out);
/* Whether its buffers and push constants are no more than the device allows. */
bool rn_kernel_fits(const rn_device *device, const rn_shader *shader);
VkDescriptorType rn_shader_descriptor_type(const rn_shader *shader, uint32_t binding);
void rn_kernels_destroy(rn_device *device);

/* Kernels that are wanted but not made yet. On a copy of a device whose `plan` points here, rn_kernel_get adds to the
 * plan and gives a kernel without Vulkan objects, and a recorder records nothing. So what would be recorded is told
 * without doing it. */
struct rn_kernel_plan {
    rn_kernel_entry *wishes; /* list, each once */
    uint32_t count;
};

/* Makes the kernels of the plan. Where several threads do this at once with the same plans, each makes a share. Ends
 * when all of them are there, even if another thread makes the last. Progress counts kernels. */
retnet_result rn_kernel_plan_make(rn_device *device, const rn_kernel_plan *plan, retnet_progress_fn progress,
                                  void *progress_user);
void rn_kernel_plan_free(rn_host *host, rn_kernel_plan *plan);

/* Between the two no kernel is in the making. Not for threads that make one. */
void rn_kernels_lock(rn_device *device);
void rn_kernels_unlock(rn_device *device);

#endif
