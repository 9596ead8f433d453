/* What evercopy-vaultd serves to the network: exports, the NFS port, the port mapper. */
#include "drivers/vault/serving.h"

#include "agent/base/log.h"
#include "agent/base/str.h"
#include "drivers/vault/control/wire.h"
#include "drivers/vault/exported.h"
#include "drivers/vault/nfs/mount.h"
#include "drivers/vault/nfs/nfs3.h"
#include "drivers/vault/nfs/rpcbind.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>

enum { CLIENT_SHARE = 4, OPTIONS_BYTES = 256 };

struct addresses {
    char *text; /* owns them */
    const char *at[NFSD_LISTEN_MAX];
    size_t count;
};

struct serving {
    struct vault *vault;
    struct exported *exported;
    struct exports *exports;
    struct exporter exporter;
    pthread_mutex_t lock; /* of what is open; the control socket asks for it */
    struct addresses addresses;
    struct nfsd_program programs[2];
    struct nfs3 *nfs3;
    struct nfsd *nfsd;
    struct rpcbind *rpcbind;
};

/* ---- where to listen ---- */

static void addresses_done(struct addresses *addresses)
{
    own_free(addresses->text);
    *addresses = (struct addresses){0};
}
OWN_DEFINE_INPLACE(addresses, struct addresses, addresses_done);

static bool has_clients(const struct config_export *export)
{
    return (*export->clients && !str_equal_fold(export->clients, "none")) ||
           (*export->clone_clients && !str_equal_fold(export->clone_clients, "none"));
}

/* Somebody may use something. */
static bool exports_anything(const struct config_vault *config)
{
    bool any = has_clients(&config->export_default);
    for (size_t i = 0; i < config->export_count; i++)
        any |= has_clients(&config->exports[i]);
    return any;
}

/* None: there is to be no port. */
static bool addresses_of(const struct config_vault *config, struct addresses *ret, struct err *err)
{
    const char *text = config->nfs_listen;
    if (str_equal_fold(text, "none") || (!*text && !exports_anything(config)))
        return true;
    ret->text = own_strdup(*text ? text : "0.0.0.0 ::", err);
    for (char *cursor = ret->text; cursor;) {
        uint8_t bytes[16];
        const char *word = str_field(&cursor, ' ');
        if (!*word)
            continue;
        if (inet_pton(AF_INET, word, bytes) != 1 && inet_pton(AF_INET6, word, bytes) != 1)
            return err_set(err, ERR_CONFIG, "%s: nfslisten: '%.60s' is no address", config->file,
                           word);
        if (ret->count == NFSD_LISTEN_MAX)
            return err_set(err, ERR_CONFIG, "%s: nfslisten: more than %d addresses", config->file,
                           NFSD_LISTEN_MAX);
        ret->at[ret->count++] = word;
    }
    return ret->text;
}

bool serving_check(const struct config_vault *config, struct err *err)
{
    AUTO(addresses) struct addresses addresses = {0};
    return addresses_of(config, &addresses, err) && exported_check(config, err);
}

/* ---- the port ---- */

static bool knows(void *arg, const struct nfsd_peer *peer)
{
    const struct serving *s = arg;
    return exports_knows(s->exports, peer);
}

static bool tell_mapper(const struct nfsd *nfsd, const struct config_vault *config,
                        struct rpcbind **ret, struct err *err)
{
    unsigned families = (nfsd_listens_to(nfsd, AF_INET) ? RPCBIND_FOUR : 0) |
                        (nfsd_listens_to(nfsd, AF_INET6) ? RPCBIND_SIX : 0);
    bool expected = str_equal_fold(config->rpcbind, "yes");
    if (str_equal_fold(config->rpcbind, "no"))
        return true;
    *ret = rpcbind_start(nfsd_port(nfsd), families, expected, err);
    return *ret != NULL;
}

/* lock is held; addresses are there. */
static bool open_port(struct serving *s, const struct config_vault *config, struct err *err)
{
    struct nfs3_options options = {.exports = s->exports, .verifier = vault_verifier(s->vault)};
    AUTO(nfs3) struct nfs3 *nfs3 = nfs3_new(&options, err);
    if (!nfs3)
        return false;
    s->programs[0] = nfs3_program(nfs3);
    s->programs[1] = mount3_program(s->exports);
    unsigned share = (unsigned)config->nfs_connections / CLIENT_SHARE;
    struct nfsd_options port = {.listen = s->addresses.at,
                                .listen_count = s->addresses.count,
                                .port = config->nfs_port,
                                .programs = s->programs,
                                .program_count = sizeof s->programs / sizeof *s->programs,
                                .connections_max = (unsigned)config->nfs_connections,
                                .client_connections_max = share ? share : 1,
                                .knows = knows,
                                .knows_arg = s};
    AUTO(nfsd) struct nfsd *nfsd = nfsd_start(&port, err);
    AUTO(rpcbind) struct rpcbind *rpcbind = NULL;
    if (!nfsd || !tell_mapper(nfsd, config, &rpcbind, err))
        return false;
    s->rpcbind = TAKE(rpcbind);
    s->nfsd = TAKE(nfsd);
    s->nfs3 = TAKE(nfs3);
    log_info("serving NFS port=%u", nfsd_port(s->nfsd));
    return true;
}

