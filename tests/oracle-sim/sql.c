/* Oracle's dictionary names over SQLite: views, a few functions, and the small differences in
 * between. */
#include "sql.h"
#include <ctype.h>
#include <unistd.h>

enum { MARK = '\x01' }; /* stands before a DATE, so that it can be shown in the session's format */

/* '~' parts exist from 12.1 on. Columns are named as Oracle names them. */
static const struct {
    const char *name;
    int need, since;
    const char *sql;
} views[] = {
    {"dual", 1, 0, "select 'X' dummy"},
    {"v$instance", 1, 0,
     "select 1 instance_number, prm('instance_name') instance_name, hostname() host_name, "
     "kvm('release') version,"
     " kvm('release') version_full, dt(kvm('started')) startup_time,"
     " case substr(kvm('state'),1,4) when 'OPEN' then 'OPEN' else kvm('state') end status, 'NO' "
     "parallel,"
     " 1 thread#, 'STARTED' archiver, 'ALLOWED' logins, 'ACTIVE' database_status,"
     " 'PRIMARY_INSTANCE' instance_role, 'NORMAL' active_state, 'NO' blocked,"
     " kvm('edition') edition ~,0 con_id~"},
    {"v$version", 1, 0,
     "select banner() banner, banner() banner_full, banner() banner_legacy ~,0 con_id~"},
    {"v$parameter", 1, 0,
     "select row_number() over (order by name) num, name, 2 type, coalesce(value,'') value,"
     " coalesce(value,'') display_value, 'FALSE' isdefault, 'FALSE' issys_modifiable ~,1 con_id~"
     " from main.params"},
    {"gv$session", 1, 0,
     "select inst inst_id, sid, serial serial#, 'SYS' username, 'ACTIVE' status, 'USER' type,"
     " pid process, program, client_info, dt(logon) logon_time, '' module, '' action, '' event,"
     " 0 seconds_in_wait, 0 paddr, 0 blocking_session from main.sessions"},
    {"v$session", 1, 0,
     "select sid, serial serial#, 'SYS' username, 'ACTIVE' status, 'USER' type,"
     " pid process, program, client_info, dt(logon) logon_time, '' module, '' action, '' event,"
     " 0 seconds_in_wait, 0 paddr, 0 blocking_session from main.sessions"},
    {"v$option", 1, 0,
     "select 'Block Change Tracking' parameter, case kvm('edition') when 'EE' then 'TRUE' else "
     "'FALSE' end value"
     " union all select 'Real Application Clusters','FALSE' union all select 'Managed "
     "Standby','TRUE'"},
    {"v$archive_dest", 1, 0,
     "with recursive n(i) as (select 1 union all select i+1 from n where i<31)"
     " select i dest_id, 'LOG_ARCHIVE_DEST_'||i dest_name, coalesce(status,'INACTIVE') status,"
     " coalesce(binding,'OPTIONAL') binding, 'SYSTEM' name_space, 'PRIMARY' target, 'ARCH' "
     "archiver,"
     " coalesce(dest,'') destination, coalesce(error,'') error, 0 log_sequence, 300 reopen_secs,"
     " 'YES' valid_now, 'ALL_LOGFILES' valid_type, 'ALL_ROLES' valid_role ~,0 con_id~"
     " from n left join main.adest on dest_id=i"},
    {"v$database", 2, 0,
     "select kvc('dbid') dbid, kvc('name') name, dt(kvc('rlc')) created, kvc('rls') "
     "resetlogs_change#,"
     " dt(kvc('rlc')) resetlogs_time, kvc('prs') prior_resetlogs_change#, dt(kvc('prc'))"
     " prior_resetlogs_time, 'ARCHIVELOG' log_mode, kvc('ckpscn') checkpoint_change#,"
     " kvc('ckpscn') archive_change#, case kvm('sandbox') when 1 then 'BACKUP' else 'CURRENT' end"
     " controlfile_type, dt(kvc('rlc')) controlfile_created, kvc('csq') controlfile_sequence#,"
     " kvc('ckpscn') controlfile_change#, case kvm('sandbox') when 1 then 'REQUIRED' else 'NOT "
     "ALLOWED' end"
     " open_resetlogs, case kvm('state') when 'OPEN' then 'READ WRITE' when 'OPENRO' then 'READ "
     "ONLY'"
     " else 'MOUNTED' end open_mode, 'MAXIMUM PERFORMANCE' protection_mode, 'PRIMARY' "
     "database_role,"
     " kvc('acid') activation#, 'NOT ALLOWED' switchover_status, kvc('force_logging') "
     "force_logging,"
     " case kvc('be') when 1 then 6 else 13 end platform_id, case kvc('be') when 1 then"
     " 'AIX-Based Systems (64-bit)' else 'Linux x86 64-bit' end platform_name, 2"
     " recovery_target_incarnation#, 2 last_open_incarnation#, case when kvm('state') like 'OPEN%' "
     "then"
     " kvm('scn') else 0 end current_scn, kvc('flashback') flashback_on, kvc('unique') "
     "db_unique_name,"
     " 'NO' supplemental_log_data_min ~,case kvc('cdb') when 1 then 'YES' else 'NO' end cdb, 0 "
     "con_id~"},
    {"v$database_incarnation", 2, 0,
     "select inc incarnation#, rlscn resetlogs_change#, dt(rlid) resetlogs_time, prscn"
     " prior_resetlogs_change#, dt(rlid) prior_resetlogs_time, status, rlid resetlogs_id, princ"
     " prior_incarnation#, 'NO' flashback_database_allowed ~,0 con_id~ from ctl.incarnations"},
    {"v$thread", 2, 0,
     "select t.thread thread#, t.status, enabled, (select count(*) from ctl.logs g where "
     "g.thread=t.thread)"
     " groups, instance, dt(entime) open_time, t.grp current_group#, t.seq sequence#, kvc('ckpscn')"
     " checkpoint_change#, enscn enable_change#, dt(entime) enable_time, 0 disable_change#, ''"
     " disable_time, t.seq last_redo_sequence#, l.wblk last_redo_block, case t.status when "
     "'CLOSED' then"
     " closedscn else kvm('scn') end last_redo_change#, dt(l.ftime) last_redo_time ~,0 con_id~"
     " from ctl.threads t join ctl.logs l on l.grp=t.grp"},
    {"v$log", 2, 0,
     "select grp group#, thread thread#, seq sequence#, bytes, bs blocksize, 1 members, archived, "
     "status,"
     " first first_change#, dt(ftime) first_time, next next_change#, dt(ntime) next_time ~,0 "
     "con_id~"
     " from ctl.logs"},
    {"v$logfile", 2, 0,
     "select grp group#, '' status, 'ONLINE' type, member, 'NO' is_recovery_dest_file ~,0 con_id~ "
     "from"
     " ctl.logs"},
    {"v$log_history", 2, 0,
     "select rowid recid, ntime stamp, thread thread#, seq sequence#, first first_change#, "
     "dt(ftime)"
     " first_time, next next_change#, kvc('rls') resetlogs_change# from (select rowid, *, ftime "
     "ntime from"
     " ctl.loghist)"},
    {"v$datafile", 2, 0,
     "select file file#, crscn creation_change#, dt(crtime) creation_time, ts ts#, rfn rfile#, "
     "status,"
     " enabled, ckpscn checkpoint_change#, dt(ckptime) checkpoint_time, 0 unrecoverable_change#, ''"
     " unrecoverable_time, nz(stopscn) last_change#, '' last_time, coalesce(offscn,0) "
     "offline_change#,"
     " coalesce(onscn,0) online_change#, '' online_time, blocks*kvc('bs') bytes, blocks, "
     "blocks*kvc('bs')"
     " create_bytes, kvc('bs') block_size, name, 0 plugged_in, '' aux_name, 0 first_nonlogged_scn, "
     "0"
     " foreign_dbid, 0 foreign_creation_change#, 'NO' plugged_readonly, 0 plugin_change#, 0"
     " plugin_resetlogs_change# ~,con con_id~ from ctl.files"},
    {"v$datafile_header", 2, 0,
     "select file file#, status, error, 10 format, recover, fuzzy, crscn creation_change#, "
     "dt(crtime)"
     " creation_time, tsname tablespace_name, ts ts#, rfn rfile#, rls resetlogs_change#, ckp"
     " checkpoint_change#, dt(ckptime) checkpoint_time, cpc checkpoint_count, blocks*kvc('bs') "
     "bytes,"
     " blocks, name ~,con con_id~ from temp.headers"},
    {"v$datafile_copy", 2, 0,
     "select recid, stamp, name, tag, file file#, rfn rfile#, crscn creation_change#, dt(crtime)"
     " creation_time, rls resetlogs_change#, dt(rlc) resetlogs_time, case lvl0 when 1 then 0 else "
     "'' end"
     " incremental_level, ckpscn checkpoint_change#, dt(ckptime) checkpoint_time, afs"
     " absolute_fuzzy_change#, rfs recovery_fuzzy_change#, '' recovery_fuzzy_time, case when sta&4 "
     "then"
     " 'YES' else 'NO' end online_fuzzy, case when sta&1 then 'YES' else 'NO' end backup_fuzzy, 0"
     " marked_corrupt, 0 media_corrupt, 0 logically_corrupt, blocks, kvc('bs') block_size, case "
     "status"
     " when 'D' then 'YES' else 'NO' end deleted, dt(done) completion_time, '' controlfile_type, "
     "'NO' keep,"
     " 'NO' scanned, 'NO' is_recovery_dest_file, status ~,con con_id~ from ctl.copies"},
    {"v$backup", 2, 0,
     "select file file#, case when coalesce((select v from ctl.kv where k='hot_'||file),0)>0 then"
     " 'ACTIVE' else 'NOT ACTIVE' end status, coalesce((select v from ctl.kv where "
     "k='hot_'||file),0)"
     " change#, '' time ~,con con_id~ from ctl.files"},
    {"v$tablespace", 2, 0,
     "select ts ts#, name, 'YES' included_in_database_backup, bigfile, 'YES' flashback_on, ''"
     " encrypt_in_backup ~,con con_id~ from ctl.tablespaces"},
    {"v$encrypted_tablespaces", 2, 0,
     "select ts ts#, 'AES128' encryptionalg, 'YES' encryptedts, 'NORMAL' status ~,con con_id~ from"
     " ctl.tablespaces where enc=1"},
    {"v$encryption_keys", 2, 12,
     "select '' key_id, '' keystore_type, 0 con_id from ctl.kv where 0"},
    {"v$tempfile", 2, 0,
     "select file file#, 0 creation_change#, ts ts#, 1 rfile#, 'ONLINE' status, 'READ WRITE' "
     "enabled, bytes,"
     " bytes/kvc('bs') blocks, kvc('bs') block_size, name ~,con con_id~ from ctl.tempfiles"},
    {"v$controlfile", 1, 0,
     "select '' status, name, 'NO' is_recovery_dest_file, 16384 block_size, 614 file_size_blks ~,0 "
     "con_id~"
     " from temp.controlfiles"},
    {"v$archived_log", 2, 0,
     "select recid, stamp, case status when 'D' then '' else name end name, dest dest_id, thread "
     "thread#,"
     " seq sequence#, rls resetlogs_change#, dt(rlc) resetlogs_time, rlc resetlogs_id, first"
     " first_change#, dt(ftime) first_time, next next_change#, dt(ntime) next_time, blocks, bs "
     "block_size,"
     " 'ARCH' creator, 'ARCH' registrar, 'NO' standby_dest, 'YES' archived, 'NO' applied, deleted, "
     "status,"
     " dt(stamp) completion_time, 'NO' dictionary_begin, 'NO' end_of_redo, backed backup_count, "
     "kvc('acid')"
     " activation#, case dest when 1 then 'YES' else 'NO' end is_recovery_dest_file ~,0 con_id~"
     " from ctl.archlog"},
    {"v$backup_piece", 2, 0,
     "select recid, stamp, stamp set_stamp, setno set_count, piece piece#, 1 copy#, 'DISK' "
     "device_type,"
     " handle, '' comments, tag, status, case status when 'D' then 'YES' else 'NO' end deleted,"
     " dt(done) start_time, dt(done) completion_time, 0 elapsed_seconds, 'NO' compressed, 'NO' "
     "encrypted"
     " ~,0 con_id~ from ctl.pieces"},
    {"v$backup_datafile", 2, 0,
     "select p.recid, p.stamp, p.setno set_count, f.file file#, f.crscn creation_change#, 1"
     " incremental_level, f.startscn incremental_change#, f.ckpscn checkpoint_change#, f.afs"
     " absolute_fuzzy_change#, f.blocks, f.hi datafile_blocks, f.hi blocks_read, case kvc('bct') "
     "when"
     " 'ENABLED' then 'YES' else 'NO' end used_change_tracking, dt(p.done) completion_time ~,0 "
     "con_id~"
     " from ctl.pfiles f join ctl.pieces p on p.recid=f.recid"},
    {"v$block_change_tracking", 2, 0,
     "select kvc('bct') status, coalesce(kvc('bct_file'),'') filename, case kvc('bct') when "
     "'ENABLED' then"
     " 11599872 else '' end bytes ~,0 con_id~"},
    {"v$rman_configuration", 2, 0, "select n conf#, name, value ~,0 con_id~ from ctl.rmanconf"},
    {"v$pdbs", 2, 12,
     "select con con_id, dbid, dbid con_uid, printf('%032X',con*2654435761) guid, name, mode "
     "open_mode, 'NO'"
     " restricted from ctl.pdbs"},
    {"v$pdb_incarnation", 2, 12,
     "select 1 pdb_incarnation#, 'CURRENT' status, 0 incarnation_scn, con con_id from ctl.pdbs "
     "where 0"},
    {"v$restore_point", 2, 0,
     "select name, scn, 2 database_incarnation#, 'NO' guarantee_flashback_database from "
     "ctl.restore_points"},
    {"v$nonlogged_block", 2, 12, "select 0 file#, 0 block# from ctl.kv where 0"},
    {"v$database_block_corruption", 2, 0,
     "select 0 file#, 0 block#, 0 blocks, 0 corruption_change#, '' corruption_type from ctl.kv "
     "where 0"},
    {"v$recovery_file_dest", 2, 0,
     "select prm('db_recovery_file_dest') name, prm('db_recovery_file_dest_size') space_limit, 0 "
     "space_used"},
    {"dba_data_files", 3, 0,
     "select name file_name, file file_id, tsname tablespace_name, blocks*kvc('bs') bytes, blocks,"
     " 'AVAILABLE' status, rfn relative_fno, status online_status from ctl.files"},
};

