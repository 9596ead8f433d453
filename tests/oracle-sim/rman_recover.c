/* RECOVER and RESTORE: the merge into copies, media recovery from logs, control file and log
 * restores. */
#include "rman.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* ---- merge: level 1 pieces into image copies ---- */

struct target { /* one copy to bring forward, by one piece */
    int64_t copy, piece;
    int file;
    char path[PATH_LEN], handle[PATH_LEN], tag[40];
    uint64_t ckp;
    bool last; /* the last piece of this step: the header may move */
};

struct ticks { /* counts blocks for the faults "merge-kill" and "merge-enospc" */
    int64_t kill_at, full_at, done;
};

static bool enospc(struct rman *r, const struct target *t, uint32_t block, int why)
{
    ora_add(&r->e, "ORA-19870: error while restoring backup piece %s", t->handle);
    ora_add(&r->e, "ORA-19502: write error on file \"%s\", block number %u (block size=%u)",
            t->path, block, r->s.bs);
    ora_add(&r->e, "ORA-27072: File I/O error");
    ora_add(&r->e, "Linux-x86_64 Error: %d: %s", why, strerror(why));
    return ora_add(&r->e, "Additional information: 4");
}

static bool put_block(struct rman *r, const struct target *t, int fd, const uint8_t *b,
                      struct ticks *k)
{
    uint32_t bs = r->s.bs, rdba = get4(r->s.fmt, b + 4);
    uint32_t no =
        q_int(&r->s, "select rfn from ctl.files where file=?", "i", (int64_t)t->file) == 1024
            ? rdba
            : rdba & 0x3fffff;

    if (k->full_at >= 0 && k->done >= k->full_at)
        return enospc(r, t, no, ENOSPC);
    if (disk_pwrite(fd, b, bs, (off_t)no * bs) != (ssize_t)bs)
        return enospc(r, t, no, errno);
    k->done++;
    if (k->kill_at >= 0 && k->done >= k->kill_at) {
        fflush(stdout);
        disk_settle_all();
        raise(SIGKILL); /* blocks of today under yesterday's header */
    }
    return true;
}

/* Finds a file's record in the piece; returns the block after it, 0 when it is not there. */
static uint32_t find_record(struct rman *r, int fd, int file, struct pfile *p, uint8_t *b)
{
    uint32_t bs = r->s.bs, at = 2;

    while (disk_pread(fd, b, bs, (off_t)at * bs) == (ssize_t)bs) {
        if (memcmp(b + 20, "EVPC", 4) != 0 || !kcbh_ok(r->s.fmt, b, bs))
            return 0;
        b[bs - 1] = 0;
        if (!pfile_parse((const char *)b + 48, p))
            return 0;
        if (p->file == file)
            return at + 1;
        at += 1 + p->count;
    }
    return 0;
}

static bool apply_blocks(struct rman *r, const struct target *t, int in, int out, struct pfile *p,
                         struct ticks *k)
{
    uint32_t bs = r->s.bs, at;
    uint8_t *b = malloc(bs);
    bool ok = b != NULL;

    at = ok ? find_record(r, in, t->file, p, b) : 0;
    if (!at) {
        ora_add(&r->e, "ORA-19870: error while restoring backup piece %s", t->handle);
        ok = ora_add(&r->e, "ORA-19599: block number 1 is corrupt in backup piece %s", t->handle);
    }
    for (uint32_t i = 0; ok && i < p->count; i++) {
        if (disk_pread(in, b, bs, ((off_t)at + i) * bs) != (ssize_t)bs ||
            !kcbh_ok(r->s.fmt, b, bs)) {
            ora_add(&r->e, "ORA-19870: error while restoring backup piece %s", t->handle);
            ok = ora_add(&r->e, "ORA-19599: block number %u is corrupt in backup piece %s", at + i,
                         t->handle);
            break;
        }
        ok = put_block(r, t, out, b, k) && (i % 64 || hang_point(r, "merge"));
    }
    free(b);
    return ok;
}

static void copy_forward(struct rman *r, const struct target *t, const struct dfh *h)
{
    struct sim *s = &r->s;

    tx_begin(s);
    x(s,
      "insert into "
      "ctl.copies(stamp,file,con,name,tag,tsname,rfn,crscn,crtime,ckpscn,ckptime,afs,rfs,sta,rlc,"
      "rls,blocks,status,lvl0,done) select "
      "?,file,con,name,tag,tsname,rfn,crscn,crtime,?,?,?,?,sta,rlc,rls,?,"
      "status,lvl0,? from ctl.copies where recid=?",
      "iiiiiiii", (int64_t)now_ft(s), (int64_t)h->ckp, (int64_t)h->ckptim, (int64_t)h->afs,
      (int64_t)h->rfs, (int64_t)h->fsz, (int64_t)h->bcs, t->copy);
    x(s, "delete from ctl.copies where recid=?", "i", t->copy);
    tx_end(s);
}

