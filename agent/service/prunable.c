/* evercopy.v1.Backups.ListPrunable: what the live area no longer needs, file by file. */
#include "agent/service/ask.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/engine/keep.h"
#include "agent/engine/prune.h"
#include "evercopy/v1/backups.pb-c.h"
#include <string.h>

static void tell_logs(struct ask *ask, const struct prune *prune,
                      Evercopy__V1__ListPrunableReply *reply)
{
    reply->logs = ask_alloc(ask, sizeof(void *) * (prune->log_count + 1));
    for (size_t i = 0; reply->logs && i < prune->log_count; i++) {
        const struct manifest_entry *from = prune->logs[i];
        Evercopy__V1__PrunableLog *to = ask_alloc(ask, sizeof *to);
        if (!to)
            return;
        evercopy__v1__prunable_log__init(to);
        to->thread = from->log.thread;
        to->sequence = from->log.sequence;
        to->resetlogs_id = from->resetlogs_id;
        to->path = ask_bytes(ask, from->path, strlen(from->path));
        reply->logs[reply->n_logs++] = to;
    }
}

static void tell_pieces(struct ask *ask, const struct prune *prune,
                        Evercopy__V1__ListPrunableReply *reply)
{
    reply->pieces = ask_alloc(ask, sizeof *reply->pieces * (prune->piece_count + 1));
    for (size_t i = 0; reply->pieces && i < prune->piece_count; i++)
        reply->pieces[reply->n_pieces++] =
            ask_bytes(ask, prune->pieces[i]->path, strlen(prune->pieces[i]->path));
}

static void surveyed(struct ask *ask)
{
    const Evercopy__V1__ListPrunableRequest *request = (const void *)ask->request;
    struct catalog_job job;
    bool known = catalog_job_get(ask_catalog(ask), request->job, &job, &ask->err);
    const struct config_served *db = known ? ask_database(ask, job.database) : NULL;
    const struct manifest *live = db ? ask_live(ask, db->name) : NULL;
    AUTO(outlook) struct outlook *o = live ? ask_outlook(ask, db, false) : NULL;
    AUTO(keep)
    struct keep *keep = o ? keep_decide(ask_catalog(ask), ask_world(ask), db, o, &ask->err) : NULL;
    AUTO(prune) struct prune prune = {0};
    Evercopy__V1__ListPrunableReply *reply = ask_alloc(ask, sizeof *reply);
    if (keep && reply &&
        prune_choose(keep, live, db->retention.log_days, clock_wall_us(), &prune, &ask->err)) {
        evercopy__v1__list_prunable_reply__init(reply);
        tell_logs(ask, &prune, reply);
        tell_pieces(ask, &prune, reply);
        reply->log_days = (uint32_t)db->retention.log_days;
        reply->kept_back = (uint32_t)prune.kept_back;
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void backups_list_prunable(struct ask *ask)
{
    const Evercopy__V1__ListPrunableRequest *request = (const void *)ask->request;
    struct catalog_job job;
    const struct config_served *db =
        catalog_job_get(ask_catalog(ask), request->job, &job, &ask->err)
            ? ask_database(ask, job.database)
            : NULL;
    if (db &&
        backup_hold(ask_catalog(ask), ask_world(ask), request->job, request->fencing_token, &job,
                    &ask->err) &&
        guard_check(ask_catalog(ask), &ask->err))
        ask_survey(ask, db, false, surveyed);
    else
        ask_answer(ask);
}
