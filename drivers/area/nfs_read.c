/* Files over NFS: several READs under way on each connection, and reading ahead of who reads on. */
#include "drivers/area/nfs_int.h"

#include "agent/base/clock.h"
#include "agent/base/pool.h"
#include "agent/base/str.h"
#include <string.h>

enum {
    IN_FLIGHT_MAX = 4,
    DOUBTS_MAX = 3,          /* an end of file that the size contradicts is asked again */
    AHEAD_LEAST = 256 << 10, /* smaller reads are not read ahead of */
    AHEAD_MOST = 1 << 20,    /* nor larger ones: it bounds the memory */
    AHEAD_MAX = 2 * NFS_CONTEXTS_MAX + 2, /* while some are read, others wait to be taken */
    AHEAD_KEPT_MS = 2000, /* what was read ahead is never older when it is handed out */
};

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_READY };

/* A piece read ahead. */
struct slot {
    struct work work;
    struct nfs_file *file;
    enum slot_state state;
    bool claimed; /* somebody waits for it */
    uint8_t *bytes;
    size_t size;
    uint64_t offset;
    ssize_t got;
    uint64_t ready_ms;
    struct err err;
};

struct nfs_file {
    struct nfs *nfs;
    struct nfs_handle handle; /* under the lock: renewed when the server forgets it */
    struct nfs_attr attr;     /* as it was opened: who it is */
    uint64_t expected;        /* where who reads on will read next */
    struct slot slots[AHEAD_MAX];
    _Atomic bool abandoned;
    char path[]; /* in the area */
};

/* ---- one span: at most IN_FLIGHT_MAX requests on one connection ---- */

struct part {
    uint64_t offset;
    uint8_t *to;
    uint32_t size, done;
    uint32_t xid;
    unsigned doubts;
    bool under_way, finished;
};

struct span {
    const struct nfs_file *file;
    struct nfs_handle handle;
    struct part parts[IN_FLIGHT_MAX];
    unsigned count;
    bool unproven; /* an end of file came without the size that would prove it */
};

static bool is_same_file(const struct nfs_attr *a, const struct nfs_attr *b)
{
    return a->kind == b->kind && a->fileid == b->fileid && a->fsid == b->fsid;
}

static bool ends_falsely(struct nfs_op *op, unsigned long long end, struct err *err)
{
    return nfs_link_lied(op->ask.link, err, "it says that the file ends at %llu, and is longer",
                         end);
}

static enum nfs_outcome accept(struct nfs_op *op, struct span *span, struct part *part,
                               const struct nfs_read *read, struct err *err)
{
    if (read->attr.known && !is_same_file(&read->attr, &span->file->attr)) {
        nfs_link_lied(op->ask.link, err, "it answers with another file's attributes");
        return NFS_FAILED;
    }
    part->done += read->got;
    uint64_t end = part->offset + part->done;
    if (part->done == part->size) {
        part->finished = true;
    } else if (read->at_end && read->attr.known && read->attr.size > end) {
        if (++part->doubts >= DOUBTS_MAX) {
            ends_falsely(op, end, err);
            return NFS_FAILED;
        }
    } else if (read->at_end) {
        part->finished = true;
        span->unproven |= !read->attr.known;
    }
    return NFS_DONE; /* short, but not at the end: the rest is asked for */
}

static enum nfs_outcome ask_parts(struct nfs_op *op, struct span *span, unsigned *under_way,
                                  struct err *err)
{
    for (unsigned i = 0; i < span->count; i++) {
        struct part *part = &span->parts[i];
        if (part->finished || part->under_way)
            continue;
        enum nfs_outcome outcome = nfs_read_ask(&op->ask, &span->handle, part->offset + part->done,
                                                part->size - part->done, &part->xid, err);
        if (outcome != NFS_DONE)
            return outcome;
        part->under_way = true;
        ++*under_way;
    }
    return NFS_DONE;
}

