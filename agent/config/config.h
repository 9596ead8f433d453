/* Configuration: text to immutable structs; every key is known, every error has its line. */
#pragma once
#include "agent/base/str.h"
#include <stdint.h>

/* Texts in these structs are never NULL ("" when not set) and live as long as their config. */
struct config_address {
    const char *host; /* "" when not set; without the brackets of an IPv6 address */
    uint16_t port;
};

/* One database of evercopy.conf, or of the reference toolset's backup.cfg as it is: its own keys
 * over the keys of the other sections over the defaults. */
struct config_database {
    const char *name; /* the section; "" for config_shim_generic */
    struct config_address agent;
    const char *ca, *cert, *key; /* PEM files */
    const char *ticketfile;      /* "" for the default place */
    const char *area;            /* backupdest, with the database's name below it when shared */
    const char *oraclehome, *sid, *osuser, *tnsadmin;
    const char *tag;         /* upper case, at most 30 bytes */
    const char *sectionsize; /* "" or such as 64G */
    const char *templates;   /* folder of overriding templates */
    const char *zone;        /* overrides what the host says */
    const char *primarytns, *catalog;
    const char *spool; /* folder */
    uint64_t parallel, logwait_s, maxlockwait_min, recoverywindow_days;
    uint64_t agentwait_s, spoolmax_mib, rmansilent_min, rmandeadline_min;
    uint32_t dbid;     /* 0: not pinned */
    bool area_mounted; /* false: this host opens no file of the area */
    bool logs_push, allowfull, strict, hasdataguard, dosnapshot, gimanaged;
    /* Where restores and restore tests put their instance. */
    const char *sandbox_destination, *sandbox_clone, *sandbox_mount, *sandbox_logdir;
    const char *mount_helper; /* "": none */
    const char *sandbox_pga, *sandbox_sga, *sandbox_catalog;
    uint64_t sandbox_instance_no, sandbox_thread;
};

struct config_shim;
/* NULL with CONFIG (or the error of reading); nothing is started on a half-read configuration. */
struct config_shim *config_shim_load(const char *path, struct err *err) MUST;
struct config_shim *config_shim_parse(const char *text, size_t len, const char *file,
                                      struct err *err) MUST;
void config_shim_free(struct config_shim *config);
OWN_DEFINE(config_shim, struct config_shim, config_shim_free);
const char *config_shim_file(const struct config_shim *config);
/* Databases in the order of the file; NULL past the end. */
const struct config_database *config_shim_at(const struct config_shim *config, size_t index);
/* By its section's name; NULL with NOT_FOUND, naming the nearest. */
const struct config_database *config_shim_find(const struct config_shim *config, const char *name,
                                               struct err *err) MUST;
/* What holds without any database: agent, certificates, templates. */
const struct config_database *config_shim_generic(const struct config_shim *config);
/* A key's text as resolved, also of keys that are only kept ("schedulebackup", "zfssapool"). */
const char *config_value(const struct config_database *database, const char *key);
/* "FILE:LINE" or "default", for messages; owned by the caller. */
char *config_origin(const struct config_shim *config, const struct config_database *database,
                    const char *key, struct err *err) MUST;
/* False with CONFIG, naming file, section and key, when the key has no value. */
bool config_require(const struct config_shim *config, const struct config_database *database,
                    const char *key, struct err *err) MUST;

struct config_option {
    const char *key, *value;
    unsigned line;
};
struct config_storage {
    const char *name, *driver;
    const struct config_option *options; /* every other key; the driver judges them */
    size_t option_count;
    unsigned line;
};
enum config_tier { TIER_HOURLY, TIER_DAILY, TIER_WEEKLY, TIER_MONTHLY, TIER_YEARLY, TIER_COUNT };
struct config_retention { /* 0: that rule keeps nothing */
    bool automatic;
    uint64_t window_days, expiration_days, expiration_months;
    uint64_t keep[TIER_COUNT], keep_proven;
    uint64_t log_days;
};
/* What a database host may add to one database; 0: no bound. */
struct config_quota {
    uint64_t runs_per_day, snapshots_per_day;
    uint64_t log_lines_per_run, log_lines_per_day, log_bytes_per_run, log_bytes_per_day;
};
struct config_served { /* a database as the agent sees it */
    const char *name, *storage, *volume, *zone;
    uint32_t dbid; /* 0: not pinned */
    struct config_quota quota;
    uint64_t overduewarning_h, overduefailed_h;
    unsigned line;
    struct config_retention retention; /* its own keys over those of [agent] */
};

