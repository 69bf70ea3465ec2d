#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// matmul.comp: Y = epilogue(X W^T) for many columns, on matrix units: f16 operands, fp32 sums. X holds f16 activations
// (halves.glsl); W is in panels (weights.glsl) of any format and becomes f16 on its way into shared memory.
//
// Blocks of 32 inputs go through two stages of shared memory: while one is multiplied, the next is on its way in registers.
// matmul_direct.comp is the faster way where the device allows it.

layout(constant_id = 13) const uint TURN = 2; // blocks a turn of the loop: with 2 the stages' addresses are constants

#include "matmul.glsl"

// A staged row is 32 halves and 8 of padding, which spreads neighbouring rows over the banks of shared memory.
const uint STRIDE = 5, TOKEN_UNITS = 4;
const uint STAGE = (TILE_TOKENS + TILE_ROWS) * STRIDE;
// An invocation's share of a load: 8 weights of F32 are two units, of the others a unit is what it is.
const uint ITEM_WEIGHTS = FORMAT == FORMAT_Q8 ? 16 : FORMAT == FORMAT_Q4 ? 32 : 8;
const uint ITEM_UNITS = FORMAT == FORMAT_F32 ? 2 : 1;
const uint ROW_ITEMS = BLOCK_INPUTS / ITEM_WEIGHTS;
const uint X_LOADS = (TILE_TOKENS * TOKEN_UNITS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint W_LOADS = (TILE_ROWS * ROW_ITEMS + LOCAL_SIZE - 1) / LOCAL_SIZE;

shared uvec4 staged[2 * STAGE];

uvec4 x_next[X_LOADS], w_next[W_LOADS * ITEM_UNITS];
float scale_next[W_LOADS];
uint x_from[X_LOADS], w_from[W_LOADS], scale_from[W_LOADS]; // in the first block

// ---- Global memory to registers ------------------------------------------------------------------------------------

void find_sources()
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        uint token = min(gl_WorkGroupID.x * TILE_TOKENS + item / TOKEN_UNITS, push.columns - 1);
        x_from[i] = token * TOKEN_UNITS + item % TOKEN_UNITS;
    }
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        uint panel = gl_WorkGroupID.y * (TILE_ROWS / PANEL_ROWS) + item / (PANEL_ROWS * ROW_ITEMS);
        scale_from[i] = min(panel, push.panels - 1) * push.blocks * block_units(FORMAT);
        w_from[i] = scale_from[i] + item % (PANEL_ROWS * ROW_ITEMS) * ITEM_UNITS;
    }
}

void fetch(uint block)
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) x_next[i] = x[x_from[i] + block * push.x_room * TOKEN_UNITS];
    uint skip = block * block_units(FORMAT);
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint row = (i * LOCAL_SIZE + gl_LocalInvocationID.x) / ROW_ITEMS % PANEL_ROWS;
        [[unroll]] for (uint u = 0; u < ITEM_UNITS; u++)
            w_next[i * ITEM_UNITS + u] = weights[w_from[i] + skip + u];
        if (SCALED) scale_next[i] = block_scale(FORMAT, scale_from[i] + skip, row);
    }
}

// ---- Registers to shared memory, as f16 ----------------------------------------------------------------------------

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
        uint row = item / ROW_ITEMS;
        uint at = buffer_at + (TILE_TOKENS + row) * STRIDE;
        if (item < TILE_ROWS * ROW_ITEMS)
            stage_weights(at, item % ROW_ITEMS, i);
    }
}

void main()
{
    ACCUMULATOR sum[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++)
        sum[i] = ACCUMULATOR(0.0);

    // Where the rows of this subgroup's pieces begin in a tile of W.
    uint w_row[PIECES_N];
    [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
        uint row = (first_piece() + n % OUT_N) * MATRIX_N;
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
                    coopMatLoad(a[m], staged, now + (sub_token() + m * MATRIX_M) * STRIDE + k / 8, STRIDE,
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
    FINISH(sum)
    if (is_whole()) {
        STORE_WHOLE(sum)
    } else {
        STORE_PARTS(sum)
    }
}
