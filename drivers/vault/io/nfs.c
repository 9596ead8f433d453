/* Objects as files of an NFSv3 server: whole by a rename or link from a temporary name beside them,
 * durable by COMMIT; a server that dies meanwhile is waited for, and what it forgot is sent again.
 */
#include "drivers/vault/io/backends.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/area/nfs_int.h"
#include <pthread.h>
#include <string.h>

#define TEMPORARY ".tmp-"

enum {
    PIECE_LEAST = 4096,
    PIECE_MOST = 1 << 20,
    IN_FLIGHT = 4,
    CHUNK_BYTES = 4 << 20, /* sent, committed and only then forgotten here */
    FOLDERS_KNOWN = 512,
    STALE_ROUNDS = 3,
    FORGOTTEN_MAX = 5, /* how often a server may lose what it was sent */
    LIST_MAX = 1 << 20,
    SWEEP_DEPTH = 16,
};

struct folder {
    char path[IO_NAME_MAX];
    struct nfs_handle handle;
};

struct store {
    struct nfs *nfs;
    size_t piece;
    pthread_mutex_t lock; /* of the folders */
    struct folder *folders;
    size_t count, capacity;
};

static void store_close(void *state)
{
    struct store *s = state;
    if (!s)
        return;
    nfs_release(s->nfs);
    own_free(s->folders);
    pthread_mutex_destroy(&s->lock);
    own_free(s);
}
OWN_DEFINE(store, struct store, store_close);

/* ---- folders ---- */

static bool is_known(struct store *s, const char *path, struct nfs_handle *ret_handle)
{
    bool found = false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count && !found; i++)
        if ((found = str_equal(s->folders[i].path, path)))
            *ret_handle = s->folders[i].handle;
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* Only saves work: without memory it is looked up again. */
static void make_known(struct store *s, const char *path, const struct nfs_handle *handle)
{
    struct err ignored = {0};
    pthread_mutex_lock(&s->lock);
    if (s->count >= FOLDERS_KNOWN)
        s->count = 0;
    if (own_grow((void **)&s->folders, &s->capacity, s->count, sizeof *s->folders, &ignored)) {
        str_copy(s->folders[s->count].path, IO_NAME_MAX, path);
        s->folders[s->count++].handle = *handle;
    }
    pthread_mutex_unlock(&s->lock);
}

static void forget_folders(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->count = 0;
    pthread_mutex_unlock(&s->lock);
}

struct making {
    const struct nfs_handle *dir;
    const char *name;
    enum nfs_kind kind;
    struct nfs_handle handle;
    struct nfs_attr attr;
};

static enum nfs_outcome try_make(struct nfs_op *op, void *arg, struct err *err)
{
    struct making *m = arg;
    return nfs_call_make(&op->ask, m->dir, m->name, m->kind, &m->handle, &m->attr, err);
}

/* A directory may be there already: by another, or by an earlier try. */
static enum nfs_outcome make_folder(struct nfs_op *op, const struct nfs_handle *dir,
                                    const char *name, struct err *err)
{
    struct making making = {.dir = dir, .name = name, .kind = NFS_KIND_DIRECTORY};
    struct err why = {0};
    enum nfs_outcome outcome = nfs_op_run(op, try_make, &making, &why);
    if (outcome == NFS_FAILED && why.code == ERR_EXISTS)
        return NFS_DONE;
    if (outcome != NFS_DONE)
        *err = why;
    return outcome;
}

static enum nfs_outcome enter(struct nfs_op *op, const char *name, bool make,
                              struct nfs_handle *handle, struct err *err)
{
    struct nfs_handle dir = *handle;
    struct nfs_attr attr;
    struct err why = {0};
    enum nfs_outcome outcome = nfs_look_up(op, &dir, name, handle, &attr, &why);
    if (outcome == NFS_FAILED && why.code == ERR_NOT_FOUND && make) {
        err_clear(&why);
        outcome = make_folder(op, &dir, name, &why);
        if (outcome == NFS_DONE)
            outcome = nfs_look_up(op, &dir, name, handle, &attr, &why);
    }
    if (outcome == NFS_DONE && attr.kind != NFS_KIND_DIRECTORY) {
        err_set(err, ERR_INVALID, "'%s' is no directory (links are not followed)", name);
        return NFS_FAILED;
    }
    if (outcome != NFS_DONE)
        *err = why;
    return outcome;
}

