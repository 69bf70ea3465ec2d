/* draw.h: a picture as a list of textured rectangles. Knows no Vulkan: it is filled here and drawn by renderer.h.
 *
 * Colours are 0xRRGGBB with an alpha, or `rgba` with premultiplied components. Positions are pixels from the top left.
 */
#ifndef VILLAGE_DRAW_H
#define VILLAGE_DRAW_H

#include <stdint.h>

enum { DRAW_CAPACITY = 32768 }; /* rectangles; more are left out */

typedef struct rgba {
    uint8_t r, g, b, a;
} rgba;

typedef enum draw_texture { DRAW_ART, DRAW_GLYPHS } draw_texture;

/* A part of a texture, in its pixels. */
typedef struct region {
    uint16_t x, y, w, h;
} region;

/* As the vertex shader reads it. */
typedef struct draw_quad {
    float x, y, w, h;
    float left, top, right, bottom;
    rgba corners[4]; /* left and right above, left and right below */
    uint32_t texture;
} draw_quad;

typedef struct draw_list {
    draw_quad *quads; /* [DRAW_CAPACITY], in memory that the device reads */
    uint32_t count;
    float art_width, art_height, glyph_size; /* of the textures */
    region white;                            /* a piece of art without pattern */
    region disc;                             /* a smooth disc among the glyphs, for round corners */
    region glow;                             /* a patch of light that fades outwards, among the glyphs */
} draw_list;

rgba draw_colour(uint32_t rgb, float alpha);
/* Light to be added to what is there. */
rgba draw_light(uint32_t rgb, float strength);
rgba draw_scale(rgba colour, float red, float green, float blue);
uint32_t draw_mix(uint32_t from, uint32_t to, float share);

void draw_sprite(draw_list *list, draw_texture texture, region source, float x, float y, float w, float h, rgba colour);
void draw_sprite_shaded(draw_list *list, region source, float x, float y, float w, float h, const rgba corners[4]);
void draw_rectangle(draw_list *list, float x, float y, float w, float h, rgba colour);
void draw_gradient(draw_list *list, float x, float y, float w, float h, rgba above, rgba below);
void draw_round(draw_list *list, float x, float y, float w, float h, float radius, rgba colour);
void draw_glow(draw_list *list, float x, float y, float radius, rgba colour);

#endif
