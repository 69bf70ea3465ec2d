/* prepare_test.c: after retnet_model_prepare nothing is compiled any more, whatever a session is then asked to do, and
 * threads that prepare at the same time share the work. */
#include "vulkan/host.h"

enum { SLOTS = 5, THREADS = 4 };

typedef struct setting {
    host *h;
    retnet_context *context;
    retnet_model *model;
    retnet_model_info info;
    char directory[512];
} setting;

static setting open_setting(host *h, const char *name, uint32_t pretend)
{
    setting s = {.h = h};
    retnet_context_desc desc = host_context_desc();
    desc.pretend = pretend;
    session_test_directory(s.directory, sizeof s.directory);
    fixture_write(fixture_named(name), s.directory);
    REQUIRE(retnet_context_create_from_device(&h->adopted, &desc, &s.context) == RETNET_OK);
    s.model = session_test_model(s.context, s.directory, RETNET_WEIGHTS_AS_STORED);
    retnet_model_get_info(s.model, &s.info);
    spy.pipelines = spy.pipeline_threads = 0;
    return s;
}

static void close_setting(setting *s)
{
    retnet_model_destroy(s->model);
    retnet_context_destroy(s->context);
}

/* ---- What a session is asked ------------------------------------------------------------------------------------- */

static void read_prompts(const setting *s, retnet_session *session, const uint32_t lengths[SLOTS], bool everything)
{
    retnet_span spans[SLOTS] = {0};
    size_t count = 0, vocabulary = s->info.vocabulary_size;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (lengths[slot] == 0) continue;
        spans[count] = (retnet_span){.slot = slot,
                                     .tokens = session_test_tokens(lengths[slot], (uint32_t)vocabulary, slot),
                                     .count = lengths[slot]};
        if (everything) {
            spans[count].all_logits = session_test_alloc(lengths[slot] * vocabulary, sizeof(float));
            spans[count].log_probs = session_test_alloc(lengths[slot], sizeof(float));
        }
        count++;
    }
    CHECK_OK(retnet_session_run(session, spans, count));
    for (size_t i = 0; i < count; i++) {
        free((void *)spans[i].tokens);
        free(spans[i].all_logits);
        free(spans[i].log_probs);
    }
}

static void use(const setting *s, const retnet_session_desc *desc)
{
    static const uint32_t prompts[][SLOTS] = {
        {1},
        {2},
        {3},
        {7},
        {31},
        {64},
        {65},
        {100},
        {130},
        {300},
        {1, 1},
        {1, 1, 1},
        {1, 1, 1, 1, 1},
        {1, 5},
        {40, 1, 1, 9, 200},
    };
    static const uint32_t slots[] = {0, 1, 2, 3, 4};
    retnet_session *session = session_test_session_of(s->model, desc);
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) read_prompts(s, session, prompts[i], i % 2);
    for (uint32_t count = 1; count <= SLOTS; count++) {
        for (int greedy = 0; greedy < 2; greedy++) {
            retnet_generation generation = {.slots = slots, .slot_count = count, .max_tokens = 4};
            if (!greedy) generation.sampling = (retnet_sampling){.temperature = 0.7f, .top_k = 9, .top_p = 0.9f};
            if (!greedy && count % 2) generation.sampling.repetition_penalty = 1.3f;
            CHECK_OK(retnet_session_generate(session, &generation));
        }
    }
    CHECK_OK(retnet_session_fork(session, 0, 1));
    read_prompts(s, session, (const uint32_t[SLOTS]){4, 1}, false);
    free(session_test_state(session, 1));
    retnet_session_destroy(session);
}

static void test_nothing_later(host *h, const char *name, uint32_t pretend)
{
    setting s = open_setting(h, name, pretend);
    retnet_session_desc desc = {.slots = SLOTS, .prompt_chunk = 128, .snapshots = 1};
    CHECK_OK(retnet_model_prepare(s.model, &(retnet_prepare_desc){.session = desc}));
    int prepared = spy.pipelines;
    CHECK(prepared > 3);
    use(&s, &desc);
    if (spy.pipelines != prepared)
        TEST_FAIL("%s, pretend %u: %d pipelines after the %d that were prepared", name, pretend,
                  spy.pipelines - prepared, prepared);
    CHECK_OK(retnet_model_prepare(s.model, &(retnet_prepare_desc){.session = desc}));
    CHECK_INT(spy.pipelines, prepared);
    close_setting(&s);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

typedef struct share {
    const setting *s;
    pthread_t thread;
    retnet_result result;
} share;

static void *prepare(void *user)
{
    share *own = user;
    retnet_prepare_desc desc = {.session = {.slots = SLOTS, .prompt_chunk = 128, .snapshots = 1}};
    own->result = retnet_model_prepare(own->s->model, &desc);
    return NULL;
}

static void test_threads(host *h, const char *name)
{
    share shares[THREADS];
    setting s = open_setting(h, name, 0);
    for (int i = 0; i < THREADS; i++) {
        shares[i] = (share){.s = &s};
        REQUIRE(pthread_create(&shares[i].thread, NULL, prepare, &shares[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(shares[i].thread, NULL);
        CHECK_OK(shares[i].result);
    }
    int made = spy.pipelines, threads = spy.pipeline_threads;
    CHECK(threads > 1);
    CHECK_OK(retnet_model_prepare(s.model, &(retnet_prepare_desc){.session = {.slots = SLOTS, .prompt_chunk = 128}}));
    CHECK_INT(spy.pipelines, made);
    close_setting(&s);

    s = open_setting(h, name, 0);
    CHECK_OK(retnet_model_prepare(s.model, &(retnet_prepare_desc){.session = {.slots = SLOTS, .prompt_chunk = 128}}));
    CHECK_INT(spy.pipelines, made); /* each once, whoever made it */
    close_setting(&s);
}

/* ---- Progress ---------------------------------------------------------------------------------------------------- */

typedef struct counter {
    uint64_t calls, last, total, stop_at;
} counter;

static bool count(void *user, uint64_t done, uint64_t total)
{
    counter *c = user;
    CHECK_INT(done, c->last + 1);
    CHECK(done <= total);
    c->calls++;
    c->last = done;
    c->total = total;
    return done != c->stop_at;
}

static void test_progress(host *h)
{
    setting s = open_setting(h, "odd-v", 0);
    counter stopped = {.stop_at = 2}, whole = {0};
    retnet_prepare_desc desc = {.progress = count, .progress_user = &stopped};
    CHECK_INT(retnet_model_prepare(s.model, &desc), RETNET_CANCELLED);
    CHECK_INT(stopped.calls, 2);
    desc.progress_user = &whole;
    CHECK_OK(retnet_model_prepare(s.model, &desc));
    CHECK_INT(whole.calls, whole.total);
    CHECK(whole.total > 3);
    int made = spy.pipelines;
    CHECK_OK(retnet_model_prepare(s.model, NULL));
    CHECK_INT(spy.pipelines, made);
    CHECK_INT(retnet_model_prepare(NULL, &desc), RETNET_ERROR_INVALID_ARGUMENT);
    close_setting(&s);
}

int main(void)
{
    static host h;
    host_create(&h, true);
    test_nothing_later(&h, "odd-v", 0);
    test_nothing_later(&h, "old", RETNET_PRETEND_GPU);
    test_nothing_later(&h, "gqa", RETNET_PRETEND_GPU | RETNET_PRETEND_MINIMUM_LIMITS | RETNET_PRETEND_DISCRETE);
    test_threads(&h, "odd-v");
    test_progress(&h);
    host_destroy(&h);
    return host_finish(test_failures);
}
