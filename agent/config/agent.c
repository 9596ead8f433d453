/* evercopyd.conf to one struct: the agent's own keys, its storages, the databases it serves. */
#include "agent/config/keys.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/base/zone.h"
#include <string.h>

struct entry {
    const char *text;
    unsigned line;
};

struct reading {
    struct config_agent config; /* first, so that the public pointer leads here */
    struct keys_texts texts;
    struct config_storage *storages;
    struct config_served *databases;
    size_t storage_capacity, database_capacity;
    struct config_option *options; /* of the storage being read */
    size_t option_count, option_capacity;
    struct entry agent[KEYS_MAX];
    struct entry *served; /* KEYS_MAX for each database */
    size_t served_capacity;
    unsigned section; /* being read */
};

static const char *keep(struct reading *reading, const char *text, struct err *err)
{
    return keys_keep(&reading->texts, own_strdup(text, err), err);
}

/* The options of the storage read last move into it. */
static void end_section(struct reading *reading)
{
    if (reading->section != KEYS_STORAGE)
        return;
    struct config_storage *storage = &reading->storages[reading->config.storage_count - 1];
    storage->options = TAKE(reading->options);
    storage->option_count = reading->option_count;
    reading->option_count = reading->option_capacity = 0;
}

static bool begin_storage(struct reading *reading, const char *name, unsigned line, struct err *err)
{
    if (!own_grow((void **)&reading->storages, &reading->storage_capacity,
                  reading->config.storage_count, sizeof *reading->storages, err))
        return false;
    reading->storages[reading->config.storage_count++] =
        (struct config_storage){.name = name, .driver = "", .line = line};
    return true;
}

static bool begin_database(struct reading *reading, const char *name, unsigned line,
                           struct err *err)
{
    size_t count = reading->config.database_count;
    if (!own_grow((void **)&reading->databases, &reading->database_capacity, count,
                  sizeof *reading->databases, err) ||
        !own_grow((void **)&reading->served, &reading->served_capacity, count,
                  KEYS_MAX * sizeof(struct entry), err))
        return false;
    memset(&reading->served[count * KEYS_MAX], 0, KEYS_MAX * sizeof(struct entry));
    reading->databases[reading->config.database_count++] =
        (struct config_served){.name = name, .line = line};
    return true;
}

static bool begin_section(struct reading *reading, const struct ini_event *event, struct err *err)
{
    end_section(reading);
    reading->section = KEYS_AGENT;
    if (str_equal(event->section, "agent"))
        return true;
    bool storage = str_starts(event->section, "storage ");
    bool database = str_starts(event->section, "database ");
    const char *name = event->section + (storage ? 8 : database ? 9 : 0);
    name += strspn(name, " ");
    if (!storage && !database)
        return err_set(err, ERR_CONFIG,
                       "%s:%u: section [%.80s] is none of [agent], [storage NAME], [database DB]",
                       reading->config.file, event->line, event->section);
    if (!keys_name_fits(name))
        return err_set(err, ERR_CONFIG,
                       "%s:%u: '%.80s' is no name: letters, digits and _ $ # - . only",
                       reading->config.file, event->line, name);
    const char *kept = keep(reading, name, err);
    if (!kept)
        return false;
    bool ok = storage ? begin_storage(reading, kept, event->line, err)
                      : begin_database(reading, kept, event->line, err);
    if (ok)
        reading->section = storage ? KEYS_STORAGE : KEYS_SERVED;
    return ok;
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
    if (!event->key)
        return begin_section(reading, event, err);
    int index = keys_find(&keys_agent, reading->section, event->key);
    if (index < 0 && reading->section == KEYS_STORAGE)
        return take_option(reading, event, err);
    if (index < 0)
        return keys_unknown(&keys_agent, reading->section, event, reading->config.file, err);
    if (!keys_check(&keys_agent.keys[index], event->value, err))
        return err_wrap(err, "%s:%u", reading->config.file, event->line);
    const char *value = keep(reading, event->value, err);
    if (!value)
        return false;
    if (reading->section == KEYS_STORAGE)
        reading->storages[reading->config.storage_count - 1].driver = value;
    else if (reading->section == KEYS_SERVED)
        reading->served[(reading->config.database_count - 1) * KEYS_MAX + (size_t)index] =
            (struct entry){value, event->line};
    else
        reading->agent[index] = (struct entry){value, event->line};
    return true;
}

