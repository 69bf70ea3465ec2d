// linear_dots.glsl: the part of linear_column.glsl that multiplies bytes.
//
// A number of the column is (high * 2^8 + low) * scale, each a signed byte, with a power of two for each block of 32, of
// which the largest number takes 15 bits. A block's bytes lie in two vectors of each kind, in words of four, in the order
// in which weights come: 8-bit ones as they are, of 4-bit ones the even of eight, then the odd.

#include "dot_bytes.glsl"

const uint KINDS = 2, BLOCK_VECTORS = 2 * KINDS + 1; // one more, for other banks

shared ivec4 column_bytes[BLOCKS * BLOCK_VECTORS];
shared float column_scale[BLOCKS];

// Whoever waited alone comes back to the others, with whom it is to exchange something.
void meet_neighbours() { subgroupBarrier(); }

// Of four numbers of 16 bits, in pairs, the even or the odd of eight, a neighbour's among them.
void take_alternate(inout uint even, inout uint odd, bool wants_odd)
{
    uint got = subgroupShuffleXor(wants_odd ? even : odd, 1); // the neighbour wants the others
    uint first = wants_odd ? got : even, second = wants_odd ? odd : got;
    even = first & 0xffffu | second << 16;
    odd = first >> 16 | second & 0xffff0000u;
}

// Eight neighbours stage a block.
void stage_vector(uint at, vec4 v)
{
    uvec4 size = floatBitsToUint(abs(v)); // as integers, of which a NaN is the largest
    uint largest = max(max(size.x, size.y), max(size.z, size.w));
    [[unroll]] for (uint k = 1; k < 8; k *= 2) largest = max(largest, subgroupShuffleXor(largest, k));
    // Up to 2^15 by a power of two, or half of that where a signed high byte would not hold it (beyond 32,639; what is
    // added carries into the exponent from 32,636 on). Adding 1.5 * 2^23 rounds to integers, which are the mantissa then.
    uint exponent = max(largest + 0x10800u >> 23, 30u);
    precise vec4 shifted = v * uintBitsToFloat((268u - exponent) << 23) + 12582912.0;
    // With 128 added to both bytes there is no borrow between them; without the bit it is a signed one.
    uvec4 numbers = (floatBitsToUint(shifted) - (0x4b400000u - 0x8080u)) ^ 0x8080u;
    uint block = at / 8, word = at % 8;
    uint even = numbers.x | numbers.z << 16, odd = numbers.y | numbers.w << 16;
    if (FORMAT == FORMAT_Q4) take_alternate(even, odd, (word & 1u) != 0);
    // Nibbles are in the upper half of a byte, 16 times what they are.
    const uint UNIT = FORMAT == FORMAT_Q4 ? 18u : 14u;
    if (word == 0) column_scale[block] = uintBitsToFloat(exponent >= 255 ? 0x7fc00000u : (exponent - UNIT) << 23);
    uint at_low = block * BLOCK_VECTORS + word / 4;
    column_bytes[at_low][word % 4] = int(even & 0xff00ffu | (odd & 0xff00ffu) << 8);
    column_bytes[at_low + 2][word % 4] = int(even >> 8 & 0xff00ffu | odd & 0xff00ff00u);
}

// Four bytes of a unit, the even and the odd of 4-bit weights in turn: nibbles in the upper half of a byte, where the bit
// that adds 8 to them is the sign.
int weight_bytes(uvec4 unit, uint i)
{
    if (FORMAT == FORMAT_Q8) return int(unit[i]);
    uint word = unit[i / 2];
    return int(((i & 1u) == 0 ? word << 4 : word) & 0xf0f0f0f0u ^ 0x80808080u);
}

// Adds the products of a unit of each row, which lie at ahead[slot * SUMS ..].
void add_products(uint slot, uint unit, inout float sum[SUMS])
{
    uint block = unit / ROW_UNITS, at = block * BLOCK_VECTORS + unit % ROW_UNITS;
    ivec2 s[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++) s[i] = ivec2(0);
    [[unroll]] for (uint half_unit = 0; half_unit < 2 / ROW_UNITS; half_unit++) {
        ivec4 low = column_bytes[at + half_unit], high = column_bytes[at + half_unit + 2];
        [[unroll]] for (uint i = 0; i < SUMS; i++) {
            [[unroll]] for (uint k = 0; k < 4; k++) {
                int w = weight_bytes(ahead[slot * SUMS + i], half_unit * 4 + k);
                s[i].x += dot_bytes(low[k], w, 0);
                s[i].y += dot_bytes(high[k], w, 0);
            }
        }
    }
    float scale = column_scale[block];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        sum[i] += float(s[i].y * 256 + s[i].x) * (scale * scale_of(ahead_scales[slot * SUMS + i], row_in_panel(0, i)));
}
