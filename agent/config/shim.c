/* evercopy.conf and the reference toolset's backup.cfg, to one resolved struct per database. */
#include "agent/config/keys.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { TAG_MAX = 30 };

struct entry {
    const char *text; /* NULL: not given */
    unsigned line;
};

struct section {
    const char *name;
    unsigned bit;
    unsigned line;
    struct entry entries[KEYS_MAX]; /* by the key's index */
};

struct resolved {
    struct config_database database; /* first, so that the public pointer leads here */
    const struct section *section;   /* NULL for the generic one */
    struct entry entries[KEYS_MAX];
};

struct config_shim {
    const char *file;
    struct keys_texts texts;
    struct section **sections;
    size_t section_count, section_capacity;
    struct resolved **databases;
    size_t database_count, database_capacity;
    struct resolved *generic;
};

static bool begin_section(struct config_shim *config, const struct ini_event *event,
                          struct err *err)
{
    if (str_equal(event->section, "DEFAULT"))
        return err_set(err, ERR_CONFIG, "%s:%u: section [DEFAULT] is not supported, use [generic]",
                       config->file, event->line);
    if (!keys_name_fits(event->section))
        return err_set(err, ERR_CONFIG,
                       "%s:%u: '%.80s' is no database name: letters, digits and _ $ # - . only",
                       config->file, event->line, event->section);
    if (!own_grow((void **)&config->sections, &config->section_capacity, config->section_count,
                  sizeof(struct section *), err))
        return false;
    struct section *section = own_alloc(sizeof *section, err);
    if (!section)
        return false;
    config->sections[config->section_count++] = section;
    section->name = keys_keep(&config->texts, own_strdup(event->section, err), err);
    section->bit = keys_section_of(event->section);
    section->line = event->line;
    return section->name != NULL;
}

static bool on_event(void *arg, const struct ini_event *event, struct err *err)
{
    struct config_shim *config = arg;
    if (!event->key)
        return begin_section(config, event, err);
    struct section *section = config->sections[config->section_count - 1];
    int index = keys_find(&keys_shim, section->bit, event->key);
    if (index < 0)
        return keys_unknown(&keys_shim, section->bit, event, config->file, err);
    struct entry *entry = &section->entries[index];
    if (entry->text)
        return err_set(err, ERR_CONFIG, "%s:%u: key '%s' stands here twice, first at line %u",
                       config->file, event->line, event->key, entry->line);
    if (!keys_check(&keys_shim.keys[index], event->value, err))
        return err_wrap(err, "%s:%u", config->file, event->line);
    entry->text = keys_keep(&config->texts, own_strdup(event->value, err), err);
    entry->line = event->line;
    return entry->text != NULL;
}

static const struct section *find_section(const struct config_shim *config, unsigned bit)
{
    for (size_t i = 0; i < config->section_count; i++)
        if (config->sections[i]->bit == bit)
            return config->sections[i];
    return NULL;
}

/* The database's own word, then the key's home section, then [generic], then the default. */
static struct entry resolve_entry(const struct config_shim *config, const struct section *section,
                                  size_t index)
{
    const struct keys_key *key = &keys_shim.keys[index];
    if (section && section->entries[index].text)
        return section->entries[index];
    const struct section *home =
        key->home == KEYS_DATABASE ? NULL : find_section(config, key->home);
    if (home && home->entries[index].text)
        return home->entries[index];
    const struct section *generic = find_section(config, KEYS_GENERIC);
    if (generic && generic->entries[index].text)
        return generic->entries[index];
    return (struct entry){key->fallback, 0};
}

static int key_index(const char *name)
{
    for (size_t i = 0; i < keys_shim.count; i++)
        if (str_equal(keys_shim.keys[i].name, name))
            return (int)i;
    return keys_find(&keys_shim, KEYS_DATABASE, name);
}

static const char *text_of(const struct resolved *resolved, const char *key)
{
    return resolved->entries[key_index(key)].text;
}

static const char *size_of(const struct resolved *resolved, const char *key)
{
    const char *text = text_of(resolved, key);
    return str_equal_fold(text, "none") ? "" : text;
}

static bool set_credentials(struct config_shim *config, struct resolved *resolved, struct err *err)
{
    static const char *const names[] = {"ca", "cert", "key"};
    static const char *const files[] = {"ca.crt", "client.crt", "client.key"};
    struct config_database *database = &resolved->database;
    const char **targets[] = {&database->ca, &database->cert, &database->key};
    const char *dir = text_of(resolved, "certdir");
    for (size_t i = 0; i < 3; i++) {
        *targets[i] = text_of(resolved, names[i]);
        if (**targets[i])
            continue;
        *targets[i] = keys_keep(&config->texts, own_printf(err, "%s/%s", dir, files[i]), err);
        if (!*targets[i])
            return false;
    }
    return true;
}

