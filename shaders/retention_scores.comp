#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_scores.comp: P = (q k^T) * D within chunks of up to 64 tokens, D_ij = decay^(i-j) for j <= i, else 0.
// Queries and keys are rotated. An invocation takes one column j of ROWS rows; rows and columns past a row group's
// diagonal are not written, for nobody reads them.

layout(local_size_x = 64) in;

const uint CHUNK = 64, ROWS = 8;

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Scores { float scores[]; }; // [chunks][heads][CHUNK][CHUNK]
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

layout(push_constant) uniform Push {
    uint stride, q_offset, k_offset; // floats
    uint heads, key_value_group, key_size;
    uint powers; // in params: decay^0..decay^CHUNK of each head
} push;

void main()
{
    uint j = gl_LocalInvocationID.x, first = gl_WorkGroupID.x * ROWS, head = gl_WorkGroupID.y;
    uvec4 chunk = records[gl_WorkGroupID.z];
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
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint i = first + r;
        uint distance = j <= i ? i - j : 0;
        float decay = params[push.powers + head * (CHUNK + 1) + distance];
        scores[((gl_WorkGroupID.z * push.heads + head) * CHUNK + i) * CHUNK + j] = j <= i ? sum[r] * decay : 0.0;
    }
}
