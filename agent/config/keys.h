/* Every key there is: name, section, default, bounds, help. Parser, check-config and manual read
 * it. */
#pragma once
#include "agent/config/config.h"
#include "agent/config/ini.h"

/* Sections as bits, so that a key can be at home in one and allowed in several. */
enum keys_section {
    KEYS_GENERIC = 1,
    KEYS_RMAN = 2,
    KEYS_ZFSSA = 4,
    KEYS_NETAPP = 8,
    KEYS_SOFTNAS = 16,
    KEYS_DORADO = 32,
    KEYS_AUTORESTORE = 64,
    KEYS_DATABASE = 128, /* [ORCL] of evercopy.conf */
    KEYS_AGENT = 256,    /* evercopyd.conf from here */
    KEYS_STORAGE = 512,
    KEYS_SERVED = 1024,
    KEYS_VAULT = 2048, /* evercopy-vaultd.conf from here */
    KEYS_STORE = 4096,
    KEYS_EXPORT = 8192,
};

enum keys_kind {
    KEYS_TEXT,    /* anything, several lines */
    KEYS_LINE,    /* one line */
    KEYS_PATH,    /* absolute, fit for a script */
    KEYS_NAME,    /* letters, digits, _ $ # - . */
    KEYS_SIZE,    /* 64G, 512M, none */
    KEYS_NUMBER,  /* min..max */
    KEYS_FLAG,    /* true or false */
    KEYS_CHOICE,  /* a word of `choices` */
    KEYS_ADDRESS, /* HOST[:PORT] */
};

struct keys_key {
    const char *name;
    unsigned home;  /* the section it belongs to; in a database section also as section+key */
    unsigned plain; /* sections where its plain name is allowed */
    enum keys_kind kind;
    const char *fallback;
    uint64_t min, max; /* of numbers; the default port of addresses in min */
    const char *choices;
    const char *help;
};

enum { KEYS_MAX = 96 }; /* in a table */
struct keys_table {
    const struct keys_key *keys;
    size_t count;
};
extern const struct keys_table keys_shim;
extern const struct keys_table keys_agent;
extern const struct keys_table keys_vault;

/* Names of databases, storages: at most 63 letters, digits and _ $ # - . */
bool keys_name_fits(const char *name);
/* The section's bit by its name in evercopy.conf; KEYS_DATABASE for names that are none of ours. */
unsigned keys_section_of(const char *name);
/* The index of a key as written in that section, -1 when there is none. */
int keys_find(const struct keys_table *table, unsigned section, const char *name);
/* "file:line: unknown key 'x' in section [S], nearest: 'y'". Returns false. */
bool keys_unknown(const struct keys_table *table, unsigned section, const struct ini_event *event,
                  const char *file, struct err *err);
/* Kind and bounds. */
bool keys_check(const struct keys_key *key, const char *value, struct err *err) MUST;
/* Readings of checked values. */
bool keys_flag(const char *value);
uint64_t keys_number(const char *value);
uint64_t keys_size(const char *value); /* bytes; none: 0 */
/* host points into memory of the caller: at least strlen(value) + 1 bytes. */
struct config_address keys_address(const char *value, uint64_t default_port, char *host);
/* The table as text for people; owned. */
char *keys_describe(const struct keys_table *table, struct err *err) MUST;

/* Texts a configuration owns besides the file's own. */
struct keys_texts {
    char **texts;
    size_t count, capacity;
};
/* Takes text over (NULL passes through as failure); the same pointer comes back. */
const char *keys_keep(struct keys_texts *texts, char *text, struct err *err);
void keys_texts_done(struct keys_texts *texts);