/* ---- functions ---- */

static struct sim *self(sqlite3_context *c) { return sqlite3_user_data(c); }

static const char *arg(sqlite3_value *v)
{
    const char *t = (const char *)sqlite3_value_text(v);

    return t ? t : "";
}

static void result(sqlite3_context *c, const char *t)
{
    sqlite3_result_text(c, t, -1, SQLITE_TRANSIENT);
}

static void fn_kv(sqlite3_context *c, int n, sqlite3_value **v, const char *sql)
{
    struct sim *s = self(c);
    sqlite3_stmt *st = q(s, sql, "s", arg(v[0]));

    (void)n;
    if (row(st)) {
        sqlite3_result_value(c, sqlite3_column_value(st, 0));
        release(st);
    }
}

static void fn_kvc(sqlite3_context *c, int n, sqlite3_value **v)
{
    fn_kv(c, n, v, "select v from ctl.kv where k=?");
}

static void fn_kvm(sqlite3_context *c, int n, sqlite3_value **v)
{
    fn_kv(c, n, v, "select v from main.kv where k=?");
}

static void fn_prm(sqlite3_context *c, int n, sqlite3_value **v)
{
    fn_kv(c, n, v, "select value from main.params where name=?");
}

static void fn_dt(sqlite3_context *c, int n, sqlite3_value **v)
{
    char t[40];
    int64_t ft = sqlite3_value_int64(v[0]);

    (void)n;
    t[0] = MARK;
    ft_text((uint32_t)ft, t + 1);
    result(c, ft ? t : "");
}

