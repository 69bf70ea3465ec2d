/* startup: how long a program waits before its first token. Makes a context, a model and every kernel that a session
 * needs, three times: without and with the kernels of the first time as a blob, and with it on a device that is there.
 *
 *     startup [--shape 1.3b | --model DIR] [--threads N] [--blob FILE]
 *
 * With --blob the blob comes from the file if there is one and is left in it: the first run of a program is cold, the
 * second warm. Drivers have caches of their own (NVIDIA's is off with __GL_SHADER_DISK_CACHE=0). */
#include "preparing.h"

#include <retnet/vulkan.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 64 };

typedef struct startup {
    const char *shape, *model, *blob_path;
    uint32_t threads;
    void *blob;
    size_t blob_size;
    retnet_context *context;
    retnet_model *loaded;
} startup;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void log_message(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    fprintf(stderr, "startup: %s%s\n", level == RETNET_LOG_ERROR ? "error: " : "", message);
}

static void require(retnet_result result, const char *what)
{
    if (result == RETNET_OK) return;
    fprintf(stderr, "startup: %s: %s\n", what, retnet_result_text(result));
    exit(EXIT_FAILURE);
}

static void read_blob(startup *s)
{
    FILE *file = s->blob_path ? fopen(s->blob_path, "rb") : NULL;
    if (!file) return;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    s->blob = size > 0 ? malloc((size_t)size) : NULL;
    if (s->blob && fread(s->blob, 1, (size_t)size, file) == (size_t)size) s->blob_size = (size_t)size;
    fclose(file);
}

static void keep_blob(startup *s)
{
    free(s->blob);
    require(retnet_context_pipeline_cache_save(s->context, NULL, 0, &s->blob_size), "the blob's size");
    s->blob = malloc(s->blob_size);
    if (!s->blob) exit(EXIT_FAILURE);
    require(retnet_context_pipeline_cache_save(s->context, s->blob, s->blob_size, &s->blob_size), "the blob");
    FILE *file = s->blob_path ? fopen(s->blob_path, "wb") : NULL;
    if (s->blob_path && (!file || fwrite(s->blob, 1, s->blob_size, file) != s->blob_size || fclose(file) != 0))
        fprintf(stderr, "startup: %s cannot be written\n", s->blob_path);
}

static void prepare(startup *s)
{
    preparing *p = preparing_start(s->loaded, &(retnet_session_desc){0}, s->threads);
    require(p ? preparing_end(p) : RETNET_ERROR_OUT_OF_HOST_MEMORY, "preparing");
}

/* On a device of its own, or on one that there is, as in a renderer. */
static void start(startup *s, const retnet_vulkan_device *device)
{
    bool accepted = false;
    double begin = now();
    require(retnet_context_create_from_device(device, &(retnet_context_desc){.log = log_message}, &s->context),
            "making a context");
    double context = now();
    if (s->blob_size) require(retnet_context_pipeline_cache_load(s->context, s->blob, s->blob_size, &accepted), "blob");
    double blob = now();
    if (s->model)
        require(retnet_model_load(s->context, &(retnet_model_desc){.path = s->model}, &s->loaded), s->model);
    else
        require(retnet_model_synthesize(s->context, s->shape, RETNET_WEIGHTS_F16, &s->loaded), s->shape);
    double model = now();
    prepare(s);
    double end = now();
    printf("%-4s %s context %7.1f ms, blob %6.1f, kernels %7.1f: %7.1f ms; model beside that %8.1f ms\n",
           accepted ? "warm" : "cold", device ? "host's" : "own   ", context - begin, blob - context, end - model,
           end - model + blob - begin, model - blob);
    keep_blob(s);
    retnet_model_destroy(s->loaded);
    retnet_context_destroy(s->context);
}

int main(int argc, char **argv)
{
    startup s = {.shape = "1.3b", .threads = 1};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value && strcmp(argv[i], "--shape") == 0)
            s.shape = value;
        else if (value && strcmp(argv[i], "--model") == 0)
            s.model = value;
        else if (value && strcmp(argv[i], "--threads") == 0)
            s.threads = (uint32_t)strtoul(value, NULL, 10);
        else if (value && strcmp(argv[i], "--blob") == 0)
            s.blob_path = value;
        else
            exit((fprintf(stderr, "startup: %s is unknown or lacks a value; see the top of startup.c\n", argv[i]), 2));
    }
    if (s.threads < 1 || s.threads > MAX_THREADS) exit((fprintf(stderr, "startup: 1 to %d threads\n", MAX_THREADS), 2));
    read_blob(&s);
    start(&s, NULL);
    start(&s, NULL);
    retnet_context *owner = NULL;
    retnet_vulkan_device device;
    require(retnet_context_create(NULL, &owner), "making a device");
    retnet_vulkan_get(owner, &device);
    start(&s, &device);
    retnet_context_destroy(owner);
    printf("blob %zu bytes, %u thread(s)\n", s.blob_size, s.threads);
    free(s.blob);
    return EXIT_SUCCESS;
}
