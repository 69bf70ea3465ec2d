/* documents.c: see documents.h. */
#include "documents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct text {
    char *bytes;
    size_t size;
} text;

static bool fail(char *message, size_t size, const char *path, const char *what)
{
    snprintf(message, size, "%s: %s", path, what);
    return false;
}

static bool read_text(const char *path, text *out, char *message, size_t message_size)
{
    FILE *file = fopen(path, "rb");
    size_t capacity = 0, got = 1;
    *out = (text){0};
    if (!file) return fail(message, message_size, path, strerror(errno));
    while (got > 0) {
        if (out->size == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            char *larger = realloc(out->bytes, capacity);
            if (!larger) break;
            out->bytes = larger;
        }
        got = fread(out->bytes + out->size, 1, capacity - out->size, file);
        out->size += got;
    }
    bool failed = ferror(file);
    fclose(file);
    if (got > 0) return fail(message, message_size, path, "out of memory");
    return !failed || fail(message, message_size, path, "cannot be read");
}

/* The first line from `from` on that is the separator, with the line breaks around it; `size` if there is none. *next
 * is where the document after it starts. */
static size_t find_separator(const text *text, size_t from, const char *separator, size_t *next)
{
    size_t length = strlen(separator);
    for (size_t line = from; line < text->size;) {
        const char *newline = memchr(text->bytes + line, '\n', text->size - line);
        size_t end = newline ? (size_t)(newline - text->bytes) : text->size;
        *next = newline ? end + 1 : text->size;
        if (end - line == length && memcmp(text->bytes + line, separator, length) == 0)
            return line > from ? line - 1 : line;
        line = *next;
    }
    *next = text->size;
    return text->size;
}

static bool add_document(const documents_desc *desc, documents *documents, const char *bytes, size_t size,
                         char *message, size_t message_size)
{
    document *items = realloc(documents->items, (documents->count + 1) * sizeof *items);
    if (!items) return fail(message, message_size, desc->path, "out of memory");
    documents->items = items;
    document *document = &items[documents->count];
    *document = (struct document){.tokens = malloc((size + 2) * sizeof(int32_t))};
    if (!document->tokens) return fail(message, message_size, desc->path, "out of memory");
    documents->count++;

    size_t start = desc->first_token >= 0, encoded = 0;
    if (start) document->tokens[0] = desc->first_token;
    /* A byte is at most one token. */
    retnet_result result =
        retnet_tokenizer_encode(desc->tokenizer, bytes, size, true, document->tokens + start, size, &encoded);
    if (result != RETNET_OK) return fail(message, message_size, desc->path, retnet_result_text(result));
    document->count = start + encoded;
    if (desc->end_token >= 0) document->tokens[document->count++] = desc->end_token;
    if (desc->max_tokens && document->count > desc->max_tokens) document->count = desc->max_tokens;
    documents->tokens += document->count;
    return true;
}

bool documents_read(const documents_desc *desc, documents *documents, char *message, size_t size)
{
    text text;
    *documents = (struct documents){0};
    bool good = read_text(desc->path, &text, message, size);
    for (size_t from = 0, next; good && from < text.size; from = next) {
        size_t end = find_separator(&text, from, desc->separator, &next);
        if (end > from) good = add_document(desc, documents, text.bytes + from, end - from, message, size);
    }
    free(text.bytes);
    if (good && documents->tokens <= documents->count) good = fail(message, size, desc->path, "nothing to score");
    if (!good) documents_free(documents);
    return good;
}

void documents_free(documents *documents)
{
    for (size_t i = 0; i < documents->count; i++) free(documents->items[i].tokens);
    free(documents->items);
    *documents = (struct documents){0};
}
