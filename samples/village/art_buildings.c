/* art_buildings.c: paints houses, trees, and whatever else stands around. */
#include "brush.h"

#include <math.h>

enum { EAVES = 3, WALL = 27 };

/* ---- Houses ----------------------------------------------------------------------------------------------------- */

static void paint_wall(const brush *b, const building *building, int top)
{
    const int w = b->area.w - 2 * EAVES, h = b->area.h - top;
    const bool stone = building->kind == BUILDING_FORGE || building->kind == BUILDING_GUARD;
    const bool boards = building->kind == BUILDING_FARM || building->kind == BUILDING_FISHER;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            uint32_t rgb = building->wall;
            const float grain = map_random(x, y + top, 100);
            if (grain > 0.9f) rgb = brush_shade(rgb, 0.94f);
            if (stone) {
                const int row = y / 5, shift = row % 2 * 4;
                const float tone = map_random((x + shift) / 8, row, 101);
                rgb = brush_shade(rgb, 0.88f + 0.2f * tone);
                if (y % 5 == 0 || (x + shift) % 8 == 0) rgb = brush_shade(building->wall, 0.7f);
            }
            if (boards && x % 6 == 0) rgb = brush_shade(rgb, 0.78f);
            if (y < 3) rgb = brush_shade(rgb, 0.72f); /* below the eaves */
            if (x > w - 5) rgb = brush_shade(rgb, 0.9f);
            brush_dot(b, EAVES + x, top + y, rgb);
        }
    brush_rectangle(b, EAVES, top + h - 3, w, 3, 0x7d766c);
    if (stone || boards) return;
    const uint32_t beam = 0x6b4a32;
    for (int x = 0; x<w; x += (w - 3) / 3> 0 ? (w - 3) / 3 : w) brush_rectangle(b, EAVES + x, top, 3, h - 3, beam);
    brush_rectangle(b, EAVES, top + 3, w, 2, beam);
}

static void paint_roof(const brush *b, const building *building, int bottom)
{
    const int w = b->area.w;
    for (int y = 2; y < bottom; y++) {
        const int row = (y - 2) / 4, inset = y < 6 ? 6 - y : 0;
        for (int x = inset; x < w - inset; x++) {
            const int shift = row % 2 * 3;
            const float tone = map_random((x + shift) / 6, row, 110);
            uint32_t rgb = brush_shade(building->roof, 0.9f + 0.2f * tone);
            if ((y - 2) % 4 == 3)
                rgb = brush_shade(building->roof, 0.68f);
            else if ((x + shift) % 6 == 0)
                rgb = brush_shade(building->roof, 0.8f);
            else if ((y - 2) % 4 == 0)
                rgb = brush_shade(rgb, 1.12f);
            if (y < 4) rgb = brush_shade(building->roof, 1.2f); /* the ridge */
            if (x > w - inset - 6) rgb = brush_shade(rgb, 0.86f);
            brush_dot(b, x, y, rgb);
        }
    }
    brush_rectangle(b, 0, bottom - 2, w, 2, brush_shade(building->roof, 0.55f));
}

static void paint_window(const brush *b, const brush *lit, int x, int y)
{
    brush_rectangle(b, x - 1, y - 1, 10, 11, 0x5a3f2c);
    brush_rectangle(b, x, y, 8, 8, 0x86b4c8);
    brush_rectangle(b, x, y, 4, 3, 0xb8dce6);
    brush_rectangle(b, x + 4, y, 1, 8, 0x5a3f2c);
    brush_rectangle(b, x, y + 4, 8, 1, 0x5a3f2c);
    brush_rectangle(b, x - 2, y + 9, 12, 2, 0x8a6644);
    for (int i = 0; i < 5; i++) brush_dot(b, x - 1 + 2 * i + (i & 1), y + 8, i % 2 ? 0xd8586a : 0x4f8f3c);
    brush_rectangle(lit, x, y, 8, 8, 0xffc860);
    brush_rectangle(lit, x + 1, y + 1, 6, 5, 0xffe6a0);
    for (int i = 0; i < 8; i++) {
        brush_clear(lit, x + 4, y + i);
        brush_clear(lit, x + i, y + 4);
    }
}

static void paint_door(const brush *b, int x, int bottom, uint32_t rgb)
{
    brush_rectangle(b, x - 6, bottom - 20, 13, 20, 0x4a3424);
    brush_rectangle(b, x - 5, bottom - 18, 11, 18, rgb);
    for (int i = -5; i <= 5; i += 4) brush_rectangle(b, x + i, bottom - 18, 1, 18, brush_shade(rgb, 0.78f));
    brush_rectangle(b, x + 3, bottom - 9, 2, 2, 0xe8c860);
    brush_rectangle(b, x - 7, bottom - 2, 15, 2, 0x9c948a);
}

