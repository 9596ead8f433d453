/* The workload and the truth: creates the database, changes blocks, and knows what every SCN looked
 * like. */
#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

enum { START_SCN = 1000000, RESETLOGS_SCN = 925702, FIRST_DATA = 4 };

/* ---- truth ---- */

static void truth_born(struct sim *s, const struct dfile *f, const struct birth *v)
{
    x(s, "insert into main.tfile values(?,?,0,?,?,?,?,?,?)", "iiiiisii", (int64_t)f->file,
      (int64_t)f->crscn, (int64_t)v->lo, (int64_t)v->span, (int64_t)v->hwm, f->name,
      (int64_t)f->rfn, (int64_t)f->undo);
    x(s, "insert into main.tsize values(?,?,?)", "iii", (int64_t)f->file, (int64_t)f->crscn,
      (int64_t)f->blocks);
}

static uint64_t truth_last(struct sim *s, const struct dfile *f, uint32_t block)
{
    int64_t v = q_int(s, "select max(scn) from main.changes where file=? and block=?", "ii",
                      (int64_t)f->file, (int64_t)block);
    struct birth b = {0};
    sqlite3_stmt *st;

    if (v)
        return (uint64_t)v;
    st = q(s, "select lo,span,hwm from main.tfile where file=? and created=?", "ii",
           (int64_t)f->file, (int64_t)f->crscn);
    while (row(st)) {
        b.lo = (uint64_t)col(st, 0);
        b.span = (uint64_t)col(st, 1);
        b.hwm = (uint32_t)col(st, 2);
    }
    return birth_scn(&b, f->file, block);
}

/* ---- work ---- */

struct shift { /* one run of the workload */
    struct dfile *file;
    int *fd;
    int files, only;
    uint64_t scn;
    struct lwn lwn;
    uint8_t *buf;
};

static bool worked(const struct dfile *f)
{
    return !file_static(f) && f->blocks > FIRST_DATA && !same(f->status, "OFFLINE");
}

static struct dfile *pick(struct sim *s, struct shift *w)
{
    for (int tries = 0; tries < 64; tries++) {
        struct dfile *f = &w->file[rnd(s, (uint64_t)w->files)];

        if (worked(f) && (!w->only || f->file == w->only || rnd(s, 3) == 0))
            return f;
    }
    for (int i = 0; i < w->files; i++)
        if (worked(&w->file[i]))
            return &w->file[i];
    return NULL;
}

static bool change_one(struct sim *s, struct shift *w)
{
    struct dfile *f = pick(s, w);
    struct body k;
    struct vec v = {.op = OP_BLOCK};
    int i;

    if (!f)
        return false;
    i = (int)(f - w->file);
    if (w->fd[i] < 0)
        w->fd[i] = disk_open(f->name, O_RDWR, 0);
    if (w->fd[i] < 0)
        return false;
    v.file = f->file;
    v.rfn = f->rfn;
    v.undo = f->undo;
    v.block = FIRST_DATA + (uint32_t)rnd(s, f->blocks - FIRST_DATA + 1);
    v.prev = truth_last(s, f, v.block);
    v.scn = ++w->scn;
    k = body_of(s, f);
    block_make(&k, v.block, v.scn, w->buf);
    if (disk_pwrite(w->fd[i], w->buf, s->bs, (off_t)v.block * s->bs) != (ssize_t)s->bs)
        die("cannot write '%s': %s", f->name, strerror(errno));
    x(s, "insert into main.changes values(?,?,?)", "iii", (int64_t)v.file, (int64_t)v.block,
      (int64_t)v.scn);
    lwn_add(s, &w->lwn, &v);
    return true;
}

static int open_threads(struct sim *s, int *out, int max)
{
    sqlite3_stmt *st =
        q(s, "select thread from ctl.threads where status='OPEN' order by thread", NULL);
    int n = 0;

    while (row(st))
        if (n < max)
            out[n++] = (int)col(st, 0);
    return n;
}

static void commits(struct sim *s, struct shift *w, int changes, int commit_seconds)
{
    int thread[64], n = open_threads(s, thread, 64);

    for (int done = 0; done < changes && n;) {
        int group = 1 + (int)rnd(s, 8);

        for (int i = 0; i < group && done < changes; i++, done++)
            if (!change_one(s, w))
                return;
        if (commit_seconds)
            kv_set(s, "main", "clockadd", kv_int(s, "main", "clockadd", 0) + commit_seconds);
        lwn_write(s, &w->lwn, thread[rnd(s, (uint64_t)n)]);
        x(s, "insert into main.scn_time values(?,?)", "ii", (int64_t)w->scn, now_local(s));
    }
}

