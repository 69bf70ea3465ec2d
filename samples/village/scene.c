/* scene.c: see scene.h. */
#include "scene.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LIGHTS = 64, MAX_ITEMS = 2048 };

typedef struct colour3 {
    float r, g, b;
} colour3;

typedef struct light {
    point at;
    float radius; /* tiles */
    colour3 colour;
} light;

typedef struct lighting {
    colour3 ambient;
    float darkness; /* 0: day, 1: night */
    light lights[MAX_LIGHTS];
    int count;
} lighting;

/* ---- The time of day -------------------------------------------------------------------------------------------- */

typedef struct moment {
    float hour;
    colour3 ambient;
    float darkness;
} moment;

static const moment day[] = {
    {0, {0.30f, 0.34f, 0.58f}, 1},
    {4.5f, {0.30f, 0.34f, 0.58f}, 1},
    {6, {0.68f, 0.56f, 0.66f}, 0.55f},
    {7.2f, {1, 0.88f, 0.78f}, 0.1f},
    {8.5f, {1, 1, 0.98f}, 0},
    {17, {1, 1, 0.98f}, 0},
    {18.8f, {1, 0.84f, 0.66f}, 0.15f},
    {20.2f, {0.80f, 0.60f, 0.62f}, 0.6f},
    {21.3f, {0.42f, 0.40f, 0.62f}, 0.95f},
    {22.5f, {0.30f, 0.34f, 0.58f}, 1},
    {24, {0.30f, 0.34f, 0.58f}, 1},
};

static float mix(float a, float b, float share)
{
    return a + (b - a) * share;
}

static void add_light(lighting *lighting, point at, float radius, colour3 colour)
{
    if (lighting->count < MAX_LIGHTS) lighting->lights[lighting->count++] = (light){at, radius, colour};
}

static void set_lighting(lighting *lighting, const world *world)
{
    const float hour = (float)(world->minutes / 60);
    size_t i = 1;
    while (day[i].hour < hour) i++;
    const moment *a = &day[i - 1], *b = &day[i];
    const float share = (hour - a->hour) / (b->hour - a->hour);
    lighting->ambient = (colour3){mix(a->ambient.r, b->ambient.r, share), mix(a->ambient.g, b->ambient.g, share),
                                  mix(a->ambient.b, b->ambient.b, share)};
    lighting->darkness = mix(a->darkness, b->darkness, share);
    lighting->count = 0;
    if (lighting->darkness <= 0) return;
    const float d = lighting->darkness;
    for (int lamp = 0; lamp < MAP_LAMPS; lamp++)
        add_light(lighting, map_lamps[lamp], 4.6f, (colour3){0.80f * d, 0.62f * d, 0.34f * d});
    for (int house = 0; house < MAP_BUILDINGS; house++) {
        const point door = map_door(house);
        const bool forge = map_buildings[house].kind == BUILDING_FORGE;
        add_light(lighting, (point){door.x, door.y - 0.2f}, 3.2f,
                  forge ? (colour3){0.75f * d, 0.36f * d, 0.14f * d} : (colour3){0.46f * d, 0.34f * d, 0.16f * d});
    }
    add_light(lighting, world->player.at, 3.0f, (colour3){0.34f * d, 0.28f * d, 0.18f * d});
}

static colour3 light_at(const lighting *lighting, float x, float y)
{
    colour3 sum = lighting->ambient;
    for (int i = 0; i < lighting->count; i++) {
        const light *l = &lighting->lights[i];
        const float dx = (x - l->at.x) / l->radius, dy = (y - l->at.y) / l->radius, away = dx * dx + dy * dy;
        if (away >= 1) continue;
        const float strength = (1 - away) * (1 - away);
        sum.r += l->colour.r * strength;
        sum.g += l->colour.g * strength;
        sum.b += l->colour.b * strength;
    }
    return sum;
}

static rgba lit(const lighting *lighting, float x, float y)
{
    const colour3 c = light_at(lighting, x, y);
    return draw_scale((rgba){255, 255, 255, 255}, c.r, c.g, c.b);
}

/* ---- Where things are on the screen ----------------------------------------------------------------------------- */

