/* evercopy-vaultd killed again and again under clients of a hard mount: they connect again, send
 * again what was not answered, and never see an error nor miss what was promised to them. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "tests/lib/nfs_caller.h"
#include "tests/lib/random.h"
#include "tests/lib/vault_server.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nfsc/libnfs.h>

TestSuite(nfs_kill);

enum { CLIENTS = 3, SLOTS = 16, RECORD = 8192, LOOSE = 4, WAIT_S = 90 };
#define OK(what)                                                                                   \
    do {                                                                                           \
        if (!(what))                                                                               \
            cr_assert(false, "%s: %s (%s)", #what, err.text, err_code_name(err.code));             \
    } while (0)

struct siege {
    char folder[64];
    struct vault_server server;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned lives; /* of the server */
    bool stop;
    uint64_t turns[CLIENTS];
    unsigned broken; /* calls that were sent again */
    uint64_t verifiers, by_libnfs;
};

struct fh {
    char bytes[64];
    uint32_t len;
};

struct client {
    struct siege *siege;
    int index;
    unsigned life; /* of the server that it is connected to */
    char machine[16];
    struct nfs_caller nfs;
    uint32_t xid;
    struct fh root, data;
    uint64_t slot[SLOTS];
    uint64_t loose[LOOSE], verifier;
};

static void until(struct siege *s, bool (*is)(struct siege *s, void *arg), void *arg)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_S;
    pthread_mutex_lock(&s->lock);
    while (!is(s, arg))
        if (pthread_cond_timedwait(&s->moved, &s->lock, &end) != 0)
            cr_assert_fail("nothing moves for %d s", WAIT_S);
    pthread_mutex_unlock(&s->lock);
}

static bool lives_again(struct siege *s, void *arg) { return s->lives > *(unsigned *)arg; }

static nfs_fh3 fh3(struct fh *fh)
{
    return (nfs_fh3){.data = {.data_len = fh->len, .data_val = fh->bytes}};
}

static void join(struct client *c)
{
    struct err err = {0};
    while (!nfs_caller_open(&c->nfs, NULL, c->siege->server.port, &err))
        until(c->siege, lives_again, &c->life);
    pthread_mutex_lock(&c->siege->lock);
    c->life = c->siege->lives;
    pthread_mutex_unlock(&c->siege->lock);
    c->nfs.machine = c->machine;
}

/* As the kernel does for a hard mount: the same call, until it is answered. */
static void hard(struct client *c, uint32_t procedure, zdrproc_t encode, void *args,
                 zdrproc_t decode, void *results, size_t size)
{
    struct err err = {0};
    uint32_t xid = ++c->xid;
    unsigned life = c->life;
    while (!nfs_caller_call(&c->nfs, xid, procedure, encode, args, decode, results, size, &err)) {
        cr_assert(err.code != ERR_UNSUPPORTED && err.code != ERR_TIMEOUT, "%s", err.text);
        err_clear(&err);
        nfs_caller_close(&c->nfs);
        until(c->siege, lives_again, &life);
        join(c);
        life = c->life;
        pthread_mutex_lock(&c->siege->lock);
        c->siege->broken++;
        pthread_mutex_unlock(&c->siege->lock);
    }
    enum nfsstat3 status;
    memcpy(&status, results, sizeof status);
    cr_assert_eq(status, NFS3_OK, "client %d: procedure %u: %d", c->index, procedure, status);
}
#define HARD(c, NAME, args, results)                                                               \
    hard(c, NFS3_##NAME, (zdrproc_t)zdr_##NAME##3args, args, (zdrproc_t)zdr_##NAME##3res, results, \
         sizeof *(results))

static struct fh create(struct client *c, char *name)
{
    CREATE3args args = {.where = {fh3(&c->root), name}, .how = {.mode = GUARDED}};
    CREATE3res res;
    struct fh fh;
    HARD(c, CREATE, &args, &res);
    nfs_fh3 *made = &res.CREATE3res_u.resok.obj.post_op_fh3_u.handle;
    fh.len = made->data.data_len;
    memcpy(fh.bytes, made->data.data_val, fh.len);
    return fh;
}

