/* One backup run as the agent sees it: lease, phases, suspects, verdict. */
#include "agent/engine/backup.h"

#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/engine/acts.h"
#include <inttypes.h>
#include <string.h>

enum {
    VERDICT_WIRE_OK = 1,
    VERDICT_WIRE_WARNING = 2,
    VERDICT_WIRE_FAILED = 3,
    VERDICT_WIRE_UNKNOWN = 4
};

/* Journal rows beside the phases: the shim's word came after the run was given up. */
#define LATE_STEP "late-word"

const struct job_kind job_kind_backup = {.name = "backup", .external = true};

static bool check_identity(struct catalog *catalog, const struct config_served *config,
                           const struct backup_begin *request, struct err *err)
{
    struct catalog_database db;
    if (!catalog_database_get(catalog, request->database, &db, err))
        return err_set(err, ERR_PRECONDITION,
                       "database '%s' is not set up yet; hint: run 'evercopy setup %s --apply'",
                       request->database, request->database);
    if (db.dbid != request->dbid || (config->dbid && config->dbid != request->dbid))
        return err_set(err, ERR_PRECONDITION,
                       "dbid %" PRIu32 " is not that of '%s' (%" PRIu32
                       "): another database answers under this name",
                       request->dbid, request->database, db.dbid);
    if (!str_equal_fold(db.db_name, request->db_name))
        return err_set(err, ERR_PRECONDITION, "db_name '%s' is not that of '%s' ('%s')",
                       request->db_name, request->database, db.db_name);
    return true;
}

static bool already_running(const struct catalog_lease *holder, struct err *err)
{
    char since[32];
    clock_format_utc(holder->taken_us, since);
    return err_set(err, ERR_BUSY, "already running since %s on host %s (pid %" PRIu32 ") [%s]",
                   since, holder->host, holder->pid, holder->job);
}

/* Channels of a run that is on are its own affair: that run is the reason then. */
static bool check_channels(struct catalog *catalog, const struct backup_begin *request,
                           struct err *err)
{
    struct catalog_lease holder;
    struct catalog_job job;
    struct err why = {0};
    if (!request->open_channels)
        return true;
    if (catalog_lease_find(catalog, request->database, "backup", &holder, &why) &&
        catalog_job_get(catalog, holder.job, &job, &why) && job.state == JOB_RUNNING)
        return already_running(&holder, err);
    return err_set(err, ERR_PRECONDITION,
                   "%" PRIu32 " RMAN channels of an earlier run are still in V$SESSION (%s); "
                   "hint: let them end or kill these sessions",
                   request->open_channels, request->channel_text);
}

static bool same_grant(struct catalog *catalog, const struct backup_begin *request,
                       struct backup_granted *ret, bool *ret_found, struct err *err)
{
    struct catalog_job job;
    struct catalog_lease lease;
    struct err why = {0};
    *ret_found = false;
    if (!request->key[0] || !catalog_job_find_key(catalog, request->key, &job, &why))
        return true;
    *ret_found = true;
    if (job.state != JOB_RUNNING ||
        !catalog_lease_find(catalog, request->database, "backup", &lease, &why) ||
        !str_equal(lease.job, job.id))
        return err_set(err, ERR_PRECONDITION, "run %s has ended already", job.id);
    IGNORE(!str_copy(ret->job, sizeof ret->job, job.id));
    ret->token = lease.token;
    return true;
}

/* A static file's copy that has reached the stop SCN: RMAN never merges it, so nothing could ever
 * heal a suspicion (PDB$SEED, read-only tablespaces). NULL: not known of any. */
static bool has_nothing_to_merge(const struct manifest *seen, const struct facts_file *file)
{
    if (!seen || scn_is_none(file->stop_scn) || !file->stop_scn.n)
        return false;
    for (size_t i = 0; i < seen->count; i++) {
        const struct manifest_entry *copy = &seen->entries[i];
        if (copy->kind == FILE_DATAFILE && copy->state == STATE_GOOD &&
            copy->datafile.file_no == file->file_no &&
            copy->datafile.creation_scn.n == file->creation_scn.n &&
            !scn_less(copy->datafile.checkpoint_scn, file->stop_scn))
            return true;
    }
    return false;
}

