/* The NFS port: listens, keeps connections, reads records, sends replies. Knows no NFS: programs
 * answer. README.md draws a connection's states. */
#pragma once
#include "agent/base/own.h"
#include "drivers/vault/nfs/rpc.h"

struct nfsd_peer {
    uint8_t address[16]; /* IPv6, or IPv4 mapped */
    uint16_t port;
    char text[64]; /* the address, for people */
};

enum { NFSD_RESULTS_FEW = 4096, NFSD_LATE_MAX = 24 };
/* One call under way, on its own thread. */
struct nfsd_connection;
struct nfsd_call {
    struct nfsd_connection *connection;
    const struct nfsd_peer *peer;
    struct rpc_call rpc;
    uint8_t *results; /* room for results_max bytes, at first NFSD_RESULTS_FEW */
    size_t results_len, results_max;
    /* Results that are sent when the call has waited for late_ms, instead of its own: for calls
     * that may come to their end unheard and be made again. late_len 0, as it begins: none. */
    uint8_t late[NFSD_LATE_MAX];
    size_t late_len;
    bool late_changing; /* also when it has begun to change something; else no longer then */
};
/* Room for size bytes of results, at most RPC_RECORD_MAX; what was written stays, but may move:
 * call->results is read anew. Waits 2 s for memory, then LIMIT when this client has used up its
 * share, BUSY when all is lent. */
bool nfsd_results_room(struct nfsd_call *call, size_t size, struct err *err) MUST;
/* Says that this call may take a while (a disk, a lock): meanwhile others read this connection's
 * next records and answer them. Its arguments stay where they are. A program that waits through
 * agent/base (waiting.h) need not say it; of one that is watched there another thread says it, so
 * in a watch it touches its results' bytes alone. */
void nfsd_call_is_slow(struct nfsd_call *call);
/* Says that it moves much: the same, but only where the client has sent more by now. */
void nfsd_call_is_large(struct nfsd_call *call);
/* Whether one more call of this client may come to wait: asked before anything else. False: too
 * many do, and where it might, it is better answered at once that it come again. */
enum nfsd_share { NFSD_HALF = 2, NFSD_MOST = 3 /* quarters of what there is room for */ };
bool nfsd_call_may_wait(const struct nfsd_call *call, enum nfsd_share share) MUST;
/* Its last word on that: it is not answered as late from here on. True: it has been. A program
 * that waits through agent/base is also asked as it begins to change something (waiting.h). */
bool nfsd_call_was_late(struct nfsd_call *call);

struct nfsd_program {
    uint32_t program, version_low, version_high;
    uint32_t procedures; /* 0 .. procedures - 1 */
    enum rpc_accept (*run)(void *arg, struct nfsd_call *call);
    void *arg;
    /* A client's last connection has closed, and none of it has come since. Optional; no function
     * of the server is called from it. */
    void (*gone)(void *arg, const struct nfsd_peer *peer);
};

enum { NFSD_LISTEN_MAX = 16 };
struct nfsd_options {
    const char *const *listen; /* addresses: "0.0.0.0", "::", ...; 1 to NFSD_LISTEN_MAX */
    size_t listen_count;
    uint16_t port; /* 0: 2049 when it is free, else 20490, else any */
    const struct nfsd_program *programs;
    size_t program_count;
    unsigned connections_max;        /* 0: 1,024 */
    unsigned client_connections_max; /* of one address; 0: 256 */
    uint64_t buffer_bytes;           /* large buffers of all; 0: 96 MiB */
    uint64_t stall_ms;               /* a record or a reply that does not move; 0: 20,000 */
    unsigned slow_max; /* calls of one client that wait, 4 at least; of all twice that; 0: 1,024 */
    uint64_t late_ms;  /* after which, and a quarter, a call that waits is late; 0: 14,000 */
    /* Whether this address may use anything here: asked when it comes, and by nfsd_judge. Strangers
     * get records and replies of 4 KiB, idle_ms after a call, strangers_max connections among them.
     * NULL: there are none. */
    bool (*knows)(void *arg, const struct nfsd_peer *peer);
    void *knows_arg;
    unsigned strangers_max; /* 0: an eighth of connections_max */
    uint64_t idle_ms;       /* 0: 30,000 */
};
struct nfsd;
/* Everything in options is borrowed until nfsd_stop returns, the strings of listen only until here.
 */
struct nfsd *nfsd_start(const struct nfsd_options *options, struct err *err) MUST;
/* Accepts no more, answers what is under way (at most 10 s), closes. Returns when all calls have
 * ended: not while a disk holds one. NULL is fine. */
void nfsd_stop(struct nfsd *nfsd);
OWN_DEFINE(nfsd, struct nfsd, nfsd_stop);
/* Asks about each client anew: who is known may have changed. */
void nfsd_judge(struct nfsd *nfsd);
/* Ends the connections of this address: what waits for it to read its replies waits no more. */
void nfsd_cut(struct nfsd *nfsd, const uint8_t address[16]);
uint16_t nfsd_port(const struct nfsd *nfsd);
/* Whether it listens to addresses of this family: AF_INET, AF_INET6. */
bool nfsd_listens_to(const struct nfsd *nfsd, int family);

struct nfsd_figures {
    uint64_t connections, calls, bytes_in, bytes_out;
    uint64_t refused_full, refused_client, refused_stranger; /* connections, since the start */
    uint64_t refused_lies, stalled, starved; /* cut, since the start; starved: of memory */
    uint64_t buffer_bytes, threads;          /* now */
};
struct nfsd_figures nfsd_figures(struct nfsd *nfsd);
