/* The control socket's server: who may ask, and a thread for each connection. */
#include "drivers/vault/control/server.h"

#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/control/call.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CONNECTIONS = 64,
    KEPT_ANSWERS = 1024,
    KEY_MAX = 40,
    ALLOW_MAX = 16,
    BACKLOG = 32,
    ACCEPT_STEP_MS = 500
};

/* What became of a request, for who asks again under its key because the answer was lost. */
struct kept {
    char key[KEY_MAX];
    bool running;
    json_t *head;
};

struct connection {
    struct control *control;
    struct wire *wire;
    uid_t uid;
    struct connection *next;
};

struct control {
    struct vault *vault;
    struct ingests *ingests;
    struct exporter exporter;
    bool exports;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    int listener;
    uid_t allow[ALLOW_MAX];
    size_t allow_count;
    unsigned connection_max, connection_count;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t gone; /* a connection, or a request that somebody waits for */
    struct kept kept[KEPT_ANSWERS];
    size_t kept_next;
    struct connection *connections;
    bool stopping;
};

/* ---- one connection ---- */

static struct kept *find_kept(struct control *control, const char *key)
{
    for (size_t i = 0; i < KEPT_ANSWERS; i++)
        if (control->kept[i].key[0] && str_equal(control->kept[i].key, key))
            return &control->kept[i];
    return NULL;
}

/* The place of a request under this key; NULL when it was answered before: ret_head is that answer.
 */
static struct kept *begin_kept(struct control *control, const char *key, json_t **ret_head)
{
    IGNORE(pthread_mutex_lock(&control->lock));
    struct kept *kept;
    while ((kept = find_kept(control, key)) && kept->running)
        IGNORE(pthread_cond_wait(&control->gone, &control->lock));
    if (kept) {
        *ret_head = json_incref(kept->head);
        kept = NULL;
    } else {
        do
            kept = &control->kept[control->kept_next++ % KEPT_ANSWERS];
        while (kept->running); /* there are fewer connections than places */
        json_decref(kept->head);
        *kept = (struct kept){.running = true};
        IGNORE(!str_copy(kept->key, sizeof kept->key, key));
    }
    IGNORE(pthread_mutex_unlock(&control->lock));
    return kept;
}

static void end_kept(struct control *control, struct kept *kept, json_t *head)
{
    IGNORE(pthread_mutex_lock(&control->lock));
    kept->running = false;
    kept->head = json_incref(head);
    IGNORE(pthread_cond_broadcast(&control->gone));
    IGNORE(pthread_mutex_unlock(&control->lock));
}

/* Connections whose other side has gone end what they were asked for; then nothing that an asker
 * who died had begun is still under way. */
static void settle(struct connection *self)
{
    struct control *control = self->control;
    IGNORE(pthread_mutex_lock(&control->lock));
    for (bool again = true; again && !control->stopping;) {
        again = false;
        for (struct connection *c = control->connections; c && !again; c = c->next) {
            struct pollfd poll_one = {.fd = wire_fd(c->wire), .events = POLLRDHUP};
            again = c != self && poll(&poll_one, 1, 0) > 0;
        }
        if (again)
            IGNORE(pthread_cond_wait(&control->gone, &control->lock));
    }
    IGNORE(pthread_mutex_unlock(&control->lock));
}

static bool run_call(struct connection *c, struct call *call, struct err *err)
{
    struct err why = {0};
    if (call_settles(call))
        settle(c);
    if (call_run(call, &why))
        return true;
    call->reply_len = 0;
    AUTO(mem) char *text = wire_escape(why.text, err); /* may hold a name that is no UTF-8 */
    return text && json_object_clear(call->answer) == 0 &&
           json_put_text(call->answer, "error", err_code_name(why.code), err) &&
           json_put_text(call->answer, "text", text, err);
}

