#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_output.comp: the output of chunks (retnet.md 1.1, chunkwise form), without any norm:
//
//     O_i = sum over l <= i of P_il v_l  +  scale decay^(i+1) q_i R        R = state before the chunk
//
// An invocation takes one column of ROWS rows.

layout(local_size_x = 64) in;

const uint ROWS = 8;

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) readonly buffer Scratch { float scratch[]; }; // scores and states before chunks
layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
layout(set = 0, binding = 4) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

layout(push_constant) uniform Push {
    uint stride, q_offset, v_offset, y_stride, y_offset; // floats
    uint heads, key_value_group, key_size, value_size, value_stride;
    uint chunk; // tokens that a chunk may have
    uint powers, powers_stride; // in params: decay^0..decay^chunk of each head
    uint states_before; // in scratch: [chunks][heads][K][value_stride], behind scores [chunks][heads][chunk][chunk]
    float scale;
    uint first_output; // the first chunk of which the output is asked for
} push;

void main()
{
    uint column = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, first = gl_WorkGroupID.y * ROWS;
    uint head = gl_WorkGroupID.z % push.heads, c = push.first_output + gl_WorkGroupID.z / push.heads;
    uvec4 chunk = records[c];
    if (first >= chunk.y || column >= push.value_size) return;
    uint rows = min(ROWS, chunk.y - first);
    uint p_at = ((c * push.heads + head) * push.chunk + first) * push.chunk;
    uint r_at = push.states_before + (c * push.heads + head) * push.key_size * push.value_stride + column;
    uint v_at = chunk.x * push.stride + push.v_offset + head / push.key_value_group * push.value_size + column;
    uint q_at[ROWS];
    float cross[ROWS], inner[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        q_at[r] = (chunk.x + first + min(r, rows - 1)) * push.stride + push.q_offset + head * push.key_size;
        cross[r] = inner[r] = 0.0;
    }
    for (uint k = 0; k < push.key_size; k++) {
        float s = scratch[r_at + k * push.value_stride];
        [[unroll]] for (uint r = 0; r < ROWS; r++) cross[r] += x[q_at[r] + k] * s;
    }
    for (uint l = 0; l < first + rows; l++) {
        float v = x[v_at + l * push.stride];
        [[unroll]] for (uint r = 0; r < ROWS; r++) inner[r] += scratch[p_at + min(r, rows - 1) * push.chunk + l] * v;
    }
    for (uint r = 0; r < rows; r++)
        y[push.y_offset + (chunk.x + first + r) * push.y_stride + head * push.value_size + column] =
            inner[r] + cross[r] * push.scale * params[push.powers + head * push.powers_stride + first + r + 1];
}
