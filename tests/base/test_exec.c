/* Programs: their lines, their ends, their deadlines, and what they must not inherit. */
#include "agent/base/clock.h"
#include "agent/base/exec.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/privileged.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const no_env[] = {NULL};

struct seen {
    struct str text; /* lines, each with '|' behind */
    size_t lines, longest;
    bool cancel_now, cancel_at_line;
};

static void on_line(void *arg, const char *line, size_t len)
{
    struct seen *seen = arg;
    cr_assert_eq(strlen(line), len, "terminated");
    str_append_n(&seen->text, line, len);
    str_append(&seen->text, "|");
    seen->lines++;
    seen->longest = len > seen->longest ? len : seen->longest;
    seen->cancel_now |= seen->cancel_at_line;
}

static bool is_cancelled(void *arg) { return ((struct seen *)arg)->cancel_now; }

/* Runs a shell script with what `e` says beside. */
static struct exec_result run(struct seen *seen, const char *script, struct exec e)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct err err = {0};
    struct exec_result result = {.exit_code = -1};
    e.argv = argv;
    e.envp = e.envp ? e.envp : no_env;
    e.line = seen ? on_line : NULL;
    e.arg = seen;
    cr_assert(exec_run(&e, &result, &err), "%s", err.text);
    return result;
}

static void expect_lines(const char *script, const char *lines)
{
    struct seen seen = {0};
    AUTO(str) struct str text = {0};
    struct exec_result r = run(&seen, script, (struct exec){0});
    text = seen.text;
    cr_expect_eq(r.exit_code, 0);
    cr_expect_str_eq(text.text ? text.text : "", lines);
}

/* True once the process has ended, though nobody may have waited for it. */
static bool is_gone(pid_t pid)
{
    char path[64];
    char bytes[512] = "";
    str_format(path, sizeof path, "/proc/%d/stat", pid);
    AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, bytes, sizeof bytes - 1) <= 0)
        return true;
    const char *state = strrchr(bytes, ')');
    return state && state[2] == 'Z';
}

static bool goes_away(pid_t pid)
{
    for (int i = 0; i < 300 && !is_gone(pid); i++)
        usleep(10000);
    return is_gone(pid);
}

Test(exec, lines_come_without_their_ends)
{
    expect_lines("printf 'one\\ntwo\\r\\n\\nlast'", "one|two||last|");
    expect_lines("printf '\\n\\n'", "||");
    expect_lines("true", "");
    expect_lines("echo out; echo err >&2; echo out", "out|err|out|");
}

