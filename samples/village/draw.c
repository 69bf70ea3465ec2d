/* draw.c: see draw.h. */
#include "draw.h"

static uint8_t byte(float value)
{
    return (uint8_t)(value <= 0 ? 0 : value >= 1 ? 255 : value * 255 + 0.5f);
}

rgba draw_colour(uint32_t rgb, float alpha)
{
    const float scale = alpha / 255;
    return (rgba){byte((float)(rgb >> 16 & 255) * scale), byte((float)(rgb >> 8 & 255) * scale),
                  byte((float)(rgb & 255) * scale), byte(alpha)};
}

rgba draw_light(uint32_t rgb, float strength)
{
    rgba colour = draw_colour(rgb, strength);
    colour.a = 0;
    return colour;
}

rgba draw_scale(rgba colour, float red, float green, float blue)
{
    return (rgba){byte((float)colour.r * red / 255), byte((float)colour.g * green / 255),
                  byte((float)colour.b * blue / 255), colour.a};
}

uint32_t draw_mix(uint32_t from, uint32_t to, float share)
{
    uint32_t mixed = 0;
    for (int shift = 0; shift <= 16; shift += 8) {
        float a = (float)(from >> shift & 255), b = (float)(to >> shift & 255);
        mixed |= (uint32_t)(a + (b - a) * share + 0.5f) << shift;
    }
    return mixed;
}

static void add(draw_list *list, draw_texture texture, const float source[4], float x, float y, float w, float h,
                const rgba corners[4])
{
    if (list->count == DRAW_CAPACITY) return;
    const float width = texture == DRAW_ART ? list->art_width : list->glyph_size;
    const float height = texture == DRAW_ART ? list->art_height : list->glyph_size;
    list->quads[list->count++] = (draw_quad){x,
                                             y,
                                             w,
                                             h,
                                             source[0] / width,
                                             source[1] / height,
                                             source[2] / width,
                                             source[3] / height,
                                             {corners[0], corners[1], corners[2], corners[3]},
                                             texture};
}

static void add_region(draw_list *list, draw_texture texture, region r, float x, float y, float w, float h,
                       const rgba corners[4])
{
    const float source[4] = {r.x, r.y, (float)r.x + r.w, (float)r.y + r.h};
    add(list, texture, source, x, y, w, h, corners);
}

void draw_sprite(draw_list *list, draw_texture texture, region source, float x, float y, float w, float h, rgba colour)
{
    const rgba corners[4] = {colour, colour, colour, colour};
    add_region(list, texture, source, x, y, w, h, corners);
}

void draw_sprite_shaded(draw_list *list, region source, float x, float y, float w, float h, const rgba corners[4])
{
    add_region(list, DRAW_ART, source, x, y, w, h, corners);
}

void draw_rectangle(draw_list *list, float x, float y, float w, float h, rgba colour)
{
    draw_gradient(list, x, y, w, h, colour, colour);
}

void draw_gradient(draw_list *list, float x, float y, float w, float h, rgba above, rgba below)
{
    const rgba corners[4] = {above, above, below, below};
    add_region(list, DRAW_ART, list->white, x, y, w, h, corners);
}

/* A quarter of the disc in each corner, and two rectangles for the rest. */
void draw_round(draw_list *list, float x, float y, float w, float h, float radius, rgba colour)
{
    const rgba corners[4] = {colour, colour, colour, colour};
    if (radius > w / 2) radius = w / 2;
    if (radius > h / 2) radius = h / 2;
    const float half = (float)list->disc.w / 2;
    for (int corner = 0; corner < 4; corner++) {
        const float right = (float)(corner & 1), below = (float)(corner >> 1);
        const float left = (float)list->disc.x + right * half, top = (float)list->disc.y + below * half;
        const float source[4] = {left, top, left + half, top + half};
        add(list, DRAW_GLYPHS, source, x + right * (w - radius), y + below * (h - radius), radius, radius, corners);
    }
    draw_rectangle(list, x + radius, y, w - 2 * radius, radius, colour);
    draw_rectangle(list, x, y + radius, w, h - 2 * radius, colour);
    draw_rectangle(list, x + radius, y + h - radius, w - 2 * radius, radius, colour);
}

void draw_glow(draw_list *list, float x, float y, float radius, rgba colour)
{
    draw_sprite(list, DRAW_GLYPHS, list->glow, x - radius, y - radius, 2 * radius, 2 * radius, colour);
}
