/* layers.h: single layers of a RetNet over the host's buffers, recorded into the host's command buffer.
 *
 *   1. retnet_layers_create(context, &(retnet_layers_desc){.scratch_bytes = ...}, &layers);
 *   2. retnet_layers_begin(layers, command_buffer);
 *      retnet_layers_norm(), retnet_layers_linear(), retnet_layers_rotate(), retnet_layers_retention_chunkwise(), ...
 *      retnet_layers_end(layers);
 *   3. The host submits the command buffer, and calls retnet_layers_reset() when its fence says that it is done.
 *
 * tests/layers/model_test.c builds whole models of both dialects from these functions alone.
 *
 * Notation as in the paper (arXiv 2307.08621): T tokens, D hidden, H heads, H_kv key and value heads, K and V the
 * widths of a key and a value head, n and m positions, gamma_h the decay of head h. All numbers on the device are fp32
 * and all sizes and strides are in floats, unless said otherwise. Buffers are the host's, on the context's device; the
 * functions neither allocate device memory nor submit. K and V may be any numbers (K even); nothing has to be a
 * multiple of anything, unless said so here.
 *
 * Buffers need VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, and those of matrices VK_BUFFER_USAGE_TRANSFER_DST_BIT to be packed.
 * Offsets that are to be multiples of 256 suit every device: none may ask for more (minStorageBufferOffsetAlignment).
 * Where a range is read or written it is bound up to the next multiple of 16 bytes, which must lie inside the buffer.
 * What one function touches of one buffer may span at most VkPhysicalDeviceLimits::maxStorageBufferRange bytes;
 * matrices may be larger. Since Vulkan guarantees four storage buffers a shader only, some arguments must lie in one
 * buffer.
 *
 * Barriers. A recording orders itself: after what compute shaders and copies did before in the queue, and its own
 * layers by what they read and write (layers that do not depend on each other may overlap). The host orders what else
 * it does: other writers of the inputs, and earlier readers of the outputs, before the recording, by a barrier to
 * VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT; readers of the outputs after it by one from
 * these stages, with VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT. Compute pipeline, descriptor set 0 and
 * push constants that the host had bound are lost. Recordings of one retnet_layers must run one after the other: submit
 * them to one queue, whose family has VK_QUEUE_COMPUTE_BIT.
 *
 * Errors. Arguments are checked when they are recorded: INVALID_ARGUMENT names the field, LIMIT the limit of the device
 * or the scratch that is too small; OUT_OF_*_MEMORY and VULKAN can come from a pipeline that is made at its first use.
 * After a failed call the recording is incomplete: it records nothing more, and retnet_layers_end returns the error.
 *
 * Threads. One thread at a time for each retnet_layers and its command buffer; different ones at once. retnet_tables
 * are immutable and may be shared. The other functions may be called from any thread.
 *
 * Like vulkan.h this header includes Vulkan's. */
#ifndef RETNET_LAYERS_H
#define RETNET_LAYERS_H

#include <retnet/vulkan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Recording --------------------------------------------------------------------------------------------------- */

/* Owns what recordings need until the device has run them: descriptor sets, small host-visible records (in blocks of
 * 128 KiB, kept) and scratch, which the layers of a recording use one after the other. One for each frame in flight. */
typedef struct retnet_layers retnet_layers;

/* What layers are to be recorded with. */
typedef struct retnet_layers_desc {
    uint64_t scratch_bytes; /* device-local: the most that any layer needs, see the functions below; 0: none */
    /* Lets matrix units multiply where the device has them and is faster with them: f16 numbers, each an fp32 number
     * or a weight rounded and clamped to 65504, with sums and states in fp32. So do projections and feed-forward
     * layers of at least 32 rows without a bias, to 2e-3 relative RMS, and the chunkwise form in chunks of 64 with K a
     * multiple of 8, unless it leaves its own score norm, to 5e-3. Everything else, and without this all, is fp32.
     * What scratch is needed does not depend on the device. */
    bool matrix_units;
} retnet_layers_desc;

