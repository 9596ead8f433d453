/* The doctor over made-up hosts: what is mounted, what oranfstab says, and what it makes of them.
 */
#include "agent/base/sys.h"
#include "agent/shim/doctor.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define GOOD                                                                                       \
    "rw,vers=3,rsize=1048576,wsize=1048576,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0,hard,"      \
    "nolock,proto=tcp,timeo=600,addr=10.0.0.5"

static struct doctor_place place_of(const char *clone, const char *mount)
{
    struct err err = {0};
    struct doctor_place p = {.database = "ORCL",
                             .clone = clone,
                             .trouble = "",
                             .known = true,
                             .by_kernel = true,
                             .is_needed = !clone[0]};
    cr_assert(mount_parse(mount, &p.place, &err), "%s", err.text);
    str_format(p.dir, sizeof p.dir, clone[0] ? "/mnt/%s" : "/nowhere/nfs/ORCL", clone);
    return p;
}

static void add(struct doctor *d, struct doctor_place place)
{
    struct err err = {0};
    cr_assert(own_grow((void **)&d->places, &d->capacity, d->count, sizeof *d->places, &err));
    d->places[d->count] = place;
    doctor_judge(d, &d->places[d->count++]);
}

static void load(struct doctor *d, const char *table)
{
    struct err err = {0};
    cr_assert(mounttab_parse(&d->tab, table, strlen(table), &err));
}

Test(shim, doctor_prints_mount_line_and_oranfstab_of_each)
{
    struct err err = {0};
    AUTO(doctor) struct doctor d = {0};
    AUTO(str) struct str out = {0};
    load(&d, "box:/ORCL /nowhere/nfs/ORCL nfs " GOOD " 0 0\n");
    add(&d, place_of("", "nfs:box:/ORCL"));
    add(&d, place_of("drill", "nfs:box:/ORCL/drill?port=20490"));
    doctor_render(&d, &out);
    cr_assert(str_ok(&out, &err));
    cr_expect_str_eq(
        out.text,
        "ORCL area at /nowhere/nfs/ORCL\n"
        "  mounted: box:/ORCL at /nowhere/nfs/ORCL (" GOOD ")\n"
        "  fstab:   box:/ORCL /nowhere/nfs/ORCL nfs rw,bg,hard,nointr,rsize=1048576,"
        "wsize=1048576,tcp,vers=3,timeo=600,actimeo=0,nolock 0 0\n"
        "  oranfstab:\n    server: box\n    path: box\n    nfs_version: nfsv3\n"
        "    export: /ORCL mount: /nowhere/nfs/ORCL\n"
        "\nORCL clone drill at /mnt/drill\n"
        "  not mounted on this host\n"
        "  as root: mount -t nfs -o rw,hard,nointr,rsize=1048576,wsize=1048576,tcp,vers=3,"
        "timeo=600,actimeo=0,nolock,port=20490,mountport=20490,mountproto=tcp box:/ORCL/drill "
        "/mnt/drill\n"
        "  oranfstab:\n    server: box\n    path: box\n    nfs_version: nfsv3\n"
        "    export: /ORCL/drill mount: /mnt/drill\n");
    cr_expect_str_eq(doctor_verdict(&d), "ok");
}

Test(shim, doctor_names_an_area_that_is_not_mounted_or_reached_otherwise)
{
    AUTO(doctor) struct doctor d = {0};
    load(&d, "/dev/sda1 / ext4 rw 0 0\n");
    add(&d, place_of("", "nfs:box:/ORCL"));
    cr_assert_eq(d.places[0].judged.count, 1);
    cr_expect(strstr(d.places[0].judged.faults[0].what, "not mounted"));
    cr_expect_str_eq(doctor_verdict(&d), "failed");
    /* By Direct NFS alone: then oranfstab must say where. */
    struct doctor_place direct = place_of("", "nfs:box:/ORCL");
    direct.by_kernel = false;
    add(&d, direct);
    cr_assert_eq(d.places[1].judged.count, 1);
    cr_expect(strstr(d.places[1].judged.faults[0].what, "oranfstab has no entry"));
    direct.entry = (struct directnfs_entry){.found = true, .export_path = "/ORCL"};
    add(&d, direct);
    cr_expect_eq(d.places[2].judged.count, 0);
    str_copy(direct.entry.export_path, sizeof direct.entry.export_path, "/OTHER");
    add(&d, direct);
    cr_assert_eq(d.places[3].judged.count, 1);
    cr_expect(strstr(d.places[3].judged.faults[0].what, "export '/OTHER'"));
}

Test(shim, doctor_finds_a_clone_wherever_it_is_mounted_and_one_that_is_no_more)
{
    struct err err = {0};
    AUTO(doctor) struct doctor d = {0};
    AUTO(str) struct str out = {0};
    load(&d, "box:/ORCL /nowhere/nfs/ORCL nfs " GOOD " 0 0\n"
             "box:/ORCL/drill /u02/copy nfs " GOOD " 0 0\n"
             "box:/ORCL/old /u03/old nfs " GOOD " 0 0\n"
             "other:/ORCL/x /u04/x nfs " GOOD " 0 0\n"
             "box:/ORCL2/y /u05/y nfs " GOOD " 0 0\n");
    add(&d, place_of("", "nfs:box:/ORCL"));
    add(&d, place_of("drill", "nfs:box:/ORCL/drill"));
    cr_expect_str_eq(d.places[1].dir, "/u02/copy");
    cr_expect_eq(d.places[1].judged.count, 0, "%s", d.places[1].judged.faults[0].what);
    cr_assert(doctor_find_gone(&d, &err));
    cr_assert_eq(d.count, 3);
    cr_expect_str_eq(d.places[2].clone, "old");
    cr_expect_str_eq(d.places[2].judged.faults[0].fix, "umount /u03/old");
    doctor_render(&d, &out);
    cr_assert(str_ok(&out, &err));
    cr_expect(strstr(out.text, "WRONG the clone is no more"));
    cr_expect_str_eq(doctor_verdict(&d), "failed");
}

