// tiles.glsl: sums of outer products in tiles of 64 x 64, in fp32, for GPUs without matrix units. 32 steps of the sum at a
// time go through shared memory, of which this takes the 16 KiB that every device has.
//
// The first operand's 64 elements are neighbours in the result: an invocation owns four of them by eight of the second's, so
// that it reads three vectors for 32 products. Needs LOCAL_SIZE = 128.

const uint TILE = 64, STEPS = 32, OWN = 8, VECTORS = TILE / 4;

shared vec4 first_tile[STEPS * VECTORS], second_tile[STEPS * VECTORS]; // [steps][elements / 4]

vec4 sum[OWN]; // [second's elements], each of four of the first's

// Where elements begin of which the invocation owns four, or eight.
uint own_first() { return gl_LocalInvocationID.x % VECTORS * 4; }
uint own_second() { return gl_LocalInvocationID.x / VECTORS * OWN; }

// Where four elements of a step lie. Neighbours write different fours of steps of one element, and must not meet in a bank.
uint place(uint four_steps, uint step, uint four)
{
    return (four_steps * 4 + step) * VECTORS + (four ^ four_steps);
}

// An element in four neighbouring steps.
void put_first(uint four_steps, uint i, vec4 value)
{
    [[unroll]] for (uint s = 0; s < 4; s++) first_tile[place(four_steps, s, i / 4)][i % 4] = value[s];
}

void put_second(uint four_steps, uint i, vec4 value)
{
    [[unroll]] for (uint s = 0; s < 4; s++) second_tile[place(four_steps, s, i / 4)][i % 4] = value[s];
}

// Four neighbouring elements in a step.
void put_first_four(uint step, uint four, vec4 value) { first_tile[place(step / 4, step % 4, four)] = value; }
void put_second_four(uint step, uint four, vec4 value) { second_tile[place(step / 4, step % 4, four)] = value; }

void clear_sums()
{
    [[unroll]] for (uint i = 0; i < OWN; i++) sum[i] = vec4(0.0);
}

// Between barriers.
void add_products()
{
    uint first = own_first() / 4, second = own_second() / 4;
    for (uint four = 0; four < STEPS / 4; four++) {
        [[unroll]] for (uint s = 0; s < 4; s++) {
            vec4 a = first_tile[place(four, s, first)];
            vec4 low = second_tile[place(four, s, second)], high = second_tile[place(four, s, second + 1)];
            [[unroll]] for (uint k = 0; k < 4; k++) {
                sum[k] += a * low[k];
                sum[k + 4] += a * high[k];
            }
        }
    }
}
