#include "model/model.h"

#include "context.h"
#include "model/params.h"
#include "model/upload.h"
#include "vulkan/memory.h"

#include <stdio.h>
#include <string.h>

/* A model is made in two passes over the same description: the first one places matrices and parameters, the second
 * one fills them. A source without a tensor is filled with pseudo-random weights (a synthetic model). */

typedef struct builder {
    retnet_model *model;
    const rn_checkpoint *checkpoint; /* NULL: synthetic */
    rn_params params;
    rn_upload upload;
    bool filling;
    uint64_t buffer_sizes[RN_MAX_WEIGHT_BUFFERS];
    uint32_t seed;
    retnet_result result;
} builder;

rn_binding rn_model_params(const retnet_model *model)
{
    return (rn_binding){&model->params, 0, model->params.size};
}

uint64_t rn_model_layer_state_bytes(const retnet_model *model)
{
    const rn_config *c = &model->config;
    return 4ull * c->heads * c->key_size * rn_retention_value_stride(c->value_size);
}

uint64_t rn_model_state_bytes(const retnet_model *model)
{
    return rn_model_layer_state_bytes(model) * model->config.layers;
}

static retnet_weight_format stored_format(const rn_matrix_source *source)
{
    if (!source->tensor) return RETNET_WEIGHTS_F16;
    switch (source->tensor->dtype) {
    case RN_DTYPE_F32: return RETNET_WEIGHTS_F32;
    case RN_DTYPE_BF16: return RETNET_WEIGHTS_BF16;
    case RN_DTYPE_I8: return RETNET_WEIGHTS_Q8;
    case RN_DTYPE_U8: return RETNET_WEIGHTS_Q4;
    default: return RETNET_WEIGHTS_F16;
    }
}

/* ---- Placing ---------------------------------------------------------------------------------------------------- */

static void place_matrix(builder *b, rn_matrix *matrix)
{
    rn_device *device = b->model->device;
    matrix->bytes = rn_matrix_panels(matrix) * rn_matrix_panel_bytes(matrix);
    if (matrix->bytes > device->caps.max_allocation) {
        b->result =
            rn_fail(device->host, RETNET_ERROR_LIMIT,
                    "a matrix of %u x %u takes %llu bytes, but the device allocates at most %llu at once", matrix->rows,
                    matrix->inputs, (unsigned long long)matrix->bytes, (unsigned long long)device->caps.max_allocation);
        return;
    }
    uint64_t most = device->caps.max_allocation < (1ull << 30) ? device->caps.max_allocation : 1ull << 30;
    retnet_model *model = b->model;
    uint32_t last = model->buffer_count - 1;
    uint64_t offset = model->buffer_count ? rn_round_up(b->buffer_sizes[last], 256) : 0;
    if (model->buffer_count == 0 || offset + matrix->bytes > most) {
        if (model->buffer_count == RN_MAX_WEIGHT_BUFFERS) {
            b->result = rn_fail(device->host, RETNET_ERROR_LIMIT, "the weights need over %u allocations",
                                (unsigned)RN_MAX_WEIGHT_BUFFERS);
            return;
        }
        last = model->buffer_count++;
        offset = 0;
    }
    matrix->buffer = &model->buffers[last];
    matrix->offset = offset;
    b->buffer_sizes[last] = offset + matrix->bytes;
    model->weight_bytes += matrix->bytes;
}

static void add_matrix(builder *b, rn_matrix *matrix, const rn_matrix_source *const *sources, uint32_t count,
                       bool alternating)
{
    if (b->result != RETNET_OK) return;
    if (!b->filling) {
        retnet_weight_format format = b->model->format;
        *matrix = (rn_matrix){.inputs = sources[0]->columns, .alternating = alternating};
        matrix->format = format == RETNET_WEIGHTS_AS_STORED ? stored_format(sources[0]) : format;
        for (uint32_t i = 0; i < count; i++) matrix->rows += alternating && i ? 0 : sources[i]->rows;
        place_matrix(b, matrix);
        return;
    }
    for (uint32_t i = 0, row = 0; i < count && b->result == RETNET_OK; i++) {
        bool second = alternating && i == 1;
        /* Uniform values of the variance that keeps activations near 1. */
        float amplitude = 1.7f / __builtin_sqrtf((float)matrix->inputs);
        if (sources[i]->tensor)
            b->result = rn_upload_matrix(&b->upload, sources[i], matrix, row, second);
        else
            b->result =
                rn_upload_random(&b->upload, matrix, row, sources[i]->rows, second, b->seed++ * 65537, amplitude);
        row += alternating ? 0 : sources[i]->rows;
    }
}

