#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_scores.comp: P = scale (q k^T) * D within chunks, D_ij = decay^(i-j) for j <= i, else 0. Queries and keys are
// rotated. An invocation takes one column j of ROWS rows; rows and columns past a row group's diagonal are not written,
// for nobody reads them.

layout(local_size_x = 64) in;

const uint ROWS = 8;

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Scores { float scores[]; }; // [chunks][heads][chunk][chunk]
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

layout(push_constant) uniform Push {
    uint stride, q_offset, k_offset; // floats
    uint heads, key_value_group, key_size;
    uint chunk; // tokens that a chunk may have
    uint powers, powers_stride; // in params: decay^0..decay^chunk of each head
    uint column_groups; // of 64 columns
    float scale;
    uint first_output; // the first chunk of which the output is asked for
} push;

void main()
{
    uint j = gl_WorkGroupID.x % push.column_groups * 64 + gl_LocalInvocationID.x, head = gl_WorkGroupID.y;
    uint first = gl_WorkGroupID.x / push.column_groups * ROWS;
    uint c = push.first_output + gl_WorkGroupID.z;
    uvec4 chunk = records[c];
    if (first >= chunk.y || j >= first + ROWS || j >= chunk.y) return;
    uint k_at = (chunk.x + j) * push.stride + push.k_offset + head / push.key_value_group * push.key_size;
    uint q_at[ROWS];
    float sum[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        q_at[r] = (chunk.x + min(first + r, chunk.y - 1)) * push.stride + push.q_offset + head * push.key_size;
        sum[r] = 0.0;
    }
    for (uint k = 0; k < push.key_size; k++) {
        float key = x[k_at + k];
        [[unroll]] for (uint r = 0; r < ROWS; r++) sum[r] += x[q_at[r] + k] * key;
    }
    for (uint r = 0; r < min(ROWS, chunk.y - first); r++) {
        uint i = first + r;
        uint distance = j <= i ? i - j : 0;
        float decay = push.scale * params[push.powers + head * push.powers_stride + distance];
        scores[((c * push.heads + head) * push.chunk + i) * push.chunk + j] = j <= i ? sum[r] * decay : 0.0;
    }
}
