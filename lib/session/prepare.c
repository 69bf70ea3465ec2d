#include "layers/embedding.h"
#include "layers/linear_measure.h"
#include "layers/matmul.h"
#include "session/session.h"

#include <string.h>

/* retnet_model_prepare: which kernels a session will want is found by recording passes of every kind on a copy of the
 * device that only plans (kernel.h), with the code that records them in earnest. */

enum { TRIALS = 4 };

typedef struct planner {
    rn_device device; /* the copy */
    rn_kernel_plan plan;
    retnet_session session; /* without memory */
    rn_recorder recorder;
    rn_linear_trial trials[TRIALS];
    uint32_t trial_count; /* 0: the model makes no chains */
} planner;

/* Recording looks at the sizes of bindings, and at nothing else of buffers. */
static void set_sizes(retnet_session *session)
{
    const rn_session_layout *l = &session->layout;
    session->activations.size = l->activation_bytes;
    session->scratch.size = l->scratch_bytes;
    session->logits.size = l->logits_bytes;
    session->input.size = l->input_bytes;
    session->readback.size = l->readback_bytes;
    session->log_probs.size = l->scores_bytes;
    session->decoder.control.size = l->control_bytes;
    session->decoder.results.size = l->results_bytes;
    session->decoder.kept.size = l->kept_bytes;
}

static rn_binding outputs(const retnet_session *session)
{
    uint64_t at = session->layout.outputs_at;
    return (rn_binding){&session->logits, at, session->layout.logits_bytes - at};
}

static void plan_pass(planner *p, rn_pass_class class, uint32_t rows, bool aligned)
{
    bool steps = class == RN_PASS_STEPS;
    rn_part part = {.count = rows};
    uint32_t wanted[] = {0, rows - 1}; /* of fewer the last layer takes the kernels of a smaller pass */
    rn_pass pass = {
        .class = class,
        .rows = rows,
        .aligned = aligned,
        .parts = &part,
        .part_count = 1,
        .wanted = wanted,
        .wanted_count = RN_COUNT(wanted),
    };
    if (steps) {
        pass.steps = rows;
    } else {
        pass.chunks = rn_divide_up(rows, RN_CHUNK);
        pass.sequences = 1;
        pass.longest = rn_min_u32(rows, RN_CHUNK);
    }
    for (uint32_t stage = 0; stage < rn_forward_layer_stages(&p->session); stage++)
        rn_forward_stage(&p->session, &p->recorder, &pass, stage);
    const rn_session_layout *l = &p->session.layout;
    bool matrix = rn_forward_output_suits_matrices(&p->session, &pass, rows);
    if (rows <= (steps ? l->slots : l->logit_rows))
        rn_forward_head(&p->session, &p->recorder, steps ? l->x : l->gathered, rows, matrix, outputs(&p->session));
}

/* Kernels are chosen by numbers of rows in steps of 16 or more, and of fewer one by one. */
static uint32_t next_rows(uint32_t rows)
{
    if (rows < 64) return rows + 1;
    return rows % 16 == 0 ? rows + 1 : rows / 16 * 16 + 16;
}

static void plan_passes(planner *p)
{
    const rn_session_layout *l = &p->session.layout;
    static const rn_pass_class classes[] = {RN_PASS_STEPS, RN_PASS_CHUNKS, RN_PASS_SCORED};
    for (size_t i = 0; i < (rn_matmul_pays(&p->device) ? RN_COUNT(classes) : 2); i++) {
        uint32_t most = classes[i] == RN_PASS_STEPS ? l->slots : l->rows;
        for (uint32_t rows = 1; rows <= most; rows = next_rows(rows)) {
            plan_pass(p, classes[i], rows, true);
            /* Of several readings the next one may begin anywhere. */
            if (l->slots > 1 && classes[i] != RN_PASS_STEPS) plan_pass(p, classes[i], rows, false);
        }
    }
    for (uint32_t rows = 1; rows <= l->slots; rows = next_rows(rows))
        rn_decode_record_token(&p->session, &p->recorder, rows, RN_ATTEMPT_FIRST, false);
    uint32_t vocabulary = p->session.model->config.vocabulary;
    rn_binding targets = {&p->session.input, l->targets_at, 4ull * l->logit_rows};
    rn_binding scores = {&p->session.log_probs, 0, p->session.log_probs.size};
    rn_score_record(&p->recorder, outputs(&p->session), vocabulary, vocabulary, 1, targets, 0, scores, 0);
}

