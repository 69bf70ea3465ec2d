#include "model/safetensors.h"

/* jansson keeps to malloc: its allocation functions are global to the process, and so the host's to set, not ours.
 * What it holds is a header's text, and all but the metadata is released before an open returns. */
#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum {
    RN_HEADER_LIMIT = 100000000, /* that of the format's own implementation */
    RN_SHARD_LIMIT = 4096
};

typedef struct rn_tensor_file {
    char *path;
    char *names; /* of its tensors, one after another */
    rn_file_map map;
    json_t *metadata; /* an object of strings, or NULL */
} rn_tensor_file;

struct rn_tensor_set {
    rn_host *host;
    rn_tensor_file *files;
    size_t file_count;
    rn_tensor *tensors; /* in order of name once open */
    size_t count;
};

/* Every dtype of the format. Only the first five are weights to this library; the others must still be measured. */
static const struct {
    const char *name;
    uint32_t bits;
    rn_dtype dtype;
} rn_dtypes[] = {
    {"F32", 32, RN_DTYPE_F32},      {"F16", 16, RN_DTYPE_F16},      {"BF16", 16, RN_DTYPE_BF16},
    {"I8", 8, RN_DTYPE_I8},         {"U8", 8, RN_DTYPE_U8},         {"BOOL", 8, RN_DTYPE_OTHER},
    {"F4", 4, RN_DTYPE_OTHER},      {"F6_E2M3", 6, RN_DTYPE_OTHER}, {"F6_E3M2", 6, RN_DTYPE_OTHER},
    {"F8_E5M2", 8, RN_DTYPE_OTHER}, {"F8_E4M3", 8, RN_DTYPE_OTHER}, {"F8_E8M0", 8, RN_DTYPE_OTHER},
    {"I16", 16, RN_DTYPE_OTHER},    {"U16", 16, RN_DTYPE_OTHER},    {"I32", 32, RN_DTYPE_OTHER},
    {"U32", 32, RN_DTYPE_OTHER},    {"F64", 64, RN_DTYPE_OTHER},    {"I64", 64, RN_DTYPE_OTHER},
    {"U64", 64, RN_DTYPE_OTHER},    {"C64", 64, RN_DTYPE_OTHER},
};

const char *rn_dtype_name(rn_dtype dtype)
{
    return dtype < RN_DTYPE_OTHER ? rn_dtypes[dtype].name : "another dtype";
}

uint32_t rn_dtype_size(rn_dtype dtype)
{
    return dtype < RN_DTYPE_OTHER ? rn_dtypes[dtype].bits / 8 : 0;
}

/* ---- One tensor of a header ------------------------------------------------------------------------------------- */

/* What messages about a tensor start with. */
typedef struct rn_entry {
    rn_host *host;
    const char *path, *name;
} rn_entry;

static retnet_result rn_entry_malformed(const rn_entry *entry, const char *what)
{
    return rn_fail(entry->host, RETNET_ERROR_FORMAT, "%s: tensor %s: %s", entry->path, entry->name, what);
}

static bool rn_json_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static retnet_result rn_read_dtype(const rn_entry *entry, const json_t *value, rn_tensor *tensor, uint32_t *bits)
{
    const char *name = json_string_value(json_object_get(value, "dtype"));
    if (!name) return rn_entry_malformed(entry, "expected a string \"dtype\"");
    for (size_t i = 0; i < RN_COUNT(rn_dtypes); i++) {
        if (strcmp(name, rn_dtypes[i].name) != 0) continue;
        tensor->dtype = rn_dtypes[i].dtype;
        tensor->dtype_name = rn_dtypes[i].name;
        *bits = rn_dtypes[i].bits;
        return RETNET_OK;
    }
    return rn_fail(entry->host, RETNET_ERROR_UNSUPPORTED, "%s: tensor %s: unknown dtype \"%s\"", entry->path,
                   entry->name, name);
}

