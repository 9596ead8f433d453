/* The shelf: what is kept is right after every kind of write, whoever made it, and bounded. */
#include "agent/catalog/catalog_int.h"
#include "agent/engine/acts.h"
#include "agent/engine/shelf.h"
#include "drivers/registry.h"
#include "tests/engine/plan_world.h"
#include "tests/lib/catalog_dir.h"
#include "tests/lib/memory_driver.h"

enum { OK = 1, WARNING, FAILED };
#define STORE "shelf-tests"

struct stage {
    struct catalog_dir dir;
    struct config_agent *config;
    struct world *world;
    struct shelf *shelf;
    struct pw w;
    size_t committed;
};

static void stage_done(struct stage *s)
{
    shelf_free(s->shelf);
    pw_done(&s->w);
    world_close(s->world);
    config_agent_free(s->config);
    catalog_dir_done(&s->dir);
    memory_store_reset(STORE);
}
OWN_DEFINE_INPLACE(stage, struct stage, stage_done);

static void stage_begin(struct stage *s, size_t bytes_max)
{
    static const char text[] = "[agent]\n[storage m]\ndriver = memory\nstore = " STORE "\n"
                               "[database ORCL]\nstorage = m\n[database B]\nstorage = m\n"
                               "[database C]\nstorage = m\n";
    struct err err = {0};
    registry_add_for_tests(&driver_memory);
    memory_store_reset(STORE);
    s->dir = catalog_dir_open();
    s->config = config_agent_parse(text, sizeof text - 1, "d.conf", &err);
    cr_assert(s->config, "%s", err.text);
    s->world = world_open(s->config, &err);
    cr_assert(s->world, "%s", err.text);
    s->shelf = shelf_new(bytes_max, &err);
    cr_assert(s->shelf);
    shelf_watch(s->shelf, s->dir.catalog);
}

/* A sound base that reaches from checkpoint + 5 to checkpoint + 100. */
static size_t add_base(struct stage *s, const char *kind, const char *run, uint64_t checkpoint)
{
    size_t i = pw_add(&s->w, kind, run);
    pw_copy(&s->w, i, 1, 10, checkpoint);
    pw_copy(&s->w, i, 2, 20, checkpoint + 5);
    pw_log(&s->w, i, 1, 1, 1, checkpoint + 100);
    struct facts *f = pw_facts(&s->w, i, checkpoint + 90);
    pw_thread(f, 1)->sequence = 2;
    pw_file(f, 1, 10)->header_scn = pw_scn(checkpoint);
    pw_file(f, 2, 20)->header_scn = pw_scn(checkpoint + 5);
    pw_controlfile(&s->w, i, "cf.bkp");
    return i;
}

static bool put(struct stage *s, const char *database, size_t i, struct err *err)
{
    struct catalog_snapshot row = {.created_us = 1000 + i};
    IGNORE(str_copy(row.database, sizeof row.database, database));
    IGNORE(str_copy(row.name, sizeof row.name, s->w.names[i]));
    IGNORE(str_copy(row.kind, sizeof row.kind, s->w.sources[i].kind));
    IGNORE(str_copy(row.run, sizeof row.run, s->w.runs[i]));
    AUTO(mem) char *manifest = manifest_to_json(pw_manifest(&s->w, i), err);
    AUTO(mem) char *facts = facts_to_json(pw_sheet(&s->w, i), err);
    return manifest && facts && catalog_snapshot_put(s->dir.catalog, &row, manifest, facts, err);
}

static const struct shelf_summary *ask(struct stage *s, const char *database)
{
    struct err err = {0};
    const struct config_served *db = world_database(s->world, database, &err);
    const struct shelf_summary *sum = shelf_summary(s->shelf, s->world, db, NULL, &err);
    cr_assert(sum, "%s", err.text);
    return sum;
}

