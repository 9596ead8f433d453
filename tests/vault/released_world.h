/* A vault with one of everything on it, and all that can be seen of it as sorted lines: for stores
 * that were kept from released versions. */
#pragma once
#include "agent/base/exec.h"
#include "drivers/vault/ingest/ingest.h"
#include "drivers/vault/store/sync.h"
#include "tests/vault/volume_world.h"
#include <fcntl.h>
#include <sys/stat.h>

/* ---- what is seen ---- */

struct seen {
    struct world *w;
    char **lines;
    size_t count, capacity;
};

static inline void seen_done(struct seen *s)
{
    for (size_t i = 0; i < s->count; i++)
        own_free(s->lines[i]);
    own_free(s->lines);
}
OWN_DEFINE_INPLACE(seen, struct seen, seen_done);

static inline void seen_add(struct seen *s, char *line)
{
    world_ok(s->w, line && own_grow((void **)&s->lines, &s->capacity, s->count, sizeof s->lines[0],
                                    &s->w->err));
    s->lines[s->count++] = line;
}

struct seen_at {
    struct seen *seen;
    struct view *view;
    const char *what; /* volume and snapshot */
    char path[600];
};

static inline void seen_content(const struct seen_at *at, const struct view_file *file,
                                char ret[2 * HASH_BYTES + 1])
{
    struct world *w = at->seen->w;
    struct hash hash;
    AUTO(mem) char *bytes = own_alloc(file->size + 4200, &w->err);
    world_ok(w, bytes != NULL);
    ssize_t n = 0;
    if (file->kind == INODE_FILE)
        n = view_read(at->view, file->file, bytes, file->size + 1, 0, &w->err);
    else if (file->kind == INODE_SYMLINK) {
        world_ok(w, view_readlink(at->view, file->file, bytes, 4200, &w->err));
        n = (ssize_t)strlen(bytes);
    }
    world_ok(w, n >= 0);
    hash_bytes(bytes, (size_t)n, &hash);
    str_hex(hash.bytes, sizeof hash.bytes, ret);
}

static inline bool seen_file(void *arg, uint64_t cookie, const char *name,
                             const struct view_file *f)
{
    const struct seen_at *at = arg;
    struct world *w = at->seen->w;
    struct seen_at below = *at;
    char hash[2 * HASH_BYTES + 1];
    bool end = false;
    (void)cookie;
    IGNORE(str_format(below.path, sizeof below.path, "%s/%s", at->path, name));
    seen_content(at, f, hash);
    seen_add(at->seen,
             own_printf(&w->err,
                        "file %s %s kind=%u file=%llu.%u mode=%o owner=%u.%u links=%u "
                        "size=%llu mtime=%llu ctime=%llu sha256=%s",
                        at->what, below.path, f->kind, (unsigned long long)f->file, f->generation,
                        f->mode, f->uid, f->gid, f->links, (unsigned long long)f->size,
                        (unsigned long long)f->mtime_us, (unsigned long long)f->ctime_us, hash));
    if (f->kind == INODE_DIRECTORY)
        world_ok(w, view_list(at->view, f->file, 0, seen_file, &below, &end, &w->err) && end);
    return true;
}

static inline void seen_note(struct seen *s, const char *volume, const char *snapshot,
                             const char *clone)
{
    struct err none = {0};
    AUTO(mem) char *text = vault_note_get(s->w->vault, volume, snapshot, clone, &none);
    cr_assert(text || none.code == ERR_NOT_FOUND, "%s", none.text);
    if (text)
        seen_add(s, own_printf(&s->w->err, "note %s@%s/%s %s", volume, snapshot ? snapshot : "",
                               clone ? clone : "", text));
}

/* A volume's live area (snapshot NULL) or a snapshot. */
static inline void seen_files(struct seen *s, const char *volume, const char *snapshot)
{
    bool end = false;
    char what[300];
    AUTO(view) struct view *view = world_view(s->w, volume, snapshot, NULL);
    IGNORE(str_format(what, sizeof what, "%s@%s", volume, snapshot ? snapshot : ""));
    struct seen_at at = {.seen = s, .view = view, .what = what};
    world_ok(s->w, view_list(view, VIEW_ROOT, 0, seen_file, &at, &end, &s->w->err) && end);
}