static const char *text_of(const struct entry *entries, unsigned section, const char *key)
{
    int index = keys_find(&keys_agent, section, key);
    return entries[index].text ? entries[index].text : keys_agent.keys[index].fallback;
}

/* The database's own, else the agent's for all databases. */
static const char *quota_text(const struct reading *reading, const struct entry *entries,
                              const char *key)
{
    int index = keys_find(&keys_agent, KEYS_SERVED, key);
    return entries[index].text ? entries[index].text : text_of(reading->agent, KEYS_AGENT, key);
}

static void finish_quota(const struct reading *reading, const struct entry *entries,
                         struct config_quota *ret)
{
    ret->runs_per_day = keys_number(quota_text(reading, entries, "runsperday"));
    ret->snapshots_per_day = keys_number(quota_text(reading, entries, "snapshotsperday"));
    ret->log_lines_per_run = keys_number(quota_text(reading, entries, "loglinesperrun"));
    ret->log_lines_per_day = keys_number(quota_text(reading, entries, "loglinesperday"));
    ret->log_bytes_per_run = keys_size(quota_text(reading, entries, "logbytesperrun"));
    ret->log_bytes_per_day = keys_size(quota_text(reading, entries, "logbytesperday"));
}

static bool set_address(struct reading *reading, const char *key, struct config_address *address,
                        struct err *err)
{
    const char *text = text_of(reading->agent, KEYS_AGENT, key);
    char *host = own_alloc(strlen(text) + 1, err);
    if (!keys_keep(&reading->texts, host, err))
        return false;
    int index = keys_find(&keys_agent, KEYS_AGENT, key);
    *address = keys_address(text, keys_agent.keys[index].min, host);
    return true;
}

static bool finish_agent(struct reading *reading, struct err *err)
{
    struct config_agent *config = &reading->config;
    config->state = text_of(reading->agent, KEYS_AGENT, "state");
    config->pki = text_of(reading->agent, KEYS_AGENT, "pki");
    config->run = text_of(reading->agent, KEYS_AGENT, "run");
    config->loglevel = text_of(reading->agent, KEYS_AGENT, "loglevel");
    config->verify_full = str_equal_fold(text_of(reading->agent, KEYS_AGENT, "verify"), "full");
    config->hooks = text_of(reading->agent, KEYS_AGENT, "hooks");
    config->hooklib = text_of(reading->agent, KEYS_AGENT, "hooklib");
    config->hookhost = text_of(reading->agent, KEYS_AGENT, "hookhost");
    config->hookdeadline_s = keys_number(text_of(reading->agent, KEYS_AGENT, "hookdeadline"));
    config->hookdelay_s = keys_number(text_of(reading->agent, KEYS_AGENT, "hookdelay"));
    config->capacitylow = keys_number(text_of(reading->agent, KEYS_AGENT, "capacitylow"));
    config->capacityok = keys_number(text_of(reading->agent, KEYS_AGENT, "capacityok"));
    if (config->capacityok < config->capacitylow)
        return err_set(err, ERR_CONFIG, "%s: capacityok (%llu) is below capacitylow (%llu)",
                       config->file, (unsigned long long)config->capacityok,
                       (unsigned long long)config->capacitylow);
    config->workers = keys_number(text_of(reading->agent, KEYS_AGENT, "workers"));
    config->calls_per_minute = keys_number(text_of(reading->agent, KEYS_AGENT, "callsperminute"));
    config->backuplease_s = keys_number(text_of(reading->agent, KEYS_AGENT, "backuplease"));
    return set_address(reading, "listen", &config->listen, err) &&
           set_address(reading, "status", &config->status, err);
}

