/* session.h: the inside of a retnet_session: slots with states, the activations of one pass, and how a pass runs. */
#ifndef RETNET_SESSION_SESSION_H
#define RETNET_SESSION_SESSION_H

#include "context.h"
#include "layers/norm.h"
#include "model/model.h"

enum { RN_RECENT_TOKENS = 256, RN_MAX_SLOTS = RN_MAX_RECORDS, RN_MAX_SNAPSHOTS = 4096, RN_MAX_STATE_BUFFERS = 256 };

#define RN_MAX_POSITION (1u << 30)

/* A sequence, or a snapshot of one: a snapshot is a slot that no run ever names. */
typedef struct rn_slot {
    uint32_t state; /* which of the device's states; shared after a fork until one of the sharers changes */
    bool taken;     /* of a snapshot: it holds something */
    uint64_t position;
    bool has_logits; /* logits follow the last token read */
    float *logits;   /* [vocabulary] */
    uint32_t recent_count;
    int32_t recent[RN_RECENT_TOKENS]; /* ring: token number i is at i % RN_RECENT_TOKENS */
} rn_slot;

/* A region of the activations: rows of `stride` floats. */
typedef struct rn_region {
    uint64_t offset;
    uint32_t rows, stride;
} rn_region;

/* What a device buffer of each kind holds. Pure arithmetic on config and desc, so that it can be asked beforehand. */
typedef struct rn_session_layout {
    uint32_t slots, rows, chunks, logit_rows;
    uint32_t holders; /* of states: the slots, then the snapshots; there are as many states */
    rn_region x, normed, projected, retained, hidden, gathered; /* in the activations */
    uint32_t normed_scale;                                      /* where in a row of normed the deferred factor is */
    uint32_t retained_sums; /* where in a row of retained the recurrent form's sums are */
    uint32_t q_offset, k_offset, v_offset, gate_offset;
    uint64_t activation_bytes, scratch_bytes, logits_bytes, input_bytes, readback_bytes;
    uint64_t tokens_at, steps_at, chunks_at, sequences_at, targets_at; /* in the input */
    uint64_t layer_state_bytes;                                        /* of all holders */
    uint32_t layers_per_state_buffer;
    uint32_t state_buffers;
} rn_session_layout;

struct retnet_session {
    retnet_model *model;
    rn_device *device;
    rn_session_layout layout;
    rn_slot *slots;       /* [holders] */
    uint32_t *references; /* [holders]: holders that share each state; 0: free */
    bool *zero;           /* [holders]: the state is all zero, but the device's copy is not yet */
    rn_buffer states[RN_MAX_STATE_BUFFERS];
    rn_buffer activations, scratch, logits, input, readback, log_probs;
    rn_recorder recorder;  /* prompts, copies, everything that is recorded anew */
    rn_recorder *decode;   /* [slots + 1]: one token for each of n sequences, recorded once */
    bool *decode_recorded; /* [slots + 1] */
    bool decode_profiled;
    uint64_t layer_row_ps; /* measured device time of one row in one layer, picoseconds; 0: not yet known */
    atomic_bool cancel;
};

/* ---- layout.c ---- */

retnet_result rn_session_layout_make(const retnet_model *model, const retnet_session_desc *desc,
                                     rn_session_layout *layout);

/* ---- states.c ---- */

rn_binding rn_session_layer_state(const retnet_session *session, uint32_t layer);
/* Gives the slot a state of its own that the device holds, recording copies or fills as needed. */
void rn_session_own_state(retnet_session *session, uint32_t slot);

/* ---- pass.c ---- */

/* Rows of one pass through the model: single tokens first, then chunks. */
typedef struct rn_pass {
    uint32_t rows, steps, chunks, sequences;
    uint32_t longest;       /* tokens of the longest chunk */
    uint32_t layers_before; /* layers that earlier submits of this pass held */
} rn_pass;

/* retnet_session_run without its checks. If not cancellable, retnet_session_cancel has to wait for what follows. */
retnet_result rn_session_read(retnet_session *session, const retnet_span *spans, size_t span_count, bool cancellable);

/* Called after each recorded layer: ends, runs and restarts the recording when what it holds would run longer than the
 * device's budget for one submit, going by the time that earlier submits took. */
void rn_session_bound_submit(retnet_session *session, rn_recorder *recorder, rn_pass *pass, uint32_t layers);

/* ---- forward.c ---- */

/* Records the model over the pass whose records are in the input, up to the last layer, in one or several submits (see
 * rn_session_bound_submit). */
void rn_forward_layers(retnet_session *session, rn_recorder *recorder, rn_pass *pass);
/* Records output norm and head for rows [0, rows) of `from`, into the logits. */
void rn_forward_head(retnet_session *session, rn_recorder *recorder, rn_region from, uint32_t rows);
rn_binding rn_region_binding(const retnet_session *session, rn_region region);

/* ---- sampling.c ---- */

/* A token drawn from logits[vocabulary], which are changed. `recent` as in rn_slot; `draw` in [0, 1). */
int32_t rn_sample(const retnet_sampling *sampling, float *logits, uint32_t vocabulary, const int32_t *recent,
                  uint32_t recent_count, double draw, float *scratch);
/* The counter-based generator: a number in [0, 1) that depends on seed and position only. */
double rn_random_draw(uint64_t seed, uint64_t position);

retnet_result rn_session_fail(retnet_session *session, retnet_result result, const char *format, ...) RN_PRINTF(3, 4);

#endif
