/* A matrix of wrong exports of a real evercopy-vaultd: each is named, with what mends it. */
#include "agent/shim/export.h"

#include "agent/base/sys.h"
#include "tests/lib/vault_server.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CALL_MS = 30000 };

struct scene {
    char folder[64], home[100];
    uint32_t oracle; /* who owns its binary */
    struct vault_server server;
};

#define OK(what)                                                                                   \
    do {                                                                                           \
        if (!(what))                                                                               \
            cr_assert(false, "%s: %s", #what, err.text);                                           \
    } while (0)

static void make_home(struct scene *s)
{
    struct err err = {0};
    char path[200];
    s->oracle = geteuid() == 0 ? 54321 : geteuid();
    str_format(s->home, sizeof s->home, "%s/home", s->folder);
    str_format(path, sizeof path, "%s/bin", s->home);
    OK(sys_mkdirs(path, 0755, &err));
    str_format(path, sizeof path, "%s/bin/oracle", s->home);
    OK(sys_write_file(path, "", 0, 0755, &err));
    cr_assert_eq(chown(path, s->oracle, (gid_t)-1), 0);
}

static void make_volume(struct scene *s, const char *name)
{
    struct err err = {0};
    AUTO(wire) struct wire *wire = wire_connect(s->server.socket, &err);
    AUTO(json) json_t *head = json_object();
    AUTO(message) struct message answer = {0};
    OK(wire && json_put_text(head, "op", "volume.create", &err) &&
       wire_put_name(head, "name", name, &err) &&
       wire_call(wire, head, NULL, 0, CALL_MS, &answer, NULL, &err));
}

static void begin(struct scene *s)
{
    static const char *const volumes[] = {"GOOD", "READ", "LOW", "OTHERS", "ALL", "ROOTS"};
    struct err err = {0};
    char extra[700];
    *s = (struct scene){.folder = "/tmp/evercopy-look-XXXXXX"};
    cr_assert(mkdtemp(s->folder));
    make_home(s);
    str_format(extra, sizeof extra,
               "[export]\nclients = 127.0.0.1\nowner = %u\n"
               "[export READ]\nreadonly = true\n"
               "[export LOW]\nprivileged = true\n"
               "[export OTHERS]\nclients = 10.9.9.9\n"
               "[export ALL]\nsquash = all\nanonuid = 65000\nanongid = 65000\n"
               "[export ROOTS]\nowner = 0\n",
               s->oracle);
    OK(vault_server_begin(&s->server, s->folder, NULL, extra, &err));
    for (size_t i = 0; i < sizeof volumes / sizeof *volumes; i++)
        make_volume(s, volumes[i]);
}

static void end(struct scene *s)
{
    struct err err = {0};
    OK(vault_server_stop(&s->server, &err));
    OK(sys_remove_tree(s->folder, &err));
}

static struct mounttab_judged judged(const struct scene *s, const char *path, unsigned port,
                                     const struct export_use *use)
{
    struct mount_place place = {.nfs = true, .host = "127.0.0.1", .port = port};
    struct export_look look = {0};
    struct mounttab_judged ret = {0};
    str_copy(place.export_path, sizeof place.export_path, path);
    export_look(&place, use, s->home, &look);
    export_judge(&look, use, &ret);
    return ret;
}

static int listen_at(uint16_t *ret_port, bool listens)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
              getsockname(fd, (struct sockaddr *)&at, &size) == 0 &&
              (!listens || listen(fd, 5) == 0));
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static void expect(const char *path, const struct mounttab_judged *j, const char *what,
                   const char *fix)
{
    cr_assert_eq(j->count, 1, "%s: %zu things", path, j->count);
    cr_expect(strstr(j->faults[0].what, what), "%s: '%s'", path, j->faults[0].what);
    cr_expect(strstr(j->faults[0].fix, fix), "%s: '%s'", path, j->faults[0].fix);
}

static const struct export_use mounted = {.by_kernel = true, .is_mounted = true};

Test(shim, export_that_is_wrong_is_named_with_what_mends_it)
{
    static const struct {
        const char *path, *what, *fix;
    } rows[] = {
        {"/READ", "the export is read-only", "'readonly = false'"},
        {"/OTHERS", "does not admit this host", "'clients'"},
        {"/NOWHERE", "no such export", "'evercopy-vaultd exports'"},
        {"/GOOD/none", "no such export", "'evercopy-vaultd exports'"},
        {"/ALL", "may not write there: the top folder is uid", "'squash = root'"},
        {"/ROOTS", "the top folder is uid 0's", "set 'owner = "},
    };
    struct scene s;
    begin(&s);
    struct mounttab_judged good = judged(&s, "/GOOD", s.server.port, &mounted);
    cr_expect_eq(good.count, 0, "%s: %s", good.faults[0].what, good.faults[0].fix);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mounttab_judged j = judged(&s, rows[i].path, s.server.port, &mounted);
        expect(rows[i].path, &j, rows[i].what, rows[i].fix);
        cr_expect(j.faults[0].is_wrong, "%s", rows[i].path);
    }
    uint16_t port = 0;
    int fd = listen_at(&port, false);
    struct mounttab_judged j = judged(&s, "/GOOD", port, &mounted);
    expect("a port where nobody is", &j, "no NFS server answers", "start evercopy-vaultd");
    close(fd);
    end(&s);
}

