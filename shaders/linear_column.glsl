// linear_column.glsl: y = epilogue(W x) for one column x on GPUs, W in panels (weights.glsl), with the norm before the
// projection taken on the way in. Can be a link of a chain (order.glsl). The column is staged in shared memory, and a
// workgroup's first weights, at best all, are in registers before the column is there. They are asked for after a first
// look at the column, though: who comes late has it before its weights crowd the memory, and who comes early lets those
// before it have theirs.
//
// A workgroup makes tiles of GROUP_ROWS * ROWS rows of a panel (with GLU, of an activated and a linear one), every
// gl_NumWorkGroups.x-th of them, and loads the next one's weights while it adds up a tile. An invocation owns ROWS rows
// of it and every SPLITS-th unit of each; ROW_LANES neighbours share a row, and read what lies together.
//
// With SHUFFLES subgroups add their invocations' sums; that eight neighbours are in one is no promise of Vulkan's, but
// what every driver does. With DOTS the column is staged in bytes, which hardware multiplies by four weights at a
// time: exact, but for rounding the column by up to 1/65,200 of the largest number of each block of 32 where weights have 4
// bits, and to 2^-22 of it where they have 8.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64; // GROUP_ROWS * SPLITS
layout(constant_id = 1) const uint FORMAT = 2;
layout(constant_id = 2) const uint GROUP_ROWS = 16; // a power of two
layout(constant_id = 3) const uint BLOCKS = 1;      // of 32 inputs
layout(constant_id = 4) const uint PROLOGUE = 0;
layout(constant_id = 5) const uint EPILOGUE = 0;
layout(constant_id = 6) const uint ACTIVATION = 0;
layout(constant_id = 7) const uint BIAS = 0;
layout(constant_id = 8) const uint AHEAD = 1;     // units of a row that are loaded before they are needed
layout(constant_id = 9) const uint HEAD_SUMS = 1; // GROUP_NORM: sums are [heads][HEAD_SUMS / heads]
layout(constant_id = 10) const uint ROWS = 1;     // a power of two; GROUP_ROWS * ROWS is up to 64

#define WEIGHTS_BINDING 0
#define CHAIN_INPUT 1
#define CHAIN_OUTPUT 2
#include "weights.glsl"
#include "activation.glsl"
#include "norm_sum.glsl"
#include "linear_push.glsl"
#include "order.glsl"

layout(std430, set = 0, binding = 3) readonly buffer Params { float params[]; };
layout(std430, set = 0, binding = 3) readonly buffer ParamVectors { vec4 params4[]; };

const uint ROW_LANES = 4;
const uint SPLITS = LOCAL_SIZE / GROUP_ROWS, UNITS = BLOCKS * ROW_UNITS; // of a row
const uint EACH = (UNITS + SPLITS - 1) / SPLITS; // units of an invocation in a row, at most
const uint LEFT_OVER = UNITS % SPLITS + EACH % AHEAD;
const uint PANELS = EPILOGUE == EPILOGUE_GLU ? 2 : 1, SUMS = PANELS * ROWS; // of an invocation
const uint TILE_ROWS = GROUP_ROWS * ROWS, PANEL_TILES = PANEL_ROWS / TILE_ROWS;

// The column's vectors. An RMS norm adds in 256 parts, whatever the size of the workgroup: a stager takes every STEP-th
// vector for one part, then for the next part that is its own.
const bool NORMED = PROLOGUE == PROLOGUE_RMS_NORM, GROUPED = PROLOGUE == PROLOGUE_GROUP_NORM;
#ifdef DOTS
// Making bytes takes long enough for a large workgroup to want all hands: a norm then adds in twice as many parts.
const uint HALVES = NORMED && LOCAL_SIZE >= 2 * NORM_PARTS ? 2 : 1;
#else
const uint HALVES = 1;
#endif
const uint STAGED_PARTS = HALVES * NORM_PARTS;
const uint STAGERS = NORMED && LOCAL_SIZE > STAGED_PARTS ? STAGED_PARTS : LOCAL_SIZE;
const uint TURNS = NORMED ? STAGED_PARTS / STAGERS : 1;
const uint VECTORS = BLOCKS * 8, STEP = NORMED ? STAGED_PARTS : LOCAL_SIZE, STEPS = (VECTORS + STEP - 1) / STEP;
const uint AT_ONCE = STEPS < 4 ? STEPS : 4; // of these
const uint SUMS_EACH = GROUPED ? (HEAD_SUMS + LOCAL_SIZE - 1) / LOCAL_SIZE : 1;

