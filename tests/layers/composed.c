/* composed.c: see composed.h. */
#include "layers/composed.h"

typedef struct dense {
    retnet_matrix matrix;
    layers_buffer panels, bias;
    bool has_bias;
} dense;

typedef struct norm {
    layers_buffer weight; /* and the bias behind it */
    bool has_weight, has_bias;
} norm;

typedef struct block {
    norm retention_norm, group_norm, ffn_norm, inner_norm;
    dense q, k, v, g, o, up, down;
} block;

struct composed {
    layers_test *test;
    retnet_layers *layers;
    retnet_tables *tables;
    rn_config config;
    block *blocks;
    dense embedding, head;
    norm embedding_norm, output_norm;
    layers_buffer tokens, states, activations;
    uint64_t layer_state_bytes;
    /* What lies where in the activations. */
    retnet_rows x, normed, q, k, v, g, retained, c2, hidden, logits;
    float eps;
};

/* What one call reads, and how. */
typedef struct reading {
    composed_form form;
    uint32_t chunk, rows, count;
    retnet_score_norm norm;
    const retnet_sequence *sequences;
} reading;

static uint32_t rounded(uint64_t value, uint32_t multiple)
{
    return (uint32_t)((value + multiple - 1) / multiple * multiple);
}

/* ---- Weights ----------------------------------------------------------------------------------------------------- */

static retnet_vector vector_at(const layers_buffer *buffer, bool there)
{
    return (retnet_vector){there ? buffer->buffer.handle : VK_NULL_HANDLE,
                           there ? layers_test_binding(buffer).offset : 0};
}

static layers_buffer make_vector(layers_test *test, const float *values, size_t count)
{
    layers_buffer buffer = layers_test_buffer(test, count);
    memcpy(buffer.floats, values, count * sizeof *values);
    return buffer;
}

static norm make_norm(layers_test *test, const float *weight, const float *bias, size_t size)
{
    norm n = {.has_weight = weight != NULL, .has_bias = bias != NULL};
    /* Weight and bias share a buffer. */
    n.weight = layers_test_buffer(test, 2 * size);
    if (weight) memcpy(n.weight.floats, weight, size * sizeof *weight);
    if (bias) memcpy(n.weight.floats + size, bias, size * sizeof *bias);
    return n;
}

static void run_pack(composed *net, retnet_pack *pack)
{
    REQUIRE(retnet_layers_begin(net->layers, layers_test_begin(net->test)->commands) == RETNET_OK);
    CHECK_INT(retnet_layers_pack(net->layers, pack), RETNET_OK);
    CHECK_INT(retnet_layers_end(net->layers), RETNET_OK);
    layers_test_run(net->test);
    CHECK_INT(retnet_layers_reset(net->layers), RETNET_OK);
}

/* The matrix, or with `linear` the pair of both. */
static dense make_dense(composed *net, const ref_matrix *m, const ref_matrix *linear)
{
    dense d = {.matrix = {.format = RETNET_WEIGHTS_F32,
                          .rows = (uint32_t)m->rows,
                          .inputs = (uint32_t)m->columns,
                          .pair = linear != NULL}};
    if (!m->w) return d;
    size_t count = m->rows * m->columns;
    layers_buffer source = make_vector(net->test, m->w, count), second = {0};
    if (linear) second = make_vector(net->test, linear->w, count);
    d.panels = layers_test_buffer(net->test, retnet_matrix_bytes(&d.matrix) / 4);
    d.matrix.buffer = d.panels.buffer.handle;
    d.matrix.offset = layers_test_binding(&d.panels).offset;
    d.has_bias = m->bias != NULL;
    if (m->bias) d.bias = make_vector(net->test, m->bias, m->rows);
    retnet_pack pack = {.matrix = d.matrix,
                        .source_format = RETNET_WEIGHTS_F32,
                        .source = vector_at(&source, true),
                        .linear = vector_at(&second, linear != NULL)};
    run_pack(net, &pack);
    layers_test_free(net->test, &source);
    if (linear) layers_test_free(net->test, &second);
    return d;
}

