// matmul_operands.glsl: weights on their way from memory straight into matrices (matmul_direct.comp and
// matmul_narrow_direct.comp), W_SLOTS units of eight of them in registers. After lanes.glsl.

layout(std430, set = 0, binding = 0) readonly buffer WeightPairs { uvec2 weight_pairs[]; };

// What an invocation reads of a row's unit of eight weights; of F32 it is two vectors, of Q8 half a vector, of Q4 a word.
const uint RAW = FORMAT == FORMAT_F32 ? 2 : 1;
const uint TOKEN_UNITS = HALVES_BLOCK / 8; // of a block

uvec4 w_next[W_SLOTS * RAW];
uint scale_next[W_SLOTS];

// A unit of a row in a block, to a slot.
void fetch_unit(uint slot, uint block, uint row, uint unit)
{
    if (FORMAT == FORMAT_F32) {
        w_next[slot * RAW] = load_unit(block, row, unit * 2);
        w_next[slot * RAW + RAW - 1] = load_unit(block, row, unit * 2 + 1);
    } else if (FORMAT == FORMAT_Q8) {
        w_next[slot].xy = weight_pairs[block * 2 + row * 4 + unit];
    } else if (FORMAT == FORMAT_Q4) {
        w_next[slot].x = weight_words[(block + row) * 4 + unit];
    } else {
        w_next[slot] = load_unit(block, row, unit);
    }
    if (SCALED) scale_next[slot] = weight_words[block * 4 + scale_word(FORMAT, row)] >> (row & 1u) * 16;
}

// A slot's weights as f16.
uvec4 halves_of(uint slot)
{
    uvec4 w = w_next[slot * RAW];
    f16vec2 scale = unpackFloat2x16(scale_next[slot]).xx;
    if (FORMAT == FORMAT_F32) return eight_f32(w, w_next[slot * RAW + RAW - 1]);
    if (FORMAT == FORMAT_BF16) return eight_bf16(w);
    if (FORMAT == FORMAT_Q8) return eight_bytes(w.xy, scale);
    if (FORMAT == FORMAT_Q4) return eight_nibbles(w.x, scale);
    return w;
}
