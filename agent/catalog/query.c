/* Queries and write spans: bound values, cached statements, SQLite's codes as ours. */
#include "agent/catalog/catalog_int.h"

#include "agent/base/str.h"
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static _Atomic long kill_nth;
static _Atomic bool kill_after;
static _Atomic long kill_count;

long catalog_kill_at(long nth, bool after)
{
    long seen = kill_count;
    kill_count = 0;
    kill_after = after;
    kill_nth = nth;
    return seen;
}

static enum err_code code_of(sqlite3 *db, int rc)
{
    if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY)
        return ERR_EXISTS;
    if (rc == SQLITE_CONSTRAINT_FOREIGNKEY)
        return ERR_NOT_FOUND;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_DENIED;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return db && sqlite3_system_errno(db) ? err_from_errno(sqlite3_system_errno(db)) : ERR_IO;
    default:
        return ERR_INTERNAL;
    }
}

bool catalog_sqlite_error(struct catalog *c, int rc, const char *what, struct err *err)
{
    bool known = c->db && sqlite3_extended_errcode(c->db) == rc;
    return err_set(err, code_of(c->db, rc), "catalog: %s: %s", what,
                   known ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
}

bool catalog_execute(struct catalog *c, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || catalog_sqlite_error(c, sqlite3_extended_errcode(c->db), sql, err);
}

bool catalog_limit_pages(struct catalog *c, unsigned pages, struct err *err)
{
    char sql[64];
    IGNORE(!str_format(sql, sizeof sql, "PRAGMA max_page_count = %u", pages)); /* fits */
    return catalog_execute(c, sql, err);
}

/* ---- queries ---- */

static sqlite3_stmt *prepared(struct catalog *c, const char *sql, struct err *err)
{
    for (size_t i = 0; i < c->statement_count; i++)
        if (c->statements[i].sql == sql)
            return c->statements[i].handle;
    if (!own_grow((void **)&c->statements, &c->statement_capacity, c->statement_count,
                  sizeof *c->statements, err))
        return NULL;
    sqlite3_stmt *handle = NULL;
    int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, NULL);
    if (rc != SQLITE_OK) {
        catalog_sqlite_error(c, rc, sql, err);
        return NULL;
    }
    c->statements[c->statement_count++] = (struct catalog_statement){sql, handle};
    return handle;
}

struct query query_start(struct catalog *c, const char *sql)
{
    struct query q = {.catalog = c};
    q.stmt = prepared(c, sql, &q.err);
    assert(!q.stmt || !sqlite3_stmt_busy(q.stmt));
    return q;
}

static void keep_first(struct query *q, int rc)
{
    if (rc != SQLITE_OK && q->failed == SQLITE_OK)
        q->failed = rc;
}

void query_text(struct query *q, const char *text)
{
    if (q->stmt)
        keep_first(q, sqlite3_bind_text(q->stmt, ++q->bound, text, -1, SQLITE_STATIC));
}

void query_bytes(struct query *q, const void *bytes, size_t len)
{
    const void *at = len ? bytes : "";
    if (q->stmt)
        keep_first(q, sqlite3_bind_blob64(q->stmt, ++q->bound, at, len, SQLITE_STATIC));
}

void query_u64(struct query *q, uint64_t value)
{
    if (q->stmt)
        keep_first(q, sqlite3_bind_int64(q->stmt, ++q->bound, (sqlite3_int64)value));
}

int query_next(struct query *q, struct err *err)
{
    if (!q->stmt) {
        *err = q->err;
        return -1;
    }
    int rc = q->failed;
    if (rc == SQLITE_OK) {
        assert(q->bound == sqlite3_bind_parameter_count(q->stmt));
        rc = sqlite3_step(q->stmt);
    }
    q->column = 0;
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    catalog_sqlite_error(q->catalog, rc, sqlite3_sql(q->stmt), err);
    return -1;
}

bool query_run(struct query *q, struct err *err)
{
    int rc = query_next(q, err);
    assert(rc <= 0);
    return rc == 0;
}

bool query_run_one(struct query *q, const char *sentence, struct err *err)
{
    if (!query_run(q, err))
        return false;
    if (sqlite3_changes64(q->catalog->db) == 0)
        return err_set(err, ERR_NOT_FOUND, "%s", sentence);
    return true;
}

