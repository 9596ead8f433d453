/* evercopyd serve: the object graph, and the way up and down. */
#include "agent/main/serve.h"

#include "agent/base/log.h"
#include "agent/base/loop.h"
#include "agent/base/notify.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/engine/acts.h"
#include "agent/engine/events.h"
#include "agent/engine/keep.h"
#include "agent/engine/lookout.h"
#include "agent/main/reload.h"
#include "agent/net/bundle.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { HANDSHAKE_WORKERS = 2, PATH_BYTES = 4096 };

struct serve {
    const struct config_agent *config;
    const char *port_file;
    struct loop *loop;
    struct world *world;
    struct engine *engine;
    struct lane *handshakes;
    struct gate *gate;
    struct service *service;
    struct reload *reload;
    struct events *events;
    struct lookout *lookout;
    struct timer *watchdog;
    struct work ping;
    bool pinging;
    struct rpc_server *server;
    struct signal_watch *term, *interrupt, *hangup;
    struct work boot;
    bool stopping;
};

static const struct job_kind *const kinds[] = {
    &job_kind_backup,       &job_kind_snapshot, &job_kind_clone,    &job_kind_clone_drop,
    &job_kind_clone_extend, &job_kind_mark,     &job_kind_retention};

static void drained(void *arg)
{
    struct serve *s = arg;
    loop_stop(s->loop);
}

static void on_signal(void *arg, int signal_no)
{
    struct serve *s = arg;
    if (s->stopping)
        return;
    s->stopping = true;
    log_info("stopping signal=%d", signal_no);
    notify_stopping();
    if (s->server)
        rpc_server_drain(s->server, drained, s);
    else
        loop_stop(s->loop);
}

static void on_hangup(void *arg, int signal_no)
{
    struct serve *s = arg;
    (void)signal_no;
    if (s->server && !s->stopping) /* before, the file has only just been read */
        reload_start(s->reload, NULL);
}

static void on_wish(void *arg, struct service_reload *wish)
{
    struct serve *s = arg;
    reload_start(s->reload, wish);
}

/* ---- the watchdog: a ping says that the loop turns and the engine's lane answers ---- */

static void on_pong(struct work *work)
{
    struct serve *s = (struct serve *)((char *)work - offsetof(struct serve, ping));
    s->pinging = false;
    notify_alive();
}

static void run_ping(struct work *work) { (void)work; }

static void on_watchdog(void *arg)
{
    struct serve *s = arg;
    if (s->pinging) {
        log_warning("the engine's lane has not answered for %llu ms",
                    (unsigned long long)notify_watchdog_ms());
        return;
    }
    s->pinging = true;
    s->ping = (struct work){.run = run_ping, .done = on_pong, .home = loop_post(s->loop)};
    lane_submit(engine_lane(s->engine), &s->ping);
}

static bool write_port(const struct serve *s, struct err *err)
{
    char text[16];
    if (!s->port_file)
        return true;
    IGNORE(!str_format(text, sizeof text, "%u\n", rpc_server_port(s->server)));
    return sys_write_file(s->port_file, text, strlen(text), 0644, err);
}

/* Somebody was denied, or let in again. */
static void deny_list_changed(void *arg)
{
    struct serve *s = arg;
    if (s->server)
        rpc_server_recheck(s->server);
}

static bool listen_for_calls(struct serve *s, struct err *err)
{
    struct reload_paths paths;
    if (!reload_paths_of(s->config, &paths, err) || !bundle_settle(paths.cert, paths.key, err))
        return false;
    struct rpc_server_options options = {
        .listen_host = s->config->listen.host,
        .listen_port = s->config->listen.port,
        .ca_file = paths.ca,
        .cert_file = paths.cert,
        .key_file = paths.key,
        .authorize = service_authorize,
        .admit_peer = service_admit,
        .arg = s->service,
        .handshakes = s->handshakes,
    };
    options.methods = service_methods(&options.method_count);
    s->server = rpc_server_new(s->loop, &options, err);
    if (!s->server || !write_port(s, err))
        return false;
    gate_on_change(s->gate, deny_list_changed, s);
    reload_set_server(s->reload, s->server);
    log_info("ready port=%u databases=%zu", rpc_server_port(s->server), s->config->database_count);
    notify_ready();
    lookout_start(s->lookout);
    return true;
}

static void tell_recovered(const struct serve *s, size_t finished, size_t swept)
{
    char texts[3][24];
    IGNORE(!str_format(texts[0], sizeof texts[0], "%zu", finished));
    IGNORE(!str_format(texts[1], sizeof texts[1], "%zu", swept));
    IGNORE(!str_format(texts[2], sizeof texts[2], "%u", world_swept(s->world)));
    events_emit(s->events, "boot.recovered",
                (const char *const[][2]){{"finished", texts[0]},
                                         {"swept", texts[1]},
                                         {"storage_swept", texts[2]},
                                         {NULL, NULL}});
}

static void boot_done(void *arg, size_t finished, size_t swept, const struct err *err)
{
    const struct serve *s = arg;
    if (err && err->code != ERR_NONE) /* one job that cannot be swept must not bar every restore */
        log_error("a job of before could be neither finished nor swept: %s", err->text);
    if (finished || swept || world_swept(s->world))
        log_warning("recovered after an interruption finished=%zu swept=%zu storage_swept=%u",
                    finished, swept, world_swept(s->world));
    if (finished || swept || world_swept(s->world))
        tell_recovered(s, finished, swept);
}

