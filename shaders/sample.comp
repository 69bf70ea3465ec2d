#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
// sample.comp: the next token of each row of logits, and all that goes with it, so that a token costs one small dispatch
// and nothing of it passes the host (lib/layers/sampling.h says how exactly).
//
// A workgroup takes a row. Where the tokens that may be drawn are among the few largest, which is nearly always, they are
// put into a list, and every one's rank is counted in it: its place by size decides whether it survives, its place by
// id whether the draw hits it. Else the borders of top-k and top-p are searched for over the whole row, eight guesses a
// turn, and the draw walks down the row in ever shorter segments.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64; // a power of two
layout(constant_id = 1) const uint GROUPS = 128;    // the larger of LOCAL_SIZE and FOLDED
layout(constant_id = 2) const uint ALONE = 0;       // the workgroup is a single subgroup
layout(constant_id = 3) const uint AT_ONCE = 4;     // logits of an invocation under way at once

#include "step_record.glsl"

const uint RECENT = 256, BIASES = 512, ENDS = 256, RING = 64, RECORDS = 1024;
const uint NO_TOKEN = 0xFFFFFFFFu;

struct Bias { uint token; float bias; };

struct Sampler {
    float scale, floor;
    uint top_k, top_p, top_p_shift;
    float penalty, inverse_penalty;
    uint window, seed[2], log_prob, bias_count, end_count, last, made, waiting, recent_count, unused[15];
    uint recent[RECENT];
    Bias biases[BIASES];
    uint end_tokens[ENDS];
    float saved[BIASES + RECENT];
};

layout(std430, set = 0, binding = 0) coherent buffer Logits { float logits[]; };
layout(std430, set = 0, binding = 1) coherent buffer Control {
    uvec4 steps[RECORDS]; // {row, state, position, sampler}: step_record.glsl
    uint tokens[RECORDS];
    uint unused[4];
    Sampler samplers[];
};
layout(std430, set = 0, binding = 2) writeonly buffer Results { uvec4 results[]; }; // {token, log-prob, number, -}
layout(std430, set = 0, binding = 3) writeonly buffer Kept { float kept[]; };
layout(set = 0, binding = 4) uniform Failed { uvec4 failed; }; // not zero: the logits are none, and no row makes a token

layout(push_constant) uniform Push {
    uint vocabulary;
    uint turns; // at most, of search_border
    uint moves; // the rows' states have become their other ones
} push;

const uint LISTED = 256;                   // tokens in the list
const uint FOLDED = 128, FOLDED_RANK = 96; // the list begins at the 96th largest of 128 groups' maxima: some 180 tokens
const uint GUESSES = 8, SPREAD = 32;
const float DEAD = -3.402823466e38;  // of a token that cannot be chosen
const float LARGEST = 1e38;          // no logit beyond, so that differences are finite
const float LIGHTEST = -41.0;        // log2 of the weights that count as nothing

shared uint first_words[GROUPS], second_words[GROUPS];
shared float list_y[LISTED];
shared uint list_id[LISTED];
shared uvec2 list_weight[LISTED];
shared uint spread[3 * GUESSES * SPREAD];
shared uvec3 totals[GUESSES];
shared uint list_count, found;
shared uvec2 found_rest;

uint lane, row_at, at_sampler;
float top, scale; // of weight()

// ---- Waiting for each other ----

// Software drivers wait for nobody in a single subgroup, and compile barriers of workgroups very slowly.
void meet()
{
    if (ALONE != 0) {
        subgroupMemoryBarrierShared();
        subgroupBarrier();
    } else {
        barrier();
    }
}

void synchronise()
{
    memoryBarrierBuffer();
    meet();
}

// ---- 64-bit integers, low word first ----

uvec2 add(uvec2 a, uvec2 b)
{
    uint low = a.x + b.x;
    return uvec2(low, a.y + b.y + (low < a.x ? 1u : 0u));
}

