#version 450
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// retention_project.comp: matmul_direct.comp for the projection to queries, keys, values and gates, of chunks that begin in
// rows 0, 64, 128 and so on: leaves the first three as retention on matrix units takes them (retention_operands.glsl), so that
// nothing need be rotated and turned afterwards (retention_prepare.comp). Gates go where other projections' f16 goes.

#define ADDRESSES
#define RETENTION
#include "matmul_direct.glsl"
