/* The vault against a model that copies everything: random writes, names, snapshots of sets, clones
 * of clones, compositions, seals, thinning, crashes. EVERCOPY_SEED repeats a run. */
#include "tests/lib/random.h"
#include "tests/vault/volume_world.h"

enum { FILES = 8, BYTES = 20 * RECORD_BYTES, VOLUMES = 7, SNAPS = 6, LANDINGS = 2 };

struct body {
    int names;
    size_t size, stable_size;
    uint8_t *live, *stable; /* stable: as last acknowledged to be on disk */
    struct image {
        size_t size;
        uint8_t *bytes;
    } * between; /* what it was from then to now */
    size_t between_count;
};
struct file {
    bool used;
    char path[16];
    struct body *body; /* names of one file share it */
};
struct tree {
    struct file files[FILES];
};
struct past {
    bool used, sealed;
    char name[16];
    struct tree tree;
};
struct mirror {
    bool used;
    int landing;    /* index; itself when it is one */
    int parent;     /* a clone's source */
    char name[32];  /* as the vault's calls take it */
    char clone[16]; /* the last part */
    struct tree tree;
    struct past pasts[SNAPS];
};
struct model {
    struct world w;
    struct rnd rnd;
    struct mirror volumes[VOLUMES];
    uint32_t names;
    uint64_t step;
    const char *doing;
};

#define MUST_BE(m, ok)                                                                             \
    cr_assert((ok), "%sstep %llu, %s: %s", (m)->w.about, (unsigned long long)(m)->step,            \
              (m)->doing, (m)->w.err.text)

static size_t below(struct model *m, size_t n) { return (size_t)rnd_below(&m->rnd, n); }

/* ---- trees of the model ---- */

static void body_forget(struct body *b)
{
    for (size_t i = 0; i < b->between_count; i++)
        free(b->between[i].bytes);
    free(b->between);
    b->between = NULL;
    b->between_count = 0;
}

/* A crash may bring back what it is now, before it is overwritten: zeros are only said, not put,
 * and a layer that is swapped meanwhile is on disk. */
static void body_remember(struct body *b)
{
    b->between = realloc(b->between, (b->between_count + 1) * sizeof *b->between);
    struct image *image = &b->between[b->between_count++];
    *image = (struct image){b->size, malloc(BYTES)};
    memcpy(image->bytes, b->live, BYTES);
}

static bool body_was(const struct body *b, size_t at, uint8_t byte)
{
    bool was = byte == b->live[at] || byte == b->stable[at];
    for (size_t i = 0; !was && i < b->between_count; i++)
        was = byte == b->between[i].bytes[at];
    return was;
}

static bool body_had_size(const struct body *b, size_t size)
{
    bool had = size == b->size || size == b->stable_size;
    for (size_t i = 0; !had && i < b->between_count; i++)
        had = size == b->between[i].size;
    return had;
}

static void file_settle(struct file *f)
{
    body_forget(f->body);
    memcpy(f->body->stable, f->body->live, BYTES);
    f->body->stable_size = f->body->size;
}

static struct body *body_new(void)
{
    struct body *body = calloc(1, sizeof *body);
    body->names = 1;
    body->live = calloc(1, BYTES);
    body->stable = calloc(1, BYTES);
    return body;
}

static void file_begin(struct file *f, const char *path, struct body *body)
{
    *f = (struct file){.used = true, .body = body};
    str_format(f->path, sizeof f->path, "%s", path);
}

static void file_end(struct file *f)
{
    if (--f->body->names == 0) {
        body_forget(f->body);
        free(f->body->live);
        free(f->body->stable);
        free(f->body);
    }
    *f = (struct file){0};
}

static void file_copy(struct file *to, const struct file *from)
{
    *to = *from;
    to->body = body_new();
    memcpy(to->body->live, from->body->live, BYTES);
    to->body->size = from->body->size;
    file_settle(to);
}

static void tree_copy_of(struct tree *to, const struct tree *from)
{
    *to = (struct tree){0};
    for (int i = 0; i < FILES; i++) {
        int first = 0;
        if (!from->files[i].used)
            continue;
        while (first < i && from->files[first].body != from->files[i].body)
            first++;
        if (first == i)
            file_copy(&to->files[i], &from->files[i]);
        else
            file_begin(&to->files[i], from->files[i].path, to->files[first].body);
        to->files[i].body->names += first < i;
    }
}

