/* world.c: see world.h. */
#include "world.h"

#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const float player_speed = 4.6f, villager_speed = 2.1f; /* tiles a second */
static const float minutes_per_second = 1.2f;
static const float body_radius = 0.28f;

typedef struct role {
    const char *name, *job;
    int home, work;
} role;

/* Looks follow this order (art_people.c). */
static const role roles[WORLD_NAMES] = {
    {"Mara", "blacksmith", 0, 0},  {"Tobin", "baker", 1, 1},    {"Hazel", "innkeeper", 2, 2},
    {"Ivo", "librarian", 3, 3},    {"Rowan", "healer", 4, 4},   {"Corin", "guard", 10, 10},
    {"Oswin", "farmer", 9, 9},     {"Nell", "fisher", 8, 8},    {"Lila", "merchant", 7, 7},
    {"Greta", "farmer", 5, 9},     {"Finn", "fisher", 11, 8},   {"Wren", "guard", 6, 10},
    {"Jory", "farmer", 11, 9},     {"Brida", "merchant", 5, 7}, {"Ansel", "blacksmith", 6, 0},
    {"Sable", "healer", 4, 4},     {"Elda", "librarian", 3, 3}, {"Percy", "fisher", 8, 8},
    {"Hester", "innkeeper", 2, 2}, {"Bram", "baker", 1, 1},
};

/* ---- Chance ----------------------------------------------------------------------------------------------------- */

static uint32_t next_random(world *world)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (uint32_t)(world->random >> 24);
}

uint32_t world_pick(world *world, uint32_t end)
{
    return next_random(world) % end;
}

float world_chance(world *world)
{
    return (float)(next_random(world) >> 8) / 16777216;
}

/* ---- Paths ------------------------------------------------------------------------------------------------------ */

typedef struct tile {
    int x, y;
} tile;

static tile tile_of(point at)
{
    return (tile){(int)floorf(at.x), (int)floorf(at.y)};
}

float world_distance(point a, point b)
{
    return hypotf(a.x - b.x, a.y - b.y);
}

/* The free tile nearest to a point. */
static tile free_tile(const map *map, point at)
{
    const tile wanted = tile_of(at);
    for (int reach = 0; reach < MAP_WIDTH; reach++) {
        tile best = {-1, -1};
        float nearest = 1e9f;
        for (int y = wanted.y - reach; y <= wanted.y + reach; y++)
            for (int x = wanted.x - reach; x <= wanted.x + reach; x++) {
                const float away = hypotf((float)x + 0.5f - at.x, (float)y + 0.5f - at.y);
                if (map_is_solid(map, x, y) || away >= nearest) continue;
                nearest = away;
                best = (tile){x, y};
            }
        if (best.x >= 0) return best;
    }
    return (tile){22, 19};
}

/* Breadth first from the goal, so that the way can be read off forwards. Keeps the first WORLD_PATH tiles of it. */
static void find_path(const map *map, person *person, point to)
{
    static const tile sides[4] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}};
    uint8_t toward[MAP_HEIGHT][MAP_WIDTH] = {{0}}; /* 1 + the side of the next tile; 0: not reached */
    tile queue[MAP_HEIGHT * MAP_WIDTH];
    const tile goal = free_tile(map, to), start = free_tile(map, person->at);
    int first = 0, end = 0;
    queue[end++] = goal;
    toward[goal.y][goal.x] = 5;
    while (first < end && !toward[start.y][start.x]) {
        const tile at = queue[first++];
        for (uint8_t i = 0; i < 4; i++) {
            const tile next = {at.x + sides[i].x, at.y + sides[i].y};
            if (map_is_solid(map, next.x, next.y) || toward[next.y][next.x]) continue;
            toward[next.y][next.x] = 1 + (i ^ 1); /* back to where we came from */
            queue[end++] = next;
        }
    }
    person->path_at = person->path_count = 0;
    if (!toward[start.y][start.x]) return;
    for (tile at = start; person->path_count < WORLD_PATH;) {
        person->path[person->path_count][0] = (uint8_t)at.x;
        person->path[person->path_count++][1] = (uint8_t)at.y;
        const uint8_t way = toward[at.y][at.x];
        if (way == 5) break;
        at = (tile){at.x + sides[way - 1].x, at.y + sides[way - 1].y};
    }
}

void world_send(world *world, villager *villager, point to)
{
    find_path(&world->map, &villager->body, to);
}

/* ---- Walking ---------------------------------------------------------------------------------------------------- */

static void face(person *person, float dx, float dy)
{
    if (dx == 0 && dy == 0) return;
    if (fabsf(dx) > fabsf(dy))
        person->facing = dx > 0 ? EAST : WEST;
    else
        person->facing = dy > 0 ? SOUTH : NORTH;
}

void world_look(person *person, point at)
{
    face(person, at.x - person->at.x, at.y - person->at.y);
}

static bool is_free(const map *map, float x, float y)
{
    for (int corner = 0; corner < 4; corner++) {
        const tile at =
            tile_of((point){x + (corner & 1 ? body_radius : -body_radius), y + (corner & 2 ? 0.05f : -body_radius)});
        if (map_is_solid(map, at.x, at.y)) return false;
    }
    return true;
}

/* Slides along what is in the way. */
static void step_player(world *world, float seconds, float dx, float dy)
{
    person *player = &world->player;
    const float length = hypotf(dx, dy), scale = player_speed * seconds / (length > 1 ? length : 1);
    const point before = player->at;
    player->walking = length > 0.05f;
    if (!player->walking) return;
    face(player, dx, dy);
    if (is_free(&world->map, player->at.x + dx * scale, player->at.y)) player->at.x += dx * scale;
    if (is_free(&world->map, player->at.x, player->at.y + dy * scale)) player->at.y += dy * scale;
    player->walked += world_distance(before, player->at);
}

