#include "vulkan/pipeline_cache.h"

#include "shaders.h"
#include "vulkan/kernel.h"

#include <string.h>

/* A blob is this header, the choices made by measurement, and then what vkGetPipelineCacheData gave. Drivers check
 * little of their own header and nothing of what follows, so all is checked here, in the byte order of the machine: a
 * blob is for the machine that made it. */

enum { BLOB_VERSION = 2 };

static const char blob_magic[8] = {'R', 'N', 'P', 'I', 'P', 'E', 'S', '\n'};

typedef struct blob_header {
    char magic[8];
    uint32_t version, vendor, device, driver_version;
    uint8_t uuid[VK_UUID_SIZE];
    uint64_t shaders;  /* hash of every module's words */
    uint64_t size;     /* of all that follows */
    uint64_t checksum; /* of the header before it and what follows */
} blob_header;

typedef struct blob_choices {
    uint64_t count;
    rn_choice made[RN_MAX_CHOICES]; /* those from `count` on are zero */
} blob_choices;

_Static_assert(sizeof(blob_header) == 64, "the header has no padding");
_Static_assert(sizeof(blob_choices) == 8 + 16 * RN_MAX_CHOICES, "the choices have no padding");

enum { DATA_AT = sizeof(blob_header) + sizeof(blob_choices) };

static uint64_t hash_shaders(void)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < RN_SHADER_COUNT; i++)
        hash = rn_hash(hash, rn_shaders[i].words, rn_shaders[i].word_count * sizeof(uint32_t));
    return hash;
}

static uint64_t hash_blob(const blob_header *header, const uint8_t *data)
{
    return rn_hash(rn_hash(0, header, offsetof(blob_header, checksum)), data, header->size);
}

static blob_header make_header(const rn_device *device, uint64_t size)
{
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    device->fn.GetPhysicalDeviceProperties2(device->physical, &properties);
    const VkPhysicalDeviceProperties *p = &properties.properties;
    blob_header header = {
        .version = BLOB_VERSION,
        .vendor = p->vendorID,
        .device = p->deviceID,
        .driver_version = p->driverVersion,
        .shaders = hash_shaders(),
        .size = size,
    };
    memcpy(header.magic, blob_magic, sizeof header.magic);
    memcpy(header.uuid, p->pipelineCacheUUID, sizeof header.uuid);
    return header;
}

static retnet_result refuse_hosts(const rn_device *device)
{
    return rn_fail(device->host, RETNET_ERROR_UNSUPPORTED,
                   "the pipelines are in the host's own VkPipelineCache, which is the host's to save and load");
}

/* ---- Saving ----------------------------------------------------------------------------------------------------- */

/* Between rn_kernels_lock and _unlock: the cache does not grow between the two questions. */
static retnet_result save_locked(rn_device *device, uint8_t *blob, size_t capacity, size_t *size)
{
    size_t data_size = 0;
    VkResult result = device->vk.vkGetPipelineCacheData(device->handle, device->pipeline_cache, &data_size, NULL);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, "vkGetPipelineCacheData");
    *size = DATA_AT + data_size;
    if (!blob) return RETNET_OK;
    if (capacity < *size)
        return rn_fail(device->host, RETNET_ERROR_LIMIT, "pipeline cache: %zu bytes needed, %zu given", *size,
                       capacity);
    result = device->vk.vkGetPipelineCacheData(device->handle, device->pipeline_cache, &data_size, blob + DATA_AT);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, "vkGetPipelineCacheData");
    *size = DATA_AT + data_size;
    blob_choices choices = {.count = atomic_load(&device->choices.count)};
    memcpy(choices.made, device->choices.made, choices.count * sizeof *choices.made);
    memcpy(blob + sizeof(blob_header), &choices, sizeof choices);
    blob_header header = make_header(device, *size - sizeof header);
    header.checksum = hash_blob(&header, blob + sizeof header);
    memcpy(blob, &header, sizeof header);
    return RETNET_OK;
}

