/* Exports of a real evercopy-vaultd: who may reach what, and how it is given and taken while it
 * serves. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/nfs/handle.h"
#include "tests/lib/nfs_caller.h"
#include "tests/lib/nfs_raw.h"
#include "tests/lib/vault_server.h"
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nfsc/libnfs.h>

enum { CALL_MS = 30000 };
#define OK(what)                                                                                   \
    do {                                                                                           \
        if (!(what))                                                                               \
            cr_assert(false, "%s: %s (%s)", #what, err.text, err_code_name(err.code));             \
    } while (0)

struct scene {
    char folder[64];
    struct vault_server server;
};

static void begin(struct scene *p, const char *extra)
{
    struct err err = {0};
    *p = (struct scene){.folder = "/tmp/evercopy-exports-XXXXXX"};
    cr_assert(mkdtemp(p->folder));
    OK(vault_server_begin(&p->server, p->folder, NULL, extra, &err));
}

/* Its own end, so that leaks and locks left behind show. */
static void end(struct scene *p)
{
    struct err err = {0};
    OK(vault_server_stop(&p->server, &err));
    OK(sys_remove_tree(p->folder, &err));
}

/* ---- the control socket ---- */

struct asked {
    const char *name, *volume, *snapshot;
    bool force;
};

static enum err_code ask(struct scene *p, const char *op, const struct asked *what,
                         struct message *ret, char text[512])
{
    struct err err = {0};
    AUTO(wire) struct wire *wire = wire_connect(p->server.socket, &err);
    AUTO(json) json_t *head = json_object();
    AUTO(message) struct message answer = {0};
    OK(wire);
    OK(json_put_text(head, "op", op, &err) && wire_put_name(head, "name", what->name, &err) &&
       wire_put_name(head, "volume", what->volume, &err) &&
       wire_put_name(head, "snapshot", what->snapshot, &err) &&
       json_put_flag(head, "force", what->force, &err));
    if (what->volume && strcmp(op, "snapshot.create") == 0) {
        json_t *volumes = json_array();
        OK(json_put(head, "volumes", volumes, &err) &&
           json_add(volumes, json_string(what->volume), &err));
    }
    bool ok = wire_call(wire, head, NULL, 0, CALL_MS, &answer, NULL, &err);
    if (ret) {
        *ret = answer;
        answer = (struct message){0};
    }
    if (text)
        str_copy(text, 512, err.text);
    return ok ? ERR_NONE : err.code;
}

#define ASK(p, op, ...) ask(p, op, &(struct asked){__VA_ARGS__}, NULL, NULL)
#define DO(p, op, ...) cr_assert_eq(ASK(p, op, __VA_ARGS__), ERR_NONE, "%s", op)

/* ---- NFS ---- */

struct host {
    struct nfs_caller nfs;
    uint8_t top[64];
    size_t top_len;
};

/* ERR_NONE: it is mounted. */
static enum err_code reach(struct scene *p, struct host *h, const char *from, uint16_t from_port,
                           const char *path)
{
    struct err err = {0};
    const char *to = from && strchr(from, ':') ? "::1" : NULL;
    OK(nfs_caller_open_from(&h->nfs, from, from_port, to, p->server.port, &err));
    if (nfs_caller_mount(&h->nfs, path, h->top, &h->top_len, &err))
        return ERR_NONE;
    nfs_caller_close(&h->nfs);
    return err.code;
}

static bool may_mount(struct scene *p, const char *from, uint16_t from_port, const char *path)
{
    struct host h;
    enum err_code code = reach(p, &h, from, from_port, path);
    if (code == ERR_NONE)
        nfs_caller_close(&h.nfs);
    else
        cr_assert_eq(code, ERR_DENIED, "%s: %s", path, err_code_name(code));
    return code == ERR_NONE;
}

static nfsstat3 getattr(struct host *h, GETATTR3res *ret)
{
    struct err err = {0};
    GETATTR3args args = {.object.data = {(u_int)h->top_len, (char *)h->top}};
    OK(NFS_CALL(&h->nfs, GETATTR, &args, ret, &err));
    return ret->status;
}

static nfsstat3 top_status(struct host *h)
{
    GETATTR3res res;
    return getattr(h, &res);
}

static nfsstat3 create(struct host *h, const char *name, CREATE3res *ret)
{
    struct err err = {0};
    CREATE3args args = {0};
    args.where.dir.data.data_len = (u_int)h->top_len;
    args.where.dir.data.data_val = (char *)h->top;
    args.where.name = (char *)(uintptr_t)name;
    args.how.mode = UNCHECKED;
    OK(NFS_CALL(&h->nfs, CREATE, &args, ret, &err));
    return ret->status;
}

