// lanes.glsl: operands of matrix units straight from memory, 16 bytes a load, without shared memory or barriers between.
//
// An operand's rows lie along the inputs that are summed over, and an invocation must know which components of a
// matrix are its own. Vulkan leaves that to drivers; lib/layers/lanes.c finds out which of these it is, if any:
//
//     LANES_QUADS    16 x 16 x 16, 32 invocations. Invocation 4 g + t holds rows g and g + 8; of each the inputs
//                    2t, 2t + 1, 2t + 8, 2t + 9.
//     LANES_COLUMNS  8 x 8 x 8, 8 invocations. Invocation i holds input i of all rows.
//
// Sums, 8 components an invocation, lie like the left operand, columns for inputs.
//
// The order of inputs does not matter to a sum as long as both operands have the same. So for a block of 32 inputs an
// invocation reads what lies together, whole units of eight from its rows, and gives each piece of the block a part of them.
//
// A strip is a matrix's rows of one block, as many as a matrix has (MATRIX_M and MATRIX_N are the same here).

const uint LANES_QUADS = 1, LANES_COLUMNS = 2;

const uint STRIP_LOADS = LANES == LANES_QUADS ? 2 : 8; // units that an invocation reads of a strip
const uint BLOCK_PIECES = 32 / MATRIX_K;

#define LEFT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>
#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
#define HALF_SUMS coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

// Of a strip's rows and a row's four units, those that this invocation's load i reads.
uint strip_step(uint i)
{
    return LANES == LANES_QUADS ? i * 8 : i;
}

uint strip_row(uint i)
{
    return strip_step(i) + (LANES == LANES_QUADS ? gl_SubgroupInvocationID / 4 : 0);
}

uint strip_unit()
{
    return LANES == LANES_QUADS ? gl_SubgroupInvocationID % 4 : gl_SubgroupInvocationID / 2;
}

// Row and column of this invocation's component i of a matrix of sums.
uint sum_row(uint i)
{
    return LANES == LANES_QUADS ? gl_SubgroupInvocationID / 4 + i / 4 * 8 : i;
}

uint sum_column(uint i)
{
    return LANES == LANES_QUADS ? gl_SubgroupInvocationID % 4 * 2 + i % 2 + i / 2 % 2 * 8 : gl_SubgroupInvocationID;
}

// Which columns an invocation's sums are of depends on which rows of the right operand are called so. With LANES_QUADS and this
// order of them, those of strips 2 n and 2 n + 1 are of eight columns that lie together, 32 n + 8 t and on: components 4 r to
// 4 r + 3 of either piece in turn, for rows g + 8 r. What a quarter of a subgroup reads still lies together.
uint right_row() // this invocation's, behind which load i of strip n is right_step(n, i)
{
    return LANES == LANES_QUADS ? gl_SubgroupInvocationID / 8 * 8 + gl_SubgroupInvocationID / 4 % 2 : 0;
}

uint right_step(uint n, uint i)
{
    return LANES == LANES_QUADS ? n / 2 * 32 + n % 2 * 4 + i * 2 : n * MATRIX_N + i;
}

// Column of this invocation's component i of sums of strip n, if its right rows are read so.
uint right_column(uint n, uint i)
{
    return LANES == LANES_QUADS ? n / 2 * 32 + gl_SubgroupInvocationID % 4 * 8 + n % 2 * 4 + i % 4
                                : n * MATRIX_N + sum_column(i);
}

// Another order of the right operand's, within a strip: components 4 r to 4 r + 3 of its sums are of columns 4 t to 4 t + 3.
uint four_row()
{
    return LANES == LANES_QUADS ? gl_SubgroupInvocationID / 8 * 4 + gl_SubgroupInvocationID / 4 % 2 : 0;
}

uint four_step(uint i)
{
    return LANES == LANES_QUADS ? i * 2 : i;
}

// What is made of sums of a chunk's 64 tokens, and then has tokens innermost, has them in places: eight places side by side are
// of tokens that one invocation holds in a column. Token of a place, and also place of a token.
uint place_of(uint token)
{
    return LANES == LANES_QUADS ? token % 8 * 8 + token / 8 : token;
}

// Half `piece` of an invocation's four of a unit, for LANES_COLUMNS.
float16_t column_half(uvec4 unit, uint piece)
{
    uvec2 four = (gl_SubgroupInvocationID & 1u) == 0 ? unit.xy : unit.zw;
    f16vec2 pair = unpackFloat2x16(piece < 2 ? four.x : four.y);
    return (piece & 1u) == 0 ? pair.x : pair.y;
}

// Makes piece k of a block from the units that were read: units[at], .. units[at + STRIP_LOADS - 1].
#define FILL_PIECE(piece, units, at, k)                                                                                \
    if (LANES == LANES_QUADS) {                                                                                        \
        [[unroll]] for (uint r_ = 0; r_ < 2; r_++) {                                                                   \
            uvec2 four_ = (k) == 0 ? units[(at) + r_].xy : units[(at) + r_].zw;                                        \
            f16vec2 low_ = unpackFloat2x16(four_.x), high_ = unpackFloat2x16(four_.y);                                 \
            piece[r_ * 4] = low_.x;                                                                                    \
            piece[r_ * 4 + 1] = low_.y;                                                                                \
            piece[r_ * 4 + 2] = high_.x;                                                                               \
            piece[r_ * 4 + 3] = high_.y;                                                                               \
        }                                                                                                              \
    } else {                                                                                                           \
        [[unroll]] for (uint r_ = 0; r_ < STRIP_LOADS; r_++) piece[r_] = column_half(units[(at) + r_], k);             \
    }