static struct part *part_of(struct span *span, uint32_t xid)
{
    for (unsigned i = 0; i < span->count; i++)
        if (span->parts[i].under_way && span->parts[i].xid == xid)
            return &span->parts[i];
    return NULL;
}

/* Out of step: whatever else is under way can only be given up with the connection. */
static enum nfs_outcome give_up(struct nfs_op *op, enum nfs_outcome outcome)
{
    struct err ignored = {0};
    if (nfs_link_is_sound(op->ask.link))
        nfs_link_lied(op->ask.link, &ignored, "given up");
    return outcome == NFS_LATER ? NFS_BROKEN : outcome;
}

static enum nfs_outcome take_part(struct nfs_op *op, struct span *span, struct err *err)
{
    uint32_t xid;
    struct nfs_read read;
    nfs_op_renew(op);
    enum nfs_outcome outcome = nfs_read_next(&op->ask, op->nfs->options.request_bytes, &xid, err);
    if (outcome != NFS_DONE)
        return give_up(op, outcome);
    struct part *part = part_of(span, xid);
    if (!part) {
        nfs_link_lied(op->ask.link, err, "it answers what nobody asked");
        return NFS_FAILED;
    }
    part->under_way = false;
    outcome = nfs_read_take(&op->ask, part->to + part->done, part->size - part->done, &read, err);
    return outcome == NFS_DONE ? accept(op, span, part, &read, err) : outcome;
}

/* After a bad answer the others are still taken off the connection. */
static enum nfs_outcome try_span(struct nfs_op *op, void *arg, struct err *err)
{
    struct span *span = arg;
    enum nfs_outcome worst = NFS_DONE;
    unsigned under_way = 0;
    for (unsigned i = 0; i < span->count; i++)
        span->parts[i].under_way = false;
    for (;;) {
        struct err why = {0};
        enum nfs_outcome outcome = NFS_DONE;
        if (worst == NFS_DONE)
            outcome = ask_parts(op, span, &under_way, &why);
        if (outcome == NFS_DONE && under_way == 0)
            return worst;
        if (outcome == NFS_DONE) {
            outcome = take_part(op, span, &why);
            under_way--;
        }
        if (outcome != NFS_DONE && worst == NFS_DONE) {
            worst = outcome;
            *err = why;
        }
        if (!nfs_link_is_sound(op->ask.link))
            return worst;
        if (clock_mono_ms() >= op->run_until_ms) { /* byte by byte is no progress either */
            err_set(err, ERR_TIMEOUT, "reading was not done in time");
            return give_up(op, NFS_BROKEN);
        }
    }
}

static enum nfs_outcome try_attr(struct nfs_op *op, void *arg, struct err *err)
{
    struct nfs_file *file = arg;
    struct nfs_attr attr;
    struct nfs_handle handle;
    pthread_mutex_lock(&op->nfs->lock);
    handle = file->handle;
    pthread_mutex_unlock(&op->nfs->lock);
    enum nfs_outcome outcome = nfs_call_getattr(&op->ask, &handle, &attr, err);
    if (outcome != NFS_DONE)
        return outcome;
    if (!is_same_file(&attr, &file->attr)) {
        nfs_link_lied(op->ask.link, err, "'%.200s' has become another file", file->path);
        return NFS_FAILED;
    }
    pthread_mutex_lock(&op->nfs->lock);
    file->attr.size = attr.size;
    file->attr.mtime_us = attr.mtime_us;
    pthread_mutex_unlock(&op->nfs->lock);
    return NFS_DONE;
}

/* The server forgot the handle: by its name it must be the same file, or it is gone. */
static bool find_again(struct nfs_op *op, struct nfs_file *file, struct err *err)
{
    struct nfs_handle handle;
    struct nfs_attr attr;
    if (!nfs_walk(op, file->path, &handle, &attr, err))
        return false;
    if (!is_same_file(&attr, &file->attr))
        return err_set(err, ERR_NOT_FOUND, "'%.200s' is gone, another file has its name",
                       file->path);
    pthread_mutex_lock(&op->nfs->lock);
    file->handle = handle;
    pthread_mutex_unlock(&op->nfs->lock);
    return true;
}