uint64_t work(struct sim *s, int changes, int commit_seconds, int file_only)
{
    struct shift w = {.only = file_only};

    tx_begin(s);
    s->seed = (uint64_t)kv_int(s, "main", "seed", 88172645463325252);
    w.files = files_load(s, &w.file);
    w.scn = scn_now(s);
    w.buf = malloc(s->bs);
    w.fd = malloc(sizeof(int) * ((size_t)w.files + 1));
    if (!w.buf || !w.fd)
        die("out of memory");
    for (int i = 0; i < w.files; i++)
        w.fd[i] = -1;
    if (w.files)
        commits(s, &w, changes, commit_seconds);
    for (int i = 0; i < w.files; i++)
        if (w.fd[i] >= 0)
            disk_close(w.fd[i]);
    kv_set(s, "main", "scn", (int64_t)w.scn);
    kv_set(s, "main", "seed", (int64_t)s->seed);
    tx_end(s);
    free(w.lwn.buf);
    free(w.buf);
    free(w.fd);
    free(w.file);
    return w.scn;
}

/* ---- structure ---- */

static void one_vector(struct sim *s, const struct vec *v)
{
    struct lwn l = {0};
    int thread[1];

    if (!open_threads(s, thread, 1))
        return;
    lwn_add(s, &l, v);
    lwn_write(s, &l, thread[0]);
    free(l.buf);
}

static void file_path(struct sim *s, const char *ts, int con, char *out, size_t n)
{
    char dest[PATH_LEN], u[9], low[NAME_LEN], pdb[64] = "";

    param(s, "db_create_file_dest", dest, sizeof dest);
    uniq8(s, u);
    copy_text(low, sizeof low, ts);
    lower(low);
    low[8] = 0;
    if (con > 1)
        format_text(pdb, sizeof pdb, "/%032X", (unsigned)con * 0x9e3779b1u);
    format_text(out, n, "%.700s/%s%s/datafile/o1_mf_%s_%s_.dbf", dest, s->unique, pdb, low, u);
}

int add_file(struct sim *s, const char *ts, uint32_t blocks, int con)
{
    struct dfile f = {.con = con, .blocks = blocks, .cpc = 1};
    struct birth v = {0};
    struct vec c = {.op = OP_CREATE};
    char data[PATH_LEN * 2];

    tx_begin(s);
    copy_text(f.tsname, sizeof f.tsname, ts);
    upper(f.tsname);
    f.file = (int)q_int(s,
                        "select max((select max(file) from ctl.files),"
                        "(select max(file) from main.tfile))+1",
                        NULL);
    f.rfn = f.file & 1023;
    f.ts = (int)q_int(s,
                      "select coalesce((select ts from ctl.tablespaces where name=? and con=?),"
                      "(select max(ts)+1 from ctl.tablespaces))",
                      "si", f.tsname, (int64_t)con);
    x(s,
      "insert into ctl.tablespaces(con,ts,name,bigfile) select ?1,?2,?3,'NO' where not exists"
      "(select 1 from ctl.tablespaces where con=?1 and name=?3)",
      "iis", (int64_t)con, (int64_t)f.ts, f.tsname);
    f.crscn = scn_next(s);
    f.crtime = now_ft(s);
    f.ckpscn = f.crscn;
    f.ckptime = f.crtime;
    f.ckpthread = 1;
    copy_text(f.status, sizeof f.status, "ONLINE");
    copy_text(f.enabled, sizeof f.enabled, "READ WRITE");
    file_path(s, f.tsname, con, f.name, sizeof f.name);
    v.lo = f.crscn;
    v.hwm = FIRST_DATA - 1;
    file_insert(s, &f);
    truth_born(s, &f, &v);
    if (!datafile_create(s, &f, &v))
        die("cannot create '%s': %s", f.name, strerror(errno));
    c.file = f.file;
    c.rfn = f.rfn;
    c.block = blocks;
    c.scn = f.crscn;
    format_text(data, sizeof data, "%d|%d|%u|%s|%s", f.ts, con, f.crtime, f.tsname, f.name);
    c.data = data;
    c.len = (uint32_t)strlen(data);
    one_vector(s, &c);
    file_checkpoint(s, &f);
    tx_end(s);
    return f.file;
}