/* The header is written last: until then the old checkpoint stays true enough to merge again. */
static bool forward_header(struct rman *r, const struct target *t, int fd, const struct pfile *p)
{
    struct dfh h;
    uint64_t afs =
        (uint64_t)q_int(&r->s, "select max(afs) from ctl.pfiles where file=? and ckpscn=?", "ii",
                        (int64_t)t->file, (int64_t)p->ckp);

    if (!dfh_read(t->path, &h))
        return ora_add(&r->e, "ORA-19563: datafile copy header validation failed for file %s",
                       t->path);
    h.ckp = p->ckp;
    h.ckptim = p->ckptime;
    h.ckpseq = p->ckpseq;
    h.ckpblk = p->ckpblk;
    h.ckpthr = p->thread;
    h.cpc = p->cpc;
    h.ccc = p->cpc ? p->cpc - 1 : 0;
    h.afs = afs;
    h.bcs = now_ft(&r->s);
    h.csq = (uint32_t)kv_int(&r->s, "ctl", "csq", 1);
    if (p->fsz > h.fsz && disk_truncate(fd, ((off_t)p->fsz + 1) * h.bs) < 0)
        return enospc(r, t, p->fsz, errno);
    h.fsz = p->fsz;
    if (!dfh_write(fd, &h))
        return enospc(r, t, 1, errno);
    copy_forward(r, t, &h);
    return true;
}

static bool merge_one(struct rman *r, const struct target *t, struct ticks *k)
{
    int in = disk_open(t->handle, O_RDONLY, 0), out = disk_open(t->path, O_RDWR, 0);
    struct pfile p = {0};
    struct piece_meta m;
    bool ok = in >= 0 && out >= 0;

    if (!ok)
        ora_io(&r->e, "open", in < 0 ? t->handle : t->path, errno);
    if (ok && (!piece_head(t->handle, &m) || m.dbid != r->s.dbid)) {
        ora_add(&r->e, "ORA-19870: error while restoring backup piece %s", t->handle);
        ok = ora_add(&r->e, "ORA-19599: block number 1 is corrupt in backup piece %s", t->handle);
    }
    ok = ok && apply_blocks(r, t, in, out, &p, k) && (!t->last || forward_header(r, t, out, &p));
    if (in >= 0)
        disk_close(in);
    if (out >= 0 && disk_close(out) < 0 && ok)
        ok = enospc(r, t, 1, errno);
    return ok;
}

static void why_not(struct rman *r, int file)
{
    struct dfile f;

    if (file_load(&r->s, file, &f) && file_static(&f))
        printf("datafile %d not processed because file is %s\n", file,
               same(f.status, "OFFLINE") ? "offline" : "read-only");
    else
        printf("no copy of datafile %d found to recover\n", file);
}

/* The next step of every copy that has one: pieces starting at or before its checkpoint, ending
 * after. */
static int steps(struct rman *r, const char *tag, struct target *out, int max)
{
    sqlite3_stmt *st =
        q(&r->s,
          "with c as (select d.file, (select recid from ctl.copies k where k.file=d.file and"
          " k.crscn=d.crscn and k.tag=?1 and k.status='A' order by k.ckpscn desc limit 1) rec"
          " from ctl.files d), n as (select c.file, c.rec, (select min(f.ckpscn) from"
          " ctl.pfiles f join ctl.pieces p on p.recid=f.recid, ctl.copies k where k.recid=c.rec"
          " and p.status='A' and p.tag=?1 and f.file=c.file and f.crscn=k.crscn and f.startscn"
          "<=k.ckpscn and f.ckpscn>k.ckpscn) ckp from c where c.rec is not null)"
          " select n.rec, p.recid, n.file, k.name, p.handle, p.tag, n.ckp, p.recid=(select"
          " max(f2.recid) from ctl.pfiles f2 join ctl.pieces p2 on p2.recid=f2.recid where"
          " f2.file=n.file and f2.ckpscn=n.ckp and p2.status='A') from n join ctl.pfiles f on"
          " f.file=n.file and f.ckpscn=n.ckp join ctl.pieces p on p.recid=f.recid and"
          " p.status='A' join ctl.copies k on k.recid=n.rec order by p.recid, n.file",
          "s", tag);
    int n = 0;

    while (row(st)) {
        struct target *t = &out[n];

        if (n == max)
            continue;
        t->copy = col(st, 0);
        t->piece = col(st, 1);
        t->file = (int)col(st, 2);
        copy_text(t->path, sizeof t->path, text(st, 3));
        copy_text(t->handle, sizeof t->handle, text(st, 4));
        copy_text(t->tag, sizeof t->tag, text(st, 5));
        t->ckp = (uint64_t)col(st, 6);
        t->last = col(st, 7) != 0;
        n++;
    }
    return n;
}

static void piece_start(const struct channel *c, const struct target *t, int n)
{
    printf("channel %s: starting incremental datafile backup set restore\n"
           "channel %s: specifying datafile copies to recover\n",
           c->name, c->name);
    for (int i = 0; i < n; i++)
        printf("recovering datafile copy file number=%05d name=%s\n", t[i].file, t[i].path);
    printf("channel %s: reading from backup piece %s\n", c->name, t->handle);
}

static int piece_span(const struct target *t, int n, int at)
{
    int len = 1;

    while (at + len < n && t[at + len].piece == t[at].piece)
        len++;
    return len;
}

/* One round: up to as many pieces as there are channels, starts first, then the work and its ends.
 */
