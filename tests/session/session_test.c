/* session_test.c: see session_test.h. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "session/session_test.h"
#include "pretend.h"

#include <dirent.h>
#include <unistd.h>

static bool refusal_expected;
static size_t refusals;

/* ---- Log --------------------------------------------------------------------------------------------------------- */

static bool from_validation(const char *message)
{
    return strstr(message, "VUID") || strstr(message, "SYNC-") || strstr(message, "alidation");
}

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_WARNING) fprintf(stderr, "warning: %s\n", message);
    if (level != RETNET_LOG_ERROR) return;
    if (refusal_expected && !from_validation(message))
        refusals++;
    else
        TEST_FAIL("the library logged: %s", message);
}

void session_test_begin_refusal(void)
{
    refusal_expected = true;
    refusals = 0;
}

size_t session_test_end_refusal(void)
{
    refusal_expected = false;
    return refusals;
}

int session_test_finish(int failures)
{
    test_failures += failures;
    return test_finish();
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

enum { MAX_DIRECTORIES = 64 };
static char *directories[MAX_DIRECTORIES];
static size_t directory_count;

static void remove_directory(const char *path)
{
    char file[1024];
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        unlink(file);
    }
    if (directory) closedir(directory);
    rmdir(path);
}

static void remove_directories(void)
{
    for (size_t i = 0; i < directory_count; i++) {
        remove_directory(directories[i]);
        free(directories[i]);
    }
}

void session_test_directory(char *path, size_t size)
{
    const char *root = getenv("TMPDIR");
    int length = snprintf(path, size, "%s/retnet-test-XXXXXX", root && *root ? root : "/tmp");
    REQUIRE(length > 0 && (size_t)length < size);
    REQUIRE(directory_count < MAX_DIRECTORIES);
    REQUIRE(mkdtemp(path));
    if (directory_count == 0) atexit(remove_directories);
    directories[directory_count++] = strdup(path);
}

bool session_test_exists(const char *path)
{
    return access(path, R_OK) == 0;
}

void *session_test_alloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    REQUIRE(memory);
    return memory;
}

int32_t *session_test_tokens(size_t count, uint32_t vocabulary, uint64_t seed)
{
    int32_t *tokens = session_test_alloc(count, sizeof *tokens);
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((seed >> 33) % vocabulary);
    }
    return tokens;
}

/* ---- Objects ----------------------------------------------------------------------------------------------------- */

static void require_ok(retnet_result result, const char *what)
{
    if (result == RETNET_OK) return;
    fprintf(stderr, "%s: %s\n", what, retnet_result_name(result));
    exit(1);
}

retnet_context *session_test_context_as(uint32_t pretend)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = {.log = on_log, .enable_validation = true, .pretend = pretend};
    require_ok(retnet_context_create(&desc, &context), "creating a context");
    return context;
}

retnet_context *session_test_context(void)
{
    /* The bounds are for fp32; matrix_test.c has others. */
    return session_test_context_as(test_pretend() | RETNET_PRETEND_NO_COOPERATIVE_MATRIX);
}

retnet_model *session_test_model(retnet_context *context, const char *directory, retnet_weight_format format)
{
    retnet_model *model = NULL;
    require_ok(retnet_model_load(context, &(retnet_model_desc){.path = directory, .format = format}, &model),
               directory);
    return model;
}

retnet_session *session_test_session(retnet_model *model, uint32_t slots, uint32_t prompt_chunk)
{
    return session_test_session_of(model, &(retnet_session_desc){.slots = slots, .prompt_chunk = prompt_chunk});
}

retnet_session *session_test_session_of(retnet_model *model, const retnet_session_desc *desc)
{
    retnet_session *session = NULL;
    require_ok(retnet_session_create(model, desc, &session), "creating a session");
    return session;
}

session_test session_test_open(const char *directory, uint32_t slots, uint32_t prompt_chunk)
{
    session_test test = {0};
    snprintf(test.directory, sizeof test.directory, "%s", directory);
    test.context = session_test_context();
    test.model = session_test_model(test.context, test.directory, RETNET_WEIGHTS_AS_STORED);
    test.session = session_test_session(test.model, slots, prompt_chunk);
    retnet_model_get_info(test.model, &test.info);
    test.state_size = (size_t)test.info.heads * test.info.key_size * test.info.value_size;
    return test;
}

session_test session_test_create(const fixture *f, uint32_t slots, uint32_t prompt_chunk)
{
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(f, directory);
    return session_test_open(directory, slots, prompt_chunk);
}

void session_test_destroy(session_test *test)
{
    retnet_session_destroy(test->session);
    retnet_model_destroy(test->model);
    retnet_context_destroy(test->context);
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

void session_test_read_all(retnet_session *session, uint32_t slot, const int32_t *tokens, size_t count, float *logits)
{
    retnet_span span = {.slot = slot, .tokens = tokens, .count = count, .all_logits = logits};
    require_ok(retnet_session_run(session, &span, 1), "reading tokens");
}

void session_test_read_last(retnet_session *session, uint32_t slot, const int32_t *tokens, size_t count, float *logits)
{
    retnet_span span = {.slot = slot, .tokens = tokens, .count = count, .last_logits = logits};
    require_ok(retnet_session_run(session, &span, 1), "reading tokens");
}

void session_test_read_singly(retnet_session *session, uint32_t slot, const int32_t *tokens, size_t count,
                              float *logits)
{
    retnet_model_info info;
    retnet_model_get_info(retnet_session_model(session), &info);
    for (size_t i = 0; i < count; i++)
        session_test_read_last(session, slot, tokens + i, 1, logits ? logits + i * info.vocabulary_size : NULL);
}

float *session_test_state(retnet_session *session, uint32_t slot)
{
    retnet_model_info info;
    retnet_model_get_info(retnet_session_model(session), &info);
    size_t size = (size_t)info.heads * info.key_size * info.value_size;
    float *state = session_test_alloc(info.layers * size, sizeof *state);
    for (uint32_t l = 0; l < info.layers; l++)
        require_ok(retnet_session_get_state(session, slot, l, state + l * size), "getting a state");
    return state;
}

/* ---- Comparisons ------------------------------------------------------------------------------------------------- */

void session_test_check_logits(const char *what, const float *logits, const double *expected, size_t count,
                               size_t vocabulary, size_t first)
{
    double worst = -1;
    size_t row = 0, wrong = 0;
    for (size_t i = 0; i < count * vocabulary; i++) {
        double error = fabs(logits[i] - expected[i]), limit = first + i / vocabulary < 2 ? 2e-3 : 2e-4;
        if (error <= limit) continue;
        wrong++;
        if (!(error <= worst)) {
            worst = error;
            row = first + i / vocabulary;
        }
    }
    if (wrong) TEST_FAIL("%s: %zu logits are wrong, the worst by %g at position %zu", what, wrong, worst, row);
}

void session_test_check_rms(const char *what, const float *actual, const double *expected, size_t count, double limit)
{
    double rms = test_relative_rms(actual, expected, count);
    if (!(rms <= limit)) TEST_FAIL("%s: relative RMS error %g, at most %g expected", what, rms, limit);
}

double session_test_company(const retnet_model *model)
{
    retnet_device_info info;
    retnet_context_device_info(retnet_model_context(model), &info);
    return info.is_cpu ? 0 : 2e-3;
}

void session_test_check_same(const char *what, const float *actual, const float *expected, size_t count, double limit)
{
    double *wide = session_test_alloc(count, sizeof *wide);
    for (size_t i = 0; i < count; i++) wide[i] = expected[i];
    session_test_check_rms(what, actual, wide, count, limit);
    free(wide);
}