/* What the catalog says, read anew. */
static void expect_fresh(struct stage *s, const char *database, const char *after)
{
    struct err err = {0};
    AUTO(shelf) struct shelf *other = shelf_new(SIZE_MAX, &err);
    const struct config_served *db = world_database(s->world, database, &err);
    struct shelf_summary kept = *ask(s, database);
    cr_assert(other);
    shelf_watch(other, s->dir.catalog);
    const struct shelf_summary *fresh = shelf_summary(other, s->world, db, NULL, &err);
    cr_assert(fresh, "%s", err.text);
    cr_expect_eq(kept.recoverable_to.n, fresh->recoverable_to.n, "after %s: %lu, not %lu", after,
                 (unsigned long)kept.recoverable_to.n, (unsigned long)fresh->recoverable_to.n);
    cr_expect_eq(kept.snapshots, fresh->snapshots, "snapshots after %s", after);
    cr_expect_eq(kept.dbid, fresh->dbid, "dbid after %s", after);
    cr_expect_eq(kept.standing.verdict, fresh->standing.verdict, "verdict after %s", after);
    cr_expect_str_eq(kept.standing.cause, fresh->standing.cause, "after %s", after);
    cr_expect_str_eq(kept.standing.last.id, fresh->standing.last.id, "after %s", after);
    cr_expect_str_eq(kept.standing.running.id, fresh->standing.running.id, "after %s", after);
    cr_expect_str_eq(kept.base, fresh->base, "after %s", after);
    shelf_watch(s->shelf, s->dir.catalog);
}

#define STAGE(s)                                                                                   \
    AUTO(stage) struct stage s = {0};                                                              \
    stage_begin(&s, SHELF_BYTES)
#define DO(expression) cr_assert((expression), "%s: %s", #expression, err.text)

/* ---- writers: each makes what was kept untrue ---- */

static struct err err;
static const char backup_id[] = "backup-1";

static void write_base(struct stage *s)
{
    DO(put(s, "ORCL", add_base(s, "post", "r1", 1000), &err));
}
static void write_later_base(struct stage *s)
{
    DO(put(s, "ORCL", add_base(s, "post", "r2", 2000), &err));
}
/* The same name again, with another manifest: a snapshot that was read anew and is damaged. */
static void rewrite_damaged(struct stage *s)
{
    pw_manifest(&s->w, 1)->entries[0].state = STATE_DAMAGED;
    DO(put(s, "ORCL", 1, &err));
}
static void update_mid_merge(struct stage *s)
{
    DO(catalog_execute(s->dir.catalog, "UPDATE snapshot SET mid_merge = 1 WHERE run = 'r1'", &err));
}
static void delete_snapshot(struct stage *s)
{
    DO(catalog_snapshot_delete(s->dir.catalog, "ORCL", s->w.names[1], &err));
}
static void begin_job(struct stage *s)
{
    struct catalog_job job = {.kind = "backup", .database = "ORCL"};
    IGNORE(str_copy(job.id, sizeof job.id, backup_id));
    DO(catalog_job_add(s->dir.catalog, &job, "{}", &err));
}
static void fail_job(struct stage *s)
{
    DO(catalog_job_finish(s->dir.catalog, backup_id, JOB_FAILED, FAILED, "merge: no", "", &err));
}
static void delete_jobs(struct stage *s)
{
    DO(catalog_execute(s->dir.catalog, "DELETE FROM job", &err));
}
static void register_database(struct stage *s)
{
    struct catalog_database db = {.name = "ORCL", .dbid = PW_DBID};
    DO(catalog_database_put(s->dir.catalog, &db, &err));
}
static void change_dbid(struct stage *s)
{
    DO(catalog_execute(s->dir.catalog, "UPDATE database SET dbid = 7", &err));
}
static void put_suspects(struct stage *s)
{
    static const uint32_t files[] = {1};
    DO(backup_suspects_put(s->dir.catalog, "ORCL", files, 1, &err));
}
static void undo_a_group(struct stage *s)
{
    DO(catalog_group_begin(s->dir.catalog, &err));
    DO(put(s, "ORCL", add_base(s, "post", "r9", 9000), &err));
    cr_expect_gt(ask(s, "ORCL")->recoverable_to.n, 9000); /* kept from inside the group */
    catalog_group_drop(s->dir.catalog);
}
static void move_to_another_database(struct stage *s)
{
    DO(catalog_execute(s->dir.catalog, "UPDATE snapshot SET database = 'B'", &err));
}
static void move_back(struct stage *s)
{
    DO(catalog_execute(s->dir.catalog, "UPDATE snapshot SET database = 'ORCL'", &err));
}
/* By another process: an operator with sqlite3, or a rebuild. */
static void write_from_outside(struct stage *s)
{
    struct catalog *other = catalog_open(s->dir.path, &err);
    cr_assert(other, "%s", err.text);
    DO(catalog_execute(other, "DELETE FROM snapshot WHERE run = 'r2'", &err));
    catalog_close(other);
}

