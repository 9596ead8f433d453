/* The contract under duress: killed processes, full storages, and every call failed in turn. */
#include "tests/drivers/promise.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "tests/lib/descriptors.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- kill -9 ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static uint32_t pick_seed(void)
{
    const char *given = getenv("EVERCOPY_SEED");
    uint64_t seed = clock_wall_us() & 0xffffff;
    if (given && !str_to_u64(given, UINT32_MAX, &seed))
        cr_assert(false, "EVERCOPY_SEED is no number");
    fprintf(stderr, "seed %lu (set EVERCOPY_SEED to repeat)\n", (unsigned long)seed);
    return (uint32_t)seed;
}

/* Works until it is killed; what fails, fails: names may be taken from the round before. */
static void work_forever(struct sandbox *s)
{
    for (unsigned i = 0;; i++) {
        struct err e = {0};
        char name[16];
        str_format(name, sizeof name, "k%u", i % 3);
        IGNORE(take(s, "v", name, &e));
        IGNORE(clone_of(s, "v", name, name, &e));
        IGNORE(driver_note_put(s->d, "v", name, NULL, "{\"i\":1}", &e));
        IGNORE(driver_clone_delete(s->d, "v", name, NULL, &e));
        if (i % 2)
            IGNORE(driver_snapshot_delete(s->d, "v", name, NULL, &e));
    }
}

