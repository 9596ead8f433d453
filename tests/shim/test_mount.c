/* Mount texts from the agent, the lines made of them, and the helper that mounts. */
#include "agent/base/sys.h"
#include "agent/shim/mount.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static bool parse(const char *text, struct mount_place *place)
{
    struct err err = {0};
    bool ok = mount_parse(text, place, &err);
    cr_expect(ok || err.code == ERR_INVALID || err.code == ERR_UNSUPPORTED, "'%s': %s", text,
              err.text);
    return ok;
}

Test(shim, mount_texts_of_every_kind_are_taken_apart)
{
    struct mount_place p;
    cr_assert(parse("nfs:box1.example.com:/ORCL/drill$1?port=20490", &p));
    cr_expect(p.nfs && p.port == 20490);
    cr_expect_str_eq(p.host, "box1.example.com");
    cr_expect_str_eq(p.export_path, "/ORCL/drill$1");
    cr_assert(parse("nfs:[fd00::1]:/ORCL", &p));
    cr_expect_str_eq(p.host, "fd00::1");
    cr_expect_eq(p.port, 2049);
    cr_assert(parse("path:/srv/evercopy/clones/ORCL/c/data", &p));
    cr_expect_not(p.nfs);
    cr_expect_str_eq(p.path, "/srv/evercopy/clones/ORCL/c/data");
}

Test(shim, mount_texts_that_could_do_harm_in_a_command_are_refused)
{
    static const char *const bad[] = {
        "",
        "nfs:",
        "nfs:box",
        "nfs:box:",
        "nfs:box:/",
        "nfs::/ORCL",
        "nfs:-o:/ORCL",
        "nfs:-oexec:/ORCL",
        "nfs:box;reboot:/ORCL",
        "nfs:box name:/ORCL",
        "nfs:box:/ORCL/../etc",
        "nfs:box:/..",
        "nfs:box:/ORCL/.hidden",
        "nfs:box:/ORCL//c",
        "nfs:box:/ORCL/",
        "nfs:box:/ORCL/-c",
        "nfs:box:/OR CL",
        "nfs:box:/OR\nCL",
        "nfs:box:/OR`id`",
        "nfs:box:/OR$(id)",
        "nfs:box:/ORCL,exec",
        "nfs:box:ORCL",
        "nfs:[fd00::1:/ORCL",
        "nfs:[fd00::1]/ORCL",
        "nfs:[box]:/ORCL",
        "nfs:box:/ORCL?port=0",
        "nfs:box:/ORCL?port=65536",
        "nfs:box:/ORCL?port=-1",
        "nfs:box:/ORCL?port=20490,exec",
        "nfs:box:/ORCL?",
        "nfs:box:/ORCL?mountport=1",
        "path:",
        "path:srv",
        "path:/srv/../etc",
        "path:/srv/..",
        "path:/srv/a'b",
        "path:/srv/a\nb",
        "vault:ORCL/c",
        "memory:x/y",
        "NFS:box:/ORCL",
    };
    struct mount_place p = {.port = 7};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(parse(bad[i], &p), "'%s' was taken", bad[i]);
    cr_expect_eq(p.port, 7, "a refused text changes nothing");
    char longer[1000] = "nfs:box:/";
    memset(longer + 9, 'a', sizeof longer - 10);
    cr_expect_not(parse(longer, &p));
    memset(longer + 4, 'a', 300);
    memcpy(longer + 304, ":/ORCL", 7);
    cr_expect_not(parse(longer, &p));
}

Test(shim, mount_lines_are_those_oracle_documents)
{
    struct mount_place p;
    struct err err = {0};
    char line[3 * PATH_MAX];
    AUTO(str) struct str entry = {0};
    cr_assert(parse("nfs:box:/ORCL/c?port=20490", &p) && mount_command(&p, "/mnt/c", line, &err));
    cr_expect_str_eq(line, "mount -t nfs -o rw,hard,nointr,rsize=1048576,wsize=1048576,tcp,vers=3,"
                           "timeo=600,actimeo=0,nolock,port=20490,mountport=20490,mountproto=tcp "
                           "box:/ORCL/c /mnt/c");
    cr_assert(parse("nfs:[fd00::1]:/ORCL", &p) && mount_fstab(&p, "/nfs/ORCL", line, &err));
    cr_expect_str_eq(line, "[fd00::1]:/ORCL /nfs/ORCL nfs rw,bg,hard,nointr,rsize=1048576,"
                           "wsize=1048576,tcp,vers=3,timeo=600,actimeo=0,nolock 0 0");
    mount_oranfstab(&p, "/nfs/ORCL", &entry);
    cr_assert(str_ok(&entry, &err));
    cr_expect_str_eq(entry.text, "server: fd00::1\npath: fd00::1\nnfs_version: nfsv3\n"
                                 "export: /ORCL mount: /nfs/ORCL\n");
}

