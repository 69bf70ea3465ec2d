/* checkpoint_reader.h: what the dialects share: taking tensors out of a set under checks, until none is left. */
#ifndef RETNET_MODEL_CHECKPOINT_READER_H
#define RETNET_MODEL_CHECKPOINT_READER_H

#include "model/checkpoint.h"

/* The first error sticks; the functions below then do nothing. */
typedef struct rn_checkpoint_reader {
    rn_host *host;
    const char *directory; /* for messages */
    const char *prefix;    /* before every name below */
    bool headers_only;     /* leave the weights' content unread */
    rn_checkpoint *checkpoint;
    bool *used; /* [tensors of the set] */
    retnet_result result;
} rn_checkpoint_reader;

/* A matrix's place among the rows of its tensor. */
typedef struct rn_rows {
    uint32_t all, first, count;
} rn_rows;

/* The tensor of this name behind the prefix, or NULL. Does not mark it as used. */
const rn_tensor *rn_reader_find(const rn_checkpoint_reader *reader, const char *format, ...) RN_PRINTF(2, 3);
/* Accepts a tensor that has no influence. */
void rn_reader_ignore(rn_checkpoint_reader *reader, const rn_tensor *tensor); /* NULL: nothing */
/* Take a tensor that must be there with this shape. A quantised matrix has its scales in NAME_scale. */
void rn_reader_matrix(rn_checkpoint_reader *reader, rn_matrix_source *out, rn_rows rows, uint32_t columns,
                      const char *format, ...) RN_PRINTF(5, 6);
void rn_reader_vector(rn_checkpoint_reader *reader, rn_vector_source *out, uint32_t size, const char *format, ...)
    RN_PRINTF(4, 5);
/* Refuses a tensor whose name has the part of a variant that is not supported: less clear than a name that is missing
 * or left over would be. */
typedef struct rn_variant {
    const char *part, *what; /* "a mixture of experts" */
} rn_variant;
void rn_reader_refuse_variants(rn_checkpoint_reader *reader, const rn_variant *variants, size_t count);
/* The output matrix `name` (with its prefix), or the embedding if tied; a tied checkpoint may hold an equal copy. */
void rn_reader_head(rn_checkpoint_reader *reader, const char *name);

static inline rn_rows rn_all_rows(uint32_t count)
{
    return (rn_rows){.all = count, .count = count};
}

/* checkpoint_fla.c, checkpoint_torchscale.c: fill the checkpoint's sources, and in its config what only the tensors
 * tell. checkpoint->layers is allocated. */
void rn_checkpoint_read_fla(rn_checkpoint_reader *reader);
void rn_checkpoint_read_torchscale(rn_checkpoint_reader *reader);

#endif
