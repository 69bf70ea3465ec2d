/* shader.h: the embedded SPIR-V modules, described by a manifest that the build generates from the modules. */
#ifndef RETNET_VULKAN_SHADER_H
#define RETNET_VULKAN_SHADER_H

#include <stdint.h>

enum { RN_MAX_BINDINGS = 8 };

typedef struct rn_shader {
    const char *name;
    const uint32_t *words; /* NULL: left out, because the compiler could not build it */
    uint32_t word_count;
    uint32_t binding_count;    /* bindings are numbered from 0 without holes */
    uint32_t uniform_bindings; /* bit i: binding i is a uniform buffer */
    uint32_t texel_bindings; /* bit i: binding i is a uniform texel buffer of vectors of four; else a storage buffer */
    uint32_t float_bindings; /* bit i: of these, of fp32, else of 32-bit integers */
    uint32_t read_bindings;  /* bit i: binding i is read */
    uint32_t written_bindings; /* bit i: binding i is written */
    uint32_t push_bytes;       /* size of the push constants */
    uint32_t matrix;           /* 1: uses cooperative matrices */
    uint32_t constant_count;   /* specialisation constants are numbered from 0 to this, exclusive */
} rn_shader;

#endif