static bool find_storage(const struct reading *reading, const char *name, unsigned line,
                         struct err *err)
{
    size_t count = reading->config.storage_count;
    AUTO(mem) const char **known = own_alloc((count + 1) * sizeof(const char *), err);
    if (!known)
        return false;
    for (size_t i = 0; i < count; i++) {
        known[i] = reading->storages[i].name;
        if (str_equal(known[i], name))
            return true;
    }
    const char *nearest = str_nearest(name, known, count);
    return err_set(err, ERR_CONFIG, "%s:%u: there is no [storage %s]%s%s%s", reading->config.file,
                   line, name, nearest ? ", nearest: '" : "", nearest ? nearest : "",
                   nearest ? "'" : "");
}

/* A key of the database's section over the same key of [agent]. */
static const char *policy_text(const struct reading *reading, const struct entry *entries,
                               const char *key)
{
    int index = keys_find(&keys_agent, KEYS_SERVED, key);
    return entries[index].text ? entries[index].text : text_of(reading->agent, KEYS_AGENT, key);
}

static void finish_retention(const struct reading *reading, const struct entry *entries,
                             struct config_retention *ret)
{
    const struct {
        const char *key;
        uint64_t *to;
    } numbers[] = {
        {"recoverywindow", &ret->window_days},
        {"snapexpirationdays", &ret->expiration_days},
        {"snapexpirationmonths", &ret->expiration_months},
        {"keephourly", &ret->keep[TIER_HOURLY]},
        {"keepdaily", &ret->keep[TIER_DAILY]},
        {"keepweekly", &ret->keep[TIER_WEEKLY]},
        {"keepmonthly", &ret->keep[TIER_MONTHLY]},
        {"keepyearly", &ret->keep[TIER_YEARLY]},
        {"keepproven", &ret->keep_proven},
        {"logretention", &ret->log_days},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i].to = keys_number(policy_text(reading, entries, numbers[i].key));
    ret->automatic = str_equal_fold(policy_text(reading, entries, "retention"), "auto");
}

/* A wrong name is told at the start, not when the first snapshot should go. */
static bool check_zone(const struct reading *reading, const struct config_served *database,
                       struct err *err)
{
    AUTO(zone) struct zone *zone = zone_load(database->zone, err);
    return zone || err_wrap(err, "%s:%u: [database %s]", reading->config.file, database->line,
                            database->name);
}

/* The database's own, else what [agent] says for all. */
static uint64_t hours_of(const struct reading *reading, const struct entry *entries,
                         const char *key)
{
    const struct entry *own = &entries[keys_find(&keys_agent, KEYS_SERVED, key)];
    return keys_number(own->text ? own->text : text_of(reading->agent, KEYS_AGENT, key));
}

static bool finish_database(struct reading *reading, size_t index, struct err *err)
{
    struct config_served *database = &reading->databases[index];
    const struct entry *entries = &reading->served[index * KEYS_MAX];
    database->storage = text_of(entries, KEYS_SERVED, "storage");
    database->volume = text_of(entries, KEYS_SERVED, "volume");
    database->zone = policy_text(reading, entries, "zone");
    finish_retention(reading, entries, &database->retention);
    database->dbid = (uint32_t)keys_number(text_of(entries, KEYS_SERVED, "dbid"));
    finish_quota(reading, entries, &database->quota);
    database->overduewarning_h = hours_of(reading, entries, "overduewarning");
    database->overduefailed_h = hours_of(reading, entries, "overduefailed");
    if (database->overduefailed_h < database->overduewarning_h)
        database->overduefailed_h = database->overduewarning_h;
    if (!*database->volume)
        database->volume = database->name;
    if (!*database->storage)
        return err_set(err, ERR_CONFIG, "%s:%u: section [database %s] lacks key 'storage'",
                       reading->config.file, database->line, database->name);
    unsigned line = entries[keys_find(&keys_agent, KEYS_SERVED, "storage")].line;
    return check_zone(reading, database, err) &&
           find_storage(reading, database->storage, line, err);
}

