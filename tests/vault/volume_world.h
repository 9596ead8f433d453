/* A vault of a test: a box in a temporary folder, a store in memory that outlives crashes. */
#pragma once
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/vault.h"
#include "tests/lib/memory_io.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct world {
    char box[64];
    struct io *io;
    struct memory_io *memory;
    struct vault_options options;
    struct vault *vault;
    struct err err;
    char about[40]; /* what a failure says first, as its seed */
};

static inline void world_ok(struct world *w, bool ok)
{
    cr_assert(ok, "%s%s", w->about, w->err.text);
}

static inline void world_open(struct world *w)
{
    w->vault = vault_open(w->box, w->io, &w->options, &w->err);
    world_ok(w, w->vault != NULL);
}

static inline void world_begin_with(struct world *w, const struct vault_options *options)
{
    *w = (struct world){.options = *options};
    str_format(w->box, sizeof w->box, "%s/evercopy-vault.XXXXXX",
               access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
    w->options.reserve_bytes = 4096;
    w->options.store.threads = 1;
    cr_assert(mkdtemp(w->box));
    w->io = memory_io_open(0, &w->memory, &w->err);
    world_ok(w, w->io != NULL);
    world_open(w);
}

static inline void world_begin(struct world *w)
{
    world_begin_with(w, &(struct vault_options){.seal_by_hand = true});
}

static inline void world_end(struct world *w)
{
    vault_close(w->vault);
    io_close(w->io);
    world_ok(w, sys_remove_tree(w->box, &w->err));
}

static inline void world_crash(struct world *w)
{
    vault_abandon(w->vault);
    memory_io_forget_writers(w->memory);
    world_open(w);
}

static inline void world_reopen(struct world *w)
{
    vault_close(w->vault);
    world_open(w);
}

static inline struct view *world_view(struct world *w, const char *volume, const char *snapshot,
                                      const char *clone)
{
    struct view *view = view_open(w->vault, volume, snapshot, clone, &w->err);
    world_ok(w, view != NULL);
    return view;
}

/* The file at the root, made when missing. */
static inline uint64_t world_file(struct world *w, struct view *view, const char *name)
{
    struct view_file file;
    struct err missing = {0};
    if (!view_lookup(view, VIEW_ROOT, name, &file, &missing))
        world_ok(w, view_create(view, NULL, VIEW_ROOT, name, INODE_FILE, NULL, NULL, &file, NULL,
                                &w->err));
    return file.file;
}

static inline void world_write(struct world *w, const char *volume, const char *clone,
                               const char *name, char fill, size_t size, uint64_t offset)
{
    AUTO(view) struct view *view = world_view(w, volume, NULL, clone);
    AUTO(mem) char *bytes = own_alloc(size, &w->err);
    memset(bytes, fill, size);
    world_ok(w,
             view_write(view, world_file(w, view, name), bytes, size, offset, true, NULL, &w->err));
}

static inline void world_expect(struct world *w, const char *volume, const char *snapshot,
                                const char *clone, const char *name, char fill, size_t size,
                                uint64_t offset)
{
    AUTO(view) struct view *view = world_view(w, volume, snapshot, clone);
    struct view_file file;
    AUTO(mem) char *bytes = own_alloc(size, &w->err);
    world_ok(w, view_find(view, name, &file, &w->err));
    ssize_t n = view_read(view, file.file, bytes, size, offset, &w->err);
    world_ok(w, n >= 0);
    cr_assert_eq((size_t)n, size, "%s: %zd of %zu bytes", name, n, size);
    for (size_t i = 0; i < size; i++)
        cr_assert_eq(bytes[i], fill, "%s: byte %zu is '%c', not '%c'", name, (size_t)offset + i,
                     bytes[i], fill);
}

static inline void world_snapshot(struct world *w, const char *volume, const char *name)
{
    world_ok(w, vault_snapshot_create(w->vault, &volume, 1, name, &w->err));
}
