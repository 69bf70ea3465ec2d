/* The quantize program: what it makes of a tiny model, and how it refuses. */
#include "model/checkpoint.h"

#include "model/model_test.h"
#include "model/tiny.h"

#include <sys/wait.h>

static test_host test;
static char input[64], output[80], errors[80];

/* Runs the program and gives its exit code; what it says goes to the file `errors`. */
static int run(const char *format, ...)
{
    char arguments[400], command[1000];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof(arguments), format, list);
    va_end(list);
    snprintf(command, sizeof(command), "\"%s\" %s >\"%s\" 2>&1", QUANTIZE_PROGRAM, arguments, errors);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_said(const char *part)
{
    char text[2000];
    FILE *file = fopen(errors, "r");
    REQUIRE(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    if (!strstr(text, part)) TEST_FAIL("\"%s\" said, \"%s\" expected", text, part);
}

/* Nothing but whole files is ever left. */
static size_t files_in_output(void)
{
    size_t count = 0;
    DIR *listing = opendir(output);
    if (!listing) return 0;
    for (struct dirent *entry; (entry = readdir(listing));)
        count += strspn(entry->d_name, ".") != strlen(entry->d_name);
    closedir(listing);
    return count;
}

static float element(const test_tensor *tensor, uint64_t index)
{
    float value;
    uint16_t half;
    if (strcmp(tensor->dtype, "F32") == 0) {
        memcpy(&value, tensor->data + 4 * index, 4);
        return value;
    }
    memcpy(&half, tensor->data + 2 * index, 2);
    return strcmp(tensor->dtype, "F16") == 0 ? rn_f16_to_f32(half) : rn_bf16_to_f32(half);
}

typedef struct format {
    const char *option, *metadata;
    rn_dtype dtype;
    int least, most;
} format;

static const format formats[] = {
    {"", "retnet-q8-32", RN_DTYPE_I8, -127, 127}, /* the default */
    {"--format q8", "retnet-q8-32", RN_DTYPE_I8, -127, 127},
    {"--format q4", "retnet-q4-32", RN_DTYPE_U8, -8, 7},
};

/* q of weight i in a row. */
static int quantised(const format *format, const uint8_t *row, uint64_t i)
{
    return format->dtype == RN_DTYPE_I8 ? (int8_t)row[i] : (row[i / 2] >> i % 2 * 4 & 15) - 8;
}

static void check_block(const format *format, const test_tensor *original, uint64_t at, uint64_t count,
                        const uint8_t *row, uint64_t first, float scale)
{
    float extreme = 0;
    for (uint64_t i = 0; i < count; i++)
        if (fabsf(element(original, at + i)) > fabsf(extreme)) extreme = element(original, at + i);
    CHECK(scale == rn_f16_to_f32(rn_f32_to_f16(format->most == 127 ? fabsf(extreme) / 127 : extreme / -8)));
    CHECK(scale != 0 || !signbit(scale));
    for (uint64_t i = 0; i < count; i++) {
        double expected = scale != 0 ? rint((double)element(original, at + i) / scale) : 0;
        CHECK_INT(quantised(format, row, first + i), (int)fmin(fmax(expected, format->least), format->most));
    }
}

static void check_matrix(const format *format, const test_tensor *original, const rn_tensor_set *set)
{
    char name[120];
    snprintf(name, sizeof(name), "%s_scale", original->name);
    const rn_tensor *values = rn_tensor_set_find(set, original->name), *scales = rn_tensor_set_find(set, name);
    REQUIRE(values && scales);
    uint64_t columns = original->shape[1], blocks = (columns + 31) / 32;
    uint64_t row_bytes = format->dtype == RN_DTYPE_I8 ? columns : (columns + 1) / 2;
    CHECK(values->dtype == format->dtype && values->shape[0] == original->shape[0] && values->shape[1] == row_bytes);
    CHECK(scales->dtype == RN_DTYPE_F16 && scales->shape[0] == original->shape[0] && scales->shape[1] == blocks);
    for (uint64_t r = 0; r < original->shape[0]; r++) {
        const uint8_t *row = values->data + r * row_bytes;
        for (uint64_t block = 0; block < blocks; block++) {
            uint16_t scale;
            memcpy(&scale, scales->data + 2 * (r * blocks + block), 2);
            uint64_t first = 32 * block, count = columns - first < 32 ? columns - first : 32;
            check_block(format, original, r * columns + first, count, row, first, rn_f16_to_f32(scale));
        }
        if (format->dtype == RN_DTYPE_U8 && columns % 2) CHECK_INT(quantised(format, row, columns), 0);
    }
}

/* Quantises the tensors and compares all of the result; returns what the loader makes of it. */
static void check_model(const format *format, test_tensors *tensors, const char *config)
{
    rn_checkpoint checkpoint;
    test_write_text(input, "config.json", config);
    test_write_safetensors(tensors, input);
    CHECK_INT(run("%s %s %s", format->option, input, output), 0);
    REQUIRE(rn_checkpoint_open(&test.host, output, &checkpoint) == RETNET_OK);
    CHECK_STRING(rn_tensor_set_metadata(checkpoint.tensors, "format"), "pt");
    CHECK_STRING(rn_tensor_set_metadata(checkpoint.tensors, "quantization"), format->metadata);
    size_t expected = 0;
    for (size_t i = 0; i < tensors->count; i++) {
        const test_tensor *original = &tensors->items[i];
        expected += original->rank;
        if (original->rank == 2) {
            check_matrix(format, original, checkpoint.tensors);
            continue;
        }
        const rn_tensor *copy = rn_tensor_set_find(checkpoint.tensors, original->name);
        REQUIRE(copy && copy->bytes == original->bytes);
        CHECK_STRING(copy->dtype_name, original->dtype);
        CHECK(memcmp(copy->data, original->data, copy->bytes) == 0);
    }
    CHECK_INT(rn_tensor_set_count(checkpoint.tensors), expected);
    for (size_t i = 0; i < rn_tensor_set_count(checkpoint.tensors); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(checkpoint.tensors, i);
        CHECK_INT((uintptr_t)tensor->data % rn_dtype_size(tensor->dtype), 0);
    }
    rn_checkpoint_close(&test.host, &checkpoint);
    CHECK_INT(test.live, 0);
}

static void test_models(const format *format)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    for (int i = 0; i < 3; i++) {
        test_tensors tensors = {.random = 5};
        tiny_wide_fla(&tensors, dtypes[i]);
        test_tensor *head = test_find(&tensors, "lm_head.weight");
        memset(head->data, 0, head->bytes / 2);
        if (i == 0) {
            test_write_text(input, "tokenizer.model", "tokens");
            for (size_t at = 480; at < 512; at++) { /* the last row: the scale of 8 bits rounds from 3.4 units to 3 */
                float value = at % 2 ? 2.6e-5f : -2.6e-5f;
                memcpy(head->data + 4 * at, &value, 4);
            }
            for (size_t at = 464; at < 480; at++) { /* steps of 4 bits are 1/8, and these lie halfway between two */
                float value = at == 464 ? 1 : ((float)at - 471.5f) / 8;
                memcpy(head->data + 4 * at, &value, 4);
            }
        }
        check_model(format, &tensors, TINY_WIDE_FLA_CONFIG);
        CHECK_INT(files_in_output(), 3);
        test_remove_directory(output);
        test_free(&tensors);
    }
    test_tensors tensors = {.random = 9};
    tiny_torchscale(&tensors, "", "output_projection.weight");
    uint8_t *angles = test_add(&tensors, "F16", 8, 0, "retnet_rel_pos.angle")->data;
    for (int i = 0; i < 8; i++) {
        uint16_t angle = rn_f32_to_f16(powf(10000, -(float)(i / 2) / 3)); /* any others would be refused */
        memcpy(angles + 2 * i, &angle, 2);
    }
    check_model(format, &tensors, TINY_TORCHSCALE_CONFIG(""));
    CHECK_INT(run("%s %s-2", output, output), 1);
    check_said(format->dtype == RN_DTYPE_I8 ? "has 8 bits already" : "has 4 bits already");
    test_free(&tensors);
}

