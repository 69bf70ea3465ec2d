#version 450
#extension GL_EXT_spirv_intrinsics : require
// self_test_dots.comp: products of bytes as linear_dots.glsl adds them up.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

layout(std430, set = 0, binding = 0) readonly buffer Operands { ivec2 operands[]; }; // four bytes each
layout(std430, set = 0, binding = 1) buffer Result { float y[]; };

#include "dot_bytes.glsl"

void main()
{
    uint i = gl_LocalInvocationID.x;
    y[i] = float(dot_bytes(operands[i].x, operands[i].y, 0)) + 1.0;
}
