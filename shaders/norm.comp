#version 450
#extension GL_EXT_control_flow_attributes : require
// norm.comp: RMS or layer norm of rows, or of equal segments of rows (group norm), a workgroup each.
//
//     y = (x - mean) * r * w + b        r = 1 / sqrt(mean((x - mean)^2) + eps * c)      mean = 0 for RMS
//
// optionally times silu(gate). c is 1, or s_n of the row's position (retnet.md, NORM), or given for each segment.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint LAYER_NORM = 0; // subtract the mean
layout(constant_id = 2) const uint WEIGHT = 0;
layout(constant_id = 3) const uint BIAS = 0;
layout(constant_id = 4) const uint GATE = 0; // 1: fp32, 2: f16
layout(constant_id = 5) const uint EPS_SCALED = 0; // 1: by s_n, 2: by what lies in the input at c_offset
layout(constant_id = 6) const uint MODE = 0;
layout(constant_id = 7) const uint HALVES = 0; // y is f16, zero from the last segment up to a multiple of 32; not with DEFER
layout(constant_id = 8) const uint EIGHTS = 0; // with HALVES, and not MODE_APPLY: all of it lies in eights; a gate is f16

const uint MODE_NORMALISE = 0;
const uint MODE_DEFER = 1; // y = x * w, and r goes to y[scale_offset] (linear.comp, PROLOGUE_ROW_SCALE)
const uint MODE_APPLY = 2; // y = x * r with r from the sums that retention_step left behind x

#define PARAMS_BINDING 2
#include "positions.glsl"
#include "norm_sum.glsl"
#include "activation.glsl"
#include "halves.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 0) readonly buffer InputFours { vec4 x_fours[]; };
layout(std430, set = 0, binding = 1) buffer Output { float y[]; };
layout(std430, set = 0, binding = 1) buffer OutputHalves { uint y_pairs[]; };
layout(std430, set = 0, binding = 1) buffer OutputEights { uvec4 y_eights[]; };
layout(std430, set = 0, binding = 2) readonly buffer ParamFours { vec4 param_fours[]; };
layout(std430, set = 0, binding = 3) readonly buffer GateInput { float gate[]; };
layout(std430, set = 0, binding = 3) readonly buffer GatePairs { uint gate_pairs[]; };
layout(std430, set = 0, binding = 3) readonly buffer GateEights { uvec4 gate_eights[]; };
layout(set = 0, binding = 4) uniform Records { uvec4 records[1024]; }; // EPS_SCALED 1: chunks {row, length, position, -}

layout(push_constant) uniform Push {
    uint size;         // of a segment
    uint x_stride;     // floats, of a row
    uint x_offset;
    uint y_stride;     // floats, or the room of halves (halves.glsl)
    uint y_offset;
    uint gate_stride;  // floats, or the room of halves
    uint gate_offset;
    uint weight;       // in params, [size]
    uint bias;
    float eps;
    uint decay_sums;   // in params, units of vec2
    uint scale_offset; // MODE_DEFER: in a row of y; MODE_APPLY: where the sums begin in a row of x
    uint tiles;        // MODE_APPLY
    uint record_count; // EPS_SCALED 1
    uint c_stride, c_offset; // EPS_SCALED 2
    uint first_row;
} push;

// Chunks lie one after the other in rows, so the last one that starts at or before the row holds it.
uint position_of(uint row)
{
    uint i = 0;
    while (i + 1 < push.record_count && records[i + 1].x <= row) i++;
    return records[i].z + row - records[i].x;
}

float normalising_factor(uint lane, uint row, uint segment, uint at, float mean)
{
    for (uint part = lane; part < NORM_PARTS; part += LOCAL_SIZE) {
        float sum = 0.0;
        for (uint i = part * 4; i < push.size; i += NORM_PARTS * 4) {
            vec4 v;
            if (EIGHTS != 0)
                v = x_fours[(at + i) / 4] - mean;
            else
                [[unroll]] for (uint k = 0; k < 4; k++) v[k] = i + k < push.size ? x[at + i + k] - mean : 0.0;
            sum += dot(v, v);
        }
        norm_part[part] = sum;
    }
    float eps = push.eps;
    if (EPS_SCALED == 1) eps *= decay_sum_at(push.decay_sums, segment, position_of(row));
    if (EPS_SCALED == 2) eps *= x[push.c_offset + row * push.c_stride + segment];
    return inversesqrt(norm_sum(lane) / float(push.size) + eps);
}