/* Errors: INVALID_ARGUMENT, LIMIT, OUT_OF_*_MEMORY, VULKAN; *out is then NULL. */
RETNET_API retnet_result retnet_layers_create(retnet_context *context, const retnet_layers_desc *desc,
                                              retnet_layers **out);
/* Accepts NULL. The device must be done with all recordings, and the context still be there. */
RETNET_API void retnet_layers_destroy(retnet_layers *layers);
/* Starts recording into a command buffer that is in the recording state, outside a render pass; until retnet_layers_end
 * only the library records into it. Several recordings, in one or several command buffers, may be made between resets.
 */
RETNET_API retnet_result retnet_layers_begin(retnet_layers *layers, VkCommandBuffer commands);
/* Returns the first error of the recording. The command buffer is neither ended nor submitted. */
RETNET_API retnet_result retnet_layers_end(retnet_layers *layers);
/* Makes what recordings hold free again. The device must be done with them, or they were never submitted. */
RETNET_API retnet_result retnet_layers_reset(retnet_layers *layers);

/* ---- Where numbers lie ------------------------------------------------------------------------------------------- */

/* Row r begins at byte offset + 4 * r * stride. */
typedef struct retnet_rows {
    VkBuffer buffer;
    VkDeviceSize offset; /* bytes, a multiple of 4 */
    uint32_t stride;     /* floats; 0: rows follow each other without a gap */
} retnet_rows;

/* Numbers one after the other. */
typedef struct retnet_vector {
    VkBuffer buffer;
    VkDeviceSize offset; /* bytes, a multiple of 4 */
} retnet_vector;

/* Consecutive tokens of one sequence, and where the sequence stands. */
typedef struct retnet_sequence {
    uint32_t first_row; /* its tokens are rows [first_row, first_row + tokens) of all that has rows */
    uint32_t tokens;    /* at least 1 */
    uint32_t state;     /* which of the states in the state buffer is its own; no other sequence of the call has it */
    uint32_t position;  /* of the first token; below 2^30 */
} retnet_sequence;

/* ---- Tables ------------------------------------------------------------------------------------------------------ */

/* What retention and rotation of one model need to know of decays and angles at every position, on the device: computed
 * in double precision, for the device's own powers, sines and cosines are not exact enough. */
typedef struct retnet_tables retnet_tables;

/* What tables are to be made for. */
typedef struct retnet_tables_desc {
    uint32_t heads;         /* H, 1 to 128 */
    const float *decay;     /* [H] gamma_h in (0, 1], read during the call; any values, 1 - 2^(-5-h) in the paper */
    uint32_t longest_chunk; /* tokens, at most 1024; 0: 64 */
    uint32_t pairs;         /* K/2, at most 256; 0: no angles */
    const double *theta;    /* [K/2] radians a token, read during the call: 10000^(-2i/K) in fla,
                               10000^(-i/(K/2-1)) in torchscale */
} retnet_tables_desc;

/* Uploads, which submits to the context's queue and waits. 24 KiB a head, 24 KiB a pair, and 4 bytes for each head and
 * token of the longest chunk. Errors: INVALID_ARGUMENT, OUT_OF_*_MEMORY, VULKAN; *out is then NULL. */
RETNET_API retnet_result retnet_tables_create(retnet_context *context, const retnet_tables_desc *desc,
                                              retnet_tables **out);
/* Accepts NULL. The device must be done with what was recorded with them. */
RETNET_API void retnet_tables_destroy(retnet_tables *tables);

/* ---- Rotation ---------------------------------------------------------------------------------------------------- */

/* The paper's Theta, on real numbers, in place: for the pair i of each head of a row at position n
 *
 *     a' = a cos(n theta_i) - b sin(n theta_i)        b' = a sin(n theta_i) + b cos(n theta_i)
 *
 * with a, b at (i, i + K/2) as in flash-linear-attention, or at (2i, 2i + 1) as in torchscale. Queries and keys turn
 * the same way. Sources: fla/modules/rotary.py, torchscale/component/multiscale_retention.py (theta_shift). */