static uint32_t add_vector(builder *b, const rn_vector_source *source, float otherwise)
{
    uint32_t at = rn_params_reserve(&b->params, source->size);
    if (!b->params.values) return at;
    if (source->tensor)
        rn_vector_read(source, b->params.values + at);
    else
        for (uint32_t i = 0; i < source->size; i++) b->params.values[at + i] = otherwise;
    return at;
}

static rn_model_norm add_norm(builder *b, const rn_norm_source *source)
{
    rn_model_norm norm = {.has_weight = source->weight.size != 0, .has_bias = source->bias.size != 0};
    if (norm.has_weight) norm.weight = add_vector(b, &source->weight, 1.0f);
    if (norm.has_bias) norm.bias = add_vector(b, &source->bias, 0.0f);
    return norm;
}

static void add_linear(builder *b, rn_model_linear *linear, const rn_linear_source *const *sources, uint32_t count,
                       bool alternating)
{
    const rn_matrix_source *matrices[4];
    for (uint32_t i = 0; i < count; i++) matrices[i] = &sources[i]->weight;
    add_matrix(b, &linear->matrix, matrices, count, alternating);
    linear->has_bias = sources[0]->bias.size != 0;
    if (!linear->has_bias) return;
    uint32_t rows = 0;
    for (uint32_t i = 0; i < count; i++) rows += sources[i]->weight.rows;
    linear->bias = rn_params_reserve(&b->params, rows);
    if (!b->params.values) return;
    float *to = b->params.values + linear->bias;
    for (uint32_t i = 0; i < count; i++) {
        rn_vector_read(&sources[i]->bias, to);
        to += sources[i]->bias.size;
    }
}

static void add_layer(builder *b, rn_model_layer *layer, const rn_layer_source *source)
{
    const rn_config *config = &b->model->config;
    layer->retention_norm = add_norm(b, &source->retention_norm);
    const rn_linear_source *qkvg[] = {&source->q, &source->k, &source->v, &source->g};
    add_linear(b, &layer->qkvg, qkvg, config->output_gate ? 4 : 3, false);
    layer->group_norm = add_norm(b, &(rn_norm_source){.weight = source->group_norm});
    add_linear(b, &layer->o, (const rn_linear_source *[]){&source->o}, 1, false);
    layer->ffn_norm = add_norm(b, &source->ffn_norm);
    if (config->ffn_gated)
        add_linear(b, &layer->up, (const rn_linear_source *[]){&source->gate, &source->up}, 2, true);
    else
        add_linear(b, &layer->up, (const rn_linear_source *[]){&source->up}, 1, false);
    layer->ffn_inner_norm = add_norm(b, &source->ffn_inner_norm);
    add_linear(b, &layer->down, (const rn_linear_source *[]){&source->down}, 1, false);
}

/* ---- Synthetic models ------------------------------------------------------------------------------------------- */

static rn_linear_source synthetic_linear(uint32_t rows, uint32_t columns)
{
    return (rn_linear_source){.weight = {.rows = rows, .columns = columns}};
}

static rn_norm_source synthetic_norm(uint32_t size)
{
    return (rn_norm_source){.weight = {.size = size}};
}

static rn_layer_source synthetic_layer(const rn_config *c)
{
    uint32_t keys = c->kv_heads * c->key_size, values = c->heads * c->value_size;
    return (rn_layer_source){
        .retention_norm = synthetic_norm(c->hidden),
        .q = synthetic_linear(c->heads * c->key_size, c->hidden),
        .k = synthetic_linear(keys, c->hidden),
        .v = synthetic_linear(c->kv_heads * c->value_size, c->hidden),
        .g = synthetic_linear(values, c->hidden),
        .group_norm = {.size = c->value_size},
        .o = synthetic_linear(c->hidden, values),
        .ffn_norm = synthetic_norm(c->hidden),
        .gate = synthetic_linear(c->ffn, c->hidden),
        .up = synthetic_linear(c->ffn, c->hidden),
        .down = synthetic_linear(c->hidden, c->ffn),
    };
}

/* ---- Building --------------------------------------------------------------------------------------------------- */

