/* art_people.c: paints people, 16 x 24 pixels, by what they wear. */
#include "brush.h"

typedef enum hair { HAIR_SHORT, HAIR_LONG, HAIR_BUN, HAIR_BEARD, HAIR_BALD } hair;
typedef enum hat { HAT_NONE, HAT_HELMET, HAT_STRAW, HAT_BAKER, HAT_CAP, HAT_BERET, HAT_HOOD } hat;

typedef struct look {
    uint32_t skin, hair_colour, shirt, trousers;
    hair hair;
    hat hat;
    uint32_t apron; /* 0: none */
    bool skirt;
} look;

enum { OUTLINE = 0x2a1f2a };

/* In the order of the villagers' names and trades (villagers.c); the last is the player. */
static const look looks[ART_LOOKS] = {
    {0xe0a878, 0x8a3a24, 0x7a4a3a, 0x4a4048, HAIR_BUN, HAT_NONE, 0x5a4030, false},    /* Mara, blacksmith */
    {0xf0c49a, 0x6a4a2c, 0xd8d0c0, 0x6a5a4a, HAIR_SHORT, HAT_BAKER, 0xf4f0e8, false}, /* Tobin, baker */
    {0xf0c8a0, 0xc88a3c, 0x8a5a9c, 0x5a4058, HAIR_LONG, HAT_NONE, 0xe8d8b8, true},    /* Hazel, innkeeper */
    {0xd8a070, 0x3a3030, 0x3f5f8c, 0x40445a, HAIR_BEARD, HAT_NONE, 0, false},         /* Ivo, librarian */
    {0xf4d0a8, 0x7a5a3a, 0xe8e4dc, 0x6a8a7a, HAIR_LONG, HAT_HOOD, 0, true},           /* Rowan, healer */
    {0xe8b888, 0x4a3828, 0x8a3a3a, 0x50545c, HAIR_SHORT, HAT_HELMET, 0, false},       /* Corin, guard */
    {0xd89868, 0x5a4028, 0x5f8a4a, 0x5a6a8a, HAIR_BEARD, HAT_STRAW, 0, false},        /* Oswin, farmer */
    {0xe8b888, 0x2c2830, 0x3f7f96, 0x4a5058, HAIR_BUN, HAT_CAP, 0, false},            /* Nell, fisher */
    {0xb87848, 0x2a2020, 0xb8823a, 0x6a3f5a, HAIR_LONG, HAT_BERET, 0, true},          /* Lila, merchant */
    {0xf0c8a0, 0xd8a848, 0x9c6a3f, 0x5f6a4a, HAIR_LONG, HAT_STRAW, 0, true},          /* Greta, farmer */
    {0x9c6238, 0x241c1c, 0x4a6a9c, 0x4a4a58, HAIR_SHORT, HAT_CAP, 0, false},          /* Finn, fisher */
    {0xf4d0a8, 0xb8542c, 0x6a3f48, 0x50545c, HAIR_BUN, HAT_HELMET, 0, false},         /* Wren, guard */
    {0xd8a070, 0x4a3828, 0x6f8a3f, 0x5a4a3a, HAIR_SHORT, HAT_NONE, 0, false},         /* Jory */
    {0xf0c49a, 0x8a8a90, 0x7a5a8a, 0x4a4058, HAIR_BUN, HAT_NONE, 0, true},            /* Brida */
    {0x8a5a34, 0x2a2424, 0xa85a3f, 0x4a4a4a, HAIR_BEARD, HAT_NONE, 0, false},         /* Ansel */
    {0xb87848, 0x1c1818, 0x3f8a7a, 0x4a3f58, HAIR_LONG, HAT_NONE, 0, true},           /* Sable */
    {0xf4d0a8, 0xc8c8cc, 0x6a7a9c, 0x58506a, HAIR_BUN, HAT_NONE, 0xd8e0e8, true},     /* Elda */
    {0xe8b888, 0xa8683a, 0xb89a4a, 0x5a5048, HAIR_SHORT, HAT_CAP, 0, false},          /* Percy */
    {0xe0a878, 0x6a6a70, 0x8a4a6a, 0x4a4050, HAIR_LONG, HAT_NONE, 0xc8b8a8, true},    /* Hester */
    {0xd89868, 0x3a2a20, 0x5a7aa8, 0x5a4a3a, HAIR_BALD, HAT_NONE, 0, false},          /* Bram */
    {0xf0c49a, 0x7a4a24, 0xc83a3a, 0x3a4a7a, HAIR_SHORT, HAT_NONE, 0, false},         /* the player */
};

