// matmul_direct.glsl: matmul_direct.comp, and with RETENTION retention_project.comp.

layout(constant_id = 13) const uint LANES = 1;
layout(constant_id = 14) const uint SPLITS = 1; // parts that the inputs are cut into, each taken by subgroups of its own; no more than blocks

#include "matmul.glsl"
#include "lanes.glsl"

const uint X_LOADS = PIECES_M * STRIP_LOADS, W_SLOTS = PIECES_N * STRIP_LOADS;

#include "matmul_operands.glsl"

// So many strips of weights, the last ones, are fetched when their block begins, and others when those of the block before have
// been used: with more under way at a time an invocation's 255 registers do not suffice, and the compiler keeps some in shared
// memory. Scaled weights need fewer.
const uint LATE = SCALED ? 0 : PIECES_N / 2;

#ifdef RETENTION
#include "retention_operands.glsl"
const uint RUNS = 2;

uint own_row() { return right_row(); }
uint row_step(uint n, uint i) { return right_step(n, i); }
#else
const uint RUNS = GLU ? 2 : 1, RUN_N = PIECES_N / RUNS; // runs of rows that lie in one panel, and pieces of each

// Panel of a run of this subgroup's rows, and the first of them there.
uvec2 run_place(uint run)
{
    uint row = first_piece() * MATRIX_N; // of the tile's result
    uint panel = gl_WorkGroupID.y * (TILE_ROWS / PANEL_ROWS) + row / PANEL_ROWS * RUNS + run;
    return uvec2(min(panel, push.panels - 1), row % PANEL_ROWS);
}

// Of a run this invocation's first row, behind which load i of its strip n is so far.
uint own_row() { return four_row(); }
uint row_step(uint n, uint i) { return n * MATRIX_N + four_step(i); }

// With LANES_QUADS rows are in an order by which an invocation holds four columns that lie together, and stores them as one: matrices
// store two at a time, each in another line of the cache.

layout(std430, set = 0, binding = 2) buffer OutputFours { vec4 y_fours[]; };

// Splits of a tile share out what is stored where it can be shared equally: each gets so many pieces from all.
const uint OUT_PIECES = PIECES_M * OUT_N; // of a subgroup
const uint EQUAL_SHARES = OUT_PIECES % SPLITS == 0 ? SPLITS : 1;
const uint SHARES = LANES == LANES_QUADS ? EQUAL_SHARES : 1;
const uint OWN_PIECES = OUT_PIECES / SHARES;
const bool SHARED_OUT = SHARES > 1;

// What is stored of them, [pieces along tokens][pieces along rows][components]: those of matrices are not to be touched in branches.
float values[LANES == LANES_QUADS ? OWN_PIECES * 8 : 1];

vec4 four_values(uint i) { return vec4(values[i * 4], values[i * 4 + 1], values[i * 4 + 2], values[i * 4 + 3]); }

// Of an invocation's four columns.
uint piece_of_four(uint i) { return SHARED_OUT ? split() * OWN_PIECES + i / 2 : i / 2; }
uint four_token(uint i) { return first_token() + piece_of_four(i) / OUT_N * MATRIX_M + sum_row(i % 2 * 4); }
uint four_row_of(uint i) { return first_row() + piece_of_four(i) % OUT_N * MATRIX_N + gl_SubgroupInvocationID % 4 * 4; }
uint four_at(uint i)
{
    uint column = push.row_base + four_row_of(i);
    return (HALVES != 0 ? half_at(push.y_stride, four_token(i), column) : four_token(i) * push.y_stride + column) / 4;
}

void store_fours()
{
    const uint fours = OWN_PIECES * 2;
    vec4 four[fours];
    // All loads before the first store, which no compiler moves a load past.
    [[unroll]] for (uint i = 0; i < fours; i++)
        four[i] = four_values(i) + (EPILOGUE == EPILOGUE_ADD ? y_fours[four_at(i)] : vec4(0.0));
    [[unroll]] for (uint i = 0; i < fours; i++) {
        if (HALVES != 0)
            y_halves[four_at(i)] = four_halves(four[i]);
        else
            y_fours[four_at(i)] = four[i];
    }
}

