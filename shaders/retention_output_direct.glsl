// retention_output_direct.glsl: retention_output_matrix.comp for devices whose matrices lie as lanes.glsl knows: operands go
// from memory straight into matrices, and only the scores through shared memory.
//
// States are kept before every second chunk only, which halves what they take of the memory's bandwidth. A chunk behind such
// one, at `behind` 1, starts from the same state and has the keys and values of the chunk before beside its own:
//
//     O = ((Q K^T) * D) V + ((Q K'^T) * D') V' + (Q * decay^(i+1+L')) R        D'_ij = decay^(i+L'-j), L' tokens before
//
// A workgroup that has all of a head's values can also take the group norm and the gate (norm.comp), and leave f16.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 256;
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint MATRIX_M = 16;
layout(constant_id = 3) const uint MATRIX_N = 16;
layout(constant_id = 4) const uint MATRIX_K = 16;
layout(constant_id = 5) const uint SUB_ROWS = 64; // of the chunk, and columns of V, that a subgroup owns
layout(constant_id = 6) const uint SUB_V = 64;
layout(constant_id = 7) const uint LANES = 1;
layout(constant_id = 8) const uint DEPTH = 2; // blocks of scores under way; of keys there is a multiple
layout(constant_id = 9) const uint NORM = 0;
layout(constant_id = 10) const uint WEIGHT = 0;     // these only with NORM
layout(constant_id = 11) const uint GATE = 0;       // f16, where the input is
layout(constant_id = 12) const uint EPS_SCALED = 0; // by s_n of the row's position
layout(constant_id = 13) const uint EIGHTS = 0;     // all that eight columns touch lies in eights, or fours of fp32
layout(constant_id = 14) const uint PROJECTED = 0;  // operands come from retention_project.comp

#define PARAMS_BINDING 2
#include "positions.glsl"
#include "retention_scratch.glsl"
#include "lanes.glsl"
#include "halves.glsl"
#include "activation.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Scratch { uvec4 scratch[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(std430, set = 0, binding = 1) writeonly buffer OutputFours { vec4 y_fours[]; };
layout(std430, set = 0, binding = 1) writeonly buffer OutputPairs { uint y_pairs[]; };
layout(std430, set = 0, binding = 1) writeonly buffer OutputEights { uvec4 y_eights[]; };
layout(set = 0, binding = 3) uniform Chunks { uvec4 chunks[1024]; }; // {row, length, position, behind}
layout(std430, set = 0, binding = 4) readonly buffer GatePairs { uint gate_pairs[]; };
layout(std430, set = 0, binding = 4) readonly buffer GateEights { uvec4 gate_eights[]; };

#include "retention_units.glsl"

const uint SUBGROUPS = LOCAL_SIZE / SUBGROUP, ACROSS = SUBGROUPS * SUB_ROWS / CHUNK, TILE_V = ACROSS * SUB_V;
const uint PIECES_M = SUB_ROWS / MATRIX_M, PIECES_N = SUB_V / MATRIX_N;
const uint PIECE = MATRIX_M * MATRIX_N;
const uint SCORE_STRIDE = 2 * CHUNK / 8 + 1; // of the chunk before, where there is one behind the kept state, and this one
// Scores are shared out in tasks of 32 rows and a piece's columns; where there are fewer than subgroups, some make the same.
const uint TASK_ROWS = 32, TASK_M = TASK_ROWS / MATRIX_M, TASKS_ACROSS = CHUNK / MATRIX_N;
const uint TASKS = CHUNK / TASK_ROWS * TASKS_ACROSS, OWN_TASKS = (TASKS + SUBGROUPS - 1) / SUBGROUPS;
const uint SUM_ROWS = LANES == LANES_QUADS ? 2 : 8; // of a piece of sums that an invocation has components of

shared uvec4 scores[CHUNK * SCORE_STRIDE];
shared float piece_scratch[SUBGROUPS * PIECE];
shared float row_squares[NORM != 0 ? ACROSS * CHUNK : 1];

