#include "layers/copy.h"
#include "layers/embedding.h"
#include "layers/matmul.h"
#include "layers/retention_project.h"
#include "session/session.h"

#include <stddef.h>

/* One pass through the model, in the order of the paper:
 *
 *     x = embedding(tokens);  for each layer:  x += MSR(norm(x));  x += FFN(norm(x));  logits = head(norm(x))
 *
 * Where the device's kernels can, norms are taken while a projection reads its input, which makes five dispatches a
 * layer; else each norm is a dispatch of its own, which computes the same numbers. A token that one slot makes is then
 * a chain (recorder.h), from the embedding to the logits, and works in memory of its own.
 *
 * In the last layer only the states need all tokens. What is behind them is done for the rows whose logits are wanted.
 *
 * Of a prompt on matrix units, the kernel that makes a chunk's outputs takes their group norm too, where it can; that
 * adds in another order. */

rn_binding rn_region_binding(const retnet_session *session, rn_region region)
{
    return (rn_binding){&session->activations, region.offset, 4ull * region.rows * region.stride};
}

typedef struct forward {
    retnet_session *session;
    rn_recorder *recorder;
    const rn_pass *pass;
    rn_window window; /* of its rows, those that are worked on */
    bool matrix;      /* on matrix units: what norms and activations leave for a projection is f16 */
    bool narrow;      /* on those, by rn_matmul_narrow_record */
    bool chained, again;
} forward;

static bool is_of_steps(const rn_pass *pass)
{
    return pass->class == RN_PASS_STEPS || pass->class == RN_PASS_TOKEN;
}

/* Where it suits, few tokens are multiplied by a kernel of their own: of many slots, or of prompts, down to what one
 * has left. */
static bool suits_narrow(const retnet_session *session, const rn_pass *pass, uint32_t rows)
{
    if (!is_of_steps(pass)) rows = rn_max_u32(rows, 2);
    return rn_matmul_pays(session->device) && rn_matmul_narrow_suits(session->device, rows);
}

/* Where a layer reads and writes. */
typedef struct layer_regions {
    rn_region x, projected, retained, middle, hidden, out;
} layer_regions;

static rn_region rows_from(rn_region region, uint32_t first)
{
    region.offset += 4ull * first * region.stride;
    region.rows -= first;
    return region;
}

static layer_regions regions_of(const forward *f, uint32_t layer)
{
    const rn_session_layout *l = &f->session->layout;
    const rn_chain_layout *c = &l->chain;
    if (!f->chained) {
        rn_region x = rows_from(l->x, f->window.first);
        return (layer_regions){x, l->projected, rows_from(l->retained, f->window.first), x, l->hidden, x};
    }
    layer_regions r = {c->x, c->projected, c->retained, c->middle, c->hidden, c->out};
    rn_region *own[] = {&r.projected, &r.retained, &r.middle, &r.hidden, &r.out};
    for (size_t i = 0; i < RN_COUNT(own); i++) own[i]->offset += layer * c->layer_bytes;
    if (layer) {
        r.x = r.out;
        r.x.offset -= c->layer_bytes;
    }
    return r;
}

/* How a projection or retention reads: from a region or, in a chain, from somewhere in all of its memory. */
static rn_binding input_binding(const forward *f, rn_region region)
{
    const rn_chain_layout *c = &f->session->layout.chain;
    return f->chained ? (rn_binding){&f->session->activations, c->at, c->bytes} : rn_region_binding(f->session, region);
}

static uint32_t chain_word(const forward *f, rn_region region)
{
    return f->chained ? (uint32_t)((region.offset - f->session->layout.chain.at) / 4) : 0;
}

static rn_binding records(const forward *f, uint64_t offset)
{
    return (rn_binding){&f->session->input, f->pass->input_at + offset, 16ull * RN_MAX_RECORDS};
}

/* A projection on matrix units, of f16. Its output may be f16 too; the strides of both are the tokens that there is
 * room for (shaders/halves.glsl). */
