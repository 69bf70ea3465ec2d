#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// retention_output_matrix.comp: the output of chunks on matrix units, without any norm (retention_scores.comp and
// retention_output.comp are the same in plain fp32):
//
//     O = ((Q K^T) * D) V + (Q * decay^(i+1)) R        D_ij = decay^(i-j) for j <= i, else 0; R = state before the chunk
//
// A workgroup of four subgroups takes the 64 rows of a chunk and 2 * SUB_V columns of one head, a subgroup a quarter of
// them. All three products go through blocks of 32 of the dimension that is summed over, in two stages of shared memory:
// while one is multiplied, the next is on its way in registers.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128; // 4 * SUBGROUP
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint MATRIX_M = 16;
layout(constant_id = 3) const uint MATRIX_N = 16;
layout(constant_id = 4) const uint MATRIX_K = 16;
layout(constant_id = 5) const uint SUB_V = 64;

#include "retention_scratch.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Scratch { uvec4 scratch[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Chunks { uvec4 chunks[1024]; }; // {row, length, position, -}

const uint TILE_V = 2 * SUB_V, SUB_ROWS = CHUNK / 2;
const uint BLOCK = 32, BLOCK_UNITS = BLOCK / 8, STRIDE = BLOCK_UNITS + 1; // units of eight halves; padded against bank conflicts
const uint STAGED_ROWS = CHUNK + (TILE_V > CHUNK ? TILE_V : CHUNK), STAGE = STAGED_ROWS * STRIDE; // left rows, then right ones
const uint LOADS = (STAGED_ROWS * BLOCK_UNITS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint PIECES_M = SUB_ROWS / MATRIX_M, PIECES_N = SUB_V / MATRIX_N, SCORE_N = SUB_ROWS / MATRIX_N;
const uint PIECE = MATRIX_M * MATRIX_N;
const uint SCORE_STRIDE = CHUNK / 8 + 1;

shared uvec4 staged[2 * STAGE];
shared uvec4 scores[CHUNK * SCORE_STRIDE];
shared float piece_scratch[4 * PIECE];

#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define HALVES coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define LEFT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>

#include "retention_output.glsl"

uvec4 next[LOADS];
uint queries, keys, before, values; // where this workgroup's rows begin in scratch
uint key_blocks;

// ---- Global memory to registers to shared memory -------------------------------------------------------------------

// Blocks [0, key_blocks) are of Q and K, as many more of Q and R, the last two of V.
void fetch(uint i)
{
    bool scoring = i < key_blocks, inner = i >= 2 * key_blocks;
    uint block = scoring ? i : inner ? i - 2 * key_blocks : i - key_blocks;
    uint right_rows = scoring ? CHUNK : TILE_V, all_rows = scoring ? CHUNK : push.padded_value;
    uint left = queries + block * CHUNK * BLOCK_UNITS;
    uint right = (scoring ? keys : inner ? values : before) + block * all_rows * BLOCK_UNITS;
    [[unroll]] for (uint l = 0; l < LOADS; l++) {
        uint item = l * LOCAL_SIZE + gl_LocalInvocationID.x, row = item / BLOCK_UNITS;
        if (row < CHUNK) {
            if (!inner) next[l] = scratch[left + item];
        } else if (row - CHUNK < right_rows) {
            next[l] = scratch[right + item - CHUNK * BLOCK_UNITS];
        }
    }
}

void stage(uint i)
{
    [[unroll]] for (uint l = 0; l < LOADS; l++) {
        uint item = l * LOCAL_SIZE + gl_LocalInvocationID.x, row = item / BLOCK_UNITS;
        if (row >= STAGED_ROWS) continue;
        uvec4 unit = next[l];
        if (row < CHUNK && i >= key_blocks) unit = faded(unit, out_scale(row));
        staged[(i & 1u) * STAGE + row * STRIDE + item % BLOCK_UNITS] = unit;
    }
}

// ---- Scores --------------------------------------------------------------------------------------------------------

void make_scores(uint sub_row, uint sub_column)
{
    ACCUMULATOR p[PIECES_M * SCORE_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * SCORE_N; i++) p[i] = ACCUMULATOR(0.0);
    for (uint i = 0; i < key_blocks; i++) {
        fetch(i + 1);
        uint at = (i & 1u) * STAGE;
        for (uint k = 0; k < BLOCK; k += MATRIX_K) {
            LEFT a[PIECES_M];
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                coopMatLoad(a[m], staged, at + (sub_row + m * MATRIX_M) * STRIDE + k / 8, STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint n = 0; n < SCORE_N; n++) {
                RIGHT b;
                coopMatLoad(b, staged, at + (CHUNK + sub_column + n * MATRIX_N) * STRIDE + k / 8, STRIDE,
                            gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                    p[m * SCORE_N + n] = coopMatMulAdd(a[m], b, p[m * SCORE_N + n]);
            }
        }
        stage(i + 1);
        barrier();
    }
    [[unroll]] for (uint m = 0; m < PIECES_M; m++)
        [[unroll]] for (uint n = 0; n < SCORE_N; n++)
            coopMatStore(HALVES(p[m * SCORE_N + n]), scores,
                         (sub_row + m * MATRIX_M) * SCORE_STRIDE + (sub_column + n * MATRIX_N) / 8, SCORE_STRIDE,
                         gl_CooperativeMatrixLayoutRowMajor);
}

void main()
{
    uint c = push.first_output + gl_WorkGroupID.y, head = gl_WorkGroupID.z;
    uint key_head = head / (push.heads / push.key_value_heads);
    uint v0 = gl_WorkGroupID.x * TILE_V, sub_row = gl_SubgroupID / 2 * SUB_ROWS, sub_column = gl_SubgroupID % 2 * SUB_V;
    uvec4 chunk = chunks[c];
    head_powers = push.powers + head * push.powers_stride;
    head_decay = push.decays + head;
    queries = query_at(c, head);
    keys = key_at(c, key_head);
    before = before_at(c, head) + v0 * BLOCK_UNITS;
    values = value_at(c, key_head) + v0 * BLOCK_UNITS;
    key_blocks = push.padded_key / BLOCK;

    fetch(0);
    stage(0);
    barrier();
    make_scores(sub_row, gl_SubgroupID % 2 * SUB_ROWS);
    barrier();
    mask_scores();
    barrier();

    ACCUMULATOR o[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) o[i] = ACCUMULATOR(0.0);
    const uint blocks = 2 * key_blocks + CHUNK / BLOCK;
    for (uint i = key_blocks; i < blocks; i++) {
        bool inner = i >= 2 * key_blocks;
        uint at = (i & 1u) * STAGE, score_at = (i - 2 * key_blocks) * BLOCK_UNITS;
        if (i + 1 < blocks) fetch(i + 1);
        for (uint k = 0; k < BLOCK; k += MATRIX_K) {
            LEFT a[PIECES_M];
            [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
                uint row = sub_row + m * MATRIX_M;
                if (inner)
                    coopMatLoad(a[m], scores, row * SCORE_STRIDE + score_at + k / 8, SCORE_STRIDE,
                                gl_CooperativeMatrixLayoutRowMajor);
                else
                    coopMatLoad(a[m], staged, at + row * STRIDE + k / 8, STRIDE, gl_CooperativeMatrixLayoutRowMajor);
            }
            [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                RIGHT b;
                coopMatLoad(b, staged, at + (CHUNK + sub_column + n * MATRIX_N) * STRIDE + k / 8, STRIDE,
                            gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                    o[m * PIECES_N + n] = coopMatMulAdd(a[m], b, o[m * PIECES_N + n]);
            }
        }
        if (i + 1 < blocks) stage(i + 1);
        barrier();
    }

    // The units want rows of Y aligned to 16 bytes; the condition is of the whole workgroup.
    bool aligned = (push.y_stride | push.y_offset | push.value_size) % 4 == 0;
    bool whole = chunk.y == CHUNK && aligned && v0 + TILE_V <= push.value_size;
    uint to = push.y_offset + chunk.x * push.y_stride + head * push.value_size, own = gl_SubgroupID * PIECE;
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            uint row = sub_row + m * MATRIX_M, v = v0 + sub_column + n * MATRIX_N;
            if (whole) {
                coopMatStore(o[m * PIECES_N + n], y, to + row * push.y_stride + v, push.y_stride,
                             gl_CooperativeMatrixLayoutRowMajor);
                continue;
            }
            subgroupBarrier();
            coopMatStore(o[m * PIECES_N + n], piece_scratch, own, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
            [[unroll]] for (uint j = 0; j < PIECE / SUBGROUP; j++) {
                uint i = j * SUBGROUP + gl_SubgroupInvocationID;
                uint r = row + i / MATRIX_N, column = v + i % MATRIX_N;
                if (r < chunk.y && column < push.value_size) y[to + r * push.y_stride + column] = piece_scratch[own + i];
            }
        }
    }
}
