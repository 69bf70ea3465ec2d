// loads.glsl: reads vectors as linear_serial.glsl and retention_step_serial.glsl do, so that lib/layers/loads.c can time which of their two ways to
// read is the faster one on a software driver: some are read by all invocations alike, some by each alone.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 8;

#ifdef TEXELS
layout(set = 0, binding = 0) uniform textureBuffer x4;
vec4 x_vector(uint i) { return texelFetch(x4, int(i)); }
#else
layout(std430, set = 0, binding = 0) readonly buffer Input { vec4 x4[]; };
vec4 x_vector(uint i) { return x4[i]; }
#endif
layout(std430, set = 0, binding = 1) writeonly buffer Output { float y[]; };

layout(push_constant) uniform Push {
    uint vectors; // in x4, a power of two
    uint count;   // that an invocation reads
} push;

void main()
{
    vec4 sum = vec4(0.0);
    for (uint i = 0; i < push.count; i++) {
        vec4 own = x_vector((i * LOCAL_SIZE + gl_LocalInvocationID.x) & (push.vectors - 1));
        [[unroll]] for (uint k = 0; k < 8; k++) sum += own * x_vector((i * 8 + k) & (push.vectors - 1));
    }
    y[gl_GlobalInvocationID.x] = dot(sum, vec4(1.0));
}
