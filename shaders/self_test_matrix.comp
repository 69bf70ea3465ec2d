#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
// self_test_matrix.comp: a product of the shape that the device's matrix units have, made as matmul.comp makes its own:
// both operands from shared memory, the second column by column, summed twice in fp32 and changed component by component.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32; // one subgroup
layout(constant_id = 1) const uint MATRIX_M = 16;
layout(constant_id = 2) const uint MATRIX_N = 16;
layout(constant_id = 3) const uint MATRIX_K = 16;

layout(std430, set = 0, binding = 0) readonly buffer Operands { uvec4 operands[]; }; // f16 A [M][K], then B [N][K]
layout(std430, set = 0, binding = 1) buffer Result { float y[]; };                   // [M][N]: A B + 1

const uint ROW = MATRIX_K / 8, A_UNITS = MATRIX_M * ROW, UNITS = A_UNITS + MATRIX_N * ROW;

shared uvec4 staged[UNITS];

void main()
{
    for (uint i = gl_LocalInvocationID.x; i < UNITS; i += LOCAL_SIZE) staged[i] = operands[i];
    barrier();
    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> b;
    coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sum =
        coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);
    coopMatLoad(a, staged, 0, ROW, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, staged, A_UNITS, ROW, gl_CooperativeMatrixLayoutColumnMajor);
    [[unroll]] for (uint i = 0; i < 2; i++) sum = coopMatMulAdd(a, b, sum);
    [[unroll]] for (int i = 0; i < sum.length(); i++) sum[i] = sum[i] * 0.5 + 1.0;
    coopMatStore(sum, y, 0, MATRIX_N, gl_CooperativeMatrixLayoutRowMajor);
}
