/* decode.h: tokens made on the device, several a submit, by commands that were recorded once.
 *
 * Each slot that speaks has a sampler in device memory (layers/sampling.h): parameters, recent tokens, the number of
 * tokens made. A batch is a list of rows, each of which names a slot, its state, its position and the token it reads
 * next. One recorded unit, rn_decode_record_token, lets every row read its token and make the next; the position and
 * the token advance on the device, so that units can follow each other in one command buffer, or be submitted again and
 * again, without the host. Rows that come to an end rest. In steps:
 *
 *   1. rn_decode_start() for each slot, with its states in order (rn_session_own_state): parameters into staging.
 *   2. rn_decode_record_start() once for the slots that start: parameters and logits to the device, the first token
 * made.
 *   3. rn_decode_set_rows() and rn_decode_record_rows() whenever the batch changes: who speaks in which row.
 *   4. rn_decode_record_token() as often as wanted, in one or many command buffers.
 *   5. After the fence, rn_decode_take() gives each slot's tokens in order and advances the slot.
 *   6. rn_decode_finish() for slots that stop without having come to rest, before rows change; the others' logits are
 *      known already.
 *
 * Between 2 and 6 a slot belongs to the batch: nothing else may read into it. Staging must not be written while a
 * submit that copies from it is pending. */
#ifndef RETNET_SESSION_DECODE_H
#define RETNET_SESSION_DECODE_H

#include "layers/sampling.h"

typedef struct rn_pass rn_pass;

/* How a token is made in a chain: in one submit the first or a later one, or once more after it failed. */
typedef enum rn_attempt { RN_ATTEMPT_FIRST, RN_ATTEMPT_NEXT, RN_ATTEMPT_AGAIN } rn_attempt;

enum {
    RN_FLAG_BYTES = 16,
    RN_MAX_SPARES = 4, /* more slots than this with a callback are answered after each token */
};

/* What one slot is to say. */
typedef struct rn_speech {
    const retnet_sampling *sampling;
    const int32_t *end_tokens;
    size_t end_token_count;
    uint32_t max_tokens; /* at which it comes to rest */
    bool log_probs;
} rn_speech;

/* What the host knows of one slot's sampler. */
typedef struct rn_speaker {
    uint32_t taken; /* tokens that rn_decode_take gave, over all uses of the slot */
    bool waiting;   /* the newest of them goes into the state with the next step */
    int32_t newest;
} rn_speaker;

/* Some tokens a row, recorded to be submitted again and again. */
typedef struct rn_decode_recording {
    rn_recorder recorder;
    uint32_t units; /* 0: nothing is recorded */
} rn_decode_recording;

/* Commands for a number of rows. */
typedef struct rn_decode_program {
    rn_decode_recording single, several; /* one token a row, and `units` tokens */
    rn_decode_recording rest;            /* fewer: what was left of a generation, for the next that has as many left */
    uint32_t units;                      /* 0: not yet chosen */
    uint32_t runs;                       /* of `single` */
    uint64_t quickest_ns;                /* of these */
} rn_decode_program;

/* Buffers and recordings of one session. */
typedef struct rn_decoder {
    rn_buffer control;       /* rn_control */
    rn_buffer staging;       /* the same, written by the host */
    rn_buffer results, kept; /* as of rn_sampling, read by the host; behind the results, whether a chain failed */
    rn_speaker *speakers;    /* [slots] */
    uint32_t *row_slots;     /* [rows], at most slots */
    uint32_t rows;
    uint32_t spares[RN_MAX_SPARES]; /* a row's other state */
    rn_recorder copies;             /* parameters, rows and logits: recorded anew */
    rn_decode_program **programs;   /* [slots + 1], made when needed */
    bool profiled;                  /* recorded with timestamps */
} rn_decoder;

/* One token of a slot. */
typedef struct rn_spoken {
    int32_t token;
    float log_prob;
} rn_spoken;

/* ---- Parts, for whoever schedules them -------------------------------------------------------------------------- */

/* Whether sampling and end tokens can be used, with a message if not. */
retnet_result rn_decode_check(retnet_session *session, const rn_speech *speech);
/* Step 1. The slot has logits. max_tokens is at least 1 and leaves room for what positions there are. */
void rn_decode_start(retnet_session *session, uint32_t slot, const rn_speech *speech);
/* Step 2, for slots that rn_decode_set_rows has put into rows [0, rows). */
void rn_decode_record_start(retnet_session *session, rn_recorder *recorder);
/* Step 3. Rows are slots[0, count), which were started. */
void rn_decode_set_rows(retnet_session *session, const uint32_t *slots, uint32_t count);
void rn_decode_record_rows(retnet_session *session, rn_recorder *recorder);
/* Step 4: rows [0, rows) read their tokens and make the next. Depends on nothing but `rows`. A single row goes through
 * a chain (recorder.h) where that can be. If that fails, the device makes no more tokens until the failed one is
 * recorded as RN_ATTEMPT_AGAIN. With `moves` states go to the rows' spares, of which there must be enough, and none of
 * the rows rests. Gives whether it is a chain. */
bool rn_decode_record_token(retnet_session *session, rn_recorder *recorder, uint32_t rows, rn_attempt attempt,
                            bool moves);
/* The same in stages: where the pass finds its tokens, and its last stage. */
void rn_decode_bind(const retnet_session *session, rn_pass *pass);
void rn_decode_record_output(retnet_session *session, rn_recorder *recorder, const rn_pass *pass);
/* Step 5: the next token of a slot that the device has made, or false. All before it have been read. Fails where no
 * token was left to choose. */
retnet_result rn_decode_take(retnet_session *session, uint32_t slot, rn_spoken *spoken, bool *taken);
/* Forgets what the device has made beyond what was taken, and gives how many tokens that were. */
uint32_t rn_decode_drop(retnet_session *session, uint32_t slot);
/* Step 6: records the copy of row `row`'s logits to where those of resting rows are; after the fence
 * rn_decode_fetch_logits makes them the slot's. */
void rn_decode_record_logits(retnet_session *session, rn_recorder *recorder, uint32_t row);
void rn_decode_record_all_logits(retnet_session *session, rn_recorder *recorder, const rn_pass *pass);
void rn_decode_fetch_logits(retnet_session *session, uint32_t slot);

/* ---- Submits ---------------------------------------------------------------------------------------------------- */

/* Tokens that the next rn_decode_run makes for each row, of which the most that is left to a row is `most`. With `ends`
 * these may be all of them, if rn_decode_run was told beforehand. */
uint32_t rn_decode_units(retnet_session *session, uint32_t most, bool ends);
/* Runs rows set before, none of which rests, as many tokens further, and waits. After CANCELLED they stand after the
 * newest token of each, which is read, and whose successor is not made. While the device is at work, a submit of the
 * last `left` tokens is made ready, if that is fewer than usual; 0: none.
 *
 * Where the rows are no more than there are spares, several tokens leave their states of before in the spares, and an
 * error goes back to them. */
retnet_result rn_decode_run(retnet_session *session, uint32_t units, uint32_t left);
/* Gives a row's slot the state that is in its spare, and the spare the slot's. The device does not know until rows are
 * set anew. */
void rn_decode_exchange(retnet_session *session, uint32_t row);
/* A pass that a cancel left was done later. */
void rn_decode_take_orphan(retnet_session *session, const rn_pass *pass);

/* ---- Session ---------------------------------------------------------------------------------------------------- */

retnet_result rn_decoder_create(retnet_session *session);
void rn_decoder_destroy(retnet_session *session); /* accepts one that was not made */

#endif
