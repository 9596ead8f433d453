/* What RMAN knows: catalog, crosscheck, change, delete, switch, list, configure and show. */
#include "rman.h"
#include "sql.h"
#include <unistd.h>

/* ---- delete ---- */

struct item { /* a piece, a copy or a log the repository names */
    int64_t recid, stamp;
    char name[PATH_LEN];
};

static int items(struct sim *s, const char *sql, const char *arg, struct item *out, int max)
{
    sqlite3_stmt *st = q(s, sql, arg ? "s" : NULL, arg);
    int n = 0;

    while (row(st)) {
        if (n == max)
            continue;
        out[n].recid = col(st, 0);
        out[n].stamp = col(st, 1);
        copy_text(out[n++].name, PATH_LEN, text(st, 2));
    }
    return n;
}

void list_pieces(struct rman *r, const char *title, const int64_t *recid, int n)
{
    printf("\n%s\nBP Key  BS Key  Pc# Cp# Status      Device Type Piece Name\n"
           "------- ------- --- --- ----------- ----------- ----------\n",
           title);
    for (int i = 0; i < n; i++) {
        char name[PATH_LEN], status[4];

        q_text(&r->s, name, sizeof name, "select handle from ctl.pieces where recid=?", "i",
               recid[i]);
        q_text(&r->s, status, sizeof status, "select status from ctl.pieces where recid=?", "i",
               recid[i]);
        printf("%-7lld %-7lld %-3d %-3d %-11s %-11s %s\n", (long long)recid[i], (long long)recid[i],
               1, 1,
               status[0] == 'A'   ? "AVAILABLE"
               : status[0] == 'X' ? "EXPIRED"
                                  : "UNAVAILABLE",
               "DISK", name);
    }
}

static bool lookup_error(struct rman *r, const char *code, const char *what, const char *name)
{
    ora_add(&r->e,
            "RMAN-06004: ORACLE error from recovery catalog database: %s: %s not found in the "
            "repository",
            code, what);
    return ora_add(&r->e, "RMAN-06092: error while looking up %s: %s", what, name);
}

struct names {
    char (*name)[PATH_LEN];
    int n;
};

static bool take_names(struct toks *k, struct names *out)
{
    out->name = NULL;
    out->n = 0;
    do {
        out->name = realloc(out->name, sizeof *out->name * (size_t)(out->n + 1));
        if (!out->name)
            die("out of memory");
        if (!take_string(k, out->name[out->n], PATH_LEN))
            return false;
        out->n++;
    } while (sign(k, ','));
    return true;
}

static bool delete_pieces(struct rman *r, const struct names *l)
{
    struct item *it = calloc((size_t)l->n + 1, sizeof *it);
    int64_t *recid = calloc((size_t)l->n + 1, sizeof *recid);
    bool ok = it && recid;

    for (int i = 0; ok && i < l->n; i++) {
        if (!items(&r->s,
                   "select recid, stamp, handle from ctl.pieces where handle=? and status<>'D'",
                   l->name[i], &it[i], 1))
            ok = lookup_error(r, "RMAN-20260", "backup piece", l->name[i]);
        recid[i] = it[i].recid;
    }
    if (ok)
        list_pieces(r, "List of Backup Pieces", recid, l->n);
    for (int i = 0; ok && i < l->n; i++) {
        disk_unlink(it[i].name);
        x(&r->s, "update ctl.pieces set status='D' where recid=?", "i", it[i].recid);
        printf("deleted backup piece\nbackup piece handle=%s RECID=%lld STAMP=%lld\n", it[i].name,
               (long long)it[i].recid, (long long)it[i].stamp);
    }
    if (ok)
        printf("Deleted %d objects\n\n", l->n);
    free(it);
    free(recid);
    return ok;
}

static bool delete_copies(struct rman *r, const struct names *l)
{
    struct item it;

    for (int i = 0; i < l->n; i++) {
        if (!items(&r->s, "select recid, stamp, name from ctl.copies where name=? and status<>'D'",
                   l->name[i], &it, 1))
            return lookup_error(r, "RMAN-20230", "datafile copy", l->name[i]);
        disk_unlink(it.name);
        x(&r->s, "update ctl.copies set status='D' where recid=?", "i", it.recid);
        printf("deleted datafile copy\ndatafile copy file name=%s RECID=%lld STAMP=%lld\n", it.name,
               (long long)it.recid, (long long)it.stamp);
    }
    printf("Deleted %d objects\n\n", l->n);
    return true;
}

