/* HTTP against a server that says what it is told to, and TLS that is never taken on trust. */
#include "agent/auth/ca.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/http.h"
#include "tests/lib/engine_drive.h"
#include "tests/lib/object_store.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- one answer to each connection ---- */

struct server {
    int fd;
    unsigned port;
    const char *answer;
    size_t len;
    unsigned asked;
    char request[4096];
    pthread_t thread;
};

static void answer_one(struct server *s, int fd)
{
    size_t len = 0;
    while (len + 1 < sizeof s->request) {
        ssize_t n = recv(fd, s->request + len, sizeof s->request - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        s->request[len] = '\0';
        if (strstr(s->request, "\r\n\r\n"))
            break;
    }
    s->asked++;
    for (size_t at = 0; at < s->len;) {
        ssize_t n = send(fd, s->answer + at, s->len - at, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        answer_one(s, fd);
        close(fd);
    }
}

static void server_begin(struct server *s, const char *answer, size_t len)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    *s = (struct server){.answer = answer, .len = len};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&at, sizeof at) == 0 &&
              listen(s->fd, 8) == 0 && getsockname(s->fd, (struct sockaddr *)&at, &size) == 0);
    s->port = ntohs(at.sin_port);
    cr_assert(pthread_create(&s->thread, NULL, serve, s) == 0);
}

static void server_done(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static bool get(struct http *http, unsigned port, char *to, size_t room, size_t text_max,
                struct http_reply *reply, bool *sent, struct err *err)
{
    char url[64];
    str_format(url, sizeof url, "http://127.0.0.1:%u/x?y=1", port);
    struct http_request request = {.method = "GET",
                                   .url = url,
                                   .total_ms = 5000,
                                   .to = to,
                                   .room = room,
                                   .text_max = text_max};
    return http_do(http, &request, reply, sent, err);
}

Test(http, answers_that_are_none_end_in_an_error_and_never_in_half_of_one)
{
    static char flood[80000];
    static const struct {
        const char *answer;
        enum err_code code;
    } cases[] = {
        {"", ERR_UNAVAILABLE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", ERR_UNAVAILABLE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", ERR_UNAVAILABLE},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", ERR_UNAVAILABLE},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", ERR_UNAVAILABLE},
        {flood, ERR_LIMIT},
        {"nonsense", ERR_IO},
    };
    struct err err = {0};
    str_copy(flood, sizeof flood, "HTTP/1.1 200 OK\r\n");
    for (size_t at = strlen(flood); at + 20 < sizeof flood; at += 12)
        memcpy(flood + at, "X-Flood: 1\r\n", 12);
    AUTO(http) struct http *http = http_new(&(struct http_options){0}, &err);
    cr_assert(http, "%s", err.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct server server;
        AUTO(http_reply) struct http_reply reply = {0};
        bool sent = false;
        server_begin(&server, cases[i].answer, strlen(cases[i].answer));
        err_clear(&err);
        cr_expect(!get(http, server.port, NULL, 0, 1000, &reply, &sent, &err), "case %zu", i);
        cr_expect(err.code == cases[i].code || (i == 4 && err.code == ERR_IO), "case %zu: %s %s", i,
                  err_code_name(err.code), err.text);
        cr_expect(sent, "case %zu", i);
        server_done(&server);
    }
}

static bool take_digits(void *arg, const void *bytes, size_t len, struct err *err)
{
    size_t *left = arg;
    if (len > *left)
        return err_set(err, ERR_NO_SPACE, "no room for '%.*s'", (int)len, (const char *)bytes);
    *left -= len;
    return true;
}

