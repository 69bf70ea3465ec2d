#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// matmul_narrow_direct.comp: matmul_narrow.comp for devices whose matrices lie as lanes.glsl knows. Operands go from
// memory straight into matrices, and several blocks of them are under way at once.
//
// A subgroup makes all columns of SUB_ROWS rows of W, with GLU of half as many of each of two panels, from its part of
// the inputs. Of a workgroup, ROW_GROUPS subgroups have different rows, and what they read of X alike comes from the
// first-level cache; K_GROUPS have different inputs. Inputs may be split among workgroups too, as in matmul_narrow.comp.
//
// X is read up to TOKENS columns, so it has room for them.

// LOCAL_SIZE is SUBGROUP * ROW_GROUPS * K_GROUPS.
layout(constant_id = 9) const uint TOKENS = 32; // the columns, rounded up; they go through shared memory at once
layout(constant_id = 10) const uint ROW_GROUPS = 4;
layout(constant_id = 11) const uint K_GROUPS = 2;
layout(constant_id = 12) const uint AHEAD = 1; // blocks under way at once
layout(constant_id = 13) const uint LANES = 1;

#include "matmul_narrow.glsl"
#include "lanes.glsl"

const uint SUB_ROWS = 2 * MATRIX_N, TILE_ROWS = ROW_GROUPS * SUB_ROWS; // of W
const uint PIECES_M = TOKENS / MATRIX_M, PIECES_N = 2;
const uint OUT_N = GLU ? PIECES_N / 2 : PIECES_N;            // pieces along rows that are stored
const uint OUT_ROWS = GLU ? TILE_ROWS / 2 : TILE_ROWS;
const uint SUB_OUT_ROWS = GLU ? SUB_ROWS / 2 : SUB_ROWS;
const uint TILE_VECTORS = TOKENS * TILE_ROWS / 4, OUT_VECTORS = OUT_ROWS / 4;

const uint X_LOADS = PIECES_M * STRIP_LOADS, W_LOADS = PIECES_N * STRIP_LOADS, W_SLOTS = AHEAD * W_LOADS;

#include "matmul_operands.glsl"

shared vec4 sums[K_GROUPS * TILE_VECTORS]; // [K_GROUPS][TOKENS][TILE_ROWS]

uvec4 x_next[AHEAD * X_LOADS];
uint w_at[GLU ? 2 : 1], scale_at[GLU ? 2 : 1]; // places of this invocation's first unit in its panels
uint first_row;                                // which is of this row

uint row_group() { return gl_SubgroupID % ROW_GROUPS; }
uint k_group() { return gl_SubgroupID / ROW_GROUPS; }

void find_rows()
{
    uint row = gl_WorkGroupID.x * OUT_ROWS + row_group() * SUB_OUT_ROWS, panel = row / PANEL_ROWS * (GLU ? 2 : 1);
    first_row = row % PANEL_ROWS + strip_row(0);
    [[unroll]] for (uint i = 0; i < (GLU ? 2 : 1); i++) {
        uint begin = min(panel + i, push.panels - 1) * push.blocks * block_bytes();
        w_at[i] = begin + unit_bytes(first_row, strip_unit());
        scale_at[i] = begin + scale_bytes(first_row);
    }
}

// Past the last block, that once more, in vain.
void fetch_x(uint slot, uint b)
{
    uint units = (min(b, push.blocks - 1) * push.x_room + strip_row(0)) * TOKEN_UNITS + strip_unit();
    [[unroll]] for (uint i = 0; i < X_LOADS; i++)
        x_next[slot * X_LOADS + i] =
            input_vector(units * 16, (i / STRIP_LOADS * MATRIX_M + strip_step(i % STRIP_LOADS)) * TOKEN_UNITS);
}

// Strip n of the subgroup's rows.
void fetch_w(uint slot, uint n, uint b)
{
    uint panel = GLU ? n / OUT_N : 0, bytes = min(b, push.blocks - 1) * block_bytes();
    [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++)
        fetch_unit(slot * W_LOADS + n * STRIP_LOADS + i, w_at[panel] + bytes, scale_at[panel] + bytes, first_row,
                   n % OUT_N * MATRIX_N + strip_step(i));
}

// Of the workgroup's inputs.
vec4 sum_of_groups(uint i)
{
    vec4 total = sums[i];
    [[unroll]] for (uint k = 1; k < K_GROUPS; k++) total += sums[k * TILE_VECTORS + i];
    return total;
}

uint partials_at() { return push.partials + gl_WorkGroupID.x * gl_NumWorkGroups.y * TILE_VECTORS; }

