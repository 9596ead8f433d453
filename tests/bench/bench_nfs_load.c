/* A load on an NFSv3 server, over raw connections: one thread each, so many calls in flight. Prints
 * "ops/s p50-us p99-us MiB/s errors" (first: milliseconds of MNT, LOOKUP and the first READ).
 *   bench_nfs_load PORT MOUNTPORT EXPORT FILE read|write SIZE CONNECTIONS DEPTH SECONDS [seq]
 *   bench_nfs_load PORT MOUNTPORT EXPORT FILE first
 *   bench_nfs_load PORT MOUNTPORT EXPORT FILE idle CONNECTIONS     holds them until stdin ends
 */
#include "tests/bench/vault_bench.h"

#include "tests/lib/nfs_raw.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    NFS = 100003,
    MOUNT = 100005,
    MNT = 1,
    GETATTR = 1,
    LOOKUP = 3,
    READ = 6,
    WRITE = 7,
    COMMIT = 21,
    HANDLE_MAX = 64,
    COMMIT_EACH = 8 << 20,
    SAMPLES = 1 << 20,
    RECEIVE = 256 << 10,
    ATTRIBUTES = 84,
    SIZE_AT = 20, /* in the attributes */
    HEAD = 24,    /* of a reply, marker not counted */
    DEPTH_MAX = 256,
    CONNECTIONS_MAX = 256,
};

struct file {
    uint8_t handle[HANDLE_MAX];
    uint32_t handle_len;
    uint64_t size;
};

struct load {
    uint16_t port;
    struct file file;
    bool write, sequential;
    uint32_t size, depth, connections;
    double seconds;
};

struct client {
    const struct load *load;
    uint32_t number;
    int fd;
    uint64_t random, next, uncommitted;
    uint64_t done, bytes, errors;
    double sent_ms[DEPTH_MAX];
    float *latency_us;
    size_t samples;
    bool committing;
};

static size_t put_opaque(uint8_t *to, const void *bytes, uint32_t len)
{
    raw_put(to, len);
    memset(to + 4, 0, (len + 3) & ~3u);
    memcpy(to + 4, bytes, len);
    return 4 + ((len + 3) & ~3u);
}

static void put_u64(uint8_t *to, uint64_t n)
{
    raw_put(to, (uint32_t)(n >> 32));
    raw_put(to + 4, (uint32_t)n);
}

static uint64_t get_u64(const uint8_t *from)
{
    return (uint64_t)raw_get(from) << 32 | raw_get(from + 4);
}

/* A call with AUTH_SYS as root. */
static size_t put_call(uint8_t *to, uint32_t xid, uint32_t program, uint32_t procedure,
                       const uint8_t *args, size_t len, size_t len_behind)
{
    const uint32_t words[] = {0, xid, 0, 2, program, 3, procedure, 1, 20, 0, 0, 0, 0, 0, 0, 0};
    size_t head = sizeof words;
    for (size_t i = 0; i < head / 4; i++)
        raw_put(to + i * 4, words[i]);
    memcpy(to + head, args, len);
    raw_put(to, 0x80000000u | (uint32_t)(head - 4 + len + len_behind));
    return head + len;
}

/* Status 0 and its results, or NULL. */
static const uint8_t *call(int fd, uint32_t program, uint32_t procedure, const uint8_t *args,
                           size_t len, uint8_t *reply, size_t size)
{
    uint8_t bytes[1024];
    size_t n = put_call(bytes, 1, program, procedure, args, len, 0);
    if (!raw_send(fd, bytes, n) || (n = raw_reply(fd, reply, size)) < HEAD + 4 ||
        raw_get(reply + 20) != 0 || raw_get(reply + HEAD) != 0)
        return NULL;
    return reply + HEAD + 4;
}

static bool take_handle(const uint8_t *at, struct file *ret)
{
    ret->handle_len = raw_get(at);
    if (ret->handle_len == 0 || ret->handle_len > HANDLE_MAX)
        return false;
    memcpy(ret->handle, at + 4, ret->handle_len);
    return true;
}

static bool find_file(uint16_t mount_port, uint16_t port, const char *export, const char *name,
                      struct file *ret)
{
    uint8_t args[600];
    uint8_t reply[2048];
    struct file root = {0};
    int fd = raw_connect(mount_port, 0);
    size_t len = put_opaque(args, export, (uint32_t)strlen(export));
    const uint8_t *at = fd < 0 ? NULL : call(fd, MOUNT, MNT, args, len, reply, sizeof reply);
    bool ok = at && take_handle(at, &root);
    close(fd);
    if (!ok)
        return false;
    fd = raw_connect(port, 0);
    len = put_opaque(args, root.handle, root.handle_len);
    len += put_opaque(args + len, name, (uint32_t)strlen(name));
    at = fd < 0 ? NULL : call(fd, NFS, LOOKUP, args, len, reply, sizeof reply);
    ok = at && take_handle(at, ret);
    len = put_opaque(args, ret->handle, ret->handle_len);
    at = ok ? call(fd, NFS, GETATTR, args, len, reply, sizeof reply) : NULL;
    if (at)
        ret->size = get_u64(at + SIZE_AT);
    close(fd);
    return at != NULL;
}