static retnet_result rn_read_shape(const rn_entry *entry, const json_t *value, rn_tensor *tensor)
{
    const json_t *shape = json_object_get(value, "shape");
    if (!json_is_array(shape)) return rn_entry_malformed(entry, "expected an array \"shape\"");
    size_t rank = json_array_size(shape);
    if (rank > RN_MAX_RANK)
        return rn_fail(entry->host, RETNET_ERROR_UNSUPPORTED, "%s: tensor %s: rank %zu, at most %d expected",
                       entry->path, entry->name, rank, RN_MAX_RANK);
    tensor->rank = (uint32_t)rank;
    tensor->elements = 1;
    for (size_t i = 0; i < rank; i++) {
        if (!rn_json_u64(json_array_get(shape, i), &tensor->shape[i]))
            return rn_entry_malformed(entry, "\"shape\" holds something other than non-negative integers");
        if (!rn_mul_u64(tensor->elements, tensor->shape[i], &tensor->elements))
            return rn_entry_malformed(entry, "the product of \"shape\" overflows");
    }
    return RETNET_OK;
}

static retnet_result rn_read_offsets(const rn_entry *entry, const json_t *value, uint32_t bits, const uint8_t *data,
                                     uint64_t data_size, rn_tensor *tensor)
{
    const json_t *offsets = json_object_get(value, "data_offsets");
    uint64_t begin, end, tensor_bits;
    if (json_array_size(offsets) != 2 || !rn_json_u64(json_array_get(offsets, 0), &begin) ||
        !rn_json_u64(json_array_get(offsets, 1), &end))
        return rn_entry_malformed(entry, "expected \"data_offsets\" of two non-negative integers");
    if (begin > end || end > data_size)
        return rn_fail(entry->host, RETNET_ERROR_FORMAT,
                       "%s: tensor %s: data_offsets [%llu, %llu] do not lie within the %llu bytes of data", entry->path,
                       entry->name, (unsigned long long)begin, (unsigned long long)end, (unsigned long long)data_size);
    if (!rn_mul_u64(tensor->elements, bits, &tensor_bits))
        return rn_entry_malformed(entry, "the size of its elements overflows");
    if (tensor_bits % 8 != 0 || tensor_bits / 8 != end - begin)
        return rn_fail(entry->host, RETNET_ERROR_FORMAT,
                       "%s: tensor %s: shape and dtype %s take %llu bytes, but data_offsets span %llu", entry->path,
                       entry->name, tensor->dtype_name, (unsigned long long)(tensor_bits / 8),
                       (unsigned long long)(end - begin));
    tensor->data = data + begin;
    tensor->bytes = end - begin;
    return RETNET_OK;
}

static retnet_result rn_read_tensor(const rn_entry *entry, const json_t *value, const uint8_t *data, uint64_t data_size,
                                    rn_tensor *tensor)
{
    if (!json_is_object(value)) return rn_entry_malformed(entry, "expected an object");
    uint32_t bits = 0;
    retnet_result result = rn_read_dtype(entry, value, tensor, &bits);
    if (result == RETNET_OK) result = rn_read_shape(entry, value, tensor);
    if (result == RETNET_OK) result = rn_read_offsets(entry, value, bits, data, data_size, tensor);
    return result;
}

/* ---- One file --------------------------------------------------------------------------------------------------- */

static int rn_compare_data(const void *a, const void *b)
{
    const rn_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int rn_compare_name(const void *a, const void *b)
{
    return strcmp(((const rn_tensor *)a)->name, ((const rn_tensor *)b)->name);
}

/* The format demands that tensors follow each other without gaps and to the end of the file: nothing hides between. */
static retnet_result rn_check_coverage(rn_host *host, const char *path, rn_tensor *tensors, size_t count,
                                       const uint8_t *data, uint64_t data_size)
{
    if (count > 0) qsort(tensors, count, sizeof(*tensors), rn_compare_data);
    const uint8_t *end = data;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].data < end)
            return rn_fail(host, RETNET_ERROR_FORMAT, "%s: tensors %s and %s overlap", path, tensors[i - 1].name,
                           tensors[i].name);
        if (tensors[i].data > end)
            return rn_fail(host, RETNET_ERROR_FORMAT, "%s: %llu bytes before tensor %s belong to no tensor", path,
                           (unsigned long long)(tensors[i].data - end), tensors[i].name);
        end = tensors[i].data + tensors[i].bytes;
    }
    if (end != data + data_size)
        return rn_fail(host, RETNET_ERROR_FORMAT, "%s: the last %llu bytes belong to no tensor", path,
                       (unsigned long long)(data + data_size - end));
    return RETNET_OK;
}

