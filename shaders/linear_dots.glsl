// linear_dots.glsl: the part of linear_column.glsl that multiplies bytes.
//
// A number of the column is (high * 2^16 + middle * 2^8 + low) * scale, each a signed byte, with a scale for each block of
// 32. A block's bytes lie in two vectors of each kind, in words of four, in the order in which weights come: 8-bit ones as
// they are, of 4-bit ones the even of eight, then the odd.

spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int dot_bytes(int a, int b, spirv_literal int packed_4x8);

const bool PACKS = true;
const float STORED_SCALE = FORMAT == FORMAT_Q8 ? 256.0 : 16.0; // in decode_scale, for fractions
const float LARGEST = 8300000.0; // below 127.5 * 2^16
const uint KINDS = 3, BLOCK_VECTORS = 2 * KINDS + 1; // one more, for other banks

shared ivec4 column_bytes[BLOCKS * BLOCK_VECTORS];
shared vec2 column_scale[BLOCKS]; // and what 4-bit weights, stored as 8 more than they are, add too much

// Takes away the four numbers' lowest signed bytes.
uint take_bytes(inout ivec4 v)
{
    ivec4 low = bitfieldExtract(v, 0, 8);
    v = (v - low) >> 8;
    uvec4 b = uvec4(low) & 0xffu;
    return b.x | b.y << 8 | b.z << 16 | b.w << 24;
}

// Of eight bytes, a neighbour's four among them, the even or the odd.
uint take_alternate(uint own, bool odd)
{
    uint other = subgroupShuffleXor(own, 1);
    uvec2 both = (odd ? uvec2(other, own) >> 8 : uvec2(own, other)) & 0xff00ffu;
    return (both.x | both.x >> 8) & 0xffffu | (both.y | both.y >> 8) << 16;
}

// Eight neighbours stage a block.
void stage_vector(uint at, vec4 v)
{
    uvec4 size = floatBitsToUint(abs(v)); // as integers, of which a NaN is the largest
    uint most = max(max(size.x, size.y), max(size.z, size.w));
    [[unroll]] for (uint k = 1; k < 8; k *= 2) most = max(most, subgroupShuffleXor(most, k));
    float largest = uintBitsToFloat(most), scale = largest / LARGEST;
    ivec4 rest = ivec4(roundEven(v * (largest > 1e-30 ? LARGEST / largest : 0.0)));
    int total = rest.x + rest.y + rest.z + rest.w;
    if (FORMAT == FORMAT_Q4)
        [[unroll]] for (uint k = 1; k < 8; k *= 2) total += subgroupShuffleXor(total, k);
    uint block = at / 8, word = at % 8;
    if (word == 0) column_scale[block] = vec2(scale, 8.0 * scale * float(total)) / STORED_SCALE;
    [[unroll]] for (uint kind = 0; kind < KINDS; kind++) {
        uint bytes = take_bytes(rest);
        if (FORMAT == FORMAT_Q4) bytes = take_alternate(bytes, (word & 1u) != 0);
        column_bytes[block * BLOCK_VECTORS + kind * 2 + word / 4][word % 4] = int(bytes);
    }
}

// Four bytes of a unit: 4-bit weights' even and odd ones in turn.
int weight_bytes(uvec4 unit, uint i)
{
    if (FORMAT == FORMAT_Q8) return int(unit[i]);
    return int((i & 1u) == 0 ? unit[i / 2] & 0x0f0f0f0fu : unit[i / 2] >> 4 & 0x0f0f0f0fu);
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
    vec2 scale = column_scale[block];
    [[unroll]] for (uint i = 0; i < SUMS; i++) {
        float product = (float(s[i].z * 256 + s[i].y) * 256.0 + float(s[i].x)) * scale.x;
        sum[i] += (FORMAT == FORMAT_Q4 ? product - scale.y : product) * ahead_scale[slot * SUMS + i];
    }
}
