/* fixture.c: see fixture.h. */
#include "session/fixture.h"
#include "base/base.h"
#include "test.h"

const fixture fixtures[] = {
    {.name = "plain", .hidden = 64, .heads = 4, .key_size = 16, .value_size = 32, .ffn = 96, .seed = 1},
    {.name = "odd-v", .hidden = 64, .heads = 4, .key_size = 16, .value_size = 27, .ffn = 77, .tied = true, .seed = 2},
    {.name = "v428", .hidden = 64, .heads = 2, .key_size = 256, .value_size = 428, .ffn = 107, .layers = 1, .seed = 3},
    {.name = "gqa", .hidden = 64, .heads = 4, .kv_heads = 2, .key_size = 32, .value_size = 40, .ffn = 128, .seed = 4},
    {.name = "mqa-k60",
     .hidden = 64,
     .heads = 4,
     .kv_heads = 1,
     .key_size = 60,
     .value_size = 33,
     .ffn = 65,
     .seed = 5},
    {.name = "heads32", .hidden = 64, .heads = 32, .key_size = 4, .value_size = 6, .ffn = 64, .seed = 6},
    {.name = "ungated",
     .hidden = 64,
     .heads = 4,
     .key_size = 16,
     .value_size = 32,
     .ffn = 64,
     .no_gate = true,
     .seed = 7},
    {.name = "bare-norm",
     .hidden = 64,
     .heads = 2,
     .key_size = 32,
     .value_size = 64,
     .ffn = 96,
     .no_group_norm_weight = true,
     .dtype = FIXTURE_BF16,
     .seed = 8},
    {.name = "legacy",
     .hidden = 64,
     .heads = 4,
     .key_size = 16,
     .value_size = 32,
     .ffn = 96,
     .legacy_gate_proj = true,
     .tied = true,
     .dtype = FIXTURE_F16,
     .seed = 9},
    {.name = "half-odd",
     .hidden = 32,
     .heads = 2,
     .key_size = 18,
     .value_size = 27,
     .ffn = 45,
     .vocabulary = 101,
     .dtype = FIXTURE_F16,
     .seed = 10},
    {.name = "torchscale",
     .torchscale = true,
     .hidden = 64,
     .heads = 4,
     .key_size = 16,
     .value_size = 27,
     .ffn = 108,
     .gelu = true,
     .seed = 11},
    {.name = "torchscale-all",
     .torchscale = true,
     .hidden = 60,
     .heads = 3,
     .key_size = 20,
     .value_size = 36,
     .ffn = 90,
     .scale_embedding = true,
     .embedding_norm = true,
     .rel_pos = true,
     .tied = true,
     .eps = 1e-5,
     .seed = 12},
    {.name = "old",
     .torchscale = true,
     .hidden = 64,
     .heads = 2,
     .key_size = 32,
     .value_size = 27,
     .ffn = 96,
     .old = true,
     .old_inner_norm = true,
     .gelu = true,
     .embedding_norm = true,
     .prefix = "decoder.",
     .eps = 1e-5,
     .seed = 13},
    {.name = "old-plain",
     .torchscale = true,
     .hidden = 64,
     .heads = 4,
     .key_size = 16,
     .value_size = 32,
     .ffn = 77,
     .old = true,
     .relu = true,
     .tied = true,
     .prefix = "model.",
     .dtype = FIXTURE_F16,
     .seed = 14},
    {.name = "gqa-odd",
     .hidden = 64,
     .heads = 6,
     .kv_heads = 3,
     .key_size = 32,
     .value_size = 43,
     .ffn = 70,
     .vocabulary = 99,
     .no_gate = true,
     .legacy_gate_proj = true,
     .tied = true,
     .seed = 15},
    {.name = "port",
     .torchscale = true,
     .hidden = 64,
     .heads = 4,
     .key_size = 16,
     .value_size = 27,
     .ffn = 96,
     .scale_embedding = true,
     .rel_pos = true,
     .lm_head = true,
     .prefix = "model.",
     .dtype = FIXTURE_F16,
     .seed = 16},
    {.name = NULL},
};

