/* game.h: everything together, a frame at a time. */
#ifndef VILLAGE_GAME_H
#define VILLAGE_GAME_H

#include "options.h"
#include "panel.h"
#include "renderer.h"
#include "script.h"
#include "window.h"

typedef struct game {
    options options;
    window *window; /* NULL: offscreen */
    gpu gpu;
    screen screen;
    renderer *renderer;
    art art;
    text *text;
    float ui; /* that the text was made for */
    world world;
    minds *minds;
    talk talk;
    panel panel;
    stats stats;
    script *script;         /* NULL: none */
    const char *screenshot; /* to be kept of this frame; NULL: none */
    FILE *transcript, *frame_log;
    double seconds;     /* of the game */
    double frame_start; /* of the clock */
    uint32_t suggestion;
    bool closed;
} game;

/* Closing the window while the game opens sets `closed`, and no frame can be played. Both report what fails; game_close
 * after either. */
bool game_open(game *game, const options *options);
bool game_frame(game *game);
void game_close(game *game);

bool game_resize(game *game, uint32_t width, uint32_t height);

#endif
