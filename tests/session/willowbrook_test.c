/* willowbrook_test.c: a trained model, end to end, against numbers computed independently in double precision: logits,
 * likelihood of held-out text, greedy continuations. Then the bundled 8-bit model: its logits against tests/reference,
 * and its likelihood of the same text.
 *
 *     test_session_willowbrook [brief | full]      some of the text; "full": all of it; "brief": none, and fewer rows
 * and continuations, for devices that take minutes for a page (tests/devices.sh). */
#include "reference/golden.h"
#include "reference/reference.h"
#include "retnet/text.h"
#include "session/session_test.h"

#define WILLOWBROOK SHARED "/model/willowbrook-30m"
#define BUNDLED "samples/chat/model"
#define SEPARATOR "\n\x1e\n"

enum { TEXT_START = 1, TEXT_END = 7, USER = 5, SOME_DOCUMENTS = 4, BRIEF_TOKENS = 70, BRIEF_PROMPT = 2 };

static bool brief;

/* ---- Logits ------------------------------------------------------------------------------------------------------ */

static void check_rows(retnet_session *session, const golden_file *golden)
{
    retnet_model_info info;
    retnet_model_get_info(retnet_session_model(session), &info);
    size_t vocabulary = info.vocabulary_size, T = golden_find(golden, "tokens")->elements;
    size_t rows = golden_find(golden, "rows")->elements;
    int32_t *tokens = golden_integers(golden, "tokens"), *row = golden_integers(golden, "rows");
    double *expected = golden_reals(golden, "logits"), worst = 0;
    REQUIRE(golden_find(golden, "logits")->elements == rows * vocabulary);
    if (brief) T = BRIEF_TOKENS;
    while (rows > 0 && (size_t)row[rows - 1] >= T) rows--; /* they are in order */
    REQUIRE(rows > 1);
    float *logits = session_test_alloc(T * vocabulary, sizeof *logits);
    CHECK_OK(retnet_session_reset(session, 0));
    session_test_read_all(session, 0, tokens, T, logits);
    for (size_t i = 0; i < rows * vocabulary; i++) {
        double error = fabs(logits[(size_t)row[i / vocabulary] * vocabulary + i % vocabulary] - expected[i]);
        if (!(error <= worst)) worst = error; /* also takes a NaN */
    }
    fprintf(stderr, "largest logit error of %zu rows: %g\n", rows, worst);
    CHECK_AT_MOST(worst, 2e-3);
    free(tokens);
    free(row);
    free(expected);
    free(logits);
}

static void check_greedy(retnet_session *session, const json_t *entry)
{
    size_t prompt_count, count;
    double margin = json_number_value(golden_member(entry, "min_margin"));
    int32_t *prompt = golden_json_integers(entry, "prompt_ids", &prompt_count);
    int32_t *expected = golden_json_integers(entry, "greedy_ids", &count);
    int32_t *tokens = session_test_alloc(count, sizeof *tokens);
    const int32_t ends[] = {USER, TEXT_END};
    uint32_t made = 0;
    if (margin <= 0.01) fprintf(stderr, "a continuation of margin %g is not compared\n", margin);
    CHECK_OK(retnet_session_reset(session, 0));
    session_test_read_last(session, 0, prompt, prompt_count, NULL);
    retnet_generation generation = {.end_tokens = ends, .end_token_count = 2, .max_tokens = (uint32_t)count};
    generation.tokens = tokens;
    generation.token_counts = &made;
    CHECK_OK(retnet_session_generate(session, &generation));
    if (margin > 0.01) CHECK_INT(made, count);
    for (size_t i = 0; margin > 0.01 && i < made; i++) CHECK_INT(tokens[i], expected[i]);
    free(prompt);
    free(expected);
    free(tokens);
}

/* ---- Likelihood -------------------------------------------------------------------------------------------------- */

typedef struct heldout {
    char *text;
    retnet_tokenizer *tokenizer;
    const json_t *per_document; /* [[negative log-likelihood, tokens], ...] */
    size_t max_tokens;
} heldout;

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    REQUIRE(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    REQUIRE(size > 0);
    rewind(file);
    char *text = session_test_alloc((size_t)size + 1, 1);
    REQUIRE(fread(text, (size_t)size, 1, file) == 1);
    fclose(file);
    return text;
}

/* The document's tokens, between those of a text's start and end, cut to max_tokens. */
static size_t encode(const heldout *h, const char *text, size_t size, int32_t *tokens)
{
    size_t count = 0;
    tokens[0] = TEXT_START;
    CHECK_OK(retnet_tokenizer_encode(h->tokenizer, text, size, true, tokens + 1, size, &count));
    tokens[count + 1] = TEXT_END;
    return count + 2 < h->max_tokens ? count + 2 : h->max_tokens;
}

/* Sum of -ln p over a document; *scored is how many tokens that are. */
static double document_nll(const heldout *h, retnet_session *session, const char *text, size_t size, size_t *scored)
{
    int32_t *tokens = session_test_alloc(size + 2, sizeof *tokens);
    float *log_probs = session_test_alloc(size + 2, sizeof *log_probs);
    double nll = 0;
    size_t count = encode(h, text, size, tokens);
    CHECK_OK(retnet_session_reset(session, 0));
    retnet_span span = {.tokens = tokens, .count = count, .log_probs = log_probs};
    CHECK_OK(retnet_session_run(session, &span, 1));
    for (size_t i = 1; i < count; i++) nll -= log_probs[i];
    *scored = count - 1;
    free(tokens);
    free(log_probs);
    return nll;
}

