#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_states.comp: carries the state of a sequence over its chunks (retnet.md 1.1, chunkwise form):
//
//     R_i = decay^L R_(i-1) + sum over l < L of decay^(L-1-l) k_l^T v_l        L = length of the chunk
//
// and leaves the state before each chunk for retention_output.comp. An invocation keeps ROWS rows of one column of the
// state in registers through all chunks.

layout(local_size_x = 64) in;

const uint ROWS = 8;

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Before { float before[]; }; // [chunks][heads][K][value_stride]
layout(std430, set = 0, binding = 2) buffer State { float state[]; };             // [states][heads][K][value_stride]
layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
layout(set = 0, binding = 4) uniform Chunks { uvec4 chunks[1024]; };       // {row, length, position, -}
layout(set = 0, binding = 5) uniform Sequences { uvec4 sequences[1024]; }; // {first chunk, chunks, state, -}

layout(push_constant) uniform Push {
    uint stride, k_offset, v_offset; // floats
    uint heads, key_value_group, key_size, value_size, value_stride;
    uint powers, powers_stride; // in params: decay^0..decay^chunk of each head
} push;

void main()
{
    uint column = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x, first = gl_WorkGroupID.y * ROWS;
    uint head = gl_WorkGroupID.z % push.heads;
    uvec4 sequence = sequences[gl_WorkGroupID.z / push.heads];
    if (column >= push.value_stride) return;
    uint in_head = first * push.value_stride + column, head_stride = push.key_size * push.value_stride;
    uint state_at = (sequence.z * push.heads + head) * head_stride + in_head;
    uint k_at = push.k_offset + head / push.key_value_group * push.key_size;
    uint v_at = push.v_offset + head / push.key_value_group * push.value_size + min(column, push.value_size - 1);
    float padding = column < push.value_size ? 1.0 : 0.0;
    uint powers = push.powers + head * push.powers_stride;

    float s[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        s[r] = first + r < push.key_size ? state[state_at + r * push.value_stride] : 0.0;
    for (uint c = sequence.x; c < sequence.x + sequence.y; c++) {
        uint before_at = (c * push.heads + head) * head_stride + in_head;
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            if (first + r < push.key_size) before[before_at + r * push.value_stride] = s[r];
        uint row = chunks[c].x, length = chunks[c].y;
        [[unroll]] for (uint r = 0; r < ROWS; r++) s[r] *= params[powers + length];
        for (uint l = 0; l < length; l++) {
            uint at = (row + l) * push.stride;
            float v = x[at + v_at] * padding * params[powers + length - 1 - l];
            [[unroll]] for (uint r = 0; r < ROWS; r++) s[r] += x[at + k_at + min(first + r, push.key_size - 1)] * v;
        }
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        if (first + r < push.key_size) state[state_at + r * push.value_stride] = s[r];
}
