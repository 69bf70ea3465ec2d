/* layout_test.c: how long the passes of prompts are where nobody says so, on made-up devices. */
#include "session/session.h"
#include "test.h"

#include <string.h>

#define GIB (1ull << 30)

static rn_device device_of(uint64_t memory, bool has_matrices)
{
    rn_device device = {
        .name = "made up",
        .caps = {.max_storage_range = UINT32_MAX, .max_allocation = memory, .max_invocations = 1024},
        .memory = {.memoryTypeCount = 1, .memoryHeapCount = 1},
    };
    device.caps.shared_memory = 48 << 10;
    device.caps.storage_alignment = 16;
    device.memory.memoryHeaps[0] = (VkMemoryHeap){memory, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
    device.memory.memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    if (has_matrices) device.caps.matrix = (rn_matrix_unit){.m = 16, .n = 16, .k = 16, .subgroup = 32};
    return device;
}

static rn_session_layout layout_of(const char *shape, rn_device *device, uint32_t prompt_chunk)
{
    rn_session_layout layout = {0};
    retnet_model model = {.device = device, .weight_bytes = strcmp(shape, "30m") == 0 ? 60ull << 20 : 2700ull << 20};
    CHECK(rn_config_named(shape, &model.config));
    CHECK_INT(rn_session_layout_make(&model, &(retnet_session_desc){.prompt_chunk = prompt_chunk}, &layout), RETNET_OK);
    return layout;
}

/* Twice as many rows for as little as a sixteenth of the memory, and no more than the weights. */
static void test_matrices(void)
{
    rn_device large = device_of(80 * GIB, true), small = device_of(8 * GIB, true);
    rn_session_layout layout = layout_of("1.3b", &large, 0);
    CHECK_INT(layout.rows, 4096);
    CHECK(layout.chunks >= 64);
    CHECK(layout.activation_bytes + layout.scratch_bytes <= 5 * GIB);
    CHECK_INT(layout_of("1.3b", &small, 0).rows, 2048);
    CHECK_INT(layout_of("30m", &large, 0).rows, 2048);
}

static void test_others(void)
{
    rn_device plain = device_of(80 * GIB, false), cpu = device_of(80 * GIB, true);
    cpu.caps.is_cpu = true;
    CHECK_INT(layout_of("1.3b", &plain, 0).rows, 1024);
    CHECK_INT(layout_of("1.3b", &cpu, 0).rows, 128);
    CHECK_INT(layout_of("1.3b", &plain, 100).rows, 128); /* whole chunks */
    CHECK_INT(layout_of("1.3b", &cpu, 8192).rows, 8192);
}

int main(void)
{
    test_matrices();
    test_others();
    return test_failures != 0;
}
