/* What the tests of the tools share: findings kept, a small store, a seed. */
#pragma once
#include "drivers/vault/store/finding.h"
#include "tests/vault/vault_world.h"
#include <signal.h>

struct told {
    enum finding_kind kind;
    char object[IO_NAME_MAX], volume[128], snapshot[128], path[300], text[300];
    uint64_t first, count;
};
struct tells {
    struct told told[256];
    size_t count; /* all; the first 256 are kept */
};

static inline void tw_tell(void *arg, const struct finding *f)
{
    struct tells *tells = arg;
    if (tells->count < sizeof tells->told / sizeof *tells->told) {
        struct told *t = &tells->told[tells->count];
        *t = (struct told){.kind = f->kind, .first = f->first, .count = f->count};
        IGNORE(str_copy(t->object, sizeof t->object, f->object ? f->object : ""));
        IGNORE(str_copy(t->volume, sizeof t->volume, f->volume ? f->volume : ""));
        IGNORE(str_copy(t->snapshot, sizeof t->snapshot, f->snapshot ? f->snapshot : ""));
        IGNORE(str_copy(t->path, sizeof t->path, f->path ? f->path : ""));
        IGNORE(str_copy(t->text, sizeof t->text, f->text ? f->text : ""));
    }
    tells->count++;
}

static inline size_t tw_count(const struct tells *tells, enum finding_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < tells->count && i < sizeof tells->told / sizeof *tells->told; i++)
        n += tells->told[i].kind == kind;
    return n;
}

static inline void tw_print(const struct tells *tells)
{
    for (size_t i = 0; i < tells->count && i < sizeof tells->told / sizeof *tells->told; i++) {
        const struct told *t = &tells->told[i];
        printf("  %s object=%s volume=%s snapshot=%s path=%s records=%llu+%llu: %s\n",
               finding_word(t->kind), t->object, t->volume, t->snapshot, t->path,
               (unsigned long long)t->first, (unsigned long long)t->count, t->text);
    }
    fflush(stdout);
}

static inline unsigned tw_seed(void)
{
    const char *given = getenv("EVERCOPY_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)clock_wall_us();
    printf("seed %u\n", seed);
    fflush(stdout);
    return seed;
}

/* A landing volume with two snapshots of a few records: `records` in the first file, 2 in the
 * second. */
static inline void tw_small(struct vw *w, unsigned seed, unsigned records)
{
    struct err err = {0};
    AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
    vw_begin(w, seed);
    VW_OK(vw_add_landing(w, &err));
    next->sizes[0] = records;
    next->sizes[1] = 2;
    for (unsigned r = 0; r < records; r++)
        next->records[0][r] = r + 1;
    next->records[1][1] = 101;
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    next->records[0][1] = 201;
    VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    w->next_content = 1000;
}
