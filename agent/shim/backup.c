/* evercopy backup: one run, phase by phase, as the scheduler starts it. */
#include "agent/shim/prune.h"
#include "agent/shim/renew.h"
#include "agent/shim/run.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "agent/oracle/manifest.h"
#include "agent/shim/mounttab.h"
#include "agent/shim/pages.h"
#include "agent/shim/progress.h"
#include "agent/shim/words.h"
#include "evercopy/v1/backups.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    AWAIT_FIRST_MS = 20,
    AWAIT_MOST_MS = 500,
    LOG_WAIT_MS = 2000,
    AGENT_BACK_MS = 20000,
    LOG_NEED_MAX = 100000
};

#define WIRE_OK EVERCOPY__V1__VERDICT__VERDICT_OK
#define WIRE_WARNING EVERCOPY__V1__VERDICT__VERDICT_WARNING
#define WIRE_FAILED EVERCOPY__V1__VERDICT__VERDICT_FAILED

/* ---- before the agent knows of us ---- */

static bool check_area(struct run *run, struct err *err)
{
    static const char *const folders[] = {"archivelog", "ctl", ".evercopy"};
    const char *area = run->shim->db->area;
    char path[PATH_MAX];
    struct stat st;
    if (!area[0])
        return config_require(run->shim->config, run->shim->db, "backupdest", err);
    if (!run->shim->db->area_mounted)
        return true;
    if (!sys_stat(area, &st, err) || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_PRECONDITION, "area '%s' is not there: is it mounted on this host?",
                       area);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!str_format(path, sizeof path, "%s/%s", area, folders[i]) ||
            !sys_stat(path, &st, err) || !S_ISDIR(st.st_mode))
            return err_set(
                err, ERR_PRECONDITION,
                "area '%s' has no folder '%s': is the volume mounted? hint: evercopy setup "
                "%s --apply",
                area, folders[i], run->shim->db->name);
    return true;
}

/* Not a verdict on the run: but whoever reads its log learns of it before the mount costs a copy.
 */
static void look_at_mount(struct run *run)
{
    const struct mount_place local = {0}; /* what the storage exports is the doctor's matter */
    struct mounttab_judged judged;
    struct err none = {0};
    const char *given = run->shim->options->mounts;
    char real[PATH_MAX];
    AUTO(mounttab) struct mounttab tab = {0};
    if (!run->shim->db->area_mounted || !realpath(run->shim->db->area, real) ||
        !mounttab_load(&tab, given ? given : MOUNTTAB_PATH, &none))
        return;
    mounttab_judge(mounttab_under(&tab, real), &local, real, mounttab_is_server, NULL, &judged);
    for (size_t i = 0; i < judged.count; i++)
        if (judged.faults[i].is_wrong)
            run_say(run, "WARNING: mount of the area: %s; %s (evercopy doctor %s)",
                    judged.faults[i].what, judged.faults[i].fix, run->shim->db->name);
}

static bool check_database(struct run *run, struct err *err)
{
    const struct facts *facts = run->before;
    if (!str_equal(facts->log_mode, "ARCHIVELOG"))
        return err_set(err, ERR_PRECONDITION, "the database is in %s mode: no recovery to a moment",
                       facts->log_mode);
    if (!str_equal_fold(facts->db_unique_name, run->shim->db->name))
        return err_set(err, ERR_PRECONDITION,
                       "the database at this SID is '%s', the configuration says '%s'",
                       facts->db_unique_name, run->shim->db->name);
    if (run->shim->db->dbid && run->shim->db->dbid != facts->dbid)
        return err_set(err, ERR_PRECONDITION,
                       "dbid is %" PRIu32 ", the configuration says %" PRIu32, facts->dbid,
                       run->shim->db->dbid);
    return true;
}

/* The run that holds the lease, when its process was on this host and is gone: a killed shim must
 * not bar the next run until its lease ends. "" otherwise. */
static bool find_dead_run(struct run *run, char ret_job[40], struct err *err)
{
    Evercopy__V1__GetLeaseRequest request = EVERCOPY__V1__GET_LEASE_REQUEST__INIT;
    request.db_unique_name = (char *)run->shim->db->name;
    AUTO(reply)
    ProtobufCMessage *message = run_call_within(run, "Backups", "GetLease", &request.base,
                                                &evercopy__v1__get_lease_reply__descriptor,
                                                SHIM_CALL_MS, AGENT_BACK_MS, false, err);
    if (!message)
        return false;
    const Evercopy__V1__GetLeaseReply *lease = (const void *)message;
    char space[80];
    run_process_space(space);
    ret_job[0] = '\0';
    if (lease->held && str_equal(lease->host, run->before->shim_host) && lease->process_start &&
        space[0] && str_equal(lease->boot_id, space) &&
        run_process_start(lease->pid) != lease->process_start)
        str_copy(ret_job, 40, lease->job);
    return true;
}

static bool keep_suspects(struct run *run, const uint32_t *files, size_t count, struct err *err)
{
    own_free(run->suspects);
    run->suspect_count = 0;
    run->suspects = own_alloc(sizeof *run->suspects * (count + 1), err);
    if (!run->suspects)
        return false;
    if (count)
        memcpy(run->suspects, files, count * sizeof *files);
    run->suspect_count = count;
    return true;
}

