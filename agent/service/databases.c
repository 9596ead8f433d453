/* evercopy.v1.Databases: registering a database, and how all of them stand. */
#include "agent/service/ask.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/overdue.h"
#include "evercopy/v1/databases.pb-c.h"
#include <inttypes.h>
#include <stdlib.h>

enum { PLAN_LINES_MAX = 4, LINE_MAX_BYTES = 400 };

struct registering {
    struct work work;
    struct ask *ask;
    const struct config_served *db;
    bool has_volume;
    bool known;
};

static void add_line(struct ask *ask, Evercopy__V1__RegisterDatabaseReply *reply, const char *text)
{
    if (!reply->plan)
        reply->plan = ask_alloc(ask, sizeof *reply->plan * PLAN_LINES_MAX);
    if (reply->plan && reply->n_plan < PLAN_LINES_MAX)
        reply->plan[reply->n_plan++] = ask_text(ask, text);
}

static bool is_not_found(struct err *why, struct err *err)
{
    if (why->code == ERR_NOT_FOUND)
        return true;
    *err = *why;
    return false;
}

/* On the readers' lane: looking at and making a volume may block. */
static void run_volume(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const Evercopy__V1__RegisterDatabaseRequest *request = (const void *)ask->request;
    struct registering *r = ask->state;
    struct driver_ref *driver = world_driver(ask_world(ask), r->db);
    struct driver_volume_info info;
    struct err why = {0};
    r->has_volume = driver_volume_info(driver, r->db->volume, &info, &why);
    if (!r->has_volume && !is_not_found(&why, &ask->err))
        return;
    if (!r->has_volume && request->apply)
        IGNORE(!driver_volume_create(driver, r->db->volume, &ask->err)); /* told by ask->err */
}

static bool put_row(struct ask *ask, const struct registering *r)
{
    const Evercopy__V1__RegisterDatabaseRequest *request = (const void *)ask->request;
    struct catalog_database row = {.dbid = request->dbid, .registered_us = clock_wall_us()};
    IGNORE(!str_copy(row.name, sizeof row.name, request->db_unique_name));
    IGNORE(!str_copy(row.db_name, sizeof row.db_name, request->db_name));
    IGNORE(!str_copy(row.storage, sizeof row.storage, r->db->storage));
    IGNORE(!str_copy(row.volume, sizeof row.volume, r->db->volume));
    return catalog_database_put(ask_catalog(ask), &row, &ask->err);
}

static void volume_done(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const Evercopy__V1__RegisterDatabaseRequest *request = (const void *)ask->request;
    struct registering *r = ask->state;
    Evercopy__V1__RegisterDatabaseReply *reply = ask_alloc(ask, sizeof *reply);
    char line[LINE_MAX_BYTES];
    if (ask->err.code != ERR_NONE || !reply) {
        ask_answer(ask);
        return;
    }
    evercopy__v1__register_database_reply__init(reply);
    reply->known = r->known;
    const char *mode = request->apply ? "done" : "to do";
    if (!r->has_volume) {
        IGNORE(!str_format(line, sizeof line, "%s: create volume '%s' on storage '%s'", mode,
                           r->db->volume, r->db->storage));
        add_line(ask, reply, line);
    }
    if (!r->known) {
        IGNORE(!str_format(line, sizeof line, "%s: register database '%s' with dbid %" PRIu32, mode,
                           request->db_unique_name, request->dbid));
        add_line(ask, reply, line);
        if (request->apply && put_row(ask, r))
            log_info("database registered db=%s dbid=%" PRIu32, request->db_unique_name,
                     request->dbid);
    }
    ask->reply = &reply->base;
    ask_answer(ask);
}

