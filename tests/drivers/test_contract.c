/* The contract: every promise of driver.h against every sandbox row, and proof that the referee
 * can say no. Interrupted and failing calls have test_interrupted.c. */
#include "tests/drivers/promise.h"

#include "agent/base/clock.h"
#include "drivers/registry.h"
#include "tests/lib/memory_driver.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

PROMISE(a_snapshot_is_a_point_in_time)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "then", why));
    DO(put(s, "v", NULL, "data/system01.dbf", "SYSTEM", why));
    DO(sandbox_write(s, "v", NULL, "data/users01.dbf", "longer", 6, 9000, why));
    DO(put(s, "v", NULL, "data/new.dbf", "new", why));
    DO(is_whole(s, "v", "then", NULL, why));
    DO(text_is(s, "v", NULL, NULL, "data/system01.dbf", "SYSTEM", why));
    DO(take(s, "v", "later", why));
    DO(text_is(s, "v", "later", NULL, "data/new.dbf", "new", why));
    DO(sandbox_reopen(s, why));
    return is_whole(s, "v", "then", NULL, why);
}

PROMISE(writes_into_a_clone_never_reach_its_parent)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "parent", why));
    DO(clone_of(s, "v", "a", "parent", why));
    DO(clone_of(s, "v", "b", "parent", why));
    DO(is_whole(s, "v", NULL, "a", why));
    DO(put(s, "v", "a", "data/system01.dbf", "opened", why));
    DO(put(s, "v", "a", "data/temp01.dbf", "temp", why));
    DO(put(s, "v", NULL, "data/users01.dbf", "later", why));
    DO(is_whole(s, "v", "parent", NULL, why));
    DO(is_whole(s, "v", NULL, "b", why));
    DO(text_is(s, "v", NULL, NULL, "data/system01.dbf", "system", why));
    DO(text_is(s, "v", NULL, "a", "data/system01.dbf", "opened", why));
    DO(text_is(s, "v", NULL, "a", "data/users01.dbf", "users", why));
    DO(driver_clone_delete(s->d, "v", "a", NULL, why));
    return is_whole(s, "v", "parent", NULL, why) && is_whole(s, "v", NULL, "b", why);
}

PROMISE(a_clone_survives_what_the_driver_lets_happen_to_its_snapshot)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "parent", why));
    DO(clone_of(s, "v", "c", "parent", why));
    struct err e = {0};
    bool deleted = driver_snapshot_delete(s->d, "v", "parent", NULL, &e);
    WANT(deleted || e.code == ERR_BUSY);
    return is_whole(s, "v", NULL, "c", why);
}

PROMISE(a_second_delete_says_not_found)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "s", why));
    DO(clone_of(s, "v", "c", "s", why));
    DO(driver_clone_delete(s->d, "v", "c", NULL, why));
    WANT_CODE(driver_clone_delete(s->d, "v", "c", NULL, &e), NOT_FOUND);
    DO(driver_snapshot_delete(s->d, "v", "s", NULL, why));
    WANT_CODE(driver_snapshot_delete(s->d, "v", "s", NULL, &e), NOT_FOUND);
    WANT_CODE(driver_snapshot_delete(s->d, "nowhere", "s", NULL, &e), NOT_FOUND);
    WANT_CODE(driver_area(s->d, "v", "s", NULL, &e), NOT_FOUND);
    return true;
}

