/* panel.h: what is drawn over the scene: the clock, the line that is typed, notices, and the panel of figures (F1). */
#ifndef VILLAGE_PANEL_H
#define VILLAGE_PANEL_H

#include "scene.h"
#include "stats.h"

enum { PANEL_LEAST_BUDGET = 500, PANEL_MOST_BUDGET = 8000 };

typedef struct panel {
    bool open;
    bool dragging;
    uint32_t budget_us;
    char about[256]; /* device and model */
    char notice[160];
    float notice_seconds;                         /* that it will still be shown */
    float slider_x, slider_y, slider_w, slider_h; /* on the screen, where it was drawn last */
} panel;

void panel_notify(panel *panel, const char *format, ...);
/* Pixels on the right that the open panel takes. */
float panel_width(const panel *panel, float ui);
void panel_draw(panel *panel, view *view, const world *world, const talk *talk, const stats *stats);
/* A picture of its own, while there is no village yet. */
void panel_draw_waiting(view *view, const char *what, uint64_t done, uint64_t total);
/* The pointer is pressed, moved or let go. True if the panel takes it. */
bool panel_pointer(panel *panel, float x, float y, bool down);

#endif
