/* A configuration read anew while the agent runs. */
#include "agent/main/reload.h"

#include "agent/auth/deny.h"
#include "agent/base/log.h"
#include "agent/base/notify.h"
#include "agent/net/tls.h"

struct reload {
    struct work work; /* first */
    struct reload_parts parts;
    struct rpc_server *server;
    struct service_reload *wish;
    bool busy;
    struct config_changes changes;
    struct world *next;
    struct err err;
};

bool reload_paths_of(const struct config_agent *config, struct reload_paths *ret, struct err *err)
{
    return (str_format(ret->ca, sizeof ret->ca, "%s/ca.crt", config->pki) &&
            str_format(ret->cert, sizeof ret->cert, "%s/server.crt", config->pki) &&
            str_format(ret->key, sizeof ret->key, "%s/server.key", config->pki)) ||
           err_set(err, ERR_CONFIG, "pki path is too long");
}

void reload_log_level(const struct config_agent *config)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < 4; i++)
        if (str_equal(config->loglevel, levels[i]))
            log_set_level((enum log_level)i);
}

struct reload *reload_new(const struct reload_parts *parts, struct err *err)
{
    struct reload *r = own_alloc(sizeof *r, err);
    if (!r)
        return NULL;
    r->parts = *parts;
    r->parts.world = world_ref(parts->world);
    return r;
}

void reload_free(struct reload *r)
{
    if (!r)
        return;
    world_close(r->next);
    world_close(r->parts.world);
    config_changes_done(&r->changes);
    own_free(r);
}

void reload_set_server(struct reload *r, struct rpc_server *server) { r->server = server; }

struct world *reload_world(struct reload *r) { return r->parts.world; }

/* All that could be refused is tried here, before anything changes. */
static bool check_pki(const struct config_agent *config, struct err *err)
{
    struct reload_paths paths;
    AUTO(list) struct list denied = {0};
    if (!deny_read(config->pki, &denied, err) || !reload_paths_of(config, &paths, err))
        return false;
    struct tls_files files = {paths.ca, paths.cert, paths.key};
    AUTO(tls_context) struct tls_context *tls = tls_context_new(TLS_SERVER, &files, err);
    return tls != NULL;
}

/* On the readers' lane: files and storages may block. */
static void run_read(struct work *work)
{
    struct reload *r = (struct reload *)work;
    const struct config_agent *now = world_config(r->parts.world);
    AUTO(config_agent) struct config_agent *config = config_agent_load(now->file, &r->err);
    if (!config || !config_agent_succeed(config, now, &r->changes, &r->err) ||
        !check_pki(now, &r->err))
        return;
    r->next = world_next(r->parts.world, config, &r->err);
    if (r->next)
        config = NULL;
}

static void log_lines(const char *what, const struct str *lines)
{
    struct err err = {0};
    AUTO(mem) char *copy = own_strdup(lines->text ? lines->text : "", &err);
    for (char *cursor = copy; cursor && *cursor;)
        log_info("reload %s: %s", what, str_field(&cursor, '\n'));
}

static void end(struct reload *r)
{
    struct service_reload *wish = TAKE(r->wish);
    if (r->err.code != ERR_NONE)
        log_error("reload refused, everything stays as it was: %s", r->err.text);
    log_lines("changed", &r->changes.changed);
    log_lines("kept", &r->changes.kept);
    if (wish) {
        wish->err = r->err;
        wish->changes = r->changes;
        r->changes = (struct config_changes){0};
    }
    config_changes_done(&r->changes);
    r->err = (struct err){0};
    r->busy = false;
    notify_ready();
    if (wish)
        wish->done(wish);
}

static void use_certificate(struct reload *r, const struct config_agent *config)
{
    struct reload_paths paths;
    struct err err = {0};
    if (!r->server || (reload_paths_of(config, &paths, &err) &&
                       rpc_server_use(r->server, paths.ca, paths.cert, paths.key, &err)))
        return;
    log_error("the certificate of before stays in use: %s", err.text);
    str_printf(&r->changes.kept, "certificate: %s\n", err.text);
}

/* Home on the loop for good: calls see the new world by now. */
static void swapped(struct work *work)
{
    struct reload *r = (struct reload *)work;
    struct err err = {0};
    world_close(r->parts.world);
    r->parts.world = TAKE(r->next);
    const struct config_agent *config = world_config(r->parts.world);
    reload_log_level(config);
    gate_set_calls(r->parts.gate, config->calls_per_minute);
    if (!gate_refresh(r->parts.gate, &err))
        str_printf(&r->changes.kept, "deny list: %s\n", err.text);
    use_certificate(r, config);
    log_info("configuration read again");
    end(r);
}

static void run_swap(struct work *work)
{
    struct reload *r = (struct reload *)work;
    engine_set_world(r->parts.engine, r->next);
    service_set_world(r->parts.service, r->next);
    lookout_set_world(r->parts.lookout, r->next);
}

static void read_done(struct work *work)
{
    struct reload *r = (struct reload *)work;
    if (r->err.code != ERR_NONE) {
        config_changes_done(&r->changes);
        end(r);
        return;
    }
    r->work = (struct work){.run = run_swap, .done = swapped, .home = loop_post(r->parts.loop)};
    lane_submit(engine_lane(r->parts.engine), &r->work);
}

void reload_start(struct reload *r, struct service_reload *wish)
{
    if (r->busy && wish) {
        err_set(&wish->err, ERR_BUSY, "the configuration is being read already");
        wish->done(wish);
    }
    if (r->busy)
        return;
    r->busy = true;
    notify_reloading();
    r->wish = wish;
    r->work = (struct work){.run = run_read, .done = read_done, .home = loop_post(r->parts.loop)};
    lane_submit(world_readers(r->parts.world), &r->work);
}
