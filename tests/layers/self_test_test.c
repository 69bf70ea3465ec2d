/* self_test_test.c: a driver that computes something else than the kernel says is found out when a context is made, and
 * what it gets wrong is not used. The driver is made to lie by changing an addition in the module that it is given. */
#include "context.h"
#include "layers/matmul.h"
#include "layers/self_test.h"
#include "pretend.h"
#include "shaders.h"
#include "test.h"

static PFN_vkGetInstanceProcAddr real_instance;
static PFN_vkGetDeviceProcAddr real_device;
static PFN_vkCreateShaderModule real_module;
static PFN_vkCreateComputePipelines real_pipelines;
static const rn_shader *broken; /* NULL: none */
static bool refused;            /* instead of compiled to something else */
static bool last_is_broken;
static char warning[512];
static int warnings;

static void on_log(void *user, retnet_log_level level, const char *message)
{
    bool expected = user != NULL;
    if (level == RETNET_LOG_ERROR && !expected) TEST_FAIL("the library logged: %s", message);
    if (level != RETNET_LOG_WARNING || !strstr(message, "self-test")) return;
    snprintf(warning, sizeof warning, "%s", message);
    warnings++;
}

/* ---- The driver that lies ---------------------------------------------------------------------------------------- */

enum { OP_EXT_INST = 12, OP_FADD = 129, OP_FSUB = 131, EXT_FCLAMP = 43, EXT_FMA = 50 };

static void break_module(uint32_t *words, size_t count)
{
    for (size_t at = 5; at < count; at += words[at] >> 16) {
        uint32_t op = words[at] & 0xFFFF;
        bool adds = op == OP_FADD, multiplies_too = op == OP_EXT_INST && words[at + 4] == EXT_FMA;
        if (adds) words[at] = (words[at] & 0xFFFF0000) | OP_FSUB;
        if (multiplies_too) words[at + 4] = EXT_FCLAMP;
        if (adds || multiplies_too) return;
    }
    TEST_FAIL("%s adds nothing", broken->name);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkShaderModule *out)
{
    last_is_broken = broken && info->pCode == broken->words;
    if (!last_is_broken || refused) return real_module(device, info, allocator, out);
    VkShaderModuleCreateInfo changed = *info;
    uint32_t *words = malloc(info->codeSize);
    REQUIRE(words);
    memcpy(words, info->pCode, info->codeSize);
    break_module(words, info->codeSize / sizeof *words);
    changed.pCode = words;
    VkResult result = real_module(device, &changed, allocator, out);
    free(words);
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *allocator, VkPipeline *out)
{
    if (last_is_broken && refused) return VK_ERROR_UNKNOWN;
    return real_pipelines(device, cache, count, infos, allocator, out);
}

static PFN_vkVoidFunction VKAPI_PTR get_device_proc(VkDevice device, const char *name)
{
    PFN_vkVoidFunction real = real_device(device, name);
    if (strcmp(name, "vkCreateShaderModule") == 0) {
        real_module = (PFN_vkCreateShaderModule)real;
        return (PFN_vkVoidFunction)create_module;
    }
    if (strcmp(name, "vkCreateComputePipelines") == 0) {
        real_pipelines = (PFN_vkCreateComputePipelines)real;
        return (PFN_vkVoidFunction)create_pipelines;
    }
    return real;
}

static PFN_vkVoidFunction VKAPI_PTR get_instance_proc(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction real = real_instance(instance, name);
    if (strcmp(name, "vkGetDeviceProcAddr") != 0) return real;
    real_device = (PFN_vkGetDeviceProcAddr)real;
    return (PFN_vkVoidFunction)get_device_proc;
}

/* ---- Contexts on it ---------------------------------------------------------------------------------------------- */

static uint32_t pretend; /* retnet_pretend */

static retnet_result open_context(const rn_shader *lie, bool refuse, bool expect_errors, retnet_context **out)
{
    retnet_vulkan_device device = {.get_instance_proc_addr = get_instance_proc};
    retnet_context_desc desc = {
        .log = on_log, .log_user = expect_errors ? &warnings : NULL, .enable_validation = true, .pretend = pretend};
    broken = lie;
    refused = refuse;
    warnings = 0;
    warning[0] = '\0';
    return retnet_context_create_from_device(&device, &desc, out);
}

