/* The instance: startup to shutdown, and the statements both clients may send to it. */
#include "sim.h"
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* ---- startup and shutdown ---- */

static void pfile_value(const char *v, char *out, size_t n)
{
    size_t at = 0;

    for (; *v && at + 1 < n; v++)
        if (*v != '\'' && *v != '"' && *v != '(' && *v != ')' && *v != '\r' &&
            !(at == 0 && *v == ' '))
            out[at++] = *v;
    while (at && isspace((unsigned char)out[at - 1]))
        at--;
    out[at] = 0;
}

static void pfile_line(struct sim *s, char *line)
{
    char value[PATH_LEN * 2], *eq = strchr(line, '='), *name = line, *dot;

    line[strcspn(line, "\n")] = 0;
    while (isspace((unsigned char)*name))
        name++;
    if (*name == '#' || !eq)
        return;
    *eq = 0;
    dot = strchr(name, '.');
    if (dot)
        name = dot + 1;
    name[strcspn(name, " \t")] = 0;
    lower(name);
    pfile_value(eq + 1, value, sizeof value);
    param_set(s, name, value);
}

static bool pfile_read(struct sim *s, const char *path, struct ora *e)
{
    char *data = read_all(path, NULL), *p = data, *next, dbname[64];

    if (!data) {
        ora_add(e, "ORA-01078: failure in processing system parameters");
        return ora_add(e, "LRM-00109: could not open parameter file '%s'", path);
    }
    for (; p && *p; p = next) {
        next = strchr(p, '\n');
        if (next)
            *next++ = 0;
        pfile_line(s, p);
    }
    free(data);
    param(s, "db_name", dbname, sizeof dbname);
    if (!dbname[0])
        return ora_add(e, "ORA-01506: missing or illegal database name");
    return true;
}

static bool sandbox_new(struct sim *s, const char *pfile, struct ora *e)
{
    char dir[PATH_LEN], t[PATH_LEN];
    uint64_t seed = (uint64_t)getpid() * 2654435761u + 1;

    if (disk_access(pfile, R_OK) < 0) {
        ora_add(e, "ORA-01078: failure in processing system parameters");
        return ora_add(e, "LRM-00109: could not open parameter file '%s'", pfile);
    }
    format_text(dir, sizeof dir, "%.800s/dbs/sim%s", s->home, s->sid);
    if (!sim_new(s, dir, true))
        return ora_add(e, "ORA-00443: background process did not start");
    kv_set(s, "main", "scn", 0);
    kv_set(s, "main", "uniq", 0);
    kv_set(s, "main", "seed", (int64_t)seed);
    if (!pfile_read(s, pfile, e)) {
        sim_forget(s);
        return false;
    }
    param(s, "db_name", t, sizeof t);
    copy_text(s->dbname, sizeof s->dbname, t);
    upper(s->dbname);
    param(s, "db_unique_name", t, sizeof t);
    if (!t[0])
        param_set(s, "db_unique_name", s->dbname);
    param_set(s, "instance_name", s->sid);
    dests_sync(s);
    return true;
}

static void say_started(const struct sim *s)
{
    if (s->mute) {
        puts("\nOracle instance started\n");
    } else {
        puts("ORACLE instance started.\n");
    }
    puts("Total System Global Area 3221225472 bytes\nFixed Size                  2929552 bytes\n"
         "Variable Size             654314608 bytes\nDatabase Buffers         2550136832 bytes\n"
         "Redo Buffers               13844480 bytes");
}

bool inst_mount(struct sim *s, struct ora *e)
{
    char path[PATH_LEN];

    if (!s->have)
        return ora_add(e, "ORA-01034: ORACLE not available");
    if (s->mounted)
        return ora_add(e, "ORA-01100: database already mounted");
    format_text(path, sizeof path, "%.900s/control.sqlite", s->dir);
    if (s->sandbox ? !control_mount(s, e) : !sim_mount(s, false))
        return false;
    param(s, "db_name", path, sizeof path);
    if (!same(path, s->dbname)) {
        ora_add(e, "ORA-01103: database name '%s' in control file is not '%s'", s->dbname, path);
        sim_unmount(s);
        return false;
    }
    if (s->sandbox)
        kv_set(s, "main", "scn", kv_int(s, "ctl", "ckpscn", 0));
    set_state(s, "MOUNTED");
    return true;
}

