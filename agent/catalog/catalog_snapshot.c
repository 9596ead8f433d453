/* Snapshots and clones in the catalog. */
#include "agent/catalog/catalog.h"

#include "agent/catalog/catalog_int.h"

#define SNAPSHOT_COLUMNS "database, name, kind, run, driver_id, created_us, durability, mid_merge"

static void read_snapshot(struct query *q, void *row)
{
    struct catalog_snapshot *s = row;
    query_get_text(q, s->database, sizeof s->database);
    query_get_text(q, s->name, sizeof s->name);
    query_get_text(q, s->kind, sizeof s->kind);
    query_get_text(q, s->run, sizeof s->run);
    query_get_text(q, s->driver_id, sizeof s->driver_id);
    s->created_us = query_get_u64(q);
    s->durability = (int)query_get_u64(q);
    s->mid_merge = query_get_u64(q) != 0;
}

bool catalog_snapshot_put(struct catalog *c, const struct catalog_snapshot *s, const char *manifest,
                          const char *facts, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "INSERT OR REPLACE INTO snapshot (" SNAPSHOT_COLUMNS ", manifest, facts)"
                       " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_text(&q, s->database);
    query_text(&q, s->name);
    query_text(&q, s->kind);
    query_text(&q, s->run);
    query_text(&q, s->driver_id);
    query_u64(&q, s->created_us);
    query_u64(&q, (uint64_t)s->durability);
    query_u64(&q, s->mid_merge);
    query_text(&q, manifest);
    query_text(&q, facts);
    return write_query(&q, err) || err_wrap(err, "record snapshot '%s'", s->name);
}

bool catalog_snapshot_delete(struct catalog *c, const char *database, const char *name,
                             struct err *err)
{
    AUTO(write) struct write_span w = {0};
    AUTO(query)
    struct query q = query_start(c, "DELETE FROM snapshot WHERE database = ? AND name = ?");
    query_text(&q, database);
    query_text(&q, name);
    return (write_begin(&w, c, err) && query_run_one(&q, "not known", err) &&
            write_commit(&w, err)) ||
           err_wrap(err, "snapshot '%s' of '%s'", name, database);
}

struct catalog_snapshot *catalog_snapshot_list(struct catalog *c, const char *database,
                                               size_t *ret_count, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT " SNAPSHOT_COLUMNS " FROM snapshot WHERE ?1 = '' OR database = ?1"
                       " ORDER BY created_us, name");
    query_text(&q, database);
    return query_all(&q, read_snapshot, sizeof(struct catalog_snapshot), ret_count, err);
}

bool catalog_snapshot_texts(struct catalog *c, const char *database, const char *name,
                            char **ret_manifest, char **ret_facts, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT manifest, facts FROM snapshot WHERE database = ? AND name = ?");
    query_text(&q, database);
    query_text(&q, name);
    AUTO(mem) char *manifest = NULL;
    AUTO(mem) char *facts = NULL;
    int rc = query_next(&q, err);
    if (rc == 0)
        err_set(err, ERR_NOT_FOUND, "database '%s' has no snapshot '%s'", database, name);
    if (rc <= 0 || !query_take_text(&q, &manifest, NULL, err) ||
        !query_take_text(&q, &facts, NULL, err))
        return false;
    *ret_manifest = TAKE(manifest);
    *ret_facts = TAKE(facts);
    return true;
}

/* ---- clones ---- */

#define CLONE_COLUMNS "database, name, snapshot, owner, purpose, scn, created_us, expires_us, mount"

static void read_clone(struct query *q, void *row)
{
    struct catalog_clone *clone = row;
    query_get_text(q, clone->database, sizeof clone->database);
    query_get_text(q, clone->name, sizeof clone->name);
    query_get_text(q, clone->snapshot, sizeof clone->snapshot);
    query_get_text(q, clone->owner, sizeof clone->owner);
    query_get_text(q, clone->purpose, sizeof clone->purpose);
    clone->scn = query_get_u64(q);
    clone->created_us = query_get_u64(q);
    clone->expires_us = query_get_u64(q);
    query_get_text(q, clone->mount, sizeof clone->mount);
}

bool catalog_clone_put(struct catalog *c, const struct catalog_clone *clone, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "INSERT OR REPLACE INTO clone (" CLONE_COLUMNS ")"
                                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_text(&q, clone->database);
    query_text(&q, clone->name);
    query_text(&q, clone->snapshot);
    query_text(&q, clone->owner);
    query_text(&q, clone->purpose);
    query_u64(&q, clone->scn);
    query_u64(&q, clone->created_us);
    query_u64(&q, clone->expires_us);
    query_text(&q, clone->mount);
    return write_query(&q, err) || err_wrap(err, "record clone '%s'", clone->name);
}

bool catalog_clone_delete(struct catalog *c, const char *database, const char *name,
                          struct err *err)
{
    AUTO(write) struct write_span w = {0};
    AUTO(query)
    struct query q = query_start(c, "DELETE FROM clone WHERE database = ? AND name = ?");
    query_text(&q, database);
    query_text(&q, name);
    return (write_begin(&w, c, err) && query_run_one(&q, "not known", err) &&
            write_commit(&w, err)) ||
           err_wrap(err, "clone '%s' of '%s'", name, database);
}

bool catalog_clone_get(struct catalog *c, const char *database, const char *name,
                       struct catalog_clone *ret, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT " CLONE_COLUMNS " FROM clone WHERE database = ? AND name = ?");
    query_text(&q, database);
    query_text(&q, name);
    return query_one(&q, read_clone, ret, err) || err_wrap(err, "clone '%s'", name);
}

struct catalog_clone *catalog_clone_list(struct catalog *c, const char *database, size_t *ret_count,
                                         struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT " CLONE_COLUMNS " FROM clone WHERE ?1 = '' OR database = ?1"
                       " ORDER BY created_us, database, name");
    query_text(&q, database);
    return query_all(&q, read_clone, sizeof(struct catalog_clone), ret_count, err);
}
