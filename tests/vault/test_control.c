/* Who may ask the vault: root, its own user and those that are allowed, as the kernel says who
 * connects; nobody else, whatever the socket's mode lets through. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/control/server.h"
#include "drivers/vault/control/wire.h"
#include "tests/lib/memory_io.h"
#include "tests/lib/privileged.h"
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OWNER = 64321, ALLOWED, ALLOWED_TOO, STRANGER, GROUP = 0, WAIT_MS = 30000 };

struct served {
    char folder[64], socket[100];
    pid_t pid;
    int end; /* closed: it stops */
};

/* In a process of its own, of the user OWNER, until `end` is closed. */
static bool serve(const struct served *s, int ready, int end, struct err *err)
{
    char box[100], byte = 0;
    struct memory_io *memory;
    const uid_t allow[] = {ALLOWED, ALLOWED_TOO};
    const struct control_options options = {.path = s->socket, .allow = allow, .allow_count = 2};
    const struct vault_options quiet = {
        .seal_by_hand = true, .reserve_bytes = 4096, .store = {.threads = 1}};
    IGNORE(!str_format(box, sizeof box, "%s/box", s->folder));
    AUTO(io) struct io *io = setuid(OWNER) == 0 ? memory_io_open(0, &memory, err) : NULL;
    AUTO(vault)
    struct vault *vault = io && sys_mkdir(box, 0700, err) ? vault_open(box, io, &quiet, err) : NULL;
    AUTO(control) struct control *control = vault ? control_start(vault, &options, err) : NULL;
    return control && write(ready, "r", 1) == 1 && read(end, &byte, 1) == 0;
}

/* False, having said why, where this test does not run as root. */
static bool serve_begin(struct served *s, const char *name)
{
    struct err err = {0};
    int ready[2], end[2];
    if (geteuid() != 0) {
        err_set(&err, ERR_UNSUPPORTED, "only root can be other users");
        privileged_skipped("control", name, &err);
        return false;
    }
    *s = (struct served){.folder = "/tmp/evercopy-control-XXXXXX"};
    cr_assert(mkdtemp(s->folder));
    cr_assert(chown(s->folder, OWNER, GROUP) == 0 && chmod(s->folder, 0750) == 0);
    IGNORE(!str_format(s->socket, sizeof s->socket, "%s/vault.sock", s->folder));
    cr_assert(pipe(ready) == 0 && pipe(end) == 0);
    s->pid = fork();
    cr_assert_geq(s->pid, 0);
    if (s->pid == 0) {
        close(end[1]);
        bool ok = serve(s, ready[1], end[0], &err);
        if (!ok)
            fprintf(stderr, "the server: %s\n", err.text);
        _exit(!ok);
    }
    close(ready[1]);
    close(end[0]);
    s->end = end[1];
    struct pollfd poll_one = {.fd = ready[0], .events = POLLIN};
    char byte;
    cr_assert(poll(&poll_one, 1, WAIT_MS) == 1 && read(ready[0], &byte, 1) == 1,
              "the server does not start");
    close(ready[0]);
    return true;
}

static void serve_end(struct served *s)
{
    struct err err = {0};
    int status = 0;
    close(s->end);
    cr_expect_eq(waitpid(s->pid, &status, 0), s->pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %x", status);
    cr_expect(sys_remove_tree(s->folder, &err), "%s", err.text);
}

/* As that user, of the socket's own group: the mode lets it through to the kernel's word. */
static struct err ask_as(const struct served *s, uid_t uid)
{
    struct err err = {0};
    AUTO(json) json_t *head = json_object();
    AUTO(message) struct message answer = {0};
    cr_assert(json_put_text(head, "op", "hello", &err) &&
              json_put_u64(head, "version", WIRE_VERSION, &err));
    cr_assert_eq(seteuid(uid), 0);
    AUTO(wire) struct wire *wire = wire_connect(s->socket, &err);
    cr_assert_eq(seteuid(0), 0);
    cr_assert(wire, "%u does not reach it: %s", (unsigned)uid, err.text);
    if (wire_call(wire, head, NULL, 0, WAIT_MS, &answer, NULL, &err))
        cr_expect_eq(json_u64(answer.head, "version"), WIRE_VERSION);
    return err;
}

Test(control, answers_root_its_own_user_and_those_allowed_and_nobody_else)
{
    static const struct {
        uid_t uid;
        enum err_code code;
    } users[] = {
        {0, ERR_NONE},           {OWNER, ERR_NONE},       {ALLOWED, ERR_NONE},
        {ALLOWED_TOO, ERR_NONE}, {STRANGER, ERR_DENIED},  {65534, ERR_DENIED},
        {1, ERR_DENIED},         {OWNER - 1, ERR_DENIED}, {STRANGER + 1, ERR_DENIED},
    };
    struct served s;
    if (!serve_begin(&s, "answers_root_its_own_user_and_those_allowed_and_nobody_else"))
        return;
    for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
        struct err err = ask_as(&s, users[i].uid);
        cr_expect_eq(err.code, users[i].code, "user %u: %s (%s)", (unsigned)users[i].uid,
                     err_code_name(err.code), err.text);
        cr_expect(err.code != ERR_DENIED || strstr(err.text, "hint: 'allow'"), "%s", err.text);
    }
    serve_end(&s);
}

/* Who may not ask is heard no further: nothing it sends is done. */
Test(control, who_is_refused_changes_nothing)
{
    struct served s;
    struct err err = {0};
    AUTO(json) json_t *create = json_object(), *list = json_object();
    AUTO(message) struct message answer = {0};
    if (!serve_begin(&s, "who_is_refused_changes_nothing"))
        return;
    cr_assert(json_put_text(create, "op", "volume.create", &err) &&
              json_put_text(create, "name", "orcl", &err) &&
              json_put_text(list, "op", "volume.list", &err));
    cr_assert_eq(seteuid(STRANGER), 0);
    AUTO(wire) struct wire *theirs = wire_connect(s.socket, &err);
    cr_assert_eq(seteuid(0), 0);
    for (int i = 0; i < 2; i++)
        cr_expect_not(wire_call(theirs, create, NULL, 0, WAIT_MS, &answer, NULL, &err));
    err_clear(&err);
    AUTO(wire) struct wire *ours = wire_connect(s.socket, &err);
    cr_assert(ours && wire_call(ours, list, NULL, 0, WAIT_MS, &answer, NULL, &err), "%s", err.text);
    cr_expect_eq(json_array_size(json_object_get(answer.head, "volumes")), 0);
    serve_end(&s);
}
