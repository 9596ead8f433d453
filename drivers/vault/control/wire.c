/* Messages of the control socket: both ends. */
#include "drivers/vault/control/wire.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, STEP_MS = 1000, CONNECT_MS = 5000 };
#define EXACT_MAX ((uint64_t)1 << 53) /* above it a JSON number may lose its last digits */

struct wire {
    int fd;
};

struct wire *wire_over(int fd, struct err *err)
{
    struct wire *wire = own_alloc(sizeof *wire, err);
    if (!wire) {
        IGNORE(close(fd));
        return NULL;
    }
    wire->fd = fd;
    return wire;
}

int wire_fd(const struct wire *wire) { return wire->fd; }

void wire_close(struct wire *wire)
{
    if (!wire)
        return;
    IGNORE(close(wire->fd)); /* a socket has nothing left to lose */
    own_free(wire);
}

struct wire *wire_connect(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!str_copy(address.sun_path, sizeof address.sun_path, path)) {
        err_set(err, ERR_INVALID, "socket path '%.120s' is too long", path);
        return NULL;
    }
    AUTO(fd) int fd = sys_socket_stream(AF_UNIX, path, err);
    bool writable = false;
    if (fd < 0)
        return NULL;
    if (!sys_connect(fd, &address, sizeof address, path, err) ||
        !sys_poll(fd, POLLOUT, CONNECT_MS, &writable, path, err) || !sys_connected(fd, path, err)) {
        struct err why = *err;
        if (why.code == ERR_NO_MEMORY || why.code == ERR_NO_SPACE || why.code == ERR_DENIED)
            return NULL;
        err_clear(err);
        err_set(err, ERR_UNAVAILABLE,
                "the vault does not answer: %s; hint: is evercopy-vaultd running?", why.text);
        return NULL;
    }
    if (!writable) {
        err_set(err, ERR_UNAVAILABLE, "the vault does not answer on '%s'", path);
        return NULL;
    }
    int mine = fd;
    fd = -1;
    return wire_over(mine, err);
}

void message_done(struct message *message)
{
    json_decref(message->head);
    own_free(message->data);
    *message = (struct message){0};
}

/* Until the socket is ready, asked in steps because a signal counts as the time being over. */
static bool await(const struct wire *wire, int events, uint64_t deadline_ms, struct err *err)
{
    for (;;) {
        bool ready = false;
        uint64_t now = clock_mono_ms();
        if (deadline_ms && now >= deadline_ms)
            return err_set(err, ERR_UNAVAILABLE, "the other side of the control socket hangs");
        uint64_t left = deadline_ms ? deadline_ms - now : STEP_MS;
        if (!sys_poll(wire->fd, events, (int)(left < STEP_MS ? left : STEP_MS), &ready,
                      "control socket", err))
            return false;
        if (ready)
            return true;
    }
}

