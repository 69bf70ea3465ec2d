// linear_floats.glsl: the part of linear_column.glsl that multiplies floats.

void meet_neighbours() {}

// A vector more every eight, so that neighbours, who read whole blocks of 4-bit weights, use different banks.
shared vec4 staged[VECTORS + BLOCKS];

uint staged_at(uint vector) { return vector + vector / 8; }

void stage_vector(uint at, vec4 v) { staged[staged_at(at)] = v; }

// Adds the products of a unit of each row, which lie at ahead[slot * SUMS ..].
void add_products(uint slot, uint unit, inout float sum[SUMS])
{
    float s[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++) s[i] = 0.0;
    [[unroll]] for (uint k = 0; k < UNIT_VECTORS; k++) {
        vec4 x = staged[staged_at(unit * UNIT_VECTORS + k)];
        [[unroll]] for (uint i = 0; i < SUMS; i++) s[i] += dot(decode_unit(FORMAT, ahead[slot * SUMS + i], k), x);
    }
    [[unroll]] for (uint i = 0; i < SUMS; i++) sum[i] += SCALED ? s[i] * decode_scale_of(FORMAT, ahead_scales[slot * SUMS + i], row_in_panel(0, i)) : s[i];
}
