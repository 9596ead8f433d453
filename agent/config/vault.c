/* evercopy-vaultd.conf to one struct: the vault's box, its store, their bounds, and its exports. */
#include "agent/base/sys.h"
#include "agent/config/keys.h"
#include <string.h>

struct entry {
    const char *text;
    unsigned line;
};

/* [export NAME]; name "" for [export]. */
struct section {
    const char *name;
    unsigned line;
    struct entry entries[KEYS_MAX];
};

/* The configuration with what it owns; config is first, so that one is the other. */
struct reading {
    struct config_vault config;
    struct keys_texts texts;
    unsigned section; /* being read */
    struct entry entries[KEYS_MAX];
    struct config_option *options;
    size_t option_count, option_capacity;
    struct section *sections; /* the last is being read, in KEYS_EXPORT */
    size_t section_count, section_capacity;
    struct config_export *exports;
};

static const char *keep(struct reading *reading, const char *text, struct err *err)
{
    return keys_keep(&reading->texts, own_strdup(text, err), err);
}

static bool take_option(struct reading *reading, const struct ini_event *event, struct err *err)
{
    if (!own_grow((void **)&reading->options, &reading->option_capacity, reading->option_count,
                  sizeof *reading->options, err))
        return false;
    struct config_option option = {keep(reading, event->key, err), keep(reading, event->value, err),
                                   event->line};
    if (!option.key || !option.value)
        return false;
    reading->options[reading->option_count++] = option;
    return true;
}

static const struct section *section_of(const struct reading *reading, const char *name)
{
    for (size_t i = 0; i < reading->section_count; i++)
        if (str_equal(reading->sections[i].name, name))
            return &reading->sections[i];
    return NULL;
}

static bool begin_export(struct reading *reading, const struct ini_event *event, struct err *err)
{
    const char *name = event->section + strlen("export");
    name += strspn(name, " \t");
    if (*name && !keys_name_fits(name))
        return err_set(err, ERR_CONFIG,
                       "%s:%u: '%.80s' is no volume: letters, digits and _ $ # - . only",
                       reading->config.file, event->line, name);
    if (section_of(reading, name))
        return err_set(err, ERR_CONFIG, "%s:%u: volume '%s' has two sections [export]",
                       reading->config.file, event->line, name);
    const char *kept = keep(reading, name, err);
    if (!kept || !own_grow((void **)&reading->sections, &reading->section_capacity,
                           reading->section_count, sizeof *reading->sections, err))
        return false;
    reading->sections[reading->section_count++] = (struct section){kept, event->line, {{0}}};
    reading->section = KEYS_EXPORT;
    return true;
}

static bool begin_section(struct reading *reading, const struct ini_event *event, struct err *err)
{
    if (str_equal(event->section, "export") || str_starts(event->section, "export "))
        return begin_export(reading, event, err);
    reading->section = str_equal(event->section, "store")   ? KEYS_STORE
                       : str_equal(event->section, "vault") ? KEYS_VAULT
                                                            : 0;
    return reading->section ||
           err_set(err, ERR_CONFIG,
                   "%s:%u: section [%.80s] is none of [vault], [store], [export], [export NAME]",
                   reading->config.file, event->line, event->section);
}

static bool on_event(void *arg, const struct ini_event *event, struct err *err)
{
    struct reading *reading = arg;
    const char *file = reading->config.file;
    if (!event->key)
        return begin_section(reading, event, err);
    if (reading->section == KEYS_STORE && !str_equal(event->key, "url"))
        return take_option(reading, event, err);
    int index = keys_find(&keys_vault, reading->section, event->key);
    if (index < 0)
        return keys_unknown(&keys_vault, reading->section, event, file, err);
    if (!keys_check(&keys_vault.keys[index], event->value, err))
        return err_wrap(err, "%s:%u", file, event->line);
    struct entry *entries = reading->section == KEYS_EXPORT
                                ? reading->sections[reading->section_count - 1].entries
                                : reading->entries;
    entries[index] = (struct entry){keep(reading, event->value, err), event->line};
    return entries[index].text;
}

static const char *text_of(const struct reading *reading, unsigned section, const char *key)
{
    int index = keys_find(&keys_vault, section, key);
    const char *text = reading->entries[index].text;
    return text ? text : keys_vault.keys[index].fallback;
}

/* ---- exports ---- */