static const struct {
    const char *name;
    void (*write)(struct stage *s);
} writers[] = {
    {"a first base", write_base},
    {"a job that begins", begin_job},
    {"a job that fails", fail_job},
    {"a later base", write_later_base},
    {"registering", register_database},
    {"another dbid", change_dbid},
    {"suspects", put_suspects},
    {"a group that was undone", undo_a_group},
    {"a manifest that was read anew", rewrite_damaged},
    {"another database's rows", move_to_another_database},
    {"rows that came back", move_back},
    {"a mark in a row", update_mid_merge},
    {"jobs that were pruned", delete_jobs},
    {"another process", write_from_outside},
    {"another base", write_later_base},
    {"a snapshot that was deleted", delete_snapshot},
};

Test(shelf, whatever_writes_the_catalog_what_is_kept_is_as_if_read_anew)
{
    STAGE(s);
    err_clear(&err);
    expect_fresh(&s, "ORCL", "nothing");
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
        cr_assert(ask(&s, "ORCL") && ask(&s, "B"));
        writers[i].write(&s);
        expect_fresh(&s, "ORCL", writers[i].name);
        expect_fresh(&s, "B", writers[i].name);
    }
}

Test(shelf, a_red_row_is_red_at_once)
{
    STAGE(s);
    err_clear(&err);
    write_base(&s);
    begin_job(&s);
    cr_expect_eq(ask(&s, "ORCL")->standing.verdict, OK, "%s", ask(&s, "ORCL")->standing.cause);
    fail_job(&s);
    cr_expect_eq(ask(&s, "ORCL")->standing.verdict, FAILED);
    delete_jobs(&s);
    cr_expect_eq(ask(&s, "ORCL")->standing.verdict, OK);
    update_mid_merge(&s);
    cr_expect_eq(ask(&s, "ORCL")->standing.verdict, FAILED, "%s", ask(&s, "ORCL")->standing.cause);
}

Test(shelf, bad_blocks_that_the_storage_found_are_told_until_a_snapshot_has_none)
{
    STAGE(s);
    err_clear(&err);
    write_base(&s);
    write_later_base(&s);
    cr_expect_eq(ask(&s, "ORCL")->standing.verdict, OK);
    DO(catalog_snapshot_follow(s.dir.catalog, "ORCL", s.w.names[1], 1, 1, &err));
    const struct standing *standing = &ask(&s, "ORCL")->standing;
    cr_expect_eq(standing->verdict, WARNING);
    cr_expect_str_eq(standing->cause, "snapshot 'post-r2': the storage found 1 bad block in it");
    cr_expect(strstr(standing->next, "stat"), "%s", standing->next);
    cr_expect_str_eq(ask(&s, "ORCL")->base, "post-r1");
    DO(put(&s, "ORCL", add_base(&s, "post", "r3", 3000), &err));
    cr_expect_eq(ask(&s, "ORCL")->standing.verdict, OK);
}

Test(shelf, what_did_not_change_is_not_read_again)
{
    STAGE(s);
    err_clear(&err);
    write_base(&s);
    write_later_base(&s);
    DO(put(&s, "B", 0, &err));
    ask(&s, "ORCL");
    ask(&s, "B");
    struct shelf_figures before = shelf_figures(s.shelf);
    cr_expect_eq(before.parses, 3);
    ask(&s, "ORCL");
    begin_job(&s);
    ask(&s, "ORCL");
    cr_expect_eq(shelf_figures(s.shelf).loads, before.loads);
    DO(put(&s, "ORCL", add_base(&s, "post", "r3", 3000), &err));
    ask(&s, "ORCL");
    ask(&s, "B");
    cr_expect_eq(shelf_figures(s.shelf).parses, 4, "the new one alone is parsed");
    cr_expect_eq(shelf_figures(s.shelf).loads, before.loads + 1, "B did not change");
}

Test(shelf, a_survey_of_the_live_area_that_was_replaced_is_not_used_any_more)
{
    STAGE(s);
    err_clear(&err);
    write_base(&s);
    const struct config_served *db = world_database(s.world, "ORCL", &err);
    for (uint64_t end = 1200; end <= 1400; end += 100) {
        struct manifest *live = manifest_new(&err);
        struct manifest_entry *log = manifest_add(live, "archivelog/1_1.arc", &err);
        char *path = log->path;
        *log = *pw_find(&s.w, 0, "archivelog/1_1.arc");
        log->path = path;
        log->log.moments = NULL;
        log->log.moment_count = 0;
        log->log.next_scn = pw_scn(1100);
        struct manifest_entry *more = manifest_add(live, "archivelog/1_2.arc", &err);
        path = more->path;
        *more = live->entries[0];
        more->path = path;
        more->log.sequence = 2;
        more->log.first_scn = pw_scn(1100);
        more->log.next_scn = pw_scn(end);
        struct survey_kept *kept = survey_kept_new(live, &err);
        cr_assert(kept);
        const struct shelf_summary *sum = shelf_summary(s.shelf, s.world, db, kept, &err);
        cr_assert(sum, "%s", err.text);
        cr_expect_eq(sum->arrived_to.n, end);
        cr_expect_eq(sum->recoverable_to.n, 1100);
        survey_kept_unref(kept);
    }
    cr_expect_eq(ask(&s, "ORCL")->arrived_to.n, 1100);
}

