/* embed.c: build tool. Turns SPIR-V modules into C: their words, and a manifest read from the modules themselves
 * (bindings with their access, push-constant size, specialisation constants), so that shader and host cannot drift
 * apart.
 *
 *     embed OUT.c OUT.h NAME=FILE.spv ...      an absent FILE makes an entry without words
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OP_NAME_MAX_IDS = 65536,
    OP_CAPABILITY = 17,
    CAPABILITY_COOPERATIVE_MATRIX = 6022,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23,
    OP_TYPE_IMAGE = 25,
    OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32,
    OP_VARIABLE = 59,
    OP_DECORATE = 71,
    OP_MEMBER_DECORATE = 72,
    DECORATION_SPEC_ID = 1,
    DECORATION_BLOCK = 2,
    DECORATION_NON_WRITABLE = 24,
    DECORATION_NON_READABLE = 25,
    DECORATION_BINDING = 33,
    DECORATION_OFFSET = 35,
    STORAGE_CONSTANT = 0,
    STORAGE_UNIFORM = 2,
    STORAGE_PUSH_CONSTANT = 9,
    STORAGE_BUFFER = 12,
    MAX_BINDINGS = 8,
    MAX_MEMBERS = 64
};

typedef struct id_info {
    uint32_t op, pointee, storage, binding, non_writable, non_readable, bytes;
    uint32_t members, member_types[MAX_MEMBERS], member_offsets[MAX_MEMBERS];
} id_info;

typedef struct manifest {
    uint32_t bindings, uniform, texels, float_texels, read, written, push_bytes, matrix, constants;
} manifest;

static void fail(const char *file, const char *why)
{
    fprintf(stderr, "embed: %s: %s\n", file, why);
    exit(1);
}

static uint32_t *read_words(const char *path, uint32_t *count)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    if (size < 20 || size % 4) fail(path, "not a SPIR-V module");
    uint32_t *words = malloc((size_t)size);
    if (!words || fread(words, 1, (size_t)size, file) != (size_t)size) fail(path, "cannot be read");
    fclose(file);
    if (words[0] != 0x07230203u) fail(path, "not a SPIR-V module of this machine's byte order");
    *count = (uint32_t)(size / 4);
    return words;
}

static void read_decoration(id_info *ids, const uint32_t *word, manifest *out)
{
    id_info *id = &ids[word[1]];
    switch (word[2]) {
    case DECORATION_SPEC_ID:
        if (word[3] + 1 > out->constants) out->constants = word[3] + 1;
        break;
    case DECORATION_BINDING: id->binding = word[3] + 1; break;
    case DECORATION_NON_WRITABLE: id->non_writable = 1; break;
    case DECORATION_NON_READABLE: id->non_readable = 1; break;
    default: break;
    }
}

static void read_member_decoration(const char *path, id_info *ids, const uint32_t *word)
{
    id_info *id = &ids[word[1]];
    if (word[2] >= MAX_MEMBERS) fail(path, "too many members in a block");
    if (word[3] == DECORATION_OFFSET) id->member_offsets[word[2]] = word[4];
    if (word[3] == DECORATION_NON_WRITABLE) id->non_writable = 1;
    if (word[3] == DECORATION_NON_READABLE) id->non_readable = 1;
}

static uint32_t block_size(const id_info *ids, const id_info *block)
{
    uint32_t size = 0;
    for (uint32_t i = 0; i < block->members; i++) {
        uint32_t end = block->member_offsets[i] + ids[block->member_types[i]].bytes;
        if (end > size) size = end;
    }
    return size;
}

static void read_variable(const char *path, const id_info *ids, uint32_t variable, manifest *out)
{
    const id_info *id = &ids[variable], *block = &ids[ids[id->pointee].pointee];
    if (id->storage == STORAGE_PUSH_CONSTANT) out->push_bytes = block_size(ids, block);
    bool texels = id->storage == STORAGE_CONSTANT && block->op == OP_TYPE_IMAGE;
    if (id->storage != STORAGE_BUFFER && id->storage != STORAGE_UNIFORM && !texels) return;
    uint32_t binding = id->binding - 1;
    if (!id->binding || binding >= MAX_BINDINGS) fail(path, "a buffer has no binding, or too high a one");
    uint32_t bit = 1u << binding;
    if (binding + 1 > out->bindings) out->bindings = binding + 1;
    /* Several variables may view one binding: what any of them does counts. */
    if (id->storage == STORAGE_UNIFORM) out->uniform |= bit;
    if (texels) out->texels |= bit;
    if (texels && ids[block->pointee].op == OP_TYPE_FLOAT) out->float_texels |= bit;
    if (!(id->non_readable | block->non_readable)) out->read |= bit;
    if (id->storage == STORAGE_BUFFER && !(id->non_writable | block->non_writable)) out->written |= bit;
}

