/* fixture.h: small checkpoints with random weights, written by the tests that read them. */
#ifndef RETNET_TESTS_FIXTURE_H
#define RETNET_TESTS_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum fixture_dtype { FIXTURE_F32, FIXTURE_F16, FIXTURE_BF16 } fixture_dtype;

typedef struct fixture {
    const char *name;
    bool torchscale; /* else fla */
    uint32_t hidden; /* a power of two in fla, so that expand_k and expand_v are exact */
    uint32_t layers; /* 0: 2 */
    uint32_t heads;
    uint32_t kv_heads; /* fla; 0: heads */
    uint32_t key_size; /* torchscale: hidden / heads */
    uint32_t value_size;
    uint32_t ffn;
    uint32_t vocabulary; /* 0: 96 */
    bool tied;
    bool no_gate, no_group_norm_weight, legacy_gate_proj; /* fla */
    bool gelu, scale_embedding, embedding_norm, rel_pos;  /* torchscale; rel_pos: angle and decay buffers, with a
                                                             decay of the test's own */
    bool old, old_inner_norm; /* torchscale until September 2023: biases, layer norms, plain feed-forward layer; with a
                                 norm inside that */
    bool relu;                /* instead of gelu */
    bool lm_head;             /* torchscale: the ports' name for output_projection, outside the prefix */
    const char *prefix;       /* torchscale: before every tensor's name; NULL: none */
    double eps;               /* 0: 1e-6 */
    fixture_dtype dtype;
    uint64_t seed;
} fixture;

/* Fixtures that between them have everything that a config can ask for; the last has a NULL name. */
extern const fixture fixtures[];
const fixture *fixture_named(const char *name); /* ends the program if there is none */

/* Writes config.json and model.safetensors into an existing directory; a failure ends the program. */
void fixture_write(const fixture *f, const char *directory);

#endif
