#version 450
#extension GL_EXT_control_flow_attributes : require
// linear.comp: y = epilogue(W x) for a few columns x at a time, W in panels (weights.glsl). The columns are tokens.
//
// An invocation owns one row in each of PANELS neighbouring panels (with GLU an activated and a linear one alternate) and
// every SPLITS-th block of inputs, for COLUMNS columns; the splits are added in shared memory in a fixed order. With one column the norm before the
// projection can be taken on the way in (PROLOGUE), so that it costs no dispatch of its own.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64; // GROUP_ROWS * SPLITS
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint GROUP_ROWS = 64; // rows of a workgroup: a power of two up to 64
layout(constant_id = 3) const uint COLUMNS = 1;
layout(constant_id = 4) const uint PROLOGUE = 0;
layout(constant_id = 5) const uint EPILOGUE = 0;
layout(constant_id = 6) const uint ACTIVATION = 0;
layout(constant_id = 7) const uint BIAS = 0;
layout(constant_id = 8) const uint STAGED = 1; // floats of shared memory for the staged input
layout(constant_id = 9) const uint PANELS = 1; // of an invocation; even with GLU
layout(constant_id = 10) const uint AHEAD = 1; // blocks that are loaded before they are needed
layout(constant_id = 11) const uint HEAD_SUMS = 1; // GROUP_NORM: sums are [heads][HEAD_SUMS / heads]

#define WEIGHTS_BINDING 0
#include "weights.glsl"
#include "activation.glsl"
#include "norm_sum.glsl"
#include "linear_push.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer InputVectors { vec4 x4[]; };
layout(std430, set = 0, binding = 2) buffer Output { float y[]; };
layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
layout(std430, set = 0, binding = 3) readonly buffer ParamVectors { vec4 params4[]; };

const uint SPLITS = LOCAL_SIZE / GROUP_ROWS;

shared vec4 staged[STAGED / 4 + 1];
shared float partial[SPLITS > 1 ? PANELS * LOCAL_SIZE : 1];
shared float head_scale[PROLOGUE == PROLOGUE_GROUP_NORM ? 128 : 1], head_sum[HEAD_SUMS];

const uint PANELS_PER_ROW = EPILOGUE == EPILOGUE_GLU ? 2 : 1;

const bool STAGES = PROLOGUE == PROLOGUE_RMS_NORM || PROLOGUE == PROLOGUE_GROUP_NORM;

// The norm's factor stays out of the staged values: it scales the whole sum in the end.
float stage_rms_norm(uint lane)
{
    for (uint part = lane; part < NORM_PARTS; part += LOCAL_SIZE) {
        float sum = 0.0;
        for (uint i = part; i < push.blocks * 8; i += NORM_PARTS) {
            vec4 v = x4[i];
            sum += dot(v, v);
            staged[i] = i * 4 < push.inputs ? v * params4[push.norm_weight / 4 + i] : vec4(0.0);
        }
        norm_part[part] = sum;
    }
    return inversesqrt(norm_sum(lane) / float(push.inputs) + push.eps);
}

// Whole vectors are stored: invocations would overwrite each other's components of one vector on some devices.
float stage_group_norm(uint lane)
{
    for (uint i = lane; i < HEAD_SUMS; i += LOCAL_SIZE) head_sum[i] = x[push.scale_offset + i];
    barrier();
    uint tiles = HEAD_SUMS / push.heads;
    for (uint head = lane; head < push.heads; head += LOCAL_SIZE) {
        float sum = 0.0;
        for (uint i = 0; i < tiles; i++) sum += head_sum[head * tiles + i];
        head_scale[head] = inversesqrt(sum / float(push.head_size));
    }
    barrier();
    for (uint i = lane; i < push.blocks * 8; i += LOCAL_SIZE) {
        uvec4 head = min((i * 4 + uvec4(0, 1, 2, 3)) / push.head_size, push.heads - 1);
        staged[i] = x4[i] * vec4(head_scale[head.x], head_scale[head.y], head_scale[head.z], head_scale[head.w]);
    }
    barrier();
    return 1.0;
}

vec4 input_at(uint column, uint index)
{
    return STAGES ? staged[index] : x4[column * (push.x_stride >> 2) + index];
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

void store(uint column, uint row, float value, float linear_value)
{
    if (BIAS != 0) value += params[push.bias + row];
    value = activate(ACTIVATION, value);
    uint at = column * push.y_stride + row;
    if (EPILOGUE == EPILOGUE_GLU)
        y[at] = value * linear_value;
    else if (EPILOGUE == EPILOGUE_ADD)
        y[at] += value;
    else
        y[at] = value;
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

    // The first weights are under way while the input is staged: they do not depend on it.
    uvec4 ahead[AHEAD * PANELS * ROW_UNITS];
    float ahead_scale[AHEAD * PANELS];
    [[unroll]] for (uint a = 0; a < AHEAD; a++) {
        [[unroll]] for (uint p = 0; p < PANELS; p++) {
            uint block = block_at(panel[p], split + a * SPLITS), slot = a * PANELS + p;
            [[unroll]] for (uint u = 0; u < ROW_UNITS; u++) ahead[slot * ROW_UNITS + u] = load_unit(block, panel_row, u);
            ahead_scale[slot] = SCALED ? block_scale(FORMAT, block, panel_row) : 1.0;
        }
    }

    float factor = 1.0;
    if (PROLOGUE == PROLOGUE_RMS_NORM) factor = stage_rms_norm(lane);
    if (PROLOGUE == PROLOGUE_GROUP_NORM) factor = stage_group_norm(lane);

    float sum[COLUMNS * PANELS];
    [[unroll]] for (uint i = 0; i < COLUMNS * PANELS; i++) sum[i] = 0.0;
    for (uint first = split; first < push.blocks; first += AHEAD * SPLITS) {
        [[unroll]] for (uint a = 0; a < AHEAD; a++) {
            uint b = first + a * SPLITS;
            if (AHEAD > 1 && b >= push.blocks) break;
            [[unroll]] for (uint p = 0; p < PANELS; p++) {
                uint next = block_at(panel[p], b + AHEAD * SPLITS), slot = a * PANELS + p;
                uvec4 units[ROW_UNITS];
                float scale = ahead_scale[slot];
                [[unroll]] for (uint u = 0; u < ROW_UNITS; u++) {
                    units[u] = ahead[slot * ROW_UNITS + u];
                    ahead[slot * ROW_UNITS + u] = load_unit(next, panel_row, u);
                }
                if (SCALED) ahead_scale[slot] = block_scale(FORMAT, next, panel_row);
                [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                    float s = 0.0;
                    [[unroll]] for (uint u = 0; u < ROW_UNITS; u++)
                        [[unroll]] for (uint i = 0; i < UNIT_VECTORS; i++)
                            s += dot(decode_unit(FORMAT, units[u], i), input_at(column[c], b * 8 + u * UNIT_VECTORS + i));
                    sum[c * PANELS + p] += s * scale;
                }
            }
        }
    }

    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
        if (SPLITS > 1) {
            barrier(); // an earlier column's sums may still be read
            [[unroll]] for (uint p = 0; p < PANELS; p++) partial[p * LOCAL_SIZE + lane] = sum[c * PANELS + p];
            add_splits(local_row, split);
            [[unroll]] for (uint p = 0; p < PANELS; p++) sum[c * PANELS + p] = partial[p * LOCAL_SIZE + local_row];
        }
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
