// halves.glsl: where f16 activations lie, and how they are made. Matrix units read a block of 32 inputs of many tokens at a time, so blocks lie
// outside of tokens, [inputs / 32][room][32]: room is for how many tokens there is memory.

const uint HALVES_BLOCK = 32;

// Half i of a token. Eight from a multiple of eight on lie together.
uint half_at(uint room, uint token, uint i)
{
    return (i / HALVES_BLOCK * room + token) * HALVES_BLOCK + i % HALVES_BLOCK;
}

// In f16's range: what is larger would become infinite.
uint two_halves(vec2 pair)
{
    return packHalf2x16(clamp(pair, -65504.0, 65504.0));
}

uvec2 four_halves(vec4 value)
{
    return uvec2(two_halves(value.xy), two_halves(value.zw));
}
