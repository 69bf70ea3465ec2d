// retention_states_direct.glsl: retention_states_matrix.comp for devices whose matrices lie as lanes.glsl knows: operands go
// from memory straight into matrices, and what is left of a state goes from its accumulators straight to memory, before every
// second chunk. Subgroups wait for nobody; those of a workgroup own a rectangle of one head's state, so that they share what they
// read in the first-level cache.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128; // a multiple of ACROSS * SUBGROUP
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint MATRIX_M = 16;
layout(constant_id = 3) const uint MATRIX_N = 16;
layout(constant_id = 4) const uint MATRIX_K = 16;
layout(constant_id = 5) const uint SUB = 32; // rows and columns of the state that a subgroup owns
layout(constant_id = 6) const uint LANES = 1;
layout(constant_id = 7) const uint PROJECTED = 0; // keys and values come from retention_project.comp
layout(constant_id = 8) const uint ACROSS = 2;    // subgroups along V

#include "retention_scratch.glsl"
#include "lanes.glsl"

layout(std430, set = 0, binding = 0) buffer Scratch { uvec4 scratch[]; };
layout(std430, set = 0, binding = 1) buffer State { float state[]; }; // [states][heads][K][value_stride]
layout(std430, set = 0, binding = 2) readonly buffer Params { float params[]; };
layout(set = 0, binding = 3) uniform Chunks { uvec4 chunks[1024]; };       // {row, length, position, behind}
layout(set = 0, binding = 4) uniform Sequences { uvec4 sequences[1024]; }; // {first chunk, chunks, state, -}

#include "retention_units.glsl"

#ifdef ADDRESSES
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer OwnUnits { uvec4 at[]; };
void store_unit(uint place, uint i, uvec4 unit) { OwnUnits(push.scratch).at[(place & 0x7ffffffu) + i] = unit; }
#else
void store_unit(uint place, uint i, uvec4 unit) { scratch[place + i] = unit; }
#endif

const uint PIECES_M = SUB / MATRIX_M, PIECES_N = SUB / MATRIX_N, BLOCKS = CHUNK / 32;
const uint LEFT_LOADS = PIECES_M * STRIP_LOADS, RIGHT_LOADS = PIECES_N * STRIP_LOADS;

uvec4 left[BLOCKS * LEFT_LOADS], right[BLOCKS * RIGHT_LOADS]; // values and keys of the chunk under way

// Block d of a chunk, from this invocation's first units of the chunk.
void fetch(uint d, uint values, uint keys)
{
    values += d * push.padded_value * 4;
    keys += d * push.padded_key * 4;
    [[unroll]] for (uint i = 0; i < LEFT_LOADS; i++)
        left[d * LEFT_LOADS + i] = unit_of(values, (i / STRIP_LOADS * MATRIX_M + strip_step(i % STRIP_LOADS)) * 4);
    [[unroll]] for (uint i = 0; i < RIGHT_LOADS; i++)
        right[d * RIGHT_LOADS + i] = unit_of(keys, right_step(i / STRIP_LOADS, i % STRIP_LOADS) * 4);
}

uint fades[PROJECTED != 0 ? BLOCKS * 4 : 1]; // f16, of the tokens of this invocation's units

void find_fades(uint length, uint head)
{
    uint newest = push.powers + head * push.powers_stride; // which has not faded
    [[unroll]] for (uint i = 0; i < BLOCKS * 4; i++) {
        uint place = (i / 4 * 4 + strip_unit()) * 8 + i % 4 * 2;
        uvec2 age = length - 1 - min(uvec2(place_of(place), place_of(place + 1)), length - 1);
        fades[i] = packHalf2x16(vec2(params[newest + age.x], params[newest + age.y]));
    }
}

uint faded(uint pair, uint fade)
{
    return packFloat2x16(unpackFloat2x16(pair) * unpackFloat2x16(fade));
}

// The keys of a unit of block d as their products with values need them.
uvec4 faded(uvec4 keys, uint d)
{
    if (PROJECTED == 0) return keys;
    return uvec4(faded(keys.x, fades[d * 4]), faded(keys.y, fades[d * 4 + 1]), faded(keys.z, fades[d * 4 + 2]),
                 faded(keys.w, fades[d * 4 + 3]));
}

float fade_of(uvec4 chunk, uint head)
{
    return params[push.powers + head * push.powers_stride + chunk.y];
}

// Four components of a row of the state, as halves: two words of a unit.
uvec2 four_halves(ACCUMULATOR piece, uint first, float factor)
{
    vec4 v;
    [[unroll]] for (int i = 0; i < 4; i++) v[i] = clamp(piece[first + i] * factor, -65504.0, 65504.0);
    return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
}

