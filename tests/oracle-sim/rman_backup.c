/* BACKUP: image copies, level 1 sets, control file, spfile and archived logs; hot, with work in
 * between. */
#include "rman.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum what { W_NONE, W_DATABASE, W_CONTROL, W_SPFILE, W_LOGS };

struct request {
    enum what what;
    bool copy, validate, reuse;
    int level;
    uint64_t section_bytes;
    char rtag[40], tag[40], format[PATH_LEN];
    uint64_t seq_lo, seq_hi, thread, file;
};

struct job { /* one file of the run */
    struct dfile f;
    uint64_t start;
    struct pfile p;
    char copy[PATH_LEN];
};

/* ---- reading a live file ---- */

struct scan {
    struct rman *r;
    const struct dfile *f;
    uint32_t lo, hi;
    uint64_t since, high;
    bool (*block)(struct scan *c, uint32_t block, const uint8_t *b, bool zero);
    void *arg;
    bool churned;
};

static bool all_zero(const uint8_t *b, size_t n)
{
    return b[0] == 0 && memcmp(b, b + 1, n - 1) == 0;
}

/* A block caught while it was being written is read again, as RMAN does. */
static bool settle(struct scan *c, int fd, uint32_t block, uint8_t *b)
{
    uint32_t bs = c->r->s.bs;

    for (int tries = 0; tries < 20; tries++) {
        if (all_zero(b, bs) || kcbh_ok(c->r->s.fmt, b, bs))
            return true;
        usleep(2000);
        if (disk_pread(fd, b, bs, (off_t)block * bs) != (ssize_t)bs)
            break;
    }
    return ora_add(&c->r->e, "ORA-19566: exceeded limit of 0 corrupt blocks for file %s",
                   c->f->name);
}

static bool scan_run(struct scan *c, int fd, uint32_t from, uint32_t n, uint8_t *buf)
{
    uint32_t bs = c->r->s.bs;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t *b = buf + (size_t)i * bs;
        uint64_t scn;
        bool zero;

        if (!settle(c, fd, from + i, b))
            return false;
        zero = all_zero(b, bs);
        scn = zero ? 0 : kcbh_scn(c->r->s.fmt, b);
        if (scn > c->high)
            c->high = scn;
        if (!c->block(c, from + i, b, zero))
            return false;
    }
    return true;
}

/* The workload goes on half-way through: some of its changes fall behind the cursor, some before
 * it. */
static void churn(struct scan *c, uint32_t at)
{
    int64_t n = kv_int(&c->r->s, "main", "churn", 0);

    if (c->churned || at < c->lo + (c->hi - c->lo) / 2)
        return;
    c->churned = true;
    if (n > 0 && strcmp(c->r->s.state, "OPEN") == 0)
        work(&c->r->s, (int)n, 0, file_static(c->f) ? 0 : c->f->file);
}

static bool scan(struct scan *c)
{
    enum { RUN = 32 };
    uint32_t bs = c->r->s.bs, n = 0;
    int fd = disk_open(c->f->name, O_RDONLY, 0);
    uint8_t *buf = malloc((size_t)RUN * bs);
    bool ok = fd >= 0 && buf;

    if (fd < 0) {
        ora_add(&c->r->e, "RMAN-06056: could not access datafile %d", c->f->file);
        free(buf);
        return false;
    }
    for (uint32_t b = c->lo; ok && b <= c->hi; b += n) {
        n = c->hi - b + 1 < RUN ? c->hi - b + 1 : RUN;
        churn(c, b);
        ok = disk_pread(fd, buf, (size_t)n * bs, (off_t)b * bs) == (ssize_t)((size_t)n * bs);
        if (!ok)
            ora_add(&c->r->e, "ORA-19587: error occurred reading %u bytes at block number %u",
                    n * bs, b);
        ok = ok && scan_run(c, fd, b, n, buf) && !interrupted(c->r);
    }
    disk_close(fd);
    free(buf);
    return ok;
}

/* ---- level 0 image copy ---- */

struct out {
    int fd;
    uint32_t block;
    uint64_t since;
    uint32_t picked;
};

static bool copy_block(struct scan *c, uint32_t block, const uint8_t *b, bool zero)
{
    const struct out *o = c->arg;
    uint32_t bs = c->r->s.bs;

    if (zero || disk_pwrite(o->fd, b, bs, (off_t)block * bs) == (ssize_t)bs)
        return true;
    return ora_io(&c->r->e, "write", "copy", errno);
}

