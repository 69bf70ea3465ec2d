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
// The operands of a chunk go through shared memory, the next one's being on their way in registers meanwhile, and so
// does the state that is left: matrix units store to global memory slowly. A workgroup of four subgroups owns a square of
// one head's state, each of them a quarter.

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

const uint TILE = 2 * SUB, PIECES_M = SUB / MATRIX_M, PIECES_N = SUB / MATRIX_N;
const uint CHUNK_UNITS = CHUNK / 8;

const uint STRIDE = CHUNK_UNITS + 1, STAGED_ROWS = 2 * TILE; // padded against bank conflicts; values, then keys
const uint OUT_STRIDE = TILE / 8 + 1, FLOAT_STRIDE = TILE / 4 + 1;
const uint LOADS = (2 * TILE * CHUNK_UNITS + LOCAL_SIZE - 1) / LOCAL_SIZE;

shared uvec4 staged[STAGED_ROWS * STRIDE];
shared uvec4 out_tile[TILE * FLOAT_STRIDE]; // [V][K]: the state as f16, or as fp32 at the begin and the end

uvec4 next[LOADS];

#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

void fetch(uint c, uint head, uint key_head)
{
    uint values = value_at(c, key_head), keys = key_in_at(c, head);
    [[unroll]] for (uint l = 0; l < LOADS; l++) {
        uint item = l * LOCAL_SIZE + gl_LocalInvocationID.x, unit = item / (TILE * 4) * 4 + item % 4, row = item / 4 % TILE;
        if (unit < CHUNK_UNITS)
            next[l] = scratch[values + unit_at(push.padded_value, gl_WorkGroupID.x * TILE + row, unit)];
        else if (unit < 2 * CHUNK_UNITS)
            next[l] = scratch[keys + unit_at(push.padded_key, gl_WorkGroupID.y * TILE + row, unit - CHUNK_UNITS)];
    }
}

void stage()
{
    [[unroll]] for (uint l = 0; l < LOADS; l++) {
        uint item = l * LOCAL_SIZE + gl_LocalInvocationID.x, unit = item / (TILE * 4) * 4 + item % 4;
        uint row = item / 4 % TILE + unit / CHUNK_UNITS * TILE;
        if (unit < 2 * CHUNK_UNITS) staged[row * STRIDE + unit % CHUNK_UNITS] = next[l];
    }
}

// A tile of the state between memory and out_tile. Accumulators are not touched here: a compiler that meets them in a loop
// that it cannot unroll keeps them in memory throughout.
void load_tile(uint state_at)
{
    for (uint item = gl_LocalInvocationID.x; item < TILE * TILE / 4; item += LOCAL_SIZE) {
        uint v = item % TILE, k = item / TILE * 4, in_v = gl_WorkGroupID.x * TILE + v, in_k = gl_WorkGroupID.y * TILE + k;
        uvec4 four = uvec4(0);
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (in_k + i < push.key_size && in_v < push.value_size)
                four[i] = floatBitsToUint(state[state_at + (in_k + i) * push.value_stride + in_v]);
        out_tile[v * FLOAT_STRIDE + k / 4] = four;
    }
}

void store_tile(uint state_at)
{
    for (uint item = gl_LocalInvocationID.x; item < TILE * TILE / 4; item += LOCAL_SIZE) {
        uint v = item % TILE, k = item / TILE * 4, in_v = gl_WorkGroupID.x * TILE + v, in_k = gl_WorkGroupID.y * TILE + k;
        uvec4 four = out_tile[v * FLOAT_STRIDE + k / 4];
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (in_k + i < push.key_size && in_v < push.value_stride)
                state[state_at + (in_k + i) * push.value_stride + in_v] = uintBitsToFloat(four[i]);
    }
}

uint clamped(uint pair)
{
    return packHalf2x16(clamp(unpackHalf2x16(pair), -65504.0, 65504.0));
}