/* The files of that snapshot's fact sheet become suspect; *ret_told false when it has none, or one
 * that cannot be read: a run must come to its end all the same. */
static bool suspect_all_of(struct catalog *catalog, const struct catalog_snapshot *row,
                           bool *ret_told, struct err *err)
{
    AUTO(mem) char *manifest = NULL;
    AUTO(mem) char *text = NULL;
    if (!catalog_snapshot_texts(catalog, row->database, row->name, &manifest, &text, err))
        return false;
    struct err why = {0};
    *ret_told = false;
    if (!text)
        return true;
    AUTO(facts) struct facts *facts = facts_from_json(text, strlen(text), &why);
    if (!facts)
        log_error("fact sheet cannot be read, an older one says which files are suspect db=%s "
                  "snapshot=%s: %s",
                  row->database, row->name, why.text);
    if (!facts)
        return true;
    *ret_told = true;
    AUTO(manifest) struct manifest *seen = manifest_from_json(manifest, strlen(manifest), &why);
    AUTO(mem) uint32_t *files = own_alloc(sizeof *files * (facts->file_count + 1), err);
    size_t suspects = 0;
    if (!files)
        return false;
    for (size_t i = 0; i < facts->file_count; i++)
        if (!has_nothing_to_merge(seen, &facts->files[i]))
            files[suspects++] = facts->files[i].file_no;
    return backup_suspects_put(catalog, row->database, files, suspects, err);
}

/* The shim died in the midst of a merge: any file may be half merged. The newest snapshot that has
 * a fact sheet knows them; one taken by hand since has none. */
static bool suspect_all(struct catalog *catalog, const char *database, struct err *err)
{
    size_t count;
    AUTO(mem) struct catalog_snapshot *rows = catalog_snapshot_list(catalog, database, &count, err);
    bool told = false;
    for (size_t i = rows ? count : 0; i-- > 0 && !told;)
        if (!suspect_all_of(catalog, &rows[i], &told, err))
            return false;
    return rows != NULL;
}

/* Ends a run whose shim is gone; what it may have left half merged is suspect. */
static bool end_lost(struct catalog *catalog, const struct catalog_lease *lease, const char *why,
                     struct err *err)
{
    struct catalog_job job;
    char cause[512];
    struct err none = {0};
    if (!str_equal(lease->kind, "backup"))
        return true;
    if (!catalog_job_get(catalog, lease->job, &job, &none)) {
        if (none.code != ERR_NOT_FOUND) /* else a crash came before the run was written */
            *err = none;
        return none.code == ERR_NOT_FOUND;
    }
    if (job.state != JOB_RUNNING)
        return true;
    str_format(cause, sizeof cause, "%s: the shim on host %s (pid %" PRIu32 ") %s",
               job.step[0] ? job.step : "begin", lease->host, lease->pid, why);
    log_error("backup run lost db=%s job=%s: %s", job.database, job.id, cause);
    if (str_equal(job.step, "merge") && !suspect_all(catalog, job.database, err))
        return false;
    return catalog_job_finish(catalog, job.id, JOB_FAILED, VERDICT_WIRE_FAILED, cause,
                              "look at that host; the next run heals a half-done merge", err);
}

/* The holder's run has ended or never began (a crash came between two writes), or a shim that sees
 * the very same processes saw that the holder's is gone: then the lease is free. */
static bool take_lease(struct catalog *catalog, const struct backup_begin *request,
                       struct catalog_lease *lease, struct catalog_lease *ret_holder,
                       struct err *err)
{
    struct catalog_job job;
    struct err why = {0};
    if (catalog_lease_take(catalog, lease, ret_holder, &why))
        return true;
    *err = why;
    if (why.code != ERR_BUSY)
        return false;
    why = (struct err){0};
    bool known = catalog_job_get(catalog, ret_holder->job, &job, &why);
    bool gone = str_equal(request->dead_job, ret_holder->job) &&
                str_equal(request->host, ret_holder->host) && request->boot_id &&
                request->boot_id[0] && str_equal(request->boot_id, ret_holder->boot_id);
    if (known ? job.state == JOB_RUNNING &&
                    !(gone && end_lost(catalog, ret_holder, "is gone without a word", &why))
              : why.code != ERR_NOT_FOUND) {
        if (why.code != ERR_NONE) /* not "already running": the catalog does not do as it should */
            *err = why;
        return false;
    }
    if (!catalog_lease_release(catalog, ret_holder->job, ret_holder->token, &why))
        return false;
    err_clear(err);
    return catalog_lease_take(catalog, lease, ret_holder, err);
}