static void copy_record(struct rman *r, const struct job *j, const struct dfh *h)
{
    struct sim *s = &r->s;

    x(s,
      "insert into "
      "ctl.copies(stamp,file,con,name,tag,tsname,rfn,crscn,crtime,ckpscn,ckptime,afs,rfs,sta,"
      "rlc,rls,blocks,status,lvl0,done) values(?,?,?,?,?,?,?,?,?,?,?,?,0,?,?,?,?,'A',?,?)",
      "iiisssiiiiiiiiiiii", (int64_t)now_ft(s), (int64_t)h->fno, (int64_t)j->f.con, j->copy, h->tag,
      h->tsname, (int64_t)h->rfn, (int64_t)h->crs, (int64_t)h->crt, (int64_t)h->ckp,
      (int64_t)h->ckptim, (int64_t)h->afs, (int64_t)h->sta, (int64_t)h->rlc, (int64_t)h->rls,
      (int64_t)h->fsz, (int64_t)((h->sta & STA_LEVEL0) != 0), (int64_t)h->bcs);
}

static void output_name(struct rman *r, const struct request *q_, const struct channel *c,
                        const struct naming *k, char *out, size_t n)
{
    const char *format = q_->format[0] ? q_->format : c->format;
    char fra[PATH_LEN], dflt[PATH_LEN + 128], u[9];

    if (!format[0]) {
        param(&r->s, "db_recovery_file_dest", fra, sizeof fra);
        uniq8(&r->s, u);
        format_text(dflt, sizeof dflt, "%s/%s/%s/o1_mf_%s_%s_.%s", fra, r->s.unique,
                    k->kind == 'D' ? "datafile" : "backupset", k->kind == 'D' ? k->tsname : "nnndf",
                    u, k->kind == 'D' ? "dbf" : "bkp");
        mkdirs_for(dflt);
        copy_text(out, n, dflt);
        return;
    }
    name_expand(&r->s, format, k, out, n);
}

static bool copy_body(struct rman *r, struct job *j, const char *tag, int level0, struct dfh *h)
{
    struct sim *s = &r->s;
    struct out o = {.fd = disk_open(j->copy, O_RDWR | O_CREAT | O_TRUNC, 0640)};
    struct scan c = {
        .r = r, .f = &j->f, .lo = 2, .hi = j->f.blocks, .block = copy_block, .arg = &o};
    bool ok;

    if (o.fd < 0)
        return ora_io(&r->e, "create", j->copy, errno);
    if (file_load(s, j->f.file, &j->f))
        file_checkpoint(s, &j->f);
    ok = hang_point(r, "copy") && scan(&c);
    if (ok && disk_truncate(o.fd, ((off_t)j->f.blocks + 1) * s->bs) < 0)
        ok = ora_io(&r->e, "write", j->copy, errno);
    header_from_file(s, &j->f, h);
    h->typ = (uint32_t)s->copy_type;
    h->sta = (h->sta & ~STA_ONLINE) | (level0 ? STA_LEVEL0 : 0);
    h->afs = c.high > h->ckp ? c.high : 0;
    h->bcs = now_ft(s);
    copy_text(h->tag, 32, tag);
    if (ok && !dfh_write(o.fd, h))
        ok = ora_io(&r->e, "write", j->copy, errno);
    if (!ok)
        disk_abandon(o.fd);
    else if (disk_close(o.fd) < 0)
        ok = ora_io(&r->e, "write", j->copy, errno);
    return ok;
}

static bool level0_copy(struct rman *r, const struct request *q_, struct job *j, struct channel *c,
                        int level0)
{
    struct naming k = {.kind = 'D',
                       .file = j->f.file,
                       .tsname = j->f.tsname,
                       .stamp = now_ft(&r->s),
                       .set = next_set(r),
                       .piece = 1,
                       .copy = 1};
    struct dfh h = {0};
    const char *tag = q_->rtag[0] ? q_->rtag : q_->tag;

    output_name(r, q_, c, &k, j->copy, sizeof j->copy);
    printf("channel %s: starting datafile copy\ninput datafile file number=%05d name=%s\n", c->name,
           j->f.file, j->f.name);
    if (!copy_body(r, j, tag, level0, &h)) {
        copy_text(r->bad_channel, sizeof r->bad_channel, c->name);
        return false;
    }
    copy_record(r, j, &h);
    printf("output file name=%s tag=%s RECID=%lld STAMP=%u\n", j->copy, tag,
           (long long)sqlite3_last_insert_rowid(r->s.db), now_ft(&r->s));
    printf("channel %s: datafile copy complete, elapsed time: 00:00:01\n", c->name);
    return true;
}

/* ---- level 1 sets ---- */

void pfile_text(const struct pfile *p, char *out, size_t n)
{
    format_text(out, n, "%d %llu %llu %llu %llu %u %u %u %u %u %u %u %u %d", p->file,
                (unsigned long long)p->start, (unsigned long long)p->ckp,
                (unsigned long long)p->afs, (unsigned long long)p->crscn, p->ckptime, p->ckpseq,
                p->ckpblk, p->cpc, p->fsz, p->count, p->lo, p->hi, p->thread);
}

