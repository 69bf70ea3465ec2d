#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_spirv_intrinsics : require
// linear_dots.comp: linear_column.glsl for 8-bit and 4-bit weights on GPUs that multiply bytes besides.
#define SHUFFLES
#define DOTS
#include "linear_column.glsl"
