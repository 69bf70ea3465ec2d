#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_samplerless_texture_functions : require
// linear_texels.comp: linear_serial.glsl, reading its inputs as texels.
#define TEXELS
#include "linear_serial.glsl"
