/* console.c: see console.h. */
#include "console.h"
#include "editor.h"

#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HISTORY_LENGTH = 1000, BAR_WIDTH = 30 };

struct console {
    bool colour_out, colour_err; /* escape sequences may go there */
    bool filter;                 /* stdout is a terminal, which a model's control characters must not reach */
    bool at_line_start;

    editor *editor; /* NULL: plain pipes */
    char *line;     /* of read_plain */
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
#ifdef _WIN32
    signal(number, on_interrupt); /* is forgotten at each */
#endif
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
    atomic_store(&interrupt_session, session);
    atomic_store(&interrupt_at_prompt, console_is_interactive(console));
#ifdef _WIN32
    signal(SIGINT, on_interrupt);
#else
    /* Without SA_RESTART, so that the line editor's read returns. */
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
#endif
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

/* A line of any length of what is no terminal. */
static const char *read_plain(console *console, size_t *size)
{
    *size = 0;
    for (int byte; (byte = getchar()) != EOF;) {
        if (*size + 1 >= console->line_capacity) {
            size_t capacity = console->line_capacity ? 2 * console->line_capacity : 256;
            char *line = realloc(console->line, capacity);
            if (!line) return NULL;
            console->line = line;
            console->line_capacity = capacity;
        }
        console->line[(*size)++] = (char)byte;
        if (byte == '\n') break;
    }
    return *size ? console->line : NULL;
}

const char *console_read_line(console *console, size_t *size)
{
    const char *line = console->editor ? editor_read(console->editor, size) : read_plain(console, size);
    while (line && *size && (line[*size - 1] == '\n' || line[*size - 1] == '\r')) (*size)--;
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
    if (conversation && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        console->editor = editor_open(console->colour_out);
    return console;
}

void console_close(console *console)
{
    if (!console) return;
    editor_close(console->editor);
    free(console->line);
    free(console);
}

bool console_is_interactive(const console *console)
{
    return console->editor != NULL;
}
