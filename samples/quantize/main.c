/* quantize: makes a checkpoint of half the size or less by storing each weight matrix in eight or four bits.
 *
 *   quantize [--format q8|q4] IN_DIR OUT_DIR
 *
 * reads a checkpoint directory of any kind that the library loads, and writes OUT_DIR/model.safetensors, config.json
 * and, where there is one, tokenizer.model. The library loads OUT_DIR like any other checkpoint. README.md defines the
 * formats.
 */
#include "output.h"

#include "model/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef _WIN32
#include <direct.h>
#endif

static const char usage[] = "usage: quantize [--format q8|q4] IN_DIR OUT_DIR\n"
                            "\n"
                            "Writes the checkpoint in IN_DIR to OUT_DIR with its weight matrices in 8 or 4 bits.\n"
                            "\n"
                            "  --format q8  8 bits, in blocks of 32 with one half-precision scale (the default)\n"
                            "  --format q4  4 bits, in such blocks\n"
                            "  --help       this text\n";

typedef struct options {
    const char *input, *output;
    const block_format *format;
} options;

static void log_message(void *user, retnet_log_level level, const char *message)
{
    (void)user, (void)level;
    fprintf(stderr, "quantize: %s\n", message);
}

/* One line that is drawn anew whenever the percentage changes. */
static void show_progress(uint64_t done, uint64_t total)
{
    enum { WIDTH = 40 };
    static int shown = -1;
    int percent = (int)(done * 100 / total);
    if (percent == shown || !isatty(STDERR_FILENO)) return;
    shown = percent;
    char bar[WIDTH + 1] = "";
    for (int i = 0; i < WIDTH; i++) bar[i] = i < percent * WIDTH / 100 ? '#' : '.';
    fprintf(stderr, "\r[%s] %3d %%%s", bar, percent, percent == 100 ? "\n" : "");
}

/* ---- Files ------------------------------------------------------------------------------------------------------ */

static bool fail_file(const char *path)
{
    fprintf(stderr, "quantize: %s: %s\n", path, strerror(errno));
    return false;
}

static bool make_directory(const char *path)
{
#ifdef _WIN32
    int result = _mkdir(path);
#else
    int result = mkdir(path, 0777);
#endif
    return result == 0 || errno == EEXIST || fail_file(path);
}

/* A file that is written under another name and takes its own when it is whole. */
typedef struct new_file {
    char *path, *temporary;
    FILE *file;
} new_file;

static bool new_file_open(rn_host *host, const char *directory, const char *name, new_file *out)
{
    char temporary[64];
    snprintf(temporary, sizeof(temporary), ".%s.%ld", name, (long)getpid());
    out->path = rn_path_join(host, directory, name);
    out->temporary = rn_path_join(host, directory, temporary);
    if (!out->path || !out->temporary) return false;
    out->file = fopen(out->temporary, "wb");
    return out->file || fail_file(out->temporary);
}

/* Keeps the file if `good`, and leaves nothing behind if not. */
static bool new_file_close(rn_host *host, new_file *out, bool good)
{
    if (out->file) {
        if (fclose(out->file) != 0 && good) good = fail_file(out->temporary);
#ifdef _WIN32
        if (good) remove(out->path); /* rename does not replace there */
#endif
        if (good && rename(out->temporary, out->path) != 0) good = fail_file(out->path);
        if (!good) remove(out->temporary);
    }
    rn_free(host, out->path);
    rn_free(host, out->temporary);
    return good;
}

static bool copy_file(rn_host *host, const options *options, const char *name)
{
    char *path = rn_path_join(host, options->input, name);
    rn_file_map map = {0};
    new_file copy = {0};
    bool good = path && rn_file_map_open(host, path, &map) == RETNET_OK;
    good = good && new_file_open(host, options->output, name, &copy);
    if (good && map.size > 0 && fwrite(map.data, 1, (size_t)map.size, copy.file) != map.size)
        good = fail_file(copy.temporary);
    good = new_file_close(host, &copy, good);
    rn_file_map_close(&map);
    rn_free(host, path);
    return good;
}

static bool file_exists(rn_host *host, const char *directory, const char *name)
{
    char *path = rn_path_join(host, directory, name);
    bool exists = path && rn_path_exists(path);
    rn_free(host, path);
    return exists;
}

/* ---- The checkpoint --------------------------------------------------------------------------------------------- */

