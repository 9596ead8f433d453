/* evercopy setup: looks at database and area, says what is to be done, does it with --apply. */
#include "agent/shim/run.h"

#include "agent/base/sys.h"
#include "evercopy/v1/databases.pb-c.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { KEEP_DAYS_MIN = 31 };

struct setup {
    struct run *run;
    struct rows_setup found;
    size_t todo;
    bool apply;
    json_t *plan, *remarks; /* texts, with --json; NULL without */
};

static void say(json_t *list, const char *word, const char *text)
{
    struct err err = {0};
    if (list)
        IGNORE(!json_add(list, json_string(text), &err)); /* told short of memory only */
    else
        printf("%-8s %s\n", word, text);
}

static void tell(struct setup *s, const char *text)
{
    say(s->plan, s->apply ? "done" : "to do", text);
    s->todo++;
}

static bool register_database(struct setup *s, struct err *err)
{
    const struct facts *facts = s->run->before;
    Evercopy__V1__RegisterDatabaseRequest request = EVERCOPY__V1__REGISTER_DATABASE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)s->run->shim->db->name;
    request.dbid = facts->dbid;
    request.db_name = (char *)facts->db_name;
    request.apply = s->apply;
    request.make_folders = !s->run->shim->db->area_mounted;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(s->run->shim, "Databases", "RegisterDatabase", &request.base,
                  &evercopy__v1__register_database_reply__descriptor, SHIM_CALL_MS, err);
    if (!message)
        return false;
    const Evercopy__V1__RegisterDatabaseReply *reply = (const void *)message;
    for (size_t i = 0; i < reply->n_plan; i++) {
        const char *colon = strchr(reply->plan[i], ':');
        tell(s, colon ? colon + 2 : reply->plan[i]);
    }
    return true;
}

/* The area must be a mount or folder that exists; its folders are ours to make. */
static bool make_folders(struct setup *s, struct err *err)
{
    static const char *const folders[] = {"archivelog", "ctl", ".evercopy"};
    const char *area = s->run->shim->db->area;
    char path[PATH_MAX];
    char text[PATH_MAX + 32];
    struct stat st;
    struct err why = {0};
    if (!area[0])
        return config_require(s->run->shim->config, s->run->shim->db, "backupdest", err);
    if (!s->run->shim->db->area_mounted)
        return true; /* the agent has made them */
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        IGNORE(!str_format(path, sizeof path, "%s/%s", area, folders[i]));
        if (sys_stat(path, &st, &why))
            continue;
        IGNORE(!str_format(text, sizeof text, "create folder '%s'", path));
        if (s->apply && !sys_stat(area, &st, err))
            return err_wrap(err, "the area is not there: mount the volume first");
        if (s->apply && !sys_mkdirs(path, 0750, err))
            return false;
        tell(s, text);
    }
    return true;
}

/* The longest pause between runs must fit into what the control file remembers. */
static bool keep_time(struct setup *s, struct err *err)
{
    char text[160];
    if (s->found.keep_days >= KEEP_DAYS_MIN)
        return true;
    AUTO(template_vars) struct template_vars *vars = run_vars(s->run, err);
    if (!vars || !template_vars_number(vars, "days", KEEP_DAYS_MIN, err) ||
        (s->apply && !run_sql(s->run, "setup-keep.sql", vars, NULL, NULL, err)))
        return false;
    IGNORE(!str_format(text, sizeof text,
                       "set control_file_record_keep_time from %" PRIu64 " to %d days",
                       s->found.keep_days, KEEP_DAYS_MIN));
    tell(s, text);
    return true;
}

/* Enterprise Edition only; its file is never on our storage (oracle-semantics 33). */
static bool change_tracking(struct setup *s, struct err *err)
{
    const struct facts *facts = s->run->before;
    char file[PATH_MAX];
    char text[PATH_MAX + 64];
    const char *dir = s->found.create_dest[0] ? s->found.create_dest : s->found.fra;
    if (facts->tracking || !str_equal(facts->edition, "EE") || !dir[0])
        return true;
    IGNORE(
        !str_format(file, sizeof file, "%s/evercopy_tracking_%s.chg", dir, facts->db_unique_name));
    AUTO(template_vars) struct template_vars *vars = run_vars(s->run, err);
    if (!vars || !template_vars_text(vars, "file", file, err) ||
        (s->apply && !run_sql(s->run, "setup-tracking.sql", vars, NULL, NULL, err)))
        return false;
    IGNORE(!str_format(text, sizeof text, "enable block change tracking in '%s'", file));
    tell(s, text);
    return true;
}

