/* snapshot_test.c: saved slots, in memory and in files: they come back as they were; damaged, cut, foreign ones are
 * refused, and the session is then as it was. */
#define _XOPEN_SOURCE 700 /* setrlimit, truncate */
#include "base/base.h"
#include "session/session_test.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PROMPT = 30, MORE = 5 };

typedef struct blob {
    uint8_t *bytes;
    size_t size;
} blob;

typedef struct snapshots {
    session_test test;
    int32_t *tokens; /* [PROMPT + MORE] */
    float *logits;   /* after each of the last MORE, as they must come again */
    size_t logits_size;
    int32_t generated[MORE]; /* greedily, after the prompt */
    blob saved;              /* slot 0, after the prompt */
} snapshots;

static blob save(retnet_session *session, uint32_t slot)
{
    blob b = {0};
    size_t size = 0;
    CHECK_OK(retnet_session_save(session, slot, NULL, 0, &b.size));
    REQUIRE(b.size > 0);
    b.bytes = session_test_alloc(b.size, 1);
    CHECK_OK(retnet_session_save(session, slot, b.bytes, b.size, &size));
    CHECK_INT(size, b.size);
    return b;
}

/* The saved slot and `more` zeros, to be freed. */
static uint8_t *copy_of_saved(const snapshots *s, size_t more)
{
    uint8_t *bytes = session_test_alloc(s->saved.size + more, 1);
    memcpy(bytes, s->saved.bytes, s->saved.size);
    return bytes;
}

/* The slot stands after the prompt, and goes on as recorded, to the bit; it then stands after the prompt again. */
static void check_goes_on(snapshots *s, uint32_t slot, const char *what)
{
    float *logits = session_test_alloc(1, s->logits_size);
    uint32_t other = slot == 3 ? 2 : 3;
    CHECK_INT(retnet_session_position(s->test.session, slot), PROMPT);
    CHECK_OK(retnet_session_fork(s->test.session, slot, other));
    session_test_read_singly(s->test.session, other, s->tokens + PROMPT, MORE, logits);
    if (memcmp(logits, s->logits, s->logits_size) != 0) TEST_FAIL("%s: the slot goes on otherwise", what);
    free(logits);
}

/* Slot 0 still stands after the prompt, is saved as before, and generates what it would have. */
static void check_unharmed(snapshots *s, const char *what)
{
    uint32_t other = 3;
    int32_t generated[MORE];
    blob now = save(s->test.session, 0);
    if (now.size != s->saved.size || memcmp(now.bytes, s->saved.bytes, now.size) != 0)
        TEST_FAIL("%s: slot 0 is saved otherwise than before", what);
    free(now.bytes);
    check_goes_on(s, 0, what);
    CHECK_OK(retnet_session_fork(s->test.session, 0, other));
    retnet_generation generation = {.slots = &other, .slot_count = 1, .max_tokens = MORE, .tokens = generated};
    CHECK_OK(retnet_session_generate(s->test.session, &generation));
    if (memcmp(generated, s->generated, sizeof generated) != 0) TEST_FAIL("%s: other tokens are generated", what);
}

/* Loading into slot 0, which stands after the prompt, is refused with a message that has `part`. */
static void refuse(snapshots *s, const void *bytes, size_t size, retnet_result expected, const char *part,
                   const char *what)
{
    char message[300];
    session_test_begin_refusal();
    retnet_result result = retnet_session_load(s->test.session, 0, bytes, size);
    if (session_test_end_refusal() == 0) TEST_FAIL("%s: no message", what);
    if (result != expected)
        TEST_FAIL("%s: %s, expected %s", what, retnet_result_name(result), retnet_result_name(expected));
    retnet_context_last_message(s->test.context, message, sizeof message);
    if (!strstr(message, part)) TEST_FAIL("%s: \"%s\" does not say \"%s\"", what, message, part);
    CHECK_INT(retnet_session_position(s->test.session, 0), PROMPT);
}

