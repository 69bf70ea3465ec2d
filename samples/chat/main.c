/* main.c: chat, a conversation with a retentive network. */
#include "commands.h"
#include "options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef _WIN32
#include <windows.h>
#define realpath(path, resolved) _fullpath(resolved, path, PATH_LENGTH)
#endif

enum { PATH_LENGTH = 4096 };

static const char bundled_system[] = "You are Mara, the blacksmith of Willowbrook.";

typedef struct chat {
    options options;
    console *console;
    char model_path[PATH_LENGTH];
    char message[512]; /* of the library's newest error */
    unsigned messages; /* logged while validating */

    retnet_context *context;
    retnet_model *model;
    retnet_tokenizer *tokenizer;
    retnet_session *session;
    retnet_model_info info;
    conversation *conversation;
    command_context commands;
} chat;

static void on_log(void *user, retnet_log_level level, const char *message)
{
    chat *chat = user;
    /* Without --validate, whoever made the failed call reports it. */
    if (level == RETNET_LOG_ERROR) snprintf(chat->message, sizeof chat->message, "%s", message);
    if (chat->options.validate && level != RETNET_LOG_INFO) {
        chat->messages++; /* a layer that is not installed is a failure as well */
        console_error(chat->console, "%s", message);
    } else if (level == RETNET_LOG_WARNING && !chat->options.quiet) {
        console_note(chat->console, "%s", message);
    }
}

/* ---- Starting --------------------------------------------------------------------------------------------------- */

static bool has_config(const char *directory)
{
    char path[2 * PATH_LENGTH + 16];
    snprintf(path, sizeof path, "%s/config.json", directory);
    return access(path, R_OK) == 0;
}

/* The folder of this program with a slash at its end, or "". */
static void find_program_folder(char folder[PATH_LENGTH])
{
#ifdef _WIN32
    DWORD length = GetModuleFileNameA(NULL, folder, PATH_LENGTH - 1);
    const char last = '\\';
#else
    ssize_t length = readlink("/proc/self/exe", folder, PATH_LENGTH - 1);
    const char last = '/';
#endif
    folder[length > 0 ? length : 0] = 0;
    char *slash = strrchr(folder, last);
    if (slash)
        slash[1] = 0;
    else
        folder[0] = 0;
}

/* The bundled model: beside the program, in the tree that the program was built in should that have moved, or where it
 * was at build time. */
static void find_bundled_model(chat *chat)
{
    static const char *const beside[] = {"model", "../../../samples/chat/model"};
    char folder[PATH_LENGTH];
    find_program_folder(folder);
    for (size_t i = 0; folder[0] && i < sizeof beside / sizeof beside[0]; i++) {
        char path[2 * PATH_LENGTH];
        snprintf(path, sizeof path, "%s%s", folder, beside[i]);
        if (has_config(path) && realpath(path, chat->model_path)) return;
    }
    snprintf(chat->model_path, sizeof chat->model_path, "%s", CHAT_MODEL_DIRECTORY);
}

static bool fail(chat *chat, const char *what, retnet_result result)
{
    report_failure(&chat->commands, what, result);
    return false;
}

static bool open_context(chat *chat)
{
    retnet_context_desc desc = {.log = on_log,
                                .log_user = chat,
                                .device_name = chat->options.device_name,
                                .device_number = chat->options.device_number,
                                .enable_validation = chat->options.validate};
    retnet_result result = retnet_context_create(&desc, &chat->context);
    return result == RETNET_OK || fail(chat, "no device", result);
}

static bool load_model(chat *chat)
{
    retnet_model_desc desc = {.path = chat->model_path,
                              .format = chat->options.format,
                              .progress = console_progress,
                              .progress_user = chat->console};
    retnet_result result = retnet_model_load(chat->context, &desc, &chat->model);
    console_end_progress(chat->console);
    if (result != RETNET_OK) return fail(chat, "cannot load the model", result);
    retnet_model_get_info(chat->model, &chat->info);
    return true;
}

static bool load_tokenizer(chat *chat)
{
    char path[PATH_LENGTH + 32];
    snprintf(path, sizeof path, "%s/tokenizer.model", chat->model_path);
    retnet_result result = retnet_tokenizer_load(path, chat->message, sizeof chat->message, &chat->tokenizer);
    if (result != RETNET_OK) return fail(chat, "cannot load the tokenizer", result);
    uint32_t pieces = retnet_tokenizer_vocabulary_size(chat->tokenizer);
    if (pieces <= chat->info.vocabulary_size) return true;
    console_error(chat->console, "%s has %u pieces, the model only %u", path, (unsigned)pieces,
                  (unsigned)chat->info.vocabulary_size);
    return false;
}

