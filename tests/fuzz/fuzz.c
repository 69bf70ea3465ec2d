#include "fuzz/fuzz.h"

static size_t held;

static void *allocate(void *user, size_t size)
{
    (void)user;
    size_t *memory = malloc(size + 16);
    if (!memory) return NULL;
    held += size;
    FUZZ_REQUIRE(held <= FUZZ_MEMORY_LIMIT);
    memory[0] = size;
    return (char *)memory + 16;
}

static void release(void *user, void *memory)
{
    (void)user;
    if (!memory) return;
    size_t *begin = (size_t *)(void *)((char *)memory - 16);
    held -= begin[0];
    free(begin);
}

/* Messages are formatted, as they are for a host that logs. */
static void log_message(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    (void)level;
    FUZZ_REQUIRE(message && message[0]);
}

void fuzz_host_begin(rn_host *host)
{
    held = 0;
    rn_host_init(host, &(retnet_allocator){NULL, allocate, release}, log_message, NULL);
}

void fuzz_host_end(rn_host *host)
{
    (void)host;
    FUZZ_REQUIRE(held == 0);
}

static fuzz_piece copy(const uint8_t **data, size_t *size, size_t bytes)
{
    fuzz_piece piece = {malloc(bytes > 0 ? bytes : 1), bytes};
    FUZZ_REQUIRE(piece.data);
    if (bytes > 0) memcpy(piece.data, *data, bytes);
    *data += bytes;
    *size -= bytes;
    return piece;
}

fuzz_piece fuzz_take(const uint8_t **data, size_t *size)
{
    if (*size < 2) return copy(data, size, 0);
    size_t bytes = (*data)[0] | (size_t)(*data)[1] << 8;
    *data += 2;
    *size -= 2;
    return copy(data, size, bytes < *size ? bytes : *size);
}

fuzz_piece fuzz_rest(const uint8_t **data, size_t *size)
{
    return copy(data, size, *size);
}

fuzz_piece fuzz_safetensors(fuzz_piece header, fuzz_piece data)
{
    fuzz_piece file = {malloc(8 + header.size + data.size), 8 + header.size + data.size};
    FUZZ_REQUIRE(file.data);
    for (size_t i = 0; i < 8; i++) file.data[i] = (uint8_t)((uint64_t)header.size >> (8 * i));
    memcpy(file.data + 8, header.data, header.size);
    memcpy(file.data + 8 + header.size, data.data, data.size);
    return file;
}
