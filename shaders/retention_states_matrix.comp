#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// retention_states_matrix.comp: carries the state of a sequence over its chunks on matrix units, and leaves the state
// before each chunk (retention_states.comp is the same in plain fp32). The state stays in fp32 accumulators:
//
//     R_i = decay^L R_(i-1) + (keys * decay^(L-1-l))^T values
//
// A workgroup of four subgroups owns a square of one head's state, each of them a quarter.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128; // 4 * SUBGROUP
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint MATRIX_M = 16;
layout(constant_id = 3) const uint MATRIX_N = 16;
layout(constant_id = 4) const uint MATRIX_K = 16;
layout(constant_id = 5) const uint SUB = 32; // rows and columns of the state that a subgroup owns

#include "retention_scratch.glsl"

layout(std430, set = 0, binding = 0) buffer Scratch { uvec4 scratch[]; };
layout(std430, set = 0, binding = 1) buffer State { float state[]; }; // [states][heads][K][value_stride]
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Chunks { uvec4 chunks[1024]; };       // {row, length, position, -}
layout(set = 0, binding = 4) uniform Sequences { uvec4 sequences[1024]; }; // {first chunk, chunks, state, -}

const uint TILE = 2 * SUB, PIECES_M = SUB / MATRIX_M, PIECES_N = SUB / MATRIX_N, PIECE = MATRIX_M * MATRIX_N;
const uint CHUNK_UNITS = CHUNK / 8;

shared float piece_scratch[4 * PIECE];

#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

void main()
{
    uint head = gl_WorkGroupID.z % push.heads, key_head = head / (push.heads / push.key_value_heads);
    uvec4 sequence = sequences[gl_WorkGroupID.z / push.heads];
    uint k0 = gl_WorkGroupID.y * TILE + gl_SubgroupID / 2 * SUB, v0 = gl_WorkGroupID.x * TILE + gl_SubgroupID % 2 * SUB;
    uint state_at = (sequence.z * push.heads + head) * push.key_size * push.value_stride;
    uint own = gl_SubgroupID * PIECE;
    float factor = state_factor(params[push.decays + head]);

    ACCUMULATOR s[PIECES_M * PIECES_N]; // transposed: rows of V, columns of K
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            subgroupBarrier();
            for (uint i = gl_SubgroupInvocationID; i < PIECE; i += SUBGROUP) {
                uint v = v0 + m * MATRIX_M + i % MATRIX_M, k = k0 + n * MATRIX_N + i / MATRIX_M;
                bool inside = k < push.key_size && v < push.value_size;
                piece_scratch[own + i % MATRIX_M * MATRIX_N + i / MATRIX_M] =
                    inside ? state[state_at + k * push.value_stride + v] : 0.0;
            }
            subgroupBarrier();
            coopMatLoad(s[m * PIECES_N + n], piece_scratch, own, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
        }
    }

    for (uint c = sequence.x; c < sequence.x + sequence.y; c++) {
        float fade = params[push.powers + head * (CHUNK + 1) + chunks[c].y];
        uint before = before_at(c, head) + (v0 * push.padded_key + k0) / 8;
        uint keys = key_in_at(c, head) + k0 * CHUNK_UNITS, values = value_at(c, key_head) + v0 * CHUNK_UNITS;
        [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
            [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                ACCUMULATOR scaled = s[m * PIECES_N + n] * factor;
                for (int i = 0; i < scaled.length(); i++) scaled[i] = clamp(scaled[i], -65504.0, 65504.0);
                coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> halves =
                    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(scaled);
                coopMatStore(halves, scratch, before + (m * MATRIX_M * push.padded_key + n * MATRIX_N) / 8,
                             push.padded_key / 8, gl_CooperativeMatrixLayoutRowMajor);
                s[m * PIECES_N + n] = s[m * PIECES_N + n] * fade;
            }
        }
        for (uint t = 0; t < CHUNK; t += MATRIX_K) {
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a[PIECES_M];
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> b[PIECES_N];
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                coopMatLoad(a[m], scratch, values + m * MATRIX_M * CHUNK_UNITS + t / 8, CHUNK_UNITS,
                            gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint n = 0; n < PIECES_N; n++)
                coopMatLoad(b[n], scratch, keys + n * MATRIX_N * CHUNK_UNITS + t / 8, CHUNK_UNITS,
                            gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                [[unroll]] for (uint n = 0; n < PIECES_N; n++)
                    s[m * PIECES_N + n] = coopMatMulAdd(a[m], b[n], s[m * PIECES_N + n]);
        }
    }

    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            subgroupBarrier();
            coopMatStore(s[m * PIECES_N + n], piece_scratch, own, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
            for (uint i = gl_SubgroupInvocationID; i < PIECE; i += SUBGROUP) {
                uint v = v0 + m * MATRIX_M + i % MATRIX_M, k = k0 + n * MATRIX_N + i / MATRIX_M;
                if (k < push.key_size && v < push.value_stride)
                    state[state_at + k * push.value_stride + v] = piece_scratch[own + i % MATRIX_M * MATRIX_N + i / MATRIX_M];
            }
        }
    }
}