static bool print_answer(void *user, const char *text, size_t size)
{
    /* An interrupt between two calls of the library has nothing to cancel there; here it is noticed. */
    return !console_interrupted() && console_write(user, text, size);
}

static bool open_conversation(chat *chat)
{
    retnet_result result = retnet_session_create(chat->model, NULL, &chat->session);
    if (result != RETNET_OK) return fail(chat, "cannot open a session", result);
    conversation_desc desc = {.session = chat->session,
                              .tokenizer = chat->tokenizer,
                              .system = chat->options.system,
                              .sampling = chat->options.sampling,
                              .max_tokens = chat->options.max_tokens,
                              .answer = print_answer,
                              .answer_user = chat->console};
    result = conversation_create(&desc, &chat->conversation);
    if (result != RETNET_OK) return fail(chat, "cannot open a conversation", result);
    chat->commands.conversation = chat->conversation;
    return true;
}

static void print_banner(const chat *chat)
{
    retnet_device_info device;
    retnet_context_device_info(chat->context, &device);
    const char *format = retnet_weight_format_name(chat->info.format);
    console_note(chat->console, "device  %s, %s", device.name, device.driver);
    console_note(chat->console, "model   %s: %.1f million parameters, %.1f MiB as %s", chat->model_path,
                 (double)chat->info.parameters * 1e-6, (double)chat->info.weight_bytes / (1 << 20), format);
    console_note(chat->console, "state   %.1f MiB, however long the conversation",
                 (double)chat->info.state_bytes / (1 << 20));
    if (console_is_interactive(chat->console)) console_note(chat->console, "/help lists commands, Ctrl-D ends");
}

static bool start(chat *chat)
{
    if (chat->options.model) {
        snprintf(chat->model_path, sizeof chat->model_path, "%s", chat->options.model);
    } else {
        find_bundled_model(chat);
        if (!chat->options.system) chat->options.system = bundled_system;
    }
    if (!open_context(chat) || !load_model(chat) || !load_tokenizer(chat) || !open_conversation(chat)) return false;
    if (!chat->options.quiet) print_banner(chat);
    if (!conversation_has_turns(chat->conversation))
        console_note(chat->console, "this vocabulary has no <|user|> and <|bot|>: text is continued, not answered");
    console_catch_interrupts(chat->console, chat->session);
    return true;
}

/* ---- Talking ---------------------------------------------------------------------------------------------------- */

/* One turn; false if it failed. */
static bool say(chat *chat, const char *text, size_t size)
{
    *chat->message = 0;
    console_begin_work();
    retnet_result result = conversation_say(chat->conversation, text, size);
    console_end_work();
    bool written = console_end_answer(chat->console);
    if (result < 0) return fail(chat, "no answer", result);
    if (console_interrupted() && !console_is_interactive(chat->console)) {
        /* Whoever started us shall see that it was an interrupt. */
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    if (!written) console_error(chat->console, "cannot write the answer");
    return written;
}

static bool is_blank(const char *line, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (line[i] != ' ' && line[i] != '\t') return false;
    return true;
}

/* Lines until the end; false if any of them failed. */
static bool converse(chat *chat)
{
    const char *line;
    size_t size;
    bool good = true;
    while ((line = console_read_line(chat->console, &size))) {
        if (is_blank(line, size)) continue;
        if (line[0] != '/') {
            good &= say(chat, line, size);
            if (ferror(stdout)) break; /* nobody hears the next ones either */
            continue;
        }
        *chat->message = 0;
        command_result result = command_run(&chat->commands, line, size);
        if (result == COMMAND_QUIT) break;
        good &= result == COMMAND_DONE;
    }
    return good || console_is_interactive(chat->console);
}

int main(int count, char **arguments)
{
    static chat chat;
    options_result parsed = options_parse(&chat.options, count, arguments);
    if (parsed != OPTIONS_RUN) return parsed == OPTIONS_DONE ? 0 : 2;

    bool good = false;
    chat.console = console_open(!chat.options.prompt);
    if (!chat.console) goto done;
    chat.commands = (command_context){.console = chat.console, .model = &chat.info, .message = chat.message};
    if (!start(&chat)) goto done;
    good = chat.options.prompt ? say(&chat, chat.options.prompt, strlen(chat.options.prompt)) : converse(&chat);

done:
    conversation_destroy(chat.conversation);
    retnet_session_destroy(chat.session);
    retnet_tokenizer_destroy(chat.tokenizer);
    retnet_model_destroy(chat.model);
    retnet_context_destroy(chat.context);
    console_close(chat.console);
    return good && chat.messages == 0 ? 0 : 1;
}
