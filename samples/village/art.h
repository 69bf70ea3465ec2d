/* art.h: every picture of the game, painted by the program at its start into one texture. */
#ifndef VILLAGE_ART_H
#define VILLAGE_ART_H

#include "draw.h"
#include "world.h"

enum {
    ART_TILE = 16, /* pixels of art per tile */
    ART_WIDTH = 1024,
    ART_HEIGHT = 1024,
    ART_LOOKS = 21, /* of people; the last is the player's */
    ART_STEPS = 3,  /* standing, left foot, right foot */
    ART_PERSON_WIDTH = 16,
    ART_PERSON_HEIGHT = 24
};

typedef struct art {
    uint8_t *pixels; /* RGBA, premultiplied */
    uint32_t shelf_x, shelf_y, shelf_height;
    region white, ground, shadow, lamp, lamp_lit;
    region things[THING_KINDS];
    region buildings[MAP_BUILDINGS], buildings_lit[MAP_BUILDINGS]; /* lit: only the windows */
    region people[ART_LOOKS][4][ART_STEPS];
} art;

bool art_create(art *art);
void art_release(art *art); /* its pixels, when the device has them */

#endif
