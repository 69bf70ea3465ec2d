/* tiles.h: products in tiles through shared memory, on GPUs without matrix units (shaders/tiles.glsl). */
#ifndef RETNET_LAYERS_TILES_H
#define RETNET_LAYERS_TILES_H

#include "vulkan/device.h"

enum { RN_TILE = 64, RN_TILE_INVOCATIONS = 128, RN_TILE_SHARED_BYTES = 16384 };

/* Software drivers have no use for them: what an invocation reads again is in a cache anyway. */
static inline bool rn_tiles_suit(const rn_device *device)
{
    return !device->caps.is_cpu && device->caps.max_invocations >= RN_TILE_INVOCATIONS &&
           device->caps.shared_memory >= RN_TILE_SHARED_BYTES;
}

#endif