static bool take_grant(struct run *run, const Evercopy__V1__BeginBackupReply *reply,
                       struct err *err)
{
    IGNORE(!str_copy(run->job, sizeof run->job, reply->job));
    IGNORE(!str_copy(run->base_snapshot, sizeof run->base_snapshot, reply->base_snapshot));
    IGNORE(!str_copy(run->before->run, sizeof run->before->run, reply->job));
    run->token = reply->fencing_token;
    run->base_start_scn = reply->base_start_scn;
    run->slow_snapshot = reply->slow_snapshot;
    run->first_run = reply->first_run;
    run_attach_log(run);
    return keep_suspects(run, reply->suspect_files, reply->n_suspect_files, err);
}

static bool begin(struct run *run, struct err *err)
{
    AUTO(rows_channels) struct rows_channels channels = {0};
    char channel_text[200] = "";
    char dead_job[40];
    char space[80];
    const struct facts *facts = run->before;
    if (!run_sql(run, "channels.sql", NULL, rows_channels, &channels, err) ||
        !find_dead_run(run, dead_job, err))
        return false;
    if (channels.count)
        IGNORE(!str_format(channel_text, sizeof channel_text, "sid %" PRIu32 ": %s",
                           channels.items[0].sid, channels.items[0].client_info));
    Evercopy__V1__BeginBackupRequest request = EVERCOPY__V1__BEGIN_BACKUP_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)run->shim->db->name;
    request.dbid = facts->dbid;
    request.db_name = (char *)facts->db_name;
    request.resetlogs_id = facts->resetlogs_id;
    request.host = (char *)facts->shim_host;
    request.pid = (uint32_t)getpid();
    request.process_start = run_process_start((uint32_t)getpid());
    request.dead_job = dead_job;
    run_process_space(space);
    request.boot_id = space;
    request.open_channels = (uint32_t)channels.count;
    request.channel_text = channel_text;
    request.role = (char *)facts->role;
    request.current_scn = facts->moments[facts->moment_count - 1].scn.n;
    /* A grant nobody took would keep the next run out: the key makes repeating harmless. */
    AUTO(reply)
    ProtobufCMessage *reply = run_call_within(run, "Backups", "BeginBackup", &request.base,
                                              &evercopy__v1__begin_backup_reply__descriptor,
                                              SHIM_CALL_MS, AGENT_BACK_MS, false, err);
    return reply && take_grant(run, (Evercopy__V1__BeginBackupReply *)reply, err);
}

/* ---- logs ---- */

static Evercopy__V1__LogId *wire_log(const struct rows_log *log, Evercopy__V1__LogId *to)
{
    evercopy__v1__log_id__init(to);
    to->thread = log->thread;
    to->sequence = log->sequence;
    to->resetlogs_id = log->resetlogs_id;
    to->first_scn = log->first_scn.n;
    to->next_scn = log->next_scn.n;
    return to;
}

static bool is_hole(const struct run *run, const struct rows_log *log);

/* Asks the agent which of the known logs the area lacks. */
static ProtobufCMessage *ask_missing(struct run *run, const struct rows_logs *logs, uint64_t from,
                                     uint64_t through, struct err *err)
{
    AUTO(mem) Evercopy__V1__LogId *ids = own_alloc(sizeof *ids * (logs->count + 1), err);
    AUTO(mem) Evercopy__V1__LogId **list = own_alloc(sizeof(void *) * (logs->count + 1), err);
    const struct facts *facts = run->facts ? run->facts : run->before;
    AUTO(mem) uint32_t *threads = own_alloc(sizeof *threads * (facts->thread_count + 1), err);
    if (!ids || !list || !threads)
        return NULL;
    Evercopy__V1__CheckLogsRequest request = EVERCOPY__V1__CHECK_LOGS_REQUEST__INIT;
    request.job = run->job;
    request.fencing_token = run->token;
    request.from_scn = from;
    request.through_scn = through;
    /* Pulled ones come by our own hand, after the database has archived them elsewhere. */
    request.wait_ms = through && run->shim->db->logs_push ? LOG_WAIT_MS : 0;
    request.known = list;
    for (size_t i = 0; i < logs->count; i++)
        if (!is_hole(run, &logs->items[i]))
            list[request.n_known++] = wire_log(&logs->items[i], &ids[i]);
    request.open_threads = threads;
    for (size_t i = 0; i < facts->thread_count; i++)
        if (facts->threads[i].enabled && facts->threads[i].open)
            threads[request.n_open_threads++] = facts->threads[i].number;
    return run_call(run, "Backups", "CheckLogs", &request.base,
                    &evercopy__v1__check_logs_reply__descriptor, SHIM_SNAPSHOT_MS, err);
}

/* A log that RMAN has copied and the agent still does not count will not get better by copying it
 * again: what the agent sees is told instead. */
static bool note_copied(struct run *run, const Evercopy__V1__CheckLogsReply *reply, size_t at,
                        struct err *err)
{
    const Evercopy__V1__LogId *log = reply->missing[at];
    struct rows_logs *copied = &run->copied;
    for (size_t i = 0; i < copied->count; i++)
        if (copied->items[i].thread == log->thread && copied->items[i].sequence == log->sequence &&
            copied->items[i].resetlogs_id == log->resetlogs_id)
            return err_set(err, ERR_EXTERNAL,
                           "log thread %" PRIu32 " sequence %" PRIu32
                           " was copied into the area but does not count%s%s",
                           log->thread, log->sequence, reply->n_in_flight ? ": " : "",
                           reply->n_in_flight ? reply->in_flight[0] : "");
    if (!own_grow((void **)&copied->items, &copied->capacity, copied->count, sizeof *copied->items,
                  err))
        return false;
    copied->items[copied->count++] = (struct rows_log){
        .thread = log->thread, .sequence = log->sequence, .resetlogs_id = log->resetlogs_id};
    return true;
}