PROMISE(the_list_shows_exactly_what_exists)
{
    size_t count = 9;
    DO(make_volume(s, "v", why));
    DO(make_volume(s, "w", why));
    DO(snapshots_are(s, "v", "", why));
    DO(clones_are(s, "v", "", why));
    uint64_t before_us = clock_wall_us();
    DO(take(s, "v", "z", why));
    DO(take(s, "v", "a", why));
    DO(take(s, "v", "m", why));
    DO(take(s, "w", "other", why));
    DO(clone_of(s, "v", "c2", "a", why));
    DO(clone_of(s, "v", "c1", "a", why));
    DO(snapshots_are(s, "v", "z a m ", why));
    DO(clones_are(s, "v", "c2 c1 ", why));
    AUTO(mem) struct driver_snapshot_info *rows = driver_snapshot_list(s->d, "v", &count, why);
    WANT(rows && count == 3);
    WANT(rows[0].clone_count == 0 && rows[1].clone_count == 2 && rows[2].clone_count == 0);
    WANT(!str_equal(rows[0].id, rows[1].id) && !str_equal(rows[1].id, rows[2].id));
    WANT(rows[0].created_us >= before_us && rows[2].created_us <= clock_wall_us());
    WANT(str_equal(rows[0].volume, "v") && rows[0].space.logical == strlen("systemuserslog"));
    DO(driver_snapshot_delete(s->d, "v", "z", NULL, why));
    DO(take(s, "v", "z", why));
    DO(sandbox_reopen(s, why));
    DO(snapshots_are(s, "v", "a m z ", why));
    AUTO(mem) struct driver_snapshot_info *again = driver_snapshot_list(s->d, "v", &count, why);
    WANT(again && count == 3 && !str_equal(again[2].id, rows[0].id));
    WANT_CODE(driver_snapshot_list(s->d, "nowhere", &count, &e), NOT_FOUND);
    WANT_CODE(driver_clone_list(s->d, "nowhere", &count, &e), NOT_FOUND);
    return snapshots_are(s, "w", "other ", why);
}

PROMISE(a_name_is_given_once)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "s", why));
    DO(clone_of(s, "v", "c", "s", why));
    DO(put(s, "v", NULL, "data/system01.dbf", "SYSTEM", why));
    WANT_CODE(take(s, "v", "s", &e), EXISTS);
    WANT_CODE(clone_of(s, "v", "c", "s", &e), EXISTS);
    WANT_CODE(driver_volume_create(s->d, "v", &e), EXISTS);
    return is_whole(s, "v", "s", NULL, why) && is_whole(s, "v", NULL, "c", why);
}

PROMISE(names_may_be_as_long_as_the_limit)
{
    char name[DRIVER_NAME_MAX + 1];
    memset(name, 'n', sizeof name);
    name[DRIVER_NAME_MAX - 1] = '\0';
    DO(make_volume(s, name, why));
    DO(take(s, name, name, why));
    DO(clone_of(s, name, name, name, why));
    DO(is_whole(s, name, name, NULL, why));
    DO(is_whole(s, name, NULL, name, why));
    DO(driver_clone_delete(s->d, name, name, NULL, why));
    DO(driver_snapshot_delete(s->d, name, name, NULL, why));
    DO(make_volume(s, "ORA$#_1.x-y", why));
    return take(s, "ORA$#_1.x-y", "ORA$#_1-20261121T143207Z-pre", why);
}

PROMISE(hostile_names_are_refused)
{
    char long_name[DRIVER_NAME_MAX + 1];
    memset(long_name, 'n', DRIVER_NAME_MAX);
    long_name[DRIVER_NAME_MAX] = '\0';
    const char *const hostile[] = {"../x", "a/b", "",     long_name, "a\nb", ".x", "a..b",
                                   "-rf",  "a b", "\xff", "..",      "/",    "a'b"};
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "s", why));
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        const char *name = hostile[i];
        WANT_CODE(driver_volume_create(s->d, name, &e), INVALID);
        WANT_CODE(take(s, name, "x", &e), INVALID);
        WANT_CODE(take(s, "v", name, &e), INVALID);
        WANT_CODE(clone_of(s, "v", name, "s", &e), INVALID);
        WANT_CODE(clone_of(s, "v", "x", name, &e), INVALID);
        WANT_CODE(driver_snapshot_delete(s->d, "v", name, NULL, &e), INVALID);
        WANT_CODE(driver_clone_delete(s->d, "v", name, NULL, &e), INVALID);
        WANT_CODE(driver_area(s->d, "v", name, NULL, &e), INVALID);
        WANT_CODE(driver_note_put(s->d, "v", name, NULL, "{}", &e), INVALID);
    }
    return snapshots_are(s, "v", "s ", why) && clones_are(s, "v", "", why);
}

