/* A storage and a catalog with proven snapshots of one database, for tests of retention's jobs. The
 * manifests are made in code; what lies in the storage is one small file. */
#pragma once
#include "agent/base/str.h"
#include "agent/engine/acts.h"
#include "agent/engine/keep.h"
#include "drivers/registry.h"
#include "tests/engine/plan_world.h"
#include "tests/lib/engine_drive.h"

enum { KW_SNAPSHOTS = 6 };

struct kw {
    struct config_agent *config;
    struct world *world;
    struct engine_options options;
};

static const struct job_kind *const kw_kinds[] = {&job_kind_snapshot, &job_kind_mark,
                                                  &job_kind_retention, &job_kind_backup};

static inline void kw_done(struct kw *k)
{
    world_close(k->world);
    config_agent_free(k->config);
    *k = (struct kw){0};
}
OWN_DEFINE_INPLACE(kw, struct kw, kw_done);

/* driver_keys: "driver = reflink\nroot = ...". Policy: of one hour the first, the floor, the last.
 */
static inline bool kw_begin(struct kw *k, const char *driver_keys, struct err *err)
{
    char text[900];
    IGNORE(!str_format(text, sizeof text,
                       "[storage fast]\n%s\n[database ORCL]\nstorage = fast\nvolume = v1\n"
                       "keephourly = 1\nkeepproven = 1\n",
                       driver_keys));
    k->config = config_agent_parse(text, strlen(text), "d.conf", err);
    k->world = k->config ? world_open(k->config, err) : NULL;
    k->options = (struct engine_options){.kinds = kw_kinds,
                                         .kind_count = sizeof kw_kinds / sizeof *kw_kinds,
                                         .act_workers = 2,
                                         .world = k->world};
    return k->world != NULL;
}

static inline const struct config_served *kw_db(const struct kw *k)
{
    return &k->config->databases[0];
}
static inline struct driver_ref *kw_driver(const struct kw *k)
{
    return world_driver(k->world, kw_db(k));
}

static inline void kw_name(size_t i, char ret[64])
{
    IGNORE(!str_format(ret, 64, "ORCL-2026010%zuT000000Z-post", i + 1));
}

static inline bool kw_put_row(struct catalog *c, struct pw *w, size_t i,
                              const struct driver_snapshot_info *info, struct err *err)
{
    struct catalog_snapshot row = {.database = "ORCL", .kind = "post"};
    IGNORE(!str_copy(row.name, sizeof row.name, info->name));
    IGNORE(!str_copy(row.run, sizeof row.run, w->runs[i]));
    IGNORE(!str_copy(row.driver_id, sizeof row.driver_id, info->id));
    row.created_us = info->created_us;
    AUTO(mem) char *manifest = manifest_to_json(w->sources[i].manifest, err);
    AUTO(mem) char *facts = facts_to_json(w->sources[i].facts, err);
    return manifest && facts && catalog_snapshot_put(c, &row, manifest, facts, err);
}

/* Each a base by itself: one file, one thread, a log that makes it consistent. */
static inline void kw_plan_world(struct pw *w)
{
    for (size_t i = 0; i < KW_SNAPSHOTS; i++) {
        char run[16], piece[40];
        uint64_t at = 100 + i * 100;
        IGNORE(!str_format(run, sizeof run, "r%zu", i));
        IGNORE(!str_format(piece, sizeof piece, "cf_%s.bkp", run));
        size_t s = pw_add(w, "post", run);
        struct facts *f = pw_facts(w, s, at + 10);
        pw_thread(f, 1);
        pw_file(f, 1, 5);
        pw_controlfile(w, s, piece);
        pw_copy(w, s, 1, 5, at);
        pw_log(w, s, 1, (uint32_t)i + 1, at - 20, at + 20);
    }
}