bool pfile_parse(const char *t, struct pfile *p)
{
    uint64_t v[14];
    char *end;

    for (int i = 0; i < 14; i++, t = end) {
        v[i] = strtoull(t, &end, 10);
        if (end == t)
            return false;
    }
    *p = (struct pfile){.file = (int)v[0],
                        .start = v[1],
                        .ckp = v[2],
                        .afs = v[3],
                        .crscn = v[4],
                        .ckptime = (uint32_t)v[5],
                        .ckpseq = (uint32_t)v[6],
                        .ckpblk = (uint32_t)v[7],
                        .cpc = (uint32_t)v[8],
                        .fsz = (uint32_t)v[9],
                        .count = (uint32_t)v[10],
                        .lo = (uint32_t)v[11],
                        .hi = (uint32_t)v[12],
                        .thread = (int)v[13]};
    return true;
}

static bool piece_block(struct scan *c, uint32_t block, const uint8_t *b, bool zero)
{
    struct out *o = c->arg;
    uint32_t bs = c->r->s.bs;

    (void)block;
    if (zero || kcbh_scn(c->r->s.fmt, b) < o->since)
        return true;
    if (disk_pwrite(o->fd, b, bs, (off_t)o->block * bs) != (ssize_t)bs)
        return ora_io(&c->r->e, "write", "piece", errno);
    o->block++;
    o->picked++;
    return true;
}

/* One file's part of a piece: a record block, then the blocks changed since the parent's
 * checkpoint. */
static bool piece_file(struct rman *r, struct job *j, struct out *o, uint32_t lo, uint32_t hi)
{
    struct sim *s = &r->s;
    struct scan c = {
        .r = r, .f = &j->f, .lo = lo < 2 ? 2 : lo, .hi = hi, .block = piece_block, .arg = o};
    uint32_t at = o->block++;
    char t[256];

    o->since = j->start;
    o->picked = 0;
    if (!scan(&c))
        return false;
    j->p = (struct pfile){.file = j->f.file,
                          .start = j->start,
                          .ckp = j->f.ckpscn,
                          .crscn = j->f.crscn,
                          .ckptime = j->f.ckptime,
                          .ckpseq = j->f.ckpseq,
                          .ckpblk = j->f.ckpblk,
                          .cpc = j->f.cpc,
                          .fsz = j->f.blocks,
                          .count = o->picked,
                          .lo = lo,
                          .hi = hi,
                          .thread = j->f.ckpthread};
    j->p.afs = c.high > j->p.ckp ? c.high : 0;
    pfile_text(&j->p, t, sizeof t);
    return piece_stream(s, o->fd, s->bs, &at, 5, (const uint8_t *)t, strlen(t) + 1);
}

static int64_t piece_record(struct rman *r, const char *handle, const char *tag, uint32_t set,
                            int piece, const char *kind)
{
    int64_t ft = now_ft(&r->s);

    x(&r->s,
      "insert into ctl.pieces(stamp,setno,piece,handle,tag,status,kind,done) "
      "values(?,?,?,?,?,'A',?,?)",
      "iiisssi", ft, (int64_t)set, (int64_t)piece, handle, tag, kind, ft);
    return sqlite3_last_insert_rowid(r->s.db);
}

static void pfile_record(struct rman *r, int64_t recid, const struct pfile *p)
{
    x(&r->s, "insert into ctl.pfiles values(?,?,?,?,?,?,?,?,?)", "iiiiiiiii", recid,
      (int64_t)p->file, (int64_t)p->start, (int64_t)p->ckp, (int64_t)p->afs, (int64_t)p->crscn,
      (int64_t)p->lo, (int64_t)p->hi, (int64_t)p->count);
}

struct set { /* one backup set with one piece */
    struct job *job;
    int jobs;
    uint32_t lo, hi; /* 0: whole files */
    struct channel *c;
    char handle[PATH_LEN];
    uint32_t no;
};

static void set_lines(struct rman *r, const struct set *t)
{
    char d[64];

    printf("channel %s: starting incremental level 1 datafile backup set\n", t->c->name);
    printf("channel %s: specifying datafile(s) in backup set\n", t->c->name);
    for (int i = 0; i < t->jobs; i++)
        printf("input datafile file number=%05d name=%s\n", t->job[i].f.file, t->job[i].f.name);
    if (t->hi)
        printf("backing up blocks %u through %u\n", t->lo, t->hi);
    printf("channel %s: starting piece 1 at %s\n", t->c->name, day(r, d));
}

