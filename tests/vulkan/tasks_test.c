/* tasks_test.c: the library beside a host that draws on the same queue from a thread of its own. Tasks, worked on by
 * the library's submits and by the host's command buffers, give what run and generate give on a device of the library's
 * own: to the bit where a CPU is the device, and within session_test_company elsewhere. */
#include "vulkan/host.h"

#include "pretend.h"
#include "reference/reference.h"

enum { SLOTS = 3, MADE = 10, BUDGET_US = 3000, IN_FLIGHT = 2, SLICES = 3, WORDS = 1024 };

static const size_t prompts[SLOTS] = {1, 45, 140};

typedef struct output {
    int32_t tokens[SLOTS][MADE];
    uint32_t counts[SLOTS];
    float *states[SLOTS];
    size_t state_count;
} output;

static bool on_token(void *user, uint32_t slot, int32_t token)
{
    output *out = user;
    REQUIRE(slot < SLOTS && out->counts[slot] < MADE);
    out->tokens[slot][out->counts[slot]++] = token;
    return true;
}

/* ---- Refusals ---------------------------------------------------------------------------------------------------- */

static bool refusing;
static int refusals;

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level != RETNET_LOG_ERROR) return;
    if (!refusing) TEST_FAIL("the library logged: %s", message);
    refusals++;
}

#define REFUSED(call)                                                                                                  \
    do {                                                                                                               \
        refusing = true;                                                                                               \
        refusals = 0;                                                                                                  \
        retnet_result result_ = (call);                                                                                \
        refusing = false;                                                                                              \
        if (result_ != RETNET_ERROR_INVALID_ARGUMENT || refusals != 1)                                                 \
            TEST_FAIL("%s gave %s with %d messages", #call, retnet_result_name(result_), refusals);                    \
    } while (0)

static retnet_context *create_context(host *h)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = host_context_desc();
    desc.log = on_log;
    REQUIRE(retnet_context_create_from_device(&h->adopted, &desc, &context) == RETNET_OK);
    return context;
}

/* ---- Objects ----------------------------------------------------------------------------------------------------- */

typedef struct subject {
    retnet_model *model;
    retnet_session *session;
    retnet_model_info info;
    output out;
} subject;

/* The device of the library's own, and what it made of each slot by itself. */
typedef struct reference {
    retnet_context *context;
    subject subject;
} reference;

static void subject_create(subject *s, retnet_context *context, const char *directory)
{
    memset(s, 0, sizeof *s);
    s->model = session_test_model(context, directory, RETNET_WEIGHTS_AS_STORED);
    s->session = session_test_session(s->model, SLOTS, 64);
    retnet_model_get_info(s->model, &s->info);
    s->out.state_count = (size_t)s->info.layers * s->info.heads * s->info.key_size * s->info.value_size;
}

static void subject_destroy(subject *s)
{
    retnet_session_destroy(s->session);
    retnet_model_destroy(s->model);
}

static void subject_finish(subject *s)
{
    for (uint32_t i = 0; i < SLOTS; i++) s->out.states[i] = session_test_state(s->session, i);
    subject_destroy(s);
}

static int32_t *prompt_of(const subject *s, uint32_t slot)
{
    return session_test_tokens(prompts[slot], s->info.vocabulary_size, 70 + slot);
}

static retnet_sampling sampling_of(uint32_t slot)
{
    return (retnet_sampling){.temperature = slot == 1 ? 0 : 1, .seed = slot};
}

static void start(subject *s)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        int32_t *tokens = prompt_of(s, i);
        retnet_task task = {.slot = i,
                            .tokens = tokens,
                            .count = prompts[i],
                            .max_tokens = MADE,
                            .sampling = sampling_of(i),
                            .token = on_token,
                            .token_user = &s->out};
        CHECK_OK(retnet_session_start(s->session, &task));
        free(tokens);
    }
}

static void output_free(output *out)
{
    for (uint32_t i = 0; i < SLOTS; i++) free(out->states[i]);
}

static reference alone(const char *directory)
{
    reference r = {0};
    retnet_context_desc desc = host_context_desc();
    desc.enable_validation = true;
    REQUIRE(retnet_context_create(&desc, &r.context) == RETNET_OK);
    subject_create(&r.subject, r.context, directory);
    for (uint32_t i = 0; i < SLOTS; i++) {
        int32_t *tokens = prompt_of(&r.subject, i);
        session_test_read_last(r.subject.session, i, tokens, prompts[i], NULL);
        retnet_generation generation = {.slots = &i,
                                        .slot_count = 1,
                                        .sampling = sampling_of(i),
                                        .max_tokens = MADE,
                                        .tokens = r.subject.out.tokens[i],
                                        .token_counts = &r.subject.out.counts[i]};
        CHECK_OK(retnet_session_generate(r.subject.session, &generation));
        free(tokens);
    }
    return r;
}

