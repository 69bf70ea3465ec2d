/* priority_test.c: retnet_context_desc::low_priority, on a driver that is made to have global priorities, or to refuse
 * them. */
#include "pretend.h"
#include "vulkan/host.h"

#include <retnet/vulkan.h>

static struct {
    bool has, permits;
    int devices;                       /* vkCreateDevice calls */
    VkQueueGlobalPriorityKHR priority; /* of the last one's queue; 0: none was asked for */
    bool named;                        /* the extension was enabled in it */
} driver;

static const char extension[] = VK_EXT_GLOBAL_PRIORITY_EXTENSION_NAME;

static VkResult list_others(VkPhysicalDevice physical, const char *layer, uint32_t *count,
                            VkExtensionProperties *properties)
{
    VkResult result = vkEnumerateDeviceExtensionProperties(physical, layer, count, properties);
    for (uint32_t i = 0; properties && i < *count;) {
        if (strstr(properties[i].extensionName, "global_priority"))
            properties[i] = properties[--*count];
        else
            i++;
    }
    return result;
}

/* What the real driver has to say of priorities does not count. */
static VKAPI_ATTR VkResult VKAPI_CALL list_extensions(VkPhysicalDevice physical, const char *layer, uint32_t *count,
                                                      VkExtensionProperties *properties)
{
    if (!driver.has) return list_others(physical, layer, count, properties);
    if (properties) --*count;
    VkResult result = list_others(physical, layer, count, properties);
    if (properties) snprintf(properties[*count].extensionName, VK_MAX_EXTENSION_NAME_SIZE, "%s", extension);
    ++*count;
    return result;
}

/* The real driver need not have the extension: it does not see it. */
static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkDevice *device)
{
    const char *names[RETNET_VULKAN_MAX_EXTENSIONS];
    VkDeviceCreateInfo plain = *info;
    VkDeviceQueueCreateInfo queue = *info->pQueueCreateInfos;
    const VkDeviceQueueGlobalPriorityCreateInfoKHR *asked = queue.pNext;
    driver.devices++;
    driver.priority = asked ? asked->globalPriority : 0;
    driver.named = false;
    plain.enabledExtensionCount = 0;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
        if (strcmp(info->ppEnabledExtensionNames[i], extension) == 0)
            driver.named = true;
        else
            names[plain.enabledExtensionCount++] = info->ppEnabledExtensionNames[i];
    }
    if (asked && !driver.permits) return VK_ERROR_NOT_PERMITTED_KHR;
    queue.pNext = NULL;
    plain.pQueueCreateInfos = &queue;
    plain.ppEnabledExtensionNames = names;
    return vkCreateDevice(physical, &plain, allocator, device);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_proc(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction real = vkGetInstanceProcAddr(instance, name);
    if (instance) volkLoadInstanceOnly(instance);
    if (strcmp(name, "vkEnumerateDeviceExtensionProperties") == 0) return (PFN_vkVoidFunction)list_extensions;
    if (strcmp(name, "vkCreateDevice") == 0) return (PFN_vkVoidFunction)create_device;
    return real;
}

static void check(bool has, bool permits, bool low, int devices, VkQueueGlobalPriorityKHR priority)
{
    retnet_context *context = NULL;
    driver.has = has;
    driver.permits = permits;
    driver.devices = 0;
    retnet_result result = retnet_context_create_from_device(
        &(retnet_vulkan_device){.get_instance_proc_addr = get_proc},
        &(retnet_context_desc){.low_priority = low, .pretend = test_pretend()}, &context);
    if (result == RETNET_ERROR_NO_DEVICE) exit(TEST_SKIPPED);
    CHECK_OK(result);
    CHECK_INT(driver.devices, devices);
    CHECK_INT(driver.priority, priority);
    CHECK_INT(driver.named, has && low);
    retnet_context_destroy(context);
}

int main(void)
{
    if (volkInitialize() != VK_SUCCESS) return TEST_SKIPPED;
    check(true, true, false, 1, 0);
    check(true, true, true, 1, VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR);
    check(false, true, true, 1, 0);
    check(true, false, true, 2, 0); /* once more, without */
    return test_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