static char *run_verb(struct scene *p, const char *verb)
{
    struct err err = {0};
    char program[512], conf[200];
    const char *build = getenv("EVERCOPY_BUILD");
    str_format(program, sizeof program, "%s/evercopy-vaultd",
               build ? build : "build/san-address-undefined");
    str_format(conf, sizeof conf, "%s/vaultd.conf", p->folder);
    int out[2];
    cr_assert_eq(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        dup2(out[1], 2);
        execl(program, program, "--config", conf, verb, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    char *text = own_alloc(1 << 16, &err);
    size_t len = 0;
    ssize_t n;
    while ((n = read(out[0], text + len, (1 << 16) - 1 - len)) > 0)
        len += (size_t)n;
    close(out[0]);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    return text;
}

/* The owner that a file made by uid 0 gets. */
static uint32_t owner_made(struct scene *p, const char *path)
{
    struct host h;
    CREATE3res res;
    cr_assert_eq(reach(p, &h, NULL, 0, path), ERR_NONE, "%s", path);
    cr_assert_eq(create(&h, "file", &res), NFS3_OK, "%s: %d", path, res.status);
    cr_assert(res.CREATE3res_u.resok.obj_attributes.attributes_follow);
    uint32_t uid = res.CREATE3res_u.resok.obj_attributes.post_op_attr_u.attributes.uid;
    nfs_caller_close(&h.nfs);
    return uid;
}

/* ---- what is told ---- */

Test(vaultd_exports, clients_squashing_and_ports_are_as_the_configuration_says)
{
    struct scene p;
    begin(&p, "[export]\nclients = 127.0.0.1\nowner = 65534\n"
              "[export NOSQUASH]\nsquash = none\nowner = 0\n"
              "[export ALL]\nsquash = all\nanonuid = 1234\nowner = 1234\n"
              "[export RO]\nreadonly = true\n"
              "[export OTHER]\nclients = 127.0.0.8/29\n"
              "[export PRIV]\nprivileged = yes\n"
              "[export SIX]\nclients = ::1\n"
              "[export NOBODY]\nclients = none\n");
    static const char *const volumes[] = {"MAIN",  "NOSQUASH", "ALL", "RO",
                                          "OTHER", "PRIV",     "SIX", "NOBODY"};
    for (size_t i = 0; i < sizeof volumes / sizeof *volumes; i++)
        DO(&p, "volume.create", .name = volumes[i]);
    cr_assert_neq(p.server.port, 0);
    cr_expect(may_mount(&p, NULL, 0, "/MAIN"));
    cr_expect(!may_mount(&p, "127.0.0.7", 0, "/MAIN"));
    cr_expect(may_mount(&p, "127.0.0.9", 0, "/OTHER"));
    cr_expect(!may_mount(&p, NULL, 0, "/OTHER"));
    cr_expect(!may_mount(&p, NULL, 0, "/NOBODY"));
    cr_expect(!may_mount(&p, NULL, 0, "/SIX"));
    cr_expect(!may_mount(&p, NULL, 0, "/PRIV"));
    if (geteuid() == 0)
        cr_expect(may_mount(&p, NULL, 871, "/PRIV"));
    cr_expect_eq(owner_made(&p, "/MAIN"), 65534);
    cr_expect_eq(owner_made(&p, "/NOSQUASH"), 0);
    cr_expect_eq(owner_made(&p, "/ALL"), 1234);
    struct host h;
    CREATE3res res;
    cr_assert_eq(reach(&p, &h, NULL, 0, "/RO"), ERR_NONE);
    cr_expect_eq(create(&h, "file", &res), NFS3ERR_ROFS);
    nfs_caller_close(&h.nfs);
    end(&p);
}

Test(vaultd_exports, a_host_of_the_sixth_protocol_is_served)
{
    struct scene p;
    struct host h;
    struct err err = {0};
    begin(&p, "[export]\nclients = ::1\n");
    DO(&p, "volume.create", .name = "SIX");
    if (!nfs_caller_open(&h.nfs, "::1", p.server.port, &err)) {
        fprintf(stderr, "SKIPPED vaultd_exports/a_host_of_the_sixth_protocol_is_served: %s\n",
                err.text);
        end(&p);
        return;
    }
    nfs_caller_close(&h.nfs);
    cr_expect(may_mount(&p, "::1", 0, "/SIX"));
    cr_expect(!may_mount(&p, NULL, 0, "/SIX"));
    end(&p);
}

Test(vaultd_exports, a_reload_gives_and_takes_at_once_and_a_bad_file_does_nothing)
{
    struct scene p;
    struct host h;
    struct err err = {0};
    begin(&p, "[export]\nclients = 127.0.0.1\n");
    DO(&p, "volume.create", .name = "MAIN");
    cr_assert_eq(reach(&p, &h, NULL, 0, "/MAIN"), ERR_NONE);
    cr_assert_eq(top_status(&h), NFS3_OK);
    OK(vault_server_reload(&p.server, "[export]\nclients = 127.0.0.9\n", &err));
    cr_expect_eq(top_status(&h), NFS3ERR_ACCES, "a client that lost its right");
    cr_expect(may_mount(&p, "127.0.0.9", 0, "/MAIN"));

    cr_expect(!vault_server_reload(&p.server, "[export]\nclients = 127.0.0.1/8\n", &err));
    cr_expect(strstr(err.text, "127.0.0.1/8"), "%s", err.text);
    err = (struct err){0};
    cr_expect(
        !vault_server_reload(&p.server, "[export]\nclients = 127.0.0.1\nsqash = none\n", &err));
    cr_expect(strstr(err.text, "squash"), "%s", err.text);
    cr_expect_eq(top_status(&h), NFS3ERR_ACCES, "a file that was refused counts");
    cr_expect(may_mount(&p, "127.0.0.9", 0, "/MAIN"));

    err = (struct err){0};
    OK(vault_server_reload(&p.server, "[export MAIN]\nclients = 127.0.0.1\n", &err));
    cr_expect_eq(top_status(&h), NFS3_OK, "the handle of before is good again");
    cr_expect(!may_mount(&p, "127.0.0.9", 0, "/MAIN"));
    nfs_caller_close(&h.nfs);
    end(&p);
}

static bool log_says(const struct scene *p, const char *words)
{
    char log[200];
    size_t len = 0;
    struct err err = {0};
    str_format(log, sizeof log, "%s/vaultd.log", p->folder);
    AUTO(mem) char *text = sys_read_file(log, 1 << 20, &len, &err);
    OK(text);
    return strstr(text, words) != NULL;
}

Test(vaultd_exports, who_is_cut_off_is_told_in_the_log)
{
    struct scene p;
    uint8_t lie[4];
    begin(&p, "[export]\nclients = 127.0.0.0/8\n");
    int fd = raw_connect(p.server.port, 0);
    raw_put(lie, 0);
    cr_assert(raw_send(fd, lie, sizeof lie) && raw_ended(fd));
    close(fd);
    uint64_t until = clock_mono_ms() + 20000; /* said when somebody comes, or in a minute */
    while (!log_says(&p, "nfs connections cut, stalled=0 not_the_protocol=1 no_memory=0\n") &&
           clock_mono_ms() < until)
        close(raw_connect(p.server.port, 0));
    cr_expect(log_says(&p, "nfs connections cut, stalled=0 not_the_protocol=1 no_memory=0\n"));
    end(&p);
}

Test(vaultd_exports, who_mounts_all_the_time_does_not_fill_the_log)
{
    enum { TIMES = 200 };
    struct scene p;
    char log[200];
    size_t len = 0, lines = 0;
    struct err err = {0};
    begin(&p, "[export]\nclients = 127.0.0.0/8\n");
    DO(&p, "volume.create", .name = "MAIN");
    uint64_t begun = clock_mono_ms();
    for (int i = 0; i < TIMES; i++)
        cr_assert(may_mount(&p, NULL, 0, "/MAIN"));
    uint64_t seconds = (clock_mono_ms() - begun) / 1000 + 2;
    str_format(log, sizeof log, "%s/vaultd.log", p.folder);
    AUTO(mem) char *text = sys_read_file(log, 1 << 20, &len, &err);
    OK(text);
    for (const char *at = text; (at = strstr(at, " mounted client=127.0.0.1 path='/MAIN'")); at++)
        lines++;
    cr_expect(lines >= 1 && lines <= seconds, "%zu lines", lines);
    end(&p);
}

/* Whether it waits for the rest of a record of 8 KiB. */
static bool takes_records(int fd)
{
    uint8_t marker[4];
    raw_put(marker, 0x80000000u | 8192);
    cr_assert(raw_send(fd, marker, sizeof marker));
    return !raw_stirs(fd, 200);
}

Test(vaultd_exports, who_may_use_nothing_is_a_stranger_until_a_reload_says_otherwise)
{
    struct scene p;
    struct err err = {0};
    begin(&p, "[export]\nclients = 127.0.0.1\n[export NONE]\ncloneclients = 127.0.0.3\n");
    int stranger = raw_connect_as(p.server.port, 0, 2), later = raw_connect_as(p.server.port, 0, 4);
    int first = raw_connect_as(p.server.port, 0, 1), third = raw_connect_as(p.server.port, 0, 3);
    cr_expect(!takes_records(stranger));
    cr_expect(takes_records(first));
    cr_expect(takes_records(third), "of a clone that may yet be made");
    OK(vault_server_reload(&p.server, "[export]\nclients = 127.0.0.4\n", &err));
    cr_expect(takes_records(later));
    close(stranger), close(later), close(first), close(third);
    end(&p);
}

static uint32_t top_owner(struct host *h)
{
    GETATTR3res res;
    cr_assert_eq(getattr(h, &res), NFS3_OK);
    return res.GETATTR3res_u.resok.obj_attributes.uid;
}

Test(vaultd_exports, a_reload_gives_the_top_folder_its_owner_while_it_is_used)
{
    struct scene p;
    struct host h;
    struct err err = {0};
    begin(&p, "[export]\nclients = 127.0.0.1\n");
    DO(&p, "volume.create", .name = "MAIN");
    cr_assert_eq(reach(&p, &h, NULL, 0, "/MAIN"), ERR_NONE);
    cr_expect_eq(top_owner(&h), 0);
    OK(vault_server_reload(&p.server, "[export]\nclients = 127.0.0.1\nowner = 54321\n", &err));
    cr_expect_eq(top_owner(&h), 54321);
    OK(vault_server_reload(&p.server, "[export]\nclients = 127.0.0.1\nowner = 7\n", &err));
    cr_expect_eq(top_owner(&h), 54321, "it is root's no more");
    nfs_caller_close(&h.nfs);
    end(&p);
}

Test(vaultd_exports, nfs_is_off_until_somebody_may_use_something)
{
    struct scene p;
    struct err err = {0};
    AUTO(message) struct message answer = {0};
    begin(&p, NULL);
    cr_assert_eq(p.server.port, 0);
    DO(&p, "volume.create", .name = "MAIN");
    OK(vault_server_reload(&p.server, "[export]\nclients = 127.0.0.1\n", &err));
    cr_assert_eq(ask(&p, "exports", &(struct asked){0}, &answer, NULL), ERR_NONE);
    p.server.port = (uint16_t)json_u64(answer.head, "port");
    cr_assert_neq(p.server.port, 0);
    cr_expect(may_mount(&p, NULL, 0, "/MAIN"));
    end(&p);
}

static void make_clone(struct scene *p)
{
    DO(p, "volume.create", .name = "MAIN");
    DO(p, "snapshot.create", .volume = "MAIN", .name = "s");
    DO(p, "clone.create", .volume = "MAIN", .name = "c", .snapshot = "s");
}

Test(vaultd_exports, a_used_clone_is_dropped_by_force_alone_and_its_name_begins_anew)
{
    struct scene p;
    struct host h, again;
    GETATTR3res before, after;
    char why[512] = "";
    begin(&p, "[export]\nclients = 127.0.0.0/8\nsquash = none\n");
    make_clone(&p);
    cr_assert_eq(reach(&p, &h, "127.0.0.5", 0, "/MAIN/c"), ERR_NONE);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(getattr(&h, &before), NFS3_OK);
    uint64_t fsid = before.GETATTR3res_u.resok.obj_attributes.fsid;
    struct asked clone = {.volume = "MAIN", .name = "c"};
    cr_assert_eq(ask(&p, "clone.drop", &clone, NULL, why), ERR_BUSY);
    cr_expect(strstr(why, "127.0.0.5") && strstr(why, "/MAIN/c"), "%s", why);
    cr_expect_eq(top_status(&h), NFS3_OK, "a drop that was refused took something");
    clone.force = true;
    cr_assert_eq(ask(&p, "clone.drop", &clone, NULL, why), ERR_NONE, "%s", why);
    cr_expect_eq(top_status(&h), NFS3ERR_STALE);
    DO(&p, "clone.create", .volume = "MAIN", .name = "c", .snapshot = "s");
    cr_expect_eq(top_status(&h), NFS3ERR_STALE, "an old handle is another clone's");
    cr_assert_eq(reach(&p, &again, "127.0.0.5", 0, "/MAIN/c"), ERR_NONE);
    cr_assert_eq(getattr(&again, &after), NFS3_OK);
    cr_expect_neq(after.GETATTR3res_u.resok.obj_attributes.fsid, fsid);
    nfs_caller_close(&h.nfs);
    nfs_caller_close(&again.nfs);
    char log[200];
    size_t len = 0;
    struct err err = {0};
    str_format(log, sizeof log, "%s/vaultd.log", p.folder);
    AUTO(mem) char *text = sys_read_file(log, 1 << 20, &len, &err);
    OK(text);
    char *line = strstr(text, "drop by force volume='MAIN/c'");
    cr_assert(line, "no line tells of it");
    cr_expect(strstr(line, "clients=127.0.0.5\n"), "%.200s", line);
    end(&p);
}

/* ---- clones that come and go under their clients ---- */

enum { MARK = 8, CLIENTS = 3, ROUNDS = 8, ROUNDS_LONG = 200 };

struct client {
    const struct scene *p;
    pthread_t thread;
    atomic_bool *stop;
    atomic_ulong reads;
    uint64_t stale, busy;
    char wrong[200]; /* "" while all was right */
};

static void is_wrong(struct client *c, const char *what, int status)
{
    if (!c->wrong[0])
        str_format(c->wrong, sizeof c->wrong, "%s: %d", what, status);
}

/* What the file holds is the snapshot's, or what clients of this very clone wrote. */
static bool use_once(struct client *c, struct nfs_caller *nfs, const nfs_fh3 *file, uint64_t *fsid,
                     struct err *err)
{
    char mark[MARK];
    READ3args read = {.file = *file, .count = MARK};
    WRITE3args write = {.file = *file, .count = MARK, .stable = UNSTABLE};
    GETATTR3args attr = {.object = *file};
    GETATTR3res attr_res;
    READ3res read_res;
    WRITE3res write_res;
    if (!NFS_CALL(nfs, GETATTR, &attr, &attr_res, err))
        return false;
    nfsstat3 status = attr_res.status;
    if (status == NFS3_OK) {
        *fsid = attr_res.GETATTR3res_u.resok.obj_attributes.fsid;
        if (!NFS_CALL(nfs, READ, &read, &read_res, err))
            return false;
        status = read_res.status;
    }
    if (status == NFS3_OK) {
        const char *data = read_res.READ3res_u.resok.data.data_val;
        c->reads++;
        memcpy(mark, fsid, MARK);
        if (read_res.READ3res_u.resok.count != MARK ||
            (memcmp(data, "basebase", MARK) != 0 && memcmp(data, mark, MARK) != 0))
            is_wrong(c, "a byte of another clone", 0);
        write.data.data_len = MARK;
        write.data.data_val = mark;
        if (!NFS_CALL(nfs, WRITE, &write, &write_res, err))
            return false;
        status = write_res.status;
    }
    c->busy += status == NFS3ERR_JUKEBOX;
    c->stale += status == NFS3ERR_STALE;
    if (status != NFS3_OK && status != NFS3ERR_JUKEBOX && status != NFS3ERR_STALE)
        is_wrong(c, "a status", (int)status);
    return status != NFS3ERR_STALE;
}

static void *use_clone(void *arg)
{
    struct client *c = arg;
    struct nfs_caller nfs;
    struct err err = {0};
    if (!nfs_caller_open(&nfs, NULL, c->p->server.port, &err))
        is_wrong(c, "connect", (int)err.code);
    while (!c->wrong[0] && !atomic_load(c->stop)) {
        struct host h = {0};
        struct err e = {0};
        LOOKUP3res found;
        char handle[64];
        uint64_t fsid = 0;
        if (!nfs_caller_mount(&nfs, "/MAIN/c", h.top, &h.top_len, &e)) {
            if (e.code != ERR_NOT_FOUND && e.code != ERR_DENIED)
                c->busy++;
            continue;
        }
        LOOKUP3args look = {.what = {{{(u_int)h.top_len, (char *)h.top}}, (char *)(uintptr_t) "f"}};
        if (!NFS_CALL(&nfs, LOOKUP, &look, &found, &e))
            is_wrong(c, "lookup", (int)e.code);
        else if (found.status == NFS3_OK) {
            nfs_fh3 file = found.LOOKUP3res_u.resok.object;
            memcpy(handle, file.data.data_val, file.data.data_len);
            file.data.data_val = handle;
            while (!atomic_load(c->stop) && use_once(c, &nfs, &file, &fsid, &e))
                continue;
            if (e.code)
                is_wrong(c, e.text, (int)e.code);
        } else if (found.status != NFS3ERR_STALE && found.status != NFS3ERR_JUKEBOX)
            is_wrong(c, "lookup status", (int)found.status);
    }
    nfs_caller_close(&nfs);
    return NULL;
}

static unsigned long reads_of(struct client clients[CLIENTS])
{
    unsigned long reads = 0;
    for (int i = 0; i < CLIENTS; i++)
        reads += atomic_load(&clients[i].reads);
    return reads;
}

/* What they read until now, and some more. */
static void wait_for_use(struct client clients[CLIENTS])
{
    uint64_t until = clock_mono_ms() + 90000 /* a disk under others' load */;
    unsigned long enough = reads_of(clients) + (unsigned long)2 * CLIENTS;
    while (reads_of(clients) < enough && clock_mono_ms() < until)
        usleep(500);
    cr_assert_geq(reads_of(clients), enough, "nobody reads");
}

Test(vaultd_exports, a_clone_made_again_under_its_clients_shows_no_byte_of_the_one_before)
{
    struct scene p;
    struct client clients[CLIENTS];
    atomic_bool stop = false;
    struct err err = {0};
    uint64_t stale = 0;
    const int rounds = getenv("EVERCOPY_LONG") ? ROUNDS_LONG : ROUNDS;
    begin(&p, "[export]\nclients = 127.0.0.1\nsquash = none\n");
    DO(&p, "volume.create", .name = "MAIN");
    OK(vault_server_write(&p.server, "MAIN", NULL, "f", "basebase", MARK, 0, &err));
    DO(&p, "snapshot.create", .volume = "MAIN", .name = "s");
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.p = &p, .stop = &stop};
        cr_assert_eq(pthread_create(&clients[i].thread, NULL, use_clone, &clients[i]), 0);
    }
    for (int i = 0; i < rounds; i++) {
        DO(&p, "clone.create", .volume = "MAIN", .name = "c", .snapshot = "s");
        wait_for_use(clients);
        if (i % 3 == 0)
            OK(vault_server_reload(&p.server, "[export]\nclients = 127.0.0.1\nsquash = none\n",
                                   &err));
        DO(&p, "clone.drop", .volume = "MAIN", .name = "c", .force = true);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        cr_expect_str_eq(clients[i].wrong, "");
        stale += clients[i].stale;
    }
    cr_expect_gt(stale, 0);
    end(&p);
}

