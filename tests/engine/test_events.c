/* Events: a bounded queue before hooks that may be slow, and a snapshot with hooks around it. */
#include "agent/engine/acts.h"
#include "agent/engine/events.h"
#include "agent/engine/expiry.h"
#include "agent/engine/lookout.h"
#include "drivers/registry.h"
#include "tests/firmware-hooks/hook_dir.h"
#include "tests/lib/memory_driver.h"

#define STORE "events-tests"

struct house {
    struct hook_dir h;
    struct config_agent *config;
    struct world *world;
    struct events *events;
    struct engine *engine;
};

static void house_done(struct house *s)
{
    engine_free(s->engine);
    events_free(s->events);
    world_close(s->world);
    config_agent_free(s->config);
    memory_store_reset(STORE);
    hook_dir_done(&s->h);
}
OWN_DEFINE_INPLACE(house, struct house, house_done);

static void house_begin(struct house *s, const char *keys)
{
    static const struct job_kind *const kinds[] = {&job_kind_snapshot, &job_kind_clone,
                                                   &job_kind_clone_drop, &job_kind_backup};
    struct err err = {0};
    hook_dir_begin(&s->h);
    AUTO(mem)
    char *text = own_printf(&err,
                            "[agent]\nhooks = %s\n%s\n[storage m]\ndriver = memory\nstore = " STORE
                            "\n[database ORCL]\nstorage = m\nvolume = v1\n",
                            s->h.hooks, keys);
    registry_add_for_tests(&driver_memory);
    memory_store_reset(STORE);
    s->config = config_agent_parse(text, strlen(text), "d.conf", &err);
    cr_assert(s->config, "%s", err.text);
    s->world = world_open(s->config, &err);
    s->events = events_new(s->config, &err);
    cr_assert(s->world && s->events, "%s", err.text);
    world_listen(s->world, s->events);
    struct engine_options options = {
        .kinds = kinds, .kind_count = 4, .act_workers = 2, .world = s->world};
    s->engine = drive_open(s->h.dir, &options, &err);
    cr_assert(s->engine, "%s", err.text);
    const struct config_served *db = &s->config->databases[0];
    cr_assert(driver_volume_create(world_driver(s->world, db), db->volume, &err), "%s", err.text);
}

#define HOUSE(s, keys)                                                                             \
    AUTO(house) struct house s = {0};                                                              \
    house_begin(&s, keys)

/* Until the file of the folder is there; at most ten seconds. */
static bool appears(const struct house *s, const char *name)
{
    uint64_t until = clock_mono_ms() + 10000;
    while (access(hook_path(&s->h, name), F_OK) != 0 && clock_mono_ms() < until)
        usleep(2000);
    return access(hook_path(&s->h, name), F_OK) == 0;
}

static bool emit(struct house *s, const char *event, const char *value)
{
    return events_emit(s->events, event, (const char *const[][2]){{"value", value}, {NULL, NULL}});
}

Test(events, nobody_listens_when_nothing_is_configured)
{
    struct err err = {0};
    AUTO(config_agent) struct config_agent *config = config_agent_parse("", 0, "d.conf", &err);
    cr_expect_null(events_new(config, &err));
    cr_expect_eq(err.code, ERR_NONE);
    cr_expect_not(events_emit(NULL, "job.end", (const char *const[][2]){{NULL, NULL}}));
    cr_expect_null(events_ask(NULL, "snapshot.before", (const char *const[][2]){{NULL, NULL}}));
    events_stop(NULL);
    events_free(NULL);
}

