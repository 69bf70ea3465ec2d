/* console.h: where lines come from and text goes to: a terminal with line editing and colour, or plain pipes.
 *
 * Answers go to stdout, everything else to stderr, so that a pipe gets answers alone.
 */
#ifndef CHAT_CONSOLE_H
#define CHAT_CONSOLE_H

#include "retnet/retnet.h"

#if defined(__MINGW32__)
#define CONSOLE_PRINTF(format_at, first) __attribute__((__format__(__gnu_printf__, format_at, first)))
#elif defined(__GNUC__)
#define CONSOLE_PRINTF(format_at, first) __attribute__((__format__(__printf__, format_at, first)))
#else
#define CONSOLE_PRINTF(format_at, first)
#endif

typedef struct console console;

/* With `conversation` false, or where stdin or stdout is no terminal, there is no line editing. NULL: no memory. */
console *console_open(bool conversation);
void console_close(console *console); /* accepts NULL; saves the history */

bool console_is_interactive(const console *console);

/* The next line without its end, valid until the next call; NULL at the end of the input. */
const char *console_read_line(console *console, size_t *size);

/* A piece of an answer, out at once; false when nobody reads it any more. */
bool console_write(console *console, const char *text, size_t size);
/* Ends an answer: the cursor is then at the start of a line. */
bool console_end_answer(console *console);

void console_note(console *console, const char *format, ...) CONSOLE_PRINTF(2, 3);
void console_error(console *console, const char *format, ...) CONSOLE_PRINTF(2, 3); /* with "chat: " before it */

/* A retnet_progress_fn over a console: a bar, on a terminal, once loading has taken half a second. */
bool console_progress(void *console, uint64_t done, uint64_t total);
void console_end_progress(console *console);

/* From now on Ctrl-C stops what `session` does; at a prompt it clears the line, in a pipe it ends the program. */
void console_catch_interrupts(const console *console, retnet_session *session);
/* Brackets the time in which Ctrl-C means the session. */
void console_begin_work(void);
void console_end_work(void);
/* Was there a Ctrl-C since console_begin_work? */
bool console_interrupted(void);

#endif
