// matmul_problem.glsl: Y = epilogue(X W^T) on matrix units, as all kernels of that family take it (rn_matmul_constants).

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 128; // SUBGROUP times the subgroups of a workgroup
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint EPILOGUE = 0;
layout(constant_id = 3) const uint ACTIVATION = 0;
layout(constant_id = 4) const uint HALVES = 0; // Y is f16
layout(constant_id = 5) const uint SUBGROUP = 32;
layout(constant_id = 6) const uint MATRIX_M = 16;
layout(constant_id = 7) const uint MATRIX_N = 16;
layout(constant_id = 8) const uint MATRIX_K = 16;

const uint EPILOGUE_STORE = 0, EPILOGUE_ADD = 1, EPILOGUE_GLU = 2;
const bool GLU = EPILOGUE == EPILOGUE_GLU;

#define WEIGHTS_BINDING 0
#include "weights.glsl"
#include "weights_half.glsl"
#include "activation.glsl"
#include "halves.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Input { uvec4 x[]; };
layout(std430, set = 0, binding = 2) buffer Output { float y[]; };
layout(std430, set = 0, binding = 2) buffer OutputHalves { uvec2 y_halves[]; };

layout(push_constant) uniform Push {
    uvec2 weights, inputs; // addresses of W and X, for kernels with ADDRESSES
    uint blocks;   // of 32 inputs
    uint panels;   // of W in this dispatch
    uint rows;     // of Y in this dispatch
    uint row_base; // first row of Y
    uint columns;
    uint x_room;   // halves.glsl; what lies between the inputs and a multiple of 32 is finite
    uint y_stride; // floats, or the room of halves
    uint partials; // matmul_narrow.glsl: where partial sums begin, in vectors
#ifdef RETENTION // as in retention_scratch.glsl
    uint heads, key_value_heads, key_size, value_size, padded_key, padded_value;
    uint query, key, key_in, value, before;
    uint angles;
    float query_scale;
    uint first_tile, first_rows, row_tiles; // retention_operands.glsl
#endif
} push;