/* The reference has the pairs of the rotation at (i, i + K/2); a torchscale checkpoint has them side by side. */
static dense make_rotated(composed *net, const ref_matrix *m)
{
    if (!net->config.interleaved_rotation) return make_dense(net, m, NULL);
    size_t K = net->config.key_size;
    ref_matrix as_stored = *m;
    as_stored.w = layers_test_alloc(m->rows * m->columns, sizeof(float));
    if (m->bias) as_stored.bias = layers_test_alloc(m->rows, sizeof(float));
    for (size_t r = 0; r < m->rows; r++) {
        size_t i = r % K, to = r - i + (i < K / 2 ? 2 * i : 2 * (i - K / 2) + 1);
        memcpy(as_stored.w + to * m->columns, m->w + r * m->columns, m->columns * sizeof(float));
        if (m->bias) as_stored.bias[to] = m->bias[r];
    }
    dense d = make_dense(net, &as_stored, NULL);
    free(as_stored.w);
    if (m->bias) free(as_stored.bias);
    return d;
}

static void free_dense(composed *net, dense *d)
{
    layers_test_free(net->test, &d->panels);
    layers_test_free(net->test, &d->bias);
}

static void make_block(composed *net, const ref_layer *from, block *b)
{
    const rn_config *c = &net->config;
    b->retention_norm = make_norm(net->test, from->retention_norm.w, from->retention_norm.bias, c->hidden);
    b->q = make_rotated(net, &from->q);
    b->k = make_rotated(net, &from->k);
    b->v = make_dense(net, &from->v, NULL);
    if (c->output_gate) b->g = make_dense(net, &from->g, NULL);
    b->group_norm = make_norm(net->test, from->group_norm, NULL, c->value_size);
    b->o = make_dense(net, &from->o, NULL);
    b->ffn_norm = make_norm(net->test, from->ffn_norm.w, from->ffn_norm.bias, c->hidden);
    b->up = c->ffn_gated ? make_dense(net, &from->gate, &from->up) : make_dense(net, &from->up, NULL);
    b->inner_norm = make_norm(net->test, from->ffn_inner_norm.w, from->ffn_inner_norm.bias, c->ffn);
    b->down = make_dense(net, &from->down, NULL);
}

/* ---- The model --------------------------------------------------------------------------------------------------- */

static void take_norm(composed *net, const norm *n, uint32_t rows, retnet_rows from, retnet_rows to, uint32_t size)
{
    retnet_norm call = {
        .kind = net->config.norm == RN_NORM_LAYER ? RETNET_NORM_LAYER : RETNET_NORM_RMS,
        .rows = rows,
        .size = size,
        .input = from,
        .output = to,
        .weight = vector_at(&n->weight, n->has_weight),
        .bias = vector_at(&n->weight, n->has_bias),
        .eps = net->eps,
    };
    call.bias.offset += n->has_bias ? 4 * size : 0;
    CHECK_INT(retnet_layers_norm(net->layers, &call), RETNET_OK);
}

static void project(composed *net, const dense *d, uint32_t rows, retnet_rows from, retnet_rows to,
                    retnet_activation activation, bool add)
{
    retnet_linear call = {
        .matrix = d->matrix,
        .rows = rows,
        .input = from,
        .output = to,
        .bias = vector_at(&d->bias, d->has_bias),
        .activation = activation,
        .add = add,
    };
    CHECK_INT(retnet_layers_linear(net->layers, &call), RETNET_OK);
}

static void rotate(composed *net, const reading *r, retnet_rows rows, uint32_t heads)
{
    retnet_rotation call = {
        .heads = heads,
        .key_size = net->config.key_size,
        .interleaved = net->config.interleaved_rotation,
        .rows = rows,
        .tables = net->tables,
        .sequences = r->sequences,
        .sequence_count = r->count,
    };
    CHECK_INT(retnet_layers_rotate(net->layers, &call), RETNET_OK);
}