Test(exec, long_lines_are_cut_and_the_next_is_whole)
{
    struct seen seen = {0};
    AUTO(str) struct str text = {0};
    run(&seen, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo next", (struct exec){0});
    text = seen.text;
    cr_expect_eq(seen.lines, 2);
    cr_expect(seen.longest <= 4000 && seen.longest >= 3999);
    cr_expect(str_ends(text.text, "x|next|"));
}

Test(exec, a_flood_of_lines_arrives_whole)
{
    struct seen seen = {0};
    AUTO(str) struct str text = {0};
    run(&seen, "seq 1 100000", (struct exec){0});
    text = seen.text;
    cr_expect_eq(seen.lines, 100000);
    cr_expect(str_ends(text.text, "|99999|100000|"));
}

Test(exec, input_larger_than_the_pipe_arrives_whole)
{
    struct err err = {0};
    size_t len = 3 << 20;
    AUTO(mem) char *input = own_alloc(len, &err);
    memset(input, 'i', len);
    struct exec e = {.input = input, .input_len = len, .deadline_ms = 20000, .grace_ms = 100};
    static const char *const scripts[] = {"wc -c", "cat | wc -c",
                                          "head -c 2000000 /dev/zero | tr '\\0' '\\n'; wc -c"};
    for (size_t i = 0; i < 3; i++) {
        struct seen seen = {0};
        AUTO(str) struct str text = {0};
        struct exec_result r = run(&seen, scripts[i], e);
        text = seen.text;
        cr_expect(r.exit_code == 0 && !r.timed_out, "script %zu", i);
        cr_expect(str_ends(text.text, "3145728|"), "script %zu", i);
    }
}

Test(exec, a_program_that_closed_its_output_still_gets_its_input)
{
    struct err err = {0};
    size_t len = 1 << 20;
    AUTO(mem) char *input = own_alloc(len, &err);
    struct exec e = {.input = input, .input_len = len, .deadline_ms = 5000};
    struct exec_result r =
        run(NULL, "exec >&- 2>&-; n=$(wc -c) && [ \"$n\" = 1048576 ] && exit 9", e);
    cr_expect_not(r.timed_out);
    cr_expect_eq(r.exit_code, 9);
}

Test(exec, unread_input_does_no_harm)
{
    struct err err = {0};
    size_t len = 1 << 20;
    AUTO(mem) char *input = own_alloc(len, &err);
    sigset_t pending;
    struct exec_result r =
        run(NULL, "exec <&-; sleep 0.1; exit 4", (struct exec){.input = input, .input_len = len});
    cr_expect_eq(r.exit_code, 4);
    sigpending(&pending);
    cr_expect_not(sigismember(&pending, SIGPIPE));
}

Test(exec, without_input_there_is_an_end_of_file) { expect_lines("cat; echo end", "end|"); }

Test(exec, exit_codes_and_signals_are_told_apart)
{
    for (int code = 0; code < 256; code += 51) {
        char script[32];
        str_format(script, sizeof script, "exit %d", code);
        struct exec_result r = run(NULL, script, (struct exec){0});
        cr_expect(r.exit_code == code && !r.signal_no && !r.timed_out && !r.cancelled);
    }
    static const int signals[] = {SIGTERM, SIGKILL, SIGPIPE, SIGUSR1};
    for (size_t i = 0; i < 4; i++) {
        char script[32];
        str_format(script, sizeof script, "kill -%d $$", signals[i]);
        struct exec_result r = run(NULL, script, (struct exec){0});
        cr_expect(r.signal_no == signals[i] && r.exit_code == 0 && !r.timed_out);
    }
}

Test(exec, a_missing_program_makes_a_sentence)
{
    AUTO(drive_dir) char *dir = drive_dir();
    char script[4200];
    struct err err = {0};
    struct exec_result result = {.exit_code = 42};
    const char *const missing[] = {"/no/such/program", NULL};
    struct exec e = {.argv = missing, .envp = no_env};
    cr_expect_not(exec_run(&e, &result, &err));
    cr_expect_eq(err.code, ERR_NOT_FOUND);
    cr_expect_str_eq(err.text, "start '/no/such/program': No such file or directory");
    str_format(script, sizeof script, "%s/plain", dir);
    cr_assert(sys_write_file(script, "#!/bin/sh\n", 10, 0600, &err));
    const char *const plain[] = {script, NULL};
    e.argv = plain;
    cr_expect_not(exec_run(&e, &result, &err));
    cr_expect_eq(err.code, ERR_DENIED);
    const char *const shell[] = {"/bin/sh", NULL};
    e = (struct exec){.argv = shell, .envp = no_env, .dir = "/no/such/dir"};
    cr_expect_not(exec_run(&e, &result, &err));
    cr_expect_eq(result.exit_code, 42, "untouched on failure");
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no zombie");
}

Test(exec, the_deadline_interrupts_first)
{
    struct seen seen = {0};
    AUTO(str) struct str text = {0};
    struct exec_result r =
        run(&seen, "trap 'echo tidied; exit 3' INT; while :; do sleep 0.02; done",
            (struct exec){.deadline_ms = 200, .grace_ms = 10000});
    text = seen.text;
    cr_expect(r.timed_out && !r.cancelled && r.exit_code == 3 && r.signal_no == 0);
    cr_expect_str_eq(text.text, "tidied|");
}

Test(exec, after_the_grace_it_is_killed_with_its_children)
{
    struct seen seen = {0};
    AUTO(str) struct str text = {0};
    uint64_t start = clock_mono_ms();
    struct exec_result r = run(&seen, "trap '' INT; sleep 60 & echo $!; wait",
                               (struct exec){.deadline_ms = 200, .grace_ms = 300});
    text = seen.text;
    uint64_t spent = clock_mono_ms() - start;
    cr_expect(r.timed_out && r.signal_no == SIGKILL);
    cr_expect(spent >= 490 && spent < 5000, "%d ms", (int)spent);
    cr_expect(goes_away((pid_t)strtol(text.text, NULL, 10)));
}

Test(exec, a_program_that_made_it_in_time_did_not_time_out)
{
    for (int i = 0; i < 20; i++) {
        struct exec_result r = run(NULL, "exit 5", (struct exec){.deadline_ms = 5000});
        cr_expect(!r.timed_out && r.exit_code == 5);
    }
}

Test(exec, cancelling_ends_it_soon)
{
    struct seen seen = {.cancel_at_line = true};
    AUTO(str) struct str text = {0};
    const char *argv[] = {"/bin/sh", "-c", "echo started; exec sleep 60", NULL};
    struct exec e = {.argv = argv,
                     .envp = no_env,
                     .line = on_line,
                     .cancelled = is_cancelled,
                     .arg = &seen,
                     .grace_ms = 1000};
    struct exec_result r = {0};
    struct err err = {0};
    uint64_t start = clock_mono_ms();
    cr_assert(exec_run(&e, &r, &err));
    text = seen.text;
    cr_expect(r.cancelled && !r.timed_out && r.signal_no == SIGINT);
    cr_expect_lt(clock_mono_ms() - start, 3000);
}

Test(exec, a_grandchild_holding_the_pipe_holds_nobody)
{
    static const char *const scripts[] = {"sleep 60 & echo $!; exit 6", "yes & echo $!; exit 6"};
    for (size_t i = 0; i < 2; i++) {
        struct seen seen = {0};
        AUTO(str) struct str text = {0};
        uint64_t start = clock_mono_ms();
        struct exec_result r =
            run(&seen, scripts[i], (struct exec){.deadline_ms = 8000, .grace_ms = 100});
        text = seen.text;
        cr_expect(r.exit_code == 6 && !r.timed_out && !r.signal_no, "script %zu", i);
        cr_expect_lt(clock_mono_ms() - start, 3000, "script %zu", i);
        const char *digits = strpbrk(text.text, "0123456789");
        cr_assert(digits);
        kill((pid_t)strtol(digits, NULL, 10), SIGKILL);
    }
}

Test(exec, nothing_is_inherited)
{
    AUTO(fd) int low = open("/dev/null", O_RDONLY);
    AUTO(fd) int high = fcntl(low, F_DUPFD, 500);
    cr_assert(low >= 0 && high >= 500);
    setenv("EVERCOPY_SECRET", "x", 1);
    expect_lines("i=3; while [ $i -lt 600 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done;"
                 " exit 0",
                 "");
    expect_lines("tr '\\0' '|' </proc/$$/environ; pwd", "/|");
    expect_lines("[ -n \"$EVERCOPY_SECRET\" ] || echo unset", "unset|");
}

Test(exec, environment_and_directory_are_as_given)
{
    static const char *const env[] = {"ORACLE_SID=ORCL", "A=b c", NULL};
    struct seen seen = {0};
    AUTO(str) struct str text = {0};
    run(&seen, "echo $ORACLE_SID; echo \"$A\"; pwd", (struct exec){.envp = env, .dir = "/proc"});
    text = seen.text;
    cr_expect_str_eq(text.text, "ORCL|b c|/proc|");
}

Test(exec, it_leads_a_process_group_with_signals_as_new)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    signal(SIGUSR1, SIG_IGN);
    expect_lines("read -r p c s pp g rest </proc/$$/stat; [ $g = $$ ] && echo leader", "leader|");
    expect_lines("grep -E 'Sig(Blk|Ign):' /proc/$$/status | tr -d '\\t0'", "SigBlk:|SigIgn:|");
}