static bool copy_batch(struct run *run, Evercopy__V1__LogId *const *missing, size_t count,
                       struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    bool ok = vars && template_vars_list(vars, "logs", err);
    for (size_t i = 0; ok && i < count; i++)
        ok = template_list_row(vars, "logs", err) &&
             template_row_number(vars, "logs", "sequence", missing[i]->sequence, err) &&
             template_row_number(vars, "logs", "thread", missing[i]->thread, err);
    struct err why = {0};
    if (!ok || run_rman(run, "logs.rman", vars, &why))
        return ok;
    run_say(run, "copying failed (%s), trying backup sets", why.text);
    struct err again = {0};
    if (why.code != ERR_CANCELLED && run_rman(run, "logs-restore.rman", vars, &again))
        return true;
    *err = why;
    return false;
}

/* A log that is in neither place any more is a hole: told, but no reason to refuse the merge, which
 * is what makes the next base beyond it (oracle-semantics 30). */
static bool note_hole(struct run *run, const Evercopy__V1__LogId *log, const struct err *why,
                      struct err *err)
{
    struct rows_logs *holes = &run->holes;
    if (why->code != ERR_EXTERNAL || !own_grow((void **)&holes->items, &holes->capacity,
                                               holes->count, sizeof *holes->items, err)) {
        *err = why->code != ERR_EXTERNAL ? *why : *err;
        return false;
    }
    holes->items[holes->count++] = (struct rows_log){
        .thread = log->thread, .sequence = log->sequence, .resetlogs_id = log->resetlogs_id};
    str_format(run->warning, sizeof run->warning,
               "log thread %" PRIu32 " sequence %" PRIu32 " is lost: %.150s", log->thread,
               log->sequence, why->text);
    run_say(run, "%s", run->warning);
    return true;
}

static bool copy_logs(struct run *run, const Evercopy__V1__CheckLogsReply *reply, struct err *err)
{
    struct err why = {0};
    for (size_t i = 0; i < reply->n_missing; i++)
        if (!note_copied(run, reply, i, err))
            return false;
    if (copy_batch(run, reply->missing, reply->n_missing, &why))
        return true;
    for (size_t i = 0; i < reply->n_missing; i++) {
        struct err one = why;
        if (reply->n_missing > 1) {
            err_clear(&one);
            if (copy_batch(run, &reply->missing[i], 1, &one))
                continue;
        }
        if (!note_hole(run, reply->missing[i], &one, err))
            return false;
    }
    return true;
}

static bool is_hole(const struct run *run, const struct rows_log *log)
{
    for (size_t i = 0; i < run->holes.count; i++)
        if (run->holes.items[i].thread == log->thread &&
            run->holes.items[i].sequence == log->sequence &&
            run->holes.items[i].resetlogs_id == log->resetlogs_id)
            return true;
    return false;
}

/* One round: what the database has archived above `from`, what the area lacks of it, copied. */
static bool refill(struct run *run, uint64_t from, uint64_t through, bool *ret_complete,
                   bool *ret_waited, struct err *err)
{
    AUTO(rows_logs) struct rows_logs logs = {0};
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    if (!vars || !template_vars_number(vars, "from_scn", from, err) ||
        !run_sql(run, "logs.sql", vars, rows_logs, &logs, err))
        return false;
    AUTO(reply) ProtobufCMessage *message = ask_missing(run, &logs, from, through, err);
    if (!message)
        return false;
    const Evercopy__V1__CheckLogsReply *reply = (Evercopy__V1__CheckLogsReply *)message;
    *ret_complete = reply->complete;
    *ret_waited = reply->waited;
    if (!reply->n_missing)
        return true;
    run_say(run, "copying %zu archived logs into the area", reply->n_missing);
    *ret_complete = false;
    return copy_logs(run, reply, err);
}

static uint64_t needed_from(const struct run *run)
{
    return run->base_start_scn ? run->base_start_scn : run->before->moments[0].scn.n;
}

static bool phase_logs(struct run *run, struct err *err)
{
    bool complete, waited;
    return refill(run, needed_from(run), 0, &complete, &waited, err);
}

/* Switch, then wait until every open thread's log beyond the noted SCN lies in the area, whole. */
static bool switch_and_await(struct run *run, struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    if (!vars || !template_vars_flag(vars, "cdb", run->facts->cdb, err) ||
        !run_sql(run, "switch.sql", vars, rows_facts, run->facts, err))
        return false;
    uint64_t through = run->facts->moments[run->facts->moment_count - 1].scn.n;
    uint64_t deadline = clock_mono_ms() + run->shim->db->logwait_s * 1000;
    bool complete = false, waited = false;
    for (int pause_ms = AWAIT_FIRST_MS;;
         pause_ms = pause_ms * 2 < AWAIT_MOST_MS ? pause_ms * 2 : AWAIT_MOST_MS) {
        if (!refill(run, needed_from(run), through, &complete, &waited, err))
            return false;
        if (complete)
            break;
        if (run_is_stopped(run))
            return run_stopped(run, err);
        if (clock_mono_ms() >= deadline) {
            IGNORE(!str_format(run->warning, sizeof run->warning,
                               "the log beyond SCN %" PRIu64 " did not arrive within %" PRIu64 " s",
                               through, run->shim->db->logwait_s));
            run_say(run, "%s: going on without it", run->warning);
            return true;
        }
        /* An archiver works at its own pace; what was copied just now is there. */
        pause_ms = waited ? AWAIT_FIRST_MS : pause_ms;
        IGNORE(poll(NULL, 0, pause_ms) < 0);
    }
    run_say(run, "log switched at SCN %" PRIu64 ", every thread's log is in the area", through);
    return true;
}

