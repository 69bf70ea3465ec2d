/* panel.c: see panel.h. */
#include "panel.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PANEL_WIDTH = 300, PANEL_MARGIN = 12 };

static const uint32_t glass = 0x1b1a24, bright = 0xf4f1ea, dim = 0xb4b0bc, green = 0x7fd08a, orange = 0xf2b05a,
                      red = 0xe8736a;

void panel_notify(panel *panel, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(panel->notice, sizeof panel->notice, format, list);
    va_end(list);
    panel->notice_seconds = 3.5f;
}

/* ---- Text in columns -------------------------------------------------------------------------------------------- */

static void print(view *view, text_size size, float x, float y, uint32_t rgb, const char *string)
{
    text_draw(view->text, view->list, size, x, y, draw_colour(rgb, 1), string, strlen(string));
}

static void print_right(view *view, text_size size, float right, float y, uint32_t rgb, const char *string)
{
    print(view, size, right - text_width(view->text, size, string, strlen(string)), y, rgb, string);
}

/* A name on the left and a value on the right; returns the next line's place. */
static float row(view *view, float x, float y, float w, uint32_t rgb, const char *name, const char *format, ...)
{
    char value[96];
    va_list list;
    va_start(list, format);
    vsnprintf(value, sizeof value, format, list);
    va_end(list);
    print(view, TEXT_SMALL, x, y, dim, name);
    print_right(view, TEXT_SMALL, x + w, y, rgb, value);
    return y + text_line_height(view->text, TEXT_SMALL) + 1 * view->ui;
}

/* ---- The clock, the line, notices ------------------------------------------------------------------------------- */

static void draw_clock(view *view, const world *world)
{
    char line[48];
    const float ui = view->ui, h = 30 * ui, x = 12 * ui, y = 12 * ui;
    const int minutes = (int)world->minutes;
    const bool is_day = minutes >= 6 * 60 + 30 && minutes < 20 * 60;
    snprintf(line, sizeof line, "Day %llu   %02d:%02d", (unsigned long long)world->days + 1, minutes / 60,
             minutes % 60);
    const float w = text_width(view->text, TEXT_BODY, line, strlen(line)) + 46 * ui;
    draw_round(view->list, x, y, w, h, 9 * ui, draw_colour(glass, 0.78f));
    draw_round(view->list, x + 9 * ui, y + 7 * ui, 16 * ui, 16 * ui, 8 * ui,
               draw_colour(is_day ? 0xffd35a : 0xdfe6ff, 1));
    if (!is_day) draw_round(view->list, x + 14 * ui, y + 6 * ui, 13 * ui, 13 * ui, 6.5f * ui, draw_colour(glass, 1));
    print(view, TEXT_BODY, x + 34 * ui, y + (h - text_line_height(view->text, TEXT_BODY)) / 2, bright, line);
}

static void draw_hint(view *view, const char *hint)
{
    const float ui = view->ui, h = text_line_height(view->text, TEXT_SMALL) + 8 * ui;
    const float w = text_width(view->text, TEXT_SMALL, hint, strlen(hint)) + 24 * ui;
    const float x = floorf((view->width - w) / 2), y = view->height - h - 10 * ui;
    draw_round(view->list, x, y, w, h, 8 * ui, draw_colour(glass, 0.66f));
    print(view, TEXT_SMALL, x + 12 * ui, y + 4 * ui, dim, hint);
}

