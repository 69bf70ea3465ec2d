#version 450
#extension GL_EXT_control_flow_attributes : require
// linear_column.comp: y = epilogue(W x) for one column x on GPUs, W in panels (weights.glsl), with the norm before the
// projection taken on the way in. Can be a link of a chain (order.glsl). The column is staged in
// shared memory, and a workgroup's first weights, at best all, are in registers before the column is there.
//
// A workgroup makes tiles of GROUP_ROWS * ROWS rows of a panel (with GLU, of an activated and a linear one), every
// gl_NumWorkGroups.x-th of them, and loads the next one's weights while it adds up a tile. An invocation owns ROWS rows
// of it and every SPLITS-th block of inputs; the splits are added in shared memory in a fixed order, as in linear.comp.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64; // GROUP_ROWS * SPLITS
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint GROUP_ROWS = 64; // a power of two up to 64
layout(constant_id = 3) const uint BLOCKS = 1;      // of 32 inputs
layout(constant_id = 4) const uint PROLOGUE = 0;
layout(constant_id = 5) const uint EPILOGUE = 0;
layout(constant_id = 6) const uint ACTIVATION = 0;
layout(constant_id = 7) const uint BIAS = 0;
layout(constant_id = 8) const uint AHEAD = 1;     // blocks that are loaded before they are needed: divides EACH
layout(constant_id = 9) const uint HEAD_SUMS = 1; // GROUP_NORM: sums are [heads][HEAD_SUMS / heads]
layout(constant_id = 10) const uint ROWS = 1;     // a power of two; GROUP_ROWS * ROWS is up to 64

#define WEIGHTS_BINDING 0
#define CHAIN_INPUT 1
#define CHAIN_OUTPUT 2
#include "weights.glsl"
#include "activation.glsl"
#include "norm_sum.glsl"
#include "linear_push.glsl"
#include "order.glsl"

layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
layout(std430, set = 0, binding = 3) readonly buffer ParamVectors { vec4 params4[]; };

const uint SPLITS = LOCAL_SIZE / GROUP_ROWS, EACH = (BLOCKS + SPLITS - 1) / SPLITS; // blocks of a split, at most
const uint PANELS = EPILOGUE == EPILOGUE_GLU ? 2 : 1, SUMS = PANELS * ROWS; // of an invocation
const uint TILE_ROWS = GROUP_ROWS * ROWS, PANEL_TILES = PANEL_ROWS / TILE_ROWS;
// An RMS norm adds in 256 parts, whatever the size of the workgroup.
const uint STAGERS = PROLOGUE == PROLOGUE_RMS_NORM && LOCAL_SIZE > NORM_PARTS ? NORM_PARTS : LOCAL_SIZE;
const uint VECTORS = BLOCKS * 8, MINE = (VECTORS + STAGERS - 1) / STAGERS; // of the column, and those of an invocation
const uint AT_ONCE = MINE < 4 ? MINE : 4;

shared vec4 staged[VECTORS];
shared float partial[SPLITS > 1 ? 2 * SUMS * LOCAL_SIZE : 1]; // of a tile and the next
shared float head_scale[PROLOGUE == PROLOGUE_GROUP_NORM ? 128 : 1], head_sum[HEAD_SUMS];

uvec4 ahead[AHEAD * SUMS * ROW_UNITS];
float ahead_scale[AHEAD * SUMS];

// Block n of this invocation's rows in a tile; past the end of the inputs, the last one.
void look_ahead(uint slot, uint tile, uint n)
{
    uint split = gl_LocalInvocationID.x / GROUP_ROWS, b = split + n * SPLITS;
    if (BLOCKS % SPLITS != 0) b = min(b, BLOCKS - 1);
    [[unroll]] for (uint s = 0; s < SUMS; s++) {
        uint panel = min(tile / PANEL_TILES * PANELS + s / ROWS, push.panels - 1);
        uint row = tile % PANEL_TILES * TILE_ROWS + s % ROWS * GROUP_ROWS + gl_LocalInvocationID.x % GROUP_ROWS;
        uint block = (panel * BLOCKS + b) * block_units(FORMAT), at = slot * SUMS + s;
        [[unroll]] for (uint u = 0; u < ROW_UNITS; u++) ahead[at * ROW_UNITS + u] = load_unit(block, row, u);
        if (SCALED) ahead_scale[at] = decode_scale(FORMAT, block, row);
    }
}