static bool set_write(struct rman *r, const struct request *q_, struct set *t)
{
    struct sim *s = &r->s;
    struct naming k = {.kind = 'P', .stamp = now_ft(s), .set = t->no, .piece = 1, .copy = 1};
    struct out o = {.block = 2};
    bool ok;

    output_name(r, q_, t->c, &k, t->handle, sizeof t->handle);
    o.fd = piece_create(s, t->handle, s->bs, &r->e);
    ok = o.fd >= 0 && hang_point(r, "backup");
    for (int i = 0; ok && i < t->jobs; i++)
        ok = piece_file(r, &t->job[i], &o, t->hi ? t->lo : 1, t->hi ? t->hi : t->job[i].f.blocks);
    if (o.fd >= 0 && !ok)
        disk_abandon(o.fd);
    if (!ok || !piece_finish(s, o.fd, t->handle, s->bs, q_->rtag, t->no, o.block, &r->e)) {
        copy_text(r->bad_channel, sizeof r->bad_channel, t->c->name);
        return false;
    }
    return true;
}

static void set_done(struct rman *r, const struct request *q_, const struct set *t)
{
    char d[64];
    int64_t recid;

    tx_begin(&r->s);
    recid = piece_record(r, t->handle, q_->rtag, t->no, 1, "I");
    for (int i = 0; i < t->jobs; i++)
        pfile_record(r, recid, &t->job[i].p);
    tx_end(&r->s);
    printf("channel %s: finished piece 1 at %s\n", t->c->name, day(r, d));
    printf("piece handle=%s tag=%s comment=NONE\n", t->handle, q_->rtag);
    printf("channel %s: backup set complete, elapsed time: 00:00:01\n", t->c->name);
}

/* Parallel channels: all "starting" lines of a round come before its "finished" lines. */
static bool sets_run(struct rman *r, const struct request *q_, struct set *t, int n)
{
    for (int from = 0; from < n; from += r->channels) {
        int to = from + r->channels < n ? from + r->channels : n;

        for (int i = from; i < to; i++) {
            t[i].c = &r->ch[i - from];
            t[i].no = next_set(r);
            set_lines(r, &t[i]);
        }
        for (int i = from; i < to; i++) {
            if (!set_write(r, q_, &t[i]))
                return false;
            set_done(r, q_, &t[i]);
        }
    }
    return true;
}

static bool level1(struct rman *r, const struct request *q_, struct job *job, int n)
{
    int per = (n + r->channels - 1) / (r->channels ? r->channels : 1), count = 0, cap = 0;
    uint32_t step = (uint32_t)(q_->section_bytes / r->s.bs);
    struct set *t;
    bool ok;

    if (!n)
        return true;
    for (int i = 0; i < n; i++) {
        if (file_load(&r->s, job[i].f.file, &job[i].f))
            file_checkpoint(&r->s, &job[i].f);
        cap += step ? (int)(job[i].f.blocks / step) + 2 : 1;
    }
    t = calloc((size_t)cap, sizeof *t);
    if (!t)
        die("out of memory");
    for (int i = 0; i < n; i += step ? 1 : per) {
        uint32_t blocks = job[i].f.blocks;

        if (!step) {
            t[count++] = (struct set){.job = &job[i], .jobs = n - i < per ? n - i : per};
            continue;
        }
        for (uint32_t lo = 1; lo <= blocks; lo += step)
            t[count++] = (struct set){.job = &job[i],
                                      .jobs = 1,
                                      .lo = lo,
                                      .hi = blocks - lo < step ? blocks : lo + step - 1};
    }
    ok = sets_run(r, q_, t, count);
    free(t);
    return ok;
}

/* ---- which files, from which parent ---- */

/* The copy's checkpoint, carried on through level 1 pieces of the tag that wait to be merged. */
static uint64_t parent(struct rman *r, const struct request *q_, const struct dfile *f, bool *found)
{
    sqlite3_stmt *st =
        q(&r->s,
          "select ckpscn from ctl.copies where file=? and crscn=? and tag=? and status='A' and"
          " lvl0=1 and rlc=? order by ckpscn desc limit 1",
          "iisi", (int64_t)f->file, (int64_t)f->crscn, q_->rtag, (int64_t)r->s.rlc);
    uint64_t at = 0, next;

    *found = false;
    while (row(st)) {
        at = (uint64_t)col(st, 0);
        *found = true;
    }
    while (*found) {
        next = (uint64_t)q_int(
            &r->s,
            "select coalesce(max(f.ckpscn),0) from ctl.pfiles f join ctl.pieces p on"
            " p.recid=f.recid where p.status='A' and p.tag=? and f.file=? and f.crscn=?"
            " and f.startscn<=? and f.ckpscn>?",
            "siiii", q_->rtag, (int64_t)f->file, (int64_t)f->crscn, (int64_t)at, (int64_t)at);
        if (next <= at)
            break;
        at = next;
    }
    return at;
}