static bool answer(struct connection *c, struct view **views, uint8_t *reply,
                   const struct message *ask, struct err *err)
{
    AUTO(json) json_t *head = json_object();
    AUTO(json) json_t *before = NULL;
    const char *key = json_text(ask->head, "key");
    struct kept *kept = NULL;
    struct call call = {.vault = c->control->vault,
                        .ingests = c->control->ingests,
                        .exporter = c->control->exports ? &c->control->exporter : NULL,
                        .uid = c->uid,
                        .views = views,
                        .fd = wire_fd(c->wire),
                        .ask = ask->head,
                        .data = ask->data,
                        .data_len = ask->data_len,
                        .answer = head,
                        .reply = reply};
    if (!head)
        return err_set(err, ERR_NO_MEMORY, "answer");
    /* Views are a connection's own: what is asked of one is asked anew. */
    if (key[0] && strlen(key) < KEY_MAX && call_changes(&call) &&
        !(kept = begin_kept(c->control, key, &before)))
        return wire_send(c->wire, before, NULL, 0, err);
    bool ok = run_call(c, &call, err);
    if (kept)
        end_kept(c->control, kept, head);
    return ok && wire_send(c->wire, head, reply, call.reply_len, err);
}

static void converse(struct connection *c)
{
    struct view *views[CALL_VIEWS_MAX] = {0};
    struct err err = {0};
    AUTO(mem) uint8_t *reply = own_alloc(WIRE_DATA_MAX, &err);
    for (bool end = !reply; !end;) {
        AUTO(message) struct message ask = {0};
        if (!wire_receive(c->wire, 0, &ask, &end, &err) ||
            (!end && !answer(c, views, reply, &ask, &err)))
            break;
    }
    if (err.code && err.code != ERR_UNAVAILABLE)
        log_warning("control connection ended: %s", err.text);
    for (size_t i = 0; i < CALL_VIEWS_MAX; i++)
        view_close(views[i]);
}

static void leave(struct connection *c)
{
    struct control *control = c->control;
    IGNORE(pthread_mutex_lock(&control->lock));
    for (struct connection **at = &control->connections; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    wire_close(c->wire); /* under the lock: control_stop shuts down what is in the list */
    control->connection_count--;
    IGNORE(pthread_cond_broadcast(&control->gone));
    IGNORE(pthread_mutex_unlock(&control->lock));
    own_free(c);
}

static void *connection_main(void *arg)
{
    converse(arg);
    leave(arg);
    return NULL;
}

/* ---- who may ---- */

static bool may(const struct control *control, int fd, uid_t *ret_uid)
{
    struct ucred peer = {0};
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    *ret_uid = peer.uid;
    bool allowed = peer.uid == 0 || peer.uid == geteuid();
    for (size_t i = 0; i < control->allow_count; i++)
        allowed = allowed || peer.uid == control->allow[i];
    return allowed;
}

static void refuse(struct wire *wire, enum err_code code, const char *text)
{
    struct err err = {0};
    AUTO(json) json_t *head = json_object();
    if (head && json_put_text(head, "error", err_code_name(code), &err) &&
        json_put_text(head, "text", text, &err))
        IGNORE(wire_send(wire, head, NULL, 0, &err)); /* who is refused may have gone */
    wire_close(wire);
}

/* Starts the connection's thread, or says why not. */
static void admit(struct control *control, struct wire *wire, uid_t uid)
{
    struct err err = {0};
    pthread_t thread;
    struct connection *c = own_alloc(sizeof *c, &err);
    IGNORE(pthread_mutex_lock(&control->lock));
    bool room = c && !control->stopping && control->connection_count < control->connection_max;
    if (room) {
        *c = (struct connection){control, wire, uid, control->connections};
        control->connections = c;
        control->connection_count++;
        room = pthread_create(&thread, NULL, connection_main, c) == 0;
        if (room) {
            IGNORE(pthread_detach(thread));
        } else {
            control->connections = c->next;
            control->connection_count--;
        }
    }
    IGNORE(pthread_mutex_unlock(&control->lock));
    if (room)
        return;
    own_free(c);
    refuse(wire, ERR_BUSY, "the vault has as many control connections as it takes");
}

static void take(struct control *control, int fd)
{
    struct err err = {0};
    uid_t uid = 0;
    bool allowed = may(control, fd, &uid);
    struct wire *wire = wire_over(fd, &err);
    if (!wire)
        return;
    if (allowed) {
        admit(control, wire, uid);
        return;
    }
    log_warning("control connection refused uid=%u", (unsigned)uid);
    refuse(wire, ERR_DENIED, "this user may not ask the vault; hint: 'allow' in its configuration");
}

static void *accept_main(void *arg)
{
    struct control *control = arg;
    for (;;) {
        struct err err = {0};
        bool ready = false;
        bool ok = sys_poll(control->listener, POLLIN, ACCEPT_STEP_MS, &ready, control->path, &err);
        IGNORE(pthread_mutex_lock(&control->lock));
        bool stopping = control->stopping;
        IGNORE(pthread_mutex_unlock(&control->lock));
        if (stopping)
            return NULL;
        if (!ok || !ready)
            continue;
        int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            take(control, fd);
    }
}

/* ---- life ---- */

/* A socket that an earlier run left; never a file. */
static bool make_way(const char *path, struct err *err)
{
    struct stat st;
    struct err e = {0};
    if (!sys_lstat(path, &st, &e)) {
        if (e.code == ERR_NOT_FOUND)
            return true;
        *err = e;
        return false;
    }
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_EXISTS, "'%s' is no socket", path);
    AUTO(wire) struct wire *other = wire_connect(path, &e);
    if (other)
        return err_set(err, ERR_BUSY, "another vault answers on '%s'", path);
    return sys_unlink(path, err);
}