Test(shim, mount_lines_can_be_pasted_whatever_the_names)
{
    struct mount_place p;
    struct err err = {0};
    char line[3 * PATH_MAX], dir[PATH_MAX];
    static const char *const bad[] = {"",     ".",   "..",  ".ssh",  "-o",   "a/b", "../etc",
                                      "a;id", "a b", "a'b", "$(id)", "a..b", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err why = {0};
        cr_expect_not(mount_dir("/mnt", bad[i], dir, &why), "'%s' was taken", bad[i]);
    }
    cr_assert(mount_dir("/my clones", "c$d", dir, &err), "%s", err.text);
    cr_assert(parse("nfs:box:/ORCL/c$d", &p) && mount_command(&p, dir, line, &err));
    cr_expect(str_ends(line, ",nolock 'box:/ORCL/c$d' '/my clones/c$d'"), "%s", line);
    cr_assert(mount_fstab(&p, dir, line, &err), "%s", err.text);
    cr_expect(str_starts(line, "box:/ORCL/c$d /my\\040clones/c$d nfs rw,bg,"), "%s", line);
    cr_assert(mount_fstab(&p, "/a\tb\\c#", line, &err), "%s", err.text);
    cr_expect(str_starts(line, "box:/ORCL/c$d /a\\011b\\134c# nfs "), "%s", line);
}

Test(shim, mount_words_of_a_shell_are_quoted_where_it_would_take_them_apart)
{
    static const struct {
        const char *word, *wanted;
    } cases[] = {
        {"/mnt/c", "/mnt/c"},
        {"/my clones/c$d", "'/my clones/c$d'"},
        {"/o'clock", "'/o'\\''clock'"},
        {"", "''"},
        {"~/x", "'~/x'"},
    };
    char word[64], small[5];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect(mount_quote(cases[i].word, word, sizeof word));
        cr_expect_str_eq(word, cases[i].wanted);
    }
    cr_expect_not(mount_quote("a b c d", small, sizeof small), "cut");
}

/* ---- the helper ---- */

static char folder[] = "/tmp/evercopy-mount-XXXXXX";
static char program[64];

static void make_helper(const char *script)
{
    struct err err = {0};
    if (strstr(folder, "XXXXXX"))
        cr_assert(mkdtemp(folder));
    str_format(program, sizeof program, "%s/helper", folder);
    cr_assert(sys_write_file(program, script, strlen(script), 0755, &err), "%s", err.text);
}

static void remove_helper(void)
{
    struct err err = {0};
    cr_expect(sys_remove_tree(folder, &err), "%s", err.text);
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

static void collect(void *arg, const char *line, size_t len)
{
    str_append_n(arg, line, len);
    str_append(arg, "\n");
}

Test(shim, mount_helper_gets_words_and_no_environment, .fini = remove_helper)
{
    struct err err = {0};
    struct mount_place p;
    AUTO(str) struct str said = {0};
    make_helper(
        "#!/bin/sh\nprintf '<%s>' \"$@\"\necho\nenv | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^PATH='\n"
        "exit 0\n");
    struct mount_helper helper = {.program = program, .line = collect, .arg = &said};
    cr_assert(setenv("EVERCOPY_SECRET", "x", 1) == 0);
    cr_assert(parse("nfs:box:/ORCL/c$d", &p));
    cr_expect(mount_help(&helper, &p, "/mnt/c$d", &err), "%s", err.text);
    cr_expect(mount_help_away(&helper, "/mnt/c$d", &err), "%s", err.text);
    cr_assert(str_ok(&said, &err));
    cr_expect_str_eq(said.text,
                     "<mount><box:/ORCL/c$d></mnt/c$d><rw,hard,nointr,rsize=1048576,wsize=1048576,"
                     "tcp,vers=3,timeo=600,actimeo=0,nolock>\n<umount></mnt/c$d>\n");
}

Test(shim, mount_helper_that_fails_is_quoted_and_one_that_hangs_can_be_stopped,
     .fini = remove_helper)
{
    struct err err = {0};
    struct mount_place p;
    make_helper("#!/bin/sh\necho first\necho 'mount.nfs: access denied by server' >&2\nexit 32\n");
    struct mount_helper helper = {.program = program};
    cr_assert(parse("nfs:box:/ORCL/c", &p));
    cr_expect_not(mount_help(&helper, &p, "/mnt/c", &err));
    cr_expect_eq(err.code, ERR_EXTERNAL);
    cr_expect(strstr(err.text, "mount.nfs: access denied by server"), "%s", err.text);
    make_helper("#!/bin/sh\nexec sleep 60\n");
    helper.cancelled = always;
    err = (struct err){0};
    cr_expect_not(mount_help_away(&helper, "/mnt/c", &err));
    cr_expect_eq(err.code, ERR_CANCELLED, "%s", err.text);
    helper = (struct mount_helper){.program = "/nowhere/helper"};
    cr_expect_not(mount_help(&helper, &p, "/mnt/c", &err));
}