bool serving_start(struct serving *s, const struct config_vault *config, struct err *err)
{
    AUTO(addresses) struct addresses addresses = {0};
    if (!addresses_of(config, &addresses, err))
        return false;
    IGNORE(pthread_mutex_lock(&s->lock));
    bool ok = true;
    if (!s->nfsd && addresses.count) {
        struct addresses before = s->addresses; /* of a port that did not open */
        s->addresses = addresses;
        addresses = before;
        ok = open_port(s, config, err);
    }
    IGNORE(pthread_mutex_unlock(&s->lock));
    return ok;
}

void serving_stop(struct serving *s)
{
    IGNORE(pthread_mutex_lock(&s->lock));
    struct rpcbind *rpcbind = TAKE(s->rpcbind);
    struct nfsd *nfsd = TAKE(s->nfsd);
    struct nfs3 *nfs3 = TAKE(s->nfs3);
    IGNORE(pthread_mutex_unlock(&s->lock));
    rpcbind_stop(rpcbind);
    nfsd_stop(nfsd);
    nfs3_free(nfs3);
}

bool serving_reload(struct serving *s, const struct config_vault *config, struct err *ret_left,
                    struct err *err)
{
    /* What could be refused comes first: a port that does not open leaves the old rules. */
    if (!serving_check(config, err) || !serving_start(s, config, err) ||
        !exported_use(s->exported, config, err))
        return false;
    IGNORE(exports_reload(s->exports, ret_left)); /* the caller says it */
    IGNORE(pthread_mutex_lock(&s->lock));
    if (s->nfsd)
        nfsd_judge(s->nfsd);
    IGNORE(pthread_mutex_unlock(&s->lock));
    return true;
}

uint16_t serving_port(struct serving *s)
{
    IGNORE(pthread_mutex_lock(&s->lock));
    uint16_t port = s->nfsd ? nfsd_port(s->nfsd) : 0;
    IGNORE(pthread_mutex_unlock(&s->lock));
    return port;
}

/* ---- drops ---- */

/* One line for who was served when somebody took it away. */
static void log_forced(struct serving *s, uint64_t id, const char *name, uid_t uid)
{
    struct err err = {0};
    size_t count = 0, used = 0;
    AUTO(str) struct str who = {0};
    AUTO(mem) struct export_user *users = exports_users(s->exports, id, NULL, &count, &err);
    for (size_t i = 0; users && i < count; i++)
        if (users[i].uses && used++ < 16)
            str_printf(&who, "%s%s", who.len ? "," : "", users[i].client);
    log_warning("drop by force volume='%s' asked_by_uid=%u users=%zu clients=%s", name,
                (unsigned)uid, used, who.text ? who.text : "none");
}

static bool revoke(void *arg, const char *name, bool force, uid_t uid, uint64_t *ret_id,
                   struct err *err)
{
    struct serving *s = arg;
    uint64_t id = 0;
    if (!exported_id(s->exported, name, &id, err))
        return false;
    if (force)
        log_forced(s, id, name, uid);
    if (!exports_revoke(s->exports, id, force, err))
        return false;
    *ret_id = id;
    return true;
}

static void restore(void *arg, uint64_t id)
{
    struct serving *s = arg;
    exported_changed(s->exported);
    exports_restore(s->exports, id);
}

/* ---- what is exported ---- */

struct telling {
    json_t *rows;
    const struct export_user *users;
    size_t user_count;
    struct exported *exported;
    uint16_t port;
    bool registered;
    struct err *err;
    bool ok;
};

/* Sizes: the most there is. actimeo=0: a database and its tools look at sizes from several hosts.
 */
static void mount_options(const struct telling *t, const struct export_rule *rule,
                          char ret[OPTIONS_BYTES])
{
    char ports[80] = "";
    if (!t->registered)
        str_format(ports, sizeof ports, ",port=%u,mountport=%u,mountproto=tcp", t->port, t->port);
    str_format(ret, OPTIONS_BYTES,
               "%s,bg,hard,nointr,rsize=1048576,wsize=1048576,tcp,vers=3,timeo=600,actimeo=0,"
               "nolock%s",
               rule->read_only ? "ro" : "rw", ports);
}

static bool put_nets(json_t *row, const struct export_rule *rule, struct err *err)
{
    json_t *list = json_array();
    bool ok = json_put(row, "clients", list, err);
    for (size_t i = 0; ok && i < rule->net_count; i++) {
        char text[EXPORT_NET_TEXT];
        export_net_text(&rule->nets[i], text);
        ok = json_add(list, json_string(text), err);
    }
    return ok;
}

