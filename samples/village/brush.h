/* brush.h: painting into a part of the art's texture. */
#ifndef VILLAGE_BRUSH_H
#define VILLAGE_BRUSH_H

#include "art.h"

/* Coordinates are pixels of the region; what is outside is not painted. */
typedef struct brush {
    uint8_t *pixels; /* of the texture */
    region area;
    int origin_x, origin_y; /* added to what is painted */
} brush;

/* A new region of the texture. */
brush brush_begin(art *art, int w, int h);

void brush_dot(const brush *brush, int x, int y, uint32_t rgb);
void brush_clear(const brush *brush, int x, int y);
uint32_t brush_get(const brush *brush, int x, int y); /* 0xRRGGBB, or BRUSH_NOTHING */
void brush_rectangle(const brush *brush, int x, int y, int w, int h, uint32_t rgb);
/* Coloured by where it is: lit from the upper left, with noise. */
void brush_ball(const brush *brush, float x, float y, float radius_x, float radius_y, uint32_t light, uint32_t dark);
/* A dark line around everything that was painted. */
void brush_outline(const brush *brush, uint32_t rgb);

#define BRUSH_NOTHING 0xffffffffu

uint32_t brush_shade(uint32_t rgb, float factor); /* below 1 darker, above lighter */
/* Smooth noise in [0, 1], features of about one unit. */
float brush_noise(float x, float y, uint32_t which);

/* The painters. */
void paint_ground(const brush *brush);
void paint_building(const brush *walls, const brush *lit, const building *building);
void paint_thing(const brush *brush, thing_kind kind);
void paint_person(const brush *brush, int look, direction facing, int step);

#endif