Test(events, emitting_never_waits_and_the_queue_is_bounded_and_told)
{
    HOUSE(s, "");
    hook_put(&s.h, "job.end/10-slow",
             "cat > $D/event.$$; mv $D/event.$$ $D/first; "
             "while [ ! -e $D/go ]; do sleep 0.02; done");
    hook_put(&s.h, "clone.made/10-last", "cat > $D/part; mv $D/part $D/last");
    cr_assert(emit(&s, "job.end", "one\ntwo"));
    cr_assert(appears(&s, "first"));
    uint64_t begun = clock_mono_ms();
    size_t kept = 0;
    for (int i = 0; i < 1000; i++)
        kept += emit(&s, "capacity.low", "x");
    cr_expect_lt(clock_mono_ms() - begun, 2000);
    cr_expect_eq(kept, EVENTS_QUEUE_MAX);
    struct events_counts c = events_counts(s.events);
    cr_expect(c.dropped == 1000 - EVENTS_QUEUE_MAX && c.queued == EVENTS_QUEUE_MAX);
    AUTO(mem) char *first = hook_text(hook_path(&s.h, "first"));
    cr_expect(strstr(first, "version=1\nevent=job.end\nid=") && strstr(first, "\ntime_us=") &&
                  strstr(first, "\nvalue=one\\x0atwo\n"),
              "%s", first);
    struct err err = {0};
    cr_assert(sys_write_file(hook_path(&s.h, "go"), "", 0, 0600, &err));
    uint64_t until = clock_mono_ms() + 20000;
    while (events_counts(s.events).queued && clock_mono_ms() < until)
        usleep(2000);
    cr_assert(emit(&s, "clone.made", "y"));
    cr_assert(appears(&s, "last"));
    AUTO(mem) char *last = hook_text(hook_path(&s.h, "last"));
    cr_expect(strstr(last, "\ndropped=744\n"), "the next hook hears how many: %s", last);
    until = clock_mono_ms() + 10000;
    while (!hook_logged(&s.h, "events were dropped before this one") && clock_mono_ms() < until)
        usleep(2000);
    cr_expect(hook_logged(&s.h, "the queue of hooks is full"));
    cr_expect(hook_logged(&s.h, "events were dropped before this one count=744"));
}

Test(events, large_ones_are_bounded_by_bytes)
{
    HOUSE(s, "");
    static char large[INPUT_VALUE_MAX + 1];
    memset(large, 'x', sizeof large - 1);
    hook_put(&s.h, "job.end/10-slow", "echo > $D/first; while [ ! -e $D/go ]; do sleep 0.02; done");
    cr_assert(emit(&s, "job.end", "first"));
    cr_assert(appears(&s, "first"));
    size_t kept = 0;
    for (int i = 0; i < 400; i++)
        kept += events_emit(
            s.events, "clone.made",
            (const char *const[][2]){{"a", large}, {"b", large}, {"c", large}, {NULL, NULL}});
    cr_expect(kept > 50 && kept * sizeof large * 3 <= EVENTS_BYTES_MAX, "%zu", kept);
    cr_expect_not(events_emit(s.events, "clone.made",
                              (const char *const[][2]){{"a", large},
                                                       {"b", large},
                                                       {"c", large},
                                                       {"d", large},
                                                       {"e", large},
                                                       {"f", large},
                                                       {"g", large},
                                                       {"h", large},
                                                       {"i", large},
                                                       {NULL, NULL}}),
                  "one event alone may have 32 KiB");
    struct err err = {0};
    cr_assert(sys_write_file(hook_path(&s.h, "go"), "", 0, 0600, &err));
}

Test(events, stopping_waits_a_moment_for_hooks_and_drops_the_rest)
{
    uint64_t begun;
    {
        HOUSE(s, "");
        hook_put(&s.h, "job.end/10-hangs", "echo > $D/first; exec sleep 1000");
        cr_assert(emit(&s, "job.end", "x") && emit(&s, "job.end", "y"));
        cr_assert(appears(&s, "first"));
        begun = clock_mono_ms();
        events_free(TAKE(s.events));
        cr_expect(hook_logged(&s.h, "hook was ended: the agent stops"));
        cr_expect(hook_logged(&s.h, "event dropped, hooks do not see it: the agent stops"));
    }
    cr_expect_lt(clock_mono_ms() - begun, 12000);
}

/* ---- around a snapshot ---- */

