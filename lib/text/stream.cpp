// stream.cpp: tokens to text. The vocabulary has pieces for single bytes, so one character may take four tokens; what
// comes out is always whole characters.
#include "tokenizer.hpp"

#include <cstdlib>
#include <new>

namespace
{

constexpr char REPLACEMENT[] = "\xef\xbf\xbd"; // U+FFFD
constexpr char SPACE_MARK[] = "\xe2\x96\x81";  // U+2581, which stands for a space in pieces

enum class Form { WHOLE, PART, BROKEN };

// What the bytes begin with: a whole character of *size bytes, a part of one, or neither. Overlong forms, surrogates
// and what lies beyond U+10FFFF are broken at the first byte that shows it.
Form utf8_form(const char *text, size_t length, size_t *size)
{
    auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned char first = byte(0), low = 0x80, high = 0xbf;
    if (first < 0x80)
        *size = 1;
    else if (first >= 0xc2 && first <= 0xdf)
        *size = 2;
    else if (first >= 0xe0 && first <= 0xef)
        *size = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        *size = 4;
    else
        return Form::BROKEN;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    for (size_t i = 1; i < *size && i < length; i++) {
        if (byte(i) < low || byte(i) > high) return Form::BROKEN;
        low = 0x80;
        high = 0xbf;
    }
    return length < *size ? Form::PART : Form::WHOLE;
}

} // namespace

struct retnet_text_stream {
    const retnet_tokenizer *tokenizer;
    std::string pending; // bytes that are not yet a whole character
    std::string ready;   // what the newest call gave out

    // Moves whole characters from pending to ready; the whole rest too if nothing can follow. As in sentencepiece,
    // each byte that belongs to no character gives one U+FFFD.
    void drain(bool last)
    {
        size_t at = 0;
        while (at < pending.size()) {
            size_t size = 0;
            Form form = utf8_form(pending.data() + at, pending.size() - at, &size);
            if (form == Form::PART && !last) break;
            if (form == Form::WHOLE) {
                ready.append(pending, at, size);
                at += size;
            } else {
                ready += REPLACEMENT;
                at++;
            }
        }
        pending.erase(0, at);
    }

    void add(int id)
    {
        const sentencepiece::SentencePieceProcessor &pieces = tokenizer->pieces;
        ready.clear();
        if (pieces.IsByte(id)) {
            const std::string &name = pieces.IdToPiece(id); // "<0xE2>"
            pending += static_cast<char>(strtoul(name.size() == 6 ? name.c_str() + 3 : "", nullptr, 16));
            drain(false);
            return;
        }
        // A character does not go on across another piece.
        drain(true);
        if (pieces.IsControl(id)) return;
        if (pieces.IsUnknown(id)) {
            ready += REPLACEMENT;
            return;
        }
        pending = pieces.IdToPiece(id);
        for (size_t at = 0; (at = pending.find(SPACE_MARK, at)) != std::string::npos; at++) pending.replace(at, 3, " ");
        drain(true);
    }
};

retnet_result retnet_text_stream_create(const retnet_tokenizer *tokenizer, retnet_text_stream **out)
{
    if (!out) return RETNET_ERROR_INVALID_ARGUMENT;
    *out = nullptr;
    if (!tokenizer) return RETNET_ERROR_INVALID_ARGUMENT;
    *out = new (std::nothrow) retnet_text_stream{tokenizer, {}, {}};
    return *out ? RETNET_OK : RETNET_ERROR_OUT_OF_HOST_MEMORY;
}

void retnet_text_stream_destroy(retnet_text_stream *stream)
{
    delete stream;
}

retnet_result retnet_text_stream_add(retnet_text_stream *stream, int32_t token, const char **text, size_t *size)
{
    if (!stream || !text || !size) return RETNET_ERROR_INVALID_ARGUMENT;
    *text = "";
    *size = 0;
    if (token < 0 || token >= stream->tokenizer->pieces.GetPieceSize()) return RETNET_ERROR_INVALID_ARGUMENT;
    try {
        stream->add(token);
    } catch (...) {
        return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    }
    *text = stream->ready.data();
    *size = stream->ready.size();
    return RETNET_OK;
}

retnet_result retnet_text_stream_flush(retnet_text_stream *stream, const char **text, size_t *size)
{
    if (!stream || !text || !size) return RETNET_ERROR_INVALID_ARGUMENT;
    *text = "";
    *size = 0;
    try {
        stream->ready.clear();
        stream->drain(true);
    } catch (...) {
        return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    }
    *text = stream->ready.data();
    *size = stream->ready.size();
    return RETNET_OK;
}
