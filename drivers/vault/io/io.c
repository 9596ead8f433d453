/* The store's objects: names and arguments checked, errors named, faults injected, in one place. */
#include "drivers/vault/io/io.h"

#include "agent/base/str.h"
#include "drivers/vault/io/backends.h"
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct io {
    const struct io_backend *backend;
    void *state;
    char *label;
    uint32_t can;
};

struct io_writer {
    struct io *io;
    void *writer; /* the backend's; NULL once it failed */
    char name[IO_NAME_MAX];
};

/* ---- the registry ---- */

typedef struct io *io_open_fn(const char *url, const struct io_option *options, size_t count,
                              struct err *err);

static const struct {
    const char *prefix;
    io_open_fn *open; /* NULL: known by name, not built in */
} schemes[] = {
    {"/", io_posix_open},
    {"nfs://", io_nfs_open},
    {"s3://", io_s3_open},
};

struct io *io_open(const char *url, const struct io_option *options, size_t count, struct err *err)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (!str_starts(url, schemes[i].prefix))
            continue;
        if (schemes[i].open)
            return schemes[i].open(url, options, count, err);
        err_set(err, ERR_UNSUPPORTED, "store '%s': no backend for '%s' in this program", url,
                schemes[i].prefix);
        return NULL;
    }
    err_set(err, ERR_INVALID, "store '%.200s': neither a path from / nor nfs:// nor s3://", url);
    return NULL;
}

struct io *io_new(const struct io_backend *backend, uint32_t can, void *state, const char *label,
                  struct err *err)
{
    struct io *io = own_alloc(sizeof *io, err);
    char *copy = io ? own_strdup(label, err) : NULL;
    bool agrees =
        !(can & IO_CAN_LOCK) == !backend->lock && !(can & IO_CAN_SPACE) == !backend->space;
    if (copy && !agrees)
        err_set(err, ERR_INTERNAL, "backend '%s' does not do what it says", backend->name);
    if (!copy || !agrees) {
        own_free(copy);
        own_free(io);
        backend->close(state);
        return NULL;
    }
    *io = (struct io){.backend = backend, .state = state, .label = copy, .can = can};
    return io;
}

void io_close(struct io *io)
{
    if (!io)
        return;
    io->backend->close(io->state);
    own_free(io->label);
    own_free(io);
}

uint32_t io_abilities(const struct io *io) { return io->can; }

const char *io_label(const struct io *io) { return io->label; }

/* ---- faults ---- */

static _Atomic long fault_nth;
static _Atomic long fault_count;
static _Atomic int fault_code;
static atomic_bool fault_after;

long io_fault(long nth, enum err_code code, bool after)
{
    long seen = fault_count;
    fault_count = 0;
    fault_code = (int)code;
    fault_after = after;
    fault_nth = nth;
    return seen;
}

enum fault { FAULT_NONE, FAULT_BEFORE, FAULT_AFTER };

/* Each call that counts asks once. */
static enum fault next_fault(void)
{
    long nth = fault_nth;
    if (nth <= 0 || ++fault_count != nth)
        return FAULT_NONE;
    return fault_after ? FAULT_AFTER : FAULT_BEFORE;
}

static bool injected(struct err *err)
{
    return err_set(err, (enum err_code)fault_code, "injected fault");
}

/* The call happens unless the fault comes before it, and counts unless it comes after it. */
#define WITH_FAULT(call, err)                                                                      \
    ({                                                                                             \
        enum fault io_fault_now = next_fault();                                                    \
        bool io_went_well = io_fault_now == FAULT_BEFORE ? injected(err) : (call);                 \
        io_went_well &&io_fault_now == FAULT_AFTER ? injected(err) : io_went_well;                 \
    })

/* ---- names ---- */

