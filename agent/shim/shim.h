/* What every verb needs: configuration, the agent, the way to print. */
#pragma once
#include "agent/base/json.h"
#include "agent/base/str.h"
#include "agent/config/config.h"
#include "agent/rpc/client.h"
#include "agent/shim/oratab.h"
#include "agent/shim/verdict.h"

#define SHIM_CONFIG_PATH "/etc/evercopy/evercopy.conf"
enum { SHIM_CALL_MS = 60000, SHIM_SNAPSHOT_MS = 6 * 3600 * 1000 };

struct shim_options {
    const char *config; /* NULL: SHIM_CONFIG_PATH */
    const char *agent;  /* HOST:PORT, over the configured one */
    const char *oratab; /* NULL: /etc/oratab */
    bool json, quiet, apply, allow_full, strict, follow, keep, validate_all, all, force;
    const char *to, *scn, *snapshot, *dest, *sid, *name, *purpose, *lease, *file, *limit;
    const char *zone;               /* utc, local, db or a name; NULL: what each verb prints in */
    const char *warning, *critical; /* limits of check */
    const char *days;               /* of report */
    const char *clone, *mounted;    /* of restore: one that is there, and where it is mounted */
    const char *mounts;             /* a mount table in place of this host's */
    const char *reason, *until, *hold; /* of holds */
    bool clock_is_right;
};

struct shim {
    const struct shim_options *options;
    struct config_shim *config;
    const struct config_database *db; /* NULL for verbs without one */
    struct rpc_client *client;        /* made at the first call */
    bool delivered;                   /* the spool was looked at */
};

/* Loads the configuration; db_name NULL for verbs over all databases. */
bool shim_open(struct shim *shim, const struct shim_options *options, const char *db_name,
               struct err *err) MUST;
void shim_close(struct shim *shim);
OWN_DEFINE_INPLACE(shim, struct shim, shim_close);

/* Unary call; the reply is freed with shim_free_reply. NULL with the agent's error. */
ProtobufCMessage *shim_call(struct shim *shim, const char *service, const char *method,
                            const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                            struct err *err) MUST;
void shim_free_reply(ProtobufCMessage *reply);
OWN_DEFINE(reply, ProtobufCMessage, shim_free_reply);
bool shim_connect(struct shim *shim, struct err *err) MUST;
/* A short call that changes nothing: is the agent there, and does it take our certificate? */
bool shim_is_answering(struct shim *shim, struct err *err) MUST;

/* Tells the agent what earlier shims of this database could not: log lines and verdicts out of the
 * spool, each once. Called by the first call that was answered; trouble waits for the next time. */
void shim_deliver(struct shim *shim);
/* For verbs whose answer depends on it: tells them before, of all configured databases when the
 * verb names none, each by its own agent and certificate. Asks nobody when nothing is left to tell.
 */
void shim_deliver_first(struct shim *shim);
/* Whether this answer to a verdict is the agent's last word: it knows no such run, or another has
 * come since. After any other the verdict waits in the spool. */
bool shim_is_final(const struct err *err);

/* "90m", "12h", "3d", or seconds; NULL is 0. */
bool shim_duration(const char *text, uint32_t *ret_s, struct err *err) MUST;
/* A random idempotency key; ret holds 33, and is returned. */
char *shim_key(char ret[33]);
#define SHIM_KEY shim_key((char[33]){0}) /* for the block it stands in */
/* "2026-11-21 14:32:07 +01:00"; "-" for 0. */
void shim_time(uint64_t us, int offset_min, char ret[48]);
/* "1.5 GiB"; "unknown" for UINT64_MAX. */
void shim_bytes(uint64_t bytes, char ret[32]);
const char *shim_verdict_word(int wire_verdict); /* "ok", "WARNING", "FAILED", "could not tell" */
/* Prints a document to stdout and releases it; false when it cannot be written. */
bool shim_print_json(json_t *doc, struct err *err) MUST;
bool shim_print_text(struct str *text, struct err *err) MUST;
/* After shim_open: the zone of --zone; for "db" the agent is asked for the database's. */
bool shim_zone(struct shim *shim, struct err *err) MUST;
/* The error line of a verb that failed before or without a run; returns the exit code. With --json
 * stdout gets {"error": ...} as well. */
int shim_report(const struct shim *shim, const char *db, const char *phase, const struct err *err);

/* The verbs: exit code out, everything said. words are what followed the verb. */
int verb_backup(const struct shim_options *options, const char *db);
int verb_setup(const struct shim_options *options, const char *db);
int verb_status(const struct shim_options *options, const char *db);
int verb_check(const struct shim_options *options, const char *db);
/* For a command line that cannot be understood: UNKNOWN, as any plug-in's. */
int verb_check_failed(const struct shim_options *options, const struct err *err);
int verb_report(const struct shim_options *options);
int verb_space(const struct shim_options *options, const char *db);
int verb_doctor(const struct shim_options *options, const char *db);
int verb_window(const struct shim_options *options, const char *db);
int verb_snapshots(const struct shim_options *options, const char *db);
int verb_jobs(const struct shim_options *options, const char *db);
int verb_log(const struct shim_options *options, const char *job);
int verb_cancel(const struct shim_options *options, const char *job);
int verb_clones(const struct shim_options *options, const char *db);
int verb_clone_create(const struct shim_options *options, const char *db, const char *name);
int verb_clone_extend(const struct shim_options *options, const char *db, const char *name);
int verb_clone_drop(const struct shim_options *options, const char *db, const char *name);
int verb_retention(const struct shim_options *options, const char *db);
int verb_snapshot_create(const struct shim_options *options, const char *db);
int verb_snapshot_delete(const struct shim_options *options, const char *db, const char *name);
int verb_snapshot_hold(const struct shim_options *options, const char *db, const char *name);
int verb_snapshot_release(const struct shim_options *options, const char *db, const char *name);
int verb_snapshot_lock(const struct shim_options *options, const char *db, const char *name);
int verb_snapshot_verify(const struct shim_options *options, const char *db, const char *name);
int verb_restore(const struct shim_options *options, const char *db);
int verb_reload(const struct shim_options *options);
int verb_renew(const struct shim_options *options, const char *db);
int verb_identify(const struct shim_options *options, const char *const *files, size_t count);
int verb_validate_file(const struct shim_options *options, const char *file);

/* The target of --to or --scn: one of the two is set in ret. A time without Z is the database's
 * own, asked of the agent. INVALID when neither or both are given. */
bool shim_target(struct shim *shim, uint64_t *ret_scn, uint64_t *ret_time_us, struct err *err) MUST;
