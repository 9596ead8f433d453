/* evercopy.v1.Clones: of a snapshot or composed for one target; and their end. */
#include "agent/service/recipe.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/acts.h"
#include "agent/engine/keep.h"
#include "evercopy/v1/clones.pb-c.h"
#include <inttypes.h>
#include <string.h>

enum { LEASE_DEFAULT_S = 86400, LEASE_MAX_S = 366 * 86400 };

static Evercopy__V1__Clone *tell_clone(struct ask *ask, const struct catalog_clone *from)
{
    Evercopy__V1__Clone *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__clone__init(to);
    to->name = ask_text(ask, from->name);
    to->snapshot = ask_text(ask, from->snapshot);
    to->owner = ask_text(ask, from->owner);
    to->purpose = ask_text(ask, from->purpose);
    to->created_us = from->created_us;
    to->expires_us = from->expires_us;
    to->mount = ask_text(ask, from->mount);
    to->scn = from->scn;
    to->db_unique_name = ask_text(ask, from->database);
    to->left_s = (int64_t)(from->expires_us - clock_wall_us()) / 1000000;
    /* One that was extended since is in no trouble any more. */
    to->trouble = ask_text(
        ask, to->left_s <= 0 ? expiry_trouble(ask_expiry(ask), from->database, from->name) : "");
    return to;
}

/* ---- create ---- */

struct creating {
    struct outlook *outlook;
    struct plan_recipe recipe;
    bool has_recipe;
};

static void creating_free(void *state)
{
    struct creating *c = state;
    plan_recipe_done(&c->recipe);
    outlook_free(c->outlook);
    own_free(c);
}

/* A replayed key answers with the first call's clone: the recipe worked out now must be that
 * clone's. */
static bool is_what_was_asked(struct ask *ask, const struct creating *c, const json_t *document)
{
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    const char *base = c->has_recipe ? c->outlook->sources[c->recipe.base].name : request->snapshot;
    size_t parts = c->has_recipe ? c->recipe.file_count + c->recipe.log_count + 1 : 0;
    if ((!request->name[0] || str_equal(request->name, json_text(document, "name"))) &&
        str_equal(base, json_text(document, "snapshot")) &&
        json_u64(document, "scn") == (c->has_recipe ? c->recipe.until.n : 0) &&
        parts == json_array_size(json_object_get(document, "parts")))
        return true;
    return err_set(
        &ask->err, ERR_EXISTS,
        "this key made clone '%s' of '%s' before, with other contents; hint: drop it and "
        "use a new key",
        json_text(document, "name"), json_text(document, "snapshot"));
}