static void describe(builder *b)
{
    retnet_model *model = b->model;
    const rn_config *config = &model->config;
    const rn_checkpoint *from = b->checkpoint;
    rn_matrix_source random = {.rows = config->vocabulary, .columns = config->hidden};
    const rn_matrix_source *embedding[] = {from ? &from->embedding : &random};
    const rn_matrix_source *head[] = {from ? &from->head : &random};
    b->params.count = 0;
    b->seed = 1;
    model->tables = rn_params_add_tables(&b->params, config);
    add_matrix(b, &model->embedding, embedding, 1, false);
    rn_norm_source plain = synthetic_norm(config->hidden), none = synthetic_norm(0);
    model->embedding_norm = add_norm(b, from ? &from->embedding_norm : &none);
    for (uint32_t i = 0; i < config->layers && b->result == RETNET_OK; i++) {
        rn_layer_source synthetic = synthetic_layer(config);
        add_layer(b, &model->layers[i], from ? &from->layers[i] : &synthetic);
    }
    model->output_norm = add_norm(b, from ? &from->output_norm : &plain);
    if (config->tied_head)
        model->head = model->embedding;
    else
        add_matrix(b, &model->head, head, 1, false);
}

static uint64_t stored_bytes(const rn_checkpoint *checkpoint)
{
    uint64_t bytes = 0;
    for (size_t i = 0; checkpoint && i < rn_tensor_set_count(checkpoint->tensors); i++)
        bytes += rn_tensor_set_at(checkpoint->tensors, i)->bytes;
    return bytes;
}

static retnet_result allocate(builder *b)
{
    retnet_model *model = b->model;
    retnet_result result = RETNET_OK;
    for (uint32_t i = 0; i < model->buffer_count && result == RETNET_OK; i++) {
        result = rn_buffer_create(model->device, b->buffer_sizes[i], RN_MEMORY_DEVICE, "weights", &model->buffers[i]);
        if (result == RETNET_OK) result = rn_upload_zero(&b->upload, &model->buffers[i]);
    }
    uint64_t bytes = b->params.count * sizeof(float);
    if (result == RETNET_OK && bytes > model->device->caps.max_storage_range)
        result = rn_fail(model->device->host, RETNET_ERROR_LIMIT, "the model's tables take %llu bytes, a binding %llu",
                         (unsigned long long)bytes, (unsigned long long)model->device->caps.max_storage_range);
    if (result == RETNET_OK)
        result = rn_buffer_create(model->device, bytes, RN_MEMORY_DEVICE, "parameters", &model->params);
    if (result != RETNET_OK) return result;
    b->params.values = rn_alloc(model->device->host, b->params.count, sizeof(float));
    return b->params.values ? RETNET_OK : rn_fail_memory(model->device->host, "parameters", bytes);
}

/* The first pass: a model without memory on the device. */
static retnet_result plan(retnet_context *context, const rn_config *config, const rn_checkpoint *checkpoint,
                          retnet_weight_format format, builder *b)
{
    rn_host *host = &context->host;
    retnet_model *model = rn_alloc(host, 1, sizeof *model);
    *b = (builder){.model = model, .checkpoint = checkpoint, .params = {.host = host}};
    if (!model) return rn_fail_memory(host, "model", sizeof *model);
    model->context = context;
    model->device = &context->device;
    model->config = *config;
    model->format = format;
    model->parameters = rn_config_parameters(config);
    model->content_hash = checkpoint ? checkpoint->content_hash : 0;
    model->layers = rn_alloc(host, config->layers, sizeof *model->layers);
    if (!model->layers) return rn_fail_memory(host, "layers", config->layers * sizeof *model->layers);
    describe(b);
    return b->result;
}

static uint64_t planned_device_bytes(const builder *b)
{
    uint64_t bytes = b->params.count * sizeof(float);
    for (uint32_t i = 0; i < b->model->buffer_count; i++) bytes += b->buffer_sizes[i];
    return bytes;
}

/* The second pass. */
static retnet_result build(builder *b, retnet_progress_fn progress, void *progress_user)
{
    retnet_model *model = b->model;
    uint64_t need[RN_MEMORY_USES] = {
        [RN_MEMORY_DEVICE] = planned_device_bytes(b), [RN_MEMORY_UPLOAD] = RN_STAGING_BYTES};
    b->result = rn_memory_check(model->device, need, "the model");
    if (b->result == RETNET_OK)
        b->result = rn_upload_begin(model->device, progress, progress_user, stored_bytes(b->checkpoint), &b->upload);
    if (b->result == RETNET_OK) b->result = allocate(b);
    if (b->result == RETNET_OK) {
        b->filling = true;
        describe(b);
    }
    if (b->result == RETNET_OK)
        b->result = rn_upload_bytes(&b->upload, b->params.values, b->params.count * sizeof(float), &model->params);
    b->upload.done = b->upload.total;
    if (b->result == RETNET_OK) b->result = rn_upload_flush(&b->upload);
    return b->result;
}

