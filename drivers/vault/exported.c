/* Which volumes are exported by which rule: the configuration and the vault, as exports.h asks. */
#include "drivers/vault/exported.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <pthread.h>
#include <string.h>

/* Handles that nobody gave out make nobody list volumes more often than this. */
enum { LISTED_MS = 200, NAME_MAX_BYTES = EXPORT_PATH_MAX - 1 };

/* Of one volume; name "": of all that have none. */
struct rule {
    const char *name; /* in names */
    struct export_rule volume, clones;
    uint32_t owner, group;
};

struct rules {
    struct rule *rows; /* the last is for all others */
    size_t count;
    char *names;
};

struct listed {
    uint64_t id;
    char name[NAME_MAX_BYTES];
};

struct exported {
    struct vault *vault;
    pthread_mutex_t listing; /* one lists for all that wait; taken before lock */
    pthread_mutex_t lock;    /* of what follows */
    struct rules rules;
    struct listed *list; /* by id */
    size_t list_count;
    uint64_t listed_ms;
};

/* ---- rules ---- */

static void rules_done(struct rules *rules)
{
    own_free(rules->rows);
    own_free(rules->names);
    *rules = (struct rules){0};
}
OWN_DEFINE_INPLACE(rules, struct rules, rules_done);

static bool nets_of(const char *text, struct export_rule *rule, struct err *err)
{
    rule->net_count = 0;
    return str_equal_fold(text, "none") || export_nets_parse(text, rule, err);
}

static bool rule_of(const struct config_export *from, const char *file, struct rule *ret,
                    struct err *err)
{
    struct export_rule rule = {.squash = str_equal_fold(from->squash, "none")  ? EXPORT_SQUASH_NONE
                                         : str_equal_fold(from->squash, "all") ? EXPORT_SQUASH_ALL
                                                                               : EXPORT_SQUASH_ROOT,
                               .read_only = from->read_only,
                               .privileged = from->privileged,
                               .anon_uid = from->anon_uid,
                               .anon_gid = from->anon_gid};
    const char *of_clones = *from->clone_clients ? from->clone_clients : from->clients;
    ret->volume = ret->clones = rule;
    ret->owner = from->owner;
    ret->group = from->group;
    if (!nets_of(from->clients, &ret->volume, err))
        return err_wrap(err, "%s: [export%s%s] clients", file, *from->name ? " " : "", from->name);
    return nets_of(of_clones, &ret->clones, err) ||
           err_wrap(err, "%s: [export%s%s] cloneclients", file, *from->name ? " " : "", from->name);
}

static bool rules_read(const struct config_vault *config, struct rules *ret, struct err *err)
{
    AUTO(rules) struct rules rules = {.count = config->export_count + 1};
    size_t bytes = 1;
    for (size_t i = 0; i < config->export_count; i++)
        bytes += strlen(config->exports[i].name) + 1;
    rules.rows = own_alloc(rules.count * sizeof *rules.rows, err);
    rules.names = rules.rows ? own_alloc(bytes, err) : NULL;
    if (!rules.names)
        return false;
    char *at = rules.names;
    for (size_t i = 0; i < rules.count; i++) {
        const struct config_export *from =
            i < config->export_count ? &config->exports[i] : &config->export_default;
        if (!rule_of(from, config->file, &rules.rows[i], err))
            return false;
        size_t len = strlen(from->name) + 1;
        rules.rows[i].name = memcpy(at, from->name, len);
        at += len;
    }
    *ret = rules;
    rules = (struct rules){0};
    return true;
}

bool exported_check(const struct config_vault *config, struct err *err)
{
    AUTO(rules) struct rules rules = {0};
    return rules_read(config, &rules, err);
}

bool exported_use(struct exported *exported, const struct config_vault *config, struct err *err)
{
    AUTO(rules) struct rules rules = {0};
    if (!rules_read(config, &rules, err))
        return false;
    IGNORE(pthread_mutex_lock(&exported->lock));
    struct rules old = exported->rules;
    exported->rules = rules;
    rules = old;
    IGNORE(pthread_mutex_unlock(&exported->lock));
    return true;
}

/* "LANDING/CLONE" goes by its landing volume's. lock is held. */
static const struct rule *rule_for(const struct exported *exported, const char *name)
{
    size_t len = strcspn(name, "/");
    const struct rules *rules = &exported->rules;
    size_t i = 0;
    while (i + 1 < rules->count &&
           (strlen(rules->rows[i].name) != len || memcmp(rules->rows[i].name, name, len) != 0))
        i++;
    return &rules->rows[i];
}

