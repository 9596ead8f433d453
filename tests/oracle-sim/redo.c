/* Redo: real log headers, block headers and LWN headers; the change vectors below them are our own.
 */
#include "sim.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { LWN_HEAD = 72, LWN_SIM = 8, VEC_HEAD = 40, BLOCK_HEAD = 16 };
static const char vec_magic[4] = {'E', 'V', 'S', 'M'};

struct log { /* a row of ctl.logs */
    int grp, thread;
    uint32_t seq, blocks, bs, ftime, ntime, wblk;
    uint64_t first, next;
    char member[PATH_LEN];
};

static void lwn_room(struct lwn *l, size_t more)
{
    if (l->len + more <= l->cap)
        return;
    l->cap = (l->len + more) * 2;
    l->buf = realloc(l->buf, l->cap);
    if (!l->buf)
        die("out of memory");
}

void lwn_add(struct sim *s, struct lwn *l, const struct vec *v)
{
    size_t pad = (v->len + 7) & ~(size_t)7;
    uint8_t *p;

    if (!l->count) {
        l->len = LWN_HEAD + LWN_SIM;
        lwn_room(l, 0);
        memset(l->buf, 0, l->len);
        l->scn = v->scn;
    }
    lwn_room(l, VEC_HEAD + pad);
    p = l->buf + l->len;
    memset(p, 0, VEC_HEAD + pad);
    put2(s->fmt, p, (unsigned)v->op);
    put2(s->fmt, p + 2, (unsigned)v->undo);
    put4(s->fmt, p + 4, (uint32_t)v->file);
    put4(s->fmt, p + 8, v->block);
    put4(s->fmt, p + 12, (uint32_t)v->rfn);
    put8(s->fmt, p + 16, v->scn);
    put8(s->fmt, p + 24, v->prev);
    put4(s->fmt, p + 32, v->len);
    if (v->len)
        memcpy(p + VEC_HEAD, v->data, v->len);
    l->len += VEC_HEAD + pad;
    l->count++;
}

static void redo_seal(struct fmt f, uint8_t *b, uint32_t bs, uint32_t no, uint32_t seq,
                      unsigned first)
{
    uint16_t sum;

    b[0] = 1;
    b[1] = (uint8_t)size_code(bs);
    put2(f, b + 2, 0);
    put4(f, b + 4, no);
    put4(f, b + 8, seq);
    put2(f, b + 12, 0x8000 | first);
    b[14] = b[15] = 0;
    sum = (uint16_t)fold16(b, bs);
    memcpy(b + 14, &sum, 2);
}

static bool log_load(struct sim *s, const char *where, int64_t arg, struct log *g)
{
    char sql[256];
    sqlite3_stmt *st;
    bool found = false;

    format_text(sql, sizeof sql,
                "select grp,thread,seq,bytes/bs,bs,first,ftime,next,ntime,member,wblk from ctl.logs"
                " where %s limit 1",
                where);
    st = q(s, sql, "i", arg);
    while (row(st)) {
        found = true;
        g->grp = (int)col(st, 0);
        g->thread = (int)col(st, 1);
        g->seq = (uint32_t)col(st, 2);
        g->blocks = (uint32_t)col(st, 3);
        g->bs = (uint32_t)col(st, 4);
        g->first = (uint64_t)col(st, 5);
        g->ftime = (uint32_t)col(st, 6);
        g->next = (uint64_t)col(st, 7);
        g->ntime = (uint32_t)col(st, 8);
        copy_text(g->member, sizeof g->member, text(st, 9));
        g->wblk = (uint32_t)col(st, 10);
    }
    return found;
}

static void describe(const struct sim *s, const struct log *g, bool closed, char *out)
{
    unsigned long long next = closed       ? g->next
                              : s->fmt.big ? 0xffffffffffffffffULL
                                           : 0xffffffffffffULL;

    format_text(out, 64,
                s->fmt.big ? "Thread %04d, Seq# %010u, SCN 0x%016llx-0x%016llx"
                           : "Thread %04d, Seq# %010u, SCN 0x%012llx-0x%012llx",
                g->thread, g->seq, (unsigned long long)g->first, next);
}

