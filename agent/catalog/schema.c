/* The catalog's schema, one migration after the other; user_version counts those that were made. */
#include "agent/catalog/catalog_int.h"

#include "agent/base/str.h"

/* "EVRC": says whose file this is, so that a stranger's database is refused. */
enum { APPLICATION_ID = 0x45565243 };

static const char *const version_1[] = {
    "CREATE TABLE database ("
    "  name TEXT PRIMARY KEY,"
    "  dbid INTEGER NOT NULL,"
    "  db_name TEXT NOT NULL,"
    "  storage TEXT NOT NULL,"
    "  volume TEXT NOT NULL,"
    "  registered_us INTEGER NOT NULL"
    ") WITHOUT ROWID",

    "CREATE TABLE job ("
    "  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  id TEXT NOT NULL UNIQUE,"
    "  kind TEXT NOT NULL,"
    "  parent TEXT NOT NULL,"
    "  database TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  key TEXT NOT NULL,"
    "  state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'swept')),"
    "  step TEXT NOT NULL DEFAULT '',"
    "  verdict INTEGER NOT NULL DEFAULT 0,"
    "  cause TEXT NOT NULL DEFAULT '',"
    "  next TEXT NOT NULL DEFAULT '',"
    "  started_us INTEGER NOT NULL,"
    "  ended_us INTEGER NOT NULL DEFAULT 0,"
    "  log_next INTEGER NOT NULL DEFAULT 0,"
    "  document TEXT NOT NULL"
    ")",
    "CREATE UNIQUE INDEX job_key ON job (key) WHERE key <> ''",
    "CREATE INDEX job_database ON job (database, seq)",
    "CREATE INDEX job_running ON job (seq) WHERE state = 'running'",

    "CREATE TABLE journal ("
    "  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  job TEXT NOT NULL REFERENCES job (id),"
    "  at_us INTEGER NOT NULL,"
    "  step TEXT NOT NULL,"
    "  is_end INTEGER NOT NULL,"
    "  ok INTEGER NOT NULL,"
    "  text TEXT NOT NULL"
    ")",
    "CREATE INDEX journal_job ON journal (job, seq)",

    "CREATE TABLE job_log ("
    "  job TEXT NOT NULL REFERENCES job (id),"
    "  number INTEGER NOT NULL,"
    "  at_us INTEGER NOT NULL,"
    "  text BLOB NOT NULL,"
    "  PRIMARY KEY (job, number)"
    ") WITHOUT ROWID",

    /* A released lease keeps its row: the token must never come again. */
    "CREATE TABLE lease ("
    "  database TEXT NOT NULL,"
    "  kind TEXT NOT NULL,"
    "  job TEXT NOT NULL,"
    "  host TEXT NOT NULL,"
    "  pid INTEGER NOT NULL,"
    "  process_start INTEGER NOT NULL,"
    "  token INTEGER NOT NULL,"
    "  taken_us INTEGER NOT NULL,"
    "  left_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (database, kind)"
    ") WITHOUT ROWID",

    "CREATE TABLE snapshot ("
    "  seq INTEGER PRIMARY KEY,"
    "  database TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  kind TEXT NOT NULL,"
    "  run TEXT NOT NULL,"
    "  driver_id TEXT NOT NULL,"
    "  created_us INTEGER NOT NULL,"
    "  durability INTEGER NOT NULL,"
    "  mid_merge INTEGER NOT NULL,"
    "  manifest TEXT NOT NULL,"
    "  facts TEXT,"
    "  UNIQUE (database, name)"
    ")",

    "CREATE TABLE clone ("
    "  database TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  snapshot TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  purpose TEXT NOT NULL,"
    "  scn INTEGER NOT NULL,"
    "  created_us INTEGER NOT NULL,"
    "  expires_us INTEGER NOT NULL,"
    "  mount TEXT NOT NULL,"
    "  PRIMARY KEY (database, name)"
    ") WITHOUT ROWID",

    "CREATE TABLE note ("
    "  database TEXT NOT NULL,"
    "  key TEXT NOT NULL,"
    "  text TEXT NOT NULL,"
    "  PRIMARY KEY (database, key)"
    ")",
    NULL,
};

static const char *const version_2[] = {
    "CREATE TABLE hold ("
    "  database TEXT NOT NULL,"
    "  snapshot TEXT NOT NULL,"
    "  id TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  reason TEXT NOT NULL,"
    "  made_us INTEGER NOT NULL,"
    "  until_us INTEGER NOT NULL,"
    "  PRIMARY KEY (database, snapshot, id)"
    ") WITHOUT ROWID",

    "CREATE TABLE snapshot_lock ("
    "  database TEXT NOT NULL,"
    "  snapshot TEXT NOT NULL,"
    "  by_storage INTEGER NOT NULL,"
    "  left_ms INTEGER NOT NULL,"
    "  boot_id TEXT NOT NULL,"
    "  boot_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (database, snapshot)"
    ") WITHOUT ROWID",
    NULL,
};

/* Who asked a job to stop; and which boot of a host a lease's process ids belong to. */
static const char *const version_3[] = {
    "ALTER TABLE job ADD COLUMN cancelled_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE lease ADD COLUMN boot_id TEXT NOT NULL DEFAULT ''",
    NULL,
};

/* What the storage itself says of a snapshot's blocks. */
static const char *const version_4[] = {
    "ALTER TABLE snapshot ADD COLUMN bad_blocks INTEGER NOT NULL DEFAULT 0",
    NULL,
};

static const char *const *const migrations[] = {version_1, version_2, version_3, version_4};
enum { VERSION = sizeof migrations / sizeof migrations[0] };

static void read_number(struct query *q, void *row) { *(uint64_t *)row = query_get_u64(q); }

static bool pragma_number(struct catalog *c, const char *sql, uint64_t *ret_value, struct err *err)
{
    AUTO(query) struct query q = query_start(c, sql);
    return query_one(&q, read_number, ret_value, err);
}

static bool set_pragma(struct catalog *c, const char *name, int value, struct err *err)
{
    char sql[64];
    IGNORE(!str_format(sql, sizeof sql, "PRAGMA %s = %d", name, value)); /* our own two names */
    return catalog_execute(c, sql, err);
}

static bool migrate(struct catalog *c, int version, struct err *err)
{
    AUTO(write) struct write_span w = {0};
    if (!write_begin(&w, c, err))
        return false;
    for (const char *const *sql = migrations[version - 1]; *sql; sql++)
        if (!catalog_execute(c, *sql, err))
            return err_wrap(err, "bring the catalog to version %d", version);
    return set_pragma(c, "application_id", APPLICATION_ID, err) &&
           set_pragma(c, "user_version", version, err) && write_commit(&w, err);
}

bool catalog_schema_upgrade(struct catalog *c, struct err *err)
{
    uint64_t owner, version, objects;
    if (!pragma_number(c, "PRAGMA application_id", &owner, err) ||
        !pragma_number(c, "PRAGMA user_version", &version, err) ||
        !pragma_number(c, "SELECT count(*) FROM sqlite_schema", &objects, err))
        return false;
    if (owner != APPLICATION_ID && (version != 0 || objects != 0))
        return err_set(err, ERR_CORRUPT, "this is an SQLite file, but not Evercopy's catalog");
    if (version > VERSION)
        return err_set(err, ERR_PRECONDITION,
                       "the catalog has version %llu, this program knows up to %d; "
                       "hint: start the newer program, or rebuild the catalog",
                       (unsigned long long)version, VERSION);
    for (int next = (int)version + 1; next <= VERSION; next++)
        if (!migrate(c, next, err))
            return false;
    return true;
}
