// activation.glsl: the activations of gates and feed-forward layers.

const uint ACTIVATION_NONE = 0, ACTIVATION_SILU = 1, ACTIVATION_GELU = 2, ACTIVATION_RELU = 3;

float silu(float x)
{
    return x / (1.0 + exp(-x));
}

// Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7.
float erf_approximate(float x)
{
    float t = 1.0 / (1.0 + 0.3275911 * abs(x));
    float p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    float y = 1.0 - p * exp(-x * x);
    return x < 0.0 ? -y : y;
}

float activate(uint activation, float x)
{
    if (activation == ACTIVATION_SILU) return silu(x);
    if (activation == ACTIVATION_GELU) return 0.5 * x * (1.0 + erf_approximate(x * 0.70710678118654752));
    if (activation == ACTIVATION_RELU) return max(x, 0.0);
    return x;
}
