/* copy.h: memory copied, filled and read by kernels, where commands would be slow or wait. */
#ifndef RETNET_LAYERS_COPY_H
#define RETNET_LAYERS_COPY_H

#include "vulkan/recorder.h"

/* Offsets in `memory` and the size are multiples of 16 bytes; the two ranges do not overlap. */
void rn_copy_record(rn_recorder *recorder, rn_binding memory, uint64_t from, uint64_t to, uint64_t bytes);

/* Fills all of `memory`, a multiple of 16 bytes. */
void rn_fill_record(rn_recorder *recorder, rn_binding memory, uint32_t word);

/* Reads all of `memory`, a multiple of RN_READ_BYTES, which does not hold 0x01234567 alone. */
enum { RN_READ_BYTES = 1 << 16 };
void rn_read_record(rn_recorder *recorder, rn_binding memory);

#endif