static void retain(composed *net, const reading *r, uint32_t layer)
{
    const rn_config *c = &net->config;
    retnet_retention call = {
        .heads = c->heads,
        .key_value_heads = c->kv_heads,
        .key_size = c->key_size,
        .value_size = c->value_size,
        .tables = net->tables,
        .query = net->q,
        .key = net->k,
        .value = net->v,
        .output = net->retained,
        .sequences = r->sequences,
        .sequence_count = r->count,
        .score_norm = r->norm,
        .c2 = net->c2,
        .chunk = r->chunk,
    };
    if (r->form != COMPOSED_PARALLEL) {
        call.state = vector_at(&net->states, true);
        call.state.offset += layer * net->layer_state_bytes;
    }
    retnet_result result = RETNET_OK;
    if (r->form == COMPOSED_PARALLEL) result = retnet_layers_retention_parallel(net->layers, &call);
    if (r->form == COMPOSED_CHUNKWISE) result = retnet_layers_retention_chunkwise(net->layers, &call);
    if (r->form == COMPOSED_RECURRENT) result = retnet_layers_retention_recurrent(net->layers, &call);
    CHECK_INT(result, RETNET_OK);
}

/* y = groupnorm(retention) * silu(gate), in place */
static void take_group_norm(composed *net, const block *b, const reading *r)
{
    const rn_config *c = &net->config;
    retnet_norm call = {
        .kind = c->norm == RN_NORM_LAYER ? RETNET_NORM_LAYER : RETNET_NORM_RMS,
        .rows = r->rows,
        .groups = c->heads,
        .size = c->value_size,
        .input = net->retained,
        .output = net->retained,
        .weight = vector_at(&b->group_norm.weight, b->group_norm.has_weight),
        .eps = net->eps,
    };
    if (c->output_gate) call.gate = net->g;
    if (r->norm != RETNET_SCORE_NORM_NONE) call.c2 = net->c2;
    CHECK_INT(retnet_layers_norm(net->layers, &call), RETNET_OK);
}

static void feed_forward(composed *net, const block *b, uint32_t rows)
{
    const rn_config *c = &net->config;
    retnet_activation activation = (retnet_activation)(1 + c->activation);
    if (c->ffn_norm) { /* old torchscale has a norm inside */
        project(net, &b->up, rows, net->normed, net->hidden, activation, false);
        take_norm(net, &b->inner_norm, rows, net->hidden, net->hidden, c->ffn);
        project(net, &b->down, rows, net->hidden, net->x, RETNET_ACTIVATION_NONE, true);
        return;
    }
    retnet_feed_forward call = {
        .up = b->up.matrix,
        .down = b->down.matrix,
        .rows = rows,
        .input = net->normed,
        .output = net->x,
        .up_bias = vector_at(&b->up.bias, b->up.has_bias),
        .down_bias = vector_at(&b->down.bias, b->down.has_bias),
        .activation = activation,
        .add = true,
    };
    CHECK_INT(retnet_layers_feed_forward(net->layers, &call), RETNET_OK);
}

/* x += MSR(norm(x));  x += FFN(norm(x)) */
static void read_block(composed *net, const reading *r, uint32_t layer)
{
    const rn_config *c = &net->config;
    const block *b = &net->blocks[layer];
    const retnet_activation none = RETNET_ACTIVATION_NONE;
    take_norm(net, &b->retention_norm, r->rows, net->x, net->normed, c->hidden);
    project(net, &b->q, r->rows, net->normed, net->q, none, false);
    project(net, &b->k, r->rows, net->normed, net->k, none, false);
    project(net, &b->v, r->rows, net->normed, net->v, none, false);
    if (c->output_gate) project(net, &b->g, r->rows, net->normed, net->g, none, false);
    rotate(net, r, net->q, c->heads);
    rotate(net, r, net->k, c->kv_heads);
    retain(net, r, layer);
    take_group_norm(net, b, r);
    project(net, &b->o, r->rows, net->retained, net->x, none, true);
    take_norm(net, &b->ffn_norm, r->rows, net->x, net->normed, c->hidden);
    feed_forward(net, b, r->rows);
}

