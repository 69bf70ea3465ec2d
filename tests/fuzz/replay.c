/* replay.c: runs a target on the files of the given folders, once each, where there is no libFuzzer. */
#include "fuzz/fuzz.h"

#include <dirent.h>

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    FUZZ_REQUIRE(file);
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof data, file);
    FUZZ_REQUIRE(!ferror(file) && size < sizeof data);
    fclose(file);
    uint8_t *exact = malloc(size > 0 ? size : 1);
    FUZZ_REQUIRE(exact);
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int count, char **folders)
{
    size_t runs = 0;
    for (int i = 1; i < count; i++) {
        DIR *folder = opendir(folders[i]);
        FUZZ_REQUIRE(folder);
        for (struct dirent *entry; (entry = readdir(folder));) {
            char path[1024];
            if (entry->d_name[0] == '.') continue;
            FUZZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s/%s", folders[i], entry->d_name) < sizeof path);
            run_file(path);
            runs++;
        }
        closedir(folder);
    }
    printf("%zu inputs\n", runs);
    return runs > 0 ? 0 : 1; /* a folder of none would test nothing */
}
