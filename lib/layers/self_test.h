/* self_test.h: whether the device computes right what kernels count on beyond plain arithmetic. */
#ifndef RETNET_LAYERS_SELF_TEST_H
#define RETNET_LAYERS_SELF_TEST_H

#include "vulkan/device.h"

/* Runs a small kernel for each kind of operation that caps has and kernels use. One that gives wrong answers, or that
 * the driver cannot make or run, is taken out of caps, with a warning in the log; kernels then do without it. Part of
 * making a context. Fails only where nothing at all can be run. */
retnet_result rn_self_test(rn_device *device);

#endif
