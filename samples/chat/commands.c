/* commands.c: see commands.h. */
#include "commands.h"

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef command_result (*command_fn)(const command_context *context, const char *argument);

typedef struct command {
    const char *name, *argument, *text;
    bool needs_argument;
    command_fn run;
} command;

void report_failure(const command_context *context, const char *what, retnet_result result)
{
    const char *text = retnet_result_text(result);
    if (*context->message)
        console_error(context->console, "%s: %s (%s)", what, context->message, text);
    else
        console_error(context->console, "%s: %s", what, text);
    *context->message = 0;
}

static command_result finish(const command_context *context, const char *what, retnet_result result)
{
    if (result == RETNET_OK) return COMMAND_DONE;
    report_failure(context, what, result);
    return COMMAND_FAILED;
}

static command_result run_reset(const command_context *context, const char *argument)
{
    (void)argument;
    return finish(context, "/reset", conversation_reset(context->conversation));
}

static command_result run_save(const command_context *context, const char *argument)
{
    return finish(context, "/save", conversation_save(context->conversation, argument));
}

static command_result run_load(const command_context *context, const char *argument)
{
    return finish(context, "/load", conversation_load(context->conversation, argument));
}

static void print_speed(const command_context *context, const char *name, const conversation_stats *stats)
{
    double prompt = stats->prompt_seconds > 0 ? (double)stats->prompt_tokens / stats->prompt_seconds : 0;
    double answer = stats->answer_seconds > 0 ? (double)stats->answer_tokens / stats->answer_seconds : 0;
    console_note(context->console, "%-10s prompt %zu tokens, %.1f tokens/s; answer %zu tokens, %.1f tokens/s", name,
                 stats->prompt_tokens, prompt, stats->answer_tokens, answer);
}

static command_result run_stats(const command_context *context, const char *argument)
{
    conversation_stats last, all;
    (void)argument;
    conversation_get_stats(context->conversation, &last, &all);
    print_speed(context, "last turn", &last);
    print_speed(context, "all turns", &all);
    console_note(context->console, "%-10s %llu bytes at position %llu", "state",
                 (unsigned long long)context->model->state_bytes,
                 (unsigned long long)conversation_position(context->conversation));
    return COMMAND_DONE;
}

static command_result run_system(const command_context *context, const char *argument)
{
    return finish(context, "/system", conversation_set_system(context->conversation, argument));
}

static command_result run_temp(const command_context *context, const char *argument)
{
    double value;
    if (!parse_number(argument, 0, 100, &value)) {
        console_error(context->console, "/temp: \"%s\" is no temperature", argument);
        return COMMAND_FAILED;
    }
    conversation_set_temperature(context->conversation, (float)value);
    return COMMAND_DONE;
}

static command_result run_quit(const command_context *context, const char *argument)
{
    (void)context;
    (void)argument;
    return COMMAND_QUIT;
}

static command_result run_help(const command_context *context, const char *argument);

static const command commands[] = {
    {"/help", "", "this list", false, run_help},
    {"/reset", "", "forget the conversation", false, run_reset},
    {"/save", "FILE", "keep the model's memory of the conversation in a file", true, run_save},
    {"/load", "FILE", "take it back from there", true, run_load},
    {"/stats", "", "speed, memory and position", false, run_stats},
    {"/system", "TEXT", "tell the model who it is; forgets the conversation", false, run_system},
    {"/temp", "X", "temperature; 0: always the likeliest token", true, run_temp},
    {"/quit", "", "leave (so does Ctrl-D)", false, run_quit},
};

static command_result run_help(const command_context *context, const char *argument)
{
    (void)argument;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        console_note(context->console, "%-8s%-5s %s", commands[i].name, commands[i].argument, commands[i].text);
    return COMMAND_DONE;
}

/* `line` with zeros after its two words; the second may be "" and may contain spaces. */
static command_result dispatch(const command_context *context, const char *name, const char *argument)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, name) != 0) continue;
        if (!*argument && commands[i].needs_argument) {
            console_error(context->console, "%s needs a %s", name, commands[i].argument);
            return COMMAND_FAILED;
        }
        return commands[i].run(context, argument);
    }
    console_error(context->console, "unknown command %s; /help lists them", name);
    return COMMAND_FAILED;
}

command_result command_run(const command_context *context, const char *line, size_t size)
{
    static const char spaces[] = " \t";
    char *copy = malloc(size + 1);
    if (!copy) return finish(context, "command", RETNET_ERROR_OUT_OF_HOST_MEMORY);
    memcpy(copy, line, size);
    copy[size] = 0;
    size = strlen(copy);
    while (size && strchr(spaces, copy[size - 1])) copy[--size] = 0;
    char *argument = copy + strcspn(copy, spaces);
    size_t gap = strspn(argument, spaces);
    if (gap) *argument = 0;
    command_result result = dispatch(context, copy, argument + gap);
    free(copy);
    return result;
}
