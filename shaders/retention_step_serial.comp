#version 450
#extension GL_EXT_control_flow_attributes : require
// retention_step_serial.comp: retention_step_serial.glsl, reading its inputs from storage buffers.
#include "retention_step_serial.glsl"
