/* pipeline_cache.h: compiled pipelines as bytes, for a start without compiling. */
#ifndef RETNET_VULKAN_PIPELINE_CACHE_H
#define RETNET_VULKAN_PIPELINE_CACHE_H

#include "vulkan/device.h"

/* retnet_context_pipeline_cache_save and _load. */
retnet_result rn_pipeline_cache_save(rn_device *device, void *blob, size_t capacity, size_t *size);
retnet_result rn_pipeline_cache_load(rn_device *device, const void *blob, size_t size, bool *accepted);

#endif
