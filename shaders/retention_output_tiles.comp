#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_output_tiles.comp: as retention_output.comp, in tiles of 64 tokens by 64 values, for GPUs without matrix units.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128;

#include "tiles.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) readonly buffer Scratch { float scratch[]; }; // scores and states before chunks
layout(std430, set = 0, binding = 2) readonly buffer ScratchFours { vec4 scratch_fours[]; };
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

#include "retention_tiles.glsl"

// Four values of row k of the state before the chunk, whose rows are padded to fours.
vec4 four_of_state(uint state_at, uint k, uint v)
{
    bool there = k < push.key_size && v < push.value_stride;
    return there ? scratch_fours[(state_at + k * push.value_stride + v) / 4] : vec4(0.0);
}

// Scores of row i with four tokens from l on.
vec4 four_scores(uint score_at, uint tokens, uint i, uint l)
{
    vec4 four = vec4(0.0);
    [[unroll]] for (uint n = 0; n < 4; n++)
        if (i < tokens && l + n < tokens) four[n] = scratch[score_at + i * push.chunk + l + n];
    return four;
}

void main()
{
    uint first_v = gl_WorkGroupID.x * TILE, first_i = gl_WorkGroupID.y * TILE;
    uint head = gl_WorkGroupID.z % push.heads, c = push.first_output + gl_WorkGroupID.z / push.heads;
    uvec4 chunk = records[c];
    if (first_i >= chunk.y) return;
    uint score_at = (c * push.heads + head) * push.chunk * push.chunk;
    uint state_at = push.states_before + (c * push.heads + head) * push.key_size * push.value_stride;
    uint q_at = push.q_offset + head * push.key_size, v_at = push.v_offset + head / push.key_value_group * push.value_size;

    clear_sums();
    for (uint k = 0; k < push.key_size; k += STEPS) {
        for (uint item = gl_LocalInvocationID.x; item < ITEMS; item += LOCAL_SIZE) {
            put_first_four(item / VECTORS, item % VECTORS,
                           four_of_state(state_at, k + item / VECTORS, first_v + item % VECTORS * 4));
            put_second(item % (STEPS / 4), item / (STEPS / 4),
                       four_steps_of_token(item, chunk.x, first_i, chunk.y, q_at, k, push.key_size));
        }
        barrier();
        add_products();
        barrier();
    }
    [[unroll]] for (uint n = 0; n < OWN; n++) {
        uint i = min(first_i + own_second() + n, chunk.y - 1);
        sum[n] *= push.scale * params[push.powers + head * push.powers_stride + i + 1];
    }
    for (uint l = 0; l < min(first_i + TILE, chunk.y); l += STEPS) {
        for (uint item = gl_LocalInvocationID.x; item < ITEMS; item += LOCAL_SIZE) {
            uint four = item % (STEPS / 4), element = item / (STEPS / 4);
            put_first_four(item / VECTORS, item % VECTORS,
                           four_elements_of_token(item, chunk.x, l, chunk.y, v_at, first_v, push.value_size));
            put_second(four, element, four_scores(score_at, chunk.y, first_i + element, l + four * 4));
        }
        barrier();
        add_products();
        barrier();
    }
    uint v = first_v + own_first();
    [[unroll]] for (uint n = 0; n < OWN; n++) {
        uint i = first_i + own_second() + n;
        if (i >= chunk.y) break;
        uint at = push.y_offset + (chunk.x + i) * push.y_stride + head * push.value_size + v;
        [[unroll]] for (uint m = 0; m < 4; m++)
            if (v + m < push.value_size) y[at + m] = sum[n][m];
    }
}
