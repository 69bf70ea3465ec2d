/* map.c: see map.h. */
#include "map.h"

#include <math.h>
#include <string.h>

const building map_buildings[MAP_BUILDINGS] = {
    {BUILDING_FORGE, 26, 7, 6, 3, 0x5b6270, 0x8d8578},   {BUILDING_BAKERY, 14, 7, 5, 3, 0xb5543c, 0xe8d8b0},
    {BUILDING_INN, 25, 20, 7, 3, 0x9c4a3a, 0xe3cfa0},    {BUILDING_LIBRARY, 6, 7, 6, 3, 0x4a5f8c, 0xd9d2c0},
    {BUILDING_HEALER, 6, 20, 5, 3, 0x4f8a6a, 0xe8e2d0},  {BUILDING_HOUSE, 13, 20, 5, 3, 0xa8743c, 0xe6d5ac},
    {BUILDING_HOUSE, 34, 7, 5, 3, 0x8a5a7a, 0xe0d0b0},   {BUILDING_SHOP, 33, 20, 5, 3, 0x6a5a9c, 0xe5d6b4},
    {BUILDING_FISHER, 34, 27, 4, 3, 0x4c7f96, 0xb89a72}, {BUILDING_FARM, 4, 27, 5, 3, 0xa0522d, 0xd8b88a},
    {BUILDING_GUARD, 24, 2, 4, 3, 0x667079, 0x9a958c},   {BUILDING_HOUSE, 26, 27, 5, 3, 0x7f8f4a, 0xe6d8b4},
};

const point map_lamps[MAP_LAMPS] = {
    {18.6f, 13.4f}, {25.4f, 13.4f}, {18.6f, 19.2f}, {25.2f, 18.9f}, {12.5f, 15.3f}, {6.0f, 15.3f},
    {31.5f, 15.3f}, {37.6f, 15.2f}, {20.6f, 8.5f},  {20.6f, 3.5f},  {33.0f, 11.2f}, {12.6f, 10.6f},
    {20.7f, 24.6f}, {31.2f, 24.8f}, {11.7f, 24.2f}, {44.5f, 15.3f},
};

typedef struct stretch {
    float x0, y0, x1, y1, half_width;
} stretch;

static const stretch paths[] = {
    {-1, 16.5f, 49, 16.5f, 1.0f},    {22, -1, 22, 35, 0.95f},          {9, 11.3f, 37, 11.3f, 0.7f},
    {6, 24.3f, 36, 24.3f, 0.7f},     {9, 10, 9, 11.3f, 0.5f},          {16.5f, 10, 16.5f, 11.3f, 0.5f},
    {29, 10, 29, 11.3f, 0.5f},       {36.5f, 10, 36.5f, 11.3f, 0.5f},  {8.5f, 23, 8.5f, 24.3f, 0.5f},
    {15.5f, 23, 15.5f, 24.3f, 0.5f}, {28.5f, 23, 28.5f, 24.3f, 0.5f},  {35.5f, 23, 35.5f, 24.3f, 0.5f},
    {36, 30.6f, 36, 24.3f, 0.5f},    {6.5f, 30.5f, 6.5f, 31.3f, 0.6f}, {6.5f, 31.3f, 22, 31.5f, 0.55f},
    {22, 31.5f, 28.5f, 31, 0.55f},   {26, 5.5f, 22, 5.8f, 0.55f},      {36, 30.8f, 38.5f, 30.8f, 0.5f},
};

static const point square = {22, 16.5f};
static const float square_radius = 4.2f;

float map_random(int x, int y, uint32_t which)
{
    uint32_t h = (uint32_t)x * 0x9e3779b1u ^ (uint32_t)y * 0x85ebca77u ^ which * 0xc2b2ae3du;
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    h = (h ^ h >> 12) * 0x297a2d39u;
    return (float)((h ^ h >> 15) >> 8) / 16777216;
}

static float stretch_distance(const stretch *s, float x, float y)
{
    const float dx = s->x1 - s->x0, dy = s->y1 - s->y0;
    float along = ((x - s->x0) * dx + (y - s->y0) * dy) / (dx * dx + dy * dy);
    along = along < 0 ? 0 : along > 1 ? 1 : along;
    return hypotf(x - s->x0 - along * dx, y - s->y0 - along * dy) - s->half_width;
}

float map_path_distance(float x, float y)
{
    float nearest = 1e9f;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        nearest = fminf(nearest, stretch_distance(&paths[i], x, y));
    return nearest;
}

float map_square_distance(float x, float y)
{
    return hypotf(x - square.x, (y - square.y) * 1.15f) - square_radius;
}

float map_river_distance(float x, float y)
{
    const float middle = 41.2f + 0.9f * sinf(y * 0.21f) + 0.35f * sinf(y * 0.63f + 1);
    return fabsf(x - middle) - 1.9f;
}

bool map_is_bridge(float x, float y)
{
    const bool bridge = fabsf(y - 16.5f) < 1.05f && map_river_distance(x, y) < 0.5f;
    const bool landing = fabsf(y - 30.8f) < 0.75f && x > 38 && x < 41.2f;
    return bridge || landing;
}

bool map_is_field(float x, float y)
{
    return x >= 10 && x < 20 && y >= 27 && y < 30.4f;
}

