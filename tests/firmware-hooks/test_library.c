/* The installed C interface: a strict C89 (and C++) library is built against it and run by the host
 * program, as a firmware builder would. */
#include "agent/base/exec.h"
#include "firmware-hooks/evercopy_hooks.h"
#include "firmware-hooks/trust.h"
#include "tests/firmware-hooks/hook_dir.h"
#include <stdio.h>
#include <sys/stat.h>

/* What the host and every library of version 1 rely on. */
_Static_assert(EVERCOPY_HOOKS_VERSION == 1, "a new version: read firmware-hooks/README.md");
_Static_assert(offsetof(struct evercopy_hooks, size) == 0 &&
                   offsetof(struct evercopy_hooks_event, size) == 0 &&
                   offsetof(struct evercopy_hooks_host, size) == 0,
               "structs start with their size");
_Static_assert(sizeof(void *) != 8 || (offsetof(struct evercopy_hooks, on_event) == 24 &&
                                       offsetof(struct evercopy_hooks_event, pairs) == 24 &&
                                       offsetof(struct evercopy_hooks_host, reply) == 24 &&
                                       sizeof(struct evercopy_hooks) == 32 &&
                                       sizeof(struct evercopy_hooks_event) == 32 &&
                                       sizeof(struct evercopy_hooks_host) == 32),
               "what version 1 laid out stays where it is; new members come behind");
_Static_assert(EVERCOPY_HOOKS_GO_ON == 0 && EVERCOPY_HOOKS_LATER == 1 &&
                   EVERCOPY_HOOKS_FAILED == 100,
               "answers are exit codes");

static const char source[] =
    "#include \"evercopy_hooks.h\"\n"
    "#include <stdlib.h>\n"
    "#include <string.h>\n"
    "static int on_event(const struct evercopy_hooks_host *host,\n"
    "                    const struct evercopy_hooks_event *event)\n"
    "{\n"
    "    const char *const *pair;\n"
    "    const char *want = \"\";\n"
    "    for (pair = event->pairs; pair[0]; pair += 2)\n"
    "        if (strcmp(pair[0], \"want\") == 0)\n"
    "            want = pair[1];\n"
    "    host->reply(host->self, \"message\", want);\n"
    "    host->reply(host->self, \"not a key\", want);\n"
    "    if (strcmp(want, \"crash\") == 0)\n"
    "        abort();\n"
    "    if (strcmp(want, \"later\") == 0)\n"
    "        return EVERCOPY_HOOKS_LATER;\n"
    "    if (strcmp(want, \"odd\") == 0)\n"
    "        return -5;\n"
    "    return strcmp(event->name, \"job.end\") == 0 ? EVERCOPY_HOOKS_GO_ON\n"
    "                                                 : EVERCOPY_HOOKS_FAILED;\n"
    "}\n"
    "static const struct evercopy_hooks hooks = {\n"
    "    sizeof(struct evercopy_hooks), SAYS_VERSION, \"test\", on_event\n"
    "};\n"
    "const struct evercopy_hooks *evercopy_hooks_entry(const struct evercopy_hooks_host *host)\n"
    "{\n"
    "    return host->version >= 1 && host->size >= sizeof *host && !REFUSES ? &hooks : NULL;\n"
    "}\n";

static void on_line(void *arg, const char *line, size_t len)
{
    str_printf(arg, "%.*s\n", (int)len, line);
}

static int run(const char *const *argv, const char *input, struct str *ret_output)
{
    char path[600] = "PATH=/usr/local/bin:/usr/bin:/bin";
    const char *envp[] = {path, NULL};
    struct err err = {0};
    struct exec_result r = {.exit_code = -1};
    struct exec exec = {.argv = argv,
                        .envp = envp,
                        .input = input,
                        .input_len = strlen(input),
                        .deadline_ms = 60000,
                        .line = on_line,
                        .arg = ret_output};
    cr_assert(exec_run(&exec, &r, &err), "%s", err.text);
    return r.signal_no ? -r.signal_no : r.exit_code;
}

static const char *header_dir(void)
{
    static char dir[600];
    cr_assert(getcwd(dir, sizeof dir - 20));
    strncat(dir, "/firmware-hooks", 20);
    return dir;
}

/* "DIR/<name>.so" out of the source, with what is defined. */
static const char *build(struct hook_dir *h, const char *name, const char *compiler,
                         const char *std, const char *define)
{
    char include[700], out[400], in[400];
    struct err err = {0};
    AUTO(str) struct str said = {0};
    str_format(in, sizeof in, "%s/%s%s", h->dir, name, strstr(compiler, "++") ? ".cc" : ".c");
    str_format(out, sizeof out, "%s", hook_path(h, name));
    str_format(include, sizeof include, "-I%s", header_dir());
    cr_assert(sys_write_file(in, source, sizeof source - 1, 0644, &err));
    const char *argv[] = {
        compiler,
        std,
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        define,
        "-fPIC",
        "-shared",
        include,
        "-o",
        out,
        in,
        strstr(define, "VERSION") ? "-DREFUSES=0" : "-DSAYS_VERSION=EVERCOPY_HOOKS_VERSION",
        NULL};
    cr_assert_eq(run(argv, "", &said), 0, "%s %s: %s", compiler, std, said.text);
    return hook_path(h, name);
}

