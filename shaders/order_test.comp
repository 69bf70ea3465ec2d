#version 450
// order_test.comp: a link of a chain (order.glsl) that does nothing but wait: each of its workgroups needs words that many
// workgroups of the link before leave, and leaves one that says whether all of them were right.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

#define CHAIN_INPUT 0
#define CHAIN_OUTPUT 1
#include "order.glsl"

layout(push_constant) uniform Push {
    uint x_at, count; // the words of the link before
    uint link;        // they are all this number
    uint work;        // turns of a loop that delays every eighth workgroup
    uint patience;
} push;

shared uint wrong;

void main()
{
    uint lane = gl_LocalInvocationID.x, at = push.x_at + (gl_WorkGroupID.x * 31 + lane * 17) % push.count;
    if (lane == 0) wrong = 0;
    chain_begin(lane);
    float value = chain_await(at, chain_in[at], push.patience);
    if (value != float(push.link)) wrong = 1;
    if (gl_WorkGroupID.x % 8 == 7)
        for (uint i = 0; i < push.work; i++) value = fract(value * 1.5 + float(i));
    barrier();
    if (chain_failed(lane)) return;
    // The condition holds; the compiler cannot know, and keeps the loop.
    if (lane == 0) chain_announce(gl_WorkGroupID.x, wrong == 0 && value >= 0.0 ? float(push.link + 1) : -1.0);
}