static int merge_round(struct rman *r, struct target *t, int n, int at, struct ticks *k)
{
    int from = at, c = 0;

    for (; c < r->channels && at < n; c++) {
        int len = piece_span(t, n, at);

        piece_start(&r->ch[c], &t[at], len);
        at += len;
    }
    c = 0;
    for (int i = from; i < at; c++) {
        int len = piece_span(t, n, i);
        const char *ch = r->ch[c].name;

        for (int j = i; j < i + len; j++)
            if (!merge_one(r, &t[j], k)) {
                copy_text(r->bad_channel, sizeof r->bad_channel, ch);
                return -1;
            }
        printf("channel %s: piece handle=%s tag=%s\nchannel %s: restored backup piece 1\n"
               "channel %s: restore complete, elapsed time: 00:00:01\n",
               ch, t[i].handle, t[i].tag, ch, ch);
        i += len;
    }
    return at;
}

static void silent_files(struct rman *r, const struct target *t, int n)
{
    struct dfile *f;
    int files = files_load(&r->s, &f);

    for (int i = 0; i < files; i++) {
        bool moved = false;

        for (int j = 0; j < n && !moved; j++)
            moved = t[j].file == f[i].file;
        if (!moved)
            why_not(r, f[i].file);
    }
    free(f);
}

bool merge(struct rman *r, const char *tag)
{
    enum { MAX = 8192 };
    struct target *t = calloc(MAX, sizeof *t);
    struct ticks k = {-1, -1, 0};
    int n, at = 0;

    if (!t)
        die("out of memory");
    fault_take(&r->s, "merge-kill", &k.kill_at);
    fault_take(&r->s, "merge-enospc", &k.full_at);
    n = steps(r, tag, t, MAX);
    silent_files(r, t, n);
    if (!hang_point(r, "merge"))
        at = -1;
    while (n && at >= 0) {
        for (at = 0; at >= 0 && at < n;)
            at = merge_round(r, t, n, at, &k);
        if (at >= 0)
            n = steps(r, tag, t, MAX);
    }
    free(t);
    return at >= 0;
}

/* ---- media recovery ---- */

struct patient { /* a datafile under media recovery */
    struct dfile f;
    struct dfh h;
    int fd;
    bool fixed; /* static: not to be touched */
    bool ended; /* the end-backup marker has passed */
};

struct logfile {
    int thread;
    uint32_t seq;
    uint64_t first, next;
    char name[PATH_LEN];
};

struct change { /* a change vector taken out of its log */
    struct vec v;
    uint32_t time;
};

struct recovery {
    struct rman *r;
    struct change *change;
    size_t changes, room;
    struct patient *p;
    int files, logs;
    struct logfile *log;
    uint64_t until, limit;
    uint32_t time, seq;
    int gap_thread;
    uint32_t gap_seq;
    uint64_t gap_scn;
    bool gap_known;
    uint8_t *buf;
};

static struct patient *patient(struct recovery *v, int file)
{
    for (int i = 0; i < v->files; i++)
        if (v->p[i].f.file == file)
            return &v->p[i];
    return NULL;
}

static uint64_t start_of(const struct patient *p)
{
    if (p->f.offscn && p->f.onscn && p->h.ckp >= p->f.offscn && p->h.ckp < p->f.onscn)
        return p->f.onscn; /* an offline range in the control file is passed over */
    return p->h.ckp;
}

static bool admit(struct recovery *v, struct patient *p)
{
    struct ora *e = &v->r->e;

    p->fd = -1;
    p->fixed = same(p->f.status, "OFFLINE");
    if (!dfh_read(p->f.name, &p->h)) {
        p->fixed = p->fixed || p->f.crscn >= v->until;
        memset(&p->h, 0, sizeof p->h);
        if (p->fixed || p->f.crscn > (uint64_t)kv_int(&v->r->s, "ctl", "rls", 0)) {
            p->h.ckp = p->f.crscn; /* redo creates it, or it is not wanted */
            return true;
        }
        return ora_add(e, "RMAN-06094: datafile %d must be restored", p->f.file);
    }
    if (file_static(&p->f) && p->h.ckp >= p->f.stopscn) {
        p->fixed = true;
        return true;
    }
    if (p->h.dbid != v->r->s.dbid || p->h.fno != p->f.file)
        return ora_add(e, "ORA-01206: file is not part of this database - wrong database id");
    if (p->h.rlc != v->r->s.rlc)
        return ora_add(e,
                       "ORA-01190: control file or data file %d is from before the last RESETLOGS",
                       p->f.file);
    if (p->h.ckp > v->until)
        return ora_add(e,
                       "RMAN-06556: datafile %d must be restored from backup older than SCN %llu",
                       p->f.file, (unsigned long long)v->until);
    if (p->h.typ == 11 || (p->h.sta & 0x1200))
        return ora_add(e, "RMAN-06094: datafile %d must be restored", p->f.file);
    return true;
}

static bool admit_all(struct recovery *v, uint64_t *start)
{
    *start = v->until;
    for (int i = 0; i < v->files; i++) {
        if (!admit(v, &v->p[i]))
            return false;
        if (v->p[i].fixed)
            printf("datafile %d not processed because file is %s\n", v->p[i].f.file,
                   same(v->p[i].f.status, "OFFLINE") ? "offline" : "read-only");
        else if (start_of(&v->p[i]) < *start)
            *start = start_of(&v->p[i]);
    }
    return true;
}