static struct drive_job *snapshot(struct house *s, const char *name, struct catalog_job *row)
{
    struct err err = {0};
    *row = (struct catalog_job){.database = "ORCL", .owner = "test"};
    AUTO(json) json_t *args = snapshot_args("ORCL", name, "manual", "", 77, &err);
    struct drive_job *job = drive_start(s->engine, "snapshot", row, args, &err);
    cr_assert(job, "%s", err.text);
    return job;
}

static size_t snapshots(struct house *s)
{
    struct err err = {0};
    size_t count;
    const struct config_served *db = &s->config->databases[0];
    AUTO(mem)
    struct driver_snapshot_info *list =
        driver_snapshot_list(world_driver(s->world, db), db->volume, &count, &err);
    cr_assert(list, "%s", err.text);
    return count;
}

Test(events, a_snapshot_waits_for_its_hooks_and_they_hear_when_it_is_taken)
{
    HOUSE(s, "");
    struct catalog_job row;
    struct err err = {0};
    hook_put(
        &s.h, "snapshot.before/10-freeze",
        "echo > $D/frozen; while [ ! -e $D/go ]; do sleep 0.02; done; echo before >> $D/order");
    hook_put(&s.h, "snapshot.after/10-thaw",
             "grep -E '^(result|snapshot)=' >> $D/order; echo > $D/thawed");
    struct drive_job *job = snapshot(&s, "ORCL-1-manual", &row);
    cr_assert(appears(&s, "frozen"));
    cr_expect_eq(snapshots(&s), 0, "it waits");
    cr_assert(sys_write_file(hook_path(&s.h, "go"), "", 0, 0600, &err));
    cr_assert(drive_wait(job, &row, &err), "%s", err.text);
    cr_assert(appears(&s, "thawed"));
    AUTO(mem) char *order = hook_text(hook_path(&s.h, "order"));
    cr_expect_str_eq(order, "before\nsnapshot=ORCL-1-manual\nresult=taken\n");
    cr_expect_eq(snapshots(&s), 1);
}

Test(events, a_hook_that_hangs_delays_a_snapshot_no_longer_than_it_may)
{
    HOUSE(s, "hookdelay = 1");
    struct catalog_job row;
    struct err err = {0};
    hook_put(&s.h, "snapshot.before/10-hangs", "trap '' INT; while :; do sleep 1; done");
    uint64_t begun = clock_mono_ms();
    cr_assert(drive_wait(snapshot(&s, "ORCL-1-manual", &row), &row, &err), "%s", err.text);
    cr_expect_lt(clock_mono_ms() - begun, 10000);
    cr_expect_eq(snapshots(&s), 1);
    cr_expect(hook_logged(&s.h, "was ended at its deadline"));
}

Test(events, hooks_of_a_snapshot_that_fails_hear_of_it_too)
{
    HOUSE(s, "");
    struct catalog_job row;
    struct err err = {0};
    hook_put(&s.h, "snapshot.before/10-freeze", "exit 0");
    hook_put(&s.h, "snapshot.after/10-thaw", "cat > $D/part; mv $D/part $D/thawed");
    driver_fault(2, ERR_IO, false); /* the listing, then the snapshot itself */
    bool ok = drive_wait(snapshot(&s, "ORCL-1-manual", &row), &row, &err);
    driver_fault(0, ERR_NONE, false);
    cr_assert_not(ok);
    cr_assert(appears(&s, "thawed"), "%s", err.text);
    AUTO(mem) char *thawed = hook_text(hook_path(&s.h, "thawed"));
    cr_expect(strstr(thawed, "result=failed\n"), "%s", thawed);
    cr_expect_eq(snapshots(&s), 0);
}

/* ---- clones past their time ---- */

struct expiring {
    struct expiry *expiry;
    bool put;
};

static void put_clone(struct catalog *c, const char *name, uint64_t expires_us)
{
    struct err err = {0};
    struct catalog_clone clone = {
        .database = "ORCL", .owner = "eve", .created_us = 1, .expires_us = expires_us};
    IGNORE(!str_copy(clone.name, sizeof clone.name, name));
    cr_assert(catalog_clone_put(c, &clone, &err), "%s", err.text);
}

