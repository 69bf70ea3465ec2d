#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// self_test_shuffles.comp: what linear_column.glsl's neighbours exchange. All of a workgroup's invocations take part, in
// subgroups as the driver makes them.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint NEIGHBOURS = 8; // a power of two, 64 at most

layout(std430, set = 0, binding = 0) readonly buffer Operands { float x[]; };
layout(std430, set = 0, binding = 1) buffer Result { float y[]; }; // different for every order of the neighbours

void main()
{
    uint i = gl_LocalInvocationID.x;
    float sum = x[i];
    [[unroll]] for (uint k = 1; k < 64; k *= 2)
        if (k < NEIGHBOURS) sum = 3.0 * sum + subgroupShuffleXor(sum, k);
    y[i] = sum;
}