/* Header block 1: section 4 of the format page. */
static void log_header(struct sim *s, const struct log *g, bool closed, uint8_t *b)
{
    struct fmt f = s->fmt;
    char about[65];

    memset(b, 0, g->bs);
    put4(f, b + 20, s->compat);
    put4(f, b + 24, s->dbid);
    memcpy(b + 28, s->dbname, 8);
    put4(f, b + 36, (uint32_t)kv_int(s, "ctl", "csq", 1));
    put4(f, b + 40, g->blocks);
    put4(f, b + 44, g->bs);
    put2(f, b + 48, (unsigned)g->grp);
    put2(f, b + 50, 2);
    put4(f, b + 52, s->acid);
    describe(s, g, closed, about);
    memcpy(b + 92, about, strlen(about));
    put4(f, b + 156, closed ? g->wblk : 0xffffffffu);
    put4(f, b + 160, s->rlc);
    put_scn(f, b + 164, s->rls);
    put4(f, b + 172, closed ? 2 : 1);
    put2(f, b + 176, (unsigned)g->thread);
    put_scn(f, b + 180, g->first);
    put4(f, b + 188, g->ftime);
    if (closed)
        put_scn(f, b + 192, g->next);
    else
        put_scn_open(b + 192);
    put4(f, b + 200, closed ? g->ntime : 0);
    b[207] = 2;
    put_scn(f, b + 208, s->rls);
    put4(f, b + 216, s->rlc);
    put_scn(f, b + 220, 0);
    put4(f, b + 236, 0x00800000u);
    put_scn(f, b + 240, 0);
    put_scn(f, b + 260, g->first);
    put4(f, b + 268, 1);
    put_scn(f, b + 272, closed ? g->next : 0);
    put_scn(f, b + 284, (uint64_t)kv_int(s, "ctl", "prs", 0));
    put4(f, b + 292, (uint32_t)kv_int(s, "ctl", "prc", 0));
    redo_seal(f, b, g->bs, 1, g->seq, 0);
}

static void log_put(const char *path, const void *data, size_t n, off_t at)
{
    int fd = disk_open(path, O_WRONLY, 0);

    if (fd < 0 || disk_pwrite(fd, data, n, at) != (ssize_t)n)
        die("cannot write online log '%s': %s", path, strerror(errno));
    disk_close(fd);
}

static void log_start(struct sim *s, const struct log *g)
{
    uint8_t b[4096];

    log_header(s, g, false, b);
    log_put(g->member, b, g->bs, g->bs);
    x(s,
      "update ctl.logs set "
      "seq=?,status='CURRENT',archived='NO',first=?,ftime=?,next=?,ntime=0,wblk=2"
      " where grp=?",
      "iiiii", (int64_t)g->seq, (int64_t)g->first, (int64_t)g->ftime, (int64_t)SCN_NONE,
      (int64_t)g->grp);
    x(s, "update ctl.threads set seq=?,grp=? where thread=?", "iii", (int64_t)g->seq,
      (int64_t)g->grp, (int64_t)g->thread);
}

void logs_create(struct sim *s, int thread, int groups, uint32_t blocks, uint64_t scn)
{
    uint8_t b[4096];
    char u[9], dest[PATH_LEN];
    struct log g;

    param(s, "db_create_file_dest", dest, sizeof dest);
    for (int i = 0; i < groups; i++) {
        int fd;

        memset(&g, 0, sizeof g);
        g.grp = (thread - 1) * groups + i + 1;
        g.thread = thread;
        g.blocks = blocks;
        g.bs = s->redo_bs;
        uniq8(s, u);
        format_text(g.member, sizeof g.member, "%.800s/%s/onlinelog/o1_mf_%d_%s_.log", dest,
                    s->unique, g.grp, u);
        fd = mkdirs_for(g.member) ? disk_open(g.member, O_RDWR | O_CREAT | O_TRUNC, 0640) : -1;
        os_block(s->fmt, b, g.bs, blocks);
        if (fd < 0 || disk_pwrite(fd, b, g.bs, 0) != (ssize_t)g.bs ||
            disk_truncate(fd, ((off_t)blocks + 1) * g.bs) < 0)
            die("cannot create online log '%s': %s", g.member, strerror(errno));
        disk_close(fd);
        x(s, "insert into ctl.logs values(?,?,0,?,?,'UNUSED','YES',0,0,0,0,?,2)", "iiiis",
          (int64_t)g.grp, (int64_t)thread, (int64_t)blocks * g.bs, (int64_t)g.bs, g.member);
    }
    if (log_load(s, "thread=? order by grp", thread, &g)) {
        g.seq = 1;
        g.first = scn;
        g.ftime = now_ft(s);
        log_start(s, &g);
    }
}