static void test_round_trip(snapshots *s)
{
    blob first = save(s->test.session, 0);
    CHECK_OK(retnet_session_load(s->test.session, 1, first.bytes, first.size));
    check_goes_on(s, 1, "loaded from memory");
    blob second = save(s->test.session, 1);
    CHECK_INT(second.size, first.size);
    CHECK(second.size == first.size && memcmp(first.bytes, second.bytes, first.size) == 0);

    /* A slot that has other things on its mind, and one that generates at once: the last logits came along. */
    int32_t generated[2][MORE];
    session_test_read_last(s->test.session, 2, s->tokens, 3, NULL);
    CHECK_OK(retnet_session_load(s->test.session, 2, first.bytes, first.size));
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t slot = 1 + i;
        retnet_generation generation = {.slots = &slot, .slot_count = 1, .max_tokens = MORE, .tokens = generated[i]};
        if (i == 0) CHECK_OK(retnet_session_fork(s->test.session, 0, 1));
        CHECK_OK(retnet_session_generate(s->test.session, &generation));
    }
    CHECK(memcmp(generated[0], generated[1], sizeof generated[0]) == 0);

    /* A slot whose position was declared: its recent tokens are not known, and that is saved too. */
    CHECK_OK(retnet_session_set_position(s->test.session, 1, 3));
    blob declared = save(s->test.session, 1);
    CHECK_OK(retnet_session_load(s->test.session, 2, declared.bytes, declared.size));
    CHECK_INT(retnet_session_position(s->test.session, 2), 3);
    free(declared.bytes);

    /* An empty slot is a slot. */
    CHECK_OK(retnet_session_reset(s->test.session, 1));
    blob empty = save(s->test.session, 1);
    CHECK_OK(retnet_session_load(s->test.session, 2, empty.bytes, empty.size));
    CHECK_INT(retnet_session_position(s->test.session, 2), 0);
    free(first.bytes);
    free(second.bytes);
    free(empty.bytes);
}

static void test_short_capacity(snapshots *s)
{
    size_t size = 0;
    blob b = save(s->test.session, 0);
    uint8_t *bytes = session_test_alloc(b.size + 16, 1);
    memset(bytes, 0xab, b.size + 16);
    CHECK_REFUSED(retnet_session_save(s->test.session, 0, bytes, b.size - 1, &size), RETNET_ERROR_LIMIT);
    CHECK_INT(size, b.size);
    for (size_t i = b.size - 1; i < b.size + 16; i++) CHECK_INT(bytes[i], 0xab);
    CHECK_OK(retnet_session_save(s->test.session, 0, bytes, b.size + 16, &size));
    CHECK_INT(size, b.size);
    for (size_t i = b.size; i < b.size + 16; i++) CHECK_INT(bytes[i], 0xab);
    free(bytes);
    free(b.bytes);
}

/* ---- Damage ------------------------------------------------------------------------------------------------------ */

/* Where the header's fields are: the format is a promise to files that there are. */
enum {
    VERSION_AT = 8,
    FLAGS_AT = 12,
    MODEL_AT = 16,
    POSITION_AT = 24,
    LAYERS_AT = 32,
    RECENT_COUNT_AT = 52,
    TOKENS_AT = 56
};

/* Any flipped bit. */
static void test_flipped_bits(snapshots *s)
{
    char what[64];
    uint8_t *bytes = copy_of_saved(s, 0);
    for (size_t at = 0; at < s->saved.size; at++) {
        const char *part = at < VERSION_AT ? "not a saved state" : at < FLAGS_AT ? "version" : "damaged";
        for (int bit = 0; bit < 8; bit++) {
            snprintf(what, sizeof what, "bit %d flipped in byte %zu", bit, at);
            bytes[at] ^= (uint8_t)(1 << bit);
            refuse(s, bytes, s->saved.size, RETNET_ERROR_FORMAT, part, what); /* damage, also in the model's hash */
            bytes[at] ^= (uint8_t)(1 << bit);
        }
        if (at % 1009 == 0) check_unharmed(s, what);
    }
    check_unharmed(s, what);
    CHECK_OK(retnet_session_load(s->test.session, 0, bytes, s->saved.size)); /* all bits are back */
    free(bytes);
}

/* Every length but the right one. */
static void test_lengths(snapshots *s)
{
    char what[64];
    uint8_t *bytes = copy_of_saved(s, 64);
    for (size_t size = 0; size < s->saved.size + 64; size++) {
        const char *part = size < TOKENS_AT + 8 ? "not a saved state" : size < s->saved.size ? "cut short" : "damaged";
        snprintf(what, sizeof what, "the first %zu bytes of %zu", size, s->saved.size);
        if (size != s->saved.size) refuse(s, bytes, size, RETNET_ERROR_FORMAT, part, what);
    }
    check_unharmed(s, "cut at any length");
    memset(bytes, 0, s->saved.size);
    refuse(s, bytes, s->saved.size, RETNET_ERROR_FORMAT, "not a saved state", "zeros");
    free(bytes);
}

