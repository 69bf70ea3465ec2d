#version 450
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// matmul_addressed.comp: matmul_direct.comp for weights and inputs whose addresses are known: the library's own buffers, not a
// host's, and where the device has addresses (rn_buffer). An eighth faster on one GPU.

#define ADDRESSES
#include "matmul_direct.glsl"