uvec2 subtract(uvec2 a, uvec2 b) { return uvec2(a.x - b.x, a.y - b.y - (a.x < b.x ? 1u : 0u)); }

bool less(uvec2 a, uvec2 b) { return a.y < b.y || (a.y == b.y && a.x < b.x); }

uvec2 multiply(uvec2 a, uvec2 b) // modulo 2^64
{
    uint high, low;
    umulExtended(a.x, b.x, high, low);
    return uvec2(low, high + a.x * b.y + a.y * b.x);
}

uvec2 shift_right(uvec2 a, uint by) // by 1 to 31
{
    return uvec2(a.x >> by | a.y << (32 - by), a.y >> by);
}

// a * b / 2^by rounded down, or up; the result fits 64 bits.
uvec2 multiply_shift(uvec2 a, uvec2 b, uint by, bool up)
{
    uint words[5] = uint[5](0u, 0u, 0u, 0u, 0u);
    [[unroll]] for (uint i = 0; i < 2; i++) {
        uint carry = 0;
        [[unroll]] for (uint k = 0; k < 2; k++) {
            uint high, low;
            umulExtended(a[i], b[k], high, low);
            uvec2 sum = add(add(uvec2(low, high), uvec2(words[i + k], 0)), uvec2(carry, 0));
            words[i + k] = sum.x;
            carry = sum.y;
        }
        words[i + 2] = carry;
    }
    bool lost = false;
    for (; by >= 32; by -= 32) {
        lost = lost || words[0] != 0;
        [[unroll]] for (uint i = 0; i < 4; i++) words[i] = words[i + 1];
    }
    uvec2 result = uvec2(words[0], words[1]);
    if (by > 0) {
        lost = lost || (words[0] & ((1u << by) - 1u)) != 0;
        result = uvec2(words[0] >> by | words[1] << (32 - by), words[1] >> by | words[2] << (32 - by));
    }
    return up && lost ? add(result, uvec2(1, 0)) : result;
}

// The generator: SplitMix64's finaliser over a counter. 53 bits that depend on seed and position only.
uvec2 draw_bits(uvec2 seed, uint position)
{
    const uvec2 step = uvec2(0x7f4a7c15u, 0x9e3779b9u);
    uvec2 z = add(add(multiply(seed, step), uvec2(position, 0)), step);
    z = multiply(z ^ shift_right(z, 30), uvec2(0x1ce4e5b9u, 0xbf58476du));
    z = multiply(z ^ shift_right(z, 27), uvec2(0x133111ebu, 0x94d049bbu));
    return shift_right(z ^ shift_right(z, 31), 11);
}

// ---- Logits ----

float logit(uint i)
{
    float y = logits[row_at + i];
    bool nan = (floatBitsToUint(y) & 0x7fffffffu) > 0x7f800000u;
    return nan || y <= DEAD ? DEAD : clamp(y, -LARGEST, LARGEST);
}

// exp of (y - top) / temperature in units of 2^-40, by operations that are the same everywhere: a power of two, and a
// polynomial for 2^f, 0 <= f < 1, that is right to 1e-7.
uvec2 weight(float y)
{
    if (y == DEAD) return uvec2(0);
    precise float exponent = (y - top) * scale;
    if (!(exponent >= LIGHTEST)) return uvec2(0);
    float whole = floor(exponent);
    precise float f = exponent - whole;
    precise float p = 2.08179146e-4 * f;
    p = (p + 1.26921665e-3) * f;
    p = (p + 9.6521955e-3) * f;
    p = (p + 5.54960221e-2) * f;
    p = (p + 2.40227208e-1) * f;
    p = (p + 6.93147182e-1) * f;
    p = p + 1.0;
    uint mantissa = uint(p * 8388608.0);
    int by = int(whole) + 17; // -24 to 17
    if (by < 0) return uvec2(mantissa >> -by, 0);
    return uvec2(mantissa << by, mantissa >> 1 >> (31 - by));
}

// ---- Sums over the workgroup ----

