/* golden.h: numbers recorded from other implementations, from safetensors and JSON files. */
#ifndef RETNET_TESTS_GOLDEN_H
#define RETNET_TESTS_GOLDEN_H

#include "model/safetensors.h"

#include <jansson.h>

/* A file that a test cannot do without: a failure to read it ends the program with a message. */
typedef struct golden_file {
    rn_host host;
    rn_tensor_set *tensors;
    const char *path;
} golden_file;

bool golden_exists(const char *path);
void golden_open(golden_file *file, const char *path);
void golden_close(golden_file *file);

const rn_tensor *golden_find(const golden_file *file, const char *name); /* NULL if absent */
/* Elements of a tensor, to be freed: integers of 32 or 64 bits, reals of 32 or 64. Absent or of another size: the
 * program ends. */
int32_t *golden_integers(const golden_file *file, const char *name);
double *golden_reals(const golden_file *file, const char *name);

json_t *golden_json(const char *path);
const json_t *golden_member(const json_t *object, const char *key); /* ends the program if it is absent */
/* The integers of a JSON array, to be freed. */
int32_t *golden_json_integers(const json_t *object, const char *key, size_t *count);

#endif
