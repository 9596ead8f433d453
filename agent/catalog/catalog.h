/* The catalog: what the agent knows, in SQLite. The only room that names sqlite3.h.
 * One thread at a time (the engine's lane): order of calls is the journal's meaning. Every function
 * that writes is on disk when it returns (WAL, synchronous=FULL). Holds no policy. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

struct catalog;
/* Creates the schema when the file is new; refuses a newer schema with a sentence. 0600. */
struct catalog *catalog_open(const char *path, struct err *err) MUST;
void catalog_close(struct catalog *catalog);
OWN_DEFINE(catalog, struct catalog, catalog_close);

/* Several writes as one: between begin and end nothing is on disk, then all is, or nothing. One
 * group at a time; end closes it also when it fails. A write in it that failed halfway fails end.
 */
bool catalog_group_begin(struct catalog *c, struct err *err) MUST;
bool catalog_group_end(struct catalog *c, struct err *err) MUST;
void catalog_group_drop(struct catalog *c); /* closes an open group without its writes */

/* ---- databases ---- */
struct catalog_database {
    char name[64]; /* db_unique_name */
    uint32_t dbid;
    char db_name[32];
    char storage[64]; /* configured storage section */
    char volume[128];
    uint64_t registered_us;
};
bool catalog_database_put(struct catalog *c, const struct catalog_database *db, struct err *err)
    MUST;
bool catalog_database_get(struct catalog *c, const char *name, struct catalog_database *ret,
                          struct err *err) MUST; /* NOT_FOUND */
struct catalog_database *catalog_database_list(struct catalog *c, size_t *ret_count,
                                               struct err *err) MUST; /* own_free; by name */

/* ---- jobs and their journal ---- */
enum job_state { JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_SWEPT, JOB_STATE_COUNT };
const char *job_state_text(enum job_state state); /* "running", "done", "failed", "swept" */

struct catalog_job {
    char id[40];     /* <kind>-<YYYYMMDD>T<HHMMSS>Z-<6 hex>, unique */
    char kind[24];   /* backup, snapshot, clone, clone-drop */
    char parent[40]; /* the backup run it belongs to, or "" */
    char database[64];
    char owner[160]; /* certificate's CN and address, or host and pid */
    char key[80];    /* idempotency key, "" for none */
    enum job_state state;
    char step[32]; /* last step begun */
    int verdict;   /* enum of the wire: 0 unspecified, 1 ok, 2 warning, 3 failed, 4 unknown */
    char cause[512];
    char next[256];
    uint64_t started_us, ended_us;
    char cancelled_by[160]; /* asked to stop, by whom; "" when nobody did */
};
/* A job id nobody has used. */
void catalog_job_id(const char *kind, char ret[40]);
/* Adds a running job with its arguments (JSON text). EXISTS when the key was used before. */
bool catalog_job_add(struct catalog *c, const struct catalog_job *job, const char *args,
                     struct err *err) MUST;
bool catalog_job_get(struct catalog *c, const char *id, struct catalog_job *ret, struct err *err)
    MUST;
bool catalog_job_find_key(struct catalog *c, const char *key, struct catalog_job *ret,
                          struct err *err) MUST;
/* The document as the last outcome left it (args at first); owned. */
char *catalog_job_document(struct catalog *c, const char *id, struct err *err) MUST;
/* The intent: written before anything is done. */
bool catalog_step_begin(struct catalog *c, const char *id, const char *step, struct err *err) MUST;
/* The outcome, with the job's document after it. ok false: error text in `text`. */
bool catalog_step_end(struct catalog *c, const char *id, const char *step, bool ok,
                      const char *text, const char *document, struct err *err) MUST;
bool catalog_job_finish(struct catalog *c, const char *id, enum job_state state, int verdict,
                        const char *cause, const char *next, struct err *err) MUST;
/* Notes that a running job is to stop; the first word stays. NOT_FOUND when it does not run. */
bool catalog_job_cancel(struct catalog *c, const char *id, const char *who, struct err *err) MUST;
/* The key may be used again, for a new job. */
bool catalog_job_drop_key(struct catalog *c, const char *id, struct err *err) MUST;
/* Whoever ends a job: fn hears its id once that is on disk. On the lane; it may read, not write. */
void catalog_watch_ends(struct catalog *c, void (*fn)(void *arg, const char *id), void *arg);
/* Newest first; database "" for all; state -1 for all; limit 0: 50. own_free. */
struct catalog_job *catalog_job_list(struct catalog *c, const char *database, const char *kind,
                                     int state, size_t limit, size_t *ret_count, struct err *err)
    MUST;
/* The newest of one kind and database, by its index: for those who ask often. */
struct catalog_job *catalog_job_last(struct catalog *c, const char *database, const char *kind,
                                     size_t limit, size_t *ret_count, struct err *err) MUST;