/* The lease is this run's: a sheet half written beside its own is of one that was killed. */
static void sweep_facts(const struct run *run)
{
    char path[PATH_MAX];
    struct err none = {0};
    if (str_format(path, sizeof path, "%s/.evercopy", run->shim->db->area))
        IGNORE(!sys_sweep_written(path, "facts-", &none)); /* no harm but a few bytes */
}

static bool send_facts(struct run *run, const char *text, struct err *err)
{
    Evercopy__V1__PutFactsRequest request = EVERCOPY__V1__PUT_FACTS_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.job = run->job;
    request.fencing_token = run->token;
    request.facts = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    AUTO(reply)
    ProtobufCMessage *reply =
        run_call(run, "Backups", "PutFacts", &request.base,
                 &evercopy__v1__put_facts_reply__descriptor, SHIM_CALL_MS, err);
    return reply || err_wrap(err, "fact sheet");
}

static bool write_facts(struct run *run, struct err *err)
{
    char path[PATH_MAX];
    if (run->shim->db->area_mounted)
        sweep_facts(run);
    run->facts->suspect_count = 0;
    for (size_t i = 0; i < run->suspect_count; i++) {
        struct facts *f = run->facts;
        if (!own_grow((void **)&f->suspect_files, &f->suspect_capacity, f->suspect_count,
                      sizeof *f->suspect_files, err))
            return false;
        f->suspect_files[f->suspect_count++] = run->suspects[i];
    }
    AUTO(mem) char *text = facts_to_json(run->facts, err);
    if (text && !run->shim->db->area_mounted)
        return send_facts(run, text, err);
    if (!text ||
        !str_format(path, sizeof path, "%s/.evercopy/facts-%s.json", run->shim->db->area, run->job))
        return false;
    return sys_write_file(path, text, strlen(text), 0640, err);
}

static bool take_snapshot(struct run *run, const char *kind, struct err *err)
{
    char size[32];
    Evercopy__V1__TakeSnapshotRequest request = EVERCOPY__V1__TAKE_SNAPSHOT_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.job = run->job;
    request.fencing_token = run->token;
    request.kind = (char *)kind;
    AUTO(reply)
    ProtobufCMessage *message =
        run_call(run, "Snapshots", "TakeSnapshot", &request.base,
                 &evercopy__v1__take_snapshot_reply__descriptor, SHIM_SNAPSHOT_MS, err);
    if (!message)
        return false;
    const Evercopy__V1__TakeSnapshotReply *reply = (Evercopy__V1__TakeSnapshotReply *)message;
    const Evercopy__V1__Snapshot *s = reply->snapshot;
    shim_bytes(s->logical_bytes, size);
    run_say(run, "snapshot '%s': %" PRIu32 " datafiles, %" PRIu32 " logs, %s", s->name,
            s->datafiles, s->logs, size);
    if (s->earliest_scn)
        run_say(run, "  as a base it reaches SCN %" PRIu64 " to %" PRIu64 " (%s%s%s)",
                s->earliest_scn + 1, s->latest_scn, shim_verdict_word((int)s->verdict),
                s->cause[0] ? ": " : "", s->cause);
    for (size_t i = 0; i < s->n_odd_files; i++)
        run_say(run, "  not counted: %s", s->odd_files[i]);
    for (size_t i = 0; i < reply->n_findings; i++)
        run_say(run, "  %s", reply->findings[i]);
    return true;
}

static bool ask_facts(struct run *run, const char *phase, struct err *err)
{
    struct facts *fresh = run_facts(run, phase, run->facts ? run->facts : run->before, err);
    if (!fresh)
        return false;
    IGNORE(!str_copy(fresh->run, sizeof fresh->run, run->job));
    facts_free(run->facts);
    run->facts = fresh;
    return true;
}

static bool phase_pre(struct run *run, struct err *err)
{
    return ask_facts(run, "pre", err) && switch_and_await(run, err) && write_facts(run, err) &&
           (run->slow_snapshot || take_snapshot(run, "pre", err));
}

/* ---- copies: stale ones, lost ones ---- */

static ProtobufCMessage *call_patiently(void *arg, const char *service, const char *method,
                                        const ProtobufCMessage *request,
                                        const ProtobufCMessageDescriptor *output, struct err *err)
{
    return run_call(arg, service, method, request, output, SHIM_CALL_MS, err);
}

static bool is_datafile(const struct facts *facts, const struct facts_copy *copy)
{
    const struct facts_file *file = facts_file_find(facts, copy->file_no);
    return file && (file->creation_scn.n == copy->creation_scn.n || file->plugged_in);
}