static void tree_end(struct tree *t)
{
    for (int i = 0; i < FILES; i++)
        if (t->files[i].used)
            file_end(&t->files[i]);
}

static void tree_settle(struct tree *t)
{
    for (int i = 0; i < FILES; i++)
        if (t->files[i].used)
            file_settle(&t->files[i]);
}

static struct file *file_at(struct tree *t, const char *path)
{
    for (int i = 0; i < FILES; i++)
        if (t->files[i].used && strcmp(t->files[i].path, path) == 0)
            return &t->files[i];
    return NULL;
}

static struct file *any_file(struct model *m, struct tree *t)
{
    size_t from = below(m, FILES);
    for (size_t i = 0; i < FILES; i++)
        if (t->files[(from + i) % FILES].used)
            return &t->files[(from + i) % FILES];
    return NULL;
}

static struct mirror *any_volume(struct model *m)
{
    size_t from = below(m, VOLUMES);
    for (size_t i = 0; i < VOLUMES; i++)
        if (m->volumes[(from + i) % VOLUMES].used)
            return &m->volumes[(from + i) % VOLUMES];
    return NULL;
}

static struct past *any_past(struct model *m, struct mirror *v)
{
    size_t from = below(m, SNAPS);
    for (size_t i = 0; i < SNAPS; i++)
        if (v->pasts[(from + i) % SNAPS].used)
            return &v->pasts[(from + i) % SNAPS];
    return NULL;
}

/* ---- comparing ---- */

struct count {
    size_t files;
};
static bool count_file(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    (void)cookie;
    (void)name;
    ((struct count *)arg)->files += file->kind == INODE_FILE;
    return true;
}

static size_t files_in(struct model *m, struct view *view)
{
    struct count count = {0};
    bool end = false;
    MUST_BE(m, view_list(view, VIEW_ROOT, 0, count_file, &count, &end, &m->w.err));
    for (int i = 0; i < 2; i++) {
        struct view_file folder;
        struct err none = {0};
        if (view_find(view, i ? "d1" : "d0", &folder, &none))
            MUST_BE(m, view_list(view, folder.file, 0, count_file, &count, &end, &m->w.err));
    }
    return count.files;
}

static void compare_file(struct model *m, struct view *view, const struct file *f)
{
    uint8_t *bytes = malloc(BYTES);
    struct view_file file;
    MUST_BE(m, view_find(view, f->path, &file, &m->w.err));
    ssize_t n = view_read(view, file.file, bytes, BYTES, 0, &m->w.err);
    MUST_BE(m, n >= 0);
    cr_assert_eq((int)file.links, f->body->names, "%sstep %llu, %s: '%s' has %u names, not %d",
                 m->w.about, (unsigned long long)m->step, m->doing, f->path, file.links,
                 f->body->names);
    cr_assert_eq((size_t)n, f->body->size, "%sstep %llu, %s: '%s' has %zd bytes, not %zu",
                 m->w.about, (unsigned long long)m->step, m->doing, f->path, n, f->body->size);
    size_t i = memcmp(bytes, f->body->live, f->body->size) == 0 ? f->body->size : 0;
    while (i < f->body->size && bytes[i] == f->body->live[i])
        i++;
    cr_assert_eq(i, f->body->size, "%sstep %llu, %s: '%s' byte %zu (record %zu) of %zu", m->w.about,
                 (unsigned long long)m->step, m->doing, f->path, i, i / RECORD_BYTES,
                 f->body->size);
    free(bytes);
}

static void compare(struct model *m, struct mirror *v, struct past *past)
{
    struct tree *t = past ? &past->tree : &v->tree;
    AUTO(view)
    struct view *view = view_open(m->w.vault, v->name, past ? past->name : NULL, NULL, &m->w.err);
    MUST_BE(m, view != NULL);
    size_t count = 0;
    for (int i = 0; i < FILES; i++)
        if (t->files[i].used) {
            compare_file(m, view, &t->files[i]);
            count++;
        }
    cr_assert_eq(files_in(m, view), count, "%sstep %llu: files of '%s'", m->w.about,
                 (unsigned long long)m->step, v->name);
}

