/* model.c: a whole model in double precision: embedding, blocks of retention and feed-forward, head. */
#include "reference/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reading a checkpoint ---------------------------------------------------------------------------------------- */

static float element(const rn_tensor *tensor, size_t i)
{
    float f;
    uint16_t half;
    if (tensor->dtype == RN_DTYPE_I8) return (float)(int8_t)tensor->data[i];
    if (tensor->dtype == RN_DTYPE_U8) return (float)((tensor->data[i / 2] >> i % 2 * 4 & 15) - 8); /* i-th half byte */
    if (tensor->dtype == RN_DTYPE_F32) {
        memcpy(&f, tensor->data + 4 * i, 4);
        return f;
    }
    memcpy(&half, tensor->data + 2 * i, 2);
    return tensor->dtype == RN_DTYPE_F16 ? rn_f16_to_f32(half) : rn_bf16_to_f32(half);
}

/* The file's row for canonical row `row`: the loader's half-split order of the rotation pairs, for heads of K rows. */
static size_t file_row(size_t row, size_t K)
{
    if (K == 0) return row;
    size_t head = row / K, i = row % K;
    return head * K + (i < K / 2 ? 2 * i : 2 * (i - K / 2) + 1);
}

static float *read_rows(ref_model *model, const rn_matrix_source *source)
{
    size_t columns = source->columns, blocks = (columns + 31) / 32;
    if (!source->tensor) return NULL;
    size_t stride = source->tensor->dtype == RN_DTYPE_U8 ? (columns + 1) / 2 * 2 : columns;
    float *w = model->weights + model->taken;
    model->taken += source->rows * columns;
    for (size_t r = 0; r < source->rows; r++) {
        size_t row = source->first_row + file_row(r, source->rotation_head);
        for (size_t c = 0; c < columns; c++) {
            float scale = source->scales ? element(source->scales, row * blocks + c / 32) : 1;
            w[r * columns + c] = element(source->tensor, row * stride + c) * scale;
        }
    }
    return w;
}

static float *read_vector(ref_model *model, const rn_vector_source *source)
{
    rn_matrix_source rows = {
        .tensor = source->tensor, .rows = source->size, .columns = 1, .rotation_head = source->rotation_head};
    return read_rows(model, &rows);
}

static ref_matrix read_linear(ref_model *model, const rn_linear_source *source)
{
    return (ref_matrix){read_rows(model, &source->weight), read_vector(model, &source->bias), source->weight.rows,
                        source->weight.columns};
}

static ref_matrix read_norm(ref_model *model, const rn_norm_source *source)
{
    return (ref_matrix){.w = read_vector(model, &source->weight), .bias = read_vector(model, &source->bias)};
}

static void read_layer(ref_model *model, const rn_layer_source *source, ref_layer *layer)
{
    layer->q = read_linear(model, &source->q);
    layer->k = read_linear(model, &source->k);
    layer->v = read_linear(model, &source->v);
    layer->g = read_linear(model, &source->g);
    layer->o = read_linear(model, &source->o);
    layer->gate = read_linear(model, &source->gate);
    layer->up = read_linear(model, &source->up);
    layer->down = read_linear(model, &source->down);
    layer->retention_norm = read_norm(model, &source->retention_norm);
    layer->ffn_norm = read_norm(model, &source->ffn_norm);
    layer->ffn_inner_norm = read_norm(model, &source->ffn_inner_norm);
    layer->group_norm = read_vector(model, &source->group_norm);
}

