/* picture_check.c: is a PNG file a picture of something? picture_check FILE WIDTH HEIGHT [darker|unlike OTHER] */
#include <png.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct picture {
    unsigned width, height;
    unsigned char *pixels; /* RGB */
} picture;

static picture read_picture(const char *path)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    picture picture = {0};
    if (!png_image_begin_read_from_file(&image, path)) {
        fprintf(stderr, "%s: %s\n", path, image.message);
        exit(1);
    }
    image.format = PNG_FORMAT_RGB;
    picture.width = image.width;
    picture.height = image.height;
    picture.pixels = malloc(PNG_IMAGE_SIZE(image));
    if (!picture.pixels || !png_image_finish_read(&image, NULL, picture.pixels, 0, NULL)) {
        fprintf(stderr, "%s: %s\n", path, image.message);
        exit(1);
    }
    return picture;
}

static size_t count(const picture *picture)
{
    return (size_t)picture->width * picture->height;
}

static double brightness(const picture *picture)
{
    double sum = 0;
    for (size_t i = 0; i < 3 * count(picture); i++) sum += picture->pixels[i];
    return sum / (3.0 * (double)count(picture));
}

/* How many colours there are, and the share of the commonest. */
static void count_colours(const picture *picture, size_t *colours, double *commonest)
{
    unsigned *uses = calloc(1 << 24, sizeof *uses), most = 0;
    if (!uses) exit(1);
    *colours = 0;
    for (size_t i = 0; i < count(picture); i++) {
        const unsigned char *p = picture->pixels + 3 * i;
        unsigned *use = &uses[p[0] << 16 | p[1] << 8 | p[2]];
        *colours += ++*use == 1;
        if (*use > most) most = *use;
    }
    *commonest = (double)most / (double)count(picture);
    free(uses);
}

static double difference(const picture *a, const picture *b)
{
    size_t unlike = 0;
    if (count(a) != count(b)) return 1;
    for (size_t i = 0; i < count(a); i++) unlike += memcmp(a->pixels + 3 * i, b->pixels + 3 * i, 3) != 0;
    return (double)unlike / (double)count(a);
}

int main(int arguments, char **argument)
{
    if (arguments < 4) return 2;
    picture picture = read_picture(argument[1]);
    size_t colours;
    double commonest;
    count_colours(&picture, &colours, &commonest);
    printf("%s: %u x %u, %zu colours, the commonest %.1f %%, brightness %.0f\n", argument[1], picture.width,
           picture.height, colours, 100 * commonest, brightness(&picture));
    bool good = picture.width == strtoul(argument[2], NULL, 10) && picture.height == strtoul(argument[3], NULL, 10);
    good &= colours >= 200 && commonest < 0.3;
    if (arguments == 6) {
        struct picture other = read_picture(argument[5]);
        if (strcmp(argument[4], "darker") == 0) good &= brightness(&picture) < 0.85 * brightness(&other);
        if (strcmp(argument[4], "unlike") == 0) good &= difference(&picture, &other) > 0.02;
        free(other.pixels);
    }
    free(picture.pixels);
    return good ? 0 : 1;
}