static inline void seen_snapshots(struct seen *s, const char *volume, bool sealed_only)
{
    struct world *w = s->w;
    size_t count = 0;
    AUTO(mem)
    struct vault_snapshot_info *rows = vault_snapshot_list(w->vault, volume, &count, &w->err);
    world_ok(w, rows != NULL);
    for (size_t i = 0; i < count; i++) {
        const struct vault_snapshot_info *row = &rows[i];
        char identity[2 * HASH_BYTES + 1] = "none";
        if (row->sealed)
            str_hex(row->identity.bytes, sizeof row->identity.bytes, identity);
        if (sealed_only && !row->sealed)
            continue;
        seen_add(s,
                 own_printf(&w->err,
                            "snapshot %s@%s id=%016llx sequence=%llu created=%llu locked=%d "
                            "identity=%s",
                            volume, row->name, (unsigned long long)row->id,
                            (unsigned long long)row->sequence, (unsigned long long)row->created_us,
                            row->locked_until_boot_ms > 0, identity));
        seen_files(s, volume, row->name);
        seen_note(s, volume, row->name, NULL);
    }
}

static inline int seen_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void seen_sort(struct seen *s)
{
    qsort(s->lines, s->count, sizeof s->lines[0], seen_order);
}

/* Everything; sealed_only: of landing volumes, the snapshots that the store has. */
static inline struct seen seen_all(struct world *w, bool sealed_only)
{
    struct seen s = {.w = w};
    size_t count = 0, clones = 0;
    AUTO(mem) struct vault_volume_info *volumes = vault_volume_list(w->vault, &count, &w->err);
    world_ok(w, volumes != NULL);
    for (size_t i = 0; i < count; i++) {
        const char *name = volumes[i].name;
        seen_snapshots(&s, name, sealed_only);
        if (sealed_only)
            continue;
        seen_add(&s, own_printf(&w->err, "volume %s id=%016llx", name,
                                (unsigned long long)volumes[i].id));
        seen_files(&s, name, NULL);
        AUTO(mem)
        struct vault_volume_info *rows = vault_clone_list(w->vault, name, &clones, &w->err);
        world_ok(w, rows != NULL);
        for (size_t k = 0; k < clones; k++) {
            char path[300];
            IGNORE(str_format(path, sizeof path, "%s/%s", name, rows[k].name));
            seen_add(&s, own_printf(&w->err, "clone %s id=%016llx origin=%s of %llu", path,
                                    (unsigned long long)rows[k].id, rows[k].origin,
                                    (unsigned long long)rows[k].origin_count));
            seen_files(&s, path, NULL);
            seen_snapshots(&s, path, false);
            seen_note(&s, name, NULL, rows[k].name);
        }
    }
    seen_sort(&s);
    return s;
}

/* ---- one of everything ---- */

/* Well compressed, so that the kept store is small; no two of them are the same. */
static inline void released_record(uint32_t n, uint8_t ret[RECORD_BYTES])
{
    memset(ret, (int)(n * 7 % 251), RECORD_BYTES);
    for (size_t i = 0; i < 24; i++)
        ret[i * 331] = (uint8_t)(n * 2654435761u >> i % 24);
}

struct released_at {
    const char *volume, *clone, *path;
};

/* The file's number; folders and the file are made. */
static inline uint64_t released_file(struct world *w, struct view *view, const char *path)
{
    struct view_file file = {.file = VIEW_ROOT};
    char name[300];
    for (const char *part = path; *part;) {
        size_t len = strcspn(part, "/");
        uint64_t folder = file.file;
        struct err missing = {0};
        IGNORE(str_format(name, sizeof name, "%.*s", (int)len, part));
        part += len + (part[len] == '/');
        if (!view_lookup(view, folder, name, &file, &missing))
            world_ok(w, view_create(view, NULL, folder, name, *part ? INODE_DIRECTORY : INODE_FILE,
                                    NULL, NULL, &file, NULL, &w->err));
    }
    return file.file;
}

static inline void released_write(struct world *w, struct released_at at, uint32_t content,
                                  uint64_t first, uint64_t count, bool stable)
{
    uint8_t bytes[RECORD_BYTES];
    AUTO(view) struct view *view = world_view(w, at.volume, NULL, at.clone);
    uint64_t file = released_file(w, view, at.path);
    for (uint64_t r = 0; r < count; r++) {
        released_record(content + (uint32_t)r, bytes);
        world_ok(w, view_write(view, file, bytes, sizeof bytes, (first + r) * RECORD_BYTES, false,
                               NULL, &w->err));
    }
    if (stable)
        world_ok(w, view_commit(view, UINT64_MAX, NULL, &w->err));
}

static inline void released_resize(struct world *w, struct released_at at, uint64_t size)
{
    struct view_file file;
    struct view_attributes set = {.set_size = true, .size = size};
    AUTO(view) struct view *view = world_view(w, at.volume, NULL, at.clone);
    uint64_t number = released_file(w, view, at.path);
    world_ok(w, view_set(view, NULL, number, &set, &file, NULL, &w->err));
}

static inline void released_snapshot(struct world *w, const char *volume, const char *name,
                                     bool sealed)
{
    world_snapshot(w, volume, name);
    if (sealed)
        world_ok(w, vault_seal(w->vault, volume, &w->err));
}