bool drop_file(struct sim *s, int file)
{
    struct dfile f;
    struct vec c = {.op = OP_DROP, .file = file};

    if (!file_load(s, file, &f))
        return false;
    tx_begin(s);
    c.scn = scn_next(s);
    c.rfn = f.rfn;
    one_vector(s, &c);
    x(s, "update main.tfile set dropped=? where file=? and dropped=0", "ii", (int64_t)c.scn,
      (int64_t)file);
    x(s, "delete from ctl.files where file=?", "i", (int64_t)file);
    tx_end(s);
    disk_unlink(f.name);
    return true;
}

bool resize_file(struct sim *s, int file, uint32_t blocks)
{
    struct dfile f;
    struct vec c = {.op = OP_RESIZE, .file = file, .block = blocks};
    int fd;

    if (!file_load(s, file, &f) || blocks < f.blocks || file_static(&f))
        return false;
    fd = disk_open(f.name, O_RDWR, 0);
    if (fd < 0 || disk_truncate(fd, ((off_t)blocks + 1) * s->bs) < 0)
        die("cannot resize '%s': %s", f.name, strerror(errno));
    disk_close(fd);
    tx_begin(s);
    c.scn = scn_next(s);
    c.rfn = f.rfn;
    one_vector(s, &c);
    x(s, "insert into main.tsize values(?,?,?)", "iii", (int64_t)file, (int64_t)c.scn,
      (int64_t)blocks);
    f.blocks = blocks;
    file_save(s, &f);
    file_checkpoint(s, &f);
    tx_end(s);
    return true;
}

static void stop_file(struct sim *s, struct dfile *f)
{
    file_checkpoint(s, f);
    f->stopscn = f->ckpscn;
    f->offscn = f->ckpscn;
    f->onscn = 0;
    file_save(s, f);
    live_header(s, f);
}

static void start_file(struct sim *s, struct dfile *f)
{
    f->stopscn = 0;
    file_checkpoint(s, f);
    f->onscn = f->ckpscn;
    file_save(s, f);
}

bool ts_enable(struct sim *s, const char *ts, bool write)
{
    struct dfile *all;
    int n, hit = 0;

    tx_begin(s);
    n = files_load(s, &all);
    for (int i = 0; i < n; i++) {
        struct dfile *f = &all[i];

        if (!same(f->tsname, ts) || file_static(f) != write)
            continue;
        copy_text(f->enabled, sizeof f->enabled, write ? "READ WRITE" : "READ ONLY");
        if (write)
            start_file(s, f);
        else
            stop_file(s, f);
        hit++;
    }
    free(all);
    tx_end(s);
    return hit > 0;
}

bool file_offline(struct sim *s, int file, bool online)
{
    struct dfile f;

    if (!file_load(s, file, &f) || file_static(&f) != online)
        return false;
    tx_begin(s);
    copy_text(f.status, sizeof f.status, online ? "ONLINE" : "OFFLINE");
    if (online)
        start_file(s, &f);
    else
        stop_file(s, &f);
    tx_end(s);
    return true;
}

uint64_t hot_since(struct sim *s, int file)
{
    char key[32];

    format_text(key, sizeof key, "hot_%d", file);
    return (uint64_t)kv_int(s, "ctl", key, 0);
}

static void hot_end(struct sim *s, struct dfile *f)
{
    char key[32];
    struct vec c = {.op = OP_END_BACKUP, .file = f->file, .rfn = f->rfn, .scn = scn_next(s)};

    format_text(key, sizeof key, "hot_%d", f->file);
    one_vector(s, &c);
    kv_set(s, "ctl", key, 0);
    file_checkpoint(s, f);
}

static void hot_begin(struct sim *s, struct dfile *f)
{
    char key[32];

    format_text(key, sizeof key, "hot_%d", f->file);
    file_checkpoint(s, f);
    kv_set(s, "ctl", key, (int64_t)f->ckpscn);
    live_header(s, f);
}

bool hot_backup(struct sim *s, const char *ts, bool begin, struct ora *e)
{
    struct dfile *f;
    int n, hit = 0;

    tx_begin(s);
    n = files_load(s, &f);
    for (int i = 0; i < n; i++) {
        if ((ts && !same(ts, f[i].tsname)) || file_static(&f[i]) ||
            (hot_since(s, f[i].file) != 0) == begin)
            continue;
        if (begin)
            hot_begin(s, &f[i]);
        else
            hot_end(s, &f[i]);
        hit++;
    }
    free(f);
    tx_end(s);
    if (hit)
        return true;
    return ora_add(e,
                   begin ? "ORA-01146: cannot start online backup - file 1 is already in backup"
                         : "ORA-01142: cannot end online backup - none of the files are in backup");
}