bool inst_startup(struct sim *s, const char *pfile, const char *upto, struct ora *e)
{
    if (s->have)
        return ora_add(e, "ORA-01081: cannot start already-running ORACLE - shut it down first");
    if (s->db) {
        s->have = true;
        set_state(s, "STARTED");
    } else if (pfile[0]) {
        if (!sandbox_new(s, pfile, e))
            return false;
    } else {
        ora_add(e, "ORA-01078: failure in processing system parameters");
        return ora_add(e, "LRM-00109: could not open parameter file '%s/dbs/init%s.ora'", s->home,
                       s->sid);
    }
    say_started(s);
    if (same(upto, "nomount"))
        return true;
    if (!inst_mount(s, e))
        return false;
    puts(s->mute ? "database mounted" : "Database mounted.");
    if (same(upto, "mount"))
        return true;
    if (!inst_open(s, same(upto, "readonly"), e))
        return false;
    puts(s->mute ? "database opened" : "Database opened.");
    return true;
}

static bool bad_file(const struct dfile *f, struct ora *e, const char *before, const char *after)
{
    ora_add(e, "%s %d %s", before, f->file, after);
    return ora_add(e, "ORA-01110: data file %d: '%s'", f->file, f->name);
}

/* One file's header against what an open needs; "scn" is the checkpoint all must share. */
static bool file_ready(struct sim *s, const struct dfile *f, uint64_t scn, struct ora *e)
{
    struct dfh h;

    if (!dfh_read(f->name, &h))
        return bad_file(f, e, "ORA-01157: cannot identify/lock data file", "- see DBWR trace file");
    if (h.dbid != s->dbid) {
        ora_add(e, "ORA-01122: database file %d failed verification check", f->file);
        ora_add(e, "ORA-01110: data file %d: '%s'", f->file, f->name);
        return ora_add(e, "ORA-01206: file is not part of this database - wrong database id");
    }
    if (file_static(f))
        return h.ckp >= f->stopscn || bad_file(f, e, "ORA-01113: file", "needs media recovery");
    if (!s->sandbox)
        return true;
    if (h.afs >= h.ckp && h.afs)
        return bad_file(f, e, "ORA-01195: online backup of file",
                        "needs more recovery to be consistent");
    if (h.sta & STA_BACKUP)
        return bad_file(f, e, "ORA-01195: online backup of file",
                        "needs more recovery to be consistent");
    if (h.sta & (STA_ONLINE | STA_MEDIA | 0x40))
        return bad_file(f, e, "ORA-01194: file", "needs more recovery to be consistent");
    if (h.ckp > scn)
        return bad_file(f, e, "ORA-01152: file", "was not restored from a sufficiently old backup");
    if (h.ckp < scn)
        return bad_file(f, e, "ORA-01194: file", "needs more recovery to be consistent");
    return true;
}

static uint64_t open_scn(struct sim *s, const struct dfile *f, int n)
{
    uint64_t scn = 0;
    struct dfh h;

    (void)s;
    for (int i = 0; i < n; i++)
        if (!file_static(&f[i]) && dfh_read(f[i].name, &h) && (!scn || h.ckp < scn))
            scn = h.ckp;
    return scn;
}

static bool side_files_ready(struct sim *s, struct ora *e)
{
    char t[PATH_LEN];

    kv_text(s, "ctl", "flashback", t, sizeof t);
    if (s->sandbox && same(t, "YES"))
        return ora_add(e, "ORA-38760: This database instance failed to turn on flashback database");
    kv_text(s, "ctl", "bct", t, sizeof t);
    if (!same(t, "ENABLED"))
        return true;
    kv_text(s, "ctl", "bct_file", t, sizeof t);
    if (disk_access(t, R_OK) == 0)
        return true;
    ora_add(e, "ORA-19755: could not open change tracking file");
    ora_add(e, "ORA-19750: change tracking file: '%s'", t);
    return ora_add(e, "ORA-27037: unable to obtain file status");
}