static bool knows(void *arg, const struct nfsd_peer *peer)
{
    struct exported *exported = arg;
    struct nfsd_peer any_port = *peer;
    bool any = false;
    any_port.port = 0;
    IGNORE(pthread_mutex_lock(&exported->lock));
    const struct rules *rules = &exported->rules;
    for (size_t i = 0; !any && i < rules->count; i++)
        any = export_admits(&rules->rows[i].volume, &any_port) ||
              export_admits(&rules->rows[i].clones, &any_port);
    IGNORE(pthread_mutex_unlock(&exported->lock));
    return any;
}

static bool fill(struct exported *exported, uint64_t id, const char *name, struct export *ret,
                 struct err *err)
{
    *ret = (struct export){.id = id};
    if (!str_format(ret->path, sizeof ret->path, "/%s", name))
        return err_set(err, ERR_LIMIT, "'%.80s' is too long a name to be exported", name);
    IGNORE(pthread_mutex_lock(&exported->lock));
    const struct rule *rule = rule_for(exported, name);
    ret->rule = strchr(name, '/') ? rule->clones : rule->volume;
    IGNORE(pthread_mutex_unlock(&exported->lock));
    return true;
}

/* ---- names and numbers ---- */

struct listing {
    struct listed *list;
    size_t count, capacity;
};

static bool list_one(struct listing *to, const struct vault_volume_info *info, struct err *err)
{
    if (!own_grow((void **)&to->list, &to->capacity, to->count, sizeof *to->list, err))
        return false;
    struct listed *row = &to->list[to->count++];
    row->id = info->id;
    return str_format(row->name, sizeof row->name, "%s%s%s", info->landing, info->clone ? "/" : "",
                      info->name) ||
           err_set(err, ERR_LIMIT, "'%s' is too long a name", info->name);
}

static bool list_all(struct vault *vault, struct listing *to, struct err *err)
{
    size_t count = 0, clone_count = 0;
    AUTO(mem) struct vault_volume_info *infos = vault_volume_list(vault, &count, err);
    if (!infos)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct err e = {0};
        if (infos[i].damaged) { /* its clones are rows of their own */
            if (!list_one(to, &infos[i], err))
                return false;
            continue;
        }
        AUTO(mem)
        struct vault_volume_info *clones = vault_clone_list(vault, infos[i].name, &clone_count, &e);
        if (!clones && e.code == ERR_NOT_FOUND)
            continue; /* dropped meanwhile */
        if (!clones) {
            *err = e;
            return false;
        }
        if (!list_one(to, &infos[i], err))
            return false;
        for (size_t j = 0; j < clone_count; j++)
            if (!list_one(to, &clones[j], err))
                return false;
    }
    return true;
}

/* lock is held. */
static bool name_of(const struct exported *exported, uint64_t id, char ret[NAME_MAX_BYTES])
{
    for (size_t i = 0; i < exported->list_count; i++)
        if (exported->list[i].id == id)
            return str_copy(ret, NAME_MAX_BYTES, exported->list[i].name);
    return false;
}

/* From the list as it is; ret_fresh: no younger one would know more. */
static bool look_up(struct exported *exported, uint64_t id, char ret[NAME_MAX_BYTES],
                    bool *ret_fresh)
{
    IGNORE(pthread_mutex_lock(&exported->lock));
    bool found = name_of(exported, id, ret);
    *ret_fresh = exported->listed_ms && clock_mono_ms() - exported->listed_ms < LISTED_MS;
    IGNORE(pthread_mutex_unlock(&exported->lock));
    return found;
}

static bool list_anew(struct exported *exported, struct err *err)
{
    struct listing now = {0};
    if (!list_all(exported->vault, &now, err)) {
        own_free(now.list);
        return false;
    }
    IGNORE(pthread_mutex_lock(&exported->lock));
    own_free(exported->list);
    exported->list = now.list;
    exported->list_count = now.count;
    exported->listed_ms = clock_mono_ms();
    IGNORE(pthread_mutex_unlock(&exported->lock));
    return true;
}

static bool find_name(struct exported *exported, uint64_t id, char ret[NAME_MAX_BYTES],
                      struct err *err)
{
    bool fresh = false;
    if (look_up(exported, id, ret, &fresh))
        return true;
    IGNORE(pthread_mutex_lock(&exported->listing));
    bool found = look_up(exported, id, ret, &fresh);
    bool ok = found || fresh || list_anew(exported, err);
    IGNORE(pthread_mutex_unlock(&exported->listing));
    if (!ok)
        return false;
    return found || look_up(exported, id, ret, &fresh) ||
           err_set(err, ERR_NOT_FOUND, "no volume %llu", (unsigned long long)id);
}

