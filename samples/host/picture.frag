#version 450

layout(push_constant) uniform Frame {
    float time;
    uint load; /* how often the picture is worked over: what a frame costs */
} frame;

layout(location = 0) out vec4 colour;

void main()
{
    vec2 p = gl_FragCoord.xy / 360.0 - vec2(1.78, 1.0);
    vec3 sum = vec3(0.0);
    for (uint i = 0u; i < frame.load; i++) {
        float angle = frame.time + float(i) * 0.37;
        p += 0.03 * vec2(sin(4.0 * p.y + angle), cos(3.0 * p.x - angle));
        sum += 0.5 + 0.5 * cos(angle + length(p) * 5.0 + vec3(0.0, 2.1, 4.2));
    }
    colour = vec4(sum / float(frame.load), 1.0);
}
