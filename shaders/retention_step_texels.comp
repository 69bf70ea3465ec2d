#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_samplerless_texture_functions : require
// retention_step_texels.comp: retention_step_serial.glsl, reading its inputs as texels.
#define TEXELS
#include "retention_step_serial.glsl"
