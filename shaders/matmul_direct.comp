#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
// matmul_direct.comp: matmul.comp for devices whose matrices lie as lanes.glsl knows. Operands go from memory straight
// into matrices: no shared memory, no barriers, and a subgroup waits for nobody. What subgroups of a workgroup read
// alike comes from the first-level cache.
//
// Where tiles are too few to keep a device busy, a tile's subgroups are there SPLITS times, each set with a part of the
// inputs, and their sums are added at the end.
//
// X is read up to a multiple of SUB_TOKENS tokens.

#include "matmul_direct.glsl"