struct log_filter {
    char like[PATH_LEN];
    uint64_t lo, hi, thread;
};

static bool filter_read(struct toks *k, struct log_filter *f)
{
    f->hi = UINT32_MAX;
    while (more(k) && !(peek(k)->kind == 'p' && peek(k)->text[0] == ';')) {
        if (words(k, "all"))
            continue;
        if (words(k, "like") && take_string(k, f->like, sizeof f->like))
            continue;
        if (words(k, "until sequence") && (sign(k, '=') || true) && take_number(k, &f->hi))
            continue;
        if (words(k, "sequence between") && take_number(k, &f->lo) && words(k, "and") &&
            take_number(k, &f->hi))
            continue;
        if (words(k, "sequence") && (sign(k, '=') || true) && take_number(k, &f->lo)) {
            f->hi = f->lo;
            continue;
        }
        if (words(k, "thread") && (sign(k, '=') || true) && take_number(k, &f->thread))
            continue;
        return false;
    }
    return true;
}

static int logs_by(struct sim *s, const struct log_filter *f, struct item *out, int max)
{
    sqlite3_stmt *st =
        q(s,
          "select recid, stamp, name from ctl.archlog where status='A' and seq>=? and seq<=? and"
          " (?3=0 or thread=?3) and (?4='' or name like ?4) order by recid",
          "iiis", (int64_t)f->lo, (int64_t)f->hi, (int64_t)f->thread, f->like);
    int n = 0;

    while (row(st)) {
        if (n == max)
            continue;
        out[n].recid = col(st, 0);
        out[n].stamp = col(st, 1);
        copy_text(out[n++].name, PATH_LEN, text(st, 2));
    }
    return n;
}

static bool delete_logs(struct rman *r, struct toks *k)
{
    static struct item it[4096];
    struct log_filter f = {.lo = 0};
    int n;

    if (!filter_read(k, &f))
        return syntax(r, k);
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    channels_need(r);
    n = logs_by(&r->s, &f, it, 4096);
    if (!n) {
        puts("specification does not match any archived log in the repository");
        return true;
    }
    for (int i = 0; i < n; i++) {
        disk_unlink(it[i].name);
        x(&r->s, "update ctl.archlog set status='D', deleted='YES' where recid=?", "i",
          it[i].recid);
        printf("deleted archived log\narchived log file name=%s RECID=%lld STAMP=%lld\n",
               it[i].name, (long long)it[i].recid, (long long)it[i].stamp);
    }
    printf("Deleted %d objects\n\n", n);
    return true;
}

bool cmd_delete(struct rman *r, struct toks *k)
{
    struct names l = {0};
    bool pieces, copies, ok;

    words(k, "force");
    words(k, "noprompt");
    words(k, "force");
    if (words(k, "archivelog"))
        return delete_logs(r, k);
    pieces = words(k, "backuppiece");
    copies = !pieces && words(k, "datafilecopy");
    if ((!pieces && !copies) || !take_names(k, &l)) {
        free(l.name);
        return syntax(r, k);
    }
    ok = end_of_command(r, k) && need_mounted(r);
    if (ok) {
        channels_need(r);
        ok = pieces ? delete_pieces(r, &l) : delete_copies(r, &l);
    }
    free(l.name);
    return ok;
}

/* ---- catalog ---- */

