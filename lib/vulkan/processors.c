#include "vulkan/processors.h"

#include "vulkan/features.h"

#include <string.h>

/* Whom to ask, by extension. What is asked for need not be enabled. */
typedef struct sources {
    bool nv, amd, arm;
} sources;

static VkResult find_sources(const rn_device *device, sources *found)
{
    VkExtensionProperties *list;
    uint32_t count;
    VkResult result = rn_list_extensions(device->host, &device->fn, device->physical, &list, &count);
    if (result != VK_SUCCESS) return result;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = list[i].extensionName;
        found->nv |= strcmp(name, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME) == 0;
        found->amd |= strcmp(name, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME) == 0;
        found->arm |= strcmp(name, VK_ARM_SHADER_CORE_BUILTINS_EXTENSION_NAME) == 0;
    }
    rn_free(device->host, list);
    return VK_SUCCESS;
}

static void ask(const rn_device *device, void *answer)
{
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = answer};
    device->fn.GetPhysicalDeviceProperties2(device->physical, &properties);
}

VkResult rn_device_count_processors(const rn_device *device, uint32_t *processors)
{
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nv = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceShaderCorePropertiesAMD amd = {.sType =
                                                       VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD};
    VkPhysicalDeviceShaderCoreBuiltinsPropertiesARM arm = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_BUILTINS_PROPERTIES_ARM};
    sources found = {0};
    VkResult result = find_sources(device, &found);
    if (result != VK_SUCCESS) return result;
    if (found.nv) ask(device, &nv);
    if (found.amd) ask(device, &amd);
    if (found.arm) ask(device, &arm);
    *processors = nv.shaderSMCount + arm.shaderCoreCount +
                  amd.shaderEngineCount * amd.shaderArraysPerEngineCount * amd.computeUnitsPerShaderArray;
    return VK_SUCCESS;
}