static bool put_users(const struct telling *t, json_t *row, uint64_t id, struct err *err)
{
    json_t *list = json_array();
    bool ok = json_put(row, "users", list, err);
    for (size_t i = 0; ok && i < t->user_count; i++) {
        const struct export_user *user = &t->users[i];
        json_t *one = user->id == id ? json_object() : NULL;
        ok = user->id != id ||
             (json_add(list, one, err) && json_put_text(one, "client", user->client, err) &&
              json_put_flag(one, "mounted", user->mounted, err) &&
              json_put_flag(one, "connected", user->connected, err) &&
              json_put_flag(one, "uses", user->uses, err) &&
              wire_put_u64(one, "calls", user->calls, err) &&
              wire_put_u64(one, "last_us", user->last_us, err));
    }
    return ok;
}

static bool put_export(struct telling *t, const struct export *export, struct err *err)
{
    static const char *const squashes[] = {"root", "none", "all"};
    char volume[EXPORT_PATH_MAX], options[OPTIONS_BYTES];
    uint32_t owner, group;
    json_t *row = json_object();
    str_copy(volume, sizeof volume, export->path + 1);
    char *clone = strchr(volume, '/');
    if (clone)
        *clone++ = '\0';
    mount_options(t, &export->rule, options);
    exported_owner(t->exported, export->path, &owner, &group);
    return json_add(t->rows, row, err) && wire_put_name(row, "path", export->path, err) &&
           wire_put_name(row, "volume", volume, err) && wire_put_name(row, "clone", clone, err) &&
           wire_put_u64(row, "id", export->id, err) && put_nets(row, &export->rule, err) &&
           json_put_text(row, "squash", squashes[export->rule.squash], err) &&
           json_put_u64(row, "owner", owner, err) && json_put_u64(row, "group", group, err) &&
           json_put_flag(row, "read_only", export->rule.read_only, err) &&
           json_put_flag(row, "privileged", export->rule.privileged, err) &&
           json_put_text(row, "options", options, err) && put_users(t, row, export->id, err);
}

static bool tell_one(void *to, const struct export *export)
{
    struct telling *t = to;
    t->ok = export->rule.net_count == 0 || put_export(t, export, t->err);
    return t->ok;
}

static bool tell(void *arg, json_t *answer, struct err *err)
{
    struct serving *s = arg;
    struct telling t = {.rows = json_array(), .err = err, .exported = s->exported, .ok = true};
    struct exports_options options = exported_options(s->exported);
    char says[RPCBIND_SAYS] = "";
    AUTO(mem) struct export_user *users = exports_users(s->exports, 0, NULL, &t.user_count, err);
    IGNORE(pthread_mutex_lock(&s->lock));
    t.port = s->nfsd ? nfsd_port(s->nfsd) : 0;
    t.registered = s->rpcbind && rpcbind_says(s->rpcbind, says);
    IGNORE(pthread_mutex_unlock(&s->lock));
    t.users = users;
    bool ok = json_put(answer, "exports", t.rows, err);
    return ok && users && json_put_u64(answer, "port", t.port, err) &&
           json_put_flag(answer, "registered", t.registered, err) &&
           json_put_text(answer, "rpcbind", says, err) &&
           options.each(options.arg, tell_one, &t, err) && t.ok;
}

/* ---- life ---- */

static void cut(void *arg, const uint8_t address[16])
{
    struct serving *s = arg;
    IGNORE(pthread_mutex_lock(&s->lock));
    if (s->nfsd)
        nfsd_cut(s->nfsd, address);
    IGNORE(pthread_mutex_unlock(&s->lock));
}

const struct exporter *serving_exporter(const struct serving *serving)
{
    return &serving->exporter;
}

struct serving *serving_new(struct vault *vault, const struct config_vault *config, struct err *err)
{
    AUTO(serving) struct serving *s = own_alloc(sizeof *s, err);
    if (!s)
        return NULL;
    IGNORE(pthread_mutex_init(&s->lock, NULL));
    s->vault = vault;
    s->exporter = (struct exporter){.arg = s, .revoke = revoke, .restore = restore, .tell = tell};
    s->exported = exported_new(vault, config, err);
    if (!s->exported || !serving_check(config, err))
        return NULL;
    struct exports_options options = exported_options(s->exported);
    options.cut = cut;
    options.cut_arg = s;
    s->exports = exports_new(&options, err);
    return s->exports ? TAKE(s) : NULL;
}

void serving_free(struct serving *s)
{
    if (!s)
        return;
    serving_stop(s);
    exports_free(s->exports);
    exported_free(s->exported);
    addresses_done(&s->addresses);
    IGNORE(pthread_mutex_destroy(&s->lock));
    own_free(s);
}