static const char *relative_to_area(const struct run *run, const char *path)
{
    size_t len = strlen(run->shim->db->area);
    return strncmp(path, run->shim->db->area, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

static bool manifest_names(const struct manifest *manifest, const char *path)
{
    for (size_t i = 0; path && i < manifest->count; i++)
        if (str_equal(manifest->entries[i].path, path))
            return true;
    return false;
}

static bool add_stale(struct run *run, const struct facts *earlier, const struct manifest *manifest,
                      struct template_vars *vars, size_t *ret_count, struct err *err)
{
    for (size_t i = 0; i < run->facts->copy_count; i++) {
        const struct facts_copy *copy = &run->facts->copies[i];
        if (!str_equal_fold(copy->tag, run->shim->db->tag) || is_datafile(run->facts, copy) ||
            is_datafile(earlier, copy) ||
            !manifest_names(manifest, relative_to_area(run, copy->name)))
            continue;
        if (!template_list_row(vars, "copies", err) ||
            !template_row_text(vars, "copies", "path", copy->name, err))
            return false;
        run_say(run, "copy of dropped datafile %" PRIu32 " goes, snapshots keep it", copy->file_no);
        ++*ret_count;
    }
    return true;
}

/* Absent from the database in two runs on end, and safe in a proven snapshot (oracle-semantics 28).
 */
static bool phase_stale(struct run *run, struct err *err)
{
    bool any = false;
    for (size_t i = 0; i < run->facts->copy_count; i++)
        any |= str_equal_fold(run->facts->copies[i].tag, run->shim->db->tag) &&
               !is_datafile(run->facts, &run->facts->copies[i]);
    if (!run->base_snapshot[0] || !any)
        return true;
    AUTO(mem) char *manifest_text = NULL;
    AUTO(mem) char *facts_text = NULL;
    if (!pages_texts(call_patiently, run, run->shim->db->name, run->base_snapshot, &manifest_text,
                     &facts_text, err))
        return false;
    AUTO(facts) struct facts *earlier = facts_from_json(facts_text, strlen(facts_text), err);
    AUTO(manifest)
    struct manifest *manifest =
        earlier ? manifest_from_json(manifest_text, strlen(manifest_text), err) : NULL;
    AUTO(template_vars) struct template_vars *vars = manifest ? run_vars(run, err) : NULL;
    size_t count = 0;
    if (!vars || !template_vars_list(vars, "copies", err) ||
        !add_stale(run, earlier, manifest, vars, &count, err))
        return false;
    return !count || run_rman(run, "stale.rman", vars, err);
}

static bool has_available_copy(const struct run *run, const struct facts_file *file)
{
    for (size_t i = 0; i < run->facts->copy_count; i++) {
        const struct facts_copy *copy = &run->facts->copies[i];
        if (copy->file_no == file->file_no && copy->status == 'A' && copy->level == 0 &&
            (copy->creation_scn.n == file->creation_scn.n || file->plugged_in) &&
            str_equal_fold(copy->tag, run->shim->db->tag))
            return true;
    }
    return false;
}

static const Evercopy__V1__CopyState *find_in_area(const Evercopy__V1__CheckCopiesReply *reply,
                                                   const struct facts_file *file)
{
    for (size_t i = 0; i < reply->n_copies; i++)
        if (reply->copies[i]->file_no == file->file_no && reply->copies[i]->usable &&
            reply->copies[i]->creation_scn == file->creation_scn.n)
            return reply->copies[i];
    return NULL;
}

/* The full-copy trap (oracle-semantics 22): RMAN has lost sight of copies that lie in the area, and
 * would silently copy everything anew. */
static bool phase_guard(struct run *run, struct err *err)
{
    Evercopy__V1__CheckCopiesRequest request = EVERCOPY__V1__CHECK_COPIES_REQUEST__INIT;
    request.job = run->job;
    request.fencing_token = run->token;
    AUTO(reply)
    ProtobufCMessage *message =
        run_call(run, "Backups", "CheckCopies", &request.base,
                 &evercopy__v1__check_copies_reply__descriptor, SHIM_SNAPSHOT_MS, err);
    if (!message)
        return false;
    uint64_t bytes = 0;
    size_t count = 0;
    const Evercopy__V1__CopyState *first = NULL;
    for (size_t i = 0; i < run->facts->file_count; i++) {
        const struct facts_file *file = &run->facts->files[i];
        const Evercopy__V1__CopyState *copy =
            has_available_copy(run, file)
                ? NULL
                : find_in_area((Evercopy__V1__CheckCopiesReply *)message, file);
        if (!copy)
            continue;
        first = first ? first : copy;
        bytes += file->blocks * file->block_size;
        count++;
    }
    if (!count || run->shim->options->allow_full || run->shim->db->allowfull)
        return true;
    char size[32];
    shim_bytes(bytes, size);
    IGNORE(
        !str_format(run->next, sizeof run->next,
                    "catalog datafilecopy '%s/%.*s' level 0 tag '%s' (each copy), or --allow-full",
                    run->shim->db->area, (int)(first->path.len > 120 ? 120 : first->path.len),
                    (const char *)first->path.data, run->shim->db->tag));
    return err_set(
        err, ERR_PRECONDITION,
        "RMAN does not see %zu copies that lie in the area (expired?): it would copy %s anew",
        count, size);
}

/* ---- level 1 and merge ---- */

static bool channel_vars(struct run *run, struct template_vars *vars, struct err *err)
{
    char name[16];
    bool ok = template_vars_list(vars, "channels", err);
    for (uint64_t i = 1; ok && i <= run->shim->db->parallel; i++) {
        IGNORE(!str_format(name, sizeof name, "ec%" PRIu64, i));
        ok = template_list_item(vars, "channels", name, err);
    }
    const char *section = run->shim->db->sectionsize;
    bool sections = section[0] && run->probe.major >= 12;
    return ok && template_vars_text(vars, "section", sections ? section : "0", err) &&
           template_vars_flag(vars, "sections", sections, err) &&
           template_vars_flag(vars, "nosection", !sections, err);
}

static bool phase_level1(struct run *run, struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    if (!vars || !channel_vars(run, vars, err) || !run_rman(run, "level1.rman", vars, err))
        return false;
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    run_say(run, "level 1: %zu pieces, %zu new copies, %zu files unchanged", said->pieces.count,
            said->copies.count, said->skipped.count);
    return true;
}

static bool list_names(const struct rmanlog_list *list, uint32_t file_no)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].file_no == file_no)
            return true;
    return false;
}

