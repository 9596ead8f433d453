/* Files of an export as Direct NFS handles them: new ones under a dot name until they are closed,
 * written UNSTABLE and committed every 8 MiB; old ones written FILE_SYNC, many at once. */
#include "dnfs.h"
#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { FILES = 256, PIECES = 32, GATHER = 8 << 20, FORGOTTEN_MAX = 20 };

struct file {
    struct dnfs_server *server; /* NULL: the slot is free */
    struct dnfs_fh fh, folder;
    char name[DNFS_NAME], dot[DNFS_NAME + 1]; /* dot: "" when it was not made under one */
    bool made;
    int error; /* of a write nobody was told about yet */
    char *buf; /* what is not durable yet: pieces that were sent, then one that still grows */
    size_t used, growing;
    uint64_t at; /* of the growing one */
    struct dnfs_call piece[PIECES];
    int pieces;
};
static struct file *files[FILES];

/* ---- paths ---- */

struct place { /* where a path leads: the folder of its last word, and that word */
    struct dnfs_fh folder;
    char name[DNFS_NAME]; /* "": the export's own top */
};

static const char *word(const char *p, char out[DNFS_NAME])
{
    size_t n;

    while (*p == '/')
        p++;
    n = strcspn(p, "/");
    copy_text(out, n + 1 < DNFS_NAME ? n + 1 : DNFS_NAME, p);
    return p + n;
}

static bool is_last(const char *p) { return p[strspn(p, "/")] == 0; }

static bool walk(struct dnfs_mount *m, const char *rest, struct place *out)
{
    struct dnfs_call c;

    if (!dnfs_mount(m))
        return false;
    out->folder = m->root;
    for (rest = word(rest, out->name); !is_last(rest); rest = word(rest, out->name)) {
        if (!dnfs_lookup(m->server, &out->folder, out->name, &c))
            return false;
        out->folder = c.fh;
    }
    return true;
}

static bool find(struct dnfs_mount *m, const char *rest, struct dnfs_call *c)
{
    struct place p;

    if (!walk(m, rest, &p))
        return false;
    if (p.name[0]) {
        if (!dnfs_lookup(m->server, &p.folder, p.name, c))
            return false;
    } else {
        c->fh = p.folder;
        c->has_attr = false;
    }
    if (!c->has_attr) {
        struct dnfs_fh fh = c->fh;

        if (!dnfs_getattr(m->server, &fh, c))
            return false;
        c->fh = fh;
    }
    return true;
}

/* Oracle makes no folders; here nobody has mounted the export to make them. */
static bool make_way(struct dnfs_mount *m, const char *rest)
{
    struct dnfs_fh dir = m->root;
    char name[DNFS_NAME];
    struct dnfs_call c;

    for (rest = word(rest, name); !is_last(rest); rest = word(rest, name)) {
        if (!dnfs_lookup(m->server, &dir, name, &c) &&
            (errno != ENOENT ||
             (!dnfs_make_folder(m->server, &dir, name, 0750) && errno != EEXIST) ||
             !dnfs_lookup(m->server, &dir, name, &c)))
            return false;
        dir = c.fh;
    }
    return true;
}

int dnfs_stat(struct dnfs_mount *m, const char *rest, struct disk_stat *ret)
{
    struct dnfs_call c;

    if (!find(m, rest, &c))
        return -1;
    *ret = (struct disk_stat){.folder = c.folder, .file = !c.folder, .size = c.size};
    return 0;
}

int dnfs_access(struct dnfs_mount *m, const char *rest, int mode)
{
    struct dnfs_call c;

    if (!find(m, rest, &c))
        return -1;
    return mode == F_OK || dnfs_can_read(m->server, &c.fh) ? 0 : -1;
}

int dnfs_unlink(struct dnfs_mount *m, const char *rest)
{
    struct place p;

    return walk(m, rest, &p) && dnfs_remove(m->server, &p.folder, p.name) ? 0 : -1;
}

int dnfs_rename(struct dnfs_mount *m, const char *from, const char *to)
{
    struct place a, b;

    return walk(m, from, &a) && walk(m, to, &b) &&
                   dnfs_move(m->server, &a.folder, a.name, &b.folder, b.name)
               ? 0
               : -1;
}

