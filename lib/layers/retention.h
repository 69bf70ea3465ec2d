/* retention.h: the recurrent and the chunkwise form of retention on the device, for batches of sequences. */
#ifndef RETNET_LAYERS_RETENTION_H
#define RETNET_LAYERS_RETENTION_H

#include "vulkan/recorder.h"

enum { RN_CHUNK = 64, RN_MAX_RECORDS = 1024 };

/* Records in device memory, 16 bytes each. */
typedef struct rn_step_record {
    uint32_t row, state, position, sampler;
} rn_step_record; /* sampler: see sampling.h */
typedef struct rn_chunk_record {
    uint32_t row, length, position, behind;
} rn_chunk_record; /* behind: 1 for every second chunk of a sequence (retention_output_direct.glsl), 0 for others */
typedef struct rn_sequence_record {
    uint32_t first_chunk, chunks, state, unused;
} rn_sequence_record;

/* Where the tables of one model lie in its parameters (shaders/positions.glsl), in floats, or pairs where said. */
typedef struct rn_retention_tables {
    uint32_t angles;     /* pairs, an even number */
    uint32_t decay_sums; /* pairs */
    uint32_t decays;
    uint32_t powers; /* [heads][powers_stride]: decay^0, decay^1, ... */
    uint32_t powers_stride;
} rn_retention_tables;

/* One layer's retention over rows of projected activations: q, k, v and the gate lie in one row at their offsets. */
typedef struct rn_retention {
    uint32_t heads, key_value_heads, key_size, value_size;
    uint32_t x_stride;                                  /* floats, or the room of halves (shaders/halves.glsl) */
    uint32_t q_offset, k_offset, v_offset, gate_offset; /* of a token */
    bool halves; /* the input is f16: only for chunks, and where rn_retention_matrix_suits */
    uint32_t y_stride;
    uint32_t y_offset; /* floats; not in the recurrent form */
    /* c^2 of each row and head, by which torchscale's normalisation of scores multiplies the group norm's eps
     * (retnet.md, NORM): where in the output it goes, if a form shall leave it. */
    uint32_t c2_stride, c2_offset;
    float scale; /* of the scores; 0: K^(-1/2) */
    rn_retention_tables tables;
    rn_binding input, output, params;
    rn_binding state; /* [states][heads][K][value_stride] of this layer */
} rn_retention;

/* Values of a state's row, padded so that it can be read in fours. */
uint32_t rn_retention_value_stride(uint32_t value_size);
/* Workgroups that share the columns of one head in the recurrent form of `count` sequences: as many sums a head does it
 * leave. The fewer sequences, the more. */
uint32_t rn_retention_step_tiles(const rn_device *device, uint32_t heads, uint32_t value_size, uint32_t count);

/* How a head's state is shared out among workgroups and invocations. */
typedef struct rn_step_shape {
    uint32_t lanes;  /* fours of columns of a workgroup. 0: chosen */
    uint32_t splits; /* ways in which its rows are split */
    uint32_t ahead;  /* rows of an invocation under way at once */
} rn_step_shape;

/* The recurrent form: `count` sequences, one token each. Leaves o * weight * silu(gate) and sums (retention_step.comp)
 * or, with `raw`, o and nothing else. */
typedef struct rn_retention_step {
    rn_binding records; /* rn_step_record[count] */
    uint32_t count;
    bool raw, has_gate, has_weight, eps_scaled;
    uint32_t weight, sums_offset;
    float eps;
    bool moves; /* what is written goes into the records' other states (sampling.h); else in place */
    /* In a chain (recorder.h), on GPUs: the input is the chain's memory, in which rows begin at x_at, and there is a
     * word for each row, head and tile from `marks` on, zero before the pass. If the pass fails, it can be run `again`
     * over these marks. */
    bool chained, again;
    uint32_t x_at, marks; /* floats */
    rn_step_shape shape;  /* on GPUs; 0: chosen */
} rn_retention_step;

void rn_retention_step_record(rn_recorder *recorder, const rn_retention *retention, const rn_retention_step *step);

/* The group norm and the gate, and where they leave f16 (shaders/halves.glsl). */
typedef struct rn_retention_norm {
    rn_binding output;
    uint32_t room;
    bool has_weight, has_gate, eps_scaled;
    uint32_t weight; /* in params, [value_size] */
    float eps;
} rn_retention_norm;