/* What it says is what mends it. */
Test(shim, export_that_was_mended_as_told_is_good)
{
    static const char *const paths[] = {"/READ", "/OTHERS", "/ALL", "/ROOTS"};
    struct err err = {0};
    char extra[100];
    struct scene s;
    begin(&s);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        cr_expect_eq(judged(&s, paths[i], s.server.port, &mounted).count, 1, "%s", paths[i]);
    str_format(extra, sizeof extra, "[export]\nclients = 127.0.0.1\nowner = %u\n", s.oracle);
    OK(vault_server_reload(&s.server, extra, &err));
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct mounttab_judged j = judged(&s, paths[i], s.server.port, &mounted);
        cr_expect_eq(j.count, 0, "%s: %s", paths[i], j.faults[0].what);
    }
    end(&s);
}

/* Root asks from such ports; the seat of Oracle's files does not. */
Test(shim, export_of_ports_below_1024_is_told_from_one_that_admits_nobody)
{
    struct export_use direct = {.direct_nfs = true, .is_mounted = true};
    struct scene s;
    begin(&s);
    if (geteuid() == 0) {
        struct mounttab_judged root = judged(&s, "/LOW", s.server.port, &mounted);
        cr_expect_eq(root.count, 0, "%s", root.faults[0].what);
        cr_assert_eq(seteuid(54321), 0);
    }
    struct mounttab_judged j = judged(&s, "/LOW", s.server.port, &mounted);
    expect("/LOW", &j, "ports below 1024", "right for a kernel mount");
    cr_expect_not(j.faults[0].is_wrong);
    j = judged(&s, "/LOW", s.server.port, &direct);
    cr_assert_geq(j.count, 1);
    cr_expect(strstr(j.faults[0].fix, "oradism"), "%s", j.faults[0].fix);
    cr_expect(j.faults[0].is_wrong);
    j = judged(&s, "/OTHERS", s.server.port, &mounted);
    expect("/OTHERS", &j, "does not admit this host", "'clients'");
    if (getuid() == 0)
        cr_assert_eq(seteuid(0), 0);
    end(&s);
}

/* What it was asked for is over when it ends: the clone may be dropped. */
Test(shim, export_is_not_in_use_by_being_looked_at)
{
    struct export_use wanted = {0};
    struct err err = {0};
    struct scene s;
    begin(&s);
    for (int i = 0; i < 3; i++) {
        struct mounttab_judged j = judged(&s, "/GOOD", s.server.port, &wanted);
        cr_expect_eq(j.count, 0, "%s", j.faults[0].what);
    }
    AUTO(wire) struct wire *wire = wire_connect(s.server.socket, &err);
    AUTO(json) json_t *head = json_object();
    AUTO(message) struct message answer = {0};
    OK(wire && json_put_text(head, "op", "volume.drop", &err) &&
       wire_put_name(head, "name", "GOOD", &err) &&
       wire_call(wire, head, NULL, 0, CALL_MS, &answer, NULL, &err));
    end(&s);
}

Test(shim, export_judges_what_the_port_mapper_tells_by_who_needs_it)
{
    static const struct {
        enum nfs_mapped mapped;
        struct export_use use;
        const char *what;
        bool is_wrong;
    } rows[] = {
        {NFS_MAPPED_NO_MAPPER, {.by_kernel = true, .direct_nfs = true}, "silently leaves", false},
        {NFS_MAPPED_NOTHING, {.by_kernel = false, .direct_nfs = true}, "there is no mount", true},
        {NFS_MAPPED_ELSEWHERE, {.by_kernel = true, .direct_nfs = true}, "another port", false},
        {NFS_MAPPED_NO_MAPPER, {.by_kernel = true}, "without mountport=", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct export_look look = {.mapper_asked = true, .mapped = rows[i].mapped};
        struct mounttab_judged j = {0};
        export_judge(&look, &rows[i].use, &j);
        expect(rows[i].what, &j, rows[i].what, "let rpcbind run there");
        cr_expect_eq(j.faults[0].is_wrong, rows[i].is_wrong, "%s", rows[i].what);
    }
    const struct export_look good = {.mapper_asked = true, .mapped = NFS_MAPPED_GOOD};
    struct mounttab_judged j = {0};
    export_judge(&good, &rows[0].use, &j);
    cr_expect_eq(j.count, 0);
}