/* Cuts the record into blocks behind their 16-byte headers. */
static void lwn_blocks(struct sim *s, const struct lwn *l, const struct log *g, uint8_t *out,
                       uint32_t n)
{
    size_t room = g->bs - BLOCK_HEAD, done = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t *b = out + (size_t)i * g->bs;
        size_t part = l->len - done < room ? l->len - done : room;

        memset(b, 0, g->bs);
        memcpy(b + BLOCK_HEAD, l->buf + done, part);
        done += part;
        redo_seal(s->fmt, b, g->bs, g->wblk + i, g->seq, i == 0 ? BLOCK_HEAD : 0);
    }
}

static void lwn_head(struct sim *s, struct lwn *l, uint32_t blocks)
{
    struct fmt f = s->fmt;

    put4(f, l->buf, (uint32_t)l->len);
    l->buf[4] = 5;
    put2(f, l->buf + 6, (unsigned)(l->scn >> 32));
    put4(f, l->buf + 8, (uint32_t)l->scn);
    put2(f, l->buf + 12, 1);
    put2(f, l->buf + 24, 1);
    put2(f, l->buf + 26, 1);
    put4(f, l->buf + 28, blocks);
    put_scn(f, l->buf + 40, l->scn);
    put4(f, l->buf + 64, now_ft(s));
    memcpy(l->buf + LWN_HEAD, vec_magic, 4);
    put4(f, l->buf + LWN_HEAD + 4, (uint32_t)l->count);
}

static bool switch_at(struct sim *s, int thread, uint64_t scn, struct ora *e);

void lwn_write(struct sim *s, struct lwn *l, int thread)
{
    struct log g;
    uint32_t n;
    uint8_t *out;

    if (!l->count)
        return;
    if (!log_load(s, "status='CURRENT' and thread=?", thread, &g))
        die("thread %d has no current log", thread);
    n = (uint32_t)((l->len + g.bs - BLOCK_HEAD - 1) / (g.bs - BLOCK_HEAD));
    if (g.wblk + n > g.blocks) {
        if (!switch_at(s, thread, l->scn, NULL) && fault_peek(s, "archive-fail") < 0)
            fprintf(stderr, "oracle-sim: a log could not be archived\n");
        if (!log_load(s, "status='CURRENT' and thread=?", thread, &g) || g.wblk + n > g.blocks)
            die("online log of thread %d is too small", thread);
    }
    out = malloc((size_t)n * g.bs);
    if (!out)
        die("out of memory");
    lwn_head(s, l, n);
    lwn_blocks(s, l, &g, out, n);
    log_put(g.member, out, (size_t)n * g.bs, (off_t)g.wblk * g.bs);
    free(out);
    x(s, "update ctl.logs set wblk=? where grp=?", "ii", (int64_t)g.wblk + n, (int64_t)g.grp);
    l->count = 0;
}

/* OPEN RESETLOGS: every log is made anew where its member's name points, sequence 1 everywhere. */
bool logs_reset(struct sim *s, uint64_t scn, struct ora *e)
{
    uint8_t b[4096];
    struct log g;
    int groups = (int)q_int(s, "select max(grp) from ctl.logs", NULL);

    x(s, "update ctl.logs set status='UNUSED', archived='YES', seq=0, first=0, wblk=2", NULL);
    for (int i = 1; i <= groups; i++) {
        int fd;

        if (!log_load(s, "grp=?", i, &g))
            continue;
        fd = disk_open(g.member, O_RDWR | O_CREAT | O_TRUNC, 0640);
        os_block(s->fmt, b, g.bs, g.blocks);
        if (fd < 0 || disk_pwrite(fd, b, g.bs, 0) != (ssize_t)g.bs ||
            disk_truncate(fd, ((off_t)g.blocks + 1) * g.bs) < 0) {
            ora_add(e, "ORA-00344: unable to re-create online log '%s'", g.member);
            return ora_io(e, "create", g.member, errno);
        }
        disk_close(fd);
    }
    for (int t = 1; t <= 64; t++) {
        if (!log_load(s, "thread=? order by grp", t, &g))
            continue;
        g.seq = 1;
        g.first = scn;
        g.ftime = now_ft(s);
        log_start(s, &g);
    }
    return true;
}

