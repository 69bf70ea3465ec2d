// matmul.glsl: what matmul.comp and matmul_direct.comp share beyond matmul_problem.glsl: tiles, and storing the result.
//
// A workgroup makes a tile of TILE_TOKENS x TILE_ROWS of Y, each of its subgroups SUB_TOKENS x SUB_ROWS of that.
// With GLU a tile's rows are pairs of panels, and a subgroup owns the same rows of both panels of a pair.

layout(constant_id = 9) const uint TILE_TOKENS = 128;
layout(constant_id = 10) const uint TILE_ROWS = 128; // a multiple of 64, of 128 with GLU
layout(constant_id = 11) const uint SUB_TOKENS = 64;
layout(constant_id = 12) const uint SUB_ROWS = 64;

#include "matmul_problem.glsl"

layout(std430, set = 0, binding = 2) buffer OutputEights { uvec4 y_eights[]; };

const uint SUBGROUPS_ACROSS = TILE_ROWS / SUB_ROWS; // of a tile, along rows
const uint TILE_SUBGROUPS = TILE_TOKENS / SUB_TOKENS * SUBGROUPS_ACROSS;
const uint PIECES_M = SUB_TOKENS / MATRIX_M, PIECES_N = SUB_ROWS / MATRIX_N;
const uint PIECE = MATRIX_M * MATRIX_N;
const uint OUT_N = GLU ? PIECES_N / 2 : PIECES_N; // pieces along rows that are stored
const uint OUT_ROWS = GLU ? TILE_ROWS / 2 : TILE_ROWS;

#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

shared float scratch[LOCAL_SIZE / SUBGROUP * PIECE];

// ---- Result --------------------------------------------------------------------------------------------------------

// This subgroup's part of the tile: its first token, and its first piece along the rows that are stored. More subgroups than
// a tile has are splits of it (matmul_direct.comp).
uint tile_subgroup() { return gl_SubgroupID % TILE_SUBGROUPS; }
uint sub_token() { return tile_subgroup() / SUBGROUPS_ACROSS * SUB_TOKENS; }
uint first_piece() { return tile_subgroup() % SUBGROUPS_ACROSS * OUT_N; }
uint split() { return gl_SubgroupID / TILE_SUBGROUPS; }

void store_value(uint token, uint row, float value)
{
    if (token >= push.columns || row >= push.rows) return;
    uint at = token * push.y_stride + push.row_base + row;
    y[at] = EPILOGUE == EPILOGUE_ADD ? y[at] + value : value;
}

// Also writes zeros up to a multiple of 32 rows, the next projection's padding.
void store_halves(uint token, uint row, vec4 value)
{
    if (token >= push.columns || row >= (push.rows + 31u & ~31u)) return;
    y_halves[half_at(push.y_stride, token, push.row_base + row) / 4] = four_halves(value);
}

// A piece of Y that this subgroup left in its scratch memory. A loop, since there is one of these for each piece.
void store_piece(uint token, uint row)
{
    const uint values = HALVES != 0 ? 4 : 1;
    uint base = gl_SubgroupID * PIECE;
    [[dont_unroll]] for (uint i = gl_SubgroupInvocationID * values; i < PIECE; i += SUBGROUP * values) {
        uint t = token + i / MATRIX_N, r = row + i % MATRIX_N;
        vec4 value;
        [[unroll]] for (uint k = 0; k < values; k++)
            value[k] = scratch[base + i + k];
        if (HALVES != 0)
            store_halves(t, r, value);
        else
            store_value(t, r, value.x);
    }
}

#ifdef RETENTION
uint tile_of_tokens() { return push.first_tile + gl_WorkGroupID.x; }
#else
uint tile_of_tokens() { return gl_WorkGroupID.x; }
#endif
uint first_token() { return tile_of_tokens() * TILE_TOKENS + sub_token(); }
uint first_row() { return gl_WorkGroupID.y * OUT_ROWS + first_piece() * MATRIX_N; }