static rn_matmul matmul_of(const forward *f, const rn_linear *linear, bool halves_out)
{
    return (rn_matmul){
        .matrix = linear->matrix,
        .input = linear->input,
        .output = linear->output,
        .columns = linear->columns,
        .x_room = linear->x_stride,
        .y_stride = linear->y_stride,
        .epilogue = linear->epilogue,
        .activation = linear->activation,
        .halves = halves_out,
        .unpacked = {&f->session->scratch, 0, f->session->scratch.size}, /* free but for retention */
        .partials = {&f->session->activations, f->session->layout.partials_at,
                     rn_matmul_narrow_bytes(f->session->device)},
    };
}

static void project(const forward *f, const rn_linear *linear, bool halves_in, bool halves_out)
{
    if (!halves_in) {
        rn_linear_record(f->recorder, linear);
        return;
    }
    rn_matmul matmul = matmul_of(f, linear, halves_out);
    if (f->narrow)
        rn_matmul_narrow_record(f->recorder, &matmul);
    else
        rn_matmul_record(f->recorder, &matmul);
}

/* Makes norm(x) a projection's input, by its own kernel where that is possible. Gives whether it is f16. */
static bool take_norm(const forward *f, rn_region from, const rn_model_norm *norm, rn_linear *linear)
{
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_session_layout *l = &session->layout;
    uint32_t inputs = linear->matrix->inputs;
    linear->columns = f->window.rows;
    linear->params = rn_model_params(session->model);
    bool rms = config->norm == RN_NORM_RMS && norm->has_weight && !norm->has_bias;
    bool halves = f->matrix && !linear->has_bias, defer = rms && !halves && !session->device->caps.is_cpu;
    rn_linear fused = *linear;
    fused.input = input_binding(f, from);
    fused.chained = f->chained;
    fused.x_at = chain_word(f, from);
    fused.x_stride = from.stride;
    fused.prologue = RN_PROLOGUE_RMS_NORM;
    fused.norm_weight = norm->weight;
    fused.eps = config->norm_eps;
    if (rms && !halves && rn_linear_can_fuse(session->device, &fused)) {
        *linear = fused;
        return false;
    }
    rn_norm n = {
        .mode = defer ? RN_NORM_DEFER : RN_NORM_NORMALISE,
        .layer_norm = config->norm == RN_NORM_LAYER,
        .input = rn_region_binding(session, from),
        .output = rn_region_binding(session, l->normed),
        .params = linear->params,
        .rows = f->window.rows,
        .segments = 1,
        .size = inputs,
        .x_stride = from.stride,
        .y_stride = halves ? l->normed.rows : l->normed.stride,
        .halves = halves,
        .has_weight = norm->has_weight,
        .weight = norm->weight,
        .has_bias = norm->has_bias,
        .bias = norm->bias,
        .eps = config->norm_eps,
        .scale_offset = l->normed_scale,
    };
    rn_norm_record(f->recorder, &n);
    linear->input = n.output;
    linear->x_stride = n.y_stride;
    linear->prologue = defer ? RN_PROLOGUE_ROW_SCALE : RN_PROLOGUE_NONE;
    linear->scale_offset = l->normed_scale;
    return halves;
}

/* linear(norm(x)). `halves_out` asks for f16 where matrix units are used. */
static void normed_linear(const forward *f, rn_region from, const rn_model_norm *norm, rn_linear linear,
                          bool halves_out)
{
    bool halves = take_norm(f, from, norm, &linear);
    project(f, &linear, halves, halves_out);
}

/* Whether q, k, v and the gate are f16: only chunks on matrix units read that. */
static bool projects_halves(const forward *f, const rn_model_layer *layer)
{
    return f->matrix && !f->pass->steps && !layer->qkvg.has_bias &&
           rn_retention_matrix_suits(f->session->device, f->session->model->config.key_size);
}

