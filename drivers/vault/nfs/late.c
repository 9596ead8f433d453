/* Calls that wait too long for a disk or a store: what their program gave for that case is sent in
 * time, and their own reply, when it comes at last, is not. */
#include "agent/base/clock.h"
#include "drivers/vault/nfs/server_int.h"
#include <poll.h>
#include <string.h>

enum { FIRST_MS = 1000 }; /* a reply that cannot be sent yet is tried again so often */

void late_begins(struct worker *worker)
{
    struct nfsd *nfsd = worker->nfsd;
    if (worker->waits || !worker->call.late_len)
        return;
    worker->waits = true;
    worker->since_ms = clock_mono_ms();
    IGNORE(pthread_mutex_lock(&nfsd->late_lock));
    worker->waits_previous = NULL;
    worker->waits_next = nfsd->waiting;
    if (nfsd->waiting)
        nfsd->waiting->waits_previous = worker;
    nfsd->waiting = worker;
    IGNORE(pthread_mutex_unlock(&nfsd->late_lock));
}

static void unlist(struct worker *worker)
{
    struct nfsd *nfsd = worker->nfsd;
    IGNORE(pthread_mutex_lock(&nfsd->late_lock));
    *(worker->waits_previous ? &worker->waits_previous->waits_next : &nfsd->waiting) =
        worker->waits_next;
    if (worker->waits_next)
        worker->waits_next->waits_previous = worker->waits_previous;
    IGNORE(pthread_mutex_unlock(&nfsd->late_lock));
}

bool nfsd_call_was_late(struct nfsd_call *call)
{
    struct worker *worker = (struct worker *)call;
    if (worker->waits)
        unlist(worker); /* first: who answers may be reading it */
    worker->waits = false;
    call->late_len = 0;
    return atomic_load(&worker->late);
}

/* Where it may be answered as late all the same, its turn has come before whatever its client asks
 * on hearing that: the moment between the answer and the flag does no harm. */
bool late_may_change(struct worker *worker)
{
    if (worker->call.late_changing)
        return !atomic_load(&worker->late);
    return !nfsd_call_was_late(&worker->call);
}

/* A small reply to a socket that takes one now; never waits. */
static bool send_now(struct nfsd_connection *c, const uint8_t *reply, size_t len)
{
    struct pollfd writable = {.fd = c->fd, .events = POLLOUT};
    if (pthread_mutex_trylock(&c->send_lock) != 0)
        return false; /* somebody sends; in a moment again */
    bool sent = poll(&writable, 1, 0) == 1;
    if (sent)
        connection_send(c, reply, len);
    IGNORE(pthread_mutex_unlock(&c->send_lock));
    return sent;
}

/* With late_lock: one that began before and has no answer yet. */
static struct worker *find_late(struct nfsd *nfsd, uint64_t before_ms)
{
    struct worker *worker = nfsd->waiting;
    while (worker && (worker->late || worker->since_ms > before_ms))
        worker = worker->waits_next;
    return worker;
}

uint64_t late_answer(struct nfsd *nfsd)
{
    uint64_t now = clock_mono_ms();
    uint64_t answered = 0;
    uint8_t reply[RPC_HEAD_BYTES + NFSD_LATE_MAX];
    IGNORE(pthread_mutex_lock(&nfsd->late_lock));
    for (struct worker *worker;
         now >= nfsd->options.late_ms && (worker = find_late(nfsd, now - nfsd->options.late_ms));) {
        size_t len = worker->call.late_len;
        memcpy(reply + RPC_HEAD_BYTES, worker->call.late, len);
        len += rpc_head(reply, worker->call.rpc.xid, RPC_SUCCESS, 0, 0, len);
        /* In the list, so its connection is there; no send waits, so neither does this lock. */
        worker->late = send_now(worker->call.connection, reply, len);
        if (worker->late)
            answered++;
        else
            worker->since_ms = now - nfsd->options.late_ms + FIRST_MS;
    }
    IGNORE(pthread_mutex_unlock(&nfsd->late_lock));
    return answered;
}