bool inst_open(struct sim *s, bool readonly, struct ora *e)
{
    struct dfile *f;
    int n;
    uint64_t scn;
    bool ok = true;

    if (!s->mounted)
        return ora_add(e, "ORA-01507: database not mounted");
    if (is_open(s))
        return ora_add(e, "ORA-01531: a database already open by the instance");
    if (s->sandbox && !readonly)
        return ora_add(e, "ORA-01589: must use RESETLOGS or NORESETLOGS option for database open");
    n = files_load(s, &f);
    scn = open_scn(s, f, n);
    for (int i = 0; i < n && ok; i++)
        ok = same(f[i].status, "OFFLINE") || file_ready(s, &f[i], scn, e);
    free(f);
    if (!ok || !side_files_ready(s, e))
        return false;
    set_state(s, readonly ? "OPENRO" : "OPEN");
    if (s->sandbox) {
        kv_set(s, "ctl", "ckpscn", (int64_t)scn);
        kv_set(s, "main", "scn", (int64_t)scn);
        x(s, "update ctl.pdbs set mode=case con when 2 then 'READ ONLY' else 'MOUNTED' end", NULL);
    } else if (!readonly) {
        db_checkpoint(s);
    }
    return true;
}

static void new_incarnation(struct sim *s, uint64_t scn)
{
    int64_t inc = q_int(s, "select max(inc) from ctl.incarnations", NULL), now = now_ft(s);

    x(s, "update ctl.incarnations set status='PARENT' where status='CURRENT'", NULL);
    x(s, "insert into ctl.incarnations values(?,?,?,?,?,'CURRENT')", "iiiii", inc + 1, (int64_t)scn,
      now, (int64_t)s->rls, inc);
    kv_set(s, "ctl", "prc", s->rlc);
    kv_set(s, "ctl", "prs", (int64_t)s->rls);
    kv_set(s, "ctl", "rlc", now);
    kv_set(s, "ctl", "rls", (int64_t)scn);
    kv_set(s, "ctl", "acid", (int64_t)((s->dbid ^ (uint32_t)now) | 1));
    sim_load_control(s);
}

/* A writable clone: its own incarnation, its own logs, the same dbid. */
bool inst_resetlogs(struct sim *s, struct ora *e)
{
    uint64_t scn;

    if (!s->sandbox)
        return ora_add(
            e, "ORA-01139: RESETLOGS option only valid after an incomplete database recovery");
    if (!inst_open(s, true, e))
        return false;
    tx_begin(s);
    scn = scn_now(s) + 1;
    new_incarnation(s, scn);
    kv_set(s, "main", "scn", (int64_t)scn + 1);
    if (!logs_reset(s, scn, e)) {
        set_state(s, "MOUNTED");
        tx_end(s);
        return false;
    }
    set_state(s, "OPEN");
    x(s, "update ctl.pdbs set mode='READ WRITE' where con>2", NULL);
    db_checkpoint(s);
    tx_end(s);
    return true;
}

bool inst_shutdown(struct sim *s, const char *mode, struct ora *e)
{
    bool abort_ = same(mode, "abort"), was_open = is_open(s), was_write;

    if (!s->have) {
        ora_add(e, "ORA-01034: ORACLE not available");
        return ora_add(e, "ORA-27101: shared memory realm does not exist");
    }
    if (!abort_ && was_open)
        puts(s->mute ? "database closed" : "Database closed.");
    if (!abort_ && s->mounted)
        puts(s->mute ? "database dismounted" : "Database dismounted.");
    if (!abort_ && !s->mounted && !s->mute)
        puts("ORA-01507: database not mounted\n\n");
    was_write = strcmp(s->state, "OPEN") == 0;
    set_state(s, "DOWN");
    if (!abort_ && was_write)
        db_checkpoint(s); /* no longer open: the headers come out clean */
    if (s->mounted)
        control_flush(s, NULL);
    sim_unmount(s);
    s->have = false;
    if (s->sandbox)
        sim_forget(s);
    puts(s->mute ? "Oracle instance shut down" : "ORACLE instance shut down.");
    return true;
}