bool backup_begin(struct catalog *catalog, const struct world *world,
                  const struct backup_begin *request, struct backup_granted *ret, struct err *err)
{
    const struct config_served *config = world_database(world, request->database, err);
    bool found;
    ret->lease_s = (uint32_t)world_config(world)->backuplease_s;
    if (!config || !check_identity(catalog, config, request, err) ||
        !same_grant(catalog, request, ret, &found, err))
        return false;
    if (found)
        return true;
    if (!check_channels(catalog, request, err))
        return false;
    struct catalog_job job = {.started_us = clock_wall_us()};
    struct catalog_lease lease = {.pid = request->pid,
                                  .process_start = request->process_start,
                                  .taken_us = job.started_us,
                                  .left_ms = (uint64_t)ret->lease_s * 1000};
    struct catalog_lease holder;
    catalog_job_id("backup", job.id);
    IGNORE(!str_copy(job.kind, sizeof job.kind, "backup"));
    IGNORE(!str_copy(job.database, sizeof job.database, request->database));
    IGNORE(!str_copy(job.owner, sizeof job.owner, request->owner));
    IGNORE(!str_copy(job.key, sizeof job.key, request->key));
    IGNORE(!str_copy(lease.database, sizeof lease.database, request->database));
    IGNORE(!str_copy(lease.kind, sizeof lease.kind, "backup"));
    IGNORE(!str_copy(lease.job, sizeof lease.job, job.id));
    IGNORE(!str_copy(lease.host, sizeof lease.host, request->host));
    IGNORE(request->boot_id && !str_copy(lease.boot_id, sizeof lease.boot_id, request->boot_id));
    struct err why = {0};
    if (!take_lease(catalog, request, &lease, &holder, &why)) {
        if (why.code == ERR_BUSY)
            return already_running(&holder, err);
        *err = why;
        return false;
    }
    if (!catalog_job_add(catalog, &job, "{}", err)) {
        IGNORE(!catalog_lease_release(catalog, job.id, lease.token, &why)); /* or it runs out */
        return false;
    }
    IGNORE(!str_copy(ret->job, sizeof ret->job, job.id));
    ret->token = lease.token;
    log_info("backup run begins db=%s job=%s host=%s", request->database, job.id, request->host);
    return true;
}

bool backup_hold(struct catalog *catalog, const struct world *world, const char *job,
                 uint64_t token, struct catalog_job *ret_job, struct err *err)
{
    struct catalog_lease lease;
    uint64_t whole_ms = world_config(world)->backuplease_s * 1000;
    if (!catalog_job_get(catalog, job, ret_job, err) ||
        !catalog_lease_check(catalog, job, token, &lease, err))
        return false;
    /* Signs of life come every few seconds: most of them need not touch the disk. */
    return lease.left_ms > whole_ms / 8 * 7 ||
           catalog_lease_renew(catalog, job, token, whole_ms, err);
}

bool backup_knows(struct catalog *catalog, const char *job, uint64_t token,
                  struct catalog_job *ret_job, struct err *err)
{
    struct catalog_lease last;
    if (!catalog_job_get(catalog, job, ret_job, err) ||
        !catalog_lease_last(catalog, ret_job->database, "backup", &last, err))
        return false;
    return (str_equal(last.job, job) && last.token == token) ||
           err_set(err, ERR_FENCED, "run '%s' was followed by '%s'", job, last.job);
}

/* A line of the agent's own in a log that a shim writes would take a number of the shim's: it goes
 * to the journal. */
static bool note_in_journal(struct catalog *catalog, const struct catalog_job *job,
                            const char *step, const char *text, struct err *err)
{
    return catalog_step_end(catalog, job->id, step, false, text, NULL, err);
}

