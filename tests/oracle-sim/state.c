/* State: two SQLite files per instance, "main" (the host's side) and "ctl" (the control file's
 * content). */
#include "sim.h"
#include <signal.h>
#include <time.h>
#include <unistd.h>

static const char *const main_schema =
    "create table kv(k text primary key, v);"
    "create table params(name text primary key, value text);"
    "create table sessions(sid integer primary key, serial int, inst int, pid int, program text,"
    " client_info text, logon int, killed int default 0);"
    "create table faults(name text primary key, arg int);"
    "create table adest(dest_id integer primary key, dest text, raw text, binding text, status "
    "text,"
    " error text default '');"
    "create table changes(file int, block int, scn int, primary key(file, block, scn)) without "
    "rowid;"
    "create index changes_scn on changes(scn);"
    "create table tfile(file int, created int, dropped int, lo int, span int, hwm int, name text,"
    " rfn int, undo int);"
    "create table tsize(file int, scn int, blocks int);"
    "create table scn_time(scn int, local int);";

static const char *const ctl_schema =
    "create table ctl.kv(k text primary key, v);"
    "create table ctl.files(file integer primary key, ts int, rfn int, con int, tsname text, name "
    "text,"
    " blocks int, undo int, crscn int, crtime int, status text, enabled text, ckpscn int, ckptime "
    "int,"
    " ckpthread int, ckpseq int, ckpblk int, cpc int, stopscn int, offscn int, onscn int);"
    "create table ctl.tablespaces(con int, ts int, name text, bigfile text, enc int default 0);"
    "create table ctl.tempfiles(file integer primary key, con int, ts int, bytes int, name text);"
    "create table ctl.threads(thread integer primary key, status text, enabled text, seq int, grp "
    "int,"
    " enscn int, entime int, instance text, closedscn int);"
    "create table ctl.logs(grp integer primary key, thread int, seq int, bytes int, bs int, status "
    "text,"
    " archived text, first int, ftime int, next int, ntime int, member text, wblk int);"
    "create table ctl.loghist(thread int, seq int, first int, ftime int, next int, rlc int);"
    "create table ctl.archlog(recid integer primary key, stamp int, name text, dest int, thread "
    "int,"
    " seq int, rlc int, rls int, first int, ftime int, next int, ntime int, blocks int, bs int,"
    " deleted text, status text, backed int default 0);"
    "create index ctl.archlog_seq on archlog(seq, thread);"
    "create index ctl.archlog_name on archlog(name);"
    "create index ctl.loghist_seq on loghist(seq, thread);"
    "create table ctl.copies(recid integer primary key, stamp int, file int, con int, name text, "
    "tag text,"
    " tsname text, rfn int, crscn int, crtime int, ckpscn int, ckptime int, afs int, rfs int, sta "
    "int,"
    " rlc int, rls int, blocks int, status text, lvl0 int, done int);"
    "create table ctl.pieces(recid integer primary key, stamp int, setno int, piece int, handle "
    "text,"
    " tag text, status text, kind text, done int);"
    "create table ctl.pfiles(recid int, file int, startscn int, ckpscn int, afs int, crscn int, lo "
    "int,"
    " hi int, blocks int);"
    "create table ctl.plogs(recid int, thread int, seq int, rlc int, nth int);"
    "create table ctl.incarnations(inc integer primary key, rlscn int, rlid int, prscn int, princ "
    "int,"
    " status text);"
    "create table ctl.pdbs(con integer primary key, dbid int, name text, mode text);"
    "create table ctl.rmanconf(n integer primary key, name text, value text);"
    "create table ctl.restore_points(name text, scn int);";

static void sql_fail(struct sim *s, const char *sql)
{
    die("state: %s in: %.200s", sqlite3_errmsg(s->db), sql);
}

static void exec_all(struct sim *s, const char *sql)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        sql_fail(s, sql);
}

/* Statements once prepared are kept: a long workload says the same few a million times. */
static struct kept {
    sqlite3_stmt *st;
    bool busy;
} kept[256];
enum { KEPT = sizeof kept / sizeof *kept };

static struct kept *kept_place(const struct sim *s, const char *sql)
{
    uint32_t h = 2166136261u;

    for (const char *c = sql; *c; c++)
        h = (h ^ (uint8_t)*c) * 16777619u;
    for (uint32_t i = 0; i < 8; i++) {
        struct kept *k = &kept[(h + i) % KEPT];

        if (!k->st || (sqlite3_db_handle(k->st) == s->db && strcmp(sqlite3_sql(k->st), sql) == 0))
            return k;
    }
    return NULL;
}

static sqlite3_stmt *prepared(struct sim *s, const char *sql)
{
    struct kept *k = kept_place(s, sql);
    sqlite3_stmt *st = NULL;

    if (k && k->st && !k->busy) {
        k->busy = true;
        return k->st;
    }
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK || !st)
        sql_fail(s, sql);
    if (k && !k->st)
        *k = (struct kept){st, true};
    return st;
}

