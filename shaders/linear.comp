#version 450
#extension GL_EXT_control_flow_attributes : require
// linear.comp: y = epilogue(W x) for a few columns x at a time, W in panels (weights.glsl). The columns are tokens.
//
// An invocation owns one row in each of PANELS neighbouring panels (with GLU an activated and a linear one alternate) and
// every SPLITS-th block of inputs, for COLUMNS columns; the splits are added in shared memory in a fixed order.
// linear_column.comp is the same for one column, with more done on the way.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64; // GROUP_ROWS * SPLITS
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint GROUP_ROWS = 64; // rows of a workgroup: a power of two up to 64
layout(constant_id = 3) const uint COLUMNS = 1;
layout(constant_id = 4) const uint PROLOGUE = 0;
layout(constant_id = 5) const uint EPILOGUE = 0;
layout(constant_id = 6) const uint ACTIVATION = 0;
layout(constant_id = 7) const uint BIAS = 0;
layout(constant_id = 8) const uint PANELS = 1; // of an invocation; even with GLU
layout(constant_id = 9) const uint AHEAD = 1; // blocks that are loaded before they are needed

#define WEIGHTS_BINDING 0
#include "weights.glsl"
#include "linear_push.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer InputVectors { vec4 x4[]; };
layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
float params_at(uint i) { return params[i]; }
#include "linear_output.glsl"

const uint SPLITS = LOCAL_SIZE / GROUP_ROWS;

shared float partial[SPLITS > 1 ? PANELS * LOCAL_SIZE : 1];

const uint PANELS_PER_ROW = EPILOGUE == EPILOGUE_GLU ? 2 : 1;

vec4 input_at(uint column, uint index)
{
    return x4[column * (push.x_stride >> 2) + index];
}

// Where block b of a panel begins; past the end, the last one, so that looking ahead stays inside.
uint block_at(uint panel, uint b)
{
    return (panel * push.blocks + min(b, push.blocks - 1)) * block_units(FORMAT);
}

// Adds the splits' sums into split 0, in eights, so that few barriers are needed.
void add_splits(uint local_row, uint split)
{
    for (uint stride = 1; stride < SPLITS; stride *= 8) {
        barrier();
        [[unroll]] for (uint p = 0; p < PANELS && split % (stride * 8) == 0; p++) {
            float total = 0.0;
            for (uint s = split; s < min(split + stride * 8, SPLITS); s += stride)
                total += partial[p * LOCAL_SIZE + s * GROUP_ROWS + local_row];
            partial[p * LOCAL_SIZE + split * GROUP_ROWS + local_row] = total;
        }
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x;
    uint local_row = SPLITS == 1 ? lane : lane % GROUP_ROWS, split = SPLITS == 1 ? 0 : lane / GROUP_ROWS;
    uint groups_per_panel = PANEL_ROWS / GROUP_ROWS;
    uint first_panel = gl_WorkGroupID.x / groups_per_panel * PANELS;
    uint panel_row = (gl_WorkGroupID.x % groups_per_panel) * GROUP_ROWS + local_row;
    uint first_column = gl_WorkGroupID.y * COLUMNS;

    uint column[COLUMNS], panel[PANELS];
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) column[c] = min(first_column + c, push.columns - 1);
    [[unroll]] for (uint p = 0; p < PANELS; p++) panel[p] = min(first_panel + p, push.panels - 1);

    uvec4 ahead[AHEAD * PANELS * ROW_UNITS];
    float ahead_scale[AHEAD * PANELS];
    [[unroll]] for (uint a = 0; a < AHEAD; a++) {
        [[unroll]] for (uint p = 0; p < PANELS; p++) {
            uint block = block_at(panel[p], split + a * SPLITS), slot = a * PANELS + p;
            [[unroll]] for (uint u = 0; u < ROW_UNITS; u++) ahead[slot * ROW_UNITS + u] = load_unit(block, panel_row, u);
            ahead_scale[slot] = decode_scale(FORMAT, block, panel_row);
        }
    }

    float sum[COLUMNS * PANELS];
    [[unroll]] for (uint i = 0; i < COLUMNS * PANELS; i++) sum[i] = 0.0;
    for (uint first = split; first < push.blocks; first += AHEAD * SPLITS) {
        [[unroll]] for (uint a = 0; a < AHEAD; a++) {
            uint b = first + a * SPLITS;
            if (AHEAD > 1 && b >= push.blocks) break;
            uvec4 units[PANELS * ROW_UNITS];
            float scale[PANELS], part[COLUMNS * PANELS];
            [[unroll]] for (uint i = 0; i < COLUMNS * PANELS; i++) part[i] = 0.0;
            [[unroll]] for (uint p = 0; p < PANELS; p++) {
                uint next = block_at(panel[p], b + AHEAD * SPLITS), slot = a * PANELS + p;
                scale[p] = ahead_scale[slot];
                [[unroll]] for (uint u = 0; u < ROW_UNITS; u++) {
                    units[p * ROW_UNITS + u] = ahead[slot * ROW_UNITS + u];
                    ahead[slot * ROW_UNITS + u] = load_unit(next, panel_row, u);
                }
                if (SCALED) ahead_scale[slot] = decode_scale(FORMAT, next, panel_row);
            }
            // Input by input, so that few of them are in registers at a time.
            [[unroll]] for (uint u = 0; u < ROW_UNITS; u++) {
                [[unroll]] for (uint i = 0; i < UNIT_VECTORS; i++) {
                    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                        vec4 v = input_at(column[c], b * 8 + u * UNIT_VECTORS + i);
                        [[unroll]] for (uint p = 0; p < PANELS; p++)
                            part[c * PANELS + p] += dot(decode_unit(FORMAT, units[p * ROW_UNITS + u], i), v);
                    }
                }
            }
            [[unroll]] for (uint i = 0; i < COLUMNS * PANELS; i++) sum[i] += part[i] * scale[i % PANELS];
        }
    }

    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
        if (SPLITS > 1) {
            barrier(); // an earlier column's sums may still be read
            [[unroll]] for (uint p = 0; p < PANELS; p++) partial[p * LOCAL_SIZE + lane] = sum[c * PANELS + p];
            add_splits(local_row, split);
            [[unroll]] for (uint p = 0; p < PANELS; p++) sum[c * PANELS + p] = partial[p * LOCAL_SIZE + local_row];
        }
        float factor = 1.0;
        if (PROLOGUE == PROLOGUE_ROW_SCALE) factor = x[column[c] * push.x_stride + push.scale_offset];
        if (split != 0 || first_column + c >= push.columns) continue;
        [[unroll]] for (uint p = 0; p < PANELS; p += PANELS_PER_ROW) {
            uint row = (first_panel + p) / PANELS_PER_ROW * PANEL_ROWS + panel_row;
            if (row < push.rows)
                store(first_column + c, push.row_base + row, sum[c * PANELS + p] * factor,
                      sum[c * PANELS + p + PANELS_PER_ROW - 1] * factor);
        }
    }
}
