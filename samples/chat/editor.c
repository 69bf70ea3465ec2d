/* editor.c: see editor.h. Line editing and history by libedit. */
#include "editor.h"

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HISTORY_LENGTH = 1000 };

struct editor {
    bool colour;
    EditLine *edit;
    History *history;
    char *history_path; /* NULL: not kept */
};

static char prompt_plain[] = "> ";
/* \1 is EL_PROMPT_ESC's mark around escape sequences; one at the very end would be lost. */
static char prompt_colour[] = "\1\033[1;32m\1>\1\033[0m\1 ";

static char *prompt(EditLine *edit)
{
    editor *editor;
    el_get(edit, EL_CLIENTDATA, &editor);
    return editor->colour ? prompt_colour : prompt_plain;
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

static void open_history(editor *editor)
{
    HistEvent event;
    editor->history = history_init();
    if (!editor->history) return;
    history(editor->history, &event, H_SETSIZE, HISTORY_LENGTH);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->edit, EL_HIST, history, editor->history);
    editor->history_path = make_history_path();
    if (editor->history_path) history(editor->history, &event, H_LOAD, editor->history_path);
}

editor *editor_open(bool colour)
{
    editor *editor = calloc(1, sizeof *editor);
    if (!editor) return NULL;
    editor->colour = colour;
    editor->edit = el_init("chat", stdin, stdout, stderr);
    if (!editor->edit) {
        free(editor);
        return NULL;
    }
    el_set(editor->edit, EL_CLIENTDATA, editor);
    el_set(editor->edit, EL_PROMPT_ESC, prompt, '\1');
    el_set(editor->edit, EL_EDITOR, "emacs");
    open_history(editor);
    el_source(editor->edit, NULL); /* the user's ~/.editrc */
    return editor;
}

const char *editor_read(editor *editor, size_t *size)
{
    HistEvent event;
    el_resize(editor->edit);
    for (;;) {
        int count = 0;
        const char *line = el_gets(editor->edit, &count);
        *size = line && count > 0 ? (size_t)count : 0;
        if (*size) {
            if (editor->history && line[strspn(line, " \t\n")]) history(editor->history, &event, H_ENTER, line);
            return line;
        }
        putchar('\n');
        fflush(stdout);
        if (count == 0 || errno != EINTR) return NULL;
    }
}

void editor_close(editor *editor)
{
    HistEvent event;
    if (!editor) return;
    if (editor->history && editor->history_path) history(editor->history, &event, H_SAVE, editor->history_path);
    if (editor->history) history_end(editor->history);
    el_end(editor->edit);
    free(editor->history_path);
    free(editor);
}
