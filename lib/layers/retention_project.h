/* retention_project.h: the projection to queries, keys, values and gates together with what the chunkwise form on
 * matrix units makes of them first (shaders/retention_operands.glsl): a dispatch and a copy of all of them less. */
#ifndef RETNET_LAYERS_RETENTION_PROJECT_H
#define RETNET_LAYERS_RETENTION_PROJECT_H

#include "layers/matmul.h"
#include "layers/retention.h"

/* Whether it can be: `projection` is rows q, k, v and gate in this order, without what is between, to f16 for
 * retention->input; heads begin where its tiles do, there are tokens enough for these, and what of the memory lent for
 * unpacking remains is enough where all is. Chunk i of the pass has to begin in row RN_CHUNK i, and only the last may
 * be shorter. */
bool rn_retention_projects(const rn_device *device, const rn_matmul *projection, const rn_retention *retention,
                           const rn_retention_chunks *chunks);

/* Leaves gates in the projection's output, and all else in the scratch, for rn_retention_chunks_record with
 * `projected`. The memory for unpacking may be the scratch: what is left there is spared. */
void rn_retention_project_record(rn_recorder *recorder, const rn_matmul *projection, const rn_retention *retention,
                                 const rn_retention_chunks *chunks);

#endif