static retnet_result rn_read_metadata(rn_host *host, rn_tensor_file *file, json_t *header)
{
    json_t *metadata = json_object_get(header, "__metadata__");
    if (!metadata) return RETNET_OK;
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return rn_fail(host, RETNET_ERROR_FORMAT, "%s: __metadata__ is not an object", file->path);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return rn_fail(host, RETNET_ERROR_FORMAT, "%s: __metadata__: \"%s\" is not a string", file->path, key);
    }
    file->metadata = json_incref(metadata);
    json_object_del(header, "__metadata__");
    return RETNET_OK;
}

/* Parses the JSON header and gives the bytes of data behind it. */
static retnet_result rn_parse_header(rn_host *host, const rn_tensor_file *file, json_t **header, const uint8_t **data,
                                     uint64_t *data_size)
{
    const rn_file_map *map = &file->map;
    uint64_t length = 0;
    if (map->size < 8)
        return rn_fail(host, RETNET_ERROR_FORMAT, "%s: %llu bytes are too few for a safetensors file", file->path,
                       (unsigned long long)map->size);
    for (int i = 7; i >= 0; i--) length = length << 8 | map->data[i];
    if (length > RN_HEADER_LIMIT || length > map->size - 8)
        return rn_fail(host, RETNET_ERROR_FORMAT,
                       "%s: header of %llu bytes, but the file has %llu and the format allows %d", file->path,
                       (unsigned long long)length, (unsigned long long)map->size, RN_HEADER_LIMIT);
    const char *text = (const char *)map->data + 8;
    if (length == 0 || text[0] != '{')
        return rn_fail(host, RETNET_ERROR_FORMAT, "%s: the header does not start with \"{\"", file->path);

    json_error_t error;
    *header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!*header)
        return rn_fail(host, RETNET_ERROR_FORMAT, "%s: header, byte %d: %s", file->path, error.position, error.text);
    *data = map->data + 8 + length;
    *data_size = map->size - 8 - length;
    return RETNET_OK;
}

/* Makes room for the tensors of one more file; the new ones start at set->count. */
static retnet_result rn_grow_tensors(rn_tensor_set *set, size_t more)
{
    rn_tensor *tensors = rn_alloc(set->host, set->count + more, sizeof(*tensors));
    if (!tensors) return rn_fail_memory(set->host, "tensor table", (uint64_t)(set->count + more) * sizeof(*tensors));
    if (set->count > 0) memcpy(tensors, set->tensors, set->count * sizeof(*tensors));
    rn_free(set->host, set->tensors);
    set->tensors = tensors;
    return RETNET_OK;
}

static retnet_result rn_read_header(rn_tensor_set *set, rn_tensor_file *file, json_t *header, const uint8_t *data,
                                    uint64_t data_size)
{
    size_t count = json_object_size(header), name_bytes = 0;
    const char *key;
    json_t *value;
    json_object_foreach(header, key, value) name_bytes += strlen(key) + 1;
    file->names = rn_alloc(set->host, name_bytes, 1);
    if (!file->names) return rn_fail_memory(set->host, "tensor names", name_bytes);
    retnet_result result = rn_grow_tensors(set, count);
    if (result != RETNET_OK) return result;

    rn_tensor *tensor = set->tensors + set->count;
    char *name = file->names;
    json_object_foreach(header, key, value)
    {
        size_t size = strlen(key) + 1;
        tensor->name = memcpy(name, key, size);
        tensor->file = file->path;
        result = rn_read_tensor(&(rn_entry){set->host, file->path, name}, value, data, data_size, tensor);
        if (result != RETNET_OK) return result;
        name += size;
        tensor++;
    }
    result = rn_check_coverage(set->host, file->path, set->tensors + set->count, count, data, data_size);
    if (result == RETNET_OK) set->count += count;
    return result;
}

/* Takes `path` over, also on failure. */
static retnet_result rn_add_file(rn_tensor_set *set, char *path)
{
    rn_tensor_file *file = &set->files[set->file_count++];
    file->path = path;
    json_t *header = NULL;
    const uint8_t *data = NULL;
    uint64_t data_size = 0;
    retnet_result result = rn_file_map_open(set->host, path, &file->map);
    if (result == RETNET_OK) result = rn_parse_header(set->host, file, &header, &data, &data_size);
    if (result == RETNET_OK) result = rn_read_metadata(set->host, file, header);
    if (result == RETNET_OK) result = rn_read_header(set, file, header, data, data_size);
    json_decref(header);
    return result;
}

/* ---- Sets ------------------------------------------------------------------------------------------------------- */

