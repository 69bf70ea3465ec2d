/* labels_test.c: what a debugger sees of the library, and that it is nothing where the host has not enabled it. */
#include "vulkan/host.h"

static bool contains(char (*texts)[64], uint32_t count, const char *text)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(texts[i], text) == 0) return true;
    return false;
}

static void run_model(host *h, const char *directory)
{
    retnet_context *context = NULL;
    retnet_context_desc desc = host_context_desc();
    /* Kernels by the same names on every device. */
    desc.pretend = RETNET_PRETEND_GPU | RETNET_PRETEND_NO_SUBGROUP;
    REQUIRE(retnet_context_create_from_device(&h->adopted, &desc, &context) == RETNET_OK);
    retnet_model *model = session_test_model(context, directory, RETNET_WEIGHTS_AS_STORED);
    retnet_session *session = session_test_session(model, 1, 0);
    session_test_read_last(session, 0, (const int32_t[]){1, 2, 3}, 3, NULL);
    session_test_read_last(session, 0, (const int32_t[]){4}, 1, NULL);
    retnet_session_destroy(session);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
}

/* Outer labels name the layer, inner ones the kernel. */
static void check_labels(void)
{
    static const char *const expected[] = {"0 embedding",
                                           "0 layer 0 retention",
                                           "0 layer 0 feed-forward",
                                           "0 layer 1 retention",
                                           "0 layer 1 feed-forward",
                                           "0 output",
                                           "1 linear",
                                           "1 retention_step"};
    uint32_t count = spy.label_count;
    REQUIRE(count < 4096);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!contains(spy.labels, count, expected[i])) TEST_FAIL("no label \"%s\"", expected[i]);
    /* After a layer's label come its own kernels: a step's retention is in a retention layer. */
    const char *outer = "";
    for (uint32_t i = 0; i < count; i++) {
        if (spy.labels[i][0] == '0') outer = spy.labels[i];
        if (strcmp(spy.labels[i], "1 retention_step") == 0 && !strstr(outer, "retention"))
            TEST_FAIL("retention_step is under \"%s\"", outer);
    }
    CHECK(spy.label_depth == 0);
}

static void check_names(void)
{
    static const char *const expected[] = {"retnet: weights", "retnet: states", "retnet: activations",
                                           "retnet: linear"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!contains(spy.names, spy.name_count, expected[i])) TEST_FAIL("nothing is named \"%s\"", expected[i]);
}

int main(void)
{
    static host h;
    char directory[512];
    session_test_directory(directory, sizeof directory);
    fixture_write(fixture_named("odd-v"), directory);
    host_create(&h, true);
    bool debug_utils = h.debug_utils;
    if (debug_utils) {
        run_model(&h, directory);
        check_labels();
        check_names();
    }
    spy.label_count = spy.name_count = 0;
    h.adopted.instance_extension_count = 0; /* the host says nothing of it */
    run_model(&h, directory);
    CHECK_INT(spy.label_count, 0);
    CHECK_INT(spy.name_count, 0);
    host_destroy(&h);
    if (!debug_utils) return TEST_SKIPPED;
    return host_finish(test_failures);
}