static bool finish(struct reading *reading, struct err *err)
{
    end_section(reading);
    reading->section = KEYS_AGENT;
    for (size_t i = 0; i < reading->config.storage_count; i++)
        if (!*reading->storages[i].driver)
            return err_set(err, ERR_CONFIG, "%s:%u: section [storage %s] lacks key 'driver'",
                           reading->config.file, reading->storages[i].line,
                           reading->storages[i].name);
    for (size_t i = 0; i < reading->config.database_count; i++)
        if (!finish_database(reading, i, err))
            return false;
    reading->config.storages = reading->storages;
    reading->config.databases = reading->databases;
    return finish_agent(reading, err);
}

struct config_agent *config_agent_parse(const char *text, size_t len, const char *file,
                                        struct err *err)
{
    struct reading *reading = own_alloc(sizeof *reading, err);
    if (!reading)
        return NULL;
    AUTO(config_agent) struct config_agent *config = &reading->config;
    config->file = keep(reading, file, err);
    if (!config->file || !ini_parse(text, len, config->file, on_event, reading, err) ||
        !finish(reading, err))
        return NULL;
    return TAKE(config);
}

struct config_agent *config_agent_load(const char *path, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, INI_SIZE_MAX, &len, err);
    if (!text)
        return err_null(err, "configuration");
    return config_agent_parse(text, len, path, err);
}

void config_agent_free(struct config_agent *config)
{
    if (!config)
        return;
    struct reading *reading = (struct reading *)config;
    for (size_t i = 0; i < config->storage_count; i++)
        own_free((void *)reading->storages[i].options);
    own_free(reading->storages);
    own_free(reading->databases);
    own_free(reading->options);
    own_free(reading->served);
    keys_texts_done(&reading->texts);
    own_free(reading);
}

/* ---- another reading in place of the one in force ---- */

void config_changes_done(struct config_changes *changes)
{
    str_done(&changes->changed);
    str_done(&changes->kept);
}

/* What a running agent cannot change: by key, as text. */
static bool keep_text(struct reading *next, const char **to, const char *now, const char *key,
                      struct config_changes *ret, struct err *err)
{
    if (str_equal(*to, now))
        return true;
    str_printf(&ret->kept, "%s stays '%s' until the next start (now '%s' in the file)\n", key, now,
               *to);
    *to = keep(next, now, err);
    return *to != NULL;
}

static bool keep_address(struct reading *next, struct config_address *to,
                         const struct config_address *now, const char *key,
                         struct config_changes *ret, struct err *err)
{
    if (to->port != now->port) {
        str_printf(&ret->kept, "%s stays at port %u until the next start (now %u in the file)\n",
                   key, now->port, to->port);
        to->port = now->port;
    }
    return keep_text(next, &to->host, now->host, key, ret, err);
}

static void tell_number(struct config_changes *ret, const char *key, uint64_t now, uint64_t next)
{
    if (now != next)
        str_printf(&ret->changed, "%s %llu, was %llu\n", key, (unsigned long long)next,
                   (unsigned long long)now);
}

static bool is_same_storage(const struct config_storage *a, const struct config_storage *b)
{
    bool same = str_equal(a->driver, b->driver) && a->option_count == b->option_count;
    for (size_t i = 0; same && i < a->option_count; i++)
        same = str_equal(a->options[i].key, b->options[i].key) &&
               str_equal(a->options[i].value, b->options[i].value);
    return same;
}