void main()
{
    uint head = gl_WorkGroupID.z % push.heads, key_head = head / (push.heads / push.key_value_heads);
    uvec4 sequence = sequences[gl_WorkGroupID.z / push.heads];
    uint down = LOCAL_SIZE / SUBGROUP / ACROSS; // subgroups along K
    uint sub_k = (gl_WorkGroupID.y * down + gl_SubgroupID / ACROSS) * SUB;
    uint sub_v = (gl_WorkGroupID.x * ACROSS + gl_SubgroupID % ACROSS) * SUB;
    uint state_at = (sequence.z * push.heads + head) * push.key_size * push.value_stride;
    float factor = state_factor(params[push.decays + head]);

    ACCUMULATOR s[PIECES_M * PIECES_N]; // transposed: rows of V, columns of K
    [[unroll]] for (uint p = 0; p < PIECES_M * PIECES_N; p++) {
        ACCUMULATOR piece = ACCUMULATOR(0.0);
        [[unroll]] for (int i = 0; i < piece.length(); i++) {
            uint v = sub_v + p / PIECES_N * MATRIX_M + sum_row(i), k = sub_k + right_column(p % PIECES_N, i);
            // No branch: loads then need not wait for each other.
            float before = state[state_at + min(k, push.key_size - 1) * push.value_stride + min(v, push.value_size - 1)];
            piece[i] = k < push.key_size && v < push.value_size ? before : 0.0;
        }
        s[p] = piece;
    }

    uint end = sequence.x + sequence.y;
    uint values = value_at(sequence.x, key_head) + (sub_v + strip_row(0)) * 4 + strip_unit();
    uint keys = key_in_at(sequence.x, PROJECTED != 0 ? key_head : head) + (sub_k + right_row()) * 4 + strip_unit();
    uint value_step = value_at(1, 0) - value_at(0, 0), key_step = key_in_at(1, 0) - key_in_at(0, 0);
    uvec4 chunk_next = chunks[sequence.x];
    float fade_next = fade_of(chunk_next, head);
    uint faded_length = 0;
    [[unroll]] for (uint d = 0; d < BLOCKS; d++) fetch(d, values, keys);
    uint c = sequence.x;
    for (; c < end; c++) {
        float fade = fade_next;
        if (PROJECTED != 0 && chunk_next.y != faded_length) {
            faded_length = chunk_next.y;
            find_fades(faded_length, head);
        }
        bool kept = chunk_next.w == 0, more = c + 1 < end; // else the last chunk once more, in vain
        values += more ? value_step : 0;
        keys += more ? key_step : 0;
        chunk_next = chunks[more ? c + 1 : c];
        fade_next = fade_of(chunk_next, head);

        uint before = before_at(c, head) + (sub_k / 32 * push.padded_value + sub_v) * 4 + sub_k % 32 / 8;
        [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
            if (LANES == LANES_QUADS) {
                [[unroll]] for (uint n = 0; n < PIECES_N; n += 2) {
                    ACCUMULATOR first = s[m * PIECES_N + n], second = s[m * PIECES_N + n + 1];
                    [[unroll]] for (uint r = 0; r < 2; r++) {
                        uvec4 eight = uvec4(four_halves(first, r * 4, factor), four_halves(second, r * 4, factor));
                        uint at = before + n / 2 * push.padded_value * 4 + gl_SubgroupInvocationID;
                        if (kept) store_unit(at, (m * MATRIX_M + r * 8) * 4, eight);
                    }
                }
            } else {
                [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                    ACCUMULATOR piece = s[m * PIECES_N + n];
                    [[unroll]] for (int i = 0; i < piece.length(); i++)
                        piece[i] = clamp(piece[i] * factor, -65504.0, 65504.0);
                    if (kept)
                        coopMatStore(HALF_SUMS(piece), scratch, before + m * MATRIX_M * 4 + n * MATRIX_N / 8, 4,
                                     gl_CooperativeMatrixLayoutRowMajor);
                }
            }
        }
        [[unroll]] for (uint p = 0; p < PIECES_M * PIECES_N; p++) s[p] = s[p] * fade;
        [[unroll]] for (uint d = 0; d < BLOCKS; d++) {
            LEFT a[PIECES_M * BLOCK_PIECES];
            [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
                [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {
                    LEFT piece = LEFT(float16_t(0.0));
                    FILL_PIECE(piece, left, d * LEFT_LOADS + m * STRIP_LOADS, k)
                    a[m * BLOCK_PIECES + k] = piece;
                }
            }
            [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                uvec4 keys_in[STRIP_LOADS];
                [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++)
                    keys_in[i] = faded(right[d * RIGHT_LOADS + n * STRIP_LOADS + i], d);
                [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {
                    RIGHT piece = RIGHT(float16_t(0.0));
                    FILL_PIECE(piece, keys_in, 0, k)
                    [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                        s[m * PIECES_N + n] = coopMatMulAdd(a[m * BLOCK_PIECES + k], piece, s[m * PIECES_N + n]);
                }
            }
            fetch(d, values, keys); // of the next chunk
        }
    }

    // Zero, which no compiler knows: it would keep all places from the loads before to these stores in registers.
    sub_k += c - end;
    [[unroll]] for (uint p = 0; p < PIECES_M * PIECES_N; p++) {
        ACCUMULATOR piece = s[p];
        [[unroll]] for (int i = 0; i < piece.length(); i++) {
            uint v = sub_v + p / PIECES_N * MATRIX_M + sum_row(i), k = sub_k + right_column(p % PIECES_N, i);
            if (k < push.key_size && v < push.value_stride) state[state_at + k * push.value_stride + v] = piece[i];
        }
    }
}