static void run_boot(struct work *work)
{
    struct serve *s = (struct serve *)((char *)work - offsetof(struct serve, boot));
    engine_boot(s->engine, boot_done, s);
}

static void *hold_world(void *world) { return world_ref(world); }
static void release_world(void *world) { world_close(world); }

static bool open_engine(struct serve *s, struct err *err)
{
    char path[PATH_BYTES];
    if (!str_format(path, sizeof path, "%s/catalog.sqlite", s->config->state))
        return err_set(err, ERR_CONFIG, "state path is too long");
    if (!sys_mkdirs(s->config->state, 0700, err))
        return false;
    struct engine_options options = {
        .catalog = catalog_open(path, err),
        .kinds = kinds,
        .kind_count = sizeof kinds / sizeof kinds[0],
        .act_workers = (int)s->config->workers,
        .world = s->world,
        .world_ref = hold_world,
        .world_unref = release_world,
    };
    if (!options.catalog)
        return false;
    s->engine = engine_new(&options, err);
    return s->engine != NULL;
}

static bool set_up_lookout(struct serve *s, struct err *err)
{
    struct lookout_options options = {.loop = s->loop,
                                      .engine = s->engine,
                                      .world = s->world,
                                      .judge = databases_judge,
                                      .arg = s->service};
    s->lookout = lookout_new(&options, err);
    s->watchdog = s->lookout ? timer_new(s->loop, on_watchdog, s, err) : NULL;
    uint64_t every_ms = notify_watchdog_ms();
    if (s->watchdog && every_ms)
        timer_set(s->watchdog, every_ms, every_ms);
    return s->watchdog != NULL;
}

static bool set_up(struct serve *s, struct err *err)
{
    struct err why = {0};
    if (!notify_init(err))
        return false;
    notify_status("opening storages and the catalog");
    s->world = world_open(s->config, err);
    s->events = s->world ? events_new(s->config, &why) : NULL;
    if (why.code != ERR_NONE)
        *err = why;
    if (!s->world || why.code != ERR_NONE)
        return false;
    world_listen(s->world, s->events);
    if (!open_engine(s, err))
        return false;
    notify_status("finishing or sweeping what was left running");
    s->loop = loop_new(err);
    s->handshakes = s->loop ? lane_new("handshake", HANDSHAKE_WORKERS, err) : NULL;
    struct gate_options gate = {.pki = s->config->pki,
                                .state = s->config->state,
                                .calls_per_minute = s->config->calls_per_minute};
    s->gate = s->handshakes ? gate_new(s->loop, &gate, err) : NULL;
    s->service = s->gate ? service_new(s->loop, s->engine, s->world, s->gate, err) : NULL;
    if (!s->service || !set_up_lookout(s, err))
        return false;
    struct reload_parts parts = {s->loop, s->engine, s->service, s->gate, s->world, s->lookout};
    s->reload = reload_new(&parts, err);
    if (!s->reload)
        return false;
    service_on_reload(s->service, on_wish, s);
    s->term = signal_watch_new(s->loop, SIGTERM, on_signal, s, err);
    s->interrupt = s->term ? signal_watch_new(s->loop, SIGINT, on_signal, s, err) : NULL;
    s->hangup = s->interrupt ? signal_watch_new(s->loop, SIGHUP, on_hangup, s, err) : NULL;
    return s->hangup != NULL;
}

/* Calls first, then the engine they ask, then the loop they come home to. */
static void tear_down(struct serve *s)
{
    if (s->server)
        rpc_server_free(TAKE(s->server));
    if (s->service)
        service_stop(s->service);
    if (s->lookout)
        lookout_stop(s->lookout);
    if (s->gate)
        gate_stop(s->gate);
    if (s->reload || s->world)
        world_stop(s->reload ? reload_world(s->reload) : s->world);
    events_stop(s->events);
    engine_free(s->engine);
    events_free(s->events);
    lane_free(s->handshakes);
    reload_free(s->reload);
    lookout_free(s->lookout);
    timer_free(s->watchdog);
    world_close(s->world);
    service_free(s->service);
    gate_free(s->gate);
    signal_watch_free(s->term);
    signal_watch_free(s->interrupt);
    signal_watch_free(s->hangup);
    loop_free(s->loop);
}

bool serve_run(const struct config_agent *config, const char *port_file, struct err *err)
{
    struct serve s = {.config = config, .port_file = port_file};
    signal(SIGPIPE, SIG_IGN);
    reload_log_level(config);
    bool ok = set_up(&s, err);
    if (ok) {
        s.boot = (struct work){.run = run_boot};
        /* First on the lane, so that a call already finds listed what is recovered; reads are
         * answered beside it, a database's changes when its own jobs are settled. */
        lane_submit(engine_lane(s.engine), &s.boot);
        ok = listen_for_calls(&s, err);
    }
    if (ok)
        loop_run(s.loop);
    tear_down(&s);
    if (ok)
        log_info("stopped");
    return ok;
}