static void check_warning(const char *part)
{
    CHECK_INT(warnings, 1);
    if (!strstr(warning, part)) TEST_FAIL("\"%s\" does not say \"%s\"", warning, part);
}

static bool has_matrix(const rn_device *device)
{
    return device->caps.matrix.m || rn_matmul_suits(device, 2048);
}

static bool has_shuffles(const rn_device *device)
{
    return device->caps.subgroup_arithmetic;
}

static bool has_dots(const rn_device *device)
{
    return device->caps.byte_dots;
}

/* A check whose kernel computes something else, or is not made: the operation is given up, and only that one. */
static void test_given_up(int shader, const char *what, bool (*has)(const rn_device *device))
{
    for (int refuse = 0; refuse < 2; refuse++) {
        char expected[128];
        snprintf(expected, sizeof expected, "%s %s", what, refuse ? "does not run" : "gives wrong answers");
        retnet_context *context = NULL;
        CHECK_INT(open_context(&rn_shaders[shader], refuse, refuse, &context), RETNET_OK);
        REQUIRE(context);
        check_warning(expected);
        CHECK(!has(&context->device));
        CHECK(shader == RN_SHADER_SELF_TEST_SHUFFLES || has_shuffles(&context->device));
        CHECK_INT(rn_self_test(&context->device), RETNET_OK); /* it is not tested again */
        CHECK_INT(warnings, 1);
        retnet_context_destroy(context);
    }
}

static void test_loads(void)
{
    retnet_context *context = NULL;
    CHECK_INT(open_context(&rn_shaders[RN_SHADER_LOADS_TEXELS], false, false, &context), RETNET_OK);
    REQUIRE(context);
    check_warning("reading texels gives wrong answers");
    CHECK(!context->device.texel_loads);
    retnet_context_destroy(context);
    /* Without storage buffers there is nothing to fall back on. */
    CHECK_INT(open_context(&rn_shaders[RN_SHADER_LOADS_SERIAL], false, true, &context), RETNET_ERROR_UNSUPPORTED);
    CHECK(!context);
    check_warning("reading storage buffers gives wrong answers");
}

/* Mesa's software driver makes subgroups of what size its environment asks for (tests/devices.sh): was that heard? */
static void check_subgroup_size(const rn_device *device)
{
    const char *bits = getenv("LP_NATIVE_VECTOR_WIDTH");
    if (!bits || !strstr(device->name, "llvmpipe") || pretend) return;
    CHECK_INT(device->caps.subgroup_size, strtoul(bits, NULL, 10) / 32);
}

int main(void)
{
    pretend = test_pretend();
    void *library;
    retnet_context *context = NULL;
    real_instance = rn_loader_open(&library);
    if (!real_instance || open_context(NULL, false, true, &context) == RETNET_ERROR_NO_DEVICE) return TEST_SKIPPED;
    REQUIRE(context);
    CHECK_INT(warnings, 0); /* of a driver that does not lie */
    bool matrix = has_matrix(&context->device), is_cpu = context->device.caps.is_cpu;
    check_subgroup_size(&context->device);
    retnet_context_destroy(context);
    if (matrix) test_given_up(RN_SHADER_SELF_TEST_MATRIX, "matrix units", has_matrix);
    if (is_cpu) test_loads();

    /* What only GPUs' kernels use. */
    pretend |= RETNET_PRETEND_GPU;
    REQUIRE(open_context(NULL, false, false, &context) == RETNET_OK);
    const rn_capabilities caps = context->device.caps;
    retnet_context_destroy(context);
    bool shuffles = caps.subgroup_arithmetic && caps.subgroup_size >= 8, dots = shuffles && caps.byte_dots;
    printf("%s, subgroups of %u, %s, %s, %s\n", is_cpu ? "CPU" : "GPU", caps.subgroup_size,
           matrix ? "matrix units" : "no matrix units", shuffles ? "shuffles" : "no shuffles",
           dots ? "products of bytes" : "no products of bytes");
    if (shuffles) test_given_up(RN_SHADER_SELF_TEST_SHUFFLES, "invocations of a subgroup", has_shuffles);
    if (dots) test_given_up(RN_SHADER_SELF_TEST_DOTS, "multiplication of bytes", has_dots);
    rn_loader_close(library);
    return test_finish();
}
