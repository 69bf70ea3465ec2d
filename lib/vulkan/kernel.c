#include "vulkan/kernel.h"

#include <string.h>

struct rn_kernel_entry {
    rn_kernel kernel;
    uint32_t constants[RN_MAX_CONSTANTS];
    rn_kernel_entry *next;
};

VkDescriptorType rn_shader_descriptor_type(const rn_shader *shader, uint32_t binding)
{
    if (shader->uniform_bindings >> binding & 1) return VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER;
    if (shader->texel_bindings >> binding & 1) return VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
    return VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

static retnet_result create_layouts(rn_device *device, rn_kernel *kernel)
{
    const rn_shader *shader = kernel->shader;
    VkDescriptorSetLayoutBinding bindings[RN_MAX_BINDINGS];
    for (uint32_t i = 0; i < shader->binding_count; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = rn_shader_descriptor_type(shader, i),
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    }
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = shader->binding_count,
        .pBindings = bindings,
    };
    VkResult result =
        device->vk.vkCreateDescriptorSetLayout(device->handle, &set, device->allocator, &kernel->set_layout);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, shader->name);
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = shader->push_bytes};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &kernel->set_layout,
        .pushConstantRangeCount = shader->push_bytes ? 1 : 0,
        .pPushConstantRanges = &push,
    };
    result = device->vk.vkCreatePipelineLayout(device->handle, &layout, device->allocator, &kernel->layout);
    return result == VK_SUCCESS ? RETNET_OK : rn_device_fail(device, result, shader->name);
}

static retnet_result create_pipeline(rn_device *device, rn_kernel *kernel, const uint32_t *constants, uint32_t count)
{
    const rn_shader *shader = kernel->shader;
    VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = shader->word_count * sizeof(uint32_t),
        .pCode = shader->words,
    };
    VkShaderModule module;
    VkResult result = device->vk.vkCreateShaderModule(device->handle, &module_info, device->allocator, &module);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, shader->name);
    VkSpecializationMapEntry entries[RN_MAX_CONSTANTS];
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * (uint32_t)sizeof(uint32_t), sizeof(uint32_t)};
    VkSpecializationInfo specialisation = {count, entries, count * sizeof(uint32_t), constants};
    /* A kernel on matrix units counts on full subgroups of the size that the capabilities name. */
    const rn_matrix_unit *unit = &device->caps.matrix;
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = unit->subgroup,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = shader->matrix && unit->must_ask_subgroup ? &subgroup : NULL,
                .flags = shader->matrix ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &specialisation,
            },
        .layout = kernel->layout,
    };
    result = device->vk.vkCreateComputePipelines(device->handle, device->pipeline_cache, 1, &info, device->allocator,
                                                 &kernel->pipeline);
    device->vk.vkDestroyShaderModule(device->handle, module, device->allocator);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, shader->name);
    rn_device_name(device, VK_OBJECT_TYPE_PIPELINE, (uint64_t)kernel->pipeline, shader->name);
    return RETNET_OK;
}

static void destroy_entry(rn_device *device, rn_kernel_entry *entry)
{
    device->vk.vkDestroyPipeline(device->handle, entry->kernel.pipeline, device->allocator);
    device->vk.vkDestroyPipelineLayout(device->handle, entry->kernel.layout, device->allocator);
    device->vk.vkDestroyDescriptorSetLayout(device->handle, entry->kernel.set_layout, device->allocator);
    rn_free(device->host, entry);
}

static retnet_result create_entry(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                                  rn_kernel_entry **out)
{
    if (!shader->words)
        return rn_fail(device->host, RETNET_ERROR_UNSUPPORTED, "kernel %s was left out of this build", shader->name);
    if (count != shader->constant_count || count > RN_MAX_CONSTANTS)
        return rn_fail(device->host, RETNET_ERROR_INTERNAL, "kernel %s has %u constants, %u were given", shader->name,
                       shader->constant_count, count);
    rn_kernel_entry *entry = rn_alloc(device->host, 1, sizeof *entry);
    if (!entry) return rn_fail_memory(device->host, "kernel", sizeof *entry);
    entry->kernel.shader = shader;
    if (count) memcpy(entry->constants, constants, count * sizeof *constants);
    retnet_result result = create_layouts(device, &entry->kernel);
    if (result == RETNET_OK) result = create_pipeline(device, &entry->kernel, constants, count);
    if (result == RETNET_OK)
        *out = entry;
    else
        destroy_entry(device, entry);
    return result;
}

retnet_result rn_kernel_get(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                            const rn_kernel **out)
{
    retnet_result result = RETNET_OK;
    rn_mutex_lock(&device->kernel_lock);
    rn_kernel_entry *entry = device->kernels;
    while (entry && (entry->kernel.shader != shader ||
                     (count && memcmp(entry->constants, constants, count * sizeof *constants) != 0)))
        entry = entry->next;
    if (!entry) {
        result = create_entry(device, shader, constants, count, &entry);
        if (result == RETNET_OK) {
            entry->next = device->kernels;
            device->kernels = entry;
        }
    }
    if (result == RETNET_OK) *out = &entry->kernel;
    rn_mutex_unlock(&device->kernel_lock);
    return result;
}

void rn_kernels_destroy(rn_device *device)
{
    while (device->kernels) {
        rn_kernel_entry *next = device->kernels->next;
        destroy_entry(device, device->kernels);
        device->kernels = next;
    }
}