void databases_register(struct ask *ask)
{
    const Evercopy__V1__RegisterDatabaseRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    struct registering *r = own_alloc(sizeof *r, &ask->err);
    ask->state = r;
    ask->state_free = own_free;
    struct catalog_database row;
    struct err why = {0};
    if (!db || !r || (request->apply && !ask_is_settled(ask, db->name))) {
        ask_answer(ask);
        return;
    }
    r->db = db;
    r->known = catalog_database_get(ask_catalog(ask), db->name, &row, &why);
    if (!r->known && !is_not_found(&why, &ask->err)) {
        ask_answer(ask);
        return;
    }
    if (!request->dbid || (db->dbid && db->dbid != request->dbid) ||
        (r->known && row.dbid != request->dbid)) {
        err_set(&ask->err, ERR_PRECONDITION, "dbid %" PRIu32 " is not that of '%s' (%" PRIu32 ")",
                request->dbid, db->name, r->known ? row.dbid : db->dbid);
        ask_answer(ask);
        return;
    }
    ask->read = (struct work){
        .run = run_volume, .done = volume_done, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}

/* ---- status ---- */

static uint64_t seconds_since(uint64_t us)
{
    uint64_t now = clock_wall_us();
    return us && now > us ? (now - us) / 1000000u : 0;
}

static void tell_recoverable(struct ask *ask, const struct outlook *o, const struct standing *s,
                             Evercopy__V1__DatabaseStatus *status)
{
    size_t count;
    const struct plan_interval *intervals = plan_intervals(o->plan, &count);
    (void)ask;
    status->snapshot_count = (uint32_t)o->snapshot_count;
    if (count) {
        status->recoverable_to_scn = intervals[count - 1].last.n;
        status->recoverable_to_time_us = intervals[count - 1].last_us;
        status->exposure_s = seconds_since(intervals[count - 1].last_us);
        status->oldest_scn = intervals[0].first.n + 1;
        status->oldest_time_us = intervals[0].first_us;
    }
    if (s->base != SIZE_MAX) {
        status->arrived_to_scn = plan_base(o->plan, s->base)->latest_arrived.n;
        status->arrived_to_time_us = plan_base(o->plan, s->base)->latest_arrived_us;
    }
}

/* Green is a promise about now: when nothing good has come for long, the last run's word is worth
 * nothing. */
static bool judge_age(struct ask *ask, const struct config_served *db, struct standing *s)
{
    struct overdue overdue;
    if (!overdue_judge(ask_catalog(ask), db, &overdue, &ask->err))
        return false;
    int verdict = overdue.level == OVERDUE_FAILED ? EVERCOPY__V1__VERDICT__VERDICT_FAILED
                                                  : EVERCOPY__V1__VERDICT__VERDICT_WARNING;
    if (overdue.level == OVERDUE_NOT || s->verdict >= verdict)
        return true;
    s->verdict = verdict;
    IGNORE(!str_copy(s->cause, sizeof s->cause, overdue.cause));
    IGNORE(!str_copy(s->next, sizeof s->next, overdue.next));
    return true;
}

static bool tell_one(struct ask *ask, const struct config_served *db,
                     Evercopy__V1__DatabaseStatus *status)
{
    struct standing standing;
    struct catalog_database row;
    evercopy__v1__database_status__init(status);
    AUTO(outlook)
    struct outlook *o =
        outlook_load(ask_catalog(ask), ask_world(ask), db, ask_live(ask, db->name), &ask->err);
    if (!o || !backup_standing(ask_catalog(ask), o, db->name, &standing, &ask->err) ||
        !judge_age(ask, db, &standing))
        return false;
    struct err why = {0};
    if (catalog_database_get(ask_catalog(ask), db->name, &row, &why))
        status->dbid = row.dbid;
    status->db_unique_name = ask_text(ask, db->name);
    status->verdict = (Evercopy__V1__Verdict)standing.verdict;
    status->cause = ask_text(ask, standing.cause);
    status->next = ask_text(ask, standing.next);
    status->last_run = ask_text(ask, standing.last.id);
    status->last_run_verdict = (Evercopy__V1__Verdict)standing.last.verdict;
    status->last_run_time_us = standing.last.ended_us;
    status->last_run_cause = ask_text(ask, standing.last.cause);
    tell_recoverable(ask, o, &standing, status);
    return ask->err.code == ERR_NONE;
}

static int badness(const Evercopy__V1__DatabaseStatus *s)
{
    static const int rank[] = {2, 0, 1, 3, 2};
    return (unsigned)s->verdict < 5 ? rank[s->verdict] : 3;
}

/* Worst first; among equals the longest exposed first. */
static int compare_status(const void *a, const void *b)
{
    const Evercopy__V1__DatabaseStatus *x = *(Evercopy__V1__DatabaseStatus *const *)a;
    const Evercopy__V1__DatabaseStatus *y = *(Evercopy__V1__DatabaseStatus *const *)b;
    if (badness(x) != badness(y))
        return badness(y) - badness(x);
    return x->exposure_s < y->exposure_s ? 1 : x->exposure_s > y->exposure_s ? -1 : 0;
}

void databases_status(struct ask *ask)
{
    const Evercopy__V1__GetStatusRequest *request = (const void *)ask->request;
    const struct config_agent *config = world_config(ask_world(ask));
    Evercopy__V1__GetStatusReply *reply = ask_alloc(ask, sizeof *reply);
    const char *only = request->db_unique_name;
    if (!reply || (only[0] && !ask_database(ask, only))) {
        ask_answer(ask);
        return;
    }
    evercopy__v1__get_status_reply__init(reply);
    reply->databases = ask_alloc(ask, sizeof(void *) * (config->database_count + 1));
    for (size_t i = 0; reply->databases && i < config->database_count; i++) {
        const struct config_served *db = &config->databases[i];
        struct err hidden = {0};
        if (only[0] ? !str_equal(only, db->name)
                    : !roles_check_database(&ask->peer, db->name, &hidden))
            continue;
        Evercopy__V1__DatabaseStatus *status = ask_alloc(ask, sizeof *status);
        if (!status || !tell_one(ask, db, status))
            break;
        reply->databases[reply->n_databases++] = status;
    }
    if (reply->databases && reply->n_databases)
        qsort(reply->databases, reply->n_databases, sizeof(void *), compare_status);
    ask->reply = &reply->base;
    ask_answer(ask);
}
