// retention_operands.glsl: how retention_project.comp shares out rows, and where it leaves them.
//
// A dispatch makes tiles from those of tokens and of rows on that it names, of rows around the end: who asks for few outputs needs
// few queries and gates, but all keys and values; and what the states' kernel reads next, keys and values, had best come last.
//
// Queries and keys are rotated in pairs (i, i + K/2), so the two runs of a subgroup's rows are pairs of one head. Of values
// and gates they lie together. Heads begin at multiples of a tile's rows.
//
// Rows of the matrix are taken in the order of right_row, so that an invocation holds columns that lie together.
//
// An invocation holds some tokens of a column, and leaves eight of them as a unit of what has tokens innermost: those that
// lanes.glsl puts in places that follow each other (place_of). Keys, whose rows become columns of scores, lie in that order too.

#define PARAMS_BINDING 4
#include "positions.glsl"
#include "retention_scratch.glsl"

layout(std430, set = 0, binding = 3) writeonly buffer Operands { uvec4 operands[]; };
layout(set = 0, binding = 5) uniform Chunks { uvec4 chunks[1024]; }; // {-, -, position, -}

const uint RUN_ROWS = SUB_ROWS / 2, RUN_N = PIECES_N / 2;

uint across() { return tile_subgroup() % SUBGROUPS_ACROSS; }
uint tile_row() { return (push.first_rows + gl_WorkGroupID.y) % push.row_tiles * TILE_ROWS; }
uint queries_end() { return push.heads * push.key_size; }
uint keys_end() { return queries_end() + push.key_value_heads * push.key_size; }
uint values_end() { return keys_end() + push.key_value_heads * push.value_size; }

// Panel of a run of this subgroup's rows, and the first of them there.
uvec2 run_place(uint run)
{
    if (tile_row() >= keys_end()) {
        uint row = across() * SUB_ROWS + run * RUN_ROWS;
        return uvec2((tile_row() + row) / PANEL_ROWS, row % PANEL_ROWS);
    }
    uint in_head = tile_row() % push.key_size, low = tile_row() - in_head + in_head / 2;
    return uvec2((low + run * push.key_size / 2) / PANEL_ROWS, across() * RUN_ROWS);
}

// The subgroup's sums, [pieces along tokens][pieces along rows][components]. Components of matrices are not to be touched in
// branches: a compiler then keeps all matrices in memory, from the first on.
float values[PIECES_M * PIECES_N * 8];

// Of the table's `position` in a digit, for component i of piece n and the next.
vec4 turns_in_table(uint digit, uvec2 position, uint pair)
{
    uint pairs = push.key_size / 2, base = push.angles + digit * 1024 * pairs + pair;
    if (LANES == LANES_QUADS) return param_quads[(base + position.x * pairs) / 2]; // of two columns
    return vec4(param_pairs[base + position.x * pairs], param_pairs[base + position.y * pairs]); // of two rows
}

// All digits at once, so that no load waits for another.
vec4 turns_at(uvec2 position, uint pair)
{
    return turned(turned(turns_in_table(0, position & 1023u, pair), turns_in_table(1, position >> 10 & 1023u, pair)),
                  turns_in_table(2, min(position >> 20, 1023u), pair)); // the padding may pass the last position
}

// The subgroup's pairs, of which the first is at `position` and number `pair`. Each piece along tokens is turned as far as the
// one before, and by as many tokens as it has.
void rotate(uint position, uint pair)
{
    vec4 turns[RUN_N * 4], steps[RUN_N * 4];
    [[unroll]] for (uint k = 0; k < RUN_N * 4; k++) {
        uint n = k / 4, i = k % 4 * 2, own = pair + right_column(n, i);
        turns[k] = turns_at(position + uvec2(sum_row(i), sum_row(i + 1)), own);
        steps[k] = turns_in_table(0, uvec2(MATRIX_M), own);
    }
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint k = 0; k < RUN_N * 4; k++) {
            uint low = (m * PIECES_N + k / 4) * 8 + k % 4 * 2, high = low + RUN_N * 8;
            vec2 a = vec2(values[low], values[low + 1]), b = vec2(values[high], values[high + 1]);
            vec2 lower = a * turns[k].xz - b * turns[k].yw, upper = a * turns[k].yw + b * turns[k].xz;
            values[low] = lower.x;
            values[low + 1] = lower.y;
            values[high] = upper.x;
            values[high + 1] = upper.y;
            turns[k] = turned(turns[k], steps[k]);
        }
    }
}

ACCUMULATOR piece_of(uint p, float scale)
{
    ACCUMULATOR piece;
    [[unroll]] for (uint i = 0; i < 8; i++) piece[i] = clamp(values[p * 8 + i] * scale, -65504.0, 65504.0);
    return piece;
}

// With LANES_QUADS: eight columns of one of this invocation's two rows, from pieces p and p + 1.
uvec4 eight_columns(uint p, uint r, float scale)
{
    uint at = p * 8 + r * 4;
    vec4 first = vec4(values[at], values[at + 1], values[at + 2], values[at + 3]);
    vec4 second = vec4(values[at + 8], values[at + 9], values[at + 10], values[at + 11]);
    return uvec4(four_halves(first * scale), four_halves(second * scale));
}

