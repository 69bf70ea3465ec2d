/* Mapped files, and what is not a file. */
#include "base/base.h"

#include "model/write_safetensors.h"
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

static char message[600];

static void record(void *user, retnet_log_level level, const char *text)
{
    (void)user, (void)level;
    snprintf(message, sizeof(message), "%s", text);
}

static void expect_refused(rn_host *host, const char *path, const char *why)
{
    rn_file_map map = {.size = 99};
    message[0] = '\0';
    CHECK_INT(rn_file_map_open(host, path, &map), RETNET_ERROR_FILE);
    CHECK(map.data == NULL && map.size == 0);
    if (!strstr(message, path) || !strstr(message, why))
        TEST_FAIL("message \"%s\" names not both \"%s\" and \"%s\"", message, path, why);
    rn_file_map_close(&map);
}

int main(void)
{
    rn_host host;
    rn_host_init(&host, NULL, record, NULL);
    char directory[64], path[128];
    test_make_directory(directory);

    test_path(path, directory, "full");
    uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)(i * 7);
    test_write_file(path, bytes, sizeof(bytes));
    rn_file_map map;
    REQUIRE(rn_file_map_open(&host, path, &map) == RETNET_OK);
    CHECK_INT(map.size, sizeof(bytes));
    CHECK(memcmp(map.data, bytes, sizeof(bytes)) == 0);
    rn_file_map_close(&map);
    CHECK(map.data == NULL && map.size == 0);
    rn_file_map_close(&map);

    if (geteuid() != 0) { /* root reads everything */
        CHECK_INT(chmod(path, 0), 0);
        expect_refused(&host, path, "ermission denied");
    }

    test_path(path, directory, "empty");
    test_write_file(path, "", 0);
    CHECK_INT(rn_file_map_open(&host, path, &map), RETNET_OK);
    CHECK(map.data == NULL && map.size == 0);
    rn_file_map_close(&map);

    test_path(path, directory, "absent");
    expect_refused(&host, path, "No such file or directory");
    test_path(path, directory, "pipe");
    CHECK_INT(mkfifo(path, 0600), 0);
    expect_refused(&host, path, "not a regular file"); /* and does not wait for a writer */
    expect_refused(&host, directory, "is a directory");

    test_remove_directory(directory);
    return test_finish();
}
