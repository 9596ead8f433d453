/* What earlier shims left in the spool, told to the agent: the log by number, then the verdict. */
#include "agent/shim/shim.h"
#include "agent/shim/spool.h"

#include "agent/base/sys.h"
#include "evercopy/v1/backups.pb-c.h"
#include <string.h>

enum { DELIVER_CALL_MS = 10000 };

bool shim_is_final(const struct err *err)
{
    return err->code == ERR_FENCED || err->code == ERR_NOT_FOUND;
}

/* Lines are bounded, and the agent says so. */
static bool is_refused(const struct err *err)
{
    return shim_is_final(err) || err->code == ERR_INVALID || err->code == ERR_LIMIT ||
           err->code == ERR_QUOTA;
}

/* Our own file is damaged: no reason to keep what else there is, as the agent's damage would be. */
static bool as_refused(struct err *err)
{
    if (err->code == ERR_CORRUPT)
        err->code = ERR_INVALID;
    return false;
}

static bool send_lines(struct shim *shim, struct spool *spool, const struct spool_batch *batch,
                       struct err *err)
{
    const struct spool_id *id = spool_who(spool);
    AUTO(mem) ProtobufCBinaryData *lines = own_alloc(sizeof *lines * SPOOL_BATCH_LINES, err);
    if (!lines)
        return false;
    for (size_t i = 0; i < batch->count; i++)
        lines[i] = (ProtobufCBinaryData){batch->lines[i].len, (uint8_t *)batch->lines[i].text};
    Evercopy__V1__AppendLogRequest request = EVERCOPY__V1__APPEND_LOG_REQUEST__INIT;
    request.job = (char *)id->job;
    request.fencing_token = id->token;
    request.first_line = batch->first;
    request.lines = lines;
    request.n_lines = batch->count;
    request.late = true;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(shim, "Backups", "AppendLog", &request.base,
                  &evercopy__v1__append_log_reply__descriptor, DELIVER_CALL_MS, err);
    if (reply)
        spool_acked(spool, ((Evercopy__V1__AppendLogReply *)reply)->next_line);
    return reply != NULL;
}

/* What the agent has already is passed over: it was acknowledged to a shim that was killed then. */
static bool deliver_log(struct shim *shim, struct spool *spool, struct err *err)
{
    AUTO(mem) struct spool_batch *batch = own_alloc(sizeof *batch, err);
    if (!batch)
        return false;
    while (spool_waiting(spool)) {
        uint64_t before = spool_waiting(spool);
        spool_rewind(spool);
        if (!spool_read(spool, batch, err))
            return as_refused(err);
        if (!send_lines(shim, spool, batch, err))
            return false;
        if (spool_waiting(spool) == before)
            return err_set(err, ERR_INVALID, "the agent lacks lines before these");
    }
    return true;
}

static bool deliver_verdict(struct shim *shim, struct spool *spool, struct err *err)
{
    struct err why = {0};
    AUTO(mem) char *text = spool_verdict_get(spool, &why);
    if (!text && why.code == ERR_NOT_FOUND)
        return true; /* killed before its verdict: the lease tells of it */
    AUTO(json) json_t *doc = text ? json_parse(text, strlen(text), &why) : NULL;
    const json_t *suspects = doc ? json_object_get(doc, "suspects") : NULL;
    AUTO(mem) uint32_t *files = own_alloc(sizeof *files * (json_array_size(suspects) + 1), &why);
    if (text && why.code == ERR_INVALID)
        return true; /* damaged: it says nothing, the lease does */
    if (!doc || !files) {
        *err = why;
        return false;
    }
    Evercopy__V1__FinishBackupRequest request = EVERCOPY__V1__FINISH_BACKUP_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.job = (char *)spool_who(spool)->job;
    request.fencing_token = spool_who(spool)->token;
    request.verdict = (Evercopy__V1__Verdict)json_u64(doc, "verdict");
    request.phase = (char *)json_text(doc, "phase");
    request.cause = (char *)json_text(doc, "cause");
    request.next = (char *)json_text(doc, "next");
    request.suspect_files = files;
    for (size_t i = 0; i < json_array_size(suspects); i++)
        files[request.n_suspect_files++] =
            (uint32_t)json_integer_value(json_array_get(suspects, i));
    request.late = true;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(shim, "Backups", "FinishBackup", &request.base,
                  &evercopy__v1__finish_backup_reply__descriptor, SHIM_CALL_MS, err);
    return reply != NULL;
}

/* The log first: its last lines come before the end. A log that is not taken bars no verdict. */
static bool deliver_one(struct shim *shim, struct spool *spool, struct err *err)
{
    struct err why = {0};
    if (!deliver_log(shim, spool, &why) && !is_refused(&why)) {
        *err = why;
        return false;
    }
    err_clear(&why);
    if (!deliver_verdict(shim, spool, &why) && !shim_is_final(&why)) {
        *err = why;
        return false;
    }
    return spool_remove(spool, err);
}

/* The next one of this database that no living shim holds; NULL when there is none. */
static struct spool *next_left(const struct shim *shim, const struct sys_names *names, size_t *at)
{
    while (*at < names->count) {
        const char *name = names->names[(*at)++];
        struct err none = {0};
        AUTO(spool)
        struct spool *spool =
            str_ends(name, ".log") ? spool_adopt(shim->db->spool, name, &none) : NULL;
        if (spool && str_equal(spool_who(spool)->database, shim->db->name))
            return TAKE(spool);
    }
    return NULL;
}

void shim_deliver(struct shim *shim)
{
    AUTO(sys_names) struct sys_names names = {0};
    struct err err = {0};
    size_t at = 0;
    shim->delivered = true;
    if (!shim->db->name[0] || !sys_list(shim->db->spool, &names, &err))
        return;
    for (;;) {
        struct err why = {0};
        AUTO(spool) struct spool *spool = next_left(shim, &names, &at);
        if (!spool || (!deliver_one(shim, spool, &why) && err_is_transient(why.code)))
            return; /* nor would it take the others now: a run must not wait for each of them */
    }
}

static bool has_left(const struct shim *shim)
{
    AUTO(sys_names) struct sys_names names = {0};
    struct err none = {0};
    size_t at = 0;
    AUTO(spool)
    struct spool *spool =
        sys_list(shim->db->spool, &names, &none) ? next_left(shim, &names, &at) : NULL;
    return spool != NULL;
}

void shim_deliver_first(struct shim *shim)
{
    const struct config_database *db;
    struct err none = {0};
    if (shim->db->name[0]) {
        if (has_left(shim)) /* the answer to any call delivers */
            IGNORE(!shim_is_answering(shim, &none));
        return;
    }
    for (size_t i = 0; (db = config_shim_at(shim->config, i)); i++) {
        struct shim one = {.options = shim->options, .config = shim->config, .db = db};
        shim_deliver_first(&one);
        rpc_client_free(one.client);
    }
}
