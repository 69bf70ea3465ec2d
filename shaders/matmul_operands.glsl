// matmul_operands.glsl: weights on their way from memory straight into matrices (matmul_direct.comp and
// matmul_narrow_direct.comp), W_SLOTS units of eight of them in registers. After lanes.glsl.

layout(std430, set = 0, binding = 0) readonly buffer WeightPairs { uvec2 weight_pairs[]; };

// What an invocation reads of a row's unit of eight weights; of F32 it is two vectors, of Q8 half a vector, of Q4 a word.
const uint RAW = FORMAT == FORMAT_F32 ? 2 : 1;
const uint TOKEN_UNITS = HALVES_BLOCK / 8; // of a block

uvec4 w_next[W_SLOTS * RAW];
uint scale_next[W_SLOTS];

// For indices of so many bytes each in bindings of at most 2 GiB: a promise to the compiler that adding a constant does not
// wrap, so that it becomes a part of the load's address instead of an instruction before it.
uint near(uint at, uint bytes)
{
    return at & 0x7fffffffu / bytes;
}

// A unit of a row in a block, to a slot. The row is `step` behind `row`, and `step` is a constant.
void fetch_unit(uint slot, uint block, uint row, uint step, uint unit)
{
    if (FORMAT == FORMAT_F32) {
        uint at = near(block + unit_in_block(FORMAT, row, unit * 2), 16) + unit_in_block(FORMAT, step, 0);
        w_next[slot * RAW] = weight_unit(at);
        w_next[slot * RAW + RAW - 1] = weight_unit(at + 1);
    } else if (FORMAT == FORMAT_Q8) {
        w_next[slot].xy = weight_pairs[near(block * 2 + row * 4 + unit, 8) + step * 4];
    } else if (FORMAT == FORMAT_Q4) {
        w_next[slot].x = weight_words[near((block + row) * 4 + unit, 4) + step * 4];
    } else {
        w_next[slot] = weight_unit(near(block + unit_in_block(FORMAT, row, unit), 16) + unit_in_block(FORMAT, step, 0));
    }
    if (!SCALED) return;
    uint pair = step % 2 == 0 ? near(block * 4 + scale_word(FORMAT, row), 4) + step / 2
                              : block * 4 + scale_word(FORMAT, row + step);
    scale_next[slot] = weight_words[pair] >> (row + step & 1u) * 16;
}

// A slot's weights as f16, in an order of their own.
uvec4 halves_of(uint slot)
{
    uvec4 w = w_next[slot * RAW];
    f16vec2 scale = unpackFloat2x16(scale_next[slot]).xx;
    if (FORMAT == FORMAT_F32) return eight_f32(w, w_next[slot * RAW + RAW - 1]);
    if (FORMAT == FORMAT_BF16) return eight_bf16(w);
    if (FORMAT == FORMAT_Q8) return eight_bytes(w.xy, scale);
    if (FORMAT == FORMAT_Q4) return paired_nibbles(w.x, scale);
    return w;
}

// A unit of a token's inputs, in the order of halves_of.
uvec4 in_order_of_weights(uvec4 unit)
{
    if (FORMAT != FORMAT_Q4) return unit;
    f16vec2 a = unpackFloat2x16(unit.x), b = unpackFloat2x16(unit.y);
    f16vec2 c = unpackFloat2x16(unit.z), d = unpackFloat2x16(unit.w);
    return uvec4(packFloat2x16(f16vec2(a.x, c.x)), packFloat2x16(f16vec2(a.y, c.y)),
                 packFloat2x16(f16vec2(b.x, d.x)), packFloat2x16(f16vec2(b.y, d.y)));
}
