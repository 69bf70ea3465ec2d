/* order.h: whether dispatches of this device can wait for each other without barriers (recorder.h, chains). */
#ifndef RETNET_LAYERS_ORDER_H
#define RETNET_LAYERS_ORDER_H

#include "vulkan/device.h"

/* Runs a chain of links of a few and of many workgroups, more than a device holds at once, and sets device->soft_order
 * if every one of them waited and was right. Does nothing on software drivers, which start a dispatch when the one
 * before has ended: there is nothing to win. Part of making a context; fails only where nothing can be run. */
retnet_result rn_order_test(rn_device *device);

#endif