static enum nfs_outcome find_folder(struct store *s, struct nfs_op *op, const char *path, bool make,
                                    bool anew, struct nfs_handle *ret_handle, struct err *err)
{
    char copy[IO_NAME_MAX];
    struct nfs_attr ignored;
    struct nfs_handle handle;
    if (is_known(s, path, ret_handle))
        return NFS_DONE;
    if (!nfs_root(op, anew, &handle, &ignored, err))
        return NFS_FAILED;
    str_copy(copy, sizeof copy, path);
    for (char *cursor = copy[0] ? copy : NULL; cursor;) {
        enum nfs_outcome outcome = enter(op, str_field(&cursor, '/'), make, &handle, err);
        if (outcome != NFS_DONE)
            return outcome;
    }
    make_known(s, path, &handle);
    *ret_handle = handle;
    return NFS_DONE;
}

/* "a/b/c": folder "a/b", last "c". */
static const char *split_name(const char *name, char folder[IO_NAME_MAX])
{
    const char *slash = strrchr(name, '/');
    str_format(folder, IO_NAME_MAX, "%.*s", slash ? (int)(slash - name) : 0, name);
    return slash ? slash + 1 : name;
}

/* What is done in a folder; begun anew when the server no longer knows a handle. */
typedef enum nfs_outcome in_folder_fn(struct store *s, struct nfs_op *op,
                                      const struct nfs_handle *dir, void *arg, struct err *err);

static bool in_folder(struct store *s, const char *folder, bool make, in_folder_fn *fn, void *arg,
                      struct err *err)
{
    AUTO(nfs_op) struct nfs_op op = {0};
    if (!nfs_op_begin(&op, s->nfs, NULL, err))
        return nfs_named(s->nfs, err);
    for (unsigned round = 1;; round++) {
        struct nfs_handle dir;
        struct err why = {0};
        enum nfs_outcome outcome = find_folder(s, &op, folder, make, round > 1, &dir, &why);
        if (outcome == NFS_DONE)
            outcome = fn(s, &op, &dir, arg, &why);
        if (outcome == NFS_DONE)
            return true;
        if (outcome != NFS_STALE || round == STALE_ROUNDS) {
            *err = why;
            return nfs_named(s->nfs, err);
        }
        forget_folders(s);
    }
}

/* ---- writing ---- */

struct writer {
    struct store *store;
    struct nfs_handle dir, file;
    struct nfs_attr attr; /* who the temporary file is */
    uint8_t *buffer;      /* what is not yet committed */
    size_t used;
    uint64_t committed;
    bool made;
    char folder[IO_NAME_MAX], last[IO_NAME_MAX], temporary[32];
};

struct naming {
    struct writer *writer;
    const char *name; /* what is named, or removed */
    bool replace;
    unsigned tries;
};

static enum nfs_outcome try_remove(struct nfs_op *op, void *arg, struct err *err)
{
    struct naming *n = arg;
    struct err why = {0};
    n->tries++;
    enum nfs_outcome outcome = nfs_call_remove(&op->ask, &n->writer->dir, n->name, &why);
    if (outcome == NFS_FAILED && why.code == ERR_NOT_FOUND && n->tries > 1)
        return NFS_DONE; /* by the try whose answer was lost */
    if (outcome != NFS_DONE)
        *err = why;
    return outcome;
}

static void writer_free(struct writer *w)
{
    if (!w)
        return;
    own_free(w->buffer);
    own_free(w);
}

/* io_sweep finds what a server that is away cannot be told. */
static void remove_temporary(struct writer *w)
{
    struct naming naming = {.writer = w, .name = w->temporary};
    struct err ignored = {0};
    AUTO(nfs_op) struct nfs_op op = {0};
    if (w->made && nfs_op_begin(&op, w->store->nfs, NULL, &ignored))
        IGNORE(nfs_op_run(&op, try_remove, &naming, &ignored) != NFS_DONE);
    w->made = false;
}