/* In a child of its own: the parts of the process that others rely on are changed. */
static int in_child(int (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool ran_well(void)
{
    const char *argv[] = {"/bin/sh", "-c", "read -r x; [ \"$x\" = secret ] && exit 7", NULL};
    struct exec e = {
        .argv = argv, .envp = no_env, .input = "secret\n", .input_len = 7, .deadline_ms = 5000};
    struct err err = {0};
    struct exec_result r = {0};
    return exec_run(&e, &r, &err) && r.exit_code == 7 && !r.timed_out;
}

static int without_stdin(void) { return close(0) || !ran_well(); }
static int without_any(void) { return close(0) || close(1) || close(2) || !ran_well(); }
static int with_holes(void) { return close(1) || close(2) || !ran_well(); }
static int ignoring_children(void)
{
    signal(SIGCHLD, SIG_IGN);
    return !ran_well();
}

Test(exec, works_without_standard_descriptors)
{
    cr_expect_eq(in_child(without_stdin), 0);
    cr_expect_eq(in_child(without_any), 0);
    cr_expect_eq(in_child(with_holes), 0);
}

Test(exec, works_where_children_were_ignored, .timeout = 20)
{
    cr_expect_eq(in_child(ignoring_children), 0);
}

static int pid_pipe[2];

static void tell_pid(void *arg, const char *line, size_t len)
{
    (void)arg;
    IGNORE(write(pid_pipe[1], line, len) < 0); /* the parent notices */
}

static int run_for_ever(void)
{
    const char *argv[] = {"/bin/sh", "-c", "echo $$; exec sleep 60", NULL};
    struct exec e = {.argv = argv, .envp = no_env, .line = tell_pid};
    struct err err = {0};
    struct exec_result r;
    return !exec_run(&e, &r, &err);
}

Test(exec, it_dies_with_the_caller)
{
    char text[32] = "";
    cr_assert_eq(pipe(pid_pipe), 0);
    pid_t caller = fork();
    if (caller == 0)
        _exit(run_for_ever());
    cr_assert_gt(read(pid_pipe[0], text, sizeof text - 1), 0);
    pid_t program = (pid_t)strtol(text, NULL, 10);
    cr_assert_gt(program, 1);
    cr_expect_not(is_gone(program));
    kill(caller, SIGKILL);
    waitpid(caller, NULL, 0);
    cr_expect(goes_away(program));
}

/* exec_run itself has no end here: the thread is left by its own line function. */
static void leave_thread(void *arg, const char *line, size_t len)
{
    tell_pid(arg, line, len);
    syscall(SYS_exit, 0); /* this thread alone, and nothing of it is tidied */
}

static void *leaving_main(void *arg)
{
    const char *argv[] = {"/bin/sh", "-c", "echo $$; exec sleep 60", NULL};
    struct exec e = {.argv = argv, .envp = no_env, .line = leave_thread};
    struct err err = {0};
    struct exec_result r;
    IGNORE(exec_run(&e, &r, &err)); /* never returns */
    return arg;
}

static int lose_thread(void)
{
    pthread_t thread;
    char text[32] = "";
    if (pthread_create(&thread, NULL, leaving_main, NULL) != 0 ||
        read(pid_pipe[0], text, sizeof text - 1) <= 0)
        return 1;
    return !goes_away((pid_t)strtol(text, NULL, 10));
}

Test(exec, it_dies_with_the_calling_thread)
{
    cr_assert_eq(pipe(pid_pipe), 0);
    cr_expect_eq(in_child(lose_thread), 0);
}

Test(exec, two_hundred_runs_leave_nothing_behind)
{
    struct err err = {0};
    struct exec_result r;
    const char *const good[] = {"/bin/true", NULL};
    const char *const bad[] = {"/no/such/program", NULL};
    size_t before = descriptors_count();
    for (int i = 0; i < 200; i++) {
        struct exec e = {.argv = i % 4 ? good : bad, .envp = no_env};
        cr_expect_eq(exec_run(&e, &r, &err), i % 4 != 0);
    }
    cr_expect_eq(descriptors_count(), before);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no zombie");
}

Test(exec, without_memory_or_descriptors_it_says_so)
{
    struct err err = {0};
    struct exec_result r;
    const char *const good[] = {"/bin/true", NULL};
    struct exec e = {.argv = good, .envp = no_env};
    own_fault(1);
    cr_expect_not(exec_run(&e, &r, &err));
    own_fault(0);
    cr_expect_eq(err.code, ERR_NO_MEMORY);
    int pair[2];
    cr_assert_eq(pipe(pair), 0);
    size_t before = descriptors_count();
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){100, 100}), 0);
    int filler[100];
    size_t count = 0;
    while ((filler[count] = dup(pair[0])) >= 0)
        count++;
    for (int spare = 0; spare < 6; spare++) {
        err_clear(&err);
        cr_expect_not(exec_run(&e, &r, &err), "%d descriptors", spare);
        cr_expect_neq(err.code, ERR_NONE);
        close(filler[--count]);
    }
    cr_expect(exec_run(&e, &r, &err), "%s", err.text);
    while (count)
        close(filler[--count]);
    cr_expect_eq(descriptors_count(), before);
}