struct cloner {
    struct sandbox *s;
    char name[8];
    bool ok;
    struct err err;
};

static void *clone_in_thread(void *arg)
{
    struct cloner *c = arg;
    c->ok = clone_of(c->s, "v", c->name, "s", &c->err);
    return NULL;
}

static void clone_at_once(struct cloner *cloners, size_t count)
{
    pthread_t threads[8];
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, clone_in_thread, &cloners[i]), 0);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

PROMISE(two_clones_at_once_are_two_clones)
{
    struct cloner apart[4] = {{.s = s, .name = "c0"},
                              {.s = s, .name = "c1"},
                              {.s = s, .name = "c2"},
                              {.s = s, .name = "c3"}};
    struct cloner same[4];
    for (int i = 0; i < 4; i++)
        same[i] = (struct cloner){.s = s, .name = "one"};
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "s", why));
    clone_at_once(apart, 4);
    for (int i = 0; i < 4; i++) {
        WANT(apart[i].ok);
        DO(is_whole(s, "v", NULL, apart[i].name, why));
    }
    clone_at_once(same, 4);
    int made = 0;
    for (int i = 0; i < 4; i++) {
        WANT(same[i].ok || same[i].err.code == ERR_EXISTS);
        made += same[i].ok;
    }
    WANT(made == 1);
    DO(is_whole(s, "v", NULL, "one", why));
    WANT(residue(s) == 0);
    return true;
}

static bool available(struct sandbox *s, uint64_t *ret, struct err *why)
{
    struct driver_volume_info info;
    if (!driver_volume_info(s->d, "v", &info, why))
        return false;
    *ret = info.available;
    return info.available <= info.capacity || err_set(why, ERR_INTERNAL, "more than there is");
}

/* What no storage can compress or share. */
static void fill_odd(char *bytes, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (char)(seed >> 56);
    }
}

/* Waits, as long as the storage may lag, until at most or at least so much is available. */
static bool comes_to(struct sandbox *s, uint64_t least, uint64_t most, uint64_t *ret,
                     struct err *why)
{
    uint64_t deadline_ms = clock_mono_ms() + s->row->delete_lag_ms;
    do
        DO(available(s, ret, why));
    while ((*ret < least || *ret > most) && clock_mono_ms() < deadline_ms && usleep(10000) == 0);
    return (*ret >= least && *ret <= most) ||
           err_set(why, ERR_INTERNAL, "%llu bytes are available, not %llu to %llu",
                   (unsigned long long)*ret, (unsigned long long)least, (unsigned long long)most);
}

PROMISE(capacity_moves_the_right_way)
{
    enum { BIG = 8 << 20, SMALL = 1 << 20 };
    AUTO(mem) char *bytes = own_alloc(BIG, why);
    uint64_t empty = 0, written = 0, shared = 0, rewritten = 0, freed = 0;
    struct driver_volume_info info;
    DO(make_volume(s, "v", why) && available(s, &empty, why));
    fill_odd(bytes, BIG, 1);
    DO(sandbox_write(s, "v", NULL, "big.dbf", bytes, BIG, 0, why));
    DO(comes_to(s, 0, empty - BIG + SMALL, &written, why));
    DO(driver_volume_info(s->d, "v", &info, why));
    WANT(info.space.logical == BIG + strlen("systemuserslog") && str_equal(info.name, "v"));
    if (s->row->copies)
        return take(s, "v", "s", why) && comes_to(s, 0, written - BIG + SMALL, &shared, why);
    DO(take(s, "v", "s", why) && comes_to(s, written - SMALL, written + SMALL, &shared, why));
    fill_odd(bytes, BIG, 2);
    DO(sandbox_write(s, "v", NULL, "big.dbf", bytes, BIG, 0, why));
    DO(comes_to(s, 0, shared - BIG + SMALL, &rewritten, why));
    DO(driver_snapshot_delete(s->d, "v", "s", NULL, why));
    return comes_to(s, rewritten + BIG - SMALL, UINT64_MAX, &freed, why);
}