static uint32_t first_seq(struct sim *s, int thread, uint64_t start, uint64_t *scn)
{
    static const char *const from[] = {
        "select seq, first from ctl.archlog where thread=?1 and first<=?2 and next>?2 and "
        "status='A' and rlc=?3",
        "select seq, first from ctl.loghist where thread=?1 and first<=?2 and next>?2 and rlc=?3",
        "select seq, first from ctl.logs where thread=?1 and first<=?2 and status<>'UNUSED' and "
        "?3=?3"
        " order by first desc limit 1",
    };
    uint32_t seq = 0;

    for (size_t i = 0; i < 3 && !seq; i++) {
        sqlite3_stmt *st = q(s, from[i], "iii", (int64_t)thread, (int64_t)start, (int64_t)s->rlc);

        while (row(st)) {
            seq = (uint32_t)col(st, 0);
            *scn = (uint64_t)col(st, 1);
        }
    }
    return seq;
}

static bool log_find(struct sim *s, int thread, uint32_t seq, struct logfile *l, bool *known)
{
    sqlite3_stmt *st =
        q(s,
          "select name from ctl.archlog where thread=? and seq=? and rlc=? and status='A'"
          " order by recid desc",
          "iii", (int64_t)thread, (int64_t)seq, (int64_t)s->rlc);
    bool found = false;
    struct rlog h;

    *known = false;
    while (row(st)) {
        *known = true;
        if (found || !rlog_read(text(st, 0), &h) || h.thread != thread || h.seq != seq ||
            h.dbid != s->dbid)
            continue;
        found = true;
        copy_text(l->name, sizeof l->name, text(st, 0));
        l->thread = thread;
        l->seq = seq;
        l->first = h.first;
        l->next = h.next;
    }
    return found;
}

static void log_add(struct recovery *v, const struct logfile *l)
{
    if (v->logs % 64 == 0) {
        v->log = realloc(v->log, sizeof *v->log * (size_t)(v->logs + 64));
        if (!v->log)
            die("out of memory");
    }
    v->log[v->logs++] = *l;
}

static void thread_logs(struct recovery *v, int thread, bool closed, uint64_t start)
{
    struct logfile l = {0};
    uint64_t scn = start;
    uint32_t seq = first_seq(&v->r->s, thread, start, &scn);
    bool known = false;

    if (!seq && closed)
        return;
    for (; scn < v->until; seq++) {
        if (!log_find(&v->r->s, thread, seq, &l, &known)) {
            if (!closed && (!v->gap_seq || scn < v->gap_scn)) {
                v->gap_thread = thread;
                v->gap_seq = seq;
                v->gap_scn = scn;
                v->gap_known = known;
            }
            return;
        }
        log_add(v, &l);
        scn = l.next;
    }
}

static int by_scn(const void *a, const void *b)
{
    const struct logfile *l = a, *m = b;

    return l->first < m->first ? -1 : l->first > m->first ? 1 : l->thread - m->thread;
}

static void gather(struct recovery *v, uint64_t start)
{
    int thread[64], n = 0;
    bool closed[64];
    sqlite3_stmt *st = q(&v->r->s, "select thread, status from ctl.threads order by thread", NULL);

    while (row(st))
        if (n < 64) {
            closed[n] = same(text(st, 1), "CLOSED");
            thread[n++] = (int)col(st, 0);
        }
    for (int i = 0; i < n; i++)
        thread_logs(v, thread[i], closed[i], start);
    if (v->logs)
        qsort(v->log, (size_t)v->logs, sizeof *v->log, by_scn);
    for (int i = 0; i < v->logs; i++)
        printf("archived log for thread %d with sequence %u is already on disk as file %s\n",
               v->log[i].thread, v->log[i].seq, v->log[i].name);
    v->limit = v->gap_seq && v->gap_scn < v->until ? v->gap_scn : v->until;
}

static bool stuck(struct recovery *v, const struct vec *c, uint64_t found)
{
    ora_add(
        &v->r->e,
        "ORA-00600: internal error code, arguments: [3020], [%d], [%u], [%llu], [], [], [], [], "
        "[], [], [], []",
        c->file, c->block, (unsigned long long)found);
    return ora_add(&v->r->e,
                   "ORA-10567: Redo is inconsistent with data block (file# %d, block# %u)", c->file,
                   c->block);
}

static bool apply_block(struct recovery *v, struct patient *p, const struct vec *c)
{
    struct sim *s = &v->r->s;
    struct body k = {s->fmt, s->dbid, s->bs, c->file, c->rfn, c->undo != 0};
    uint64_t scn;
    ssize_t got = disk_pread(p->fd, v->buf, 24, (off_t)c->block * s->bs);

    scn = got == 24 && v->buf[0] ? kcbh_scn(s->fmt, v->buf) : 0;
    if (scn >= c->scn)
        return true;
    if (scn != c->prev)
        return stuck(v, c, scn);
    block_make(&k, c->block, c->scn, v->buf);
    if (disk_pwrite(p->fd, v->buf, s->bs, (off_t)c->block * s->bs) == (ssize_t)s->bs)
        return true;
    return ora_io(&v->r->e, "write", p->f.name, errno);
}

