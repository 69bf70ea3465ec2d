#version 450
#extension GL_EXT_control_flow_attributes : require
// linear_tiles.comp: y = epilogue(W x) for many columns x, W in panels (weights.glsl), on GPUs without matrix units. The
// columns are tokens.
//
// A workgroup makes a tile of 64 rows of W by 64 columns (tiles.glsl); with GLU these are 32 rows of two neighbouring
// panels, an activated and a linear one. The next block of inputs is on its way while the last one is multiplied.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128;
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint PROLOGUE = 0;
layout(constant_id = 3) const uint EPILOGUE = 0;
layout(constant_id = 4) const uint ACTIVATION = 0;
layout(constant_id = 5) const uint BIAS = 0;

#define WEIGHTS_BINDING 0
#include "weights.glsl"
#include "linear_push.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer InputVectors { vec4 x4[]; };
layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
float params_at(uint i) { return params[i]; }
#include "linear_output.glsl"
#include "tiles.glsl"

const bool GLU = EPILOGUE == EPILOGUE_GLU;
const uint BLOCK_VECTORS = BLOCK_INPUTS / 4;
const uint W_ITEMS = TILE * ROW_UNITS, W_LOADS = (W_ITEMS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint X_LOADS = TILE * BLOCK_VECTORS / LOCAL_SIZE;

uvec4 w_next[W_LOADS];
float w_scale[W_LOADS];
vec4 x_next[X_LOADS];

// Which row of the tile, of which panel, item i of the weights is of.
uint item_row(uint i) { return i / ROW_UNITS; }

uint panel_of(uint row)
{
    uint panel = GLU ? gl_WorkGroupID.x / 2 * 2 + row / 32 : gl_WorkGroupID.x;
    return min(panel, push.panels - 1);
}

uint panel_row_of(uint row) { return GLU ? gl_WorkGroupID.x % 2 * 32 + row % 32 : row; }

// With GLU an invocation's four are two activated rows and the linear ones of the same.
uint row_place(uint row) { return GLU ? row % 32 / 2 * 4 + row / 32 * 2 + row % 2 : row; }

void fetch(uint b, uint first_column)
{
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint item = min(i * LOCAL_SIZE + gl_LocalInvocationID.x, W_ITEMS - 1), row = item_row(item);
        uint block = (panel_of(row) * push.blocks + b) * block_units(FORMAT);
        w_next[i] = load_unit(block, panel_row_of(row), item % ROW_UNITS);
        w_scale[i] = decode_scale(FORMAT, block, panel_row_of(row));
    }
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        uint column = min(first_column + item / BLOCK_VECTORS, push.columns - 1);
        x_next[i] = x4[column * (push.x_stride >> 2) + b * BLOCK_VECTORS + item % BLOCK_VECTORS];
    }
}

void stage()
{
    [[unroll]] for (uint i = 0; i < W_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x, at = row_place(item_row(item));
        if (item >= W_ITEMS) break;
        [[unroll]] for (uint v = 0; v < UNIT_VECTORS; v++)
            put_first(item % ROW_UNITS * UNIT_VECTORS + v, at, decode_unit(FORMAT, w_next[i], v) * w_scale[i]);
    }
    [[unroll]] for (uint i = 0; i < X_LOADS; i++) {
        uint item = i * LOCAL_SIZE + gl_LocalInvocationID.x;
        put_second(item % BLOCK_VECTORS, item / BLOCK_VECTORS, x_next[i]);
    }
}

void main()
{
    uint first_column = gl_WorkGroupID.y * TILE;
    clear_sums();
    fetch(0, first_column);
    for (uint b = 0; b < push.blocks; b++) {
        stage();
        barrier();
        if (b + 1 < push.blocks) fetch(b + 1, first_column);
        add_products();
        barrier();
    }

    const uint stored = GLU ? 2 : 4;
    uint first_row = (gl_WorkGroupID.x * TILE + own_first()) / 4 * stored;
    [[unroll]] for (uint c = 0; c < OWN; c++) {
        uint column = first_column + own_second() + c;
        if (column >= push.columns) break;
        if (PROLOGUE == PROLOGUE_ROW_SCALE) sum[c] *= x[column * push.x_stride + push.scale_offset];
        [[unroll]] for (uint i = 0; i < stored; i++)
            if (first_row + i < push.rows)
                store(column, push.row_base + first_row + i, sum[c][i], sum[c][GLU ? i + 2 : i]);
    }
}