static bool refresh(struct rman *r, const struct request *q_)
{
    struct dfile *f;
    int n = files_load(&r->s, &f), fresh = 0, inc = 0, skipped = 0;
    struct job *old = calloc((size_t)n + 1, sizeof *old), *new = calloc((size_t)n + 1, sizeof *new);
    bool ok = old && new, found;

    for (int i = 0; ok && i < n; i++) {
        uint64_t at = parent(r, q_, &f[i], &found);

        if (q_->file && (int)q_->file != f[i].file)
            continue;
        if (!found) {
            printf("no parent backup or copy of datafile %d found\n", f[i].file);
            new[fresh++].f = f[i];
        } else if (file_static(&f[i]) && at >= f[i].ckpscn) {
            printf("skipping datafile %05d because it has not changed\n", f[i].file);
            skipped++;
        } else {
            old[inc].f = f[i];
            old[inc++].start = at;
        }
    }
    if (skipped && !inc && !fresh)
        printf("channel %s: backup cancelled because all files were skipped\n", r->ch[0].name);
    ok = ok && level1(r, q_, old, inc);
    for (int i = 0; ok && i < fresh; i++)
        ok = level0_copy(r, q_, &new[i], &r->ch[i % r->channels], 1);
    free(f);
    free(old);
    free(new);
    return ok;
}

static bool copies(struct rman *r, const struct request *q_)
{
    struct dfile *f;
    int n = files_load(&r->s, &f);
    bool ok = true;

    for (int i = 0; ok && i < n; i++) {
        struct job j = {.f = f[i]};

        if (!q_->file || (int)q_->file == f[i].file)
            ok = level0_copy(r, q_, &j, &r->ch[i % r->channels], q_->level == 0);
    }
    free(f);
    return ok;
}

/* ---- validate ---- */

struct tally {
    uint64_t empty, data, other, high;
};

static bool tally_block(struct scan *c, uint32_t block, const uint8_t *b, bool zero)
{
    struct tally *t = c->arg;

    (void)block;
    if (zero)
        t->empty++;
    else if (b[0] == 6)
        t->data++;
    else
        t->other++;
    return true;
}

static bool validate(struct rman *r)
{
    struct dfile *f;
    int n = files_load(&r->s, &f);
    bool ok = true;

    for (int i = 0; ok && i < n; i++) {
        struct tally t = {0};
        struct scan c = {.r = r,
                         .f = &f[i],
                         .lo = 2,
                         .hi = f[i].blocks,
                         .block = tally_block,
                         .arg = &t,
                         .churned = true};
        const char *ch = r->ch[i % r->channels].name;

        printf("channel %s: starting full datafile backup set\nchannel %s: specifying datafile(s) "
               "in backup "
               "set\ninput datafile file number=%05d name=%s\n",
               ch, ch, f[i].file, f[i].name);
        ok = scan(&c);
        printf("channel %s: backup set complete, elapsed time: 00:00:01\nList of Datafiles\n"
               "=================\n"
               "File Status Marked Corrupt Empty Blocks Blocks Examined High SCN\n"
               "---- ------ -------------- ------------ --------------- ----------\n",
               ch);
        printf("%-4d %-6s %-14d %-12llu %-15u %-10llu\n  File Name: %s\n", f[i].file,
               ok ? "OK" : "FAILED", 0, (unsigned long long)t.empty, f[i].blocks,
               (unsigned long long)c.high, f[i].name);
        printf("  Block Type Blocks Failing Blocks Processed\n  ---------- -------------- "
               "----------------\n"
               "  Data       0              %-16llu\n  Index      0              0               \n"
               "  Other      0              %-16llu\n\n",
               (unsigned long long)t.data, (unsigned long long)t.other + 1);
    }
    free(f);
    return ok;
}

/* ---- control file, spfile ---- */

static bool small_piece(struct rman *r, const char *path, const char *tag, uint32_t set,
                        bool control, bool spfile)
{
    struct sim *s = &r->s;
    uint32_t bs = control ? 16384 : s->bs, block = 2;
    int fd = piece_create(s, path, bs, &r->e);
    bool ok = fd >= 0;

    if (!ok)
        return false;
    if (control) {
        size_t n;
        uint8_t *data = control_bytes(s, &n);

        ok = piece_stream(s, fd, bs, &block, 1, data, n);
        sqlite3_free(data);
    }
    if (ok && spfile) {
        char *t = spfile_text(s);

        ok = piece_stream(s, fd, bs, &block, 3, (const uint8_t *)t, strlen(t));
        free(t);
    }
    if (!ok) {
        disk_abandon(fd);
        return ora_io(&r->e, "write", path, ENOSPC);
    }
    return piece_finish(s, fd, path, bs, tag, set, block, &r->e);
}

