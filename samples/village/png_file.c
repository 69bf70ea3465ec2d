/* png_file.c: see png_file.h. */
#include "png_file.h"

#include "report.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *without_alpha(const uint8_t *pixels, size_t count)
{
    uint8_t *colours = malloc(3 * count);
    for (size_t i = 0; colours && i < count; i++) memcpy(colours + 3 * i, pixels + 4 * i, 3);
    return colours;
}

bool png_file_write(const char *path, const uint8_t *pixels, uint32_t width, uint32_t height)
{
    png_image image = {.version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = PNG_FORMAT_RGB};
    uint8_t *colours = without_alpha(pixels, (size_t)width * height);
    if (!colours) return report("out of memory");
    errno = 0;
    bool written = png_image_write_to_file(&image, path, 0, colours, 0, NULL);
    free(colours);
    return written || report("%s: %s", path, errno ? strerror(errno) : image.message);
}