ref_model *ref_model_open(const char *directory)
{
    rn_host host;
    rn_checkpoint checkpoint = {0};
    rn_host_init(&host, NULL, NULL, NULL);
    if (rn_checkpoint_open(&host, directory, &checkpoint) != RETNET_OK) {
        fprintf(stderr, "reference: %s\n", host.message);
        return NULL;
    }
    ref_model *model = ref_alloc(1, sizeof *model);
    size_t elements = 0;
    for (size_t i = 0; i < rn_tensor_set_count(checkpoint.tensors); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(checkpoint.tensors, i);
        elements += tensor->elements * (tensor->dtype == RN_DTYPE_U8 ? 2 : 1);
    }
    model->weights = ref_alloc(elements, sizeof *model->weights);
    model->config = checkpoint.config;
    model->layers = ref_alloc(checkpoint.config.layers, sizeof *model->layers);
    model->embedding = read_linear(model, &(rn_linear_source){.weight = checkpoint.embedding});
    model->embedding_norm = read_norm(model, &checkpoint.embedding_norm);
    for (size_t l = 0; l < checkpoint.config.layers; l++) read_layer(model, &checkpoint.layers[l], &model->layers[l]);
    model->output_norm = read_norm(model, &checkpoint.output_norm);
    model->head = checkpoint.config.tied_head ? model->embedding
                                              : read_linear(model, &(rn_linear_source){.weight = checkpoint.head});
    rn_checkpoint_close(&host, &checkpoint);
    return model;
}

void ref_model_close(ref_model *model)
{
    if (!model) return;
    free(model->weights);
    free(model->layers);
    free(model);
}

/* ---- The forward pass -------------------------------------------------------------------------------------------- */

size_t ref_state_size(const ref_model *model)
{
    return (size_t)model->config.heads * model->config.key_size * model->config.value_size;
}

void ref_sequence_init(const ref_model *model, ref_sequence *sequence)
{
    sequence->position = 0;
    sequence->states = ref_alloc(model->config.layers * ref_state_size(model), sizeof *sequence->states);
}

/* x -> y, a new array [rows, matrix rows] */
static double *linear(const ref_matrix *matrix, const double *x, size_t rows)
{
    double *y = ref_alloc(rows * matrix->rows, sizeof *y);
    ref_linear(x, rows, matrix->w, matrix->rows, matrix->columns, matrix->bias, y);
    return y;
}

static void norm(const rn_config *config, const ref_matrix *norm, const double *x, size_t rows, size_t size, double *y)
{
    if (config->norm == RN_NORM_LAYER)
        ref_layer_norm(x, rows, size, config->norm_eps, norm->w, norm->bias, y);
    else
        ref_rms_norm(x, rows, size, config->norm_eps, norm->w, y);
}

/* What torchscale divides rows of retention by, squared, which only the group norm's eps can see. q and k are rotated;
 * `state` is that before the rows. */
static void score_norm(const ref_model *model, const ref_retention *r, uint64_t position, const double *q,
                       const double *k, const double *v, const double *state, double *c2)
{
    const rn_config *config = &model->config;
    for (size_t i = 0; i < r->tokens * r->heads; i++)
        c2[i] = config->score_normalised_eps ? ref_decay_sum(r->decay[i % r->heads], position + i / r->heads) : 1;
    if (!config->score_normalised_eps || model->score_norm == REF_RECURRENT) return;
    if (model->score_norm == REF_PARALLEL) {
        ref_score_norm_parallel(r, q, k, c2);
        return;
    }
    double *carried = ref_alloc(ref_state_size(model), sizeof *carried);
    memcpy(carried, state, ref_state_size(model) * sizeof *carried);
    ref_score_norm_chunkwise(r, model->chunk, q, k, v, carried, c2);
    free(carried);
}