/* "ts|con|creation time|tablespace|name", as the vector carries it. */
static bool birth_text(const char *t, struct dfile *f)
{
    const char *p = t;
    char *end;
    long v[3];

    for (int i = 0; i < 3; i++, p = end + 1) {
        v[i] = strtol(p, &end, 10);
        if (*end != '|')
            return false;
    }
    if (!strchr(p, '|'))
        return false;
    f->ts = (int)v[0];
    f->con = (int)v[1];
    f->crtime = (uint32_t)v[2];
    format_text(f->tsname, sizeof f->tsname, "%.*s", (int)(strchr(p, '|') - p), p);
    return true;
}

/* A file born inside the interval: made by its redo, in the sandbox's own folder. */
static bool apply_create(struct recovery *v, const struct vec *c)
{
    struct sim *s = &v->r->s;
    struct patient *p = patient(v, c->file), fresh = {.fd = -1};
    struct birth b = {.lo = c->scn, .hwm = 3};
    char t[PATH_LEN * 2], dest[PATH_LEN], u[9];

    if (p && p->h.fsz)
        return true;
    if (!c->data)
        return ora_add(&v->r->e, "ORA-00353: log corruption near block 0");
    if (p)
        fresh.f = p->f;
    copy_text(t, c->len < sizeof t ? c->len + 1 : sizeof t, c->data);
    if (!birth_text(t, &fresh.f))
        return ora_add(&v->r->e, "ORA-00353: log corruption near block 0");
    fresh.f.file = c->file;
    fresh.f.rfn = c->rfn;
    fresh.f.blocks = c->block;
    fresh.f.crscn = fresh.f.ckpscn = c->scn;
    fresh.f.cpc = 1;
    copy_text(fresh.f.status, 16, "ONLINE");
    copy_text(fresh.f.enabled, 16, "READ WRITE");
    param(s, "db_create_file_dest", dest, sizeof dest);
    uniq8(s, u);
    if (!p && !dest[0]) {
        ora_add(&v->r->e, "ORA-01244: unnamed datafile(s) added to control file by media recovery");
        return ora_add(&v->r->e, "ORA-01110: data file %d: '%s'", c->file, strrchr(t, '|') + 1);
    }
    if (dest[0])
        format_text(fresh.f.name, PATH_LEN, "%.700s/%s/datafile/o1_mf_%.8s_%s_.dbf", dest,
                    s->unique, fresh.f.tsname, u);
    printf("creating datafile file number=%d name=%s\n", c->file, fresh.f.name);
    if (!datafile_create(s, &fresh.f, &b) || !dfh_read(fresh.f.name, &fresh.h))
        return ora_io(&v->r->e, "create", fresh.f.name, errno);
    fresh.fd = disk_open(fresh.f.name, O_RDWR, 0);
    x(s, "delete from ctl.files where file=?", "i", (int64_t)c->file);
    file_insert(s, &fresh.f);
    if (!p) {
        v->p = realloc(v->p, sizeof *v->p * (size_t)(v->files + 1));
        if (!v->p)
            die("out of memory");
        p = &v->p[v->files++];
    }
    *p = fresh;
    return true;
}

static bool apply_resize(struct recovery *v, struct patient *p, const struct vec *c)
{
    if (c->block <= p->h.fsz)
        return true;
    if (disk_truncate(p->fd, ((off_t)c->block + 1) * v->r->s.bs) < 0)
        return ora_io(&v->r->e, "write", p->f.name, errno);
    p->h.fsz = p->f.blocks = c->block;
    return true;
}

static bool apply(struct recovery *v, const struct vec *c)
{
    struct patient *p;

    if (c->op == OP_CREATE)
        return apply_create(v, c);
    p = patient(v, c->file);
    if (!p || p->fixed || c->scn < p->f.crscn)
        return true;
    if (p->fd < 0)
        p->fd = disk_open(p->f.name, O_RDWR, 0);
    if (p->fd < 0)
        return ora_io(&v->r->e, "open", p->f.name, errno);
    if (c->op == OP_RESIZE)
        return apply_resize(v, p, c);
    if (c->op == OP_DROP) {
        p->fixed = true;
        x(&v->r->s, "delete from ctl.files where file=?", "i", (int64_t)c->file);
        return true;
    }
    if (c->op == OP_END_BACKUP)
        p->ended = true;
    return c->op != OP_BLOCK || apply_block(v, p, c);
}

/* Threads are merged by SCN: a block may change in one thread and then in another. */
static bool collect(void *arg, const struct vec *c, uint32_t time)
{
    struct recovery *v = arg;
    struct change *k;

    if (c->scn >= v->limit)
        return true;
    if (v->changes == v->room) {
        v->room = v->room ? v->room * 2 : 1024;
        v->change = realloc(v->change, sizeof *v->change * v->room);
        if (!v->change)
            die("out of memory");
    }
    k = &v->change[v->changes++];
    k->v = *c;
    k->v.data = c->len ? strndup(c->data, c->len) : NULL;
    k->time = time;
    return true;
}

static int change_order(const void *a, const void *b)
{
    const struct change *c = a, *d = b;

    return c->v.scn < d->v.scn ? -1 : c->v.scn > d->v.scn;
}

static bool read_logs(struct recovery *v)
{
    char why[256];

    for (int i = 0; i < v->logs; i++) {
        const struct logfile *l = &v->log[i];

        if (l->first >= v->limit)
            continue;
        printf("archived log file name=%s thread=%d sequence=%u\n", l->name, l->thread, l->seq);
        v->seq = l->seq;
        if (rlog_walk(l->name, collect, v, why, sizeof why))
            continue;
        ora_add(&v->r->e, "ORA-00283: recovery session canceled due to errors");
        ora_add(&v->r->e, "%s", why);
        return ora_add(&v->r->e, "ORA-00334: archived log: '%s'", l->name);
    }
    return true;
}