static uint64_t write_number(struct client *c, uint64_t slot, uint64_t number, enum stable_how how)
{
    uint64_t record[RECORD / sizeof(uint64_t)];
    for (size_t i = 0; i < RECORD / sizeof(uint64_t); i++)
        record[i] = number;
    WRITE3args args = {.file = fh3(&c->data),
                       .offset = slot * RECORD,
                       .count = RECORD,
                       .stable = how,
                       .data = {RECORD, (char *)record}};
    WRITE3res res;
    uint64_t verifier;
    HARD(c, WRITE, &args, &res);
    memcpy(&verifier, res.WRITE3res_u.resok.verf, sizeof verifier);
    return verifier;
}

/* Unstable writes and their commit; a verifier that changed asks for all of them again. */
static void write_loose(struct client *c, uint64_t number)
{
    for (bool done = false; !done; number++) {
        uint64_t verifiers[LOOSE], committed;
        for (uint64_t i = 0; i < LOOSE; i++) {
            c->loose[i] = number * LOOSE + i;
            verifiers[i] = write_number(c, SLOTS + i, c->loose[i], UNSTABLE);
        }
        COMMIT3args args = {.file = fh3(&c->data)};
        COMMIT3res res;
        HARD(c, COMMIT, &args, &res);
        memcpy(&committed, res.COMMIT3res_u.resok.verf, sizeof committed);
        done = true;
        for (uint64_t i = 0; i < LOOSE; i++)
            done &= verifiers[i] == committed;
        if (c->verifier && c->verifier != committed) {
            pthread_mutex_lock(&c->siege->lock);
            c->siege->verifiers++;
            pthread_mutex_unlock(&c->siege->lock);
        }
        c->verifier = committed;
    }
}

/* "a-N" is made and becomes "b-N", which gets a second name; "b-(N-1)" goes, and a folder comes and
 * goes: each of these exactly once. */
static void change_names(struct client *c, uint64_t number)
{
    char a[64], b[64], further[64], old[64], folder[64];
    str_format(a, sizeof a, "%d-a-%llu", c->index, (unsigned long long)number);
    str_format(b, sizeof b, "%d-b-%llu", c->index, (unsigned long long)number);
    str_format(further, sizeof further, "%d-l-%llu", c->index, (unsigned long long)number);
    str_format(old, sizeof old, "%d-b-%llu", c->index, (unsigned long long)number - 1);
    str_format(folder, sizeof folder, "%d-d", c->index);
    struct fh file = create(c, a);
    nfs_fh3 root = fh3(&c->root);
    RENAME3args rename = {.from = {root, a}, .to = {root, b}};
    RENAME3res renamed;
    HARD(c, RENAME, &rename, &renamed);
    LINK3args link = {.file = fh3(&file), .link = {root, further}};
    LINK3res linked;
    HARD(c, LINK, &link, &linked);
    REMOVE3args remove = {.object = {root, old}};
    REMOVE3res removed;
    if (number > 1)
        HARD(c, REMOVE, &remove, &removed);
    MKDIR3args mkdir = {.where = {root, folder}};
    MKDIR3res made;
    HARD(c, MKDIR, &mkdir, &made);
    RMDIR3args rmdir = {.object = {root, folder}};
    RMDIR3res gone;
    HARD(c, RMDIR, &rmdir, &gone);
}

static void *work(void *arg)
{
    struct client *c = arg;
    char name[16];
    bool stop = false;
    str_format(name, sizeof name, "data%d", c->index);
    c->data = create(c, name);
    for (uint64_t number = 1; !stop; number++) {
        write_number(c, number % SLOTS, number, FILE_SYNC);
        c->slot[number % SLOTS] = number;
        write_loose(c, number);
        change_names(c, number);
        pthread_mutex_lock(&c->siege->lock);
        c->siege->turns[c->index] = number;
        stop = c->siege->stop;
        pthread_cond_broadcast(&c->siege->moved);
        pthread_mutex_unlock(&c->siege->lock);
    }
    return NULL;
}

