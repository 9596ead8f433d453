/* One call on its way through the engine; shared by the service files. */
#pragma once
#include "agent/auth/scribe.h"
#include "agent/engine/arrivals.h"
#include "agent/engine/expiry.h"
#include "agent/engine/quota.h"
#include "agent/engine/shelf.h"
#include "agent/service/service.h"

struct ask {
    struct work work;          /* to the engine's lane, and home to the loop */
    struct work read;          /* to the readers and back to the engine's lane */
    struct scribe_entry entry; /* the audit's line it waits for, on the loop */
    uint64_t intent;           /* number of the line that announced it; 0: changes nothing */
    struct service *service;
    struct world *world;             /* of its first leg on the engine's lane; counted */
    struct rpc_call *call;           /* touched on the loop only */
    bool is_away, is_draining;       /* loop only, of a client stream: its message is on the lane */
    _Atomic bool is_gone;            /* the caller is: what has not begun need not begin */
    const ProtobufCMessage *request; /* lives until the call is answered */
    struct rpc_peer peer;            /* its texts are the call's, which lives longer */
    ProtobufCMessage *reply;
    struct err err;            /* set: the call fails */
    char phase[32], next[256]; /* details beside an error */
    void *state;               /* the handler's own, between its legs */
    void (*state_free)(void *state);
    void *carried; /* over a survey, which has a state of its own */
    void (*carried_free)(void *carried);
    void (*then)(struct ask *ask); /* next leg on the engine's lane */
    struct scn target;             /* set by recipe_resolve; 0: the logs do not reach that time */
    struct survey_kept *live;      /* the survey ask_live gave last, held */
    struct {
        const struct config_served *db;
        bool live;
        void (*then)(struct ask *ask);
        void (*resume)(struct ask *ask);
        size_t left, stalls;
        struct shelf_order order;
    } warm;
    struct ask_block *blocks;
};

/* Memory that lives as long as the ask. NULL sets ask->err. */
void *ask_alloc(struct ask *ask, size_t size) MUST;
/* Copies for reply fields; on failure "" and ask->err is set, which ask_answer notices. */
char *ask_text(struct ask *ask, const char *text);
ProtobufCBinaryData ask_bytes(struct ask *ask, const void *bytes, size_t len);
/* Sends the reply, or the error when ask->err is set. The ask is gone afterwards. */
void ask_answer(struct ask *ask);
/* ask->err and answer, in one line. */
void ask_fail(struct ask *ask, const struct err *err);

struct catalog *ask_catalog(struct ask *ask);
struct quota *ask_quota(struct ask *ask);
/* What an operator should know about certificates that end and the clock; "" when nothing. */
const char *ask_notice(struct ask *ask);
/* Quotas are for database hosts; the same key again asks for nothing new. */
bool ask_is_bounded(struct ask *ask, const char *key);
struct world *ask_world(struct ask *ask);
struct engine *ask_engine(struct ask *ask);
const struct expiry *ask_expiry(struct ask *ask);
/* The configured database, if this caller may touch it; NULL with ask->err set. */
const struct config_served *ask_database(struct ask *ask, const char *name);
/* False, with ask->err set to UNAVAILABLE, while a job of before the agent's start still works on
 * that database: whoever wants to change something tries again soon. */
bool ask_is_settled(struct ask *ask, const char *database) MUST;
/* Nobody waits for it any more, or the agent stops: what reads for long asks, from any thread. */
bool ask_is_over(void *ask);
/* Scoped to caller and method, so that nobody meets another's key. "" stays "". False with ask->err
 * set when it is longer than 48 bytes. */
bool ask_key(struct ask *ask, const char *method, const char *key, char ret[80]) MUST;

/* Surveys the live area of a database on the readers' lane, then calls `then` on the engine's lane.
 * The result is kept for the database; ask_live gives it (NULL: never surveyed). An area that does
 * not exist yet is an empty survey. headers_only leaves the kept one alone and hands its own out.
 */
void ask_survey(struct ask *ask, const struct config_served *db, bool headers_only,
                void (*then)(struct ask *ask));
