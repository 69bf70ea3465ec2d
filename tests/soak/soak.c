/* soak.c: hours of a game in a row, or as many seconds as are asked for. Threads share one model; each opens sessions,
 * reads, generates, forks, takes snapshots and goes back to them, saves and loads, cancels, resets and closes, at
 * random by a seed. Every now and then a slot is compared with the same conversation told to a session of its own: to
 * the bit, but on GPUs, whose kernels differ with the number of slots, to rounding. At the end no host memory is kept
 * but for the kernels.
 *
 *     soak [--seconds N] [--threads N] [--seed N] [--shape 30m | --model DIR] [--decode TOKENS]
 *
 * --decode makes so many tokens of 64 slots instead, half of which are twins of the other half, and reports the rate as
 * it goes: the state has to stay finite and twins have to stay the same. --seconds ends that too. */
#define _XOPEN_SOURCE 700
#include "pretend.h"
#include "session/session_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum {
    SLOTS = 8,
    SNAPSHOTS = 3,
    MAX_PIECES = 12,
    MAX_PIECE = 200,
    GENERATED = 6,
    MAX_THREADS = 8,
    REPORTS = 16,
    KERNELS = 128
};

typedef struct options {
    double seconds;
    uint32_t threads, decode;
    uint64_t seed;
    const char *shape, *model;
} options;

/* What a slot was told, call by call. */
typedef struct piece {
    uint32_t count;
    bool generated; /* greedily, by the model */
    int32_t tokens[MAX_PIECE];
} piece;

typedef struct conversation {
    uint32_t pieces;
    bool can_speak; /* it ends with logits */
    piece piece[MAX_PIECES];
} conversation;

typedef struct world {
    const options *options;
    retnet_model *model;
    retnet_model_info info;
    retnet_session *session, *alone;
    conversation *conversations; /* [SLOTS], then [SNAPSHOTS] */
    uint64_t random;
    char path[600];
    double end;
    pthread_t thread;
} world;

static struct {
    atomic_ullong read, made, operations, checked, sessions, cancelled, saved;
    atomic_int failures;
    atomic_llong live_bytes, live_blocks;
} total;

#define SOAK_FAIL(...)                                                                                                 \
    do {                                                                                                               \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        total.failures++;                                                                                              \
    } while (0)

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        retnet_result result_ = (call);                                                                                \
        if (result_ != RETNET_OK) SOAK_FAIL("%s gave %s", #call, retnet_result_name(result_));                         \
    } while (0)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Kilobytes in memory; 0 where the system does not say, or says what sanitizers hold back of what was freed. */
static long resident(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#endif
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) SOAK_FAIL("the library logged: %s", message);
}

/* ---- Counting memory --------------------------------------------------------------------------------------------- */

enum { HEAD = 32 };

static void *count_allocate(void *user, size_t size)
{
    (void)user;
    uint8_t *memory = malloc(size + HEAD);
    if (!memory) return NULL;
    memcpy(memory, &size, sizeof size);
    total.live_bytes += (long long)size;
    total.live_blocks++;
    return memory + HEAD;
}

static void count_release(void *user, void *memory)
{
    (void)user;
    if (!memory) return;
    size_t size;
    memcpy(&size, (uint8_t *)memory - HEAD, sizeof size);
    total.live_bytes -= (long long)size;
    total.live_blocks--;
    free((uint8_t *)memory - HEAD);
}

/* ---- Operations -------------------------------------------------------------------------------------------------- */

static uint32_t below(world *w, uint32_t end)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((w->random >> 33) % end);
}

static piece *add_piece(world *w, conversation *c, uint32_t count)
{
    piece *p = &c->piece[c->pieces];
    p->count = count;
    p->generated = false;
    for (uint32_t i = 0; i < count; i++) p->tokens[i] = (int32_t)below(w, w->info.vocabulary_size);
    return p;
}

static bool is_full(const conversation *c)
{
    return c->pieces == MAX_PIECES;
}

/* Up to half of the slots at once, in one batch. */
static void read_some(world *w)
{
    retnet_span spans[SLOTS] = {0};
    size_t count = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        conversation *c = &w->conversations[slot];
        if (is_full(c) || below(w, 2)) continue;
        piece *p = add_piece(w, c, below(w, 3) ? 1 + below(w, 30) : 1 + below(w, MAX_PIECE));
        spans[count++] = (retnet_span){.slot = slot, .tokens = p->tokens, .count = p->count};
        c->pieces++;
        c->can_speak = true;
        total.read += p->count;
    }
    if (count) OK(retnet_session_run(w->session, spans, count));
}

