/* talk.c: see talk.h. */
#include "talk.h"

#include "report.h"

#include <stdlib.h>
#include <string.h>

enum { CHAT_LINES = 4 };

static const float reach = 2.2f, too_far = 4; /* tiles between people who talk */
static const float letters_per_second = 42;
static const float read_seconds = 5; /* that a bubble stays when all has been said */

/* What one villager says to another to begin with. */
static const char *const openings[] = {
    "Any news?",
    "How are you today?",
    "Heard any rumors?",
    "What's new?",
    "Do you know a joke?",
    "Tell me a rumor.",
    "What do people talk about here?",
    "Are you OK?",
    "Is there a quest for me?",
    "What do you sell?",
    "Do you like it here?",
    "How is the weather?",
    "Do you have a family?",
};

/* ---- Bubbles ---------------------------------------------------------------------------------------------------- */

static void open_bubble(bubble *bubble, bool private)
{
    *bubble = (struct bubble){.open = true, .private = private};
}

static void add_text(bubble *bubble, const char *text, size_t size)
{
    if (size > TALK_TEXT - 1 - bubble->size) return;
    memcpy(bubble->text + bubble->size, text, size);
    bubble->size += size;
    bubble->text[bubble->size] = 0;
}

static void step_bubble(bubble *bubble, float seconds, bool at_once)
{
    bubble->shown += letters_per_second * seconds;
    if (at_once || bubble->shown > (float)bubble->size) bubble->shown = (float)bubble->size;
    if (bubble->complete && bubble->shown >= (float)bubble->size) bubble->rest += seconds;
}

void talk_piece(talk *talk, int villager, const char *text, size_t size)
{
    add_text(&talk->bubbles[villager], text, size);
}

/* ---- Small talk ------------------------------------------------------------------------------------------------- */

static bool is_idle(const talk *talk, int villager)
{
    return talk->chat_of[villager] < 0 && villager != talk->partner && minds_ready(talk->desc.minds, villager);
}

static int find_company(const talk *talk, int villager)
{
    const world *world = talk->desc.world;
    float nearest = 1e9f;
    int best = -1;
    for (int i = 0; i < world->count; i++) {
        const float away = world_distance(world->villagers[i].body.at, world->villagers[villager].body.at);
        if (i == villager || away >= nearest || !is_idle(talk, i)) continue;
        nearest = away;
        best = i;
    }
    return best;
}

/* They walk up to each other and stay. */
static void bring_together(talk *talk, int a, int b)
{
    world *world = talk->desc.world;
    villager *first = &world->villagers[a], *second = &world->villagers[b];
    point between = {(first->body.at.x + second->body.at.x) / 2, (first->body.at.y + second->body.at.y) / 2};
    if (world_distance(first->body.at, second->body.at) > 2) {
        world_send(world, first, (point){between.x - 0.8f, between.y});
        world_send(world, second, (point){between.x + 0.8f, between.y});
    } else {
        first->body.path_at = first->body.path_count;
        second->body.path_at = second->body.path_count;
    }
    first->attentive = second->attentive = true;
}

static bool begin_chat(talk *talk, int a, int b)
{
    world *world = talk->desc.world;
    const int index = talk->chat_count++;
    talk->chats[index] = (chat){.speakers = {a, b}, .lines_left = CHAT_LINES};
    talk->chat_of[a] = talk->chat_of[b] = index;
    bring_together(talk, a, b);
    if (!minds_begin_small_talk(talk->desc.minds, a) || !minds_begin_small_talk(talk->desc.minds, b)) return false;
    char line[TALK_LINE];
    const uint32_t which = world_pick(world, sizeof openings / sizeof openings[0] + 2);
    if (which >= 2)
        snprintf(line, sizeof line, "%s", openings[which - 2]);
    else
        snprintf(line, sizeof line, which ? "Hello! I'm %s." : "Good morning! My name is %s.",
                 world->villagers[a].name);
    open_bubble(&talk->bubbles[a], false);
    add_text(&talk->bubbles[a], line, strlen(line));
    talk->bubbles[a].complete = true;
    return true;
}