/* Signs by trade, 11 x 11 pixels. */
static void paint_sign(const brush *b, int x, int y, building_kind kind)
{
    brush_rectangle(b, x - 1, y - 1, 13, 13, 0x4a3424);
    brush_rectangle(b, x, y, 11, 11, 0xead9b0);
    switch (kind) {
    case BUILDING_FORGE: /* a hammer */
        brush_rectangle(b, x + 2, y + 2, 7, 3, 0x4d5560);
        brush_rectangle(b, x + 5, y + 5, 1, 5, 0x8a5a34);
        break;
    case BUILDING_BAKERY: /* a loaf */
        brush_rectangle(b, x + 2, y + 4, 7, 4, 0xc8843c);
        brush_rectangle(b, x + 3, y + 3, 5, 1, 0xdca058);
        for (int i = 0; i < 3; i++) brush_dot(b, x + 3 + 2 * i, y + 4, 0xf0d8a0);
        break;
    case BUILDING_INN: /* a mug */
        brush_rectangle(b, x + 3, y + 3, 4, 6, 0xd8a030);
        brush_rectangle(b, x + 3, y + 2, 4, 2, 0xfff8e8);
        brush_rectangle(b, x + 8, y + 4, 1, 3, 0xb88020);
        break;
    case BUILDING_LIBRARY: /* a book */
        brush_rectangle(b, x + 2, y + 2, 7, 7, 0x4a5f9c);
        brush_rectangle(b, x + 5, y + 2, 1, 7, 0xf4f0e0);
        brush_rectangle(b, x + 3, y + 3, 2, 1, 0xd8e0f0);
        break;
    case BUILDING_HEALER: /* a cross */
        brush_rectangle(b, x + 4, y + 2, 3, 7, 0x3f9c5a);
        brush_rectangle(b, x + 2, y + 4, 7, 3, 0x3f9c5a);
        break;
    case BUILDING_SHOP: /* a coin */
        brush_rectangle(b, x + 3, y + 2, 5, 7, 0xe0b83a);
        brush_rectangle(b, x + 2, y + 3, 7, 5, 0xe0b83a);
        brush_rectangle(b, x + 5, y + 4, 1, 3, 0x9c7820);
        break;
    case BUILDING_FISHER: /* a fish */
        brush_rectangle(b, x + 2, y + 4, 5, 3, 0x5a90b0);
        brush_rectangle(b, x + 7, y + 3, 2, 5, 0x5a90b0);
        brush_dot(b, x + 3, y + 4, 0x203040);
        break;
    case BUILDING_FARM: /* an ear of corn */
        brush_rectangle(b, x + 5, y + 2, 1, 8, 0x5f8f3c);
        for (int i = 0; i < 3; i++) brush_rectangle(b, x + 3, y + 2 + 2 * i, 5, 1, 0xd8a838);
        break;
    case BUILDING_GUARD: /* a shield */
        brush_rectangle(b, x + 2, y + 2, 7, 4, 0xb03a3a);
        brush_rectangle(b, x + 3, y + 6, 5, 2, 0xb03a3a);
        brush_rectangle(b, x + 5, y + 2, 1, 7, 0xf0e0c0);
        break;
    default: break;
    }
}

void paint_building(const brush *b, const brush *lit, const building *building)
{
    const int w = b->area.w, h = b->area.h, wall_top = h - WALL, middle = w / 2;
    paint_wall(b, building, wall_top);
    paint_roof(b, building, wall_top + 2);
    brush_rectangle(b, w - 18, 0, 8, 12, 0x7d6a5e); /* the chimney */
    brush_rectangle(b, w - 19, 0, 10, 3, 0x94806f);
    brush_rectangle(b, w - 12, 3, 2, 9, 0x655548);
    paint_door(b, middle, h, building->kind == BUILDING_GUARD ? 0x6a4a34 : 0x8a5a34);
    const int windows = building->w >= 6 ? 2 : 1;
    for (int i = 0; i < windows; i++) {
        paint_window(b, lit, 10 + 16 * i, wall_top + 8);
        if (building->w > 4) paint_window(b, lit, w - 19 - 16 * i, wall_top + 8);
    }
    if (building->kind != BUILDING_HOUSE) paint_sign(b, middle - 5, wall_top - 9, building->kind);
    if (building->kind == BUILDING_FORGE) brush_rectangle(lit, middle - 4, h - 14, 9, 12, 0xff8030);
    brush_outline(b, 0x2a2024);
}

