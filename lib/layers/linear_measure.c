#include "layers/linear_measure.h"

#include "base/clock.h"

/* Times of one candidate vary by a percent or two. */
static const double CLEARLY = 0.97;

/* A GPU that was idle while kernels were compiled takes tens of milliseconds to raise its clocks. */
enum { WARM_UP_NS = 60 * 1000 * 1000, ROUNDS = 5, HEADER = 64 }; /* HEADER in words */

typedef struct candidate {
    rn_linear_shape shape;
    rn_recorder recorder;
    uint64_t ns; /* least */
} candidate;

/* What all trials share: a chain's memory, cut into one region for what each link leaves. */
typedef struct bench {
    rn_device *device;
    rn_buffer memory;
    rn_recorder clear;
    candidate candidates[RN_LINEAR_CANDIDATES];
    uint32_t count;
} bench;

static rn_linear linear_of(const rn_linear_trial *trial, uint32_t number)
{
    rn_linear linear = trial->linear;
    linear.matrix = trial->matrices[number];
    linear.columns = 1;
    return linear;
}

void rn_linear_trial_add(rn_linear_trial *trial, const rn_matrix *matrix)
{
    enum { MOST_BYTES = 1 << 29, LEAST = 3 };
    bool fits = (trial->matrix_count + 1) * matrix->bytes <= MOST_BYTES || trial->matrix_count < LEAST;
    if (trial->matrix_count < RN_TRIAL_MATRICES && fits) trial->matrices[trial->matrix_count++] = matrix;
}

bool rn_linear_trial_is_open(const rn_device *device, const rn_linear_trial *trial)
{
    rn_linear_shape shapes[RN_LINEAR_CANDIDATES];
    rn_linear linear = linear_of(trial, 0);
    return rn_linear_candidates(device, &linear, shapes) > 1 && !rn_linear_is_chosen(device, &linear);
}

/* In floats: what a link reads, which is what the last rows of the one before have left and further zeros. */
static uint32_t inputs_of(const rn_linear_trial *trial)
{
    const rn_linear *l = &trial->linear;
    return rn_matrix_blocks(trial->matrices[0]) * RN_BLOCK_INPUTS +
           (l->prologue == RN_PROLOGUE_GROUP_NORM ? l->heads * l->tiles : 0);
}

static uint32_t region_of(const rn_linear_trial *trial)
{
    return (uint32_t)rn_round_up(rn_max_u32(inputs_of(trial), trial->matrices[0]->rows), 64);
}

static void record_link(rn_recorder *recorder, const rn_buffer *memory, const rn_linear_trial *trial,
                        rn_linear_shape shape, uint32_t link)
{
    rn_linear linear = linear_of(trial, link);
    const rn_matrix *matrix = linear.matrix;
    uint32_t region = region_of(trial), from = HEADER + link * region, inputs = inputs_of(trial);
    linear.input = (rn_binding){memory, 0, memory->size};
    linear.output = (rn_binding){memory, 4ull * (from + region), 4ull * region};
    linear.x_stride = linear.y_stride = region;
    linear.scale_offset = rn_matrix_blocks(matrix) * RN_BLOCK_INPUTS;
    linear.chained = true;
    linear.x_at = from + (matrix->rows > inputs ? (matrix->rows - inputs) / 4 * 4 : 0);
    linear.before_at = from;
    linear.shape = shape;
    rn_linear_record(recorder, &linear);
}

retnet_result rn_linear_trial_plan(rn_device *plan, const rn_linear_trial *trial)
{
    static const rn_buffer nowhere;
    rn_linear_shape shapes[RN_LINEAR_CANDIDATES];
    rn_recorder recorder = {.device = plan};
    rn_linear linear = linear_of(trial, 0);
    if (!rn_linear_trial_is_open(plan, trial)) return RETNET_OK;
    uint32_t count = rn_linear_candidates(plan, &linear, shapes);
    for (uint32_t i = 0; i < count; i++) record_link(&recorder, &nowhere, trial, shapes[i], 0);
    return recorder.result;
}

/* ---- Runs -------------------------------------------------------------------------------------------------------- */

