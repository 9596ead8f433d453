/* The catalog as a whole: opening, closing, groups of writes, databases and notes. */
#include "agent/catalog/catalog.h"

#include "agent/base/sys.h"
#include "agent/catalog/catalog_int.h"
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { BUSY_TIMEOUT_MS = 5000 };

/* Made by us first, so that neither the file nor its WAL is ever wider than 0600. */
static bool make_file(const char *path, struct err *err)
{
    AUTO(fd) int fd = sys_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
    struct stat st;
    if (fd < 0 || !sys_fstat(fd, &st, path, err))
        return false;
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "the catalog '%s' is not a regular file", path);
    return (st.st_mode & 0777) == 0600 || sys_chmod(path, 0600, err);
}

static void read_verdict(struct query *q, void *row) { query_get_text(q, row, 256); }

static bool check_whole(struct catalog *c, struct err *err)
{
    char verdict[256];
    AUTO(query) struct query q = query_start(c, "PRAGMA quick_check(1)");
    if (!query_one(&q, read_verdict, verdict, err))
        return false;
    if (strcmp(verdict, "ok") != 0)
        return err_set(err, ERR_CORRUPT, "%s", verdict);
    return true;
}

static bool prepare(struct catalog *c, struct err *err)
{
    return catalog_execute(c, "PRAGMA foreign_keys = ON", err) &&
           catalog_execute(c, "PRAGMA trusted_schema = OFF", err) &&
           catalog_execute(c, "PRAGMA journal_mode = WAL", err) &&
           catalog_execute(c, "PRAGMA synchronous = FULL", err) && check_whole(c, err) &&
           catalog_schema_upgrade(c, err) && catalog_watch_prepare(c, err);
}

struct catalog *catalog_open(const char *path, struct err *err)
{
    AUTO(catalog) struct catalog *c = own_alloc(sizeof *c, err);
    if (!c || !make_file(path, err))
        return err_null(err, "open the catalog");
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(path, &c->db, flags, NULL);
    if (rc != SQLITE_OK) {
        catalog_sqlite_error(c, rc, "open", err);
        return err_null(err, "open '%s'", path);
    }
    sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
    if (prepare(c, err))
        return TAKE(c);
    if (err->code == ERR_CORRUPT)
        return err_null(
            err, "catalog '%s' is damaged; hint: move it away and run 'evercopyd rebuild'", path);
    return err_null(err, "open the catalog '%s'", path);
}

void catalog_close(struct catalog *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->statement_count; i++)
        sqlite3_finalize(c->statements[i].handle);
    own_free(c->statements);
    own_free(c->ended);
    sqlite3_close_v2(c->db);
    own_free(c);
}

/* ---- groups ---- */

bool catalog_group_begin(struct catalog *c, struct err *err)
{
    assert(!c->group.catalog);
    return write_begin(&c->group, c, err);
}

bool catalog_group_end(struct catalog *c, struct err *err)
{
    bool ok = write_commit(&c->group, err);
    write_done(&c->group);
    return ok;
}

void catalog_group_drop(struct catalog *c) { write_done(&c->group); }

/* ---- databases ---- */

#define DATABASE_COLUMNS "name, dbid, db_name, storage, volume, registered_us"

static void read_database(struct query *q, void *row)
{
    struct catalog_database *db = row;
    query_get_text(q, db->name, sizeof db->name);
    db->dbid = (uint32_t)query_get_u64(q);
    query_get_text(q, db->db_name, sizeof db->db_name);
    query_get_text(q, db->storage, sizeof db->storage);
    query_get_text(q, db->volume, sizeof db->volume);
    db->registered_us = query_get_u64(q);
}

bool catalog_database_put(struct catalog *c, const struct catalog_database *db, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "INSERT OR REPLACE INTO database (" DATABASE_COLUMNS
                                    ") VALUES (?, ?, ?, ?, ?, ?)");
    query_text(&q, db->name);
    query_u64(&q, db->dbid);
    query_text(&q, db->db_name);
    query_text(&q, db->storage);
    query_text(&q, db->volume);
    query_u64(&q, db->registered_us);
    return write_query(&q, err) || err_wrap(err, "record database '%s'", db->name);
}

bool catalog_database_get(struct catalog *c, const char *name, struct catalog_database *ret,
                          struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "SELECT " DATABASE_COLUMNS " FROM database WHERE name = ?");
    query_text(&q, name);
    return query_one(&q, read_database, ret, err) || err_wrap(err, "database '%s'", name);
}

struct catalog_database *catalog_database_list(struct catalog *c, size_t *ret_count,
                                               struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "SELECT " DATABASE_COLUMNS " FROM database ORDER BY name");
    return query_all(&q, read_database, sizeof(struct catalog_database), ret_count, err);
}

/* ---- notes ---- */

bool catalog_note_put(struct catalog *c, const char *database, const char *key, const char *text,
                      struct err *err)
{
    AUTO(query)
    struct query q =
        query_start(c, "INSERT INTO note (database, key, text) VALUES (?, ?, ?)"
                       " ON CONFLICT (database, key) DO UPDATE SET text = excluded.text");
    query_text(&q, database);
    query_text(&q, key);
    query_text(&q, text);
    return write_query(&q, err) || err_wrap(err, "note '%s' of '%s'", key, database);
}

char *catalog_note_get(struct catalog *c, const char *database, const char *key, struct err *err)
{
    AUTO(query)
    struct query q = query_start(c, "SELECT text FROM note WHERE database = ? AND key = ?");
    query_text(&q, database);
    query_text(&q, key);
    char *text = NULL;
    int rc = query_next(&q, err);
    if (rc == 0)
        err_set(err, ERR_NOT_FOUND, "no note '%s' of '%s'", key, database);
    if (rc > 0 && !query_take_text(&q, &text, NULL, err))
        return NULL;
    return text;
}
