/* Fuzz target: what a client says after TLS, from HTTP/2 frames to calls and their answers. The
 * real h2 and call, over a TLS that only hands the bytes on. */
#include "agent/rpc/server_int.h"

#include "agent/base/clock.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct tls {
    const uint8_t *in;
    size_t left, piece, writes;
};

void tls_free(struct tls *tls) { (void)tls; }
void tls_rest(struct tls *tls) { (void)tls; }

enum tls_step tls_read(struct tls *tls, void *to, size_t size, size_t *ret_len, struct err *err)
{
    (void)err;
    size_t n = tls->left < tls->piece ? tls->left : tls->piece;
    if (!n)
        return TLS_WANT_READ;
    *ret_len = n < size ? n : size;
    memcpy(to, tls->in, *ret_len);
    tls->in += *ret_len;
    tls->left -= *ret_len;
    return TLS_DONE;
}

/* Every third time the socket is full. */
enum tls_step tls_write(struct tls *tls, const void *from, size_t len, size_t *ret_len,
                        struct err *err)
{
    (void)from;
    (void)err;
    *ret_len = len;
    return ++tls->writes % 3 ? TLS_DONE : TLS_WANT_WRITE;
}

void conn_kick(struct conn *conn) { conn->again = true; }

static void echo(struct rpc_call *call, const ProtobufCMessage *request)
{
    rpc_call_reply(call, request);
}

/* Two answers, then the end. */
static void twice(struct rpc_call *call, const ProtobufCMessage *request)
{
    if (rpc_call_send(call, request))
        IGNORE(rpc_call_send(call, request));
    rpc_call_end(call);
}

static bool all_may(void *arg, const struct rpc_peer *peer, const struct rpc_method *method,
                    struct err *err)
{
    (void)arg;
    (void)peer;
    (void)method;
    (void)err;
    return true;
}

#define TEXT &evercopy__v1__list_snapshots_request__descriptor
static const struct rpc_method methods[] = {
    {.service = "t", .name = "Echo", .input = TEXT, .output = TEXT, .handler = echo},
    {.service = "t",
     .name = "Twice",
     .input = TEXT,
     .output = TEXT,
     .streams = RPC_SERVER_STREAM,
     .handler = twice},
};

static void converse(struct rpc_server *server, struct tls *tls)
{
    static const struct tls_peer nobody = {.cn = "fuzz"};
    struct err err = {0};
    struct conn conn = {.server = server};
    conn.caller = caller_new(&nobody, "fuzz", &err);
    conn.h2 = h2_new(TLS_SERVER, tls, &call_handler, &conn, &err);
    if (!conn.caller || !conn.h2)
        abort();
    h2_set_budget(conn.h2, &server->budget);
    for (int turn = 0; turn < 2000; turn++) {
        size_t before = tls->left;
        int wanted = h2_work(conn.h2, &err);
        if (wanted <= 0 || (!conn.again && !(wanted & (H2_AGAIN | LOOP_WRITE)) && !before))
            break;
        conn.again = false;
    }
    IGNORE(h2_is_stuck(conn.h2, &err));
    h2_farewell(conn.h2, H2_NO_ERROR, "bye");
    h2_free(conn.h2);
    caller_unref(conn.caller);
    if (server->call_count || server->receiving_bytes || server->budget.queued)
        abort(); /* something was kept */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char greeting[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    static struct rpc_server server;
    struct err err = {0};
    if (!server.loop) {
        server.loop = loop_new(&err);
        server.options = (struct rpc_server_options){
            .methods = methods, .method_count = 2, .authorize = all_may};
        server.budget.max = 1 << 20;
    }
    if (!server.loop || !size)
        return 0;
    uint8_t *bytes = malloc(sizeof greeting + size);
    memcpy(bytes, greeting, sizeof greeting); /* its end is the last byte of SETTINGS' head */
    memcpy(bytes + sizeof greeting, data + 1, size - 1);
    struct tls tls = {.in = bytes, .left = sizeof greeting + size - 1, .piece = 1 + data[0] * 4};
    converse(&server, &tls);
    free(bytes);
    return 0;
}
