/* device_test.c: a context that is told to pretend a lesser device (retnet_pretend) relies on nothing that such a
 * device lacks.
 *
 *     test_vulkan_device [print]      "print": what kernels, matrix kernels and sessions may rely on as the kind of
 * device that RETNET_TEST_PRETEND names, a line each. Kinds between which a program sees no difference say the same
 * (tests/devices.sh). */
#include "context.h"
#include "pretend.h"

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) TEST_FAIL("the library logged: %s", message);
}

static retnet_context *create_context(uint32_t pretend)
{
    retnet_context *context = NULL;
    retnet_result result = retnet_context_create(&(retnet_context_desc){.log = on_log, .pretend = pretend}, &context);
    if (result == RETNET_ERROR_NO_DEVICE) exit(TEST_SKIPPED);
    REQUIRE(result == RETNET_OK);
    return context;
}

/* ---- Checking ---------------------------------------------------------------------------------------------------- */

/* What Vulkan 1.1 guarantees ("Required Limits" of its specification). */
static void check_minimum_limits(const rn_capabilities *caps)
{
    CHECK(caps->max_invocations <= 128);
    CHECK(caps->shared_memory <= 16 * 1024);
    CHECK(caps->max_storage_buffers <= 4);
    CHECK(caps->max_push_bytes <= 128);
    CHECK(caps->max_storage_range <= 128 << 20);
    CHECK(caps->max_texel_range <= 16 << 16);
    for (int i = 0; i < 3; i++) CHECK(caps->max_groups[i] <= 65535);
    CHECK(caps->max_allocation <= 256 << 20); /* which is less than it does guarantee */
}

static void check_pretence(uint32_t pretend)
{
    const uint32_t without_matrices = RETNET_PRETEND_NO_SUBGROUP | RETNET_PRETEND_NO_FLOAT16 |
                                      RETNET_PRETEND_NO_COOPERATIVE_MATRIX | RETNET_PRETEND_MINIMUM_LIMITS;
    retnet_context *context = create_context(pretend);
    const rn_capabilities *caps = &context->device.caps;
    if (pretend & without_matrices) CHECK_INT(caps->matrix.m, 0);
    if (pretend & RETNET_PRETEND_NO_SUBGROUP) CHECK(!caps->subgroup_arithmetic);
    if (pretend & RETNET_PRETEND_NO_INT8) CHECK(!caps->byte_dots);
    if (pretend & RETNET_PRETEND_NO_TIMELINE) CHECK(!context->device.timeline);
    if (pretend & RETNET_PRETEND_DISCRETE) CHECK(!caps->unified_memory);
    if (pretend & RETNET_PRETEND_GPU) CHECK(!caps->is_cpu);
    if (pretend & RETNET_PRETEND_MINIMUM_LIMITS) check_minimum_limits(caps);
    for (uint32_t size = 4; size <= 64; size *= 2)
        if (pretend & size << 8) CHECK(caps->subgroup_size <= size);
    retnet_context_destroy(context);
}

/* ---- Printing ---------------------------------------------------------------------------------------------------- */

static void print_device(void)
{
    retnet_context *context = create_context(test_pretend());
    const rn_capabilities *caps = &context->device.caps;
    printf("kernels: cpu %d, unified memory %d, subgroups %d of %u, byte products %d, processors %u, invocations %u, "
           "shared memory %u, groups %u %u %u, buffers %u, push constants %u, binding %llu, allocation %llu, "
           "texels %llu, alignment %llu\n",
           caps->is_cpu, caps->unified_memory, caps->subgroup_arithmetic, caps->subgroup_size, caps->byte_dots,
           caps->processors, caps->max_invocations, caps->shared_memory, caps->max_groups[0], caps->max_groups[1],
           caps->max_groups[2], caps->max_storage_buffers, caps->max_push_bytes,
           (unsigned long long)caps->max_storage_range, (unsigned long long)caps->max_allocation,
           (unsigned long long)caps->max_texel_range, (unsigned long long)caps->storage_alignment);
    printf("matrices: %u x %u x %u of %u invocations\n", caps->matrix.m, caps->matrix.n, caps->matrix.k,
           caps->matrix.subgroup);
    printf("sessions: timelines %d\n", context->device.timeline);
    retnet_context_destroy(context);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "print") == 0) {
        print_device();
        return test_finish();
    }
    for (uint32_t bit = RETNET_PRETEND_NO_SUBGROUP; bit <= RETNET_PRETEND_SUBGROUP_64; bit *= 2) check_pretence(bit);
    check_pretence(UINT32_MAX);
    return test_finish();
}
