/* The NFS server to be measured, in a process of its own; it does what its stdin says until that
 * ends, and answers each line with one.
 *   bench_nfsd plain FOLDER      exports the folder as /plain
 *   bench_nfsd vault DIR         exports volume "db" of the vault in DIR/box and DIR/store as /db,
 *                                its clones as /db/NAME
 * Lines: "fill FILE MIB", "snapshot NAME" (until it is sealed), "clone NAME SNAPSHOT", "rss", "cpu"
 * (us so far).
 */
#include "tests/bench/plain_tree.h"
#include "tests/bench/vault_bench.h"

#include "agent/base/sys.h"
#include "drivers/vault/nfs/mount.h"
#include "drivers/vault/nfs/nfs3.h"
#include <fcntl.h>

enum { SEAL_WAIT_MS = 120000, LINE = 256 };

struct served {
    struct vault *vault; /* NULL: plain */
    const char *folder;
    struct export_rule rule;
};

static bool find_volume(struct served *s, uint64_t id, const char *name, char *ret, size_t size,
                        uint64_t *ret_id, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *below = NULL;
    struct vault_volume_info live;
    if (!vault_volume_info(s->vault, "db", &live, err))
        return false;
    str_format(ret, size, "db");
    *ret_id = live.id;
    if (name ? strcmp(name, ret) == 0 : id == live.id)
        return true;
    below = vault_clone_list(s->vault, "db", &count, err);
    for (size_t i = 0; below && i < count; i++) {
        str_format(ret, size, "db/%s", below[i].name);
        *ret_id = below[i].id;
        if (name ? strcmp(name, ret) == 0 : id == below[i].id)
            return true;
    }
    return below && err_set(err, ERR_NOT_FOUND, "no such export");
}

static bool find(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err)
{
    struct served *s = arg;
    char full[300] = "plain";
    *ret = (struct export){.id = 1, .rule = s->rule};
    if (s->vault ? !find_volume(s, id, name, full, sizeof full, &ret->id, err)
                 : name && strcmp(name, full) != 0)
        return s->vault ? false : err_set(err, ERR_NOT_FOUND, "no such export");
    str_format(ret->path, sizeof ret->path, "/%s", full);
    return true;
}

static bool open_tree(void *arg, struct export *export, struct err *err)
{
    struct served *s = arg;
    uint64_t id;
    export->ops = s->vault ? &nfsd_vault_tree : &plain_tree;
    export->tree = s->vault ? nfsd_vault_tree_open(s->vault, export->path + 1, &id, err)
                            : plain_tree_open(s->folder, err);
    return export->tree != NULL;
}

static bool each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err)
{
    (void)arg, (void)fn, (void)to, (void)err;
    return true;
}

static bool snapshot(struct served *s, const char *name, struct err *err)
{
    bool is = false;
    return vault_snapshot_create(s->vault, (const char *[]){"db"}, 1, name, err) &&
           vault_snapshot_wait(s->vault, "db", name, SEAL_WAIT_MS, &is, err) &&
           (is || err_set(err, ERR_TIMEOUT, "'%s' was not sealed", name));
}

/* Blocks that compress to about a half. */
static bool fill(struct served *s, const char *name, uint64_t mib, struct err *err)
{
    static uint8_t piece[PIECE];
    uint64_t random = 88172645463325252ULL;
    struct view_file file;
    const struct view_attributes attributes = {.unchecked = true, .set_mode = true, .mode = 0666};
    AUTO(view) struct view *view = view_open(s->vault, "db", NULL, NULL, err);
    bool ok = view && view_create(view, NULL, VIEW_ROOT, name, INODE_FILE, NULL, &attributes, &file,
                                  NULL, err);
    for (uint64_t i = 0; ok && i < mib; i++) {
        for (size_t at = 0; at < PIECE; at += 8192) {
            fill_random(piece + at, 4096, &random);
            memset(piece + at + 4096, (int)i, 4096);
        }
        ok = view_write(view, file.file, piece, PIECE, i * PIECE, false, NULL, err);
    }
    return ok && view_commit(view, file.file, NULL, err);
}