/* libnfs's own way of connecting again: every call succeeds, each stable write is there. */
static void *work_by_libnfs(void *arg)
{
    struct siege *s = arg;
    struct nfs_context *nfs = nfs_init_context();
    struct nfsfh *file = NULL;
    char url[200];
    bool stop = false;
    str_format(url, sizeof url,
               "nfs://127.0.0.1/v/?version=3&nfsport=%u&mountport=%u&autoreconnect=-1",
               s->server.port, s->server.port);
    struct nfs_url *parsed = nfs_parse_url_dir(nfs, url);
    cr_assert(parsed && nfs_mount(nfs, parsed->server, parsed->path) == 0, "%s",
              nfs_get_error(nfs));
    nfs_destroy_url(parsed);
    cr_assert_eq(nfs_open2(nfs, "/libnfs", O_CREAT | O_RDWR | O_SYNC, 0600, &file), 0, "%s",
                 nfs_get_error(nfs));
    for (uint64_t number = 1; !stop; number++) {
        uint64_t back = 0, offset = number * sizeof number;
        char from[32], to[32];
        cr_assert_eq(nfs_pwrite(nfs, file, offset, sizeof number, &number), sizeof number, "%s",
                     nfs_get_error(nfs));
        cr_assert_eq(nfs_pread(nfs, file, offset, sizeof back, &back), sizeof back, "%s",
                     nfs_get_error(nfs));
        cr_assert_eq(back, number);
        str_format(from, sizeof from, "/x-%llu", (unsigned long long)number - 1);
        str_format(to, sizeof to, "/x-%llu", (unsigned long long)number);
        if (number == 1)
            cr_assert_eq(nfs_mkdir(nfs, to), 0, "%s", nfs_get_error(nfs));
        else
            cr_assert_eq(nfs_rename(nfs, from, to), 0, "%s", nfs_get_error(nfs));
        pthread_mutex_lock(&s->lock);
        stop = s->stop;
        s->by_libnfs = number;
        pthread_mutex_unlock(&s->lock);
    }
    for (uint64_t number = 1; number <= s->by_libnfs; number++) {
        uint64_t back = 0;
        cr_assert_eq(nfs_pread(nfs, file, number * sizeof back, sizeof back, &back), sizeof back);
        cr_assert_eq(back, number, "libnfs's write %llu is lost", (unsigned long long)number);
    }
    IGNORE(nfs_close(nfs, file));
    nfs_destroy_context(nfs);
    return NULL;
}

/* Free, and none that the system gives to those who only connect. */
static uint16_t free_port(struct rnd *rnd)
{
    enum { FIRST = 22000, COUNT = 10000, TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        uint16_t port = (uint16_t)(FIRST + rnd_below(rnd, COUNT));
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_free = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        if (is_free)
            return port;
    }
    cr_assert_fail("no port is free");
    return 0;
}

static void begin(struct siege *s, struct rnd *rnd)
{
    struct err err = {0};
    char extra[128];
    *s = (struct siege){.folder = "/tmp/evercopy-nfskill-XXXXXX",
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .moved = PTHREAD_COND_INITIALIZER,
                        .lives = 1};
    cr_assert(mkdtemp(s->folder));
    str_format(
        extra, sizeof extra,
        "nfsport = %u\nnfslisten = 127.0.0.1\n[export]\nclients = 127.0.0.1\nsquash = none\n",
        free_port(rnd));
    OK(vault_server_begin(&s->server, s->folder, NULL, extra, &err));
    AUTO(wire) struct wire *wire = wire_connect(s->server.socket, &err);
    AUTO(json) json_t *head = json_object();
    AUTO(message) struct message answer = {0};
    OK(wire && json_put_text(head, "op", "volume.create", &err) &&
       json_put_text(head, "name", "v", &err) &&
       wire_call(wire, head, NULL, 0, 30000, &answer, NULL, &err));
}

