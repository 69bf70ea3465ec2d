#version 450
#extension GL_EXT_control_flow_attributes : require
// embedding.comp: rows of the embedding matrix, times a scale, for a list of tokens. An invocation writes 32 values.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint FORMAT = 2;

#define WEIGHTS_BINDING 0
#include "weights.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Tokens { uint tokens[]; };
layout(std430, set = 0, binding = 2) coherent writeonly buffer Output { vec4 y[]; };

layout(push_constant) uniform Push {
    uint blocks;    // of 32 inputs
    uint count;     // tokens
    uint y_stride;  // floats, a multiple of 32
    float scale;
    uint first_row; // rows of the matrix that this binding holds: others are left to another dispatch
    uint rows;
} push;

void main()
{
    uint i = gl_GlobalInvocationID.x;
    uint index = i / push.blocks, b = i % push.blocks;
    if (index >= push.count) return;
    uint row = tokens[index] - push.first_row;
    if (row >= push.rows) return;
    uint block = (row / PANEL_ROWS * push.blocks + b) * block_units(FORMAT);
    float scale = push.scale * decode_scale(FORMAT, block, row % PANEL_ROWS);
    for (uint u = 0; u < ROW_UNITS; u++) {
        uvec4 unit = load_unit(block, row % PANEL_ROWS, u);
        for (uint i = 0; i < UNIT_VECTORS; i++)
            y[index * (push.y_stride >> 2) + b * 8 + u * UNIT_VECTORS + i] = decode_unit(FORMAT, unit, i) * scale;
    }
}
