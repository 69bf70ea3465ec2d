/* write_safetensors.h: small checkpoints for tests, written byte by byte and not with the code under test. */
#ifndef RETNET_TESTS_MODEL_WRITE_SAFETENSORS_H
#define RETNET_TESTS_MODEL_WRITE_SAFETENSORS_H

#include "test.h"

#include <dirent.h>
#include <stdarg.h>
#include <unistd.h>

/* ---- Files ------------------------------------------------------------------------------------------------------ */

/* A new directory under the system's place for temporary files. */
static inline void test_make_directory(char directory[64])
{
    snprintf(directory, 64, "/tmp/retnet-test-XXXXXX");
    REQUIRE(mkdtemp(directory));
}

static inline char *test_path(char path[128], const char *directory, const char *name)
{
    REQUIRE(snprintf(path, 128, "%s/%s", directory, name) < 128);
    return path;
}

/* The directory and the files in it; directories in it are left. */
static inline void test_remove_directory(const char *directory)
{
    DIR *listing = opendir(directory);
    REQUIRE(listing);
    for (struct dirent *entry; (entry = readdir(listing));) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) unlink(path);
    }
    closedir(listing);
    rmdir(directory);
}

/* A new file: some file systems wait for the disk when one is written over. */
static inline FILE *test_create_file(const char *path)
{
    unlink(path);
    FILE *file = fopen(path, "wb");
    REQUIRE(file);
    return file;
}

static inline void test_write_file(const char *path, const void *data, size_t size)
{
    FILE *file = test_create_file(path);
    REQUIRE(fwrite(data, 1, size, file) == size);
    REQUIRE(fclose(file) == 0);
}

static inline void test_write_text(const char *directory, const char *name, const char *text)
{
    char path[128];
    test_write_file(test_path(path, directory, name), text, strlen(text));
}

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

typedef struct test_tensor {
    char name[96], dtype[8];
    uint32_t rank;
    uint64_t shape[2];
    uint8_t *data;
    size_t bytes;
} test_tensor;

enum { TEST_MAX_TENSORS = 128 };

typedef struct test_tensors {
    test_tensor items[TEST_MAX_TENSORS];
    size_t count;
    uint64_t random; /* state of the values; set it before the first tensor */
} test_tensors;

/* Adds a tensor of pseudo-random values; columns 0: a vector. F32, F16, BF16, I8, or 8 bytes an element of zeros. */
static inline test_tensor *test_add(test_tensors *tensors, const char *dtype, uint64_t rows, uint64_t columns,
                                    const char *format, ...)
{
    REQUIRE(tensors->count < TEST_MAX_TENSORS);
    test_tensor *tensor = &tensors->items[tensors->count++];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(tensor->name, sizeof(tensor->name), format, arguments);
    va_end(arguments);
    snprintf(tensor->dtype, sizeof(tensor->dtype), "%s", dtype);
    tensor->rank = columns > 0 ? 2 : 1;
    tensor->shape[0] = rows;
    tensor->shape[1] = columns;
    size_t count = (size_t)(rows * (columns > 0 ? columns : 1));
    size_t size = strcmp(dtype, "F32") == 0 ? 4 : strchr(dtype, 'F') && dtype[1] != '6' ? 2 : dtype[1] == '8' ? 1 : 8;
    tensor->bytes = count * size;
    tensor->data = calloc(count + 1, size);
    REQUIRE(tensor->data);
    for (size_t i = 0; i < count; i++) {
        float value = 0.25f * test_random(&tensors->random);
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        uint16_t half = (uint16_t)(bits >> 16);
        if (strcmp(dtype, "F16") == 0) half = (uint16_t)((bits >> 16 & 0x8000) | (0x2C00 + (bits >> 13 & 0x3FF)));
        if (size == 4) memcpy(tensor->data + 4 * i, &value, 4);
        if (size == 2) memcpy(tensor->data + 2 * i, &half, 2);
        if (size == 1) tensor->data[i] = (uint8_t)(bits >> 10);
    }
    return tensor;
}

static inline test_tensor *test_find(test_tensors *tensors, const char *name)
{
    for (size_t i = 0; i < tensors->count; i++)
        if (strcmp(tensors->items[i].name, name) == 0) return &tensors->items[i];
    fprintf(stderr, "no tensor %s in this test\n", name);
    exit(1);
}

static inline void test_remove(test_tensors *tensors, const char *name)
{
    test_tensor *tensor = test_find(tensors, name);
    free(tensor->data);
    *tensor = tensors->items[--tensors->count];
}

static inline void test_free(test_tensors *tensors)
{
    for (size_t i = 0; i < tensors->count; i++) free(tensors->items[i].data);
    tensors->count = 0;
}

/* ---- safetensors ------------------------------------------------------------------------------------------------ */

/* A file of a given header and data, right or wrong. */
static inline void test_write_raw(const char *path, uint64_t length, const char *header, size_t header_bytes,
                                  const void *data, size_t data_bytes)
{
    FILE *file = test_create_file(path);
    for (int i = 0; i < 8; i++) fputc((int)(length >> (8 * i) & 0xFF), file);
    REQUIRE(fwrite(header, 1, header_bytes, file) == header_bytes);
    REQUIRE(data_bytes == 0 || fwrite(data, 1, data_bytes, file) == data_bytes);
    REQUIRE(fclose(file) == 0);
}

/* The tensors whose index is `part` modulo `parts`, in the order of the list. */
static inline void test_write_part(const test_tensors *tensors, size_t part, size_t parts, const char *path)
{
    static char header[TEST_MAX_TENSORS * 256];
    static uint8_t data[1 << 20];
    size_t length = (size_t)sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}"), bytes = 0;
    for (size_t i = part; i < tensors->count; i += parts) {
        const test_tensor *tensor = &tensors->items[i];
        length += (size_t)sprintf(header + length, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu", tensor->name,
                                  tensor->dtype, (unsigned long long)tensor->shape[0]);
        if (tensor->rank == 2)
            length += (size_t)sprintf(header + length, ",%llu", (unsigned long long)tensor->shape[1]);
        length += (size_t)sprintf(header + length, "],\"data_offsets\":[%zu,%zu]}", bytes, bytes + tensor->bytes);
        REQUIRE(bytes + tensor->bytes <= sizeof(data));
        memcpy(data + bytes, tensor->data, tensor->bytes);
        bytes += tensor->bytes;
    }
    length += (size_t)sprintf(header + length, "}");
    test_write_raw(path, length, header, length, data, bytes);
}

static inline void test_write_safetensors(const test_tensors *tensors, const char *directory)
{
    char path[128];
    test_write_part(tensors, 0, 1, test_path(path, directory, "model.safetensors"));
}

/* model-0.safetensors and so on with their index. */
static inline void test_write_shards(const test_tensors *tensors, size_t parts, const char *directory)
{
    static char text[TEST_MAX_TENSORS * 160];
    char path[128], name[40];
    size_t length = (size_t)sprintf(text, "{\"metadata\":{\"total_size\":0},\"weight_map\":{");
    for (size_t i = 0; i < tensors->count; i++)
        length += (size_t)sprintf(text + length, "%s\"%s\":\"model-%zu.safetensors\"", i > 0 ? "," : "",
                                  tensors->items[i].name, i % parts);
    sprintf(text + length, "}}");
    test_write_text(directory, "model.safetensors.index.json", text);
    for (size_t part = 0; part < parts; part++) {
        snprintf(name, sizeof(name), "model-%zu.safetensors", part);
        test_write_part(tensors, part, parts, test_path(path, directory, name));
    }
}

#endif
