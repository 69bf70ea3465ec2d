/* upload.h: moves matrices of a checkpoint into their panels on the device, through a staging buffer. */
#ifndef RETNET_MODEL_UPLOAD_H
#define RETNET_MODEL_UPLOAD_H

#include "layers/linear.h"
#include "model/checkpoint.h"
#include "vulkan/recorder.h"

enum { RN_STAGING_BYTES = 32 << 20 };

typedef struct rn_upload {
    rn_device *device;
    rn_recorder recorder;
    rn_buffer staging;
    uint64_t staged; /* bytes of staging that pending dispatches read */
    retnet_progress_fn progress;
    void *progress_user;
    uint64_t done, total;
} rn_upload;

retnet_result rn_upload_begin(rn_device *device, retnet_progress_fn progress, void *progress_user, uint64_t total,
                              rn_upload *upload);
/* Zeroes a whole buffer, as the panels must be. */
retnet_result rn_upload_zero(rn_upload *upload, const rn_buffer *buffer);
/* Puts the rows of `source` at row `to_row` of `matrix`; `second` picks the second of two alternating matrices. */
retnet_result rn_upload_matrix(rn_upload *upload, const rn_matrix_source *source, const rn_matrix *matrix,
                               uint32_t to_row, bool second);
/* Fills rows [to_row, to_row + rows) with pseudo-random values in [-amplitude, amplitude]. */
retnet_result rn_upload_random(rn_upload *upload, const rn_matrix *matrix, uint32_t to_row, uint32_t rows, bool second,
                               uint32_t seed, float amplitude);
retnet_result rn_upload_bytes(rn_upload *upload, const void *data, uint64_t size, const rn_buffer *buffer);
/* Finishes what is pending. */
retnet_result rn_upload_flush(rn_upload *upload);
void rn_upload_end(rn_upload *upload); /* accepts a zeroed upload */

#endif