static void nfs_abandon(void *writer)
{
    struct writer *w = writer;
    if (w)
        remove_temporary(w);
    writer_free(w);
}
OWN_DEFINE(writer, struct writer, nfs_abandon);

/* Handle and identity may be left out of the answer: then they are asked for. */
static enum nfs_outcome make_temporary(struct store *s, struct nfs_op *op,
                                       const struct nfs_handle *dir, void *arg, struct err *err)
{
    struct writer *w = arg;
    struct making making = {.dir = dir, .name = w->temporary, .kind = NFS_KIND_FILE};
    (void)s;
    enum nfs_outcome outcome = nfs_op_run(op, try_make, &making, err);
    if (outcome == NFS_DONE && (!making.handle.len || !making.attr.known))
        outcome = nfs_look_up(op, dir, w->temporary, &making.handle, &making.attr, err);
    if (outcome != NFS_DONE)
        return outcome;
    w->dir = *dir;
    w->file = making.handle;
    w->attr = making.attr;
    w->made = true;
    return NFS_DONE;
}

static void *nfs_create(void *state, const char *name, struct err *err)
{
    struct writer *w = own_alloc(sizeof *w, err);
    uint8_t noise[8];
    if (!w)
        return NULL;
    w->store = state;
    str_copy(w->last, sizeof w->last, split_name(name, w->folder));
    clock_random(noise, sizeof noise);
    str_copy(w->temporary, sizeof w->temporary, TEMPORARY);
    str_hex(noise, sizeof noise, w->temporary + strlen(TEMPORARY));
    if (in_folder(state, w->folder, true, make_temporary, w, err))
        return w;
    writer_free(w);
    return NULL;
}

/* A WRITE under way, or what is left of it. */
struct part {
    size_t at, len;
    uint32_t xid;
    bool under_way;
};

struct sending {
    struct writer *writer;
    const uint8_t *bytes;
    size_t len, at;
    struct part parts[IN_FLIGHT];
    unsigned count;
    uint64_t verifier; /* of the first answer, when one came */
    bool answered, kept;
};

static void note_verifier(struct sending *send, uint64_t verifier)
{
    send->kept = send->kept && (!send->answered || send->verifier == verifier);
    send->verifier = verifier;
    send->answered = true;
}

static enum nfs_outcome ask_parts(struct nfs_op *op, struct sending *send, unsigned *under_way,
                                  struct err *err)
{
    for (unsigned i = 0; i < send->count; i++) {
        struct part *part = &send->parts[i];
        if (part->under_way || part->len == 0)
            continue;
        enum nfs_outcome outcome =
            nfs_write_ask(&op->ask, &send->writer->file, send->writer->committed + part->at,
                          send->bytes + part->at, (uint32_t)part->len, &part->xid, err);
        if (outcome != NFS_DONE)
            return outcome;
        part->under_way = true;
        ++*under_way;
    }
    return NFS_DONE;
}

static enum nfs_outcome take_part(struct nfs_op *op, struct sending *send, struct err *err)
{
    uint32_t xid = 0;
    uint32_t written = 0;
    uint64_t verifier;
    nfs_op_renew(op);
    enum nfs_outcome outcome = nfs_write_take(&op->ask, &xid, &written, &verifier, err);
    for (unsigned i = 0; outcome == NFS_DONE && i < send->count; i++) {
        struct part *part = &send->parts[i];
        if (!part->under_way || part->xid != xid)
            continue;
        if (written == 0 || written > part->len)
            break;
        part->under_way = false;
        part->at += written; /* short: the rest is asked for again */
        part->len -= written;
        note_verifier(send, verifier);
        return NFS_DONE;
    }
    if (outcome != NFS_DONE)
        return outcome;
    nfs_link_lied(op->ask.link, err, "it writes what nobody asked, or nothing, or more");
    return NFS_FAILED;
}