/* ---- sessions ---- */

/* A killed client that nobody has reaped yet is gone as well. */
static bool alive(int64_t pid)
{
    char path[64], *stat_, *p;
    bool ok;

    if (pid <= 0 || (kill((pid_t)pid, 0) < 0 && errno == ESRCH))
        return false;
    format_text(path, sizeof path, "/proc/%lld/status", (long long)pid);
    stat_ = read_stream(path);
    p = stat_ ? strstr(stat_, "State:") : NULL;
    ok = !p || !strchr("ZX", p[7]);
    free(stat_);
    return ok;
}

void sessions_sweep(struct sim *s)
{
    int dead[256], n = 0;
    sqlite3_stmt *st;

    if (fault_peek(s, "zombie-session") >= 0)
        return;
    st = q(s, "select sid, pid from main.sessions", NULL);
    while (row(st))
        if (n < 256 && !alive(col(st, 1)))
            dead[n++] = (int)col(st, 0);
    for (int i = 0; i < n; i++)
        x(s, "delete from main.sessions where sid=?", "i", (int64_t)dead[i]);
}

int session_add(struct sim *s, const char *program, const char *info)
{
    int sid;

    tx_begin(s);
    sid = (int)q_int(s, "select coalesce(max(sid),20)+3 from main.sessions", NULL);
    x(s,
      "insert into main.sessions(sid,serial,inst,pid,program,client_info,logon) "
      "values(?,?,1,?,?,?,?)",
      "iiissi", (int64_t)sid, (int64_t)sid * 7 + 1, (int64_t)getpid(), program, info,
      (int64_t)now_ft(s));
    tx_end(s);
    return sid;
}

/* ---- statements ---- */

struct stmt {
    struct sim *s;
    struct toks *k;
    struct ora *e;
    char *say;
    size_t n;
};

static bool archive_current(struct stmt *c) { return log_archive_all(c->s, c->e); }

static bool switch_logfile(struct stmt *c)
{
    return log_switch(
        c->s, (int)q_int(c->s, "select min(thread) from ctl.threads where status='OPEN'", NULL),
        c->e);
}

static bool checkpoint(struct stmt *c)
{
    db_checkpoint(c->s);
    return true;
}

static bool nothing(struct stmt *c)
{
    c->k->at = c->k->n;
    return true;
}

/* alter system set a=b [scope=both] [sid='*']: the value runs to the next "name=" word. */
static bool system_set(struct stmt *c)
{
    char name[128], value[PATH_LEN];

    while (take_any(c->k, name, sizeof name)) {
        if (!sign(c->k, '='))
            return ora_add(c->e, "ORA-00927: missing equal sign");
        value[0] = 0;
        take_any(c->k, value, sizeof value);
        lower(name);
        if (same(name, "scope") || same(name, "sid") || same(name, "comment"))
            continue;
        if (q_int(c->s, "select count(*) from main.params where name=?", "s", name) == 0 &&
            !starts(name, "log_archive_") && name[0] != '_') {
            ora_add(c->e, "ORA-02065: illegal option for ALTER SYSTEM");
            return false;
        }
        param_set(c->s, name, value);
        sign(c->k, ',');
    }
    dests_sync(c->s);
    return true;
}

static bool kill_session(struct stmt *c)
{
    char who[128];
    char *comma;
    long sid, serial;

    if (!take_string(c->k, who, sizeof who) || !(comma = strchr(who, ',')))
        return ora_add(c->e, "ORA-00026: missing or invalid session ID");
    c->k->at = c->k->n;
    sid = strtol(who, NULL, 10);
    serial = strtol(comma + 1, NULL, 10);
    if (q_int(c->s, "select count(*) from main.sessions where sid=? and serial=?", "ii",
              (int64_t)sid, (int64_t)serial) == 0)
        return ora_add(c->e, "ORA-00030: User session ID does not exist.");
    x(c->s, "delete from main.sessions where sid=?", "i", (int64_t)sid);
    return true;
}