float gate_at(uint row, uint i)
{
    if (GATE == 1) return gate[row * push.gate_stride + i];
    uint at = half_at(push.gate_stride, row, i);
    vec2 pair = unpackHalf2x16(gate_pairs[at / 2]);
    return (at & 1u) == 0 ? pair.x : pair.y;
}

float normalised(uint row, uint segment, uint i, float mean, float factor)
{
    float value = x[push.x_offset + row * push.x_stride + segment * push.size + i] - mean;
    if (MODE != MODE_DEFER) value *= factor;
    if (WEIGHT != 0) value *= params[push.weight + i];
    if (BIAS != 0) value += params[push.bias + i];
    if (GATE != 0) value *= silu(gate_at(row, push.gate_offset + segment * push.size + i));
    return value;
}

// Segments begin at even places, unless there is only one.
void store_halves(uint lane, uint row, uint segment, float mean, float factor)
{
    uint to = push.y_offset + segment * push.size, width = gl_NumWorkGroups.x * push.size;
    uint end = segment + 1 == gl_NumWorkGroups.x ? push.size + (-width & 31u) : push.size;
    for (uint i = lane * 2; i < end; i += LOCAL_SIZE * 2) {
        vec2 pair = vec2(0.0);
        if (i < push.size) pair.x = normalised(row, segment, i, mean, factor);
        if (i + 1 < push.size) pair.y = normalised(row, segment, i + 1, mean, factor);
        y_pairs[half_at(push.y_stride, row, to + i) / 2] = two_halves(pair);
    }
}

vec4 normalised_four(uint from, uint i, uint gate_low, uint gate_high, float mean, float factor)
{
    vec4 value = (x_fours[from / 4] - mean) * factor;
    if (WEIGHT != 0) value *= param_fours[(push.weight + i) / 4];
    if (BIAS != 0) value += param_fours[(push.bias + i) / 4];
    vec2 low = unpackHalf2x16(gate_low), high = unpackHalf2x16(gate_high);
    if (GATE != 0) value *= vec4(silu(low.x), silu(low.y), silu(high.x), silu(high.y));
    return value;
}

void store_eights(uint lane, uint row, uint segment, uint at, float mean, float factor)
{
    uint first = segment * push.size, width = gl_NumWorkGroups.x * push.size;
    uint end = segment + 1 == gl_NumWorkGroups.x ? push.size + (-width & 31u) : push.size;
    for (uint i = lane * 8; i < end; i += LOCAL_SIZE * 8) {
        uvec4 eight = uvec4(0), gates = uvec4(0);
        if (i < push.size) {
            if (GATE != 0) gates = gate_eights[half_at(push.gate_stride, row, push.gate_offset + first + i) / 8];
            vec4 low = normalised_four(at + i, i, gates.x, gates.y, mean, factor);
            vec4 high = normalised_four(at + i + 4, i + 4, gates.z, gates.w, mean, factor);
            eight = uvec4(four_halves(low), four_halves(high));
        }
        y_eights[half_at(push.y_stride, row, push.y_offset + first + i) / 8] = eight;
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x, segment = gl_WorkGroupID.x, row = push.first_row + gl_WorkGroupID.y;
    uint at = push.x_offset + row * push.x_stride + segment * push.size;
    uint to = push.y_offset + row * push.y_stride + segment * push.size;

    float mean = 0.0, factor = 0.0;
    if (LAYER_NORM != 0) {
        for (uint part = lane; part < NORM_PARTS; part += LOCAL_SIZE) {
            float sum = 0.0;
            for (uint i = part; i < push.size; i += NORM_PARTS) sum += x[at + i];
            norm_part[part] = sum;
        }
        mean = norm_sum(lane) / float(push.size);
        barrier();
    }
    if (MODE == MODE_APPLY) {
        float sum = 0.0;
        for (uint i = 0; i < push.tiles; i++)
            sum += x[row * push.x_stride + push.scale_offset + segment * push.tiles + i];
        factor = inversesqrt(sum / float(push.size));
    } else {
        factor = normalising_factor(lane, row, segment, at, mean);
    }

    if (EIGHTS != 0) {
        store_eights(lane, row, segment, at, mean, factor);
        return;
    }
    if (HALVES != 0) {
        store_halves(lane, row, segment, mean, factor);
        return;
    }
    for (uint i = lane; i < push.size; i += LOCAL_SIZE) y[to + i] = normalised(row, segment, i, mean, factor);
    if (MODE == MODE_DEFER && lane == 0) y[row * push.y_stride + push.scale_offset] = factor;
}