/* ---- Trees and things ------------------------------------------------------------------------------------------- */

static void paint_leaves(const brush *b, const float (*balls)[4], int count, uint32_t light, uint32_t dark)
{
    for (int i = 0; i < count; i++)
        brush_ball(b, balls[i][0], balls[i][1], balls[i][2], balls[i][3], light,
                   draw_mix(light, dark, 0.55f + 0.15f * (float)(i == 0)));
}

static void paint_oak(const brush *b)
{
    static const float balls[5][4] = {{17, 21, 14, 9}, {10, 15, 9, 9}, {23, 15, 9, 9}, {17, 11, 10, 9}, {15, 16, 8, 7}};
    brush_rectangle(b, 14, 26, 6, 15, 0x6a4a30);
    brush_rectangle(b, 17, 26, 3, 15, 0x573b27);
    brush_rectangle(b, 12, 40, 10, 2, 0x573b27);
    paint_leaves(b, balls, 5, 0x7cc04c, 0x2c5f2e);
}

static void paint_birch(const brush *b)
{
    static const float balls[4][4] = {{14, 20, 10, 9}, {14, 12, 9, 10}, {10, 17, 7, 7}, {18, 16, 7, 8}};
    brush_rectangle(b, 12, 24, 4, 18, 0xe0dccf);
    for (int i = 0; i < 4; i++) brush_rectangle(b, 12 + i % 2, 28 + 4 * i, 2, 1, 0x4a4440);
    paint_leaves(b, balls, 4, 0xb4cc54, 0x5a8430);
}

static void paint_pine(const brush *b)
{
    brush_rectangle(b, 12, 38, 4, 8, 0x5f4330);
    for (int tier = 0; tier < 4; tier++)
        for (int y = 0; y < 14; y++) {
            const int row = 2 + 9 * tier + y, half = 1 + (y * (7 + 2 * tier)) / 14;
            for (int x = -half; x <= half; x++) {
                const float shade = 0.35f + 0.5f * (float)x / (float)(half + 1) * 0.6f + (y > 10 ? 0.3f : 0) +
                                    (map_random(x, row, 120) - 0.5f) * 0.4f;
                brush_dot(b, 14 + x, row, draw_mix(0x4f9462, 0x1f4a3c, shade < 0 ? 0 : shade > 1 ? 1 : shade));
            }
        }
}

static void paint_bush(const brush *b, bool berries)
{
    brush_ball(b, 6, 9, 5.5f, 5.5f, 0x6fb34a, 0x2f6530);
    brush_ball(b, 12, 9, 5.5f, 5.5f, 0x6fb34a, 0x2f6530);
    brush_ball(b, 9, 7, 6, 6, 0x7cc04c, 0x356d32);
    for (int i = 0; berries && i < 7; i++)
        brush_rectangle(b, 4 + (i * 5) % 11, 4 + (i * 3) % 8, 2, 2, i % 3 ? 0xd84a5a : 0xf07a80);
}

static void paint_well(const brush *b)
{
    brush_ball(b, 18, 33, 15, 10, 0xb0a698, 0x6f675e);
    brush_ball(b, 18, 30, 12, 6, 0x3a5a78, 0x1c2c44);
    for (int x = 3; x < 33; x++)
        if (x % 5 == 0) brush_rectangle(b, x, 36, 1, 5, 0x6a6258);
    brush_rectangle(b, 4, 12, 3, 22, 0x6b4a32);
    brush_rectangle(b, 29, 12, 3, 22, 0x573b27);
    brush_rectangle(b, 6, 18, 24, 2, 0x7a573a);
    brush_rectangle(b, 17, 20, 1, 7, 0xd8c8a0);
    brush_rectangle(b, 15, 26, 5, 4, 0x7a573a);
    for (int y = 0; y < 10; y++)
        brush_rectangle(b, 9 - y, 3 + y, 18 + 2 * y, 1,
                        y % 3 == 2 ? 0x7a3a30 : brush_shade(0xa8523f, 1.1f - 0.03f * (float)y));
    brush_rectangle(b, 9, 2, 18, 1, 0xc87860);
}

