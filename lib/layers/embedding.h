/* embedding.h: token ids to rows of activations, and log-probabilities of given tokens. */
#ifndef RETNET_LAYERS_EMBEDDING_H
#define RETNET_LAYERS_EMBEDDING_H

#include "layers/linear.h"

/* y[i] = scale * matrix[tokens[i]] for `count` tokens; y_stride in floats, a multiple of 32. */
void rn_embedding_record(rn_recorder *recorder, const rn_matrix *matrix, rn_binding tokens, uint32_t count,
                         rn_binding output, uint32_t y_stride, float scale);

/* log_probs[first_output + i] = ln softmax(logits[i])[targets[first_target + i]] for `rows` rows. */
void rn_score_record(rn_recorder *recorder, rn_binding logits, uint32_t vocabulary, uint32_t stride, uint32_t rows,
                     rn_binding targets, uint32_t first_target, rn_binding log_probs, uint32_t first_output);

#endif
