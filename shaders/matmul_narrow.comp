#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// matmul_narrow.comp: what matmul.comp computes, for so few columns that reading the weights is what counts: f16 operands,
// fp32 sums, X of f16 activations, W in panels (weights.glsl).
//
// A tile is all columns by 64 rows of W, with GLU 32 rows of each of two panels. So that a large GPU is full, a tile's
// inputs are split among several workgroups, of which the last to finish adds up what all have left in memory, in a
// fixed order. Chunks of the inputs wait in registers, then in shared memory, for the matrix units.

// LOCAL_SIZE is a subgroup for MATRIX_N rows by SUB_TOKENS columns.
layout(constant_id = 9) const uint TOKENS = 64;     // of a tile: the columns, rounded up
layout(constant_id = 10) const uint SUB_TOKENS = 32;
layout(constant_id = 11) const uint CHUNK = 4; // blocks at a time

#include "matmul_narrow.glsl"

const uint TILE_ROWS = 64, CHUNK_UNITS = CHUNK * 4; // f16 units of a row at a time
const uint STRIDE = CHUNK_UNITS + 1;                           // of a staged row; odd, for the banks of shared memory
const uint X_LOADS = (TOKENS * CHUNK_UNITS + LOCAL_SIZE - 1) / LOCAL_SIZE;
// An invocation's share of a load of weights: 8 of F32 are two units, of the other formats a unit is what it is.
const uint ITEM_UNITS = FORMAT == FORMAT_F32 ? 2 : 1;
const uint ITEM_HALVES = FORMAT == FORMAT_Q8 ? 2 : FORMAT == FORMAT_Q4 ? 4 : 1; // f16 units that it becomes
const uint ROW_ITEMS = 4 / ITEM_HALVES;                                         // of a block
const uint W_ITEMS = TILE_ROWS * CHUNK * ROW_ITEMS, W_LOADS = (W_ITEMS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint ACROSS = TILE_ROWS / MATRIX_N, PIECES = SUB_TOKENS / MATRIX_M;
const uint TILE_VECTORS = TOKENS * TILE_ROWS / 4;
const uint OUT_VECTORS = (GLU ? TILE_ROWS / 2 : TILE_ROWS) / 4; // of a column of a tile of Y
const uint OPERANDS = (TOKENS + TILE_ROWS) * STRIDE;

shared uvec4 staged[OPERANDS > TILE_VECTORS ? OPERANDS : TILE_VECTORS];

uvec4 x_next[X_LOADS], w_next[W_LOADS * ITEM_UNITS];
float scale_next[W_LOADS];

// Neighbouring items are a row's in a block, then the next row's, as they lie in memory.
uint item_row(uint item) { return item / ROW_ITEMS % TILE_ROWS; }
uint item_in_chunk(uint item) { return item / (TILE_ROWS * ROW_ITEMS) * ROW_ITEMS + item % ROW_ITEMS; }

// Where row `row` of the tile lies: its panel's first block, and its row in the panel.
void find_row(uint row, out uint panel, out uint panel_row)
{
    uint tile = gl_WorkGroupID.x;
    panel = GLU ? tile / 2 * 2 + row / 32 : tile;
    panel_row = GLU ? tile % 2 * 32 + row % 32 : row;
    panel = min(panel, push.panels - 1);
}

void fetch(uint first_block)
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x, token = min(item / CHUNK_UNITS, push.columns - 1);
        uint unit = min(first_block * 4 + item % CHUNK_UNITS, push.blocks * 4 - 1);
        x_next[i] = x[half_at(push.x_room, token, unit * 8) / 8];
    }
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x, panel, row;
        find_row(item_row(item), panel, row);
        uint in_chunk = item_in_chunk(item) % (CHUNK * ROW_ITEMS), b = min(first_block + in_chunk / ROW_ITEMS, push.blocks - 1);
        uint block = (panel * push.blocks + b) * block_units(FORMAT);
        [[unroll]] for (uint u = 0; u < ITEM_UNITS; u++)
            w_next[i * ITEM_UNITS + u] = load_unit(block, row, in_chunk % ROW_ITEMS * ITEM_UNITS + u);
        if (SCALED) scale_next[i] = block_scale(FORMAT, block, row);
    }
}

