// retention_scratch.glsl: what retention on matrix units keeps between its kernels, f16 in units of eight. Chunks are
// padded to 64 rows, K and V as the host says (lib/layers/retention_matrix.c); all padding is zero, but
// for tokens of query and key behind a chunk's last that retention_project.comp leaves: anything, and nobody uses it.
//
//     query     [chunks][heads][CHUNK][K]              rotated, times K^(-1/2)
//     key       [chunks][key_value_heads][CHUNK][K]    rotated
//     key_in    [chunks][heads][K][CHUNK]              times decay^(L-1-i), L = length of the chunk
//     value     [chunks][key_value_heads][V][CHUNK]
//     before    [chunks][heads][V][K]                  the state before each chunk, times c; the direct kernels keep every second
//
// so that matrix units always read along the dimension that they sum over, which is innermost. It is cut into blocks of 32
// that lie outside of the rows, [K / 32][CHUNK][32] and so on: what a subgroup reads at a time lies together.
//
// retention_project.comp leaves the tokens of a chunk in another order (lanes.glsl, place_of) in key, key_in and value, and
// key_in for [key_value_heads], not faded.
//
// c keeps states in the range of f16: they grow like 1 / sqrt(1 - decay).

const uint CHUNK = 64;

#ifndef RETENTION // which has some of these in a block of its own (matmul_problem.glsl)
layout(push_constant) uniform Push {
    uint x_stride; // floats, or the room of halves (halves.glsl)
    uint q_offset, k_offset, v_offset;
    uint y_stride, y_offset; // floats; of halves the room, and no offset
    uint heads, key_value_heads, key_size, value_size, value_stride;
    uint padded_key, padded_value;
    uint query, key, key_in, value, before; // in scratch, units of eight
    uint angles, decays, powers, powers_stride;        // in params: angles in units of vec2; decay^0, decay^1, ... of each head
    float query_scale;
    float eps; // these of the group norm, where it is taken here; weight in params, [value_size]
    uint weight, decay_sums, gate_offset;
    uint first_output; // the first chunk of which the output is asked for
    uvec2 scratch; // its address, for kernels with ADDRESSES
} push;
#endif

float state_factor(float decay)
{
    return max(sqrt(1.0 - decay), 1.0 / 1024.0);
}

// Where a unit of a row lies in one of these arrays, whose rows are so many.
uint unit_at(uint rows, uint row, uint unit)
{
    return (unit / 4 * rows + row) * 4 + unit % 4;
}

// Where the rows of a chunk and head begin.
uint query_at(uint chunk, uint head)
{
    return push.query + (chunk * push.heads + head) * CHUNK * (push.padded_key / 8);
}

uint key_at(uint chunk, uint key_head)
{
    return push.key + (chunk * push.key_value_heads + key_head) * CHUNK * (push.padded_key / 8);
}

uint value_at(uint chunk, uint key_head)
{
    return push.value + (chunk * push.key_value_heads + key_head) * push.padded_value * (CHUNK / 8);
}

uint key_in_at(uint chunk, uint head)
{
    return push.key_in + (chunk * push.heads + head) * push.padded_key * (CHUNK / 8);
}

uint before_at(uint chunk, uint head)
{
    return push.before + (chunk * push.heads + head) * push.padded_value * (push.padded_key / 8);
}