/* Parts do not begin with a dot: those are the backends' temporary names. */
static bool part_is_fine(const char *part, size_t len)
{
    if (len == 0 || part[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = part[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-'))
            return false;
    }
    return true;
}

static bool check_name(const char *name, struct err *err)
{
    bool fine = strlen(name) < IO_NAME_MAX;
    for (const char *part = name; fine && part;) {
        size_t len = strcspn(part, "/");
        fine = part_is_fine(part, len);
        part = part[len] ? part + len + 1 : NULL;
    }
    return fine || err_set(err, ERR_INVALID, "no name of an object: '%.140s'", name);
}

static bool check_folder(const char *folder, struct err *err)
{
    return !folder[0] || check_name(folder, err);
}

static bool failed(struct io *io, const char *verb, const char *name, struct err *err)
{
    return err_wrap(err, "%s '%s' of %s", verb, name, io->label);
}

/* ---- objects ---- */

bool io_put(struct io *io, const char *name, const void *bytes, size_t len, enum io_put how,
            struct err *err)
{
    if (!check_name(name, err))
        return false;
    if (len > IO_PUT_MAX)
        return err_set(err, ERR_LIMIT, "%zu bytes for '%s', %d at once", len, name, IO_PUT_MAX);
    return WITH_FAULT(io->backend->put(io->state, name, bytes, len, how, err), err) ||
           failed(io, "put", name, err);
}

struct io_writer *io_create(struct io *io, const char *name, struct err *err)
{
    if (!check_name(name, err))
        return NULL;
    AUTO(io_writer) struct io_writer *writer = own_alloc(sizeof *writer, err);
    if (!writer)
        return NULL;
    writer->io = io;
    str_copy(writer->name, sizeof writer->name, name);
    if (!WITH_FAULT((writer->writer = io->backend->create(io->state, name, err)) != NULL, err)) {
        failed(io, "create", name, err);
        return NULL;
    }
    return TAKE(writer);
}

bool io_append(struct io_writer *writer, const void *bytes, size_t len, struct err *err)
{
    return WITH_FAULT(writer->io->backend->append(writer->writer, bytes, len, err), err) ||
           failed(writer->io, "append to", writer->name, err);
}

bool io_finish(struct io_writer *writer, struct err *err)
{
    struct io *io = writer->io;
    void *inner = TAKE(writer->writer);
    enum fault fault = next_fault();
    bool ok = fault == FAULT_BEFORE ? injected(err) : io->backend->finish(inner, err);
    if (fault == FAULT_BEFORE)
        io->backend->abandon(inner);
    if (ok && fault == FAULT_AFTER)
        ok = injected(err);
    if (!ok)
        failed(io, "finish", writer->name, err);
    io_abandon(writer);
    return ok;
}

void io_abandon(struct io_writer *writer)
{
    if (!writer)
        return;
    if (writer->writer)
        writer->io->backend->abandon(writer->writer);
    own_free(writer);
}

ssize_t io_read(struct io *io, const char *name, void *to, size_t size, uint64_t offset,
                struct err *err)
{
    ssize_t n = -1;
    if (!check_name(name, err))
        return -1;
    if (size > SSIZE_MAX || offset > (uint64_t)INT64_MAX - size) {
        err_set(err, ERR_INVALID, "%zu bytes at %llu of '%s'", size, (unsigned long long)offset,
                name);
        return -1;
    }
    if (WITH_FAULT((n = io->backend->read(io->state, name, to, size, offset, err)) >= 0, err))
        return n;
    failed(io, "read", name, err);
    return -1;
}

bool io_size(struct io *io, const char *name, uint64_t *ret_bytes, struct err *err)
{
    uint64_t bytes = 0;
    if (!check_name(name, err))
        return false;
    if (!WITH_FAULT(io->backend->size(io->state, name, &bytes, err), err))
        return failed(io, "look at", name, err);
    *ret_bytes = bytes;
    return true;
}

enum { GET_TRIES = 8 };

char *io_get(struct io *io, const char *name, size_t max, size_t *ret_len, struct err *err)
{
    for (int i = 0; i < GET_TRIES; i++) {
        uint64_t bytes = 0;
        if (!io_size(io, name, &bytes, err))
            return NULL;
        if (bytes > max || bytes > SSIZE_MAX - 2) {
            err_set(err, ERR_LIMIT, "'%s' of %s has %llu bytes, at most %zu are read", name,
                    io->label, (unsigned long long)bytes, max);
            return NULL;
        }
        /* One byte more: an object that was replaced by a longer one is asked for again. */
        AUTO(mem) char *text = own_alloc((size_t)bytes + 2, err);
        ssize_t n = text ? io_read(io, name, text, (size_t)bytes + 1, 0, err) : -1;
        if (n < 0)
            return NULL;
        if ((uint64_t)n > bytes)
            continue;
        text[n] = '\0';
        *ret_len = (size_t)n;
        return TAKE(text);
    }
    err_set(err, ERR_BUSY, "'%s' of %s is replaced all the time", name, io->label);
    return NULL;
}

bool io_delete(struct io *io, const char *name, struct err *err)
{
    return check_name(name, err) && (WITH_FAULT(io->backend->remove(io->state, name, err), err) ||
                                     failed(io, "delete", name, err));
}

static int compare_entries(const void *a, const void *b)
{
    const struct io_entry *x = a;
    const struct io_entry *y = b;
    return strcmp(x->name, y->name);
}

bool io_list(struct io *io, const char *folder, struct io_list *ret_list, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    if (!check_folder(folder, err))
        return false;
    if (!WITH_FAULT(io->backend->list(io->state, folder, &list, err), err))
        return failed(io, "list", folder, err);
    if (list.count)
        qsort(list.entries, list.count, sizeof *list.entries, compare_entries);
    *ret_list = list;
    list = (struct io_list){0};
    return true;
}

bool io_list_add(struct io_list *list, const char *name, uint64_t bytes, bool folder,
                 struct err *err)
{
    /* What cannot be one of our names is somebody else's. */
    if (strlen(name) >= IO_NAME_MAX || !part_is_fine(name, strlen(name)))
        return true;
    if (!own_grow((void **)&list->entries, &list->capacity, list->count, sizeof *list->entries,
                  err))
        return false;
    struct io_entry *entry = &list->entries[list->count++];
    *entry = (struct io_entry){.bytes = folder ? 0 : bytes, .folder = folder};
    str_copy(entry->name, sizeof entry->name, name);
    return true;
}

void io_list_done(struct io_list *list)
{
    own_free(list->entries);
    *list = (struct io_list){0};
}

bool io_lock(struct io *io, const char *name, uint64_t until_us, struct err *err)
{
    if (!check_name(name, err))
        return false;
    if (!io->backend->lock)
        return err_set(err, ERR_UNSUPPORTED, "%s cannot lock objects", io->label);
    return io->backend->lock(io->state, name, until_us, err) || failed(io, "lock", name, err);
}

bool io_space(struct io *io, uint64_t *ret_total, uint64_t *ret_free, struct err *err)
{
    uint64_t total = UINT64_MAX;
    uint64_t room = UINT64_MAX;
    if (io->backend->space && !io->backend->space(io->state, &total, &room, err))
        return err_wrap(err, "ask space of %s", io->label);
    *ret_total = total;
    *ret_free = room;
    return true;
}

bool io_sweep(struct io *io, const char *folder, uint32_t *ret_swept, struct err *err)
{
    uint32_t swept = 0;
    if (!check_folder(folder, err))
        return false;
    if (!io->backend->sweep(io->state, folder, &swept, err))
        return failed(io, "sweep", folder, err);
    *ret_swept = swept;
    return true;
}
