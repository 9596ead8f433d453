/* evercopy.v1.Recovery: the window, the plan for a target, and the proof of a clone. */
#include "agent/service/recipe.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/engine/survey.h"
#include "agent/oracle/datafile.h"
#include <inttypes.h>
#include <string.h>

/* ---- window ---- */

static Evercopy__V1__Interval *tell_interval(struct ask *ask, const struct outlook *o,
                                             const struct plan_interval *from)
{
    Evercopy__V1__Interval *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__interval__init(to);
    to->first_scn = from->first.n;
    to->last_scn = from->last.n;
    to->first_time_us = from->first_us;
    to->last_time_us = from->last_us;
    to->base_snapshot = ask_text(ask, o->sources[from->base].name);
    to->composed = from->composed;
    return to;
}

static Evercopy__V1__Gap *tell_gap(struct ask *ask, const struct plan_gap *from)
{
    Evercopy__V1__Gap *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__gap__init(to);
    to->first_scn = from->first.n;
    to->last_scn = from->last.n;
    to->first_time_us = from->first_us;
    to->last_time_us = from->last_us;
    to->why = ask_text(ask, from->why);
    to->closed = from->closed;
    return to;
}

/* The database host's offset from UTC: now, or at a moment of its own clock. */
static int offset_at_local(const struct outlook *o, uint64_t local_us)
{
    const struct facts *facts = outlook_facts(o);
    int offset = facts->moments[facts->moment_count - 1].offset_min;
    bool found = !local_us;
    for (size_t i = o->snapshot_count; !found && i-- > 0;) {
        const struct facts *sheet = o->facts[i];
        for (size_t m = sheet ? sheet->moment_count : 0; !found && m-- > 0;) {
            offset = sheet->moments[m].offset_min;
            found = (int64_t)sheet->moments[m].utc_us + (int64_t)offset * 60 * 1000000 <=
                    (int64_t)local_us;
        }
    }
    return offset;
}

static void tell_zone(struct ask *ask, const struct outlook *o, Evercopy__V1__GetWindowReply *reply)
{
    const Evercopy__V1__GetWindowRequest *request = (const void *)ask->request;
    const struct facts *facts = outlook_facts(o);
    if (!facts)
        return;
    reply->zone_name = ask_text(ask, facts->zone_name);
    if (facts->moment_count)
        reply->offset_min = offset_at_local(o, request->at_local_us);
}

static void tell_window(struct ask *ask, const struct outlook *o,
                        Evercopy__V1__GetWindowReply *reply)
{
    size_t count;
    const struct plan_interval *intervals = plan_intervals(o->plan, &count);
    reply->intervals = ask_alloc(ask, sizeof(void *) * (count + 1));
    for (size_t i = 0; reply->intervals && i < count; i++)
        if ((reply->intervals[i] = tell_interval(ask, o, &intervals[i])))
            reply->n_intervals++;
    const struct plan_gap *gaps = plan_gaps(o->plan, &count);
    reply->gaps = ask_alloc(ask, sizeof(void *) * (count + 1));
    for (size_t i = 0; reply->gaps && i < count; i++)
        if ((reply->gaps[i] = tell_gap(ask, &gaps[i])))
            reply->n_gaps++;
    const struct plan_finding *findings = plan_findings(o->plan, &count);
    reply->findings = ask_alloc(ask, sizeof(char *) * (count + 1));
    for (size_t i = 0; reply->findings && i < count; i++)
        reply->findings[reply->n_findings++] = ask_text(ask, findings[i].text);
    size_t base = plan_newest_base(o->plan);
    if (base != SIZE_MAX) {
        reply->arrived_scn = plan_base(o->plan, base)->latest_arrived.n;
        reply->arrived_time_us = plan_base(o->plan, base)->latest_arrived_us;
    }
    tell_zone(ask, o, reply);
}