void release(sqlite3_stmt *st)
{
    for (int i = 0; i < KEPT; i++)
        if (kept[i].st == st) {
            sqlite3_reset(st);
            sqlite3_clear_bindings(st);
            kept[i].busy = false;
            return;
        }
    sqlite3_finalize(st);
}

void db_close(struct sim *s)
{
    for (int i = 0; i < KEPT; i++)
        if (kept[i].st && sqlite3_db_handle(kept[i].st) == s->db) {
            sqlite3_finalize(kept[i].st);
            kept[i] = (struct kept){0};
        }
    sqlite3_close(s->db);
    s->db = NULL;
}

static sqlite3_stmt *bound(struct sim *s, const char *sql, const char *types, va_list ap)
{
    sqlite3_stmt *st = prepared(s, sql);
    int i = 1;

    for (const char *t = types; t && *t; t++, i++) {
        if (*t == 'i')
            sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
        else
            sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
    }
    return st;
}

sqlite3_stmt *q(struct sim *s, const char *sql, const char *types, ...)
{
    va_list ap;
    sqlite3_stmt *st;

    va_start(ap, types);
    st = bound(s, sql, types, ap);
    va_end(ap);
    return st;
}

bool row(sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);

    if (rc == SQLITE_ROW)
        return true;
    if (rc != SQLITE_DONE)
        die("state: %s in: %.200s", sqlite3_errmsg(sqlite3_db_handle(st)), sqlite3_sql(st));
    release(st);
    return false;
}

int64_t col(sqlite3_stmt *st, int c) { return sqlite3_column_int64(st, c); }

const char *text(sqlite3_stmt *st, int c)
{
    const char *t = (const char *)sqlite3_column_text(st, c);

    return t ? t : "";
}

int64_t q_int(struct sim *s, const char *sql, const char *types, ...)
{
    va_list ap;
    sqlite3_stmt *st;
    int64_t v = 0;

    va_start(ap, types);
    st = bound(s, sql, types, ap);
    va_end(ap);
    if (row(st)) {
        v = col(st, 0);
        release(st);
    }
    return v;
}

void q_text(struct sim *s, char *out, size_t n, const char *sql, const char *types, ...)
{
    va_list ap;
    sqlite3_stmt *st;

    va_start(ap, types);
    st = bound(s, sql, types, ap);
    va_end(ap);
    out[0] = 0;
    if (row(st)) {
        copy_text(out, n, text(st, 0));
        release(st);
    }
}

void x(struct sim *s, const char *sql, const char *types, ...)
{
    va_list ap;
    sqlite3_stmt *st;

    va_start(ap, types);
    st = bound(s, sql, types, ap);
    va_end(ap);
    if (row(st))
        release(st);
}

static int depth;

void tx_begin(struct sim *s)
{
    if (depth++ == 0)
        exec_all(s, "begin immediate");
}

void tx_end(struct sim *s)
{
    if (--depth == 0)
        exec_all(s, "commit");
}

static void kv_sql(char *out, size_t n, const char *table, const char *what)
{
    if (strcmp(what, "get") == 0)
        format_text(out, n, "select v from %s.kv where k=?", table);
    else
        format_text(out, n,
                    "insert into %s.kv(k,v) values(?,?) on conflict(k) do update set v=excluded.v",
                    table);
}

int64_t kv_int(struct sim *s, const char *table, const char *key, int64_t dflt)
{
    char sql[128];
    sqlite3_stmt *st;
    int64_t v = dflt;

    kv_sql(sql, sizeof sql, table, "get");
    st = q(s, sql, "s", key);
    if (row(st)) {
        v = col(st, 0);
        release(st);
    }
    return v;
}

void kv_set(struct sim *s, const char *table, const char *key, int64_t v)
{
    char sql[128];

    kv_sql(sql, sizeof sql, table, "set");
    x(s, sql, "si", key, v);
}

void kv_text(struct sim *s, const char *table, const char *key, char *out, size_t n)
{
    char sql[128];

    kv_sql(sql, sizeof sql, table, "get");
    q_text(s, out, n, sql, "s", key);
}

void kv_put(struct sim *s, const char *table, const char *key, const char *v)
{
    char sql[128];

    kv_sql(sql, sizeof sql, table, "set");
    x(s, sql, "ss", key, v);
}

void param(struct sim *s, const char *name, char *out, size_t n)
{
    q_text(s, out, n, "select value from main.params where name=?", "s", name);
}

void param_set(struct sim *s, const char *name, const char *value)
{
    x(s, "insert into main.params values(?,?) on conflict(name) do update set value=excluded.value",
      "ss", name, value);
}

