/* shaders_test.c: what kernels ask of a device, read from their SPIR-V. All but those that are only made where a device
 * has matrix units, shuffles, products of bytes or addresses of buffers do with what every Vulkan 1.1 device has; none
 * wants 16-bit or 8-bit storage, 8-bit arithmetic, more than 4 storage buffers or 128 bytes of push constants. */
#include "shaders.h"
#include "test.h"
#include "vulkan/kernel.h"

enum { OP_CAPABILITY = 17, OP_MEMORY_MODEL = 14 };

/* SPIR-V's numbers. */
enum {
    SHADER = 1,
    FLOAT16 = 9,
    SAMPLED_BUFFER = 46,
    GROUP_NON_UNIFORM = 61,
    GROUP_NON_UNIFORM_SHUFFLE = 65,
    VULKAN_MEMORY_MODEL = 5345,
    PHYSICAL_STORAGE_BUFFER_ADDRESSES = 5347,
    DOT_PRODUCT_INPUT_4X8_PACKED = 6018,
    DOT_PRODUCT = 6019,
    COOPERATIVE_MATRIX = 6022
};

static bool is_named(const rn_shader *shader, const char *part)
{
    return strstr(shader->name, part) != NULL;
}

static bool may_ask(const rn_shader *shader, uint32_t capability)
{
    /* The last two are taken only where there are shuffles as well (retention_matrix.c). */
    bool dots = is_named(shader, "dots"), shuffles = dots || is_named(shader, "shuffles") ||
                                                     is_named(shader, "retention_output_direct") ||
                                                     is_named(shader, "retention_output_addressed");
    bool addressed = is_named(shader, "addressed") || is_named(shader, "retention_project");
    switch (capability) {
    case SHADER:
    case SAMPLED_BUFFER: return true;
    case GROUP_NON_UNIFORM: return true; /* "basic", which every Vulkan 1.1 device has in compute */
    case GROUP_NON_UNIFORM_SHUFFLE: return shuffles;
    case DOT_PRODUCT_INPUT_4X8_PACKED:
    case DOT_PRODUCT: return dots;
    case PHYSICAL_STORAGE_BUFFER_ADDRESSES: return addressed;
    case FLOAT16:
    case VULKAN_MEMORY_MODEL:
    case COOPERATIVE_MATRIX: return shader->matrix;
    default: return false;
    }
}

static void check_capabilities(const rn_shader *shader)
{
    uint32_t asked = 0;
    for (uint32_t at = 5; at < shader->word_count; at += shader->words[at] >> 16) {
        uint32_t op = shader->words[at] & 0xFFFF;
        if (op == OP_MEMORY_MODEL) break;
        if (op != OP_CAPABILITY) continue;
        asked++;
        if (!may_ask(shader, shader->words[at + 1]))
            TEST_FAIL("%s asks for SPIR-V capability %u", shader->name, shader->words[at + 1]);
    }
    CHECK(asked > 0);
}

static void check_limits(const rn_shader *shader)
{
    uint32_t buffers = 0;
    for (uint32_t i = 0; i < shader->binding_count; i++)
        buffers += rn_shader_descriptor_type(shader, i) == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    if (buffers > 4) TEST_FAIL("%s has %u storage buffers", shader->name, buffers);
    if (shader->push_bytes > 128) TEST_FAIL("%s has %u bytes of push constants", shader->name, shader->push_bytes);
}

int main(void)
{
    int present = 0;
    for (int i = 0; i < RN_SHADER_COUNT; i++) {
        if (!rn_shaders[i].words) continue; /* left out of this build */
        check_capabilities(&rn_shaders[i]);
        if (!rn_shaders[i].matrix) check_limits(&rn_shaders[i]);
        present++;
    }
    CHECK(present > 20);
    return test_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
