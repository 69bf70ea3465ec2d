/* record_dense.c: norms, matrices and the embedding over the host's buffers (include/retnet/layers.h). */
#include "layers/embedding.h"
#include "layers/norm.h"
#include "layers/pack.h"
#include "layers/recording.h"

/* ---- Norms ------------------------------------------------------------------------------------------------------- */

static retnet_result check_norm(retnet_layers *layers, const retnet_norm *n, uint32_t width)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    retnet_result result = rn_layers_ready(layers);
    if (result == RETNET_OK && (n->rows == 0 || n->size == 0 || width / n->size != (n->groups ? n->groups : 1)))
        result = rn_layers_fail(layers, invalid, "norm: %u rows of %u groups of %u", n->rows, n->groups, n->size);
    if (result == RETNET_OK && !(n->eps >= 0)) result = rn_layers_fail(layers, invalid, "norm: eps is %g", n->eps);
    if (result == RETNET_OK) result = rn_layers_check_rows(layers, "norm: input", &n->input, width, 4);
    if (result == RETNET_OK) result = rn_layers_check_rows(layers, "norm: output", &n->output, width, 4);
    if (result == RETNET_OK && n->weight.buffer) result = rn_layers_check_vector(layers, "norm: weight", &n->weight, 4);
    if (result == RETNET_OK && n->bias.buffer) result = rn_layers_check_vector(layers, "norm: bias", &n->bias, 4);
    if (result == RETNET_OK && n->gate.buffer) result = rn_layers_check_rows(layers, "norm: gate", &n->gate, width, 4);
    if (result == RETNET_OK && n->c2.buffer)
        result = rn_layers_check_rows(layers, "norm: c2", &n->c2, n->groups ? n->groups : 1, 4);
    if (result == RETNET_OK && n->weight.buffer && n->bias.buffer && n->weight.buffer != n->bias.buffer)
        result = rn_layers_fail(layers, invalid, "norm: weight and bias lie in two buffers");
    if (result == RETNET_OK && n->c2.buffer && n->c2.buffer != n->input.buffer)
        result = rn_layers_fail(layers, invalid, "norm: c2 and input lie in two buffers");
    return result;
}

retnet_result retnet_layers_norm(retnet_layers *layers, const retnet_norm *n)
{
    if (!layers || !n) return RETNET_ERROR_INVALID_ARGUMENT;
    uint32_t groups = n->groups ? n->groups : 1, width = groups * n->size;
    retnet_result result = check_norm(layers, n, width);
    if (result != RETNET_OK) return result;
    rn_area input = {0}, output = {0}, params = {0}, gate = {0};
    rn_area_add_rows(&input, &n->input, n->rows, width);
    if (n->c2.buffer) rn_area_add_rows(&input, &n->c2, n->rows, groups);
    rn_area_add_rows(&output, &n->output, n->rows, width);
    if (n->weight.buffer) rn_area_add(&params, n->weight.buffer, n->weight.offset, 4ull * n->size);
    if (n->bias.buffer) rn_area_add(&params, n->bias.buffer, n->bias.offset, 4ull * n->size);
    if (n->gate.buffer) rn_area_add_rows(&gate, &n->gate, n->rows, width);
    rn_norm norm = {
        .layer_norm = n->kind == RETNET_NORM_LAYER,
        .input = rn_area_bind(layers, &input),
        .output = rn_area_bind(layers, &output),
        .segments = groups,
        .size = n->size,
        .x_stride = rn_rows_stride(&n->input, width),
        .y_stride = rn_rows_stride(&n->output, width),
        .has_weight = n->weight.buffer != VK_NULL_HANDLE,
        .has_bias = n->bias.buffer != VK_NULL_HANDLE,
        .eps = n->eps,
        .has_gate = n->gate.buffer != VK_NULL_HANDLE,
        .gate_stride = rn_rows_stride(&n->gate, width),
        .eps_given = n->c2.buffer != VK_NULL_HANDLE,
        .c2_stride = rn_rows_stride(&n->c2, groups),
        .chunks = rn_layers_records(layers, &(rn_chunk_record){0}, 1), /* not read, but declared */
    };
    norm.params = norm.input; /* without weight and bias nothing is read of it */
    norm.x_offset = rn_area_floats(&input, n->input.offset);
    norm.y_offset = rn_area_floats(&output, n->output.offset);
    if (params.buffer.handle) norm.params = rn_area_bind(layers, &params);
    if (norm.has_weight) norm.weight = rn_area_floats(&params, n->weight.offset);
    if (norm.has_bias) norm.bias = rn_area_floats(&params, n->bias.offset);
    if (norm.has_gate) norm.gate = rn_area_bind(layers, &gate);
    if (norm.has_gate) norm.gate_offset = rn_area_floats(&gate, n->gate.offset);
    if (norm.eps_given) norm.c2_offset = rn_area_floats(&input, n->c2.offset);
    uint32_t most = layers->device->caps.max_groups[1];
    for (norm.first_row = 0; norm.first_row < n->rows; norm.first_row += norm.rows) {
        norm.rows = rn_min_u32(most, n->rows - norm.first_row);
        rn_norm_record(&layers->recorder, &norm);
    }
    return layers->recorder.result;
}