static void fn_nz(sqlite3_context *c, int n, sqlite3_value **v)
{
    (void)n;
    if (sqlite3_value_int64(v[0]))
        sqlite3_result_value(c, v[0]);
    else
        result(c, "");
}

static void fn_hostname(sqlite3_context *c, int n, sqlite3_value **v)
{
    char t[128] = "localhost";

    (void)n;
    (void)v;
    gethostname(t, sizeof t - 1);
    result(c, t);
}

static void fn_banner(sqlite3_context *c, int n, sqlite3_value **v)
{
    char t[160], g[8];
    struct sim *s = self(c);

    (void)n;
    (void)v;
    format_text(g, sizeof g, "%d%s", s->major, s->major >= 18 ? "c" : s->major == 12 ? "c" : "g");
    format_text(t, sizeof t, "Oracle Database %s %s Edition Release %s - %sProduction", g,
                same(s->edition, "EE") ? "Enterprise"
                : s->major >= 12       ? "Standard"
                                       : "",
                s->release, s->major < 18 ? "64bit " : "");
    result(c, t);
}

static void fn_sysdate(sqlite3_context *c, int n, sqlite3_value **v)
{
    char t[40];

    (void)n;
    (void)v;
    t[0] = MARK;
    ft_text(now_ft(self(c)), t + 1);
    result(c, t);
}

