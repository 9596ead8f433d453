/* evercopy.v1.Databases: registering a database, and how all of them stand. */
#include "agent/service/ask.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/keep.h"
#include "agent/engine/lookout.h"
#include "agent/engine/overdue.h"
#include "evercopy/v1/databases.pb-c.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

static void make_folders(struct ask *ask, struct driver_ref *driver, const struct config_served *db)
{
    static const char *const folders[] = {"archivelog", "ctl", ".evercopy"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!driver_area_put(driver, db->volume, folders[i], NULL, 0, &ask->err))
            return; /* told by ask->err */
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
    if (!r->has_volume && request->apply && !driver_volume_create(driver, r->db->volume, &ask->err))
        return;
    if (request->make_folders && request->apply)
        make_folders(ask, driver, r->db);
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

static void tell_threads(struct ask *ask, const struct shelf_summary *sum,
                         Evercopy__V1__DatabaseStatus *status)
{
    status->threads = ask_alloc(ask, sizeof(void *) * (sum->thread_count + 1));
    for (size_t i = 0; status->threads && i < sum->thread_count; i++) {
        const struct plan_thread *from = &sum->threads[i];
        Evercopy__V1__ThreadStatus *to = ask_alloc(ask, sizeof *to);
        if (!to)
            return;
        evercopy__v1__thread_status__init(to);
        to->thread = from->number;
        to->over = scn_is_none(from->end);
        to->protected_to_scn = to->over ? 0 : from->end.n;
        to->protected_to_time_us = from->end_us;
        to->exposure_s = seconds_since(from->end_us);
        status->threads[status->n_threads++] = to;
    }
}

static void tell_recoverable(struct ask *ask, const struct shelf_summary *sum,
                             Evercopy__V1__DatabaseStatus *status)
{
    status->snapshot_count = sum->snapshots;
    status->recoverable_to_scn = sum->recoverable_to.n;
    status->recoverable_to_time_us = sum->recoverable_to_us;
    status->exposure_s = seconds_since(sum->recoverable_to_us);
    status->oldest_scn = sum->oldest.n;
    status->oldest_time_us = sum->oldest_us;
    status->arrived_to_scn = sum->arrived_to.n;
    status->arrived_to_time_us = sum->arrived_to_us;
    status->base_snapshot = ask_text(ask, sum->base);
    status->base_time_us = sum->base_us;
    status->gaps = sum->gaps;
    status->gap = ask_text(ask, sum->gap);
    status->offset_min = sum->offset_min;
    status->zone_name = ask_text(ask, sum->zone_name);
    tell_threads(ask, sum, status);
}

static void tell_lease(struct ask *ask, const char *database, Evercopy__V1__DatabaseStatus *status)
{
    struct catalog_lease lease;
    struct err why = {0};
    if (!catalog_lease_find(ask_catalog(ask), database, "backup", &lease, &why))
        return; /* the common case; a catalog that cannot be read was told before */
    status->lease_taken_us = lease.taken_us;
    status->lease_left_s = lease.left_ms / 1000;
}

/* Green is a promise about now: when nothing good has come for long, the last run's word is worth
 * nothing. */
static bool judge_age(struct catalog *catalog, const struct config_served *db, struct standing *s,
                      struct err *err)
{
    struct overdue overdue;
    if (!overdue_judge(catalog, db, &overdue, err))
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

/* A storage that fills because nothing goes any more must not be a surprise. */
static bool judge_retention(struct catalog *catalog, const struct config_served *db,
                            struct standing *s, struct err *err)
{
    char why[400];
    if (!db->retention.automatic || s->verdict >= EVERCOPY__V1__VERDICT__VERDICT_WARNING)
        return true;
    if (!keep_trouble(catalog, db->name, why, err))
        return false;
    if (!why[0])
        return true;
    const char *hint = strstr(why, "; hint: ");
    s->verdict = EVERCOPY__V1__VERDICT__VERDICT_WARNING;
    IGNORE(!str_format(s->cause, sizeof s->cause, "no snapshot goes, retention was refused: %.*s",
                       (int)(hint ? hint - why : (ptrdiff_t)strlen(why)), why));
    IGNORE(!str_format(s->next, sizeof s->next, "look at 'evercopy retention %s'%s%.150s", db->name,
                       hint ? "; " : "", hint ? hint + strlen("; hint: ") : ""));
    return true;
}

/* The next run would fail at its first write, and the last one may have failed of it. */
static bool judge_volume(struct catalog *catalog, const struct config_served *db,
                         struct standing *s, struct err *err)
{
    char why[400];
    if (!lookout_closed(catalog, db->name, why, sizeof why, err))
        return false;
    if (!why[0])
        return true;
    s->verdict = EVERCOPY__V1__VERDICT__VERDICT_FAILED;
    IGNORE(!str_format(s->cause, sizeof s->cause, "volume '%s' takes no changes: %s", db->volume,
                       why));
    IGNORE(!str_format(s->next, sizeof s->next,
                       "look at the disks of storage '%s', then start it anew", db->storage));
    return true;
}

/* What time, the storage and the agent itself make of how it stands. */
static bool judge_on(struct catalog *catalog, const struct config_served *db, struct standing *s,
                     struct err *err)
{
    return judge_volume(catalog, db, s, err) && judge_age(catalog, db, s, err) &&
           judge_retention(catalog, db, s, err);
}

bool databases_judge(void *service, const char *database, struct standing *ret, struct err *err)
{
    const struct config_served *db = world_database(service_world(service), database, err);
    const struct shelf_summary *sum = db ? service_summary(service, db, err) : NULL;
    if (!sum)
        return false;
    *ret = sum->standing;
    return judge_on(engine_catalog(service_engine(service)), db, ret, err);
}

static bool tell_one(struct ask *ask, const struct config_served *db,
                     const struct shelf_summary *sum, Evercopy__V1__DatabaseStatus *status)
{
    struct standing standing = sum->standing;
    if (!judge_on(ask_catalog(ask), db, &standing, &ask->err))
        return false;
    status->dbid = sum->dbid;
    status->verdict = (Evercopy__V1__Verdict)standing.verdict;
    status->cause = ask_text(ask, standing.cause);
    status->next = ask_text(ask, standing.next);
    status->last_run = ask_text(ask, standing.last.id);
    status->last_run_verdict = (Evercopy__V1__Verdict)standing.last.verdict;
    status->last_run_time_us = standing.last.ended_us;
    status->last_run_cause = ask_text(ask, standing.last.cause);
    status->running = ask_text(ask, standing.running.id);
    tell_recoverable(ask, sum, status);
    tell_lease(ask, db->name, status);
    return ask->err.code == ERR_NONE;
}

/* One database whose texts are damaged must not hide how the others stand. */
static void tell_unknown(struct ask *ask, Evercopy__V1__DatabaseStatus *status)
{
    char cause[sizeof ask->err.text];
    IGNORE(!str_copy(cause, sizeof cause, ask->err.text));
    err_clear(&ask->err);
    status->verdict = EVERCOPY__V1__VERDICT__VERDICT_UNKNOWN;
    status->cause = ask_text(ask, cause);
    status->next = ask_text(ask, "look in the agent's log; 'evercopyd rebuild' reads the "
                                 "snapshots anew");
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

struct telling {
    Evercopy__V1__GetStatusReply *reply;
    char (*names)[64]; /* the configuration may be another one after a pause */
    size_t count, at;
    const struct config_served *db; /* the last one told */
};

static bool collect_names(struct ask *ask, struct telling *t)
{
    const Evercopy__V1__GetStatusRequest *request = (const void *)ask->request;
    const struct config_agent *config = world_config(ask_world(ask));
    const char *only = request->db_unique_name;
    t->names = ask_alloc(ask, sizeof *t->names * (config->database_count + 1));
    for (size_t i = 0; t->names && i < config->database_count; i++) {
        const char *name = config->databases[i].name;
        struct err hidden = {0};
        if (only[0] ? str_equal(only, name) : roles_check_database(&ask->peer, name, &hidden))
            IGNORE(!str_copy(t->names[t->count++], sizeof *t->names, name));
    }
    t->reply->databases = t->names ? ask_alloc(ask, sizeof(void *) * (t->count + 1)) : NULL;
    return t->reply->databases != NULL;
}

static const struct config_served *named(struct ask *ask, const char *name, size_t hint)
{
    const struct config_agent *config = world_config(ask_world(ask));
    struct err gone = {0};
    if (hint < config->database_count && str_equal(config->databases[hint].name, name))
        return &config->databases[hint];
    return world_database(ask_world(ask), name, &gone);
}

static void add_status(struct ask *ask, struct telling *t, const struct config_served *db)
{
    Evercopy__V1__DatabaseStatus *status = ask_alloc(ask, sizeof *status);
    if (!status)
        return;
    const struct shelf_summary *sum =
        ask->err.code == ERR_NONE
            ? shelf_summary(ask_shelf(ask), ask_world(ask), db, ask_kept(ask, db->name), &ask->err)
            : NULL;
    evercopy__v1__database_status__init(status);
    status->db_unique_name = ask_text(ask, db->name);
    status->free_bytes = DRIVER_UNKNOWN;
    if (!sum || !tell_one(ask, db, sum, status))
        tell_unknown(ask, status);
    t->reply->databases[t->reply->n_databases++] = status;
}

static bool only_one(const struct ask *ask)
{
    return ((const Evercopy__V1__GetStatusRequest *)(const void *)ask->request)->db_unique_name[0];
}

/* On the readers' lane: a storage may take its time. */
static void run_space(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct telling *t = ask->state;
    struct driver_volume_info info;
    struct err why = {0};
    if (driver_volume_info(world_driver(ask_world(ask), t->db), t->db->volume, &info, &why))
        t->reply->databases[0]->free_bytes = info.available;
}

static void space_done(struct work *work)
{
    ask_answer((struct ask *)((char *)work - offsetof(struct ask, read)));
}

/* Told of one database alone; what the storage does not say is not known. */
static void ask_space(struct ask *ask, struct telling *t)
{
    if (!t->db || !t->reply->n_databases || !world_driver(ask_world(ask), t->db)) {
        ask_answer(ask);
        return;
    }
    ask->read = (struct work){
        .run = run_space, .done = space_done, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}

/* A thousand databases are told in slices, so that leases and runs go on meanwhile. */
static void status_on(struct ask *ask)
{
    struct telling *t = ask->state;
    uint64_t begun_ms = clock_mono_ms();
    while (t->at < t->count) {
        const struct config_served *db = named(ask, t->names[t->at], t->at);
        if (db && ask_warm_step(ask, db, status_on) == ASK_AWAY)
            return;
        t->db = db;
        if (db)
            add_status(ask, t, db);
        ask->warm.left = SIZE_MAX;
        t->at++;
        if (clock_mono_ms() - begun_ms >= ASK_SLICE_MS && t->at < t->count) {
            ask_yield(ask, status_on);
            return;
        }
    }
    if (t->reply->n_databases)
        qsort(t->reply->databases, t->reply->n_databases, sizeof(void *), compare_status);
    t->reply->agent_time_us = clock_wall_us();
    t->reply->notice = ask_text(ask, ask_notice(ask));
    ask->reply = &t->reply->base;
    if (only_one(ask))
        ask_space(ask, t);
    else
        ask_answer(ask);
}

void databases_status(struct ask *ask)
{
    const Evercopy__V1__GetStatusRequest *request = (const void *)ask->request;
    struct telling *t = own_alloc(sizeof *t, &ask->err);
    const char *only = request->db_unique_name;
    ask->state = t;
    ask->state_free = own_free;
    if (!t || (only[0] && !ask_database(ask, only)) ||
        !(t->reply = ask_alloc(ask, sizeof *t->reply))) {
        ask_answer(ask);
        return;
    }
    evercopy__v1__get_status_reply__init(t->reply);
    ask->warm.left = SIZE_MAX;
    if (collect_names(ask, t))
        status_on(ask);
    else
        ask_answer(ask);
}
