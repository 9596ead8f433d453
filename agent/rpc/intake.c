/* The bytes of a call's request: one message, or a client stream's, one after the other. */
#include "agent/rpc/server_int.h"

#include "agent/base/clock.h"
#include <string.h>

enum {
    RECEIVING_MAX = 256 << 20, /* requests in arrival, all together */
    KEPT_MAX = 64 << 10,       /* of a stream's buffer, from one message to the next */
};

static void count(struct rpc_call *call)
{
    size_t bytes = call->in.capacity + call->raw.capacity;
    if (call->server)
        call->server->receiving_bytes += bytes - call->counted;
    call->counted = bytes;
}

/* How many bytes of requests are in arrival, here and on the whole server. */
static bool fits(struct rpc_call *call, struct err *err)
{
    count(call);
    return call->server->receiving_bytes <= RECEIVING_MAX ||
           err_set(err, ERR_BUSY, "the agent is busy with too many large requests");
}

static void fail_as(struct rpc_call *call, enum err_code code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    call_abort(call, &err);
}

static void free_message(struct rpc_call *call)
{
    if (call->request)
        protobuf_c_message_free_unpacked(TAKE(call->request), &call->budget.allocator);
}

static void take_unary(struct rpc_call *call, const uint8_t *bytes, size_t len)
{
    struct err err = {0};
    if (!call->in.complete &&
        (frame_read(&call->in, &bytes, &len, RPC_MESSAGE_MAX, &err) == FRAME_FAILED ||
         !fits(call, &err)))
        call_abort(call, &err);
    else if (len)
        fail_as(call, ERR_INVALID, "more than one request message");
}

void intake_data(struct rpc_call *call, const uint8_t *bytes, size_t len)
{
    struct err err = {0};
    if (!call->method || !(call->method->streams & RPC_CLIENT_STREAM)) {
        h2_consume(call->stream, len);
        take_unary(call, bytes, len);
        return;
    }
    str_append_n(&call->raw, bytes, len);
    call->unconsumed += len;
    if (call->raw.failed)
        fail_as(call, ERR_NO_MEMORY, "no memory for the request");
    else if (!fits(call, &err))
        call_abort(call, &err);
    else
        intake_deliver(call);
}

static void end_unary(struct rpc_call *call)
{
    struct err err = {0};
    if (!call->in.complete) {
        fail_as(call, ERR_INVALID, "the request ended before its message was complete");
        return;
    }
    call->request =
        message_unpack(&call->budget, call->method->input, call->in.bytes, call->in.len, &err);
    frame_reader_done(&call->in);
    count(call);
    if (call->request)
        call_dispatch(call);
    else
        call_abort(call, &err);
}

void intake_end(struct rpc_call *call)
{
    if (call->method->streams & RPC_CLIENT_STREAM)
        intake_deliver(call);
    else
        end_unary(call);
}

static enum frame_event parse(struct rpc_call *call, struct err *err)
{
    if (!call->raw.len)
        return FRAME_MORE;
    const uint8_t *bytes = (const uint8_t *)call->raw.text + call->raw_head;
    size_t len = call->raw.len - call->raw_head;
    enum frame_event event = frame_read(&call->in, &bytes, &len, RPC_MESSAGE_MAX, err);
    call->raw_head = call->raw.len - len;
    if (!len) {
        str_clear(&call->raw);
        call->raw_head = 0;
    }
    return event;
}

/* Only once all that arrived is taken: so `raw` never holds more than a window, and a message may
 * be larger than one. */
static void open_window(struct rpc_call *call)
{
    if (!call->unconsumed)
        return;
    h2_consume(call->stream, call->unconsumed);
    call->unconsumed = 0;
    conn_kick(call->conn);
}

static void tell(struct rpc_call *call, const ProtobufCMessage *message)
{
    call->wants = false;
    call->on_message(call->on_message_arg, message); /* the call may be gone now */
}

static void tell_end(struct rpc_call *call)
{
    if (frame_is_between(&call->in)) {
        call->end_told = true;
        tell(call, NULL);
    } else {
        fail_as(call, ERR_INVALID, "the stream ended inside a message");
    }
}

void intake_deliver(struct rpc_call *call)
{
    struct err err = {0};
    if (!call->wants || !call->on_message || !call->stream || call->state != CALL_HANDLED)
        return;
    free_message(call);
    call->moved_ms = clock_mono_ms();
    switch (parse(call, &err)) {
    case FRAME_MORE:
        open_window(call);
        if (call->ended)
            tell_end(call);
        else if (!fits(call, &err))
            call_abort(call, &err);
        return;
    case FRAME_FAILED:
        call_abort(call, &err);
        return;
    case FRAME_MESSAGE:
        break;
    }
    call->request =
        message_unpack(&call->budget, call->method->input, call->in.bytes, call->in.len, &err);
    if (call->in.capacity > KEPT_MAX) {
        frame_reader_done(&call->in);
        count(call);
    }
    if (call->request)
        tell(call, call->request);
    else
        call_abort(call, &err);
}

/* The message in the handler's hands stays: a worker may be reading it. */
void intake_drop(struct rpc_call *call)
{
    if (call->stream && call->unconsumed)
        h2_consume(call->stream, call->unconsumed);
    call->unconsumed = 0;
    call->wants = false;
    str_done(&call->raw);
    call->raw_head = 0;
    frame_reader_done(&call->in);
    count(call);
}

void intake_done(struct rpc_call *call)
{
    str_done(&call->raw);
    frame_reader_done(&call->in);
    free_message(call);
}
