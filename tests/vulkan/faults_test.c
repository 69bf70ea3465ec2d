/* faults_test.c: everything that can fail fails once. Each operation of the interface is done again and again, while
 * the first, second, third ... of its allocations and Vulkan calls is made to fail, each call with each error that it
 * may give. Every time the operation has to say what happened, leak nothing, and leave what there was before working,
 * or lost for good where the device is; then a state that was saved continues on a new one. The validation layers
 * watch.
 *
 * Without arguments a sample is taken, by a seed of RETNET_TEST_SEED or the day's; `full` walks all. Further arguments
 * name operations. */
#include "vulkan/faults.h"

#include "pretend.h"
#include "session/session_test.h"

#include <time.h>

enum { SLOTS = 3, PROMPT = 70, SHORT = 9 };

typedef struct world {
    retnet_context *context;
    retnet_model *model;
    retnet_session *session;
    retnet_model_info info;
} world;

static char directory[512], saved_path[600];
static uint32_t pretend;
static int32_t *prompt;
static int log_errors, self_tests_failed;
static char last_error[256];
static unsigned long points, survived, losses;
static bool driver_starved;   /* drivers leak where their own allocations fail */
static faults_objects leaked; /* as was told; else none */

/* What slot 0 is after a short prompt, and what one token more gives. */
static uint8_t *expected;
static size_t expected_size;
static float *expected_next;

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (strncmp(message, "validation:", 11) == 0 && level == RETNET_LOG_ERROR)
        TEST_FAIL("%s (n %ld, %s)", message, faults.at, faults.function ? faults.function : "before it");
    log_errors += level == RETNET_LOG_ERROR;
    if (level == RETNET_LOG_ERROR) snprintf(last_error, sizeof last_error, "%s", message);
    self_tests_failed += level == RETNET_LOG_WARNING && strncmp(message, "self-test:", 10) == 0;
}

/* ---- The world, and what it must be able to do ------------------------------------------------------------------- */

static retnet_result open_context(bool validation, retnet_context **out)
{
    retnet_vulkan_device device = faults_device();
    retnet_context_desc desc = {
        .allocator = faults_allocator(),
        .log = on_log,
        .pretend = pretend | RETNET_PRETEND_NO_COOPERATIVE_MATRIX,
        .enable_validation = validation,
    };
    return retnet_context_create_from_device(&device, &desc, out);
}

static retnet_result open_model(retnet_context *context, retnet_model **out)
{
    return retnet_model_load(context, &(retnet_model_desc){.path = directory}, out);
}

static retnet_result open_session(retnet_model *model, retnet_session **out)
{
    return retnet_session_create(model, &(retnet_session_desc){.slots = SLOTS, .prompt_chunk = 64, .snapshots = 1},
                                 out);
}

static retnet_result read_tokens(retnet_session *session, uint32_t slot, size_t count, float *logits)
{
    return retnet_session_run(session,
                              &(retnet_span){.slot = slot, .tokens = prompt, .count = count, .last_logits = logits}, 1);
}

static world open_world(void)
{
    world w = {0};
    retnet_result result = open_context(true, &w.context);
    if (result == RETNET_ERROR_NO_DEVICE && points == 0) exit(TEST_SKIPPED);
    if (result != RETNET_OK) fprintf(stderr, "no context after %lu points of failure: %s\n", points, last_error);
    REQUIRE(result == RETNET_OK);
    REQUIRE(open_model(w.context, &w.model) == RETNET_OK);
    REQUIRE(open_session(w.model, &w.session) == RETNET_OK);
    retnet_model_get_info(w.model, &w.info);
    return w;
}

static void close_world(world *w)
{
    retnet_session_destroy(w->session);
    retnet_model_destroy(w->model);
    retnet_context_destroy(w->context);
    *w = (world){0};
    if (driver_starved) faults.driver_blocks = 0;
    driver_starved = false;
    const char *left = faults_compare_objects(&leaked);
    if (left || faults.host_blocks || faults.driver_blocks)
        TEST_FAIL("%s, n %ld: %s, %ld blocks of host memory and %ld of the driver's are left",
                  faults.function ? faults.function : "no fault", faults.at, left ? left : "no Vulkan object",
                  faults.host_blocks, faults.driver_blocks);
    faults.host_blocks = faults.driver_blocks = 0;
    leaked = faults_count_objects();
}