static inline void released_drop(struct world *w, const char *volume, const char *name)
{
    world_ok(w, vault_snapshot_drop(w->vault, volume, name, &w->err));
}

/* Names, kinds, owners, sizes of all sorts. */
static inline void released_names(struct world *w)
{
    struct view_file file;
    char longest[256];
    struct view_attributes owned = {.set_mode = true,
                                    .set_uid = true,
                                    .set_gid = true,
                                    .mode = 0640,
                                    .uid = 54321,
                                    .gid = 54322};
    memset(longest, 'n', 255);
    longest[255] = '\0';
    released_write(w, (struct released_at){"A", NULL, "data/system.dbf"}, 100, 0, 40, true);
    released_write(w, (struct released_at){"A", NULL, "data/holes"}, 200, 3, 2, true);
    released_write(w, (struct released_at){"A", NULL, "data/holes"}, 210, 600, 1, true);
    released_resize(w, (struct released_at){"A", NULL, "data/holes"}, 5 << 20);
    released_write(w, (struct released_at){"A", NULL, "data/deep/er/odd"}, 300, 0, 3, true);
    released_resize(w, (struct released_at){"A", NULL, "data/deep/er/odd"}, 12345);
    released_resize(w, (struct released_at){"A", NULL, "data/empty"}, 0);
    released_write(w, (struct released_at){"A", NULL, longest}, 400, 0, 1, true);
    released_write(w, (struct released_at){"A", NULL, "sp\xc3\xa4\xc3\x9f blank"}, 410, 0, 1, true);
    AUTO(view) struct view *view = world_view(w, "A", NULL, NULL);
    world_ok(w, view_create(view, NULL, VIEW_ROOT, "link", INODE_SYMLINK, "data/system.dbf", NULL,
                            &file, NULL, &w->err));
    world_ok(w, view_set(view, NULL, released_file(w, view, "data/system.dbf"), &owned, &file, NULL,
                         &w->err));
}

/* Names that go elsewhere, files that go, sizes that shrink and grow. */
static inline void released_changes(struct world *w)
{
    struct view_file data, deep;
    released_write(w, (struct released_at){"A", NULL, "data/system.dbf"}, 500, 5, 12, true);
    released_resize(w, (struct released_at){"A", NULL, "data/deep/er/odd"}, 9000);
    released_resize(w, (struct released_at){"A", NULL, "data/deep/er/odd"}, 30000);
    AUTO(view) struct view *view = world_view(w, "A", NULL, NULL);
    world_ok(w, view_find(view, "data", &data, &w->err));
    world_ok(w, view_find(view, "data/deep", &deep, &w->err));
    world_ok(w,
             view_rename(view, NULL, data.file, "holes", deep.file, "moved", NULL, NULL, &w->err));
    world_ok(w, view_remove(view, NULL, data.file, "empty", false, NULL, &w->err));
}

static inline void released_clones(struct world *w)
{
    struct vault_part parts[] = {{"s3", "data/system.dbf", "mixed/system.dbf"},
                                 {"s2", "data/deep/moved", NULL},
                                 {NULL, "link", NULL}};
    world_ok(w, vault_clone_create(w->vault, "A", "c1", "s1", NULL, 0, &w->err));
    released_write(w, (struct released_at){"A", "c1", "data/system.dbf"}, 600, 0, 9, true);
    released_snapshot(w, "A/c1", "inner", true);
    world_ok(w, vault_clone_create(w->vault, "A/c1", "c1c", "inner", NULL, 0, &w->err));
    released_write(w, (struct released_at){"A", "c1c", "data/system.dbf"}, 700, 4, 9, true);
    world_ok(w, vault_seal(w->vault, "A/c1c", &w->err));
    world_ok(w, vault_clone_create(w->vault, "A", "mix", NULL, parts, 3, &w->err));
    world_ok(w, vault_clone_create(w->vault, "A", "mixed", NULL, parts, 3, &w->err));
    world_ok(w, vault_seal(w->vault, "A", &w->err));
    released_write(w, (struct released_at){"A", "mixed", "mixed/system.dbf"}, 800, 2, 9, true);
    released_snapshot(w, "A/mixed", "both", true);
    released_drop(w, "A", "s1"); /* hidden: c1 stands on it */
    world_ok(w, vault_note_put(w->vault, "A", NULL, "c1", "a note of a clone", &w->err));
}

