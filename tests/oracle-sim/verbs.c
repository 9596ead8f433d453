/* oracle-sim VERB --home H --sid S ...: what only the test's hand may do. */
#include "sim.h"
#include <unistd.h>

struct verb_args {
    struct sim s;
    int argc; /* what is left after --home and --sid */
    char **argv;
};

static const char *opt(const struct verb_args *a, const char *name, const char *dflt)
{
    for (int i = 0; i + 1 < a->argc; i++)
        if (same(a->argv[i], name))
            return a->argv[i + 1];
    return dflt;
}

static bool flag(const struct verb_args *a, const char *name)
{
    for (int i = 0; i < a->argc; i++)
        if (same(a->argv[i], name))
            return true;
    return false;
}

static int64_t num(const struct verb_args *a, const char *name, int64_t dflt)
{
    const char *v = opt(a, name, NULL);

    return v ? strtoll(v, NULL, 10) : dflt;
}

static const char *plain(const struct verb_args *a, int nth)
{
    return nth < a->argc ? a->argv[nth] : "";
}

static int print_scn(struct sim *s)
{
    char day[32];
    uint64_t scn = scn_next(s);

    printf("%llu %s\n", (unsigned long long)scn, ft_text(now_ft(s), day));
    return 0;
}

static int v_create(struct verb_args *a) { return db_create(&a->s, a->argc, a->argv) ? 0 : 2; }

static int v_work(struct verb_args *a)
{
    work(&a->s, (int)num(a, "--changes", 100), (int)num(a, "--commit-seconds", 0),
         (int)num(a, "--file", 0));
    return print_scn(&a->s);
}

static int report(const struct ora *e, bool ok)
{
    for (int i = 0; !ok && i < e->lines; i++)
        fprintf(stderr, "%s\n", e->line[i]);
    return ok ? 0 : 1;
}

static int v_switch(struct verb_args *a)
{
    struct ora e = {0};
    int64_t thread = num(a, "--thread", 0);

    return report(&e, thread ? log_switch(&a->s, (int)thread, &e) : log_archive_all(&a->s, &e));
}

static int v_scn(struct verb_args *a) { return print_scn(&a->s); }

static int v_clock(struct verb_args *a)
{
    kv_set(&a->s, "main", "clockadd", kv_int(&a->s, "main", "clockadd", 0) + num(a, "--add", 0));
    return 0;
}

static int v_churn(struct verb_args *a)
{
    kv_set(&a->s, "main", "churn", strtoll(plain(a, 0), NULL, 10));
    return 0;
}

static int v_add_file(struct verb_args *a)
{
    int file = add_file(&a->s, opt(a, "--tablespace", "USERS"), (uint32_t)num(a, "--blocks", 640),
                        (int)num(a, "--con", a->s.cdb ? 1 : 0));

    printf("%d\n", file);
    return 0;
}

static int v_drop_file(struct verb_args *a)
{
    return drop_file(&a->s, (int)strtol(plain(a, 0), NULL, 10)) ? 0 : 1;
}

static int v_resize(struct verb_args *a)
{
    return resize_file(&a->s, (int)strtol(plain(a, 0), NULL, 10),
                       (uint32_t)strtoul(plain(a, 1), NULL, 10))
               ? 0
               : 1;
}

static int v_read_only(struct verb_args *a) { return ts_enable(&a->s, plain(a, 0), false) ? 0 : 1; }

static int v_read_write(struct verb_args *a) { return ts_enable(&a->s, plain(a, 0), true) ? 0 : 1; }

static int v_offline(struct verb_args *a)
{
    return file_offline(&a->s, (int)strtol(plain(a, 0), NULL, 10), false) ? 0 : 1;
}

static int v_online(struct verb_args *a)
{
    return file_offline(&a->s, (int)strtol(plain(a, 0), NULL, 10), true) ? 0 : 1;
}

static int v_expire(struct verb_args *a)
{
    x(&a->s, "update ctl.copies set status='X' where status='A'", NULL);
    return 0;
}