static bool catalog_copy(struct rman *r, const char *path, bool level0, const char *tag)
{
    struct sim *s = &r->s;
    struct dfh h;

    if (disk_access(path, R_OK) < 0) {
        ora_add(&r->e, "ORA-19625: error identifying file %s", path);
        return ora_add(&r->e, "ORA-27037: unable to obtain file status");
    }
    if (!dfh_read(path, &h) || h.dbid != s->dbid)
        return ora_add(&r->e, "ORA-19563: datafile copy header validation failed for file %s",
                       path);
    x(s, "delete from ctl.copies where name=?", "s", path);
    x(s,
      "insert into "
      "ctl.copies(stamp,file,con,name,tag,tsname,rfn,crscn,crtime,ckpscn,ckptime,afs,rfs,sta,"
      "rlc,rls,blocks,status,lvl0,done) values(?,?,(select con from ctl.files where "
      "file=?2),?,?,?,?,?,?,?,?,"
      "?,?,?,?,?,?,'A',?,?)",
      "iisssiiiiiiiiiiiii", (int64_t)now_ft(s), (int64_t)h.fno, path, tag[0] ? tag : h.tag,
      h.tsname, (int64_t)h.rfn, (int64_t)h.crs, (int64_t)h.crt, (int64_t)h.ckp, (int64_t)h.ckptim,
      (int64_t)h.afs, (int64_t)h.rfs, (int64_t)h.sta, (int64_t)h.rlc, (int64_t)h.rls,
      (int64_t)h.fsz, (int64_t)(level0 || (h.sta & STA_LEVEL0)), (int64_t)h.bcs);
    printf("cataloged datafile copy\ndatafile copy file name=%s RECID=%lld STAMP=%u\n", path,
           (long long)sqlite3_last_insert_rowid(s->db), now_ft(s));
    return true;
}

static bool catalog_log(struct rman *r, const char *path)
{
    struct sim *s = &r->s;
    struct rlog h;

    if (disk_access(path, R_OK) < 0) {
        ora_add(&r->e, "ORA-19625: error identifying file %s", path);
        return ora_add(&r->e, "ORA-27037: unable to obtain file status");
    }
    if (!rlog_read(path, &h) || h.dbid != s->dbid || h.next == SCN_NONE)
        return ora_add(&r->e, "ORA-19563: archived log header validation failed for file %s", path);
    x(s, "delete from ctl.archlog where name=?", "s", path);
    archlog_add(s, path, &h, 0);
    printf("cataloged archived log\narchived log file name=%s RECID=%lld STAMP=%u\n", path,
           (long long)sqlite3_last_insert_rowid(s->db), now_ft(s));
    return true;
}

static bool catalog_piece(struct rman *r, const char *path)
{
    struct piece_meta m;
    int64_t ft = now_ft(&r->s);

    if (!piece_head(path, &m) || m.dbid != r->s.dbid)
        return ora_add(&r->e, "ORA-19870: error while restoring backup piece %s", path);
    x(&r->s, "delete from ctl.pieces where handle=?", "s", path);
    x(&r->s,
      "insert into ctl.pieces(stamp,setno,piece,handle,tag,status,kind,done) "
      "values(?,?,1,?,?,'A','C',?)",
      "iissi", ft, (int64_t)m.set, path, m.tag, ft);
    printf("cataloged backup piece\nbackup piece handle=%s RECID=%lld STAMP=%lld\n", path,
           (long long)sqlite3_last_insert_rowid(r->s.db), (long long)ft);
    return true;
}

struct found {
    char (*name)[PATH_LEN];
    int n;
};

static void search(const char *dir, const char *prefix, struct found *out, int depth)
{
    struct disk_names all;

    if (depth == 16 || disk_list(dir, &all) < 0)
        return;
    for (size_t i = 0; i < all.n; i++) {
        char path[PATH_LEN];
        struct disk_stat st;

        format_text(path, sizeof path, "%.700s/%.300s", dir, all.name[i]);
        if (disk_stat(path, &st) < 0)
            continue;
        if (st.folder) {
            search(path, prefix, out, depth + 1);
        } else if (strncmp(path, prefix, strlen(prefix)) == 0) {
            out->name = realloc(out->name, sizeof *out->name * (size_t)(out->n + 1));
            if (!out->name)
                die("out of memory");
            copy_text(out->name[out->n++], PATH_LEN, path);
        }
    }
    disk_names_free(&all);
}

