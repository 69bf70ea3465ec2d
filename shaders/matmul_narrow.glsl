// matmul_narrow.glsl: what matmul_narrow.comp and matmul_narrow_direct.comp share: the problem, and what becomes of sums.

const uint EPILOGUE_STORE = 0, EPILOGUE_ADD = 1, EPILOGUE_GLU = 2;

#define WEIGHTS_BINDING 0
#include "weights.glsl"
#include "weights_half.glsl"
#include "activation.glsl"
#include "halves.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Input { uvec4 x[]; };
layout(std430, set = 0, binding = 2) buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) buffer OutputHalves { uvec2 y_halves[]; };
layout(std430, set = 0, binding = 3) coherent buffer Partial { vec4 partial[]; };
layout(std430, set = 0, binding = 3) coherent buffer Finished { uint finished[]; }; // [tiles], zero between dispatches

layout(push_constant) uniform Push {
    uint blocks;   // of 32 inputs
    uint panels;   // of W in this dispatch
    uint rows;     // of Y in this dispatch
    uint row_base; // first row of Y
    uint columns;
    uint x_room;   // halves.glsl; what lies between the inputs and a multiple of 32 is finite
    uint y_stride; // floats, or the room of halves
    uint partials; // where partial sums begin, in vectors
} push;

const bool GLU = EPILOGUE == EPILOGUE_GLU;

shared uint is_last;

// Whether this workgroup is the last of its tile's; then all partial sums are there.
bool is_last_of_tile(uint splits)
{
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationID.x == 0) is_last = atomicAdd(finished[gl_WorkGroupID.x], 1) == splits - 1 ? 1 : 0;
    barrier();
    memoryBarrierBuffer();
    return is_last != 0;
}

void store(uint token, uint row, vec4 value, vec4 linear_value)
{
    if (token >= push.columns) return;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        value[i] = activate(ACTIVATION, value[i]);
        if (GLU) value[i] *= linear_value[i];
    }
    uint at = HALVES != 0 ? half_at(push.y_stride, token, push.row_base + row) : token * push.y_stride + push.row_base + row;
    if (HALVES != 0) {
        // Also zeros up to a multiple of 32 rows, the next projection's padding: what W is beyond its rows.
        if (row >= (push.rows + 31u & ~31u)) return;
        value = clamp(value, -65504.0, 65504.0);
        y_halves[at / 4] = uvec2(packHalf2x16(value.xy), packHalf2x16(value.zw));
        return;
    }
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (row + i < push.rows) y[at + i] = EPILOGUE == EPILOGUE_ADD ? y[at + i] + value[i] : value[i];
}
