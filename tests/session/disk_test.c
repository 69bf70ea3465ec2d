/* disk_test.c: saving a state when the disk is full, too small, or in the way: an error that says so, the older file as
 * it was, nothing left beside it, and a session that goes on. Loading what cannot be read changes nothing. */
#define _XOPEN_SOURCE 700
#include "session/session_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROMPT = 40 };

static session_test test;
static char path[600], part[620];
static uint8_t *older; /* what the file holds */
static size_t older_size;

static uint8_t *read_file(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");
    *size = 0;
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = session_test_alloc(1, *size);
    REQUIRE(fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

/* A save that failed, whatever it failed of. */
static void check_refused(const char *what)
{
    size_t size;
    char message[512];
    struct stat status;
    CHECK_REFUSED(retnet_session_save_file(test.session, 0, path), RETNET_ERROR_FILE);
    retnet_context_last_message(test.context, message, sizeof message);
    if (!strstr(message, path)) TEST_FAIL("%s: \"%s\" does not name the file", what, message);
    uint8_t *bytes = read_file(path, &size);
    if (size != older_size || memcmp(bytes, older, size) != 0) TEST_FAIL("%s: the older file has changed", what);
    free(bytes);
    if (lstat(part, &status) == 0) TEST_FAIL("%s: something is left at %s", what, part);
}

/* A device that takes no byte stands where the new file is written. */
static void test_full(void)
{
    if (access("/dev/full", W_OK) != 0) return;
    REQUIRE(symlink("/dev/full", part) == 0);
    check_refused("a full disk");
}

/* The system stops a file in the middle. */
static void test_short_write(void)
{
    struct rlimit before, small;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = before;
    small.rlim_cur = older_size / 2;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    check_refused("half a file");
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
}

/* Nothing can be created: a directory stands where the new file is written. */
static void test_no_file(void)
{
    REQUIRE(mkdir(part, 0700) == 0);
    CHECK_REFUSED(retnet_session_save_file(test.session, 0, path), RETNET_ERROR_FILE);
    REQUIRE(rmdir(part) == 0);
    CHECK_REFUSED(retnet_session_save_file(test.session, 0, "no/such/directory/state"), RETNET_ERROR_FILE);
}

/* The new file is whole and cannot take the older one's place, which is a directory. */
static void test_rename(void)
{
    char directory[620], beside[640];
    struct stat status;
    snprintf(directory, sizeof directory, "%s/in-the-way", test.directory);
    snprintf(beside, sizeof beside, "%s.part", directory);
    REQUIRE(mkdir(directory, 0700) == 0);
    CHECK_REFUSED(retnet_session_save_file(test.session, 0, directory), RETNET_ERROR_FILE);
    CHECK(lstat(beside, &status) != 0);
    CHECK_REFUSED(retnet_session_load_file(test.session, 0, directory), RETNET_ERROR_FILE);
    REQUIRE(rmdir(directory) == 0);
}

/* Every length that a file can be cut to, in steps, and no file at all. */
static void test_cut_short(void)
{
    char cut[620];
    snprintf(cut, sizeof cut, "%s/cut", test.directory);
    CHECK_REFUSED(retnet_session_load_file(test.session, 1, cut), RETNET_ERROR_FILE);
    for (size_t size = 0; size < older_size; size += 1 + older_size / 37) {
        FILE *file = fopen(cut, "wb");
        REQUIRE(file && fwrite(older, 1, size, file) == size && fclose(file) == 0);
        CHECK_REFUSED(retnet_session_load_file(test.session, 1, cut), RETNET_ERROR_FORMAT);
    }
    CHECK_INT(retnet_session_position(test.session, 1), 0);
}

int main(void)
{
    test = session_test_create(fixture_named("odd-v"), 2, 0);
    snprintf(path, sizeof path, "%s/state", test.directory);
    snprintf(part, sizeof part, "%s.part", path);
    int32_t *prompt = session_test_tokens(PROMPT, test.info.vocabulary_size, 1);
    session_test_read_last(test.session, 0, prompt, PROMPT, NULL);
    CHECK_OK(retnet_session_save_file(test.session, 0, path));
    older = read_file(path, &older_size);
    REQUIRE(older && older_size > 1000);
    session_test_read_last(test.session, 0, prompt, PROMPT, NULL);
    test_full();
    test_short_write();
    test_no_file();
    test_rename();
    test_cut_short();
    /* After all that, there is room again. */
    CHECK_OK(retnet_session_load_file(test.session, 1, path));
    CHECK_INT(retnet_session_position(test.session, 1), PROMPT);
    CHECK_OK(retnet_session_save_file(test.session, 0, path));
    CHECK_OK(retnet_session_load_file(test.session, 1, path));
    CHECK_INT(retnet_session_position(test.session, 1), 2 * PROMPT);
    free(prompt);
    free(older);
    session_test_destroy(&test);
    return session_test_finish(test_failures);
}
