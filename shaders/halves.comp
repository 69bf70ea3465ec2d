#version 450
// halves.comp: rows of fp32 as the f16 that matrix units read (halves.glsl), clamped to its range. An invocation takes
// eight inputs of a token; a workgroup's lie in one block.

layout(local_size_x_id = 0) in;

#include "halves.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { vec4 x_fours[]; }; // up to a multiple of 32 inputs
layout(std430, set = 0, binding = 1) writeonly buffer Output { uvec4 y_eights[]; };

layout(push_constant) uniform Push {
    uint x_stride; // floats, a multiple of four
    uint rows;
    uint room;
} push;

void main()
{
    const uint units = HALVES_BLOCK / 8;
    uint row = gl_GlobalInvocationID.x / units, i = gl_WorkGroupID.y * HALVES_BLOCK + gl_GlobalInvocationID.x % units * 8;
    if (row >= push.rows) return;
    uint at = (row * push.x_stride + i) / 4;
    y_eights[half_at(push.room, row, i) / 8] = uvec4(four_halves(x_fours[at]), four_halves(x_fours[at + 1]));
}