static retnet_result create(retnet_context *context, const rn_config *config, const rn_checkpoint *checkpoint,
                            retnet_weight_format format, retnet_progress_fn progress, void *progress_user,
                            retnet_model **out)
{
    builder b;
    retnet_result result = plan(context, config, checkpoint, format, &b);
    if (result == RETNET_OK) result = build(&b, progress, progress_user);
    rn_upload_end(&b.upload);
    rn_free(&context->host, b.params.values);
    retnet_model *model = b.model;
    if (model && model->format == RETNET_WEIGHTS_AS_STORED && result == RETNET_OK)
        model->format = model->layers[0].qkvg.matrix.format;
    if (result == RETNET_OK)
        *out = model;
    else
        retnet_model_destroy(model);
    return result;
}

retnet_result retnet_model_load(retnet_context *context, const retnet_model_desc *desc, retnet_model **out)
{
    if (out) *out = NULL;
    if (!context) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!out || !desc || !desc->path || !retnet_weight_format_name(desc->format))
        return rn_fail(&context->host, RETNET_ERROR_INVALID_ARGUMENT, "retnet_model_load: out, desc, path or format");
    rn_checkpoint checkpoint = {0};
    retnet_result result = rn_checkpoint_open(&context->host, desc->path, &checkpoint);
    if (result == RETNET_OK)
        result =
            create(context, &checkpoint.config, &checkpoint, desc->format, desc->progress, desc->progress_user, out);
    rn_checkpoint_close(&context->host, &checkpoint);
    return result;
}

retnet_result retnet_model_memory_for(retnet_context *context, const retnet_model_desc *desc,
                                      retnet_model_memory *memory)
{
    if (!context) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!memory || !desc || !desc->path || !retnet_weight_format_name(desc->format))
        return rn_fail(&context->host, RETNET_ERROR_INVALID_ARGUMENT,
                       "retnet_model_memory_for: memory, desc, path or format");
    rn_checkpoint checkpoint = {0};
    builder b = {0};
    retnet_result result = rn_checkpoint_open_headers(&context->host, desc->path, &checkpoint);
    if (result == RETNET_OK) result = plan(context, &checkpoint.config, &checkpoint, desc->format, &b);
    if (result == RETNET_OK)
        *memory = (retnet_model_memory){.device_bytes = planned_device_bytes(&b),
                                        .host_bytes = RN_STAGING_BYTES + b.params.count * sizeof(float)};
    retnet_model_destroy(b.model);
    rn_checkpoint_close(&context->host, &checkpoint);
    return result;
}

retnet_result retnet_model_synthesize(retnet_context *context, const char *shape, retnet_weight_format format,
                                      retnet_model **out)
{
    if (out) *out = NULL;
    if (!context) return RETNET_ERROR_INVALID_ARGUMENT;
    rn_config config;
    if (!out || !shape || !rn_config_named(shape, &config) || !retnet_weight_format_name(format))
        return rn_fail(&context->host, RETNET_ERROR_INVALID_ARGUMENT, "no synthetic shape \"%s\" in that format",
                       shape ? shape : "");
    return create(context, &config, NULL, format ? format : RETNET_WEIGHTS_F16, NULL, NULL, out);
}

void retnet_model_destroy(retnet_model *model)
{
    if (!model) return;
    for (uint32_t i = 0; i < model->buffer_count; i++) rn_buffer_destroy(model->device, &model->buffers[i]);
    rn_buffer_destroy(model->device, &model->params);
    rn_free(model->device->host, model->layers);
    rn_free(model->device->host, model);
}

void retnet_model_get_info(const retnet_model *model, retnet_model_info *info)
{
    const rn_config *c = &model->config;
    *info = (retnet_model_info){
        .hidden_size = c->hidden,
        .layers = c->layers,
        .heads = c->heads,
        .key_value_heads = c->kv_heads,
        .key_size = c->key_size,
        .value_size = c->value_size,
        .intermediate_size = c->ffn,
        .vocabulary_size = c->vocabulary,
        .bos_token = c->bos_token,
        .eos_token = c->eos_token,
        .format = model->format,
        .parameters = model->parameters,
        .weight_bytes = model->weight_bytes + model->params.size,
        .state_bytes = rn_model_state_bytes(model),
    };
    snprintf(info->architecture, sizeof info->architecture, "%s%s", c->dialect == RN_DIALECT_FLA ? "fla" : "torchscale",
             c->linear_bias ? " (2023, with biases)" : "");
}

retnet_context *retnet_model_context(const retnet_model *model)
{
    return model->context;
}
