#include "session/session.h"

#include "vulkan/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

retnet_result rn_session_fail(retnet_session *session, retnet_result result, const char *format, ...)
{
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return rn_fail(session->device->host, result, "%s", message);
}

static retnet_result allocate_host(retnet_session *session)
{
    rn_host *host = session->device->host;
    uint32_t slots = session->layout.slots, holders = session->layout.holders;
    uint32_t states = holders + session->layout.spares;
    uint32_t vocabulary = session->model->config.vocabulary;
    session->slots = rn_alloc(host, holders, sizeof *session->slots);
    session->references = rn_alloc(host, states, sizeof *session->references);
    session->zero = rn_alloc(host, states, sizeof *session->zero);
    session->decode = rn_alloc(host, slots + 1, sizeof *session->decode);
    session->decode_recorded = rn_alloc(host, slots + 1, sizeof *session->decode_recorded);
    session->tasks = rn_alloc(host, slots, sizeof *session->tasks);
    session->readings = rn_alloc(host, slots, sizeof *session->readings);
    session->speakers = rn_alloc(host, slots, sizeof *session->speakers);
    if (!session->slots || !session->references || !session->zero || !session->decode || !session->decode_recorded ||
        !session->tasks || !session->readings || !session->speakers)
        return rn_fail_memory(host, "slots", holders * sizeof *session->slots);
    for (uint32_t i = 0; i < states; i++) session->references[i] = 1;
    for (uint32_t i = 0; i < holders; i++) {
        session->slots[i].state = i;
        session->zero[i] = true;
        session->slots[i].logits = rn_alloc(host, vocabulary, sizeof(float));
        if (!session->slots[i].logits) return rn_fail_memory(host, "logits", vocabulary * sizeof(float));
    }
    return RETNET_OK;
}

static retnet_result allocate_passes(retnet_session *session)
{
    rn_host *host = session->device->host;
    const rn_session_layout *l = &session->layout;
    for (int i = 0; i < RN_MAX_PASSES; i++) {
        rn_pass *pass = &session->passes[i];
        pass->parts = rn_alloc(host, l->slots, sizeof *pass->parts);
        pass->wanted = rn_alloc(host, l->rows, sizeof *pass->wanted);
        pass->targets = rn_alloc(host, l->rows, sizeof *pass->targets);
        if (!pass->parts || !pass->wanted || !pass->targets)
            return rn_fail_memory(host, "passes", l->rows * sizeof *pass->wanted);
    }
    return RETNET_OK;
}

/* Going by the first layer: they are all alike. */
static void weigh_layers(retnet_session *session)
{
    const rn_model_layer *layer = &session->model->layers[0];
    const rn_matrix *matrices[] = {&layer->qkvg.matrix, &layer->o.matrix, &layer->up.matrix, &layer->down.matrix};
    for (uint32_t i = 0; i < RN_COUNT(matrices); i++) {
        uint64_t bytes = rn_matrix_panels(matrices[i]) * rn_matrix_panel_bytes(matrices[i]);
        session->layer_weight += bytes;
        if (i < 2) session->retention_weight += bytes;
    }
}

static retnet_result allocate_device(retnet_session *session)
{
    rn_device *device = session->device;
    const rn_session_layout *l = &session->layout;
    uint32_t layers = session->model->config.layers;
    retnet_result result = RETNET_OK;
    for (uint32_t i = 0; i < l->state_buffers && result == RETNET_OK; i++) {
        uint32_t held = rn_min_u32(l->layers_per_state_buffer, layers - i * l->layers_per_state_buffer);
        result = rn_buffer_create(device, held * l->layer_state_bytes, RN_MEMORY_DEVICE, "states", &session->states[i]);
    }
    struct {
        rn_buffer *buffer;
        uint64_t bytes;
        rn_memory_use use;
        const char *what;
    } buffers[] = {
        {&session->activations, l->activation_bytes, RN_MEMORY_DEVICE, "activations"},
        {&session->scratch, l->scratch_bytes, RN_MEMORY_DEVICE, "chunk states"},
        {&session->logits, l->logits_bytes, RN_MEMORY_DEVICE, "logits"},
        {&session->input, l->input_bytes, RN_MEMORY_UPLOAD, "tokens"},
        {&session->readback, l->readback_bytes, RN_MEMORY_READBACK, "logits read back"},
        {&session->log_probs, l->scores_bytes, RN_MEMORY_READBACK, "log-probabilities"},
    };
    for (size_t i = 0; i < RN_COUNT(buffers) && result == RETNET_OK; i++)
        if (buffers[i].bytes)
            result = rn_buffer_create(device, buffers[i].bytes, buffers[i].use, buffers[i].what, buffers[i].buffer);
    if (result == RETNET_OK) result = rn_recorder_create(device, &session->recorder);
    return result;
}

static retnet_result create_timeline(retnet_session *session)
{
    rn_device *device = session->device;
    if (!device->timeline) return RETNET_OK;
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkResult result = device->vk.vkCreateSemaphore(device->handle, &info, device->allocator, &session->timeline);
    if (result != VK_SUCCESS) session->timeline = VK_NULL_HANDLE;
    return result == VK_SUCCESS ? RETNET_OK : rn_device_fail(device, result, "vkCreateSemaphore");
}

