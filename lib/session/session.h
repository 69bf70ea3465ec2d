/* session.h: the inside of a retnet_session: slots with states, the activations of one pass, and how a pass runs. */
#ifndef RETNET_SESSION_SESSION_H
#define RETNET_SESSION_SESSION_H

#include "context.h"
#include "layers/norm.h"
#include "model/model.h"
#include "session/decode.h"

enum { RN_MAX_SLOTS = RN_MAX_RECORDS, RN_MAX_SNAPSHOTS = 4096, RN_MAX_STATE_BUFFERS = 256 };

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

/* Where one token of one slot works in a chain (recorder.h): every result has a place of its own. Words from `at` on:
 * the flag, marks of the layers' retention steps, and from `data` on what is not yet there when a pass begins. */
typedef struct rn_chain_layout {
    uint64_t at, bytes; /* in the activations */
    uint32_t marks, layer_marks, data;
    uint64_t layer_bytes;
    rn_region x, projected, retained, middle, hidden, out; /* of the first layer; the embedding's result is x */
} rn_chain_layout;

/* What a device buffer of each kind holds. Pure arithmetic on config and desc, so that it can be asked for beforehand.
 */
typedef struct rn_session_layout {
    uint32_t slots, rows, chunks, logit_rows;
    uint32_t holders;           /* of states: the slots, then the snapshots; there are as many states */
    uint32_t spares;            /* further states, so that decoding can go back to what states were */
    uint32_t tokens_per_submit; /* as asked for; 0: by time */
    rn_region x, normed, projected, retained, hidden, gathered; /* in the activations */
    uint32_t normed_scale;                                      /* where in a row of normed the deferred factor is */
    uint32_t retained_sums; /* where in a row of retained the recurrent form's sums are */
    uint32_t q_offset, k_offset, v_offset, gate_offset;
    rn_chain_layout chain;
    uint64_t partials_at; /* in the activations, rn_matmul_narrow_bytes */
    uint64_t activation_bytes, scratch_bytes, logits_bytes, input_bytes, readback_bytes;
    uint64_t scores_bytes, marks_at; /* log-probabilities, then a word for each slice, if it was executed */
    uint64_t control_bytes, results_bytes, kept_bytes; /* of the decoder */
    uint64_t outputs_at; /* in the logits: before it are those of slots that make tokens, from it on all others */
    uint64_t tokens_at, steps_at, chunks_at, sequences_at, targets_at; /* in a pass's region of the input */
    uint64_t input_stride;                                             /* from one such region to the next */
    uint64_t layer_state_bytes;                                        /* of all holders and spares */
    uint32_t layers_per_state_buffer;
    uint32_t state_buffers;
} rn_session_layout;

/* ---- Work in progress --------------------------------------------------------------------------------------------

   Tokens on their way into a slot are a reading. Readings are cut into passes: some rows of one class through the whole
   model. A pass is a list of stages (two a layer, then the output), and stages are recorded into slices: what the
   device is given at once, in a submit of the library's or in a command buffer of the host's. A slice holds as much as
   its budget allows and ends between any two stages; the next one goes on from there. */

/* Tokens of one slot that are to be read, and how far they are in passes. */
typedef struct rn_reading {
    uint32_t slot;
    const int32_t *tokens;
    size_t count, cursor;
    const retnet_span *span; /* where results go beside the slot; NULL: nowhere */
} rn_reading;

/* What rows may share a pass. It goes by the reading that they are of and by nothing else, so that the numbers do not
 * depend on who else is in the batch. (Of steps, and on GPUs, there is one choice that does: how many there are.) */
