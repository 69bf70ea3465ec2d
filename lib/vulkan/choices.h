/* choices.h: which of several correct kernels was measured to be the fastest on this device, kept as answers to
 * questions. Both are hashes: who asks knows what they stand for, and takes an answer that it cannot make sense of for
 * none. An answer once given stays. */
#ifndef RETNET_VULKAN_CHOICES_H
#define RETNET_VULKAN_CHOICES_H

#include "base/mutex.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { RN_MAX_CHOICES = 64 };

typedef struct rn_choice {
    uint64_t question, answer;
} rn_choice;

typedef struct rn_choices {
    rn_mutex lock;      /* of those who add */
    rn_mutex measuring; /* held by who finds out, so that nobody else is timed with it */
    atomic_uint count;
    rn_choice made[RN_MAX_CHOICES]; /* those before `count` do not change */
} rn_choices;

void rn_choices_init(rn_choices *choices);
void rn_choices_destroy(rn_choices *choices);
/* Any thread. */
bool rn_choices_find(const rn_choices *choices, uint64_t question, uint64_t *answer);
/* Any thread. Where there is an answer, or no room, nothing happens. */
void rn_choices_add(rn_choices *choices, uint64_t question, uint64_t answer);

#endif