/* After test_models there is a checkpoint in `output`. */
static void test_refusals(void)
{
    CHECK_INT(run("--help"), 0);
    check_said("usage: quantize");
    CHECK_INT(run("--format q8 %s %s", input, output), 1);
    check_said("holds a checkpoint already");
    CHECK_INT(run("%s %s", output, output), 1);
    static const char *const usage[][2] = {{"", "are needed"},          {"a", "are needed"},
                                           {"a b c", "one argument"},   {"--format q3 a b", "unknown format q3"},
                                           {"a b --format", "a value"}, {"--fast a b", "unknown option --fast"}};
    for (size_t i = 0; i < RN_COUNT(usage); i++) {
        CHECK_INT(run("%s", usage[i][0]), 2);
        check_said(usage[i][1]);
    }
    test_remove_directory(output);
    CHECK_INT(run("/no/such %s", output), 1);
    check_said("/no/such/config.json: No such file");
    CHECK_INT(run("%s /no/such/place", input), 1);
    check_said("/no/such/place: No such file");

    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e9f, -1e9f};
    for (size_t i = 0; i < 2 * RN_COUNT(bad); i++) {
        test_tensors tensors = {.random = 5};
        tiny_fla(&tensors, "F32", 2);
        memcpy(test_find(&tensors, "lm_head.weight")->data + 4 * 20, &bad[i / 2], 4);
        test_write_text(input, "config.json", TINY_FLA_CONFIG(""));
        test_write_safetensors(&tensors, input);
        CHECK_INT(run("--format %s %s %s", i % 2 ? "q4" : "q8", input, output), 1);
        check_said("tensor lm_head.weight, row 1: a value is not finite or too large for q");
        CHECK(files_in_output() <= 2); /* config.json and tokenizer.model, but no model */
        test_free(&tensors);
    }
}

int main(void)
{
    if (access(QUANTIZE_PROGRAM, X_OK) != 0) return TEST_SKIPPED;
    test_host_init(&test);
    test_make_directory(input);
    snprintf(output, sizeof(output), "%s-out", input);
    snprintf(errors, sizeof(errors), "%s-errors", input);
    for (size_t i = 0; i < RN_COUNT(formats); i++) {
        if (i > 0) test_remove_directory(output);
        test_models(&formats[i]);
    }
    test_refusals();
    test_remove_directory(input);
    test_remove_directory(output);
    unlink(errors);
    return test_finish();
}
