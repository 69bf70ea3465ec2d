/* main.c: perplexity, how well a model foretells a text. */
#include "documents.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Documents side by side. Tokens of one call, between two looks at the progress: the first call's, doubled up to the
 * most while calls are short. Documents are cut at multiples of the library's chunk. */
enum { BATCH = 8, FIRST_PIECE = 512, MOST_PIECE = 8192, CHUNK = 64, BAR_WIDTH = 30 };

static const char help_text[] =
    "Usage: perplexity --model DIR [OPTION]... FILE\n"
    "Print how well a retentive network foretells the text of FILE: mean negative log-likelihood per token, in nats,\n"
    "and its exponential, the perplexity.\n"
    "\n"
    "      --model DIR          checkpoint with config.json, model.safetensors, tokenizer.model\n"
    "      --format FORMAT      keep the weights as f32, f16, bf16, q8 or q4; default: as stored\n"
    "      --max-tokens N       cut documents after N tokens; default 0: whole documents\n"
    "      --separator TEXT     a line that is TEXT and nothing else stands between two documents;\n"
    "                           default: the character U+001E. Without such a line the file is one document\n"
    "      --json               print the result as one JSON object\n"
    "      --device NAME|N      part of a Vulkan device's name, or its number from 1\n"
    "  -h, --help               this text\n"
    "      --version            the version\n"
    "\n"
    "A document is read as the model's first token, its text, and the model's end token; the first token is not "
    "scored.\n"
    "Names of control pieces in the text, such as <|user|>, are read as these pieces. Exit status: 0 success, 1 "
    "failure,\n"
    "2 bad usage.\n";

enum {
    OPTION_MODEL = 256,
    OPTION_FORMAT,
    OPTION_MAX_TOKENS,
    OPTION_SEPARATOR,
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, OPTION_MODEL},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"max-tokens", required_argument, NULL, OPTION_MAX_TOKENS},
    {"separator", required_argument, NULL, OPTION_SEPARATOR},
    {"json", no_argument, NULL, OPTION_JSON},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {0},
};

typedef struct program {
    const char *model_path, *file, *separator, *device_name;
    uint32_t device_number;
    retnet_weight_format format;
    size_t max_tokens;
    bool json;

    char message[512]; /* of the library's newest error */
    retnet_context *context;
    retnet_model *model;
    retnet_session *session;
    retnet_tokenizer *tokenizer;
    retnet_model_info info;
    documents documents;

    float log_probs[BATCH * MOST_PIECE];
    size_t piece;
    double nll; /* so far */
    size_t scored, read;
    double seconds;
} program;

/* ---- Options ---------------------------------------------------------------------------------------------------- */

static bool parse_whole(const char *text, uint64_t high, uint64_t *value)
{
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (errno || number > high) return false;
    *value = number;
    return true;
}

static bool parse_format(const char *text, retnet_weight_format *format)
{
    const char *name;
    for (int i = RETNET_WEIGHTS_F32; (name = retnet_weight_format_name((retnet_weight_format)i)); i++) {
        if (strcmp(name, text) != 0) continue;
        *format = (retnet_weight_format)i;
        return true;
    }
    return false;
}

static bool parse_device(const char *text, program *program)
{
    uint64_t number;
    if (!parse_whole(text, UINT32_MAX, &number)) {
        program->device_name = text;
        return *text;
    }
    program->device_number = (uint32_t)number;
    return number > 0;
}

static bool parse_value(program *program, int option, const char *text)
{
    uint64_t whole = 0;
    bool good = true;
    switch (option) {
    case OPTION_MODEL: program->model_path = text; break;
    case OPTION_FORMAT: good = parse_format(text, &program->format); break;
    case OPTION_MAX_TOKENS:
        good = parse_whole(text, SIZE_MAX, &whole) && whole != 1; /* of one token none is scored */
        program->max_tokens = (size_t)whole;
        break;
    case OPTION_SEPARATOR:
        good = *text && !strchr(text, '\n');
        program->separator = text;
        break;
    case OPTION_JSON: program->json = true; break;
    case OPTION_DEVICE: good = parse_device(text, program); break;
    }
    return good;
}

static int complain(const char *what, const char *which)
{
    fprintf(stderr, "perplexity: %s%s%s; see perplexity --help\n", what, *which ? " " : "", which);
    return 2;
}