static void follow_path(person *person, float seconds)
{
    float left = villager_speed * seconds;
    person->walking = person->path_at < person->path_count;
    while (left > 0 && person->path_at < person->path_count) {
        const point goal = {(float)person->path[person->path_at][0] + 0.5f,
                            (float)person->path[person->path_at][1] + 0.6f};
        const float away = world_distance(goal, person->at);
        if (away <= left) {
            person->at = goal;
            person->path_at++;
        } else {
            face(person, goal.x - person->at.x, goal.y - person->at.y);
            person->at.x += (goal.x - person->at.x) * left / away;
            person->at.y += (goal.y - person->at.y) * left / away;
        }
        person->walked += away < left ? away : left;
        left -= away;
    }
}

/* ---- Days ------------------------------------------------------------------------------------------------------- */

/* Where a villager wants to be at this time of the day. */
static point place_for(world *world, const villager *villager)
{
    static const point meeting_points[] = {{20, 18.5f},    {24, 18},    {20.5f, 13.6f},
                                           {23.5f, 13.4f}, {28.5f, 24}, {22.5f, 20.5f}};
    const double hour = world->minutes / 60;
    const bool work = (hour >= 7.5 && hour < 12) || (hour >= 13.5 && hour < 17.5);
    const bool home = hour >= 22.5 || hour < 6.5;
    point at;
    if (work || home) {
        at = map_door(work ? villager->work : villager->home);
        if (work && strcmp(villager->job, "farmer") == 0) at = (point){15, 31.4f};
    } else {
        at = meeting_points[world_pick(world, sizeof meeting_points / sizeof meeting_points[0])];
    }
    const float spread = home ? 3 : 6;
    at.x += (world_chance(world) - 0.5f) * spread;
    at.y += world_chance(world) * spread * 0.4f;
    return at;
}

static void step_villager(world *world, villager *villager, float seconds)
{
    person *body = &villager->body;
    if (villager->attentive && body->path_at == body->path_count) {
        body->walking = false;
        world_look(body, villager->looks_at);
        return;
    }
    follow_path(body, seconds);
    if (body->walking || villager->attentive) return;
    villager->rest -= seconds;
    if (villager->rest > 0) return;
    villager->rest = 3 + 9 * world_chance(world);
    world_send(world, villager, place_for(world, villager));
}

void world_step(world *world, float seconds, float dx, float dy)
{
    world->minutes += seconds * minutes_per_second;
    if (world->minutes >= WORLD_MINUTES) {
        world->minutes -= WORLD_MINUTES;
        world->days++;
    }
    step_player(world, seconds, dx, dy);
    for (int i = 0; i < world->count; i++) step_villager(world, &world->villagers[i], seconds);
}

/* ---- People ----------------------------------------------------------------------------------------------------- */

int world_nearest(const world *world, float reach)
{
    int best = -1;
    for (int i = 0; i < world->count; i++) {
        const float away = world_distance(world->player.at, world->villagers[i].body.at);
        if (away > reach) continue;
        reach = away;
        best = i;
    }
    return best;
}

int world_find(const world *world, const char *name)
{
    for (int i = 0; i < world->count; i++)
        if (strcasecmp(world->villagers[i].name, name) == 0) return i;
    return -1;
}

void world_visit(world *world, int index)
{
    static const point sides[4] = {{1.3f, 0.1f}, {-1.3f, 0.1f}, {0, 1.5f}, {0, -1.2f}};
    villager *v = &world->villagers[index];
    v->body.path_at = v->body.path_count = 0;
    v->rest = 5;
    world->player.at = v->body.at;
    for (int i = 0; i < 4; i++) {
        const point at = {v->body.at.x + sides[i].x, v->body.at.y + sides[i].y};
        if (!is_free(&world->map, at.x, at.y)) continue;
        world->player.at = at;
        break;
    }
    world_look(&world->player, v->body.at);
    world_look(&v->body, world->player.at);
}

/* Beyond the twenty that the model knows, names come again with a number. */
static void create_villager(world *world, int index)
{
    villager *v = &world->villagers[index];
    const role *role = &roles[index % WORLD_NAMES];
    const int generation = index / WORLD_NAMES;
    if (generation == 0)
        snprintf(v->name, sizeof v->name, "%s", role->name);
    else
        snprintf(v->name, sizeof v->name, "%s %d", role->name, generation + 1);
    snprintf(v->persona, sizeof v->persona, "You are %s, the %s of Willowbrook.", role->name, role->job);
    v->job = role->job;
    v->home = role->home;
    v->work = role->work;
    v->body.look = index % WORLD_NAMES;
    const tile at = free_tile(&world->map, place_for(world, v));
    v->body.at = (point){(float)at.x + 0.3f + 0.4f * world_chance(world), (float)at.y + 0.6f};
    v->rest = 4 * world_chance(world);
}

bool world_create(world *world, int villagers, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    map_create(&world->map);
    world->random = seed * 0x9e3779b97f4a7c15u + 0x1234567;
    if (world->random == 0) world->random = 1;
    world->minutes = 9.5 * 60;
    world->player = (person){.at = {22, 19.6f}, .look = WORLD_NAMES};
    world->villagers = calloc(villagers ? (size_t)villagers : 1, sizeof *world->villagers);
    if (!world->villagers) return report("out of memory");
    world->count = villagers;
    for (int i = 0; i < villagers; i++) create_villager(world, i);
    return true;
}

void world_destroy(world *world)
{
    free(world->villagers);
    world->villagers = NULL;
}