void clear_spread()
{
    meet();
    for (uint i = lane; i < 3 * GUESSES * SPREAD; i += LOCAL_SIZE) spread[i] = 0;
    meet();
}

// Lanes add to places of their own, since most devices let atomics on one word wait for each other.
void add_spread(uint guess, uvec2 mass, uint count)
{
    uint at = guess * 3 * SPREAD + lane % SPREAD;
    uint before = atomicAdd(spread[at], mass.x);
    uint high = mass.y + (before + mass.x < before ? 1u : 0u);
    if (high != 0) atomicAdd(spread[at + SPREAD], high);
    if (count != 0) atomicAdd(spread[at + 2 * SPREAD], count);
}

// Leaves {mass, count} of guesses [0, count) in totals.
void sum_spread(uint count)
{
    meet();
    for (uint guess = lane; guess < count; guess += LOCAL_SIZE) {
        uvec3 total = uvec3(0);
        for (uint i = 0; i < SPREAD; i++) {
            uint at = guess * 3 * SPREAD + i;
            total.xy = add(total.xy, uvec2(spread[at], spread[at + SPREAD]));
            total.z += spread[at + 2 * SPREAD];
        }
        totals[guess] = total;
    }
    meet();
}

uvec2 total_of(uvec2 mass)
{
    clear_spread();
    add_spread(0, mass, 0);
    sum_spread(1);
    return totals[0].xy;
}

// Weight of all tokens from y = `from` on.
uvec2 total_from(float from)
{
    uvec2 sum = uvec2(0);
    for (uint i = lane; i < push.vocabulary; i += LOCAL_SIZE) {
        float y = logit(i);
        if (y >= from) sum = add(sum, weight(y));
    }
    return total_of(sum);
}

// ---- The largest ----

// Maxima of GROUPS groups into first_words, and the largest of all, with the lowest id that has it; DEAD if there is none.
void find_largest(out float largest, out uint id)
{
    meet(); // everyone has read what was found before
    float best = DEAD;
    uint best_id = NO_TOKEN;
    for (uint group = lane; group < GROUPS; group += LOCAL_SIZE) {
        float y = DEAD;
        uint y_id = NO_TOKEN;
        for (uint first = group; first < push.vocabulary; first += AT_ONCE * GROUPS) {
            float some[AT_ONCE];
            [[unroll]] for (uint k = 0; k < AT_ONCE; k++) some[k] = logit(min(first + k * GROUPS, push.vocabulary - 1));
            [[unroll]] for (uint k = 0; k < AT_ONCE; k++)
                if (some[k] > y && first + k * GROUPS < push.vocabulary) {
                    y = some[k];
                    y_id = first + k * GROUPS;
                }
        }
        first_words[group] = floatBitsToUint(y);
        if (y > best || (y == best && y_id < best_id)) {
            best = y;
            best_id = y_id;
        }
    }
    if (lane == 0) found = NO_TOKEN;
    meet();
    for (uint i = lane; i < SPREAD; i += LOCAL_SIZE) {
        float y = DEAD;
        for (uint group = i; group < GROUPS; group += SPREAD) y = max(y, uintBitsToFloat(first_words[group]));
        list_y[i] = y;
    }
    meet();
    largest = DEAD;
    for (uint i = 0; i < SPREAD; i++) largest = max(largest, list_y[i]);
    if (best == largest && best > DEAD) atomicMin(found, best_id);
    meet();
    id = found;
}

// ---- Few candidates ----