static void fn_nvl(sqlite3_context *c, int n, sqlite3_value **v)
{
    (void)n;
    sqlite3_result_value(c, arg(v[0])[0] ? v[0] : v[1]);
}

static void fn_decode(sqlite3_context *c, int n, sqlite3_value **v)
{
    for (int i = 1; i + 1 < n; i += 2)
        if (strcmp(arg(v[0]), arg(v[i])) == 0) {
            sqlite3_result_value(c, v[i + 1]);
            return;
        }
    if (n % 2 == 0)
        sqlite3_result_value(c, v[n - 1]);
    else
        result(c, "");
}

struct when { /* a date taken apart, with the zone for TZH and TZM */
    int y, mo, d, h, mi, s, zone;
};

static const char *const months[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                     "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};

static size_t element(const struct when *w, const char *f, char *out, size_t n)
{
    const struct {
        const char *name;
        const char *fmt;
        int value;
    } part[] = {
        {"YYYY", "%04d", w->y},
        {"HH24", "%02d", w->h},
        {"HH12", "%02d", (w->h + 11) % 12 + 1},
        {"RR", "%02d", w->y % 100},
        {"YY", "%02d", w->y % 100},
        {"MM", "%02d", w->mo},
        {"MI", "%02d", w->mi},
        {"DD", "%02d", w->d},
        {"SS", "%02d", w->s},
        {"HH", "%02d", (w->h + 11) % 12 + 1},
        {"TZH", w->zone < 0 ? "-%02d" : "+%02d", abs(w->zone) / 3600},
        {"TZM", "%02d", abs(w->zone) / 60 % 60},
    };

    if (starts(f, "MON")) {
        format_text(out, n, "%s", months[(w->mo + 11) % 12]);
        return 3;
    }
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (!starts(f, part[i].name))
            continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        format_text(out, n, part[i].fmt, part[i].value);
#pragma GCC diagnostic pop
        return strlen(part[i].name);
    }
    format_text(out, n, "%c", *f);
    return 1;
}

