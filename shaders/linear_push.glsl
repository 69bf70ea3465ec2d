// linear_push.glsl: what the host tells the kernels linear*.comp (lib/layers/linear.c, linear_push).

const uint PROLOGUE_NONE = 0;       // x as it is
const uint PROLOGUE_ROW_SCALE = 1;  // x[scale_offset] holds a factor for the whole column (norm.comp)
const uint PROLOGUE_RMS_NORM = 2;   // x is normalised with a weight from params
const uint PROLOGUE_GROUP_NORM = 3; // x is scaled head by head with the sums that retention_step left
const uint EPILOGUE_STORE = 0, EPILOGUE_ADD = 1, EPILOGUE_GLU = 2;

const uint IN_PLACE = 0xffffffffu;

layout(push_constant) uniform Push {
    uint blocks;       // of 32 inputs
    uint panels;       // of W in this dispatch
    uint rows;         // of y in this dispatch
    uint row_base;     // first row of y
    uint columns;
    uint x_stride;     // floats, a multiple of 32, at least 32 * blocks; the padding is finite, RMS_NORM: zero
    uint y_stride;     // floats
    uint inputs;       // inputs of W, without padding
    uint scale_offset; // ROW_SCALE: where in a column of x its factor is; GROUP_NORM: where the sums begin
    uint norm_weight;  // in params, a multiple of 4
    uint bias;         // in params
    float eps;
    uint heads, head_size, tiles; // GROUP_NORM: sums are [heads][tiles]
    uint x_at;      // linear_column: where x begins, a multiple of 4
    uint before_at; // linear_column: in the input, what ADD adds to; IN_PLACE: y itself
    uint patience;  // linear_column: see order.glsl
} push;
