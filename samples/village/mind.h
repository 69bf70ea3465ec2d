/* mind.h: what the villagers think with. The only part of the game that talks to the language library.
 *
 * Every villager is a slot of one session. What it hears it reads, then it answers, a slice of both in every frame.
 * Small talk is forgotten when it is over: before it a snapshot of the slot is taken, and afterwards the slot goes back
 * to it, so that hours of gossip do not wear away what the player has told.
 */
#ifndef VILLAGE_MIND_H
#define VILLAGE_MIND_H

#include "gpu.h"

#include <stddef.h>

typedef struct minds minds;

typedef struct minds_desc {
    const retnet_vulkan_device *device;
    const char *model; /* directory; NULL: the bundled one */
    int count;
    float temperature;
    uint64_t seed;
    void (*piece)(void *user, int mind, const char *text, size_t size); /* of an answer */
    void (*done)(void *user, int mind);                                 /* an answer is complete */
    void *user;
} minds_desc;

/* What the last step of all minds took. */
typedef struct minds_frame {
    uint32_t busy;
    uint32_t tokens_read, tokens_made;
    uint64_t device_us;
} minds_frame;

typedef struct minds_memory {
    uint64_t weight_bytes;
    uint64_t state_bytes;   /* one state */
    uint64_t states;        /* of which there are so many: one a villager, another to come back to, one to rewind to */
    uint64_t session_bytes; /* all of them and what the session works with */
} minds_memory;

/* Shows how far something is that takes seconds; false: it is to stop. */
typedef bool (*minds_waiting)(void *user, const char *what, uint64_t done, uint64_t total);

/* Reports what fails; so do all functions that return bool. */
bool minds_create(const minds_desc *desc, minds **out);
void minds_destroy(minds *minds); /* accepts NULL */
/* Makes all kernels, so that no frame waits for a compiler, and lets all minds read what they were told: both are over
 * when it returns true. */
bool minds_wake(minds *minds, minds_waiting waiting);

/* Has nothing to read or to say. */
bool minds_ready(const minds *minds, int mind);
/* Tells a mind that is ready who it is. */
bool minds_introduce(minds *minds, int mind, const char *persona);
/* A mind that is ready hears a line and answers. */
bool minds_hear(minds *minds, int mind, const char *line);

bool minds_begin_small_talk(minds *minds, int mind);
bool minds_end_small_talk(minds *minds, int mind); /* ready some frames later */
void minds_keep(minds *minds, int mind);           /* ends it, too, but what was heard is not forgotten */

/* A moment that one mind can be taken back to. */
bool minds_mark(minds *minds, int mind);
int minds_marked(const minds *minds); /* -1: none */
bool minds_rewind(minds *minds);      /* the mind must be ready */

/* Once a frame: takes in what is finished and gives the device more, about budget_us of it. */
bool minds_step(minds *minds, uint32_t budget_us, minds_frame *frame);
/* Until the device is done with what it was given. */
bool minds_wait(minds *minds, minds_frame *frame);
/* Until all minds are ready; small talk must have ended. */
bool minds_settle(minds *minds);

/* A mind that is ready as bytes: written to `bytes` if they are not NULL. */
bool minds_save(minds *minds, int mind, void *bytes, size_t capacity, size_t *size);
bool minds_load(minds *minds, int mind, const void *bytes, size_t size);

uint64_t minds_position(const minds *minds, int mind); /* tokens that it has read */
minds_memory minds_get_memory(const minds *minds);
/* One line on device and model. */
void minds_describe(const minds *minds, char *line, size_t size);

#endif
