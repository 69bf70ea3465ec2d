/* loads.h: which way of reading memory is the faster one on a software driver. */
#ifndef RETNET_LAYERS_LOADS_H
#define RETNET_LAYERS_LOADS_H

#include "vulkan/device.h"

/* Times texel and storage-buffer loads once and sets device->texel_loads. Does nothing on a GPU. Either way computes
 * the same numbers, which is checked: one that does not is left alone, with a warning in the log. */
retnet_result rn_loads_measure(rn_device *device);

#endif