bool backup_alarm(struct catalog *catalog, const struct catalog_job *job, const char *text,
                  struct err *err)
{
    log_warning("backup run alarm db=%s job=%s: %s", job->database, job->id, text);
    return note_in_journal(catalog, job, "alarm", text, err);
}

static bool heard_before(struct catalog *catalog, const char *job, bool *ret_heard, struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_journal_row *rows = catalog_journal_list(catalog, job, &count, err);
    *ret_heard = false;
    for (size_t i = 0; rows && i < count; i++)
        *ret_heard |= str_equal(rows[i].step, LATE_STEP);
    return rows != NULL;
}

bool backup_late_word(struct catalog *catalog, const struct catalog_job *job, const char *text,
                      const uint32_t *suspects, size_t count, struct err *err)
{
    bool heard;
    if (!heard_before(catalog, job->id, &heard, err) || heard)
        return heard;
    if (!catalog_group_begin(catalog, err))
        return false;
    if (backup_suspects_put(catalog, job->database, suspects, count, err) &&
        note_in_journal(catalog, job, LATE_STEP, text, err)) {
        log_warning("late word of a run db=%s job=%s: %s", job->database, job->id, text);
        return catalog_group_end(catalog, err);
    }
    catalog_group_drop(catalog);
    return false;
}

bool backup_phase(struct catalog *catalog, const char *job, const char *phase, int verdict,
                  const char *text, struct err *err)
{
    if (!verdict)
        return catalog_step_begin(catalog, job, phase, err);
    return catalog_step_end(catalog, job, phase, verdict <= VERDICT_WIRE_WARNING, text, "{}", err);
}

bool backup_suspects_put(struct catalog *catalog, const char *database, const uint32_t *files,
                         size_t count, struct err *err)
{
    AUTO(json) json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        if (!json_add(list, json_integer(files[i]), err))
            return false;
    AUTO(mem) char *text = json_format(list, err);
    return text && catalog_note_put(catalog, database, "suspects", text, err);
}