// What lies in Y of a tile that does not altogether. Not as other devices do it: where a compiler meets stores of matrices in a
// branch, the kernel is 1 or 2 % slower, also if the branch is never taken.
void store_fours_within()
{
    [[unroll]] for (uint i = 0; i < OWN_PIECES * 2; i++) {
        uint token = four_token(i), row = four_row_of(i);
        vec4 four = four_values(i);
        if (HALVES != 0)
            store_halves(token, row, four);
        else
            [[unroll]] for (uint k = 0; k < 4; k++) store_value(token, row + k, four[k]);
    }
}

// ---- Sharing out ---------------------------------------------------------------------------------------------------

const uint PART = GLU ? 16 : 8, OWN = OWN_PIECES * PART; // floats of a piece, with GLU of two, and of those that a split gets
const uint AT_ONCE = OWN % 16 == 0 ? 16 : 8;             // that pass through shared memory
const uint PASSED = LOCAL_SIZE * AT_ONCE / 4;

float parts[PIECES_M * PIECES_N * 8]; // this split's of all pieces
float own[OWN];                       // all splits' of this one's pieces

shared vec4 passed[SHARED_OUT ? PASSED : 1];

// Float i of those that split s gets.
float part_of(uint s, uint i)
{
    uint out_piece = s * OWN_PIECES + i / PART;
    return parts[(out_piece / OUT_N * PIECES_N + out_piece % OUT_N + i % PART / 8 * OUT_N) * 8 + i % 8];
}

// Of a split that only the invocation knows: others' are not to be touched by a computed index, or all live in memory.
float part_of_any(uint s, uint i)
{
    float value = part_of(0, i);
    [[unroll]] for (uint k = 1; k < SPLITS; k++) value = s == k ? part_of(k, i) : value;
    return value;
}

// In turn r each split passes on what the one r behind it gets.
void share_out()
{
    [[unroll]] for (uint i = 0; i < OWN; i++) own[i] = part_of_any(split(), i);
    [[unroll]] for (uint r = 1; r < SPLITS; r++) {
        uint from = tile_subgroup() + (split() + SPLITS - r) % SPLITS * TILE_SUBGROUPS;
        [[unroll]] for (uint first = 0; first < OWN; first += AT_ONCE) {
            barrier();
            [[unroll]] for (uint i = 0; i < AT_ONCE; i += 4) {
                vec4 four;
                [[unroll]] for (uint k = 0; k < 4; k++) four[k] = part_of_any((split() + r) % SPLITS, first + i + k);
                passed[i / 4 * LOCAL_SIZE + gl_SubgroupID * SUBGROUP + gl_SubgroupInvocationID] = four;
            }
            barrier();
            [[unroll]] for (uint i = 0; i < AT_ONCE; i += 4) {
                vec4 four = passed[i / 4 * LOCAL_SIZE + from * SUBGROUP + gl_SubgroupInvocationID];
                [[unroll]] for (uint k = 0; k < 4; k++) own[first + i + k] += four[k];
            }
        }
    }
    [[unroll]] for (uint i = 0; i < OWN_PIECES * 8; i++) {
        uint at = i / 8 * PART + i % 8;
        values[i] = activate(ACTIVATION, own[at]);
        if (GLU) values[i] *= own[GLU ? at + 8 : at];
    }
}
#endif

uvec4 x_next[X_LOADS];
uint x_at;                       // place of this invocation's first unit of X
uint w_at[RUNS], scale_at[RUNS]; // and of W in the current block, of each run
uint panel_row;                  // this invocation's row of that, or one as even

void find_sources()
{
    uint whole = (push.columns + SUB_TOKENS - 1) / SUB_TOKENS * SUB_TOKENS - SUB_TOKENS;
    uint token = min(first_token(), whole);
    x_at = ((token + strip_row(0)) * TOKEN_UNITS + strip_unit()) * 16;
    panel_row = own_row();
    [[unroll]] for (uint i = 0; i < RUNS; i++) {
        uvec2 place = run_place(i);
        uint panel = place.x * push.blocks * block_bytes();
        w_at[i] = panel + unit_bytes(place.y + panel_row, strip_unit());
        scale_at[i] = panel + scale_bytes(place.y + panel_row);
    }
}

void next_inputs(uint blocks)
{
    x_at += blocks * push.x_room * TOKEN_UNITS * 16;
}

