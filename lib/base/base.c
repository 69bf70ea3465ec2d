#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *retnet_result_name(retnet_result result)
{
    switch (result) {
#define RN_RESULT_NAME(name, value, text)                                                                              \
    case RETNET_##name: return "RETNET_" #name;
        RETNET_RESULTS(RN_RESULT_NAME)
#undef RN_RESULT_NAME
    }
    return "RETNET_UNKNOWN";
}

const char *retnet_result_text(retnet_result result)
{
    switch (result) {
#define RN_RESULT_TEXT(name, value, text)                                                                              \
    case RETNET_##name: return text;
        RETNET_RESULTS(RN_RESULT_TEXT)
#undef RN_RESULT_TEXT
    }
    return "not a result of this library";
}

const char *retnet_weight_format_name(retnet_weight_format format)
{
    switch (format) {
    case RETNET_WEIGHTS_AS_STORED: return "as stored";
    case RETNET_WEIGHTS_F32: return "f32";
    case RETNET_WEIGHTS_F16: return "f16";
    case RETNET_WEIGHTS_BF16: return "bf16";
    case RETNET_WEIGHTS_Q8: return "q8";
    case RETNET_WEIGHTS_Q4: return "q4";
    }
    return NULL;
}

static void *rn_default_allocate(void *user, size_t size)
{
    (void)user;
    return malloc(size);
}

static void rn_default_release(void *user, void *memory)
{
    (void)user;
    free(memory);
}

void rn_host_init(rn_host *host, const retnet_allocator *allocator, retnet_log_fn log, void *log_user)
{
    memset(host, 0, sizeof(*host));
    atomic_flag_clear(&host->message_lock);
    if (allocator && allocator->allocate && allocator->release)
        host->allocator = *allocator;
    else
        host->allocator = (retnet_allocator){.allocate = rn_default_allocate, .release = rn_default_release};
    host->log = log;
    host->log_user = log_user;
}

void *rn_alloc(rn_host *host, size_t count, size_t size)
{
    uint64_t bytes;
    if (!rn_mul_u64(count, size, &bytes) || bytes > SIZE_MAX) return NULL;
    if (bytes == 0) bytes = 1;
    void *memory = host->allocator.allocate(host->allocator.user, (size_t)bytes);
    if (memory) memset(memory, 0, (size_t)bytes);
    return memory;
}

void rn_free(rn_host *host, void *memory)
{
    if (memory) host->allocator.release(host->allocator.user, memory);
}

/* Messages are short and rare: spinning is cheaper than a mutex, and needs no platform code. */
static void rn_message_lock(rn_host *host)
{
    while (atomic_flag_test_and_set_explicit(&host->message_lock, memory_order_acquire)) {}
}

static void rn_message_unlock(rn_host *host)
{
    atomic_flag_clear_explicit(&host->message_lock, memory_order_release);
}

/* Tensor and field names come from files: a message stays one line whatever they contain. */
static void rn_make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

retnet_result(rn_fail)(rn_host *host, retnet_result result, const char *format, ...)
{
    char message[sizeof(host->message)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    rn_make_printable(message);

    rn_message_lock(host);
    memcpy(host->message, message, sizeof(message));
    rn_message_unlock(host);
    if (host->log) host->log(host->log_user, RETNET_LOG_ERROR, message);
    return result;
}

retnet_result(rn_fail_memory)(rn_host *host, const char *what, uint64_t bytes)
{
    return rn_fail(host, RETNET_ERROR_OUT_OF_HOST_MEMORY, "%s: no host memory for %llu bytes", what,
                   (unsigned long long)bytes);
}

void rn_log(rn_host *host, retnet_log_level level, const char *format, ...)
{
    if (!host->log) return;
    char message[sizeof(host->message)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    rn_make_printable(message);
    host->log(host->log_user, level, message);
}

size_t rn_last_message(rn_host *host, char *buffer, size_t size)
{
    rn_message_lock(host);
    size_t length = strlen(host->message);
    if (size > 0) {
        size_t copied = length < size ? length : size - 1;
        memcpy(buffer, host->message, copied);
        buffer[copied] = '\0';
    }
    rn_message_unlock(host);
    return length;
}

bool rn_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b > UINT64_MAX - a) return false;
    *out = a + b;
    return true;
}

bool rn_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a != 0 && b > UINT64_MAX / a) return false;
    *out = a * b;
    return true;
}

/* FNV-1a over words instead of bytes. The shift after the multiplication is what FNV lacks at this width: products
 * carry upwards only, so that two flipped sign bits could cancel. */
static uint64_t rn_hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 32);
}

uint64_t rn_hash(uint64_t seed, const void *data, uint64_t size)
{
    /* Four lanes hide the latency of the multiplication. */
    uint64_t lanes[4] = {seed, seed + 1, seed + 2, seed + 3};
    const uint8_t *bytes = data;
    uint64_t left = size;
    for (; left >= 32; left -= 32, bytes += 32) {
        uint64_t words[4];
        memcpy(words, bytes, sizeof(words));
        for (int i = 0; i < 4; i++) lanes[i] = rn_hash_word(lanes[i], words[i]);
    }
    uint64_t hash = rn_hash_word(seed, size);
    for (int i = 0; i < 4; i++) hash = rn_hash_word(hash, lanes[i]);
    while (left > 0) {
        size_t part = left < 8 ? (size_t)left : 8;
        uint64_t word = 0;
        memcpy(&word, bytes, part);
        hash = rn_hash_word(hash, word);
        bytes += part;
        left -= part;
    }
    return rn_hash_word(hash, 0);
}

char *rn_path_join(rn_host *host, const char *directory, const char *name)
{
    size_t directory_length = strlen(directory), name_length = strlen(name);
    char *path = rn_alloc(host, directory_length + name_length + 2, 1);
    if (!path) return NULL;
    memcpy(path, directory, directory_length);
    if (directory_length > 0 && path[directory_length - 1] != '/') path[directory_length++] = '/';
    memcpy(path + directory_length, name, name_length + 1);
    return path;
}
