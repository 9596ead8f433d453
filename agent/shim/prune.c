/* The run's last deletions in the live area: what the agent names, by RMAN, one by one. */
#include "agent/shim/prune.h"

#include "evercopy/v1/backups.pb-c.h"
#include <string.h>

static ProtobufCMessage *ask_prunable(struct run *run, struct err *err)
{
    Evercopy__V1__ListPrunableRequest request = EVERCOPY__V1__LIST_PRUNABLE_REQUEST__INIT;
    request.job = run->job;
    request.fencing_token = run->token;
    return run_call(run, "Backups", "ListPrunable", &request.base,
                    &evercopy__v1__list_prunable_reply__descriptor, SHIM_SNAPSHOT_MS, err);
}

/* The agent's path as RMAN knows it; a name that could mean more than one file is left alone, as
 * LIKE takes % for anything and _ for any sign, where the number and thread beside it decide. */
static bool full_path(const struct run *run, ProtobufCBinaryData path, char ret[2048])
{
    return path.len && !memchr(path.data, '\0', path.len) && !memchr(path.data, '%', path.len) &&
           !strchr(run->shim->db->area, '%') &&
           str_format(ret, 2048, "%s/%.*s", run->shim->db->area, (int)path.len,
                      (const char *)path.data);
}

static bool add_log(struct run *run, struct template_vars *vars,
                    const Evercopy__V1__PrunableLog *log, size_t *count, struct err *err)
{
    char path[2048];
    if (log->resetlogs_id != run->before->resetlogs_id || !full_path(run, log->path, path))
        return true;
    ++*count;
    return template_list_row(vars, "logs", err) &&
           template_row_number(vars, "logs", "sequence", log->sequence, err) &&
           template_row_number(vars, "logs", "thread", log->thread, err) &&
           template_row_text(vars, "logs", "path", path, err);
}

static bool names_piece(const struct run *run, const Evercopy__V1__ListPrunableReply *reply,
                        const char *handle)
{
    char path[2048];
    for (size_t i = 0; i < reply->n_pieces; i++)
        if (full_path(run, reply->pieces[i], path) && str_equal(path, handle))
            return true;
    return false;
}

/* Nothing goes without the agent's word; only a lost lease or a stop ends the run. */
static bool may_go_on(const struct err *why, struct err *err)
{
    if (why->code != ERR_FENCED && why->code != ERR_CANCELLED)
        return true;
    *err = *why;
    return false;
}

bool prune_keep_protected(struct run *run, struct rows_pieces *pieces, struct err *err)
{
    struct err why = {0};
    size_t kept = 0;
    AUTO(reply) ProtobufCMessage *message = ask_prunable(run, &why);
    if (!message)
        run_say(run, "no pieces go: %s", why.text);
    for (size_t i = 0; message && i < pieces->count; i++)
        if (names_piece(run, (const void *)message, pieces->items[i].handle))
            pieces->items[kept++] = pieces->items[i];
    pieces->count = kept;
    return message || may_go_on(&why, err);
}

bool prune_logs(struct run *run, struct err *err)
{
    struct err why = {0};
    AUTO(reply) ProtobufCMessage *message = ask_prunable(run, &why);
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    size_t count = 0;
    if (!vars || !template_vars_list(vars, "logs", err))
        return false;
    if (!message) { /* nothing goes; the backup is none the worse */
        run_say(run, "no logs are pruned: %s", why.text);
        return may_go_on(&why, err);
    }
    const Evercopy__V1__ListPrunableReply *reply = (const void *)message;
    for (size_t i = 0; i < reply->n_logs; i++)
        if (!add_log(run, vars, reply->logs[i], &count, err))
            return false;
    if (reply->kept_back)
        run_say(run, "%u logs older than %u days stay: not in two proven snapshots yet",
                reply->kept_back, reply->log_days);
    if (!count)
        return true;
    run_say(run, "%zu archived logs go from the area, older than %u days, snapshots keep them",
            count, reply->log_days);
    if (run_rman(run, "prune.rman", vars, &why))
        return true;
    if (!may_go_on(&why, err))
        return false;
    str_format(run->warning, sizeof run->warning, "logs were not pruned: %.200s", why.text);
    run_say(run, "%s", run->warning);
    return true;
}