static bool end_chat(talk *talk, int index)
{
    bool good = true;
    for (int i = 0; i < 2; i++) {
        const int v = talk->chats[index].speakers[i];
        talk->chat_of[v] = -1;
        talk->desc.world->villagers[v].attentive = false;
        talk->desc.world->villagers[v].rest = 2 * world_chance(talk->desc.world);
        talk->bubbles[v].complete = true;
        good &= minds_end_small_talk(talk->desc.minds, v);
    }
    talk->chats[index] = talk->chats[--talk->chat_count];
    for (int i = 0; i < 2 && index < talk->chat_count; i++) talk->chat_of[talk->chats[index].speakers[i]] = index;
    return good;
}

static bool step_chat(talk *talk, chat *chat)
{
    const int speaker = chat->speakers[chat->speaking], other = chat->speakers[!chat->speaking];
    world *world = talk->desc.world;
    bubble *said = &talk->bubbles[speaker];
    world->villagers[speaker].looks_at = world->villagers[other].body.at;
    world->villagers[other].looks_at = world->villagers[speaker].body.at;
    if (!said->complete || said->rest < talk->desc.pause || !minds_ready(talk->desc.minds, other)) return true;
    if (chat->lines_left-- == 0) return end_chat(talk, (int)(chat - talk->chats));
    chat->speaking = !chat->speaking;
    open_bubble(&talk->bubbles[other], false);
    said->open = false;
    return minds_hear(talk->desc.minds, other, said->text);
}

/* Chats begin one after the other, so that not all villagers speak in step. */
static bool begin_chats(talk *talk, float seconds)
{
    const world *world = talk->desc.world;
    talk->until_chat -= seconds;
    while (talk->until_chat <= 0 && world->count > 1 && 2 * (talk->chat_count + 1) <= talk->desc.talkers) {
        const int first = (int)world_pick(talk->desc.world, (uint32_t)world->count);
        const int a = is_idle(talk, first) ? first : find_company(talk, first);
        const int b = a < 0 ? -1 : find_company(talk, a);
        if (b < 0) break;
        talk->until_chat = talk->desc.pause * 0.4f * world_chance(talk->desc.world);
        if (!begin_chat(talk, a, b)) return false;
    }
    return true;
}

bool talk_quiet(talk *talk)
{
    bool good = true;
    while (talk->chat_count > 0) good &= end_chat(talk, 0);
    return good && minds_settle(talk->desc.minds);
}

/* ---- With the player -------------------------------------------------------------------------------------------- */

static void note(talk *talk, const char *who, const char *what)
{
    if (!talk->desc.transcript) return;
    fprintf(talk->desc.transcript, "%s: %s\n", who, what);
    fflush(talk->desc.transcript);
}

void talk_done(talk *talk, int villager)
{
    bubble *bubble = &talk->bubbles[villager];
    bubble->complete = true;
    if (bubble->size == 0) add_text(bubble, "...", 3);
    if (villager != talk->partner || !talk->answering) return;
    talk->answering = false;
    note(talk, talk->desc.world->villagers[villager].name, bubble->text);
}

bool talk_open(talk *talk)
{
    world *world = talk->desc.world;
    const int villager = world_nearest(world, reach);
    if (villager < 0) return true;
    if (talk->partner != villager) talk_close(talk);
    talk->partner = villager;
    talk->typing = true;
    world->villagers[villager].body.path_at = world->villagers[villager].body.path_count;
    world_look(&world->player, world->villagers[villager].body.at);
    return talk->chat_of[villager] < 0 || end_chat(talk, talk->chat_of[villager]);
}

void talk_close(talk *talk)
{
    if (talk->partner >= 0) {
        talk->desc.world->villagers[talk->partner].attentive = false;
        talk->desc.world->villagers[talk->partner].rest = 2;
    }
    talk->partner = -1;
    talk->typing = talk->asked = talk->answering = false;
    talk->line_size = 0;
    talk->line[0] = 0;
}