typedef enum rn_pass_class {
    RN_PASS_STEPS,    /* readings of one token: the recurrent form */
    RN_PASS_CHUNKS,   /* of more: the chunkwise form, on matrix units where there are any */
    RN_PASS_SCORED,   /* the same with matrix units; the output on these too, since it is wanted of every row */
    RN_PASS_READINGS, /* how many of these there are. The others are the decoder's, of slots that make tokens: */
    RN_PASS_START = RN_PASS_READINGS, /* their first token, from logits that the host has */
    RN_PASS_TOKEN,                    /* one token each */
    RN_PASS_LEAVE                     /* their last logits, to the host */
} rn_pass_class;

/* Rows of a pass that hold tokens of one slot. */
typedef struct rn_part {
    uint32_t slot, row, count;
    size_t first; /* token of the reading in the first row */
    bool last;    /* the reading ends here */
    const retnet_span *span;
    uint32_t task; /* number of the task that it is for; 0: of none */
    /* The slot's state was shared, or zero without the device knowing: each layer is put in order before it is used. */
    bool fill, copy;
    uint32_t copied_from;
} rn_part;

struct rn_pass {
    rn_pass_class class;
    uint32_t rows, steps, chunks, sequences; /* steps or chunks: never both */
    uint32_t longest;                        /* tokens of the longest chunk */
    bool aligned;                            /* chunk i begins in row RN_CHUNK i */
    uint64_t input_at;                       /* its region of the input */
    rn_binding tokens, step_records;         /* that the device reads */
    bool arranges;                           /* of tokens: who is in which row is new */
    bool moves;                              /* of tokens: states too (sampling.h) */
    bool orphaned;                           /* of tokens: a generate that was cancelled has left it */
    rn_part *parts;                          /* [slots] */
    uint32_t part_count;
    uint32_t *wanted;                     /* [rows] rows whose logits are needed */
    int32_t *targets;                     /* [rows] tokens that follow these rows; -1: none */
    uint32_t wanted_count, outputs_taken; /* of which the host has so many */
    bool scores, all_logits;              /* some span wants log_probs, all_logits */
    uint32_t stage, stages;               /* the next one to be recorded, and how many there are */
    uint64_t last_slice;                  /* that its last stage is in; 0: not recorded yet */
};

/* Rows of a pass from `first` on, and the first chunk that has any of them; no rows: behind all of the pass. */
typedef struct rn_window {
    uint32_t first, rows, first_chunk;
} rn_window;

enum { RN_MAX_PASSES = 16, RN_MAX_SLICES = 16, RN_MAX_SEGMENTS = 16, RN_MAX_COSTS = 128 };

/* What the time of a pass's layers goes by: projections by rows, retention by chunks, each of them full or not. Where
 * the last layer leaves rows out, each of its stages is measured by itself. */
typedef struct rn_extent {
    uint32_t rows, chunks; /* chunks: 0 where rows are single steps */
    uint32_t last;         /* 1, 2: the last layer's first or second stage, where it leaves rows out; 0: any other */
    uint32_t behind;       /* of that first stage: rows that it works on behind its states */
} rn_extent;

static inline bool rn_extent_equal(rn_extent a, rn_extent b)
{
    return a.rows == b.rows && a.chunks == b.chunks && a.last == b.last && a.behind == b.behind;
}

/* Stages of one kind in a row, between two timestamps. */
typedef struct rn_segment {
    rn_pass_class class;
    bool output, pure; /* pure: nothing but these stages */
    rn_extent extent;
    uint64_t weight; /* the stages' weight, see rn_session::layer_weight */
} rn_segment;

/* A command buffer's worth of stages with what their time is measured by. */
typedef struct rn_commands {
    rn_recorder recorder;
    VkQueryPool queries; /* [RN_MAX_SEGMENTS + 1]; none on devices without timestamps */
    rn_segment segments[RN_MAX_SEGMENTS];
    uint32_t segment_count;
} rn_commands;

