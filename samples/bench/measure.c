/* measure.c: see measure.h. */
#include "measure.h"

#include "model/model.h"
#include "preparing.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What decoding starts from where no position was asked for. Its cost does not depend on it. */
enum { SHORT_PROMPT = 16 };

double bench_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- Numbers ---------------------------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The smallest value that at least `share` of all do not exceed; for the median of two, the larger. */
static double quantile(const double *sorted, size_t count, double share)
{
    size_t index = (size_t)(share * (double)count);
    return count ? sorted[index < count ? index : count - 1] : 0;
}

static void summarize_runs(measurement *m)
{
    double *sorted = malloc(m->run_count * sizeof *sorted);
    if (!sorted) return;
    memcpy(sorted, m->runs, m->run_count * sizeof *sorted);
    qsort(sorted, m->run_count, sizeof *sorted, compare_doubles);
    double median = quantile(sorted, m->run_count, 0.5);
    m->tokens_per_second = median > 0 ? (double)m->tokens * m->batch / median : 0;
    m->token_ms_median = 1e3 * median / m->tokens;
    m->token_ms_p99 = 1e3 * quantile(sorted, m->run_count, 0.99) / m->tokens;
    free(sorted);
}

/* Seconds between one token and the next, [count]; gives how many waits there were. Several tokens of one submit are
 * reported together: the wait before them belongs to all of them, so that the median is not the time between two
 * reports of one submit. */
static size_t spread_bursts(double *gaps, size_t count)
{
    size_t bursts = 0;
    double total = 0;
    for (size_t i = 0; i < count; i++) total += gaps[i];
    double same_burst = 0.05 * total / (double)count;
    for (size_t first = 0, next; first < count; first = next, bursts++) {
        double sum = gaps[first];
        for (next = first + 1; next < count && gaps[next] < same_burst; next++) sum += gaps[next];
        for (size_t i = first; i < next; i++) gaps[i] = sum / (double)(next - first);
    }
    return bursts;
}

