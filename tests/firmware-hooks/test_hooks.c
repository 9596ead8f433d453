/* Executable hooks: who is run, what they hear, and that none of them can do more than be late. */
#include "tests/firmware-hooks/hook_dir.h"
#include <signal.h>
#include <sys/stat.h>

#define HOOKS(h)                                                                                   \
    AUTO(hook_dir) struct hook_dir h = {0};                                                        \
    hook_dir_begin(&h)

Test(hooks, run_in_order_of_name_and_hear_the_event_by_stdin)
{
    HOOKS(h);
    hook_put(&h, "job.end/20-b", "echo \"b $*\" >> $D/ran");
    hook_put(&h, "job.end/10-a", "{ echo \"a $EVERCOPY_EVENT\"; cat; } >> $D/ran");
    hook_put(&h, "job.end/ignored", "echo no >> $D/ran");
    hook_put(&h, "job.end/30-old.bak", "echo no >> $D/ran");
    hook_put(&h, "clone.made/10-other", "echo no >> $D/ran");
    struct hooks_result r = hook_run(&h, "job.end", 0);
    AUTO(mem) char *ran = hook_text(hook_path(&h, "ran"));
    cr_expect_str_eq(ran, "a job.end\nevent=job.end\ndb=ORCL\nb job.end\n");
    cr_expect(r.called == 2 && r.failed == 0 && r.refused == 0 && r.skipped == 0);
}

Test(hooks, without_a_folder_or_hooks_nothing_happens_and_nothing_is_told)
{
    HOOKS(h);
    struct hooks_result r = hook_run(&h, "job.end", 0);
    cr_expect(!r.called && !r.failed && !r.refused);
    h.config.dir = "/nowhere/hook.d";
    r = hook_run(&h, "job.end", 0);
    cr_expect(!r.called && !r.failed && !r.refused);
    AUTO(mem) char *log = hook_text(h.log);
    cr_expect_str_eq(log, "");
}

Test(hooks, have_a_minimal_environment_and_no_descriptor_of_ours)
{
    HOOKS(h);
    AUTO(fd) int secret = open(h.log, O_RDONLY); /* not close-on-exec */
    setenv("EVERCOPY_SECRET", "s", 1);
    hook_put(
        &h, "job.end/10-a",
        "env | cut -d= -f1 | sort | tr '\\n' ' ' > $D/env; ls /proc/$$/fd > $D/fds; pwd > $D/pwd");
    hook_run(&h, "job.end", 0);
    AUTO(mem) char *env = hook_text(hook_path(&h, "env"));
    AUTO(mem) char *pwd = hook_text(hook_path(&h, "pwd"));
    AUTO(mem) char *fds = hook_text(hook_path(&h, "fds"));
    char number[16];
    str_format(number, sizeof number, "\n%d\n", secret);
    cr_expect(secret > 2 && !strstr(fds, number), "descriptors: %s", fds);
    cr_expect_str_eq(env, "EVERCOPY_EVENT LC_ALL PATH PWD ");
    cr_expect_str_eq(pwd, "/\n");
}

/* What may go wrong with one hook: the next one is run all the same, within its time, and it is
 * told. */
static const struct {
    const char *name, *script, *told;
    unsigned deadline_ms;
} bad[] = {
    {"fails", "exit 7", "hook failed, going on", 20000},
    {"wants_a_veto", "exit 1", "hook failed, going on", 20000},
    {"crashes", "kill -SEGV $$", "hook crashed, going on", 20000},
    {"hangs", "exec sleep 1000", "was ended at its deadline", 200},
    {"ignores_signals", "trap '' INT TERM HUP; while :; do sleep 0.1; done",
     "was ended at its deadline", 200},
    {"hangs_in_a_child", "sleep 1000", "was ended at its deadline", 200},
    {"floods", "exec yes", "it wrote too much", 20000},
    {"floods_one_line", "exec tr '\\0' x < /dev/zero", "it wrote too much", 20000},
    {"says_no_text", "printf '\\033[2J\\377\\000message=\\233\\n'; exit 3", "hook failed, going on",
     20000},
};

