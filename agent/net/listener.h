/* Accepts connections and does their TLS handshakes off the loop, with a deadline and a cap. */
#pragma once
#include "agent/base/loop.h"
#include "agent/net/tls.h"

struct listener;

struct listener_options {
    const char *host;
    uint16_t port;           /* 0: any free one */
    struct tls_context *tls; /* a server's */
    struct lane *lane;       /* each step of a handshake costs milliseconds there */
    size_t handshakes_max;   /* beyond it the oldest silent one is dropped, else the oldest */
    uint64_t handshake_ms;
    /* False: closed at once, before any handshake. */
    bool (*admit)(void *arg);
    /* Takes the established connection over. */
    void (*accepted)(void *arg, struct tls *tls, const char *address);
    void (*failed)(void *arg, const char *address, const struct err *err);
    void *arg;
};

/* All on the loop thread. */
struct listener *listener_new(struct loop *loop, const struct listener_options *options,
                              struct err *err) MUST;
uint16_t listener_port(const struct listener *listener);
/* Handshakes that begin from now on use these keys and this trust (counted anew). */
void listener_use(struct listener *listener, struct tls_context *tls);
/* No callback follows. What a worker still holds is freed when it comes home to the loop. */
void listener_free(struct listener *listener);
OWN_DEFINE(listener, struct listener, listener_free);
