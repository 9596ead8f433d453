/* The area reader: hands questions to the backend, and keeps lists sorted. */
#include "drivers/area/area.h"

#include <stdlib.h>
#include <string.h>

struct area {
    const struct area_backend *backend;
    void *state;
};

struct area_handle {
    const struct area_backend *backend;
    void *file;
};

struct area *area_new(const struct area_backend *backend, void *state, struct err *err)
{
    struct area *area = own_alloc(sizeof *area, err);
    if (!area) {
        backend->close(state);
        return NULL;
    }
    area->backend = backend;
    area->state = state;
    return area;
}

void area_close(struct area *area)
{
    if (!area)
        return;
    area->backend->close(area->state);
    own_free(area);
}

bool area_path_is_valid(const char *path)
{
    if (!path || !*path || strlen(path) >= AREA_PATH_MAX)
        return false;
    for (const char *part = path;; part++) {
        size_t len = strcspn(part, "/");
        if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && memcmp(part, "..", 2) == 0))
            return false;
        part += len;
        if (!*part)
            return true;
    }
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct area_file *)a)->path, ((const struct area_file *)b)->path);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool area_list(struct area *area, size_t max_files, struct area_list *ret_list, struct err *err)
{
    AUTO(area_list) struct area_list list = {0};
    if (!area->backend->list(area->state, max_files, &list, err))
        return false;
    if (list.count)
        qsort(list.files, list.count, sizeof *list.files, compare_files);
    if (list.odd_count)
        qsort(list.odd, list.odd_count, sizeof *list.odd, compare_texts);
    *ret_list = list;
    list = (struct area_list){0};
    return true;
}

void area_list_done(struct area_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        own_free(list->files[i].path);
    for (size_t i = 0; i < list->odd_count; i++)
        own_free(list->odd[i]);
    own_free(list->files);
    own_free(list->odd);
    *list = (struct area_list){0};
}

bool area_list_add(struct area_list *list, const char *path, uint64_t size, uint64_t mtime_us,
                   struct err *err)
{
    if (!own_grow((void **)&list->files, &list->capacity, list->count, sizeof *list->files, err))
        return false;
    char *copy = own_strdup(path, err);
    if (!copy)
        return false;
    list->files[list->count++] =
        (struct area_file){.path = copy, .size = size, .mtime_us = mtime_us};
    return true;
}

bool area_list_add_odd(struct area_list *list, const char *path, struct err *err)
{
    if (!own_grow((void **)&list->odd, &list->odd_capacity, list->odd_count, sizeof *list->odd,
                  err))
        return false;
    char *copy = own_strdup(path, err);
    if (!copy)
        return false;
    list->odd[list->odd_count++] = copy;
    return true;
}

struct area_handle *area_file_open(struct area *area, const char *path, struct err *err)
{
    if (!area_path_is_valid(path)) {
        err_set(err, ERR_INVALID, "path '%.200s' does not name a file of an area",
                path ? path : "(null)");
        return NULL;
    }
    AUTO(mem) struct area_handle *handle = own_alloc(sizeof *handle, err);
    if (!handle)
        return NULL;
    handle->backend = area->backend;
    handle->file = area->backend->file_open(area->state, path, err);
    return handle->file ? TAKE(handle) : NULL;
}

void area_file_close(struct area_handle *file)
{
    if (!file)
        return;
    file->backend->file_close(file->file);
    own_free(file);
}

bool area_file_stat(struct area_handle *file, uint64_t *ret_size, uint64_t *ret_mtime_us,
                    struct err *err)
{
    return file->backend->file_stat(file->file, ret_size, ret_mtime_us, err);
}

ssize_t area_file_read(struct area_handle *file, void *to, size_t size, uint64_t offset,
                       struct err *err)
{
    return file->backend->file_read(file->file, to, size, offset, err);
}