static void run_bad(size_t i)
{
    HOOKS(h);
    h.config.deadline_ms = bad[i].deadline_ms;
    hook_put(&h, "job.end/10-bad", bad[i].script);
    hook_put(&h, "job.end/20-good", "echo ran > $D/ran");
    uint64_t begun = clock_mono_ms();
    struct hooks_result r = hook_run(&h, "job.end", 0);
    uint64_t took = clock_mono_ms() - begun;
    AUTO(mem) char *ran = hook_text(hook_path(&h, "ran"));
    AUTO(mem) char *log = hook_text(h.log);
    cr_expect_str_eq(ran, "ran\n", "%s", bad[i].name);
    cr_expect(r.failed == 1 && r.called == 2, "%s: %s", bad[i].name, log);
    cr_expect(strstr(log, bad[i].told), "%s: %s", bad[i].name, log);
    cr_expect_lt(took, 15000, "%s took %llu ms", bad[i].name, (unsigned long long)took);
    cr_expect_null(strchr(log, '\033'), "%s", bad[i].name);
    cr_expect_lt(strlen(log), 16000, "%s: the log is bounded", bad[i].name);
}

Test(hooks, a_bad_one_is_told_and_holds_nothing_up)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        run_bad(i);
}

static pid_t pid_in(const char *path)
{
    AUTO(mem) char *text = hook_text(path);
    return (pid_t)strtol(text, NULL, 10);
}

Test(hooks, what_one_leaves_in_its_group_ends_with_it_and_a_daemon_does_not_hold_us)
{
    HOOKS(h);
    hook_put(&h, "job.end/10-forks",
             "sh -c 'trap \"\" INT TERM; echo $$ > $0/left; exec sleep 1000' $D & \n"
             "setsid sh -c 'echo $$ > $0/daemon; exec sleep 20' $D &\n"
             "while [ ! -s $D/left ] || [ ! -s $D/daemon ]; do sleep 0.02; done");
    uint64_t begun = clock_mono_ms();
    struct hooks_result r = hook_run(&h, "job.end", 0);
    cr_expect(r.called == 1 && r.failed == 0);
    cr_expect_lt(clock_mono_ms() - begun, 10000);
    pid_t left = pid_in(hook_path(&h, "left"));
    pid_t daemon = pid_in(hook_path(&h, "daemon"));
    cr_assert(left > 1 && daemon > 1);
    uint64_t until = clock_mono_ms() + 5000;
    while (kill(left, 0) == 0 && clock_mono_ms() < until) { /* its new parent must reap it */
        char state[400];
        str_format(state, sizeof state, "/proc/%d/stat", (int)left);
        AUTO(mem) char *stat = hook_text(state);
        if (strstr(stat, ") Z "))
            break;
    }
    cr_expect_lt(clock_mono_ms(), until, "process %d goes on", (int)left);
    cr_expect_eq(kill(daemon, SIGKILL), 0, "a session of its own is its own affair");
}

Test(hooks, one_may_delay_a_snapshot_until_it_is_ready)
{
    HOOKS(h);
    hook_put(&h, "snapshot.before/10-quiesce",
             "echo x >> $D/count; [ $(wc -l < $D/count) -ge 3 ] || { echo again_ms=100; exit 1; }");
    hook_put(&h, "snapshot.before/20-next", "cp $D/count $D/then");
    struct hooks_result r = hook_run(&h, "snapshot.before", 30000);
    AUTO(mem) char *then = hook_text(hook_path(&h, "then"));
    cr_expect_str_eq(then, "x\nx\nx\n", "the next one waits for it");
    cr_expect(r.failed == 0 && r.delayed == 0);
}

