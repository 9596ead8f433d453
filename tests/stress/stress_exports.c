/* Exports under the thread sanitizer: calls, reloads, drops, mounts and lists at once. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "drivers/vault/nfs/exports.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOLUMES = 3, CALLERS = 4, DROPS = 100, BOUND_MS = 60000 };

static atomic_int opened[VOLUMES], closed[VOLUMES];
static atomic_bool stop;
static atomic_ulong calls;
static atomic_int digit; /* of the network that may: changes at reloads */

static void fail(const char *what, const struct err *err)
{
    fprintf(stderr, "stress_exports: %s: %s\n", what, err->text);
    exit(1);
}

static void close_tree(void *tree) { (*(atomic_int *)tree)++; }
static const struct nfsd_tree_ops ops = {.close = close_tree};

static bool find(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err)
{
    char nets[64];
    (void)arg;
    if (name)
        id = (uint64_t)(name[0] - '0');
    if (id >= VOLUMES)
        return err_set(err, ERR_NOT_FOUND, "no volume");
    *ret = (struct export){.id = id};
    str_format(ret->path, sizeof ret->path, "/%u", (unsigned)id);
    str_format(nets, sizeof nets, "10.0.0.0/8 11.0.%d.0/24", atomic_load(&digit));
    return export_nets_parse(nets, &ret->rule, err);
}

static bool open_tree(void *arg, struct export *export, struct err *err)
{
    (void)arg;
    (void)err;
    opened[export->id]++;
    export->ops = &ops;
    export->tree = &closed[export->id];
    return true;
}

/* Each second time it is too busy. */
static bool settle(void *arg, const struct export *export, struct err *err)
{
    static atomic_ulong times;
    (void)arg;
    if (opened[export->id] <= closed[export->id])
        fail("a closed tree is settled", err);
    return atomic_fetch_add(&times, 1) % 2 == 0 || err_set(err, ERR_BUSY, "it is busy");
}

static bool each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err)
{
    (void)arg, (void)fn, (void)to, (void)err;
    return true;
}

static struct nfsd_peer peer_of(int number)
{
    struct nfsd_peer peer = {.address = {[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)number}};
    str_format(peer.text, sizeof peer.text, "10.0.0.%d", number);
    return peer;
}

struct caller {
    struct exports *exports;
    int number;
};

static void *call_on(void *arg)
{
    const struct caller *c = arg;
    struct nfsd_peer peer = peer_of(c->number);
    for (uint64_t i = 0; !atomic_load(&stop); i++) {
        struct err err = {0};
        const struct export *export = exports_get(c->exports, i % VOLUMES, &peer, &err);
        if (!export && err.code != ERR_BUSY)
            fail("a call", &err);
        if (export && opened[export->id] <= closed[export->id])
            fail("a closed tree in somebody's hands", &err);
        export_put(c->exports, export);
        if (i % 64 == 0)
            exports_peer_gone(c->exports, &peer);
        calls++;
    }
    return NULL;
}

static void *mount_on(void *arg)
{
    const struct caller *c = arg;
    struct nfsd_peer peer = peer_of(c->number);
    while (!atomic_load(&stop)) {
        struct err err = {0};
        size_t count = 0;
        const struct export *export = exports_get_path(c->exports, "/1", &peer, &err);
        if (export)
            exports_mounted(c->exports, export, &peer, calls % 2);
        export_put(c->exports, export);
        exports_unmounted_all(c->exports, &peer);
        own_free(exports_users(c->exports, 0, NULL, &count, &err));
    }
    return NULL;
}

static void *reload_on(void *arg)
{
    const struct caller *c = arg;
    while (!atomic_load(&stop)) {
        atomic_store(&digit, (atomic_load(&digit) + 1) % 256);
        struct err err = {0};
        if (!exports_reload(c->exports, &err))
            fail("a reload", &err);
    }
    return NULL;
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR); /* what is busy is meant */
    struct err err = {0};
    struct exports_options options = {
        .find = find, .open = open_tree, .settle = settle, .each = each};
    struct exports *exports = exports_new(&options, &err);
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS];
    static void *(*const runs[CALLERS])(void *) = {call_on, call_on, mount_on, reload_on};
    uint64_t until = clock_mono_ms() + BOUND_MS;
    if (!exports)
        fail("start", &err);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){exports, i + 1};
        if (pthread_create(&threads[i], NULL, runs[i], &callers[i]))
            fail("thread", &err);
    }
    for (uint64_t i = 0; closed[0] < DROPS && clock_mono_ms() < until; i++) {
        struct err e = {0};
        uint64_t id = i % VOLUMES;
        if (exports_revoke(exports, id, i % 5 > 0, &e)) {
            if (opened[id] != closed[id])
                fail("revoked and open", &e);
            exports_restore(exports, id);
        } else if (e.code != ERR_BUSY) {
            fail("revoke", &e);
        }
        for (unsigned long before = calls; calls < before + 10 && clock_mono_ms() < until;)
            sched_yield(); /* so that there is something to take away */
    }
    atomic_store(&stop, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    exports_free(exports);
    if (closed[0] < DROPS)
        fail("too few drops in time", &err);
    for (int i = 0; i < VOLUMES; i++)
        if (opened[i] != closed[i])
            fail("left open", &err);
    printf("exports: %lu calls beside %d drops\n", (unsigned long)calls, (int)opened[0]);
    return 0;
}