static rn_retention layer_retention(const forward *f, uint32_t layer, const layer_regions *r)
{
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_session_layout *l = &session->layout;
    bool halves = projects_halves(f, &session->model->layers[layer]);
    return (rn_retention){
        .heads = config->heads,
        .key_value_heads = config->kv_heads,
        .key_size = config->key_size,
        .value_size = config->value_size,
        .x_stride = halves ? l->projected.rows : l->projected.stride,
        .halves = halves,
        .q_offset = l->q_offset,
        .k_offset = l->k_offset,
        .v_offset = l->v_offset,
        .gate_offset = l->gate_offset,
        .y_stride = l->retained.stride,
        .tables = session->model->tables,
        .input = input_binding(f, r->projected),
        .output = rn_region_binding(session, r->retained),
        .params = rn_model_params(session->model),
        .state = rn_session_layer_state(session, layer),
    };
}

/* Whether retention goes to the output projection as f16, in the region `normed`; else it is normalised in place. */
static bool retains_halves(const forward *f, const rn_model_layer *layer)
{
    return f->matrix && !layer->o.has_bias && f->session->model->config.value_size % 2 == 0;
}

/* Group norm and gate over rows [first_row, first_row + rows) of raw retention. */
static void group_norm(const forward *f, const rn_model_layer *layer, uint32_t first_row, uint32_t rows,
                       rn_binding row_records, uint32_t record_count)
{
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_session_layout *l = &session->layout;
    bool halves = retains_halves(f, layer), gate_halves = projects_halves(f, layer);
    rn_norm n = {
        .mode = RN_NORM_NORMALISE,
        .layer_norm = config->norm == RN_NORM_LAYER,
        .input = rn_region_binding(session, l->retained),
        .output = rn_region_binding(session, halves ? l->normed : l->retained),
        .params = rn_model_params(session->model),
        .first_row = first_row,
        .rows = rows,
        .segments = config->heads,
        .size = config->value_size,
        .x_stride = l->retained.stride,
        .y_stride = halves ? l->normed.rows : l->retained.stride,
        .halves = halves,
        .has_weight = layer->group_norm.has_weight,
        .weight = layer->group_norm.weight,
        .eps = config->norm_eps,
        .has_gate = config->output_gate,
        .gate = rn_region_binding(session, l->projected),
        .gate_stride = gate_halves ? l->projected.rows : l->projected.stride,
        .gate_offset = l->gate_offset,
        .gate_halves = gate_halves,
        .eps_scaled = config->score_normalised_eps,
        .chunks = row_records,
        .chunk_count = record_count,
        .decay_sums = session->model->tables.decay_sums,
    };
    rn_norm_record(f->recorder, &n);
}

static uint32_t step_tiles(const forward *f)
{
    const rn_config *config = &f->session->model->config;
    return rn_retention_step_tiles(f->session->device, config->heads, config->value_size, f->pass->steps);
}

/* Single tokens. With `defer` the group norm is left to the output projection. */
static void retain_steps(const forward *f, uint32_t index, const rn_retention *retention, bool defer)
{
    const rn_model_layer *layer = &f->session->model->layers[index];
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_session_layout *l = &session->layout;
    /* A mean-subtracting group norm cannot be left to the reader as a factor. */
    bool raw = config->norm == RN_NORM_LAYER;
    rn_retention_step step = {
        .records = f->pass->step_records,
        .count = f->pass->steps,
        .raw = raw,
        .has_gate = config->output_gate,
        .has_weight = layer->group_norm.has_weight,
        .eps_scaled = config->score_normalised_eps,
        .weight = layer->group_norm.weight,
        .sums_offset = l->retained_sums,
        .eps = config->norm_eps,
        .moves = f->pass->moves,
        .chained = f->chained,
        .again = f->again,
        .x_at = chain_word(f, regions_of(f, index).projected),
        .marks = l->chain.marks + index * l->chain.layer_marks,
    };
    rn_retention_step_record(f->recorder, retention, &step);
    if (raw) group_norm(f, layer, 0, f->pass->steps, step.records, f->pass->steps);
    if (raw || defer) return;
    bool halves = retains_halves(f, layer);
    rn_norm apply = {
        .mode = RN_NORM_APPLY,
        .input = retention->output,
        .output = halves ? rn_region_binding(session, l->normed) : retention->output,
        .params = retention->params,
        .rows = f->pass->steps,
        .segments = config->heads,
        .size = config->value_size,
        .x_stride = l->retained.stride,
        .y_stride = halves ? l->normed.rows : l->retained.stride,
        .halves = halves,
        .scale_offset = l->retained_sums,
        .tiles = step_tiles(f),
    };
    rn_norm_record(f->recorder, &apply);
}

