/* Clones whose lease is over are dropped; those that cannot be are told and tried again. */
#include "agent/engine/expiry.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/acts.h"
#include "agent/engine/guard.h"
#include "agent/engine/lookout.h"
#include <inttypes.h>
#include <string.h>

enum {
    AGAIN_FIRST_MS = 60 * 1000, /* then doubled */
    AGAIN_MOST_MS = 3600 * 1000,
};

struct stuck { /* a clone that could not be dropped */
    char database[64], name[128];
    char why[300];
    uint64_t next_boot_ms, wait_ms;
};

struct expiry {
    struct engine *engine;
    struct stuck *stuck;
    size_t count, capacity;
    char doubt[300]; /* why the clock was not believed at the last tick; "": it was */
};

struct expiry *expiry_new(struct engine *engine, struct err *err)
{
    struct expiry *x = own_alloc(sizeof *x, err);
    if (x)
        x->engine = engine;
    return x;
}

void expiry_free(struct expiry *x)
{
    if (!x)
        return;
    own_free(x->stuck);
    own_free(x);
}

static struct stuck *find(const struct expiry *x, const char *database, const char *name)
{
    for (size_t i = 0; i < x->count; i++)
        if (str_equal(x->stuck[i].database, database) && str_equal(x->stuck[i].name, name))
            return &x->stuck[i];
    return NULL;
}

const char *expiry_trouble(const struct expiry *x, const char *database, const char *name)
{
    const struct stuck *stuck = find(x, database, name);
    return x->doubt[0] ? x->doubt : stuck ? stuck->why : "";
}

bool clone_job_of(struct catalog *catalog, const char *database, const char *name, char ret_job[40],
                  struct err *err)
{
    static const char *const kinds[] = {"clone", "clone-drop", "clone-extend"};
    ret_job[0] = '\0';
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t count;
        AUTO(mem)
        struct catalog_job *jobs =
            catalog_job_list(catalog, database, kinds[k], JOB_RUNNING, SIZE_MAX, &count, err);
        if (!jobs)
            return false;
        for (size_t i = 0; i < count; i++) {
            AUTO(mem) char *text = catalog_job_document(catalog, jobs[i].id, err);
            AUTO(json) json_t *doc = text ? json_parse(text, strlen(text), err) : NULL;
            if (!doc)
                return false;
            if (str_equal(json_text(doc, "name"), name))
                IGNORE(!str_copy(ret_job, 40, jobs[i].id)); /* same size */
        }
    }
    return true;
}

static void forget(struct expiry *x, const char *database, const char *name)
{
    struct stuck *stuck = find(x, database, name);
    if (stuck)
        *stuck = x->stuck[--x->count];
}

static void remember(struct expiry *x, const char *database, const char *name, const char *why)
{
    struct err err = {0};
    struct stuck *stuck = find(x, database, name);
    if (!stuck) {
        if (!own_grow((void **)&x->stuck, &x->capacity, x->count, sizeof *x->stuck, &err))
            return; /* it is tried again at the next tick */
        stuck = &x->stuck[x->count++];
        *stuck = (struct stuck){0};
        IGNORE(!str_copy(stuck->database, sizeof stuck->database, database));
        IGNORE(!str_copy(stuck->name, sizeof stuck->name, name));
    }
    IGNORE(!str_copy(stuck->why, sizeof stuck->why, why)); /* cut is fine */
    stuck->wait_ms = stuck->wait_ms ? stuck->wait_ms * 2 : AGAIN_FIRST_MS;
    stuck->wait_ms = stuck->wait_ms < AGAIN_MOST_MS ? stuck->wait_ms : AGAIN_MOST_MS;
    stuck->next_boot_ms = clock_boot_ms() + stuck->wait_ms;
}

static void dropped(void *arg, const struct catalog_job *row, const json_t *document,
                    const struct err *err)
{
    struct expiry *x = arg;
    const char *name = json_text(document, "name");
    if (err->code == ERR_NONE) {
        forget(x, row->database, name);
        log_info("expired clone dropped db=%s clone=%s job=%s", row->database, name, row->id);
        return;
    }
    remember(x, row->database, name, err->text);
    const struct stuck *stuck = find(x, row->database, name);
    log_warning("expired clone cannot be dropped: %s db=%s clone=%s again_s=%" PRIu64, err->text,
                row->database, name, stuck ? stuck->wait_ms / 1000 : 0);
}

static bool drop(struct expiry *x, const struct catalog_clone *clone, struct err *err)
{
    char busy[40];
    struct catalog_job job = {.started_us = clock_wall_us()};
    struct catalog *catalog = engine_catalog(x->engine);
    if (!clone_job_of(catalog, clone->database, clone->name, busy, err))
        return false;
    if (busy[0])
        return true;
    IGNORE(!str_copy(job.database, sizeof job.database, clone->database));
    IGNORE(!str_copy(job.owner, sizeof job.owner, "lease of its clone"));
    AUTO(json) json_t *args = clone_drop_args(clone->database, clone->name, false, err);
    return args && engine_job_start(x->engine, "clone-drop", &job, args, dropped, x, err);
}

/* True while the clock is believed; told once when it is not any more. */
static bool is_believed(struct expiry *x, struct err *err)
{
    struct err why = {0};
    bool ok = guard_check(engine_catalog(x->engine), &why);
    if (!ok && why.code != ERR_PRECONDITION) {
        *err = why;
        return false;
    }
    if (!ok && !x->doubt[0])
        log_warning("no clone expires: %s", why.text);
    IGNORE(!str_copy(x->doubt, sizeof x->doubt, why.text)); /* cut is fine */
    return ok;
}

bool expiry_tick(struct expiry *x, struct err *err)
{
    uint64_t now_us = clock_wall_us();
    uint64_t boot_ms = clock_boot_ms();
    size_t count;
    if (!is_believed(x, err))
        return err->code == ERR_NONE;
    AUTO(mem)
    struct catalog_clone *clones = catalog_clone_list(engine_catalog(x->engine), "", &count, err);
    if (!clones || !lookout_expired(engine_catalog(x->engine),
                                    world_events(engine_world(x->engine)), clones, count, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct stuck *stuck = find(x, clones[i].database, clones[i].name);
        if (!clones[i].expires_us || clones[i].expires_us > now_us ||
            (stuck && boot_ms < stuck->next_boot_ms))
            continue;
        if (!drop(x, &clones[i], err))
            return err_wrap(err, "expired clone '%s' of '%s'", clones[i].name, clones[i].database);
    }
    return true;
}
