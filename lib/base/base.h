/* base.h: what every part of the library stands on: errors with messages, host memory, checked arithmetic. */
#ifndef RETNET_BASE_BASE_H
#define RETNET_BASE_BASE_H

#include "retnet/retnet.h"

#include <stdatomic.h>

#if defined(__MINGW32__)
#define RN_PRINTF(format_at, first) __attribute__((__format__(__gnu_printf__, format_at, first)))
#elif defined(__GNUC__)
#define RN_PRINTF(format_at, first) __attribute__((__format__(__printf__, format_at, first)))
#else
#define RN_PRINTF(format_at, first)
#endif

#define RN_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The host's services of one context: memory, log and the newest error message. Shared by everything made from it. */
typedef struct rn_host {
    retnet_allocator allocator; /* both functions set */
    retnet_log_fn log;          /* NULL: no log */
    void *log_user;
    atomic_flag message_lock;
    char message[512];
} rn_host;

/* Copies the callbacks; a NULL allocator becomes malloc and free. `allocator` itself may be NULL. */
void rn_host_init(rn_host *host, const retnet_allocator *allocator, retnet_log_fn log, void *log_user);

/* Zeroed memory for `count` elements of `size` bytes, or NULL (also on overflow). count 0 gives a valid pointer. */
void *rn_alloc(rn_host *host, size_t count, size_t size);
void rn_free(rn_host *host, void *memory); /* accepts NULL */

/* Stores and logs the message and returns `result`, so that `return rn_fail(...)` reads well. The message names what
 * was wrong and where; it does not repeat the result's own text. */
retnet_result rn_fail(rn_host *host, retnet_result result, const char *format, ...) RN_PRINTF(3, 4);
/* rn_fail for a failed rn_alloc of something, named by `what`. */
retnet_result rn_fail_memory(rn_host *host, const char *what, uint64_t bytes);
#ifdef __clang_analyzer__ /* which sees one file at a time, and would think that a failure may return RETNET_OK */
#define rn_fail(host, result, ...) ((void)(rn_fail)(host, result, __VA_ARGS__), (result))
#define rn_fail_memory(host, what, bytes) ((void)(rn_fail_memory)(host, what, bytes), RETNET_ERROR_OUT_OF_HOST_MEMORY)
#endif
void rn_log(rn_host *host, retnet_log_level level, const char *format, ...) RN_PRINTF(3, 4);
/* Copies the newest message, cut to `size` - 1 bytes, and returns its whole length. Any thread. */
size_t rn_last_message(rn_host *host, char *buffer, size_t size);

/* Checked arithmetic: false on overflow, *out then unchanged. */
bool rn_add_u64(uint64_t a, uint64_t b, uint64_t *out);
bool rn_mul_u64(uint64_t a, uint64_t b, uint64_t *out);

static inline uint64_t rn_round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}
static inline uint32_t rn_divide_up(uint32_t value, uint32_t divisor)
{
    return (value + divisor - 1) / divisor;
}
static inline uint32_t rn_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}
static inline uint64_t rn_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
static inline uint32_t rn_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* A 64-bit hash for telling contents apart and for finding damage, not for secrets. Chains: pass the last hash as the
 * next seed. Equal on all little-endian machines; runs at the speed of memory. */
uint64_t rn_hash(uint64_t seed, const void *data, uint64_t size);

/* DIRECTORY/NAME from rn_alloc, or NULL. */
char *rn_path_join(rn_host *host, const char *directory, const char *name);
/* True if there is something of this name, whatever it is. */
bool rn_path_exists(const char *path);

/* A whole file mapped read-only. Paths are UTF-8. A file that another program cuts short while it is mapped can fault,
 * as mapped files do. */
typedef struct rn_file_map {
    const uint8_t *data; /* NULL for an empty file */
    uint64_t size;
} rn_file_map;

retnet_result rn_file_map_open(rn_host *host, const char *path, rn_file_map *map);
void rn_file_map_close(rn_file_map *map); /* accepts a zeroed map */
/* Writes PATH.part and renames it, so that a failure leaves an older file whole. */
retnet_result rn_file_write(rn_host *host, const char *path, const void *data, size_t size);

/* IEEE half precision and bfloat16 conversions, round to nearest even. */
float rn_f16_to_f32(uint16_t value);
uint16_t rn_f32_to_f16(float value);
float rn_bf16_to_f32(uint16_t value);
uint16_t rn_f32_to_bf16(float value);

#endif
