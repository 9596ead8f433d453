/* The store's objects: whole or not there, never changed, on a directory, an NFS server or an S3
 * bucket. Names are relative, '/' between, of [a-z0-9.-] parts. Every call may block; one io may be
 * used by many threads at once. Errors name the object and the backend; transient ones by code. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>
#include <sys/types.h>

struct io;

enum io_can {
    IO_CAN_LOCK = 1 << 0,  /* the backend itself refuses to delete until a time */
    IO_CAN_SPACE = 1 << 1, /* it tells how much room there is */
    IO_IS_REMOTE = 1 << 2, /* reads cost a round trip: read in large pieces, keep copies */
};

struct io_option {
    const char *key, *value; /* of the backend: io/README.md; secrets as file names, never values */
};
/* "/dir" (made when missing, parent must exist), "nfs://host/export/dir?...", "s3://bucket/prefix".
 * What an interrupted writer left under temporary names is removed by io_sweep alone. */
struct io *io_open(const char *url, const struct io_option *options, size_t count, struct err *err)
    MUST;
void io_close(struct io *io); /* NULL is fine */
OWN_DEFINE(io, struct io, io_close);
uint32_t io_abilities(const struct io *io);
const char *io_label(const struct io *io); /* for messages */

enum { IO_NAME_MAX = 128, IO_PUT_MAX = 64 << 20 };
enum io_put { IO_NEW, IO_REPLACE };
/* A small object, durable when it returns. IO_NEW: EXISTS when it is there, and of two writers at
 * once exactly one wins. IO_REPLACE: readers see the old or the new one, whole. A failed call whose
 * outcome is not known (a cut connection) says UNAVAILABLE or TIMEOUT: read it back. */
bool io_put(struct io *io, const char *name, const void *bytes, size_t len, enum io_put how,
            struct err *err) MUST;
/* A large one, appended in order; visible and durable only after io_finish (EXISTS when the name is
 * taken). One thread. io_abandon without a finish leaves nothing (or what io_sweep finds). */
struct io_writer;
struct io_writer *io_create(struct io *io, const char *name, struct err *err) MUST;
bool io_append(struct io_writer *writer, const void *bytes, size_t len, struct err *err) MUST;
bool io_finish(struct io_writer *writer, struct err *err)
    MUST;                                  /* frees the writer, also on error */
void io_abandon(struct io_writer *writer); /* NULL is fine */
OWN_DEFINE(io_writer, struct io_writer, io_abandon);

/* Bytes read, fewer only at the end; -1 on error, NOT_FOUND when there is none. */
ssize_t io_read(struct io *io, const char *name, void *to, size_t size, uint64_t offset,
                struct err *err) MUST;
/* A whole object, at most max (LIMIT above), owned, a NUL behind it. */
char *io_get(struct io *io, const char *name, size_t max, size_t *ret_len, struct err *err) MUST;
bool io_size(struct io *io, const char *name, uint64_t *ret_bytes, struct err *err) MUST;
/* NOT_FOUND the second time. DENIED while locked. */
bool io_delete(struct io *io, const char *name, struct err *err) MUST;

struct io_entry {
    char name[IO_NAME_MAX]; /* the last part */
    uint64_t bytes;         /* 0 for folders */
    bool folder;
};
struct io_list {
    struct io_entry *entries; /* sorted by name */
    size_t count, capacity;
};
/* What lies directly in a folder ("" the root); a missing folder is empty. Temporary names are
 * never shown. */
bool io_list(struct io *io, const char *folder, struct io_list *ret_list, struct err *err) MUST;
void io_list_done(struct io_list *list);
OWN_DEFINE_INPLACE(io_list, struct io_list, io_list_done);

/* The object cannot be deleted before `until_us` (UTC), whoever asks. Only extends. UNSUPPORTED
 * without IO_CAN_LOCK. */
bool io_lock(struct io *io, const char *name, uint64_t until_us, struct err *err) MUST;
/* UINT64_MAX: not known. */
bool io_space(struct io *io, uint64_t *ret_total, uint64_t *ret_free, struct err *err) MUST;
/* Removes unfinished writes (of this or a dead process) below a folder; how many. Only the owner of
 * the store calls it. */
bool io_sweep(struct io *io, const char *folder, uint32_t *ret_swept, struct err *err) MUST;

/* A backend's table; io.c checks names and arguments, adds context and injects faults. */
struct io_backend {
    const char *name;
    bool (*put)(void *state, const char *name, const void *bytes, size_t len, enum io_put how,
                struct err *err);
    void *(*create)(void *state, const char *name, struct err *err);
    bool (*append)(void *writer, const void *bytes, size_t len, struct err *err);
    bool (*finish)(void *writer, struct err *err); /* the writer is gone afterwards */
    void (*abandon)(void *writer);
    ssize_t (*read)(void *state, const char *name, void *to, size_t size, uint64_t offset,
                    struct err *err);
    bool (*size)(void *state, const char *name, uint64_t *ret_bytes, struct err *err);
    bool (*remove)(void *state, const char *name, struct err *err);
    bool (*list)(void *state, const char *folder, struct io_list *ret_list, struct err *err);
    bool (*lock)(void *state, const char *name, uint64_t until_us, struct err *err); /* or NULL */
    bool (*space)(void *state, uint64_t *ret_total, uint64_t *ret_free, struct err *err);
    bool (*sweep)(void *state, const char *folder, uint32_t *ret_swept, struct err *err);
    void (*close)(void *state);
};
/* Takes over state (also on failure). */
struct io *io_new(const struct io_backend *backend, uint32_t can, void *state, const char *label,
                  struct err *err) MUST;
/* For backends: appends an entry; io.c sorts. */
bool io_list_add(struct io_list *list, const char *name, uint64_t bytes, bool folder,
                 struct err *err) MUST;

/* Test hook: the nth call from now (of put, create, append, finish, read, size, delete, list) fails
 * with `code`, before or after it took effect. 0 turns it and the counting off; returns calls made.
 */
long io_fault(long nth, enum err_code code, bool after);