static void read_all(composed *net, const reading *r)
{
    const rn_config *c = &net->config;
    retnet_embedding embedding = {
        .matrix = net->embedding.matrix,
        .tokens = vector_at(&net->tokens, true),
        .rows = r->rows,
        .output = net->x,
        .scale = c->embedding_scale,
    };
    CHECK_INT(retnet_layers_embedding(net->layers, &embedding), RETNET_OK);
    if (c->embedding_norm) take_norm(net, &net->embedding_norm, r->rows, net->x, net->x, c->hidden);
    for (uint32_t l = 0; l < c->layers; l++) read_block(net, r, l);
    take_norm(net, &net->output_norm, r->rows, net->x, net->normed, c->hidden);
    const dense *head = c->tied_head ? &net->embedding : &net->head;
    project(net, head, r->rows, net->normed, net->logits, RETNET_ACTIVATION_NONE, false);
}

void composed_read(composed *net, composed_form form, uint32_t chunk, retnet_score_norm norm, float eps,
                   const retnet_sequence *sequences, uint32_t count, const int32_t *tokens, float *logits)
{
    reading r = {form, chunk, 0, count, norm, sequences};
    for (uint32_t i = 0; i < count; i++) r.rows = rn_max_u32(r.rows, sequences[i].first_row + sequences[i].tokens);
    net->eps = eps;
    memcpy(net->tokens.words, tokens, r.rows * sizeof *tokens);
    REQUIRE(retnet_layers_begin(net->layers, layers_test_begin(net->test)->commands) == RETNET_OK);
    read_all(net, &r);
    CHECK_INT(retnet_layers_end(net->layers), RETNET_OK);
    layers_test_run(net->test);
    CHECK_INT(retnet_layers_reset(net->layers), RETNET_OK);
    size_t from = (net->logits.offset - layers_test_binding(&net->activations).offset) / 4;
    memcpy(logits, net->activations.floats + from, (size_t)r.rows * net->config.vocabulary * sizeof *logits);
    layers_test_check_guards("activations", &net->activations);
    layers_test_check_guards("states", &net->states);
}

/* ---- The object -------------------------------------------------------------------------------------------------- */

/* The next region of the activations: rows of `width` floats. */
static retnet_rows place(const composed *net, uint64_t *words, uint32_t rows, uint32_t width)
{
    uint64_t at = *words;
    *words += rounded((uint64_t)rows * width, 64);
    return (retnet_rows){net->activations.buffer.handle, 256 + 4 * at, width};
}

static uint64_t place_all(composed *net, uint32_t rows)
{
    const rn_config *c = &net->config;
    uint32_t H = c->heads, G = c->kv_heads, K = c->key_size, V = c->value_size;
    /* q, k and v are in one row, each where a projection may begin. */
    uint32_t k_at = rounded(H * K, 64), v_at = k_at + rounded(G * K, 64);
    uint64_t words = 0;
    net->x = place(net, &words, rows, rounded(c->hidden, 32));
    net->normed = place(net, &words, rows, rounded(c->hidden, 32));
    net->q = place(net, &words, rows, v_at + rounded(G * V, 4));
    net->k = net->v = net->q;
    net->k.offset += 4 * k_at;
    net->v.offset += 4 * v_at;
    net->g = place(net, &words, rows, H * V);
    net->retained = place(net, &words, rows, rounded(H * V, 32));
    net->c2 = place(net, &words, rows, H);
    net->hidden = place(net, &words, rows, rounded(c->ffn, 32));
    net->logits = place(net, &words, rows, c->vocabulary);
    return words;
}

