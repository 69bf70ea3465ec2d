// norm_sum.glsl: the sum over a normalised row. Every kernel that normalises adds in this one order, so that a row
// normalises to the same bits whichever kernel does it: 64 parts take every 64th element each, then parts are added in
// eights. A workgroup may have fewer invocations than parts, or more.
//
//     for (uint part = lane; part < NORM_PARTS; part += LOCAL_SIZE) norm_part[part] = ...;
//     float sum = norm_sum(lane);

const uint NORM_PARTS = 64;

shared float norm_part[NORM_PARTS], norm_eighth[8];

// All invocations of the workgroup call this; nobody may write norm_part again before another barrier.
float norm_sum(uint lane)
{
    barrier();
    for (uint eighth = lane; eighth < 8; eighth += LOCAL_SIZE) {
        float sum = 0.0;
        for (uint i = 0; i < 8; i++) sum += norm_part[eighth * 8 + i];
        norm_eighth[eighth] = sum;
    }
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < 8; i++) sum += norm_eighth[i];
    return sum;
}