static retnet_result record_candidate(bench *b, const rn_linear_trial *trial, candidate *c)
{
    c->ns = UINT64_MAX;
    retnet_result result = rn_recorder_create(b->device, &c->recorder);
    if (result != RETNET_OK) return result;
    rn_recorder_begin(&c->recorder);
    rn_recorder_chain_begin(&c->recorder, false);
    for (uint32_t i = 0; i < trial->matrix_count; i++) record_link(&c->recorder, &b->memory, trial, c->shape, i);
    rn_recorder_chain_end(&c->recorder);
    return rn_recorder_end(&c->recorder);
}

/* What no link leaves is zero, so that none waits for it. */
static retnet_result record_clear(bench *b, const rn_linear_trial *trial)
{
    uint32_t region = region_of(trial);
    rn_recorder_begin(&b->clear);
    rn_recorder_fill_zero(&b->clear, &b->memory, 0, b->memory.size);
    for (uint32_t i = 1; i <= trial->matrix_count; i++)
        rn_recorder_fill(&b->clear, &b->memory, 4ull * (HEADER + i * region), 4ull * trial->matrices[0]->rows,
                         RN_NOT_YET);
    return rn_recorder_end(&b->clear);
}

static retnet_result time_once(bench *b, candidate *c)
{
    retnet_result result = rn_recorder_run(&b->clear);
    uint64_t begin = rn_clock_ns();
    if (result == RETNET_OK) result = rn_recorder_run(&c->recorder);
    uint64_t ns = rn_clock_ns() - begin;
    if (ns < c->ns) c->ns = ns;
    return result;
}

static retnet_result run_candidates(bench *b, const rn_linear_trial *trial, bool is_warm)
{
    retnet_result result = record_clear(b, trial);
    for (uint32_t i = 0; i < b->count && result == RETNET_OK; i++)
        result = record_candidate(b, trial, &b->candidates[i]);
    uint64_t end = rn_clock_ns() + (is_warm ? 0 : WARM_UP_NS);
    while (result == RETNET_OK && rn_clock_ns() < end) result = time_once(b, &b->candidates[0]);
    for (uint32_t i = 0, runs = ROUNDS * b->count; i < runs && result == RETNET_OK; i++) {
        candidate *c = &b->candidates[i % b->count];
        if (i < b->count) c->ns = UINT64_MAX;
        result = time_once(b, c);
    }
    return result;
}

static retnet_result run_trial(rn_device *device, const rn_linear_trial *trial, bool is_warm)
{
    bench b = {.device = device};
    rn_linear_shape shapes[RN_LINEAR_CANDIDATES];
    rn_linear linear = linear_of(trial, 0);
    b.count = rn_linear_candidates(device, &linear, shapes);
    for (uint32_t i = 0; i < b.count; i++) b.candidates[i].shape = shapes[i];
    uint64_t bytes = 4ull * (HEADER + (uint64_t)(trial->matrix_count + 1) * region_of(trial));
    retnet_result result = rn_buffer_create(device, bytes, RN_MEMORY_DEVICE, "kernels' trial", &b.memory);
    if (result == RETNET_OK) result = rn_recorder_create(device, &b.clear);
    if (result == RETNET_OK) result = run_candidates(&b, trial, is_warm);
    if (result == RETNET_OK) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < b.count; i++)
            if ((double)b.candidates[i].ns < CLEARLY * (double)b.candidates[0].ns &&
                (best == 0 || b.candidates[i].ns < b.candidates[best].ns))
                best = i;
        rn_linear_choose(device, &linear, b.candidates[best].shape);
    }
    for (uint32_t i = 0; i < b.count; i++) rn_recorder_destroy(&b.candidates[i].recorder);
    rn_recorder_destroy(&b.clear);
    rn_buffer_destroy(device, &b.memory);
    return result;
}

retnet_result rn_linear_trials_run(rn_device *device, const rn_linear_trial *trials, uint32_t count)
{
    retnet_result result = RETNET_OK;
    bool is_warm = false;
    rn_mutex_lock(&device->choices.measuring);
    for (uint32_t i = 0; i < count && result == RETNET_OK; i++) {
        if (!rn_linear_trial_is_open(device, &trials[i])) continue;
        result = run_trial(device, &trials[i], is_warm);
        is_warm = true;
    }
    rn_mutex_unlock(&device->choices.measuring);
    return result;
}