// The state before chunk c, from out_tile.
void store_before(uint c, uint head)
{
    uint first_v = gl_WorkGroupID.x * TILE, first_unit = gl_WorkGroupID.y * (TILE / 8);
    for (uint item = gl_LocalInvocationID.x; item < TILE * TILE / 8; item += LOCAL_SIZE) {
        uint unit = item / (TILE * 4) * 4 + item % 4, v = item / 4 % TILE;
        uvec4 eight = out_tile[v * OUT_STRIDE + unit];
        eight = uvec4(clamped(eight.x), clamped(eight.y), clamped(eight.z), clamped(eight.w));
        scratch[before_at(c, head) + unit_at(push.padded_value, first_v + v, first_unit + unit)] = eight;
    }
}

float fade_of(uint c, uint head)
{
    return params[push.powers + head * push.powers_stride + chunks[c].y];
}

void main()
{
    uint head = gl_WorkGroupID.z % push.heads, key_head = head / (push.heads / push.key_value_heads);
    uvec4 sequence = sequences[gl_WorkGroupID.z / push.heads];
    uint sub_k = gl_SubgroupID / 2 * SUB, sub_v = gl_SubgroupID % 2 * SUB;
    uint state_at = (sequence.z * push.heads + head) * push.key_size * push.value_stride;
    float factor = state_factor(params[push.decays + head]);

    load_tile(state_at);
    barrier();
    ACCUMULATOR s[PIECES_M * PIECES_N]; // transposed: rows of V, columns of K
    [[unroll]] for (uint m = 0; m < PIECES_M; m++)
        [[unroll]] for (uint n = 0; n < PIECES_N; n++)
            coopMatLoad(s[m * PIECES_N + n], out_tile,
                        (sub_v + m * MATRIX_M) * FLOAT_STRIDE + (sub_k + n * MATRIX_N) / 4, FLOAT_STRIDE,
                        gl_CooperativeMatrixLayoutRowMajor);

    uint end = sequence.x + sequence.y;
    float fade_next = fade_of(sequence.x, head);
    fetch(sequence.x, head, key_head);
    stage();
    barrier();
    for (uint c = sequence.x; c < end; c++) {
        float fade = fade_next;
        if (c + 1 < end) {
            fetch(c + 1, head, key_head);
            fade_next = fade_of(c + 1, head);
        }
        [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
            [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> halves =
                    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(
                        s[m * PIECES_N + n] * factor);
                coopMatStore(halves, out_tile, (sub_v + m * MATRIX_M) * OUT_STRIDE + (sub_k + n * MATRIX_N) / 8,
                             OUT_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                s[m * PIECES_N + n] = s[m * PIECES_N + n] * fade;
            }
        }
        for (uint t = 0; t < CHUNK; t += MATRIX_K) {
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a[PIECES_M];
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> b[PIECES_N];
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                coopMatLoad(a[m], staged, (sub_v + m * MATRIX_M) * STRIDE + t / 8, STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint n = 0; n < PIECES_N; n++)
                coopMatLoad(b[n], staged, (TILE + sub_k + n * MATRIX_N) * STRIDE + t / 8, STRIDE,
                            gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                [[unroll]] for (uint n = 0; n < PIECES_N; n++)
                    s[m * PIECES_N + n] = coopMatMulAdd(a[m], b[n], s[m * PIECES_N + n]);
        }
        barrier();
        if (c + 1 < end) stage();
        store_before(c, head);
        barrier();
    }

    [[unroll]] for (uint m = 0; m < PIECES_M; m++)
        [[unroll]] for (uint n = 0; n < PIECES_N; n++)
            coopMatStore(s[m * PIECES_N + n], out_tile,
                         (sub_v + m * MATRIX_M) * FLOAT_STRIDE + (sub_k + n * MATRIX_N) / 4, FLOAT_STRIDE,
                         gl_CooperativeMatrixLayoutRowMajor);
    barrier();
    store_tile(state_at);
}