/* A volume's own word, or [export]'s, or the default. */
static const char *export_text(const struct section *own, const struct section *common,
                               const char *key)
{
    int index = keys_find(&keys_vault, KEYS_EXPORT, key);
    if (own && own->entries[index].text)
        return own->entries[index].text;
    if (common && common->entries[index].text)
        return common->entries[index].text;
    return keys_vault.keys[index].fallback;
}

static struct config_export export_of(const struct section *own, const struct section *common)
{
    return (struct config_export){
        .name = own ? own->name : "",
        .clients = export_text(own, common, "clients"),
        .clone_clients = export_text(own, common, "cloneclients"),
        .squash = export_text(own, common, "squash"),
        .read_only = keys_flag(export_text(own, common, "readonly")),
        .privileged = keys_flag(export_text(own, common, "privileged")),
        .anon_uid = (uint32_t)keys_number(export_text(own, common, "anonuid")),
        .anon_gid = (uint32_t)keys_number(export_text(own, common, "anongid")),
        .owner = (uint32_t)keys_number(export_text(own, common, "owner")),
        .group = (uint32_t)keys_number(export_text(own, common, "group")),
        .line = own ? own->line : 0,
    };
}

static bool finish_exports(struct reading *reading, struct err *err)
{
    struct config_vault *config = &reading->config;
    const struct section *common = section_of(reading, "");
    config->export_default = export_of(common, NULL);
    config->export_count = 0;
    own_free(reading->exports);
    reading->exports = own_alloc((reading->section_count + 1) * sizeof *reading->exports, err);
    if (!reading->exports)
        return false;
    for (size_t i = 0; i < reading->section_count; i++)
        if (&reading->sections[i] != common)
            reading->exports[config->export_count++] = export_of(&reading->sections[i], common);
    config->exports = reading->exports;
    return true;
}

const struct config_export *config_vault_export(const struct config_vault *config,
                                                const char *volume)
{
    for (size_t i = 0; i < config->export_count; i++)
        if (str_equal(config->exports[i].name, volume))
            return &config->exports[i];
    return &config->export_default;
}

/* ---- the whole ---- */

static bool finish(struct reading *reading, struct err *err)
{
    struct config_vault *config = &reading->config;
    config->box = text_of(reading, KEYS_VAULT, "box");
    config->socket = text_of(reading, KEYS_VAULT, "socket");
    config->allow = text_of(reading, KEYS_VAULT, "allow");
    config->loglevel = text_of(reading, KEYS_VAULT, "loglevel");
    config->store = text_of(reading, KEYS_STORE, "url");
    const struct {
        const char *key;
        uint64_t *to;
    } sizes[] = {{"layer", &config->layer_bytes},     {"unsealed", &config->unsealed_bytes},
                 {"debt", &config->debt_bytes},       {"cache", &config->cache_bytes},
                 {"directories", &config->dir_bytes}, {"thinrate", &config->thin_bytes_per_s},
                 {"reserve", &config->reserve_bytes}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        *sizes[i].to = keys_size(text_of(reading, KEYS_VAULT, sizes[i].key));
    config->wait_s = keys_number(text_of(reading, KEYS_VAULT, "wait"));
    config->level = keys_number(text_of(reading, KEYS_VAULT, "level"));
    config->threads = keys_number(text_of(reading, KEYS_VAULT, "threads"));
    config->nfs_listen = text_of(reading, KEYS_VAULT, "nfslisten");
    config->nfs_port = (uint16_t)keys_number(text_of(reading, KEYS_VAULT, "nfsport"));
    config->nfs_connections = keys_number(text_of(reading, KEYS_VAULT, "nfsconnections"));
    config->rpcbind = text_of(reading, KEYS_VAULT, "rpcbind");
    config->options = reading->options;
    config->option_count = reading->option_count;
    if (!*config->store)
        return err_set(err, ERR_CONFIG,
                       "%s: section [store] lacks key 'url'; hint: a folder, "
                       "nfs://HOST/EXPORT/FOLDER or s3://BUCKET/PREFIX",
                       config->file);
    if (config->unsealed_bytes < config->layer_bytes)
        return err_set(err, ERR_CONFIG, "%s: unsealed (%llu bytes) is below layer (%llu)",
                       config->file, (unsigned long long)config->unsealed_bytes,
                       (unsigned long long)config->layer_bytes);
    return finish_exports(reading, err);
}

struct config_vault *config_vault_parse(const char *text, size_t len, const char *file,
                                        struct err *err)
{
    struct reading *reading = own_alloc(sizeof *reading, err);
    if (!reading)
        return NULL;
    AUTO(config_vault) struct config_vault *config = &reading->config;
    config->file = keep(reading, file, err);
    if (!config->file || !ini_parse(text, len, config->file, on_event, reading, err) ||
        !finish(reading, err))
        return NULL;
    return TAKE(config);
}

struct config_vault *config_vault_load(const char *path, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, INI_SIZE_MAX, &len, err);
    if (!text)
        return err_null(err, "configuration");
    return config_vault_parse(text, len, path, err);
}