static void date_format(const char *value, const char *format, int zone, char *out, size_t n)
{
    struct when w = {.zone = zone};
    int *field[] = {&w.y, &w.mo, &w.d, &w.h, &w.mi, &w.s};
    const char *p = value;
    char *end = NULL;
    size_t at = 0;

    for (int i = 0; i < 6 && *p; i++, p = *end ? end + 1 : end)
        *field[i] = (int)strtol(p, &end, 10);
    if (!w.d) {
        copy_text(out, n, value);
        return;
    }
    out[0] = 0;
    while (*format && at + 1 < n) {
        if (*format == '"') {
            format++;
            continue;
        }
        format += element(&w, format, out + at, n - at);
        at += strlen(out + at);
    }
}

static const char *session_format(void)
{
    const char *f = getenv("NLS_DATE_FORMAT");

    return f && f[0] ? f : "DD-MON-RR";
}

static void fn_to_char(sqlite3_context *c, int n, sqlite3_value **v)
{
    const char *t = arg(v[0]);
    char out[256];

    if (t[0] == MARK) {
        date_format(t + 1, n > 1 ? arg(v[1]) : session_format(), self(c)->zone_s, out, sizeof out);
        result(c, out);
    } else {
        result(c, t);
    }
}

static void fn_to_date(sqlite3_context *c, int n, sqlite3_value **v)
{
    char t[64];

    (void)n;
    format_text(t, sizeof t, "%c%.19s", MARK, arg(v[0]));
    result(c, t);
}

