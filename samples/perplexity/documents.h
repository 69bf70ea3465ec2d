/* documents.h: a text file as documents of tokens. */
#ifndef PERPLEXITY_DOCUMENTS_H
#define PERPLEXITY_DOCUMENTS_H

#include "retnet/text.h"

typedef struct document {
    int32_t *tokens; /* first token, text, end token, cut to the longest wanted */
    size_t count;
} document;

typedef struct documents {
    document *items;
    size_t count;
    size_t tokens; /* of all */
} documents;

typedef struct documents_desc {
    const char *path;
    const char *separator; /* a line with this and nothing else stands between two documents */
    const retnet_tokenizer *tokenizer;
    int32_t first_token, end_token; /* -1: none */
    size_t max_tokens;              /* of a document; 0: no limit */
} documents_desc;

/* False with a line for the user in `message`. */
bool documents_read(const documents_desc *desc, documents *documents, char *message, size_t size);
void documents_free(documents *documents);

#endif
