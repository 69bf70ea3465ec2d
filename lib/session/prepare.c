#include "layers/embedding.h"
#include "layers/matmul.h"
#include "session/session.h"

#include <string.h>

/* retnet_model_prepare: which kernels a session will want is found by recording passes of every kind on a copy of the
 * device that only plans (kernel.h), with the code that records them in earnest. */

typedef struct planner {
    rn_device device; /* the copy */
    rn_kernel_plan plan;
    retnet_session session; /* without memory */
    rn_recorder recorder;
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

static void plan_pass(planner *p, rn_pass_class class, uint32_t rows)
{
    const rn_session_layout *l = &p->session.layout;
    rn_pass pass = {
        .class = class,
        .rows = rows,
        .tokens = {&p->session.input, l->tokens_at, 4ull * l->rows},
        .step_records = {&p->session.input, l->steps_at, 16ull * RN_MAX_RECORDS},
    };
    if (class == RN_PASS_STEPS || class == RN_PASS_TOKEN) {
        pass.steps = rows;
    } else {
        pass.chunks = rn_divide_up(rows, RN_CHUNK);
        pass.sequences = 1;
        pass.longest = rn_min_u32(rows, RN_CHUNK);
    }
    for (uint32_t i = 0; i < rn_forward_layer_stages(&p->session); i++)
        rn_forward_stage(&p->session, &p->recorder, &pass, i);
    if (class == RN_PASS_TOKEN) rn_decode_record_output(&p->session, &p->recorder, &pass);
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
    uint32_t long_rows = rn_matmul_suits(&p->device, l->rows) ? l->rows : 0;
    rn_binding outputs = {&p->session.logits, l->outputs_at, p->session.logits.size - l->outputs_at};
    for (uint32_t rows = 1; rows <= l->rows; rows = next_rows(rows)) {
        plan_pass(p, RN_PASS_SHORT, rows);
        if (rows <= l->slots) plan_pass(p, RN_PASS_TOKEN, rows); /* which has the kernels of RN_PASS_STEPS */
        if (rows <= long_rows) plan_pass(p, RN_PASS_LONG, rows);
    }
    for (uint32_t rows = 1; rows <= l->logit_rows; rows = next_rows(rows)) {
        rn_forward_head(&p->session, &p->recorder, l->gathered, rows, false, outputs);
        if (long_rows) rn_forward_head(&p->session, &p->recorder, l->gathered, rows, true, outputs);
    }
    uint32_t vocabulary = p->session.model->config.vocabulary;
    rn_binding targets = {&p->session.input, l->targets_at, 4ull * l->logit_rows};
    rn_binding scores = {&p->session.log_probs, 0, p->session.log_probs.size};
    rn_score_record(&p->recorder, outputs, vocabulary, vocabulary, 1, targets, 0, scores, 0);
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
    rn_kernel_plan_free(device->host, &p->plan);
    rn_free(device->host, p);
    return result;
}
