/* evercopy.v1.Databases.GetSpace: what area, snapshots and clones occupy. */
#include "agent/service/ask.h"

#include "agent/base/str.h"
#include "evercopy/v1/databases.pb-c.h"

enum { ROWS_MAX = 20000 }; /* more than a message holds */

struct told { /* by the storage */
    const struct config_served *db;
    struct driver_volume_info info;
    struct driver_snapshot_info *snapshots;
    struct driver_clone_info *clones;
    size_t snapshot_count, clone_count;
};

static void told_free(void *state)
{
    struct told *t = state;
    own_free(t->snapshots);
    own_free(t->clones);
    own_free(t);
}

/* On the readers' lane. */
static void run_space(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct told *t = ask->state;
    struct driver_ref *d = world_driver(ask_world(ask), t->db);
    if (!driver_volume_info(d, t->db->volume, &t->info, &ask->err))
        return;
    t->snapshots = driver_snapshot_list(d, t->db->volume, &t->snapshot_count, &ask->err);
    if (t->snapshots && driver_abilities(d) & DRIVER_CAN_CLONE)
        t->clones = driver_clone_list(d, t->db->volume, &t->clone_count, &ask->err);
}

static Evercopy__V1__Space *tell(struct ask *ask, const char *name, const struct driver_space *from,
                                 uint64_t created_us)
{
    Evercopy__V1__Space *to = ask_alloc(ask, sizeof *to);
    if (!to)
        return NULL;
    evercopy__v1__space__init(to);
    to->name = ask_text(ask, name);
    to->files_bytes = from->logical;
    to->stored_bytes = from->stored;
    to->unique_bytes = from->unique;
    to->created_us = created_us;
    return to;
}

static void tell_rows(struct ask *ask, const struct told *t, Evercopy__V1__GetSpaceReply *reply)
{
    reply->snapshots = ask_alloc(ask, sizeof(void *) * (t->snapshot_count + 1));
    reply->clones = ask_alloc(ask, sizeof(void *) * (t->clone_count + 1));
    for (size_t i = 0; reply->snapshots && i < t->snapshot_count; i++)
        if ((reply->snapshots[reply->n_snapshots] = tell(
                 ask, t->snapshots[i].name, &t->snapshots[i].space, t->snapshots[i].created_us)))
            reply->n_snapshots++;
    for (size_t i = 0; reply->clones && i < t->clone_count; i++)
        if ((reply->clones[reply->n_clones] =
                 tell(ask, t->clones[i].name, &t->clones[i].space, t->clones[i].created_us)))
            reply->n_clones++;
}

static void space_told(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const struct told *t = ask->state;
    if (ask->err.code == ERR_NONE && t->snapshot_count + t->clone_count > ROWS_MAX)
        err_set(&ask->err, ERR_LIMIT, "more than %d snapshots and clones", ROWS_MAX);
    Evercopy__V1__GetSpaceReply *reply =
        ask->err.code == ERR_NONE ? ask_alloc(ask, sizeof *reply) : NULL;
    if (reply) {
        evercopy__v1__get_space_reply__init(reply);
        reply->area = tell(ask, t->info.name, &t->info.space, 0);
        reply->capacity_bytes = t->info.capacity;
        reply->free_bytes = t->info.available;
        tell_rows(ask, t, reply);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void space_get(struct ask *ask)
{
    const Evercopy__V1__GetSpaceRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    struct told *t = db ? own_alloc(sizeof *t, &ask->err) : NULL;
    if (!t) {
        ask_answer(ask);
        return;
    }
    t->db = db;
    ask->state = t;
    ask->state_free = told_free;
    ask->read = (struct work){
        .run = run_space, .done = space_told, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}