static retnet_result rn_tensor_set_create(rn_host *host, size_t file_limit, rn_tensor_set **out)
{
    rn_tensor_set *set = rn_alloc(host, 1, sizeof(*set));
    rn_tensor_file *files = rn_alloc(host, file_limit, sizeof(*files));
    if (!set || !files) {
        rn_free(host, files);
        rn_free(host, set);
        return rn_fail_memory(host, "tensor set", sizeof(*set) + file_limit * sizeof(*files));
    }
    set->host = host;
    set->files = files;
    *out = set;
    return RETNET_OK;
}

/* Sorts by name for rn_tensor_set_find. Names differ within a file, but may not across files either. */
static retnet_result rn_sort_names(rn_tensor_set *set)
{
    if (set->count > 0) qsort(set->tensors, set->count, sizeof(*set->tensors), rn_compare_name);
    for (size_t i = 1; i < set->count; i++) {
        const rn_tensor *a = &set->tensors[i - 1], *b = &set->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return rn_fail(set->host, RETNET_ERROR_FORMAT, "tensor %s is in both %s and %s", a->name, a->file, b->file);
    }
    return RETNET_OK;
}

static retnet_result rn_open_files(rn_host *host, const char *path, rn_tensor_set **out)
{
    size_t size = strlen(path) + 1;
    char *copy = rn_alloc(host, size, 1);
    if (!copy) return rn_fail_memory(host, "path", size);
    memcpy(copy, path, size);

    rn_tensor_set *set = NULL;
    retnet_result result = rn_tensor_set_create(host, 1, &set);
    if (result != RETNET_OK) {
        rn_free(host, copy);
        return result;
    }
    result = rn_add_file(set, copy);
    if (result == RETNET_OK) result = rn_sort_names(set);
    if (result == RETNET_OK)
        *out = set;
    else
        rn_tensor_set_close(set);
    return result;
}

retnet_result rn_tensor_set_open_file(rn_host *host, const char *path, rn_tensor_set **out)
{
    *out = NULL;
    return rn_open_files(host, path, out);
}

/* ---- Sharded checkpoints ---------------------------------------------------------------------------------------- */

typedef struct rn_index {
    rn_host *host;
    const char *directory, *path;
    json_t *root, *map; /* map: tensor name -> shard name, borrowed from root */
} rn_index;

/* A shard lies beside the index: a name that could lead elsewhere is refused. */
static bool rn_is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && !strpbrk(name, "/\\:");
}

static retnet_result rn_index_load(rn_index *index)
{
    rn_file_map map;
    retnet_result result = rn_file_map_open(index->host, index->path, &map);
    if (result != RETNET_OK) return result;
    json_error_t error;
    if (map.size > RN_HEADER_LIMIT)
        result = rn_fail(index->host, RETNET_ERROR_FORMAT, "%s: %llu bytes, at most %d expected", index->path,
                         (unsigned long long)map.size, RN_HEADER_LIMIT);
    else if (!(index->root = json_loadb((const char *)map.data, (size_t)map.size, JSON_REJECT_DUPLICATES, &error)))
        result = rn_fail(index->host, RETNET_ERROR_FORMAT, "%s: line %d: %s", index->path, error.line, error.text);
    rn_file_map_close(&map);
    if (result != RETNET_OK) return result;

    index->map = json_object_get(index->root, "weight_map");
    if (json_object_size(index->map) == 0)
        return rn_fail(index->host, RETNET_ERROR_FORMAT, "%s: expected a \"weight_map\" with entries", index->path);
    const char *key;
    json_t *value;
    json_object_foreach(index->map, key, value)
    {
        const char *shard = json_string_value(value);
        if (!shard || !rn_is_plain_name(shard))
            return rn_fail(index->host, RETNET_ERROR_FORMAT, "%s: tensor %s: \"%s\" is not the plain name of a file",
                           index->path, key, shard ? shard : "(not a string)");
    }
    return RETNET_OK;
}

/* The shard's name in the path that rn_path_join made of it. */
static const char *rn_shard_name(const rn_index *index, const char *path)
{
    const char *name = path + strlen(index->directory);
    return *name == '/' ? name + 1 : name;
}