/* ---- Choices ----------------------------------------------------------------------------------------------------- */

/* The projections of a layer in a token's chain, as forward.c records them. */
static void find_trials(const retnet_model *model, rn_linear_trial trials[TRIALS])
{
    const rn_config *c = &model->config;
    const rn_model_layer *first = &model->layers[0];
    rn_linear normed = {
        .params = rn_model_params(model),
        .prologue = RN_PROLOGUE_RMS_NORM,
        .norm_weight = first->retention_norm.weight,
        .eps = c->norm_eps,
    };
    rn_linear added = {.params = normed.params, .epilogue = RN_EPILOGUE_ADD};
    rn_linear *qkvg = &trials[0].linear, *o = &trials[1].linear, *up = &trials[2].linear, *down = &trials[3].linear;
    *qkvg = *up = normed;
    *o = *down = added;
    qkvg->has_bias = first->qkvg.has_bias;
    qkvg->bias = first->qkvg.bias;
    o->prologue = RN_PROLOGUE_GROUP_NORM;
    o->heads = c->heads;
    o->head_size = c->value_size;
    o->tiles = rn_retention_step_tiles(model->device, c->heads, c->value_size, 1);
    o->has_bias = first->o.has_bias;
    o->bias = first->o.bias;
    up->epilogue = c->ffn_gated ? RN_EPILOGUE_GLU : RN_EPILOGUE_STORE;
    up->activation = 1 + (uint32_t)c->activation;
    up->has_bias = first->up.has_bias;
    up->bias = first->up.bias;
    down->has_bias = first->down.has_bias;
    down->bias = first->down.bias;
    for (uint32_t i = 0; i < c->layers; i++) {
        const rn_model_layer *layer = &model->layers[i];
        const rn_matrix *matrices[] = {&layer->qkvg.matrix, &layer->o.matrix, &layer->up.matrix, &layer->down.matrix};
        for (size_t k = 0; k < RN_COUNT(matrices); k++) rn_linear_trial_add(&trials[k], matrices[k]);
    }
}

static retnet_result plan(retnet_model *model, const retnet_session_desc *desc, planner *p)
{
    p->session.model = model;
    retnet_result result = rn_session_layout_make(model, desc, &p->session.layout);
    if (result != RETNET_OK) return result;
    memcpy(&p->device, model->device, sizeof p->device);
    p->device.plan = &p->plan;
    p->session.device = p->recorder.device = &p->device;
    set_sizes(&p->session);
    plan_passes(p);
    const rn_pass token = {.class = RN_PASS_TOKEN, .rows = 1, .steps = 1};
    if (rn_forward_can_chain(&p->session, &token)) {
        p->trial_count = TRIALS;
        find_trials(model, p->trials);
    }
    for (uint32_t i = 0; i < p->trial_count && p->recorder.result == RETNET_OK; i++)
        rn_recorder_fail(&p->recorder, rn_linear_trial_plan(&p->device, &p->trials[i]));
    return p->recorder.result;
}

retnet_result retnet_model_prepare(retnet_model *model, const retnet_prepare_desc *desc)
{
    static const retnet_prepare_desc defaults;
    if (!model) return RETNET_ERROR_INVALID_ARGUMENT;
    if (!desc) desc = &defaults;
    rn_device *device = model->device;
    planner *p = rn_alloc(device->host, 1, sizeof *p);
    if (!p) return rn_fail_memory(device->host, "planning kernels", sizeof *p);
    retnet_result result = plan(model, &desc->session, p);
    if (result == RETNET_OK) result = rn_kernel_plan_make(device, &p->plan, desc->progress, desc->progress_user);
    if (result == RETNET_OK) result = rn_linear_trials_run(device, p->trials, p->trial_count);
    rn_kernel_plan_free(device->host, &p->plan);
    rn_free(device->host, p);
    return result;
}