static bool send_all(const struct wire *wire, const void *from, size_t len, struct err *err)
{
    const uint8_t *at = from;
    while (len > 0) {
        ssize_t n = sys_send(wire->fd, at, len, "control socket", err);
        if (n == SYS_AGAIN) {
            if (!await(wire, POLLOUT, clock_mono_ms() + PATIENCE_MS, err))
                return false;
            continue;
        }
        if (n < 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* Bytes received; fewer only when the other side has ended. -1 on error. */
static ssize_t receive_all(const struct wire *wire, void *to, size_t len, uint64_t first_ms,
                           struct err *err)
{
    uint8_t *at = to;
    size_t got = 0;
    while (got < len) {
        ssize_t n = sys_recv(wire->fd, at + got, len - got, "control socket", err);
        if (n == SYS_AGAIN) {
            uint64_t ms = got ? PATIENCE_MS : first_ms;
            if (!await(wire, POLLIN, ms ? clock_mono_ms() + ms : 0, err))
                return -1;
            continue;
        }
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

bool wire_send(struct wire *wire, const json_t *head, const void *data, size_t len, struct err *err)
{
    AUTO(mem) char *text = json_format(head, err);
    if (!text)
        return false;
    size_t text_len = strlen(text);
    if (text_len > WIRE_HEAD_MAX || len > WIRE_DATA_MAX)
        return err_set(err, ERR_LIMIT, "a control message of %zu and %zu bytes", text_len, len);
    uint32_t lengths[2] = {htole32((uint32_t)text_len), htole32((uint32_t)len)};
    return send_all(wire, lengths, sizeof lengths, err) && send_all(wire, text, text_len, err) &&
           send_all(wire, data, len, err);
}

static bool receive_body(struct wire *wire, size_t head_len, size_t data_len, struct message *ret,
                         struct err *err)
{
    AUTO(mem) char *text = own_alloc(head_len + 1, err);
    AUTO(message) struct message message = {.data_len = data_len};
    message.data = data_len ? own_alloc(data_len, err) : NULL;
    if (!text || (data_len && !message.data))
        return false;
    ssize_t a = receive_all(wire, text, head_len, PATIENCE_MS, err);
    ssize_t b =
        a == (ssize_t)head_len ? receive_all(wire, message.data, data_len, PATIENCE_MS, err) : a;
    if (a < 0 || b < 0)
        return false;
    if (a != (ssize_t)head_len || b != (ssize_t)data_len)
        return err_set(err, ERR_UNAVAILABLE, "the control socket ended within a message");
    message.head = json_parse(text, head_len, err);
    if (!message.head)
        return false;
    if (!json_is_object(message.head))
        return err_set(err, ERR_INVALID, "a control message's head is no object");
    *ret = message;
    message = (struct message){0};
    return true;
}

bool wire_receive(struct wire *wire, uint64_t timeout_ms, struct message *ret, bool *ret_end,
                  struct err *err)
{
    uint32_t lengths[2];
    ssize_t n = receive_all(wire, lengths, sizeof lengths, timeout_ms, err);
    if (n < 0)
        return false;
    *ret_end = n == 0;
    if (n == 0)
        return true;
    if (n != sizeof lengths)
        return err_set(err, ERR_UNAVAILABLE, "the control socket ended within a message");
    size_t head_len = le32toh(lengths[0]), data_len = le32toh(lengths[1]);
    if (head_len < 2 || head_len > WIRE_HEAD_MAX || data_len > WIRE_DATA_MAX)
        return err_set(err, ERR_INVALID, "a control message of %zu and %zu bytes", head_len,
                       data_len);
    return receive_body(wire, head_len, data_len, ret, err);
}

/* Who is refused as it connects is told so and let go, perhaps before it has sent its request. */
static bool send_request(struct wire *wire, const json_t *head, const void *data, size_t len,
                         struct message *ret_refusal, struct err *err)
{
    struct err failed = {0}, unheard = {0};
    bool end = false;
    if (wire_send(wire, head, data, len, &failed) ||
        (wire_receive(wire, 1, ret_refusal, &end, &unheard) && !end))
        return true;
    *err = failed;
    return false;
}

bool wire_call(struct wire *wire, const json_t *head, const void *data, size_t len,
               uint64_t timeout_ms, struct message *ret, bool *ret_answered, struct err *err)
{
    AUTO(message) struct message answer = {0};
    bool end = false, nobody_asks = false;
    bool *answered = ret_answered ? ret_answered : &nobody_asks;
    *answered = false;
    if (!send_request(wire, head, data, len, &answer, err) ||
        (!answer.head && !wire_receive(wire, timeout_ms, &answer, &end, err)))
        return false;
    if (end)
        return err_set(err, ERR_UNAVAILABLE, "the vault ended the connection");
    *answered = true;
    const char *code = json_text(answer.head, "error");
    if (*code) {
        AUTO(mem) char *text = NULL;
        return wire_get_name(answer.head, "text", &text, err) &&
               err_set(err, err_from_name(code), "%s", text ? text : "no reason given");
    }
    *ret = answer;
    answer = (struct message){0};
    return true;
}

static bool is_plain(unsigned char c) { return c >= 0x20 && c <= 0x7e && c != '%'; }

char *wire_escape(const char *bytes, struct err *err)
{
    AUTO(str) struct str text = {0};
    str_append(&text, "");
    for (const char *p = bytes; *p; p++) {
        if (is_plain((unsigned char)*p))
            str_append_n(&text, p, 1);
        else
            str_printf(&text, "%%%02x", (unsigned char)*p);
    }
    return str_take(&text, err);
}

static int nibble(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

char *wire_unescape(const char *text, struct err *err)
{
    AUTO(mem) char *bytes = own_alloc(strlen(text) + 1, err);
    if (!bytes)
        return NULL;
    size_t len = 0;
    for (const char *p = text; *p; p++) {
        if (*p != '%') {
            bytes[len++] = *p;
            continue;
        }
        int high = nibble(p[1]), low = high < 0 ? -1 : nibble(p[2]);
        if (low < 0 || high * 16 + low == 0) {
            err_set(err, ERR_INVALID, "'%.80s' is no escaped name", text);
            return NULL;
        }
        bytes[len++] = (char)(high * 16 + low);
        p += 2;
    }
    return TAKE(bytes);
}

bool wire_put_name(json_t *head, const char *key, const char *bytes, struct err *err)
{
    if (!bytes)
        return true;
    AUTO(mem) char *text = wire_escape(bytes, err);
    return text && json_put_text(head, key, text, err);
}

bool wire_get_name(const json_t *head, const char *key, char **ret, struct err *err)
{
    const json_t *member = json_object_get(head, key);
    *ret = NULL;
    if (!member || json_is_null(member))
        return true;
    if (!json_is_string(member))
        return err_set(err, ERR_INVALID, "'%s' is no text", key);
    *ret = wire_unescape(json_string_value(member), err);
    return *ret;
}

bool wire_put_u64(json_t *head, const char *key, uint64_t n, struct err *err)
{
    char text[24];
    if (n < EXACT_MAX)
        return json_put_u64(head, key, n, err);
    str_format(text, sizeof text, "%llu", (unsigned long long)n);
    return json_put_text(head, key, text, err);
}

uint64_t wire_get_u64(const json_t *head, const char *key)
{
    uint64_t n = 0;
    if (json_is_string(json_object_get(head, key)))
        return str_to_u64(json_text(head, key), UINT64_MAX, &n) ? n : 0;
    return json_u64(head, key);
}
