/* stream.c: tokens to text, never half a character. */
#include "text.h"

enum { CAPACITY = 4096, FIRST_BYTE_TOKEN = 8 };

static const char REPLACEMENT[] = "\xef\xbf\xbd";

typedef struct buffer {
    char bytes[4 * CAPACITY];
    size_t size;
} buffer;

static void append(buffer *to, const char *bytes, size_t size)
{
    REQUIRE(to->size + size < sizeof to->bytes);
    memcpy(to->bytes + to->size, bytes, size);
    to->bytes[to->size += size] = 0;
}

/* Length of the character that `text` starts with, 0 if it starts with none. Decodes to a number and looks at that,
 * unlike the library. */
static size_t character(const unsigned char *text, size_t length)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = text[0] < 0x80 ? 1 : text[0] < 0xc0 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    if (size <= 1) return size;
    if (size > length || text[0] >= 0xf8) return 0;
    uint32_t point = text[0] & (0xffu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
        point = point << 6 | (text[i] & 0x3f);
    }
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < smallest[size] || point > 0x10ffff || surrogate ? 0 : size;
}

/* What a whole decode gives: every byte that is in no character becomes U+FFFD. */
static void decode_whole(const unsigned char *bytes, size_t length, buffer *out)
{
    for (size_t i = 0; i < length;) {
        size_t size = character(bytes + i, length - i);
        append(out, size ? (const char *)bytes + i : REPLACEMENT, size ? size : 3);
        i += size ? size : 1;
    }
}

static bool is_whole(const char *text, size_t size)
{
    for (size_t i = 0, length; i < size; i += length)
        if ((length = character((const unsigned char *)text + i, size - i)) == 0) return false;
    return true;
}

static void stream_all(retnet_text_stream *stream, const int32_t *tokens, size_t count, buffer *out)
{
    const char *text;
    size_t size;
    for (size_t i = 0; i <= count; i++) {
        retnet_result result = i < count ? retnet_text_stream_add(stream, tokens[i], &text, &size)
                                         : retnet_text_stream_flush(stream, &text, &size);
        CHECK_INT(result, RETNET_OK);
        if (!is_whole(text, size)) TEST_FAIL("after token %zu: half a character", i);
        append(out, text, size);
    }
}

static void check_bytes(retnet_text_stream *stream, const unsigned char *bytes, size_t length)
{
    int32_t tokens[64];
    buffer expected = {.size = 0}, actual = {.size = 0};
    for (size_t i = 0; i < length; i++) tokens[i] = FIRST_BYTE_TOKEN + bytes[i];
    decode_whole(bytes, length, &expected);
    stream_all(stream, tokens, length, &actual);
    if (actual.size != expected.size || memcmp(actual.bytes, expected.bytes, actual.size) != 0)
        TEST_FAIL("%zu bytes from %02x: \"%s\", \"%s\" expected", length, bytes[0], actual.bytes, expected.bytes);
}

static void test_texts(const retnet_tokenizer *tokenizer, retnet_text_stream *stream)
{
    static const char *const texts[] = {"Hello, Robin! They call me Mara.",
                                        " two  spaces ",
                                        "one\nline\tand \xc3\xa9, \xe2\x82\xac, \xf0\x9f\x98\x80",
                                        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80\xf0\x9f\x8f\xbd",
                                        "<|user|> as text",
                                        ""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int32_t tokens[CAPACITY];
        size_t count = 0;
        buffer actual = {.size = 0};
        CHECK_INT(retnet_tokenizer_encode(tokenizer, texts[i], strlen(texts[i]), false, tokens, CAPACITY, &count),
                  RETNET_OK);
        stream_all(stream, tokens, count, &actual);
        CHECK_STRING(actual.bytes, texts[i]);
    }
}

/* Every prefix of an emoji, alone and followed by something that is no part of it. */
static void test_splits(retnet_text_stream *stream)
{
    static const unsigned char text[] = "a\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9z";
    for (size_t begin = 0; begin < sizeof text - 1; begin++)
        for (size_t end = begin + 1; end < sizeof text; end++) check_bytes(stream, text + begin, end - begin);
    for (size_t part = 1; part < 4; part++) {
        int32_t tokens[5];
        buffer actual = {.size = 0};
        for (size_t i = 0; i < part; i++) tokens[i] = FIRST_BYTE_TOKEN + text[1 + i];
        tokens[part] = 941; /* "Hello" */
        stream_all(stream, tokens, part + 1, &actual);
        CHECK_INT(actual.size, 3 * part + 5);
        CHECK_STRING(actual.bytes + 3 * part, "Hello");
    }
}

static void test_random_bytes(retnet_text_stream *stream)
{
    uint64_t state = 7;
    /* Mostly leading and continuing bytes, so that characters nearly come about. */
    static const unsigned char likely[] = {0xc1, 0xc2, 0xdf, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf1, 0xf4,
                                           0xf5, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xff, 0x00};
    for (int run = 0; run < 20000; run++) {
        unsigned char bytes[12];
        for (size_t i = 0; i < sizeof bytes; i++) {
            uint32_t draw = (uint32_t)((test_random(&state) + 1) * 32768);
            bytes[i] = draw & 1 ? likely[(draw >> 1) % sizeof likely] : (unsigned char)(draw >> 1);
        }
        check_bytes(stream, bytes, 1 + (size_t)run % sizeof bytes);
    }
}

static void test_promptness(retnet_text_stream *stream)
{
    static const unsigned char emoji[] = {0xf0, 0x9f, 0x98, 0x80};
    const char *text;
    size_t size;
    for (size_t i = 0; i < 4; i++) {
        CHECK_INT(retnet_text_stream_add(stream, FIRST_BYTE_TOKEN + emoji[i], &text, &size), RETNET_OK);
        CHECK_INT(size, i < 3 ? 0 : 4);
    }
    /* A byte that can begin nothing comes out at once. */
    CHECK_INT(retnet_text_stream_add(stream, FIRST_BYTE_TOKEN + 0xff, &text, &size), RETNET_OK);
    CHECK(size == 3 && memcmp(text, REPLACEMENT, 3) == 0);
    CHECK_INT(retnet_text_stream_flush(stream, &text, &size), RETNET_OK);
    CHECK_INT(size, 0);
    for (int32_t control = 1; control < 8; control++) {
        CHECK_INT(retnet_text_stream_add(stream, control, &text, &size), RETNET_OK);
        CHECK_INT(size, 0);
    }
    CHECK_INT(retnet_text_stream_add(stream, -1, &text, &size), RETNET_ERROR_INVALID_ARGUMENT);
    CHECK_INT(retnet_text_stream_add(stream, 8192, &text, &size), RETNET_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    retnet_tokenizer *tokenizer = load_tokenizer();
    retnet_text_stream *stream = NULL;
    REQUIRE(retnet_text_stream_create(tokenizer, &stream) == RETNET_OK);
    test_texts(tokenizer, stream);
    test_splits(stream);
    test_random_bytes(stream);
    test_promptness(stream);
    retnet_text_stream_destroy(stream);
    retnet_text_stream_destroy(NULL);
    retnet_tokenizer_destroy(tokenizer);
    return test_finish();
}