/* The parts that are left, all under way at once. What is out of step goes with its connection. */
static enum nfs_outcome try_parts(struct nfs_op *op, void *arg, struct err *err)
{
    struct sending *send = arg;
    struct err ignored = {0};
    unsigned under_way = 0;
    for (unsigned i = 0; i < send->count; i++)
        send->parts[i].under_way = false;
    for (;;) {
        enum nfs_outcome outcome = ask_parts(op, send, &under_way, err);
        if (outcome == NFS_DONE && under_way == 0)
            return NFS_DONE;
        if (outcome == NFS_DONE) {
            outcome = take_part(op, send, err);
            under_way--;
        }
        if (outcome == NFS_DONE)
            continue;
        if (under_way > 0 && nfs_link_is_sound(op->ask.link))
            nfs_link_lied(op->ask.link, &ignored, "given up");
        return outcome;
    }
}

static enum nfs_outcome try_commit(struct nfs_op *op, void *arg, struct err *err)
{
    struct sending *send = arg;
    uint64_t verifier;
    enum nfs_outcome outcome = nfs_call_commit(&op->ask, &send->writer->file, &verifier, err);
    if (outcome == NFS_DONE)
        note_verifier(send, verifier);
    return outcome;
}

static void cut_parts(struct sending *send)
{
    size_t piece = send->writer->store->piece;
    for (send->count = 0; send->count < IN_FLIGHT && send->at < send->len; send->count++) {
        size_t left = send->len - send->at;
        size_t now = left < piece ? left : piece;
        send->parts[send->count] = (struct part){.at = send->at, .len = now};
        send->at += now;
    }
}

/* send->kept: one and the same life of the server took all and committed it. */
static bool send_once(struct nfs_op *op, struct sending *send, struct err *err)
{
    send->kept = true;
    send->answered = false;
    for (send->at = 0; send->at < send->len;) {
        cut_parts(send);
        if (nfs_op_run(op, try_parts, send, err) != NFS_DONE)
            return false;
    }
    return nfs_op_run(op, try_commit, send, err) == NFS_DONE;
}

static bool send_chunk(struct writer *w, const uint8_t *bytes, size_t len, struct err *err)
{
    struct sending send = {.writer = w, .bytes = bytes, .len = len};
    if (len == 0)
        return true;
    for (unsigned round = 0; round < FORGOTTEN_MAX; round++) {
        AUTO(nfs_op) struct nfs_op op = {0};
        if (!nfs_op_begin(&op, w->store->nfs, NULL, err) || !send_once(&op, &send, err))
            return nfs_named(w->store->nfs, err);
        if (send.kept) {
            w->committed += len;
            return true;
        }
    }
    err_set(err, ERR_UNAVAILABLE, "the server forgets what it is sent, again and again");
    return nfs_named(w->store->nfs, err);
}

static bool nfs_append(void *writer, const void *bytes, size_t len, struct err *err)
{
    struct writer *w = writer;
    const uint8_t *from = bytes;
    if (!w->buffer && !(w->buffer = own_alloc(CHUNK_BYTES, err)))
        return false;
    while (len > 0) {
        if (w->used == CHUNK_BYTES) {
            if (!send_chunk(w, w->buffer, w->used, err))
                return false;
            w->used = 0;
        }
        size_t now = len < CHUNK_BYTES - w->used ? len : CHUNK_BYTES - w->used;
        memcpy(w->buffer + w->used, from, now);
        w->used += now;
        from += now;
        len -= now;
    }
    return true;
}

static bool is_ours(struct nfs_op *op, const struct writer *w)
{
    struct nfs_handle handle;
    struct nfs_attr attr;
    struct err ignored = {0};
    return nfs_call_lookup(&op->ask, &w->dir, w->last, &handle, &attr, &ignored) == NFS_DONE &&
           (attr.known || nfs_call_getattr(&op->ask, &handle, &attr, &ignored) == NFS_DONE) &&
           attr.fileid == w->attr.fileid && attr.fsid == w->attr.fsid;
}

