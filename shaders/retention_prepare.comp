#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_prepare.comp: queries, keys and values of chunks for retention on matrix units (retention_scratch.glsl):
// rotated, scaled, as f16 and padded; keys and values also, or only, with tokens innermost, by way of shared memory.
//
// A workgroup takes all tokens of a chunk and, of several heads, eight fours of pairs (i, i + K/2) of queries or keys, or of
// one head, 64 values; an invocation two tokens that are neighbours. The fours behind the pairs are the padding, of which there
// is no second one.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 256;
layout(constant_id = 1) const uint HALVES = 0; // the input is f16
layout(constant_id = 2) const uint FOURS = 0;  // queries, keys and values begin at multiples of four
layout(constant_id = 3) const uint ROTATE = 1; // else queries and keys come rotated

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
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // chunks {row, length, position, -}

const uint HEADS = 2, ROW_PAIRS = CHUNK / 2, FOUR_ITEMS = 8 * ROW_PAIRS, STEPS = (FOUR_ITEMS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint COLUMNS = 64, UNITS = CHUNK / 8;
const uint VALUE_ITEMS = COLUMNS / 4 * ROW_PAIRS, VALUE_STEPS = (VALUE_ITEMS + LOCAL_SIZE - 1) / LOCAL_SIZE;

shared uvec4 tile[COLUMNS * UNITS]; // [columns][tokens], f16
shared vec4 fades[CHUNK / 4];       // of the chunk's tokens

vec2 turns[STEPS * 8]; // this invocation's rotations; global, since a parameter of a specialised size fails on one driver

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
    scratch_fours[(array + unit_at(CHUNK, row, four / 2)) * 2 + four % 2] = four_halves(value);
}

// Where eight tokens of a column lie in the tile: what a subgroup writes or reads at a time is in different banks.
uint tile_at(uint column, uint unit)
{
    return column * UNITS + (unit ^ column / 4 % UNITS);
}

// Four columns of tokens 2 * pair and the one behind.
void put(uint column, uint pair, vec4 first, vec4 second)
{
    [[unroll]] for (uint i = 0; i < 4; i++) tile[tile_at(column + i, pair / 4)][pair % 4] = two_halves(vec2(first[i], second[i]));
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
        uint item = s * LOCAL_SIZE + gl_LocalInvocationID.x, four = f.first + item % 8;
        [[unroll]] for (uint r = 0; r < 2; r++) {
            uint row = item / 8 * 2 + r;
            bool used = item < FOUR_ITEMS && is_pair(f, four) && row < chunk.y;
            [[unroll]] for (uint i = 0; i < 4; i += 2) {
                vec4 two = used ? two_rotations_at(push.angles, push.key_size / 2, chunk.z + row, four * 4 + i) : vec4(0.0);
                turns[s * 8 + r * 4 + i] = two.xy;
                turns[s * 8 + r * 4 + i + 1] = two.zw;
            }
        }
    }
}

// Rotates the workgroup's fours of one head. With `keep` they also go to the tile, the second ones 32 columns behind.
void rotate_head(Fours f, uvec4 chunk, uint offset, uint array, float scale, bool keep)
{
    [[unroll]] for (uint s = 0; s < STEPS; s++) {
        uint item = s * LOCAL_SIZE + gl_LocalInvocationID.x, pair = item / 8, four = f.first + item % 8;
        if (item >= FOUR_ITEMS || four >= f.count) continue;
        vec4 low[2], high[2];
        [[unroll]] for (uint r = 0; r < 2; r++) {
            uint row = pair * 2 + r;
            bool used = is_pair(f, four) && row < chunk.y;
            low[r] = used ? four_in(chunk.x + row, offset + four * 4) * scale : vec4(0.0);
            high[r] = used ? four_in(chunk.x + row, offset + four * 4 + push.key_size / 2) * scale : vec4(0.0);
        }
        [[unroll]] for (uint r = 0; r < 2; r++) {
            vec4 a = low[r], b = high[r];
            if (ROTATE != 0) {
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    vec2 turn = turns[s * 8 + r * 4 + i];
                    low[r][i] = a[i] * turn.x - b[i] * turn.y;
                    high[r][i] = a[i] * turn.y + b[i] * turn.x;
                }
            }
            store_four(array, pair * 2 + r, low_four(f, four), low[r]);
            if (is_pair(f, four)) store_four(array, pair * 2 + r, high_four(f, four), high[r]);
        }
        if (!keep) continue;
        put(item % 8 * 4, pair, low[0], low[1]);
        put(32 + item % 8 * 4, pair, high[0], high[1]);
    }
}