/* Runs it, and once more by name when the handle has become stale. */
static bool run_on_file(struct nfs_op *op, struct nfs_file *file,
                        enum nfs_outcome (*attempt)(struct nfs_op *, void *, struct err *),
                        struct span *span, struct err *err)
{
    for (bool again = false;; again = true) {
        struct err why = {0};
        if (span) {
            pthread_mutex_lock(&op->nfs->lock);
            span->handle = file->handle;
            pthread_mutex_unlock(&op->nfs->lock);
        }
        enum nfs_outcome outcome = nfs_op_run(op, attempt, span ? (void *)span : file, &why);
        if (outcome == NFS_DONE)
            return true;
        if (outcome != NFS_STALE || again) {
            *err = why;
            return false;
        }
        if (!find_again(op, file, err))
            return false;
    }
}

static void cut_span(struct span *span, const struct nfs_file *file, void *to, size_t size,
                     uint64_t offset)
{
    const struct area_nfs_options *options = &file->nfs->options;
    *span = (struct span){.file = file};
    for (size_t at = 0; at < size && span->count < options->in_flight;) {
        size_t now = size - at < options->request_bytes ? size - at : options->request_bytes;
        span->parts[span->count++] =
            (struct part){.offset = offset + at, .to = (uint8_t *)to + at, .size = (uint32_t)now};
        at += now;
    }
}

/* Bytes in front of the first gap. */
static size_t gathered(const struct span *span, bool *ret_ended)
{
    size_t done = 0;
    *ret_ended = true;
    for (unsigned i = 0; i < span->count; i++) {
        done += span->parts[i].done;
        if (span->parts[i].done < span->parts[i].size)
            return done;
    }
    *ret_ended = false;
    return done;
}

static bool read_span(struct nfs_op *op, struct nfs_file *file, struct span *span, uint8_t *to,
                      size_t size, uint64_t offset, size_t *ret_got, bool *ret_ended,
                      struct err *err)
{
    for (unsigned doubts = 0;; doubts++) {
        cut_span(span, file, to, size, offset);
        if (!run_on_file(op, file, try_span, span, err))
            return false;
        *ret_got = gathered(span, ret_ended);
        if (!*ret_ended || !span->unproven)
            return true;
        if (!run_on_file(op, file, try_attr, NULL, err))
            return false;
        pthread_mutex_lock(&file->nfs->lock);
        bool is_end = file->attr.size <= offset + *ret_got;
        pthread_mutex_unlock(&file->nfs->lock);
        if (is_end)
            return true;
        if (doubts + 1 >= DOUBTS_MAX)
            return ends_falsely(op, offset + *ret_got, err);
    }
}

static ssize_t read_all(struct nfs_op *op, struct nfs_file *file, uint8_t *to, size_t size,
                        uint64_t offset, struct err *err)
{
    struct span span;
    size_t done = 0;
    bool ended = false;
    while (done < size && !ended) {
        size_t got;
        if (!read_span(op, file, &span, to + done, size - done, offset + done, &got, &ended, err))
            return -1;
        done += got;
    }
    return (ssize_t)done;
}

static ssize_t read_now(struct nfs_file *file, void *to, size_t size, uint64_t offset,
                        struct err *err)
{
    AUTO(nfs_op) struct nfs_op op = {0};
    if (offset > INT64_MAX || size > INT64_MAX - offset) /* beyond any file: its end */
        return 0;
    if (!nfs_op_begin(&op, file->nfs, &file->abandoned, err))
        return -1;
    return read_all(&op, file, to, size, offset, err);
}

/* ---- reading ahead ---- */