/* ---- Matrices ---------------------------------------------------------------------------------------------------- */

static rn_matrix matrix_of(const retnet_matrix *m)
{
    return (rn_matrix){
        .offset = m->offset, .format = m->format, .rows = m->rows, .inputs = m->inputs, .alternating = m->pair};
}

/* Sizes below 2^31 and of at most 2^62 bytes. */
static bool countable(const retnet_matrix *m)
{
    uint64_t weights;
    return m->format >= RETNET_WEIGHTS_F32 && m->format <= RETNET_WEIGHTS_Q4 && m->rows && m->inputs &&
           m->rows < 1u << 30 && m->inputs < 1u << 30 && rn_mul_u64(m->rows + 64ull, m->inputs + 32ull, &weights) &&
           weights < 1ull << 58;
}

uint64_t retnet_matrix_bytes(const retnet_matrix *matrix)
{
    if (!matrix || !countable(matrix)) return 0;
    rn_matrix m = matrix_of(matrix);
    return rn_matrix_panels(&m) * rn_matrix_panel_bytes(&m);
}

retnet_result rn_layers_take_matrix(retnet_layers *layers, const char *name, const retnet_matrix *matrix,
                                    rn_buffer *buffer, rn_matrix *out)
{
    if (!countable(matrix))
        return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "%s: %u rows of %u inputs in format %d", name,
                              matrix->rows, matrix->inputs, (int)matrix->format);
    retnet_vector place = {matrix->buffer, matrix->offset};
    retnet_result result = rn_layers_check_vector(layers, name, &place, RN_HOST_ALIGNMENT);
    *buffer = (rn_buffer){.handle = matrix->buffer, .size = UINT64_MAX, .foreign = true};
    *out = matrix_of(matrix);
    out->buffer = buffer;
    out->bytes = retnet_matrix_bytes(matrix);
    return result;
}

static void pack_rows(retnet_layers *layers, const retnet_pack *pack, const rn_matrix *matrix,
                      const retnet_vector *source, bool second)
{
    static const rn_pack_source kinds[] = {
        [RETNET_WEIGHTS_F32] = RN_PACK_F32, [RETNET_WEIGHTS_F16] = RN_PACK_F16, [RETNET_WEIGHTS_BF16] = RN_PACK_BF16};
    rn_device *device = layers->device;
    uint64_t row_bytes = (uint64_t)matrix->inputs * (pack->source_format == RETNET_WEIGHTS_F32 ? 4 : 2);
    uint32_t blocks = rn_matrix_blocks(matrix);
    uint32_t most = rn_pack_rows(device, device->caps.max_storage_range, row_bytes, blocks);
    if (most >= 128) most = most / 128 * 128; /* then pieces begin at offsets that every device takes */
    if (most < matrix->rows && most % 128) {
        rn_layers_fail(layers, RETNET_ERROR_LIMIT, "pack: rows of %u inputs", matrix->inputs);
        return;
    }
    for (uint32_t first = 0; first < matrix->rows; first += most) {
        rn_pack piece = {
            .first = first,
            .rows = rn_min_u32(most, matrix->rows - first),
            .inputs = matrix->inputs,
            .blocks = blocks,
            .panel_step = matrix->alternating ? 2 : 1,
            .panel_offset = second,
        };
        rn_area area = {0};
        rn_area_add(&area, source->buffer, source->offset + first * row_bytes, piece.rows * row_bytes);
        retnet_result result =
            rn_pack_record(&layers->recorder, kinds[pack->source_format], rn_area_bind(layers, &area), matrix, piece);
        if (result != RETNET_OK) rn_recorder_fail(&layers->recorder, result);
        if (layers->recorder.result != RETNET_OK) return;
    }
}