/* ---- archiving ---- */

static void dest_name(struct sim *s, const char *raw, const struct log *g, char *out, size_t n)
{
    char fra[PATH_LEN], u[9], format[128];
    int c[6];
    struct naming k = {.thread = g->thread, .seq = g->seq, .kind = 'L'};

    if (same(raw, "USE_DB_RECOVERY_FILE_DEST")) {
        param(s, "db_recovery_file_dest", fra, sizeof fra);
        civil(now_local(s), c);
        uniq8(s, u);
        format_text(out, n, "%.700s/%s/archivelog/%04d_%02d_%02d/o1_mf_%d_%u_%s_.arc", fra,
                    s->unique, c[0], c[1], c[2], g->thread, g->seq, u);
        return;
    }
    param(s, "log_archive_format", format, sizeof format);
    name_expand(s, format[0] ? format : "%t_%s_%r.dbf", &k, fra, sizeof fra);
    format_text(out, n, "%.700s%s%.200s", raw, raw[0] && raw[strlen(raw) - 1] == '/' ? "" : "/",
                fra);
}

static bool log_copy(struct sim *s, const struct log *g, const char *to)
{
    uint8_t *all = malloc((size_t)g->wblk * g->bs);
    int fd = disk_open(g->member, O_RDONLY, 0);
    size_t size = (size_t)g->wblk * g->bs;
    bool ok = all && fd >= 0 && disk_pread(fd, all, size, 0) == (ssize_t)size;

    if (fd >= 0)
        disk_close(fd);
    if (ok) {
        os_block(s->fmt, all, g->bs, g->wblk - 1);
        log_header(s, g, true, all + g->bs);
        ok = write_all(to, all, size);
    }
    free(all);
    return ok;
}

void archlog_add(struct sim *s, const char *path, const struct rlog *h, int dest)
{
    x(s,
      "insert into "
      "ctl.archlog(stamp,name,dest,thread,seq,rlc,rls,first,ftime,next,ntime,blocks,bs,deleted,"
      "status) values(?,?,?,?,?,?,?,?,?,?,?,?,?,'NO','A')",
      "isiiiiiiiiiii", (int64_t)now_ft(s), path, (int64_t)dest, (int64_t)h->thread, (int64_t)h->seq,
      (int64_t)h->rlc, (int64_t)h->rls, (int64_t)h->first, (int64_t)h->ftime, (int64_t)h->next,
      (int64_t)h->ntime, (int64_t)h->nab - 1, (int64_t)h->bs);
}

/* Direct NFS writes ".name" and renames at the end; a crash in between leaves the dot file. */
static void leave_dot_file(struct sim *s, const struct log *g, const char *path)
{
    char dot[PATH_LEN];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return;
    format_text(dot, sizeof dot, "%.*s/.%.200s", (int)(slash - path), path, slash + 1);
    log_copy(s, g, dot);
}

static bool dest_fails(struct sim *s, const struct log *g, int dest, const char *path)
{
    int64_t which = fault_peek(s, "archive-fail"), any;

    if (fault_take(s, "dot-file", &any)) {
        leave_dot_file(s, g, path);
        return true;
    }
    return which == 0 || which == dest;
}

static bool archive_to(struct sim *s, const struct log *g, int dest, const char *raw)
{
    char path[PATH_LEN];
    struct rlog h = {.thread = g->thread,
                     .seq = g->seq,
                     .rlc = s->rlc,
                     .rls = s->rls,
                     .first = g->first,
                     .ftime = g->ftime,
                     .next = g->next,
                     .ntime = g->ntime,
                     .nab = g->wblk,
                     .bs = g->bs};

    dest_name(s, raw, g, path, sizeof path);
    if (same(raw, "USE_DB_RECOVERY_FILE_DEST") && !mkdirs_for(path))
        return false;
    if (dest_fails(s, g, dest, path) || !log_copy(s, g, path)) {
        x(s,
          "update main.adest set status='ERROR', error='ORA-19504: failed to create file' where"
          " dest_id=?",
          "i", (int64_t)dest);
        return false;
    }
    x(s, "update main.adest set status='VALID', error='' where dest_id=?", "i", (int64_t)dest);
    archlog_add(s, path, &h, dest);
    return true;
}