static bool kill_one(struct sandbox *s, unsigned after_us, struct err *why)
{
    int ends[2];
    char byte;
    WANT(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        IGNORE(write(ends[1], "x", 1) != 1); /* the parent sees its absence */
        work_forever(s);
        _exit(1);
    }
    close(ends[1]);
    WANT(pid > 0 && read(ends[0], &byte, 1) == 1);
    close(ends[0]);
    usleep(after_us);
    int status = 0;
    WANT(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
    WANT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return true;
}

/* All that is listed is whole; then it is removed, so that the next round makes it again. */
static bool listed_is_whole(struct sandbox *s, struct err *why)
{
    size_t snapshots = 0, clones = 0;
    AUTO(mem) struct driver_snapshot_info *rows = driver_snapshot_list(s->d, "v", &snapshots, why);
    AUTO(mem)
    struct driver_clone_info *clone_rows = rows ? driver_clone_list(s->d, "v", &clones, why) : NULL;
    WANT(rows && clone_rows);
    for (size_t i = 0; i < snapshots; i++) {
        struct err e = {0};
        DO(is_whole(s, "v", rows[i].name, NULL, why));
        AUTO(mem) char *note = driver_note_get(s->d, "v", rows[i].name, NULL, &e);
        WANT(note ? str_equal(note, "{\"i\":1}") : e.code == ERR_NOT_FOUND);
    }
    for (size_t i = 0; i < clones; i++)
        DO(is_whole(s, "v", NULL, clone_rows[i].name, why));
    for (size_t i = 0; i < clones; i++)
        DO(driver_clone_delete(s->d, "v", clone_rows[i].name, NULL, why));
    for (size_t i = 0; i < snapshots; i++)
        DO(driver_snapshot_delete(s->d, "v", rows[i].name, NULL, why));
    return true;
}

PROMISE(creating_is_all_or_nothing_under_kill_9)
{
    if (s->row->one_process)
        return true; /* nothing of it would be left to look at */
    uint32_t seed = pick_seed(), swept = 0, left = 0;
    int rounds = getenv("EVERCOPY_LONG") ? 400 : 25;
    DO(make_volume(s, "v", why));
    for (int i = 0; i < rounds; i++) {
        DO(kill_one(s, next_random(&seed) % 8000, why));
        left += residue(s);
        DO(sandbox_reopen(s, why));
        DO(driver_sweep(s->d, &swept, why));
        WANT(residue(s) == 0);
        DO(listed_is_whole(s, why));
        DO(driver_sweep(s->d, &swept, why));
        WANT(swept == 0);
    }
    WANT(left > 0 || !s->row->residue); /* or the kills hit nothing and prove nothing */
    return is_whole(s, "v", NULL, NULL, why);
}

/* ---- a sweep beside living work ---- */

struct sweeper {
    struct sandbox *s;
    _Atomic bool stop;
    bool ok;
};

static void *sweep_until_told(void *arg)
{
    struct sweeper *sweeper = arg;
    struct err err = {0};
    sweeper->ok = true;
    while (!sweeper->stop && sweeper->ok) {
        sweeper->ok = driver_sweep(sweeper->s->d, NULL, &err);
        usleep(500);
    }
    return NULL;
}

PROMISE(a_sweep_spares_what_is_being_made)
{
    struct sweeper sweeper = {.s = s};
    pthread_t thread;
    int made = 0;
    DO(make_volume(s, "v", why));
    WANT(pthread_create(&thread, NULL, sweep_until_told, &sweeper) == 0);
    struct err e = {0};
    for (int i = 0; i < 30; i++) {
        char name[16];
        str_format(name, sizeof name, "s%d", i);
        made += take(s, "v", name, &e) && is_whole(s, "v", name, NULL, &e);
    }
    sweeper.stop = true;
    pthread_join(thread, NULL);
    WANT(sweeper.ok);
    if (made != 30)
        return err_set(why, ERR_INTERNAL, "%d of 30 made: %s", made, e.text);
    return true;
}

/* ---- a full storage ---- */

PROMISE(a_full_storage_says_so_and_lets_go)
{
    enum { ENOUGH = 4000 };
    struct err full = {0};
    char name[16];
    DO(make_volume(s, "v", why));
    DO(take(s, "v", "kept", why));
    DO(s->row->fill(s, why));
    int i = 0;
    for (; i < ENOUGH && !full.code; i++) {
        str_format(name, sizeof name, "s%d", i);
        IGNORE(take(s, "v", name, &full)); /* full tells */
    }
    WANT(i < ENOUGH && full.code == ERR_NO_SPACE && !err_is_transient(full.code));
    WANT(residue(s) == 0);
    WANT_CODE(clone_of(s, "v", "c", "kept", &e), NO_SPACE);
    WANT(residue(s) == 0);
    DO(clones_are(s, "v", "", why));
    DO(is_whole(s, "v", "kept", NULL, why));
    WANT_CODE(driver_area(s->d, "v", name, NULL, &e), NOT_FOUND);
    DO(sandbox_reopen(s, why)); /* an agent that starts on a full disk must be able to delete */
    for (int j = 0; j < i - 1; j++) {
        str_format(name, sizeof name, "s%d", j);
        DO(driver_snapshot_delete(s->d, "v", name, NULL, why));
    }
    return driver_snapshot_delete(s->d, "v", "kept", NULL, why) && snapshots_are(s, "v", "", why);
}

/* ---- every call failed in turn ---- */

/* What is done under faults; the volume 'v' with snapshot 'base' and its clone 'old' are there. */
struct deed {
    const char *name;
    bool (*prepare)(struct sandbox *s, struct err *err); /* may be NULL */
    bool (*act)(struct sandbox *s, struct err *err);
    bool creates; /* leaves nothing behind when it fails, even before a sweep */
};

static bool do_reopen(struct sandbox *s, struct err *err)
{
    AUTO(driver)
    struct driver_ref *d = driver_open(s->row->driver, s->options, s->option_count, err);
    return d;
}

static bool do_volume_info(struct sandbox *s, struct err *err)
{
    struct driver_volume_info info;
    return driver_volume_info(s->d, "v", &info, err);
}

static bool do_read(struct sandbox *s, struct err *err)
{
    return is_whole(s, "v", "base", NULL, err);
}

static bool do_snapshot(struct sandbox *s, struct err *err) { return take(s, "v", "f", err); }

static bool do_set(struct sandbox *s, struct err *err)
{
    const char *const set[] = {"v", "w"};
    return driver_snapshot_create(s->d, set, 2, "f", NULL, NULL, err);
}

static bool do_snapshot_delete(struct sandbox *s, struct err *err)
{
    return driver_snapshot_delete(s->d, "v", "f", NULL, err);
}

static bool do_snapshot_list(struct sandbox *s, struct err *err)
{
    return snapshots_are(s, "v", "base ", err);
}

static bool do_clone(struct sandbox *s, struct err *err)
{
    return clone_of(s, "v", "f", "base", err);
}

static bool do_compose(struct sandbox *s, struct err *err)
{
    const struct driver_part parts[] = {{"base", "data/system01.dbf", NULL},
                                        {"base", "data/users01.dbf", NULL},
                                        {NULL, "log_1_7.arc", NULL}};
    if (!(driver_abilities(s->d) & DRIVER_CAN_COMPOSE))
        return true;
    return driver_clone_create(s->d, "v", "f", NULL, parts, 3, NULL, err);
}

static bool do_clone_list(struct sandbox *s, struct err *err)
{
    return clones_are(s, "v", "old ", err);
}

static bool do_clone_delete(struct sandbox *s, struct err *err)
{
    return driver_clone_delete(s->d, "v", "f", NULL, err);
}

static bool do_note_put(struct sandbox *s, struct err *err)
{
    return driver_note_put(s->d, "v", "base", NULL, "{\"new\":1}", err);
}

static bool prepare_note(struct sandbox *s, struct err *err)
{
    return driver_note_put(s->d, "v", "base", NULL, "{\"old\":1}", err);
}

static bool do_note_get(struct sandbox *s, struct err *err)
{
    AUTO(mem) char *text = driver_note_get(s->d, "v", "base", NULL, err);
    return text;
}

static bool do_sweep(struct sandbox *s, struct err *err) { return driver_sweep(s->d, NULL, err); }

static const struct deed deeds[] = {
    {"open", NULL, do_reopen, true},
    {"volume info", NULL, do_volume_info, true},
    {"read", NULL, do_read, true},
    {"snapshot", NULL, do_snapshot, true},
    {"set", NULL, do_set, true},
    {"snapshot delete", do_snapshot, do_snapshot_delete, false},
    {"snapshot list", NULL, do_snapshot_list, true},
    {"clone", NULL, do_clone, true},
    {"compose", NULL, do_compose, true},
    {"clone list", NULL, do_clone_list, true},
    {"clone delete", do_clone, do_clone_delete, false},
    {"note put", prepare_note, do_note_put, true},
    {"note get", prepare_note, do_note_get, true},
    {"sweep", NULL, do_sweep, false},
};

/* 'f', whatever it is, exists whole or not at all; it is gone afterwards. */
static bool undo_f(struct sandbox *s, const char *volume, struct err *why)
{
    struct err e = {0};
    AUTO(area) struct area *snapshot = driver_area(s->d, volume, "f", NULL, &e);
    if (snapshot) {
        DO(is_whole(s, volume, "f", NULL, why));
        DO(driver_snapshot_delete(s->d, volume, "f", NULL, why));
    }
    AUTO(area) struct area *clone = driver_area(s->d, volume, NULL, "f", &e);
    if (clone) {
        area_close(TAKE(clone)); /* who reads a clone may keep it */
        DO(is_whole(s, volume, NULL, "f", why));
        DO(driver_clone_delete(s->d, volume, "f", NULL, why));
    }
    return true;
}

static bool world_is_right(struct sandbox *s, const struct deed *deed, struct err *why)
{
    if (deed->creates)
        WANT(residue(s) == 0);
    DO(driver_sweep(s->d, NULL, why));
    WANT(residue(s) == 0);
    DO(undo_f(s, "v", why) && undo_f(s, "w", why));
    DO(snapshots_are(s, "v", "base ", why) && clones_are(s, "v", "old ", why));
    DO(is_whole(s, "v", "base", NULL, why) && is_whole(s, "v", NULL, "old", why));
    struct err e = {0};
    AUTO(mem) char *note = driver_note_get(s->d, "v", "base", NULL, &e);
    WANT(note ? str_equal(note, "{\"old\":1}") || str_equal(note, "{\"new\":1}")
              : e.code == ERR_NOT_FOUND);
    return true;
}

enum fault { FAULT_SYS, FAULT_OWN };

static long set_fault(enum fault fault, long nth)
{
    return fault == FAULT_SYS ? sys_fault(nth, ENOSPC) : own_fault(nth);
}

/* One round; ret_hit: the fault was reached. */
static bool fail_nth(struct sandbox *s, const struct deed *deed, enum fault fault, long nth,
                     bool *ret_hit, struct err *why)
{
    if (deed->prepare)
        DO(deed->prepare(s, why));
    struct err e = {0};
    size_t files = descriptors_count();
    set_fault(fault, nth);
    bool ok = deed->act(s, &e);
    *ret_hit = set_fault(fault, 0) >= nth;
    WANT(descriptors_count() == files);
    WANT(ok == (e.code == ERR_NONE));
    enum err_code wanted = fault == FAULT_SYS ? ERR_NO_SPACE : ERR_NO_MEMORY;
    if (!ok && (!*ret_hit || e.code != wanted))
        return err_set(why, ERR_INTERNAL, "%s: %s", err_code_name(e.code), e.text);
    WANT(err_is_transient(wanted) == (fault == FAULT_OWN));
    return world_is_right(s, deed, why);
}

static bool fail_each_call(struct sandbox *s, const struct deed *deed, enum fault fault,
                           struct err *why)
{
    enum { MOST = 2000 };
    bool hit = true;
    for (long nth = 1; hit && nth < MOST; nth++)
        if (!fail_nth(s, deed, fault, nth, &hit, why))
            return err_wrap(why, "%s, %s fault %ld", deed->name,
                            fault == FAULT_SYS ? "system" : "memory", nth);
    WANT(!hit);
    return true;
}

static bool world_for_faults(struct sandbox *s, struct err *why)
{
    return make_volume(s, "v", why) && make_volume(s, "w", why) && take(s, "v", "base", why) &&
           clone_of(s, "v", "old", "base", why);
}

/* What a row shares with another is failed call by call there, and here in the long lane. */
static bool is_due(const struct sandbox *s, const struct deed *deed)
{
    bool own = deed->act == do_volume_info || deed->act == do_snapshot || deed->act == do_set;
    return own || !s->row->shares || getenv("EVERCOPY_LONG");
}

PROMISE(every_system_call_may_fail)
{
    DO(world_for_faults(s, why));
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        DO(!is_due(s, &deeds[i]) || fail_each_call(s, &deeds[i], FAULT_SYS, why));
    return true;
}

PROMISE(every_allocation_may_fail)
{
    DO(world_for_faults(s, why));
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        DO(!is_due(s, &deeds[i]) || fail_each_call(s, &deeds[i], FAULT_OWN, why));
    return true;
}

/* Apart, because no table row removes a volume: each round uses up a name. */
PROMISE(making_a_volume_may_fail)
{
    bool hit = true;
    for (long nth = 1; hit; nth++) {
        char name[16];
        struct err e = {0};
        struct driver_volume_info info;
        str_format(name, sizeof name, "v%ld", nth);
        sys_fault(nth, EIO);
        bool ok = driver_volume_create(s->d, name, &e);
        hit = sys_fault(0, 0) >= nth;
        WANT(ok || hit);
        WANT(driver_volume_info(s->d, name, &info, &e) == ok);
    }
    return true;
}