// Sums of a tile's rows that are left to add: in parts, of a subgroup's neighbours if those are added already.
#ifdef SHUFFLES
const uint PARTS = SPLITS / ROW_LANES;
#else
const uint PARTS = SPLITS;
#endif
const uint TILE_SUMS = TILE_ROWS * PANELS;

shared float partial[2 * PARTS * TILE_SUMS]; // of a tile and the next
shared float norm_second_half[HALVES == 2 ? NORM_PARTS : 1];
shared float head_scale[GROUPED ? 128 : 1], head_sum[HEAD_SUMS];

uvec4 ahead[AHEAD * SUMS];
uint ahead_scales[AHEAD * SUMS]; // as they were loaded: whatever is done with them waits for them
uint lane, local_row, split;

// Row s of this invocation in a tile.
uint row_in_panel(uint tile, uint s) { return tile % PANEL_TILES * TILE_ROWS + s % ROWS * GROUP_ROWS + local_row; }

// Unit n of this invocation's rows in a tile; past the end of the inputs, the last one.
void look_ahead(uint slot, uint tile, uint n)
{
    uint unit = split + n * SPLITS;
    if (LEFT_OVER != 0) unit = min(unit, UNITS - 1);
    [[unroll]] for (uint s = 0; s < SUMS; s++) {
        uint panel = min(tile / PANEL_TILES * PANELS + s / ROWS, push.panels - 1), row = row_in_panel(tile, s);
        uint block = (panel * BLOCKS + unit / ROW_UNITS) * block_units(FORMAT), at = slot * SUMS + s;
        ahead[at] = load_unit(block, row, unit % ROW_UNITS);
        if (SCALED) ahead_scales[at] = load_scales(FORMAT, block, row);
    }
}


// ---- The column ----

#ifdef DOTS
#include "linear_dots.glsl"
#else
#include "linear_floats.glsl"
#endif

// Of this invocation's next steps, and of the heads' sums of squares; lane + i * LOCAL_SIZE of these is in sums[i].
struct Awaited {
    uvec4 words[AT_ONCE];
    uint sums[SUMS_EACH];
} awaited;

// Reads all of it, all under way at once; gives whether something is not there yet. Nobody reads what is not its own: a
// word that many look at, in every workgroup, again and again, makes them wait for each other.
bool look(uint first, bool with_sums)
{
    bool lacks = false;
    [[unroll]] for (uint i = 0; i < AT_ONCE; i++) {
        awaited.words[i] = uvec4(0);
        if (first + i * STEP < VECTORS) awaited.words[i] = chain_in4[push.x_at / 4 + first + i * STEP];
    }
    [[unroll]] for (uint i = 0; i < SUMS_EACH; i++) {
        awaited.sums[i] = 0;
        if (with_sums && lane + i * LOCAL_SIZE < HEAD_SUMS)
            awaited.sums[i] = chain_in[push.x_at + push.scale_offset + lane + i * LOCAL_SIZE];
    }
    [[unroll]] for (uint i = 0; i < AT_ONCE; i++) {
        uint at = min(first + i * STEP, VECTORS - 1);
        awaited.words[i] = chain_wanted(awaited.words[i], push.inputs - min(at * 4, push.inputs));
        lacks = lacks || chain_lacks(awaited.words[i]);
    }
    [[unroll]] for (uint i = 0; i < SUMS_EACH; i++) lacks = lacks || awaited.sums[i] == NOT_YET;
    return lacks;
}

// After a first look, which gave `lacks`.
void await_vectors(uint first, bool with_sums, bool lacks, out vec4 v[AT_ONCE])
{
    for (uint n = 0; lacks && chain_look_again(n, push.patience); n++) lacks = look(first, with_sums);
    [[unroll]] for (uint i = 0; i < AT_ONCE; i++) v[i] = uintBitsToFloat(awaited.words[i]);
    if (!with_sums) return;
    [[unroll]] for (uint i = 0; i < SUMS_EACH; i++)
        if (lane + i * LOCAL_SIZE < HEAD_SUMS) head_sum[lane + i * LOCAL_SIZE] = uintBitsToFloat(awaited.sums[i]);
}