static void reference_free(reference *r)
{
    subject_destroy(&r->subject);
    retnet_context_destroy(r->context);
}

static bool could_be_made(const retnet_sampling *sampling, const float *logits, size_t vocabulary, double draw,
                          int32_t token, double slack)
{
    enum { STEPS = 20 };
    float most = logits[0];
    for (size_t i = 1; i < vocabulary; i++)
        if (logits[i] > most) most = logits[i];
    if (sampling->temperature == 0 && slack > 0) return logits[token] >= most - slack * fabs(most);
    for (int i = -STEPS; i <= STEPS; i++) { /* hardly a token is less likely than a step */
        double beside = fmin(fmax(draw + slack * i / STEPS, 0), 1 - 1e-9);
        if (ref_sample(sampling, logits, vocabulary, beside) == token) return true;
    }
    return false;
}

/* Each of the tokens is what the reference's sampler makes of the logits before it, while the slot reads them one by
 * one, all but the last. `logits`: those after the prompt, which it has read; overwritten. `slack`: how far, relative
 * to the largest, a greedy token's logit may lie below it, and how far a draw may be beside its token. */
static void check_made(const char *what, retnet_session *session, uint32_t slot, const retnet_sampling *sampling,
                       float *logits, const int32_t *tokens, size_t count, double slack)
{
    retnet_model_info info;
    retnet_model_get_info(retnet_session_model(session), &info);
    for (size_t i = 0; i < count; i++) {
        double draw = ref_random_draw(sampling->seed, retnet_session_position(session, slot));
        if (!could_be_made(sampling, logits, info.vocabulary_size, draw, tokens[i], slack))
            TEST_FAIL("%s: token %zu of slot %u is %d", what, i, slot, tokens[i]);
        if (i + 1 < count) session_test_read_last(session, slot, tokens + i, 1, logits);
    }
}

/* A draw that falls between two tokens may go to either where rounding depends on the company; from then on everything
 * is another. So the slot by itself reads what was made, and each token has to be one that it could have made. */
static void check_same(const char *what, const output *out, reference *r)
{
    const subject *s = &r->subject;
    double limit = session_test_company(s->model);
    for (uint32_t i = 0; i < SLOTS; i++) {
        retnet_sampling sampling = sampling_of(i);
        int32_t *tokens = prompt_of(s, i);
        float *logits = session_test_alloc(s->info.vocabulary_size, sizeof *logits);
        CHECK_INT(out->counts[i], s->out.counts[i]);
        if (limit == 0 && memcmp(out->tokens[i], s->out.tokens[i], sizeof out->tokens[i]) != 0)
            TEST_FAIL("%s: slot %u, other tokens", what, i);
        CHECK_OK(retnet_session_reset(s->session, i));
        session_test_read_last(s->session, i, tokens, prompts[i], logits);
        check_made(what, s->session, i, &sampling, logits, out->tokens[i], out->counts[i], 5 * limit);
        float *state = session_test_state(s->session, i);
        session_test_check_same(what, out->states[i], state, out->state_count, limit);
        free(state);
        free(logits);
        free(tokens);
    }
}

/* ---- The library's submits --------------------------------------------------------------------------------------- */

static void check_semaphore(host *h, retnet_session *session, bool expected)
{
    VkSemaphore semaphore;
    uint64_t value, reached;
    retnet_session_semaphore(session, &semaphore, &value);
    CHECK_INT(semaphore != VK_NULL_HANDLE, expected);
    if (!semaphore) return;
    CHECK(value > 0);
    VkSemaphoreWaitInfo wait = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &semaphore,
                                .pValues = &value};
    CHECK_INT(vkWaitSemaphores(h->device, &wait, 10000000000u), VK_SUCCESS);
    CHECK_INT(vkGetSemaphoreCounterValue(h->device, semaphore, &reached), VK_SUCCESS);
    CHECK_INT(reached, value);
}

/* The next slice waits for the host. */
static void check_await(host *h, subject *s)
{
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkSemaphore go = VK_NULL_HANDLE;
    retnet_step_info step;
    REQUIRE(vkCreateSemaphore(h->device, &info, NULL, &go) == VK_SUCCESS);
    CHECK_OK(retnet_session_await(s->session, go, 5));
    REFUSED(retnet_session_await(s->session, go, 6));
    CHECK_OK(retnet_session_step(s->session, BUDGET_US, &step));
    CHECK(step.pending);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(retnet_session_step(s->session, 0, &step));
        CHECK(step.pending && step.slices == 0);
    }
    VkSemaphoreSignalInfo signal = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, .semaphore = go, .value = 5};
    CHECK_INT(vkSignalSemaphore(h->device, &signal), VK_SUCCESS);
    CHECK_OK(retnet_session_wait(s->session));
    CHECK_OK(retnet_session_step(s->session, 0, &step));
    CHECK(!step.pending && step.slices == 1);
    vkDestroySemaphore(h->device, go, NULL);
}

