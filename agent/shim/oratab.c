/* Where Oracle lives on this host: home and SID, from the configuration or /etc/oratab. */
#include "agent/shim/oratab.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <string.h>

enum { ORATAB_SIZE_MAX = 1 << 20 };

/* "SID:HOME:Y" at the start of line; the home when it is this SID's. */
static bool match_line(const char *line, size_t len, const char *sid, char *ret_home, size_t size)
{
    size_t sid_len = strlen(sid);
    if (len <= sid_len + 1 || memcmp(line, sid, sid_len) != 0 || line[sid_len] != ':')
        return false;
    const char *home = line + sid_len + 1;
    size_t home_len = 0;
    while (home + home_len < line + len && !strchr(":# \t\r", home[home_len]))
        home_len++;
    if (!home_len || home_len >= size || *home != '/')
        return false;
    memcpy(ret_home, home, home_len);
    ret_home[home_len] = '\0';
    return true;
}

bool oratab_find(const char *text, const char *sid, char *ret_home, size_t size, unsigned *ret_line)
{
    if (!*sid || str_equal(sid, "*") || *sid == '#')
        return false;
    for (unsigned line = 1; *text; line++) {
        text += strspn(text, " \t");
        size_t len = strcspn(text, "\n");
        if (match_line(text, len, sid, ret_home, size)) {
            *ret_line = line;
            return true;
        }
        text += len + (text[len] == '\n');
    }
    return false;
}

static bool resolve_oratab(const struct config_shim *config, const struct config_database *database,
                           const char *path, struct oratab_home *home, struct err *err)
{
    struct err why = {0};
    size_t len;
    unsigned line = 0;
    AUTO(mem) char *text = sys_read_file(path, ORATAB_SIZE_MAX, &len, &why);
    /* On a cluster oratab names the database where the instance carries a number. */
    if (text && (oratab_find(text, database->sid, home->home, sizeof home->home, &line) ||
                 oratab_find(text, database->name, home->home, sizeof home->home, &line))) {
        str_format(home->origin, sizeof home->origin, "%s:%u", path, line);
        return true;
    }
    return err_set(err, ERR_NOT_FOUND, "no Oracle home for '%s': %s has no oraclehome, and %s %s",
                   database->sid, config_shim_file(config), path,
                   text ? "does not name the instance" : "cannot be read");
}

bool oratab_resolve(const struct config_shim *config, const struct config_database *database,
                    const char *oratab_path, struct oratab_home *ret_home, struct err *err)
{
    struct oratab_home home = {0};
    if (!str_copy(home.sid, sizeof home.sid, database->sid) ||
        !str_copy(home.tnsadmin, sizeof home.tnsadmin, database->tnsadmin) ||
        !str_copy(home.home, sizeof home.home, database->oraclehome))
        return err_set(err, ERR_CONFIG, "sid, tnsadmin or oraclehome of '%s' is too long",
                       database->name);
    if (*home.home) {
        AUTO(mem) char *origin = config_origin(config, database, "oraclehome", err);
        if (!origin)
            return false;
        str_copy(home.origin, sizeof home.origin, origin);
    } else if (!resolve_oratab(config, database, oratab_path, &home, err)) {
        return false;
    }
    *ret_home = home;
    return true;
}

bool oratab_env_init(struct oratab_env *env, const struct oratab_home *home, struct err *err)
{
    AUTO(oratab_env) struct oratab_env made = {0};
    size_t n = 0;
    made.owned[n++] = own_printf(err, "ORACLE_HOME=%s", home->home);
    made.owned[n++] = own_strdup("NLS_LANG=AMERICAN_AMERICA.AL32UTF8", err);
    made.owned[n++] = own_strdup("NLS_DATE_FORMAT=yyyy-mm-dd hh24:mi:ss", err);
    if (*home->sid)
        made.owned[n++] = own_printf(err, "ORACLE_SID=%s", home->sid);
    if (*home->tnsadmin)
        made.owned[n++] = own_printf(err, "TNS_ADMIN=%s", home->tnsadmin);
    for (size_t i = 0; i < n; i++) {
        if (!made.owned[i])
            return false;
        made.envp[i] = made.owned[i];
    }
    *env = made;
    made = (struct oratab_env){0};
    return true;
}

void oratab_env_done(struct oratab_env *env)
{
    for (size_t i = 0; i < sizeof env->owned / sizeof *env->owned; i++)
        own_free(env->owned[i]);
    *env = (struct oratab_env){0};
}

bool oratab_program(const struct oratab_home *home, const char *program, char *ret_path,
                    size_t size, struct err *err)
{
    if (!str_format(ret_path, size, "%s/bin/%s", home->home, program))
        return err_set(err, ERR_CONFIG, "oraclehome is too long (from %s)", home->origin);
    struct err why = {0};
    struct stat st;
    if (!sys_stat(ret_path, &st, &why))
        return err_set(err, why.code, "no program '%s': oraclehome '%s' comes from %s", ret_path,
                       home->home, home->origin);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return err_set(err, ERR_DENIED, "'%s' cannot be executed: oraclehome '%s' comes from %s",
                       ret_path, home->home, home->origin);
    return true;
}