/* A stop while calls are under way is orderly, and takes no ten seconds. */
Test(vaultd_exports, a_stop_under_load_is_orderly)
{
    struct scene p;
    struct client clients[CLIENTS];
    atomic_bool stop = false;
    struct err err = {0};
    begin(&p, "[export]\nclients = 127.0.0.1\nsquash = none\n");
    make_clone(&p);
    OK(vault_server_write(&p.server, "MAIN", "c", "f", "basebase", MARK, 0, &err));
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.p = &p, .stop = &stop};
        cr_assert_eq(pthread_create(&clients[i].thread, NULL, use_clone, &clients[i]), 0);
    }
    wait_for_use(clients);
    uint64_t begun = clock_mono_ms();
    OK(vault_server_stop(&p.server, &err));
    cr_expect_lt(clock_mono_ms() - begun, 9000);
    atomic_store(&stop, true);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    OK(vault_server_start(&p.server, &err));
    end(&p);
}

/* The volume stays: it has a snapshot. Its clients never hear that it was to go. */
Test(vaultd_exports, a_forced_drop_that_the_vault_refuses_costs_clients_nothing)
{
    struct scene p;
    struct host h;
    begin(&p, "[export]\nclients = 127.0.0.0/8\nsquash = none\n");
    make_clone(&p);
    cr_assert_eq(reach(&p, &h, NULL, 0, "/MAIN"), ERR_NONE);
    cr_assert_eq(top_status(&h), NFS3_OK);
    cr_assert_eq(ASK(&p, "volume.drop", .name = "MAIN", .force = true), ERR_PRECONDITION);
    cr_expect_eq(top_status(&h), NFS3_OK);
    nfs_caller_close(&h.nfs);
    end(&p);
}