// A logit with at least top_k, if these are few, or else something like 180 tokens at or above it, going by the maxima of
// groups; DEAD where the list takes all of a row.
float list_border(uint top_k)
{
    uint rank = top_k != 0 ? min(top_k, FOLDED_RANK) : FOLDED_RANK;
    if (push.vocabulary <= LISTED) return DEAD;
    meet();
    for (uint i = lane; i < FOLDED; i += LOCAL_SIZE) {
        float y = DEAD;
        for (uint group = i; group < GROUPS; group += FOLDED) y = max(y, uintBitsToFloat(first_words[group]));
        list_y[i] = y;
    }
    meet();
    for (uint i = lane; i < FOLDED; i += LOCAL_SIZE) {
        uint above = 0, equal = 0;
        for (uint k = 0; k < FOLDED; k++) {
            above += list_y[k] > list_y[i] ? 1u : 0u;
            equal += list_y[k] == list_y[i] ? 1u : 0u;
        }
        if (above < rank && above + equal >= rank) found = floatBitsToUint(list_y[i]);
    }
    meet();
    return uintBitsToFloat(found);
}

// Lists the tokens from y = `border` on; gives the weight of all tokens if `weigh`.
uvec2 fill_list(float border, bool weigh)
{
    uvec2 sum = uvec2(0);
    meet();
    if (lane == 0) list_count = 0;
    meet();
    for (uint i = lane; i < push.vocabulary; i += LOCAL_SIZE) {
        float y = logit(i);
        if (weigh) sum = add(sum, weight(y));
        if (y < border || y == DEAD) continue;
        uint at = atomicAdd(list_count, 1);
        if (at >= LISTED) continue;
        list_y[at] = y;
        list_id[at] = i;
    }
    meet();
    for (uint i = lane; i < min(list_count, LISTED); i += LOCAL_SIZE) list_weight[i] = weight(list_y[i]);
    return weigh ? total_of(sum) : uvec2(0);
}

uvec2 list_total()
{
    uvec2 sum = uvec2(0);
    meet();
    for (uint i = 0; i < list_count; i++) sum = add(sum, list_weight[i]);
    return sum;
}

// Takes the weight of what does not survive, and gives how much is left.
uvec2 thin_list(uint top_k, uvec2 all, float lowest)
{
    uint top_p = samplers[at_sampler].top_p;
    uvec2 target = uvec2(0xFFFFFFFFu);
    if (top_k != 0) {
        meet();
        for (uint i = lane; i < list_count; i += LOCAL_SIZE) {
            uint above = 0;
            for (uint k = 0; k < list_count; k++) above += list_y[k] > list_y[i] ? 1u : 0u;
            if (above >= top_k) list_weight[i] = uvec2(0);
        }
        if (top_p != 0) all = list_total();
    }
    if (top_p != 0) target = multiply_shift(all, uvec2(top_p, 0), samplers[at_sampler].top_p_shift, true);
    meet();
    for (uint i = lane; i < list_count; i += LOCAL_SIZE) {
        uvec2 above = uvec2(0);
        if (top_p != 0)
            for (uint k = 0; k < list_count; k++)
                if (list_y[k] > list_y[i]) above = add(above, list_weight[k]);
        spread[i] = less(above, target) && list_y[i] >= lowest ? 1u : 0u;
    }
    meet();
    for (uint i = lane; i < list_count; i += LOCAL_SIZE)
        if (spread[i] == 0) list_weight[i] = uvec2(0);
    return list_total();
}

uint draw_from_list(uvec2 rest)
{
    for (uint i = lane; i < list_count; i += LOCAL_SIZE) {
        uvec2 before = uvec2(0);
        for (uint k = 0; k < list_count; k++)
            if (list_id[k] < list_id[i]) before = add(before, list_weight[k]);
        if (!less(rest, before) && less(rest, add(before, list_weight[i]))) found = list_id[i];
    }
    meet();
    return found;
}

// ---- Many candidates ----