typedef struct rn_slice {
    uint64_t number; /* 1 for a session's first, then counting up */
    bool foreign;    /* in a command buffer of the host's */
    uint32_t stages; /* recorded */
    uint64_t expected_ns, begin_ns;
    rn_pass *output_pass; /* whose logits it leaves; NULL: no logits */
    uint32_t output_count;
    rn_commands *commands; /* own, or recorded once and used often */
    rn_commands own;
} rn_slice;

/* Measured device time. */
typedef struct rn_cost {
    rn_pass_class class;
    bool output;
    rn_extent extent;  /* no rows: an unused entry */
    uint32_t times;    /* it was measured, at most 2 */
    bool pure;         /* of segments that were */
    uint64_t ns;       /* of one layer, or of the output */
    uint64_t least_ns; /* the least that was measured */
} rn_cost;

typedef struct rn_task rn_task;

struct retnet_session {
    retnet_model *model;
    rn_device *device;
    rn_session_layout layout;
    rn_slot *slots;       /* [holders] */
    uint32_t *references; /* [holders + spares]: holders that share each state; 0: free. A spare counts as held */
    bool *zero;           /* [holders + spares]: the state is all zero, but the device's copy is not yet */
    rn_buffer states[RN_MAX_STATE_BUFFERS];
    rn_buffer activations, scratch, logits, input, readback, log_probs;
    rn_recorder recorder;  /* copies: whatever is no pass */
    rn_commands *decode;   /* [slots + 1]: one token for each of n sequences, recorded once */
    bool *decode_recorded; /* [slots + 1] */
    bool decode_profiled;
    rn_decoder decoder;
    atomic_bool cancel;

    rn_pass passes[RN_MAX_PASSES]; /* ring; of the newest, stages may be left to record */
    uint32_t first_pass, pass_count;
    rn_slice slices[RN_MAX_SLICES]; /* ring; not taken in yet */
    uint32_t first_slice, slice_count;
    uint64_t newest_slice; /* its number */
    VkSemaphore timeline;  /* signalled with the numbers of submitted slices; null where the device has none */
    uint64_t newest_submitted;
    VkSemaphore awaited; /* by the next slice that is submitted; null: nothing */
    uint64_t awaited_value;
    bool output_busy;                        /* logits lie on the device that the host has not taken */
    uint64_t layer_weight, retention_weight; /* bytes that a layer reads, and its first stage's part */
    rn_cost costs[RN_MAX_COSTS];
    uint32_t next_cost;
    uint32_t slices_taken; /* since they were last reported */
    uint64_t device_ns;    /* that these took */

    rn_task **tasks; /* [slots]; NULL: the slot has none */
    uint32_t task_count;
    uint32_t newest_task;              /* its number */
    rn_reading **readings;             /* [slots] for building a pass */
    uint32_t *speakers;                /* [slots] the same */
    bool rows_stale;                   /* the decoder's rows are not all slots that make tokens */
    uint32_t tokens_read, tokens_made; /* by tasks since they were last reported */
    bool tokens_next;                  /* fairness: whose turn it is, tokens' or prompts' */
    uint32_t next_prompt;
};

/* ---- layout.c ---- */

retnet_result rn_session_layout_make(const retnet_model *model, const retnet_session_desc *desc,
                                     rn_session_layout *layout);

/* ---- states.c ---- */

rn_binding rn_session_layer_state(const retnet_session *session, uint32_t layer);
/* Gives the slot a state of its own. What the device has to do for that is left in `part`. */
void rn_session_own_state(retnet_session *session, uint32_t slot, rn_part *part);
/* Records what rn_session_own_state left to do, for one layer. */
void rn_session_prepare_state(const retnet_session *session, rn_recorder *recorder, const rn_part *part,
                              uint32_t layer);
/* The slot's state has read these tokens. */
void rn_slot_read_tokens(rn_slot *slot, const int32_t *tokens, uint32_t count);
/* Whether the slot exists; with `changes`, whether it may be changed, that is, has no task. */
retnet_result rn_session_check_slot(retnet_session *session, uint32_t slot, bool changes);
/* The same, and no work in progress is at it any more. */
retnet_result rn_session_ready_slot(retnet_session *session, uint32_t slot, bool changes);