static bool apply_logs(struct recovery *v)
{
    bool ok = read_logs(v);

    if (v->changes)
        qsort(v->change, v->changes, sizeof *v->change, change_order);
    for (size_t i = 0; i < v->changes; i++) {
        ok = ok && apply(v, &v->change[i].v);
        if (ok && v->change[i].time > v->time)
            v->time = v->change[i].time;
        free((void *)v->change[i].v.data);
    }
    free(v->change);
    v->change = NULL;
    return ok;
}

/* Needs redo beyond the point reached: changes seen while it was copied, or no end-backup marker.
 */
static bool still_fuzzy(const struct patient *p)
{
    return (p->h.afs && p->h.afs >= p->h.ckp) || ((p->h.sta & STA_BACKUP) && !p->ended);
}

static bool finish_one(struct recovery *v, struct patient *p)
{
    struct sim *s = &v->r->s;

    if (p->fd < 0)
        p->fd = disk_open(p->f.name, O_RDWR, 0);
    p->h.ckp = v->limit > p->h.ckp ? v->limit : p->h.ckp;
    p->h.ckptim = v->time > p->h.ckptim ? v->time : p->h.ckptim;
    p->h.ckpseq = v->seq ? v->seq : p->h.ckpseq;
    p->h.cpc++;
    p->h.rts = now_ft(s);
    if (!still_fuzzy(p))
        p->h.afs = 0;
    p->h.sta &= ~(STA_ONLINE | (p->ended ? STA_BACKUP : 0) | STA_MEDIA | 0x40 | STA_LEVEL0);
    memset(p->h.tag, 0, sizeof p->h.tag);
    if (p->fd < 0 || !dfh_write(p->fd, &p->h))
        return ora_io(&v->r->e, "write", p->f.name, errno);
    x(s, "update ctl.files set ckpscn=?, ckptime=?, blocks=? where file=?", "iiii",
      (int64_t)p->h.ckp, (int64_t)p->h.ckptim, (int64_t)p->h.fsz, (int64_t)p->f.file);
    return true;
}

/* All headers move to the point reached; a file that saw changes beyond it stays fuzzy. */
static bool finish(struct recovery *v)
{
    const struct patient *bad = NULL;

    for (int i = 0; i < v->files; i++) {
        struct patient *p = &v->p[i];

        if (p->fixed || !p->h.fsz)
            continue;
        if (!finish_one(v, p))
            return false;
        if (!bad && still_fuzzy(p))
            bad = p;
    }
    kv_set(&v->r->s, "ctl", "ckpscn", (int64_t)v->limit);
    if (!bad)
        return true;
    ora_add(&v->r->e,
            "ORA-01547: warning: RECOVER succeeded but OPEN RESETLOGS would get error below");
    ora_add(&v->r->e, "ORA-01195: online backup of file %d needs more recovery to be consistent",
            bad->f.file);
    return ora_add(&v->r->e, "ORA-01110: data file %d: '%s'", bad->f.file, bad->f.name);
}

static bool gap(struct recovery *v)
{
    unsigned long long scn = v->gap_scn;

    if (!v->gap_seq || v->gap_scn >= v->until)
        return true;
    v->r->e.lines = 0;
    if (v->gap_known) {
        ora_add(&v->r->e, "RMAN-06053: unable to perform media recovery because of missing log");
        return ora_add(&v->r->e,
                       "RMAN-06025: no backup of archived log for thread %d with sequence %u and "
                       "starting SCN of %llu found to restore",
                       v->gap_thread, v->gap_seq, scn);
    }
    printf("unable to find archived log\narchived log thread=%d sequence=%u\n", v->gap_thread,
           v->gap_seq);
    return ora_add(&v->r->e,
                   "RMAN-06054: media recovery requesting unknown archived log for thread %d with "
                   "sequence %u and starting SCN of %llu",
                   v->gap_thread, v->gap_seq, scn);
}

static bool media_recovery(struct recovery *v)
{
    uint64_t start;
    bool ok;

    if (!admit_all(v, &start))
        return false;
    puts("\nstarting media recovery\n");
    if (start < v->until)
        gather(v, start);
    ok = apply_logs(v) && finish(v);
    return gap(v) && ok;
}

static bool recover_database(struct rman *r, uint64_t until)
{
    struct recovery v = {.r = r, .until = until ? until : SCN_NONE};
    struct dfile *f;
    bool ok;

    if (is_open(&r->s))
        return ora_add(
            &r->e,
            "ORA-01126: database must be mounted in this instance and not open in any instance");
    v.limit = v.until;
    v.files = files_load(&r->s, &f);
    v.p = calloc((size_t)v.files + 1, sizeof *v.p);
    v.buf = malloc(r->s.bs);
    if (!v.p || !v.buf)
        die("out of memory");
    for (int i = 0; i < v.files; i++)
        v.p[i].f = f[i];
    for (int i = 0; i < v.files; i++)
        v.p[i].fd = -1;
    free(f);
    ok = media_recovery(&v);
    for (int i = 0; i < v.files; i++)
        if (v.p[i].fd >= 0)
            disk_close(v.p[i].fd);
    if (ok)
        puts("media recovery complete, elapsed time: 00:00:00");
    free(v.p);
    free(v.log);
    free(v.buf);
    return ok;
}