static void fn_to_number(sqlite3_context *c, int n, sqlite3_value **v)
{
    (void)n;
    sqlite3_result_int64(c, sqlite3_value_int64(v[0]));
}

static const struct {
    const char *name;
    int args;
    void (*fn)(sqlite3_context *, int, sqlite3_value **);
} functions[] = {
    {"kvc", 1, fn_kvc},
    {"kvm", 1, fn_kvm},
    {"prm", 1, fn_prm},
    {"dt", 1, fn_dt},
    {"nz", 1, fn_nz},
    {"hostname", 0, fn_hostname},
    {"banner", 0, fn_banner},
    {"sysdate", 0, fn_sysdate},
    {"systimestamp", 0, fn_sysdate},
    {"nvl", 2, fn_nvl},
    {"decode", -1, fn_decode},
    {"to_char", 1, fn_to_char},
    {"to_char", 2, fn_to_char},
    {"to_date", 1, fn_to_date},
    {"to_date", 2, fn_to_date},
    {"to_number", 1, fn_to_number},
};

/* ---- rewriting ---- */

struct text_buf {
    char *t;
    size_t n, cap;
};

static void put(struct text_buf *b, const char *p, size_t n)
{
    if (b->n + n + 1 > b->cap) {
        b->cap = (b->n + n + 1) * 2;
        b->t = realloc(b->t, b->cap);
        if (!b->t)
            die("out of memory");
    }
    memcpy(b->t + b->n, p, n);
    b->n += n;
    b->t[b->n] = 0;
}

static bool ident(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '#'; }

static const char *after_words(const char *p, const char *a, const char *b)
{
    const char *w[2] = {a, b};

    for (int i = 0; i < 2; i++) {
        if (!w[i])
            break;
        while (isspace((unsigned char)*p))
            p++;
        if (!starts(p, w[i]) || ident(p[strlen(w[i])]))
            return NULL;
        p += strlen(w[i]);
    }
    return p;
}

static const char *put_word(struct text_buf *b, const char *p)
{
    const char *end = p, *next;
    size_t n;

    while (ident(*end))
        end++;
    n = (size_t)(end - p);
    if ((n == 7 && starts(p, "sysdate")) || (n == 12 && starts(p, "systimestamp"))) {
        put(b, p, n);
        if (*end != '(')
            put(b, "()", 2);
    } else if (n == 4 && starts(p, "user") && b->n && !strchr("._", b->t[b->n - 1])) {
        put(b, "'SYS'", 5);
    } else if (n == 2 && starts(p, "is") && (next = after_words(end, "not", "null"))) {
        put(b, "<>''", 4);
        return next;
    } else if (n == 2 && starts(p, "is") && (next = after_words(end, "null", NULL))) {
        put(b, "=''", 3);
        return next;
    } else {
        for (; p < end; p++)
            put(b, *p == '#' ? "$h" : p, *p == '#' ? 2 : 1);
    }
    return end;
}