Test(vaultd_exports, handles_outlive_a_crash_of_the_server)
{
    struct scene p;
    struct host h, again;
    struct err err = {0};
    begin(&p, "[export]\nclients = 127.0.0.1\nsquash = none\n");
    make_clone(&p);
    cr_assert_eq(reach(&p, &h, NULL, 0, "/MAIN/c"), ERR_NONE);
    cr_assert_eq(top_status(&h), NFS3_OK);
    vault_server_kill(&p.server);
    nfs_caller_close(&h.nfs);
    OK(vault_server_start(&p.server, &err));
    again = h;
    OK(nfs_caller_open(&again.nfs, NULL, p.server.port, &err));
    cr_expect_eq(top_status(&again), NFS3_OK);
    nfs_caller_close(&again.nfs);
    end(&p);
}

/* What tells of the volume with this handle: it is closed from the next start on. */
static void damage(const struct scene *p, const struct host *h)
{
    char path[400];
    uint8_t byte = 0;
    struct err err = {0};
    struct handle handle;
    cr_assert(handle_decode(h->top, h->top_len, &handle));
    str_format(path, sizeof path, "%s/box/v/%016llx/journal", p->folder,
               (unsigned long long)handle.volume);
    AUTO(fd) int fd = sys_open(path, O_RDWR | O_CLOEXEC, 0, &err);
    OK(fd >= 0 && sys_pread(fd, &byte, 1, 30, path, &err) == 1);
    byte ^= 0x10;
    OK(sys_pwrite(fd, &byte, 1, 30, path, &err));
}