static bool archive(struct sim *s, const struct log *g, struct ora *e)
{
    struct {
        int id;
        bool must;
        char raw[PATH_LEN];
    } d[32];
    int n = 0, good = 0, failed_must = 0;
    sqlite3_stmt *st = q(
        s, "select dest_id, raw, binding from main.adest where status in ('VALID','ERROR')", NULL);

    while (row(st)) {
        if (n == 32)
            continue;
        d[n].id = (int)col(st, 0);
        copy_text(d[n].raw, sizeof d[n].raw, text(st, 1));
        d[n++].must = same(text(st, 2), "MANDATORY");
    }
    for (int i = 0; i < n; i++) {
        if (archive_to(s, g, d[i].id, d[i].raw))
            good++;
        else if (d[i].must)
            failed_must++;
    }
    if (good && !failed_must)
        return true;
    ora_add(e, "ORA-16038: log %d sequence# %u cannot be archived", g->grp, g->seq);
    ora_add(e, "ORA-19504: failed to create file \"%s\"", n ? d[0].raw : "");
    return ora_add(e, "ORA-00312: online log %d thread %d: '%s'", g->grp, g->thread, g->member);
}

/* Logs an archiver could not write are tried again at the next switch. */
void archive_late(struct sim *s)
{
    struct log g;
    int grp[64], n = 0;
    sqlite3_stmt *st =
        q(s, "select grp from ctl.logs where archived='NO' and status='INACTIVE'", NULL);

    while (row(st))
        if (n < 64)
            grp[n++] = (int)col(st, 0);
    for (int i = 0; i < n; i++)
        if (log_load(s, "grp=?", grp[i], &g) && archive(s, &g, NULL))
            x(s, "update ctl.logs set archived='YES' where grp=?", "i", (int64_t)grp[i]);
}

/* Fault "late-log": the switch returns at once, the archiver comes N seconds later. */
static bool archiver_is_late(struct sim *s)
{
    int64_t after = fault_peek(s, "late-log");
    char secs[32];
    const char *const argv[] = {"oracle-sim", "archive-late", "--home", s->home, "--sid",
                                s->sid,       "--after",      secs,     NULL};
    pid_t pid;

    if (after < 0)
        return false;
    format_text(secs, sizeof secs, "%lld", (long long)after);
    pid = fork();
    if (pid == 0) {
        setsid();
        for (int fd = 0; fd < 64; fd++)
            close(fd);
        execv("/proc/self/exe", (char *const *)argv);
        _exit(127);
    }
    return pid > 0;
}

static bool switch_at(struct sim *s, int thread, uint64_t scn, struct ora *e)
{
    struct log g, fresh;
    uint8_t b[4096];
    bool ok, late;

    if (!log_load(s, "status='CURRENT' and thread=?", thread, &g))
        return ora_add(e, "ORA-01507: database not mounted");
    if (fault_peek(s, "late-log") < 0)
        archive_late(s);
    if (!log_load(s, "status<>'CURRENT' and thread=? order by seq, grp", thread, &fresh))
        die("thread %d has one log group only", thread);
    if (q_int(s, "select archived='NO' from ctl.logs where grp=?", "i", (int64_t)fresh.grp))
        return ora_add(e, "ORA-00257: Archiver error. Connect AS SYSDBA only until resolved.");
    g.next = scn;
    g.ntime = now_ft(s);
    log_header(s, &g, true, b);
    log_put(g.member, b, g.bs, g.bs);
    late = archiver_is_late(s);
    ok = late || archive(s, &g, e);
    x(s, "update ctl.logs set status='INACTIVE',archived=?,next=?,ntime=? where grp=?", "siii",
      ok && !late ? "YES" : "NO", (int64_t)g.next, (int64_t)g.ntime, (int64_t)g.grp);
    x(s, "insert into ctl.loghist values(?,?,?,?,?,?)", "iiiiii", (int64_t)thread, (int64_t)g.seq,
      (int64_t)g.first, (int64_t)g.ftime, (int64_t)g.next, (int64_t)s->rlc);
    fresh.seq = g.seq + 1;
    fresh.first = scn;
    fresh.ftime = g.ntime;
    log_start(s, &fresh);
    x(s, "insert into main.scn_time values(?,?)", "ii", (int64_t)scn, now_local(s));
    return ok;
}