int dnfs_mkdir(struct dnfs_mount *m, const char *rest, mode_t mode)
{
    struct place p;

    if (!walk(m, rest, &p))
        return -1;
    if (p.name[0])
        return dnfs_make_folder(m->server, &p.folder, p.name, mode) ? 0 : -1;
    errno = EEXIST;
    return -1;
}

int dnfs_list(struct dnfs_mount *m, const char *rest, struct disk_names *names)
{
    struct dnfs_call c;
    struct dnfs_fh dir;

    if (!find(m, rest, &c))
        return -1;
    dir = c.fh;
    c = (struct dnfs_call){0};
    do
        if (!dnfs_page(m->server, &dir, &c, names))
            return -1;
    while (!c.eof);
    return 0;
}

/* ---- opening ---- */

static int slot_take(struct file **ret)
{
    for (int i = 0; i < FILES; i++) {
        if (files[i] && files[i]->server)
            continue;
        if (!files[i])
            files[i] = calloc(1, sizeof **files);
        if (!files[i])
            die("out of memory");
        *ret = files[i];
        return i;
    }
    errno = EMFILE;
    return -1;
}

static bool make(struct dnfs_server *s, struct file *f, mode_t mode, bool dots)
{
    if (!dots || f->name[0] == '.')
        return dnfs_create(s, &f->folder, f->name, DNFS_ANEW, mode, &f->fh);
    format_text(f->dot, sizeof f->dot, ".%.254s", f->name);
    return dnfs_create(s, &f->folder, f->dot, DNFS_ONCE, mode, &f->fh);
}

int dnfs_open(struct dnfs_mount *m, const char *rest, int flags, mode_t mode, bool dots)
{
    struct place p;
    struct dnfs_call c;
    struct file *f;
    int slot = slot_take(&f);

    if (slot < 0 || (!walk(m, rest, &p) && (!(flags & O_CREAT) || errno != ENOENT ||
                                            !make_way(m, rest) || !walk(m, rest, &p))))
        return -1;
    memset(f, 0, sizeof *f);
    f->folder = p.folder;
    copy_text(f->name, sizeof f->name, p.name);
    if (flags & O_CREAT) {
        if (!make(m->server, f, mode, dots))
            return -1;
        f->made = true;
    } else {
        if (!find(m, rest, &c))
            return -1;
        if (c.folder) {
            errno = EISDIR;
            return -1;
        }
        f->fh = c.fh;
    }
    f->server = m->server;
    return slot;
}

/* ---- writing ---- */

static bool failed(struct file *f)
{
    f->error = errno;
    return false;
}

/* What a piece left unwritten follows it, one call at a time. */
static bool finish_piece(struct file *f, struct dnfs_call *c)
{
    struct dnfs_call more;

    if (!dnfs_errno(c))
        return failed(f);
    for (size_t n = c->count; n < c->args.write.count; n += more.count) {
        dnfs_write_call(&more, &f->fh, c->args.write.data.data_val + n, c->args.write.count - n,
                        c->args.write.offset + n, !f->made);
        if (!dnfs_run(f->server, &more))
            return failed(f);
        if (memcmp(more.verf, c->verf, sizeof more.verf) != 0)
            memset(c->verf, 0, sizeof c->verf); /* fits no COMMIT: all is sent again */
    }
    return true;
}

static void send_growing(struct file *f)
{
    struct dnfs_call *c = &f->piece[f->pieces];

    if (!f->growing)
        return;
    f->pieces++;
    dnfs_write_call(c, &f->fh, f->buf + f->used - f->growing, f->growing, f->at, !f->made);
    f->growing = 0;
    dnfs_begin(f->server, c);
}

/* Answered, and for a new file committed: true when the server has all of it for good. */
static bool durable(struct file *f, bool *again)
{
    struct dnfs_call c;
    bool ok = true;

    *again = false;
    dnfs_wait(f->server, f->piece, f->pieces);
    for (int i = 0; i < f->pieces; i++)
        ok = finish_piece(f, &f->piece[i]) && ok;
    if (!ok || !f->made)
        return ok;
    if (!dnfs_commit(f->server, &f->fh, &c))
        return failed(f);
    for (int i = 0; i < f->pieces; i++)
        if (memcmp(f->piece[i].verf, c.verf, sizeof c.verf) != 0)
            *again = true;
    return !*again;
}