/* Oracle's spelling to SQLite's, outside quotes: '#', sysdate, "is null" (empty is null), release
 * parts. */
static char *rewrite(const struct sim *s, const char *p)
{
    struct text_buf b = {0};
    bool skip = false;

    put(&b, "", 0);
    while (*p) {
        if (*p == '\'' || *p == '"') {
            const char *end = strchr(p + 1, *p);
            size_t n = end ? (size_t)(end - p) + 1 : strlen(p);

            if (!skip)
                put(&b, p, n);
            p += n;
        } else if (*p == '~') {
            skip = !skip && s->major < 12;
            p++;
        } else if (skip) {
            p++;
        } else if (ident(*p)) {
            p = put_word(&b, p);
        } else {
            put(&b, p++, 1);
        }
    }
    return b.t;
}

/* ---- set-up ---- */

static void define_views(struct sim *s)
{
    struct text_buf b;

    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        char *body, name[64];

        if (views[i].since > s->major || (views[i].need >= 2 && !s->mounted))
            continue;
        body = rewrite(s, views[i].sql);
        memset(&b, 0, sizeof b);
        format_text(name, sizeof name, "create temp view if not exists %s as ", views[i].name);
        put(&b, name, strlen(name));
        put(&b, body, strlen(body));
        if (sqlite3_exec(s->db, b.t, NULL, NULL, NULL) != SQLITE_OK)
            die("view %s: %s", views[i].name, sqlite3_errmsg(s->db));
        free(body);
        free(b.t);
    }
}

static void define(struct sim *s)
{
    if (sqlite3_exec(
            s->db,
            "create temp table if not exists headers(file, status, error, recover, fuzzy, crscn,"
            " crtime, tsname, ts, rfn, rls, ckp, ckptime, cpc, blocks, name, con);"
            "create temp table if not exists controlfiles(name);",
            NULL, NULL, NULL) != SQLITE_OK)
        die("state: %s", sqlite3_errmsg(s->db));
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        sqlite3_create_function(s->db, functions[i].name, functions[i].args, SQLITE_UTF8, s,
                                functions[i].fn, NULL, NULL);
    define_views(s);
}

/* v$datafile_header is what the files themselves say now. */
static void headers(struct sim *s)
{
    struct dfile *f;
    int n = files_load(s, &f);

    x(s, "delete from temp.headers", NULL);
    for (int i = 0; i < n; i++) {
        struct dfh h;
        bool ok = dfh_read(f[i].name, &h), off = same(f[i].status, "OFFLINE");
        bool fuzzy = ok && (h.sta & (STA_BACKUP | STA_ONLINE | STA_MEDIA));

        if (!ok)
            memset(&h, 0, sizeof h);
        x(s, "insert into temp.headers values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
          "issssiisiiiiiiisi", (int64_t)f[i].file, off ? "OFFLINE" : "ONLINE",
          ok ? "" : "CANNOT OPEN FILE", off || !ok ? "" : (s->sandbox && fuzzy ? "YES" : "NO"),
          !ok     ? ""
          : fuzzy ? "YES"
                  : "NO",
          (int64_t)h.crs, (int64_t)h.crt, h.tsname, (int64_t)h.tsn, (int64_t)h.rfn, (int64_t)h.rls,
          (int64_t)h.ckp, (int64_t)h.ckptim, (int64_t)h.cpc, (int64_t)h.fsz, f[i].name,
          (int64_t)f[i].con);
    }
    free(f);
}

