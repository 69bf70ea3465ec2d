#include "vulkan/kernel.h"

#include <string.h>

struct rn_kernel_entry {
    rn_kernel kernel;
    uint32_t constants[RN_MAX_CONSTANTS], constant_count;
    bool in_making; /* by some thread, outside the lock */
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
    if (result != VK_SUCCESS) {
        kernel->set_layout = VK_NULL_HANDLE;
        return rn_device_fail(device, result, shader->name);
    }
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = shader->push_bytes};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &kernel->set_layout,
        .pushConstantRangeCount = shader->push_bytes ? 1 : 0,
        .pPushConstantRanges = &push,
    };
    result = device->vk.vkCreatePipelineLayout(device->handle, &layout, device->allocator, &kernel->layout);
    if (result != VK_SUCCESS) kernel->layout = VK_NULL_HANDLE;
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

static uint32_t storage_buffers(const rn_shader *shader)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < shader->binding_count; i++)
        count += rn_shader_descriptor_type(shader, i) == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    return count;
}

bool rn_kernel_fits(const rn_device *device, const rn_shader *shader)
{
    return storage_buffers(shader) <= device->caps.max_storage_buffers &&
           shader->push_bytes <= device->caps.max_push_bytes;
}

/* An entry without its Vulkan objects. */
static retnet_result new_entry(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                               rn_kernel_entry **out)
{
    if (!shader->words)
        return rn_fail(device->host, RETNET_ERROR_UNSUPPORTED, "kernel %s was left out of this build", shader->name);
    if (count != shader->constant_count || count > RN_MAX_CONSTANTS)
        return rn_fail(device->host, RETNET_ERROR_INTERNAL, "kernel %s has %u constants, %u were given", shader->name,
                       shader->constant_count, count);
    if (!rn_kernel_fits(device, shader))
        return rn_fail(device->host, RETNET_ERROR_LIMIT,
                       "kernel %s has %u storage buffers and %u bytes of push constants, %s allows %u and %u",
                       shader->name, storage_buffers(shader), shader->push_bytes, device->name,
                       device->caps.max_storage_buffers, device->caps.max_push_bytes);
    rn_kernel_entry *entry = rn_alloc(device->host, 1, sizeof *entry);
    if (!entry) return rn_fail_memory(device->host, "kernel", sizeof *entry);
    entry->kernel.shader = shader;
    entry->constant_count = count;
    if (count) memcpy(entry->constants, constants, count * sizeof *constants);
    *out = entry;
    return RETNET_OK;
}

/* Where in a list the entry is, or the list's end. */
static rn_kernel_entry **find(rn_kernel_entry **list, const rn_shader *shader, const uint32_t *constants,
                              uint32_t count)
{
    while (*list && ((*list)->kernel.shader != shader ||
                     (count && memcmp((*list)->constants, constants, count * sizeof *constants) != 0)))
        list = &(*list)->next;
    return list;
}

/* Adds an entry that this thread has to make. Under the lock. */
static retnet_result claim(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                           rn_kernel_entry **out)
{
    retnet_result result = new_entry(device, shader, constants, count, out);
    if (result != RETNET_OK) return result;
    (*out)->in_making = true;
    (*out)->next = device->kernels;
    device->kernels = *out;
    device->kernels_in_making++;
    return RETNET_OK;
}

/* Makes a claimed entry, outside the lock: compiling takes long. After a failure the entry is gone. */
static retnet_result make(rn_device *device, rn_kernel_entry *entry)
{
    rn_mutex_unlock(&device->kernel_lock);
    retnet_result result = create_layouts(device, &entry->kernel);
    if (result == RETNET_OK) result = create_pipeline(device, &entry->kernel, entry->constants, entry->constant_count);
    rn_mutex_lock(&device->kernel_lock);
    entry->in_making = false;
    device->kernels_in_making--;
    if (result != RETNET_OK) {
        *find(&device->kernels, entry->kernel.shader, entry->constants, entry->constant_count) = entry->next;
        destroy_entry(device, entry);
    }
    rn_condition_signal_all(&device->kernel_made);
    return result;
}