typedef struct retnet_rotation {
    uint32_t heads, key_size;    /* K, even, at most 512 */
    bool interleaved;            /* pairs are (2i, 2i + 1) */
    retnet_rows rows;            /* [.., heads, K] */
    const retnet_tables *tables; /* with key_size / 2 pairs; or NULL, and */
    retnet_vector table;         /* [table_positions, K/2] pairs (cos, sin); offset a multiple of 8 */
    uint32_t table_positions;
    const retnet_sequence *sequences; /* host memory, read during the call; `state` is not used */
    uint32_t sequence_count;          /* any number */
} retnet_rotation;

/* Records what the struct describes. */
RETNET_API retnet_result retnet_layers_rotate(retnet_layers *layers, const retnet_rotation *rotation);

/* ---- Retention --------------------------------------------------------------------------------------------------- */

/* By what the group norm after retention multiplies its eps. torchscale divides row n of head h by a c_nh > 0, which
 * the norm takes out again, save for its eps (sum over m: |.| of the scaled and decayed scores; s_n = sum over i <= n
 * of gamma^i):
 *
 *     recurrent    c = sqrt(s_n)
 *     parallel     c = sqrt(s_n) clamp(A_n / sqrt(s_n), 1, 5e4)        A_n = sum over m <= n
 *     chunkwise    c = sqrt(s_j) max(1, A_j / sqrt(s_j), max over v of sum over k of |scale R_kv| / s_(C-1))
 *                  j, and the sum A_j, within the chunk of C tokens; R the state before it
 *
 * Only with eps = 0 are its forms one. flash-linear-attention has c = 1. Source: multiscale_retention.py, as of
 * 2023-11-23. */
typedef enum retnet_score_norm {
    RETNET_SCORE_NORM_NONE = 0,
    RETNET_SCORE_NORM_RECURRENT, /* s_n of the rows' positions, in every form: what a session uses */
    RETNET_SCORE_NORM_OF_FORM /* torchscale's of the form that is recorded; parallel: n counts from the first token of
                                 the call, since torchscale has no state there */
} retnet_score_norm;

/* Raw retention, for each head h, with no norm at all:
 *
 *     O_n = scale * q_n S_n        S_n = gamma_h S_(n-1) + k_n^T v_n
 *
 * q and k come rotated. Query head h reads key and value head h / (H / H_kv), with the decay of h. Sources: the paper,
 * section 2 and equations 5 to 7 (chunkwise as in its version 4); fla/ops/retention. */
typedef struct retnet_retention {
    uint32_t heads, key_value_heads; /* H; H_kv divides it, 0: H */
    uint32_t key_size, value_size;   /* K, even, at most 512; V */
    float scale;                     /* 0: K^(-1/2) */
    const retnet_tables *tables;     /* of H heads */
    /* [.., H, K], [.., H_kv, K], [.., H_kv, V]: in one buffer, with one stride, which must be given: a row of a
     * projection to q, k and v one after the other is that. */
    retnet_rows query, key, value;
    retnet_rows output; /* [.., H, V]; in the recurrent form the offset is a multiple of 256 */
    /* [states, H, K, V rounded up to a multiple of 4], retnet_retention_state_bytes each; the offset a multiple of 256.
     * What the rounding adds must be zero, and stays so. */
    retnet_vector state;
    const retnet_sequence *sequences; /* host memory, read during the call */
    uint32_t sequence_count;          /* any number */
    retnet_score_norm score_norm;
    retnet_rows c2; /* [.., H] c^2 of each row and head; unless score_norm is NONE; in the buffer of `output` */
    uint32_t chunk; /* C, chunkwise: 0: 64; at most the tables' longest_chunk */
} retnet_retention;

/* Bytes of one state; 0 where they cannot be counted. */
RETNET_API uint64_t retnet_retention_state_bytes(uint32_t heads, uint32_t key_size, uint32_t value_size);

