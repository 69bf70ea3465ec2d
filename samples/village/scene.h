/* scene.h: draws the village as the player sees it. */
#ifndef VILLAGE_SCENE_H
#define VILLAGE_SCENE_H

#include "art.h"
#include "talk.h"
#include "text.h"

/* What there is to draw with, and how large. */
typedef struct view {
    draw_list *list;
    const art *art;
    text *text;
    float width, height; /* pixels */
    float covered;       /* pixels on the right that the panel takes */
    float ui;            /* pixels per unit of layout */
    float zoom;          /* pixels per pixel of art */
    float left, top;     /* the corner that is seen, in pixels of the whole village */
    double seconds;      /* for what moves by itself */
} view;

void view_look_at(view *view, point at);

void scene_draw(view *view, const world *world);
/* Names, speech bubbles: over the scene, below the panel. */
void scene_draw_talk(view *view, const world *world, const talk *talk);

#endif