point map_door(int index)
{
    const building *b = &map_buildings[index];
    return (point){(float)b->x + (float)b->w / 2, (float)(b->y + b->h) + 0.45f};
}

bool map_is_solid(const map *map, int x, int y)
{
    return x < 0 || y < 0 || x >= MAP_WIDTH || y >= MAP_HEIGHT || map->solid[y][x];
}

/* ---- What stands there ------------------------------------------------------------------------------------------ */

static void block(map *map, int x, int y, int w, int h)
{
    for (int row = y; row < y + h; row++)
        for (int column = x; column < x + w; column++)
            if (row >= 0 && column >= 0 && row < MAP_HEIGHT && column < MAP_WIDTH) map->solid[row][column] = true;
}

static void put(map *map, thing_kind kind, float x, float y)
{
    if (map->thing_count < MAP_THINGS) map->things[map->thing_count++] = (thing){kind, {x, y}};
}

static void put_solid(map *map, thing_kind kind, int x, int y, int w, int h)
{
    put(map, kind, (float)x + (float)w / 2, (float)(y + h) - 0.15f);
    block(map, x, y, w, h);
}

/* Is there free ground around the middle of this tile? */
static bool is_meadow(const map *map, int x, int y)
{
    const float cx = (float)x + 0.5f, cy = (float)y + 0.5f;
    if (map_path_distance(cx, cy) < 0.9f || map_square_distance(cx, cy) < 1 || map_river_distance(cx, cy) < 0.9f)
        return false;
    if (map_is_field(cx, cy) || map_is_field(cx - 0.8f, cy) || map_is_field(cx + 0.8f, cy)) return false;
    for (int row = y - 1; row <= y + 3; row++)
        for (int column = x - 1; column <= x + 1; column++)
            if (row < MAP_HEIGHT && map_is_solid(map,
                                                 column < 0            ? 0
                                                 : column >= MAP_WIDTH ? MAP_WIDTH - 1
                                                                       : column,
                                                 row < 0 ? 0 : row))
                return false;
    return true;
}

/* Woods at the edges, single trees within. */
static void plant(map *map)
{
    for (int y = 0; y < MAP_HEIGHT; y++)
        for (int x = 0; x < MAP_WIDTH; x++) {
            const int edge =
                (int)fminf(fminf((float)x, (float)(MAP_WIDTH - 1 - x)), fminf((float)y, (float)(MAP_HEIGHT - 1 - y)));
            const float woods = edge < 1 ? 0.85f : edge < 3 ? 0.5f : edge < 5 ? 0.22f : 0.1f;
            const float luck = map_random(x, y, 1), which = map_random(x, y, 2);
            if (luck > woods + 0.09f || !is_meadow(map, x, y)) continue;
            const float jitter = map_random(x, y, 3) * 0.4f - 0.2f;
            if (luck > woods) {
                thing_kind small = which < 0.4f ? THING_BUSH : which < 0.6f ? THING_BERRIES : THING_ROCK;
                put(map, small, (float)x + 0.5f + jitter, (float)y + 0.85f);
                if (small != THING_ROCK) map->solid[y][x] = true;
                continue;
            }
            /* Nor where it would hide people on a path behind it. */
            if (map_path_distance((float)x + 0.5f, (float)y - 0.9f) < 0.6f ||
                map_square_distance((float)x + 0.5f, (float)y - 1) < 0.5f)
                continue;
            put(map,
                which < 0.45f   ? THING_OAK
                : which < 0.65f ? THING_BIRCH
                                : THING_PINE,
                (float)x + 0.5f + jitter, (float)y + 0.8f);
            map->solid[y][x] = true;
        }
}

void map_create(map *map)
{
    memset(map, 0, sizeof *map);
    for (int y = 0; y < MAP_HEIGHT; y++)
        for (int x = 0; x < MAP_WIDTH; x++) {
            const float cx = (float)x + 0.5f, cy = (float)y + 0.5f;
            map->solid[y][x] = map_river_distance(cx, cy) < 0.2f && !map_is_bridge(cx, cy);
        }
    for (int i = 0; i < MAP_BUILDINGS; i++)
        block(map, map_buildings[i].x, map_buildings[i].y, map_buildings[i].w, map_buildings[i].h);
    put_solid(map, THING_WELL, 21, 15, 2, 2);
    put_solid(map, THING_STALL_RED, 17, 14, 3, 1);
    put_solid(map, THING_STALL_BLUE, 24, 14, 3, 1);
    put_solid(map, THING_BARREL, 32, 9, 1, 1);
    put_solid(map, THING_BARREL, 25, 9, 1, 1);
    put_solid(map, THING_CRATE, 38, 22, 1, 1);
    put_solid(map, THING_CRATE, 32, 22, 1, 1);
    put_solid(map, THING_CRATE, 38, 29, 1, 1);
    put_solid(map, THING_BARREL, 24, 22, 1, 1);
    put_solid(map, THING_HAY, 9, 28, 1, 1);
    put_solid(map, THING_HAY, 20, 28, 1, 1);
    put_solid(map, THING_SIGN, 19, 18, 1, 1);
    put(map, THING_BOAT, 41.0f, 29.6f);
    plant(map);
}