/* The parallel form: all tokens of a sequence at once, O((T K + T V) T) work, no scratch.
 *
 *     O = (scale Q K^T * D) V,  D_nm = gamma^(n-m) for n >= m, else 0
 *
 * With state.buffer, row n also gets scale * gamma^(n+1) q_n S of what was before. No state comes out of it. */
RETNET_API retnet_result retnet_layers_retention_parallel(retnet_layers *layers, const retnet_retention *retention);

/* The chunkwise form: from the state before to the state after, in chunks of C tokens from each sequence's first.
 *
 *     O_[i] = (scale Q_[i] K_[i]^T * D) V_[i] + xi * (scale Q_[i] R_(i-1))        xi_j   = gamma^(j+1)
 *     R_i   = gamma^L R_(i-1) + K_[i]^T (V_[i] * zeta)                            zeta_j = gamma^(L-1-j)
 *
 * with L the tokens of chunk i. Scratch for n chunks lets n be computed at a time; less of it makes more dispatches. */
RETNET_API retnet_result retnet_layers_retention_chunkwise(retnet_layers *layers, const retnet_retention *retention);
/* Scratch for `chunks` chunks at a time, at least 1: 0 where they cannot be counted. */
RETNET_API uint64_t retnet_retention_chunkwise_scratch_bytes(uint32_t heads, uint32_t key_size, uint32_t value_size,
                                                             uint32_t chunk, uint32_t chunks);

/* The recurrent form: one token for each sequence, whose state is updated in place; no scratch. */
RETNET_API retnet_result retnet_layers_retention_recurrent(retnet_layers *layers, const retnet_retention *retention);

/* ---- Norms ------------------------------------------------------------------------------------------------------- */

/* Whether a norm takes the mean off. */
typedef enum retnet_norm_kind {
    RETNET_NORM_RMS = 0, /* mean = 0 in the formula */
    RETNET_NORM_LAYER    /* subtracts the mean */
} retnet_norm_kind;

/* For each of `groups` groups of `size` values in a row:
 *
 *     y = (x - mean) / sqrt(mean((x - mean)^2) + eps * c2) * weight + bias,  then * silu(gate)
 *
 * A norm of whole rows has one group; the group norm of retention has H groups of V, one weight [V] for all or none,
 * and torchscale's the c2 that retention left. Sources: fla/modules/layernorm.py and fused_norm_gate.py,
 * torchscale/component/rms_norm.py, the paper's equation 8. */
typedef struct retnet_norm {
    retnet_norm_kind kind;
    uint32_t rows, groups, size; /* groups 0: 1 */
    retnet_rows input;           /* [rows, groups, size] */
    retnet_rows output;          /* the same; may be the input */
    retnet_vector weight, bias;  /* [size]; without buffer: none; both in one buffer */
    float eps;                   /* at least 0 */
    retnet_rows gate;            /* [rows, groups, size]; without buffer: none */
    retnet_rows c2;              /* [rows, groups]; without buffer: 1; in the buffer of `input` */
} retnet_norm;

/* Records what the struct describes. */
RETNET_API retnet_result retnet_layers_norm(retnet_layers *layers, const retnet_norm *norm);

/* ---- Matrices ---------------------------------------------------------------------------------------------------- */

/* A matrix W [rows, inputs] in the library's own order, in which retnet_layers_pack puts it (shaders/weights.glsl). */
typedef struct retnet_matrix {
    VkBuffer buffer;
    VkDeviceSize offset;         /* bytes, a multiple of 256 */
    retnet_weight_format format; /* not AS_STORED */
    uint32_t rows, inputs;
    bool pair; /* two matrices of this shape together, for a gated linear unit */
} retnet_matrix;

/* Bytes that it takes; 0 where they cannot be counted. */
RETNET_API uint64_t retnet_matrix_bytes(const retnet_matrix *matrix);

/* Converts a matrix from rows of numbers as checkpoints hold them, quantising to Q8 and Q4 (blocks of 32 inputs with
 * one scale). */
