/* Scrub: whatever rots is found and named, nothing else is, and nothing is changed. */
#include "drivers/vault/io/paced.h"
#include "drivers/vault/store/copies.h"
#include "drivers/vault/store/pack_int.h"
#include "drivers/vault/store/scrub.h"
#include "tests/vault/tools_world.h"
#include <unistd.h>

static struct scrub_result scrub(struct vw *w, struct tells *tells)
{
    struct err err = {0};
    struct scrub_options options = {.found = tw_tell, .arg = tells};
    struct scrub_result result;
    *tells = (struct tells){0};
    VW_OK(scrub_store(w->io, &options, &result, &err));
    return result;
}

static size_t changes(struct vw *w)
{
    static const enum memory_op ops[] = {MEMORY_PUT, MEMORY_CREATE, MEMORY_DELETE, MEMORY_LOCK};
    size_t n = 0;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        n += memory_io_count(w->memory, ops[i]);
    return n;
}

Test(scrub, says_nothing_of_a_sound_store_and_changes_nothing)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    tw_small(w, 3, 600);
    VW_OK(family_note_put(w->family, 77, "tags=a", &err));
    size_t before = changes(w);
    struct scrub_result result = scrub(w, tells);
    tw_print(tells);
    cr_assert_eq(tells->count, 0);
    cr_assert_eq(changes(w), before);
    cr_assert_eq(result.states, 3); /* two snapshots and the head */
    cr_assert_gt(result.records, 400);
    vw_end(w);
}

/* The frame that holds a record, by its directory. */
static void find_record(struct vw *w, uint64_t file, uint64_t record, char *ret_name,
                        struct pack_row *ret_row)
{
    struct err err = {0};
    for (size_t i = 0; memory_io_name(w->memory, i, ret_name); i++) {
        uint64_t bytes = 0, f, records[FRAME_ITEMS];
        uint8_t count = 0;
        const char *at = strstr(ret_name, "/pack/");
        if (!at)
            continue;
        struct pack_key key = {5, store_seed(w->store), (uint32_t)strtoul(at + 6, NULL, 16), 0};
        VW_OK(io_size(w->io, ret_name, &bytes, &err));
        AUTO(pack_dir) struct pack_dir *dir = pack_dir_read(w->io, &key, bytes, &err);
        VW_OK(dir);
        for (uint32_t frame = 0; frame < pack_dir_frames(dir); frame++) {
            if (!pack_dir_row(dir, frame, ret_row) || ret_row->kind != FRAME_DATA)
                continue;
            VW_OK(pack_dir_subject(dir, w->io, frame, &f, records, &count, &err));
            for (uint8_t k = 0; f == file && k < count; k++)
                if (records[k] == record)
                    return;
        }
    }
    cr_assert_fail("no pack holds the record");
}

Test(scrub, names_snapshots_file_and_records_of_what_rotted)
{
    struct err err = {0};
    struct pack_row row;
    char name[IO_NAME_MAX];
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    tw_small(w, 3, 600);
    find_record(w, VW_FIRST_FILE, 201 - 1, name, &row);
    cr_assert(memory_io_flip(w->memory, name, row.offset + row.bytes - 5, 4));
    struct scrub_result result = scrub(w, tells);
    tw_print(tells);
    bool snapshots[2] = {false};
    bool head = false, object = false;
    for (size_t i = 0; i < tells->count; i++) {
        const struct told *t = &tells->told[i];
        cr_assert_eq(t->kind, FINDING_DAMAGE);
        object |= strcmp(t->object, name) == 0;
        if (!t->path[0])
            continue;
        cr_assert_str_eq(t->path, "a");
        cr_assert_str_eq(t->volume, "landing");
        if (t->first > 200 || t->first + t->count <= 200)
            continue;
        head |= !t->snapshot[0];
        for (size_t k = 0; k < 2; k++) {
            char wanted[20];
            IGNORE(str_format(wanted, sizeof wanted, "s%llu",
                              (unsigned long long)w->snapshots[k].sequence));
            snapshots[k] |= strcmp(t->snapshot, wanted) == 0;
        }
    }
    cr_assert(head && snapshots[0] && snapshots[1] && object);
    cr_assert_eq(result.damages, tells->count);
    vw_end(w);
}

Test(scrub, finds_any_byte_of_any_object_that_turned)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    unsigned seed = tw_seed(), flips = 0, stride = getenv("EVERCOPY_LONG") ? 1 : 101;
    tw_small(w, seed, 8);
    VW_OK(family_note_put(w->family, 77, "tags=a", &err));
    struct copied row = {w->volumes[0].id, w->snapshots[0].sequence};
    VW_OK(copies_put(w->io, store_seed(w->store), 5,
                     &(struct copies_of){.at_us = 7, .rows = &row, .count = 1}, &err));
    uint64_t at = (unsigned)rand_r(&seed) % stride;
    char name[IO_NAME_MAX];
    for (size_t i = 0; memory_io_name(w->memory, i, name); i++) {
        uint64_t bytes = 0;
        VW_OK(io_size(w->io, name, &bytes, &err));
        for (; at < bytes; at += stride, flips++) {
            uint8_t mask = (uint8_t)(1U << ((unsigned)rand_r(&seed) % 8));
            struct scrub_options options = {.found = tw_tell, .arg = tells};
            struct scrub_result result = {0};
            *tells = (struct tells){0};
            cr_assert(memory_io_flip(w->memory, name, at, mask));
            VW_OK(scrub_store(w->io, &options, &result, &err));
            cr_assert_gt(result.damages, 0, "byte %llu of '%s' turned unseen",
                         (unsigned long long)at, name);
            cr_assert(memory_io_flip(w->memory, name, at, mask));
        }
        at -= bytes;
    }
    printf("%u bytes turned\n", flips);
    scrub(w, tells);
    cr_assert_eq(tells->count, 0);
    vw_end(w);
}