/* What stands under suspicion now: earlier ones not healed by a whole merge, and this run's own. */
static bool update_suspects(struct run *run, struct err *err)
{
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    AUTO(mem)
    uint32_t *now = own_alloc(sizeof *now * (run->suspect_count + said->suspects.count + 1), err);
    size_t count = 0;
    if (!now)
        return false;
    for (size_t i = 0; i < run->suspect_count; i++)
        if (!list_names(&said->merged, run->suspects[i]) &&
            !list_names(&said->suspects, run->suspects[i]) &&
            facts_file_find(run->facts, run->suspects[i]))
            now[count++] = run->suspects[i];
    for (size_t i = 0; i < said->suspects.count; i++)
        now[count++] = said->suspects.items[i].file_no;
    return keep_suspects(run, now, count, err);
}

/* RMAN-05017 also means "copy exists but no incremental was found": fine for a file whose level 0
 * was made in this run, a silent no-op merge otherwise (oracle-semantics 21). */
static bool check_no_op(struct run *run, struct err *err)
{
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    for (size_t i = 0; i < said->no_copy.count; i++)
        if (!list_names(&said->copies, said->no_copy.items[i].file_no) &&
            !list_names(&said->skipped, said->no_copy.items[i].file_no))
            return err_set(err, ERR_EXTERNAL,
                           "datafile %" PRIu32
                           " was not merged: RMAN found no copy or no incremental",
                           said->no_copy.items[i].file_no);
    return true;
}

static bool phase_merge(struct run *run, struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    if (!vars || !channel_vars(run, vars, err))
        return false;
    bool ok = run_rman(run, "merge.rman", vars, err);
    struct err why = {0};
    if (!update_suspects(run, ok ? err : &why))
        return false;
    if (!ok || !check_no_op(run, err))
        return false;
    run_say(run, "merge: %zu files brought forward", rmanlog_facts(run->log)->merged.count);
    return true;
}

/* ---- control file, preview, pieces ---- */

static const struct rmanlog_item *last_piece(const struct rmanlog_facts *said,
                                             enum rmanlog_kind kind)
{
    const struct rmanlog_item *found = NULL;
    for (size_t i = 0; i < said->pieces.count; i++)
        if (said->pieces.items[i].kind == kind)
            found = &said->pieces.items[i];
    return found;
}

static bool phase_controlfile(struct run *run, struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    if (!vars ||
        !template_vars_flag(vars, "spfile", facts_parameter_find(run->facts, "spfile")[0] != '\0',
                            err) ||
        !run_sql(run, "controlfile.sql", vars, NULL, NULL, err) ||
        !run_rman(run, "controlfile.rman", vars, err))
        return false;
    const struct rmanlog_item *piece =
        last_piece(rmanlog_facts(run->log), RMANLOG_PIECE_CONTROLFILE);
    if (!piece || !relative_to_area(run, piece->name))
        return err_set(err, ERR_EXTERNAL, "RMAN named no control file piece in the area");
    run_say(run, "control file and spfile backed up");
    return true;
}

static bool phase_preview(struct run *run, struct err *err)
{
    if (!run_rman(run, "preview.rman", NULL, err))
        return false;
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    run_say(run, "RMAN's own word: recovery starts at SCN %" PRIu64 ", must pass SCN %" PRIu64,
            said->preview_start.n, said->preview_fuzzy.n);
    return true;
}

static bool made_in_run(const struct rmanlog_facts *said, const char *handle)
{
    for (size_t i = 0; i < said->pieces.count; i++)
        if (str_equal(said->pieces.items[i].name, handle))
            return true;
    return false;
}

/* Pieces of earlier runs: merged, and inside the "pre" snapshot since. While a merge stands under
 * suspicion they stay: RMAN heals it from them. */
static bool phase_pieces(struct run *run, struct err *err)
{
    AUTO(rows_pieces) struct rows_pieces pieces = {0};
    AUTO(template_vars) struct template_vars *vars = run_vars(run, err);
    if (!vars || !template_vars_list(vars, "pieces", err) ||
        !run_sql(run, "pieces.sql", vars, rows_pieces, &pieces, err))
        return false;
    if (run->suspect_count || run->slow_snapshot)
        return true;
    if (pieces.count && !prune_keep_protected(run, &pieces, err))
        return false;
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    size_t count = 0;
    for (size_t i = 0; i < pieces.count; i++) {
        if (made_in_run(said, pieces.items[i].handle) ||
            !relative_to_area(run, pieces.items[i].handle))
            continue;
        if (!template_list_item(vars, "pieces", pieces.items[i].handle, err))
            return false;
        count++;
    }
    if (count)
        run_say(run, "%zu merged or older pieces go, snapshots keep them", count);
    return !count || run_rman(run, "pieces.rman", vars, err);
}

static void tell_pieces(struct run *run)
{
    const struct rmanlog_facts *said = rmanlog_facts(run->log);
    const struct rmanlog_item *cf = last_piece(said, RMANLOG_PIECE_CONTROLFILE);
    const struct rmanlog_item *sp = last_piece(said, RMANLOG_PIECE_SPFILE);
    const char *path = cf ? relative_to_area(run, cf->name) : NULL;
    if (path)
        IGNORE(
            !str_copy(run->facts->controlfile_piece, sizeof run->facts->controlfile_piece, path));
    path = sp ? relative_to_area(run, sp->name) : NULL;
    if (path)
        IGNORE(!str_copy(run->facts->spfile_piece, sizeof run->facts->spfile_piece, path));
    IGNORE(!str_format(run->facts->controlfile_raw, sizeof run->facts->controlfile_raw,
                       "ctl/%s.ctl", run->job));
    run->facts->preview_start_scn = said->preview_start;
    run->facts->preview_fuzzy_scn = said->preview_fuzzy;
}

