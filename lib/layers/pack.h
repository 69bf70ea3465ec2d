/* pack.h: puts rows of matrices into panels on the device (shaders/pack.comp). */
#ifndef RETNET_LAYERS_PACK_H
#define RETNET_LAYERS_PACK_H

#include "layers/linear.h"

/* What the source holds; values match pack.comp. */
typedef enum rn_pack_source {
    RN_PACK_F32 = 1,
    RN_PACK_F16 = 2,
    RN_PACK_BF16 = 3,
    RN_PACK_Q8 = 4,
    RN_PACK_Q4 = 5,
    RN_PACK_RANDOM = 6
} rn_pack_source;

/* As pack.comp says. */
typedef struct rn_pack {
    uint32_t first, rows, inputs, blocks, to_row, panel_step, panel_offset, rotation_head, scales, seed;
    float amplitude;
} rn_pack;

/* Packs pack.rows source rows into `matrix`, whose panels are zero. */
retnet_result rn_pack_record(rn_recorder *recorder, rn_pack_source kind, rn_binding source, const rn_matrix *matrix,
                             rn_pack pack);
/* Rows of so many bytes and blocks that fit in `bytes` and in one dispatch; at least 1. */
uint32_t rn_pack_rows(const rn_device *device, uint64_t bytes, uint64_t row_bytes, uint32_t blocks);

#endif
