/* cancel: how long a call goes on after it was cancelled, which is to be within one submit. Cancels the reading of a
 * prompt again and again, at random moments, finishes it each time, and compares the logits of one more token with
 * those of a reading that nobody cancelled (that states are the same to the bit is what session_cancel tests).
 *
 *     cancel [--shape 1.3b | --model DIR] [--budget-us N] [--prompt N] [--repeat N]
 *
 * A device that others share may become slower at any time. The budget of a round, which is in device time, is taken to
 * have lasted as much longer as the round's own reading did, by the fastest of the readings before.
 *
 * Exit status: 0 success, 1 a call failed, other logits, or half of the cancels took longer than the budget. */
#include <retnet/retnet.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPEAT = 10000 };

typedef struct bench {
    const char *shape, *model;
    uint32_t budget_us, count, repeat;
    retnet_context *context;
    retnet_model *loaded;
    retnet_session *session;
    int32_t *tokens;                /* [count + 1] */
    float *logits, *expected;       /* [vocabulary] */
    double whole, delay, cancelled; /* seconds: the fastest whole reading, until the cancel, and when that was */
    uint32_t vocabulary, late;      /* late: calls that were over before they were cancelled */
} bench;

typedef struct figure {
    double seconds; /* from the cancel to the end of the call */
    double slower;  /* the round's reading over the fastest, at least 1 */
} figure;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void log_message(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) fprintf(stderr, "cancel: %s\n", message);
}

static void require(retnet_result result, const char *what)
{
    if (result == RETNET_OK) return;
    fprintf(stderr, "cancel: %s: %s\n", what, retnet_result_text(result));
    exit(EXIT_FAILURE);
}

static void open_session(bench *b)
{
    retnet_context_desc desc = {.log = log_message, .submit_budget_us = b->budget_us};
    retnet_model_info info;
    require(retnet_context_create(&desc, &b->context), "making a context");
    if (b->model)
        require(retnet_model_load(b->context, &(retnet_model_desc){.path = b->model}, &b->loaded), b->model);
    else
        require(retnet_model_synthesize(b->context, b->shape, RETNET_WEIGHTS_AS_STORED, &b->loaded), b->shape);
    require(retnet_session_create(b->loaded, NULL, &b->session), "making a session");
    retnet_model_get_info(b->loaded, &info);
    b->vocabulary = info.vocabulary_size;
    b->tokens = malloc((b->count + 1) * sizeof *b->tokens);
    b->logits = malloc(b->vocabulary * sizeof *b->logits);
    b->expected = malloc(b->vocabulary * sizeof *b->expected);
    if (!b->tokens || !b->logits || !b->expected) require(RETNET_ERROR_OUT_OF_HOST_MEMORY, "a prompt");
    for (uint32_t i = 0; i <= b->count; i++) b->tokens[i] = (int32_t)(i * 7919u % b->vocabulary);
}

static void close_session(bench *b)
{
    retnet_session_destroy(b->session);
    retnet_model_destroy(b->loaded);
    retnet_context_destroy(b->context);
    free(b->tokens);
    free(b->logits);
    free(b->expected);
}

/* From where the slot stands to the prompt's end. */
static retnet_result read_rest(bench *b)
{
    uint64_t at = retnet_session_position(b->session, 0);
    if (at == b->count) return RETNET_OK; /* all was read when the cancel came */
    return retnet_session_run(b->session, &(retnet_span){.tokens = b->tokens + at, .count = b->count - at}, 1);
}

static void read_last(bench *b, float *logits)
{
    retnet_span span = {.tokens = b->tokens + b->count, .count = 1, .last_logits = logits};
    retnet_result result;
    while ((result = retnet_session_run(b->session, &span, 1)) == RETNET_CANCELLED) {} /* a late one */
    require(result, "reading the last token");
}

static void read_undisturbed(bench *b)
{
    for (int i = 0; i < 3; i++) { /* the library learns what slices take */
        require(retnet_session_reset(b->session, 0), "resetting");
        double begin = now();
        require(read_rest(b), "reading");
        double seconds = now() - begin;
        if (i == 0 || seconds < b->whole) b->whole = seconds;
        read_last(b, b->expected);
    }
}

static void *cancel_later(void *user)
{
    bench *b = user;
    struct timespec pause = {(time_t)b->delay, (long)((b->delay - (double)(time_t)b->delay) * 1e9)};
    nanosleep(&pause, NULL);
    b->cancelled = now();
    retnet_session_cancel(b->session);
    return NULL;
}

