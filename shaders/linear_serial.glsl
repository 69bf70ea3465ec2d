// linear_serial.glsl: y = epilogue(W x) on software drivers, which run one vector of invocations after the other through
// the whole kernel: long independent loops, no barriers, no shared memory, and memory read in the order in which it
// lies. linear.comp is the same for GPUs.
//
// An invocation owns every LOCAL_SIZE-th row of ROWS * LOCAL_SIZE rows of a panel (with GLU of two neighbouring panels,
// an activated and a linear one), for COLUMNS columns x, which are tokens. A norm before the projection is taken on the
// way: what it needs to know of a whole column is known when the column has been read, and scales the sum in the end.
// Sums do not depend on COLUMNS.
//
// With TEXELS the inputs are read as texels, which some of these drivers do a vector at a time where they load from
// storage buffers lane by lane.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 8; // of the driver's vectors; with ROWS, at most the rows of a panel
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint COLUMNS = 1;
layout(constant_id = 3) const uint ROWS = 8;
layout(constant_id = 4) const uint PROLOGUE = 0;
layout(constant_id = 5) const uint EPILOGUE = 0;
layout(constant_id = 6) const uint ACTIVATION = 0;
layout(constant_id = 7) const uint BIAS = 0;

#define WEIGHTS_BINDING 0
#include "weights.glsl"
#include "linear_push.glsl"

#ifdef TEXELS
layout(set = 0, binding = 1) uniform textureBuffer x4;
layout(set = 0, binding = 3) uniform textureBuffer params4;
vec4 x_vector(uint i) { return texelFetch(x4, int(i)); }
vec4 params_vector(uint i) { return texelFetch(params4, int(i)); }
#else
layout(std430, set = 0, binding = 1) readonly buffer Input { vec4 x4[]; };
layout(std430, set = 0, binding = 3) readonly buffer Params { vec4 params4[]; };
vec4 x_vector(uint i) { return x4[i]; }
vec4 params_vector(uint i) { return params4[i]; }
#endif

const uint BLOCK_VECTORS = BLOCK_INPUTS / 4;
const uint PANELS = EPILOGUE == EPILOGUE_GLU ? 2 : 1;
const uint GROUP_ROWS = LOCAL_SIZE * ROWS;
const uint SUMS = PANELS * ROWS; // of a column

float x_at(uint i) { return x_vector(i >> 2)[i & 3u]; }
float params_at(uint i) { return params_vector(i >> 2)[i & 3u]; }
#include "linear_output.glsl"

// GROUP_NORM: the factor of the head that block b of a column lies in.
float head_factor(uint column, uint b)
{
    uint at = column * push.x_stride + push.scale_offset + b * BLOCK_INPUTS / push.head_size * push.tiles;
    float sum = 0.0;
    for (uint i = 0; i < push.tiles; i++) sum += x_at(at + i);
    return inversesqrt(sum / float(push.head_size));
}

// Reads from each cache line of this workgroup's part of a block, long before it is needed: otherwise the processor meets its
// misses one after the other, and most of the time is waiting for them. The result means nothing.
uint touch(uint block, uint first_row)
{
    uint any = 0;
    for (uint u = 0; u < ROW_UNITS; u++)
        for (uint i = 0; i < GROUP_ROWS; i += LOCAL_SIZE * 4)
            any |= load_unit(block, first_row + (i + gl_LocalInvocationID.x * 4) % GROUP_ROWS, u).x;
    return SCALED ? any | weight_word(block * 4 + scale_word(FORMAT, gl_LocalInvocationID.x * 8 % PANEL_ROWS)) : any;
}

void main()
{
    uint groups_per_panel = PANEL_ROWS / GROUP_ROWS, first_panel = gl_WorkGroupID.x / groups_per_panel * PANELS;
    uint first_row = gl_WorkGroupID.x % groups_per_panel * GROUP_ROWS, first_column = gl_WorkGroupID.y * COLUMNS;
    uint touched = 0;

    float sum[COLUMNS * SUMS], squares[COLUMNS];
    [[unroll]] for (uint i = 0; i < COLUMNS * SUMS; i++) sum[i] = 0.0;
    [[unroll]] for (uint c = 0; c < COLUMNS; c++) squares[c] = 0.0;
    for (uint b = 0; b < push.blocks; b++) {
        vec4 v[COLUMNS * BLOCK_VECTORS];
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
            uint column = min(first_column + c, push.columns - 1), at = column * (push.x_stride >> 2) + b * BLOCK_VECTORS;
            [[unroll]] for (uint i = 0; i < BLOCK_VECTORS; i++) v[c * BLOCK_VECTORS + i] = x_vector(at + i);
            if (PROLOGUE == PROLOGUE_GROUP_NORM) {
                float factor = head_factor(column, b);
                [[unroll]] for (uint i = 0; i < BLOCK_VECTORS; i++) v[c * BLOCK_VECTORS + i] *= factor;
            }
        }
        if (PROLOGUE == PROLOGUE_RMS_NORM) {
            [[unroll]] for (uint i = 0; i < BLOCK_VECTORS; i++) {
                uint at = b * BLOCK_INPUTS + i * 4;
                vec4 weight = at < push.inputs ? params_vector((push.norm_weight + at) >> 2) : vec4(0.0);
                [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
                    squares[c] += dot(v[c * BLOCK_VECTORS + i], v[c * BLOCK_VECTORS + i]);
                    v[c * BLOCK_VECTORS + i] *= weight;
                }
            }
        }
        [[unroll]] for (uint p = 0; p < PANELS; p++) {
            uint panel_block = (first_panel + p) * push.blocks;
            uint block = (panel_block + b) * block_units(FORMAT);
            touched |= touch((panel_block + min(b + 1, push.blocks - 1)) * block_units(FORMAT), first_row);
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                uint row = first_row + r * LOCAL_SIZE + gl_LocalInvocationID.x;
                float part[COLUMNS];
                [[unroll]] for (uint c = 0; c < COLUMNS; c++) part[c] = 0.0;
                [[unroll]] for (uint u = 0; u < ROW_UNITS; u++) {
                    uvec4 unit = load_unit(block, row, u);
                    [[unroll]] for (uint i = 0; i < UNIT_VECTORS; i++) {
                        vec4 w = decode_unit(FORMAT, unit, i);
                        [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                            part[c] += dot(w, v[c * BLOCK_VECTORS + u * UNIT_VECTORS + i]);
                    }
                }
                float scale = decode_scale(FORMAT, block, row);
                [[unroll]] for (uint c = 0; c < COLUMNS; c++) sum[c * SUMS + p * ROWS + r] += part[c] * scale;
            }
        }
    }
    if (push.columns == 0) y[0] = float(touched); // never, but the compiler cannot know

    [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
        if (first_column + c >= push.columns) break;
        float factor = 1.0;
        if (PROLOGUE == PROLOGUE_RMS_NORM) factor = inversesqrt(squares[c] / float(push.inputs) + push.eps);
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            uint row = first_panel / PANELS * PANEL_ROWS + first_row + r * LOCAL_SIZE + gl_LocalInvocationID.x;
            if (row < push.rows)
                store(first_column + c, push.row_base + row, sum[c * SUMS + r] * factor,
                      sum[c * SUMS + (PANELS - 1) * ROWS + r] * factor);
        }
    }
}
