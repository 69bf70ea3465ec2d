#include "vulkan/processors.h"

#include "vulkan/features.h"

#include <string.h>

/* Whom to ask, by extension. What is asked for need not be enabled. */
typedef struct sources {
    bool nv, amd, arm;
} sources;

static sources find_sources(const rn_device *device)
{
    sources found = {0};
    VkExtensionProperties *list;
    uint32_t count;
    VkResult result = rn_list_extensions(device->host, &device->fn, device->physical, &list, &count);
    for (uint32_t i = 0; result == VK_SUCCESS && i < count; i++) {
        const char *name = list[i].extensionName;
        found.nv |= strcmp(name, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME) == 0;
        found.amd |= strcmp(name, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME) == 0;
        found.arm |= strcmp(name, VK_ARM_SHADER_CORE_BUILTINS_EXTENSION_NAME) == 0;
    }
    rn_free(device->host, list);
    return found;
}

static void ask(const rn_device *device, void *answer)
{
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = answer};
    device->fn.GetPhysicalDeviceProperties2(device->physical, &properties);
}

uint32_t rn_device_count_processors(const rn_device *device)
{
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nv = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceShaderCorePropertiesAMD amd = {.sType =
                                                       VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD};
    VkPhysicalDeviceShaderCoreBuiltinsPropertiesARM arm = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_BUILTINS_PROPERTIES_ARM};
    sources found = find_sources(device);
    if (found.nv) ask(device, &nv);
    if (found.amd) ask(device, &amd);
    if (found.arm) ask(device, &arm);
    return nv.shaderSMCount + amd.shaderEngineCount * amd.shaderArraysPerEngineCount * amd.computeUnitsPerShaderArray +
           arm.shaderCoreCount;
}