bool backup_suspects_get(struct catalog *catalog, const char *database, uint32_t **ret_files,
                         size_t *ret_count, struct err *err)
{
    struct err why = {0};
    AUTO(mem) char *text = catalog_note_get(catalog, database, "suspects", &why);
    *ret_files = NULL;
    *ret_count = 0;
    if (!text && why.code == ERR_NOT_FOUND)
        return true;
    if (!text) {
        *err = why;
        return false;
    }
    AUTO(json) json_t *list = json_parse(text, strlen(text), err);
    size_t count = json_array_size(list);
    uint32_t *files = list ? own_alloc(sizeof *files * (count + 1), err) : NULL;
    if (!files)
        return false;
    for (size_t i = 0; i < count; i++)
        files[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    *ret_files = files;
    *ret_count = count;
    return true;
}

/* ---- the verdict ---- */

static void set_verdict(struct backup_verdict *v, int verdict, const char *phase, const char *cause,
                        const char *next)
{
    v->verdict = verdict;
    IGNORE(!str_copy(v->phase, sizeof v->phase, phase));
    IGNORE(!str_copy(v->cause, sizeof v->cause, cause));
    IGNORE(!str_copy(v->next, sizeof v->next, next));
}

static size_t find_run(const struct outlook *o, const char *job, const char *kind)
{
    for (size_t i = o->snapshot_count; i-- > 0;)
        if (str_equal(o->rows[i].run, job) && str_equal(o->rows[i].kind, kind))
            return i;
    return SIZE_MAX;
}

/* After a full copy the old one still lies there and stands still; the newest is the one that
 * counts. */
static bool is_outdone(const struct manifest *manifest, const struct manifest_entry *copy)
{
    for (size_t i = 0; i < manifest->count; i++) {
        const struct manifest_entry *other = &manifest->entries[i];
        if (other->kind == FILE_DATAFILE && other->state == STATE_GOOD &&
            other->datafile.file_no == copy->datafile.file_no &&
            other->datafile.creation_scn.n == copy->datafile.creation_scn.n &&
            scn_less(copy->datafile.checkpoint_scn, other->datafile.checkpoint_scn))
            return true;
    }
    return false;
}

/* A copy must hold what its file held when the run began (oracle-semantics 1): "not advanced" alone
 * says nothing of a read-only file. */
static bool copies_came_along(const struct outlook *o, size_t pre, size_t post,
                              struct backup_verdict *v)
{
    const struct facts *facts = pre == SIZE_MAX ? NULL : o->facts[pre];
    const struct manifest *manifest = o->manifests[post];
    for (size_t i = 0; facts && i < manifest->count; i++) {
        const struct manifest_entry *copy = &manifest->entries[i];
        if (copy->kind != FILE_DATAFILE || copy->state != STATE_GOOD || is_outdone(manifest, copy))
            continue;
        const struct facts_file *file = facts_file_find(facts, copy->datafile.file_no);
        if (!file || file->creation_scn.n != copy->datafile.creation_scn.n ||
            !scn_less(copy->datafile.checkpoint_scn, file->header_scn))
            continue;
        char text[240];
        IGNORE(!str_format(text, sizeof text,
                           "copy of datafile %" PRIu32 " did not advance: it stands at SCN %" PRIu64
                           ", the file was at %" PRIu64 " when the run began",
                           file->file_no, copy->datafile.checkpoint_scn.n, file->header_scn.n));
        set_verdict(v, VERDICT_WIRE_FAILED, "judge", text,
                    "look in the log for 'no copy of datafile' and expired copies");
        return false;
    }
    if (!facts)
        set_verdict(v, VERDICT_WIRE_UNKNOWN, "judge",
                    "no fact sheet from before the merge: whether the copies advanced is not known",
                    "");
    return facts != NULL;
}

void backup_judge(const struct outlook *o, const char *job, struct backup_verdict *ret)
{
    static const int wire[] = {VERDICT_WIRE_OK, VERDICT_WIRE_WARNING, VERDICT_WIRE_FAILED,
                               VERDICT_WIRE_UNKNOWN};
    size_t pre = find_run(o, job, "pre");
    size_t post = find_run(o, job, "post");
    *ret = (struct backup_verdict){.verdict = VERDICT_WIRE_OK};
    if (post == SIZE_MAX) {
        set_verdict(ret, VERDICT_WIRE_FAILED, "judge", "the run took no snapshot after the merge",
                    "");
        return;
    }
    const struct plan_base *base = plan_base(o->plan, post);
    ret->recoverable_to = base->latest;
    ret->recoverable_to_us = base->latest_us;
    ret->earliest = base->earliest;
    bool sound = base->verdict == PLAN_OK || base->verdict == PLAN_WARNING;
    if (sound && !copies_came_along(o, pre, post, ret))
        return;
    if (base->verdict != PLAN_OK)
        set_verdict(ret, wire[base->verdict], "judge", base->cause, "");
}

bool backup_finish(struct catalog *catalog, const char *job, uint64_t token,
                   const struct backup_verdict *verdict, struct err *err)
{
    struct catalog_lease lease;
    bool good = verdict->verdict == VERDICT_WIRE_OK || verdict->verdict == VERDICT_WIRE_WARNING;
    char cause[512];
    IGNORE(!str_format(cause, sizeof cause, "%s%s%s", verdict->phase, verdict->phase[0] ? ": " : "",
                       verdict->cause));
    if (!catalog_lease_check(catalog, job, token, &lease, err) ||
        !catalog_group_begin(catalog, err))
        return false;
    if (catalog_job_finish(catalog, job, good ? JOB_DONE : JOB_FAILED, verdict->verdict, cause,
                           verdict->next, err) &&
        catalog_lease_release(catalog, job, token, err))
        return catalog_group_end(catalog, err);
    catalog_group_drop(catalog);
    return false;
}

/* While the agent itself works for a run (it reads a snapshot, for hours perhaps), the shim waits
 * and cannot renew: such a lease is kept. A job that could not go on does not count. */
static bool keep_working(struct catalog *catalog, struct engine *engine, uint64_t lease_ms,
                         struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_job *jobs =
        catalog_job_list(catalog, "", "snapshot", JOB_RUNNING, 1000, &count, err);
    for (size_t i = 0; jobs && i < count; i++) {
        struct catalog_lease lease;
        struct err why = {0};
        if (jobs[i].parent[0] && (!engine || engine_works_on(engine, jobs[i].id)) &&
            catalog_lease_find(catalog, jobs[i].database, "backup", &lease, &why) &&
            str_equal(lease.job, jobs[i].parent) &&
            !catalog_lease_renew(catalog, lease.job, lease.token, lease_ms, err))
            return false;
    }
    return jobs != NULL;
}

static bool tick_grouped(struct catalog *catalog, struct engine *engine, uint64_t elapsed_ms,
                         uint64_t lease_ms, struct err *err)
{
    size_t count;
    if (!keep_working(catalog, engine, lease_ms, err))
        return false;
    AUTO(mem) struct catalog_lease *gone = catalog_lease_tick(catalog, elapsed_ms, &count, err);
    for (size_t i = 0; gone && i < count; i++)
        if (!end_lost(catalog, &gone[i], "went silent, its lease ran out", err))
            return false;
    return gone != NULL;
}

/* One transaction: a lease that ran out and the end of its run are known together. */
bool backup_tick(struct catalog *catalog, struct engine *engine, uint64_t elapsed_ms,
                 uint64_t lease_ms, struct err *err)
{
    if (!catalog_group_begin(catalog, err))
        return false;
    if (tick_grouped(catalog, engine, elapsed_ms, lease_ms, err))
        return catalog_group_end(catalog, err);
    catalog_group_drop(catalog);
    return false;
}

/* ---- standing ---- */

static bool last_jobs(struct catalog *catalog, const char *database, struct standing *s,
                      struct err *err)
{
    size_t count;
    AUTO(mem)
    struct catalog_job *jobs = catalog_job_last(catalog, database, "backup", 20, &count, err);
    if (!jobs)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].state == JOB_RUNNING && !s->running.id[0])
            s->running = jobs[i];
        if (jobs[i].state != JOB_RUNNING && !s->last.id[0])
            s->last = jobs[i];
    }
    return true;
}

