/* Made-up mount tables, each with one thing wrong, and what is said of it. */
#include "agent/shim/mounttab.h"
#include <criterion/criterion.h>
#include <string.h>

#define GOOD                                                                                       \
    "rw,relatime,vers=3,rsize=1048576,wsize=1048576,namlen=255,acregmin=0,acregmax=0,acdirmin=0,"  \
    "acdirmax=0,hard,nolock,proto=tcp,port=20490,timeo=600,retrans=2,sec=sys,mountaddr=10.0.0.5,"  \
    "mountvers=3,mountport=20490,mountproto=tcp,local_lock=all,addr=10.0.0.5"

static bool never(void *arg, const struct mounttab_row *row, const struct mount_place *place)
{
    (void)arg;
    (void)row;
    (void)place;
    return false;
}

static struct mount_place place(void)
{
    struct mount_place p;
    struct err err = {0};
    cr_assert(mount_parse("nfs:box:/ORCL?port=20490", &p, &err));
    return p;
}

static void judge(const char *table, const char *dir, struct mounttab_judged *ret)
{
    struct err err = {0};
    struct mount_place p = place();
    AUTO(mounttab) struct mounttab tab = {0};
    cr_assert(mounttab_parse(&tab, table, strlen(table), &err));
    mounttab_judge(mounttab_under(&tab, dir), &p, dir, never, NULL, ret);
}

/* `from` of the good row becomes `to`. */
static void replaced(const char *from, const char *to, char *ret, size_t size)
{
    static const char row[] = "box:/ORCL /nfs/ORCL nfs " GOOD " 0 0\n";
    const char *at = strstr(row, from);
    cr_assert(at, "'%s' is not in the row", from);
    cr_assert(str_format(ret, size, "%.*s%s%s", (int)(at - row), row, to, at + strlen(from)));
}

Test(shim, mounttab_of_a_good_mount_has_nothing_to_say)
{
    struct mounttab_judged judged;
    judge("box:/ORCL /nfs/ORCL nfs " GOOD " 0 0\n", "/nfs/ORCL", &judged);
    cr_expect_eq(judged.count, 0, "%s", judged.faults[0].what);
    judge("BOX:/ORCL /nfs/ORCL nfs " GOOD " 0 0\n", "/nfs/ORCL", &judged);
    cr_expect_eq(judged.count, 0, "%s", judged.faults[0].what);
}

