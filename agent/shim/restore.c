/* evercopy restore: a thin clone, a sandbox instance, recovery to the target, opened read only. */
#include "agent/shim/run.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "agent/shim/pages.h"
#include "agent/shim/progress.h"
#include "agent/shim/reach.h"
#include "agent/shim/words.h"
#include "evercopy/v1/databases.pb-c.h"
#include "evercopy/v1/recovery.pb-c.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* While it works the clone's lease is short and made longer again and again, so that a killed
 * restore leaves nothing for long; what is handed over is kept for a day, or as --lease says. */
enum { WORK_LEASE_S = 3600, EXTEND_MS = 600 * 1000, KEEP_LEASE_S = 86400, MARK_MAX = 16384 };
#define MARK ".evercopy-sandbox"
#define SID_SIGNS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define DB_NAME_SIGNS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_$#"

struct restore {
    struct run *run;
    ProtobufCMessage *message, *listed, *mounts; /* what clone, recipe and mount point into */
    const Evercopy__V1__Clone *clone;
    const Evercopy__V1__Recipe *recipe;
    const char *mount;   /* of the clone, as its storage says now */
    struct reach reach;  /* where the clone is on this host */
    char dest[PATH_MAX]; /* of the sandbox */
    char sid[64], unique_name[64];
    struct rows_restore names;
    uint64_t extended_ms; /* when the clone's lease was made longer last */
    bool started;         /* an instance of ours may be up */
    bool made_dest;
    bool made_clone; /* ours to drop */
};

static void restore_done(struct restore *r)
{
    shim_free_reply(r->message);
    shim_free_reply(r->listed);
    shim_free_reply(r->mounts);
    rows_restore_done(&r->names);
}
OWN_DEFINE_INPLACE(restore, struct restore, restore_done);

/* ---- clone ---- */

static bool make_clone(struct restore *r, struct err *err)
{
    struct shim *shim = r->run->shim;
    Evercopy__V1__CreateCloneRequest request = EVERCOPY__V1__CREATE_CLONE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)shim->db->name;
    request.name = (char *)(shim->options->name ? shim->options->name : "");
    request.purpose = (char *)"restore";
    request.lease_s = WORK_LEASE_S;
    if (!shim_target(shim, &request.scn, &request.time_us, err))
        return false;
    r->message = pages_create_clone(shim, &request, err);
    if (!r->message)
        return false;
    r->clone = ((Evercopy__V1__CreateCloneReply *)r->message)->clone;
    r->recipe = ((Evercopy__V1__CreateCloneReply *)r->message)->recipe;
    if (!r->clone || !r->recipe)
        return err_set(err, ERR_INTERNAL, "the agent gave no recipe");
    r->made_clone = true;
    r->mount = r->clone->mount;
    return true;
}

/* Files of the clone's own snapshot alone: of another they are not in it. */
static bool is_all_of(const Evercopy__V1__Recipe *recipe, const char *snapshot)
{
    bool all = str_equal(recipe->controlfile_snapshot, snapshot);
    for (size_t i = 0; all && i < recipe->n_files; i++)
        all = str_equal(recipe->files[i]->snapshot, snapshot);
    for (size_t i = 0; all && i < recipe->n_logs; i++)
        all = str_equal(recipe->logs[i]->snapshot, snapshot);
    return all;
}

static const Evercopy__V1__Clone *listed_clone(struct restore *r, const char *name, struct err *err)
{
    Evercopy__V1__ListClonesRequest request = EVERCOPY__V1__LIST_CLONES_REQUEST__INIT;
    request.db_unique_name = (char *)r->run->shim->db->name;
    r->listed = shim_call(r->run->shim, "Clones", "ListClones", &request.base,
                          &evercopy__v1__list_clones_reply__descriptor, SHIM_CALL_MS, err);
    if (!r->listed)
        return NULL;
    const Evercopy__V1__ListClonesReply *reply = (Evercopy__V1__ListClonesReply *)r->listed;
    for (size_t i = 0; i < reply->n_clones; i++)
        if (str_equal(reply->clones[i]->name, name))
            return reply->clones[i];
    err_set(err, ERR_NOT_FOUND, "'%s' has no clone '%.100s'", request.db_unique_name, name);
    return NULL;
}