uint head_powers, head_decay; // in params

// With LANES_QUADS and EIGHTS, all gates of an invocation: there are registers for them when the sums are done, and not before.
const uint GATES = GATE != 0 && EIGHTS != 0 && LANES == LANES_QUADS ? PIECES_M * PIECES_N : 1;
const uint WEIGHTS = WEIGHT != 0 && EIGHTS != 0 && LANES == LANES_QUADS ? PIECES_N : 1;

uvec4 gates[GATES];    // [pieces along rows][pairs of pieces along columns][rows of an invocation]
vec4 weights[WEIGHTS]; // [pieces along columns]: two fours for each pair of them
uvec4 left[PIECES_M * STRIP_LOADS], right[PIECES_N * STRIP_LOADS];                     // of the block under way
uvec4 score_left[DEPTH * TASK_M * STRIP_LOADS], score_right[DEPTH * STRIP_LOADS]; // of several

// What a subgroup does in one turn: scores of 32 of the chunk's rows with a piece's columns of this chunk or the one before.
struct Task {
    uint row, column, part;
};

Task task_of(uint turn)
{
    uint task = min(gl_SubgroupID + turn % OWN_TASKS * SUBGROUPS, TASKS - 1);
    return Task(task / TASKS_ACROSS * TASK_ROWS, task % TASKS_ACROSS * MATRIX_N, turn / OWN_TASKS);
}

// From this invocation's first unit of a block.
void fetch_left(uint at)
{
    [[unroll]] for (uint i = 0; i < PIECES_M * STRIP_LOADS; i++)
        left[i] = unit_of(at, (i / STRIP_LOADS * MATRIX_M + strip_step(i % STRIP_LOADS)) * 4);
}

void fetch_right(uint at, uint n)
{
    [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++)
        right[n * STRIP_LOADS + i] = unit_of(at, right_step(n, i) * 4);
}

void fetch_scored(uint place, uint queries, uint keys)
{
    [[unroll]] for (uint i = 0; i < TASK_M * STRIP_LOADS; i++)
        score_left[place * TASK_M * STRIP_LOADS + i] =
            unit_of(queries, (i / STRIP_LOADS * MATRIX_M + strip_step(i % STRIP_LOADS)) * 4);
    [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++) score_right[place * STRIP_LOADS + i] = unit_of(keys, strip_step(i) * 4);
}

