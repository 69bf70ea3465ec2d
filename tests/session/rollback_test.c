/* rollback_test.c: kept snapshots: a slot goes back to one any number of times, whatever happened to it since, and what
 * they cost is known beforehand. */
#include "session/session.h"
#include "session/session_test.h"

enum { SLOTS = 3, SNAPSHOTS = 2, PROMPT = 70, MORE = 6 };

/* How slot 0 goes on from the snapshot, as it must come again. */
typedef struct rollback {
    session_test test;
    int32_t *tokens;         /* [PROMPT + MORE] */
    float *logits, *state;   /* logits after each of the last MORE tokens; the state after the prompt */
    int32_t generated[MORE]; /* with a repetition penalty: it looks at recent tokens */
} rollback;

static void generate(rollback *r, uint32_t slot, int32_t tokens[MORE])
{
    retnet_generation generation = {.slots = &slot, .slot_count = 1, .max_tokens = MORE, .tokens = tokens};
    generation.sampling = (retnet_sampling){.temperature = 1, .seed = 5, .repetition_penalty = 1.5f};
    generation.sampling.repetition_window = PROMPT;
    CHECK_OK(retnet_session_generate(r->test.session, &generation));
}

static size_t logits_size(const rollback *r)
{
    return MORE * r->test.info.vocabulary_size * sizeof *r->logits;
}

/* Rolls the slot back to a snapshot of the prompt, twice, and sees it go on as recorded, to the bit. */
static void check_rollback(rollback *r, uint32_t slot, uint32_t snapshot, const char *what)
{
    retnet_session *session = r->test.session;
    float *logits = session_test_alloc(1, logits_size(r));
    int32_t generated[MORE];
    CHECK_OK(retnet_session_rollback(session, slot, snapshot));
    CHECK_INT(retnet_session_position(session, slot), PROMPT);
    float *state = session_test_state(session, slot);
    if (memcmp(state, r->state, r->test.info.layers * r->test.state_size * sizeof *state) != 0)
        TEST_FAIL("%s: another state than when it was kept", what);
    generate(r, slot, generated);
    if (memcmp(generated, r->generated, sizeof generated) != 0) TEST_FAIL("%s: other tokens are generated", what);
    CHECK_OK(retnet_session_rollback(session, slot, snapshot));
    session_test_read_singly(session, slot, r->tokens + PROMPT, MORE, logits);
    if (memcmp(logits, r->logits, logits_size(r)) != 0) TEST_FAIL("%s: other logits follow", what);
    CHECK_INT(retnet_session_position(session, slot), PROMPT + MORE);
    free(logits);
    free(state);
}

static rollback begin(const char *name)
{
    rollback r = {.test = session_test_create(fixture_named(name), 1, 0)};
    retnet_session_destroy(r.test.session);
    r.test.session =
        session_test_session_of(r.test.model, &(retnet_session_desc){.slots = SLOTS, .snapshots = SNAPSHOTS});
    r.tokens = session_test_tokens(PROMPT + MORE, r.test.info.vocabulary_size, 77);
    r.logits = session_test_alloc(1, logits_size(&r));
    /* What is recorded comes from a session without snapshots. */
    retnet_session *session = r.test.session, *plain = session_test_session(r.test.model, 1, 0);
    session_test_read_last(plain, 0, r.tokens, PROMPT, NULL);
    r.state = session_test_state(plain, 0);
    session_test_read_singly(plain, 0, r.tokens + PROMPT, MORE, r.logits);
    CHECK_OK(retnet_session_reset(plain, 0));
    session_test_read_last(plain, 0, r.tokens, PROMPT, NULL);
    r.test.session = plain;
    generate(&r, 0, r.generated);
    r.test.session = session;
    retnet_session_destroy(plain);
    return r;
}

static void end(rollback *r)
{
    free(r->tokens);
    free(r->logits);
    free(r->state);
    session_test_destroy(&r->test);
}