static retnet_result plan_kernel(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                                 const rn_kernel **out)
{
    rn_kernel_entry **at = find(&device->plan->wishes, shader, constants, count);
    if (!*at) {
        retnet_result result = new_entry(device, shader, constants, count, at);
        if (result != RETNET_OK) return result;
        device->plan->count++;
    }
    *out = &(*at)->kernel;
    return RETNET_OK;
}

retnet_result rn_kernel_get(rn_device *device, const rn_shader *shader, const uint32_t *constants, uint32_t count,
                            const rn_kernel **out)
{
    if (device->plan) return plan_kernel(device, shader, constants, count, out);
    retnet_result result = RETNET_OK;
    rn_mutex_lock(&device->kernel_lock);
    rn_kernel_entry *entry;
    while ((entry = *find(&device->kernels, shader, constants, count)) && entry->in_making)
        rn_condition_wait(&device->kernel_made, &device->kernel_lock);
    if (!entry) {
        result = claim(device, shader, constants, count, &entry);
        if (result == RETNET_OK) result = make(device, entry);
    }
    if (result == RETNET_OK) *out = &entry->kernel;
    rn_mutex_unlock(&device->kernel_lock);
    return result;
}

/* ---- Plans ------------------------------------------------------------------------------------------------------- */

/* Makes one kernel unless it is there or another thread is at it. */
static retnet_result make_unless_claimed(rn_device *device, const rn_kernel_entry *wish)
{
    retnet_result result = RETNET_OK;
    rn_mutex_lock(&device->kernel_lock);
    rn_kernel_entry *entry = *find(&device->kernels, wish->kernel.shader, wish->constants, wish->constant_count);
    if (!entry) {
        result = claim(device, wish->kernel.shader, wish->constants, wish->constant_count, &entry);
        if (result == RETNET_OK) result = make(device, entry);
    }
    rn_mutex_unlock(&device->kernel_lock);
    return result;
}

retnet_result rn_kernel_plan_make(rn_device *device, const rn_kernel_plan *plan, retnet_progress_fn progress,
                                  void *progress_user)
{
    uint32_t done = 0;
    retnet_result result = rn_device_check(device);
    if (result != RETNET_OK) return result;
    for (const rn_kernel_entry *wish = plan->wishes; wish; wish = wish->next) {
        result = make_unless_claimed(device, wish);
        if (result != RETNET_OK) return result;
        if (progress && !progress(progress_user, ++done, plan->count)) return RETNET_CANCELLED;
    }
    /* What others have claimed is waited for, and made here if they failed. */
    for (const rn_kernel_entry *wish = plan->wishes; wish; wish = wish->next) {
        const rn_kernel *kernel;
        result = rn_kernel_get(device, wish->kernel.shader, wish->constants, wish->constant_count, &kernel);
        if (result != RETNET_OK) return result;
    }
    return RETNET_OK;
}

void rn_kernel_plan_free(rn_host *host, rn_kernel_plan *plan)
{
    while (plan->wishes) {
        rn_kernel_entry *next = plan->wishes->next;
        rn_free(host, plan->wishes);
        plan->wishes = next;
    }
    plan->count = 0;
}

/* ---- All of them ------------------------------------------------------------------------------------------------- */

void rn_kernels_lock(rn_device *device)
{
    rn_mutex_lock(&device->kernel_lock);
    while (device->kernels_in_making) rn_condition_wait(&device->kernel_made, &device->kernel_lock);
}

void rn_kernels_unlock(rn_device *device)
{
    rn_mutex_unlock(&device->kernel_lock);
}

void rn_kernels_destroy(rn_device *device)
{
    while (device->kernels) {
        rn_kernel_entry *next = device->kernels->next;
        destroy_entry(device, device->kernels);
        device->kernels = next;
    }
}