/* The chunkwise form: leaves raw retention. Rotates q and k in place, unless they come `rotated`. */
typedef struct rn_retention_chunks {
    rn_binding chunks;                             /* rn_chunk_record[chunk_count] */
    rn_binding sequences;                          /* rn_sequence_record[sequence_count] */
    uint32_t chunk_count, sequence_count, longest; /* tokens of the longest chunk */
    uint32_t chunk;        /* tokens that a chunk may have; below tables.powers_stride. 0: RN_CHUNK */
    uint32_t first_output; /* chunks before this one leave no output; chunk_count: none does. 0 with c2 */
    bool rotated;
    bool matrix;    /* on matrix units, if the device and the sizes allow it: f16 products, fp32 sums and states */
    bool projected; /* rn_retention_project_record has been here; q, k and v are not looked for in the input */
    bool c2;        /* leaves that of torchscale's chunkwise form too; not with `matrix` */
    const rn_retention_norm *norm; /* leaves this instead, where rn_retention_matrix_norms */
    const rn_buffer *scratch;      /* rn_retention_scratch_bytes for chunk_count, from scratch_offset */
    uint64_t scratch_offset;
} rn_retention_chunks;

static inline uint32_t rn_retention_outputs(const rn_retention_chunks *chunks)
{
    return chunks->chunk_count - chunks->first_output;
}

/* Enough for either way to compute. */
uint64_t rn_retention_scratch_bytes(const rn_device *device, uint32_t heads, uint32_t key_value_heads,
                                    uint32_t key_size, uint32_t value_size, uint32_t chunk_count);
/* Enough without matrix units. */
uint64_t rn_retention_plain_scratch_bytes(const rn_device *device, uint32_t heads, uint32_t key_size,
                                          uint32_t value_size, uint32_t chunk, uint32_t chunk_count);
void rn_retention_chunks_record(rn_recorder *recorder, const rn_retention *retention,
                                const rn_retention_chunks *chunks);

/* Rotates the pairs of `heads` heads in rows of records {row, length, position, -}, in place. */
typedef struct rn_rotation {
    rn_binding rows;
    uint32_t stride, offset, heads, key_size; /* floats */
    bool interleaved;                         /* pairs are neighbours, (2i, 2i + 1); else (i, i + K/2) */
    bool direct;                              /* the table is [positions][K/2]; else that of positions.glsl */
    rn_binding table;
    uint32_t angles; /* where the table begins, in pairs */
    rn_binding records;
    uint32_t count, longest;
    float scale;
} rn_rotation;

void rn_rotation_record(rn_recorder *recorder, const rn_rotation *rotation);

float rn_retention_scale(const rn_retention *retention); /* of the scores */

/* ---- retention_parallel.c ---- */

/* The parallel form, of rotated q and k: whole sequences, whatever their length, each in one go and without scratch.
 * States are only read. */
typedef struct rn_parallel_record {
    uint32_t row, length, state, unused;
} rn_parallel_record;

typedef struct rn_retention_parallel {
    rn_binding sequences; /* rn_parallel_record[count] */
    uint32_t count, longest;
    bool has_state;
    bool c2; /* leaves that of torchscale's parallel form too */
} rn_retention_parallel;

void rn_retention_parallel_record(rn_recorder *recorder, const rn_retention *retention,
                                  const rn_retention_parallel *parallel);

/* Leaves c^2 of torchscale's recurrent form, which is s_n, for rows of records {row, length, position, -}. */
void rn_retention_c2_record(rn_recorder *recorder, const rn_retention *retention, rn_binding records, uint32_t count);

/* The same of its chunkwise form, from what the chunkwise kernels left in the scratch. */
void rn_retention_chunks_c2_record(rn_recorder *recorder, const rn_retention *retention,
                                   const rn_retention_chunks *chunks, rn_binding scratch, uint32_t states_before);

/* ---- retention_matrix.c ---- */

bool rn_retention_matrix_suits(const rn_device *device, uint32_t key_size);
/* Whether, on matrix units, the kernel of outputs can take the group norm. */
bool rn_retention_matrix_norms(const rn_device *device, const rn_retention *retention);
/* Whether operands go from memory straight into matrices (shaders/lanes.glsl). */
bool rn_retention_matrix_is_direct(const rn_device *device);
uint64_t rn_retention_matrix_scratch_bytes(uint32_t heads, uint32_t key_value_heads, uint32_t key_size,
                                           uint32_t value_size, uint32_t chunk_count);
void rn_retention_matrix_record(rn_recorder *recorder, const rn_retention *retention,
                                const rn_retention_chunks *chunks);

/* Where the arrays of shaders/retention_scratch.glsl lie in the scratch, in units of eight halves: as kernels are told,
 * and where they end. */
typedef struct rn_retention_places {
    uint32_t padded_key, padded_value;
    uint32_t query, key, key_in, value, before;
} rn_retention_places;

typedef struct rn_retention_arrays {
    rn_retention_places places;
    uint64_t end;
} rn_retention_arrays;

rn_retention_arrays rn_retention_arrays_of(uint32_t heads, uint32_t key_value_heads, uint32_t key_size,
                                           uint32_t value_size, uint32_t chunk_count);

#endif
