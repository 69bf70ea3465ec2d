#version 450
// score.comp: log-probability of one given token a row, ln softmax(logits)[target], without reading the logits back.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;

layout(std430, set = 0, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, set = 0, binding = 1) readonly buffer Targets { uint targets[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Output { float log_probs[]; };

layout(push_constant) uniform Push {
    uint vocabulary, stride;
    uint first_target; // of row 0
    uint first_output;
} push;

shared float values[LOCAL_SIZE];

void main()
{
    uint lane = gl_LocalInvocationID.x, row = gl_WorkGroupID.x, at = row * push.stride;
    float largest = logits[at];
    for (uint i = lane; i < push.vocabulary; i += LOCAL_SIZE) largest = max(largest, logits[at + i]);
    values[lane] = largest;
    barrier();
    for (uint i = 0; i < LOCAL_SIZE; i++) largest = max(largest, values[i]);
    barrier();
    float sum = 0.0;
    for (uint i = lane; i < push.vocabulary; i += LOCAL_SIZE) sum += exp(logits[at + i] - largest);
    values[lane] = sum;
    barrier();
    if (lane != 0) return;
    sum = 0.0;
    for (uint i = 0; i < LOCAL_SIZE; i++) sum += values[i];
    log_probs[push.first_output + row] = logits[at + targets[push.first_target + row]] - largest - log(sum);
}
