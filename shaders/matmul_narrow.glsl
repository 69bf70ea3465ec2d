// matmul_narrow.glsl: what matmul_narrow.comp and matmul_narrow_direct.comp share beyond matmul_problem.glsl: what becomes of
// sums.

#include "matmul_problem.glsl"

layout(std430, set = 0, binding = 3) coherent buffer Partial { vec4 partial[]; };
layout(std430, set = 0, binding = 3) coherent buffer Finished { uint finished[]; }; // [tiles], zero between dispatches

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
        y_halves[at / 4] = four_halves(value);
        return;
    }
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (row + i < push.rows) y[at + i] = EPILOGUE == EPILOGUE_ADD ? y[at + i] + value[i] : value[i];
}