struct stopper {
    struct tells *tells; /* first: the findings' argument is ours */
    unsigned asked, at;
};

static void tell_stopper(void *arg, const struct finding *finding)
{
    tw_tell(((struct stopper *)arg)->tells, finding);
}

static bool stop_at(void *arg)
{
    struct stopper *stopper = arg;
    return ++stopper->asked >= stopper->at;
}

Test(scrub, goes_on_where_it_was_stopped_and_forgets_no_damage)
{
    struct err err = {0};
    struct pack_row row;
    char name[IO_NAME_MAX], position[] = "/tmp/evercopy-scrub-XXXXXX";
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    int fd = mkstemp(position);
    close(fd);
    unlink(position);
    tw_small(w, 3, 600);
    for (int i = 0; i < 6; i++) { /* more packs */
        AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, &err);
        *next = w->volumes[0].now;
        vw_change(w, next, 100);
        VW_OK(vw_seal(w, &w->volumes[0], next, true, &err));
    }
    find_record(w, VW_FIRST_FILE, 200, name, &row);
    cr_assert(memory_io_flip(w->memory, name, row.offset + row.bytes - 5, 4));
    struct scrub_result result = scrub(w, tells);
    uint64_t whole = result.bytes, damages = result.damages;
    bool resumed = false, done = false;
    unsigned runs = 0;
    for (unsigned at = 30; !done && runs < 100; runs++, at += 10) {
        struct stopper stopper = {.tells = tells, .at = at};
        struct scrub_options options = {
            .position = position, .stop = stop_at, .found = tell_stopper, .arg = &stopper};
        *tells = (struct tells){0};
        err_clear(&err);
        done = scrub_store(w->io, &options, &result, &err);
        cr_assert(done || err.code == ERR_CANCELLED, "%s", err.text);
        resumed |= result.resumed;
    }
    cr_assert(done && resumed && runs > 1);
    cr_assert_lt(result.bytes, whole, "it began at the start");
    cr_assert_eq(result.damages, damages, "%llu instead of %llu",
                 (unsigned long long)result.damages, (unsigned long long)damages);
    cr_assert_neq(access(position, F_OK), 0);
    vw_end(w);
}

struct meddler {
    struct vw *w;
    unsigned calls, changes;
    bool busy;
};

/* Every now and then the owner seals, drops or thins in the middle of it. */
static bool meddle(void *arg, const struct memory_call *call, struct err *err)
{
    struct meddler *m = arg;
    if (m->busy || call->op != MEMORY_READ || ++m->calls % 5)
        return true;
    m->busy = true;
    struct vw *w = m->w;
    unsigned what = vw_below(w, 3);
    uint64_t freed;
    bool done = true;
    if (what == 0 || w->snapshot_count < 4) {
        AUTO(mem) struct vw_content *next = own_alloc(sizeof *next, err);
        *next = w->volumes[0].now;
        vw_change(w, next, 60);
        done = vw_seal(w, &w->volumes[0], next, w->snapshot_count < VW_SNAPSHOTS, err);
    } else if (what == 1) {
        done = vw_drop_snapshot(w, &w->snapshots[vw_below(w, (unsigned)w->snapshot_count)], err);
    } else {
        done = family_thin(w->family, NULL, NULL, &freed, err);
    }
    cr_assert(done, "%s", err->text);
    m->busy = ++m->changes > 30; /* it comes to an end */
    return true;
}

Test(scrub, runs_beside_an_owner_that_seals_drops_and_thins)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    tw_small(w, tw_seed(), 600);
    struct meddler m = {.w = w};
    memory_io_hook(w->memory, meddle, &m);
    struct scrub_result result = scrub(w, tells);
    memory_io_hook(w->memory, NULL, NULL);
    tw_print(tells);
    cr_assert_eq(result.damages, 0);
    cr_assert_gt(m.changes, 5);
    scrub(w, tells);
    cr_assert_eq(tells->count, 0);
    vw_end(w);
}

Test(scrub, keeps_to_its_bandwidth_and_can_change_nothing)
{
    struct err err = {0};
    AUTO(mem) struct vw *w = own_alloc(sizeof *w, &err);
    AUTO(mem) struct tells *tells = own_alloc(sizeof *tells, &err);
    tw_small(w, 3, 300);
    uint64_t bytes = scrub(w, tells).bytes;
    struct scrub_options options = {.bytes_per_s = bytes * 2};
    struct scrub_result result;
    uint64_t begun_ms = clock_mono_ms();
    VW_OK(scrub_store(w->io, &options, &result, &err));
    cr_assert_geq(clock_mono_ms() - begun_ms, 250, "half a second but for a burst");
    struct io *paced = paced_open(w->io, &(struct paced_options){0}, &err);
    VW_OK(paced);
    cr_assert_not(io_put(paced, "x", "y", 1, IO_NEW, &err));
    cr_assert_eq(err.code, ERR_DENIED);
    err_clear(&err);
    cr_assert_not(io_delete(paced, "evercopy-store", &err));
    cr_assert_eq(err.code, ERR_DENIED);
    err_clear(&err);
    cr_assert_null(io_create(paced, "x", &err));
    cr_assert_eq(err.code, ERR_DENIED);
    io_close(paced);
    vw_end(w);
}
