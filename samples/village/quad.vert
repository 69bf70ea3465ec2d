#version 450
// One instance is one rectangle: where it is, what of the texture it shows, and a colour for each corner.
layout(location = 0) in vec4 rectangle; // x, y, width, height in pixels
layout(location = 1) in vec4 source;    // left, top, right, bottom of the texture, in [0, 1]
layout(location = 2) in vec4 colour0;
layout(location = 3) in vec4 colour1;
layout(location = 4) in vec4 colour2;
layout(location = 5) in vec4 colour3;
layout(location = 6) in uint texture_index;

layout(push_constant) uniform Screen { vec2 to_clip; };

layout(location = 0) out vec2 at;
layout(location = 1) out vec4 colour;
layout(location = 2) flat out uint which;

void main()
{
    vec2 corner = vec2(gl_VertexIndex & 1, gl_VertexIndex >> 1);
    vec4 upper = (gl_VertexIndex & 1) == 0 ? colour0 : colour1;
    vec4 lower = (gl_VertexIndex & 1) == 0 ? colour2 : colour3;
    colour = gl_VertexIndex < 2 ? upper : lower;
    at = mix(source.xy, source.zw, corner);
    which = texture_index;
    gl_Position = vec4((rectangle.xy + corner * rectangle.zw) * to_clip - 1.0, 0.0, 1.0);
}