/* The end of what is typed, as much of it as there is room for. */
static void draw_line(view *view, const world *world, const talk *talk)
{
    char who[40];
    const float ui = view->ui, w = fminf(640 * ui, view->width - 32 * ui), h = 40 * ui;
    const float x = floorf((view->width - w) / 2), y = view->height - h - 16 * ui;
    const float line_y = y + (h - text_line_height(view->text, TEXT_BODY)) / 2;
    snprintf(who, sizeof who, "To %s:", world->villagers[talk->partner].name);
    draw_round(view->list, x - 2 * ui, y - 2 * ui, w + 4 * ui, h + 4 * ui, 12 * ui, draw_colour(0xe8c46a, 0.9f));
    draw_round(view->list, x, y, w, h, 10 * ui, draw_colour(glass, 0.97f));
    print(view, TEXT_BODY, x + 14 * ui, line_y, 0xe8c46a, who);
    const float start = x + 24 * ui + text_width(view->text, TEXT_BODY, who, strlen(who));
    if (talk->asked || talk->answering) {
        print(view, TEXT_BODY, start, line_y, dim, "...");
        return;
    }
    const char *line = talk->line;
    while (*line && text_width(view->text, TEXT_BODY, line, strlen(line)) > x + w - 20 * ui - start)
        for (line++; ((unsigned char)*line & 0xc0) == 0x80; line++) {}
    const float end =
        start + text_draw(view->text, view->list, TEXT_BODY, start, line_y, draw_colour(bright, 1), line, strlen(line));
    if (fmod(view->seconds, 1) < 0.6)
        draw_rectangle(view->list, floorf(end + 1 * ui), y + 10 * ui, fmaxf(1, floorf(1.5f * ui)), h - 20 * ui,
                       draw_colour(bright, 1));
    if (!*talk->line)
        print(view, TEXT_BODY, start + 8 * ui, line_y, 0x77727f, "say something and press Enter (Esc: leave)");
}

static void draw_notice(panel *panel, view *view)
{
    if (panel->notice_seconds <= 0) return;
    const float ui = view->ui, fade = fminf(1, panel->notice_seconds), h = 32 * ui;
    const float w = text_width(view->text, TEXT_BODY, panel->notice, strlen(panel->notice)) + 32 * ui;
    const float x = floorf((view->width - w) / 2), y = 14 * ui;
    draw_round(view->list, x, y, w, h, 10 * ui, draw_colour(glass, 0.85f * fade));
    text_draw(view->text, view->list, TEXT_BODY, x + 16 * ui, y + (h - text_line_height(view->text, TEXT_BODY)) / 2,
              draw_colour(bright, fade), panel->notice, strlen(panel->notice));
}

/* ---- The figures ------------------------------------------------------------------------------------------------ */

float panel_width(const panel *panel, float ui)
{
    return panel->open ? (PANEL_WIDTH + PANEL_MARGIN) * ui : 0;
}

static float draw_graph(view *view, const stats *stats, const panel *panel, float x, float y, float w)
{
    const float ui = view->ui, h = 84 * ui, most = 33.4f; /* milliseconds */
    draw_round(view->list, x, y, w, h, 5 * ui, draw_colour(0x0f0e15, 0.9f));
    const float bar = w / STATS_RECENT;
    for (uint32_t i = 0; i < STATS_RECENT && i < stats->frames; i++) {
        const frame_times *t = &stats->recent[(stats->frames - 1 - i) % STATS_RECENT];
        const float frame = (float)t->frame_us / 1000, model = (float)t->model_us / 1000;
        const float high = fminf(1, frame / most) * (h - 6 * ui), own = fminf(1, model / most) * (h - 6 * ui);
        const float at = x + w - (float)(i + 1) * bar;
        draw_rectangle(view->list, at, y + h - 3 * ui - high, bar, high,
                       draw_colour(frame < 17.5f ? 0x4f8f86
                                   : frame < 34  ? 0xb08a4a
                                                 : 0xb0564e,
                                   0.9f));
        draw_rectangle(view->list, at, y + h - 3 * ui - own, bar, own, draw_colour(orange, 1));
    }
    draw_rectangle(view->list, x, floorf(y + h - 3 * ui - 16.7f / most * (h - 6 * ui)), w, 1,
                   draw_colour(bright, 0.35f));
    const float budget = floorf(y + h - 3 * ui - (float)panel->budget_us / 1000 / most * (h - 6 * ui));
    draw_rectangle(view->list, x, budget, w, 1, draw_colour(orange, 0.8f));
    print(view, TEXT_SMALL, x + 5 * ui,
          floorf(y + h - 3 * ui - 16.7f / most * (h - 6 * ui)) - text_line_height(view->text, TEXT_SMALL), dim,
          "16.7 ms");
    return y + h + 6 * ui;
}

