// linear_dots.glsl: the part of linear_column.glsl that multiplies bytes.
//
// A number of the column is (high * 2^16 + middle * 2^8 + low) * scale, each a signed byte, with a scale for each block of
// 32, of which the largest number becomes MOST; for 4-bit weights, which are coarse themselves, there is no high byte. A
// block's bytes lie in two vectors of each kind, in words of four, in the order in which weights come: 8-bit ones as they
// are, of 4-bit ones the even of eight, then the odd.

#include "dot_bytes.glsl"

const uint KINDS = FORMAT == FORMAT_Q4 ? 2 : 3, BLOCK_VECTORS = 2 * KINDS + 1; // one more, for other banks

// Two signed bytes hold 32,639; of three the way to integers leaves 2^22.
const float MOST = KINDS == 2 ? 32600.0 : 4190000.0;
const uint LEAST = 0x0b000000u; // 2^-105

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
    // Of what is smaller than the least there is nothing left. Adding 1.5 * 2^23 rounds to integers, which are the mantissa
    // then.
    float top = uintBitsToFloat(max(largest, LEAST));
    precise vec4 shifted = v * (MOST / top) + 12582912.0;
    // With 128 added to each byte there are no borrows between them; without the bit it is a signed one.
    const uint SIGNS = KINDS == 2 ? 0x8080u : 0x808080u;
    uvec4 numbers = (floatBitsToUint(shifted) - (0x4b400000u - SIGNS)) ^ SIGNS;
    uint block = at / 8, word = at % 8;
    uint even = numbers.x & 0xffffu | numbers.z << 16, odd = numbers.y & 0xffffu | numbers.w << 16;
    if (FORMAT == FORMAT_Q4) take_alternate(even, odd, (word & 1u) != 0);
    // Nibbles are in the upper half of a byte, 16 times what they are.
    const float UNIT = (FORMAT == FORMAT_Q4 ? 0.0625 : 1.0) / MOST;
    if (word == 0) column_scale[block] = largest >= 0x7f800000u ? uintBitsToFloat(0x7fc00000u) : top * UNIT;
    uint at_low = block * BLOCK_VECTORS + word / 4;
    column_bytes[at_low][word % 4] = int(even & 0xff00ffu | (odd & 0xff00ffu) << 8);
    column_bytes[at_low + 2][word % 4] = int(even >> 8 & 0xff00ffu | odd & 0xff00ff00u);
    if (KINDS == 3) {
        numbers >>= 16;
        column_bytes[at_low + 4][word % 4] = int(numbers.x | numbers.y << 8 | numbers.z << 16 | numbers.w << 24);
    }
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
    ivec3 s[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++) s[i] = ivec3(0);
    [[unroll]] for (uint half_unit = 0; half_unit < 2 / ROW_UNITS; half_unit++) {
        ivec4 low = column_bytes[at + half_unit], middle = column_bytes[at + half_unit + 2], high = ivec4(0);
        if (KINDS == 3) high = column_bytes[at + half_unit + 4];
        [[unroll]] for (uint i = 0; i < SUMS; i++) {
            [[unroll]] for (uint k = 0; k < 4; k++) {
                int w = weight_bytes(ahead[slot * SUMS + i], half_unit * 4 + k);
                s[i].x += dot_bytes(low[k], w, 0);
                s[i].y += dot_bytes(middle[k], w, 0);
                if (KINDS == 3) s[i].z += dot_bytes(high[k], w, 0);
            }
        }
    }
    float scale = column_scale[block];
    [[unroll]] for (uint i = 0; i < SUMS; i++) {
        float total = KINDS == 3 ? float(s[i].z * 256 + s[i].y) * 256.0 + float(s[i].x) : float(s[i].y * 256 + s[i].x);
        sum[i] += total * scale * scale_of(ahead_scales[slot * SUMS + i], row_in_panel(0, i));
    }
}
