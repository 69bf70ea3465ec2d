/* A host program in C: calls into both libraries. A machine without a device is no failure here. */
#define VK_NO_PROTOTYPES
#include <retnet/retnet.h>
#include <retnet/vulkan.h>
#ifdef WITH_TEXT
#include <retnet/text.h>
#endif

#include <stdio.h>

int main(void)
{
    retnet_context *context;
    retnet_result result = retnet_context_create(NULL, &context);
    printf("retnet %d.%d.%d: %s\n", RETNET_VERSION_MAJOR, RETNET_VERSION_MINOR, RETNET_VERSION_PATCH,
           retnet_result_text(result));
    if (result != RETNET_OK && result != RETNET_ERROR_NO_DEVICE) return 1;
    retnet_context_destroy(context);
#ifdef WITH_TEXT
    retnet_tokenizer *tokenizer;
    char message[200];
    result = retnet_tokenizer_load("no such file", message, sizeof message, &tokenizer);
    if (result != RETNET_ERROR_FILE) return 1;
    printf("retnet_text: %s\n", message);
#endif
    return 0;
}
