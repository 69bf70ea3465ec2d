/* pipeline_cache.c: saved pipelines, against a device that has nothing but names and numbers. The first byte says
 * whether shader hash, size and checksum are to be made right, which no mutation would ever do. */
#include "fuzz/fuzz.h"

#include "vulkan/pipeline_cache.h"

enum { VENDOR = 0x1234, DEVICE = 0x5678, DRIVER = 42, HEADER = 64, SHADERS_AT = 40, SIZE_AT = 48, CHECKSUM_AT = 56 };
enum { CHOICES = 8 + 16 * RN_MAX_CHOICES };

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *properties)
{
    (void)physical;
    properties->properties.vendorID = VENDOR;
    properties->properties.deviceID = DEVICE;
    properties->properties.driverVersion = DRIVER;
    memset(properties->properties.pipelineCacheUUID, 'u', VK_UUID_SIZE);
}

static VKAPI_ATTR VkResult VKAPI_CALL get_data(VkDevice device, VkPipelineCache cache, size_t *size, void *data)
{
    (void)device;
    (void)cache;
    if (data) memset(data, 0, *size);
    *size = 8;
    return VK_SUCCESS;
}

/* What a driver may rely on. */
static VKAPI_ATTR VkResult VKAPI_CALL create(VkDevice device, const VkPipelineCacheCreateInfo *info,
                                             const VkAllocationCallbacks *allocator, VkPipelineCache *cache)
{
    (void)device;
    (void)allocator;
    VkPipelineCacheHeaderVersionOne header;
    FUZZ_REQUIRE(info->initialDataSize >= sizeof header);
    memcpy(&header, info->pInitialData, sizeof header);
    FUZZ_REQUIRE(header.vendorID == VENDOR && header.deviceID == DEVICE && header.pipelineCacheUUID[0] == 'u');
    FUZZ_REQUIRE(header.headerSize <= info->initialDataSize);
    rn_hash(0, info->pInitialData, info->initialDataSize);
    *cache = VK_NULL_HANDLE;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL merge(VkDevice device, VkPipelineCache to, uint32_t count,
                                            const VkPipelineCache *from)
{
    (void)device;
    (void)to;
    (void)from;
    return count == 1 ? VK_SUCCESS : VK_ERROR_UNKNOWN;
}

static VKAPI_ATTR void VKAPI_CALL destroy(VkDevice device, VkPipelineCache cache,
                                          const VkAllocationCallbacks *allocator)
{
    (void)device;
    (void)cache;
    (void)allocator;
}

/* The hash of this build's kernels, which a saved blob tells. */
static void repair_blob(rn_device *device, fuzz_piece blob)
{
    uint8_t ours[HEADER + CHOICES + 8];
    size_t size;
    uint64_t data_size = blob.size - HEADER, checksum;
    FUZZ_REQUIRE(rn_pipeline_cache_save(device, ours, sizeof ours, &size) == RETNET_OK && size == sizeof ours);
    memcpy(blob.data + SHADERS_AT, ours + SHADERS_AT, sizeof(uint64_t));
    memcpy(blob.data + SIZE_AT, &data_size, sizeof data_size);
    checksum = rn_hash(rn_hash(0, blob.data, CHECKSUM_AT), blob.data + HEADER, data_size);
    memcpy(blob.data + CHECKSUM_AT, &checksum, sizeof checksum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rn_device device;
    rn_host host;
    if (size < 1) return 0;
    bool repair = data[0] & 1, accepted = false;
    data++, size--;
    fuzz_piece blob = fuzz_rest(&data, &size);
    fuzz_host_begin(&host);
    device.host = &host;
    device.owns_pipeline_cache = true;
    device.fn.GetPhysicalDeviceProperties2 = get_properties;
    device.vk.vkGetPipelineCacheData = get_data;
    device.vk.vkCreatePipelineCache = create;
    device.vk.vkMergePipelineCaches = merge;
    device.vk.vkDestroyPipelineCache = destroy;
    rn_mutex_init(&device.kernel_lock);
    rn_choices_init(&device.choices);
    device.measures = true;
    if (repair && blob.size >= HEADER) repair_blob(&device, blob);
    FUZZ_REQUIRE(rn_pipeline_cache_load(&device, blob.data, blob.size, &accepted) == RETNET_OK);
    FUZZ_REQUIRE(atomic_load(&device.choices.count) <= RN_MAX_CHOICES);
    rn_choices_destroy(&device.choices);
    rn_mutex_destroy(&device.kernel_lock);
    free(blob.data);
    fuzz_host_end(&host);
    return 0;
}