static rn_retention_chunks chunks_of(const forward *f)
{
    const rn_session_layout *l = &f->session->layout;
    const rn_pass *pass = f->pass;
    return (rn_retention_chunks){
        .chunks = records(f, l->chunks_at),
        .sequences = records(f, l->sequences_at),
        .chunk_count = pass->chunks,
        .sequence_count = pass->sequences,
        .longest = pass->longest,
        .matrix = f->matrix,
        .scratch = &f->session->scratch,
    };
}

/* Chunks. All states are brought up to date; the window's rows are left for the output projection. */
static void retain_chunks(const forward *f, const rn_model_layer *layer, const rn_retention *retention,
                          rn_retention_chunks chunks)
{
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_session_layout *l = &session->layout;
    rn_retention_norm norm = {
        .output = rn_region_binding(session, l->normed),
        .room = l->normed.rows,
        .has_weight = layer->group_norm.has_weight,
        .has_gate = config->output_gate,
        .eps_scaled = config->score_normalised_eps,
        .weight = layer->group_norm.weight,
        .eps = config->norm_eps,
    };
    bool fused = config->norm == RN_NORM_RMS && retains_halves(f, layer) && projects_halves(f, layer) &&
                 rn_retention_matrix_norms(session->device, retention);
    if (fused) chunks.norm = &norm;
    rn_retention_chunks_record(f->recorder, retention, &chunks);
    if (fused || f->window.rows == 0) return;
    group_norm(f, layer, f->window.first, f->window.rows, chunks.chunks, chunks.chunk_count);
}

/* Queries, keys, values and gates. Gives whether the first three are already what chunks on matrix units take. */
static bool project_retention(const forward *f, const rn_linear *qkvg, const rn_model_norm *norm, rn_region from,
                              const rn_retention *retention, const rn_retention_chunks *chunks)
{
    rn_linear linear = *qkvg;
    bool halves = take_norm(f, from, norm, &linear);
    rn_matmul matmul = matmul_of(f, &linear, retention->halves);
    bool projected = halves && !f->narrow && f->pass->aligned &&
                     rn_retention_projects(f->session->device, &matmul, retention, chunks);
    if (projected)
        rn_retention_project_record(f->recorder, &matmul, retention, chunks);
    else
        project(f, &linear, halves, retention->halves);
    return projected;
}

/* What remains to be done when the layer's states have been brought up to date. */
static forward behind_states(const forward *f, uint32_t layer)
{
    forward behind = *f;
    if (layer + 1 < f->session->model->config.layers) return behind;
    behind.window = rn_pass_window(f->pass);
    behind.narrow = suits_narrow(f->session, f->pass, behind.window.rows);
    return behind;
}

/* f16 of a region from the window's first row on. */
static rn_binding halves_binding(const forward *f, rn_region region)
{
    rn_binding binding = rn_region_binding(f->session, region);
    uint64_t before = 2ull * RN_BLOCK_INPUTS * f->window.first;
    return (rn_binding){binding.buffer, binding.offset + before, binding.size - before};
}