Test(shim, doctor_judges_how_a_local_storage_is_mounted_and_not_what_it_exports)
{
    AUTO(doctor) struct doctor d = {0};
    load(&d, "anywhere:/x /nowhere/nfs nfs rw,vers=4.2,soft,rsize=1048576,wsize=1048576,noac,"
             "nolock,timeo=600 0 0\n");
    add(&d, place_of("", "path:/srv/evercopy/volumes/ORCL"));
    cr_assert_eq(d.places[0].judged.count, 2);
    cr_expect(strstr(d.places[0].judged.faults[0].what, "version 4"));
    cr_expect(strstr(d.places[0].judged.faults[1].what, "soft mount"));
}

Test(shim, directnfs_reads_oranfstab_as_oracle_writes_it)
{
    static const char text[] = "# ours\n"
                               "server: box1\nlocal: 10.0.0.9 path: 10.0.0.5\n"
                               "local: 10.0.1.9\npath: 10.0.1.5\nmnt_timeout: 60\n"
                               "export: /ORCL mount: /nfs/ORCL\n"
                               "export: /TEST\tmount:\t/nfs/TEST # the other\n"
                               "server: box2 nfs_version: nfsv3\n"
                               "export: /ORCL/drill mount: /nfs/drill\r\n"
                               "mount: /nfs/bare\nexport:\nmount:";
    struct directnfs_entry e;
    directnfs_find(text, "/nfs/TEST", &e);
    cr_expect(e.found);
    cr_expect_str_eq(e.server, "box1");
    cr_expect_str_eq(e.export_path, "/TEST");
    directnfs_find(text, "/nfs/drill", &e);
    cr_expect_str_eq(e.server, "box2");
    cr_expect_str_eq(e.export_path, "/ORCL/drill");
    directnfs_find(text, "/nfs", &e);
    cr_expect_not(e.found);
    directnfs_find("", "/nfs", &e);
    cr_expect_not(e.found);
}

Test(shim, directnfs_is_on_where_its_library_is)
{
    struct err err = {0};
    char home[] = "/tmp/evercopy-odm-XXXXXX";
    char path[200], other[200];
    cr_assert(mkdtemp(home));
    cr_expect_not(directnfs_is_on(home));
    str_format(path, sizeof path, "%s/rdbms/lib/odm", home);
    cr_assert(sys_mkdirs(path, 0755, &err));
    cr_expect_not(directnfs_is_on(home));
    str_format(other, sizeof other, "%s/libnfsodm19.so", path);
    cr_assert(sys_write_file(other, "", 0, 0755, &err));
    cr_expect(directnfs_is_on(home));
    struct directnfs_entry e;
    str_format(path, sizeof path, "%s/dbs", home);
    cr_assert(sys_mkdirs(path, 0755, &err));
    str_format(other, sizeof other, "%s/oranfstab", path);
    const char *text = "server: b export: /E mount: /m\n";
    cr_assert(sys_write_file(other, text, strlen(text), 0644, &err));
    directnfs_look(home, "/m", &e);
    cr_expect(e.found);
    cr_expect_str_eq(e.file, other);
    cr_expect(sys_remove_tree(home, &err), "%s", err.text);
}

/* A server that is away holds the doctor up once, whatever number of its exports is mounted. */
Test(shim, doctor_asks_for_exports_in_use_and_a_mute_server_once)
{
    AUTO(doctor) struct doctor d = {0};
    load(&d, "127.0.0.1:/ORCL /nowhere/nfs/ORCL nfs " GOOD " 0 0\n");
    add(&d, place_of("", "nfs:127.0.0.1:/ORCL?port=1"));
    add(&d, place_of("", "nfs:127.0.0.1:/ORCL?port=1"));
    add(&d, place_of("drill", "nfs:127.0.0.1:/ORCL/drill?port=1"));
    for (size_t i = 0; i < d.count; i++)
        doctor_look(&d, &d.places[i]);
    cr_expect(d.places[0].look.asked);
    cr_expect_eq(d.places[0].look.found.finding, NFS_FOUND_NO_ANSWER);
    cr_expect_eq(memcmp(&d.places[0].look, &d.places[1].look, sizeof d.places[0].look), 0);
    cr_expect_not(d.places[2].look.asked, "not mounted on this host");
    for (size_t i = 0; i < 2; i++) {
        const struct mounttab_judged *j = &d.places[i].judged;
        cr_assert_geq(j->count, 1);
        cr_expect(strstr(j->faults[j->count - 1].what, "no NFS server answers"));
    }
    cr_expect_str_eq(doctor_verdict(&d), "failed");
}