static bool control_backup(struct rman *r, const struct request *q_, bool control, bool spfile)
{
    struct channel *c = &r->ch[0];
    struct naming k = {
        .kind = 'P', .stamp = now_ft(&r->s), .set = next_set(r), .piece = 1, .copy = 1};
    char path[PATH_LEN], d[64], dflt[40];
    const char *tag = q_->tag[0] ? q_->tag : q_->rtag;

    if (!tag[0]) {
        ft_text(now_ft(&r->s), d);
        format_text(dflt, sizeof dflt, "TAG%.4s%.2s%.2sT%.2s%.2s%.2s", d, d + 5, d + 8, d + 11,
                    d + 14, d + 17);
        tag = dflt;
    }
    output_name(r, q_, c, &k, path, sizeof path);
    printf("channel %s: starting full datafile backup set\nchannel %s: specifying datafile(s) in "
           "backup set\n",
           c->name, c->name);
    if (control)
        puts("including current control file in backup set");
    if (spfile)
        puts("including current SPFILE in backup set");
    printf("channel %s: starting piece 1 at %s\n", c->name, day(r, d));
    if (!q_->reuse && disk_access(path, F_OK) == 0) {
        copy_text(r->bad_channel, sizeof r->bad_channel, c->name);
        return ora_io(&r->e, "create", path, EEXIST);
    }
    if (!small_piece(r, path, tag, k.set, control, spfile)) {
        copy_text(r->bad_channel, sizeof r->bad_channel, c->name);
        return false;
    }
    piece_record(r, path, tag, k.set, 1, "C");
    printf("channel %s: finished piece 1 at %s\npiece handle=%s tag=%s comment=NONE\n"
           "channel %s: backup set complete, elapsed time: 00:00:01\n",
           c->name, day(r, d), path, tag, c->name);
    return true;
}

static bool autobackup_on(struct rman *r)
{
    char v[32];

    if (config_get(r, "CONTROLFILE AUTOBACKUP", v, sizeof v))
        return same(v, "ON");
    return r->s.cdb && r->s.major >= 18;
}

bool autobackup(struct rman *r)
{
    char format[PATH_LEN] = "", path[PATH_LEN], value[PATH_LEN], d[64], fra[PATH_LEN];
    const char *p;
    uint32_t set;

    if (!autobackup_on(r))
        return true;
    if (r->auto_format[0])
        copy_text(format, sizeof format, r->auto_format);
    else if (config_get(r, "CONTROLFILE AUTOBACKUP FORMAT", value, sizeof value) &&
             (p = strchr(value, '\''))) {
        copy_text(format, sizeof format, p + 1);
        format[strcspn(format, "'")] = 0;
    }
    if (!format[0]) {
        param(&r->s, "db_recovery_file_dest", fra, sizeof fra);
        format_text(format, sizeof format, "%.800s/%s/autobackup/%%F", fra, r->s.unique);
        mkdirs_for(format);
    }
    printf("\nStarting Control File and SPFILE Autobackup at %s\n", day(r, d));
    name_autobackup(&r->s, format, path, sizeof path);
    set = next_set(r);
    if (!small_piece(r, path, "", set, true, true))
        return false;
    piece_record(r, path, "TAGAUTO", set, 1, "C");
    printf("piece handle=%s comment=NONE\n", path);
    printf("Finished Control File and SPFILE Autobackup at %s\n", day(r, d));
    return true;
}

/* ---- archived logs ---- */

struct logref {
    int64_t recid;
    char name[PATH_LEN];
};

static int logs_pick(struct rman *r, const struct request *q_, struct logref *out, int max)
{
    sqlite3_stmt *st = q(
        &r->s,
        "select min(recid), name from ctl.archlog where status='A' and seq>=? and seq<=? and"
        " (?=0 or thread=?) group by thread, seq, rlc order by thread, seq",
        "iiii", (int64_t)q_->seq_lo, (int64_t)q_->seq_hi, (int64_t)q_->thread, (int64_t)q_->thread);
    int n = 0;

    while (row(st)) {
        if (n == max)
            continue;
        out[n].recid = col(st, 0);
        copy_text(out[n++].name, PATH_LEN, text(st, 1));
    }
    return n;
}

/* Another copy of the same log serves when the first one is gone. */
static bool log_source(struct rman *r, struct logref *l)
{
    sqlite3_stmt *st;
    bool found = disk_access(l->name, R_OK) == 0;

    if (found)
        return true;
    st = q(&r->s,
           "select b.name from ctl.archlog a join ctl.archlog b on a.thread=b.thread and "
           "a.seq=b.seq and"
           " a.rlc=b.rlc where a.recid=? and b.status='A'",
           "i", l->recid);
    while (row(st))
        if (!found && disk_access(text(st, 0), R_OK) == 0) {
            copy_text(l->name, sizeof l->name, text(st, 0));
            found = true;
        }
    if (found)
        return true;
    ora_add(&r->e, "RMAN-06059: expected archived log not found, loss of archived log compromises "
                   "recoverability");
    ora_add(&r->e, "ORA-19625: error identifying file %s", l->name);
    ora_add(&r->e, "ORA-27037: unable to obtain file status");
    return ora_add(&r->e, "Linux-x86_64 Error: 2: No such file or directory");
}

