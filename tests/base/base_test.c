/* Results, messages, memory, checked arithmetic, hash. */
#include "base/base.h"

#include "test.h"

static void test_results(void)
{
    CHECK_STRING(retnet_result_name(RETNET_OK), "RETNET_OK");
    CHECK_STRING(retnet_result_name(RETNET_ERROR_FILE), "RETNET_ERROR_FILE");
    CHECK_STRING(retnet_result_text(RETNET_CANCELLED), "cancelled by retnet_session_cancel or a callback");
    CHECK_STRING(retnet_result_name((retnet_result)-1000), "RETNET_UNKNOWN");
    CHECK(retnet_result_text((retnet_result)-1000)[0] != '\0');
    CHECK_STRING(retnet_weight_format_name(RETNET_WEIGHTS_BF16), "bf16");
    CHECK(retnet_weight_format_name((retnet_weight_format)99) == NULL);
}

typedef struct log_record {
    int calls;
    retnet_log_level level;
    char text[600];
} log_record;

static void record(void *user, retnet_log_level level, const char *message)
{
    log_record *log = user;
    log->calls++;
    log->level = level;
    snprintf(log->text, sizeof(log->text), "%s", message);
}

static void test_messages(void)
{
    log_record log = {0};
    rn_host host;
    char text[8];
    rn_host_init(&host, NULL, record, &log);
    CHECK_INT(rn_last_message(&host, text, sizeof(text)), 0);
    CHECK_STRING(text, "");

    CHECK_INT(rn_fail(&host, RETNET_ERROR_LIMIT, "%s: %d\n\x01", "abcdefg", 42), RETNET_ERROR_LIMIT);
    CHECK_STRING(log.text, "abcdefg: 42??"); /* one line, whatever names hold */
    CHECK_INT(log.level, RETNET_LOG_ERROR);
    CHECK_INT(rn_last_message(&host, text, sizeof(text)), 13);
    CHECK_STRING(text, "abcdefg");
    CHECK_INT(rn_last_message(&host, NULL, 0), 13);

    rn_log(&host, RETNET_LOG_INFO, "information");
    CHECK_STRING(log.text, "information");
    CHECK_INT(log.calls, 2);
    CHECK_INT(rn_last_message(&host, NULL, 0), 13); /* only errors are kept */

    char *huge = malloc(5000);
    REQUIRE(huge);
    memset(huge, 'x', 4999);
    huge[4999] = '\0';
    rn_fail(&host, RETNET_ERROR_FILE, "%s", huge);
    CHECK_INT(rn_last_message(&host, NULL, 0), sizeof(host.message) - 1);
    free(huge);

    rn_host_init(&host, NULL, NULL, NULL);
    CHECK_INT(rn_fail_memory(&host, "thing", 12345), RETNET_ERROR_OUT_OF_HOST_MEMORY);
    rn_log(&host, RETNET_LOG_ERROR, "nobody listens");
}

typedef struct heap {
    int live, calls, fail_at;
} heap;

static void *heap_allocate(void *user, size_t size)
{
    heap *counts = user;
    if (++counts->calls == counts->fail_at) return NULL;
    counts->live++;
    void *memory = malloc(size);
    if (memory) memset(memory, 0xA5, size);
    return memory;
}

static void heap_release(void *user, void *memory)
{
    heap *counts = user;
    counts->live--;
    free(memory);
}

static void test_memory(void)
{
    heap counts = {0};
    rn_host host;
    rn_host_init(&host, &(retnet_allocator){&counts, heap_allocate, heap_release}, NULL, NULL);
    uint8_t *memory = rn_alloc(&host, 7, 3);
    REQUIRE(memory);
    for (int i = 0; i < 21; i++) CHECK_INT(memory[i], 0);
    CHECK_INT(counts.live, 1);
    rn_free(&host, memory);
    rn_free(&host, NULL);
    CHECK_INT(counts.live, 0);

    void *empty = rn_alloc(&host, 0, 8);
    CHECK(empty != NULL);
    rn_free(&host, empty);
    int calls = counts.calls;
    CHECK(rn_alloc(&host, SIZE_MAX, 2) == NULL);
    CHECK(rn_alloc(&host, SIZE_MAX / 2 + 1, 2) == NULL);
    CHECK_INT(counts.calls, calls); /* an overflow does not reach the allocator */
    counts.fail_at = counts.calls + 1;
    CHECK(rn_alloc(&host, 1, 1) == NULL);
    CHECK_INT(counts.live, 0);
}

static void test_paths(void)
{
    rn_host host;
    rn_host_init(&host, NULL, NULL, NULL);
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}, {"a/b", "", "a/b/"}};
    for (size_t i = 0; i < RN_COUNT(cases); i++) {
        char *path = rn_path_join(&host, cases[i][0], cases[i][1]);
        CHECK_STRING(path, cases[i][2]);
        rn_free(&host, path);
    }
    CHECK(rn_path_exists("tests"));
    CHECK(!rn_path_exists("tests/no-such-thing"));
}

static void test_arithmetic(void)
{
    uint64_t out = 7;
    CHECK(rn_add_u64(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
    CHECK(!rn_add_u64(UINT64_MAX, 1, &out) && out == UINT64_MAX);
    CHECK(!rn_add_u64(1, UINT64_MAX, &out));
    CHECK(rn_mul_u64(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &out) && out == 0xFFFFFFFF00000000u);
    CHECK(!rn_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &out) && out == 0xFFFFFFFF00000000u);
    CHECK(!rn_mul_u64(3, UINT64_MAX / 3 + 1, &out));
    CHECK(rn_mul_u64(0, UINT64_MAX, &out) && out == 0);
    CHECK(rn_mul_u64(UINT64_MAX, 0, &out) && out == 0);
    CHECK_INT(rn_round_up(0, 256), 0);
    CHECK_INT(rn_round_up(1, 256), 256);
    CHECK_INT(rn_round_up(512, 256), 512);
    CHECK_INT(rn_divide_up(33, 32), 2);
}

/* Every single flipped bit must show, and so must two at the same place of neighbouring stripes. */
static void test_hash(void)
{
    enum { SIZE = 203 };
    uint8_t data[SIZE];
    for (int i = 0; i < SIZE; i++) data[i] = (uint8_t)(i * 37);
    uint64_t whole = rn_hash(1, data, SIZE);
    CHECK(whole == rn_hash(1, data, SIZE));
    CHECK(whole != rn_hash(2, data, SIZE));
    for (int bit = 0; bit < SIZE * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(rn_hash(1, data, SIZE) != whole);
        if (bit / 8 + 32 < SIZE) {
            data[bit / 8 + 32] ^= (uint8_t)(1 << bit % 8);
            CHECK(rn_hash(1, data, SIZE) != whole);
            data[bit / 8 + 32] ^= (uint8_t)(1 << bit % 8);
        }
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    uint8_t zeros[64] = {0};
    for (int a = 0; a < 64; a++)
        for (int b = 0; b < a; b++) CHECK(rn_hash(0, zeros, (uint64_t)a) != rn_hash(0, zeros, (uint64_t)b));
    CHECK(rn_hash(5, NULL, 0) == rn_hash(5, zeros, 0));
    /* Saved states carry hashes: the function must never change. */
    CHECK(rn_hash(1, data, SIZE) == UINT64_C(0x082F84B66CD13A67));
}

int main(void)
{
    test_results();
    test_messages();
    test_memory();
    test_paths();
    test_arithmetic();
    test_hash();
    return test_finish();
}
