/* The area reader: the files of a live area, a snapshot or a clone, read-only. Backends: a local
 * directory; a directory of an NFS server (README.md); memory (tests). Paths are relative, bytes,
 * never followed out of the area. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>
#include <sys/types.h>

struct area;

struct area_file {
    char *path; /* relative, '/' between, no leading slash; owned by the list */
    uint64_t size;
    uint64_t mtime_us; /* UTC */
};

/* Plain files of the tree, sorted by path; links, sockets and devices are listed in `odd`. */
struct area_list {
    struct area_file *files;
    size_t count, capacity;
    char **odd;
    size_t odd_count, odd_capacity;
};

/* A reader over a directory of this host. The root itself may be reached through links. */
struct area *area_open_path(const char *root, struct err *err) MUST;

struct area_nfs_options {
    unsigned contexts;      /* connections, 1..8; 0: as the URL says, or 2 */
    unsigned request_bytes; /* of one READ, 0: 512 KiB; the server may allow less */
    unsigned in_flight;     /* READs under way on one connection, 1..4; 0: 4 */
    unsigned request_ms;    /* an answer comes within, or the connection is given up; 0: 10 s */
    unsigned operation_ms;  /* with all tries; 0: as the URL says, or 60 s */
    /* Asked several times a second; true ends what is under way with CANCELLED. NULL: never. */
    bool (*cancelled)(void *arg);
    void *arg;
};
/* A reader over nfs://HOST/PATH?KEYS (nfs_url.h), NFSv3, no mount and no root needed; `below`: a
 * relative path under it, NULL: none. A server that goes away is waited for, up to the bounds;
 * what fails then is transient. Errors name the server. options NULL: as above. */
struct area *area_nfs_open(const char *url, const char *below,
                           const struct area_nfs_options *options, struct err *err) MUST;
void area_close(struct area *area); /* NULL is fine */
OWN_DEFINE(area, struct area, area_close);

enum {
    AREA_DEPTH_MAX =
        32, /* directories below the root; deeper is LIMIT, so that nothing is missed */
    AREA_PATH_MAX = 4096, /* a longer path cannot be opened and is odd */
};

/* The whole tree; at most max_files (LIMIT above), AREA_DEPTH_MAX levels deep. */
bool area_list(struct area *area, size_t max_files, struct area_list *ret_list, struct err *err)
    MUST;
void area_list_done(struct area_list *list);
OWN_DEFINE_INPLACE(area_list, struct area_list, area_list_done);

struct area_handle;
struct area_handle *area_file_open(struct area *area, const char *path, struct err *err) MUST;
void area_file_close(struct area_handle *file);
OWN_DEFINE(area_handle, struct area_handle, area_file_close);
/* Size and time as they are now. */
bool area_file_stat(struct area_handle *file, uint64_t *ret_size, uint64_t *ret_mtime_us,
                    struct err *err) MUST;
/* Bytes read, fewer only at the end; -1 on error. Several threads may read one handle. */
ssize_t area_file_read(struct area_handle *file, void *to, size_t size, uint64_t offset,
                       struct err *err) MUST;

/* For backends: memory areas of the memory driver. */
struct area_backend {
    bool (*list)(void *state, size_t max_files, struct area_list *ret_list, struct err *err);
    void *(*file_open)(void *state, const char *path, struct err *err);
    bool (*file_stat)(void *file, uint64_t *ret_size, uint64_t *ret_mtime_us, struct err *err);
    ssize_t (*file_read)(void *file, void *to, size_t size, uint64_t offset, struct err *err);
    void (*file_close)(void *file);
    void (*close)(void *state);
};
/* Takes over state (also on failure). */
struct area *area_new(const struct area_backend *backend, void *state, struct err *err) MUST;
/* Appends a file to a list under construction; path is copied. */
bool area_list_add(struct area_list *list, const char *path, uint64_t size, uint64_t mtime_us,
                   struct err *err) MUST;
/* Appends something that is no plain file; path is copied. */
bool area_list_add_odd(struct area_list *list, const char *path, struct err *err) MUST;
/* True for what may name a file of an area: relative, no empty, "." or ".." part, below 4096. */
bool area_path_is_valid(const char *path);
