/* golden.c: see golden.h. */
#include "reference/golden.h"
#include "reference/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void stop(const char *path, const char *what, const char *name)
{
    fprintf(stderr, "%s: %s%s%s\n", path, what, name ? " " : "", name ? name : "");
    exit(1);
}

bool golden_exists(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file) fclose(file);
    return file != NULL;
}

void golden_open(golden_file *file, const char *path)
{
    rn_host_init(&file->host, NULL, NULL, NULL);
    file->path = path;
    if (rn_tensor_set_open_file(&file->host, path, &file->tensors) != RETNET_OK) stop(path, file->host.message, NULL);
}

void golden_close(golden_file *file)
{
    rn_tensor_set_close(file->tensors);
    file->tensors = NULL;
}

const rn_tensor *golden_find(const golden_file *file, const char *name)
{
    return rn_tensor_set_find(file->tensors, name);
}

/* The loader knows no 64-bit types, for no weight has one; what a tensor holds follows from its role and size. */
static size_t element_size(const golden_file *file, const char *name)
{
    const rn_tensor *tensor = golden_find(file, name);
    if (!tensor) stop(file->path, "no tensor", name);
    if (tensor->elements == 0) stop(file->path, "empty tensor", name);
    size_t size = (size_t)(tensor->bytes / tensor->elements);
    if (size != 4 && size != 8) stop(file->path, "neither 32 nor 64 bits an element in", name);
    return size;
}

int32_t *golden_integers(const golden_file *file, const char *name)
{
    size_t size = element_size(file, name);
    const rn_tensor *tensor = golden_find(file, name);
    int32_t *values = ref_alloc(tensor->elements, sizeof *values);
    /* The low half of a little-endian 64-bit integer comes first. */
    for (size_t i = 0; i < tensor->elements; i++) memcpy(&values[i], tensor->data + i * size, 4);
    return values;
}

double *golden_reals(const golden_file *file, const char *name)
{
    size_t size = element_size(file, name);
    const rn_tensor *tensor = golden_find(file, name);
    double *values = ref_alloc(tensor->elements, sizeof *values);
    for (size_t i = 0; i < tensor->elements; i++) {
        float single;
        memcpy(size == 4 ? (void *)&single : (void *)&values[i], tensor->data + i * size, size);
        if (size == 4) values[i] = single;
    }
    return values;
}

json_t *golden_json(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (!json) stop(path, error.text, NULL);
    return json;
}

const json_t *golden_member(const json_t *object, const char *key)
{
    const json_t *member = json_object_get(object, key);
    if (!member) stop("JSON", "no member", key);
    return member;
}

int32_t *golden_json_integers(const json_t *object, const char *key, size_t *count)
{
    const json_t *array = golden_member(object, key);
    *count = json_array_size(array);
    int32_t *values = ref_alloc(*count, sizeof *values);
    for (size_t i = 0; i < *count; i++) values[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return values;
}
