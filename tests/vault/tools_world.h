/* What the tests of the tools share: findings kept, a small store, a seed. */
#pragma once
#include "drivers/vault/store/finding.h"
#include "drivers/vault/store/fsck.h"
#include "drivers/vault/store/scrub.h"
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

/* Every snapshot of the model that lies in a second store, and how many that are; the tools agree.
 */
static inline size_t tw_check_copy(struct vw *w, struct io *io)
{
    struct err err = {0};
    static const uint8_t box[16] = "far box";
    struct vw *view = own_alloc(sizeof *view, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    size_t count = 0, found = 0;
    *view = *w;
    view->io = io;
    view->store = store_open(io, box, &(struct store_options){.read_only = true}, &err);
    VW_OK(view->store);
    view->family = family_open(view->store, 5, false, &err);
    VW_OK(view->family);
    AUTO(mem)
    struct snapshot_row *rows = family_snapshots(view->family, w->volumes[0].id, &count, &err);
    VW_OK(rows);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < w->snapshot_count; k++)
            if (rows[i].sequence == w->snapshots[k].sequence) {
                vw_check_content(view, &rows[i].table, &w->snapshots[k].content);
                found++;
            }
    vw_close(view);
    own_free(view);
    struct scrub_options scrub = {.found = tw_tell, .arg = tells};
    struct scrub_result scrubbed;
    VW_OK(scrub_store(io, &scrub, &scrubbed, &err));
    tw_print(tells);
    cr_assert_eq(tells->count, 0);
    struct fsck_options fsck = {.found = tw_tell, .arg = tells};
    struct fsck_result result;
    VW_OK(fsck_store(io, &fsck, &result, &err));
    cr_assert_eq(result.damages, 0);
    return found;
}
