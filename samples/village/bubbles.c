/* bubbles.c: draws names above heads and what is said (scene.h). */
#include "scene.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LINES = 7, MAX_BUBBLES = 8 };

static const uint32_t paper = 0xfffaf0, ink = 0x2b2430, whisper = 0xf1ece2;

static point head_of(const view *view, const person *person)
{
    const float tile = ART_TILE * view->zoom;
    return (point){floorf(person->at.x * tile) - view->left,
                   floorf(person->at.y * tile) - view->top - (ART_PERSON_HEIGHT - 1) * view->zoom};
}

static void draw_label(view *view, point at, const char *string, rgba colour)
{
    const float ui = view->ui, h = text_line_height(view->text, TEXT_SMALL);
    const float w = text_width(view->text, TEXT_SMALL, string, strlen(string));
    draw_round(view->list, at.x - w / 2 - 5 * ui, at.y - h - 3 * ui, w + 10 * ui, h + 2 * ui, 5 * ui,
               draw_colour(0x1c1820, 0.62f));
    text_draw(view->text, view->list, TEXT_SMALL, at.x - w / 2, at.y - h - 2 * ui, colour, string, strlen(string));
}

static void draw_name(view *view, const villager *villager, bool nearest)
{
    char label[64];
    if (nearest)
        snprintf(label, sizeof label, "%s, %s", villager->name, villager->job);
    else
        snprintf(label, sizeof label, "%s", villager->name);
    draw_label(view, head_of(view, &villager->body), label, draw_colour(nearest ? 0xffe9a8 : 0xe8e4dc, 1));
}

/* Three dots, one after the other. */
static void draw_thinking(view *view, point head)
{
    const float ui = view->ui, w = 44 * ui, h = 22 * ui, x = head.x - w / 2, y = head.y - h - 22 * ui;
    draw_round(view->list, x, y, w, h, 10 * ui, draw_colour(paper, 0.95f));
    for (int i = 0; i < 3; i++) {
        const float lift = fmaxf(0, sinf((float)view->seconds * 6 - (float)i * 0.8f)) * 4 * ui;
        draw_round(view->list, x + (10 + 9 * (float)i) * ui, y + 9 * ui - lift, 6 * ui, 6 * ui, 3 * ui,
                   draw_colour(0x6a6470, 1));
    }
}

typedef struct lines {
    const char *starts[LINES];
    size_t sizes[LINES];
    int count;
    float widest;
} lines;

/* The last lines of what is shown of the text; whole words move to the next line at once, not letter by letter. */
static void break_lines(view *view, const bubble *bubble, text_size size, float width, lines *out)
{
    const char *at = bubble->text, *shown = bubble->text + (size_t)bubble->shown;
    *out = (lines){.count = 0};
    while (*at && at < shown) {
        const char *next;
        size_t length = text_break(view->text, size, at, width, &next);
        out->widest = fmaxf(out->widest, text_width(view->text, size, at, length));
        if (out->count == LINES) {
            memmove(out->starts, out->starts + 1, (LINES - 1) * sizeof out->starts[0]);
            memmove(out->sizes, out->sizes + 1, (LINES - 1) * sizeof out->sizes[0]);
            out->count--;
        }
        out->starts[out->count] = at;
        out->sizes[out->count++] = at + length > shown ? (size_t)(shown - at) : length;
        at = next;
    }
    /* Never half a character. */
    if (out->count > 0) {
        const char *start = out->starts[out->count - 1];
        size_t *length = &out->sizes[out->count - 1];
        while (*length > 0 && ((unsigned char)start[*length] & 0xc0) == 0x80) --*length;
    }
}

static void draw_tail(view *view, float x, float y, float size, rgba colour)
{
    for (float row = 0; row < size; row++) {
        const float half = (size - row) * 0.7f;
        draw_rectangle(view->list, floorf(x - half), y + row, ceilf(2 * half), 1, colour);
    }
}

