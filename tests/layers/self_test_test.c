/* self_test_test.c: a driver that computes something else than the kernel says is found out when a context is made, and
 * what it gets wrong is not used. The driver is made to lie by changing an addition in the module that it is given. */
#include "context.h"
#include "layers/matmul.h"
#include "layers/self_test.h"
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

static retnet_result open_context(const rn_shader *lie, bool refuse, bool expect_errors, retnet_context **out)
{
    retnet_vulkan_device device = {.get_instance_proc_addr = get_instance_proc};
    retnet_context_desc desc = {.log = on_log, .log_user = expect_errors ? &warnings : NULL, .enable_validation = true};
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

static void test_matrix(void)
{
    const rn_shader *shader = &rn_shaders[RN_SHADER_SELF_TEST_MATRIX];
    for (int refuse = 0; refuse < 2; refuse++) {
        retnet_context *context = NULL;
        CHECK_INT(open_context(shader, refuse, refuse, &context), RETNET_OK);
        REQUIRE(context);
        check_warning(refuse ? "matrix units does not run" : "matrix units gives wrong answers");
        CHECK_INT(context->device.caps.matrix.m, 0);
        CHECK(!rn_matmul_suits(&context->device, 2048));
        CHECK_INT(rn_self_test(&context->device), RETNET_OK); /* nothing is left to test */
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

int main(void)
{
    void *library;
    retnet_context *context = NULL;
    real_instance = rn_loader_open(&library);
    if (!real_instance || open_context(NULL, false, true, &context) == RETNET_ERROR_NO_DEVICE) return TEST_SKIPPED;
    REQUIRE(context);
    CHECK_INT(warnings, 0); /* of a driver that does not lie */
    bool matrix = context->device.caps.matrix.m != 0, is_cpu = context->device.caps.is_cpu;
    retnet_context_destroy(context);
    if (matrix) test_matrix();
    if (is_cpu) test_loads();
    rn_loader_close(library);
    return test_finish();
}
