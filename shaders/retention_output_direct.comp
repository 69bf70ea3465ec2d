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

#include "retention_scratch.glsl"
#include "lanes.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Scratch { uvec4 scratch[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Chunks { uvec4 chunks[1024]; }; // {row, length, position, -}

// Subgroups are two along the chunk's rows and ACROSS along the columns of V.
const uint SUB_ROWS = CHUNK / 2, ACROSS = LOCAL_SIZE / SUBGROUP / 2, TILE_V = ACROSS * SUB_V, SUB_SCORES = CHUNK / ACROSS;
const uint PIECES_M = SUB_ROWS / MATRIX_M, PIECES_N = SUB_V / MATRIX_N, SCORE_N = SUB_SCORES / MATRIX_N;
const uint LEFT_LOADS = PIECES_M * STRIP_LOADS, RIGHT_LOADS = (PIECES_N > SCORE_N ? PIECES_N : SCORE_N) * STRIP_LOADS;
const uint PIECE = MATRIX_M * MATRIX_N;
const uint SCORE_STRIDE = CHUNK / 8 + 1;

shared uvec4 scores[CHUNK * SCORE_STRIDE];
shared float piece_scratch[LOCAL_SIZE / SUBGROUP * PIECE];

#define HALVES coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

#include "retention_output.glsl"

uvec4 left[LEFT_LOADS], right[RIGHT_LOADS]; // units under way
uint left_at, right_at;                     // this invocation's units in the current blocks
uint left_step, right_step;                 // from block to block

void fetch_left()
{
    [[unroll]] for (uint i = 0; i < LEFT_LOADS; i++)
        left[i] = scratch[left_at + (i / STRIP_LOADS * MATRIX_M + strip_row(i % STRIP_LOADS)) * 4];
}

void fetch_right(uint n)
{
    [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++)
        right[n * STRIP_LOADS + i] = scratch[right_at + (n * MATRIX_N + strip_row(i)) * 4];
}

// sum += left * right of one block with right operands on their way in `right`; fetches the next ones.
#define MULTIPLY(sum, a, pieces_n)                                                                                     \
    [[unroll]] for (uint n = 0; n < pieces_n; n++) {                                                                   \
        [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {                                                           \
            RIGHT b = RIGHT(float16_t(0.0));                                                                           \
            FILL_PIECE(b, right, n * STRIP_LOADS, k)                                                                   \
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)                                                             \
                sum[m * pieces_n + n] = coopMatMulAdd(a[m * BLOCK_PIECES + k], b, sum[m * pieces_n + n]);              \
        }                                                                                                              \
        fetch_right(n);                                                                                                \
    }

#define FILL_LEFT(a, units)                                                                                            \
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {                                                                   \
        [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {                                                           \
            LEFT piece = LEFT(float16_t(0.0));                                                                         \
            FILL_PIECE(piece, units, m * STRIP_LOADS, k)                                                               \
            a[m * BLOCK_PIECES + k] = piece;                                                                           \
        }                                                                                                              \
    }

void store_output(ACCUMULATOR piece, uvec4 chunk, uint head, uint row, uint v)
{
    uint to = chunk.x * push.y_stride + head * push.value_size, own = gl_SubgroupID * PIECE;
    // The units want rows of Y aligned to 16 bytes; the condition is of the whole workgroup.
    if (chunk.y == CHUNK && push.y_stride % 4 == 0 && push.value_size % 4 == 0 &&
        (gl_WorkGroupID.x + 1) * TILE_V <= push.value_size) {
        coopMatStore(piece, y, to + row * push.y_stride + v, push.y_stride, gl_CooperativeMatrixLayoutRowMajor);
        return;
    }
    subgroupBarrier();
    coopMatStore(piece, piece_scratch, own, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
    subgroupBarrier();
    [[unroll]] for (uint j = 0; j < PIECE / SUBGROUP; j++) {
        uint i = j * SUBGROUP + gl_SubgroupInvocationID;
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
    uint before = before_at(c, head) + sub_v * 4 + strip_unit();
    head_powers = push.powers + head * (CHUNK + 1);
    head_decay = push.decays + head;
    LEFT a[PIECES_M * BLOCK_PIECES];

    ACCUMULATOR p[PIECES_M * SCORE_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * SCORE_N; i++) p[i] = ACCUMULATOR(0.0);
    left_at = queries;
    right_at = key_at(c, key_head) + sub_score * 4 + strip_unit();
    fetch_left();
    [[unroll]] for (uint n = 0; n < SCORE_N; n++) fetch_right(n);
    for (uint i = 0; i < key_blocks; i++) {
        uint step = i + 1 < key_blocks ? CHUNK * 4 : 0;
        left_at += step;
        right_at += step;
        FILL_LEFT(a, left)
        fetch_left();
        MULTIPLY(p, a, SCORE_N)
    }
    left_at = queries;
    right_at = before;
    fetch_left();
    [[unroll]] for (uint n = 0; n < PIECES_N; n++) fetch_right(n);
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
    for (uint i = 0; i < key_blocks; i++) {
        bool more = i + 1 < key_blocks;
        left_at += more ? CHUNK * 4 : 0;
        // Behind the state come the values.
        right_at = more ? right_at + push.padded_value * 4 : value_at(c, key_head) + sub_v * 4 + strip_unit();
        uvec4 units[LEFT_LOADS];
        [[unroll]] for (uint l = 0; l < LEFT_LOADS; l++) units[l] = faded(left[l], scale[l]);
        FILL_LEFT(a, units)
        fetch_left();
        MULTIPLY(o, a, PIECES_N)
    }
    [[unroll]] for (uint i = 0; i < CHUNK / 32; i++) {
        right_at += i + 1 < CHUNK / 32 ? push.padded_value * 4 : 0;
        [[unroll]] for (uint l = 0; l < LEFT_LOADS; l++)
            left[l] = scores[(sub_row + l / STRIP_LOADS * MATRIX_M + strip_row(l % STRIP_LOADS)) * SCORE_STRIDE + i * 4 +
                             strip_unit()];
        FILL_LEFT(a, left)
        MULTIPLY(o, a, PIECES_N)
    }
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            ACCUMULATOR piece = o[m * PIECES_N + n];
            store_output(piece, chunks[c], head, sub_row + m * MATRIX_M, sub_v + n * MATRIX_N);
        }
    }
}
