// weights_half.glsl: units of weights (weights.glsl) as f16, eight to 16 bytes, for matrix units.

// Integers of up to 10 bits become f16 by setting the exponent of 1024.
uint scaled_pair(uint integers, float zero, f16vec2 scale)
{
    return packFloat2x16((unpackFloat2x16(integers | 0x64006400u) - f16vec2(1024.0 + zero)) * scale);
}

uint signed_byte_pair(uint word, uint first, f16vec2 scale)
{
    uint bytes = word >> first * 8;
    return scaled_pair(((bytes & 0xffu) | (bytes & 0xff00u) << 8) ^ 0x00800080u, 128.0, scale);
}

uvec4 eight_nibbles(uint word, f16vec2 scale)
{
    uint a = word & 0xffffu, b = word >> 16;
    uvec4 split = (uvec4(a, a >> 8, b, b >> 8) | uvec4(a << 12, a << 4, b << 12, b << 4)) & 0xf000fu;
    return uvec4(scaled_pair(split.x, 8.0, scale), scaled_pair(split.y, 8.0, scale),
                 scaled_pair(split.z, 8.0, scale), scaled_pair(split.w, 8.0, scale));
}

// The same eight in pairs (i, i + 4), which are where a mask of two nibbles finds them: half the instructions. An upper nibble of
// a byte counts for sixteen. Every step before the scale is exact.
uvec4 paired_nibbles(uint word, f16vec2 scale)
{
    uvec2 halves = uvec2(word, word >> 8);
    uvec2 low = halves & 0x000f000fu | 0x64006400u, high = halves & 0x00f000f0u | 0x64006400u;
    f16vec2 even = f16vec2(1032.0), odd = f16vec2(72.0), sixteenth = f16vec2(0.0625);
    return uvec4(packFloat2x16((unpackFloat2x16(low.x) - even) * scale),
                 packFloat2x16((unpackFloat2x16(high.x) * sixteenth - odd) * scale),
                 packFloat2x16((unpackFloat2x16(low.y) - even) * scale),
                 packFloat2x16((unpackFloat2x16(high.y) * sixteenth - odd) * scale));
}

uint bf16_pair(uint word)
{
    return packHalf2x16(vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u)));
}

uvec4 eight_f32(uvec4 low_bits, uvec4 high_bits)
{
    vec4 low = uintBitsToFloat(low_bits), high = uintBitsToFloat(high_bits);
    return uvec4(packHalf2x16(low.xy), packHalf2x16(low.zw), packHalf2x16(high.xy), packHalf2x16(high.zw));
}

uvec4 eight_bf16(uvec4 w)
{
    return uvec4(bf16_pair(w.x), bf16_pair(w.y), bf16_pair(w.z), bf16_pair(w.w));
}

uvec4 eight_bytes(uvec2 w, f16vec2 scale)
{
    return uvec4(signed_byte_pair(w.x, 0, scale), signed_byte_pair(w.x, 2, scale), signed_byte_pair(w.y, 0, scale),
                 signed_byte_pair(w.y, 2, scale));
}