static int v_lose_log(struct verb_args *a)
{
    sqlite3_stmt *st =
        q(&a->s, "select name from ctl.archlog where thread=? and seq=?", "ii",
          (int64_t)strtol(plain(a, 0), NULL, 10), (int64_t)strtol(plain(a, 1), NULL, 10));
    int n = 0;

    while (row(st))
        n += disk_unlink(text(st, 0)) == 0;
    return n ? 0 : 1;
}

static int v_thread(struct verb_args *a)
{
    bool closing = same(plain(a, 1), "close");
    int64_t thread = strtol(plain(a, 0), NULL, 10);
    uint64_t scn = scn_next(&a->s);

    if (q_int(&a->s, "select count(*) from ctl.threads where thread=?", "i", thread) == 0)
        return 1;
    if (closing) {
        log_switch(&a->s, (int)thread, NULL);
        scn = scn_next(&a->s);
    }
    x(&a->s, "update ctl.threads set status=?, closedscn=? where thread=?", "sii",
      closing ? "CLOSED" : "OPEN", (int64_t)(closing ? scn : 0), thread);
    return 0;
}

static int v_inject(struct verb_args *a)
{
    const char *what = plain(a, 0);
    char name[64];

    if (same(what, "clear")) {
        x(&a->s, "delete from main.faults", NULL);
        dests_sync(&a->s);
        return 0;
    }
    copy_text(name, sizeof name, what);
    if (same(what, "hang"))
        format_text(name, sizeof name, "hang-%s", opt(a, "--at", "merge"));
    x(&a->s, "insert or replace into main.faults values(?,?)", "si", name,
      num(a, "--after-blocks", num(a, "--dest", num(a, "--seconds", 0))));
    return 0;
}

static int v_hangs(struct verb_args *a)
{
    return q_int(&a->s, "select count(*) from main.faults where name like 'hang-%' and arg=1",
                 NULL) > 0
               ? 0
               : 1;
}

static int v_set(struct verb_args *a)
{
    kv_put(&a->s, "ctl", plain(a, 0), plain(a, 1));
    return 0;
}

static int v_compare(struct verb_args *a)
{
    struct sim other;
    const char *sid = opt(a, "--instance", NULL);
    bool ok;

    if (!sid)
        return truth_compare(&a->s, NULL, opt(a, "--dir", "."), (uint64_t)num(a, "--scn", 0)) ? 0
                                                                                              : 1;
    ok = sim_find(&other, a->s.home, sid) && sim_open(&other) && other.mounted;
    if (!ok)
        fprintf(stderr, "oracle-sim: instance '%s' is not mounted\n", sid);
    ok = ok && truth_compare(&a->s, &other, NULL, (uint64_t)num(a, "--scn", 0));
    sim_close(&other);
    return ok ? 0 : 1;
}

/* Another host: what production's control file names is not there while hidden. */
static int v_hide(struct verb_args *a)
{
    static const char *const what[] = {"db_create_file_dest", "db_recovery_file_dest"};
    char from[PATH_LEN], to[PATH_LEN + 8];
    bool back = same(plain(a, 0), "off");
    int rc = 0;

    for (size_t i = 0; i < 2; i++) {
        param(&a->s, what[i], from, sizeof from);
        format_text(to, sizeof to, "%s.hidden", from);
        rc |= disk_rename(back ? to : from, back ? from : to) != 0;
    }
    return rc;
}

/* What the host sees in a folder, over Direct NFS too. */
static int v_files(struct verb_args *a)
{
    struct disk_names all;
    int rc = 0;

    if (disk_list(plain(a, 0), &all) < 0)
        return 1;
    for (size_t i = 0; i < all.n; i++) {
        char path[PATH_LEN];
        struct disk_stat st;

        format_text(path, sizeof path, "%.700s/%.300s", plain(a, 0), all.name[i]);
        if (disk_stat(path, &st) < 0)
            rc = 1;
        else
            printf("%c %llu %s\n", st.folder ? 'd' : 'f', (unsigned long long)st.size, all.name[i]);
    }
    disk_names_free(&all);
    return rc;
}

static int v_unmount(struct verb_args *a) { return disk_unmount(plain(a, 0)) < 0; }

