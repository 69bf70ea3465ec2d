/* conversation.c: see conversation.h. */
#include "conversation.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NO_TOKEN = -1, END_TOKENS = 4 };

struct conversation {
    conversation_desc desc;
    char *system; /* a copy; NULL: none */
    retnet_text_stream *stream;
    int32_t bos, system_marker, user_marker, bot_marker; /* NO_TOKEN: the vocabulary has none */
    int32_t end_tokens[END_TOKENS];
    size_t end_token_count;

    int32_t *tokens; /* what the next run reads */
    size_t count, capacity;

    /* The newest token of an answer that did not come to an end token. The state has not read it (see
     * retnet_session_generate), so it goes in front of whatever comes next. */
    int32_t unread;
    int32_t newest;
    size_t made;
    bool stopped; /* by desc.answer */
    conversation_stats last, all;
};

/* ---- Tokens to be read ------------------------------------------------------------------------------------------ */

static retnet_result reserve(conversation *conversation, size_t more)
{
    if (more <= conversation->capacity - conversation->count) return RETNET_OK;
    size_t capacity = 2 * (conversation->count + more);
    int32_t *tokens = realloc(conversation->tokens, capacity * sizeof *tokens);
    if (!tokens) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    conversation->tokens = tokens;
    conversation->capacity = capacity;
    return RETNET_OK;
}

/* Appends a token, if it is one. */
static retnet_result push_token(conversation *conversation, int32_t token)
{
    if (token == NO_TOKEN) return RETNET_OK;
    retnet_result result = reserve(conversation, 1);
    if (result == RETNET_OK) conversation->tokens[conversation->count++] = token;
    return result;
}

