/* A client that lost an answer asks again: after every crash of the box the request under way is
 * done once, the one before it is answered as before, and all that follow go on. */
#include "tests/lib/crash_states.h"
#include "tests/lib/random.h"
#include "tests/vault/volume_world.h"

enum kind { MKDIR, EXCLUSIVE, UNCHECKED, CREATE, SYMLINK, SET, TOUCH, LINK, RENAME, REMOVE, RMDIR };

/* Each can be done after those before it, and not twice but as the same request. */
static const struct request {
    enum kind kind;
    const char *path, *to;
    uint64_t size; /* of TOUCH: the mtime */
} requests[] = {
    {MKDIR, "d", NULL, 0},     {EXCLUSIVE, "d/f", NULL, 0},   {SET, "d/f", NULL, 10000},
    {SYMLINK, "d/l", "f", 0},  {TOUCH, "d/f", NULL, 1000},    {LINK, "d/f", "d/g", 0},
    {RENAME, "d/f", "d/h", 0}, {UNCHECKED, "d/h", NULL, 100}, {REMOVE, "d/g", NULL, 0},
    {MKDIR, "e", NULL, 0},     {RMDIR, "e", NULL, 0},         {CREATE, "d/k", NULL, 9000},
    {RENAME, "d/k", "d/h", 0}, {SET, "d/h", NULL, 20000},     {REMOVE, "d/l", NULL, 0},
};
enum { REQUESTS = sizeof requests / sizeof requests[0] };

/* What a client would send again: guards as they were the first time. */
struct client {
    uint64_t guards[REQUESTS];
    bool again[REQUESTS];
};

static bool folder_of(struct view *view, const char *path, uint64_t *ret_folder,
                      const char **ret_name, struct err *err)
{
    const char *slash = strchr(path, '/');
    struct view_file folder = {.file = VIEW_ROOT};
    *ret_name = slash ? slash + 1 : path;
    if (slash && !view_find(view, "d", &folder, err))
        return false;
    *ret_folder = folder.file;
    return true;
}

/* A file's number as the client knows it, which it keeps. */
static bool file_of(struct view *view, const char *path, uint64_t *ret, struct err *err)
{
    struct view_file file;
    if (!view_find(view, path, &file, err))
        return false;
    *ret = file.file;
    return true;
}

struct ask {
    struct view *view;
    struct view_caller caller;
    uint64_t folder, files[REQUESTS];
    const char *name;
};

static bool make(struct ask *a, const struct request *r, struct err *err)
{
    struct view_file file;
    struct view_attributes how = {.set_size = r->size > 0,
                                  .size = r->size,
                                  .exclusive = r->kind == EXCLUSIVE,
                                  .unchecked = r->kind == UNCHECKED,
                                  .verifier = 77};
    uint8_t kind = r->kind == MKDIR     ? INODE_DIRECTORY
                   : r->kind == SYMLINK ? INODE_SYMLINK
                                        : INODE_FILE;
    return view_create(a->view, &a->caller, a->folder, a->name, kind, r->to, &how, &file, NULL,
                       err);
}

static bool set(struct ask *a, struct client *c, size_t n, struct err *err)
{
    struct view_file file;
    if (!view_find(a->view, requests[n].path, &file, err))
        return false;
    if (!c->again[n])
        c->guards[n] = file.ctime_us;
    bool touch = requests[n].kind == TOUCH;
    struct view_attributes how = {.set_size = !touch,
                                  .size = requests[n].size,
                                  .set_mtime = touch,
                                  .mtime_us = requests[n].size,
                                  .set_mode = true,
                                  .mode = 0600,
                                  .guard = true,
                                  .guard_ctime_us = c->guards[n]};
    return view_set(a->view, &a->caller, file.file, &how, &file, NULL, err);
}

/* Asked again, what was done may stand under its new name only: the client still knows the file. */
static bool link_or_rename(struct ask *a, const struct request *r, struct err *err)
{
    uint64_t to_folder, file = 0;
    const char *to;
    struct view_file now;
    if (!folder_of(a->view, r->to, &to_folder, &to, err))
        return false;
    if (r->kind == RENAME)
        return view_rename(a->view, &a->caller, a->folder, a->name, to_folder, to, NULL, NULL, err);
    return file_of(a->view, r->path, &file, err) &&
           view_link(a->view, &a->caller, file, to_folder, to, &now, NULL, err);
}