static bool log_copy(struct rman *r, const struct request *q_, struct logref *l, struct channel *c)
{
    struct rlog h;
    struct naming k = {
        .kind = 'A', .stamp = now_ft(&r->s), .set = next_set(r), .piece = 1, .copy = 1};
    char path[PATH_LEN], *data;
    size_t n;
    bool ok;

    if (!log_source(r, l))
        return false;
    if (!rlog_read(l->name, &h) || !(data = read_all(l->name, &n)))
        return ora_add(&r->e, "ORA-19599: block number 1 is corrupt in archived log %s", l->name);
    k.thread = h.thread;
    k.seq = h.seq;
    output_name(r, q_, c, &k, path, sizeof path);
    printf("channel %s: starting archived log copy\n"
           "input archived log thread=%d sequence=%u RECID=%lld STAMP=%u\n",
           c->name, h.thread, h.seq, (long long)l->recid, now_ft(&r->s));
    ok = write_all(path, data, n);
    free(data);
    if (!ok) {
        copy_text(r->bad_channel, sizeof r->bad_channel, c->name);
        return ora_io(&r->e, "create", path, errno);
    }
    archlog_add(&r->s, path, &h, 0);
    printf("output file name=%s RECID=%lld STAMP=%u\n"
           "channel %s: archived log copy complete, elapsed time: 00:00:01\n",
           path, (long long)sqlite3_last_insert_rowid(r->s.db), now_ft(&r->s), c->name);
    return true;
}

static bool logs_piece(struct rman *r, const struct request *q_, struct logref *l, int n)
{
    struct sim *s = &r->s;
    struct channel *c = &r->ch[0];
    struct naming k = {.kind = 'P', .stamp = now_ft(s), .set = next_set(r), .piece = 1, .copy = 1};
    char path[PATH_LEN], d[64];
    const char *tag = q_->tag[0] ? q_->tag : "TAGARCH";
    uint32_t block = 2;
    int64_t recid;
    int fd;
    bool ok = true;

    output_name(r, q_, c, &k, path, sizeof path);
    printf("channel %s: starting archived log backup set\n"
           "channel %s: specifying archived log(s) in backup set\n",
           c->name, c->name);
    fd = piece_create(s, path, 512, &r->e);
    if (fd < 0)
        return false;
    recid = piece_record(r, path, tag, k.set, 1, "L");
    for (int i = 0; ok && i < n; i++) {
        struct rlog h;
        size_t size = 0;
        char *data =
            log_source(r, &l[i]) && rlog_read(l[i].name, &h) ? read_all(l[i].name, &size) : NULL;

        ok = data && piece_stream(s, fd, 512, &block, 4, (const uint8_t *)data, size);
        free(data);
        if (!ok)
            break;
        printf("input archived log thread=%d sequence=%u RECID=%lld STAMP=%u\n", h.thread, h.seq,
               (long long)l[i].recid, now_ft(s));
        x(s, "insert into ctl.plogs values(?,?,?,?,?)", "iiiii", recid, (int64_t)h.thread,
          (int64_t)h.seq, (int64_t)h.rlc, (int64_t)i);
    }
    ok = piece_finish(s, fd, path, 512, tag, k.set, block, &r->e) && ok;
    if (!ok)
        return false;
    printf("channel %s: starting piece 1 at %s\n", c->name, day(r, d));
    printf("channel %s: finished piece 1 at %s\npiece handle=%s tag=%s comment=NONE\n"
           "channel %s: backup set complete, elapsed time: 00:00:01\n",
           c->name, day(r, d), path, tag, c->name);
    return true;
}

static bool logs(struct rman *r, const struct request *q_)
{
    static struct logref l[4096];
    int n = logs_pick(r, q_, l, 4096);
    bool ok = true;

    if (!n && q_->seq_lo == q_->seq_hi && q_->seq_lo) {
        ora_add(
            &r->e,
            "RMAN-06004: ORACLE error from recovery catalog database: RMAN-20242: specification "
            "does not match any archived log in the repository");
        return false;
    }
    if (!n) {
        puts("specification does not match any archived log in the repository\nbackup cancelled "
             "because there "
             "are no files to backup");
        return true;
    }
    if (!q_->copy)
        return logs_piece(r, q_, l, n);
    for (int i = 0; ok && i < n; i++)
        ok = log_copy(r, q_, &l[i], &r->ch[i % r->channels]);
    return ok;
}

/* ---- the command ---- */