/* Its storage may have been started anew since, and serve at another port. */
static bool ask_mount(struct restore *r, struct err *err)
{
    Evercopy__V1__ListMountsRequest request = EVERCOPY__V1__LIST_MOUNTS_REQUEST__INIT;
    request.db_unique_name = (char *)r->run->shim->db->name;
    r->mounts = shim_call(r->run->shim, "Databases", "ListMounts", &request.base,
                          &evercopy__v1__list_mounts_reply__descriptor, SHIM_CALL_MS, err);
    if (!r->mounts)
        return false;
    const Evercopy__V1__ListMountsReply *reply = (Evercopy__V1__ListMountsReply *)r->mounts;
    for (size_t i = 0; i < reply->n_mounts; i++)
        if (str_equal(reply->mounts[i]->clone, r->clone->name) && reply->mounts[i]->mount[0])
            r->mount = reply->mounts[i]->mount;
    return true;
}

/* One that was made before: its recipe is worked out again, and must still be that one's. */
static bool find_clone(struct restore *r, struct err *err)
{
    struct shim *shim = r->run->shim;
    const struct shim_options *o = shim->options;
    uint64_t scn = 0, time_us = 0;
    const Evercopy__V1__Clone *clone = listed_clone(r, o->clone, err);
    if (!clone || ((o->to || o->scn || !clone->scn) && !shim_target(shim, &scn, &time_us, err)))
        return false;
    if (clone->scn && (time_us || (scn && scn != clone->scn)))
        return err_set(err, ERR_INVALID, "clone '%s' holds just the files that reach SCN %" PRIu64,
                       clone->name, clone->scn);
    r->message = pages_plan(shim, clone->scn ? clone->scn : scn, time_us, err);
    if (!r->message)
        return false;
    r->recipe = ((Evercopy__V1__PlanRecoveryReply *)r->message)->recipe;
    if (!str_equal(r->recipe->base_snapshot, clone->snapshot) ||
        (!clone->scn && !is_all_of(r->recipe, clone->snapshot)))
        return err_set(err, ERR_PRECONDITION,
                       "clone '%s' of '%s' does not hold what reaches that target (base '%s')",
                       clone->name, clone->snapshot, r->recipe->base_snapshot);
    r->clone = clone;
    r->mount = clone->mount;
    return ask_mount(r, err);
}

static bool have_clone(struct restore *r, struct err *err)
{
    struct shim *shim = r->run->shim;
    if (shim->options->clone && shim->options->name)
        return err_set(err, ERR_INVALID, "--clone names one that is there, --name a new one");
    if (shim->options->mounted && !shim->options->clone)
        return err_set(err, ERR_INVALID, "--mounted needs --clone: which one is mounted there?");
    if (!shim_connect(shim, err))
        return false;
    rpc_client_on_wait(shim->client, run_waits, r->run);
    if (!(shim->options->clone ? find_clone(r, err) : make_clone(r, err)))
        return false;
    run_say(r->run, "clone '%s': %zu datafiles of '%s', %zu logs%s", r->clone->name,
            r->recipe->n_files, r->recipe->base_snapshot, r->recipe->n_logs,
            r->recipe->composed ? " (composed of several snapshots)" : "");
    return true;
}

static void drop_clone(const struct restore *r, const char *name)
{
    struct err err = {0};
    Evercopy__V1__DropCloneRequest request = EVERCOPY__V1__DROP_CLONE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)r->run->shim->db->name;
    request.name = (char *)name;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(r->run->shim, "Clones", "DropClone", &request.base,
                  &evercopy__v1__drop_clone_reply__descriptor, SHIM_SNAPSHOT_MS, &err);
    if (!reply && err.code != ERR_NOT_FOUND)
        run_say(r->run, "clone '%s' stays until its lease ends: %s", name, err.text);
}

