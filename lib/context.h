/* context.h: the inside of a retnet_context. */
#ifndef RETNET_CONTEXT_H
#define RETNET_CONTEXT_H

#include "vulkan/device.h"

struct retnet_context {
    rn_host host;
    rn_device device;
};

#endif