Test(http, who_takes_a_body_piece_by_piece_may_end_it)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    struct server server;
    struct err err = {0};
    char url[64];
    size_t left = 10;
    bool sent;
    AUTO(http) struct http *http = http_new(&(struct http_options){0}, &err);
    AUTO(http_reply) struct http_reply reply = {0};
    server_begin(&server, answer, strlen(answer));
    str_format(url, sizeof url, "http://127.0.0.1:%u/", server.port);
    struct http_request request = {
        .method = "GET", .url = url, .total_ms = 5000, .take = take_digits, .arg = &left};
    cr_expect(http_do(http, &request, &reply, &sent, &err) && left == 0, "%s", err.text);
    cr_expect(!http_do(http, &request, &reply, &sent, &err) && err.code == ERR_NO_SPACE);
    server_done(&server);
}

Test(http, a_body_above_the_limit_is_not_kept)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    struct server server;
    struct err err = {0};
    char room[10];
    bool sent;
    AUTO(http) struct http *http = http_new(&(struct http_options){0}, &err);
    AUTO(http_reply) struct http_reply reply = {0};
    server_begin(&server, answer, strlen(answer));
    cr_expect(!get(http, server.port, NULL, 0, 9, &reply, &sent, &err) && err.code == ERR_LIMIT);
    err_clear(&err);
    cr_expect(!get(http, server.port, room, 9, 0, &reply, &sent, &err) && err.code == ERR_LIMIT);
    err_clear(&err);
    cr_expect(get(http, server.port, NULL, 0, 10, &reply, &sent, &err), "%s", err.text);
    cr_expect(str_equal(reply.text.text, "0123456789"));
    http_reply_done(&reply);
    cr_expect(get(http, server.port, room, 10, 0, &reply, &sent, &err), "%s", err.text);
    cr_expect(memcmp(room, "0123456789", 10) == 0 && reply.len == 10 && reply.text.len == 0);
    server_done(&server);
}

Test(http, a_redirection_is_an_answer_and_nothing_more)
{
    struct server server;
    struct err err = {0};
    bool sent;
    AUTO(http) struct http *http = http_new(&(struct http_options){0}, &err);
    AUTO(http_reply) struct http_reply reply = {0};
    static const char answer[] = "HTTP/1.1 100 Continue\r\nX-A: 0\r\n\r\nHTTP/1.1 302 Found\r\n"
                                 "LOCATION: http://127.0.0.1:1/\r\nX-A: 1\r\nx-a:  2 \r\n"
                                 "Content-Length: 4\r\n\r\ngone";
    server_begin(&server, answer, strlen(answer));
    cr_assert(get(http, server.port, NULL, 0, 0, &reply, &sent, &err), "%s", err.text);
    cr_expect(reply.status == 302 && str_equal(reply.text.text, "gone"));
    cr_expect(str_equal(http_reply_field(&reply, "location"), "http://127.0.0.1:1/"));
    cr_expect(str_equal(http_reply_field(&reply, "x-a"), "2"), "the last one counts");
    cr_expect(!http_reply_field(&reply, "x-b"));
    server_done(&server);
    cr_expect(server.asked == 1);
    cr_expect(str_starts(server.request, "GET /x?y=1 HTTP/1.1\r\n"), "%s", server.request);
}

Test(http, nobody_there_is_told_apart_from_nobody_answering)
{
    struct err err = {0};
    bool sent = true;
    AUTO(http) struct http *http = http_new(&(struct http_options){0}, &err);
    AUTO(http_reply) struct http_reply reply = {0};
    cr_expect(!get(http, 1, NULL, 0, 0, &reply, &sent, &err));
    cr_expect(err.code == ERR_UNAVAILABLE && !sent, "%s", err.text);
    struct http_field field = {"x-a", "1\r\nx-b: 2"};
    struct http_request request = {
        .method = "GET", .url = "http://127.0.0.1:1/", .fields = &field, .field_count = 1};
    err_clear(&err);
    cr_expect(!http_do(http, &request, &reply, &sent, &err) && err.code == ERR_INVALID);
    request = (struct http_request){.method = "GET", .url = "file:///etc/passwd"};
    err_clear(&err);
    cr_expect(!http_do(http, &request, &reply, &sent, &err) && err.code == ERR_INVALID);
}

