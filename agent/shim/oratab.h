/* Where Oracle lives on this host: home and SID, from the configuration or /etc/oratab. */
#pragma once
#include "agent/config/config.h"

#define ORATAB_PATH "/etc/oratab"

struct oratab_home {
    char home[512];
    char sid[64];       /* "" for a connection by TNS name alone */
    char tnsadmin[512]; /* "" when not configured */
    char origin[600];   /* for messages: "evercopy.conf:12" or "/etc/oratab:3" */
};

/* The configured oraclehome, else oratab's line for the SID. NOT_FOUND when neither knows. */
bool oratab_resolve(const struct config_shim *config, const struct config_database *database,
                    const char *oratab_path, struct oratab_home *ret_home, struct err *err) MUST;
/* Looks a SID up in oratab text; a '*' line is no answer. */
bool oratab_find(const char *text, const char *sid, char *ret_home, size_t size, unsigned *ret_line)
    MUST;

/* The whole environment of an Oracle program (CONTRACTS: ORACLE_HOME, ORACLE_SID, TNS_ADMIN,
 * NLS_LANG, NLS_DATE_FORMAT and nothing else). Start with {0}. */
struct oratab_env {
    char *owned[5];
    const char *envp[6];
};
bool oratab_env_init(struct oratab_env *env, const struct oratab_home *home, struct err *err) MUST;
void oratab_env_done(struct oratab_env *env);
OWN_DEFINE_INPLACE(oratab_env, struct oratab_env, oratab_env_done);
/* "<home>/bin/<program>" when it may be executed; else a sentence naming the home's origin. */
bool oratab_program(const struct oratab_home *home, const char *program, char *ret_path,
                    size_t size, struct err *err) MUST;