static bool backup_controlfile(struct stmt *c)
{
    char path[PATH_LEN] = "";

    if (words(c->k, "trace")) {
        if (words(c->k, "as") && !take_string(c->k, path, sizeof path))
            return ora_add(c->e, "ORA-02231: missing or invalid option to ALTER DATABASE");
        if (path[0])
            control_trace(c->s, path);
        c->k->at = c->k->n;
        return !path[0] || disk_access(path, R_OK) == 0 || ora_io(c->e, "create", path, errno);
    }
    if (!take_string(c->k, path, sizeof path))
        return ora_add(c->e, "ORA-01967: invalid option for CREATE CONTROLFILE");
    if (!words(c->k, "reuse") && disk_access(path, F_OK) == 0) {
        ora_add(c->e, "ORA-01580: error creating control backup file %s", path);
        ora_add(c->e, "ORA-27038: created file already exists");
        return ora_add(c->e, "Additional information: 1");
    }
    return control_write(c->s, path, 4, c->e);
}

static bool tracking_on(struct stmt *c)
{
    char path[PATH_LEN] = "", dest[PATH_LEN], u[9];
    uint8_t b[1024];
    struct sim *s = c->s;

    if (!same(s->edition, "EE"))
        return ora_add(c->e, "ORA-00439: feature not enabled: Fast Incremental Backup");
    if (words(c->k, "using file"))
        take_string(c->k, path, sizeof path);
    if (!path[0]) {
        param(s, "db_create_file_dest", dest, sizeof dest);
        uniq8(s, u);
        format_text(path, sizeof path, "%.700s/%s/changetracking/o1_mf_%s_.chg", dest, s->unique,
                    u);
    }
    memset(b, 0, sizeof b);
    os_block(s->fmt, b, 512, 1);
    put4(s->fmt, b + 512 + 28, s->dbid);
    memcpy(b + 512 + 32, s->dbname, 8);
    put2(s->fmt, b + 512 + 54, 7);
    kcbh_seal(s->fmt, b + 512, 512, 0x14, 1, 0, 1);
    if (!mkdirs_for(path) || !write_all(path, b, sizeof b)) {
        ora_add(c->e, "ORA-19751: could not create the change tracking file");
        return ora_io(c->e, "create", path, errno);
    }
    kv_put(s, "ctl", "bct", "ENABLED");
    kv_put(s, "ctl", "bct_file", path);
    return true;
}

static bool tracking_off(struct stmt *c)
{
    char path[PATH_LEN];

    kv_text(c->s, "ctl", "bct_file", path, sizeof path);
    if (path[0] && c->s->sandbox && disk_access(path, F_OK) == 0)
        hazard(c->s, "disable-tracking-deletes", path);
    else if (path[0])
        disk_unlink(path);
    kv_put(c->s, "ctl", "bct", "DISABLED");
    kv_put(c->s, "ctl", "bct_file", "");
    return true;
}

static bool begin_backup(struct stmt *c) { return hot_backup(c->s, NULL, true, c->e); }

static bool end_backup(struct stmt *c) { return hot_backup(c->s, NULL, false, c->e); }

static bool flashback_off(struct stmt *c)
{
    kv_put(c->s, "ctl", "flashback", "NO");
    return true;
}

static bool flashback_on(struct stmt *c)
{
    kv_put(c->s, "ctl", "flashback", "YES");
    return true;
}

static bool logging_on(struct stmt *c)
{
    kv_put(c->s, "ctl", "force_logging", "YES");
    return true;
}

static int rename_in(struct sim *s, const char *sql, const char *to, const char *from)
{
    x(s, sql, "ss", to, from);
    return sqlite3_changes(s->db);
}

