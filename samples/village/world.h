/* world.h: the village as it moves: people, paths, the time of day. Knows nothing of pictures or of language. */
#ifndef VILLAGE_WORLD_H
#define VILLAGE_WORLD_H

#include "map.h"

enum { WORLD_NAMES = 20, WORLD_MAX_VILLAGERS = 1000, WORLD_PATH = 96, WORLD_MINUTES = 24 * 60 };

typedef enum direction { SOUTH, NORTH, EAST, WEST } direction;

typedef struct person {
    point at;
    direction facing;
    bool walking;
    float walked; /* tiles, for the steps */
    int look;
    uint8_t path[WORLD_PATH][2]; /* tiles still to go to, from path_at on */
    int path_at, path_count;
} person;

typedef struct villager {
    char name[24];
    const char *job;
    char persona[96]; /* what the model is told that it is */
    int home, work;   /* buildings */
    person body;
    float rest;     /* seconds until the next walk */
    bool attentive; /* stays and looks at somebody */
    point looks_at;
} villager;

typedef struct world {
    map map;
    person player;
    villager *villagers;
    int count;
    double minutes; /* of the day, since midnight */
    uint64_t days;
    uint64_t random;
} world;

bool world_create(world *world, int villagers, uint64_t seed);
void world_destroy(world *world);

/* `dx`, `dy`: where the player wants to go, at most 1 long. */
void world_step(world *world, float seconds, float dx, float dy);

/* The villager nearest to the player, if within `reach` tiles; -1: none. */
int world_nearest(const world *world, float reach);
float world_distance(point a, point b);
void world_look(person *person, point at);
/* Sends a villager off to a place, as near as it can be reached. */
void world_send(world *world, villager *villager, point to);
/* Puts the player in front of a villager. */
void world_visit(world *world, int villager);
int world_find(const world *world, const char *name); /* -1: nobody */

/* A number below `end`, and one in [0, 1). */
uint32_t world_pick(world *world, uint32_t end);
float world_chance(world *world);

#endif