/* Snapshots on the storage and their rows in dir/catalog.db. */
static inline bool kw_fill(const struct kw *k, const char *dir, struct err *err)
{
    char path[4200], name[64];
    const char *volume = "v1";
    struct driver_handle handle;
    bool atomic, ok = driver_volume_create(kw_driver(k), volume, err);
    for (size_t i = 0; ok && i < KW_SNAPSHOTS; i++) {
        kw_name(i, name);
        ok = driver_snapshot_create(kw_driver(k), &volume, 1, name, &handle, &atomic, err) &&
             driver_note_put(kw_driver(k), volume, name, NULL, "{\"kind\":\"post\"}", err);
    }
    IGNORE(!str_format(path, sizeof path, "%s/catalog.db", dir));
    AUTO(catalog) struct catalog *c = ok ? catalog_open(path, err) : NULL;
    size_t count;
    AUTO(mem)
    struct driver_snapshot_info *list =
        c ? driver_snapshot_list(kw_driver(k), volume, &count, err) : NULL;
    if (!list)
        return false;
    AUTO(pw) struct pw w = {0};
    kw_plan_world(&w);
    struct catalog_database db = {.name = "ORCL", .dbid = PW_DBID, .db_name = "ORCL"};
    ok = catalog_database_put(c, &db, err);
    for (size_t i = 0; ok && i < KW_SNAPSHOTS; i++)
        ok = kw_put_row(c, &w, i, &list[i], err);
    return ok;
}

/* ---- asked on the engine's lane ---- */

struct kw_ask {
    const struct kw *k;
    size_t one; /* delete this one; SIZE_MAX: apply the plan */
    json_t *args;
    size_t going;
    struct err err;
};

static inline void kw_on_lane(struct engine *engine, void *arg)
{
    struct kw_ask *ask = arg;
    AUTO(keep)
    struct keep *keep =
        keep_decide(engine_catalog(engine), ask->k->world, kw_db(ask->k), NULL, &ask->err);
    if (!keep)
        return;
    ask->going = retention_going(keep->decision);
    if (ask->one == SIZE_MAX)
        ask->args = keep_apply_args(keep, "ORCL", &ask->err);
    else if (retention_may_delete(keep->decision, ask->one, &ask->err))
        ask->args = keep_delete_args(keep, ask->one, &ask->err);
}

/* args of a retention job as the service makes them; NULL with the reason. */
static inline json_t *kw_args(struct engine *engine, const struct kw *k, size_t one,
                              size_t *ret_going, struct err *err)
{
    struct kw_ask ask = {.k = k, .one = one};
    drive_call(engine, kw_on_lane, &ask);
    if (ret_going)
        *ret_going = ask.going;
    if (!ask.args)
        *err = ask.err;
    return ask.args;
}

/* Runs a job to its end; args are taken over. */
static inline bool kw_job(struct engine *engine, const char *kind, json_t *args,
                          struct catalog_job *ret_end, struct err *err)
{
    struct catalog_job row = {.database = "ORCL", .owner = "test"};
    if (!args)
        return false;
    bool ok = drive_wait(drive_start(engine, kind, &row, args, err), ret_end, err);
    json_decref(args);
    return ok;
}

static inline json_t *kw_hold(size_t i, const char *reason, uint64_t until_us, struct err *err)
{
    struct catalog_hold hold = {.database = "ORCL", .owner = "sam", .made_us = 1};
    hold.until_us = until_us;
    char name[64];
    kw_name(i, name);
    IGNORE(!str_copy(hold.snapshot, sizeof hold.snapshot, name));
    IGNORE(!str_copy(hold.reason, sizeof hold.reason, reason));
    return mark_hold_args(&hold, err);
}

static inline json_t *kw_lock(size_t i, uint64_t ms, bool by_storage, struct err *err)
{
    char name[64];
    kw_name(i, name);
    return mark_lock_args("ORCL", name, ms, by_storage, err);
}

static inline bool kw_listed(const struct kw *k, size_t i)
{
    char name[64];
    size_t count;
    struct err err = {0};
    kw_name(i, name);
    AUTO(mem)
    struct driver_snapshot_info *list = driver_snapshot_list(kw_driver(k), "v1", &count, &err);
    bool found = false;
    for (size_t n = 0; list && n < count; n++)
        found |= str_equal(list[n].name, name);
    return found;
}
