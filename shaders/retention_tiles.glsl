// retention_tiles.glsl: how the kernels retention_*_tiles.comp fill their tiles. Needs x, push.stride and tiles.glsl.
//
// What is beyond a chunk's tokens or a head's width is zero there.

const uint ITEMS = TILE * STEPS / 4;

// Four numbers of a row of x from i on, of which `count` are there.
vec4 four_of_row(uint row, uint offset, uint i, uint count)
{
    uint at = row * push.stride + offset + i;
    vec4 four = vec4(0.0);
    [[unroll]] for (uint n = 0; n < 4; n++)
        if (i + n < count) four[n] = x[at + n];
    return four;
}

// Tokens from `token` on, of which `tokens` are in the chunk, are the elements; numbers from i on of each, the steps.
vec4 four_steps_of_token(uint item, uint row, uint token, uint tokens, uint offset, uint i, uint count)
{
    token += item / (STEPS / 4);
    return token < tokens ? four_of_row(row + token, offset, i + item % (STEPS / 4) * 4, count) : vec4(0.0);
}

// The other way round: numbers are the elements, tokens the steps.
vec4 four_elements_of_token(uint item, uint row, uint token, uint tokens, uint offset, uint i, uint count)
{
    token += item / VECTORS;
    return token < tokens ? four_of_row(row + token, offset, i + item % VECTORS * 4, count) : vec4(0.0);
}