// The largest logit at and above which, counting from `lowest`, there are `target` tokens, or weight if `by_mass`;
// `lowest` if there is less. Eight guesses a turn.
float search_border(float lowest, uvec2 target, bool by_mass)
{
    float low = lowest, high = top;
    uint above_high = 0;
    for (uint turn = 0; turn < push.turns; turn++) {
        // In the first turn the largest and the lowest are guesses too; then `high` is known to be too high.
        float guesses[GUESSES];
        [[unroll]] for (uint g = 0; g < GUESSES; g++) {
            precise float part = turn == 0 ? float(g) / float(GUESSES - 1) : float(g + 1) / float(GUESSES);
            precise float guess = high - (high - low) * part;
            guesses[g] = g == GUESSES - 1 ? low : guess;
        }
        if (turn > 0) {
            float middle = high - (high - low) * 0.5;
            if (!(middle > low && middle < high)) return low;
        }
        uvec2 mass[GUESSES];
        uint count[GUESSES];
        [[unroll]] for (uint g = 0; g < GUESSES; g++) {
            mass[g] = uvec2(0);
            count[g] = 0;
        }
        for (uint i = lane; i < push.vocabulary; i += LOCAL_SIZE) {
            float y = logit(i);
            if (y < low || y == DEAD) continue;
            uvec2 w = by_mass ? weight(y) : uvec2(1, 0);
            [[unroll]] for (uint g = 0; g < GUESSES; g++)
                if (y >= guesses[g]) {
                    mass[g] = add(mass[g], w);
                    count[g]++;
                }
        }
        clear_spread();
        [[dont_unroll]] for (uint g = 0; g < GUESSES; g++) add_spread(g, mass[g], count[g]);
        sum_spread(GUESSES);
        uint hit = 0;
        while (hit < GUESSES && less(totals[hit].xy, target)) hit++;
        if (hit == GUESSES) return low;
        if (hit == 0 && turn == 0) return high;
        uint held = totals[hit].z;
        [[unroll]] for (uint g = 0; g < GUESSES; g++) {
            if (g == hit) low = guesses[g];
            if (g + 1 == hit) {
                high = guesses[g];
                above_high = totals[g].z;
            }
        }
        if (held - above_high == 1) return low;
    }
    return low;
}

// The smallest logit, or the smallest whose weight is not nothing.
float lowest_logit()
{
    meet();
    float y = top;
    for (uint i = lane; i < push.vocabulary; i += LOCAL_SIZE) {
        float other = logit(i);
        if (other != DEAD && (other - top) * scale >= LIGHTEST) y = min(y, other);
    }
    for (uint i = lane; i < GROUPS; i += LOCAL_SIZE) first_words[i] = floatBitsToUint(y);
    meet();
    for (uint i = lane; i < SPREAD; i += LOCAL_SIZE) {
        for (uint group = i; group < GROUPS; group += SPREAD) y = min(y, uintBitsToFloat(first_words[group]));
        list_y[i] = y;
    }
    meet();
    for (uint i = 0; i < SPREAD; i++) y = min(y, list_y[i]);
    return y;
}

float survivors_border(uint top_k, float lowest)
{
    uint top_p = samplers[at_sampler].top_p;
    if (top_k == 0 && top_p == 0) return lowest;
    float border = lowest_logit();
    // One loop for both, so that it is compiled once.
    for (uint which = top_k != 0 ? 0u : 1u; which < (top_p != 0 ? 2u : 1u); which++) {
        uvec2 target = uvec2(top_k, 0);
        if (which == 1)
            target = multiply_shift(total_from(border), uvec2(top_p, 0), samplers[at_sampler].top_p_shift, true);
        border = search_border(border, target, which == 1);
    }
    return max(border, lowest);
}