static uint64_t size_of(const char *t)
{
    char *end;
    uint64_t v = strtoull(t, &end, 10);

    switch (*end | 32) {
    case 'k':
        return v << 10;
    case 'm':
        return v << 20;
    case 'g':
        return v << 30;
    default:
        return v;
    }
}

static bool log_range(struct toks *k, struct request *q_)
{
    q_->what = W_LOGS;
    q_->seq_hi = UINT32_MAX;
    if (words(k, "all"))
        return true;
    words(k, "from");
    words(k, "sequence");
    sign(k, '=');
    if (words(k, "between"))
        return take_number(k, &q_->seq_lo) && words(k, "and") && take_number(k, &q_->seq_hi);
    if (!take_number(k, &q_->seq_lo))
        return false;
    q_->seq_hi = q_->seq_lo;
    return true;
}

static bool option_text(struct toks *k, struct request *q_)
{
    char t[64];

    if (words(k, "section size")) {
        take_any(k, t, sizeof t);
        q_->section_bytes = size_of(t);
        return q_->section_bytes > 0;
    }
    if (words(k, "with tag") || words(k, "with tag =")) {
        sign(k, '=');
        return take_any(k, q_->rtag, sizeof q_->rtag - 8);
    }
    if (words(k, "tag")) {
        sign(k, '=');
        return take_any(k, q_->tag, sizeof q_->tag - 8);
    }
    if (words(k, "format")) {
        sign(k, '=');
        return take_string(k, q_->format, sizeof q_->format);
    }
    return false;
}

static bool option_what(struct toks *k, struct request *q_)
{
    if (words(k, "database") || words(k, "plus archivelog"))
        q_->what = q_->what ? q_->what : W_DATABASE;
    else if (words(k, "datafile") && take_number(k, &q_->file))
        q_->what = W_DATABASE;
    else if (words(k, "current controlfile"))
        q_->what = W_CONTROL;
    else if (words(k, "spfile"))
        q_->what = q_->what ? q_->what : W_SPFILE;
    else
        return words(k, "archivelog") && log_range(k, q_);
    return true;
}

static bool option_flag(struct toks *k, struct request *q_)
{
    static const char *const ignored[] = {
        "for recover of copy", "cumulative", "full", "check logical",
        "device type disk",    "noexclude",  "force"};

    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (words(k, ignored[i]))
            return true;
    if (words(k, "as copy"))
        q_->copy = true;
    else if (words(k, "as compressed backupset") || words(k, "as backupset"))
        q_->copy = false;
    else if (words(k, "validate"))
        q_->validate = true;
    else if (words(k, "reuse"))
        q_->reuse = true;
    else
        return false;
    return true;
}

static bool option_number(struct toks *k, struct request *q_)
{
    uint64_t n = 0;

    if (words(k, "thread")) {
        sign(k, '=');
        return take_number(k, &q_->thread);
    }
    if (words(k, "filesperset")) {
        sign(k, '=');
        return take_number(k, &n);
    }
    if (!words(k, "incremental level") || !take_number(k, &n) || n > 1)
        return false;
    q_->level = (int)n;
    return true;
}

static bool option_word(struct toks *k, struct request *q_)
{
    return option_flag(k, q_) || option_what(k, q_) || option_number(k, q_) || option_text(k, q_);
}

static bool run(struct rman *r, const struct request *q_)
{
    switch (q_->what) {
    case W_DATABASE:
        if (q_->validate)
            return validate(r);
        if (q_->rtag[0] && q_->level == 1)
            return refresh(r, q_);
        return copies(r, q_);
    case W_CONTROL:
        return control_backup(r, q_, true, false);
    case W_SPFILE:
        return control_backup(r, q_, false, true);
    case W_LOGS:
        return logs(r, q_);
    default:
        return true;
    }
}

static bool control_too(struct rman *r, const struct request *q_)
{
    if (q_->what != W_DATABASE || q_->validate || q_->file || autobackup_on(r))
        return true;
    return control_backup(r, q_, true, true);
}

bool cmd_backup(struct rman *r, struct toks *k)
{
    struct request q_ = {.level = -1};
    char d[64];

    while (more(k) && !(peek(k)->kind == 'p' && peek(k)->text[0] == ';'))
        if (!option_word(k, &q_))
            return syntax(r, k);
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    if (q_.what == W_NONE)
        return syntax(r, k);
    upper(q_.rtag);
    upper(q_.tag);
    if (q_.section_bytes && r->s.major < 12 && q_.rtag[0])
        return ora_add(&r->e, "RMAN-06804: SECTION SIZE cannot be used with this backup");
    printf("\nStarting backup at %s\n", day(r, d));
    channels_need(r);
    if (!run(r, &q_) || !control_too(r, &q_))
        return false;
    printf("Finished backup at %s\n", day(r, d));
    return q_.validate || q_.what == W_LOGS || q_.what == W_SPFILE ? true : autobackup(r);
}