static void save_slot(world *w, uint8_t **blob, size_t *size)
{
    CHECK_OK(retnet_session_save(w->session, 0, NULL, 0, size));
    *blob = session_test_alloc(1, *size);
    CHECK_OK(retnet_session_save(w->session, 0, *blob, *size, size));
}

static void learn_expected(world *w)
{
    expected_next = session_test_alloc(w->info.vocabulary_size, sizeof(float));
    CHECK_OK(read_tokens(w->session, 0, SHORT, NULL));
    save_slot(w, &expected, &expected_size);
    CHECK_OK(read_tokens(w->session, 0, 1, expected_next));
}

/* Slot 0 can be emptied and read into after whatever happened, and slot 1 takes up what was saved. */
static void check_world(world *w, const char *what)
{
    uint8_t *blob;
    size_t size;
    float *next = session_test_alloc(w->info.vocabulary_size, sizeof *next);
    CHECK_OK(retnet_session_load(w->session, 1, expected, expected_size));
    CHECK_OK(read_tokens(w->session, 1, 1, next));
    if (memcmp(next, expected_next, w->info.vocabulary_size * sizeof *next) != 0)
        TEST_FAIL("after %s, n %ld, %s: a saved state continues differently", what, faults.at, faults.function);
    CHECK_OK(retnet_session_reset(w->session, 0));
    CHECK_OK(read_tokens(w->session, 0, SHORT, NULL));
    save_slot(w, &blob, &size);
    if (size != expected_size || memcmp(blob, expected, size) != 0)
        TEST_FAIL("after %s, n %ld, %s: the same prompt leaves another state", what, faults.at, faults.function);
    free(blob);
    free(next);
}