static bool extend_lease(struct restore *r, uint32_t lease_s, struct err *err)
{
    Evercopy__V1__ExtendCloneRequest request = EVERCOPY__V1__EXTEND_CLONE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)r->run->shim->db->name;
    request.name = r->clone->name;
    request.lease_s = lease_s;
    r->extended_ms = clock_mono_ms();
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(r->run->shim, "Clones", "ExtendClone", &request.base,
                  &evercopy__v1__extend_clone_reply__descriptor, SHIM_CALL_MS, err);
    return reply != NULL;
}

/* Asked while a tool runs; one failure is no reason to stop, the lease is long enough for more. */
static void keep_lease(void *arg)
{
    struct restore *r = arg;
    struct err err = {0};
    if (r->clone && clock_mono_ms() - r->extended_ms > EXTEND_MS &&
        !extend_lease(r, WORK_LEASE_S, &err))
        run_say(r->run, "the lease of clone '%s' is not extended: %s", r->clone->name, err.text);
}

/* ---- sandbox ---- */

/* Says whose sandbox it is, so that one whose restore was killed can be told from one in use. */
static bool write_mark(const struct restore *r, const char *state, struct err *err)
{
    char path[PATH_MAX];
    char space[80];
    run_process_space(space);
    AUTO(json) json_t *doc = json_object();
    if (!str_format(path, sizeof path, "%s/" MARK, r->dest))
        return err_set(err, ERR_INVALID, "sandbox path is too long");
    if (!json_put_text(doc, "state", state, err) || !json_put_text(doc, "processes", space, err) ||
        !json_put_u64(doc, "pid", (uint64_t)getpid(), err) ||
        !json_put_u64(doc, "start", run_process_start((uint32_t)getpid()), err) ||
        !json_put_text(doc, "sid", r->sid, err) ||
        !json_put_text(doc, "clone", r->made_clone ? r->clone->name : "", err) ||
        !json_put_text(doc, "mounted", r->reach.mounted, err))
        return false;
    AUTO(mem) char *text = json_format(doc, err);
    return text && sys_write_file(path, text, strlen(text), 0640, err);
}

/* The mark of a restore that was killed on this very host; NULL when it is none. */
static json_t *read_dead_mark(const struct restore *r)
{
    char path[PATH_MAX];
    char space[80];
    size_t len;
    struct err none = {0};
    run_process_space(space);
    if (!str_format(path, sizeof path, "%s/" MARK, r->dest))
        return NULL;
    AUTO(mem) char *text = sys_read_file(path, MARK_MAX, &len, &none);
    AUTO(json) json_t *doc = text ? json_parse(text, len, &none) : NULL;
    const char *sid = doc ? json_text(doc, "sid") : "";
    if (!doc || !str_equal(json_text(doc, "state"), "working") || !space[0] ||
        !str_equal(json_text(doc, "processes"), space) || !json_u64(doc, "start") ||
        run_process_start((uint32_t)json_u64(doc, "pid")) == json_u64(doc, "start") ||
        strspn(sid, SID_SIGNS) != strlen(sid))
        return NULL;
    return TAKE(doc);
}

/* What a killed restore left in this sandbox goes: its instance, its clone, its files. */
static bool sweep_dead(struct restore *r, struct err *err)
{
    AUTO(json) json_t *mark = read_dead_mark(r);
    if (!mark)
        return true;
    const char *sid = json_text(mark, "sid");
    const char *clone = json_text(mark, "clone");
    char own[sizeof r->run->home.sid];
    IGNORE(!str_copy(own, sizeof own, r->run->home.sid));
    run_say(r->run, "sandbox '%s' was left by a restore that was killed: it is cleared", r->dest);
    if (sid[0] && !str_equal_fold(sid, own)) {
        struct err why = {0};
        IGNORE(!str_copy(r->run->home.sid, sizeof r->run->home.sid, sid));
        if (!run_sql(r->run, "shutdown.sql", NULL, NULL, NULL, &why))
            run_say(r->run, "its instance '%s': %s", sid, why.text);
        IGNORE(!str_copy(r->run->home.sid, sizeof r->run->home.sid, own));
    }
    if (json_text(mark, "mounted")[0] && !reach_sweep(r->run, json_text(mark, "mounted"), err))
        return err_wrap(err, "sandbox '%.200s' and its clone stay", r->dest);
    if (clone[0])
        drop_clone(r, clone);
    return sys_remove_tree(r->dest, err);
}

