#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// matmul.comp: Y = epilogue(X W^T) for many columns, on matrix units: f16 operands, fp32 sums. X holds f16 activations, a
// token a row; W is in panels (weights.glsl) of any format and becomes f16 on its way into shared memory.
//
// A workgroup makes a tile of TILE_TOKENS x TILE_ROWS of Y, each of its subgroups SUB_TOKENS x SUB_ROWS of that. Blocks of
// 32 inputs go through two stages of shared memory: while one is multiplied, the next is on its way in registers.
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
layout(constant_id = 13) const uint TURN = 2; // blocks a turn of the loop: with 2 the stages' addresses are constants

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

// A staged row is 32 halves and 8 of padding, which spreads neighbouring rows over the banks of shared memory.
const uint STRIDE = 5, TOKEN_UNITS = 4;
const uint STAGE = (TILE_TOKENS + TILE_ROWS) * STRIDE;
// An invocation's share of a load: 8 weights of F32 are two units, of the others a unit is what it is.
const uint ITEM_WEIGHTS = FORMAT == FORMAT_Q8 ? 16 : FORMAT == FORMAT_Q4 ? 32 : 8;
const uint ITEM_UNITS = FORMAT == FORMAT_F32 ? 2 : 1;
const uint ROW_ITEMS = BLOCK_INPUTS / ITEM_WEIGHTS;
const uint X_LOADS = (TILE_TOKENS * TOKEN_UNITS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint W_LOADS = (TILE_ROWS * ROW_ITEMS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint SUBGROUPS_ACROSS = TILE_ROWS / SUB_ROWS; // of a tile, along rows
const uint PIECES_M = SUB_TOKENS / MATRIX_M, PIECES_N = SUB_ROWS / MATRIX_N;
const uint PIECE = MATRIX_M * MATRIX_N;
const bool GLU = EPILOGUE == EPILOGUE_GLU;
const uint OUT_N = GLU ? PIECES_N / 2 : PIECES_N; // pieces along rows that are stored

shared uvec4 staged[2 * STAGE];
shared float scratch[LOCAL_SIZE / SUBGROUP * PIECE];

uvec4 x_next[X_LOADS], w_next[W_LOADS * ITEM_UNITS];
float scale_next[W_LOADS];
uint x_from[X_LOADS], w_from[W_LOADS], scale_from[W_LOADS]; // in the first block

// ---- Global memory to registers ------------------------------------------------------------------------------------

void find_sources()
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        uint token = min(gl_WorkGroupID.x * TILE_TOKENS + item / TOKEN_UNITS, push.columns - 1);
        x_from[i] = token * (push.x_stride / 8) + item % TOKEN_UNITS;
    }
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        uint panel = gl_WorkGroupID.y * (TILE_ROWS / PANEL_ROWS) + item / (PANEL_ROWS * ROW_ITEMS);
        scale_from[i] = min(panel, push.panels - 1) * push.blocks * block_units(FORMAT);
        w_from[i] = scale_from[i] + item / PANEL_ROWS % ROW_ITEMS * (PANEL_ROWS * ITEM_UNITS) + item % PANEL_ROWS;
    }
}

void fetch(uint block)
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) x_next[i] = x[x_from[i] + block * TOKEN_UNITS];
    uint skip = block * block_units(FORMAT);
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint row = (i * LOCAL_SIZE + gl_LocalInvocationID.x) % PANEL_ROWS;
        [[unroll]] for (uint u = 0; u < ITEM_UNITS; u++)
            w_next[i * ITEM_UNITS + u] = weights[w_from[i] + skip + u * PANEL_ROWS];
        if (SCALED) scale_next[i] = block_scale(FORMAT, scale_from[i] + skip, row);
    }
}

// ---- Registers to shared memory, as f16 ----------------------------------------------------------------------------

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
    uvec4 pair = uvec4(word, word >> 8, word >> 16, word >> 24);
    uvec4 split = (pair & 0xfu) | (pair & 0xf0u) << 12;
    return uvec4(scaled_pair(split.x, 8.0, scale), scaled_pair(split.y, 8.0, scale),
                 scaled_pair(split.z, 8.0, scale), scaled_pair(split.w, 8.0, scale));
}

uint bf16_pair(uint word)
{
    return packHalf2x16(vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u)));
}

void stage_weights(uint at, uint unit, uint i)
{
    uvec4 w = w_next[i * ITEM_UNITS];
    f16vec2 s = f16vec2(scale_next[i]);
    if (FORMAT == FORMAT_F32) {
        vec4 low = uintBitsToFloat(w), high = uintBitsToFloat(w_next[i * ITEM_UNITS + ITEM_UNITS - 1]);
        staged[at + unit] = uvec4(packHalf2x16(low.xy), packHalf2x16(low.zw), packHalf2x16(high.xy), packHalf2x16(high.zw));
    } else if (FORMAT == FORMAT_F16) {
        staged[at + unit] = w;
    } else if (FORMAT == FORMAT_BF16) {
        staged[at + unit] = uvec4(bf16_pair(w.x), bf16_pair(w.y), bf16_pair(w.z), bf16_pair(w.w));
    } else if (FORMAT == FORMAT_Q8) {
        [[unroll]] for (uint i = 0; i < 2; i++)
            staged[at + unit * 2 + i] =
                uvec4(signed_byte_pair(w[i * 2], 0, s), signed_byte_pair(w[i * 2], 2, s),
                      signed_byte_pair(w[i * 2 + 1], 0, s), signed_byte_pair(w[i * 2 + 1], 2, s));
    } else if (FORMAT == FORMAT_Q4) {
        [[unroll]] for (uint i = 0; i < 4; i++) staged[at + i] = eight_nibbles(w[i], s);
    }
}

