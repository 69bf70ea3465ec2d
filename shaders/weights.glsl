// weights.glsl: how weight matrices lie in memory, and reading a block of one.
//
// A matrix [rows, inputs] is cut into panels of 64 rows, a panel into blocks of 32 inputs. A block holds its 64 rows'
// pieces one after the other, in units of 16 bytes, so that what a workgroup reads at a time lies together:
//
//     F32       8 units of 4 weights a row            8192 bytes a block
//     F16, BF16 4 units of 8 weights a row            4096
//     Q8        2 units of 16 signed bytes a row, then 64 f16 scales      2176
//     Q4        1 unit of 32 nibbles a row, then 64 f16 scales            1152    weight = (nibble - 8) * scale
//
// Nibble i of a Q4 unit is in bits 4 * (i % 8) of word i / 8. Inputs and rows beyond the matrix are zero.

const uint FORMAT_F32 = 1, FORMAT_F16 = 2, FORMAT_BF16 = 3, FORMAT_Q8 = 4, FORMAT_Q4 = 5; // as retnet_weight_format

const uint PANEL_ROWS = 64, BLOCK_INPUTS = 32;

// In units of 16 bytes.
uint block_units(uint format)
{
    return format == FORMAT_F32 ? 512 : format == FORMAT_Q8 ? 136 : format == FORMAT_Q4 ? 72 : 256;
}

// Where the f16 scale of a row lies in its block, in units of 32 bits; odd rows are in the upper half.
uint scale_word(uint format, uint row)
{
    return (format == FORMAT_Q8 ? 128 : 64) * 4 + (row >> 1);
}

// Units of a row in a block.
uint row_units(uint format)
{
    return format == FORMAT_F32 ? 8 : format == FORMAT_Q8 ? 2 : format == FORMAT_Q4 ? 1 : 4;
}

// Where a unit of a row lies in its block.
uint unit_in_block(uint format, uint row, uint unit)
{
    return row * row_units(format) + unit;
}

#ifdef WEIGHTS_BINDING
const uint ROW_UNITS = FORMAT == FORMAT_F32 ? 8 : FORMAT == FORMAT_Q8 ? 2 : FORMAT == FORMAT_Q4 ? 1 : 4; // of a row in a block
const uint UNIT_VECTORS = 8 / ROW_UNITS; // of four weights
const bool SCALED = FORMAT == FORMAT_Q8 || FORMAT == FORMAT_Q4;

#ifdef TEXELS
layout(set = 0, binding = WEIGHTS_BINDING) uniform utextureBuffer weights;
uvec4 weight_unit(uint i) { return texelFetch(weights, int(i)); }
uint weight_word(uint i) { return weight_unit(i >> 2)[i & 3u]; }
#else
layout(std430, set = 0, binding = WEIGHTS_BINDING) readonly buffer Weights { uvec4 weights[]; };
layout(std430, set = 0, binding = WEIGHTS_BINDING) readonly buffer WeightWords { uint weight_words[]; };
uvec4 weight_unit(uint i) { return weights[i]; }
uint weight_word(uint i) { return weight_words[i]; }
#endif

uvec4 load_unit(uint block, uint row, uint unit)
{
    return weight_unit(block + unit_in_block(FORMAT, row, unit));
}

// The scales of a row and its neighbour, for scale_of.
uint load_scales(uint format, uint block, uint row)
{
    return weight_word(block * 4 + scale_word(format, row));
}

float scale_of(uint pair, uint row)
{
    vec2 scales = unpackHalf2x16(pair);
    return (row & 1u) == 0 ? scales.x : scales.y;
}

float block_scale(uint format, uint block, uint row) { return scale_of(load_scales(format, block, row), row); }

// Integers become fractions of a float between 1 and 2, of which 1.5 is taken away: every step is exact, and none of them is a
// conversion, which runs at a quarter of the rate of other instructions on much hardware.
vec4 signed_fractions(uvec4 mantissas)
{
    return uintBitsToFloat(mantissas | 0x3f800000u) - 1.5;
}

vec4 bytes_over_256(uint word)
{
    word ^= 0x80808080u; // signed to unsigned plus 128
    return signed_fractions(uvec4(word << 15, word << 7, word >> 1, word >> 9) & 0x7f8000u);
}

vec4 nibbles_over_16(uint word, bool upper)
{
    uvec4 mantissas = upper ? uvec4(word << 3, word >> 1, word >> 5, word >> 9)
                            : uvec4(word << 19, word << 15, word << 11, word << 7);
    return signed_fractions(mantissas & 0x780000u);
}

// What the vectors of decode_unit have to be multiplied by, and the same of scales that were loaded before.
float decode_scale_of(uint format, uint pair, uint row)
{
    return SCALED ? scale_of(pair, row) * (format == FORMAT_Q8 ? 256.0 : 16.0) : 1.0;
}

float decode_scale(uint format, uint block, uint row)
{
    return SCALED ? block_scale(format, block, row) * (format == FORMAT_Q8 ? 256.0 : 16.0) : 1.0;
}

// Vector i of a unit, in weights over decode_scale.
vec4 decode_unit(uint format, uvec4 unit, uint i)
{
    if (format == FORMAT_F32) return uintBitsToFloat(unit);
    if (format == FORMAT_Q8) return bytes_over_256(unit[i]);
    if (format == FORMAT_Q4) return nibbles_over_16(unit[i >> 1], (i & 1u) != 0);
    uvec2 pair = i == 0 ? unit.xy : unit.zw;
    if (format == FORMAT_F16) return vec4(unpackHalf2x16(pair.x), unpackHalf2x16(pair.y));
    return uintBitsToFloat(uvec4(pair.x << 16, pair.x & 0xffff0000u, pair.y << 16, pair.y & 0xffff0000u));
}
#endif