/* ---- compare ---- */

struct truth {
    struct body k;
    uint64_t *scn;
    uint32_t blocks;
    char name[PATH_LEN];
};

static int truth_files(struct sim *s, uint64_t scn, struct truth **out)
{
    int n = (int)q_int(s, "select count(*) from main.tfile", NULL), i = 0;
    struct truth *all = calloc((size_t)n + 1, sizeof *all);
    sqlite3_stmt *st =
        q(s,
          "select t.file, t.lo, t.span, t.hwm, t.name, t.rfn, t.undo, (select blocks from"
          " main.tsize z where z.file=t.file and (z.scn<?1 or z.scn=t.created) order by"
          " z.scn desc limit 1) from main.tfile t where t.created<?1 and"
          " (t.dropped=0 or t.dropped>=?1) order by t.file",
          "i", (int64_t)scn);

    if (!all)
        die("out of memory");
    while (row(st)) {
        struct truth *t = &all[i++];
        struct birth v = {(uint64_t)col(st, 1), (uint64_t)col(st, 2), (uint32_t)col(st, 3)};

        t->k = (struct body){s->fmt,          s->dbid,         s->bs,
                             (int)col(st, 0), (int)col(st, 5), col(st, 6) != 0};
        t->blocks = (uint32_t)col(st, 7);
        copy_text(t->name, sizeof t->name, text(st, 4));
        t->scn = calloc((size_t)t->blocks + 1, sizeof *t->scn);
        if (!t->scn)
            die("out of memory");
        for (uint32_t b = 2; b <= t->blocks; b++)
            t->scn[b] = birth_scn(&v, t->k.file, b);
    }
    *out = all;
    return i;
}

static void truth_changes(struct sim *s, uint64_t scn, struct truth *all, int n)
{
    sqlite3_stmt *st =
        q(s, "select file, block, max(scn) from main.changes where scn<? group by file, block", "i",
          (int64_t)scn);
    int i = 0;

    while (row(st)) {
        int file = (int)col(st, 0);
        uint32_t block = (uint32_t)col(st, 1);

        while (i < n && all[i].k.file < file)
            i++;
        if (i < n && all[i].k.file == file && block <= all[i].blocks)
            all[i].scn[block] = (uint64_t)col(st, 2);
    }
}

/* Returns 0 when identical, else the first block that differs. */
static uint32_t differs(const struct truth *t, int fd, uint64_t *found)
{
    enum { RUN = 64 };
    uint8_t *buf = malloc((size_t)RUN * t->k.bs), *want = malloc(t->k.bs);
    uint32_t bad = 0, n;

    if (!buf || !want)
        die("out of memory");
    for (uint32_t b = 2; b <= t->blocks && !bad; b += n) {
        n = t->blocks - b + 1 < RUN ? t->blocks - b + 1 : RUN;
        if (disk_pread(fd, buf, (size_t)n * t->k.bs, (off_t)b * t->k.bs) !=
            (ssize_t)((size_t)n * t->k.bs))
            bad = b;
        for (uint32_t i = 0; i < n && !bad; i++) {
            block_make(&t->k, b + i, t->scn[b + i], want);
            if (memcmp(want, buf + (size_t)i * t->k.bs, t->k.bs) == 0)
                continue;
            bad = b + i;
            *found = kcbh_scn(t->k.fmt, buf + (size_t)i * t->k.bs);
        }
    }
    free(buf);
    free(want);
    return bad;
}

static bool compare_one(const struct truth *t, const char *path, uint64_t scn, bool exact)
{
    struct dfh h;
    int fd = path[0] ? disk_open(path, O_RDONLY, 0) : -1;
    uint64_t found = 0;
    uint32_t bad;

    if (fd < 0) {
        printf("file %d: missing (%s)\n", t->k.file, path[0] ? path : "not found");
        return false;
    }
    bad = differs(t, fd, &found);
    disk_close(fd);
    if (bad) {
        printf("file %d block %u: SCN %llu found, the truth is %llu (%s)\n", t->k.file, bad,
               (unsigned long long)found, (unsigned long long)t->scn[bad], path);
        return false;
    }
    if (!dfh_read(path, &h) || h.fno != t->k.file || h.fsz != t->blocks) {
        printf("file %d: its header is damaged or not its own (%s)\n", t->k.file, path);
        return false;
    }
    if (exact && h.ckp != scn) {
        printf("file %d: checkpoint %llu in the header, %llu expected (%s)\n", t->k.file,
               (unsigned long long)h.ckp, (unsigned long long)scn, path);
        return false;
    }
    return true;
}