static bool rename_file(struct stmt *c)
{
    char from[PATH_LEN], to[PATH_LEN], bct[PATH_LEN];
    struct sim *s = c->s;

    if (!take_string(c->k, from, sizeof from) || !words(c->k, "to") ||
        !take_string(c->k, to, sizeof to))
        return ora_add(c->e, "ORA-00946: missing TO keyword");
    if (s->sandbox && strstr(from, "/o1_mf_") && disk_access(from, F_OK) == 0)
        hazard(s, "rename-deletes",
               from); /* Oracle removes an OMF file it finds under the old name */
    if (rename_in(s, "update ctl.logs set member=? where member=?", to, from) ||
        rename_in(s, "update ctl.tempfiles set name=? where name=?", to, from))
        return true;
    kv_text(s, "ctl", "bct_file", bct, sizeof bct);
    if (bct[0] && strcmp(bct, from) == 0) {
        kv_put(s, "ctl", "bct_file", to);
        return true;
    }
    if (q_int(s, "select count(*) from ctl.files where name=?", "s", from) == 0) {
        ora_add(c->e, "ORA-01511: error in renaming log/data files");
        return ora_add(c->e, "ORA-01516: nonexistent log file, data file, or temporary file \"%s\"",
                       from);
    }
    if (disk_access(to, R_OK) < 0) {
        ora_add(c->e, "ORA-01511: error in renaming log/data files");
        ora_add(c->e, "ORA-01141: error renaming data file - new file '%s' not found", to);
        return ora_add(c->e, "ORA-27037: unable to obtain file status");
    }
    return rename_in(s, "update ctl.files set name=? where name=?", to, from) > 0;
}

static bool db_mount(struct stmt *c) { return inst_mount(c->s, c->e); }

static bool db_open(struct stmt *c)
{
    bool readonly = words(c->k, "read only");

    if (words(c->k, "resetlogs"))
        return inst_resetlogs(c->s, c->e);
    if (words(c->k, "read write") || words(c->k, "noresetlogs"))
        readonly = false;
    return inst_open(c->s, readonly, c->e);
}

static bool db_datafile(struct stmt *c)
{
    uint64_t file = 0;

    if (!take_number(c->k, &file))
        return ora_add(c->e, "ORA-02236: invalid file name");
    if (words(c->k, "offline")) {
        c->k->at = c->k->n;
        return file_offline(c->s, (int)file, false) ||
               ora_add(c->e, "ORA-01516: nonexistent data file");
    }
    if (words(c->k, "online"))
        return file_offline(c->s, (int)file, true) ||
               ora_add(c->e, "ORA-01113: file %llu needs recovery", (unsigned long long)file);
    return ora_add(c->e, "ORA-00905: missing keyword");
}

static bool tablespace(struct stmt *c)
{
    char ts[128] = "";
    bool ok = false;

    take_any(c->k, ts, sizeof ts);
    if (words(c->k, "begin backup") || words(c->k, "end backup"))
        return hot_backup(c->s, ts, same(c->k->t[c->k->at - 2].text, "begin"), c->e);
    if (words(c->k, "read only"))
        ok = ts_enable(c->s, ts, false);
    else if (words(c->k, "read write"))
        ok = ts_enable(c->s, ts, true);
    else
        return ora_add(c->e, "ORA-02142: missing or invalid ALTER TABLESPACE option");
    return ok || ora_add(c->e, "ORA-00959: tablespace '%s' does not exist", ts);
}

static bool pluggable(struct stmt *c)
{
    char name[128] = "", mode[32];
    struct sim *s = c->s;

    take_any(c->k, name, sizeof name);
    upper(name);
    if (!s->cdb)
        return ora_add(c->e, "ORA-65090: operation only allowed in a container database");
    if (words(c->k, "close"))
        copy_text(mode, sizeof mode, "MOUNTED");
    else if (words(c->k, "open") && (words(c->k, "read only") || strcmp(s->state, "OPENRO") == 0))
        copy_text(mode, sizeof mode, "READ ONLY");
    else
        copy_text(mode, sizeof mode, "READ WRITE");
    c->k->at = c->k->n;
    if (same(name, "ALL"))
        x(s, "update ctl.pdbs set mode=? where con>2", "s", mode);
    else if (q_int(s, "select count(*) from ctl.pdbs where name=?", "s", name) == 0)
        return ora_add(c->e, "ORA-65011: Pluggable database %s does not exist.", name);
    else
        x(s, "update ctl.pdbs set mode=? where name=?", "ss", mode, name);
    return true;
}