PROMISE(times_and_empty_files_are_kept)
{
    DO(make_volume(s, "v", why));
    DO(sandbox_write(s, "v", NULL, "empty", "", 0, 0, why));
    DO(sandbox_write(s, "v", NULL, "a\xff\n b/odd%name", "x", 1, 0, why));
    DO(take(s, "v", "s", why));
    DO(clone_of(s, "v", "c", "s", why));
    AUTO(area) struct area *live = driver_area(s->d, "v", NULL, NULL, why);
    AUTO(area) struct area *clone = driver_area(s->d, "v", NULL, "c", why);
    AUTO(area_list) struct area_list wanted = {0};
    AUTO(area_list) struct area_list got = {0};
    DO(live && clone && area_list(live, 9, &wanted, why) && area_list(clone, 9, &got, why));
    WANT(wanted.count == 5 && got.count == 5);
    for (size_t i = 0; i < 5; i++) {
        WANT(str_equal(wanted.files[i].path, got.files[i].path));
        WANT(wanted.files[i].size == got.files[i].size);
        WANT(wanted.files[i].mtime_us == got.files[i].mtime_us);
    }
    return true;
}

PROMISE(a_clone_can_be_composed)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "a", why));
    DO(put(s, "v", NULL, "data/system01.dbf", "SYSTEM", why));
    DO(take(s, "v", "b", why));
    DO(put(s, "v", NULL, "arc/log_1_8.arc", "newest", why));
    const struct driver_part parts[] = {
        {"a", "data/system01.dbf", NULL},
        {"b", "data/system01.dbf", "from/b/system01.dbf"},
        {NULL, "arc/log_1_8.arc", "from/live.arc"},
    };
    if (!(driver_abilities(s->d) & DRIVER_CAN_COMPOSE)) {
        WANT_CODE(driver_clone_create(s->d, "v", "c", NULL, parts, 3, NULL, &e), UNSUPPORTED);
        return true;
    }
    DO(driver_clone_create(s->d, "v", "c", NULL, parts, 3, NULL, why));
    DO(text_is(s, "v", NULL, "c", "data/system01.dbf", "system", why));
    DO(text_is(s, "v", NULL, "c", "from/b/system01.dbf", "SYSTEM", why));
    DO(text_is(s, "v", NULL, "c", "from/live.arc", "newest", why));
    AUTO(area) struct area *area = driver_area(s->d, "v", NULL, "c", why);
    AUTO(area_list) struct area_list list = {0};
    DO(area && area_list(area, 9, &list, why));
    WANT(list.count == 3);
    DO(put(s, "v", "c", "from/live.arc", "NEWEST", why));
    DO(text_is(s, "v", NULL, NULL, "arc/log_1_8.arc", "newest", why));
    DO(driver_clone_create(s->d, "v", "live", NULL, &parts[2], 1, NULL, why));
    size_t count = 0;
    AUTO(mem) struct driver_clone_info *rows = driver_clone_list(s->d, "v", &count, why);
    WANT(rows && count == 2 && str_equal(rows[0].snapshot, "a") && !*rows[1].snapshot);
    WANT(rows[0].space.logical == strlen("systemSYSTEMnewest"));
    return true;
}

