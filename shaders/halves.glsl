// halves.glsl: where f16 activations lie. Matrix units read a block of 32 inputs of many tokens at a time, so blocks lie
// outside of tokens, [inputs / 32][room][32]: room is for how many tokens there is memory.

const uint HALVES_BLOCK = 32;

// Half i of a token. Eight from a multiple of eight on lie together.
uint half_at(uint room, uint token, uint i)
{
    return (i / HALVES_BLOCK * room + token) * HALVES_BLOCK + i % HALVES_BLOCK;
}
