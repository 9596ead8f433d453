/* Retention: which snapshots may go, given what must still be restorable. Pure: no disk, no clock.
 *
 * The floor counts proven points (what a recipe reaches), never snapshots; a snapshot goes only
 * when the planner, asked again without it, still reaches every kept point and the whole recovery
 * window, and promises nothing more than before. README.md says which of a bucket is kept. */
#pragma once
#include "agent/base/zone.h"
#include "agent/config/config.h"
#include "agent/engine/planner.h"

struct retention_hold {
    const char *owner, *reason;
    uint64_t until_us; /* 0: until it is released */
};

/* Beside a plan source: what else is known of that snapshot. Borrowed. */
struct retention_snapshot {
    const char *id; /* the storage's own */
    int durability; /* enum driver_durability */
    const struct retention_hold *holds;
    size_t hold_count;
    uint64_t lock_left_ms; /* 0: not locked */
    bool lock_by_storage;
    const char *const *clones; /* names */
    size_t clone_count;
};

struct retention_input {
    const struct plan_source *sources; /* snapshots alone, oldest first */
    const struct retention_snapshot *snapshots;
    size_t count;
    bool can_compose;
    const struct config_retention *policy;
    const struct zone *zone;
    uint64_t now_us;
};

enum retention_rule {
    RETENTION_GOES,      /* why it goes; every other rule keeps */
    RETENTION_NO_POLICY, /* nothing is configured */
    RETENTION_YOUNG,     /* younger than recoverywindow or snapexpirationdays */
    RETENTION_TIER,      /* the point of an hour, day, week, month, year */
    RETENTION_MONTH_END, /* snapexpirationmonths */
    RETENTION_UNKNOWN,   /* could not tell, and it could be needed */
    RETENTION_NEWEST,    /* what the database is now, it says */
    RETENTION_FLOOR,     /* blockers from here: also an explicit delete is refused */
    RETENTION_LAST_GOOD,
    RETENTION_HOLD,
    RETENTION_LOCK,
    RETENTION_CLONE,
    RETENTION_BASE,  /* gives the datafiles of something kept */
    RETENTION_LOG,   /* holds a log something kept needs */
    RETENTION_SHEET, /* its fact sheet or control file is needed */
};

struct retention_reason {
    size_t snapshot;
    enum retention_rule rule;
    char text[PLAN_TEXT_MAX];
};

struct retention;
/* Everything handed in must stay valid as long as the result. */
struct retention *retention_make(const struct retention_input *input, struct err *err) MUST;
void retention_free(struct retention *retention);
OWN_DEFINE(retention, struct retention, retention_free);

bool retention_keeps(const struct retention *r, size_t snapshot);
/* A recipe of snapshots alone reaches a target with it as base, and it is durable enough. */
bool retention_is_proven(const struct retention *r, size_t snapshot);
/* Every reason, strongest rule last; at least one. */
const struct retention_reason *retention_reasons(const struct retention *r, size_t snapshot,
                                                 size_t *ret_count);
/* What decides, as 16 hexadecimal digits: the same decision again has the same id. */
const char *retention_id(const struct retention *r);
size_t retention_going(const struct retention *r);
/* Could this one snapshot be deleted on request? PRECONDITION with every blocker otherwise. */
bool retention_may_delete(const struct retention *r, size_t snapshot, struct err *err) MUST;
/* Some rule of the policy is set. */
bool retention_has_policy(const struct config_retention *policy);
