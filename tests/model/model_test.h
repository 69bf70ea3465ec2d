/* model_test.h: a host whose newest message and memory the model tests look at. */
#ifndef RETNET_TESTS_MODEL_MODEL_TEST_H
#define RETNET_TESTS_MODEL_MODEL_TEST_H

#include "base/base.h"

#include "model/write_safetensors.h"

typedef struct test_host {
    rn_host host;
    char message[600]; /* newest */
    int live;          /* allocations */
    int calls;
    int fail_at; /* which call gives no memory; 0: none */
} test_host;

static inline void test_host_log(void *user, retnet_log_level level, const char *message)
{
    (void)level;
    snprintf(((test_host *)user)->message, 600, "%s", message);
}

static inline void *test_host_allocate(void *user, size_t size)
{
    test_host *host = user;
    if (++host->calls == host->fail_at) return NULL;
    void *memory = malloc(size);
    if (memory) host->live++;
    return memory;
}

static inline void test_host_release(void *user, void *memory)
{
    ((test_host *)user)->live -= memory != NULL;
    free(memory);
}

static inline void test_host_init(test_host *host)
{
    memset(host, 0, sizeof(*host));
    rn_host_init(&host->host, &(retnet_allocator){host, test_host_allocate, test_host_release}, test_host_log, host);
}

/* The result of a call that should have failed, with a message that holds `part`. */
#define CHECK_REFUSED(test, result, expected, part)                                                                    \
    do {                                                                                                               \
        retnet_result result_ = (result);                                                                              \
        if (result_ != (expected) || !strstr((test)->message, part))                                                   \
            TEST_FAIL("%s with \"%s\", expected %s with \"%s\"", retnet_result_name(result_), (test)->message,         \
                      retnet_result_name(expected), part);                                                             \
        (test)->message[0] = '\0';                                                                                     \
    } while (0)

#endif