static bool phase_post(struct run *run, struct err *err)
{
    if (!ask_facts(run, "post", err) || !switch_and_await(run, err))
        return false;
    tell_pieces(run);
    return write_facts(run, err) && take_snapshot(run, "post", err);
}

/* ---- the run ---- */

static const struct {
    const char *name;
    bool (*fn)(struct run *run, struct err *err);
} phases[] = {
    {"logs", phase_logs},
    {"pre", phase_pre},
    {"stale", phase_stale},
    {"guard", phase_guard},
    {"level1", phase_level1},
    {"merge", phase_merge},
    {"controlfile", phase_controlfile},
    {"preview", phase_preview},
    {"pieces", phase_pieces},
    {"prune", prune_logs},
    {"post", phase_post},
};

/* A protobuf string must be UTF-8, and texts are cut at fixed lengths or come from RMAN as bytes:
 * an unsendable cause would leave the run open and its suspects untold. */
static char *wire_text(const char *text, char *to, size_t size)
{
    IGNORE(!str_copy(to, size, text)); /* cut is fine */
    for (char *p = str_is_utf8(to, strlen(to)) ? to + strlen(to) : to; *p; p++)
        if (*p & 0x80)
            *p = '?';
    return to;
}

/* A lost lease ends the run; an agent that is away for a moment does not. */
static bool report_phase(struct run *run, int verdict, const char *text, struct err *err)
{
    Evercopy__V1__ReportPhaseRequest request = EVERCOPY__V1__REPORT_PHASE_REQUEST__INIT;
    struct err why = {0};
    char cause[480];
    request.job = run->job;
    request.fencing_token = run->token;
    request.phase = (char *)run->phase;
    request.verdict = (Evercopy__V1__Verdict)verdict;
    request.text = wire_text(text, cause, sizeof cause);
    /* The agent must know that a merge begins: if we die in it, the copies are suspect. */
    bool must_be_known = str_equal(run->phase, "merge") && !verdict;
    AUTO(reply)
    ProtobufCMessage *message = run_call_within(
        run, "Backups", "ReportPhase", &request.base, &evercopy__v1__report_phase_reply__descriptor,
        SHIM_CALL_MS, must_be_known ? run->shim->db->agentwait_s * 1000 : 0, false, &why);
    if (!message && (!err_is_transient(why.code) || must_be_known)) {
        *err = why;
        return false;
    }
    if (message)
        run_note_cancel(run, ((Evercopy__V1__ReportPhaseReply *)message)->cancelled_by);
    return true;
}

static bool run_phases(struct run *run, struct err *err)
{
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        run->phase = phases[i].name;
        run->step = i;
        run->steps = sizeof phases / sizeof *phases;
        if (run_is_stopped(run))
            return run_stopped(run, err);
        if (!report_phase(run, 0, "", err))
            return false;
        if (!phases[i].fn(run, err)) {
            struct err ignored = {0};
            IGNORE(
                !report_phase(run, WIRE_FAILED, err->text, &ignored)); /* finish tells it again */
            return false;
        }
        if (!report_phase(run, WIRE_OK, "", err))
            return false;
    }
    return true;
}

/* How the run ended, as it is told to the agent: now, or by the next shim out of the spool. */
struct ending {
    Evercopy__V1__FinishBackupRequest request;
    char key[33];
    char cause[512], next[256];
};

static void fill_ending(const struct run *run, const struct err *failure, struct ending *e)
{
    bool failed = failure->code != ERR_NONE;
    evercopy__v1__finish_backup_request__init(&e->request);
    shim_key(e->key);
    e->request.idempotency_key = e->key;
    e->request.job = (char *)run->job;
    e->request.fencing_token = run->token;
    e->request.verdict = failed ? WIRE_FAILED : run->warning[0] ? WIRE_WARNING : WIRE_OK;
    e->request.phase = (char *)(failed || run->warning[0] ? run->phase : "");
    e->request.cause = wire_text(failed ? failure->text : run->warning, e->cause, sizeof e->cause);
    e->request.next = wire_text(run->next, e->next, sizeof e->next);
    e->request.suspect_files = run->suspects;
    e->request.n_suspect_files = run->suspect_count;
}

static char *ending_json(const struct ending *e, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    json_t *suspects = json_array();
    if (!json_put(doc, "suspects", suspects, err) ||
        !json_put_u64(doc, "verdict", (uint64_t)e->request.verdict, err) ||
        !json_put_text(doc, "phase", e->request.phase, err) ||
        !json_put_text(doc, "cause", e->request.cause, err) ||
        !json_put_text(doc, "next", e->request.next, err))
        return NULL;
    for (size_t i = 0; i < e->request.n_suspect_files; i++)
        if (!json_add(suspects, json_integer(e->request.suspect_files[i]), err))
            return NULL;
    return json_format(doc, err);
}

