#version 450
// Colours are premultiplied by alpha, so that one blend serves for covering (alpha 1) and for light (alpha 0).
layout(set = 0, binding = 0) uniform sampler2D art;
layout(set = 0, binding = 1) uniform sampler2D glyphs;

layout(location = 0) in vec2 at;
layout(location = 1) in vec4 colour;
layout(location = 2) flat in uint which;

layout(location = 0) out vec4 result;

void main()
{
    result = colour * (which == 0 ? textureLod(art, at, 0.0) : textureLod(glyphs, at, 0.0).rrrr);
}