static void compare_all(struct model *m)
{
    for (int i = 0; i < VOLUMES; i++) {
        struct mirror *v = &m->volumes[i];
        if (!v->used)
            continue;
        size_t count = 0, pasts = 0;
        compare(m, v, NULL);
        for (int k = 0; k < SNAPS; k++)
            if (v->pasts[k].used) {
                compare(m, v, &v->pasts[k]);
                pasts++;
            }
        AUTO(mem)
        struct vault_snapshot_info *list =
            vault_snapshot_list(m->w.vault, v->name, &count, &m->w.err);
        MUST_BE(m, list != NULL);
        cr_assert_eq(count, pasts, "%sstep %llu: %zu snapshots of '%s', not %zu", m->w.about,
                     (unsigned long long)m->step, count, v->name, pasts);
    }
}

/* After a crash: what was not acknowledged as stable may be there or not; then it is what it is. */
static void adopt_file(struct model *m, struct view *view, struct file *f)
{
    uint8_t *bytes = calloc(1, BYTES);
    struct view_file file;
    MUST_BE(m, view_find(view, f->path, &file, &m->w.err));
    ssize_t n = view_read(view, file.file, bytes, BYTES, 0, &m->w.err);
    MUST_BE(m, n >= 0);
    size_t size = (size_t)n;
    cr_assert(body_had_size(f->body, size), "%sstep %llu: '%s' has %zu bytes", m->w.about,
              (unsigned long long)m->step, f->path, size);
    size_t i = 0;
    while (i < size && body_was(f->body, i, bytes[i]))
        i++;
    cr_assert_eq(i, size, "%sstep %llu: '%s' byte %zu is nothing it ever was", m->w.about,
                 (unsigned long long)m->step, f->path, i);
    memset(f->body->live, 0, BYTES);
    memcpy(f->body->live, bytes, size);
    f->body->size = size;
    file_settle(f);
    free(bytes);
}

static void crash(struct model *m)
{
    world_crash(&m->w);
    for (int i = 0; i < VOLUMES; i++) {
        struct mirror *v = &m->volumes[i];
        if (!v->used)
            continue;
        AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
        for (int k = 0; k < FILES; k++)
            if (v->tree.files[k].used)
                adopt_file(m, view, &v->tree.files[k]);
    }
}

/* ---- steps ---- */

static void some_bytes(struct model *m, uint8_t *to, size_t size)
{
    unsigned kind = (unsigned)below(m, 4);
    memset(to, kind == 0 ? 0 : (int)below(m, 255) + 1, size);
    if (kind >= 2)
        for (size_t i = 0; i + 8 <= size; i += 8) {
            uint64_t word = rnd_next(&m->rnd);
            memcpy(to + i, &word, 8);
        }
    if (kind == 1 && size > 100) {
        memset(to, 0, size);
        memset(to + below(m, size - 40), 7, 30);
    }
}

static void step_write(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct file *f = any_file(m, &v->tree);
    if (!f)
        return;
    AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
    struct view_file file;
    MUST_BE(m, view_find(view, f->path, &file, &m->w.err));
    size_t size = 1 + below(m, rnd_chance(&m->rnd, 50) ? 600 : 5 * RECORD_BYTES);
    size_t offset = below(m, BYTES - size);
    if (rnd_chance(&m->rnd, 40))
        offset &= ~(size_t)(RECORD_BYTES - 1);
    body_remember(f->body);
    some_bytes(m, f->body->live + offset, size);
    bool stable = rnd_chance(&m->rnd, 40);
    MUST_BE(m, view_write(view, file.file, f->body->live + offset, size, offset, stable, NULL,
                          &m->w.err));
    if (f->body->size < offset + size)
        f->body->size = offset + size;
    if (stable)
        file_settle(f);
}

static void step_commit(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct file *f = any_file(m, &v->tree);
    AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
    struct view_file file;
    if (!f)
        return;
    MUST_BE(m, view_find(view, f->path, &file, &m->w.err));
    MUST_BE(m, view_commit(view, file.file, NULL, &m->w.err));
    file_settle(f);
}

static void step_resize(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct file *f = any_file(m, &v->tree);
    AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
    struct view_file file;
    if (!f)
        return;
    MUST_BE(m, view_find(view, f->path, &file, &m->w.err));
    size_t size = below(m, BYTES);
    if (rnd_chance(&m->rnd, 30))
        size &= ~(size_t)(RECORD_BYTES - 1);
    struct view_attributes a = {.set_size = true, .size = size};
    MUST_BE(m, view_set(view, NULL, file.file, &a, &file, NULL, &m->w.err));
    if (size < f->body->size)
        memset(f->body->live + size, 0, BYTES - size);
    f->body->size = size;
    file_settle(f);
}

