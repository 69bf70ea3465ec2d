/* compile_test.c: every kernel that sessions use, as a compiler for GPUs makes it that are not there. Mesa's driver for
 * AMD compiles for any of its GPUs without one where RADV_FORCE_FAMILY names it (until Mesa 25): kernels must compile
 * and must not spill registers to memory. Nothing runs, and so nothing is tested of the answers. Skipped without that
 * driver.
 *
 *     test_vulkan_compile [SHAPE [FORMAT [FAMILY...]]]      with arguments: a line for each kernel as well */
#define _DEFAULT_SOURCE
#define VOLK_IMPLEMENTATION
#include <volk.h>

#include "context.h"
#include "test.h"
#include "shaders.h"
#include "vulkan/kernel.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AMD = 0x1002, SLOTS = 64, ROWS = 512 };

typedef struct gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    retnet_vulkan_device adopted;
    retnet_vulkan_additions additions;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics;
} gpu;

static bool verbose;

static void on_log(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) TEST_FAIL("the library logged: %s", message);
}

/* ---- A GPU that is not there ------------------------------------------------------------------------------------- */

static VkPhysicalDevice find_amd(VkInstance instance)
{
    VkPhysicalDevice devices[16];
    uint32_t count = 16;
    if (vkEnumeratePhysicalDevices(instance, &count, devices) < 0) return NULL;
    for (uint32_t i = 0; i < count; i++) {
        VkPhysicalDeviceProperties properties;
        vkGetPhysicalDeviceProperties(devices[i], &properties);
        if (properties.vendorID == AMD) return devices[i];
    }
    return NULL;
}

static bool create_device(gpu *g)
{
    static const char *const statistics = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
    g->statistics = (VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &g->statistics,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = 1,
                               .ppEnabledExtensionNames = &statistics};
    g->adopted.instance = g->instance;
    g->adopted.physical_device = g->physical;
    g->adopted.get_instance_proc_addr = vkGetInstanceProcAddr;
    g->adopted.api_version = VK_API_VERSION_1_3;
    REQUIRE(retnet_vulkan_recommend(&g->adopted, &info, &g->additions) == RETNET_OK);
    if (vkCreateDevice(g->physical, &info, NULL, &g->device) != VK_SUCCESS) return false;
    volkLoadDevice(g->device);
    g->adopted.device = g->device;
    g->adopted.extensions = info.ppEnabledExtensionNames;
    g->adopted.extension_count = info.enabledExtensionCount;
    g->adopted.features = info.pNext;
    return true;
}

static void gpu_close(gpu *g)
{
    if (g->device) vkDestroyDevice(g->device, NULL);
    if (g->instance) vkDestroyInstance(g->instance, NULL);
}

static bool gpu_open(gpu *g, const char *family)
{
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    memset(g, 0, sizeof *g);
    setenv("RADV_FORCE_FAMILY", family, 1);
    if (vkCreateInstance(&info, NULL, &g->instance) != VK_SUCCESS) return false;
    volkLoadInstanceOnly(g->instance);
    g->physical = find_amd(g->instance);
    if (g->physical && create_device(g)) return true;
    gpu_close(g);
    return false;
}

/* ---- Kernels and what the compiler says of them ------------------------------------------------------------------ */

static const char *family_name;
static const rn_shader *last_shader; /* whose module was made last: the next pipeline is of it */
static uint32_t kernel_count;

static VKAPI_ATTR VkResult VKAPI_CALL note_shader(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                  const VkAllocationCallbacks *allocator, VkShaderModule *out)
{
    for (uint32_t i = 0; i < RN_SHADER_COUNT; i++)
        if (rn_shaders[i].words == info->pCode) last_shader = &rn_shaders[i];
    return vkCreateShaderModule(device, info, allocator, out);
}

static uint64_t value_of(const VkPipelineExecutableStatisticKHR *s)
{
    return s->format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR ? (uint64_t)s->value.f64 : s->value.u64;
}

