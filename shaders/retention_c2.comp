#version 450
// retention_c2.comp: the square of what torchscale divides a row and head of retention by (retnet.md 1.2), which
// multiplies the eps of the group norm behind it. CHUNKWISE 0, its recurrent form:
//
//     c^2 = s_n        n the row's position
//
// CHUNKWISE 1, from what retention_scores.comp and retention_states.comp left, for row j of a chunk of up to C tokens:
//
//     c = sqrt(s_j) max(1, sum over l of |P_jl| / sqrt(s_j), M)        M = max over v of sum over k of |scale R_kv| / s_(C-1)
//
// with R the state before the chunk. A workgroup takes one head of one record.

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint CHUNKWISE = 0;

#define PARAMS_BINDING 2
#include "positions.glsl"

layout(std430, set = 0, binding = 0) readonly buffer Scratch { float scratch[]; }; // as in retention_output.comp
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(set = 0, binding = 3) uniform Records { uvec4 records[1024]; }; // {row, length, position, -}

layout(push_constant) uniform Push {
    uint c2_stride, c2_offset; // floats
    uint heads, key_size, value_size, value_stride;
    uint chunk;
    uint states_before;
    uint decay_sums; // in params, units of vec2
    float scale;
} push;

const uint LANES = 64;

shared float largest[LANES];

float state_scale(uint lane, uint at)
{
    float most = 0.0;
    for (uint column = lane; column < push.value_size; column += LANES) {
        float sum = 0.0;
        for (uint k = 0; k < push.key_size; k++) sum += abs(scratch[at + k * push.value_stride + column]);
        most = max(most, sum);
    }
    largest[lane] = most;
    barrier();
    for (uint i = 0; i < LANES; i++) most = max(most, largest[i]);
    return most * push.scale;
}

void main()
{
    uint lane = gl_LocalInvocationID.x, head = gl_WorkGroupID.x;
    uvec4 record = records[gl_WorkGroupID.y];
    uint block = gl_WorkGroupID.y * push.heads + head;
    float state = 0.0;
    if (CHUNKWISE != 0)
        state = state_scale(lane, push.states_before + block * push.key_size * push.value_stride) /
                decay_sum_at(push.decay_sums, head, push.chunk - 1);
    for (uint j = lane; j < record.y; j += LANES) {
        float c2 = decay_sum_at(push.decay_sums, head, CHUNKWISE != 0 ? j : record.z + j);
        if (CHUNKWISE != 0) {
            float sum = 0.0, root = sqrt(c2);
            for (uint l = 0; l <= j; l++) sum += abs(scratch[(block * push.chunk + j) * push.chunk + l]);
            float c = root * max(max(1.0, sum / root), state);
            c2 = c * c;
        }
        y[push.c2_offset + (record.x + j) * push.c2_stride + head] = c2;
    }
}
