#include "layers/order.h"

#include "shaders.h"
#include "vulkan/recorder.h"

#include <string.h>

typedef struct order_push {
    uint32_t x_at, count, link, work, patience;
} order_push;

/* Workgroups of the links; an invocation counts on nothing but limits that every device has. */
static const uint32_t links[] = {64, 4096, 1, 256, 4096, 16, 1024, 132, 264, 2, 512, 128, 128, 64};

enum { LINKS = sizeof links / sizeof *links, LANES = 128, LINK_BYTES = 4 * 4096 };

/* The words of link i lie from link_at(i + 1) on; those before are the flag and what the first one reads. */
static uint64_t link_at(uint32_t link)
{
    return 256ull * 2 + (uint64_t)LINK_BYTES * link;
}

static void record_link(rn_recorder *recorder, const rn_kernel *kernel, const rn_buffer *memory, uint32_t link)
{
    order_push push = {
        .x_at = (uint32_t)(link == 0 ? 64 : link_at(link - 1) / 4),
        .count = link == 0 ? 64 : links[link - 1],
        .link = link,
        .work = 300 * (link % 3),
        .patience = rn_recorder_patience(recorder),
    };
    rn_binding bindings[] = {{memory, 0, memory->size}, {memory, link_at(link), 4ull * links[link]}};
    rn_recorder_dispatch(recorder, kernel, bindings, RN_COUNT(bindings), &push, sizeof push, links[link], 1, 1, 0);
}

static retnet_result record(rn_recorder *recorder, const rn_buffer *memory, const rn_buffer *result)
{
    const rn_kernel *kernel;
    uint32_t constants[] = {LANES};
    retnet_result made =
        rn_kernel_get(recorder->device, &rn_shaders[RN_SHADER_ORDER_TEST], constants, RN_COUNT(constants), &kernel);
    if (made != RETNET_OK) return made;
    rn_recorder_begin(recorder);
    rn_recorder_fill_zero(recorder, memory, 0, link_at(0)); /* the first link reads zeros */
    rn_recorder_fill(recorder, memory, link_at(0), memory->size - link_at(0), RN_NOT_YET);
    rn_recorder_chain_begin(recorder, false);
    for (uint32_t i = 0; i < LINKS; i++) record_link(recorder, kernel, memory, i);
    rn_recorder_chain_end(recorder);
    rn_recorder_copy(recorder, memory, 0, result, 0, 4);
    rn_recorder_copy(recorder, memory, link_at(LINKS - 1), result, 4, 4ull * links[LINKS - 1]);
    return rn_recorder_end(recorder);
}

static bool is_right(const rn_buffer *result)
{
    const uint32_t *flag = result->mapped;
    const float *last = (const float *)result->mapped + 1;
    if (*flag) return false;
    for (uint32_t i = 0; i < links[LINKS - 1]; i++)
        if (last[i] != (float)LINKS) return false;
    return true;
}

static retnet_result run(rn_device *device, const rn_buffer *memory, const rn_buffer *result, bool *right)
{
    rn_recorder recorder;
    retnet_result ran = rn_recorder_create(device, &recorder);
    if (ran != RETNET_OK) return ran;
    ran = record(&recorder, memory, result);
    memset(result->mapped, 0xFF, result->size);
    if (ran == RETNET_OK) ran = rn_recorder_run(&recorder);
    *right = ran == RETNET_OK && is_right(result);
    rn_recorder_destroy(&recorder);
    return ran;
}

retnet_result rn_order_test(rn_device *device)
{
    if (device->caps.is_cpu) return RETNET_OK;
    rn_buffer memory, result = {0};
    bool right = false;
    retnet_result ran = rn_buffer_create(device, link_at(LINKS), RN_MEMORY_DEVICE, "order test", &memory);
    if (ran != RETNET_OK) return ran;
    ran = rn_buffer_create(device, 4 + 4ull * links[LINKS - 1], RN_MEMORY_READBACK, "order test result", &result);
    atomic_store(&device->soft_order, true);
    if (ran == RETNET_OK) ran = run(device, &memory, &result, &right);
    atomic_store(&device->soft_order, right);
    if (ran == RETNET_OK && !right)
        rn_log(device->host, RETNET_LOG_INFO,
               "%s does not start workgroups in order: barriers stand between dispatches", device->name);
    rn_buffer_destroy(device, &memory);
    rn_buffer_destroy(device, &result);
    return ran;
}