#define FILL_LEFT(a, pieces_m, units, at)                                                                              \
    [[unroll]] for (uint m = 0; m < pieces_m; m++) {                                                                   \
        [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {                                                           \
            LEFT piece = LEFT(float16_t(0.0));                                                                         \
            FILL_PIECE(piece, units, (at) + m * STRIP_LOADS, k)                                                        \
            a[m * BLOCK_PIECES + k] = piece;                                                                           \
        }                                                                                                              \
    }

// sum += a * right of the block at `at`, whose last strip is fetched only here, as others are of the next block: a strip less
// is under way at a time, or else registers do not suffice.
#define MULTIPLY(sum, a, at, next_at, behind_first)                                                                    \
    fetch_right(at, PIECES_N - 1);                                                                                     \
    [[unroll]] for (uint n = 0; n < PIECES_N; n++) {                                                                   \
        [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {                                                           \
            RIGHT piece = RIGHT(float16_t(0.0));                                                                       \
            FILL_PIECE(piece, right, n * STRIP_LOADS, k)                                                               \
            [[unroll]] for (uint m = 0; m < PIECES_M; m++)                                                             \
                sum[m * PIECES_N + n] = coopMatMulAdd(a[m * BLOCK_PIECES + k], piece, sum[m * PIECES_N + n]);          \
        }                                                                                                              \
        if (n == 0) { behind_first }                                                                                   \
        if (n > 0) fetch_right(next_at, n - 1);                                                                        \
    }

// Of a chunk's own scores D of the decay mask, of those with the chunk before, of `length` tokens, decay^(row + length - column).
float faded_score(float score, uint row, uint column, bool own, uint length)
{
    if (PROJECTED != 0) column = place_of(column);
    float fade = own ? params[head_powers + (column > row ? 0 : row - column)]
                     : params[head_powers + row] * params[head_powers + length - min(column, length)];
    return own && column > row ? 0.0 : clamp(score * fade, -65504.0, 65504.0);
}

// decay^(row + 1) / c, which the state before the chunk has faded by, seen from a row of the chunk.
float out_scale(uint row)
{
    return params[head_powers + row + 1] / state_factor(params[head_decay]);
}

// Stores what lies in Y of a piece. A loop, since there is one of these for each piece.
void store_part(ACCUMULATOR piece, uvec4 chunk, uint head, uint row, uint v)
{
    uint own = gl_SubgroupID * PIECE;
    subgroupBarrier();
    coopMatStore(piece, piece_scratch, own, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
    subgroupBarrier();
    const uint values = NORM != 0 ? 2 : 1;
    [[dont_unroll]] for (uint i = gl_SubgroupInvocationID * values; i < PIECE; i += SUBGROUP * values) {
        uint r = row + i / MATRIX_N, column = v + i % MATRIX_N;
        if (r >= chunk.y || column >= push.value_size) continue;
        uint to = head * push.value_size + column;
        if (NORM != 0)
            y_pairs[half_at(push.y_stride, chunk.x + r, to) / 2] =
                packHalf2x16(vec2(piece_scratch[own + i], piece_scratch[own + i + 1]));
        else
            y[push.y_offset + (chunk.x + r) * push.y_stride + to] = piece_scratch[own + i];
    }
}

float gate_of(uint token, uint i)
{
    uint at = half_at(push.x_stride, token, push.gate_offset + i);
    vec2 pair = unpackHalf2x16(gate_pairs[at / 2]);
    return silu((at & 1u) == 0 ? pair.x : pair.y);
}

float weight_of(uint v) { return WEIGHT != 0 ? params[push.weight + v] : 1.0; }

void fetch_gates(uvec4 chunk, uint head, uint sub_row, uint sub_v)
{
    if (GATES == 1) return;
    [[unroll]] for (uint i = 0; i < GATES; i++) {
        uint row = sub_row + i / PIECES_N * MATRIX_M + sum_row(i % 2 * 4);
        uint v = min(sub_v + right_column(i % PIECES_N / 2 * 2, 0), push.value_size - 8);
        uint column = push.gate_offset + head * push.value_size + v;
        gates[i] = gate_eights[half_at(push.x_stride, chunk.x + min(row, chunk.y - 1), column) / 8];
    }
}

void fetch_weights(uint sub_v)
{
    if (WEIGHTS == 1) return;
    [[unroll]] for (uint i = 0; i < WEIGHTS; i++)
        weights[i] = param_quads[(push.weight + min(sub_v + right_column(i, 0), push.value_size - 4)) / 4];
}

// Eight columns of a row from v on, with LANES_QUADS. `factor` is of the norm.
void leave_eight(vec4 low, vec4 high, vec4 low_weight, vec4 high_weight, uvec4 gate, uvec4 chunk, uint head, uint row, uint v,
                 float factor)
{
    if (row >= chunk.y || v >= push.value_size) return;
    uint token = chunk.x + row, to = head * push.value_size + v;
    float value[8] = float[](low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w);
    if (NORM != 0 && EIGHTS != 0) {
        low *= factor;
        high *= factor;
        if (WEIGHT != 0) {
            low *= low_weight;
            high *= high_weight;
        }
        if (GATE != 0) {
            vec4 a = vec4(unpackHalf2x16(gate.x), unpackHalf2x16(gate.y));
            vec4 b = vec4(unpackHalf2x16(gate.z), unpackHalf2x16(gate.w));
            low *= vec4(silu(a.x), silu(a.y), silu(a.z), silu(a.w));
            high *= vec4(silu(b.x), silu(b.y), silu(b.z), silu(b.w));
        }
        y_eights[half_at(push.y_stride, token, to) / 8] = uvec4(four_halves(low), four_halves(high));
    } else if (NORM != 0) {
        [[unroll]] for (uint i = 0; i < 8; i += 2) {
            if (v + i >= push.value_size) break; // of an even number
            vec2 pair = vec2(value[i] * weight_of(v + i), value[i + 1] * weight_of(v + i + 1)) * factor;
            if (GATE != 0) pair *= vec2(gate_of(token, to + i), gate_of(token, to + i + 1));
            y_pairs[half_at(push.y_stride, token, to + i) / 2] = two_halves(pair);
        }
    } else if (EIGHTS != 0) {
        y_fours[(push.y_offset + token * push.y_stride + to) / 4] = low;
        y_fours[(push.y_offset + token * push.y_stride + to) / 4 + 1] = high;
    } else {
        [[unroll]] for (uint i = 0; i < 8; i++)
            if (v + i < push.value_size) y[push.y_offset + token * push.y_stride + to + i] = value[i];
    }
}

void main()
{
    // The last first, whose states and values were written last.
    uint c = push.first_output + gl_NumWorkGroups.z - 1 - gl_WorkGroupID.z, head = gl_WorkGroupID.y;
    uint key_head = head / (push.heads / push.key_value_heads);
    uint across = gl_SubgroupID % ACROSS, sub_row = gl_SubgroupID / ACROSS * SUB_ROWS;
    uint sub_v = gl_WorkGroupID.x * TILE_V + across * SUB_V;
    uint key_blocks = push.padded_key / 32, own_unit = strip_row(0) * 4 + strip_unit();
    uvec4 chunk = chunks[c];
    uint behind = chunk.w, kept = c - behind, length = chunks[kept].y; // of the chunk whose state before it is there
    uint queries = query_at(c, head) + own_unit, own_row = (sub_v + right_row()) * 4 + strip_unit();
    uint before = before_at(kept, head) + own_row, values = value_at(kept, key_head) + own_row;
    uint value_step = push.padded_value * 4, value_chunk = value_at(1, 0) - value_at(0, 0);
    head_powers = push.powers + head * push.powers_stride;
    head_decay = push.decays + head;

    uint turns = OWN_TASKS * (behind + 1);
    Task next = task_of(0);
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        fetch_scored(d, queries + (d * CHUNK + next.row) * 4,
                     key_at(kept, key_head) + own_unit + (d * CHUNK + next.column) * 4);
    fetch_left(queries + sub_row * 4); // for after the scores
    [[unroll]] for (uint n = 0; n + 1 < PIECES_N; n++) fetch_right(before, n);
    for (uint turn = 0; turn < turns; turn++) {
        Task own = next;
        next = task_of(min(turn + 1, turns - 1)); // the last one's first blocks once more, in vain
        ACCUMULATOR p[TASK_M];
        LEFT a[TASK_M * BLOCK_PIECES];
        [[unroll]] for (uint m = 0; m < TASK_M; m++) p[m] = ACCUMULATOR(0.0);
        for (uint first = 0; first < key_blocks; first += DEPTH) {
            bool last = first + DEPTH >= key_blocks;
            Task fetched = Task(last ? next.row : own.row, last ? next.column : own.column, last ? next.part : own.part);
            uint next_queries = queries + ((last ? 0 : first + DEPTH) * CHUNK + fetched.row) * 4;
            uint next_keys = key_at(kept + fetched.part, key_head) + own_unit +
                             ((last ? 0 : first + DEPTH) * CHUNK + fetched.column) * 4;
            [[unroll]] for (uint d = 0; d < DEPTH; d++) {
                RIGHT b[BLOCK_PIECES];
                FILL_LEFT(a, TASK_M, score_left, d * TASK_M * STRIP_LOADS)
                [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {
                    RIGHT piece = RIGHT(float16_t(0.0));
                    FILL_PIECE(piece, score_right, d * STRIP_LOADS, k)
                    b[k] = piece;
                }
                fetch_scored(d, next_queries + d * CHUNK * 4, next_keys + d * CHUNK * 4);
                [[unroll]] for (uint m = 0; m < TASK_M; m++)
                    [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++)
                        p[m] = coopMatMulAdd(a[m * BLOCK_PIECES + k], b[k], p[m]);
            }
        }
        [[unroll]] for (uint m = 0; m < TASK_M; m++) {
            ACCUMULATOR piece = p[m];
            [[unroll]] for (int i = 0; i < piece.length(); i++)
                piece[i] = faded_score(piece[i], own.row + m * MATRIX_M + sum_row(i), own.column + sum_column(i),
                                       own.part == behind, length);
            coopMatStore(HALF_SUMS(piece), scores,
                         (own.row + m * MATRIX_M) * SCORE_STRIDE + (own.part * CHUNK + own.column) / 8, SCORE_STRIDE,
                         gl_CooperativeMatrixLayoutRowMajor);
        }
    }

    LEFT a[PIECES_M * BLOCK_PIECES];
    ACCUMULATOR o[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) o[i] = ACCUMULATOR(0.0);
    for (uint b = 0; b < key_blocks; b++) {
        bool more = b + 1 < key_blocks; // behind the state come the values
        FILL_LEFT(a, PIECES_M, left, 0)
        uint left_at = queries + ((more ? b + 1 : b) * CHUNK + sub_row) * 4;
        uint next_at = more ? before + (b + 1) * value_step : values;
        MULTIPLY(o, a, before + b * value_step, next_at, fetch_left(left_at);)
    }
    float fade = behind != 0 ? params[head_powers + length] : 1.0;
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        float scale[SUM_ROWS];
        [[unroll]] for (uint r = 0; r < SUM_ROWS; r++)
            scale[r] = fade * out_scale(sub_row + m * MATRIX_M + sum_row(r * 8 / SUM_ROWS));
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            ACCUMULATOR piece = o[m * PIECES_N + n];
            [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] *= scale[i * SUM_ROWS / 8];
            o[m * PIECES_N + n] = piece;
        }
    }
    barrier();
    const uint blocks = CHUNK / 32;
    for (uint d = 0; d < blocks * (behind + 1); d++) {
        [[unroll]] for (uint i = 0; i < PIECES_M * STRIP_LOADS; i++)
            left[i] = scores[(sub_row + i / STRIP_LOADS * MATRIX_M + strip_row(i % STRIP_LOADS)) * SCORE_STRIDE + d * 4 +
                             strip_unit()];
        FILL_LEFT(a, PIECES_M, left, 0)
        uint next = min(d + 1, blocks * (behind + 1) - 1);
        uint at = values + d / blocks * value_chunk + d % blocks * value_step;
        uint next_at = values + next / blocks * value_chunk + next % blocks * value_step;
        MULTIPLY(o, a, at, next_at, )
    }

    float eps[PIECES_M * SUM_ROWS], factors[PIECES_M * SUM_ROWS];
    fetch_gates(chunk, head, sub_row, sub_v);
    fetch_weights(sub_v);
    [[unroll]] for (uint i = 0; i < PIECES_M * SUM_ROWS; i++) {
        uint row = min(sub_row + i / SUM_ROWS * MATRIX_M + sum_row(i % SUM_ROWS * 8 / SUM_ROWS), chunk.y - 1);
        eps[i] = push.eps;
        if (EPS_SCALED != 0) eps[i] *= decay_sum_at(push.decay_sums, head, chunk.z + row);
    }
    if (NORM != 0) {
        [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
            float squares[SUM_ROWS];
            [[unroll]] for (uint r = 0; r < SUM_ROWS; r++) squares[r] = 0.0;
            [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                ACCUMULATOR piece = o[m * PIECES_N + n];
                [[unroll]] for (int i = 0; i < piece.length(); i++) squares[i * SUM_ROWS / 8] += piece[i] * piece[i];
            }
            [[unroll]] for (uint r = 0; r < SUM_ROWS; r++) {
                [[unroll]] for (uint apart = 1; apart < SUBGROUP * SUM_ROWS / MATRIX_M; apart *= 2)
                    squares[r] += subgroupShuffleXor(squares[r], apart);
                row_squares[across * CHUNK + sub_row + m * MATRIX_M + sum_row(r * 8 / SUM_ROWS)] = squares[r];
            }
        }
        barrier();
    }
    [[unroll]] for (uint i = 0; i < PIECES_M * SUM_ROWS; i++) {
        uint row = sub_row + i / SUM_ROWS * MATRIX_M + sum_row(i % SUM_ROWS * 8 / SUM_ROWS);
        float sum = 0.0;
        if (NORM != 0)
            for (uint k = 0; k < ACROSS; k++) sum += row_squares[k * CHUNK + row];
        factors[i] = NORM != 0 ? inversesqrt(sum / float(push.value_size) + eps[i]) : 1.0;
    }
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        if (LANES == LANES_QUADS) {
            [[unroll]] for (uint n = 0; n < PIECES_N; n += 2) {
                ACCUMULATOR first = o[m * PIECES_N + n], second = o[m * PIECES_N + n + 1];
                [[unroll]] for (uint r = 0; r < 2; r++) {
                    vec4 low = vec4(first[r * 4], first[r * 4 + 1], first[r * 4 + 2], first[r * 4 + 3]);
                    vec4 high = vec4(second[r * 4], second[r * 4 + 1], second[r * 4 + 2], second[r * 4 + 3]);
                    leave_eight(low, high, weights[min(n, WEIGHTS - 1)], weights[min(n + 1, WEIGHTS - 1)],
                                gates[min(m * PIECES_N + n + r, GATES - 1)], chunk, head,
                                sub_row + m * MATRIX_M + sum_row(r * 4), sub_v + right_column(n, 0),
                                factors[m * SUM_ROWS + r]);
                }
            }
        } else if (NORM != 0) {
            [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                ACCUMULATOR piece = o[m * PIECES_N + n];
                [[unroll]] for (int i = 0; i < piece.length(); i++) {
                    // The gate is there for the chunk's rows only.
                    uint token = chunk.x + min(sub_row + m * MATRIX_M + sum_row(i), chunk.y - 1);
                    uint v = min(sub_v + n * MATRIX_N + sum_column(i), push.value_size - 1);
                    float value = piece[i] * factors[m * SUM_ROWS + i * SUM_ROWS / 8] * weight_of(v);
                    if (GATE != 0) value *= gate_of(token, head * push.value_size + v);
                    piece[i] = clamp(value, -65504.0, 65504.0);
                }
                o[m * PIECES_N + n] = piece;
            }
        }
    }
    if (LANES == LANES_QUADS) return;

    // The units want rows of Y aligned to 16 bytes; the condition is of the whole workgroup.
    bool aligned = NORM != 0 ? push.value_size % 8 == 0 : (push.y_stride | push.y_offset | push.value_size) % 4 == 0;
    bool whole = chunk.y == CHUNK && aligned && (gl_WorkGroupID.x + 1) * TILE_V <= push.value_size;
    if (!whole) {
        [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) {
            ACCUMULATOR piece = o[i];
            store_part(piece, chunk, head, sub_row + i / PIECES_N * MATRIX_M, sub_v + i % PIECES_N * MATRIX_N);
        }
        return;
    }
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) {
        ACCUMULATOR piece = o[i];
        uint token = chunk.x + sub_row + i / PIECES_N * MATRIX_M;
        uint to = head * push.value_size + sub_v + i % PIECES_N * MATRIX_N;
        if (NORM != 0)
            coopMatStore(HALF_SUMS(piece), y_eights, half_at(push.y_stride, token, to) / 8, HALVES_BLOCK / 8,
                         gl_CooperativeMatrixLayoutRowMajor);
        else
            coopMatStore(piece, y, push.y_offset + token * push.y_stride + to, push.y_stride,
                         gl_CooperativeMatrixLayoutRowMajor);
    }
}