bool log_switch(struct sim *s, int thread, struct ora *e)
{
    bool ok;

    tx_begin(s);
    ok = switch_at(s, thread, scn_next(s), e);
    db_checkpoint(s);
    tx_end(s);
    return ok;
}

bool log_archive_all(struct sim *s, struct ora *e)
{
    int thread[64], n = 0;
    bool ok = true;
    sqlite3_stmt *st =
        q(s, "select thread from ctl.threads where status='OPEN' order by thread", NULL);

    while (row(st))
        if (n < 64)
            thread[n++] = (int)col(st, 0);
    tx_begin(s);
    for (int i = 0; i < n; i++)
        ok = switch_at(s, thread[i], scn_next(s), ok ? e : NULL) && ok;
    db_checkpoint(s);
    tx_end(s);
    return ok;
}

static void dest_row(struct sim *s, int id, const char *value, const char *state)
{
    char raw[PATH_LEN], word[PATH_LEN];
    const char *p = strcasestr(value, "LOCATION=");
    bool deferred = same(state, "DEFER") || strcasestr(value, "SERVICE=") != NULL;

    copy_text(word, sizeof word, p ? p + 9 : value);
    if (word[0] == '"' || word[0] == '\'')
        copy_text(raw, sizeof raw, word + 1);
    else
        copy_text(raw, sizeof raw, word);
    raw[strcspn(raw, " \"'")] = 0;
    x(s, "insert into main.adest(dest_id,dest,raw,binding,status) values(?,?,?,?,?)", "issss",
      (int64_t)id, raw, raw, strcasestr(value, "MANDATORY") ? "MANDATORY" : "OPTIONAL",
      deferred ? "DEFERRED" : "VALID");
}

/* With no LOG_ARCHIVE_DEST_n set the recovery area is an implicit destination; one set ends that.
 */
void dests_sync(struct sim *s)
{
    char name[64], value[PATH_LEN], state[64];
    int set = 0;

    x(s, "delete from main.adest", NULL);
    for (int i = 1; i <= 31; i++) {
        format_text(name, sizeof name, "log_archive_dest_%d", i);
        param(s, name, value, sizeof value);
        if (!value[0])
            continue;
        format_text(name, sizeof name, "log_archive_dest_state_%d", i);
        param(s, name, state, sizeof state);
        dest_row(s, i, value, state);
        set++;
    }
    if (!set)
        dest_row(s, 1, "LOCATION=USE_DB_RECOVERY_FILE_DEST", "ENABLE");
}

/* ---- reading ---- */

static bool head_get(const uint8_t *os, const uint8_t *b, struct rlog *h)
{
    struct fmt f = {false, false};

    memset(h, 0, sizeof *h);
    f.be = os[28] == 0x7a;
    if (os[0] != 0 || get4(f, os + 28) != 0x7a7b7c7du)
        return false;
    h->bs = get4(f, os + 20);
    h->blocks = get4(f, os + 24);
    if ((h->bs != 512 && h->bs != 1024 && h->bs != 4096) || b[0] != 1 || fold16(b, h->bs) != 0)
        return false;
    h->fmt = f;
    h->dbid = get4(f, b + 24);
    memcpy(h->dbname, b + 28, 8);
    h->seq = get4(f, b + 8);
    h->acid = get4(f, b + 52);
    h->nab = get4(f, b + 156);
    h->rlc = get4(f, b + 160);
    h->rls = get_scn(f, b + 164);
    h->thread = (int)get2(f, b + 176);
    h->first = get_scn(f, b + 180);
    h->ftime = get4(f, b + 188);
    h->next = get_scn(f, b + 192);
    h->ntime = get4(f, b + 200);
    return true;
}

