#version 450
#extension GL_EXT_control_flow_attributes : require
// loads_serial.comp: loads.glsl, from storage buffers.
#include "loads.glsl"