static void some_path(struct model *m, char ret[16])
{
    static const char *const folders[] = {"", "", "d0/", "d1/"};
    str_format(ret, 16, "%sf%zu", folders[below(m, 4)], below(m, 12));
}

static uint64_t folder_of_path(struct model *m, struct view *view, const char *path,
                               const char **ret_name)
{
    const char *slash = strchr(path, '/');
    struct view_file folder = {.file = VIEW_ROOT};
    *ret_name = slash ? slash + 1 : path;
    if (slash) {
        char name[16];
        struct err missing = {0};
        str_format(name, sizeof name, "%.*s", (int)(slash - path), path);
        if (!view_find(view, name, &folder, &missing))
            MUST_BE(m, view_create(view, NULL, VIEW_ROOT, name, INODE_DIRECTORY, NULL, NULL,
                                   &folder, NULL, &m->w.err));
    }
    return folder.file;
}

static void step_create(struct model *m)
{
    struct mirror *v = any_volume(m);
    char path[16];
    const char *name;
    some_path(m, path);
    struct file *f = NULL;
    for (int i = 0; i < FILES && !f; i++)
        if (!v->tree.files[i].used)
            f = &v->tree.files[i];
    if (!f)
        return;
    AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
    uint64_t folder = folder_of_path(m, view, path, &name);
    struct view_caller caller = {.client = 5, .xid = m->names++};
    struct view_file file, again;
    bool there = file_at(&v->tree, path);
    bool made =
        view_create(view, &caller, folder, name, INODE_FILE, NULL, NULL, &file, NULL, &m->w.err);
    if (there) {
        cr_assert(!made, "%s'%s' was made twice", m->w.about, path);
        cr_assert_eq(m->w.err.code, ERR_EXISTS, "%s%s", m->w.about, m->w.err.text);
        err_clear(&m->w.err);
        return;
    }
    MUST_BE(m, made);
    if (rnd_chance(&m->rnd, 20)) {
        MUST_BE(m, view_create(view, &caller, folder, name, INODE_FILE, NULL, NULL, &again, NULL,
                               &m->w.err));
        cr_assert_eq(again.file, file.file, "%s'%s' is another file", m->w.about, path);
    }
    file_begin(f, path, body_new());
}

static void step_link(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct file *f = any_file(m, &v->tree), *other = NULL;
    char path[16];
    const char *name;
    struct view_file file, again;
    some_path(m, path);
    for (int i = 0; i < FILES && !other; i++)
        if (!v->tree.files[i].used)
            other = &v->tree.files[i];
    if (!f || !other)
        return;
    AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
    uint64_t folder = folder_of_path(m, view, path, &name);
    MUST_BE(m, view_find(view, f->path, &file, &m->w.err));
    struct view_caller caller = {.client = 5, .xid = m->names++};
    bool there = file_at(&v->tree, path);
    bool made = view_link(view, &caller, file.file, folder, name, &again, NULL, &m->w.err);
    if (there) {
        cr_assert(!made, "%s'%s' was made twice", m->w.about, path);
        cr_assert_eq(m->w.err.code, ERR_EXISTS, "%s%s", m->w.about, m->w.err.text);
        err_clear(&m->w.err);
        return;
    }
    MUST_BE(m, made);
    if (rnd_chance(&m->rnd, 20))
        MUST_BE(m, view_link(view, &caller, file.file, folder, name, &again, NULL, &m->w.err));
    cr_assert_eq(again.file, file.file, "%s'%s' is another file", m->w.about, path);
    f->body->names++;
    file_begin(other, path, f->body);
}

static void step_remove(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct file *f = any_file(m, &v->tree);
    const char *name;
    if (!f)
        return;
    AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
    uint64_t folder = folder_of_path(m, view, f->path, &name);
    MUST_BE(m, view_remove(view, NULL, folder, name, false, NULL, &m->w.err));
    file_end(f);
}

static void step_rename(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct file *f = any_file(m, &v->tree);
    char to[16];
    const char *name, *to_name;
    if (!f)
        return;
    some_path(m, to);
    AUTO(view) struct view *view = world_view(&m->w, v->name, NULL, NULL);
    uint64_t folder = folder_of_path(m, view, f->path, &name);
    uint64_t to_folder = folder_of_path(m, view, to, &to_name);
    MUST_BE(m, view_rename(view, NULL, folder, name, to_folder, to_name, NULL, NULL, &m->w.err));
    struct file *replaced = file_at(&v->tree, to);
    if (replaced && replaced->body == f->body)
        return;
    if (replaced)
        file_end(replaced);
    str_format(f->path, sizeof f->path, "%s", to);
}