static void summarize_gaps(measurement *m, double *gaps, size_t count)
{
    double *sorted = malloc(count * sizeof *sorted);
    if (!sorted) return;
    memcpy(sorted, gaps, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    m->gap_ms_p99 = 1e3 * quantile(sorted, count, 0.99);
    free(sorted);
    m->tokens_per_submit = (double)count / (double)spread_bursts(gaps, count);
    qsort(gaps, count, sizeof *gaps, compare_doubles);
    m->token_ms_median = 1e3 * quantile(gaps, count, 0.5);
    m->token_ms_p99 = 1e3 * quantile(gaps, count, 0.99);
}

/* ---- Calls ------------------------------------------------------------------------------------------------------ */

/* A session and what its calls read and write. */
typedef struct rig {
    retnet_context *context;
    retnet_session *session;
    retnet_sampling sampling;
    retnet_model_info info;
    int32_t *tokens; /* [token_count] */
    float *logits;   /* [vocabulary_size] */
    uint32_t *slots; /* [batch] */
} rig;

static void rig_destroy(rig *r)
{
    retnet_session_destroy(r->session);
    free(r->tokens);
    free(r->logits);
    free(r->slots);
}

/* So that no kernel is made in a timed call, and those that compete are chosen by measurement. */
static retnet_result prepare(retnet_model *model, const retnet_session_desc *desc)
{
    retnet_device_info device;
    retnet_context_device_info(retnet_model_context(model), &device);
    if (device.is_cpu) return RETNET_OK; /* compiles a few seconds' worth, and measures nothing */
    preparing *p = preparing_start(model, desc, 0);
    return p ? preparing_end(p) : RETNET_ERROR_OUT_OF_HOST_MEMORY;
}

static retnet_result rig_create(retnet_model *model, const bench_options *options, uint32_t token_count, measurement *m,
                                rig *r)
{
    const retnet_session_desc desc = {
        .slots = m->batch, .prompt_chunk = options->prompt_chunk, .tokens_per_submit = options->tokens_per_submit};
    *r = (rig){.context = retnet_model_context(model)};
    if (options->sample) r->sampling = (retnet_sampling){.temperature = 0.8f, .top_k = 40, .top_p = 0.95f};
    retnet_model_get_info(model, &r->info);
    retnet_result result = retnet_session_memory_for(model, &desc, &m->memory);
    if (result == RETNET_OK) result = prepare(model, &desc);
    if (result == RETNET_OK) result = retnet_session_create(model, &desc, &r->session);
    if (result != RETNET_OK) return result;
    r->tokens = malloc(token_count * sizeof *r->tokens);
    r->logits = malloc(r->info.vocabulary_size * sizeof *r->logits);
    r->slots = malloc(m->batch * sizeof *r->slots);
    if (!r->tokens || !r->logits || !r->slots) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    uint32_t random = 1;
    for (uint32_t i = 0; i < token_count; i++) {
        random = random * 1664525u + 1013904223u;
        r->tokens[i] = (int32_t)((random >> 8) % r->info.vocabulary_size);
    }
    for (uint32_t i = 0; i < m->batch; i++) r->slots[i] = i;
    return RETNET_OK;
}

/* The logits are asked for so that the call ends when the answer could begin. */
static retnet_result read_prompt(rig *r, uint32_t length)
{
    const retnet_span span = {.tokens = r->tokens, .count = length, .last_logits = r->logits};
    return retnet_session_run(r->session, &span, 1);
}

/* When slot 0's tokens were made. */
typedef struct stamps {
    double *times;
    size_t count;
} stamps;

static bool stamp(void *user, uint32_t slot, int32_t token)
{
    stamps *s = user;
    (void)token;
    if (slot == 0 && s->times) s->times[s->count++] = bench_seconds();
    return true;
}

/* Lets all slots read `count` tokens that they make. The newest token of a call is not read in, so one more is made:
 * it costs next to nothing, and the network has then run `count` times. `times` is [count + 1], or NULL. */
static retnet_result decode(rig *r, uint32_t batch, uint32_t count, double *times)
{
    stamps s = {times, 0};
    const retnet_generation generation = {
        .slots = r->slots,
        .slot_count = batch,
        .sampling = r->sampling,
        .max_tokens = count + 1,
        .token = stamp,
        .token_user = &s,
    };
    return retnet_session_generate(r->session, &generation);
}

/* ---- Profiles --------------------------------------------------------------------------------------------------- */

static retnet_result read_profile(retnet_context *context, measurement *m)
{
    size_t count = retnet_context_profile_read(context, NULL, 0);
    m->profile = calloc(count ? count : 1, sizeof *m->profile);
    if (!m->profile) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    m->profile_count = retnet_context_profile_read(context, m->profile, count);
    if (m->profile_count > count) m->profile_count = count;
    m->profile_tokens = m->tokens;
    return RETNET_OK;
}

/* The case once more with timestamps around dispatches. */
static retnet_result profile(rig *r, measurement *m)
{
    retnet_result result = retnet_context_profile(r->context, true);
    if (result != RETNET_OK) return result;
    result = m->is_prompt ? retnet_session_reset(r->session, 0) : RETNET_OK;
    if (result == RETNET_OK) result = m->is_prompt ? read_prompt(r, m->tokens) : decode(r, m->batch, m->tokens, NULL);
    if (result == RETNET_OK) result = read_profile(r->context, m);
    retnet_context_profile(r->context, false);
    return result;
}

/* ---- Cases ------------------------------------------------------------------------------------------------------ */

static retnet_result time_prompt(rig *r, uint32_t length, double *seconds)
{
    retnet_result result = retnet_session_reset(r->session, 0);
    double start = bench_seconds();
    if (result == RETNET_OK) result = read_prompt(r, length);
    *seconds = bench_seconds() - start;
    return result;
}

static retnet_result time_prompts(rig *r, const bench_options *options, measurement *m)
{
    const double warm_until = bench_seconds() + 0.3; /* a GPU that was idle raises its clocks */
    retnet_result result = RETNET_OK;
    double seconds;
    if (options->warmup > 0) do
            result = time_prompt(r, m->tokens, &seconds);
        while (result == RETNET_OK && bench_seconds() < warm_until);
    for (uint32_t i = 0; i < options->repeat && result == RETNET_OK; i++) {
        result = time_prompt(r, m->tokens, &seconds);
        if (result == RETNET_OK) m->runs[m->run_count++] = seconds;
    }
    if (result == RETNET_OK) summarize_runs(m);
    return result;
}

retnet_result bench_measure_prompt(retnet_model *model, const bench_options *options, uint32_t length, measurement *m)
{
    rig r;
    *m = (measurement){.is_prompt = true, .batch = 1, .tokens = length};
    m->runs = malloc(options->repeat * sizeof *m->runs);
    if (!m->runs) return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    retnet_result result = rig_create(model, options, length, m, &r);
    if (result == RETNET_OK) result = time_prompts(&r, options, m);
    if (result == RETNET_OK && options->profile) result = profile(&r, m);
    rig_destroy(&r);
    return result;
}

/* All slots warm and at `position`, with a state that tokens made. */
static retnet_result prepare_decode(rig *r, const bench_options *options, uint32_t position, const measurement *m)
{
    retnet_result result = read_prompt(r, SHORT_PROMPT);
    if (result == RETNET_OK && position > 0) result = retnet_session_set_position(r->session, 0, position - 1);
    if (result == RETNET_OK && position > 0) result = read_prompt(r, 1);
    for (uint32_t slot = 1; slot < m->batch && result == RETNET_OK; slot++)
        result = retnet_session_fork(r->session, 0, slot);
    if (result == RETNET_OK && options->warmup > 0) result = decode(r, m->batch, options->warmup, NULL);
    return result;
}

static retnet_result time_decodes(rig *r, const bench_options *options, measurement *m, double *times, double *gaps)
{
    for (uint32_t i = 0; i < options->repeat; i++) {
        double start = bench_seconds();
        retnet_result result = decode(r, m->batch, m->tokens, times);
        if (result != RETNET_OK) return result;
        m->runs[m->run_count++] = bench_seconds() - start;
        for (uint32_t k = 0; k < m->tokens; k++) gaps[(size_t)i * m->tokens + k] = times[k + 1] - times[k];
    }
    summarize_runs(m);
    summarize_gaps(m, gaps, (size_t)options->repeat * m->tokens);
    return RETNET_OK;
}

/* Every weight but the embedding's, unless that is the head's too, and every slot's state there and back. */
static double step_bytes(const retnet_model *model, const retnet_model_info *info, uint32_t batch)
{
    uint64_t weights = info->weight_bytes - (model->config.tied_head ? 0 : model->embedding.bytes);
    return (double)weights + 2.0 * batch * (double)info->state_bytes;
}

retnet_result bench_measure_decode(retnet_model *model, const bench_options *options, uint32_t batch, uint32_t position,
                                   measurement *m)
{
    rig r = {0};
    *m = (measurement){.batch = batch, .tokens = options->decode};
    retnet_result result = RETNET_ERROR_OUT_OF_HOST_MEMORY;
    double *times = malloc(((size_t)options->decode + 1) * sizeof *times);
    double *gaps = malloc((size_t)options->repeat * options->decode * sizeof *gaps);
    m->runs = malloc(options->repeat * sizeof *m->runs);
    if (times && gaps && m->runs) result = rig_create(model, options, SHORT_PROMPT, m, &r);
    if (result == RETNET_OK) result = prepare_decode(&r, options, position, m);
    if (result == RETNET_OK) {
        m->step_bytes = step_bytes(model, &r.info, batch);
        m->position = retnet_session_position(r.session, 0);
        result = time_decodes(&r, options, m, times, gaps);
    }
    if (result == RETNET_OK && options->profile) result = profile(&r, m);
    rig_destroy(&r);
    free(times);
    free(gaps);
    return result;
}

void bench_measurement_release(measurement *m)
{
    free(m->runs);
    free(m->profile);
    *m = (measurement){0};
}