void stage(uint buffer_at)
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        if (item < TILE_TOKENS * TOKEN_UNITS)
            staged[buffer_at + item / TOKEN_UNITS * STRIDE + item % TOKEN_UNITS] = x_next[i];
    }
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        uint row = item / (PANEL_ROWS * ROW_ITEMS) * PANEL_ROWS + item % PANEL_ROWS;
        uint at = buffer_at + (TILE_TOKENS + row) * STRIDE;
        if (item < TILE_ROWS * ROW_ITEMS)
            stage_weights(at, item / PANEL_ROWS % ROW_ITEMS, i);
    }
}

// ---- Result --------------------------------------------------------------------------------------------------------

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

void main()
{
    uint sub_token = gl_SubgroupID / SUBGROUPS_ACROSS * SUB_TOKENS, across = gl_SubgroupID % SUBGROUPS_ACROSS;
    uint first_piece = across * OUT_N;
    coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sum[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++)
        sum[i] = coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);

    // Where the rows of this subgroup's pieces begin in a tile of W.
    uint w_row[PIECES_N];
    [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
        uint row = (first_piece + n % OUT_N) * MATRIX_N;
        w_row[n] = GLU ? row / PANEL_ROWS * (2 * PANEL_ROWS) + n / OUT_N * PANEL_ROWS + row % PANEL_ROWS : row;
    }

    find_sources();
    fetch(0);
    stage(0);
    barrier();
    for (uint first = 0; first < push.blocks; first += TURN) {
        [[unroll]] for (uint in_turn = 0; in_turn < TURN; in_turn++) {
            uint b = first + in_turn, now = (TURN == 1 ? b & 1u : in_turn) * STAGE;
            if (b >= push.blocks) break;
            if (b + 1 < push.blocks) fetch(b + 1);
            [[unroll]] for (uint k = 0; k < BLOCK_INPUTS; k += MATRIX_K) {
                coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a[PIECES_M];
                coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> w;
                [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                    coopMatLoad(a[m], staged, now + (sub_token + m * MATRIX_M) * STRIDE + k / 8, STRIDE,
                                gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                    coopMatLoad(w, staged, now + (TILE_TOKENS + w_row[n]) * STRIDE + k / 8, STRIDE,
                                gl_CooperativeMatrixLayoutColumnMajor);
                    [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                        sum[m * PIECES_N + n] = coopMatMulAdd(a[m], w, sum[m * PIECES_N + n]);
                }
            }
            if (b + 1 < push.blocks) stage(STAGE - now);
            barrier();
        }
    }

    uint tile_token = gl_WorkGroupID.x * TILE_TOKENS + sub_token;
    uint tile_row = gl_WorkGroupID.y * (GLU ? TILE_ROWS / 2 : TILE_ROWS) + first_piece * MATRIX_N;
    // Of the whole workgroup: matrices must not be touched in divergent control flow.
    // The units want rows of Y aligned to 16 bytes.
    bool inside = push.y_stride % 8 == 0 && (gl_WorkGroupID.x + 1) * TILE_TOKENS <= push.columns &&
                  (gl_WorkGroupID.y + 1) * (GLU ? TILE_ROWS / 2 : TILE_ROWS) <= push.rows;
    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < OUT_N; n++) {
            coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> piece = sum[m * PIECES_N + n];
            if (ACTIVATION != ACTIVATION_NONE)
                [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] = activate(ACTIVATION, piece[i]);
            if (GLU) {
                // A copy: one driver computes nothing where a component of an array of matrices is named.
                coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> factor =
                    sum[m * PIECES_N + n + OUT_N];
                [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] *= factor[i];
            }
            uint token = tile_token + m * MATRIX_M, row = tile_row + n * MATRIX_N;
            uint at = token * push.y_stride + push.row_base + row;
            if (HALVES != 0 && inside) {
                [[unroll]] for (int i = 0; i < piece.length(); i++) piece[i] = clamp(piece[i], -65504.0, 65504.0);
                coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> halves =
                    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(piece);
                coopMatStore(halves, y_eights, at / 8, push.y_stride / 8, gl_CooperativeMatrixLayoutRowMajor);
                continue;
            }
            if (HALVES == 0 && inside) {
                if (EPILOGUE == EPILOGUE_ADD) {
                    coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> before;
                    coopMatLoad(before, y, at, push.y_stride, gl_CooperativeMatrixLayoutRowMajor);
                    piece += before;
                }
                coopMatStore(piece, y, at, push.y_stride, gl_CooperativeMatrixLayoutRowMajor);
                continue;
            }
            subgroupBarrier();
            coopMatStore(piece, scratch, gl_SubgroupID * PIECE, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
            store_piece(token, row);
        }
    }
}
