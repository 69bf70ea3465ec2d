// norm_sum.glsl: the sum over a normalised row. Every kernel that normalises adds in this one order, so that a row
// normalises to the same bits whichever kernel does it: 64 lanes take every 64th element each, then lanes are added in
// eights.

shared float norm_partial[64], norm_eighth[8];

// All invocations of the workgroup call this; lanes 0 to 63 bring a value.
float norm_sum(uint lane, float value)
{
    barrier(); // an earlier sum may still be read
    if (lane < 64) norm_partial[lane] = value;
    barrier();
    if (lane < 8) {
        float sum = 0.0;
        for (uint i = 0; i < 8; i++) sum += norm_partial[lane * 8 + i];
        norm_eighth[lane] = sum;
    }
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < 8; i++) sum += norm_eighth[i];
    return sum;
}
