/* hello: loads a model and prints its answer to a prompt. */
#include <retnet/retnet.h>
#include <retnet/text.h>

#include <stdio.h>
#include <string.h>

static void log_message(void *user, retnet_log_level level, const char *message)
{
    (void)user;
    if (level == RETNET_LOG_ERROR) fprintf(stderr, "%s\n", message);
}

static bool print_token(void *stream, uint32_t slot, int32_t token)
{
    const char *text;
    size_t size;
    (void)slot;
    if (retnet_text_stream_add(stream, token, &text, &size) != RETNET_OK) return false;
    fwrite(text, 1, size, stdout);
    return fflush(stdout) == 0;
}

int main(int count, char **arguments)
{
    const char *directory = count > 1 ? arguments[1] : "samples/chat/model";
    const char *prompt = count > 2 ? arguments[2] : "<s><|user|>Hello! Who are you?<|bot|>";
    char path[1024];
    snprintf(path, sizeof path, "%s/tokenizer.model", directory);

    retnet_context *context = NULL;
    retnet_model *model = NULL;
    retnet_session *session = NULL;
    retnet_tokenizer *tokenizer = NULL;
    retnet_text_stream *stream = NULL;
    int32_t tokens[512];
    size_t length;
    retnet_result result = retnet_context_create(&(retnet_context_desc){.log = log_message}, &context);
    if (!result) result = retnet_model_load(context, &(retnet_model_desc){.path = directory}, &model);
    if (!result) result = retnet_session_create(model, NULL, &session);
    if (!result) result = retnet_tokenizer_load(path, NULL, 0, &tokenizer);
    if (!result) result = retnet_text_stream_create(tokenizer, &stream);
    if (!result) result = retnet_tokenizer_encode(tokenizer, prompt, strlen(prompt), true, tokens, 512, &length);
    if (!result) result = retnet_session_run(session, &(retnet_span){.tokens = tokens, .count = length}, 1);
    if (!result) {
        /* The answer ends where the user's next turn or the end of the text would begin. */
        int32_t ends[] = {retnet_tokenizer_piece_id(tokenizer, "<|user|>"),
                          retnet_tokenizer_piece_id(tokenizer, "<|end|>")};
        retnet_generation generation = {
            .end_tokens = ends, .end_token_count = 2, .max_tokens = 100, .token = print_token, .token_user = stream};
        result = retnet_session_generate(session, &generation);
        putchar('\n');
    }
    if (result) fprintf(stderr, "hello: %s\n", retnet_result_text(result));

    retnet_text_stream_destroy(stream);
    retnet_tokenizer_destroy(tokenizer);
    retnet_session_destroy(session);
    retnet_model_destroy(model);
    retnet_context_destroy(context);
    return result ? 1 : 0;
}