retnet_result rn_pipeline_cache_save(rn_device *device, void *blob, size_t capacity, size_t *size)
{
    if (!device->owns_pipeline_cache) return refuse_hosts(device);
    rn_kernels_lock(device);
    retnet_result result = save_locked(device, blob, capacity, size);
    rn_kernels_unlock(device);
    return result;
}

/* ---- Loading ---------------------------------------------------------------------------------------------------- */

/* Why the blob cannot be used, or NULL. `header` has been copied out of it. */
static const char *find_mismatch(const rn_device *device, const blob_header *header, const uint8_t *blob, size_t size)
{
    blob_header ours = make_header(device, header->size);
    if (memcmp(header->magic, ours.magic, sizeof ours.magic) != 0) return "it is none";
    if (header->version != ours.version) return "it is of another version of the format";
    if (header->vendor != ours.vendor || header->device != ours.device) return "it is of another device";
    if (header->driver_version != ours.driver_version || memcmp(header->uuid, ours.uuid, sizeof ours.uuid) != 0)
        return "it is of another driver";
    if (header->shaders != ours.shaders) return "it is of other kernels";
    if (header->size != size - sizeof *header) return "it is cut short or has more at its end";
    if (header->checksum != hash_blob(header, blob + sizeof *header)) return "it is damaged";
    return NULL;
}

/* The driver's own header, which a driver is only bound to check if it is whole. */
static const char *find_data_mismatch(const blob_header *header, const uint8_t *data, uint64_t size)
{
    VkPipelineCacheHeaderVersionOne inner;
    if (size < sizeof inner) return "it holds nothing of the driver's";
    memcpy(&inner, data, sizeof inner);
    bool same = inner.headerSize >= sizeof inner && inner.headerSize <= size &&
                inner.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && inner.vendorID == header->vendor &&
                inner.deviceID == header->device && memcmp(inner.pipelineCacheUUID, header->uuid, VK_UUID_SIZE) == 0;
    return same ? NULL : "the driver's data are of another driver";
}

static retnet_result merge(rn_device *device, const uint8_t *data, size_t size)
{
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = size,
        .pInitialData = data,
    };
    VkPipelineCache loaded;
    VkResult result = device->vk.vkCreatePipelineCache(device->handle, &info, device->allocator, &loaded);
    if (result != VK_SUCCESS) return rn_device_fail(device, result, "vkCreatePipelineCache");
    rn_kernels_lock(device);
    result = device->vk.vkMergePipelineCaches(device->handle, device->pipeline_cache, 1, &loaded);
    rn_kernels_unlock(device);
    device->vk.vkDestroyPipelineCache(device->handle, loaded, device->allocator);
    return result == VK_SUCCESS ? RETNET_OK : rn_device_fail(device, result, "vkMergePipelineCaches");
}

static void take_choices(rn_device *device, const uint8_t *from)
{
    blob_choices choices;
    memcpy(&choices, from, sizeof choices);
    for (uint64_t i = 0; i < choices.count && i < RN_MAX_CHOICES && device->measures; i++)
        rn_choices_add(&device->choices, choices.made[i].question, choices.made[i].answer);
}

retnet_result rn_pipeline_cache_load(rn_device *device, const void *blob, size_t size, bool *accepted)
{
    *accepted = false;
    if (!device->owns_pipeline_cache) return refuse_hosts(device);
    blob_header header;
    const char *mismatch = "it is too short";
    const uint8_t *data = NULL;
    if (size >= DATA_AT) {
        data = (const uint8_t *)blob + DATA_AT;
        memcpy(&header, blob, sizeof header);
        mismatch = find_mismatch(device, &header, blob, size);
        if (!mismatch) mismatch = find_data_mismatch(&header, data, size - DATA_AT);
    }
    if (mismatch) {
        rn_log(device->host, RETNET_LOG_INFO, "pipeline cache not used: %s", mismatch);
        return RETNET_OK;
    }
    retnet_result result = merge(device, data, size - DATA_AT);
    *accepted = result == RETNET_OK;
    if (*accepted) take_choices(device, (const uint8_t *)blob + sizeof header);
    return result;
}