static rn_linear output_projection(const forward *f, uint32_t index, bool halves)
{
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_session_layout *l = &session->layout;
    const rn_model_layer *layer = &session->model->layers[index];
    layer_regions r = regions_of(f, index);
    return (rn_linear){
        .matrix = &layer->o.matrix,
        .input = halves ? halves_binding(f, l->normed) : input_binding(f, r.retained),
        .output = rn_region_binding(session, r.middle),
        .params = rn_model_params(session->model),
        .columns = f->window.rows,
        .chained = f->chained,
        .x_at = chain_word(f, r.retained),
        .before_at = chain_word(f, r.x),
        .x_stride = halves ? l->normed.rows : l->retained.stride,
        .y_stride = l->x.stride,
        .prologue = RN_PROLOGUE_GROUP_NORM,
        .scale_offset = l->retained_sums,
        .heads = config->heads,
        .head_size = config->value_size,
        .tiles = step_tiles(f),
        .epilogue = RN_EPILOGUE_ADD,
        .has_bias = layer->o.has_bias,
        .bias = layer->o.bias,
    };
}

static void retention_layer(const forward *f, uint32_t index)
{
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_model_layer *layer = &session->model->layers[index];
    layer_regions r = regions_of(f, index);
    rn_retention retention = layer_retention(f, index, &r);
    rn_retention_chunks chunks = chunks_of(f);
    rn_linear qkvg = {
        .matrix = &layer->qkvg.matrix,
        .output = rn_region_binding(session, r.projected),
        .y_stride = retention.x_stride,
        .has_bias = layer->qkvg.has_bias,
        .bias = layer->qkvg.bias,
    };
    forward behind = behind_states(f, index);
    chunks.first_output = behind.window.first_chunk;
    chunks.projected = project_retention(f, &qkvg, &layer->retention_norm, r.x, &retention, &chunks);
    bool halves = retains_halves(f, layer);
    rn_linear o = output_projection(&behind, index, halves);
    bool defer = !f->pass->chunks && !halves && config->norm == RN_NORM_RMS && rn_linear_can_fuse(session->device, &o);
    if (!defer) o.prologue = RN_PROLOGUE_NONE;
    if (f->pass->steps) retain_steps(f, index, &retention, defer);
    if (f->pass->chunks) retain_chunks(&behind, layer, &retention, chunks);
    if (behind.window.rows) project(&behind, &o, halves, false);
}

static void feed_forward_layer(const forward *f, uint32_t index)
{
    const retnet_session *session = f->session;
    const rn_config *config = &session->model->config;
    const rn_session_layout *l = &session->layout;
    const rn_model_layer *layer = &session->model->layers[index];
    layer_regions r = regions_of(f, index);
    bool halves = f->matrix && !config->ffn_norm && !layer->up.has_bias && !layer->down.has_bias;
    rn_linear up = {
        .matrix = &layer->up.matrix,
        .output = rn_region_binding(session, r.hidden),
        .y_stride = halves ? l->hidden.rows : l->hidden.stride,
        .epilogue = config->ffn_gated ? RN_EPILOGUE_GLU : RN_EPILOGUE_STORE,
        .activation = 1 + (uint32_t)config->activation,
        .has_bias = layer->up.has_bias,
        .bias = layer->up.bias,
    };
    normed_linear(f, r.middle, &layer->ffn_norm, up, halves);
    rn_linear down = {
        .matrix = &layer->down.matrix,
        .input = input_binding(f, r.hidden),
        .output = rn_region_binding(session, r.out),
        .params = rn_model_params(session->model),
        .columns = f->window.rows,
        .chained = f->chained,
        .x_at = chain_word(f, r.hidden),
        .before_at = chain_word(f, r.middle),
        .x_stride = up.y_stride,
        .y_stride = l->x.stride,
        .epilogue = RN_EPILOGUE_ADD,
        .has_bias = layer->down.has_bias,
        .bias = layer->down.bias,
    };
    if (config->ffn_norm)
        normed_linear(f, r.hidden, &layer->ffn_inner_norm, down, false);
    else
        project(f, &down, halves, false);
}