typedef struct retnet_pack {
    retnet_matrix matrix;
    retnet_weight_format source_format; /* F32, F16 or BF16; pairs of 16 bits share a word, little end first */
    retnet_vector source;               /* [rows, inputs] without gaps; offset a multiple of 256 */
    retnet_vector linear;               /* of a pair: its linear branch; `source` is the activated one */
} retnet_pack;

/* Records what the struct describes. */
RETNET_API retnet_result retnet_layers_pack(retnet_layers *layers, const retnet_pack *pack);

/* What is applied to each element. */
typedef enum retnet_activation {
    RETNET_ACTIVATION_NONE = 0,
    RETNET_ACTIVATION_SILU, /* x / (1 + exp(-x)), also called swish */
    RETNET_ACTIVATION_GELU, /* x (1 + erf(x / sqrt(2))) / 2 */
    RETNET_ACTIVATION_RELU  /* max(x, 0) */
} retnet_activation;

/* Bytes of scratch that a projection of so many rows takes if `matrix_units` are wanted, else none. From 1,024 rows on,
 * matrices in 8 and 4 bits are unpacked first, which is faster, if there is room for retnet_matrix_bytes of the same in
 * f16 as well. */
RETNET_API uint64_t retnet_linear_scratch_bytes(uint32_t rows, uint32_t inputs);

/* y = act(W x + bias); of a pair y = act(W_source x + bias) * (W_linear x); with `add`, what was in y is added.
 * Input and output offsets are multiples of 256, the input's stride one of 4. Each row of the
 * input must have finite numbers up to the next multiple of 32 inputs: they meet weights of zero. */
typedef struct retnet_linear {
    retnet_matrix matrix;
    uint32_t rows;      /* of x and y: tokens */
    retnet_rows input;  /* [rows, matrix.inputs]; stride 0: inputs rounded up to a multiple of 32 */
    retnet_rows output; /* [rows, matrix.rows] */
    retnet_vector bias; /* [matrix.rows]; without buffer: none */
    retnet_activation activation;
    bool add; /* not of a pair */
} retnet_linear;

/* Records what the struct describes. */
RETNET_API retnet_result retnet_layers_linear(retnet_layers *layers, const retnet_linear *linear);

/* y = down(act(up x + bias)) + bias, or with a pair in `up` y = down(act(W_source x) * (W_linear x)): the paper's
 * feed-forward layer and the gated one of both implementations. Input, output and `add` as in retnet_linear.
 * Scratch: retnet_feed_forward_scratch_bytes. */
typedef struct retnet_feed_forward {
    retnet_matrix up, down; /* [I, D] or a pair of them, [D, I] */
    uint32_t rows;
    retnet_rows input, output;
    retnet_vector up_bias, down_bias;
    retnet_activation activation;
    bool add;
} retnet_feed_forward;

/* Records what the struct describes; and the bytes of scratch that it takes: with more, matrices are unpacked as
 * before retnet_linear. */
RETNET_API retnet_result retnet_layers_feed_forward(retnet_layers *layers, const retnet_feed_forward *feed_forward);
RETNET_API uint64_t retnet_feed_forward_scratch_bytes(uint32_t rows, uint32_t inputs, uint32_t intermediate_size);

/* y_i = scale * row tokens[i] of the matrix; zero from its inputs up to the next multiple of 32. The output's offset is
 * a multiple of 256, its stride one of 4. A token that the matrix has no row for leaves y_i
 * as it was. */
typedef struct retnet_embedding {
    retnet_matrix matrix; /* [vocabulary, D] */
    retnet_vector tokens; /* [rows] 32-bit numbers; offset a multiple of 256 */
    uint32_t rows;
    retnet_rows output; /* [rows, D]; stride 0: D rounded up to a multiple of 32, and no less otherwise */
    float scale;        /* 0: 1 */
} retnet_embedding;

/* Records what the struct describes. */
RETNET_API retnet_result retnet_layers_embedding(retnet_layers *layers, const retnet_embedding *embedding);

#ifdef __cplusplus
}
#endif
#endif
