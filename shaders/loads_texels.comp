#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_samplerless_texture_functions : require
// loads_texels.comp: loads.glsl, as texels.
#define TEXELS
#include "loads.glsl"
