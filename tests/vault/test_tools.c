/* The tools as an admin calls them: words, lines, exit codes. */
#include "agent/base/json.h"
#include "agent/base/sys.h"
#include "drivers/vault/tools.h"
#include "drivers/vault/volume/vault.h"
#include "tests/vault/tools_world.h"
#include <fcntl.h>
#include <unistd.h>

struct scene {
    char folder[64], config[100], store[100], box[100];
    struct vw *w;
};

static struct io *open_store(const struct config_vault *config, struct err *err)
{
    return io_open(config->store, NULL, 0, err);
}

static void scene_begin(struct scene *p)
{
    struct err err = {0};
    AUTO(str) struct str text = {0};
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    *p = (struct scene){.folder = "/tmp/evercopy-tools-XXXXXX"};
    cr_assert(mkdtemp(p->folder));
    IGNORE(str_format(p->config, sizeof p->config, "%s/vault.conf", p->folder));
    IGNORE(str_format(p->store, sizeof p->store, "%s/store", p->folder));
    IGNORE(str_format(p->box, sizeof p->box, "%s/box", p->folder));
    str_printf(&text, "[vault]\nbox=%s\n[store]\nurl=%s\n", p->box, p->store);
    VW_OK(str_ok(&text, &err) && sys_write_file(p->config, text.text, text.len, 0600, &err) &&
          sys_mkdir(p->box, 0700, &err));
    p->w = own_alloc(sizeof *p->w, &err);
    *p->w = (struct vw){.seed = 4, .sequence = 10};
    p->w->io = io_open(p->store, NULL, 0, &err);
    VW_OK(p->w->io);
    VW_OK(vw_try_open(p->w, true, &err));
    VW_OK(vw_add_landing(p->w, &err));
    next->sizes[0] = 300;
    for (uint32_t r = 0; r < 300; r++)
        next->records[0][r] = r + 1;
    VW_OK(vw_seal(p->w, &p->w->volumes[0], next, true, &err));
    next->records[0][7] = 1000;
    VW_OK(vw_seal(p->w, &p->w->volumes[0], next, true, &err));
    vw_close(p->w);
}

static void scene_end(struct scene *p)
{
    struct err err = {0};
    io_close(p->w->io);
    own_free(p->w);
    VW_OK(sys_remove_tree(p->folder, &err));
}

/* Exit code; what was said is kept in `said`, to be freed. */
static int call(struct scene *p, struct tools_options o, const char *line, char **said)
{
    struct err err = {0};
    struct args args = {0};
    AUTO(mem) char *words = own_strdup(line, &err);
    char *cursor = words;
    size_t len = 0;
    while (cursor && args.word_count < ARGS_WORDS_MAX)
        args.words[args.word_count++] = str_field(&cursor, ' ');
    FILE *out = open_memstream(said, &len);
    o.config = p->config;
    int code = tools_main(&o, &args, open_store, out, out);
    fclose(out);
    printf("%s\n%s", line, *said);
    fflush(stdout);
    return code;
}

static void expect(struct scene *p, struct tools_options o, const char *line, int code,
                   const char *wanted)
{
    char *said = NULL;
    cr_assert_eq(call(p, o, line, &said), code, "%s: %s", line, said);
    cr_assert(strstr(said, wanted), "%s: %s", line, said);
    free(said);
}

Test(tools, say_what_they_found_in_lines_and_exit_codes)
{
    struct err err = {0};
    struct scene p;
    struct tools_options none = {0};
    char line[300];
    scene_begin(&p);
    expect(&p, none, "scrub", TOOLS_SOUND, "damages=0");
    expect(&p, none, "fsck", TOOLS_SOUND, "snapshots=2");
    expect(&p, none, "stat", TOOLS_SOUND, "head_bytes=2457600");
    expect(&p, none, "stat", TOOLS_SOUND, "store reserve_bytes=0\n");
    VW_OK(io_put(p.w->io, "reserve/00", "noise", 5, IO_NEW, &err));
    expect(&p, none, "stat", TOOLS_SOUND, "store reserve_bytes=5\n");
    expect(&p, none, "fsck", TOOLS_SOUND, "done=1");
    expect(&p, none, "scrub", TOOLS_SOUND, "done=1");
    IGNORE(str_format(line, sizeof line, "stat landing s%llu",
                      (unsigned long long)p.w->snapshots[0].sequence));
    expect(&p, none, line, TOOLS_SOUND, "reclaimable volume='landing' now_bytes=");
    expect(&p, none, "stat nothing", TOOLS_FAILED, "no volume 'nothing'");
    IGNORE(str_format(line, sizeof line, "export landing s%llu %s/out",
                      (unsigned long long)p.w->snapshots[0].sequence, p.folder));
    expect(&p, none, line, TOOLS_SOUND, "files=1");
    IGNORE(str_format(line, sizeof line, "sync %s/far", p.folder));
    expect(&p, none, line, TOOLS_SOUND, "copied=2");
    IGNORE(str_format(line, sizeof line, "%s/far/reserve", p.folder));
    cr_assert_not(sys_stat(line, &(struct stat){0}, &err), "the reserve was copied");
    err_clear(&err);
    expect(&p, none, "stat", TOOLS_SOUND, "copied=1");
    expect(&p, none, "sync", TOOLS_USAGE, "other words");
    expect(&p, none, "export landing", TOOLS_USAGE, "other words");
    expect(&p, (struct tools_options){.rate = "fast"}, "scrub", TOOLS_USAGE, "--rate");
    VW_OK(sys_stat(p.folder, &(struct stat){0}, &err));
    scene_end(&p);
}

