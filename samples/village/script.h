/* script.h: a player made of lines of text, for tests and pictures.
 *
 *   visit NAME        stand before a villager
 *   say TEXT          talk to whoever is near, say TEXT and wait for the whole answer
 *   type TEXT         the same without sending it
 *   leave             end the conversation
 *   walk DX DY N      walk for N frames
 *   wait N            let N frames go by
 *   time HH:MM        make it so late
 *   key NAME          F1, F5, F6, F9, Enter or Tab
 *   pad BUTTON        of a gamepad, by SDL's name; needs a window
 *   slider SHARE      drag the panel's slider so far along, 0 to 1
 *   budget N          microseconds of a frame for the model
 *   screenshot FILE   keep the picture of this frame
 *   resize W H        of the window, or of the picture where there is none
 *   close             close the window
 *
 * Empty lines and lines that begin with # say nothing.
 */
#ifndef VILLAGE_SCRIPT_H
#define VILLAGE_SCRIPT_H

#include "input.h"

#include <stdint.h>

struct game;

typedef struct script script;

/* All of it is checked before anything happens. Reports what is wrong. */
bool script_open(const char *path, script **out);
void script_close(script *script); /* accepts NULL */

/* Adds what the script wants in this frame. False if a command cannot be carried out, which is reported. */
bool script_step(script *script, struct game *game, input *input);
bool script_ended(const script *script);

#endif