const fixture *fixture_named(const char *name)
{
    for (const fixture *f = fixtures; f->name; f++)
        if (strcmp(f->name, name) == 0) return f;
    fprintf(stderr, "no fixture %s\n", name);
    exit(1);
}

/* ---- safetensors ------------------------------------------------------------------------------------------------- */

/* A checkpoint in the making: the header's text and the data behind it. */
typedef struct writer {
    const fixture *f;
    uint64_t random;
    char header[64 * 1024];
    size_t header_size;
    uint8_t *data;
    size_t size, capacity;
} writer;

static void add_bytes(writer *w, const void *bytes, size_t size)
{
    if (w->size + size > w->capacity) {
        w->capacity = 2 * (w->size + size);
        w->data = realloc(w->data, w->capacity);
        REQUIRE(w->data);
    }
    memcpy(w->data + w->size, bytes, size);
    w->size += size;
}

static void add_value(writer *w, float value, fixture_dtype dtype)
{
    uint16_t half = dtype == FIXTURE_F16 ? rn_f32_to_f16(value) : rn_f32_to_bf16(value);
    if (dtype == FIXTURE_F32)
        add_bytes(w, &value, sizeof value);
    else
        add_bytes(w, &half, sizeof half);
}

/* Opens a tensor of [rows, columns], or [rows] if columns is 0, whose values follow by add_value. */
static void begin_tensor(writer *w, const char *name, uint32_t rows, uint32_t columns, fixture_dtype dtype)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    char shape[64];
    size_t bytes = (size_t)rows * (columns ? columns : 1) * (dtype == FIXTURE_F32 ? 4 : 2);
    if (columns)
        snprintf(shape, sizeof shape, "[%u,%u]", rows, columns);
    else
        snprintf(shape, sizeof shape, "[%u]", rows);
    int length = snprintf(w->header + w->header_size, sizeof w->header - w->header_size,
                          "%c\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                          w->header_size ? ',' : '{', name, names[dtype], shape, w->size, w->size + bytes);
    w->header_size += (size_t)length;
    REQUIRE(w->header_size + 16 < sizeof w->header);
}

/* Values whose products with inputs of size 1 have size 1. */
static void add_matrix(writer *w, const char *name, uint32_t rows, uint32_t columns)
{
    begin_tensor(w, name, rows, columns, w->f->dtype);
    float scale = sqrtf(3.0f / (float)columns);
    for (size_t i = 0; i < (size_t)rows * columns; i++) add_value(w, scale * test_random(&w->random), w->f->dtype);
}

static void add_norm(writer *w, const char *name, uint32_t size)
{
    begin_tensor(w, name, size, 0, w->f->dtype);
    for (uint32_t i = 0; i < size; i++) add_value(w, 1 + 0.3f * test_random(&w->random), w->f->dtype);
}

static const char *prefix(const fixture *f)
{
    if (!f->torchscale) return "model.";
    return f->prefix ? f->prefix : "";
}

static void add_bias(writer *w, const char *name, uint32_t size)
{
    begin_tensor(w, name, size, 0, w->f->dtype);
    for (uint32_t i = 0; i < size; i++) add_value(w, 0.2f * test_random(&w->random), w->f->dtype);
}

static void add_layer_matrix(writer *w, uint32_t layer, const char *name, uint32_t rows, uint32_t columns)
{
    char full[128];
    snprintf(full, sizeof full, "%slayers.%u.%s.weight", prefix(w->f), layer, name);
    add_matrix(w, full, rows, columns);
    snprintf(full, sizeof full, "%slayers.%u.%s.bias", prefix(w->f), layer, name);
    if (w->f->old) add_bias(w, full, rows);
}

/* A norm by its module's name, with the bias that the old layout has. */
static void add_named_norm(writer *w, const char *name, uint32_t size)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s.weight", prefix(w->f), name);
    add_norm(w, full, size);
    snprintf(full, sizeof full, "%s%s.bias", prefix(w->f), name);
    if (w->f->old) add_bias(w, full, size);
}

static void add_named_matrix(writer *w, const char *name, uint32_t rows, uint32_t columns)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s.weight", prefix(w->f), name);
    add_matrix(w, full, rows, columns);
}