/* The answer to an earlier try may have been lost: the file's identity tells whose name it is. */
static enum nfs_outcome try_name(struct nfs_op *op, void *arg, struct err *err)
{
    struct naming *n = arg;
    struct writer *w = n->writer;
    struct err why = {0};
    n->tries++;
    enum nfs_outcome outcome = n->replace
                                   ? nfs_call_rename(&op->ask, &w->dir, w->temporary, w->last, &why)
                                   : nfs_call_link(&op->ask, &w->file, &w->dir, w->last, &why);
    enum err_code told = n->replace ? ERR_NOT_FOUND : ERR_EXISTS;
    if (outcome == NFS_FAILED && why.code == told && n->tries > 1) {
        nfs_op_renew(op);
        if (is_ours(op, w))
            return NFS_DONE;
        if (!nfs_link_is_sound(op->ask.link)) {
            err_set(err, ERR_UNAVAILABLE, "it went while it was asked who has the name");
            return NFS_BROKEN;
        }
    }
    if (outcome == NFS_FAILED && why.code == ERR_UNSUPPORTED && !n->replace)
        err_set(&why, ERR_UNSUPPORTED,
                "the export knows no hard links; hint: a store needs a file system that has them");
    if (outcome != NFS_DONE)
        *err = why;
    return outcome;
}

static bool publish(struct writer *w, bool replace, struct err *err)
{
    struct naming naming = {.writer = w, .replace = replace};
    AUTO(nfs_op) struct nfs_op op = {0};
    struct err why = {0};
    if (!nfs_op_begin(&op, w->store->nfs, NULL, err))
        return nfs_named(w->store->nfs, err);
    if (nfs_op_run(&op, try_name, &naming, &why) == NFS_DONE) {
        w->made = w->made && !replace;
        return true;
    }
    *err = why;
    return nfs_named(w->store->nfs, err);
}

/* A server that has just not answered in time is not asked to clean up. */
static void end(struct writer *w, const struct err *err)
{
    if (err && err_is_transient(err->code))
        w->made = false;
    nfs_abandon(w);
}

static bool nfs_finish(void *writer, struct err *err)
{
    struct writer *w = writer;
    struct err why = {0};
    bool ok = send_chunk(w, w->buffer, w->used, &why) && publish(w, false, &why);
    end(w, ok ? NULL : &why);
    if (!ok)
        *err = why;
    return ok;
}

static bool nfs_put(void *state, const char *name, const void *bytes, size_t len, enum io_put how,
                    struct err *err)
{
    struct writer *w = nfs_create(state, name, err);
    struct err why = {0};
    if (!w)
        return false;
    bool ok = true;
    for (size_t at = 0; ok && at < len; at += CHUNK_BYTES)
        ok = send_chunk(w, (const uint8_t *)bytes + at,
                        len - at < CHUNK_BYTES ? len - at : CHUNK_BYTES, &why);
    ok = ok && publish(w, how == IO_REPLACE, &why);
    end(w, ok ? NULL : &why);
    if (!ok)
        *err = why;
    return ok;
}

/* ---- reading ---- */

struct looking {
    const char *name;
    struct nfs_handle handle;
    struct nfs_attr attr;
};

static enum nfs_outcome look(struct store *s, struct nfs_op *op, const struct nfs_handle *dir,
                             void *arg, struct err *err)
{
    struct looking *l = arg;
    (void)s;
    enum nfs_outcome outcome = nfs_look_up(op, dir, l->name, &l->handle, &l->attr, err);
    if (outcome != NFS_DONE || l->attr.kind == NFS_KIND_FILE)
        return outcome;
    err_set(err, ERR_INVALID, "'%s' is no plain file", l->name);
    return NFS_FAILED;
}

static bool find(struct store *s, const char *name, struct looking *l, struct err *err)
{
    char folder[IO_NAME_MAX];
    l->name = split_name(name, folder);
    return in_folder(s, folder, false, look, l, err);
}

static bool nfs_size(void *state, const char *name, uint64_t *ret_bytes, struct err *err)
{
    struct looking l = {0};
    if (!find(state, name, &l, err))
        return false;
    *ret_bytes = l.attr.size;
    return true;
}

static void file_close(void *file) { nfs_file_close(file); }
OWN_DEFINE(nfs_file, void, file_close);

