/* Load on a gRPC server: one connection, so many calls at once, each reply checked.
 *
 *   bench_rpc PORT DIR NAME PATH CALLS SECONDS     prints `rpc_s`, `p50_us`, `p99_us`, each with
 * its value
 *
 * DIR holds ca.crt, NAME.crt, NAME.key; the request is an empty message. It knows nothing of what
 * is measured beyond HTTP/2, so that every server meets the same. */
#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include "agent/base/str.h"
#include "agent/net/h2.h"
#include "agent/net/sock.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLES_MAX = 4 << 20, WARM_CALLS = 1000 };

struct slot {
    struct h2_stream *stream;
    uint64_t begun_ns;
    int status; /* -1: none yet */
};

static struct load {
    struct h2 *h2;
    const char *path;
    struct slot *slots;
    uint32_t *samples; /* nanoseconds */
    size_t count, measured, failed, open;
    uint64_t end_ns;
} load;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void ask(struct slot *slot)
{
    const struct h2_header headers[] = {
        {":method", "POST"},     {":scheme", "https"}, {":path", load.path},
        {":authority", "bench"}, {"te", "trailers"},   {"content-type", "application/grpc"},
    };
    struct err err = {0};
    slot->status = -1;
    slot->begun_ns = now_ns();
    slot->stream = h2_request(load.h2, headers, sizeof headers / sizeof *headers, slot, &err);
    if (!slot->stream || !h2_send(slot->stream, "\0\0\0\0", 5) ||
        !h2_finish(slot->stream, NULL, 0)) {
        fprintf(stderr, "bench_rpc: %s\n", err.text);
        exit(1);
    }
    load.open++;
}

static void on_header(struct h2_stream *stream, const char *name, const char *value)
{
    struct slot *slot = h2_stream_user(stream);
    if (str_equal(name, "grpc-status"))
        slot->status = str_equal(value, "0") ? 0 : 1;
}

static void on_nothing(struct h2_stream *stream) { (void)stream; }

static void on_data(struct h2_stream *stream, const void *bytes, size_t len)
{
    (void)bytes;
    h2_consume(stream, len);
}

static void on_closed(struct h2_stream *stream, uint32_t code)
{
    struct slot *slot = h2_stream_user(stream);
    uint64_t now = now_ns();
    load.open--;
    load.count++;
    load.failed += code != H2_NO_ERROR || slot->status != 0;
    if (load.count > WARM_CALLS && load.measured < SAMPLES_MAX)
        load.samples[load.measured++] = (uint32_t)(now - slot->begun_ns);
    if (now < load.end_ns)
        ask(slot);
}

static const struct h2_handler handler = {
    .header = on_header,
    .headers_done = on_nothing,
    .data = on_data,
    .end = on_nothing,
    .closed = on_closed,
};

static struct tls *connect_to(struct tls_context *context, uint16_t port, struct err *err)
{
    uint64_t deadline_ms = clock_mono_ms() + 5000;
    int fd = sock_connect("127.0.0.1", port, deadline_ms, err);
    struct tls *tls = fd < 0 ? NULL : tls_new(context, fd, err);
    enum tls_step step = TLS_WANT_READ;
    while (tls && step != TLS_DONE) {
        step = tls_handshake(tls, err);
        if (step == TLS_FAILED || step == TLS_CLOSED)
            return NULL;
        if (step != TLS_DONE &&
            !sock_wait(fd, step == TLS_WANT_READ, step == TLS_WANT_WRITE, deadline_ms))
            return NULL;
    }
    return tls;
}

static bool run(struct err *err)
{
    while (load.open) {
        uint64_t before = h2_received(load.h2);
        int wanted = h2_work(load.h2, err);
        if (wanted <= 0)
            return err_set(err, ERR_UNAVAILABLE, "the connection ended: %s", err->text);
        if (wanted & H2_AGAIN || h2_received(load.h2) != before)
            continue;
        if (!sock_wait(tls_fd(h2_tls(load.h2)), true, wanted & LOOP_WRITE, clock_mono_ms() + 5000))
            return err_set(err, ERR_TIMEOUT, "no answer within 5 s");
    }
    return true;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    uint64_t port, calls, seconds;
    char ca[256], cert[256], key[256];
    if (argc != 7 || !str_to_u64(argv[1], 65535, &port) || !str_to_u64(argv[5], 128, &calls) ||
        !str_to_u64(argv[6], 60, &seconds))
        return 2;
    str_format(ca, sizeof ca, "%s/ca.crt", argv[2]);
    str_format(cert, sizeof cert, "%s/%s.crt", argv[2], argv[3]);
    str_format(key, sizeof key, "%s/%s.key", argv[2], argv[3]);
    struct tls_files files = {ca, cert, key};
    struct tls_context *context = tls_context_new(TLS_CLIENT, &files, &err);
    struct tls *tls = context ? connect_to(context, (uint16_t)port, &err) : NULL;
    load.path = argv[4];
    load.slots = calloc(calls, sizeof *load.slots);
    load.samples = calloc(SAMPLES_MAX, sizeof *load.samples);
    load.h2 = tls ? h2_new(TLS_CLIENT, tls, &handler, NULL, &err) : NULL;
    if (!load.h2 || !load.slots || !load.samples) {
        fprintf(stderr, "bench_rpc: %s\n", err.text);
        return 1;
    }
    uint64_t begun = now_ns();
    load.end_ns = begun + seconds * 1000000000;
    for (uint64_t i = 0; i < calls; i++)
        ask(&load.slots[i]);
    bool ok = run(&err) && !load.failed;
    double spent = (double)(now_ns() - begun) / 1e9;
    if (!ok || !load.measured) {
        fprintf(stderr, "bench_rpc: %zu of %zu calls failed %s\n", load.failed, load.count,
                err.text);
        return 1;
    }
    qsort(load.samples, load.measured, sizeof *load.samples, compare);
    printf("rpc_s %.0f\np50_us %.1f\np99_us %.1f\n", (double)load.count / spent,
           load.samples[load.measured / 2] / 1e3, load.samples[load.measured * 99 / 100] / 1e3);
    h2_free(load.h2);
    tls_context_free(context);
    free(load.slots);
    free(load.samples);
    return 0;
}
