/* A store on each backend, made, aged, crashed, read back and scrubbed: the same story must end in
 * the same bytes and the same identities, wherever the packs lie. */
#include "drivers/vault/store/scrub.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/nfs_server.h"
#include "tests/lib/object_store.h"
#include "tests/lib/random.h"
#include "tests/vault/volume_world.h"

enum { DAYS = 6, FILES = 3, FILE_RECORDS = 40, FILE_BYTES = FILE_RECORDS * RECORD_BYTES };

struct day { /* what the files were when its snapshot was taken */
    bool there;
    char name[8];
    uint8_t files[FILES][FILE_BYTES];
};

/* s3rver shows no folder that holds folders alone: an object beside them makes it. */
static bool show_folders;
static struct day days[DAYS];
static uint8_t live[FILES][FILE_BYTES], cloned[FILES][FILE_BYTES];

static void file_name(size_t i, char ret[16]) { str_format(ret, 16, "f%zu.dbf", i); }

/* Some records of some files change, as a merge would: half random, so that they compress a little.
 */
static void change(struct world *w, struct rnd *rnd, const char *clone,
                   uint8_t files[FILES][FILE_BYTES])
{
    AUTO(view) struct view *view = world_view(w, "orcl", NULL, clone);
    for (size_t i = 0; i < FILES; i++) {
        char name[16];
        file_name(i, name);
        uint64_t file = world_file(w, view, name);
        for (size_t k = 0; k < 6; k++) {
            size_t at = rnd_below(rnd, FILE_RECORDS) * RECORD_BYTES;
            size_t len = k == 0 ? 700 : RECORD_BYTES;
            for (size_t b = 0; b < len; b += 2)
                files[i][at + b] = (uint8_t)rnd_below(rnd, 256);
            world_ok(w, view_write(view, file, files[i] + at, len, at, false, NULL, &w->err));
        }
        world_ok(w, view_commit(view, file, NULL, &w->err));
    }
}

static void expect(struct world *w, const char *snapshot, const char *clone,
                   uint8_t files[FILES][FILE_BYTES])
{
    static uint8_t bytes[FILE_BYTES];
    AUTO(view) struct view *view = world_view(w, "orcl", snapshot, clone);
    for (size_t i = 0; i < FILES; i++) {
        char name[16];
        struct view_file file;
        file_name(i, name);
        world_ok(w, view_find(view, name, &file, &w->err));
        cr_assert_leq(file.size, FILE_BYTES);
        ssize_t n = view_read(view, file.file, bytes, sizeof bytes, 0, &w->err);
        world_ok(w, n >= 0);
        memset(bytes + n, 0, sizeof bytes - (size_t)n);
        cr_assert(memcmp(bytes, files[i], sizeof bytes) == 0, "%s of %s", name,
                  snapshot ? snapshot
                  : clone  ? clone
                           : "the live area");
    }
}

static void expect_all(struct world *w)
{
    for (size_t d = 0; d < DAYS; d++)
        if (days[d].there)
            expect(w, days[d].name, NULL, days[d].files);
    expect(w, NULL, NULL, live);
    expect(w, NULL, "c", cloned);
}

static void crash(struct world *w)
{
    vault_abandon(w->vault);
    world_open(w);
}

static void take_day(struct world *w, struct rnd *rnd, size_t d)
{
    change(w, rnd, NULL, live);
    str_format(days[d].name, sizeof days[d].name, "d%zu", d);
    world_snapshot(w, "orcl", days[d].name);
    memcpy(days[d].files, live, sizeof live);
    days[d].there = true;
    if (d == 1) {
        world_ok(w, vault_clone_create(w->vault, "orcl", "c", "d1", NULL, 0, &w->err));
        memcpy(cloned, live, sizeof live);
    }
    if (d % 2)
        world_ok(w, vault_seal(w->vault, "orcl", &w->err));
}

static void drop_day(struct world *w, size_t d)
{
    world_ok(w, vault_snapshot_drop(w->vault, "orcl", days[d].name, &w->err));
    days[d].there = false;
}

static void age(struct world *w, struct rnd *rnd)
{
    world_ok(w, vault_volume_create(w->vault, "orcl", &w->err));
    if (show_folders) {
        struct vault_volume_info info;
        char name[IO_NAME_MAX];
        world_ok(w, vault_volume_info(w->vault, "orcl", &info, &w->err));
        str_format(name, sizeof name, "f/%016llx/shown", (unsigned long long)info.id);
        world_ok(w, io_put(w->io, name, "", 0, IO_NEW, &w->err));
    }
    for (size_t d = 0; d < DAYS; d++) {
        take_day(w, rnd, d);
        if (d >= 1)
            change(w, rnd, "c", cloned);
        if (d % 2)
            crash(w);
    }
    drop_day(w, 0);
    drop_day(w, 3);
    expect_all(w);
    crash(w);
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
    world_ok(w, vault_swap(w->vault, "orcl", "c", &w->err));
    world_ok(w, vault_seal(w->vault, "orcl", &w->err));
    uint64_t freed = 0;
    world_ok(w, vault_thin(w->vault, "orcl", &freed, &w->err));
    expect_all(w);
}

struct said {
    char text[300];
};