static float draw_slider(panel *panel, view *view, float x, float y, float w)
{
    const float ui = view->ui, h = 18 * ui;
    const float budget = ((float)panel->budget_us - PANEL_LEAST_BUDGET) / (PANEL_MOST_BUDGET - PANEL_LEAST_BUDGET);
    const float share = fminf(fmaxf(budget, 0), 1); /* --budget-us may be beyond either end */
    panel->slider_x = x;
    panel->slider_y = y;
    panel->slider_w = w;
    panel->slider_h = h;
    draw_round(view->list, x, y + h / 2 - 3 * ui, w, 6 * ui, 3 * ui, draw_colour(0x3a3846, 1));
    draw_round(view->list, x, y + h / 2 - 3 * ui, fmaxf(6 * ui, share * w), 6 * ui, 3 * ui, draw_colour(orange, 1));
    draw_round(view->list, x + share * (w - h), y, h, h, h / 2, draw_colour(panel->dragging ? 0xffffff : 0xfbe3bf, 1));
    return y + h + 6 * ui;
}

static float draw_positions(view *view, const world *world, const talk *talk, float x, float y, float w, float bottom)
{
    const float line = text_line_height(view->text, TEXT_SMALL) + 1 * view->ui, column = w / 2;
    print(view, TEXT_SMALL, x, y, bright, "Tokens each villager has read");
    y += line + 2 * view->ui;
    const float first = y;
    for (int i = 0, side = 0; i < world->count; i++) {
        char value[24];
        const float left = x + (float)side * column, right = left + column - 10 * view->ui;
        const bool speaks = !minds_ready(talk->desc.minds, i);
        snprintf(value, sizeof value, "%llu", (unsigned long long)minds_position(talk->desc.minds, i));
        if (speaks)
            draw_round(view->list, left, y + line / 2 - 3 * view->ui, 5 * view->ui, 5 * view->ui, 2.5f * view->ui,
                       draw_colour(green, 1));
        print(view, TEXT_SMALL, left + 9 * view->ui, y, i == talk->partner ? 0xe8c46a : dim, world->villagers[i].name);
        print_right(view, TEXT_SMALL, right, y, bright, value);
        y += line;
        const bool half = i + 1 == (world->count + 1) / 2;
        if (y + line > bottom || half) {
            if (side++ == 1) break;
            y = first;
        }
    }
    return y;
}

static uint32_t colour_for(double value, double limit)
{
    return value <= limit * 1.1 ? green : value <= limit * 1.5 ? orange : red;
}