Test(hooks, a_delay_ends_with_the_time_and_the_snapshot_goes_on)
{
    HOOKS(h);
    hook_put(&h, "snapshot.before/10-never", "echo again_ms=100; echo message=busy; exit 1");
    hook_put(&h, "snapshot.before/20-hangs", "sleep 1000");
    uint64_t begun = clock_mono_ms();
    struct hooks_result r = hook_run(&h, "snapshot.before", 600);
    cr_expect_lt(clock_mono_ms() - begun, 5000);
    cr_expect(r.delayed == 1 && r.called + r.skipped == 2, "called %u", r.called);
    cr_expect(hook_logged(&h, "asks to wait: busy"));
    cr_expect(hook_logged(&h, "until the time was over, going on"));
}

/* ---- whose they are ---- */

static void expect_refused(struct hook_dir *h, const char *part)
{
    struct hooks_result r = hook_run(h, "job.end", 0);
    AUTO(mem) char *log = hook_text(h->log);
    cr_expect(access(hook_path(h, "ran"), F_OK) != 0, "it was run; %s", part);
    cr_expect(r.refused == 1 && r.called == 0, "%s: %s", part, log);
    cr_expect(strstr(log, part), "no '%s' in: %s", part, log);
    struct err err = {0};
    cr_assert(sys_write_file(h->log, "", 0, 0600, &err));
    AUTO(fd) int fd = open(h->log, O_WRONLY | O_APPEND);
    cr_assert(dup2(fd, STDERR_FILENO) >= 0);
}

Test(hooks, whoever_else_could_write_it_it_is_not_run)
{
    HOOKS(h);
    char path[400];
    char dir[400];
    char outer[400];
    str_format(path, sizeof path, "%s/job.end/10-a", h.hooks);
    str_format(dir, sizeof dir, "%s/job.end", h.hooks);
    str_format(outer, sizeof outer, "%s", h.dir);
    hook_put(&h, "job.end/10-a", "echo ran > $D/ran");
    static const mode_t open_modes[] = {0775, 0757, 0777};
    const char *places[] = {path, dir, h.hooks, outer};
    for (size_t m = 0; m < 3; m++)
        for (size_t i = 0; i < 4; i++) {
            cr_assert_eq(chmod(places[i], open_modes[m]), 0);
            expect_refused(&h, "is writable by others");
            cr_assert_eq(chmod(places[i], 0755), 0);
        }
    cr_assert_eq(chmod(path, 0644), 0);
    expect_refused(&h, "is not executable");
    cr_assert_eq(chmod(path, 0755), 0);
    if (geteuid() == 0) {
        cr_assert_eq(chown(path, 65534, 0), 0);
        expect_refused(&h, "belongs to user 65534");
        cr_assert_eq(chown(path, 0, 0), 0);
        cr_assert_eq(chown(dir, 65534, 0), 0);
        expect_refused(&h, "belongs to user 65534");
        cr_assert_eq(chown(dir, 0, 0), 0);
    }
    cr_assert_eq(chmod(outer, 01777), 0); /* sticky, as /tmp: what is ours stays ours */
    struct hooks_result r = hook_run(&h, "job.end", 0);
    cr_expect(r.called == 1 && r.refused == 0);
}

Test(hooks, a_link_is_judged_by_all_it_leads_through)
{
    HOOKS(h);
    struct err err = {0};
    hook_put(&h, "job.end/real.sh", "echo ran > $D/ran");
    cr_assert(sys_mkdirs(hook_path(&h, "open"), 0755, &err));
    char link[400];
    str_format(link, sizeof link, "%s/job.end/10-link", h.hooks);
    cr_assert_eq(symlink("../../open/hop", link), 0);
    cr_assert_eq(symlink("../hook.d/job.end/real.sh", hook_path(&h, "open/hop")), 0);
    struct hooks_result r = hook_run(&h, "job.end", 0);
    cr_assert(r.called == 1 && r.refused == 0);
    unlink(hook_path(&h, "ran"));
    cr_assert_eq(chmod(hook_path(&h, "open"), 0777), 0); /* a place on the way */
    expect_refused(&h, "is writable by others");
    cr_assert_eq(chmod(hook_path(&h, "open"), 0755), 0);
    cr_assert_eq(chmod(hook_path(&h, "hook.d/job.end/real.sh"), 0777), 0);
    expect_refused(&h, "is writable by others");
    cr_assert(sys_unlink(hook_path(&h, "open/hop"), &err));
    expect_refused(&h, "hop");
    cr_assert_eq(symlink("hop", hook_path(&h, "open/hop")), 0);
    expect_refused(&h, "too many links");
    cr_assert(sys_unlink(hook_path(&h, "open/hop"), &err));
    cr_assert_eq(symlink("/proc/self/cwd", hook_path(&h, "open/hop")), 0);
    expect_refused(&h, "no plain file");
}

