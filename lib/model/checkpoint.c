#include "model/checkpoint_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { RN_NAME_SIZE = 256, RN_SCALE_BLOCK = 32 };

/* ---- Taking tensors --------------------------------------------------------------------------------------------- */

static const rn_tensor *rn_find_v(const rn_checkpoint_reader *reader, char name[RN_NAME_SIZE], const char *format,
                                  va_list arguments)
{
    int length = snprintf(name, RN_NAME_SIZE, "%s", reader->prefix);
    vsnprintf(name + length, RN_NAME_SIZE - (size_t)length, format, arguments);
    return rn_tensor_set_find(reader->checkpoint->tensors, name);
}

const rn_tensor *rn_reader_find(const rn_checkpoint_reader *reader, const char *format, ...)
{
    char name[RN_NAME_SIZE];
    va_list arguments;
    va_start(arguments, format);
    const rn_tensor *tensor = rn_find_v(reader, name, format, arguments);
    va_end(arguments);
    return tensor;
}

void rn_reader_ignore(rn_checkpoint_reader *reader, const rn_tensor *tensor)
{
    if (tensor) reader->used[tensor - rn_tensor_set_at(reader->checkpoint->tensors, 0)] = true;
}

static void rn_missing(rn_checkpoint_reader *reader, const char *name)
{
    reader->result = rn_fail(reader->host, RETNET_ERROR_FORMAT, "%s: tensor %s is missing", reader->directory, name);
}

static void rn_format_shape(const rn_tensor *tensor, char *text, size_t size)
{
    size_t length = (size_t)snprintf(text, size, "[");
    for (uint32_t i = 0; i < tensor->rank && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%llu", i > 0 ? ", " : "",
                                   (unsigned long long)tensor->shape[i]);
    if (length < size) snprintf(text + length, size - length, "]");
}

/* Marks the tensor as used if it has this shape; `columns` 0 stands for a vector. */
static bool rn_accept_shape(rn_checkpoint_reader *reader, const rn_tensor *tensor, uint32_t rows, uint32_t columns)
{
    rn_reader_ignore(reader, tensor);
    if (tensor->rank == (columns > 0 ? 2u : 1u) && tensor->shape[0] == rows &&
        (columns == 0 || tensor->shape[1] == columns))
        return true;
    char expected[48], found[192];
    rn_format_shape(&(rn_tensor){.rank = columns > 0 ? 2 : 1, .shape = {rows, columns}}, expected, sizeof(expected));
    rn_format_shape(tensor, found, sizeof(found));
    reader->result = rn_fail(reader->host, RETNET_ERROR_FORMAT, "%s: tensor %s: shape %s found, %s expected",
                             tensor->file, tensor->name, found, expected);
    return false;
}

static bool rn_is_float(const rn_tensor *tensor)
{
    return tensor->dtype == RN_DTYPE_F32 || tensor->dtype == RN_DTYPE_F16 || tensor->dtype == RN_DTYPE_BF16;
}

static void rn_bad_dtype(rn_checkpoint_reader *reader, const rn_tensor *tensor, const char *expected)
{
    reader->result = rn_fail(reader->host, RETNET_ERROR_UNSUPPORTED, "%s: tensor %s: dtype %s found, %s expected",
                             tensor->file, tensor->name, tensor->dtype_name, expected);
}

static void rn_take_scales(rn_checkpoint_reader *reader, rn_matrix_source *out, uint32_t all_rows)
{
    char name[RN_NAME_SIZE + 8];
    snprintf(name, sizeof(name), "%s_scale", out->tensor->name);
    const rn_tensor *scales = rn_tensor_set_find(reader->checkpoint->tensors, name);
    if (!scales) {
        rn_missing(reader, name);
        return;
    }
    if (!rn_accept_shape(reader, scales, all_rows, rn_divide_up(out->columns, RN_SCALE_BLOCK))) return;
    if (scales->dtype != RN_DTYPE_F16) rn_bad_dtype(reader, scales, "F16");
    out->scales = scales;
}

