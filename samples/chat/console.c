/* console.c: see console.h. */
#include "console.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HISTORY_LENGTH = 1000, BAR_WIDTH = 30 };

struct console {
    bool colour_out, colour_err; /* escape sequences may go there */
    bool filter;                 /* stdout is a terminal, which a model's control characters must not reach */
    bool at_line_start;

    EditLine *editor; /* NULL: plain pipes */
    History *history;
    char *history_path; /* NULL: not kept */
    char *line;         /* of getline */
    size_t line_capacity;

    struct timespec progress_start;
    bool progress_started;
    int progress_percent; /* shown; -1: nothing */
};

/* ---- Ctrl-C ----------------------------------------------------------------------------------------------------- */

static _Atomic(retnet_session *) interrupt_session; /* what Ctrl-C stops */
static atomic_bool interrupt_working;
static atomic_bool interrupt_at_prompt; /* Ctrl-C clears the line; otherwise it ends an idle program */
static atomic_bool interrupted;

static void on_interrupt(int number)
{
    atomic_store(&interrupted, true);
    if (atomic_load(&interrupt_working)) {
        retnet_session_cancel(atomic_load(&interrupt_session));
    } else if (!atomic_load(&interrupt_at_prompt)) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

void console_catch_interrupts(const console *console, retnet_session *session)
{
    /* Without SA_RESTART, so that the line editor's read returns. */
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    atomic_store(&interrupt_session, session);
    atomic_store(&interrupt_at_prompt, console_is_interactive(console));
    sigaction(SIGINT, &action, NULL);
}

void console_begin_work(void)
{
    atomic_store(&interrupted, false);
    atomic_store(&interrupt_working, true);
}

void console_end_work(void)
{
    atomic_store(&interrupt_working, false);
}

bool console_interrupted(void)
{
    return atomic_load(&interrupted);
}

/* ---- Lines ------------------------------------------------------------------------------------------------------ */

static char prompt_plain[] = "> ";
/* \1 is EL_PROMPT_ESC's mark around escape sequences; one at the very end would be lost. */
static char prompt_colour[] = "\1\033[1;32m\1>\1\033[0m\1 ";

static char *prompt(EditLine *editor)
{
    console *console;
    el_get(editor, EL_CLIENTDATA, &console);
    return console->colour_out ? prompt_colour : prompt_plain;
}

/* $XDG_STATE_HOME/retnet/chat_history with its folders made, or NULL. */
static char *make_history_path(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    bool own = state && state[0] == '/';
    if (!own && !(home && home[0] == '/')) return NULL;
    const char *base = own ? state : home, *rest = own ? "/retnet/chat_history" : "/.local/state/retnet/chat_history";
    size_t size = strlen(base) + strlen(rest) + 1;
    char *path = malloc(size);
    if (!path) return NULL;
    snprintf(path, size, "%s%s", base, rest);
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700); /* what cannot be made shows when the history is saved */
        *slash = '/';
    }
    return path;
}

/* Line editing is a comfort: where it cannot be set up, plain lines do. */
static void open_editor(console *console)
{
    HistEvent event;
    console->editor = el_init("chat", stdin, stdout, stderr);
    if (!console->editor) return;
    el_set(console->editor, EL_CLIENTDATA, console);
    el_set(console->editor, EL_PROMPT_ESC, prompt, '\1');
    el_set(console->editor, EL_EDITOR, "emacs");
    console->history = history_init();
    if (console->history) {
        history(console->history, &event, H_SETSIZE, HISTORY_LENGTH);
        history(console->history, &event, H_SETUNIQUE, 1);
        el_set(console->editor, EL_HIST, history, console->history);
        console->history_path = make_history_path();
        if (console->history_path) history(console->history, &event, H_LOAD, console->history_path);
    }
    el_source(console->editor, NULL); /* the user's ~/.editrc */
}

static const char *edit_line(console *console, int *count)
{
    HistEvent event;
    el_resize(console->editor);
    for (;;) {
        const char *line = el_gets(console->editor, count);
        if (line && *count > 0) {
            if (console->history && line[strspn(line, " \t\n")]) history(console->history, &event, H_ENTER, line);
            return line;
        }
        putchar('\n');
        fflush(stdout);
        if (*count == 0 || errno != EINTR) return NULL;
    }
}