static void link_path(const struct sim *s, char *out, size_t n)
{
    format_text(out, n, "%.900s/dbs/sim%s.lnk", s->home, s->sid);
}

static void sid_copy(struct sim *s, const char *sid)
{
    copy_text(s->sid, sizeof s->sid, sid);
    for (char *c = s->sid; *c; c++)
        if (*c == '/')
            *c = '_';
}

/* The release of a home is written by "create"; an idle instance prints it. */
static void home_release(struct sim *s)
{
    char path[PATH_LEN], *data;

    copy_text(s->release, sizeof s->release, "19.0.0.0.0");
    copy_text(s->edition, sizeof s->edition, "EE");
    format_text(path, sizeof path, "%.900s/dbs/sim.release", s->home);
    data = read_all(path, NULL);
    if (data) {
        sscanf(data, "%31s %7s", s->release, s->edition);
        free(data);
    }
    s->major = (int)strtol(s->release, NULL, 10);
}

bool sim_find(struct sim *s, const char *home, const char *sid)
{
    char path[PATH_LEN], *data;

    memset(s, 0, sizeof *s);
    copy_text(s->home, sizeof s->home, home);
    sid_copy(s, sid);
    disk_init(s->home, "");
    home_release(s);
    disk_init(s->home, s->release);
    link_path(s, path, sizeof path);
    data = read_all(path, NULL);
    if (!data)
        return false;
    data[strcspn(data, "\r\n")] = 0;
    copy_text(s->dir, sizeof s->dir, data);
    free(data);
    return true;
}

static void db_file(const struct sim *s, const char *which, char *out, size_t n)
{
    format_text(out, n, "%.900s/%s.sqlite", s->dir, which);
}

static bool open_main(struct sim *s, int flags)
{
    char path[PATH_LEN];

    db_file(s, "sim", path, sizeof path);
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK) {
        db_close(s);
        return false;
    }
    sqlite3_busy_timeout(s->db, 60000);
    exec_all(s, "pragma journal_mode=wal; pragma synchronous=off; pragma cache_size=-65536");
    return true;
}

bool sim_open(struct sim *s)
{
    char rel[32];

    if (!open_main(s, SQLITE_OPEN_READWRITE))
        return false;
    if (q_int(s, "select count(*) from main.sqlite_master", NULL) == 0)
        return false;
    s->have = true;
    s->sandbox = kv_int(s, "main", "sandbox", 0) != 0;
    kv_text(s, "main", "release", rel, sizeof rel);
    if (rel[0])
        copy_text(s->release, sizeof s->release, rel);
    kv_text(s, "main", "edition", rel, sizeof rel);
    if (rel[0])
        copy_text(s->edition, sizeof s->edition, rel);
    s->major = (int)strtol(s->release, NULL, 10);
    disk_init(s->home, s->release);
    kv_text(s, "main", "state", s->state, sizeof s->state);
    s->have = strcmp(s->state, "DOWN") != 0;
    return !s->have || strcmp(s->state, "STARTED") == 0 || sim_mount(s, false);
}

/* Attaches the control file's content; "fresh" makes an empty one first. */
bool sim_mount(struct sim *s, bool fresh)
{
    char path[PATH_LEN];

    db_file(s, "control", path, sizeof path);
    if (!fresh && disk_access(path, R_OK) < 0)
        return false;
    x(s, "attach database ? as ctl", "s", path);
    exec_all(s, "pragma ctl.journal_mode=wal; pragma ctl.synchronous=off; "
                "pragma ctl.cache_size=-65536");
    if (fresh)
        exec_all(s, ctl_schema);
    s->mounted = true;
    if (!fresh)
        sim_load_control(s);
    s->ctl_changes = sqlite3_total_changes(s->db);
    return true;
}

void sim_unmount(struct sim *s)
{
    if (s->mounted)
        exec_all(s, "detach database ctl");
    s->mounted = false;
}

void sim_load_control(struct sim *s)
{
    char compat[32];

    s->dbid = (uint32_t)kv_int(s, "ctl", "dbid", 0);
    s->bs = (uint32_t)kv_int(s, "ctl", "bs", 8192);
    s->redo_bs = (uint32_t)kv_int(s, "ctl", "redo_bs", 512);
    s->rlc = (uint32_t)kv_int(s, "ctl", "rlc", 0);
    s->rls = (uint64_t)kv_int(s, "ctl", "rls", 0);
    s->acid = (uint32_t)kv_int(s, "ctl", "acid", 0);
    s->cdb = kv_int(s, "ctl", "cdb", 0) != 0;
    s->zone_s = (int)kv_int(s, "ctl", "zone_s", 0);
    s->copy_type = (int)kv_int(s, "ctl", "copy_type", 3);
    kv_text(s, "ctl", "name", s->dbname, sizeof s->dbname);
    kv_text(s, "ctl", "unique", s->unique, sizeof s->unique);
    kv_text(s, "ctl", "compatible", compat, sizeof compat);
    s->compat = compat_code(compat);
    s->fmt.big = s->compat >= 0x0c200000u;
    s->fmt.be = kv_int(s, "ctl", "be", 0) != 0;
}