// Whether all of the workgroup's tile is stored: matrices must not be touched in divergent control flow. The units want
// rows of Y aligned to 16 bytes.
bool is_whole()
{
    return (HALVES != 0 || push.y_stride % 4 == 0) && (gl_WorkGroupID.x + 1) * TILE_TOKENS <= push.columns &&
           (gl_WorkGroupID.y + 1) * OUT_ROWS <= push.rows;
}

// `factor` is of the linear branch with GLU.
void finish(inout ACCUMULATOR piece, ACCUMULATOR factor)
{
    if (ACTIVATION != ACTIVATION_NONE)
        [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] = activate(ACTIVATION, piece[i]);
    if (GLU)
        [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] *= factor[i];
}

// Stores a piece that lies in Y altogether.
void store_whole(uint token, uint row, ACCUMULATOR piece)
{
    row += push.row_base;
    if (HALVES != 0) {
        [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] = clamp(piece[i], -65504.0, 65504.0);
        coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> halves =
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(piece);
        coopMatStore(halves, y_eights, half_at(push.y_stride, token, row) / 8, HALVES_BLOCK / 8,
                     gl_CooperativeMatrixLayoutRowMajor);
        return;
    }
    coopMatStore(piece, y, token * push.y_stride + row, push.y_stride, gl_CooperativeMatrixLayoutRowMajor);
}

// Stores what lies in Y of a piece. All subgroups come along, since one software driver takes a subgroup's barrier for the
// workgroup's.
void store_part(uint token, uint row, ACCUMULATOR piece)
{
    subgroupBarrier();
    coopMatStore(piece, scratch, gl_SubgroupID * PIECE, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
    subgroupBarrier();
    if (split() == 0) store_piece(token, row);
}

// What becomes of a subgroup's sums. Copies: one driver computes nothing where a component of an array of matrices is named.
#define FINISH(sum)                                                                                                    \
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {                                                                   \
        [[unroll]] for (uint n = 0; n < OUT_N; n++) {                                                                  \
            ACCUMULATOR piece = sum[m * PIECES_N + n], factor = sum[m * PIECES_N + (GLU ? n + OUT_N : n)];             \
            finish(piece, factor);                                                                                     \
            sum[m * PIECES_N + n] = piece;                                                                             \
        }                                                                                                              \
    }

// Of a tile that does not lie in Y altogether.
#define STORE_PARTS(sum)                                                                                               \
    [[unroll]] for (uint i = 0; i < PIECES_M * OUT_N; i++)                                                             \
        store_part(first_token() + i / OUT_N * MATRIX_M, first_row() + i % OUT_N * MATRIX_N,                           \
                   sum[i / OUT_N * PIECES_N + i % OUT_N]);

// What they are added to is loaded before anything is stored: no compiler moves a load past a store to the same buffer, and each
// would be waited for.
#define STORE_WHOLE(sum)                                                                                               \
    uint token = first_token(), row = first_row();                                                                     \
    [[unroll]] for (uint i = 0; i < (EPILOGUE == EPILOGUE_ADD ? PIECES_M * PIECES_N : 0); i++) {                       \
        ACCUMULATOR before;                                                                                            \
        coopMatLoad(before, y,                                                                                         \
                    (token + i / PIECES_N * MATRIX_M) * push.y_stride + push.row_base + row +                          \
                        i % PIECES_N * MATRIX_N,                                                                       \
                    push.y_stride, gl_CooperativeMatrixLayoutRowMajor);                                                \
        sum[i] += before;                                                                                              \
    }                                                                                                                  \
    [[unroll]] for (uint i = 0; i < PIECES_M * OUT_N; i++)                                                             \
        store_whole(token + i / OUT_N * MATRIX_M, row + i % OUT_N * MATRIX_N, sum[i / OUT_N * PIECES_N + i % OUT_N]);
