/* renderer.h: draws lists of rectangles into a picture, shows it in a window if there is one, and keeps it if asked. */
#ifndef VILLAGE_RENDERER_H
#define VILLAGE_RENDERER_H

#include "draw.h"
#include "gpu.h"
#include "screen.h"

typedef struct renderer renderer;

typedef struct renderer_desc {
    gpu *gpu;
    screen *screen;     /* NULL: no window */
    VkExtent2D extent;  /* of the picture, without a window */
    const uint8_t *art; /* RGBA, premultiplied; only read while the renderer is created */
    uint32_t art_width, art_height;
    uint32_t glyph_size; /* of the glyph texture, which is square, a byte a pixel */
    uint32_t load;       /* how often each list is drawn, at least once */
} renderer_desc;

bool renderer_create(const renderer_desc *desc, renderer **out);
void renderer_destroy(renderer *renderer); /* accepts NULL; waits for the device */

VkExtent2D renderer_extent(const renderer *renderer);
/* Changes the size of the picture; with a window, after that has changed. */
bool renderer_resize(renderer *renderer, VkExtent2D extent);

/* An empty list to fill. Waits until the device has drawn the list before the last. */
bool renderer_begin(renderer *renderer, draw_list **list);
/* Rows of the glyph texture that changed since the last picture; [glyph_size] bytes a row. */
void renderer_update_glyphs(renderer *renderer, const uint8_t *pixels, uint32_t first_row, uint32_t rows);
/* Draws and shows the list. False only if nothing can be drawn any more. */
bool renderer_end(renderer *renderer);
/* Waits until the last picture is finished. */
bool renderer_wait(renderer *renderer);
/* The last picture as a PNG file. */
bool renderer_save(renderer *renderer, const char *path);

#endif