static void *many_main(void *arg)
{
    size_t *good = arg;
    for (int i = 0; i < 15; i++)
        *good += ran_well();
    return NULL;
}

Test(exec, threads_do_not_disturb_each_other)
{
    pthread_t threads[4];
    size_t good[4] = {0};
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, many_main, &good[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(good[i], 15);
    }
}

/* ---- a program that became another user's ---- */

/* The directory of a set-user-ID copy of setpriv, which makes itself root's altogether, as sudo
 * does; false with the reason where there can be none. */
static bool become_root(char dir[64], char program[96], struct err *err)
{
    struct statvfs fs;
    size_t len;
    IGNORE(!str_copy(dir, 64, P_tmpdir "/evercopy-exec-XXXXXX"));
    if (geteuid() != 0)
        return err_set(err, ERR_DENIED, "needs root");
    if (!sys_statvfs(P_tmpdir, &fs, err))
        return false;
    if (fs.f_flag & ST_NOSUID)
        return err_set(err, ERR_UNSUPPORTED, P_tmpdir " is mounted nosuid");
    AUTO(mem) char *bytes = sys_read_file("/usr/bin/setpriv", 16 << 20, &len, err);
    if (!bytes || !mkdtemp(dir))
        return false;
    IGNORE(!str_format(program, 96, "%s/setpriv", dir));
    return sys_write_file(program, bytes, len, 0700, err) && sys_chmod(program, 04755, err) &&
           sys_chmod(dir, 0755, err);
}