void find_fades(uvec4 chunk, uint head)
{
    uint powers = push.powers + head * push.powers_stride;
    for (uint i = gl_LocalInvocationID.x; i < CHUNK; i += LOCAL_SIZE)
        fades[i / 4][i % 4] = params[powers + chunk.y - 1 - min(i, chunk.y - 1)];
}

uint faded(uint pair, vec2 fade)
{
    return two_halves(unpackHalf2x16(pair) * fade);
}

// The tile's keys of one head, faded.
void store_keys_in(Fours f, uint array)
{
    for (uint item = gl_LocalInvocationID.x; item < COLUMNS * UNITS; item += LOCAL_SIZE) {
        uint unit = item % UNITS, column = item / UNITS, four = f.first + column % 32 / 4;
        if (four >= f.count || (column >= 32 && !is_pair(f, four))) continue;
        uvec4 keys = tile[tile_at(column, unit)];
        vec4 low = fades[unit * 2], high = fades[unit * 2 + 1];
        uint row = (column < 32 ? low_four(f, four) : high_four(f, four)) * 4 + column % 4;
        scratch[array + unit_at(push.padded_key, row, unit)] =
            uvec4(faded(keys.x, low.xy), faded(keys.y, low.zw), faded(keys.z, high.xy), faded(keys.w, high.zw));
    }
}

void prepare_keys(Fours f, uint c, uint first_head)
{
    uvec4 chunk = records[c];
    uint group = push.heads / push.key_value_heads;
    find_rotations(f, chunk);
    for (uint key_head = first_head; key_head < min(first_head + HEADS, push.key_value_heads); key_head++) {
        rotate_head(f, chunk, push.k_offset + key_head * push.key_size, key_at(c, key_head), 1.0, true);
        for (uint head = key_head * group; head < (key_head + 1) * group; head++) {
            find_fades(chunk, head);
            barrier();
            store_keys_in(f, key_in_at(c, head));
            barrier();
        }
    }
}

void prepare_queries(Fours f, uint c, uint first_head)
{
    uvec4 chunk = records[c];
    find_rotations(f, chunk);
    for (uint head = first_head; head < min(first_head + HEADS, push.heads); head++)
        rotate_head(f, chunk, push.q_offset + head * push.key_size, query_at(c, head), push.query_scale, false);
}

// Four values of a row, zero where there are none.
vec4 four_values(uvec4 chunk, uint row, uint from, uint column)
{
    vec4 value = vec4(0.0);
    if (row < chunk.y && column + 4 <= push.value_size) return four_in(chunk.x + row, from + column);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (row < chunk.y && column + i < push.value_size) value[i] = value_in(chunk.x + row, from + column + i);
    return value;
}

// By blocks of 32 values, as they lie in memory.
uint value_pair(uint item) { return item / 8 % ROW_PAIRS; }
uint value_column(uint item) { return (item / FOUR_ITEMS * 8 + item % 8) * 4; }

void prepare_values(uint c, uint key_head, uint first_column)
{
    uvec4 chunk = records[c];
    uint from = push.v_offset + key_head * push.value_size;
    vec4 first[VALUE_STEPS], second[VALUE_STEPS];
    [[unroll]] for (uint s = 0; s < VALUE_STEPS; s++) {
        uint item = s * LOCAL_SIZE + gl_LocalInvocationID.x;
        first[s] = four_values(chunk, value_pair(item) * 2, from, first_column + value_column(item));
        second[s] = four_values(chunk, value_pair(item) * 2 + 1, from, first_column + value_column(item));
    }
    [[unroll]] for (uint s = 0; s < VALUE_STEPS; s++) {
        uint item = s * LOCAL_SIZE + gl_LocalInvocationID.x;
        if (item < VALUE_ITEMS) put(value_column(item), value_pair(item), first[s], second[s]);
    }
    barrier();
    for (uint item = gl_LocalInvocationID.x; item < COLUMNS * UNITS; item += LOCAL_SIZE) {
        uint unit = item % UNITS, column = item / UNITS;
        scratch[value_at(c, key_head) + unit_at(push.padded_value, first_column + column, unit)] = tile[tile_at(column, unit)];
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
