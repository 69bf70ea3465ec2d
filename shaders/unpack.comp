#version 450
// unpack.comp: a matrix of 8- or 4-bit weights as f16, block by block as both lie in memory (weights.glsl): what many tokens
// are multiplied by is unpacked once so, instead of once for each tile of them. A workgroup takes one block.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 256;
layout(constant_id = 1) const uint FORMAT = 5;

#define WEIGHTS_BINDING 0
#include "weights.glsl"

layout(std430, set = 0, binding = 1) writeonly buffer Output { uvec4 y[]; };

void main()
{
    uint b = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, block = b * block_units(FORMAT);
    for (uint i = gl_LocalInvocationID.x; i < block_units(FORMAT_F16); i += LOCAL_SIZE) {
        uint row = i / 4, unit = i % 4, at = block * 4 + (FORMAT == FORMAT_Q8 ? row * 8 + unit * 2 : row * 4 + unit);
        uvec4 words = uvec4(weight_word(at), FORMAT == FORMAT_Q8 ? weight_word(at + 1) : 0, 0, 0);
        float scale = decode_scale(FORMAT, block, row);
        vec4 low = decode_unit(FORMAT, words, 0) * scale, high = decode_unit(FORMAT, words, 1) * scale;
        y[b * block_units(FORMAT_F16) + i] =
            uvec4(packHalf2x16(low.xy), packHalf2x16(low.zw), packHalf2x16(high.xy), packHalf2x16(high.zw));
    }
}