// What the vectors meet, known before they are: the norm's weights, and the head that each begins in.
struct Beside {
    vec4 weights[NORMED ? AT_ONCE : 1];
    uint heads[GROUPED ? AT_ONCE : 1];
} beside;

void look_beside(uint first)
{
    [[unroll]] for (uint i = 0; i < AT_ONCE; i++) {
        uint at = min(first + i * STEP, VECTORS - 1);
        if (NORMED) beside.weights[i] = params4[push.norm_weight / 4 + min(at, (push.inputs - 1) / 4)];
        if (GROUPED) beside.heads[i] = min(at * 4 / push.head_size, push.heads - 1);
    }
}

// Eight neighbours share a head where they can tell each other their sums.
void make_head_scales()
{
#ifdef SHUFFLES
    const uint SHARERS = 8;
#else
    const uint SHARERS = 1;
#endif
    barrier();
    for (uint head = lane / SHARERS; head < push.heads; head += LOCAL_SIZE / SHARERS) {
        float sum = 0.0;
        for (uint i = lane % SHARERS; i < push.tiles; i += SHARERS) sum += head_sum[head * push.tiles + i];
#ifdef SHUFFLES
        [[unroll]] for (uint k = 1; k < SHARERS; k *= 2) sum += subgroupShuffleXor(sum, k);
#endif
        if (lane % SHARERS == 0) head_scale[head] = inversesqrt(sum / float(push.head_size));
    }
    barrier();
}

vec4 scale_of_heads(uint vector, uint head)
{
    if (push.head_size % 4 == 0) return vec4(head_scale[head]);
    uvec4 heads = min((vector * 4 + uvec4(0, 1, 2, 3)) / push.head_size, push.heads - 1);
    return vec4(head_scale[heads.x], head_scale[heads.y], head_scale[heads.z], head_scale[heads.w]);
}

// This invocation's first look at what it stages.
bool look_first()
{
    look_beside(lane);
    return look(lane, GROUPED);
}

// After look_first, which gave `first_lacks`. A norm's factor stays out of the staged values: it scales the whole sum in
// the end. Leaves parts of the sum of squares.
void stage_column(bool first_lacks)
{
    for (uint turn = 0; turn < TURNS; turn++) {
        uint part = turn * STAGERS + lane;
        float squares = 0.0;
        for (uint step = 0; step < STEPS; step += AT_ONCE) {
            uint first = part + step * STEP;
            bool heads_first = GROUPED && step == 0;
            bool lacks = first_lacks;
            if (turn + step != 0) {
                look_beside(first);
                if (lane < STAGERS) lacks = look(first, false);
            }
            vec4 v[AT_ONCE];
            if (lane < STAGERS) await_vectors(first, heads_first, lacks, v);
            if (heads_first) make_head_scales();
            if (lane >= STAGERS) continue;
            meet_neighbours();
            [[unroll]] for (uint i = 0; i < AT_ONCE; i++) {
                uint at = first + i * STEP;
                if (at >= VECTORS) continue;
                if (NORMED) squares += dot(v[i], v[i]);
                if (NORMED) v[i] *= beside.weights[i];
                if (GROUPED) v[i] *= scale_of_heads(at, beside.heads[i]);
                stage_vector(at, v[i]);
            }
        }
        if (!NORMED || lane >= STAGERS) continue;
        if (part < NORM_PARTS) norm_part[part] = squares;
        if (part >= NORM_PARTS) norm_second_half[part - NORM_PARTS] = squares;
    }
}

// After a barrier behind stage_column.
void add_norm_parts()
{
    if (HALVES == 1) {
        norm_add_sixteenths(lane);
    } else if (lane < 16) {
        float sum = 0.0;
        for (uint i = lane * 16; i < lane * 16 + 16; i++) sum += norm_part[i] + norm_second_half[i];
        norm_sixteenth[lane] = sum;
    }
}

// ---- Sums ----

