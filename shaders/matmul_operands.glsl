// matmul_operands.glsl: weights on their way from memory straight into matrices (matmul_direct.comp and
// matmul_narrow_direct.comp), W_SLOTS units of eight of them in registers. After lanes.glsl.

// What an invocation reads of a row's unit of eight weights; of F32 it is two vectors, of Q8 half a vector, of Q4 a word.
const uint RAW = FORMAT == FORMAT_F32 ? 2 : 1;
const uint TOKEN_UNITS = HALVES_BLOCK / 8; // of a block

uvec4 w_next[W_SLOTS * RAW];
uint scale_next[W_SLOTS];

// A place is a distance in bytes from where X or W begins, less than 2 GiB. With ADDRESSES a load from there is one instruction,
// whose constants are part of it; of a binding one driver asks before every load whether it is inside. The masks are a promise to
// the compiler that adding a constant to an index does not wrap, or else constants are added by instructions of their own.
#ifdef ADDRESSES
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Vectors { uvec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Pairs { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint at[]; };
#define INPUT_VECTORS Vectors(push.inputs).at
#define WEIGHT_VECTORS Vectors(push.weights).at
#define WEIGHT_PAIRS Pairs(push.weights).at
#define WEIGHT_WORDS Words(push.weights).at
#else
layout(std430, set = 0, binding = 0) readonly buffer WeightPairs { uvec2 weight_pairs[]; };
#define INPUT_VECTORS x
#define WEIGHT_VECTORS weights
#define WEIGHT_PAIRS weight_pairs
#define WEIGHT_WORDS weight_words
#endif

// Number i behind a place.
uvec4 input_vector(uint place, uint i) { return INPUT_VECTORS[(place / 16 & 0x7ffffffu) + i]; }
uvec4 weight_vector(uint place, uint i) { return WEIGHT_VECTORS[(place / 16 & 0x7ffffffu) + i]; }
uvec2 weight_pair(uint place, uint i) { return WEIGHT_PAIRS[(place / 8 & 0xfffffffu) + i]; }
uint weight_word(uint place, uint i) { return WEIGHT_WORDS[(place / 4 & 0x1fffffffu) + i]; }

const uint ROW_BYTES = ROW_UNITS * 16; // of a block

uint block_bytes() { return block_units(FORMAT) * 16; }

// From the beginning of a block to eight weights of a row, and to the word that a row's scale is in.
uint unit_bytes(uint row, uint unit) { return row * ROW_BYTES + unit * (ROW_BYTES / 4); }
uint scale_bytes(uint row) { return SCALED ? scale_word(FORMAT, row) * 4 : 0; }

// Eight weights, to a slot: those at `unit` and the scale at `scale` are of `row`, and the wanted ones of the row that is `step`
// behind it, a constant. Of row and step one at least is even.
void fetch_unit(uint slot, uint unit, uint scale, uint row, uint step)
{
    if (FORMAT == FORMAT_F32) {
        w_next[slot * RAW] = weight_vector(unit, step * 8);
        w_next[slot * RAW + RAW - 1] = weight_vector(unit, step * 8 + 1);
    } else if (FORMAT == FORMAT_Q8) {
        w_next[slot].xy = weight_pair(unit, step * 4);
    } else if (FORMAT == FORMAT_Q4) {
        w_next[slot].x = weight_word(unit, step * 4);
    } else {
        w_next[slot] = weight_vector(unit, step * 4);
    }
    if (SCALED) scale_next[slot] = weight_word(scale, step / 2) >> (row + step & 1u) * 16;
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