#define CHECK_LOST(call)                                                                                               \
    do {                                                                                                               \
        log_errors = 0;                                                                                                \
        retnet_result result_ = (call);                                                                                \
        if (result_ != RETNET_ERROR_DEVICE_LOST || log_errors == 0)                                                    \
            TEST_FAIL("on a lost device %s gave %s with %d messages", #call, retnet_result_name(result_), log_errors); \
    } while (0)

static void check_lost(world *w)
{
    size_t size = expected_size;
    retnet_model *model = NULL;
    retnet_session *session = NULL;
    retnet_generation generation = {.max_tokens = 2};
    float *state = session_test_alloc(w->info.heads * w->info.key_size, w->info.value_size * sizeof *state);
    uint8_t *blob = session_test_alloc(1, expected_size);
    CHECK_LOST(read_tokens(w->session, 0, 1, NULL));
    CHECK_LOST(read_tokens(w->session, 1, SHORT, NULL));
    CHECK_LOST(retnet_session_reset(w->session, 0));
    CHECK_LOST(retnet_session_fork(w->session, 0, 1));
    CHECK_LOST(retnet_session_snapshot(w->session, 0, 0));
    CHECK_LOST(retnet_session_save(w->session, 0, blob, expected_size, &size));
    CHECK_LOST(retnet_session_load(w->session, 0, expected, expected_size));
    CHECK_LOST(retnet_session_save_file(w->session, 0, saved_path));
    CHECK_LOST(retnet_session_get_state(w->session, 0, 0, state));
    CHECK_LOST(retnet_session_set_state(w->session, 0, 0, state));
    CHECK_LOST(retnet_session_set_position(w->session, 0, 1));
    CHECK_LOST(open_model(w->context, &model));
    CHECK_LOST(open_session(w->model, &session));
    CHECK_LOST(retnet_model_prepare(w->model, NULL));
    retnet_result result = retnet_session_generate(w->session, &generation);
    CHECK(result == RETNET_ERROR_DEVICE_LOST || result == RETNET_ERROR_INVALID_ARGUMENT); /* without logits */
    CHECK(!model && !session);
    free(state);
    free(blob);
}

/* ---- Operations -------------------------------------------------------------------------------------------------- */

static retnet_result do_context(world *w)
{
    (void)w;
    retnet_context *context = NULL;
    /* The validation layers crash where an instance's memory ran out. */
    retnet_result result = open_context(faults.kind != FAULT_DRIVER, &context);
    if (result != RETNET_OK && context) TEST_FAIL("a context in spite of %s", retnet_result_name(result));
    retnet_context_destroy(context);
    return result;
}

static retnet_result do_load(world *w)
{
    retnet_model *model = NULL;
    retnet_model_memory memory;
    retnet_result result = retnet_model_memory_for(w->context, &(retnet_model_desc){.path = directory}, &memory);
    if (result == RETNET_OK) result = open_model(w->context, &model);
    if (result != RETNET_OK && model) TEST_FAIL("a model in spite of %s", retnet_result_name(result));
    retnet_model_destroy(model);
    return result;
}

static retnet_result do_session(world *w)
{
    retnet_session *session = NULL;
    retnet_result result = open_session(w->model, &session);
    if (result != RETNET_OK && session) TEST_FAIL("a session in spite of %s", retnet_result_name(result));
    retnet_session_destroy(session);
    return result;
}

static retnet_result do_prompt(world *w)
{
    size_t vocabulary = w->info.vocabulary_size;
    float *all = session_test_alloc(PROMPT * vocabulary, sizeof *all),
          *scores = session_test_alloc(PROMPT, sizeof *all);
    retnet_span spans[] = {{.slot = 2, .tokens = prompt, .count = PROMPT, .all_logits = all, .log_probs = scores},
                           {.slot = 1, .tokens = prompt, .count = 1}};
    retnet_result result = retnet_session_run(w->session, spans, 2);
    free(all);
    free(scores);
    return result;
}

static retnet_result do_generate(world *w)
{
    retnet_session *session = NULL;
    int32_t tokens[4];
    retnet_generation generation = {
        .max_tokens = 4, .tokens = tokens, .sampling = {.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.2f}};
    retnet_result result = open_session(w->model, &session);
    if (result == RETNET_OK) result = read_tokens(session, 0, SHORT, NULL);
    if (result == RETNET_OK) result = read_tokens(session, 0, 1, NULL);
    if (result == RETNET_OK) result = retnet_session_generate(session, &generation);
    retnet_session_destroy(session);
    return result;
}

static retnet_result do_fork(world *w)
{
    retnet_result result = retnet_session_fork(w->session, 0, 1);
    if (result == RETNET_OK) result = read_tokens(w->session, 1, 1, NULL);
    if (result == RETNET_OK) result = retnet_session_snapshot(w->session, 0, 0);
    if (result == RETNET_OK) result = read_tokens(w->session, 0, 2, NULL);
    if (result == RETNET_OK) result = retnet_session_rollback(w->session, 0, 0);
    return result == RETNET_OK ? retnet_session_reset(w->session, 1) : result;
}

static retnet_result do_save(world *w)
{
    size_t size = 0;
    retnet_result result = retnet_session_save(w->session, 0, NULL, 0, &size);
    uint8_t *blob = session_test_alloc(1, size);
    float *state = session_test_alloc(w->info.heads * w->info.key_size, w->info.value_size * sizeof *state);
    float *scale = session_test_alloc(w->info.heads, sizeof *scale);
    if (result == RETNET_OK) result = retnet_session_save(w->session, 0, blob, size, &size);
    if (result == RETNET_OK) result = retnet_session_load(w->session, 2, blob, size);
    if (result == RETNET_OK) result = retnet_session_save_file(w->session, 0, saved_path);
    if (result == RETNET_OK) result = retnet_session_load_file(w->session, 2, saved_path);
    if (result == RETNET_OK) result = retnet_session_get_state(w->session, 0, 1, state);
    if (result == RETNET_OK) result = retnet_session_set_state(w->session, 2, 1, state);
    if (result == RETNET_OK) result = retnet_session_get_state_torchscale(w->session, 0, 0, state, scale);
    if (result == RETNET_OK) result = retnet_session_set_state_torchscale(w->session, 2, 0, state, scale);
    free(blob);
    free(state);
    free(scale);
    return result;
}

static retnet_result do_cache(world *w)
{
    size_t size = 0;
    bool accepted = false;
    retnet_result result = retnet_context_pipeline_cache_save(w->context, NULL, 0, &size);
    uint8_t *blob = session_test_alloc(1, size);
    if (result == RETNET_OK) result = retnet_context_pipeline_cache_save(w->context, blob, size, &size);
    if (result == RETNET_OK) result = retnet_context_pipeline_cache_load(w->context, blob, size, &accepted);
    free(blob);
    return result;
}

static retnet_result do_profile(world *w)
{
    retnet_session *session = NULL;
    retnet_result result = retnet_context_profile(w->context, true);
    if (result == RETNET_OK) result = open_session(w->model, &session);
    if (result == RETNET_OK) result = read_tokens(session, 0, SHORT, NULL);
    if (result == RETNET_OK) result = read_tokens(session, 0, 1, NULL);
    /* What could not be made for the profile is made the next time. */
    if (result == RETNET_ERROR_OUT_OF_HOST_MEMORY && session) CHECK_OK(read_tokens(session, 0, 1, NULL));
    retnet_session_destroy(session);
    retnet_context_profile(w->context, false);
    return result;
}

/* Two slots at once, a slice at a time. */
static retnet_result do_tasks(world *w)
{
    retnet_session *session = NULL;
    retnet_step_info info = {.tasks = 1};
    retnet_task tasks[] = {{.slot = 0, .tokens = prompt, .count = PROMPT, .max_tokens = 3},
                           {.slot = 1, .tokens = prompt, .count = 1, .max_tokens = 9}};
    retnet_result result = open_session(w->model, &session);
    for (int i = 0; i < 2 && result == RETNET_OK; i++) result = retnet_session_start(session, &tasks[i]);
    while (result == RETNET_OK && info.tasks) {
        result = retnet_session_step(session, 3000, &info);
        if (result == RETNET_OK) result = retnet_session_wait(session);
        if (result == RETNET_OK) result = retnet_session_step(session, 0, &info);
        if (result == RETNET_OK && info.tokens_made) result = retnet_session_stop(session, 1);
    }
    retnet_session_destroy(session);
    return result;
}

/* A session is destroyed while the device is at work for it, by commands that were recorded once. */
static retnet_result do_drop(world *w)
{
    retnet_session *session = NULL;
    retnet_step_info info;
    retnet_task task = {.slot = 0, .tokens = prompt, .count = 1, .max_tokens = 2};
    retnet_result result = open_session(w->model, &session);
    float *logits = session_test_alloc(w->info.vocabulary_size, sizeof *logits);
    for (int i = 0; i < 3 && result == RETNET_OK; i++) result = read_tokens(session, 0, 1, logits);
    if (result == RETNET_OK) result = retnet_session_start(session, &task);
    if (result == RETNET_OK) result = retnet_session_step(session, 1000000, &info);
    CHECK(result != RETNET_OK || info.pending);
    free(logits);
    VkSemaphore semaphore = VK_NULL_HANDLE;
    uint64_t value;
    if (result == RETNET_OK) retnet_session_semaphore(session, &semaphore, &value);
    long waits = faults.semaphore_waits;
    retnet_session_destroy(session);
    /* Fences are not enough: drivers may not be done with a semaphore that they have signalled. */
    if (semaphore) CHECK_INT(faults.semaphore_waits, waits + 1);
    return result;
}

/* The host's part of a frame, by the driver's own functions. */
typedef struct frame {
    struct VolkDeviceTable vk;
    VkDevice device;
    VkQueue queue;
    VkCommandPool pool;
    VkCommandBuffer commands;
} frame;

static void frame_begin(frame *f, const retnet_context *context)
{
    retnet_vulkan_device d;
    retnet_vulkan_get(context, &d);
    volkLoadInstanceOnly(d.instance);
    volkLoadDeviceTable(&f->vk, d.device);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex = d.queue_family};
    f->device = d.device;
    f->queue = d.queue;
    REQUIRE(f->vk.vkCreateCommandPool(d.device, &pool, NULL, &f->pool) == VK_SUCCESS);
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = f->pool, .commandBufferCount = 1};
    VkCommandBufferBeginInfo begin_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    REQUIRE(f->vk.vkAllocateCommandBuffers(d.device, &allocate, &f->commands) == VK_SUCCESS);
    REQUIRE(f->vk.vkBeginCommandBuffer(f->commands, &begin_info) == VK_SUCCESS);
}