static void generate_some(world *w)
{
    uint32_t slots[SLOTS], count = 0;
    int32_t tokens[SLOTS * GENERATED] = {0};
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const conversation *c = &w->conversations[slot];
        if (!is_full(c) && c->can_speak && below(w, 2)) slots[count++] = slot;
    }
    if (count == 0) return;
    retnet_generation generation = {.slots = slots, .slot_count = count, .max_tokens = GENERATED, .tokens = tokens};
    OK(retnet_session_generate(w->session, &generation));
    for (uint32_t i = 0; i < count; i++) {
        conversation *c = &w->conversations[slots[i]];
        piece *p = &c->piece[c->pieces++];
        *p = (piece){.count = GENERATED, .generated = true};
        memcpy(p->tokens, tokens + i * GENERATED, GENERATED * sizeof *tokens);
    }
    total.made += count * GENERATED;
}

typedef struct canceller {
    retnet_session *session;
    uint32_t microseconds;
} canceller;

static void *cancel(void *user)
{
    const canceller *c = user;
    struct timespec pause = {0, (long)c->microseconds * 1000};
    nanosleep(&pause, NULL);
    retnet_session_cancel(c->session);
    return NULL;
}

/* A prompt that another thread may stop half-way: the slot then stands after what it has read. */
static void read_and_cancel(world *w)
{
    uint32_t slot = below(w, SLOTS);
    conversation *c = &w->conversations[slot];
    if (is_full(c)) return;
    pthread_t thread;
    canceller user = {w->session, below(w, 4000)};
    piece *p = add_piece(w, c, MAX_PIECE);
    retnet_span span = {.slot = slot, .tokens = p->tokens, .count = p->count};
    uint64_t before = retnet_session_position(w->session, slot);
    if (pthread_create(&thread, NULL, cancel, &user) != 0) return;
    retnet_result result = retnet_session_run(w->session, &span, 1);
    pthread_join(thread, NULL);
    if (result != RETNET_OK && result != RETNET_CANCELLED)
        SOAK_FAIL("a cancelled run gave %s", retnet_result_name(result));
    p->count = (uint32_t)(retnet_session_position(w->session, slot) - before);
    total.cancelled += result == RETNET_CANCELLED;
    total.read += p->count;
    if (p->count == 0) return;
    c->pieces++;
    c->can_speak = result == RETNET_OK;
}

static void fork_one(world *w)
{
    uint32_t from = below(w, SLOTS), to = below(w, SLOTS);
    OK(retnet_session_fork(w->session, from, to));
    if (from != to) w->conversations[to] = w->conversations[from];
}

static void snapshot_one(world *w)
{
    uint32_t slot = below(w, SLOTS), snapshot = below(w, SNAPSHOTS);
    OK(retnet_session_snapshot(w->session, slot, snapshot));
    w->conversations[SLOTS + snapshot] = w->conversations[slot];
}

static void roll_back_one(world *w)
{
    uint32_t slot = below(w, SLOTS), snapshot = below(w, SNAPSHOTS);
    if (w->conversations[SLOTS + snapshot].pieces == 0) return; /* perhaps never taken */
    OK(retnet_session_rollback(w->session, slot, snapshot));
    w->conversations[slot] = w->conversations[SLOTS + snapshot];
}

static void save_and_load(world *w)
{
    uint32_t from = below(w, SLOTS), to = below(w, SLOTS);
    if (below(w, 4) == 0) {
        OK(retnet_session_save_file(w->session, from, w->path));
        OK(retnet_session_load_file(w->session, to, w->path));
    } else {
        size_t size = 0;
        OK(retnet_session_save(w->session, from, NULL, 0, &size));
        void *blob = session_test_alloc(1, size);
        OK(retnet_session_save(w->session, from, blob, size, &size));
        OK(retnet_session_load(w->session, to, blob, size));
        free(blob);
    }
    total.saved++;
    if (from != to) w->conversations[to] = w->conversations[from];
}

static void empty_slot(world *w, uint32_t slot)
{
    OK(retnet_session_reset(w->session, slot));
    w->conversations[slot].pieces = 0;
    w->conversations[slot].can_speak = false;
}

static void open_session(world *w)
{
    retnet_session_desc desc = {.slots = SLOTS, .prompt_chunk = below(w, 2) ? 64 : 0, .snapshots = SNAPSHOTS};
    OK(retnet_session_create(w->model, &desc, &w->session));
    memset(w->conversations, 0, (SLOTS + SNAPSHOTS) * sizeof *w->conversations);
    total.sessions++;
}