static manifest describe(const char *path, const uint32_t *words, uint32_t count)
{
    manifest out = {0};
    uint32_t bound = words[3];
    if (bound > OP_NAME_MAX_IDS) fail(path, "too many ids");
    id_info *ids = calloc(bound, sizeof *ids);
    if (!ids) fail(path, "out of memory");
    for (uint32_t i = 5; i < count; i += words[i] >> 16) {
        const uint32_t *w = &words[i];
        uint32_t op = w[0] & 0xffff, length = w[0] >> 16;
        if (length == 0 || i + length > count) fail(path, "malformed");
        if (op == OP_CAPABILITY && w[1] == CAPABILITY_COOPERATIVE_MATRIX) out.matrix = 1;
        if (op == OP_DECORATE) read_decoration(ids, w, &out);
        if (op == OP_MEMBER_DECORATE) read_member_decoration(path, ids, w);
        if (op == OP_TYPE_INT || op == OP_TYPE_FLOAT) ids[w[1]].bytes = w[2] / 8;
        if (op == OP_TYPE_FLOAT || op == OP_TYPE_IMAGE) ids[w[1]].op = op;
        if (op == OP_TYPE_IMAGE) ids[w[1]].pointee = w[2];
        if (op == OP_TYPE_VECTOR) ids[w[1]].bytes = ids[w[2]].bytes * w[3];
        if (op == OP_TYPE_STRUCT) {
            ids[w[1]].members = length - 2;
            for (uint32_t m = 0; m < length - 2 && m < MAX_MEMBERS; m++) ids[w[1]].member_types[m] = w[2 + m];
        }
        if (op == OP_TYPE_POINTER) ids[w[1]].pointee = w[3];
        if (op == OP_VARIABLE) {
            ids[w[2]].op = op;
            ids[w[2]].pointee = w[1];
            ids[w[2]].storage = w[3];
        }
    }
    for (uint32_t i = 0; i < bound; i++)
        if (ids[i].op == OP_VARIABLE) read_variable(path, ids, i, &out);
    free(ids);
    return out;
}

static void write_upper(FILE *file, const char *name)
{
    for (; *name; name++) fputc(*name >= 'a' && *name <= 'z' ? *name - 32 : *name, file);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: embed OUT.c OUT.h NAME=FILE.spv ...\n");
        return 2;
    }
    FILE *source = fopen(argv[1], "w"), *header = fopen(argv[2], "w");
    if (!source || !header) fail(argv[1], "cannot be written");
    fprintf(header, "/* Generated from the SPIR-V modules. */\n#ifndef RETNET_SHADERS_H\n#define RETNET_SHADERS_H\n\n"
                    "#include \"vulkan/shader.h\"\n\nenum {\n");
    fprintf(source, "/* Generated from the SPIR-V modules. */\n#include \"shaders.h\"\n\n");
    manifest *entries = calloc((size_t)argc, sizeof *entries);
    uint32_t *counts = calloc((size_t)argc, sizeof *counts);
    if (!entries || !counts) fail(argv[1], "out of memory");
    for (int i = 3; i < argc; i++) {
        char *path = strchr(argv[i], '=');
        if (!path) fail(argv[i], "NAME=FILE expected");
        *path++ = 0;
        uint32_t *words = read_words(path, &counts[i]);
        fprintf(header, "    RN_SHADER_");
        write_upper(header, argv[i]);
        fprintf(header, ",\n");
        if (!words) continue;
        entries[i] = describe(path, words, counts[i]);
        fprintf(source, "static const uint32_t %s_words[] = {", argv[i]);
        for (uint32_t w = 0; w < counts[i]; w++) fprintf(source, "%s0x%08xu,", w % 8 ? " " : "\n    ", words[w]);
        fprintf(source, "\n};\n\n");
        free(words);
    }
    fprintf(header, "    RN_SHADER_COUNT\n};\n\nextern const rn_shader rn_shaders[RN_SHADER_COUNT];\n\n#endif\n");
    fprintf(source, "const rn_shader rn_shaders[RN_SHADER_COUNT] = {\n");
    for (int i = 3; i < argc; i++) {
        const manifest *m = &entries[i];
        fprintf(source, "    {\"%s\", ", argv[i]);
        if (counts[i])
            fprintf(source, "%s_words, ", argv[i]);
        else
            fprintf(source, "0, ");
        fprintf(source, "%uu, %uu, 0x%xu, 0x%xu, 0x%xu, 0x%xu, 0x%xu, %uu, %uu, %uu},\n", counts[i], m->bindings,
                m->uniform, m->texels, m->float_texels, m->read, m->written, m->push_bytes, m->matrix, m->constants);
    }
    fprintf(source, "};\n");
    free(entries);
    free(counts);
    return fclose(source) | fclose(header) ? 1 : 0;
}