static void find_in_dir(const char *dir, int file, uint32_t dbid, char *out, size_t n)
{
    struct disk_names all;
    struct dfh h;
    char path[PATH_LEN];

    out[0] = 0;
    if (disk_list(dir, &all) < 0)
        return;
    for (size_t i = 0; i < all.n && !out[0]; i++) {
        format_text(path, sizeof path, "%.700s/%.300s", dir, all.name[i]);
        if (all.name[i][0] != '.' && dfh_read(path, &h) && h.fno == file && h.dbid == dbid)
            copy_text(out, n, path);
    }
    disk_names_free(&all);
}

bool truth_compare(struct sim *s, struct sim *inst, const char *dir, uint64_t scn)
{
    struct truth *all;
    struct dfile f = {0};
    char path[PATH_LEN];
    int n = truth_files(s, scn, &all);
    unsigned long long blocks = 0;
    bool ok = true;

    truth_changes(s, scn, all, n);
    for (int i = 0; i < n; i++) {
        bool exact = false;

        path[0] = 0;
        if (inst && file_load(inst, all[i].k.file, &f)) {
            copy_text(path, sizeof path, f.name);
            exact = inst->sandbox && !file_static(&f);
        } else if (dir) {
            find_in_dir(dir, all[i].k.file, s->dbid, path, sizeof path);
        }
        ok = compare_one(&all[i], path, scn, exact) && ok;
        blocks += all[i].blocks;
        free(all[i].scn);
    }
    free(all);
    if (ok)
        printf("compared %d files, %llu blocks: identical to the truth at SCN %llu\n", n, blocks,
               (unsigned long long)scn);
    return ok;
}

/* ---- create ---- */

struct plan { /* what "create" was asked for */
    char dbdir[PATH_LEN], name[16], unique[64], zone[16], endian[16], compatible[32];
    uint32_t dbid, blocks, bs, redo_bs, log_blocks;
    int files, threads, churn, copy_type;
    bool cdb, bigfile, autobackup;
    int64_t seed;
};

static bool option(struct sim *s, struct plan *p, const char *k, const char *v)
{
    if (same(k, "--dbdir"))
        copy_text(p->dbdir, sizeof p->dbdir, v);
    else if (same(k, "--db-name"))
        copy_text(p->name, 9, v);
    else if (same(k, "--unique-name"))
        copy_text(p->unique, 31, v);
    else if (same(k, "--zone"))
        copy_text(p->zone, sizeof p->zone, v);
    else if (same(k, "--endian"))
        copy_text(p->endian, sizeof p->endian, v);
    else if (same(k, "--compatible"))
        copy_text(p->compatible, sizeof p->compatible, v);
    else if (same(k, "--release"))
        copy_text(s->release, sizeof s->release, v);
    else if (same(k, "--edition"))
        copy_text(s->edition, sizeof s->edition, v);
    else if (same(k, "--dbid"))
        p->dbid = (uint32_t)strtoul(v, NULL, 10);
    else if (same(k, "--blocks"))
        p->blocks = (uint32_t)strtoul(v, NULL, 10);
    else if (same(k, "--block-size"))
        p->bs = (uint32_t)strtoul(v, NULL, 10);
    else if (same(k, "--redo-block-size"))
        p->redo_bs = (uint32_t)strtoul(v, NULL, 10);
    else if (same(k, "--log-blocks"))
        p->log_blocks = (uint32_t)strtoul(v, NULL, 10);
    else if (same(k, "--files"))
        p->files = (int)strtol(v, NULL, 10);
    else if (same(k, "--threads"))
        p->threads = (int)strtol(v, NULL, 10);
    else if (same(k, "--churn"))
        p->churn = (int)strtol(v, NULL, 10);
    else if (same(k, "--copy-type"))
        p->copy_type = (int)strtol(v, NULL, 10);
    else if (same(k, "--seed"))
        p->seed = strtoll(v, NULL, 10);
    else
        return false;
    return true;
}