static void reopen(world *w)
{
    retnet_session_destroy(w->session);
    open_session(w);
}

/* ---- The same conversation alone --------------------------------------------------------------------------------- */

/* The tokens that were made, read one by one. The last of them is in no state. */
static void read_made(world *w, const piece *p)
{
    for (uint32_t i = 0; i + 1 < p->count; i++)
        OK(retnet_session_run(w->alone, &(retnet_span){.tokens = p->tokens + i, .count = 1}, 1));
}

static void make_again(world *w, const piece *p)
{
    int32_t tokens[GENERATED] = {0};
    retnet_generation generation = {.max_tokens = GENERATED, .tokens = tokens};
    OK(retnet_session_generate(w->alone, &generation));
    if (memcmp(tokens, p->tokens, sizeof tokens) != 0) SOAK_FAIL("other tokens are made alone");
}

/* Where company changes the last bits it may also change which of two equally likely tokens is made. */
static void replay(world *w, const conversation *c, bool to_the_bit)
{
    OK(retnet_session_reset(w->alone, 0));
    for (uint32_t i = 0; i < c->pieces; i++) {
        const piece *p = &c->piece[i];
        retnet_span span = {.tokens = p->tokens, .count = p->count};
        if (!p->generated)
            OK(retnet_session_run(w->alone, &span, 1));
        else if (to_the_bit)
            make_again(w, p);
        else
            read_made(w, p);
    }
}

static bool is_same(const float *state, const float *alone, size_t size, double limit)
{
    if (limit <= 0) return memcmp(state, alone, size * sizeof *state) == 0;
    double *wide = session_test_alloc(size, sizeof *wide);
    for (size_t i = 0; i < size; i++) wide[i] = alone[i];
    double rms = test_relative_rms(state, wide, size);
    free(wide);
    return rms <= limit;
}

static void check_one(world *w)
{
    uint32_t slot = below(w, SLOTS);
    size_t size = (size_t)w->info.heads * w->info.key_size * w->info.value_size;
    double limit = session_test_company(w->model);
    float *state = session_test_alloc(2 * size, sizeof *state);
    replay(w, &w->conversations[slot], limit <= 0);
    if (retnet_session_position(w->session, slot) != retnet_session_position(w->alone, 0))
        SOAK_FAIL("slot %u: another position than alone", slot);
    for (uint32_t layer = 0; layer < w->info.layers; layer++) {
        OK(retnet_session_get_state(w->session, slot, layer, state));
        OK(retnet_session_get_state(w->alone, 0, layer, state + size));
        bool finite = true;
        for (size_t i = 0; i < size; i++) finite = finite && isfinite(state[i]);
        if (!finite || !is_same(state, state + size, size, limit))
            SOAK_FAIL("slot %u, layer %u: %s", slot, layer, finite ? "another state than alone" : "not finite");
    }
    free(state);
    total.checked++;
}

static void *live(void *user)
{
    world *w = user;
    while (now() < w->end) {
        uint32_t choice = below(w, 32);
        if (choice < 10)
            read_some(w);
        else if (choice < 16)
            generate_some(w);
        else if (choice < 18)
            read_and_cancel(w);
        else if (choice < 20)
            fork_one(w);
        else if (choice < 22)
            snapshot_one(w);
        else if (choice < 24)
            roll_back_one(w);
        else if (choice < 26)
            save_and_load(w);
        else if (choice < 31)
            empty_slot(w, below(w, SLOTS));
        else if (below(w, 4) == 0)
            reopen(w);
        total.operations++;
        if (below(w, 8) == 0) check_one(w);
    }
    return NULL;
}

/* ---- The whole --------------------------------------------------------------------------------------------------- */

static void world_create(world *w, const options *o, retnet_model *model, uint32_t number, const char *directory)
{
    w->options = o;
    w->model = model;
    w->random = o->seed * 97 + number;
    w->end = now() + o->seconds;
    retnet_model_get_info(model, &w->info);
    snprintf(w->path, sizeof w->path, "%s/slot-%u", directory, number);
    w->conversations = session_test_alloc(SLOTS + SNAPSHOTS, sizeof *w->conversations);
    open_session(w);
    OK(retnet_session_create(model, NULL, &w->alone));
}

static void world_destroy(world *w)
{
    retnet_session_destroy(w->session);
    retnet_session_destroy(w->alone);
    free(w->conversations);
}

