#version 450
// fill.comp: fills memory with a word, beside other dispatches: commands that fill wait for these.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

layout(std430, set = 0, binding = 0) writeonly buffer Vectors { uvec4 vectors[]; };

layout(push_constant) uniform Push { uint count, word; } push;

void main()
{
    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += gl_NumWorkGroups.x * LOCAL_SIZE) vectors[i] = uvec4(push.word);
}