/* An empty or new folder: nothing of anybody else's can be in the way. */
static bool make_sandbox(struct restore *r, struct err *err)
{
    const struct shim *shim = r->run->shim;
    const char *dest = shim->options->dest ? shim->options->dest : shim->db->sandbox_destination;
    AUTO(sys_names) struct sys_names names = {0};
    if (!dest[0] || dest[0] != '/')
        return err_set(err, ERR_CONFIG,
                       "the sandbox needs a folder: --dest DIR or key 'autorestoredestination'");
    if (!str_copy(r->dest, sizeof r->dest, dest) || !sweep_dead(r, err) ||
        !sys_mkdirs(dest, 0750, err) || !sys_list(dest, &names, err))
        return false;
    if (names.count)
        return err_set(err, ERR_PRECONDITION, "sandbox '%s' is not empty ('%s')", dest,
                       names.names[0]);
    char mark[PATH_MAX];
    if (!str_format(mark, sizeof mark, "%s/" MARK, dest))
        return err_set(err, ERR_INVALID, "sandbox path is too long");
    AUTO(fd) int fd = sys_open(mark, O_WRONLY | O_CREAT | O_EXCL, 0640, err);
    r->made_dest = fd >= 0; /* ours alone from here on: only then may it be removed */
    return r->made_dest && write_mark(r, "working", err);
}

/* Any instance of that SID on this host, whoever runs it: its background process is named for it.
 */