static bool ask(struct vault *vault, struct client *c, size_t n, struct err *err)
{
    const struct request *r = &requests[n];
    AUTO(view) struct view *view = view_open(vault, "v", NULL, NULL, err);
    struct ask a = {.view = view, .caller = {.client = 11, .xid = (uint32_t)(100 + n)}};
    if (!view || !folder_of(view, r->path, &a.folder, &a.name, err))
        return false;
    switch (r->kind) {
    case SET:
    case TOUCH:
        return set(&a, c, n, err);
    case LINK:
    case RENAME:
        return link_or_rename(&a, r, err);
    case REMOVE:
    case RMDIR:
        return view_remove(view, &a.caller, a.folder, a.name, r->kind == RMDIR, NULL, err);
    default:
        return make(&a, r, err);
    }
}

/* ---- what must be so ---- */

struct entry {
    char path[8];
    uint64_t size;
    uint32_t links;
    uint64_t mtime_us; /* 0: of no matter */
};
static const struct state {
    size_t count;
    struct entry entries[5];
} states[REQUESTS + 1] = {
    {0, {{"", 0, 0, 0}}},
    {1, {{"d", 0, 2, 0}}},
    {2, {{"d", 0, 2, 0}, {"d/f", 0, 1, 0}}},
    {2, {{"d", 0, 2, 0}, {"d/f", 10000, 1, 0}}},
    {3, {{"d", 0, 2, 0}, {"d/f", 10000, 1, 0}, {"d/l", 1, 1, 0}}},
    {3, {{"d", 0, 2, 0}, {"d/f", 10000, 1, 1000}, {"d/l", 1, 1, 0}}},
    {4, {{"d", 0, 2, 0}, {"d/f", 10000, 2, 1000}, {"d/g", 10000, 2, 1000}, {"d/l", 1, 1, 0}}},
    {4, {{"d", 0, 2, 0}, {"d/h", 10000, 2, 1000}, {"d/g", 10000, 2, 1000}, {"d/l", 1, 1, 0}}},
    {4, {{"d", 0, 2, 0}, {"d/h", 100, 2, 0}, {"d/g", 100, 2, 0}, {"d/l", 1, 1, 0}}},
    {3, {{"d", 0, 2, 0}, {"d/h", 100, 1, 0}, {"d/l", 1, 1, 0}}},
    {4, {{"d", 0, 2, 0}, {"d/h", 100, 1, 0}, {"d/l", 1, 1, 0}, {"e", 0, 2, 0}}},
    {3, {{"d", 0, 2, 0}, {"d/h", 100, 1, 0}, {"d/l", 1, 1, 0}}},
    {4, {{"d", 0, 2, 0}, {"d/h", 100, 1, 0}, {"d/l", 1, 1, 0}, {"d/k", 9000, 1, 0}}},
    {3, {{"d", 0, 2, 0}, {"d/h", 9000, 1, 0}, {"d/l", 1, 1, 0}}},
    {3, {{"d", 0, 2, 0}, {"d/h", 20000, 1, 0}, {"d/l", 1, 1, 0}}},
    {2, {{"d", 0, 2, 0}, {"d/h", 20000, 1, 0}}},
};

static bool count_entry(void *arg, uint64_t cookie, const char *name, const struct view_file *file)
{
    (void)cookie;
    (void)name;
    (void)file;
    ++*(size_t *)arg;
    return true;
}