bool rlog_read(const char *path, struct rlog *h)
{
    uint8_t os[64], b[4096];
    struct fmt f = {false, false};
    int fd = disk_open(path, O_RDONLY, 0);
    uint32_t bs;
    bool ok;

    if (fd < 0)
        return false;
    ok = disk_pread(fd, os, sizeof os, 0) == (ssize_t)sizeof os;
    f.be = ok && os[28] == 0x7a;
    bs = ok ? get4(f, os + 20) : 0;
    ok = ok && bs >= 512 && bs <= sizeof b && disk_pread(fd, b, bs, bs) == (ssize_t)bs &&
         head_get(os, b, h);
    disk_close(fd);
    return ok;
}

static bool blocks_ok(const uint8_t *all, size_t size, const struct rlog *h, char *why, size_t n)
{
    if (h->nab < 2 || (size_t)h->nab * h->bs > size) {
        format_text(why, n, "ORA-00334: archived log is shorter than its header says");
        return false;
    }
    for (uint32_t i = 1; i < h->nab; i++) {
        const uint8_t *b = all + (size_t)i * h->bs;

        if (b[0] == 1 && get4(h->fmt, b + 4) == i && get4(h->fmt, b + 8) == h->seq &&
            fold16(b, h->bs) == 0)
            continue;
        format_text(why, n, "ORA-00353: log corruption near block %u change %llu", i,
                    (unsigned long long)h->first);
        return false;
    }
    return true;
}

static bool record(const struct rlog *h, const uint8_t *r, size_t len, vec_fn *fn, void *arg)
{
    struct fmt f = h->fmt;
    uint32_t count = get4(f, r + LWN_HEAD + 4), time = get4(f, r + 64);
    size_t at = LWN_HEAD + LWN_SIM;

    if (memcmp(r + LWN_HEAD, vec_magic, 4) != 0)
        return true;
    for (uint32_t i = 0; i < count && at + VEC_HEAD <= len; i++) {
        const uint8_t *p = r + at;
        struct vec v = {.op = (int)get2(f, p),
                        .undo = (int)get2(f, p + 2),
                        .file = (int)get4(f, p + 4),
                        .block = get4(f, p + 8),
                        .rfn = (int)get4(f, p + 12),
                        .scn = get8(f, p + 16),
                        .prev = get8(f, p + 24),
                        .len = get4(f, p + 32)};

        if (v.len > len - at - VEC_HEAD)
            return false;
        v.data = (const char *)p + VEC_HEAD;
        if (!fn(arg, &v, time))
            return false;
        at += VEC_HEAD + ((v.len + 7) & ~(size_t)7);
    }
    return true;
}

/* Glues one record together from the blocks it spans; returns how many it took, 0 on nonsense. */
static uint32_t glue(const struct rlog *h, const uint8_t *all, uint32_t at, uint8_t **out,
                     size_t *len)
{
    size_t room = h->bs - BLOCK_HEAD, done = 0;
    uint32_t n;

    *len = get4(h->fmt, all + (size_t)at * h->bs + BLOCK_HEAD);
    n = (uint32_t)((*len + room - 1) / room);
    if (*len < LWN_HEAD + LWN_SIM || n == 0 || n > h->nab - at)
        return 0;
    *out = malloc(*len);
    if (!*out)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t part = *len - done < room ? *len - done : room;

        memcpy(*out + done, all + (size_t)(at + i) * h->bs + BLOCK_HEAD, part);
        done += part;
    }
    return n;
}

bool rlog_walk(const char *path, vec_fn *fn, void *arg, char *why, size_t n)
{
    size_t size = 0, len;
    char *data = read_all(path, &size);
    const uint8_t *all = (const uint8_t *)data;
    struct rlog h;
    bool ok;

    copy_text(why, n, "ORA-00308: cannot open archived log");
    ok = data && rlog_read(path, &h) && blocks_ok(all, size, &h, why, n);
    for (uint32_t b = 2; ok && b < h.nab;) {
        uint8_t *r = NULL;
        uint32_t used;

        if ((get2(h.fmt, all + (size_t)b * h.bs + 12) & 0x7fff) != BLOCK_HEAD) {
            b++;
            continue;
        }
        used = glue(&h, all, b, &r, &len);
        ok = used && record(&h, r, len, fn, arg);
        free(r);
        b += used ? used : 1;
    }
    free(data);
    return ok;
}