static void paint_legs(const brush *b, const look *l, direction facing, int step)
{
    const bool side = facing == EAST;
    const int left_up = step == 1 ? 1 : 0, right_up = step == 2 ? 1 : 0;
    if (l->skirt) {
        brush_rectangle(b, 4, 17, 8, 3, l->trousers);
        brush_rectangle(b, 3, 20, 10, 2, brush_shade(l->trousers, 0.9f));
        brush_rectangle(b, 5, 22 - left_up, 2, 1, 0x3a2a28);
        brush_rectangle(b, 9, 22 - right_up, 2, 1, 0x3a2a28);
        return;
    }
    const int a = side ? 6 - 2 * left_up + right_up : 5, c = side ? 7 + 2 * left_up - right_up : 9;
    const int lift_a = side ? 0 : left_up, lift_c = side ? 0 : right_up;
    brush_rectangle(b, a, 18, 2 + !side, 4 - lift_a, brush_shade(l->trousers, 0.85f));
    brush_rectangle(b, a, 22 - lift_a, 3, 1, 0x3a2a28);
    brush_rectangle(b, c - !side, 18, 3, 4 - lift_c, l->trousers);
    brush_rectangle(b, c - !side, 22 - lift_c, 3, 1, 0x3a2a28);
}

static void paint_body(const brush *b, const look *l, direction facing, int step)
{
    const uint32_t dark = brush_shade(l->shirt, 0.8f);
    const int swing = step == 1 ? 1 : step == 2 ? -1 : 0;
    if (facing == EAST) {
        brush_rectangle(b, 5, 12, 6, 6, l->shirt);
        brush_rectangle(b, 5, 12, 1, 6, dark);
        if (l->apron) brush_rectangle(b, 9, 13, 2, 6, l->apron);
        brush_rectangle(b, 7 + swing, 13, 2, 4, dark);
        brush_rectangle(b, 7 + 2 * swing, 17, 2, 1, l->skin);
        return;
    }
    brush_rectangle(b, 4, 12, 8, 6, l->shirt);
    brush_rectangle(b, 11, 12, 1, 6, dark);
    brush_rectangle(b, 4, 17, 8, 1, brush_shade(l->trousers, 0.75f));
    brush_rectangle(b, 3, 12 + (swing > 0), 1, 5, l->shirt);
    brush_rectangle(b, 12, 12 + (swing < 0), 1, 5, dark);
    brush_dot(b, 3, 17 + (swing > 0), l->skin);
    brush_dot(b, 12, 17 + (swing < 0), l->skin);
    if (!l->apron) return;
    if (facing == SOUTH) {
        brush_rectangle(b, 5, 14, 6, 5, l->apron);
        brush_rectangle(b, 6, 12, 4, 2, l->apron);
        brush_rectangle(b, 5, 18, 6, 1, brush_shade(l->apron, 0.85f));
    } else {
        brush_rectangle(b, 4, 15, 8, 1, l->apron);
    }
}

static void paint_face(const brush *b, const look *l, direction facing)
{
    brush_rectangle(b, 4, 4, 8, 7, l->skin);
    brush_rectangle(b, 5, 11, 6, 1, brush_shade(l->skin, 0.85f));
    brush_rectangle(b, 11, 5, 1, 6, brush_shade(l->skin, 0.9f));
    if (facing == SOUTH) {
        brush_rectangle(b, 6, 7, 1, 2, 0x2a2028);
        brush_rectangle(b, 9, 7, 1, 2, 0x2a2028);
        brush_dot(b, 5, 9, draw_mix(l->skin, 0xe06a5a, 0.45f));
        brush_dot(b, 10, 9, draw_mix(l->skin, 0xe06a5a, 0.45f));
    } else if (facing == EAST) {
        brush_rectangle(b, 10, 7, 1, 2, 0x2a2028);
        brush_dot(b, 12, 8, l->skin);
        brush_dot(b, 9, 9, draw_mix(l->skin, 0xe06a5a, 0.45f));
    }
}