retnet_result retnet_layers_pack(retnet_layers *layers, const retnet_pack *pack)
{
    if (!layers || !pack) return RETNET_ERROR_INVALID_ARGUMENT;
    rn_buffer buffer;
    rn_matrix matrix;
    retnet_result result = rn_layers_ready(layers);
    if (result == RETNET_OK) result = rn_layers_take_matrix(layers, "pack: matrix", &pack->matrix, &buffer, &matrix);
    if (result == RETNET_OK && (pack->source_format < RETNET_WEIGHTS_F32 || pack->source_format > RETNET_WEIGHTS_BF16))
        result =
            rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "pack: source format %d", (int)pack->source_format);
    if (result == RETNET_OK) result = rn_layers_check_vector(layers, "pack: source", &pack->source, RN_HOST_ALIGNMENT);
    if (result == RETNET_OK && pack->matrix.pair)
        result = rn_layers_check_vector(layers, "pack: linear", &pack->linear, RN_HOST_ALIGNMENT);
    if (result != RETNET_OK) return result;
    rn_recorder_fill_zero(&layers->recorder, &buffer, matrix.offset, matrix.bytes);
    pack_rows(layers, pack, &matrix, &pack->source, false);
    if (pack->matrix.pair) pack_rows(layers, pack, &matrix, &pack->linear, true);
    return layers->recorder.result;
}

retnet_result rn_layers_check_input(retnet_layers *layers, const char *name, const retnet_rows *rows, uint32_t inputs)
{
    retnet_result result = rn_layers_check_rows(layers, name, rows, inputs, RN_HOST_ALIGNMENT);
    if (result == RETNET_OK && rows->stride % 4)
        return rn_layers_fail(layers, RETNET_ERROR_INVALID_ARGUMENT, "%s: stride %u is no multiple of 4", name,
                              rows->stride);
    return result;
}

/* ---- Embedding --------------------------------------------------------------------------------------------------- */

retnet_result retnet_layers_embedding(retnet_layers *layers, const retnet_embedding *e)
{
    if (!layers || !e) return RETNET_ERROR_INVALID_ARGUMENT;
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    rn_buffer buffer;
    rn_matrix matrix;
    retnet_result result = rn_layers_ready(layers);
    if (result == RETNET_OK) result = rn_layers_take_matrix(layers, "embedding: matrix", &e->matrix, &buffer, &matrix);
    if (result == RETNET_OK && (e->rows == 0 || e->matrix.pair))
        result = rn_layers_fail(layers, invalid, "embedding: %u rows%s", e->rows, e->matrix.pair ? " of a pair" : "");
    if (result == RETNET_OK)
        result = rn_layers_check_vector(layers, "embedding: tokens", &e->tokens, RN_HOST_ALIGNMENT);
    if (result == RETNET_OK)
        result = rn_layers_check_input(layers, "embedding: output", &e->output, rn_padded_inputs(matrix.inputs));
    if (result != RETNET_OK) return result;
    rn_area tokens = {0}, output = {0};
    rn_area_add(&tokens, e->tokens.buffer, e->tokens.offset, 4ull * e->rows);
    rn_area_add_rows(&output, &e->output, e->rows, rn_padded_inputs(matrix.inputs));
    rn_embedding_record(&layers->recorder, &matrix, rn_area_bind(layers, &tokens), e->rows,
                        rn_area_bind(layers, &output), rn_rows_stride(&e->output, rn_padded_inputs(matrix.inputs)),
                        e->scale != 0 ? e->scale : 1);
    return layers->recorder.result;
}
