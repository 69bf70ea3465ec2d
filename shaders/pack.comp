#version 450
#extension GL_EXT_control_flow_attributes : require
// pack.comp: puts rows of a matrix, as a checkpoint holds them, into panels (weights.glsl), converting or quantising
// on the way. An invocation takes one block of 32 inputs of one row. The panels are zero beforehand.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint SOURCE = 2;
layout(constant_id = 2) const uint FORMAT = 2;

#include "weights.glsl"

const uint SOURCE_F32 = 1, SOURCE_F16 = 2, SOURCE_BF16 = 3;
// Bytes, or two nibbles in a byte, the first in its lower half, each row from a whole byte on; and f16 scales a block.
const uint SOURCE_Q8 = 4, SOURCE_Q4 = 5;
const uint SOURCE_RANDOM = 6; // uniform in [-amplitude, amplitude], from a hash of seed, row and input

layout(std430, set = 0, binding = 0) readonly buffer Source { uint source[]; };
layout(std430, set = 0, binding = 1) buffer Panels { uint panels[]; };

// Sources have the numbers of formats. Then weights that are quantised stay as they are, and their scales.
const bool KEEPS = SOURCE == FORMAT;

layout(push_constant) uniform Push {
    uint first;         // first source row of this dispatch
    uint rows;          // source rows of this dispatch; row 0 of them starts at source[0]
    uint inputs;        // columns of the source
    uint blocks;        // of 32 inputs
    uint to_row;        // panel row of source row 0
    uint panel_step;    // 1, or 2 where two matrices alternate by panels
    uint panel_offset;  // 0 or 1 of those two
    uint rotation_head; // 0, or K: row 2i of each K becomes row i and 2i+1 becomes i + K/2
    uint scales;        // SOURCE_Q8, SOURCE_Q4: where in source the scales begin, in words
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

// Without its scale.
int quantised_at(uint row, uint input_index)
{
    if (SOURCE == SOURCE_Q8) return byte_at(row * push.inputs + input_index);
    int both = byte_at(row * ((push.inputs + 1) / 2) + input_index / 2);
    return (both >> 4 * (input_index & 1u) & 15) - 8;
}

// Of a block, where half_at finds it.
uint scale_index(uint row, uint b)
{
    return push.scales * 2 + row * push.blocks + b;
}

// A weight; where it is kept, without its scale.
float source_at(uint row, uint input_index)
{
    if (input_index >= push.inputs) return 0.0;
    uint index = row * push.inputs + input_index;
    if (SOURCE == SOURCE_F32) return uintBitsToFloat(source[index]);
    if (SOURCE == SOURCE_F16) return half_at(index);
    if (SOURCE == SOURCE_BF16) return uintBitsToFloat(source[index >> 1] << ((index & 1u) == 0 ? 16 : 0) & 0xffff0000u);
    if (SOURCE == SOURCE_Q8 || SOURCE == SOURCE_Q4)
        return float(quantised_at(row, input_index)) * (KEEPS ? 1.0 : half_at(scale_index(row, input_index / 32)));
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

// Rounded to nearest even by integers: how packHalf2x16 rounds is the device's choice, and a file that was quantised
// elsewhere (samples/quantize) shall have the same bits. A zero has no sign.
uint round_to_f16(float value)
{
    uint bits = floatBitsToUint(value), exponent = bits >> 23 & 255u, mantissa = (bits & 0x7fffffu) | 0x800000u;
    uint shift = exponent < 113 ? min(126 - exponent, 25) : 13; // below 2^-14 in units of 2^-24
    uint rounded = (mantissa + (1u << (shift - 1)) - 1 + (mantissa >> shift & 1u)) >> shift;
    if (exponent >= 113) rounded = min(rounded + ((exponent - 113) << 10), 0x7c00u);
    return rounded == 0 ? 0 : rounded | (bits >> 16 & 0x8000u);
}

// Puts the scale of a row into its block; returns it as it will be read back, or 1 where the weights come without it.
float write_scale(uint block, uint row, float scale, uint source_row, uint b)
{
    uint index = scale_index(source_row, b);
    uint bits = KEEPS ? source[index >> 1] >> (index & 1u) * 16 & 0xffffu : round_to_f16(scale);
    atomicOr(panels[block * 4 + scale_word(FORMAT, row)], (row & 1u) == 0 ? bits : bits << 16);
    return KEEPS ? 1.0 : unpackHalf2x16(bits).x;
}

// w / scale, rounded to the nearest whole number, or of two to the even one. The device's quotient may be a little off;
// what remains of w is exact, and tells which way to go from there.
float round_to_steps(float w, float scale)
{
    if (scale == 0.0) return 0.0;
    float steps = roundEven(w / scale), rest = w - steps * scale, half_step = 0.5 * abs(scale);
    bool odd = fract(0.5 * steps) != 0.0;
    if (abs(rest) > half_step || (abs(rest) == half_step && odd)) steps += (rest < 0.0) == (scale < 0.0) ? 1.0 : -1.0;
    return steps;
}

void write_q8(uint block, uint row, float w[32], uint source_row, uint b)
{
    float largest = 0.0;
    [[unroll]] for (uint i = 0; i < 32; i++) largest = max(largest, abs(w[i]));
    float scale = write_scale(block, row, largest / 127.0, source_row, b);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint word = 0;
        [[unroll]] for (uint k = 0; k < 4; k++) {
            int q = int(clamp(round_to_steps(w[i * 4 + k], scale), -127.0, 127.0));
            word |= uint(q & 255) << (8 * k);
        }
        panels[(block + unit_in_block(FORMAT, row, i / 4)) * 4 + i % 4] = word;
    }
}

void write_q4(uint block, uint row, float w[32], uint source_row, uint b)
{
    float extreme = 0.0;
    [[unroll]] for (uint i = 0; i < 32; i++)
        if (abs(w[i]) > abs(extreme)) extreme = w[i];
    float scale = write_scale(block, row, extreme * -0.125, source_row, b);
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint word = 0;
        [[unroll]] for (uint k = 0; k < 8; k++)
            word |= uint(clamp(round_to_steps(w[i * 8 + k], scale) + 8.0, 0.0, 15.0)) << (4 * k);
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
        write_q4(block, row, w, source_row, b);
    }
}
