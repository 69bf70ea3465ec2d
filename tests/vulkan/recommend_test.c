/* recommend_test.c: what retnet_vulkan_recommend adds to a VkDeviceCreateInfo, on a physical device made up here, so
 * that no driver has to have it. */
#include "vulkan/compatibility.h"

#include <retnet/vulkan.h>

#include "test.h"

/* ---- A physical device ------------------------------------------------------------------------------------------- */

static struct {
    uint32_t version;
    const char *extensions[8];
    uint32_t extension_count;
    bool lacks_size_control, lacks_priority, lacks_timeline, lacks_dots, lacks_addresses, fails;
} gpu;

static VKAPI_ATTR VkResult VKAPI_CALL list_extensions(VkPhysicalDevice physical, const char *layer, uint32_t *count,
                                                      VkExtensionProperties *properties)
{
    (void)physical, (void)layer;
    if (gpu.fails) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    if (!properties) {
        *count = gpu.extension_count;
        return VK_SUCCESS;
    }
    for (uint32_t i = 0; i < *count; i++)
        snprintf(properties[i].extensionName, VK_MAX_EXTENSION_NAME_SIZE, "%s", gpu.extensions[i]);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL get_features(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *features)
{
    (void)physical;
    for (VkBaseOutStructure *s = features->pNext; s; s = s->pNext) {
        switch ((int)s->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR: {
            VkPhysicalDeviceCooperativeMatrixFeaturesKHR *f = (void *)s;
            f->cooperativeMatrix = f->cooperativeMatrixRobustBufferAccess = VK_TRUE;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES: {
            VkPhysicalDeviceVulkanMemoryModelFeatures *f = (void *)s;
            f->vulkanMemoryModel = f->vulkanMemoryModelDeviceScope = VK_TRUE;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES: {
            VkPhysicalDeviceShaderFloat16Int8Features *f = (void *)s;
            f->shaderFloat16 = f->shaderInt8 = VK_TRUE;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES: {
            VkPhysicalDeviceSubgroupSizeControlFeatures *f = (void *)s;
            f->subgroupSizeControl = f->computeFullSubgroups = !gpu.lacks_size_control;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT: {
            VkPhysicalDeviceMemoryPriorityFeaturesEXT *f = (void *)s;
            f->memoryPriority = !gpu.lacks_priority;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES: {
            VkPhysicalDeviceTimelineSemaphoreFeatures *f = (void *)s;
            f->timelineSemaphore = !gpu.lacks_timeline;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES: {
            VkPhysicalDeviceShaderIntegerDotProductFeatures *f = (void *)s;
            f->shaderIntegerDotProduct = !gpu.lacks_dots;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES: {
            VkPhysicalDeviceBufferDeviceAddressFeatures *f = (void *)s;
            f->bufferDeviceAddress = !gpu.lacks_addresses;
            break;
        }
        default: TEST_FAIL("the device was asked for struct %d", (int)s->sType);
        }
    }
}

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *properties)
{
    (void)physical;
    properties->properties.apiVersion = gpu.version;
}

static VKAPI_ATTR void VKAPI_CALL unused(void)
{
    TEST_FAIL("a function was called that recommending has no use for");
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_proc(VkInstance instance, const char *name)
{
    (void)instance;
    if (strcmp(name, "vkEnumerateDeviceExtensionProperties") == 0) return (PFN_vkVoidFunction)list_extensions;
    if (strcmp(name, "vkGetPhysicalDeviceFeatures2") == 0) return (PFN_vkVoidFunction)get_features;
    if (strcmp(name, "vkGetPhysicalDeviceProperties2") == 0) return (PFN_vkVoidFunction)get_properties;
    return unused;
}

/* A device with everything. */
static retnet_vulkan_device reset(void)
{
    memset(&gpu, 0, sizeof gpu);
    gpu.version = VK_API_VERSION_1_3;
    static const char *const all[] = {"VK_KHR_swapchain", "VK_KHR_cooperative_matrix", "VK_EXT_memory_budget",
                                      "VK_EXT_memory_priority"};
    for (size_t i = 0; i < 4; i++) gpu.extensions[gpu.extension_count++] = all[i];
    static int instance, physical;
    return (retnet_vulkan_device){.instance = (VkInstance)(void *)&instance,
                                  .physical_device = (VkPhysicalDevice)(void *)&physical,
                                  .get_instance_proc_addr = get_proc,
                                  .api_version = VK_API_VERSION_1_3};
}

/* ---- What was added ---------------------------------------------------------------------------------------------- */

static int times(const VkDeviceCreateInfo *info, const char *name)
{
    int found = 0;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
        found += strcmp(info->ppEnabledExtensionNames[i], name) == 0;
    return found;
}

static void *find(const VkDeviceCreateInfo *info, int type)
{
    for (VkBaseOutStructure *s = (VkBaseOutStructure *)info->pNext; s; s = s->pNext)
        if ((int)s->sType == type) return s;
    return NULL;
}

static void check_extensions(const VkDeviceCreateInfo *info, int matrix, int budget, int priority)
{
    CHECK_INT(times(info, "VK_KHR_cooperative_matrix"), matrix);
    CHECK_INT(times(info, "VK_EXT_memory_budget"), budget);
    CHECK_INT(times(info, "VK_EXT_memory_priority"), priority);
    CHECK_INT(find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR) != NULL, matrix);
    CHECK_INT(find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT) != NULL, priority);
}

static void check_single_structs(const VkDeviceCreateInfo *info)
{
    const VkPhysicalDeviceCooperativeMatrixFeaturesKHR *matrix =
        find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    const VkPhysicalDeviceVulkanMemoryModelFeatures *memory_model =
        find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES);
    const VkPhysicalDeviceShaderFloat16Int8Features *float16 =
        find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
    const VkPhysicalDeviceSubgroupSizeControlFeatures *subgroup =
        find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    const VkPhysicalDeviceMemoryPriorityFeaturesEXT *priority =
        find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT);
    const VkPhysicalDeviceTimelineSemaphoreFeatures *timeline =
        find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES);
    const VkPhysicalDeviceBufferDeviceAddressFeatures *addresses =
        find(info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES);
    REQUIRE(matrix && memory_model && float16 && subgroup && priority && timeline && addresses);
    CHECK(matrix->cooperativeMatrix && memory_model->vulkanMemoryModel && memory_model->vulkanMemoryModelDeviceScope &&
          float16->shaderFloat16 && subgroup->subgroupSizeControl && subgroup->computeFullSubgroups &&
          priority->memoryPriority && timeline->timelineSemaphore && addresses->bufferDeviceAddress);
    /* What the library has no use for stays off. */
    CHECK(!matrix->cooperativeMatrixRobustBufferAccess && !float16->shaderInt8 &&
          !memory_model->vulkanMemoryModelAvailabilityVisibilityChains);
}

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

static void test_bare_host(void)
{
    retnet_vulkan_device device = reset();
    retnet_vulkan_additions additions;
    memset(&additions, 0xa5, sizeof additions);
    VkDeviceCreateInfo info = {0};
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_OK);
    CHECK_INT(info.enabledExtensionCount, 3);
    check_extensions(&info, 1, 1, 1);
    check_single_structs(&info);
    CHECK(device.extensions == info.ppEnabledExtensionNames && device.features == info.pNext);
    CHECK_INT(device.extension_count, 3);
}

static void test_whole_versions(void)
{
    retnet_vulkan_device device = reset();
    retnet_vulkan_additions additions;
    VkPhysicalDeviceVulkan13Features v13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
                                            .dynamicRendering = VK_TRUE};
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .pNext = &v13, .shaderInt8 = VK_TRUE};
    const char *const names[] = {"VK_KHR_swapchain", "VK_EXT_memory_budget"};
    VkDeviceCreateInfo info = {.pNext = &v12, .enabledExtensionCount = 2, .ppEnabledExtensionNames = names};
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_OK);
    CHECK_INT(info.enabledExtensionCount, 4);
    CHECK_STRING(info.ppEnabledExtensionNames[0], "VK_KHR_swapchain");
    check_extensions(&info, 1, 1, 1);
    CHECK(v12.vulkanMemoryModel && v12.vulkanMemoryModelDeviceScope && v12.shaderFloat16 && v12.shaderInt8 &&
          v12.timelineSemaphore && v12.bufferDeviceAddress);
    CHECK(v13.subgroupSizeControl && v13.computeFullSubgroups && v13.dynamicRendering);
    /* Vulkan forbids these beside the structs of whole versions. */
    CHECK(!find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES));
    CHECK(!find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES));
    CHECK(!find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES));
    CHECK(!find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES));
    CHECK(find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) == &v12);
}