bool sim_new(struct sim *s, const char *dir, bool sandbox)
{
    char path[PATH_LEN], text[PATH_LEN];

    copy_text(s->dir, sizeof s->dir, dir);
    if (!mkdirs(dir))
        return false;
    db_file(s, "sim", path, sizeof path);
    disk_unlink(path);
    db_file(s, "control", path, sizeof path);
    disk_unlink(path);
    link_path(s, path, sizeof path);
    if (!mkdirs_for(path) || !open_main(s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE))
        return false;
    exec_all(s, main_schema);
    kv_set(s, "main", "sandbox", sandbox);
    kv_put(s, "main", "release", s->release);
    kv_put(s, "main", "edition", s->edition);
    format_text(text, sizeof text, "%.1000s\n", dir);
    if (!write_all(path, text, strlen(text)))
        return false;
    s->have = true;
    s->sandbox = sandbox;
    set_state(s, "STARTED");
    return true;
}

/* A sandbox instance leaves nothing behind but its control file. */
void sim_forget(struct sim *s)
{
    static const char *const names[] = {"sim.sqlite",         "sim.sqlite-wal",
                                        "sim.sqlite-shm",     "control.sqlite",
                                        "control.sqlite-wal", "control.sqlite-shm"};
    char path[PATH_LEN];

    db_close(s);
    s->have = s->mounted = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        format_text(path, sizeof path, "%.900s/%s", s->dir, names[i]);
        disk_unlink(path);
    }
    rmdir(s->dir);
    link_path(s, path, sizeof path);
    disk_unlink(path);
}

void sim_close(struct sim *s)
{
    if (!s->db)
        return;
    if (s->mounted && sqlite3_total_changes(s->db) != s->ctl_changes)
        control_flush(s, NULL);
    db_close(s);
}

void set_state(struct sim *s, const char *state)
{
    copy_text(s->state, sizeof s->state, state);
    kv_put(s, "main", "state", state);
}

bool is_open(const struct sim *s) { return strncmp(s->state, "OPEN", 4) == 0; }

void hazard(const struct sim *s, const char *what, const char *path)
{
    char log[PATH_LEN];
    FILE *f;

    format_text(log, sizeof log, "%.900s/dbs/sim.hazards", s->home);
    f = fopen(log, "ae");
    if (!f)
        return;
    fprintf(f, "%s %s %s\n", s->sid, what, path);
    fclose(f);
}

int64_t now_epoch(struct sim *s)
{
    return (int64_t)time(NULL) + (s->db ? kv_int(s, "main", "clockadd", 0) : 0);
}

int64_t now_local(struct sim *s) { return now_epoch(s) + s->zone_s; }

uint32_t now_ft(struct sim *s) { return ft_from_local(now_local(s)); }

uint64_t scn_now(struct sim *s) { return (uint64_t)kv_int(s, "main", "scn", 0); }

uint64_t scn_next(struct sim *s)
{
    return (uint64_t)q_int(s, "update main.kv set v=v+1 where k='scn' returning v", NULL);
}

/* xorshift64*: seeded per instance, so a failing run can be played again. */
uint64_t rnd(struct sim *s, uint64_t below)
{
    uint64_t v = s->seed ? s->seed : (uint64_t)kv_int(s, "main", "seed", 88172645463325252);

    v ^= v >> 12;
    v ^= v << 25;
    v ^= v >> 27;
    s->seed = v;
    return below ? (v * UINT64_C(2685821657736338717) >> 16) % below : 0;
}

void uniq8(struct sim *s, char out[9])
{
    static const char digits[] = "0123456789bcdfghjklmnpqrstvwxyz";
    uint64_t n = (uint64_t)q_int(s, "update main.kv set v=v+1 where k='uniq' returning v", NULL);
    uint64_t v = (uint64_t)now_epoch(s) * 4096 + n;

    for (int i = 7; i >= 0; i--) {
        out[i] = digits[v % 31];
        v /= 31;
    }
    out[8] = 0;
}

bool fault_take(struct sim *s, const char *name, int64_t *arg)
{
    sqlite3_stmt *st = q(s, "delete from main.faults where name=? returning arg", "s", name);
    bool found = false;

    while (row(st)) {
        *arg = col(st, 0);
        found = true;
    }
    return found;
}

int64_t fault_peek(struct sim *s, const char *name)
{
    sqlite3_stmt *st = q(s, "select arg from main.faults where name=?", "s", name);
    int64_t v = -1;

    if (row(st)) {
        v = col(st, 0);
        release(st);
    }
    return v;
}