static void paint_hair(const brush *b, const look *l, direction facing)
{
    const uint32_t c = l->hair_colour, light = brush_shade(c, 1.18f), dark = brush_shade(c, 0.82f);
    if (l->hair == HAIR_BALD && facing != NORTH) {
        brush_rectangle(b, 4, 6, 1, 3, c);
        brush_rectangle(b, 11, 6, 1, 3, c);
        return;
    }
    brush_rectangle(b, 5, 2, 6, 1, c);
    brush_rectangle(b, 4, 3, 8, 2, c);
    brush_rectangle(b, 6, 3, 3, 1, light);
    const int down = l->hair == HAIR_LONG ? 9 : 4;
    if (facing == NORTH) {
        brush_rectangle(b, 4, 4, 8, l->hair == HAIR_LONG ? 10 : 6, c);
        brush_rectangle(b, 10, 5, 2, l->hair == HAIR_LONG ? 9 : 5, dark);
    } else if (facing == EAST) {
        brush_rectangle(b, 3, 4, 4, down + 1, c);
        brush_rectangle(b, 3, 5, 1, down - 1, dark);
        brush_rectangle(b, 7, 5, 3, 1, c);
    } else {
        brush_rectangle(b, 4, 5, 1, down, c);
        brush_rectangle(b, 11, 5, 1, down, dark);
        if (l->hair == HAIR_LONG) brush_rectangle(b, 3, 6, 1, 7, c);
        if (l->hair == HAIR_LONG) brush_rectangle(b, 12, 6, 1, 7, dark);
        brush_rectangle(b, 5, 5, 3, 1, c);
    }
    if (l->hair == HAIR_BUN) {
        if (facing == EAST)
            brush_rectangle(b, 2, 4, 3, 3, dark);
        else
            brush_rectangle(b, 6, 0, 4, 3, facing == NORTH ? dark : c);
    }
    if (l->hair == HAIR_BEARD && facing == SOUTH) {
        brush_rectangle(b, 4, 9, 8, 2, c);
        brush_rectangle(b, 5, 11, 6, 2, dark);
        brush_rectangle(b, 7, 9, 2, 1, brush_shade(l->skin, 0.8f));
    } else if (l->hair == HAIR_BEARD && facing == EAST) {
        brush_rectangle(b, 7, 9, 5, 2, c);
        brush_rectangle(b, 8, 11, 4, 2, dark);
    }
}

static void paint_hat(const brush *b, hat hat)
{
    switch (hat) {
    case HAT_HELMET:
        brush_rectangle(b, 4, 2, 8, 4, 0x9aa4ae);
        brush_rectangle(b, 5, 1, 6, 1, 0xb8c2ca);
        brush_rectangle(b, 6, 2, 2, 2, 0xd8e0e6);
        brush_rectangle(b, 3, 5, 10, 1, 0x6f7982);
        brush_rectangle(b, 7, 0, 2, 2, 0xb03a3a);
        break;
    case HAT_STRAW:
        brush_rectangle(b, 5, 1, 6, 3, 0xe0bc62);
        brush_rectangle(b, 5, 3, 6, 1, 0xa0522d);
        brush_rectangle(b, 2, 4, 12, 1, 0xe8c870);
        brush_rectangle(b, 2, 5, 12, 1, 0xc09a48);
        break;
    case HAT_BAKER:
        brush_rectangle(b, 4, 0, 8, 3, 0xf8f6f0);
        brush_rectangle(b, 5, 3, 6, 2, 0xe4e0d8);
        brush_rectangle(b, 10, 0, 2, 3, 0xdcd8d0);
        break;
    case HAT_CAP:
        brush_rectangle(b, 4, 2, 8, 2, 0x3a5a7a);
        brush_rectangle(b, 5, 1, 6, 1, 0x4a6e90);
        brush_rectangle(b, 3, 4, 10, 1, 0x2c4660);
        break;
    case HAT_BERET:
        brush_rectangle(b, 3, 2, 9, 2, 0x9c3a5a);
        brush_rectangle(b, 5, 1, 6, 1, 0xb8506e);
        brush_rectangle(b, 4, 4, 8, 1, 0x7a2c46);
        break;
    case HAT_HOOD:
        brush_rectangle(b, 4, 1, 8, 2, 0xf0ece4);
        brush_rectangle(b, 3, 3, 2, 7, 0xf0ece4);
        brush_rectangle(b, 11, 3, 2, 7, 0xd8d4cc);
        brush_rectangle(b, 7, 1, 2, 2, 0x3f9c5a);
        break;
    case HAT_NONE: break;
    }
}

static void mirror(const brush *b)
{
    for (int y = 0; y < b->area.h; y++)
        for (int x = 0; x < b->area.w / 2; x++) {
            const int other = b->area.w - 1 - x;
            const uint32_t left = brush_get(b, x, y), right = brush_get(b, other, y);
            if (right == BRUSH_NOTHING)
                brush_clear(b, x, y);
            else
                brush_dot(b, x, y, right);
            if (left == BRUSH_NOTHING)
                brush_clear(b, other, y);
            else
                brush_dot(b, other, y, left);
        }
}

void paint_person(const brush *b, int which, direction facing, int step)
{
    const look *l = &looks[which];
    const direction drawn = facing == WEST ? EAST : facing;
    brush head = *b;
    head.origin_y = step ? 0 : 1; /* a walk bobs */
    paint_legs(b, l, drawn, step);
    paint_body(b, l, drawn, step);
    paint_face(&head, l, drawn);
    paint_hair(&head, l, drawn);
    paint_hat(&head, l->hat);
    brush_outline(b, OUTLINE);
    if (facing == WEST) mirror(b);
}
