/* fuzz.h: what the fuzz targets share. Each is one file with the libFuzzer entry point; it is built twice, by clang for
 * libFuzzer and in every build with replay.c, which runs the committed inputs as tests. */
#ifndef RETNET_TESTS_FUZZ_FUZZ_H
#define RETNET_TESTS_FUZZ_FUZZ_H

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, so that libFuzzer keeps the input. */
#define FUZZ_REQUIRE(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Most that the library may hold at once for an input of these few kilobytes. */
enum { FUZZ_MEMORY_LIMIT = 4 << 20 };

/* A host whose allocator stops the program at FUZZ_MEMORY_LIMIT, and at the end if something was not released. */
void fuzz_host_begin(rn_host *host);
void fuzz_host_end(rn_host *host);

/* A piece of the input, as a copy of exactly its size so that a sanitizer sees each byte too many. */
typedef struct fuzz_piece {
    uint8_t *data;
    size_t size;
} fuzz_piece;

/* Cuts a piece off: two bytes of length, little-endian, and that many bytes, or what there is. The last one takes all.
 * To be freed. */
fuzz_piece fuzz_take(const uint8_t **data, size_t *size);
fuzz_piece fuzz_rest(const uint8_t **data, size_t *size);
/* A safetensors file of a header's text and data, with the right length before them. To be freed. */
fuzz_piece fuzz_safetensors(fuzz_piece header, fuzz_piece data);

/* Files that the library finds in place of real ones (files.c), by their names without folders. */
void fuzz_file(const char *name, fuzz_piece content); /* not copied */
void fuzz_files_clear(void);

#endif
