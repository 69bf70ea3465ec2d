// matmul.glsl: what matmul.comp and matmul_direct.comp share: the problem, and storing the result.
//
// A workgroup makes a tile of TILE_TOKENS x TILE_ROWS of Y, each of its subgroups SUB_TOKENS x SUB_ROWS of that.
// With GLU a tile's rows are pairs of panels, and a subgroup owns the same rows of both panels of a pair.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128; // SUBGROUP times the subgroups of a tile
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint EPILOGUE = 0;
layout(constant_id = 3) const uint ACTIVATION = 0;
layout(constant_id = 4) const uint HALVES = 0; // Y is f16
layout(constant_id = 5) const uint SUBGROUP = 32;
layout(constant_id = 6) const uint MATRIX_M = 16;
layout(constant_id = 7) const uint MATRIX_N = 16;
layout(constant_id = 8) const uint MATRIX_K = 16;
layout(constant_id = 9) const uint TILE_TOKENS = 128;
layout(constant_id = 10) const uint TILE_ROWS = 128; // a multiple of 64, of 128 with GLU
layout(constant_id = 11) const uint SUB_TOKENS = 64;
layout(constant_id = 12) const uint SUB_ROWS = 64;

const uint EPILOGUE_STORE = 0, EPILOGUE_ADD = 1, EPILOGUE_GLU = 2;

#define WEIGHTS_BINDING 0
#include "weights.glsl"
#include "activation.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Input { uvec4 x[]; };
layout(std430, set = 0, binding = 2) buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) buffer OutputHalves { uvec2 y_halves[]; };
layout(std430, set = 0, binding = 2) buffer OutputEights { uvec4 y_eights[]; };

layout(push_constant) uniform Push {
    uint blocks;   // of 32 inputs
    uint panels;   // of W in this dispatch
    uint rows;     // of Y in this dispatch
    uint row_base; // first row of Y
    uint columns;
    uint x_stride; // halves, a multiple of 8; what lies between the inputs and a multiple of 32 is finite
    uint y_stride; // floats, or halves, then a multiple of 4
} push;

const uint SUBGROUPS_ACROSS = TILE_ROWS / SUB_ROWS; // of a tile, along rows
const uint TILE_SUBGROUPS = TILE_TOKENS / SUB_TOKENS * SUBGROUPS_ACROSS;
const uint PIECES_M = SUB_TOKENS / MATRIX_M, PIECES_N = SUB_ROWS / MATRIX_N;
const uint PIECE = MATRIX_M * MATRIX_N;
const bool GLU = EPILOGUE == EPILOGUE_GLU;
const uint OUT_N = GLU ? PIECES_N / 2 : PIECES_N; // pieces along rows that are stored

#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

shared float scratch[LOCAL_SIZE / SUBGROUP * PIECE];

// ---- Weights as f16 -------------------------------------------------------------------------------------------------

// Integers of up to 10 bits become f16 by setting the exponent of 1024.
uint scaled_pair(uint integers, float zero, f16vec2 scale)
{
    return packFloat2x16((unpackFloat2x16(integers | 0x64006400u) - f16vec2(1024.0 + zero)) * scale);
}

uint signed_byte_pair(uint word, uint first, f16vec2 scale)
{
    uint bytes = word >> first * 8;
    return scaled_pair(((bytes & 0xffu) | (bytes & 0xff00u) << 8) ^ 0x00800080u, 128.0, scale);
}

uvec4 eight_nibbles(uint word, f16vec2 scale)
{
    uint a = word & 0xffffu, b = word >> 16;
    uvec4 split = (uvec4(a, a >> 8, b, b >> 8) | uvec4(a << 12, a << 4, b << 12, b << 4)) & 0xf000fu;
    return uvec4(scaled_pair(split.x, 8.0, scale), scaled_pair(split.y, 8.0, scale),
                 scaled_pair(split.z, 8.0, scale), scaled_pair(split.w, 8.0, scale));
}

uint bf16_pair(uint word)
{
    return packHalf2x16(vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u)));
}

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
    value = clamp(value, -65504.0, 65504.0);
    y_halves[(token * push.y_stride + push.row_base + row) / 4] = uvec2(packHalf2x16(value.xy), packHalf2x16(value.zw));
}

// A piece of Y that this subgroup left in its scratch memory.
void store_piece(uint token, uint row)
{
    uint base = gl_SubgroupID * PIECE, lane = gl_SubgroupInvocationID;
    if (HALVES != 0) {
        [[unroll]] for (uint j = 0; j < PIECE / SUBGROUP / 4; j++) {
            uint i = (j * SUBGROUP + lane) * 4;
            vec4 value = vec4(scratch[base + i], scratch[base + i + 1], scratch[base + i + 2], scratch[base + i + 3]);
            store_halves(token + i / MATRIX_N, row + i % MATRIX_N, value);
        }
    } else {
        [[unroll]] for (uint j = 0; j < PIECE / SUBGROUP; j++) {
            uint i = j * SUBGROUP + lane;
            store_value(token + i / MATRIX_N, row + i % MATRIX_N, scratch[base + i]);
        }
    }
}

// Piece m, n of the subgroup's, `factor` of the linear branch with GLU.
void store_result(uint m, uint n, ACCUMULATOR piece, ACCUMULATOR factor)
{
    uint token = gl_WorkGroupID.x * TILE_TOKENS + sub_token() + m * MATRIX_M;
    uint row = gl_WorkGroupID.y * (GLU ? TILE_ROWS / 2 : TILE_ROWS) + (first_piece() + n) * MATRIX_N;
    uint at = token * push.y_stride + push.row_base + row;
    // Of the whole workgroup: matrices must not be touched in divergent control flow.
    // The units want rows of Y aligned to 16 bytes.
    bool inside = push.y_stride % 8 == 0 && (gl_WorkGroupID.x + 1) * TILE_TOKENS <= push.columns &&
                  (gl_WorkGroupID.y + 1) * (GLU ? TILE_ROWS / 2 : TILE_ROWS) <= push.rows;
    if (ACTIVATION != ACTIVATION_NONE)
        [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] = activate(ACTIVATION, piece[i]);
    if (GLU)
        [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] *= factor[i];
    if (HALVES != 0 && inside) {
        [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] = clamp(piece[i], -65504.0, 65504.0);
        coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> halves =
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(piece);
        coopMatStore(halves, y_eights, at / 8, push.y_stride / 8, gl_CooperativeMatrixLayoutRowMajor);
    } else if (HALVES == 0 && inside) {
        if (EPILOGUE == EPILOGUE_ADD) {
            ACCUMULATOR before;
            coopMatLoad(before, y, at, push.y_stride, gl_CooperativeMatrixLayoutRowMajor);
            piece += before;
        }
        coopMatStore(piece, y, at, push.y_stride, gl_CooperativeMatrixLayoutRowMajor);
    } else {
        subgroupBarrier();
        coopMatStore(piece, scratch, gl_SubgroupID * PIECE, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        store_piece(token, row);
    }
}