static ssize_t nfs_read(void *state, const char *name, void *to, size_t size, uint64_t offset,
                        struct err *err)
{
    struct store *s = state;
    struct looking l = {0};
    if (!find(s, name, &l, err))
        return -1;
    AUTO(nfs_file) void *file = nfs_file_at(s->nfs, name, &l.handle, &l.attr, err);
    return file ? nfs_file_read_now(file, to, size, offset, err) : -1;
}

/* ---- deleting, lists, sweeping ---- */

static enum nfs_outcome look_and_remove(struct store *s, struct nfs_op *op,
                                        const struct nfs_handle *dir, void *arg, struct err *err)
{
    struct looking *l = arg;
    struct writer where = {.store = s, .dir = *dir};
    struct naming naming = {.writer = &where, .name = l->name};
    enum nfs_outcome outcome = look(s, op, dir, arg, err);
    return outcome == NFS_DONE ? nfs_op_run(op, try_remove, &naming, err) : outcome;
}

static bool nfs_remove(void *state, const char *name, struct err *err)
{
    struct looking l = {0};
    char folder[IO_NAME_MAX];
    l.name = split_name(name, folder);
    return in_folder(state, folder, false, look_and_remove, &l, err);
}

static bool add_entry(void *arg, const char *name, const struct nfs_attr *attr, struct err *err)
{
    bool folder = attr->kind == NFS_KIND_DIRECTORY;
    return (!folder && attr->kind != NFS_KIND_FILE) ||
           io_list_add(arg, name, attr->size, folder, err);
}

static enum nfs_outcome list(struct store *s, struct nfs_op *op, const struct nfs_handle *dir,
                             void *arg, struct err *err)
{
    (void)s;
    ((struct io_list *)arg)->count = 0; /* a second round begins anew */
    return nfs_each_name(op, dir, LIST_MAX, add_entry, arg, err);
}

