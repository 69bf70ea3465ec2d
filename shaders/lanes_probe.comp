#version 450
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// lanes_probe.comp: which invocation holds which component of a matrix. Each component is set to its invocation times the
// components an invocation has, plus its number among them; then the matrices are stored. One subgroup.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32;
layout(constant_id = 1) const uint MATRIX_M = 16;
layout(constant_id = 2) const uint MATRIX_N = 16;
layout(constant_id = 3) const uint MATRIX_K = 16;

// f16: the left operand by rows, the right one by columns, sums by rows.
layout(std430, set = 0, binding = 0) writeonly buffer Output { uvec4 y[]; };

#define HALF_SUMS coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

void main()
{
    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> b;
    a = coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>(float16_t(0.0));
    b = coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>(float16_t(0.0));
    for (int i = 0; i < a.length(); i++) a[i] = float16_t(float(gl_SubgroupInvocationID * a.length() + i));
    for (int i = 0; i < b.length(); i++) b[i] = float16_t(float(gl_SubgroupInvocationID * b.length() + i));
    coopMatStore(a, y, 0, MATRIX_K / 8, gl_CooperativeMatrixLayoutRowMajor);
    coopMatStore(b, y, MATRIX_M * MATRIX_K / 8, MATRIX_K / 8, gl_CooperativeMatrixLayoutColumnMajor);
    coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sum =
        coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);
    for (int i = 0; i < sum.length(); i++) sum[i] = float(gl_SubgroupInvocationID * sum.length() + i);
    coopMatStore(HALF_SUMS(sum), y, MATRIX_K * (MATRIX_M + MATRIX_N) / 8, MATRIX_N / 8,
                 gl_CooperativeMatrixLayoutRowMajor);
}
