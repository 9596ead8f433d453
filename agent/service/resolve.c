/* From a request's SCN or time to the exact target: the legs of recipe_resolve. */
#include "agent/service/recipe.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/engine/survey.h"
#include <inttypes.h>

enum { LOGS_MAX = 16 }; /* one for each thread of a large cluster */

struct resolving {
    const struct config_served *db;
    uint64_t scn, time_us;
    void (*then)(struct ask *ask);
    struct {
        char snapshot[DRIVER_NAME_MAX]; /* "": the live area */
        char *path;
        int offset_min;
    } logs[LOGS_MAX];
    size_t log_count;
    struct scn found;
};

static void resolving_free(void *state)
{
    struct resolving *r = state;
    for (size_t i = 0; i < r->log_count; i++)
        own_free(r->logs[i].path);
    own_free(r);
}

/* On the readers' lane. */
static void run_seek(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct resolving *r = ask->state;
    uint64_t from_us =
        r->time_us / 1000000u * 1000000u + 1000000u; /* whole seconds, held in full */
    for (size_t i = 0; i < r->log_count; i++) {
        struct scn scn;
        const char *snapshot = r->logs[i].snapshot[0] ? r->logs[i].snapshot : NULL;
        AUTO(area)
        struct area *area = driver_area_until(world_driver(ask_world(ask), r->db), r->db->volume,
                                              snapshot, NULL, ask_is_over, ask, &ask->err);
        if (!area || !survey_scn_from(area, r->logs[i].path, from_us, r->logs[i].offset_min, &scn,
                                      &ask->err))
            return;
        r->found = scn_min(r->found, scn);
    }
}

static void seek_done(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct resolving *r = ask->state;
    if (ask->err.code != ERR_NONE) {
        ask_answer(ask);
        return;
    }
    ask->target = scn_min(ask->target, r->found);
    r->then(ask);
}

static bool choose_logs(struct ask *ask, struct resolving *r, const struct outlook *o)
{
    struct plan_part parts[LOGS_MAX];
    size_t count = plan_time_logs(o->plan, r->time_us, parts, LOGS_MAX);
    for (size_t i = 0; i < count; i++) {
        r->logs[i].path = own_strdup(parts[i].entry->path, &ask->err);
        if (!r->logs[i].path)
            return false;
        r->log_count++;
        str_copy(r->logs[i].snapshot, DRIVER_NAME_MAX, o->sources[parts[i].source].name);
        r->logs[i].offset_min = plan_offset_at(o->plan, parts[i].entry->log.first_scn);
    }
    return true;
}

static void resolve_warm(struct ask *ask)
{
    struct resolving *r = ask->state;
    AUTO(outlook) struct outlook *o = ask_outlook(ask, r->db, true);
    if (!o || (plan_scn_of(o->plan, r->time_us, &ask->target) && !choose_logs(ask, r, o))) {
        ask_answer(ask);
    } else if (!r->log_count) {
        r->then(ask);
    } else {
        ask->read = (struct work){
            .run = run_seek, .done = seek_done, .home = lane_post(service_lane(ask->service))};
        lane_submit(world_readers(ask_world(ask)), &ask->read);
    }
}

static void resolve_surveyed(struct ask *ask)
{
    struct resolving *r = (struct resolving *)ask->carried;
    ask->state_free(ask->state);
    ask->state = r;
    ask->state_free = resolving_free;
    ask->carried = NULL;
    ask->target = (struct scn){r->scn};
    if (r->scn)
        r->then(ask);
    else
        ask_warm(ask, r->db, true, resolve_warm);
}

void recipe_resolve(struct ask *ask, const struct config_served *db, uint64_t scn, uint64_t time_us,
                    void (*then)(struct ask *ask))
{
    struct resolving *r = own_alloc(sizeof *r, &ask->err);
    if (!r) {
        ask_answer(ask);
        return;
    }
    *r = (struct resolving){
        .db = db, .scn = scn, .time_us = time_us, .then = then, .found = SCN_NONE};
    ask->carried = r;
    ask->carried_free = resolving_free;
    ask_survey(ask, db, false, resolve_surveyed);
}

bool recipe_has_target(const struct ask *ask, uint64_t time_us, struct err *err)
{
    char text[32];
    if (ask->target.n)
        return true;
    clock_format_utc(time_us, text);
    return err_set(err, ERR_NOT_FOUND, "no log reaches %s yet", text);
}