static figure cancel_once(bench *b, uint32_t number)
{
    pthread_t thread;
    b->delay = b->whole * 0.9 * ((number * 0.618034) - (double)(uint32_t)(number * 0.618034));
    require(retnet_session_reset(b->session, 0), "resetting");
    if (pthread_create(&thread, NULL, cancel_later, b) != 0) require(RETNET_ERROR_OUT_OF_HOST_MEMORY, "a thread");
    double begin = now();
    retnet_result result = read_rest(b);
    double end = now(), reading = end - begin;
    pthread_join(thread, NULL);
    b->late += result == RETNET_OK;
    if (result != RETNET_CANCELLED) require(result, "reading");
    begin = now();
    while (result == RETNET_CANCELLED) result = read_rest(b);
    require(result, "going on");
    reading += now() - begin;
    read_last(b, b->logits);
    return (figure){.seconds = fmax(end - b->cancelled, 0), .slower = fmax(reading / b->whole, 1)};
}

static int compare(const void *a, const void *b)
{
    double x = ((const figure *)a)->seconds, y = ((const figure *)b)->seconds;
    return (x > y) - (x < y);
}

/* Sums in another order may differ in their last bits. */
static bool is_same(const bench *b)
{
    float largest = 0, error = 0;
    for (uint32_t i = 0; i < b->vocabulary; i++) {
        largest = fmaxf(largest, fabsf(b->expected[i]));
        error = fmaxf(error, fabsf(b->logits[i] - b->expected[i]));
    }
    return error <= 0.01f * largest;
}

static bool measure(bench *b)
{
    figure *figures = malloc(b->repeat * sizeof *figures);
    double budget = 1e-6 * b->budget_us, slowest = 1;
    uint32_t beyond = 0;
    bool same = true;
    if (!figures) require(RETNET_ERROR_OUT_OF_HOST_MEMORY, "figures");
    for (uint32_t i = 0; i < b->repeat; i++) {
        figures[i] = cancel_once(b, i + 1);
        same &= is_same(b);
        beyond += figures[i].seconds > budget * figures[i].slower;
        slowest = fmax(slowest, figures[i].slower);
    }
    qsort(figures, b->repeat, sizeof *figures, compare);
    printf("prompt of %u: %.1f ms, in the slowest round %.2f times that; submit budget %.1f ms; from cancel to return: "
           "p50 %.2f, p90 %.2f, most %.2f ms; %u of %u longer than the budget, %u calls were over before\n",
           b->count, 1e3 * b->whole, slowest, 1e3 * budget, 1e3 * figures[b->repeat / 2].seconds,
           1e3 * figures[b->repeat * 9 / 10].seconds, 1e3 * figures[b->repeat - 1].seconds, beyond, b->repeat, b->late);
    if (!same) fprintf(stderr, "cancel: other logits after a cancel\n");
    if (2 * beyond > b->repeat) fprintf(stderr, "cancel: half of the cancels took longer than the budget\n");
    free(figures);
    return same && 2 * beyond <= b->repeat;
}

static bool parse_number(const char *option, const char *text, uint32_t high, uint32_t *number)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < 1 || value > high) {
        fprintf(stderr, "cancel: %s %s: expected a number from 1 to %u\n", option, text, high);
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

static bool parse(bench *b, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool good = value != NULL;
        if (value && strcmp(argv[i], "--shape") == 0)
            b->shape = value;
        else if (value && strcmp(argv[i], "--model") == 0)
            b->model = value;
        else if (value && strcmp(argv[i], "--budget-us") == 0)
            good = parse_number(argv[i], value, 10000000, &b->budget_us);
        else if (value && strcmp(argv[i], "--prompt") == 0)
            good = parse_number(argv[i], value, 10000000, &b->count);
        else if (value && strcmp(argv[i], "--repeat") == 0)
            good = parse_number(argv[i], value, MAX_REPEAT, &b->repeat);
        else
            good =
                (fprintf(stderr, "cancel: %s is unknown or lacks a value; see the top of cancel.c\n", argv[i]), false);
        if (!good) return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    bench b = {.shape = "1.3b", .budget_us = 8000, .count = 8192, .repeat = 50};
    if (!parse(&b, argc, argv)) return 2;
    open_session(&b);
    read_undisturbed(&b);
    bool good = measure(&b);
    close_session(&b);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
