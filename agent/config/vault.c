/* evercopy-vaultd.conf to one struct: the vault's box, its store, and their bounds. */
#include "agent/base/sys.h"
#include "agent/config/keys.h"
#include <string.h>

struct entry {
    const char *text;
    unsigned line;
};

/* The configuration with what it owns; config is first, so that one is the other. */
struct reading {
    struct config_vault config;
    struct keys_texts texts;
    struct entry entries[KEYS_MAX];
    struct config_option *options;
    size_t option_count, option_capacity;
    bool in_store;
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

static bool on_event(void *arg, const struct ini_event *event, struct err *err)
{
    struct reading *reading = arg;
    const char *file = reading->config.file;
    if (!event->key) {
        reading->in_store = str_equal(event->section, "store");
        return reading->in_store || str_equal(event->section, "vault") ||
               err_set(err, ERR_CONFIG, "%s:%u: section [%.80s] is none of [vault], [store]", file,
                       event->line, event->section);
    }
    if (reading->in_store && !str_equal(event->key, "url"))
        return take_option(reading, event, err);
    unsigned section = reading->in_store ? KEYS_STORE : KEYS_VAULT;
    int index = keys_find(&keys_vault, section, event->key);
    if (index < 0)
        return keys_unknown(&keys_vault, section, event, file, err);
    if (!keys_check(&keys_vault.keys[index], event->value, err))
        return err_wrap(err, "%s:%u", file, event->line);
    reading->entries[index] = (struct entry){keep(reading, event->value, err), event->line};
    return reading->entries[index].text;
}

static const char *text_of(const struct reading *reading, unsigned section, const char *key)
{
    int index = keys_find(&keys_vault, section, key);
    const char *text = reading->entries[index].text;
    return text ? text : keys_vault.keys[index].fallback;
}

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
    return true;
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
    keys_texts_done(&reading->texts);
    own_free(reading);
}

char *config_vault_keys(struct err *err) { return keys_describe(&keys_vault, err); }