static const char *host_path(void)
{
    static char path[600];
    const char *build_dir = getenv("EVERCOPY_BUILD");
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    char *end = strstr(path, "/tests/firmware-hooks/");
    if (end)
        *end = '\0';
    if (build_dir)
        str_format(path, sizeof path, "%s", build_dir);
    strncat(path, "/evercopy-hook-host", 30);
    return path;
}

/* The host's exit code for one event. */
static int host(const char *library, const char *input, struct str *ret_output)
{
    const char *argv[] = {host_path(), library, NULL};
    return run(argv, input, ret_output);
}

static bool trust_of(const char *path)
{
    struct err err = {0};
    return trust_check(path, false, &err);
}

static void check_answers(const char *library)
{
    static const struct {
        const char *input;
        int code;
        const char *says;
    } cases[] = {
        {"event=job.end\nwant=fine\\x0aday\n", 0, "message=fine\\x0aday"},
        {"event=job.end\nwant=later\n", 1, "message=later"},
        {"event=job.end\nwant=odd\n", 100, "message=odd"},
        {"event=job.end\nwant=crash\n", -6, "message=crash"},
        {"event=new.event\nnew_key=1\n", 100, "message="},
        {"event\n", 120, "line 1: no key=value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AUTO(str) struct str said = {0};
        cr_expect_eq(host(library, cases[i].input, &said), cases[i].code, "%s: %s", cases[i].input,
                     said.text);
        cr_expect(said.text && strstr(said.text, cases[i].says), "%s: %s", cases[i].input,
                  said.text);
        cr_expect_null(said.text ? strstr(said.text, "not a key") : NULL);
    }
}

Test(hook_library, a_strict_c89_one_is_built_and_its_answers_are_exit_codes)
{
    AUTO(hook_dir) struct hook_dir h = {0};
    hook_dir_begin(&h);
    check_answers(build(&h, "c89.so", "/usr/bin/gcc", "-std=c89", "-DREFUSES=0"));
}

Test(hook_library, a_c_plus_plus_one_links_against_the_same_header)
{
    AUTO(hook_dir) struct hook_dir h = {0};
    if (access("/usr/bin/g++", X_OK) != 0) {
        printf("SKIPPED hook_library/c_plus_plus: there is no /usr/bin/g++\n");
        return;
    }
    hook_dir_begin(&h);
    check_answers(build(&h, "cxx.so", "/usr/bin/g++", "-std=c++98", "-DREFUSES=0"));
}

Test(hook_library, what_is_none_is_named_and_not_run)
{
    AUTO(hook_dir) struct hook_dir h = {0};
    struct err err = {0};
    AUTO(str) struct str said = {0};
    hook_dir_begin(&h);
    const char *refusing = build(&h, "no.so", "/usr/bin/gcc", "-std=c89", "-DREFUSES=1");
    cr_expect_eq(host(refusing, "event=job.end\n", &said), 120);
    cr_expect(strstr(said.text, "refuses this agent"), "%s", said.text);
    const char *old = build(&h, "old.so", "/usr/bin/gcc", "-std=c89", "-DSAYS_VERSION=0");
    cr_expect_eq(host(old, "event=job.end\n", &said), 120);
    cr_expect(strstr(said.text, "is no hook library"), "%s", said.text);
    const char *newer = build(&h, "new.so", "/usr/bin/gcc", "-std=c89", "-DSAYS_VERSION=99");
    cr_expect_eq(host(newer, "event=job.end\nwant=x\n", &said), 0,
                 "one that was built later and knows more goes on working");
    cr_assert(sys_write_file(hook_path(&h, "text.so"), "text", 4, 0755, &err));
    cr_expect_eq(host(hook_path(&h, "text.so"), "event=job.end\n", &said), 120);
    cr_expect_eq(host("/nowhere.so", "event=job.end\n", &said), 120);
}

Test(hook_library, the_agent_calls_it_after_the_executables_and_survives_its_crash)
{
    AUTO(hook_dir) struct hook_dir h = {0};
    hook_dir_begin(&h);
    char library[400];
    str_format(library, sizeof library, "%s",
               build(&h, "c89.so", "/usr/bin/gcc", "-std=c89", "-DREFUSES=0"));
    h.config.library = library;
    h.config.host = host_path();
    if (trust_of(host_path())) {
        hook_put(&h, "job.end/10-a", "echo first");
        struct hooks_result r = hook_run(&h, "job.end", 0);
        AUTO(mem) char *log = hook_text(h.log);
        cr_expect(r.called == 2 && r.failed == 0, "%s", log);
        cr_expect(strstr(strstr(log, "first") ? strstr(log, "first") : "", "c89.so"), "%s", log);
        r = hook_run(&h, "clone.made", 0);
        cr_expect(r.called == 1 && r.failed == 1);
    } else {
        printf("SKIPPED hook_library/by_the_agent: others may write to where it was built\n");
    }
    cr_assert_eq(chmod(library, 0666), 0);
    struct hooks_result r = hook_run(&h, "clone.made", 0);
    cr_expect(r.called == 0 && r.refused == 1, "writable by others: refused");
}