static void draw_bubble(view *view, const person *person, const bubble *bubble)
{
    const text_size size = bubble->private ? TEXT_BODY : TEXT_SMALL;
    const float ui = view->ui, pad = (bubble->private ? 10 : 7) * ui, line = text_line_height(view->text, size);
    point head = head_of(view, person);
    lines lines;
    if (bubble->size == 0 && !bubble->complete) {
        draw_thinking(view, head);
        return;
    }
    break_lines(view, bubble, size, (bubble->private ? 300 : 190) * ui, &lines);
    if (lines.count == 0) return;
    const float w = lines.widest + 2 * pad, h = (float)lines.count * line + 2 * pad * 0.75f, tail = 7 * ui;
    float x = floorf(head.x - w / 2), y = floorf(head.y - h - tail - 21 * ui);
    x = fmaxf(fminf(x, view->width - view->covered - w - 6 * ui), 6 * ui);
    y = fmaxf(y, 48 * ui); /* below the clock */
    const float fade = bubble->rest > 4 ? fmaxf(0, 5 - bubble->rest) : 1;
    draw_round(view->list, x + 2 * ui, y + 3 * ui, w, h, 9 * ui, draw_colour(0x140f18, 0.28f * fade));
    draw_round(view->list, x, y, w, h, 9 * ui,
               draw_colour(bubble->private ? paper : whisper, (bubble->private ? 1 : 0.92f) * fade));
    draw_tail(view, fminf(fmaxf(head.x, x + 12 * ui), x + w - 12 * ui), y + h, tail,
              draw_colour(bubble->private ? paper : whisper, (bubble->private ? 1 : 0.92f) * fade));
    for (int i = 0; i < lines.count; i++)
        text_draw(view->text, view->list, size, x + pad, y + pad * 0.75f + (float)i * line, draw_colour(ink, fade),
                  lines.starts[i], lines.sizes[i]);
}

static bool is_in_view(const view *view, const person *person)
{
    const point head = head_of(view, person);
    return head.x > 0 && head.x < view->width && head.y > -16 * view->zoom && head.y < view->height;
}

/* The open bubbles nearest to the player, far ones first. */
static int nearest_bubbles(const view *view, const world *world, const talk *talk, int out[MAX_BUBBLES])
{
    int count = 0;
    for (int i = 0; i < world->count; i++) {
        if (!talk->bubbles[i].open || i == talk->partner || !is_in_view(view, &world->villagers[i].body)) continue;
        const float away = world_distance(world->villagers[i].body.at, world->player.at);
        int at = count < MAX_BUBBLES ? count++ : -1;
        if (at < 0) {
            if (away >= world_distance(world->villagers[out[0]].body.at, world->player.at)) continue;
            memmove(out, out + 1, (MAX_BUBBLES - 1) * sizeof out[0]);
            at = MAX_BUBBLES - 1;
        }
        for (; at > 0 && world_distance(world->villagers[out[at - 1]].body.at, world->player.at) < away; at--)
            out[at] = out[at - 1];
        out[at] = i;
    }
    return count;
}

void scene_draw_talk(view *view, const world *world, const talk *talk)
{
    const int nearest = talk->partner >= 0 ? talk->partner : world_nearest(world, 2.2f);
    int order[MAX_BUBBLES];
    for (int i = 0; i < world->count; i++)
        if (i != nearest && world_distance(world->villagers[i].body.at, world->player.at) < 7)
            draw_name(view, &world->villagers[i], false);
    const int count = nearest_bubbles(view, world, talk, order);
    for (int i = 0; i < count; i++) draw_bubble(view, &world->villagers[order[i]].body, &talk->bubbles[order[i]]);
    if (nearest < 0) return;
    draw_name(view, &world->villagers[nearest], true);
    if (talk->partner >= 0 && talk->bubbles[nearest].open)
        draw_bubble(view, &world->villagers[nearest].body, &talk->bubbles[nearest]);
}