// Of LOCAL_SIZE segments' weights in first_words and second_words, finds the one that `rest` falls into, and what of it
// is left there.
void find_segment(inout uvec2 rest, out uint segment)
{
    const uint BLOCK = 32, blocks = (LOCAL_SIZE + BLOCK - 1) / BLOCK;
    meet();
    for (uint b = lane; b < blocks; b += LOCAL_SIZE) {
        uvec2 sum = uvec2(0);
        for (uint i = b * BLOCK; i < min((b + 1) * BLOCK, LOCAL_SIZE); i++)
            sum = add(sum, uvec2(first_words[i], second_words[i]));
        spread[2 * b] = sum.x;
        spread[2 * b + 1] = sum.y;
    }
    meet();
    for (uint b = lane; b < blocks; b += LOCAL_SIZE) {
        uvec2 before = uvec2(0), own = uvec2(spread[2 * b], spread[2 * b + 1]);
        for (uint i = 0; i < b; i++) before = add(before, uvec2(spread[2 * i], spread[2 * i + 1]));
        if (less(rest, before) || !less(rest, add(before, own))) continue;
        uvec2 left = subtract(rest, before);
        uint i = b * BLOCK;
        for (; i + 1 < LOCAL_SIZE && !less(left, uvec2(first_words[i], second_words[i])); i++)
            left = subtract(left, uvec2(first_words[i], second_words[i]));
        found = i;
        found_rest = left;
    }
    meet();
    segment = found;
    rest = found_rest;
}

uint draw_from_row(float border, uvec2 bits)
{
    uint begin = 0, count = push.vocabulary;
    uvec2 rest = uvec2(0);
    for (uint turn = 0; turn == 0 || count > 1; turn++) {
        uint length = (count + LOCAL_SIZE - 1) / LOCAL_SIZE, first = begin + lane * length;
        uvec2 sum = uvec2(0);
        for (uint i = first; i < min(first + length, begin + count); i++) {
            float y = logit(i);
            if (y >= border) sum = add(sum, weight(y));
        }
        meet();
        first_words[lane] = sum.x;
        second_words[lane] = sum.y;
        if (turn == 0) rest = multiply_shift(total_of(sum), bits, 53, false);
        uint segment;
        find_segment(rest, segment);
        uint end = begin + count;
        begin += segment * length;
        count = min(length, end - begin);
    }
    return begin;
}

// ---- One token ----

uint draw(uint position)
{
    float below = samplers[at_sampler].floor, lowest = below == DEAD ? DEAD : top + below;
    uint top_k = samplers[at_sampler].top_k, top_p = samplers[at_sampler].top_p;
    if (top_k >= push.vocabulary) top_k = 0;
    uvec2 bits = draw_bits(uvec2(samplers[at_sampler].seed[0], samplers[at_sampler].seed[1]), position);
    bool bounded = top_k != 0 || top_p != 0 || lowest > DEAD || push.vocabulary <= LISTED;
    if (bounded) {
        float border = list_border(top_k);
        uvec2 all = fill_list(border, top_p != 0 && top_k == 0);
        bool whole = border == DEAD || (top_k != 0 ? list_count >= top_k : lowest >= border);
        if (list_count <= LISTED) {
            if (!whole && top_k == 0 && top_p != 0)
                whole = !less(list_total(), multiply_shift(all, uvec2(top_p, 0), samplers[at_sampler].top_p_shift, true));
            if (whole) return draw_from_list(multiply_shift(thin_list(top_k, all, lowest), bits, 53, false));
        }
    }
    return draw_from_row(bounded ? survivors_border(top_k, lowest) : -LARGEST, bits);
}

// Logits that biases and the penalty change, as they were before, in `saved`.
void adjust(uint position, uint window)
{
    uint biases = samplers[at_sampler].bias_count;
    for (uint i = lane; i < biases; i += LOCAL_SIZE) {
        Bias bias = samplers[at_sampler].biases[i];
        samplers[at_sampler].saved[i] = logits[row_at + bias.token];
        logits[row_at + bias.token] += bias.bias;
    }
    for (uint i = lane; i < window; i += LOCAL_SIZE) list_id[i] = samplers[at_sampler].recent[(position - 1 - i) % RECENT];
    synchronise();
    for (uint i = lane; i < window; i += LOCAL_SIZE) {
        uint token = list_id[i];
        bool seen = token >= push.vocabulary;
        for (uint k = 0; k < i && !seen; k++) seen = list_id[k] == token;
        if (seen) continue;
        float y = logits[row_at + token];
        samplers[at_sampler].saved[BIASES + i] = y;
        logits[row_at + token] = y * (y > 0.0 ? samplers[at_sampler].inverse_penalty : samplers[at_sampler].penalty);
    }
    synchronise();
}