static void test_steps(const char *directory, reference *expected, bool recommend)
{
    static host h;
    subject s;
    host_create(&h, recommend);
    retnet_context *context = create_context(&h);
    subject_create(&s, context, directory);
    bool timeline = recommend && h.api_version >= VK_API_VERSION_1_2 && !(test_pretend() & RETNET_PRETEND_NO_TIMELINE);
    start(&s);
    if (timeline) check_await(&h, &s);
    host_start_rendering(&h);
    retnet_step_info info = {.tasks = 1};
    uint64_t device_ns = 0, slices = 0;
    while (info.tasks) {
        CHECK_OK(retnet_session_step(s.session, BUDGET_US, &info));
        check_semaphore(&h, s.session, timeline);
        device_ns += info.device_ns;
        slices += info.slices;
    }
    host_stop_rendering(&h);
    CHECK(slices > 1 && device_ns > 0);
    REFUSED(retnet_session_collect(s.session, 1u << 30, NULL));
    subject_finish(&s);
    retnet_context_destroy(context);
    if (recommend) check_same("steps", &s.out, expected);
    output_free(&s.out);
    host_destroy(&h);
}

/* ---- The host's submits ------------------------------------------------------------------------------------------ */

typedef struct flight {
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    bool submitted;
    uint64_t slice; /* the newest one in it; 0: none */
} flight;

/* A buffer that the host's commands fill before and after the library's. */
typedef struct canvas {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint32_t *words;
} canvas;

static void canvas_create(canvas *c, host *h)
{
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = 4 * WORDS, .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    REQUIRE(vkCreateBuffer(h->device, &info, NULL, &c->buffer) == VK_SUCCESS);
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(h->device, c->buffer, &needs);
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(h->physical, &memory);
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = 0;
    while (!(needs.memoryTypeBits >> type & 1) || (memory.memoryTypes[type].propertyFlags & wanted) != wanted) type++;
    VkMemoryAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = needs.size, .memoryTypeIndex = type};
    REQUIRE(vkAllocateMemory(h->device, &allocate, NULL, &c->memory) == VK_SUCCESS);
    REQUIRE(vkBindBufferMemory(h->device, c->buffer, c->memory, 0) == VK_SUCCESS);
    REQUIRE(vkMapMemory(h->device, c->memory, 0, VK_WHOLE_SIZE, 0, (void **)&c->words) == VK_SUCCESS);
}

static void flight_create(flight *f, host *h)
{
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = h->queue_family};
    REQUIRE(vkCreateCommandPool(h->device, &pool, NULL, &f->pool) == VK_SUCCESS);
    VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = f->pool, .commandBufferCount = 1};
    REQUIRE(vkAllocateCommandBuffers(h->device, &commands, &f->commands) == VK_SUCCESS);
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    REQUIRE(vkCreateFence(h->device, &fence, NULL, &f->fence) == VK_SUCCESS);
}

static void fill(flight *f, canvas *c, uint32_t half, uint32_t value)
{
    vkCmdFillBuffer(f->commands, c->buffer, half * 2 * WORDS, 2 * WORDS, value);
}

/* A frame of the host's with some slices in its middle. */
static void record_frame(host *h, flight *f, canvas *c, subject *s, uint32_t number)
{
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    REQUIRE(vkResetCommandPool(h->device, f->pool, 0) == VK_SUCCESS);
    REQUIRE(vkBeginCommandBuffer(f->commands, &begin) == VK_SUCCESS);
    fill(f, c, 0, number);
    f->slice = 0;
    for (int i = 0; i < SLICES; i++) {
        retnet_record_info info;
        CHECK_OK(retnet_session_record(s->session, f->commands, BUDGET_US, &info));
        if (info.slice) f->slice = info.slice;
    }
    fill(f, c, 1, ~number);
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    vkCmdPipelineBarrier(f->commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                         VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
    REQUIRE(vkEndCommandBuffer(f->commands) == VK_SUCCESS);
}

static void submit_frame(host *h, flight *f)
{
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &f->commands};
    h->adopted.lock_queue(h);
    VkResult result = vkQueueSubmit(h->queue, 1, &submit, f->fence);
    h->adopted.unlock_queue(h);
    REQUIRE(result == VK_SUCCESS);
    f->submitted = true;
}