void query_get_text(struct query *q, char *ret, size_t size)
{
    const unsigned char *text = sqlite3_column_text(q->stmt, q->column++);
    IGNORE(str_copy(ret, size, text ? (const char *)text : "")); /* was written from such a field */
}

uint64_t query_get_u64(struct query *q)
{
    return (uint64_t)sqlite3_column_int64(q->stmt, q->column++);
}

bool query_take_text(struct query *q, char **ret_text, size_t *ret_len, struct err *err)
{
    int column = q->column++;
    char *copy = NULL;
    size_t len = 0;
    if (sqlite3_column_type(q->stmt, column) != SQLITE_NULL) {
        len = (size_t)sqlite3_column_bytes(q->stmt, column);
        const void *bytes = sqlite3_column_blob(q->stmt, column);
        if (!bytes && len)
            return err_set(err, ERR_NO_MEMORY, "catalog: no memory to read a text");
        copy = own_alloc(len + 1, err);
        if (!copy)
            return false;
        if (bytes)
            memcpy(copy, bytes, len);
    }
    *ret_text = copy;
    if (ret_len)
        *ret_len = len;
    return true;
}

void query_done(struct query *q)
{
    if (!q->stmt)
        return;
    IGNORE(sqlite3_reset(q->stmt)); /* repeats the error that was reported already */
    IGNORE(sqlite3_clear_bindings(q->stmt));
    q->stmt = NULL;
}

bool query_one(struct query *q, void (*read)(struct query *q, void *row), void *row,
               struct err *err)
{
    int rc = query_next(q, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "not known");
    if (rc > 0)
        read(q, row);
    return rc > 0;
}

void *query_all(struct query *q, void (*read)(struct query *q, void *row), size_t size,
                size_t *ret_count, struct err *err)
{
    AUTO(mem) char *rows = own_alloc(size, err);
    size_t count = 0, capacity = 1;
    int rc = rows ? query_next(q, err) : -1;
    for (; rc > 0; rc = query_next(q, err)) {
        if (!own_grow((void **)&rows, &capacity, count, size, err))
            return NULL;
        memset(rows + count * size, 0, size);
        read(q, rows + count * size);
        count++;
    }
    if (rc < 0)
        return NULL;
    *ret_count = count;
    return TAKE(rows);
}

/* ---- write spans ---- */

bool write_begin(struct write_span *w, struct catalog *c, struct err *err)
{
    if (c->depth == 0) {
        c->broken = false;
        AUTO(query) struct query q = query_start(c, "BEGIN IMMEDIATE");
        if (!query_run(&q, err))
            return err_wrap(err, "begin to write");
    }
    c->depth++;
    *w = (struct write_span){c, sqlite3_total_changes64(c->db)};
    return true;
}

static void tell_ends(struct catalog *c)
{
    size_t count = c->ended_count;
    c->ended_count = 0;
    for (size_t i = 0; c->on_end && i < count; i++)
        c->on_end(c->on_end_arg, c->ended[i]);
}

bool write_commit(struct write_span *w, struct err *err)
{
    struct catalog *c = w->catalog;
    assert(c);
    if (c->broken)
        return err_set(err, ERR_INTERNAL, "catalog: a part of this write failed, all is undone");
    if (c->depth == 1) {
        long now = ++kill_count, nth = kill_nth;
        if (now == nth && !kill_after)
            _exit(137);
        AUTO(query) struct query q = query_start(c, "COMMIT");
        if (!query_run(&q, err))
            return err_wrap(err, "commit");
        if (now == nth)
            _exit(137);
    }
    c->depth--;
    w->catalog = NULL;
    if (c->depth == 0)
        tell_ends(c);
    return true;
}

void write_done(struct write_span *w)
{
    struct catalog *c = w->catalog;
    if (!c)
        return;
    w->catalog = NULL;
    c->depth--;
    if (c->depth > 0) {
        c->broken = c->broken || sqlite3_total_changes64(c->db) != w->changes;
        return;
    }
    c->ended_count = 0;
    /* A full disk rolls back by itself; exec because nothing may need memory here. */
    if (!sqlite3_get_autocommit(c->db))
        IGNORE(sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL));
}

bool write_query(struct query *q, struct err *err)
{
    AUTO(write) struct write_span w = {0};
    return write_begin(&w, q->catalog, err) && query_run(q, err) && write_commit(&w, err);
}