/* When the newest one ended that is done with a verdict of at most `worst`; 0: none ever did. */
bool catalog_job_last_good(struct catalog *c, const char *database, const char *kind, int worst,
                           uint64_t *ret_ended_us, struct err *err) MUST;
/* Newest first, those older than job `id` ("": all); NOT_FOUND when there is no such job. */
struct catalog_job *catalog_job_before(struct catalog *c, const char *database, const char *id,
                                       size_t limit, size_t *ret_count, struct err *err) MUST;

/* How many jobs of that kind began since, and when the oldest of them did (0: none). */
bool catalog_job_usage(struct catalog *c, const char *database, const char *kind, uint64_t since_us,
                       uint64_t *ret_count, uint64_t *ret_oldest_us, struct err *err) MUST;

struct catalog_journal_row {
    uint64_t at_us;
    char step[32];
    bool is_end, ok;
    char text[512];
};
struct catalog_journal_row *catalog_journal_list(struct catalog *c, const char *id,
                                                 size_t *ret_count, struct err *err) MUST;

/* ---- job log ---- */
/* Lines are bytes without line end; a line number that exists already is left as it is. Returns in
 * ret_next the number after the last line without a hole. */
bool catalog_log_append(struct catalog *c, const char *id, uint64_t first_line,
                        const char *const *lines, const size_t *lens, size_t count,
                        uint64_t *ret_next, struct err *err) MUST;
struct catalog_log_line {
    uint64_t number, at_us;
    char *text; /* owned by the array: catalog_log_free */
    size_t len;
};
struct catalog_log_line *catalog_log_read(struct catalog *c, const char *id, uint64_t first_line,
                                          size_t limit, size_t *ret_count, struct err *err) MUST;
struct catalog_log_usage {
    uint64_t lines, bytes, oldest_us; /* 0: none */
};
/* Of one job. */
bool catalog_log_usage_job(struct catalog *c, const char *job, struct catalog_log_usage *ret,
                           struct err *err) MUST;
/* Of all lines of a database's jobs that arrived since. Reads each of them. */
bool catalog_log_usage_since(struct catalog *c, const char *database, uint64_t since_us,
                             struct catalog_log_usage *ret, struct err *err) MUST;
void catalog_log_free(struct catalog_log_line *lines, size_t count);

/* ---- leases: one holder per (database, kind); tokens only grow ---- */
struct catalog_lease {
    char database[64];
    char kind[24]; /* backup, log, restore-test */
    char job[40];
    char host[256];
    uint32_t pid;
    uint64_t process_start;
    uint64_t token;
    uint64_t taken_us;
    uint64_t left_ms; /* what is left of it: its clock stands still while the agent is down */
    char boot_id[80]; /* which boot and process space of the host pid belongs to; "" unknown */
};
/* Gives the lease a token above every earlier one of this database and kind. BUSY with the holder
 * in ret_holder when it is held (left_ms > 0). */
bool catalog_lease_take(struct catalog *c, struct catalog_lease *lease,
                        struct catalog_lease *ret_holder, struct err *err) MUST;
/* FENCED when another token holds it, or none. */
bool catalog_lease_check(struct catalog *c, const char *job, uint64_t token,
                         struct catalog_lease *ret, struct err *err) MUST;
bool catalog_lease_renew(struct catalog *c, const char *job, uint64_t token, uint64_t left_ms,
                         struct err *err) MUST;
bool catalog_lease_release(struct catalog *c, const char *job, uint64_t token, struct err *err)
    MUST;
/* Takes elapsed_ms off every lease; rows at 0 are returned (own_free) and released. */
struct catalog_lease *catalog_lease_tick(struct catalog *c, uint64_t elapsed_ms, size_t *ret_count,
                                         struct err *err) MUST;
bool catalog_lease_find(struct catalog *c, const char *database, const char *kind,
                        struct catalog_lease *ret, struct err *err) MUST; /* NOT_FOUND */
/* The last one given, also when nobody holds it any more (left_ms 0); NOT_FOUND: never given. */
bool catalog_lease_last(struct catalog *c, const char *database, const char *kind,
                        struct catalog_lease *ret, struct err *err) MUST;

/* ---- snapshots and clones ---- */
struct catalog_snapshot {
    char database[64];
    char name[128];
    char kind[16]; /* pre, post, log, hold, manual */
    char run[40];
    char driver_id[64];
    uint64_t created_us;
    int durability;      /* enum driver_durability */
    bool mid_merge;      /* suspect files: not a recovery base */
    uint64_t bad_blocks; /* as the storage says (driver.h) */
};
/* manifest and facts: JSON texts, facts may be NULL. The same name again replaces the row. */
bool catalog_snapshot_put(struct catalog *c, const struct catalog_snapshot *s, const char *manifest,
                          const char *facts, struct err *err) MUST;