static bool settle(struct file *f)
{
    bool again, ok;

    send_growing(f);
    ok = !f->pieces || durable(f, &again);
    for (int rounds = 0; !ok && again && rounds < FORGOTTEN_MAX; rounds++) {
        for (int i = 0; i < f->pieces; i++)
            dnfs_begin(f->server, &f->piece[i]); /* the server died and forgot it */
        ok = durable(f, &again);
    }
    if (!ok && again)
        f->error = EIO;
    f->pieces = 0;
    f->used = 0;
    if (f->error)
        errno = f->error;
    return !f->error;
}

void dnfs_settle_all(void)
{
    for (int i = 0; i < FILES; i++)
        if (files[i] && files[i]->server)
            settle(files[i]);
}

static bool meets(const struct file *f, uint64_t at, size_t n)
{
    if (f->growing && at < f->at + f->growing && f->at < at + n)
        return true;
    for (int i = 0; i < f->pieces; i++) {
        const WRITE3args *w = &f->piece[i].args.write;

        if (at < w->offset + w->count && w->offset < at + n)
            return true;
    }
    return false;
}

ssize_t dnfs_pwrite(int slot, const void *from, size_t n, uint64_t at)
{
    struct file *f = files[slot];

    if (meets(f, at, n) && !settle(f))
        return -1;
    if (!f->buf && !(f->buf = malloc(GATHER)))
        die("out of memory");
    if (at != f->at + f->growing)
        send_growing(f);
    for (size_t done = 0, part; done < n; done += part) {
        if (f->growing == f->server->wtmax)
            send_growing(f);
        if ((f->pieces == PIECES || f->used == GATHER) && !settle(f))
            return -1;
        if (!f->growing)
            f->at = at + done;
        part = n - done;
        if (part > f->server->wtmax - f->growing)
            part = f->server->wtmax - f->growing;
        if (part > GATHER - f->used)
            part = GATHER - f->used;
        memcpy(f->buf + f->used, (const char *)from + done, part);
        f->used += part;
        f->growing += part;
    }
    return (ssize_t)n;
}

int dnfs_truncate(int slot, uint64_t size)
{
    struct file *f = files[slot];

    return settle(f) && dnfs_resize(f->server, &f->fh, size) ? 0 : -1;
}

/* ---- reading ---- */

ssize_t dnfs_pread(int slot, void *to, size_t n, uint64_t at)
{
    struct file *f = files[slot];
    struct dnfs_call c[PIECES];
    size_t done = 0;
    bool end = false;

    if (meets(f, at, n) && !settle(f))
        return -1;
    while (done < n && !end) {
        int k = 0;

        for (size_t from = done; from < n && k < PIECES; from += f->server->rtmax, k++)
            dnfs_read_call(&c[k], &f->fh, (char *)to + from,
                           n - from < f->server->rtmax ? n - from : f->server->rtmax, at + from);
        for (int i = 0; i < k; i++)
            dnfs_begin(f->server, &c[i]);
        dnfs_wait(f->server, c, k);
        for (int i = 0; i < k && !end; i++) {
            if (!dnfs_errno(&c[i]))
                return -1;
            done += c[i].count;
            end = c[i].eof || !c[i].count;
            if (c[i].count < c[i].args.read.count)
                break; /* a short answer: from here once more */
        }
    }
    return (ssize_t)done;
}

/* ---- the end ---- */

int dnfs_close(int slot, bool keep)
{
    struct file *f = files[slot];
    bool ok = true;

    if (keep)
        ok = settle(f);
    else
        dnfs_wait(f->server, f->piece, f->pieces);
    if (f->dot[0] && keep && ok)
        ok = dnfs_move(f->server, &f->folder, f->dot, &f->folder, f->name);
    else if (f->dot[0])
        dnfs_remove(f->server, &f->folder, f->dot);
    free(f->buf);
    f->buf = NULL;
    f->server = NULL;
    return ok ? 0 : -1;
}