static void add_layer_norm(writer *w, uint32_t layer, const char *name, uint32_t size)
{
    char full[128];
    snprintf(full, sizeof full, "layers.%u.%s", layer, name);
    add_named_norm(w, full, size);
}

/* ---- The two dialects -------------------------------------------------------------------------------------------- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static void add_fla_layer(writer *w, uint32_t l)
{
    const fixture *f = w->f;
    uint32_t D = f->hidden, H = f->heads, H_kv = or_default(f->kv_heads, H), K = f->key_size, V = f->value_size;
    add_layer_norm(w, l, "attn_norm", D);
    add_layer_matrix(w, l, "attn.q_proj", H * K, D);
    add_layer_matrix(w, l, "attn.k_proj", H_kv * K, D);
    add_layer_matrix(w, l, "attn.v_proj", H_kv * V, D);
    if (!f->no_gate) add_layer_matrix(w, l, "attn.g_proj", H * V, D);
    if (!f->no_group_norm_weight) add_layer_norm(w, l, f->no_gate ? "attn.g_norm" : "attn.g_norm_swish_gate", V);
    add_layer_matrix(w, l, "attn.o_proj", D, H * V);
    add_layer_norm(w, l, "mlp_norm", D);
    add_layer_matrix(w, l, "mlp.gate_proj", f->legacy_gate_proj ? 2 * f->ffn : f->ffn, D);
    if (!f->legacy_gate_proj) add_layer_matrix(w, l, "mlp.up_proj", f->ffn, D);
    add_layer_matrix(w, l, "mlp.down_proj", D, f->ffn);
}

static void add_fla(writer *w)
{
    const fixture *f = w->f;
    uint32_t vocabulary = or_default(f->vocabulary, 96);
    add_matrix(w, "model.embeddings.weight", vocabulary, f->hidden);
    for (uint32_t l = 0; l < or_default(f->layers, 2); l++) add_fla_layer(w, l);
    add_norm(w, "model.norm.weight", f->hidden);
    if (!f->tied) add_matrix(w, "lm_head.weight", vocabulary, f->hidden);
}

static void add_torchscale_layer(writer *w, uint32_t l)
{
    const fixture *f = w->f;
    uint32_t D = f->hidden, values = f->heads * f->value_size;
    add_layer_matrix(w, l, "retention.q_proj", D, D);
    add_layer_matrix(w, l, "retention.k_proj", D, D);
    add_layer_matrix(w, l, "retention.v_proj", values, D);
    add_layer_matrix(w, l, "retention.g_proj", values, D);
    add_layer_matrix(w, l, "retention.out_proj", D, values);
    add_layer_norm(w, l, "retention_layer_norm", D);
    add_layer_matrix(w, l, "ffn.fc1", f->ffn, D);
    if (!f->old) add_layer_matrix(w, l, "ffn.gate", f->ffn, D);
    if (f->old_inner_norm) add_layer_norm(w, l, "ffn.ffn_layernorm", f->ffn);
    add_layer_matrix(w, l, "ffn.fc2", D, f->ffn);
    add_layer_norm(w, l, "final_layer_norm", D);
}

/* The buffers that torchscale saves with a model, here with decays that no formula gives. */
static void add_rel_pos(writer *w)
{
    uint32_t K = w->f->key_size;
    char name[64];
    snprintf(name, sizeof name, "%sretnet_rel_pos.angle", prefix(w->f));
    begin_tensor(w, name, K, 0, FIXTURE_F32);
    for (uint32_t i = 0; i < K; i++) add_value(w, (float)pow(10000, -(double)(i / 2) / (K / 2 - 1)), FIXTURE_F32);
    snprintf(name, sizeof name, "%sretnet_rel_pos.decay", prefix(w->f));
    begin_tensor(w, name, w->f->heads, 0, FIXTURE_F32);
    for (uint32_t h = 0; h < w->f->heads; h++) add_value(w, (float)log(1 - pow(2, -4.0 - 0.7 * h)), FIXTURE_F32);
}

