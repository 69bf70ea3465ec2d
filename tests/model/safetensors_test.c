/* safetensors files: good ones, and all the ways to be wrong that a header has. */
#include "model/safetensors.h"

#include "model/model_test.h"

static test_host test;
static char directory[64];

static retnet_result open_and_close(const char *path)
{
    rn_tensor_set *set = NULL;
    retnet_result result = rn_tensor_set_open_file(&test.host, path, &set);
    CHECK((result == RETNET_OK) == (set != NULL));
    rn_tensor_set_close(set);
    CHECK_INT(test.live, 0);
    return result;
}

static retnet_result open_directory(void)
{
    rn_tensor_set *set = NULL;
    retnet_result result = rn_tensor_set_open_directory(&test.host, directory, &set);
    CHECK((result == RETNET_OK) == (set != NULL));
    rn_tensor_set_close(set);
    CHECK_INT(test.live, 0);
    return result;
}

/* Writes a file with this header and so many bytes of data, and opens it. */
static retnet_result open_header(const char *header, size_t data_bytes)
{
    static const uint8_t data[64];
    char path[128];
    test_path(path, directory, "header");
    test_write_raw(path, strlen(header), header, strlen(header), data, data_bytes);
    return open_and_close(path);
}

/* ---- Good files ------------------------------------------------------------------------------------------------- */

static void test_good(void)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\xC3\xA9\"},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
        "\"a\\u00e9\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
        "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[28,36]},"
        "\"none\":{\"dtype\":\"F16\",\"shape\":[5,0],\"data_offsets\":[28,28]},"
        "\"c\":{\"data_offsets\":[36,38],\"shape\":[2,1,1],\"dtype\":\"I8\",\"more\":null}}    ";
    uint8_t data[38];
    for (int i = 0; i < 38; i++) data[i] = (uint8_t)i;
    char path[128];
    test_path(path, directory, "good");
    test_write_raw(path, strlen(header), header, strlen(header), data, sizeof(data));

    rn_tensor_set *set;
    REQUIRE(rn_tensor_set_open_file(&test.host, path, &set) == RETNET_OK);
    CHECK_INT(rn_tensor_set_count(set), 5);
    static const char *const order[] = {"a\xC3\xA9", "b", "c", "none", "scalar"};
    for (size_t i = 0; i < 5; i++) {
        CHECK_STRING(rn_tensor_set_at(set, i)->name, order[i]);
        CHECK_STRING(rn_tensor_set_at(set, i)->file, path);
        CHECK(rn_tensor_set_find(set, order[i]) == rn_tensor_set_at(set, i));
    }
    CHECK(rn_tensor_set_find(set, "d") == NULL);
    const rn_tensor *b = rn_tensor_set_find(set, "b");
    CHECK(b->dtype == RN_DTYPE_F32 && b->rank == 2 && b->shape[0] == 2 && b->shape[1] == 3);
    CHECK(b->elements == 6 && b->bytes == 24 && b->data[0] == 4 && b->data[23] == 27);
    const rn_tensor *scalar = rn_tensor_set_find(set, "scalar");
    CHECK(scalar->dtype == RN_DTYPE_OTHER && scalar->rank == 0 && scalar->elements == 1 && scalar->data[0] == 28);
    CHECK_STRING(scalar->dtype_name, "I64");
    CHECK(rn_tensor_set_find(set, "none")->elements == 0 && rn_tensor_set_find(set, "c")->rank == 3);
    CHECK_STRING(rn_tensor_set_metadata(set, "format"), "pt");
    CHECK_STRING(rn_tensor_set_metadata(set, "x"), "\xC3\xA9");
    CHECK(rn_tensor_set_metadata(set, "y") == NULL);
    rn_tensor_set_close(set);
    CHECK_INT(test.live, 0);
    CHECK_INT(open_header("{}", 0), RETNET_OK);
    rn_tensor_set_close(NULL);
}