Test(hooks, checking_beforehand_names_what_will_never_run)
{
    HOOKS(h);
    hook_put(&h, "job.end/10-good", "exit 0");
    cr_expect_eq(hooks_check(&h.config), 0);
    hook_put(&h, "job.ends/10-a", "exit 0");
    hook_put(&h, "job.end/notes.txt", "exit 0");
    cr_assert_eq(chmod(hook_path(&h, "hook.d/job.end/10-good"), 0600), 0);
    cr_expect_eq(hooks_check(&h.config), 3);
    cr_expect(hook_logged(&h, "did you mean 'job.end'?"));
    cr_expect(hook_logged(&h, "notes.txt' is not named NN-name"));
    cr_expect(hook_logged(&h, "10-good' is not executable"));
    h.config.dir = "/nowhere";
    cr_expect_eq(hooks_check(&h.config), 1);
}

/* ---- what they read and say ---- */

Test(hooks, any_text_goes_there_and_back_and_is_one_line)
{
    static const char *const values[] = {
        "",
        "plain",
        "a=b=c",
        "two\nlines\r\n",
        "back\\slash \\x41 \\",
        "tab\there",
        "\x01\x7f\x1b[2J",
        "gr\xc3\xbc\xc3\x9f",
        "bad \xff\xc3( utf",
        " blanks ",
        "\xc2\x9b",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        AUTO(str) struct str line = {0};
        AUTO(input) struct input input = {0};
        struct err err = {0};
        input_put(&line, "key", values[i]);
        cr_assert(str_ok(&line, &err));
        cr_expect_eq(strchr(line.text, '\n'), line.text + line.len - 1, "%s", line.text);
        cr_assert(input_parse(&input, line.text, line.len, &err), "%s: %s", line.text, err.text);
        cr_expect_eq(input.count, 1);
        cr_expect_str_eq(input_value(&input, "key"), values[i]);
    }
}

Test(hooks, what_is_no_event_is_refused_with_its_line)
{
    static const char *const bad_texts[] = {"a",        "=b\n",      "A=b\n",        "a=\\q\n",
                                            "a=\\x0\n", "a=\\x00\n", "a=b\n\nc=d\n", "a=\\",
                                            "1a=b\n",   "a b=c\n"};
    for (size_t i = 0; i < sizeof bad_texts / sizeof *bad_texts; i++) {
        AUTO(input) struct input input = {0};
        struct err err = {0};
        cr_expect_not(input_parse(&input, bad_texts[i], strlen(bad_texts[i]), &err), "%s",
                      bad_texts[i]);
        cr_expect(err.code == ERR_INVALID && str_starts(err.text, "line "), "%s", err.text);
    }
}

Test(hooks, a_value_is_cut_between_two_signs)
{
    AUTO(str) struct str line = {0};
    AUTO(str) struct str value = {0};
    AUTO(input) struct input input = {0};
    struct err err = {0};
    str_append(&value, "x");
    for (int i = 0; i < 3000; i++)
        str_append(&value, "\xc3\xbc");
    input_put(&line, "key", value.text);
    cr_assert(input_parse(&input, line.text, line.len, &err));
    const char *kept = input_value(&input, "key");
    cr_expect(strlen(kept) == INPUT_VALUE_MAX - 1 && str_is_utf8(kept, strlen(kept)));
}