static void told(void *arg, const struct finding *finding)
{
    struct said *said = arg;
    if (finding_is_damage(finding->kind))
        str_format(said->text, sizeof said->text, "%s: %s", finding->object, finding->text);
}

/* Returns the identity of the last day's snapshot. */
static struct hash tell(struct io *io, uint64_t seed)
{
    struct world w = {.io = io, .options = {.seal_by_hand = true, .reserve_bytes = 4096}};
    struct rnd rnd = {seed};
    struct said said = {{0}};
    memset(days, 0, sizeof days);
    memset(live, 0, sizeof live);
    str_format(w.box, sizeof w.box, "/dev/shm/evercopy-vault.XXXXXX");
    cr_assert(mkdtemp(w.box));
    world_open(&w);
    age(&w, &rnd);
    vault_close(w.vault);

    const struct scrub_options options = {.found = told, .arg = &said};
    struct scrub_result result;
    world_ok(&w, scrub_store(io, &options, &result, &w.err));
    cr_assert_eq(result.damages, 0, "%s", said.text);
    cr_assert(result.records > 0 && result.states > 0);

    world_open(&w);
    expect_all(&w);
    size_t count = 0;
    AUTO(mem)
    struct vault_snapshot_info *rows = vault_snapshot_list(w.vault, "orcl", &count, &w.err);
    world_ok(&w, rows != NULL);
    cr_assert_eq(count, DAYS - 2);
    struct hash identity = rows[count - 1].identity;
    cr_assert(rows[count - 1].sealed);
    vault_close(w.vault);
    world_ok(&w, sys_remove_tree(w.box, &w.err));
    return identity;
}

/* The same story on a directory, for comparison. */
static struct hash in_a_directory(uint64_t seed)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err err = {0};
    AUTO(io) struct io *io = io_open(dir, NULL, 0, &err);
    cr_assert(io, "%s", err.text);
    return tell(io, seed);
}

Test(backends, a_store_in_a_directory_ages_and_stays_whole)
{
    uint64_t seed = rnd_begin("backends").state;
    struct hash first = in_a_directory(seed), second = in_a_directory(seed);
    cr_assert(hash_equal(&first, &second), "identities are of content, not of places or times");
}

Test(backends, a_store_on_an_nfs_server_ages_and_stays_whole)
{
    AUTO(nfs_server) struct nfs_server server = {.script = {.to = -1, .from = -1}};
    struct err err = {0};
    char url[600];
    uint64_t seed = rnd_begin("backends").state;
    if (!nfs_server_begin(&server, 64, &err)) {
        printf("SKIPPED backends/a_store_on_an_nfs_server_ages_and_stays_whole: %s\n", err.text);
        cr_skip_test("%s", err.text);
    }
    str_format(url, sizeof url, "nfs://127.0.0.1%s/store?nfsport=20491&mountport=20492&contexts=2",
               server.dir);
    AUTO(io) struct io *io = io_open(url, NULL, 0, &err);
    cr_assert(io, "%s", err.text);
    struct hash there = tell(io, seed), here = in_a_directory(seed);
    cr_assert(hash_equal(&there, &here));
}

static void in_a_bucket(const char *const *flags)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    uint64_t seed = rnd_begin("backends").state;
    cr_assert(object_store_fake(&store, dir, flags, &err), "%s", err.text);
    AUTO(io) struct io *io = object_store_open(&store, "store", NULL, 0, &err);
    cr_assert(io, "%s", err.text);
    struct hash there = tell(io, seed), here = in_a_directory(seed);
    cr_assert(hash_equal(&there, &here));
}

Test(backends, a_store_in_a_bucket_ages_and_stays_whole)
{
    static const char *const flags[] = {"page=7", NULL};
    in_a_bucket(flags);
}

Test(backends, a_store_in_a_bucket_that_others_wrote_ages_and_stays_whole)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    uint64_t seed = rnd_begin("backends").state;
    if (!object_store_s3rver(&store, dir, &err)) {
        printf("SKIPPED backends/a_store_in_a_bucket_that_others_wrote_ages_and_stays_whole: %s\n",
               err.text);
        cr_skip_test("%s", err.text);
    }
    AUTO(io) struct io *io = object_store_open(&store, "store", NULL, 0, &err);
    cr_assert(io, "%s", err.text);
    show_folders = true;
    struct hash there = tell(io, seed);
    show_folders = false;
    struct hash here = in_a_directory(seed);
    cr_assert(hash_equal(&there, &here));
}

/* OpenStack Swift: it honours no If-None-Match on writing. */
Test(backends, a_store_in_a_store_of_many_machines_ages_and_stays_whole)
{
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    uint64_t seed = rnd_begin("backends").state;
    if (!getenv("EVERCOPY_LONG"))
        cr_skip_test("a long test: EVERCOPY_LONG");
    if (!object_store_swift(&store, dir, &err)) {
        printf("SKIPPED backends/a_store_in_a_store_of_many_machines_ages_and_stays_whole: %s\n",
               err.text);
        cr_skip_test("%s", err.text);
    }
    AUTO(io) struct io *io = object_store_open(&store, "store", NULL, 0, &err);
    cr_assert(io, "%s", err.text);
    struct hash there = tell(io, seed), here = in_a_directory(seed);
    cr_assert(hash_equal(&there, &here));
}