Test(vaultd_exports, a_damaged_volume_costs_the_clients_of_the_others_nothing)
{
    static const char *const paths[] = {"/BAD", "/BAD/c", "/GOOD", "/GOOD/c"};
    struct scene p;
    struct host hosts[4];
    struct err err = {0};
    begin(&p, "[export]\nclients = 127.0.0.0/8\n");
    for (const char *const *name = (const char *const[]){"BAD", "GOOD", NULL}; *name; name++) {
        DO(&p, "volume.create", .name = *name);
        DO(&p, "snapshot.create", .volume = *name, .name = "s");
        DO(&p, "clone.create", .volume = *name, .name = "c", .snapshot = "s");
    }
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(reach(&p, &hosts[i], NULL, 0, paths[i]), ERR_NONE);
        nfs_caller_close(&hosts[i].nfs);
    }
    OK(vault_server_stop(&p.server, &err));
    damage(&p, &hosts[0]);
    OK(vault_server_start(&p.server, &err));
    for (int i = 0; i < 4; i++) {
        OK(nfs_caller_open(&hosts[i].nfs, NULL, p.server.port, &err));
        nfsstat3 status = top_status(&hosts[i]);
        cr_expect_eq(status, i < 2 ? NFS3ERR_IO : NFS3_OK, "%s: %d", paths[i], status);
    }
    cr_expect(may_mount(&p, NULL, 0, "/GOOD/c"));
    AUTO(mem) char *text = run_verb(&p, "exports");
    cr_expect(strstr(text, "export: /GOOD/c "), "%s", text);
    OK(vault_server_reload(&p.server, "[export]\nclients = 127.0.0.9\n", &err));
    for (int i = 0; i < 4; i++) {
        nfsstat3 status = top_status(&hosts[i]);
        cr_expect_eq(status, NFS3ERR_ACCES, "%s: %d", paths[i], status);
        nfs_caller_close(&hosts[i].nfs);
    }
    end(&p);
}