static bool refuses(void *arg, const char *path, uint64_t size, const uint8_t *first,
                    uint64_t record, const uint8_t *bytes, struct err *why)
{
    (void)arg, (void)path, (void)size, (void)first, (void)bytes;
    return record < 2 || err_set(why, ERR_CORRUPT, "no");
}

/* A volume of which a snapshot's seal refused all but two records of a file, and of many. */
static void seal_refused(struct scene *p, unsigned records)
{
    struct err err = {0};
    struct vault_options options = {.seal_by_hand = true, .check = refuses, .reserve_bytes = 4096};
    const char *volume = "orcl";
    struct view_file file;
    AUTO(io) struct io *io = io_open(p->store, NULL, 0, &err);
    AUTO(vault) struct vault *vault = io ? vault_open(p->box, io, &options, &err) : NULL;
    AUTO(mem) char *bytes = own_alloc((size_t)records << 13, &err);
    VW_OK(vault && bytes && vault_volume_create(vault, volume, &err));
    AUTO(view) struct view *view = view_open(vault, volume, NULL, NULL, &err);
    memset(bytes, 'x', (size_t)records << 13);
    VW_OK(view &&
          view_create(view, NULL, VIEW_ROOT, "a.dbf", INODE_FILE, NULL, NULL, &file, NULL, &err) &&
          view_write(view, file.file, bytes, (size_t)records << 13, 0, true, NULL, &err) &&
          vault_snapshot_create(vault, &volume, 1, "monday", &err) &&
          vault_seal(vault, volume, &err));
    view_close(TAKE(view));
    vault_close(TAKE(vault));
    io_close(TAKE(io));
}

Test(tools, stat_lists_what_the_block_check_refused)
{
    struct scene p;
    scene_begin(&p);
    seal_refused(&p, 4002);
    expect(&p, (struct tools_options){0}, "stat orcl", TOOLS_DAMAGE, " refused=4000");
    expect(&p, (struct tools_options){0}, "stat orcl monday", TOOLS_DAMAGE,
           "refused volume='orcl' snapshot='monday' path='a.dbf' offset=16384 bytes=8192: ");
    expect(&p, (struct tools_options){0}, "stat orcl monday", TOOLS_DAMAGE,
           "path='a.dbf': 928 more are not named");
    expect(&p, (struct tools_options){.json = true}, "stat orcl monday", TOOLS_DAMAGE,
           "\"finding\":\"refused\"");
    expect(&p, (struct tools_options){0}, "stat landing", TOOLS_SOUND, "refused=0");
    scene_end(&p);
}

Test(tools, name_damage_as_json_and_end_with_one)
{
    struct err err = {0};
    struct scene p;
    char *said = NULL, path[300], *cursor;
    bool named = false;
    scene_begin(&p);
    IGNORE(str_format(path, sizeof path, "%s/f/0000000000000005/pack/00000001-0000", p.store));
    IGNORE(sys_chmod(path, 0600, &err)); /* it may be read only */
    AUTO(fd) int fd = sys_open(path, O_RDWR | O_CLOEXEC, 0, &err);
    uint8_t byte = 0;
    VW_OK(fd >= 0 && sys_pread(fd, &byte, 1, 3000, path, &err) == 1);
    byte ^= 16;
    VW_OK(sys_pwrite(fd, &byte, 1, 3000, path, &err));
    cr_assert_eq(call(&p, (struct tools_options){.json = true}, "scrub", &said), TOOLS_DAMAGE);
    for (cursor = said; cursor && *cursor;) {
        const char *text = str_field(&cursor, '\n');
        AUTO(json) json_t *object = json_parse(text, strlen(text), &err);
        VW_OK(object);
        named |= str_equal(json_text(object, "finding"), "damage") &&
                 str_equal(json_text(object, "path"), "a") &&
                 str_equal(json_text(object, "volume"), "landing") && json_u64(object, "bytes") > 0;
    }
    cr_assert(named);
    free(said);
    expect(&p, (struct tools_options){0}, "fsck --", TOOLS_USAGE, "other words");
    scene_end(&p);
}

Test(tools, repair_only_when_nobody_serves_the_box)
{
    struct err err = {0};
    struct scene p;
    char path[200];
    bool locked = false;
    struct tools_options repair = {.repair = true, .rebuild = true};
    scene_begin(&p);
    IGNORE(str_format(path, sizeof path, "%s/lock", p.box));
    int fd = sys_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &err);
    VW_OK(fd >= 0 && sys_try_lock(fd, &locked, path, &err) && locked);
    expect(&p, repair, "fsck", TOOLS_FAILED, "stop it");
    sys_unlock(fd);
    close(fd);
    expect(&p, repair, "fsck", TOOLS_SOUND, "repaired=1");
    expect(&p, (struct tools_options){0}, "scrub", TOOLS_SOUND, "damages=0");
    scene_end(&p);
}
