/* session_test.h: what the end-to-end tests share. They use the public interface alone, on whatever Vulkan device there
 * is, under the validation layers; a line of the log at RETNET_LOG_ERROR that no test asked for fails the test. */
#ifndef RETNET_TESTS_SESSION_TEST_H
#define RETNET_TESTS_SESSION_TEST_H

#include "retnet/retnet.h"
#include "session/fixture.h"
#include "test.h"

#define SHARED "../shared" /* seen from the repository, where ctest runs tests */

/* ---- Objects: a failure to make one ends the program ------------------------------------------------------------- */

retnet_context *session_test_context(void); /* without matrix units */
retnet_context *session_test_context_as(uint32_t pretend);
retnet_model *session_test_model(retnet_context *context, const char *directory, retnet_weight_format format);
retnet_session *session_test_session(retnet_model *model, uint32_t slots, uint32_t prompt_chunk);
retnet_session *session_test_session_of(retnet_model *model, const retnet_session_desc *desc);

/* A context, a model of a fixture and a session: what most tests need. */
typedef struct session_test {
    retnet_context *context;
    retnet_model *model;
    retnet_session *session;
    retnet_model_info info;
    size_t state_size; /* of one layer */
    char directory[512];
} session_test;

session_test session_test_open(const char *directory, uint32_t slots, uint32_t prompt_chunk);
session_test session_test_create(const fixture *f, uint32_t slots, uint32_t prompt_chunk);
void session_test_destroy(session_test *test);

/* A new empty directory; all of them are removed with their files at the end of the program. */
void session_test_directory(char *path, size_t size);
bool session_test_exists(const char *path);
void *session_test_alloc(size_t count, size_t size); /* zeroed; ends the program rather than return NULL */
int32_t *session_test_tokens(size_t count, uint32_t vocabulary, uint64_t seed); /* random, to be freed */

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

/* From here on, until the end, errors of the library are expected in the log; validation messages never are. */
void session_test_begin_refusal(void);
size_t session_test_end_refusal(void); /* how many there were */
/* This program's exit code; test_failures of the test's own file is passed in. */
int session_test_finish(int failures);

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        retnet_result result_ = (call);                                                                                \
        if (result_ != RETNET_OK) TEST_FAIL("%s gave %s", #call, retnet_result_name(result_));                         \
    } while (0)

/* The call gives `expected`, which is an error, and says why in the log. */
#define CHECK_REFUSED(call, expected)                                                                                  \
    do {                                                                                                               \
        session_test_begin_refusal();                                                                                  \
        retnet_result result_ = (call);                                                                                \
        size_t lines_ = session_test_end_refusal();                                                                    \
        if (result_ != (expected))                                                                                     \
            TEST_FAIL("%s gave %s, expected %s", #call, retnet_result_name(result_), retnet_result_name(expected));    \
        if (lines_ == 0) TEST_FAIL("%s was refused without a message", #call);                                         \
    } while (0)

/* The same for a call that has no object whose log it could write to. */
#define CHECK_RESULT(call, expected)                                                                                   \
    do {                                                                                                               \
        session_test_begin_refusal();                                                                                  \
        retnet_result result_ = (call);                                                                                \
        session_test_end_refusal();                                                                                    \
        if (result_ != (expected))                                                                                     \
            TEST_FAIL("%s gave %s, expected %s", #call, retnet_result_name(result_), retnet_result_name(expected));    \
    } while (0)

/* Reads tokens into a slot; logits after every token, or after the last, or NULL. Ends the program if it fails. */
void session_test_read_all(retnet_session *session, uint32_t slot, const int32_t *tokens, size_t count, float *logits);
void session_test_read_last(retnet_session *session, uint32_t slot, const int32_t *tokens, size_t count, float *logits);
/* One call a token: the recurrent form. Logits after every token, or NULL. */
void session_test_read_singly(retnet_session *session, uint32_t slot, const int32_t *tokens, size_t count,
                              float *logits);
/* The slot's state of all layers [layers, H, K, V], to be freed. */
float *session_test_state(retnet_session *session, uint32_t slot);

/* ---- Comparisons ------------------------------------------------------------------------------------------------- */

/* Logits [count, vocabulary] against the expected ones: within 2e-4, and within 2e-3 at positions 0 and 1, where a
 * tiny q.k can turn a whole head over (retnet.md 5.4). `first` is the position of the first row. */
void session_test_check_logits(const char *what, const float *logits, const double *expected, size_t count,
                               size_t vocabulary, size_t first);
/* How far, in relative RMS, a slot may be from the same slot alone: not at all on CPUs. GPUs have other kernels for
 * other numbers of rows, which round in other places, and matrix units take activations as f16. */
double session_test_company(const retnet_model *model);
/* At most `limit` relative RMS apart. */
void session_test_check_rms(const char *what, const float *actual, const double *expected, size_t count, double limit);
void session_test_check_same(const char *what, const float *actual, const float *expected, size_t count, double limit);

#endif