static bool plan_read(struct sim *s, struct plan *p, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (same(argv[i], "--cdb"))
            p->cdb = true;
        else if (same(argv[i], "--bigfile"))
            p->bigfile = true;
        else if (same(argv[i], "--autobackup"))
            p->autobackup = true;
        else if (i + 1 < argc && option(s, p, argv[i], argv[i + 1]))
            i++;
        else {
            fprintf(stderr, "oracle-sim: unknown option '%s'\n", argv[i]);
            return false;
        }
    }
    if (p->bs < 2048 || p->bs > 32768 || (p->bs & (p->bs - 1)) ||
        (p->redo_bs != 512 && p->redo_bs != 1024 && p->redo_bs != 4096)) {
        fprintf(stderr, "oracle-sim: block sizes are 2048..32768, redo 512, 1024 or 4096\n");
        return false;
    }
    if (!p->dbdir[0] || p->blocks < 16 || p->blocks > 4000000 || p->threads < 1 || p->threads > 8 ||
        p->log_blocks < 16) {
        fprintf(stderr,
                "oracle-sim: create needs --dbdir, 16 blocks a file and log, 1..8 threads\n");
        return false;
    }
    upper(p->name);
    if (!p->unique[0])
        copy_text(p->unique, sizeof p->unique, p->name);
    if (!p->compatible[0])
        copy_text(p->compatible, sizeof p->compatible, s->release);
    return true;
}

static int zone_seconds(const char *zone)
{
    char *end = NULL;
    long h = labs(strtol(zone, &end, 10)), m = *end == ':' ? strtol(end + 1, NULL, 10) : 0;

    return (int)((zone[0] == '-' ? -1 : 1) * (h * 3600 + m * 60));
}

static void create_parameters(struct sim *s, const struct plan *p)
{
    char t[PATH_LEN + 64], u[64];

    param_set(s, "db_name", p->name);
    param_set(s, "db_unique_name", p->unique);
    param_set(s, "compatible", p->compatible);
    format_text(t, sizeof t, "%u", p->bs);
    param_set(s, "db_block_size", t);
    param_set(s, "db_files", "200");
    param_set(s, "undo_tablespace", "UNDOTBS1");
    param_set(s, "undo_management", "AUTO");
    param_set(s, "enable_pluggable_database", p->cdb ? "TRUE" : "FALSE");
    param_set(s, "db_domain", "");
    format_text(t, sizeof t, "%.900s/dbs/spfile%s.ora", s->home, s->sid);
    param_set(s, "spfile", t);
    format_text(t, sizeof t, "%.900s/oradata", p->dbdir);
    param_set(s, "db_create_file_dest", t);
    format_text(t, sizeof t, "%.900s/fra", p->dbdir);
    param_set(s, "db_recovery_file_dest", t);
    param_set(s, "db_recovery_file_dest_size", "53687091200");
    param_set(s, "control_file_record_keep_time", "7");
    param_set(s, "archive_lag_target", "0");
    param_set(s, "log_archive_format", "%t_%s_%r.dbf");
    copy_text(u, sizeof u, p->unique);
    format_text(t, sizeof t, "%.900s/oradata/%s/controlfile/control01.ctl", p->dbdir, u);
    param_set(s, "control_files", t);
    mkdirs_for(t);
    param_set(s, "job_queue_processes", "20");
    param_set(s, "processes", "300");
    param_set(s, "nls_characterset", "AL32UTF8");
    param_set(s, "instance_name", s->sid);
    for (int i = 1; i <= 31; i++) {
        format_text(t, sizeof t, "log_archive_dest_%d", i);
        param_set(s, t, "");
        format_text(t, sizeof t, "log_archive_dest_state_%d", i);
        param_set(s, t, "enable");
    }
    dests_sync(s);
}

