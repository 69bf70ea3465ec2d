/* text.h: the tokenizer that the text tests share. */
#ifndef RETNET_TESTS_TEXT_H
#define RETNET_TESTS_TEXT_H

#include "test.h"

#include "retnet/text.h"

#define SHARED_MODEL "../shared/model/willowbrook-30m/"

/* The bundled model's tokenizer, or the same one beside the checkout; exits as skipped if there is neither. */
static inline retnet_tokenizer *load_tokenizer(void)
{
    static const char *const paths[] = {"samples/chat/model/tokenizer.model", SHARED_MODEL "tokenizer.model"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        FILE *file = fopen(paths[i], "rb");
        if (!file) continue;
        fclose(file);
        retnet_tokenizer *tokenizer;
        char message[256];
        retnet_result result = retnet_tokenizer_load(paths[i], message, sizeof message, &tokenizer);
        if (result != RETNET_OK) TEST_FAIL("%s", message);
        REQUIRE(result == RETNET_OK);
        return tokenizer;
    }
    fprintf(stderr, "skipped: no tokenizer.model\n");
    exit(TEST_SKIPPED);
}

#endif
