/* halves.h: activations as f16, as projections on matrix units read them (shaders/halves.glsl). */
#ifndef RETNET_LAYERS_HALVES_H
#define RETNET_LAYERS_HALVES_H

#include "vulkan/recorder.h"

/* Tokens that there must be memory for, and its bytes. */
uint32_t rn_halves_room(uint32_t rows);
uint64_t rn_halves_bytes(uint32_t rows, uint32_t inputs);

/* Whether the device can take so many in one dispatch, and products can read them. */
bool rn_halves_suits(const rn_device *device, uint32_t rows, uint32_t inputs);

/* From rows of fp32, which are finite up to a multiple of 32 inputs and lie `stride`, a multiple of 4, apart. */
void rn_halves_record(rn_recorder *recorder, rn_binding from, uint32_t stride, uint32_t rows, uint32_t inputs,
                      rn_binding to);

#endif
