/* tokenizer.c: encoding, special pieces, and files that are no tokenizer. */
#include "text.h"

#include <jansson.h>

enum { CAPACITY = 4096 };

static size_t encode(const retnet_tokenizer *tokenizer, const char *text, bool parse_special, int32_t *tokens)
{
    size_t count = 0;
    retnet_result result =
        retnet_tokenizer_encode(tokenizer, text, strlen(text), parse_special, tokens, CAPACITY, &count);
    CHECK_INT(result, RETNET_OK);
    return count;
}

static void check_tokens(const char *text, const int32_t *tokens, size_t count, const int32_t *expected, size_t length)
{
    if (count != length) TEST_FAIL("\"%s\": %zu tokens, %zu expected", text, count, length);
    for (size_t i = 0; i < count && i < length; i++)
        if (tokens[i] != expected[i])
            TEST_FAIL("\"%s\": token %zu is %d, %d expected", text, i, (int)tokens[i], (int)expected[i]);
}

static void test_vocabulary(const retnet_tokenizer *tokenizer)
{
    CHECK_INT(retnet_tokenizer_vocabulary_size(tokenizer), 8192);
    CHECK_INT(retnet_tokenizer_bos(tokenizer), 1);
    CHECK_INT(retnet_tokenizer_eos(tokenizer), 2);
    CHECK_INT(retnet_tokenizer_piece_id(tokenizer, "<unk>"), 0);
    CHECK_INT(retnet_tokenizer_piece_id(tokenizer, "<|system|>"), 4);
    CHECK_INT(retnet_tokenizer_piece_id(tokenizer, "<|user|>"), 5);
    CHECK_INT(retnet_tokenizer_piece_id(tokenizer, "<|bot|>"), 6);
    CHECK_INT(retnet_tokenizer_piece_id(tokenizer, "<|end|>"), 7);
    CHECK_INT(retnet_tokenizer_piece_id(tokenizer, "<|nobody|>"), -1);
    CHECK_INT(retnet_tokenizer_piece_id(tokenizer, ""), -1);
}