/* MSR(x) = (silu(x W_g) . groupnorm(retention(x W_q, x W_k, x W_v))) W_o, as a new array [rows, D] */
static double *multi_scale_retention(const ref_model *model, const ref_layer *layer, const double *x, size_t rows,
                                     uint64_t position, double *state)
{
    const rn_config *config = &model->config;
    double decay[RN_MAX_HEADS];
    for (size_t h = 0; h < config->heads; h++) decay[h] = config->decay[h];
    size_t H = config->heads, H_kv = config->kv_heads, K = config->key_size, V = config->value_size;
    ref_retention retention = {rows, H, H_kv, K, V, 1 / sqrt((double)K), decay};
    size_t width = (size_t)config->heads * config->value_size;
    double *q = linear(&layer->q, x, rows), *k = linear(&layer->k, x, rows), *v = linear(&layer->v, x, rows);
    double *o = ref_alloc(rows * width, sizeof *o);
    ref_rotate(q, rows, config->heads, config->key_size, config->theta, position);
    ref_rotate(k, rows, config->kv_heads, config->key_size, config->theta, position);
    double *c2 = ref_alloc(rows * H, sizeof *c2);
    score_norm(model, &retention, position, q, k, v, state, c2);
    ref_retention_recurrent(&retention, q, k, v, state, o);
    ref_group_norm(o, rows, H, V, config->norm_eps, c2, layer->group_norm, config->norm == RN_NORM_LAYER);
    free(c2);
    if (config->output_gate) {
        double *g = linear(&layer->g, x, rows);
        ref_gate(RN_ACTIVATION_SILU, g, o, rows * width);
        free(g);
    }
    double *y = linear(&layer->o, o, rows);
    free(q);
    free(k);
    free(v);
    free(o);
    return y;
}

/* FFN(x) = (act(x W_gate) . (x W_up)) W_down, or act(x W_up) W_down, as a new array [rows, D] */
static double *feed_forward(const rn_config *config, const ref_layer *layer, const double *x, size_t rows)
{
    size_t count = rows * config->ffn;
    double *a = linear(&layer->up, x, rows);
    if (config->ffn_gated) {
        double *gate = linear(&layer->gate, x, rows);
        ref_gate(config->activation, gate, a, count);
        free(gate);
    } else {
        for (size_t i = 0; i < count; i++) a[i] = ref_activate(config->activation, a[i]);
    }
    if (config->ffn_norm) norm(config, &layer->ffn_inner_norm, a, rows, config->ffn, a);
    double *y = linear(&layer->down, a, rows);
    free(a);
    return y;
}

/* x += y, and y is gone */
static void add(double *x, double *y, size_t count)
{
    for (size_t i = 0; i < count; i++) x[i] += y[i];
    free(y);
}

void ref_model_read(const ref_model *model, ref_sequence *sequence, const int32_t *tokens, size_t count, double *output)
{
    const rn_config *config = &model->config;
    size_t D = config->hidden;
    double *x = output, *normed = ref_alloc(count * D, sizeof *normed);
    for (size_t i = 0; i < count * D; i++)
        x[i] = (double)config->embedding_scale * model->embedding.w[(size_t)tokens[i / D] * D + i % D];
    if (config->embedding_norm) norm(config, &model->embedding_norm, x, count, D, x);
    for (size_t l = 0; l < config->layers; l++) {
        const ref_layer *layer = &model->layers[l];
        double *state = sequence->states + l * ref_state_size(model);
        norm(config, &layer->retention_norm, x, count, D, normed);
        add(x, multi_scale_retention(model, layer, normed, count, sequence->position, state), count * D);
        norm(config, &layer->ffn_norm, x, count, D, normed);
        add(x, feed_forward(config, layer, normed, count), count * D);
    }
    norm(config, &model->output_norm, x, count, D, x);
    sequence->position += count;
    free(normed);
}

void ref_model_logits(const ref_model *model, const double *output, size_t rows, double *logits)
{
    ref_linear(output, rows, model->head.w, model->head.rows, model->head.columns, NULL, logits);
}

double ref_log_prob(const double *logits, size_t count, int32_t token)
{
    double largest = logits[0], sum = 0;
    for (size_t i = 1; i < count; i++) largest = fmax(largest, logits[i]);
    for (size_t i = 0; i < count; i++) sum += exp(logits[i] - largest);
    return logits[token] - largest - log(sum);
}