/* What signals it is done, as the fences say. But Mesa 22.3 signals a fence while its thread has still to write to the
 * semaphores of the same submit, and would write to one that is gone: only a wait for the value tells. That takes
 * microseconds; the bound is for drivers that would wait forever on a device that is lost. */
static void destroy_timeline(retnet_session *session)
{
    rn_device *device = session->device;
    if (!session->timeline) return;
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &session->timeline,
        .pValues = &session->newest_submitted,
    };
    VkResult result = VK_SUCCESS;
    if (session->newest_submitted) result = device->vk.vkWaitSemaphores(device->handle, &info, 1000000000);
    if (result != VK_SUCCESS) rn_device_fail(device, result, "waiting for the session's semaphore");
    device->vk.vkDestroySemaphore(device->handle, session->timeline, device->allocator);
}

static retnet_result check_memory(const retnet_session *session)
{
    const rn_session_layout *l = &session->layout;
    const uint64_t need[RN_MEMORY_USES] = {
        [RN_MEMORY_DEVICE] = l->layer_state_bytes * session->model->config.layers + l->activation_bytes +
                             l->scratch_bytes + l->logits_bytes + l->control_bytes,
        [RN_MEMORY_UPLOAD] = l->input_bytes + l->control_bytes,
        [RN_MEMORY_READBACK] = l->readback_bytes + l->scores_bytes + l->results_bytes + l->kept_bytes,
    };
    return rn_memory_check(session->device, need, "the session");
}

/* The padding of activations is read, times zero: it has to be finite. */
static retnet_result clear_activations(retnet_session *session)
{
    rn_recorder *recorder = &session->recorder;
    rn_recorder_begin(recorder);
    rn_recorder_fill_zero(recorder, &session->activations, 0, session->activations.size);
    retnet_result result = rn_recorder_end(recorder);
    return result == RETNET_OK ? rn_recorder_run(recorder) : result;
}

retnet_result retnet_session_create(retnet_model *model, const retnet_session_desc *desc, retnet_session **out)
{
    if (out) *out = NULL;
    if (!model || !out) return RETNET_ERROR_INVALID_ARGUMENT;
    rn_host *host = model->device->host;
    retnet_session *session = rn_alloc(host, 1, sizeof *session);
    if (!session) return rn_fail_memory(host, "session", sizeof *session);
    session->model = model;
    session->device = model->device;
    retnet_result result = rn_session_layout_make(model, desc, &session->layout);
    if (result == RETNET_OK) result = check_memory(session);
    if (result == RETNET_OK) result = allocate_host(session);
    if (result == RETNET_OK) result = allocate_passes(session);
    if (result == RETNET_OK) result = allocate_device(session);
    if (result == RETNET_OK) result = create_timeline(session);
    if (result == RETNET_OK) result = rn_decoder_create(session);
    if (result == RETNET_OK) result = clear_activations(session);
    if (result == RETNET_OK) weigh_layers(session);
    if (result == RETNET_OK)
        *out = session;
    else
        retnet_session_destroy(session);
    return result;
}

void retnet_session_destroy(retnet_session *session)
{
    if (!session) return;
    rn_device *device = session->device;
    rn_host *host = device->host;
    for (uint32_t i = 0; i < RN_MAX_SLICES; i++) rn_commands_destroy(session, &session->slices[i].own);
    rn_recorder_destroy(&session->recorder);
    for (uint32_t i = 0; session->decode && i <= session->layout.slots; i++)
        rn_commands_destroy(session, &session->decode[i]);
    destroy_timeline(session); /* when none of these is under way */
    if (session->tasks) rn_task_drop_all(session);
    rn_decoder_destroy(session);
    for (uint32_t i = 0; i < RN_MAX_STATE_BUFFERS; i++) rn_buffer_destroy(device, &session->states[i]);
    rn_buffer *buffers[] = {&session->activations, &session->scratch,  &session->logits,
                            &session->input,       &session->readback, &session->log_probs};
    for (size_t i = 0; i < RN_COUNT(buffers); i++) rn_buffer_destroy(device, buffers[i]);
    for (uint32_t i = 0; session->slots && i < session->layout.holders; i++) rn_free(host, session->slots[i].logits);
    for (uint32_t i = 0; i < RN_MAX_PASSES; i++) {
        rn_free(host, session->passes[i].parts);
        rn_free(host, session->passes[i].wanted);
        rn_free(host, session->passes[i].targets);
    }
    rn_free(host, session->tasks);
    rn_free(host, session->readings);
    rn_free(host, session->speakers);
    rn_free(host, session->slots);
    rn_free(host, session->references);
    rn_free(host, session->zero);
    rn_free(host, session->decode);
    rn_free(host, session->decode_recorded);
    rn_free(host, session);
}

void retnet_session_cancel(retnet_session *session)
{
    if (session) atomic_store(&session->cancel, true);
}

uint64_t retnet_session_position(const retnet_session *session, uint32_t slot)
{
    return session && slot < session->layout.slots ? session->slots[slot].position : 0;
}

retnet_model *retnet_session_model(const retnet_session *session)
{
    return session->model;
}
