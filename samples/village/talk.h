/* talk.h: who talks to whom: the player with a villager, and villagers with each other when they have nothing to do. */
#ifndef VILLAGE_TALK_H
#define VILLAGE_TALK_H

#include "mind.h"
#include "world.h"

#include <stdio.h>

enum { TALK_LINE = 256, TALK_TEXT = 1024 };

/* What a villager is saying. */
typedef struct bubble {
    char text[TALK_TEXT];
    size_t size;
    float shown;   /* bytes of it that can be read already: it appears letter by letter */
    bool open;     /* is there one */
    bool complete; /* no more text will come */
    bool private;  /* to the player */
    float rest;    /* seconds since all of it was shown */
} bubble;

/* Two villagers. Each hears what the other said last. */
typedef struct chat {
    int speakers[2];
    int speaking; /* whose bubble it is */
    int lines_left;
} chat;

typedef struct talk_desc {
    world *world;
    minds *minds;
    int talkers;      /* how many villagers may talk to each other at once */
    float pause;      /* seconds between their lines */
    FILE *transcript; /* of what the player says and hears; NULL: none */
} talk_desc;

typedef struct talk {
    talk_desc desc;
    bubble *bubbles; /* [villagers] */
    int *chat_of;    /* [villagers], index of a chat or -1 */
    chat *chats;
    int chat_count;
    float until_chat; /* seconds until the next one may begin */

    int partner; /* whom the player talks to; -1: nobody */
    bool typing;
    char line[TALK_LINE];
    size_t line_size;
    bool asked;     /* the line waits for the partner to be ready */
    bool answering; /* the partner hears it or speaks */
} talk;

bool talk_create(talk *talk, const talk_desc *desc);
void talk_destroy(talk *talk);
bool talk_step(talk *talk, float seconds);

/* Turns to the nearest villager, if one is near enough. */
bool talk_open(talk *talk);
void talk_close(talk *talk);
void talk_type(talk *talk, const char *text); /* adds to the line */
void talk_erase(talk *talk);                  /* its last character */
bool talk_send(talk *talk);

/* For minds_desc. */
void talk_piece(talk *talk, int villager, const char *text, size_t size);
void talk_done(talk *talk, int villager);

/* Ends all small talk; the minds are then ready. */
bool talk_quiet(talk *talk);
/* Takes the villager of the player's last exchange back to before it: *villager is who, -1: there was none. */
bool talk_rewind(talk *talk, int *villager);
/* Everything that was being said is gone. */
void talk_clear(talk *talk);

#endif