// Blocks beyond the last one meet columns of zero.
void stage(uint first_block)
{
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        if (item < TOKENS * CHUNK_UNITS)
            staged[item / CHUNK_UNITS * STRIDE + item % CHUNK_UNITS] =
                first_block + item % CHUNK_UNITS / 4 < push.blocks ? x_next[i] : uvec4(0);
    }
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        uint at = (TOKENS + item_row(item)) * STRIDE + item_in_chunk(item) * ITEM_HALVES;
        if (item >= W_ITEMS) break;
        uvec4 w = w_next[i * ITEM_UNITS];
        f16vec2 s = f16vec2(scale_next[i]);
        if (FORMAT == FORMAT_F32) staged[at] = eight_f32(w, w_next[i * ITEM_UNITS + ITEM_UNITS - 1]);
        if (FORMAT == FORMAT_F16) staged[at] = w;
        if (FORMAT == FORMAT_BF16) staged[at] = eight_bf16(w);
        if (FORMAT == FORMAT_Q8) {
            staged[at] = eight_bytes(w.xy, s);
            staged[at + 1] = eight_bytes(w.zw, s);
        }
        if (FORMAT == FORMAT_Q4)
            [[unroll]] for (uint k = 0; k < 4; k++) staged[at + k] = eight_nibbles(w[k], s);
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x, splits = gl_NumWorkGroups.y, split = gl_WorkGroupID.y;
    uint chunks = (push.blocks + CHUNK - 1) / CHUNK;
    uint first = chunks * split / splits * CHUNK, end = chunks * (split + 1) / splits * CHUNK;
    uint sub_row = gl_SubgroupID % ACROSS * MATRIX_N, sub_token = gl_SubgroupID / ACROSS * SUB_TOKENS;

    coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sum[PIECES];
    [[unroll]] for (uint m = 0; m < PIECES; m++)
        sum[m] = coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);
    fetch(first);
    for (uint b = first; b < end; b += CHUNK) {
        stage(b);
        barrier();
        if (b + CHUNK < end) fetch(b + CHUNK);
        [[unroll]] for (uint k = 0; k < CHUNK * BLOCK_INPUTS; k += MATRIX_K) {
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a;
            coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> w;
            coopMatLoad(w, staged, (TOKENS + sub_row) * STRIDE + k / 8, STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint m = 0; m < PIECES; m++) {
                coopMatLoad(a, staged, (sub_token + m * MATRIX_M) * STRIDE + k / 8, STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
                sum[m] = coopMatMulAdd(a, w, sum[m]);
            }
        }
        barrier();
    }

    // The tile of sums, [TOKENS][TILE_ROWS], through shared memory.
    [[unroll]] for (uint m = 0; m < PIECES; m++)
        coopMatStore(sum[m], staged, ((sub_token + m * MATRIX_M) * TILE_ROWS + sub_row) / 4, TILE_ROWS / 4,
                     gl_CooperativeMatrixLayoutRowMajor);
    barrier();
    uint mine = push.partials + gl_WorkGroupID.x * splits * TILE_VECTORS;
    if (splits > 1) {
        for (uint i = lane; i < TILE_VECTORS; i += LOCAL_SIZE)
            partial[mine + split * TILE_VECTORS + i] = uintBitsToFloat(staged[i]);
        if (!is_last_of_tile(splits)) return;
        if (lane == 0) finished[gl_WorkGroupID.x] = 0;
    }
    for (uint i = lane; i < TOKENS * OUT_VECTORS; i += LOCAL_SIZE) {
        uint token = i / OUT_VECTORS, v = i % OUT_VECTORS, at = token * (TILE_ROWS / 4) + v;
        vec4 value = uintBitsToFloat(staged[at]), linear_value = uintBitsToFloat(staged[at + (GLU ? OUT_VECTORS : 0)]);
        if (splits > 1) {
            value = linear_value = vec4(0.0);
            for (uint s = 0; s < splits; s++) {
                value += partial[mine + s * TILE_VECTORS + at];
                if (GLU) linear_value += partial[mine + s * TILE_VECTORS + at + OUT_VECTORS];
            }
        }
        store(token, gl_WorkGroupID.x * (GLU ? TILE_ROWS / 2 : TILE_ROWS) + v * 4, value, linear_value);
    }
}