static void finish_frame(host *h, flight *f, subject *s, retnet_step_info *info)
{
    if (!f->submitted) return;
    REQUIRE(vkWaitForFences(h->device, 1, &f->fence, VK_TRUE, UINT64_MAX) == VK_SUCCESS);
    REQUIRE(vkResetFences(h->device, 1, &f->fence) == VK_SUCCESS);
    f->submitted = false;
    if (f->slice) CHECK_OK(retnet_session_collect(s->session, f->slice, info));
}

/* What is recorded and not executed yet cannot be collected, and stands in the way of what needs the device. */
static void check_uncollected(const flight *f, subject *s)
{
    CHECK(f->slice > 0);
    REFUSED(retnet_session_collect(s->session, f->slice, NULL));
    REFUSED(retnet_session_step(s->session, BUDGET_US, NULL));
    REFUSED(retnet_session_wait(s->session));
    CHECK_OK(retnet_session_stop(s->session, 0)); /* which waits for what was recorded, if it was of this slot */
}

static void test_records(const char *directory, reference *expected)
{
    static host h;
    subject s;
    flight flights[IN_FLIGHT] = {0};
    canvas c;
    host_create(&h, true);
    retnet_context *context = create_context(&h);
    subject_create(&s, context, directory);
    canvas_create(&c, &h);
    for (int i = 0; i < IN_FLIGHT; i++) flight_create(&flights[i], &h);
    start(&s);
    host_start_rendering(&h);
    int submits = spy.submits;
    retnet_step_info info = {.tasks = SLOTS};
    uint64_t read = 0, made = 0;
    for (uint32_t frame = 0; info.tasks && frame < 5000; frame++) {
        flight *f = &flights[frame % IN_FLIGHT];
        retnet_step_info now = info;
        finish_frame(&h, f, &s, &now);
        if (now.tasks != info.tasks || now.slices) {
            read += now.tokens_read;
            made += now.tokens_made;
        }
        info.tasks = now.tasks;
        record_frame(&h, f, &c, &s, frame);
        submit_frame(&h, f);
    }
    for (int i = 0; i < IN_FLIGHT; i++) finish_frame(&h, &flights[i], &s, NULL);
    for (uint32_t i = 1; i < WORDS / 2; i++)
        if (c.words[i] != c.words[0] || c.words[WORDS / 2 + i] != ~c.words[0]) {
            TEST_FAIL("the host's own words are not what it wrote");
            break;
        }
    CHECK_INT(spy.submits, submits); /* the library has submitted nothing */
    CHECK_INT(made, SLOTS * MADE);
    CHECK_INT(read, prompts[0] + prompts[1] + prompts[2] + SLOTS * (MADE - 1));

    record_frame(&h, &flights[0], &c, &s, 1); /* with nothing to do */
    CHECK_INT(flights[0].slice, 0);
    int32_t again[] = {1, 2, 3};
    CHECK_OK(retnet_session_start(s.session, &(retnet_task){.slot = 0, .tokens = again, .count = 3}));
    record_frame(&h, &flights[0], &c, &s, 2);
    check_uncollected(&flights[0], &s);
    submit_frame(&h, &flights[0]);
    finish_frame(&h, &flights[0], &s, &info);
    host_stop_rendering(&h);
    while (retnet_session_busy(s.session, 0)) {
        CHECK_OK(retnet_session_step(s.session, BUDGET_US, NULL));
        CHECK_OK(retnet_session_wait(s.session));
    }
    CHECK_INT(retnet_session_position(s.session, 0), prompts[0] + MADE - 1 + 3);
    /* Slot 0 back to where it was. */
    int32_t tokens[1 + MADE];
    int32_t *prompt = prompt_of(&s, 0);
    tokens[0] = prompt[0];
    memcpy(tokens + 1, s.out.tokens[0], sizeof s.out.tokens[0]);
    CHECK_OK(retnet_session_reset(s.session, 0));
    session_test_read_singly(s.session, 0, tokens, MADE, NULL);
    free(prompt);

    subject_finish(&s);
    retnet_context_destroy(context);
    check_same("records", &s.out, expected);
    output_free(&s.out);
    for (int i = 0; i < IN_FLIGHT; i++) {
        vkDestroyFence(h.device, flights[i].fence, NULL);
        vkDestroyCommandPool(h.device, flights[i].pool, NULL);
    }
    vkDestroyBuffer(h.device, c.buffer, NULL);
    vkFreeMemory(h.device, c.memory, NULL);
    host_destroy(&h);
}

int main(void)
{
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("gqa"), directory);
    reference expected = alone(directory);
    test_steps(directory, &expected, true);
    test_steps(directory, &expected, false);
    test_records(directory, &expected);
    reference_free(&expected);
    return host_finish(test_failures);
}
