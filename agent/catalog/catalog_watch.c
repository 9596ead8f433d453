/* Who is told what changed: triggers on every table that speaks of a database, whoever writes. */
#include "agent/catalog/catalog_int.h"

#include "agent/base/str.h"

enum { TABLES_MAX = 64, TRIGGER_MAX = 512 };

struct watched {
    char name[64];
};

static void tell(struct catalog *c, const char *database, const char *snapshot)
{
    if (c->watch)
        c->watch(c->watch_arg, database, snapshot);
}

/* evercopy_changed(database, snapshot or NULL), called by the triggers. */
static void on_changed(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    tell(sqlite3_user_data(context), (const char *)sqlite3_value_text(values[0]),
         (const char *)sqlite3_value_text(values[1]));
}

/* What was told before is not true any more, nor is what was read since. */
static void on_rollback(void *arg) { tell(arg, NULL, NULL); }

static void read_watched(struct query *q, void *row)
{
    struct watched *w = row;
    query_get_text(q, w->name, sizeof w->name);
}

static bool watch_event(struct catalog *c, const struct watched *w, const char *event,
                        const char *row, struct err *err)
{
    char sql[TRIGGER_MAX];
    bool is_database = str_equal(w->name, "database");
    bool is_snapshot = str_equal(w->name, "snapshot");
    if (!str_format(sql, sizeof sql,
                    "CREATE TEMP TRIGGER watch_%s_%s_%s AFTER %s ON main.%s BEGIN"
                    " SELECT evercopy_changed(%s.%s, %s%s); END",
                    w->name, event, row, event, w->name, row, is_database ? "name" : "database",
                    is_snapshot ? row : "NULL", is_snapshot ? ".name" : ""))
        return err_set(err, ERR_INTERNAL, "catalog: a table's name is too long to be watched");
    return catalog_execute(c, sql, err);
}

static bool watch_table(struct catalog *c, const struct watched *w, struct err *err)
{
    return watch_event(c, w, "INSERT", "NEW", err) && watch_event(c, w, "UPDATE", "NEW", err) &&
           watch_event(c, w, "UPDATE", "OLD", err) && watch_event(c, w, "DELETE", "OLD", err);
}

bool catalog_watch_prepare(struct catalog *c, struct err *err)
{
    size_t count;
    enum { FLAGS = SQLITE_UTF8 | SQLITE_INNOCUOUS };
    int rc = sqlite3_create_function_v2(c->db, "evercopy_changed", 2, FLAGS, c, on_changed, NULL,
                                        NULL, NULL);
    if (rc != SQLITE_OK)
        return catalog_sqlite_error(c, rc, "watch the tables", err);
    sqlite3_rollback_hook(c->db, on_rollback, c);
    AUTO(query)
    struct query q = query_start(
        c, "SELECT m.name FROM sqlite_schema AS m WHERE m.type = 'table'"
           " AND (m.name = 'database' OR EXISTS"
           " (SELECT 1 FROM pragma_table_info(m.name) AS i WHERE i.name = 'database'))");
    AUTO(mem)
    struct watched *tables = query_all(&q, read_watched, sizeof *tables, &count, err);
    query_done(&q);
    if (tables && count > TABLES_MAX)
        return err_set(err, ERR_LIMIT, "catalog: more than %d tables", TABLES_MAX);
    for (size_t i = 0; tables && i < count; i++)
        if (!watch_table(c, &tables[i], err))
            return false;
    return tables != NULL;
}

void catalog_watch(struct catalog *c,
                   void (*changed)(void *arg, const char *database, const char *snapshot),
                   void *arg)
{
    c->watch = changed;
    c->watch_arg = arg;
}

static void read_version(struct query *q, void *row) { *(uint64_t *)row = query_get_u64(q); }

bool catalog_watch_others(struct catalog *c, struct err *err)
{
    uint64_t version;
    AUTO(query) struct query q = query_start(c, "PRAGMA data_version");
    if (!query_one(&q, read_version, &version, err))
        return false;
    if (version != c->data_version)
        tell(c, NULL, NULL);
    c->data_version = version;
    return true;
}