/* ---- the load ---- */

static uint64_t next_offset(struct client *c)
{
    const struct load *load = c->load;
    uint64_t places = load->file.size / load->size;
    if (!load->sequential)
        return next_random(&c->random) % places * load->size;
    /* Each connection its own part, again and again. */
    uint64_t part = places / load->connections;
    return (c->number * part + c->next++ % part) * load->size;
}

static bool send_commit(struct client *c)
{
    uint8_t args[100];
    uint8_t bytes[300];
    size_t len = put_opaque(args, c->load->file.handle, c->load->file.handle_len);
    memset(args + len, 0, 12);
    c->committing = true;
    c->uncommitted = 0;
    return raw_send(c->fd, bytes, put_call(bytes, DEPTH_MAX, NFS, COMMIT, args, len + 12, 0));
}

static size_t put_one(struct client *c, uint8_t *bytes, uint32_t slot)
{
    static _Thread_local uint8_t data[1 << 20];
    const struct load *load = c->load;
    uint8_t args[100];
    size_t len = put_opaque(args, load->file.handle, load->file.handle_len);
    put_u64(args + len, next_offset(c));
    raw_put(args + len + 8, load->size);
    len += 12;
    c->sent_ms[slot] = now_ms();
    if (!load->write)
        return put_call(bytes, slot, NFS, READ, args, len, 0);
    raw_put(args + len, 0); /* UNSTABLE */
    raw_put(args + len + 4, load->size);
    if (!data[0])
        fill_random(data, sizeof data, &c->random);
    data[0] = 1;
    put_u64(data + 8, c->done);
    size_t at = put_call(bytes, slot, NFS, WRITE, args, len + 8, load->size);
    memcpy(bytes + at, data, load->size);
    c->uncommitted += load->size;
    return at + load->size;
}

/* A reply that is wholly there. Its slot is free; a COMMIT's has none. */
static bool take_reply(struct client *c, const uint8_t *reply, uint32_t *ret_slot)
{
    const struct load *load = c->load;
    uint32_t xid = raw_get(reply);
    uint32_t status = raw_get(reply + HEAD);
    c->errors += raw_get(reply + 20) != 0 || status != 0;
    *ret_slot = xid;
    if (xid == DEPTH_MAX) {
        c->committing = false;
        return false;
    }
    if (c->samples < SAMPLES)
        c->latency_us[c->samples++] = (float)((now_ms() - c->sent_ms[xid]) * 1e3);
    c->done++;
    c->bytes += load->size;
    return true;
}

/* Sends for every free slot, in one go. */
static bool send_free(struct client *c, const uint32_t *slots, size_t count, uint8_t *bytes)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        len += put_one(c, bytes + len, slots[i]);
        if (len > RECEIVE) {
            if (!raw_send(c->fd, bytes, len))
                return false;
            len = 0;
        }
    }
    return (len == 0 || raw_send(c->fd, bytes, len)) &&
           (c->committing || c->uncommitted < COMMIT_EACH || send_commit(c));
}

struct stream {
    uint8_t head[HEAD + 8];
    size_t have;
    size_t left; /* of the reply, behind the head */
};

/* All replies in bytes; data is passed over, as it lies in the buffer it was received into. */
static size_t take_replies(struct client *c, struct stream *s, const uint8_t *bytes, size_t len,
                           uint32_t *slots)
{
    size_t count = 0;
    while (len > 0) {
        if (s->have < sizeof s->head) {
            size_t n = sizeof s->head - s->have < len ? sizeof s->head - s->have : len;
            memcpy(s->head + s->have, bytes, n);
            s->have += n;
            bytes += n;
            len -= n;
            if (s->have < sizeof s->head)
                break;
            s->left = (raw_get(s->head) & 0x7fffffff) + 4 - sizeof s->head;
        }
        size_t n = s->left < len ? s->left : len;
        s->left -= n;
        bytes += n;
        len -= n;
        if (s->left == 0) {
            s->have = 0;
            count += take_reply(c, s->head + 4, &slots[count]);
        }
    }
    return count;
}

