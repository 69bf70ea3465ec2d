/* reference.h: a RetNet in plain C and double precision, to be read beside the paper (arXiv 2307.08621) and to test the
 * library against. It shares nothing with the library but the reading of checkpoints. Running out of memory ends the
 * program. Matrices are row-major; sizes are named as in the paper: T tokens, D hidden, H heads, K and V key and value
 * width of one head. */
#ifndef RETNET_TESTS_REFERENCE_H
#define RETNET_TESTS_REFERENCE_H

#include "model/checkpoint.h"

/* ---- Retention (retention.c) ------------------------------------------------------------------------------------ */

/* Raw retention: O_n = alpha * sum over m <= n of gamma^(n-m) (q_n . k_m) v_m, for each head. q and k come rotated. */
typedef struct ref_retention {
    size_t tokens;               /* T */
    size_t heads, kv_heads;      /* H and H_kv; query head h reads key and value head h / (H / H_kv) */
    size_t key_size, value_size; /* K, V */
    double scale;                /* alpha, K^-0.5 in every model */
    const double *decay;         /* [H], gamma; 1 is allowed */
} ref_retention;

/* q [T,H,K], k [T,H_kv,K], v [T,H_kv,V] -> o [T,H,V]. `state` S [H,K,V] is what the heads remember before the first
 * token, and afterwards what they remember after the last; zero is an empty memory. */
void ref_retention_parallel(const ref_retention *r, const double *q, const double *k, const double *v, double *state,
                            double *o);
void ref_retention_recurrent(const ref_retention *r, const double *q, const double *k, const double *v, double *state,
                             double *o);
void ref_retention_chunkwise(const ref_retention *r, size_t chunk, const double *q, const double *k, const double *v,
                             double *state, double *o);

/* What torchscale's parallel and chunkwise forms divide by, squared: c2 [T,H]. The first knows no state; the second
 * carries it on. */
void ref_score_norm_parallel(const ref_retention *r, const double *q, const double *k, double *c2);
void ref_score_norm_chunkwise(const ref_retention *r, size_t chunk, const double *q, const double *k, const double *v,
                              double *state, double *c2);

double ref_decay_sum(double decay, uint64_t n); /* s_n = 1 + gamma + ... + gamma^n */

/* ---- Layers (layers.c) ------------------------------------------------------------------------------------------ */

/* Turns the pairs (i, i + K/2) of each head by position * theta[i]; row t stands at position first + t. In place. */
void ref_rotate(double *x, size_t rows, size_t heads, size_t key_size, const double *theta, uint64_t first);

/* Each row: y = x / sqrt(mean(x^2) + eps) * weight, and the same around the mean. weight, bias may be NULL, y be x. */
void ref_rms_norm(const double *x, size_t rows, size_t size, double eps, const float *weight, double *y);
void ref_layer_norm(const double *x, size_t rows, size_t size, double eps, const float *weight, const float *bias,
                    double *y);
/* The norm over the V values of each head and row of o [T,H,V], with eps * c2[t,h] (retnet.md, NORM; NULL: c2 = 1).
 * `weight` [V] is shared by the heads or NULL. `centred` subtracts the mean (old torchscale). In place. */
void ref_group_norm(double *o, size_t rows, size_t heads, size_t value_size, double eps, const double *c2,
                    const float *weight, bool centred);

double ref_activate(rn_activation activation, double x);
/* y = activation(x) * y, elementwise: the swish gate (x is the gate, y the normed retention) and the GLU. */
void ref_gate(rn_activation activation, const double *x, double *y, size_t count);
/* y [rows, outputs] = x [rows, inputs] W^T + bias, W [outputs, inputs]; bias may be NULL. */
void ref_linear(const double *x, size_t rows, const float *w, size_t outputs, size_t inputs, const float *bias,
                double *y);
double ref_dot(const double *a, const double *b, size_t size);
void *ref_alloc(size_t count, size_t size); /* zeroed */

/* ---- Models (model.c) ------------------------------------------------------------------------------------------- */

typedef struct ref_matrix {
    float *w, *bias; /* w [rows, columns] holds every supported format exactly; NULL: absent */
    size_t rows, columns;
} ref_matrix;

typedef struct ref_layer {
    ref_matrix q, k, v, g, o, gate, up, down;
    ref_matrix retention_norm, ffn_norm, ffn_inner_norm; /* w and bias are vectors here */
    float *group_norm;
} ref_layer;

typedef enum ref_form { REF_RECURRENT, REF_PARALLEL, REF_CHUNKWISE } ref_form;

typedef struct ref_model {
    rn_config config;    /* a test may change norm_eps */
    ref_form score_norm; /* torchscale: by which of its forms scores are normalised; parallel: of whole prompts */
    size_t chunk;        /* of REF_CHUNKWISE */
    ref_matrix embedding, head, embedding_norm, output_norm;
    ref_layer *layers;
    float *weights; /* all of them, and how many are taken */
    size_t taken;
} ref_model;

/* What a sequence of tokens leaves behind: everything that the next token needs. */
typedef struct ref_sequence {
    uint64_t position; /* tokens read */
    double *states;    /* [layers, H, K, V] */
} ref_sequence;

ref_model *ref_model_open(const char *directory); /* NULL with the reason on stderr if that fails */
void ref_model_close(ref_model *model);
size_t ref_state_size(const ref_model *model);                          /* H K V, of one layer */
void ref_sequence_init(const ref_model *model, ref_sequence *sequence); /* free(sequence->states) ends it */

/* Reads tokens; writes the last layer's normed output [count, D], from which ref_model_logits makes [count, N_v]. */
void ref_model_read(const ref_model *model, ref_sequence *sequence, const int32_t *tokens, size_t count,
                    double *output);
void ref_model_logits(const ref_model *model, const double *output, size_t rows, double *logits);
double ref_log_prob(const double *logits, size_t count, int32_t token); /* ln p(token) under their softmax */

#endif
