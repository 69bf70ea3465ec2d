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
 * Made at the first call, then found. Lives as long as the device. Any thread. */
retnet_result rn_kernel_get(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                            const rn_kernel **out);
VkDescriptorType rn_shader_descriptor_type(const rn_shader *shader, uint32_t binding);
void rn_kernels_destroy(rn_device *device);

#endif
