#include "vulkan/features.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The structs that are put into a chain where it lacks them. They live in retnet_vulkan_additions::structs. */
typedef struct own_structs {
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
    VkPhysicalDeviceShaderFloat16Int8Features float16;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
    VkPhysicalDeviceMemoryPriorityFeaturesEXT priority;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dots;
    VkPhysicalDeviceBufferDeviceAddressFeatures addresses;
} own_structs;

_Static_assert(sizeof(own_structs) <= sizeof((retnet_vulkan_additions *)0)->structs, "the additions have room");

/* What the library makes use of. */
typedef struct feature_set {
    bool matrix; /* with all that its kernels need beside it */
    bool memory_budget, memory_priority;
    bool timeline;
    bool dots;
    bool addresses;              /* of buffers, for kernels of matrix units */
    const char *global_priority; /* name of the extension; NULL: none */
} feature_set;

#define BUDGET_EXTENSION VK_EXT_MEMORY_BUDGET_EXTENSION_NAME
#define PRIORITY_EXTENSION VK_EXT_MEMORY_PRIORITY_EXTENSION_NAME

/* One and the same under two names. */
static const char *const global_priority_extensions[] = {VK_EXT_GLOBAL_PRIORITY_EXTENSION_NAME,
                                                         VK_KHR_GLOBAL_PRIORITY_EXTENSION_NAME};

/* ---- Chains ----------------------------------------------------------------------------------------------------- */

/* Where in a chain each feature is switched; NULL: nowhere. */
typedef struct feature_bits {
    VkBool32 *matrix, *memory_model, *device_scope, *float16, *size_control, *full_subgroups, *priority, *timeline,
        *dots, *addresses;
} feature_bits;

/* A struct that covers a whole version wins, since Vulkan forbids the single ones beside it. */
static feature_bits find_bits(const void *chain)
{
    feature_bits bits = {0};
    for (VkBaseOutStructure *s = (VkBaseOutStructure *)chain; s; s = s->pNext) {
        switch ((int)s->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR:
            bits.matrix = &((VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)s)->cooperativeMatrix;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES:
            bits.memory_model = &((VkPhysicalDeviceVulkanMemoryModelFeatures *)s)->vulkanMemoryModel;
            bits.device_scope = &((VkPhysicalDeviceVulkanMemoryModelFeatures *)s)->vulkanMemoryModelDeviceScope;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES:
            bits.float16 = &((VkPhysicalDeviceShaderFloat16Int8Features *)s)->shaderFloat16;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES:
            bits.size_control = &((VkPhysicalDeviceSubgroupSizeControlFeatures *)s)->subgroupSizeControl;
            bits.full_subgroups = &((VkPhysicalDeviceSubgroupSizeControlFeatures *)s)->computeFullSubgroups;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES:
            bits.timeline = &((VkPhysicalDeviceTimelineSemaphoreFeatures *)s)->timelineSemaphore;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES:
            bits.timeline = &((VkPhysicalDeviceVulkan12Features *)s)->timelineSemaphore;
            bits.memory_model = &((VkPhysicalDeviceVulkan12Features *)s)->vulkanMemoryModel;
            bits.device_scope = &((VkPhysicalDeviceVulkan12Features *)s)->vulkanMemoryModelDeviceScope;
            bits.float16 = &((VkPhysicalDeviceVulkan12Features *)s)->shaderFloat16;
            bits.addresses = &((VkPhysicalDeviceVulkan12Features *)s)->bufferDeviceAddress;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES:
            bits.addresses = &((VkPhysicalDeviceBufferDeviceAddressFeatures *)s)->bufferDeviceAddress;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES:
            bits.dots = &((VkPhysicalDeviceShaderIntegerDotProductFeatures *)s)->shaderIntegerDotProduct;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES:
            bits.dots = &((VkPhysicalDeviceVulkan13Features *)s)->shaderIntegerDotProduct;
            bits.size_control = &((VkPhysicalDeviceVulkan13Features *)s)->subgroupSizeControl;
            bits.full_subgroups = &((VkPhysicalDeviceVulkan13Features *)s)->computeFullSubgroups;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT:
            bits.priority = &((VkPhysicalDeviceMemoryPriorityFeaturesEXT *)s)->memoryPriority;
            break;
        default: break;
        }
    }
    return bits;
}

static bool is_on(const VkBool32 *bit)
{
    return bit && *bit;
}

static bool has_matrix_features(const feature_bits *bits)
{
    return is_on(bits->matrix) && is_on(bits->memory_model) && is_on(bits->device_scope) && is_on(bits->float16) &&
           is_on(bits->size_control) && is_on(bits->full_subgroups);
}