const char *console_read_line(console *console, size_t *size)
{
    const char *line;
    if (console->editor) {
        int count = 0;
        line = edit_line(console, &count);
        *size = line ? (size_t)count : 0;
    } else {
        ssize_t count = getline(&console->line, &console->line_capacity, stdin);
        line = count > 0 ? console->line : NULL;
        *size = line ? (size_t)count : 0;
    }
    while (*size && (line[*size - 1] == '\n' || line[*size - 1] == '\r')) (*size)--;
    return line;
}

/* ---- Text ------------------------------------------------------------------------------------------------------- */

/* Length of the control character at the start of `text`, 0 if there is none. Line feeds and tabs are text. */
static size_t control_length(const char *text, size_t size)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x20) return first != '\n' && first != '\t';
    if (first == 0xc2 && size > 1) return (unsigned char)text[1] < 0xa0 ? 2 : 0; /* U+0080 to U+009F */
    return first == 0x7f;
}

bool console_write(console *console, const char *text, size_t size)
{
    size_t begin = 0;
    for (size_t at = 0; console->filter && at < size;) {
        size_t length = control_length(text + at, size - at);
        if (length) {
            fwrite(text + begin, 1, at - begin, stdout);
            begin = at + length;
        }
        at += length ? length : 1;
    }
    fwrite(text + begin, 1, size - begin, stdout);
    if (size) console->at_line_start = text[size - 1] == '\n';
    return fflush(stdout) == 0;
}

bool console_end_answer(console *console)
{
    if (!console->at_line_start) putchar('\n');
    console->at_line_start = false;
    return fflush(stdout) == 0 && !ferror(stdout);
}

static void print_line(const console *console, const char *colour, const char *before, const char *format, va_list list)
{
    fputs(console->colour_err ? colour : "", stderr);
    fputs(before, stderr);
    vfprintf(stderr, format, list);
    fputs(console->colour_err ? "\033[0m\n" : "\n", stderr);
}

void console_note(console *console, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_line(console, "\033[2m", "", format, list);
    va_end(list);
}

void console_error(console *console, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_line(console, "\033[31m", "chat: ", format, list);
    va_end(list);
}

/* ---- Progress --------------------------------------------------------------------------------------------------- */

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

bool console_progress(void *user, uint64_t done, uint64_t total)
{
    console *console = user;
    if (!console->progress_started) {
        console->progress_started = true;
        clock_gettime(CLOCK_MONOTONIC, &console->progress_start);
    }
    int percent = total ? (int)(100.0 * (double)done / (double)total) : 0;
    bool late = seconds_since(&console->progress_start) > 0.5;
    if (!isatty(STDERR_FILENO) || !late || percent == console->progress_percent) return true;
    console->progress_percent = percent;
    int filled = percent * BAR_WIDTH / 100;
    fprintf(stderr, "\rloading [%.*s%*s] %3d%% of %.0f MiB", filled, "##############################",
            BAR_WIDTH - filled, "", percent, (double)total / (1 << 20));
    return true;
}

void console_end_progress(console *console)
{
    if (console->progress_percent >= 0) fprintf(stderr, "\r%*s\r", BAR_WIDTH + 40, "");
    console->progress_percent = -1;
    console->progress_started = false;
}

/* ---- Opening and closing ---------------------------------------------------------------------------------------- */

static bool allows_colour(int file)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(file) && !(no_color && *no_color) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

console *console_open(bool conversation)
{
    console *console = calloc(1, sizeof *console);
    if (!console) return NULL;
    console->progress_percent = -1;
    console->colour_out = allows_colour(STDOUT_FILENO);
    console->colour_err = allows_colour(STDERR_FILENO);
    console->filter = isatty(STDOUT_FILENO);
    /* Only the character set: numbers on the command line are written with a point everywhere. The line editor refuses
     * what its locale has no characters for, and the tokenizer wants UTF-8 anyway. */
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    if (conversation && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) open_editor(console);
    return console;
}

void console_close(console *console)
{
    HistEvent event;
    if (!console) return;
    if (console->history && console->history_path) history(console->history, &event, H_SAVE, console->history_path);
    if (console->history) history_end(console->history);
    if (console->editor) el_end(console->editor);
    free(console->history_path);
    free(console->line);
    free(console);
}

bool console_is_interactive(const console *console)
{
    return console->editor != NULL;
}
