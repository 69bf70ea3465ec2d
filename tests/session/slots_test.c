/* slots_test.c: many slots in one session. Random prompts of random lengths in random company, forks, resets,
 * snapshots, rollbacks and generation: each slot ends up, to the bit, where the same conversation leaves a session of
 * its own. Without arguments 200 operations; the first argument is another number. */
#include "session/session_test.h"

enum { SLOTS = 64, SNAPSHOTS = 6, MAX_BATCH = 12, MAX_PIECES = 256, MAX_PIECE = 70, GENERATED = 5 };

/* What a slot has been told, call by call: the same calls alone must give the same bits. */
typedef struct piece {
    uint32_t count;
    bool generated; /* by the model, greedily */
    int32_t tokens[MAX_PIECE];
} piece;

typedef struct conversation {
    uint32_t pieces;
    piece piece[MAX_PIECES];
    float *logits; /* after the last piece, if that was read */
} conversation;

typedef struct world {
    session_test many;
    retnet_session *alone;
    conversation *conversations; /* [SLOTS], then [SNAPSHOTS] */
    uint64_t random;
} world;

static uint32_t random_below(world *w, uint32_t end)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((w->random >> 33) % end);
}

/* Distinct slots, of which `wanted` says whether they may be taken. */
static uint32_t random_slots(world *w, uint32_t count, bool begun, uint32_t *slots)
{
    uint32_t taken = 0;
    bool used[SLOTS] = {false};
    for (uint32_t tries = 0; taken < count && tries < 4 * SLOTS; tries++) {
        uint32_t slot = random_below(w, SLOTS);
        const conversation *c = &w->conversations[slot];
        if (used[slot] || c->pieces == MAX_PIECES || (begun && c->pieces == 0)) continue;
        used[slot] = true;
        slots[taken++] = slot;
    }
    return taken;
}

/* ---- Operations -------------------------------------------------------------------------------------------------- */

static void read_some(world *w)
{
    uint32_t slots[MAX_BATCH], count = random_slots(w, 1 + random_below(w, MAX_BATCH), false, slots);
    retnet_span spans[MAX_BATCH] = {0};
    for (uint32_t i = 0; i < count; i++) {
        conversation *c = &w->conversations[slots[i]];
        piece *p = &c->piece[c->pieces++];
        p->generated = false;
        p->count = random_below(w, 2) ? 1 : 1 + random_below(w, MAX_PIECE);
        for (uint32_t t = 0; t < p->count; t++) p->tokens[t] = (int32_t)random_below(w, w->many.info.vocabulary_size);
        spans[i] = (retnet_span){.slot = slots[i], .tokens = p->tokens, .count = p->count, .last_logits = c->logits};
    }
    if (count) CHECK_OK(retnet_session_run(w->many.session, spans, count));
}

static void generate_some(world *w)
{
    uint32_t slots[MAX_BATCH], counts[MAX_BATCH] = {0};
    int32_t tokens[MAX_BATCH * GENERATED];
    uint32_t count = random_slots(w, 1 + random_below(w, MAX_BATCH), true, slots);
    if (count == 0) return;
    retnet_generation generation = {.slots = slots, .slot_count = count, .max_tokens = GENERATED};
    generation.tokens = tokens;
    generation.token_counts = counts;
    CHECK_OK(retnet_session_generate(w->many.session, &generation));
    for (uint32_t i = 0; i < count; i++) {
        conversation *c = &w->conversations[slots[i]];
        piece *p = &c->piece[c->pieces++];
        CHECK_INT(counts[i], GENERATED);
        p->generated = true;
        p->count = GENERATED;
        memcpy(p->tokens, tokens + i * GENERATED, sizeof tokens / MAX_BATCH);
    }
}

static void copy_conversation(world *w, uint32_t from, uint32_t to)
{
    conversation *source = &w->conversations[from], *target = &w->conversations[to];
    float *logits = target->logits;
    *target = *source;
    target->logits = logits;
    memcpy(logits, source->logits, w->many.info.vocabulary_size * sizeof *logits);
}

static void fork_one(world *w)
{
    uint32_t pair[2];
    if (random_slots(w, 2, false, pair) < 2) return;
    CHECK_OK(retnet_session_fork(w->many.session, pair[0], pair[1]));
    copy_conversation(w, pair[0], pair[1]);
}

static void snapshot_one(world *w)
{
    uint32_t slot = random_below(w, SLOTS), snapshot = random_below(w, SNAPSHOTS);
    CHECK_OK(retnet_session_snapshot(w->many.session, slot, snapshot));
    copy_conversation(w, slot, SLOTS + snapshot);
}