/* A snapshot control file in our area would make production depend on it (DESIGN promise 7). */
static bool snapshot_controlfile(struct setup *s, struct err *err)
{
    const char *area = s->run->shim->db->area;
    char file[PATH_MAX];
    char text[PATH_MAX + 96];
    if (strncmp(s->found.snapcf, area, strlen(area)) != 0 || !s->found.snapcf[0])
        return true;
    if (!s->found.fra[0])
        return err_set(err, ERR_PRECONDITION,
                       "the snapshot control file '%s' lies in the backup area and there is no "
                       "recovery area to move it to",
                       s->found.snapcf);
    IGNORE(!str_format(file, sizeof file, "%s/snapcf_%s.f", s->found.fra,
                       s->run->before->db_unique_name));
    AUTO(template_vars) struct template_vars *vars = run_vars(s->run, err);
    if (!vars || !template_vars_text(vars, "file", file, err) ||
        (s->apply && !run_rman(s->run, "setup-snapcf.rman", vars, err)))
        return false;
    IGNORE(!str_format(text, sizeof text, "move the snapshot control file out of the area, to '%s'",
                       file));
    tell(s, text);
    return true;
}

static void tell_configured(const struct setup *s, size_t i)
{
    char text[300];
    IGNORE(!str_format(text, sizeof text,
                       "CONFIGURE %.60s %.120s is in force: it may need a licence",
                       s->found.items[i].name, s->found.items[i].value));
    say(s->remarks, "remark", text);
}

/* Said, never changed: CONFIGURE belongs to every tool of this database (oracle-semantics 25). */
static void remarks(const struct setup *s)
{
    const struct facts *facts = s->run->before;
    char text[300];
    IGNORE(!str_format(text, sizeof text,
                       "the database is in %s mode: only ARCHIVELOG can be recovered to a moment",
                       facts->log_mode));
    if (!str_equal(facts->log_mode, "ARCHIVELOG"))
        say(s->remarks, "must", text);
    if (!facts->force_logging)
        say(s->remarks, "remark",
            "force logging is off: NOLOGGING changes are in no log until the next merge");
    for (size_t i = 0; i < s->found.count; i++)
        if (str_equal(s->found.items[i].name, "ENCRYPTION") ||
            str_equal(s->found.items[i].name, "COMPRESSION ALGORITHM"))
            tell_configured(s, i);
}

static bool run_setup(struct setup *s, struct err *err)
{
    struct run *run = s->run;
    if (!run_probe(run, err) || !(run->before = run_facts(run, "setup", NULL, err)))
        return false;
    if (!str_equal_fold(run->before->db_unique_name, run->shim->db->name))
        return err_set(err, ERR_PRECONDITION,
                       "the database at this SID is '%s', the configuration says '%s'",
                       run->before->db_unique_name, run->shim->db->name);
    if (!s->plan)
        printf("database %s, dbid %" PRIu32 ", release %s %s, %zu datafiles, area '%s'\n",
               run->before->db_unique_name, run->before->dbid, run->probe.version,
               run->probe.edition, run->before->file_count, run->shim->db->area);
    return run_sql(run, "setup.sql", NULL, rows_setup, &s->found, err) &&
           register_database(s, err) && make_folders(s, err) && keep_time(s, err) &&
           change_tracking(s, err) && snapshot_controlfile(s, err);
}

static bool print_setup(const char *db, bool applied, json_t *plan, json_t *told, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    AUTO(json) json_t *last = told;
    return json_put(doc, "plan", plan, err) && json_put(doc, "remarks", TAKE(last), err) &&
           json_put_text(doc, "database", db, err) && json_put_flag(doc, "applied", applied, err) &&
           shim_print_json(TAKE(doc), err);
}

int verb_setup(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    AUTO(run) struct run run = {.shim = &shim, .phase = "setup"};
    struct setup s = {.run = &run, .apply = options->apply};
    s.plan = options->json ? json_array() : NULL;
    s.remarks = options->json ? json_array() : NULL;
    struct err err = {0};
    run_catch_signals();
    bool ok = shim_open(&shim, options, db, &err) && run_setup(&s, &err);
    if (ok)
        remarks(&s);
    rows_setup_done(&s.found);
    AUTO(json) json_t *plan = s.plan;
    AUTO(json) json_t *told = s.remarks;
    if (!ok)
        return shim_report(&shim, db, "setup", &err);
    if (plan)
        return print_setup(db, options->apply, TAKE(plan), TAKE(told), &err)
                   ? 0
                   : shim_report(&shim, db, "print", &err);
    if (!s.todo)
        printf("nothing to do: '%s' is set up\n", db);
    else if (!options->apply)
        printf("nothing was changed; run it again with --apply\n");
    return 0;
}
