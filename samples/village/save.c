/* save.c: see save.h. */
#include "save.h"

#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_SIZE = 8, HEADER_SIZE = MAGIC_SIZE + 4 + 4 + 8, PERSON_SIZE = 9, WORLD_SIZE = 24 + PERSON_SIZE };

static const char magic[MAGIC_SIZE + 1] = "VILLAGE1";

/* ---- Numbers as bytes ------------------------------------------------------------------------------------------- */

static uint8_t *put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) *at++ = (uint8_t)(value >> 8 * i);
    return at;
}

static uint64_t get(const uint8_t **at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t) * (*at)++ << 8 * i;
    return value;
}

static uint8_t *put_float(uint8_t *at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put(at, bits, 4);
}

static float get_float(const uint8_t **at)
{
    const uint32_t bits = (uint32_t)get(at, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t checksum(const uint8_t *bytes, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

/* ---- The world's part ------------------------------------------------------------------------------------------- */

static uint8_t *put_person(uint8_t *at, const person *person)
{
    at = put_float(put_float(at, person->at.x), person->at.y);
    return put(at, person->facing, 1);
}

/* False for a place that is not on the map. */
static bool get_person(const uint8_t **at, person *person)
{
    point where;
    where.x = get_float(at);
    where.y = get_float(at);
    person->facing = (direction)(get(at, 1) & 3);
    if (!(where.x >= 0 && where.x < MAP_WIDTH && where.y >= 0 && where.y < MAP_HEIGHT)) return false;
    person->at = where;
    person->path_at = person->path_count = 0;
    person->walking = false;
    return true;
}

static size_t world_size(const world *world)
{
    return WORLD_SIZE + (size_t)world->count * PERSON_SIZE;
}

static void put_world(uint8_t *at, const world *world)
{
    at = put(at, (uint64_t)(world->minutes * 1000), 8);
    at = put(at, world->days, 8);
    at = put(at, world->random, 8);
    at = put_person(at, &world->player);
    for (int i = 0; i < world->count; i++) at = put_person(at, &world->villagers[i].body);
}

/* Into `copy` and `bodies` [count], so that the world changes only if all of it is good. */
static bool get_world(const uint8_t *at, world *copy, person *bodies)
{
    copy->minutes = (double)get(&at, 8) / 1000;
    copy->days = get(&at, 8);
    copy->random = get(&at, 8);
    bool good =
        copy->minutes >= 0 && copy->minutes < WORLD_MINUTES && copy->random != 0 && get_person(&at, &copy->player);
    for (int i = 0; good && i < copy->count; i++) good = get_person(&at, &bodies[i]);
    return good;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

static bool write_bytes(FILE *file, const void *bytes, size_t size)
{
    return fwrite(bytes, 1, size, file) == size;
}

static bool write_world(FILE *file, const world *world)
{
    const size_t size = world_size(world);
    uint8_t header[HEADER_SIZE], *bytes = malloc(size);
    if (!bytes) return false;
    put_world(bytes, world);
    memcpy(header, magic, MAGIC_SIZE);
    put(put(put(header + MAGIC_SIZE, (uint64_t)world->count, 4), size, 4), checksum(bytes, size), 8);
    bool good = write_bytes(file, header, sizeof header) && write_bytes(file, bytes, size);
    free(bytes);
    return good;
}

/* One buffer serves for all villagers: it grows to what the largest of them needs. */
static bool write_minds(FILE *file, minds *minds, int count)
{
    uint8_t *bytes = NULL;
    size_t capacity = 0;
    bool good = true;
    for (int i = 0; good && i < count; i++) {
        size_t size = 0;
        uint8_t length[8];
        good = minds_save(minds, i, NULL, 0, &size);
        if (good && size > capacity) {
            free(bytes);
            bytes = malloc(size);
            capacity = bytes ? size : 0;
            good = bytes != NULL;
        }
        good = good && minds_save(minds, i, bytes, capacity, &size);
        put(length, size, 8);
        good = good && write_bytes(file, length, sizeof length) && write_bytes(file, bytes, size);
    }
    free(bytes);
    return good;
}

bool save_write(const char *path, const world *world, minds *minds)
{
    char temporary[4096];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary)
        return report("%s: too long a name", path);
    FILE *file = fopen(temporary, "wb");
    if (!file) return report("%s: %s", temporary, strerror(errno));
    bool good = write_world(file, world) && write_minds(file, minds, world->count);
    good &= fclose(file) == 0;
    if (good && rename(temporary, path) == 0) return true;
    const int error = errno;
    remove(temporary);
    return report("%s cannot be written: %s", path, strerror(error));
}

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long length = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) length = ftell(file);
    if (length > 0 && fseek(file, 0, SEEK_SET) == 0) bytes = malloc((size_t)length);
    if (bytes && fread(bytes, 1, (size_t)length, file) != (size_t)length) {
        free(bytes);
        bytes = NULL;
    }
    if (!bytes) report("%s: %s", path, file && length == 0 ? "is empty" : strerror(errno));
    if (file) fclose(file);
    *size = (size_t)length;
    return bytes;
}

static const uint8_t *check_header(const char *path, const uint8_t *bytes, size_t size, const world *world)
{
    const uint8_t *at = bytes + MAGIC_SIZE;
    if (size < HEADER_SIZE || memcmp(bytes, magic, MAGIC_SIZE) != 0) {
        report("%s is no village, or one of another version", path);
        return NULL;
    }
    const uint64_t count = get(&at, 4), length = get(&at, 4), sum = get(&at, 8);
    if (count != (uint64_t)world->count) {
        report("%s has %llu villagers, this village %d", path, (unsigned long long)count, world->count);
        return NULL;
    }
    if (length == world_size(world) && length <= size - HEADER_SIZE && checksum(at, length) == sum) return at;
    report("%s is damaged", path);
    return NULL;
}

/* Each villager's state, checked by the library before the villager changes. */
static bool load_minds(const char *path, const uint8_t *at, const uint8_t *end, minds *minds, int count)
{
    for (int i = 0; i < count; i++) {
        if (end - at < 8) return report("%s is cut off", path);
        const uint64_t length = get(&at, 8);
        if (length > (uint64_t)(end - at)) return report("%s is cut off", path);
        if (!minds_load(minds, i, at, (size_t)length)) return false;
        at += length;
    }
    return at == end || report("%s has more than a village in it", path);
}

static bool load_all(const char *path, const uint8_t *bytes, size_t size, world *world, minds *minds, bool *undamaged)
{
    const uint8_t *at = check_header(path, bytes, size, world);
    person *bodies = calloc((size_t)world->count + 1, sizeof *bodies);
    struct world copy = *world;
    if (!at || !bodies) goto failed;
    for (int i = 0; i < world->count; i++) bodies[i] = world->villagers[i].body;
    if (!get_world(at, &copy, bodies)) {
        report("%s is damaged", path);
        goto failed;
    }
    /* Should one of the states be damaged, all go back to what they were. */
    for (int i = 0; i < world->count; i++)
        if (!minds_begin_small_talk(minds, i)) goto failed;
    bool good = load_minds(path, at + world_size(world), bytes + size, minds, world->count);
    for (int i = 0; i < world->count; i++)
        if (good)
            minds_keep(minds, i);
        else
            *undamaged &= minds_end_small_talk(minds, i);
    if (!good) goto failed;
    *world = copy;
    for (int i = 0; i < world->count; i++) {
        world->villagers[i].body = bodies[i];
        world->villagers[i].attentive = false;
    }
    free(bodies);
    return true;

failed:
    free(bodies);
    return false;
}

bool save_read(const char *path, world *world, minds *minds, bool *undamaged)
{
    size_t size;
    uint8_t *bytes = read_file(path, &size);
    *undamaged = true;
    bool good = bytes && load_all(path, bytes, size, world, minds, undamaged);
    free(bytes);
    return good;
}
