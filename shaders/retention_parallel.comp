#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_parallel.comp: the parallel form of retention (retnet.md 1.1) of whole sequences, q and k rotated:
//
//     O_n = scale (sum over m <= n of decay^(n-m) (q_n . k_m) v_m  +  decay^(n+1) q_n S)        S = state before, if any
//
// A workgroup takes ROWS rows of one head and LANES * COLUMNS columns of V, and goes over the tokens in tiles of LANES,
// whose scores never leave shared memory.
//
// With C2 the workgroups of the first columns leave what torchscale's parallel form normalises by (retnet.md 1.2):
//
//     c_n = sqrt(s_n) clamp(A_n / sqrt(s_n), 1, 5e4)        A_n = sum over m of the scores' magnitudes

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint COLUMNS = 1; // of an invocation
layout(constant_id = 1) const uint STATE = 0;
layout(constant_id = 2) const uint C2 = 0;

#define PARAMS_BINDING 2
#include "positions.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(std430, set = 0, binding = 3) readonly buffer State { float state[]; }; // [states][heads][K][value_stride]
layout(set = 0, binding = 4) uniform Records { uvec4 records[1024]; };         // {row, length, state, -}

layout(push_constant) uniform Push {
    uint stride, q_offset, k_offset, v_offset; // floats
    uint y_stride, y_offset, c2_stride, c2_offset;
    uint heads, key_value_group, key_size, value_size, value_stride;
    uint decay_sums; // in params, units of vec2
    float scale;
} push;

const uint LANES = 64, ROWS = 8;

shared float scores[ROWS * LANES];

float power(uint head, uint n)
{
    return decay_power_at(push.decay_sums, head, n);
}

void main()
{
    uint lane = gl_LocalInvocationID.x, first = gl_WorkGroupID.y * ROWS;
    uint head = gl_WorkGroupID.z % push.heads;
    uvec4 record = records[gl_WorkGroupID.z / push.heads];
    if (first >= record.y) return;
    uint rows = min(ROWS, record.y - first), key_head = head / push.key_value_group;
    uint k_at = record.x * push.stride + push.k_offset + key_head * push.key_size;
    uint v_at = record.x * push.stride + push.v_offset + key_head * push.value_size;

    uint q_at[ROWS], column[COLUMNS];
    float o[ROWS * COLUMNS], magnitude[ROWS];
    [[unroll]] for (uint c = 0; c < COLUMNS; c++)
        column[c] = min((gl_WorkGroupID.x * COLUMNS + c) * LANES + lane, push.value_size - 1);
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        q_at[r] = (record.x + first + min(r, rows - 1)) * push.stride + push.q_offset + head * push.key_size;
        magnitude[r] = 0.0;
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) o[r * COLUMNS + c] = 0.0;
    }

    if (STATE != 0) {
        uint s_at = (record.z * push.heads + head) * push.key_size * push.value_stride;
        for (uint k = 0; k < push.key_size; k++) {
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                float s = state[s_at + k * push.value_stride + column[c]];
                [[unroll]] for (uint r = 0; r < ROWS; r++) o[r * COLUMNS + c] += x[q_at[r] + k] * s;
            }
        }
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            float faded = push.scale * power(head, first + r + 1);
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) o[r * COLUMNS + c] *= faded;
        }
    }

    uint end = first + rows;
    for (uint base = 0; base < end; base += LANES) {
        uint j = base + lane;
        float score[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++) score[r] = 0.0;
        if (j < end) {
            for (uint k = 0; k < push.key_size; k++) {
                float key = x[k_at + j * push.stride + k];
                [[unroll]] for (uint r = 0; r < ROWS; r++) score[r] += x[q_at[r] + k] * key;
            }
        }
        barrier(); // the scores before are still read
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            uint i = first + r;
            float p = j <= i ? score[r] * push.scale * power(head, i - min(i, j)) : 0.0;
            scores[r * LANES + lane] = p;
            if (C2 != 0) magnitude[r] += abs(p);
        }
        barrier();
        for (uint l = 0; l < min(LANES, end - base); l++) {
            [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                float v = x[v_at + (base + l) * push.stride + column[c]];
                [[unroll]] for (uint r = 0; r < ROWS; r++) o[r * COLUMNS + c] += scores[r * LANES + l] * v;
            }
        }
    }

    for (uint r = 0; r < rows; r++) {
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
            uint i = (gl_WorkGroupID.x * COLUMNS + c) * LANES + lane;
            if (i < push.value_size)
                y[push.y_offset + (record.x + first + r) * push.y_stride + head * push.value_size + i] = o[r * COLUMNS + c];
        }
    }

    if (C2 == 0 || gl_WorkGroupID.x != 0) return;
    barrier();
    [[unroll]] for (uint r = 0; r < ROWS; r++) scores[r * LANES + lane] = magnitude[r];
    barrier();
    if (lane >= rows) return;
    float sum = 0.0, root = sqrt(decay_sum_at(push.decay_sums, head, first + lane));
    for (uint l = 0; l < LANES; l++) sum += scores[lane * LANES + l];
    float c = root * clamp(sum / root, 1.0, 5e4);
    y[push.c2_offset + (record.x + first + lane) * push.c2_stride + head] = c * c;
}