// Vectors first, first + STAGERS, ... of the column, all under way at once.
void look(uint first, out uvec4 words[AT_ONCE])
{
    [[unroll]] for (uint i = 0; i < AT_ONCE; i++) words[i] = chain_in4[push.x_at / 4 + min(first + i * STAGERS, VECTORS - 1)];
}

vec4 await_vector(uint i, uvec4 words)
{
    return chain_await4(push.x_at / 4 + i, words, push.inputs - min(i * 4, push.inputs), push.patience);
}

// The norm's factor stays out of the staged values: it scales the whole sum in the end. Leaves parts of the sum of squares.
void stage_rms_norm(uint lane)
{
    for (uint part = lane; part < NORM_PARTS; part += STAGERS) {
        float sum = 0.0;
        for (uint first = part; first < VECTORS; first += AT_ONCE * NORM_PARTS) {
            uvec4 words[AT_ONCE];
            vec4 weight[AT_ONCE];
            [[unroll]] for (uint i = 0; i < AT_ONCE; i++) {
                uint at = min(first + i * NORM_PARTS, VECTORS - 1);
                words[i] = chain_in4[push.x_at / 4 + at];
                weight[i] = params4[push.norm_weight / 4 + min(at, (push.inputs - 1) / 4)];
            }
            [[unroll]] for (uint i = 0; i < AT_ONCE; i++) {
                uint at = first + i * NORM_PARTS;
                if (at >= VECTORS) break;
                vec4 v = await_vector(at, words[i]);
                sum += dot(v, v);
                staged[at] = v * weight[i];
            }
        }
        norm_part[part] = sum;
    }
}

void stage_plain(uint lane)
{
    for (uint first = lane; first < VECTORS; first += AT_ONCE * STAGERS) {
        uvec4 words[AT_ONCE];
        look(first, words);
        [[unroll]] for (uint i = 0; i < AT_ONCE; i++)
            if (first + i * STAGERS < VECTORS) staged[first + i * STAGERS] = await_vector(first + i * STAGERS, words[i]);
    }
}

void stage_group_norm(uint lane)
{
    stage_plain(lane);
    for (uint i = lane; i < HEAD_SUMS; i += LOCAL_SIZE) {
        uint at = push.x_at + push.scale_offset + i;
        head_sum[i] = chain_await(at, chain_in[at], push.patience);
    }
    barrier();
    uint tiles = HEAD_SUMS / push.heads;
    for (uint head = lane; head < push.heads; head += LOCAL_SIZE) {
        float sum = 0.0;
        for (uint i = 0; i < tiles; i++) sum += head_sum[head * tiles + i];
        head_scale[head] = inversesqrt(sum / float(push.head_size));
    }
    barrier();
    for (uint i = lane; i < VECTORS; i += LOCAL_SIZE) {
        uvec4 head = min((i * 4 + uvec4(0, 1, 2, 3)) / push.head_size, push.heads - 1);
        staged[i] *= vec4(head_scale[head.x], head_scale[head.y], head_scale[head.z], head_scale[head.w]);
    }
}

// Adds the splits' sums into split 0, in eights, so that few barriers are needed.
void add_splits(uint first, uint local_row, uint split)
{
    for (uint stride = 1; stride < SPLITS; stride *= 8) {
        barrier();
        [[unroll]] for (uint i = 0; i < SUMS && split % (stride * 8) == 0; i++) {
            float total = 0.0;
            for (uint s = split; s < min(split + stride * 8, SPLITS); s += stride)
                total += partial[first + i * LOCAL_SIZE + s * GROUP_ROWS + local_row];
            partial[first + i * LOCAL_SIZE + split * GROUP_ROWS + local_row] = total;
        }
    }
}

// What ADD adds to, of this invocation's rows in a tile.
void look_before(uint tile, out float before[ROWS])
{
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint row = tile * TILE_ROWS + r * GROUP_ROWS + gl_LocalInvocationID.x % GROUP_ROWS;
        uint from = push.before_at + push.row_base + row;
        before[r] = 0.0;
        if (row < push.rows)
            before[r] = push.before_at == IN_PLACE ? uintBitsToFloat(chain_out[push.row_base + row])
                                                   : chain_await(from, chain_in[from], push.patience);
    }
}