static struct past *free_past(struct mirror *v)
{
    for (int i = 0; i < SNAPS; i++)
        if (!v->pasts[i].used)
            return &v->pasts[i];
    return NULL;
}

static void step_snapshot(struct model *m)
{
    const char *names[VOLUMES];
    struct mirror *set[VOLUMES];
    size_t count = 0;
    bool many = rnd_chance(&m->rnd, 30);
    for (int i = 0; i < VOLUMES; i++) {
        struct mirror *v = &m->volumes[i];
        if (v->used && free_past(v) && (many ? rnd_chance(&m->rnd, 50) : below(m, 3) == 0)) {
            set[count] = v;
            names[count++] = v->name;
            if (!many)
                break;
        }
    }
    char name[16];
    str_format(name, sizeof name, "s%u", m->names++);
    if (count == 0)
        return;
    MUST_BE(m, vault_snapshot_create(m->w.vault, names, count, name, &m->w.err));
    for (size_t i = 0; i < count; i++) {
        struct past *past = free_past(set[i]);
        tree_settle(&set[i]->tree);
        past->used = true;
        str_format(past->name, sizeof past->name, "%s", name);
        tree_copy_of(&past->tree, &set[i]->tree);
    }
}

static void drop_past(struct model *m, struct mirror *v, struct past *past)
{
    MUST_BE(m, vault_snapshot_drop(m->w.vault, v->name, past->name, &m->w.err));
    tree_end(&past->tree);
    *past = (struct past){0};
}

static void step_drop(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct past *past = any_past(m, v);
    if (past)
        drop_past(m, v, past);
}

static struct mirror *free_mirror(struct model *m, struct mirror *source)
{
    for (int i = LANDINGS; i < VOLUMES; i++)
        if (!m->volumes[i].used) {
            struct mirror *c = &m->volumes[i];
            *c = (struct mirror){.used = true, .landing = source->landing};
            c->parent = (int)(source - m->volumes);
            str_format(c->clone, sizeof c->clone, "c%u", m->names++);
            str_format(c->name, sizeof c->name, "%s/%s", m->volumes[source->landing].name,
                       c->clone);
            return c;
        }
    return NULL;
}

static void step_clone(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct past *past = any_past(m, v);
    struct mirror *c = past ? free_mirror(m, v) : NULL;
    if (!c)
        return;
    MUST_BE(m, vault_clone_create(m->w.vault, v->name, c->clone, past->name, NULL, 0, &m->w.err));
    tree_copy_of(&c->tree, &past->tree);
}

static void step_compose(struct model *m)
{
    struct mirror *v = any_volume(m);
    struct mirror *c = free_mirror(m, v);
    struct vault_part parts[FILES];
    char tos[FILES][16];
    size_t count = 0;
    if (!c)
        return;
    for (size_t i = 0; i < 4; i++) {
        struct past *past = rnd_chance(&m->rnd, 70) ? any_past(m, v) : NULL;
        struct tree *t = past ? &past->tree : &v->tree;
        struct file *f = any_file(m, t);
        if (!f)
            continue;
        str_format(tos[count], sizeof tos[count], "%sg%zu", i % 2 ? "d0/" : "", i);
        parts[count] = (struct vault_part){
            .snapshot = past ? past->name : NULL, .path = f->path, .to = tos[count]};
        if (!past)
            tree_settle(&v->tree);
        file_copy(&c->tree.files[count], f);
        str_format(c->tree.files[count].path, 16, "%s", tos[count]);
        count++;
    }
    if (count == 0) {
        *c = (struct mirror){0};
        return;
    }
    MUST_BE(m, vault_clone_create(m->w.vault, v->name, c->clone, NULL, parts, count, &m->w.err));
}

static void step_clone_drop(struct model *m)
{
    struct mirror *c = any_volume(m);
    if (c->landing == c - m->volumes)
        return;
    for (int i = 0; i < VOLUMES; i++)
        if (m->volumes[i].used && &m->volumes[i] != c && m->volumes[i].parent == c - m->volumes)
            return;
    for (int i = 0; i < SNAPS; i++)
        if (c->pasts[i].used)
            drop_past(m, c, &c->pasts[i]);
    MUST_BE(m, vault_clone_drop(m->w.vault, m->volumes[c->landing].name, c->clone, &m->w.err));
    tree_end(&c->tree);
    *c = (struct mirror){0};
}