static void embed(const forward *f)
{
    const retnet_session *session = f->session;
    const retnet_model *model = session->model;
    const rn_session_layout *l = &session->layout;
    rn_binding x = rn_region_binding(session, regions_of(f, 0).x);
    rn_embedding_record(f->recorder, &model->embedding, f->pass->tokens, f->pass->rows, x, l->x.stride,
                        model->config.embedding_scale);
    if (!model->config.embedding_norm) return;
    rn_norm n = {
        .layer_norm = model->config.norm == RN_NORM_LAYER,
        .input = x,
        .output = x,
        .params = rn_model_params(model),
        .rows = f->pass->rows,
        .segments = 1,
        .size = model->config.hidden,
        .x_stride = l->x.stride,
        .y_stride = l->x.stride,
        .has_weight = model->embedding_norm.has_weight,
        .weight = model->embedding_norm.weight,
        .has_bias = model->embedding_norm.has_bias,
        .bias = model->embedding_norm.bias,
        .eps = model->config.norm_eps,
    };
    rn_norm_record(f->recorder, &n);
}

uint32_t rn_forward_layer_stages(const retnet_session *session)
{
    return 2 * session->model->config.layers;
}

/* Whether there is a kernel on matrix units for exactly so many rows; prompts are read in that of more. */
static bool suits_rows(const rn_device *device, uint32_t rows)
{
    return rn_matmul_narrow_suits(device, rows) || rn_matmul_suits(device, rows);
}

bool rn_forward_suits_matrices(const retnet_session *session, const rn_pass *pass)
{
    return rn_matmul_pays(session->device) && (!is_of_steps(pass) || suits_rows(session->device, pass->rows));
}

bool rn_forward_output_suits_matrices(const retnet_session *session, const rn_pass *pass, uint32_t rows)
{
    if (pass->class != RN_PASS_CHUNKS) return rn_forward_suits_matrices(session, pass);
    return rn_matmul_pays(session->device) && suits_rows(session->device, rows);
}

static void record_stage(const forward *f, uint32_t stage)
{
    const rn_pass *pass = f->pass;
    uint32_t layer = stage / 2;
    if (stage == 0) {
        rn_recorder_label(f->recorder, "embedding");
        embed(f);
    }
    if (stage % 2) {
        rn_recorder_label(f->recorder, "layer %u feed-forward", layer);
        forward behind = behind_states(f, layer);
        feed_forward_layer(&behind, layer);
        return;
    }
    rn_recorder_label(f->recorder, "layer %u retention", layer);
    for (uint32_t i = 0; i < pass->part_count; i++)
        rn_session_prepare_state(f->session, f->recorder, &pass->parts[i], layer);
    retention_layer(f, layer);
}

void rn_forward_stage(retnet_session *session, rn_recorder *recorder, const rn_pass *pass, uint32_t stage)
{
    forward f = {
        .session = session,
        .recorder = recorder,
        .pass = pass,
        .window = {.rows = pass->rows},
        .matrix = rn_forward_suits_matrices(session, pass),
        .narrow = suits_narrow(session, pass, pass->rows),
    };
    record_stage(&f, stage);
}

static void record_head(const forward *f, rn_region from, rn_binding logits)
{
    const retnet_model *model = f->session->model;
    rn_linear head = {
        .matrix = &model->head,
        .output = logits,
        .y_stride = model->config.vocabulary,
    };
    rn_recorder_label(f->recorder, "output");
    normed_linear(f, from, &model->output_norm, head, false);
}

void rn_forward_head(retnet_session *session, rn_recorder *recorder, rn_region from, uint32_t rows, bool matrix,
                     rn_binding logits)
{
    forward f = {
        .session = session,
        .recorder = recorder,
        .window = {.rows = rows},
        .matrix = matrix,
        .narrow = matrix && rn_matmul_narrow_suits(session->device, rows),
    };
    record_head(&f, from, logits);
}

/* ---- Chains ------------------------------------------------------------------------------------------------------ */

static bool is_chain_norm(const rn_config *config, const rn_model_norm *norm)
{
    return config->norm == RN_NORM_RMS && norm->has_weight && !norm->has_bias;
}