static void tick(struct engine *engine, void *arg)
{
    struct expiring *e = arg;
    struct err err = {0};
    uint64_t now = clock_wall_us();
    if (e->put) {
        put_clone(engine_catalog(engine), "old", now - 3);
        put_clone(engine_catalog(engine), "older", now - 4);
        put_clone(engine_catalog(engine), "fresh", now + 3600000000u);
        put_clone(engine_catalog(engine), "endless", 0);
    }
    cr_assert(expiry_tick(e->expiry, &err), "%s", err.text);
}

Test(events, a_clone_past_its_time_is_told_once)
{
    HOUSE(s, "");
    struct err err = {0};
    struct expiring e = {expiry_new(s.engine, &err), true};
    hook_put(&s.h, "clone.expired/10-a", "grep -E '^clone=' >> $D/expired");
    hook_put(&s.h, "retention.applied/10-last", ": > $D/last");
    drive_call(s.engine, tick, &e);
    e.put = false;
    drive_call(s.engine, tick, &e);
    cr_assert(emit(&s, "retention.applied", "x"));
    cr_assert(appears(&s, "last"));
    AUTO(mem) char *expired = hook_text(hook_path(&s.h, "expired"));
    cr_expect(str_equal(expired, "clone=old\nclone=older\n"), "%s", expired);
    engine_free(TAKE(s.engine));
    expiry_free(e.expiry);
}

/* ---- the lookout ---- */

static _Atomic int verdict_now;

static bool judge(void *arg, const char *database, struct standing *ret, struct err *err)
{
    (void)arg;
    (void)err;
    *ret = (struct standing){.verdict = verdict_now};
    IGNORE(!str_format(ret->cause, sizeof ret->cause, "as %s\nstands", database));
    return true;
}

static void nothing(struct engine *engine, void *arg)
{
    (void)engine;
    (void)arg;
}

static void stop_watching(struct engine *engine, void *arg)
{
    (void)arg;
    catalog_watch_ends(engine_catalog(engine), NULL, NULL);
}

static void end_loop(void *arg) { loop_stop(arg); }

/* An agent's start as far as the lookout goes: looks and measures once, then ends. */
static void look_once(struct house *s)
{
    struct err err = {0};
    AUTO(loop) struct loop *loop = loop_new(&err);
    struct lookout_options options = {
        .loop = loop, .engine = s->engine, .world = s->world, .judge = judge};
    struct lookout *lookout = lookout_new(&options, &err);
    struct timer *end = timer_new(loop, end_loop, loop, &err);
    cr_assert(lookout && end, "%s", err.text);
    lookout_start(lookout);
    timer_set(end, 250, 0); /* for what must not happen there is no event to wait for */
    loop_run(loop);
    timer_free(end);
    lookout_stop(lookout);
    drive_call(s->engine, stop_watching, NULL);
    lookout_free(lookout);
}

/* What the file holds once every event was delivered. */
static const char *lines_of(const struct house *s, const char *name)
{
    static char text[2000];
    drive_call(s->engine, nothing, NULL); /* what jobs left to be told there is emitted then */
    uint64_t until = clock_mono_ms() + 10000;
    uint64_t wanted = events_counts(s->events).emitted - events_counts(s->events).dropped;
    while (events_counts(s->events).delivered < wanted && clock_mono_ms() < until)
        usleep(2000);
    AUTO(mem) char *found = hook_text(hook_path(&s->h, name));
    IGNORE(!str_format(text, sizeof text, "%s", found));
    return text;
}

