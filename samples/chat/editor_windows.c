/* editor_windows.c: see editor.h. The console of Windows edits lines and keeps their history itself. */
#include "editor.h"

#include <stdio.h>
#include <stdlib.h>

#include <windows.h>

enum { LINE_UNITS = 8192 };

struct editor {
    bool colour;
    wchar_t units[LINE_UNITS];
    char line[3 * LINE_UNITS]; /* UTF-8 */
};

editor *editor_open(bool colour)
{
    editor *editor = calloc(1, sizeof *editor);
    if (editor) editor->colour = colour;
    return editor;
}

const char *editor_read(editor *editor, size_t *size)
{
    HANDLE input = GetStdHandle(STD_INPUT_HANDLE);
    for (;;) {
        DWORD count = 0;
        fputs(editor->colour ? "\033[1;32m>\033[0m " : "> ", stdout);
        fflush(stdout);
        SetLastError(ERROR_SUCCESS);
        bool good = ReadConsoleW(input, editor->units, LINE_UNITS, &count, NULL);
        if (good && count == 0 && GetLastError() == ERROR_OPERATION_ABORTED) continue; /* Ctrl-C */
        if (!good || count == 0 || editor->units[0] == 0x1a) return NULL;              /* Ctrl-Z */
        int bytes =
            WideCharToMultiByte(CP_UTF8, 0, editor->units, (int)count, editor->line, sizeof editor->line, NULL, NULL);
        *size = bytes > 0 ? (size_t)bytes : 0;
        return editor->line;
    }
}

void editor_close(editor *editor)
{
    free(editor);
}
