#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_transpose.comp: keys and values of chunks for retention on matrix units (retention_scratch.glsl), tokens
// innermost: rotated, faded, as f16 and padded. An invocation takes ROWS tokens of one pair (i, i + K/2) of keys or of
// one value.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint HALVES = 0; // the input is f16

const uint ROWS = 16;

#define PARAMS_BINDING 2
#include "positions.glsl"
#include "retention_scratch.glsl"
#include "halves.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 0) readonly buffer InputPairs { uint x_pairs[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Scratch { uvec4 scratch[]; }; // from key_in on
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

float input_at(uint row, uint i)
{
    if (HALVES == 0) return x[row * push.x_stride + i];
    uint at = half_at(push.x_stride, row, i);
    vec2 pair = unpackHalf2x16(x_pairs[at / 2]);
    return (at & 1u) == 0 ? pair.x : pair.y;
}

// Tokens from first_row on of one row of an array.
void store(uint array, uint rows, uint row, uint first_row, float value[ROWS], float scale[ROWS])
{
    [[unroll]] for (uint i = 0; i < ROWS / 8; i++) {
        uvec4 eight;
        [[unroll]] for (uint k = 0; k < 4; k++) {
            uint r = i * 8 + k * 2;
            vec2 pair = vec2(value[r] * scale[r], value[r + 1] * scale[r + 1]);
            eight[k] = packHalf2x16(clamp(pair, -65504.0, 65504.0));
        }
        scratch[array + unit_at(rows, row, first_row / 8 + i) - push.key_in] = eight;
    }
}

void transpose_keys(uint c, uint key_head, uint i, uint first_row)
{
    uvec4 chunk = records[c];
    uint pairs = push.key_size / 2, group = push.heads / push.key_value_heads;
    // The items after the pairs are the padding.
    uint low_at = i < pairs ? i : i + pairs, high_at = i < pairs ? i + pairs : low_at;
    float low[ROWS], high[ROWS], scale[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint row = first_row + r;
        low[r] = high[r] = 0.0;
        if (i >= pairs || row >= chunk.y) continue;
        uint from = push.k_offset + key_head * push.key_size + i;
        vec2 turn = rotation_at(push.angles, pairs, chunk.z + row, i);
        float a = input_at(chunk.x + row, from), b = input_at(chunk.x + row, from + pairs);
        low[r] = a * turn.x - b * turn.y;
        high[r] = a * turn.y + b * turn.x;
    }
    for (uint head = key_head * group; head < (key_head + 1) * group; head++) {
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            uint row = min(first_row + r, chunk.y - 1);
            scale[r] = params[push.powers + head * (CHUNK + 1) + chunk.y - 1 - row];
        }
        store(key_in_at(c, head), push.padded_key, low_at, first_row, low, scale);
        store(key_in_at(c, head), push.padded_key, high_at, first_row, high, scale);
    }
}

void transpose_values(uint c, uint key_head, uint i, uint first_row)
{
    uvec4 chunk = records[c];
    float v[ROWS], scale[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint row = first_row + r;
        bool inside = row < chunk.y && i < push.value_size;
        v[r] = inside ? input_at(chunk.x + row, push.v_offset + key_head * push.value_size + i) : 0.0;
        scale[r] = 1.0;
    }
    store(value_at(c, key_head), push.padded_value, i, first_row, v, scale);
}

void main()
{
    uint item = gl_GlobalInvocationID.x, first_row = gl_WorkGroupID.y * ROWS, c = gl_WorkGroupID.z;
    uint head_items = push.padded_key - push.key_size / 2, key_items = push.key_value_heads * head_items;
    if (item < key_items)
        transpose_keys(c, item / head_items, item % head_items, first_row);
    else if (item - key_items < push.key_value_heads * push.padded_value)
        transpose_values(c, (item - key_items) / push.padded_value, (item - key_items) % push.padded_value, first_row);
}