/* -1: go on; otherwise the exit status. */
static int parse_options(program *program, int count, char **arguments)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(count, arguments, ":h", long_options, NULL)) != -1) {
        switch (option) {
        case 'h': fputs(help_text, stdout); return 0;
        case OPTION_VERSION:
            printf("perplexity (retnet) %d.%d.%d\n", RETNET_VERSION_MAJOR, RETNET_VERSION_MINOR, RETNET_VERSION_PATCH);
            return 0;
        case ':': return complain("a value is missing after", arguments[optind - 1]);
        case '?': return complain("bad option", arguments[optind - 1]);
        default:
            if (parse_value(program, option, optarg)) break;
            fprintf(stderr, "perplexity: \"%s\" is no value for %s; see perplexity --help\n", optarg,
                    arguments[optind - 2]);
            return 2;
        }
    }
    if (!program->model_path) return complain("--model is missing", "");
    if (optind == count) return complain("FILE is missing", "");
    program->file = arguments[optind++];
    return optind < count ? complain("unexpected argument", arguments[optind]) : -1;
}

/* ---- Progress --------------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void show_bar(const char *what, double part, const char *more)
{
    int filled = (int)(part * BAR_WIDTH);
    if (!isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%%s\033[K", what, filled, "##############################",
            BAR_WIDTH - filled, "", 100 * part, more);
}

static void clear_bar(void)
{
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

static bool on_load(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    show_bar("loading", total ? (double)done / (double)total : 0, "");
    return true;
}

static void show_scored(const program *program)
{
    char more[100] = "";
    if (program->scored)
        snprintf(more, sizeof more, "  %.4f nats a token, %.0f tokens/s", program->nll / (double)program->scored,
                 (double)program->read / program->seconds);
    show_bar("scoring", (double)program->read / (double)program->documents.tokens, more);
}

/* ---- Opening ---------------------------------------------------------------------------------------------------- */

static void on_log(void *user, retnet_log_level level, const char *message)
{
    program *program = user;
    if (level == RETNET_LOG_ERROR) snprintf(program->message, sizeof program->message, "%s", message);
    if (level == RETNET_LOG_WARNING) fprintf(stderr, "perplexity: %s\n", message);
}

static bool fail(const program *program, const char *what, retnet_result result)
{
    const char *detail = *program->message ? program->message : retnet_result_text(result);
    clear_bar();
    fprintf(stderr, "perplexity: %s: %s\n", what, detail);
    return false;
}

static bool open_model(program *program)
{
    retnet_context_desc context = {.log = on_log,
                                   .log_user = program,
                                   .device_name = program->device_name,
                                   .device_number = program->device_number};
    retnet_result result = retnet_context_create(&context, &program->context);
    if (result != RETNET_OK) return fail(program, "no device", result);
    retnet_model_desc model = {.path = program->model_path, .format = program->format, .progress = on_load};
    result = retnet_model_load(program->context, &model, &program->model);
    clear_bar();
    if (result != RETNET_OK) return fail(program, "cannot load the model", result);
    retnet_model_get_info(program->model, &program->info);
    result = retnet_session_create(program->model, &(retnet_session_desc){.slots = BATCH}, &program->session);
    return result == RETNET_OK || fail(program, "cannot open a session", result);
}

static bool open_text(program *program)
{
    char path[4096 + 32];
    snprintf(path, sizeof path, "%s/tokenizer.model", program->model_path);
    retnet_result result = retnet_tokenizer_load(path, program->message, sizeof program->message, &program->tokenizer);
    if (result != RETNET_OK) return fail(program, "cannot load the tokenizer", result);
    if (retnet_tokenizer_vocabulary_size(program->tokenizer) > program->info.vocabulary_size) {
        fprintf(stderr, "perplexity: %s has more pieces than the model\n", path);
        return false;
    }
    documents_desc desc = {.path = program->file,
                           .separator = program->separator,
                           .tokenizer = program->tokenizer,
                           .first_token = program->info.bos_token,
                           .end_token = program->info.eos_token,
                           .max_tokens = program->max_tokens};
    if (documents_read(&desc, &program->documents, program->message, sizeof program->message)) return true;
    fprintf(stderr, "perplexity: %s\n", program->message);
    return false;
}

/* ---- Scoring ---------------------------------------------------------------------------------------------------- */

