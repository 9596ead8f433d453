/* Where stories happen: a box and a store in one folder; what the environment says of a run. */
#pragma once
#include "agent/base/str.h"
#include "tests/lib/crash_states.h"
#include "tests/lib/vault_fsck.h"
#include "tests/lib/vault_story.h"
#include <stdio.h>
#include <stdlib.h>

struct opened {
    struct io *io;
    struct vault *vault;
};

static inline void opened_done(struct opened *o)
{
    vault_abandon(TAKE(o->vault));
    io_close(TAKE(o->io));
}
OWN_DEFINE_INPLACE(opened, struct opened, opened_done);

/* Box and store lie in one folder: one record of calls covers both. */
static inline bool open_with(const char *dir, const struct vault_options *options, struct opened *o,
                             struct err *err)
{
    char box[300], store[300];
    IGNORE(str_format(box, sizeof box, "%s/box", dir));
    IGNORE(str_format(store, sizeof store, "%s/store", dir));
    o->io = io_open(store, NULL, 0, err);
    o->vault = o->io ? vault_open(box, o->io, options, err) : NULL;
    return o->vault;
}

static inline bool open_in(const char *dir, struct opened *o, struct err *err)
{
    static const struct vault_options quiet = {
        .seal_by_hand = true, .reserve_bytes = 4096, .store = {.threads = 1}};
    return open_with(dir, &quiet, o, err);
}

static inline struct rnd story_seed(const char *name, uint64_t add)
{
    static struct rnd first;
    if (!first.state) {
        first = rnd_begin(name);
        IGNORE(unsetenv("TMPDIR")); /* thousands of syncs: in memory, where drive_dir goes then */
    }
    return (struct rnd){first.state + add};
}

static inline void story_trace(const struct story *story)
{
    for (size_t n = 0; getenv("EVERCOPY_TRACE") && n < story->op_count; n++)
        fprintf(stderr, "%zu %s %s entry %zu %s\n", n, story_kind_name(story->ops[n].kind),
                story->states[n].volumes[story->ops[n].volume].name, story->ops[n].entry,
                story->ops[n].path);
}

static inline size_t story_setting(const char *name, size_t otherwise)
{
    const char *given = getenv(name);
    return given ? strtoull(given, NULL, 10) : otherwise;
}

struct story_explorer {
    struct story *story;
    uint64_t checks, again, on; /* every so many states: opened twice; gone on with */
    uint64_t moments, deep;     /* every so many: crashes while it recovers */
};

static inline bool story_check_opened(struct story_explorer *e, const char *dir, uint64_t mark,
                                      uint64_t *ret_sum, struct opened *o, struct err *err)
{
    return open_in(dir, o, err) && story_check(e->story, o->vault, mark, true, ret_sum, err) &&
           vault_fsck(o->vault, err);
}

/* For a crash_plan: arg is an explorer. */
static inline bool story_check_crash(void *arg, const char *dir, uint64_t mark, struct err *err)
{
    struct story_explorer *e = arg;
    uint64_t sum, sum_again;
    AUTO(opened) struct opened o = {0};
    uint64_t n = e->checks++;
    if (!story_check_opened(e, dir, mark, &sum, &o, err))
        return false;
    if (n % e->again == 0) { /* what was found once is found again */
        opened_done(&o);
        if (!story_check_opened(e, dir, mark, &sum_again, &o, err))
            return err_wrap(err, "opened again");
        if (sum != sum_again)
            return err_set(err, ERR_CORRUPT, "it is another when opened again");
    }
    return n % e->on != 0 || (story_goes_on(o.vault, err) && vault_fsck(o.vault, err)) ||
           err_wrap(err, "going on");
}
