/* conversation.h: turns between a user and a model, over one slot of a session.
 *
 * As tokens, a conversation is: bos, then <|system|> and a text if there is one, then for every turn <|user|>, what was
 * typed, <|bot|>, the answer. A vocabulary without these markers gets its text continued instead.
 */
#ifndef CHAT_CONVERSATION_H
#define CHAT_CONVERSATION_H

#include "retnet/text.h"

typedef struct conversation conversation;

/* A piece of an answer as it is made; false stops it. */
typedef bool (*answer_fn)(void *user, const char *text, size_t size);

typedef struct conversation_desc {
    retnet_session *session;           /* slot 0 is used */
    const retnet_tokenizer *tokenizer; /* no larger than the model's vocabulary */
    const char *system;                /* NULL or "": none */
    retnet_sampling sampling;
    uint32_t max_tokens; /* of one answer */
    answer_fn answer;
    void *answer_user;
} conversation_desc;

/* Of the last turn and of all turns. */
typedef struct conversation_stats {
    size_t prompt_tokens, answer_tokens;
    double prompt_seconds, answer_seconds;
} conversation_stats;

retnet_result conversation_create(const conversation_desc *desc, conversation **out);
void conversation_destroy(conversation *conversation); /* accepts NULL */

/* Does the vocabulary have the markers of turns? */
bool conversation_has_turns(const conversation *conversation);

/* One turn. RETNET_CANCELLED: it was stopped, what was said so far stands. */
retnet_result conversation_say(conversation *conversation, const char *text, size_t size);

/* Forgets everything that was said. */
retnet_result conversation_reset(conversation *conversation);
/* The same, with another system text. */
retnet_result conversation_set_system(conversation *conversation, const char *system);
void conversation_set_temperature(conversation *conversation, float temperature);

retnet_result conversation_save(conversation *conversation, const char *path);
retnet_result conversation_load(conversation *conversation, const char *path);

void conversation_get_stats(const conversation *conversation, conversation_stats *last, conversation_stats *all);
uint64_t conversation_position(const conversation *conversation);

#endif
