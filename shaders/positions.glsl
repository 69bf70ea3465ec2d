// positions.glsl: what depends on a token's absolute position, from tables that the host built in double precision.
// A position is three digits in base 1024, each with a table of its own, so that 2^30 positions are exact to fp32
// rounding without a sine or a power on the device.
//
// Include with PARAMS_BINDING defined.

#ifdef TEXELS
layout(set = 0, binding = PARAMS_BINDING) uniform textureBuffer params4;
float params_at(uint i) { return texelFetch(params4, int(i >> 2))[i & 3u]; }
vec2 param_pair(uint i)
{
    vec4 v = texelFetch(params4, int(i >> 1));
    return (i & 1u) == 0 ? v.xy : v.zw;
}
#else
layout(std430, set = 0, binding = PARAMS_BINDING) readonly buffer Params { float params[]; };
layout(std430, set = 0, binding = PARAMS_BINDING) readonly buffer ParamPairs { vec2 param_pairs[]; };
float params_at(uint i) { return params[i]; }
vec2 param_pair(uint i) { return param_pairs[i]; }
#endif

// cos and sin of position * theta[pair]. `angles` is in units of vec2: [3][1024][pairs].
vec2 rotation_at(uint angles, uint pairs, uint position, uint pair)
{
    vec2 r = param_pair(angles + (position & 1023u) * pairs + pair);
    if (position >= 1024) {
        vec2 s = param_pair(angles + (1024 + (position >> 10 & 1023u)) * pairs + pair);
        r = vec2(r.x * s.x - r.y * s.y, r.x * s.y + r.y * s.x);
    }
    if (position >= 1u << 20) {
        vec2 s = param_pair(angles + (2048 + (position >> 20)) * pairs + pair);
        r = vec2(r.x * s.x - r.y * s.y, r.x * s.y + r.y * s.x);
    }
    return r;
}

#ifndef TEXELS
layout(std430, set = 0, binding = PARAMS_BINDING) readonly buffer ParamQuads { vec4 param_quads[]; };

// Two turns, (cos, sin, cos, sin), each behind another.
vec4 turned(vec4 by, vec4 and)
{
    return vec4(by.xz * and.xz - by.yw * and.yw, by.xz * and.yw + by.yw * and.xz).xzyw;
}

// Those of pairs `pair`, an even one, and the next; `angles` and `pairs` are even.
vec4 two_rotations_at(uint angles, uint pairs, uint position, uint pair)
{
    vec4 r = param_quads[(angles + (position & 1023u) * pairs + pair) / 2];
    for (uint level = 1; level < 3; level++) {
        if (position < 1u << level * 10) break;
        r = turned(r, param_quads[(angles + (level * 1024 + (position >> level * 10 & 1023u)) * pairs + pair) / 2]);
    }
    return r;
}
#endif

// s_n of retnet.md, the sum of decay^m for m = 0..position. `sums` is in units of vec2: [head][3][1024], where digit
// table 0 holds (s_d, decay^(d+1)), 1 and 2 hold (sum of decay^m for m < d * 1024^level, decay^(d * 1024^level)).
float decay_sum_at(uint sums, uint head, uint position)
{
    uint base = sums + head * 3072;
    vec2 low = param_pair(base + (position & 1023u));
    vec2 middle = param_pair(base + 1024 + (position >> 10 & 1023u));
    float high = param_pair(base + 2048 + (position >> 20)).x;
    return low.x + low.y * (middle.x + middle.y * high);
}

// decay^n, from the same table.
float decay_power_at(uint sums, uint head, uint n)
{
    uint base = sums + head * 3072, low = n & 1023u;
    float power = low == 0 ? 1.0 : param_pair(base + low - 1).y;
    if (n >= 1024) power *= param_pair(base + 1024 + (n >> 10 & 1023u)).y;
    if (n >= 1u << 20) power *= param_pair(base + 2048 + (n >> 20)).y;
    return power;
}
