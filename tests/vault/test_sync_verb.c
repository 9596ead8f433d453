/* `evercopy-vaultd sync` as it is called, to second stores of every kind: what is new is sent, what
 * is there stays until it is pruned, at the pace that is allowed. */
#include "agent/base/exec.h"
#include "agent/base/sys.h"
#include "drivers/vault/tools.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/nfs_server.h"
#include "tests/lib/object_store.h"
#include "tests/vault/tools_world.h"

enum { DEADLINE_MS = 120000, RECORDS = 300 };

struct scene {
    char dir[128], config[160], far_config[160];
    struct vw *w;
    char said[4000]; /* by the last call */
};

static void keep_line(void *arg, const char *line, size_t len)
{
    struct scene *p = arg;
    size_t used = strlen(p->said);
    (void)len;
    IGNORE(!str_format(p->said + used, sizeof p->said - used, "%s\n", line));
}

/* The exit code. */
static int call(struct scene *p, const char *config, const char *words)
{
    char program[300], copy[600], *cursor = copy;
    const char *build = getenv("EVERCOPY_BUILD");
    const char *argv[16] = {program, "--config", config};
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    struct exec exec = {
        .argv = argv, .envp = envp, .deadline_ms = DEADLINE_MS, .line = keep_line, .arg = p};
    struct exec_result result = {0};
    struct err err = {0};
    char here[200] = "";
    cr_assert(getcwd(here, sizeof here));
    IGNORE(!str_format(program, sizeof program, "%s%s%s/evercopy-vaultd",
                       build && *build == '/' ? "" : here, build && *build == '/' ? "" : "/",
                       build ? build : "build/san-address-undefined"));
    cr_assert(str_copy(copy, sizeof copy, words));
    for (size_t i = 3; cursor && i < 15; i++)
        argv[i] = str_field(&cursor, ' ');
    p->said[0] = '\0';
    VW_OK(exec_run(&exec, &result, &err));
    cr_assert(result.signal_no == 0, "%s: signal %d: %s", words, result.signal_no, p->said);
    printf("%s: %d\n%s", words, result.exit_code, p->said);
    fflush(stdout);
    return result.exit_code;
}

static uint64_t figure(const struct scene *p, const char *name)
{
    char key[40];
    IGNORE(!str_format(key, sizeof key, " %s=", name));
    const char *at = strstr(p->said, key);
    cr_assert(at, "no '%s' in: %s", name, p->said);
    return strtoull(at + strlen(key), NULL, 10);
}

static void write_config(const char *path, const char *dir, const char *store)
{
    struct err err = {0};
    AUTO(str) struct str text = {0};
    str_printf(&text, "[vault]\nbox = %s/box\n[store]\nurl = %s\n", dir, store);
    VW_OK(str_ok(&text, &err) && sys_write_file(path, text.text, text.len, 0600, &err));
}

static void seal_snapshot(struct scene *p, uint32_t first, uint32_t step)
{
    struct err err = {0};
    struct vw *w = p->w;
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    *next = w->volumes[0].now;
    next->sizes[0] = RECORDS;
    for (uint32_t r = 0; r < RECORDS; r += step)
        next->records[0][r] = first + r;
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
}

/* A store in a folder with two snapshots; nobody serves it while the verb is called. */
static void scene_begin(struct scene *p, const char *dir)
{
    struct err err = {0};
    char store[160], box[160];
    *p = (struct scene){.w = own_alloc(sizeof *p->w, &err)};
    IGNORE(!str_copy(p->dir, sizeof p->dir, dir));
    IGNORE(!str_format(p->config, sizeof p->config, "%s/vault.conf", dir));
    IGNORE(!str_format(p->far_config, sizeof p->far_config, "%s/far.conf", dir));
    IGNORE(!str_format(store, sizeof store, "%s/store", dir));
    IGNORE(!str_format(box, sizeof box, "%s/box", dir));
    write_config(p->config, dir, store);
    *p->w = (struct vw){.seed = 4, .sequence = 10};
    p->w->io = io_open(store, NULL, 0, &err);
    VW_OK(p->w->io && sys_mkdir(box, 0700, &err));
    VW_OK(vw_try_open(p->w, true, &err) && vw_add_landing(p->w, &err));
    seal_snapshot(p, 1, 1);
    seal_snapshot(p, 1000, 100);
    vw_close(p->w);
}

static void reopen(struct scene *p)
{
    struct err err = {0};
    VW_OK(vw_try_open(p->w, false, &err));
}

static void scene_end(struct scene *p)
{
    io_close(p->w->io);
    own_free(p->w);
}

/* What one does with a second store; `far` reaches the same one. */
static void sync_to(struct scene *p, const char *to, struct io *far)
{
    struct err err = {0};
    char prune[600];
    IGNORE(!str_format(prune, sizeof prune, "%s --prune", to));
    cr_assert_eq(call(p, p->config, to), TOOLS_SOUND);
    cr_expect_eq(figure(p, "copied"), 2);
    uint64_t first = figure(p, "bytes_sent");
    cr_expect_eq(tw_check_copy(p->w, far), 2);
    cr_assert_eq(call(p, p->config, to), TOOLS_SOUND, "there is nothing to do");
    cr_expect_eq(figure(p, "copied") + figure(p, "packs_sent") + figure(p, "bytes_sent"), 0);
    cr_assert_eq(call(p, p->config, "stat"), TOOLS_SOUND);
    cr_expect_eq(figure(p, "copied"), 1, "it is known here");

    reopen(p);
    seal_snapshot(p, 2000, 30);
    vw_close(p->w);
    cr_assert_eq(call(p, p->config, to), TOOLS_SOUND);
    cr_expect_eq(figure(p, "copied"), 1);
    cr_expect_lt(figure(p, "bytes_sent"), first / 3, "of %llu", (unsigned long long)first);
    cr_expect_eq(tw_check_copy(p->w, far), 3);

    reopen(p);
    VW_OK(vw_drop_snapshot(p->w, &p->w->snapshots[1], &err));
    vw_close(p->w);
    cr_assert_eq(call(p, p->config, to), TOOLS_SOUND);
    cr_expect_eq(figure(p, "pruned"), 0, "it is kept there");
    cr_expect_eq(call(p, p->config, prune), TOOLS_SOUND);
    cr_expect_eq(figure(p, "pruned"), 1);
    cr_expect_eq(tw_check_copy(p->w, far), 2);
}

