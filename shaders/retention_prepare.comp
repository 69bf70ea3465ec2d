#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_prepare.comp: queries, keys and values of chunks for retention on matrix units (retention_scratch.glsl):
// rotated, scaled, as f16 and padded; keys and values also, or only, with tokens innermost, by way of shared memory.
//
// A workgroup takes all tokens of a chunk and, of several heads, eight fours of pairs (i, i + K/2) of queries or keys, or of
// one head, 64 values. The fours behind the pairs are the padding, of which there is no second one.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 256;
layout(constant_id = 1) const uint HALVES = 0; // the input is f16
layout(constant_id = 2) const uint FOURS = 0;  // queries, keys and values begin at multiples of four
layout(constant_id = 3) const uint TURNED = 0; // pairs of queries and keys lie turned (retention_scratch.glsl)
layout(constant_id = 4) const uint ROTATE = 1; // else queries and keys come rotated

#define PARAMS_BINDING 2
#include "positions.glsl"
#include "retention_scratch.glsl"
#include "halves.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 0) readonly buffer InputFours { vec4 x_fours[]; };
layout(std430, set = 0, binding = 0) readonly buffer InputPairs { uint x_pairs[]; };
layout(std430, set = 0, binding = 0) readonly buffer InputHalfFours { uvec2 x_half_fours[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Scratch { uvec4 scratch[]; };
layout(std430, set = 0, binding = 1) writeonly buffer ScratchFours { uvec2 scratch_fours[]; };
layout(std430, set = 0, binding = 1) writeonly buffer ScratchPairs { uint scratch_pairs[]; };
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

const uint HEADS = 2, FOUR_ITEMS = 8 * CHUNK, STEPS = (FOUR_ITEMS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint COLUMNS = 64, STRIDE = CHUNK + 1;

shared float tile[COLUMNS * STRIDE]; // [columns][tokens]

vec2 turns[STEPS * 4]; // this invocation's rotations; global, since a parameter of a specialised size fails on one driver

float value_in(uint row, uint i)
{
    if (HALVES == 0) return x[row * push.x_stride + i];
    uint at = half_at(push.x_stride, row, i);
    vec2 pair = unpackHalf2x16(x_pairs[at / 2]);
    return (at & 1u) == 0 ? pair.x : pair.y;
}

vec4 four_in(uint row, uint i)
{
    if (FOURS == 0) return vec4(value_in(row, i), value_in(row, i + 1), value_in(row, i + 2), value_in(row, i + 3));
    if (HALVES == 0) return x_fours[(row * push.x_stride + i) / 4];
    uvec2 four = x_half_fours[half_at(push.x_stride, row, i) / 4];
    return vec4(unpackHalf2x16(four.x), unpackHalf2x16(four.y));
}

// Number `four` of a row's fours.
void store_four(uint array, uint row, uint four, vec4 value)
{
    if (TURNED == 0) {
        scratch_fours[(array + unit_at(CHUNK, row, four / 2)) * 2 + four % 2] = four_halves(value);
        return;
    }
    uint at = (array + unit_at(CHUNK, row, four / 8 * 4 + four % 2 * 2)) * 4 + four % 8 / 2;
    scratch_pairs[at] = two_halves(value.xy);
    scratch_pairs[at + 4] = two_halves(value.zw);
}

void put(uint column, uint token, vec4 value)
{
    [[unroll]] for (uint i = 0; i < 4; i++) tile[(column + i) * STRIDE + token] = value[i];
}

// A column's tokens from `first` on, each times its scale.
uvec4 eight_of(uint column, uint first, float scale[8])
{
    uvec4 eight;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint at = column * STRIDE + first + i * 2;
        eight[i] = two_halves(vec2(tile[at] * scale[i * 2], tile[at + 1] * scale[i * 2 + 1]));
    }
    return eight;
}

// Of queries or keys of a head: the workgroup's first, how many there are, and those that are pairs.
struct Fours {
    uint first, count, pairs;
};

bool is_pair(Fours f, uint four) { return four < f.pairs; }
uint low_four(Fours f, uint four) { return is_pair(f, four) ? four : four + f.pairs; }
uint high_four(Fours f, uint four) { return four + f.pairs; }

void find_rotations(Fours f, uvec4 chunk)
{
    if (ROTATE == 0) return;
    [[unroll]] for (uint s = 0; s < STEPS; s++) {
        uint item = s * LOCAL_SIZE + gl_LocalInvocationID.x, row = item / 8, four = f.first + item % 8;
        [[unroll]] for (uint i = 0; i < 4; i++)
            turns[s * 4 + i] = item < FOUR_ITEMS && is_pair(f, four) && row < chunk.y
                                   ? rotation_at(push.angles, push.key_size / 2, chunk.z + row, four * 4 + i)
                                   : vec2(0.0);
    }
}

// Rotates the workgroup's fours of one head. With `keep` they also go to the tile, the second ones 32 columns behind.
void rotate_head(Fours f, uvec4 chunk, uint offset, uint array, float scale, bool keep)
{
    [[unroll]] for (uint s = 0; s < STEPS; s++) {
        uint item = s * LOCAL_SIZE + gl_LocalInvocationID.x, row = item / 8, four = f.first + item % 8;
        if (item >= FOUR_ITEMS || four >= f.count) continue;
        vec4 low = vec4(0.0), high = vec4(0.0);
        if (is_pair(f, four) && row < chunk.y) {
            vec4 a = four_in(chunk.x + row, offset + four * 4) * scale;
            vec4 b = four_in(chunk.x + row, offset + four * 4 + push.key_size / 2) * scale;
            [[unroll]] for (uint i = 0; i < 4; i++) {
                vec2 turn = ROTATE != 0 ? turns[s * 4 + i] : vec2(1.0, 0.0);
                low[i] = a[i] * turn.x - b[i] * turn.y;
                high[i] = a[i] * turn.y + b[i] * turn.x;
            }
        }
        store_four(array, row, low_four(f, four), low);
        if (is_pair(f, four)) store_four(array, row, high_four(f, four), high);
        if (!keep) continue;
        put(item % 8 * 4, row, low);
        put(32 + item % 8 * 4, row, high);
    }
}

// The tile's keys of one head, faded.
void store_keys_in(Fours f, uvec4 chunk, uint array, uint head)
{
    uint powers = push.powers + head * push.powers_stride;
    for (uint item = gl_LocalInvocationID.x; item < COLUMNS * CHUNK / 8; item += LOCAL_SIZE) {
        uint unit = item / (COLUMNS * 4) * 4 + item % 4, column = item / 4 % COLUMNS, four = f.first + column % 32 / 4;
        if (four >= f.count || (column >= 32 && !is_pair(f, four))) continue;
        float fade[8];
        [[unroll]] for (uint i = 0; i < 8; i++) fade[i] = params[powers + chunk.y - 1 - min(unit * 8 + i, chunk.y - 1)];
        uint row = (column < 32 ? low_four(f, four) : high_four(f, four)) * 4 + column % 4;
        scratch[array + unit_at(push.padded_key, row, unit)] = eight_of(column, unit * 8, fade);
    }
}

void prepare_keys(Fours f, uint c, uint first_head)
{
    uvec4 chunk = records[c];
    uint group = push.heads / push.key_value_heads;
    find_rotations(f, chunk);
    for (uint key_head = first_head; key_head < min(first_head + HEADS, push.key_value_heads); key_head++) {
        rotate_head(f, chunk, push.k_offset + key_head * push.key_size, key_at(c, key_head), 1.0, true);
        barrier();
        for (uint head = key_head * group; head < (key_head + 1) * group; head++)
            store_keys_in(f, chunk, key_in_at(c, head), head);
        barrier();
    }
}

void prepare_queries(Fours f, uint c, uint first_head)
{
    uvec4 chunk = records[c];
    find_rotations(f, chunk);
    for (uint head = first_head; head < min(first_head + HEADS, push.heads); head++)
        rotate_head(f, chunk, push.q_offset + head * push.key_size, query_at(c, head), push.query_scale, false);
}

void prepare_values(uint c, uint key_head, uint first_column)
{
    uvec4 chunk = records[c];
    float ones[8] = float[](1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0);
    uint from = push.v_offset + key_head * push.value_size + first_column;
    for (uint item = gl_LocalInvocationID.x; item < COLUMNS / 4 * CHUNK; item += LOCAL_SIZE) {
        // By blocks of 32 values, as they lie in memory.
        uint row = item / 8 % CHUNK, column = (item / (8 * CHUNK) * 8 + item % 8) * 4;
        vec4 value = vec4(0.0);
        if (row < chunk.y && first_column + column + 4 <= push.value_size)
            value = four_in(chunk.x + row, from + column);
        else
            [[unroll]] for (uint i = 0; i < 4; i++)
                if (row < chunk.y && first_column + column + i < push.value_size)
                    value[i] = value_in(chunk.x + row, from + column + i);
        put(column, row, value);
    }
    barrier();
    for (uint item = gl_LocalInvocationID.x; item < COLUMNS * CHUNK / 8; item += LOCAL_SIZE) {
        uint unit = item / (COLUMNS * 4) * 4 + item % 4, column = item / 4 % COLUMNS;
        scratch[value_at(c, key_head) + unit_at(push.padded_value, first_column + column, unit)] =
            eight_of(column, unit * 8, ones);
    }
}

void main()
{
    uint part = gl_WorkGroupID.x, c = gl_WorkGroupID.y;
    Fours f = Fours(0, push.padded_key / 4 - push.key_size / 8, push.key_size / 8);
    uint parts = (f.count + 7) / 8, query_parts = parts * ((push.heads + HEADS - 1) / HEADS);
    uint key_parts = parts * ((push.key_value_heads + HEADS - 1) / HEADS);
    if (part < query_parts + key_parts) {
        uint own = part < query_parts ? part : part - query_parts;
        f.first = own % parts * 8;
        if (part < query_parts)
            prepare_queries(f, c, own / parts * HEADS);
        else
            prepare_keys(f, c, own / parts * HEADS);
        return;
    }
    part -= query_parts + key_parts;
    uint value_parts = push.padded_value / COLUMNS;
    prepare_values(c, part / value_parts, part % value_parts * COLUMNS);
}