bool cmd_recover(struct rman *r, struct toks *k)
{
    char tag[40] = "", d[64];
    uint64_t until = r->until;
    bool copy = words(k, "copy of"), ok;

    if (!words(k, "database"))
        return syntax(r, k);
    while (more(k) && peek(k)->kind == 'w') {
        if (words(k, "with tag")) {
            sign(k, '=');
            take_any(k, tag, sizeof tag - 8);
        } else if (words(k, "until scn")) {
            sign(k, '=');
            if (!take_number(k, &until))
                return syntax(r, k);
        } else if (!words(k, "noredo")) {
            return syntax(r, k);
        }
    }
    if (peek(k)->kind == 's' || peek(k)->kind == 'd')
        return syntax(r, k);
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    upper(tag);
    printf("\nStarting recover at %s\n", day(r, d));
    channels_need(r);
    ok = copy ? merge(r, tag) : recover_database(r, until);
    if (ok)
        printf("Finished recover at %s\n", day(r, d));
    return ok && (!copy || autobackup(r));
}

/* ---- restore ---- */

static bool restore_control(struct rman *r, const char *from)
{
    struct sim *s = &r->s;
    char d[64], path[PATH_LEN], list[PATH_LEN * 2], *p, *next;
    uint8_t *data = NULL;
    size_t n = 0;
    bool ok;

    if (!s->have)
        return need_mounted(r);
    if (s->mounted)
        return ora_add(&r->e,
                       "RMAN-06496: must use the TO clause when the database is mounted or open");
    printf("\nStarting restore at %s\n", day(r, d));
    if (!r->told_nocatalog)
        puts("using target database control file instead of recovery catalog");
    r->told_nocatalog = true;
    channels_need(r);
    puts("");
    if (!control_read(from, &data, &n))
        return ora_add(
            &r->e,
            "RMAN-06172: no AUTOBACKUP found or specified handle is not a valid copy or piece");
    printf("channel %s: restoring control file\n", r->ch[0].name);
    format_text(path, sizeof path, "%.900s/control.sqlite", s->dir);
    ok = write_all(path, data, n) && sim_mount(s, false);
    free(data);
    if (!ok)
        return ora_add(&r->e, "ORA-19870: error while restoring backup piece %s", from);
    ok = control_flush(s, &r->e);
    sim_unmount(s);
    if (!ok)
        return false;
    printf("channel %s: restore complete, elapsed time: 00:00:01\n", r->ch[0].name);
    param(s, "control_files", list, sizeof list);
    for (p = list; p && *p; p = next) {
        next = strchr(p, ',');
        if (next)
            *next++ = 0;
        printf("output file name=%s\n", p);
    }
    printf("Finished restore at %s\n", day(r, d));
    return true;
}

struct held { /* a log inside a backup piece */
    char handle[PATH_LEN], tag[40];
    int nth;
    bool found;
};

static struct held held_log(struct rman *r, int64_t thread, int64_t seq)
{
    struct held h = {.found = false};
    sqlite3_stmt *st =
        q(&r->s,
          "select p.handle, p.tag, l.nth from ctl.plogs l join ctl.pieces p on"
          " p.recid=l.recid where p.status='A' and l.thread=? and l.seq=? and l.rlc=?",
          "iii", thread, seq, (int64_t)r->s.rlc);

    while (row(st)) {
        copy_text(h.handle, sizeof h.handle, text(st, 0));
        copy_text(h.tag, sizeof h.tag, text(st, 1));
        h.nth = (int)col(st, 2);
        h.found = true;
    }
    return h;
}

static void restored_name(struct rman *r, int64_t thread, int64_t seq, char *out, size_t n)
{
    struct naming k = {.kind = 'L', .thread = (int)thread, .seq = (uint32_t)seq};
    char format[128], name[256], dest[PATH_LEN];

    param(&r->s, "log_archive_format", format, sizeof format);
    name_expand(&r->s, format[0] ? format : "%t_%s_%r.dbf", &k, name, sizeof name);
    copy_text(dest, sizeof dest, r->arch_dest);
    if (!dest[0])
        param(&r->s, "db_recovery_file_dest", dest, sizeof dest);
    format_text(out, n, "%.700s%s%s", dest, dest[0] && dest[strlen(dest) - 1] == '/' ? "" : "/",
                name);
}