/* evercopyd.conf */
struct config_agent {
    const char *file;
    struct config_address listen, status; /* gRPC; status page and metrics */
    const char *state, *pki, *run;
    bool verify_full;
    const char *loglevel; /* error, warning, info, debug */
    uint64_t workers, backuplease_s, calls_per_minute;
    const char *hooks, *hooklib, *hookhost; /* "": none */
    uint64_t hookdeadline_s, hookdelay_s;
    uint64_t capacitylow, capacityok; /* percent; low <= ok */
    const struct config_storage *storages;
    const struct config_served *databases; /* each names a storage that exists */
    size_t storage_count, database_count;
};
struct config_agent *config_agent_load(const char *path, struct err *err) MUST;
struct config_agent *config_agent_parse(const char *text, size_t len, const char *file,
                                        struct err *err) MUST;
void config_agent_free(struct config_agent *config);
OWN_DEFINE(config_agent, struct config_agent, config_agent_free);

/* What differs between two readings of a file, one line each, for people. */
struct config_changes {
    struct str changed, kept;
};
void config_changes_done(struct config_changes *changes);
OWN_DEFINE_INPLACE(config_changes, struct config_changes, config_changes_done);
/* Readies `next` to take the place of `now` in a running agent: what cannot change while it runs
 * gets now's value and is told in kept, by key; the rest in changed. */
bool config_agent_succeed(struct config_agent *next, const struct config_agent *now,
                          struct config_changes *ret, struct err *err) MUST;

/* An [export NAME], its own keys over those of [export] over the defaults; NAME is a volume's. */
struct config_export {
    const char *name;                    /* "": of all that have no section */
    const char *clients, *clone_clients; /* networks, "none"; clone_clients "": as clients */
    const char *squash;                  /* root, none, all */
    bool read_only, privileged;
    uint32_t anon_uid, anon_gid;
    uint32_t owner, group; /* of top folders that are root's still */
    unsigned line;         /* 0: there is no such section */
};

/* evercopy-vaultd.conf */
struct config_vault {
    const char *file;
    const char *box, *store, *socket; /* store: a folder or a URL */
    const char *allow;                /* user names, blanks between */
    const char *loglevel;
    uint64_t layer_bytes, unsealed_bytes, debt_bytes, cache_bytes, dir_bytes, reserve_bytes;
    uint64_t thin_bytes_per_s; /* 0: no bound */
    uint64_t wait_s, level, threads;
    const struct config_option *options; /* every other key of [store]; the backend judges them */
    size_t option_count;
    const char *nfs_listen; /* addresses; "": all, when there are exports; "none" */
    uint16_t nfs_port;
    const char *rpcbind; /* auto, yes, no */
    uint64_t nfs_connections;
    struct config_export export_default;
    const struct config_export *exports;
    size_t export_count;
};
/* Of the volume of that name. */
const struct config_export *config_vault_export(const struct config_vault *config,
                                                const char *volume);
/* What a running vault takes over from a new reading: exports, loglevel. The rest is kept; which of
 * it differs is told, by key, as a vault takes it over at its next start. */
bool config_vault_succeed(struct config_vault *next, const struct config_vault *now,
                          struct config_changes *ret, struct err *err) MUST;
struct config_vault *config_vault_load(const char *path, struct err *err) MUST;
struct config_vault *config_vault_parse(const char *text, size_t len, const char *file,
                                        struct err *err) MUST;
void config_vault_free(struct config_vault *config);
OWN_DEFINE(config_vault, struct config_vault, config_vault_free);

/* All keys with section, default, bounds and help, for check-config and the manual; owned. */
char *config_shim_keys(struct err *err) MUST;
char *config_agent_keys(struct err *err) MUST;
char *config_vault_keys(struct err *err) MUST;
