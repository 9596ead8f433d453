/* Runs that should have come. Nobody else notices a scheduler that stands still. */
#include "agent/engine/overdue.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/events.h"
#include <inttypes.h>

enum {
    RUNS_LOOKED_AT = 50,
    LONG_TIMES = 3,   /* the longest good run of those looked at */
    WIRE_WARNING = 2, /* the worst verdict of a good run, in the wire's numbers */
};
#define HOUR_US (UINT64_C(3600) * 1000000)
#define NOTE_KEY "overdue"

struct history {
    bool any;
    uint64_t begun_us;        /* newest run of all */
    uint64_t good_us;         /* end of the newest good one; 0: none */
    uint64_t longest_good_us; /* how long one took at most */
    size_t bad;               /* ended badly since the newest good one, of those looked at */
    bool more;                /* there are older ones than those looked at */
    char bad_cause[200];      /* the newest of them */
    struct catalog_job running;
};

static void take_one(struct history *h, const struct catalog_job *job)
{
    if (!h->any)
        h->begun_us = job->started_us;
    h->any = true;
    if (job->state == JOB_RUNNING) {
        h->running = *job;
        return;
    }
    uint64_t took = job->ended_us > job->started_us ? job->ended_us - job->started_us : 0;
    if (job->state == JOB_DONE && job->verdict <= WIRE_WARNING) {
        h->good_us = h->good_us ? h->good_us : job->ended_us;
        h->longest_good_us = took > h->longest_good_us ? took : h->longest_good_us;
        return;
    }
    if (h->good_us)
        return;
    if (!h->bad)
        IGNORE(!str_copy(h->bad_cause, sizeof h->bad_cause, job->cause)); /* cut is fine */
    h->bad++;
}

static bool read_history(struct catalog *catalog, const char *database, struct history *h,
                         struct err *err)
{
    size_t count;
    *h = (struct history){0};
    AUTO(mem)
    struct catalog_job *jobs =
        catalog_job_last(catalog, database, "backup", RUNS_LOOKED_AT, &count, err);
    for (size_t i = 0; jobs && i < count; i++)
        take_one(h, &jobs[i]);
    h->more = jobs && count == RUNS_LOOKED_AT;
    return jobs &&
           (h->good_us || !h->more ||
            catalog_job_last_good(catalog, database, "backup", WIRE_WARNING, &h->good_us, err));
}

static uint64_t since(uint64_t us)
{
    uint64_t now = clock_wall_us();
    return now > us ? now - us : 0; /* a clock set back makes nothing overdue */
}

/* What a DBA does next differs: the scheduler is looked at, or the log of the run that failed. */
static void tell_why(const struct history *h, const struct config_served *db, uint64_t age_us,
                     struct overdue *ret)
{
    bool triggered = h->any && since(h->begun_us) < db->overduewarning_h * HOUR_US;
    const char *what = h->good_us ? "ended well" : "was ever good";
    if (!h->any)
        IGNORE(!str_format(ret->cause, sizeof ret->cause,
                           "never triggered: set up %" PRIu64 " hours ago, and no run was begun",
                           age_us / HOUR_US));
    else if (h->running.id[0])
        IGNORE(!str_format(ret->cause, sizeof ret->cause,
                           "no run %s for %" PRIu64 " hours; still running: %s", what,
                           age_us / HOUR_US, h->running.id));
    else if (triggered && h->bad)
        IGNORE(!str_format(ret->cause, sizeof ret->cause,
                           "triggered, but no run %s for %" PRIu64 " hours: %s%zu failed, last: %s",
                           what, age_us / HOUR_US,
                           h->more && h->bad >= RUNS_LOOKED_AT ? "at least " : "", h->bad,
                           h->bad_cause));
    else
        IGNORE(!str_format(ret->cause, sizeof ret->cause,
                           "not triggered: the last run began %" PRIu64
                           " hours ago, one is expected every %" PRIu64,
                           since(h->begun_us) / HOUR_US, db->overduewarning_h));
    if (triggered && h->any)
        IGNORE(!str_format(ret->next, sizeof ret->next, "look at 'evercopy jobs %s'", db->name));
    else
        IGNORE(!str_format(ret->next, sizeof ret->next,
                           "look at the scheduler of '%s' and at 'evercopy jobs %s'", db->name,
                           db->name));
}