static void window_warm(struct ask *ask)
{
    const Evercopy__V1__GetWindowRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    AUTO(outlook) struct outlook *o = db ? ask_outlook(ask, db, true) : NULL;
    Evercopy__V1__GetWindowReply *reply = ask_alloc(ask, sizeof *reply);
    if (o && reply) {
        evercopy__v1__get_window_reply__init(reply);
        tell_window(ask, o, reply);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static void window_surveyed(struct ask *ask)
{
    const Evercopy__V1__GetWindowRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (db)
        ask_warm(ask, db, true, window_warm);
    else
        ask_answer(ask);
}

void recovery_window(struct ask *ask)
{
    const Evercopy__V1__GetWindowRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (db)
        ask_survey(ask, db, false, window_surveyed);
    else
        ask_answer(ask);
}

/* ---- plan ---- */

static void tell_parameters(struct ask *ask, const struct facts *facts, Evercopy__V1__Recipe *to)
{
    to->parameters = ask_alloc(ask, sizeof(void *) * (facts->parameter_count + 1));
    for (size_t i = 0; to->parameters && i < facts->parameter_count; i++) {
        Evercopy__V1__Parameter *p = ask_alloc(ask, sizeof *p);
        if (!p)
            return;
        evercopy__v1__parameter__init(p);
        p->name = ask_text(ask, facts->parameters[i].name);
        p->value = ask_text(ask, facts->parameters[i].value);
        to->parameters[to->n_parameters++] = p;
    }
}

/* End of a page that begins at `from`, when `room` more may be told; limit 0: all. */
static size_t page_end(size_t count, size_t from, uint32_t limit, size_t used)
{
    size_t room = limit > used ? limit - used : 0;
    return !limit || count <= from || count - from <= room ? count : from + room;
}

static void tell_files(struct ask *ask, const struct outlook *o, const struct plan_recipe *from,
                       const struct recipe_page *page, Evercopy__V1__Recipe *to)
{
    size_t end = page_end(from->file_count, page->files_from, page->limit, 0);
    to->files = ask_alloc(ask, sizeof(void *) * (from->file_count + 1));
    for (size_t i = page->files_from; to->files && i < end; i++) {
        Evercopy__V1__RecipeFile *file = ask_alloc(ask, sizeof *file);
        if (!file)
            return;
        const struct plan_part *part = &from->files[i];
        evercopy__v1__recipe_file__init(file);
        file->file_no = part->entry->datafile.file_no;
        file->path = ask_bytes(ask, part->entry->path, strlen(part->entry->path));
        file->snapshot = ask_text(ask, o->sources[part->source].name);
        file->is_static = part->is_static;
        to->files[to->n_files++] = file;
    }
}

static void tell_logs(struct ask *ask, const struct outlook *o, const struct plan_recipe *from,
                      const struct recipe_page *page, Evercopy__V1__Recipe *to)
{
    size_t end = page_end(from->log_count, page->logs_from, page->limit, to->n_files);
    to->logs = ask_alloc(ask, sizeof(void *) * (from->log_count + 1));
    for (size_t i = page->logs_from; to->logs && i < end; i++) {
        Evercopy__V1__RecipeLog *log = ask_alloc(ask, sizeof *log);
        if (!log)
            return;
        const struct plan_part *part = &from->logs[i];
        evercopy__v1__recipe_log__init(log);
        log->thread = part->entry->log.thread;
        log->sequence = part->entry->log.sequence;
        log->path = ask_bytes(ask, part->entry->path, strlen(part->entry->path));
        log->snapshot = ask_text(ask, o->sources[part->source].name);
        to->logs[to->n_logs++] = log;
    }
}

Evercopy__V1__Recipe *recipe_tell(struct ask *ask, const struct outlook *o,
                                  const struct plan_recipe *from, const struct recipe_page *page)
{
    Evercopy__V1__Recipe *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    const struct facts *facts = from->facts;
    evercopy__v1__recipe__init(to);
    to->until_scn = from->until.n;
    to->until_time_us = plan_time_of(o->plan, (struct scn){from->until.n - 1});
    to->base_snapshot = ask_text(ask, o->sources[from->base].name);
    to->controlfile = ask_bytes(ask, from->controlfile, strlen(from->controlfile));
    to->controlfile_snapshot = ask_text(ask, o->sources[from->controlfile_source].name);
    to->resetlogs_id = facts->resetlogs_id;
    to->resetlogs_scn = facts->resetlogs_scn.n;
    to->dbid = facts->dbid;
    to->db_name = ask_text(ask, facts->db_name);
    to->cdb = facts->cdb;
    to->composed = from->composed;
    to->release = ask_text(ask, facts->release);
    to->file_count = (uint32_t)from->file_count;
    to->log_count = (uint32_t)from->log_count;
    tell_files(ask, o, from, page, to);
    tell_logs(ask, o, from, page, to);
    tell_parameters(ask, facts, to);
    return ask->err.code == ERR_NONE ? to : NULL;
}

static void tell_nearest(struct ask *ask, const struct outlook *o, struct scn below,
                         struct scn above, const struct err *why,
                         Evercopy__V1__PlanRecoveryReply *reply)
{
    reply->why = ask_text(ask, why->text);
    reply->nearest_below_scn = below.n;
    reply->nearest_above_scn = above.n;
    reply->nearest_below_time_us = below.n ? plan_time_of(o->plan, below) : 0;
    reply->nearest_above_time_us = above.n ? plan_time_of(o->plan, above) : 0;
}

/* Beyond the newest log the nearest point is the newest one. */
static struct scn newest_target(const struct outlook *o)
{
    size_t base = plan_newest_base(o->plan);
    return base == SIZE_MAX ? (struct scn){0} : plan_base(o->plan, base)->latest_arrived;
}

static void plan_surveyed(struct ask *ask)
{
    const Evercopy__V1__PlanRecoveryRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    AUTO(outlook) struct outlook *o = db ? ask_outlook(ask, db, true) : NULL;
    Evercopy__V1__PlanRecoveryReply *reply = ask_alloc(ask, sizeof *reply);
    if (!o || !reply) {
        ask_answer(ask);
        return;
    }
    evercopy__v1__plan_recovery_reply__init(reply);
    struct scn below = newest_target(o);
    struct scn above = {0};
    struct err why = {0};
    AUTO(plan_recipe) struct plan_recipe recipe = {0};
    reply->reachable = recipe_has_target(ask, request->time_us, &why) &&
                       plan_recipe_make(o->plan, ask->target, &recipe, &below, &above, &why);
    struct recipe_page page = {request->files_from, request->logs_from, request->limit};
    if (reply->reachable)
        reply->recipe = recipe_tell(ask, o, &recipe, &page);
    else
        tell_nearest(ask, o, below, above, &why, reply);
    ask->reply = &reply->base;
    ask_answer(ask);
}

void recovery_plan(struct ask *ask)
{
    const Evercopy__V1__PlanRecoveryRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (db && !request->scn && !request->time_us)
        err_set(&ask->err, ERR_INVALID, "a target is needed: an SCN or a time");
    if (db && ask->err.code == ERR_NONE)
        recipe_resolve(ask, db, request->scn, request->time_us, plan_surveyed);
    else
        ask_answer(ask);
}

/* ---- proof ---- */

struct proving {
    const struct config_served *db;
    struct manifest *manifest;
};

static void proving_free(void *state)
{
    struct proving *p = state;
    manifest_free(p->manifest);
    own_free(p);
}

static void run_prove(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const Evercopy__V1__ProveCloneRequest *request = (const void *)ask->request;
    struct proving *p = ask->state;
    AUTO(area)
    struct area *area = driver_area_until(world_driver(ask_world(ask), p->db), p->db->volume, NULL,
                                          request->clone, ask_is_over, ask, &ask->err);
    struct survey_options options = {
        .headers_only = true, .whole = true, .cancelled = ask_is_over, .arg = ask};
    if (area)
        p->manifest = survey_area(area, &options, &ask->err);
}

static void add_finding(struct ask *ask, Evercopy__V1__ProveCloneReply *reply, const char *text)
{
    reply->findings[reply->n_findings++] = ask_text(ask, text);
    reply->proven = false;
}

/* All files that move stand on one checkpoint SCN, the target, with the fuzzy bits clear: that SCN
 * and its time are the proof (oracle-semantics 40). */
static void judge_clone(struct ask *ask, const struct manifest *manifest, const struct facts *facts,
                        Evercopy__V1__ProveCloneReply *reply)
{
    const Evercopy__V1__ProveCloneRequest *request = (const void *)ask->request;
    char text[300];
    for (size_t i = 0; i < manifest->count; i++) {
        const struct manifest_entry *entry = &manifest->entries[i];
        if (entry->kind != FILE_DATAFILE)
            continue;
        reply->files++;
        const struct facts_file *file =
            facts ? facts_file_find(facts, entry->datafile.file_no) : NULL;
        bool is_static = file && !scn_is_none(file->stop_scn) && file->stop_scn.n &&
                         entry->datafile.checkpoint_scn.n >= file->stop_scn.n;
        if (entry->state != STATE_GOOD || datafile_is_fuzzy(entry)) {
            IGNORE(!str_format(text, sizeof text, "datafile %" PRIu32 ": %s %s",
                               entry->datafile.file_no, file_state_text(entry->state), entry->why));
            add_finding(ask, reply, text);
        } else if (!is_static && entry->datafile.checkpoint_scn.n != request->until_scn) {
            IGNORE(!str_format(text, sizeof text,
                               "datafile %" PRIu32 " stands at SCN %" PRIu64 ", not at %" PRIu64,
                               entry->datafile.file_no, entry->datafile.checkpoint_scn.n,
                               request->until_scn));
            add_finding(ask, reply, text);
        } else if (!is_static) {
            reply->checkpoint_scn = entry->datafile.checkpoint_scn.n;
        }
    }
    if (!reply->files)
        add_finding(ask, reply, "the clone holds no datafile");
}

/* The sheet of the snapshot the clone's files are of: a file that was read-only then may move now.
 */
static const struct facts *facts_of_clone(struct ask *ask, const struct outlook *o,
                                          const struct config_served *db)
{
    const Evercopy__V1__ProveCloneRequest *request = (const void *)ask->request;
    struct catalog_clone clone;
    struct err why = {0};
    size_t i = catalog_clone_get(ask_catalog(ask), db->name, request->clone, &clone, &why)
                   ? outlook_find(o, clone.snapshot)
                   : SIZE_MAX;
    return i != SIZE_MAX && o->facts[i] ? o->facts[i] : outlook_facts(o);
}

static void proved(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct proving *p = ask->state;
    Evercopy__V1__ProveCloneReply *reply = ask_alloc(ask, sizeof *reply);
    AUTO(outlook)
    struct outlook *o = p->manifest ? ask_outlook(ask, p->db, false) : NULL;
    if (o && reply) {
        evercopy__v1__prove_clone_reply__init(reply);
        reply->proven = true;
        reply->findings = ask_alloc(ask, sizeof(char *) * (p->manifest->count + 1));
        if (reply->findings)
            judge_clone(ask, p->manifest, facts_of_clone(ask, o, p->db), reply);
        reply->checkpoint_time_us = plan_time_of(
            o->plan, (struct scn){reply->checkpoint_scn ? reply->checkpoint_scn - 1 : 0});
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void recovery_prove(struct ask *ask)
{
    const Evercopy__V1__ProveCloneRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    struct proving *p = own_alloc(sizeof *p, &ask->err);
    ask->state = p;
    ask->state_free = proving_free;
    if (!db || !p) {
        ask_answer(ask);
        return;
    }
    p->db = db;
    ask->read = (struct work){
        .run = run_prove, .done = proved, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}
