/* What the catalog's files share: the handle, queries with a sticky error, write transactions. */
#pragma once
#include "agent/catalog/catalog.h"
#include <sqlite3.h>

struct catalog_statement {
    const char *sql; /* a literal: its address is the key */
    sqlite3_stmt *handle;
};

/* Write spans: what is not committed at scope end is rolled back. They nest; only the outermost
 * touches the disk. */
struct write_span {
    struct catalog *catalog; /* NULL: not open */
    sqlite3_int64 changes;
};

struct catalog {
    sqlite3 *db;
    struct catalog_statement *statements;
    size_t statement_count, statement_capacity;
    int depth;               /* open write spans, the outermost is the transaction */
    struct write_span group; /* the caller's own */
    void (*watch)(void *arg, const char *database, const char *snapshot); /* NULL: nobody */
    void *watch_arg;
    uint64_t data_version; /* moves when another process wrote */
    void (*on_end)(void *arg, const char *id);
    void *on_end_arg;
    char (*ended)[40]; /* in the open transaction */
    size_t ended_count, ended_capacity;
    bool broken; /* an inner span gave up with changes made: the outermost must not commit */
};

/* Sets err from the handle's last error; returns false. */
bool catalog_sqlite_error(struct catalog *c, int rc, const char *what, struct err *err);
/* For pragmas and schema: literals only, nothing from outside. */
bool catalog_execute(struct catalog *c, const char *sql, struct err *err) MUST;
/* Brings the file to this program's version, refuses a newer one. */
bool catalog_schema_upgrade(struct catalog *c, struct err *err) MUST;
/* After the schema: triggers, so that no writer can forget to tell. */
bool catalog_watch_prepare(struct catalog *c, struct err *err) MUST;

/* ---- queries: AUTO(query) struct query q = query_start(c, SQL); values are bound, then columns
 * read, in order. What fails on the way is reported by query_next or query_run. ---- */
struct query {
    struct catalog *catalog;
    sqlite3_stmt *stmt;
    int bound, column;
    int failed;     /* SQLite code of the first failure */
    struct err err; /* filled when the statement could not even be prepared */
};
struct query query_start(struct catalog *c, const char *sql);
void query_text(struct query *q, const char *text); /* borrowed until query_done */
void query_bytes(struct query *q, const void *bytes, size_t len);
void query_u64(struct query *q, uint64_t value);
/* 1: a row, 0: no more, -1: error. */
int query_next(struct query *q, struct err *err) MUST;
/* For statements without rows. */
bool query_run(struct query *q, struct err *err) MUST;
/* As query_run; false with NOT_FOUND and the sentence when no row was touched. */
bool query_run_one(struct query *q, const char *sentence, struct err *err) MUST;
void query_get_text(struct query *q, char *ret, size_t size);
uint64_t query_get_u64(struct query *q);
/* NULL without error for SQL NULL; ret_len may be NULL. */
bool query_take_text(struct query *q, char **ret_text, size_t *ret_len, struct err *err) MUST;
void query_done(struct query *q);
OWN_DEFINE_INPLACE(query, struct query, query_done);
/* One row into row (NOT_FOUND when there is none), or all rows into an array. */
bool query_one(struct query *q, void (*read)(struct query *q, void *row), void *row,
               struct err *err) MUST;
void *query_all(struct query *q, void (*read)(struct query *q, void *row), size_t size,
                size_t *ret_count, struct err *err) MUST;

/* ---- write spans ---- */
bool write_begin(struct write_span *w, struct catalog *c, struct err *err) MUST;
bool write_commit(struct write_span *w, struct err *err) MUST;
void write_done(struct write_span *w);
OWN_DEFINE_INPLACE(write, struct write_span, write_done);
/* A span around one statement. */
bool write_query(struct query *q, struct err *err) MUST;

/* Test hook: the file may grow to this many pages, then it is full. */
bool catalog_limit_pages(struct catalog *c, unsigned pages, struct err *err) MUST;