/* ---- pass.c ---- */

rn_pass_class rn_reading_class(const retnet_session *session, const rn_reading *reading);
/* Starts a pass of this class with tokens of these readings, at most `rows` of them, and moves the readings on. Slots
 * count the tokens as read from here on. NULL if no reading has such tokens, or if there is no room for a pass. */
rn_pass *rn_pass_build(retnet_session *session, rn_pass_class class, rn_reading *const *readings, size_t count,
                       uint32_t rows);
/* What the last layer has to do behind its states: the wanted rows and those between them, or none. It may become less
 * while the pass is under way, never more. */
rn_window rn_pass_window(const rn_pass *pass);
/* The pass of which stages are left to record; NULL: none. */
rn_pass *rn_pass_current(retnet_session *session);
/* Starts a pass of the decoder's rows, or of some, which `slots` lists. NULL if there is no room. */
rn_pass *rn_pass_build_decoding(retnet_session *session, rn_pass_class class, const uint32_t *slots, uint32_t count);
/* Whether the stage is none of the layers'. */
bool rn_pass_is_output(const retnet_session *session, const rn_pass *pass, uint32_t stage);
/* Hands what the first `count` rows of the logits hold to slots and spans. */
void rn_pass_take_output(retnet_session *session, rn_pass *pass, uint32_t count);
/* Lets go of the spans of a run that was cancelled, when all slices are taken in. */
void rn_pass_forget_spans(retnet_session *session);
/* The rows of the next output stage. */
uint32_t rn_pass_next_outputs(const retnet_session *session, const rn_pass *pass);
bool rn_pass_wants_readback(const rn_pass *pass, uint32_t count);

/* ---- slice.c ---- */

/* Whether a stage can be recorded now. */
bool rn_slice_can_begin(retnet_session *session);
/* Starts a slice: in a command buffer of the host's, or of the library's own where `host` is a null handle. NULL if too
 * many have not been taken in. */
rn_slice *rn_slice_begin(retnet_session *session, VkCommandBuffer host);
/* Records stages of the current pass while they fit into the slice's budget, but at least one into a slice that has
 * none. True if the slice has room for more, when all of the pass is recorded. */
bool rn_slice_fill(retnet_session *session, rn_slice *slice, uint64_t budget_ns);
/* Ends the slice and, unless the host will, submits it. After an error all work in progress is forgotten. */
retnet_result rn_slice_end(retnet_session *session, rn_slice *slice);
/* Submits the current pass in one slice if it is one that was recorded earlier, whole, and fits into the budget. False:
 * nothing was submitted. */
bool rn_slice_replay(retnet_session *session, uint64_t budget_ns, uint64_t *expected_ns, retnet_result *result);
/* Takes in slices up to this number, the oldest first, waiting for the library's own ones if `wait`, else stopping at
 * one that is not done. A host's slices are taken to be done; INVALID_ARGUMENT if one is seen not to be. */
retnet_result rn_slice_take(retnet_session *session, uint64_t number, bool wait);
/* Runs the current pass to its end. `cancellable`: or until retnet_session_cancel, with RETNET_CANCELLED. */
retnet_result rn_slice_run(retnet_session *session, bool cancellable);
/* Ends all work in progress, so that slots are what they say they are. INVALID_ARGUMENT while the host has slices. */
retnet_result rn_session_settle(retnet_session *session, bool cancellable);
bool rn_session_has_foreign(const retnet_session *session);      /* slices of the host's to be taken in */
retnet_result rn_session_check_foreign(retnet_session *session); /* INVALID_ARGUMENT if there are any */
/* Forgets all work in progress, after an error. */
void rn_session_abandon(retnet_session *session);
void rn_commands_destroy(retnet_session *session, rn_commands *commands); /* waits; accepts zeroed ones */