static void check_nll(const heldout *h, retnet_session *session, size_t documents, double limit)
{
    double nll = 0, expected_nll = 0;
    size_t tokens = 0, document = 0;
    const char *text = h->text;
    for (; text && document < documents; document++) {
        const char *end = strstr(text, SEPARATOR);
        const json_t *expected = json_array_get(h->per_document, document);
        size_t scored;
        nll += document_nll(h, session, text, end ? (size_t)(end - text) : strlen(text), &scored);
        CHECK_INT(scored, json_integer_value(json_array_get(expected, 1)));
        expected_nll += json_number_value(json_array_get(expected, 0));
        tokens += scored;
        text = end ? end + strlen(SEPARATOR) : NULL;
    }
    CHECK_INT(document, documents);
    fprintf(stderr, "nll per token over %zu documents: %.6f, expected %.6f\n", documents, nll / (double)tokens,
            expected_nll / (double)tokens);
    CHECK_AT_MOST(fabs(nll - expected_nll) / (double)tokens, limit);
}

/* ---- The two models ---------------------------------------------------------------------------------------------- */

static void check_willowbrook(retnet_context *context, const heldout *h, const json_t *json, size_t documents)
{
    golden_file golden;
    golden_open(&golden, WILLOWBROOK "/reference.safetensors");
    retnet_model *model = session_test_model(context, WILLOWBROOK, RETNET_WEIGHTS_AS_STORED);
    retnet_session *session = session_test_session(model, 1, 0);
    const json_t *greedy = golden_member(json, "greedy");
    check_rows(session, &golden);
    REQUIRE(json_array_size(greedy) > 0);
    for (size_t i = 0; i < json_array_size(greedy); i++)
        if (!brief || i == BRIEF_PROMPT) check_greedy(session, json_array_get(greedy, i));
    if (!brief) check_nll(h, session, documents, 0.0005);
    retnet_session_destroy(session);
    retnet_model_destroy(model);
    golden_close(&golden);
}

/* The bundled model computes what its 8-bit weights say: this needs nothing from outside the repository. */
static void check_bundled_logits(retnet_session *session, const retnet_tokenizer *tokenizer)
{
    static const char text[] =
        "<|system|>You are Mara, the blacksmith of Willowbrook.<|user|>Hello! My name is Robin.<|bot|>";
    int32_t tokens[sizeof text + 1] = {TEXT_START};
    size_t count;
    CHECK_OK(retnet_tokenizer_encode(tokenizer, text, sizeof text - 1, true, tokens + 1, sizeof text, &count));
    count++;
    ref_sequence sequence;
    ref_model *reference = ref_model_open(BUNDLED);
    REQUIRE(reference);
    size_t vocabulary = reference->config.vocabulary;
    double *output = session_test_alloc(count * reference->config.hidden, sizeof *output), worst = 0;
    double *expected = session_test_alloc(count * vocabulary, sizeof *expected);
    float *logits = session_test_alloc(count * vocabulary, sizeof *logits);
    ref_sequence_init(reference, &sequence);
    ref_model_read(reference, &sequence, tokens, count, output);
    ref_model_logits(reference, output, count, expected);
    for (int singly = 0; singly < 2; singly++) {
        CHECK_OK(retnet_session_reset(session, 0));
        (singly ? session_test_read_singly : session_test_read_all)(session, 0, tokens, count, logits);
        for (size_t i = 0; i < count * vocabulary; i++) {
            double error = fabs(logits[i] - expected[i]);
            if (!(error <= worst)) worst = error;
        }
    }
    fprintf(stderr, "largest logit error of the bundled model: %g\n", worst);
    CHECK_AT_MOST(worst, 2e-3);
    free(sequence.states);
    ref_model_close(reference);
    free(output);
    free(expected);
    free(logits);
}

int main(int argc, char **argv)
{
    bool full = argc > 1 && strcmp(argv[1], "full") == 0, shared = session_test_exists(WILLOWBROOK "/reference.json");
    brief = argc > 1 && strcmp(argv[1], "brief") == 0;
    heldout h = {0};
    char message[256] = "";
    retnet_result result = retnet_tokenizer_load(BUNDLED "/tokenizer.model", message, sizeof message, &h.tokenizer);
    if (result != RETNET_OK) TEST_FAIL("%s", message);
    REQUIRE(result == RETNET_OK);
    retnet_context *context = session_test_context();
    retnet_model *bundled = session_test_model(context, BUNDLED, RETNET_WEIGHTS_AS_STORED);
    retnet_session *session = session_test_session(bundled, 1, 0);
    check_bundled_logits(session, h.tokenizer);
    if (shared) {
        json_t *json = golden_json(WILLOWBROOK "/reference.json");
        const json_t *description = golden_member(json, "heldout");
        h.text = read_text(WILLOWBROOK "/heldout.txt");
        h.per_document = golden_member(description, "per_document");
        h.max_tokens = (size_t)json_integer_value(golden_member(description, "max_tokens"));
        size_t documents = full ? json_array_size(h.per_document) : SOME_DOCUMENTS;
        if (!brief) check_nll(&h, session, documents, 0.01);
        check_willowbrook(context, &h, json, documents);
        json_decref(json);
        free(h.text);
    } else {
        fprintf(stderr, "%s is missing: compared the bundled model with the reference alone\n", WILLOWBROOK);
    }
    retnet_session_destroy(session);
    retnet_model_destroy(bundled);
    retnet_context_destroy(context);
    retnet_tokenizer_destroy(h.tokenizer);
    return test_failures || shared ? session_test_finish(test_failures) : TEST_SKIPPED;
}
