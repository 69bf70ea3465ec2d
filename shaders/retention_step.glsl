// retention_step.glsl: recurrent retention (retnet.md 1.1), one token of one sequence and head a column of workgroups:
//
//     S <- decay * S + k^T v        o = q S        q and k rotated to the token's position, q times K^(-1/2)
//
// S [K, V] is read and written once: in place or, by a step that moves states, from one place to another, so that what was
// read is still there. A workgroup owns LANES * 4 columns of V and splits the rows of S, K, SPLITS ways. It leaves
// y = o * weight * silu(gate) and, because the group norm needs all of V, its part of the sum of o^2 plus its share of
// the norm's eps: the reader multiplies by 1 / sqrt(sum of the parts / V).
//
// In a chain (order.glsl) a pass that failed half-way is run once more. A workgroup that has updated its part of the
// state leaves a mark, the position plus one, and where it then finds that mark it only reads what it wrote.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64; // LANES * SPLITS
layout(constant_id = 1) const uint LANES = 64;
layout(constant_id = 2) const uint KEY_SIZE = 128;
layout(constant_id = 3) const uint GATE = 1;
layout(constant_id = 4) const uint WEIGHT = 1;
layout(constant_id = 5) const uint EPS_SCALED = 0;
layout(constant_id = 6) const uint AHEAD = 1; // rows of the state that are loaded before they are needed
#ifdef SHUFFLES
// Splits of a column that are neighbours in a subgroup, which adds their sums; LANES is then a power of two.
layout(constant_id = 7) const uint NEIGHBOURS = 1;
#else
const uint NEIGHBOURS = 1;
#endif

#define PARAMS_BINDING 3
#define CHAIN_INPUT 0
#define CHAIN_OUTPUT 1
#include "positions.glsl"
#include "activation.glsl"
#include "retention_step_push.glsl"
#include "step_record.glsl"
#include "order.glsl"

layout(std430, set = 0, binding = 2) buffer State { vec4 state[]; }; // [states][heads][K][value_stride / 4]
layout(set = 0, binding = 4) uniform Records { uvec4 records[1024]; }; // {row, state, position, sampler}: step_record.glsl

const uint SPLITS = LOCAL_SIZE / LANES, PARTS = SPLITS / NEIGHBOURS;

// Then no invocation's rows end before another's, and there is nothing to ask for in the loop.
const bool EVEN = KEY_SIZE % (AHEAD * SPLITS) == 0;

shared vec2 key_query[KEY_SIZE];
shared vec4 partial[PARTS * LANES];
shared float squares[LANES];

// Of the rotated pairs of queries and keys.
const uint PAIRS = KEY_SIZE / 2, MINE = (PAIRS + LOCAL_SIZE - 1) / LOCAL_SIZE;

// Where in the input this invocation's words are: q and k of pair `lane`, and up to `present` of v and the gate.
struct Places { uint q, k, v, gate, present; };
struct Words { uvec4 pairs[MINE], v, gate; };