static bool restore_log(struct rman *r, int64_t thread, int64_t seq)
{
    struct held h = held_log(r, thread, seq);
    const char *ch = r->ch[0].name;
    char path[PATH_LEN];
    struct rlog log;
    uint8_t *data = NULL;
    size_t n;
    bool ok;

    if (!h.found) {
        ora_add(&r->e, "RMAN-06026: some targets not found - aborting restore");
        return ora_add(
            &r->e,
            "RMAN-06025: no backup of archived log for thread %lld with sequence %lld and "
            "starting SCN of %lld found to restore",
            (long long)thread, (long long)seq,
            (long long)q_int(&r->s, "select first from ctl.loghist where thread=? and seq=?", "ii",
                             thread, seq));
    }
    printf("channel %s: starting archived log restore to %s destination\n", ch,
           r->arch_dest[0] ? "user-specified" : "default");
    if (r->arch_dest[0])
        printf("archived log destination=%s\n", r->arch_dest);
    printf("channel %s: restoring archived log\narchived log thread=%lld sequence=%lld\n"
           "channel %s: reading from backup piece %s\n",
           ch, (long long)thread, (long long)seq, ch, h.handle);
    restored_name(r, thread, seq, path, sizeof path);
    if (!piece_unstream(h.handle, 4, h.nth, &data, &n))
        return ora_add(&r->e, "ORA-19870: error while restoring backup piece %s", h.handle);
    ok = write_all(path, data, n) && rlog_read(path, &log);
    free(data);
    if (!ok)
        return ora_io(&r->e, "create", path, errno);
    archlog_add(&r->s, path, &log, 0);
    printf("channel %s: piece handle=%s tag=%s\nchannel %s: restored backup piece 1\n"
           "channel %s: restore complete, elapsed time: 00:00:01\n",
           ch, h.handle, h.tag, ch, ch);
    return true;
}

static bool restore_logs(struct rman *r, struct toks *k)
{
    uint64_t lo = 0, hi, thread = 1;
    char d[64];
    bool ok = true;

    words(k, "from");
    words(k, "sequence");
    sign(k, '=');
    if (words(k, "between")) {
        if (!take_number(k, &lo) || !words(k, "and") || !take_number(k, &hi))
            return syntax(r, k);
    } else if (take_number(k, &lo)) {
        hi = lo;
    } else {
        return syntax(r, k);
    }
    if (words(k, "thread")) {
        sign(k, '=');
        take_number(k, &thread);
    }
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    printf("\nStarting restore at %s\n", day(r, d));
    channels_need(r);
    for (uint64_t seq = lo; ok && seq <= hi; seq++) {
        char on_disk[PATH_LEN];

        q_text(&r->s, on_disk, sizeof on_disk,
               "select name from ctl.archlog where thread=? and seq=? and rlc=? and status='A'",
               "iii", (int64_t)thread, (int64_t)seq, (int64_t)r->s.rlc);
        if (on_disk[0] && disk_access(on_disk, R_OK) == 0)
            printf(
                "archived log for thread %llu with sequence %llu is already on disk as file %s\n",
                (unsigned long long)thread, (unsigned long long)seq, on_disk);
        else
            ok = restore_log(r, (int64_t)thread, (int64_t)seq);
    }
    if (ok)
        printf("Finished restore at %s\n", day(r, d));
    return ok;
}

/* Oracle's own word on where recovery starts, and what it must pass. */
static bool preview(struct rman *r)
{
    struct dfile *f;
    int n = files_load(&r->s, &f), bad = 0;
    uint64_t start = SCN_NONE, beyond = 0;

    puts("\nList of Datafile Copies\n=======================\n");
    puts("Key     File S Completion Time Ckp SCN    Ckp Time        Sparse\n"
         "------- ---- - --------------- ---------- --------------- ------");
    for (int i = 0; i < n; i++) {
        sqlite3_stmt *st = q(&r->s,
                             "select recid, name, tag, ckpscn, afs from ctl.copies where file=? and"
                             " crscn=? and status='A' order by ckpscn desc limit 1",
                             "ii", (int64_t)f[i].file, (int64_t)f[i].crscn);
        bool found = false;

        while (row(st)) {
            uint64_t ckp = (uint64_t)col(st, 3), afs = (uint64_t)col(st, 4);
            bool fixed = file_static(&f[i]) && ckp >= f[i].stopscn;

            found = true;
            printf("%-7lld %-4d A %-15s %-10llu %-15s NO\n        Name: %s\n        Tag: %s\n\n",
                   (long long)col(st, 0), f[i].file, "", (unsigned long long)ckp, "", text(st, 1),
                   text(st, 2));
            if (!fixed && ckp < start)
                start = ckp;
            if (!fixed && ckp > beyond)
                beyond = ckp;
            if (!fixed && afs > beyond)
                beyond = afs;
        }
        if (!found && !bad)
            bad = f[i].file;
    }
    free(f);
    if (bad) {
        ora_add(&r->e, "RMAN-06026: some targets not found - aborting restore");
        return ora_add(&r->e, "RMAN-06023: no backup or copy of datafile %d found to restore", bad);
    }
    if (start == SCN_NONE)
        return true;
    printf("recovery will be done up to SCN %llu\nMedia recovery start SCN is %llu\n"
           "Recovery must be done beyond SCN %llu to clear datafile fuzziness\n",
           (unsigned long long)scn_now(&r->s), (unsigned long long)start,
           (unsigned long long)beyond);
    return true;
}

bool cmd_restore(struct rman *r, struct toks *k)
{
    char path[PATH_LEN], d[64];
    bool ok;

    if (words(k, "controlfile from") && take_string(k, path, sizeof path))
        return end_of_command(r, k) && restore_control(r, path);
    if (words(k, "archivelog"))
        return restore_logs(r, k);
    if (!words(k, "database preview"))
        return syntax(r, k);
    words(k, "summary");
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    printf("\nStarting restore at %s\n", day(r, d));
    channels_need(r);
    ok = preview(r);
    if (ok)
        printf("Finished restore at %s\n", day(r, d));
    return ok;
}