static bool create_pfile(struct stmt *c)
{
    char path[PATH_LEN] = "", *t;
    bool ok;

    if (sign(c->k, '='))
        take_string(c->k, path, sizeof path);
    if (!path[0])
        format_text(path, sizeof path, "%.900s/dbs/init%s.ora", c->s->home, c->s->sid);
    c->k->at = c->k->n;
    t = spfile_text(c->s);
    ok = write_all(path, t, strlen(t));
    free(t);
    return ok || ora_io(c->e, "create", path, errno);
}

static const struct {
    const char *head;
    int need; /* 1 started, 2 mounted, 3 open */
    bool (*run)(struct stmt *c);
    const char *say;
} statements[] = {
    {"alter system archive log current", 3, archive_current, "System altered."},
    {"alter system archive log all", 3, archive_current, "System altered."},
    {"alter system switch logfile", 3, switch_logfile, "System altered."},
    {"alter system switch all logfile", 3, archive_current, "System altered."},
    {"alter system checkpoint", 3, checkpoint, "System altered."},
    {"alter system set", 1, system_set, "System altered."},
    {"alter system reset", 1, nothing, "System altered."},
    {"alter system kill session", 1, kill_session, "System altered."},
    {"alter system register", 1, nothing, "System altered."},
    {"alter session set", 1, nothing, "Session altered."},
    {"alter database backup controlfile to", 2, backup_controlfile, "Database altered."},
    {"alter database enable block change tracking", 2, tracking_on, "Database altered."},
    {"alter database disable block change tracking", 2, tracking_off, "Database altered."},
    {"alter database flashback off", 2, flashback_off, "Database altered."},
    {"alter database flashback on", 2, flashback_on, "Database altered."},
    {"alter database force logging", 2, logging_on, "Database altered."},
    {"alter database rename file", 2, rename_file, "Database altered."},
    {"alter database mount", 1, db_mount, "Database altered."},
    {"alter database open", 2, db_open, "Database altered."},
    {"alter database begin backup", 3, begin_backup, "Database altered."},
    {"alter database end backup", 2, end_backup, "Database altered."},
    {"alter database datafile", 2, db_datafile, "Database altered."},
    {"alter tablespace", 3, tablespace, "Tablespace altered."},
    {"alter pluggable database", 2, pluggable, "Pluggable database altered."},
    {"create pfile", 1, create_pfile, "File created."},
    {"create spfile", 1, nothing, "File created."},
    {"drop restore point", 2, nothing, "Restore point dropped."},
};

static bool allowed(const struct sim *s, int need, struct ora *e)
{
    if (!s->have) {
        ora_add(e, "ORA-01034: ORACLE not available");
        return ora_add(e, "Process ID: 0");
    }
    if (need >= 2 && !s->mounted)
        return ora_add(e, "ORA-01507: database not mounted");
    if (need >= 3 && strcmp(s->state, "OPENRO") == 0)
        return ora_add(e, "ORA-16000: database or pluggable database open for read-only access");
    if (need >= 3 && !is_open(s))
        return ora_add(e, "ORA-01109: database not open");
    return true;
}

bool run_statement(struct sim *s, const char *sql, char *say, size_t n, struct ora *e)
{
    struct toks k;
    struct stmt c = {s, &k, e, say, n};
    bool ok = false, known = false;

    lex(sql, 1, &k);
    for (size_t i = 0; i < sizeof statements / sizeof *statements && !known; i++) {
        if (!words(&k, statements[i].head))
            continue;
        known = true;
        copy_text(say, n, statements[i].say);
        ok = allowed(s, statements[i].need, e);
        if (ok && s->db && statements[i].need >= 2 && s->mounted) {
            tx_begin(s);
            ok = statements[i].run(&c);
            tx_end(s);
        } else if (ok) {
            ok = statements[i].run(&c);
        }
    }
    if (!known)
        ora_add(e, "ORA-00900: invalid SQL statement");
    lex_free(&k);
    return ok;
}
