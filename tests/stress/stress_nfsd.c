/* Many clients of the NFS port at once, with slow calls, large replies and resets, while it is
 * stopped and started; for the thread sanitizer. */
#include "drivers/vault/nfs/server.h"
#include "tests/lib/nfs_raw.h"
#include "tests/lib/random.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 8, ROUNDS = 6, CALLS = 40, DATA = 150000 };

static atomic_uint port;
static atomic_bool over;
static atomic_uint answered;

/* One batch of calls; false: a reply was wrong. ret_open: the server is still there. */
static bool batch(int fd, struct rnd *rnd, bool *ret_open)
{
    static _Thread_local uint8_t bytes[RPC_HEAD_BYTES + RAW_HEAD + DATA];
    uint32_t count = 1 + (uint32_t)rnd_below(rnd, CALLS);
    uint64_t left = DATA; /* of both ways: all is sent before a reply is read */
    memset(bytes, 0, sizeof bytes);
    for (uint32_t i = 0; i < count; i++) {
        static const uint32_t procedures[] = {ECHO_NULL, ECHO_BACK, ECHO_SLOW, ECHO_MANY};
        uint32_t procedure = procedures[rnd_below(rnd, 4)];
        size_t len = rnd_below(rnd, rnd_chance(rnd, 10) ? left : 400) & ~3u;
        uint8_t args[4];
        raw_put(args, (uint32_t)len);
        left = left > len + 400 ? left - len : 400;
        size_t size = raw_call(bytes, i, ECHO_PROGRAM, ECHO_VERSION, procedure, args, 4);
        if (procedure != ECHO_MANY) {
            size = RAW_HEAD + len;
            raw_put(bytes, 0x80000000u | (uint32_t)(size - 4));
        }
        if (!raw_send(fd, bytes, size)) {
            *ret_open = false;
            return true;
        }
    }
    if (rnd_chance(rnd, 5)) {
        *ret_open = false; /* the reset is the caller's */
        return true;
    }
    uint64_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t len = raw_reply(fd, bytes, sizeof bytes);
        if (len == 0) {
            *ret_open = false;
            return true;
        }
        uint32_t xid = raw_get(bytes);
        if (len < 24 || xid >= count || seen >> xid & 1)
            return false;
        seen |= 1ULL << xid;
        atomic_fetch_add(&answered, 1);
    }
    return true;
}

static void *client(void *arg)
{
    struct rnd rnd = {(uint64_t)(uintptr_t)arg};
    bool ok = true;
    while (ok && !atomic_load(&over)) {
        int fd = raw_connect((uint16_t)atomic_load(&port), 0);
        bool open = fd >= 0;
        while (ok && open && !atomic_load(&over))
            ok = batch(fd, &rnd, &open);
        if (fd >= 0 && rnd_chance(&rnd, 50))
            raw_reset(fd);
        else if (fd >= 0)
            close(fd);
    }
    return ok ? NULL : arg;
}

static bool run(struct nfsd_options *options, pthread_t *threads, struct err *err)
{
    bool begun = false;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned before = atomic_load(&answered);
        struct nfsd *nfsd = nfsd_start(options, err);
        if (!nfsd)
            return false;
        options->port = nfsd_port(nfsd);
        atomic_store(&port, options->port);
        for (uintptr_t i = 0; i < CLIENTS && !begun; i++)
            if (pthread_create(&threads[i], NULL, client, (void *)(i + 1)) != 0)
                return false;
        begun = true;
        while (atomic_load(&answered) - before < 3000)
            IGNORE(nfsd_figures(nfsd).calls == 0);
        if (round == ROUNDS - 1)
            atomic_store(&over, true);
        nfsd_stop(nfsd);
    }
    return true;
}

int main(void)
{
    static const char *const listen[] = {"127.0.0.1"};
    struct err err = {0};
    pthread_t threads[CLIENTS];
    struct echo *echo = echo_new();
    struct nfsd_program program = echo_program(echo);
    struct nfsd_options options = {.listen = listen,
                                   .listen_count = 1,
                                   .programs = &program,
                                   .program_count = 1,
                                   .slow_max = 4,
                                   .buffer_bytes = 16 << 20};
    bool ok = run(&options, threads, &err);
    if (!ok) {
        fprintf(stderr, "stress_nfsd: %s\n", err.text);
        return 1;
    }
    for (int i = 0; i < CLIENTS; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        ok = ok && !wrong;
    }
    echo_free(echo);
    printf("stress_nfsd: %u calls answered, %s\n", atomic_load(&answered), ok ? "ok" : "WRONG");
    return ok ? 0 : 1;
}