/* Fields that no save writes, under a checksum that is right. */
static void test_impossible(snapshots *s)
{
    const retnet_result format = RETNET_ERROR_FORMAT, mismatch = RETNET_ERROR_MISMATCH;
    const struct {
        const char *what;
        size_t at;
        uint64_t value;
        size_t size; /* of the field */
        retnet_result expected;
        const char *part;
    } cases[] = {
        {"a later version", VERSION_AT, 2, 4, format, "version 2 of the format, 1 expected"},
        {"version 0", VERSION_AT, 0, 4, format, "version 0 of the format, 1 expected"},
        {"an unknown flag", FLAGS_AT, 3, 4, format, "impossible position or flags"},
        {"no logits", FLAGS_AT, 0, 4, format, "expected"},
        {"another model", MODEL_AT, 1, 8, mismatch, "saved by model 0000000000000001"},
        {"a position that no slot reaches", POSITION_AT, (1 << 30) + 1, 8, format, "impossible position or flags"},
        {"more recent tokens than tokens", POSITION_AT, PROMPT - 1, 8, format, "impossible position or flags"},
        {"another number of layers", LAYERS_AT, 3, 4, mismatch, "saved by model"},
        {"too many recent tokens", RECENT_COUNT_AT, 257, 4, format, "impossible position or flags"},
        {"fewer recent tokens than follow", RECENT_COUNT_AT, PROMPT - 1, 4, format, "expected"},
        {"a token beyond the vocabulary", TOKENS_AT, s->test.info.vocabulary_size, 4, format, "outside the vocabulary"},
        {"a negative token", TOKENS_AT + 4 * (PROMPT - 1), UINT32_MAX, 4, format, "token -1 outside the vocabulary"},
    };
    for (size_t i = 0; i < RN_COUNT(cases); i++) {
        uint8_t *bytes = copy_of_saved(s, 0);
        uint64_t far = 1000; /* where as many recent tokens as one likes would be possible */
        if (cases[i].at == RECENT_COUNT_AT) memcpy(bytes + POSITION_AT, &far, sizeof far);
        memcpy(bytes + cases[i].at, &cases[i].value, cases[i].size);
        uint64_t checksum = rn_hash(0, bytes, s->saved.size - sizeof checksum);
        memcpy(bytes + s->saved.size - sizeof checksum, &checksum, sizeof checksum);
        refuse(s, bytes, s->saved.size, cases[i].expected, cases[i].part, cases[i].what);
        check_unharmed(s, cases[i].what);
        free(bytes);
    }
}

/* States of models of the same shape with other weights, with another config, and of another shape. */
static void test_other_models(snapshots *s)
{
    fixture other = *fixture_named("odd-v");
    for (int i = 0; i < 3; i++) {
        char directory[512];
        const char *const names[] = {"other weights", "another eps", "another shape"};
        if (i == 0) other.seed++;
        if (i == 1) other = *fixture_named("odd-v"), other.eps = 1e-5;
        if (i == 2) other = *fixture_named("gqa");
        session_test_directory(directory, sizeof directory);
        fixture_write(&other, directory);
        retnet_model *model = session_test_model(s->test.context, directory, RETNET_WEIGHTS_AS_STORED);
        retnet_session *session = session_test_session(model, 1, 0);
        session_test_read_last(session, 0, s->tokens, 3, NULL);
        blob b = save(session, 0);
        refuse(s, b.bytes, b.size, RETNET_ERROR_MISMATCH, "saved by model", names[i]);
        check_unharmed(s, names[i]);
        free(b.bytes);
        retnet_session_destroy(session);
        retnet_model_destroy(model);
    }
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static size_t files_in(const char *path)
{
    size_t count = 0;
    DIR *directory = opendir(path);
    REQUIRE(directory);
    for (struct dirent *entry; (entry = readdir(directory));) count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file);
    REQUIRE(size == 0 || fwrite(bytes, size, 1, file) == 1);
    REQUIRE(fclose(file) == 0);
}

/* Another process with the same checkpoint, as far as a test can be one: a new context, model and session. */
static void check_restart(snapshots *s, const char *path)
{
    float *logits = session_test_alloc(1, s->logits_size);
    retnet_context *context = session_test_context();
    retnet_model *model = session_test_model(context, s->test.directory, RETNET_WEIGHTS_AS_STORED);
    retnet_session *session = session_test_session(model, 2, 0);
    CHECK_OK(retnet_session_load_file(session, 1, path));
    CHECK_INT(retnet_session_position(session, 1), PROMPT);
    session_test_read_singly(session, 1, s->tokens + PROMPT, MORE, logits);
    CHECK(memcmp(logits, s->logits, s->logits_size) == 0);
    free(logits);
    retnet_session_destroy(session);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
}