static int v_archive_late(struct verb_args *a)
{
    struct sim was = a->s;

    db_close(&a->s); /* no lock is held while it waits */
    sleep((unsigned)num(a, "--after", 0));
    if (!sim_find(&a->s, was.home, was.sid) || !sim_open(&a->s))
        return 1;
    tx_begin(&a->s);
    archive_late(&a->s);
    tx_end(&a->s);
    return 0;
}

static int v_destroy(struct verb_args *a)
{
    sim_forget(&a->s);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct verb_args *a);
    const char *help;
} verbs[] = {
    {"create", v_create,
     "--dbdir D [--db-name N --unique-name U --dbid X --files k --blocks n ...]"},
    {"work", v_work, "[--changes N] [--commit-seconds S] [--file F]   prints SCN and time"},
    {"switch", v_switch, "[--thread T]"},
    {"scn", v_scn, "prints the SCN above every change so far, and the time"},
    {"clock", v_clock, "--add SECONDS"},
    {"churn", v_churn, "N changes in the midst of each file's backup"},
    {"add-file", v_add_file, "[--tablespace TS] [--blocks n] [--con C]   prints the file number"},
    {"drop-file", v_drop_file, "FILE#"},
    {"resize", v_resize, "FILE# BLOCKS"},
    {"read-only", v_read_only, "TABLESPACE"},
    {"read-write", v_read_write, "TABLESPACE"},
    {"offline", v_offline, "FILE#"},
    {"online", v_online, "FILE#"},
    {"expire-copies", v_expire, ""},
    {"lose-log", v_lose_log, "THREAD SEQ"},
    {"thread", v_thread, "THREAD close|open"},
    {"inject", v_inject,
     "merge-kill|merge-enospc --after-blocks N | hang --at copy|backup|merge | zombie-session |"
     " archive-fail [--dest N] | dot-file | late-log --seconds N | clear"},
    {"hangs", v_hangs, "exit 0 once a client waits at an injected hang"},
    {"set", v_set, "KEY VALUE   a control file fact, such as flashback YES"},
    {"compare", v_compare, "--scn U (--instance SID | --dir D)"},
    {"hide", v_hide, "[off]   production's files vanish from sight, as on another host"},
    {"files", v_files, "FOLDER   kind, size and name of what this host sees there"},
    {"unmount", v_unmount, "FOLDER   tells its server that this host leaves it"},
    {"archive-late", v_archive_late, "[--after S]   what a late archiver does"},
    {"destroy", v_destroy, "forgets the instance"},
};

static int usage(void)
{
    puts("usage: oracle-sim VERB --home ORACLE_HOME --sid SID ...");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        printf("  %-14s %s\n", verbs[i].name, verbs[i].help);
    return 2;
}

/* Takes "--home H" and "--sid S" out of the arguments, leaving the verb's own. */
static void common(struct verb_args *a, int argc, char **argv, const char **home, const char **sid)
{
    a->argv = argv;
    for (int i = 0; i < argc; i++) {
        if (i + 1 < argc && same(argv[i], "--home"))
            *home = argv[++i];
        else if (i + 1 < argc && same(argv[i], "--sid"))
            *sid = argv[++i];
        else
            a->argv[a->argc++] = argv[i];
    }
}

int verbs_main(int argc, char **argv)
{
    struct verb_args a = {0};
    const char *home = getenv("ORACLE_HOME"), *sid = getenv("ORACLE_SID"),
               *verb = argc > 1 ? argv[1] : "";

    common(&a, argc > 2 ? argc - 2 : 0, argv + 2, &home, &sid);
    if (argc < 2 || flag(&a, "--help") || !home || !sid)
        return usage();
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        int rc;

        if (!same(verb, verbs[i].name))
            continue;
        if (verbs[i].run != v_create && verbs[i].run != v_unmount &&
            (!sim_find(&a.s, home, sid) || !sim_open(&a.s) ||
             (!a.s.mounted && !a.s.sandbox && !sim_mount(&a.s, false)))) {
            fprintf(stderr, "oracle-sim: no instance '%s' under '%s'\n", sid, home);
            return 1;
        }
        if (verbs[i].run == v_create || verbs[i].run == v_unmount)
            sim_find(&a.s, home, sid);
        rc = verbs[i].run(&a);
        sim_close(&a.s);
        return rc;
    }
    return usage();
}