// Sums that lie in shared memory, to Y or, where the inputs are split, to the partial sums.
void leave_sums()
{
    uint lane = gl_LocalInvocationID.x;
    if (gl_NumWorkGroups.y > 1) {
        for (uint i = lane; i < TILE_VECTORS; i += LOCAL_SIZE)
            partial[partials_at() + gl_WorkGroupID.y * TILE_VECTORS + i] = sum_of_groups(i);
        return;
    }
    for (uint i = lane; i < TOKENS * OUT_VECTORS; i += LOCAL_SIZE) {
        uint token = i / OUT_VECTORS, v = i % OUT_VECTORS, at = token * (TILE_ROWS / 4) + v;
        store(token, gl_WorkGroupID.x * OUT_ROWS + v * 4, sum_of_groups(at),
              GLU ? sum_of_groups(at + OUT_VECTORS) : vec4(0.0));
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x, splits = gl_NumWorkGroups.y, split = gl_WorkGroupID.y;
    uint parts = splits * K_GROUPS, part = split * K_GROUPS + k_group();
    uint begin = push.blocks * part / parts, end = push.blocks * (part + 1) / parts;

    ACCUMULATOR sum[PIECES_M * PIECES_N];
    [[unroll]] for (uint i = 0; i < PIECES_M * PIECES_N; i++) sum[i] = ACCUMULATOR(0.0);
    find_rows();
    [[unroll]] for (uint s = 0; s < AHEAD; s++) {
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) fetch_w(s, n, begin + s);
        fetch_x(s, begin + s);
    }
    for (uint first = begin; first < end; first += AHEAD) {
        [[unroll]] for (uint s = 0; s < AHEAD; s++) {
            if (AHEAD > 1 && first + s >= end) break;
            uvec4 units[X_LOADS];
            [[unroll]] for (uint i = 0; i < X_LOADS; i++) units[i] = in_order_of_weights(x_next[s * X_LOADS + i]);
            LEFT a[PIECES_M * BLOCK_PIECES];
            [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
                [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {
                    LEFT piece = LEFT(float16_t(0.0));
                    FILL_PIECE(piece, units, m * STRIP_LOADS, k)
                    a[m * BLOCK_PIECES + k] = piece;
                }
            }
            fetch_x(s, first + s + AHEAD);
            [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
                uvec4 w[STRIP_LOADS];
                [[unroll]] for (uint i = 0; i < STRIP_LOADS; i++) w[i] = halves_of(s * W_LOADS + n * STRIP_LOADS + i);
                fetch_w(s, n, first + s + AHEAD);
                [[unroll]] for (uint k = 0; k < BLOCK_PIECES; k++) {
                    RIGHT piece = RIGHT(float16_t(0.0));
                    FILL_PIECE(piece, w, 0, k)
                    [[unroll]] for (uint m = 0; m < PIECES_M; m++)
                        sum[m * PIECES_N + n] = coopMatMulAdd(a[m * BLOCK_PIECES + k], piece, sum[m * PIECES_N + n]);
                }
            }
        }
    }

    [[unroll]] for (uint m = 0; m < PIECES_M; m++) {
        [[unroll]] for (uint n = 0; n < PIECES_N; n++) {
            uint row = n / OUT_N * OUT_ROWS + row_group() * SUB_OUT_ROWS + n % OUT_N * MATRIX_N;
            ACCUMULATOR piece = sum[m * PIECES_N + n];
            coopMatStore(piece, sums, k_group() * TILE_VECTORS + (m * MATRIX_M * TILE_ROWS + row) / 4, TILE_ROWS / 4,
                         gl_CooperativeMatrixLayoutRowMajor);
        }
    }
    barrier();
    leave_sums();
    if (splits == 1 || !is_last_of_tile(splits)) return;
    if (lane == 0) finished[gl_WorkGroupID.x] = 0;
    for (uint i = lane; i < TOKENS * OUT_VECTORS; i += LOCAL_SIZE) {
        uint token = i / OUT_VECTORS, v = i % OUT_VECTORS, at = partials_at() + token * (TILE_ROWS / 4) + v;
        vec4 value = vec4(0.0), linear_value = vec4(0.0);
        for (uint s = 0; s < splits; s++) {
            value += partial[at + s * TILE_VECTORS];
            if (GLU) linear_value += partial[at + s * TILE_VECTORS + OUT_VECTORS];
        }
        store(token, gl_WorkGroupID.x * OUT_ROWS + v * 4, value, linear_value);
    }
}