void talk_type(talk *talk, const char *text)
{
    const size_t size = strlen(text);
    if (!talk->typing || size > TALK_LINE - 1 - talk->line_size) return;
    memcpy(talk->line + talk->line_size, text, size + 1);
    talk->line_size += size;
}

void talk_erase(talk *talk)
{
    while (talk->line_size > 0 && ((unsigned char)talk->line[--talk->line_size] & 0xc0) == 0x80) {}
    talk->line[talk->line_size] = 0;
}

bool talk_send(talk *talk)
{
    if (talk->partner < 0 || talk->asked || talk->answering) return true;
    if (talk->line[strspn(talk->line, " ")] == 0) {
        talk_close(talk);
        return true;
    }
    note(talk, "You", talk->line);
    talk->asked = true;
    open_bubble(&talk->bubbles[talk->partner], true);
    return true;
}

static bool ask(talk *talk)
{
    talk->asked = false;
    talk->answering = true;
    const bool good =
        minds_mark(talk->desc.minds, talk->partner) && minds_hear(talk->desc.minds, talk->partner, talk->line);
    talk->line_size = 0;
    talk->line[0] = 0;
    return good;
}

static bool step_partner(talk *talk)
{
    world *world = talk->desc.world;
    if (talk->partner < 0) return true;
    villager *partner = &world->villagers[talk->partner];
    partner->attentive = true;
    partner->looks_at = world->player.at;
    if (talk->asked && minds_ready(talk->desc.minds, talk->partner)) return ask(talk);
    if (!talk->asked && !talk->answering && world_distance(partner->body.at, world->player.at) > too_far)
        talk_close(talk);
    return true;
}

bool talk_rewind(talk *talk, int *villager)
{
    *villager = minds_marked(talk->desc.minds);
    if (*villager < 0) return true;
    if (talk->chat_of[*villager] >= 0 && !end_chat(talk, talk->chat_of[*villager])) return false;
    if (!minds_settle(talk->desc.minds) || !minds_rewind(talk->desc.minds)) return false;
    talk->bubbles[*villager].open = false;
    note(talk, "(rewound)", talk->desc.world->villagers[*villager].name);
    return true;
}

/* ---- All of it -------------------------------------------------------------------------------------------------- */

bool talk_step(talk *talk, float seconds)
{
    for (int i = 0; i < talk->desc.world->count; i++) {
        bubble *bubble = &talk->bubbles[i];
        if (!bubble->open) continue;
        step_bubble(bubble, seconds, talk->desc.pause == 0 && !bubble->private);
        if (bubble->rest > read_seconds && i != talk->partner) bubble->open = false;
    }
    for (int i = talk->chat_count - 1; i >= 0; i--)
        if (!step_chat(talk, &talk->chats[i])) return false;
    return begin_chats(talk, seconds) && step_partner(talk);
}

void talk_clear(talk *talk)
{
    talk_close(talk);
    for (int i = 0; i < talk->desc.world->count; i++) talk->bubbles[i] = (bubble){0};
}

bool talk_create(talk *talk, const talk_desc *desc)
{
    const size_t count = desc->world->count ? (size_t)desc->world->count : 1;
    *talk = (struct talk){.desc = *desc, .partner = -1};
    talk->bubbles = calloc(count, sizeof *talk->bubbles);
    talk->chat_of = calloc(count, sizeof *talk->chat_of);
    talk->chats = calloc(count, sizeof *talk->chats);
    if (!talk->bubbles || !talk->chat_of || !talk->chats) return report("out of memory");
    for (size_t i = 0; i < count; i++) talk->chat_of[i] = -1;
    return true;
}

void talk_destroy(talk *talk)
{
    free(talk->bubbles);
    free(talk->chat_of);
    free(talk->chats);
}
