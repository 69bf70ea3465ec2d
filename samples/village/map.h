/* map.h: the lie of the land. Units are tiles; x grows to the east, y to the south. */
#ifndef VILLAGE_MAP_H
#define VILLAGE_MAP_H

#include <stdbool.h>
#include <stdint.h>

enum { MAP_WIDTH = 48, MAP_HEIGHT = 34, MAP_BUILDINGS = 12, MAP_LAMPS = 16, MAP_THINGS = 320 };

typedef struct point {
    float x, y;
} point;

typedef enum building_kind {
    BUILDING_FORGE,
    BUILDING_BAKERY,
    BUILDING_INN,
    BUILDING_LIBRARY,
    BUILDING_HEALER,
    BUILDING_HOUSE,
    BUILDING_SHOP,
    BUILDING_FISHER,
    BUILDING_FARM,
    BUILDING_GUARD
} building_kind;

typedef struct building {
    building_kind kind;
    int x, y, w, h; /* what it stands on; the door is in the middle of the south side */
    uint32_t roof, wall;
} building;

typedef enum thing_kind {
    THING_OAK,
    THING_BIRCH,
    THING_PINE,
    THING_BUSH,
    THING_BERRIES,
    THING_ROCK,
    THING_WELL,
    THING_STALL_RED,
    THING_STALL_BLUE,
    THING_BARREL,
    THING_CRATE,
    THING_HAY,
    THING_BOAT,
    THING_SIGN,
    THING_KINDS
} thing_kind;

/* Something that stands on the ground at `at`, the middle of its foot. */
typedef struct thing {
    thing_kind kind;
    point at;
} thing;

typedef struct map {
    thing things[MAP_THINGS];
    int thing_count;
    bool solid[MAP_HEIGHT][MAP_WIDTH];
} map;

extern const building map_buildings[MAP_BUILDINGS];
extern const point map_lamps[MAP_LAMPS];

void map_create(map *map);
bool map_is_solid(const map *map, int x, int y); /* beyond the edge, too */

/* Just south of a building's door. */
point map_door(int building);

/* Distances in tiles to the edge of a path, the square or the river, negative within. */
float map_path_distance(float x, float y);
float map_square_distance(float x, float y);
float map_river_distance(float x, float y);
bool map_is_bridge(float x, float y); /* or landing stage */
bool map_is_field(float x, float y);

/* A number in [0, 1) that is always the same for the same place. */
float map_random(int x, int y, uint32_t which);

#endif