static void check_statistics(VkDevice device, VkPipeline pipeline)
{
    VkPipelineExecutableInfoKHR which = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutableStatisticKHR s[64];
    uint32_t count = RN_COUNT(s);
    for (uint32_t i = 0; i < count; i++)
        s[i] = (VkPipelineExecutableStatisticKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    REQUIRE(vkGetPipelineExecutableStatisticsKHR(device, &which, &count, s) == VK_SUCCESS);
    for (uint32_t i = 0; i < count; i++) {
        if (verbose) printf(" %s %llu;", s[i].name, (unsigned long long)value_of(&s[i]));
        if (strcmp(s[i].name, "Spilled VGPRs") == 0 && value_of(&s[i]))
            TEST_FAIL("%s: %s spills %llu registers", family_name, last_shader->name,
                      (unsigned long long)value_of(&s[i]));
    }
    if (verbose) printf("\n");
}

static VKAPI_ATTR VkResult VKAPI_CALL make_pipeline(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                    const VkComputePipelineCreateInfo *infos,
                                                    const VkAllocationCallbacks *allocator, VkPipeline *out)
{
    (void)count;
    VkComputePipelineCreateInfo info = *infos;
    const VkSpecializationInfo *constants = info.stage.pSpecializationInfo;
    info.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    if (verbose) printf("%s %s(", family_name, last_shader->name);
    for (size_t i = 0; verbose && i < constants->dataSize / 4; i++)
        printf(" %u", ((const uint32_t *)constants->pData)[i]);
    if (verbose) printf(" ):");
    VkResult result = vkCreateComputePipelines(device, cache, 1, &info, allocator, out);
    if (result == VK_SUCCESS) check_statistics(device, *out);
    kernel_count++;
    return result;
}

/* ---- A context on it, on which nothing runs ---------------------------------------------------------------------- */

/* The driver cannot make fences for it. */
static VKAPI_ATTR VkResult VKAPI_CALL make_no_fence(VkDevice device, const VkFenceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkFence *out)
{
    (void)device, (void)info, (void)allocator;
    *out = VK_NULL_HANDLE;
    return VK_SUCCESS;
}

/* The driver's GPU has no memory. Its allocator does not look at the type. */
static void give_memory(rn_device *device)
{
    device->memory = (VkPhysicalDeviceMemoryProperties){
        .memoryTypeCount = 1,
        .memoryTypes = {{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                             VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                         0}},
        .memoryHeapCount = 1,
        .memoryHeaps = {{1ull << 40, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}},
    };
}

static VKAPI_ATTR void VKAPI_CALL need_any_memory(VkDevice device, VkBuffer buffer, VkMemoryRequirements *needs)
{
    vkGetBufferMemoryRequirements(device, buffer, needs);
    needs->memoryTypeBits = 1;
}

static bool context_open(retnet_context *context, const gpu *g)
{
    static const retnet_context_desc desc = {
        .log = on_log, .fixed_kernels = true, .pretend = RETNET_PRETEND_NO_TIMELINE};
    memset(context, 0, sizeof *context);
    rn_host_init(&context->host, &desc.allocator, desc.log, desc.log_user);
    if (rn_device_open(&context->host, &desc, &g->adopted, &context->device) != RETNET_OK) return false;
    rn_device *device = &context->device;
    give_memory(device);
    device->vk.vkGetBufferMemoryRequirements = need_any_memory;
    device->vk.vkCreateFence = make_no_fence;
    device->vk.vkCreateShaderModule = note_shader;
    device->vk.vkCreateComputePipelines = make_pipeline;
    return true;
}

static void context_close(retnet_context *context)
{
    rn_kernels_destroy(&context->device);
    rn_device_close(&context->device);
}

/* ---- Sessions ---------------------------------------------------------------------------------------------------- */

static void compile_for(const gpu *g, const char *shape, retnet_weight_format format)
{
    retnet_context context;
    retnet_model *model = NULL;
    retnet_prepare_desc desc = {.session = {.slots = SLOTS, .prompt_chunk = ROWS}};
    REQUIRE(context_open(&context, g));
    kernel_count = 0;
    rn_kernel_plan plan = {0}; /* while there is one nothing is recorded or submitted */
    context.device.plan = &plan;
    CHECK_INT(retnet_model_synthesize(&context, shape, format, &model), RETNET_OK);
    rn_kernel_plan_free(&context.host, &plan);
    context.device.plan = NULL;
    if (model) CHECK_INT(retnet_model_prepare(model, &desc), RETNET_OK);
    printf("%s, %s: %u kernels of %s in %s\n", family_name, context.device.name, kernel_count, shape,
           retnet_weight_format_name(format));
    retnet_model_destroy(model);
    context_close(&context);
}

static retnet_weight_format format_named(const char *name)
{
    for (int i = RETNET_WEIGHTS_F32; i <= RETNET_WEIGHTS_Q4; i++)
        if (strcmp(name, retnet_weight_format_name((retnet_weight_format)i)) == 0) return (retnet_weight_format)i;
    fprintf(stderr, "there is no format %s\n", name);
    exit(2);
}

/* In a process of its own, whose exit code it returns: the driver ends it if it does not know the family. */
static int compile_family(const char *shape, const char *format, bool *found)
{
    static const retnet_weight_format formats[] = {RETNET_WEIGHTS_F16, RETNET_WEIGHTS_Q8, RETNET_WEIGHTS_Q4};
    gpu g;
    if (volkInitialize() != VK_SUCCESS || !gpu_open(&g, family_name)) return EXIT_SUCCESS;
    *found = true;
    if (format) compile_for(&g, shape, format_named(format));
    for (size_t i = 0; !format && i < RN_COUNT(formats); i++) compile_for(&g, shape, formats[i]);
    gpu_close(&g);
    return test_finish();
}

int main(int argc, char **argv)
{
    static char *families[] = {"polaris10", "vega10", "navi10", "navi21", "gfx1100", "navi31"};
    char **names = argc > 3 ? argv + 3 : families;
    int name_count = argc > 3 ? argc - 3 : (int)RN_COUNT(families);
    bool *found = mmap(NULL, (size_t)name_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool any = false, failed = false;
    REQUIRE(found != MAP_FAILED);
    verbose = argc > 1;
    for (int i = 0; i < name_count; i++) {
        int status;
        family_name = names[i];
        pid_t child = fork();
        if (child == 0) exit(compile_family(argc > 1 ? argv[1] : "1.3b", argc > 2 ? argv[2] : NULL, &found[i]));
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        any |= found[i];
        failed |= found[i] && status != 0;
    }
    if (!any) printf("there is no driver that compiles for a GPU that is not there\n");
    return failed ? EXIT_FAILURE : any ? EXIT_SUCCESS : TEST_SKIPPED;
}
