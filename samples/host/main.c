/* host: a program that draws, with a language model beside it. It shows what a game or an editor has to do:
 *
 *   - make its device with what the library recommends, and give it to the library: renderer.c, create_model
 *   - say what slots are to do: start_tasks
 *   - once a frame let the library submit some work of its own: work_by_step
 *   - or put some into the frame's own command buffer, and collect it when the frame is done: work_by_record,
 * draw_frame
 *
 * and measures what that costs. */
#include "options.h"
#include "preparing.h"
#include "renderer.h"
#include "statistics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 30 }; /* frames that are not counted: clocks rise, the library learns what slices take */

typedef struct host {
    host_options options;
    renderer renderer;
    retnet_context *context;
    retnet_model *model;
    retnet_session *session;
    int32_t *prompt; /* [options.prompt] */
} host;

/* What one phase came to. */
typedef struct phase {
    host_phase kind;
    samples intervals; /* ms between two pictures that became ready, by the device's clock */
    samples drawing;   /* ms that drawing took there */
    samples slices;    /* ms that slices took there */
    uint64_t last_end, tokens_read, tokens_made, device_ns;
    uint64_t begin_ns, end_ns;
    uint8_t *picture; /* the last one */
} phase;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) {}
}

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level != RETNET_LOG_INFO) fprintf(stderr, "host: %s\n", message);
}

/* ---- The library ------------------------------------------------------------------------------------------------ */

/* Now, so that no frame waits for a compiler. A game would show its loading screen meanwhile. */
static retnet_result prepare(host *h, const retnet_session_desc *session)
{
    const bool shown = isatty(STDERR_FILENO);
    preparing *p = preparing_start(h->model, session, h->options.threads);
    if (!p) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    for (preparing_progress at; !(at = preparing_look(p)).ended; sleep_until(now_ns() + 1000000))
        if (shown && at.total)
            fprintf(stderr, "\rhost: preparing kernels, %llu of %llu", (unsigned long long)at.done,
                    (unsigned long long)at.total);
    if (shown) fprintf(stderr, "\r\033[K");
    return preparing_end(p);
}

static retnet_result create_model(host *h)
{
    const host_options *o = &h->options;
    retnet_context_desc desc = {.log = on_log};
    retnet_session_desc session = {.slots = o->slots};
    retnet_result result = retnet_context_create_from_device(&h->renderer.for_retnet, &desc, &h->context);
    if (!result && o->model) result = retnet_model_load(h->context, &(retnet_model_desc){.path = o->model}, &h->model);
    if (!result && !o->model)
        result = retnet_model_synthesize(h->context, o->shape, RETNET_WEIGHTS_AS_STORED, &h->model);
    if (!result) result = prepare(h, &session);
    if (!result) result = retnet_session_create(h->model, &session, &h->session);
    return result;
}

static bool create_prompt(host *h)
{
    retnet_model_info info;
    retnet_model_get_info(h->model, &info);
    h->prompt = malloc(h->options.prompt * sizeof *h->prompt);
    for (uint32_t i = 0; h->prompt && i < h->options.prompt; i++)
        h->prompt[i] = (int32_t)(7 * i % info.vocabulary_size);
    return h->prompt;
}

/* Gives every slot that has none a task. A game would pass a callback for the tokens and show them. */
static retnet_result start_tasks(host *h)
{
    retnet_result result = RETNET_OK;
    for (uint32_t i = 0; i < h->options.slots && !result; i++) {
        if (retnet_session_busy(h->session, i)) continue;
        retnet_task task = {
            .slot = i,
            .tokens = h->prompt,
            .count = h->options.prompt,
            .max_tokens = 1000,
            .sampling = {.temperature = 1, .seed = i},
        };
        result = retnet_session_start(h->session, &task);
    }
    return result;
}

static bool note_work(phase *p, const retnet_step_info *info)
{
    p->tokens_read += info->tokens_read;
    p->tokens_made += info->tokens_made;
    p->device_ns += info->device_ns;
    return info->slices == 0 || samples_add(&p->slices, (double)info->device_ns / info->slices * 1e-6);
}

/* One way: the library submits by itself, to the queue that it was given, and never waits. */
static bool work_by_step(host *h, phase *p)
{
    retnet_step_info info;
    retnet_result result = start_tasks(h);
    if (!result) result = retnet_session_step(h->session, h->options.budget_us, &info);
    return !result && note_work(p, &info);
}