static void step_swap(struct model *m)
{
    struct mirror *v = any_volume(m);
    MUST_BE(m, vault_swap(m->w.vault, v->name, NULL, &m->w.err));
    tree_settle(&v->tree);
}

static void step_seal(struct model *m)
{
    MUST_BE(m, vault_seal(m->w.vault, any_volume(m)->name, &m->w.err));
}

static void step_thin(struct model *m)
{
    uint64_t freed;
    MUST_BE(m, vault_thin(m->w.vault, any_volume(m)->name, &freed, &m->w.err));
}

static void step_crash(struct model *m)
{
    crash(m);
    if (rnd_chance(&m->rnd, 30))
        compare_all(m);
}

static void step_reopen(struct model *m)
{
    world_reopen(&m->w);
    for (int i = 0; i < VOLUMES; i++)
        if (m->volumes[i].used)
            tree_settle(&m->volumes[i].tree);
    if (rnd_chance(&m->rnd, 30))
        compare_all(m);
}

static void step_compare(struct model *m)
{
    struct mirror *v = any_volume(m);
    compare(m, v, rnd_chance(&m->rnd, 50) ? any_past(m, v) : NULL);
}

static const struct {
    const char *name;
    void (*run)(struct model *m);
    unsigned weight;
} steps[] = {
    {"write", step_write, 40},   {"commit", step_commit, 4},     {"resize", step_resize, 6},
    {"create", step_create, 10}, {"remove", step_remove, 3},     {"rename", step_rename, 4},
    {"link", step_link, 4},      {"snapshot", step_snapshot, 6}, {"drop", step_drop, 4},
    {"clone", step_clone, 3},    {"compose", step_compose, 2},   {"drop clone", step_clone_drop, 2},
    {"swap", step_swap, 3},      {"seal", step_seal, 6},         {"thin", step_thin, 1},
    {"crash", step_crash, 2},    {"reopen", step_reopen, 1},     {"compare", step_compare, 8},
};

static void step(struct model *m)
{
    unsigned total = 0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        total += steps[i].weight;
    size_t at = below(m, total);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (at < steps[i].weight) {
            m->doing = steps[i].name;
            if (getenv("EVERCOPY_TRACE"))
                fprintf(stderr, "%llu %s\n", (unsigned long long)m->step, m->doing);
            steps[i].run(m);
            return;
        }
        at -= steps[i].weight;
    }
}

static void run(const struct vault_options *options, uint64_t count)
{
    static struct model model;
    struct model *m = &model;
    *m = (struct model){.rnd = rnd_begin("vault model")};
    unsigned long long seed = m->rnd.state;
    world_begin_with(&m->w, options);
    str_format(m->w.about, sizeof m->w.about, "EVERCOPY_SEED=%llu: ", seed);
    for (int i = 0; i < LANDINGS; i++) {
        struct mirror *v = &m->volumes[i];
        *v = (struct mirror){.used = true, .landing = i, .parent = i};
        str_format(v->name, sizeof v->name, "v%d", i);
        MUST_BE(m, vault_volume_create(m->w.vault, v->name, &m->w.err));
    }
    for (m->step = 0; m->step < count; m->step++)
        step(m);
    m->doing = "the end";
    compare_all(m);
    world_reopen(&m->w);
    compare_all(m);
    for (int i = 0; i < VOLUMES; i++) {
        tree_end(&m->volumes[i].tree);
        for (int k = 0; k < SNAPS; k++)
            tree_end(&m->volumes[i].pasts[k].tree);
    }
    world_end(&m->w);
}

static uint64_t steps_wanted(uint64_t few, uint64_t many)
{
    const char *given = getenv("EVERCOPY_STEPS");
    return given ? strtoull(given, NULL, 10) : getenv("EVERCOPY_LONG") ? many : few;
}

Test(vault_model, agrees_byte_for_byte_when_sealed_by_hand)
{
    run(&(struct vault_options){.seal_by_hand = true}, steps_wanted(700, 500000));
}

Test(vault_model, agrees_byte_for_byte_while_threads_seal)
{
    run(&(struct vault_options){.layer_bytes = 200000, .seal_threads = 2},
        steps_wanted(400, 500000));
}