static bool listen_at(struct control *control, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!str_copy(address.sun_path, sizeof address.sun_path, control->path))
        return err_set(err, ERR_INVALID, "socket path '%.120s' is too long", control->path);
    control->listener = sys_socket_stream(AF_UNIX, control->path, err);
    if (control->listener < 0 || !make_way(control->path, err))
        return false;
    mode_t old = umask(0117); /* the kernel's check is the real one; nobody else needs to try */
    bool bound = sys_bind(control->listener, &address, sizeof address, control->path, err);
    umask(old);
    if (!bound)
        return false;
    if (listen(control->listener, BACKLOG) != 0)
        return err_errno(err, errno, "listen on '%s'", control->path);
    return true;
}

static void control_free(struct control *control)
{
    if (!control)
        return;
    if (control->listener >= 0)
        IGNORE(close(control->listener));
    for (size_t i = 0; i < KEPT_ANSWERS; i++)
        json_decref(control->kept[i].head);
    ingests_free(control->ingests);
    IGNORE(pthread_mutex_destroy(&control->lock));
    IGNORE(pthread_cond_destroy(&control->gone));
    own_free(control);
}

struct control *control_start(struct vault *vault, const struct control_options *options,
                              struct err *err)
{
    struct control *control = own_alloc(sizeof *control, err);
    if (!control)
        return NULL;
    control->vault = vault;
    control->listener = -1;
    control->connection_max = options->connections ? options->connections : CONNECTIONS;
    control->allow_count = options->allow_count < ALLOW_MAX ? options->allow_count : ALLOW_MAX;
    for (size_t i = 0; i < control->allow_count; i++)
        control->allow[i] = options->allow[i];
    control->exports = options->exporter != NULL;
    if (options->exporter)
        control->exporter = *options->exporter;
    IGNORE(pthread_mutex_init(&control->lock, NULL));
    IGNORE(pthread_cond_init(&control->gone, NULL));
    bool ok = str_copy(control->path, sizeof control->path, options->path) ||
              err_set(err, ERR_INVALID, "socket path '%.120s' is too long", options->path);
    control->ingests = ok ? ingests_new(vault, options->box, err) : NULL;
    ok = control->ingests && listen_at(control, err);
    int code = ok ? pthread_create(&control->thread, NULL, accept_main, control) : 0;
    if (code)
        ok = err_errno(err, code, "start the control thread");
    if (ok)
        return control;
    control_free(control);
    return NULL;
}

void control_stop(struct control *control)
{
    if (!control)
        return;
    struct err err = {0};
    ingests_stop(control->ingests);
    IGNORE(pthread_mutex_lock(&control->lock));
    control->stopping = true;
    IGNORE(pthread_cond_broadcast(&control->gone));
    IGNORE(pthread_mutex_unlock(&control->lock));
    IGNORE(pthread_join(control->thread, NULL));
    IGNORE(pthread_mutex_lock(&control->lock));
    for (struct connection *c = control->connections; c; c = c->next)
        IGNORE(shutdown(wire_fd(c->wire), SHUT_RD)); /* a running answer still goes out */
    while (control->connection_count > 0)
        IGNORE(pthread_cond_wait(&control->gone, &control->lock));
    IGNORE(pthread_mutex_unlock(&control->lock));
    IGNORE(sys_unlink(control->path, &err)); /* the next start makes way anyway */
    control_free(control);
}
