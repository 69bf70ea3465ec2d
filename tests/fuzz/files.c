/* files.c: in place of lib/base/file.c by the linker's --wrap: files in memory, of which a million a minute can be
 * opened. */
#include "fuzz/fuzz.h"

enum { MAX_FILES = 8 };

static struct {
    const char *name;
    fuzz_piece content;
} files[MAX_FILES];
static size_t count;

void fuzz_file(const char *name, fuzz_piece content)
{
    FUZZ_REQUIRE(count < MAX_FILES);
    files[count].name = name;
    files[count++].content = content;
}

void fuzz_files_clear(void)
{
    for (size_t i = 0; i < count; i++) free(files[i].content.data);
    count = 0;
}

static const fuzz_piece *find(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i].name, name) == 0) return &files[i].content;
    return NULL;
}

bool __wrap_rn_path_exists(const char *path);
retnet_result __wrap_rn_file_map_open(rn_host *host, const char *path, rn_file_map *map);
void __wrap_rn_file_map_close(rn_file_map *map);

bool __wrap_rn_path_exists(const char *path)
{
    return find(path) != NULL;
}

retnet_result __wrap_rn_file_map_open(rn_host *host, const char *path, rn_file_map *map)
{
    *map = (rn_file_map){0};
    const fuzz_piece *content = find(path);
    if (!content) return rn_fail(host, RETNET_ERROR_FILE, "%s: no such file", path);
    if (content->size > 0) *map = (rn_file_map){content->data, content->size};
    return RETNET_OK;
}

void __wrap_rn_file_map_close(rn_file_map *map)
{
    *map = (rn_file_map){0};
}
