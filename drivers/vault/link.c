/* Connections to the vault, kept between calls. */
#include "drivers/vault/link.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <poll.h>
#include <pthread.h>

/* Sealing a large layer, or freeing a large clone, may take its time within one call. */
enum { ANSWER_MS = 600000, HELLO_MS = 20000, KEPT_MAX = 8 };

struct link {
    struct wire *wire;
    uint64_t view, verifier; /* the latter changes with each start of the vault */
};

struct attempt {
    bool sent, answered;
    uint64_t verifier;
};

struct links {
    char *socket, *volume, *snapshot, *clone;
    pthread_mutex_t lock;
    struct link kept[KEPT_MAX];
    size_t kept_count;
};

json_t *links_ask(const char *op, struct err *err)
{
    AUTO(json) json_t *head = json_object();
    if (!head)
        return err_null(err, "request");
    return json_put_text(head, "op", op, err) ? TAKE(head) : NULL;
}

static bool keep_name(char **to, const char *name, struct err *err)
{
    *to = name ? own_strdup(name, err) : NULL;
    return !name || *to;
}

struct links *links_new(const char *socket, const char *volume, const char *snapshot,
                        const char *clone, struct err *err)
{
    AUTO(links) struct links *links = own_alloc(sizeof *links, err);
    if (!links)
        return NULL;
    IGNORE(pthread_mutex_init(&links->lock, NULL));
    bool ok = keep_name(&links->socket, socket, err) && keep_name(&links->volume, volume, err) &&
              keep_name(&links->snapshot, snapshot, err) && keep_name(&links->clone, clone, err);
    return ok ? TAKE(links) : NULL;
}

void links_free(struct links *links)
{
    if (!links)
        return;
    for (size_t i = 0; i < links->kept_count; i++)
        wire_close(links->kept[i].wire);
    own_free(links->socket);
    own_free(links->volume);
    own_free(links->snapshot);
    own_free(links->clone);
    IGNORE(pthread_mutex_destroy(&links->lock));
    own_free(links);
}

static bool greet(struct link *link, struct err *err)
{
    AUTO(json) json_t *head = links_ask("hello", err);
    AUTO(message) struct message answer = {0};
    if (!head || !json_put_u64(head, "version", WIRE_VERSION, err) ||
        !wire_call(link->wire, head, NULL, 0, HELLO_MS, &answer, NULL, err))
        return false;
    link->verifier = wire_get_u64(answer.head, "verifier");
    return true;
}

static bool open_view(const struct links *links, struct link *link, struct err *err)
{
    AUTO(json) json_t *head = links_ask("view.open", err);
    AUTO(message) struct message answer = {0};
    if (!head || !wire_put_name(head, "volume", links->volume, err) ||
        !wire_put_name(head, "snapshot", links->snapshot, err) ||
        !wire_put_name(head, "clone", links->clone, err) ||
        !wire_call(link->wire, head, NULL, 0, HELLO_MS, &answer, NULL, err))
        return false;
    link->view = wire_get_u64(answer.head, "view");
    return true;
}

/* True while the other side has neither ended nor said anything: what a vault that went away in the
 * meantime has. */
static bool is_quiet(const struct link *link)
{
    struct err err = {0};
    bool ready = false;
    return sys_poll(wire_fd(link->wire), POLLIN, 0, &ready, "control socket", &err) && !ready;
}

static bool take_kept(struct links *links, struct link *ret)
{
    IGNORE(pthread_mutex_lock(&links->lock));
    bool any = links->kept_count > 0;
    if (any)
        *ret = links->kept[--links->kept_count];
    IGNORE(pthread_mutex_unlock(&links->lock));
    return any;
}

static bool get(struct links *links, struct link *ret, struct err *err)
{
    while (take_kept(links, ret)) {
        if (is_quiet(ret))
            return true;
        wire_close(ret->wire);
    }
    AUTO(wire) struct wire *wire = wire_connect(links->socket, err);
    struct link link = {.wire = wire};
    if (!wire || !greet(&link, err) || (links->volume && !open_view(links, &link, err)))
        return false;
    *ret = link;
    IGNORE(TAKE(wire));
    return true;
}

/* Connections of an area are kept; others ask too seldom. */
static void put(struct links *links, struct link link)
{
    IGNORE(pthread_mutex_lock(&links->lock));
    bool kept = links->volume && links->kept_count < KEPT_MAX;
    if (kept)
        links->kept[links->kept_count++] = link;
    IGNORE(pthread_mutex_unlock(&links->lock));
    if (!kept)
        wire_close(link.wire);
}

static bool try_once(struct links *links, json_t *head, const void *data, size_t len,
                     uint64_t answer_ms, struct message *ret, struct attempt *ret_attempt,
                     struct err *err)
{
    struct link link;
    *ret_attempt = (struct attempt){0};
    if (!get(links, &link, err))
        return false;
    *ret_attempt = (struct attempt){.sent = true, .verifier = link.verifier};
    bool ok = (!links->volume || wire_put_u64(head, "view", link.view, err)) &&
              wire_call(link.wire, head, data, len, answer_ms, ret, &ret_attempt->answered, err);
    if (ret_attempt->answered)
        put(links, link);
    else
        wire_close(link.wire);
    return ok;
}

static bool put_key(json_t *head, struct err *err)
{
    uint8_t bytes[16];
    char text[2 * sizeof bytes + 1];
    clock_random(bytes, sizeof bytes);
    str_hex(bytes, sizeof bytes, text);
    return json_put_text(head, "key", text, err);
}

/* A vault that was started anew knows nothing of keys: that it is there, or gone, may be the doing
 * of the request itself. */
static bool may_be_its_own(const struct attempt *first, const struct attempt *second,
                           enum err_code code)
{
    return first->sent && second->answered && first->verifier != second->verifier &&
           (code == ERR_EXISTS || code == ERR_NOT_FOUND);
}

static bool call(struct links *links, json_t *head_taken, const void *data, size_t len,
                 uint64_t answer_ms, struct message *ret, struct err *err)
{
    AUTO(json) json_t *head = head_taken;
    struct err why = {0};
    struct attempt first, second;
    if (!head || !put_key(head, err))
        return false;
    if (try_once(links, head, data, len, answer_ms, ret, &first, &why))
        return true;
    if (first.answered) {
        *err = why;
        return false;
    }
    /* A cut connection tells nothing of the request: asked again under its key, the vault says what
     * became of it, or does it now. */
    err_clear(&why);
    if (try_once(links, head, data, len, answer_ms, ret, &second, &why))
        return true;
    *err = why;
    if (may_be_its_own(&first, &second, why.code))
        err_set(err, ERR_UNAVAILABLE,
                "the vault went down while it was asked; '%s' may be done by now: %s",
                json_text(head, "op"), why.text);
    return false;
}

bool links_call(struct links *links, json_t *head, const void *data, size_t len,
                struct message *ret, struct err *err)
{
    return call(links, head, data, len, ANSWER_MS, ret, err);
}

bool links_call_within(struct links *links, json_t *head, uint64_t answer_ms, struct message *ret,
                       struct err *err)
{
    return call(links, head, NULL, 0, answer_ms, ret, err);
}
