#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_scores_tiles.comp: as retention_scores.comp, in tiles of 64 rows by 64 columns, for GPUs without matrix units. All
// of a tile that has something on or below the diagonal is written.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128;

#include "tiles.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Scores { float scores[]; }; // [chunks][heads][chunk][chunk]
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

layout(push_constant) uniform Push {
    uint stride, q_offset, k_offset; // floats
    uint heads, key_value_group, key_size;
    uint chunk; // tokens that a chunk may have
    uint powers, powers_stride; // in params: decay^0..decay^chunk of each head
    uint column_groups; // of 64 tokens in the longest chunk
    float scale;
    uint first_output; // the first chunk of which the output is asked for
} push;

#include "retention_tiles.glsl"

void main()
{
    uint first_j = gl_WorkGroupID.x % push.column_groups * TILE, first_i = gl_WorkGroupID.x / push.column_groups * TILE;
    uint head = gl_WorkGroupID.y, c = push.first_output + gl_WorkGroupID.z;
    uvec4 chunk = records[c];
    if (first_i >= chunk.y || first_j > first_i) return;
    uint q_at = push.q_offset + head * push.key_size, k_at = push.k_offset + head / push.key_value_group * push.key_size;
    clear_sums();
    for (uint k = 0; k < push.key_size; k += STEPS) {
        for (uint item = gl_LocalInvocationID.x; item < ITEMS; item += LOCAL_SIZE) {
            uint four = item % (STEPS / 4), element = item / (STEPS / 4);
            put_first(four, element, four_steps_of_token(item, chunk.x, first_j, chunk.y, k_at, k, push.key_size));
            put_second(four, element, four_steps_of_token(item, chunk.x, first_i, chunk.y, q_at, k, push.key_size));
        }
        barrier();
        add_products();
        barrier();
    }
    uint j = first_j + own_first();
    for (uint n = 0; n < OWN; n++) {
        uint i = first_i + own_second() + n;
        if (i >= chunk.y) break;
        uint at = ((c * push.heads + head) * push.chunk + i) * push.chunk + j;
        [[unroll]] for (uint m = 0; m < 4; m++) {
            uint distance = j + m <= i ? i - j - m : 0;
            float decay = push.scale * params[push.powers + head * push.powers_stride + distance];
            if (j + m < chunk.y) scores[at + m] = j + m <= i ? sum[n][m] * decay : 0.0;
        }
    }
}