// Leaves this invocation's sums for add_parts.
void leave_parts(uint first, float sum[SUMS])
{
    [[unroll]] for (uint i = 0; i < SUMS; i++) {
        uint row = i / ROWS * TILE_ROWS + i % ROWS * GROUP_ROWS + local_row;
#ifdef SHUFFLES
        sum[i] += subgroupShuffleXor(sum[i], 1);
        sum[i] += subgroupShuffleXor(sum[i], 2);
        if (split % ROW_LANES == 0) partial[first + row * PARTS + split / ROW_LANES] = sum[i];
#else
        partial[first + row * PARTS + split] = sum[i];
#endif
    }
}

// All parts of a row of the tile, after a barrier.
float add_parts(uint first, uint row)
{
    float total = 0.0;
    [[unroll]] for (uint i = 0; i < PARTS; i++) total += partial[first + row * PARTS + i];
    return total;
}

// What ADD adds to: row `row` of a tile.
float look_before(uint tile, uint row)
{
    uint at = push.before_at + push.row_base + tile * TILE_ROWS + row;
    if (tile * TILE_ROWS + row >= push.rows) return 0.0;
    return push.before_at == IN_PLACE ? uintBitsToFloat(chain_out[push.row_base + tile * TILE_ROWS + row])
                                      : chain_await(at, chain_in[at], push.patience);
}

void store(uint row, float value, float linear_value, float before)
{
    if (BIAS != 0) value += params[push.bias + push.row_base + row];
    value = activate(ACTIVATION, value);
    if (EPILOGUE == EPILOGUE_GLU) value *= linear_value;
    if (EPILOGUE == EPILOGUE_ADD) value += before;
    chain_announce(push.row_base + row, value);
}

void main()
{
    lane = gl_LocalInvocationID.x;
    local_row = lane / ROW_LANES % GROUP_ROWS;
    split = lane / (ROW_LANES * GROUP_ROWS) * ROW_LANES + lane % ROW_LANES;
    uint tiles = push.panels / PANELS * PANEL_TILES;

    // The first weights are under way while the column is awaited. They do not depend on it, but what is added to their
    // place, nothing, has to wait for the first look.
    bool lacks = look_first();
    uint nothing = lacks ? push.patience >> 31 : 0;
    [[unroll]] for (uint a = 0; a < AHEAD; a++) look_ahead(a, gl_WorkGroupID.x + nothing, a);

    chain_begin(lane);
    stage_column(lacks);
    float before = 0.0;
    if (EPILOGUE == EPILOGUE_ADD && lane < TILE_ROWS) before = look_before(gl_WorkGroupID.x, lane);
    barrier();
    if (chain_failed(lane)) return;
    if (NORMED) add_norm_parts();

    uint first_partial = 0;
    for (uint tile = gl_WorkGroupID.x; tile < tiles; tile += gl_NumWorkGroups.x) {
        uint next_tile = tile + gl_NumWorkGroups.x;
        float sum[SUMS];
        [[unroll]] for (uint i = 0; i < SUMS; i++) sum[i] = 0.0;
        for (uint first = 0; first < EACH; first += AHEAD) {
            [[unroll]] for (uint a = 0; a < AHEAD; a++) {
                uint unit = split + (first + a) * SPLITS;
                if (LEFT_OVER == 0 || unit < UNITS) add_products(a, unit, sum);
            }
            if (AHEAD < EACH && first + AHEAD < EACH)
                [[unroll]] for (uint a = 0; a < AHEAD; a++) look_ahead(a, tile, first + AHEAD + a);
        }
        if (next_tile < tiles)
            [[unroll]] for (uint a = 0; a < AHEAD; a++) look_ahead(a, next_tile, a);
        leave_parts(first_partial, sum);
        barrier();
        if (lane < TILE_ROWS) {
            uint row = tile * TILE_ROWS + lane;
            float factor = 1.0;
            if (NORMED) factor = inversesqrt(norm_add_rest() / float(push.inputs) + push.eps);
            float value = add_parts(first_partial, lane) * factor;
            float linear_value = PANELS > 1 ? add_parts(first_partial, TILE_ROWS + lane) * factor : 0.0;
            if (row < push.rows) store(row, value, linear_value, before);
            if (EPILOGUE == EPILOGUE_ADD && next_tile < tiles) before = look_before(next_tile, lane);
        }
        first_partial = PARTS * TILE_SUMS - first_partial;
    }
}
