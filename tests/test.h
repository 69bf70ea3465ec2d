/* test.h: the test programs' small frame. Assertions print both values, stay in release builds, and count. */
#ifndef RETNET_TESTS_TEST_H
#define RETNET_TESTS_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exit code that ctest counts as skipped (SKIP_RETURN_CODE). */
enum { TEST_SKIPPED = 77 };

static int test_failures;

#define TEST_FAIL(...)                                                                                                 \
    do {                                                                                                               \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                                \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        test_failures++;                                                                                               \
    } while (0)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) TEST_FAIL("failed: %s", #condition);                                                         \
    } while (0)

#define CHECK_INT(actual, expected)                                                                                    \
    do {                                                                                                               \
        long long actual_ = (long long)(actual), expected_ = (long long)(expected);                                    \
        if (actual_ != expected_) TEST_FAIL("%s is %lld, expected %lld", #actual, actual_, expected_);                 \
    } while (0)

#define CHECK_STRING(actual, expected)                                                                                 \
    do {                                                                                                               \
        const char *actual_ = (actual), *expected_ = (expected);                                                       \
        if (!actual_ || strcmp(actual_, expected_) != 0)                                                               \
            TEST_FAIL("%s is \"%s\", expected \"%s\"", #actual, actual_ ? actual_ : "(null)", expected_);              \
    } while (0)

/* Also fails on NaN. */
#define CHECK_AT_MOST(actual, limit)                                                                                   \
    do {                                                                                                               \
        double actual_ = (actual), limit_ = (limit);                                                                   \
        if (!(actual_ <= limit_)) TEST_FAIL("%s is %g, at most %g expected", #actual, actual_, limit_);                \
    } while (0)

/* For what the rest of a test cannot do without. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            TEST_FAIL("required: %s", #condition);                                                                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* RMS of the difference over RMS of the expected; NaN if anything is NaN. */
static inline double test_relative_rms(const float *actual, const double *expected, size_t count)
{
    double difference = 0, reference = 0;
    for (size_t i = 0; i < count; i++) {
        double d = actual[i] - expected[i];
        difference += d * d;
        reference += expected[i] * expected[i];
    }
    return reference > 0 ? sqrt(difference / reference) : sqrt(difference);
}

/* Deterministic pseudo-random numbers: uniform in [-1, 1). */
static inline float test_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((int32_t)(*state >> 32)) * (1.0f / 2147483648.0f);
}

static inline int test_finish(void)
{
    if (test_failures) fprintf(stderr, "%d check(s) failed\n", test_failures);
    return test_failures ? 1 : 0;
}

#endif