static retnet_result rn_index_open_shard(const rn_index *index, rn_tensor_set *set, const char *shard)
{
    for (size_t i = 0; i < set->file_count; i++)
        if (strcmp(rn_shard_name(index, set->files[i].path), shard) == 0) return RETNET_OK;
    if (set->file_count == RN_SHARD_LIMIT)
        return rn_fail(index->host, RETNET_ERROR_LIMIT, "%s: more than %d shards", index->path, RN_SHARD_LIMIT);
    char *path = rn_path_join(index->host, index->directory, shard);
    if (!path) return rn_fail_memory(index->host, "path", strlen(shard));
    return rn_add_file(set, path);
}

static retnet_result rn_index_check(const rn_index *index, const rn_tensor_set *set)
{
    const char *key;
    json_t *value;
    json_object_foreach(index->map, key, value)
    {
        const char *shard = json_string_value(value);
        const rn_tensor *tensor = rn_tensor_set_find(set, key);
        if (!tensor || strcmp(rn_shard_name(index, tensor->file), shard) != 0)
            return rn_fail(index->host, RETNET_ERROR_FORMAT, "%s: tensor %s is not in %s", index->path, key, shard);
    }
    if (json_object_size(index->map) == set->count) return RETNET_OK;
    for (size_t i = 0; i < set->count; i++)
        if (!json_object_get(index->map, set->tensors[i].name))
            return rn_fail(index->host, RETNET_ERROR_FORMAT, "%s: tensor %s of %s is not in the weight_map",
                           index->path, set->tensors[i].name, set->tensors[i].file);
    return RETNET_OK;
}

static retnet_result rn_open_index(rn_host *host, const char *directory, const char *path, rn_tensor_set **out)
{
    rn_index index = {.host = host, .directory = directory, .path = path};
    rn_tensor_set *set = NULL;
    retnet_result result = rn_index_load(&index);
    if (result == RETNET_OK) result = rn_tensor_set_create(host, RN_SHARD_LIMIT, &set);
    if (result == RETNET_OK) {
        const char *key;
        json_t *value;
        json_object_foreach(index.map, key, value)
        {
            result = rn_index_open_shard(&index, set, json_string_value(value));
            if (result != RETNET_OK) break;
        }
    }
    if (result == RETNET_OK) result = rn_sort_names(set);
    if (result == RETNET_OK) result = rn_index_check(&index, set);
    if (result == RETNET_OK)
        *out = set;
    else
        rn_tensor_set_close(set);
    json_decref(index.root);
    return result;
}

retnet_result rn_tensor_set_open_directory(rn_host *host, const char *directory, rn_tensor_set **out)
{
    *out = NULL;
    retnet_result result;
    char *file = rn_path_join(host, directory, "model.safetensors");
    char *index = rn_path_join(host, directory, "model.safetensors.index.json");
    if (!file || !index)
        result = rn_fail_memory(host, "path", strlen(directory));
    else if (rn_path_exists(file))
        result = rn_open_files(host, file, out);
    else if (rn_path_exists(index))
        result = rn_open_index(host, directory, index, out);
    else
        result = rn_fail(host, RETNET_ERROR_FILE, "%s: neither model.safetensors nor model.safetensors.index.json",
                         directory);
    rn_free(host, file);
    rn_free(host, index);
    return result;
}

void rn_tensor_set_close(rn_tensor_set *set)
{
    if (!set) return;
    rn_host *host = set->host;
    for (size_t i = 0; i < set->file_count; i++) {
        rn_tensor_file *file = &set->files[i];
        json_decref(file->metadata);
        rn_file_map_close(&file->map);
        rn_free(host, file->names);
        rn_free(host, file->path);
    }
    rn_free(host, set->files);
    rn_free(host, set->tensors);
    rn_free(host, set);
}

size_t rn_tensor_set_count(const rn_tensor_set *set)
{
    return set->count;
}

const rn_tensor *rn_tensor_set_at(const rn_tensor_set *set, size_t index)
{
    return &set->tensors[index];
}

const rn_tensor *rn_tensor_set_find(const rn_tensor_set *set, const char *name)
{
    rn_tensor key = {.name = name};
    if (set->count == 0) return NULL;
    return bsearch(&key, set->tensors, set->count, sizeof(key), rn_compare_name);
}

const char *rn_tensor_set_metadata(const rn_tensor_set *set, const char *key)
{
    for (size_t i = 0; i < set->file_count; i++) {
        const char *value = json_string_value(json_object_get(set->files[i].metadata, key));
        if (value) return value;
    }
    return NULL;
}
