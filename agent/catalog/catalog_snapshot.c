/* Snapshots and clones in the catalog. */
#include "agent/catalog/catalog.h"

#include "agent/catalog/catalog_int.h"

#define SNAPSHOT_COLUMNS                                                                           \
    "database, name, kind, run, driver_id, created_us, durability, mid_merge, bad_blocks"

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
    s->bad_blocks = query_get_u64(q);
}

bool catalog_snapshot_put(struct catalog *c, const struct catalog_snapshot *s, const char *manifest,
                          const char *facts, struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "INSERT OR REPLACE INTO snapshot (" SNAPSHOT_COLUMNS ", manifest, facts)"
                       " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    query_text(&q, s->database);
    query_text(&q, s->name);
    query_text(&q, s->kind);
    query_text(&q, s->run);
    query_text(&q, s->driver_id);
    query_u64(&q, s->created_us);
    query_u64(&q, (uint64_t)s->durability);
    query_u64(&q, s->mid_merge);
    query_u64(&q, s->bad_blocks);
    query_text(&q, manifest);
    query_text(&q, facts);
    return write_query(&q, err) || err_wrap(err, "record snapshot '%s'", s->name);
}

bool catalog_snapshot_follow(struct catalog *c, const char *database, const char *name,
                             int durability, uint64_t bad_blocks, struct err *err)
{
    AUTO(write) struct write_span w = {0};
    AUTO(query)
    struct query q = query_start(c, "UPDATE snapshot SET durability = ?, bad_blocks = ?"
                                    " WHERE database = ? AND name = ?");
    query_u64(&q, (uint64_t)durability);
    query_u64(&q, bad_blocks);
    query_text(&q, database);
    query_text(&q, name);
    return (write_begin(&w, c, err) && query_run_one(&q, "not known", err) &&
            write_commit(&w, err)) ||
           err_wrap(err, "snapshot '%s' of '%s'", name, database);
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
    /* Two statements: one that fits both cannot use the index. */
    AUTO(query)
    struct query q =
        query_start(c, database[0] ? "SELECT " SNAPSHOT_COLUMNS " FROM snapshot WHERE database = ?"
                                     " ORDER BY created_us, name"
                                   : "SELECT " SNAPSHOT_COLUMNS " FROM snapshot WHERE ? = ''"
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

struct text_place {
    uint64_t seq, manifest_bytes, facts_bytes;
};

static void read_place(struct query *q, void *row)
{
    struct text_place *place = row;
    place->seq = query_get_u64(q);
    place->manifest_bytes = query_get_u64(q);
    place->facts_bytes = query_get_u64(q);
}

/* What of the whole's [offset, offset + limit) lies in a text that begins at `start`. */
static bool read_part(struct catalog *c, const char *column, const struct text_place *place,
                      uint64_t start, uint64_t len, uint64_t offset, size_t limit, char **ret_text,
                      size_t *ret_len, struct err *err)
{
    uint64_t from = offset > start ? offset - start : 0;
    uint64_t room = offset + limit > start ? offset + limit - start : 0;
    uint64_t end = room < len ? room : len;
    *ret_len = from < end ? (size_t)(end - from) : 0;
    *ret_text = own_alloc(*ret_len + 1, err);
    if (!*ret_text || !*ret_len)
        return *ret_text != NULL;
    sqlite3_blob *blob = NULL;
    int rc =
        sqlite3_blob_open(c->db, "main", "snapshot", column, (sqlite3_int64)place->seq, 0, &blob);
    if (rc == SQLITE_OK)
        rc = sqlite3_blob_read(blob, *ret_text, (int)*ret_len, (int)from);
    IGNORE(sqlite3_blob_close(blob)); /* repeats the error; NULL is fine */
    return rc == SQLITE_OK || catalog_sqlite_error(c, rc, "read a part of a text", err);
}

void catalog_part_done(struct catalog_part *part)
{
    own_free(part->manifest);
    own_free(part->facts);
    *part = (struct catalog_part){0};
}

bool catalog_snapshot_part(struct catalog *c, const char *database, const char *name,
                           uint64_t offset, size_t limit, struct catalog_part *ret_part,
                           struct err *err)
{
    struct text_place place;
    AUTO(catalog_part) struct catalog_part part = {0};
    {
        AUTO(query)
        struct query q = query_start(
            c,
            "SELECT seq, length(CAST(manifest AS BLOB)), coalesce(length(CAST(facts AS BLOB)), 0)"
            " FROM snapshot WHERE database = ? AND name = ?");
        query_text(&q, database);
        query_text(&q, name);
        if (!query_one(&q, read_place, &place, err))
            return err_wrap(err, "snapshot '%s' of '%s'", name, database);
    }
    part.manifest_bytes = place.manifest_bytes;
    part.facts_bytes = place.facts_bytes;
    uint64_t all = place.manifest_bytes + place.facts_bytes;
    if (offset > all)
        return err_set(err, ERR_INVALID, "offset %llu is behind the end at %llu",
                       (unsigned long long)offset, (unsigned long long)all);
    if (limit > all - offset)
        limit = (size_t)(all - offset);
    if (!read_part(c, "manifest", &place, 0, place.manifest_bytes, offset, limit, &part.manifest,
                   &part.manifest_len, err) ||
        !read_part(c, "facts", &place, place.manifest_bytes, place.facts_bytes, offset, limit,
                   &part.facts, &part.facts_len, err))
        return false;
    *ret_part = part;
    part = (struct catalog_part){0};
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