static void roll_back_one(world *w)
{
    uint32_t slot = random_below(w, SLOTS), snapshot = random_below(w, SNAPSHOTS);
    if (w->conversations[SLOTS + snapshot].pieces == 0) return; /* perhaps never taken */
    CHECK_OK(retnet_session_rollback(w->many.session, slot, snapshot));
    copy_conversation(w, SLOTS + snapshot, slot);
}

static void reset_one(world *w)
{
    uint32_t slot = random_below(w, SLOTS);
    CHECK_OK(retnet_session_reset(w->many.session, slot));
    w->conversations[slot].pieces = 0;
}

/* ---- The same conversation alone --------------------------------------------------------------------------------- */

static uint64_t replay(world *w, const conversation *c, float *logits)
{
    uint64_t position = 0;
    CHECK_OK(retnet_session_reset(w->alone, 0));
    for (uint32_t i = 0; i < c->pieces; i++) {
        const piece *p = &c->piece[i];
        int32_t tokens[GENERATED] = {0};
        if (p->generated) {
            retnet_generation generation = {.max_tokens = GENERATED, .tokens = tokens};
            CHECK_OK(retnet_session_generate(w->alone, &generation));
            if (memcmp(tokens, p->tokens, sizeof tokens) != 0) TEST_FAIL("piece %u: other tokens were generated", i);
        } else {
            session_test_read_last(w->alone, 0, p->tokens, p->count, logits);
        }
        position += p->generated ? p->count - 1 : p->count;
    }
    return position;
}

static void check_slot(world *w, uint32_t slot)
{
    const conversation *c = &w->conversations[slot];
    size_t size = w->many.info.vocabulary_size * sizeof(float);
    double limit = session_test_company(w->many.model);
    char what[64];
    float *logits = session_test_alloc(1, size);
    uint64_t position = replay(w, c, logits);
    CHECK_INT(retnet_session_position(w->many.session, slot), position);
    float *actual = session_test_state(w->many.session, slot), *expected = session_test_state(w->alone, 0);
    snprintf(what, sizeof what, "state of slot %u against alone", slot);
    session_test_check_same(what, actual, expected, w->many.info.layers * w->many.state_size, limit);
    bool read_last = c->pieces > 0 && !c->piece[c->pieces - 1].generated;
    snprintf(what, sizeof what, "logits of slot %u against alone", slot);
    if (read_last) session_test_check_same(what, c->logits, logits, w->many.info.vocabulary_size, limit);
    free(logits);
    free(actual);
    free(expected);
}

static void check_fixture(const char *name, uint32_t operations, uint32_t prompt_chunk)
{
    world w = {.many = session_test_create(fixture_named(name), SLOTS, prompt_chunk), .random = operations + 1};
    w.alone = session_test_session(w.many.model, 1, prompt_chunk);
    retnet_session_desc desc = {.slots = SLOTS, .prompt_chunk = prompt_chunk, .snapshots = SNAPSHOTS};
    retnet_session_destroy(w.many.session);
    w.many.session = session_test_session_of(w.many.model, &desc);
    w.conversations = session_test_alloc(SLOTS + SNAPSHOTS, sizeof *w.conversations);
    for (uint32_t slot = 0; slot < SLOTS + SNAPSHOTS; slot++)
        w.conversations[slot].logits = session_test_alloc(w.many.info.vocabulary_size, sizeof(float));
    for (uint32_t i = 0; i < operations; i++) {
        uint32_t choice = random_below(&w, 14);
        if (choice < 5)
            read_some(&w);
        else if (choice < 7)
            generate_some(&w);
        else if (choice < 9)
            fork_one(&w);
        else if (choice < 11)
            snapshot_one(&w);
        else if (choice < 13)
            roll_back_one(&w);
        else
            reset_one(&w);
        if (i % 16 == 0) check_slot(&w, random_below(&w, SLOTS));
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        check_slot(&w, slot);
        if (slot >= SNAPSHOTS || w.conversations[SLOTS + slot].pieces == 0) continue;
        CHECK_OK(retnet_session_rollback(w.many.session, slot, slot));
        copy_conversation(&w, SLOTS + slot, slot);
        check_slot(&w, slot);
    }
    for (uint32_t slot = 0; slot < SLOTS + SNAPSHOTS; slot++) free(w.conversations[slot].logits);
    free(w.conversations);
    retnet_session_destroy(w.alone);
    session_test_destroy(&w.many);
}

int main(int argc, char **argv)
{
    uint32_t operations = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 200;
    REQUIRE(operations > 0);
    check_fixture("odd-v", operations, 0);
    check_fixture("torchscale-all", operations / 4, 64); /* batches that take several passes */
    return session_test_finish(test_failures);
}
