/* The shipped examples, run as the agent runs them; only the places they name are the test's. */
#include "tests/firmware-hooks/hook_dir.h"

/* Copies an example below hook.d, with one text in it replaced. */
static void put_example(const struct hook_dir *h, const char *event, const char *name,
                        const char *from, const char *to)
{
    struct err err = {0};
    char path[200], file[100];
    AUTO(str) struct str text = {0};
    str_format(path, sizeof path, "firmware-hooks/examples/%s", name);
    AUTO(mem) char *example = hook_text(path);
    char *at = strstr(example, from);
    cr_assert(at, "%s", path);
    str_append_n(&text, example, (size_t)(at - example));
    str_append(&text, to);
    str_append(&text, at + strlen(from));
    str_format(file, sizeof file, "%s/%s", event, name);
    hook_put(h, file, "");
    str_format(path, sizeof path, "%s/%s", h->hooks, file);
    cr_assert(str_ok(&text, &err) && sys_write_file(path, text.text, text.len, 0755, &err));
}

static struct hooks_result run_with(const struct hook_dir *h, const char *event, const char *input)
{
    struct hooks_result result;
    struct hooks_call call = {.config = &h->config,
                              .event = hooks_event_find(event),
                              .input = input,
                              .input_len = strlen(input),
                              .until_ms = clock_mono_ms() + 10000};
    hooks_run(&call, &result);
    return result;
}

Test(examples, syslog_gets_one_line_with_the_level_of_the_verdict)
{
    AUTO(hook_dir) struct hook_dir h = {0};
    char to[400];
    hook_dir_begin(&h);
    str_format(to, sizeof to, "exec %s", hook_path(&h, "logger"));
    hook_put(&h, "../logger", "printf '<%s>' \"$@\" >> $D/lines; echo >> $D/lines");
    put_example(&h, "verdict.change", "10-syslog", "exec logger", to);
    put_example(&h, "capacity.low", "10-syslog", "exec logger", to);
    struct hooks_result r = run_with(
        &h, "verdict.change",
        "event=verdict.change\ndb=ORCL\nold=ok\nnew=failed\ncause=-x $(reboot) \\x0a `id`\n");
    cr_expect(r.called == 1 && r.failed == 0);
    run_with(&h, "verdict.change", "event=verdict.change\ndb=ORCL\nold=failed\nnew=ok\n");
    run_with(&h, "capacity.low", "db=ORCL\nvolume=v\navailable=1\ncapacity=9\n");
    AUTO(mem) char *lines = hook_text(hook_path(&h, "lines"));
    cr_expect_str_eq(lines,
                     "<-t><evercopy><-p><daemon.err><--><ORCL: ok -> failed: -x $(reboot) \\x0a "
                     "`id`>\n"
                     "<-t><evercopy><-p><daemon.notice><--><ORCL: failed -> ok>\n"
                     "<-t><evercopy><-p><daemon.warning><--><volume v of ORCL: 1 of 9 bytes are "
                     "left>\n");
}

Test(examples, quiesce_waits_until_the_service_holds_still_and_lets_it_go_on)
{
    AUTO(hook_dir) struct hook_dir h = {0};
    char to[400];
    static const char event[] = "db=ORCL\nsnapshot=ORCL-1-post\nresult=taken\n";
    hook_dir_begin(&h);
    str_format(to, sizeof to, "folder=%s", hook_path(&h, "quiesce"));
    put_example(&h, "snapshot.before", "50-quiesce", "folder=/run/evercopy/quiesce", to);
    put_example(&h, "snapshot.after", "50-quiesce", "folder=/run/evercopy/quiesce", to);
    struct hooks_result r = run_with(&h, "snapshot.before", event);
    cr_expect(r.called == 1 && !r.failed && !r.delayed, "nobody to ask: go on");
    struct err err = {0};
    cr_assert(sys_mkdir(hook_path(&h, "quiesce"), 0755, &err));
    /* The service: it holds still some moments after it was asked. */
    hook_put(&h, "../service",
             "cd $D/quiesce; while [ ! -e ORCL.please ]; do sleep 0.05; done; sleep 0.3; : > "
             "ORCL.quiet");
    fflush(NULL);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        execl(hook_path(&h, "service"), "service", (char *)NULL);
        _exit(127);
    }
    r = run_with(&h, "snapshot.before", event);
    cr_expect(!r.failed && !r.delayed);
    cr_expect(access(hook_path(&h, "quiesce/ORCL.quiet"), F_OK) == 0, "it waited for that");
    cr_expect(hook_logged(&h, "asks to wait: waiting for ORCL to hold still"));
    r = run_with(&h, "snapshot.after", event);
    cr_expect(!r.failed && access(hook_path(&h, "quiesce/ORCL.please"), F_OK) != 0);
    r = run_with(&h, "snapshot.before", "db=../../etc\nsnapshot=x\n");
    cr_expect_eq(r.failed, 1, "a name that is none makes no file elsewhere");
}