static void draw_figures(panel *panel, view *view, const world *world, const talk *talk, const stats *stats)
{
    const float ui = view->ui, w = PANEL_WIDTH * ui, x = view->width - panel_width(panel, ui), y0 = 12 * ui,
                pad = 14 * ui;
    const float h = view->height - 24 * ui, inner = w - 2 * pad, left = x + pad;
    const minds_memory memory = minds_get_memory(talk->desc.minds);
    const frame_times *last = &stats->recent[(stats->frames + STATS_RECENT - 1) % STATS_RECENT];
    char budget[32];
    draw_round(view->list, x, y0, w, h, 12 * ui, draw_colour(glass, 0.88f));
    float y = y0 + 10 * ui;
    print(view, TEXT_TITLE, left, y, bright, "One device, many minds");
    y += text_line_height(view->text, TEXT_TITLE) + 2 * ui;
    const char *rest = panel->about;
    for (int i = 0; i < 2 && *rest; i++) {
        const char *next;
        const size_t length = text_break(view->text, TEXT_SMALL, rest, inner, &next);
        text_draw(view->text, view->list, TEXT_SMALL, left, y, draw_colour(dim, 1), rest, length);
        y += text_line_height(view->text, TEXT_SMALL);
        rest = next;
    }
    y = draw_graph(view, stats, panel, left, y + 6 * ui, inner);
    y = row(view, left, y, inner, bright, "Frame", "%.1f ms", last->frame_us / 1000);
    y = row(view, left, y, inner, colour_for(last->model_us, panel->budget_us), "Model this frame", "%.0f µs",
            last->model_us);
    snprintf(budget, sizeof budget, "%.1f ms", panel->budget_us / 1000.0);
    y = row(view, left, y, inner, orange, "Budget a frame", "%s", budget);
    y = draw_slider(panel, view, left, y + 2 * ui, inner);
    y = row(view, left, y, inner, bright, "Tokens made a second", "%.0f", stats->tokens_per_second);
    y = row(view, left, y, inner, bright, "Weights, once", "%.1f MiB", (double)memory.weight_bytes / 1048576);
    y = row(view, left, y, inner, bright, "A villager's state", "%.1f MiB", (double)memory.state_bytes / 1048576);
    y = row(view, left, y, inner, bright, "All states, snapshots too", "%llu · %.0f MiB",
            (unsigned long long)memory.states, (double)(memory.states * memory.state_bytes) / 1048576);
    draw_positions(view, world, talk, left, y + 8 * ui, inner, y0 + h - 8 * ui);
}

void panel_draw(panel *panel, view *view, const world *world, const talk *talk, const stats *stats)
{
    draw_clock(view, world);
    if (panel->open) draw_figures(panel, view, world, talk, stats);
    if (talk->typing && talk->partner >= 0)
        draw_line(view, world, talk);
    else if (world_nearest(world, 2.2f) >= 0)
        draw_hint(view, "Enter: talk    F6: unsay    F5: save    F9: load    F1: figures");
    else
        draw_hint(view, "Arrows or WASD: walk    F5: save    F9: load    F1: figures");
    draw_notice(panel, view);
}

void panel_draw_waiting(view *view, const char *what, uint64_t done, uint64_t total)
{
    const float ui = view->ui, w = fminf(420 * ui, view->width - 32 * ui), h = 8 * ui;
    const float x = floorf((view->width - w) / 2), y = floorf(view->height / 2);
    const float share = total ? (float)done / (float)total : 0;
    draw_rectangle(view->list, 0, 0, view->width, view->height, draw_colour(glass, 1));
    print(view, TEXT_TITLE, x, y - 2 * text_line_height(view->text, TEXT_TITLE), bright, "Willowbrook");
    print(view, TEXT_SMALL, x, y - 1.4f * text_line_height(view->text, TEXT_SMALL), dim, what);
    draw_round(view->list, x, y, w, h, h / 2, draw_colour(0x3a3846, 1));
    draw_round(view->list, x, y, fmaxf(h, share * w), h, h / 2, draw_colour(orange, 1));
}

bool panel_pointer(panel *panel, float x, float y, bool down)
{
    const float reach = 8;
    if (!down || !panel->open) {
        panel->dragging = false;
        return false;
    }
    if (!panel->dragging) {
        const bool inside = x >= panel->slider_x - reach && x <= panel->slider_x + panel->slider_w + reach &&
                            y >= panel->slider_y - reach && y <= panel->slider_y + panel->slider_h + reach;
        if (!inside) return false;
        panel->dragging = true;
    }
    float share = (x - panel->slider_x - panel->slider_h / 2) / (panel->slider_w - panel->slider_h);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    panel->budget_us =
        PANEL_LEAST_BUDGET + (uint32_t)(share * (PANEL_MOST_BUDGET - PANEL_LEAST_BUDGET) / 100 + 0.5f) * 100;
    return true;
}