uvec4 read_four(uint at, uint count)
{
    uvec4 words = uvec4(0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (i < count) words[i] = chain_in[at + i];
    return words;
}

// Reads all of them, all under way at once; gives whether one is not there yet.
bool look(uint lane, Places at, out Words words)
{
    [[unroll]] for (uint i = 0; i < MINE; i++) {
        uint n = i * LOCAL_SIZE;
        words.pairs[i] = uvec4(0);
        if (lane + n < PAIRS) // nobody looks at what is another's, which would wait the longer for it
            words.pairs[i] = uvec4(chain_in[at.q + n], chain_in[at.q + n + PAIRS], chain_in[at.k + n], chain_in[at.k + n + PAIRS]);
    }
    words.v = read_four(at.v, at.present);
    words.gate = GATE != 0 && lane < LANES ? read_four(at.gate, at.present) : uvec4(0);
    bool lacks = chain_lacks(words.v) || chain_lacks(words.gate);
    [[unroll]] for (uint i = 0; i < MINE; i++) lacks = lacks || chain_lacks(words.pairs[i]);
    return lacks;
}

void find_rotations(uint lane, uint position, out vec2 rotations[MINE])
{
    [[unroll]] for (uint m = 0; m < MINE; m++)
        rotations[m] = rotation_at(push.angles, PAIRS, position, min(lane + m * LOCAL_SIZE, PAIRS - 1));
}

void stage_rotated(uint lane, vec2 rotations[MINE], uvec4 pairs[MINE])
{
    [[unroll]] for (uint m = 0; m < MINE; m++) {
        uint i = lane + m * LOCAL_SIZE;
        if (i >= PAIRS) break;
        vec2 r = rotations[m];
        vec2 a = uintBitsToFloat(pairs[m].xy) * push.query_scale, b = uintBitsToFloat(pairs[m].zw);
        key_query[i] = vec2(b.x * r.x - b.y * r.y, a.x * r.x - a.y * r.y);
        key_query[i + PAIRS] = vec2(b.x * r.y + b.y * r.x, a.x * r.y + a.y * r.x);
    }
}

// Adds the splits' sums into split 0: those of neighbours, then of these parts eight at a time, so that few barriers are
// needed.
vec4 add_splits(uint column, uint split, vec4 sum)
{
#ifdef SHUFFLES
    [[unroll]] for (uint k = 1; k < NEIGHBOURS; k *= 2) sum += subgroupShuffleXor(sum, k * LANES);
#endif
    if (PARTS == 1) return sum;
    uint part = split / NEIGHBOURS;
    bool adds = split % NEIGHBOURS == 0;
    if (adds) partial[part * LANES + column] = sum;
    for (uint stride = 1; stride < PARTS; stride *= 8) {
        barrier();
        if (adds && part % (stride * 8) == 0) {
            sum = vec4(0.0);
            for (uint s = part; s < min(part + stride * 8, PARTS); s += stride) sum += partial[s * LANES + column];
            partial[part * LANES + column] = sum;
        }
    }
    return sum;
}

// Of all columns of the workgroup, for lane 0.
float add_squares(uint column, uint split, float square)
{
    float sum = 0.0;
#ifdef SHUFFLES
    if (NEIGHBOURS > 1) {
        [[unroll]] for (uint k = 1; k < LANES; k *= 2) square += subgroupShuffleXor(square, k);
        return square;
    }
#endif
    if (split == 0) squares[column] = square;
    barrier();
    if (column == 0 && split == 0)
        [[unroll]] for (uint i = 0; i < LANES; i++) sum += squares[i];
    return sum;
}

void main()
{
    uint lane = gl_LocalInvocationID.x, head = gl_WorkGroupID.y;
    uvec4 record = records[gl_WorkGroupID.z];
    bool rests = (record.w & STEP_RESTS) != 0; // its sequence has ended, and the state is to stay as it is
    if (rests && push.marks == NO_MARKS) return; // in a chain others wait for what it leaves
    uint row = record.x, position = record.z;
    uint column = SPLITS == 1 ? lane : lane % LANES, split = SPLITS == 1 ? 0 : lane / LANES;
    uint vector = gl_WorkGroupID.x * LANES + column, vectors = push.value_stride / 4;

    uint mark = push.marks + (row * push.heads + head) * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint from = record.y, to = push.moves != 0 ? other_state(record) : from;
    bool done = rests;
    if (push.again != 0 && chain_in[mark] == position + 1) {
        done = true;
        from = to;
    }

    // The state is under way while queries and keys are rotated: it does not depend on them.
    uint at = (from * push.heads + head) * KEY_SIZE * vectors + min(vector, vectors - 1);
    uint at_written = at + (to - from) * push.heads * KEY_SIZE * vectors;
    vec4 ahead[AHEAD];
    [[unroll]] for (uint i = 0; i < AHEAD; i++) ahead[i] = state[at + min(split + i * SPLITS, KEY_SIZE - 1) * vectors];

    uint first = vector * 4, present = first < push.value_size ? min(push.value_size - first, 4) : 0;
    float decay = params[push.decays + head];
    vec4 weight = vec4(1.0);
    if (WEIGHT != 0 && split == 0)
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (i < present) weight[i] = params[push.weight + first + i];

    chain_begin(lane);
    // After a token that failed, one that follows in the same submit has nothing to go by.
    if (push.patience != 0 && lane == 0 && chain_in[CHAIN_FLAG] != 0) chain_gave_up = 1;
    uint x_row = push.x_at + row * push.x_stride, in_head = head * push.value_size + first;
    uint key_head = head / push.key_value_group, pair = min(lane, PAIRS - 1);
    Places places = Places(x_row + push.q_offset + head * KEY_SIZE + pair, x_row + push.k_offset + key_head * KEY_SIZE + pair,
                           x_row + push.v_offset + key_head * push.value_size + first, x_row + push.gate_offset + in_head, present);
    vec2 rotations[MINE];
    find_rotations(lane, position, rotations); // known before anything is awaited
    Words words;
    bool lacks = look(lane, places, words);
    for (uint n = 0; lacks && chain_look_again(n, push.patience); n++) lacks = look(lane, places, words);
    stage_rotated(lane, rotations, words.pairs);
    vec4 v = uintBitsToFloat(words.v), gate = uintBitsToFloat(words.gate);
    barrier();
    if (chain_failed(lane)) return;

    vec4 o = vec4(0.0);
    if (vector < vectors) {
        if (done) {
            decay = 1.0;
            v = vec4(0.0);
        }
        for (uint base = split; base < KEY_SIZE; base += AHEAD * SPLITS) {
            [[unroll]] for (uint i = 0; i < AHEAD; i++) {
                uint k = base + i * SPLITS;
                if (!EVEN && k >= KEY_SIZE) break;
                vec2 kq = key_query[k];
                vec4 s = decay * ahead[i] + kq.x * v;
                if (AHEAD * SPLITS < KEY_SIZE) ahead[i] = state[at + min(k + AHEAD * SPLITS, KEY_SIZE - 1) * vectors];
                o += kq.y * s;
                if (!rests) state[at_written + k * vectors] = s;
            }
        }
    }
    if (push.marks != NO_MARKS && lane == 0 && !rests) chain_in[mark] = position + 1;
    o = add_splits(column, split, o);
    float sum = add_squares(column, split, dot(o, o));

    if (lane == 0 && push.sums_offset != NO_SUMS) {
        if (gl_WorkGroupID.x == 0) {
            float eps = push.eps * float(push.value_size);
            if (EPS_SCALED != 0) eps *= decay_sum_at(push.decay_sums, head, position);
            sum += eps;
        }
        chain_announce(row * push.y_stride + push.sums_offset + head * gl_NumWorkGroups.x + gl_WorkGroupID.x, sum);
    }
    if (split != 0) return;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        if (i >= present) break;
        float value = o[i] * weight[i];
        if (GATE != 0) value *= silu(gate[i]);
        chain_announce(row * push.y_stride + in_head + i, value);
    }
}