/* Commits beyond a table, packs that die, packs that are thinned. */
static inline void released_age(struct world *w)
{
    char name[2][20] = {"", ""};
    released_write(w, (struct released_at){"B", NULL, "f"}, 1000, 0, 48, true);
    released_snapshot(w, "B", "first", true);
    for (uint32_t i = 0; i < 36; i++) {
        IGNORE(str_format(name[i % 2], sizeof name[0], "r%u", i));
        released_write(w, (struct released_at){"B", NULL, "f"}, 2000 + i, i, 1, true);
        released_snapshot(w, "B", name[i % 2], true);
        if (i > 0)
            released_drop(w, "B", name[(i + 1) % 2]);
    }
    uint64_t freed = 0;
    released_drop(w, "B", "first");
    world_ok(w, vault_thin(w->vault, "B", &freed, &w->err));
    cr_assert_gt(freed, 0);
}

static inline void released_source(struct world *w, const char *folder)
{
    uint8_t bytes[RECORD_BYTES];
    char path[200];
    world_ok(w, sys_mkdirs(folder, 0700, &w->err));
    for (uint32_t i = 0; i < 3; i++) {
        IGNORE(str_format(path, sizeof path, "%s/taken%u", folder, i));
        AUTO(fd) int fd = sys_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600, &w->err);
        for (uint32_t r = 0; r < 6; r++) {
            released_record(3000 + 10 * i + r, bytes);
            world_ok(w, sys_pwrite(fd, bytes, sizeof bytes - i, (uint64_t)r * sizeof bytes, path,
                                   &w->err));
        }
    }
}

static inline void released_ingest(struct world *w, const char *name, struct ingest_report *report)
{
    char folder[100], source[100];
    IGNORE(str_format(source, sizeof source, "%s-source", w->box));
    IGNORE(str_format(folder, sizeof folder, "%s/ingest", w->box));
    released_source(w, source);
    AUTO(area) struct area *area = ingest_source(source, NULL, &w->err);
    world_ok(w, area != NULL);
    struct ingest_one one = {"I", area, report};
    world_ok(w, vault_ingest(w->vault, &one, 1, name, &(struct ingest_options){.folder = folder},
                             &w->err));
}

static inline void released_copy(struct world *w, const char *far, struct sync_result *result)
{
    AUTO(io) struct io *to = io_open(far, NULL, 0, &w->err);
    struct sync_options options = {.box_id = "far box"};
    world_ok(w, to && sync_store(w->io, to, &options, result, &w->err));
}

/* Layers that were not sealed: a snapshot, a clone of it, a swap, an active one. */
static inline void released_unsealed(struct world *w)
{
    released_write(w, (struct released_at){"A", NULL, "data/system.dbf"}, 4000, 30, 15, true);
    released_resize(w, (struct released_at){"A", NULL, "data/deep/moved"}, 3 << 20);
    released_snapshot(w, "A", "late", false);
    world_ok(w, vault_note_put(w->vault, "A", "late", NULL, "a note on the box", &w->err));
    world_ok(w, vault_clone_create(w->vault, "A", "c2", "late", NULL, 0, &w->err));
    released_write(w, (struct released_at){"A", "c2", "data/system.dbf"}, 4100, 38, 4, true);
    world_ok(w, vault_swap(w->vault, "A", NULL, &w->err));
    released_write(w, (struct released_at){"A", NULL, "data/new"}, 4200, 0, 5, true);
    released_write(w, (struct released_at){"A", NULL, "data/system.dbf"}, 4300, 1, 2, true);
}

static inline void released_story(struct world *w, const char *far)
{
    struct ingest_report report = {0};
    struct sync_result result = {0};
    const char *const both[] = {"A", "B"};
    for (size_t i = 0; i < 2; i++)
        world_ok(w, vault_volume_create(w->vault, both[i], &w->err));
    world_ok(w, vault_volume_create(w->vault, "I", &w->err));
    released_names(w);
    released_snapshot(w, "A", "s1", true);
    released_changes(w);
    released_snapshot(w, "A", "s2", true);
    released_write(w, (struct released_at){"A", NULL, "data/system.dbf"}, 550, 20, 9, true);
    released_snapshot(w, "A", "gone", true);
    released_write(w, (struct released_at){"A", NULL, "data/system.dbf"}, 570, 22, 5, true);
    released_snapshot(w, "A", "s3", true);
    released_drop(w, "A", "gone");
    world_ok(w, vault_note_put(w->vault, "A", "s3", NULL, "a note in the store", &w->err));
    released_clones(w);
    released_age(w);
    released_ingest(w, "taken", &report);
    ingest_report_done(&report);
    world_ok(w, vault_snapshot_create(w->vault, both, 2, "set", &w->err));
    for (size_t i = 0; i < 2; i++)
        world_ok(w, vault_seal(w->vault, both[i], &w->err));
    world_ok(w, vault_seal(w->vault, "I", &w->err));
    world_ok(w,
             vault_snapshot_lock(w->vault, "A", "set", clock_boot_ms() + (uint64_t)9e11, &w->err));
    released_copy(w, far, &result);
    cr_assert_gt(result.copied, 4);
    released_unsealed(w);
}