static void paint_stall(const brush *b, uint32_t cloth)
{
    brush_rectangle(b, 3, 12, 3, 30, 0x6b4a32);
    brush_rectangle(b, 46, 12, 3, 30, 0x573b27);
    brush_rectangle(b, 3, 28, 46, 13, 0x8a6240);
    brush_rectangle(b, 3, 28, 46, 2, 0xb0855a);
    for (int x = 9; x < 46; x += 9) brush_rectangle(b, x, 31, 1, 10, 0x6b4a32);
    static const uint32_t goods[6] = {0xd8483c, 0xe8a038, 0x7ab648, 0xd8c060, 0xb05a8a, 0xe07040};
    for (int i = 0; i < 6; i++) {
        brush_rectangle(b, 5 + 7 * i, 23, 6, 6, 0x6b4a32);
        for (int j = 0; j < 3; j++)
            brush_rectangle(b, 5 + 7 * i + 2 * j, 22 + j % 2, 2, 3, brush_shade(goods[i], 0.9f + 0.12f * (float)j));
    }
    for (int x = 0; x < 52; x++) {
        const bool stripe = x / 6 % 2 == 0;
        const int drop = 14 + (x % 6 > 0 && x % 6 < 5 ? 2 : 0);
        for (int y = 3; y < drop; y++)
            brush_dot(b, x, y, brush_shade(stripe ? cloth : 0xf4ead4, y < 5 ? 1.12f : y > 11 ? 0.84f : 1));
    }
}

static void paint_barrel(const brush *b)
{
    brush_rectangle(b, 2, 3, 10, 13, 0x8a6240);
    brush_rectangle(b, 1, 6, 12, 7, 0x8a6240);
    for (int x = 3; x < 12; x += 3) brush_rectangle(b, x, 3, 1, 13, 0x6b4a32);
    brush_rectangle(b, 1, 5, 12, 1, 0x4d5560);
    brush_rectangle(b, 1, 13, 12, 1, 0x4d5560);
    brush_rectangle(b, 3, 2, 8, 2, 0xb0855a);
}

static void paint_crate(const brush *b)
{
    brush_rectangle(b, 1, 2, 14, 14, 0xa87c4a);
    brush_rectangle(b, 1, 2, 14, 3, 0xc49a62);
    brush_rectangle(b, 1, 6, 14, 1, 0x7a573a);
    brush_rectangle(b, 1, 15, 14, 1, 0x7a573a);
    for (int i = 0; i < 9; i++) brush_rectangle(b, 3 + i, 7 + i * 8 / 9, 2, 1, 0x7a573a);
}

static void paint_hay(const brush *b)
{
    brush_ball(b, 9, 9, 8, 7, 0xf0d070, 0xb08830);
    for (int i = 0; i < 14; i++)
        brush_rectangle(b, 3 + (i * 7) % 12, 4 + (i * 5) % 10, 3, 1, i % 2 ? 0xd8b048 : 0xf8e090);
}

static void paint_boat(const brush *b)
{
    for (int y = 0; y < 12; y++) {
        const int inset = y < 6 ? 0 : y - 5;
        brush_rectangle(b, 2 + inset, 5 + y, 36 - 2 * inset, 1, y % 4 == 3 ? 0x5a3f2a : 0x8a5a34);
    }
    brush_rectangle(b, 4, 6, 32, 3, 0x4a3424);
    brush_rectangle(b, 13, 5, 3, 5, 0xa87c52);
    brush_rectangle(b, 25, 5, 3, 5, 0xa87c52);
    brush_rectangle(b, 2, 4, 36, 1, 0xb88a5a);
}

static void paint_signpost(const brush *b)
{
    brush_rectangle(b, 8, 8, 2, 11, 0x6b4a32);
    brush_rectangle(b, 2, 2, 14, 8, 0xa87c4a);
    brush_rectangle(b, 2, 2, 14, 1, 0xc49a62);
    for (int i = 0; i < 3; i++) brush_rectangle(b, 4, 4 + 2 * i, 10 - 2 * (i == 2), 1, 0x5a3f2a);
}

void paint_thing(const brush *b, thing_kind kind)
{
    switch (kind) {
    case THING_OAK: paint_oak(b); break;
    case THING_BIRCH: paint_birch(b); break;
    case THING_PINE: paint_pine(b); break;
    case THING_BUSH: paint_bush(b, false); break;
    case THING_BERRIES: paint_bush(b, true); break;
    case THING_ROCK: brush_ball(b, 6, 5, 5, 3.6f, 0xb4b0aa, 0x6a6668); break;
    case THING_WELL: paint_well(b); break;
    case THING_STALL_RED: paint_stall(b, 0xc0483c); break;
    case THING_STALL_BLUE: paint_stall(b, 0x3f6fa8); break;
    case THING_BARREL: paint_barrel(b); break;
    case THING_CRATE: paint_crate(b); break;
    case THING_HAY: paint_hay(b); break;
    case THING_BOAT: paint_boat(b); break;
    case THING_SIGN: paint_signpost(b); break;
    case THING_KINDS: break;
    }
    brush_outline(b, 0x24201f);
}