static void test_single_structs(void)
{
    retnet_vulkan_device device = reset();
    retnet_vulkan_additions additions;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &memory_model,
                                          .features = {.samplerAnisotropy = VK_TRUE}};
    VkDeviceCreateInfo info = {.pNext = &features};
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_OK);
    check_single_structs(&info);
    CHECK(find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES) == &memory_model);
    CHECK(memory_model.vulkanMemoryModel && features.features.samplerAnisotropy);
}

/* A host with addresses of another kind keeps these. */
static void test_older_addresses(void)
{
    retnet_vulkan_device device = reset();
    retnet_vulkan_additions additions;
    VkPhysicalDeviceVulkan12Features v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    const char *const names[] = {"VK_EXT_buffer_device_address"};
    VkDeviceCreateInfo info = {.pNext = &v12, .enabledExtensionCount = 1, .ppEnabledExtensionNames = names};
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_OK);
    check_extensions(&info, 1, 1, 1);
    CHECK(v12.vulkanMemoryModel && !v12.bufferDeviceAddress);
    CHECK(!find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES));
}

static void test_lesser_devices(void)
{
    retnet_vulkan_additions additions;
    struct {
        uint32_t api_version, device_version;
        bool lacks_size_control, lacks_priority, matrix, priority;
    } cases[] = {{VK_API_VERSION_1_2, VK_API_VERSION_1_3, false, false, false, true},
                 {0, VK_API_VERSION_1_3, false, false, false, true},
                 {VK_API_VERSION_1_3, VK_API_VERSION_1_2, false, false, false, true},
                 {VK_API_VERSION_1_3, VK_API_VERSION_1_3, true, false, false, true},
                 {VK_API_VERSION_1_3, VK_API_VERSION_1_3, false, true, true, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        retnet_vulkan_device device = reset();
        VkDeviceCreateInfo info = {0};
        device.api_version = cases[i].api_version;
        gpu.version = cases[i].device_version;
        gpu.lacks_size_control = cases[i].lacks_size_control;
        gpu.lacks_priority = cases[i].lacks_priority;
        CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_OK);
        check_extensions(&info, cases[i].matrix, 1, cases[i].priority);
        CHECK_INT(find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES) != NULL, cases[i].matrix);
        bool timeline = cases[i].api_version >= VK_API_VERSION_1_2; /* as all these devices do */
        CHECK_INT(find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES) != NULL, timeline);
        bool dots = cases[i].api_version >= VK_API_VERSION_1_3 && cases[i].device_version >= VK_API_VERSION_1_3;
        CHECK_INT(find(&info, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES) != NULL, dots);
    }
    retnet_vulkan_device device = reset();
    VkDeviceCreateInfo info = {0};
    gpu.extension_count = 0;
    gpu.lacks_timeline = gpu.lacks_dots = gpu.lacks_addresses = true;
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_OK);
    CHECK_INT(info.enabledExtensionCount, 0);
    CHECK(!info.pNext);
}