static void test_dtypes(void)
{
    CHECK_STRING(rn_dtype_name(RN_DTYPE_BF16), "BF16");
    CHECK_INT(rn_dtype_size(RN_DTYPE_F32), 4);
    CHECK_INT(rn_dtype_size(RN_DTYPE_I8), 1);
    CHECK_INT(rn_dtype_size(RN_DTYPE_OTHER), 0);
    CHECK_INT(open_header("{\"a\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[0,2]}}", 2), RETNET_OK);
    CHECK_REFUSED(&test, open_header("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1),
                  RETNET_ERROR_FORMAT, "tensor a");
}

/* ---- Bad files -------------------------------------------------------------------------------------------------- */

/* Entry of one tensor "a" with these fields. */
#define ENTRY(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define F32_AT(name, from, to) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #from "," #to "]}"

static void test_bad_headers(void)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        retnet_result expected;
        const char *part; /* of the message */
    } cases[] = {
        /* not the JSON that it should be */
        {"", 0, RETNET_ERROR_FORMAT, "does not start"},
        {"[]", 0, RETNET_ERROR_FORMAT, "does not start"},
        {" {}", 0, RETNET_ERROR_FORMAT, "does not start"},
        {"{", 0, RETNET_ERROR_FORMAT, "header, byte"},
        {"{}x", 0, RETNET_ERROR_FORMAT, "header, byte"},
        {"{\"a\xFF\":1}", 0, RETNET_ERROR_FORMAT, "header, byte"},
        {"{\"a\\u0000b\":{}}", 0, RETNET_ERROR_FORMAT, "header, byte"},
        {"{" F32_AT("a", 0, 8) "," F32_AT("a", 0, 8) "}", 8, RETNET_ERROR_FORMAT, "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, RETNET_ERROR_FORMAT,
         "duplicate"},
        {"{\"a\":[]}", 0, RETNET_ERROR_FORMAT, "tensor a: expected an object"},
        {"{\"__metadata__\":[]}", 0, RETNET_ERROR_FORMAT, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, RETNET_ERROR_FORMAT, "__metadata__: \"k\""},
        /* dtype */
        {ENTRY("4", "[2]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "tensor a: expected a string \"dtype\""},
        {ENTRY("\"F31\"", "[2]", "[0,8]"), 8, RETNET_ERROR_UNSUPPORTED, "tensor a: unknown dtype \"F31\""},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, RETNET_ERROR_FORMAT, "\"dtype\""},
        /* shape */
        {ENTRY("\"F32\"", "2", "[0,8]"), 8, RETNET_ERROR_FORMAT, "tensor a: expected an array \"shape\""},
        {ENTRY("\"F32\"", "[2.0]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "non-negative integers"},
        {ENTRY("\"F32\"", "[-2]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "non-negative integers"},
        {ENTRY("\"F32\"", "[\"2\"]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "non-negative integers"},
        {ENTRY("\"F32\"", "[true,2]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "non-negative integers"},
        {ENTRY("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, RETNET_ERROR_UNSUPPORTED, "rank 9, at most 8"},
        {ENTRY("\"F32\"", "[3]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "take 12 bytes, but data_offsets span 8"},
        {ENTRY("\"F16\"", "[2]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "take 4 bytes, but data_offsets span 8"},
        {ENTRY("\"F32\"", "[4611686018427387904,4]", "[0,0]"), 0, RETNET_ERROR_FORMAT, "product of \"shape\""},
        {ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, RETNET_ERROR_FORMAT, "size of its elements"},
        {ENTRY("\"I8\"", "[2305843009213693952]", "[0,0]"), 0, RETNET_ERROR_FORMAT, "size of its elements"},
        {ENTRY("\"F32\"", "[99999999999999999999]", "[0,8]"), 8, RETNET_ERROR_FORMAT, "header, byte"},
        /* offsets */
        {ENTRY("\"F32\"", "[2]", "[0]"), 8, RETNET_ERROR_FORMAT, "data_offsets"},
        {ENTRY("\"F32\"", "[2]", "[0,8,8]"), 8, RETNET_ERROR_FORMAT, "data_offsets"},
        {ENTRY("\"F32\"", "[2]", "[0,8.0]"), 8, RETNET_ERROR_FORMAT, "data_offsets"},
        {ENTRY("\"F32\"", "[2]", "[-8,0]"), 8, RETNET_ERROR_FORMAT, "data_offsets"},
        {ENTRY("\"F32\"", "[2]", "{\"0\":0,\"1\":8}"), 8, RETNET_ERROR_FORMAT, "data_offsets"},
        {ENTRY("\"F32\"", "[2]", "[8,0]"), 8, RETNET_ERROR_FORMAT, "[8, 0] do not lie within the 8 bytes"},
        {ENTRY("\"F32\"", "[2]", "[0,9]"), 8, RETNET_ERROR_FORMAT, "[0, 9] do not lie within the 8 bytes"},
        {ENTRY("\"F32\"", "[2]", "[9223372036854775800,9223372036854775807]"), 8, RETNET_ERROR_FORMAT, "do not lie"},
        {ENTRY("\"F32\"", "[0]", "[9,9]"), 8, RETNET_ERROR_FORMAT, "do not lie"},
        /* coverage */
        {"{" F32_AT("a", 0, 8) "," F32_AT("b", 4, 12) "}", 12, RETNET_ERROR_FORMAT, "tensors a and b overlap"},
        {"{" F32_AT("a", 0, 8) "," F32_AT("b", 0, 8) "}", 8, RETNET_ERROR_FORMAT, "overlap"},
        {"{" F32_AT("a", 0, 8) "," F32_AT("b", 12, 20) "}", 20, RETNET_ERROR_FORMAT, "4 bytes before tensor b"},
        {"{" F32_AT("a", 4, 12) "}", 12, RETNET_ERROR_FORMAT, "4 bytes before tensor a"},
        {"{" F32_AT("a", 0, 8) "}", 9, RETNET_ERROR_FORMAT, "last 1 bytes"},
        {"{}", 1, RETNET_ERROR_FORMAT, "last 1 bytes"},
    };
    for (size_t i = 0; i < RN_COUNT(cases); i++) {
        CHECK_REFUSED(&test, open_header(cases[i].header, cases[i].data_bytes), cases[i].expected, cases[i].part);
    }
}

static void test_bad_lengths(void)
{
    static const uint64_t lengths[] = {3,          100000000,      100000001,         INT64_MAX,
                                       UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 2};
    char path[128];
    test_path(path, directory, "header");
    for (size_t i = 0; i < RN_COUNT(lengths); i++) {
        test_write_raw(path, lengths[i], "{}", 2, NULL, 0);
        CHECK_REFUSED(&test, open_and_close(path), RETNET_ERROR_FORMAT, "header of ");
    }
}

static void test_deep_nesting(void)
{
    enum { DEPTH = 200000 };
    char *header = malloc(DEPTH + 16), path[128];
    REQUIRE(header);
    size_t length = (size_t)sprintf(header, "{\"a\":");
    memset(header + length, '[', DEPTH);
    test_path(path, directory, "header");
    test_write_raw(path, length + DEPTH, header, length + DEPTH, NULL, 0);
    CHECK_REFUSED(&test, open_and_close(path), RETNET_ERROR_FORMAT, "depth");
    free(header);
}

static size_t read_file(const char *path, uint8_t *bytes, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    size_t size = fread(bytes, 1, capacity, file);
    fclose(file);
    return size;
}

/* Every shorter file is refused, and no damage to the header crashes. */
static void test_damage(void)
{
    test_tensors tensors = {.random = 1};
    test_add(&tensors, "F32", 3, 2, "first");
    test_add(&tensors, "BF16", 5, 0, "second");
    test_write_safetensors(&tensors, directory);
    test_free(&tensors);
    char path[128], damaged[128];
    uint8_t bytes[1024], copy[1024];
    size_t size = read_file(test_path(path, directory, "model.safetensors"), bytes, sizeof(bytes));
    test_path(damaged, directory, "damaged");
    CHECK_INT(open_and_close(path), RETNET_OK);
    for (size_t length = 0; length < size; length++) {
        test_write_file(damaged, bytes, length);
        CHECK_INT(open_and_close(damaged), RETNET_ERROR_FORMAT);
    }
    uint64_t random = 7;
    for (int round = 0; round < 3000; round++) {
        memcpy(copy, bytes, size);
        for (int i = 0; i <= round % 3; i++) {
            size_t at = (size_t)((test_random(&random) + 1) * 0.5f * (float)(size - 1));
            copy[at] = round % 2 ? (uint8_t)(copy[at] ^ 1 << round / 6 % 8) : (uint8_t) "{}[],:\"0-9e"[round / 2 % 11];
        }
        test_write_file(damaged, copy, size);
        open_and_close(damaged);
    }
    unlink(path);
}

static void test_no_memory(void)
{
    test_tensors tensors = {.random = 1};
    for (int i = 0; i < 6; i++) test_add(&tensors, "F32", 3, 2, "tensor%d", i);
    test_write_shards(&tensors, 3, directory);
    test_free(&tensors);
    int failures = 0;
    retnet_result result;
    do {
        test.calls = 0;
        test.fail_at = ++failures;
        result = open_directory();
        if (result != RETNET_OK) CHECK_REFUSED(&test, result, RETNET_ERROR_OUT_OF_HOST_MEMORY, "memory");
    } while (result != RETNET_OK && failures < 1000);
    CHECK(failures > 10 && failures < 1000);
    test.fail_at = 0;
}

/* ---- Shards ----------------------------------------------------------------------------------------------------- */

static void test_shards(void)
{
    test_tensors tensors = {.random = 3};
    for (int i = 0; i < 7; i++) test_add(&tensors, "F32", 3, 2, "tensor%d", i);
    test_write_shards(&tensors, 3, directory);
    rn_tensor_set *set;
    REQUIRE(rn_tensor_set_open_directory(&test.host, directory, &set) == RETNET_OK);
    CHECK_INT(rn_tensor_set_count(set), 7);
    for (size_t i = 0; i < 7; i++) {
        const rn_tensor *tensor = rn_tensor_set_find(set, tensors.items[i].name);
        REQUIRE(tensor);
        CHECK(memcmp(tensor->data, tensors.items[i].data, tensors.items[i].bytes) == 0);
    }
    CHECK_STRING(rn_tensor_set_metadata(set, "format"), "pt");
    rn_tensor_set_close(set);
    test_free(&tensors);
}

/* The three shards of test_shards under an index with this weight_map. */
static void check_index(const char *weight_map, retnet_result expected, const char *part)
{
    char text[1000];
    snprintf(text, sizeof(text), "{\"weight_map\":%s}", weight_map);
    test_write_text(directory, "model.safetensors.index.json", text);
    CHECK_REFUSED(&test, open_directory(), expected, part);
}

#define SHARD(tensor, shard) "\"tensor" #tensor "\":\"model-" #shard ".safetensors\""
#define ALL_BUT_LAST SHARD(0, 0) "," SHARD(3, 0) "," SHARD(6, 0) "," SHARD(1, 1) "," SHARD(4, 1) "," SHARD(2, 2)

static void test_bad_index(void)
{
    check_index("{" ALL_BUT_LAST "," SHARD(5, 1) "}", RETNET_ERROR_FORMAT, "tensor5 is not in model-1.safetensors");
    check_index("{" ALL_BUT_LAST "," SHARD(5, 2) "," SHARD(9, 2) "}", RETNET_ERROR_FORMAT, "tensor9 is not in");
    check_index("{" ALL_BUT_LAST "}", RETNET_ERROR_FORMAT, "tensor5 of");
    check_index("{" ALL_BUT_LAST "," SHARD(5, 7) "}", RETNET_ERROR_FILE, "model-7.safetensors");
    check_index("{" ALL_BUT_LAST "," SHARD(2, 2) "}", RETNET_ERROR_FORMAT, "duplicate");
    check_index("{\"tensor0\":7}", RETNET_ERROR_FORMAT, "not the plain name");
    static const char *const names[] = {"",       ".",   "..",     "../model-0.safetensors", "/etc/passwd", "a/b",
                                        "a\\\\b", "C:x", ".hidden"};
    for (size_t i = 0; i < RN_COUNT(names); i++) {
        char map[200];
        snprintf(map, sizeof(map), "{\"tensor0\":\"%s\"}", names[i]);
        check_index(map, RETNET_ERROR_FORMAT, "not the plain name");
    }
    check_index("{}", RETNET_ERROR_FORMAT, "weight_map");
    check_index("[]", RETNET_ERROR_FORMAT, "weight_map");
    check_index("", RETNET_ERROR_FORMAT, "line 1");

    /* the same tensor in two shards */
    char path[128];
    test_tensors tensors = {.random = 3};
    test_add(&tensors, "F32", 3, 2, "tensor0");
    test_write_part(&tensors, 0, 1, test_path(path, directory, "model-1.safetensors"));
    test_free(&tensors);
    check_index("{" ALL_BUT_LAST "}", RETNET_ERROR_FORMAT, "tensor0 is in both");

    unlink(test_path(path, directory, "model.safetensors.index.json"));
    CHECK_REFUSED(&test, open_directory(), RETNET_ERROR_FILE, "neither model.safetensors nor");
}

int main(void)
{
    test_host_init(&test);
    test_make_directory(directory);
    test_good();
    test_dtypes();
    test_bad_headers();
    test_bad_lengths();
    test_deep_nesting();
    test_damage();
    test_no_memory();
    test_shards();
    test_bad_index();
    test_remove_directory(directory);
    return test_finish();
}
