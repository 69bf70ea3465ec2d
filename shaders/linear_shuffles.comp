#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// linear_shuffles.comp: linear_column.glsl for GPUs whose subgroups can shuffle.
#define SHUFFLES
#include "linear_column.glsl"