static void frame_submit(const frame *f)
{
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &f->commands};
    REQUIRE(f->vk.vkEndCommandBuffer(f->commands) == VK_SUCCESS);
    REQUIRE(f->vk.vkQueueSubmit(f->queue, 1, &info, VK_NULL_HANDLE) == VK_SUCCESS);
    REQUIRE(f->vk.vkQueueWaitIdle(f->queue) == VK_SUCCESS);
}

/* Two slots at once in the host's command buffers, a slice in each. */
static retnet_result do_record(world *w)
{
    retnet_session *session = NULL;
    retnet_step_info info = {.tasks = 1};
    retnet_task tasks[] = {{.slot = 0, .tokens = prompt, .count = PROMPT, .max_tokens = 2},
                           {.slot = 1, .tokens = prompt, .count = 1, .max_tokens = 3}};
    retnet_result result = open_session(w->model, &session);
    for (int i = 0; i < 2 && result == RETNET_OK; i++) result = retnet_session_start(session, &tasks[i]);
    while (result == RETNET_OK && info.tasks) {
        frame f = {0};
        retnet_record_info record = {0};
        frame_begin(&f, w->context);
        result = retnet_session_record(session, f.commands, 3000, &record);
        if (result == RETNET_OK) frame_submit(&f);
        if (result == RETNET_OK) result = retnet_session_collect(session, record.slice, &info);
        f.vk.vkDestroyCommandPool(f.device, f.pool, NULL);
    }
    retnet_session_destroy(session);
    return result;
}

