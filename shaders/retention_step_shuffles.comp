#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// retention_step_shuffles.comp: retention_step.glsl for GPUs whose subgroups can shuffle.
#define SHUFFLES
#include "retention_step.glsl"