/* ---- cost.c ---- */

/* What the stage's time goes by; of an output, that of the next one. */
rn_extent rn_cost_extent(const retnet_session *session, const rn_pass *pass, uint32_t stage);
/* What the stage can be expected to take on the device; 0: not known. */
uint64_t rn_cost_stage_ns(const retnet_session *session, const rn_pass *pass, uint32_t stage);
/* What a stage of such a pass can be expected to take, the longest of the layers' two; 0: not known. */
uint64_t rn_cost_layer_stage_ns(const retnet_session *session, rn_pass_class class, uint32_t rows);
uint64_t rn_cost_pass_ns(const retnet_session *session, rn_pass_class class, uint32_t rows, uint32_t outputs);
uint64_t rn_cost_stage_weight(const retnet_session *session, const rn_pass *pass, uint32_t stage);
/* From what the segments [count] of a slice took [count]. */
void rn_cost_learn(retnet_session *session, const rn_segment *segments, const uint64_t *ns, uint32_t count);
/* The most rows of a pass of this class of which every stage fits into the budget: whole chunks, at least one. */
uint32_t rn_cost_fitting_rows(const retnet_session *session, rn_pass_class class, uint64_t budget_ns);

/* ---- run.c ---- */

/* retnet_session_run without its checks. If not cancellable, retnet_session_cancel has to wait for what follows. */
retnet_result rn_session_read(retnet_session *session, const retnet_span *spans, size_t span_count, bool cancellable);
/* Whether tokens can be read into a slot. `what` begins the message. */
retnet_result rn_session_check_tokens(retnet_session *session, const char *what, uint32_t slot, const int32_t *tokens,
                                      size_t count);

/* ---- task.c ---- */

/* A part of a pass came in. */
void rn_task_on_part(retnet_session *session, const rn_pass *pass, const rn_part *part);
/* Whether the slot is a row of the decoder's, and how many are. */
bool rn_task_is_speaking(const retnet_session *session, uint32_t slot);
uint32_t rn_task_count_speakers(const retnet_session *session);
void rn_task_drop_all(retnet_session *session);

/* ---- forward.c ---- */

/* Stages of all layers, two each. */
uint32_t rn_forward_layer_stages(const retnet_session *session);
/* Whether the pass's layers run on matrix units. */
bool rn_forward_suits_matrices(const retnet_session *session, const rn_pass *pass);
/* Whether output norm and head do, for so many of its rows. */
bool rn_forward_output_suits_matrices(const retnet_session *session, const rn_pass *pass, uint32_t rows);
/* Records one stage of the layers. */
void rn_forward_stage(retnet_session *session, rn_recorder *recorder, const rn_pass *pass, uint32_t stage);
/* Records output norm and head for rows [0, rows) of `from`. */
void rn_forward_head(retnet_session *session, rn_recorder *recorder, rn_region from, uint32_t rows, bool matrix,
                     rn_binding logits);
/* Whether every dispatch of the pass is of a kind that can wait in a chain. */
bool rn_forward_can_chain(const retnet_session *session, const rn_pass *pass);
/* Records a pass of the decoder from the embedding to the logits as a chain; false where device, model or pass do not
 * allow it. Between it and one that follows in the same recording its memory is to be cleared. */
bool rn_forward_chain(retnet_session *session, rn_recorder *recorder, const rn_pass *pass, rn_attempt attempt,
                      rn_binding logits);
void rn_forward_clear_chain(const retnet_session *session, rn_recorder *recorder);
/* Whose first word is not zero from where a chain failed until a first attempt or one more. */
rn_binding rn_forward_chain_flag(const retnet_session *session);
rn_binding rn_region_binding(const retnet_session *session, rn_region region);

retnet_result rn_session_fail(retnet_session *session, retnet_result result, const char *format, ...) RN_PRINTF(3, 4);

#endif