static retnet_result do_prepare(world *w)
{
    return retnet_model_prepare(w->model, &(retnet_prepare_desc){.session = {.slots = SLOTS, .prompt_chunk = 64}});
}

static retnet_result do_first_run(world *w)
{
    retnet_result result = read_tokens(w->session, 0, SHORT, NULL);
    return result == RETNET_OK ? read_tokens(w->session, 0, 1, NULL) : result;
}

typedef struct operation {
    const char *name;
    retnet_result (*run)(world *w);
    bool alone;  /* without a world */
    bool fresh;  /* in a world whose kernels are not made yet */
    bool leaves; /* something behind in the session: descriptor pools that have grown */
    bool drops;  /* a session while the device is at work for it */
} operation;

static const operation operations[] = {
    {.name = "context", .run = do_context, .alone = true},
    {.name = "load", .run = do_load},
    {.name = "session", .run = do_session},
    {.name = "prompt", .run = do_prompt, .leaves = true},
    {.name = "generate", .run = do_generate},
    {.name = "tasks", .run = do_tasks},
    {.name = "drop", .run = do_drop, .drops = true},
    {.name = "record", .run = do_record},
    {.name = "fork", .run = do_fork, .leaves = true},
    {.name = "save", .run = do_save, .leaves = true},
    {.name = "cache", .run = do_cache},
    {.name = "profile", .run = do_profile},
    {.name = "prepare", .run = do_prepare, .fresh = true},
    {.name = "first-run", .run = do_first_run, .fresh = true},
};

/* ---- Walking ----------------------------------------------------------------------------------------------------- */