static bool nfs_list_folder(void *state, const char *folder, struct io_list *ret_list,
                            struct err *err)
{
    struct err why = {0};
    if (in_folder(state, folder, false, list, ret_list, &why) || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

struct leftovers {
    struct io_list folders;
    char (*names)[32];
    size_t count, capacity;
};

static void leftovers_done(struct leftovers *l)
{
    io_list_done(&l->folders);
    own_free(l->names);
}
OWN_DEFINE_INPLACE(leftovers, struct leftovers, leftovers_done);

static bool add_leftover(void *arg, const char *name, const struct nfs_attr *attr, struct err *err)
{
    struct leftovers *l = arg;
    if (attr->kind == NFS_KIND_DIRECTORY)
        return io_list_add(&l->folders, name, 0, true, err);
    if (!str_starts(name, TEMPORARY) || strlen(name) >= sizeof *l->names)
        return true;
    if (!own_grow((void **)&l->names, &l->capacity, l->count, sizeof *l->names, err))
        return false;
    str_copy(l->names[l->count++], sizeof *l->names, name);
    return true;
}

static enum nfs_outcome sweep_one(struct store *s, struct nfs_op *op, const struct nfs_handle *dir,
                                  void *arg, struct err *err)
{
    struct leftovers *l = arg;
    struct writer where = {.store = s, .dir = *dir};
    l->folders.count = l->count = 0;
    enum nfs_outcome outcome = nfs_each_name(op, dir, LIST_MAX, add_leftover, l, err);
    for (size_t i = 0; outcome == NFS_DONE && i < l->count; i++) {
        struct naming naming = {.writer = &where, .name = l->names[i], .tries = 1};
        outcome = nfs_op_run(op, try_remove, &naming, err);
    }
    return outcome;
}

static bool sweep_below(struct store *s, const char *folder, int depth, uint32_t *swept,
                        struct err *err)
{
    AUTO(leftovers) struct leftovers l = {0};
    struct err why = {0};
    if (!in_folder(s, folder, false, sweep_one, &l, &why)) {
        if (why.code == ERR_NOT_FOUND)
            return true;
        *err = why;
        return false;
    }
    *swept += (uint32_t)l.count;
    for (size_t i = 0; depth < SWEEP_DEPTH && i < l.folders.count; i++) {
        char path[IO_NAME_MAX];
        bool fits = str_format(path, sizeof path, "%s%s%s", folder, folder[0] ? "/" : "",
                               l.folders.entries[i].name);
        if (fits && !sweep_below(s, path, depth + 1, swept, err)) /* longer: not ours */
            return false;
    }
    return true;
}

static bool nfs_sweep(void *state, const char *folder, uint32_t *ret_swept, struct err *err)
{
    return sweep_below(state, folder, 0, ret_swept, err);
}

struct space {
    uint64_t total, room;
};

static enum nfs_outcome try_space(struct nfs_op *op, void *arg, struct err *err)
{
    struct space *space = arg;
    struct nfs_handle root;
    struct nfs_attr ignored;
    return nfs_root(op, false, &root, &ignored, err)
               ? nfs_call_space(&op->ask, &root, &space->total, &space->room, err)
               : NFS_FAILED;
}

static bool nfs_space(void *state, uint64_t *ret_total, uint64_t *ret_free, struct err *err)
{
    struct store *s = state;
    struct space space;
    AUTO(nfs_op) struct nfs_op op = {0};
    if (!nfs_op_begin(&op, s->nfs, NULL, err) ||
        nfs_op_run(&op, try_space, &space, err) != NFS_DONE)
        return nfs_named(s->nfs, err);
    *ret_total = space.total;
    *ret_free = space.room < space.total ? space.room : space.total;
    return true;
}

/* ---- opening ---- */

static const struct io_backend backend = {
    .name = "nfs",
    .put = nfs_put,
    .create = nfs_create,
    .append = nfs_append,
    .finish = nfs_finish,
    .abandon = nfs_abandon,
    .read = nfs_read,
    .size = nfs_size,
    .remove = nfs_remove,
    .list = nfs_list_folder,
    .space = nfs_space,
    .sweep = nfs_sweep,
    .close = store_close,
};

/* The last directory may be missing, as with a directory of this host; the one above may not. */
static bool make_root(const struct nfs_url *place, struct err *err)
{
    struct nfs_url above = *place;
    char *slash = strrchr(above.path, '/');
    const char *name = strrchr(place->path, '/') + 1;
    struct nfs_handle root;
    struct nfs_attr ignored;
    slash[slash == above.path] = '\0';
    AUTO(nfs) struct nfs *nfs = nfs_open(&above, NULL, err);
    AUTO(nfs_op) struct nfs_op op = {0};
    return nfs && nfs_op_begin(&op, nfs, NULL, err) && nfs_root(&op, false, &root, &ignored, err) &&
           (make_folder(&op, &root, name, err) == NFS_DONE || nfs_named(nfs, err));
}

static struct nfs *open_place(const struct nfs_url *place, struct err *err)
{
    struct err why = {0};
    struct nfs *nfs = nfs_open(place, NULL, &why);
    if (!nfs && why.code == ERR_NOT_FOUND && !str_equal(place->path, "/"))
        return make_root(place, err) ? nfs_open(place, NULL, err) : NULL;
    if (!nfs)
        *err = why;
    return nfs;
}

struct io *io_nfs_open(const char *url, const struct io_option *options, size_t count,
                       struct err *err)
{
    struct nfs_url place;
    if (count > 0) {
        err_set(err, ERR_CONFIG,
                "store '%.100s': an NFS server has its options in the url, not '%s'", url,
                options[0].key);
        return NULL;
    }
    AUTO(store) struct store *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    if (!nfs_url_parse(url, &place, err) || !(s->nfs = open_place(&place, err)))
        return err_null(err, "store '%.100s'", url);
    s->piece = s->nfs->write_max < PIECE_MOST ? s->nfs->write_max : PIECE_MOST;
    if (s->piece < PIECE_LEAST) /* also for a server that says 0 or 1 */
        s->piece = PIECE_LEAST;
    return io_new(&backend, IO_CAN_SPACE | IO_IS_REMOTE, TAKE(s), url, err);
}