static void check_file_refused(snapshots *s, const char *path, retnet_result expected)
{
    CHECK_REFUSED(retnet_session_load_file(s->test.session, 0, path), expected);
    check_unharmed(s, path);
}

static void test_files(snapshots *s)
{
    char directory[512], path[600], bad[600];
    session_test_directory(directory, sizeof directory);
    snprintf(path, sizeof path, "%s/slot", directory);
    snprintf(bad, sizeof bad, "%s/bad", directory);
    CHECK_OK(retnet_session_save_file(s->test.session, 0, path));
    CHECK_OK(retnet_session_save_file(s->test.session, 0, path)); /* over the older one */
    CHECK_INT(files_in(directory), 1);
    CHECK_OK(retnet_session_load_file(s->test.session, 1, path));
    check_goes_on(s, 1, "loaded from a file");
    check_restart(s, path);

    write_file(bad, s->saved.bytes, s->saved.size);
    for (size_t size = s->saved.size; size-- > 0;) {
        REQUIRE(truncate(bad, (off_t)size) == 0);
        CHECK_REFUSED(retnet_session_load_file(s->test.session, 0, bad), RETNET_ERROR_FORMAT);
        CHECK_INT(retnet_session_position(s->test.session, 0), PROMPT);
    }
    check_unharmed(s, "from files cut at any length");
    uint8_t *damaged = copy_of_saved(s, 0);
    damaged[s->saved.size / 2] ^= 16;
    write_file(bad, damaged, s->saved.size);
    check_file_refused(s, bad, RETNET_ERROR_FORMAT);
    free(damaged);
    snprintf(bad, sizeof bad, "%s/absent", directory);
    check_file_refused(s, bad, RETNET_ERROR_FILE);
    check_file_refused(s, directory, RETNET_ERROR_FILE);
    snprintf(bad, sizeof bad, "%s/absent/slot", directory);
    CHECK_REFUSED(retnet_session_save_file(s->test.session, 0, bad), RETNET_ERROR_FILE);
}

/* A save that runs out of space leaves the older file, and nothing else. */
static void test_failed_save(snapshots *s)
{
    char directory[512], path[600];
    session_test_directory(directory, sizeof directory);
    snprintf(path, sizeof path, "%s/slot", directory);
    CHECK_OK(retnet_session_save_file(s->test.session, 0, path));
    session_test_read_last(s->test.session, 1, s->tokens, 1, NULL);

    struct rlimit old, small;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = (struct rlimit){.rlim_cur = 1000, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN); /* so that the write fails rather than the program */
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    session_test_begin_refusal(); /* no output until the limit is gone: it might go to a file */
    retnet_result result = retnet_session_save_file(s->test.session, 1, path);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK(session_test_end_refusal() > 0);
    CHECK_INT(result, RETNET_ERROR_FILE);
    CHECK_INT(files_in(directory), 1);
    CHECK_OK(retnet_session_load_file(s->test.session, 1, path));
    check_goes_on(s, 1, "the older file");
}

int main(void)
{
    snapshots s = {.test = session_test_create(fixture_named("odd-v"), 4, 0)};
    s.tokens = session_test_tokens(PROMPT + MORE, s.test.info.vocabulary_size, 99);
    s.logits_size = (size_t)MORE * s.test.info.vocabulary_size * sizeof *s.logits;
    s.logits = session_test_alloc(1, s.logits_size);
    session_test_read_last(s.test.session, 0, s.tokens, PROMPT, NULL);
    CHECK_OK(retnet_session_fork(s.test.session, 0, 1));
    session_test_read_singly(s.test.session, 1, s.tokens + PROMPT, MORE, s.logits);
    check_goes_on(&s, 0, "forked");
    retnet_generation generation = {
        .slots = (const uint32_t[]){2}, .slot_count = 1, .max_tokens = MORE, .tokens = s.generated};
    CHECK_OK(retnet_session_fork(s.test.session, 0, 2));
    CHECK_OK(retnet_session_generate(s.test.session, &generation));
    s.saved = save(s.test.session, 0);

    test_round_trip(&s);
    test_short_capacity(&s);
    test_flipped_bits(&s);
    test_lengths(&s);
    test_impossible(&s);
    test_other_models(&s);
    test_files(&s);
    test_failed_save(&s);
    free(s.tokens);
    free(s.logits);
    free(s.saved.bytes);
    session_test_destroy(&s.test);
    return session_test_finish(test_failures);
}
