#include "vulkan/features.h"

#include <stdlib.h>
#include <string.h>

static bool has_extension(const rn_device *device, const char *name)
{
    uint32_t count = 0;
    bool found = false;
    if (device->fn.EnumerateDeviceExtensionProperties(device->physical, NULL, &count, NULL) != VK_SUCCESS) return false;
    VkExtensionProperties *properties = rn_alloc(device->host, count ? count : 1, sizeof *properties);
    if (!properties) return false;
    VkResult result = device->fn.EnumerateDeviceExtensionProperties(device->physical, NULL, &count, properties);
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < count && !found; i++)
        found = strcmp(properties[i].extensionName, name) == 0;
    rn_free(device->host, properties);
    return found;
}

/* Validation layers from before the extension take kernels that use it for malformed. */
static bool validation_knows_matrices(void)
{
    VkLayerProperties layers[64];
    uint32_t count = RN_COUNT(layers);
    VkResult result = vkEnumerateInstanceLayerProperties(&count, layers);
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < count; i++)
        if (strcmp(layers[i].layerName, "VK_LAYER_KHRONOS_validation") == 0)
            return layers[i].specVersion >= VK_MAKE_API_VERSION(0, 1, 3, 255);
    return true;
}

/* The features as the device has them, chained; nothing else of them is switched on. */
static bool read_features(const rn_device *device, rn_features *f)
{
    *f = (rn_features){
        .matrix.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .memory_model.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES,
        .float16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES,
        .subgroup_size.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
    };
    f->matrix.pNext = &f->memory_model;
    f->memory_model.pNext = &f->float16;
    f->float16.pNext = &f->subgroup_size;
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f->matrix};
    device->fn.GetPhysicalDeviceFeatures2(device->physical, &all);
    f->matrix.cooperativeMatrixRobustBufferAccess = VK_FALSE;
    f->memory_model.vulkanMemoryModelAvailabilityVisibilityChains = VK_FALSE;
    f->float16.shaderInt8 = VK_FALSE;
    return f->matrix.cooperativeMatrix && f->memory_model.vulkanMemoryModel &&
           f->memory_model.vulkanMemoryModelDeviceScope && f->float16.shaderFloat16 &&
           f->subgroup_size.subgroupSizeControl && f->subgroup_size.computeFullSubgroups;
}

static bool usable(const VkCooperativeMatrixPropertiesKHR *p)
{
    if (!p->MSize || !p->NSize || !p->KSize) return false;
    bool types = p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                 p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR;
    /* A subgroup works on pairs of pieces, 16 x 32 at least, in blocks of 32 inputs, staged eight halves at a time. */
    bool fits = 16 % p->MSize == 0 && 16 % p->NSize == 0 && p->NSize % 4 == 0 && 32 % p->KSize == 0 &&
                p->KSize % 8 == 0;
    return types && fits && p->scope == VK_SCOPE_SUBGROUP_KHR && !p->saturatingAccumulation;
}

/* The usable shape nearest to 16 x 16 x 16, which every GPU so far runs at full speed. */
static bool choose_shape(const rn_device *device, rn_matrix_unit *unit)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            device->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    VkCooperativeMatrixPropertiesKHR shapes[64];
    uint32_t count = RN_COUNT(shapes);
    if (!get) return false;
    for (uint32_t i = 0; i < count; i++)
        shapes[i] = (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    VkResult result = get(device->physical, &count, shapes);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) return false;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *p = &shapes[i];
        uint32_t distance = (uint32_t)(abs((int)p->MSize - 16) + abs((int)p->NSize - 16) + abs((int)p->KSize - 16));
        if (!usable(p) || distance >= best) continue;
        best = distance;
        unit->m = p->MSize;
        unit->n = p->NSize;
        unit->k = p->KSize;
    }
    return best != UINT32_MAX;
}

/* A kernel needs to know how many invocations share a matrix. Where subgroups come in several sizes, the device's usual
 * one is asked for. */
static uint32_t choose_subgroup(const rn_device *device, bool *must_ask)
{
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes};
    device->fn.GetPhysicalDeviceProperties2(device->physical, &properties);
    uint32_t size = device->caps.subgroup_size;
    *must_ask = sizes.minSubgroupSize != sizes.maxSubgroupSize;
    if (*must_ask && !(sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)) return 0;
    return size >= sizes.minSubgroupSize && size <= sizes.maxSubgroupSize ? size : 0;
}

void rn_features_find(rn_device *device, const retnet_context_desc *desc, rn_features *features)
{
    const uint32_t without =
        RETNET_PRETEND_NO_COOPERATIVE_MATRIX | RETNET_PRETEND_NO_FLOAT16 | RETNET_PRETEND_NO_SUBGROUP |
        RETNET_PRETEND_MINIMUM_LIMITS;
    memset(features, 0, sizeof *features);
    rn_capabilities *caps = &device->caps;
    caps->matrix = (rn_matrix_unit){0};
    if (desc->pretend & without || device->api_version < VK_API_VERSION_1_3) return;
    if (desc->enable_validation && !validation_knows_matrices()) return;
    if (!has_extension(device, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) || !read_features(device, features)) return;
    rn_matrix_unit unit = {0};
    unit.subgroup = choose_subgroup(device, &unit.must_ask_subgroup);
    if (!unit.subgroup || !choose_shape(device, &unit)) return;
    caps->matrix = unit;
    features->extensions[features->extension_count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    features->next = &features->matrix;
}
