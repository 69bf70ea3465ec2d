#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// retention_output_direct.comp: retention_output_matrix.comp for devices whose matrices lie as lanes.glsl knows: operands go
// from memory straight into matrices, and only the scores through shared memory.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128;
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint MATRIX_M = 16;
layout(constant_id = 3) const uint MATRIX_N = 16;
layout(constant_id = 4) const uint MATRIX_K = 16;
layout(constant_id = 5) const uint SUB_V = 64;
layout(constant_id = 6) const uint LANES = 1;
layout(constant_id = 7) const uint DEPTH = 2; // blocks under way

#include "retention_scratch.glsl"
#include "lanes.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Scratch { uvec4 scratch[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Chunks { uvec4 chunks[1024]; }; // {row, length, position, -}

// Subgroups are two along the chunk's rows and ACROSS along the columns of V.
const uint SUB_ROWS = CHUNK / 2, ACROSS = LOCAL_SIZE / SUBGROUP / 2, TILE_V = ACROSS * SUB_V, SUB_SCORES = CHUNK / ACROSS;
const uint PIECES_M = SUB_ROWS / MATRIX_M, PIECES_N = SUB_V / MATRIX_N, SCORE_N = SUB_SCORES / MATRIX_N;
const uint LEFT_LOADS = PIECES_M * STRIP_LOADS;
const uint PIECE = MATRIX_M * MATRIX_N;
const uint SCORE_STRIDE = CHUNK / 8 + 1;

shared uvec4 scores[CHUNK * SCORE_STRIDE];
shared float piece_scratch[LOCAL_SIZE / SUBGROUP * PIECE];

#define HALVES coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

#include "retention_output.glsl"

const uint RIGHT_STRIPS = DEPTH * (SCORE_N > PIECES_N ? SCORE_N : PIECES_N);

uvec4 left[DEPTH * LEFT_LOADS], right[RIGHT_STRIPS * STRIP_LOADS]; // of blocks under way

// From this invocation's unit of a block into the place of a block under way.
void fetch_left(uint place, uint at)
{
    [[unroll]] for (uint i = 0; i < LEFT_LOADS; i++)
        left[place * LEFT_LOADS + i] = scratch[at + (i / STRIP_LOADS * MATRIX_M + strip_row(i % STRIP_LOADS)) * 4];
}

void fetch_right(uint place, uint at, uint n)
{
    [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++)
        right[place * STRIP_LOADS + i] = scratch[at + (n * MATRIX_N + strip_row(i)) * 4];
}

// sum += left * right of one block whose right operands are under way; fetches later ones in their place.
#define MULTIPLY(sum, a, pieces_n, place, next_at)                                                                     \
    [[unroll]] for (uint n = 0; n < pieces_n; n++) {                                                                   \
        [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {                                                           \
            RIGHT b = RIGHT(float16_t(0.0));                                                                           \
            FILL_PIECE(b, right, ((place) * pieces_n + n) * STRIP_LOADS, k)                                            \
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)                                                             \
                sum[m * pieces_n + n] = coopMatMulAdd(a[m * BLOCK_PIECES + k], b, sum[m * pieces_n + n]);              \
        }                                                                                                              \
        fetch_right((place) * pieces_n + n, next_at, n);                                                               \
    }

