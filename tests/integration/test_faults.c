/* Whichever call fails, of the system or for memory: configuration, catalog, authority, survey,
 * hooks and events are done or say why not. (Jobs: test_kill_acts.c.) EVERCOPY_LONG tries every
 * call. */
#include "agent/auth/ca.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/catalog/catalog.h"
#include "agent/config/config.h"
#include "agent/engine/events.h"
#include "agent/engine/survey.h"
#include "drivers/area/area.h"
#include "firmware-hooks/hooks.h"
#include "firmware-hooks/input.h"
#include "tests/lib/fault_loop.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *in(const char *dir, const char *name)
{
    static __thread char paths[8][400];
    static __thread int turn;
    char *path = paths[turn++ % 8];
    str_format(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static bool put(const char *dir, const char *name, const char *text, mode_t mode, struct err *err)
{
    return sys_write_file(in(dir, name), text, strlen(text), mode, err);
}

static bool holds(const char *dir, const char *name, const char *text, struct err *err)
{
    size_t len;
    AUTO(mem) char *found = sys_read_file(in(dir, name), 1 << 20, &len, err);
    return found && (str_equal(found, text) ||
                     err_set(err, ERR_CORRUPT, "'%s' holds '%.100s'", name, found));
}

static bool there(const char *dir, const char *name) { return access(in(dir, name), F_OK) == 0; }

/* ---- configuration ---- */

static const char conf[] = "[agent]\nhooks = /etc/x\n[storage s]\ndriver = memory\nstore = x\n"
                           "[database A]\nstorage = s\n[database B]\nstorage = s\nvolume = v\n";

static bool config_setup(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    return put(dir, "d.conf", conf, 0600, err);
}

static bool config_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    AUTO(config_agent) struct config_agent *config = config_agent_load(in(dir, "d.conf"), err);
    return config && (config->database_count == 2 ||
                      err_set(err, ERR_CORRUPT, "half a configuration was handed out"));
}

static bool config_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    (void)done;
    return holds(dir, "d.conf", conf, err);
}

/* ---- catalog ---- */

static bool catalog_note(const char *dir, const char *key, const char *text, struct err *err)
{
    AUTO(catalog) struct catalog *c = catalog_open(in(dir, "catalog"), err);
    return c && catalog_note_put(c, "ORCL", key, text, err);
}

static bool catalog_setup(void *arg, const char *dir, struct err *err)
{
    return !arg || catalog_note(dir, "old", "before", err);
}

static bool catalog_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    return catalog_note(dir, "new", "after", err);
}

static bool note_is(struct catalog *c, const char *key, const char *text, bool must,
                    struct err *err)
{
    struct err why = {0};
    AUTO(mem) char *found = catalog_note_get(c, "ORCL", key, &why);
    if (found ? str_equal(found, text) : !must && why.code == ERR_NOT_FOUND)
        return true;
    return err_set(err, ERR_CORRUPT, "note '%s': '%s' %.100s", key, found ? found : "", why.text);
}

static bool catalog_check(void *arg, const char *dir, bool done, struct err *err)
{
    AUTO(catalog) struct catalog *c = catalog_open(in(dir, "catalog"), err);
    return c && note_is(c, "old", "before", arg != NULL, err) &&
           note_is(c, "new", "after", done, err);
}

/* ---- authority ---- */

static const char *const server_names[] = {"localhost", "127.0.0.1"};
static const char *const databases[] = {"ORCL"};
static const struct ca_request server = {
    .name = "agent", .server_names = server_names, .server_name_count = 2};
static const struct ca_request host = {
    .name = "host", .role = "dbhost", .databases = databases, .database_count = 1};

static bool init_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    return ca_init(in(dir, "pki"), &server, err);
}

/* What could not be made can be made now; what was made is whole: it can enroll. */
static bool init_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    struct err why = {0};
    if (!done && !ca_init(in(dir, "pki"), &server, &why) && why.code != ERR_EXISTS) {
        *err = why;
        return err_wrap(err, "again");
    }
    return ca_enroll(in(dir, "pki"), &host, in(dir, "out"), err);
}

static bool enroll_setup(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    return ca_init(in(dir, "pki"), &server, err);
}

static bool enroll_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    return ca_enroll(in(dir, "pki"), &host, in(dir, "out"), err);
}

static bool enroll_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    bool cert = there(dir, "out/host.crt");
    bool key = there(dir, "out/host.key");
    if (done && !(cert && key && there(dir, "out/ca.crt")))
        return err_set(err, ERR_CORRUPT, "done, and the bundle is not whole");
    return done || (!cert && !key) ||
           err_set(err, ERR_CORRUPT, "half a bundle is left: cert %d key %d", cert, key);
}

/* ---- survey ---- */

static bool survey_setup(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    return sys_mkdirs(in(dir, "area/data"), 0755, err) &&
           sys_mkdirs(in(dir, "area/archivelog"), 0755, err) &&
           put(dir, "area/data/one.dbf", "no datafile", 0644, err) &&
           put(dir, "area/archivelog/1.arc", "no log", 0644, err) &&
           put(dir, "area/notes.txt", "text", 0644, err);
}