static bool state_is(struct vault *vault, size_t n, struct err *err)
{
    AUTO(view) struct view *view = view_open(vault, "v", NULL, NULL, err);
    size_t count = 0;
    struct view_file file;
    struct err none = {0};
    bool end;
    if (!view || !view_list(view, VIEW_ROOT, 0, count_entry, &count, &end, err) ||
        (view_find(view, "d", &file, &none) &&
         !view_list(view, file.file, 0, count_entry, &count, &end, err)))
        return false;
    for (size_t i = 0; i < states[n].count; i++) {
        const struct entry *e = &states[n].entries[i];
        if (!view_find(view, e->path, &file, err))
            return err_wrap(err, "after request %zu", n);
        if (file.links != e->links || (file.kind != INODE_DIRECTORY && file.size != e->size))
            return err_set(err, ERR_INTERNAL, "after request %zu '%s' has %llu bytes, %u names", n,
                           e->path, (unsigned long long)file.size, file.links);
        if (e->mtime_us && file.mtime_us != e->mtime_us)
            return err_set(err, ERR_INTERNAL, "after request %zu '%s' has another mtime", n,
                           e->path);
    }
    return count == states[n].count ||
           err_set(err, ERR_INTERNAL, "%zu names after request %zu", count, n);
}

struct explorer {
    struct memory_io *memory;
    struct vault_options options;
    struct client client;
};

/* `done` requests were answered; the next was sent. */
static bool check(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    struct explorer *x = arg;
    struct memory_io *memory;
    struct client c = x->client;
    AUTO(io) struct io *io = memory_io_after(x->memory, memory_io_changes(x->memory), &memory, err);
    AUTO(vault) struct vault *vault = io && mark ? vault_open(dir, io, &x->options, err) : NULL;
    if (mark == 0 || !vault) /* the volume may not be there yet */
        return mark == 0 && io;
    size_t done = (size_t)mark - 1;
    for (size_t n = 0; n < REQUESTS; n++)
        c.again[n] = n <= done;
    bool repeats = done > 0 && requests[done - 1].kind != LINK;
    /* Asked for once more, an answered one changes nothing; where its name is. */
    if (state_is(vault, done, err) && repeats && !ask(vault, &c, done - 1, err))
        return err_wrap(err, "request %zu once more", done - 1);
    if (err->code == ERR_NONE && repeats && !state_is(vault, done, err))
        return err_wrap(err, "request %zu was done twice", done - 1);
    err_clear(err); /* the next may be there already */
    for (size_t n = done; n < REQUESTS; n++)
        if (!ask(vault, &c, n, err) || !state_is(vault, n + 1, err))
            return err_wrap(err, "request %zu of %zu that were answered", n, done);
    return true;
}

Test(names_crash, what_is_asked_again_after_a_crash_is_done_once)
{
    struct world w;
    struct rnd rnd = rnd_begin("names crash");
    char scratch[64];
    const struct vault_options options = {.seal_by_hand = true};
    AUTO(mem) struct explorer *x = own_alloc(sizeof *x, &w.err);
    world_begin_with(&w, &options);
    vault_close(w.vault);
    world_ok(&w, sys_remove_tree(w.box, &w.err));
    world_ok(&w, sys_mkdir(w.box, 0700, &w.err));
    memory_io_keep_changes(w.memory);
    sys_record_begin();
    world_open(&w);
    world_ok(&w, vault_volume_create(w.vault, "v", &w.err));
    sys_record_mark(1);
    for (size_t n = 0; n < REQUESTS; n++) {
        world_ok(&w, ask(w.vault, &x->client, n, &w.err));
        sys_record_mark(2 + n);
        world_ok(&w, state_is(w.vault, n + 1, &w.err));
    }
    vault_abandon(w.vault);
    AUTO(sys_record) struct sys_record record = sys_record_end();
    x->memory = w.memory;
    x->options = w.options;
    str_format(scratch, sizeof scratch, "%s.state", w.box);
    bool all = getenv("EVERCOPY_LONG") != NULL;
    struct crash_plan plan = {.record = &record,
                              .root = w.box,
                              .scratch = scratch,
                              .step = all ? 1 : 3,
                              .seeds = all ? 4 : 1,
                              .seed = rnd_next(&rnd),
                              .check = check,
                              .arg = x};
    uint64_t count = 0;
    world_ok(&w, crash_states_each(&plan, &count, &w.err));
    printf("# %llu states of %zu calls\n", (unsigned long long)count, record.count);
    cr_assert_gt(count, 20);
    struct err ignored = {0};
    IGNORE(sys_remove_tree(scratch, &ignored));
    world_open(&w);
    world_end(&w);
}