Test(shim, mounttab_names_each_wrong_thing_once_and_its_fix)
{
    static const struct {
        const char *from, *to, *what, *fix;
        bool is_wrong;
    } rows[] = {
        {"vers=3", "vers=4.2", "version 4", "vers=3", true},
        {" nfs rw", " nfs4 rw", "version 4", "vers=3", true},
        {"vers=3", "vers=2", "version 2", "vers=3", true},
        {"hard", "soft", "soft mount", "with hard", true},
        {"hard", "softerr", "soft mount", "with hard", true},
        {"proto=tcp,p", "proto=udp,p", "UDP", "tcp", true},
        {"rsize=1048576", "rsize=8192", "rsize is 8192", "rsize=1048576", true},
        {"wsize=1048576", "wsize=16384", "wsize is 16384", "wsize=1048576", true},
        {"wsize=1048576", "wsize=32768", "wsize is 32768", "wsize=1048576", false},
        {"rsize=1048576,", "", "rsize is not told", "rsize=1048576", true},
        {"acregmin=0,", "", "actimeo=0", "actimeo=0", false},
        {"acdirmax=0", "acdirmax=60", "actimeo=0", "actimeo=0", false},
        {"timeo=600", "timeo=7", "timeo is below 600", "timeo=600", false},
        {"rw,", "ro,", "read-only", "rw", true},
        {"rw,", "rw,sync,", "with sync", "without sync", false},
        {"box:", "other:", "another server, 'other:'", "mount box:/ORCL", true},
        {"box:/ORCL", "box:/ORCL2", "export '/ORCL2', not '/ORCL'", "mount box:/ORCL", true},
        {"box:/ORCL", "box:/ORCL/drill", "export '/ORCL/drill', not", "mount box:/ORCL", true},
        {",port=20490", ",port=2049", "port 2049, NFS answers at 20490", "port=20490", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char table[600];
        struct mounttab_judged judged;
        replaced(rows[i].from, rows[i].to, table, sizeof table);
        judge(table, "/nfs/ORCL", &judged);
        cr_assert_eq(judged.count, 1, "'%s' for '%s': %zu faults, first '%s'", rows[i].to,
                     rows[i].from, judged.count, judged.faults[0].what);
        cr_expect(strstr(judged.faults[0].what, rows[i].what), "'%s': %s", rows[i].to,
                  judged.faults[0].what);
        cr_expect(strstr(judged.faults[0].fix, rows[i].fix), "'%s': %s", rows[i].to,
                  judged.faults[0].fix);
        cr_expect_eq(judged.faults[0].is_wrong, rows[i].is_wrong, "'%s'", rows[i].to);
    }
}

Test(shim, mounttab_says_that_locks_go_over_the_network)
{
    struct mounttab_judged judged;
    judge("box:/ORCL /nfs/ORCL nfs rw,vers=3,rsize=1048576,wsize=1048576,noac,hard,addr=1 0 0\n",
          "/nfs/ORCL", &judged);
    cr_assert_eq(judged.count, 1);
    cr_expect(strstr(judged.faults[0].fix, "nolock"), "%s", judged.faults[0].fix);
}

/* Linux always tells local_lock; Oracle's locks are fcntl's, which flock leaves on the network. */
Test(shim, mounttab_says_so_also_of_rows_as_a_kernel_writes_them)
{
    static const struct {
        const char *nolock, *local;
        bool told;
    } rows[] = {{"", "none", true}, {"", "flock", true},       {"", "posix", false},
                {"", "all", false}, {",nolock", "all", false}, {",nolock", "none", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char row[600];
        struct mounttab_judged judged, local;
        AUTO(mounttab) struct mounttab tab = {0};
        struct err err = {0};
        const struct mount_place none = {0};
        cr_assert(str_format(
            row, sizeof row,
            "10.0.0.1:/ORCL /nfs/ORCL nfs rw,relatime,vers=3,rsize=1048576,wsize=1048576,"
            "namlen=255,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0,hard%s,proto=tcp,port=2049,"
            "timeo=600,retrans=2,sec=sys,mountaddr=10.0.0.1,mountvers=3,mountport=2049,"
            "mountproto=tcp,local_lock=%s,addr=10.0.0.1 0 0\n",
            rows[i].nolock, rows[i].local));
        struct mount_place p;
        cr_assert(mount_parse("nfs:10.0.0.1:/ORCL", &p, &err) &&
                  mounttab_parse(&tab, row, strlen(row), &err));
        mounttab_judge(&tab.rows[0], &p, "/nfs/ORCL", never, NULL, &judged);
        mounttab_judge(&tab.rows[0], &none, "/nfs/ORCL", never, NULL, &local);
        cr_assert_eq(judged.count, rows[i].told, "%s: %s", row, judged.faults[0].what);
        cr_assert_eq(local.count, rows[i].told, "%s", row);
        if (!rows[i].told)
            continue;
        cr_expect(strstr(judged.faults[0].fix, "nolock"), "%s", judged.faults[0].fix);
        cr_expect(judged.faults[0].is_wrong); /* of a server that exports for Oracle alone */
        cr_expect_not(local.faults[0].is_wrong);
    }
}

Test(shim, mounttab_says_when_nothing_is_mounted)
{
    static const char *const tables[] = {"", "/dev/sda1 / ext4 rw,relatime 0 0\n",
                                         "/dev/sda1 / ext4 rw 0 0\nauto /nfs/ORCL autofs rw 0 0\n",
                                         "box:/ORCL /nfs/ORCL2 nfs " GOOD " 0 0\n",
                                         "no table at all\n\n\\\n/ / /\n"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct mounttab_judged judged;
        judge(tables[i], "/nfs/ORCL", &judged);
        cr_assert_eq(judged.count, 1, "table %zu", i);
        cr_expect(judged.faults[0].is_wrong && strstr(judged.faults[0].what, "not mounted"), "%s",
                  judged.faults[0].what);
    }
}

Test(shim, mounttab_sees_what_one_who_opens_the_folder_sees)
{
    struct err err = {0};
    char shown[200], value[80];
    AUTO(mounttab) struct mounttab tab = {0};
    static const char table[] = "/dev/sda1 / ext4 rw 0 0\n"
                                "box:/first /nfs nfs rw 0 0\n"
                                "box:/second /nfs nfs rw,vers=3,noac 0 0\n"
                                "[fd00::1]:/ /six nfs rw 0 0\n"
                                "box:/with\\040blank /nfs/a\\040b nfs4 rw 0 0\n";
    cr_assert(mounttab_parse(&tab, table, strlen(table), &err));
    cr_expect_eq(tab.count, 5);
    const struct mounttab_row *row = mounttab_under(&tab, "/nfs/ORCL");
    cr_assert(row);
    cr_expect_str_eq(row->source, "box:/second", "the later mount covers the earlier");
    cr_expect(mounttab_export(row, "/nfs/ORCL", shown, sizeof shown));
    cr_expect_str_eq(shown, "/second/ORCL");
    cr_expect(mounttab_option(row, "vers", value) && str_equal(value, "3"));
    cr_expect(mounttab_option(row, "noac", value) && !value[0]);
    cr_expect_not(mounttab_option(row, "ver", value));
    row = mounttab_under(&tab, "/six/ORCL");
    cr_expect(row && mounttab_export(row, "/six/ORCL", shown, sizeof shown));
    cr_expect_str_eq(shown, "/ORCL");
    row = mounttab_under(&tab, "/nfs/a b/c");
    cr_expect(row && mounttab_export(row, "/nfs/a b/c", shown, sizeof shown));
    cr_expect_str_eq(shown, "/with blank/c");
    cr_expect_eq(mounttab_under(&tab, "/nfsx"), &tab.rows[0]);
}

static bool is_six(void *arg, const struct mounttab_row *row, const struct mount_place *place)
{
    (void)place;
    (*(int *)arg)++;
    return str_equal(row->dir, "/six");
}

/* Two boxes may have a clone of one name. */
Test(shim, mounttab_finds_an_exports_own_mount_before_one_of_another_server)
{
    static const struct {
        const char *mount;
        size_t row;
        int asked;
    } cases[] = {
        {"nfs:box1:/ORCL/drill", 2, 0}, /* the last of its own */
        {"nfs:box2:/ORCL/drill", 3, 0}, {"nfs:BOX2:/ORCL/drill", 3, 0},
        {"nfs:box9:/ORCL/drill", 1, 3}, /* by its address */
        {"nfs:box9:/ORCL/one", 4, 0},   /* nothing to choose */
    };
    static const char table[] = "box1:/ORCL/drill /one nfs rw 0 0\n"
                                "[fd00::6]:/ORCL/drill /six nfs rw 0 0\n"
                                "box1:/ORCL/drill /two nfs rw 0 0\n"
                                "box2:/ORCL/drill /three nfs rw 0 0\n"
                                "box3:/ORCL/one /four nfs rw 0 0\n";
    AUTO(mounttab) struct mounttab tab = {0};
    struct err err = {0};
    struct mount_place p;
    cr_assert(mounttab_parse(&tab, table, strlen(table), &err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int asked = 0;
        cr_assert(mount_parse(cases[i].mount, &p, &err));
        cr_expect_eq(mounttab_of_export(&tab, &p, is_six, &asked), &tab.rows[cases[i].row], "%s",
                     cases[i].mount);
        cr_expect_eq(asked, cases[i].asked, "%s", cases[i].mount);
    }
    cr_assert(mount_parse("nfs:box9:/ORCL/drill", &p, &err));
    cr_expect_eq(mounttab_of_export(&tab, &p, never, NULL), &tab.rows[3], "else the last");
    cr_assert(mount_parse("nfs:box1:/third", &p, &err));
    cr_expect_null(mounttab_of_export(&tab, &p, never, NULL));
}

Test(shim, mounttab_knows_a_server_by_its_address)
{
    struct mount_place p = {.nfs = true, .host = "127.0.0.1", .export_path = "/ORCL", .port = 2049};
    struct mounttab_row row = {"localhost:/ORCL", "/nfs/ORCL", "nfs", "rw,addr=127.0.0.1"};
    cr_expect(mounttab_is_server(NULL, &row, &p));
    row.options = "rw,addr=127.0.0.2";
    cr_expect_not(mounttab_is_server(NULL, &row, &p));
    row.options = "rw";
    cr_expect_not(mounttab_is_server(NULL, &row, &p));
}