/* A document in a slot: what is left of it, and where the likelihoods of its next piece go. */
typedef struct reader {
    const document *document;
    size_t read;
    float *log_probs; /* [MOST_PIECE] */
} reader;

/* The next piece of every document that is not at its end; the more documents, the shorter. False at the end of all. */
static bool next_pieces(reader *readers, size_t count, size_t piece, retnet_span *spans, size_t *span_count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) left += readers[i].read < readers[i].document->count;
    if (left == 0) return false;
    size_t most = piece / left / CHUNK * CHUNK;
    *span_count = 0;
    for (size_t i = 0; i < count; i++) {
        reader *r = &readers[i];
        size_t rest = r->document->count - r->read;
        if (rest == 0) continue;
        spans[(*span_count)++] = (retnet_span){.slot = (uint32_t)i,
                                               .tokens = r->document->tokens + r->read,
                                               .count = rest < most ? rest : most,
                                               .log_probs = r->log_probs};
    }
    return true;
}

static bool score_pieces(program *program, reader *readers, const retnet_span *spans, size_t count)
{
    double start = now();
    retnet_result result = retnet_session_run(program->session, spans, count);
    if (result != RETNET_OK) return fail(program, "cannot read the text", result);
    double seconds = now() - start;
    program->seconds += seconds;
    if (seconds < 0.25 && program->piece < MOST_PIECE) program->piece *= 2;
    for (size_t i = 0; i < count; i++) {
        reader *r = &readers[spans[i].slot];
        size_t first = r->read == 0; /* nothing came before a document's first token */
        for (size_t t = first; t < spans[i].count; t++) program->nll -= spans[i].log_probs[t];
        program->scored += spans[i].count - first;
        program->read += spans[i].count;
        r->read += spans[i].count;
    }
    return true;
}

/* Documents [first, first + count), one a slot. */
static bool score_batch(program *program, size_t first, size_t count)
{
    retnet_span spans[BATCH];
    reader readers[BATCH];
    size_t span_count;
    for (uint32_t i = 0; i < count; i++) {
        readers[i] = (reader){&program->documents.items[first + i], 0, program->log_probs + i * MOST_PIECE};
        retnet_result result = retnet_session_reset(program->session, i);
        if (result != RETNET_OK) return fail(program, "cannot empty a slot", result);
    }
    while (next_pieces(readers, count, program->piece, spans, &span_count)) {
        show_scored(program);
        if (!score_pieces(program, readers, spans, span_count)) return false;
    }
    return true;
}

static bool score(program *program)
{
    for (size_t first = 0; first < program->documents.count; first += BATCH) {
        size_t left = program->documents.count - first;
        if (!score_batch(program, first, left < BATCH ? left : BATCH)) return false;
    }
    clear_bar();
    return true;
}

static bool print_result(const program *program)
{
    double nll = program->nll / (double)program->scored, speed = (double)program->read / program->seconds;
    if (!isfinite(nll)) {
        fprintf(stderr, "perplexity: the likelihood is no number: the model's weights are damaged or too large\n");
        return false;
    }
    if (program->json) {
        printf("{\"nll_per_token\": %.9g, \"perplexity\": %.9g, \"tokens\": %zu, \"documents\": %zu, "
               "\"tokens_per_second\": %.1f}\n",
               nll, exp(nll), program->scored, program->documents.count, speed);
    } else {
        printf("nll per token  %.6f\n", nll);
        printf("perplexity     %.6g\n", exp(nll));
        printf("tokens         %zu of %zu document%s\n", program->scored, program->documents.count,
               program->documents.count == 1 ? "" : "s");
        printf("speed          %.1f tokens/s\n", speed);
    }
    if (fflush(stdout) == 0) return true;
    perror("perplexity: stdout");
    return false;
}

int main(int count, char **arguments)
{
    static program program = {.separator = "\x1e", .piece = FIRST_PIECE};
    int status = parse_options(&program, count, arguments);
    if (status >= 0) return status;
    bool good = open_model(&program) && open_text(&program) && score(&program) && print_result(&program);
    documents_free(&program.documents);
    retnet_session_destroy(program.session);
    retnet_tokenizer_destroy(program.tokenizer);
    retnet_model_destroy(program.model);
    retnet_context_destroy(program.context);
    return good ? 0 : 1;
}