static void create_control(struct sim *s, const struct plan *p)
{
    uint32_t now = now_ft(s);

    kv_set(s, "ctl", "dbid", p->dbid);
    kv_set(s, "ctl", "bs", p->bs);
    kv_set(s, "ctl", "redo_bs", p->redo_bs);
    kv_set(s, "ctl", "rlc", now);
    kv_set(s, "ctl", "rls", RESETLOGS_SCN);
    kv_set(s, "ctl", "prc", now - 86400);
    kv_set(s, "ctl", "prs", 1);
    kv_set(s, "ctl", "acid", (p->dbid ^ now) | 1);
    kv_set(s, "ctl", "cdb", p->cdb);
    kv_set(s, "ctl", "zone_s", zone_seconds(p->zone));
    kv_set(s, "ctl", "copy_type", p->copy_type);
    kv_set(s, "ctl", "be", same(p->endian, "big"));
    kv_set(s, "ctl", "csq", 1000);
    kv_set(s, "ctl", "ckpscn", START_SCN);
    kv_set(s, "ctl", "setno", 100);
    kv_put(s, "ctl", "name", p->name);
    kv_put(s, "ctl", "unique", p->unique);
    kv_put(s, "ctl", "compatible", p->compatible);
    kv_put(s, "ctl", "flashback", "NO");
    kv_put(s, "ctl", "bct", "DISABLED");
    kv_put(s, "ctl", "force_logging", "NO");
    x(s, "insert into ctl.incarnations values(1,1,?,0,0,'PARENT')", "i", (int64_t)now - 86400);
    x(s, "insert into ctl.incarnations values(2,?,?,1,1,'CURRENT')", "ii", (int64_t)RESETLOGS_SCN,
      (int64_t)now);
    if (p->autobackup)
        x(s, "insert into ctl.rmanconf(name,value) values('CONTROLFILE AUTOBACKUP','ON')", NULL);
    sim_load_control(s);
}

static void create_file(struct sim *s, const struct plan *p, const char *ts, int con, int rfn)
{
    struct dfile f = {.con = p->cdb ? con : 0,
                      .blocks = p->blocks,
                      .cpc = 10,
                      .ckpthread = 1,
                      .ckpseq = 1,
                      .ckpblk = 2};
    struct birth v;
    uint32_t now = now_ft(s);

    f.file = (int)q_int(s, "select coalesce(max(file),0)+1 from ctl.files", NULL);
    f.rfn = p->bigfile ? 1024 : rfn ? rfn : f.file & 1023;
    f.ts = (int)q_int(s,
                      "select coalesce((select ts from ctl.tablespaces where name=? and con=?),"
                      "(select coalesce(max(ts),-1)+1 from ctl.tablespaces))",
                      "si", ts, (int64_t)f.con);
    x(s,
      "insert into ctl.tablespaces(con,ts,name,bigfile) select ?1,?2,?3,?4 where not exists"
      "(select 1 from ctl.tablespaces where con=?1 and name=?3)",
      "iiss", (int64_t)f.con, (int64_t)f.ts, ts, p->bigfile ? "YES" : "NO");
    copy_text(f.tsname, sizeof f.tsname, ts);
    f.undo = starts(ts, "UNDO");
    f.crscn = f.file == 1 ? 7 : 1800 + (uint64_t)f.file * 37;
    f.crtime = now - 80000;
    f.ckpscn = con == 2 ? 990000 : START_SCN;
    f.stopscn = con == 2 ? f.ckpscn : 0;
    f.ckptime = now;
    copy_text(f.status, sizeof f.status, same(ts, "SYSTEM") ? "SYSTEM" : "ONLINE");
    copy_text(f.enabled, sizeof f.enabled, con == 2 ? "READ ONLY" : "READ WRITE");
    v.lo = f.crscn + 1;
    v.span = 980000 - v.lo;
    v.hwm = p->blocks - p->blocks / 5;
    file_path(s, ts, con, f.name, sizeof f.name);
    file_insert(s, &f);
    truth_born(s, &f, &v);
    if (!datafile_create(s, &f, &v))
        die("cannot create '%s': %s", f.name, strerror(errno));
}

static void create_files(struct sim *s, const struct plan *p)
{
    char ts[32];
    int n = 4, con = p->cdb ? 1 : 0;

    create_file(s, p, "SYSTEM", con, 0);
    create_file(s, p, "SYSAUX", con, 0);
    create_file(s, p, "UNDOTBS1", con, 0);
    create_file(s, p, "USERS", con, 0);
    for (int t = 2; t <= p->threads; t++, n++) {
        format_text(ts, sizeof ts, "UNDOTBS%d", t);
        create_file(s, p, ts, con, 0);
    }
    if (p->cdb) {
        create_file(s, p, "SYSTEM", 2, 1);
        create_file(s, p, "SYSAUX", 2, 4);
        create_file(s, p, "SYSTEM", 3, 1);
        create_file(s, p, "SYSAUX", 3, 4);
        create_file(s, p, "USERS", 3, 9);
        n += 5;
        con = 3;
        x(s, "insert into ctl.pdbs values(2,?,'PDB$SEED','READ ONLY')", "i",
          (int64_t)p->dbid / 3 + 2);
        x(s, "insert into ctl.pdbs values(3,?,'PDB1','READ WRITE')", "i", (int64_t)p->dbid / 3 + 3);
    }
    for (int i = 1; n < p->files; i++, n++) {
        format_text(ts, sizeof ts, "DATA%d", i);
        create_file(s, p, ts, con, 0);
    }
}

