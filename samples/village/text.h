/* text.h: text in three sizes, from a TrueType font, through a texture of the glyphs that were needed so far. */
#ifndef VILLAGE_TEXT_H
#define VILLAGE_TEXT_H

#include "draw.h"

#include <stdbool.h>
#include <stddef.h>

enum { TEXT_TEXTURE_SIZE = 1024 };

typedef enum text_size { TEXT_SMALL, TEXT_BODY, TEXT_TITLE, TEXT_SIZES } text_size;

typedef struct text text;

/* `font` is a file, NULL: a font that systems have. `scale` is pixels per unit of layout. Reports failures. */
bool text_create(const char *font, float scale, text **out);
void text_destroy(text *text); /* accepts NULL */
/* Glyphs are made anew for another scale. */
bool text_set_scale(text *text, float scale);

/* Before a picture: makes room if the texture is full, and sets the list's disc and glow, which are in it. */
void text_prepare(text *text, draw_list *list);
/* Rows of the texture that changed since the last call. */
const uint8_t *text_take_changes(text *text, uint32_t *first_row, uint32_t *rows);

float text_line_height(const text *text, text_size size);
float text_width(text *text, text_size size, const char *string, size_t length);
/* From the top left; returns the width. */
float text_draw(text *text, draw_list *list, text_size size, float x, float y, rgba colour, const char *string,
                size_t length);

/* Where the line that starts at `string` ends when it may be `width` wide, at a space if possible; the next starts at
 * *next. */
size_t text_break(text *text, text_size size, const char *string, float width, const char **next);

#endif
