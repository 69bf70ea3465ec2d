#version 450
#extension GL_EXT_control_flow_attributes : require
// copy.comp: copies vectors of 16 bytes within a buffer. Some GPUs leave commands that copy to units of their own, which
// move a fraction of what kernels do.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

layout(std430, set = 0, binding = 0) buffer Vectors { uvec4 vectors[]; };

layout(push_constant) uniform Push { uint from, to, count; } push;

const uint EACH = 4; // of an invocation, all under way at once

void main()
{
    uint first = gl_WorkGroupID.x * EACH * LOCAL_SIZE + gl_LocalInvocationID.x;
    uvec4 v[EACH];
    [[unroll]] for (uint i = 0; i < EACH; i++) v[i] = vectors[push.from + min(first + i * LOCAL_SIZE, push.count - 1)];
    [[unroll]] for (uint i = 0; i < EACH; i++)
        if (first + i * LOCAL_SIZE < push.count) vectors[push.to + first + i * LOCAL_SIZE] = v[i];
}