/* A run that could not do without the agent and has waited for it does not wait as long again. */
static ProtobufCMessage *finish(struct run *run, const struct err *failure, struct err *err)
{
    struct ending e;
    fill_ending(run, failure, &e);
    bool hurry = failure->code == ERR_CANCELLED || failure->code == ERR_UNAVAILABLE;
    uint64_t wait_ms = run->shim->db->agentwait_s * 1000;
    if (hurry && wait_ms > AGENT_BACK_MS)
        wait_ms = AGENT_BACK_MS;
    run_flush(run);
    ProtobufCMessage *reply = run_call_within(run, "Backups", "FinishBackup", &e.request.base,
                                              &evercopy__v1__finish_backup_reply__descriptor,
                                              SHIM_CALL_MS, wait_ms, hurry, err);
    bool heard = reply || shim_is_final(err);
    if (!heard) {
        struct err why = {0};
        AUTO(mem) char *json = ending_json(&e, &why);
        if (!json || !spool_verdict_put(run->spool, json, &why))
            run_say(run, "the verdict cannot be kept for the agent: %s", why.text);
    }
    run->ended = reply != NULL;
    run_flush(run);
    const char *left = spool_end(run->spool, !heard || (reply && spool_waiting(run->spool)));
    if (left[0])
        run_say(run, "the next call on this host tells the agent: '%s'", left);
    return reply;
}

/* The first line of stderr says it all, and stdout repeats it (the scheduler keeps either). */
static int conclude(struct run *run, enum verdict_kind kind, const char *phase, const char *cause)
{
    char line[VERDICT_LINE_MAX + 1];
    int code = verdict_exit(kind, run->shim->options->strict || run->shim->db->strict);
    progress_clear();
    verdict_line(kind, run->shim->db->name, phase, cause, run->job, line);
    fprintf(stderr, "%s\n", line);
    if (!run->shim->options->json)
        printf("%s\n", line);
    else
        words_print_run(run->shim->db->name, run->job, kind, phase, cause, run->next, code);
    if (run->next[0])
        fprintf(stderr, "next: %s\n", run->next);
    return code;
}

static int conclude_reply(struct run *run, const Evercopy__V1__FinishBackupReply *reply,
                          const struct err *failure)
{
    static const enum verdict_kind kinds[] = {VERDICT_UNKNOWN, VERDICT_OK, VERDICT_WARNING,
                                              VERDICT_FAILED, VERDICT_UNKNOWN};
    char time[48];
    char text[200];
    const struct facts *facts = run->facts ? run->facts : run->before;
    int offset = facts->moments[facts->moment_count - 1].offset_min;
    enum verdict_kind kind = (unsigned)reply->verdict < 5 ? kinds[reply->verdict] : VERDICT_UNKNOWN;
    if (failure->code == ERR_CANCELLED)
        kind = VERDICT_STOPPED;
    IGNORE(!str_copy(run->next, sizeof run->next, reply->next));
    for (size_t i = 0; i < reply->n_findings; i++)
        run_say(run, "finding: %s", reply->findings[i]);
    shim_time(reply->recoverable_to_time_us, offset, time);
    IGNORE(!str_format(text, sizeof text, "recoverable to SCN %" PRIu64 " (%s)",
                       reply->recoverable_to_scn, time));
    return conclude(run, kind, reply->phase, reply->cause[0] ? reply->cause : text);
}

/* A certificate that ends would end the backups: renewed in time, and no reason to fail a run. */
static void renew_in_time(struct run *run)
{
    char until[32];
    bool due = false;
    struct err err = {0};
    if (!renew_is_due(run->shim, &due, &err) || (due && !renew_now(run->shim, until, &err)))
        run_say(run, "warning: this host's certificate could not be renewed: %s", err.text);
    else if (due)
        run_say(run, "this host's certificate was renewed, valid until %s", until);
}

static int run_granted(struct run *run)
{
    struct err failure = {0};
    struct err err = {0};
    rpc_client_on_wait(run->shim->client, run_waits, run);
    run_say(run, "run %s begins%s", run->job, run->first_run ? ": the first of this database" : "");
    look_at_mount(run);
    if (run_phases(run, &failure) && run->holes.count) {
        run->phase =
            "logs"; /* the new base is beyond the hole; moments in it are lost, and it says so */
        err_set(&failure, ERR_EXTERNAL, "%s", run->warning);
    }
    rpc_client_on_wait(run->shim->client, NULL,
                       NULL); /* the end is told also when we were stopped */
    renew_in_time(run);
    AUTO(reply) ProtobufCMessage *reply = finish(run, &failure, &err);
    if (reply)
        return conclude_reply(run, (Evercopy__V1__FinishBackupReply *)reply, &failure);
    if (failure.code != ERR_NONE)
        return conclude(run, verdict_from_err(&failure), run->phase, failure.text);
    return conclude(run, verdict_from_err(&err), "finish", err.text);
}

int verb_backup(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    AUTO(run) struct run run = {.shim = &shim};
    struct err err = {0};
    run_catch_signals();
    progress_begin(!options->quiet && !options->json);
    run.phase = "config";
    bool ok = shim_open(&shim, options, db, &err);
    /* An agent that does not answer is told within seconds, before the database is asked anything.
     */
    run.phase = ok ? "agent" : run.phase;
    ok = ok && shim_connect(&shim, &err) && shim_is_answering(&shim, &err);
    run.phase = ok ? "facts" : run.phase;
    ok = ok && run_keep_log(&run, &err) && check_area(&run, &err) && run_probe(&run, &err);
    ok = ok && (run.before = run_facts(&run, "begin", NULL, &err)) && check_database(&run, &err);
    run.phase = ok ? "begin" : run.phase;
    if (!ok || !begin(&run, &err))
        return shim_report(&shim, db, run.phase, &err);
    return run_granted(&run);
}