static void judge_length(const struct history *h, struct overdue *ret)
{
    uint64_t on_us = h->running.id[0] ? since(h->running.started_us) : 0;
    if (!h->longest_good_us || on_us < HOUR_US || on_us < LONG_TIMES * h->longest_good_us)
        return;
    ret->level = OVERDUE_WARNING;
    IGNORE(!str_format(ret->cause, sizeof ret->cause,
                       "run %s has been on for %" PRIu64 " minutes in '%s'; the longest good one "
                       "took %" PRIu64,
                       h->running.id, on_us / (HOUR_US / 60), h->running.step,
                       h->longest_good_us / (HOUR_US / 60)));
    IGNORE(!str_format(ret->next, sizeof ret->next,
                       "look at 'evercopy log %s'; 'evercopy cancel %s' stops it", h->running.id,
                       h->running.id));
}

bool overdue_judge(struct catalog *catalog, const struct config_served *db, struct overdue *ret,
                   struct err *err)
{
    struct catalog_database row;
    struct history h;
    struct err why = {0};
    *ret = (struct overdue){0};
    if (!catalog_database_get(catalog, db->name, &row, &why)) {
        if (why.code != ERR_NOT_FOUND)
            *err = why;
        return why.code == ERR_NOT_FOUND;
    }
    if (!read_history(catalog, db->name, &h, err))
        return false;
    uint64_t age_us = since(h.good_us ? h.good_us : row.registered_us);
    if (age_us < db->overduewarning_h * HOUR_US) {
        judge_length(&h, ret);
        return true;
    }
    ret->level = age_us < db->overduefailed_h * HOUR_US ? OVERDUE_WARNING : OVERDUE_FAILED;
    tell_why(&h, db, age_us, ret);
    return true;
}

/* ---- alarms ---- */

static bool level_told(struct catalog *catalog, const char *database, enum overdue_level *ret,
                       struct err *err)
{
    struct err why = {0};
    AUTO(mem) char *text = catalog_note_get(catalog, database, NOTE_KEY, &why);
    *ret = text && text[0] >= '0' && text[0] <= '2' ? (enum overdue_level)(text[0] - '0')
                                                    : OVERDUE_NOT;
    if (text || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

/* One line, and for hooks an event. */
static void raise_alarm(const struct world *world, const char *database, const struct overdue *o)
{
    if (o->level != OVERDUE_NOT)
        events_emit(
            world_events(world), "run.overdue",
            (const char *const[][2]){{"db", database},
                                     {"level", o->level == OVERDUE_WARNING ? "warning" : "failed"},
                                     {"cause", o->cause},
                                     {"next", o->next},
                                     {NULL, NULL}});
    if (o->level == OVERDUE_NOT)
        log_info("no longer overdue db=%s", database);
    else if (o->level == OVERDUE_WARNING)
        log_warning("overdue db=%s: %s; next: %s", database, o->cause, o->next);
    else
        log_error("overdue db=%s: %s; next: %s", database, o->cause, o->next);
}

bool overdue_tick(struct catalog *catalog, const struct world *world, size_t *ret_alarms,
                  struct err *err)
{
    const struct config_agent *config = world_config(world);
    if (ret_alarms)
        *ret_alarms = 0;
    for (size_t i = 0; i < config->database_count; i++) {
        const char *name = config->databases[i].name;
        struct overdue now;
        enum overdue_level told;
        if (!overdue_judge(catalog, &config->databases[i], &now, err) ||
            !level_told(catalog, name, &told, err))
            return err_wrap(err, "overdue runs of '%s'", name);
        if (now.level == told)
            continue;
        const char level[] = {(char)('0' + (int)now.level), '\0'};
        raise_alarm(world, name, &now);
        if (ret_alarms && now.level > told)
            ++*ret_alarms;
        if (!catalog_note_put(catalog, name, NOTE_KEY, level, err))
            return false;
    }
    return true;
}