composed *composed_create(layers_test *test, const ref_model *model, uint32_t rows, uint32_t sequences)
{
    composed *net = layers_test_alloc(1, sizeof *net);
    net->test = test;
    net->config = model->config;
    const rn_config *c = &net->config;
    uint32_t K = c->key_size, V = c->value_size, longest = rn_min_u32(rows, 1024);
    uint64_t chunks = retnet_retention_chunkwise_scratch_bytes(c->heads, K, V, longest, 1);
    uint64_t hidden = retnet_feed_forward_scratch_bytes(rows, c->hidden, c->ffn);
    retnet_layers_desc desc = {.scratch_bytes = 3 * chunks > hidden ? 3 * chunks : hidden};
    REQUIRE(retnet_layers_create(test->context, &desc, &net->layers) == RETNET_OK);
    retnet_tables_desc tables = {
        .heads = c->heads, .decay = c->decay, .longest_chunk = longest, .pairs = K / 2, .theta = c->theta};
    REQUIRE(retnet_tables_create(test->context, &tables, &net->tables) == RETNET_OK);
    net->embedding = make_dense(net, &model->embedding, NULL);
    if (!c->tied_head) net->head = make_dense(net, &model->head, NULL);
    net->embedding_norm = make_norm(test, model->embedding_norm.w, model->embedding_norm.bias, c->hidden);
    net->output_norm = make_norm(test, model->output_norm.w, model->output_norm.bias, c->hidden);
    net->blocks = layers_test_alloc(c->layers, sizeof *net->blocks);
    for (uint32_t l = 0; l < c->layers; l++) make_block(net, &model->layers[l], &net->blocks[l]);
    net->tokens = layers_test_buffer(test, rows);
    uint64_t words = place_all(net, rows);
    net->activations = layers_test_buffer(test, words);
    memset(net->activations.words, 0, 4 * words); /* what stands behind the inputs of a projection has to be finite */
    place_all(net, rows);
    net->layer_state_bytes = rounded(sequences * retnet_retention_state_bytes(c->heads, K, V), 256);
    net->states = layers_test_buffer(test, c->layers * net->layer_state_bytes / 4);
    composed_forget(net);
    return net;
}

void composed_forget(composed *net)
{
    memset(net->states.words, 0, 4 * net->states.count);
}

void composed_state(const composed *net, uint32_t layer, uint32_t sequence, float *state)
{
    const rn_config *c = &net->config;
    size_t rows = (size_t)c->heads * c->key_size, V = c->value_size, stride = (V + 3) / 4 * 4;
    const float *from = net->states.floats + layer * net->layer_state_bytes / 4 + sequence * rows * stride;
    for (size_t i = 0; i < rows; i++) memcpy(state + i * V, from + i * stride, V * sizeof *state);
}

static void free_block(composed *net, block *b)
{
    dense *matrices[] = {&b->q, &b->k, &b->v, &b->g, &b->o, &b->up, &b->down};
    norm *norms[] = {&b->retention_norm, &b->group_norm, &b->ffn_norm, &b->inner_norm};
    for (size_t i = 0; i < RN_COUNT(matrices); i++) free_dense(net, matrices[i]);
    for (size_t i = 0; i < RN_COUNT(norms); i++) layers_test_free(net->test, &norms[i]->weight);
}

void composed_destroy(composed *net)
{
    layers_test *test = net->test;
    for (uint32_t l = 0; l < net->config.layers; l++) free_block(net, &net->blocks[l]);
    free(net->blocks);
    free_dense(net, &net->embedding);
    free_dense(net, &net->head);
    layers_test_free(test, &net->embedding_norm.weight);
    layers_test_free(test, &net->output_norm.weight);
    layers_test_free(test, &net->tokens);
    layers_test_free(test, &net->states);
    layers_test_free(test, &net->activations);
    retnet_tables_destroy(net->tables);
    retnet_layers_destroy(net->layers);
    free(net);
}