/* In a checkpoint that the library accepted, whatever has two dimensions is a matrix, and the rest are vectors. */
static bool is_matrix(const rn_tensor *tensor)
{
    return tensor->rank == 2;
}

/* Lists what to write, wide elements first: every tensor is then aligned to its elements. */
static output_tensor *plan(const rn_tensor_set *tensors, size_t *count)
{
    size_t inputs = rn_tensor_set_count(tensors);
    output_tensor *outputs = calloc(2 * inputs + 1, sizeof(*outputs));
    *count = 0;
    for (uint32_t size = 4; outputs && size >= 1; size /= 2) {
        for (size_t i = 0; i < inputs; i++) {
            const rn_tensor *tensor = rn_tensor_set_at(tensors, i);
            if (is_matrix(tensor) && size == 2) outputs[(*count)++] = (output_tensor){tensor, OUTPUT_SCALES};
            if (is_matrix(tensor) && size == 1) outputs[(*count)++] = (output_tensor){tensor, OUTPUT_VALUES};
            if (!is_matrix(tensor) && rn_dtype_size(tensor->dtype) == size)
                outputs[(*count)++] = (output_tensor){tensor, OUTPUT_COPY};
        }
    }
    return outputs;
}

static bool can_quantize(const rn_tensor_set *tensors)
{
    for (size_t i = 0; i < rn_tensor_set_count(tensors); i++) {
        const rn_tensor *tensor = rn_tensor_set_at(tensors, i);
        if (!is_matrix(tensor) || (tensor->dtype != RN_DTYPE_I8 && tensor->dtype != RN_DTYPE_U8)) continue;
        fprintf(stderr, "quantize: %s: tensor %s has %d bits already\n", tensor->file, tensor->name,
                tensor->dtype == RN_DTYPE_I8 ? 8 : 4);
        return false;
    }
    return true;
}

static bool write_model(rn_host *host, const options *options, const rn_tensor_set *tensors)
{
    size_t count;
    output_tensor *outputs = plan(tensors, &count);
    new_file file = {0};
    bool good = outputs && new_file_open(host, options->output, "model.safetensors", &file);
    good = good && output_write(file.file, file.temporary, options->format, outputs, count, show_progress);
    good = new_file_close(host, &file, good);
    free(outputs);
    return good;
}

static bool quantize(rn_host *host, const options *options)
{
    /* This also keeps IN_DIR and OUT_DIR from being the same. */
    if (file_exists(host, options->output, "model.safetensors") ||
        file_exists(host, options->output, "model.safetensors.index.json")) {
        fprintf(stderr, "quantize: %s holds a checkpoint already\n", options->output);
        return false;
    }
    rn_checkpoint checkpoint;
    if (rn_checkpoint_open(host, options->input, &checkpoint) != RETNET_OK) return false;
    bool good =
        can_quantize(checkpoint.tensors) && make_directory(options->output) && copy_file(host, options, "config.json");
    if (good && file_exists(host, options->input, "tokenizer.model"))
        good = copy_file(host, options, "tokenizer.model");
    good = good && write_model(host, options, checkpoint.tensors);
    rn_checkpoint_close(host, &checkpoint);
    return good;
}

/* ---- The program ------------------------------------------------------------------------------------------------ */

static int bad_usage(const char *what, const char *argument)
{
    fprintf(stderr, "quantize: %s%s\n\n%s", what, argument, usage);
    return 2;
}

int main(int argc, char **argv)
{
    options options = {.format = block_format_named("q8")};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) return fputs(usage, stdout) < 0;
        if (strcmp(argv[i], "--format") == 0) {
            if (++i == argc) return bad_usage("--format needs a value", "");
            options.format = block_format_named(argv[i]);
            if (!options.format) return bad_usage("unknown format ", argv[i]);
        } else if (argv[i][0] == '-') {
            return bad_usage("unknown option ", argv[i]);
        } else if (!options.input) {
            options.input = argv[i];
        } else if (!options.output) {
            options.output = argv[i];
        } else {
            return bad_usage("one argument too many: ", argv[i]);
        }
    }
    if (!options.output) return bad_usage("IN_DIR and OUT_DIR are needed", "");
    rn_host host;
    rn_host_init(&host, NULL, log_message, NULL);
    return quantize(&host, &options) ? 0 : 1;
}