static bool try_catalog(struct rman *r, const char *path)
{
    struct dfh h;
    struct rlog l;
    struct piece_meta m;
    struct ora keep = r->e;
    int saved;
    bool ok = false;

    fflush(stdout);
    saved = dup(STDOUT_FILENO); /* the per-file lines of CATALOG are not printed here */
    if (!freopen("/dev/null", "we", stdout))
        die("no null device");
    if (dfh_read(path, &h))
        ok = catalog_copy(r, path, false, "");
    else if (rlog_read(path, &l))
        ok = catalog_log(r, path);
    else if (piece_head(path, &m))
        ok = catalog_piece(r, path);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    r->e = keep;
    return ok;
}

static bool catalog_start(struct rman *r, const char *prefix)
{
    struct found f = {0};
    char dir[PATH_LEN], *slash;
    bool *ok;

    copy_text(dir, sizeof dir, prefix);
    slash = strrchr(dir, '/');
    if (slash)
        *slash = 0;
    printf("searching for all files that match the pattern %s\n", prefix);
    search(dir, prefix, &f, 0);
    ok = calloc((size_t)f.n + 1, sizeof *ok);
    if (!ok)
        die("out of memory");
    puts("\nList of Files Unknown to the Database\n=====================================");
    for (int i = 0; i < f.n; i++)
        printf("File Name: %s\n", f.name[i]);
    puts(
        "cataloging files...\ncataloging done\n\nList of Cataloged Files\n=======================");
    for (int i = 0; i < f.n; i++)
        if ((ok[i] = try_catalog(r, f.name[i])))
            printf("File Name: %s\n", f.name[i]);
    puts("\nList of Files Which Were Not Cataloged\n=======================================");
    for (int i = 0; i < f.n; i++)
        if (!ok[i])
            printf("File Name: %s\n  RMAN-07517: Reason: The file header is corrupted\n",
                   f.name[i]);
    free(ok);
    free(f.name);
    return true;
}

static bool copy_options(struct toks *k, bool *level0, char *tag, size_t n)
{
    uint64_t level = 9;

    while (more(k) && peek(k)->kind == 'w') {
        if (words(k, "level") && take_number(k, &level))
            *level0 = level == 0;
        else if (words(k, "tag") && take_any(k, tag, n))
            upper(tag);
        else
            return false;
    }
    return true;
}

static bool catalog_names(struct rman *r, struct toks *k, char kind)
{
    struct names l = {0};
    char tag[40] = "";
    bool level0 = false, ok;

    if (!take_names(k, &l) || (kind == 'D' && !copy_options(k, &level0, tag, sizeof tag - 8))) {
        free(l.name);
        return syntax(r, k);
    }
    ok = end_of_command(r, k) && need_mounted(r);
    for (int i = 0; ok && i < l.n; i++)
        ok = kind == 'D'   ? catalog_copy(r, l.name[i], level0, tag)
             : kind == 'A' ? catalog_log(r, l.name[i])
                           : catalog_piece(r, l.name[i]);
    free(l.name);
    return ok;
}

bool cmd_catalog(struct rman *r, struct toks *k)
{
    char prefix[PATH_LEN];

    if (words(k, "datafilecopy"))
        return catalog_names(r, k, 'D');
    if (words(k, "archivelog"))
        return catalog_names(r, k, 'A');
    if (words(k, "backuppiece"))
        return catalog_names(r, k, 'P');
    if (!words(k, "start with") || !take_string(k, prefix, sizeof prefix))
        return syntax(r, k);
    words(k, "noprompt");
    return end_of_command(r, k) && need_mounted(r) && catalog_start(r, prefix);
}

/* ---- crosscheck and change ---- */

struct kind { /* how a family of repository records is spoken of */
    const char *table, *name, *noun, *label;
};
static const struct kind kind_copy = {"copies", "name", "datafile copy", "datafile copy file name"};
static const struct kind kind_log = {"archlog", "name", "archived log", "archived log file name"};
static const struct kind kind_piece = {"pieces", "handle", "backup piece", "backup piece handle"};

static int records(struct sim *s, const struct kind *f, const char *only, struct item *out, int max)
{
    char sql[256];

    format_text(sql, sizeof sql,
                "select recid, stamp, %s from ctl.%s where status<>'D'%s%s order by recid", f->name,
                f->table, only ? " and " : "", only ? f->name : "");
    if (only) {
        format_text(sql, sizeof sql,
                    "select recid, stamp, %s from ctl.%s where status<>'D' and %s=?", f->name,
                    f->table, f->name);
        return items(s, sql, only, out, max);
    }
    return items(s, sql, NULL, out, max);
}