bool catalog_snapshot_delete(struct catalog *c, const char *database, const char *name,
                             struct err *err) MUST; /* NOT_FOUND */
/* What the storage says of it since. NOT_FOUND when there is none. */
bool catalog_snapshot_follow(struct catalog *c, const char *database, const char *name,
                             int durability, uint64_t bad_blocks, struct err *err) MUST;
struct catalog_snapshot *catalog_snapshot_list(struct catalog *c, const char *database,
                                               size_t *ret_count, struct err *err)
    MUST; /* oldest first */
/* A part of manifest and facts, taken as one text after the other; owned. */
struct catalog_part {
    char *manifest, *facts;
    size_t manifest_len, facts_len; /* of the part */
    uint64_t manifest_bytes, facts_bytes;
};
void catalog_part_done(struct catalog_part *part);
OWN_DEFINE_INPLACE(catalog_part, struct catalog_part, catalog_part_done);
bool catalog_snapshot_part(struct catalog *c, const char *database, const char *name,
                           uint64_t offset, size_t limit, struct catalog_part *ret_part,
                           struct err *err) MUST; /* NOT_FOUND */
/* Owned texts; *ret_facts NULL when there are none. */
bool catalog_snapshot_texts(struct catalog *c, const char *database, const char *name,
                            char **ret_manifest, char **ret_facts, struct err *err) MUST;

/* ---- holds and locks of snapshots: copies of what is kept with the snapshot itself ---- */
struct catalog_hold {
    char database[64];
    char snapshot[128];
    char id[40]; /* the job that made it */
    char owner[160];
    char reason[256];
    uint64_t made_us, until_us; /* until_us 0: until it is released */
};
bool catalog_hold_put(struct catalog *c, const struct catalog_hold *hold, struct err *err) MUST;
bool catalog_hold_delete(struct catalog *c, const char *database, const char *snapshot,
                         const char *id, struct err *err) MUST; /* NOT_FOUND */
/* By snapshot and age; database "" for all. own_free. */
struct catalog_hold *catalog_hold_list(struct catalog *c, const char *database, size_t *ret_count,
                                       struct err *err) MUST;
struct catalog_lock {
    char database[64];
    char snapshot[128];
    bool by_storage;
    uint64_t left_ms; /* of the box's running time, as it was at boot_ms of that boot */
    char boot_id[40];
    uint64_t boot_ms;
};
bool catalog_lock_put(struct catalog *c, const struct catalog_lock *lock, struct err *err) MUST;
bool catalog_lock_delete(struct catalog *c, const char *database, const char *snapshot,
                         struct err *err) MUST; /* no row is fine */
struct catalog_lock *catalog_lock_list(struct catalog *c, const char *database, size_t *ret_count,
                                       struct err *err) MUST;
/* Holds and locks of a snapshot that is gone. */
bool catalog_marks_drop(struct catalog *c, const char *database, const char *snapshot,
                        struct err *err) MUST;

struct catalog_clone {
    char database[64];
    char name[128];
    char snapshot[128];
    char owner[160];
    char purpose[160];
    uint64_t scn; /* 0: whole snapshot */
    uint64_t created_us, expires_us;
    char mount[512];
};
bool catalog_clone_put(struct catalog *c, const struct catalog_clone *clone, struct err *err) MUST;
bool catalog_clone_delete(struct catalog *c, const char *database, const char *name,
                          struct err *err) MUST;
bool catalog_clone_get(struct catalog *c, const char *database, const char *name,
                       struct catalog_clone *ret, struct err *err) MUST;
struct catalog_clone *catalog_clone_list(struct catalog *c, const char *database, size_t *ret_count,
                                         struct err *err) MUST; /* database "" for all */

/* ---- small facts: suspect files, last copies seen, ... one text per (database, key) ---- */
bool catalog_note_put(struct catalog *c, const char *database, const char *key, const char *text,
                      struct err *err) MUST;
/* Owned; NULL with NOT_FOUND. */
char *catalog_note_get(struct catalog *c, const char *database, const char *key, struct err *err)
    MUST;

/* ---- for whoever keeps what was read: `changed` hears of every row that was written, in the very
 * statement: of which database (NULL: forget everything, a write was undone or another process
 * wrote), and for the table of snapshots of which one (else NULL). A table is watched when it has a
 * column `database`. One listener; it may not use the catalog. ---- */
void catalog_watch(struct catalog *c,
                   void (*changed)(void *arg, const char *database, const char *snapshot),
                   void *arg);
/* Tells the listener when another process has written since; before trusting what is kept. */
bool catalog_watch_others(struct catalog *c, struct err *err) MUST;

/* Test hook: at the nth write transaction from now the process ends at once (_exit(137)), before
 * the commit or (after) just behind it. 0 = off. Returns how many were made since. */
long catalog_kill_at(long nth, bool after);
