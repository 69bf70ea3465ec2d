// order.glsl: how the dispatches of a chain (lib/vulkan/recorder.h, rn_recorder_chain) wait for each other without
// barriers. Every value that one leaves for another has a place of its own, which holds NOT_YET before: a reader loads
// again until something else is there. So nothing but the order of single words counts, and what a workgroup reads that
// depends on nobody, its weights above all, is under way while it waits.
//
// That the waiting ends rests on a queue starting workgroups of earlier dispatches first. Vulkan does not promise it, so
// patience is limited: a workgroup that gives up raises the flag at the beginning of the chain's memory and leaves
// nothing, which in turn stops all that come after it. Where barriers order the dispatches patience is 0, and what is
// there is taken.
//
// Include with the bindings defined: CHAIN_INPUT is the memory of the whole chain, CHAIN_OUTPUT any. Outside of a chain
// the input is any as well.

const uint NOT_YET = 0xffffffffu; // a NaN that nothing computes
const uint CHAIN_FLAG = 0;        // word of the chain's memory

layout(std430, set = 0, binding = CHAIN_INPUT) coherent volatile buffer ChainInput { uint chain_in[]; };
layout(std430, set = 0, binding = CHAIN_INPUT) coherent volatile buffer ChainInputVectors { uvec4 chain_in4[]; };
layout(std430, set = 0, binding = CHAIN_OUTPUT) coherent volatile buffer ChainOutput { uint chain_out[]; };

shared uint chain_gave_up;

// Before anything is awaited.
void chain_begin(uint lane)
{
    if (lane == 0) chain_gave_up = 0;
    barrier();
}

bool chain_look_again(uint looks, uint patience)
{
    if (looks < patience && ((looks & 255u) != 255u || chain_in[CHAIN_FLAG] == 0)) return true;
    if (patience != 0) chain_gave_up = 1;
    return false;
}

// Word i, which was read once before.
float chain_await(uint i, uint word, uint patience)
{
    for (uint n = 0; word == NOT_YET && chain_look_again(n, patience); n++) word = chain_in[i];
    return uintBitsToFloat(word);
}

// The first `count` components of a vector that was read; zero for the others, which nobody leaves.
uvec4 chain_wanted(uvec4 words, uint count)
{
    return mix(uvec4(0), words, lessThan(uvec4(0, 1, 2, 3), uvec4(count)));
}

bool chain_lacks(uvec4 words)
{
    return any(equal(words, uvec4(NOT_YET)));
}

// After a barrier behind the last thing awaited: whether the workgroup has to end.
bool chain_failed(uint lane)
{
    if (chain_gave_up == 0) return false;
    if (lane == 0) chain_in[CHAIN_FLAG] = 1;
    return true;
}

void chain_announce(uint i, float value)
{
    uint word = floatBitsToUint(value);
    chain_out[i] = word == NOT_YET ? 0x7fc00000u : word;
}