void next_weights(uint blocks)
{
    [[unroll]] for (uint i = 0; i < RUNS; i++) {
        w_at[i] += blocks * block_bytes();
        scale_at[i] += blocks * block_bytes();
    }
}

void fetch_x()
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++)
        x_next[i] = input_vector(x_at, (i / STRIP_LOADS * MATRIX_M + strip_step(i % STRIP_LOADS)) * TOKEN_UNITS);
}

// Strip n of the subgroup's rows.
void fetch_w(uint n)
{
    uint run = n / RUN_N;
    [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++)
        fetch_unit(n * STRIP_LOADS + i, w_at[run], scale_at[run], panel_row, row_step(n % RUN_N, i));
}

void main()
{
    ACCUMULATOR sum[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) sum[i] = ACCUMULATOR(0.0);
    find_sources();
    // One at least. One driver runs a loop's body once in vain where it has no turns, from places that nobody has made.
    uint begin = push.blocks * split() / SPLITS, end = push.blocks * (split() + 1) / SPLITS;
    next_inputs(begin);
    next_weights(begin);
    fetch_x();
    [[unroll]] for (uint n = 0; n < PIECES_N - LATE; n++) fetch_w(n);
    for (uint b = begin; b < end; b++) {
        [[unroll]] for (uint n = PIECES_N - LATE; n < PIECES_N; n++) fetch_w(n);
        uint step = b + 1 < end ? 1 : 0; // else the last block once more, in vain
        next_inputs(step);
        next_weights(step);
        uvec4 units[X_LOADS];
        [[unroll]] for (uint i = 0; i < X_LOADS; i++) units[i] = in_order_of_weights(x_next[i]);
        LEFT a[PIECES_M * BLOCK_PIECES];
        [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
            [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {
                LEFT piece = LEFT(float16_t(0.0));
                FILL_PIECE(piece, units, m * STRIP_LOADS, k)
                a[m * BLOCK_PIECES + k] = piece;
            }
        }
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            uvec4 w[STRIP_LOADS];
            [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++) w[i] = halves_of(n * STRIP_LOADS + i);
            [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {
                RIGHT piece = RIGHT(float16_t(0.0));
                FILL_PIECE(piece, w, 0, k)
                [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                    sum[m * PIECES_N + n] = coopMatMulAdd(a[m * BLOCK_PIECES + k], piece, sum[m * PIECES_N + n]);
            }
            if (n == 0) fetch_x();
            if (n >= LATE) fetch_w(n - LATE);
        }
    }
#ifndef RETENTION
    if (SHARED_OUT) {
        [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) {
            ACCUMULATOR piece = sum[i];
            [[unroll]] for (uint k = 0; k < 8; k++) parts[i * 8 + k] = piece[k];
        }
        share_out();
        if (is_whole())
            store_fours();
        else
            store_fours_within();
        return;
    }
#endif
    if (SPLITS > 1) {
        [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) {
            ACCUMULATOR piece = sum[i];
            barrier();
            coopMatStore(piece, scratch, gl_SubgroupID * PIECE, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
            barrier();
            [[unroll]] for (uint s = 1; s < SPLITS; s++) {
                ACCUMULATOR other;
                coopMatLoad(other, scratch, (tile_subgroup() + s * TILE_SUBGROUPS) * PIECE, MATRIX_N,
                            gl_CooperativeMatrixLayoutRowMajor);
                piece += other;
            }
            sum[i] = piece;
        }
        barrier(); // scratch is used again
    }
#ifdef RETENTION
    STORE_OPERANDS(sum)
#else
    FINISH(sum)
    if (LANES == LANES_QUADS) {
        [[unroll]] for (uint i = 0; i < PIECES_M * OUT_N; i++) {
            ACCUMULATOR piece = sum[i / OUT_N * PIECES_N + i % OUT_N];
            [[unroll]] for (uint k = 0; k < 8; k++) values[i * 8 + k] = piece[k];
        }
        if (split() != 0) return;
        if (is_whole())
            store_fours();
        else
            store_fours_within();
        return;
    }
    if (!is_whole()) {
        STORE_PARTS(sum)
    } else if (split() == 0) {
        STORE_WHOLE(sum)
    }
#endif
}
