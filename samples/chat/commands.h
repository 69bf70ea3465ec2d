/* commands.h: the lines of a conversation that start with a slash. */
#ifndef CHAT_COMMANDS_H
#define CHAT_COMMANDS_H

#include "console.h"
#include "conversation.h"

typedef enum command_result { COMMAND_DONE, COMMAND_FAILED, COMMAND_QUIT } command_result;

typedef struct command_context {
    console *console;
    conversation *conversation;
    const retnet_model_info *model;
    char *message; /* the library's newest error message, "" if there is none; reporting it clears it */
} command_context;

/* Runs "/NAME ARGUMENT" ([size] bytes). */
command_result command_run(const command_context *context, const char *line, size_t size);

/* Says why a call failed: `what`, the library's message and the result's own text. */
void report_failure(const command_context *context, const char *what, retnet_result result);

#endif