PROMISE(bad_recipes_are_refused)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "a", why));
    const struct driver_part twice[] = {{"a", "log_1_7.arc", "x"}, {NULL, "log_1_7.arc", "x"}};
    const struct driver_part inside[] = {
        {"a", "log_1_7.arc", "x"}, {"a", "log_1_7.arc", "x-"}, {NULL, "log_1_7.arc", "x/y/z"}};
    const struct driver_part out[] = {{"a", "../../v/log_1_7.arc", "x"}};
    const struct driver_part out_to[] = {{"a", "log_1_7.arc", "/etc/x"}};
    const struct driver_part missing[] = {{"a", "log_1_7.arc", "x"}, {"a", "nothing", NULL}};
    const struct driver_part nobody[] = {{"nobody", "log_1_7.arc", "x"}};
    if (!(driver_abilities(s->d) & DRIVER_CAN_COMPOSE))
        return true;
    WANT_CODE(driver_clone_create(s->d, "v", "c", NULL, twice, 2, NULL, &e), INVALID);
    WANT_CODE(driver_clone_create(s->d, "v", "c", NULL, inside, 3, NULL, &e), INVALID);
    WANT_CODE(driver_clone_create(s->d, "v", "c", NULL, out, 1, NULL, &e), INVALID);
    WANT_CODE(driver_clone_create(s->d, "v", "c", NULL, out_to, 1, NULL, &e), INVALID);
    WANT_CODE(driver_clone_create(s->d, "v", "c", NULL, missing, 2, NULL, &e), NOT_FOUND);
    WANT_CODE(driver_clone_create(s->d, "v", "c", NULL, nobody, 1, NULL, &e), NOT_FOUND);
    WANT(residue(s) == 0);
    return clones_are(s, "v", "", why);
}

PROMISE(a_set_is_taken_of_every_volume_or_none)
{
    const char *const both[] = {"v", "w"};
    const char *const holed[] = {"v", "nowhere"};
    const char *const doubled[] = {"v", "v"};
    struct driver_handle handles[2];
    bool atomic = true;
    DO(make_volume(s, "v", why) && make_volume(s, "w", why));
    WANT_CODE(driver_snapshot_create(s->d, holed, 2, "s", NULL, NULL, &e), NOT_FOUND);
    WANT_CODE(driver_snapshot_create(s->d, doubled, 2, "s", NULL, NULL, &e), INVALID);
    WANT_CODE(driver_snapshot_create(s->d, both, 0, "s", NULL, NULL, &e), INVALID);
    WANT_CODE(driver_snapshot_create(s->d, both, DRIVER_SET_MAX + 1, "s", NULL, NULL, &e), INVALID);
    DO(snapshots_are(s, "v", "", why));
    DO(take(s, "w", "s", why));
    WANT_CODE(driver_snapshot_create(s->d, both, 2, "s", NULL, NULL, &e), EXISTS);
    DO(snapshots_are(s, "v", "", why));
    DO(driver_snapshot_create(s->d, both, 2, "set", handles, &atomic, why));
    WANT(atomic == !!(driver_abilities(s->d) & DRIVER_CAN_SET_ATOMIC));
    for (int i = 0; i < 2; i++) {
        bool done = false;
        DO(driver_poll(s->d, &handles[i], &done, why));
        WANT(done);
        DO(is_whole(s, both[i], "set", NULL, why));
    }
    WANT(residue(s) == 0);
    return true;
}

PROMISE(notes_stay_with_their_object)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "s", why));
    DO(clone_of(s, "v", "c", "s", why));
    WANT_CODE(driver_note_get(s->d, "v", "s", NULL, &e), NOT_FOUND);
    DO(driver_note_put(s->d, "v", "s", NULL, "{\"hold\":1}", why));
    DO(driver_note_put(s->d, "v", NULL, "c", "{\"lease\":\"x\"}", why));
    DO(driver_note_put(s->d, "v", "s", NULL, "{\"hold\":2}", why));
    DO(sandbox_reopen(s, why));
    AUTO(mem) char *held = driver_note_get(s->d, "v", "s", NULL, why);
    AUTO(mem) char *lease = driver_note_get(s->d, "v", NULL, "c", why);
    WANT(str_equal(held, "{\"hold\":2}") && str_equal(lease, "{\"lease\":\"x\"}"));
    DO(is_whole(s, "v", "s", NULL, why) && is_whole(s, "v", NULL, "c", why));
    WANT_CODE(driver_note_put(s->d, "v", "s", NULL, "no json", &e), INVALID);
    WANT_CODE(driver_note_put(s->d, "v", "none", NULL, "{}", &e), NOT_FOUND);
    WANT_CODE(driver_note_put(s->d, "v", NULL, NULL, "{}", &e), INVALID);
    AUTO(mem) char *big = own_alloc((64 << 10) + 2, why);
    memset(big, ' ', (64 << 10) + 1);
    big[0] = '{';
    big[1] = '}';
    WANT_CODE(driver_note_put(s->d, "v", "s", NULL, big, &e), LIMIT);
    DO(driver_snapshot_delete(s->d, "v", "s", NULL, why));
    DO(take(s, "v", "s", why));
    WANT_CODE(driver_note_get(s->d, "v", "s", NULL, &e), NOT_FOUND);
    return true;
}

