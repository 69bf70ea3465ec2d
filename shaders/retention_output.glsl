// retention_output.glsl: what both kernels of chunks' outputs on matrix units share.

uint head_powers, head_decay; // in params

// decay^(row + 1) / c, which the state before the chunk has faded by, seen from a row of the chunk.
float out_scale(uint row)
{
    return params[head_powers + row + 1] / state_factor(params[head_decay]);
}

uvec4 faded(uvec4 unit, float scale)
{
    f16vec2 s = f16vec2(float16_t(scale));
    return uvec4(packFloat2x16(unpackFloat2x16(unit.x) * s), packFloat2x16(unpackFloat2x16(unit.y) * s),
                 packFloat2x16(unpackFloat2x16(unit.z) * s), packFloat2x16(unpackFloat2x16(unit.w) * s));
}

// D, in place.
void mask_scores()
{
    for (uint item = gl_LocalInvocationID.x; item < CHUNK * CHUNK / 8; item += LOCAL_SIZE) {
        uint i = item / (CHUNK / 8), j = item % (CHUNK / 8) * 8, at = i * SCORE_STRIDE + item % (CHUNK / 8);
        uvec4 eight = scores[at];
        [[unroll]] for (uint k = 0; k < 4; k++) {
            uint column = j + 2 * k;
            vec2 pair = clamp(unpackHalf2x16(eight[k]), -65504.0, 65504.0);
            float first = column <= i ? pair.x * params[head_powers + i - column] : 0.0;
            float second = column < i ? pair.y * params[head_powers + i - column - 1] : 0.0;
            eight[k] = packHalf2x16(vec2(first, second));
        }
        scores[at] = eight;
    }
}
