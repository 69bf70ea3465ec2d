/* config.h: what a checkpoint's config.json says, in one canonical form for every dialect. */
#ifndef RETNET_MODEL_CONFIG_H
#define RETNET_MODEL_CONFIG_H

#include "base/base.h"

typedef enum rn_dialect { RN_DIALECT_FLA, RN_DIALECT_TORCHSCALE } rn_dialect;
typedef enum rn_activation { RN_ACTIVATION_SILU, RN_ACTIVATION_GELU, RN_ACTIVATION_RELU } rn_activation;
typedef enum rn_norm_kind { RN_NORM_RMS, RN_NORM_LAYER } rn_norm_kind;

enum { RN_MAX_HEADS = 128, RN_MAX_KEY_SIZE = 512 };

typedef struct rn_config {
    rn_dialect dialect;
    uint32_t hidden;     /* D */
    uint32_t layers;     /* L */
    uint32_t heads;      /* H */
    uint32_t kv_heads;   /* H_kv; divides heads */
    uint32_t key_size;   /* K per head, even */
    uint32_t value_size; /* V per head */
    uint32_t ffn;        /* I */
    uint32_t vocabulary;
    float norm_eps;
    float embedding_scale;             /* 1, or sqrt(D) */
    bool embedding_norm;               /* a norm with weight after the embedding */
    bool tied_head;                    /* the head is the embedding matrix */
    bool output_gate;                  /* swish gate on the retention's output */
    bool group_norm_weight;            /* a weight [V] on the group norm, shared by the heads */
    bool score_normalised_eps;         /* torchscale: the group norm's eps is multiplied by s_n (retnet.md, NORM) */
    bool ffn_gated;                    /* GLU: down(act(gate x) * (up x)); else down(act(up x)) */
    bool linear_bias;                  /* old torchscale */
    bool ffn_norm;                     /* old torchscale: a layer norm inside the feed-forward layer */
    rn_norm_kind norm;                 /* of blocks, embedding and output; the group norm is RMS or, with RN_NORM_LAYER,
                                          mean-subtracting */
    rn_activation activation;          /* of the feed-forward layer; the gate of the retention is always silu */
    bool interleaved_rotation;         /* rotation pairs are (2i, 2i+1), to be permuted to (i, i+K/2) by the loader */
    int32_t bos_token, eos_token;      /* -1: none */
    double theta[RN_MAX_KEY_SIZE / 2]; /* rotation frequencies, radians per token */
    float decay[RN_MAX_HEADS];         /* gamma of each head, as fp32 */
} rn_config;

/* Reads and checks the text of a config.json, whose name is used in messages. Every field that changes the computation
 * is honoured or refused by name; unknown fields are errors unless they are known bookkeeping of Hugging Face, or
 * null/false/empty. Fills everything, decay and theta by the dialect's formulas (a checkpoint's buffers may replace
 * them). UNSUPPORTED or FORMAT on error. */
retnet_result rn_config_parse(rn_host *host, const char *name, const char *text, size_t size, rn_config *config);

/* Parameters of a model of this shape, as the checkpoint counts them. */
uint64_t rn_config_parameters(const rn_config *config);

/* The config of a synthetic shape ("30m", "1.3b", ...); false if there is none of that name. */
bool rn_config_named(const char *shape, rn_config *config);

#endif
