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
void panel_draw(panel *panel, view *view, const world *world, const talk *talk, const stats *stats);
/* The pointer is pressed, moved or let go. True if the panel takes it. */
bool panel_pointer(panel *panel, float x, float y, bool down);

#endif