/* What the library can do without, or asks for again. What a self-test fails for, whatever that is, it does without. */
static bool is_optional(const char *function)
{
    if (self_tests_failed) return true;
    static const char *const names[] = {"vkEnumerateInstanceLayerProperties",
                                        "vkCreateDebugUtilsMessengerEXT",
                                        "vkSetDebugUtilsObjectNameEXT",
                                        "vkGetQueryPoolResults",
                                        "vkWaitForFences",
                                        "vkWaitSemaphores"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], function) == 0) return true;
    return false;
}

/* Destroying a session waits for the device, and cannot say what came of that. */
static bool may_hit_destruction(const operation *o)
{
    return strcmp(faults.function, "vkWaitSemaphores") == 0 ||
           (o->drops && strcmp(faults.function, "vkWaitForFences") == 0);
}

static bool is_expected(const operation *o, retnet_result result)
{
    VkResult given = faults.result;
    switch (faults.kind) {
    case FAULT_HOST: /* a token can be made without the record of how long such tokens take */
        return result == RETNET_ERROR_OUT_OF_HOST_MEMORY || (result == RETNET_OK && o->run == do_generate);
    case FAULT_FUNCTION: return result == RETNET_OK || result == RETNET_ERROR_NO_DEVICE;
    case FAULT_WAIT:
    case FAULT_LOST: return result == RETNET_ERROR_DEVICE_LOST || (result == RETNET_OK && may_hit_destruction(o));
    case FAULT_DRIVER: /* drivers and their loader may do without, or call it what they like */
        return result == RETNET_OK || result == RETNET_ERROR_OUT_OF_HOST_MEMORY || result == RETNET_ERROR_VULKAN ||
               result == RETNET_ERROR_OUT_OF_DEVICE_MEMORY || result == RETNET_ERROR_NO_DEVICE;
    default: break;
    }
    if (result == RETNET_OK) return is_optional(faults.function);
    if (given == VK_ERROR_OUT_OF_HOST_MEMORY && result == RETNET_ERROR_OUT_OF_HOST_MEMORY) return true;
    if (given == VK_ERROR_OUT_OF_DEVICE_MEMORY && result == RETNET_ERROR_OUT_OF_DEVICE_MEMORY) return true;
    if (given == VK_ERROR_DEVICE_LOST) return result == RETNET_ERROR_DEVICE_LOST;
    bool memory = given == VK_ERROR_OUT_OF_HOST_MEMORY || given == VK_ERROR_OUT_OF_DEVICE_MEMORY;
    bool finds_device = strcmp(faults.function, "vkCreateInstance") == 0 ||
                        strcmp(faults.function, "vkEnumeratePhysicalDevices") == 0 ||
                        strcmp(faults.function, "vkEnumerateInstanceVersion") == 0;
    if (finds_device && result == RETNET_ERROR_NO_DEVICE)
        return !memory || strcmp(faults.function, "vkEnumerateInstanceVersion") == 0;
    return !memory && result == RETNET_ERROR_VULKAN;
}

static void prepare_world(const operation *o, world *w)
{
    if (o->alone || (w->context && !o->fresh)) return;
    if (w->context) close_world(w);
    *w = open_world();
    if (o->fresh) return;
    CHECK_OK(read_tokens(w->session, 0, SHORT, NULL));
    CHECK_OK(o->run(w)); /* makes its kernels */
    check_world(w, "nothing");
}

/* One fault; false when the operation ended before it. */
static bool fail_once(const operation *o, world *w, fault_kind kind, long at, int code)
{
    prepare_world(o, w);
    faults_objects objects = faults_count_objects();
    long blocks = faults.host_blocks;
    log_errors = self_tests_failed = 0;
    faults_arm(kind, at, code);
    retnet_result result = o->run(w);
    faults_disarm();
    if (!faults.hit) {
        CHECK_OK(result);
        return false;
    }
    points++;
    driver_starved = driver_starved || kind == FAULT_DRIVER;
    survived += result == RETNET_OK;
    if (!is_expected(o, result))
        TEST_FAIL("%s, n %ld: %s gave %d, and that %s", o->name, at, faults.function, faults.result,
                  retnet_result_name(result));
    if (result != RETNET_OK && log_errors == 0)
        TEST_FAIL("%s, n %ld: %s failed in silence", o->name, at, faults.function);
    const char *left = faults_compare_objects(&objects);
    if (!o->leaves && !o->fresh && (left || faults.host_blocks != blocks))
        TEST_FAIL("%s, n %ld, %s: %s and %ld blocks of host memory were left behind", o->name, at, faults.function,
                  left ? left : "no Vulkan object", faults.host_blocks - blocks);
    if (!w->context) return true;
    if (result == RETNET_OK && may_hit_destruction(o)) result = retnet_session_reset(w->session, 0);
    if (result == RETNET_ERROR_DEVICE_LOST) {
        losses++;
        check_lost(w);
        close_world(w);
        faults.lost = false;
        if (o->fresh) return true;
        prepare_world(o, w);
    }
    check_world(w, o->name);
    return true;
}