static void controlfiles(struct sim *s)
{
    char list[PATH_LEN * 2], *p = list, *next;

    x(s, "delete from temp.controlfiles", NULL);
    param(s, "control_files", list, sizeof list);
    for (; p && *p; p = next) {
        next = strchr(p, ',');
        if (next)
            *next++ = 0;
        while (*p == ' ')
            p++;
        x(s, "insert into temp.controlfiles values(?)", "s", p);
    }
}

/* ---- queries ---- */

static bool mentions(const char *sql, const char *name)
{
    const char *p = sql;

    while ((p = strcasestr(p, name))) {
        if ((p == sql || !ident(p[-1])) && !ident(p[strlen(name)]))
            return true;
        p++;
    }
    return false;
}

static bool state_allows(struct sim *s, const char *sql, struct ora *e)
{
    if (!s->have) {
        ora_add(e, "ORA-01034: ORACLE not available");
        ora_add(e, "Process ID: 0");
        return ora_add(e, "Session ID: 0 Serial number: 0");
    }
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        if (!mentions(sql, views[i].name))
            continue;
        if (views[i].need >= 2 && !s->mounted)
            return ora_add(e, "ORA-01507: database not mounted");
        if (views[i].need >= 3 && !is_open(s))
            return ora_add(
                e, "ORA-01219: database or pluggable database not open: queries allowed on fixed "
                   "tables or views only");
    }
    return true;
}

void sql_title(const char *name, char *out, size_t n)
{
    size_t at = 0;

    for (; *name && at + 1 < n; name++) {
        bool hash = name[0] == '$' && name[1] == 'h';

        out[at++] = *name;
        if (hash) {
            out[at - 1] = '#';
            name++;
        }
    }
    out[at] = 0;
    if (at > 2 && strcmp(out + at - 2, "()") == 0)
        out[at - 2] = 0;
    upper(out);
}

static void sqlite_to_ora(struct sim *s, struct ora *e)
{
    const char *msg = sqlite3_errmsg(s->db), *name;
    char title[128];

    name = strrchr(msg, ' ');
    sql_title(name ? name + 1 : "", title, sizeof title);
    if (starts(msg, "no such column") || starts(msg, "no such function"))
        ora_add(e, "ORA-00904: \"%s\": invalid identifier", title);
    else if (starts(msg, "no such table"))
        ora_add(e, "ORA-00942: table or view does not exist");
    else if (strstr(msg, "syntax error") || strstr(msg, "incomplete"))
        ora_add(e, "ORA-00933: SQL command not properly ended");
    else if (strstr(msg, "unrecognized token"))
        ora_add(e, "ORA-00911: invalid character");
    else
        ora_add(e, "ORA-00900: invalid SQL statement");
}

sqlite3_stmt *sql_query(struct sim *s, const char *sql, struct ora *e)
{
    sqlite3_stmt *st = NULL;
    char *lite;

    if (!state_allows(s, sql, e))
        return NULL;
    define(s);
    if (s->mounted && mentions(sql, "v$datafile_header"))
        headers(s);
    if (mentions(sql, "v$controlfile"))
        controlfiles(s);
    if (mentions(sql, "v$session") || mentions(sql, "gv$session"))
        sessions_sweep(s);
    if (strcmp(s->state, "OPEN") == 0 && mentions(sql, "current_scn"))
        scn_next(s);
    lite = rewrite(s, sql);
    if (sqlite3_prepare_v2(s->db, lite, -1, &st, NULL) != SQLITE_OK || !st)
        sqlite_to_ora(s, e);
    else if (!sqlite3_stmt_readonly(st)) {
        release(st);
        st = NULL;
        ora_add(e, "ORA-00900: invalid SQL statement");
    }
    free(lite);
    return st;
}

void sql_show(const char *value, char *out, size_t n)
{
    size_t at = 0;

    for (; *value && at + 1 < n; value++) {
        if (*value != MARK || strlen(value) < 20) {
            out[at++] = *value;
            continue;
        }
        char day[32];

        copy_text(day, 20, value + 1);
        date_format(day, session_format(), 0, out + at, n - at);
        at += strlen(out + at);
        value += 19;
    }
    out[at] = 0;
}
