// norm_sum.glsl: the sum over a normalised row. Every kernel that normalises adds in this one order, so that a row
// normalises to the same bits whichever kernel does it: 256 parts take every 256th vector of four each, then parts are
// added in sixteens. A workgroup may have fewer invocations than parts, or more. (Only where linear_dots.comp runs in large
// workgroups there are twice as many parts.)
//
//     for (uint part = lane; part < NORM_PARTS; part += LOCAL_SIZE) norm_part[part] = ...;
//     float sum = norm_sum(lane);

const uint NORM_PARTS = 256;

shared float norm_part[NORM_PARTS], norm_sixteenth[16];

// In two steps, for what has barriers of its own: after a barrier behind the parts, and after another behind the first step.
void norm_add_sixteenths(uint lane)
{
    for (uint group = lane; group < 16; group += LOCAL_SIZE) {
        float sum = 0.0;
        for (uint i = 0; i < 16; i++) sum += norm_part[group * 16 + i];
        norm_sixteenth[group] = sum;
    }
}

float norm_add_rest()
{
    float sum = 0.0;
    for (uint i = 0; i < 16; i++) sum += norm_sixteenth[i];
    return sum;
}

// All invocations of the workgroup call this; nobody may write norm_part again before another barrier.
float norm_sum(uint lane)
{
    barrier();
    norm_add_sixteenths(lane);
    barrier();
    return norm_add_rest();
}
