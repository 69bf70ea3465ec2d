// linear_output.glsl: what becomes of a sum in linear.comp, linear_tiles.comp and linear_serial.glsl. Needs params_at.

#include "activation.glsl"

layout(std430, set = 0, binding = 2) buffer Output { float y[]; };

void store(uint column, uint row, float value, float linear_value)
{
    if (BIAS != 0) value += params_at(push.bias + row);
    value = activate(ACTIVATION, value);
    uint at = column * push.y_stride + row;
    if (EPILOGUE == EPILOGUE_GLU)
        y[at] = value * linear_value;
    else if (EPILOGUE == EPILOGUE_ADD)
        y[at] += value;
    else
        y[at] = value;
}
