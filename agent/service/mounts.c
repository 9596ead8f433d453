/* evercopy.v1.Databases.ListMounts: how hosts reach live areas and clones. */
#include "agent/service/ask.h"

#include "agent/base/str.h"
#include "evercopy/v1/databases.pb-c.h"
#include <string.h>

enum { MOUNT_MAX = 512 };

struct place { /* what is asked of a storage */
    const struct config_served *db;
    char clone[128]; /* "": the live area */
    char mount[MOUNT_MAX];
    struct err err;
};

struct mounts {
    struct place *places;
    size_t count, capacity;
};

static void mounts_free(void *state)
{
    struct mounts *m = state;
    own_free(m->places);
    own_free(m);
}

static bool add(struct mounts *m, const struct config_served *db, const char *clone,
                struct err *err)
{
    if (!own_grow((void **)&m->places, &m->capacity, m->count, sizeof *m->places, err))
        return false;
    struct place *place = &m->places[m->count++];
    *place = (struct place){.db = db};
    IGNORE(!str_copy(place->clone, sizeof place->clone, clone)); /* of the same size */
    return true;
}

static bool add_database(struct ask *ask, struct mounts *m, const struct config_served *db)
{
    size_t count = 0;
    AUTO(mem)
    struct catalog_clone *rows = catalog_clone_list(ask_catalog(ask), db->name, &count, &ask->err);
    if (!rows || !add(m, db, "", &ask->err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!add(m, db, rows[i].name, &ask->err))
            return false;
    return true;
}

/* On the readers' lane: a storage may take its time, and one that is away hides no other. */
static void run_mounts(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct mounts *m = ask->state;
    for (size_t i = 0; i < m->count && !ask_is_over(ask); i++) {
        struct place *place = &m->places[i];
        if (!driver_clone_mount(world_driver(ask_world(ask), place->db), place->db->volume,
                                place->clone[0] ? place->clone : NULL, place->mount,
                                sizeof place->mount, &place->err))
            place->mount[0] = '\0';
    }
}

static Evercopy__V1__Mount *tell(struct ask *ask, const struct place *place)
{
    Evercopy__V1__Mount *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__mount__init(to);
    to->db_unique_name = ask_text(ask, place->db->name);
    to->clone = ask_text(ask, place->clone);
    to->mount = ask_text(ask, place->mount);
    to->trouble = ask_text(ask, place->err.text);
    return to;
}

static void mounts_told(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const struct mounts *m = ask->state;
    Evercopy__V1__ListMountsReply *reply = ask_alloc(ask, sizeof *reply);
    if (reply) {
        evercopy__v1__list_mounts_reply__init(reply);
        reply->mounts = ask_alloc(ask, sizeof(void *) * (m->count + 1));
        for (size_t i = 0; reply->mounts && i < m->count; i++)
            if ((reply->mounts[reply->n_mounts] = tell(ask, &m->places[i])))
                reply->n_mounts++;
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void mounts_list(struct ask *ask)
{
    const Evercopy__V1__ListMountsRequest *request = (const void *)ask->request;
    const struct config_agent *config = world_config(ask_world(ask));
    const char *only = request->db_unique_name;
    struct mounts *m = own_alloc(sizeof *m, &ask->err);
    ask->state = m;
    ask->state_free = mounts_free;
    bool ok = m && (!only[0] || ask_database(ask, only));
    for (size_t i = 0; ok && i < config->database_count; i++) {
        const struct config_served *db = &config->databases[i];
        struct err hidden = {0};
        if (only[0] ? str_equal(only, db->name)
                    : roles_check_database(&ask->peer, db->name, &hidden))
            ok = add_database(ask, m, db);
    }
    if (!ok) {
        ask_answer(ask);
        return;
    }
    ask->read = (struct work){
        .run = run_mounts, .done = mounts_told, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}
