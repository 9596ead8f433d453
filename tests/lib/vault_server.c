/* A real evercopy-vaultd for tests. */
#include "tests/lib/vault_server.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 60000, STOP_MS = 60000, CALL_MS = 60000, KIND_FILE = 1, KIND_FOLDER = 2 };

static bool has_ended(struct vault_server *s)
{
    int status = 0;
    if (waitpid(s->pid, &status, WNOHANG) != s->pid)
        return false;
    s->pid = 0;
    return true;
}

static void become(const struct vault_server *s)
{
    char program[512], conf[200], ready[200], port[200], log[200];
    const char *build = getenv("EVERCOPY_BUILD");
    str_format(program, sizeof program, "%s/evercopy-vaultd",
               build ? build : "build/san-address-undefined");
    str_format(conf, sizeof conf, "%s/vaultd.conf", s->folder);
    str_format(ready, sizeof ready, "%s/ready", s->folder);
    str_format(port, sizeof port, "%s/port", s->folder);
    str_format(log, sizeof log, "%s/vaultd.log", s->folder);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        _exit(127);
    execl(program, program, "--config", conf, "--ready-file", ready, "--port-file", port, "serve",
          (char *)NULL);
    dprintf(2, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

/* The end of its log, for who looks for the reason. */
static bool say_log(const struct vault_server *s, struct err *err)
{
    char path[200];
    struct err e = {0};
    str_format(path, sizeof path, "%s/vaultd.log", s->folder);
    size_t len = 0;
    AUTO(mem) char *text = sys_read_file(path, 1 << 20, &len, &e);
    size_t from = len > 400 ? len - 400 : 0;
    return err_set(err, ERR_EXTERNAL, "evercopy-vaultd does not serve: %s",
                   text ? text + from : e.text);
}

static bool read_port(struct vault_server *s, struct err *err)
{
    char path[200];
    size_t len = 0;
    uint64_t port = 0;
    str_format(path, sizeof path, "%s/port", s->folder);
    AUTO(mem) char *text = sys_read_file(path, 16, &len, err);
    if (!text)
        return false;
    if (!str_to_u64(str_trim(text), UINT16_MAX, &port))
        return err_set(err, ERR_EXTERNAL, "'%s' holds no port", path);
    s->port = (uint16_t)port;
    return true;
}

bool vault_server_start(struct vault_server *s, struct err *err)
{
    char ready[200];
    struct err e = {0};
    str_format(ready, sizeof ready, "%s/ready", s->folder);
    IGNORE(sys_unlink(ready, &e)); /* of an earlier start */
    s->pid = fork();
    if (s->pid < 0)
        return err_errno(err, errno, "fork");
    if (s->pid == 0)
        become(s);
    uint64_t until = clock_mono_ms() + START_MS;
    while (access(ready, F_OK) != 0) {
        if (has_ended(s) || clock_mono_ms() > until)
            return say_log(s, err);
        usleep(2000); /* a bounded poll: the file is all that a starting server shows */
    }
    return read_port(s, err);
}

/* This machine's port mapper is told nothing, unless the test says so. */
static bool write_config(const struct vault_server *s, const char *extra, struct err *err)
{
    char conf[200];
    AUTO(str) struct str text = {0};
    const char *mapper = extra && strstr(extra, "rpcbind") ? "" : "rpcbind = no\n";
    str_printf(&text, "[vault]\nbox = %s/box\nsocket = %s\n%s%s\n[store]\nurl = %s\n", s->folder,
               s->socket, mapper, extra ? extra : "", s->store);
    str_format(conf, sizeof conf, "%s/vaultd.conf", s->folder);
    return str_ok(&text, err) && sys_write_file(conf, text.text, text.len, 0600, err);
}

bool vault_server_begin(struct vault_server *s, const char *folder, const char *store,
                        const char *extra, struct err *err)
{
    *s = (struct vault_server){0};
    if (!str_copy(s->folder, sizeof s->folder, folder) ||
        !str_format(s->socket, sizeof s->socket, "%s/vault.sock", folder))
        return err_set(err, ERR_LIMIT, "'%s' is too long", folder);
    if (!(store ? str_copy(s->store, sizeof s->store, store)
                : str_format(s->store, sizeof s->store, "%s/store", folder)))
        return err_set(err, ERR_LIMIT, "'%s' is too long", store ? store : folder);
    return write_config(s, extra, err) && vault_server_start(s, err);
}

bool vault_server_reload(struct vault_server *s, const char *extra, struct err *err)
{
    char path[200];
    size_t before = 0, len = 0;
    uint64_t until = clock_mono_ms() + START_MS;
    str_format(path, sizeof path, "%s/vaultd.log", s->folder);
    AUTO(mem) char *old = sys_read_file(path, 1 << 20, &before, err);
    if (!old || !write_config(s, extra, err))
        return false;
    kill(s->pid, SIGHUP);
    for (; clock_mono_ms() < until; usleep(2000)) {
        AUTO(mem) char *log = sys_read_file(path, 1 << 20, &len, err);
        if (!log)
            return false;
        char *refused = strstr(log + before, "reload refused");
        if (refused && strchr(refused, '\n'))
            return err_set(err, ERR_EXTERNAL, "%.*s", (int)strcspn(refused, "\n"), refused);
        if (strstr(log + before, "configuration read again\n"))
            return true;
    }
    return err_set(err, ERR_TIMEOUT, "evercopy-vaultd does not reload");
}

void vault_server_kill(struct vault_server *s)
{
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

bool vault_server_stop(struct vault_server *s, struct err *err)
{
    uint64_t until = clock_mono_ms() + STOP_MS;
    int status = 0;
    if (s->pid <= 0)
        return err_set(err, ERR_PRECONDITION, "it does not run");
    kill(s->pid, SIGTERM);
    for (;;) {
        pid_t got = waitpid(s->pid, &status, WNOHANG);
        if (got == s->pid)
            break;
        if (clock_mono_ms() > until)
            return err_set(err, ERR_TIMEOUT, "evercopy-vaultd does not stop");
        usleep(2000);
    }
    s->pid = 0;
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) || say_log(s, err);
}

void vault_server_done(struct vault_server *s) { vault_server_kill(s); }

/* ---- writing ---- */

struct writer {
    struct wire *wire;
    uint64_t view;
};

static json_t *ask(const char *op, const struct writer *w, uint64_t folder, struct err *err)
{
    AUTO(json) json_t *head = json_object();
    return head && json_put_text(head, "op", op, err) && wire_put_u64(head, "view", w->view, err) &&
                   wire_put_u64(head, "folder", folder, err)
               ? TAKE(head)
               : NULL;
}

/* The entry of that path, made when it is missing; its number. */
static bool reach(const struct writer *w, uint64_t folder, const char *path, const char *name,
                  int kind, uint64_t *ret_file, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *find = ask("file.find", w, folder, err);
    AUTO(json) json_t *create = ask("file.create", w, folder, err);
    struct err e = {0};
    if (!find || !create || !wire_put_name(find, "path", path, err) ||
        !wire_put_name(create, "name", name, err) ||
        !json_put_u64(create, "kind", (uint64_t)kind, err) ||
        !json_put_u64(create, "mode", kind == KIND_FOLDER ? 0755 : 0640, err))
        return false;
    if (!wire_call(w->wire, find, NULL, 0, CALL_MS, &answer, NULL, &e)) {
        if (e.code != ERR_NOT_FOUND) {
            *err = e;
            return false;
        }
        if (!wire_call(w->wire, create, NULL, 0, CALL_MS, &answer, NULL, err))
            return false;
    }
    *ret_file = wire_get_u64(answer.head, "file");
    return true;
}

static bool reach_all(const struct writer *w, const char *path, uint64_t *ret_file, struct err *err)
{
    AUTO(mem) char *copy = own_strdup(path, err);
    uint64_t folder = 1;
    for (char *name = copy; copy;) {
        char *slash = strchr(name, '/');
        if (slash)
            *slash = '\0';
        if (!reach(w, folder, copy, name, slash ? KIND_FOLDER : KIND_FILE, &folder, err))
            return false;
        if (!slash)
            break;
        *slash = '/';
        name = slash + 1;
    }
    *ret_file = folder;
    return copy;
}

static bool write_all(const struct writer *w, uint64_t file, const uint8_t *bytes, size_t len,
                      uint64_t offset, struct err *err)
{
    for (size_t at = 0; at < len;) {
        size_t part = len - at < WIRE_DATA_MAX ? len - at : WIRE_DATA_MAX;
        AUTO(message) struct message answer = {0};
        AUTO(json) json_t *head = ask("file.write", w, 0, err);
        if (!head || !wire_put_u64(head, "file", file, err) ||
            !wire_put_u64(head, "offset", offset + at, err) ||
            !wire_call(w->wire, head, bytes + at, part, CALL_MS, &answer, NULL, err))
            return false;
        at += part;
    }
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = ask("file.commit", w, 0, err);
    return head && wire_put_u64(head, "file", file, err) &&
           wire_call(w->wire, head, NULL, 0, CALL_MS, &answer, NULL, err);
}

bool vault_server_write(struct vault_server *s, const char *volume, const char *clone,
                        const char *path, const void *bytes, size_t len, uint64_t offset,
                        struct err *err)
{
    AUTO(wire) struct wire *wire = wire_connect(s->socket, err);
    struct writer w = {.wire = wire};
    AUTO(json) json_t *open = wire ? ask("view.open", &w, 0, err) : NULL;
    AUTO(message) struct message answer = {0};
    uint64_t file = 0;
    if (!open || !wire_put_name(open, "volume", volume, err) ||
        !wire_put_name(open, "clone", clone, err) ||
        !wire_call(wire, open, NULL, 0, CALL_MS, &answer, NULL, err))
        return false;
    w.view = wire_get_u64(answer.head, "view");
    return reach_all(&w, path, &file, err) && write_all(&w, file, bytes, len, offset, err);
}
