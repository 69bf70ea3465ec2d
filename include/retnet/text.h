/* text.h: text to tokens and back, for hosts that want it. A separate library (retnet_text) over sentencepiece; the
 * core library does not need it.
 *
 * Threads: a tokenizer is immutable after creation and may be shared; a stream belongs to one thread at a time.
 */
#ifndef RETNET_TEXT_H
#define RETNET_TEXT_H

#include "retnet/retnet.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A vocabulary: text to tokens. */
typedef struct retnet_tokenizer retnet_tokenizer;

/* Loads a sentencepiece model file ("tokenizer.model"). On failure *out is NULL and, if `message` is not NULL, up to
 * `message_size` - 1 bytes that say why are written there. Errors: FILE, FORMAT, OUT_OF_HOST_MEMORY. */
RETNET_API retnet_result retnet_tokenizer_load(const char *path, char *message, size_t message_size,
                                               retnet_tokenizer **out);
RETNET_API void retnet_tokenizer_destroy(retnet_tokenizer *tokenizer); /* accepts NULL */

/* How many pieces there are: tokens are from 0 to this, exclusive. */
RETNET_API uint32_t retnet_tokenizer_vocabulary_size(const retnet_tokenizer *tokenizer);
/* The id of a piece such as "<|user|>", or -1. */
RETNET_API int32_t retnet_tokenizer_piece_id(const retnet_tokenizer *tokenizer, const char *piece);
RETNET_API int32_t retnet_tokenizer_bos(const retnet_tokenizer *tokenizer); /* -1: none */
RETNET_API int32_t retnet_tokenizer_eos(const retnet_tokenizer *tokenizer); /* -1: none */

/* Encodes `size` bytes of UTF-8 (invalid bytes are replaced as sentencepiece does). Writes at most `capacity` ids to
 * `tokens` and the number there are to *count; RETNET_ERROR_LIMIT if they did not fit. With `parse_special` false the
 * names of control pieces in the text ("<|user|>") are encoded as ordinary characters, so that typed text cannot forge
 * a turn. */
RETNET_API retnet_result retnet_tokenizer_encode(const retnet_tokenizer *tokenizer, const char *text, size_t size,
                                                 bool parse_special, int32_t *tokens, size_t capacity, size_t *count);

/* Streaming detokenisation: bytes come out as soon as they form whole UTF-8 characters, never half of one. */
typedef struct retnet_text_stream retnet_text_stream;
/* A stream of one answer after another. The tokenizer must outlive it. Errors: INVALID_ARGUMENT, OUT_OF_HOST_MEMORY. */
RETNET_API retnet_result retnet_text_stream_create(const retnet_tokenizer *tokenizer, retnet_text_stream **out);
RETNET_API void retnet_text_stream_destroy(retnet_text_stream *stream); /* accepts NULL */
/* Adds a token and points *text at the `*size` bytes that became whole (valid until the next call on the stream).
 * Control pieces give no text. */
RETNET_API retnet_result retnet_text_stream_add(retnet_text_stream *stream, int32_t token, const char **text,
                                                size_t *size);
/* Ends the text: incomplete bytes come out as U+FFFD. The stream is then as new. */
RETNET_API retnet_result retnet_text_stream_flush(retnet_text_stream *stream, const char **text, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
