// step_record.glsl: the records {row, state, position, sampler} of steps, whose last word holds more than the sampler
// (lib/layers/sampling.h).

const uint STEP_SAMPLER = 0xFFFFu, STEP_RESTS = 0x80000000u;

// Where a step that moves states writes what it makes of the record's state.
uint other_state(uvec4 record) { return record.y ^ (record.w >> 16 & 0x7fffu); }
