#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// matmul_direct.comp: matmul.comp for devices whose matrices lie as lanes.glsl knows. Operands go from memory straight
// into matrices: no shared memory, no barriers, and a subgroup waits for nobody. What subgroups of a workgroup read
// alike comes from the first-level cache.
//
// Where tiles are too few to keep a device busy, a tile's subgroups are there SPLITS times, each set with a part of the
// inputs, and their sums are added at the end.
//
// X is read up to a multiple of SUB_TOKENS tokens.

layout(constant_id = 13) const uint LANES = 1;
layout(constant_id = 14) const uint SPLITS = 1; // parts that the inputs are cut into, each taken by subgroups of its own

#include "matmul.glsl"
#include "lanes.glsl"

const uint X_LOADS = PIECES_M * STRIP_LOADS, W_SLOTS = PIECES_N * STRIP_LOADS;

#include "matmul_operands.glsl"

// Strips of weights are fetched so many strips after the one before has been used, and tokens behind the first: less is under
// way at a time, or else an invocation's 255 registers do not suffice and the compiler keeps some in shared memory. Scaled
// weights need fewer.
const uint LATE = SCALED ? 0 : 1;

uvec4 x_next[X_LOADS];
uint x_at, unit_at;       // this invocation's first unit of X, and its unit of a row of W
uint block_at[GLU ? 2 : 1]; // the current block of W in this subgroup's panels
uint panel_row;           // this invocation's first in its panels

void find_sources()
{
    uint whole = (push.columns + SUB_TOKENS - 1) / SUB_TOKENS * SUB_TOKENS - SUB_TOKENS;
    uint token = min(gl_WorkGroupID.x * TILE_TOKENS + sub_token(), whole);
    x_at = (token + strip_row(0)) * TOKEN_UNITS + strip_unit();
    uint row = first_piece() * MATRIX_N; // of the tile's result
    uint panel = gl_WorkGroupID.y * (TILE_ROWS / PANEL_ROWS) + row / PANEL_ROWS * (GLU ? 2 : 1);
    panel_row = row % PANEL_ROWS + strip_row(0);
    unit_at = strip_unit();
    [[unroll]] for (uint i = 0; i < (GLU ? 2 : 1); i++)
        block_at[i] = min(panel + i, push.panels - 1) * push.blocks * block_units(FORMAT);
}

void fetch_x()
{
    uint at = near(x_at, 16);
    [[unroll]] for (uint i = 0; i < X_LOADS; i++)
        x_next[i] = x[at + (i / STRIP_LOADS * MATRIX_M + strip_step(i % STRIP_LOADS)) * TOKEN_UNITS];
}

// Strip n of the subgroup's rows.
void fetch_w(uint n)
{
    uint block = block_at[GLU ? n / OUT_N : 0];
    [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++)
        fetch_unit(n * STRIP_LOADS + i, block, panel_row, n % OUT_N * MATRIX_N + strip_step(i), unit_at);
}

void main()
{
    ACCUMULATOR sum[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) sum[i] = ACCUMULATOR(0.0);
    find_sources();
    uint part = (push.blocks + SPLITS - 1) / SPLITS, begin = split() * part, end = min(begin + part, push.blocks);
    uint skip = min(begin, push.blocks - 1);
    x_at += skip * push.x_room * TOKEN_UNITS;
    [[unroll]] for (uint i = 0; i < (GLU ? 2 : 1); i++) block_at[i] += skip * block_units(FORMAT);
    fetch_x();
    [[unroll]] for (uint n = 0; n < PIECES_N - LATE; n++) fetch_w(n);
    for (uint b = begin; b < end; b++) {
        if (LATE != 0) fetch_w(PIECES_N - 1);
        bool more = b + 1 < end; // else the last block once more, in vain
        x_at += more ? push.x_room * TOKEN_UNITS : 0;
        [[unroll]] for (uint i = 0; i < (GLU ? 2 : 1); i++) block_at[i] += more ? block_units(FORMAT) : 0;
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
    STORE_SUMS(sum)
}