static void check_untouched(const VkDeviceCreateInfo *info, const retnet_vulkan_device *device, uint32_t count)
{
    CHECK_INT(info->enabledExtensionCount, count);
    CHECK(!info->pNext && !device->extensions && !device->features);
}

static void test_errors(void)
{
    retnet_vulkan_device device = reset();
    retnet_vulkan_additions additions;
    const char *names[RETNET_VULKAN_MAX_EXTENSIONS];
    for (int i = 0; i < RETNET_VULKAN_MAX_EXTENSIONS; i++) names[i] = "VK_KHR_swapchain";
    VkDeviceCreateInfo info = {.enabledExtensionCount = RETNET_VULKAN_MAX_EXTENSIONS - 2,
                               .ppEnabledExtensionNames = names};
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_ERROR_LIMIT);
    check_untouched(&info, &device, RETNET_VULKAN_MAX_EXTENSIONS - 2);
    info.enabledExtensionCount--;
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_OK);
    CHECK_INT(info.enabledExtensionCount, RETNET_VULKAN_MAX_EXTENSIONS);

    device = reset();
    info = (VkDeviceCreateInfo){0};
    gpu.fails = true;
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_ERROR_OUT_OF_DEVICE_MEMORY);
    check_untouched(&info, &device, 0);

    device = reset();
    CHECK_INT(retnet_vulkan_recommend(NULL, &info, &additions), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_vulkan_recommend(&device, NULL, &additions), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_vulkan_recommend(&device, &info, NULL), RETNET_ERROR_INVALID_ARGUMENT);
    device.physical_device = VK_NULL_HANDLE;
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_ERROR_INVALID_ARGUMENT);
    info.enabledExtensionCount = 1;
    device = reset();
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_ERROR_INVALID_ARGUMENT);
}

static void *VKAPI_PTR refuse_memory(void *user, size_t size, size_t alignment, VkSystemAllocationScope scope)
{
    (void)size, (void)alignment, (void)scope;
    ++*(int *)user;
    return NULL;
}

static void test_callbacks(void)
{
    int calls = 0;
    retnet_vulkan_device device = reset();
    retnet_vulkan_additions additions;
    VkDeviceCreateInfo info = {0};
    VkAllocationCallbacks callbacks = {.pUserData = &calls, .pfnAllocation = refuse_memory};
    device.allocation_callbacks = &callbacks;
    CHECK_INT(retnet_vulkan_recommend(&device, &info, &additions), RETNET_ERROR_OUT_OF_HOST_MEMORY);
    check_untouched(&info, &device, 0);
    CHECK_INT(calls, 1);
}

int main(void)
{
    test_bare_host();
    test_whole_versions();
    test_single_structs();
    test_older_addresses();
    test_lesser_devices();
    test_errors();
    test_callbacks();
    return test_finish();
}