/* The default is cut to what RMAN takes; signs a tag may not hold become '_'. */
static bool set_tag(struct config_shim *config, struct resolved *resolved, struct err *err)
{
    const char *given = text_of(resolved, "tag");
    char tag[TAG_MAX + 1];
    str_format(tag, sizeof tag, "%s%s", *given ? "" : "EVERCOPY_",
               *given ? given : resolved->database.name);
    for (char *p = tag; *p; p++) {
        *p = (char)toupper((unsigned char)*p);
        if (*p == '-' || *p == '.')
            *p = '_';
    }
    resolved->database.tag = keys_keep(&config->texts, own_strdup(tag, err), err);
    return resolved->database.tag != NULL;
}

static bool set_area(struct config_shim *config, struct resolved *resolved, struct err *err)
{
    struct config_database *database = &resolved->database;
    database->area = text_of(resolved, "backupdest");
    if (!*database->area || !*database->name || !keys_flag(text_of(resolved, "backupdestshared")))
        return true;
    size_t len = strlen(database->area);
    while (len > 1 && database->area[len - 1] == '/')
        len--;
    database->area = keys_keep(
        &config->texts, own_printf(err, "%.*s/%s", (int)len, database->area, database->name), err);
    return database->area != NULL;
}

static bool set_agent(struct config_shim *config, struct resolved *resolved, struct err *err)
{
    const char *text = text_of(resolved, "agent");
    char *host = own_alloc(strlen(text) + 1, err);
    if (!keys_keep(&config->texts, host, err))
        return false;
    uint64_t port = keys_shim.keys[key_index("agent")].min;
    resolved->database.agent = keys_address(text, port, host);
    return true;
}

static void set_texts(struct resolved *resolved)
{
    struct config_database *database = &resolved->database;
    database->ticketfile = text_of(resolved, "ticketfile");
    database->oraclehome = text_of(resolved, "oraclehome");
    database->sid = text_of(resolved, "sid");
    if (!*database->sid)
        database->sid = text_of(resolved, "oraclesid");
    if (!*database->sid)
        database->sid = database->name;
    database->osuser = text_of(resolved, "osuser");
    database->tnsadmin = text_of(resolved, "tnsadmin");
    database->sectionsize = size_of(resolved, "sectionsize");
    database->templates = text_of(resolved, "templates");
    database->zone = text_of(resolved, "zone");
    database->spool = text_of(resolved, "spool");
    database->primarytns = text_of(resolved, "primarytns");
    database->catalog = text_of(resolved, "catalog");
    database->sandbox_destination = text_of(resolved, "autorestoredestination");
    database->sandbox_clone = text_of(resolved, "autorestoreclonename");
    database->sandbox_mount = text_of(resolved, "autorestoremountpoint");
    database->mount_helper = text_of(resolved, "mounthelper");
    database->sandbox_logdir = text_of(resolved, "autorestorelogdir");
    database->sandbox_catalog = text_of(resolved, "autorestorecatalog");
    database->sandbox_pga = size_of(resolved, "pga_size");
    database->sandbox_sga = size_of(resolved, "sga_size");
}

static void set_numbers(struct resolved *resolved)
{
    struct config_database *database = &resolved->database;
    database->parallel = keys_number(text_of(resolved, "parallel"));
    database->logwait_s = keys_number(text_of(resolved, "logwait"));
    database->agentwait_s = keys_number(text_of(resolved, "agentwait"));
    database->spoolmax_mib = keys_number(text_of(resolved, "spoolmax"));
    database->rmansilent_min = keys_number(text_of(resolved, "rmansilent"));
    database->rmandeadline_min = keys_number(text_of(resolved, "rmandeadline"));
    database->maxlockwait_min = keys_number(text_of(resolved, "maxlockwait"));
    database->recoverywindow_days = keys_number(text_of(resolved, "recoverywindow"));
    database->dbid = (uint32_t)keys_number(text_of(resolved, "dbid"));
    database->sandbox_instance_no = keys_number(text_of(resolved, "autorestoreinstancenumber"));
    database->sandbox_thread = keys_number(text_of(resolved, "autorestorethread"));
    database->logs_push = str_equal_fold(text_of(resolved, "logs"), "push");
    database->area_mounted = keys_flag(text_of(resolved, "areamounted"));
    database->allowfull = keys_flag(text_of(resolved, "allowfull"));
    database->strict = keys_flag(text_of(resolved, "strict"));
    database->hasdataguard = keys_flag(text_of(resolved, "hasdataguard"));
    database->dosnapshot = keys_flag(text_of(resolved, "dosnapshot"));
    database->gimanaged = keys_flag(text_of(resolved, "gimanaged"));
}

