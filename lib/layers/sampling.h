/* sampling.h: choosing the next token on the device, one workgroup a sequence (shaders/sample.comp).
 *
 * All that a choice rests on is exact: logits y are compared as fp32 values, after bias and penalty, which are one
 * addition and one multiplication, and a token's weight exp((y - max) / temperature) is a whole multiple of 2^-40, made
 * by fp32 operations that every device rounds in the same way. Sums of weights are therefore exact in any order, and
 * the same logits, parameters and seed give the same token on every device and in every slot. Against arithmetic
 * without rounding a weight is off by at most 2e-7 + 3e-7 * ln(1 / weight) of itself, and those under 2^-41 count as
 * nothing: only a draw, or an edge of top-p, that comes closer than that to the border of two tokens can fall to the
 * other one. */
#ifndef RETNET_LAYERS_SAMPLING_H
#define RETNET_LAYERS_SAMPLING_H

#include "layers/retention.h"

enum {
    RN_RECENT_TOKENS = 256, /* that a repetition penalty can look back on */
    RN_MAX_BIASES = 512,    /* of one slot, banned tokens included */
    RN_MAX_END_TOKENS = 256,
    RN_RESULT_RING = 64, /* results of a slot that are kept until the host takes them */
};

#define RN_NO_TOKEN UINT32_MAX

/* Bits of rn_step_record.sampler: which sampler is the row's, which its other state, and whether it rests. A row that
 * rests computes nothing that is kept: its state stays as it is, and it makes no token.
 *
 * A token that moves states reads a row's state and writes its other one. The sampler then exchanges the two, so that
 * the other one is what the state was before. No row that rests may take part. The other state is told by the bits in
 * which its number differs from the state's; both are below RN_STEP_STATES. */
#define RN_STEP_SAMPLER 0xFFFFu
#define RN_STEP_OTHER_SHIFT 16
#define RN_STEP_STATES 0x8000u
#define RN_STEP_RESTS 0x80000000u

typedef struct rn_bias {
    uint32_t token;
    float bias;
} rn_bias;

/* One slot's parameters and what the device keeps of it between tokens. As in sample.comp. */
typedef struct rn_sampler {
    float scale;                 /* log2(e) / temperature; 0: greedy */
    float floor;                 /* of min-p: temperature * ln(min_p); -FLT_MAX: none */
    uint32_t top_k;              /* 0: all */
    uint32_t top_p, top_p_shift; /* the mass to keep is top_p / 2^top_p_shift; 0: all */
    float penalty, inverse_penalty;
    uint32_t window;   /* of the penalty; 0: none */
    uint32_t seed[2];  /* low, high */
    uint32_t log_prob; /* wanted */
    uint32_t bias_count, end_count;
    uint32_t last; /* value of `made` at which the row comes to rest */
    /* From here on the device's. */
    uint32_t made;    /* tokens made, counted over all uses of the slot */
    uint32_t waiting; /* the newest token was made and goes into the state with the next step */
    uint32_t recent_count;
    uint32_t unused[15];
    uint32_t recent[RN_RECENT_TOKENS]; /* ring: the token read at position i is at i % RN_RECENT_TOKENS */
    rn_bias biases[RN_MAX_BIASES];     /* tokens differ */
    uint32_t end_tokens[RN_MAX_END_TOKENS];
    float saved[RN_MAX_BIASES + RN_RECENT_TOKENS]; /* scratch: logits before they were biased */
} rn_sampler;

/* What the steps of a batch share, in one buffer: rows first, samplers behind. */
typedef struct rn_control {
    rn_step_record steps[RN_MAX_RECORDS];
    uint32_t tokens[RN_MAX_RECORDS]; /* that the rows read next */
    uint32_t never[4];               /* zero: as rn_sampling.failed where nothing can fail */
    rn_sampler samplers[];
} rn_control;

/* One token that was made. The ring of sampler s is [s * RN_RESULT_RING, (s + 1) * RN_RESULT_RING), and token number n
 * of it is at n % RN_RESULT_RING. */
typedef struct rn_result {
    uint32_t token;  /* RN_NO_TOKEN: there was none to choose, every one is banned or its logit is NaN */
    float log_prob;  /* ln softmax(logits)[token] of the plain logits, where it was asked for */
    uint32_t number; /* n; other than what the host expects: the entry is old */
    uint32_t unused;
} rn_result;

/* Parameters of `sampling`, which must be valid, with the tokens to come up to `tokens` more. Leaves seed counter,
 * recent tokens and `made` alone. */
void rn_sampler_set(rn_sampler *sampler, const retnet_sampling *sampling, const int32_t *end_tokens,
                    size_t end_token_count, uint32_t tokens, bool log_prob);
/* Biases and banned tokens together, no token twice: how many there are, or RN_MAX_BIASES + 1. `biases` may be NULL. */
uint32_t rn_sampler_merge(const retnet_sampling *sampling, rn_bias *biases);

/* For each row of `rows` that does not rest: notes that its token was read, chooses the next from logits[row] and
 * leaves it in control.tokens[row] and in the ring. A row whose token ends its text comes to rest, and its logits go to
 * kept[sampler]. Logits are changed on the way and put back. */
typedef struct rn_sampling {
    rn_binding logits;  /* [rows][vocabulary] */
    rn_binding control; /* rn_control */
    rn_binding results; /* rn_result[samplers][RN_RESULT_RING] */
    rn_binding kept;    /* [samplers][vocabulary] */
    rn_binding failed;  /* 16 bytes, the first word not zero: the logits are none, and no row makes a token */
    uint32_t vocabulary, rows;
    bool moves; /* the token that was read has moved states */
} rn_sampling;

void rn_sampling_record(rn_recorder *recorder, const rn_sampling *sampling);

#endif