const struct manifest *ask_live(struct ask *ask, const char *database);
/* The outlook of a database as it is now, kept between calls; with what was surveyed of its live
 * area last, or without. A reference: AUTO(outlook). NULL with ask->err set. */
struct outlook *ask_outlook(struct ask *ask, const struct config_served *db, bool with_live) MUST;
struct shelf *ask_shelf(struct ask *ask);
/* Calls `then` on the engine's lane once ask_outlook will cost little: long manifests are parsed on
 * the readers' lane, and the engine's lane is left to others in between. */
void ask_warm(struct ask *ask, const struct config_served *db, bool with_live,
              void (*then)(struct ask *ask));
/* The same, step by step, for the summary alone. AWAY: `resume` is called later, and asks again. */
enum ask_step { ASK_READY, ASK_AWAY, ASK_FAILED };
enum ask_step ask_warm_step(struct ask *ask, const struct config_served *db,
                            void (*resume)(struct ask *ask));
/* Lets whoever waits for the engine's lane go first. */
void ask_yield(struct ask *ask, void (*resume)(struct ask *ask));
enum { ASK_SLICE_MS = 20 };
struct arrivals *ask_arrivals(struct ask *ask);
struct survey_kept *ask_kept(struct ask *ask, const char *database); /* borrowed; NULL: none */

/* The survey just made with headers_only; owned by the ask. */
const struct manifest *ask_quick(struct ask *ask);

/* A client stream's part: each message in ask->request, NULL never; leaves what it has to say in
 * ask->reply or ask->err and returns. */
void backups_upload_log(struct ask *ask);
/* One per file; on the engine's lane. */
void databases_register(struct ask *ask);
void databases_status(struct ask *ask);
void mounts_list(struct ask *ask);
void space_get(struct ask *ask);
void backups_lease(struct ask *ask);
void backups_begin(struct ask *ask);
void backups_phase(struct ask *ask);
void backups_check_logs(struct ask *ask);
void backups_check_copies(struct ask *ask);
void backups_put_facts(struct ask *ask);
void backups_append_log(struct ask *ask);
void backups_finish(struct ask *ask);
void snapshots_take(struct ask *ask);
void snapshots_list(struct ask *ask);
void snapshots_manifest(struct ask *ask);
void snapshots_create(struct ask *ask);
void snapshots_verify(struct ask *ask);
void backups_list_prunable(struct ask *ask);
void retention_preview(struct ask *ask);
void retention_apply(struct ask *ask);
void retention_delete(struct ask *ask);
void retention_hold(struct ask *ask);
void retention_release(struct ask *ask);
void retention_lock(struct ask *ask);
void retention_confirm_clock(struct ask *ask);
void retention_policy(struct ask *ask);
/* After a good run, when the policy is automatic: starts the job, says so in the run's log. Never
 * an error of the run. */
void retention_after_run(struct ask *ask, const struct config_served *db, const char *run);
void recovery_window(struct ask *ask);
void recovery_plan(struct ask *ask);
void recovery_prove(struct ask *ask);
void clones_create(struct ask *ask);
void clones_drop(struct ask *ask);
void clones_list(struct ask *ask);
void clones_extend(struct ask *ask);
void jobs_list(struct ask *ask);
void admin_renew(struct ask *ask);
void jobs_cancel(struct ask *ask);
void admin_reload(struct ask *ask);
/* On the loop: a stream does not go through an ask. */
void jobs_follow(struct rpc_call *call, const ProtobufCMessage *request);
/* Health, and reflection in both its versions. */
void health_check(struct ask *ask);
void health_watch(struct rpc_call *call, const ProtobufCMessage *request);
void reflection_info(struct rpc_call *call, const ProtobufCMessage *request);
struct lane *service_lane(struct service *service);
struct loop *service_loop(struct service *service);
struct engine *service_engine(struct service *service);
struct world *service_world(struct service *service);
/* How a database stands, from what is kept; on the engine's lane, borrowed until the next call. */
const struct shelf_summary *service_summary(struct service *service, const struct config_served *db,
                                            struct err *err) MUST;
