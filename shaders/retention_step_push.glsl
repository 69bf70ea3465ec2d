// retention_step_push.glsl: what the host tells retention_step.comp and retention_step_serial.glsl
// (lib/layers/retention.c, step_push).

const uint NO_MARKS = 0xffffffffu;

layout(push_constant) uniform Push {
    uint x_stride, q_offset, k_offset, v_offset, gate_offset; // floats
    uint y_stride, sums_offset;
    uint heads, key_value_group; // query heads that share a key and value head
    uint value_size, value_stride;
    uint angles, decays, weight, decay_sums; // in params; angles and decay_sums in units of vec2
    float query_scale, eps;
    uint moves;    // the state that is written is the record's other one; 0: the one that is read
    uint x_at;     // retention_step: where the rows of x begin
    uint marks;    // retention_step: in the input, a word for each workgroup; NO_MARKS: none
    uint patience; // retention_step: see order.glsl
    uint again;    // retention_step: there may be marks of the same token
} push;

const uint NO_SUMS = 0xffffffffu; // as sums_offset: none are wanted
