/* composed.h: a whole RetNet of either dialect from the functions of layers.h alone, to be read as an example of them.
 */
#ifndef RETNET_TESTS_COMPOSED_H
#define RETNET_TESTS_COMPOSED_H

#include "layers/layers_test.h"
#include "reference/reference.h"

#include <retnet/layers.h>

typedef enum composed_form { COMPOSED_PARALLEL, COMPOSED_CHUNKWISE, COMPOSED_RECURRENT } composed_form;

typedef struct composed composed;

/* The model's weights on the device, with room for so many rows (tokens of one call) and sequences. */
composed *composed_create(layers_test *test, const ref_model *model, uint32_t rows, uint32_t sequences);
void composed_destroy(composed *net);
void composed_forget(composed *net); /* the states are zero again */

/* Reads tokens[row] of all sequences and writes logits [rows, vocabulary]. The parallel form starts from nothing and
 * leaves no state, the others take and leave that of each sequence. */
void composed_read(composed *net, composed_form form, uint32_t chunk, retnet_score_norm norm, float eps,
                   const retnet_sequence *sequences, uint32_t count, const int32_t *tokens, float *logits);

/* S [H, K, V] of a layer and sequence, in the order of pairs that the checkpoint has. */
void composed_state(const composed *net, uint32_t layer, uint32_t sequence, float *state);

#endif
