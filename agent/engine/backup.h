/* One backup run as the agent sees it: lease, phases, suspects, verdict. On the engine's lane. */
#pragma once
#include "agent/engine/outlook.h"

struct engine;

struct backup_begin {
    const char *database, *db_name, *host, *owner, *key, *channel_text;
    const char *dead_job; /* run whose process the shim, on the same host, saw to be gone; "" */
    const char *boot_id;  /* which boot and process space pid belongs to; NULL or "" unknown */
    uint32_t dbid, resetlogs_id, pid, open_channels;
    uint64_t process_start;
};
struct backup_granted {
    char job[40];
    uint64_t token;
    uint32_t lease_s;
};
/* Refuses, with the reason, whatever does not match; BUSY "already running since ... on host ...".
 * The same key again returns the same grant as long as the run is open. */
bool backup_begin(struct catalog *catalog, const struct world *world,
                  const struct backup_begin *request, struct backup_granted *ret, struct err *err)
    MUST;
/* Checks the token and renews the lease; ret_job is the run. FENCED when it was lost. */
bool backup_hold(struct catalog *catalog, const struct world *world, const char *job,
                 uint64_t token, struct catalog_job *ret_job, struct err *err) MUST;
/* The token was the last one given for that run's database: whoever has it may still tell what it
 * had not told. Renews nothing, and the run may have ended. FENCED when another run has come. */
bool backup_knows(struct catalog *catalog, const char *job, uint64_t token,
                  struct catalog_job *ret_job, struct err *err) MUST;
/* The verdict of a run that was ended for its silence, told by the next shim: a line in its log,
 * once; its suspects are right again. The end itself does not change. */
bool backup_late_word(struct catalog *catalog, const struct catalog_job *job, const char *text,
                      const uint32_t *suspects, size_t count, struct err *err) MUST;
/* A line in the run's log and the agent's own: something is odd. */
bool backup_alarm(struct catalog *catalog, const struct catalog_job *job, const char *text,
                  struct err *err) MUST;
bool backup_phase(struct catalog *catalog, const char *job, const char *phase, int verdict,
                  const char *text, struct err *err) MUST;

/* Datafiles whose merge was begun and not seen to end; a count of 0 clears. */
bool backup_suspects_put(struct catalog *catalog, const char *database, const uint32_t *files,
                         size_t count, struct err *err) MUST;
/* Owned by the caller. */
bool backup_suspects_get(struct catalog *catalog, const char *database, uint32_t **ret_files,
                         size_t *ret_count, struct err *err) MUST;

struct backup_verdict {
    int verdict; /* the wire's enum */
    char phase[32], cause[512], next[256];
    struct scn recoverable_to, earliest;
    uint64_t recoverable_to_us;
};
/* The agent's own judgement of a run the shim calls done: this run's "post" must be a sound base
 * and every copy must have come as far as its file was when the run began. */
void backup_judge(const struct outlook *outlook, const char *job, struct backup_verdict *ret);
/* Ends the run and frees the lease. */
bool backup_finish(struct catalog *catalog, const char *job, uint64_t token,
                   const struct backup_verdict *verdict, struct err *err) MUST;
/* Takes elapsed time off the leases (one whose run the agent itself works for, by a job in
 * engine or with NULL any that runs, is renewed by lease_ms instead); runs whose shim went silent
 * end as failed, and say so. */
bool backup_tick(struct catalog *catalog, struct engine *engine, uint64_t elapsed_ms,
                 uint64_t lease_ms, struct err *err) MUST;

struct standing {               /* of one database, for status */
    struct catalog_job last;    /* last ended run; id "" when none */
    struct catalog_job running; /* id "" when none */
    int verdict;
    char cause[512], next[256];
    size_t base; /* in the outlook, SIZE_MAX none */
};
/* base: plan_newest_base. By the catalog alone: what depends on the time of day is the teller's to
 * say, as a standing is kept until a row changes (agent/engine/shelf.h). */
bool backup_standing(struct catalog *catalog, size_t base, const char *database,
                     struct standing *ret, struct err *err) MUST;
/* What the storage found in the newest snapshot (plan_doubt; "": nothing) comes first, and is a
 * warning at least. Older ones say it of themselves: a block that was copied anew is in none that
 * comes. */
void backup_doubt(const char *volume, const char *snapshot, const char *doubt, struct standing *s);