static void fill_slot(struct work *work)
{
    struct slot *slot = (struct slot *)work; /* its first member */
    struct nfs *nfs = slot->file->nfs;
    struct err why = {0};
    ssize_t got = read_now(slot->file, slot->bytes, slot->size, slot->offset, &why);
    pthread_mutex_lock(&nfs->lock);
    slot->got = got;
    slot->err = why;
    slot->ready_ms = clock_mono_ms();
    slot->state = SLOT_READY;
    pthread_cond_broadcast(&nfs->changed);
    pthread_mutex_unlock(&nfs->lock);
}

static struct slot *slot_at(struct nfs_file *file, uint64_t offset, size_t size)
{
    for (unsigned i = 0; i < AHEAD_MAX; i++) {
        struct slot *slot = &file->slots[i];
        if (slot->state != SLOT_FREE && !slot->claimed && slot->offset == offset &&
            slot->size >= size)
            return slot;
    }
    return NULL;
}

/* One that holds nothing wanted from `from` on; NULL while all are busy. Under the lock. */
static struct slot *free_slot(struct nfs_file *file, uint64_t from, uint64_t to, unsigned count)
{
    uint64_t now = clock_mono_ms();
    for (unsigned i = 0; i < count; i++) {
        struct slot *slot = &file->slots[i];
        bool is_wanted =
            slot->offset >= from && slot->offset < to && now - slot->ready_ms < AHEAD_KEPT_MS;
        if (slot->state == SLOT_FREE || (slot->state == SLOT_READY && !slot->claimed && !is_wanted))
            return slot;
    }
    return NULL;
}

/* Under the lock. What cannot be read ahead is read when it is asked for. */
static void read_ahead(struct nfs_file *file, uint64_t from, size_t size)
{
    struct nfs *nfs = file->nfs;
    unsigned count = 2 * nfs->options.contexts + 2;
    uint64_t to = from + (uint64_t)count * size;
    struct err ignored = {0};
    if (to > file->attr.size)
        to = file->attr.size;
    if (!nfs->readers)
        nfs->readers = lane_new("nfs", (int)nfs->options.contexts, &ignored);
    for (uint64_t at = from; nfs->readers && at < to; at += size) {
        if (slot_at(file, at, size))
            continue;
        struct slot *slot = free_slot(file, from, to, count);
        if (!slot)
            return;
        if (slot->size < size || !slot->bytes) {
            own_free(slot->bytes);
            slot->size = 0;
            slot->bytes = own_alloc(size, &ignored);
        }
        slot->state = SLOT_FREE;
        if (!slot->bytes)
            return;
        *slot = (struct slot){.work = {.run = fill_slot},
                              .file = file,
                              .state = SLOT_READING,
                              .bytes = slot->bytes,
                              .size = size,
                              .offset = at};
        lane_submit(nfs->readers, &slot->work);
    }
}

/* What was read ahead, waited for when it is still under way. False: there is none that is fresh.
 */
static bool take_slot(struct nfs_file *file, void *to, size_t size, uint64_t offset,
                      ssize_t *ret_got, struct err *err)
{
    struct nfs *nfs = file->nfs;
    struct slot *slot = slot_at(file, offset, size);
    if (!slot)
        return false;
    bool waited = slot->state == SLOT_READING;
    slot->claimed = true;
    while (slot->state == SLOT_READING)
        pthread_cond_wait(&nfs->changed, &nfs->lock); /* its reading is bounded */
    /* An error of before somebody asked is nobody's: it may be over. */
    bool fresh = clock_mono_ms() - slot->ready_ms < AHEAD_KEPT_MS && (waited || slot->got >= 0);
    if (fresh && slot->got >= 0) {
        *ret_got = (size_t)slot->got < size ? slot->got : (ssize_t)size;
        pthread_mutex_unlock(&nfs->lock); /* claimed: nobody else touches it */
        memcpy(to, slot->bytes, (size_t)*ret_got);
        pthread_mutex_lock(&nfs->lock);
    } else if (fresh) {
        *ret_got = -1;
        *err = slot->err;
    }
    slot->claimed = false;
    slot->state = SLOT_FREE;
    return fresh;
}