/* Whatever happens to the slot in between. */
static void test_again_and_again(rollback *r)
{
    retnet_session *session = r->test.session;
    float *state = session_test_alloc(r->test.state_size, sizeof *state);
    session_test_read_last(session, 0, r->tokens, PROMPT, NULL);
    CHECK_OK(retnet_session_snapshot(session, 0, 1));
    check_rollback(r, 0, 1, "after it went on");
    session_test_read_last(session, 0, r->tokens, PROMPT, NULL);
    check_rollback(r, 0, 1, "after another prompt");
    CHECK_OK(retnet_session_reset(session, 0));
    check_rollback(r, 0, 1, "after a reset");
    CHECK_OK(retnet_session_rollback(session, 0, 1));
    CHECK_OK(retnet_session_set_state(session, 0, 0, state));
    CHECK_OK(retnet_session_set_position(session, 0, 5));
    check_rollback(r, 0, 1, "after another state was set");
    session_test_read_last(session, 1, r->tokens, 3, NULL);
    CHECK_OK(retnet_session_fork(session, 1, 0));
    check_rollback(r, 0, 1, "after another slot was forked into it");
    size_t size = 0;
    CHECK_OK(retnet_session_rollback(session, 0, 1));
    CHECK_OK(retnet_session_save(session, 0, NULL, 0, &size));
    uint8_t *blob = session_test_alloc(size, 1);
    CHECK_OK(retnet_session_save(session, 1, blob, size, &size));
    CHECK_OK(retnet_session_load(session, 0, blob, size));
    check_rollback(r, 0, 1, "after another slot was loaded into it");
    free(blob);
    free(state);
}

/* Every slot on the same snapshot, and two snapshots with a history in common. */
static void test_many(rollback *r)
{
    retnet_session *session = r->test.session;
    CHECK_OK(retnet_session_reset(session, 0));
    session_test_read_last(session, 0, r->tokens, PROMPT, NULL);
    CHECK_OK(retnet_session_snapshot(session, 0, 0));
    CHECK_OK(retnet_session_snapshot(session, 0, 1));
    for (uint32_t slot = 0; slot < SLOTS; slot++) CHECK_OK(retnet_session_rollback(session, slot, slot % 2));
    for (uint32_t slot = 0; slot < SLOTS; slot++) check_rollback(r, slot, 1 - slot % 2, "one of many");

    /* Taken anew, a number holds the new; the other still the old. */
    session_test_read_last(session, 1, r->tokens, 2, NULL);
    CHECK_OK(retnet_session_snapshot(session, 1, 0));
    session_test_read_last(session, 1, r->tokens, 2, NULL);
    CHECK_OK(retnet_session_rollback(session, 2, 0));
    CHECK_INT(retnet_session_position(session, 2), PROMPT + MORE + 2);
    check_rollback(r, 1, 1, "the other number");

    /* An empty slot can be kept too. */
    CHECK_OK(retnet_session_reset(session, 2));
    CHECK_OK(retnet_session_snapshot(session, 2, 0));
    CHECK_OK(retnet_session_rollback(session, 0, 0));
    CHECK_INT(retnet_session_position(session, 0), 0);
    session_test_read_last(session, 0, r->tokens, PROMPT, NULL);
    CHECK_OK(retnet_session_snapshot(session, 0, 1));
    check_rollback(r, 0, 1, "read into a slot that was rolled back to nothing");
}

/* Keeping moves nothing: slot and snapshot share a state until the slot changes, and then part. */
static void test_sharing(rollback *r)
{
    retnet_session *session = r->test.session;
    const rn_slot *slot = &session->slots[0], *kept = &session->slots[SLOTS];
    CHECK_OK(retnet_session_snapshot(session, 0, 0));
    CHECK_INT(slot->state, kept->state);
    uint32_t state = kept->state;
    session_test_read_last(session, 0, r->tokens, 1, NULL);
    CHECK_INT(kept->state, state);
    CHECK(slot->state != state);
    uint32_t own = slot->state;
    session_test_read_last(session, 0, r->tokens, 1, NULL);
    CHECK_INT(slot->state, own);
    CHECK_OK(retnet_session_rollback(session, 0, 0));
    CHECK_INT(slot->state, state);
}