PROMISE(a_locked_snapshot_stays)
{
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "s", why));
    uint64_t until_ms = clock_boot_ms() + 60000;
    if (!(driver_abilities(s->d) & DRIVER_CAN_LOCK)) {
        WANT_CODE(driver_snapshot_lock(s->d, "v", "s", until_ms, &e), UNSUPPORTED);
        return true;
    }
    DO(driver_snapshot_lock(s->d, "v", "s", until_ms, why));
    WANT_CODE(driver_snapshot_lock(s->d, "v", "s", until_ms - 1, &e), PRECONDITION);
    WANT_CODE(driver_snapshot_lock(s->d, "v", "none", until_ms, &e), NOT_FOUND);
    WANT_CODE(driver_snapshot_delete(s->d, "v", "s", NULL, &e), PRECONDITION);
    DO(snapshots_are(s, "v", "s ", why));
    if (!s->row->own_clock) {
        clock_test_shift(60001);
        return driver_snapshot_delete(s->d, "v", "s", NULL, why);
    }
    DO(take(s, "v", "short", why));
    until_ms = clock_boot_ms() + 200;
    DO(driver_snapshot_lock(s->d, "v", "short", until_ms, why));
    for (;;) { /* bounded by the test's own limit of time */
        struct err e = {0};
        if (driver_snapshot_delete(s->d, "v", "short", NULL, &e))
            break;
        WANT(e.code == ERR_PRECONDITION);
    }
    WANT(clock_boot_ms() >= until_ms);
    return true;
}

PROMISE(a_mount_text_says_how_to_reach_a_clone_and_the_live_area)
{
    char mount[512];
    char live[512];
    char small[4];
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "s", why));
    DO(clone_of(s, "v", "c", "s", why));
    DO(driver_clone_mount(s->d, "v", "c", mount, sizeof mount, why));
    WANT(strchr(mount, ':'));
    WANT_CODE(driver_clone_mount(s->d, "v", "none", mount, sizeof mount, &e), NOT_FOUND);
    WANT_CODE(driver_clone_mount(s->d, "v", "c", small, sizeof small, &e), LIMIT);
    DO(driver_clone_mount(s->d, "v", NULL, live, sizeof live, why));
    WANT(strchr(live, ':') && !str_equal(live, mount));
    WANT_CODE(driver_clone_mount(s->d, "none", NULL, live, sizeof live, &e), NOT_FOUND);
    WANT_CODE(driver_clone_mount(s->d, "v", NULL, small, sizeof small, &e), LIMIT);
    return true;
}