static void report(double seconds, double interval)
{
    static unsigned long long before;
    unsigned long long tokens = total.read + total.made;
    printf("%7.1f s: %llu operations, %llu read, %llu made (%.0f tokens/s), %llu checked, %llu saved, %llu cancelled, "
           "%llu sessions, host memory %lld bytes in %lld blocks, resident %ld KiB\n",
           seconds, total.operations, total.read, total.made, (double)(tokens - before) / interval, total.checked,
           total.saved, total.cancelled, total.sessions, total.live_bytes, total.live_blocks, resident());
    fflush(stdout);
    before = tokens;
}

/* Resident memory may still grow in the first half, while drivers warm up. In less than half a minute they may compile
 * to the end. */
static void soak(const options *o, retnet_model *model)
{
    static world worlds[MAX_THREADS];
    char directory[512];
    long long bytes = total.live_bytes, blocks = total.live_blocks;
    long half_way = 0;
    double start = now();
    session_test_directory(directory, sizeof directory);
    for (uint32_t i = 0; i < o->threads; i++) world_create(&worlds[i], o, model, i, directory);
    for (uint32_t i = 0; i < o->threads; i++) REQUIRE(pthread_create(&worlds[i].thread, NULL, live, &worlds[i]) == 0);
    for (int i = 0; i < REPORTS; i++) {
        double until = start + o->seconds * (i + 1) / REPORTS, left = until - now();
        struct timespec pause = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        if (left > 0) nanosleep(&pause, NULL);
        report(now() - start, o->seconds / REPORTS);
        if (i == REPORTS / 2) half_way = resident();
    }
    for (uint32_t i = 0; i < o->threads; i++) pthread_join(worlds[i].thread, NULL);
    long end = resident();
    for (uint32_t i = 0; i < o->threads; i++) {
        check_one(&worlds[i]);
        world_destroy(&worlds[i]);
    }
    /* The kernels that were made meanwhile stay. */
    if (total.live_blocks > blocks + KERNELS || total.live_bytes > bytes + 256 * KERNELS)
        SOAK_FAIL("host memory: %lld bytes in %lld blocks, before %lld in %lld", total.live_bytes, total.live_blocks,
                  bytes, blocks);
    if (o->seconds >= 30 && half_way && end > half_way + half_way / 10 + 8192)
        SOAK_FAIL("resident memory grew from %ld KiB half-way to %ld", half_way, end);
}

/* ---- Decoding without end ---------------------------------------------------------------------------------------- */

enum { TWINS = 32, BURST = 256 };

static void check_twins(retnet_session *session, const retnet_model_info *info)
{
    size_t size = (size_t)info->heads * info->key_size * info->value_size;
    float *state = session_test_alloc(2 * size, sizeof *state);
    for (uint32_t i = 0; i < TWINS; i += 11) {
        for (uint32_t layer = 0; layer < info->layers; layer++) {
            OK(retnet_session_get_state(session, i, layer, state));
            OK(retnet_session_get_state(session, i + TWINS, layer, state + size));
            bool finite = true;
            for (size_t k = 0; k < size; k++) finite = finite && isfinite(state[k]);
            if (!finite || memcmp(state, state + size, size * sizeof *state) != 0)
                SOAK_FAIL("slots %u and %u, layer %u: %s", i, i + TWINS, layer, finite ? "differ" : "not finite");
        }
    }
    free(state);
}

static void read_prompts(retnet_session *session, const options *o, uint32_t vocabulary)
{
    for (uint32_t i = 0; i < 2 * TWINS; i++) {
        int32_t *prompt = session_test_tokens(20, vocabulary, o->seed + i % TWINS);
        OK(retnet_session_run(session, &(retnet_span){.slot = i, .tokens = prompt, .count = 20}, 1));
        free(prompt);
    }
}

static void decode_burst(retnet_session *session, const uint32_t *slots, uint64_t seed)
{
    static int32_t tokens[2 * TWINS * BURST];
    retnet_generation generation = {.slots = slots,
                                    .slot_count = 2 * TWINS,
                                    .sampling = {.temperature = 1, .top_k = 40, .seed = seed},
                                    .max_tokens = BURST,
                                    .tokens = tokens};
    OK(retnet_session_generate(session, &generation));
    for (uint32_t i = 0; i < TWINS; i++)
        if (memcmp(tokens + i * BURST, tokens + (i + TWINS) * BURST, BURST * sizeof *tokens) != 0)
            SOAK_FAIL("slots %u and %u made different tokens", i, i + TWINS);
}