static void add_torchscale(writer *w)
{
    const fixture *f = w->f;
    uint32_t vocabulary = or_default(f->vocabulary, 96);
    add_named_matrix(w, "embed_tokens", vocabulary, f->hidden);
    if (f->lm_head)
        add_matrix(w, "lm_head.weight", vocabulary, f->hidden);
    else if (!f->tied)
        add_named_matrix(w, "output_projection", vocabulary, f->hidden);
    if (f->embedding_norm) add_named_norm(w, "layernorm_embedding", f->hidden);
    for (uint32_t l = 0; l < or_default(f->layers, 2); l++) add_torchscale_layer(w, l);
    add_named_norm(w, "layer_norm", f->hidden);
    if (f->rel_pos) add_rel_pos(w);
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static const char *json_bool(bool value)
{
    return value ? "true" : "false";
}

static void write_fla_config(const fixture *f, FILE *file)
{
    double D = f->hidden;
    fprintf(file, "{\"model_type\": \"retnet\", \"architectures\": [\"RetNetForCausalLM\"], \"hidden_size\": %u,\n",
            f->hidden);
    fprintf(file, " \"expand_k\": %.17g, \"expand_v\": %.17g, \"num_hidden_layers\": %u, \"num_heads\": %u,\n",
            f->heads * f->key_size / D, f->heads * f->value_size / D, or_default(f->layers, 2), f->heads);
    if (f->kv_heads) fprintf(file, " \"num_kv_heads\": %u,\n", f->kv_heads);
    fprintf(file, " \"intermediate_size\": %u, \"vocab_size\": %u, \"norm_eps\": %g, \"hidden_act\": \"swish\",\n",
            f->ffn, or_default(f->vocabulary, 96), f->eps > 0 ? f->eps : 1e-6);
    fprintf(file, " \"tie_word_embeddings\": %s, \"use_output_gate\": %s, \"elementwise_affine\": %s}\n",
            json_bool(f->tied), json_bool(!f->no_gate), json_bool(!f->no_group_norm_weight));
}

static void write_torchscale_config(const fixture *f, FILE *file)
{
    fprintf(file, "{\"decoder_embed_dim\": %u, \"decoder_value_embed_dim\": %u, \"decoder_retention_heads\": %u,\n",
            f->hidden, f->heads * f->value_size, f->heads);
    fprintf(file, " \"decoder_ffn_embed_dim\": %u, \"decoder_layers\": %u, \"vocab_size\": %u,\n", f->ffn,
            or_default(f->layers, 2), or_default(f->vocabulary, 96));
    fprintf(file, " \"activation_fn\": \"%s\", \"layernorm_eps\": %g, \"no_scale_embedding\": %s,\n",
            f->relu   ? "relu"
            : f->gelu ? "gelu"
                      : "swish",
            f->eps > 0 ? f->eps : 1e-6, json_bool(!f->scale_embedding));
    fprintf(file, " \"layernorm_embedding\": %s, \"share_decoder_input_output_embed\": %s}\n",
            json_bool(f->embedding_norm), json_bool(f->tied));
}

static FILE *create(const char *directory, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    REQUIRE(file);
    return file;
}

void fixture_write(const fixture *f, const char *directory)
{
    writer *w = calloc(1, sizeof *w);
    REQUIRE(w);
    w->f = f;
    w->random = f->seed * 7919 + 1;
    if (f->torchscale)
        add_torchscale(w);
    else
        add_fla(w);
    w->header[w->header_size++] = '}';
    while (w->header_size % 8) w->header[w->header_size++] = ' ';

    FILE *file = create(directory, "model.safetensors");
    uint64_t header_size = w->header_size; /* little-endian, as are the machines that the tests run on */
    REQUIRE(fwrite(&header_size, sizeof header_size, 1, file) == 1);
    REQUIRE(fwrite(w->header, w->header_size, 1, file) == 1);
    REQUIRE(fwrite(w->data, w->size, 1, file) == 1);
    REQUIRE(fclose(file) == 0);
    file = create(directory, "config.json");
    if (f->torchscale)
        write_torchscale_config(f, file);
    else
        write_fla_config(f, file);
    REQUIRE(fclose(file) == 0);
    free(w->data);
    free(w);
}
