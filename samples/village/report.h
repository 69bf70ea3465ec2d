/* report.h: what the program has to say about failures: one line each, on stderr. */
#ifndef VILLAGE_REPORT_H
#define VILLAGE_REPORT_H

#include <stdbool.h>

#if defined(__GNUC__)
#define REPORT_PRINTF(format_at, first) __attribute__((__format__(__printf__, format_at, first)))
#else
#define REPORT_PRINTF(format_at, first)
#endif

/* "village: " and the text. Always false, so that a failing function can return it. */
bool report(const char *format, ...) REPORT_PRINTF(1, 2);

#endif