static void compare_storages(const struct config_agent *next, const struct config_agent *now,
                             struct config_changes *ret)
{
    for (size_t i = 0; i < next->storage_count; i++) {
        const struct config_storage *storage = &next->storages[i];
        const struct config_storage *before = NULL;
        for (size_t k = 0; k < now->storage_count; k++)
            if (str_equal(now->storages[k].name, storage->name))
                before = &now->storages[k];
        if (!before)
            str_printf(&ret->changed, "[storage %s] is new\n", storage->name);
        else if (!is_same_storage(storage, before))
            str_printf(&ret->kept, "[storage %s] stays as it is until the next start\n",
                       storage->name);
    }
}

static void compare_databases(const struct config_agent *next, const struct config_agent *now,
                              struct config_changes *ret)
{
    for (size_t i = 0; i < next->database_count; i++) {
        const struct config_served *db = &next->databases[i];
        const struct config_served *before = NULL;
        for (size_t k = 0; k < now->database_count; k++)
            if (str_equal(now->databases[k].name, db->name))
                before = &now->databases[k];
        if (!before)
            str_printf(&ret->changed, "[database %s] is new\n", db->name);
        else if (!str_equal(db->storage, before->storage) ||
                 !str_equal(db->volume, before->volume) || !str_equal(db->zone, before->zone) ||
                 db->dbid != before->dbid ||
                 memcmp(&db->quota, &before->quota, sizeof db->quota) != 0)
            str_printf(&ret->changed, "[database %s] has changed\n", db->name);
    }
    for (size_t k = 0; k < now->database_count; k++) {
        bool there = false;
        for (size_t i = 0; i < next->database_count; i++)
            there |= str_equal(now->databases[k].name, next->databases[i].name);
        if (!there)
            str_printf(&ret->changed, "[database %s] is gone\n", now->databases[k].name);
    }
}

static void keep_number(struct config_changes *ret, const char *key, uint64_t *next, uint64_t now)
{
    if (*next != now)
        str_printf(&ret->kept, "%s stays %llu until the next start\n", key,
                   (unsigned long long)now);
    *next = now;
}

bool config_agent_succeed(struct config_agent *next, const struct config_agent *now,
                          struct config_changes *ret, struct err *err)
{
    struct reading *reading = (struct reading *)next;
    if (!keep_address(reading, &next->listen, &now->listen, "listen", ret, err) ||
        !keep_address(reading, &next->status, &now->status, "status", ret, err) ||
        !keep_text(reading, &next->state, now->state, "state", ret, err) ||
        !keep_text(reading, &next->pki, now->pki, "pki", ret, err) ||
        !keep_text(reading, &next->run, now->run, "run", ret, err) ||
        !keep_text(reading, &next->hooks, now->hooks, "hooks", ret, err) ||
        !keep_text(reading, &next->hooklib, now->hooklib, "hooklib", ret, err) ||
        !keep_text(reading, &next->hookhost, now->hookhost, "hookhost", ret, err))
        return false;
    keep_number(ret, "hookdeadline", &next->hookdeadline_s, now->hookdeadline_s);
    keep_number(ret, "hookdelay", &next->hookdelay_s, now->hookdelay_s);
    keep_number(ret, "workers", &next->workers, now->workers);
    if (!str_equal(next->loglevel, now->loglevel))
        str_printf(&ret->changed, "loglevel %s, was %s\n", next->loglevel, now->loglevel);
    tell_number(ret, "verify full", now->verify_full, next->verify_full);
    tell_number(ret, "backuplease", now->backuplease_s, next->backuplease_s);
    tell_number(ret, "capacitylow", now->capacitylow, next->capacitylow);
    tell_number(ret, "capacityok", now->capacityok, next->capacityok);
    tell_number(ret, "callsperminute", now->calls_per_minute, next->calls_per_minute);
    compare_storages(next, now, ret);
    compare_databases(next, now, ret);
    return (!ret->changed.failed && !ret->kept.failed) ||
           err_set(err, ERR_NO_MEMORY, "compare configurations");
}

char *config_agent_keys(struct err *err) { return keys_describe(&keys_agent, err); }
