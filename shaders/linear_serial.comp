#version 450
#extension GL_EXT_control_flow_attributes : require
// linear_serial.comp: linear_serial.glsl, reading its inputs from storage buffers.
#include "linear_serial.glsl"
