/* art.c: see art.h and brush.h. */
#include "brush.h"

#include "report.h"

#include <math.h>
#include <stdlib.h>

enum { WALL_HEIGHT = 26, ROOF_EXTRA = 22, EAVES = 3 };

/* ---- Brushes ---------------------------------------------------------------------------------------------------- */

brush brush_begin(art *art, int w, int h)
{
    if (art->shelf_x + (uint32_t)w + 1 > ART_WIDTH) {
        art->shelf_x = 0;
        art->shelf_y += art->shelf_height + 1;
        art->shelf_height = 0;
    }
    brush brush = {art->pixels, {(uint16_t)art->shelf_x, (uint16_t)art->shelf_y, (uint16_t)w, (uint16_t)h}, 0, 0};
    if (art->shelf_y + (uint32_t)h > ART_HEIGHT) brush.area.w = brush.area.h = 0; /* nothing will be painted */
    art->shelf_x += (uint32_t)w + 1;
    if ((uint32_t)h > art->shelf_height) art->shelf_height = (uint32_t)h;
    return brush;
}

static uint8_t *pixel(const brush *brush, int x, int y)
{
    x += brush->origin_x;
    y += brush->origin_y;
    if (x < 0 || y < 0 || x >= brush->area.w || y >= brush->area.h) return NULL;
    return brush->pixels + 4 * ((size_t)(brush->area.y + y) * ART_WIDTH + (size_t)(brush->area.x + x));
}

void brush_dot(const brush *brush, int x, int y, uint32_t rgb)
{
    uint8_t *p = pixel(brush, x, y);
    if (!p) return;
    p[0] = (uint8_t)(rgb >> 16);
    p[1] = (uint8_t)(rgb >> 8);
    p[2] = (uint8_t)rgb;
    p[3] = 255;
}

void brush_clear(const brush *brush, int x, int y)
{
    uint8_t *p = pixel(brush, x, y);
    if (p) p[0] = p[1] = p[2] = p[3] = 0;
}

uint32_t brush_get(const brush *brush, int x, int y)
{
    const uint8_t *p = pixel(brush, x, y);
    return p && p[3] ? (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2] : BRUSH_NOTHING;
}

void brush_rectangle(const brush *brush, int x, int y, int w, int h, uint32_t rgb)
{
    for (int row = y; row < y + h; row++)
        for (int column = x; column < x + w; column++) brush_dot(brush, column, row, rgb);
}

uint32_t brush_shade(uint32_t rgb, float factor)
{
    return factor < 1 ? draw_mix(0x1a1430, rgb, factor) : draw_mix(rgb, 0xfff4d0, factor - 1);
}

void brush_ball(const brush *brush, float x, float y, float radius_x, float radius_y, uint32_t light, uint32_t dark)
{
    for (int row = (int)(y - radius_y); row <= (int)(y + radius_y); row++)
        for (int column = (int)(x - radius_x); column <= (int)(x + radius_x); column++) {
            const float dx = ((float)column + 0.5f - x) / radius_x, dy = ((float)row + 0.5f - y) / radius_y;
            const float ragged = map_random(column, row, 77) * 0.16f;
            if (dx * dx + dy * dy > 1 - ragged) continue;
            float shade = 0.5f + 0.35f * dx + 0.5f * dy + (map_random(column, row, 78) - 0.5f) * 0.45f;
            shade = floorf(shade * 4) / 4; /* few tones */
            brush_dot(brush, column, row, draw_mix(light, dark, shade < 0 ? 0 : shade > 1 ? 1 : shade));
        }
}

void brush_outline(const brush *brush, uint32_t rgb)
{
    bool edge[160 * 160];
    const int w = brush->area.w, h = brush->area.h;
    if (w > 160 || h > 160) return;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            edge[y * w + x] =
                brush_get(brush, x, y) == BRUSH_NOTHING &&
                (brush_get(brush, x - 1, y) != BRUSH_NOTHING || brush_get(brush, x + 1, y) != BRUSH_NOTHING ||
                 brush_get(brush, x, y - 1) != BRUSH_NOTHING || brush_get(brush, x, y + 1) != BRUSH_NOTHING);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            if (edge[y * w + x]) brush_dot(brush, x, y, rgb);
}

