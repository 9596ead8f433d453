/* Where stories happen: a box and a store in one folder; what the environment says of a run. */
#pragma once
#include "agent/base/str.h"
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
static inline bool open_in(const char *dir, struct opened *o, struct err *err)
{
    static const struct vault_options options = {
        .seal_by_hand = true, .reserve_bytes = 4096, .store = {.threads = 1}};
    char box[300], store[300];
    IGNORE(str_format(box, sizeof box, "%s/box", dir));
    IGNORE(str_format(store, sizeof store, "%s/store", dir));
    o->io = io_open(store, NULL, 0, err);
    o->vault = o->io ? vault_open(box, o->io, &options, err) : NULL;
    return o->vault;
}

static inline struct rnd story_seed(const char *name, uint64_t add)
{
    static struct rnd first;
    if (!first.state)
        first = rnd_begin(name);
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
