/* editor.h: lines of a person at a terminal: editor.c with libedit, editor_windows.c with what Windows itself edits. */
#ifndef CHAT_EDITOR_H
#define CHAT_EDITOR_H

#include <stdbool.h>
#include <stddef.h>

typedef struct editor editor;

/* Line editing is a comfort: NULL where it cannot be set up. */
editor *editor_open(bool colour);
void editor_close(editor *editor); /* accepts NULL; saves the history */

/* The next line, valid until the next call; NULL at the end of the input. An interrupt starts the line anew. */
const char *editor_read(editor *editor, size_t *size);

#endif