static void create_temp(struct sim *s, const struct plan *p)
{
    char path[PATH_LEN];
    int64_t ts = q_int(s, "select max(ts)+1 from ctl.tablespaces", NULL);

    file_path(s, "TEMP", 1, path, sizeof path);
    x(s, "insert into ctl.tablespaces(con,ts,name,bigfile) values(?,?,'TEMP','NO')", "ii",
      (int64_t)(p->cdb ? 1 : 0), ts);
    x(s, "insert into ctl.tempfiles values(1,?,?,20971520,?)", "iis", (int64_t)(p->cdb ? 1 : 0), ts,
      path);
    write_all(path, "", 0);
}

static void create_threads(struct sim *s, const struct plan *p)
{
    char inst[NAME_LEN + 8];

    for (int t = 1; t <= p->threads; t++) {
        copy_text(inst, NAME_LEN, s->sid);
        if (p->threads > 1)
            format_text(inst, sizeof inst, "%.50s%d", s->sid, t);
        x(s, "insert into ctl.threads values(?,'OPEN','PUBLIC',1,1,?,?,?,0)", "iiis", (int64_t)t,
          (int64_t)RESETLOGS_SCN, (int64_t)s->rlc, inst);
        logs_create(s, t, 3, p->log_blocks, RESETLOGS_SCN);
    }
}

static void home_links(struct sim *s)
{
    static const char *const names[] = {"rman", "sqlplus"};
    char self[PATH_LEN], path[PATH_LEN], mine[PATH_LEN], rel[64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n <= 0)
        die("cannot find my own program");
    self[n] = 0;
    for (size_t i = 0; i < 2; i++) {
        format_text(path, sizeof path, "%.900s/bin/%s", s->home, names[i]);
        /* Under a name of its own first: another create may be at the same home. */
        format_text(mine, sizeof mine, "%.900s/bin/.%s.%d", s->home, names[i], (int)getpid());
        if (!mkdirs_for(path) || (disk_unlink(mine) < 0 && errno != ENOENT) ||
            symlink(self, mine) < 0 || disk_rename(mine, path) < 0)
            die("cannot make '%s': %s", path, strerror(errno));
    }
    format_text(path, sizeof path, "%.900s/dbs/sim.release", s->home);
    format_text(rel, sizeof rel, "%s %s\n", s->release, s->edition);
    format_text(mine, sizeof mine, "%.900s/dbs/.sim.release.%d", s->home, (int)getpid());
    if (!mkdirs_for(path) || !write_all(mine, rel, strlen(rel)) || disk_rename(mine, path) < 0)
        die("cannot write '%s': %s", path, strerror(errno));
}

bool db_create(struct sim *s, int argc, char **argv)
{
    struct plan p = {.dbid = 1433672784,
                     .blocks = 2560,
                     .bs = 8192,
                     .redo_bs = 512,
                     .log_blocks = 8192,
                     .files = 5,
                     .threads = 1,
                     .copy_type = 3,
                     .seed = 88172645463325252};
    char dir[PATH_LEN], path[PATH_LEN], *sp;

    copy_text(p.name, sizeof p.name, s->sid);
    if (!plan_read(s, &p, argc, argv))
        return false;
    s->major = (int)strtol(s->release, NULL, 10);
    home_links(s);
    format_text(dir, sizeof dir, "%.900s/sim", p.dbdir);
    if (!sim_new(s, dir, false) || !sim_mount(s, true))
        die("cannot create the state under '%s'", p.dbdir);
    tx_begin(s);
    kv_set(s, "main", "scn", START_SCN);
    kv_set(s, "main", "uniq", 0);
    kv_set(s, "main", "seed", p.seed ? p.seed : 1);
    kv_set(s, "main", "churn", p.churn);
    kv_set(s, "main", "clockadd", 0);
    create_parameters(s, &p);
    s->zone_s = zone_seconds(p.zone);
    create_control(s, &p);
    create_files(s, &p);
    create_temp(s, &p);
    create_threads(s, &p);
    set_state(s, "OPEN");
    tx_end(s);
    db_checkpoint(s);
    sp = spfile_text(s);
    format_text(path, sizeof path, "%.900s/dbs/spfile%s.ora", s->home, s->sid);
    write_all(path, sp, strlen(sp));
    free(sp);
    return true;
}
