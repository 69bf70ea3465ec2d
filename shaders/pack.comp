#version 450
#extension GL_EXT_control_flow_attributes : require
// pack.comp: puts rows of a matrix, as a checkpoint holds them, into panels (weights.glsl), converting or quantising
// on the way. An invocation takes one block of 32 inputs of one row. The panels are zero beforehand.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint SOURCE = 2;
layout(constant_id = 2) const uint FORMAT = 2;

#include "weights.glsl"

const uint SOURCE_F32 = 1, SOURCE_F16 = 2, SOURCE_BF16 = 3, SOURCE_Q8 = 4; // Q8: bytes, and f16 scales a block
const uint SOURCE_RANDOM = 6; // uniform in [-amplitude, amplitude], from a hash of seed, row and input

layout(std430, set = 0, binding = 0) readonly buffer Source { uint source[]; };
layout(std430, set = 0, binding = 1) buffer Panels { uint panels[]; };

layout(push_constant) uniform Push {
    uint first;         // first source row of this dispatch
    uint rows;          // source rows of this dispatch; row 0 of them starts at source[0]
    uint inputs;        // columns of the source
    uint blocks;        // of 32 inputs
    uint to_row;        // panel row of source row 0
    uint panel_step;    // 1, or 2 where two matrices alternate by panels
    uint panel_offset;  // 0 or 1 of those two
    uint rotation_head; // 0, or K: row 2i of each K becomes row i and 2i+1 becomes i + K/2
    uint scales;        // SOURCE_Q8: where in source the scales begin, in words
    uint seed;
    float amplitude;
} push;

uint hash(uint v) // PCG
{
    v = v * 747796405u + 2891336453u;
    v = ((v >> ((v >> 28) + 4u)) ^ v) * 277803737u;
    return (v >> 22) ^ v;
}

float half_at(uint index)
{
    vec2 pair = unpackHalf2x16(source[index >> 1]);
    return (index & 1u) == 0 ? pair.x : pair.y;
}

int byte_at(uint index)
{
    return bitfieldExtract(int(source[index >> 2]), int(index & 3u) * 8, 8);
}

float source_at(uint row, uint input_index)
{
    if (input_index >= push.inputs) return 0.0;
    uint index = row * push.inputs + input_index;
    if (SOURCE == SOURCE_F32) return uintBitsToFloat(source[index]);
    if (SOURCE == SOURCE_F16) return half_at(index);
    if (SOURCE == SOURCE_BF16) return uintBitsToFloat(source[index >> 1] << ((index & 1u) == 0 ? 16 : 0) & 0xffff0000u);
    if (SOURCE == SOURCE_Q8)
        return float(byte_at(index)) * half_at(push.scales * 2 + row * push.blocks + input_index / 32);
    uint h = hash(hash(push.seed + push.first + row) + input_index);
    return (float(h >> 8) * (1.0 / 8388608.0) - 1.0) * push.amplitude;
}

uint destination_row(uint row)
{
    if (push.rotation_head == 0) return push.to_row + row;
    uint in_head = row % push.rotation_head;
    return push.to_row + row - in_head + (in_head & 1u) * (push.rotation_head / 2) + in_head / 2;
}

uint round_to_bf16(float value)
{
    uint bits = floatBitsToUint(value);
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

// The scale as it will be read back, and its place in the block.
float write_scale(uint block, uint row, float scale)
{
    uint bits = packHalf2x16(vec2(scale, 0.0)) & 0xffffu;
    atomicOr(panels[block * 4 + scale_word(FORMAT, row)], (row & 1u) == 0 ? bits : bits << 16);
    return unpackHalf2x16(bits).x;
}

void write_q8(uint block, uint row, float w[32], uint source_row, uint b)
{
    float largest = 0.0;
    [[unroll]] for (uint i = 0; i < 32; i++) largest = max(largest, abs(w[i]));
    float wanted = SOURCE == SOURCE_Q8 ? half_at(push.scales * 2 + source_row * push.blocks + b) : largest / 127.0;
    float scale = write_scale(block, row, wanted);
    float inverse = scale > 0.0 ? 1.0 / scale : 0.0;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint word = 0;
        [[unroll]] for (uint k = 0; k < 4; k++) {
            int q = int(clamp(roundEven(w[i * 4 + k] * inverse), -127.0, 127.0));
            word |= uint(q & 255) << (8 * k);
        }
        panels[(block + unit_in_block(FORMAT, row, i / 4)) * 4 + i % 4] = word;
    }
}

void write_q4(uint block, uint row, float w[32])
{
    float extreme = 0.0;
    [[unroll]] for (uint i = 0; i < 32; i++)
        if (abs(w[i]) > abs(extreme)) extreme = w[i];
    float scale = write_scale(block, row, extreme / -8.0);
    float inverse = scale != 0.0 ? 1.0 / scale : 0.0;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint word = 0;
        [[unroll]] for (uint k = 0; k < 8; k++)
            word |= uint(clamp(roundEven(w[i * 8 + k] * inverse) + 8.0, 0.0, 15.0)) << (4 * k);
        panels[(block + row) * 4 + i] = word;
    }
}

void main()
{
    uint source_row = gl_GlobalInvocationID.x / push.blocks, b = gl_GlobalInvocationID.x % push.blocks;
    if (source_row >= push.rows) return;
    uint to = destination_row(push.first + source_row), row = to % PANEL_ROWS;
    uint panel = to / PANEL_ROWS * push.panel_step + push.panel_offset;
    uint block = (panel * push.blocks + b) * block_units(FORMAT);

    float w[32];
    [[unroll]] for (uint i = 0; i < 32; i++) w[i] = source_at(source_row, b * 32 + i);
    if (FORMAT == FORMAT_F32) {
        [[unroll]] for (uint i = 0; i < 32; i++) panels[(block + unit_in_block(FORMAT, row, i / 4)) * 4 + i % 4] = floatBitsToUint(w[i]);
    } else if (FORMAT == FORMAT_F16) {
        [[unroll]] for (uint i = 0; i < 16; i++)
            panels[(block + unit_in_block(FORMAT, row, i / 4)) * 4 + i % 4] = packHalf2x16(vec2(w[2 * i], w[2 * i + 1]));
    } else if (FORMAT == FORMAT_BF16) {
        [[unroll]] for (uint i = 0; i < 16; i++)
            panels[(block + unit_in_block(FORMAT, row, i / 4)) * 4 + i % 4] =
                round_to_bf16(w[2 * i]) | round_to_bf16(w[2 * i + 1]) << 16;
    } else if (FORMAT == FORMAT_Q8) {
        write_q8(block, row, w, source_row, b);
    } else {
        write_q4(block, row, w);
    }
}