Test(shelf, memory_is_bounded_and_summaries_stay)
{
    AUTO(stage) struct stage s = {0};
    stage_begin(&s, 1);
    err_clear(&err);
    write_base(&s);
    DO(put(&s, "B", 0, &err));
    ask(&s, "ORCL");
    ask(&s, "B");
    struct shelf_figures before = shelf_figures(s.shelf);
    cr_expect_eq(before.bytes, 0);
    cr_expect_eq(before.outlooks, 0);
    ask(&s, "ORCL");
    ask(&s, "B");
    cr_expect_eq(shelf_figures(s.shelf).loads, before.loads);
}

Test(shelf, the_longest_unused_goes_first)
{
    AUTO(stage) struct stage s = {0};
    stage_begin(&s, SHELF_BYTES);
    err_clear(&err);
    write_base(&s);
    DO(put(&s, "B", 0, &err) && put(&s, "C", 0, &err));
    ask(&s, "ORCL");
    size_t one = shelf_figures(s.shelf).bytes;
    shelf_free(s.shelf);
    s.shelf = shelf_new(one * 2 + one / 2, &err);
    shelf_watch(s.shelf, s.dir.catalog);
    static const char *const order[] = {"ORCL", "B", "ORCL", "C"};
    for (size_t i = 0; i < 4; i++)
        outlook_free(
            shelf_outlook(s.shelf, s.world, world_database(s.world, order[i], &err), NULL, &err));
    uint64_t loads = shelf_figures(s.shelf).loads;
    cr_expect_leq(shelf_figures(s.shelf).bytes, one * 2 + one / 2);
    outlook_free(
        shelf_outlook(s.shelf, s.world, world_database(s.world, "ORCL", &err), NULL, &err));
    cr_expect_eq(shelf_figures(s.shelf).loads, loads);
    outlook_free(shelf_outlook(s.shelf, s.world, world_database(s.world, "B", &err), NULL, &err));
    cr_expect_eq(shelf_figures(s.shelf).loads, loads + 1);
}

Test(shelf, what_nobody_asks_for_is_given_back_and_summaries_stay)
{
    STAGE(s);
    err_clear(&err);
    write_base(&s);
    ask(&s, "ORCL");
    cr_expect_not(shelf_rest(s.shelf, SHELF_IDLE_MS));
    clock_test_shift(SHELF_IDLE_MS + 1);
    cr_expect(shelf_rest(s.shelf, SHELF_IDLE_MS));
    cr_expect_eq(shelf_figures(s.shelf).bytes, 0);
    struct shelf_figures before = shelf_figures(s.shelf);
    cr_expect_eq(ask(&s, "ORCL")->recoverable_to.n, 1100);
    cr_expect_eq(shelf_figures(s.shelf).loads, before.loads);
    clock_test_shift(0);
}

Test(shelf, texts_parsed_elsewhere_are_dropped_when_their_row_was_written_meanwhile)
{
    STAGE(s);
    err_clear(&err);
    write_base(&s);
    write_later_base(&s);
    const struct config_served *db = world_database(s.world, "ORCL", &err);
    AUTO(shelf_order) struct shelf_order order = {0};
    cr_assert(shelf_next(s.shelf, s.world, db, NULL, true, &order, &err));
    cr_expect_eq(order.left, 2);
    shelf_order_run(&order);
    shelf_fill(s.shelf, &order);
    cr_assert(shelf_next(s.shelf, s.world, db, NULL, true, &order, &err));
    cr_expect_eq(order.left, 1);
    shelf_order_run(&order);
    rewrite_damaged(&s);
    shelf_fill(s.shelf, &order);
    expect_fresh(&s, "ORCL", "a row written while it was parsed");
    cr_expect_not(shelf_next(s.shelf, s.world, db, NULL, true, &order, &err));
    cr_expect_eq(err.code, ERR_NONE);
}