static void *run(void *arg)
{
    struct client *c = arg;
    const struct load *load = c->load;
    struct stream stream = {0};
    uint32_t slots[DEPTH_MAX + 1];
    uint8_t *in = malloc(RECEIVE);
    uint8_t *out = malloc(2 * (size_t)RECEIVE + (2 << 20));
    double end = now_ms() + load->seconds * 1e3;
    c->fd = raw_connect(load->port, 0);
    for (uint32_t i = 0; i < load->depth; i++)
        slots[i] = i;
    size_t count = load->depth;
    uint64_t pending = 0;
    bool ok = c->fd >= 0;
    while (ok) {
        bool over = now_ms() >= end;
        if (!over) {
            ok = send_free(c, slots, count, out);
            pending += count;
        } else if (pending == 0 && !c->committing) {
            if (!load->write || c->uncommitted == 0)
                break;
            ok = send_commit(c);
        }
        ssize_t n = recv(c->fd, in, RECEIVE, 0);
        ok = ok && n > 0;
        count = ok ? take_replies(c, &stream, in, (size_t)n, slots) : 0;
        pending -= count;
    }
    c->errors += !ok;
    close(c->fd);
    free(in);
    free(out);
    return NULL;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static bool run_load(const struct load *load)
{
    pthread_t threads[CONNECTIONS_MAX];
    struct client *clients = calloc(load->connections, sizeof *clients);
    double begin = now_ms();
    for (uint32_t i = 0; i < load->connections; i++) {
        clients[i] = (struct client){.load = load,
                                     .number = i,
                                     .random = 88172645463325252ULL + i * 977,
                                     .latency_us = malloc(SAMPLES * sizeof(float))};
        pthread_create(&threads[i], NULL, run, &clients[i]);
    }
    uint64_t done = 0;
    uint64_t bytes = 0;
    uint64_t errors = 0;
    size_t samples = 0;
    float *all = malloc(load->connections * SAMPLES * sizeof *all);
    for (uint32_t i = 0; i < load->connections; i++) {
        pthread_join(threads[i], NULL);
        done += clients[i].done;
        bytes += clients[i].bytes;
        errors += clients[i].errors;
        memcpy(all + samples, clients[i].latency_us, clients[i].samples * sizeof *all);
        samples += clients[i].samples;
        free(clients[i].latency_us);
    }
    double seconds = (now_ms() - begin) / 1e3;
    qsort(all, samples, sizeof *all, compare_floats);
    printf("%.0f %.1f %.1f %.1f %llu %llu\n", (double)done / seconds,
           samples ? all[samples / 2] : 0, samples ? all[samples * 99 / 100] : 0,
           (double)bytes / seconds / (1 << 20), (unsigned long long)done,
           (unsigned long long)errors);
    free(all);
    free(clients);
    return errors == 0 && done > 0;
}

static bool run_first(uint16_t mount_port, uint16_t port, const char *export, const char *name)
{
    struct file file = {0};
    uint8_t args[100];
    uint8_t reply[16384];
    double begin = now_ms();
    if (!find_file(mount_port, port, export, name, &file))
        return false;
    int fd = raw_connect(port, 0);
    size_t len = put_opaque(args, file.handle, file.handle_len);
    put_u64(args + len, 8192);
    raw_put(args + len + 8, 8192);
    bool ok = fd >= 0 && call(fd, NFS, READ, args, len + 12, reply, sizeof reply);
    printf("%.3f\n", now_ms() - begin);
    close(fd);
    return ok;
}

/* Each connection has made a call. */
static bool run_idle(uint16_t port, uint32_t count)
{
    uint8_t bytes[64];
    for (uint32_t i = 0; i < count; i++) {
        int fd = raw_connect(port, 0);
        uint8_t reply[64];
        if (fd < 0 || !raw_send(fd, bytes, raw_call(bytes, i, NFS, 3, 0, NULL, 0)) ||
            raw_reply(fd, reply, sizeof reply) != HEAD)
            return false;
    }
    puts("there");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return true;
}

static uint32_t number(const char *text)
{
    uint64_t n = 0;
    return str_to_u64(text, UINT32_MAX, &n) ? (uint32_t)n : 0;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    uint16_t port = (uint16_t)number(argv[1]);
    uint16_t mount_port = (uint16_t)number(argv[2]);
    if (strcmp(argv[5], "first") == 0)
        return run_first(mount_port, port, argv[3], argv[4]) ? 0 : 1;
    if (strcmp(argv[5], "idle") == 0 && argc == 7)
        return run_idle(port, number(argv[6])) ? 0 : 1;
    if (argc < 10)
        return 2;
    struct load load = {.port = port,
                        .write = strcmp(argv[5], "write") == 0,
                        .size = number(argv[6]),
                        .connections = number(argv[7]),
                        .depth = number(argv[8]),
                        .seconds = strtod(argv[9], NULL),
                        .sequential = argc > 10};
    if (load.connections < 1 || load.connections > CONNECTIONS_MAX || load.depth < 1 ||
        load.depth > DEPTH_MAX)
        return 2;
    if (!find_file(mount_port, port, argv[3], argv[4], &load.file) || load.file.size < load.size) {
        fprintf(stderr, "bench_nfs_load: cannot find '%s' in '%s'\n", argv[4], argv[3]);
        return 1;
    }
    return run_load(&load) ? 0 : 1;
}
