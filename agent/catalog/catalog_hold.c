/* Holds and locks in the catalog. */
#include "agent/catalog/catalog.h"

#include "agent/catalog/catalog_int.h"

#define HOLD_COLUMNS "database, snapshot, id, owner, reason, made_us, until_us"
#define LOCK_COLUMNS "database, snapshot, by_storage, left_ms, boot_id, boot_ms"

static void read_hold(struct query *q, void *row)
{
    struct catalog_hold *hold = row;
    query_get_text(q, hold->database, sizeof hold->database);
    query_get_text(q, hold->snapshot, sizeof hold->snapshot);
    query_get_text(q, hold->id, sizeof hold->id);
    query_get_text(q, hold->owner, sizeof hold->owner);
    query_get_text(q, hold->reason, sizeof hold->reason);
    hold->made_us = query_get_u64(q);
    hold->until_us = query_get_u64(q);
}

bool catalog_hold_put(struct catalog *c, const struct catalog_hold *hold, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "INSERT OR REPLACE INTO hold (" HOLD_COLUMNS ")"
                                    " VALUES (?, ?, ?, ?, ?, ?, ?)");
    query_text(&q, hold->database);
    query_text(&q, hold->snapshot);
    query_text(&q, hold->id);
    query_text(&q, hold->owner);
    query_text(&q, hold->reason);
    query_u64(&q, hold->made_us);
    query_u64(&q, hold->until_us);
    return write_query(&q, err) || err_wrap(err, "record a hold on '%s'", hold->snapshot);
}

bool catalog_hold_delete(struct catalog *c, const char *database, const char *snapshot,
                         const char *id, struct err *err)
{
    AUTO(write) struct write_span w = {0};
    AUTO(query)
    struct query q =
        query_start(c, "DELETE FROM hold WHERE database = ? AND snapshot = ? AND id = ?");
    query_text(&q, database);
    query_text(&q, snapshot);
    query_text(&q, id);
    return (write_begin(&w, c, err) && query_run_one(&q, "not known", err) &&
            write_commit(&w, err)) ||
           err_wrap(err, "hold '%s' on '%s'", id, snapshot);
}

struct catalog_hold *catalog_hold_list(struct catalog *c, const char *database, size_t *ret_count,
                                       struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT " HOLD_COLUMNS " FROM hold WHERE ?1 = '' OR database = ?1"
                       " ORDER BY database, snapshot, made_us, id");
    query_text(&q, database);
    return query_all(&q, read_hold, sizeof(struct catalog_hold), ret_count, err);
}

static void read_lock(struct query *q, void *row)
{
    struct catalog_lock *lock = row;
    query_get_text(q, lock->database, sizeof lock->database);
    query_get_text(q, lock->snapshot, sizeof lock->snapshot);
    lock->by_storage = query_get_u64(q) != 0;
    lock->left_ms = query_get_u64(q);
    query_get_text(q, lock->boot_id, sizeof lock->boot_id);
    lock->boot_ms = query_get_u64(q);
}

bool catalog_lock_put(struct catalog *c, const struct catalog_lock *lock, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "INSERT OR REPLACE INTO snapshot_lock (" LOCK_COLUMNS ")"
                                    " VALUES (?, ?, ?, ?, ?, ?)");
    query_text(&q, lock->database);
    query_text(&q, lock->snapshot);
    query_u64(&q, lock->by_storage);
    query_u64(&q, lock->left_ms);
    query_text(&q, lock->boot_id);
    query_u64(&q, lock->boot_ms);
    return write_query(&q, err) || err_wrap(err, "record the lock of '%s'", lock->snapshot);
}

bool catalog_lock_delete(struct catalog *c, const char *database, const char *snapshot,
                         struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "DELETE FROM snapshot_lock WHERE database = ? AND snapshot = ?");
    query_text(&q, database);
    query_text(&q, snapshot);
    return write_query(&q, err) || err_wrap(err, "forget the lock of '%s'", snapshot);
}

struct catalog_lock *catalog_lock_list(struct catalog *c, const char *database, size_t *ret_count,
                                       struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "SELECT " LOCK_COLUMNS " FROM snapshot_lock WHERE ?1 = '' OR database = ?1"
                       " ORDER BY database, snapshot");
    query_text(&q, database);
    return query_all(&q, read_lock, sizeof(struct catalog_lock), ret_count, err);
}

bool catalog_marks_drop(struct catalog *c, const char *database, const char *snapshot,
                        struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "DELETE FROM hold WHERE database = ? AND snapshot = ?");
    query_text(&q, database);
    query_text(&q, snapshot);
    return (write_query(&q, err) && catalog_lock_delete(c, database, snapshot, err)) ||
           err_wrap(err, "forget holds of '%s'", snapshot);
}