static void created(void *arg, const struct catalog_job *row, const json_t *document,
                    const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    struct creating *c = ask->state;
    (void)row;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    if (!is_what_was_asked(ask, c, document)) {
        ask_answer(ask);
        return;
    }
    struct catalog_clone clone;
    Evercopy__V1__CreateCloneReply *reply = ask_alloc(ask, sizeof *reply);
    if (reply && catalog_clone_get(ask_catalog(ask), json_text(document, "database"),
                                   json_text(document, "name"), &clone, &ask->err)) {
        evercopy__v1__create_clone_reply__init(reply);
        reply->clone = tell_clone(ask, &clone);
        if (c->has_recipe)
            reply->recipe = recipe_tell(ask, c->outlook, &c->recipe,
                                        &(struct recipe_page){0, 0, request->recipe_limit});
        log_info("clone made db=%s name=%s owner=%s", clone.database, clone.name, clone.owner);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

/* Two jobs for one name at once could undo each other's clone: the second is refused here. */
static bool name_is_free(struct ask *ask, const char *database, const char *name)
{
    size_t count;
    struct catalog_clone clone;
    struct err why = {0};
    if (catalog_clone_get(ask_catalog(ask), database, name, &clone, &why))
        return err_set(&ask->err, ERR_EXISTS, "clone '%s' exists already", name);
    AUTO(mem)
    struct catalog_job *jobs =
        catalog_job_list(ask_catalog(ask), database, "clone", JOB_RUNNING, 1000, &count, &ask->err);
    for (size_t i = 0; jobs && i < count; i++) {
        AUTO(mem) char *text = catalog_job_document(ask_catalog(ask), jobs[i].id, &ask->err);
        AUTO(json) json_t *doc = text ? json_parse(text, strlen(text), &ask->err) : NULL;
        if (!doc)
            return false;
        if (str_equal(json_text(doc, "name"), name))
            return err_set(&ask->err, ERR_BUSY, "clone '%s' is being made by %s", name, jobs[i].id);
    }
    return jobs != NULL;
}

static bool fill_row(struct ask *ask, const struct config_served *db, struct catalog_clone *row)
{
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    uint32_t lease_s = request->lease_s ? request->lease_s : LEASE_DEFAULT_S;
    char stamp[32];
    *row = (struct catalog_clone){.created_us = clock_wall_us()};
    if (lease_s > LEASE_MAX_S)
        return err_set(&ask->err, ERR_INVALID, "a lease of %u seconds is longer than a year",
                       lease_s);
    row->expires_us = row->created_us + (uint64_t)lease_s * 1000000u;
    clock_format_compact(row->created_us, stamp);
    uint8_t noise[3];
    char noise_hex[7];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, noise_hex);
    if (!(request->name[0] ? str_copy(row->name, sizeof row->name, request->name)
                           : str_format(row->name, sizeof row->name, "c%s-%s", stamp, noise_hex)) ||
        !clone_name_is_valid(row->name))
        return err_set(&ask->err, ERR_INVALID,
                       "clone name '%.80s' is not [A-Za-z0-9][A-Za-z0-9_-]{0,62}", request->name);
    IGNORE(!str_copy(row->database, sizeof row->database, db->name));
    IGNORE(!str_copy(row->owner, sizeof row->owner, ask->peer.cn));
    IGNORE(!str_copy(row->purpose, sizeof row->purpose, request->purpose));
    return true;
}

/* What the operator can ask for instead, behind the reason. */
static bool add_nearest(struct ask *ask, const struct outlook *o, struct scn below,
                        struct scn above)
{
    const struct scn points[] = {below, above};
    const char *word = "; nearest reachable is";
    for (size_t i = 0; i < 2; i++) {
        char reason[sizeof ask->err.text];
        char time[32];
        if (!points[i].n)
            continue;
        clock_format_utc(plan_time_of(o->plan, (struct scn){points[i].n - 1}), time);
        IGNORE(!str_copy(reason, sizeof reason, ask->err.text));
        err_set(&ask->err, ask->err.code, "%.300s%s SCN %" PRIu64 " (%s)", reason, word,
                points[i].n, time);
        word = " or";
    }
    return false;
}

static bool choose_source(struct ask *ask, struct creating *c, struct catalog_clone *row)
{
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    struct scn below;
    struct scn above;
    if (request->snapshot[0]) {
        IGNORE(!str_copy(row->snapshot, sizeof row->snapshot, request->snapshot));
        return outlook_find(c->outlook, request->snapshot) != SIZE_MAX ||
               err_set(&ask->err, ERR_NOT_FOUND, "there is no snapshot '%.128s'",
                       request->snapshot);
    }
    if (!recipe_has_target(ask, request->time_us, &ask->err))
        return false;
    if (!plan_recipe_make(c->outlook->plan, ask->target, &c->recipe, &below, &above, &ask->err))
        return add_nearest(ask, c->outlook, below, above);
    c->has_recipe = true;
    row->scn = ask->target.n;
    IGNORE(!str_copy(row->snapshot, sizeof row->snapshot, c->outlook->rows[c->recipe.base].name));
    return true;
}

static bool start_clone(struct ask *ask, const struct config_served *db, struct creating *c)
{
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    struct catalog_clone row;
    struct catalog_job job = {.started_us = clock_wall_us()};
    struct catalog_job earlier;
    struct err why = {0};
    if (!ask_key(ask, "clone", request->idempotency_key, job.key))
        return false;
    bool repeated = job.key[0] && catalog_job_find_key(ask_catalog(ask), job.key, &earlier, &why);
    if ((!repeated && !ask_is_settled(ask, db->name)) || !fill_row(ask, db, &row) ||
        !choose_source(ask, c, &row) ||
        (!repeated && (!name_is_free(ask, db->name, row.name) ||
                       !keep_is_idle(ask_catalog(ask), db->name, &ask->err))))
        return false;
    AUTO(json)
    json_t *args =
        clone_args(&row, c->has_recipe ? &c->recipe : NULL, c->outlook->sources, &ask->err);
    if (!args)
        return false;
    IGNORE(!str_copy(job.database, sizeof job.database, db->name));
    IGNORE(!str_copy(job.owner, sizeof job.owner, ask->peer.cn));
    return engine_job_start(ask_engine(ask), "clone", &job, args, created, ask, &ask->err);
}

static void create_warm(struct ask *ask)
{
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (ask->state)
        ask->state_free(ask->state);
    struct creating *c = own_alloc(sizeof *c, &ask->err);
    ask->state = c;
    ask->state_free = creating_free;
    if (db && c)
        c->outlook = ask_outlook(ask, db, true);
    if (!db || !c || !c->outlook || !start_clone(ask, db, c))
        ask_answer(ask);
}

static void create_surveyed(struct ask *ask)
{
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (db)
        ask_warm(ask, db, true, create_warm);
    else
        ask_answer(ask);
}

void clones_create(struct ask *ask)
{
    const Evercopy__V1__CreateCloneRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    int targets = (request->snapshot[0] != '\0') + (request->scn != 0) + (request->time_us != 0);
    if (db && targets != 1)
        err_set(&ask->err, ERR_INVALID, "name one of: a snapshot, an SCN, a time");
    if (!db || ask->err.code != ERR_NONE)
        ask_answer(ask);
    else if (request->snapshot[0])
        create_surveyed(ask);
    else
        recipe_resolve(ask, db, request->scn, request->time_us, create_surveyed);
}

/* ---- drop ---- */

/* Its owner's, or an operator's; and nothing else may be at work on it. */
static bool may_change(struct ask *ask, const struct catalog_clone *clone)
{
    char busy[40];
    bool staff = role_from_name(ask->peer.role) & (ROLE_OPERATOR | ROLE_ADMIN);
    if (!staff && !str_equal(clone->owner, ask->peer.cn))
        return err_set(&ask->err, ERR_DENIED,
                       "clone '%s' belongs to '%s'; needed: its owner or an operator", clone->name,
                       clone->owner);
    if (!clone_job_of(ask_catalog(ask), clone->database, clone->name, busy, &ask->err))
        return false;
    return !busy[0] ||
           err_set(&ask->err, ERR_BUSY, "job %s is at work on clone '%s'", busy, clone->name);
}

static void dropped(void *arg, const struct catalog_job *row, const json_t *document,
                    const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__DropCloneRequest *request = (const void *)ask->request;
    if (err && err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    if (!str_equal(request->name, json_text(document, "name"))) {
        err_set(&ask->err, ERR_INVALID, "this key dropped clone '%s' before",
                json_text(document, "name"));
        ask_answer(ask);
        return;
    }
    Evercopy__V1__DropCloneReply *reply = ask_alloc(ask, sizeof *reply);
    if (reply) {
        evercopy__v1__drop_clone_reply__init(reply);
        log_info("clone dropped db=%s clone=%s job=%s%s", row->database, request->name, row->id,
                 request->force ? " force=yes" : "");
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void clones_drop(struct ask *ask)
{
    const Evercopy__V1__DropCloneRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    struct catalog_job job = {.started_us = clock_wall_us()};
    struct catalog_job earlier;
    struct catalog_clone clone;
    struct err why = {0};
    if (!ask_key(ask, "drop", request->idempotency_key, job.key)) {
        ask_answer(ask);
        return;
    }
    bool repeated = job.key[0] && catalog_job_find_key(ask_catalog(ask), job.key, &earlier, &why);
    /* Of two drops of one name the second would wait, and then take a clone made since. */
    if (!db || (!repeated &&
                (!ask_is_settled(ask, db->name) ||
                 !catalog_clone_get(ask_catalog(ask), db->name, request->name, &clone, &ask->err) ||
                 !may_change(ask, &clone)))) {
        ask_answer(ask);
        return;
    }
    IGNORE(!str_copy(job.database, sizeof job.database, db->name));
    IGNORE(!str_copy(job.owner, sizeof job.owner, ask->peer.cn));
    AUTO(json) json_t *args = clone_drop_args(db->name, request->name, request->force, &ask->err);
    if (!args ||
        !engine_job_start(ask_engine(ask), "clone-drop", &job, args, dropped, ask, &ask->err))
        ask_answer(ask);
}

/* ---- a longer lease ---- */

static void extended(void *arg, const struct catalog_job *row, const json_t *document,
                     const struct err *err)
{
    struct ask *ask = arg;
    const Evercopy__V1__ExtendCloneRequest *request = (const void *)ask->request;
    struct catalog_clone clone;
    if (err->code != ERR_NONE) {
        ask_fail(ask, err);
        return;
    }
    Evercopy__V1__ExtendCloneReply *reply = ask_alloc(ask, sizeof *reply);
    if (!str_equal(request->name, json_text(document, "name")))
        err_set(&ask->err, ERR_INVALID, "this key extended clone '%s' before",
                json_text(document, "name"));
    else if (reply && catalog_clone_get(ask_catalog(ask), row->database,
                                        json_text(document, "name"), &clone, &ask->err)) {
        evercopy__v1__extend_clone_reply__init(reply);
        reply->clone = tell_clone(ask, &clone);
        log_info("clone extended db=%s clone=%s owner=%s", clone.database, clone.name, clone.owner);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static bool start_extend(struct ask *ask, const struct config_served *db)
{
    const Evercopy__V1__ExtendCloneRequest *request = (const void *)ask->request;
    struct catalog_job job = {.started_us = clock_wall_us()};
    struct catalog_job earlier;
    struct catalog_clone clone;
    struct err why = {0};
    if (!request->lease_s || request->lease_s > LEASE_MAX_S)
        return err_set(&ask->err, ERR_INVALID, "a lease is between a second and a year long");
    if (!ask_key(ask, "extend", request->idempotency_key, job.key))
        return false;
    bool repeated = job.key[0] && catalog_job_find_key(ask_catalog(ask), job.key, &earlier, &why);
    if (!catalog_clone_get(ask_catalog(ask), db->name, request->name, &clone, &ask->err) ||
        (!repeated && (!ask_is_settled(ask, db->name) || !may_change(ask, &clone))))
        return false;
    uint64_t until_us = clock_wall_us() + (uint64_t)request->lease_s * 1000000u;
    until_us = until_us > clone.expires_us ? until_us : clone.expires_us;
    IGNORE(!str_copy(job.database, sizeof job.database, db->name));
    IGNORE(!str_copy(job.owner, sizeof job.owner, ask->peer.cn));
    AUTO(json) json_t *args = clone_extend_args(&clone, until_us, &ask->err);
    return args &&
           engine_job_start(ask_engine(ask), "clone-extend", &job, args, extended, ask, &ask->err);
}

void clones_extend(struct ask *ask)
{
    const Evercopy__V1__ExtendCloneRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    if (!db || !start_extend(ask, db))
        ask_answer(ask);
}

void clones_list(struct ask *ask)
{
    const Evercopy__V1__ListClonesRequest *request = (const void *)ask->request;
    size_t count = 0;
    const char *only = request->db_unique_name;
    Evercopy__V1__ListClonesReply *reply = ask_alloc(ask, sizeof *reply);
    bool may = !only[0] || ask_database(ask, only);
    AUTO(mem)
    struct catalog_clone *rows =
        may ? catalog_clone_list(ask_catalog(ask), only, &count, &ask->err) : NULL;
    if (reply && rows) {
        evercopy__v1__list_clones_reply__init(reply);
        reply->clones = ask_alloc(ask, sizeof(void *) * (count + 1));
        for (size_t i = 0; reply->clones && i < count; i++) {
            struct err hidden = {0};
            if (!roles_check_database(&ask->peer, rows[i].database, &hidden))
                continue;
            if ((reply->clones[reply->n_clones] = tell_clone(ask, &rows[i])))
                reply->n_clones++;
        }
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}