static retnet_result push_text(conversation *conversation, const char *text, size_t size)
{
    size_t count = 0;
    /* A guess of the room; the tokenizer says what it takes. */
    retnet_result result = reserve(conversation, size / 2 + 16);
    for (int attempt = 0; result == RETNET_OK && attempt < 2; attempt++) {
        result = retnet_tokenizer_encode(conversation->desc.tokenizer, text, size, false,
                                         conversation->tokens + conversation->count,
                                         conversation->capacity - conversation->count, &count);
        if (result != RETNET_ERROR_LIMIT) break;
        result = reserve(conversation, count);
    }
    if (result == RETNET_OK) conversation->count += count;
    return result;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Everything that comes before the answer. */
static retnet_result push_turn(conversation *conversation, const char *text, size_t size)
{
    /* Blanks around a turn are the typist's; in a text to be continued they may matter. */
    bool turns = conversation_has_turns(conversation);
    for (; turns && size && is_blank(text[0]); size--) text++;
    while (turns && size && is_blank(text[size - 1])) size--;
    bool first = conversation_position(conversation) == 0;
    retnet_result result = push_token(conversation, first ? conversation->bos : conversation->unread);
    if (result == RETNET_OK && turns && first && conversation->system && conversation->system_marker != NO_TOKEN) {
        result = push_token(conversation, conversation->system_marker);
        if (result == RETNET_OK) result = push_text(conversation, conversation->system, strlen(conversation->system));
    }
    if (result == RETNET_OK && turns) result = push_token(conversation, conversation->user_marker);
    if (result == RETNET_OK) result = push_text(conversation, text, size);
    if (result == RETNET_OK && turns) result = push_token(conversation, conversation->bot_marker);
    return result;
}

/* ---- Reading and answering -------------------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Reads the gathered tokens into the state. */
static retnet_result read_tokens(conversation *conversation)
{
    uint64_t position = conversation_position(conversation);
    retnet_span span = {.tokens = conversation->tokens, .count = conversation->count};
    if (conversation->count == 0) return RETNET_OK;
    double start = seconds();
    retnet_result result = retnet_session_run(conversation->desc.session, &span, 1);
    /* Stopped half-way, it has read some of them, the left-over token of the answer before first of all. */
    size_t read = (size_t)(conversation_position(conversation) - position);
    if (read > 0) conversation->unread = NO_TOKEN;
    conversation->last.prompt_tokens = read;
    conversation->last.prompt_seconds = seconds() - start;
    conversation->count = 0;
    return result;
}

static bool is_end_token(const conversation *conversation, int32_t token)
{
    for (size_t i = 0; i < conversation->end_token_count; i++)
        if (conversation->end_tokens[i] == token) return true;
    return false;
}

static bool hand_out(conversation *conversation, const char *text, size_t size)
{
    if (size && !conversation->desc.answer(conversation->desc.answer_user, text, size)) conversation->stopped = true;
    return !conversation->stopped;
}

static bool on_token(void *user, uint32_t slot, int32_t token)
{
    conversation *conversation = user;
    const char *text;
    size_t size;
    (void)slot;
    conversation->made++;
    conversation->newest = token;
    if (is_end_token(conversation, token)) return false;
    /* A model's vocabulary may be padded beyond the tokenizer's; such a token has no text. */
    if (retnet_text_stream_add(conversation->stream, token, &text, &size) != RETNET_OK) size = 0;
    return hand_out(conversation, text, size);
}

static retnet_result answer(conversation *conversation)
{
    const char *text;
    size_t size;
    retnet_generation generation = {.sampling = conversation->desc.sampling,
                                    .end_tokens = conversation->end_tokens,
                                    .end_token_count = conversation->end_token_count,
                                    .max_tokens = conversation->desc.max_tokens,
                                    .token = on_token,
                                    .token_user = conversation};
    uint64_t position = conversation_position(conversation);
    conversation->made = 0;
    conversation->stopped = false;
    double start = seconds();
    retnet_result result = retnet_session_generate(conversation->desc.session, &generation);
    conversation->last.answer_tokens = conversation->made;
    conversation->last.answer_seconds = seconds() - start;
    if (retnet_text_stream_flush(conversation->stream, &text, &size) == RETNET_OK && !conversation->stopped)
        hand_out(conversation, text, size);
    if (conversation_position(conversation) < position + conversation->made &&
        !is_end_token(conversation, conversation->newest))
        conversation->unread = conversation->newest;
    return result == RETNET_OK && conversation->stopped ? RETNET_CANCELLED : result;
}

retnet_result conversation_say(conversation *conversation, const char *text, size_t size)
{
    conversation->last = (conversation_stats){0};
    conversation->count = 0;
    retnet_result result = push_turn(conversation, text, size);
    if (result == RETNET_OK) result = read_tokens(conversation);
    /* Nothing to go on from: no markers, no bos and an empty text. */
    if (result == RETNET_OK && conversation_position(conversation) > 0) result = answer(conversation);
    conversation->all.prompt_tokens += conversation->last.prompt_tokens;
    conversation->all.prompt_seconds += conversation->last.prompt_seconds;
    conversation->all.answer_tokens += conversation->last.answer_tokens;
    conversation->all.answer_seconds += conversation->last.answer_seconds;
    return result;
}

/* ---- Keeping and forgetting ------------------------------------------------------------------------------------- */

retnet_result conversation_reset(conversation *conversation)
{
    conversation->unread = NO_TOKEN;
    return retnet_session_reset(conversation->desc.session, 0);
}

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

retnet_result conversation_set_system(conversation *conversation, const char *system)
{
    char *copy = NULL;
    if (system && *system && !(copy = copy_text(system))) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    free(conversation->system);
    conversation->system = copy;
    return conversation_reset(conversation);
}

void conversation_set_temperature(conversation *conversation, float temperature)
{
    conversation->desc.sampling.temperature = temperature;
}

retnet_result conversation_save(conversation *conversation, const char *path)
{
    /* The file holds the state alone, so what it has not read yet is read now. */
    conversation->count = 0;
    retnet_result result = push_token(conversation, conversation->unread);
    if (result == RETNET_OK) result = read_tokens(conversation);
    return result == RETNET_OK ? retnet_session_save_file(conversation->desc.session, 0, path) : result;
}

retnet_result conversation_load(conversation *conversation, const char *path)
{
    retnet_result result = retnet_session_load_file(conversation->desc.session, 0, path);
    if (result == RETNET_OK) conversation->unread = NO_TOKEN;
    return result;
}

/* ---- The rest --------------------------------------------------------------------------------------------------- */

static void add_end_token(conversation *conversation, int32_t token)
{
    if (token != NO_TOKEN && !is_end_token(conversation, token))
        conversation->end_tokens[conversation->end_token_count++] = token;
}

static void find_markers(conversation *conversation)
{
    const retnet_tokenizer *tokenizer = conversation->desc.tokenizer;
    retnet_model_info info;
    retnet_model_get_info(retnet_session_model(conversation->desc.session), &info);
    conversation->bos = info.bos_token >= 0 ? info.bos_token : retnet_tokenizer_bos(tokenizer);
    conversation->system_marker = retnet_tokenizer_piece_id(tokenizer, "<|system|>");
    conversation->user_marker = retnet_tokenizer_piece_id(tokenizer, "<|user|>");
    conversation->bot_marker = retnet_tokenizer_piece_id(tokenizer, "<|bot|>");
    /* Where the user would speak next, the answer is over. */
    add_end_token(conversation, conversation->user_marker);
    add_end_token(conversation, retnet_tokenizer_piece_id(tokenizer, "<|end|>"));
    add_end_token(conversation, retnet_tokenizer_eos(tokenizer));
    add_end_token(conversation, info.eos_token);
}

retnet_result conversation_create(const conversation_desc *desc, conversation **out)
{
    *out = NULL;
    conversation *conversation = calloc(1, sizeof *conversation);
    if (!conversation) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    conversation->desc = *desc;
    conversation->unread = NO_TOKEN;
    find_markers(conversation);
    retnet_result result = retnet_text_stream_create(desc->tokenizer, &conversation->stream);
    if (result == RETNET_OK) result = conversation_set_system(conversation, desc->system);
    if (result == RETNET_OK)
        *out = conversation;
    else
        conversation_destroy(conversation);
    return result;
}

void conversation_destroy(conversation *conversation)
{
    if (!conversation) return;
    retnet_text_stream_destroy(conversation->stream);
    free(conversation->system);
    free(conversation->tokens);
    free(conversation);
}

bool conversation_has_turns(const conversation *conversation)
{
    return conversation->user_marker != NO_TOKEN && conversation->bot_marker != NO_TOKEN;
}

void conversation_get_stats(const conversation *conversation, conversation_stats *last, conversation_stats *all)
{
    *last = conversation->last;
    *all = conversation->all;
}

uint64_t conversation_position(const conversation *conversation)
{
    return retnet_session_position(conversation->desc.session, 0);
}
