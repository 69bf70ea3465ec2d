// linear_dots.glsl: the part of linear_column.glsl that multiplies bytes.
//
// A number of the column is (high * 2^16 + middle * 2^8 + low) * scale, each a signed byte, with a power of two for each
// block of 32. A block's bytes lie in two vectors of each kind, in words of four, in the order in which weights come: 8-bit ones as
// they are, of 4-bit ones the even of eight, then the odd.

#include "dot_bytes.glsl"

const uint KINDS = 3, BLOCK_VECTORS = 2 * KINDS + 1; // one more, for other banks

shared ivec4 column_bytes[BLOCKS * BLOCK_VECTORS];
shared float column_scale[BLOCKS];

// Whoever waited alone comes back to the others, with whom it is to exchange something.
void meet_neighbours() { subgroupBarrier(); }

// Byte `i` of each of four numbers.
int take_bytes(uvec4 v, uint i)
{
    v = v >> 8 * i & 0xffu;
    return int(v.x | v.y << 8 | v.z << 16 | v.w << 24);
}

// Of eight numbers, a neighbour's four among them, the even or the odd.
uvec4 take_alternate(uvec4 own, bool odd)
{
    uvec2 keep = odd ? own.yw : own.xz, give = odd ? own.xz : own.yw;
    uvec2 got = uvec2(subgroupShuffleXor(give.x, 1), subgroupShuffleXor(give.y, 1));
    return odd ? uvec4(got, keep) : uvec4(keep, got);
}

// Eight neighbours stage a block.
void stage_vector(uint at, vec4 v)
{
    uvec4 size = floatBitsToUint(abs(v)); // as integers, of which a NaN is the largest
    uint largest = max(max(size.x, size.y), max(size.z, size.w));
    [[unroll]] for (uint k = 1; k < 8; k *= 2) largest = max(largest, subgroupShuffleXor(largest, k));
    // Below 2^22 by a power of two. Adding 1.5 * 2^23 rounds to integers, which are the mantissa then.
    uint exponent = max(largest >> 23, 30u);
    precise vec4 shifted = v * uintBitsToFloat((275u - exponent) << 23) + 12582912.0;
    // With 128 added to every byte there are no borrows between them; without the bit it is a signed one.
    uvec4 numbers = (floatBitsToUint(shifted) - (0x4b400000u - 0x808080u)) ^ 0x808080u;
    uint block = at / 8, word = at % 8;
    if (FORMAT == FORMAT_Q4) numbers = take_alternate(numbers, (word & 1u) != 0);
    // Weights are 256 times what decode_scale makes of them.
    if (word == 0) column_scale[block] = uintBitsToFloat(exponent == 255 ? 0x7fc00000u : (exponent - 29u) << 23);
    [[unroll]] for (uint i = 0; i < KINDS; i++)
        column_bytes[block * BLOCK_VECTORS + i * 2 + word / 4][word % 4] = take_bytes(numbers, i);
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
        ivec4 low = column_bytes[at + half_unit], middle = column_bytes[at + half_unit + 2], high = column_bytes[at + half_unit + 4];
        [[unroll]] for (uint i = 0; i < SUMS; i++) {
            [[unroll]] for (uint k = 0; k < 4; k++) {
                int w = weight_bytes(ahead[slot * SUMS + i], half_unit * 4 + k);
                s[i].x += dot_bytes(low[k], w, 0);
                s[i].y += dot_bytes(middle[k], w, 0);
                s[i].z += dot_bytes(high[k], w, 0);
            }
        }
    }
    float scale = column_scale[block];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        sum[i] += (float(s[i].z * 256 + s[i].y) * 256.0 + float(s[i].x)) * (scale * ahead_scale[slot * SUMS + i]);
}