static bool obey(struct served *s, char *line, struct err *err)
{
    char none[1] = "";
    char *words[3] = {none, none, none};
    for (size_t i = 0; i < 3 && line; i++)
        words[i] = str_field(&line, ' ');
    double begin = now_ms();
    uint64_t mib = 0;
    bool ok = true;
    if (strcmp(words[0], "rss") == 0) {
        printf("%ld\n", memory_kib("VmRSS"));
        return true;
    }
    if (strcmp(words[0], "cpu") == 0) {
        printf("%.0f\n", cpu_s() * 1e6);
        return true;
    }
    if (strcmp(words[0], "snapshot") == 0)
        ok = snapshot(s, words[1], err);
    else if (strcmp(words[0], "clone") == 0)
        ok = vault_clone_create(s->vault, "db", words[1], words[2], NULL, 0, err);
    else if (strcmp(words[0], "fill") == 0)
        ok = str_to_u64(words[2], 4096, &mib) && fill(s, words[1], mib, err);
    if (ok)
        printf("%.3f\n", now_ms() - begin);
    return ok;
}

static bool serve(struct served *s, struct err *err)
{
    static const char *const listen[] = {"127.0.0.1"};
    char line[LINE];
    struct exports_options finding = {.find = find, .open = open_tree, .each = each, .arg = s};
    AUTO(exports) struct exports *exports = exports_new(&finding, err);
    AUTO(nfs3) struct nfs3 *nfs3 = NULL;
    if (exports)
        nfs3 = nfs3_new(&(struct nfs3_options){exports, 1}, err);
    if (!nfs3 || !export_nets_parse("127.0.0.0/8", &s->rule, err))
        return false;
    const struct nfsd_program programs[] = {nfs3_program(nfs3), mount3_program(exports)};
    AUTO(nfsd)
    struct nfsd *nfsd = nfsd_start(&(struct nfsd_options){.listen = listen,
                                                          .listen_count = 1,
                                                          .programs = programs,
                                                          .program_count = 2,
                                                          .connections_max = 2000,
                                                          .client_connections_max = 2000},
                                   err);
    if (!nfsd)
        return false;
    printf("%u\n", nfsd_port(nfsd));
    fflush(stdout);
    bool ok = true;
    while (ok && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        ok = obey(s, line, err);
        fflush(stdout);
    }
    nfsd_stop(TAKE(nfsd)); /* before what it calls goes */
    return ok;
}

static bool serve_vault(struct served *s, const char *dir, struct err *err)
{
    char box[300];
    char url[300];
    str_format(box, sizeof box, "%s/box", dir);
    str_format(url, sizeof url, "%s/store", dir);
    AUTO(io) struct io *io = io_open(url, NULL, 0, err);
    struct vault_options options = {0};
    AUTO(vault) struct vault *vault = io ? vault_open(box, io, &options, err) : NULL;
    if (!vault)
        return false;
    struct vault_volume_info live;
    struct err none = {0};
    s->vault = vault;
    return (vault_volume_info(vault, "db", &live, &none) ||
            vault_volume_create(vault, "db", err)) &&
           serve(s, err);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct served s = {.rule = {.squash = EXPORT_SQUASH_NONE}};
    bool ok = argc == 3 || err_set(&err, ERR_INVALID, "bench_nfsd plain FOLDER | vault DIR");
    if (ok && strcmp(argv[1], "plain") == 0) {
        s.folder = argv[2];
        ok = serve(&s, &err);
    } else if (ok) {
        ok = serve_vault(&s, argv[2], &err);
    }
    if (!ok)
        fprintf(stderr, "bench_nfsd: %s\n", err.text);
    return ok ? 0 : 1;
}