static float limit(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

void view_look_at(view *view, point at)
{
    const float tile = ART_TILE * view->zoom, across = MAP_WIDTH * tile, down = MAP_HEIGHT * tile;
    view->left = across <= view->width ? (across - view->width) / 2
                                       : limit(at.x * tile - view->width / 2, 0, across - view->width);
    view->top = down <= view->height ? (down - view->height) / 2
                                     : limit(at.y * tile - view->height / 2 - 0.6f * tile, 0, down - view->height);
    view->left = floorf(view->left);
    view->top = floorf(view->top);
}

static point to_screen(const view *view, point at)
{
    const float tile = ART_TILE * view->zoom;
    return (point){floorf(at.x * tile) - view->left, floorf(at.y * tile) - view->top};
}

static bool is_visible(const view *view, float x, float y, float w, float h)
{
    return x < view->width && y < view->height && x + w > 0 && y + h > 0;
}

/* ---- The ground ------------------------------------------------------------------------------------------------- */

static void draw_ground(view *view, const lighting *lighting)
{
    const float tile = ART_TILE * view->zoom;
    const int first_x = (int)fmaxf(0, view->left / tile), first_y = (int)fmaxf(0, view->top / tile);
    const int end_x = (int)fminf(MAP_WIDTH, (view->left + view->width) / tile + 1);
    const int end_y = (int)fminf(MAP_HEIGHT, (view->top + view->height) / tile + 1);
    rgba above[MAP_WIDTH + 1], below[MAP_WIDTH + 1];
    for (int x = first_x; x <= end_x; x++) below[x] = lit(lighting, (float)x, (float)first_y);
    for (int y = first_y; y < end_y; y++) {
        memcpy(above, below, sizeof above);
        for (int x = first_x; x <= end_x; x++) below[x] = lit(lighting, (float)x, (float)y + 1);
        for (int x = first_x; x < end_x; x++) {
            const point at = to_screen(view, (point){(float)x, (float)y});
            const rgba corners[4] = {above[x], above[x + 1], below[x], below[x + 1]};
            const region source = {(uint16_t)(view->art->ground.x + x * ART_TILE),
                                   (uint16_t)(view->art->ground.y + y * ART_TILE), ART_TILE, ART_TILE};
            draw_sprite_shaded(view->list, source, at.x, at.y, tile, tile, corners);
        }
    }
}

/* Glints that come and go on the river. */
static void draw_water(view *view, const lighting *lighting)
{
    for (int y = 0; y < MAP_HEIGHT; y++)
        for (int x = 38; x < 46; x++) {
            const float px = (float)x + map_random(x, y, 200), py = (float)y + map_random(x, y, 201);
            if (map_river_distance(px, py) > -0.5f || map_is_bridge(px, py)) continue;
            const float phase = (float)fmod(view->seconds * 0.35 + map_random(x, y, 202), 1);
            const float strength = sinf(phase * 3.14159f);
            const point at = to_screen(view, (point){px + phase * 0.1f, py + phase * 0.4f});
            const float length = (2 + floorf(3 * map_random(x, y, 203))) * view->zoom;
            if (strength < 0.3f || !is_visible(view, at.x, at.y, length, view->zoom)) continue;
            draw_rectangle(view->list, at.x, at.y, length, view->zoom,
                           draw_colour(0xdff4ff, 0.5f * strength * (0.35f + 0.65f * lighting->ambient.g)));
        }
}

/* ---- What stands on it ------------------------------------------------------------------------------------------ */

typedef enum item_kind { ITEM_THING, ITEM_BUILDING, ITEM_LAMP, ITEM_PERSON } item_kind;

typedef struct item {
    float y;
    item_kind kind;
    int index;
    const person *person;
} item;

static int compare_items(const void *a, const void *b)
{
    const float first = ((const item *)a)->y, second = ((const item *)b)->y;
    return first < second ? -1 : first > second;
}

/* What stands before the player, or before somebody near, is seen through. */
static bool hides_people(const world *world, region source, point foot)
{
    const float w = (float)source.w / ART_TILE / 2, h = (float)source.h / ART_TILE;
    for (int i = -1; i < world->count; i++) {
        const point at = i < 0 ? world->player.at : world->villagers[i].body.at;
        if (world_distance(at, world->player.at) > 5 || at.y > foot.y) continue;
        if (fabsf(at.x - foot.x) < w + 0.1f && at.y > foot.y - h && at.y - 1.2f < foot.y) return true;
    }
    return false;
}

static void draw_standing(view *view, const lighting *lighting, region source, point foot, float alpha)
{
    const float w = source.w * view->zoom, h = source.h * view->zoom;
    const point at = to_screen(view, foot);
    const float x = floorf(at.x - w / 2), y = at.y - h;
    if (!is_visible(view, x, y, w, h)) return;
    rgba colour = lit(lighting, foot.x, foot.y);
    if (alpha < 1)
        colour = (rgba){(uint8_t)(colour.r * alpha), (uint8_t)(colour.g * alpha), (uint8_t)(colour.b * alpha),
                        (uint8_t)(255 * alpha)};
    draw_sprite(view->list, DRAW_ART, source, x, y, w, h, colour);
}

static void draw_shadow(view *view, point foot, float width)
{
    const point at = to_screen(view, foot);
    const float w = width * view->zoom, h = w * 0.45f;
    draw_sprite(view->list, DRAW_ART, view->art->shadow, at.x - w / 2, at.y - h * 0.7f, w, h,
                (rgba){255, 255, 255, 255});
}

static void draw_person(view *view, const lighting *lighting, const person *person)
{
    const int step = person->walking ? 1 + (int)(person->walked * 2.4f) % 2 : 0;
    draw_shadow(view, person->at, 13);
    draw_standing(view, lighting, view->art->people[person->look][person->facing][step],
                  (point){person->at.x, person->at.y + 0.12f}, 1);
}

static void draw_building(view *view, const lighting *lighting, int index)
{
    const building *b = &map_buildings[index];
    const region source = view->art->buildings[index];
    const float w = source.w * view->zoom, h = source.h * view->zoom;
    const point foot = to_screen(view, (point){(float)b->x + (float)b->w / 2, (float)(b->y + b->h)});
    const float x = floorf(foot.x - w / 2), y = foot.y - h, ground = (float)(b->y + b->h);
    if (!is_visible(view, x, y, w, h)) return;
    const rgba roof =
        draw_scale((rgba){255, 255, 255, 255}, lighting->ambient.r, lighting->ambient.g, lighting->ambient.b);
    const rgba corners[4] = {roof, roof, lit(lighting, (float)b->x, ground),
                             lit(lighting, (float)(b->x + b->w), ground)};
    draw_sprite_shaded(view->list, source, x, y, w, h, corners);
    const float d = lighting->darkness;
    if (d > 0) draw_sprite(view->list, DRAW_ART, view->art->buildings_lit[index], x, y, w, h, draw_colour(0xffffff, d));
}

static void draw_lamp(view *view, const lighting *lighting, int index)
{
    draw_shadow(view, map_lamps[index], 9);
    draw_standing(view, lighting, view->art->lamp, map_lamps[index], 1);
    if (lighting->darkness <= 0) return;
    const region source = view->art->lamp_lit;
    const point at = to_screen(view, map_lamps[index]);
    const float w = source.w * view->zoom, h = source.h * view->zoom;
    draw_sprite(view->list, DRAW_ART, source, floorf(at.x - w / 2), at.y - h, w, h,
                draw_colour(0xffffff, lighting->darkness));
}

static float shadow_width(thing_kind kind)
{
    static const float widths[THING_KINDS] = {
        [THING_OAK] = 26,   [THING_BIRCH] = 20, [THING_PINE] = 22,      [THING_BUSH] = 18,       [THING_BERRIES] = 18,
        [THING_ROCK] = 12,  [THING_WELL] = 34,  [THING_STALL_RED] = 50, [THING_STALL_BLUE] = 50, [THING_BARREL] = 14,
        [THING_CRATE] = 16, [THING_HAY] = 18,   [THING_SIGN] = 10};
    return widths[kind];
}

static void draw_item(view *view, const world *world, const lighting *lighting, const item *item)
{
    switch (item->kind) {
    case ITEM_THING: {
        const thing *thing = &world->map.things[item->index];
        if (shadow_width(thing->kind) > 0) draw_shadow(view, thing->at, shadow_width(thing->kind));
        const region source = view->art->things[thing->kind];
        draw_standing(view, lighting, source, thing->at,
                      thing->kind <= THING_PINE && hides_people(world, source, thing->at) ? 0.45f : 1);
        break;
    }
    case ITEM_BUILDING: draw_building(view, lighting, item->index); break;
    case ITEM_LAMP: draw_lamp(view, lighting, item->index); break;
    case ITEM_PERSON: draw_person(view, lighting, item->person); break;
    }
}

static void draw_items(view *view, const world *world, const lighting *lighting)
{
    item items[MAX_ITEMS];
    int count = 0;
    for (int i = 0; i < world->map.thing_count; i++)
        items[count++] = (item){world->map.things[i].at.y, ITEM_THING, i, NULL};
    for (int i = 0; i < MAP_BUILDINGS; i++)
        items[count++] = (item){(float)(map_buildings[i].y + map_buildings[i].h), ITEM_BUILDING, i, NULL};
    for (int i = 0; i < MAP_LAMPS; i++) items[count++] = (item){map_lamps[i].y, ITEM_LAMP, i, NULL};
    items[count++] = (item){world->player.at.y, ITEM_PERSON, -1, &world->player};
    for (int i = 0; i < world->count && count < MAX_ITEMS; i++)
        items[count++] = (item){world->villagers[i].body.at.y, ITEM_PERSON, i, &world->villagers[i].body};
    qsort(items, (size_t)count, sizeof items[0], compare_items);
    for (int i = 0; i < count; i++) draw_item(view, world, lighting, &items[i]);
}

/* ---- Light and air ---------------------------------------------------------------------------------------------- */

static void draw_smoke(view *view, const lighting *lighting)
{
    for (int i = 0; i < MAP_BUILDINGS; i++) {
        const building *b = &map_buildings[i];
        if (b->kind == BUILDING_GUARD) continue;
        const point chimney = {(float)(b->x + b->w) - 0.75f, (float)b->y - 1.4f};
        for (int puff = 0; puff < 5; puff++) {
            const float age = (float)fmod(view->seconds * 0.16 + puff * 0.2 + i * 0.37, 1);
            const point at = to_screen(
                view, (point){chimney.x + sinf(age * 5 + (float)i) * 0.12f + age * 0.7f, chimney.y - age * 1.9f});
            const float radius = (2.2f + 5 * age) * view->zoom;
            const uint32_t tone = lighting->darkness > 0.5f ? 0x8088a0 : 0xe8e8ec;
            draw_sprite(view->list, DRAW_GLYPHS, view->list->disc, at.x - radius, at.y - radius, 2 * radius, 2 * radius,
                        draw_colour(tone, 0.22f * (1 - age)));
        }
    }
}

static void draw_glows(view *view, const lighting *lighting)
{
    const float d = lighting->darkness, tile = ART_TILE * view->zoom;
    if (d <= 0) return;
    for (int i = 0; i < MAP_LAMPS; i++) {
        const point at = to_screen(view, (point){map_lamps[i].x, map_lamps[i].y - 1.65f});
        const float flicker = 1 + 0.05f * sinf((float)view->seconds * 7 + (float)i * 2);
        draw_glow(view->list, at.x, at.y, 1.9f * tile * flicker, draw_light(0xffb050, 0.42f * d));
        draw_glow(view->list, at.x, at.y, 0.7f * tile, draw_light(0xffe0a0, 0.5f * d));
    }
    for (int i = 0; i < MAP_BUILDINGS; i++) {
        const point door = map_door(i), at = to_screen(view, (point){door.x, door.y - 1.2f});
        draw_glow(view->list, at.x, at.y, 2.4f * tile,
                  draw_light(map_buildings[i].kind == BUILDING_FORGE ? 0xff6a20 : 0xffa040, 0.22f * d));
    }
    for (int i = 0; i < 26 && d > 0.8f; i++) { /* fireflies */
        const float t = (float)view->seconds * 0.3f + (float)i * 1.7f;
        const point at = to_screen(view, (point){48 * map_random(i, 0, 210) + sinf(t * 1.3f) * 1.2f,
                                                 34 * map_random(i, 0, 211) + cosf(t) * 0.9f});
        draw_glow(view->list, at.x, at.y, 0.22f * tile, draw_light(0xd8ff80, 0.8f * fmaxf(0, sinf(t * 3))));
    }
}

void scene_draw(view *view, const world *world)
{
    lighting lighting;
    set_lighting(&lighting, world);
    draw_rectangle(view->list, 0, 0, view->width, view->height,
                   draw_scale(draw_colour(0x2c4a2c, 1), lighting.ambient.r, lighting.ambient.g, lighting.ambient.b));
    draw_ground(view, &lighting);
    draw_water(view, &lighting);
    draw_items(view, world, &lighting);
    draw_smoke(view, &lighting);
    draw_glows(view, &lighting);
}