/* ---- libnfs, as a host's user would: by dlsym, as the areas' reader has names of its own for the
 * same things ---- */

#define LIBNFS(X)                                                                                  \
    X(nfs_init_context)                                                                            \
    X(nfs_destroy_context)                                                                         \
    X(nfs_get_error)                                                                               \
    X(nfs_parse_url_dir)                                                                           \
    X(nfs_destroy_url)                                                                             \
    X(nfs_mount)                                                                                   \
    X(nfs_umount)                                                                                  \
    X(nfs_creat)                                                                                   \
    X(nfs_open)                                                                                    \
    X(nfs_close)                                                                                   \
    X(nfs_pread)                                                                                   \
    X(nfs_pwrite)
#define LIBNFS_MEMBER(name) __typeof__(&name) name;
struct libnfs {
    LIBNFS(LIBNFS_MEMBER)
    struct nfs_context *nfs;
};

static void libnfs_mount(struct libnfs *l, const struct scene *p, const char *path)
{
    char url[200];
    void *library = dlopen("libnfs.so.13", RTLD_NOW);
    cr_assert(library, "%s", dlerror());
#define LIBNFS_FIND(name)                                                                          \
    l->name = (__typeof__(&name))dlsym(library, #name);                                            \
    cr_assert(l->name, "%s", #name);
    LIBNFS(LIBNFS_FIND)
    l->nfs = l->nfs_init_context();
    cr_assert(l->nfs);
    str_format(url, sizeof url, "nfs://127.0.0.1%s?version=3&nfsport=%u&mountport=%u", path,
               p->server.port, p->server.port);
    struct nfs_url *parsed = l->nfs_parse_url_dir(l->nfs, url);
    cr_assert(parsed, "%s", l->nfs_get_error(l->nfs));
    cr_assert_eq(l->nfs_mount(l->nfs, parsed->server, parsed->path), 0, "%s",
                 l->nfs_get_error(l->nfs));
    l->nfs_destroy_url(parsed);
}

static void write_and_read(const struct libnfs *l)
{
    struct nfsfh *file = NULL;
    char read[6] = "";
    cr_assert_eq(l->nfs_creat(l->nfs, "/file", 0640, &file), 0, "%s", l->nfs_get_error(l->nfs));
    cr_assert_eq(l->nfs_pwrite(l->nfs, file, 0, 5, "bytes"), 5, "%s", l->nfs_get_error(l->nfs));
    cr_assert_eq(l->nfs_close(l->nfs, file), 0);
    cr_assert_eq(l->nfs_open(l->nfs, "/file", O_RDONLY, &file), 0, "%s", l->nfs_get_error(l->nfs));
    cr_assert_eq(l->nfs_pread(l->nfs, file, 0, 5, read), 5);
    cr_assert_str_eq(read, "bytes");
    cr_assert_eq(l->nfs_close(l->nfs, file), 0);
}

/* A host of its own process: libnfs loses a few bytes at its end. */
struct libnfs_host {
    pid_t pid;
    int to, from;
};

static void host_begin(struct libnfs_host *host, const struct scene *p, const char *path)
{
    int to[2], from[2];
    char word;
    cr_assert(pipe(to) == 0 && pipe(from) == 0);
    host->pid = fork();
    if (host->pid == 0) {
        struct libnfs l;
        close(to[1]);
        close(from[0]);
        libnfs_mount(&l, p, path);
        write_and_read(&l);
        bool ok =
            write(from[1], "1", 1) == 1 && read(to[0], &word, 1) == 1 && l.nfs_umount(l.nfs) == 0;
        _exit(ok ? 0 : 1);
    }
    close(to[0]);
    close(from[1]);
    host->to = to[1];
    host->from = from[0];
    cr_assert_eq(read(host->from, &word, 1), 1, "%s could not be used", path);
}

static void host_unmounts(struct libnfs_host *host)
{
    int status = 0;
    cr_assert_eq(write(host->to, "1", 1), 1);
    cr_assert_eq(waitpid(host->pid, &status, 0), host->pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(host->to);
    close(host->from);
}

Test(vaultd_exports, a_host_that_unmounts_lets_its_clone_go_and_one_mount_holds_no_other)
{
    struct scene p;
    struct libnfs_host of_clone, of_landing;
    begin(&p, "[export]\nclients = 127.0.0.1\nsquash = none\n");
    make_clone(&p);
    host_begin(&of_clone, &p, "/MAIN/c");
    cr_expect_eq(ASK(&p, "clone.drop", .volume = "MAIN", .name = "c"), ERR_BUSY);
    host_unmounts(&of_clone);
    /* The landing volume's host sees the clone below it, and does not use it. */
    host_begin(&of_landing, &p, "/MAIN");
    char why[512] = "";
    uint64_t until = clock_mono_ms() + 10000;
    enum err_code code;
    do /* the server hears of the hang-up soon */
        code = ask(&p, "clone.drop", &(struct asked){.volume = "MAIN", .name = "c"}, NULL, why);
    while (code == ERR_BUSY && clock_mono_ms() < until);
    cr_expect_eq(code, ERR_NONE, "%s", why);
    host_unmounts(&of_landing);
    end(&p);
}

/* ---- what people are shown ---- */

Test(vaultd_exports, check_config_takes_what_serve_would_and_nothing_else)
{
    static const struct {
        const char *lines;
        bool good;
    } cases[] = {
        {"[export]\nclients = 10.0.0.0/8 fd00::/8\ncloneclients = none\n", true},
        {"nfslisten = 127.0.0.1 ::1\n", true},
        {"nfslisten = none\n[export]\nclients = ::/0\n", true},
        {"nfslisten = dbhost\n", false},
        {"[export]\nclients = dbhost\n", false},
        {"[export A]\ncloneclients = 10.0.0.1/8\n", false},
    };
    struct scene p = {.folder = "/tmp/evercopy-exports-XXXXXX"};
    struct err err = {0};
    cr_assert(mkdtemp(p.folder));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char conf[200], text[400];
        str_format(conf, sizeof conf, "%s/vaultd.conf", p.folder);
        str_format(text, sizeof text, "[store]\nurl = %s\n[vault]\nbox = %s\n%s", p.folder,
                   p.folder, cases[i].lines);
        OK(sys_write_file(conf, text, strlen(text), 0600, &err));
        AUTO(mem) char *said = run_verb(&p, "check-config");
        cr_expect_eq(strstr(said, "nothing wrong") != NULL, cases[i].good, "%s: %s", cases[i].lines,
                     said);
    }
    OK(sys_remove_tree(p.folder, &err));
}

Test(vaultd_exports, the_verb_prints_how_to_mount_and_who_did)
{
    struct scene p;
    struct host h;
    begin(&p, "[export MAIN]\nclients = 127.0.0.1 10.0.0.0/8\nreadonly = true\n"
              "cloneclients = 127.0.0.1\n");
    make_clone(&p);
    DO(&p, "volume.create", .name = "UNSEEN");
    cr_assert_eq(reach(&p, &h, NULL, 0, "/MAIN/c"), ERR_NONE);
    cr_assert(top_status(&h) == NFS3_OK && top_status(&h) == NFS3_OK);
    AUTO(mem) char *text = run_verb(&p, "exports");
    char line[300];
    str_format(line, sizeof line,
               "mount -t nfs -o ro,bg,hard,nointr,rsize=1048576,wsize=1048576,tcp,vers=3,timeo=600,"
               "actimeo=0,nolock,port=%u,mountport=%u,mountproto=tcp ",
               p.server.port, p.server.port);
    cr_expect(strstr(text, line), "%s", text);
    cr_expect(strstr(text, ":/MAIN /nfs/MAIN\n"), "%s", text);
    cr_expect(strstr(text, "clients 127.0.0.1 10.0.0.0/8; squash root, read-only\n"), "%s", text);
    cr_expect(strstr(text, "used by 127.0.0.1: mounted, connected, 2 calls"), "%s", text);
    cr_expect(strstr(text, "export: /MAIN/c mount: /nfs/MAIN/c\n"), "%s", text);
    cr_expect(!strstr(text, "UNSEEN"), "%s", text);
    nfs_caller_close(&h.nfs);
    end(&p);
}