static bool crosscheck(struct rman *r, const struct kind *f, const char *only)
{
    static struct item it[8192];
    int n = records(&r->s, f, only, it, 8192);
    char sql[128];

    channels_need(r);
    for (int i = 0; i < n; i++) {
        bool there = disk_access(it[i].name, R_OK) == 0;

        format_text(sql, sizeof sql, "update ctl.%s set status=? where recid=?", f->table);
        x(&r->s, sql, "si", there ? "A" : "X", it[i].recid);
        if (f == &kind_log)
            printf("validation %s for archived log\n", there ? "succeeded" : "failed");
        else
            printf("crosschecked %s: found to be '%s'\n", f->noun, there ? "AVAILABLE" : "EXPIRED");
        printf("%s=%s RECID=%lld STAMP=%lld\n", f->label, it[i].name, (long long)it[i].recid,
               (long long)it[i].stamp);
    }
    if (!n)
        printf("specification does not match any %s in the repository\n", f->noun);
    else
        printf("Crosschecked %d objects\n\n", n);
    return true;
}

bool cmd_crosscheck(struct rman *r, struct toks *k)
{
    const struct kind *f;
    char only[PATH_LEN] = "";

    if (words(k, "copy of database") || words(k, "copy") || words(k, "datafilecopy"))
        f = &kind_copy;
    else if (words(k, "archivelog"))
        f = &kind_log;
    else if (words(k, "backuppiece") || words(k, "backup"))
        f = &kind_piece;
    else
        return syntax(r, k);
    words(k, "all");
    take_string(k, only, sizeof only);
    return end_of_command(r, k) && need_mounted(r) && crosscheck(r, f, only[0] ? only : NULL);
}

static bool uncatalog(struct rman *r, const struct kind *f)
{
    static struct item it[8192];
    int n = records(&r->s, f, NULL, it, 8192);
    char sql[128];

    if (!n) {
        printf("specification does not match any %s in the repository\n", f->noun);
        return true;
    }
    format_text(sql, sizeof sql, "delete from ctl.%s where recid=?", f->table);
    tx_begin(&r->s);
    for (int i = 0; i < n; i++) {
        x(&r->s, sql, "i", it[i].recid);
        printf("uncataloged %s\n%s=%s RECID=%lld STAMP=%lld\n", f->noun, f->label, it[i].name,
               (long long)it[i].recid, (long long)it[i].stamp);
    }
    tx_end(&r->s);
    printf("Uncataloged %d objects\n\n", n);
    return true;
}

static bool pieces_to(struct rman *r, const char *status, const char *word)
{
    static struct item it[8192];
    int n = records(&r->s, &kind_piece, NULL, it, 8192);

    tx_begin(&r->s);
    for (int i = 0; i < n; i++) {
        x(&r->s, "update ctl.pieces set status=? where recid=?", "si", status, it[i].recid);
        printf("changed backup piece %s\nbackup piece handle=%s RECID=%lld STAMP=%lld\n", word,
               it[i].name, (long long)it[i].recid, (long long)it[i].stamp);
    }
    tx_end(&r->s);
    if (!n)
        puts("specification does not match any backup in the repository");
    else
        printf("Changed %d objects to %s status\n\n", n,
               status[0] == 'U' ? "UNAVAILABLE" : "AVAILABLE");
    return true;
}

bool cmd_change(struct rman *r, struct toks *k)
{
    const struct kind *f = NULL;
    bool backup = false, available = false;

    if (words(k, "archivelog all uncatalog"))
        f = &kind_log;
    else if (words(k, "copy of database uncatalog"))
        f = &kind_copy;
    else if (words(k, "backup device type disk") || words(k, "backup"))
        backup = true;
    else
        return syntax(r, k);
    if (backup) {
        available = words(k, "available");
        if (!available && !words(k, "unavailable"))
            return syntax(r, k);
    }
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    if (backup)
        return pieces_to(r, available ? "A" : "U", available ? "available" : "unavailable");
    return uncatalog(r, f);
}

