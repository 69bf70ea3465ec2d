/* report.c: see report.h. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>

bool report(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("village: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return false;
}