// A run of queries or keys with K innermost, the latter in order of places.
void store_rows(uint run, uint array, uint row, uint column, float scale, bool placed)
{
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < RUN_N; n += LANES == LANES_QUADS ? 2 : 1) {
            uint p = m * PIECES_N + run * RUN_N + n, own = row + m * MATRIX_M;
            if (LANES == LANES_QUADS) {
                [[unroll]] for (uint r = 0; r < 2; r++) {
                    uint token = own + sum_row(r * 4);
                    operands[array + unit_at(CHUNK, placed ? place_of(token) : token, (column + right_column(n, 0)) / 8)] =
                        eight_columns(p, r, scale);
                }
            } else {
                coopMatStore(HALF_SUMS(piece_of(p, scale)), operands,
                             array + unit_at(CHUNK, own, (column + n * MATRIX_N) / 8), 4, gl_CooperativeMatrixLayoutRowMajor);
            }
        }
    }
}

void store_gates(uint run, uint token, uint row)
{
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < RUN_N; n += LANES == LANES_QUADS ? 2 : 1) {
            uint p = m * PIECES_N + run * RUN_N + n, own = token + m * MATRIX_M;
            if (LANES == LANES_QUADS) {
                [[unroll]] for (uint r = 0; r < 2; r++)
                    y_eights[half_at(push.y_stride, own + sum_row(r * 4), row + right_column(n, 0)) / 8] =
                        eight_columns(p, r, 1.0);
            } else {
                store_whole(own, row + n * MATRIX_N, piece_of(p, 1.0));
            }
        }
    }
}

// Two tokens of a column; those that the pass does not have are zero.
uint two_tokens(uint first, uint first_token, uint second, uint second_token)
{
    return two_halves(vec2(first_token < push.columns ? values[first] : 0.0,
                           second_token < push.columns ? values[second] : 0.0));
}

// Leaves a run of rows, those of `row` and on of an array of `rows`, with tokens innermost.
void store_columns(uint run, uint array, uint rows, uint row, uint token)
{
    [[unroll]] for (uint n = 0; n < RUN_N; n++) {
        if (LANES == LANES_QUADS) {
            [[unroll]] for (uint i = 0; i < 4; i++) {
                uvec4 eight;
                [[unroll]] for (uint m = 0; m < 4; m++) {
                    uint at = (m * PIECES_N + run * RUN_N + n) * 8 + i, own = token + m * MATRIX_M;
                    eight[m] = two_tokens(at, own + sum_row(i), at + 4, own + sum_row(i + 4));
                }
                operands[array + unit_at(rows, row + right_column(n, i), gl_SubgroupInvocationID / 4)] = eight;
            }
        } else {
            [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
                uint at = (m * PIECES_N + run * RUN_N + n) * 8, own = token + m * MATRIX_M;
                uvec4 eight;
                [[unroll]] for (uint i = 0; i < 4; i++)
                    eight[i] = two_tokens(at + 2 * i, own + 2 * i, at + 2 * i + 1, own + 2 * i + 1);
                operands[array + unit_at(rows, row + right_column(n, 0), own % CHUNK / 8)] = eight;
            }
        }
    }
}

void store_values()
{
    uint token = first_token(), c = token / CHUNK, row = token % CHUNK, first = tile_row() + across() * SUB_ROWS;
    if (split() != 0 || c * CHUNK >= push.columns) return;
    if (tile_row() < keys_end()) {
        bool are_keys = tile_row() >= queries_end();
        uint head = (are_keys ? tile_row() - queries_end() : tile_row()) / push.key_size;
        uint pair = tile_row() % push.key_size / 2 + across() * RUN_ROWS;
        uint array = are_keys ? key_at(c, head) : query_at(c, head);
        rotate(chunks[c].z + row, pair);
        [[unroll]] for (uint run = 0; run < 2; run++) {
            uint column = pair + run * push.key_size / 2;
            store_rows(run, array, row, column, are_keys ? 1.0 : push.query_scale, are_keys);
            if (are_keys) store_columns(run, key_in_at(c, head), push.padded_key, column, token);
        }
    } else if (tile_row() < values_end()) {
        uint v = first - keys_end(), head = v / push.value_size;
        [[unroll]] for (uint run = 0; run < 2; run++)
            store_columns(run, value_at(c, head), push.padded_value, v % push.value_size + run * RUN_ROWS, token);
    } else {
        [[unroll]] for (uint run = 0; run < 2; run++) store_gates(run, token, first + run * RUN_ROWS);
    }
}

#define STORE_OPERANDS(sum)                                                                                            \
    [[unroll]] for (uint p = 0; p < PIECES_M * PIECES_N; p++) {                                                        \
        ACCUMULATOR piece = sum[p];                                                                                    \
        [[unroll]] for (uint i = 0; i < 8; i++) values[p * 8 + i] = piece[i];                                          \
    }                                                                                                                  \
    store_values();