/* ---- switch ---- */

static bool switch_one(struct rman *r, int file, const char *path)
{
    char was[PATH_LEN];

    if (q_int(&r->s, "select count(*) from ctl.copies where file=? and name=? and status='A'", "is",
              (int64_t)file, path) == 0) {
        ora_add(&r->e, "RMAN-06571: datafile %d does not have recoverable copy", file);
        return false;
    }
    q_text(&r->s, was, sizeof was, "select name from ctl.files where file=?", "i", (int64_t)file);
    x(&r->s, "update ctl.files set name=? where file=?", "si", path, (int64_t)file);
    x(&r->s, "delete from ctl.copies where name=?", "s", path);
    printf("datafile %d switched to datafile copy \"%s\"\n", file, path);
    return true;
}

static bool switch_all(struct rman *r)
{
    struct dfile *f;
    int n = files_load(&r->s, &f);
    bool ok = true;

    for (int i = 0; ok && i < n; i++) {
        char path[PATH_LEN];

        q_text(&r->s, path, sizeof path,
               "select name from ctl.copies where file=? and crscn=? and status='A'"
               " order by ckpscn desc limit 1",
               "ii", (int64_t)f[i].file, (int64_t)f[i].crscn);
        ok = switch_one(r, f[i].file, path);
    }
    free(f);
    return ok;
}

bool cmd_switch(struct rman *r, struct toks *k)
{
    char path[PATH_LEN] = "";
    uint64_t file = 0;
    bool all = words(k, "database to copy");

    if (!all) {
        if (!words(k, "datafile") || !take_number(k, &file) || !words(k, "to"))
            return syntax(r, k);
        if (!words(k, "datafilecopy") && !words(k, "copy"))
            return syntax(r, k);
        take_string(k, path, sizeof path);
    }
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    if (all)
        return switch_all(r);
    if (!path[0])
        q_text(&r->s, path, sizeof path,
               "select name from ctl.copies where file=? and status='A' order by"
               " ckpscn desc limit 1",
               "i", (int64_t)file);
    return switch_one(r, (int)file, path);
}

/* ---- configure, show, list ---- */

static const struct {
    const char *name, *dflt; /* without a default: shown only when set */
} settings[] = {
    {"RETENTION POLICY", "TO REDUNDANCY 1"},
    {"BACKUP OPTIMIZATION", "OFF"},
    {"DEFAULT DEVICE TYPE", "TO DISK"},
    {"CONTROLFILE AUTOBACKUP FORMAT", "FOR DEVICE TYPE DISK TO '%F'"},
    {"CONTROLFILE AUTOBACKUP", "OFF"},
    {"DEVICE TYPE", "DISK PARALLELISM 1 BACKUP TYPE TO BACKUPSET"},
    {"DATAFILE BACKUP COPIES", "FOR DEVICE TYPE DISK TO 1"},
    {"ARCHIVELOG BACKUP COPIES", "FOR DEVICE TYPE DISK TO 1"},
    {"CHANNEL", NULL},
    {"MAXSETSIZE", "TO UNLIMITED"},
    {"ENCRYPTION FOR DATABASE", "OFF"},
    {"ENCRYPTION ALGORITHM", "'AES128'"},
    {"COMPRESSION ALGORITHM", "'BASIC' AS OF RELEASE 'DEFAULT' OPTIMIZE FOR LOAD TRUE "},
    {"RMAN OUTPUT", "TO KEEP FOR 7 DAYS"},
    {"ARCHIVELOG DELETION POLICY", "TO NONE"},
    {"SNAPSHOT CONTROLFILE NAME", NULL},
};

static void setting_line(const char *name, const char *value, bool dflt)
{
    printf("CONFIGURE %s %s;%s\n", name, value, dflt ? " # default" : "");
}