void rn_reader_matrix(rn_checkpoint_reader *reader, rn_matrix_source *out, rn_rows rows, uint32_t columns,
                      const char *format, ...)
{
    if (reader->result != RETNET_OK) return;
    char name[RN_NAME_SIZE];
    va_list arguments;
    va_start(arguments, format);
    const rn_tensor *tensor = rn_find_v(reader, name, format, arguments);
    va_end(arguments);
    if (!tensor) {
        rn_missing(reader, name);
        return;
    }
    if (!rn_accept_shape(reader, tensor, rows.all, (uint32_t)rn_stored_columns(tensor->dtype, columns))) return;
    *out = (rn_matrix_source){.tensor = tensor, .first_row = rows.first, .rows = rows.count, .columns = columns};
    if (tensor->dtype == RN_DTYPE_I8 || tensor->dtype == RN_DTYPE_U8)
        rn_take_scales(reader, out, rows.all);
    else if (!rn_is_float(tensor))
        rn_bad_dtype(reader, tensor, "F32, F16, BF16, or I8 or U8 with scales");
}

void rn_reader_vector(rn_checkpoint_reader *reader, rn_vector_source *out, uint32_t size, const char *format, ...)
{
    if (reader->result != RETNET_OK) return;
    char name[RN_NAME_SIZE];
    va_list arguments;
    va_start(arguments, format);
    const rn_tensor *tensor = rn_find_v(reader, name, format, arguments);
    va_end(arguments);
    if (!tensor) {
        rn_missing(reader, name);
        return;
    }
    if (!rn_accept_shape(reader, tensor, size, 0)) return;
    if (!rn_is_float(tensor)) rn_bad_dtype(reader, tensor, "F32, F16 or BF16");
    *out = (rn_vector_source){.tensor = tensor, .size = size};
}

void rn_reader_refuse_variants(rn_checkpoint_reader *reader, const rn_variant *variants, size_t count)
{
    const rn_tensor_set *tensors = reader->checkpoint->tensors;
    for (size_t i = 0; i < rn_tensor_set_count(tensors) && reader->result == RETNET_OK; i++) {
        const rn_tensor *tensor = rn_tensor_set_at(tensors, i);
        for (size_t v = 0; v < count && reader->result == RETNET_OK; v++)
            if (strstr(tensor->name, variants[v].part))
                reader->result = rn_fail(reader->host, RETNET_ERROR_UNSUPPORTED, "%s: tensor %s: %s is not supported",
                                         tensor->file, tensor->name, variants[v].what);
    }
}

