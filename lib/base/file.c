/* file.c: files mapped into memory, and written whole. */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#endif

#include "base/base.h"

#include <stdio.h>
#include <string.h>

/* The name under which a file is written before it takes the place of an older one, or NULL. */
static char *rn_temporary_path(rn_host *host, const char *path)
{
    size_t length = strlen(path) + sizeof(".part");
    char *temporary = rn_alloc(host, length, 1);
    if (temporary) snprintf(temporary, length, "%s.part", path);
    return temporary;
}

#ifdef _WIN32

#include <windows.h>

enum { RN_PATH_UNITS = 4096 };

static bool rn_wide_path(const char *path, wchar_t wide[RN_PATH_UNITS])
{
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, RN_PATH_UNITS) > 0;
}

bool rn_path_exists(const char *path)
{
    wchar_t wide[RN_PATH_UNITS];
    return rn_wide_path(path, wide) && GetFileAttributesW(wide) != INVALID_FILE_ATTRIBUTES;
}

static retnet_result rn_fail_windows(rn_host *host, const char *path, const char *what)
{
    return rn_fail(host, RETNET_ERROR_FILE, "%s: %s failed with Windows error %lu", path, what, GetLastError());
}

retnet_result rn_file_map_open(rn_host *host, const char *path, rn_file_map *map)
{
    *map = (rn_file_map){0};
    wchar_t wide[RN_PATH_UNITS];
    if (!rn_wide_path(path, wide)) return rn_fail(host, RETNET_ERROR_FILE, "%s: not a valid path", path);
    HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) return rn_fail_windows(host, path, "opening");

    retnet_result result = RETNET_OK;
    HANDLE mapping = NULL;
    LARGE_INTEGER size;
    if (GetFileType(file) != FILE_TYPE_DISK) {
        result = rn_fail(host, RETNET_ERROR_FILE, "%s: is not a regular file", path);
        goto done;
    }
    if (!GetFileSizeEx(file, &size)) {
        result = rn_fail_windows(host, path, "asking for the size");
        goto done;
    }
    if (size.QuadPart == 0) goto done;
    if ((uint64_t)size.QuadPart > SIZE_MAX) {
        result = rn_fail(host, RETNET_ERROR_LIMIT, "%s: too large to map in this process", path);
        goto done;
    }
    mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    const void *data = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) : NULL;
    if (!data) {
        result = rn_fail_windows(host, path, "mapping");
        goto done;
    }
    map->data = data;
    map->size = (uint64_t)size.QuadPart;
done: /* the view keeps the file open */
    if (mapping) CloseHandle(mapping);
    CloseHandle(file);
    return result;
}

void rn_file_map_close(rn_file_map *map)
{
    if (map->data) UnmapViewOfFile(map->data);
    *map = (rn_file_map){0};
}

static bool rn_write_all(HANDLE file, const uint8_t *data, size_t size)
{
    const size_t most = 1u << 30; /* one write takes 32 bits of length */
    while (size > 0) {
        DWORD written, part = (DWORD)(size < most ? size : most);
        if (!WriteFile(file, data, part, &written, NULL) || written == 0) return false;
        data += written;
        size -= written;
    }
    return true;
}

retnet_result rn_file_write(rn_host *host, const char *path, const void *data, size_t size)
{
    wchar_t wide[RN_PATH_UNITS], wide_temporary[RN_PATH_UNITS];
    char *temporary = rn_temporary_path(host, path);
    if (!temporary) return rn_fail_memory(host, "path", strlen(path));
    retnet_result result = RETNET_OK;
    HANDLE file = INVALID_HANDLE_VALUE;
    if (!rn_wide_path(path, wide) || !rn_wide_path(temporary, wide_temporary)) {
        result = rn_fail(host, RETNET_ERROR_FILE, "%s: not a valid path", path);
        goto done;
    }
    file = CreateFileW(wide_temporary, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        result = rn_fail_windows(host, temporary, "creating");
        goto done;
    }
    if (!rn_write_all(file, data, size)) result = rn_fail_windows(host, temporary, "writing");
    CloseHandle(file);
    if (result == RETNET_OK && !MoveFileExW(wide_temporary, wide, MOVEFILE_REPLACE_EXISTING))
        result = rn_fail_windows(host, path, "replacing");
    if (result != RETNET_OK) DeleteFileW(wide_temporary);
done:
    rn_free(host, temporary);
    return result;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool rn_path_exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

/* `what` failed: "cannot be created: ", or "". */
static retnet_result rn_fail_errno(rn_host *host, const char *path, const char *what, int error)
{
    char text[128];
    if (strerror_r(error, text, sizeof(text)) != 0) strcpy(text, "unknown error");
    return rn_fail(host, RETNET_ERROR_FILE, "%s: %s%s", path, what, text);
}

retnet_result rn_file_map_open(rn_host *host, const char *path, rn_file_map *map)
{
    *map = (rn_file_map){0};
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait at a FIFO */
    if (file < 0) return rn_fail_errno(host, path, "", errno);

    retnet_result result = RETNET_OK;
    struct stat status;
    if (fstat(file, &status) != 0) {
        result = rn_fail_errno(host, path, "", errno);
        goto done;
    }
    if (!S_ISREG(status.st_mode)) {
        const char *what = S_ISDIR(status.st_mode) ? "is a directory" : "is not a regular file";
        result = rn_fail(host, RETNET_ERROR_FILE, "%s: %s", path, what);
        goto done;
    }
    if (status.st_size == 0) goto done;
    if ((uint64_t)status.st_size > SIZE_MAX) {
        result = rn_fail(host, RETNET_ERROR_LIMIT, "%s: too large to map in this process", path);
        goto done;
    }
    void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
        result = rn_fail_errno(host, path, "", errno);
        goto done;
    }
    map->data = data;
    map->size = (uint64_t)status.st_size;
done: /* the mapping keeps the file open */
    close(file);
    return result;
}

void rn_file_map_close(rn_file_map *map)
{
    if (map->data) munmap((void *)(uintptr_t)map->data, (size_t)map->size);
    *map = (rn_file_map){0};
}

retnet_result rn_file_write(rn_host *host, const char *path, const void *data, size_t size)
{
    char *temporary = rn_temporary_path(host, path);
    if (!temporary) return rn_fail_memory(host, "path", strlen(path));
    retnet_result result = RETNET_OK;
    FILE *file = fopen(temporary, "wb");
    if (!file) {
        result = rn_fail_errno(host, temporary, "cannot be created: ", errno);
        goto done;
    }
    bool written = fwrite(data, 1, size, file) == size;
    if (fclose(file) != 0 || !written) result = rn_fail_errno(host, temporary, "cannot be written: ", errno);
    if (result == RETNET_OK && rename(temporary, path) != 0)
        result = rn_fail_errno(host, path, "cannot be replaced: ", errno);
    if (result != RETNET_OK) remove(temporary);
done:
    rn_free(host, temporary);
    return result;
}

#endif