static void walk(const operation *o, world *w, fault_kind kind, long first, long step)
{
    for (long at = first;; at += step) {
        int code = 0;
        do {
            if (!fail_once(o, w, kind, at, code++)) return;
        } while (kind == FAULT_CALL && !faults.last_code);
    }
}

/* How many faults of a kind the operation has room for. */
static long count_faults(const operation *o, world *w, fault_kind kind)
{
    prepare_world(o, w);
    faults_arm(kind, 0, 0);
    retnet_result result = o->run(w);
    faults_disarm();
    CHECK_OK(result);
    return faults.count;
}

static void walk_operation(const operation *o, bool full, uint64_t *random)
{
    static const char *const names[] = {"", "calls", "waits", "losses", "functions", "host memory", "driver's memory"};
    world w = {0};
    printf("%-10s", o->name);
    for (fault_kind kind = FAULT_CALL; kind < FAULT_KINDS; kind++) {
        if (kind == FAULT_FUNCTION && !o->alone) continue;
        if (kind == FAULT_DRIVER && w.context) close_world(&w); /* while what is left of the driver's can be counted */
        *random = *random * 6364136223846793005u + 1442695040888963407u;
        uint64_t number = *random >> 33;
        /* Where a world has to be made anew for each point, a sample is one or none. */
        bool dear = o->fresh || kind == FAULT_LOST || kind == FAULT_WAIT;
        if (!full && dear && number % 3) continue;
        long room = count_faults(o, &w, kind);
        long wanted = dear ? 1 : 3, step = full || room <= wanted ? 1 : room / wanted;
        long first = step == 1 ? 1 : 1 + (long)(number / 3 % (uint64_t)step);
        unsigned long before = points;
        walk(o, &w, kind, first, step);
        printf("  %s %lu of %ld", names[kind], points - before, room);
        fflush(stdout);
    }
    putchar('\n');
    if (w.context) close_world(&w);
}

int main(int argc, char **argv)
{
    bool full = argc > 1 && strcmp(argv[1], "full") == 0;
    const char *seed = getenv("RETNET_TEST_SEED");
    uint64_t random = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) / 86400;
    pretend = test_pretend();
    printf("seed %llu\n", (unsigned long long)random);
    setenv("NODEVICE_SELECT", "1", 1); /* a layer of Mesa's, which crashes where an instance's memory ran out */
    if (volkInitialize() != VK_SUCCESS) return TEST_SKIPPED;
    session_test_directory(directory, sizeof directory);
    snprintf(saved_path, sizeof saved_path, "%s/saved", directory);
    fixture_write(fixture_named("half-odd"), directory);
    prompt = session_test_tokens(PROMPT, 101, 3);
    world w = open_world();
    learn_expected(&w);
    close_world(&w);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        bool named = argc == 1 + full;
        for (int k = 1 + full; k < argc; k++) named = named || strcmp(argv[k], operations[i].name) == 0;
        if (named) walk_operation(&operations[i], full, &random);
    }
    printf("%lu points of failure, of which %lu did no harm and %lu lost the device; %lu Vulkan objects\n", points,
           survived, losses, faults.objects_made);
    free(prompt);
    free(expected);
    free(expected_next);
    return session_test_finish(test_failures);
}