static void check(struct client *c)
{
    for (uint64_t i = 0; i < SLOTS + LOOSE; i++) {
        uint64_t wanted = i < SLOTS ? c->slot[i] : c->loose[i - SLOTS];
        if (!wanted)
            continue;
        READ3args args = {.file = fh3(&c->data), .offset = i * RECORD, .count = RECORD};
        READ3res res;
        uint64_t record[RECORD / sizeof(uint64_t)];
        HARD(c, READ, &args, &res);
        cr_assert_eq(res.READ3res_u.resok.count, RECORD);
        memcpy(record, res.READ3res_u.resok.data.data_val, RECORD);
        for (size_t j = 0; j < RECORD / sizeof(uint64_t); j++)
            cr_assert_eq(record[j], wanted, "client %d: slot %llu holds %llu, not %llu", c->index,
                         (unsigned long long)i, (unsigned long long)record[j],
                         (unsigned long long)wanted);
    }
    for (uint64_t number = 1; number <= c->siege->turns[c->index]; number++) {
        static const char kinds[] = "abl";
        for (int k = 0; k < 3; k++) {
            char name[64];
            struct err err = {0};
            str_format(name, sizeof name, "%d-%c-%llu", c->index, kinds[k],
                       (unsigned long long)number);
            LOOKUP3args args = {.what = {fh3(&c->root), name}};
            LOOKUP3res res;
            OK(NFS_CALL(&c->nfs, LOOKUP, &args, &res, &err));
            bool there =
                kinds[k] == 'l' || (kinds[k] == 'b' && number == c->siege->turns[c->index]);
            cr_assert_eq(res.status, there ? NFS3_OK : NFS3ERR_NOENT, "'%s': %d", name, res.status);
        }
    }
}

struct goal {
    int client;
    uint64_t turn;
};

static bool has_turned(struct siege *s, void *arg)
{
    const struct goal *goal = arg;
    return s->turns[goal->client] >= goal->turn;
}

Test(nfs_kill, loses_nothing_promised_and_shows_no_error_to_a_hard_mount)
{
    const int kills = getenv("EVERCOPY_LONG") ? 60 : 3;
    struct rnd rnd = rnd_begin("nfs_kill");
    struct siege s;
    struct err err = {0};
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS], libnfs;
    begin(&s, &rnd);
    cr_assert_eq(pthread_create(&libnfs, NULL, work_by_libnfs, &s), 0);
    for (int i = 0; i < CLIENTS; i++) {
        size_t len = 0;
        clients[i] = (struct client){.siege = &s, .index = i};
        str_format(clients[i].machine, sizeof clients[i].machine, "host%d", i);
        join(&clients[i]);
        clients[i].xid = (uint32_t)rnd_next(&rnd);
        OK(nfs_caller_mount(&clients[i].nfs, "/v", (uint8_t *)clients[i].root.bytes, &len, &err));
        clients[i].root.len = (uint32_t)len;
        cr_assert_eq(pthread_create(&threads[i], NULL, work, &clients[i]), 0);
    }
    for (int kill = 0; kill < kills; kill++) {
        struct goal goal = {.client = (int)rnd_below(&rnd, CLIENTS)};
        pthread_mutex_lock(&s.lock);
        goal.turn = s.turns[goal.client] + 1 + rnd_below(&rnd, 6);
        pthread_mutex_unlock(&s.lock);
        until(&s, has_turned, &goal);
        for (uint64_t spin = rnd_below(&rnd, 1000); spin > 0; spin--)
            sched_yield(); /* anywhere within a turn */
        vault_server_kill(&s.server);
        OK(vault_server_start(&s.server, &err));
        pthread_mutex_lock(&s.lock);
        s.lives++;
        pthread_cond_broadcast(&s.moved);
        pthread_mutex_unlock(&s.lock);
    }
    pthread_mutex_lock(&s.lock);
    struct goal last = {.client = 0, .turn = s.turns[0] + 2};
    pthread_mutex_unlock(&s.lock);
    until(&s, has_turned, &last);
    s.stop = true;
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(libnfs, NULL);
    cr_assert_gt(s.by_libnfs, (uint64_t)kills);
    cr_assert_gt(s.broken, 0, "no call was cut off");
    cr_assert_gt(s.verifiers, 0, "no verifier changed");
    for (int i = 0; i < CLIENTS; i++)
        check(&clients[i]);
    vault_server_kill(&s.server);
    OK(vault_server_start(&s.server, &err));
    s.lives++;
    for (int i = 0; i < CLIENTS; i++) {
        nfs_caller_close(&clients[i].nfs);
        join(&clients[i]);
        check(&clients[i]);
        nfs_caller_close(&clients[i].nfs);
    }
    OK(vault_server_stop(&s.server, &err));
    OK(sys_remove_tree(s.folder, &err));
}