ssize_t nfs_file_read(void *state, void *to, size_t size, uint64_t offset, struct err *err)
{
    struct nfs_file *file = state;
    struct nfs *nfs = file->nfs;
    ssize_t got = 0;
    pthread_mutex_lock(&nfs->lock);
    bool reads_on =
        size >= AHEAD_LEAST && size <= AHEAD_MOST && (offset == 0 || offset == file->expected);
    if (reads_on)
        read_ahead(file, offset + size, size);
    bool taken = take_slot(file, to, size, offset, &got, err);
    pthread_mutex_unlock(&nfs->lock);
    if (!taken)
        got = read_now(file, to, size, offset, err);
    pthread_mutex_lock(&nfs->lock);
    file->expected = offset + (got > 0 ? (uint64_t)got : 0);
    pthread_mutex_unlock(&nfs->lock);
    if (got < 0) {
        err_wrap(err, "'%.200s'", file->path);
        nfs_named(nfs, err);
    }
    return got;
}

ssize_t nfs_file_read_now(void *state, void *to, size_t size, uint64_t offset, struct err *err)
{
    struct nfs_file *file = state;
    ssize_t got = read_now(file, to, size, offset, err);
    if (got < 0)
        nfs_named(file->nfs, err);
    return got;
}

/* ---- files ---- */

void nfs_file_close(void *state)
{
    struct nfs_file *file = state;
    if (!file)
        return;
    struct nfs *nfs = file->nfs;
    file->abandoned = true;
    pthread_mutex_lock(&nfs->lock);
    for (unsigned i = 0; i < AHEAD_MAX; i++) {
        while (file->slots[i].state == SLOT_READING)
            pthread_cond_wait(&nfs->changed, &nfs->lock);
        own_free(file->slots[i].bytes);
    }
    pthread_mutex_unlock(&nfs->lock);
    own_free(file);
    nfs_unref(nfs);
}

static bool is_plain(const struct nfs_attr *attr, const char *path, struct err *err)
{
    return attr->kind == NFS_KIND_FILE ||
           err_set(err, ERR_INVALID, "'%.200s' is no plain file", path);
}

void *nfs_file_at(struct nfs *nfs, const char *path, const struct nfs_handle *handle,
                  const struct nfs_attr *attr, struct err *err)
{
    size_t path_size = strlen(path) + 1;
    if (!is_plain(attr, path, err))
        return NULL;
    struct nfs_file *file = own_alloc(sizeof *file + path_size, err);
    if (!file)
        return NULL;
    memcpy(file->path, path, path_size);
    file->nfs = nfs;
    file->handle = *handle;
    file->attr = *attr;
    pthread_mutex_lock(&nfs->lock);
    nfs->users++;
    pthread_mutex_unlock(&nfs->lock);
    return file;
}

void *nfs_file_open(void *state, const char *path, struct err *err)
{
    struct nfs *nfs = state;
    AUTO(nfs_op) struct nfs_op op = {0};
    struct nfs_handle handle;
    struct nfs_attr attr;
    void *file = NULL;
    if (nfs_op_begin(&op, nfs, NULL, err) && nfs_walk(&op, path, &handle, &attr, err))
        file = nfs_file_at(nfs, path, &handle, &attr, err);
    if (file)
        return file;
    err_wrap(err, "open '%.200s'", path);
    nfs_named(nfs, err);
    return NULL;
}

bool nfs_file_stat(void *state, uint64_t *ret_size, uint64_t *ret_mtime_us, struct err *err)
{
    struct nfs_file *file = state;
    AUTO(nfs_op) struct nfs_op op = {0};
    if (!nfs_op_begin(&op, file->nfs, NULL, err) || !run_on_file(&op, file, try_attr, NULL, err)) {
        err_wrap(err, "'%.200s'", file->path);
        return nfs_named(file->nfs, err);
    }
    pthread_mutex_lock(&file->nfs->lock);
    *ret_size = file->attr.size;
    *ret_mtime_us = file->attr.mtime_us;
    pthread_mutex_unlock(&file->nfs->lock);
    return true;
}
