#version 450
#extension GL_EXT_control_flow_attributes : require
// read.comp: reads memory and does nothing with it, for samples/bench, which compares kernels with how fast that is.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

layout(std430, set = 0, binding = 0) buffer Vectors { uvec4 vectors[]; };

layout(push_constant) uniform Push { uint count; } push; // a multiple of EACH * LOCAL_SIZE

const uint EACH = 8; // of an invocation at a time, all under way at once

void main()
{
    uvec4 all = uvec4(0);
    for (uint first = gl_WorkGroupID.x * EACH * LOCAL_SIZE; first < push.count; first += gl_NumWorkGroups.x * EACH * LOCAL_SIZE)
        [[unroll]] for (uint i = 0; i < EACH; i++) all |= vectors[first + i * LOCAL_SIZE + gl_LocalInvocationID.x];
    // Never so; the compiler cannot know.
    if (all == uvec4(0x01234567u)) vectors[0] = all;
}
