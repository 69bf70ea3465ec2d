/* text.c: bytes to tokens and tokens to text, with the tokenizer of samples/chat. The first byte says whether markers
 * are to be read in the text. */
#include "fuzz/fuzz.h"

#include "retnet/text.h"

static bool is_utf8(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        uint8_t first = (uint8_t)text[at++];
        size_t more = first < 0x80 ? 0 : first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || more > size - at) return false;
        for (; more > 0; more--)
            if (((uint8_t)text[at++] & 0xc0) != 0x80) return false;
    }
    return true;
}

/* Every piece of text that comes out is whole characters. */
static void decode(const retnet_tokenizer *tokenizer, const int32_t *tokens, size_t count)
{
    retnet_text_stream *stream;
    const char *text;
    size_t size;
    FUZZ_REQUIRE(retnet_text_stream_create(tokenizer, &stream) == RETNET_OK);
    for (size_t i = 0; i < count; i++) {
        bool known = tokens[i] >= 0 && (uint32_t)tokens[i] < retnet_tokenizer_vocabulary_size(tokenizer);
        retnet_result result = retnet_text_stream_add(stream, tokens[i], &text, &size);
        FUZZ_REQUIRE(result == (known ? RETNET_OK : RETNET_ERROR_INVALID_ARGUMENT));
        FUZZ_REQUIRE(is_utf8(text, size));
    }
    FUZZ_REQUIRE(retnet_text_stream_flush(stream, &text, &size) == RETNET_OK && is_utf8(text, size));
    retnet_text_stream_destroy(stream);
}

static void encode(const retnet_tokenizer *tokenizer, bool special, fuzz_piece text)
{
    enum { CAPACITY = 1 << 14 };
    static int32_t tokens[CAPACITY];
    size_t count, again;
    retnet_result result =
        retnet_tokenizer_encode(tokenizer, (const char *)text.data, text.size, special, tokens, CAPACITY, &count);
    FUZZ_REQUIRE(result == (count > CAPACITY ? RETNET_ERROR_LIMIT : RETNET_OK));
    if (result != RETNET_OK) return;
    decode(tokenizer, tokens, count);
    /* Typed text cannot forge a turn. */
    int32_t user = retnet_tokenizer_piece_id(tokenizer, "<|user|>");
    for (size_t i = 0; i < count && !special; i++) FUZZ_REQUIRE(user < 0 || tokens[i] != user);
    result = retnet_tokenizer_encode(tokenizer, (const char *)text.data, text.size, special, tokens, count / 2, &again);
    FUZZ_REQUIRE(again == count && result == (count > 0 ? RETNET_ERROR_LIMIT : RETNET_OK));
}

static void decode_numbers(const retnet_tokenizer *tokenizer, fuzz_piece numbers)
{
    enum { CAPACITY = 1 << 12 };
    static int32_t tokens[CAPACITY];
    size_t count = numbers.size / 2 < CAPACITY ? numbers.size / 2 : CAPACITY;
    for (size_t i = 0; i < count; i++) {
        uint16_t number = (uint16_t)(numbers.data[2 * i] | numbers.data[2 * i + 1] << 8);
        tokens[i] = number == 0xffff ? INT32_MIN : number == 0xfffe ? INT32_MAX : number;
    }
    decode(tokenizer, tokens, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static retnet_tokenizer *tokenizer; /* one for the whole run */
    if (!tokenizer) FUZZ_REQUIRE(retnet_tokenizer_load(FUZZ_TOKENIZER, NULL, 0, &tokenizer) == RETNET_OK);
    if (size < 1) return 0;
    bool special = data[0] & 1;
    data++, size--;
    fuzz_piece bytes = fuzz_rest(&data, &size);
    encode(tokenizer, special, bytes);
    decode_numbers(tokenizer, bytes);
    free(bytes.data);
    return 0;
}
