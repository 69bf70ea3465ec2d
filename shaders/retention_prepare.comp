#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_prepare.comp: queries and keys of chunks for retention on matrix units (retention_scratch.glsl): rotated,
// scaled, as f16 and padded. An invocation takes four neighbouring pairs (i, i + K/2) of one head of one row.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

#define PARAMS_BINDING 2
#include "positions.glsl"
#include "retention_scratch.glsl"
#include "halves.glsl"

layout(constant_id = 1) const uint HALVES = 0; // the input is f16

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 0) readonly buffer InputPairs { uint x_pairs[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Scratch { uvec2 scratch[]; };
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

float input_at(uint row, uint i)
{
    if (HALVES == 0) return x[row * push.x_stride + i];
    uint at = half_at(push.x_stride, row, i);
    vec2 pair = unpackHalf2x16(x_pairs[at / 2]);
    return (at & 1u) == 0 ? pair.x : pair.y;
}

// Four values of a row, number `four` of it.
void store(uint array, uint row, uint four, vec4 value)
{
    value = clamp(value, -65504.0, 65504.0);
    scratch[(array + unit_at(CHUNK, row, four / 2)) * 2 + four % 2] = uvec2(packHalf2x16(value.xy), packHalf2x16(value.zw));
}

// Four pairs at `pair`, rotated: the lower halves and the upper ones.
void rotated(uint from_row, uint from, uint position, uint pair, float scale, out vec4 low, out vec4 high)
{
    uint pairs = push.key_size / 2;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        vec2 r = rotation_at(push.angles, pairs, position, pair + i) * scale;
        float a = input_at(from_row, from + pair + i), b = input_at(from_row, from + pair + i + pairs);
        low[i] = a * r.x - b * r.y;
        high[i] = a * r.y + b * r.x;
    }
}

void main()
{
    uint row = gl_WorkGroupID.y, c = gl_WorkGroupID.z, item = gl_GlobalInvocationID.x;
    uvec4 chunk = records[c];
    bool inside = row < chunk.y;
    uint fours = push.padded_key / 4, half_fours = push.key_size / 8; // of a row; K is a multiple of 8
    // Items of a head: its pairs, then the padding, both by fours.
    uint head_items = fours - half_fours;
    uint query_items = push.heads * head_items, key_items = push.key_value_heads * head_items;
    vec4 low = vec4(0.0), high = vec4(0.0);
    if (item < query_items) {
        uint head = item / head_items, i = item % head_items;
        bool pairs = i < half_fours;
        uint first = pairs ? i : i + half_fours, second = pairs ? i + half_fours : first;
        if (pairs && inside) rotated(chunk.x + row, push.q_offset + head * push.key_size, chunk.z + row, i * 4, push.query_scale, low, high);
        store(query_at(c, head), row, first, low);
        store(query_at(c, head), row, second, high);
        return;
    }
    item -= query_items;
    if (item >= key_items) return;
    uint key_head = item / head_items, i = item % head_items;
    bool pairs = i < half_fours;
    uint first = pairs ? i : i + half_fours, second = pairs ? i + half_fours : first;
    if (pairs && inside) rotated(chunk.x + row, push.k_offset + key_head * push.key_size, chunk.z + row, i * 4, 1.0, low, high);
    store(key_at(c, key_head), row, first, low);
    store(key_at(c, key_head), row, second, high);
}
