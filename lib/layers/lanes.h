/* lanes.h: which invocation of a subgroup holds which components of a matrix unit's operands (shaders/lanes.glsl). */
#ifndef RETNET_LAYERS_LANES_H
#define RETNET_LAYERS_LANES_H

#include "vulkan/device.h"

/* Values match lanes.glsl. */
typedef enum rn_lanes { RN_LANES_UNKNOWN, RN_LANES_QUADS, RN_LANES_COLUMNS } rn_lanes;

/* Asks the device, by a kernel, and sets device->caps.matrix.lanes. Without matrix units it does nothing. */
retnet_result rn_lanes_find(rn_device *device);

#endif
