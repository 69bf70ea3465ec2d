#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_states_tiles.comp: as retention_states.comp, in tiles of 64 rows by 64 columns of the state, for GPUs without
// matrix units. A workgroup keeps its tile in registers through all chunks.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128;

#include "tiles.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Before { vec4 before[]; }; // [chunks][heads][K][value_stride]
layout(std430, set = 0, binding = 2) buffer State { vec4 state[]; };             // [states][heads][K][value_stride]
layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
layout(set = 0, binding = 4) uniform Chunks { uvec4 chunks[1024]; };       // {row, length, position, -}
layout(set = 0, binding = 5) uniform Sequences { uvec4 sequences[1024]; }; // {first chunk, chunks, state, -}

layout(push_constant) uniform Push {
    uint stride, k_offset, v_offset; // floats
    uint heads, key_value_group, key_size, value_size, value_stride;
    uint powers, powers_stride; // in params: decay^0..decay^chunk of each head
} push;

#include "retention_tiles.glsl"

// The invocation's part of the state: whether row n of it is there, and where.
bool is_there(uint n)
{
    return gl_WorkGroupID.y * TILE + own_second() + n < push.key_size &&
           gl_WorkGroupID.x * TILE + own_first() < push.value_stride;
}

uint place_of(uint states, uint head, uint n)
{
    uint row = (states * push.heads + head) * push.key_size + gl_WorkGroupID.y * TILE + own_second() + n;
    return (row * push.value_stride + gl_WorkGroupID.x * TILE + own_first()) / 4;
}

void add_chunk(uvec4 chunk, uint k_at, uint v_at, uint powers)
{
    uint first_k = gl_WorkGroupID.y * TILE, first_v = gl_WorkGroupID.x * TILE;
    for (uint l = 0; l < chunk.y; l += STEPS) {
        for (uint item = gl_LocalInvocationID.x; item < ITEMS; item += LOCAL_SIZE) {
            uint four = item % VECTORS, step = item / VECTORS;
            float faded = params[powers + chunk.y - 1 - min(l + step, chunk.y - 1)];
            put_first_four(step, four,
                           faded * four_elements_of_token(item, chunk.x, l, chunk.y, v_at, first_v, push.value_size));
            put_second_four(step, four, four_elements_of_token(item, chunk.x, l, chunk.y, k_at, first_k, push.key_size));
        }
        barrier();
        add_products();
        barrier();
    }
}

void main()
{
    uint head = gl_WorkGroupID.z % push.heads, key_head = head / push.key_value_group;
    uvec4 sequence = sequences[gl_WorkGroupID.z / push.heads];
    uint k_at = push.k_offset + key_head * push.key_size, v_at = push.v_offset + key_head * push.value_size;
    uint powers = push.powers + head * push.powers_stride;
    [[unroll]] for (uint n = 0; n < OWN; n++) sum[n] = is_there(n) ? state[place_of(sequence.z, head, n)] : vec4(0.0);
    for (uint c = sequence.x; c < sequence.x + sequence.y; c++) {
        uvec4 chunk = chunks[c];
        float fade = params[powers + chunk.y];
        [[unroll]] for (uint n = 0; n < OWN; n++) {
            if (is_there(n)) before[place_of(c, head, n)] = sum[n];
            sum[n] *= fade;
        }
        add_chunk(chunk, k_at, v_at, powers);
    }
    [[unroll]] for (uint n = 0; n < OWN; n++)
        if (is_there(n)) state[place_of(sequence.z, head, n)] = sum[n];
}