void config_vault_free(struct config_vault *config)
{
    if (!config)
        return;
    struct reading *reading = (struct reading *)config;
    own_free(reading->options);
    own_free(reading->sections);
    own_free(reading->exports);
    keys_texts_done(&reading->texts);
    own_free(reading);
}

/* ---- a new reading while it runs ---- */

static bool is_same_store(const struct reading *a, const struct reading *b)
{
    bool same = a->option_count == b->option_count;
    for (size_t i = 0; same && i < a->option_count; i++)
        same = str_equal(a->options[i].key, b->options[i].key) &&
               str_equal(a->options[i].value, b->options[i].value);
    return same;
}

static bool keep_options(struct reading *next, const struct reading *now, struct err *err)
{
    next->option_count = 0;
    for (size_t i = 0; i < now->option_count; i++) {
        struct ini_event event = {.key = now->options[i].key,
                                  .value = now->options[i].value,
                                  .line = now->options[i].line};
        if (!take_option(next, &event, err))
            return false;
    }
    return true;
}

/* Values of [store] may be secrets: only keys are told. */
static bool keep_keys(struct reading *next, const struct reading *now, struct config_changes *ret,
                      struct err *err)
{
    for (size_t i = 0; i < keys_vault.count; i++) {
        const struct keys_key *key = &keys_vault.keys[i];
        if (key->home == KEYS_EXPORT || str_equal(key->name, "loglevel"))
            continue;
        const char *was = text_of(now, key->home, key->name);
        if (str_equal(was, text_of(next, key->home, key->name)))
            continue;
        str_printf(&ret->kept, "%s: as before until the next start\n", key->name);
        next->entries[i] = (struct entry){keep(next, was, err), now->entries[i].line};
        if (!next->entries[i].text)
            return false;
    }
    if (is_same_store(next, now))
        return true;
    str_append(&ret->kept, "[store]: as before until the next start\n");
    return keep_options(next, now, err);
}

static bool is_same_export(const struct config_export *a, const struct config_export *b)
{
    return str_equal(a->clients, b->clients) && str_equal(a->clone_clients, b->clone_clients) &&
           str_equal(a->squash, b->squash) && a->read_only == b->read_only &&
           a->privileged == b->privileged && a->anon_uid == b->anon_uid &&
           a->anon_gid == b->anon_gid && a->owner == b->owner && a->group == b->group;
}

static void compare_exports(const struct config_vault *next, const struct config_vault *now,
                            struct config_changes *ret)
{
    if (!is_same_export(&next->export_default, &now->export_default))
        str_append(&ret->changed, "[export]\n");
    for (size_t i = 0; i < next->export_count; i++)
        if (!is_same_export(&next->exports[i], config_vault_export(now, next->exports[i].name)))
            str_printf(&ret->changed, "[export %s]\n", next->exports[i].name);
    for (size_t i = 0; i < now->export_count; i++)
        if (!*config_vault_export(next, now->exports[i].name)->name)
            str_printf(&ret->changed, "[export %s] is gone\n", now->exports[i].name);
}

bool config_vault_succeed(struct config_vault *next, const struct config_vault *now,
                          struct config_changes *ret, struct err *err)
{
    struct reading *reading = (struct reading *)next;
    if (!keep_keys(reading, (const struct reading *)now, ret, err) || !finish(reading, err))
        return false;
    if (!str_equal(next->loglevel, now->loglevel))
        str_printf(&ret->changed, "loglevel %s, was %s\n", next->loglevel, now->loglevel);
    compare_exports(next, now, ret);
    return (!ret->changed.failed && !ret->kept.failed) ||
           err_set(err, ERR_NO_MEMORY, "compare configurations");
}

char *config_vault_keys(struct err *err) { return keys_describe(&keys_vault, err); }
