#version 450
// rotate.comp: rotates queries and keys of chunks to their positions, in place; queries are also scaled by K^(-1/2).
// An invocation takes one pair (i, i + K/2) of one head of one row.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

#define PARAMS_BINDING 1
#include "positions.glsl"

layout(std430, set = 0, binding = 0) buffer Activations { float x[]; };
layout(set = 0, binding = 2) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

layout(push_constant) uniform Push {
    uint stride, q_offset, k_offset; // floats
    uint heads, key_value_heads, key_size;
    uint angles; // in params, units of vec2
    float query_scale;
} push;

void main()
{
    uint pairs = push.key_size / 2;
    uint head = gl_GlobalInvocationID.x / pairs, pair = gl_GlobalInvocationID.x % pairs, in_chunk = gl_WorkGroupID.y;
    uvec4 chunk = records[gl_WorkGroupID.z];
    if (head >= push.heads + push.key_value_heads || in_chunk >= chunk.y) return;
    bool is_query = head < push.heads;
    uint at = (chunk.x + in_chunk) * push.stride + pair +
              (is_query ? push.q_offset + head * push.key_size
                        : push.k_offset + (head - push.heads) * push.key_size);
    vec2 r = rotation_at(push.angles, pairs, chunk.z + in_chunk, pair);
    vec2 a = vec2(x[at], x[at + pairs]) * (is_query ? push.query_scale : 1.0);
    x[at] = a.x * r.x - a.y * r.y;
    x[at + pairs] = a.x * r.y + a.y * r.x;
}
