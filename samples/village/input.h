/* input.h: what the player wants in a frame, from whichever device or script it comes. */
#ifndef VILLAGE_INPUT_H
#define VILLAGE_INPUT_H

#include <stdbool.h>

typedef struct input {
    float dx, dy; /* to walk, at most 1 long */
    bool talk;    /* start talking, or send the line */
    bool leave, erase, suggest;
    bool panel, save, load, rewind;
    bool close; /* the window */
    bool resized;
    int budget_steps; /* of 0.5 ms */
    char text[256];   /* typed */
    bool pointer_down;
    float pointer_x, pointer_y; /* pixels */
} input;

#endif
