#version 450
// rotate.comp: rotates the pairs of heads to their rows' positions, in place, and scales them (retnet.md 1.2, 1.3):
//
//     a' = scale (a cos - b sin)        b' = scale (a sin + b cos)
//
// An invocation takes one pair of one head of one row.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint INTERLEAVED = 0; // pairs are neighbours (2i, 2i + 1), not (i, i + K/2)
layout(constant_id = 2) const uint DIRECT = 0; // the table is [positions][pairs] of (cos, sin), not in digits

#define PARAMS_BINDING 1
#include "positions.glsl"

layout(std430, set = 0, binding = 0) buffer Activations { float x[]; };
layout(set = 0, binding = 2) uniform Records { uvec4 records[1024]; }; // {row, length, position, -}

layout(push_constant) uniform Push {
    uint stride, offset; // floats
    uint heads, key_size;
    uint angles; // in params, units of vec2
    float scale;
} push;

void main()
{
    uint pairs = push.key_size / 2;
    uint head = gl_GlobalInvocationID.x / pairs, pair = gl_GlobalInvocationID.x % pairs, in_record = gl_WorkGroupID.y;
    uvec4 record = records[gl_WorkGroupID.z];
    if (head >= push.heads || in_record >= record.y) return;
    uint position = record.z + in_record;
    uint head_at = push.offset + (record.x + in_record) * push.stride + head * push.key_size;
    uint low = head_at + (INTERLEAVED != 0 ? 2 * pair : pair), high = low + (INTERLEAVED != 0 ? 1 : pairs);
    vec2 r = DIRECT != 0 ? param_pair(push.angles + position * pairs + pair)
                         : rotation_at(push.angles, pairs, position, pair);
    vec2 a = vec2(x[low], x[high]) * push.scale;
    x[low] = a.x * r.x - a.y * r.y;
    x[high] = a.x * r.y + a.y * r.x;
}
