/* png_file.h: pictures as PNG files. */
#ifndef VILLAGE_PNG_FILE_H
#define VILLAGE_PNG_FILE_H

#include <stdbool.h>
#include <stdint.h>

/* `pixels` are RGBA; alpha is left out. Reports a failure. */
bool png_file_write(const char *path, const uint8_t *pixels, uint32_t width, uint32_t height);

#endif