void store(uint row, float value, float linear_value, float before)
{
    if (BIAS != 0) value += params[push.bias + push.row_base + row];
    value = activate(ACTIVATION, value);
    if (EPILOGUE == EPILOGUE_GLU) value *= linear_value;
    if (EPILOGUE == EPILOGUE_ADD) value += before;
    chain_announce(push.row_base + row, value);
}

void main()
{
    uint lane = gl_LocalInvocationID.x, local_row = lane % GROUP_ROWS, split = lane / GROUP_ROWS;
    uint tiles = push.panels / PANELS * PANEL_TILES;

    // The first weights are under way while the column is awaited: they do not depend on it.
    [[unroll]] for (uint a = 0; a < AHEAD; a++) look_ahead(a, gl_WorkGroupID.x, a);

    chain_begin(lane);
    if (PROLOGUE == PROLOGUE_RMS_NORM && lane < STAGERS) stage_rms_norm(lane);
    if (PROLOGUE == PROLOGUE_GROUP_NORM) stage_group_norm(lane);
    if (PROLOGUE == PROLOGUE_NONE) stage_plain(lane);
    float before[ROWS];
    if (EPILOGUE == EPILOGUE_ADD && split == 0) look_before(gl_WorkGroupID.x, before);
    barrier();
    if (chain_failed(lane)) return;
    if (PROLOGUE == PROLOGUE_RMS_NORM) {
        norm_add_sixteenths(lane);
        if (SPLITS == 1) barrier();
    }

    uint first_partial = 0;
    for (uint tile = gl_WorkGroupID.x; tile < tiles; tile += gl_NumWorkGroups.x) {
        uint next_tile = tile + gl_NumWorkGroups.x;
        float sum[SUMS];
        [[unroll]] for (uint i = 0; i < SUMS; i++) sum[i] = 0.0;
        for (uint first = 0; first < EACH; first += AHEAD) {
            [[unroll]] for (uint a = 0; a < AHEAD; a++) {
                uint b = split + (first + a) * SPLITS;
                [[unroll]] for (uint i = 0; i < SUMS; i++) {
                    float s = 0.0;
                    [[unroll]] for (uint u = 0; u < ROW_UNITS; u++)
                        [[unroll]] for (uint k = 0; k < UNIT_VECTORS; k++)
                            s += dot(decode_unit(FORMAT, ahead[(a * SUMS + i) * ROW_UNITS + u], k),
                                     staged[(BLOCKS % SPLITS == 0 ? b : min(b, BLOCKS - 1)) * 8 + u * UNIT_VECTORS + k]);
                    if (SCALED) s *= ahead_scale[a * SUMS + i];
                    if (BLOCKS % SPLITS == 0 || b < BLOCKS) sum[i] += s;
                }
            }
            if (AHEAD < EACH && first + AHEAD < EACH)
                [[unroll]] for (uint a = 0; a < AHEAD; a++) look_ahead(a, tile, first + AHEAD + a);
        }
        if (next_tile < tiles)
            [[unroll]] for (uint a = 0; a < AHEAD; a++) look_ahead(a, next_tile, a);
        if (SPLITS > 1) {
            [[unroll]] for (uint i = 0; i < SUMS; i++) partial[first_partial + i * LOCAL_SIZE + lane] = sum[i];
            add_splits(first_partial, local_row, split);
            [[unroll]] for (uint i = 0; i < SUMS; i++) sum[i] = partial[first_partial + i * LOCAL_SIZE + local_row];
            first_partial = SUMS * LOCAL_SIZE - first_partial;
        }
        if (split != 0) continue;
        float factor = 1.0;
        if (PROLOGUE == PROLOGUE_RMS_NORM) factor = inversesqrt(norm_add_rest() / float(push.inputs) + push.eps);
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            uint row = tile * TILE_ROWS + r * GROUP_ROWS + local_row;
            if (row < push.rows) store(row, sum[r] * factor, sum[SUMS - ROWS + r] * factor, before[r]);
        }
        if (EPILOGUE == EPILOGUE_ADD && next_tile < tiles) look_before(next_tile, before);
    }
}
