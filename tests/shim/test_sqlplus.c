/* SQL*Plus runs against fake programs: rows, causes, deadlines, environment; and oratab. */
#include "agent/base/clock.h"
#include "agent/shim/sqlplus.h"
#include "tests/shim/fake_home.h"

static bool collect(void *arg, char *row, struct err *err)
{
    (void)err;
    str_printf(arg, "<%s>", row);
    return true;
}

static bool refuse(void *arg, char *row, struct err *err)
{
    ++*(int *)arg;
    return err_set(err, ERR_INVALID, "bad row '%s'", row);
}

static void log_line(void *arg, const char *line, size_t len)
{
    str_append(arg, "[");
    str_append_n(arg, line, len > 20 ? 20 : len);
    str_append(arg, "]");
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

/* Runs `script` in place of SQL*Plus. */
static bool run(const char *script, struct sqlplus *sqlplus, struct str *rows, struct err *err)
{
    struct fake_home fake;
    fake_home_init(&fake);
    fake_home_program(&fake, "sqlplus", script);
    sqlplus->home = &fake.home;
    bool ok = sqlplus_run(sqlplus, "select 1 from dual;", collect, rows, err);
    fake_home_done(&fake);
    return ok;
}

Test(shim, sqlplus_gives_rows_to_one_and_lines_to_the_other)
{
    struct err err = {0};
    AUTO(str) struct str rows = {0};
    AUTO(str) struct str lines = {0};
    struct sqlplus sqlplus = {.line = log_line, .arg = &lines};
    cr_assert(run("echo 'EC|a|1   '; echo noise; echo; echo 'EC|b|ORA-00600: in a row'; echo EC",
                  &sqlplus, &rows, &err),
              "%s", err.text);
    cr_expect_str_eq(rows.text, "<a|1><b|ORA-00600: in a row>");
    cr_expect_str_eq(lines.text, "[noise][][EC]");
}

Test(shim, sqlplus_gets_preamble_script_exit_and_only_five_variables)
{
    struct err err = {0};
    struct fake_home fake;
    fake_home_init(&fake);
    str_copy(fake.home.tnsadmin, sizeof fake.home.tnsadmin, "/etc/tns");
    fake_home_program(&fake, "sqlplus", "");
    struct sqlplus sqlplus = {.home = &fake.home};
    cr_assert(sqlplus_run(&sqlplus, "select 42 from dual;", NULL, NULL, &err), "%s", err.text);
    AUTO(mem) char *input = fake_home_read(&fake, "input");
    AUTO(mem) char *args = fake_home_read(&fake, "args");
    AUTO(mem) char *env = fake_home_read(&fake, "env");
    cr_expect(str_starts(input, "whenever sqlerror exit failure\n"));
    cr_expect(strstr(input, "set tab off\nselect 42 from dual;\nexit\n"));
    cr_expect_str_eq(args, "-S\n-L\n/ as sysdba\n");
    char wanted[400];
    str_format(wanted, sizeof wanted,
               "ORACLE_HOME=%s\nNLS_LANG=AMERICAN_AMERICA.AL32UTF8\n"
               "NLS_DATE_FORMAT=yyyy-mm-dd hh24:mi:ss\nORACLE_SID=orcl\nTNS_ADMIN=/etc/tns\n",
               fake.dir);
    cr_expect_str_eq(env, wanted);
    sqlplus.connect = "/@PRIMARY as sysdba";
    cr_assert(sqlplus_run(&sqlplus, "", NULL, NULL, &err));
    AUTO(mem) char *remote = fake_home_read(&fake, "env");
    cr_expect_null(strstr(remote, "ORACLE_SID"));
    fake_home_done(&fake);
}

Test(shim, sqlplus_fails_with_the_first_real_cause)
{
    static const struct {
        const char *script, *wanted;
    } cases[] = {
        {"echo 'ERROR at line 1:'; echo 'ORA-00604: error occurred at recursive SQL level 1';"
         "echo 'ORA-01555: snapshot too old'; exit 1",
         "ORA-01555: snapshot too old (SQL*Plus ended with exit code 1)"},
        {"echo 'ORA-01078: failure in processing system parameters';"
         "echo \"LRM-00109: could not open parameter file '/x'\"; exit 0",
         "LRM-00109: could not open parameter file '/x' (SQL*Plus ended with exit code 0)"},
        {"exit 2", "no error message (SQL*Plus ended with exit code 2)"},
        {"echo 'SP2-0640: Not connected'",
         "SP2-0640: Not connected (SQL*Plus ended with exit code 0)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        AUTO(str) struct str rows = {0};
        struct sqlplus sqlplus = {0};
        cr_expect_not(run(cases[i].script, &sqlplus, &rows, &err));
        cr_expect_eq(err.code, ERR_EXTERNAL);
        cr_expect_str_eq(err.text, cases[i].wanted);
    }
}

Test(shim, sqlplus_stops_at_the_deadline_and_on_request)
{
    const char *hang = "trap 'echo stopped; exit 1' INT; while :; do sleep 0.02; done";
    struct err err = {0};
    AUTO(str) struct str rows = {0};
    AUTO(str) struct str lines = {0};
    struct sqlplus slow = {.deadline_ms = 300, .grace_ms = 3000, .line = log_line, .arg = &lines};
    cr_expect_not(run(hang, &slow, &rows, &err));
    cr_expect_eq(err.code, ERR_TIMEOUT);
    cr_expect_str_eq(lines.text, "[stopped]");
    struct sqlplus unwanted = {.cancelled = always};
    cr_expect_not(run(hang, &unwanted, &rows, &err));
    cr_expect_eq(err.code, ERR_CANCELLED);
    struct sqlplus deaf = {.deadline_ms = 200, .grace_ms = 200};
    uint64_t started_ms = clock_mono_ms();
    cr_expect_not(run("trap '' INT; sleep 20", &deaf, &rows, &err));
    cr_expect_eq(err.code, ERR_TIMEOUT);
    cr_expect_lt(clock_mono_ms() - started_ms, 5000);
}

Test(shim, sqlplus_survives_huge_lines_and_binary)
{
    struct err err = {0};
    AUTO(str) struct str rows = {0};
    struct sqlplus sqlplus = {0};
    cr_expect(run("head -c 300000 /dev/zero | tr '\\0' x; echo; printf 'a\\000b\\001\\n';"
                  "head -c 5000 /dev/urandom | tr -d '\\n' ; echo; echo 'EC|ok'",
                  &sqlplus, &rows, &err),
              "%s", err.text);
    cr_expect_str_eq(rows.text, "<ok>");
    cr_expect_not(
        run("printf 'EC|'; head -c 5000 /dev/zero | tr '\\0' x; echo", &sqlplus, &rows, &err));
    cr_expect(strstr(err.text, "too long"), "a cut row is no row: %s", err.text);
    cr_expect_not(run("printf 'EC|a\\000b\\n'", &sqlplus, &rows, &err));
}

Test(shim, sqlplus_reports_a_row_that_is_refused_once)
{
    struct err err = {0};
    struct fake_home fake;
    fake_home_init(&fake);
    fake_home_program(&fake, "sqlplus", "echo 'EC|x'; echo 'EC|y'");
    struct sqlplus sqlplus = {.home = &fake.home};
    int asked = 0;
    cr_expect_not(sqlplus_run(&sqlplus, "", refuse, &asked, &err));
    cr_expect_str_eq(err.text, "bad row 'x'");
    cr_expect_eq(asked, 1);
    fake_home_done(&fake);
}

Test(shim, sqlplus_missing_names_the_home_and_its_origin)
{
    struct err err = {0};
    struct oratab_home home = {.home = "/nonexistent/db", .sid = "orcl", .origin = "e.conf:12"};
    struct sqlplus sqlplus = {.home = &home};
    cr_expect_not(sqlplus_run(&sqlplus, "", NULL, NULL, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect_str_eq(err.text, "no program '/nonexistent/db/bin/sqlplus': oraclehome "
                               "'/nonexistent/db' comes from e.conf:12");
}

/* ---- oratab ---- */

Test(shim, oratab_finds_the_line_of_the_instance)
{
    static const char text[] = "# orcl:/comment:N\n\n*:/star:N\norcl2:/u01/two:N\n"
                               "orcl:/u01/one:Y   # note\nbad:relative:N\nempty::N\nlast:/u01/last";
    static const struct {
        const char *sid, *home;
        unsigned line;
    } cases[] = {
        {"orcl", "/u01/one", 5},
        {"orcl2", "/u01/two", 4},
        {"last", "/u01/last", 8},
        {"*", NULL, 0},
        {"", NULL, 0},
        {"ORCL", NULL, 0},
        {"bad", NULL, 0},
        {"empty", NULL, 0},
        {"# orcl", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char home[64];
        unsigned line = 0;
        bool found = oratab_find(text, cases[i].sid, home, sizeof home, &line);
        cr_expect_eq(found, cases[i].home != NULL, "%s", cases[i].sid);
        cr_expect_eq(line, cases[i].line);
        cr_expect(!found || str_equal(home, cases[i].home));
    }
    char tiny[4];
    unsigned line;
    cr_expect_not(oratab_find(text, "orcl", tiny, sizeof tiny, &line));
}

Test(shim, oratab_serves_where_the_configuration_is_silent)
{
    struct err err = {0};
    char path[] = "/tmp/evercopy-oratab-XXXXXX";
    AUTO(fd) int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert(sys_write(fd, "ORCL:/u01/rac:N\n", 16, path, &err));
    static const char text[] = "[generic]\ntnsadmin = /tns\n[ORCL]\nsid = ORCL1\n"
                               "[B]\noraclehome = /u01/b\n[C]\n";
    AUTO(config_shim)
    struct config_shim *config = config_shim_parse(text, strlen(text), "e.conf", &err);
    cr_assert(config, "%s", err.text);
    struct oratab_home home;
    cr_assert(oratab_resolve(config, config_shim_at(config, 0), path, &home, &err), "%s", err.text);
    cr_expect_str_eq(home.home, "/u01/rac");
    cr_expect_str_eq(home.sid, "ORCL1");
    cr_expect_str_eq(home.tnsadmin, "/tns");
    cr_expect(str_ends(home.origin, ":1"));
    cr_assert(oratab_resolve(config, config_shim_at(config, 1), path, &home, &err));
    cr_expect_str_eq(home.home, "/u01/b");
    cr_expect_str_eq(home.origin, "e.conf:6");
    cr_expect_not(oratab_resolve(config, config_shim_at(config, 2), path, &home, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect(strstr(err.text, "does not name the instance"));
    cr_expect_not(oratab_resolve(config, config_shim_at(config, 2), "/nonexistent", &home, &err));
    cr_expect(strstr(err.text, "e.conf has no oraclehome, and /nonexistent cannot be read"));
    IGNORE(!sys_unlink(path, &err)); /* a scratch file */
}