static void value_text(struct toks *k, char *out, size_t n)
{
    size_t at = 0;

    out[0] = 0;
    while (more(k) && !(peek(k)->kind == 'p' && peek(k)->text[0] == ';') && at + 1 < n) {
        struct tok *t = &k->t[k->at++];

        if (t->kind == 'w')
            upper(t->text);
        format_text(out + at, n - at, t->kind == 's' || t->kind == 'd' ? "%s'%s'" : "%s%s",
                    at ? same(out, "DEVICE TYPE DISK FORMAT") ? "   " : " " : "", t->text);
        at += strlen(out + at);
    }
}

static void configure_set(struct rman *r, const char *name, const char *value)
{
    char old[PATH_LEN];

    if (config_get(r, name, old, sizeof old)) {
        puts("old RMAN configuration parameters:");
        setting_line(name, old, false);
    }
    x(&r->s, "delete from ctl.rmanconf where name=?", "s", name);
    x(&r->s, "insert into ctl.rmanconf(name,value) values(?,?)", "ss", name, value);
    puts("new RMAN configuration parameters:");
    setting_line(name, value, false);
    puts("new RMAN configuration parameters are successfully stored");
}

bool cmd_configure(struct rman *r, struct toks *k)
{
    char value[PATH_LEN * 2];
    const char *name = NULL;

    for (size_t i = 0; i < sizeof settings / sizeof *settings && !name; i++)
        if (words(k, settings[i].name))
            name = settings[i].name;
    if (!name)
        return syntax(r, k);
    value_text(k, value, sizeof value);
    if (!value[0])
        return syntax(r, k);
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    if (same(value, "CLEAR")) {
        x(&r->s, "delete from ctl.rmanconf where name=?", "s", name);
        puts("RMAN configuration parameters are successfully reset to default value");
        return true;
    }
    configure_set(r, name, value);
    return true;
}

bool cmd_show(struct rman *r, struct toks *k)
{
    char value[PATH_LEN], snap[PATH_LEN];

    while (more(k) && peek(k)->kind == 'w')
        k->at++;
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    printf("RMAN configuration parameters for database with db_unique_name %s are:\n", r->s.unique);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (config_get(r, settings[i].name, value, sizeof value))
            setting_line(settings[i].name, value, false);
        else if (settings[i].dflt)
            setting_line(settings[i].name, settings[i].dflt, true);
    }
    if (!config_get(r, "SNAPSHOT CONTROLFILE NAME", value, sizeof value)) {
        format_text(snap, sizeof snap, "TO '%.900s/dbs/snapcf_%s.f'", r->s.home, r->s.sid);
        setting_line("SNAPSHOT CONTROLFILE NAME", snap, true);
    }
    puts("");
    return true;
}

static void list_copies(struct rman *r)
{
    sqlite3_stmt *st =
        q(&r->s,
          "select recid, file, status, ckpscn, name, tag from ctl.copies where status<>'D'"
          " order by file, recid",
          NULL);

    puts("List of Datafile Copies\n=======================\n\n"
         "Key     File S Completion Time Ckp SCN    Ckp Time        Sparse\n"
         "------- ---- - --------------- ---------- --------------- ------");
    while (row(st))
        printf("%-7lld %-4lld %s %-15s %-10lld %-15s NO\n        Name: %s\n        Tag: %s\n\n",
               (long long)col(st, 0), (long long)col(st, 1), text(st, 2), "", (long long)col(st, 3),
               "", text(st, 4), text(st, 5));
}

static void list_backups(struct rman *r)
{
    static struct item it[8192];
    int n = records(&r->s, &kind_piece, NULL, it, 8192);
    int64_t *recid = calloc((size_t)n + 1, sizeof *recid);

    for (int i = 0; recid && i < n; i++)
        recid[i] = it[i].recid;
    if (!n)
        puts("specification does not match any backup in the repository");
    else if (recid)
        list_pieces(r, "List of Backup Pieces", recid, n);
    free(recid);
}

bool cmd_list(struct rman *r, struct toks *k)
{
    bool copy = words(k, "copy") || words(k, "datafilecopy");

    while (more(k) && !(peek(k)->kind == 'p' && peek(k)->text[0] == ';'))
        k->at++;
    if (!end_of_command(r, k) || !need_mounted(r))
        return false;
    if (copy)
        list_copies(r);
    else
        list_backups(r);
    return true;
}