#define FILL_LEFT(a, units, at)                                                                                        \
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {                                                                   \
        [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {                                                           \
            LEFT piece = LEFT(float16_t(0.0));                                                                         \
            FILL_PIECE(piece, units, (at) + m * STRIP_LOADS, k)                                                             \
            a[m * BLOCK_PIECES + k] = piece;                                                                           \
        }                                                                                                              \
    }

// Stores what lies in Y of a piece. A loop, since there is one of these for each piece.
void store_part(ACCUMULATOR piece, uvec4 chunk, uint to, uint row, uint v)
{
    uint own = gl_SubgroupID * PIECE;
    subgroupBarrier();
    coopMatStore(piece, piece_scratch, own, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
    subgroupBarrier();
    [[dont_unroll]] for (uint i = gl_SubgroupInvocationID; i < PIECE; i += SUBGROUP) {
        uint r = row + i / MATRIX_N, column = v + i % MATRIX_N;
        if (r < chunk.y && column < push.value_size) y[to + r * push.y_stride + column] = piece_scratch[own + i];
    }
}

void main()
{
    uint c = gl_WorkGroupID.y, head = gl_WorkGroupID.z, key_head = head / (push.heads / push.key_value_heads);
    uint sub_row = gl_SubgroupID / ACROSS * SUB_ROWS, across = gl_SubgroupID % ACROSS;
    uint sub_v = gl_WorkGroupID.x * TILE_V + across * SUB_V, sub_score = across * SUB_SCORES;
    uint key_blocks = push.padded_key / 32, queries = query_at(c, head) + sub_row * 4 + strip_unit();
    uint keys = key_at(c, key_head) + sub_score * 4 + strip_unit();
    uint before = before_at(c, head) + sub_v * 4 + strip_unit(), values = value_at(c, key_head) + sub_v * 4 + strip_unit();
    uint value_step = push.padded_value * 4;
    head_powers = push.powers + head * (CHUNK + 1);
    head_decay = push.decays + head;
    LEFT a[PIECES_M * BLOCK_PIECES];

    ACCUMULATOR p[PIECES_M * SCORE_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * SCORE_N; i++) p[i] = ACCUMULATOR(0.0);
    // There are at least two blocks of keys, and a multiple of DEPTH.
    [[unroll]] for (uint d = 0; d < DEPTH; d++) {
        uint at = d * CHUNK * 4;
        fetch_left(d, queries + at);
        [[unroll]] for (uint n = 0; n < SCORE_N; n++) fetch_right(d * SCORE_N + n, keys + at, n);
    }
    for (uint first = 0; first < key_blocks; first += DEPTH) {
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            uint at = min(first + d + DEPTH, key_blocks - 1) * CHUNK * 4;
            FILL_LEFT(a, left, d * LEFT_LOADS)
            fetch_left(d, queries + at);
            MULTIPLY(p, a, SCORE_N, d, keys + at)
        }
    }
    // Behind the state come the values.
    [[unroll]] for (uint d = 0; d < DEPTH; d++) {
        fetch_left(d, queries + d * CHUNK * 4);
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) fetch_right(d * PIECES_N + n, before + d * value_step, n);
    }
    [[unroll]] for (uint m = 0; m < PIECES_M; m++)
        [[unroll]] for (uint n = 0; n < SCORE_N; n++)
            coopMatStore(HALVES(p[m * SCORE_N + n]), scores,
                         (sub_row + m * MATRIX_M) * SCORE_STRIDE + (sub_score + n * MATRIX_N) / 8, SCORE_STRIDE,
                         gl_CooperativeMatrixLayoutRowMajor);
    barrier();
    mask_scores();
    barrier();

    float scale[LEFT_LOADS];
    [[unroll]] for (uint i = 0; i < LEFT_LOADS; i++)
        scale[i] = out_scale(sub_row + i / STRIP_LOADS * MATRIX_M + strip_row(i % STRIP_LOADS));
    ACCUMULATOR o[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) o[i] = ACCUMULATOR(0.0);
    for (uint first = 0; first < key_blocks; first += DEPTH) {
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            uint next = first + d + DEPTH;
            uvec4 units[LEFT_LOADS];
            [[unroll]] for (uint l = 0; l < LEFT_LOADS; l++) units[l] = faded(left[d * LEFT_LOADS + l], scale[l]);
            FILL_LEFT(a, units, 0)
            fetch_left(d, queries + min(next, key_blocks - 1) * CHUNK * 4);
            uint right_at = next < key_blocks ? before + next * value_step : values + (next - key_blocks) * value_step;
            MULTIPLY(o, a, PIECES_N, d, right_at)
        }
    }
    [[unroll]] for (uint d = 0; d < CHUNK / 32; d++) {
        uint next = d + DEPTH < CHUNK / 32 ? d + DEPTH : d;
        uvec4 units[LEFT_LOADS];
        [[unroll]] for (uint l = 0; l < LEFT_LOADS; l++)
            units[l] = scores[(sub_row + l / STRIP_LOADS * MATRIX_M + strip_row(l % STRIP_LOADS)) * SCORE_STRIDE + d * 4 +
                              strip_unit()];
        FILL_LEFT(a, units, 0)
        MULTIPLY(o, a, PIECES_N, d % DEPTH, values + next * value_step)
    }
    uvec4 chunk = chunks[c];
    uint to = chunk.x * push.y_stride + head * push.value_size;
    // The units want rows of Y aligned to 16 bytes; the condition is of the whole workgroup.
    bool whole = chunk.y == CHUNK && push.y_stride % 4 == 0 && push.value_size % 4 == 0 &&
                 (gl_WorkGroupID.x + 1) * TILE_V <= push.value_size;
    if (whole) {
        [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) {
            ACCUMULATOR piece = o[i];
            coopMatStore(piece, y,
                         to + (sub_row + i / PIECES_N * MATRIX_M) * push.y_stride + sub_v + i % PIECES_N * MATRIX_N,
                         push.y_stride, gl_CooperativeMatrixLayoutRowMajor);
        }
        return;
    }
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) {
        ACCUMULATOR piece = o[i];
        store_part(piece, chunk, to, sub_row + i / PIECES_N * MATRIX_M, sub_v + i % PIECES_N * MATRIX_N);
    }
}