static void test_memory(rollback *r)
{
    retnet_session_memory none, some;
    retnet_session_desc desc = {.slots = SLOTS};
    CHECK_OK(retnet_session_memory_for(r->test.model, &desc, &none));
    desc.snapshots = 100;
    CHECK_OK(retnet_session_memory_for(r->test.model, &desc, &some));
    uint64_t slack = 256ull * r->test.info.layers; /* each layer's states begin at a multiple of 256 */
    uint64_t expected = none.state_bytes + 100 * r->test.info.state_bytes;
    CHECK(some.state_bytes <= expected + slack && some.state_bytes + slack >= expected);
    CHECK_INT(some.device_bytes - some.state_bytes, none.device_bytes - none.state_bytes);
    CHECK_INT(some.host_bytes, none.host_bytes);
    CHECK_INT(r->test.session->layout.layer_state_bytes * r->test.info.layers,
              (retnet_session_memory_for(r->test.model, &(retnet_session_desc){.slots = SLOTS, .snapshots = SNAPSHOTS},
                                         &some),
               some.state_bytes));
    desc.snapshots = 4097;
    CHECK_REFUSED(retnet_session_memory_for(r->test.model, &desc, &some), RETNET_ERROR_LIMIT);
    desc.snapshots = UINT32_MAX;
    CHECK_REFUSED(retnet_session_memory_for(r->test.model, &desc, &some), RETNET_ERROR_LIMIT);
}

static void test_errors(rollback *r)
{
    const retnet_result invalid = RETNET_ERROR_INVALID_ARGUMENT;
    retnet_session *session =
        session_test_session_of(r->test.model, &(retnet_session_desc){.slots = SLOTS, .snapshots = SNAPSHOTS});
    session_test_read_last(session, 0, r->tokens, PROMPT, NULL);
    CHECK_OK(retnet_session_snapshot(session, 0, 0));
    CHECK_REFUSED(retnet_session_rollback(session, 0, 1), invalid); /* never taken */
    char message[200];
    retnet_context_last_message(r->test.context, message, sizeof message);
    CHECK_STRING(message, "rollback: snapshot 1 was never taken");
    CHECK_REFUSED(retnet_session_rollback(session, 0, SNAPSHOTS), invalid);
    CHECK_REFUSED(retnet_session_rollback(session, SLOTS, 0), invalid);
    CHECK_REFUSED(retnet_session_snapshot(session, 0, SNAPSHOTS), invalid);
    CHECK_REFUSED(retnet_session_snapshot(session, SLOTS, 0), invalid);
    CHECK_REFUSED(retnet_session_snapshot(session, 0, UINT32_MAX), invalid);
    CHECK_RESULT(retnet_session_snapshot(NULL, 0, 0), invalid);
    CHECK_RESULT(retnet_session_rollback(NULL, 0, 0), invalid);
    /* A snapshot is no slot. */
    CHECK_REFUSED(retnet_session_fork(session, SLOTS, 0), invalid);
    CHECK_REFUSED(retnet_session_reset(session, SLOTS), invalid);
    CHECK_INT(retnet_session_position(session, SLOTS), 0);
    CHECK_INT(retnet_session_position(session, 0), PROMPT);
    retnet_session *whole = r->test.session;
    r->test.session = session;
    check_rollback(r, 0, 0, "after refusals");
    r->test.session = whole;
    retnet_session_destroy(session);

    session = session_test_session(r->test.model, 1, 0);
    CHECK_REFUSED(retnet_session_snapshot(session, 0, 0), invalid);
    CHECK_REFUSED(retnet_session_rollback(session, 0, 0), invalid);
    retnet_session_destroy(session);
}

int main(void)
{
    static const char *const names[] = {"odd-v", "torchscale-all"};
    for (size_t i = 0; i < RN_COUNT(names); i++) {
        rollback r = begin(names[i]);
        test_again_and_again(&r);
        test_many(&r);
        test_sharing(&r);
        test_memory(&r);
        test_errors(&r);
        end(&r);
    }
    return session_test_finish(test_failures);
}