static bool fuses(const retnet_session *session, const rn_matrix *matrix, rn_linear_prologue prologue)
{
    const rn_config *config = &session->model->config;
    rn_linear linear = {
        .matrix = matrix,
        .columns = 1,
        .prologue = prologue,
        .epilogue = matrix->alternating ? RN_EPILOGUE_GLU : RN_EPILOGUE_STORE,
        .heads = config->heads,
        .head_size = config->value_size,
        .tiles = rn_retention_step_tiles(session->device, config->heads, config->value_size, 1),
    };
    return rn_linear_can_fuse(session->device, &linear);
}

bool rn_forward_can_chain(const retnet_session *session, const rn_pass *pass)
{
    const retnet_model *model = session->model;
    const rn_config *config = &model->config;
    if (session->device->caps.is_cpu || pass->rows != 1 || config->embedding_norm || config->ffn_norm ||
        session->layout.chain.bytes > session->device->caps.max_storage_range)
        return false;
    bool can = is_chain_norm(config, &model->output_norm) && fuses(session, &model->head, RN_PROLOGUE_RMS_NORM);
    for (uint32_t i = 0; i < config->layers && can; i++) {
        const rn_model_layer *layer = &model->layers[i];
        can = is_chain_norm(config, &layer->retention_norm) && is_chain_norm(config, &layer->ffn_norm) &&
              fuses(session, &layer->qkvg.matrix, RN_PROLOGUE_RMS_NORM) &&
              fuses(session, &layer->o.matrix, RN_PROLOGUE_GROUP_NORM) &&
              fuses(session, &layer->up.matrix, RN_PROLOGUE_RMS_NORM) &&
              fuses(session, &layer->down.matrix, RN_PROLOGUE_NONE);
    }
    return can;
}

static rn_binding chain_data(const retnet_session *session)
{
    const rn_chain_layout *c = &session->layout.chain;
    return (rn_binding){&session->activations, c->at + 4ull * c->data, c->bytes - 4ull * c->data};
}

/* A later token of the submit that failed must find the flag and the marks of the one that did, and finds that nothing
 * is there yet. */
static void prepare_chain(const retnet_session *session, rn_recorder *recorder, rn_attempt attempt)
{
    const rn_chain_layout *c = &session->layout.chain;
    const rn_buffer *memory = &session->activations;
    if (attempt == RN_ATTEMPT_FIRST) rn_recorder_fill_zero(recorder, memory, c->at, 4ull * c->data);
    if (attempt == RN_ATTEMPT_AGAIN) rn_recorder_fill_zero(recorder, memory, c->at, 4ull * c->marks);
    rn_binding data = chain_data(session);
    if (attempt != RN_ATTEMPT_NEXT) rn_recorder_fill(recorder, memory, data.offset, data.size, RN_NOT_YET);
}

void rn_forward_clear_chain(const retnet_session *session, rn_recorder *recorder)
{
    rn_fill_record(recorder, chain_data(session), RN_NOT_YET);
}

rn_binding rn_forward_chain_flag(const retnet_session *session)
{
    return (rn_binding){&session->activations, session->layout.chain.at, 16};
}

bool rn_forward_chain(retnet_session *session, rn_recorder *recorder, const rn_pass *pass, rn_attempt attempt,
                      rn_binding logits)
{
    bool again = attempt == RN_ATTEMPT_AGAIN;
    forward f = {
        .session = session, .recorder = recorder, .pass = pass, .window = {.rows = 1}, .chained = true, .again = again};
    if (!rn_forward_can_chain(session, pass)) return false;
    prepare_chain(session, recorder, attempt);
    rn_recorder_chain_begin(recorder, again);
    for (uint32_t i = 0; i < rn_forward_layer_stages(session); i++) record_stage(&f, i);
    record_head(&f, regions_of(&f, session->model->config.layers).x, logits);
    rn_recorder_chain_end(recorder);
    return true;
}
