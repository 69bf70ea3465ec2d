// retention_step_serial.glsl: recurrent retention (retention_step.comp says what it computes) on software drivers, which
// run one vector of invocations after the other through the whole kernel: no barrier before the end, rotations on the
// way, and the state read and written in the order in which it lies.
//
// A workgroup owns LOCAL_SIZE * VECTORS fours of columns of V, and an invocation every LOCAL_SIZE-th of them. Rows i and
// i + K/2 of S go together, for they share a rotation. With TEXELS the inputs are read as texels (linear_serial.glsl).

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 8; // of the driver's vectors
layout(constant_id = 1) const uint VECTORS = 4;
layout(constant_id = 2) const uint KEY_SIZE = 128;
layout(constant_id = 3) const uint GATE = 1;
layout(constant_id = 4) const uint WEIGHT = 1;
layout(constant_id = 5) const uint EPS_SCALED = 0;

#define PARAMS_BINDING 3
#include "positions.glsl"
#include "activation.glsl"
#include "retention_step_push.glsl"
#include "step_record.glsl"

#ifdef TEXELS
layout(set = 0, binding = 0) uniform textureBuffer x4;
layout(set = 0, binding = 5) uniform textureBuffer state_before; // of the same memory as `state`
float x_at(uint i) { return texelFetch(x4, int(i >> 2))[i & 3u]; }
vec4 state_at(uint i) { return texelFetch(state_before, int(i)); }
layout(std430, set = 0, binding = 2) writeonly buffer State { vec4 state[]; };
#else
layout(std430, set = 0, binding = 0) readonly buffer Input { float x[]; };
layout(std430, set = 0, binding = 2) buffer State { vec4 state[]; }; // [states][heads][K][value_stride / 4]
float x_at(uint i) { return x[i]; }
vec4 state_at(uint i) { return state[i]; }
#endif
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };
layout(set = 0, binding = 4) uniform Records { uvec4 records[1024]; }; // {row, state, position, sampler}: step_record.glsl

const uint PAIRS = KEY_SIZE / 2;

shared float squares[LOCAL_SIZE];

vec2 rotated(uint at, uint pair, vec2 r)
{
    vec2 a = vec2(x_at(at + pair), x_at(at + pair + PAIRS));
    return vec2(a.x * r.x - a.y * r.y, a.x * r.y + a.y * r.x);
}

void main()
{
    uint lane = gl_LocalInvocationID.x, head = gl_WorkGroupID.y, shared_head = head / push.key_value_group;
    uvec4 record = records[gl_WorkGroupID.z];
    if ((record.w & STEP_RESTS) != 0) return; // its sequence has ended, and the state is to stay as it is
    uint position = record.z, row_at = record.x * push.x_stride;
    uint q_at = row_at + push.q_offset + head * KEY_SIZE, k_at = row_at + push.k_offset + shared_head * KEY_SIZE;
    uint v_at = row_at + push.v_offset + shared_head * push.value_size;
    uint vectors = push.value_stride / 4, first_vector = gl_WorkGroupID.x * LOCAL_SIZE * VECTORS + lane;
    uint head_at = (record.y * push.heads + head) * KEY_SIZE * vectors;
    uint to = push.moves != 0 ? other_state(record) : record.y;
    uint to_written = (to - record.y) * push.heads * KEY_SIZE * vectors;
    float decay = params_at(push.decays + head);

    // Columns past the last repeat it, and are not stored.
    uint column[VECTORS];
    vec4 v[VECTORS], o[VECTORS];
    [[unroll]] for (uint j = 0; j < VECTORS; j++) {
        column[j] = min(first_vector + j * LOCAL_SIZE, vectors - 1);
        o[j] = v[j] = vec4(0.0);
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (column[j] * 4 + i < push.value_size) v[j][i] = x_at(v_at + column[j] * 4 + i);
    }

    for (uint pair = 0; pair < PAIRS; pair++) {
        vec2 r = rotation_at(push.angles, PAIRS, position, pair);
        vec2 query = rotated(q_at, pair, r) * push.query_scale, key = rotated(k_at, pair, r);
        uint low = head_at + pair * vectors, high = low + PAIRS * vectors;
        vec4 s[2 * VECTORS];
        [[unroll]] for (uint j = 0; j < VECTORS; j++) {
            s[j] = state_at(low + column[j]);
            s[VECTORS + j] = state_at(high + column[j]);
        }
        [[unroll]] for (uint j = 0; j < VECTORS; j++) {
            s[j] = decay * s[j] + key.x * v[j];
            s[VECTORS + j] = decay * s[VECTORS + j] + key.y * v[j];
            o[j] += query.x * s[j] + query.y * s[VECTORS + j];
            if (first_vector + j * LOCAL_SIZE >= vectors) continue;
            state[to_written + low + column[j]] = s[j];
            state[to_written + high + column[j]] = s[VECTORS + j];
        }
    }

    float sum = 0.0;
    [[unroll]] for (uint j = 0; j < VECTORS; j++) {
        if (first_vector + j * LOCAL_SIZE >= vectors) continue;
        sum += dot(o[j], o[j]);
        [[unroll]] for (uint i = 0; i < 4; i++) {
            uint in_head = column[j] * 4 + i, in_row = head * push.value_size + in_head;
            if (in_head >= push.value_size) continue;
            float value = o[j][i];
            if (WEIGHT != 0) value *= params_at(push.weight + in_head);
            if (GATE != 0) value *= silu(x_at(row_at + push.gate_offset + in_row));
            y[record.x * push.y_stride + in_row] = value;
        }
    }
    squares[lane] = sum;
    barrier();
    if (lane != 0 || push.sums_offset == NO_SUMS) return;
    sum = 0.0;
    if (gl_WorkGroupID.x == 0) {
        sum = push.eps * float(push.value_size);
        if (EPS_SCALED != 0) sum *= decay_sum_at(push.decay_sums, head, position);
    }
    for (uint i = 0; i < LOCAL_SIZE; i++) sum += squares[i];
    y[record.x * push.y_stride + push.sums_offset + head * gl_NumWorkGroups.x + gl_WorkGroupID.x] = sum;
}