float brush_noise(float x, float y, uint32_t which)
{
    const int ix = (int)floorf(x), iy = (int)floorf(y);
    const float fx = x - (float)ix, fy = y - (float)iy;
    const float sx = fx * fx * (3 - 2 * fx), sy = fy * fy * (3 - 2 * fy);
    const float above = map_random(ix, iy, which) * (1 - sx) + map_random(ix + 1, iy, which) * sx;
    const float below = map_random(ix, iy + 1, which) * (1 - sx) + map_random(ix + 1, iy + 1, which) * sx;
    return above * (1 - sy) + below * sy;
}

/* ---- Small things of the renderer's ----------------------------------------------------------------------------- */

static region paint_white(art *art)
{
    brush b = brush_begin(art, 4, 4);
    brush_rectangle(&b, 0, 0, 4, 4, 0xffffff);
    return (region){(uint16_t)(b.area.x + 1), (uint16_t)(b.area.y + 1), 2, 2};
}

/* A soft dark patch below whatever stands on the ground. */
static region paint_shadow(art *art)
{
    brush b = brush_begin(art, 16, 8);
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 16; x++) {
            const float away = hypotf(((float)x - 7.5f) / 8, ((float)y - 3.5f) / 4);
            uint8_t *p = pixel(&b, x, y);
            if (p && away < 1) p[3] = away < 0.75f ? 80 : 45;
        }
    return b.area;
}

static void paint_lamp(art *art)
{
    brush b = brush_begin(art, 12, 34), lit = brush_begin(art, 12, 34);
    brush_rectangle(&b, 5, 10, 2, 22, 0x3a3230);
    brush_rectangle(&b, 4, 31, 4, 2, 0x3a3230);
    brush_rectangle(&b, 3, 3, 6, 7, 0x4a4038);
    brush_rectangle(&b, 4, 4, 4, 5, 0xc9c0a0);
    brush_rectangle(&b, 4, 1, 4, 2, 0x3a3230);
    brush_outline(&b, 0x201a1c);
    brush_rectangle(&lit, 4, 4, 4, 5, 0xffd878);
    brush_rectangle(&lit, 5, 5, 2, 3, 0xfff6d0);
    art->lamp = b.area;
    art->lamp_lit = lit.area;
}

/* ---- Everything ------------------------------------------------------------------------------------------------- */

static const uint8_t thing_sizes[THING_KINDS][2] = {
    [THING_OAK] = {34, 44},        [THING_BIRCH] = {28, 44},  [THING_PINE] = {28, 48},  [THING_BUSH] = {18, 15},
    [THING_BERRIES] = {18, 15},    [THING_ROCK] = {12, 9},    [THING_WELL] = {36, 46},  [THING_STALL_RED] = {52, 44},
    [THING_STALL_BLUE] = {52, 44}, [THING_BARREL] = {14, 18}, [THING_CRATE] = {16, 17}, [THING_HAY] = {18, 17},
    [THING_BOAT] = {40, 20},       [THING_SIGN] = {18, 20},
};

bool art_create(art *art)
{
    *art = (struct art){.pixels = calloc(4, ART_WIDTH * ART_HEIGHT)};
    if (!art->pixels) return report("out of memory");
    brush ground = brush_begin(art, MAP_WIDTH * ART_TILE, MAP_HEIGHT * ART_TILE);
    paint_ground(&ground);
    art->ground = ground.area;
    art->white = paint_white(art);
    art->shadow = paint_shadow(art);
    paint_lamp(art);
    for (int i = 0; i < THING_KINDS; i++) {
        brush b = brush_begin(art, thing_sizes[i][0], thing_sizes[i][1]);
        paint_thing(&b, (thing_kind)i);
        art->things[i] = b.area;
    }
    for (int i = 0; i < MAP_BUILDINGS; i++) {
        const int w = map_buildings[i].w * ART_TILE + 2 * EAVES, h = map_buildings[i].h * ART_TILE + ROOF_EXTRA;
        brush b = brush_begin(art, w, h), lit = brush_begin(art, w, h);
        paint_building(&b, &lit, &map_buildings[i]);
        art->buildings[i] = b.area;
        art->buildings_lit[i] = lit.area;
    }
    for (int look = 0; look < ART_LOOKS; look++)
        for (int facing = 0; facing < 4; facing++)
            for (int step = 0; step < ART_STEPS; step++) {
                brush b = brush_begin(art, ART_PERSON_WIDTH, ART_PERSON_HEIGHT);
                paint_person(&b, look, (direction)facing, step);
                art->people[look][facing][step] = b.area;
            }
    return art->shelf_y + art->shelf_height <= ART_HEIGHT || report("the art does not fit its texture");
}

void art_release(art *art)
{
    free(art->pixels);
    art->pixels = NULL;
}