static void first_line(void *arg, const char *line, size_t len)
{
    (void)len;
    *(long *)arg = strtol(line, NULL, 10);
}

struct told {
    struct exec_result result;
    bool started;
    uint64_t took_ms;
    long pid;
};

/* As nobody. */
static void __attribute__((noreturn)) run_privileged(const char *program, int to)
{
    struct told told = {0};
    struct err err = {0};
    const char *argv[] = {
        program, "--reuid", "0", "--clear-groups", "/bin/sh", "-c", "echo $$; exec sleep 60", NULL};
    struct exec e = {.argv = argv,
                     .envp = no_env,
                     .deadline_ms = 200,
                     .grace_ms = 100,
                     .line = first_line,
                     .arg = &told.pid};
    if (setgid(65534) != 0 || setuid(65534) != 0)
        _exit(1);
    uint64_t begun_ms = clock_mono_ms();
    told.started = exec_run(&e, &told.result, &err);
    told.took_ms = clock_mono_ms() - begun_ms;
    _exit(write(to, &told, sizeof told) != sizeof told);
}

Test(exec, one_that_may_not_be_killed_is_left_and_told)
{
    char dir[64], program[96];
    struct err err = {0};
    struct told told = {0};
    int fds[2];
    if (!become_root(dir, program, &err)) {
        privileged_skipped("exec", "one_that_may_not_be_killed_is_left_and_told", &err);
        return;
    }
    cr_assert_eq(pipe(fds), 0);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (!child)
        run_privileged(program, fds[1]);
    close(fds[1]);
    struct pollfd answer = {.fd = fds[0], .events = POLLIN};
    bool came = poll(&answer, 1, 20000) == 1 && read(fds[0], &told, sizeof told) == sizeof told;
    if (!came)
        kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (told.pid > 1)
        kill((pid_t)told.pid, SIGKILL);
    IGNORE(!sys_remove_tree(dir, &err));
    cr_assert(came, "it waits for ever");
    cr_assert(told.started);
    cr_expect(told.result.timed_out && told.result.left);
    cr_expect_eq(told.result.signal_no, SIGKILL);
    cr_expect_geq(told.took_ms, EXEC_LEFT_MS);
}