Test(events, verdicts_are_told_when_they_change_and_room_when_it_gets_low_not_each_time)
{
    static const struct {
        uint64_t free_percent;
        int verdict;
        const char *low, *verdicts;
    } starts[] = {
        {50, 1, "", "none>ok\n"},
        {8, 1, "x\n", "none>ok\n"},                          /* low: told */
        {12, 3, "x\n", "none>ok\nok>failed\n"},              /* not yet recovered: silent */
        {8, 3, "x\n", "none>ok\nok>failed\n"},               /* still the same low */
        {40, 3, "x\n", "none>ok\nok>failed\n"},              /* recovered */
        {8, 1, "x\nx\n", "none>ok\nok>failed\nfailed>ok\n"}, /* low again */
    };
    HOUSE(s, "capacitylow = 10\ncapacityok = 15");
    struct err err = {0};
    static char bytes[1 << 20];
    hook_put(&s.h, "capacity.low/10-a", "cat > $D/room; echo x >> $D/low");
    hook_put(&s.h, "verdict.change/10-a",
             "while IFS== read -r k v; do case $k in old) o=$v;; new) n=$v;; esac; done; "
             "echo \"$o>$n\" >> $D/verdicts");
    cr_assert(memory_file_put(STORE, "v1", NULL, "f", bytes, sizeof bytes, 1, &err));
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        cr_assert(
            memory_store_limit(STORE, sizeof bytes * 100 / (100 - starts[i].free_percent), &err));
        verdict_now = starts[i].verdict;
        look_once(&s);
        cr_expect_str_eq(lines_of(&s, "low"), starts[i].low, "start %zu", i);
        cr_expect_str_eq(lines_of(&s, "verdicts"), starts[i].verdicts, "start %zu", i);
    }
    cr_expect(strstr(lines_of(&s, "room"), "\nvolume=v1\navailable="));
}

static char noted[400];

static void read_note(struct engine *engine, void *arg)
{
    struct err err = {0};
    (void)arg;
    cr_expect(lookout_closed(engine_catalog(engine), "ORCL", noted, sizeof noted, &err), "%s",
              err.text);
}

Test(events, a_volume_that_takes_no_changes_is_known_until_it_takes_them_again)
{
    static const char *const says[] = {"", "layer 3 takes nothing since: no disk", ""};
    HOUSE(s, "");
    struct err err = {0};
    verdict_now = 1;
    cr_assert(memory_file_put(STORE, "v1", NULL, "f", "f", 1, 1, &err));
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        cr_assert(memory_store_close(STORE, says[i], &err));
        look_once(&s);
        drive_call(s.engine, read_note, NULL);
        cr_expect_str_eq(noted, says[i], "start %zu", i);
    }
}

Test(events, ends_of_jobs_and_new_clones_are_told)
{
    HOUSE(s, "");
    struct err err = {0};
    struct catalog_job row;
    hook_put(&s.h, "job.end/10-a",
             "grep -E '^(kind|state|verdict)=' | tr '\\n' ' ' >> $D/ends; "
             "echo >> $D/ends");
    hook_put(&s.h, "clone.made/10-a", "grep -E '^(clone|owner|purpose)=' >> $D/made");
    AUTO(loop) struct loop *loop = loop_new(&err);
    struct lookout_options options = {
        .loop = loop, .engine = s.engine, .world = s.world, .judge = judge};
    struct lookout *lookout = lookout_new(&options, &err);
    cr_assert(lookout, "%s", err.text);
    cr_assert(drive_wait(snapshot(&s, "ORCL-1-manual", &row), &row, &err), "%s", err.text);
    struct catalog_clone clone = {.database = "ORCL",
                                  .name = "c1",
                                  .snapshot = "ORCL-1-manual",
                                  .owner = "eve",
                                  .purpose = "a\nclone=b"};
    for (int i = 0; i < 2; i++) {
        row = (struct catalog_job){.database = "ORCL", .owner = "eve"};
        AUTO(json) json_t *args = clone_args(&clone, NULL, NULL, &err);
        struct err why = {0};
        cr_expect_eq(drive_wait(drive_start(s.engine, "clone", &row, args, &err), &row, &why),
                     i == 0);
    }
    cr_expect_str_eq(lines_of(&s, "made"), "clone=c1\nowner=eve\npurpose=a\\x0aclone=b\n");
    cr_expect_str_eq(lines_of(&s, "ends"), "kind=snapshot state=done verdict=ok \n"
                                           "kind=clone state=done verdict=ok \n"
                                           "kind=clone state=failed verdict=failed \n");
    engine_free(TAKE(s.engine));
    lookout_stop(lookout);
    lookout_free(lookout);
}