static bool sid_is_free(const char *sid, struct err *err)
{
    AUTO(sys_names) struct sys_names names = {0};
    char wanted[96];
    IGNORE(!str_format(wanted, sizeof wanted, "ora_pmon_%s", sid));
    if (!sys_list("/proc", &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        char path[300];
        char text[96] = "";
        struct err gone = {0};
        if (names.names[i][0] < '1' || names.names[i][0] > '9' ||
            !str_format(path, sizeof path, "/proc/%.20s/cmdline", names.names[i]))
            continue;
        AUTO(fd) int fd = sys_open(path, O_RDONLY, 0, &gone);
        if (fd >= 0 && sys_pread(fd, text, sizeof text - 1, 0, path, &gone) > 0 &&
            str_equal_fold(text, wanted))
            return err_set(err, ERR_PRECONDITION, "an instance '%s' is up on this host already",
                           sid);
    }
    return true;
}

static bool name_instance(struct restore *r, struct err *err)
{
    const struct shim *shim = r->run->shim;
    IGNORE(
        !str_format(r->sid, sizeof r->sid, "%.5sR%u", shim->db->sid, (unsigned)getpid() % 10000));
    if (shim->options->sid && !str_copy(r->sid, sizeof r->sid, shim->options->sid))
        return err_set(err, ERR_INVALID, "--sid is too long");
    IGNORE(
        !str_format(r->unique_name, sizeof r->unique_name, "%.20s_%.8s", shim->db->name, r->sid));
    if (str_equal_fold(r->sid, r->run->home.sid))
        return err_set(err, ERR_PRECONDITION, "the sandbox may not use production's SID '%s'",
                       r->sid);
    if (strspn(r->sid, SID_SIGNS) != strlen(r->sid))
        return err_set(err, ERR_INVALID, "'%s' is no SID: letters, digits and '_' only", r->sid);
    if (!sid_is_free(r->sid, err))
        return false;
    IGNORE(!str_copy(r->run->home.sid, sizeof r->run->home.sid, r->sid));
    return write_mark(r, "working", err); /* before there is an instance of that name */
}

/* The mark names the mount before it is made: the next restore takes it away when this one dies. */
static bool reach_clone(struct restore *r, struct err *err)
{
    if (reach_plan(&r->reach, r->run, r->clone->name, r->mount, err)) {
        struct err none = {0};
        if (!write_mark(r, "working", err))
            return false;
        if (reach_enter(&r->reach, r->run, err))
            return true;
        if (!r->reach.mounted[0])
            IGNORE(!write_mark(r, "working", &none)); /* it goes in a moment */
        return false;
    }
    r->made_clone = r->made_clone && !r->reach.is_handed;
    return false;
}

static const char *parameter(const struct restore *r, const char *name)
{
    for (size_t i = 0; i < r->recipe->n_parameters; i++)
        if (str_equal(r->recipe->parameters[i]->name, name))
            return r->recipe->parameters[i]->value;
    return "";
}

static void put_parameter(const struct restore *r, struct str *text, const char *name)
{
    const char *value = parameter(r, name);
    if (value[0] && !strpbrk(value, "'\n\r"))
        str_printf(text, "*.%s='%s'\n", name, value);
}

/* By allow-list: nothing production's file says gets in unasked (oracle-semantics 15). */
static bool write_pfile(struct restore *r, char path[PATH_MAX], struct err *err)
{
    static const char *const kept[] = {"compatible",      "db_block_size",
                                       "db_files",        "undo_tablespace",
                                       "undo_management", "enable_pluggable_database"};
    AUTO(str) struct str text = {0};
    const char *name = r->recipe->db_name;
    if (!name[0] || strspn(name, DB_NAME_SIGNS) != strlen(name))
        return err_set(err, ERR_INVALID, "the recipe's database name '%s' is none", name);
    str_printf(&text, "*.db_name='%s'\n*.db_unique_name='%s'\n", r->recipe->db_name,
               r->unique_name);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        put_parameter(r, &text, kept[i]);
    str_printf(&text, "*.control_files='%s/control01.ctl'\n", r->dest);
    str_printf(&text, "*.db_create_file_dest='%s'\n*.diagnostic_dest='%s'\n", r->dest, r->dest);
    str_printf(&text, "*.log_archive_dest_1='LOCATION=%s'\n", r->dest);
    str_printf(&text, "*.sga_target=%s\n*.pga_aggregate_target=%s\n", r->run->shim->db->sandbox_sga,
               r->run->shim->db->sandbox_pga);
    str_append(&text, "*.job_queue_processes=0\n*.dispatchers=''\n*.local_listener=''\n"
                      "*.remote_listener=''\n*.fal_server=''\n*.log_archive_config=''\n"
                      "*.dg_broker_start=false\n*.cluster_database=false\n");
    return str_ok(&text, err) && str_format(path, PATH_MAX, "%s/init%s.ora", r->dest, r->sid) &&
           sys_write_file(path, text.text, text.len, 0640, err);
}

static bool start_instance(struct restore *r, struct err *err)
{
    char pfile[PATH_MAX];
    char piece[PATH_MAX];
    AUTO(template_vars) struct template_vars *vars = run_vars(r->run, err);
    if (!vars || !write_pfile(r, pfile, err) || !template_vars_text(vars, "pfile", pfile, err) ||
        !str_format(piece, sizeof piece, "%s/%.*s", r->reach.root, (int)r->recipe->controlfile.len,
                    (const char *)r->recipe->controlfile.data) ||
        !template_vars_text(vars, "controlfile", piece, err))
        return false;
    bool up = run_sql(r->run, "restore-startup.sql", vars, NULL, NULL, err);
    /* ORA-01081: that instance is somebody else's; ours is only what we started or were stopped in.
     */
    r->started = up || err->code == ERR_CANCELLED || err->code == ERR_TIMEOUT;
    return up && run_rman(r->run, "restore-controlfile.rman", vars, err);
}

/* ---- fences ---- */

static bool is_inside(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && path[len] == '/' && !strstr(path, "/../");
}

/* The restored control file still names production's files; recovery or open could write to those
 * that can be reached from here (oracle-semantics 14). */
static bool check_fences(struct restore *r, struct err *err)
{
    struct stat st;
    for (size_t i = 0; i < r->names.count; i++) {
        const char *name = r->names.items[i].name;
        if (is_inside(name, r->dest) || is_inside(name, r->reach.root))
            continue;
        /* "Permission denied" and "stale handle" are no proof that the server cannot reach it. */
        if (name[0] == '+' || stat(name, &st) == 0 || (errno != ENOENT && errno != ENOTDIR))
            return err_set(err, ERR_PRECONDITION,
                           "%s '%s' of production can be reached from this host: a restore here "
                           "could write to it",
                           r->names.items[i].kind, name);
    }
    if (r->names.dbid != r->recipe->dbid)
        return err_set(err, ERR_CORRUPT, "the restored control file is of dbid %" PRIu32,
                       r->names.dbid);
    return true;
}

static bool ask_names(struct restore *r, struct err *err)
{
    rows_restore_done(&r->names);
    r->names = (struct rows_restore){0};
    return run_sql(r->run, "restore-names.sql", NULL, rows_restore, &r->names, err);
}

static bool add_rename(struct restore *r, struct template_vars *vars, size_t i, struct err *err)
{
    char to[PATH_MAX];
    const struct rows_name *from = &r->names.items[i];
    if (!str_equal(from->kind, "logfile") && !str_equal(from->kind, "tempfile"))
        return true;
    return str_format(to, sizeof to, "%s/%s%" PRIu32 "_%zu.dbf", r->dest, from->kind, from->number,
                      i) &&
           template_list_row(vars, "renames", err) &&
           template_row_text(vars, "renames", "from", from->name, err) &&
           template_row_text(vars, "renames", "to", to, err);
}

static bool prepare(struct restore *r, struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = run_vars(r->run, err);
    if (!vars || !template_vars_list(vars, "renames", err) ||
        !template_vars_flag(vars, "flashback", r->names.flashback, err) ||
        !template_vars_flag(vars, "tracking", r->names.tracking, err))
        return false;
    for (size_t i = 0; i < r->names.count; i++)
        if (!add_rename(r, vars, i, err))
            return false;
    return run_sql(r->run, "restore-prepare.sql", vars, NULL, NULL, err);
}

/* Before open: any name that leads outside stops the job. Tracking is off by now, its old name
 * stays. */
static bool check_names_again(struct restore *r, struct err *err)
{
    if (!ask_names(r, err))
        return false;
    for (size_t i = 0; i < r->names.count; i++) {
        const struct rows_name *n = &r->names.items[i];
        if (!str_equal(n->kind, "tracking") && !is_inside(n->name, r->dest) &&
            !is_inside(n->name, r->reach.root))
            return err_set(err, ERR_PRECONDITION, "%s '%s' lies outside the sandbox", n->kind,
                           n->name);
    }
    return true;
}

/* ---- recovery ---- */

static bool add_path(struct restore *r, struct template_vars *vars, const char *list,
                     ProtobufCBinaryData path, struct err *err)
{
    char full[PATH_MAX];
    return str_format(full, sizeof full, "%s/%.*s", r->reach.root, (int)path.len,
                      (const char *)path.data) &&
           template_list_row(vars, list, err) && template_row_text(vars, list, "path", full, err);
}

/* The incarnation number as the restored control file counts them; 0 when the current one is right.
 */
static bool find_incarnation(const struct restore *r, uint32_t *ret_number, struct err *err)
{
    *ret_number = 0;
    for (size_t i = 0; i < r->names.incarnation_count; i++) {
        const struct facts_incarnation *inc = &r->names.incarnations[i];
        if (inc->resetlogs_id != r->recipe->resetlogs_id)
            continue;
        if (!str_equal(inc->status, "CURRENT"))
            *ret_number = inc->number;
        return true;
    }
    return err_set(err, ERR_CORRUPT, "the restored control file does not know incarnation %" PRIu32,
                   r->recipe->resetlogs_id);
}

static bool recover(struct restore *r, struct err *err)
{
    uint32_t incarnation;
    AUTO(template_vars) struct template_vars *vars = run_vars(r->run, err);
    if (!vars || !find_incarnation(r, &incarnation, err) ||
        !template_vars_list(vars, "files", err) || !template_vars_list(vars, "logs", err) ||
        !template_vars_number(vars, "until_scn", r->recipe->until_scn, err) ||
        !template_vars_number(vars, "incarnation_no", incarnation, err) ||
        !template_vars_flag(vars, "incarnation", incarnation != 0, err))
        return false;
    for (size_t i = 0; i < r->recipe->n_files; i++)
        if (!add_path(r, vars, "files", r->recipe->files[i]->path, err) ||
            !template_row_number(vars, "files", "file", r->recipe->files[i]->file_no, err))
            return false;
    for (size_t i = 0; i < r->recipe->n_logs; i++)
        if (!add_path(r, vars, "logs", r->recipe->logs[i]->path, err))
            return false;
    run_say(r->run, "recovering to SCN %" PRIu64 " (exclusive)", r->recipe->until_scn);
    return run_rman(r->run, "restore-recipe.rman", vars, err) &&
           run_rman(r->run, "restore-recover.rman", vars, err);
}

/* The agent reads the clone's own headers: they, not RMAN's word, are the proof. */
static bool prove(struct restore *r, struct err *err)
{
    Evercopy__V1__ProveCloneRequest request = EVERCOPY__V1__PROVE_CLONE_REQUEST__INIT;
    request.db_unique_name = (char *)r->run->shim->db->name;
    request.clone = r->clone->name;
    request.until_scn = r->recipe->until_scn;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(r->run->shim, "Recovery", "ProveClone", &request.base,
                  &evercopy__v1__prove_clone_reply__descriptor, SHIM_SNAPSHOT_MS, err);
    if (!message)
        return false;
    const Evercopy__V1__ProveCloneReply *reply = (const void *)message;
    if (!reply->proven)
        return err_set(err, ERR_CORRUPT, "the recovered files do not prove the target: %s",
                       reply->n_findings ? reply->findings[0] : "no reason given");
    run_say(r->run, "the files' own headers: %" PRIu32 " datafiles, all at SCN %" PRIu64,
            reply->files, reply->checkpoint_scn);
    return true;
}

static bool open_database(struct restore *r, struct err *err)
{
    AUTO(template_vars) struct template_vars *vars = run_vars(r->run, err);
    struct rows_opened opened = {0};
    bool ok = vars && template_vars_flag(vars, "cdb", r->recipe->cdb, err) &&
              run_sql(r->run, "restore-open.sql", vars, rows_opened, &opened, err);
    if (ok)
        run_say(r->run, "database open %s as instance %s", opened.open_mode, r->sid);
    rows_opened_done(&opened);
    return ok;
}

/* From here on it is somebody's: no later restore clears it, and the clone is kept for longer. */
static bool hand_over(struct restore *r, struct err *err)
{
    uint32_t lease_s = 0;
    struct err why = {0};
    if (!shim_duration(r->run->shim->options->lease, &lease_s, err))
        return false;
    if (!extend_lease(r, lease_s ? lease_s : KEEP_LEASE_S, &why))
        run_say(r->run, "extend it within the hour: evercopy clone extend %s %s --for 1d (%s)",
                r->run->shim->db->name, r->clone->name, why.text);
    return write_mark(r, "open", err);
}

static bool run_restore(struct restore *r, struct err *err)
{
    return run_probe_home(r->run, err) && make_sandbox(r, err) && have_clone(r, err) &&
           reach_clone(r, err) && name_instance(r, err) && start_instance(r, err) &&
           ask_names(r, err) && check_fences(r, err) && prepare(r, err) && recover(r, err) &&
           prove(r, err) && check_names_again(r, err) && open_database(r, err) && hand_over(r, err);
}

/* A start that was stopped half-way may have left no instance at all: nothing to shut down. */
static bool says_not_running(const struct err *err)
{
    return strstr(err->text, "ORA-01034") || strstr(err->text, "ORA-27101");
}

static void give_up(struct restore *r)
{
    struct err err = {0};
    if (r->run->shim->client)
        rpc_client_on_wait(r->run->shim->client, NULL, NULL);
    run_forget_stop(); /* the shutdown itself must not be cancelled by the signal that led here */
    if (r->started && !run_sql(r->run, "shutdown.sql", NULL, NULL, NULL, &err) &&
        !says_not_running(&err)) {
        run_say(r->run, "the sandbox instance %s may still be up (%s): clone and sandbox '%s' stay",
                r->sid, err.text, r->dest);
        return;
    }
    if (!reach_leave(&r->reach, r->run, &err)) { /* the mark names both for the next restore */
        run_say(r->run, "the clone, its mount and sandbox '%s' stay: %s", r->dest, err.text);
        return;
    }
    if (r->made_clone && !r->run->shim->options->keep)
        drop_clone(r, r->clone->name);
    if (r->made_dest && !sys_remove_tree(r->dest, &err))
        run_say(r->run, "sandbox '%s' is left behind: %s", r->dest, err.text);
}

static bool print_restored(const struct restore *r, const char *db, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    return json_put_text(doc, "database", db, err) &&
           json_put_u64(doc, "until_scn", r->recipe->until_scn, err) &&
           words_put_time(doc, "until", r->recipe->until_time_us, err) &&
           json_put_text(doc, "sid", r->sid, err) &&
           json_put_text(doc, "clone", r->clone->name, err) &&
           words_put_bytes(doc, "sandbox", r->dest, strlen(r->dest), err) &&
           words_put_bytes(doc, "files", r->reach.root, strlen(r->reach.root), err) &&
           json_put_flag(doc, "mounted", r->reach.mounted[0], err) &&
           json_put_text(doc, "base_snapshot", r->recipe->base_snapshot, err) &&
           json_put_flag(doc, "composed", r->recipe->composed, err) &&
           json_put_u64(doc, "datafiles", r->recipe->n_files, err) &&
           json_put_u64(doc, "logs", r->recipe->n_logs, err) && shim_print_json(TAKE(doc), err);
}

int verb_restore(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    AUTO(run) struct run run = {.shim = &shim, .phase = "restore"};
    AUTO(restore) struct restore r = {.run = &run, .extended_ms = clock_mono_ms()};
    struct err err = {0};
    char time[48];
    run.while_on = keep_lease;
    run.while_on_arg = &r;
    run_catch_signals();
    progress_begin(!options->quiet && !options->json);
    if (!shim_open(&shim, options, db, &err) || !shim_zone(&shim, &err) || !run_restore(&r, &err)) {
        if (shim.db)
            give_up(&r);
        return shim_report(&shim, db, "restore", &err);
    }
    progress_clear();
    if (options->json)
        return print_restored(&r, db, &err) ? 0 : shim_report(&shim, db, "print", &err);
    shim_time(r.recipe->until_time_us, 0, time);
    printf("restored %s to SCN %" PRIu64 " (%s): instance %s, sandbox %s\n", db,
           r.recipe->until_scn, time, r.sid, r.dest);
    printf("when done: shut the instance down, then ");
    if (r.reach.mounted[0])
        printf("'%s umount %s', ", shim.db->mount_helper, r.reach.mounted);
    else if (options->mounted)
        printf("'umount %s', ", options->mounted);
    printf("'evercopy clone drop %s %s' and remove %s\n", db, r.clone->name, r.dest);
    return 0;
}
