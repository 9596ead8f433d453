/* RMAN runs against fake programs: scripts in, classified logs out, and no false green. */
#include "agent/shim/rman.h"
#include "tests/shim/fake_home.h"

static void note(void *arg, const char *line, size_t len, const struct rmanlog_line *meaning)
{
    (void)line;
    (void)len;
    static const char *const words[] = {"i", "w", "e"};
    str_append(arg, words[meaning->severity]);
}

struct run {
    struct fake_home fake;
    struct rmanlog *log;
    struct str lines;
};

static void run_init(struct run *r, const char *script)
{
    struct err err = {0};
    *r = (struct run){0};
    fake_home_init(&r->fake);
    fake_home_program(&r->fake, "rman", script);
    r->log = rmanlog_new(&err);
    cr_assert(r->log);
}

static bool run_go(struct run *r, struct err *err)
{
    struct rman rman = {.home = &r->fake.home,
                        .line = note,
                        .arg = &r->lines,
                        .deadline_ms = 5000,
                        .grace_ms = 500};
    str_clear(&r->lines);
    return rman_run(&rman, "backup database;", r->log, err);
}

static void run_done(struct run *r)
{
    fake_home_done(&r->fake);
    rmanlog_free(r->log);
    str_done(&r->lines);
}

Test(shim, rman_sends_the_script_between_echo_and_exit)
{
    struct err err = {0};
    struct run r;
    run_init(&r, "echo 'Starting backup at x'; echo 'Recovery Manager complete.'");
    cr_assert(run_go(&r, &err), "%s", err.text);
    AUTO(mem) char *input = fake_home_read(&r.fake, "input");
    AUTO(mem) char *args = fake_home_read(&r.fake, "args");
    cr_expect_str_eq(input, "set echo on;\nbackup database;\nexit;\n");
    cr_expect_str_eq(args, "target\n/\n");
    cr_expect_str_eq(r.lines.text, "ii");
    run_done(&r);
}

Test(shim, rman_complete_is_no_proof_of_success)
{
    struct err err = {0};
    struct run r;
    run_init(&r,
             "echo 'RMAN-00569: ERROR MESSAGE STACK FOLLOWS'\n"
             "echo 'RMAN-03009: failure of backup command on c1 channel at 03/13/2012 10:19:41'\n"
             "echo 'ORA-19502: write error on file \"/nfs/p\", block number 128'\n"
             "echo 'Recovery Manager complete.'; exit 1");
    cr_expect_not(run_go(&r, &err));
    cr_expect_eq(err.code, ERR_EXTERNAL);
    cr_expect_str_eq(err.text, "ORA-19502: write error on file \"/nfs/p\", block number 128 (RMAN "
                               "ended with exit code 1)");
    cr_expect_str_eq(r.lines.text, "eeei");
    fake_home_program(&r.fake, "rman", "echo 'ORA-19502: write error'; exit 0");
    cr_expect_not(run_go(&r, &err), "an error stack outweighs exit code 0");
    fake_home_program(&r.fake, "rman",
                      "echo 'RMAN-08137: WARNING: archived log not deleted'; exit 0");
    cr_expect(run_go(&r, &err), "%s", err.text);
    cr_expect_str_eq(r.lines.text, "w");
    fake_home_program(&r.fake, "rman", "exit 1");
    cr_expect_not(run_go(&r, &err));
    cr_expect_str_eq(err.text, "no error message (RMAN ended with exit code 1)");
    run_done(&r);
}

Test(shim, rman_killed_in_a_merge_leaves_a_suspect_file)
{
    struct err err = {0};
    struct run r;
    run_init(&r, "echo 'channel c1: starting incremental datafile backup set restore'\n"
                 "echo 'recovering datafile copy file number=00004 name=/nfs/4'\nkill -9 $$");
    cr_expect_not(run_go(&r, &err));
    cr_expect_eq(err.code, ERR_EXTERNAL);
    cr_expect_str_eq(err.text, "RMAN was ended by signal 9: no error message");
    cr_assert_eq(rmanlog_facts(r.log)->suspects.count, 1);
    cr_expect_eq(rmanlog_facts(r.log)->suspects.items[0].file_no, 4);
    fake_home_program(&r.fake, "rman", "echo ok");
    cr_expect(run_go(&r, &err));
    cr_expect_eq(rmanlog_facts(r.log)->suspects.count, 1, "a later script does not heal it");
    run_done(&r);
}

Test(shim, rman_is_interrupted_before_it_is_killed)
{
    struct err err = {0};
    struct run r;
    run_init(&r, "trap 'echo \"ORA-01013: user requested cancel\"; exit 1' INT\n"
                 "while :; do sleep 0.02; done");
    struct rman rman = {
        .home = &r.fake.home, .line = note, .arg = &r.lines, .deadline_ms = 300, .grace_ms = 3000};
    cr_expect_not(rman_run(&rman, "backup database;", r.log, &err));
    cr_expect_eq(err.code, ERR_TIMEOUT);
    cr_expect_str_eq(r.lines.text, "e");
    cr_expect_str_eq(rmanlog_facts(r.log)->code, "ORA-01013");
    run_done(&r);
}

Test(shim, rman_missing_names_the_home_and_its_origin)
{
    struct err err = {0};
    struct run r;
    run_init(&r, "");
    char path[128];
    str_format(path, sizeof path, "%s/bin/rman", r.fake.dir);
    cr_assert(sys_unlink(path, &err));
    cr_expect_not(run_go(&r, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect(str_ends(err.text, "comes from /etc/oratab:3"), "%s", err.text);
    run_done(&r);
}
