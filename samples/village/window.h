/* window.h: the window, keyboard, pointer and gamepad, through SDL. */
#ifndef VILLAGE_WINDOW_H
#define VILLAGE_WINDOW_H

#include "gpu.h"
#include "input.h"

typedef struct window window;

/* Reports why no window can be opened. */
bool window_open(uint32_t width, uint32_t height, window **out);
void window_close(window *window); /* accepts NULL */

/* The instance extensions that its surface needs. */
const char *const *window_extensions(const window *window, uint32_t *count);
bool window_create_surface(window *window, VkInstance instance, VkSurfaceKHR *surface);
VkExtent2D window_extent(const window *window); /* pixels */
void window_resize(window *window, uint32_t width, uint32_t height);

/* What happened since the last call. While the player types, keys are letters. */
void window_read(window *window, bool typing, input *input);

/* A button of a gamepad, by SDL's name (a, b, x, y, back, leftshoulder, ...), goes down or up. Where none is plugged
 * in, one is imagined; buttons of one that is real are not pressed. */
bool window_press_pad(window *window, const char *button, bool down);

#endif