Test(http, knows_what_stays_on_this_host)
{
    static const char *const stay[] = {"http://127.0.0.1", "http://127.1.2.3:80/x",
                                       "http://localhost:9000", "http://[::1]:9000",
                                       "http://[::1]"};
    static const char *const leave[] = {"http://127.0.0.1.example.com",
                                        "http://localhost.example.com",
                                        "http://10.0.0.1",
                                        "http://127.0.0.1@example.com",
                                        "http://[::2]",
                                        "x",
                                        "http://"};
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        cr_expect(http_url_is_loopback(stay[i]), "%s", stay[i]);
    for (size_t i = 0; i < sizeof leave / sizeof *leave; i++)
        cr_expect(!http_url_is_loopback(leave[i]), "%s", leave[i]);
}

/* ---- TLS ---- */

static void pin_of(const char *cert, char pin[128])
{
    char command[512];
    str_format(command, sizeof command,
               "openssl x509 -in '%s' -pubkey -noout | openssl pkey -pubin -outform der | "
               "openssl dgst -sha256 -binary | openssl base64",
               cert);
    FILE *pipe = popen(command, "r"); // NOLINT
    char text[100] = "";
    cr_assert(pipe && fgets(text, sizeof text, pipe));
    pclose(pipe);
    str_format(pin, 128, "sha256//%s", str_trim(text));
}

static enum err_code open_tls(struct object_store *store, const char *host, const char *ca,
                              const char *pin, struct err *err)
{
    char endpoint[64];
    str_format(endpoint, sizeof endpoint, "https://%s:%u", host, store->port);
    struct io_option options[] = {{"endpoint", endpoint}, {"retry", "0"}, {"ca", ca}, {"pin", pin}};
    err_clear(err);
    AUTO(io) struct io *io = object_store_open(store, "p", options, pin ? 4 : 3, err);
    return io && io_put(io, "a", "x", 1, IO_REPLACE, err) ? ERR_NONE : err->code;
}

Test(http, a_server_is_believed_by_its_authority_its_name_and_its_pinned_key)
{
    static const char *const names[] = {"localhost"};
    AUTO(drive_dir) char *dir = drive_dir();
    AUTO(object_store) struct object_store store = {0};
    struct err err = {0};
    char pki[256];
    char other[256];
    char ca[280];
    char other_ca[280];
    char cert[280];
    char tls[600];
    char pin[128];
    struct ca_request agent = {.name = "agent", .server_names = names, .server_name_count = 1};
    str_format(pki, sizeof pki, "%s/pki", dir);
    str_format(other, sizeof other, "%s/other", dir);
    cr_assert(ca_init(pki, &agent, &err) && ca_init(other, &agent, &err), "%s", err.text);
    str_format(ca, sizeof ca, "%s/ca.crt", pki);
    str_format(other_ca, sizeof other_ca, "%s/ca.crt", other);
    str_format(cert, sizeof cert, "%s/server.crt", pki);
    str_format(tls, sizeof tls, "tls=%s/server.crt,%s/server.key", pki, pki);
    const char *flags[] = {tls, NULL};
    cr_assert(object_store_fake(&store, dir, flags, &err), "%s", err.text);
    pin_of(cert, pin);
    cr_expect(open_tls(&store, "localhost", ca, NULL, &err) == ERR_NONE, "%s", err.text);
    cr_expect(open_tls(&store, "localhost", ca, pin, &err) == ERR_NONE, "%s", err.text);
    cr_expect(open_tls(&store, "localhost", other_ca, NULL, &err) == ERR_UNAUTHENTICATED, "%s",
              err.text);
    cr_expect(open_tls(&store, "127.0.0.1", ca, NULL, &err) == ERR_UNAUTHENTICATED, "%s", err.text);
    pin[12] = pin[12] == 'A' ? 'B' : 'A';
    cr_expect(open_tls(&store, "localhost", ca, pin, &err) == ERR_UNAUTHENTICATED, "%s", err.text);
    cr_expect(open_tls(&store, "localhost", "/no/such/ca", NULL, &err) == ERR_CONFIG, "%s",
              err.text);
}
