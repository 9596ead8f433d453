/* What the files of the server share: connections, threads, lent buffers, clients. */
#pragma once
#include "drivers/vault/nfs/record.h"
#include "drivers/vault/nfs/server.h"
#include <pthread.h>
#include <stdatomic.h>

/* ---- buffers.c: large buffers, lent from one stock ---- */
struct client;
struct buffer {
    struct buffer *next;
    struct client *client; /* whose share it counts in; NULL: too small to count */
    size_t size;
    atomic_uint holders; /* a reader, and slow calls whose arguments lie in it */
    _Alignas(16) uint8_t bytes[];
};
enum {
    BUFFER_FEW = 4096,         /* an idle connection's; not counted */
    BUFFER_MIDDLE = 128 << 10, /* many small records, many small replies */
    BUFFER_LARGE = RPC_RECORD_MAX + 8192,
    BUFFER_KINDS = 2,
};
_Static_assert((int)BUFFER_LARGE >= (int)RECORD_BUFFER_MAX, "a record fits");
struct stock {
    pthread_mutex_t lock;
    pthread_cond_t given;
    struct buffer *kept[BUFFER_KINDS];
    uint64_t lent, kept_bytes, max;
    unsigned large, waiting; /* large: lent ones of the large kind */
    atomic_bool tight;       /* who waits for work gives back at once what it holds */
    bool stopping;
};
void stock_init(struct stock *stock, uint64_t max);
void stock_done(struct stock *stock);
/* Nobody waits from now on. */
void stock_stop(struct stock *stock);
struct stock_wish {
    size_t size;
    bool reply; /* leaves a quarter of the share to records: calls are heard when many wait so */
    uint64_t wait_ms;
    const struct buffer *mine; /* what who asks holds meanwhile; may be NULL */
};
/* The smallest kind with room for size bytes. Waits for others to give back: then LIMIT when it is
 * this client's own share that is used up, BUSY when all is; CANCELLED as soon as nobody else holds
 * `mine`. A client without a large one gets one whatever else is lent to it: who waits with a
 * smaller one in hand waits for calls that come to their end. */
struct buffer *stock_lend(struct stock *stock, struct client *client, const struct stock_wish *wish,
                          struct err *err) MUST;
struct buffer *buffer_few(struct err *err) MUST;
/* One holder less; the last gives it back. NULL is fine. */
void buffer_give(struct stock *stock, struct buffer *buffer);

/* ---- clients: by address, while they have connections; under the server's lock ---- */
struct client {
    struct client *next;
    struct nfsd_peer peer;
    unsigned connections;
    atomic_bool stranger;
    uint64_t lent;  /* under the stock's lock */
    unsigned large; /* of the large kind; so is this */
    atomic_uint slow;
    atomic_uint lacking; /* calls that wait for memory for longer than a moment */
};

/* ---- connection.c ---- */
struct nfsd_connection {
    struct nfsd *nfsd;
    struct client *client;
    struct nfsd_peer peer;
    int fd;
    struct nfsd_connection *next, *previous;
    atomic_uint users; /* the reader, and slow calls; the last closes */
    pthread_mutex_t send_lock;
    /* It has finished replies of the calls before its slow one: whoever sends next sends them. */
    struct worker *_Atomic handed;
    atomic_bool broken; /* nothing goes out any more */
    atomic_uint_least64_t calls, bytes_in, bytes_out;
    /* The reader's, whichever thread it is. */
    struct buffer *in;
    size_t filled;
    struct record record;
    uint64_t receive_ms;                         /* the socket's patience; 0: for ever */
    bool called;                                 /* a whole call has come */
    uint64_t calls_before;                       /* as it last received */
    bool soon;                                   /* the last came at once behind its reply */
    uint64_t since_ms, since_calls, since_bytes; /* from when on a record's moving is measured */
};

/* ---- threads: each serves one connection's records, or one slow call ---- */
struct worker {
    struct nfsd_call call; /* first: a call's pointer is its worker's */
    struct nfsd *nfsd;
    struct worker *next;
    pthread_cond_t wake;
    struct nfsd_connection *task;
    bool slow;            /* its call was handed on; another thread reads */
    struct buffer *in;    /* where the slow call's arguments lie */
    struct buffer *large; /* replies, when they are more than few */
    uint8_t *out;         /* few, or large's bytes */
    size_t out_size, out_sent, out_len;
    size_t handed_from, handed_len;
    bool waits;       /* in nfsd's list of calls that may become late; the rest with late_lock */
    atomic_bool late; /* it has been answered */
    uint64_t since_ms;
    struct worker *waits_next, *waits_previous;
    bool taken; /* what it handed on may still be leaving its buffer, though it reads on itself */
    uint8_t few[RPC_HEAD_BYTES + 8 + NFSD_RESULTS_FEW];
};
/* Reads and answers until the connection is handed on, or has ended. */
void connection_serve(struct worker *worker, struct nfsd_connection *c);
/* With the send lock. */
void connection_send(struct nfsd_connection *c, const uint8_t *bytes, size_t len);
void worker_init(struct worker *worker, struct nfsd *nfsd);
/* Gives back what it holds of the stock. */
void worker_rest(struct worker *worker);

/* ---- late.c ---- */
/* From here on the worker's call may be answered by what was given for its being late. */
void late_begins(struct worker *worker);
/* It begins to change something. False: it has been answered, and must leave all as it is. */
bool late_may_change(struct worker *worker) MUST;
/* Answers what is late by now, and says how many. */
uint64_t late_answer(struct nfsd *nfsd);

/* ---- server.c ---- */
enum { CLIENT_BUCKETS = 256 };
struct nfsd {
    struct nfsd_options options;
    struct stock stock;
    int listeners[NFSD_LISTEN_MAX];
    size_t listener_count;
    int wake;  /* eventfd: the accepting thread looks at stopping */
    int spare; /* given up for a moment when descriptors run out */
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended; /* a connection, or a thread */
    struct nfsd_connection *connections;
    unsigned connection_count, stranger_count;
    struct client *clients[CLIENT_BUCKETS];
    struct worker *idle;
    unsigned idle_count, threads;
    atomic_uint slow;
    atomic_uint looking; /* threads that look for a call instead of sleeping for it */
    unsigned looking_max;
    atomic_bool stopping;
    bool watching; /* for calls that come to wait unannounced (agent/base/waiting.h) */
    pthread_mutex_t late_lock;
    struct worker *waiting;
    uint64_t late, late_told_ms; /* answers since that was said in the log */
    struct nfsd_figures past;    /* of closed connections, and of those refused */
    atomic_uint_least64_t lies, stalled, starved;
    uint64_t told_ms, told; /* refusals said in the log */
    uint64_t cut_told_ms;
    struct nfsd_figures cut_told; /* connections cut, as the log has it */
};
/* A thread that serves this connection; false: none can be had. */
bool nfsd_run(struct nfsd *nfsd, struct nfsd_connection *c) MUST;
/* Its last user has left. */
void nfsd_forget(struct nfsd *nfsd, struct nfsd_connection *c);

/* ---- listen.c ---- */
bool nfsd_listen(struct nfsd *nfsd, struct err *err) MUST;