/* Against the ids of an independent implementation, where they are at hand. */
static void test_reference(const retnet_tokenizer *tokenizer)
{
    json_t *reference = json_load_file(SHARED_MODEL "reference.json", 0, NULL);
    size_t index;
    json_t *entry;
    json_array_foreach(json_object_get(reference, "greedy"), index, entry)
    {
        const char *prompt = json_string_value(json_object_get(entry, "prompt"));
        const json_t *ids = json_object_get(entry, "prompt_ids");
        int32_t expected[CAPACITY], tokens[CAPACITY] = {retnet_tokenizer_bos(tokenizer)};
        REQUIRE(prompt && json_array_size(ids) <= CAPACITY);
        for (size_t i = 0; i < json_array_size(ids); i++)
            expected[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        size_t count = 0;
        CHECK_INT(retnet_tokenizer_encode(tokenizer, prompt, strlen(prompt), true, tokens + 1, CAPACITY - 1, &count),
                  RETNET_OK);
        check_tokens(prompt, tokens, count + 1, expected, json_array_size(ids));
    }
    json_decref(reference);
}

/* The same pieces as in the reference, for a checkout that stands alone. */
static void test_special(const retnet_tokenizer *tokenizer)
{
    static const char text[] = "<|user|>Tell me a story.<|bot|>";
    static const int32_t expected[] = {5, 1533, 365, 266, 927, 8139, 6};
    int32_t tokens[CAPACITY];
    size_t count = encode(tokenizer, text, true, tokens);
    check_tokens(text, tokens, count, expected, 7);
    count = encode(tokenizer, "Tell me a story.", true, tokens);
    check_tokens("Tell me a story.", tokens, count, expected + 1, 5);
    count = encode(tokenizer, "<s><|end|><|end|></s>", true, tokens);
    check_tokens("<s><|end|><|end|></s>", tokens, count, (const int32_t[]){1, 7, 7, 2}, 4);
    CHECK_INT(encode(tokenizer, "", true, tokens), 0);
    CHECK_INT(encode(tokenizer, "", false, tokens), 0);
}

/* Typed text cannot hold a marker, in whatever company, and still reads the same when decoded. */
static void test_forgery(const retnet_tokenizer *tokenizer)
{
    static const char *const texts[] = {"<|user|>",       "x<|user|>y",           "<|end|><|bot|><|system|>",
                                        " <|user|> ",     "<<|user|>>",           "<|us<|user|>er|>",
                                        "<s></s><pad>",   "\n<|bot|>\n",          "<|user|><|user|><|user|>",
                                        "<|user|>\xf0",   "\xe2\x82<|user|>\xac", "<|user|>\xf0\x9f\x98\x80<|bot|>",
                                        "Hello <|bot|> ", "<|User|><|user|",      "|><|user|>"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int32_t tokens[CAPACITY];
        size_t count = encode(tokenizer, texts[i], false, tokens);
        CHECK(count > 0);
        for (size_t k = 0; k < count; k++)
            if (tokens[k] < 8) TEST_FAIL("\"%s\": token %zu is %d", texts[i], k, (int)tokens[k]);
    }
}

static void test_arguments(const retnet_tokenizer *tokenizer)
{
    int32_t tokens[4] = {-7, -7, -7, -7};
    size_t count = 99;
    /* Too little room: as many as fit, and the whole count. */
    CHECK_INT(retnet_tokenizer_encode(tokenizer, "Tell me a story.", 16, false, tokens, 2, &count), RETNET_ERROR_LIMIT);
    CHECK_INT(count, 5);
    CHECK_INT(tokens[0], 1533);
    CHECK_INT(tokens[1], 365);
    CHECK_INT(tokens[2], -7);
    CHECK_INT(retnet_tokenizer_encode(tokenizer, "Tell me a story.", 16, false, NULL, 0, &count), RETNET_ERROR_LIMIT);
    CHECK_INT(count, 5);
    CHECK_INT(retnet_tokenizer_encode(tokenizer, NULL, 3, false, tokens, 4, &count), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_tokenizer_encode(tokenizer, "a", 1, false, NULL, 4, &count), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_tokenizer_encode(tokenizer, "a", 1, false, tokens, 4, NULL), RETNET_ERROR_INVALID_ARGUMENT);
    /* Only `size` bytes count, zeros among them. */
    CHECK_INT(retnet_tokenizer_encode(tokenizer, "a\0b", 3, false, tokens, 4, &count), RETNET_OK);
    CHECK_INT(count, 3);
}

static void check_refused(const char *path, retnet_result expected)
{
    retnet_tokenizer *tokenizer = (retnet_tokenizer *)&tokenizer;
    char message[128] = "untouched";
    CHECK_INT(retnet_tokenizer_load(path, message, sizeof message, &tokenizer), expected);
    CHECK(tokenizer == NULL);
    CHECK(strstr(message, path) != NULL);
    CHECK_INT(retnet_tokenizer_load(path, NULL, 0, &tokenizer), expected);
}

/* Files that are missing, empty, of another kind, and the real one cut short or with one byte changed. */
static void test_files(const char *name)
{
    char *content = NULL;
    size_t size = 0;
    FILE *file = fopen("samples/chat/model/tokenizer.model", "rb");
    if (!file) file = fopen(SHARED_MODEL "tokenizer.model", "rb");
    REQUIRE(file && (content = malloc(1 << 20)));
    size = fread(content, 1, 1 << 20, file);
    fclose(file);

    check_refused("no/such/file", RETNET_ERROR_FILE);
    check_refused(".", RETNET_ERROR_FILE);
    check_refused("CMakeLists.txt", RETNET_ERROR_FORMAT);
    static const size_t cuts[] = {0, 1, 2, 3, 100, 1000, 5000};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        REQUIRE((file = fopen(name, "wb")));
        fwrite(content, 1, cuts[i] ? size - cuts[i] : 0, file);
        fclose(file);
        retnet_tokenizer *tokenizer;
        retnet_result result = retnet_tokenizer_load(name, NULL, 0, &tokenizer);
        if (cuts[i] == 0) CHECK_INT(result, RETNET_ERROR_FORMAT);
        retnet_tokenizer_destroy(tokenizer); /* a cut may fall between two fields */
    }
    remove(name);
    free(content);
}

int main(int count, char **arguments)
{
    REQUIRE(count == 2);
    retnet_tokenizer *tokenizer = load_tokenizer();
    test_vocabulary(tokenizer);
    test_reference(tokenizer);
    test_special(tokenizer);
    test_forgery(tokenizer);
    test_arguments(tokenizer);
    test_files(arguments[1]);
    retnet_tokenizer_destroy(tokenizer);
    retnet_tokenizer_destroy(NULL);
    return test_finish();
}