bool backup_standing(struct catalog *catalog, size_t base, const char *database,
                     struct standing *ret, struct err *err)
{
    *ret = (struct standing){.verdict = VERDICT_WIRE_OK, .base = base};
    if (!last_jobs(catalog, database, ret, err))
        return false;
    if (ret->base == SIZE_MAX) {
        ret->verdict = VERDICT_WIRE_FAILED;
        IGNORE(!str_copy(ret->cause, sizeof ret->cause, "nothing is recoverable: no proven base"));
        IGNORE(!str_format(ret->next, sizeof ret->next, "run 'evercopy backup %s'", database));
    }
    if (!ret->last.id[0] || ret->last.verdict == VERDICT_WIRE_OK)
        return true;
    char cause[512];
    IGNORE(!str_format(cause, sizeof cause, "%.60s%slast run: %.400s", ret->cause,
                       ret->cause[0] ? "; " : "", ret->last.cause));
    IGNORE(!str_copy(ret->cause, sizeof ret->cause, cause));
    if (ret->base != SIZE_MAX) /* else failed it is, whatever the last run says of itself */
        ret->verdict = ret->last.verdict ? ret->last.verdict : VERDICT_WIRE_UNKNOWN;
    if (ret->last.next[0])
        IGNORE(!str_copy(ret->next, sizeof ret->next, ret->last.next));
    else
        IGNORE(!str_format(ret->next, sizeof ret->next, "see 'evercopy log %s'", ret->last.id));
    return true;
}

void backup_doubt(const char *volume, const char *snapshot, const char *doubt, struct standing *s)
{
    char cause[sizeof s->cause];
    if (!doubt[0])
        return;
    IGNORE(!str_format(cause, sizeof cause, "snapshot '%.100s': %.100s%s%.250s", snapshot, doubt,
                       s->cause[0] ? "; " : "", s->cause));
    IGNORE(!str_copy(s->cause, sizeof s->cause, cause));
    if (s->verdict == VERDICT_WIRE_OK)
        s->verdict = VERDICT_WIRE_WARNING;
    if (!s->next[0])
        IGNORE(!str_format(s->next, sizeof s->next,
                           "ask the storage which ('evercopy-vaultd stat %.60s %.100s') and copy "
                           "these files anew",
                           volume, snapshot));
}