/* Files that could not be read are entries that say so: a survey with holes would be a lie. */
static bool survey_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    AUTO(area) struct area *area = area_open_path(in(dir, "area"), err);
    struct survey_options options = {.scan_blocks = true};
    AUTO(manifest) struct manifest *manifest = area ? survey_area(area, &options, err) : NULL;
    if (!manifest)
        return false;
    return manifest->count == 3 ||
           err_set(err, ERR_CORRUPT, "%zu entries of 3 files", manifest->count);
}

static bool survey_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    (void)done;
    return holds(dir, "area/notes.txt", "text", err);
}

/* ---- hooks and events ---- */

static bool hook_setup(void *arg, const char *dir, struct err *err)
{
    AUTO(str) struct str text = {0};
    (void)arg;
    str_printf(&text, "#!/bin/sh\necho x >> %s/ran\n", dir);
    return sys_mkdirs(in(dir, "hook.d/job.end"), 0755, err) && str_ok(&text, err) &&
           put(dir, "hook.d/job.end/10-a", text.text, 0755, err) &&
           put(dir, "hook.d/job.end/20-b", text.text, 0755, err);
}

/* "Done" is: both were called. Anything else must be counted. */
static bool hook_run(void *arg, const char *dir, struct err *err)
{
    static const char input[] = "event=job.end\n";
    struct hooks_config config = {in(dir, "hook.d"), "", "", 10000};
    struct hooks_result r;
    struct hooks_call call = {.config = &config,
                              .event = hooks_event_find("job.end"),
                              .input = input,
                              .input_len = sizeof input - 1};
    (void)arg;
    hooks_run(&call, &r);
    if (r.called == 2 && !r.failed)
        return true;
    return r.refused || r.failed
               ? err_set(err, ERR_EXTERNAL, "%u refused, %u failed", r.refused, r.failed)
               : false;
}

static bool hook_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    return !done || holds(dir, "ran", "x\nx\n", err);
}

static bool events_run(void *arg, const char *dir, struct err *err)
{
    (void)arg;
    struct config_agent config = {.hooks = in(dir, "hook.d"),
                                  .hooklib = "",
                                  .hookhost = "",
                                  .hookdeadline_s = 10,
                                  .hookdelay_s = 10};
    AUTO(events) struct events *events = events_new(&config, err);
    if (!events)
        return false;
    bool kept =
        events_emit(events, "job.end", (const char *const[][2]){{"db", "ORCL"}, {NULL, NULL}});
    struct events_ask *ask = events_ask(events, "snapshot.before",
                                        (const char *const[][2]){{"db", "ORCL"}, {NULL, NULL}});
    bool asked = ask != NULL;
    events_ask_free(ask);
    struct events_counts counts = events_counts(events);
    if (kept && asked && !counts.dropped)
        return true;
    return counts.dropped == (uint64_t)!kept + (uint64_t)!asked
               ? err_set(err, ERR_LIMIT, "dropped and counted")
               : false;
}

/* Emitted is not promised to arrive: a hook may have been refused, which is told. */
static bool events_check(void *arg, const char *dir, bool done, struct err *err)
{
    (void)arg;
    (void)done;
    struct err why = {0};
    return !there(dir, "ran") || holds(dir, "ran", "x\nx\n", &why) || holds(dir, "ran", "x\n", err);
}

/* ---- the loops ---- */

static char existing[] = "existing";
static const struct fault_case cases[] = {
    {"config load", config_setup, config_run, config_check, NULL, 3},
    {"catalog open (new)", catalog_setup, catalog_run, catalog_check, NULL, 2},
    {"catalog open", catalog_setup, catalog_run, catalog_check, existing, 2},
    {"init", NULL, init_run, init_check, NULL, 20},
    {"enroll", enroll_setup, enroll_run, enroll_check, NULL, 15},
    {"survey", survey_setup, survey_run, survey_check, NULL, 10},
    {"hook run", hook_setup, hook_run, hook_check, NULL, 20},
    {"events", hook_setup, events_run, events_check, NULL, 20},
};

static void quiet(void)
{
    struct err err = {0};
    AUTO(fd) int nowhere = sys_open("/dev/null", O_WRONLY, 0, &err);
    cr_assert(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
}

static void loop_over(const char *const *names, const long *steps)
{
    quiet();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t n = 0; names[n]; n++)
            for (int kind = 0; kind < FAULT_KINDS; kind++) {
                struct fault_report report;
                struct err err = {0};
                long step = getenv("EVERCOPY_LONG") ? 1 : steps[kind];
                if (str_equal(names[n], cases[i].name))
                    cr_expect(fault_loop_run(&cases[i], (enum fault_kind)kind, step, &report, &err),
                              "%s", err.text);
            }
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define STEPS(io, full, memory) ((const long[]){io, full, memory, io, full})

Test(faults, configuration_and_catalog_are_whole_or_refused_with_a_reason)
{
    loop_over(NAMES("config load", "catalog open (new)", "catalog open"), STEPS(1, 1, 5));
}

Test(faults, an_authority_and_its_bundles_are_whole_or_not_there)
{
    loop_over(NAMES("init", "enroll"), STEPS(5, 7, 11));
}

Test(faults, a_survey_names_what_it_could_not_read) { loop_over(NAMES("survey"), STEPS(1, 3, 2)); }

Test(faults, a_hook_that_cannot_be_looked_at_is_not_run_and_is_counted)
{
    loop_over(NAMES("hook run", "events"), STEPS(5, 11, 5));
}