static bool rn_same_content(const rn_tensor *a, const rn_tensor *b)
{
    if (!a || !b) return a == b;
    return a->dtype == b->dtype && a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

void rn_reader_head(rn_checkpoint_reader *reader, const char *name)
{
    rn_checkpoint *checkpoint = reader->checkpoint;
    const rn_config *config = &checkpoint->config;
    rn_matrix_source head = {0};
    if (reader->result != RETNET_OK) return;
    if (!config->tied_head || rn_tensor_set_find(checkpoint->tensors, name)) {
        const char *prefix = reader->prefix;
        reader->prefix = "";
        rn_reader_matrix(reader, &head, rn_all_rows(config->vocabulary), config->hidden, "%s", name);
        reader->prefix = prefix;
    }
    if (!config->tied_head || reader->result != RETNET_OK) {
        checkpoint->head = head;
        return;
    }
    checkpoint->head = checkpoint->embedding;
    if (head.tensor && !reader->headers_only &&
        !(rn_same_content(head.tensor, checkpoint->embedding.tensor) &&
          rn_same_content(head.scales, checkpoint->embedding.scales)))
        reader->result =
            rn_fail(reader->host, RETNET_ERROR_FORMAT,
                    "%s: tensor %s differs from the embedding, to which the config ties it", head.tensor->file, name);
}

/* ---- The whole -------------------------------------------------------------------------------------------------- */

static retnet_result rn_read_config(rn_host *host, const char *directory, rn_config *config)
{
    char *path = rn_path_join(host, directory, "config.json");
    if (!path) return rn_fail_memory(host, "path", strlen(directory));
    rn_file_map map;
    retnet_result result = rn_file_map_open(host, path, &map);
    if (result == RETNET_OK) result = rn_config_parse(host, path, (const char *)map.data, (size_t)map.size, config);
    rn_file_map_close(&map);
    rn_free(host, path);
    return result;
}

static retnet_result rn_refuse_rest(const rn_checkpoint_reader *reader)
{
    const rn_tensor_set *tensors = reader->checkpoint->tensors;
    for (size_t i = 0; i < rn_tensor_set_count(tensors); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(tensors, i);
        if (!reader->used[i])
            return rn_fail(reader->host, RETNET_ERROR_UNSUPPORTED,
                           "%s: tensor %s is not one that this config calls for", tensor->file, tensor->name);
    }
    return RETNET_OK;
}

static retnet_result rn_read_tensors(rn_host *host, const char *directory, bool headers_only, rn_checkpoint *checkpoint)
{
    size_t count = rn_tensor_set_count(checkpoint->tensors);
    rn_checkpoint_reader reader = {
        .host = host, .directory = directory, .prefix = "", .headers_only = headers_only, .checkpoint = checkpoint};
    reader.used = rn_alloc(host, count, sizeof(*reader.used));
    checkpoint->layers = rn_alloc(host, checkpoint->config.layers, sizeof(*checkpoint->layers));
    if (!reader.used || !checkpoint->layers) {
        reader.result = rn_fail_memory(host, "tensor roles", checkpoint->config.layers * sizeof(*checkpoint->layers));
        goto done;
    }
    if (checkpoint->config.dialect == RN_DIALECT_FLA)
        rn_checkpoint_read_fla(&reader);
    else
        rn_checkpoint_read_torchscale(&reader);
    if (reader.result == RETNET_OK) reader.result = rn_refuse_rest(&reader);
done:
    rn_free(host, reader.used);
    return reader.result;
}

/* Field by field: the struct's padding has no defined content. */
static uint64_t rn_hash_config(uint64_t hash, const rn_config *config)
{
    const uint32_t fields[] = {(uint32_t)config->dialect,
                               config->hidden,
                               config->layers,
                               config->heads,
                               config->kv_heads,
                               config->key_size,
                               config->value_size,
                               config->ffn,
                               config->vocabulary,
                               config->embedding_norm,
                               config->tied_head,
                               config->output_gate,
                               config->group_norm_weight,
                               config->score_normalised_eps,
                               config->ffn_gated,
                               config->linear_bias,
                               config->ffn_norm,
                               (uint32_t)config->norm,
                               (uint32_t)config->activation};
    hash = rn_hash(hash, fields, sizeof(fields));
    hash = rn_hash(hash, &config->norm_eps, sizeof(config->norm_eps));
    hash = rn_hash(hash, &config->embedding_scale, sizeof(config->embedding_scale));
    return rn_hash(hash, config->decay, config->heads * sizeof(*config->decay));
}

/* Over tensors in order of name, so that neither their order in a file nor their spread over shards matters. */
static uint64_t rn_hash_content(const rn_checkpoint *checkpoint)
{
    uint64_t hash = rn_hash_config(0, &checkpoint->config);
    for (size_t i = 0; i < rn_tensor_set_count(checkpoint->tensors); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(checkpoint->tensors, i);
        hash = rn_hash(hash, tensor->name, strlen(tensor->name));
        hash = rn_hash(hash, tensor->dtype_name, strlen(tensor->dtype_name));
        hash = rn_hash(hash, tensor->shape, tensor->rank * sizeof(*tensor->shape));
        hash = rn_hash(hash, tensor->data, tensor->bytes);
    }
    return hash;
}

static retnet_result rn_open(rn_host *host, const char *directory, bool headers_only, rn_checkpoint *checkpoint)
{
    memset(checkpoint, 0, sizeof(*checkpoint));
    retnet_result result = rn_read_config(host, directory, &checkpoint->config);
    if (result == RETNET_OK) result = rn_tensor_set_open_directory(host, directory, &checkpoint->tensors);
    if (result == RETNET_OK) result = rn_read_tensors(host, directory, headers_only, checkpoint);
    if (result != RETNET_OK) rn_checkpoint_close(host, checkpoint);
    return result;
}

retnet_result rn_checkpoint_open(rn_host *host, const char *directory, rn_checkpoint *checkpoint)
{
    retnet_result result = rn_open(host, directory, false, checkpoint);
    if (result == RETNET_OK) checkpoint->content_hash = rn_hash_content(checkpoint);
    return result;
}

retnet_result rn_checkpoint_open_headers(rn_host *host, const char *directory, rn_checkpoint *checkpoint)
{
    return rn_open(host, directory, true, checkpoint);
}

void rn_checkpoint_close(rn_host *host, rn_checkpoint *checkpoint)
{
    rn_free(host, checkpoint->layers);
    rn_tensor_set_close(checkpoint->tensors);
    memset(checkpoint, 0, sizeof(*checkpoint));
}