/* Reports ten times on the way, each time with the rate since the last and how far single bursts were from it. */
static void decode(const options *o, retnet_model *model)
{
    retnet_model_info info;
    retnet_session *session = NULL;
    uint32_t slots[2 * TWINS], burst = 2 * TWINS * BURST, step = o->decode / 10, made = 0, reported = 0;
    retnet_model_get_info(model, &info);
    OK(retnet_session_create(model, &(retnet_session_desc){.slots = 2 * TWINS}, &session));
    for (uint32_t i = 0; i < 2 * TWINS; i++) slots[i] = i;
    read_prompts(session, o, info.vocabulary_size);
    decode_burst(session, slots, o->seed); /* makes the kernels; not counted */
    double start = now(), last = start, before = start, least = INFINITY, most = 0;
    while (made < o->decode && last - start < o->seconds) {
        decode_burst(session, slots, o->seed);
        made += burst;
        double at = now(), rate = burst / (at - last);
        least = fmin(least, rate);
        most = fmax(most, rate);
        last = at;
        if (made - reported < step && made < o->decode) continue;
        check_twins(session, &info);
        printf("%7.1f s: %u tokens, %.0f tokens/s since the last (bursts of %u: %.0f to %.0f), position %llu, host "
               "memory %lld bytes, resident %ld KiB\n",
               at - start, made, (made - reported) / (at - before), burst, least, most,
               (unsigned long long)retnet_session_position(session, 0), total.live_bytes, resident());
        fflush(stdout);
        reported = made;
        before = last = now();
        least = INFINITY, most = 0;
    }
    check_twins(session, &info);
    printf("%u tokens in %.1f s\n", made, last - start);
    retnet_session_destroy(session);
}

/* ---- Options ----------------------------------------------------------------------------------------------------- */

static options parse(int argc, char **argv)
{
    options o = {.seconds = 4, .threads = 2, .seed = 1};
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value && strcmp(name, "--seconds") == 0)
            o.seconds = strtod(value, NULL);
        else if (value && strcmp(name, "--threads") == 0)
            o.threads = (uint32_t)strtoul(value, NULL, 10);
        else if (value && strcmp(name, "--seed") == 0)
            o.seed = strtoull(value, NULL, 10);
        else if (value && strcmp(name, "--shape") == 0)
            o.shape = value;
        else if (value && strcmp(name, "--model") == 0)
            o.model = value;
        else if (value && strcmp(name, "--decode") == 0)
            o.decode = (uint32_t)strtoul(value, NULL, 10);
        else
            exit((fprintf(stderr, "soak: %s is unknown or lacks a value; see the top of soak.c\n", name), 2));
    }
    if (o.threads < 1 || o.threads > MAX_THREADS || !(o.seconds > 0))
        exit((fprintf(stderr, "soak: 1 to %d threads and a time\n", MAX_THREADS), 2));
    return o;
}

static retnet_model *open_model(const options *o, retnet_context *context)
{
    static char directory[512];
    retnet_model *model = NULL;
    if (o->shape) {
        OK(retnet_model_synthesize(context, o->shape, RETNET_WEIGHTS_F16, &model));
        return model;
    }
    if (!o->model) {
        session_test_directory(directory, sizeof directory);
        fixture_write(fixture_named("odd-v"), directory);
    }
    OK(retnet_model_load(context, &(retnet_model_desc){.path = o->model ? o->model : directory}, &model));
    return model;
}

int main(int argc, char **argv)
{
    options o = parse(argc, argv);
    retnet_context *context = NULL;
    retnet_context_desc desc = {
        .allocator = {NULL, count_allocate, count_release}, .log = on_log, .pretend = test_pretend()};
    /* On matrix units a prompt's rounding depends on how many rows are read beside it. */
    if (!o.decode) desc.pretend |= RETNET_PRETEND_NO_COOPERATIVE_MATRIX;
    if (retnet_context_create(&desc, &context) == RETNET_ERROR_NO_DEVICE) return TEST_SKIPPED;
    REQUIRE(context);
    retnet_device_info device;
    retnet_context_device_info(context, &device);
    retnet_model *model = open_model(&o, context);
    REQUIRE(model);
    printf("%s, %s; seed %llu\n", device.name, device.driver, (unsigned long long)o.seed);
    if (o.decode)
        decode(&o, model);
    else
        soak(&o, model);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
    if (total.live_bytes || total.live_blocks)
        SOAK_FAIL("%lld bytes in %lld blocks were not released", total.live_bytes, total.live_blocks);
    printf("%s\n", total.failures ? "FAILED" : "passed");
    return session_test_finish(total.failures);
}