static void prepend(VkDeviceCreateInfo *info, void *added, VkStructureType type)
{
    VkBaseOutStructure *s = added;
    s->sType = type;
    s->pNext = (VkBaseOutStructure *)info->pNext;
    info->pNext = s;
}

static void add_structs(VkDeviceCreateInfo *info, own_structs *own, const feature_set *set)
{
    feature_bits there = find_bits(info->pNext);
    memset(own, 0, sizeof *own);
    if (set->matrix) {
        if (!there.matrix)
            prepend(info, &own->matrix, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
        if (!there.memory_model)
            prepend(info, &own->memory_model, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES);
        if (!there.float16)
            prepend(info, &own->float16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
        if (!there.size_control)
            prepend(info, &own->subgroup_size, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    }
    if (set->memory_priority && !there.priority)
        prepend(info, &own->priority, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PRIORITY_FEATURES_EXT);
    if (set->timeline && !there.timeline)
        prepend(info, &own->timeline, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES);
    if (set->dots && !there.dots)
        prepend(info, &own->dots, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    if (set->addresses && !there.addresses)
        prepend(info, &own->addresses, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES);
    feature_bits bits = find_bits(info->pNext);
    if (set->matrix)
        *bits.matrix = *bits.memory_model = *bits.device_scope = *bits.float16 = *bits.size_control =
            *bits.full_subgroups = VK_TRUE;
    if (set->memory_priority) *bits.priority = VK_TRUE;
    if (set->timeline) *bits.timeline = VK_TRUE;
    if (set->dots) *bits.dots = VK_TRUE;
    if (set->addresses) *bits.addresses = VK_TRUE;
}

/* ---- Lists of extensions ---------------------------------------------------------------------------------------- */

static bool contains(const char *const *names, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* There is room: see RECOMMENDED. */
static void add_name(VkDeviceCreateInfo *info, const char **names, const char *name)
{
    if (!contains(names, info->enabledExtensionCount, name)) names[info->enabledExtensionCount++] = name;
}

static void add_names(VkDeviceCreateInfo *info, retnet_vulkan_additions *additions, const feature_set *set)
{
    const char **names = additions->extensions;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++) names[i] = info->ppEnabledExtensionNames[i];
    if (set->matrix) add_name(info, names, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
    if (set->memory_budget) add_name(info, names, BUDGET_EXTENSION);
    if (set->memory_priority) add_name(info, names, PRIORITY_EXTENSION);
    info->ppEnabledExtensionNames = names;
}

#define COUNT_ONE(name) +1 /* NOLINT(bugprone-macro-parentheses): a term of a sum */
enum { RECOMMENDED = 0 RETNET_VULKAN_RECOMMENDED_EXTENSIONS(COUNT_ONE) };
#undef COUNT_ONE

/* ---- What a physical device has --------------------------------------------------------------------------------- */

VkResult rn_list_extensions(rn_host *host, const rn_instance_table *fn, VkPhysicalDevice physical,
                            VkExtensionProperties **list, uint32_t *count)
{
    *count = 0;
    VkResult result = fn->EnumerateDeviceExtensionProperties(physical, NULL, count, NULL);
    *list = rn_alloc(host, *count ? *count : 1, sizeof **list);
    if (!*list) return VK_ERROR_OUT_OF_HOST_MEMORY;
    if (result == VK_SUCCESS) result = fn->EnumerateDeviceExtensionProperties(physical, NULL, count, *list);
    if (result == VK_SUCCESS || result == VK_INCOMPLETE) return VK_SUCCESS;
    rn_free(host, *list);
    *list = NULL;
    return result;
}

static retnet_result find_extensions(rn_host *host, const rn_instance_table *fn, VkPhysicalDevice physical,
                                     feature_set *set)
{
    VkExtensionProperties *list;
    uint32_t count;
    *set = (feature_set){0};
    VkResult result = rn_list_extensions(host, fn, physical, &list, &count);
    if (result != VK_SUCCESS)
        return rn_fail(host, rn_error_of(result), "the device's extensions cannot be listed (%d)", (int)result);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = list[i].extensionName;
        set->matrix |= strcmp(name, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) == 0;
        set->memory_budget |= strcmp(name, BUDGET_EXTENSION) == 0;
        set->memory_priority |= strcmp(name, PRIORITY_EXTENSION) == 0;
        for (uint32_t k = 0; k < RN_COUNT(global_priority_extensions); k++)
            if (strcmp(name, global_priority_extensions[k]) == 0) set->global_priority = global_priority_extensions[k];
    }
    rn_free(host, list);
    return RETNET_OK;
}

/* Takes out of the set what the device has the extension of, but not the features. */
static void check_features(const rn_instance_table *fn, VkPhysicalDevice physical, feature_set *set)
{
    own_structs own;
    VkDeviceCreateInfo chain = {0};
    add_structs(&chain, &own, set);
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                     .pNext = (void *)chain.pNext};
    fn->GetPhysicalDeviceFeatures2(physical, &all);
    feature_bits bits = find_bits(chain.pNext);
    set->matrix = set->matrix && has_matrix_features(&bits);
    set->memory_priority = set->memory_priority && is_on(bits.priority);
    set->timeline = set->timeline && is_on(bits.timeline);
    set->dots = set->dots && is_on(bits.dots);
    set->addresses = set->addresses && set->matrix && is_on(bits.addresses);
}

retnet_result rn_features_recommend(rn_host *host, const rn_instance_table *fn, VkPhysicalDevice physical,
                                    uint32_t version, bool matrices, VkDeviceCreateInfo *info,
                                    retnet_vulkan_additions *additions)
{
    if (info->enabledExtensionCount > RETNET_VULKAN_MAX_EXTENSIONS - RECOMMENDED)
        return rn_fail(host, RETNET_ERROR_LIMIT, "%u extensions and %d to add, at most %d in all",
                       info->enabledExtensionCount, RECOMMENDED, RETNET_VULKAN_MAX_EXTENSIONS);
    feature_set set;
    retnet_result result = find_extensions(host, fn, physical, &set);
    if (result != RETNET_OK) return result;
    set.matrix = set.matrix && matrices && version >= RETNET_VULKAN_RECOMMENDED_VERSION;
    set.timeline = version >= VK_API_VERSION_1_2;
    set.dots = version >= VK_API_VERSION_1_3;
    /* Vulkan forbids the feature beside the extension that it was before. */
    set.addresses = set.matrix && !contains(info->ppEnabledExtensionNames, info->enabledExtensionCount,
                                            VK_EXT_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME);
    check_features(fn, physical, &set);
    add_structs(info, (own_structs *)(void *)additions->structs, &set);
    add_names(info, additions, &set);
    return RETNET_OK;
}

retnet_result rn_features_lower_priority(rn_host *host, const rn_instance_table *fn, VkPhysicalDevice physical,
                                         VkDeviceCreateInfo *info, retnet_vulkan_additions *additions,
                                         VkDeviceQueueCreateInfo *queue, VkDeviceQueueGlobalPriorityCreateInfoKHR *low)
{
    feature_set set;
    retnet_result result = find_extensions(host, fn, physical, &set);
    if (result != RETNET_OK || !set.global_priority) return result;
    *low = (VkDeviceQueueGlobalPriorityCreateInfoKHR){
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_GLOBAL_PRIORITY_CREATE_INFO_KHR,
        .globalPriority = VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR,
    };
    queue->pNext = low;
    add_name(info, additions->extensions, set.global_priority);
    return RETNET_OK;
}

/* ---- Before vkCreateDevice -------------------------------------------------------------------------------------- */

/* Validation layers from before the extension take kernels that use it for malformed. */
static bool validation_knows_matrices(const rn_device *device)
{
    PFN_vkEnumerateInstanceLayerProperties enumerate =
        (PFN_vkEnumerateInstanceLayerProperties)device->get_proc(VK_NULL_HANDLE, "vkEnumerateInstanceLayerProperties");
    VkLayerProperties layers[64];
    uint32_t count = RN_COUNT(layers);
    VkResult result = enumerate ? enumerate(&count, layers) : VK_ERROR_INITIALIZATION_FAILED;
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < count; i++)
        if (strcmp(layers[i].layerName, "VK_LAYER_KHRONOS_validation") == 0)
            return layers[i].specVersion >= VK_MAKE_API_VERSION(0, 1, 3, 255);
    return true;
}

static bool pretends_no_matrices(const retnet_context_desc *desc)
{
    const uint32_t without = RETNET_PRETEND_NO_COOPERATIVE_MATRIX | RETNET_PRETEND_NO_FLOAT16 |
                             RETNET_PRETEND_NO_SUBGROUP | RETNET_PRETEND_MINIMUM_LIMITS;
    return desc->pretend & without;
}

bool rn_features_want_matrices(const rn_device *device, const retnet_context_desc *desc)
{
    if (pretends_no_matrices(desc)) return false;
    return !desc->enable_validation || validation_knows_matrices(device);
}

static void *vulkan_allocate(void *user, size_t size)
{
    const VkAllocationCallbacks *callbacks = user;
    return callbacks->pfnAllocation(callbacks->pUserData, size, _Alignof(max_align_t),
                                    VK_SYSTEM_ALLOCATION_SCOPE_COMMAND);
}

static void vulkan_release(void *user, void *memory)
{
    const VkAllocationCallbacks *callbacks = user;
    callbacks->pfnFree(callbacks->pUserData, memory);
}

retnet_result retnet_vulkan_recommend(retnet_vulkan_device *device, VkDeviceCreateInfo *info,
                                      retnet_vulkan_additions *additions)
{
    rn_instance_table fn;
    if (!device || !info || !additions || !device->instance || !device->physical_device ||
        !device->get_instance_proc_addr || (info->enabledExtensionCount && !info->ppEnabledExtensionNames) ||
        !rn_instance_table_load(device->get_instance_proc_addr, device->instance, &fn))
        return RETNET_ERROR_INVALID_ARGUMENT;
    rn_host host;
    retnet_allocator allocator = {(void *)device->allocation_callbacks, vulkan_allocate, vulkan_release};
    rn_host_init(&host, device->allocation_callbacks ? &allocator : NULL, NULL, NULL);
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    fn.GetPhysicalDeviceProperties2(device->physical_device, &properties);
    uint32_t version = rn_min_u32(properties.properties.apiVersion,
                                  device->api_version ? device->api_version : RETNET_VULKAN_REQUIRED_VERSION);
    retnet_result result = rn_features_recommend(&host, &fn, device->physical_device, version, true, info, additions);
    if (result != RETNET_OK) return result;
    device->extensions = info->ppEnabledExtensionNames;
    device->extension_count = info->enabledExtensionCount;
    device->features = info->pNext;
    return RETNET_OK;
}

/* ---- What of the enabled can be used ---------------------------------------------------------------------------- */

static bool usable(const VkCooperativeMatrixPropertiesKHR *p)
{
    if (!p->MSize || !p->NSize || !p->KSize) return false;
    bool types = p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                 p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR;
    /* A subgroup works on pairs of pieces, 16 x 32 at least, in blocks of 32 inputs, staged eight halves at a time. */
    bool fits =
        16 % p->MSize == 0 && 16 % p->NSize == 0 && p->NSize % 4 == 0 && 32 % p->KSize == 0 && p->KSize % 8 == 0;
    return types && fits && p->scope == VK_SCOPE_SUBGROUP_KHR && !p->saturatingAccumulation;
}

/* The usable shape nearest to 16 x 16 x 16, which every GPU so far runs at full speed. */
static bool choose_shape(const rn_device *device, rn_matrix_unit *unit)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)device->get_proc(
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

static bool find_matrix_unit(const rn_device *device, rn_matrix_unit *unit)
{
    unit->subgroup = choose_subgroup(device, &unit->must_ask_subgroup);
    return unit->subgroup && choose_shape(device, unit);
}

/* By hardware; a software driver has none for anything. */
static bool multiplies_bytes(const rn_device *device)
{
    VkPhysicalDeviceShaderIntegerDotProductProperties dots = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &dots};
    device->fn.GetPhysicalDeviceProperties2(device->physical, &properties);
    return dots.integerDotProduct4x8BitPackedSignedAccelerated ||
           properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
}

void rn_features_use(rn_device *device, const retnet_context_desc *desc, const char *const *extensions,
                     uint32_t extension_count, const void *features)
{
    feature_bits bits = find_bits(features);
    rn_matrix_unit unit = {0};
    feature_set set = {
        .matrix = contains(extensions, extension_count, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) &&
                  device->api_version >= RETNET_VULKAN_RECOMMENDED_VERSION && has_matrix_features(&bits) &&
                  !pretends_no_matrices(desc) && find_matrix_unit(device, &unit),
        .memory_budget = contains(extensions, extension_count, BUDGET_EXTENSION),
        .memory_priority = contains(extensions, extension_count, PRIORITY_EXTENSION) && is_on(bits.priority),
        .timeline = device->api_version >= VK_API_VERSION_1_2 && is_on(bits.timeline) && device->vk.vkWaitSemaphores &&
                    !(desc->pretend & RETNET_PRETEND_NO_TIMELINE),
        .dots =
            device->api_version >= VK_API_VERSION_1_3 && is_on(bits.dots) && !(desc->pretend & RETNET_PRETEND_NO_INT8),
    };
    set.addresses = set.matrix && is_on(bits.addresses) && device->vk.vkGetBufferDeviceAddress;
    device->caps.matrix = set.matrix ? unit : (rn_matrix_unit){0};
    device->memory_budget = set.memory_budget;
    device->memory_priority = set.memory_priority;
    device->timeline = set.timeline;
    device->addresses = set.addresses;
    device->caps.byte_dots = set.dots && multiplies_bytes(device);
    VkDeviceCreateInfo used = {0};
    add_structs(&used, (own_structs *)(void *)device->used.structs, &set);
    add_names(&used, &device->used, &set);
    device->used_extension_count = used.enabledExtensionCount;
    device->used_features = used.pNext;
}
