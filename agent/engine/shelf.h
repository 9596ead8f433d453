/* The shelf: outlooks kept between calls, so that a question costs what changed, not what there is.
 *
 * On the engine's lane, but for shelf_order_run and dropping references. What is kept is dropped
 * the moment a row it was read from is written: the catalog's triggers say so, whoever writes. A
 * survey of the live area and the storage's ability to compose are compared at each use. Bounded in
 * bytes: whole outlooks go, the longest unused first; the summary of each database stays. */
#pragma once
#include "agent/engine/backup.h"

enum { SHELF_THREADS_MAX = 16, SHELF_BYTES = 64 << 20, SHELF_IDLE_MS = 600000 };

/* What status tells of a database. By the catalog and the live survey alone, never by the clock. */
struct shelf_summary {
    struct standing standing;
    uint32_t dbid; /* 0: not registered */
    uint32_t snapshots, gaps;
    bool has_window; /* something is reachable */
    struct scn recoverable_to, oldest, arrived_to;
    uint64_t recoverable_to_us, oldest_us, arrived_to_us;
    char doubt[PLAN_TEXT_MAX]; /* what the storage found in the newest snapshot; "" nothing */
    char newest[128];
    char base[128]; /* the newest proven base; "" when there is none */
    uint64_t base_us;
    char gap[PLAN_TEXT_MAX]; /* why of the newest gap that is open */
    struct plan_thread threads[SHELF_THREADS_MAX];
    size_t thread_count;
    int offset_min; /* of the database host, as its newest sheet says */
    char zone_name[64];
};

struct shelf;
struct shelf *shelf_new(size_t bytes_max, struct err *err) MUST;
void shelf_free(struct shelf *shelf);
OWN_DEFINE(shelf, struct shelf, shelf_free);
/* The catalog to listen to, before the first question; it must not outlive the shelf. */
void shelf_watch(struct shelf *shelf, struct catalog *catalog);

/* Gives back what nobody has asked for in that time; summaries stay. True when something went. */
bool shelf_rest(struct shelf *shelf, uint64_t idle_ms);

/* The outlook as things stand; a reference, dropped by outlook_free on any thread. */
struct outlook *shelf_outlook(struct shelf *shelf, const struct world *world,
                              const struct config_served *db, struct survey_kept *live,
                              struct err *err) MUST;
/* Borrowed until the next call. Loads the outlook only when something has changed. */
const struct shelf_summary *shelf_summary(struct shelf *shelf, const struct world *world,
                                          const struct config_served *db, struct survey_kept *live,
                                          struct err *err) MUST;

/* Texts to be parsed before an outlook can be made: done elsewhere when they are long, as parsing
 * may take seconds. */
struct shelf_order {
    char database[64], snapshot[128];
    char *manifest, *facts;
    size_t left;      /* texts missing, this one included */
    uint64_t changes; /* of the database when the texts were read */
    struct look *look;
    struct err err;
};
void shelf_order_done(struct shelf_order *order);
OWN_DEFINE_INPLACE(shelf_order, struct shelf_order, shelf_order_done);
/* True with the next one in *order; false when there is none (or err is set). summary_only: nothing
 * is to be done when the summary stands. */
bool shelf_next(struct shelf *shelf, const struct world *world, const struct config_served *db,
                struct survey_kept *live, bool summary_only, struct shelf_order *order,
                struct err *err) MUST;
/* Parses; any thread. */
void shelf_order_run(struct shelf_order *order);
/* Back on the engine's lane: kept, unless a row of that database was written meanwhile. */
void shelf_fill(struct shelf *shelf, struct shelf_order *order);

/* Moves whenever a snapshot's row of that database is written; never 0. For readers of parts. */
bool shelf_changes(struct shelf *shelf, const char *database, uint64_t *ret_changes,
                   struct err *err) MUST;

struct shelf_figures {
    size_t databases, outlooks, bytes;
    uint64_t loads, parses, hits; /* outlooks made, texts parsed, answers from what was kept */
};
struct shelf_figures shelf_figures(const struct shelf *shelf);
