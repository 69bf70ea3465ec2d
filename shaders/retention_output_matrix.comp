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
// A workgroup of four subgroups takes the 64 rows of a chunk and 4 * SUB_V columns of one head. The subgroups share the
// scores, a quarter of the rows each, through shared memory, and then own a quarter of the columns.

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

const uint SCORE_ROWS = CHUNK / 4, SCORE_M = SCORE_ROWS / MATRIX_M, SCORE_N = CHUNK / MATRIX_N;
const uint PIECES_M = CHUNK / MATRIX_M, PIECES_N = SUB_V / MATRIX_N, PIECE = MATRIX_M * MATRIX_N;
const uint SCORE_STRIDE = CHUNK + 4;     // floats, padded against bank conflicts
const uint HALF_STRIDE = CHUNK / 8 + 1;  // eights of halves

shared float scores[CHUNK * SCORE_STRIDE]; // later pieces of the output
shared uvec4 masked[CHUNK * HALF_STRIDE];

#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define LEFT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>

// Q K^T of a quarter of the rows, up to the diagonal.
void make_scores(uint queries, uint keys)
{
    uint stride = push.padded_key / 8, first = gl_SubgroupID * SCORE_ROWS;
    ACCUMULATOR p[SCORE_M * SCORE_N];
    [[unroll]] for (uint i = 0; i < SCORE_M * SCORE_N; i++) p[i] = ACCUMULATOR(0.0);
    for (uint k = 0; k < push.padded_key; k += MATRIX_K) {
        LEFT a[SCORE_M];
        [[unroll]] for (uint m = 0; m < SCORE_M; m++)
            coopMatLoad(a[m], scratch, queries + (first + m * MATRIX_M) * stride + k / 8, stride,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint n = 0; n < SCORE_N; n++) {
            RIGHT b;
            coopMatLoad(b, scratch, keys + n * MATRIX_N * stride + k / 8, stride, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint m = 0; m < SCORE_M; m++)
                p[m * SCORE_N + n] = coopMatMulAdd(a[m], b, p[m * SCORE_N + n]);
        }
    }
    [[unroll]] for (uint m = 0; m < SCORE_M; m++)
        [[unroll]] for (uint n = 0; n < SCORE_N; n++)
            coopMatStore(p[m * SCORE_N + n], scores, (first + m * MATRIX_M) * SCORE_STRIDE + n * MATRIX_N, SCORE_STRIDE,
                         gl_CooperativeMatrixLayoutRowMajor);
}

float masked_score(uint i, uint j, uint powers)
{
    return j <= i ? scores[i * SCORE_STRIDE + j] * params[powers + i - j] : 0.0;
}

void mask_scores(uint powers)
{
    for (uint item = gl_LocalInvocationID.x; item < CHUNK * CHUNK / 8; item += LOCAL_SIZE) {
        uint i = item / (CHUNK / 8), j = item % (CHUNK / 8) * 8;
        uvec4 eight;
        [[unroll]] for (uint k = 0; k < 4; k++) {
            vec2 pair = vec2(masked_score(i, j + 2 * k, powers), masked_score(i, j + 2 * k + 1, powers));
            eight[k] = packHalf2x16(clamp(pair, -65504.0, 65504.0));
        }
        masked[i * HALF_STRIDE + item % (CHUNK / 8)] = eight;
    }
}

void main()
{
    uint c = gl_WorkGroupID.y, head = gl_WorkGroupID.z, key_head = head / (push.heads / push.key_value_heads);
    uvec4 chunk = chunks[c];
    uint v0 = gl_WorkGroupID.x * 4 * SUB_V + gl_SubgroupID * SUB_V;
    uint key_stride = push.padded_key / 8;

    make_scores(query_at(push.query, c, head), key_at(c, key_head));
    barrier();
    mask_scores(push.powers + head * (CHUNK + 1));
    barrier();

    ACCUMULATOR o[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) o[i] = ACCUMULATOR(0.0);
    uint queries = query_at(push.query_out, c, head), before = before_at(c, head) + v0 * key_stride;
    for (uint k = 0; k < push.padded_key; k += MATRIX_K) {
        LEFT a[PIECES_M];
        [[unroll]] for (uint m = 0; m < PIECES_M; m++)
            coopMatLoad(a[m], scratch, queries + m * MATRIX_M * key_stride + k / 8, key_stride,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            RIGHT b;
            coopMatLoad(b, scratch, before + n * MATRIX_N * key_stride + k / 8, key_stride,
                        gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                o[m * PIECES_N + n] = coopMatMulAdd(a[m], b, o[m * PIECES_N + n]);
        }
    }
    uint values = value_at(c, key_head) + v0 * (CHUNK / 8);
    for (uint t = 0; t < CHUNK; t += MATRIX_K) {
        LEFT a[PIECES_M];
        [[unroll]] for (uint m = 0; m < PIECES_M; m++)
            coopMatLoad(a[m], masked, m * MATRIX_M * HALF_STRIDE + t / 8, HALF_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            RIGHT b;
            coopMatLoad(b, scratch, values + n * MATRIX_N * (CHUNK / 8) + t / 8, CHUNK / 8,
                        gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                o[m * PIECES_N + n] = coopMatMulAdd(a[m], b, o[m * PIECES_N + n]);
        }
    }

    // The units want rows of Y aligned to 16 bytes; the condition is of the whole workgroup.
    bool whole = chunk.y == CHUNK && push.y_stride % 4 == 0 && push.value_size % 4 == 0 &&
                 (gl_WorkGroupID.x + 1) * 4 * SUB_V <= push.value_size;
    uint to = chunk.x * push.y_stride + head * push.value_size + v0, own = gl_SubgroupID * PIECE;
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            if (whole) {
                coopMatStore(o[m * PIECES_N + n], y, to + m * MATRIX_M * push.y_stride + n * MATRIX_N, push.y_stride,
                             gl_CooperativeMatrixLayoutRowMajor);
                continue;
            }
            subgroupBarrier();
            coopMatStore(o[m * PIECES_N + n], scores, own, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
            for (uint i = gl_SubgroupInvocationID; i < PIECE; i += SUBGROUP) {
                uint row = m * MATRIX_M + i / MATRIX_N, v = n * MATRIX_N + i % MATRIX_N;
                if (row < chunk.y && v0 + v < push.value_size) y[to + row * push.y_stride + v] = scores[own + i];
            }
        }
    }
}