void exported_changed(struct exported *exported)
{
    IGNORE(pthread_mutex_lock(&exported->lock));
    exported->listed_ms = 0;
    IGNORE(pthread_mutex_unlock(&exported->lock));
}

bool exported_id(struct exported *exported, const char *name, uint64_t *ret_id, struct err *err)
{
    return vault_volume_id(exported->vault, name, ret_id, err);
}

/* ---- what exports.h asks ---- */

static bool find(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err)
{
    struct exported *exported = arg;
    char found[NAME_MAX_BYTES];
    uint64_t found_id = 0;
    struct err e = {0};
    if (!name && !find_name(exported, id, found, err))
        return false;
    if (!exported_id(exported, name ? name : found, &found_id, &e)) {
        bool none = e.code == ERR_NOT_FOUND || e.code == ERR_INVALID;
        return none ? err_set(err, ERR_NOT_FOUND, "%s", e.text)
                    : err_set(err, e.code, "%s", e.text);
    }
    if (!name && found_id != id) /* dropped, and its name is another's */
        return err_set(err, ERR_NOT_FOUND, "no volume %llu", (unsigned long long)id);
    return fill(exported, found_id, name ? name : found, ret, err);
}

void exported_owner(struct exported *exported, const char *path, uint32_t *ret_uid,
                    uint32_t *ret_gid)
{
    IGNORE(pthread_mutex_lock(&exported->lock));
    const struct rule *rule = rule_for(exported, path + 1);
    *ret_uid = rule->owner;
    *ret_gid = rule->group;
    IGNORE(pthread_mutex_unlock(&exported->lock));
}

/* A top folder that is root's still gets its owner: a squashed root could not give it away. */
static bool settle(void *arg, const struct export *export, struct err *err)
{
    struct view_file top;
    struct view_attributes to = {.set_uid = true, .set_gid = true};
    exported_owner(arg, export->path, &to.uid, &to.gid);
    if (!to.uid && !to.gid)
        return true;
    if (!export->ops->stat(export->tree, VIEW_ROOT, 0, &top, err))
        return err_wrap(err, "top folder");
    return top.uid != 0 || top.gid != 0 ||
           export->ops->set(export->tree, &(struct view_caller){0}, VIEW_ROOT, &to, NULL, err) ||
           err_wrap(err, "top folder keeps its owner");
}

static bool open_tree(void *arg, struct export *export, struct err *err)
{
    struct exported *exported = arg;
    uint64_t id = 0;
    void *tree = nfsd_vault_tree_open(exported->vault, export->path + 1, &id, err);
    if (!tree)
        return false;
    if (id != export->id) {
        nfsd_vault_tree.close(tree);
        return err_set(err, ERR_NOT_FOUND, "'%s' is another volume by now", export->path);
    }
    export->ops = &nfsd_vault_tree;
    export->tree = tree;
    return true;
}

static bool each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err)
{
    struct exported *exported = arg;
    struct listing now = {0};
    bool ok = list_all(exported->vault, &now, err);
    for (size_t i = 0; ok && i < now.count; i++) {
        struct export export;
        ok = fill(exported, now.list[i].id, now.list[i].name, &export, err);
        if (ok && !fn(to, &export))
            break;
    }
    own_free(now.list);
    return ok;
}

struct exports_options exported_options(struct exported *exported)
{
    return (struct exports_options){.find = find,
                                    .knows = knows,
                                    .open = open_tree,
                                    .settle = settle,
                                    .each = each,
                                    .arg = exported};
}

/* ---- life ---- */

struct exported *exported_new(struct vault *vault, const struct config_vault *config,
                              struct err *err)
{
    AUTO(exported) struct exported *exported = own_alloc(sizeof *exported, err);
    if (!exported)
        return NULL;
    exported->vault = vault;
    IGNORE(pthread_mutex_init(&exported->listing, NULL));
    IGNORE(pthread_mutex_init(&exported->lock, NULL));
    if (!exported_use(exported, config, err))
        return NULL;
    return TAKE(exported);
}

void exported_free(struct exported *exported)
{
    if (!exported)
        return;
    rules_done(&exported->rules);
    own_free(exported->list);
    IGNORE(pthread_mutex_destroy(&exported->listing));
    IGNORE(pthread_mutex_destroy(&exported->lock));
    own_free(exported);
}