PROMISE(what_is_put_into_a_live_area_is_there_whole)
{
    char big[40000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    DO(make_volume(s, "v", why));
    struct err first = {0};
    if (!driver_area_put(s->d, "v", "archivelog", NULL, 0, &first)) {
        WANT(first.code == ERR_UNSUPPORTED);
        return true;
    }
    DO(driver_area_put(s->d, "v", "archivelog", NULL, 0, why));
    DO(driver_area_put(s->d, "v", "a/b/facts", "first", 5, why));
    DO(driver_area_put(s->d, "v", "a/b/facts", big, sizeof big - 1, why));
    DO(driver_area_put(s->d, "v", "a/b/facts", "last", 4, why));
    DO(text_is(s, "v", NULL, NULL, "a/b/facts", "last", why));
    WANT_CODE(driver_area_put(s->d, "v", "../facts", "x", 1, &e), INVALID);
    WANT_CODE(driver_area_put(s->d, "none", "facts", "x", 1, &e), NOT_FOUND);
    AUTO(area) struct area *area = driver_area(s->d, "v", NULL, NULL, why);
    AUTO(area_list) struct area_list list = {0};
    DO(area && area_list(area, 100, &list, why));
    for (size_t i = 0; i < list.count; i++)
        WANT(!str_ends(list.files[i].path, ".tmp"));
    return true;
}

/* Waits for one about `path`. */
static bool is_told(struct sandbox *s, uint64_t *position, const char *path,
                    enum driver_event_kind kind, uint64_t within_ms, struct err *why)
{
    struct driver_event rows[16];
    uint64_t end_ms = clock_mono_ms() + within_ms;
    for (uint64_t now_ms; (now_ms = clock_mono_ms()) < end_ms;) {
        size_t count = 0;
        bool lost = false;
        DO(driver_watch(s->d, position, end_ms - now_ms, rows, 16, &count, &lost, why));
        WANT(!lost);
        for (size_t i = 0; i < count; i++)
            if (str_equal(rows[i].volume, "v") && str_equal(rows[i].path, path) &&
                rows[i].kind == kind)
                return true;
    }
    return err_set(why, ERR_TIMEOUT, "nothing was told of '%s'", path);
}

PROMISE(what_happens_to_files_is_told_at_once)
{
    uint64_t position = 0;
    size_t count = 0;
    bool lost = false;
    struct driver_event row;
    DO(make_volume(s, "v", why));
    if (!driver_can_watch(s->d)) {
        WANT_CODE(driver_watch(s->d, &position, 0, &row, 1, &count, &lost, &e), UNSUPPORTED);
        return true;
    }
    DO(driver_watch(s->d, &position, 0, &row, 1, &count, &lost, why));
    WANT(position != 0 && count == 0);
    /* A file that is put gets its name by a rename, told before the two seconds of quiet. */
    DO(driver_area_put(s->d, "v", "archivelog/1_7.dbf", "log", 3, why));
    DO(is_told(s, &position, "archivelog/1_7.dbf", DRIVER_FILE_ARRIVED, 1900, why));
    DO(sandbox_write(s, "v", NULL, "archivelog/1_8.dbf", "log", 3, 0, why));
    DO(is_told(s, &position, "archivelog/1_8.dbf", DRIVER_FILE_ARRIVED, 10000, why));
    return true;
}

PROMISE(opening_fails_cleanly)
{
    const struct driver_option odd = {"no-such-option", "x"};
    WANT_CODE(driver_open(s->row->driver, &odd, 1, &e), CONFIG);
    if (!s->row->needs_no_option)
        WANT_CODE(driver_open(s->row->driver, NULL, 0, &e), CONFIG);
    driver_close(NULL);
    return true;
}

static bool has(const void *function, uint32_t flag, uint32_t can)
{
    return !function == !(can & flag);
}

static bool flags_agree(const struct driver *row, struct err *why)
{
    WANT(row->name && row->open && row->close && row->volume_info && row->area);
    WANT(row->snapshot_create && row->snapshot_list && row->snapshot_delete && row->sweep);
    WANT(row->can & DRIVER_CAN_SNAPSHOT);
    WANT(has(row->volume_create, DRIVER_CAN_VOLUME_CREATE, row->can));
    WANT(has(row->clone_create, DRIVER_CAN_CLONE, row->can));
    WANT(has(row->clone_list, DRIVER_CAN_CLONE, row->can));
    WANT(has(row->clone_delete, DRIVER_CAN_CLONE, row->can));
    WANT(has(row->clone_mount, DRIVER_CAN_CLONE, row->can));
    WANT(has(row->snapshot_lock, DRIVER_CAN_LOCK, row->can));
    WANT(!row->note_put == !row->note_get);
    WANT(!(row->can & DRIVER_CAN_COMPOSE) || row->can & DRIVER_CAN_CLONE);
    return true;
}

PROMISE(flags_and_functions_agree)
{
    const struct driver *row = registry_find(s->row->driver, why);
    WANT(row && str_equal(driver_label(s->d), row->name) && driver_abilities(s->d) == row->can);
    return flags_agree(row, why);
}

/* ---- the referee says no: drivers that break one promise each ---- */

static struct area *shares_area(struct driver_instance *d, const char *volume, const char *snapshot,
                                const char *clone, struct err *err)
{
    (void)snapshot;
    return driver_memory.area(d, volume, NULL, clone, err);
}

/* Clones are the live area under another name. */
static struct area *aliases_area(struct driver_instance *d, const char *volume,
                                 const char *snapshot, const char *clone, struct err *err)
{
    (void)clone;
    return driver_memory.area(d, volume, snapshot, NULL, err);
}

/* Takes what it can of a set and forgets the rest. */
static bool half_create(struct driver_instance *d, const char *const *volumes, size_t count,
                        const char *name, struct driver_handle *ret_handles, bool *ret_atomic,
                        struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (!driver_memory.snapshot_create(d, &volumes[i], 1, name, &ret_handles[i], ret_atomic,
                                           err))
            return false;
    return true;
}

static bool silent_delete(struct driver_instance *d, const char *volume, const char *name,
                          struct driver_handle *ret_handle, struct err *err)
{
    struct err ignored = {0};
    (void)err;
    IGNORE(driver_memory.snapshot_delete(d, volume, name, ret_handle, &ignored)); /* the point */
    return true;
}

static struct driver_snapshot_info *short_list(struct driver_instance *d, const char *volume,
                                               size_t *ret_count, struct err *err)
{
    struct driver_snapshot_info *rows = driver_memory.snapshot_list(d, volume, ret_count, err);
    if (rows && *ret_count)
        *ret_count -= 1;
    return rows;
}

/* The promise must be broken by the table and kept by the driver it was made from. */
static void broken_by(struct driver *table, const char *name, promise_fn *promise)
{
    struct sandbox_row row = *sandbox_row(0);
    row.driver = table->name = name;
    registry_add_for_tests(table);
    struct err err = {0};
    struct sandbox s = {0};
    cr_assert(sandbox_begin(&s, &row, &err), "%s", err.text);
    cr_assert_not(promise(&s, &err), "the referee let '%s' pass", name);
    cr_assert_neq(err.code, ERR_NONE);
    sandbox_done(&s);
    err_clear(&err);
    cr_assert(sandbox_begin(&s, sandbox_row(0), &err) && promise(&s, &err), "%s", err.text);
    sandbox_done(&s);
}

static struct driver broken;

Test(referee, refuses_a_snapshot_that_shares_the_live_area)
{
    broken = driver_memory;
    broken.area = shares_area;
    broken_by(&broken, "shares", a_snapshot_is_a_point_in_time);
}

Test(referee, refuses_a_clone_that_is_the_live_area)
{
    broken = driver_memory;
    broken.area = aliases_area;
    broken_by(&broken, "aliases", writes_into_a_clone_never_reach_its_parent);
}

Test(referee, refuses_a_set_that_is_half_made)
{
    broken = driver_memory;
    broken.snapshot_create = half_create;
    broken_by(&broken, "half", a_set_is_taken_of_every_volume_or_none);
}

Test(referee, refuses_a_delete_that_always_says_yes)
{
    broken = driver_memory;
    broken.snapshot_delete = silent_delete;
    broken_by(&broken, "silent", a_second_delete_says_not_found);
}

Test(referee, refuses_a_list_that_leaves_something_out)
{
    broken = driver_memory;
    broken.snapshot_list = short_list;
    broken_by(&broken, "short", the_list_shows_exactly_what_exists);
}

Test(referee, refuses_a_flag_without_a_function)
{
    broken = driver_memory;
    broken.clone_create = NULL;
    broken_by(&broken, "flagged", flags_and_functions_agree);
}
