/* save.h: the whole village as one file: where everybody is, what time it is, and every villager's state of mind.
 *
 * Little-endian: "VILLAGE1", the number of villagers (4 bytes), the length of the world's part (4), its checksum (8:
 * FNV-1a), the world's part, then for every villager the length of its state (8) and the state, which the library has
 * versioned and checksummed and which names the model that it belongs to.
 */
#ifndef VILLAGE_SAVE_H
#define VILLAGE_SAVE_H

#include "mind.h"
#include "world.h"

/* All minds must be ready. A failed save leaves an older file as it was; a failed load leaves the village as it was.
 * Both report what is wrong. *undamaged: false if after a failed load minds could not be put back. */
bool save_write(const char *path, const world *world, minds *minds);
bool save_read(const char *path, world *world, minds *minds, bool *undamaged);

#endif