void restore(uint position, uint window)
{
    uint biases = samplers[at_sampler].bias_count;
    synchronise();
    for (uint i = lane; i < window; i += LOCAL_SIZE) list_id[i] = samplers[at_sampler].recent[(position - 1 - i) % RECENT];
    synchronise();
    for (uint i = lane; i < window; i += LOCAL_SIZE) {
        uint token = list_id[i];
        bool seen = token >= push.vocabulary;
        for (uint k = 0; k < i && !seen; k++) seen = list_id[k] == token;
        if (!seen) logits[row_at + token] = samplers[at_sampler].saved[BIASES + i];
    }
    synchronise();
    for (uint i = lane; i < biases; i += LOCAL_SIZE)
        logits[row_at + samplers[at_sampler].biases[i].token] = samplers[at_sampler].saved[i];
    synchronise();
}

// ln softmax(logits)[token], of which the largest logit is known.
float log_prob_of(uint token)
{
    scale = 1.44269504;
    uvec2 all = total_from(-LARGEST);
    return logit(token) - top - log(float(all.y) * 0.00390625 + float(all.x) * 9.094947018e-13);
}

bool is_end(uint token)
{
    uint count = samplers[at_sampler].end_count;
    for (uint i = 0; i < count; i++)
        if (samplers[at_sampler].end_tokens[i] == token) return true;
    return false;
}

void main()
{
    lane = gl_LocalInvocationID.x;
    uint row = gl_WorkGroupID.x;
    uvec4 step = steps[row];
    if ((step.w & STEP_RESTS) != 0 || failed.x != 0) return;
    at_sampler = step.w & STEP_SAMPLER;
    row_at = row * push.vocabulary;

    // All under way at once.
    uint waiting = samplers[at_sampler].waiting, read = samplers[at_sampler].recent_count, made = samplers[at_sampler].made;
    uint last = samplers[at_sampler].last, ends = samplers[at_sampler].end_count, biases = samplers[at_sampler].bias_count;
    uint most = samplers[at_sampler].window, times = samplers[at_sampler].log_prob != 0 ? 2 : 1;
    scale = samplers[at_sampler].scale;
    uint position = step.z + waiting, token;
    read = min(read + waiting, RECENT);
    if (waiting != 0 && lane == 0) samplers[at_sampler].recent[step.z % RECENT] = tokens[row];
    uint window = min(most, read);
    bool adjusted = window != 0 || biases != 0;
    if (adjusted) {
        synchronise();
        adjust(position, window);
    }
    float log_prob = 0.0;
    // A second time for a log-probability, of the logits as they were.
    for (uint time = 0; time < times; time++) {
        uint largest;
        find_largest(top, largest);
        if (time == 0) {
            token = scale > 0.0 && largest != NO_TOKEN ? draw(position) : largest;
            if (adjusted) restore(position, window);
        } else if (token != NO_TOKEN) {
            log_prob = log_prob_of(token);
        }
    }

    made++;
    bool rests = token == NO_TOKEN || made == last || (ends != 0 && is_end(token));
    if (lane == 0) {
        tokens[row] = min(token, push.vocabulary - 1);
        if (push.moves != 0) steps[row].y = other_state(step);
        steps[row].z = position;
        if (rests) steps[row].w = step.w | STEP_RESTS;
        samplers[at_sampler].waiting = 1;
        samplers[at_sampler].recent_count = read;
        samplers[at_sampler].made = made;
        results[at_sampler * RING + made % RING] = uvec4(token, floatBitsToUint(log_prob), made, 0);
    }
    if (rests)
        for (uint i = lane; i < push.vocabulary; i += LOCAL_SIZE) kept[at_sampler * push.vocabulary + i] = logits[row_at + i];
}