static struct resolved *resolve(struct config_shim *config, const struct section *section,
                                struct err *err)
{
    AUTO(mem) struct resolved *resolved = own_alloc(sizeof *resolved, err);
    if (!resolved)
        return NULL;
    resolved->section = section;
    resolved->database.name = section ? section->name : "";
    for (size_t i = 0; i < keys_shim.count; i++)
        resolved->entries[i] = resolve_entry(config, section, i);
    if (!set_credentials(config, resolved, err) || !set_tag(config, resolved, err) ||
        !set_area(config, resolved, err) || !set_agent(config, resolved, err))
        return NULL;
    set_texts(resolved);
    set_numbers(resolved);
    return TAKE(resolved);
}

static bool resolve_all(struct config_shim *config, struct err *err)
{
    config->generic = resolve(config, NULL, err);
    if (!config->generic)
        return false;
    for (size_t i = 0; i < config->section_count; i++) {
        if (config->sections[i]->bit != KEYS_DATABASE)
            continue;
        if (!own_grow((void **)&config->databases, &config->database_capacity,
                      config->database_count, sizeof(struct resolved *), err))
            return false;
        struct resolved *resolved = resolve(config, config->sections[i], err);
        if (!resolved)
            return false;
        config->databases[config->database_count++] = resolved;
    }
    return true;
}

struct config_shim *config_shim_parse(const char *text, size_t len, const char *file,
                                      struct err *err)
{
    AUTO(config_shim) struct config_shim *config = own_alloc(sizeof *config, err);
    if (!config)
        return NULL;
    config->file = keys_keep(&config->texts, own_strdup(file, err), err);
    if (!config->file || !ini_parse(text, len, config->file, on_event, config, err) ||
        !resolve_all(config, err))
        return NULL;
    return TAKE(config);
}

struct config_shim *config_shim_load(const char *path, struct err *err)
{
    size_t len;
    AUTO(mem) char *text = sys_read_file(path, INI_SIZE_MAX, &len, err);
    if (!text)
        return err_null(err, "configuration");
    return config_shim_parse(text, len, path, err);
}

void config_shim_free(struct config_shim *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->section_count; i++)
        own_free(config->sections[i]);
    own_free(config->sections);
    for (size_t i = 0; i < config->database_count; i++)
        own_free(config->databases[i]);
    own_free(config->databases);
    own_free(config->generic);
    keys_texts_done(&config->texts);
    own_free(config);
}

const char *config_shim_file(const struct config_shim *config) { return config->file; }

const struct config_database *config_shim_at(const struct config_shim *config, size_t index)
{
    return index < config->database_count ? &config->databases[index]->database : NULL;
}

const struct config_database *config_shim_generic(const struct config_shim *config)
{
    return &config->generic->database;
}

const struct config_database *config_shim_find(const struct config_shim *config, const char *name,
                                               struct err *err)
{
    AUTO(mem)
    const char **known = own_alloc((config->database_count + 1) * sizeof(const char *), err);
    if (!known)
        return NULL;
    for (size_t i = 0; i < config->database_count; i++) {
        known[i] = config->databases[i]->database.name;
        if (str_equal(known[i], name))
            return &config->databases[i]->database;
    }
    const char *nearest = str_nearest(name, known, config->database_count);
    err_set(err, ERR_NOT_FOUND, "%s: no section for database '%.80s'%s%s%s", config->file, name,
            nearest ? ", nearest: '" : "", nearest ? nearest : "", nearest ? "'" : "");
    return NULL;
}

static const struct entry *entry_of(const struct config_database *database, const char *key)
{
    static const struct entry none = {"", 0};
    int index = key_index(key);
    return index < 0 ? &none : &((const struct resolved *)database)->entries[index];
}

const char *config_value(const struct config_database *database, const char *key)
{
    return entry_of(database, key)->text;
}

char *config_origin(const struct config_shim *config, const struct config_database *database,
                    const char *key, struct err *err)
{
    unsigned line = entry_of(database, key)->line;
    return line ? own_printf(err, "%s:%u", config->file, line) : own_strdup("default", err);
}

bool config_require(const struct config_shim *config, const struct config_database *database,
                    const char *key, struct err *err)
{
    if (*config_value(database, key))
        return true;
    const struct section *section = ((const struct resolved *)database)->section;
    int index = key_index(key);
    bool generic = index >= 0 && (keys_shim.keys[index].plain & KEYS_GENERIC);
    if (!section)
        return err_set(err, ERR_CONFIG, "%s: section [generic] lacks key '%s'", config->file, key);
    return err_set(err, ERR_CONFIG, "%s:%u: section [%s] lacks key '%s'%s", config->file,
                   section->line, section->name, key, generic ? ", and so does [generic]" : "");
}

char *config_shim_keys(struct err *err) { return keys_describe(&keys_shim, err); }