Test(sync_verb, copies_to_a_folder_what_is_new_and_prunes_when_told)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct scene p;
    struct err err = {0};
    char far[160], to[200];
    scene_begin(&p, dir);
    IGNORE(!str_format(far, sizeof far, "%s/far", dir));
    IGNORE(!str_format(to, sizeof to, "sync %s", far));
    AUTO(io) struct io *io = io_open(far, NULL, 0, &err);
    VW_OK(io);
    sync_to(&p, to, io);
    scene_end(&p);
}

Test(sync_verb, copies_to_an_nfs_server)
{
    AUTO(nfs_server) struct nfs_server server = {.script = {.to = -1, .from = -1}};
    struct scene p;
    struct err err = {0};
    char url[600], to[620];
    if (!nfs_server_begin(&server, 64, &err)) {
        privileged_skipped("sync_verb", "copies_to_an_nfs_server", &err);
        return;
    }
    AUTO(drive_dir) char *dir = drive_dir();
    scene_begin(&p, dir);
    IGNORE(!str_format(url, sizeof url,
                       "nfs://127.0.0.1%s/far?nfsport=20491&mountport=20492&contexts=2",
                       server.dir));
    IGNORE(!str_format(to, sizeof to, "sync %s", url));
    AUTO(io) struct io *io = io_open(url, NULL, 0, &err);
    VW_OK(io);
    sync_to(&p, to, io);
    scene_end(&p);
}

/* Its endpoint and keys come from the [store] of another configuration. */
Test(sync_verb, copies_to_a_bucket_that_a_configuration_names)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct scene p;
    struct err err = {0};
    char url[500], to[200];
    VW_OK(object_store_fake(&store, dir, NULL, &err));
    scene_begin(&p, dir);
    IGNORE(!str_format(url, sizeof url,
                       "s3://vault/far\nendpoint = http://127.0.0.1:%u\ncredentials = %s",
                       store.port, store.credentials));
    write_config(p.far_config, dir, url);
    IGNORE(!str_format(to, sizeof to, "sync --to-config %s", p.far_config));
    AUTO(io) struct io *io = object_store_open(&store, "far", NULL, 0, &err);
    VW_OK(io);
    sync_to(&p, to, io);
    cr_expect_eq(call(&p, p.far_config, "scrub"), TOOLS_SOUND);
    cr_expect_eq(figure(&p, "damages"), 0);
    scene_end(&p);
}

Test(sync_verb, keeps_to_its_bandwidth)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct scene p;
    char to[300];
    scene_begin(&p, dir);
    IGNORE(!str_format(to, sizeof to, "sync %s/far", dir));
    cr_assert_eq(call(&p, p.config, to), TOOLS_SOUND);
    IGNORE(!str_format(to, sizeof to, "sync %s/slow --rate %llu", dir,
                       (unsigned long long)figure(&p, "bytes_sent")));
    uint64_t begun_ms = clock_mono_ms();
    cr_assert_eq(call(&p, p.config, to), TOOLS_SOUND);
    cr_expect_geq(clock_mono_ms() - begun_ms, 700, "a second but for a burst");
    cr_expect_eq(figure(&p, "copied"), 2);
    scene_end(&p);
}

Test(sync_verb, takes_some_snapshots_of_one_volume_when_told)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct scene p;
    char to[300];
    scene_begin(&p, dir);
    IGNORE(!str_format(to, sizeof to, "sync %s/far s%llu --volume landing", dir,
                       (unsigned long long)p.w->snapshots[1].sequence));
    cr_assert_eq(call(&p, p.config, to), TOOLS_SOUND);
    cr_expect_eq(figure(&p, "copied"), 1);
    IGNORE(!str_format(to, sizeof to, "sync %s/far --volume another", dir));
    cr_expect_eq(call(&p, p.config, to), TOOLS_FAILED);
    cr_expect(strstr(p.said, "no volume 'another'"), "%s", p.said);
    scene_end(&p);
}

Test(sync_verb, refuses_what_names_no_second_store)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct scene p;
    char to[300];
    scene_begin(&p, dir);
    cr_expect_eq(call(&p, p.config, "sync"), TOOLS_USAGE);
    IGNORE(!str_format(to, sizeof to, "sync --to-config %s/none", dir));
    cr_expect_eq(call(&p, p.config, to), TOOLS_FAILED);
    IGNORE(!str_format(to, sizeof to, "sync --to-config %s", p.config));
    cr_expect_eq(call(&p, p.config, to), TOOLS_FAILED, "itself");
    IGNORE(!str_format(to, sizeof to, "sync %s/far --rate fast", dir));
    cr_expect_eq(call(&p, p.config, to), TOOLS_USAGE);
    scene_end(&p);
}