/* The other: it adds to a command buffer that the program submits. */
static bool work_by_record(host *h, frame *f)
{
    retnet_record_info info;
    retnet_result result = start_tasks(h);
    if (!result) result = retnet_session_record(h->session, f->others, h->options.budget_us, &info);
    if (!result && info.slice) f->slice = info.slice;
    return !result;
}

/* The frame's fence was signalled, so its slice is done. */
static bool collect(host *h, phase *p, frame *f)
{
    retnet_step_info info;
    if (!f->slice) return true;
    retnet_result result = retnet_session_collect(h->session, f->slice, &info);
    f->slice = 0;
    return !result && note_work(p, &info);
}

/* What was begun is taken in, and slots are empty again. */
static bool finish_work(host *h, phase *p)
{
    retnet_result result = RETNET_OK;
    for (int i = 0; i < FRAMES_AHEAD; i++) {
        frame *f = &h->renderer.frames[i];
        frame_times times;
        if (!renderer_wait(&h->renderer, f, &times) || !collect(h, p, f)) return false;
    }
    for (uint32_t i = 0; i < h->options.slots && !result; i++) result = retnet_session_stop(h->session, i);
    for (uint32_t i = 0; i < h->options.slots && !result; i++) {
        while (retnet_session_busy(h->session, i) && !result) {
            result = retnet_session_step(h->session, 1000000, NULL);
            if (!result) result = retnet_session_wait(h->session);
        }
        if (!result) result = retnet_session_reset(h->session, i);
    }
    return !result;
}

/* ---- Frames ----------------------------------------------------------------------------------------------------- */

static bool note_frame(phase *p, const frame_times *times, bool counted)
{
    bool ok = true;
    if (counted && p->last_end) ok = samples_add(&p->intervals, (double)(times->end - p->last_end) * 1e-6);
    if (counted && ok) ok = samples_add(&p->drawing, (double)(times->end - times->begin) * 1e-6);
    p->last_end = times->end;
    return ok;
}

/* Ends up with the counts of what came before at 0. */
static void begin_counting(phase *p)
{
    p->begin_ns = now_ns();
    p->slices.count = 0;
    p->tokens_read = p->tokens_made = p->device_ns = 0;
}

static bool draw_frame(host *h, phase *p, uint32_t number)
{
    frame *f = &h->renderer.frames[number % FRAMES_AHEAD];
    frame_times times;
    if (renderer_wait(&h->renderer, f, &times) && !note_frame(p, &times, number >= WARM_UP + FRAMES_AHEAD))
        return false;
    if (!collect(h, p, f)) return false;
    if (!renderer_draw(&h->renderer, f, number, h->options.load)) return false;
    if (p->kind == PHASE_RECORD && !work_by_record(h, f)) return false;
    if (!renderer_submit(&h->renderer, f)) return false;
    return p->kind != PHASE_STEP || work_by_step(h, p);
}

