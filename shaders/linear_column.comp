#version 450
#extension GL_EXT_control_flow_attributes : require
// linear_column.comp: linear_column.glsl for any GPU.
#include "linear_column.glsl"