static bool run_phase(host *h, phase *p)
{
    uint64_t period = h->options.rate ? 1000000000u / h->options.rate : 0, next = now_ns();
    for (uint32_t i = 0; i < WARM_UP + h->options.frames; i++, next += period) {
        if (i == WARM_UP) begin_counting(p);
        if (period) sleep_until(next);
        if (!draw_frame(h, p, i)) return false;
    }
    p->end_ns = now_ns();
    if (!finish_work(h, p)) return false;
    p->picture = renderer_read_picture(&h->renderer);
    return p->picture;
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

static void print_phase(const host *h, phase *p)
{
    const host_options *o = &h->options;
    double seconds = (double)(p->end_ns - p->begin_ns) * 1e-9;
    double interval50 = samples_percentile(&p->intervals, 0.5), interval99 = samples_percentile(&p->intervals, 0.99);
    double drawing50 = samples_percentile(&p->drawing, 0.5), drawing99 = samples_percentile(&p->drawing, 0.99);
    double read = (double)p->tokens_read / seconds, made = (double)p->tokens_made / seconds;
    bool works = p->kind != PHASE_NONE && p->slices.count;
    double slice50 = works ? samples_percentile(&p->slices, 0.5) : 0;
    double slice99 = works ? samples_percentile(&p->slices, 0.99) : 0;
    if (o->json) {
        printf(
            "{\"phase\": \"%s\", \"device\": \"%s\", \"rate\": %u, \"load\": %u, \"budget_us\": %u, \"slots\": %u, "
            "\"second_queue\": %s, \"frame_ms\": {\"p50\": %.3f, \"p99\": %.3f}, \"draw_ms\": {\"p50\": %.3f, "
            "\"p99\": %.3f}, \"slice_ms\": {\"p50\": %.3f, \"p99\": %.3f, \"count\": %zu}, \"tokens_read_per_second\": "
            "%.1f, \"tokens_made_per_second\": %.1f, \"device_share\": %.4f}\n",
            host_phase_name(p->kind), h->renderer.name, o->rate, o->load, o->budget_us, o->slots,
            h->renderer.second_queue ? "true" : "false", interval50, interval99, drawing50, drawing99, slice50, slice99,
            p->slices.count, read, made, (double)p->device_ns * 1e-9 / seconds);
        return;
    }
    printf("%-7s frame %7.3f ms, p99 %7.3f   drawing %7.3f ms, p99 %7.3f", host_phase_name(p->kind), interval50,
           interval99, drawing50, drawing99);
    if (works) printf("   slice %6.3f ms, p99 %6.3f   %.1f tokens/s read, %.1f made", slice50, slice99, read, made);
    putchar('\n');
}

static bool write_picture(const char *path, const uint8_t *pixels)
{
    FILE *file = fopen(path, "wb");
    if (!file) {
        fprintf(stderr, "host: %s: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(file, "P6\n%d %d\n255\n", PICTURE_WIDTH, PICTURE_HEIGHT);
    for (size_t i = 0; i < (size_t)PICTURE_WIDTH * PICTURE_HEIGHT; i++) fwrite(pixels + 4 * i, 1, 3, file);
    return fclose(file) == 0;
}

/* All phases end with the same picture, whatever went on beside it. */
static bool check_pictures(phase *phases, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (memcmp(phases[i].picture, phases[0].picture, 4ull * PICTURE_WIDTH * PICTURE_HEIGHT) != 0) {
            fprintf(stderr, "host: the last pictures of %s and %s differ\n", host_phase_name(phases[0].kind),
                    host_phase_name(phases[i].kind));
            return false;
        }
    return true;
}

static bool run(host *h)
{
    phase phases[PHASES] = {0};
    size_t count = 0;
    bool ok = true;
    if (!h->options.json)
        printf("%s, %u frames a second, %u us for %s in each%s\n", h->renderer.name, h->options.rate,
               h->options.budget_us, h->options.model ? h->options.model : h->options.shape,
               h->renderer.second_queue ? ", on a queue of its own" : "");
    for (int i = 0; i < PHASES && ok; i++) {
        if (!h->options.phases[i]) continue;
        phase *p = &phases[count++];
        p->kind = (host_phase)i;
        ok = run_phase(h, p);
        if (ok) print_phase(h, p);
        fflush(stdout);
    }
    ok = ok && check_pictures(phases, count);
    if (ok && h->options.picture && count) ok = write_picture(h->options.picture, phases[count - 1].picture);
    for (size_t i = 0; i < count; i++) {
        samples_free(&phases[i].intervals);
        samples_free(&phases[i].drawing);
        samples_free(&phases[i].slices);
        free(phases[i].picture);
    }
    return ok;
}

int main(int argc, char **argv)
{
    static host h;
    host_parse parse = host_options_parse(argc, argv, &h.options);
    if (parse != HOST_PARSE_RUN) return parse == HOST_PARSE_EXIT ? 0 : 2;
    bool ok = renderer_create(&h.renderer, h.options.device, h.options.second_queue);
    if (ok) {
        retnet_result result = create_model(&h);
        if (result) fprintf(stderr, "host: %s\n", retnet_result_text(result));
        ok = !result && create_prompt(&h) && run(&h);
    }
    if (h.renderer.device) vkDeviceWaitIdle(h.renderer.device); /* before the library's objects go */
    retnet_session_destroy(h.session);
    retnet_model_destroy(h.model);
    retnet_context_destroy(h.context);
    renderer_destroy(&h.renderer);
    free(h.prompt);
    return ok ? 0 : 1;
}
